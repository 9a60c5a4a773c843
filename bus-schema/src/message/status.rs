//! What is, on its way up.

use prost::Message;

use super::object::ObjectRef;

/// The agent's acknowledgement and a step of its status table, repeated until the hub has committed it.
#[derive(Clone, PartialEq, Message)]
pub struct Report {
    /// Short root of the list that is stored; 0 for none.
    #[prost(fixed64, tag = "1")]
    pub listed: u64,
    /// All content of that list is stored, or refused.
    #[prost(bool, tag = "2")]
    pub held: bool,
    /// Short root of the table that the entries change; 0 replaces the table.
    #[prost(fixed64, tag = "3")]
    pub base: u64,
    /// Short root of the table after the change.
    #[prost(fixed64, tag = "4")]
    pub target: u64,
    #[prost(message, repeated, tag = "5")]
    pub entries: Vec<StatusEntry>,
    /// The serial of the Delta that asserted the stored list last; 0 for the Welcome.
    #[prost(uint32, tag = "6")]
    pub serial: u32,
}

/// State of one object, or of the cluster itself.
#[derive(Clone, PartialEq, Message)]
pub struct StatusEntry {
    /// 1 + the first index of the object in the listed list; 0 where `object` says which.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// The object; without index and object it is the cluster.
    #[prost(message, optional, tag = "2")]
    pub object: Option<ObjectRef>,
    /// A [`crate::status::State`].
    #[prost(uint32, tag = "3")]
    pub state: u32,
    /// Content that the state is about; empty when it is the one that the listed list names.
    #[prost(bytes = "vec", tag = "4")]
    pub hash: Vec<u8>,
    /// HTTP status code of a refusal.
    #[prost(uint32, tag = "5")]
    pub code: u32,
    #[prost(string, tag = "6")]
    pub message: String,
    /// The object is gone: forget it.
    #[prost(bool, tag = "7")]
    pub gone: bool,
    /// Facts about the cluster, JSON.
    #[prost(bytes = "vec", tag = "8")]
    pub facts: Vec<u8>,
}

/// The hub has committed the table with this root.
#[derive(Clone, PartialEq, Message)]
pub struct StatusAck {
    #[prost(fixed64, tag = "1")]
    pub root: u64,
}
