//! Desired state on its way down.

use prost::Message;

use super::session::Closed;

/// From one list to another, with as much of the difference as fits. Repeated until the agent reports the target as listed;
/// a newer one may replace it at any time.
#[derive(Clone, PartialEq, Message)]
pub struct Delta {
    /// Short root of the list that `list` is a delta of; 0 for none.
    #[prost(fixed64, tag = "1")]
    pub base: u64,
    /// Root of the list that shall be.
    #[prost(bytes = "vec", tag = "2")]
    pub target: Vec<u8>,
    /// Ordering number of this cluster, rising.
    #[prost(uint64, tag = "3")]
    pub order: u64,
    /// The stamp: the resourceVersion that the whole list was rendered at.
    #[prost(uint64, tag = "4")]
    pub resource_version: u64,
    /// The stamp's incarnation; 0 for the one that the Welcome named.
    #[prost(fixed64, tag = "5")]
    pub incarnation: u64,
    /// The target list, compressed with the base as prefix; empty when it did not fit.
    #[prost(bytes = "vec", tag = "6")]
    pub list: Vec<u8>,
    /// Bytes of the target list.
    #[prost(uint32, tag = "7")]
    pub size: u32,
    /// Content that fitted.
    #[prost(message, repeated, tag = "8")]
    pub objects: Vec<ObjectPatch>,
    /// An agent lost its disk: this is the list it last acknowledged. It is stored as what was, nothing of it is fetched or applied,
    /// and what the next list lacks is removed with proof.
    #[prost(bool, tag = "9")]
    pub recover: bool,
    /// Closed incarnations that `recover` needs for its proof.
    #[prost(message, repeated, tag = "10")]
    pub closed: Vec<Closed>,
    /// Counts the lists that were desired in this session; the Report repeats it, so that a late Report of an earlier list with the
    /// same root is not taken for an answer.
    #[prost(uint32, tag = "11")]
    pub serial: u32,
}

/// Content of one entry of the target list.
#[derive(Clone, PartialEq, Message)]
pub struct ObjectPatch {
    /// Index of the entry.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// A [`crate::codec::Mode`]; a delta is against the content of the same object in the base list.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

/// The receiver asks for what it lacks, a window at a time.
#[derive(Clone, PartialEq, Message)]
pub struct Want {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<WantItem>,
}

/// One object or list, and how much of it is there.
#[derive(Clone, PartialEq, Message)]
pub struct WantItem {
    #[prost(bytes = "vec", tag = "1")]
    pub hash: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub list: bool,
    /// Hash of held bytes that may serve as base; empty for none.
    #[prost(bytes = "vec", tag = "3")]
    pub base: Vec<u8>,
    /// Encoded bytes that are durably there, of the encoding `etag`.
    #[prost(uint32, tag = "4")]
    pub offset: u32,
    #[prost(fixed64, tag = "5")]
    pub etag: u64,
    /// Encoded bytes that are asked for from `offset` on.
    #[prost(uint32, tag = "6")]
    pub window: u32,
}

/// Pieces of encoded content.
#[derive(Clone, PartialEq, Message)]
pub struct Content {
    #[prost(message, repeated, tag = "1")]
    pub parts: Vec<Part>,
}

/// One piece.
#[derive(Clone, PartialEq, Message)]
pub struct Part {
    /// What the whole decodes to.
    #[prost(bytes = "vec", tag = "1")]
    pub hash: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub list: bool,
    /// A [`crate::codec::Mode`].
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    /// Hash of the base of a delta.
    #[prost(bytes = "vec", tag = "4")]
    pub base: Vec<u8>,
    /// Bytes decoded.
    #[prost(uint32, tag = "5")]
    pub size: u32,
    /// Bytes encoded.
    #[prost(uint32, tag = "6")]
    pub total: u32,
    #[prost(uint32, tag = "7")]
    pub offset: u32,
    /// Names the encoded bytes: pieces of two encodings never mix.
    #[prost(fixed64, tag = "8")]
    pub etag: u64,
    #[prost(bytes = "vec", tag = "9")]
    pub data: Vec<u8>,
    /// The sender does not have it (any more).
    #[prost(bool, tag = "10")]
    pub missing: bool,
}

/// An administrator's word: everything that is unclaimed under this list may go. Obeyed only while the list is this one.
#[derive(Clone, PartialEq, Message)]
pub struct Confirm {
    /// Root of the list that the word was given for.
    #[prost(bytes = "vec", tag = "1")]
    pub list: Vec<u8>,
}
