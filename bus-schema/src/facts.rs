//! Facts about the cluster on the wire: as a delta against those that the hub has, so that one count that changed costs some 30 bytes
//! and not the kilobyte that all facts have.

use crate::codec::{Mode, decode, encode};
use crate::limits::MAX_FRAME;
use crate::message::StatusEntry;

/// Writes the entry's facts in the shortest way; `base` are those of the table that the step starts from.
pub fn pack(entry: &mut StatusEntry, base: &[u8]) {
    if entry.facts.is_empty() {
        return;
    }
    let (mode, bytes) = encode(&entry.facts, Some(base).filter(|base| !base.is_empty()), false);
    if bytes.len() + 4 < entry.facts.len() {
        entry.facts_mode = mode as u32;
        entry.facts_size = entry.facts.len() as u32;
        entry.facts = bytes;
    }
}

/// Reads what [`pack`] wrote, into the entry's facts; `None` when they are damaged, or made with another base.
pub fn unpack(entry: &mut StatusEntry, base: &[u8]) -> Option<()> {
    let mode = Mode::read(entry.facts_mode)?;
    if mode != Mode::Stored {
        entry.facts = decode(mode, &entry.facts, Some(base), entry.facts_size, MAX_FRAME as u32).ok()?;
        (entry.facts_mode, entry.facts_size) = (0, 0);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pods: u32) -> Vec<u8> {
        let names: String = (0..40_u64).map(|n| format!("\"field-{n}\":\"{:x}\",", n * 0x9e37_79b9_7f4a)).collect();
        format!("{{{names}\"podStatistics\":{{\"totalPods\":{pods}}}}}").into_bytes()
    }

    fn packed(new: &[u8], base: &[u8]) -> StatusEntry {
        let mut entry = StatusEntry { facts: new.to_vec(), ..StatusEntry::default() };
        pack(&mut entry, base);
        entry
    }

    #[test]
    fn facts_read_back_with_and_without_a_base_and_a_small_change_is_small() {
        for (new, base) in [(facts(1), Vec::new()), (facts(2), facts(1)), (b"{}".to_vec(), facts(1)), (Vec::new(), facts(1))] {
            let mut entry = packed(&new, &base);
            assert_eq!(unpack(&mut entry, &base), Some(()));
            assert_eq!(entry, StatusEntry { facts: new, ..StatusEntry::default() });
        }
        let small = packed(&facts(2), &facts(1)).facts.len();
        assert!(small < 40, "{small}");
    }

    #[test]
    fn damaged_and_oversized_facts_are_refused() {
        let good = packed(&facts(2), &facts(1));
        let refused = |mut entry: StatusEntry, base: &[u8]| assert_eq!(unpack(&mut entry, base), None);
        refused(good.clone(), b"");
        refused(StatusEntry { facts_mode: 9, ..good.clone() }, &facts(1));
        refused(StatusEntry { facts_size: u32::MAX, ..good.clone() }, &facts(1));
        refused(StatusEntry { facts: vec![7; 5], ..good }, &facts(1));
    }
}
