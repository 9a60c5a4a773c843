//! Keys of one direction, and what they seal with.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, UnboundKey};

use crate::message::Caps;

/// What seals the frames of a session's streams. Everything else is sealed with ChaCha20-Poly1305.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// RFC 8439: quick on every processor.
    ChaCha20Poly1305,
    /// A quarter of that where the processor has it in hardware, slow and open to timing where not.
    Aes256Gcm,
}

impl Cipher {
    /// What two ends use that have agreed on these features.
    pub fn agreed(features: u64) -> Cipher {
        if features & Caps::AES != 0 { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 }
    }
}

/// Seals and opens the frames of one direction.
#[derive(Clone)]
pub struct Key(pub(crate) Arc<LessSafeKey>);

impl Key {
    pub(crate) fn new(bytes: &[u8; 32]) -> Key {
        Key::with(Cipher::ChaCha20Poly1305, bytes)
    }

    fn with(cipher: Cipher, bytes: &[u8; 32]) -> Key {
        let algorithm = match cipher {
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Cipher::Aes256Gcm => &AES_256_GCM,
        };
        Key(Arc::new(LessSafeKey::new(UnboundKey::new(algorithm, bytes).expect("keys of both have 32 bytes"))))
    }

    /// A key of a simulation, which makes its own sessions.
    #[cfg(feature = "planted")]
    pub fn of(cipher: Cipher, bytes: &[u8; 32]) -> Key {
        Key::with(cipher, bytes)
    }

    /// The key that everybody knows: what it seals is a hint that anybody may have given.
    pub fn public() -> Key {
        Key::new(&[0; 32])
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// What the keys of a session's streams are made of, before it is known what they seal with.
#[derive(Clone)]
pub struct StreamSecrets {
    pub(crate) up: [u8; 32],
    pub(crate) down: [u8; 32],
}

impl StreamSecrets {
    /// The keys up and down. Of one session's secrets keys of one cipher only are ever made: greetings are authentic.
    pub fn keys(&self, cipher: Cipher) -> [Key; 2] {
        [Key::with(cipher, &self.up), Key::with(cipher, &self.down)]
    }
}

impl std::fmt::Debug for StreamSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamSecrets")
    }
}
