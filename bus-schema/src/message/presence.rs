//! Who is there.

use prost::Message;

/// A sign of life; over a broker without hooks it is echoed.
#[derive(Clone, PartialEq, Message)]
pub struct Beat {
    /// The number that an echo repeats; 0 asks for none.
    #[prost(uint32, tag = "1")]
    pub echo: u32,
    /// This is an echo.
    #[prost(bool, tag = "2")]
    pub answer: bool,
}

/// The agent's will: a hint that makes the hub look.
#[derive(Clone, PartialEq, Message)]
pub struct Gone {
    #[prost(fixed64, tag = "1")]
    pub session: u64,
}

/// A hub has started. Answered once, with a Hello within `pace`.
#[derive(Clone, PartialEq, Message)]
pub struct Announce {
    #[prost(fixed64, tag = "1")]
    pub incarnation: u64,
    /// Milliseconds over which the answers spread.
    #[prost(uint32, tag = "2")]
    pub pace: u32,
    /// Reserved: the hub's signature.
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
}
