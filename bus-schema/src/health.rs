//! Health on the wire: what both ends can derive from the numbers is left out.
//!
//! Well-known reasons are numbers, the sentences that go with them are not sent, replica numbers are told by what they differ.

use crate::message::{Health, Replicas, StatusEntry};

/// Reasons that have a number: 1 + their place. Never change one; one more needs a peer that has announced to know it.
pub const REASONS: [&str; 20] = [
    "NotObserved",
    "Updating",
    "NotReady",
    "Terminating",
    "Paused",
    "Running",
    "Pending",
    "NoIngress",
    "NotEstablished",
    "Unschedulable",
    "ImagePullBackOff",
    "CrashLoopBackOff",
    "OOMKilled",
    "CreateContainerConfigError",
    "ProgressDeadlineExceeded",
    "BackoffLimitExceeded",
    "Failed",
    "Error",
    "Contested",
    "Unreadable",
];

/// What a reason says by itself, with the numbers; empty where it says nothing.
pub fn sentence(reason: &str, replicas: Option<&Replicas>) -> String {
    let of = |count: i32, what: &str| replicas.map_or(String::new(), |told| format!("{count} of {} replicas are {what}", told.desired));
    match (reason, replicas) {
        ("NotObserved", _) => "its controller has not seen the newest version".into(),
        ("Terminating", _) => "it is being deleted".into(),
        ("NoIngress", _) => "the load balancer has no address yet".into(),
        ("NotReady", Some(told)) => of(told.available, "available"),
        ("Updating" | "Paused", Some(told)) if told.updated < told.desired => of(told.updated, "updated"),
        ("Updating" | "Paused", Some(told)) => format!("{} old replicas are still there", told.replicas.saturating_sub(told.updated)),
        _ => String::new(),
    }
}

/// Adds health to an entry.
pub fn to_wire(health: &Health, entry: &mut StatusEntry) {
    entry.level = 1 + health.level.max(0).unsigned_abs();
    match REASONS.iter().position(|known| *known == health.reason) {
        Some(place) => entry.reason = 1 + place as u32,
        None => entry.other_reason.clone_from(&health.reason),
    }
    let usual = sentence(&health.reason, health.replicas.as_ref());
    entry.health_message = (health.message != usual).then(|| health.message.clone());
    entry.replicas = health.replicas.as_ref().map(to_numbers).unwrap_or_default();
    entry.paused = health.paused;
    entry.contested.clone_from(&health.contested);
}

/// Takes health out of an entry; nothing where nobody has looked.
pub fn from_wire(entry: &mut StatusEntry) -> Option<Health> {
    let level = entry.level.checked_sub(1)?;
    let reason = match entry.reason.checked_sub(1) {
        Some(place) => REASONS.get(place as usize).copied().unwrap_or_default().to_owned(),
        None => std::mem::take(&mut entry.other_reason),
    };
    let replicas = (!entry.replicas.is_empty()).then(|| from_numbers(&entry.replicas));
    let message = entry.health_message.take().unwrap_or_else(|| sentence(&reason, replicas.as_ref()));
    let contested = std::mem::take(&mut entry.contested);
    Some(Health { level: level as i32, reason, message, replicas, paused: entry.paused, contested })
}

/// Generation and desired count, then by how much each number differs from what it is of a workload at rest; zeros at the end are cut.
fn to_numbers(told: &Replicas) -> Vec<i64> {
    let [desired, available] = [told.desired, told.available].map(i64::from);
    let mut numbers = vec![
        told.generation,
        desired,
        told.generation.wrapping_sub(told.observed_generation),
        i64::from(told.updated) - desired,
        available - desired,
        i64::from(told.ready) - available,
        i64::from(told.replicas) - desired,
        i64::from(told.unavailable) - (desired - available).max(0),
        i64::from(told.current),
    ];
    let kept = numbers.iter().rposition(|number| *number != 0).map_or(1, |last| last + 1);
    numbers.truncate(kept);
    numbers
}

fn from_numbers(numbers: &[i64]) -> Replicas {
    let number = |place: usize| numbers.get(place).copied().unwrap_or(0);
    let [generation, desired] = [number(0), number(1)];
    let available = desired.wrapping_add(number(4));
    let usually_unavailable = desired.wrapping_sub(available).max(0);
    Replicas {
        generation,
        observed_generation: generation.wrapping_sub(number(2)),
        desired: desired as i32,
        updated: desired.wrapping_add(number(3)) as i32,
        available: available as i32,
        ready: available.wrapping_add(number(5)) as i32,
        replicas: desired.wrapping_add(number(6)) as i32,
        unavailable: usually_unavailable.wrapping_add(number(7)) as i32,
        current: number(8) as i32,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::message::Level;

    fn read_back(health: &Health) -> (Option<Health>, usize) {
        let mut entry = StatusEntry::default();
        to_wire(health, &mut entry);
        (from_wire(&mut entry.clone()), entry.encoded_len())
    }

    fn settled(count: i32) -> Replicas {
        let [replicas, updated, ready, available, desired] = [count; 5];
        Replicas { observed_generation: 7, generation: 7, replicas, updated, ready, available, desired, ..Replicas::default() }
    }

    #[test]
    fn health_reads_back_whatever_it_says() {
        let extreme =
            Replicas { observed_generation: i64::MIN, generation: i64::MAX, replicas: i32::MIN, desired: i32::MAX, ..Replicas::default() };
        let numbers = [None, Some(Replicas::default()), Some(settled(3)), Some(Replicas { ready: 1, ..settled(3) }), Some(extreme)];
        for replicas in numbers {
            for reason in ["", "Updating", "ImagePullBackOff", "SomethingElse"] {
                for message in [String::new(), "no such image".into(), sentence(reason, replicas.as_ref())] {
                    let level = Level::Progressing as i32;
                    let (reason, contested) = (reason.to_owned(), "by x".to_owned());
                    let health = Health { level, reason, message, replicas: replicas.clone(), paused: true, contested };
                    assert_eq!(read_back(&health).0, Some(health));
                }
            }
        }
    }

    #[test]
    fn a_workload_at_rest_costs_six_bytes_and_a_rollout_s_step_a_dozen() {
        let healthy = Health { level: Level::Healthy as i32, replicas: Some(settled(3)), ..Health::default() };
        assert_eq!(read_back(&healthy).1, 6);
        let replicas = Replicas { updated: 1, available: 2, ready: 2, unavailable: 1, ..settled(3) };
        let message = sentence("Updating", Some(&replicas));
        assert_eq!(message, "1 of 3 replicas are updated");
        let step =
            Health { level: Level::Progressing as i32, reason: "Updating".into(), message, replicas: Some(replicas), ..Health::default() };
        assert!(read_back(&step).1 <= 12, "{}", read_back(&step).1);
    }

    #[test]
    fn numbers_of_any_size_never_panic() {
        let mut entry = StatusEntry { level: u32::MAX, reason: u32::MAX, replicas: vec![i64::MIN; 12], ..StatusEntry::default() };
        assert!(from_wire(&mut entry).is_some());
    }
}
