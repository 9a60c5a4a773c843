//! Sudden death at a chosen step, for tests: `AGENT_FAILPOINT=before-commit:3` aborts the process at the third commit.
//! Only builds with debug assertions have it.

/// A step that a crash may interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    BeforeCommit,
    AfterCommit,
    BeforeSend,
    AfterSend,
    BeforeApply,
    AfterApply,
    BeforeRemove,
    AfterRemove,
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;

    struct Armed {
        point: Point,
        left: AtomicU64,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    fn read() -> Option<Armed> {
        let text = std::env::var("AGENT_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':')?;
        let point = match name {
            "before-commit" => Point::BeforeCommit,
            "after-commit" => Point::AfterCommit,
            "before-send" => Point::BeforeSend,
            "after-send" => Point::AfterSend,
            "before-apply" => Point::BeforeApply,
            "after-apply" => Point::AfterApply,
            "before-remove" => Point::BeforeRemove,
            "after-remove" => Point::AfterRemove,
            _ => return None,
        };
        Some(Armed { point, left: AtomicU64::new(count.parse().ok()?) })
    }

    pub fn hit(point: Point) {
        let Some(armed) = ARMED.get_or_init(read) else { return };
        if armed.point == point && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            eprintln!("failpoint {point:?}");
            std::process::abort();
        }
    }
}

/// Dies here if this is the chosen step.
#[cfg(debug_assertions)]
pub fn hit(point: Point) {
    armed::hit(point);
}

/// Nothing: shipped builds have no failpoints.
#[cfg(not(debug_assertions))]
pub fn hit(_: Point) {}
