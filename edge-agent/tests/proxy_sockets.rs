//! The performer against plain servers that do what an API server rarely does: break off, switch protocols, stay silent, send without end.

#[path = "support/bridge.rs"]
mod bridge;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bridge::{Bridge, header, request};
use bus_schema::message::stream::request_head::Identity;
use bus_schema::message::stream::{RequestHead, ResponseHead, Target};
use edge_agent::proxy::Settings;
use streams::{Code, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(20);

/// A server at a free port of loopback whose connections are served by `serve`.
async fn server<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    port
}

/// Reads a request's head.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A server that gives every request this answer, and tells the heads that it was sent.
async fn answering(answer: &'static str) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (sender, heads) = tokio::sync::mpsc::unbounded_channel();
    let port = server(move |mut socket| {
        let sender = sender.clone();
        async move {
            loop {
                let head = head(&mut socket).await;
                if head.is_empty() || sender.send(head).is_err() {
                    return;
                }
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (port, heads)
}

async fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn upgrade(path: &str) -> RequestHead {
    RequestHead { upgrade: "SPDY/3.1".into(), ..request("POST", path) }
}

fn token(head: RequestHead) -> RequestHead {
    RequestHead { identity: Some(Identity::Token("callers-token".into())), ..head }
}

fn beside(target: Target, authority: String) -> RequestHead {
    RequestHead { target: target.into(), authority, ..request("GET", "/path?query") }
}

fn allow(entries: &[&str]) -> Settings {
    Settings { allow: entries.iter().map(|entry| entry.parse().unwrap()).collect(), ..Settings::default() }
}

fn stream_error(error: &std::io::Error) -> &StreamError {
    StreamError::of(error).unwrap_or_else(|| panic!("another error: {error}"))
}

#[tokio::test]
async fn after_a_switch_bytes_pass_both_ways_and_each_way_ends_alone() {
    let port = server(|mut socket| async move {
        let head = head(&mut socket).await;
        assert!(
            head.starts_with("POST /exec?command=sh HTTP/1.1\r\n") && head.contains("connection: Upgrade\r\nupgrade: SPDY/3.1\r\n"),
            "{head}"
        );
        // The first bytes come together with the head.
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4\r\n\r\nearly ";
        socket.write_all(switch.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).await.unwrap();
        socket.write_all(&heard).await.unwrap();
    })
    .await;
    let bridge = Bridge::to_port(port, Settings::default());
    let mut stream = bridge.hub.open().unwrap();
    stream.write_head(&upgrade("/exec?command=sh")).await.unwrap();
    let answer: ResponseHead = stream.read_head().await.unwrap();
    let names: Vec<&str> = answer.headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!((answer.status, names), (101, vec!["upgrade", "x-stream-protocol-version"]));
    let mut early = [0; 6];
    stream.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early ");
    let sent = vec![7; 1 << 20];
    let (mut reader, mut writer) = stream.into_split();
    let (_, heard) = tokio::join!(
        async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        },
        async {
            let mut heard = Vec::new();
            reader.read_to_end(&mut heard).await.unwrap();
            heard
        }
    );
    assert!(heard == sent, "{} of {} bytes came back", heard.len(), sent.len());
    wait_for("the stream is not gone", || bridge.agent.counts().handles == 0).await;
}

#[tokio::test]
async fn what_a_server_said_before_it_went_arrives_although_more_is_sent_to_it() {
    const SAID: usize = 200_000;
    let port = server(|mut socket| async move {
        head(&mut socket).await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
        socket.write_all(switch.as_bytes()).await.unwrap();
        socket.write_all(&vec![7; SAID]).await.unwrap();
    })
    .await;
    let bridge = Bridge::to_port(port, Settings::default());
    let mut stream = bridge.hub.open().unwrap();
    stream.write_head(&upgrade("/exec")).await.unwrap();
    let first = streams::Limits::default().first_window as usize;
    wait_for("the agent keeps the rest", || bridge.agent.counts().buffered >= SAID - first).await;
    // The first is answered with a reset, after which nothing more can be written.
    for _ in 0..5 {
        stream.write_all(b"ping").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stream.read_head::<ResponseHead>().await.unwrap().status, 101);
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard.len(), SAID);
}

#[tokio::test]
async fn a_switch_that_is_refused_is_an_ordinary_answer() {
    let (port, _heads) = answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno!!\n").await;
    let bridge = Bridge::to_port(port, Settings::default());
    let (code, answer) = bridge.ask(&upgrade("/exec"), b"").await;
    assert_eq!((code, answer.as_slice()), (403, &b"no!!\n"[..]));
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_no_answer() {
    let (port, _heads) = answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    let bridge = Bridge::to_port(port, Settings::default());
    assert_eq!(bridge.ask(&request("GET", "/"), b"").await.0, 502);
}

#[tokio::test]
async fn connections_are_used_again_one_after_the_other() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let port = server(move |mut socket| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            while !head(&mut socket).await.is_empty() {
                socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let bridge = Bridge::to_port(port, Settings::default());
    for _ in 0..10 {
        assert_eq!(bridge.ask(&request("GET", "/"), b"").await, (200, b"ok".to_vec()));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    // A caller's token never travels where the agent's credentials did.
    assert_eq!(bridge.ask(&token(request("GET", "/")), b"").await.0, 200);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_used_again() {
    let (port, _heads) = answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    let bridge = Bridge::to_port(port, Settings::default());
    for _ in 0..10 {
        assert_eq!(bridge.ask(&request("GET", "/"), b"").await.0, 200);
    }
}

#[tokio::test]
async fn headers_of_the_servers_connection_stay_there() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: ä\r\nContent-Length: 2\r\n\r\nok";
    let (port, mut heads) = answering(answer).await;
    let bridge = Bridge::to_port(port, Settings::default());
    let asked =
        RequestHead { headers: vec![header("Accept", "a/b"), header("Expect", "100-continue")], ..request("GET", "/a/%2F..?b=%20") };
    let mut stream = bridge.send(&asked, b"").await;
    let answer: ResponseHead = stream.read_head().await.unwrap();
    assert_eq!(answer.headers.iter().map(|header| header.name.as_str()).collect::<Vec<_>>(), ["x-kept", "content-length"]);
    let head = heads.recv().await.unwrap();
    let expected = format!(
        "GET /a/%2F..?b=%20 HTTP/1.1\r\naccept: a/b\r\nhost: 127.0.0.1:{port}\r\nimpersonate-user: hub:ann\r\nimpersonate-group: hub:ops\r\n\r\n"
    );
    assert_eq!(head, expected);
}

#[tokio::test]
async fn a_server_that_is_away_or_no_server_is_said_in_words() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let (code, answer) = Bridge::to_port(port, Settings::default()).ask(&request("GET", "/"), b"").await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(code == 503 && answer.contains("can't be reached at 127.0.0.1") && answer.contains("ServiceUnavailable"), "{code} {answer}");

    let (port, _heads) = answering("SSH-2.0-OpenSSH_9.2\r\n").await;
    let (code, answer) = Bridge::to_port(port, Settings::default()).ask(&request("POST", "/"), b"body").await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(code == 502 && answer.contains("not known"), "{code} {answer}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_answer() {
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"]
    {
        let port = server(move |mut socket| async move {
            head(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let bridge = Bridge::to_port(port, Settings::default());
        let mut stream = bridge.send(&request("GET", "/"), b"").await;
        assert_eq!(stream.read_head::<ResponseHead>().await.unwrap().status, 200);
        let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(stream_error(&error).code, Code::Failed, "{error}");
        assert!(error.to_string().contains("broke off"), "{error}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_reaches_no_server_as_a_whole() {
    let whole = Arc::new(AtomicUsize::new(0));
    let seen = whole.clone();
    let port = server(move |mut socket| {
        let seen = seen.clone();
        async move {
            head(&mut socket).await;
            if socket.read_exact(&mut [0; 10]).await.is_ok() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let bridge = Bridge::to_port(port, Settings::default());
    let announced = RequestHead { headers: vec![header("content-length", "10")], ..request("POST", "/") };
    for body in [&b"short"[..], b"much too long"] {
        let (code, answer) = bridge.ask(&announced, body).await;
        assert!(code == 400 || code == 502, "{code} {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(whole.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_before_the_request_is_whole_passes_and_the_rest_is_dropped() {
    let (port, _heads) = answering("HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n").await;
    let bridge = Bridge::to_port(port, Settings::default());
    let (code, answer) = bridge.ask(&request("POST", "/"), &vec![0; 4 << 20]).await;
    assert_eq!((code, answer.as_slice()), (413, &b"no\n"[..]));
    wait_for("the stream is not gone", || bridge.agent.counts().handles == 0).await;
}

/// A server that counts who is connected, answers as told and says no more.
async fn silent(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let connected = Arc::new(AtomicUsize::new(0));
    let count = connected.clone();
    let port = server(move |mut socket| {
        let count = count.clone();
        async move {
            head(&mut socket).await;
            count.fetch_add(1, Ordering::SeqCst);
            socket.write_all(answer.as_bytes()).await.unwrap();
            // Until the other side closes.
            while socket.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            count.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    (port, connected)
}

#[tokio::test]
async fn what_the_hub_ends_is_dropped_at_once_at_every_stage() {
    let watch = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
    for (answer, head, half_closed) in [
        ("", request("GET", "/"), true),
        ("", request("POST", "/"), false),
        ("", upgrade("/"), false),
        (watch, request("GET", "/"), true),
        (switch, upgrade("/"), false),
    ] {
        let (port, connected) = silent(answer).await;
        let bridge = Bridge::to_port(port, Settings::default());
        let mut stream = bridge.hub.open().unwrap();
        stream.write_head(&head).await.unwrap();
        if half_closed {
            stream.shutdown().await.unwrap();
        } else if head.upgrade.is_empty() {
            stream.write_all(b"a part").await.unwrap();
        }
        let case = format!("{} {} {half_closed}", head.method, answer.lines().next().unwrap_or("silence"));
        wait_for(&format!("{case}: the server is not asked"), || connected.load(Ordering::SeqCst) == 1).await;
        if !answer.is_empty() {
            stream.read_head::<ResponseHead>().await.unwrap();
        }
        drop(stream);
        wait_for(&format!("{case}: the server's connection stays"), || connected.load(Ordering::SeqCst) == 0).await;
        wait_for(&format!("{case}: the stream stays"), || bridge.agent.counts().streams == 0 && bridge.agent.counts().handles == 0).await;
    }
}

#[tokio::test]
async fn a_hub_that_does_not_read_holds_the_server_back() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let port = server(move |mut socket| {
        let count = count.clone();
        async move {
            head(&mut socket).await;
            let _ = socket2::SockRef::from(&socket).set_send_buffer_size(64 << 10);
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await.unwrap();
            while let Ok(written) = socket.write(&[0; 16 << 10]).await {
                count.fetch_add(written, Ordering::SeqCst);
            }
        }
    })
    .await;
    let bridge = Bridge::to_port(port, Settings::default());
    let mut stream = bridge.send(&request("GET", "/"), b"").await;
    stream.read_head::<ResponseHead>().await.unwrap();
    let count = || sent.load(Ordering::SeqCst);
    // It stands still when nothing more was taken for a second; kernel and stream hold a few MB.
    let (mut before, deadline) = (0, Instant::now() + SOON);
    while before == 0 || before != count() {
        assert!(Instant::now() < deadline, "{} bytes and no end", count());
        before = count();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(before < 16 << 20, "{before} bytes for a hub that reads nothing");
    stream.read_exact(&mut vec![0; 8 << 20]).await.unwrap();
    wait_for("the server is not asked on", || count() > before).await;
}

#[tokio::test]
async fn more_requests_at_once_than_allowed_are_refused_and_room_comes_back() {
    let (port, connected) = silent("").await;
    let bridge = Bridge::to_port(port, Settings { at_once: 2, ..Settings::default() });
    let first = bridge.send(&request("GET", "/"), b"").await;
    let _second = bridge.send(&request("GET", "/"), b"").await;
    wait_for("the server is not asked", || connected.load(Ordering::SeqCst) == 2).await;
    let mut third = bridge.hub.open().unwrap();
    third.write_head(&request("GET", "/")).await.unwrap();
    let error = third.read_head::<ResponseHead>().await.unwrap_err();
    assert_eq!(stream_error(&error).code, Code::Refused, "{error}");
    drop(first);
    wait_for("there is no room", || connected.load(Ordering::SeqCst) == 1).await;
    let _fourth = bridge.send(&request("GET", "/"), b"").await;
    wait_for("there is no room", || connected.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn a_stream_that_says_no_request_is_reset() {
    let bridge = Bridge::to_port(1, Settings::default());
    let mut stream = bridge.hub.open().unwrap();
    stream.write_all(&[0xff; 64]).await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(stream_error(&error).code, Code::Protocol, "{error}");
}

#[tokio::test]
async fn nothing_beside_the_api_server_is_reached_unless_it_is_allowed() {
    let (port, mut heads) = answering("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\nok").await;
    let asked = || beside(Target::Http, format!("127.0.0.1:{port}"));
    for entries in [&[][..], &["localhost"], &["127.0.0.1:1"], &["10.0.0.0/8"]] {
        let (code, answer) = Bridge::to_port(1, allow(entries)).ask(&asked(), b"").await;
        assert!(code == 403 && String::from_utf8_lossy(&answer).contains("--proxy-allow"), "{entries:?}: {code}");
    }
    assert!(heads.try_recv().is_err(), "the server was asked");
    // What is allowed is asked with the caller's own credentials or none, and its redirection is not followed.
    let bridge = Bridge::to_port(1, allow(&["127.0.0.0/8", "localhost"]));
    assert_eq!(bridge.ask(&asked(), b"").await.0, 302);
    assert_eq!(heads.recv().await.unwrap(), format!("GET /path?query HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n"));
    let named = beside(Target::Http, format!("localhost:{port}"));
    assert_eq!(bridge.ask(&token(named), b"").await.0, 302);
    let head = heads.recv().await.unwrap();
    assert!(head.contains("authorization: Bearer callers-token\r\n") && head.contains(&format!("host: localhost:{port}\r\n")), "{head}");
}

#[tokio::test]
async fn https_servers_are_verified_by_the_ca_that_was_given_and_by_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let (port, ca) = https_server(folder.path()).await;
    let trusting = |ca: Option<PathBuf>| Bridge::to_port(1, Settings { ca, ..allow(&["127.0.0.0/8", "localhost"]) });
    let asked = |host: &str| beside(Target::Https, format!("{host}:{port}"));
    assert_eq!(trusting(Some(ca.clone())).ask(&asked("localhost"), b"").await, (200, b"ok".to_vec()));
    // Another name than the certificate's, and another CA.
    for (ca, host) in [(Some(ca), "127.0.0.1"), (None, "localhost")] {
        let (code, answer) = trusting(ca).ask(&asked(host), b"").await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(code == 502 && answer.contains("not trusted"), "{host}: {code} {answer}");
    }
}

/// A TLS server for `localhost` with a CA of its own.
async fn https_server(folder: &std::path::Path) -> (u16, PathBuf) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut params, key) = (rcgen::CertificateParams::default(), rcgen::KeyPair::generate().unwrap());
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = folder.join("ca.crt");
    std::fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let own = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let port = server(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(socket).await else { return };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    (port, ca)
}
