//! What a hostile client may send, and the code that it gets; `tests/tests/gateway_oracle.rs` sends the same to a real kube-apiserver.

mod gateway_support;
#[path = "../../tests/src/hostile_http.rs"]
#[allow(dead_code, reason = "the codes of kube-apiserver are for the other test")]
mod hostile_http;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway_support::{ADMIN, bearer, echo, with_cluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_request_gets_its_code_and_the_next_one_is_served() {
    let (gate, link) = with_cluster().await;
    link.perform(echo);
    let mut wrong = Vec::new();
    for case in hostile_http::cases("/clusters/shop-1", ADMIN) {
        let code = gate.raw(&case.bytes).await.code;
        if code != case.gateway {
            wrong.push(format!("{}: {code}, not {}", case.what, case.gateway));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(gate.get("/clusters/shop-1/version").await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_body_is_a_request_of_its_own_and_of_nobody() {
    let (gate, link) = with_cluster().await;
    let performed = Arc::new(AtomicUsize::new(0));
    let counter = performed.clone();
    link.perform(move |stream, head| {
        counter.fetch_add(1, Ordering::SeqCst);
        echo(stream, head)
    });
    let hidden = "GET /clusters/shop-1/secret HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let outer = format!("POST /clusters/shop-1/x HTTP/1.1\r\nHost: h\r\n{}\r\nContent-Length: 0\r\n\r\n{hidden}", bearer(ADMIN));
    let mut connection = gate.connect().await;
    connection.write_all(outer.as_bytes()).await.unwrap();
    let mut answers = String::new();
    connection.read_to_string(&mut answers).await.unwrap();
    let codes: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!((codes, performed.load(Ordering::SeqCst)), (vec!["200", "401"], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_header_is_dropped_and_delays_nobody() {
    let (gate, link) = with_cluster().await;
    link.perform(echo);
    let mut slow = gate.connect().await;
    slow.write_all(b"GET /clusters/shop-1/x HTTP/1.1\r\nHost: h\r\nX-Slow: ").await.unwrap();
    let mut trickling = gate.connect().await;
    let begun = std::time::Instant::now();
    let trickle = async {
        trickling.write_all(b"GET /clusters/shop-1/x HTTP/1.1\r\nHost: h\r\nX-Slow: ").await.unwrap();
        while trickling.write_all(b"x").await.is_ok() && trickling.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let mut rest = Vec::new();
    let both = async { tokio::join!(trickle, slow.read_to_end(&mut rest)) };
    let ((), _) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("both are dropped");
    assert!(begun.elapsed() >= Duration::from_secs(20), "sooner than a slow link would need");
    assert_eq!(gate.get("/clusters/shop-1/version").await.code, 200);
}
