//! `Link`: a connection with a deadline, one repetition, a circuit breaker, and repair.
//!
//! A call takes at most `timeout`. The first attempt has half of it. If it fails without a reply,
//! the same command is sent again with the same token, on a new connection if the old one is
//! broken. The scripts answer a repeated command as they answered the first. The client crate does
//! not reconnect after `READONLY` or on a connection that does not answer, so `Link` does.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::breaker::Breaker;
use super::command::{Command, Connection, ConnectionError, Reply};
use super::error::SharedError;
use super::script;
use crate::clock::Clock;
use crate::events;

/// Attempts in a row without a reply, after which the connection is replaced.
const TIMEOUTS_TO_RECONNECT: u32 = 2;

/// Error codes of a server that cannot write. After a failover, another one can.
const REPLACED: [&str; 5] = [
    "READONLY",
    "MASTERDOWN",
    "LOADING",
    "CLUSTERDOWN",
    "NOREPLICAS",
];

/// Replicas that must have a write before it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) replicas: u32,
    pub(super) timeout: Duration,
}

pub(super) struct Options {
    pub(super) namespace: String,
    pub(super) timeout: Duration,
    pub(super) max_failures: u32,
    pub(super) retry_after: Duration,
    pub(super) wait: Option<Wait>,
    pub(super) clock: Clock,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) round_trips: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) breaker_opened: AtomicU64,
}

/// Adds one. Relaxed: a counter guards no other data.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) struct Link {
    connection: Arc<dyn Connection>,
    options: Options,
    breaker: Breaker,
    pub(super) counters: Counters,
    /// Attempts in a row without a reply.
    timeouts: AtomicU32,
    /// The number of the present connection. A caller that saw an older one fail does not replace
    /// the present one.
    generation: AtomicU64,
    reconnecting: tokio::sync::Mutex<()>,
}

/// A call without a useful reply.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// `true` if the server may have executed the command.
    pub(super) was_sent: bool,
    /// `true` if the server rejects the credentials.
    pub(super) is_denied: bool,
}

enum Attempt<T> {
    Answered(T),
    /// The connection is broken or leads to a server that cannot write.
    Replace(String),
    TimedOut,
}

