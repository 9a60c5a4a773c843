//! One site: an agent process, its disk, its member cluster.

use std::collections::BTreeSet;

use bus_schema::id::{BootId, Millis, ObjectId};
use bus_schema::link::Cache;
use bus_schema::link::agent::{Action, Agent, AgentConfig, AgentEvent, ApplyOutcome, RemoveOutcome};
use bus_schema::secret::{LinkSecret, Trust};

use crate::broker::{Link, Packet};
use crate::disk::AgentDisk;
use crate::member::Member;
use crate::object::MAX_OBJECT;
use crate::world::{Event, World};

/// The key of an agent; it has one whatever becomes of its disk.
pub fn link_secret(edge: usize) -> LinkSecret {
    LinkSecret::new([edge as u8 + 1; 32])
}

/// The key of the hub; a restored hub has it still.
pub fn hub_secret() -> LinkSecret {
    LinkSecret::new([0xee; 32])
}

/// When an armed crash strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    BeforeCommit,
    AfterCommit,
    AfterSend,
}

/// A crash that waits for the n-th commit or send.
#[derive(Debug, Clone, Copy)]
pub struct Armed {
    pub strike: Strike,
    pub countdown: u8,
}

impl Armed {
    /// Whether it strikes now.
    pub fn hit(armed: &mut Option<Armed>, strike: Strike) -> bool {
        let Some(waiting) = armed.as_mut().filter(|waiting| waiting.strike == strike) else { return false };
        waiting.countdown = waiting.countdown.saturating_sub(1);
        let hit = waiting.countdown == 0;
        if hit {
            *armed = None;
        }
        hit
    }
}

#[derive(Debug, Default)]
pub struct Edge {
    pub disk: AgentDisk,
    pub agent: Option<Agent>,
    pub member: Member,
    pub link: Link,
    pub boot: u64,
    pub armed: Option<Armed>,
    /// Objects that the agent has reason to apply again although nothing changed.
    pub excused: BTreeSet<ObjectId>,
}

/// What a member answered.
#[derive(Debug, Clone)]
pub enum Outcome {
    Apply(ApplyOutcome),
    Remove(RemoveOutcome),
}

impl World {
    pub(crate) fn start_agent(&mut self, edge: usize) {
        let trust = Trust { own: link_secret(edge), peer: hub_secret().public() };
        let site = &mut self.edges[edge];
        if site.agent.is_some() {
            return;
        }
        site.boot = self.rng.u64(1..);
        let features = self.rng.u64(..8);
        let config = AgentConfig {
            max_object: MAX_OBJECT,
            max_in_flight: 4,
            features,
            ..AgentConfig::new(BootId(site.boot), trust, self.key.clone())
        };
        site.agent = Some(Agent::new(config, site.disk.state.clone(), self.now));
        let everything = site.disk.state.items.keys().chain(site.member.objects.keys()).cloned();
        site.excused.extend(everything);
        let boot = site.boot;
        self.trace(|| format!("agent {edge} starts"));
        self.pump_agent(edge);
        let pause = self.rng.u64(1..2_000);
        self.at(pause, Event::Survey { edge, boot });
        let pause = self.rng.u64(1..1_000);
        self.at(pause, Event::Connect { edge });
    }

    pub(crate) fn crash_agent(&mut self, edge: usize) {
        if self.edges[edge].agent.take().is_none() {
            return;
        }
        self.counts.agent_crashes += 1;
        self.trace(|| format!("agent {edge} crashes"));
        self.cut(edge, 0);
        let pause = self.rng.u64(1..5_000);
        self.at(pause, Event::StartAgent { edge });
    }

    /// The member is asked what it has.
    pub(crate) fn survey(&mut self, edge: usize, boot: u64) {
        let now = self.now;
        let site = &mut self.edges[edge];
        if site.boot != boot {
            return;
        }
        let Some(agent) = &mut site.agent else { return };
        agent.surveyed(site.member.survey(), now);
        self.pump_agent(edge);
    }

    pub(crate) fn agent_timeout(&mut self, edge: usize) {
        let nonce = self.nonce();
        let now = self.now;
        if let Some(agent) = &mut self.edges[edge].agent {
            agent.timeout(nonce, now);
            self.pump_agent(edge);
        }
    }

    pub(crate) fn agent_hears(&mut self, packet: &Packet) {
        let (edge, nonce, now) = (packet.edge, self.nonce(), self.now);
        let site = &mut self.edges[edge];
        let Some(agent) = &mut site.agent else { return };
        let taken = agent.frame(&packet.frame, nonce, &site.disk, now).is_ok();
        let session = agent.state().last_session;
        self.check_forged(packet, taken);
        self.check_taken(packet, taken, session);
        self.pump_agent(edge);
    }

    /// Commits, says and does what the agent wants, until it wants nothing.
    pub(crate) fn pump_agent(&mut self, edge: usize) {
        for _ in 0..10_000 {
            if self.failure.is_some() || self.edges[edge].agent.is_none() {
                return;
            }
            // Asked before the commit on purpose: an agent must keep silent until then.
            let spoke = self.agent_speaks(edge);
            let Some(agent) = &mut self.edges[edge].agent else { return };
            let writes = agent.take_writes();
            if !writes.is_empty() {
                if self.strikes_agent(edge, Strike::BeforeCommit) {
                    return;
                }
                self.edges[edge].disk.commit(&writes);
                self.after_agent_commit(edge);
                if self.strikes_agent(edge, Strike::AfterCommit) {
                    return;
                }
                continue;
            }
            let event = self.edges[edge].agent.as_mut().and_then(Agent::poll_event);
            if let Some(event) = &event {
                self.on_agent_event(edge, event);
            }
            if !spoke && event.is_none() && !self.agent_acts(edge) {
                return;
            }
        }
        self.fail(format!("agent {edge} never comes to rest"));
    }

