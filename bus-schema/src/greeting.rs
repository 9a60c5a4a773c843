//! Hello and Welcome as frames, and the keys of the session that they agree on.

use crate::frame::{self, FrameError, Header, Key};
use crate::id::{Nonce, SessionId};
use crate::key::StreamSecrets;
use crate::message::{Kind, NoSession};
use crate::noise::{self, Agreed, NotAuthentic};
use crate::secret::{LinkSecret, Trust};
use crate::{padding, witness};

/// The keys of one session.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    pub id: SessionId,
    pub up: Key,
    pub down: Key,
    pub streams: StreamSecrets,
}

impl From<Agreed> for SessionKeys {
    fn from(agreed: Agreed) -> SessionKeys {
        let head = agreed.transcript[..8].try_into().expect("a transcript has 32 bytes");
        SessionKeys {
            id: SessionId(u64::from_be_bytes(head).max(1)),
            up: Key::new(&agreed.up),
            down: Key::new(&agreed.down),
            streams: StreamSecrets { up: agreed.streams_up, down: agreed.streams_down },
        }
    }
}

impl From<NotAuthentic> for FrameError {
    fn from(_: NotAuthentic) -> FrameError {
        FrameError::Seal
    }
}

/// A Hello on its way, with what is needed to understand its answer.
#[derive(Clone)]
pub struct Hello {
    /// Every repetition is byte-identical.
    pub frame: Vec<u8>,
    seed: LinkSecret,
    body: Vec<u8>,
}

impl Hello {
    /// Seals a Hello; `seed` is fresh randomness, and nothing else is ever made of it. `None` for a body that no frame takes.
    pub fn seal(trust: &Trust, seed: Nonce, body: &[u8]) -> Option<Hello> {
        let body = padded(body);
        let header = head(Kind::Hello);
        let message = noise::hello(trust, &seed, &header, &body)?;
        witness::greeted(&body, &message);
        Some(Hello { frame: [header, message].concat(), seed: LinkSecret::new(seed), body })
    }

    /// Opens the Welcome that answers this Hello.
    ///
    /// # Errors
    /// [`FrameError::Seal`] unless the hub made it for this very Hello.
    pub fn open_welcome(&self, trust: &Trust, frame: &[u8]) -> Result<(Vec<u8>, SessionKeys), FrameError> {
        let (header, message) = split(frame, Kind::Welcome)?;
        let (mut body, agreed) = noise::answered(trust, self.seed.expose(), (&head(Kind::Hello), &self.body), (header, message))?;
        padding::unpad(&mut body).ok_or(FrameError::Padding)?;
        Ok((body, agreed.into()))
    }

    /// Opens the word that the hub does not know who sent this Hello.
    ///
    /// # Errors
    /// [`FrameError::Seal`] unless the hub said it of this very Hello.
    pub fn open_unknown(&self, trust: &Trust, frame: &[u8]) -> Result<(Header, Vec<u8>), FrameError> {
        let key = noise::stranger(&self.seed, &trust.peer.0, &self.frame).ok_or(FrameError::Seal)?;
        frame::open(&Key::new(&key), frame)
    }
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hello of {} bytes", self.frame.len())
    }
}

/// A Hello that this hub opened.
pub struct Greeted {
    pub body: Vec<u8>,
    greeted: noise::Greeted,
}

/// Opens a Hello; `seed` is fresh randomness for its answer.
///
/// # Errors
/// [`FrameError::Seal`] unless the peer made it for this hub.
pub fn open_hello(trust: &Trust, seed: &Nonce, frame: &[u8]) -> Result<Greeted, FrameError> {
    let (header, message) = split(frame, Kind::Hello)?;
    let mut greeted = noise::greeted(trust, seed, header, message)?;
    let mut body = std::mem::take(&mut greeted.body);
    padding::unpad(&mut body).ok_or(FrameError::Padding)?;
    Ok(Greeted { body, greeted })
}

impl Greeted {
    /// Seals the Welcome; `None` for a body that no frame takes.
    pub fn welcome(self, body: &[u8]) -> Option<(Vec<u8>, SessionKeys)> {
        let body = padded(body);
        let header = head(Kind::Welcome);
        let (message, agreed) = self.greeted.answer(&header, &body)?;
        witness::greeted(&body, &message);
        Some(([header, message].concat(), agreed.into()))
    }
}

/// The hint that there is no session: anybody may give it, and all that follows is a new Hello.
pub fn no_session() -> Vec<u8> {
    hint(&Key::public(), false)
}

/// The answer to a Hello of somebody whom the hub does not know; `None` when it answers no Hello.
pub fn unknown_sid(own: &LinkSecret, hello: &[u8]) -> Option<Vec<u8>> {
    let (header, _) = frame::peek(hello).ok()?;
    let key = noise::stranger(own, &header.nonce.filter(|_| header.kind == Kind::Hello)?, hello)?;
    Some(hint(&Key::new(&key), true))
}

fn hint(key: &Key, unknown_sid: bool) -> Vec<u8> {
    let header = Header { kind: Kind::NoSession, counter: 0, nonce: None };
    frame::seal(key, &header, &prost::Message::encode_to_vec(&NoSession { unknown_sid }))
}

