//! The only place where a topic string exists.
//!
//! ```text
//! cn1/{sid}/d/m        hub to one agent: frames            (an agent subscribes to cn1/{sid}/d/#)
//! cn1/{sid}/d/s/{id}   reserved: a stream apart (docs/adr/0014)
//! cn1/{sid}/u/m        agent to hub: frames, and its will
//! cn1/{sid}/u/s/{id}   reserved: a stream apart
//! cn1/f/0              hub to all: announcements
//! cn1/f/{channel}      hub to the holders of a bundle: shared content
//! ```
//!
//! MQTT 3.1.1 has no topic aliases, so every character is paid for in every message.

use std::fmt;

use crate::id::Sid;

const PREFIX: &str = "cn1";

/// Which way a frame travels; a level of its own so that any broker's ACL can tell reading from writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Down,
    Up,
}

impl Direction {
    fn level(self) -> &'static str {
        match self {
            Direction::Down => "d",
            Direction::Up => "u",
        }
    }
}

/// Every topic that this protocol uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Frames between the hub and one agent.
    Main(Sid, Direction),
    /// Reserved: one stream (exec, logs, port-forward) on a topic of its own.
    Stream(Sid, Direction, u32),
    /// Announcements of the hub to everybody.
    Announce,
    /// Content shared by many clusters, under the channel id of its bundle.
    Channel(u64),
}

impl Topic {
    /// Reads a topic, `None` for anything this protocol does not use.
    ///
    /// ```
    /// use bus_schema::{id::Sid, topic::{Direction, Topic}};
    /// let sid = Sid::parse("abcd2345").unwrap();
    /// assert_eq!(Topic::parse("cn1/abcd2345/u/m"), Some(Topic::Main(sid, Direction::Up)));
    /// assert_eq!(Topic::parse("cn1/abcd2345/u/#"), None);
    /// assert_eq!(Topic::parse("cn1/f/0"), Some(Topic::Announce));
    /// ```
    pub fn parse(text: &str) -> Option<Topic> {
        let mut levels = text.split('/');
        if levels.next() != Some(PREFIX) {
            return None;
        }
        let second = levels.next()?;
        let rest: Vec<&str> = levels.collect();
        if second == "f" {
            return match rest[..] {
                ["0"] => Some(Topic::Announce),
                [channel] => parse_channel(channel).map(Topic::Channel),
                _ => None,
            };
        }
        let sid = Sid::parse(second).ok()?;
        let direction = match *rest.first()? {
            "d" => Direction::Down,
            "u" => Direction::Up,
            _ => return None,
        };
        match rest[1..] {
            ["m"] => Some(Topic::Main(sid, direction)),
            ["s", stream] => parse_canonical(stream).map(|id| Topic::Stream(sid, direction, id)),
            _ => None,
        }
    }

    /// The filter under which the agent `sid` hears all that is sent to it.
    pub fn filter(sid: Sid) -> String {
        format!("{PREFIX}/{sid}/d/#")
    }
}

/// Accepts only the spelling that `Display` writes, so that one topic has one name.
fn parse_canonical(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id: &u32| id.to_string() == text)
}

fn parse_channel(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|id| format!("{id:016x}") == text)
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Main(sid, direction) => write!(f, "{PREFIX}/{sid}/{}/m", direction.level()),
            Topic::Stream(sid, direction, id) => write!(f, "{PREFIX}/{sid}/{}/s/{id}", direction.level()),
            Topic::Announce => write!(f, "{PREFIX}/f/0"),
            Topic::Channel(channel) => write!(f, "{PREFIX}/f/{channel:016x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_reads_back_as_itself() {
        let sid = Sid::parse("abcd2345").unwrap();
        for topic in [
            Topic::Main(sid, Direction::Down),
            Topic::Main(sid, Direction::Up),
            Topic::Stream(sid, Direction::Down, 0),
            Topic::Stream(sid, Direction::Up, u32::MAX),
            Topic::Announce,
            Topic::Channel(7),
        ] {
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn anything_else_is_no_topic() {
        for text in [
            "",
            "cn1",
            "cn1/",
            "cn2/f/0",
            "cn1/f/#",
            "cn1/f/+",
            "cn1/+/d/m",
            "cn1/abcd2345/d/#",
            "cn1/abcd2345/d",
            "cn1/abcd2345/x/m",
            "cn1/abcd2345/d/s/01",
            "cn1/abcd2345/d/s/-1",
            "cn1/abcd2345/d/m/",
            "/cn1/f/0",
            "cn1/f/0/0",
            "cn1/f/1",
        ] {
            assert_eq!(Topic::parse(text), None, "{text}");
        }
    }
}
