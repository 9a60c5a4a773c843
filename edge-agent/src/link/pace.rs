//! How large the next frame should be: what the link drained in the last second, within the limits of a frame.

use std::time::{Duration, Instant};

use bus_schema::limits::{MAX_FRAME, MIN_FRAME};

/// Before anything was measured: a frame that 2G carries in a second.
const FIRST: usize = 4 * 1024;

/// A frame that left faster than this says only that the link is quick.
const QUICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Pace {
    frame: usize,
    sending: Option<(usize, Instant)>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { frame: FIRST, sending: None }
    }
}

impl Pace {
    /// Bytes of the next frame, at most.
    pub fn frame(&self) -> usize {
        self.frame
    }

    pub fn sending(&mut self, bytes: usize, now: Instant) {
        self.sending = Some((bytes, now));
    }

    /// The frame has left for the socket.
    pub fn drained(&mut self, now: Instant) {
        let Some((bytes, since)) = self.sending.take() else { return };
        let took = now.saturating_duration_since(since);
        let target = match took < QUICK {
            true => self.frame * 2,
            false => (bytes as f64 / took.as_secs_f64()) as usize,
        };
        self.frame = target.clamp(MIN_FRAME, MAX_FRAME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_grow_on_a_quick_link_and_shrink_to_what_a_slow_one_drains_in_a_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for _ in 0..5 {
            pace.sending(100, start);
            pace.drained(start);
        }
        assert_eq!(pace.frame(), MAX_FRAME);
        pace.sending(20_000, start);
        pace.drained(start + Duration::from_secs(10));
        assert_eq!(pace.frame(), 2_000);
        pace.sending(2_000, start);
        pace.drained(start + Duration::from_secs(100));
        assert_eq!(pace.frame(), MIN_FRAME);
    }
}
