//! How large the next frame should be, by how fast the last ones left.

use std::time::{Duration, Instant};

use bus_schema::limits::{MAX_FRAME, MIN_FRAME, frame_of};

/// Before anything was measured: a frame of 4 KiB, which 2G carries in a second.
const FIRST: usize = 16 * 1024;

/// What counts as drained in a second where no limit shows: a quarter of it is the largest frame.
const MOST: usize = 4 * MAX_FRAME;

/// A frame that left faster than this says only that the link is quick.
const QUICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Pace {
    /// Bytes that the link drains in a second.
    drained: usize,
    sending: Option<(usize, Instant)>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { drained: FIRST, sending: None }
    }
}

impl Pace {
    /// Bytes of the next frame, at most.
    pub fn frame(&self) -> usize {
        frame_of(self.drained)
    }

    pub fn sending(&mut self, bytes: usize, now: Instant) {
        self.sending = Some((bytes, now));
    }

    /// The frame has left for the socket.
    pub fn drained(&mut self, now: Instant) {
        let Some((bytes, since)) = self.sending.take() else { return };
        let took = now.saturating_duration_since(since);
        let target = match took < QUICK {
            true => self.drained * 2,
            false => (bytes as f64 / took.as_secs_f64()) as usize,
        };
        self.drained = target.clamp(MIN_FRAME, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_grow_on_a_quick_link_and_shrink_to_what_a_slow_one_drains_in_a_quarter_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for _ in 0..6 {
            pace.sending(100, start);
            pace.drained(start);
        }
        assert_eq!(pace.frame(), MAX_FRAME);
        pace.sending(60_000, start);
        pace.drained(start + Duration::from_millis(480));
        assert_eq!(pace.frame(), 31_250, "1 Mbit/s");
        pace.sending(20_000, start);
        pace.drained(start + Duration::from_secs(100));
        assert_eq!(pace.frame(), MIN_FRAME);
    }
}
