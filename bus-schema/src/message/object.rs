//! Objects and the desired list. A list is itself content: its root is the hash of its exact bytes.

use prost::Message;

use crate::id::ObjectId;

/// An object by its identity on the member.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ObjectRef {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(string, tag = "2")]
    pub kind: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(string, tag = "4")]
    pub name: String,
}

impl From<&ObjectId> for ObjectRef {
    fn from(id: &ObjectId) -> ObjectRef {
        let ObjectId { group, kind, namespace, name } = id.clone();
        ObjectRef { group, kind, namespace, name }
    }
}

impl From<ObjectRef> for ObjectId {
    fn from(object: ObjectRef) -> ObjectId {
        let ObjectRef { group, kind, namespace, name } = object;
        ObjectId { group, kind, namespace, name }
    }
}

/// One claim of one bundle on one object.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Entry {
    #[prost(fixed64, tag = "1")]
    pub bundle: u64,
    #[prost(message, optional, tag = "2")]
    pub object: Option<ObjectRef>,
    /// The served version of the group.
    #[prost(string, tag = "3")]
    pub version: String,
    /// Hash of the content; empty for *keep*: the template is missing, what is there stays.
    #[prost(bytes = "vec", tag = "4")]
    pub hash: Vec<u8>,
    /// Bytes of the content, so that a receiver can refuse it before it is sent.
    #[prost(uint32, tag = "5")]
    pub size: u32,
    /// Secret data: sent as it is, never compressed.
    #[prost(bool, tag = "6")]
    pub secret: bool,
}

/// All that a cluster shall have, in order of object and bundle.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct List {
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
}
