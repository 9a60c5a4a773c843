//! What goes to the peer: resets, then credits, then bytes, one piece of each stream in turn.

use super::outgoing::Piece;
use super::{Mux, State};
use crate::frame::{self, Sender};
use crate::id::Millis;
use crate::limits::MIN_FRAME;
use crate::link::timer::Rtt;
use crate::message::Kind;
use crate::message::stream::{Credit, StreamCredit, StreamData, StreamOpen, StreamReset};
use crate::planted::{Bug, is_planted};

/// Most bytes that a piece's fields take beside its data.
const PIECE_FIELDS: usize = 64;

/// Most bytes of one credit.
const CREDIT_LEN: usize = 40;

/// Bytes of a budget that is given `rate` more each second: a quarter of a second may be saved up.
#[derive(Debug)]
pub struct Bucket {
    rate: u64,
    /// Bytes that may be sent, below zero after a frame that was larger.
    bytes: i64,
    at: Millis,
}

impl Bucket {
    pub fn new(rate: u64) -> Bucket {
        Bucket { rate: rate.max(1), bytes: 0, at: 0 }
    }

    fn is_open(&mut self, now: Millis) -> bool {
        let gained = now.saturating_sub(self.at).saturating_mul(self.rate) / 1_000;
        if gained > 0 {
            self.at = now;
            self.bytes = self.bytes.saturating_add_unsigned(gained).min((self.rate / 4).max(MIN_FRAME as u64) as i64);
        }
        self.bytes > 0
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes -= bytes as i64;
    }

    /// When it has something again.
    pub fn due(&self, now: Millis) -> Option<Millis> {
        let missing = u64::try_from(1 - self.bytes).unwrap_or(0);
        Some(now.max(self.at) + (missing * 1_000).div_ceil(self.rate))
    }
}

impl Mux {
    /// Whether `poll_transmit` has something now.
    pub fn has_transmit(&mut self, now: Millis) -> bool {
        let resets = self.reset_timers.first().is_some_and(|due| due <= now);
        let words = resets || !self.echoes.is_empty() || !self.credits.is_empty() || !self.probes.is_empty();
        self.session.is_some() && (words || (!self.ready.is_empty() && self.may_send(now)))
    }

    fn may_send(&mut self, now: Millis) -> bool {
        self.bucket.as_mut().is_none_or(|bucket| bucket.is_open(now))
    }

    /// The next frame of at most `max_frame` bytes, asked for when the link can take it.
    pub fn poll_transmit(&mut self, max_frame: usize, now: Millis) -> Option<Vec<u8>> {
        let max_frame = max_frame.max(MIN_FRAME).min(self.session.as_ref()?.max_frame);
        let frame = self
            .poll_reset(now)
            .or_else(|| self.poll_credits(max_frame, now))
            .or_else(|| self.poll_probe(now))
            .or_else(|| self.poll_piece(max_frame, now));
        if let (Some(frame), Some(bucket)) = (&frame, &mut self.bucket) {
            bucket.spend(frame.len());
        }
        frame
    }

    fn seal(&mut self, kind: Kind, message: &impl prost::Message) -> Option<Vec<u8>> {
        Some(self.session.as_mut()?.sender.seal(kind, message))
    }

    fn poll_reset(&mut self, now: Millis) -> Option<Vec<u8>> {
        if let Some(echo) = self.echoes.pop_front() {
            return self.seal(Kind::StreamReset, &echo);
        }
        let id = self.reset_timers.pop(now)?;
        let (reset, repeat) = self.resets.get_mut(&id)?;
        repeat.said(now, Rtt::default());
        let (reset, due): (StreamReset, _) = (reset.clone(), repeat.due());
        self.reset_timers.set(id, Some(due));
        self.seal(Kind::StreamReset, &reset)
    }

    fn poll_credits(&mut self, max_frame: usize, now: Millis) -> Option<Vec<u8>> {
        let most = (frame::room(max_frame) / CREDIT_LEN).max(1);
        let mut credits = Vec::new();
        let mut told = Vec::new();
        while credits.len() < most {
            let Some(id) = self.next_credit(!told.is_empty()) else { break };
            let Some(state) = self.streams.get_mut(&id) else { continue };
            credits.push(state.tell(id));
            told.push(id);
        }
        if credits.is_empty() {
            return None;
        }
        let frame = self.seal(Kind::StreamCredit, &StreamCredit { credits });
        told.into_iter().for_each(|id| self.touch(id, now));
        frame
    }

