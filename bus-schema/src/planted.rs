//! Bugs on purpose. With the feature `planted` the simulation switches one on and must find it; without the feature every switch is off
//! and compiles to nothing.

/// A mistake that somebody in this field has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    UidAsIdentity = 1,
    AbsenceIsDelete,
    AckBeforeCommit,
    StaleSessionAccepted,
    DeltaOnWrongBase,
    ClaimCountIgnored,
    PruneWithoutProof,
    StampFromTemplate,
    LateHelloEndsSession,
    QueueInsteadOfLatest,
    HeaderNotSealed,
    CounterRepeated,
    StreamForgetsSent,
    StreamTakesTwice,
    StreamPerformedTwice,
    StreamEndLost,
    StreamFailsEarly,
    StreamPacksCredentials,
}

impl Bug {
    /// Those of streams, which have a simulation of their own.
    pub const OF_STREAMS: [Bug; 6] = [
        Bug::StreamForgetsSent,
        Bug::StreamTakesTwice,
        Bug::StreamPerformedTwice,
        Bug::StreamEndLost,
        Bug::StreamFailsEarly,
        Bug::StreamPacksCredentials,
    ];

    pub const ALL: [Bug; 12] = [
        Bug::UidAsIdentity,
        Bug::AbsenceIsDelete,
        Bug::AckBeforeCommit,
        Bug::StaleSessionAccepted,
        Bug::DeltaOnWrongBase,
        Bug::ClaimCountIgnored,
        Bug::PruneWithoutProof,
        Bug::StampFromTemplate,
        Bug::LateHelloEndsSession,
        Bug::QueueInsteadOfLatest,
        Bug::HeaderNotSealed,
        Bug::CounterRepeated,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches one bug on, or all off, for this thread.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    ACTIVE.set(bug);
}

/// Whether this bug is switched on.
#[cfg(feature = "planted")]
pub fn is_planted(bug: Bug) -> bool {
    ACTIVE.get() == Some(bug)
}

#[cfg(not(feature = "planted"))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
