//! Limits of streams, with unit and reason.

use super::budget::Held;
use crate::id::Millis;

/// Bytes of a head (request or answer), encoded: any API server refuses headers of this size.
pub const MAX_HEAD: usize = 56 * 1024;

/// Characters of the reason for a reset.
const MAX_REASON: usize = 300;

/// What one end gives to all streams of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams at once.
    pub streams: usize,
    /// Bytes that a stream may send before the first credit, and the window it begins with. Both ends of a link have the same.
    pub first_window: u64,
    /// Bytes of one direction that are kept or may wait, at most: what a cut may hold back, and what a quick link needs in flight.
    pub window: u64,
    /// Bytes that are kept for all streams together, and of all windows above the first.
    pub total: usize,
    /// How long streams wait for the link to come back; 0 ends them with it.
    pub grace: Millis,
    /// How long a credit waits for something that it can travel with.
    pub credit_delay: Millis,
    /// How long the word that a whole request has come waits for the answer, to travel with it: most take less.
    pub answer_delay: Millis,
    /// A peer that answers within it is nearby, over a link that does not cost by the byte: what goes there is not packed. Mobile networks and
    /// satellites take longer. 0: nobody is.
    pub near: Millis,
    /// Pause before a silent peer is asked how far it is; doubled up to a minute.
    pub probe: Millis,
    /// Bytes a second that streams may take of the link; `None` for all that is left over.
    pub rate: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            streams: 16 * 1024,
            first_window: 64 * 1024,
            window: 256 * 1024,
            total: 64 << 20,
            grace: 15 * 60_000,
            credit_delay: 500,
            answer_delay: 100,
            near: 4,
            probe: 3_000,
            rate: None,
        }
    }
}

/// Bytes that a stream takes although all streams together are full: so that none starves for ever.
const LEAST_ROOM: usize = 4 * 1024;

impl Limits {
    /// Bytes that one stream takes now.
    pub(super) fn room(&self, of_stream: usize, held: &Held) -> usize {
        let own = (self.window as usize).saturating_sub(of_stream);
        own.min(held.room(self.total).max(LEAST_ROOM.saturating_sub(of_stream)))
    }

    /// Bytes by which the window of a stream grows that has carried so many already.
    pub(super) fn widen(&self, window: u64, carried: u64, held: &Held) -> u64 {
        let more = self.window.saturating_sub(window);
        let affordable = more <= held.slack(self.total) as u64;
        if carried >= window && affordable { more } else { 0 }
    }
}

pub(super) fn short(message: &str) -> String {
    message.chars().take(MAX_REASON).collect()
}
