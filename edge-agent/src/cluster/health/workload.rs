//! What has replicas.

use super::shape::{Workload, condition};
use super::{Judged, Verdict};

pub(super) fn deployment(object: &[u8]) -> Judged {
    judged(object, |workload| {
        let status = &workload.status;
        let conditions = status.conditions.as_deref();
        let desired = workload.spec.replicas.unwrap_or(1);
        if let Some(late) = condition(conditions, "Progressing", "False").filter(|late| late.reason() == "ProgressDeadlineExceeded") {
            return Verdict::unhealthy(late.reason(), late.message());
        }
        if let Some(failure) = condition(conditions, "ReplicaFailure", "True") {
            return Verdict::unhealthy(failure.reason(), failure.message());
        }
        if status.updated_replicas < desired {
            return Verdict::progressing(if workload.spec.paused { "Paused" } else { "Updating" }, "");
        }
        if status.replicas > status.updated_replicas {
            return Verdict::progressing("Updating", "");
        }
        ready(status.available_replicas, desired)
    })
}

pub(super) fn stateful_set(object: &[u8]) -> Judged {
    judged(object, |workload| {
        let (status, strategy) = (&workload.status, &workload.spec.update_strategy);
        let desired = workload.spec.replicas.unwrap_or(1);
        if status.ready_replicas < desired {
            return ready(status.ready_replicas, desired);
        }
        let partition = strategy.rolling_update.as_ref().and_then(|rolling| rolling.partition).unwrap_or(0);
        let to_update = desired - partition.clamp(0, desired.max(0));
        let rolls = strategy.kind != "OnDelete" && status.current_revision != status.update_revision;
        match rolls && status.updated_replicas < to_update {
            true => Verdict::progressing("Updating", &format!("{} of {to_update} replicas are updated", status.updated_replicas)),
            false => Verdict::healthy(),
        }
    })
}

pub(super) fn daemon_set(object: &[u8]) -> Judged {
    judged(object, |workload| {
        let status = &workload.status;
        let desired = status.desired_number_scheduled;
        let on_delete = workload.spec.update_strategy.kind == "OnDelete";
        if !on_delete && status.updated_number_scheduled < desired {
            let updated = status.updated_number_scheduled;
            return Verdict::progressing("Updating", &format!("{updated} of {desired} nodes are updated"));
        }
        ready(status.number_available, desired)
    })
}

pub(super) fn replica_set(object: &[u8]) -> Judged {
    judged(object, |workload| {
        if let Some(failure) = condition(workload.status.conditions.as_deref(), "ReplicaFailure", "True") {
            return Verdict::unhealthy(failure.reason(), failure.message());
        }
        ready(workload.status.available_replicas, workload.spec.replicas.unwrap_or(1))
    })
}

fn ready(available: i32, desired: i32) -> Verdict {
    match available < desired {
        true => Verdict::progressing("NotReady", ""),
        false => Verdict::healthy(),
    }
}

fn judged(object: &[u8], rule: impl Fn(&Workload) -> Verdict) -> Judged {
    let workload: Workload = serde_json::from_slice(object)?;
    let verdict = match (&workload.metadata.deletion_timestamp, workload.status.observed_generation < workload.metadata.generation) {
        (Some(_), _) => Verdict::progressing("Terminating", ""),
        (None, true) => Verdict::progressing("NotObserved", ""),
        (None, false) => rule(&workload),
    };
    Ok(verdict.with_replicas(workload.replicas()).asking(&workload.spec.selector))
}
