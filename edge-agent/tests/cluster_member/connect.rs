//! Connecting: each way to fail says the file or server, what is wrong and what to do.

use std::path::PathBuf;

use edge_agent::cluster::connect::{ConnectError, Source, check, connect};

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
