//! Upgraded connections through the gateway: bytes both ways with half-close, pings of WebSockets answered while the link is cut.

mod gateway_support;

use std::time::Duration;

use bus_schema::message::stream::RequestHead;
use gateway_support::{Gate, PATIENCE, answer, until, with_cluster};
use streams::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

/// Asks for an upgrade; the connection behind the answer's head.
async fn upgraded(gate: &Gate, protocol: &str, further: &str) -> (String, TlsStream<TcpStream>) {
    let mut connection = gate.connect().await;
    let head = format!(
        "POST /clusters/shop-1/exec?command=sh HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer admin-token\r\nContent-Length: 0\r\n\
         Connection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n{further}\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        got.push(tokio::time::timeout(PATIENCE, connection.read_u8()).await.expect("an answer").expect("a whole head"));
    }
    (String::from_utf8(got).unwrap().to_ascii_lowercase(), connection)
}

async fn read(connection: &mut TlsStream<TcpStream>, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    tokio::time::timeout(PATIENCE, connection.read_exact(&mut bytes)).await.expect("in time").expect("bytes");
    bytes
}

/// Says yes, and sends back what comes, until its end; then `bye` and the end.
async fn echo(mut stream: Stream, head: RequestHead) {
    let accepted = [("sec-websocket-accept", "yes"), ("x-stream-protocol-version", "v4.channel.k8s.io"), ("upgrade", "mine")];
    assert_eq!((head.upgrade.is_empty(), head.path.as_str()), (false, "/exec?command=sh"));
    stream.write_head(&answer(101, &accepted)).await.unwrap();
    let mut bytes = vec![0; 1000];
    loop {
        match stream.read(&mut bytes).await {
            Ok(0) => break,
            Ok(count) => stream.write_all(&bytes[..count]).await.unwrap(),
            Err(_) => return,
        }
    }
    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1_u8, 2, 3, 4];
    let body = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [first, 0x80 | payload.len() as u8].into_iter().chain(mask).chain(body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spdy_is_bytes_both_ways_until_each_side_has_ended() {
    let (gate, link) = with_cluster().await;
    link.perform(echo);
    let (head, mut connection) = upgraded(&gate, "SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n").await;
    assert!(head.starts_with("http/1.1 101 ") && head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: spdy/3.1\r\n") && head.contains("\r\nx-stream-protocol-version: v4.channel.k8s.io\r\n"), "{head}");
    let ping = masked(0x89, b"no frame here");
    connection.write_all(&ping).await.unwrap();
    assert_eq!(read(&mut connection, ping.len()).await, ping);
    connection.shutdown().await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, connection.read_to_end(&mut rest)).await.expect("an end").unwrap();
    assert_eq!(rest, b"bye");
    until("nothing is left", || link.hub.counts().handles == 0).await;
    let line = gate.audit(1).await.remove(0);
    assert_eq!(
        (&line["verb"], &line["code"], &line["bytesUp"], &line["stage"]),
        (&"connect".into(), &101.into(), &ping.len().into(), &"complete".into())
    );
    assert_eq!(line["command"], serde_json::json!(["sh"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_of_websockets_are_answered_here_also_while_the_link_is_cut() {
    let (gate, mut link) = with_cluster().await;
    link.perform(echo);
    let (head, mut connection) = upgraded(&gate, "websocket", "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n").await;
    assert!(head.contains("\r\nsec-websocket-accept: yes\r\n") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    let text = masked(0x82, b"\x00typed");
    connection.write_all(&[masked(0x89, b"one"), text.clone()].concat()).await.unwrap();
    let (pong, echoed) = ([&[0x8a, 3][..], b"one"].concat(), text.clone());
    let got = read(&mut connection, pong.len() + echoed.len()).await;
    // The echo is no frame of a server, so where the pong stands is not asked here.
    assert!(got.windows(pong.len()).any(|window| window == pong), "{got:?}");
    link.cut().await;
    for number in 0..3 {
        connection.write_all(&masked(0x89, &[number])).await.unwrap();
        assert_eq!(read(&mut connection, 3).await, [0x8a, 1, number]);
    }
    connection.write_all(&text).await.unwrap();
    link.up().await;
    assert_eq!(read(&mut connection, text.len()).await, text, "what was typed during the cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_an_upgrade_that_is_none_passes() {
    let (gate, link) = with_cluster().await;
    link.perform(|mut stream, _| async move {
        stream.write_head(&answer(403, &[("content-length", "4")])).await.unwrap();
        stream.write_all(b"nope").await.unwrap();
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0, "the client's side is ended, too");
        stream.shutdown().await.unwrap();
    });
    let (head, mut connection) = upgraded(&gate, "websocket", "").await;
    assert!(head.starts_with("http/1.1 403 ") && !head.contains("upgrade"), "{head}");
    assert_eq!(read(&mut connection, 4).await, b"nope");
    until("nothing is left", || link.hub.counts().handles == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_not_carried_is_an_ordinary_request() {
    let (gate, link) = with_cluster().await;
    link.perform(|mut stream, head| async move {
        assert_eq!(head.upgrade, "");
        stream.write_head(&answer(200, &[("content-length", "0")])).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let (head, _connection) = upgraded(&gate, "h2c", "").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_goes_away_takes_the_other_along() {
    let (gate, link) = with_cluster().await;
    let (sender, mut ended) = mpsc::channel(4);
    link.perform(move |mut stream, head| {
        let sender = sender.clone();
        async move {
            stream.write_head(&answer(101, &[])).await.unwrap();
            let mut rest = Vec::new();
            if head.upgrade == "websocket" {
                let broken = stream.read_to_end(&mut rest).await;
                sender.send(broken.is_err()).await.unwrap();
            } else {
                assert_eq!(stream.read_u8().await.unwrap(), b'!');
                stream.reset(streams::Code::Failed, "the API server went away");
            }
        }
    });
    let (_, connection) = upgraded(&gate, "websocket", "").await;
    drop(connection);
    assert_eq!(tokio::time::timeout(PATIENCE, ended.recv()).await.expect("the agent is told"), Some(true));
    let (_, mut connection) = upgraded(&gate, "SPDY/3.1", "").await;
    connection.write_all(b"!").await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await.expect("an end");
    assert!(end.is_err() || rest.is_empty());
    until("nothing is left", || link.hub.counts().handles == 0).await;
}
