//! Pauses between connects: full jitter, doubling, also after a connect that succeeded and was then kicked.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// A connection that lived so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after a connection that lived for `lived`; `random` is from 0 to 1.
    pub fn next(&mut self, lived: Duration, random: f64) -> Duration {
        if lived >= GOOD {
            self.failures = 0;
        }
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures += 1;
        ceiling.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute_and_start_again_after_a_good_connection() {
        let mut backoff = Backoff::default();
        let kicked = Duration::from_secs(2);
        let pauses: Vec<u64> = (0..8).map(|_| backoff.next(kicked, 1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.next(GOOD, 1.0), FIRST);
        assert_eq!(backoff.next(kicked, 0.0), Duration::ZERO);
    }
}
