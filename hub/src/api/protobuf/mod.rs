//! Protobuf request bodies (`application/vnd.kubernetes.protobuf`) as JSON objects.
//!
//! kubectl's generators and typed clients post protobuf and do not fall back on 415. The result is the object that the same
//! client would have sent as JSON, less nulls and a status that says nothing: Go writes zeros on the wire that its JSON leaves
//! out, so a zero is kept only where Go's JSON keeps it. A field that the table doesn't know is an error, never dropped.
//!
//! Limits: 3 MiB a body, 64 messages deep, 300,000 values. Nothing here panics, whatever the bytes.

mod special;
mod wire;

use serde_json::{Map, Value, json};

use super::types::{self, Field, FieldKind, Message, Shape};
use wire::{Fields, Wire};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The largest body that is read, in bytes, as on a Kubernetes API server.
pub const MAX_BODY: usize = 3 << 20;

/// CRD schemas nest deepest; members refuse what is deeper.
const MAX_DEPTH: usize = 64;

/// Two bytes on the wire can be a whole object in memory, so the number of values is bounded and not only the bytes.
const MAX_VALUES: usize = 300_000;

/// Decodes a body into a JSON object with `apiVersion` and `kind`.
///
/// # Errors
/// A sentence for the client: where in the object, what is wrong, and that JSON is the way out where it is.
pub fn decode(body: &[u8]) -> Result<Value, String> {
    if body.len() > MAX_BODY {
        return Err(format!("the body has {} bytes; at most {MAX_BODY} are read", body.len()));
    }
    let envelope = body.strip_prefix(MAGIC).ok_or("the body is no Kubernetes protobuf: it does not begin with k8s and a zero byte")?;
    let unknown = Unknown::read(envelope)?;
    let api_version = unknown.api_version;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let message = types::of_kind(group, version, unknown.kind)
        .ok_or_else(|| format!("{} {} is not known in protobuf form: send it as JSON", unknown.api_version, unknown.kind))?;
    let mut decoder = Decoder { values_left: MAX_VALUES };
    let mut object = decoder.message(message, unknown.raw, 0).map_err(|e| e.sentence(unknown.kind))?;
    if object.get("status").is_some_and(says_nothing) {
        object.remove("status");
    }
    object.insert("apiVersion".into(), json!(unknown.api_version));
    object.insert("kind".into(), json!(unknown.kind));
    Ok(Value::Object(object))
}

/// The envelope: `runtime.Unknown`.
struct Unknown<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

