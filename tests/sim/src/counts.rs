//! What was done to the world: a run without faults proves nothing.

use std::fmt;
use std::ops::AddAssign;

macro_rules! counts {
    ($($(#[$fault:ident])? $name:ident),* $(,)?) => {
        /// Counts of a run.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts { $(pub $name: u64),* }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Counts) { $(self.$name += other.$name;)* }
        }

        impl fmt::Display for Counts {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:<24} {}", stringify!($name).replace('_', " "), self.$name)?;)*
                Ok(())
            }
        }

        impl Counts {
            /// Everything that never happened.
            pub fn zeros(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name)),*];
                all.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

counts! {
    seeds, steps, frames, sealed_once, hostile_forgeries, hostile_replays, hostile_swaps, hostile_reflections, hostile_hints, losses, duplicates, delays, late_frames, cuts, broker_restarts, hub_crashes, agent_crashes,
    crashes_before_commit, crashes_after_commit, crashes_after_send, hub_restores, hubs_emptied, agents_emptied,
    foreign_objects, failed_applies, refused_applies, failed_removals, kept_removals, slow_removals,
    confirmations, deltas, recoveries, wants, contents, reports, applies, removals, unclaimed, bytes,
}
