//! Interleaved rounds and their medians.

use leakproof::Clock;

use crate::sizes::Sizes;

/// The measurements of each round, by contestant.
pub(crate) struct Rounds {
    /// A row per round.
    values: Vec<Vec<f64>>,
}

/// Measures each contestant once per round, in an order that changes from round to round. A slow
/// phase of the machine, or the caches that a contestant leaves behind, do not always hit the same
/// one.
pub(crate) fn interleaved(
    name: &str,
    rounds: usize,
    contestants: usize,
    mut measure: impl FnMut(usize) -> f64,
) -> Rounds {
    let mut values = vec![vec![0.0; contestants]; rounds];
    for (round, row) in values.iter_mut().enumerate() {
        for place in 0..contestants {
            let contestant = (place + round * contestants / rounds) % contestants;
            eprint!(
                "\r{name}: round {} of {rounds}, {} of {contestants}   ",
                round + 1,
                place + 1
            );
            row[contestant] = measure(contestant);
        }
    }
    eprintln!();
    Rounds { values }
}

/// Times `work` on each collection in every round. `work` gets the collection, its index and the
/// round, and makes `sizes.timed` calls.
pub(crate) fn timed<C>(
    name: &str,
    sizes: &Sizes,
    collections: &[C],
    mut work: impl FnMut(&C, usize, usize),
) -> Rounds {
    let mut done = vec![0; collections.len()];
    let clock = Clock::precise();
    interleaved(name, sizes.rounds, collections.len(), |at| {
        let start = clock.now();
        work(&collections[at], at, done[at]);
        let took = clock.now() - start;
        done[at] += 1;
        took.as_nanos() as f64 / sizes.timed as f64
    })
}

impl Rounds {
    pub(crate) fn median(&self, contestant: usize) -> f64 {
        median(self.values.iter().map(|row| row[contestant]))
    }

    /// Returns the median of the ratios of each round, in which a busy machine cancels out.
    pub(crate) fn ratio(&self, contestant: usize, to: usize) -> f64 {
        median(self.values.iter().map(|row| row[contestant] / row[to]))
    }

    /// Returns the least and the greatest ratio.
    pub(crate) fn range(&self, contestant: usize, to: usize) -> (f64, f64) {
        let ratios = self.values.iter().map(|row| row[contestant] / row[to]);
        ratios.fold((f64::INFINITY, 0.0), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        })
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}
