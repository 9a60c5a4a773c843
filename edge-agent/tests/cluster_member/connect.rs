//! Connecting: each way to fail says the file or server, what is wrong and what to do.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edge_agent::cluster::connect::{ConnectError, Source, check, connect};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::support;

/// The member's kubeconfig with one change, in a file of its own.
fn changed(name: &str, from: &str, to: &str) -> Source {
    let member = support::member();
    let text = std::fs::read_to_string(&member.kubeconfig).expect("kubeconfig");
    assert!(text.contains(from), "{from} is not in the kubeconfig");
    let path = member.dir.join(name);
    std::fs::write(&path, text.replace(from, to)).expect("written");
    Source::Kubeconfig(path)
}

async fn refused(source: &Source) -> ConnectError {
    match connect(source) {
        Err(error) => error,
        Ok(api) => check(&api).await.expect_err("the connection must fail"),
    }
}

#[tokio::test]
async fn a_good_kubeconfig_connects() {
    let source = Source::Kubeconfig(support::member().kubeconfig.clone());
    let api = connect(&source).expect("a client");
    assert!(check(&api).await.expect("a version").git_version.starts_with("v1."));
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let error = refused(&Source::Kubeconfig(PathBuf::from("/no/such/kubeconfig"))).await;
    assert!(matches!(error, ConnectError::Unreadable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("/no/such/kubeconfig") && text.contains("--kubeconfig"), "{text}");
}

#[tokio::test]
async fn a_file_without_a_current_context_says_how_to_set_one() {
    for (name, to) in [("none.kubeconfig", ""), ("other.kubeconfig", "current-context: other")] {
        let error = refused(&changed(name, "current-context: member", to)).await;
        assert!(matches!(error, ConnectError::NoContext { .. }), "{error:?}");
        assert!(error.to_string().contains("kubectl config use-context"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_kubeconfig_is_malformed() {
    let error = refused(&changed("bad.kubeconfig", "apiVersion: v1", "apiVersion: [")).await;
    assert!(matches!(error, ConnectError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_wrong_ca_is_told_from_an_unreachable_server() {
    let error = refused(&changed("ca.kubeconfig", "/ca.crt", "/other.crt")).await;
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error:?}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn an_unreachable_server_is_named_and_may_come_back() {
    let to = format!("https://127.0.0.1:{}/", support::free_port());
    let error = refused(&changed("port.kubeconfig", "https://127.0.0.1:", &to)).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("https://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn credentials_that_the_server_does_not_know_are_refused() {
    let member = support::member();
    let at = member.dir.display();
    let user = format!("client-certificate: {at}/admin.crt, client-key: {at}/admin.key");
    let error = refused(&changed("token.kubeconfig", &user, "token: nobody")).await;
    assert!(matches!(error, ConnectError::Unauthorized { .. }), "{error:?}");
}

/// The member's kubeconfig with the changes, each of which must be one.
fn with(name: &str, changes: &[(String, String)]) -> Source {
    let member = support::member();
    let text = std::fs::read_to_string(&member.kubeconfig).expect("kubeconfig");
    let text = changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the kubeconfig");
        text.replace(from, to)
    });
    let path = member.dir.join(name);
    std::fs::write(&path, text).expect("written");
    Source::Kubeconfig(path)
}

/// Whom the server takes the agent for.
async fn who(source: &Source) -> String {
    let api = connect(source).expect("kubeconfig is good");
    let review = br#"{"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}"#.to_vec();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (_, answer) = api.write_whole(http::Method::POST, path, ("application/json", review)).await.expect("an answer");
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    answer["status"]["userInfo"]["username"].as_str().unwrap_or_default().to_owned()
}

/// Ways to log in and to reach the server, as kubectl takes them: what the user's or the cluster's entry is, and who that is.
#[tokio::test]
async fn a_kubeconfig_that_kubectl_takes_is_taken() {
    let member = support::member();
    let at = member.dir.display();
    let account = "system:serviceaccount:default:agent";
    support::kubectl(&["create", "serviceaccount", "agent"], "");
    let token = support::kubectl(&["create", "token", "agent"], "");
    std::fs::write(member.dir.join("relative.token"), &token).expect("written");
    let base64 = |file: &str| STANDARD.encode(std::fs::read(member.dir.join(file)).expect("a file"));
    let files = format!("client-certificate: {at}/admin.crt, client-key: {at}/admin.key");
    let data = format!("client-certificate-data: {}, client-key-data: {}", base64("admin.crt"), base64("admin.key"));
    let plugin = |prints: &str| format!("exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./plugin-{prints}, args: [x]}}");
    let pem = |file: &str| serde_json::to_string(&std::fs::read_to_string(member.dir.join(file)).expect("a file")).expect("JSON");
    let pair = format!("\"clientCertificateData\": {}, \"clientKeyData\": {}", pem("admin.crt"), pem("admin.key"));
    for (name, status) in [("token", format!("\"token\": \"{}\"", token.trim())), ("pair", pair)] {
        write_program(&member.dir.join(format!("plugin-{name}")), &format!("cat <<'END'\n{{\"status\": {{{status}}}}}\nEND\n"));
    }
    for (number, (user, expected)) in [
        (data, "admin"),
        (format!("token: {}", token.trim()), account),
        ("tokenFile: relative.token".into(), account),
        (plugin("token"), account),
        (plugin("pair"), "admin"),
        (format!("{files}, as: ann, as-groups: [\"system:authenticated\"]"), "ann"),
    ]
    .into_iter()
    .enumerate()
    {
        let source = with(&format!("user-{number}.kubeconfig"), &[(files.clone(), user.clone())]);
        assert_eq!(who(&source).await, expected, "{user}");
    }
    let ca = format!("certificate-authority: {at}/ca.crt");
    for (number, cluster) in [
        format!("certificate-authority-data: {}", base64("ca.crt")),
        "certificate-authority: ca.crt".into(),
        "insecure-skip-tls-verify: true".into(),
        format!("{ca}, tls-server-name: localhost"),
        format!("{ca}, proxy-url: \"http://127.0.0.1:{}\"", proxy().await),
    ]
    .into_iter()
    .enumerate()
    {
        let source = with(&format!("cluster-{number}.kubeconfig"), &[(ca.clone(), cluster.clone())]);
        assert_eq!(who(&source).await, "admin", "{cluster}");
    }
    let misnamed = with("misnamed.kubeconfig", &[(ca.clone(), format!("{ca}, tls-server-name: other.example"))]);
    assert!(matches!(refused(&misnamed).await, ConnectError::Untrusted { .. }));
}

fn write_program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}")).expect("written");
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("made a program");
}

/// An HTTP proxy that lets everybody through; its port.
async fn proxy() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut lines = BufReader::new(&mut near).lines();
                let asked = lines.next_line().await.expect("a request").expect("a line");
                while lines.next_line().await.expect("a head").is_some_and(|line| !line.is_empty()) {}
                let server = asked.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).expect("a way is asked for");
                let mut far = TcpStream::connect(server).await.expect("the server is there");
                near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.expect("answered");
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}
