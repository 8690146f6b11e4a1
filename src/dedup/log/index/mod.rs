//! `Index`: finds the sequence number of an entry by its hash.
//!
//! Owns the table, and the previous table while it is resized. Entries move to the
//! new table a few per call, newest first. So one mark tells which table has a number: numbers at
//! or above the mark are in the new one, numbers below it in the previous one, until they are moved
//! or expire. No call rehashes all entries.
//!
//! Its owner knows keys and times, the index only hashes and numbers. A number that is no longer
//! live needs no removal.

mod bucket;
mod table;
mod word;

use table::Table;
pub(crate) use word::Layout;

/// The number of an entry. Numbers wrap, and are compared by their distance from the oldest live
/// number.
pub(crate) type Seq = u32;

/// The numbers that count as live: `from` and the `len - 1` after it.
#[derive(Clone, Copy)]
pub(crate) struct LiveRange {
    pub(crate) from: Seq,
    pub(crate) len: u32,
}

impl LiveRange {
    #[inline]
    pub(crate) fn between(from: Seq, to: Seq) -> Self {
        Self {
            from,
            len: to.wrapping_sub(from),
        }
    }

    #[inline]
    pub(crate) fn contains(self, seq: Seq) -> bool {
        seq.wrapping_sub(self.from) < self.len
    }
}

/// Entries per bucket at which the table grows. A bucket has fifteen words. With ten entries per
/// bucket, one entry in twenty overflows.
const FULL: usize = 10;
/// Entries per bucket in a table that has grown.
const GROWN: usize = 5;
/// Entries per two buckets below which the table shrinks.
const SPARSE: usize = 9;
/// Entries per bucket in a table that has shrunk. Then a change by a quarter either way does not
/// resize it again.
const SHRUNK: usize = 7;
/// Buckets of the smallest table, unless the bound on entries calls for fewer.
const SMALLEST: usize = 11;

pub(crate) struct Index {
    table: Table,
    previous: Option<Previous>,
    /// The unused memory of earlier tables, to be freed a segment at a time.
    retired: Table,
    /// The largest number of entries that there will ever be.
    max: usize,
    /// The number of entries at which the table has to grow to take another.
    full_at: usize,
}

struct Previous {
    table: Table,
    mark: Seq,
}

impl Index {
    /// Returns an index that will never hold more than `max` entries.
    pub(crate) fn bounded(max: usize) -> Self {
        Self {
            table: Table::default(),
            previous: None,
            retired: Table::default(),
            max,
            full_at: 0,
        }
    }

    /// Returns the number of buckets that `entries` take at this load.
    fn buckets_at(load: usize, entries: usize) -> usize {
        entries.div_ceil(load).max(SMALLEST)
    }

    /// Returns the live number under this hash for which `is` holds.
    #[inline]
    pub(crate) fn find(
        &self,
        hash: u64,
        live: LiveRange,
        mut is: impl FnMut(Seq) -> bool,
    ) -> Option<Seq> {
        let found = self.table.find(hash, live, &mut is);
        match &self.previous {
            // The previous table still has copies of moved entries. `is` decides, so they do no
            // harm.
            Some(previous) if found.is_none() => previous.table.find(hash, live, is),
            _ => found,
        }
    }

