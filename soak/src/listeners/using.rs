//! Registration and removal of listeners.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use leakproof::Limit;
use leakproof::QueueOverflow;

use super::handler::{Event, Fate, Handler};
use super::{HELD, Hands, PATIENCE, SHARED, Soak, lock};
use crate::round::{Dice, Tally, nanos};

impl Soak {
    pub(super) fn register(
        &self,
        topic: u8,
        dice: &mut Dice,
        tally: &mut Tally,
        hands: &mut Hands,
    ) {
        let mut fate = Fate::new(dice);
        let mut listen = self.bus.listen(topic).priority(dice.below(3) as i32);
        let max_age = if dice.one_in(4) {
            self.max_age / (2 + dice.below(9) as u32)
        } else {
            self.max_age
        };
        fate.max_age = nanos(max_age);
        listen = listen.ttl(max_age);
        if fate.is_keyed {
            listen = listen.key("the only key");
        }
        if fate.times < u64::MAX {
            listen = listen.max_calls(fate.times);
        }
        let connection = &self.connections[dice.below(SHARED)];
        if dice.one_in(4) {
            let (generation, end) = lock(&connection.now).clone();
            listen = listen.scope(&connection.scope);
            if connection.scope.generation() != generation {
                // Another thread renewed the scope, so the generation of this listener is unknown.
                return;
            }
            fate.others.push(end);
        }
        if dice.one_in(8) {
            let (owner, end) = &*lock(&connection.owner);
            listen = listen.owner(&Arc::downgrade(owner));
            fate.others.push(Arc::clone(end));
        }
        if dice.one_in(8) {
            listen = listen.filter(|event: &Arc<Event>| event.number.is_multiple_of(2));
        }
        let has_other_end = !fate.others.is_empty() || fate.times < u64::MAX;
        let fate = Arc::new(fate);
        let handler = Handler::new(&self.world, &fate, self.alive.one());
        match listen.on(move |event: &Arc<Event>| handler.run(event)) {
            Ok(guard) => {
                tally.count("listeners registered");
                fate.after.store(self.world.time.now(), SeqCst);
                if has_other_end && dice.one_in(2) || hands.guards.len() == HELD {
                    guard.forget();
                } else {
                    hands.guards.push((guard, fate));
                }
            }
            Err(rejected) => {
                tally.count("listeners rejected");
                self.world
                    .verdict
                    .check(rejected.limit() != Limit::Zero, || format!("{rejected}"));
            }
        }
    }

    pub(super) fn let_go(&self, dice: &mut Dice, tally: &mut Tally, hands: &mut Hands) {
        if hands.guards.is_empty() {
            return;
        }
        let (guard, fate) = hands.guards.swap_remove(dice.below(hands.guards.len()));
        match dice.below(8) {
            0 => {
                tally.count("listeners detached and waited for");
                let waited = guard.detach_and_wait(PATIENCE);
                self.world
                    .verdict
                    .check(waited.is_ok() && fate.is_dropped.load(SeqCst), || {
                        format!("captures are not dropped after detach_and_wait: {waited:?}")
                    });
                self.world.ended(&fate.detached);
            }
            1 => {
                tally.count("guards forgotten");
                guard.forget();
            }
            2 => {
                let mut victims = lock(&self.world.victims);
                if victims.len() < HELD {
                    tally.count("guards passed to handlers");
                    victims.push((guard, fate));
                }
            }
            3 => {
                tally.count("guards dropped");
                let is_the_end = fate.others.is_empty() && fate.times == u64::MAX;
                drop(guard);
                if is_the_end {
                    self.world.ended(&fate.detached);
                }
            }
            _ => {
                tally.count("listeners detached");
                guard.detach();
                self.world.ended(&fate.detached);
            }
        }
    }

    pub(super) fn pause(&self, dice: &mut Dice, tally: &mut Tally, hands: &mut Hands) {
        if hands.guards.is_empty() {
            return;
        }
        let (guard, fate) = &hands.guards[dice.below(hands.guards.len())];
        if fate.paused.0.swap(u64::MAX, SeqCst) == u64::MAX {
            tally.count("listeners paused");
            guard.pause();
            self.world.ended(&fate.paused);
        } else {
            tally.count("listeners resumed");
            guard.resume();
        }
    }

    /// Ends a generation of a scope, or an owner.
    pub(super) fn reconnect(&self, dice: &mut Dice, tally: &mut Tally) {
        let connection = &self.connections[dice.below(SHARED)];
        match dice.below(5) {
            0 => {
                tally.count("scopes emptied");
                connection.scope.detach_all();
            }
            1 | 2 => {
                tally.count("owners replaced");
                let mut owner = lock(&connection.owner);
                let (gone, end) = mem::take(&mut *owner);
                drop(gone);
                self.world.ended(&end);
            }
            _ => {
                tally.count("scopes renewed");
                let mut now = lock(&connection.now);
                let next = (connection.scope.renew(), Arc::default());
                let ended = mem::replace(&mut *now, next);
                self.world.ended(&ended.1);
                *lock(&connection.last) = Some(ended);
            }
        }
    }

    /// Uses a queue on a topic of its own. All threads emit to it, and the thread that has it
    /// receives.
    pub(super) fn queue(&self, dice: &mut Dice, tally: &mut Tally, hands: &mut Hands) {
        let topic = self.world.topics as u8;
        match (dice.below(20), hands.queue.as_ref()) {
            (0..2, Some(_)) => hands.queue = None,
            (2..10, Some((queue, capacity))) => {
                tally.count("receives from queues");
                let waiting = queue.len();
                self.world.verdict.check(waiting <= *capacity, || {
                    format!("{waiting} events in a queue of {capacity}")
                });
                for _ in 0..waiting {
                    drop(queue.try_recv());
                }
            }
            (_, None) => {
                let capacity = 1 + dice.below(8);
                let when_full = if dice.one_in(2) {
                    QueueOverflow::DropOldest
                } else {
                    QueueOverflow::DropNewest
                };
                match self.bus.listen(topic).queue(capacity, when_full) {
                    Ok(queue) => {
                        tally.count("listeners registered");
                        hands.queue = Some((queue, capacity));
                    }
                    Err(_) => tally.count("listeners rejected"),
                }
            }
            _ => {
                tally.count("emits to queues");
                self.world.emit(&self.bus, topic, 0, None);
            }
        }
    }
}
