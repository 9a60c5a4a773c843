//! From a template to the exact bytes that a member applies.
//!
//! Canonical JSON: keys sorted, no spaces, so that equal objects are equal bytes whatever wrote them. What belongs to one server's
//! copy of an object (uid, resourceVersion, status, owners, ...) is left out; what a user wrote is kept.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::id::{ObjectId, split_api_version};
use crate::kinds::names::{ANNOTATION_LAST_APPLIED, CREATED_BY_AGENT, LABEL_CREATED_BY, OWN_ANNOTATION_PREFIXES};

/// Metadata that one server wrote for its own copy; a foreign owner's uid would make the member collect the object at once.
const SERVER_METADATA: [&str; 9] = [
    "managedFields",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
];

/// A template ready to travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub object: ObjectId,
    /// The version part of its apiVersion.
    pub version: String,
    /// Canonical JSON, shared by everybody who sends it.
    pub bytes: Arc<[u8]>,
}

/// Why a template is no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template has no {field}: write it as a string")]
pub struct RenderError {
    field: &'static str,
}

/// Renders a template.
///
/// # Errors
/// A template without apiVersion, kind or name.
pub fn render(template: &Map<String, Value>) -> Result<Rendered, RenderError> {
    let (object, version) = identity(template)?;
    let mut body = template.clone();
    body.remove("status");
    clean_metadata(&mut body);
    if object.group.is_empty() && object.kind == "Service" {
        clean_service(&mut body);
    }
    Ok(Rendered { object, version, bytes: canonical(&Value::Object(body)).into() })
}

/// The identity of a template, and the version part of its apiVersion.
///
/// # Errors
/// A template without apiVersion, kind or name.
pub(super) fn identity(template: &Map<String, Value>) -> Result<(ObjectId, String), RenderError> {
    let text = |fields: Option<&Map<String, Value>>, key: &str, field: &'static str| {
        let value = fields.and_then(|fields| fields.get(key)).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.map(ToOwned::to_owned).ok_or(RenderError { field })
    };
    let metadata = template.get("metadata").and_then(Value::as_object);
    let api_version = text(Some(template), "apiVersion", "apiVersion")?;
    let (group, version) = split_api_version(&api_version);
    let object = ObjectId {
        group: group.to_owned(),
        kind: text(Some(template), "kind", "kind")?,
        namespace: text(metadata, "namespace", "metadata.namespace").unwrap_or_default(),
        name: text(metadata, "name", "metadata.name")?,
    };
    Ok((object, version.to_owned()))
}

fn clean_metadata(body: &mut Map<String, Value>) {
    let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    for field in SERVER_METADATA {
        metadata.remove(field);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| key != ANNOTATION_LAST_APPLIED && !OWN_ANNOTATION_PREFIXES.iter().any(|own| key.starts_with(own)));
    }
    if metadata.get("annotations").is_some_and(|annotations| annotations.as_object().is_none_or(Map::is_empty)) {
        metadata.remove("annotations");
    }
    if !metadata.get("labels").is_some_and(Value::is_object) {
        metadata.insert("labels".to_owned(), Value::Object(Map::new()));
    }
    metadata["labels"][LABEL_CREATED_BY] = CREATED_BY_AGENT.into();
}

/// Cluster IPs belong to one cluster; `None` is a choice of the author's (a headless Service), and so are node ports.
fn clean_service(body: &mut Map<String, Value>) {
    let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if spec.get("clusterIP").and_then(Value::as_str) != Some("None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
}

/// Writes JSON with sorted keys and no spaces.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            write_all(sorted, (b'{', b'}'), out, |(key, value), out| {
                write_scalar(&Value::String(key.clone()), out);
                out.push(b':');
                write(value, out);
            });
        }
        Value::Array(items) => write_all(items, (b'[', b']'), out, write),
        scalar => write_scalar(scalar, out),
    }
}

fn write_all<T>(items: impl IntoIterator<Item = T>, (open, close): (u8, u8), out: &mut Vec<u8>, each: impl Fn(T, &mut Vec<u8>)) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(close);
}

fn write_scalar(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a scalar with no map keys, written to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(template: Value) -> String {
        let rendered = render(template.as_object().expect("an object")).expect("a valid template");
        String::from_utf8(rendered.bytes.to_vec()).expect("JSON is UTF-8")
    }

    #[test]
    fn equal_objects_are_equal_bytes_whatever_the_order_of_their_keys() {
        let one = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"d"},"data":{"z":"1","a":"\u00e9\n"}}"#;
        let two = r#"{ "data": {"a":"é\n","z":"1"}, "metadata":{"namespace":"d","name":"a"}, "apiVersion":"v1", "kind":"ConfigMap" }"#;
        let read = |text: &str| super::tests::text(serde_json::from_str(text).expect("JSON"));
        assert_eq!(read(one), read(two));
        assert_eq!(
            read(one),
            r#"{"apiVersion":"v1","data":{"a":"é\n","z":"1"},"kind":"ConfigMap","metadata":{"labels":{"clusternet.io/created-by":"clusternet-agent"},"name":"a","namespace":"d"}}"#
        );
    }

    #[test]
    fn what_one_server_wrote_for_its_own_copy_is_left_out() {
        let plain = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "annotations": { "mine": "kept" } } });
        let mut lived = plain.clone();
        lived["status"] = json!({ "x": 1 });
        for field in SERVER_METADATA {
            lived["metadata"][field] = json!("x");
        }
        lived["metadata"]["annotations"][ANNOTATION_LAST_APPLIED] = json!("{}");
        lived["metadata"]["annotations"]["apps.clusternet.io/skip-validating"] = json!("true");
        assert_eq!(text(lived), text(plain));
    }

    #[test]
    fn labels_of_the_author_stay_and_ours_is_added() {
        let labelled = text(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a", "labels": { "app": "web" } } }));
        assert!(labelled.contains(r#""labels":{"app":"web","clusternet.io/created-by":"clusternet-agent"}"#), "{labelled}");
    }

    #[test]
    fn a_service_loses_its_cluster_ip_but_not_its_head_or_node_port() {
        let service = |ip: &str| {
            text(json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" },
                "spec": { "clusterIP": ip, "clusterIPs": [ip], "ports": [{ "port": 1, "nodePort": 30000 }] } }))
        };
        assert!(!service("10.0.0.1").contains("clusterIP"));
        assert!(service("10.0.0.1").contains(r#""nodePort":30000"#));
        assert!(service("None").contains(r#""clusterIP":"None","clusterIPs":["None"]"#));
    }

    #[test]
    fn identity_has_the_group_and_not_the_version() {
        let render_at = |api_version: &str| {
            let template = json!({ "apiVersion": api_version, "kind": "Deployment", "metadata": { "name": "a", "namespace": "d" } });
            render(template.as_object().expect("an object")).expect("valid")
        };
        let (old, new) = (render_at("apps/v1beta1"), render_at("apps/v1"));
        assert_eq!(old.object, new.object);
        assert_eq!((old.version.as_str(), new.version.as_str()), ("v1beta1", "v1"));
        assert_eq!(new.object.to_string(), "Deployment.apps d/a");
    }

    #[test]
    fn a_template_that_is_no_object_is_refused_by_field() {
        let refused = |template: Value| render(template.as_object().expect("an object")).expect_err("no object").to_string();
        assert_eq!(refused(json!({})), "template has no apiVersion: write it as a string");
        assert_eq!(refused(json!({ "apiVersion": "v1", "kind": 3 })), "template has no kind: write it as a string");
        assert_eq!(
            refused(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": [] })),
            "template has no metadata.name: write it as a string"
        );
    }
}
