//! Client to server: pings are taken out.

use super::MAX_CONTROL;
use super::head::{Head, Partial};

/// FIN, no extension, opcode 9.
const PING: u8 = 0x89;

/// What passed of the frame that is under way.
#[derive(Debug)]
pub struct FromClient(State);

#[derive(Debug)]
enum State {
    Head(Partial),
    /// So many bytes of payload still pass.
    Passing(u64),
    Ping {
        head: Head,
        mask: [u8; 4],
        payload: Vec<u8>,
    },
}

impl Default for FromClient {
    fn default() -> Self {
        FromClient(State::Head(Partial::default()))
    }
}

impl FromClient {
    /// Takes bytes of the client, adds to `out` what goes on to the server, and returns the payload of the last ping that became whole:
    /// earlier ones need no answer of their own.
    pub fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Option<Vec<u8>> {
        let mut ping = None;
        while !bytes.is_empty() {
            match &mut self.0 {
                State::Head(partial) => {
                    if let Some(head) = partial.take(&mut bytes) {
                        self.begin(head, out);
                    }
                }
                State::Passing(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    out.extend_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    *left -= count as u64;
                }
                State::Ping { head, payload, .. } => {
                    let count = (head.length as usize - payload.len()).min(bytes.len());
                    payload.extend_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                }
            }
            ping = self.finish().or(ping);
        }
        ping
    }

    /// Adds what was kept back of a frame that will not become whole.
    pub fn end(self, out: &mut Vec<u8>) {
        match self.0 {
            State::Head(partial) => out.extend_from_slice(partial.rest()),
            State::Passing(_) => {}
            State::Ping { head, payload, .. } => {
                out.extend_from_slice(&head.bytes);
                out.extend_from_slice(&payload);
            }
        }
    }

    fn begin(&mut self, head: Head, out: &mut Vec<u8>) {
        match head.mask {
            Some(mask) if head.first == PING && head.length <= MAX_CONTROL => self.0 = State::Ping { head, mask, payload: Vec::new() },
            _ => {
                out.extend_from_slice(&head.bytes);
                self.0 = State::Passing(head.length);
            }
        }
    }

    /// Goes to the next head if a frame is whole.
    fn finish(&mut self) -> Option<Vec<u8>> {
        let ping = match &mut self.0 {
            State::Passing(0) => None,
            State::Ping { head, mask, payload } if payload.len() as u64 == head.length => {
                payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
                Some(std::mem::take(payload))
            }
            _ => return None,
        };
        *self = FromClient::default();
        ping
    }
}
