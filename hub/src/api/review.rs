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
    let known = catalogue::catalogue().iter().find(of_plural);
    let allowed = identity.is_admin() || known.is_some_and(|resource| identity.may(text("verb"), resource));
    json!({"allowed": allowed, "reason": if allowed { "" } else { "only the admin token may do this" }})
}

fn rules(identity: &Identity) -> Value {
    let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    let paths = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    let (rules, paths) = if identity.is_admin() { (all, paths) } else { (json!([]), json!([])) };
    json!({"resourceRules": rules, "nonResourceRules": paths, "incomplete": false})
}
