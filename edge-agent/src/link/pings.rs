//! When MQTT's pings go out, and when their answer is overdue.

use std::time::{Duration, Instant};

/// Silence in either direction before a ping of an idle link, and before its answer is overdue.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Ping,
    Dead,
}

/// Of one connection.
#[derive(Debug)]
pub struct Pings {
    sent: Instant,
    heard: Instant,
    asked: Option<Instant>,
}

impl Pings {
    pub fn new(now: Instant) -> Pings {
        Pings { sent: now, heard: now, asked: None }
    }

    pub fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Something came: any byte shows that the link lives.
    pub fn heard(&mut self, now: Instant) {
        (self.heard, self.asked) = (now, None);
    }

    /// When to look.
    pub fn due(&self) -> Instant {
        self.asked.unwrap_or(self.sent.min(self.heard)) + KEEP_ALIVE
    }

    pub fn look(&mut self, now: Instant) -> Due {
        match now < self.due() {
            true => Due::Nothing,
            false if self.asked.is_some() => Due::Dead,
            false => {
                (self.sent, self.asked) = (now, Some(now));
                Due::Ping
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_in_one_direction_is_enough_for_a_ping_and_its_answer_may_be_anything() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pings = Pings::new(start);
        assert_eq!((pings.look(at(29)), pings.look(at(30)), pings.look(at(31))), (Due::Nothing, Due::Ping, Due::Nothing));
        pings.heard(at(59));
        assert_eq!((pings.look(at(60)), pings.due()), (Due::Ping, at(90)));
        pings.sent(at(80));
        assert_eq!(pings.look(at(90)), Due::Dead);
    }

    #[test]
    fn a_link_that_carries_both_ways_is_not_pinged() {
        let start = Instant::now();
        let mut pings = Pings::new(start);
        for second in 1..300 {
            let now = start + Duration::from_secs(second);
            pings.heard(now);
            pings.sent(now);
            assert_eq!(pings.look(now), Due::Nothing);
        }
    }
}