impl Link {
    pub(super) fn new(connection: Arc<dyn Connection>, options: Options) -> Self {
        let breaker = Breaker::new(
            options.clock.clone(),
            options.max_failures,
            options.retry_after,
        );
        Self {
            connection,
            options,
            breaker,
            counters: Counters::default(),
            timeouts: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            reconnecting: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn retry_after(&self) -> Duration {
        self.options.retry_after
    }

    pub(super) fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Sends a command that only reads, or that needs no replica.
    pub(super) async fn read(self: &Arc<Self>, command: &Command) -> Result<Reply, Failure> {
        self.guarded(async {
            let reply = self.repeated(|_| self.send(command), Reply::is_replaced);
            reply.await?.into_result()
        })
        .await
    }

    /// Sends a command that writes one key.
    pub(super) async fn write(self: &Arc<Self>, command: &Command) -> Result<Reply, Failure> {
        if self.options.wait.is_none() {
            return self.read(command).await;
        }
        let commands = vec![command.clone()];
        let replies = self.write_all(commands.clone(), commands).await?;
        replies.into_iter().next().ok_or_else(Failure::malformed)
    }

    /// Sends commands that write one key each, without waiting between them. A second attempt sends
    /// `again`.
    ///
    /// If the options name a number of replicas, the last command waits for them, and too few are a
    /// failure.
    pub(super) async fn write_all(
        self: &Arc<Self>,
        mut first: Vec<Command>,
        mut again: Vec<Command>,
    ) -> Result<Vec<Reply>, Failure> {
        if let Some(wait) = self.options.wait {
            first.push(wait.command());
            again.push(wait.command());
        }
        self.guarded(async {
            let attempt = |is_first| self.send_all(if is_first { &first } else { &again });
            let is_replaced = |replies: &Vec<Reply>| replies.iter().any(Reply::is_replaced);
            let replies = self.repeated(attempt, is_replaced).await?.into_iter();
            let mut replies = replies
                .map(Reply::into_result)
                .collect::<Result<Vec<_>, _>>()?;
            if replies.len() != first.len() {
                return Err(Failure::malformed());
            }
            let Some(wait) = self.options.wait else {
                return Ok(replies);
            };
            match replies.pop() {
                Some(Reply::Integer(replicas)) if replicas >= i64::from(wait.replicas) => {
                    Ok(replies)
                }
                reply => {
                    let needed = wait.replicas;
                    Err(Failure::sent(format!(
                        "{reply:?} of {needed} replicas have the write"
                    )))
                }
            }
        })
        .await
    }

    /// Lets the breaker decide and learn.
    async fn guarded<T>(
        &self,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(permit) = self.breaker.enter() else {
            return Err(Failure {
                reason: "the circuit breaker is open".to_owned(),
                was_sent: false,
                is_denied: false,
            });
        };
        match call.await {
            Ok(reply) => {
                permit.succeed();
                Ok(reply)
            }
            Err(failure) => {
                if permit.fail() {
                    count(&self.counters.breaker_opened);
                    let reason = &failure.reason;
                    events::shared_changed(&self.options.namespace, "breaker open", reason);
                }
                Err(failure)
            }
        }
    }

    /// Sends a command, and again with the text of its script if the server does not know the hash.
    async fn send(&self, command: &Command) -> Result<Reply, ConnectionError> {
        count(&self.counters.round_trips);
        let reply = self.connection.call(command).await?;
        if !reply.is_error("NOSCRIPT") {
            return Ok(reply);
        }
        count(&self.counters.round_trips);
        self.connection.call(&script::with_text(command)).await
    }

    async fn send_all(&self, commands: &[Command]) -> Result<Vec<Reply>, ConnectionError> {
        count(&self.counters.round_trips);
        let mut replies = self.connection.call_all(commands).await?;
        let (unknown, texts): (Vec<_>, Vec<_>) = replies
            .iter_mut()
            .zip(commands)
            .filter(|(reply, _)| reply.is_error("NOSCRIPT"))
            .map(|(reply, command)| (reply, script::with_text(command)))
            .unzip();
        if !texts.is_empty() {
            count(&self.counters.round_trips);
            // Each one with its text, because each node of a cluster may lack the script.
            let known = self.connection.call_all(&texts).await?;
            for (reply, known) in unknown.into_iter().zip(known) {
                *reply = known;
            }
        }
        Ok(replies)
    }

    async fn repeated<T, F>(
        self: &Arc<Self>,
        send: impl Fn(bool) -> F,
        is_replaced: impl Fn(&T) -> bool,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, ConnectionError>>,
    {
        // Acquire: pairs with the release in `reconnect`, so that a caller that sees the number of
        // a connection also uses it.
        let generation = self.generation.load(Ordering::Acquire);
        let reason = match self.attempt(send(true), &is_replaced).await {
            Attempt::Answered(reply) => return Ok(reply),
            Attempt::Replace(reason) => Some(reason),
            Attempt::TimedOut if self.timeouts.load(Ordering::Relaxed) < TIMEOUTS_TO_RECONNECT => {
                None
            }
            Attempt::TimedOut => Some("no reply".to_owned()),
        };
        count(&self.counters.repeated);
        let again = async {
            if reason.is_some() {
                self.replace_connection(generation).await?;
            }
            send(false).await
        };
        match self.attempt(again, &is_replaced).await {
            Attempt::Answered(reply) => Ok(reply),
            Attempt::Replace(reason) => Err(Failure::sent(reason)),
            Attempt::TimedOut => Err(self.timed_out()),
        }
    }

    async fn attempt<T>(
        &self,
        sending: impl Future<Output = Result<T, ConnectionError>>,
        is_replaced: impl Fn(&T) -> bool,
    ) -> Attempt<T> {
        match tokio::time::timeout(self.options.timeout / 2, sending).await {
            Ok(Ok(reply)) => {
                // A plain load first: the cache line stays shared while all is well.
                if self.timeouts.load(Ordering::Relaxed) > 0 {
                    self.timeouts.store(0, Ordering::Relaxed);
                }
                if is_replaced(&reply) {
                    Attempt::Replace("the server cannot write".to_owned())
                } else {
                    Attempt::Answered(reply)
                }
            }
            Ok(Err(error)) => Attempt::Replace(error.reason),
            Err(_) => {
                count(&self.counters.timeouts);
                self.timeouts.fetch_add(1, Ordering::Relaxed);
                Attempt::TimedOut
            }
        }
    }

    fn timed_out(&self) -> Failure {
        Failure::sent(format!("no reply within {:?}", self.options.timeout))
    }

    /// Replaces the connection, unless another caller has done so since `generation`.
    ///
    /// The work is a task of its own: if connecting takes longer than the deadline of one call, a
    /// later call finds the new connection.
    async fn replace_connection(self: &Arc<Self>, generation: u64) -> Result<(), ConnectionError> {
        let link = Arc::clone(self);
        let task = tokio::spawn(async move { link.reconnect(generation).await });
        task.await
            .unwrap_or_else(|_| Err(ConnectionError::new("the runtime shuts down")))
    }

    async fn reconnect(&self, generation: u64) -> Result<(), ConnectionError> {
        let _one_at_a_time = self.reconnecting.lock().await;
        if self.generation.load(Ordering::Acquire) != generation {
            return Ok(());
        }
        self.connection.reconnect().await?;
        // Some clients connect without the credentials that the server requires.
        let reply = self.connection.call(&Command::new("PING")).await?;
        let is_denied = reply.is_denied();
        if let Reply::Error(reason) = reply {
            return Err(ConnectionError { reason, is_denied });
        }
        // The first connection replaces none.
        if generation > 0 {
            count(&self.counters.reconnects);
        }
        self.timeouts.store(0, Ordering::Relaxed);
        self.generation.store(generation + 1, Ordering::Release);
        Ok(())
    }

    /// Connects for the first time, and tries a script on a key of the namespace.
    pub(super) async fn connect(self: &Arc<Self>, key: &[u8]) -> Result<(), Failure> {
        // A script that changes nothing. Only a missing permission is of interest.
        let try_script = script::extend(key, &script::token(), Duration::ZERO);
        self.guarded(async {
            let connect = async {
                self.replace_connection(0).await?;
                self.send(&try_script).await
            };
            let limit = self.options.timeout.max(Duration::from_secs(1));
            match tokio::time::timeout(limit, connect).await {
                Ok(Ok(reply)) => {
                    let is_denied = reply.is_denied();
                    match reply {
                        Reply::Error(reason) if is_denied => Err(Failure {
                            reason,
                            was_sent: true,
                            is_denied,
                        }),
                        _ => Ok(()),
                    }
                }
                Ok(Err(error)) => Err(Failure {
                    reason: error.reason,
                    was_sent: true,
                    is_denied: error.is_denied,
                }),
                Err(_) => Err(self.timed_out()),
            }
        })
        .await
    }

    /// Returns the server's `maxmemory-policy`, if it may be read.
    pub(super) async fn eviction_policy(self: &Arc<Self>) -> Option<String> {
        let mut command = Command::new("CONFIG");
        command.push(b"GET");
        command.push(b"maxmemory-policy");
        let sending = self.connection.call(&command);
        let reply = tokio::time::timeout(self.options.timeout, sending).await;
        match reply.ok()?.ok()? {
            Reply::Array(parts) => match parts.into_iter().nth(1)? {
                Reply::Bytes(policy) => String::from_utf8(policy).ok(),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Wait {
    fn command(self) -> Command {
        let mut command = Command::new("WAIT");
        command.push_number(u64::from(self.replicas));
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        // Zero would wait forever.
        command.push_number(millis.max(1));
        command
    }
}

impl Reply {
    fn is_replaced(&self) -> bool {
        let Self::Error(text) = self else {
            return false;
        };
        REPLACED.iter().any(|code| text.contains(code))
    }

    /// Turns an error of the server into a failure.
    fn into_result(self) -> Result<Self, Failure> {
        match self {
            Self::Error(text) => Err(Failure::sent(text)),
            reply => Ok(reply),
        }
    }
}

impl Failure {
    fn sent(reason: String) -> Self {
        Self {
            reason,
            was_sent: true,
            is_denied: false,
        }
    }

    pub(super) fn into_error(self) -> SharedError {
        SharedError::Unavailable {
            reason: self.reason,
        }
    }

    pub(super) fn malformed() -> Self {
        Self::sent("the reply has an unexpected form".to_owned())
    }
}
