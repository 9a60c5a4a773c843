use serde_json::{Value, json};

use super::*;
use crate::core::build::read;

const ID: &str = "00000000-0000-4000-8000-000000000001";
const NOW: i64 = 1_800_000_000;

fn token(spec: Value) -> JoinToken {
    let mut all = json!({"secretHash": "a".repeat(64), "expiresAt": "2027-01-15T08:00:01Z", "approval": "Auto"});
    json_patch::merge(&mut all, &spec);
    read(json!({"apiVersion": "access.clusternet.io/v1alpha1", "kind": "JoinToken", "metadata": {"name": "tok"}, "spec": all}))
}

fn cluster(keys: &[&str]) -> ManagedCluster {
    read(json!({"apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ManagedCluster", "metadata": {"namespace": "ns", "name": "shop"},
        "spec": {"clusterId": ID, "syncMode": "Pull"}, "status": {"sid": "abcdefgh", "tlsKeys": keys}}))
}

fn facts<'a>(token: Option<&'a JoinToken>, cluster: Option<&'a ManagedCluster>) -> Facts<'a> {
    let peer = "10.0.0.7".parse().unwrap();
    Facts {
        cluster_id: ID,
        name: "shop",
        key: "new",
        peer,
        now: NOW,
        token,
        signer: None,
        cluster,
        place: None,
        request: None,
        newest: Some(200),
    }
}

fn admitted(verdict: Verdict) -> Admission {
    match verdict {
        Verdict::Admit(admission) => admission,
        other => panic!("{other:?}"),
    }
}

fn refused(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refuse(why) => why,
        other => panic!("{other:?}"),
    }
}

const OLD: Signer<'_> = Signer { key: "old", sid: "abcdefgh", is_ours: true, is_current: true, begins: 100 };

#[test]
fn a_token_admits_a_new_cluster_with_the_labels_it_gives() {
    let token = token(json!({"uses": 1, "labels": {"tier": "edge"}, "cidrs": ["10.0.0.0/8"], "clusterName": "shop"}));
    let admission = admitted(decide(&facts(Some(&token), None)));
    assert_eq!((admission.counts, admission.token.as_deref(), admission.approval), (true, Some("tok"), None));
    assert_eq!(admission.labels["tier"], "edge");
}

#[test]
fn a_token_that_does_not_work_says_nothing_else() {
    for spec in [json!({"expiresAt": "2027-01-15T08:00:00Z"}), json!({"cidrs": ["192.168.0.0/16"]}), json!({"cidrs": ["nonsense"]})] {
        assert_eq!(decide(&facts(Some(&token(spec)), None)), Verdict::Unknown);
    }
    let mut used = token(json!({"uses": 3}));
    used.status = Some(read(json!({"used": 3})));
    assert_eq!(decide(&facts(Some(&used), None)), Verdict::Unknown);
    assert_eq!(decide(&facts(None, None)), Verdict::Unknown);
    assert_eq!(decide(&facts(None, Some(&cluster(&["old"])))), Verdict::Unknown);
}

#[test]
fn a_token_for_another_name_is_refused_with_the_name() {
    assert!(refused(decide(&facts(Some(&token(json!({"clusterName": "ship"}))), None))).contains("\"ship\""));
}

#[test]
fn a_token_never_takes_a_cluster_that_exists() {
    let token = token(json!({}));
    for keys in [&["old"][..], &[]] {
        assert!(refused(decide(&facts(Some(&token), Some(&cluster(keys))))).contains("clusternet-hub replace shop"));
    }
}

#[test]
fn a_key_of_the_cluster_needs_no_token_and_no_time() {
    let cluster = cluster(&["newer", "old"]);
    let late = Signer { is_current: false, is_ours: false, ..OLD };
    let admission = admitted(decide(&Facts { signer: Some(late), ..facts(None, Some(&cluster)) }));
    assert_eq!((admission.proved_by.as_deref(), admission.approval, admission.counts), (Some("old"), None, false));
}

