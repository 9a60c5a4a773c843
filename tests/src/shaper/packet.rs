//! The few fields of an IPv4 packet that a NAT reads and rewrites, checksums included, and the packet that resets a connection.

use std::net::Ipv4Addr;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const HEADER: usize = 20;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    pub protocol: u8,
    pub address: Ipv4Addr,
    /// TCP's or UDP's port; the identifier of an ICMP echo, which no NAT here changes.
    pub port: u16,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Source,
    Destination,
}

/// Reads one end; `None` of what is no whole IPv4 packet of TCP, UDP or ICMP echo.
pub fn end(packet: &[u8], which: Which) -> Option<End> {
    let body = body(packet)?;
    let protocol = packet[9];
    let at = match (protocol, which) {
        (TCP | UDP, Which::Source) => 0,
        (TCP | UDP, Which::Destination) => 2,
        // Echo request and reply.
        (ICMP, _) if matches!(packet.get(body), Some(0 | 8)) => 4,
        _ => return None,
    };
    let address = match which {
        Which::Source => SOURCE,
        Which::Destination => DESTINATION,
    };
    let address: [u8; 4] = packet.get(address..address + 4)?.try_into().ok()?;
    Some(End { protocol, address: address.into(), port: word(packet, body + at)? })
}

/// Puts another end in. Says nothing of what [`end`] could not read.
pub fn set_end(packet: &mut [u8], which: Which, to: End) {
    let (Some(body), Some(_)) = (body(packet), end(packet, which)) else { return };
    let (address, port) = match which {
        Which::Source => (SOURCE, body),
        Which::Destination => (DESTINATION, body + 2),
    };
    let checksum = match to.protocol {
        TCP => Some(body + 16),
        // Zero says that there is none.
        UDP if word(packet, body + 6) != Some(0) => Some(body + 6),
        _ => None,
    };
    let octets = to.address.octets();
    for (at, new) in [(address, [octets[0], octets[1]]), (address + 2, [octets[2], octets[3]])] {
        // The address is also in what TCP and UDP sum.
        for sum in [Some(10), checksum].into_iter().flatten() {
            adjust(packet, sum, at, u16::from_be_bytes(new));
        }
        packet[at..at + 2].copy_from_slice(&new);
    }
    if to.protocol != ICMP {
        if let Some(sum) = checksum {
            adjust(packet, sum, port, to.port);
        }
        packet[port..port + 2].copy_from_slice(&to.port.to_be_bytes());
    }
}

/// Whether a TCP packet begins a connection.
pub fn begins(packet: &[u8]) -> bool {
    flags(packet).is_some_and(|flags| flags & (SYN | ACK) == SYN)
}

/// The next byte that the sender of a TCP packet waits for.
pub fn acknowledged(packet: &[u8]) -> Option<u32> {
    let body = body(packet).filter(|_| flags(packet).is_some_and(|flags| flags & ACK != 0))?;
    Some(u32::from_be_bytes(packet.get(body + 8..body + 12)?.try_into().ok()?))
}

fn flags(packet: &[u8]) -> Option<u8> {
    let body = body(packet).filter(|_| packet[9] == TCP)?;
    packet.get(body + 13).copied()
}

/// A TCP reset that stands at this byte of what `from` sends.
pub fn reset(from: End, to: End, sequence: u32) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 2 * HEADER as u8, 0, 0, 0x40, 0, 64, TCP, 0, 0];
    packet.extend(from.address.octets());
    packet.extend(to.address.octets());
    let header = sum(&packet, 0);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    packet.extend(from.port.to_be_bytes());
    packet.extend(to.port.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    // Nothing acknowledged, five words of header, no window, no checksum yet.
    packet.extend([0, 0, 0, 0, 0x50, RST, 0, 0, 0, 0, 0, 0]);
    let checksum = sum(&packet[HEADER..], pseudo(&packet, HEADER));
    packet[HEADER + 16..HEADER + 18].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// What TCP and UDP sum beside their own bytes.
fn pseudo(packet: &[u8], body: usize) -> u32 {
    let words = packet[SOURCE..HEADER].chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
    words.sum::<u32>() + u32::from(packet[9]) + u32::try_from(body).unwrap_or_default()
}

fn sum(bytes: &[u8], start: u32) -> u16 {
    let words = bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)])));
    !folded(start + words.sum::<u32>())
}

