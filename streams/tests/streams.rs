//! Both ends in one process, over links that end.

use std::time::Duration;

use bus_schema::message::stream::{RequestHead, ResponseHead};
use streams::{Budget, Code, Endpoint, Limits, Role, Stream, StreamError, loopback};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn pair(limits: Limits) -> (Endpoint, Endpoint) {
    (Endpoint::new(Role::Hub, limits), Endpoint::new(Role::Agent, limits))
}

fn small() -> Limits {
    Limits { first_window: 4 * 1024, window: 16 * 1024, credit_delay: 5, probe: 50, grace: 60_000, ..Limits::default() }
}

/// Links that live for a moment each, one after the other.
async fn bad_link(hub: Endpoint, agent: Endpoint, moment: Duration) {
    loop {
        let _ = timeout(moment, loopback::connect(&hub, &agent)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn opened(hub: &Endpoint, agent: &Endpoint) -> (Stream, Stream) {
    let mut client = hub.open().unwrap();
    client.write_head(&RequestHead { method: "GET".into(), path: "/".into(), ..RequestHead::default() }).await.unwrap();
    let mut server = agent.accept().await;
    assert_eq!(server.read_head::<RequestHead>().await.unwrap().path, "/");
    (client, server)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn both_directions_arrive_whole_although_the_link_ends_again_and_again() {
    let (hub, agent) = pair(small());
    let link = tokio::spawn(bad_link(hub.clone(), agent.clone(), Duration::from_millis(3)));
    let (client, server) = opened(&hub, &agent).await;
    let (up, down) = (bytes(400_000), bytes(300_000));
    let ((mut from_hub, mut to_hub), (mut from_agent, mut to_agent)) = (server.into_split(), client.into_split());
    let sent = async {
        to_agent.write_all(&down).await.unwrap();
        to_agent.shutdown().await.unwrap();
    };
    let answered = async {
        to_hub.write_all(&up).await.unwrap();
        to_hub.shutdown().await.unwrap();
    };
    let (mut got_down, mut got_up) = (Vec::new(), Vec::new());
    let all = async { tokio::join!(sent, answered, from_hub.read_to_end(&mut got_down), from_agent.read_to_end(&mut got_up)) };
    let (_, _, down_read, up_read) = timeout(SOON, all).await.unwrap();
    assert_eq!((down_read.unwrap(), up_read.unwrap()), (down.len(), up.len()));
    assert!(got_down == down && got_up == up);
    drop((from_hub, to_hub, from_agent, to_agent));
    nothing_left(&hub).await;
    nothing_left(&agent).await;
    link.abort();
}

async fn nothing_left(endpoint: &Endpoint) {
    let empty = async {
        while endpoint.counts() != streams::Counts::default() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, empty).await.unwrap_or_else(|_| panic!("left: {:?}", endpoint.counts()));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_stream_at_the_other_end() {
    let (hub, agent) = pair(small());
    let _link = tokio::spawn(bad_link(hub.clone(), agent.clone(), Duration::from_secs(60)));
    let (client, mut server) = opened(&hub, &agent).await;
    drop(client);
    let error = timeout(SOON, server.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(StreamError::of(&error).unwrap().code, Code::Cancelled);
    drop(server);
    nothing_left(&hub).await;
    nothing_left(&agent).await;
}

#[tokio::test]
async fn an_answer_that_was_written_arrives_although_its_writer_is_gone() {
    let (hub, agent) = pair(small());
    let _link = tokio::spawn(bad_link(hub.clone(), agent.clone(), Duration::from_millis(3)));
    let (mut client, mut server) = opened(&hub, &agent).await;
    server.write_head(&ResponseHead { status: 200, headers: Vec::new() }).await.unwrap();
    server.write_all(&bytes(12_000)).await.unwrap();
    server.shutdown().await.unwrap();
    drop(server);
    assert_eq!(timeout(SOON, client.read_head::<ResponseHead>()).await.unwrap().unwrap().status, 200);
    let mut body = Vec::new();
    timeout(SOON, client.read_to_end(&mut body)).await.unwrap().unwrap();
    assert!(body == bytes(12_000));
    drop(client);
    nothing_left(&hub).await;
    nothing_left(&agent).await;
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_back_the_writer_and_nobody_else() {
    let (hub, agent) = pair(small());
    let _link = tokio::spawn(bad_link(hub.clone(), agent.clone(), Duration::from_secs(60)));
    let (mut client, stuck) = opened(&hub, &agent).await;
    let flood = bytes(1 << 20);
    assert!(timeout(Duration::from_millis(300), client.write_all(&flood)).await.is_err(), "a megabyte went nowhere");
    assert!(hub.counts().buffered <= small().window as usize);
    let (mut other, mut served) = opened(&hub, &agent).await;
    other.write_all(b"echo").await.unwrap();
    let mut echo = [0; 4];
    timeout(SOON, served.read_exact(&mut echo)).await.unwrap().unwrap();
    assert_eq!(&echo, b"echo");
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_stays_away_ends_the_stream_after_the_grace_period() {
    let (hub, agent) = pair(Limits { grace: 90_000, ..small() });
    let link = tokio::spawn(bad_link(hub.clone(), agent.clone(), Duration::from_secs(3600)));
    let (mut client, mut server) = opened(&hub, &agent).await;
    link.abort();
    let began = tokio::time::Instant::now();
    for end in [&mut client, &mut server] {
        let error = end.read_u8().await.unwrap_err();
        assert_eq!(StreamError::of(&error).unwrap().code, Code::Lost);
    }
    let waited = began.elapsed();
    assert!((Duration::from_secs(90)..Duration::from_secs(92)).contains(&waited), "{waited:?}");
    drop((client, server));
    nothing_left(&hub).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_opened_just_after_the_link_has_gone_ends_after_the_grace_period() {
    let (hub, _agent) = pair(Limits { grace: 90_000, ..small() });
    hub.disconnected();
    let mut client = hub.open().unwrap();
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(StreamError::of(&error).unwrap().code, Code::Lost);
}

#[tokio::test]
async fn without_a_grace_period_a_stream_ends_with_its_link() {
    let (hub, agent) = pair(Limits { grace: 0, ..small() });
    let link = tokio::spawn(bad_link(hub.clone(), agent.clone(), Duration::from_secs(60)));
    let (mut client, _server) = opened(&hub, &agent).await;
    link.abort();
    let error = timeout(SOON, client.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(StreamError::of(&error).unwrap().code, Code::Lost);
}

#[tokio::test]
async fn when_all_links_together_hold_too_much_a_stream_goes_on_little_by_little() {
    let budget = Budget::new(10_000);
    let full = Endpoint::sharing(Role::Hub, small(), budget.clone());
    let mut waiting = full.open().unwrap();
    let written = timeout(Duration::from_millis(50), waiting.write_all(&bytes(100_000))).await;
    assert!(written.is_err() && budget.kept() >= 10_000, "{} bytes are kept of a link that is away", budget.kept());
    let (hub, agent) = (Endpoint::sharing(Role::Hub, small(), budget.clone()), Endpoint::new(Role::Agent, small()));
    let (one, other) = (hub.clone(), agent.clone());
    let link = tokio::spawn(async move { loopback::connect(&one, &other).await });
    let (mut client, mut server) = opened(&hub, &agent).await;
    let sent = bytes(200_000);
    let mut most = 0;
    let sending = async {
        for piece in sent.chunks(1_000) {
            client.write_all(piece).await.unwrap();
            most = most.max(hub.counts().buffered);
        }
        client.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (_, read) = tokio::join!(sending, timeout(SOON, server.read_to_end(&mut got)));
    assert!(read.is_ok() && got == sent, "{} of {} bytes came", got.len(), sent.len());
    assert!(most <= 4 * 1024, "{most} bytes were kept beyond the budget");
    link.abort();
    let _ = link.await;
    // A stream that waits for its link keeps what it has, as long as there is an end.
    drop((waiting, client, server, full, hub));
    assert_eq!((budget.kept(), budget.widened()), (0, 0));
}
