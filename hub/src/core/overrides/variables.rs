//! `${cluster.name}` and its like: what the text of an override takes from the cluster it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use crate::core::id::ClusterKey;

/// One thing that a cluster has its own value of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    Name,
    Namespace,
    Id,
    Label(String),
    Annotation(String),
}

/// Where the values come from.
#[derive(Clone, Copy, Debug)]
pub struct ClusterValues<'a> {
    pub key: &'a ClusterKey,
    pub id: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub annotations: &'a BTreeMap<String, String>,
}

impl ClusterValues<'_> {
    /// The cluster's value; none for a label or annotation that it does not have.
    pub fn get(&self, variable: &Variable) -> Option<&str> {
        match variable {
            Variable::Name => Some(&self.key.name),
            Variable::Namespace => Some(&self.key.namespace),
            Variable::Id => Some(self.id),
            Variable::Label(key) => self.labels.get(key).map(String::as_str),
            Variable::Annotation(key) => self.annotations.get(key).map(String::as_str),
        }
    }
}

impl Variable {
    fn parse(text: &str) -> Option<Self> {
        let keyed = |of: &str| text.strip_prefix(of)?.strip_suffix("']").filter(|key| !key.is_empty() && !key.contains('\''));
        match text {
            "cluster.name" => Some(Self::Name),
            "cluster.namespace" => Some(Self::Namespace),
            "cluster.id" => Some(Self::Id),
            _ => keyed("cluster.labels['")
                .map(|key| Self::Label(key.to_owned()))
                .or_else(|| keyed("cluster.annotations['").map(|key| Self::Annotation(key.to_owned()))),
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("${cluster.name}"),
            Self::Namespace => f.write_str("${cluster.namespace}"),
            Self::Id => f.write_str("${cluster.id}"),
            Self::Label(key) => write!(f, "${{cluster.labels['{key}']}}"),
            Self::Annotation(key) => write!(f, "${{cluster.annotations['{key}']}}"),
        }
    }
}

/// What a variable that is a whole value is turned into, as in `${int:cluster.labels['replicas']}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Int,
    Bool,
    Json,
}

impl Type {
    /// Reads a string that is one variable with a type before it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let inner = text.strip_prefix("${")?.strip_suffix('}')?;
        let (kind, of) = inner.split_once(':')?;
        let kind = match kind {
            "int" => Self::Int,
            "bool" => Self::Bool,
            "json" => Self::Json,
            _ => return None,
        };
        Some((kind, of))
    }

    fn read(self, text: &str, variable: &Variable) -> Result<Value, String> {
        let (found, wanted) = match self {
            Self::Int => (text.parse::<i64>().ok().map(Value::from), "a whole number"),
            Self::Bool => (text.parse::<bool>().ok().map(Value::from), "true or false"),
            Self::Json => (serde_json::from_str(text).ok(), "JSON"),
        };
        found.ok_or_else(|| format!("{variable} is {text:?} here, and must be {wanted}"))
    }
}

/// The variables in all strings and keys of a value.
///
/// # Errors
/// A `${` that names nothing known, or never ends.
pub fn used(value: &Value) -> Result<BTreeSet<Variable>, String> {
    let mut found = BTreeSet::new();
    walk(value, &mut |variable, _| {
        found.insert(variable.clone());
        Ok(Value::String(String::new()))
    })?;
    Ok(found)
}

/// The value with the cluster's own values in place.
///
/// # Errors
/// As [`used`], a label or annotation that the cluster does not have, and one that is not what it is to be turned into.
pub fn fill(value: &Value, cluster: &ClusterValues<'_>) -> Result<Value, String> {
    walk(value, &mut |variable, into| {
        let missing = || format!("cluster {} has no value for {variable}", cluster.key);
        let text = cluster.get(variable).ok_or_else(missing)?;
        match into {
            None => Ok(text.into()),
            Some(into) => into.read(text, variable).map_err(|why| format!("cluster {}: {why}", cluster.key)),
        }
    })
}

type Fill<'a> = dyn FnMut(&Variable, Option<Type>) -> Result<Value, String> + 'a;

fn walk(value: &Value, with: &mut Fill<'_>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match Type::parse(text) {
            Some((into, inner)) => with(&Variable::parse(inner).ok_or_else(|| unknown(inner))?, Some(into))?,
            None => Value::String(filled(text, with)?),
        },
        Value::Array(items) => Value::Array(items.iter().map(|item| walk(item, with)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let mut all = Map::new();
            for (key, value) in fields {
                all.insert(filled(key, with)?, walk(value, with)?);
            }
            Value::Object(all)
        }
        scalar => scalar.clone(),
    })
}

fn filled(text: &str, with: &mut Fill<'_>) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        let Some((inner, after)) = after.split_once('}') else {
            return Err(format!("\"${{{after}\" has no closing brace: write $${{ for the text ${{"));
        };
        out.push_str(before);
        out.push_str(with(&Variable::parse(inner).ok_or_else(|| unknown(inner))?, None)?.as_str().unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown(inner: &str) -> String {
    if ["int:", "bool:", "json:"].iter().any(|kind| inner.starts_with(kind)) {
        return format!(
            "${{{inner}}} is not text: it must name a variable and be the whole value, as in replicas: \"${{int:cluster.labels['KEY']}}\""
        );
    }
    format!(
        "unknown variable ${{{inner}}}: there are cluster.name, cluster.namespace, cluster.id, cluster.labels['KEY'] and \
         cluster.annotations['KEY'], each with int:, bool: or json: before it where the whole value is no text; write $${{{inner}}} for \
         the text itself"
    )
}
