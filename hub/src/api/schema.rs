//! Structural schemas (OpenAPI v3 as CRDs carry it): unknown fields, defaults and validation of the hub's own kinds.
//!
//! Pure. Not evaluated: CEL rules, `anyOf`/`oneOf`/`not`, `format`.

use regex::Regex;
use serde_json::{Map, Value, json};

use super::failure::Cause;

/// Removes fields that the schema does not know and nulls where none may be; returns the paths of the unknown fields.
pub fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let Some(map) = object.as_object_mut() else { return unknown };
    // Type and metadata are the API's own business.
    let aside = aside(map);
    prune_at(schema, object, "", &mut unknown);
    bring_back(object, aside);
    unknown
}

/// Fills in the defaults of missing fields.
pub fn fill_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in properties(schema) {
                if let (false, Some(default)) = (map.contains_key(name), property.get("default")) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(schema) = property(schema, name) {
                    fill_defaults(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| fill_defaults(schema, item));
            }
        }
        _ => {}
    }
}

/// Every field that breaks the schema.
pub fn validate(schema: &Value, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        aside(map);
        map.insert("metadata".into(), json!({}));
    }
    validate_at(schema, &object, "", &mut causes);
    causes
}

const ASIDE: &[&str] = &["apiVersion", "kind", "metadata"];

fn aside(map: &mut Map<String, Value>) -> Vec<(&'static str, Value)> {
    ASIDE.iter().filter_map(|field| Some((*field, map.remove(*field)?))).collect()
}

fn bring_back(object: &mut Value, aside: Vec<(&'static str, Value)>) {
    for (field, value) in aside {
        if let Some(map) = object.as_object_mut() {
            map.insert(field.into(), value);
        }
    }
}

fn prune_at(schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| !(value.is_null() && property(schema, name).is_some_and(|schema| !flag(schema, "nullable"))));
            if !keeps_unknown(schema) {
                map.retain(|name, _| {
                    let known = property(schema, name).is_some();
                    if !known {
                        unknown.push(join(path, name));
                    }
                    known
                });
            }
            for (name, value) in map.iter_mut() {
                if let Some(schema) = property(schema, name) {
                    prune_at(schema, value, &join(path, name), unknown);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (index, item) in items.iter_mut().enumerate() {
                prune_at(schema, item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn validate_at(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    if let Some(wanted) = wrong_type(schema, value) {
        let message =
            format!("Invalid value: {:?}: {} in body must be of type {wanted}: {:?}", type_of(value), shown(path), type_of(value));
        causes.push(Cause { field: shown(path), reason: "FieldValueTypeInvalid", message });
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", list.join(", "));
        causes.push(Cause { field: shown(path), reason: "FieldValueNotSupported", message });
    }
    match value {
        Value::String(text) => validate_text(schema, text, value, path, causes),
        Value::Number(number) => validate_number(schema, number.as_f64().unwrap_or_default(), value, path, causes),
        Value::Array(items) => {
            validate_size(schema, ["minItems", "maxItems"], "items", items.len(), value, path, causes);
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    validate_at(schema, item, &format!("{path}[{index}]"), causes);
                }
            }
        }
        Value::Object(map) => {
            validate_size(schema, ["minProperties", "maxProperties"], "properties", map.len(), value, path, causes);
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            causes.extend(required.filter(|name| !map.contains_key(*name)).map(|name| Cause::required(join(path, name))));
            for (name, value) in map {
                if let Some(schema) = property(schema, name) {
                    validate_at(schema, value, &join(path, name), causes);
                }
            }
        }
        _ => {}
    }
}

fn validate_text(schema: &Value, text: &str, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    validate_size(schema, ["minLength", "maxLength"], "characters", text.chars().count(), value, path, causes);
    if let Some(pattern) = schema["pattern"].as_str() {
        let matches = Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
        if !matches {
            causes.push(Cause::invalid(shown(path), value, format_args!("{path} in body should match '{pattern}'")));
        }
    }
}

fn validate_number(schema: &Value, number: f64, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(least) = schema["minimum"].as_f64()
        && (number < least || (flag(schema, "exclusiveMinimum") && number == least))
    {
        causes.push(Cause::invalid(shown(path), value, format_args!("{path} in body should be greater than or equal to {least}")));
    }
    if let Some(most) = schema["maximum"].as_f64()
        && (number > most || (flag(schema, "exclusiveMaximum") && number == most))
    {
        causes.push(Cause::invalid(shown(path), value, format_args!("{path} in body should be less than or equal to {most}")));
    }
}

fn validate_size(schema: &Value, bounds: [&str; 2], what: &str, size: usize, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let [least, most] = bounds.map(|bound| schema[bound].as_u64());
    if let Some(least) = least.filter(|least| (size as u64) < *least) {
        causes.push(Cause::invalid(shown(path), value, format_args!("must have at least {least} {what}")));
    }
    if let Some(most) = most.filter(|most| size as u64 > *most) {
        let message = format!("Too long: may not have more than {most} {what}");
        causes.push(Cause { field: shown(path), reason: "FieldValueTooLong", message });
    }
}

/// The type the schema wants, when the value has another.
fn wrong_type<'a>(schema: &'a Value, value: &Value) -> Option<&'a str> {
    if flag(schema, "x-kubernetes-int-or-string") {
        return (!value.is_string() && !value.is_i64() && !value.is_u64()).then_some("integer or string");
    }
    let wanted = schema["type"].as_str()?;
    let whole = || value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => whole(),
        "number" => value.is_number(),
        _ => true,
    };
    (!fits).then_some(wanted)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema["properties"].get(name).or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
}

