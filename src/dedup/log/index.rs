//! `Index`: from a hash to the sequence number of its entry.
//!
//! Owns the table, and while the table is being resized the previous one beside it. Entries move to the new table a
//! few per call, newest first, so that one mark tells which table knows a number: those at or above the mark are in the
//! new one, those below it in the previous one, until they are moved or expire. No call ever rehashes the whole.
//!
//! The table holds 6 to 12 entries a line of twenty slots: at 12, one entry in a hundred overflows into the neighbour.

use super::group::Grouping;
use super::line::Live;
use super::ring::Seq;
use super::table::Table;

/// Entries a line at which the table grows.
const FULL: usize = 12;
/// Entries a line to which a resized table is laid out.
const RESIZED: usize = 6;
/// Entries a line below which the table shrinks.
const SPARSE: usize = 3;

pub(crate) struct Index {
    table: Table,
    previous: Option<Previous>,
    /// What is no longer used of earlier tables, being freed.
    retired: Table,
    /// The most entries that there will ever be.
    max: usize,
    /// The number of entries at which the table has to grow to take another.
    full_at: usize,
}

struct Previous {
    table: Table,
    mark: Seq,
}

impl Index {
    /// An index that will never hold more than `max` entries.
    pub(crate) fn bounded(max: usize) -> Self {
        Self {
            table: Table::default(),
            previous: None,
            retired: Table::default(),
            max,
            full_at: 0,
        }
    }

    /// The lines that `entries` take with so many in each. A slot stays taken until its whole group has left, which is
    /// why a group's worth of room is added.
    fn lines_at(load: usize, entries: usize, grouping: Grouping) -> usize {
        entries
            .saturating_add(grouping.size() as usize)
            .div_ceil(load)
    }

    /// What `search` finds first in the live groups under this hash, of which it is given the first number and how many
    /// there are.
    #[inline]
    pub(crate) fn find(
        &self,
        hash: u64,
        live: Live,
        mut search: impl FnMut(Seq, u32) -> Option<Seq>,
    ) -> Option<Seq> {
        let found = self.table.find(hash, live, &mut search);
        match &self.previous {
            // Copies of entries that were moved are still there; whatever `search` finds is right all the same.
            Some(previous) if found.is_none() => previous.table.find(hash, live, search),
            _ => found,
        }
    }

    /// Brings what a search for this hash will read into the cache. The result depends on the memory read, and
    /// means nothing.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u32 {
        self.table.touch(hash)
            ^ self
                .previous
                .as_ref()
                .map_or(0, |previous| previous.table.touch(hash))
    }

    /// Notes the newest number, which `live` includes, after [`make_room`](Self::make_room).
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, seq: Seq, live: Live) {
        self.table.insert(hash, seq, live);
    }

    pub(crate) fn remove(&mut self, hash: u64, seq: Seq, live: Live) {
        self.table_of(seq, live).remove(hash, seq);
    }

    /// Gives an entry another, higher number.
    pub(crate) fn renumber(&mut self, hash: u64, old: Seq, new: Seq, live: Live) {
        if self.is_below_mark(old, live) && !self.is_below_mark(new, live) {
            self.remove(hash, old, live);
            self.table.insert(hash, new, live);
        } else {
            self.table_of(old, live).replace(hash, old, new, live);
        }
    }

    fn is_below_mark(&self, seq: Seq, live: Live) -> bool {
        self.mark()
            .is_some_and(|mark| Live::between(live.from, mark).contains(seq))
    }

    /// The table that knows `seq`.
    fn table_of(&mut self, seq: Seq, live: Live) -> &mut Table {
        let below = self.is_below_mark(seq, live);
        match &mut self.previous {
            Some(previous) if below => &mut previous.table,
            _ => &mut self.table,
        }
    }

    /// Whether numbers that span this much are told apart.
    #[inline]
    pub(crate) fn spans(&self, span: u32) -> bool {
        self.table.grouping().spans(span)
    }

    /// Whether nothing is left to be done: no resizing is under way or due, and nothing is left to be freed.
    pub(crate) fn is_settled(&self, entries: usize, live: Live) -> bool {
        self.previous.is_none() && self.retired.is_empty() && !self.is_due(entries, live)
    }

    /// Whether the table has to grow to take another entry.
    #[inline]
    pub(crate) fn is_full(&self, entries: usize) -> bool {
        entries >= self.full_at
    }

    /// Whether another table is called for: to take one more entry, to hold no more than it needs, or to group numbers
    /// that span more.
    fn is_due(&self, entries: usize, live: Live) -> bool {
        let grouping = self.table.grouping();
        self.is_full(entries)
            || self.table.lines() > Self::lines_at(SPARSE, entries, grouping)
            || grouping.is_outgrown(live.len)
    }

    /// Begins to resize the table where that is due. The next number is the one after `live`.
    pub(crate) fn make_room(&mut self, entries: usize, live: Live) {
        if self.previous.is_some() || !self.is_due(entries, live) {
            return;
        }
        self.resize(entries, live, Grouping::of_span(live.len));
    }

    /// Begins to move all to a table of the size that suits them, while no other resizing is under way.
    pub(super) fn resize(&mut self, entries: usize, live: Live, grouping: Grouping) {
        let (wanted, most) = (
            Self::lines_at(RESIZED, entries, grouping),
            Self::lines_at(FULL, self.max, grouping),
        );
        // Where little more is all that will ever be needed, that is taken at once.
        let is_last = wanted + wanted / 8 >= most;
        self.full_at = if is_last {
            usize::MAX
        } else {
            wanted * FULL - grouping.size() as usize
        };
        let lines = if is_last { most } else { wanted };
        let table = std::mem::replace(&mut self.table, Table::with_lines(lines, grouping));
        if entries == 0 {
            self.retired.absorb(table);
        } else {
            self.previous = Some(Previous {
                table,
                mark: live.from.wrapping_add(live.len),
            });
        }
    }

    /// While the table is being resized: the number below which entries are still in the previous one.
    pub(crate) fn mark(&self) -> Option<Seq> {
        self.previous.as_ref().map(|previous| previous.mark)
    }

    /// Notes the entry right below the mark in the new table, and lowers the mark to it.
    pub(crate) fn move_down_to(&mut self, hash: u64, seq: Seq, live: Live) {
        if let Some(previous) = &mut self.previous {
            previous.mark = seq;
            self.table.insert_oldest(hash, seq, live);
        }
    }

    /// Ends the resizing: no live entry is left below the mark.
    pub(crate) fn resized(&mut self) {
        if let Some(previous) = self.previous.take() {
            self.retired.absorb(previous.table);
        }
    }

    /// Frees a piece of what is no longer used; whether more is left.
    pub(crate) fn free_some(&mut self) -> bool {
        self.retired.free_some()
    }

    /// How many lines the tables have in all.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> usize {
        self.table.lines()
            + self
                .previous
                .as_ref()
                .map_or(0, |previous| previous.table.lines())
    }
}
