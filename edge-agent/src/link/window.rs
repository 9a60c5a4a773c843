//! How much may be under way to the hub: what the link carries in a round trip and a little more.
//!
//! What congestion control sends beyond that stands in the queue before the slowest hop, and overflows it there: a small frame waits behind
//! it, and behind each hole that a dropped packet leaves.

use std::time::{Duration, Instant};

/// How long bytes are counted.
const COUNTED: Duration = Duration::from_secs(1);

/// A queue of so much is allowed: it keeps the link busy, and hides that round trips differ.
const QUEUE: Duration = Duration::from_millis(75);

/// A buffer lets its writer wait until a third of it is empty, and holds what came behind a hole until the hole is filled.
const SPARE: f64 = 1.75;

/// What a second keeps of the rate before it: not every second has something to carry.
const KEPT: f64 = 0.8;

/// Below that a link that was slow and becomes quick would take long to show it.
const LEAST: usize = 32 * 1024;
/// What the kernel gives by itself.
const MOST: usize = 4 << 20;

/// A link that answers faster has no queue worth a bound.
const NEAR: Duration = Duration::from_millis(10);

/// The way up of one connection.
#[derive(Debug)]
pub struct Window {
    round_trip: Duration,
    since: Instant,
    bytes: usize,
    /// Bytes a second.
    rate: f64,
    told: usize,
}

impl Window {
    /// For a link whose round trip, with nothing under way, takes so long.
    pub fn new(round_trip: Duration, now: Instant) -> Window {
        Window { round_trip, since: now, bytes: 0, rate: 0.0, told: MOST }
    }

    /// So many bytes went; returns the bound when it is another one.
    pub fn carried(&mut self, bytes: usize, now: Instant) -> Option<usize> {
        self.bytes += bytes;
        let lasted = now.saturating_duration_since(self.since);
        if lasted < COUNTED || self.round_trip < NEAR {
            return None;
        }
        let rate = std::mem::take(&mut self.bytes) as f64 / lasted.as_secs_f64();
        self.rate = rate.max(KEPT * self.rate);
        self.since = now;
        let bound = (self.rate * (self.round_trip + QUEUE).as_secs_f64() * SPARE) as usize;
        let bound = bound.clamp(LEAST, MOST);
        (bound.abs_diff(self.told) > self.told / 8).then(|| {
            self.told = bound;
            bound
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the way is bound to after so many seconds on a link of `rate` bytes a second.
    fn bound(window: &mut Window, rate: usize, round_trip: Duration, now: &mut Instant) -> usize {
        for _ in 0..200 {
            *now += Duration::from_millis(100);
            // The buffer is two thirds to wholly full, and what the link does not carry waits.
            let carried = (window.told as f64 * 5.0 / 6.0 / round_trip.as_secs_f64() / 10.0) as usize;
            window.carried(carried.min(rate / 10), *now);
        }
        window.told
    }

    #[test]
    fn what_is_under_way_is_bound_to_what_the_link_carries_and_follows_it() {
        let (mut now, round_trip) = (Instant::now(), Duration::from_millis(300));
        let mut window = Window::new(round_trip, now);
        let megabit = bound(&mut window, 125_000, round_trip, &mut now);
        assert!((75_000..90_000).contains(&megabit), "{megabit}");
        let ten = bound(&mut window, 1_250_000, round_trip, &mut now);
        assert!((750_000..900_000).contains(&ten), "{ten}");
        let least = bound(&mut window, 10_000, round_trip, &mut now);
        assert!((LEAST..=LEAST * 9 / 8).contains(&least), "{least}");
        let again = bound(&mut window, 125_000, round_trip, &mut now);
        assert!((75_000..90_000).contains(&again), "{again}");
    }

    #[test]
    fn a_link_nearby_is_not_bound() {
        let mut now = Instant::now();
        let mut window = Window::new(Duration::from_millis(1), now);
        assert_eq!(bound(&mut window, 10_000, Duration::from_millis(1), &mut now), MOST);
    }
}
