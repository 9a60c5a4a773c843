//! Strings that hold YAML or JSON of their own, as a ConfigMap's do.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::kinds::FieldFormat;

/// Reads the text.
///
/// # Errors
/// It is not what its format says.
pub fn read(format: FieldFormat, text: &str) -> Result<Value, String> {
    match format {
        FieldFormat::YAML => serde_saphyr::from_str(text).map_err(|error| format!("the string there is no YAML: {error}")),
        FieldFormat::JSON => serde_json::from_str(text).map_err(|error| format!("the string there is no JSON: {error}")),
    }
}

/// Writes the text; JSON with four spaces, as Clusternet does.
///
/// # Errors
/// A value that the format can't say.
pub fn write(format: FieldFormat, value: &Value) -> Result<String, String> {
    match format {
        FieldFormat::YAML => serde_saphyr::to_string(value).map_err(|error| error.to_string()),
        FieldFormat::JSON => {
            let mut out = Vec::new();
            let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
            value.serialize(&mut serializer).map_err(|error| error.to_string())?;
            String::from_utf8(out).map_err(|error| error.to_string())
        }
    }
}
