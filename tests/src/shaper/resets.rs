//! Resets of the TCP connections that pass, as by a firewall that has had enough of them. Pure.
//!
//! A kernel believes a reset that stands exactly where it waits for the next byte (RFC 5961), which each of its own packets says. So
//! whoever is reset is told at once by its last word, and again by each further one, none of which arrives.

use std::collections::{HashMap, HashSet};

use super::packet::{End, Which, acknowledged, begins, end, reset};

/// One direction of a connection: whose packets, and to whom.
type Flow = (End, End);

/// What is known of the connections that pass.
#[derive(Debug, Default)]
pub struct Resets {
    /// What the sender of each flow waits for.
    awaited: HashMap<Flow, u32>,
    broken: HashSet<Flow>,
}

impl Resets {
    /// A packet passes. If its connection was broken it must not, and its sender is told by what this returns.
    pub fn pass(&mut self, packet: &[u8]) -> Result<(), Vec<u8>> {
        let (Some(flow), Some(awaited)) = (flow(packet), acknowledged(packet)) else {
            // The first packet of a connection is a new one's.
            if let Some((from, to)) = flow(packet).filter(|_| begins(packet)) {
                self.broken.remove(&(from, to));
                self.broken.remove(&(to, from));
            }
            return Ok(());
        };
        if self.broken.contains(&flow) {
            return Err(reset(flow.1, flow.0, awaited));
        }
        self.awaited.insert(flow, awaited);
        Ok(())
    }

    /// Breaks every connection; the packets that tell both ends of each.
    pub fn break_all(&mut self) -> Vec<Vec<u8>> {
        let known = std::mem::take(&mut self.awaited);
        self.broken.extend(known.keys().flat_map(|(from, to)| [(*from, *to), (*to, *from)]));
        known.into_iter().map(|((from, to), awaited)| reset(to, from, awaited)).collect()
    }
}

fn flow(packet: &[u8]) -> Option<Flow> {
    Some((end(packet, Which::Source)?, end(packet, Which::Destination)?))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::packet::tests::{is_sound, packet};
    use super::*;

    const SITE: (Ipv4Addr, u16) = (Ipv4Addr::new(100, 64, 0, 3), 20_000);
    const HUB: (Ipv4Addr, u16) = (Ipv4Addr::new(100, 64, 0, 1), 8883);
    const ACK: u8 = 0x10;

    fn said(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), awaited: u32) -> Vec<u8> {
        let mut packet = packet(6, from, to, ACK);
        packet[28..32].copy_from_slice(&awaited.to_be_bytes());
        packet
    }

    /// From where to where, and where it stands.
    fn read(reset: &[u8]) -> (u16, u16, u32) {
        assert!(is_sound(reset) && reset[33] == 0x04, "{reset:?}");
        let port = |which| end(reset, which).unwrap().port;
        (port(Which::Source), port(Which::Destination), u32::from_be_bytes([reset[24], reset[25], reset[26], reset[27]]))
    }

    #[test]
    fn both_ends_are_told_where_they_wait_and_again_when_they_speak() {
        let mut resets = Resets::default();
        for (from, to, awaited) in [(SITE, HUB, 100), (HUB, SITE, 7), (SITE, HUB, 140)] {
            assert_eq!(resets.pass(&said(from, to, awaited)), Ok(()));
        }
        let mut told: Vec<_> = resets.break_all().iter().map(|packet| read(packet)).collect();
        told.sort_unstable();
        assert_eq!(told, [(8883, 20_000, 140), (20_000, 8883, 7)]);
        assert_eq!(read(&resets.pass(&said(SITE, HUB, 155)).unwrap_err()), (8883, 20_000, 155));
        assert_eq!(read(&resets.pass(&said(HUB, SITE, 9)).unwrap_err()), (20_000, 8883, 9));
        assert!(resets.break_all().is_empty(), "each is broken once");
    }

    #[test]
    fn a_new_connection_of_the_same_ends_and_others_pass() {
        let mut resets = Resets::default();
        assert_eq!(resets.pass(&said(SITE, HUB, 1)), Ok(()));
        resets.break_all();
        assert_eq!(resets.pass(&said((SITE.0, 20_001), HUB, 1)), Ok(()));
        assert_eq!(resets.pass(&packet(17, SITE, HUB, 0)), Ok(()));
        assert_eq!(resets.pass(&packet(6, SITE, HUB, 0x02)), Ok(()));
        assert_eq!(resets.pass(&said(HUB, SITE, 1)), Ok(()));
    }
}
