//! Sealing and opening of single values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::key::{Key, KeyError, KeyId};

const SALT: usize = 16;
const COUNTER: usize = 8;
const TAG: usize = 16;

/// Bytes that sealing adds to a value.
pub const OVERHEAD: usize = SALT + COUNTER + TAG;

/// Keys of earlier starts that are remembered: about 600 bytes each.
const REMEMBERED: usize = 64;

type Salt = [u8; SALT];

/// A value that was not sealed here: damaged, moved from another row, or sealed with another key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value cannot be opened: the file is damaged or was changed; restore a copy of it")]
pub struct Unreadable;

/// Seals and opens under one at-rest key; shared by all threads.
pub struct Sealer {
    id: KeyId,
    seals: hmac::Key,
    index: hmac::Key,
    salt: Salt,
    own: Arc<LessSafeKey>,
    /// Values sealed under `own`; 2^64 never come.
    sealed: AtomicU64,
    others: Mutex<BTreeMap<Salt, Arc<LessSafeKey>>>,
}

impl Sealer {
    /// # Errors
    /// The system has no randomness.
    pub fn new(key: &Key) -> Result<Sealer, KeyError> {
        let (seals, index) = (key.part("seal"), key.part("index"));
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| KeyError::NoRandomness)?;
        let own = Arc::new(derived(&seals, &salt));
        Ok(Sealer { id: key.id(), seals, index, salt, own, sealed: AtomicU64::new(0), others: Mutex::default() })
    }

    /// Which key this seals with.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.id
    }

    /// Seals a value for one place, which is named by parts: the table, then the primary key.
    #[must_use]
    pub fn seal(&self, place: &[&[u8]], value: &[u8]) -> Vec<u8> {
        let counter = self.sealed.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut out = Vec::with_capacity(value.len() + OVERHEAD);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&counter);
        out.extend_from_slice(value);
        let body = &mut out[SALT + COUNTER..];
        let tag = self.own.seal_in_place_separate_tag(nonce(counter), Aad::from(written(place)), body);
        out.extend_from_slice(tag.expect("a value is far below the 64 GiB that AES-GCM takes").as_ref());
        out
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn open(&self, place: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (salt, rest) = sealed.split_first_chunk::<SALT>().ok_or(Unreadable)?;
        let (counter, body) = rest.split_first_chunk::<COUNTER>().ok_or(Unreadable)?;
        let mut out = body.to_vec();
        let opened = self.under(salt).open_in_place(nonce(*counter), Aad::from(written(place)), &mut out);
        let len = opened.map_err(|_| Unreadable)?.len();
        out.truncate(len);
        Ok(out)
    }

    /// Names a place so that it can be found again but not read: 16 bytes of an HMAC.
    #[must_use]
    pub fn blind(&self, place: &[&[u8]]) -> [u8; 16] {
        let tag = hmac::sign(&self.index, &written(place));
        tag.as_ref()[..16].try_into().expect("an HMAC-SHA-256 has 32 bytes")
    }

    fn under(&self, salt: &Salt) -> Arc<LessSafeKey> {
        if *salt == self.salt {
            return Arc::clone(&self.own);
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others.get(salt) {
            return Arc::clone(known);
        }
        if others.len() >= REMEMBERED {
            others.pop_first();
        }
        let made = Arc::new(derived(&self.seals, salt));
        others.insert(*salt, Arc::clone(&made));
        made
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.id)
    }
}

fn derived(seals: &hmac::Key, salt: &Salt) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, hmac::sign(seals, salt).as_ref());
    LessSafeKey::new(key.expect("an HMAC-SHA-256 is as long as an AES-256 key"))
}

fn nonce(counter: [u8; COUNTER]) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - COUNTER..].copy_from_slice(&counter);
    Nonce::assume_unique_for_key(bytes)
}

/// The parts of a place with their lengths, so that no two places are written alike.
fn written(place: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(place.iter().map(|part| part.len() + 4).sum());
    for part in place {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> [&[u8]; 2] {
        [b"objects", name.as_bytes()]
    }

    #[test]
    fn a_value_opens_in_its_place_and_in_no_other() {
        let sealer = Sealer::new(&Key::random().unwrap()).unwrap();
        for value in [&b""[..], b"hunter2", &[7; 5000]] {
            let sealed = sealer.seal(&place("a"), value);
            assert_eq!(sealed.len(), value.len() + OVERHEAD);
            assert_eq!(sealer.open(&place("a"), &sealed).as_deref(), Ok(value));
            assert_eq!(sealer.open(&place("b"), &sealed), Err(Unreadable));
            assert_eq!(sealer.open(&[b"object", b"sa"], &sealed), Err(Unreadable));
        }
    }

    #[test]
    fn a_changed_or_cut_value_does_not_open() {
        let sealer = Sealer::new(&Key::random().unwrap()).unwrap();
        let sealed = sealer.seal(&place("a"), b"hunter2");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open(&place("a"), &changed), Err(Unreadable), "byte {at}");
            assert_eq!(sealer.open(&place("a"), &sealed[..at]), Err(Unreadable), "cut at {at}");
        }
    }

    #[test]
    fn the_same_key_opens_what_earlier_starts_sealed_and_another_does_not() {
        let (key, other) = (Key::random().unwrap(), Key::random().unwrap());
        let now = Sealer::new(&key).unwrap();
        for start in 0..2 * REMEMBERED {
            let value = start.to_string();
            let sealed = Sealer::new(&key).unwrap().seal(&place("a"), value.as_bytes());
            assert_eq!(now.open(&place("a"), &sealed).as_deref(), Ok(value.as_bytes()));
            assert_eq!(Sealer::new(&other).unwrap().open(&place("a"), &sealed), Err(Unreadable));
        }
    }

    /// Two starts on copies of one disk, as after a restore, with many values each.
    #[test]
    fn no_key_and_nonce_pair_is_used_twice_also_by_a_restored_copy() {
        let key = Key::random().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for sealer in [Sealer::new(&key).unwrap(), Sealer::new(&key).unwrap()] {
            for _ in 0..10_000 {
                assert!(seen.insert(sealer.seal(&place("a"), b"same")[..SALT + COUNTER].to_vec()), "a pair was used twice");
            }
        }
    }

    #[test]
    fn blind_names_are_stable_and_differ_by_place_and_key() {
        let (key, other) = (Key::random().unwrap(), Key::random().unwrap());
        let blind = |key: &Key, parts: &[&[u8]]| Sealer::new(key).unwrap().blind(parts);
        assert_eq!(blind(&key, &place("a")), blind(&key, &place("a")));
        assert_ne!(blind(&key, &place("a")), blind(&key, &place("b")));
        assert_ne!(blind(&key, &place("a")), blind(&other, &place("a")));
        assert_ne!(blind(&key, &[b"ab", b"c"]), blind(&key, &[b"a", b"bc"]));
    }
}
