//! What must hold, judged from outside: from frames as they are sent, from disks, and from the members' objects.

use std::collections::{BTreeMap, BTreeSet};

use bus_schema::hash::{Domain, Hash};
use bus_schema::id::{IncarnationId, ObjectId, SessionId};
use bus_schema::link::Cache;
use bus_schema::link::agent::{Action, Origin};
use bus_schema::list::{DesiredList, Wanted};
use bus_schema::message::{Delta, Kind, Report};
use bus_schema::stamp::Stamp;
use bus_schema::status::State;

use crate::broker::Packet;
use crate::inspect::{Inside, inspect};
use crate::object::MAX_OBJECT;
use crate::world::World;

/// When the hub last knew that the member shall have an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub incarnation: IncarnationId,
    pub since: u64,
}

/// What the model remembers.
#[derive(Debug, Clone)]
pub struct Model {
    /// Per edge: what the agent confirmed to have been told.
    pub told: Vec<BTreeMap<ObjectId, Told>>,
    /// Roots under which an administrator let unclaimed objects go.
    pub confirmed: Vec<BTreeSet<Hash>>,
    last_told: Vec<Option<(Hash, Told)>>,
    /// What the hub said, by root and stamp.
    sent: BTreeMap<(usize, Hash, Stamp), Told>,
    order: Vec<u64>,
    sealed: BTreeSet<(u64, bool, u64)>,
    greeted: BTreeMap<(usize, bool), Vec<u8>>,
}

impl Model {
    pub fn new(edges: usize) -> Model {
        Model {
            told: vec![BTreeMap::new(); edges],
            confirmed: vec![BTreeSet::new(); edges],
            last_told: vec![None; edges],
            sent: BTreeMap::new(),
            order: vec![0; edges],
            sealed: BTreeSet::new(),
            greeted: BTreeMap::new(),
        }
    }

    /// The agent's disk is emptied: nobody but the hub knows any more.
    pub fn forget(&mut self, edge: usize) {
        self.told[edge].clear();
        (self.last_told[edge], self.order[edge]) = (None, 0);
    }
}

impl World {
    /// What the hub takes for listed is told from then on.
    pub(crate) fn note_told(&mut self, edge: usize) {
        let Some(hub) = &self.hub else { return };
        let (Some(link), Some(asked)) = (hub.links.get(&edge), hub.asked.get(&edge)) else { return };
        if link.session().is_none() || !link.is_listed() || link.desired().is_none_or(|desired| desired.list.root != asked.list.root) {
            return;
        }
        let told = Told { incarnation: hub.config.incarnation, since: asked.since };
        if self.model.last_told[edge] == Some((asked.list.root, told)) {
            return;
        }
        self.model.last_told[edge] = Some((asked.list.root, told));
        let list = asked.list.clone();
        self.tell(edge, &list, told);
        let held = self.edges[edge].disk.state.list.as_ref().map(|stored| self.key.hash(Domain::List, &stored.bytes));
        if held != Some(list.root) {
            self.fail(format!("the hub takes {:?} for stored by {edge}, whose disk has {held:?}", list.root));
        }
    }

    fn tell(&mut self, edge: usize, list: &DesiredList, told: Told) {
        for entry in &list.entries {
            let known = self.model.told[edge].entry(entry.object.clone()).or_insert(told);
            let since = if known.incarnation == told.incarnation { known.since.max(told.since) } else { told.since };
            *known = Told { since, ..told };
        }
    }

    /// Whether the hub of this moment can know that an object was asked for last.
    fn is_provable(&self, told: Told) -> bool {
        match self.disk.incarnations.get(&told.incarnation) {
            Some(None) => true,
            Some(Some(closed)) => told.since <= *closed,
            None => false,
        }
    }

    pub(crate) fn check_action(&mut self, edge: usize, action: &Action, content: Option<&[u8]>) {
        match action {
            Action::Apply { object, hash, .. } => self.check_apply(edge, object, *hash, content),
            Action::Remove { object, .. } => self.check_removal(edge, object),
        }
    }

