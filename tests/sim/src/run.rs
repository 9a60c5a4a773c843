//! Whole runs: a seed, and many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bus_schema::planted::{self, Bug};
use bus_schema::witness;

use crate::broker::Weather;
use crate::counts::Counts;
use crate::world::World;

/// How long everything may take to come to rest once all is well: the hourly retry of what was refused is in it.
const PATIENCE: u64 = 3 * 3_600_000;

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub steps: u32,
    pub edges: usize,
    pub bug: Option<Bug>,
    pub traced: bool,
    /// No faults: users' operations on a clean link only.
    pub calm: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { steps: 200, edges: 3, bug: None, traced: false, calm: false }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub counts: Counts,
    pub failure: Option<String>,
    pub log: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64, setup: Setup) -> Report {
    planted::plant(setup.bug);
    witness::forget();
    let mut world = World::new(seed, setup.edges, setup.traced);
    let ended = catch_unwind(AssertUnwindSafe(|| live(&mut world, setup)));
    planted::plant(None);
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
        world.fail(format!("panic: {}", text.unwrap_or_default()));
    }
    world.counts.seeds = 1;
    let (uses, repeats) = witness::uses();
    world.counts.sealed_once = uses;
    if repeats > 0 {
        world.fail(format!("{repeats} times a key sealed two frames under one counter"));
    }
    Report { seed, counts: world.counts, failure: world.failure.take(), log: world.log.take().unwrap_or_default() }
}

fn live(world: &mut World, setup: Setup) {
    world.run(5_000);
    for _ in 0..setup.steps {
        if world.failure.is_some() {
            return;
        }
        world.step(setup.calm);
    }
    heal(world);
    rest(world);
    for edge in 0..world.edges.len() {
        let unclaimed = world.unclaimed(edge);
        world.counts.unclaimed += unclaimed as u64;
        if unclaimed > 0 && world.failure.is_none() {
            world.confirm_prune(edge);
        }
    }
    rest(world);
    for edge in 0..world.edges.len() {
        if world.failure.is_none() && world.unclaimed(edge) > 0 {
            world.fail(format!("{edge}: objects are unclaimed although prune was confirmed"));
        }
    }
}

fn heal(world: &mut World) {
    world.trace(|| "=== all is well from here on".into());
    (world.weather, world.stormy, world.hub_armed) = (Weather::CLEAR, false, None);
    for site in &mut world.edges {
        (site.armed, site.link.severed_until) = (None, 0);
        site.member.objects.values_mut().for_each(|live| live.inhabited = false);
    }
}

/// Lets time pass until nothing differs, at growing intervals.
fn rest(world: &mut World) {
    let (mut waited, mut pause) = (0, 20_000);
    while waited < PATIENCE && world.failure.is_none() {
        world.run(pause);
        waited += pause;
        pause = (pause * 2).min(PATIENCE / 4);
        if world.failure.is_none() && world.differences().is_empty() {
            return;
        }
    }
    let differences = world.differences().join("; ");
    world.fail(format!("no convergence after {} s: {differences}", waited / 1_000));
}

/// Runs seeds on `jobs` threads until all are done, or one fails; the failure with the lowest seed is the one returned.
pub fn sweep(seeds: std::ops::Range<u64>, jobs: usize, setup: Setup) -> (Counts, Option<Report>) {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicU64::new(seeds.end);
    let total = Mutex::new((Counts::default(), None::<Report>));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let report = run(seed, setup);
                    let Ok(mut total) = total.lock() else { return };
                    total.0 += report.counts;
                    if report.failure.is_some() {
                        stop.fetch_min(seed, Ordering::Relaxed);
                        if total.1.as_ref().is_none_or(|first| seed < first.seed) {
                            total.1 = Some(report);
                        }
                    }
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}
