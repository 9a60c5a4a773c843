//! Waits between attempts: doubled each time, with full jitter, so that many who failed together do not come back together.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(30);

/// The waits of one thing that is tried again and again.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait, in full jitter up to 50 ms doubled for each failure in a row, at most 30 s.
    pub fn next(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(fastrand::f64())
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}
