//! `emit`: a walk over a topic's listeners that holds no lock while it calls them.
//!
//! On a calm topic it pins the list and calls straight through it, a pass at a time; a pass ends where something other than
//! a plain success comes up. Else it claims one listener after another from the table. Both keep to the snapshot: in order
//! of priority and registration, nobody twice, and nobody who came later than the emit began.

use std::borrow::Borrow;
use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::call::{Answer, Call};
use super::counters::contained;
use super::frames::{self, Entered, MAX_DEPTH};
use super::inner::Inner;
use super::list::List;
use super::pass::{self, Stop, Stopped};
use super::slot::{NEVER, Slot};
use super::table::{Claim, Departed, Resumed, Settled, Snapshot, Table, Walk};
use crate::clock::Nanos;
use crate::events;
use crate::removal::RemovalCause;

/// What an emit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmitSummary {
    /// Listeners called, those that failed or panicked included.
    pub called: usize,
    /// Of these, those that returned a failure.
    pub failed: usize,
    /// Of these, those that panicked.
    pub panicked: usize,
    /// Listeners of the topic that were not called: paused, silenced, filtered out, detached since the emit began, too old, or
    /// without their owner.
    pub skipped: usize,
}

/// The error of an emit that is nested too deep: handlers emitted from within handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecursionLimit {
    /// The emits that may be nested on one thread.
    pub max: usize,
}

impl fmt::Display for RecursionLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} emits are nested on this thread; a handler seems to emit what calls it again",
            self.max
        )
    }
}

impl Error for RecursionLimit {}

impl<T, E: 'static> Inner<T, E> {
    // The usual way, straight through a whole list, writes as little as it can: each atomic operation on it, four in all,
    // waits for what was written before. What only other ways need is made by those.
    pub(super) fn emit<Q>(&self, topic: &Q, event: &E) -> Result<EmitSummary, RecursionLimit>
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let Some(frame) = frames::enter(self.address()) else {
            return Err(RecursionLimit { max: MAX_DEPTH });
        };
        let (snapshot, resumed) = self.begin(topic, None);
        let mut first = None;
        if let Resumed::Pinned(list) = &resumed
            && list.earliest() == NEVER
            && list.is_short()
        {
            frame.pin(snapshot.topic.number, snapshot.before);
            match pass::straight(list, 0, list.len(), event) {
                (called, Stop::End) => {
                    return Ok(EmitSummary {
                        called,
                        ..EmitSummary::default()
                    });
                }
                stopped => first = Some(stopped),
            }
        }
        Ok(self.go_on(frame, event, Walk::new(snapshot, None, 0), resumed, first))
    }

    /// Emits on behalf of one generation.
    pub(super) fn emit_to<Q>(
        &self,
        generation: u64,
        topic: &Q,
        event: &E,
    ) -> Result<EmitSummary, RecursionLimit>
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let Some(frame) = frames::enter(self.address()) else {
            return Err(RecursionLimit { max: MAX_DEPTH });
        };
        let ended = self.ended();
        let (snapshot, resumed) = self.begin(topic, Some(generation));
        Ok(self.go_on(
            frame,
            event,
            Walk::new(snapshot, Some(generation), ended),
            resumed,
            None,
        ))
    }

    #[inline]
    fn begin<Q>(&self, topic: &Q, only: Option<u64>) -> (Snapshot, Resumed<E>)
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let hash = self.hash(topic);
        self.table.lock().begin(hash, topic, only)
    }

    /// Goes on where the first pass stopped, or without one.
    #[cold]
    #[inline(never)]
    fn go_on(
        &self,
        frame: Entered,
        event: &E,
        mut walk: Walk,
        resumed: Resumed<E>,
        first: Option<Stopped>,
    ) -> EmitSummary {
        let total = walk.snapshot.total;
        let mut tally = EmitSummary::default();
        Emission {
            registry: self,
            frame: &frame,
            event,
            walk: &mut walk,
            tally: &mut tally,
        }
        .go(resumed, first);
        tally.skipped = total.saturating_sub(tally.called);
        self.counters.add(tally.failed, tally.skipped);
        tally
    }
}

struct Emission<'a, T, E: 'static> {
    registry: &'a Inner<T, E>,
    frame: &'a Entered,
    event: &'a E,
    walk: &'a mut Walk,
    tally: &'a mut EmitSummary,
}

impl<T, E: 'static> Emission<'_, T, E> {
    fn go(mut self, mut resumed: Resumed<E>, mut first: Option<Stopped>) {
        while let Resumed::Pinned(list) = resumed {
            let ended = self.pinned(&list, first.take());
            // This may be the last hold on what was detached meanwhile.
            drop(list);
            if ended {
                resumed = Resumed::Ended;
            } else {
                self.frame.pin(0, 0);
                resumed = self.resume();
            }
        }
        if let Resumed::Single = resumed {
            while let Some(claim) = self.claim(Table::claim_next) {
                self.claimed(claim);
            }
        }
    }

    fn resume(&mut self) -> Resumed<E> {
        self.walk.ended = self.registry.ended();
        self.claim(|table, walk, now, gone| Some(table.resume(walk, now, gone)))
            .unwrap_or(Resumed::Ended)
    }

    /// Asks the table how to go on; what left by that is dropped before the answer is used.
    fn claim<R>(
        &mut self,
        ask: impl FnOnce(&mut Table<T, E>, &mut Walk, Nanos, &mut Vec<Departed<T, E>>) -> Option<R>,
    ) -> Option<R> {
        let now = self.registry.clock.nanos();
        let mut gone = Vec::new();
        let answer = ask(&mut self.registry.table.lock(), self.walk, now, &mut gone);
        self.registry.dismiss(gone);
        answer
    }

