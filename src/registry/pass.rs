//! A pass: calling straight through a pinned list, until something other than a success comes up.
//!
//! This is what an emit spends its time on. So one net catches the panics of a whole pass, the place of a panic is noted
//! by unwinding alone, and what a call answers and whether the list is stale come together in one test.

use std::cell::Cell;
use std::hint::black_box;
use std::mem;
use std::sync::Arc;

use super::call::Answer;
use super::counters::contained;
use super::list::List;
use super::slot::Slot;

/// Listeners of a long list that are read ahead at once.
const PIECE: usize = 32;

/// Why a pass over a list ended.
pub(super) enum Stop {
    End,
    /// The list is not to be called from any more.
    Outdated,
    /// The next one is of another scope.
    Foreign,
    /// This one gave another answer than that it is done; none, if it panicked.
    At(Option<Answer>),
}

/// Where a pass ended, and why.
pub(super) type Stopped = (usize, Stop);

/// Notes how many calls were left when a handler panicked. Only unwinding drops it: a store at every call would cost more
/// than all else that is done for one.
struct Unwound<'a> {
    left: usize,
    noted: &'a Cell<usize>,
}

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        self.noted.set(self.left);
    }
}

/// Calls those from `from` on and before `to`. A function of its own, so that all that its loop needs stays in registers.
#[inline(never)]
pub(super) fn straight<E>(list: &List<E>, from: usize, to: usize, event: &E) -> Stopped {
    pass(list, from, to, event, |_| None)
}

/// Calls from `from` on those that this is for, as long as none of them may be due to leave.
pub(super) fn with_care<E>(
    list: &List<E>,
    from: usize,
    event: &E,
    is_due: impl Fn() -> bool,
    is_for: impl Fn(&Slot) -> bool,
) -> Stopped {
    pass(list, from, list.len(), event, |at| {
        if is_due() {
            Some(Stop::Outdated)
        } else {
            (!is_for(&list.slots[at])).then_some(Stop::Foreign)
        }
    })
}

/// Calls those from `from` on and before `to`, unless `against` has something against one.
///
/// Between any two calls, and before the first, it looks whether the list is stale: that is the check of a listener's state
/// right before its call.
#[inline(always)]
fn pass<E>(
    list: &List<E>,
    from: usize,
    to: usize,
    event: &E,
    against: impl Fn(usize) -> Option<Stop>,
) -> Stopped {
    const {
        assert!(
            Answer::Done as u8 == 0,
            "so that one test tells that all is well"
        );
    };
    let left = Cell::new(0);
    let calls = || {
        if list.staleness() != 0 {
            return (from, Stop::Outdated);
        }
        let mut rest = &list.calls[from..to];
        while let Some((call, behind)) = rest.split_first() {
            rest = behind;
            let unwound = Unwound {
                left: behind.len(),
                noted: &left,
            };
            let at = to - behind.len() - 1;
            if let Some(stop) = against(at) {
                mem::forget(unwound);
                return (at, stop);
            }
            let answer = call.call(event);
            mem::forget(unwound);
            if answer as u8 | list.staleness() != 0 {
                return if answer == Answer::Done {
                    (at + 1, Stop::Outdated)
                } else {
                    (at, Stop::At(Some(answer)))
                };
            }
        }
        (to, Stop::End)
    };
    contained(list.counters(), calls).unwrap_or_else(|| (to - left.get() - 1, Stop::At(None)))
}

/// Calls all from `from` on, of a list of any length.
///
/// What a handler writes to is behind an atomic or a lock, since it is a `Fn`, and on common processors no read after such a
/// write begins before it is done. Where a list is too long for the nearest cache, each handler would thus wait for memory
/// on its own. Their counts stand right before what they captured: to read those of a piece first has these waits overlap.
/// That takes a fifth off a pass over a thousand that count; to handlers that look at nothing of theirs it adds half a
/// nanosecond each.
pub(super) fn in_pieces<E>(list: &List<E>, from: usize, event: &E) -> Stopped {
    if list.is_short() {
        return straight(list, from, list.len(), event);
    }
    let mut at = from;
    while at < list.len() {
        let to = list.len().min(at + PIECE);
        black_box(
            list.calls[at..to]
                .iter()
                .fold(0, |all, call| all | Arc::strong_count(call)),
        );
        match straight(list, at, to, event) {
            (_, Stop::End) => at = to,
            stopped => return stopped,
        }
    }
    (at, Stop::End)
}