    /// Loads what a search for this hash will read. The result depends on the memory read, and
    /// means nothing.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u32 {
        let previous = self.previous.as_ref();
        self.table.touch(hash) ^ previous.map_or(0, |previous| previous.table.touch(hash))
    }

    /// Inserts the newest number, which must be live, after [`make_room`](Self::make_room).
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, seq: Seq, live: LiveRange) {
        self.table.insert(hash, seq, live);
    }

    pub(crate) fn remove(&mut self, hash: u64, seq: Seq, live: LiveRange) {
        self.table_of(seq, live).remove(hash, seq);
    }

    /// Gives an entry a higher number.
    pub(crate) fn renumber(&mut self, hash: u64, old: Seq, new: Seq, live: LiveRange) {
        if self.is_below_mark(old, live) && !self.is_below_mark(new, live) {
            self.remove(hash, old, live);
            self.table.insert(hash, new, live);
        } else {
            self.table_of(old, live).replace(hash, old, new, live);
        }
    }

    fn is_below_mark(&self, seq: Seq, live: LiveRange) -> bool {
        self.mark()
            .is_some_and(|mark| LiveRange::between(live.from, mark).contains(seq))
    }

    /// Returns the table that has `seq`.
    fn table_of(&mut self, seq: Seq, live: LiveRange) -> &mut Table {
        let below = self.is_below_mark(seq, live);
        match &mut self.previous {
            Some(previous) if below => &mut previous.table,
            _ => &mut self.table,
        }
    }

    /// Returns `true` if numbers that span this much can be distinguished.
    #[inline]
    pub(crate) fn spans(&self, span: u32) -> bool {
        self.table.layout().spans(span)
    }

    /// Returns `true` if no resize is in progress or due, and nothing is left to be freed.
    pub(crate) fn is_settled(&self, entries: usize, live: LiveRange) -> bool {
        self.previous.is_none() && self.retired.is_empty() && !self.is_due(entries, live)
    }

    /// Returns `true` if the table has to grow to take another entry.
    #[inline]
    pub(crate) fn is_full(&self, entries: usize) -> bool {
        entries >= self.full_at
    }

    /// Returns `true` if the table should be resized: to take another entry, to take less memory,
    /// or because the numbers span more.
    fn is_due(&self, entries: usize, live: LiveRange) -> bool {
        self.is_full(entries)
            || self.is_too_large(entries)
            || self.table.layout().is_outgrown(live.len)
    }

    fn is_too_large(&self, entries: usize) -> bool {
        self.table.buckets() > Self::buckets_at(SPARSE, entries.saturating_mul(2))
    }

    /// Begins to resize the table if this is due. The next number must be the one after `live`.
    pub(crate) fn make_room(&mut self, entries: usize, live: LiveRange) {
        if self.previous.is_none() && self.is_due(entries, live) {
            // The table is replaced before it has more entries than this, so it need not be for
            // longer numbers.
            let most = self.max.min(entries.saturating_mul(9) / 4) as u32;
            self.resize(entries, live, Layout::of_span(live.len.max(most)));
        }
    }

    /// Begins to move all entries to a table of suitable size. No resize must be in progress.
    pub(super) fn resize(&mut self, entries: usize, live: LiveRange, layout: Layout) {
        let load = if self.is_too_large(entries) {
            SHRUNK
        } else {
            GROWN
        };
        let wanted = Self::buckets_at(load, entries);
        let most = self.max.div_ceil(FULL).max(1);
        // If little more is all that will ever be needed, it is allocated at once.
        let is_last = wanted + wanted / 8 >= most;
        self.full_at = if is_last { usize::MAX } else { wanted * FULL };
        let buckets = if is_last { most } else { wanted };
        let next = live.from.wrapping_add(live.len);
        let table = Table::with_buckets(buckets, layout, next);
        let table = std::mem::replace(&mut self.table, table);
        if entries == 0 {
            self.retired.absorb(table);
        } else {
            self.previous = Some(Previous { table, mark: next });
        }
    }

    /// Returns the number below which entries are still in the previous table, if a resize is in
    /// progress.
    pub(crate) fn mark(&self) -> Option<Seq> {
        self.previous.as_ref().map(|previous| previous.mark)
    }

    /// Inserts the entry right below the mark into the new table, and lowers the mark to it.
    /// Returns the number of probed buckets.
    pub(crate) fn move_down_to(&mut self, hash: u64, seq: Seq, live: LiveRange) -> usize {
        match &mut self.previous {
            Some(previous) => {
                previous.mark = seq;
                self.table.insert_oldest(hash, seq, live)
            }
            None => 0,
        }
    }

    /// Ends the resize. No live entry is left below the mark.
    pub(crate) fn finish_resize(&mut self) {
        if let Some(previous) = self.previous.take() {
            self.retired.absorb(previous.table);
        }
    }

    /// Frees a piece of unused memory. Returns `true` if more is left.
    pub(crate) fn free_some(&mut self) -> bool {
        self.retired.free_some()
    }

    /// Returns the number of buckets in all tables.
    #[cfg(test)]
    pub(crate) fn buckets(&self) -> usize {
        let previous = self.previous.as_ref();
        self.table.buckets() + previous.map_or(0, |previous| previous.table.buckets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_span_much_get_longer_numbers() {
        let mut index = Index::bounded(100);
        index.make_room(0, LiveRange::between(5_000_000, 5_000_000));
        assert!(index.is_settled(9, LiveRange::between(5_000_000, 5_000_009)));
        // Few entries, but far apart.
        let apart = LiveRange::between(5_000_000, 9_000_000);
        assert!(!index.is_settled(9, apart) && !index.spans(apart.len * 2));
        index.make_room(9, apart);
        assert!(index.spans(apart.len * 2));
    }

    #[test]
    fn table_size_follows_the_number_of_entries() {
        // The bound, the numbers of entries, and the buckets after each.
        let cases: [(usize, &[(usize, usize)]); 3] = [
            (1 << 20, &[(0, 11), (109, 11), (110, 22), (10_000, 2_000)]),
            (1 << 20, &[(10_000, 2_000), (8_996, 2_000), (8_995, 1_285)]),
            (1_000, &[(440, 88), (880, 100), (1_000, 100)]),
        ];
        for (max, sizes) in cases {
            let mut index = Index::bounded(max);
            for &(entries, buckets) in sizes {
                index.make_room(entries, LiveRange::between(0, entries as u32));
                index.finish_resize();
                assert_eq!(index.buckets(), buckets, "{entries} of {max} entries");
            }
        }
        // Little more than 90 buckets is all that will ever be needed.
        let mut index = Index::bounded(1_000);
        index.make_room(450, LiveRange::between(0, 450));
        assert_eq!((index.buckets(), index.is_full(999)), (100, false));
    }

    #[test]
    fn replaced_table_is_freed_one_segment_per_call() {
        let entries = 10_000;
        for later in [2 * entries, 0] {
            let mut index = Index::bounded(1 << 20);
            let live = LiveRange::between(0, entries as u32);
            index.make_room(entries, live);
            index.finish_resize();
            for seq in 0..entries as u32 {
                index.insert(u64::from(seq) * (u64::MAX / 10_000), seq, live);
            }
            index.make_room(later, live);
            index.finish_resize();
            // The first table had 2,000 buckets, in eight segments.
            for _ in 0..7 {
                assert!(!index.is_settled(later, live) && index.free_some());
            }
            assert!(!index.free_some() && index.is_settled(later, live));
        }
    }

    #[test]
    fn layout_spans_the_bound_on_numbers_and_a_resize() {
        let layout = Layout::of_span(1 << 30);
        assert!(layout.spans((1 << 30) + (1 << 28)));
    }
}
