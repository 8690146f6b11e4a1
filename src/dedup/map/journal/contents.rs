//! The ids of a map, as the compaction of its journal asks for them.

use std::hash::BuildHasher;
use std::time::Duration;

use crate::clock::Nanos;
use crate::dedup::Key;
use crate::dedup::log::columns::KeyColumn;
use crate::dedup::map::Inner;
use crate::panic::catch_user_panic;
use crate::sweep::Contents;

impl<K: ?Sized + Key, V, S: BuildHasher> Inner<K, V, S> {
    /// Frees the space of ids that are not live.
    pub(crate) fn maintain_journal(&self) {
        if let Some(shared) = self.journal.shared() {
            shared.maintain_all(self);
        }
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> Contents for Inner<K, V, S> {
    fn live_after(&self, times: &[Nanos]) -> Vec<u64> {
        let now = self.now();
        let mut live = vec![0; times.len()];
        for shard in 0..self.shards.len() {
            self.with_shard(shard, |core, _| core.add_live_after(now, times, &mut live));
        }
        live
    }

    fn recorded_at(&self, key: &[u8]) -> Result<Option<Nanos>, String> {
        let Some(attached) = &self.journal.attached else {
            return Err("there is no journal".to_owned());
        };
        let mut time = None;
        let decoded = catch_user_panic(|| {
            (attached.codecs.with_key)(key, &mut |key| {
                let hash = K::Column::hash(&self.hasher, key);
                let (now, shard) = (self.now(), self.shards.shard_of(hash));
                time = self.with_shard(shard, |core, _| core.recorded_at(now, hash, key));
            })
        });
        decoded.unwrap_or_else(|| Err("a codec panicked".to_owned()))?;
        Ok(time)
    }

    fn oldest_age(&self) -> Option<Duration> {
        self.stats().oldest_entry_age
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::dedup::DedupMap;

    #[test]
    fn live_ids_of_all_shards_are_counted_by_time() {
        let (time, nanosecond) = (ManualClock::new(), Duration::from_nanos(1));
        let builder = DedupMap::<str, ()>::builder().ttl(50 * nanosecond);
        let builder = builder.max_entries(1_000).shards(4).clock(&time);
        let map = builder.build().expect("valid options");
        let start = map.inner.now();
        for id in 1..=100 {
            time.advance(nanosecond);
            map.record(&id.to_string(), ());
        }
        let times = [0, 50, 51, 90, 100].map(|time| start + time);
        assert_eq!(map.inner.live_after(&times), [50, 50, 49, 10, 0]);
    }
}
