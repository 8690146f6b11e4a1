//! Tests of the memory that removed entries return.

use std::rc::Rc;

use super::checked::Checked;
use crate::dedup::log::DeferredDrops;
use crate::dedup::log::block::{BLOCK, Block};
use crate::dedup::log::slot::Slot;

/// The bytes of the keys of [`mixed_keys`] that stay. The removed ones have six times as many.
const REMAINING: u64 = 6 * (BLOCK as u64 / 8 * 7);

/// Returns the bytes that are allocated for what `build` returns.
fn held_by<R>(build: impl FnOnce() -> R) -> u64 {
    let mut built = None;
    let counted = allocation_counter::measure(|| built = Some(build()));
    counted.bytes_current as u64
}

/// Returns a block in which every eighth key has 250 bytes, and the others 6.
fn mixed_keys() -> Block<str, ()> {
    let mut block = Block::<str, ()>::new(false, None);
    for at in 0..BLOCK {
        let key = "x".repeat(if at % 8 == 0 { 250 } else { 6 });
        block.push_back(0, &key, &mut Some(()));
    }
    block
}

/// Removes the keys of 250 bytes, and checks that the others stay.
fn remove_longer_keys(block: &mut Block<str, ()>) {
    for at in (0..BLOCK).step_by(8) {
        block.discard(at, &mut DeferredDrops::default());
    }
    let remaining = block.positions().filter(|&at| block.is_present(at));
    assert_eq!(
        remaining.map(|at| block.key(at).len() as u64).sum::<u64>(),
        REMAINING
    );
}

#[test]
fn sealed_block_returns_the_bytes_of_removed_keys() {
    let held = held_by(|| {
        let mut block = mixed_keys();
        block.seal();
        remove_longer_keys(&mut block);
        block
    });
    assert!(held < REMAINING * 5 / 4, "{held} bytes are held");
}

#[test]
fn seal_returns_the_bytes_of_keys_removed_before() {
    let held = held_by(|| {
        let mut block = mixed_keys();
        remove_longer_keys(&mut block);
        block.seal();
        block
    });
    assert_eq!(held, REMAINING);
}

#[test]
fn moved_block_returns_the_bytes_of_removed_keys() {
    let held = held_by(|| {
        let (mut from, mut to) = (mixed_keys(), Block::new(true, None));
        for _ in 0..BLOCK {
            from.move_last(&mut to);
        }
        let mut slot = Slot::new(0, from);
        slot.packed = Some(Box::new(to));
        slot.settle();
        let mut block = slot.block.expect("the packed part is the block");
        remove_longer_keys(&mut block);
        *block
    });
    assert!(held < REMAINING * 5 / 4, "{held} bytes are held");
}

#[test]
fn discarded_value_is_among_the_deferred_drops() {
    let (mut block, mut drops) = (Block::new(false, None), DeferredDrops::default());
    let value = Rc::new(());
    block.push_back(0, &7, &mut Some(Rc::clone(&value)));
    block.discard(0, &mut drops);
    assert_eq!(Rc::strong_count(&value), 2);
    drop(drops);
    assert_eq!(Rc::strong_count(&value), 1);
}

/// A pass leaves a slot with a dead part and a live one. The sweep frees the dead part, and then
/// returns the holes of the live part.
#[test]
fn sweep_returns_holes_beside_a_freed_part() {
    for removed_from_next_slot in [0, 300] {
        let mut checked = Checked::starting_at(0);
        for id in 0..2 * BLOCK + 10 {
            checked.push(&format!("{id}{}", "x".repeat(300)));
        }
        (0..500).for_each(|_| checked.take(300));
        (0..100).for_each(|_| checked.evict());
        while checked.log.ring.is_sparse() {
            checked.compact_once();
        }
        let ring = &checked.log.ring;
        assert!(ring.slots[0].parts().count() == 2 && ring.slots[1].packed.is_none());
        (0..400).for_each(|_| checked.take(10));
        (0..removed_from_next_slot).for_each(|_| checked.take(30));
        checked.check();
        checked.sweep();
        assert_eq!(checked.log.ring.holes, 0);
        checked.check();
    }
}