    /// A stream whose credit is due; if some are, also one whose credit could wait.
    fn next_credit(&mut self, some_are_due: bool) -> Option<u64> {
        let due = self.credits.pop_first();
        if let Some(id) = due {
            self.lazy.remove(&id);
        }
        match due {
            None if some_are_due => self.lazy.pop_first(),
            due => due,
        }
    }

    fn poll_probe(&mut self, now: Millis) -> Option<Vec<u8>> {
        while let Some(id) = self.probes.pop_first() {
            let Some(state) = self.streams.get_mut(&id).filter(|state| state.answered) else { continue };
            let offset = state.out.probe();
            let (next, limit) = state.acknowledge(id);
            let asked = StreamData { id, offset, next, limit, ..StreamData::default() };
            self.touch(id, now);
            return self.seal(Kind::StreamData, &asked);
        }
        None
    }

    fn poll_piece(&mut self, max_frame: usize, now: Millis) -> Option<Vec<u8>> {
        let id = self.next_ready(now)?;
        let (room, floor) = (frame::room(max_frame).saturating_sub(PIECE_FIELDS), self.floor());
        let (state, session) = (self.streams.get_mut(&id)?, self.session.as_mut()?);
        let before = state.out.buffered();
        let piece = state.out.take(room);
        self.held.release(before - state.out.buffered());
        if piece.is_new {
            session.nearness.sent(id, state.out.probe(), now);
        }
        let near = session.nearness.is_within(self.limits.near);
        let frame = match state.answered {
            true => state.piece(id, &piece, session.packs && !near, &mut session.sender),
            false => session.sender.seal(Kind::StreamOpen, &state.opening(id, floor, near, &piece)),
        };
        self.touch(id, now);
        Some(frame)
    }

    /// The next stream in turn that has something to send.
    fn next_ready(&mut self, now: Millis) -> Option<u64> {
        while !self.ready.is_empty() && self.may_send(now) {
            let id = self.ready.pop_front()?;
            let Some(state) = self.streams.get_mut(&id) else { continue };
            state.queued = false;
            if state.wants_to_send() {
                return Some(id);
            }
        }
        None
    }

    /// No id below it is opened (again) by this hub.
    fn floor(&self) -> u64 {
        self.unanswered.first().copied().unwrap_or(self.next_id)
    }
}

impl State {
    pub(super) fn wants_to_send(&self) -> bool {
        match self.answered {
            true => self.out.is_sendable(),
            false => self.owes_open && (self.out.buffered() > 0 || self.out.has_ended()),
        }
    }

    fn tell(&mut self, id: u64) -> Credit {
        let again = std::mem::take(&mut self.again);
        self.inc.tell(id, again)
    }

    /// As it travels with bytes. What asks for everything again goes in a credit of its own.
    fn acknowledge(&mut self, id: u64) -> (u64, u64) {
        if self.again {
            return self.inc.said();
        }
        let Credit { next, limit, .. } = self.tell(id);
        (next, limit)
    }

    fn opening(&mut self, id: u64, floor: u64, near: bool, piece: &Piece) -> StreamOpen {
        self.owes_open = false;
        let data: Vec<u8> = self.out.bytes(piece).flatten().copied().collect();
        let limit = self.inc.tell(id, false).limit;
        StreamOpen { id, floor, limit, data: data.into(), end: piece.end, near }
    }

    /// Packed, or sealed from where its bytes are kept.
    fn piece(&mut self, id: u64, piece: &Piece, packs: bool, sender: &mut Sender) -> Vec<u8> {
        let end = piece.end && !is_planted(Bug::StreamEndLost);
        let (next, limit) = self.acknowledge(id);
        let head = StreamData { id, offset: piece.offset, end, next, limit, ..StreamData::default() };
        let packed = packs.then(|| self.packing.pack(piece.offset, piece.len, self.out.bytes(piece))).flatten();
        match packed {
            Some(packed) => {
                let head = StreamData { size: piece.len as u32, ..head };
                seal(sender, &head, packed.len(), std::iter::once(&packed[..]))
            }
            None => seal(sender, &head, piece.len, self.out.bytes(piece)),
        }
    }
}

fn seal<'a>(sender: &mut Sender, head: &StreamData, len: usize, data: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    sender.seal_written(Kind::StreamData, head.encoded_len_with(len), |frame| head.encode_with(len, data, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_its_rate_and_no_more() {
        let mut bucket = Bucket::new(10_000);
        let (mut now, mut sent) = (0, 0);
        while now < 10_000 {
            match bucket.is_open(now) {
                true => {
                    bucket.spend(3_000);
                    sent += 3_000;
                }
                false => now = bucket.due(now).unwrap(),
            }
        }
        assert!((97_000..=106_000).contains(&sent), "{sent}");
    }
}