    fn check_apply(&mut self, edge: usize, object: &ObjectId, hash: Hash, content: Option<&[u8]>) {
        let site = &self.edges[edge];
        let applied = site.disk.state.items.get(object).and_then(|item| item.applied);
        if content.map(|content| self.key.hash(Domain::Object, content)) != Some(hash) {
            return self.fail(format!("agent {edge} applies {object} from bytes that are not {hash}"));
        }
        if applied == Some(hash) && !site.excused.contains(object) {
            self.fail(format!("agent {edge} applies {object} {hash} twice for no reason"));
        }
    }

    fn check_removal(&mut self, edge: usize, object: &ObjectId) {
        let site = &self.edges[edge];
        let Some(agent) = &site.agent else { return };
        let list = agent.list();
        let root = list.root;
        if !list.claims(object).is_empty() {
            return self.fail(format!("agent {edge} removes {object}, which its own list still names"));
        }
        let confirmed = self.model.confirmed[edge].iter().next().is_some();
        let told = self.model.told[edge].get(object).copied();
        let live = site.member.objects.contains_key(object);
        let proved = told.is_some_and(|told| self.is_provable(told));
        if live && !proved && !confirmed {
            self.fail(format!("agent {edge} removes {object} without proof under {root:?}: told {told:?}, incarnations {:?}", self.disk.incarnations));
        }
    }

    /// No state of another session is taken.
    pub(crate) fn check_taken(&mut self, packet: &Packet, taken: bool, session: u64) {
        let free = matches!(inspect(&packet.frame), Some((_, Inside::Welcome(_) | Inside::Other(Kind::NoSession))));
        if taken && !free && packet.session != session {
            self.fail(format!("agent {} took a frame of session {:x} in session {session:x}", packet.edge, packet.session));
        }
    }

    /// No state of another session is taken, and no Hello alone ends a session.
    pub(crate) fn check_hub_took(&mut self, packet: &Packet, taken: bool, before: Option<SessionId>, after: Option<SessionId>) {
        let hello = matches!(inspect(&packet.frame), Some((_, Inside::Hello(_))));
        if hello && before != after {
            self.fail(format!("a Hello of {} ended session {before:?}", packet.edge));
        }
        if !hello && taken && Some(SessionId(packet.session)) != after {
            self.fail(format!("the hub took a frame of session {:x} of {} in session {after:?}", packet.session, packet.edge));
        }
    }

    fn check_seal(&mut self, edge: usize, up: bool, session: u64, counter: u64, inside: &Inside, frame: &[u8]) {
        if frame.len() > self.max_frame.max(bus_schema::limits::MIN_FRAME) {
            self.fail(format!("a frame of {} bytes where {} were asked for: {}", frame.len(), self.max_frame, inside.line()));
        }
        match inside {
            Inside::Hello(_) | Inside::Welcome(_) => drop(self.model.greeted.insert((edge, up), frame.to_vec())),
            Inside::Other(Kind::NoSession) => {}
            _ if !self.model.sealed.insert((session, up, counter)) => self.fail(format!("counter {counter} of session {session:x} is used twice")),
            _ => {}
        }
    }

    pub(crate) fn check_agent_frame(&mut self, edge: usize, session: u64, frame: &[u8]) {
        let Some((counter, inside)) = inspect(frame) else { return self.fail(format!("agent {edge} sent a damaged frame")) };
        self.check_seal(edge, true, session, counter, &inside, frame);
        match &inside {
            Inside::Report(report) => {
                self.counts.reports += 1;
                self.check_report(edge, report);
            }
            Inside::Want(_) => self.counts.wants += 1,
            Inside::Hello(hello) if Hash::read(&hello.listed) != self.disk_root(edge) => self.fail(format!("agent {edge} greets with a list that its disk does not hold")),
            _ => {}
        }
    }

