use bus_schema::message::Level;

use super::*;

fn web() -> ObjectId {
    ObjectId::new("apps", "Deployment", "shop", "web")
}

fn projection(hash: u8, replicas: i64) -> Option<Projection> {
    Some(Projection { hash: [hash; 32], replicas: Some(replicas) })
}

fn verdict(level: Level, reason: &str) -> Verdict {
    let health = Health { level: level as i32, reason: reason.into(), ..Health::default() };
    let pods = (level != Level::Healthy).then(|| "app=web".into());
    Verdict { health, pods, ..Verdict::default() }
}

fn sight(version: &str, hash: u8) -> Sight {
    Sight {
        resource_version: version.into(),
        deleting: false,
        projection: projection(hash, 1),
        autoscaled: false,
        verdict: verdict(Level::Healthy, ""),
    }
}

/// A book with one object, applied at time 0.
fn book() -> Book {
    let mut book = Book::default();
    book.applying(&web(), "v1");
    assert!(book.applied(&web(), sight("1", 1), None, 0).is_some());
    book
}

fn look(book: &mut Book, sight: Sight, now: Millis) -> Told {
    let look = book.next(now).expect("a look is due");
    book.looked(&look, Seen::Live(Box::new(sight)), now)
}

#[test]
fn our_own_echo_is_no_news_and_anothers_change_is_corrected_at_once() {
    let mut book = book();
    book.changed(&web(), "1", 10);
    assert_eq!(book.due(), None);
    book.changed(&web(), "2", 5_000);
    assert_eq!(look(&mut book, sight("2", 2), 5_000), Told { health: None, drifted: true });
    book.changed(&web(), "3", 9_000);
    assert!(!look(&mut book, sight("3", 1), 9_000).drifted);
}

#[test]
fn rings_are_coalesced_to_one_look_a_second() {
    let mut book = book();
    (2..50).for_each(|n| book.changed(&web(), &n.to_string(), 1_500));
    look(&mut book, sight("9", 1), 1_500);
    book.changed(&web(), "50", 1_600);
    assert_eq!((book.next(2_400), book.due()), (None, Some(2_500)));
}

#[test]
fn a_look_that_an_apply_overtook_says_nothing() {
    let mut book = book();
    book.changed(&web(), "2", 2_000);
    let old = book.next(2_000).expect("due");
    book.applying(&web(), "v1");
    book.applied(&web(), sight("3", 3), None, 2_100);
    assert_eq!(book.looked(&old, Seen::Live(Box::new(sight("2", 1))), 2_200), Told::default());
    assert!(!look(&mut book, sight("3", 3), 2_200).drifted);
}

#[test]
fn repeated_drift_backs_off_and_is_named() {
    let mut book = book();
    let (mut now, mut writes, mut contested) = (2_000, Vec::new(), String::new());
    for n in 0..400 {
        book.changed(&web(), &format!("c{n}"), now);
        let told = book.next(now).map(|look| book.looked(&look, Seen::Live(Box::new(sight(&format!("c{n}"), 2))), now));
        if told.is_some_and(|told| told.drifted) {
            writes.push(now);
            book.applying(&web(), "v1");
            let health = book.applied(&web(), sight(&format!("a{n}"), 1), Some("kubectl changes .spec.x".into()), now);
            contested = health.map_or(contested, |(health, _)| health.contested);
        }
        now += 1_000;
    }
    assert_eq!(contested, "kubectl changes .spec.x");
    assert!(writes.len() <= 9, "{writes:?}");
    assert!(writes.windows(2).skip(4).all(|pair| pair[1] - pair[0] >= 60_000), "{writes:?}");
}

#[test]
fn a_dispute_ends_when_the_object_stays_as_it_is() {
    let mut book = book();
    for n in 1..=4 {
        book.applying(&web(), "v1");
        book.applied(&web(), sight(&n.to_string(), 1), Some("x".into()), n);
    }
    book.changed(&web(), "9", 10_000);
    look(&mut book, sight("9", 1), 10_000);
    let calm = book.due().expect("it is looked at when calm");
    let (health, _) = look(&mut book, sight("9", 1), calm).health.expect("news");
    assert_eq!((health.contested.as_str(), health.reason.as_str()), ("", ""));
}

#[test]
fn an_autoscaled_count_and_a_paused_object_are_left_alone() {
    let mut book = book();
    book.changed(&web(), "2", 2_000);
    let scaled = Sight { projection: projection(1, 7), autoscaled: true, ..sight("2", 1) };
    assert!(!look(&mut book, scaled.clone(), 2_000).drifted);
    book.changed(&web(), "3", 4_000);
    let mut paused = sight("3", 2);
    paused.verdict.health.paused = true;
    let told = look(&mut book, paused, 4_000);
    assert!(!told.drifted && told.health.expect("news").0.paused);
    book.changed(&web(), "4", 6_000);
    assert!(look(&mut book, Sight { autoscaled: false, ..scaled }, 6_000).drifted);
}

#[test]
fn what_is_gone_is_made_again_and_an_unlisted_object_is_gone() {
    let mut book = book();
    let kind = book.kinds().pop_first().expect("a kind");
    book.listed(&kind, &BTreeSet::new(), 3_000);
    let gone = book.next(3_000).expect("due");
    assert!(book.looked(&gone, Seen::Gone, 3_000).drifted);
    book.absent(&web());
    assert!(book.kinds().is_empty());
}

