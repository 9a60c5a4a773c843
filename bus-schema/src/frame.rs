//! Frames: what one MQTT message carries.
//!
//! ```text
//! +---------+-----------+--------+-----------------+----------------+--------+--------+
//! | version | flags     | kind   | counter         | nonce          | body   | tag    |
//! | 1 byte  | 2, BE     | 1      | 1-10 (varint)   | 32, Hello and  |        | 16     |
//! |         |           |        |                 | Welcome only   |        |        |
//! +---------+-----------+--------+-----------------+----------------+--------+--------+
//!  <------------- associated data of the seal ---------------------> <-- sealed ---->
//! ```
//!
//! Flags 0-7 that a reader does not know: the frame is refused. Flags 8-15: passed over.
//! The counter of a session's direction strictly rises: it is nonce and replay guard, and never stored.

use prost::bytes::{Buf, BufMut};
use prost::encoding::{decode_varint, encode_varint};
use ring::digest;

use crate::id::{Nonce, SessionId};
use crate::limits::MAX_FRAME;
use crate::message::Kind;

/// The wire version that this crate speaks.
pub const VERSION: u8 = 1;

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// Most bytes that a frame adds around a body, without a nonce.
pub const OVERHEAD: usize = 4 + 10 + TAG_LEN;

const MUST_KNOW: u16 = 0x00ff;

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the frame is shorter than its header")]
    Short,
    #[error("the frame has {0} bytes, at most {MAX_FRAME} are taken")]
    TooBig(usize),
    #[error("wire version {0} is not spoken here, this is version {VERSION}")]
    Version(u8),
    #[error("flags {0:#06x} must be known and are not")]
    Flags(u16),
    #[error("message kind {0} is not known")]
    Kind(u8),
    #[error("the seal does not fit: another session, or damaged")]
    Seal,
    #[error("the counter did not rise: a late or repeated frame")]
    Replayed,
    #[error("the body of a {0:?} cannot be read")]
    Body(Kind),
}

/// Everything in front of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub counter: u64,
    /// There in Hello and Welcome.
    pub nonce: Option<Nonce>,
}

fn has_nonce(kind: Kind) -> bool {
    matches!(kind, Kind::Hello | Kind::Welcome)
}

/// Seals and opens the frames of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// Greetings are sealed between the long-lived keys, which the trust issue brings.
    pub fn greeting() -> Key {
        Key([0; 32])
    }

    /// A Welcome fits one Hello only.
    pub fn answering(hello: &[u8]) -> Key {
        Key(derive(b"welcome", &[hello]))
    }

    fn tag(&self, header: &[u8], body: &[u8]) -> [u8; TAG_LEN] {
        derive(b"null", &[&self.0, header, body])[..TAG_LEN].try_into().expect("a digest is longer than a tag")
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

fn derive(label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(label);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// What both sides derive from their nonces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKeys {
    pub id: SessionId,
    pub up: Key,
    pub down: Key,
}

impl SessionKeys {
    pub fn agree(agent: &Nonce, hub: &Nonce) -> SessionKeys {
        let id = derive(b"session", &[agent, hub]);
        SessionKeys {
            id: SessionId(u64::from_be_bytes(id[..8].try_into().expect("a digest has 32 bytes")).max(1)),
            up: Key(derive(b"up", &[agent, hub])),
            down: Key(derive(b"down", &[agent, hub])),
        }
    }
}

/// Writes a sealed frame. The null cipher of the first release leaves the body readable; its tag has the length of the true one.
pub fn seal(key: &Key, header: &Header, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(OVERHEAD + 32 + body.len());
    frame.put_u8(VERSION);
    frame.put_u16(0);
    frame.put_u8(header.kind as u8);
    encode_varint(header.counter, &mut frame);
    if let Some(nonce) = &header.nonce {
        frame.extend_from_slice(nonce);
    }
    let tag = key.tag(&frame, body);
    frame.extend_from_slice(body);
    frame.extend_from_slice(&tag);
    frame
}

/// Reads the header of a frame, before any key is chosen. Returns it with its length.
///
/// # Errors
/// Every [`FrameError`] that needs no key.
pub fn peek(frame: &[u8]) -> Result<(Header, usize), FrameError> {
    if frame.len() > MAX_FRAME {
        return Err(FrameError::TooBig(frame.len()));
    }
    let mut rest = frame;
    if rest.len() < 5 + TAG_LEN {
        return Err(FrameError::Short);
    }
    let version = rest.get_u8();
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let flags = rest.get_u16();
    if flags & MUST_KNOW != 0 {
        return Err(FrameError::Flags(flags & MUST_KNOW));
    }
    let kind = rest.get_u8();
    let kind = Kind::read(kind).ok_or(FrameError::Kind(kind))?;
    let counter = decode_varint(&mut rest).map_err(|_| FrameError::Short)?;
    let nonce = match has_nonce(kind) {
        true => Some(take_nonce(&mut rest)?),
        false => None,
    };
    if rest.len() < TAG_LEN {
        return Err(FrameError::Short);
    }
    Ok((Header { kind, counter, nonce }, frame.len() - rest.len()))
}

fn take_nonce(rest: &mut &[u8]) -> Result<Nonce, FrameError> {
    let (nonce, after) = rest.split_first_chunk::<32>().ok_or(FrameError::Short)?;
    *rest = after;
    Ok(*nonce)
}

/// Opens a frame, returns its header and body.
///
/// # Errors
/// As [`peek`], and [`FrameError::Seal`] when the key does not fit.
pub fn open<'a>(key: &Key, frame: &'a [u8]) -> Result<(Header, &'a [u8]), FrameError> {
    let (header, at) = peek(frame)?;
    let (body, tag) = frame[at..].split_at(frame.len() - at - TAG_LEN);
    match key.tag(&frame[..at], body) == tag {
        true => Ok((header, body)),
        false => Err(FrameError::Seal),
    }
}

