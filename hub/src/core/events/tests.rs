use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::core::id::ClusterKey;

fn cluster(link: &str, reason: &str, unclaimed: &[&str]) -> ManagedClusterStatus {
    let object = |name: &&str| json!({ "kind": "ConfigMap", "namespace": "shop", "name": name, "state": "Unclaimed" });
    let objects: Vec<_> = unclaimed.iter().map(object).collect();
    let ready =
        json!({ "type": "Ready", "status": "Unknown", "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let status = json!({ "link": link, "conditions": [ready], "pending": { "objects": objects } });
    serde_json::from_value(status).expect("a status")
}

fn subscription(conditions: &[(&str, &str, &str, &str)], unwell: &[(&str, &str, &str)]) -> SubscriptionStatus {
    let conditions = conditions.iter().map(|(kind, status, reason, message)| {
        json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" })
    });
    let unwell = unwell.iter().map(
        |(cluster, reason, message)| json!({ "cluster": cluster, "object": "ConfigMap shop/x", "reason": reason, "message": message }),
    );
    let status = json!({ "conditions": conditions.collect::<Vec<_>>(), "unhealthyClusters": unwell.collect::<Vec<_>>() });
    serde_json::from_value(status).expect("a status")
}

fn told(drafts: Vec<EventDraft>) -> Vec<(&'static str, &'static str, String)> {
    drafts.into_iter().map(|draft| (draft.level, draft.reason, draft.message)).collect()
}

fn reasons(drafts: &[EventDraft]) -> Vec<&'static str> {
    drafts.iter().map(|draft| draft.reason).collect()
}

fn about(name: &str) -> Involved {
    Involved::cluster(&ClusterKey::new("ns", name), "uid".to_owned())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

#[test]
fn a_cluster_that_comes_goes_and_is_cloned_is_told_and_no_change_is_not() {
    let (here, away) = (cluster("Connected", "ManagedClusterReady", &[]), cluster("Offline", "ClusterStatusUnknown", &[]));
    assert_eq!(reasons(&of_cluster(&ManagedClusterStatus::default(), &here)), ["Connected"]);
    assert_eq!(told(of_cluster(&here, &away))[0].0, "Warning");
    assert_eq!(reasons(&of_cluster(&here, &away)), ["Away"]);
    assert_eq!(told(of_cluster(&away, &here)), [("Normal", "Connected", "the agent is connected".to_owned())]);
    assert_eq!(reasons(&of_cluster(&here, &cluster("Cloned", "AgentCloned", &[]))), ["AgentCloned"]);
    assert_eq!(of_cluster(&here, &here), []);
    assert_eq!(of_cluster(&away, &away), []);
    let restarted = cluster("Offline", "ClusterStatusNeverUpdated", &[]);
    assert_eq!(of_cluster(&here, &restarted), [], "a hub that was started again has lost no connection");
}

#[test]
fn an_unclaimed_object_is_told_once_and_many_are_named_and_counted() {
    let status = |names: &[&str]| cluster("Connected", "ManagedClusterReady", names);
    let drafts = of_cluster(&status(&["a"]), &status(&["a", "b"]));
    assert_eq!(reasons(&drafts), ["Unclaimed"]);
    assert!(drafts[0].message.starts_with("ConfigMap shop/b is on the cluster"), "{}", drafts[0].message);
    let drafts = of_cluster(&status(&[]), &status(&["a", "b", "c", "d", "e"]));
    assert_eq!(drafts.len(), MAX_NAMED);
    assert!(drafts[2].message.ends_with(" (and 2 others)"), "{}", drafts[2].message);
}

#[test]
fn what_is_refused_or_unhealthy_names_cluster_and_object_and_other_wording_is_no_news() {
    let none = subscription(&[], &[]);
    let after = subscription(&[], &[("ns/a", "ApplyFailed", "no (422)"), ("ns/b", "ImagePullBackOff", "back-off 10s")]);
    let expected = [
        ("Warning", "Refused", "ns/a: ConfigMap shop/x: no (422)".to_owned()),
        ("Warning", "Unhealthy", "ns/b: ConfigMap shop/x: ImagePullBackOff: back-off 10s".to_owned()),
    ];
    assert_eq!(told(of_subscription(&none, &after)), expected);
    assert_eq!(of_subscription(&after, &after), []);
    let worded = subscription(&[], &[("ns/a", "ApplyFailed", "no (422)"), ("ns/b", "ImagePullBackOff", "back-off 20s")]);
    assert_eq!(of_subscription(&after, &worded), []);
    assert_eq!(of_subscription(&after, &none), []);
}

#[test]
fn applied_and_healthy_are_told_when_they_become_true_and_an_override_when_it_fails() {
    let not_yet = subscription(&[("Applied", "False", "Progressing", "m"), ("Healthy", "Unknown", "NotObserved", "m")], &[]);
    let done = subscription(&[("Applied", "True", "Applied", "applied on 2 of 2 clusters"), ("Healthy", "True", "Healthy", "m")], &[]);
    assert_eq!(told(of_subscription(&not_yet, &done))[0], ("Normal", "Applied", "applied on 2 of 2 clusters".to_owned()));
    assert_eq!(reasons(&of_subscription(&not_yet, &done)), ["Applied", "Healthy"]);
    assert_eq!(of_subscription(&done, &done), []);
    let failed = |message| subscription(&[("OverridesApplied", "False", "OverrideFailed", message)], &[]);
    assert_eq!(told(of_subscription(&not_yet, &failed("why"))), [("Warning", "OverrideFailed", "why".to_owned())]);
    assert_eq!(of_subscription(&failed("why"), &failed("why")), []);
    assert_eq!(reasons(&of_subscription(&failed("why"), &failed("another"))), ["OverrideFailed"]);
    assert_eq!(of_subscription(&not_yet, &subscription(&[("OverridesApplied", "False", "ApplyLater", "m")], &[])), []);
}

#[test]
fn a_dispute_is_told_when_it_begins() {
    let dispute: BTreeSet<String> = ["ns/a: Deployment.apps shop/web: hpa: spec.replicas".to_owned()].into();
    assert_eq!(told(of_disputes(&BTreeSet::new(), &dispute))[0].1, "Contested");
    assert_eq!(of_disputes(&dispute, &dispute), []);
    assert_eq!(of_disputes(&dispute, &BTreeSet::new()), []);
}

#[test]
fn flapping_is_bounded_by_the_minute_and_hurts_no_other_object() {
    let (mut book, draft) = (Book::default(), |n: i64| EventDraft::warning("Away", format!("{n}")));
    let told = (0..50).filter(|n| book.record(&about("a"), draft(*n), at(600 + n))).count();
    assert_eq!(told, MOST_A_MINUTE as usize);
    assert!(book.record(&about("b"), draft(0), at(659)));
    assert!(book.record(&about("a"), draft(0), at(660)), "the next minute is a new one");
}

#[test]
fn the_same_said_again_is_one_event_that_is_counted() {
    let (mut book, draft) = (Book::default(), EventDraft::normal("Connected", "m"));
    [600, 610, 620].into_iter().for_each(|second| assert!(book.record(&about("a"), draft.clone(), at(second))));
    let first = book.take().expect("owed");
    assert_eq!((first.times, first.first, first.last), (3, at(600), at(620)));
    assert_eq!(book.take(), None);
    book.record(&about("a"), draft, at(630));
    assert_eq!(book.take().map(|owed| owed.name), Some(first.name.clone()), "its name stays");
    book.record(&about("a"), EventDraft::normal("Connected", "other"), at(630));
    assert_ne!(book.take().expect("owed").name, first.name);
}

#[test]
fn what_waits_is_bounded_and_the_oldest_is_lost() {
    let mut book = Book::default();
    for n in 0..=MAX_OWED {
        book.record(&about(&format!("c{n}")), EventDraft::normal("Connected", "m"), at(600));
    }
    assert_eq!(book.take().map(|owed| owed.about.name), Some("c1".to_owned()));
    assert_eq!(std::iter::from_fn(|| book.take()).count(), MAX_OWED - 1);
}

#[test]
fn names_and_messages_fit_what_an_api_server_takes() {
    let draft = EventDraft::normal("Connected", "é".repeat(2000));
    assert!(draft.message.len() <= 1024 && draft.message.ends_with("..."));
    let mut book = Book::default();
    book.record(&about(&format!("{}.b", "a".repeat(229))), draft, at(600));
    let name = book.take().expect("owed").name;
    assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    let many = (0..9).map(|_| EventDraft::warning("Refused", "x".repeat(1024))).collect();
    assert!(few(many).iter().all(|draft| draft.message.len() <= 1024));
}
