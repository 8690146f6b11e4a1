//! Tests of how much memory before the head one call frees.

use super::checked::Checked;
use crate::dedup::log::block::BLOCK;
use crate::dedup::log::slot::Slot;

/// Returns the bytes of all keys that are held, dead or live.
fn held_bytes(checked: &Checked) -> u64 {
    let blocks = checked.log.ring.slots.iter().flat_map(Slot::parts);
    blocks.map(|block| block.tally(&(0..BLOCK)).1).sum()
}

/// Returns a log of keys of 304 bytes, of which only the last five are live, and the number of the
/// others. The head is in the middle of the last block.
fn mostly_evicted(dead_blocks: usize) -> (Checked, usize) {
    let mut checked = Checked::starting_at(0);
    let (dead, padding) = (dead_blocks * BLOCK + 5, "x".repeat(300));
    for id in 0..dead + 5 {
        checked.push(&format!("{padding}{id:04}"));
    }
    (0..dead).for_each(|_| checked.evict());
    (checked, dead)
}

#[test]
fn drain_frees_the_bytes_it_is_asked_for_and_no_live_key() {
    let (mut checked, dead) = mostly_evicted(2);
    for left in (0..dead).rev() {
        checked.log.ring.drain(304);
        assert_eq!(held_bytes(&checked), 304 * (left + 5) as u64);
    }
    checked.log.ring.drain(304);
    checked.check();
}

#[test]
fn push_frees_as_many_dead_bytes_as_it_adds() {
    let (mut checked, _) = mostly_evicted(8);
    let padding = "x".repeat(9_000);
    for id in 0.. {
        let before = held_bytes(&checked);
        if before - checked.log.bytes() < 10_000 {
            assert!(id > 200, "some were freed before");
            break;
        }
        checked.push(&format!("{padding}{id}"));
        assert!(held_bytes(&checked) <= before);
    }
    checked.check();
}
