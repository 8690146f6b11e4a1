//! What can be a key, and which store holds it.

use std::hash::Hash;

use crate::dedup::log::columns::{ByteArena, KeyColumn, VecColumn};

/// What a [`DedupMap`](crate::DedupMap) can be keyed by: every `T: Hash + Eq + Clone`, and `str` and `[u8]`.
///
/// `str` and `[u8]` are the ones to choose for message ids: their bytes are copied into a contiguous
/// first-in-first-out heap, so that no id costs an allocation. Other keys are cloned when they are stored.
///
/// `Hash`, `Eq` and `Clone` run while a shard is locked: they must not call back into the collection.
pub trait Key: Hash + Eq {
    /// How the keys of one block are held.
    #[doc(hidden)]
    type Column: KeyColumn<Self>;
}

impl<T: Hash + Eq + Clone> Key for T {
    type Column = VecColumn<T>;
}

impl Key for str {
    type Column = ByteArena;
}

impl Key for [u8] {
    type Column = ByteArena;
}

/// The keys whose bytes can be bounded with `max_bytes`: `str` and `[u8]`.
#[diagnostic::on_unimplemented(
    message = "the bytes of `{Self}` cannot be bounded",
    note = "`max_bytes` is for keys of `str` and `[u8]`: write `DedupSet::<str>` in place of `DedupSet::<String>`"
)]
pub trait ByteKey: Key + sealed::Sealed {}
impl ByteKey for str {}
impl ByteKey for [u8] {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for str {}
    impl Sealed for [u8] {}
}

/// What a batch of keys `K` can be made of: `&K`, `&&K`, and owned strings and byte vectors or references to them.
#[diagnostic::on_unimplemented(
    message = "a batch of `{K}` keys cannot be made of `{Self}`",
    note = "pass references: `insert_batch(&ids)`"
)]
pub trait AsKey<K: ?Sized> {
    /// The key itself.
    fn as_key(&self) -> &K;
}

impl<K: ?Sized> AsKey<K> for &K {
    fn as_key(&self) -> &K {
        self
    }
}

impl<K: ?Sized> AsKey<K> for &&K {
    fn as_key(&self) -> &K {
        self
    }
}

macro_rules! as_key {
    ($($owned:ty => $key:ty),+) => {$(
        impl AsKey<$key> for $owned {
            fn as_key(&self) -> &$key {
                self
            }
        }
        impl AsKey<$key> for &$owned {
            fn as_key(&self) -> &$key {
                self
            }
        }
    )+};
}
as_key!(String => str, Vec<u8> => [u8], crate::CompoundKey => [u8]);
