//! How far away the peer is at the least, by its own answers: brokers and whatever else ends connections on the way answer sooner.

use crate::id::Millis;

/// The quickest answer of a session.
#[derive(Debug, Default)]
pub struct Nearness {
    /// Bytes of a stream that wait for their answer, and since when.
    asked: Option<(u64, u64, Millis)>,
    quickest: Option<Millis>,
}

impl Nearness {
    /// All of a stream up to `offset` has been sent.
    pub fn sent(&mut self, id: u64, offset: u64, now: Millis) {
        self.asked.get_or_insert((id, offset, now));
    }

    /// The peer has all of a stream below `next`.
    pub fn heard(&mut self, id: u64, next: u64, now: Millis) {
        if let Some((_, _, since)) = self.asked.take_if(|(of, offset, _)| *of == id && next >= *offset) {
            let took = now.saturating_sub(since);
            self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
        }
    }

    /// The peer has found this end nearby: it asks and is answered at once, where this end's own bytes are acknowledged with later ones.
    pub fn told(&mut self) {
        self.quickest = Some(0);
    }

    /// A stream is gone, and with it what was asked.
    pub fn forget(&mut self, id: u64) {
        self.asked.take_if(|(of, _, _)| *of == id);
    }

    /// Whether an answer ever came within `limit`; not before one came.
    pub fn is_within(&self, limit: Millis) -> bool {
        self.quickest.is_some_and(|quickest| quickest < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_answer_counts_whatever_slow_ones_come() {
        let mut nearness = Nearness::default();
        assert!(!nearness.is_within(4), "nothing is known");
        for (sent, heard, near) in [(0, 20, false), (100, 104, false), (200, 203, true), (300, 900, true)] {
            nearness.sent(7, sent + 10, sent);
            nearness.sent(8, sent, sent + 1);
            nearness.heard(7, sent + 9, sent + 1);
            nearness.heard(8, sent, sent + 2);
            nearness.heard(7, sent + 10, heard);
            assert_eq!(nearness.is_within(4), near, "sent at {sent}, heard at {heard}");
        }
    }

    #[test]
    fn what_the_peer_has_found_counts() {
        let mut nearness = Nearness::default();
        nearness.told();
        assert!(nearness.is_within(4) && !nearness.is_within(0), "where nobody is near, nobody is");
    }

    #[test]
    fn a_stream_that_is_gone_does_not_keep_others_from_being_asked() {
        let mut nearness = Nearness::default();
        nearness.sent(1, 10, 0);
        nearness.forget(1);
        nearness.sent(2, 10, 50);
        nearness.heard(2, 10, 51);
        assert!(nearness.is_within(4));
    }
}
