//! Hello and Welcome: one key agreement that also compares states.

use prost::Message;

/// What one side takes. A value of 0 means this version's default.
#[derive(Clone, PartialEq, Message)]
pub struct Caps {
    /// Highest protocol revision that is spoken.
    #[prost(uint32, tag = "1")]
    pub revision: u32,
    /// Bytes of the largest frame.
    #[prost(uint32, tag = "2")]
    pub max_frame: u32,
    /// Bytes of the largest object.
    #[prost(uint32, tag = "3")]
    pub max_object: u32,
    /// log2 of the largest zstd window.
    #[prost(uint32, tag = "4")]
    pub window_log: u32,
    /// Optional abilities, one bit each: the constants of this type. A Hello offers them, a Welcome has those of them that the hub has too.
    #[prost(uint64, tag = "5")]
    pub features: u64,
}

impl Caps {
    /// Streams are performed.
    pub const STREAMS: u64 = 1;
    /// AES is there in hardware: frames of streams are sealed with AES-256-GCM where both ends have it.
    pub const AES: u64 = 1 << 1;
    /// Pieces of streams may come packed with zstd.
    pub const PACKED: u64 = 1 << 2;

    /// What an end of this version can do, that has streams or not, and AES in hardware or not.
    pub fn able(streams: bool, aes: bool) -> u64 {
        let all = [(streams, Caps::STREAMS | Caps::PACKED), (aes, Caps::AES)];
        all.iter().filter(|(has, _)| *has).map(|(_, features)| features).sum()
    }
}

/// The agent's greeting: who runs, what it holds.
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    /// This run of the agent process.
    #[prost(fixed64, tag = "1")]
    pub boot: u64,
    /// The session stored last, 0 for none: a rolled-back disk shows.
    #[prost(fixed64, tag = "2")]
    pub last_session: u64,
    /// Highest ordering number seen.
    #[prost(uint64, tag = "3")]
    pub order: u64,
    /// Root of the desired list that is stored; empty for none.
    #[prost(bytes = "vec", tag = "4")]
    pub listed: Vec<u8>,
    /// Reserved, always empty: the status root covers it (docs/adr/0002).
    #[prost(bytes = "vec", tag = "5")]
    pub held: Vec<u8>,
    /// Reserved, always empty: the status root covers it (docs/adr/0002).
    #[prost(bytes = "vec", tag = "6")]
    pub applied: Vec<u8>,
    /// Short root of the status table; 0 for an empty one.
    #[prost(fixed64, tag = "7")]
    pub status: u64,
    /// Incarnations of the hub whose stamps are stored, each with the highest resourceVersion.
    #[prost(message, repeated, tag = "8")]
    pub incarnations: Vec<Closed>,
    #[prost(message, optional, tag = "9")]
    pub caps: Option<Caps>,
}

/// An incarnation of the hub and a resourceVersion of it.
#[derive(Clone, PartialEq, Message)]
pub struct Closed {
    #[prost(fixed64, tag = "1")]
    pub incarnation: u64,
    /// In a Hello the highest one seen, in answers the value that the incarnation was closed with.
    #[prost(uint64, tag = "2")]
    pub resource_version: u64,
}

/// The hub's answer. Incarnations that it does not know are neither in `closed` nor `covered`.
#[derive(Clone, PartialEq, Message)]
pub struct Welcome {
    /// The running incarnation of the hub.
    #[prost(fixed64, tag = "1")]
    pub incarnation: u64,
    /// The resourceVersion that the desired list was rendered at; 0 while the hub does not know the list yet.
    #[prost(uint64, tag = "2")]
    pub resource_version: u64,
    /// Root of the desired list; empty when it is the Hello's `listed` or not known yet.
    #[prost(bytes = "vec", tag = "3")]
    pub desired: Vec<u8>,
    /// Short root of the status table that the hub has committed; 0 for none.
    #[prost(fixed64, tag = "4")]
    pub status: u64,
    #[prost(message, repeated, tag = "5")]
    pub closed: Vec<Closed>,
    #[prost(message, optional, tag = "6")]
    pub caps: Option<Caps>,
    /// The status roots are equal; `status` is then left out.
    #[prost(bool, tag = "7")]
    pub same_status: bool,
    /// One bit for each of the Hello's incarnations, in order: it was closed at or above the version that the Hello names.
    #[prost(uint64, tag = "9")]
    pub covered: u64,
    /// Reserved: the fleet's hash key, for a change of it; today it is given when a cluster joins.
    #[prost(bytes = "vec", tag = "8")]
    pub hash_key: Vec<u8>,
}

/// The hub has no session with this agent. Without `unknown_sid` it is a hint that anybody may give, and makes an agent greet again, no more.
#[derive(Clone, PartialEq, Message)]
pub struct NoSession {
    /// The hub does not know the sid either: the agent asks to be enrolled again. Obeyed only when the hub sealed it for this very Hello.
    #[prost(bool, tag = "1")]
    pub unknown_sid: bool,
}

/// A message that the receiver will not act on, and why.
#[derive(Clone, PartialEq, Message)]
pub struct Reject {
    /// Kind of the message that is refused.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// What it was about, where it names something.
    #[prost(bytes = "vec", tag = "2")]
    pub hash: Vec<u8>,
    #[prost(enumeration = "Reason", tag = "3")]
    pub reason: i32,
    /// For people.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Reason {
    Other = 0,
    SchemaTooNew = 1,
    TooBig = 2,
    DiskFull = 3,
    Damaged = 4,
    /// The peer asked for something that is not there (any more).
    Missing = 5,
}
