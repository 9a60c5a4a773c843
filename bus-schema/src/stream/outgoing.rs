//! The sending half of one stream: bytes are kept until the peer has them.

use super::kept::Kept;
use crate::planted::{Bug, is_planted};

/// What a peer said that cannot be.
#[derive(Debug, PartialEq, Eq)]
pub struct Nonsense;

/// One piece that goes into a frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub offset: u64,
    pub len: usize,
    pub end: bool,
    /// Its last byte, or its end, was never sent before.
    pub is_new: bool,
}

#[derive(Default)]
pub struct Outgoing {
    /// Offset of the buffer's first byte: everything below it is at the peer.
    base: u64,
    buffer: Kept,
    /// Offset of the next byte to send.
    sent: u64,
    /// The highest offset ever sent, the end included.
    peak: u64,
    /// Bytes below it may be sent.
    limit: u64,
    ended: bool,
    end_sent: bool,
    end_acked: bool,
    /// A new session has begun: what the peer has is not known yet.
    waits: bool,
}

/// Bytes are somebody's: no log shows them.
impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outgoing { base, buffer, sent, limit, ended, end_sent, end_acked, waits, .. } = self;
        write!(f, "{base}+{} sent {sent} limit {limit} ended {ended} {end_sent} {end_acked} waits {waits}", buffer.len())
    }
}

impl Outgoing {
    pub fn new(limit: u64) -> Outgoing {
        Outgoing { limit, ..Outgoing::default() }
    }

    /// Bytes that are kept.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.buffer.add(bytes);
    }

    /// Nothing is added any more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The peer has everything, and there will be no more.
    pub fn is_done(&self) -> bool {
        self.end_acked
    }

    /// Offset of the next byte that is added.
    pub fn written(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// Whether there is something that may be sent now.
    pub fn is_sendable(&self) -> bool {
        !self.waits && (self.sent < self.written().min(self.limit) || self.owes_end())
    }

    fn owes_end(&self) -> bool {
        self.ended && !self.end_sent && self.sent == self.written()
    }

    /// Whether only a word of the peer can bring this on: in a new session also the word that it knows the stream.
    pub fn waits_for_peer(&self) -> bool {
        self.waits || self.sent > self.base || (self.end_sent && !self.end_acked) || self.sent < self.written()
    }

    /// The next piece of at most `room` bytes, which counts as sent; [`Outgoing::bytes`] has them.
    pub fn take(&mut self, room: usize) -> Piece {
        let allowed = usize::try_from(self.written().min(self.limit).saturating_sub(self.sent)).unwrap_or(usize::MAX);
        let (offset, len) = (self.sent, allowed.min(room));
        if is_planted(Bug::StreamForgetsSent) {
            self.buffer.drop_first((self.sent - self.base) as usize);
            self.base = self.sent;
        }
        self.sent += len as u64;
        let end = self.owes_end();
        self.end_sent |= end;
        let is_new = self.probe() > self.peak;
        self.peak = self.peak.max(self.probe());
        Piece { offset, len, end, is_new }
    }

    /// The bytes of a piece that was just taken, in order.
    pub fn bytes(&self, piece: &Piece) -> impl Iterator<Item = &[u8]> {
        self.buffer.range((piece.offset - self.base) as usize, piece.len)
    }

    /// Where a piece without bytes stands: the peer's answer says whether all before it has arrived.
    pub fn probe(&self) -> u64 {
        self.sent + u64::from(self.end_sent)
    }

    /// The peer has everything below `next` and takes bytes below `limit`. True when that is news.
    ///
    /// # Errors
    /// [`Nonsense`] when so much was never sent.
    pub fn credited(&mut self, next: u64, limit: u64) -> Result<bool, Nonsense> {
        let before = (self.base, self.limit, self.end_acked);
        if next > self.peak {
            return Err(Nonsense);
        }
        self.end_acked |= self.ended && next > self.written();
        self.end_sent |= self.end_acked;
        let received = next.min(self.written()).saturating_sub(self.base);
        self.buffer.drop_first(received as usize);
        self.base += received;
        self.sent = self.sent.max(self.base);
        self.limit = self.limit.max(limit);
        Ok(before != (self.base, self.limit, self.end_acked))
    }

    /// Everything that the peer has not acknowledged is to be sent again.
    pub fn again(&mut self) {
        self.sent = self.base;
        self.end_sent = self.end_acked;
        self.waits = false;
    }

    /// Whether what the peer has is not known.
    pub fn is_waiting(&self) -> bool {
        self.waits
    }

    /// A new session has begun.
    pub fn wait(&mut self) {
        self.waits = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(out: &mut Outgoing, room: usize) -> (u64, String, bool) {
        let piece = out.take(room);
        (piece.offset, String::from_utf8(out.bytes(&piece).flatten().copied().collect()).unwrap(), piece.end)
    }

    #[test]
    fn bytes_are_kept_until_acknowledged_and_sent_again_from_there() {
        let mut out = Outgoing::new(8);
        out.add(b"0123456789");
        out.end();
        assert_eq!(taken(&mut out, 6), (0, "012345".into(), false));
        assert_eq!(taken(&mut out, 6), (6, "67".into(), false));
        assert!(!out.is_sendable() && out.waits_for_peer(), "the limit is 8");
        assert_eq!(out.credited(4, 16), Ok(true));
        out.again();
        assert_eq!(taken(&mut out, 100), (4, "456789".into(), true));
        assert_eq!(out.credited(11, 16), Ok(true));
        assert!(out.is_done() && !out.waits_for_peer() && out.buffered() == 0);
    }

    #[test]
    fn nobody_acknowledges_what_was_not_sent() {
        let mut out = Outgoing::new(4);
        out.add(b"01234");
        out.take(4);
        assert_eq!(out.credited(5, 9), Err(Nonsense));
        assert_eq!(out.credited(4, 9), Ok(true));
        assert_eq!(out.credited(2, 3), Ok(false), "an old word changes nothing");
    }

    #[test]
    fn an_end_alone_needs_no_credit() {
        let mut out = Outgoing::new(0);
        out.end();
        assert_eq!(taken(&mut out, 10), (0, String::new(), true));
        assert_eq!(out.credited(1, 0), Ok(true));
        assert!(out.is_done());
    }
}
