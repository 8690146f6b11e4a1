//! Tests of the memory that removed entries return.

use super::checked::Checked;
use crate::dedup::log::block::BLOCK;

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