    fn disk_root(&self, edge: usize) -> Option<Hash> {
        let stored = self.edges[edge].disk.state.list.as_ref()?;
        Some(self.key.hash(Domain::List, &stored.bytes))
    }

    /// An agent says only what its disk holds.
    fn check_report(&mut self, edge: usize, report: &Report) {
        let disk_root = self.disk_root(edge);
        if report.listed != disk_root.map_or(0, |root| root.short()) {
            return self.fail(format!("agent {edge} reports list {:x} as stored, its disk has {disk_root:?}", report.listed));
        }
        let site = &self.edges[edge];
        let Some(agent) = &site.agent else { return };
        let lacks = |wanted: &Wanted| matches!(wanted, Wanted::Content { hash, size, .. } if *size <= MAX_OBJECT && site.disk.content(hash).is_none());
        let lacking = agent.list().entries.iter().any(|entry| lacks(&entry.wanted));
        if report.held && lacking {
            return self.fail(format!("agent {edge} reports content as held that its disk lacks"));
        }
        let untrue = agent.status().rows.iter().find(|(object, status)| {
            let applied = site.disk.state.items.get(object).and_then(|item| item.applied);
            status.state == State::Applied && status.hash.is_some() && status.hash != applied
        });
        if let Some((object, _)) = untrue {
            let message = format!("agent {edge} reports {object} as applied, which its disk does not say");
            self.fail(message);
        }
    }

    pub(crate) fn check_hub_frame(&mut self, edge: usize, session: u64, frame: &[u8]) {
        let Some((counter, inside)) = inspect(frame) else { return self.fail("the hub sent a damaged frame".into()) };
        self.check_seal(edge, false, session, counter, &inside, frame);
        match &inside {
            Inside::Delta(delta) => {
                self.counts.deltas += 1;
                self.check_delta(edge, delta);
            }
            Inside::Content(_) => self.counts.contents += 1,
            Inside::Confirm(confirm) if !Hash::read(&confirm.list).is_some_and(|root| self.model.confirmed[edge].contains(&root)) => {
                self.fail(format!("the hub confirms what nobody confirmed for {edge}"));
            }
            Inside::StatusAck(ack) if self.disk.links.get(&edge).is_some_and(|state| state.table.root(&self.key) != ack.root) => {
                self.fail(format!("the hub acknowledges a status of {edge} that its disk does not hold"));
            }
            _ => {}
        }
    }

    /// Latest wins; ordering numbers never go back.
    fn check_delta(&mut self, edge: usize, delta: &Delta) {
        let target = Hash::read(&delta.target);
        let Some(hub) = &self.hub else { return };
        let wanted = hub.asked.get(&edge).map(|asked| asked.list.root);
        if delta.recover {
            self.counts.recoveries += 1;
            let acked = self.disk.links.get(&edge).and_then(|state| state.acked.clone());
            let Some(acked) = acked.filter(|acked| Some(self.key.hash(Domain::List, &acked.bytes)) == target) else {
                return self.fail(format!("the hub recovers {edge} with a list that was never acknowledged"));
            };
            let list = bus_schema::list::DesiredList::parse(&acked.bytes, &self.key).map(|list| list.entries).unwrap_or_default();
            let told = Told { incarnation: acked.stamp.incarnation, since: acked.stamp.resource_version };
            for entry in list {
                self.model.told[edge].entry(entry.object).or_insert(told);
            }
        } else if let (Some(asked), true) = (hub.asked.get(&edge), target == wanted) {
            let stamp = Stamp { incarnation: hub.config.incarnation, resource_version: delta.resource_version };
            let told = Told { incarnation: hub.config.incarnation, since: asked.since };
            self.model.sent.insert((edge, asked.list.root, stamp), told);
        } else {
            return self.fail(format!("the hub sends {target:?} to {edge}, wanted is {wanted:?}"));
        }
        if self.disk.links.get(&edge).is_some_and(|state| state.order < delta.order) {
            self.fail(format!("the hub uses order {} for {edge}, its disk has not that", delta.order));
        }
    }

