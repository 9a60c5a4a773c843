//! When drift of one object is corrected: at once, then with growing pauses, at last as a dispute. Pure; the clock is handed in.

mod book;

pub use book::{Book, Kind, Look, Seen, Sight, Told};

use bus_schema::id::Millis;

/// First pause after a correction, doubled with each.
const FIRST_PAUSE: Millis = 1_000;
/// Longest pause.
const MAX_PAUSE: Millis = 600_000;
/// Corrections in a row after which somebody evidently disagrees.
const CONTESTED_AFTER: u32 = 4;
/// Least pause in a dispute: one write a minute.
const CONTESTED_PAUSE: Millis = 60_000;
/// How long after its pause an object must stay as applied for all to be forgotten.
const CALM: Millis = 600_000;

/// The dispute over one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    corrections: u32,
    last: Millis,
    culprit: String,
}

impl Drift {
    /// The first correction was made now, of what `culprit` did.
    pub fn begin(culprit: String, now: Millis) -> Drift {
        Drift { corrections: 1, last: now, culprit }
    }

    /// One more correction was made now.
    pub fn again(&mut self, culprit: String, now: Millis) {
        self.corrections = self.corrections.saturating_add(1);
        (self.last, self.culprit) = (now, culprit);
    }

    /// The earliest moment of the next correction.
    pub fn next(&self) -> Millis {
        self.last + self.pause()
    }

    /// When all is forgotten if nothing more happens.
    pub fn calm(&self) -> Millis {
        self.next() + CALM
    }

    /// Manager and field, once it is a dispute.
    pub fn contested(&self) -> Option<&str> {
        (self.corrections >= CONTESTED_AFTER).then_some(&*self.culprit)
    }

    fn pause(&self) -> Millis {
        let grown = FIRST_PAUSE << self.corrections.saturating_sub(1).min(20);
        let least = if self.contested().is_some() { CONTESTED_PAUSE } else { 0 };
        grown.clamp(least, MAX_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_second_to_ten_minutes_and_a_dispute_costs_at_most_a_write_a_minute() {
        let mut drift = Drift::begin("x".into(), 0);
        let mut pauses = vec![drift.next()];
        for _ in 0..11 {
            let now = drift.next();
            drift.again("kubectl changes .data.k".into(), now);
            pauses.push(drift.next() - now);
        }
        let seconds: Vec<_> = pauses.iter().map(|pause| pause / 1000).collect();
        assert_eq!(seconds, [1, 2, 4, 60, 60, 60, 64, 128, 256, 512, 600, 600]);
    }

    #[test]
    fn a_dispute_names_who_and_what_from_the_fourth_correction() {
        let mut drift = Drift::begin("a changes .x".into(), 0);
        for n in 2..=3 {
            drift.again("a changes .x".into(), n);
            assert_eq!(drift.contested(), None);
        }
        drift.again("b changes .y".into(), 4);
        assert_eq!(drift.contested(), Some("b changes .y"));
        assert_eq!(drift.calm(), 4 + 60_000 + 600_000);
    }

    #[test]
    fn an_endless_dispute_overflows_nothing() {
        let drift = Drift { corrections: u32::MAX, last: 0, culprit: String::new() };
        assert_eq!(drift.next(), MAX_PAUSE);
    }
}
