//! The gateway over real HTTPS connections and real streams, with the agent's end in the test's hands: who is let in, what crosses, what is
//! told of clusters that are away, and what ends when somebody goes.

mod gateway_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_support::{ADMIN, ID, PATIENCE, answer, bearer, echo, gate, until, with_cluster, with_limits};
use serde_json::{Value, json};
use streams::{Code, Limits, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const SOCKET: &str = "/apis/proxies.clusternet.io/v1alpha1/sockets/00000000-0000-4000-8000-000000000001/proxy";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_through_without_a_token_of_the_hub() {
    let (gate, link) = with_cluster().await;
    let performed = Arc::new(AtomicUsize::new(0));
    let counter = performed.clone();
    link.perform(move |stream, head| {
        counter.fetch_add(1, Ordering::SeqCst);
        echo(stream, head)
    });
    let expired = gate.user("old", &[], -1).await;
    let revoked = gate.user("gone", &[], 600).await;
    gate.revoke("gone").await;
    let basic = format!("Authorization: Basic {}", STANDARD.encode("system:anonymous:"));
    let pass = "Impersonate-Extra-Clusternet-Token: t";
    let others: [&[&str]; 8] = [
        &[],
        &["Authorization: Bearer nonsense"],
        &["Authorization: Basic system:anonymous", "Impersonate-User: clusternet", pass],
        &[&basic, "Impersonate-User: clusternet", pass],
        &[&bearer(&expired)],
        &[&bearer(&revoked)],
        &[&bearer("admin.x")],
        &[&bearer(ADMIN), "Authorization: Bearer nonsense"],
    ];
    for headers in others {
        for path in ["/clusters/shop-1/version", &format!("{SOCKET}/direct/version"), "/clusters/nowhere/version"] {
            let refused = gate.request("GET", path, headers, b"").await;
            assert_eq!(refused.code, 401, "{headers:?} {path}");
            assert!(refused.message().contains("Authorization: Bearer TOKEN"), "{}", refused.message());
        }
    }
    assert_eq!(performed.load(Ordering::SeqCst), 0);
    assert_eq!(std::fs::metadata(gate.folder.path().join("audit.log")).unwrap().len(), 0, "strangers leave no line");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_hub_name_and_hub_groups_on_members_and_nobody_on_the_hub() {
    let (gate, link) = with_cluster().await;
    link.perform(echo);
    let token = gate.user("anna", &["dev", "ops"], 600).await;
    let basic = format!("Authorization: Basic {}", STANDARD.encode(format!("system:anonymous:{token}")));
    for header in [bearer(&token), basic] {
        let told = gate.request("GET", "/clusters/shop-1/version", &[&header], b"").await;
        let told: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(told["identity"], json!(["hub:anna", ["hub:dev", "hub:ops"]]));
    }
    let admin: Value = serde_json::from_slice(&gate.get("/clusters/shop-1/version").await.body).unwrap();
    assert_eq!(admin["identity"], json!(["hub:admin", ["hub:admins"]]));
    for path in ["/api/v1/configmaps", "/apis/access.clusternet.io/v1alpha1/users", "/apis/clusters.clusternet.io/v1beta1/managedclusters"]
    {
        let refused = gate.request("GET", path, &[&bearer(&token)], b"").await;
        assert_eq!(refused.code, 403, "{path}");
    }
    assert_eq!(gate.request("GET", "/apis", &[&bearer(&token)], b"").await.code, 200, "discovery");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_crosses_byte_for_byte_but_for_its_hops() {
    let (gate, link) = with_cluster().await;
    link.perform(echo);
    let path = "/api/v1/namespaces/a//b%2Fc/../x?labelSelector=a%3Db&wait=30s&x";
    let headers =
        [&bearer(ADMIN), "Accept: application/json", "X-Forwarded-For: 1.1.1.1", "X-Remote-User: root", "X-Mine: 1", "Connection: X-Mine"];
    let told = gate.request("PATCH", &format!("/clusters/ns:shop-1{path}"), &headers, b"body").await;
    assert_eq!(told.code, 200, "{}", told.text());
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    let wanted = json!({
        "method": "PATCH", "target": 0, "authority": "", "upgrade": "", "impersonate": [], "body": "body",
        "path": "/api/v1/namespaces/a//b%2Fc/../x?labelSelector=a%3Db&x", "identity": told["identity"],
        "headers": [["content-length", "4"], ["accept", "application/json"]],
    });
    assert_eq!(told, wanted);
    let beside = gate.get(&format!("{SOCKET}/https/10.0.0.1:8443/x?y=z")).await;
    let beside: Value = serde_json::from_slice(&beside.body).unwrap();
    assert_eq!((&beside["target"], &beside["authority"], &beside["path"]), (&json!(1), &json!("10.0.0.1:8443"), &json!("/x?y=z")));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_a_member_pass_through_and_are_kept_nowhere() {
    let (gate, link) = with_cluster().await;
    link.perform(echo);
    let (token, pem) = ("pl4nted-t0ken", format!("-----BEGIN PRIVATE KEY-----{}", "pl4ntedkey".repeat(20)));
    let encoded = STANDARD.encode(&pem);
    let user = "Impersonate-User: clusternet";
    let extra = |name: &str, value: &str| format!("Impersonate-Extra-Clusternet-{name}: {value}");
    let by_token = [&bearer(ADMIN), user, &extra("Token", token), "Clusternet-Impersonate-User: bob"];
    let told = gate.request("GET", &format!("{SOCKET}/direct/api?token={token}"), &by_token, b"").await;
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!((&told["identity"], &told["impersonate"]), (&json!(token), &json!([["impersonate-user", "bob"]])));
    let by_key = [&bearer(ADMIN), user, &extra("Certificate", &encoded), &extra("PrivateKey", &encoded)];
    let told = gate.request("GET", "/clusters/shop-1/api", &by_key, b"").await;
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["identity"], json!([pem, pem]));
    let refused = gate.request("GET", "/clusters/shop-1/api", &[&bearer(ADMIN), "Impersonate-User: root"], b"").await;
    assert_eq!((refused.code, refused.message().contains("leave the Impersonate headers")), (403, true), "{}", refused.message());
    let lines = gate.audit(3).await;
    let acting: Vec<&Value> = lines.iter().map(|line| &line["as"]).collect();
    assert_eq!(acting, ["token", "certificate", ""], "{lines:?}");
    gate.state.store().compact().await.unwrap();
    for entry in std::fs::read_dir(gate.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for needle in [token.as_bytes(), b"pl4ntedkey", &encoded.as_bytes()[40..80]] {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_away_is_said_to_be_with_how_long_and_can_be_waited_for() {
    let (gate, mut link) = with_cluster().await;
    link.perform(echo);
    link.cut().await;
    let never = gate.get("/clusters/shop-1/version").await;
    assert_eq!((never.code, never.header("retry-after")), (503, None));
    assert!(never.message().contains("ns/shop-1 is not connected: it has never been heard from"), "{}", never.message());
    gate.heard("shop-1", 3);
    let moment = gate.get("/clusters/shop-1/version").await;
    assert_eq!((moment.code, moment.header("retry-after"), &moment.status()["details"]["retryAfterSeconds"]), (503, Some("1"), &json!(1)));
    gate.heard("shop-1", 400);
    let long = gate.get("/clusters/shop-1/version?wait=1s").await;
    assert_eq!((long.code, long.header("retry-after"), long.status()["details"]["retryAfterSeconds"].as_u64()), (503, None, Some(30)));
    let message = long.message();
    assert!(message.contains("6 min ago") && message.contains("did not come back within 1 s"), "{message}");
    let mut waiting = std::pin::pin!(gate.get("/clusters/shop-1/version?wait=60s"));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "it does not wait");
    link.up().await;
    let waited = waiting.await;
    assert_eq!(waited.code, 200, "{}", waited.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_or_not_alone_is_said_to_be_so() {
    let (gate, link) = with_cluster().await;
    link.perform(echo);
    for path in ["/clusters/nowhere/version", "/clusters/other:shop-1/version", "/clusters/a%2Fb/x"] {
        let unknown = gate.get(path).await;
        assert_eq!((unknown.code, unknown.status()["reason"].as_str()), (404, Some("NotFound")), "{path}");
    }
    gate.cluster("other", "shop-1", "00000000-0000-4000-8000-000000000002", "bbbbbbbb").await;
    let several = gate.get("/clusters/shop-1/version").await;
    assert_eq!(several.code, 409);
    assert!(several.message().contains("/clusters/ns:shop-1/ or /clusters/other:shop-1/"), "{}", several.message());
    assert_eq!(gate.get("/clusters/ns:shop-1/version").await.code, 200);
    assert_eq!(gate.get(&format!("{SOCKET}/direct/version")).await.code, 200);
    assert_eq!(gate.get("/clusters/other:shop-1/version").await.code, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_through_as_it_is_also_one_that_says_go_elsewhere_or_says_nothing() {
    let (gate, link) = with_cluster().await;
    link.perform(|mut stream, head| async move {
        let moved = answer(302, &[("location", "https://evil/"), ("connection", "close, x-hop"), ("x-hop", "1"), ("warning", "299 - x")]);
        let empty = answer(204, &[]);
        let head = if head.path == "/moved" {
            moved
        } else if head.path == "/empty" {
            empty
        } else {
            answer(200, &[("content-length", "7")])
        };
        stream.write_head(&head).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let moved = gate.get("/clusters/shop-1/moved").await;
    assert_eq!((moved.code, moved.header("location"), moved.header("x-hop")), (302, Some("https://evil/"), None));
    assert_eq!((moved.header("warning"), moved.whole), (Some("299 - x"), true));
    assert_eq!(gate.get("/clusters/shop-1/empty").await.code, 204);
    let head = gate.request("HEAD", "/clusters/shop-1/head", &[&bearer(ADMIN)], b"").await;
    assert_eq!((head.code, head.header("content-length"), head.body.len()), (200, Some("7"), 0));
    assert!(gate.audit(3).await.iter().all(|line| line["stage"] == "complete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_before_the_answer_is_a_status() {
    let (gate, link) = with_cluster().await;
    link.perform(|mut stream, head| async move {
        match head.path.as_str() {
            "/refused" => stream.reset(Code::Refused, "no more"),
            "/failed" => stream.reset(Code::Failed, "the API server is away"),
            _ => drop(stream.write_head(&answer(7, &[])).await),
        }
    });
    assert_eq!(gate.get("/clusters/shop-1/refused").await.code, 503);
    let failed = gate.get("/clusters/shop-1/failed").await;
    assert_eq!((failed.code, failed.message().contains("the API server is away")), (502, true));
    let unknown = gate.request("POST", "/clusters/shop-1/failed", &[&bearer(ADMIN)], b"x").await;
    assert!(unknown.code == 502 && unknown.message().contains("outcome unknown"), "{}", unknown.message());
    assert_eq!(gate.get("/clusters/shop-1/odd").await.code, 502);
    assert!(gate.audit(4).await.iter().all(|line| line["stage"] == "complete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_does_so_for_the_client() {
    let (gate, link) = with_cluster().await;
    let (sender, breaks) = tokio::sync::watch::channel(false);
    link.perform(move |mut stream, _| {
        let mut breaks = breaks.clone();
        async move {
            stream.write_head(&answer(200, &[])).await.unwrap();
            stream.write_all(b"half").await.unwrap();
            breaks.wait_for(|breaks| *breaks).await.unwrap();
            stream.reset(Code::Failed, "broke off");
        }
    });
    let mut connection = gate.connect().await;
    connection.write_all(b"GET /clusters/shop-1/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer admin-token\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"half\r\n") {
        assert!(tokio::time::timeout(PATIENCE, connection.read_buf(&mut got)).await.expect("an answer").unwrap() > 0);
    }
    sender.send_replace(true);
    let _ = connection.read_to_end(&mut got).await;
    assert!(got.ends_with(b"half\r\n"), "nothing says that this was all");
    assert_eq!(gate.audit(1).await[0]["stage"], "aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_known_of_a_change_whose_link_does_not_come_back() {
    let (gate, mut link) = with_limits(Limits { grace: 300, ..Limits::default() }).await;
    let (sender, mut begun) = mpsc::channel(4);
    link.perform(move |stream, _| {
        let sender = sender.clone();
        async move {
            sender.send(()).await.unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        }
    });
    let headers = [bearer(ADMIN)];
    let headers = [headers[0].as_str()];
    let asking = async {
        tokio::join!(gate.request("GET", "/clusters/shop-1/a", &headers, b""), gate.request("POST", "/clusters/shop-1/b", &headers, b"x"))
    };
    let ((get, post), ()) = tokio::join!(asking, async {
        begun.recv().await.unwrap();
        begun.recv().await.unwrap();
        link.cut().await;
    });
    assert_eq!((get.code, post.code), (504, 504));
    assert!(!get.message().contains("outcome unknown") && post.message().contains("outcome unknown"), "{}", post.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_stream() {
    let (gate, link) = with_cluster().await;
    let (sender, mut ends) = mpsc::channel(4);
    link.perform(move |mut stream, head| {
        let sender = sender.clone();
        async move {
            let waits = head.path == "/before";
            if !waits {
                stream.write_head(&answer(200, &[])).await.unwrap();
                stream.write_all(b"begun").await.unwrap();
            }
            sender.send("begun".to_owned()).await.unwrap();
            let mut bytes = [0; 100];
            let ended = loop {
                match stream.read(&mut bytes).await {
                    Ok(0) => std::future::pending().await,
                    Ok(_) => {}
                    Err(error) => break StreamError::of(&error).map(|found| format!("{:?}", found.code)),
                }
            };
            sender.send(ended.unwrap_or_default()).await.unwrap();
        }
    });
    // Before the answer, in the middle of the upload; then in the middle of an answer.
    let half = "POST /clusters/shop-1/before HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nAuthorization: Bearer admin-token\r\n\r\n12345";
    let watch = "POST /clusters/shop-1/after HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nAuthorization: Bearer admin-token\r\n\r\n12345";
    for request in [half, watch] {
        let mut connection = gate.connect().await;
        connection.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(ends.recv().await.as_deref(), Some("begun"));
        let mut got = Vec::new();
        while request != half && !got.ends_with(b"begun\r\n") {
            assert!(tokio::time::timeout(PATIENCE, connection.read_buf(&mut got)).await.expect("an answer").unwrap() > 0);
        }
        drop(connection);
        let ended = tokio::time::timeout(PATIENCE, ends.recv()).await.expect("the agent is told");
        assert_eq!(ended.as_deref(), Some("Cancelled"), "{request}");
    }
    until("nothing is left", || link.hub.counts().streams == 0 && link.hub.counts().handles == 0).await;
    let lines = gate.audit(2).await;
    assert_eq!((&lines[0]["code"], &lines[1]["code"], &lines[1]["stage"]), (&json!(400), &json!(200), &json!("aborted")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_or_watches_and_goes_away_ends_its_stream() {
    let (gate, link) = with_cluster().await;
    let (sender, mut begun) = mpsc::channel(4);
    link.perform(move |mut stream, head| {
        let sender = sender.clone();
        async move {
            if head.path == "/watch" {
                stream.write_head(&answer(200, &[])).await.unwrap();
                stream.write_all(b"begun").await.unwrap();
            }
            sender.send(()).await.unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        }
    });
    for path in ["wait", "watch"] {
        let mut connection = gate.connect().await;
        let request = format!("GET /clusters/shop-1/{path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer admin-token\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        begun.recv().await.unwrap();
        let mut got = Vec::new();
        while path == "watch" && !got.ends_with(b"begun\r\n") {
            assert!(tokio::time::timeout(PATIENCE, connection.read_buf(&mut got)).await.expect("an answer").unwrap() > 0);
        }
        drop(connection);
        until("nothing is left", || link.hub.counts().handles == 0).await;
    }
    let codes: Vec<Value> = gate.audit(2).await.iter().map(|line| line["code"].clone()).collect();
    assert_eq!(codes, [Value::Null, json!(200)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_stays_with_the_client() {
    let (gate, link) = with_cluster().await;
    link.perform(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let mut connection = gate.connect().await;
    let head = "PUT /clusters/shop-1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\nAuthorization: Bearer admin-token\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut taken = 0;
    let chunk = vec![7; 64 << 10];
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), connection.write(&chunk)).await {
        taken += written.unwrap();
    }
    assert!(taken < 20_000_000, "{taken} bytes were taken");
    let buffered = link.hub.counts().buffered;
    assert!(buffered <= Limits::default().window as usize, "{buffered} bytes are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_a_cluster_may_have_are_told_to_come_again() {
    let (gate, link) = with_limits(Limits { streams: 1, ..Limits::default() }).await;
    let (sender, mut begun) = mpsc::channel(4);
    link.perform(move |stream, _| {
        let sender = sender.clone();
        async move {
            sender.send(()).await.unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        }
    });
    let mut first = gate.connect().await;
    first.write_all(b"GET /clusters/shop-1/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer admin-token\r\n\r\n").await.unwrap();
    begun.recv().await.unwrap();
    let second = gate.get("/clusters/shop-1/x").await;
    assert_eq!((second.code, second.header("retry-after"), second.status()["reason"].as_str()), (429, Some("1"), Some("TooManyRequests")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_says_who_did_what_and_no_secret() {
    let (gate, link) = with_cluster().await;
    link.perform(echo);
    let token = gate.user("anna", &["dev"], 600).await;
    let exec = "/api/v1/namespaces/a/pods/web/exec?command=sh&command=-c&command=ls&container=c&stdin=true&token=s3cret";
    let told = gate.request("POST", &format!("/clusters/shop-1{exec}"), &[&bearer(&token), "X-Secret: s3cret"], b"s3cret").await;
    assert_eq!(told.code, 200);
    let line = gate.audit(1).await.remove(0);
    let wanted = json!({
        "time": line["time"], "milliseconds": line["milliseconds"], "bytesDown": told.body.len(), "bytesUp": 6, "stage": "complete",
        "user": "anna", "from": line["from"], "cluster": "ns/shop-1", "as": "user", "verb": "create", "code": 200,
        "path": "/api/v1/namespaces/a/pods/web/exec", "query": "container=c&stdin=true&token=-", "command": ["sh", "-c", "ls"],
    });
    assert_eq!(line, wanted);
    let refused = gate.request("GET", "/clusters/nowhere/x", &[&bearer(&token)], b"").await;
    assert_eq!((refused.code, &gate.audit(2).await[1]["code"]), (404, &json!(404)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_the_proxies_is_discovered() {
    let gate = gate().await;
    let group = gate.get("/apis/proxies.clusternet.io/v1alpha1").await;
    let group: Value = serde_json::from_slice(&group.body).unwrap();
    assert_eq!(group["resources"][0]["name"], "sockets/proxy");
    assert_eq!(gate.get(&format!("/apis/proxies.clusternet.io/v1alpha1/sockets/{ID}")).await.code, 404);
}
