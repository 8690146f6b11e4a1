//! What the window's owners cannot reach: numbers that wrap, packing, resizing seen from inside.

mod checked;

use proptest::prelude::*;

use super::block::BLOCK;
use super::group::Grouping;
use super::index::Index;
use super::line::Live;
use super::table::Table;
use checked::{Checked, TTL};

#[test]
fn numbers_wrap_and_number_zero_is_never_given() {
    let mut checked = Checked::starting_at(u32::MAX - 3 * BLOCK as u32);
    for id in 0..8 * BLOCK {
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
    assert_eq!(checked.window.len(), 0);
}

#[test]
fn the_index_is_resized_across_the_wrap() {
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
fn numbers_that_come_to_span_much_call_for_larger_groups() {
    let mut index = Index::bounded(100);
    index.make_room(0, Live::between(5_000_000, 5_000_000));
    assert!(index.is_settled(10, Live::between(5_000_000, 5_000_010)));
    // Few entries, but far apart.
    let apart = Live::between(5_000_000, 9_000_000);
    assert!(!index.is_settled(10, apart) && !index.spans(apart.len * 2));
    index.make_room(10, apart);
    assert!(index.spans(apart.len * 2));
}

#[test]
fn numbers_that_span_much_are_kept_in_larger_groups() {
    let mut checked = Checked::starting_at(u32::MAX - 1_000 * BLOCK as u32);
    let long = "x".repeat(70_000);
    for id in 0..2_200 {
        // Each takes up the numbers of a whole slot.
        checked.push(&format!("{long}{id}"));
    }
    assert!(
        checked.window.index.spans(1 << 22),
        "more than groups of 64 tell apart"
    );
    checked.check();
    while checked.reference.len() > 10 {
        checked.evict();
    }
    for id in 0..3 * BLOCK {
        checked.push(&id.to_string());
    }
    checked.check();
}

#[test]
fn of_ids_with_equal_slots_each_is_found_whichever_slot_another_gave_up() {
    let grouping = Grouping::of_span(1 << 25);
    assert_eq!(grouping.size(), 4_096);
    let mut table = Table::with_lines(3, grouping);
    let hash = |line: u64, tag: u64| ((line * 0x6000_0000) << 32) | tag;
    let first = 1 << 20;
    let live = |seq| Live::between(first, seq + 1);
    // Two lines are full, so that an id which belongs into the first of them comes to stand in the third.
    for seq in first..first + 40 {
        table.insert(
            hash(u64::from(seq - first) / 20, 100 + u64::from(seq)),
            seq,
            live(seq),
        );
    }
    let (id, older) = (hash(0, 7), first + 40);
    table.insert(id, older, live(older));
    // One leaves the second line, and takes its place: an id of the same hash and the same group.
    table.remove(hash(1, 100 + u64::from(older) - 1), older - 1);
    let newer = older + 2_500;
    table.insert(id, newer, live(newer));
    let find = |table: &Table, from: u32| {
        table.find(id, Live::between(from, newer + 1), |first, size| {
            (first..first + size).contains(&newer).then_some(newer)
        })
    };
    assert_eq!(find(&table, first), Some(newer));
    // Gives up the slot in the second line.
    table.remove(id, older);
    assert_eq!(find(&table, first), Some(newer));
    assert_eq!(
        find(&table, newer),
        Some(newer),
        "all that came before it has left"
    );
}

#[test]
fn holes_are_packed_away_below_an_entry_that_stays() {
    let mut checked = Checked::starting_at(u32::MAX - 100 * BLOCK as u32);
    checked.push("stays");
    for id in 0..300 * BLOCK {
        checked.push(&id.to_string());
        checked.remove(1);
        if id % 10_007 == 0 {
            checked.check();
        }
    }
    assert!(
        checked.window.ring.slots.len() < 16,
        "{} slots are held",
        checked.window.ring.slots.len()
    );
    checked.check();
}

#[test]
fn ids_of_equal_hashes_are_told_apart_while_they_are_removed_and_packed() {
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
        if checked.reference.len().is_multiple_of(97) {
            checked.check();
        }
    }
    checked.check();
}

#[test]
fn a_sparse_window_is_packed_while_its_ids_stay_in_order() {
    let mut checked = Checked::starting_at(0);
    for id in 0..40 * BLOCK {
        // Long ids, so that blocks are filled by bytes as well as by number.
        checked.push(&format!("{id}{}", "x".repeat(id % 300)));
    }
    let mut at = 0;
    while checked.reference.len() > 100 {
        at = (at + 7_919) % checked.reference.len();
        checked.remove(at);
        if checked.reference.len().is_multiple_of(1_777) {
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
fn packing_passes_slots_that_a_long_key_filled_before() {
    let mut checked = Checked::starting_at(0);
    let long = "x".repeat(70_000);
    let mut id = 0;
    for round in 0..4 {
        for _ in 0..40 {
            for _ in 0..300 {
                id += 1;
                checked.push(&id.to_string());
            }
            // The first to be packed, and then nothing else fits into the slot: it keeps two parts.
            checked.push(&format!("{long}{id}"));
        }
        let mut at = 0;
        while checked.reference.len() > 150 * (round + 1) {
            at = (at + 7_919) % checked.reference.len();
            if checked.reference[at].0.len() > 1_000 && checked.reference.len() > 1_000 {
                at += 1;
            }
            checked.remove(at % checked.reference.len());
            if checked.reference.len().is_multiple_of(1_009) {
                checked.check();
            }
        }
        checked.check();
    }
}

#[test]
fn a_packed_slot_with_the_head_in_it_is_packed_again() {
    let mut checked = Checked::starting_at(0);
    let mut id = 0;
    let mut fill = |checked: &mut Checked| {
        for _ in 0..300 {
            id += 1;
            checked.push(&id.to_string());
        }
        checked.push(&format!("{}{id}", "x".repeat(200_000)));
    };
    let remove_long = |checked: &mut Checked| {
        let at = checked
            .reference
            .iter()
            .position(|entry| entry.0.len() > 1_000)
            .expect("a long key");
        checked.remove(at);
    };
    fill(&mut checked);
    fill(&mut checked);
    checked.push("the slot after");
    // The head comes to stand within the second slot, which is then packed, its long key being gone.
    (0..401).for_each(|_| checked.evict());
    remove_long(&mut checked);
    for _ in 0..40 {
        checked.remove(50);
        checked.check();
    }
    // Two more slots, and the same slot is packed once more, into a younger one.
    fill(&mut checked);
    fill(&mut checked);
    checked.push("and the next slot");
    remove_long(&mut checked);
    remove_long(&mut checked);
    while checked.reference.len() > 20 {
        checked.remove(checked.reference.len() - 2);
        checked.check();
    }
}

#[test]
fn what_packing_moves_expires_in_its_time_however_far_packing_has_come() {
    for stays in [1, 10] {
        let mut checked = Checked::starting_at(0);
        for id in 0..5 * BLOCK {
            checked.push(&id.to_string());
        }
        // What is removed last begins to pack the others, and leaves that half done.
        for _ in stays..3_600 {
            checked.remove(stays);
        }
        checked.check();
        // The 200 that are next to expire, one by one.
        checked.now = checked.reference[stays].1 + TTL - 1;
        for id in 0..200 {
            checked.push(&format!("new {id}"));
        }
        checked.check();
    }
}

#[test]
fn after_a_spike_memory_is_given_back() {
    let mut checked = Checked::starting_at(7 * BLOCK as u32);
    for id in 0..100 * BLOCK {
        checked.push(&id.to_string());
    }
    assert!(checked.window.index.lines() > 6_000);
    checked.advance(TTL);
    checked.check();
    let Checked {
        window,
        hasher,
        trash,
        ..
    } = &mut checked;
    let mut freed = 0;
    loop {
        let (some, more) = window.sweep(64, hasher, trash);
        assert!(some <= 8 * BLOCK, "a bounded piece each time");
        freed += some;
        if !more {
            break;
        }
    }
    assert!(freed > 99 * BLOCK, "all that no later push had freed");
    assert!(window.ring.slots.is_empty() && window.is_settled());
    assert!(window.index.lines() < 16);
    assert!(window.ring.slots.capacity() <= 64);
    checked.push("and on it goes");
    checked.check();
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Evict(usize),
    EvictBytes(u64),
    Remove(usize, usize),
    Advance(u64),
    /// Advances to the time at which what came so long after the oldest expires.
    Expire(u64),
    Sweep(usize),
    /// To groups of so many bits of a number: as where numbers span more, or less, than they do.
    Regroup(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3 * BLOCK).prop_map(Op::Push),
        1 => (0..BLOCK).prop_map(Op::Evict),
        1 => (0..200_000_u64).prop_map(Op::EvictBytes),
        4 => (0..3 * BLOCK, any::<usize>()).prop_map(|(count, step)| Op::Remove(count, step)),
        1 => (0..TTL / 2).prop_map(Op::Advance),
        1 => (0..3 * BLOCK).prop_map(Op::Sweep),
        1 => (6..=14_u32).prop_map(Op::Regroup),
    ]
}

/// Fewer at a time, mostly removed: packing goes on all the while, as the head comes nearer.
fn small_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..BLOCK).prop_map(Op::Push),
        2 => (0..BLOCK / 4).prop_map(Op::Evict),
        1 => (0..10_000_u64).prop_map(Op::EvictBytes),
        4 => (0..BLOCK, any::<usize>()).prop_map(|(count, step)| Op::Remove(count, step)),
        1 => (0..BLOCK as u64).prop_map(Op::Expire),
        1 => (0..BLOCK).prop_map(Op::Sweep),
        1 => (6..=14_u32).prop_map(Op::Regroup),
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
                    let padding = if id.is_multiple_of(400) {
                        70_000
                    } else {
                        id * 31 % 97
                    };
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
                let Checked {
                    window,
                    hasher,
                    trash,
                    ..
                } = &mut checked;
                window.sweep(budget, hasher, trash);
            }
            Op::Regroup(bits) => checked.regroup(bits),
        }
        checked.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn many_entries_at_a_time_agree_with_the_reference(
        start in any_start(),
        ops in proptest::collection::vec(op(), 0..12),
    ) {
        run(start, ops);
    }

    #[test]
    fn packing_while_the_head_advances_agrees_with_the_reference(
        start in any_start(),
        ops in proptest::collection::vec(small_op(), 30..90),
    ) {
        run(start, ops);
    }
}
