//! The codecs of a map's keys and values, as functions. The builder's setter has the bounds that
//! they need, and the map's own methods have not.

use std::any::Any;
use std::borrow::Borrow;
use std::fmt;
use std::io;

use crate::clock::Nanos;
use crate::codec::Codec;
use crate::dedup::Key;
use crate::persist::Journal;
use crate::persist::format::{decode, put_insert, put_remove};

/// A journal, and the codecs of the map that it is for.
pub(crate) struct Attachment {
    pub(super) journal: Journal,
    /// `Codecs<K, V>`. The builder's setter has the bounds that `Codecs` needs, and `build` has
    /// not.
    pub(super) codecs: Box<dyn Any + Send + std::marker::Sync>,
}

/// The functions of the codecs of a map's keys and values.
pub(super) struct Codecs<K: ?Sized, V> {
    pub(super) insert: fn(&mut Vec<u8>, Nanos, &K, &V) -> io::Result<()>,
    pub(super) remove: fn(&mut Vec<u8>, Nanos, &K) -> io::Result<()>,
    pub(super) with_entry: WithEntry<K, V>,
    pub(super) with_key: WithKey<K>,
}

/// Decodes a key and a value. The error is the reason for which that is impossible.
type WithEntry<K, V> = fn(&[u8], &[u8], &mut dyn FnMut(&K, V)) -> Result<(), String>;
type WithKey<K> = fn(&[u8], &mut dyn FnMut(&K)) -> Result<(), String>;

impl<K: ?Sized, V> Clone for Codecs<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V> Copy for Codecs<K, V> {}

impl Attachment {
    pub(crate) fn new<K, V>(journal: Journal) -> Self
    where
        K: ?Sized + Key + Codec + 'static,
        V: Codec<Owned = V> + 'static,
    {
        let codecs: Codecs<K, V> = Codecs {
            insert: |out, time, key, value| {
                put_insert(out, time, |out| key.encode(out), |out| value.encode(out))
            },
            remove: |out, time, key| put_remove(out, time, |out| key.encode(out)),
            with_entry: |key, value, visit| {
                let key = decode::<K>("key", key)?;
                visit(key.borrow(), decode::<V>("value", value)?);
                Ok(())
            },
            with_key: |key, visit| {
                visit(decode::<K>("key", key)?.borrow());
                Ok(())
            },
        };
        Self {
            journal,
            codecs: Box::new(codecs),
        }
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.journal.fmt(f)
    }
}
