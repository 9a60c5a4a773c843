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
//! The nonce of a greeting is its ephemeral key (`greeting`); every other frame is sealed under the session's key of its direction, with
//! ChaCha20-Poly1305 (RFC 8439), those of streams with AES-256-GCM where both ends have that in hardware (`key`); the counter is the nonce. Bodies are padded before they are sealed (`padding`).
//! Flags 0-7 that a reader does not know: the frame is refused. Flags 8-15: passed over.
//! The counter of a session's direction strictly rises: it is nonce and replay guard, and never stored.

use prost::bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{decode_varint, encode_varint};
use ring::aead::Aad;

use crate::id::Nonce;
pub use crate::key::{Cipher, Key};
use crate::limits::MAX_FRAME;
use crate::message::Kind;
use crate::planted::{Bug, is_planted};
use crate::{padding, witness};

/// The wire version that this crate speaks.
pub const VERSION: u8 = 1;

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// Most bytes that a frame adds around a padded body, without a nonce.
const OVERHEAD: usize = 4 + 10 + TAG_LEN;

/// Bytes of the largest body that goes into a frame of at most `max_frame` bytes.
pub fn room(max_frame: usize) -> usize {
    padding::fitting(max_frame.saturating_sub(OVERHEAD))
}

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
    #[error("the agent's key is not known yet: it greets again, or is answered once it is")]
    Early,
    #[error("the padding is damaged: made by another program")]
    Padding,
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

impl Header {
    /// The bytes in front of the nonce.
    pub(crate) fn write(&self, frame: &mut Vec<u8>) {
        frame.put_u8(VERSION);
        frame.put_u16(0);
        frame.put_u8(self.kind as u8);
        encode_varint(self.counter, frame);
    }
}

fn nonce(counter: u64) -> ring::aead::Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    ring::aead::Nonce::assume_unique_for_key(bytes)
}

fn associated(header: &[u8]) -> Aad<&[u8]> {
    Aad::from(if is_planted(Bug::HeaderNotSealed) { &[] } else { header })
}

/// Writes a sealed frame; its header has no nonce.
pub fn seal(key: &Key, header: &Header, body: &[u8]) -> Vec<u8> {
    seal_written(key, header, body.len(), |frame| frame.extend_from_slice(body))
}

