//! The NAT that a site sits behind. Pure.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::packet::{End, Which, begins, end, set_end};

/// Where the ports begin that are given to inner ones.
const FIRST_PORT: u16 = 20_000;

/// Rewrites the source of what leaves and the destination of what comes back.
#[derive(Debug)]
pub struct Nat {
    outside: Ipv4Addr,
    next_port: u16,
    leaving: HashMap<End, u16>,
    returning: HashMap<(u8, u16), End>,
    /// Only packets that begin a connection open a way through.
    is_strict: bool,
    /// TCP connections that began.
    connections: u64,
}

impl Nat {
    /// A NAT that is seen from outside at this address.
    pub fn new(outside: Ipv4Addr) -> Self {
        Self { outside, next_port: FIRST_PORT, leaving: HashMap::new(), returning: HashMap::new(), is_strict: false, connections: 0 }
    }

    /// Forgets all it knows, as after a restart. Connections that go on appear from other ports; to a `strict` one they are strangers, and
    /// their packets vanish.
    pub fn forget(&mut self, strict: bool) {
        self.leaving.clear();
        self.returning.clear();
        self.is_strict = strict;
    }

    /// From now on it is seen at another address.
    pub fn move_to(&mut self, outside: Ipv4Addr) {
        self.forget(false);
        self.outside = outside;
    }

    /// Whether this end is the NAT's own.
    pub fn is_outside(&self, end: End) -> bool {
        end.address == self.outside
    }

    /// TCP connections that began so far.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Rewrites a packet that leaves; false when it goes nowhere.
    pub fn leave(&mut self, packet: &mut [u8]) -> bool {
        let Some(inside) = end(packet, Which::Source) else { return false };
        let port = match self.leaving.get(&inside) {
            Some(port) => *port,
            None if self.is_strict && !begins(packet) && inside.protocol == 6 => return false,
            None => {
                self.connections += u64::from(begins(packet));
                self.map(inside)
            }
        };
        set_end(packet, Which::Source, End { address: self.outside, port, ..inside });
        true
    }

    /// Rewrites a packet that comes back; false when nobody waits for it.
    pub fn come_back(&self, packet: &mut [u8]) -> bool {
        let Some(to) = end(packet, Which::Destination).filter(|to| to.address == self.outside) else { return false };
        let Some(inside) = self.returning.get(&(to.protocol, to.port)) else { return false };
        set_end(packet, Which::Destination, *inside);
        true
    }

    fn map(&mut self, inside: End) -> u16 {
        // An echo keeps its identifier.
        let port = if inside.protocol == 1 { inside.port } else { self.free_port(inside.protocol) };
        self.leaving.insert(inside, port);
        self.returning.insert((inside.protocol, port), inside);
        port
    }

    fn free_port(&mut self, protocol: u8) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.returning.contains_key(&(protocol, port)) {
                return port;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{is_sound, packet};
    use super::*;

    const SITE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
    const HUB: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 3);

    fn leave(nat: &mut Nat, port: u16, flags: u8) -> Option<u16> {
        let mut packet = packet(6, (SITE, port), (HUB, 8443), flags);
        let passed = nat.leave(&mut packet);
        assert!(is_sound(&packet));
        passed.then(|| end(&packet, Which::Source).unwrap().port)
    }

    fn comes_back(nat: &Nat, to: (Ipv4Addr, u16)) -> Option<End> {
        let mut packet = packet(6, (HUB, 8443), to, 0x10);
        nat.come_back(&mut packet).then(|| end(&packet, Which::Destination).unwrap())
    }

    #[test]
    fn each_inner_port_has_an_outer_one_that_leads_back() {
        let mut nat = Nat::new(OUTSIDE);
        let (one, other) = (leave(&mut nat, 1000, 2).unwrap(), leave(&mut nat, 1001, 2).unwrap());
        assert_ne!(one, other);
        assert_eq!(leave(&mut nat, 1000, 16), Some(one));
        assert_eq!(comes_back(&nat, (OUTSIDE, other)), Some(End { protocol: 6, address: SITE, port: 1001 }));
        assert_eq!(comes_back(&nat, (OUTSIDE, 1000)), None);
        assert_eq!(comes_back(&nat, (SITE, one)), None);
    }

    #[test]
    fn after_it_forgot_a_connection_appears_from_another_port() {
        let mut nat = Nat::new(OUTSIDE);
        let before = leave(&mut nat, 1000, 2).unwrap();
        nat.forget(false);
        assert_eq!(comes_back(&nat, (OUTSIDE, before)), None);
        assert_ne!(leave(&mut nat, 1000, 16).unwrap(), before);
        nat.forget(true);
        assert_eq!(leave(&mut nat, 1000, 16), None);
        assert!(leave(&mut nat, 1002, 2).is_some());
    }

    #[test]
    fn at_another_address_nothing_comes_back_to_the_old_one() {
        let mut nat = Nat::new(OUTSIDE);
        let port = leave(&mut nat, 1000, 2).unwrap();
        let moved = Ipv4Addr::new(100, 64, 0, 4);
        nat.move_to(moved);
        assert_eq!(comes_back(&nat, (OUTSIDE, port)), None);
        let port = leave(&mut nat, 1000, 16).unwrap();
        assert!(comes_back(&nat, (moved, port)).is_some());
    }
}
