//! `POST /enrol` and `POST /unregister`: each refusal, what they leave behind, and two who race.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hub::api::{ApiState, Authenticator, DEFAULT_MEMBER_LIMIT, Identity};
use hub::controller::registration::{self, Directory, Issuing};
use hub::core::reserved::Reserved;
use hub::enrol::token::{Fresh, hashed};
use hub::enrol::{Enrolment, PROOF, PeerAddress};
use hub::kinds::{ClusterRegistrationRequest, JoinToken, ManagedCluster};
use hub::store::Store;
use hub::tls::{Authority, proves};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rcgen::{CertificateParams, KeyPair, SigningKey};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const ID: &str = "00000000-0000-4000-8000-000000000001";
/// How long a hub may take to read its clusters.
const LISTED: Duration = Duration::from_secs(20);
const HERE: [u8; 4] = [10, 0, 0, 7];

/// A hub without sockets: its API, the registration controller, and the paths under test.
struct Hub {
    router: Router,
    client: Client,
    directory: Directory,
    _folder: tempfile::TempDir,
    _authority: watch::Sender<Arc<Authority>>,
    _stop: tokio_util::sync::DropGuard,
}

fn hub() -> Hub {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path()).expect("an empty folder");
    let state = ApiState::new(store, hub::kinds::schemas(), Authenticator::new("admin"), DEFAULT_MEMBER_LIMIT);
    let client = hub::api::client(&state, Identity::admin("hub"));
    let (sender, authority) = watch::channel(Arc::new(Authority::make().expect("a CA")));
    let (directory, stop) = (Directory::default(), CancellationToken::new());
    let issuing = Issuing { authority: authority.clone(), lifetime: Duration::from_secs(3600), hub_link_key: "hub".to_owned() };
    let bus_address = "mqtts://hub:8883".to_owned();
    let config = registration::Config { real_namespaces: false, bus_address, issuing, directory: directory.clone() };
    tokio::spawn(registration::run(client.clone(), config, stop.clone()));
    let router = hub::enrol::router(Enrolment::new(client.clone(), authority, directory.clone(), &[7; 32], Reserved::default()));
    Hub { router, client, directory, _folder: folder, _authority: sender, _stop: stop.drop_guard() }
}

/// What a machine has: a key it asks a certificate for, and what it was given before.
struct Machine {
    id: String,
    key: KeyPair,
    identity: Option<(KeyPair, String)>,
}

impl Machine {
    fn new(id: &str) -> Machine {
        Machine { id: id.to_owned(), key: KeyPair::generate().expect("a key"), identity: None }
    }

    fn body(&self, further: Value) -> Value {
        let csr = CertificateParams::default().serialize_request(&self.key).expect("a request").pem().expect("PEM");
        let certificate = self.identity.as_ref().map(|(_, pem)| pem);
        let mut body = json!({"clusterId": self.id, "name": "shop", "csr": csr, "certificate": certificate});
        json_patch::merge(&mut body, &further);
        body
    }

    /// Takes a granted certificate; the key that was asked for becomes the identity, and there is a new one to ask for.
    fn take(&mut self, granted: &Value) {
        let old = std::mem::replace(&mut self.key, KeyPair::generate().expect("a key"));
        self.identity = Some((old, granted["certificate"].as_str().expect("a certificate").to_owned()));
    }
}

impl Hub {
    async fn token(&self, spec: Value) -> String {
        let fresh = Fresh::draw().expect("randomness");
        let mut all = json!({"secretHash": hashed(&fresh.secret), "expiresAt": "2100-01-01T00:00:00Z", "approval": "Auto"});
        json_patch::merge(&mut all, &spec);
        let token: JoinToken = serde_json::from_value(json!({
            "apiVersion": "access.clusternet.io/v1alpha1", "kind": "JoinToken", "metadata": {"name": fresh.id}, "spec": all,
        }))
        .expect("a token");
        Api::all(self.client.clone()).create(&PostParams::default(), &token).await.expect("stored");
        format!("{}.{}", fresh.id, fresh.secret)
    }

