//! What is known of the fields of native types: one table, generated from Kubernetes' own, for protobuf bodies (numbers),
//! strategic merge (patch keys) and server-side apply (list types). Read by path, never guessed by name.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// One field of a type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The protobuf field number.
    #[serde(rename = "n")]
    pub number: u32,
    /// The numbers of the embedded messages around the field, outermost first: JSON shows it as its owner's own.
    #[serde(default)]
    pub via: Vec<u32>,
    #[serde(rename = "t")]
    pub kind: FieldKind,
    #[serde(default, rename = "s")]
    pub shape: Shape,
    /// A pointer in Go: a zero that was sent was meant.
    #[serde(default, rename = "p")]
    pub pointer: bool,
    /// Go's JSON writes the field even if it is zero.
    #[serde(default, rename = "a")]
    pub always: bool,
    /// `patchStrategy`: `merge`, `replace`, `retainKeys`, or two of them with a comma.
    #[serde(default, rename = "ps")]
    pub patch_strategy: &'static str,
    #[serde(default, rename = "pk")]
    pub patch_merge_key: &'static str,
    /// `x-kubernetes-list-type`: `map`, `set` or `atomic`.
    #[serde(default, rename = "lt")]
    pub list_type: &'static str,
    #[serde(default, rename = "lk")]
    pub list_map_keys: Vec<&'static str>,
    /// `x-kubernetes-map-type`: `atomic` or nothing.
    #[serde(default, rename = "mt")]
    pub map_type: &'static str,
    #[serde(default, rename = "d")]
    pub default: Option<serde_json::Value>,
}

impl Field {
    /// Whether a patch strategy (one of two, perhaps) is set.
    pub fn patches_by(&self, strategy: &str) -> bool {
        self.patch_strategy.split(',').any(|one| one == strategy)
    }

    /// The type that a patch descends into, for a field that holds one, a list or a map of them.
    pub fn message(&self) -> Option<&'static Message> {
        match self.kind {
            FieldKind::Message(name) => message(name),
            _ => None,
        }
    }
}

/// Whether a field holds one value, a list or a map from strings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    #[default]
    One,
    List,
    Map,
}

/// What a value of a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "&'static str")]
pub enum FieldKind {
    Text,
    Bytes,
    Bool,
    Int,
    Double,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// JSON carried as bytes: RawExtension, FieldsV1, a CRD schema's values.
    Raw,
    /// A message that is a list of strings in JSON.
    Items,
    SchemaOrBool,
    SchemaOrArray,
    SchemaOrStrings,
    /// Another type of the table.
    Message(&'static str),
}

impl FieldKind {
    /// Whether protobuf carries it as a varint.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Bool)
    }
}

impl From<&'static str> for FieldKind {
    fn from(name: &'static str) -> Self {
        match name {
            "str" => Self::Text,
            "bytes" => Self::Bytes,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "double" => Self::Double,
            "time" => Self::Time,
            "microtime" => Self::MicroTime,
            "duration" => Self::Duration,
            "quantity" => Self::Quantity,
            "intstr" => Self::IntOrString,
            "raw" => Self::Raw,
            "items" => Self::Items,
            "schemaOrBool" => Self::SchemaOrBool,
            "schemaOrArray" => Self::SchemaOrArray,
            "schemaOrStrings" => Self::SchemaOrStrings,
            other => Self::Message(other),
        }
    }
}

/// A type: its fields by JSON name, and by protobuf number.
#[derive(Debug)]
pub struct Message {
    pub name: &'static str,
    fields: HashMap<&'static str, Field>,
    by_number: HashMap<Vec<u32>, &'static str>,
}

impl Message {
    /// The field of a JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// The JSON name and field of a protobuf path: its number, after those of the embedded messages around it.
    pub fn numbered(&self, path: &[u32]) -> Option<(&'static str, &Field)> {
        let name = self.by_number.get(path)?;
        Some((name, self.fields.get(name)?))
    }

    /// Whether the path is that of an embedded message.
    pub fn embeds(&self, path: &[u32]) -> bool {
        self.by_number.keys().any(|known| known.len() > path.len() && known.starts_with(path))
    }

    /// All fields.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &Field)> {
        self.fields.iter().map(|(name, field)| (*name, field))
    }
}

/// The type of this name.
pub fn message(name: &str) -> Option<&'static Message> {
    TABLE.types.get(name)
}

/// The type of a native kind; `DeleteOptions` in any group, and autoscaling's `Scale`, too.
pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<&'static Message> {
    let key = match kind {
        "DeleteOptions" => "/v1/DeleteOptions".to_owned(),
        _ => format!("{group}/{version}/{kind}"),
    };
    message(TABLE.kinds.get(key.as_str())?)
}

struct Table {
    kinds: HashMap<&'static str, &'static str>,
    types: HashMap<&'static str, Message>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let file: File = serde_json::from_str(include_str!("../../data/types.json")).expect("types.json is generated and tested");
    let types = file.types.into_iter().map(|(name, fields)| (name, indexed(name, fields))).collect();
    Table { kinds: file.kinds, types }
});

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
struct File {
    kinds: HashMap<&'static str, &'static str>,
    types: HashMap<&'static str, HashMap<&'static str, Field>>,
}

fn indexed(name: &'static str, fields: HashMap<&'static str, Field>) -> Message {
    let path = |field: &Field| field.via.iter().copied().chain([field.number]).collect();
    let by_number = fields.iter().map(|(name, field)| (path(field), *name)).collect();
    Message { name, fields, by_number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::catalogue::{Role, catalogue};

    #[test]
    fn every_native_kind_has_its_type() {
        for r in catalogue().iter().filter(|r| r.role != Role::Own) {
            let found = of_kind(r.group, r.version, r.kind).unwrap_or_else(|| panic!("{}/{}", r.group, r.kind));
            assert!(found.field("metadata").is_some() || found.field("spec").is_some(), "{found:?}");
        }
        assert_eq!(of_kind("apps", "v1", "DeleteOptions").map(|m| m.name), Some("meta.v1.DeleteOptions"));
        assert!(of_kind("apps.clusternet.io", "v1alpha1", "Subscription").is_none());
    }

    #[test]
    fn every_type_that_a_field_names_is_in_the_table() {
        for message in TABLE.types.values() {
            for (name, field) in message.fields() {
                assert_eq!(matches!(field.kind, FieldKind::Message(_)), field.message().is_some(), "{}.{name}", message.name);
            }
            assert_eq!(message.by_number.len(), message.fields.len(), "{}: two fields share a number", message.name);
        }
    }

    #[test]
    fn the_keys_of_well_known_lists_are_known() {
        let field = |ty: &str, name: &str| message(ty).unwrap().field(name).unwrap();
        let ports = field("core.v1.ServiceSpec", "ports");
        assert_eq!((ports.patch_strategy, ports.patch_merge_key, ports.list_type), ("merge", "port", "map"));
        assert_eq!(ports.list_map_keys, ["port", "protocol"]);
        assert_eq!(field("core.v1.ServicePort", "protocol").default, Some(serde_json::json!("TCP")));
        assert!(field("core.v1.PodSpec", "volumes").patches_by("retainKeys"));
        assert_eq!(field("meta.v1.ObjectMeta", "finalizers").list_type, "set");
        assert_eq!(field("core.v1.Volume", "emptyDir").via, [2]);
    }
}
