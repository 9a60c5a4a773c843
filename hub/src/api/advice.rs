//! What a schema can't say of the hub's own kinds: mistakes that can be named before anything is stored, and what to do instead.
//!
//! Pure. Refusals are for what is wrong whatever comes later; what may yet become right is a sentence for a `Warning:` header.

use serde_json::Value;

use super::catalogue::{self, Resource, Role};
use super::failure::Cause;
use crate::core::overrides;
use crate::kinds::OverrideConfig;

/// What is said after the name of an unknown field, if there is a remedy for it.
pub fn remedy(resource: &Resource, field: &str) -> Option<&'static str> {
    let overriding = resource.kind == "Subscription" && matches!(field, "spec.overrides" | "spec.override");
    overriding.then_some(
        "overrides are objects of their own: make a Localization in the namespace of one cluster, or a Globalization for many, \
         and name the template in its spec.feed",
    )
}

/// Every field of an object of an own kind that can't be right.
pub fn wrong(resource: &Resource, object: &Value) -> Vec<Cause> {
    match resource.kind {
        "Subscription" => {
            let feeds = object["spec"]["feeds"].as_array().into_iter().flatten().enumerate();
            feeds.filter_map(|(index, feed)| wrong_version(&format!("spec.feeds[{index}].apiVersion"), feed)).collect()
        }
        "Localization" | "Globalization" => {
            let kind = object["spec"]["feed"]["kind"].as_str().unwrap_or_default();
            let wrong = configs(object).filter_map(|(index, value, config)| {
                let (field, why) = overrides::check(kind, &config)?;
                Some(Cause::invalid(format!("spec.overrides[{index}].{field}"), &value[field], why))
            });
            wrong_version("spec.feed.apiVersion", &object["spec"]["feed"]).into_iter().chain(wrong).collect()
        }
        _ => Vec::new(),
    }
}

/// A sentence for each part of an override that has no effect.
pub fn idle(resource: &Resource, object: &Value) -> Vec<String> {
    if !matches!(resource.kind, "Localization" | "Globalization") {
        return Vec::new();
    }
    let helm = configs(object).filter(|(_, value, _)| value["type"] == "Helm");
    helm.map(|(index, ..)| format!("spec.overrides[{index}]: type Helm has no effect yet, since HelmChart feeds distribute nothing"))
        .collect()
}

fn configs(object: &Value) -> impl Iterator<Item = (usize, &Value, OverrideConfig)> {
    let all = object["spec"]["overrides"].as_array().into_iter().flatten().enumerate();
    all.filter_map(|(index, value)| Some((index, value, serde_json::from_value(value.clone()).ok()?)))
}

/// A feed of a kind that its group does not have, although another served group does; of groups that are not served nothing is known.
fn wrong_version(field: &str, feed: &Value) -> Option<Cause> {
    let (kind, given) = (feed["kind"].as_str()?, feed["apiVersion"].as_str()?);
    let group = given.split_once('/').map_or("", |(group, _)| group);
    let served = |resource: &&Resource| resource.role == Role::Template || resource.role == Role::Own;
    if catalogue::find_kind(group, kind).is_some() || !catalogue::catalogue().iter().any(|resource| resource.group == group) {
        return None;
    }
    let right = catalogue::catalogue().iter().filter(served).find(|resource| resource.kind == kind)?;
    Some(Cause::invalid(field, &feed["apiVersion"], format_args!("{kind} is {}, not {given}", right.api_version())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(kind: &str, spec: Value) -> Vec<String> {
        let resource = catalogue::find_kind("apps.clusternet.io", kind).expect("served");
        wrong(resource, &json!({ "spec": spec })).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_feed_of_the_wrong_group_is_told_the_right_one() {
        let feeds = json!([
            { "apiVersion": "apps/v1", "kind": "Service", "name": "a" },
            { "apiVersion": "v1", "kind": "Deployment", "name": "a" },
            { "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "a" },
            { "apiVersion": "apps/v1beta1", "kind": "Deployment", "name": "a" },
            { "apiVersion": "v1", "kind": "Widget", "name": "a" },
        ]);
        assert_eq!(
            said("Subscription", json!({ "feeds": feeds })),
            [
                r#"spec.feeds[0].apiVersion: Invalid value: "apps/v1": Service is v1, not apps/v1"#,
                r#"spec.feeds[1].apiVersion: Invalid value: "v1": Deployment is apps/v1, not v1"#
            ]
        );
    }

    #[test]
    fn an_override_that_could_never_apply_is_refused_by_field() {
        let patch = |kind: &str, value: &str| json!({ "overrides": [{ "type": kind, "value": value }] });
        assert!(
            said("Localization", patch("JSONPatch", "a: b"))[0]
                .starts_with("spec.overrides[0].value: Invalid value: \"a: b\": value is no JSONPatch")
        );
        assert!(said("Globalization", patch("MergePatch", "{\"a\": \"${nope}\"}"))[0].contains("unknown variable ${nope}"));
        assert!(said("Globalization", patch("MergePatch", "a: b")).is_empty());
    }

    #[test]
    fn a_helm_override_of_anything_but_a_chart_is_refused_with_what_to_use() {
        let over = |kind: &str| json!({ "feed": { "kind": kind }, "overrides": [{ "type": "Helm", "value": "a: b" }] });
        let why = r#"spec.overrides[0].type: Invalid value: "Helm": Helm is for feeds of kind HelmChart: use MergePatch or JSONPatch for a Deployment"#;
        assert_eq!(said("Localization", over("Deployment")), [why]);
        assert!(said("Localization", over("HelmChart")).is_empty(), "Clusternet's documented examples are taken");
    }

    #[test]
    fn a_helm_override_is_told_that_it_does_nothing() {
        let resource = catalogue::find_kind("apps.clusternet.io", "Localization").expect("served");
        let object = json!({ "spec": { "overrides": [{ "type": "MergePatch", "value": "a: b" }, { "type": "Helm", "value": "a: b" }] } });
        assert_eq!(idle(resource, &object), ["spec.overrides[1]: type Helm has no effect yet, since HelmChart feeds distribute nothing"]);
    }
}