#[test]
fn a_key_that_left_is_told_why_if_the_hub_made_its_certificate_and_nothing_if_not() {
    let replaced = cluster(&["newer"]);
    let asked = |cluster, signer| decide(&Facts { signer: Some(signer), ..facts(None, Some(cluster)) });
    assert!(refused(asked(&replaced, OLD)).contains("another machine's"));
    assert_eq!(asked(&replaced, Signer { is_ours: false, ..OLD }), Verdict::Unknown);
    let mut revoked = cluster(&["old"]);
    revoked.metadata.annotations = Some([(ANNOTATION_REVOKED.to_owned(), "stolen".to_owned())].into());
    assert!(refused(asked(&revoked, OLD)).contains("was revoked"), "also before its keys are taken away");
    let newer = Signer { begins: 300, ..OLD };
    assert!(refused(asked(&revoked, newer)).contains("was revoked"));
}

#[test]
fn an_older_copy_of_the_hub_takes_keys_that_are_newer_than_what_it_knows() {
    let cluster = cluster(&["before"]);
    let asked = |signer, newest| decide(&Facts { signer: Some(signer), newest, ..facts(None, Some(&cluster)) });
    assert_eq!(admitted(asked(OLD, Some(99))).proved_by.as_deref(), Some("old"));
    admitted(asked(OLD, None));
    for signer in [Signer { is_current: false, ..OLD }, Signer { sid: "another2", ..OLD }] {
        refused(asked(signer, Some(99)));
    }
    refused(asked(OLD, Some(100)));
    assert_eq!(asked(Signer { is_ours: false, ..OLD }, None), Verdict::Unknown);
}

#[test]
fn a_revoked_machine_does_not_come_back_by_a_token() {
    let revoked = cluster(&[]);
    let token = token(json!({}));
    refused(decide(&Facts { signer: Some(OLD), ..facts(Some(&token), Some(&revoked)) }));
    refused(decide(&facts(Some(&token), Some(&revoked))));
}

#[test]
fn a_hub_that_forgot_a_cluster_takes_it_back_by_its_certificate_and_asks_a_person_when_that_has_ended() {
    let asked = |signer| decide(&Facts { signer: Some(signer), ..facts(None, None) });
    let admission = admitted(asked(OLD));
    assert_eq!((admission.sid.as_deref(), admission.approval), (Some("abcdefgh"), None));
    assert_eq!(admitted(asked(Signer { is_current: false, ..OLD })).approval, Some(WAITS));
    assert_eq!(asked(Signer { is_ours: false, ..OLD }), Verdict::Unknown);
}

#[test]
fn a_replacing_token_gives_a_place_away_and_wins_over_the_key_that_is_there() {
    let (place, token) = (cluster(&["old"]), token(json!({"replaces": "ns/shop", "uses": 1})));
    let admission = admitted(decide(&Facts { place: Some(&place), ..facts(Some(&token), None) }));
    assert_eq!((admission.replaces, admission.proved_by, admission.counts), (Some(ClusterKey::new("ns", "shop")), None, true));
    let same = decide(&Facts { place: Some(&place), signer: Some(OLD), ..facts(Some(&token), Some(&place)) });
    assert_eq!(admitted(same).proved_by, None, "the old key goes, also if it signed");
    assert!(refused(decide(&facts(Some(&token), None))).contains("was deleted"));
    let mut other = cluster(&["new"]);
    other.metadata.name = Some("other".into());
    let taken = decide(&Facts { place: Some(&place), ..facts(Some(&token), Some(&other)) });
    assert!(refused(taken).contains("ns/other already"));
}

