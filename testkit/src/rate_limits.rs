//! The reference model of rate limits for a bounded number of keys: GCRA over a `Vec` in access
//! order. It holds no fresh key, because a fresh key and no key have the same answers.

/// One step. Keys are numbers, so that both a fuzzer and a generator can make them.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// Checks this many cells plus one, modulo the burst.
    Check { key: u16, more: u8 },
    /// Moves the clock, by nanoseconds.
    Advance(u16),
    /// Removes fresh keys.
    RetainRecent,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_entries: usize,
    /// The time that a cell takes, in nanoseconds.
    pub interval: u64,
    pub burst: u32,
    /// Evicts the least recently used key, instead of rejecting a new one.
    pub evicts_lru: bool,
}

/// The collection that is checked against the reference.
pub trait Limiter {
    /// Returns `Err` with the time from which the check can succeed.
    fn check(&self, key: u16, cells: u32) -> Result<(), u64>;
    fn advance(&self, by: u64);
    fn retain_recent(&self);
    /// Checks the invariants.
    fn validate(&self);
    fn counts(&self) -> Counts;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub allowed: u64,
    pub limited: u64,
    pub evicted: u64,
    pub rejected: u64,
}

struct Reference {
    limits: Limits,
    now: u64,
    /// Keys with their theoretical arrival time, the least recently used first.
    keys: Vec<(u16, u64)>,
    counts: Counts,
}

impl Reference {
    fn check(&mut self, key: u16, cells: u32) -> Result<(), u64> {
        let interval = self.limits.interval;
        let cost = interval * u64::from(cells);
        let tolerance = interval * u64::from(self.limits.burst - 1);
        let more = cost - interval;
        let now = self.now;
        self.keys.retain(|&(_, arrival)| arrival > now);
        let known = self.keys.iter().position(|&(it, _)| it == key);
        let arrival = known.map_or(now, |at| self.keys.remove(at).1);
        let earliest = (arrival + more).saturating_sub(tolerance);
        if now < earliest {
            self.counts.limited += 1;
            self.keys.push((key, arrival));
            return Err(earliest);
        }
        if known.is_none() && self.keys.len() == self.limits.max_entries {
            if !self.limits.evicts_lru {
                self.counts.rejected += 1;
                let first = self.keys.iter().map(|&(_, arrival)| arrival).min();
                return Err(first.expect("the bound is above zero") + more);
            }
            self.keys.remove(0);
            self.counts.evicted += 1;
        }
        self.counts.allowed += 1;
        self.keys.push((key, arrival + cost));
        Ok(())
    }
}

/// Runs the operations on the limiter and on the reference, and compares their answers.
pub fn run(limits: Limits, limiter: &impl Limiter, ops: &[Op]) {
    let mut reference = Reference {
        limits,
        now: 0,
        keys: Vec::new(),
        counts: Counts::default(),
    };
    for op in ops {
        match *op {
            Op::Check { key, more } => {
                let cells = u32::from(more) % limits.burst + 1;
                let answer = limiter.check(key, cells);
                assert_eq!(answer, reference.check(key, cells), "{op:?}");
            }
            Op::Advance(by) => {
                reference.now += u64::from(by);
                limiter.advance(u64::from(by));
            }
            Op::RetainRecent => limiter.retain_recent(),
        }
        limiter.validate();
        assert_eq!(limiter.counts(), reference.counts, "{op:?}");
    }
}
