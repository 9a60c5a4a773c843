//! The long-lived X25519 keys of hub and agents, which sessions are agreed with.

use std::fmt;

use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::Dh;
use zeroize::Zeroize;

/// The secret half: any 32 random bytes (RFC 7748). It is wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret([u8; LinkSecret::LEN]);

/// The public half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkPublic(pub [u8; LinkPublic::LEN]);

/// What one end needs to agree on a session: its own key, and the key of the only peer that it speaks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    pub own: LinkSecret,
    pub peer: LinkPublic,
}

impl LinkSecret {
    pub const LEN: usize = 32;

    pub fn new(random: [u8; LinkSecret::LEN]) -> LinkSecret {
        LinkSecret(random)
    }

    /// Reads a secret from 32 bytes, as they are kept in a file.
    pub fn read(bytes: &[u8]) -> Option<LinkSecret> {
        bytes.try_into().ok().map(LinkSecret)
    }

    /// The bytes to keep in a file that only the owner may read.
    pub fn expose(&self) -> &[u8; LinkSecret::LEN] {
        &self.0
    }

    pub fn public(&self) -> LinkPublic {
        let dh = self.dh();
        LinkPublic(dh.pubkey().try_into().expect("an X25519 key has 32 bytes"))
    }

    /// The secret shared with another key; `None` for a key that gives none (RFC 7748, section 6.1).
    pub(crate) fn shared(&self, peer: &[u8; LinkPublic::LEN]) -> Option<[u8; 32]> {
        let mut shared = [0; 32];
        self.dh().dh(peer, &mut shared).ok()?;
        (shared != [0; 32]).then_some(shared)
    }

    fn dh(&self) -> Box<dyn Dh> {
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("X25519 is compiled in");
        dh.set(&self.0);
        dh
    }
}

impl Drop for LinkSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl LinkPublic {
    pub const LEN: usize = 32;

    /// Reads a key of 32 bytes.
    pub fn read(bytes: &[u8]) -> Option<LinkPublic> {
        bytes.try_into().ok().map(LinkPublic)
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret")
    }
}

impl fmt::Debug for LinkPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_share_one_secret_and_no_key_of_small_order_is_taken() {
        let (a, b) = (LinkSecret::new([1; 32]), LinkSecret::new([2; 32]));
        assert_eq!(a.shared(&b.public().0), b.shared(&a.public().0));
        assert_ne!(a.public(), b.public());
        assert_eq!(a.shared(&[0; 32]), None);
        assert_eq!(format!("{a:?}"), "LinkSecret");
    }
}
