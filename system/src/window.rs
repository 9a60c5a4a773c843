//! How much may be under way to the peer: what the link carries in a round trip and a little more.
//!
//! What congestion control sends beyond that stands in the queue before the slowest hop, and overflows it there: a small frame waits behind
//! it, and behind each hole that a dropped packet leaves.

use std::time::{Duration, Instant};

use crate::tcp::Seen;

/// How often the kernel is asked what the link carries, while somebody waits for it.
const LOOK: Duration = Duration::from_secs(1);

/// A queue of so much is allowed: it keeps the link busy, and hides that round trips differ.
const QUEUE: Duration = Duration::from_millis(75);

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
    looked: Instant,
    /// Whether the writer had to wait for the link: it is left alone where it never has to.
    waited: bool,
    /// Bytes a second: the mean of what the kernel has told, the latest weighing most.
    rate: f64,
    told: Option<usize>,
    piece: Option<usize>,
}

impl Window {
    pub fn new(now: Instant) -> Window {
        Window { looked: now, waited: false, rate: 0.0, told: None, piece: None }
    }

    /// The connection takes nothing now.
    pub fn waits(&mut self) {
        self.waited = true;
    }

    /// Something was written over a link that the kernel has `seen`; returns the bound when it is another one.
    pub fn wrote(&mut self, seen: impl FnOnce() -> Seen, now: Instant) -> Option<usize> {
        if now.saturating_duration_since(self.looked) < LOOK || !std::mem::take(&mut self.waited) {
            return None;
        }
        self.looked = now;
        let Seen { round_trip, rate, .. } = seen();
        if round_trip < NEAR || rate == 0 {
            return None;
        }
        self.rate = if self.rate == 0.0 { rate as f64 } else { self.rate.midpoint(rate as f64) };
        let segments = (self.rate * PIECE.as_secs_f64()) as usize / SEGMENT;
        self.piece = Some(segments.max(1) * SEGMENT).filter(|piece| *piece < WHOLE);
        let bound = (self.rate * (round_trip + QUEUE).as_secs_f64()) as usize;
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
    fn bound(window: &mut Window, rate: u64, round_trip: Duration, now: &mut Instant) -> Option<usize> {
        for _ in 0..20 {
            *now += LOOK;
            window.waits();
            window.wrote(|| Seen { round_trip, rate, ..Seen::default() }, *now);
        }
        window.told
    }

    #[test]
    fn what_is_under_way_is_bound_to_what_the_link_carries_and_follows_it() {
        let (mut now, round_trip) = (Instant::now(), Duration::from_millis(300));
        let mut window = Window::new(now);
        let megabit = bound(&mut window, 125_000, round_trip, &mut now).unwrap();
        assert!((42_000..52_000).contains(&megabit), "{megabit}");
        assert_eq!(window.piece(), Some(2 * SEGMENT));
        let ten = bound(&mut window, 1_250_000, round_trip, &mut now).unwrap();
        assert!((MOST * 7 / 8..=MOST).contains(&ten), "{ten}");
        assert_eq!(window.piece(), None);
        let least = bound(&mut window, 10_000, round_trip, &mut now).unwrap();
        assert!((LEAST..=LEAST * 9 / 8).contains(&least), "{least}");
        assert_eq!(window.piece(), Some(SEGMENT));
        let again = bound(&mut window, 125_000, round_trip, &mut now).unwrap();
        assert!((42_000..52_000).contains(&again), "{again}");
    }

    #[test]
    fn a_link_nearby_or_a_quick_one_is_not_bound() {
        let mut now = Instant::now();
        assert_eq!(bound(&mut Window::new(now), 10_000, Duration::from_millis(1), &mut now), None);
        assert_eq!(bound(&mut Window::new(now), 10_000_000, Duration::from_millis(100), &mut now), None);
    }

    #[test]
    fn where_nobody_waits_or_the_kernel_says_nothing_there_is_no_bound() {
        let start = Instant::now();
        let seen = Seen { round_trip: Duration::from_millis(300), rate: 10_000, ..Seen::default() };
        let mut window = Window::new(start);
        assert!((1..100).all(|second| window.wrote(|| seen, start + second * LOOK).is_none()));
        let mut now = start;
        assert_eq!(bound(&mut window, 0, Duration::from_millis(300), &mut now), None);
    }
}
