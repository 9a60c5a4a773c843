//! The topics and the bus id that the gate needs, in the shape of `bus_schema::topic` and `bus_schema::id`, which replace this file.
//!
//! ```text
//! cn1/{sid}/d/m        hub to one agent: frames            (an agent subscribes to cn1/{sid}/d/#)
//! cn1/{sid}/d/s/{id}   hub to one agent: a stream
//! cn1/{sid}/u/m        agent to hub: frames, and its will
//! cn1/{sid}/u/s/{id}   agent to hub: a stream
//! cn1/f/0              hub to all: announcements
//! cn1/f/{channel}      hub to the holders of a bundle: shared content
//! ```

use std::fmt;

const PREFIX: &str = "cn1";

/// A cluster's bus id, which is also its MQTT client id: exactly 8 characters of `[a-z2-7]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid([u8; 8]);

impl Sid {
    /// Reads a bus id.
    ///
    /// # Errors
    /// When the text is not exactly 8 characters of `[a-z2-7]`.
    pub fn parse(text: &str) -> Result<Sid, InvalidSid> {
        let bytes: [u8; 8] = text.as_bytes().try_into().map_err(|_| InvalidSid)?;
        let fits = bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        fits.then_some(Sid(bytes)).ok_or(InvalidSid)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("parse admits ASCII only")
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no bus id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bus id is exactly 8 characters of a-z and 2-7")]
pub struct InvalidSid;

/// Which way a frame travels.
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

/// Every topic that the protocol uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Frames between the hub and one agent.
    Main(Sid, Direction),
    /// One stream between the hub and one agent.
    Stream(Sid, Direction, u32),
    /// Announcements of the hub to everybody.
    Announce,
    /// Content shared by many clusters, under the channel id of its bundle.
    Channel(u64),
}

impl Topic {
    /// Reads a topic, `None` for anything that the protocol does not use.
    pub fn parse(text: &str) -> Option<Topic> {
        let levels: Vec<&str> = text.split('/').collect();
        match levels[..] {
            [PREFIX, "f", "0"] => Some(Topic::Announce),
            [PREFIX, "f", channel] => parse_channel(channel).map(Topic::Channel),
            [PREFIX, sid, way, "m"] => Some(Topic::Main(Sid::parse(sid).ok()?, parse_direction(way)?)),
            [PREFIX, sid, way, "s", id] => {
                Some(Topic::Stream(Sid::parse(sid).ok()?, parse_direction(way)?, parse_stream(id)?))
            }
            _ => None,
        }
    }

    /// The filter under which the agent `sid` hears all that is sent to it.
    pub fn filter(sid: Sid) -> String {
        format!("{PREFIX}/{sid}/d/#")
    }
}

fn parse_direction(level: &str) -> Option<Direction> {
    [Direction::Down, Direction::Up].into_iter().find(|way| way.level() == level)
}

/// Only the spelling that `Display` writes is read, so that one topic has one name.
fn parse_stream(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id: &u32| id.to_string() == text)
}

fn parse_channel(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|id| format!("{id:016x}") == text)
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Main(sid, way) => write!(f, "{PREFIX}/{sid}/{}/m", way.level()),
            Topic::Stream(sid, way, id) => write!(f, "{PREFIX}/{sid}/{}/s/{id}", way.level()),
            Topic::Announce => write!(f, "{PREFIX}/f/0"),
            Topic::Channel(channel) => write!(f, "{PREFIX}/f/{channel:016x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_id_is_eight_characters_of_its_alphabet() {
        assert_eq!(Sid::parse("abcd2345").map(|sid| sid.to_string()), Ok("abcd2345".into()));
        for text in ["", "abcd234", "abcd23456", "abcd2348", "ABCD2345", "abcd234/", "abcd23é"] {
            assert_eq!(Sid::parse(text), Err(InvalidSid), "{text}");
        }
    }

    #[test]
    fn every_topic_reads_back_as_itself_and_nothing_else_is_one() {
        let sid = Sid::parse("abcd2345").unwrap();
        for topic in [Topic::Main(sid, Direction::Up), Topic::Stream(sid, Direction::Down, 9), Topic::Announce, Topic::Channel(7)] {
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
        for text in ["", "cn1", "cn1/f/#", "cn1/f/+", "cn1/f/1", "cn1/+/d/m", "cn1/abcd2345/d/#", "cn1/abcd2345/u/s/01", "/cn1/f/0"] {
            assert_eq!(Topic::parse(text), None, "{text}");
        }
    }
}
