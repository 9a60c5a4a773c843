//! The time by which certificates are judged: edge clocks start at 1970 and nobody sets them.
//!
//! It is the latest of the system's clock, the build of this program, and the last time a hub said (kept on disk), the two latter
//! moved on by how long this process has run since. It never goes back while the process runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// A clock; clones are the same.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Reads the system's clock, seconds since 1970.
    system: fn() -> u64,
    begun: Instant,
    /// What the time was at least when the process began, seconds since 1970.
    floor: AtomicU64,
}

impl Clock {
    /// The system's clock and this program's build.
    pub fn new() -> Clock {
        Clock::with(system)
    }

    /// Another clock in the system's place.
    pub fn with(system: fn() -> u64) -> Clock {
        let built = env!("BUILD_SECONDS").parse().unwrap_or(0);
        Clock(Arc::new(Inner { system, begun: Instant::now(), floor: AtomicU64::new(built) }))
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        let ran = self.0.begun.elapsed().as_secs();
        (self.0.system)().max(self.0.floor.load(Ordering::Relaxed).saturating_add(ran))
    }

    /// Takes a hub's word that it is at least `seconds` since 1970.
    pub fn heard(&self, seconds: u64) {
        let ran = self.0.begun.elapsed().as_secs();
        self.0.floor.fetch_max(seconds.saturating_sub(ran), Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}

fn system() -> u64 {
    // Tests of builds with debug assertions start at 1970, or whenever they say.
    #[cfg(debug_assertions)]
    if let Some(begun) = std::env::var("AGENT_TEST_CLOCK").ok().and_then(|text| text.parse::<u64>().ok()) {
        static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        return begun + STARTED.get_or_init(Instant::now).elapsed().as_secs();
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_at_1970_is_the_build_and_then_what_a_hub_said() {
        let clock = Clock::with(|| 7);
        let built: u64 = env!("BUILD_SECONDS").parse().unwrap();
        assert!((built..built + 5).contains(&clock.now()));
        clock.heard(built + 1_000_000);
        assert!((built + 1_000_000..built + 1_000_005).contains(&clock.now()));
        clock.heard(built);
        assert!(clock.now() >= built + 1_000_000, "it never goes back");
    }

    #[test]
    fn a_clock_that_is_set_is_believed() {
        assert_eq!(Clock::with(|| 5_000_000_000).now(), 5_000_000_000);
    }
}