    async fn send(&self, peer: [u8; 4], path: &str, token: Option<&str>, proof: Option<String>, body: Vec<u8>) -> (StatusCode, Value) {
        let listed = async {
            while self.directory.find(ID).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LISTED, listed).await.expect("the hub has read its clusters: before, it asks everybody to come again");
        let mut request = Request::post(path).extension(PeerAddress(IpAddr::from(peer)));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(proof) = proof {
            request = request.header(PROOF, proof);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body)).expect("a request")).await.expect("an answer");
        let code = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Asks as the machine would, with all that it has.
    async fn enrol(&self, machine: &Machine, token: Option<&str>) -> (StatusCode, Value) {
        let body = machine.body(json!({})).to_string().into_bytes();
        let proof = machine.identity.as_ref().map(|(key, _)| STANDARD.encode(key.sign(&proves("enrol", &body)).expect("a signature")));
        self.send(HERE, "/enrol", token, proof, body).await
    }

    async fn cluster(&self) -> ManagedCluster {
        let all = Api::<ManagedCluster>::all(self.client.clone()).list(&Default::default()).await.expect("listed");
        all.items.into_iter().next().expect("a cluster")
    }

    async fn keys(&self) -> Vec<String> {
        self.cluster().await.status.expect("a status").tls_keys
    }

    async fn used(&self, token: &str) -> i32 {
        let id = token.split_once('.').expect("an id").0;
        let token: JoinToken = Api::all(self.client.clone()).get(id).await.expect("there");
        token.status.map_or(0, |status| status.used)
    }
}

#[tokio::test]
async fn who_proves_nothing_gets_one_and_the_same_answer() {
    let hub = hub();
    let machine = Machine::new(ID);
    let good = hub.token(json!({})).await;
    let expired = hub.token(json!({"expiresAt": "2020-01-01T00:00:00Z"})).await;
    let elsewhere = hub.token(json!({"cidrs": ["192.0.2.0/24"]})).await;
    let forged = format!("{}.{}", good.split_once('.').expect("an id").0, "0".repeat(64));
    let mut answers = Vec::new();
    for token in [None, Some("unknown2.secret"), Some(forged.as_str()), Some(expired.as_str()), Some(elsewhere.as_str()), Some("nonsense")]
    {
        answers.push(hub.enrol(&machine, token).await);
    }
    // A certificate of its own making, and a proof by it.
    let mut stranger = Machine::new(ID);
    let own = CertificateParams::default().self_signed(&stranger.key).expect("signed").pem();
    stranger.take(&json!({"certificate": own}));
    answers.push(hub.enrol(&stranger, None).await);
    for (code, answer) in &answers {
        assert_eq!((*code, answer), (StatusCode::UNAUTHORIZED, &answers[0].1));
    }
    let requests = Api::<ClusterRegistrationRequest>::all(hub.client.clone()).list(&Default::default()).await.expect("listed");
    assert!(requests.items.is_empty(), "nothing is written for who proves nothing");
}

#[tokio::test]
async fn a_token_is_counted_once_for_each_key_and_never_beyond_its_uses() {
    let hub = Arc::new(hub());
    let token = hub.token(json!({"uses": 3})).await;
    let racing: Vec<_> = (0..12)
        .map(|number| {
            let (hub, token) = (hub.clone(), token.clone());
            tokio::spawn(async move {
                let machine = Machine::new(&format!("00000000-0000-4000-8000-{number:012}"));
                let body = machine.body(json!({"name": format!("shop-{number}")})).to_string().into_bytes();
                let first = hub.send(HERE, "/enrol", Some(&token), None, body.clone()).await.0;
                // The answer got lost: the same is asked again, and costs nothing.
                let again = hub.send(HERE, "/enrol", Some(&token), None, body).await.0;
                assert_eq!(first, again);
                first
            })
        })
        .collect();
    let mut granted = 0;
    for race in racing {
        granted += usize::from(race.await.expect("no panic") == StatusCode::OK);
    }
    assert_eq!((granted, hub.used(&token).await), (3, 3));
}

#[tokio::test]
async fn a_granted_machine_has_a_certificate_for_its_key_and_the_tokens_labels() {
    let hub = hub();
    let token = hub.token(json!({"labels": {"tier": "edge", "site": "token"}})).await;
    let machine = Machine::new(ID);
    let body = machine.body(json!({"labels": {"site": "agent", "own": "x"}, "linkKey": STANDARD.encode([7; 32])}));
    let (code, granted) = hub.send(HERE, "/enrol", Some(&token), None, body.to_string().into_bytes()).await;
    assert_eq!((code, granted["busAddress"].as_str(), granted["name"].as_str()), (StatusCode::OK, Some("mqtts://hub:8883"), Some("shop")));
    assert!(granted["ends"].as_u64() > granted["begins"].as_u64() && granted["ca"].as_str().is_some_and(|ca| ca.contains("BEGIN")));
    let cluster = hub.cluster().await;
    let label = |key: &str| cluster.labels()[key].clone();
    assert_eq!((label("tier"), label("site"), label("own")), ("edge".into(), "token".into(), "x".into()));
    let status = cluster.status.expect("a status");
    assert_eq!(
        (status.tls_keys.len(), status.link_key, status.sid.as_deref()),
        (1, Some(STANDARD.encode([7; 32])), granted["sid"].as_str())
    );
}

