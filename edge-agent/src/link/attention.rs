//! How soon a connection that has died without a word is noticed: within seconds while streams carry bytes, cheaply otherwise.
//!
//! The kernel does the asking: keep-alive probes of 104 bytes with their answer, and an end to waiting for what is not acknowledged
//! (TCP_USER_TIMEOUT, RFC 5482). That end has been seen to come after 6.5 s where 3 were asked for, so a busy link's silence is
//! looked at as well.

use std::time::{Duration, Instant};

/// Streams that have carried nothing for so long have nobody who waits for the next byte at this moment.
const BUSY: Duration = Duration::from_secs(15);

/// Silence before the peer of busy streams is asked, the shortest that the kernel knows, and before it is given up.
const BUSY_ASK: Duration = Duration::from_secs(1);
const BUSY_DEAD: Duration = Duration::from_secs(3);
/// Round trips that the answer of a busy peer may take: on a link that crawls one is longer than `BUSY_DEAD`.
const BUSY_ROUND_TRIPS: u32 = 4;

/// How often the silence of a busy link is looked at.
const BUSY_LOOK: Duration = Duration::from_millis(500);

/// The same for streams that are open and quiet: 7 bytes a second.
const OPEN_ASK: Duration = Duration::from_secs(15);
const OPEN_DEAD: Duration = Duration::from_secs(30);

/// How long nothing may be acknowledged of what was sent.
const DEAD: Duration = Duration::from_secs(60);

/// What is asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Silence after which the peer is asked; `None` leaves that to MQTT's pings.
    pub ask: Option<Duration>,
    /// How long a question, or what was sent, may stay without acknowledgement.
    pub dead: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Idle,
    Open,
    Busy,
}

/// Of one connection.
#[derive(Debug)]
pub struct Attention {
    level: Level,
    /// When a stream last carried something, or was found to be quiet.
    since: Instant,
    /// From when on the level's questions are asked.
    entered: Instant,
    looked: Instant,
    round_trip: Duration,
}

impl Attention {
    /// For a connection whose handshake took `round_trip`; `awaited` when streams waited for it.
    pub fn new(round_trip: Duration, awaited: bool, now: Instant) -> Attention {
        let level = if awaited { Level::Busy } else { Level::Idle };
        Attention { level, since: now, entered: now, looked: now, round_trip }
    }

    /// A stream has carried something; returns what is to change.
    pub fn carried(&mut self, now: Instant) -> Option<Patience> {
        self.since = now;
        self.enter(Level::Busy, now)
    }

    /// When to call [`Attention::look`].
    pub fn due(&self) -> Option<Instant> {
        match self.level {
            Level::Idle => None,
            Level::Open => Some(self.since + BUSY),
            Level::Busy => Some((self.since + BUSY).min(self.looked + BUSY_LOOK)),
        }
    }

    /// Looks again, while `streams` are open; returns what is to change.
    pub fn look(&mut self, streams: usize, now: Instant) -> Option<Patience> {
        self.looked = now;
        if now < self.since + BUSY {
            return None;
        }
        self.since = now;
        self.enter(if streams > 0 { Level::Open } else { Level::Idle }, now)
    }

    fn enter(&mut self, level: Level, now: Instant) -> Option<Patience> {
        if self.level == level {
            return None;
        }
        (self.level, self.entered, self.looked) = (level, now, now);
        Some(self.patience())
    }

    /// Silence of the peer that shows now that it is gone: it has been asked for so long.
    pub fn too_silent(&self, now: Instant) -> Option<Duration> {
        let Patience { ask, dead } = self.patience();
        (ask.is_some() && now >= self.entered + dead).then_some(dead)
    }

    pub fn patience(&self) -> Patience {
        match self.level {
            Level::Idle => Patience { ask: None, dead: DEAD },
            Level::Open => Patience { ask: Some(OPEN_ASK), dead: OPEN_DEAD },
            Level::Busy => {
                let answered = BUSY_ASK + BUSY_ROUND_TRIPS * self.round_trip;
                Patience { ask: Some(BUSY_ASK), dead: answered.clamp(BUSY_DEAD, OPEN_DEAD) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_link_is_noticed_within_seconds_while_streams_carry_bytes_and_cheaply_when_they_are_quiet() {
        let start = Instant::now();
        let mut attention = Attention::new(Duration::from_millis(20), false, start);
        assert_eq!((attention.due(), attention.patience().ask), (None, None));
        let busy = Patience { ask: Some(BUSY_ASK), dead: BUSY_DEAD };
        assert_eq!(attention.carried(start), Some(busy));
        assert_eq!(attention.carried(start + BUSY / 2), None);
        assert_eq!(attention.look(1, start + BUSY), None, "it has carried something since");
        assert_eq!(attention.due(), Some(start + BUSY + BUSY_LOOK));
        let quiet = start + 2 * BUSY;
        assert_eq!(attention.look(1, quiet), Some(Patience { ask: Some(OPEN_ASK), dead: OPEN_DEAD }));
        assert_eq!(attention.look(1, quiet + BUSY), None);
        assert_eq!(attention.carried(quiet + BUSY), Some(busy));
        assert_eq!(attention.look(0, quiet + 2 * BUSY), Some(Patience { ask: None, dead: DEAD }));
        assert_eq!(attention.due(), None);
    }

    #[test]
    fn silence_counts_from_when_it_was_asked_about() {
        let start = Instant::now();
        let mut attention = Attention::new(Duration::from_millis(20), false, start);
        assert_eq!(attention.too_silent(start + DEAD), None, "nobody has asked");
        let busy = start + DEAD;
        attention.carried(busy);
        assert_eq!((attention.due(), attention.too_silent(busy)), (Some(busy + BUSY_LOOK), None));
        assert_eq!(attention.too_silent(busy + BUSY_DEAD), Some(BUSY_DEAD));
    }

    #[test]
    fn a_link_that_crawls_is_given_the_time_that_it_needs() {
        let start = Instant::now();
        let attention = Attention::new(Duration::from_secs(2), true, start);
        assert_eq!(attention.patience().dead, Duration::from_secs(9));
    }
}
