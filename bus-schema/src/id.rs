//! Identifiers, valid by construction. Random ones are made by the shells and handed in: nothing here draws randomness.

use std::fmt;

/// Milliseconds on the caller's monotonic clock.
pub type Millis = u64;

/// What is wrong with a text that should have been an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}, not {found:?}")]
pub struct InvalidId {
    what: &'static str,
    rule: &'static str,
    found: String,
}

/// A cluster's bus id and MQTT client id: 8 characters of `a-z2-7`, given at registration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid([u8; Sid::LEN]);

impl Sid {
    pub const LEN: usize = 8;
    const ALPHABET: &'static [u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// Reads a sid from text.
    ///
    /// # Errors
    /// [`InvalidId`] unless it is 8 characters of `a-z2-7`.
    pub fn parse(text: &str) -> Result<Sid, InvalidId> {
        let valid = |bytes: &[u8; Sid::LEN]| bytes.iter().all(|b| Self::ALPHABET.contains(b));
        match <[u8; Sid::LEN]>::try_from(text.as_bytes()) {
            Ok(bytes) if valid(&bytes) => Ok(Sid(bytes)),
            _ => Err(InvalidId { what: "a bus id", rule: "8 characters of a-z and 2-7", found: text.chars().take(64).collect() }),
        }
    }

    /// The sid that 40 random bits spell.
    pub fn from_random(random: u64) -> Sid {
        let mut bytes = [0; Sid::LEN];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = Self::ALPHABET[(random >> (5 * i)) as usize & 31];
        }
        Sid(bytes)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a sid is made of ASCII only")
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! random_id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    )*};
}

random_id! {
    /// One run of the agent process.
    BootId
    /// One agreed session, derived from both nonces; 0 on the wire means none.
    SessionId
    /// One start of the hub.
    IncarnationId
    /// One Subscription, derived from its UID: a Subscription made again under the same name is another bundle.
    BundleId
}

/// Fresh randomness of one side of a session.
pub type Nonce = [u8; 32];

/// Identity of an object on a member. A template's UID and apiVersion are only versions of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectId {
    pub group: String,
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

impl ObjectId {
    pub fn new(group: &str, kind: &str, namespace: &str, name: &str) -> ObjectId {
        let [group, kind, namespace, name] = [group, kind, namespace, name].map(str::to_owned);
        ObjectId { group, kind, namespace, name }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectId { group, kind, namespace, name } = self;
        f.write_str(kind)?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        f.write_str(" ")?;
        if !namespace.is_empty() {
            write!(f, "{namespace}/")?;
        }
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_is_eight_characters_of_its_alphabet() {
        assert_eq!(Sid::parse("abcd2345").unwrap().as_str(), "abcd2345");
        for bad in ["", "abcd234", "abcd23456", "abcd234/", "ABCD2345", "abcd0145", "abcd23\u{e9}"] {
            assert!(Sid::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn every_random_value_spells_a_valid_sid() {
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            assert!(Sid::parse(Sid::from_random(random).as_str()).is_ok());
        }
    }
}
