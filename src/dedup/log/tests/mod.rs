//! Tests of what the owners of a log cannot reach: numbers that wrap, compaction and resizing seen
//! from inside.

mod checked;
mod compaction;
mod holes;
mod random;
mod reclaim;
mod resize;

use super::block::BLOCK;
use checked::{Checked, TTL};

#[test]
fn entries_are_found_while_numbers_wrap() {
    let mut checked = Checked::starting_at(u32::MAX - 3 * BLOCK as u32);
    for id in 0..12 * BLOCK {
        checked.push(&id.to_string());
        if checked.reference.len() > 2 * BLOCK {
            checked.evict();
        }
        if id % 97 == 0 {
            checked.remove(checked.reference.len() / 2);
        }
        if id % 509 == 0 {
            checked.check();
        }
    }
    checked.advance(TTL);
    checked.check();
    assert_eq!(checked.log.len(), 0);
}

#[test]
fn numbers_stay_dense_under_inserts_and_removals() {
    // A number is taken by each entry alone, and compaction returns the numbers of removed entries.
    let mut checked = Checked::starting_at(0);
    let long = "x".repeat(70_000);
    checked.push_ids(0..1_000);
    for id in 0..20_000 {
        checked.push(&format!("{long}{id}"));
        checked.remove(1_000);
        let span = checked.log.ring.live_range().len;
        assert!(
            span <= 2_300 + 3 * BLOCK as u32 + (1 << 14),
            "{span} numbers for 1000 entries"
        );
    }
    checked.check();
}

#[test]
fn four_entries_expire_up_to_the_end_of_a_slot() {
    let mut checked = Checked::starting_at(0);
    checked.push_ids(0..=BLOCK);
    (0..BLOCK - 4).for_each(|_| checked.evict());
    checked.advance(TTL - 1);
    assert_eq!(checked.reference.len(), 1);
    checked.check();
}

#[test]
fn sweep_returns_memory_after_a_spike() {
    let mut checked = Checked::starting_at(7 * BLOCK as u32);
    // The last block is not full, so pushes keep it.
    checked.push_ids(0..100 * BLOCK + 7);
    assert!(checked.log.index.buckets() > 6_000);
    checked.advance(TTL);
    checked.check();
    let freed = checked.sweep();
    assert!(freed > 99 * BLOCK, "no push had freed the rest");
    assert!(checked.log.ring.slots.is_empty());
    assert!(checked.log.index.buckets() < 16);
    assert!(checked.log.ring.slots.capacity() <= 64);
    checked.push("next");
    checked.check();
}

#[test]
fn sweep_counts_no_entries_that_were_removed() {
    let mut checked = Checked::starting_at(0);
    checked.push_ids(0..2 * BLOCK);
    for at in [5, 3] {
        checked.take(at);
    }
    checked.advance(TTL);
    assert_eq!(checked.sweep(), 2 * BLOCK - 2);
}
