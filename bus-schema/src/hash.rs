//! Keyed content hashes: HMAC-SHA-256 under one key per fleet, cut to 128 bits, so that a broker that sees a hash learns nothing.

use std::fmt;

use ring::hmac;

/// 16 bytes that name exact bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; Hash::LEN]);

impl Hash {
    pub const LEN: usize = 16;

    /// Reads a hash from the wire, `None` unless it is 16 bytes.
    pub fn read(bytes: &[u8]) -> Option<Hash> {
        bytes.try_into().ok().map(Hash)
    }

    /// Reads the 32 hex digits that `Display` writes.
    pub fn parse(text: &str) -> Option<Hash> {
        let digits = (text.len() == 2 * Hash::LEN && text.is_ascii()).then_some(text)?;
        let mut bytes = [0; Hash::LEN];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Hash(bytes))
    }

    /// The first 8 bytes, to point at something that the peer knows; never 0, which means none.
    pub fn short(&self) -> u64 {
        let head = self.0[..8].try_into().expect("a hash has 16 bytes");
        u64::from_be_bytes(head).max(1)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.short() >> 32)
    }
}

/// What a hash is taken of; no two kinds share hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Domain {
    Object = 1,
    List = 2,
    Status = 3,
    Encoded = 4,
}

/// The fleet's hash key.
#[derive(Clone)]
pub struct HashKey(hmac::Key);

impl HashKey {
    pub fn new(key: &[u8; 32]) -> HashKey {
        HashKey(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A key that everybody knows, for tests and the simulation; hub and agents use the fleet's own.
    pub fn public() -> HashKey {
        HashKey::new(&[0; 32])
    }

    pub fn hash(&self, domain: Domain, bytes: &[u8]) -> Hash {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[domain as u8]);
        context.update(bytes);
        let tag = context.sign();
        Hash(tag.as_ref()[..Hash::LEN].try_into().expect("an HMAC-SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_key_domain_and_bytes() {
        let key = HashKey::public();
        let hash = key.hash(Domain::Object, b"x");
        assert_ne!(hash, key.hash(Domain::List, b"x"));
        assert_ne!(hash, key.hash(Domain::Object, b"y"));
        assert_ne!(hash, HashKey::new(&[1; 32]).hash(Domain::Object, b"x"));
        assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
    }
}