    /// Calls from a pinned list, on which the first pass may have been made; whether to its end.
    fn pinned(&mut self, list: &List<E>, mut first: Option<Stopped>) -> bool {
        let Snapshot { topic, before, .. } = self.walk.snapshot;
        self.frame.pin(topic.number, before);
        let from = self.walk.next;
        let mut at = from;
        let ended = loop {
            let (stopped_at, stop) = first.take().unwrap_or_else(|| self.pass(list, at));
            let made = stopped_at - at;
            self.tally.called += made;
            at = stopped_at;
            match stop {
                Stop::End => break true,
                Stop::Outdated => {
                    // The last call of this pass may be one that failed meanwhile, in another emit.
                    if let Some(last) = at
                        .checked_sub(1)
                        .filter(|_| made > 0)
                        .map(|last| &list.slots[last])
                        && last.is_failing()
                    {
                        self.settle(last, false, Some(false));
                    }
                    break false;
                }
                Stop::Foreign => list.slots[at].uncount_call(),
                Stop::At(answer) => self.stopped_at(&list.slots[at], &list.calls[at], answer),
            }
            at += 1;
        };
        if !ended || from > 0 {
            Self::count(list, from, at);
            self.walk.last = at.checked_sub(1).map(|last| list.slots[last].key());
        }
        ended
    }

    /// Sets right the counts of a pass that was not a whole one. One that began at the beginning has been counted as such.
    fn count(list: &List<E>, from: usize, to: usize) {
        if from == 0 {
            list.slots[to..].iter().for_each(|slot| slot.uncount_call());
        } else {
            list.slots[from..to]
                .iter()
                .for_each(|slot| slot.count_call());
        }
    }

    fn pass(&self, list: &List<E>, from: usize) -> Stopped {
        if list.earliest() == NEVER && self.walk.only.is_none() {
            return pass::in_pieces(list, from, self.event);
        }
        let is_due = || list.earliest() <= self.registry.clock.nanos();
        let may_have_ended =
            || self.walk.only.is_some() && self.walk.ended != self.registry.ended();
        pass::with_care(
            list,
            from,
            self.event,
            || is_due() || may_have_ended(),
            |slot| self.walk.is_for(slot),
        )
    }

    /// Does what a pass could not. The pass counts a call of this listener whatever comes of it here.
    fn stopped_at(&mut self, slot: &Slot, call: &Arc<dyn Call<E>>, answer: Option<Answer>) {
        let (made, gone) = self.answered(slot, call, answer);
        if made.is_none() && answer != Some(Answer::Last) {
            slot.uncount_call();
        }
        self.registry.dismiss(gone);
        if made == Some(true) {
            self.settle(slot, false, made);
        }
        if answer == Some(Answer::Ask)
            && let Some(claim) = self
                .claim(|table, walk, now, gone| table.claim(walk.only, slot.number(), now, gone))
        {
            self.claimed(claim);
        }
    }

    /// Calls one listener that is held alone.
    fn claimed(&mut self, claim: Claim<E>) {
        let Claim { call, slot, probe } = claim;
        self.frame.run(Some(slot.number()));
        slot.count_call();
        let answer = contained(&self.registry.counters, || call.call(self.event));
        if matches!(
            answer,
            Some(Answer::Skipped | Answer::OwnerDropped | Answer::Ask)
        ) {
            slot.uncount_call();
        }
        let (made, gone) = self.answered(&slot, &call, answer);
        if probe || made == Some(true) || slot.is_failing() {
            self.settle(&slot, probe, made);
        }
        contained(&self.registry.counters, || drop(call));
        self.frame.run(None);
        drop(slot);
        self.registry.dismiss(gone);
    }

    /// Takes an answer to account: whether a call was made, and failed; and who left by it.
    fn answered(
        &mut self,
        slot: &Slot,
        call: &Arc<dyn Call<E>>,
        answer: Option<Answer>,
    ) -> (Option<bool>, Option<Departed<T, E>>) {
        let leave = |cause| self.registry.table.lock().remove(slot.number(), cause);
        match answer {
            Some(Answer::Skipped | Answer::Ask) => return (None, None),
            Some(Answer::OwnerDropped) => return (None, leave(RemovalCause::OwnerDropped)),
            Some(Answer::Last) => {
                // Detached first, so that the handler finds its place free. If somebody else was quicker, it is detached,
                // and not to be called.
                let gone = leave(RemovalCause::CallLimitReached);
                if gone.is_some() {
                    self.frame.run(Some(slot.number()));
                    let answer = contained(&self.registry.counters, || call.run(self.event));
                    self.tally(answer);
                    self.frame.run(None);
                }
                return (None, gone);
            }
            None | Some(Answer::Done | Answer::Failed) => {}
        }
        self.tally(answer);
        (Some(answer != Some(Answer::Done)), None)
    }

    fn tally(&mut self, answer: Option<Answer>) {
        self.tally.called += 1;
        self.tally.failed += usize::from(answer == Some(Answer::Failed));
        self.tally.panicked += usize::from(answer.is_none());
    }

    fn settle(&mut self, slot: &Slot, probe: bool, failed: Option<bool>) {
        let now = self.registry.clock.nanos();
        let Settled { gone, breaker } =
            self.registry
                .table
                .lock()
                .settle(slot.number(), probe, failed, now);
        if let Some(state) = breaker {
            let (label, key) = (slot.traits.label.as_deref(), slot.traits.key.as_deref());
            let tell = || events::breaker_turned(state, slot.number(), label, key, slot.location);
            contained(&self.registry.counters, tell);
        }
        self.registry.dismiss(gone);
    }
}
