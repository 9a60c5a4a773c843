//! The performer against a real API server, which says itself as whom it was spoken to.

#[path = "support/bridge.rs"]
mod bridge;
#[path = "support/mod.rs"]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use bridge::{Bridge, header, request};
use bus_schema::message::stream::request_head::Identity;
use bus_schema::message::stream::{Certificate, RequestHead, ResponseHead, User};
use edge_agent::apiserver::{Access, Credentials};
use edge_agent::cluster::connect::{Source, configuration};
use edge_agent::proxy::Settings;
use serde_json::{Value, json};
use support::{kubectl, member};
use tokio::io::AsyncReadExt;

const SOON: Duration = Duration::from_secs(30);
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn bridge(settings: Settings) -> Bridge {
    // The agent is an administrator here: what a caller may not do is not its doing.
    let source = Source::Kubeconfig(member().kubeconfig.clone());
    Bridge::new(configuration(&source).expect("kubeconfig is good"), settings)
}

fn with_identity(method: &str, path: &str, identity: Identity) -> RequestHead {
    RequestHead { identity: Some(identity), ..request(method, path) }
}

/// Whom the API server takes the caller for: name and groups, or the code and its words.
async fn who(bridge: &Bridge, head: RequestHead) -> Result<(String, Vec<String>), (u32, String)> {
    let body = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}).to_string();
    let headers = vec![header("content-type", "application/json"), header("content-length", &body.len().to_string())];
    let (code, answer) = bridge.ask(&RequestHead { headers, ..head }, body.as_bytes()).await;
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    if code != 201 {
        assert_eq!((&answer["kind"], &answer["code"]), (&json!("Status"), &json!(code)), "{answer}");
        return Err((code, answer["message"].as_str().unwrap_or_default().to_owned()));
    }
    let user = &answer["status"]["userInfo"];
    let groups = user["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok((user["username"].as_str().unwrap_or_default().to_owned(), groups))
}

