//! What the peer says.

use prost::bytes::Bytes;

use super::incoming::Taken;
use super::{Event, Limits, Mux, Role, State, packing};
use crate::frame::FrameError;
use crate::id::Millis;
use crate::link::timer::earliest;
use crate::message::Kind;
use crate::message::stream::{Code, Credit, StreamCredit, StreamData, StreamOpen, StreamReset};

impl Mux {
    /// A frame of a stream from the peer.
    ///
    /// # Errors
    /// Why it was not taken; a frame of another session or a late one is ordinary.
    pub fn frame(&mut self, frame: Bytes, now: Millis) -> Result<(), FrameError> {
        let live = self.session.as_mut().ok_or(FrameError::Seal)?;
        let (header, body) = live.receiver.open_owned(frame)?;
        let kind = header.kind;
        match kind {
            Kind::StreamOpen if self.role == Role::Agent => self.on_open(read::<StreamOpen>(kind, body)?, now),
            Kind::StreamData => self.on_data(read::<StreamData>(kind, body)?, now),
            Kind::StreamCredit => {
                read::<StreamCredit>(kind, body)?.credits.iter().for_each(|credit| self.on_credit(credit, now));
            }
            Kind::StreamReset => self.on_reset(read::<StreamReset>(kind, body)?),
            other => return Err(FrameError::Body(other)),
        }
        Ok(())
    }

    fn on_open(&mut self, open: StreamOpen, now: Millis) {
        let StreamOpen { id, floor, limit, data, end, near } = open;
        self.performed.raise(floor);
        self.session.iter_mut().filter(|_| near).for_each(|live| live.nearness.told());
        let is_known = self.streams.contains_key(&id);
        if !is_known {
            if self.performed.contains(id) {
                return self.answer(id, Code::Gone, "this request was performed, and its outcome is not known any more");
            }
            if self.streams.len() >= self.limits.streams {
                return self.answer(id, Code::Refused, "the agent serves no more streams at once");
            }
            self.performed.insert(id);
            self.streams.insert(id, State::new(&self.limits, limit, true));
            self.events.push_back(Event::Opened(id));
        }
        match is_known || !end {
            // The hub waits to hear of it, whatever else may wait.
            true => drop(self.credits.insert(id)),
            // It has said all: the answer may tell.
            false => self.lazy_due = earliest([self.lazy_due, Some(now + self.limits.answer_delay)]),
        }
        self.on_bytes(id, 0, data, end, now);
    }

    fn on_data(&mut self, data: StreamData, now: Millis) {
        let StreamData { id, offset, data, end, next, limit, size } = data;
        self.on_credit(&Credit { id, next, limit, again: false }, now);
        let Some(state) = self.streams.get_mut(&id) else { return };
        let Some(data) = unpacked(&self.limits, data, size) else { return self.break_off(id, now) };
        if data.is_empty() && !end {
            state.again |= offset > state.inc.credit().0;
            self.credits.insert(id);
            return self.touch(id, now);
        }
        self.on_bytes(id, offset, data, end, now);
    }

    fn on_bytes(&mut self, id: u64, offset: u64, data: Bytes, end: bool, now: Millis) {
        let Some(state) = self.streams.get_mut(&id) else { return };
        match state.inc.take(offset, data, end) {
            Err(_) => return self.break_off(id, now),
            Ok(Taken::Old) => drop(self.credits.insert(id)),
            Ok(Taken::Gap) => {
                if state.inc.gap_is_news() {
                    state.again = true;
                    self.credits.insert(id);
                }
            }
            Ok(Taken::New(data, end)) => match state.lingers {
                true => state.inc.consume(data.len() as u64),
                false => self.events.push_back(Event::Data(id, data, end)),
            },
        }
        self.touch(id, now);
    }

    fn on_credit(&mut self, credit: &Credit, now: Millis) {
        let Credit { id, next, limit, again } = *credit;
        let Some(state) = self.streams.get_mut(&id) else {
            return self.answer(id, Code::Gone, "there is no such stream");
        };
        if !state.answered {
            state.answered = true;
            self.unanswered.remove(&id);
            // It was answered in a session that is gone, and the agent waits to hear how far the hub is.
            if again {
                state.again = true;
                self.credits.insert(id);
            }
        }
        self.session.iter_mut().for_each(|live| live.nearness.heard(id, next, now));
        let before = state.out.buffered();
        let Ok(news) = state.out.credited(next, limit) else { return self.break_off(id, now) };
        self.held.release(before - state.out.buffered());
        // Whatever is said in a session says how far the peer is in it.
        let again = again || state.out.is_waiting();
        if again {
            state.out.again();
        }
        if news || again {
            state.probe = None;
        }
        if state.starved && self.limits.room(state.out.buffered(), &self.held) > 0 {
            state.starved = false;
            self.events.push_back(Event::Writable(id));
        }
        self.touch(id, now);
    }

    fn on_reset(&mut self, reset: StreamReset) {
        let StreamReset { id, message, echo, .. } = reset;
        if echo {
            self.resets.remove(&id);
            self.reset_timers.forget(id);
        }
        let code = Code::try_from(reset.code).unwrap_or(Code::Failed);
        if let Some(state) = self.remove(id) {
            // Whoever has everything forgets a stream first.
            let complete = code == Code::Gone && state.inc.has_ended() && state.out.has_ended();
            if !complete && !state.lingers {
                self.events.push_back(Event::Reset(id, code, message));
            }
        }
        if !echo {
            self.answer(id, Code::Gone, "");
        }
    }

    /// Says once that a stream is not here; whoever needs to know asks again.
    fn answer(&mut self, id: u64, code: Code, message: &str) {
        if self.echoes.len() < self.limits.streams {
            self.echoes.push_back(StreamReset { id, code: code as i32, message: message.to_owned(), echo: true });
        }
    }

    /// The peer does what no peer of ours does.
    fn break_off(&mut self, id: u64, now: Millis) {
        let message = "the peer broke the rules of streams";
        self.reset(id, Code::Protocol, message, now);
        self.events.push_back(Event::Reset(id, Code::Protocol, message.to_owned()));
    }
}

/// The bytes of a piece; `None` when they are packed as no peer of ours does, or into more than a window.
fn unpacked(limits: &Limits, data: Bytes, size: u32) -> Option<Bytes> {
    match size as usize {
        0 => Some(data),
        size if size as u64 > limits.window.max(limits.first_window) => None,
        size => packing::unpack(&data, size),
    }
}

fn read<M: prost::Message + Default>(kind: Kind, body: Bytes) -> Result<M, FrameError> {
    M::decode(body).map_err(|_| FrameError::Body(kind))
}