#[tokio::test]
async fn a_reserved_label_is_given_by_a_token_and_never_by_the_cluster_itself() {
    let (hub, mut machine) = (hub(), Machine::new(ID));
    let (plain, giving) = (hub.token(json!({})).await, hub.token(json!({"labels": {"hub.clusternet.io/tier": "prod"}})).await);
    let sly = json!({"labels": {"hub.clusternet.io/tier": "bank", "own": "x"}});
    let body = |machine: &Machine| machine.body(sly.clone()).to_string().into_bytes();
    let (code, said) = hub.send(HERE, "/enrol", Some(&plain), None, body(&machine)).await;
    assert!(
        code == StatusCode::FORBIDDEN && said["message"].as_str().is_some_and(|why| why.contains("hub.clusternet.io/tier is reserved"))
    );
    assert_eq!(hub.used(&plain).await, 0, "what is refused is not counted");
    let (code, granted) = hub.send(HERE, "/enrol", Some(&giving), None, body(&machine)).await;
    assert_eq!(code, StatusCode::OK, "{granted}");
    let tier = async || hub.cluster().await.labels()["hub.clusternet.io/tier"].clone();
    assert_eq!((tier().await.as_str(), hub.cluster().await.labels()["own"].as_str()), ("prod", "x"));
    // Later it is neither given another one nor kept out.
    machine.take(&granted);
    let body = body(&machine);
    let proof = machine.identity.as_ref().map(|(key, _)| STANDARD.encode(key.sign(&proves("enrol", &body)).expect("a signature")));
    assert_eq!(hub.send(HERE, "/enrol", None, proof, body).await.0, StatusCode::OK);
    assert_eq!(tier().await, "prod");
}

#[tokio::test]
async fn a_key_renews_and_an_answer_that_got_lost_is_given_again() {
    let hub = hub();
    let token = hub.token(json!({"uses": 1})).await;
    let mut machine = Machine::new(ID);
    let (_, granted) = hub.enrol(&machine, Some(&token)).await;
    machine.take(&granted);
    let before = hub.keys().await;
    for _ in 0..3 {
        let (code, renewed) = hub.enrol(&machine, None).await;
        assert_eq!((code, &renewed["sid"]), (StatusCode::OK, &granted["sid"]));
    }
    let keys = hub.keys().await;
    assert_eq!((keys.len(), &keys[1]), (2, &before[0]), "the new key, and the one that asked for it");
    let (_, renewed) = hub.enrol(&machine, None).await;
    machine.take(&renewed);
    assert_eq!(hub.enrol(&machine, None).await.0, StatusCode::OK);
    assert!(!hub.keys().await.contains(&before[0]), "the oldest of three left");
}