/// The receiving half of a session: opens frames, each counter once and rising.
#[derive(Debug, Clone)]
pub struct Receiver {
    key: Key,
    next: u64,
}

impl Receiver {
    pub fn new(key: Key) -> Receiver {
        Receiver { key, next: 0 }
    }

    /// Opens the next frame.
    ///
    /// # Errors
    /// As [`open`], and [`FrameError::Replayed`] for a counter that is not above the last.
    pub fn open<'a>(&mut self, frame: &'a [u8]) -> Result<(Header, &'a [u8]), FrameError> {
        let (header, body) = open(&self.key, frame)?;
        if header.counter < self.next {
            return Err(FrameError::Replayed);
        }
        self.next = header.counter + 1;
        Ok((header, body))
    }
}

/// The sending half of a session.
#[derive(Debug, Clone)]
pub struct Sender {
    key: Key,
    next: u64,
}

impl Sender {
    pub fn new(key: Key) -> Sender {
        Sender { key, next: 0 }
    }

    pub fn seal(&mut self, kind: Kind, message: &impl prost::Message) -> Vec<u8> {
        self.seal_bytes(kind, &message.encode_to_vec())
    }

    /// Seals a body that is encoded already.
    pub fn seal_bytes(&mut self, kind: Kind, body: &[u8]) -> Vec<u8> {
        let header = Header { kind, counter: self.next, nonce: None };
        self.next += 1;
        seal(&self.key, &header, body)
    }
}

/// Reads a body.
///
/// # Errors
/// [`FrameError::Body`] when it is no message of that kind.
pub fn body<M: prost::Message + Default>(kind: Kind, bytes: &[u8]) -> Result<M, FrameError> {
    M::decode(bytes).map_err(|_| FrameError::Body(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Beat;

    fn keys() -> SessionKeys {
        SessionKeys::agree(&[1; 32], &[2; 32])
    }

    #[test]
    fn a_frame_opens_once_and_only_with_its_key() {
        let keys = keys();
        let frame = Sender::new(keys.up.clone()).seal(Kind::Beat, &Beat { echo: 7, answer: false });
        assert_eq!(Receiver::new(keys.down).open(&frame), Err(FrameError::Seal));
        let mut receiver = Receiver::new(keys.up);
        let (header, bytes) = receiver.open(&frame).unwrap();
        assert_eq!(body::<Beat>(header.kind, bytes), Ok(Beat { echo: 7, answer: false }));
        assert_eq!(receiver.open(&frame), Err(FrameError::Replayed));
    }

    #[test]
    fn a_late_frame_is_a_lost_frame() {
        let keys = keys();
        let mut sender = Sender::new(keys.up.clone());
        let [first, second] = [(); 2].map(|()| sender.seal(Kind::Beat, &Beat::default()));
        let mut receiver = Receiver::new(keys.up);
        assert!(receiver.open(&second).is_ok());
        assert_eq!(receiver.open(&first), Err(FrameError::Replayed));
    }

    #[test]
    fn unknown_low_flags_are_refused_and_unknown_high_flags_passed_over() {
        let keys = keys();
        let header = Header { kind: Kind::Beat, counter: 0, nonce: None };
        for (flags, expected) in [(0x0001_u16, Err(FrameError::Flags(1))), (0x0100, Ok(()))] {
            let mut frame = seal(&keys.up, &header, &[]);
            frame[1..3].copy_from_slice(&flags.to_be_bytes());
            let at = frame.len() - TAG_LEN;
            let tag = keys.up.tag(&frame[..at], &[]);
            frame[at..].copy_from_slice(&tag);
            assert_eq!(open(&keys.up, &frame).map(|_| ()), expected);
        }
    }

    #[test]
    fn no_bytes_panic() {
        let keys = keys();
        let frame = seal(&keys.up, &Header { kind: Kind::Hello, counter: 300, nonce: Some([9; 32]) }, b"body");
        for cut in 0..frame.len() {
            assert!(open(&keys.up, &frame[..cut]).is_err());
            let mut damaged = frame.clone();
            damaged[cut] ^= 0x55;
            assert!(open(&keys.up, &damaged).is_err());
        }
        assert!(open(&keys.up, &vec![1; MAX_FRAME + 1]).is_err());
    }
}
