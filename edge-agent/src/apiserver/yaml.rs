//! YAML as the JSON value that it stands for.

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// The first document; an entry that is null is as one that is not there.
///
/// # Errors
/// In words: what is not YAML, or has no JSON form.
pub fn read(text: &str) -> Result<Value, String> {
    let documents = YamlLoader::load_from_str(text.trim_start_matches('\u{feff}')).map_err(|error| error.to_string())?;
    documents.into_iter().next().map_or(Ok(Value::Null), value)
}

fn value(yaml: Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(found) => found.into(),
        Yaml::Integer(found) => found.into(),
        Yaml::Real(found) => found.parse::<f64>().map_err(|_| format!("{found:?} is no number"))?.into(),
        Yaml::String(found) => found.into(),
        Yaml::Array(found) => found.into_iter().map(value).collect::<Result<Vec<_>, _>>()?.into(),
        Yaml::Hash(found) => {
            let entries = found.into_iter().filter(|(_, held)| *held != Yaml::Null);
            let entries = entries.map(|(name, held)| Ok::<_, String>((key(name)?, value(held)?)));
            entries.collect::<Result<Map<_, _>, _>>()?.into()
        }
        Yaml::Alias(_) | Yaml::BadValue => return Err("an alias that stands for nothing".into()),
    })
}

fn key(yaml: Yaml) -> Result<String, String> {
    match yaml {
        Yaml::String(found) | Yaml::Real(found) => Ok(found),
        Yaml::Integer(found) => Ok(found.to_string()),
        Yaml::Boolean(found) => Ok(found.to_string()),
        other => Err(format!("{other:?} can't be a key")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_and_json_read_the_same() {
        let block = "a: [1, true]\nb:\n- {c: 'x: y'}\nd: |\n  two\n  lines\ne: null\n";
        let read_block = read(block).unwrap();
        assert_eq!(read_block, json!({"a": [1, true], "b": [{"c": "x: y"}], "d": "two\nlines\n"}));
        assert_eq!(read(&read_block.to_string()).unwrap(), read_block);
    }

    #[test]
    fn an_empty_file_is_null_and_half_a_list_is_an_error() {
        assert_eq!(read("").unwrap(), Value::Null);
        assert!(read("apiVersion: [").is_err());
    }
}
