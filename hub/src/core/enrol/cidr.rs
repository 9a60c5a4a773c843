//! Networks, as `10.0.0.0/8` or `fd00::/8`; a bare address is itself alone.

use std::net::IpAddr;

/// Whether a network holds an address; an IPv4 address seen through an IPv6 socket counts as IPv4.
pub fn contains(network: &str, address: IpAddr) -> bool {
    parse(network).is_some_and(|(base, bits)| {
        let (base, address) = (bytes(base), bytes(address.to_canonical()));
        base.len() == address.len() && (0..bits).all(|bit| bit_of(&base, bit) == bit_of(&address, bit))
    })
}

/// Address and length of a network; `None` when it is none.
pub fn parse(network: &str) -> Option<(IpAddr, usize)> {
    let (base, bits) = network.split_once('/').map_or((network, None), |(base, bits)| (base, Some(bits)));
    let base: IpAddr = base.parse().ok()?;
    let most = bytes(base).len() * 8;
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
    (bits <= most).then_some((base, bits))
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn bit_of(bytes: &[u8], bit: usize) -> bool {
    bytes[bit / 8] & (0x80 >> (bit % 8)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_like_it() {
        let holds = |network: &str, address: &str| contains(network, address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.1.2") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.168.5.128/25", "192.168.5.200") && !holds("192.168.5.128/25", "192.168.5.100"));
        assert!(holds("10.1.2.3", "10.1.2.3") && !holds("10.1.2.3", "10.1.2.4"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.1.1") && holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "10.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && holds("::/0", "fd00::1"));
    }

    #[test]
    fn what_is_no_network_is_none() {
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/x", "10.0.0.0/-1", "::/129"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