    pub(crate) fn after_agent_commit(&mut self, edge: usize) {
        let order = self.edges[edge].disk.state.order;
        if order < self.model.order[edge] {
            self.fail(format!("order of agent {edge} went back from {} to {order}", self.model.order[edge]));
        }
        self.model.order[edge] = order;
        let stored = self.edges[edge].agent.as_ref().zip(self.edges[edge].disk.state.list.as_ref()).map(|(agent, stored)| (agent.list().root, stored.stamp));
        let Some(told) = stored.and_then(|(root, stamp)| self.model.sent.remove(&(edge, root, stamp))) else { return };
        if let Some(list) = self.edges[edge].agent.as_ref().map(|agent| agent.list().clone()) {
            self.tell(edge, &list, told);
        }
    }

    /// What is not as it should be once everything has come to rest; empty when all is well.
    pub fn differences(&mut self) -> Vec<String> {
        (0..self.edges.len()).flat_map(|edge| self.differences_of(edge)).collect()
    }

    fn differences_of(&mut self, edge: usize) -> Vec<String> {
        let mut found = Vec::new();
        let rendered = self.disk.store.render(edge, &self.universe, &self.key);
        let (root, list) = (rendered.list.root, rendered.list);
        let Some(link) = self.hub.as_ref().and_then(|hub| hub.links.get(&edge)) else { return vec![format!("{edge} is not registered")] };
        if !link.is_listed() || link.acked().is_none_or(|acked| acked.root != root) {
            found.push(format!("{edge}: the hub does not know that {root:?} is listed"));
        }
        let hub_table = link.table().clone();
        let Some(agent) = &mut self.edges[edge].agent else { return vec![format!("{edge} does not run")] };
        if !agent.in_session() {
            found.push(format!("{edge}: no session"));
        }
        if agent.list().root != root {
            found.push(format!("{edge}: the agent has {:?}, not {root:?}", agent.list().root));
        }
        if !agent.is_held() || !agent.is_reported() {
            found.push(format!("{edge}: held {}, reported {}", agent.is_held(), agent.is_reported()));
        }
        if *agent.status() != hub_table {
            found.push(format!("{edge}: status differs: {:?} and {hub_table:?}", agent.status()));
        }
        let status = agent.status().clone();
        let member = &self.edges[edge].member;
        for entry in list.objects() {
            let live = member.objects.get(&entry.object);
            let Wanted::Content { hash, size, .. } = entry.wanted else { continue };
            let is = live.map(|live| self.key.hash(Domain::Object, &live.content));
            if size <= MAX_OBJECT && (is != Some(hash) || live.is_none_or(|live| live.ours.is_none() || live.deleting)) {
                found.push(format!("{edge}: {} is {live:?}, desired is {hash:?}, status {:?}", entry.object, status.rows.get(&entry.object)));
            }
        }
        for (object, live) in &member.objects {
            let state = status.rows.get(object).map(|row| row.state);
            let left = live.ours.is_some() && list.claims(object).is_empty();
            if left && !matches!(state, Some(State::Unclaimed | State::Kept)) {
                found.push(format!("{edge}: {object} is left behind, its row says {state:?}"));
            }
            if live.ours == Some(Origin::Created) && live.content == b"theirs" {
                found.push(format!("{edge}: {object} is somebody else's and carries our mark as made by us"));
            }
        }
        found
    }

    /// Objects that wait for an administrator's word.
    pub fn unclaimed(&self, edge: usize) -> usize {
        let rows = self.hub.as_ref().and_then(|hub| hub.links.get(&edge)).map(|link| &link.table().rows);
        rows.map_or(0, |rows| rows.values().filter(|row| row.state == State::Unclaimed).count())
    }
}
