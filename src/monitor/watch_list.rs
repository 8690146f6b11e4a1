//! `WatchList`: the watched collections, by name and in order.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use super::samples::{Sample, Samples};
use crate::events::ReportedLimits;
use crate::steps::{self, Counted};
use crate::sweep::Sweep;

/// The smallest length at which a search for dropped collections is worth its cost.
const MIN_PURGE: usize = 64;

pub(super) struct Watched {
    pub(super) name: Arc<str>,
    pub(super) collection: Weak<dyn Sweep>,
    pub(super) samples: Samples<Sample>,
    pub(super) reported: ReportedLimits,
}

/// Every operation takes logarithmic time, amortized.
///
/// Invariant: `by_name` has exactly the names of `by_number`.
#[derive(Default)]
pub(super) struct WatchList {
    by_number: BTreeMap<Counted<u64>, Watched>,
    by_name: HashMap<Arc<str>, u64>,
    next_number: u64,
    /// The length at which `insert` next searches for dropped collections.
    purge_at: usize,
}

impl WatchList {
    /// Adds a collection, and replaces the one that is watched under the same name.
    pub(super) fn insert(&mut self, watched: Watched) {
        if self.by_number.len() >= self.purge_at {
            self.remove_dropped();
        }
        self.remove(&watched.name);
        self.by_name
            .insert(Arc::clone(&watched.name), self.next_number);
        self.by_number.insert(Counted(self.next_number), watched);
        self.next_number += 1;
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Watched> {
        let number = self.by_name.remove(name)?;
        self.by_number.remove(&Counted(number))
    }

    /// Removes the collections that were dropped.
    pub(super) fn remove_dropped(&mut self) {
        steps::count(self.by_number.len());
        let by_name = &mut self.by_name;
        self.by_number.retain(|_, watched| {
            let is_alive = watched.collection.strong_count() > 0;
            if !is_alive {
                by_name.remove(&watched.name);
            }
            is_alive
        });
        // The length has doubled by the next search, so its cost per added collection is constant.
        self.purge_at = (2 * self.by_number.len()).max(MIN_PURGE);
    }

    /// Returns the collections with their numbers, in the order in which they were added.
    pub(super) fn collections(&self) -> Vec<(u64, Arc<dyn Sweep>)> {
        let alive = self.by_number.iter();
        alive
            .filter_map(|(number, watched)| Some((number.0, watched.collection.upgrade()?)))
            .collect()
    }

    /// Returns a collection by its number. A replaced or unwatched collection is not found.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Watched> {
        self.by_number.get_mut(&Counted(number))
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Watched> {
        self.by_number.get(&Counted(*self.by_name.get(name)?))
    }

    pub(super) fn by_name_mut(&mut self, name: &str) -> Option<&mut Watched> {
        self.by_number.get_mut(&Counted(*self.by_name.get(name)?))
    }

    #[cfg(feature = "metrics")]
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Returns the names in the order in which they were added.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_number.values().map(|watched| &watched.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Usage;
    use crate::sweep::{Swept, Watch};

    struct Empty;

    impl Sweep for Empty {
        fn sweep_some(&self, _: usize) -> Swept {
            Swept::default()
        }

        fn usage(&self) -> Usage {
            Usage::default()
        }
    }

    fn insert(list: &mut WatchList, name: &str, collection: &Arc<Empty>) {
        list.insert(Watched {
            name: name.into(),
            collection: collection.downgrade_to_sweep(),
            samples: Samples::new(1),
            reported: ReportedLimits::default(),
        });
    }

    #[test]
    fn dropped_collections_do_not_accumulate() {
        let mut list = WatchList::default();
        let kept = Arc::new(Empty);
        insert(&mut list, "kept", &kept);
        for number in 0..10_000 {
            insert(&mut list, &number.to_string(), &Arc::new(Empty));
            assert!(list.by_number.len() <= 2 * MIN_PURGE);
            assert_eq!(list.by_name.len(), list.by_number.len());
        }
        list.remove_dropped();
        assert_eq!((list.by_name.len(), list.by_number.len()), (1, 1));
        assert!(list.by_name("kept").is_some());
    }

    #[test]
    fn insert_searches_for_dropped_collections_in_constant_time() {
        let mut list = WatchList::default();
        let kept = Arc::new(Empty);
        let steps = steps::during(|| {
            for number in 0..10_000 {
                insert(&mut list, &number.to_string(), &kept);
            }
        });
        // The searches visit up to twice the collections, and a comparison counts as a step too:
        // each insertion takes about as many as a search in a tree of 10,000 entries.
        assert!(steps < 60 * 10_000, "{steps} steps");
    }
}
