//! Hundreds of streams at once in a mix (four of ten terminals, three watches, two logs that nobody reads, one half-sent body), ended at
//! either end and in the middle: streams, tasks and descriptors return.

mod gateway_support;

use std::time::Duration;

use bus_schema::message::stream::RequestHead;
use gateway_support::{Gate, Link, PATIENCE, answer, until, with_limits};
use streams::{Limits, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

const MANY: usize = 300;
/// Short, so that the test sees its end.
const GRACE: Duration = Duration::from_millis(1_500);

/// Between two events of a watch.
const EVENT: Duration = Duration::from_millis(200);

const AUTHORIZED: &str = "Host: h\r\nAuthorization: Bearer admin-token\r\n";

/// The agent's part, until `end` says that all is over.
async fn perform(mut stream: Stream, head: RequestHead, mut end: watch::Receiver<bool>) {
    let work = async {
        let code = if head.upgrade.is_empty() { 200 } else { 101 };
        stream.write_head(&answer(code, &[])).await?;
        stream.write_all(b"begun").await?;
        if head.path == "/logs" {
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        let mut chunk = [0; 1024];
        loop {
            match stream.read(&mut chunk).await? {
                // A watch, of which only what it says next can fail.
                0 => loop {
                    tokio::time::sleep(EVENT).await;
                    stream.write_all(b"event").await?;
                },
                count if code == 101 => stream.write_all(&chunk[..count]).await?,
                _ => {}
            }
        }
    };
    let _broken: std::io::Result<()> = tokio::select! {
        broken = work => broken,
        _ = end.wait_for(|end| *end) => Ok(()),
    };
}

/// Opens the stream of this number, and waits until it has begun.
async fn open(gate: &Gate, number: usize) -> TlsStream<TcpStream> {
    let request = match number % 10 {
        0..4 => format!("GET /clusters/shop-1/exec HTTP/1.1\r\n{AUTHORIZED}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"),
        4..7 => format!("GET /clusters/shop-1/watch?watch=true HTTP/1.1\r\n{AUTHORIZED}\r\n"),
        7..9 => format!("GET /clusters/shop-1/logs HTTP/1.1\r\n{AUTHORIZED}\r\n"),
        _ => format!("POST /clusters/shop-1/half HTTP/1.1\r\n{AUTHORIZED}Content-Length: 10\r\n\r\n12345"),
    };
    let mut connection = gate.connect().await;
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !got.windows(5).any(|window| window == b"begun") {
        let read = tokio::time::timeout(PATIENCE, connection.read_buf(&mut got)).await.expect("in time");
        assert!(read.expect("a connection") > 0, "{}", String::from_utf8_lossy(&got));
    }
    connection
}

async fn open_all(gate: &Gate) -> Vec<TlsStream<TcpStream>> {
    let mut all = Vec::new();
    for number in 0..MANY {
        all.push(open(gate, number).await);
    }
    all
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Tasks and descriptors, when nothing is under way.
fn now() -> (usize, usize) {
    (tokio::runtime::Handle::current().metrics().num_alive_tasks(), descriptors())
}

async fn returns(what: &str, link: &Link, before: (usize, usize)) {
    until(&format!("no stream is left after {what}"), || link.hub.counts().streams == 0 && link.hub.counts().handles == 0).await;
    let begun = std::time::Instant::now();
    while now().0 > before.0 || now().1 > before.1 {
        assert!(begun.elapsed() < PATIENCE, "after {what} there are {:?} tasks and descriptors, {before:?} before", now());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(link.hub.counts().buffered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_that_end_at_either_end_or_in_the_middle_leave_nothing() {
    let (gate, mut link) = with_limits(Limits { grace: GRACE.as_millis() as u64, ..Limits::default() }).await;
    let (end, ends) = watch::channel(false);
    link.perform(move |stream, head| perform(stream, head, ends.clone()));
    drop(open(&gate, 0).await);
    until("the first has gone", || link.hub.counts().handles == 0).await;
    let before = now();

    let all = open_all(&gate).await;
    assert_eq!(link.hub.counts().handles, MANY);
    drop(all);
    returns("the clients went", &link, before).await;

    let all = open_all(&gate).await;
    end.send_replace(true);
    let mut reading = JoinSet::new();
    all.into_iter().for_each(|mut connection| {
        reading.spawn(async move { tokio::time::timeout(PATIENCE, connection.read_to_end(&mut Vec::new())).await.map(drop) });
    });
    while let Some(ended) = reading.join_next().await {
        ended.expect("no panic").expect("every client is told");
    }
    end.send_replace(false);
    returns("the agent ended them", &link, before).await;

    let all = open_all(&gate).await;
    link.cut().await;
    until("the grace period has passed", || link.hub.counts().streams == 0).await;
    drop(all);
    returns("the link was lost", &link, before).await;
    link.up().await;
    drop(open(&gate, 0).await);
    assert!(gate.audit(3 * MANY).await.len() >= 3 * MANY, "each has a line");
}