#[test]
fn a_found_object_is_taken_as_it_is_only_in_the_version_of_the_survey() {
    let mut book = Book::default();
    book.found(&web(), "v1", "5", 0);
    assert!(!look(&mut book, sight("5", 1), 0).drifted);
    let mut book = Book::default();
    book.found(&web(), "v1", "5", 0);
    assert!(look(&mut book, sight("6", 1), 0).drifted);
}

#[test]
fn pods_are_asked_again_with_growing_pauses_while_it_is_unwell() {
    let mut book = book();
    book.changed(&web(), "2", 2_000);
    let (mut now, mut pauses) = (2_000, Vec::new());
    for _ in 0..9 {
        let unwell = Sight { verdict: verdict(Level::Unhealthy, "ImagePullBackOff"), ..sight("2", 1) };
        look(&mut book, unwell, now);
        let due = book.due().expect("looked at again");
        pauses.push(due - now);
        now = due;
    }
    assert_eq!(pauses, [2_000, 3_000, 4_500, 6_750, 10_125, 15_187, 22_780, 30_000, 30_000]);
    look(&mut book, sight("3", 1), now);
    assert_eq!(book.due(), None);
}

#[test]
fn other_words_for_the_same_reason_are_no_news() {
    let mut book = book();
    book.changed(&web(), "2", 2_000);
    let mut unwell = Sight { verdict: verdict(Level::Unhealthy, "ImagePullBackOff"), ..sight("2", 1) };
    assert!(look(&mut book, unwell.clone(), 2_000).health.is_some());
    unwell.verdict.health.message = "other words".into();
    assert!(look(&mut book, unwell, 4_000).health.is_none());
}

#[test]
fn a_look_that_failed_is_taken_again() {
    let mut book = book();
    book.changed(&web(), "2", 2_000);
    let failed = book.next(2_000).expect("due");
    assert_eq!(book.looked(&failed, Seen::Failed, 2_100), Told::default());
    assert_eq!(book.due(), Some(7_100));
}

#[test]
fn a_job_that_ended_and_went_before_anybody_looked_is_finished_and_not_missed() {
    let mut book = book();
    book.ended(&web(), Verdict { ended: true, ..verdict(Level::Finished, "") }, 100);
    book.gone(&web(), 101);
    let look = book.next(102).expect("a look is due");
    let told = book.looked(&look, Seen::Gone, 103);
    let (health, ended) = told.health.expect("that it ended is news");
    assert_eq!((health.level, ended, told.drifted), (Level::Finished as i32, true, false));
}

#[test]
fn what_admission_rewrites_is_contested_until_the_next_apply_says_otherwise() {
    let mut book = book();
    book.applying(&web(), "v1");
    let mut rewritten = sight("2", 2);
    rewritten.verdict.health.contested = "admission changes .spec.image".into();
    let (health, _) = book.applied(&web(), rewritten, None, 10).expect("news");
    assert_eq!((health.reason.as_str(), health.contested.as_str()), ("Contested", "admission changes .spec.image"));
    book.changed(&web(), "3", 5_000);
    assert_eq!(look(&mut book, sight("3", 2), 5_000), Told::default());
    book.applying(&web(), "v1");
    let (health, _) = book.applied(&web(), sight("4", 2), None, 9_000).expect("news");
    assert_eq!(health.contested, "");
}

#[test]
fn corrections_that_nobody_makes_are_asked_for_ever_more_rarely() {
    let mut book = book();
    let mut asked = 0;
    for n in 0..600 {
        let now = 2_000 + n * 1_000;
        book.changed(&web(), &n.to_string(), now);
        let told = book.next(now).map(|look| book.looked(&look, Seen::Live(Box::new(sight(&n.to_string(), 2))), now));
        asked += usize::from(told.is_some_and(|told| told.drifted));
    }
    assert!((8..=11).contains(&asked), "{asked}");
}

#[test]
fn pods_that_find_no_node_are_unwell_after_five_minutes_and_well_when_they_find_one() {
    let mut book = book();
    let homeless = || Sight { verdict: verdict(Level::Progressing, "Unschedulable"), ..sight("2", 1) };
    book.changed(&web(), "2", 2_000);
    let mut told = vec![(2_000, look(&mut book, homeless(), 2_000).health.expect("news").0.level)];
    while told.len() < 2 {
        let now = book.due().expect("it is looked at again");
        assert!(now <= 2_000 + UNSCHEDULABLE + MAX_UNWELL, "nobody lost patience");
        told.extend(look(&mut book, homeless(), now).health.map(|(health, _)| (now, health.level)));
    }
    assert_eq!(told, [(2_000, Level::Progressing as i32), (2_000 + UNSCHEDULABLE, Level::Unhealthy as i32)]);
    let now = book.due().expect("it is looked at again");
    let (health, _) = look(&mut book, sight("3", 1), now).health.expect("news");
    assert_eq!(health.level, Level::Healthy as i32);
    book.changed(&web(), "4", now + 5_000);
    let again = look(&mut book, homeless(), now + 5_000).health.expect("news").0;
    assert_eq!(again.level, Level::Progressing as i32, "the time begins anew");
}