fn head(kind: Kind) -> Vec<u8> {
    let mut header = Vec::with_capacity(8);
    Header { kind, counter: 0, nonce: None }.write(&mut header);
    header
}

fn padded(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    padding::pad(&mut body, 0);
    body
}

/// Header and Noise message.
fn split(frame: &[u8], kind: Kind) -> Result<(&[u8], &[u8]), FrameError> {
    let (header, at) = frame::peek(frame)?;
    let (head_len, nonce_len) = (head(kind).len(), header.nonce.map_or(0, |nonce| nonce.len()));
    let plain = header.kind == kind && header.counter == 0 && at == head_len + nonce_len;
    plain.then(|| frame.split_at(head_len)).ok_or(FrameError::Seal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Receiver, Sender};

    fn pair() -> (Trust, Trust) {
        let (agent, hub) = (LinkSecret::new([1; 32]), LinkSecret::new([2; 32]));
        let at_agent = Trust { own: agent.clone(), peer: hub.public() };
        let at_hub = Trust { own: hub, peer: agent.public() };
        (at_agent, at_hub)
    }

    fn agree() -> (SessionKeys, SessionKeys) {
        let (at_agent, at_hub) = pair();
        let hello = Hello::seal(&at_agent, [3; 32], b"hello").unwrap();
        let greeted = open_hello(&at_hub, &[4; 32], &hello.frame).unwrap();
        assert_eq!(greeted.body, b"hello");
        let (welcome, at_hub) = greeted.welcome(b"welcome").unwrap();
        let (body, at_agent) = hello.open_welcome(&at_agent, &welcome).unwrap();
        assert_eq!(body, b"welcome");
        (at_agent, at_hub)
    }

    #[test]
    fn both_ends_agree_on_the_same_keys() {
        let (agent, hub) = agree();
        assert_eq!(agent.id, hub.id);
        let up = Sender::new(agent.up).seal_bytes(Kind::Beat, b"up");
        let down = Sender::new(hub.down).seal_bytes(Kind::Beat, b"down");
        assert_eq!(Receiver::new(hub.up).open(&up).unwrap().1, b"up");
        assert_eq!(Receiver::new(agent.down).open(&down).unwrap().1, b"down");
    }

    #[test]
    fn every_changed_bit_of_a_greeting_is_noticed() {
        let (at_agent, at_hub) = pair();
        let hello = Hello::seal(&at_agent, [3; 32], b"hello").unwrap();
        for at in 0..hello.frame.len() {
            let mut damaged = hello.frame.clone();
            damaged[at] ^= 0x20;
            assert!(open_hello(&at_hub, &[4; 32], &damaged).is_err(), "byte {at}");
        }
        let (welcome, keys) = open_hello(&at_hub, &[4; 32], &hello.frame).unwrap().welcome(b"welcome").unwrap();
        for at in 0..welcome.len() {
            let mut damaged = welcome.clone();
            damaged[at] ^= 0x20;
            let Ok((_, taken)) = hello.open_welcome(&at_agent, &damaged) else { continue };
            let frame = Sender::new(taken.up).seal_bytes(Kind::Beat, b"");
            assert!(Receiver::new(keys.up.clone()).open(&frame).is_err(), "byte {at} of a header: no session may come of it");
        }
    }

    #[test]
    fn nobody_else_greets_or_answers() {
        let (at_agent, at_hub) = pair();
        let other = LinkSecret::new([9; 32]);
        let hello = Hello::seal(&at_agent, [3; 32], b"hello").unwrap();
        let forged = Hello::seal(&Trust { own: other.clone(), peer: at_agent.peer }, [3; 32], b"hello").unwrap();
        assert!(open_hello(&at_hub, &[4; 32], &forged.frame).is_err(), "another agent's Hello");
        assert!(open_hello(&Trust { own: other.clone(), peer: at_hub.peer }, &[4; 32], &hello.frame).is_err(), "another hub");
        let again = Hello::seal(&at_agent, [5; 32], b"hello").unwrap();
        let (welcome, _) = open_hello(&at_hub, &[4; 32], &hello.frame).unwrap().welcome(b"").unwrap();
        assert!(again.open_welcome(&at_agent, &welcome).is_err(), "the answer to another Hello");
        assert!(hello.open_welcome(&at_agent, &welcome).is_ok());
    }

    #[test]
    fn only_the_hub_says_that_an_agent_is_unknown_and_only_of_this_hello() {
        let (at_agent, at_hub) = pair();
        let hello = Hello::seal(&at_agent, [3; 32], b"hello").unwrap();
        let again = Hello::seal(&at_agent, [5; 32], b"hello").unwrap();
        let unknown = unknown_sid(&at_hub.own, &hello.frame).unwrap();
        assert!(hello.open_unknown(&at_agent, &unknown).is_ok());
        assert!(again.open_unknown(&at_agent, &unknown).is_err());
        assert!(hello.open_unknown(&at_agent, &unknown_sid(&LinkSecret::new([9; 32]), &hello.frame).unwrap()).is_err());
        assert!(unknown_sid(&at_hub.own, &no_session()).is_none());
    }
}