    fn strikes_agent(&mut self, edge: usize, strike: Strike) -> bool {
        let hit = Armed::hit(&mut self.edges[edge].armed, strike);
        if hit {
            self.count_strike(strike);
            self.crash_agent(edge);
        }
        hit
    }

    fn on_agent_event(&mut self, edge: usize, event: &AgentEvent) {
        self.trace(|| format!("agent {edge}: {event:?}"));
        if *event == AgentEvent::UnknownSid {
            let pause = self.rng.u64(1..3_000);
            self.at(pause, Event::Register { edge });
        }
    }

    fn agent_speaks(&mut self, edge: usize) -> bool {
        let (now, max_frame) = (self.now, self.max_frame);
        let site = &mut self.edges[edge];
        let Some(agent) = &mut site.agent else { return false };
        let Some(frame) = agent.poll_transmit(max_frame, now) else { return false };
        let session = if agent.in_session() { agent.state().last_session } else { 0 };
        let connection = site.link.connection;
        self.check_agent_frame(edge, session, &frame);
        self.send(Packet { edge, up: true, connection, session, frame, forged: false });
        !self.strikes_agent(edge, Strike::AfterSend)
    }

    fn agent_acts(&mut self, edge: usize) -> bool {
        let now = self.now;
        let site = &mut self.edges[edge];
        let Some(action) = site.agent.as_mut().and_then(|agent| agent.poll_action(now)) else { return false };
        let boot = site.boot;
        let content = match &action {
            Action::Apply { hash, .. } => site.disk.content(hash),
            Action::Remove { .. } => None,
        };
        self.trace(|| format!("agent {edge} {action:?}"));
        self.check_action(edge, &action, content.as_deref());
        let pause = self.rng.u64(1..400);
        self.at(pause, Event::Effect { edge, boot, action, content });
        true
    }

    /// A request reaches the member's API server.
    pub(crate) fn effect(&mut self, edge: usize, boot: u64, action: &Action, content: Option<Vec<u8>>) {
        let outcome = match action {
            Action::Apply { object, .. } => Outcome::Apply(self.try_apply(edge, object, content)),
            Action::Remove { object, live, .. } => Outcome::Remove(self.try_remove(edge, object, live.as_ref())),
        };
        let pause = self.rng.u64(1..200);
        self.at(pause, Event::Answer { edge, boot, action: action.clone(), outcome });
    }

    fn try_apply(&mut self, edge: usize, object: &ObjectId, content: Option<Vec<u8>>) -> ApplyOutcome {
        let dice = self.trouble();
        let unavailable = ApplyOutcome::Unavailable { code: 503, message: "try later".into() };
        let Some(content) = content else { return unavailable };
        match dice {
            0..3 => {
                self.counts.failed_applies += 1;
                return unavailable;
            }
            3 => {
                self.counts.refused_applies += 1;
                return ApplyOutcome::Refused { code: 422, message: "spec.replicas: must be a number".into() };
            }
            _ => {}
        }
        let outcome = self.edges[edge].member.apply(object, &content);
        if matches!(outcome, ApplyOutcome::Applied(_)) {
            self.counts.applies += 1;
        }
        // The answer is lost although it was done.
        if dice == 4 { unavailable } else { outcome }
    }

    fn try_remove(&mut self, edge: usize, object: &ObjectId, live: Option<&bus_schema::link::agent::Live>) -> RemoveOutcome {
        let dice = self.trouble();
        let unavailable = RemoveOutcome::Unavailable { code: 503, message: "try later".into() };
        if dice < 3 {
            self.counts.failed_removals += 1;
            return unavailable;
        }
        let slow = (3..6).contains(&dice);
        let outcome = self.edges[edge].member.remove(object, live, slow);
        match &outcome {
            RemoveOutcome::Gone => self.counts.removals += 1,
            RemoveOutcome::Kept { .. } => self.counts.kept_removals += 1,
            RemoveOutcome::Deleting if slow => {
                self.counts.slow_removals += 1;
                let pause: Millis = self.rng.u64(1..4_000);
                self.at(pause, Event::Finalized { edge, object: object.clone() });
            }
            _ => {}
        }
        if dice == 6 { unavailable } else { outcome }
    }

    /// Finalizers are done: the object goes, and the watch rings.
    pub(crate) fn finalized(&mut self, edge: usize, object: &ObjectId) {
        let site = &mut self.edges[edge];
        if site.member.objects.get(object).is_some_and(|live| live.deleting) {
            site.member.objects.remove(object);
        }
    }

    pub(crate) fn answer(&mut self, edge: usize, boot: u64, action: &Action, outcome: Outcome) {
        let now = self.now;
        let site = &mut self.edges[edge];
        if site.boot != boot {
            return;
        }
        let Some(agent) = &mut site.agent else { return };
        match (action, outcome) {
            (Action::Apply { object, hash, .. }, Outcome::Apply(outcome)) => {
                if !matches!(outcome, ApplyOutcome::Applied(_)) {
                    site.excused.insert(object.clone());
                }
                agent.applied(object, *hash, outcome, now);
            }
            (Action::Remove { object, .. }, Outcome::Remove(outcome)) => {
                site.excused.insert(object.clone());
                agent.removed(object, outcome, now);
            }
            _ => {}
        }
        self.pump_agent(edge);
    }
}