impl<'a> Unknown<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut unknown = Unknown { api_version: "", kind: "", raw: &[] };
        for field in Fields::of(bytes) {
            match field? {
                (1, Wire::Bytes(type_meta)) => unknown.type_meta(type_meta)?,
                (2, Wire::Bytes(raw)) => unknown.raw = raw,
                (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                    return Err("an encoded protobuf body is not read: send it plain".into());
                }
                _ => {}
            }
        }
        Ok(unknown)
    }

    fn type_meta(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        for field in Fields::of(bytes) {
            match field? {
                (1, Wire::Bytes(text)) => self.api_version = wire::text(text)?,
                (2, Wire::Bytes(text)) => self.kind = wire::text(text)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What is wrong, and the JSON path to it, innermost first.
struct Failure {
    path: Vec<String>,
    what: String,
}

impl Failure {
    fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }

    fn sentence(self, kind: &str) -> String {
        let path: Vec<String> = self.path.into_iter().rev().collect();
        if path.is_empty() { format!("{kind}: {}", self.what) } else { format!("{kind} {}: {}", path.join("."), self.what) }
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self { path: Vec::new(), what }
    }
}

struct Decoder {
    values_left: usize,
}

impl Decoder {
    fn message(&mut self, message: &'static Message, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Failure> {
        let mut object = Map::new();
        self.fill(message, &[], bytes, depth, &mut object)?;
        Ok(object)
    }

    /// Reads the fields of a message, or of one that it embeds (`embedded` is the path to it), into one JSON object.
    fn fill(
        &mut self,
        message: &'static Message,
        embedded: &[u32],
        bytes: &[u8],
        depth: usize,
        object: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} messages deep").into());
        }
        for field in Fields::of(bytes) {
            let (number, value) = field?;
            let path: Vec<u32> = embedded.iter().copied().chain([number]).collect();
            match (message.numbered(&path), value) {
                (Some((name, field)), value) => self.put(object, name, field, value, depth).map_err(|e| e.within(name))?,
                (None, Wire::Bytes(inner)) if message.embeds(&path) => self.fill(message, &path, inner, depth + 1, object)?,
                (None, _) => return Err(unknown_field(message, &path).into()),
            }
        }
        Ok(())
    }

    fn put(&mut self, object: &mut Map<String, Value>, name: &str, field: &Field, value: Wire, depth: usize) -> Result<(), Failure> {
        match field.shape {
            Shape::One => {
                let value = self.value(field.kind, value, depth)?;
                let meant = field.pointer || field.always || !is_zero(&value);
                if meant && !value.is_null() {
                    object.insert(name.to_owned(), value);
                }
            }
            Shape::List => {
                let values = self.elements(field.kind, value, depth)?;
                let list = object.entry(name).or_insert_with(|| json!([]));
                list.as_array_mut().ok_or_else(|| "both a list and a value".to_owned())?.extend(values);
            }
            Shape::Map => {
                let (key, value) = self.entry(field.kind, value, depth)?;
                let map = object.entry(name).or_insert_with(|| json!({}));
                let map = map.as_object_mut().ok_or_else(|| "both a map and a value".to_owned())?;
                if !value.is_null() {
                    map.insert(key, value);
                }
            }
        }
        Ok(())
    }

    /// One element, or several where an encoder has packed numbers.
    fn elements(&mut self, kind: FieldKind, value: Wire, depth: usize) -> Result<Vec<Value>, Failure> {
        match (kind, value) {
            (FieldKind::Int, Wire::Bytes(packed)) => {
                let numbers = wire::packed(packed)?;
                self.count(numbers.len())?;
                Ok(numbers.into_iter().map(|n| json!(n.cast_signed())).collect())
            }
            _ => Ok(vec![self.value(kind, value, depth)?]),
        }
    }

    fn entry(&mut self, kind: FieldKind, value: Wire, depth: usize) -> Result<(String, Value), Failure> {
        let (mut key, mut value_bytes) = (String::new(), None);
        for field in Fields::of(value.bytes()?) {
            match field? {
                (1, Wire::Bytes(text)) => key = wire::text(text)?.to_owned(),
                (2, value) => value_bytes = Some(value),
                (other, _) => return Err(format!("a map entry has no field {other}").into()),
            }
        }
        let value = value_bytes.unwrap_or(if kind.is_number() { Wire::Varint(0) } else { Wire::Bytes(&[]) });
        let value = self.value(kind, value, depth).map_err(|e| e.within(&key))?;
        Ok((key, value))
    }

    fn value(&mut self, kind: FieldKind, value: Wire, depth: usize) -> Result<Value, Failure> {
        self.count(1)?;
        Ok(match kind {
            FieldKind::Text => json!(wire::text(value.bytes()?)?),
            FieldKind::Bool => json!(value.varint()? != 0),
            FieldKind::Int => json!(value.varint()?.cast_signed()),
            FieldKind::Double => special::double(value.double()?)?,
            FieldKind::Bytes => special::base64(value.bytes()?),
            FieldKind::Time => special::time(value.bytes()?, 0)?,
            FieldKind::MicroTime => special::time(value.bytes()?, 6)?,
            FieldKind::Duration => special::duration(value.bytes()?)?,
            FieldKind::Quantity => special::quantity(value.bytes()?)?,
            FieldKind::IntOrString => special::int_or_string(value.bytes()?)?,
            FieldKind::Raw => special::raw(value.bytes()?)?,
            FieldKind::Items => special::items(value.bytes()?)?,
            FieldKind::SchemaOrBool => self.schema_or(value.bytes()?, Or::Bool, depth)?,
            FieldKind::SchemaOrArray => self.schema_or(value.bytes()?, Or::Schemas, depth)?,
            FieldKind::SchemaOrStrings => self.schema_or(value.bytes()?, Or::Strings, depth)?,
            FieldKind::Message(name) => {
                let message = types::message(name).ok_or_else(|| format!("type {name} is not in the table"))?;
                Value::Object(self.message(message, value.bytes()?, depth + 1)?)
            }
        })
    }

    /// The three forms of a CRD schema's `X or schema`, which JSON writes without the message around them.
    fn schema_or(&mut self, bytes: &[u8], or: Or, depth: usize) -> Result<Value, Failure> {
        let schema = FieldKind::Message("apiextensions.v1.JSONSchemaProps");
        let (mut single, mut many, mut allows) = (None, Vec::new(), false);
        for field in Fields::of(bytes) {
            match (or, field?) {
                (Or::Bool, (1, value)) => allows = value.varint()? != 0,
                (Or::Bool, (2, value)) | (Or::Schemas | Or::Strings, (1, value)) => single = Some(self.value(schema, value, depth + 1)?),
                (Or::Schemas, (2, value)) => many.push(self.value(schema, value, depth + 1)?),
                (Or::Strings, (2, value)) => many.push(self.value(FieldKind::Text, value, depth + 1)?),
                (_, (number, _)) => {
                    return Err(format!("unknown protobuf field {number} of a schema's {or:?}").into());
                }
            }
        }
        Ok(match (single, or) {
            _ if !many.is_empty() => Value::Array(many),
            (Some(schema), _) => schema,
            (None, Or::Bool) => json!(allows),
            (None, _) => Value::Null,
        })
    }

    fn count(&mut self, values: usize) -> Result<(), Failure> {
        let left = self.values_left.checked_sub(values);
        self.values_left = left.ok_or_else(|| format!("more than {MAX_VALUES} values in one object"))?;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Or {
    Bool,
    Schemas,
    Strings,
}

fn unknown_field(message: &Message, path: &[u32]) -> String {
    let number = path.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    format!("protobuf field {number} of {} is not known to this hub: send the object as JSON (kubectl apply -f does)", message.name)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Whether a status is only zeros, as Go sends one that nobody has set.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(says_nothing),
        other => is_zero(other),
    }
}

#[cfg(test)]
mod tests;
