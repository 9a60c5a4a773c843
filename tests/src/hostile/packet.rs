//! MQTT 3.1.1 packets as far as a broker in between has to know them: where one ends, and topic and payload of a PUBLISH of QoS 0.

use std::io::{self, ErrorKind, Read};

/// The most that a remaining length says.
const LENGTH_BYTES: usize = 4;
/// PUBLISH without flags: QoS 0, not retained, not a duplicate.
const PUBLISH: u8 = 0x30;

/// A PUBLISH of QoS 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
}

/// Reads one packet whole.
pub fn read(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 2];
    from.read_exact(&mut packet)?;
    while packet.last().is_some_and(|byte| byte & 0x80 != 0) {
        if packet.len() > LENGTH_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut next = [0];
        from.read_exact(&mut next)?;
        packet.push(next[0]);
    }
    let length = packet[1..].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    let head = packet.len();
    packet.resize(head + length, 0);
    from.read_exact(&mut packet[head..])?;
    Ok(packet)
}

impl Publish<'_> {
    /// What a whole packet publishes; none when it is another kind of packet.
    pub fn parse(packet: &[u8]) -> Option<Publish<'_>> {
        let body = packet.iter().skip(1).position(|byte| byte & 0x80 == 0).map(|last| &packet[last + 2..])?;
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (topic, payload) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let topic = std::str::from_utf8(topic).ok()?;
        (packet[0] == PUBLISH).then_some(Publish { topic, payload })
    }
}

/// The packet that publishes a payload.
pub fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let (mut packet, mut left) = (vec![PUBLISH], 2 + topic.len() + payload.len());
    loop {
        let more = if left > 0x7f { 0x80 } else { 0 };
        packet.push((left & 0x7f) as u8 | more);
        left >>= 7;
        if more == 0 {
            break;
        }
    }
    packet.extend((topic.len() as u16).to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend(payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read_again() {
        for length in [0, 1, 100, 127, 128, 16_383, 70_000] {
            let (payload, topic) = (vec![7; length], "cn1/abcd2345/u/m");
            let packet = publish(topic, &payload);
            let stream = [&packet[..], &[0xc0, 0]].concat();
            let mut stream = &stream[..];
            assert_eq!(read(&mut stream).unwrap(), packet, "{length}");
            assert_eq!(Publish::parse(&packet), Some(Publish { topic, payload: &payload }));
            assert_eq!(read(&mut stream).unwrap(), [0xc0, 0], "PINGREQ");
        }
        assert_eq!(Publish::parse(&[0xc0, 0]), None);
        assert!(read(&mut &[0x30, 0xff, 0xff, 0xff, 0xff, 1][..]).is_err() && read(&mut &[0x30, 5, 0][..]).is_err());
    }
}
