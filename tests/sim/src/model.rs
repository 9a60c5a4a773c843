//! What must hold, judged from outside: from frames as they are sent, from disks, and from the members' objects.

use std::collections::{BTreeMap, BTreeSet};

use bus_schema::hash::{Domain, Hash};
use bus_schema::id::{BundleId, IncarnationId, ObjectId, SessionId};
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
    pub told: Vec<BTreeMap<(ObjectId, BundleId), Told>>,
    /// Roots under which an administrator let unclaimed objects go.
    pub confirmed: Vec<BTreeSet<Hash>>,
    last_told: Vec<Option<(Hash, Told)>>,
    /// What the hub said, by root and stamp.
    sent: BTreeMap<(usize, Hash, Stamp), Told>,
    /// What each start of the hub knew of those before it.
    pub hubs: BTreeMap<IncarnationId, BTreeMap<IncarnationId, u64>>,
    proven: Vec<BTreeSet<(ObjectId, BundleId)>>,
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
            hubs: BTreeMap::new(),
            proven: vec![BTreeSet::new(); edges],
            order: vec![0; edges],
            sealed: BTreeSet::new(),
            greeted: BTreeMap::new(),
        }
    }

    /// The agent's disk is emptied: nobody but the hub knows any more.
    pub fn forget(&mut self, edge: usize) {
        self.told[edge].clear();
        self.proven[edge].clear();
        (self.last_told[edge], self.order[edge]) = (None, 0);
    }
}

impl World {
    /// What the hub takes for listed is told from then on.
    pub(crate) fn note_told(&mut self, edge: usize) {
        let Some(hub) = &self.hub else { return };
        let (Some(link), Some(asked)) = (hub.links.get(&edge), hub.asked.get(&edge)) else { return };
        let same_session = link.session() == Some(SessionId(self.edges[edge].disk.state.last_session));
        if !same_session || !link.is_listed() || link.desired().is_none_or(|desired| desired.list.root != asked.list.root) {
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
            let known = self.model.told[edge].entry((entry.object.clone(), entry.bundle)).or_insert(told);
            let since = if known.incarnation == told.incarnation { known.since.max(told.since) } else { told.since };
            *known = Told { since, ..told };
        }
    }

    /// Whether that start of the hub could know that an object was asked for last.
    fn is_provable(&self, hub: IncarnationId, told: Told) -> bool {
        let closed = self.model.hubs.get(&hub).and_then(|rows| rows.get(&told.incarnation));
        told.incarnation == hub || closed.is_some_and(|closed| told.since <= *closed)
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
        let excused = self.edges[edge].excused.remove(object);
        if applied == Some(hash) && !excused {
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
        let mut removals = site.disk.state.removals.iter().filter(|((id, _), _)| id == object).peekable();
        if removals.peek().is_none() || removals.any(|(_, removal)| !removal.proven) {
            self.fail(format!("agent {edge} removes {object} without proof under {root:?}"));
        }
    }

    /// A removal becomes proven only by a hub that knew of the object, or by an administrator.
    fn check_proofs(&mut self, edge: usize) {
        let disk = &self.edges[edge].disk.state;
        let proven: BTreeSet<_> = disk.removals.iter().filter(|(_, removal)| removal.proven).map(|(key, _)| key.clone()).collect();
        let Some(list) = disk.list.as_ref().filter(|_| proven != self.model.proven[edge]) else { return };
        let (hub, root) = (list.stamp.incarnation, self.key.hash(Domain::List, &list.bytes));
        let confirmed = self.model.confirmed[edge].contains(&root);
        let fresh: Vec<_> = proven.difference(&self.model.proven[edge]).cloned().collect();
        for (object, bundle) in fresh {
            let told = self.model.told[edge].get(&(object.clone(), bundle)).copied();
            if !confirmed && !told.is_some_and(|told| self.is_provable(hub, told)) {
                self.fail(format!(
                    "agent {edge} takes it for proven that {object} may go under {root:?} of {hub}: told {told:?}, known {:?}",
                    self.model.hubs.get(&hub)
                ));
            }
        }
        self.model.proven[edge] = proven;
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
            _ if !self.model.sealed.insert((session, up, counter)) => {
                self.fail(format!("counter {counter} of session {session:x} is used twice"))
            }
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
            Inside::Hello(hello) if Hash::read(&hello.listed) != self.disk_root(edge) => {
                self.fail(format!("agent {edge} greets with a list that its disk does not hold"))
            }
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
        if let Some(listed) = report.listed.filter(|listed| *listed != disk_root.map_or(0, |root| root.short())) {
            return self.fail(format!("agent {edge} reports list {listed:x} as stored, its disk has {disk_root:?}"));
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
            Inside::Welcome(welcome) => self.note_said(edge, welcome.resource_version),
            Inside::Confirm(confirm) if !Hash::read(&confirm.list).is_some_and(|root| self.model.confirmed[edge].contains(&root)) => {
                self.fail(format!("the hub confirms what nobody confirmed for {edge}"));
            }
            Inside::StatusAck(ack) if self.disk.links.get(&edge).is_some_and(|state| state.table.root(&self.key) != ack.root) => {
                self.fail(format!("the hub acknowledges a status of {edge} that its disk does not hold"));
            }
            _ => {}
        }
    }

    /// The list of this moment was asserted, with this stamp.
    fn note_said(&mut self, edge: usize, resource_version: u64) {
        let Some(hub) = &self.hub else { return };
        let Some(asked) = hub.asked.get(&edge) else { return };
        let incarnation = hub.config.incarnation;
        self.model.sent.insert((edge, asked.list.root, Stamp { incarnation, resource_version }), Told { incarnation, since: asked.since });
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
                self.model.told[edge].insert((entry.object, entry.bundle), told);
            }
        } else if target == wanted {
            self.note_said(edge, delta.resource_version);
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
        self.note_stored(edge);
        self.check_proofs(edge);
    }

    /// A list that the agent stored was told.
    fn note_stored(&mut self, edge: usize) {
        let stored = self.edges[edge]
            .agent
            .as_ref()
            .zip(self.edges[edge].disk.state.list.as_ref())
            .map(|(agent, stored)| (agent.list().root, stored.stamp));
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
                found.push(format!(
                    "{edge}: {} is {live:?}, desired is {hash:?}, status {:?}",
                    entry.object,
                    status.rows.get(&entry.object)
                ));
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
