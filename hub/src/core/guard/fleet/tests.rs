use std::collections::BTreeSet;

use super::*;

const GUARD: Guard = Guard { share: 50, fleet_share: 20 };
/// Long after the start.
const NOW: Millis = 1_000_000;

fn cluster(number: usize) -> ClusterKey {
    ClusterKey::new(format!("ns-{number}"), "c")
}

fn removal(removals: usize, too_much: bool) -> Removal {
    let subscriptions = BTreeSet::from([SubscriptionRef { namespace: "shop".into(), name: "s".into(), uid: "u".into() }]);
    let held = Held { removals, of: 30, hash: format!("hash-{removals}"), subscriptions, of_fleet: 0 };
    Removal { held, too_much, objects: Vec::new() }
}

/// Clusters with 30 objects each.
struct World {
    fleet: Fleet,
    clusters: usize,
    words: Words,
}

impl World {
    fn new(clusters: usize) -> World {
        let mut world = World { fleet: Fleet::new(GUARD), clusters, words: Words::default() };
        world.judge(0..clusters, None, NOW);
        world
    }

    fn judge(&mut self, clusters: std::ops::Range<usize>, removal: Option<&Removal>, now: Millis) -> Vec<Verdict> {
        let judge = |number| self.fleet.judge(&cluster(number), 30, removal, None, &self.words, now);
        clusters.map(judge).collect()
    }

    /// All clusters lose so much; those that wait are judged again when they have waited long enough.
    fn lose(&mut self, removals: usize) -> Vec<Verdict> {
        let removal = removal(removals, false);
        let mut verdicts = self.judge(0..self.clusters, Some(&removal), NOW);
        for (number, verdict) in verdicts.iter_mut().enumerate() {
            if matches!(verdict, Verdict::Wait(_)) {
                *verdict = self.judge(number..number + 1, Some(&removal), NOW + SETTLE).remove(0);
            }
        }
        verdicts
    }
}

fn held(verdicts: &[Verdict]) -> usize {
    verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Held(..))).count()
}

fn gone(verdicts: &[Verdict]) -> usize {
    verdicts.iter().filter(|verdict| **verdict == Verdict::Go).count()
}

#[test]
fn a_little_on_each_of_many_clusters_is_held_when_it_is_much_of_the_fleet() {
    for (clusters, removals, expected) in [(1000, 9, 1000), (1000, 6, 0), (11, 9, 11), (10, 9, 0), (2, 15, 0)] {
        let verdicts = World::new(clusters).lose(removals);
        assert_eq!((held(&verdicts), gone(&verdicts)), (expected, clusters - expected), "{removals} of 30 objects on {clusters} clusters");
    }
}

#[test]
fn a_small_fleet_waits_for_nothing_but_after_a_start() {
    let mut world = World::new(MAX_FREE_CLUSTERS);
    assert_eq!(gone(&world.judge(0..1, Some(&removal(3, false)), NOW)), 1);
    assert_eq!(world.judge(1..2, Some(&removal(3, false)), 5_000), [Verdict::Wait(5_000 + SETTLE)]);
}

/// Twelve feeds exchanged one after another on one cluster were held as if twelve clusters had lost one object.
#[test]
fn one_cluster_that_is_edited_again_and_again_is_one_cluster() {
    let mut world = World::new(MAX_FREE_CLUSTERS);
    for edit in 0..50 {
        assert_eq!(gone(&world.judge(0..MAX_FREE_CLUSTERS, Some(&removal(1, false)), NOW + edit)), MAX_FREE_CLUSTERS, "edit {edit}");
        world.judge(0..MAX_FREE_CLUSTERS, None, NOW + edit);
    }
}

#[test]
fn a_removal_waits_until_all_that_one_edit_takes_is_counted() {
    let mut world = World::new(1000);
    assert_eq!(world.judge(0..1, Some(&removal(9, false)), NOW), [Verdict::Wait(NOW + SETTLE)]);
    world.judge(1..1000, Some(&removal(9, false)), NOW + 900);
    assert_eq!(world.judge(0..1, Some(&removal(9, false)), NOW + SETTLE), [Verdict::Wait(NOW + 900 + SETTLE)]);
    assert_eq!(held(&world.judge(0..1, Some(&removal(9, false)), NOW + 900 + SETTLE)), 1);
}

#[test]
fn labels_changed_one_by_one_add_up() {
    let mut world = World::new(100);
    let mut free = 0;
    for number in 0..100 {
        let at = NOW + number as Millis * 2 * SETTLE;
        world.judge(number..number + 1, Some(&removal(15, false)), at);
        free += gone(&world.judge(number..number + 1, Some(&removal(15, false)), at + SETTLE));
    }
    assert!((30..50).contains(&free), "{free} clusters lost half of their objects before somebody was asked");
}

#[test]
fn one_confirmation_on_the_subscription_lets_all_go_whatever_they_wait_for() {
    let mut world = World::new(40);
    let small = held(&world.lose(9));
    let large = held(&world.judge(0..5, Some(&removal(29, true)), NOW + SETTLE));
    assert_eq!((small, large), (40, 5));
    let of = |number: usize| removal(if number < 5 { 29 } else { 9 }, number < 5);
    let named = (0..40).fold(0, |sum, number| sum ^ token(&cluster(number), &of(number).held));
    world.words.confirmed = [("u".to_owned(), hash(named ^ 1))].into();
    assert_eq!(held(&world.judge(5..40, Some(&of(5)), NOW + 9_000)), 35, "another hash confirms nothing");
    world.words.confirmed = [("u".to_owned(), hash(named))].into();
    assert_eq!(gone(&world.judge(0..5, Some(&of(0)), NOW + 10_000)), 5);
    assert_eq!(gone(&world.judge(5..40, Some(&of(5)), NOW + 10_000)), 35, "though the first are gone already");
    assert_eq!(held(&world.judge(7..8, Some(&removal(30, true)), NOW + 10_000)), 1, "more than was confirmed");
}

#[test]
fn undoing_it_on_most_clusters_ends_the_hold_on_the_others() {
    let mut world = World::new(100);
    assert_eq!(held(&world.lose(9)), 100);
    world.judge(0..60, None, NOW + 20_000);
    assert_eq!(gone(&world.judge(60..100, Some(&removal(9, false)), NOW + LOOK_AGAIN)), 40);
}

#[test]
fn a_cluster_that_is_gone_counts_no_more_and_nothing_is_kept_of_it() {
    let mut world = World::new(100);
    world.lose(9);
    (0..100).for_each(|number| world.fleet.forget(&cluster(number)));
    assert!(world.fleet.total == 0 && world.fleet.waiting.is_empty() && world.fleet.sums.is_empty());
}

#[test]
fn a_share_of_zero_asks_never() {
    let mut world = World::new(100);
    world.fleet.guard.fleet_share = 0;
    assert_eq!(gone(&world.judge(0..100, Some(&removal(20, false)), NOW)), 100);
}
