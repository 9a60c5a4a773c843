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

/// The variables in all strings and keys of a value.
///
/// # Errors
/// A `${` that names nothing known, or never ends.
pub fn used(value: &Value) -> Result<BTreeSet<Variable>, String> {
    let mut found = BTreeSet::new();
    walk(value, &mut |variable| {
        found.insert(variable.clone());
        Ok(String::new())
    })?;
    Ok(found)
}

/// The value with the cluster's own values in place.
///
/// # Errors
/// As [`used`], and a label or annotation that the cluster does not have.
pub fn fill(value: &Value, cluster: &ClusterValues<'_>) -> Result<Value, String> {
    walk(value, &mut |variable| {
        let missing = || format!("cluster {} has no value for {variable}", cluster.key);
        cluster.get(variable).map(ToOwned::to_owned).ok_or_else(missing)
    })
}

type Fill<'a> = dyn FnMut(&Variable) -> Result<String, String> + 'a;

fn walk(value: &Value, with: &mut Fill<'_>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(filled(text, with)?),
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
        out.push_str(&with(&Variable::parse(inner).ok_or_else(|| unknown(inner))?)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown(inner: &str) -> String {
    format!(
        "unknown variable ${{{inner}}}: there are cluster.name, cluster.namespace, cluster.id, cluster.labels['KEY'] and \
         cluster.annotations['KEY']; write $${{{inner}}} for the text itself"
    )
}
