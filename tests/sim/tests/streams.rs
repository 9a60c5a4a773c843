//! Many seeds of streams over a bad link, and the same with bugs on purpose.

use bus_schema::planted::Bug;
use sim::streams::{Counts, run};

const SEEDS: u64 = 400;

#[test]
fn every_byte_of_a_stream_comes_once_and_in_order_and_nothing_is_left() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        counts.add(&run(seed, None).unwrap_or_else(|why| panic!("{why}")));
    }
    println!("{SEEDS} seeds: {counts:?}");
    let Counts { lost, swapped, cuts, hub_starts, agent_starts, completed, broken, failed, packed, .. } = counts;
    assert!(
        [lost, swapped, cuts, hub_starts, agent_starts, completed, broken, failed, packed].iter().all(|count| *count > 100),
        "{counts:?}"
    );
}

#[test]
fn each_planted_bug_of_streams_is_found() {
    for bug in Bug::OF_STREAMS {
        let found = (0..SEEDS).find_map(|seed| run(seed, Some(bug)).err());
        println!("{bug:?}: {}", found.clone().unwrap_or_default());
        assert!(found.is_some(), "{bug:?} was not found in {SEEDS} seeds");
    }
}