fn keeps_unknown(schema: &Value) -> bool {
    let open = schema["additionalProperties"] == Value::Bool(true);
    let shapeless = schema.get("properties").is_none() && schema.get("additionalProperties").is_none() && schema.get("type").is_none();
    open || shapeless || flag(schema, "x-kubernetes-preserve-unknown-fields")
}

fn flag(schema: &Value, name: &str) -> bool {
    schema[name].as_bool().unwrap_or(false)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn shown(path: &str) -> String {
    if path.is_empty() { "<root>".into() } else { path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "required": ["spec"], "properties": {
            "spec": {"type": "object", "required": ["feeds"], "properties": {
                "feeds": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["kind"], "properties": {
                    "kind": {"type": "string", "pattern": "^[A-Z]"}, "weight": {"type": "integer", "default": 1, "minimum": 0, "maximum": 9}}}},
                "strategy": {"type": "string", "enum": ["A", "B"], "default": "A"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "name": {"type": "string", "maxLength": 3, "nullable": true},
            }},
        }})
    }

    fn fields(object: Value) -> Vec<String> {
        validate(&schema(), &object).into_iter().map(|cause| cause.field).collect()
    }

    #[test]
    fn unknown_fields_are_named_with_their_path_and_removed() {
        let mut object = json!({"kind": "X", "metadata": {"any": 1}, "spek": 1, "spec": {"feeds": [{"kind": "A", "x": 1}], "labels": {"a": "b"}, "free": {"y": 1}}});
        let mut unknown = prune(&schema(), &mut object);
        unknown.sort();
        assert_eq!(unknown, ["spec.feeds[0].x", "spek"]);
        assert_eq!(
            object,
            json!({"kind": "X", "metadata": {"any": 1}, "spec": {"feeds": [{"kind": "A"}], "labels": {"a": "b"}, "free": {"y": 1}}})
        );
    }

    #[test]
    fn nulls_go_where_none_may_be_and_defaults_come() {
        let mut object = json!({"spec": {"strategy": null, "name": null, "feeds": [{"kind": "A"}]}});
        prune(&schema(), &mut object);
        fill_defaults(&schema(), &mut object);
        assert_eq!(object, json!({"spec": {"strategy": "A", "name": null, "feeds": [{"kind": "A", "weight": 1}]}}));
    }

    #[test]
    fn each_broken_rule_names_its_field() {
        assert!(fields(json!({"spec": {"feeds": [{"kind": "A"}]}})).is_empty());
        assert_eq!(fields(json!({})), ["spec"]);
        assert_eq!(fields(json!({"spec": {"feeds": []}})), ["spec.feeds"]);
        assert_eq!(
            fields(json!({"spec": {"feeds": [{"kind": "a"}, {"weight": 10}, {"kind": 5}]}})),
            ["spec.feeds[0].kind", "spec.feeds[1].kind", "spec.feeds[1].weight", "spec.feeds[2].kind"]
        );
        assert_eq!(
            fields(json!({"spec": {"feeds": [{"kind": "A"}], "strategy": "C", "name": "long", "labels": {"a": 1}}})),
            ["spec.labels.a", "spec.name", "spec.strategy"]
        );
        assert_eq!(fields(json!({"spec": []})), ["spec"]);
    }
}
