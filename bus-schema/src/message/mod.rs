//! The bodies of frames. Fields are numbered and skippable (protobuf encoding): a reader passes over numbers it does not know,
//! and a number is never used again for something else.

pub mod desired;
pub mod object;
pub mod presence;
pub mod session;
pub mod status;
pub mod stream;

pub use desired::{Confirm, Content, Delta, ObjectPatch, Part, Want, WantItem};
pub use object::{Entry, List, ObjectRef};
pub use presence::{Announce, Beat, Gone};
pub use session::{Caps, Closed, Hello, NoSession, Reject, Welcome};
pub use status::{Health, Level, Replicas, Report, StatusAck, StatusEntry};
pub use stream::{StreamCredit, StreamData, StreamOpen, StreamReset};

/// What a frame carries. The numbers are on the wire: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    Hello = 1,
    Welcome = 2,
    /// Nothing but life: confirms a session, keeps it, or answers.
    Beat = 3,
    NoSession = 4,
    Reject = 5,
    Delta = 16,
    Want = 17,
    Content = 18,
    Confirm = 19,
    Report = 24,
    StatusAck = 25,
    /// Reserved: content of a bundle for all its holders, on `f/{channel}`.
    Shared = 32,
    StreamOpen = 48,
    StreamData = 49,
    StreamCredit = 50,
    StreamReset = 51,
    Announce = 64,
    Gone = 65,
}

impl Kind {
    const ALL: [Kind; 18] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Beat,
        Kind::NoSession,
        Kind::Reject,
        Kind::Delta,
        Kind::Want,
        Kind::Content,
        Kind::Confirm,
        Kind::Report,
        Kind::StatusAck,
        Kind::Shared,
        Kind::StreamOpen,
        Kind::StreamData,
        Kind::StreamCredit,
        Kind::StreamReset,
        Kind::Announce,
        Kind::Gone,
    ];

    /// Whether frames of this kind are sealed under the streams' keys.
    pub fn is_of_streams(self) -> bool {
        matches!(self, Kind::StreamOpen | Kind::StreamData | Kind::StreamCredit | Kind::StreamReset)
    }

    pub fn read(value: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}
