//! The most entries that one call touches, counted.
//!
//! A call hashes its own key once. Every other hash belongs to an entry that it moves. Values count
//! their drops.

use std::cell::Cell;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::Duration;

use leakproof::{ManualClock, unsync};

use crate::report::Table;
use crate::stream::Ids;

const TTL: Duration = Duration::from_secs(3600);

type Count = Rc<Cell<u64>>;
type Counted = unsync::DedupMap<str, Dropped, CountingState>;

struct CountingState {
    inner: ahash::RandomState,
    hashes: Count,
}

impl BuildHasher for CountingState {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> ahash::AHasher {
        self.hashes.set(self.hashes.get() + 1);
        self.inner.build_hasher()
    }
}

#[derive(Clone)]
struct Dropped(Count);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// The most work of one call.
#[derive(Clone, Copy, Default)]
struct Most {
    moved: u64,
    dropped: u64,
    /// The sum of both.
    entries: u64,
}

pub(crate) struct Touched {
    phases: Vec<(&'static str, Most)>,
}

struct Counting {
    map: Counted,
    time: ManualClock,
    hashes: Count,
    drops: Count,
}

/// Grows a map to `grown` entries, then makes it evict, expire all entries, and remove from its
/// middle.
pub(crate) fn most(grown: usize) -> Touched {
    let ids = &Ids::new(grown / 4 * 6);
    eprintln!("entries touched");
    let quarter = grown / 4;
    let mut counting = Counting::new(grown);
    let record = |map: &mut Counted, id: &str, drops: &Count| {
        map.record(id, Dropped(Rc::clone(drops)));
    };
    let growing = counting.most(ids, 0..grown, record);
    let evicting = counting.most(ids, grown..grown + quarter, record);
    counting.time.advance(TTL);
    let expired = counting.most(ids, grown + quarter..grown + 2 * quarter, record);
    let half = (grown + quarter..grown + 2 * quarter).step_by(2);
    let removing = counting.most(ids, half, |map, id, _| {
        assert!(map.remove(id).is_some(), "it is live");
    });
    let phases = vec![
        ("growing", growing),
        ("evicting", evicting),
        ("all expired at once", expired),
        ("removing every other id", removing),
    ];
    Touched { phases }
}

impl Counting {
    fn new(max: usize) -> Self {
        let [hashes, drops] = [(); 2].map(|()| Count::default());
        let time = ManualClock::new();
        let hasher = CountingState {
            inner: ahash::RandomState::with_seeds(1, 2, 3, 4),
            hashes: Rc::clone(&hashes),
        };
        let builder = unsync::DedupMap::builder()
            .ttl(TTL)
            .max_entries(max)
            .clock(time.clock());
        let map = builder.hasher(hasher).build().expect("bounds are set");
        Self {
            map,
            time,
            hashes,
            drops,
        }
    }

    fn most(
        &mut self,
        ids: &Ids,
        calls: impl Iterator<Item = usize>,
        call: impl Fn(&mut Counted, &str, &Count),
    ) -> Most {
        let mut most = Most::default();
        for at in calls {
            self.hashes.set(0);
            self.drops.set(0);
            call(&mut self.map, ids.get(at), &self.drops);
            let moved = self.hashes.get() - 1;
            most.moved = most.moved.max(moved);
            most.dropped = most.dropped.max(self.drops.get());
            most.entries = most.entries.max(moved + self.drops.get());
        }
        most
    }
}

impl Touched {
    pub(crate) fn entries(&self) -> u64 {
        self.phases
            .iter()
            .map(|(_, most)| most.entries)
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn table(&self) -> Table {
        let head = [
            "one call at most",
            "moves entries",
            "drops entries",
            "touches",
        ];
        let mut table = Table::new(&head).introduced(
            "Counted by the hasher and the values of a `DedupMap`, without the entry of the call.",
        );
        for (phase, most) in &self.phases {
            table.row([
                (*phase).to_owned(),
                most.moved.to_string(),
                most.dropped.to_string(),
                most.entries.to_string(),
            ]);
        }
        table
    }
}
