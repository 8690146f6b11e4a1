//! Caches that are all asked the same, beside what one without limits would answer.

use std::collections::HashMap;
use std::time::Duration;

use leakproof::{BuildError, CacheStats, ManualClock, unsync};

use crate::columns::Request;
use crate::options::Options;

pub(crate) struct Replay {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    /// Every key, by number. This is what a cache without limits would hold, and as large.
    keys: HashMap<Box<str>, usize>,
    /// What the keys weigh, each when it was first asked for.
    pub(crate) weight: u64,
    pub(crate) byte_hits: u64,
    time: ManualClock,
    pub(crate) runs: Vec<Run>,
}

/// One cache. A single-threaded one, since its order of use is that of all entries, and what it answers exact.
pub(crate) struct Run {
    cache: unsync::LruCache<usize, u32>,
    pub(crate) byte_hits: u64,
}

impl Replay {
    pub(crate) fn new(options: &Options) -> Result<Self, BuildError> {
        let time = ManualClock::new();
        let runs = options.sizes.iter().map(|size| {
            let mut builder = unsync::LruCache::builder()
                .weigher(|_, &bytes| bytes)
                .clock(&time);
            if let Some(entries) = size.entries {
                builder = builder.max_entries(usize::try_from(entries).unwrap_or(usize::MAX));
            }
            if let Some(bytes) = size.bytes {
                builder = builder.max_weight(bytes);
            }
            if let Some(age) = options.max_age {
                builder = builder.ttl(age);
            }
            if let Some(idle) = options.max_idle {
                builder = builder.idle_timeout(idle);
            }
            Ok(Run {
                cache: builder.build()?,
                byte_hits: 0,
            })
        });
        let runs = runs.collect::<Result<_, _>>()?;
        Ok(Self {
            requests: 0,
            bytes: 0,
            keys: HashMap::new(),
            weight: 0,
            byte_hits: 0,
            time,
            runs,
        })
    }

    pub(crate) fn ask(&mut self, request: &Request<'_>) {
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

    /// Those of a cache without limits.
    pub(crate) fn hits(&self) -> u64 {
        self.requests - self.distinct()
    }

    /// Parts of a whole that may be nothing.
    pub(crate) fn hit_ratio(&self, hits: u64) -> f64 {
        hits as f64 / self.requests.max(1) as f64
    }

    pub(crate) fn byte_hit_ratio(&self, byte_hits: u64) -> f64 {
        byte_hits as f64 / self.bytes.max(1) as f64
    }
}

impl Run {
    pub(crate) fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}