#[tokio::test]
async fn a_user_of_the_hub_is_nobody_else_in_the_member() {
    let bridge = bridge(Settings::default()).await;
    let (name, groups) = who(&bridge, request("POST", WHO)).await.unwrap();
    assert_eq!((name.as_str(), groups), ("hub:ann", vec!["hub:ops".to_owned(), "system:authenticated".into()]));
    // No rights but those that the member binds.
    let (code, answer) = bridge.ask(&request("GET", "/api/v1/namespaces/default/configmaps"), b"").await;
    assert!(code == 403 && String::from_utf8_lossy(&answer).contains(r#"User \"hub:ann\" cannot list"#), "{code}");
    kubectl(&["create", "clusterrolebinding", "hub-ops-view", "--clusterrole=view", "--group=hub:ops"], "");
    let deadline = Instant::now() + SOON;
    while bridge.ask(&request("GET", "/api/v1/namespaces/default/configmaps"), b"").await.0 != 200 {
        assert!(Instant::now() < deadline, "the binding has no effect");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_agent_speaks_for_nobody_with_rights_of_its_own() {
    let bridge = bridge(Settings::default()).await;
    let as_user = |name: &str, group: &str| Identity::User(User { name: name.into(), groups: vec![group.into()] });
    for (name, group) in [("system:admin", "hub:a"), ("hub:ann", "system:masters"), ("admin", "hub:a"), ("hub:ann", "ops"), ("", "")] {
        let (code, message) = who(&bridge, with_identity("POST", WHO, as_user(name, group))).await.unwrap_err();
        assert!(code == 403 && message.starts_with("the agent speaks for no"), "{name} {group}: {code} {message}");
    }
    let smuggled = RequestHead { headers: vec![header("Impersonate-Group", "system:masters")], ..request("GET", "/api") };
    assert_eq!(bridge.ask(&smuggled, b"").await.0, 400);
}

#[tokio::test]
async fn with_the_preset_the_agent_speaks_as_the_users_that_are_named_and_as_nobody_else() {
    let preset = |name: &str| format!("{}/../deploy/rbac/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    kubectl(&["apply", "-f", &preset("agent-read-only"), "-f", &preset("agent-proxy")], "");
    let token = kubectl(&["create", "token", "clusternet-agent", "-n", "clusternet-system"], "");
    // As in a pod: a file that is replaced now and then.
    let file = member().dir.join("agent.token");
    std::fs::write(&file, token.trim()).expect("written");
    let source = Source::Kubeconfig(member().kubeconfig.clone());
    let access = configuration(&source).expect("kubeconfig is good");
    let credentials = Credentials::token_file(&file).expect("credentials");
    let bridge = Bridge::new(Access { credentials: credentials.into(), ..access }, Settings::default());
    let as_user = |name: &str, group: &str| Identity::User(User { name: name.into(), groups: vec![group.into()] });
    let deadline = Instant::now() + SOON;
    let (name, groups) = loop {
        match who(&bridge, with_identity("POST", WHO, as_user("hub:admin", "hub:admins"))).await {
            Ok(found) => break found,
            Err((code, message)) => assert!(code == 403 && Instant::now() < deadline, "{code} {message}"),
        }
    };
    assert_eq!((name.as_str(), groups[0].as_str()), ("hub:admin", "hub:admins"));
    let secrets = with_identity("GET", "/api/v1/secrets", as_user("hub:admin", "hub:admins"));
    assert_eq!(bridge.ask(&secrets, b"").await.0, 200, "the preset binds the hub's administrators");
    for (name, group) in [("hub:ann", "hub:admins"), ("hub:admin", "hub:ops")] {
        let (code, message) = who(&bridge, with_identity("POST", WHO, as_user(name, group))).await.unwrap_err();
        assert!(code == 403 && message.contains("cannot impersonate"), "{code} {message}");
    }
    let can = ["auth", "can-i", "impersonate", "groups/system:masters", "--as=system:serviceaccount:clusternet-system:clusternet-agent"];
    assert!(!support::try_kubectl(&can, ""), "the agent's account may speak as system:masters");
}

#[tokio::test]
async fn a_callers_token_is_used_and_the_agents_credentials_are_not() {
    let bridge = bridge(Settings::default()).await;
    kubectl(&["create", "serviceaccount", "caller"], "");
    let token = kubectl(&["create", "token", "caller"], "").trim().to_owned();
    let (name, groups) = who(&bridge, with_identity("POST", WHO, Identity::Token(token.clone()))).await.unwrap();
    assert_eq!(name, "system:serviceaccount:default:caller");
    assert!(!groups.iter().any(|group| group == "system:masters"), "{groups:?}");
    let (code, _) = who(&bridge, with_identity("POST", WHO, Identity::Token("wrong".into()))).await.unwrap_err();
    assert_eq!(code, 401, "a wrong token falls back to nobody else's credentials");
    // Not allowed to the caller, though the agent might.
    let mut other = with_identity("POST", WHO, Identity::Token(token));
    other.impersonate = vec![header("Impersonate-User", "somebody")];
    let (code, message) = who(&bridge, other).await.unwrap_err();
    assert!(code == 403 && message.contains("cannot impersonate"), "{code} {message}");
}

#[tokio::test]
async fn a_callers_certificate_has_a_connection_of_its_own() {
    let bridge = bridge(Settings::default()).await;
    let identity = Identity::Certificate(client_certificate("carol"));
    for _ in 0..2 {
        let (name, _) = who(&bridge, with_identity("POST", WHO, identity.clone())).await.unwrap();
        assert_eq!(name, "carol");
        let (name, _) = who(&bridge, request("POST", WHO)).await.unwrap();
        assert_eq!(name, "hub:ann");
    }
    let broken = Certificate { certificate: b"no certificate".into(), key: b"no key".into() };
    let (code, message) = who(&bridge, with_identity("POST", WHO, Identity::Certificate(broken))).await.unwrap_err();
    assert!(code == 400 && message.contains("certificate or key"), "{code} {message}");
}

/// A client certificate of the member's CA.
fn client_certificate(name: &str) -> Certificate {
    let script = format!(
        "set -e; openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}
         echo extendedKeyUsage=clientAuth > {name}.ext
         openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out {name}.crt -extfile {name}.ext"
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(&member().dir).output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |kind: &str| std::fs::read(member().dir.join(format!("{name}.{kind}"))).expect("written");
    Certificate { certificate: read("crt"), key: read("key") }
}

#[tokio::test]
async fn what_the_owner_denies_is_not_done_whoever_asks() {
    let deny = vec!["path=/api/v1/namespaces/*/secrets*".parse().unwrap(), "user=hub:ann,method=DELETE".parse().unwrap()];
    let bridge = bridge(Settings { deny, ..Settings::default() }).await;
    for path in ["/api/v1/namespaces/default/secrets", "/api/v1//namespaces/default/%73ecrets?x=y"] {
        let token = with_identity("GET", path, Identity::Token("any".into()));
        for head in [request("GET", path), token] {
            let (code, answer) = bridge.ask(&head, b"").await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(code == 403 && answer.contains("denied by the owner"), "{code} {answer}");
        }
    }
    let (code, _) = bridge.ask(&request("DELETE", "/api/v1/namespaces/default/configmaps/x"), b"").await;
    assert_eq!(code, 403);
    assert_eq!(bridge.ask(&request("GET", "/version"), b"").await.0, 200);
}

#[tokio::test]
async fn bodies_of_announced_and_of_unknown_length_arrive_whole() {
    let bridge = bridge(Settings::default()).await;
    let bound = ["create", "clusterrolebinding", "hub-bodies", "--clusterrole=cluster-admin", "--user=hub:bea"];
    kubectl(&bound, "");
    let as_bea =
        |method: &str, path: &str| with_identity(method, path, Identity::User(User { name: "hub:bea".into(), groups: Vec::new() }));
    for (name, announced) in [("announced", true), ("unknown", false)] {
        let data = format!("{name}-").repeat(90_000);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": data}}).to_string();
        let mut headers = vec![header("content-type", "application/json")];
        if announced {
            headers.push(header("content-length", &object.len().to_string()));
        }
        let head = RequestHead { headers, ..as_bea("POST", "/api/v1/namespaces/default/configmaps") };
        let deadline = Instant::now() + SOON;
        loop {
            let (code, answer) = bridge.ask(&head, object.as_bytes()).await;
            if code == 201 {
                break;
            }
            assert!(code == 403 && Instant::now() < deadline, "{code} {}", String::from_utf8_lossy(&answer));
        }
        let (code, answer) = bridge.ask(&as_bea("GET", &format!("/api/v1/namespaces/default/configmaps/{name}")), b"").await;
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert!(code == 200 && answer["data"]["key"] == data, "{code}");
    }
}

#[tokio::test]
async fn a_watch_comes_as_it_happens_and_ends_at_the_server_when_the_hub_ends_it() {
    let bridge = bridge(Settings::default()).await;
    let token = {
        kubectl(&["create", "namespace", "watched"], "");
        kubectl(&["create", "serviceaccount", "watcher", "-n", "watched"], "");
        let bind = ["create", "rolebinding", "watcher", "-n", "watched", "--clusterrole=view", "--serviceaccount=watched:watcher"];
        kubectl(&bind, "");
        kubectl(&["create", "token", "watcher", "-n", "watched"], "").trim().to_owned()
    };
    // From the cache, which of a kind without objects may be far behind.
    let path = "/api/v1/namespaces/watched/endpoints?watch=true&resourceVersion=0";
    let watch = with_identity("GET", path, Identity::Token(token));
    let deadline = Instant::now() + SOON;
    let mut stream = loop {
        let mut stream = bridge.send(&watch, b"").await;
        match stream.read_head::<ResponseHead>().await.unwrap().status {
            200 => break stream,
            // Not bound yet.
            code => assert!(code == 403 && Instant::now() < deadline, "{code}"),
        }
    };
    wait_for("the watch is not seen by the server", || watches() == 1).await;
    kubectl(&["create", "-f", "-"], "apiVersion: v1\nkind: Endpoints\nmetadata: {name: seen, namespace: watched}");
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    assert!(String::from_utf8_lossy(&line).contains("seen"));
    drop(stream);
    wait_for("the server still has the watch", || watches() == 0).await;
    wait_for("the streams are not gone", || bridge.agent.counts().streams == 0 && bridge.hub.counts().streams == 0).await;
}

/// Watches of one namespace's Endpoints that the API server serves, by its own count.
fn watches() -> usize {
    let metrics = kubectl(&["get", "--raw", "/metrics"], "");
    let ours = metrics.lines().filter(|line| line.starts_with("apiserver_longrunning_requests{"));
    let ours =
        ours.filter(|line| line.contains(r#"resource="endpoints""#) && line.contains(r#"scope="namespace""#) && line.contains("WATCH"));
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

async fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
