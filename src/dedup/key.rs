//! The keys of deduplication: which types they may be, and how they are stored.

use std::hash::{BuildHasher, Hash};
use std::sync::Weak;

use crate::dedup::DedupMap;
use crate::dedup::log::columns::{ByteArena, KeyColumn, VecColumn};
use crate::sweep::Sweep;

/// A type that can be the key of a [`DedupMap`]: every `T: Hash + Eq + Clone`, and `str` and
/// `[u8]`.
///
/// Prefer `str` or `[u8]` for message ids. Their bytes are copied into a contiguous
/// first-in-first-out arena, so an id of up to 255 bytes needs no allocation of its own. Other keys
/// are cloned when they are stored.
///
/// `Hash`, `Eq` and `Clone` run while a shard is locked, and must not call back into the
/// collection.
pub trait Key: Hash + Eq {
    /// The storage of the keys of one block.
    #[doc(hidden)]
    type Column: KeyColumn<Self>;

    /// Implements [`Watch`](crate::Watch) for `DedupMap`. It is a method of the key, because only
    /// an implementation knows that the storage of a key that is `Send` is `Send` as well.
    #[doc(hidden)]
    fn downgrade_to_sweep<V, S>(map: &DedupMap<Self, V, S>) -> Weak<dyn Sweep>
    where
        Self: Send + 'static,
        V: Send + 'static,
        S: BuildHasher + Send + Sync + 'static;
}

macro_rules! impl_key {
    ($Key:ty, $Column:ty $(, $T:ident)?) => {
        impl $(<$T: Hash + Eq + Clone>)? Key for $Key {
            type Column = $Column;

            fn downgrade_to_sweep<V, S>(map: &DedupMap<Self, V, S>) -> Weak<dyn Sweep>
            where
                Self: Send + 'static,
                V: Send + 'static,
                S: BuildHasher + Send + Sync + 'static,
            {
                map.downgrade_inner()
            }
        }
    };
}
impl_key!(T, VecColumn<T>, T);
impl_key!(str, ByteArena);
impl_key!([u8], ByteArena);

/// A key whose bytes can be bounded with `max_bytes`: `str` or `[u8]`.
#[diagnostic::on_unimplemented(
    message = "the bytes of `{Self}` cannot be bounded",
    note = "`max_bytes` is for keys of `str` and `[u8]`: write `DedupSet::<str>` instead of `DedupSet::<String>`"
)]
pub trait ByteKey: Key + sealed::Sealed {}
impl ByteKey for str {}
impl ByteKey for [u8] {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for str {}
    impl Sealed for [u8] {}
}

/// A type that a batch of `K` keys can consist of: `&K`, `&&K`, and owned strings and byte vectors
/// or references to them.
#[diagnostic::on_unimplemented(
    message = "a batch of `{K}` keys cannot be made of `{Self}`",
    note = "pass references: `insert_batch(&ids)`"
)]
pub trait AsKey<K: ?Sized> {
    /// Returns the key.
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
as_key!(String => str, Vec<u8> => [u8], crate::compound_key::CompoundKey => [u8]);
