//! What users and the world do to the world.

use bus_schema::id::Millis;

use crate::broker::Weather;
use crate::disk::AgentDisk;
use crate::draw::Draw;
use crate::edge::{Armed, Strike};
use crate::object::MAX_OBJECT;
use crate::store::{Subscription, Template};
use crate::world::World;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    ChangeTemplate,
    DeleteTemplate,
    AddFeed,
    RemoveFeed,
    AddSubscription,
    DeleteSubscription,
    ChangeClusters,
    ChangePriority,
    Cut,
    Heal,
    BrokerRestart,
    CrashHub,
    CrashAgent,
    CopyHub,
    RestoreHub,
    EmptyHub,
    EmptyAgent,
    PlaceForeign,
    Inhabit,
    Leave,
    Drift,
    ConfirmPrune,
    ChangeWeather,
    Wait,
}

use Transition::*;

/// How often each is drawn, relative to the others.
const WEIGHTS: &[(Transition, u32)] = &[
    (ChangeTemplate, 16),
    (DeleteTemplate, 4),
    (AddFeed, 10),
    (RemoveFeed, 9),
    (AddSubscription, 9),
    (DeleteSubscription, 4),
    (ChangeClusters, 5),
    (ChangePriority, 3),
    (Cut, 8),
    (Heal, 6),
    (BrokerRestart, 2),
    (CrashHub, 5),
    (CrashAgent, 7),
    (CopyHub, 3),
    (RestoreHub, 2),
    (EmptyHub, 1),
    (EmptyAgent, 2),
    (PlaceForeign, 2),
    (Inhabit, 2),
    (Leave, 2),
    (Drift, 3),
    (ConfirmPrune, 3),
    (ChangeWeather, 3),
    (Wait, 14),
];

impl Transition {
    pub fn draw(rng: &mut fastrand::Rng) -> Transition {
        let mut dice = rng.u32(..WEIGHTS.iter().map(|(_, weight)| weight).sum::<u32>());
        for (transition, weight) in WEIGHTS {
            match dice.checked_sub(*weight) {
                Some(left) => dice = left,
                None => return *transition,
            }
        }
        Wait
    }
}

impl Transition {
    fn is_fault(self) -> bool {
        !matches!(
            self,
            ChangeTemplate
                | DeleteTemplate
                | AddFeed
                | RemoveFeed
                | AddSubscription
                | DeleteSubscription
                | ChangeClusters
                | ChangePriority
                | Wait
        )
    }
}

impl World {
    /// One step: something happens, then a while passes.
    pub fn step(&mut self, calm: bool) {
        let mut transition = Transition::draw(&mut self.rng);
        while (calm && transition.is_fault()) || (self.steady && matches!(transition, RestoreHub | EmptyHub)) {
            transition = Transition::draw(&mut self.rng);
        }
        self.counts.steps += 1;
        self.trace(|| format!("--- {transition:?}"));
        self.act(transition);
        let span = match self.rng.u8(..10) {
            0..4 => self.rng.u64(..300),
            4..9 => self.rng.u64(..3_000),
            _ => self.rng.u64(..15_000),
        };
        self.run(span);
    }

    fn act(&mut self, transition: Transition) {
        let edge = self.rng.index(..self.edges.len());
        match transition {
            ChangeTemplate | DeleteTemplate | AddFeed | RemoveFeed | AddSubscription | DeleteSubscription | ChangeClusters
            | ChangePriority => self.write_store(transition),
            Cut => {
                let pause = self.rng.u64(..30_000);
                self.cut(edge, pause);
            }
            Heal => self.edges.iter_mut().for_each(|site| site.link.severed_until = 0),
            BrokerRestart => {
                self.counts.broker_restarts += 1;
                (0..self.edges.len()).for_each(|edge| self.cut(edge, 500));
            }
            CrashHub => self.arm_hub(),
            CrashAgent => self.arm_agent(edge),
            CopyHub => self.copies.push(self.disk.clone()),
            RestoreHub | EmptyHub => self.replace_hub_disk(transition),
            EmptyAgent => self.empty_agent(edge),
            PlaceForeign => {
                let id = self.universe[self.rng.index(..self.universe.len())].id.clone();
                self.counts.foreign_objects += u64::from(self.edges[edge].member.place_foreign(&id));
            }
            Inhabit | Leave => self.edges[edge]
                .member
                .objects
                .iter_mut()
                .filter(|(id, _)| id.kind == "Namespace")
                .for_each(|(_, live)| live.inhabited = transition == Inhabit),
            Drift => self.drift(edge),
            ConfirmPrune => self.confirm_prune(edge),
            ChangeWeather => self.change_weather(),
            Wait => {}
        }
    }

