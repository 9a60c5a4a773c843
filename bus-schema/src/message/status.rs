//! What is, on its way up.

use prost::Message;

use super::object::ObjectRef;

/// The agent's acknowledgement and a step of its status table, repeated until the hub has committed it. What the hub knows already is
/// left out: the table before the step needs no name, since only one leads to the root of the step.
#[derive(Clone, PartialEq, Message)]
pub struct Report {
    /// Short root of the list that is stored, 0 for none; absent when it, `held` and `serial` are as the hub has acknowledged them in
    /// this session.
    #[prost(fixed64, optional, tag = "1")]
    pub listed: Option<u64>,
    /// All content of that list is stored, or refused.
    #[prost(bool, tag = "2")]
    pub held: bool,
    /// Short root of the table after the change.
    #[prost(fixed64, tag = "4")]
    pub target: u64,
    #[prost(message, repeated, tag = "5")]
    pub entries: Vec<StatusEntry>,
    /// The serial of the Delta that asserted the stored list last; 0 for the Welcome.
    #[prost(uint32, tag = "6")]
    pub serial: u32,
    /// The entries are the whole table.
    #[prost(bool, tag = "7")]
    pub whole: bool,
}

/// State of one object, or of the cluster itself. Health is spelt by [`crate::health`].
#[derive(Clone, PartialEq, Message)]
pub struct StatusEntry {
    /// 1 + the first index of the object in the listed list; 0 where `object` says which.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// The object; without index and object it is the cluster.
    #[prost(message, optional, tag = "2")]
    pub object: Option<ObjectRef>,
    /// A [`crate::status::State`]; absent for `Applied`.
    #[prost(uint32, optional, tag = "3")]
    pub state: Option<u32>,
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
    /// Facts about the cluster, JSON, as `facts_mode` says.
    #[prost(bytes = "vec", tag = "8")]
    pub facts: Vec<u8>,
    /// A [`crate::codec::Mode`]; the base of a delta are the facts that the step changes.
    #[prost(uint32, tag = "16")]
    pub facts_mode: u32,
    /// Bytes of the facts, unless they are as they are.
    #[prost(uint32, tag = "17")]
    pub facts_size: u32,
    /// 1 + a [`Level`]; 0 while nobody has looked at the object.
    #[prost(uint32, tag = "9")]
    pub level: u32,
    /// The reason, where it is one of [`crate::health::REASONS`]: 1 + its place there.
    #[prost(uint32, tag = "10")]
    pub reason: u32,
    /// Any other reason.
    #[prost(string, tag = "11")]
    pub other_reason: String,
    /// Absent where it is [`crate::health::sentence`].
    #[prost(string, optional, tag = "12")]
    pub health_message: Option<String>,
    /// Replica numbers, each told as what it differs by from the usual; empty for kinds without.
    #[prost(sint64, repeated, tag = "13")]
    pub replicas: Vec<i64>,
    #[prost(bool, tag = "14")]
    pub paused: bool,
    #[prost(string, tag = "15")]
    pub contested: String,
}

/// How an object does on the member, by the rules of kstatus. Kept in this form by the hub's store; [`StatusEntry`] carries it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Health {
    #[prost(enumeration = "Level", tag = "1")]
    pub level: i32,
    /// One word for machines, the member's own where it has one: `ImagePullBackOff`, `ProgressDeadlineExceeded`, `Contested`.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// For people.
    #[prost(string, tag = "3")]
    pub message: String,
    /// Of kinds that have replicas.
    #[prost(message, optional, tag = "4")]
    pub replicas: Option<Replicas>,
    /// Drift is not corrected: the live object says `clusternet.io/paused`.
    #[prost(bool, tag = "5")]
    pub paused: bool,
    /// Somebody else keeps changing what we apply: manager and first field, for people. Empty: nobody.
    #[prost(string, tag = "6")]
    pub contested: String,
}

/// Whether an object does what it is for. The numbers are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Level {
    Unknown = 0,
    Healthy = 1,
    Progressing = 2,
    Unhealthy = 3,
    /// A Job or Pod that ended as it should.
    Finished = 4,
}

/// Replica numbers, in Clusternet's `ReplicaStatus`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Replicas {
    #[prost(int64, tag = "1")]
    pub observed_generation: i64,
    #[prost(int32, tag = "2")]
    pub replicas: i32,
    #[prost(int32, tag = "3")]
    pub updated: i32,
    #[prost(int32, tag = "4")]
    pub current: i32,
    #[prost(int32, tag = "5")]
    pub ready: i32,
    #[prost(int32, tag = "6")]
    pub available: i32,
    #[prost(int32, tag = "7")]
    pub unavailable: i32,
    /// Of the member's live object, beside `observed_generation`.
    #[prost(int64, tag = "8")]
    pub generation: i64,
    /// Replicas that the live object asks for, or nodes that a DaemonSet is for.
    #[prost(int32, tag = "9")]
    pub desired: i32,
}

/// The hub has committed the table with this root.
#[derive(Clone, PartialEq, Message)]
pub struct StatusAck {
    #[prost(fixed64, tag = "1")]
    pub root: u64,
}
