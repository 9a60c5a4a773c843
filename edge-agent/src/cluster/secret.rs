//! `stringData` of a Secret as `data`: the server gives an applier no ownership of what came in as `stringData`, so nobody would notice
//! that somebody else changed it, and a key that leaves the template would stay.

use std::collections::BTreeMap;

use bus_schema::id::ObjectId;
use serde_json::value::{RawValue, to_raw_value};

/// The Secret's `data` with its `stringData` folded in, which wins as on the server; `None` where there is none.
///
/// # Errors
/// One of the two is no map of strings.
pub(super) fn folded(data: Option<&RawValue>, string_data: Option<&RawValue>) -> Result<Option<Box<RawValue>>, serde_json::Error> {
    let Some(plain) = string_data else { return Ok(None) };
    let plain: Option<BTreeMap<String, String>> = serde_json::from_str(plain.get())?;
    let data: Option<BTreeMap<String, Option<String>>> = data.map(|data| serde_json::from_str(data.get())).transpose()?.flatten();
    let mut all = data.unwrap_or_default();
    all.extend(plain.unwrap_or_default().into_iter().map(|(key, value)| (key, Some(base64(value.as_bytes())))));
    to_raw_value(&all).map(Some)
}

/// What is said of an object that was refused. A server quotes what it does not take; of a Secret that is cut off, since a message goes
/// into logs, conditions and Events, which more people read than Secrets.
pub fn discreet(object: &ObjectId, message: &str) -> String {
    const QUOTES: [&str; 4] = ["got ", "Value:", "value:", "invalid type"];
    if !(object.group.is_empty() && object.kind == "Secret") {
        return message.to_owned();
    }
    match QUOTES.iter().filter_map(|quote| message.find(quote)).min() {
        Some(at) => format!("{}(the value is not shown: correct the Secret's template)", &message[..at]),
        None => message.to_owned(),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let is_padding = digit > group.len();
            text.push(if is_padding { '=' } else { DIGITS[(bits >> (18 - 6 * digit)) as usize & 63].into() });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_refused_secret_has_none_of_its_values() {
        let message = r#"failed to create typed patch object (vault/login; /v1, Kind=Secret): .data.password: expected string, got &value.valueUnstructured{Value:map[string]interface {}{"x":"hunter2"}}"#;
        let (secret, other) = (ObjectId::new("", "Secret", "vault", "login"), ObjectId::new("", "ConfigMap", "vault", "login"));
        let said = discreet(&secret, message);
        assert!(said.contains(".data.password: expected string") && !said.contains("hunter2"), "{said}");
        assert_eq!(discreet(&other, message), message);
        assert_eq!(discreet(&secret, "secrets is forbidden"), "secrets is forbidden");
    }

    #[test]
    fn known_answers_of_base64() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("ÿ>?", "w78+Pw==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn string_data_wins_and_nulls_are_nothing() {
        let raw = |text: &str| RawValue::from_string(text.into()).expect("JSON");
        let folded = |data: &str, plain: &str| folded(Some(&raw(data)), Some(&raw(plain))).map(|all| all.map(|all| all.get().to_owned()));
        assert_eq!(folded(r#"{"a":"QQ==","b":"QQ=="}"#, r#"{"b":"foo"}"#).unwrap().as_deref(), Some(r#"{"a":"QQ==","b":"Zm9v"}"#));
        assert_eq!(folded("null", "null").unwrap().as_deref(), Some("{}"));
        assert!(folded("{}", r#"{"a":1}"#).is_err());
    }
}
