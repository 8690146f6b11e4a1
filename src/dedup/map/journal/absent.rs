//! The hooks without the feature `persist`, which do nothing.

use std::hash::BuildHasher;
use std::marker::PhantomData;

use crate::dedup::Key;
use crate::dedup::core::{Core, Outcome};
use crate::dedup::map::{DedupMap, Inner};
use crate::stats::DedupStats;

pub(crate) struct Hook<K: ?Sized, V>(PhantomData<fn(&K) -> V>);

#[derive(Clone, Default)]
pub(crate) struct Owner(());

#[derive(Clone, Copy, Default)]
pub(crate) struct Pending(());

impl<K: ?Sized + Key, V> Hook<K, V> {
    pub(crate) fn none() -> Self {
        Self(PhantomData)
    }

    #[inline]
    pub(crate) fn recorded(
        &self,
        _: (u64, &K),
        _: &mut Outcome<()>,
        _: &mut Core<K, V>,
        _: &mut Option<V>,
    ) -> Pending
    where
        V: Clone,
    {
        Pending(())
    }

    #[inline]
    pub(crate) fn committed(&self, _: u64, _: &Core<K, V>) -> Pending {
        Pending(())
    }

    #[inline]
    pub(crate) fn removed(&self, _: u64, _: &Core<K, V>, _: &K) -> Pending {
        Pending(())
    }

    #[inline]
    pub(crate) fn found(&self, _: u64) -> Pending {
        Pending(())
    }

    #[inline]
    pub(crate) fn refuses(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn probe(&self) {}

    #[inline]
    pub(crate) fn wait(&self, _: Pending) -> bool {
        true
    }

    pub(crate) fn clear(&self, shards: usize, mut clear: impl FnMut(usize, &mut dyn FnMut())) {
        (0..shards).for_each(|shard| clear(shard, &mut || ()));
    }

    pub(crate) fn add_to(&self, _: &mut DedupStats) {}
}

impl<K: ?Sized + Key, V, S> Inner<K, V, S> {
    pub(crate) fn maintain_journal(&self) {}
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    #[inline]
    pub(crate) fn settle(&self, _: &K, _: Pending, _: &mut Option<V>) -> bool
    where
        V: Clone,
    {
        true
    }
}
