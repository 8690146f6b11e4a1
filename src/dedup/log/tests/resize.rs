//! Tests of the resizing of the index.

use super::checked::{Checked, TTL};
use crate::dedup::log::block::BLOCK;
use crate::dedup::log::{MOVED, PROBED};

#[test]
fn resize_finds_every_entry_across_the_wrap() {
    let mut checked = Checked::starting_at(u32::MAX - 5 * BLOCK as u32);
    for id in 0..20 * BLOCK {
        checked.push(&id.to_string());
        if id % 1_021 == 0 {
            checked.check();
        }
    }
    checked.check();
}

/// These removals leave fewer holes than begin a pass.
#[test]
fn slot_without_entries_hides_no_older_entry() {
    let mut checked = Checked::starting_at(0);
    checked.push_ids(0..12 * BLOCK);
    (0..BLOCK).for_each(|_| checked.take(6 * BLOCK));
    assert!(checked.log.ring.slots[6].live == 0 && checked.log.ring.compaction.is_none());
    checked.relayout(22);
    checked.push_ids(12 * BLOCK..14 * BLOCK);
    assert!(checked.log.index.mark().is_none(), "the resize has ended");
    checked.check();
    (0..6 * BLOCK).for_each(|_| checked.evict());
    checked.check();
}

#[test]
fn entry_that_began_a_resize_is_removed_from_the_new_table() {
    let mut checked = Checked::starting_at(0);
    let mut resizes = 0;
    for id in 0..1_000 {
        checked.push_only(&id.to_string());
        if checked.log.index.mark() == Some(checked.log.end() - 1) {
            resizes += 1;
            checked.take(checked.reference.len() - 1);
            checked.check();
            checked.finish_resize();
        }
    }
    assert!(resizes > 2, "{resizes} resizes");
    checked.check();
}

/// The numbers in the previous table mean nothing once none of its entries is left.
#[test]
fn resize_ends_when_the_head_passes_its_mark() {
    let passes: [fn(&mut Checked); 4] = [
        |checked| checked.advance(TTL - 5),
        |checked| (0..105).for_each(|_| checked.evict()),
        |checked| checked.evict_bytes(205),
        |checked| (0..105).for_each(|_| checked.remove_only(0)),
    ];
    for pass in passes {
        let mut checked = Checked::starting_at(0);
        checked.push_ids(0..100);
        checked.relayout(22);
        checked.now += 100;
        (100..110).for_each(|id| checked.push_only(&id.to_string()));
        assert_eq!(checked.log.index.mark(), Some(100));
        pass(&mut checked);
        assert_eq!(checked.reference.len(), 5);
        checked.check();
        checked.remove_only(2);
        assert_eq!(checked.log.index.mark(), None);
        checked.check();
    }
}

/// The slots above the one that is read are empty.
#[test]
fn resize_during_compaction_moves_every_entry() {
    let mut checked = Checked::with_every_fourth_of(8 * BLOCK);
    while checked.log.ring.emptied_slots().is_empty() {
        checked.compact_once();
    }
    checked.relayout(22);
    checked.finish_resize();
    checked.check();
}

/// With one hash for all keys, a moved entry probes all buckets that others took before it.
#[test]
fn resize_moves_one_entry_per_call_with_a_constant_hasher() {
    let mut checked = Checked::starting_at(0);
    checked.hasher.different = 1;
    let (mut most_at_first, mut most_later) = (0, 0);
    for id in 0..3_000 {
        let before = checked.log.index.mark();
        checked.push(&id.to_string());
        let after = checked.log.index.mark();
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        // The entries moved so far take 64 buckets of 15 words if they are this many.
        if checked.log.ring.tail() - before > 15 * PROBED as u32 {
            most_later = most_later.max(before.saturating_sub(after));
        } else {
            most_at_first = most_at_first.max(before.saturating_sub(after));
        }
    }
    assert_eq!((most_at_first, most_later), (MOVED as u32, 1));
    checked.check();
}
