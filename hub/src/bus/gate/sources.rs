//! What is remembered about the networks that connections come from, so that a flood meets a narrow door and the fleet a wide one.
//! Pure: time is handed in.
//!
//! A failure is a connection that never became an agent: a handshake that failed or took too long, a CONNECT that was refused. Agents
//! behind the address translation of their carrier share an address with strangers, so failures alone never shut an address out that
//! agents come from, and nothing here refuses anybody while there is room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Failures after which a network is failing; a fleet's router that restarts makes a handful.
const MANY: f64 = 64.0;
/// Failures that are forgotten each second.
const FORGIVEN_PER_SECOND: f64 = 2.0;
/// The most that is held against a network: it is forgiven a minute after its last failure.
const MOST: f64 = 3.0 * MANY;
/// How long an address is known after its last agent.
const KNOWN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Networks with failures, and addresses of agents, that are remembered: 100 bytes each.
const MAX_REMEMBERED: usize = 131_072;

/// How a newcomer is treated. Each class has its own places before CONNECT, so that none takes another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// An agent has come from this very address.
    Known,
    /// Nothing is held against its network, or something is and agents come from its address too.
    Unknown,
    /// Its network has failed again and again.
    Failing,
}

/// The memory.
#[derive(Debug, Default)]
pub struct Sources {
    failures: HashMap<IpAddr, Failures>,
    agents: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    score: f64,
    at: Instant,
}

impl Failures {
    fn now(&self, now: Instant) -> f64 {
        (self.score - now.saturating_duration_since(self.at).as_secs_f64() * FORGIVEN_PER_SECOND).max(0.0)
    }
}

impl Sources {
    /// How to treat a newcomer.
    pub fn class(&self, address: IpAddr, now: Instant) -> Class {
        let failing = self.failures.get(&network(address)).is_some_and(|failures| failures.now(now) >= MANY);
        let known = self.agents.get(&address).is_some_and(|seen| now.saturating_duration_since(*seen) < KNOWN_FOR);
        match (known, failing) {
            (true, false) => Class::Known,
            (false, true) => Class::Failing,
            (true, true) | (false, false) => Class::Unknown,
        }
    }

    /// A connection from here became nothing.
    pub fn failed(&mut self, address: IpAddr, now: Instant) {
        if self.failures.len() >= MAX_REMEMBERED && self.may_sweep(now) {
            self.failures.retain(|_, failures| failures.now(now) >= 1.0);
        }
        // With that many networks failing at once, one more makes no difference.
        if self.failures.len() < MAX_REMEMBERED || self.failures.contains_key(&network(address)) {
            let failures = self.failures.entry(network(address)).or_insert(Failures { score: 0.0, at: now });
            *failures = Failures { score: (failures.now(now) + 1.0).min(MOST), at: now };
        }
    }

    /// A connection from here became an agent.
    pub fn arrived(&mut self, address: IpAddr, now: Instant) {
        if self.agents.len() >= MAX_REMEMBERED && self.may_sweep(now) {
            self.agents.retain(|_, seen| now.saturating_duration_since(*seen) < KNOWN_FOR / 7);
        }
        if self.agents.len() < MAX_REMEMBERED || self.agents.contains_key(&address) {
            self.agents.insert(address, now);
        }
    }

    /// Looking through everything is for once a second, or a flood could make it the gate's main work.
    fn may_sweep(&mut self, now: Instant) -> bool {
        let due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= Duration::from_secs(1));
        self.swept = if due { Some(now) } else { self.swept };
        due
    }
}

/// What is handed out to one site: a /24 of IPv4, a /48 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) & 0xffff_ff00).into()),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !0 << 80)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_that_keeps_failing_is_told_apart_and_forgiven_in_time() {
        let (mut sources, start) = (Sources::default(), Instant::now());
        for n in 0..64 {
            assert_eq!(sources.class(address("10.0.0.7"), start), Class::Unknown, "{n} failures");
            sources.failed(address(&format!("10.0.0.{n}")), start);
        }
        assert_eq!(sources.class(address("10.0.0.200"), start), Class::Failing, "another address of the network");
        assert_eq!(sources.class(address("10.0.1.7"), start), Class::Unknown, "the next network");
        assert_eq!(sources.class(address("10.0.0.200"), start + Duration::from_secs(1)), Class::Unknown);
        (0..10_000).for_each(|_| sources.failed(address("10.0.0.7"), start));
        assert_eq!(sources.class(address("10.0.0.7"), start + Duration::from_secs(60)), Class::Failing);
        assert_eq!(sources.class(address("10.0.0.7"), start + Duration::from_secs(65)), Class::Unknown);
    }

    #[test]
    fn an_address_that_agents_come_from_is_known_and_failures_beside_it_only_make_it_unknown() {
        let (mut sources, start) = (Sources::default(), Instant::now());
        sources.arrived(address("10.0.0.7"), start);
        assert_eq!(sources.class(address("10.0.0.7"), start), Class::Known);
        assert_eq!(sources.class(address("10.0.0.8"), start), Class::Unknown);
        (0..100).for_each(|_| sources.failed(address("10.0.0.8"), start));
        assert_eq!(sources.class(address("10.0.0.7"), start), Class::Unknown);
        assert_eq!(sources.class(address("10.0.0.8"), start), Class::Failing);
        assert_eq!(sources.class(address("10.0.0.7"), start + KNOWN_FOR), Class::Unknown);
    }

    #[test]
    fn an_address_of_ipv4_within_ipv6_is_the_same_network_and_a_site_of_ipv6_is_one() {
        assert_eq!(network(address("::ffff:10.0.0.7")), address("10.0.0.0"));
        assert_eq!(network(address("2001:db8:1:2::3")), address("2001:db8:1::"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut sources, start) = (Sources::default(), Instant::now());
        for n in 0..200_000_u32 {
            sources.failed(IpAddr::V4((n << 8).into()), start);
            sources.arrived(IpAddr::V4(n.into()), start);
        }
        assert!(sources.failures.len() <= MAX_REMEMBERED && sources.agents.len() <= MAX_REMEMBERED);
        sources.failed(address("250.0.0.1"), start + Duration::from_secs(10));
        assert_eq!(sources.failures.len(), 1, "what is forgiven makes room");
    }
}