    fn write_store(&mut self, transition: Transition) {
        if self.hub.is_none() {
            return;
        }
        self.disk.store.resource_version += 1 + self.rng.u64(..3);
        let resource_version = self.disk.store.resource_version;
        let feed = self.rng.index(..self.universe.len());
        let (edges, uid, fresh) = (self.edges.len(), self.draw_subscription(), self.rng.u64(1..));
        let huge = self.rng.u8(..12) == 0;
        let rng = &mut self.rng;
        let store = &mut self.disk.store;
        let subscription = uid.and_then(|uid| store.subscriptions.get_mut(&uid));
        match (transition, subscription) {
            (ChangeTemplate, _) => {
                let bytes = if huge { MAX_OBJECT as usize + 100 } else { self.universe[feed].bytes };
                let template = store.templates.entry(feed).or_insert(Template { resource_version, seed: fresh, bytes });
                (template.resource_version, template.bytes) = (resource_version, bytes);
            }
            (DeleteTemplate, _) => drop(store.templates.remove(&feed)),
            (AddFeed, Some(subscription)) => drop(subscription.feeds.insert(feed)),
            (RemoveFeed, Some(subscription)) => {
                let feeds: Vec<_> = subscription.feeds.iter().copied().collect();
                rng.pick(feeds).map(|feed| subscription.feeds.remove(&feed));
            }
            (ChangeClusters, Some(subscription)) => {
                let cluster = rng.index(..edges);
                if !subscription.clusters.remove(&cluster) {
                    subscription.clusters.insert(cluster);
                }
            }
            (ChangePriority, Some(subscription)) => (subscription.priority, subscription.version) = (rng.u8(..3), rng.u64(..3)),
            (DeleteSubscription, Some(_)) => drop(uid.and_then(|uid| store.subscriptions.remove(&uid))),
            (AddSubscription, _) => {
                let feeds = (0..rng.index(1..6)).map(|_| rng.index(..self.universe.len())).collect();
                let clusters = (0..edges).filter(|_| rng.u8(..3) > 0).collect();
                if store.subscriptions.len() < 5 {
                    store.subscriptions.insert(fresh, Subscription { feeds, clusters, priority: rng.u8(..3), version: rng.u64(..3) });
                }
            }
            _ => {}
        }
        self.plan_soon();
    }

    fn draw_subscription(&mut self) -> Option<u64> {
        let uids: Vec<u64> = self.disk.store.subscriptions.keys().copied().collect();
        self.rng.pick(uids)
    }

    fn draw_strike(&mut self) -> Armed {
        let strike = [Strike::BeforeCommit, Strike::AfterCommit, Strike::AfterSend][self.rng.index(..3)];
        Armed { strike, countdown: self.rng.u8(1..6) }
    }

    fn arm_hub(&mut self) {
        match self.rng.bool() {
            true => self.crash_hub(),
            false => self.hub_armed = Some(self.draw_strike()),
        }
    }

    fn arm_agent(&mut self, edge: usize) {
        match self.rng.u8(..4) == 0 {
            true => self.crash_agent(edge),
            false => self.edges[edge].armed = Some(self.draw_strike()),
        }
    }

    fn replace_hub_disk(&mut self, transition: Transition) {
        let copy = match transition {
            EmptyHub => crate::disk::HubDisk::default(),
            _ if self.copies.is_empty() => return,
            _ => self.copies[self.rng.index(..self.copies.len())].clone(),
        };
        self.crash_hub();
        match transition {
            EmptyHub => self.counts.hubs_emptied += 1,
            _ => self.counts.hub_restores += 1,
        }
        self.disk = copy;
    }

    fn empty_agent(&mut self, edge: usize) {
        self.crash_agent(edge);
        self.counts.agents_emptied += 1;
        self.edges[edge].disk = AgentDisk::default();
        self.model.forget(edge);
    }

    /// Somebody deletes an object of ours on the member, and the watch rings.
    fn drift(&mut self, edge: usize) {
        let now = self.now;
        let site = &mut self.edges[edge];
        let Some(object) = self.rng.pick(site.member.objects.keys().cloned().collect::<Vec<_>>()) else { return };
        site.member.objects.remove(&object);
        site.excused.insert(object.clone());
        if let Some(agent) = &mut site.agent {
            agent.doubt(&object, now);
            self.pump_agent(edge);
        }
    }

    /// An administrator lets go what is unclaimed now.
    pub fn confirm_prune(&mut self, edge: usize) {
        let Some(asked) = self.hub.as_ref().and_then(|hub| hub.asked.get(&edge)) else { return };
        let root = asked.list.root;
        self.counts.confirmations += 1;
        self.disk.store.resource_version += 1;
        self.disk.store.confirm.insert(edge, root);
        self.model.confirmed[edge].insert(root);
        self.plan_soon();
    }

    fn change_weather(&mut self) {
        let rng = &mut self.rng;
        let delay: Millis = [30, 300, 2_000][rng.index(..3)];
        self.weather = Weather {
            loss: [0, 5, 25][rng.index(..3)],
            duplicates: [0, 5, 20][rng.index(..3)],
            delay,
            late: [0, 30, 80][rng.index(..3)],
            hostile: [0, 5, 20][rng.index(..3)],
        };
        self.stormy = rng.bool();
    }
}