#[test]
fn only_the_newest_two_keys_are_accepted_and_the_older_leaves_when_the_newer_was_used() {
    let keys = keys_after("new", Some("old"));
    assert_eq!(keys, ["new", "old"]);
    assert_eq!(keys_after("new", None), ["new"]);
    assert_eq!(keys_after("new", Some("new")), ["new"]);
    assert_eq!(keys_after_use(&keys, "old"), None, "the new one may never have arrived");
    assert_eq!(keys_after_use(&keys, "new"), Some(vec!["new".to_owned()]));
    assert_eq!(keys_after_use(&["new".to_owned()], "new"), None);
}

mod people {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn request(csr: &str, annotations: Value) -> ClusterRegistrationRequest {
        read(json!({"apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ClusterRegistrationRequest",
            "metadata": {"name": format!("clusternet-{ID}"), "annotations": annotations}, "spec": {"clusterId": ID, "csr": csr}}))
    }

    #[test]
    fn what_a_person_said_holds_for_the_key_it_was_said_of() {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let hash = crate::tls::Csr::parse(&csr).unwrap().key_hash();
        let token = token(json!({"approval": "Manual", "uses": 1}));
        let asked = |said: Value, key: &str| {
            let request = request(&csr, json!({"clusternet.io/join-token": "tok", "clusternet.io/approval": said}));
            admitted(decide(&Facts { key, request: Some(&request), ..facts(Some(&token), None) }))
        };
        assert_eq!((asked(json!("pending"), &hash).approval, asked(json!("pending"), &hash).counts), (Some(WAITS), false));
        assert_eq!(asked(json!("approved"), &hash).approval, Some(GRANTED));
        assert_eq!((asked(json!("approved"), "another").approval, asked(json!("approved"), "another").counts), (Some(WAITS), true));
        assert_eq!(asked(json!("denied"), "another").approval, Some(REFUSED));
    }
}

/// A seeded model: agents with several keys ask again and again for few uses, answers get lost, and the hub crashes between counting a
/// use and writing the request, or between writing and answering.
#[test]
fn a_token_is_never_used_more_often_than_it_may_be() {
    use rcgen::{CertificateParams, KeyPair};
    let made = || CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let keys: Vec<(String, String)> = (0..6).map(|_| made()).map(|csr| (crate::tls::Csr::parse(&csr).unwrap().key_hash(), csr)).collect();
    let mut refusals = 0;
    for seed in 0..200_u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let uses = random.i32(1..5);
        let mut token = token(json!({"uses": uses}));
        let mut requests: BTreeMap<u8, ClusterRegistrationRequest> = BTreeMap::new();
        let mut written = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let (agent, (key, csr)) = (random.u8(0..4), &keys[random.usize(0..keys.len())]);
            let used = token.status.as_ref().map_or(0, |status| status.used);
            let again = requests.get(&agent).is_some_and(|request| request.spec.csr.as_ref() == Some(csr));
            let verdict = decide(&Facts { key, request: requests.get(&agent), ..facts(Some(&token), None) });
            let Verdict::Admit(admission) = verdict else {
                assert!(!again && used >= uses, "seed {seed}: refused although {used} of {uses} are used: {verdict:?}");
                refusals += 1;
                continue;
            };
            assert_eq!(admission.counts, !again, "seed {seed}: asking again costs nothing, asking anew costs one");
            if admission.counts {
                token.status = Some(read(json!({"used": used + 1})));
                if random.u8(0..5) == 0 {
                    continue; // The hub crashes: the use is lost.
                }
            }
            written.insert((agent, key));
            let annotations = json!({"clusternet.io/join-token": admission.token});
            requests.insert(
                agent,
                read(json!({"apiVersion": "clusters.clusternet.io/v1beta1", "kind": "ClusterRegistrationRequest",
                    "metadata": {"name": "clusternet-x", "annotations": annotations}, "spec": {"clusterId": ID, "csr": csr}})),
            );
        }
        assert!(written.len() <= usize::try_from(uses).unwrap(), "seed {seed}: {} of {uses}", written.len());
    }
    assert!(refusals > 1000, "hardly anybody was refused: {refusals}");
}
