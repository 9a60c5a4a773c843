//! Where WebSocket frames (RFC 6455) begin and end, so that the hub can answer the client's pings itself.
//!
//! ```text
//! FIN RSV opcode | MASK length(7) | length (0, 2 or 8 bytes) | mask (0 or 4 bytes) | payload
//! ```
//!
//! Pings cross no link: kubectl sends one every 5 s, which costs money, and ends an exec that has no pong for 60 s, which a cut may last.
//! Everything else passes byte for byte, also what breaks the protocol: that is for the member to refuse. Nothing here does IO, and how the
//! bytes are split makes no difference.

mod from_client;
mod from_server;
mod head;

#[cfg(test)]
mod tests;

pub use from_client::FromClient;
pub use from_server::FromServer;

/// Payload bytes of a control frame.
const MAX_CONTROL: u64 = 125;

/// Frames of the server up to this size go out whole, so that a cut in the middle of one keeps no pong waiting; Kubernetes' have 32 KiB.
pub const MAX_HELD: u64 = 128 << 10;