fn folded(mut total: u32) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

/// Where the body begins; `None` of fragments, whose ports are elsewhere.
fn body(packet: &[u8]) -> Option<usize> {
    let header = usize::from(*packet.first()? & 0x0f) * 4;
    let is_first = word(packet, 6)? & 0x3fff == 0;
    (packet[0] >> 4 == 4 && header >= 20 && is_first && packet.len() >= header + 8).then_some(header)
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

/// Corrects the checksum at `sum` for a word that will change (RFC 1624).
fn adjust(packet: &mut [u8], sum: usize, at: usize, new: u16) {
    let (Some(checksum), Some(old)) = (word(packet, sum), word(packet, at)) else { return };
    let checksum = !folded(u32::from(!checksum) + u32::from(!old) + u32::from(new));
    packet[sum..sum + 2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A packet with right checksums and a few bytes of payload.
    pub fn packet(protocol: u8, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), flags: u8) -> Vec<u8> {
        let mut body = vec![0; if protocol == TCP { 20 } else { 8 }];
        if protocol == ICMP {
            body[0] = 8;
            body[4..6].copy_from_slice(&from.1.to_be_bytes());
        } else {
            body[..2].copy_from_slice(&from.1.to_be_bytes());
            body[2..4].copy_from_slice(&to.1.to_be_bytes());
        }
        if protocol == TCP {
            body[13] = flags;
        }
        body.extend(b"hello");
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        packet.extend(from.0.octets());
        packet.extend(to.0.octets());
        let header = sum(&packet, 0);
        packet[10..12].copy_from_slice(&header.to_be_bytes());
        if let Some(at) = match protocol {
            TCP => Some(16),
            UDP => Some(6),
            _ => None,
        } {
            let pseudo = pseudo(&packet, body.len());
            let checksum = sum(&body, pseudo);
            body[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        packet.extend(body);
        packet
    }

    /// Whether all checksums are right.
    pub fn is_sound(packet: &[u8]) -> bool {
        let body = &packet[20..];
        let inner = packet[9] == ICMP || sum(body, pseudo(packet, body.len())) == 0;
        sum(&packet[..20], 0) == 0 && inner
    }

    #[test]
    fn a_rewritten_packet_has_the_new_ends_and_right_checksums() {
        let (site, hub) = (Ipv4Addr::new(100, 64, 0, 2), Ipv4Addr::new(100, 64, 0, 1));
        for protocol in [TCP, UDP, ICMP] {
            let mut packet = packet(protocol, (site, 40_000), (hub, 8443), 0x10);
            assert!(is_sound(&packet), "{protocol}");
            let to = End { protocol, address: Ipv4Addr::new(203, 0, 113, 255), port: if protocol == ICMP { 40_000 } else { 65_535 } };
            set_end(&mut packet, Which::Source, to);
            assert_eq!(end(&packet, Which::Source), Some(to));
            assert!(is_sound(&packet), "{protocol}");
            let back = End { protocol, address: site, port: to.port };
            set_end(&mut packet, Which::Destination, back);
            assert!(is_sound(&packet) && end(&packet, Which::Destination) == Some(back), "{protocol}");
        }
    }

    #[test]
    fn the_first_packet_of_a_connection_is_told_from_the_others() {
        let ends = ((Ipv4Addr::LOCALHOST, 1), (Ipv4Addr::LOCALHOST, 2));
        let is_first = |flags| begins(&packet(TCP, ends.0, ends.1, flags));
        assert!(is_first(0x02) && !is_first(0x12) && !is_first(0x10));
        assert!(!begins(&packet(UDP, ends.0, ends.1, 0)));
    }

    #[test]
    fn what_is_no_such_packet_has_no_ends() {
        let whole = packet(TCP, (Ipv4Addr::LOCALHOST, 1), (Ipv4Addr::LOCALHOST, 2), 0);
        let mut fragment = whole.clone();
        fragment[7] = 1;
        for odd in [&b""[..], &[0x60; 60], &whole[..20], &fragment] {
            assert_eq!(end(odd, Which::Source), None);
        }
    }
}
