//! How fast a socket takes bytes: pure bookkeeping over windows of one second.
//!
//! Only time spent waiting for the socket counts, so a link that was merely unused does not look slow. The figure is bytes taken in a
//! window by the time waited in it; it stands until a window has another one, or shows that the link is quicker by carrying more without
//! a wait.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);
/// Bytes a second before anything was measured: what comes first is not as large as a quick link would take.
const FIRST: u64 = 64 * 1024;
/// Below this a wait is scheduling, not the link.
const SLOW: Duration = Duration::from_millis(2);

/// The measured rate of one socket.
#[derive(Debug)]
pub struct DrainMeter {
    began: Option<Instant>,
    bytes: u64,
    waited: Duration,
    rate: Option<u64>,
}

impl Default for DrainMeter {
    fn default() -> DrainMeter {
        DrainMeter { began: None, bytes: 0, waited: Duration::ZERO, rate: Some(FIRST) }
    }
}

impl DrainMeter {
    /// Records that the socket took `bytes` by `now` after a wait of `waited`.
    pub fn wrote(&mut self, bytes: usize, waited: Duration, now: Instant) {
        let began = *self.began.get_or_insert(now - waited.min(WINDOW));
        self.bytes += bytes as u64;
        self.waited += waited;
        let lasted = now.duration_since(began);
        if lasted >= WINDOW {
            self.rate = self.measured(lasted);
            self.began = Some(now);
            self.bytes = 0;
            self.waited = Duration::ZERO;
        }
    }

    /// Bytes a second; `None` for a socket that takes everything at once.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    fn measured(&self, lasted: Duration) -> Option<u64> {
        let over = |time: Duration| (self.bytes as f64 / time.as_secs_f64()) as u64;
        match self.rate {
            _ if self.waited >= SLOW => Some(over(self.waited)),
            Some(rate) if over(lasted) < rate => Some(rate),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_never_waits_has_no_rate() {
        let (mut meter, start) = (DrainMeter::default(), Instant::now());
        assert_eq!(meter.rate(), Some(FIRST));
        for ms in 0..3000 {
            meter.wrote(100, Duration::ZERO, start + Duration::from_millis(ms));
        }
        assert_eq!(meter.rate(), None);
    }

    #[test]
    fn a_slow_link_that_has_little_to_carry_for_a_while_is_still_slow() {
        let (mut meter, start) = (DrainMeter::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        meter.wrote(30_000, Duration::from_secs(1), at(1));
        for second in 2..10 {
            meter.wrote(100, Duration::ZERO, at(second));
            assert_eq!(meter.rate(), Some(30_000));
        }
        meter.wrote(40_000, Duration::ZERO, at(10));
        assert_eq!(meter.rate(), None, "it has carried more in a second, and nobody waited");
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
