//! Removals that are held between a plan and the state machine.

use bus_schema::hash::HashKey;
use bus_schema::id::IncarnationId;
use bus_schema::link::hub::Acked;
use bus_schema::secret::LinkSecret;
use bus_schema::stamp::Stamp;

use super::*;
use crate::core::id::{ObjectId, SubscriptionRef};
use crate::core::plan::{Content, DesiredEntry};

const GUARD: Guard = Guard { share: 50, fleet_share: 0 };

fn words(alive: &[SubscriptionRef]) -> Arc<Words> {
    Arc::new(Words { alive: alive.to_vec(), ..Words::default() })
}

fn task(folder: &tempfile::TempDir, state: HubState) -> (Task, watch::Sender<Arc<Words>>) {
    let (sender, words) = watch::channel(words(&[subscription()]));
    let config = HubConfig {
        own: [LinkSecret::new([2; 32])].into(),
        key: HashKey::public(),
        incarnation: IncarnationId(1),
        closed: Arc::default(),
        features: 0,
    };
    let shared = Shared {
        store: Store::open(folder.path()).unwrap(),
        library: Arc::new(Library::new(config.key.clone())),
        config,
        guard: GUARD,
        fleet: Mutex::new(Fleet::new(GUARD)),
        words,
        reports: latest::channel().0,
        contacts: Arc::default(),
        streams: Streams::new(streams::Limits::default()),
        started: Instant::now(),
        stop: CancellationToken::new(),
    };
    (Task::new(Sid::from_random(1), Arc::new(shared), state), sender)
}

fn subscription() -> SubscriptionRef {
    SubscriptionRef { namespace: "shop".into(), name: "s".into(), uid: "u".into() }
}

fn plan(objects: usize, confirm: Option<String>) -> Plan {
    let entry = |number: usize| DesiredEntry {
        bundle: subscription(),
        object: ObjectId { kind: "ConfigMap".into(), namespace: "shop".into(), name: number.to_string(), ..ObjectId::default() },
        version: "v1".into(),
        content: Content::Bytes(number.to_string().into_bytes().into()),
    };
    Plan::Desired(PlanUpdate {
        link_key: None,
        cluster: ClusterKey::new("ns", "a"),
        sid: "abcdefgh".into(),
        entries: (0..objects).map(entry).collect(),
        rv: 10,
        confirm_prune: None,
        confirm_removal: confirm,
    })
}

fn desired(task: &Task) -> usize {
    task.link.desired().unwrap().list.entries.len()
}

#[tokio::test]
async fn a_mass_removal_waits_until_it_is_confirmed_undone_or_ordered() {
    let folder = tempfile::tempdir().unwrap();
    let (mut task, said) = task(&folder, HubState::default());
    task.take_plan(&plan(35, None));
    task.take_plan(&plan(34, None));
    assert_eq!((desired(&task), task.held.is_some()), (34, false), "one feed goes at once");
    task.take_plan(&plan(2, Some("wrong".into())));
    assert_eq!((desired(&task), task.shelf.current.len()), (34, 34), "nothing goes, and what stays can be sent");
    let hash = task.held.clone().unwrap().hash;
    task.take_plan(&plan(34, None));
    assert_eq!((desired(&task), task.held.is_some()), (34, false), "undone");
    task.take_plan(&plan(2, None));
    task.take_plan(&plan(2, Some(hash)));
    assert_eq!((desired(&task), task.held.is_some()), (2, false), "confirmed");
    task.take_plan(&plan(35, None));
    task.take_plan(&plan(0, None));
    assert_eq!((desired(&task), task.held.is_some()), (35, true), "unbound");
    said.send_replace(words(&[]));
    task.judge_again();
    assert_eq!((desired(&task), task.held.is_some()), (0, false), "the Subscription that it is not bound to any more was deleted");
}

#[tokio::test]
async fn a_hub_started_again_holds_what_the_agent_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let Plan::Desired(before) = plan(30, None) else { panic!("a plan") };
    let bytes = Library::new(HashKey::public()).prepare(&before.entries).list.bytes.to_vec();
    let acked = Acked { bytes, stamp: Stamp { incarnation: IncarnationId(1), resource_version: 9 } };
    let (mut task, _said) = task(&folder, HubState { acked: Some(acked), ..HubState::default() });
    task.take_plan(&plan(3, None));
    let held = task.held.clone().unwrap();
    assert_eq!((desired(&task), held.removals, held.of), (30, 27, 30));
}
