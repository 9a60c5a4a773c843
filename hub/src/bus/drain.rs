//! How fast a socket takes bytes: pure bookkeeping over windows of one second.
//!
//! Only time spent waiting for the socket counts, so a link that was merely unused does not look slow. The figure is bytes taken in a
//! window by the time waited in it; the last window that had a wait is kept until a newer one ends.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);
/// Below this a wait is scheduling, not the link.
const SLOW: Duration = Duration::from_millis(2);

/// The measured rate of one socket.
#[derive(Debug, Default)]
pub struct DrainMeter {
    began: Option<Instant>,
    bytes: u64,
    waited: Duration,
    rate: Option<u64>,
}

impl DrainMeter {
    /// Records that the socket took `bytes` by `now` after a wait of `waited`.
    pub fn wrote(&mut self, bytes: usize, waited: Duration, now: Instant) {
        let began = *self.began.get_or_insert(now - waited.min(WINDOW));
        self.bytes += bytes as u64;
        self.waited += waited;
        if now.duration_since(began) >= WINDOW {
            self.rate = self.measured();
            self.began = Some(now);
            self.bytes = 0;
            self.waited = Duration::ZERO;
        }
    }

    /// Bytes a second; `None` while the socket takes everything at once.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    fn measured(&self) -> Option<u64> {
        (self.waited >= SLOW).then(|| (self.bytes as f64 / self.waited.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_never_waits_has_no_rate() {
        let (mut meter, start) = (DrainMeter::default(), Instant::now());
        for ms in 0..3000 {
            meter.wrote(100, Duration::ZERO, start + Duration::from_millis(ms));
        }
        assert_eq!(meter.rate(), None);
    }

    #[test]
    fn the_rate_is_what_was_taken_while_waiting_and_follows_the_link() {
        let (mut meter, mut now) = (DrainMeter::default(), Instant::now());
        let mut run = |meter: &mut DrainMeter, bytes| {
            for _ in 0..25 {
                now += Duration::from_millis(100);
                meter.wrote(bytes, Duration::from_millis(100), now);
            }
        };
        run(&mut meter, 400);
        assert_eq!(meter.rate(), Some(4000));
        run(&mut meter, 4000);
        assert_eq!(meter.rate(), Some(40000));
    }

    #[test]
    fn an_unused_link_does_not_look_slow() {
        let (mut meter, start) = (DrainMeter::default(), Instant::now());
        meter.wrote(1000, Duration::from_millis(100), start + Duration::from_millis(100));
        meter.wrote(1000, Duration::from_millis(100), start + Duration::from_secs(60));
        assert_eq!(meter.rate(), Some(10000));
    }
}
