//! Tests of what the owners of a log cannot reach: numbers that wrap, compaction and resizing seen
//! from inside.

mod checked;
mod holes;
mod reclaim;

use proptest::prelude::*;

use super::block::BLOCK;
use super::{MOVED, PROBED};
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

#[test]
fn numbers_stay_dense_under_inserts_and_removals() {
    // A number is taken by each entry alone, and compaction returns the numbers of removed entries.
    let mut checked = Checked::starting_at(0);
    let long = "x".repeat(70_000);
    for id in 0..1_000 {
        checked.push(&id.to_string());
    }
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
        for id in 0..25 * BLOCK {
            checked.push(&id.to_string());
        }
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
        for id in 0..5 * BLOCK {
            checked.push(&id.to_string());
        }
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
    let mut checked = Checked::starting_at(0);
    for id in 0..8 * BLOCK {
        checked.push(&id.to_string());
    }
    // Three of four, from the end.
    for at in (0..8 * BLOCK).rev().filter(|at| at % 4 > 0) {
        checked.take(at);
    }
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
    let mut checked = Checked::starting_at(0);
    (0..8 * BLOCK).for_each(|id| checked.push(&id.to_string()));
    let removed = (0..8 * BLOCK).rev().filter(|at| at % 4 > 0);
    removed.for_each(|at| checked.take(at));
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
    let mut ids = (0..).map(|id: usize| id.to_string());
    let mut push = |checked: &mut Checked, count: usize| {
        ids.by_ref().take(count).for_each(|id| checked.push(&id));
    };
    push(&mut checked, BLOCK + 700);
    (0..300).for_each(|_| checked.remove(350));
    (0..400).for_each(|_| checked.evict());
    (0..145).for_each(|_| checked.remove(10));
    let ring = &checked.log.ring;
    assert!(ring.compaction.is_none() && ring.slots[0].parts().count() == 2);
    push(&mut checked, 330);
    (0..330).for_each(|_| checked.remove(400));
    checked.check();
}

#[test]
fn four_entries_expire_up_to_the_end_of_a_slot() {
    let mut checked = Checked::starting_at(0);
    (0..=BLOCK).for_each(|id| checked.push(&id.to_string()));
    (0..BLOCK - 4).for_each(|_| checked.evict());
    checked.advance(TTL - 1);
    assert_eq!(checked.reference.len(), 1);
    checked.check();
}

#[test]
fn pass_that_reaches_a_full_first_slot_ends() {
    let mut checked = Checked::starting_at(0);
    (0..3 * BLOCK + 10).for_each(|id| checked.push(&id.to_string()));
    (1..BLOCK).for_each(|_| checked.take(1));
    checked.compact_once();
    checked.evict();
    checked.sweep();
    checked.check();
}

