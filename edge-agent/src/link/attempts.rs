//! How long the broker may take to answer a connection, and the pause before the next.

use std::time::Duration;

use super::backoff::Backoff;

/// Longest silence after a SYN where nobody waits: what TCP itself repeats in that time.
const ANSWER: Duration = Duration::from_secs(60);

/// Longest where streams wait for the link: TCP repeats a SYN after 1 s, then after 3 and 7.
const AWAITED_ANSWER: Duration = Duration::from_secs(3);
/// Round trips that the answer may take then.
const ROUND_TRIPS: u32 = 4;
/// Every so many attempts one is given more time: the link may have become slower than it was.
const PATIENT: u32 = 4;
const PATIENT_ANSWER: Duration = Duration::from_secs(8);

/// Longest pause between two attempts while streams wait.
const AWAITED_PAUSE: Duration = Duration::from_secs(1);

/// Attempts to connect, one after another.
#[derive(Debug, Default)]
pub struct Attempts {
    backoff: Backoff,
    round_trip: Option<Duration>,
    unanswered: u32,
}

impl Attempts {
    /// How long TCP's handshake may take now; `awaited` when streams wait for the link.
    pub fn answer(&self, awaited: bool) -> Duration {
        let Some(round_trip) = self.round_trip.filter(|_| awaited) else { return ANSWER };
        let least = if self.unanswered % PATIENT == PATIENT - 1 { PATIENT_ANSWER } else { AWAITED_ANSWER };
        (ROUND_TRIPS * round_trip).clamp(least, ANSWER)
    }

    pub fn connected(&mut self, round_trip: Duration) {
        (self.round_trip, self.unanswered) = (Some(round_trip), 0);
    }

    /// The pause after a connection, or an attempt, that lasted for `lasted`; `random` is from 0 to 1.
    pub fn pause(&mut self, awaited: bool, lasted: Duration, random: f64) -> Duration {
        self.unanswered = self.unanswered.wrapping_add(1);
        let pause = self.backoff.next(lasted, random);
        if awaited { pause.min(AWAITED_PAUSE) } else { pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_waited_for_is_tried_every_few_seconds_and_now_and_then_with_patience() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.answer(true), ANSWER, "nothing is known of the link");
        attempts.connected(Duration::from_millis(20));
        let tried: Vec<u64> = (0..5)
            .map(|_| {
                let answer = attempts.answer(true);
                assert!(attempts.pause(true, answer, 1.0) <= AWAITED_PAUSE);
                answer.as_secs()
            })
            .collect();
        assert_eq!(tried, [3, 3, 3, 8, 3]);
        assert_eq!(attempts.answer(false), ANSWER);
        attempts.connected(Duration::from_secs(2));
        assert_eq!(attempts.answer(true), Duration::from_secs(8));
    }
}