/// As [`seal`], for a body of `len` bytes that `write` appends: it is sealed where it is written.
fn seal_written(key: &Key, header: &Header, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(OVERHEAD + padding::padded(len));
    header.write(&mut frame);
    let at = frame.len();
    write(&mut frame);
    padding::pad(&mut frame, at);
    let (associated_data, body) = frame.split_at_mut(at);
    let clear = witness::clear(&body[..len]);
    let tag = key.0.seal_in_place_separate_tag(nonce(header.counter), associated(associated_data), body);
    frame.extend_from_slice(tag.expect("a frame is far below 256 GiB").as_ref());
    witness::sealed(&key.0, header.counter, &clear, &frame[at..]);
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

/// Whether a frame is of a stream, and so sealed under keys that only streams know.
pub fn is_of_streams(frame: &[u8]) -> bool {
    peek(frame).is_ok_and(|(header, _)| header.kind.is_of_streams())
}

/// Whether a frame asks for a session.
pub fn is_hello(frame: &[u8]) -> bool {
    peek(frame).is_ok_and(|(header, _)| header.kind == Kind::Hello)
}

/// Opens a frame that is no greeting; returns its header and body.
///
/// # Errors
/// As [`peek`], and [`FrameError::Seal`] when the key does not fit.
pub fn open(key: &Key, frame: &[u8]) -> Result<(Header, Vec<u8>), FrameError> {
    let (header, at) = peek(frame)?;
    let mut body = frame[at..].to_vec();
    let len = unseal(key, &header, &frame[..at], &mut body)?;
    body.truncate(len);
    Ok((header, body))
}

/// As [`open`], in the frame's own memory if nobody else has it, and unless that is far larger than the frame: its body may stay for long.
fn open_owned(key: &Key, frame: Bytes) -> Result<(Header, Bytes), FrameError> {
    let (header, at) = peek(&frame)?;
    let mut frame = match frame.try_into_mut() {
        Ok(own) if own.capacity() <= 2 * own.len() => own,
        Ok(own) => BytesMut::from(&own[..]),
        Err(shared) => BytesMut::from(&shared[..]),
    };
    let mut body = frame.split_off(at);
    let len = unseal(key, &header, &frame, &mut body)?;
    body.truncate(len);
    Ok((header, body.freeze()))
}

/// Opens a body in its place; returns how long it is without seal and padding.
fn unseal(key: &Key, header: &Header, before: &[u8], body: &mut [u8]) -> Result<usize, FrameError> {
    let opened = key.0.open_in_place(nonce(header.counter), associated(before), body).map_err(|_| FrameError::Seal)?;
    padding::unpadded(opened).ok_or(FrameError::Padding)
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
    pub fn open(&mut self, frame: &[u8]) -> Result<(Header, Vec<u8>), FrameError> {
        let (header, body) = open(&self.key, frame)?;
        self.count(&header)?;
        Ok((header, body))
    }

    /// As [`Receiver::open`], without a copy where that can be.
    ///
    /// # Errors
    /// As there.
    pub fn open_owned(&mut self, frame: Bytes) -> Result<(Header, Bytes), FrameError> {
        let (header, body) = open_owned(&self.key, frame)?;
        self.count(&header)?;
        Ok((header, body))
    }

    fn count(&mut self, header: &Header) -> Result<(), FrameError> {
        if header.counter < self.next {
            return Err(FrameError::Replayed);
        }
        self.next = header.counter + 1;
        Ok(())
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

    /// Whether anything was sealed yet.
    pub fn has_spoken(&self) -> bool {
        self.next > 0
    }

    pub fn seal(&mut self, kind: Kind, message: &impl prost::Message) -> Vec<u8> {
        self.seal_written(kind, message.encoded_len(), |frame| message.encode(frame).expect("a vector takes everything"))
    }

    /// Seals a body of `len` bytes that `write` appends.
    pub fn seal_written(&mut self, kind: Kind, len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let header = self.header(kind);
        seal_written(&self.key, &header, len, write)
    }

    /// Seals a body that is encoded already.
    pub fn seal_bytes(&mut self, kind: Kind, body: &[u8]) -> Vec<u8> {
        let header = self.header(kind);
        seal(&self.key, &header, body)
    }

    fn header(&mut self, kind: Kind) -> Header {
        let header = Header { kind, counter: self.next, nonce: None };
        self.next += u64::from(!(is_planted(Bug::CounterRepeated) && kind == Kind::StatusAck));
        header
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

    fn keys() -> [Key; 2] {
        [Key::new(&[1; 32]), Key::new(&[2; 32])]
    }

    #[test]
    fn a_frame_opens_once_and_only_with_its_key() {
        let [up, down] = keys();
        let frame = Sender::new(up.clone()).seal(Kind::Beat, &Beat { echo: 7, answer: false });
        assert_eq!(Receiver::new(down).open(&frame), Err(FrameError::Seal));
        let mut receiver = Receiver::new(up);
        let (header, bytes) = receiver.open(&frame).unwrap();
        assert_eq!(body::<Beat>(header.kind, &bytes), Ok(Beat { echo: 7, answer: false }));
        assert_eq!(receiver.open(&frame), Err(FrameError::Replayed));
    }

    #[test]
    fn a_frame_opens_in_its_own_memory_if_it_has_it_alone() {
        let [up, _] = keys();
        let sealed = Sender::new(up.clone()).seal_bytes(Kind::Content, &[7; 5_000]);
        let own = Bytes::from(sealed.clone());
        let at = own.as_ptr();
        let (_, body) = open_owned(&up, own).unwrap();
        assert!(body == [7; 5_000][..] && body.as_ptr() == at.wrapping_add(5), "in place");
        let shared = Bytes::from(sealed.clone());
        let other = shared.clone();
        assert_eq!(open_owned(&up, shared).unwrap().1, [7; 5_000][..]);
        assert_eq!(other, sealed, "somebody else's copy stays");
        let mut large = BytesMut::with_capacity(60_000);
        large.extend_from_slice(&sealed);
        let body = open_owned(&up, large.freeze()).unwrap().1;
        assert!(body.try_into_mut().unwrap().capacity() < 10_000, "a small frame holds no large memory");
    }

    #[test]
    fn nothing_of_a_body_is_readable_and_equal_bodies_differ() {
        let [up, _] = keys();
        let mut sender = Sender::new(up);
        let [first, second] = [(); 2].map(|()| sender.seal_bytes(Kind::Content, b"swordfish"));
        assert!(!first.windows(9).any(|window| window == b"swordfish"));
        assert_eq!(first.len(), second.len());
        assert_ne!(first[5..], second[5..]);
    }

    #[test]
    fn a_late_frame_is_a_lost_frame() {
        let [up, _] = keys();
        let mut sender = Sender::new(up.clone());
        let [first, second] = [(); 2].map(|()| sender.seal(Kind::Beat, &Beat::default()));
        let mut receiver = Receiver::new(up);
        assert!(receiver.open(&second).is_ok());
        assert_eq!(receiver.open(&first), Err(FrameError::Replayed));
    }

    #[test]
    fn unknown_low_flags_are_refused_and_unknown_high_flags_passed_over() {
        let [up, _] = keys();
        for (flags, expected) in [(0x0001_u16, Err(FrameError::Flags(1))), (0x0100, Ok(()))] {
            let mut frame = Vec::new();
            Header { kind: Kind::Beat, counter: 0, nonce: None }.write(&mut frame);
            frame[1..3].copy_from_slice(&flags.to_be_bytes());
            let mut sealed = Vec::new();
            padding::pad(&mut sealed, 0);
            up.0.seal_in_place_append_tag(nonce(0), Aad::from(&frame), &mut sealed).unwrap();
            frame.append(&mut sealed);
            assert_eq!(open(&up, &frame).map(|_| ()), expected);
        }
    }

    #[test]
    fn no_bytes_panic_and_no_damage_is_taken() {
        let [up, _] = keys();
        let frame = seal(&up, &Header { kind: Kind::Report, counter: 300, nonce: None }, b"body");
        for cut in 0..frame.len() {
            assert!(open(&up, &frame[..cut]).is_err());
            let mut damaged = frame.clone();
            damaged[cut] ^= 0x55;
            assert!(open(&up, &damaged).is_err());
        }
        assert!(open(&up, &vec![1; MAX_FRAME + 1]).is_err());
    }

    #[test]
    fn the_largest_body_of_a_frame_fits_it() {
        for max_frame in [1_024, 2_048, 20_000, MAX_FRAME] {
            let header = Header { kind: Kind::Content, counter: u64::MAX, nonce: None };
            assert!(seal(&keys()[0], &header, &vec![7; room(max_frame)]).len() <= max_frame);
        }
    }
}
