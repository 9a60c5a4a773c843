//! Streams over the bus as tokio reads and writes: the shell around [`bus_schema::stream`], the same at both ends.
//!
//! An [`Endpoint`] is one end of all streams between the hub and one agent. The hub opens a [`Stream`], the agent accepts it. Whoever
//! owns the link tells the endpoint of sessions and frames, and asks it for the next frame when the link has room.

mod alarm;
mod endpoint;
mod halves;
mod head;
pub mod loopback;
mod some;

pub use bus_schema::message::stream::Code;
pub use bus_schema::stream::{Budget, Limits, MAX_HEAD, OpenError, Role, Session};
pub use endpoint::{Counts, Endpoint};
pub use halves::{Reader, Stream, Writer};
pub use some::{pass_some, read_some};

/// Why a stream ended before its time: the inner error of the `io::Error`s of [`Stream`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamError {
    pub code: Code,
    pub message: String,
}

impl StreamError {
    /// What an `io::Error` of a stream says, `None` for one of another origin.
    pub fn of(error: &std::io::Error) -> Option<&StreamError> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<StreamError> for std::io::Error {
    fn from(error: StreamError) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::ConnectionReset, error)
    }
}
