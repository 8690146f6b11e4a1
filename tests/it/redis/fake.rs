//! A server without a network, for tests in virtual time: a [`Connection`] over the model of a key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use leakproof::ManualClock;
use leakproof::redis::{
    Command, Connection, ConnectionError, Reply, Sending, SharedDedup, SharedDedupBuilder,
};
use leakproof_testkit::shared::{Key, Reply as Answer, Request};
use tokio::time::Instant;

use super::scripts::{CLAIM, COMMIT, EXTEND, RELEASE};
use super::server::{LEASE, TTL};

/// A handle on the server. Clones share its keys.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    keys: Mutex<HashMap<Vec<u8>, (Key, Instant, Instant)>>,
    /// Tokens and values by their numbers in the model.
    tokens: Mutex<Vec<Vec<u8>>>,
    values: Mutex<Vec<Vec<u8>>>,
    claims: AtomicU64,
    calls: AtomicU64,
    is_down: AtomicBool,
    is_silent: AtomicBool,
}

/// Runs a future in virtual time: sleeps end at once, in order.
pub fn in_virtual_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    runtime.block_on(test);
}

/// Returns the number of a text, which it gets at its first use.
fn number<N: TryFrom<usize>>(texts: &Mutex<Vec<Vec<u8>>>, text: &[u8]) -> N {
    let mut texts = lock(texts);
    let at = texts.iter().position(|known| known == text);
    let at = at.unwrap_or_else(|| {
        texts.push(text.to_vec());
        texts.len() - 1
    });
    N::try_from(at).ok().expect("few tokens and values")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics under the lock")
}

impl Fake {
    /// Returns a builder for an instance whose local clock never advances.
    pub fn map(&self) -> SharedDedupBuilder<SharedDedup<String>> {
        let builder = SharedDedup::builder().connection(self.clone());
        let builder = builder.namespace("fake").ttl(TTL).lease(LEASE);
        builder.clock(ManualClock::new())
    }

    /// Returns the number of claims that the server was sent.
    pub fn claims(&self) -> u64 {
        self.state.claims.load(Ordering::Relaxed)
    }

    /// Returns the number of commands that the server was sent.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::Relaxed)
    }

    /// Lets calls fail at once.
    pub fn set_down(&self, is_down: bool) {
        self.state.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Lets calls have no reply.
    pub fn set_silent(&self, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Lets the lease or ttl of an id end.
    pub fn expire(&self, id: &str) {
        lock(&self.state.keys).remove(format!("fake:{id}").as_bytes());
    }

    fn eval(&self, parts: &[&[u8]]) -> Reply {
        let [script, _, key, token, args @ ..] = parts else {
            panic!("a script has a key and a token");
        };
        let script = std::str::from_utf8(script).unwrap();
        let token = number(&self.state.tokens, token);
        let value_of = |value| number(&self.state.values, value);
        let request = match (script, args) {
            (CLAIM, [_, value]) => Request::Record {
                token,
                value: value_of(value),
            },
            (CLAIM, _) => Request::Claim { token },
            (COMMIT, [_, value]) => Request::Commit {
                token,
                value: value_of(value),
            },
            (COMMIT, [_, value, _]) => Request::Push {
                token,
                value: value_of(value),
            },
            (EXTEND, _) => Request::Extend { token },
            (RELEASE, _) if parts[3].is_empty() => Request::Remove,
            (RELEASE, _) => Request::Release { token },
            _ => panic!("an unknown script"),
        };
        if matches!(request, Request::Claim { .. }) {
            self.state.claims.fetch_add(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        let mut keys = lock(&self.state.keys);
        let held = keys.remove(*key).filter(|&(_, _, until)| until > now);
        let (before, since, until) = held.unwrap_or((Key::Absent, now, now));
        let mut after = before;
        let answer = after.apply(request);
        let remaining = until - now;
        let is_set = after != before
            || matches!((request, answer), (Request::Extend { .. }, Answer::Changed));
        let (since, until) = if is_set {
            let ms = args.first().and_then(|ms| std::str::from_utf8(ms).ok());
            let ms = ms.and_then(|ms| ms.parse().ok()).unwrap_or(0);
            (now, now + Duration::from_millis(ms))
        } else {
            (since, until)
        };
        if after != Key::Absent {
            keys.insert(key.to_vec(), (after, since, until));
        }
        let millis = |time: Duration| Reply::Integer(i64::try_from(time.as_millis()).unwrap());
        match answer {
            Answer::Mine => Reply::Array(vec![Reply::Integer(0)]),
            Answer::InFlight => Reply::Array(vec![
                Reply::Integer(1),
                millis(now - since),
                millis(remaining),
            ]),
            Answer::Duplicate { value } => Reply::Array(vec![
                Reply::Integer(2),
                millis(remaining),
                Reply::Bytes(lock(&self.state.values)[usize::from(value)].clone()),
            ]),
            Answer::Changed if matches!(request, Request::Release { .. } | Request::Remove) => {
                Reply::Bytes(vec![])
            }
            Answer::Changed => Reply::Integer(1),
            Answer::Unchanged if matches!(request, Request::Release { .. } | Request::Remove) => {
                Reply::Nil
            }
            Answer::Unchanged => Reply::Integer(0),
        }
    }
}

impl Connection for Fake {
    fn call<'a>(&'a self, command: &'a Command) -> Sending<'a, Reply> {
        Box::pin(async move {
            self.state.calls.fetch_add(1, Ordering::Relaxed);
            if self.state.is_silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if self.state.is_down.load(Ordering::Relaxed) {
                return Err(ConnectionError::new("the server is down"));
            }
            // Other tasks run before the reply, like on a network.
            tokio::task::yield_now().await;
            let parts: Vec<&[u8]> = command.parts().collect();
            Ok(match parts[..] {
                [b"EVALSHA", ..] => Reply::Error("NOSCRIPT".to_owned()),
                [b"EVAL", ..] => self.eval(&parts[1..]),
                _ => Reply::Bytes(b"PONG".to_vec()),
            })
        })
    }

    fn call_all<'a>(&'a self, commands: &'a [Command]) -> Sending<'a, Vec<Reply>> {
        Box::pin(async move {
            let mut replies = Vec::new();
            for command in commands {
                replies.push(self.call(command).await?);
            }
            Ok(replies)
        })
    }

    fn reconnect(&self) -> Sending<'_, ()> {
        let is_down = self.state.is_down.load(Ordering::Relaxed);
        Box::pin(async move {
            if is_down {
                return Err(ConnectionError::new("the server is down"));
            }
            Ok(())
        })
    }
}
