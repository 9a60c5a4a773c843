//! The types whose JSON form is not that of their protobuf fields.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::wire::{self, Fields, Wire};
use crate::api::rfc3339;

pub fn base64(bytes: &[u8]) -> Value {
    json!(STANDARD.encode(bytes))
}

/// A whole number without a decimal point, as Go's JSON writes it.
pub fn double(number: f64) -> Result<Value, String> {
    #[expect(clippy::cast_possible_truncation, reason = "the guard holds it below 2^53")]
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        return Ok(json!(number as i64));
    }
    serde_json::Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("{number} has no JSON form"))
}

/// Seconds and nanoseconds; no bytes at all are Go's zero time, which is null.
pub fn time(bytes: &[u8], fraction: usize) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => seconds = value.varint()?.cast_signed(),
            (2, value) => nanos = u32::try_from(value.varint()?).map_err(|_| "a time's nanoseconds are out of range".to_owned())?,
            (other, _) => return Err(unknown("a time", other)),
        }
    }
    let in_range = (-62_135_596_800..=253_402_300_799).contains(&seconds) && nanos < 1_000_000_000;
    if !in_range {
        return Err("a time is outside the years 1 to 9999".into());
    }
    Ok(json!(rfc3339::format(seconds, nanos, fraction)))
}

/// Nanoseconds as Go writes them: `1h2m3.5s`, `1.5ms`, `0s`.
pub fn duration(bytes: &[u8]) -> Result<Value, String> {
    let mut nanos = 0;
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => nanos = value.varint()?.cast_signed(),
            (other, _) => return Err(unknown("a duration", other)),
        }
    }
    Ok(json!(duration_text(nanos)))
}

fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => decimal(total, 1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(total, 1_000_000, "ms"),
        _ => {
            let seconds = decimal(total % 60_000_000_000, 1_000_000_000, "s");
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, _) => format!("{minutes}m{seconds}"),
                _ => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

fn decimal(value: u64, unit: u64, name: &str) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return format!("{whole}{name}");
    }
    let width = unit.ilog10() as usize;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}{name}", fraction.trim_end_matches('0'))
}

pub fn quantity(bytes: &[u8]) -> Result<Value, String> {
    let mut quantity = "0";
    for field in Fields::of(bytes) {
        match field? {
            (1, Wire::Bytes([])) => {}
            (1, value) => quantity = wire::text(value.bytes()?)?,
            (other, _) => return Err(unknown("a quantity", other)),
        }
    }
    Ok(json!(quantity))
}

pub fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => is_text = value.varint()? == 1,
            (2, value) => number = value.varint()?.cast_signed(),
            (3, value) => text = wire::text(value.bytes()?)?,
            (other, _) => return Err(unknown("an integer or text", other)),
        }
    }
    Ok(if is_text { json!(text) } else { json!(number) })
}

/// JSON that is carried as bytes; none at all is null.
pub fn raw(bytes: &[u8]) -> Result<Value, String> {
    let mut raw: &[u8] = &[];
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => raw = value.bytes()?,
            (other, _) => return Err(unknown("a raw value", other)),
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(raw).map_err(|e| format!("a raw value is not JSON: {e}"))
}

pub fn items(bytes: &[u8]) -> Result<Value, String> {
    let mut items = Vec::new();
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => items.push(json!(wire::text(value.bytes()?)?)),
            (other, _) => return Err(unknown("a list", other)),
        }
    }
    Ok(Value::Array(items))
}

fn unknown(what: &str, number: u32) -> String {
    format!("{what} has no protobuf field {number}: send the object as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (1_000_000_000, "1s"),
            (1_050_000_000, "1.05s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-5_400_000_000_000, "-1h30m0s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration_text(nanos), text);
        }
    }
}
