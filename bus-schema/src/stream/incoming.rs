//! The receiving half of one stream: bytes in order, each once, and how many more may come.

use prost::bytes::{Buf, Bytes};

use super::outgoing::Nonsense;
use crate::message::stream::Credit;
use crate::planted::{Bug, is_planted};

/// How a piece was taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// These bytes are new, and whether they are the last.
    New(Bytes, bool),
    /// All of it was here already.
    Old,
    /// Something before it is missing.
    Gap,
}

#[derive(Debug)]
pub struct Incoming {
    /// All bytes below it have been handed on.
    next: u64,
    ended: bool,
    /// Bytes that were used up.
    consumed: u64,
    /// Bytes that may wait to be used up.
    pub window: u64,
    /// What the peer was told last.
    told: (u64, u64),
    /// The gap at this offset has been told.
    told_gap: Option<u64>,
}

impl Incoming {
    /// The peer may send `window` bytes without being told so.
    pub fn new(window: u64) -> Incoming {
        Incoming { next: 0, ended: false, consumed: 0, window, told: (0, window), told_gap: None }
    }

    /// Takes bytes that begin at `offset`; `end` says that nothing follows them.
    ///
    /// # Errors
    /// [`Nonsense`] for bytes beyond the limit or the end.
    pub fn take(&mut self, offset: u64, mut data: Bytes, end: bool) -> Result<Taken, Nonsense> {
        let after = offset.checked_add(data.len() as u64).ok_or(Nonsense)?;
        if after > self.told.1 || (self.ended && (after > self.next || (end && after < self.next))) {
            return Err(Nonsense);
        }
        if offset > self.next {
            return Ok(Taken::Gap);
        }
        let fresh = end && !self.ended;
        if !is_planted(Bug::StreamTakesTwice) {
            if after < self.next || (after == self.next && !fresh) {
                return if end && after < self.next { Err(Nonsense) } else { Ok(Taken::Old) };
            }
            data.advance((self.next - offset) as usize);
        }
        self.next = self.next.max(after);
        self.ended |= end;
        Ok(Taken::New(data, end))
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What the peer should know.
    pub fn credit(&self) -> (u64, u64) {
        (self.next + u64::from(self.ended), self.consumed + self.window)
    }

    /// Bytes that were handed on and are not used up.
    pub fn waiting(&self) -> u64 {
        self.next - self.consumed
    }

    /// Bytes were used up.
    pub fn consume(&mut self, bytes: u64) {
        self.consumed = (self.consumed + bytes).min(self.next);
    }

    /// The credit as it is told, which from now on counts as said.
    pub fn tell(&mut self, id: u64, again: bool) -> Credit {
        let (next, limit) = self.credit();
        self.told = (next, limit.max(self.told.1));
        Credit { id, next, limit: self.told.1, again }
    }

    /// What the peer was told last.
    pub fn said(&self) -> (u64, u64) {
        self.told
    }

    /// Whether the peer should hear of it at some time.
    pub fn owes(&self) -> bool {
        let (next, limit) = self.credit();
        next > self.told.0 || limit > self.told.1
    }

    /// Whether the peer should hear of it now: half a window is used up or has come.
    pub fn owes_now(&self) -> bool {
        let ((next, limit), half) = (self.credit(), (self.window / 2).max(1));
        !self.ended && (next >= self.told.0 + half || limit >= self.told.1 + half)
    }

    /// Whether this gap is news: one word is enough for all that follows a lost piece.
    pub fn gap_is_news(&mut self) -> bool {
        self.told_gap.replace(self.next) != Some(self.next)
    }

    /// What was said of gaps may be lost with a session.
    pub fn forget_told(&mut self) {
        self.told_gap = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_once_and_in_order() {
        let mut incoming = Incoming::new(10);
        assert_eq!(incoming.take(0, Bytes::from_static(b"abc"), false), Ok(Taken::New(Bytes::from_static(b"abc"), false)));
        assert_eq!(incoming.take(0, Bytes::from_static(b"abc"), false), Ok(Taken::Old));
        assert_eq!(incoming.take(5, Bytes::from_static(b"f"), false), Ok(Taken::Gap));
        assert_eq!(incoming.take(1, Bytes::from_static(b"bcde"), true), Ok(Taken::New(Bytes::from_static(b"de"), true)));
        assert_eq!(incoming.take(5, Bytes::new(), true), Ok(Taken::Old));
        assert_eq!(incoming.credit(), (6, 10));
    }

    #[test]
    fn nobody_sends_beyond_the_limit_or_the_end() {
        let mut incoming = Incoming::new(4);
        assert_eq!(incoming.take(0, Bytes::from_static(b"abcde"), false), Err(Nonsense));
        assert_eq!(incoming.take(u64::MAX, Bytes::from_static(b"a"), false), Err(Nonsense));
        assert!(matches!(incoming.take(0, Bytes::from_static(b"ab"), true), Ok(Taken::New(_, true))));
        assert_eq!(incoming.take(2, Bytes::from_static(b"c"), false), Err(Nonsense));
        assert_eq!(incoming.take(0, Bytes::from_static(b"a"), true), Err(Nonsense));
    }

    #[test]
    fn a_credit_follows_what_was_used_up() {
        let mut incoming = Incoming::new(8);
        incoming.take(0, Bytes::from_static(b"abcdef"), false).unwrap();
        assert!(incoming.owes_now(), "six of eight have come");
        assert_eq!(incoming.tell(1, false), Credit { id: 1, next: 6, limit: 8, again: false });
        assert!(!incoming.owes());
        incoming.consume(6);
        assert_eq!(incoming.tell(1, false).limit, 14);
    }
}
