//! Health, drift and what runs once, in the agent's state machine.

use bus_schema::hash::{Domain, HashKey};
use bus_schema::id::{BootId, BundleId, IncarnationId, ObjectId};
use bus_schema::limits::RETRY_REFUSED;
use bus_schema::link::agent::{Action, Agent, AgentConfig, AgentState, AgentWrite, ApplyOutcome, Ended, Found, Live, Origin, StoredList};
use bus_schema::list::{DesiredEntry, DesiredList, Wanted};
use bus_schema::message::{Health, Level};
use bus_schema::stamp::Stamp;
use bus_schema::status::State;

fn job() -> ObjectId {
    ObjectId::new("batch", "Job", "shop", "seed")
}

fn live(version: &str) -> Live {
    Live { uid: "u".into(), resource_version: version.into(), origin: Origin::Created }
}

fn health(level: Level) -> Health {
    Health { level: level as i32, ..Health::default() }
}

/// What is committed of a cluster that shall have one object of this content.
fn stored(content: &str) -> AgentState {
    let key = HashKey::public();
    let hash = key.hash(Domain::Object, content.as_bytes());
    let wanted = Wanted::Content { hash, size: content.len() as u32, secret: false };
    let list = DesiredList::new([DesiredEntry { bundle: BundleId(1), object: job(), version: "v1".into(), wanted }], &key);
    let stamp = Stamp { incarnation: IncarnationId(1), resource_version: 1 };
    let mut state = AgentState::default();
    state.apply(&AgentWrite::List(StoredList { bytes: list.bytes.to_vec(), stamp, recover: false }));
    state.apply(&AgentWrite::Content(hash, content.as_bytes().to_vec()));
    state
}

/// An agent that has asked its member, which has `found`.
fn started(state: AgentState, found: Vec<Live>) -> Agent {
    let mut agent = Agent::new(AgentConfig::new(BootId(1), HashKey::public()), state, 0);
    let found = found.into_iter().map(|live| Found { object: job(), version: "v1".into(), live }).collect();
    agent.surveyed(found, 0);
    agent.take_writes();
    agent
}

/// What the agent wants to do now.
fn act(agent: &mut Agent, now: u64) -> Option<Action> {
    agent.timeout([1; 32], now);
    agent.take_writes();
    agent.poll_action(now)
}

fn applied(content: &str) -> Agent {
    let mut agent = started(stored(content), Vec::new());
    let Some(Action::Apply { hash, .. }) = act(&mut agent, 0) else { panic!("nothing to apply") };
    agent.applied(&job(), hash, ApplyOutcome::Applied(live("1")), 0);
    agent.take_writes();
    agent
}

fn row(agent: &Agent) -> (State, Option<Health>) {
    let row = &agent.status().rows[&job()];
    (row.state, row.health.clone())
}

#[test]
fn health_changes_the_row_and_nothing_on_the_disk() {
    let mut agent = applied("{}");
    agent.health(&job(), health(Level::Progressing), false, 1);
    assert!(agent.take_writes().is_empty());
    assert_eq!(row(&agent), (State::Applied, Some(health(Level::Progressing))));
}

#[test]
fn health_of_what_is_not_ours_is_nothing() {
    let mut agent = applied("{}");
    let other = ObjectId::new("", "ConfigMap", "shop", "other");
    agent.health(&other, health(Level::Healthy), true, 1);
    assert!(agent.take_writes().is_empty() && !agent.status().rows.contains_key(&other));
}

#[test]
fn drift_is_applied_again_with_the_same_content_and_keeps_the_health() {
    let mut agent = applied("{}");
    agent.health(&job(), health(Level::Healthy), false, 1);
    agent.doubt(&job(), 2);
    assert!(matches!(act(&mut agent, 2), Some(Action::Apply { .. })));
    assert_eq!(row(&agent), (State::Applied, Some(health(Level::Healthy))));
    assert_eq!(act(&mut agent, 3), None);
}

#[test]
fn what_has_run_is_not_made_again_though_it_is_gone_also_after_a_restart() {
    for (level, failed) in [(Level::Finished, false), (Level::Unhealthy, true)] {
        let mut agent = applied("{}");
        agent.health(&job(), health(level), true, 1);
        let hash = agent.state().items[&job()].applied.expect("applied");
        assert_eq!(agent.state().items[&job()].ended, Some(Ended { hash, failed }));
        agent.doubt(&job(), 2);
        assert_eq!(act(&mut agent, 2), None);
        let mut agent = started(agent.state().clone(), Vec::new());
        assert_eq!(act(&mut agent, 0), None, "a cold start that does not find it");
        let (state, health) = row(&agent);
        assert_eq!((state, health.map(|health| health.level)), (State::Applied, Some(level as i32)));
    }
}

#[test]
fn what_has_not_run_or_has_other_content_is_made() {
    let mut agent = applied("{}");
    agent.health(&job(), health(Level::Progressing), false, 1);
    let mut again = started(agent.state().clone(), Vec::new());
    assert!(matches!(act(&mut again, 0), Some(Action::Apply { .. })));
    agent.health(&job(), health(Level::Finished), true, 1);
    let items = agent.state().items.clone();
    let mut other = started(AgentState { items, ..stored(r#"{"other":1}"#) }, Vec::new());
    assert!(matches!(act(&mut other, 0), Some(Action::Apply { .. })));
}

#[test]
fn a_refusal_is_tried_again_in_an_hour_and_not_before_whatever_the_doorbell_says() {
    let items = applied("{}").state().items.clone();
    let mut agent = started(AgentState { items, ..stored(r#"{"immutable":1}"#) }, vec![live("1")]);
    let Some(Action::Apply { hash, .. }) = act(&mut agent, 0) else { panic!("nothing to apply") };
    agent.applied(&job(), hash, ApplyOutcome::Refused { code: 422, message: "field is immutable".into() }, 0);
    for now in (0..RETRY_REFUSED).step_by(60_000) {
        agent.doubt(&job(), now);
        assert_eq!(act(&mut agent, now), None);
        assert_eq!(row(&agent).0, State::Refused);
    }
    assert!(matches!(act(&mut agent, RETRY_REFUSED), Some(Action::Apply { .. })));
}

#[test]
fn what_was_not_answered_and_is_not_there_is_made_after_a_crash() {
    let mut agent = applied("{}");
    agent.doubt(&job(), 2);
    let Some(Action::Apply { hash, .. }) = act(&mut agent, 2) else { panic!("nothing to apply") };
    agent.applied(&job(), hash, ApplyOutcome::Unavailable { code: 503, message: "try later".into() }, 3);
    agent.take_writes();
    let mut again = started(agent.state().clone(), Vec::new());
    assert!(matches!(act(&mut again, 0), Some(Action::Apply { .. })));
}
