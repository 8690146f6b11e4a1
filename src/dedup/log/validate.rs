//! `Window::validate`: every invariant of the window, checked the slow way, for model tests and fuzzing.

use std::hash::BuildHasher;

use super::Window;
use super::block::BLOCK;
use super::group::Grouping;
use super::store::Heap;
use crate::clock::Nanos;
use crate::key::Key;

impl<K: ?Sized + Key, V> Window<K, V> {
    /// Checks that ring and index agree, and that every sum is the sum of its parts.
    ///
    /// # Panics
    ///
    /// Where they do not.
    pub(crate) fn validate(&self, hasher: &impl BuildHasher) {
        let ring = &self.ring;
        assert!(
            self.index.spans(ring.live().len),
            "the numbers span too much"
        );
        let (mut live, mut bytes, mut holes, mut hole_bytes) = (0, 0, 0, 0);
        let mut last_time: Nanos = 0;
        let (head, _) = ring.locate(ring.head());
        let emptied = ring.emptied_by_packing();
        for (index, slot) in ring.slots.iter().enumerate() {
            let (mut slot_present, mut slot_bytes, mut end) = (0, 0, 0);
            let is_searched = index >= head && !emptied.contains(&index);
            assert!(
                !is_searched || slot.first >= last_time,
                "a slot's time is below that of an older entry"
            );
            for block in slot.parts() {
                assert!(
                    block.positions().start >= end,
                    "two parts of a slot overlap"
                );
                end = block.positions().end;
                assert!(end <= BLOCK);
                holes += block.holes;
                hole_bytes += block.hole_bytes;
                let mut weight = 0;
                for at in block.positions() {
                    assert!(block.time(at) >= last_time, "times decrease");
                    last_time = block.time(at);
                    assert!(
                        !is_searched || slot.first <= last_time,
                        "a slot's time is above that of its oldest entry"
                    );
                    if !block.is_present(at) {
                        continue;
                    }
                    weight += block.weight(at);
                    slot_present += 1;
                    let seq = ring.seq(index, at);
                    if seq.wrapping_sub(ring.base) >= ring.head().wrapping_sub(ring.base) {
                        live += 1;
                        bytes += block.weight(at);
                        assert!(!Grouping::is_reserved(seq), "a number of group 0 was given");
                        let found = self.find(block.hash(hasher, at), block.key(at));
                        assert_eq!(found, Some(seq), "the index does not know an entry");
                    }
                }
                assert_eq!(block.bytes(&(0..BLOCK)), weight, "a block's bytes");
                slot_bytes += weight;
            }
            assert_eq!(
                (slot.present, slot.bytes),
                (slot_present, slot_bytes),
                "a slot's figures"
            );
        }
        assert_eq!(
            (self.len(), self.bytes()),
            (live, bytes),
            "the ring's figures"
        );
        assert_eq!(
            (ring.holes, ring.hole_bytes),
            (holes, hole_bytes),
            "the ring's holes"
        );
        // A slot that 64 KiB of live keys fill takes no more; its holes stay, and are few beside those bytes.
        let beside_long_keys = bytes as usize / Heap::ROOM * BLOCK;
        let allowed = 3 * live + 4 * BLOCK + beside_long_keys;
        assert!(
            ring.holes <= allowed,
            "holes pile up: {} beside {live}",
            ring.holes
        );
        let first = ring.next(ring.head());
        assert_eq!(first.is_some(), live > 0);
        assert_eq!(
            first.map(|seq| ring.time(seq)),
            ring.oldest(),
            "the oldest entry's time"
        );
        assert_eq!(
            first.unwrap_or(ring.tail()),
            ring.head(),
            "head is the oldest entry"
        );
    }
}
