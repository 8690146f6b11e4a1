//! Caches of several sizes that get the same requests, and what an unbounded cache would answer.

use std::collections::HashMap;
use std::time::Duration;

use leakproof::{BuildError, ManualClock, unsync};

use crate::Options;
use crate::columns::Request;
use crate::size::Size;

pub(crate) struct Replay {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    /// A number for every key, as an unbounded cache would hold them.
    keys: HashMap<Box<str>, usize>,
    /// The bytes of all keys, each as at its first request.
    pub(crate) weight: u64,
    pub(crate) byte_hits: u64,
    time: ManualClock,
    pub(crate) runs: Vec<Run>,
}

/// One cache. A single-threaded one has one recency list, so its answers are exact.
pub(crate) struct Run {
    pub(crate) size: Size,
    pub(crate) cache: unsync::LruCache<usize, u32>,
    pub(crate) byte_hits: u64,
}

impl Replay {
    pub(crate) fn new(options: &Options, sizes: &[Size]) -> Result<Self, BuildError> {
        let time = ManualClock::new();
        let run = |&size: &Size| {
            let mut builder = unsync::LruCache::builder()
                .weigher(|_, &bytes| bytes)
                .clock(&time);
            if let Some(entries) = size.entries {
                builder = builder.max_entries(usize::try_from(entries).unwrap_or(usize::MAX));
            }
            if let Some(bytes) = size.bytes {
                builder = builder.max_weight(bytes);
            }
            if let Some(ttl) = options.ttl {
                builder = builder.ttl(ttl);
            }
            if let Some(timeout) = options.idle_timeout {
                builder = builder.idle_timeout(timeout);
            }
            Ok(Run {
                size,
                cache: builder.build()?,
                byte_hits: 0,
            })
        };
        Ok(Self {
            requests: 0,
            bytes: 0,
            keys: HashMap::new(),
            weight: 0,
            byte_hits: 0,
            runs: sizes.iter().map(run).collect::<Result<_, _>>()?,
            time,
        })
    }

    /// Looks up a key in every cache, and inserts it if it is absent.
    pub(crate) fn request(&mut self, request: &Request<'_>) {
        if let Some(nanos) = request.nanos {
            self.time.set(Duration::from_nanos(nanos));
        }
        let bytes = u64::from(request.bytes);
        self.requests += 1;
        self.bytes += bytes;
        let next = self.keys.len();
        let key = match self.keys.get(request.key) {
            Some(&key) => key,
            None => *self.keys.entry(request.key.into()).or_insert(next),
        };
        if key == next {
            self.weight += bytes.max(1);
        } else {
            self.byte_hits += bytes;
        }
        for run in &mut self.runs {
            if run.cache.get(&key).is_some() {
                run.byte_hits += bytes;
            } else {
                run.cache.insert(key, request.bytes);
            }
        }
    }

    pub(crate) fn distinct(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Returns the hits of an unbounded cache.
    pub(crate) fn hits(&self) -> u64 {
        self.requests - self.distinct()
    }

    pub(crate) fn hit_ratio(&self, hits: u64) -> f64 {
        hits as f64 / self.requests.max(1) as f64
    }

    pub(crate) fn byte_hit_ratio(&self, byte_hits: u64) -> f64 {
        byte_hits as f64 / self.bytes.max(1) as f64
    }
}
