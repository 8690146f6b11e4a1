//! Tests of the compaction.

use super::checked::{Checked, TTL};
use crate::dedup::log::block::BLOCK;

#[test]
fn holes_are_compacted_below_an_entry_that_stays() {
    let mut checked = Checked::starting_at(u32::MAX - 100 * BLOCK as u32);
    checked.push("stays");
    for id in 0..200 * BLOCK {
        checked.push(&id.to_string());
        checked.remove(1);
        if id % 10_007 == 0 {
            checked.check();
        }
    }
    assert!(
        checked.log.ring.slots.len() < 16,
        "{} slots are held",
        checked.log.ring.slots.len()
    );
    checked.check();
}

#[test]
fn equal_hashes_are_told_apart_during_compaction() {
    let mut checked = Checked::starting_at(u32::MAX - 3 * BLOCK as u32);
    checked.hasher.different = 60;
    for id in 0..4 * BLOCK {
        checked.push(&id.to_string());
        if id % 3 > 0 {
            checked.remove(id * 7_919 % checked.reference.len());
        }
        if id % 307 == 0 {
            checked.check();
        }
    }
    while checked.reference.len() > 10 {
        checked.remove(checked.reference.len() / 2);
        if checked.reference.len() % 97 == 0 {
            checked.check();
        }
    }
    checked.check();
}

#[test]
fn compaction_keeps_the_order_of_entries() {
    let mut checked = Checked::starting_at(0);
    for id in 0..40 * BLOCK {
        // Some of these ids are stored in the arena, some outside of it.
        checked.push(&format!("{id}{}", "x".repeat(id % 300)));
    }
    let mut at = 0;
    while checked.reference.len() > 100 {
        at = (at + 7_919) % checked.reference.len();
        checked.remove(at);
        if checked.reference.len() % 1_777 == 0 {
            checked.check();
        }
    }
    checked.check();
    for id in 0..BLOCK {
        checked.push(&format!("new {id}"));
    }
    checked.check();
}

#[test]
fn removal_bounds_the_holes_at_every_step() {
    // The ratios that `compact.rs` states, for removals in order, in reverse, at random, and of all
    // but a few.
    let orders: [fn(usize, usize) -> usize; 4] = [
        |_, _| 1,
        |_, len| len - 1,
        |step, len| step * 7_919 % len,
        |step, len| (step + step / 999) % len,
    ];
    for order in orders {
        let mut checked = Checked::starting_at(0);
        checked.push_ids(0..25 * BLOCK);
        let mut step = 0;
        while checked.reference.len() > 10 {
            step += 1;
            checked.remove(order(step, checked.reference.len()) % checked.reference.len());
            let (holes, live) = (checked.log.ring.holes, checked.log.len());
            assert!(
                holes as f64 <= 0.23 * live as f64 + 1.3 * BLOCK as f64,
                "{holes} holes and {live} entries"
            );
        }
        checked.check();
    }
}

#[test]
fn compacted_entries_expire_at_their_time() {
    for stays in [1, 10] {
        let mut checked = Checked::starting_at(0);
        checked.push_ids(0..5 * BLOCK);
        // The last removals begin a pass and leave it unfinished.
        for _ in stays..3_600 {
            checked.remove(stays);
        }
        checked.check();
        // The 200 entries that expire next, one by one.
        checked.now = checked.reference[stays].1 + TTL - 1;
        for id in 0..200 {
            checked.push(&format!("new {id}"));
        }
        checked.check();
    }
}

/// A slot that is filled may have got entries of several older slots before it was.
#[test]
fn slots_are_in_order_after_every_step_of_compaction() {
    let mut checked = Checked::with_every_fourth_of(8 * BLOCK);
    assert!(checked.log.ring.is_sparse());
    let mut filled = 0;
    while checked.log.ring.is_sparse() {
        if checked.compact_once() {
            filled += 1;
            checked.check();
        }
    }
    assert!(filled > 2, "{filled} slots were filled");
    checked.check();
}

#[test]
fn previous_skips_slots_that_compaction_has_emptied() {
    let mut checked = Checked::with_every_fourth_of(8 * BLOCK);
    for _ in 0..5 * BLOCK / 2 {
        checked.compact_once();
    }
    // Slot 6 is filled, and slot 4 has entries left.
    assert_eq!(checked.log.ring.emptied_slots(), 5..6);
    checked.check_backwards();
}

/// A pass that reaches `head` leaves a slot with a dead part and a live one. The next pass moves
/// the live part, and must keep the dead one.
#[test]
fn compaction_keeps_the_dead_part_of_a_slot() {
    let mut checked = Checked::starting_at(0);
    checked.push_ids(0..BLOCK + 700);
    (0..300).for_each(|_| checked.remove(350));
    (0..400).for_each(|_| checked.evict());
    (0..145).for_each(|_| checked.remove(10));
    let ring = &checked.log.ring;
    assert!(ring.compaction.is_none() && ring.slots[0].parts().count() == 2);
    checked.push_ids(BLOCK + 700..BLOCK + 1_030);
    (0..330).for_each(|_| checked.remove(400));
    checked.check();
}

#[test]
fn pass_that_reaches_a_full_first_slot_ends() {
    let mut checked = Checked::starting_at(0);
    checked.push_ids(0..3 * BLOCK + 10);
    (1..BLOCK).for_each(|_| checked.take(1));
    checked.compact_once();
    checked.evict();
    checked.sweep();
    checked.check();
}
