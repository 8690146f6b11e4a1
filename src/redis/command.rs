//! `Connection`: the three calls that the rest of the module makes of a client.
//!
//! No other file knows the client crate except `client`. So its types are not part of the public
//! API, a user can bring a connection of another crate, and tests can bring a fake one.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// The future that a [`Connection`] returns.
pub type Sending<'a, T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send + 'a>>;

/// A connection to Redis or Valkey, for [`SharedDedupBuilder::connection`].
///
/// Implement it to use a connection that you already have. Its own timeouts should exceed
/// [`SharedDedupBuilder::timeout`], and it must not repeat commands.
///
/// [`SharedDedupBuilder::connection`]: crate::redis::SharedDedupBuilder::connection
/// [`SharedDedupBuilder::timeout`]: crate::redis::SharedDedupBuilder::timeout
pub trait Connection: Send + Sync + 'static {
    /// Sends a command and returns the reply.
    ///
    /// An error that the server replied is a [`Reply::Error`].
    fn call<'a>(&'a self, command: &'a Command) -> Sending<'a, Reply>;

    /// Sends commands without waiting between them, and returns their replies in order. Commands
    /// with equal keys must reach the server in order.
    fn call_all<'a>(&'a self, commands: &'a [Command]) -> Sending<'a, Vec<Reply>>;

    /// Replaces the connection, because it does not answer or leads to a replica.
    fn reconnect(&self) -> Sending<'_, ()>;
}

/// A command with its arguments.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// All parts back to back.
    bytes: Vec<u8>,
    /// The end of each part in `bytes`.
    ends: Vec<usize>,
}

impl Command {
    pub(super) fn new(name: &str) -> Self {
        let mut command = Self {
            bytes: Vec::with_capacity(192),
            ends: Vec::with_capacity(8),
        };
        command.push(name.as_bytes());
        command
    }

    pub(super) fn push(&mut self, part: &[u8]) {
        self.push_parts(&[part]);
    }

    /// Adds one argument that consists of several parts.
    pub(super) fn push_parts(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    pub(super) fn push_number(&mut self, number: u64) {
        self.push(number.to_string().as_bytes());
    }

    /// Returns the name and the arguments.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts().map(|part| part.escape_ascii().to_string());
        f.debug_list().entries(parts).finish()
    }
}

/// The reply to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// An integer.
    Integer(i64),
    /// A status, such as `OK`, or a string of bytes.
    Bytes(Vec<u8>),
    /// Several replies. A map is a list of keys and values in turn.
    Array(Vec<Self>),
    /// An error, such as `READONLY You can't write against a read only replica.`
    Error(String),
}

impl Reply {
    /// Returns `true` if the server rejects the credentials, or if they lack a permission.
    pub(super) fn is_denied(&self) -> bool {
        ["NOAUTH", "WRONGPASS", "NOPERM"]
            .iter()
            .any(|code| self.is_error(code))
    }

    /// Returns `true` if the reply is an error with this code.
    pub(super) fn is_error(&self, code: &str) -> bool {
        matches!(self, Self::Error(text) if text.split(' ').next() == Some(code))
    }
}

/// The error of a [`Connection`] that has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionError {
    /// The reason, for logs.
    pub reason: String,
    /// `true` if the server rejects the credentials. The first connection of a deduplicator fails
    /// with [`SharedError::Denied`](crate::redis::SharedError::Denied) then.
    pub is_denied: bool,
}

impl ConnectionError {
    /// Returns an error with a reason.
    pub fn new(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let is_denied = false;
        Self { reason, is_denied }
    }

    /// Returns the error of a server that rejects the credentials.
    pub fn denied(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let is_denied = true;
        Self { reason, is_denied }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for ConnectionError {}
