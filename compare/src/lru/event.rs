//! Keys, and the events that look them up.

use std::fmt::Write as _;
use std::hash::Hash;

/// A kind of key.
pub(crate) trait Key: Clone + Default + Eq + Hash + Send + Sync + 'static {
    /// The name of the kind.
    const NAME: &'static str;

    /// Sets this to the key of a number.
    fn set(&mut self, number: u64);
}

impl Key for u64 {
    const NAME: &'static str = "u64";

    fn set(&mut self, number: u64) {
        *self = number;
    }
}

/// 24 bytes.
impl Key for String {
    const NAME: &'static str = "String";

    fn set(&mut self, number: u64) {
        self.clear();
        write!(self, "session:{number:016x}").expect("a String accepts every write");
    }
}

/// A lookup of a key, and the value to insert if it is absent.
#[derive(Clone, Default)]
pub(crate) struct Event<K> {
    pub(crate) key: K,
    pub(crate) value: u64,
}

/// Events with their keys, which are generated outside the timed part, in the same memory each
/// time.
#[derive(Default)]
pub(crate) struct Batch<K> {
    events: Vec<Event<K>>,
}

impl<K: Key> Batch<K> {
    pub(crate) fn of(&mut self, numbers: impl ExactSizeIterator<Item = u64>) -> &[Event<K>] {
        let count = numbers.len();
        if self.events.len() < count {
            self.events.resize(count, Event::default());
        }
        for (event, number) in self.events.iter_mut().zip(numbers) {
            event.key.set(number);
            event.value = number;
        }
        &self.events[..count]
    }
}
