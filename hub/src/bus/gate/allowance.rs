//! How fast one peer may go on: a bucket that fills at a rate and may be overdrawn once. Pure: time is handed in.

use std::time::{Duration, Instant};

/// A rate with some reserve.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Units a second.
    pub per_second: u32,
    /// Units that a quiet peer has saved up.
    pub burst: u32,
}

/// What one peer may still use.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    /// A full bucket.
    pub fn full(rate: Rate, now: Instant) -> Allowance {
        Allowance { left: rate.burst.into(), at: now }
    }

    /// Uses `amount` and says how long to pause before using more.
    pub fn spend(&mut self, rate: Rate, amount: usize, now: Instant) -> Duration {
        self.fill(rate, now);
        self.left -= amount as f64;
        if self.left >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.left / f64::from(rate.per_second)) }
    }

    /// Uses one unit if there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let there = self.left >= 1.0;
        self.left -= if there { 1.0 } else { 0.0 };
        there
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * f64::from(rate.per_second)).min(rate.burst.into());
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 20 };

    #[test]
    fn what_is_overdrawn_is_paid_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance::full(RATE, start);
        assert_eq!(allowance.spend(RATE, 20, start), Duration::ZERO);
        assert_eq!(allowance.spend(RATE, 5, start), Duration::from_millis(500));
        assert_eq!(allowance.spend(RATE, 0, start + Duration::from_millis(500)), Duration::ZERO);
        assert_eq!(allowance.spend(RATE, 20, start + Duration::from_secs(3600)), Duration::ZERO);
        assert!(allowance.spend(RATE, 1, start + Duration::from_secs(3600)) > Duration::ZERO, "quiet hours save up no more than the burst");
    }

    #[test]
    fn a_unit_that_is_not_there_is_not_taken() {
        let start = Instant::now();
        let mut allowance = Allowance::full(RATE, start);
        assert_eq!((0..30).filter(|_| allowance.take(RATE, start)).count(), 20);
        assert!(allowance.take(RATE, start + Duration::from_millis(100)));
        assert!(!allowance.take(RATE, start + Duration::from_millis(150)));
    }
}