#[tokio::test]
async fn a_cluster_is_never_taken_over_with_a_token_or_somebody_elses_proof() {
    let hub = hub();
    let token = hub.token(json!({})).await;
    let (mut owner, mut neighbour) = (Machine::new(ID), Machine::new("00000000-0000-4000-8000-000000000002"));
    owner.take(&hub.enrol(&owner, Some(&token)).await.1);
    let body = neighbour.body(json!({"name": "neighbour"})).to_string().into_bytes();
    let granted = hub.send(HERE, "/enrol", Some(&token), None, body).await.1;
    neighbour.take(&granted);
    let before = hub.keys().await;
    let (code, refused) = hub.enrol(&Machine::new(ID), Some(&token)).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert!(refused["message"].as_str().is_some_and(|why| why.contains("clusternet-hub replace shop")), "{refused}");
    // The neighbour's own good certificate, for this cluster.
    neighbour.id = ID.to_owned();
    assert_eq!(hub.enrol(&neighbour, Some(&token)).await.0, StatusCode::FORBIDDEN);
    // The owner's certificate with a proof by another key, and a proof for another body.
    let body = owner.body(json!({})).to_string().into_bytes();
    let by_other = STANDARD.encode(KeyPair::generate().expect("a key").sign(&proves("enrol", &body)).expect("signed"));
    assert_eq!(hub.send(HERE, "/enrol", None, Some(by_other), body.clone()).await.0, StatusCode::UNAUTHORIZED);
    let (key, _) = owner.identity.as_ref().expect("enrolled");
    let other_body = STANDARD.encode(key.sign(&proves("enrol", b"another")).expect("signed"));
    assert_eq!(hub.send(HERE, "/enrol", None, Some(other_body), body.clone()).await.0, StatusCode::UNAUTHORIZED);
    let other_purpose = STANDARD.encode(key.sign(&proves("unregister", &body)).expect("signed"));
    assert_eq!(hub.send(HERE, "/enrol", None, Some(other_purpose), body).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(hub.keys().await, before);
    // A name that is taken is refused with the remedy; the token was good, so it is told.
    let (code, refused) = hub.enrol(&Machine::new("00000000-0000-4000-8000-000000000003"), Some(&token)).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert!(refused["message"].as_str().is_some_and(|why| why.contains("register under another name")), "{refused}");
}

#[tokio::test]
async fn a_revoked_cluster_is_told_so_and_stays_out() {
    let hub = hub();
    let token = hub.token(json!({})).await;
    let mut machine = Machine::new(ID);
    machine.take(&hub.enrol(&machine, Some(&token)).await.1);
    let cluster = hub.cluster().await;
    let api = Api::<ManagedCluster>::namespaced(hub.client.clone(), &cluster.namespace().expect("one"));
    let revoked = json!({"metadata": {"annotations": {"clusternet.io/revoked": "stolen"}}});
    api.patch(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(revoked)).await.expect("patched");
    for token in [None, Some(token.as_str())] {
        let (code, refused) = hub.enrol(&machine, token).await;
        assert_eq!(code, StatusCode::FORBIDDEN);
        assert!(refused["message"].as_str().is_some_and(|why| why.contains("was revoked")), "{refused}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_by_field_and_what_is_too_large_by_its_limit() {
    let hub = hub();
    let token = hub.token(json!({})).await;
    let machine = Machine::new(ID);
    for (field, wrong) in [("clusterId", json!("../x")), ("csr", json!("x")), ("linkKey", json!("x")), ("name", json!({"a": 1}))] {
        let (code, refused) =
            hub.send(HERE, "/enrol", Some(&token), None, machine.body(json!({field: wrong})).to_string().into_bytes()).await;
        assert_eq!(code, StatusCode::BAD_REQUEST, "{field}: {refused}");
    }
    let (code, refused) =
        hub.send(HERE, "/enrol", Some(&token), None, machine.body(json!({"name": "Not_Valid"})).to_string().into_bytes()).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(refused["message"].as_str().is_some_and(|why| why.contains("clusterName")), "{refused}");
    assert_eq!(hub.send(HERE, "/enrol", Some(&token), None, vec![b' '; 20 << 10]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(hub.send(HERE, "/unregister", None, None, b"{}".to_vec()).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_address_that_guesses_has_to_wait_and_others_do_not() {
    let hub = hub();
    let token = hub.token(json!({})).await;
    let machine = Machine::new(ID);
    let mut codes = Vec::new();
    for guess in 0..40 {
        codes.push(hub.enrol(&machine, Some(&format!("guess{guess}.secret"))).await.0);
    }
    assert_eq!(codes.iter().filter(|code| **code == StatusCode::UNAUTHORIZED).count(), 20);
    assert_eq!(codes.last(), Some(&StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(hub.enrol(&machine, Some(&token)).await.0, StatusCode::TOO_MANY_REQUESTS, "also with the right one");
    let body = machine.body(json!({})).to_string().into_bytes();
    assert_eq!(hub.send([10, 0, 0, 8], "/enrol", Some(&token), None, body).await.0, StatusCode::OK);
}

#[tokio::test]
async fn only_the_cluster_itself_can_take_its_leave() {
    let hub = hub();
    let token = hub.token(json!({})).await;
    let mut machine = Machine::new(ID);
    machine.take(&hub.enrol(&machine, Some(&token)).await.1);
    let (key, certificate) = machine.identity.as_ref().expect("enrolled");
    let body = json!({"clusterId": ID, "certificate": certificate}).to_string().into_bytes();
    let forged = STANDARD.encode(KeyPair::generate().expect("a key").sign(&proves("unregister", &body)).expect("signed"));
    assert_eq!(hub.send(HERE, "/unregister", None, Some(forged), body.clone()).await.0, StatusCode::UNAUTHORIZED);
    hub.cluster().await;
    let proof = STANDARD.encode(key.sign(&proves("unregister", &body)).expect("signed"));
    assert_eq!(hub.send(HERE, "/unregister", None, Some(proof.clone()), body.clone()).await.0, StatusCode::OK);
    assert_eq!(hub.send(HERE, "/unregister", None, Some(proof), body).await.0, StatusCode::OK, "a lost answer is given again");
    let left = Api::<ManagedCluster>::all(hub.client.clone()).list(&Default::default()).await.expect("listed");
    assert!(left.items.is_empty());
    // The key it had lets it not come back; a token does.
    let (code, refused) = hub.enrol(&machine, None).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{refused}");
    let mut again = Machine::new(ID);
    let (code, granted) = hub.enrol(&again, Some(&token)).await;
    assert_eq!(code, StatusCode::OK, "{granted}");
    again.take(&granted);
}
