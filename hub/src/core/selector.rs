//! Label selectors with the full meaning Kubernetes gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// A checked selector; all requirements must hold, and none at all matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    DoesNotExist(String),
}

/// Why a selector means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("operator {operator:?} on label {key:?} is unknown: use In, NotIn, Exists or DoesNotExist")]
    UnknownOperator { key: String, operator: String },
    #[error("operator {operator} on label {key:?} needs at least one value")]
    NoValues { key: String, operator: String },
    #[error("operator {operator} on label {key:?} takes no values")]
    UnwantedValues { key: String, operator: String },
}

impl Selector {
    /// Checks a selector.
    ///
    /// # Errors
    /// An operator that is unknown, lacks its values or has values it can't take.
    pub fn parse(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let labels = selector.match_labels.iter().flatten();
        let equals = labels.map(|(key, value)| Ok(Requirement::In(key.clone(), BTreeSet::from([value.clone()]))));
        let expressions = selector.match_expressions.iter().flatten().map(Requirement::parse);
        equals.chain(expressions).collect::<Result<_, _>>().map(Self)
    }

    /// Whether these labels satisfy every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn parse(expression: &LabelSelectorRequirement) -> Result<Self, SelectorError> {
        let (key, operator) = (expression.key.clone(), expression.operator.clone());
        let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
        match (operator.as_str(), values.is_empty()) {
            ("In", false) => Ok(Self::In(key, values)),
            ("NotIn", false) => Ok(Self::NotIn(key, values)),
            ("Exists", true) => Ok(Self::Exists(key)),
            ("DoesNotExist", true) => Ok(Self::DoesNotExist(key)),
            ("In" | "NotIn", true) => Err(SelectorError::NoValues { key, operator }),
            ("Exists" | "DoesNotExist", false) => Err(SelectorError::UnwantedValues { key, operator }),
            _ => Err(SelectorError::UnknownOperator { key, operator }),
        }
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

/// Written as kubectl writes selectors, so that it can be pasted after `-l`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(every cluster)");
        }
        let parts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self {
            Self::In(key, values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Self::In(key, values) => write!(f, "{key} in ({})", list(values)),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", list(values)),
            Self::Exists(key) => f.write_str(key),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(selector: Value) -> Result<Selector, SelectorError> {
        Selector::parse(&serde_json::from_value(selector).expect("a selector"))
    }

    fn matches(selector: Value, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        parse(selector).expect("a valid selector").matches(&labels)
    }

    fn expression(operator: &str, values: &[&str]) -> Value {
        json!({ "matchExpressions": [{ "key": "tier", "operator": operator, "values": values }] })
    }

    #[test]
    fn an_empty_selector_matches_every_cluster() {
        assert!(matches(json!({}), &[]));
        assert!(matches(json!({}), &[("tier", "edge")]));
    }

    #[test]
    fn all_requirements_must_hold() {
        let both = json!({ "matchLabels": { "a": "1" }, "matchExpressions": [{ "key": "b", "operator": "Exists" }] });
        assert!(matches(both.clone(), &[("a", "1"), ("b", "")]));
        assert!(!matches(both.clone(), &[("a", "1")]));
        assert!(!matches(both, &[("a", "2"), ("b", "")]));
    }

    #[test]
    fn a_missing_label_satisfies_the_negative_operators_only() {
        assert!(matches(expression("NotIn", &["edge"]), &[]));
        assert!(matches(expression("DoesNotExist", &[]), &[]));
        assert!(!matches(expression("In", &["edge"]), &[]));
        assert!(!matches(expression("Exists", &[]), &[]));
    }

    #[test]
    fn a_present_label_is_compared_with_all_values() {
        assert!(matches(expression("In", &["core", "edge"]), &[("tier", "edge")]));
        assert!(!matches(expression("In", &["core"]), &[("tier", "edge")]));
        assert!(!matches(expression("NotIn", &["core", "edge"]), &[("tier", "edge")]));
        assert!(matches(expression("NotIn", &["core"]), &[("tier", "edge")]));
        assert!(!matches(expression("DoesNotExist", &[]), &[("tier", "edge")]));
    }

    #[test]
    fn operators_without_sense_are_refused_by_name() {
        assert!(matches!(parse(expression("In", &[])), Err(SelectorError::NoValues { .. })));
        assert!(matches!(parse(expression("Exists", &["x"])), Err(SelectorError::UnwantedValues { .. })));
        let unknown = parse(expression("Gt", &["1"])).expect_err("Gt is for nodes");
        assert_eq!(unknown.to_string(), "operator \"Gt\" on label \"tier\" is unknown: use In, NotIn, Exists or DoesNotExist");
    }

    #[test]
    fn a_selector_prints_as_kubectl_takes_it() {
        let selector = json!({ "matchLabels": { "a": "1" }, "matchExpressions": [
            { "key": "b", "operator": "NotIn", "values": ["x", "y"] }, { "key": "c", "operator": "DoesNotExist" }] });
        assert_eq!(parse(selector).expect("valid").to_string(), "a=1,b notin (x,y),!c");
    }
}
