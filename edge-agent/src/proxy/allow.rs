//! What the agent may open connections to beside its API server: nothing, unless it is named. Pure.
//!
//! Names are judged twice: as they were asked for, and by the address that they were resolved to, which is then the one that is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::request::{Host, Other};

/// One entry of the list: a name, an address or a network, with a port or with all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Name(String),
    Network { address: IpAddr, bits: u8 },
}

impl std::str::FromStr for Allow {
    type Err = String;

    fn from_str(text: &str) -> Result<Allow, String> {
        let wrong =
            || format!("{text:?} must be HOST, ADDRESS or NETWORK/BITS, with :PORT or without, as web.shop.svc:8080 or [fd00::/64]:443");
        let (what, port) = split_port(text).ok_or_else(wrong)?;
        let what = what_of(what).ok_or_else(wrong)?;
        match &what {
            What::Network { address, bits } if *bits == 0 || is_never(*address) => {
                Err(format!("{text:?}: not this network; name what is meant"))
            }
            _ => Ok(Allow { what, port }),
        }
    }
}

/// `[V6]:PORT`, `X:PORT`, or all of it without a port; an address of IPv6 without brackets has no port.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((inner, Some(port.parse().ok().filter(|port| *port != 0)?))),
            None => rest.is_empty().then_some((inner, None)),
        };
    }
    match text.split_once(':') {
        Some((what, port)) if !port.contains(':') => Some((what, Some(port.parse().ok().filter(|port| *port != 0)?))),
        _ => Some((text, None)),
    }
}

fn what_of(text: &str) -> Option<What> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
        None => match (text.parse(), Host::parse(text)) {
            (Ok(address), _) => (address, None),
            (_, Some(Host::Name(name))) => return Some(What::Name(name)),
            _ => return None,
        },
    };
    let all = width(address);
    let bits = bits.unwrap_or(all);
    (bits <= all).then_some(What::Network { address, bits })
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether this server may be asked for at all, before its name is resolved. A name may also come in through a network that it resolves to.
pub fn may_ask(list: &[Allow], other: &Other) -> bool {
    let on_port = |allow: &&Allow| allow.port.is_none_or(|port| port == other.port);
    list.iter().filter(on_port).any(|allow| match (&allow.what, &other.host) {
        (What::Name(name), Host::Name(asked)) => name == asked,
        (What::Network { .. }, Host::Name(_)) => true,
        (What::Network { address, bits }, Host::Address(asked)) => contains(*address, *bits, plain(*asked)),
        (What::Name(_), Host::Address(_)) => false,
    })
}

/// Whether this address, which the host is or was resolved to, may be dialled.
pub fn may_dial(list: &[Allow], other: &Other, resolved: IpAddr) -> bool {
    let resolved = plain(resolved);
    if is_never(resolved) {
        return false;
    }
    let on_port = |allow: &&Allow| allow.port.is_none_or(|port| port == other.port);
    list.iter().filter(on_port).any(|allow| match &allow.what {
        // Whoever answers for an allowed name does not reach what listens on this machine for itself only.
        What::Name(name) => other.host == Host::Name(name.clone()) && (!resolved.is_loopback() || name == "localhost"),
        What::Network { address, bits } => contains(*address, *bits, resolved),
    })
}

/// Link-local, metadata services of clouds, and what is no single machine's address: not for anybody, whatever the list says.
fn is_never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            let metadata = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
            first == 0 || first >= 224 || address.is_link_local() || metadata.contains(&address)
        }
        IpAddr::V6(address) => {
            let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            let google = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
            let [first, ..] = address.segments();
            let link_local = first & 0xffc0 == 0xfe80;
            address.is_unspecified() || address.is_multicast() || link_local || address == metadata || address == google
        }
    }
}

/// The IPv4 address inside an IPv6 one that leads to it (mapped, compatible, NAT64, 6to4), else the address itself.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let inner = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] if high != 0 => inner(high, low),
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        [0x2002, high, low, ..] => inner(high, low),
        _ => address,
    }
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    network.is_ipv4() == address.is_ipv4() && (number(network) ^ number(address)) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<Allow> {
        entries.iter().map(|entry| entry.parse().unwrap()).collect()
    }

    fn other(host: &str, port: u16) -> Other {
        Other { tls: false, host: Host::parse(host).unwrap(), port, authority: host.into() }
    }

    /// Whether HOST:PORT, at this address, is dialled.
    fn dials(entries: &[&str], host: &str, port: u16, address: &str) -> bool {
        let (list, other) = (list(entries), other(host, port));
        may_ask(&list, &other) && may_dial(&list, &other, address.parse().unwrap())
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        assert!(!dials(&[], "10.0.0.1", 80, "10.0.0.1"));
        assert!(!may_ask(&[], &other("web", 80)));
    }

    #[test]
    fn names_addresses_networks_and_ports_are_what_they_say() {
        assert!(dials(&["Web.Shop.svc"], "web.shop.svc.", 8080, "10.1.2.3"));
        assert!(!dials(&["web.shop.svc"], "web.shop.svc.evil.com", 80, "10.1.2.3"));
        assert!(!dials(&["web.shop.svc:80"], "web.shop.svc", 81, "10.1.2.3"));
        assert!(dials(&["10.1.0.0/16:80"], "10.1.2.3", 80, "10.1.2.3"));
        assert!(dials(&["10.1.0.0/16"], "some.name", 80, "10.1.2.3"));
        assert!(!dials(&["10.1.0.0/16"], "some.name", 80, "10.2.2.3"));
        assert!(!dials(&["10.1.0.0/16:80", "10.2.0.0/16:81"], "10.1.2.3", 81, "10.1.2.3"));
        assert!(dials(&["[fd00:1::/64]:443"], "[fd00:1::5]", 443, "fd00:1::5"));
        assert!(!dials(&["fd00:1::/64"], "[fd00:2::5]", 443, "fd00:2::5"));
        assert!(!dials(&["web"], "10.1.2.3", 80, "10.1.2.3"), "an address is not allowed by a name that leads to it");
    }

    #[test]
    fn metadata_and_link_local_are_never_reached_also_by_names_and_other_spellings() {
        let entries = ["metadata.example", "168.63.0.0/16", "100.0.0.0/8", "fd00::/8", "2000::/3", "128.0.0.0/1"];
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::a9fe:a9fe",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "168.63.129.16",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(!dials(&entries, "metadata.example", 80, address), "{address}");
        }
        assert!(dials(&entries, "metadata.example", 80, "10.0.0.1"));
    }

    #[test]
    fn a_name_does_not_lead_to_this_machine_unless_it_says_so() {
        assert!(!dials(&["web.example"], "web.example", 80, "127.0.0.1"));
        assert!(!dials(&["web.example"], "web.example", 80, "::1"));
        assert!(dials(&["localhost:8080"], "localhost", 8080, "127.0.0.1"));
        assert!(dials(&["127.0.0.1/32", "web.example"], "web.example", 80, "127.0.0.1"));
    }

    #[test]
    fn what_is_no_entry_is_refused_with_an_example() {
        for odd in [
            "",
            "*",
            "a b",
            "web:0",
            "web:x",
            "10.0.0.0/33",
            "/8",
            "[::1",
            "[::1]x",
            "http://web",
            "0.0.0.0/0",
            "::/0",
            "169.254.0.0/16",
            "169.254.169.254",
            "127.1",
        ] {
            assert!(odd.parse::<Allow>().is_err(), "{odd:?}");
        }
    }
}
