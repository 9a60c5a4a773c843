//! Proof of delete: absence from a list removes an object only if the hub that leaves it out knew of it.

use std::collections::BTreeMap;

use crate::id::IncarnationId;
use crate::planted::{Bug, is_planted};

/// When the hub last asserted a list: which start of it, and the resourceVersion that the whole list was rendered at.
/// Never a template's own resourceVersion: an object may enter a list long after its template was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub incarnation: IncarnationId,
    pub resource_version: u64,
}

impl Stamp {
    /// The stamp of objects that no list of this agent ever named: nothing proves it.
    pub const NEVER: Stamp = Stamp { incarnation: IncarnationId(0), resource_version: u64::MAX };
}

/// What a hub knows: the stamp of the list being synced, and the values that its earlier incarnations were closed with.
#[derive(Debug, Clone)]
pub struct Proof {
    pub current: Stamp,
    pub closed: BTreeMap<IncarnationId, u64>,
}

impl Proof {
    /// Whether the hub had seen the state under which `entry` was asserted.
    pub fn covers(&self, entry: Stamp) -> bool {
        if is_planted(Bug::PruneWithoutProof) {
            return true;
        }
        match entry.incarnation == self.current.incarnation {
            true => entry.resource_version <= self.current.resource_version,
            false => self.closed.get(&entry.incarnation).is_some_and(|closed| entry.resource_version <= *closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(incarnation: u64, resource_version: u64) -> Stamp {
        Stamp { incarnation: IncarnationId(incarnation), resource_version }
    }

    #[test]
    fn only_what_the_hub_had_seen_is_proved() {
        let proof = Proof { current: stamp(3, 50), closed: BTreeMap::from([(IncarnationId(2), 40)]) };
        assert!(proof.covers(stamp(3, 50)));
        assert!(proof.covers(stamp(2, 40)));
        assert!(!proof.covers(stamp(3, 51)), "asserted after the list being synced");
        assert!(!proof.covers(stamp(2, 41)), "the hub's disk is an older copy");
        assert!(!proof.covers(stamp(1, 1)), "the hub's disk is another one");
        assert!(!proof.covers(Stamp::NEVER));
    }
}
