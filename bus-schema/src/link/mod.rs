//! Both ends of the link, without IO.
//!
//! Each end is driven the same way: facts go in (`connected`, `frame`, `timeout`, ...) with the time; then, in this order, the shell takes
//! `take_writes` and commits them, says `committed`, and asks `poll_*` for what to do until there is nothing. While writes are not
//! committed every `poll_*` is silent: nothing is said or done that a crash could take back.

pub mod agent;
pub mod hub;
pub mod timer;

use std::sync::Arc;

use crate::codec::{self, Mode};
use crate::hash::{Domain, Hash, HashKey};

/// Content ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub mode: Mode,
    /// Bytes decoded.
    pub size: u32,
    /// Names the encoded bytes.
    pub etag: u64,
    pub data: Arc<[u8]>,
}

impl Encoded {
    /// Encodes `bytes`, as a delta against `base` where that is shorter.
    pub fn new(bytes: &[u8], base: Option<&[u8]>, secret: bool, key: &HashKey) -> Encoded {
        let (mode, data) = codec::encode(bytes, base, secret);
        let etag = key.hash(Domain::Encoded, &data).short();
        Encoded { mode, size: bytes.len() as u32, etag, data: data.into() }
    }
}

/// Where the hub finds content by its hash.
pub trait Contents {
    fn get(&self, hash: &Hash) -> Option<Arc<[u8]>>;

    /// The content as it travels; an implementation may remember it, since many clusters take the same step.
    fn encoded(&self, hash: &Hash, base: Option<&Hash>, secret: bool, key: &HashKey) -> Option<Encoded> {
        let bytes = self.get(hash)?;
        let base = base.and_then(|base| self.get(base));
        Some(Encoded::new(&bytes, base.as_deref(), secret, key))
    }
}

/// Where the agent finds what it has committed.
pub trait Cache {
    /// Bytes of an object.
    fn content(&self, hash: &Hash) -> Option<Vec<u8>>;

    /// The encoded bytes received so far of an unfinished transfer, in order.
    fn partial(&self, hash: &Hash) -> Vec<u8>;
}
