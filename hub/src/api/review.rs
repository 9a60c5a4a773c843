//! Questions about oneself: answered, never stored.

use serde_json::{Value, json};

use super::catalogue::{self, Resource};
use super::identity::Identity;

/// The answer to a review that `identity` asks.
pub fn answer(resource: &Resource, identity: &Identity, mut question: Value) -> Value {
    question["apiVersion"] = resource.api_version().into();
    question["kind"] = resource.kind.into();
    question["status"] = match resource.kind {
        "SelfSubjectAccessReview" => access(identity, &question["spec"]),
        "SelfSubjectRulesReview" => rules(identity),
        _ => json!({"userInfo": {"username": identity.user, "groups": identity.groups}}),
    };
    if !question["metadata"].is_object() {
        question["metadata"] = json!({});
    }
    question
}

fn access(identity: &Identity, spec: &Value) -> Value {
    let wanted = &spec["resourceAttributes"];
    let text = |field: &str| wanted[field].as_str().unwrap_or_default();
    let of_plural = |resource: &&Resource| resource.group == text("group") && resource.plural == text("resource");
    let subresource = wanted["subresource"].as_str().filter(|subresource| !subresource.is_empty());
    let known = catalogue::catalogue().iter().find(of_plural);
    let allowed = identity.is_admin() || known.is_some_and(|resource| identity.may(text("verb"), resource, subresource));
    json!({"allowed": allowed, "reason": if allowed { "" } else { "the join token may only create, get and patch clusterregistrationrequests" }})
}

fn rules(identity: &Identity) -> Value {
    let rules = if identity.is_admin() {
        json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
    } else {
        json!([{"verbs": ["create", "get", "patch"], "apiGroups": ["clusters.clusternet.io"], "resources": ["clusterregistrationrequests"]}])
    };
    let paths = if identity.is_admin() { json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]) } else { json!([]) };
    json!({"resourceRules": rules, "nonResourceRules": paths, "incomplete": false})
}
