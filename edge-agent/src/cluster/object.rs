//! Who an object is and what of its metadata the agent reads.
//!
//! Only the keys named here are kept when an answer is parsed: annotations can be a quarter of a megabyte each.
//! An object is *marked* when it carries both our label and an origin annotation; either alone proves nothing.

use serde::{Deserialize, Deserializer};

/// Label key that every applied object carries.
pub const CREATED_BY: &str = "clusternet.io/created-by";
/// Annotation key that says whether the agent made an object or found it.
pub const ORIGIN: &str = "clusternet.io/origin";
/// Annotation key that stops the correction of drift while its value is `true`.
pub const PAUSED: &str = "clusternet.io/paused";
/// Value of [`CREATED_BY`], and the field manager of every write.
pub const AGENT: &str = "clusternet-agent";

pub use bus_schema::id::ObjectId;

/// How an object came under the agent's care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The agent made it, so the agent may delete it.
    Created,
    /// It was there before, so it is released and never deleted.
    Adopted,
}

impl Origin {
    /// The annotation's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Adopted => "adopted",
        }
    }

    /// Reads the annotation's value; anything unknown is no origin.
    pub fn parse(value: &str) -> Option<Self> {
        [Self::Created, Self::Adopted].into_iter().find(|origin| origin.as_str() == value)
    }
}

/// An answer of which only the metadata is read (`PartialObjectMetadata`, or any object).
#[derive(Debug, Deserialize)]
pub struct Partial {
    /// The metadata.
    pub metadata: Meta,
}

/// One page of a `PartialObjectMetadataList`.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct PartialList<T = Partial> {
    /// Paging state.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects of this page.
    #[serde(default = "Vec::new", deserialize_with = "null_as_empty")]
    pub items: Vec<T>,
}

/// Where the next page begins.
#[derive(Debug, Default, Deserialize)]
pub struct ListMeta {
    /// Token of the next page, empty at the end.
    #[serde(default, rename = "continue")]
    pub next: String,
    /// What the list shows; a watch goes on from there.
    #[serde(default, rename = "resourceVersion")]
    pub resource_version: String,
    /// How many objects come after this page, where the server says so: it does not for selections.
    #[serde(default, rename = "remainingItemCount")]
    pub remaining: Option<u64>,
}

/// The metadata that decisions rest on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// UID, unique over the cluster's whole life.
    pub uid: String,
    /// Version of the stored object.
    pub resource_version: String,
    /// Generation of the spec, 0 for kinds without one.
    pub generation: i64,
    /// Set once a delete has been accepted.
    pub deletion_timestamp: Option<String>,
    /// The labels that are read.
    pub labels: Labels,
    /// The annotations that are read.
    pub annotations: Annotations,
    /// Owners, for walking chains.
    #[serde(deserialize_with = "null_as_empty")]
    pub owner_references: Vec<Owner>,
}

/// The labels that are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// [`CREATED_BY`].
    #[serde(rename = "clusternet.io/created-by")]
    pub created_by: Option<String>,
    /// The Service that an EndpointSlice belongs to.
    #[serde(rename = "kubernetes.io/service-name")]
    pub service_name: Option<String>,
    /// Who keeps an Endpoints object.
    #[serde(rename = "endpoints.kubernetes.io/managed-by")]
    pub endpoints_managed_by: Option<String>,
}

/// The annotations that are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// [`ORIGIN`].
    #[serde(rename = "clusternet.io/origin")]
    pub origin: Option<String>,
    /// [`PAUSED`].
    #[serde(rename = "clusternet.io/paused")]
    pub paused: Option<String>,
}

/// One owner reference.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Group and version, as in an object.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name, in the same namespace or cluster-scoped.
    pub name: String,
    /// UID of the owner meant.
    pub uid: String,
}

impl Meta {
    /// The origin written on the object, whether or not the label is there too.
    pub fn noted_origin(&self) -> Option<Origin> {
        self.annotations.origin.as_deref().and_then(Origin::parse)
    }

    /// The origin of an object that carries the whole mark; `None` means it is not ours.
    pub fn origin(&self) -> Option<Origin> {
        let labelled = self.labels.created_by.as_deref() == Some(AGENT);
        self.noted_origin().filter(|_| labelled)
    }

    /// Whether somebody has stopped the correction of drift.
    pub fn is_paused(&self) -> bool {
        self.annotations.paused.as_deref() == Some("true")
    }

    /// The object's identity, given the kind that it was read as.
    pub fn id(&self, group: &str, kind: &str) -> ObjectId {
        ObjectId::new(group, kind, &self.namespace, &self.name)
    }
}

/// Reads `null` as the empty value: the server writes an empty list so.
///
/// # Errors
/// What the value's own type finds wrong.
pub fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Splits `group/version` into its parts; the core group is empty.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(json: &str) -> Meta {
        serde_json::from_str(json).expect("test metadata")
    }

    #[test]
    fn a_mark_needs_both_label_and_annotation() {
        let label = r#""labels":{"clusternet.io/created-by":"clusternet-agent"}"#;
        let note = r#""annotations":{"clusternet.io/origin":"created","other":"x"}"#;
        assert_eq!(meta(&format!("{{{label},{note}}}")).origin(), Some(Origin::Created));
        assert_eq!(meta(&format!("{{{label}}}")).origin(), None);
        assert_eq!(meta(&format!("{{{note}}}")).origin(), None);
    }

    #[test]
    fn an_unknown_origin_is_none() {
        assert_eq!(Origin::parse("stolen"), None);
        assert_eq!(Origin::parse("adopted"), Some(Origin::Adopted));
    }

    #[test]
    fn a_null_list_is_an_empty_one() {
        let list: PartialList = serde_json::from_str(r#"{"items":null}"#).expect("a list");
        assert!(list.items.is_empty());
    }

    #[test]
    fn identities_read_like_kubernetes_names() {
        assert_eq!(ObjectId::new("apps", "Deployment", "shop", "web").to_string(), "Deployment.apps shop/web");
        assert_eq!(ObjectId::new("", "Namespace", "", "shop").to_string(), "Namespace shop");
    }
}
