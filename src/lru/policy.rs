//! `Policy`: which entry a full cache evicts.

/// Which entry a full cache evicts, once there is no expired one.
///
/// An entry that was just inserted is never evicted by its own insert, whatever the policy.
///
/// ```
/// use leakproof::{LruCache, Policy};
///
/// let pages = LruCache::<String, String>::builder()
///     .max_entries(100_000)
///     .policy(Policy::S3Fifo)
///     .build()?;
/// # let _: Option<String> = pages.insert("/".to_string(), String::new());
/// # Ok::<(), leakproof::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// Evicts the least recently used entry. The default.
    #[default]
    Lru,
    /// Evicts entries that are not used again soon after they were inserted, so that a scan of keys
    /// that are used once does not displace the others: S3-FIFO with an adaptive small queue.
    ///
    /// A new entry enters a small queue. At the end of that queue, entries that were hit at least
    /// twice move to the main queue, and others are evicted. A key that was evicted from the small
    /// queue lately, or expired in the main queue, enters the main queue if it is inserted again.
    /// There, an entry is evicted if it was not hit since it last was at the end. The small queue
    /// takes between 1% and 99% of the weight, at first 10%. The cache enlarges the queue whose
    /// evicted keys come back more often.
    ///
    /// In simulations on 15 real traces with 5 cache sizes each, it had 6.5% fewer misses than LRU
    /// on average, and more in 6 of the 75 cases. It cannot learn a loop over twice as many keys as
    /// the cache holds.
    ///
    /// # Differences from LRU
    ///
    /// * A hit writes its own entry only and reorders nothing, unless there is an idle timeout. An
    ///   insert that evicts takes longer, and examines at most 34 entries per eviction.
    /// * Without an idle timeout there is no recency list. `pop_lru` and `peek_lru` then return the
    ///   entry that is evicted next. Iterators have no particular order. `entries_by_recency` takes
    ///   time in proportion to the number of entries, and knows the time of an access to within
    ///   8 ns.
    /// * An inserted entry stays until the entries before it in the small queue are moved or
    ///   evicted, whatever its weight. A heavy entry does not stay long, because the queue is
    ///   bounded by weight.
    /// * A snapshot keeps the entries but not their queues. After `restore`, all are in the small
    ///   queue and, unless there is an idle timeout, were accessed at the same time.
    ///
    /// # Memory
    ///
    /// In addition to what the cache takes with `Policy::Lru`, `entries × 2.1` bytes for the hashes
    /// of evicted keys, from the first eviction on. With an idle timeout, `entries × 16` bytes
    /// more.
    S3Fifo,
}
