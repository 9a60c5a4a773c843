//! Server to client: pongs of the hub are put in between two frames.

use super::head::{Head, Partial};
use super::{MAX_CONTROL, MAX_HELD};

/// FIN, opcode 10.
const PONG: u8 = 0x8a;
const CLOSE: u8 = 8;

/// Capacity that is kept from one frame to the next.
const KEPT_BUSY: usize = 64 << 10;
/// And from a ping of the client on, which an idle one sends, too.
const KEPT_IDLE: usize = 4 << 10;

/// The frame that is under way, and the pong that waits for its end.
#[derive(Debug)]
pub struct FromServer {
    state: State,
    /// Of a frame that goes out whole.
    pub(super) held: Vec<u8>,
    pong: Option<Vec<u8>>,
    /// After its close frame nothing may follow.
    closed: bool,
}

#[derive(Debug)]
enum State {
    Head(Partial),
    /// So many bytes are missing of the frame that is held.
    Holding {
        left: u64,
        opcode: u8,
    },
    /// So many bytes still pass of one that is too large to be held.
    Passing(u64),
}

impl Default for FromServer {
    fn default() -> Self {
        FromServer { state: State::Head(Partial::default()), held: Vec::new(), pong: None, closed: false }
    }
}

impl FromServer {
    /// Takes bytes of the server, and adds to `out` what goes to the client.
    pub fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Head(partial) => {
                    if let Some(head) = partial.take(&mut bytes) {
                        self.begin(&head, out);
                    }
                }
                State::Holding { left, .. } => {
                    let count = shared(*left, bytes.len());
                    self.held.extend_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    *left -= count as u64;
                }
                State::Passing(left) => {
                    let count = shared(*left, bytes.len());
                    out.extend_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    *left -= count as u64;
                }
            }
            self.finish(out);
        }
    }

    /// Answers a ping, at once or after the large frame that is under way.
    pub fn pong(&mut self, payload: Vec<u8>, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        self.pong = Some(payload);
        self.held.shrink_to(KEPT_IDLE);
        if !matches!(self.state, State::Passing(_)) {
            self.place(out);
        }
    }

    /// Adds what was held of a frame that will not become whole.
    pub fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.held);
        if let State::Head(partial) = self.state {
            out.extend_from_slice(partial.rest());
        }
    }

    fn begin(&mut self, head: &Head, out: &mut Vec<u8>) {
        if head.length > MAX_HELD {
            out.extend_from_slice(&head.bytes);
            self.state = State::Passing(head.length);
            return;
        }
        self.held.extend_from_slice(&head.bytes);
        self.state = State::Holding { left: head.length, opcode: head.opcode() };
    }

    /// Lets a frame out that is whole, and the pong that waited for it.
    fn finish(&mut self, out: &mut Vec<u8>) {
        match self.state {
            State::Holding { left: 0, opcode } => {
                out.extend_from_slice(&self.held);
                self.held.clear();
                self.held.shrink_to(KEPT_BUSY);
                self.closed |= opcode == CLOSE;
            }
            State::Passing(0) => {}
            _ => return,
        }
        self.state = State::Head(Partial::default());
        self.place(out);
    }

    fn place(&mut self, out: &mut Vec<u8>) {
        if let Some(payload) = self.pong.take().filter(|_| !self.closed) {
            let length = payload.len().min(MAX_CONTROL as usize);
            out.extend_from_slice(&[PONG, length as u8]);
            out.extend_from_slice(&payload[..length]);
        }
    }
}

fn shared(left: u64, have: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(have)
}
