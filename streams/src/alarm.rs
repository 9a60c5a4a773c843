//! One timer for what is due now and what will be: one set for each request, and taken back a millisecond later, would wake the runtime's
//! driver each time.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Instant, Sleep, sleep_until};

/// Rings for one who waits.
#[derive(Debug, Default)]
pub struct Alarm(Mutex<Option<Pin<Box<Sleep>>>>);

impl Alarm {
    /// Waits until `due` at the latest; it may ring earlier, for what was due before. Never without a `due`.
    pub async fn rings_by(&self, due: Option<Instant>) {
        let Some(due) = due else { return std::future::pending().await };
        std::future::poll_fn(|context| {
            let mut timer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let sleep = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if due < sleep.deadline() {
                sleep.as_mut().reset(due);
            }
            let rings = sleep.as_mut().poll(context);
            if rings.is_ready() {
                *timer = None;
            }
            rings
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_in_time_and_once_for_what_is_not_due_any_more() {
        let (alarm, begun) = (Alarm::default(), Instant::now());
        let after = |ms| Some(begun + Duration::from_millis(ms));
        let waits = async |due, limit| tokio::time::timeout(Duration::from_millis(limit), alarm.rings_by(due)).await.is_ok();
        assert!(!waits(after(100), 1).await, "not before its time");
        assert!(!waits(after(3_000), 1).await, "nor what comes later");
        assert!(!waits(None, 200).await, "nor without need");
        assert!(waits(after(50_000), 1).await, "what was due before rings now");
        assert!(!waits(after(50_000), 40_000).await, "and only once");
        assert!(waits(after(41_000), 1_000).await, "what is due sooner rings then");
        assert_eq!(begun.elapsed().as_millis(), 41_000);
    }
}
