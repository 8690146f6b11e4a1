//! The events for every cache: keys by Zipf's law, like those of pages, users and products.

use std::ops::Range;

use crate::stream::{Random, mix};

/// Draws ranks from 1 to `ranks` with probabilities in proportion to 1 / rank.
///
/// Rejection inversion (Hörmann and Derflinger 1996) for an exponent of 1 is exact and needs no
/// table.
struct Zipf {
    ranks: f64,
    /// The range of the logarithms.
    low: f64,
    high: f64,
    /// A rank within this distance below the draw is accepted without a second test.
    sure: f64,
}

impl Zipf {
    fn new(ranks: usize) -> Self {
        let ranks = ranks as f64;
        Self {
            ranks,
            low: 1.5_f64.ln() - 1.0,
            high: (ranks + 0.5).ln(),
            sure: 2.0 - (2.5_f64.ln() - 0.5).exp(),
        }
    }

    fn draw(&self, random: &mut Random) -> u32 {
        loop {
            let log = self.high + random.fraction() * (self.low - self.high);
            let drawn = log.exp();
            let rank = (drawn + 0.5).floor().clamp(1.0, self.ranks);
            if rank - drawn <= self.sure || log >= (rank + 0.5).ln() - 1.0 / rank {
                return rank as u32;
            }
        }
    }
}

/// Events in the order of their arrival, by the rank of their key.
pub(crate) struct Trace {
    ranks: Vec<u32>,
}

impl Trace {
    /// Generates events with keys among `universe` ones.
    pub(crate) fn new(universe: usize, events: usize) -> Self {
        let zipf = Zipf::new(universe);
        let mut random = Random::new(0x9E37_79B9);
        Self {
            ranks: (0..events).map(|_| zipf.draw(&mut random)).collect(),
        }
    }

    /// Returns the keys of these events, as numbers unrelated to their rank.
    pub(crate) fn numbers(&self, events: Range<usize>) -> impl ExactSizeIterator<Item = u64> {
        self.ranks[events].iter().map(|&rank| mix(u64::from(rank)))
    }

    /// Returns the number of distinct keys of these events.
    pub(crate) fn distinct(&self, events: Range<usize>) -> usize {
        let mut ranks = self.ranks[events].to_vec();
        ranks.sort_unstable();
        ranks.dedup();
        ranks.len()
    }
}
