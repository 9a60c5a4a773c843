//! Two processes with one identity, as a copied disk makes them. Neither is served, for which one is right only a person knows.
//!
//! A process that is being replaced looks the same while it still runs: it comes back once, and then it is gone. So it ends when one of
//! them said goodbye, was not seen for long, or a process starts that was never seen.

use super::{HubEvent, HubLink, HubWrite};
use crate::id::{BootId, Millis};
use crate::limits::CLONE_SILENCE;

/// Processes of an agent that are remembered, so that one that comes back is known for a clone.
const OLD_BOOTS: usize = 8;

/// The two, and when one took over from the other last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clones {
    boots: [BootId; 2],
    since: Millis,
}

impl HubLink {
    /// A session with this process was confirmed. One that was replaced and comes back is one of two.
    pub(super) fn judge_boot(&mut self, boot: u64, now: Millis) {
        if boot == self.state.boot {
            return;
        }
        if self.state.old_boots.contains(&boot) {
            let boots = [BootId(self.state.boot), BootId(boot)];
            self.clones = Some(Clones { boots, since: now });
            self.events.push(HubEvent::Cloned { boots });
        } else {
            self.clones = None;
        }
        let mut old = self.state.old_boots.clone();
        old.retain(|known| *known != boot && *known != self.state.boot);
        old.extend(Some(self.state.boot).filter(|boot| *boot != 0));
        let surplus = old.len().saturating_sub(OLD_BOOTS);
        old.drain(..surplus);
        self.write(HubWrite::Boots { boot, old });
    }

    /// The process that has the link said goodbye and has ended: whoever of those before it comes now is alone.
    pub fn ended(&mut self) {
        if self.session().is_some() && !self.state.old_boots.is_empty() {
            self.forget_others();
        }
    }

    /// Something may be due.
    pub fn timeout(&mut self, now: Millis) {
        if self.alone_at().is_some_and(|due| due <= now) {
            self.forget_others();
            self.events.push(HubEvent::Alone(BootId(self.state.boot)));
        }
    }

    fn forget_others(&mut self) {
        self.clones = None;
        self.write(HubWrite::Boots { boot: self.state.boot, old: Vec::new() });
    }

    /// When the one of two that has the link counts as the only one.
    pub(super) fn alone_at(&self) -> Option<Millis> {
        self.session()?;
        Some(self.clones?.since + CLONE_SILENCE)
    }

    /// Two processes that share this identity, while neither is served.
    pub fn clones(&self) -> Option<[BootId; 2]> {
        self.clones.map(|clones| clones.boots)
    }
}
