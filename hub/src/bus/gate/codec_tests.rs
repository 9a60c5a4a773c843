use super::*;

async fn read(bytes: &[u8]) -> Result<Incoming, ReadError> {
    PacketReader::new(bytes, 1024, Duration::from_secs(5)).next().await
}

fn publish(qos: u8, topic: &str, pkid: Option<u16>) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(pkid.map(u16::to_be_bytes).into_iter().flatten());
    body.extend(b"payload");
    [vec![0x30 | qos << 1, body.len() as u8], body].concat()
}

#[tokio::test]
async fn a_publish_keeps_its_qos_and_packet_id() {
    for (qos, pkid) in [(0, None), (1, Some(513)), (2, Some(7))] {
        let incoming = read(&publish(qos, "a/b", pkid)).await.unwrap();
        assert_eq!((incoming.qos, incoming.pkid), (qos, pkid.unwrap_or(0)));
        assert!(matches!(incoming.packet, Packet::Publish(publish, _) if publish.payload == "payload" && publish.topic == "a/b"));
    }
}

#[tokio::test]
async fn what_mqtt_forbids_is_malformed() {
    let cases: [(&str, Vec<u8>); 10] = [
        ("packet id 0", publish(1, "a", Some(0))),
        ("QoS 3", publish(3, "a", Some(1))),
        ("wildcard in a topic", publish(0, "a/+", None)),
        ("empty topic", publish(0, "", None)),
        ("NUL in a topic", publish(0, "a\0", None)),
        ("SUBSCRIBE without its flags", vec![0x80, 6, 0, 1, 0, 1, b'a', 0]),
        ("SUBSCRIBE with id 0", vec![0x82, 6, 0, 0, 0, 1, b'a', 0]),
        ("filter with # in the middle", vec![0x82, 10, 0, 1, 0, 5, b'a', b'/', b'#', b'/', b'b', 0]),
        ("packet type 15", vec![0xf0, 0]),
        ("topic longer than the packet", vec![0x30, 4, 0, 9, b'a', b'b']),
    ];
    for (what, bytes) in cases {
        assert!(matches!(read(&bytes).await, Err(ReadError::Malformed(_))), "{what}");
    }
}

#[tokio::test]
async fn an_oversized_packet_is_refused_by_its_header_alone() {
    assert!(matches!(read(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await, Err(ReadError::Malformed(_))));
    assert!(matches!(read(&[0x30, 0x80, 0x80, 0x80, 0x80, 1]).await, Err(ReadError::Malformed(_))));
}

#[tokio::test]
async fn no_bytes_make_the_codec_panic() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut packets = 0;
    for _ in 0..50_000 {
        let mut bytes = Vec::new();
        for _ in 0..random % 40 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes.push((random >> 32) as u8);
        }
        random = random.wrapping_add(0x9e37_79b9);
        if bytes.len() > 2 {
            // A length that fits reaches the packet's own reader.
            bytes[1] = (bytes.len() - 2) as u8;
        }
        packets += u32::from(read(&bytes).await.is_ok());
    }
    assert!(packets > 100, "the inputs hardly ever reached a whole packet: {packets}");
}

#[tokio::test]
async fn an_idle_reader_holds_a_small_buffer_again_after_a_large_packet() {
    let mut large = vec![0x30, 0x80, 0x40];
    large.extend([0, 1, b'a']);
    large.extend(vec![7; 0x2000 - 3]);
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let mut reader = PacketReader::new(far, 1 << 16, Duration::from_millis(50));
    tokio::io::AsyncWriteExt::write_all(&mut near, &large).await.unwrap();
    drop(reader.next().await.unwrap());
    assert!(matches!(reader.next().await, Err(ReadError::Silent)));
    tokio::io::AsyncWriteExt::write_all(&mut near, &[0xc0, 0]).await.unwrap();
    reader.next().await.unwrap();
    assert!(matches!(reader.next().await, Err(ReadError::Silent)));
    assert!(reader.buffer.capacity() <= 2 * IDLE_BUFFER, "{}", reader.buffer.capacity());
}

#[test]
fn filters_are_checked_level_by_level() {
    for good in ["a", "#", "+", "a/+/b", "a/#", "/", "a//b"] {
        assert!(is_filter(good), "{good}");
    }
    for bad in ["", "a/#/b", "a#", "a+", "#a", "a/b+", "a\0"] {
        assert!(!is_filter(bad), "{bad}");
    }
}
