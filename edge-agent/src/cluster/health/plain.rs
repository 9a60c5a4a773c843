//! What has no replicas.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::shape::{Condition, Meta, condition};
use super::{Judged, Verdict};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Plain<'a> {
    metadata: Meta,
    spec: Option<Spec>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
    load_balancer: Option<Balancer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Balancer {
    ingress: Option<Vec<Point>>,
}

#[derive(Default, Deserialize)]
struct Point {}

fn read(object: &[u8]) -> Result<(Meta, Spec, Status), serde_json::Error> {
    let plain: Plain = serde_json::from_slice(object)?;
    let status = plain.status.map(|raw| serde_json::from_str::<Option<Status>>(raw.get())).transpose()?;
    Ok((plain.metadata, plain.spec.unwrap_or_default(), status.flatten().unwrap_or_default()))
}

pub(super) fn claim(object: &[u8]) -> Judged {
    let (_, _, status) = read(object)?;
    Ok(match status.phase.as_deref() {
        Some("Bound") => Verdict::healthy(),
        Some("Lost") => Verdict::unhealthy("Lost", "the volume of this claim is gone"),
        _ => Verdict::progressing("Pending", "not bound to a volume yet"),
    })
}

pub(super) fn service(object: &[u8]) -> Judged {
    let (_, spec, status) = read(object)?;
    let has_ingress = status.load_balancer.and_then(|balancer| balancer.ingress).is_some_and(|ingress| !ingress.is_empty());
    Ok(match spec.kind.as_deref() == Some("LoadBalancer") && !has_ingress {
        true => Verdict::progressing("NoIngress", ""),
        false => Verdict::healthy(),
    })
}

pub(super) fn definition(object: &[u8]) -> Judged {
    let (_, _, status) = read(object)?;
    let conditions = status.conditions.as_deref();
    if let Some(refused) = condition(conditions, "NamesAccepted", "False") {
        return Ok(Verdict::unhealthy(refused.reason(), refused.message()));
    }
    Ok(match condition(conditions, "Established", "True") {
        Some(_) => Verdict::healthy(),
        None => Verdict::progressing("NotEstablished", ""),
    })
}

/// By the conditions that custom resources agree on; what has none is well when it is there.
pub(super) fn any(object: &[u8]) -> Judged {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Custom {
        observed_generation: Option<i64>,
        conditions: Option<Vec<Condition>>,
    }
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(default)]
        metadata: Meta,
        #[serde(borrow)]
        status: Option<&'a RawValue>,
    }
    let outer: Outer = serde_json::from_slice(object)?;
    // A status of another shape says nothing.
    let status: Custom = outer.status.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let conditions = status.conditions.as_deref();
    let found = |kind: &str, value: &str| condition(conditions, kind, value);
    Ok(if outer.metadata.deletion_timestamp.is_some() {
        Verdict::progressing("Terminating", "")
    } else if status.observed_generation.is_some_and(|observed| observed < outer.metadata.generation) {
        Verdict::progressing("NotObserved", "")
    } else if let Some(stalled) = found("Stalled", "True") {
        Verdict::unhealthy(stalled.reason(), stalled.message())
    } else if let Some(reconciling) = found("Reconciling", "True") {
        Verdict::progressing(reconciling.reason(), reconciling.message())
    } else if let Some(unready) = found("Ready", "False").or_else(|| found("Ready", "Unknown")) {
        Verdict::progressing(unready.reason(), unready.message())
    } else {
        Verdict::healthy()
    })
}
