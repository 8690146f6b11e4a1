//! `Log::validate`: checks every invariant of the log in linear time, for model tests and fuzzing.

use std::hash::BuildHasher;

use super::Log;
use super::block::BLOCK;
use crate::clock::Nanos;
use crate::dedup::Key;

impl<K: ?Sized + Key, V> Log<K, V> {
    /// Checks that ring and index agree, and that every sum is the sum of its parts.
    ///
    /// # Panics
    ///
    /// Panics if an invariant does not hold.
    pub(crate) fn validate(&self, hasher: &impl BuildHasher) {
        let ring = &self.ring;
        assert!(
            self.index.spans(ring.live_range().len),
            "the numbers span too much"
        );
        let (mut live, mut bytes, mut holes) = (0, 0, 0);
        let (mut last_time, mut last_first): (Nanos, Nanos) = (0, 0);
        let (head, head_at) = ring.locate(ring.head());
        let emptied = ring.emptied_slots();
        for (index, slot) in ring.slots.iter().enumerate() {
            let (mut slot_live, mut slot_bytes, mut end) = (0, 0, 0);
            let is_searched = index >= head && !emptied.contains(&index);
            assert!(
                !is_searched || slot.first >= last_time,
                "a slot's time is below that of an older entry"
            );
            if is_searched {
                assert!(slot.first >= last_first, "the times of slots decrease");
                last_first = slot.first;
            }
            for block in slot.parts() {
                assert!(
                    block.positions().start >= end,
                    "two parts of a slot overlap"
                );
                end = block.positions().end;
                assert!(end <= BLOCK);
                holes += block.holes();
                let present = block.positions().filter(|&at| block.is_present(at));
                assert_eq!(
                    present.count(),
                    block.positions().len() - block.holes(),
                    "a block's holes"
                );
                for at in block.positions() {
                    assert!(block.time(at) >= last_time, "times decrease");
                    last_time = block.time(at);
                    assert!(
                        !is_searched || slot.first <= last_time,
                        "a slot's time is above that of its oldest entry"
                    );
                    if (index, at) < (head, head_at) || !block.is_present(at) {
                        continue;
                    }
                    slot_live += 1;
                    slot_bytes += block.weight(at);
                    let seq = ring.seq(index, at);
                    let found = self.find(block.hash(hasher, at), block.key(at));
                    assert_eq!(found, Some(seq), "the index does not find an entry");
                }
            }
            let unsettled = if index == head {
                ring.unsettled()
            } else {
                (0, 0)
            };
            assert!(
                index < head
                    || (slot.live, slot.bytes)
                        == (slot_live + unsettled.0, slot_bytes + unsettled.1),
                "a slot's sums"
            );
            (live, bytes) = (live + slot_live, bytes + slot_bytes);
        }
        assert_eq!(
            (self.len(), self.bytes(), ring.holes),
            (live, bytes, holes),
            "the ring's sums"
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
