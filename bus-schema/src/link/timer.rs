//! Repetition of what was not answered, and the round-trip time that paces it.

use crate::id::Millis;
use crate::limits::{FIRST_REPEAT, MAX_REPEAT};

/// Smoothed round-trip time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rtt(Option<Millis>);

impl Rtt {
    pub fn sample(&mut self, millis: Millis) {
        self.0 = Some(self.0.map_or(millis, |old| (7 * old + millis) / 8));
    }

    fn first_pause(self) -> Millis {
        self.0.map_or(FIRST_REPEAT, |rtt| FIRST_REPEAT.max(4 * rtt)).min(MAX_REPEAT)
    }
}

/// One message that is said until it is answered: at once, then at doubling pauses.
#[derive(Debug, Clone, Copy)]
pub struct Repeat {
    due: Millis,
    pause: Option<Millis>,
    /// When it was said first, for the round-trip time; a repeated message gives no sample.
    pub first_said: Option<Millis>,
}

impl Repeat {
    /// Due from `now` on.
    pub fn at(now: Millis) -> Repeat {
        Repeat { due: now, pause: None, first_said: None }
    }

    pub fn is_due(&self, now: Millis) -> bool {
        self.due <= now
    }

    pub fn due(&self) -> Millis {
        self.due
    }

    /// It has left.
    pub fn said(&mut self, now: Millis, rtt: Rtt) {
        let pause = self.pause.map_or(rtt.first_pause(), |pause| (2 * pause).min(MAX_REPEAT));
        self.first_said = match self.pause {
            None => Some(now),
            Some(_) => None,
        };
        self.pause = Some(pause);
        self.due = now + pause;
    }

    /// The answer has come.
    pub fn answered(&self, now: Millis, rtt: &mut Rtt) {
        if let Some(said) = self.first_said {
            rtt.sample(now.saturating_sub(said));
        }
    }
}

/// The earlier of two times that may not be.
pub fn earliest(times: impl IntoIterator<Item = Option<Millis>>) -> Option<Millis> {
    times.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_four_round_trips_up_to_a_minute() {
        let mut rtt = Rtt::default();
        rtt.sample(1_000);
        let mut repeat = Repeat::at(0);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let now = repeat.due();
            repeat.said(now, rtt);
            pauses.push(repeat.due() - now);
        }
        assert_eq!(pauses, [4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn only_an_answer_to_something_said_once_is_a_sample() {
        let mut rtt = Rtt::default();
        let mut repeat = Repeat::at(0);
        repeat.said(0, rtt);
        repeat.said(2_000, rtt);
        repeat.answered(2_010, &mut rtt);
        assert!(rtt.0.is_none());
    }
}
