//! The greeting: `Noise_KK_25519_ChaChaPoly_SHA256` (Noise Protocol Framework, revision 34) between the long-lived keys.
//!
//! Hello is its first message, Welcome its second. The ephemeral keys stand in the frames' nonce; the frame's header is the prologue,
//! the Welcome's header goes into the keys. Randomness is handed in: the same seed makes the same message, so a Hello is made again
//! rather than kept half-open.

use ring::hmac;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

use crate::id::Nonce;
use crate::secret::{LinkSecret, Trust};

const PATTERN: &str = "Noise_KK_25519_ChaChaPoly_SHA256";
const PROLOGUE: &[u8] = b"clusternet-edge";

/// Largest Noise message (its section 3).
const MAX_MESSAGE: usize = 65_535;

/// The message was not made by the peer, for this end, in this exchange; or it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

enum End {
    Agent,
    Hub,
}

/// What both ends share after Welcome.
pub struct Agreed {
    /// Names the exchange; it is no secret.
    pub transcript: [u8; 32],
    pub up: [u8; 32],
    pub down: [u8; 32],
    /// Streams have keys, and so counters, of their own: they are sealed apart from everything else.
    pub streams_up: [u8; 32],
    pub streams_down: [u8; 32],
}

/// A Hello that was authentic.
pub struct Greeted {
    pub body: Vec<u8>,
    state: HandshakeState,
}

/// The first message: ephemeral key, sealed body.
pub fn hello(trust: &Trust, seed: &Nonce, header: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    write(&mut start(trust, seed, header, End::Agent)?, body)
}

/// Opens the first message.
///
/// # Errors
/// [`NotAuthentic`].
pub fn greeted(trust: &Trust, seed: &Nonce, header: &[u8], message: &[u8]) -> Result<Greeted, NotAuthentic> {
    let mut state = start(trust, seed, header, End::Hub).ok_or(NotAuthentic)?;
    let body = read(&mut state, message)?;
    Ok(Greeted { body, state })
}

impl Greeted {
    /// The second message, and what it agrees on.
    pub fn answer(mut self, header: &[u8], body: &[u8]) -> Option<(Vec<u8>, Agreed)> {
        let message = write(&mut self.state, body)?;
        let agreed = agreed(&mut self.state, header);
        Some((message, agreed))
    }
}

/// Opens the second message, which answers the Hello that `seed`, `hello_header` and `hello_body` made.
///
/// # Errors
/// [`NotAuthentic`].
pub fn answered(
    trust: &Trust,
    seed: &Nonce,
    (hello_header, hello_body): (&[u8], &[u8]),
    (header, message): (&[u8], &[u8]),
) -> Result<(Vec<u8>, Agreed), NotAuthentic> {
    let mut state = start(trust, seed, hello_header, End::Agent).ok_or(NotAuthentic)?;
    write(&mut state, hello_body).ok_or(NotAuthentic)?;
    let body = read(&mut state, message)?;
    let agreed = agreed(&mut state, header);
    Ok((body, agreed))
}

/// A key that only the hub and the maker of this Hello can know, although the hub does not know who that is.
pub fn stranger(own: &LinkSecret, their_public: &[u8; 32], hello: &[u8]) -> Option<[u8; 32]> {
    let shared = own.shared(their_public)?;
    Some(mix(&shared, "stranger", hello))
}

fn agreed(state: &mut HandshakeState, header: &[u8]) -> Agreed {
    let transcript = state.get_handshake_hash().try_into().expect("SHA-256 has 32 bytes");
    let (up, down) = state.dangerously_get_raw_split();
    Agreed {
        transcript,
        up: mix(&up, "up", header),
        down: mix(&down, "down", header),
        streams_up: mix(&up, "streams up", header),
        streams_down: mix(&down, "streams down", header),
    }
}

fn mix(key: &[u8; 32], label: &str, context: &[u8]) -> [u8; 32] {
    let mut hmac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    hmac.update(label.as_bytes());
    hmac.update(&[0]);
    hmac.update(context);
    hmac.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

fn start(trust: &Trust, seed: &Nonce, header: &[u8], end: End) -> Option<HandshakeState> {
    let pattern = PATTERN.parse().expect("the pattern is one of the framework");
    let prologue = [PROLOGUE, header].concat();
    let builder = Builder::with_resolver(pattern, Box::new(Seeded(*seed)));
    let builder = builder.local_private_key(trust.own.expose()).ok()?.remote_public_key(&trust.peer.0).ok()?.prologue(&prologue).ok()?;
    match end {
        End::Agent => builder.build_initiator().ok(),
        End::Hub => builder.build_responder().ok(),
    }
}

fn write(state: &mut HandshakeState, body: &[u8]) -> Option<Vec<u8>> {
    let mut message = vec![0; (body.len() + 64).min(MAX_MESSAGE)];
    let len = state.write_message(body, &mut message).ok()?;
    message.truncate(len);
    Some(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
    let mut body = vec![0; message.len()];
    let len = state.read_message(message, &mut body).map_err(|_| NotAuthentic)?;
    body.truncate(len);
    Ok(body)
}

/// Randomness that was handed in; everything else is snow's.
struct Seeded(Nonce);

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seed(Some(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives its 32 bytes once: a greeting has one ephemeral key, and a second would repeat it.
struct Seed(Option<Nonce>);

impl Random for Seed {
    fn try_fill_bytes(&mut self, wanted: &mut [u8]) -> Result<(), snow::Error> {
        let seed = self.0.take().filter(|seed| seed.len() == wanted.len()).ok_or(snow::Error::Rng)?;
        wanted.copy_from_slice(&seed);
        Ok(())
    }
}
