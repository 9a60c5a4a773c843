//! What each role may publish, subscribe and leave as a will: pure, and deny by default.

use crate::bus::topics::{Direction, Sid, Topic};

/// What an agent subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFilter {
    /// Its own downlink.
    Downlink,
    /// A fleet-wide channel; `None` is the hub's announcements.
    Fleet(Option<u64>),
}

/// Reads an agent's filter; `None` when it may not subscribe to it.
pub fn agent_filter(sid: Sid, filter: &str) -> Option<AgentFilter> {
    if filter == Topic::filter(sid) {
        return Some(AgentFilter::Downlink);
    }
    match Topic::parse(filter)? {
        Topic::Announce => Some(AgentFilter::Fleet(None)),
        Topic::Channel(channel) => Some(AgentFilter::Fleet(Some(channel))),
        Topic::Main(..) | Topic::Stream(..) => None,
    }
}

/// Where an agent's PUBLISH or will goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentPublish {
    /// To the hub.
    Up(Topic),
    /// Below the agent's own uplink, on a topic that this hub does not know: accepted and dropped, for later agents.
    Unknown,
    /// Somewhere it may not.
    Denied,
}

/// Judges the topic of an agent's PUBLISH or will.
pub fn agent_publish(sid: Sid, topic: &str) -> AgentPublish {
    match Topic::parse(topic) {
        Some(up @ (Topic::Main(owner, Direction::Up) | Topic::Stream(owner, Direction::Up, _))) if owner == sid => AgentPublish::Up(up),
        Some(_) => AgentPublish::Denied,
        None if is_own_uplink(sid, topic) => AgentPublish::Unknown,
        None => AgentPublish::Denied,
    }
}

fn is_own_uplink(sid: Sid, topic: &str) -> bool {
    let main = Topic::Main(sid, Direction::Up).to_string();
    let prefix = main.strip_suffix('m').unwrap_or(&main);
    topic.len() > prefix.len() && topic.starts_with(prefix)
}

/// Whether a client that is no agent may publish to this topic.
pub fn client_topic(topic: &str) -> bool {
    topic.starts_with("test/")
}

/// Whether a client that is no agent may subscribe to this filter; `$share` and a wildcard above `test/` do not begin like that.
pub fn client_filter(filter: &str) -> bool {
    filter.starts_with("test/")
}

/// Whether a client that is no agent may have this id: rumqttd's router drops what holds a separator, and logs print the rest.
pub fn client_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && !id.contains(['/', '+', '#', '$']) && !id.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "aaaaaaaa";

    #[test]
    fn an_agent_subscribes_to_its_downlink_and_fleet_channels_and_nothing_else() {
        let sid = Sid::parse(OWN).unwrap();
        assert_eq!(agent_filter(sid, "cn1/aaaaaaaa/d/#"), Some(AgentFilter::Downlink));
        assert_eq!(agent_filter(sid, "cn1/f/0"), Some(AgentFilter::Fleet(None)));
        assert_eq!(agent_filter(sid, "cn1/f/00000000000000ff"), Some(AgentFilter::Fleet(Some(255))));
        for (what, filter) in [
            ("everything", "#"),
            ("every first level", "+"),
            ("everything below the prefix", "cn1/#"),
            ("another agent's downlink", "cn1/bbbbbbbb/d/#"),
            ("every agent's downlink", "cn1/+/d/#"),
            ("its own uplink", "cn1/aaaaaaaa/u/#"),
            ("both its directions", "cn1/aaaaaaaa/#"),
            ("its directions by wildcard", "cn1/aaaaaaaa/+/m"),
            ("one of its own topics", "cn1/aaaaaaaa/d/m"),
            ("every fleet channel", "cn1/f/#"),
            ("each fleet channel", "cn1/f/+"),
            ("a shared subscription of its own", "$share/g/cn1/aaaaaaaa/d/#"),
            ("a shared subscription of everything", "$share/g/#"),
            ("system topics", "$SYS/#"),
            ("a client's topic", "test/x"),
            ("another version", "cn2/aaaaaaaa/d/#"),
        ] {
            assert_eq!(agent_filter(sid, filter), None, "{what}");
        }
    }

    #[test]
    fn an_agent_publishes_below_its_own_uplink_and_nowhere_else() {
        let sid = Sid::parse(OWN).unwrap();
        assert_eq!(agent_publish(sid, "cn1/aaaaaaaa/u/m"), AgentPublish::Up(Topic::Main(sid, Direction::Up)));
        assert_eq!(agent_publish(sid, "cn1/aaaaaaaa/u/s/7"), AgentPublish::Up(Topic::Stream(sid, Direction::Up, 7)));
        assert_eq!(agent_publish(sid, "cn1/aaaaaaaa/u/later"), AgentPublish::Unknown);
        for (what, topic) in [
            ("another agent's uplink", "cn1/bbbbbbbb/u/m"),
            ("another agent's downlink", "cn1/bbbbbbbb/d/m"),
            ("its own downlink", "cn1/aaaaaaaa/d/m"),
            ("its downlink on an unknown topic", "cn1/aaaaaaaa/d/later"),
            ("the bare uplink level", "cn1/aaaaaaaa/u/"),
            ("the announcements", "cn1/f/0"),
            ("a fleet channel", "cn1/f/00000000000000ff"),
            ("a client's topic", "test/x"),
            ("system topics", "$SYS/x"),
            ("a longer id that begins like its own", "cn1/aaaaaaaab/u/m"),
        ] {
            assert_eq!(agent_publish(sid, topic), AgentPublish::Denied, "{what}");
        }
    }

    #[test]
    fn a_client_stays_below_test() {
        assert!(client_topic("test/a") && client_filter("test/#") && client_filter("test/+/b"));
        for topic in ["test", "tests/a", "cn1/aaaaaaaa/u/m", "$SYS/x", "/test/a"] {
            assert!(!client_topic(topic), "{topic}");
        }
        for filter in ["#", "+/a", "$share/g/test/a", "cn1/#", "$SYS/#", "test#"] {
            assert!(!client_filter(filter), "{filter}");
        }
    }

    #[test]
    fn client_ids_that_the_router_chokes_on_are_refused() {
        assert!(client_id("mosq-AbC123"));
        for id in ["", "a/b", "a+b", "a#b", "$a", "a\nb"] {
            assert!(!client_id(id), "{id:?}");
        }
    }
}
