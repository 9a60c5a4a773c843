//! Every limit of the wire, with unit and reason.

use crate::id::Millis;

/// Bytes of one frame, header and tag included: below the 64 KiB packets that every MQTT broker and cloud service takes.
pub const MAX_FRAME: usize = 60 * 1024;

/// Bytes of the smallest frame that a slow link is asked to carry at once.
pub const MIN_FRAME: usize = 1024;

/// Bytes of the next frame, at most, where the link drains so many in a second: what it carries in a quarter of one, for so long something
/// more important waits behind it.
#[must_use]
pub fn frame_of(drained: usize) -> usize {
    (drained / 4).clamp(MIN_FRAME, MAX_FRAME)
}

/// Bytes of the next frame in bulk (of a stream, or of contents), at most, where that of others may have `frame`: half of it on a slow
/// link, for bulk waits for everything else, and is cut anywhere at no cost.
#[must_use]
pub fn bulk_frame_of(frame: usize) -> usize {
    if frame < MAX_FRAME { (frame / 2).max(MIN_FRAME) } else { frame }
}

/// Bytes of one object that a member takes, unless it announces another limit: what etcd's default request limit leaves of 1.5 MiB.
pub const MAX_OBJECT: u32 = 1_500_000;

/// Bytes of a desired list before compression: about 500,000 entries.
pub const MAX_LIST: u32 = 64 << 20;

/// log2 of the largest zstd window that a receiver accepts (8 MiB: base and target of the largest object).
pub const MAX_WINDOW_LOG: u32 = 23;

/// Bytes that a receiver asks for at once; at most so much is sent again after a crash.
pub const WANT_WINDOW: u32 = 256 * 1024;

/// Items in one `Want`.
pub const MAX_WANT_ITEMS: usize = 256;

/// Characters of a reason that is reported for one object.
pub const MAX_MESSAGE: usize = 300;

/// Bytes of the facts about a cluster: one row of the status table, which has to fit a frame of any link.
pub const MAX_FACTS: usize = 8 * 1024;

/// Labels that a cluster gets from its nodes: more than anybody selects by.
pub const MAX_NODE_LABELS: usize = 64;

/// First repetition of an unanswered message; 4 round trips where that is longer.
pub const FIRST_REPEAT: Millis = 2_000;

/// Longest pause between two repetitions.
pub const MAX_REPEAT: Millis = 60_000;

/// How long an acknowledgement waits for the next step, so that both travel in one message.
pub const COALESCE: Millis = 50;

/// Least time between two steps while objects are still being applied or removed; the last one waits for nothing.
pub const COALESCE_BUSY: Millis = 500;

/// Least time from any step to one that says only that objects make progress: a rollout is not told pod by pod.
pub const PAUSE_PROGRESS: Millis = 5_000;

/// Least time from any step to one that says only how objects came out: well, unwell or finished.
pub const PAUSE_RESULT: Millis = 2_000;

/// Sessions that a hub keeps open for confirmation at once, for one agent: late Hellos must not push out the true one.
pub const MAX_PENDING_SESSIONS: usize = 4;

/// Silence after which frames that cannot be opened make an agent greet again.
pub const STALE_SESSION: Millis = 10_000;

/// Heartbeats without a word of the peer, as a fraction, after which a session counts as dead: two may be lost.
pub const LOST_HEARTBEATS: (Millis, Millis) = (5, 2);

/// Silence of one of two processes that share an identity, after which the other counts as alone: twice the longest pause between two
/// attempts to connect.
pub const CLONE_SILENCE: Millis = 120_000;

/// Least time between two greetings of one connection that a hint of the peer causes.
pub const MIN_REGREET: Millis = 2_000;

/// Pause before an object that the API server refused is tried again.
pub const RETRY_REFUSED: Millis = 3_600_000;

/// First and longest pause before an object is tried again that could not be applied for now.
pub const RETRY_FIRST: Millis = 1_000;
pub const RETRY_MAX: Millis = 60_000;

/// Pause before an object that had to be kept is looked at again.
pub const RETRY_KEPT: Millis = 60_000;

/// Pause before an object that is being deleted is looked at again.
pub const POLL_REMOVING: Millis = 1_000;
