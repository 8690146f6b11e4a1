//! The ends of the two orders, across shards.

use super::LruCache;
use super::unsync::End;
use crate::removal::RemovalCause;

impl<K, V, S> LruCache<K, V, S> {
    /// Removes the live entry that was used longest ago. Locks each shard once, and frees what it passes over there, which
    /// is past its time.
    pub fn pop_lru(&self) -> Option<(K, V)> {
        self.pop_end(End::LeastRecent)
    }

    /// Removes the live entry that was written longest ago. As [`pop_lru`](Self::pop_lru).
    pub fn pop_oldest(&self) -> Option<(K, V)> {
        self.pop_end(End::Oldest)
    }

    fn pop_end(&self, end: End) -> Option<(K, V)> {
        let now = self.now();
        loop {
            let times = self.each_shard(|shard, left| {
                shard.core.first_live(now, end, left).map(|(_, time)| time)
            });
            let (shard, _) = times
                .enumerate()
                .filter_map(|(shard, time)| Some((shard, time?)))
                .min_by_key(|it| it.1)?;
            // Others may have emptied the shard meanwhile.
            let popped = self.inner.with_telling(
                shard,
                |shard, left| shard.core.pop_at(now, end, left),
                |listener, popped| {
                    popped.inspect(|(key, value)| listener.tell(key, value, RemovalCause::Removed))
                },
            );
            if popped.is_some() {
                return popped;
            }
        }
    }
}