/// These removals leave fewer holes than begin a pass.
#[test]
fn slot_without_entries_hides_no_older_entry() {
    let mut checked = Checked::starting_at(0);
    let mut ids = (0..).map(|id: usize| id.to_string());
    let mut push = |checked: &mut Checked, count: usize| {
        ids.by_ref().take(count).for_each(|id| checked.push(&id));
    };
    push(&mut checked, 12 * BLOCK);
    (0..BLOCK).for_each(|_| checked.take(6 * BLOCK));
    assert!(checked.log.ring.slots[6].live == 0 && checked.log.ring.compaction.is_none());
    checked.relayout(22);
    push(&mut checked, 2 * BLOCK);
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
            while checked.log.index.mark().is_some() {
                checked.log.resize(MOVED, &checked.hasher);
            }
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
        (0..100).for_each(|id| checked.push(&id.to_string()));
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
    let mut checked = Checked::starting_at(0);
    (0..8 * BLOCK).for_each(|id| checked.push(&id.to_string()));
    for at in (0..8 * BLOCK).rev().filter(|at| at % 4 > 0) {
        checked.take(at);
    }
    while checked.log.ring.emptied_slots().is_empty() {
        checked.compact_once();
    }
    checked.relayout(22);
    while checked.log.index.mark().is_some() {
        checked.log.resize(MOVED, &checked.hasher);
    }
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

#[test]
fn sweep_returns_memory_after_a_spike() {
    let mut checked = Checked::starting_at(7 * BLOCK as u32);
    // The last block is not full, so pushes keep it.
    for id in 0..100 * BLOCK + 7 {
        checked.push(&id.to_string());
    }
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
    (0..2 * BLOCK).for_each(|id| checked.push(&id.to_string()));
    for at in [5, 3] {
        checked.take(at);
    }
    checked.advance(TTL);
    assert_eq!(checked.sweep(), 2 * BLOCK - 2);
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Evict(usize),
    EvictBytes(u64),
    Remove(usize, usize),
    Advance(u64),
    /// Advances to the time at which an entry expires that arrived this long after the oldest.
    Expire(u64),
    Sweep(usize),
    /// Resizes the index to the layout of numbers that span 2 to the power of this.
    Relayout(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let many = 3 * BLOCK;
    prop_oneof![
        4 => (0..many).prop_map(Op::Push),
        1 => (0..many / 3).prop_map(Op::Evict),
        1 => (0..200_000_u64).prop_map(Op::EvictBytes),
        4 => (0..many, any::<usize>()).prop_map(|(count, step)| Op::Remove(count, step)),
        1 => (0..TTL / 2).prop_map(Op::Advance),
        1 => (0..many).prop_map(Op::Sweep),
        1 => (19..=27_u32).prop_map(Op::Relayout),
    ]
}

/// Fewer entries at a time, most of which are removed: compaction continues while the head comes
/// nearer.
fn small_op() -> impl Strategy<Value = Op> {
    let few = BLOCK;
    prop_oneof![
        3 => (0..few).prop_map(Op::Push),
        2 => (0..few / 4).prop_map(Op::Evict),
        1 => (0..10_000_u64).prop_map(Op::EvictBytes),
        4 => (0..few, any::<usize>()).prop_map(|(count, step)| Op::Remove(count, step)),
        1 => (0..few as u64).prop_map(Op::Expire),
        1 => (0..few).prop_map(Op::Sweep),
        1 => (19..=27_u32).prop_map(Op::Relayout),
    ]
}

fn any_start() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        (0..9 * BLOCK as u32).prop_map(|back| u32::MAX - back)
    ]
}

fn run(start: u32, ops: Vec<Op>) {
    let mut checked = Checked::starting_at(start);
    let mut id = 0_usize;
    for op in ops {
        match op {
            Op::Push(count) => {
                for _ in 0..count {
                    id += 1;
                    let padding = if id % 100 == 0 { 7_000 } else { id * 31 % 97 };
                    checked.push(&format!("{id}{}", "x".repeat(padding)));
                }
            }
            Op::Evict(count) => (0..count).for_each(|_| checked.evict()),
            Op::EvictBytes(bytes) => checked.evict_bytes(bytes),
            Op::Remove(count, step) => {
                for at in 0..count {
                    if checked.reference.is_empty() {
                        break;
                    }
                    checked.remove(at.wrapping_mul(step) % checked.reference.len());
                }
            }
            Op::Advance(by) => checked.advance(by),
            Op::Expire(after) => {
                let oldest = checked.reference.front().map_or(0, |entry| entry.1);
                checked.advance((oldest + after + TTL).saturating_sub(checked.now));
            }
            Op::Sweep(budget) => {
                checked.sweep_some(budget);
            }
            Op::Relayout(bits) => checked.relayout(bits),
        }
        checked.check();
    }
    checked.sweep();
    checked.check();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn log_agrees_with_the_reference_for_many_entries(
        start in any_start(),
        ops in proptest::collection::vec(op(), 0..12),
    ) {
        run(start, ops);
    }

    #[test]
    fn log_agrees_with_the_reference_during_compaction(
        start in any_start(),
        ops in proptest::collection::vec(small_op(), 30..90),
    ) {
        run(start, ops);
    }
}
