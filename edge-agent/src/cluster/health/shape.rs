//! The parts of live objects that health is read from. Absent and `null` are the same.

use std::collections::BTreeMap;

use bus_schema::message::Replicas;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) generation: i64,
    pub(super) deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

impl Condition {
    pub(super) fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    pub(super) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }
}

/// The condition of this type, if it has this status.
pub(super) fn condition<'a>(conditions: Option<&'a [Condition]>, kind: &str, status: &str) -> Option<&'a Condition> {
    conditions?.iter().find(|condition| condition.kind == kind && condition.status == status)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Selector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<Expression>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

impl Selector {
    /// As a label selector in a query; `None` would select everything.
    pub(super) fn query(&self) -> Option<String> {
        let labels = self.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
        let expressions = self.match_expressions.iter().flatten().filter_map(Expression::query);
        let query = labels.chain(expressions).collect::<Vec<_>>().join(",");
        (!query.is_empty()).then_some(query)
    }
}

impl Expression {
    fn query(&self) -> Option<String> {
        let values = || self.values.as_deref().unwrap_or_default().join(",");
        Some(match self.operator.as_str() {
            "In" => format!("{} in ({})", self.key, values()),
            "NotIn" => format!("{} notin ({})", self.key, values()),
            "Exists" => self.key.clone(),
            "DoesNotExist" => format!("!{}", self.key),
            _ => return None,
        })
    }
}

/// A workload of `apps`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Workload {
    pub(super) metadata: Meta,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) replicas: Option<i32>,
    pub(super) paused: bool,
    pub(super) selector: Selector,
    pub(super) update_strategy: Strategy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Strategy {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) rolling_update: Option<Rolling>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rolling {
    pub(super) partition: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) observed_generation: i64,
    pub(super) replicas: i32,
    pub(super) updated_replicas: i32,
    pub(super) current_replicas: i32,
    pub(super) ready_replicas: i32,
    pub(super) available_replicas: i32,
    pub(super) unavailable_replicas: i32,
    pub(super) current_revision: String,
    pub(super) update_revision: String,
    pub(super) desired_number_scheduled: i32,
    pub(super) current_number_scheduled: i32,
    pub(super) updated_number_scheduled: i32,
    pub(super) number_ready: i32,
    pub(super) number_available: i32,
    pub(super) number_unavailable: i32,
    pub(super) conditions: Option<Vec<Condition>>,
}

impl Workload {
    pub(super) fn replicas(&self) -> Replicas {
        let status = &self.status;
        Replicas {
            observed_generation: status.observed_generation,
            generation: self.metadata.generation,
            replicas: status.replicas.max(status.current_number_scheduled),
            updated: status.updated_replicas.max(status.updated_number_scheduled),
            current: status.current_replicas.max(status.current_number_scheduled),
            ready: status.ready_replicas.max(status.number_ready),
            available: status.available_replicas.max(status.number_available),
            unavailable: status.unavailable_replicas.max(status.number_unavailable),
            desired: self.spec.replicas.unwrap_or(status.desired_number_scheduled),
        }
    }
}
