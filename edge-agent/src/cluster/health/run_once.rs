//! Jobs.

use serde::Deserialize;

use super::shape::{Condition, Meta, Selector, condition};
use super::{Judged, Verdict};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Job {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    suspend: Option<bool>,
    selector: Option<Selector>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Option<Vec<Condition>>,
}

pub(super) fn job(object: &[u8]) -> Judged {
    let job: Job = serde_json::from_slice(object)?;
    let conditions = job.status.conditions.as_deref();
    if let Some(failed) = condition(conditions, "Failed", "True") {
        let reason = if failed.reason().is_empty() { "Failed" } else { failed.reason() };
        return Ok(Verdict::unhealthy(reason, failed.message()).ended());
    }
    if condition(conditions, "Complete", "True").is_some() {
        return Ok(Verdict::of(super::Level::Finished, "", "").ended());
    }
    if job.metadata.deletion_timestamp.is_some() {
        return Ok(Verdict::progressing("Terminating", ""));
    }
    if job.spec.suspend == Some(true) {
        return Ok(Verdict::healthy());
    }
    Ok(Verdict::progressing("Running", "").asking(&job.spec.selector.unwrap_or_default()))
}
