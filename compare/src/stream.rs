//! The stream of events for every contestant: ids, and which of them are redeliveries.

use std::collections::VecDeque;
use std::ops::Range;

use crate::sizes::Sizes;

/// Bytes of one id.
pub(crate) const ID_LEN: usize = 45;
/// Redeliveries among 100 events.
const REDELIVERIES: u64 = 15;
const CHATS: u64 = 5_000;

/// The distribution of the distance of a redelivery, counted in new ids.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Distance {
    /// Retries with exponential backoff: each power of two is equally likely.
    LogUniform,
    /// Anywhere in the live window, which misses the processor caches.
    Uniform,
}

/// Events in the order of their arrival, one tick apart.
///
/// Each event has its own copy of its id, like a message that was just parsed. Every contestant
/// reads the ids in sequence.
pub(crate) struct Stream {
    arena: String,
    fresh: Vec<bool>,
}

impl Stream {
    /// Redeliveries repeat ids that were recorded less than `sizes.window` ticks ago, so `fresh`
    /// has the right answers.
    pub(crate) fn new(sizes: &Sizes, events: usize, distance: Distance) -> Self {
        let mut arena = String::with_capacity(events * ID_LEN);
        let mut fresh = Vec::with_capacity(events);
        let mut random = Random::new(0x9E37_79B9);
        let mut recorded: VecDeque<u64> = VecDeque::new();
        let mut ids = 0u64;
        for tick in 0..events as u64 {
            while recorded
                .front()
                .is_some_and(|&at| tick - at >= sizes.window)
            {
                recorded.pop_front();
            }
            let is_new = recorded.is_empty() || random.next() % 100 >= REDELIVERIES;
            if is_new {
                push_id(ids, &mut arena);
                ids += 1;
                recorded.push_back(tick);
            } else {
                push_id(
                    ids - 1 - distance.draw(&mut random, recorded.len()),
                    &mut arena,
                );
            }
            fresh.push(is_new);
        }
        Self { arena, fresh }
    }

    #[inline]
    pub(crate) fn id(&self, event: usize) -> &str {
        &self.arena[event * ID_LEN..(event + 1) * ID_LEN]
    }

    #[inline]
    pub(crate) fn is_fresh(&self, event: usize) -> bool {
        self.fresh[event]
    }

    pub(crate) fn len(&self) -> usize {
        self.fresh.len()
    }

    pub(crate) fn redeliveries(&self, events: Range<usize>) -> usize {
        self.fresh[events].iter().filter(|&&fresh| !fresh).count()
    }
}

impl Distance {
    /// Returns a distance below `live`.
    fn draw(self, random: &mut Random, live: usize) -> u64 {
        let distance = match self {
            Self::LogUniform => (live as f64).powf(random.fraction()) as u64 - 1,
            Self::Uniform => (live as f64 * random.fraction()) as u64,
        };
        distance.min(live as u64 - 1)
    }
}

/// Appends the id of a number: `1203630`, 12 digits for the chat, and 16 hexadecimal digits for the
/// message.
pub(crate) fn push_id(number: u64, to: &mut String) {
    use std::fmt::Write as _;

    let message = mix(number);
    let chat = mix(mix(number ^ 0xC4A7) % CHATS) % 1_000_000_000_000;
    write!(to, "1203630{chat:012}@g.us:3EB0{message:016X}").expect("a String accepts every write");
}

/// Mixes the bits of a number with the finalizer of SplitMix64. Distinct inputs stay distinct.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// Returns a number in `0.0..1.0`.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Calls `work` with `count` distinct ids from number `first` on, without holding them all in
/// memory.
pub(crate) fn each_id(first: u64, count: usize, mut work: impl FnMut(&str)) {
    let mut id = String::with_capacity(ID_LEN);
    for number in first..first + count as u64 {
        id.clear();
        push_id(number, &mut id);
        work(&id);
    }
}

/// Distinct ids in memory.
pub(crate) struct Ids {
    arena: String,
}

impl Ids {
    pub(crate) fn new(count: usize) -> Self {
        let mut arena = String::with_capacity(count * ID_LEN);
        (0..count as u64).for_each(|number| push_id(number, &mut arena));
        Self { arena }
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> &str {
        &self.arena[at * ID_LEN..(at + 1) * ID_LEN]
    }
}
