//! How much may be under way to the peer: what the link carries in a round trip and a little more.
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

/// Beyond it a link is left to the kernel, which once told of a bound no longer finds one by itself, and takes none far above this.
const MOST: usize = 256 * 1024;

/// What is written at once, on a link that is slow: the kernel takes a piece whole when it holds next to nothing that is unsent.
const PIECE: Duration = Duration::from_millis(30);

/// Pieces are of whole segments, as most links have them, and no smaller: each is sent apart.
const SEGMENT: usize = 1_448;

/// Where so much fits into a piece, writes are as they come.
const WHOLE: usize = 32 * 1024;

/// A link that answers faster has no queue worth a bound.
const NEAR: Duration = Duration::from_millis(10);

/// The way out of one connection.
#[derive(Debug)]
pub struct Window {
    since: Instant,
    bytes: usize,
    /// Whether the writer had to wait for the link: without that its bytes say nothing of what the link carries.
    waited: bool,
    /// Bytes a second.
    rate: f64,
    told: Option<usize>,
    piece: Option<usize>,
}

impl Window {
    pub fn new(now: Instant) -> Window {
        Window { since: now, bytes: 0, waited: false, rate: 0.0, told: None, piece: None }
    }

    /// The connection takes nothing now.
    pub fn waits(&mut self) {
        self.waited = true;
    }

    /// So many bytes went over a link whose round trip, with nothing under way, is `round_trip`; returns the bound when it is another one.
    pub fn carried(&mut self, bytes: usize, round_trip: impl FnOnce() -> Duration, now: Instant) -> Option<usize> {
        self.bytes += bytes;
        let lasted = now.saturating_duration_since(self.since);
        if lasted < COUNTED {
            return None;
        }
        let rate = std::mem::take(&mut self.bytes) as f64 / lasted.as_secs_f64();
        let waited = std::mem::take(&mut self.waited);
        self.since = now;
        if !waited {
            return None;
        }
        self.rate = rate.max(KEPT * self.rate);
        let round_trip = round_trip();
        if round_trip < NEAR {
            return None;
        }
        let segments = (self.rate * PIECE.as_secs_f64()) as usize / SEGMENT;
        self.piece = Some(segments.max(1) * SEGMENT).filter(|piece| *piece < WHOLE);
        let bound = (self.rate * (round_trip + QUEUE).as_secs_f64() * SPARE) as usize;
        self.tell(bound.clamp(LEAST, MOST))
    }

    /// Bytes to write at once, at most; `None` for as many as there are.
    pub fn piece(&self) -> Option<usize> {
        self.piece
    }

    fn tell(&mut self, bound: usize) -> Option<usize> {
        let before = self.told.unwrap_or(MOST);
        (bound.abs_diff(before) > before / 8).then(|| *self.told.insert(bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the way is bound to after so many seconds on a link of `rate` bytes a second whose writer always has more.
    fn bound(window: &mut Window, rate: usize, round_trip: Duration, now: &mut Instant) -> Option<usize> {
        for _ in 0..200 {
            *now += Duration::from_millis(100);
            // The buffer is two thirds to wholly full, and what the link does not carry waits.
            let most = window.told.unwrap_or(4 << 20);
            let carried = (most as f64 * 5.0 / 6.0 / round_trip.as_secs_f64() / 10.0) as usize;
            window.waits();
            window.carried(carried.min(rate / 10), || round_trip, *now);
        }
        window.told
    }

    #[test]
    fn what_is_under_way_is_bound_to_what_the_link_carries_and_follows_it() {
        let (mut now, round_trip) = (Instant::now(), Duration::from_millis(300));
        let mut window = Window::new(now);
        let megabit = bound(&mut window, 125_000, round_trip, &mut now).unwrap();
        assert!((75_000..95_000).contains(&megabit), "{megabit}");
        assert_eq!(window.piece(), Some(2 * SEGMENT));
        let ten = bound(&mut window, 1_250_000, round_trip, &mut now).unwrap();
        assert!((MOST * 7 / 8..=MOST).contains(&ten), "{ten}");
        assert!(window.piece().is_none_or(|piece| piece > 20_000), "{:?}", window.piece());
        let least = bound(&mut window, 10_000, round_trip, &mut now).unwrap();
        assert!((LEAST..=LEAST * 9 / 8).contains(&least), "{least}");
        assert_eq!(window.piece(), Some(SEGMENT));
        let again = bound(&mut window, 125_000, round_trip, &mut now).unwrap();
        assert!((75_000..95_000).contains(&again), "{again}");
    }

    #[test]
    fn a_link_nearby_or_a_quick_one_is_not_bound() {
        let mut now = Instant::now();
        assert_eq!(bound(&mut Window::new(now), 10_000, Duration::from_millis(1), &mut now), None);
        assert_eq!(bound(&mut Window::new(now), 10_000_000, Duration::from_millis(100), &mut now), None);
    }

    #[test]
    fn a_writer_that_never_waits_says_nothing_of_its_link() {
        let (start, round_trip) = (Instant::now(), Duration::from_millis(300));
        let mut window = Window::new(start);
        let told = (1..100).filter_map(|second| window.carried(1_000, || round_trip, start + Duration::from_secs(second)));
        assert_eq!(told.count(), 0);
    }
}
