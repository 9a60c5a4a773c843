//! When each thing may be written: at once if it has rested, else when its rest is over, never twice at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Things to do, each with the time from which on it may be done. Memory is one row for each thing touched lately.
pub struct Schedule<T> {
    rest: Duration,
    due: BTreeSet<(Instant, T)>,
    rows: BTreeMap<T, Row>,
}

struct Row {
    /// Not before this.
    rested: Instant,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Idle,
    Waiting,
    Busy,
    /// Busy, and touched since.
    BusyTouched,
}

impl<T: Clone + Ord> Schedule<T> {
    /// A schedule in which a thing rests this long after it was done.
    pub fn new(rest: Duration) -> Self {
        Self { rest, due: BTreeSet::new(), rows: BTreeMap::new() }
    }

    /// Asks for a thing to be done; asking twice is asking once.
    pub fn touch(&mut self, thing: T, now: Instant) {
        let row = self.rows.entry(thing.clone()).or_insert(Row { rested: now, state: State::Idle });
        match row.state {
            State::Idle => {
                row.state = State::Waiting;
                self.due.insert((row.rested, thing));
            }
            State::Busy => row.state = State::BusyTouched,
            State::Waiting | State::BusyTouched => {}
        }
    }

    /// Takes a thing that may be done now; it is busy until `done`.
    pub fn take(&mut self, now: Instant) -> Option<T> {
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, thing) = self.due.pop_first()?;
        if let Some(row) = self.rows.get_mut(&thing) {
            row.state = State::Busy;
        }
        Some(thing)
    }

    /// A thing is no longer busy; if it was touched meanwhile, or `again`, it waits for its rest to end.
    pub fn done(&mut self, thing: &T, wrote: bool, again: bool, now: Instant) {
        let Some(row) = self.rows.get_mut(thing) else {
            return;
        };
        let touched = row.state == State::BusyTouched || again;
        row.state = State::Idle;
        if wrote {
            row.rested = now + self.rest;
        }
        if touched {
            self.touch(thing.clone(), now);
        } else if !wrote {
            self.rows.remove(thing);
        }
    }

    /// When there is next something to take.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_touch_is_done_at_once_and_the_next_after_the_rest() {
        let (mut schedule, now) = (Schedule::new(REST), Instant::now());
        schedule.touch("a", now);
        assert_eq!(schedule.take(now), Some("a"));
        schedule.done(&"a", true, false, now);
        schedule.touch("a", now);
        schedule.touch("a", now);
        assert_eq!((schedule.take(now), schedule.next()), (None, Some(now + REST)));
        assert_eq!(schedule.take(now + REST), Some("a"));
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn a_touch_while_busy_is_not_lost_and_not_done_twice_at_a_time() {
        let (mut schedule, now) = (Schedule::new(REST), Instant::now());
        schedule.touch("a", now);
        assert_eq!(schedule.take(now), Some("a"));
        schedule.touch("a", now);
        assert_eq!(schedule.take(now + REST), None);
        schedule.done(&"a", true, false, now);
        assert_eq!(schedule.take(now + REST), Some("a"));
    }

    #[test]
    fn what_needed_no_write_needs_no_rest() {
        let (mut schedule, now) = (Schedule::new(REST), Instant::now());
        schedule.touch("a", now);
        assert_eq!(schedule.take(now), Some("a"));
        schedule.done(&"a", false, true, now);
        assert_eq!(schedule.take(now), Some("a"));
    }
}
