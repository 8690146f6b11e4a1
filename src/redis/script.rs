//! The four Lua scripts, and the layout of a key.
//!
//! Each script reads and writes one key, so it runs on every node of a cluster. Scripts are sent as
//! a hash. A server that does not know the hash, after a restart or `SCRIPT FLUSH`, answers
//! `NOSCRIPT` and is sent the text.
//!
//! The key of an id is `namespace:id`. Its value:
//!
//! | bytes | content |
//! | --- | --- |
//! | 0 | `C`: the id is claimed, `D`: it is recorded |
//! | 1..17 | the random token of the claim or record |
//! | 17.. | `C`: the time of the claim in microseconds, as decimal digits; `D`: the encoded value |
//!
//! A claim expires at the end of its lease and a record at the end of its ttl, both by `PX`. So a
//! claim of a crashed process needs no recovery, and only the server's clock decides. Ages follow
//! from the remaining time to live.
//!
//! There is no fingerprint of the payload. A caller that must reject one id with two payloads
//! stores a hash of the payload in its value and compares it, as it would with a local map. A claim
//! would have to carry the hash too if the rejection should not wait for the commit, which costs
//! every id 8 bytes and every claim an argument, and most users have no payload to compare.

use std::sync::LazyLock;
use std::time::Duration;

use super::client;
use super::command::{Command, Reply};

/// A random number that identifies one claim or record.
pub(super) type Token = [u8; 16];

/// Returns a token from the operating system. A counter with a random start would repeat in copies
/// of a virtual machine.
pub(super) fn token() -> Token {
    let mut token = [0; 16];
    getrandom::fill(&mut token).expect("the operating system has a source of random numbers");
    token
}

struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        let hash = client::script_hash(text);
        Self { text, hash }
    }

    /// Returns the beginning of a call with one key.
    fn on(&self, key: &[u8]) -> Command {
        let mut command = Command::new("EVALSHA");
        command.push(self.hash.as_bytes());
        command.push(b"1");
        command.push(key);
        command
    }
}

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("commit.lua")));
static EXTEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("extend.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release.lua")));

/// Returns the same call with the text of the script, for a server that does not know its hash.
pub(super) fn with_text(command: &Command) -> Command {
    let scripts = [&*CLAIM, &*COMMIT, &*EXTEND, &*RELEASE];
    let mut parts = command.parts();
    let (Some(b"EVALSHA"), Some(hash)) = (parts.next(), parts.next()) else {
        return command.clone();
    };
    let known = |script: &&&Script| script.hash.as_bytes() == hash;
    let Some(script) = scripts.iter().find(known) else {
        return command.clone();
    };
    let mut with_text = Command::new("EVAL");
    with_text.push(script.text.as_bytes());
    parts.for_each(|part| with_text.push(part));
    with_text
}

/// Rounds up to milliseconds, the unit of `PX`.
fn millis(time: Duration) -> u64 {
    let millis = time.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).map_or(MAX_MILLIS, |millis| millis.clamp(1, MAX_MILLIS))
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// About 300 years. Redis adds the time to the present one, which must not overflow.
const MAX_MILLIS: u64 = 1 << 53;

pub(super) fn claim(key: &[u8], token: &Token, lease: Duration) -> Command {
    let mut command = CLAIM.on(key);
    command.push(token);
    command.push_number(millis(lease));
    command
}

pub(super) fn record(key: &[u8], token: &Token, ttl: Duration, value: &[u8]) -> Command {
    let mut command = CLAIM.on(key);
    command.push(token);
    command.push_number(millis(ttl));
    command.push(value);
    command
}

/// Records an id if its key is absent, without a script. The reply does not tell a lost reply from
/// a duplicate, so a second attempt must use [`record`].
pub(super) fn record_if_absent(key: &[u8], token: &Token, ttl: Duration) -> Command {
    let mut command = Command::new("SET");
    command.push(key);
    command.push_parts(&[b"D", token]);
    command.push(b"NX");
    command.push(b"PX");
    command.push_number(millis(ttl));
    command
}

pub(super) fn commit(key: &[u8], token: &Token, ttl: Duration, value: &[u8]) -> Command {
    let mut command = COMMIT.on(key);
    command.push(token);
    command.push_number(millis(ttl));
    command.push(value);
    command
}

/// Commits an id that was handled while the server was unreachable. No claim needs to exist.
pub(super) fn push(key: &[u8], token: &Token, ttl: Duration, value: &[u8]) -> Command {
    let mut command = commit(key, token, ttl, value);
    command.push(b"1");
    command
}

pub(super) fn extend(key: &[u8], token: &Token, lease: Duration) -> Command {
    let mut command = EXTEND.on(key);
    command.push(token);
    command.push_number(millis(lease));
    command
}

pub(super) fn release(key: &[u8], token: &Token) -> Command {
    let mut command = RELEASE.on(key);
    command.push(token);
    command
}

pub(super) fn remove(key: &[u8]) -> Command {
    let mut command = RELEASE.on(key);
    command.push(b"");
    command
}

/// Reads the state of a key.
pub(super) fn state(key: &[u8]) -> Command {
    let mut command = Command::new("GETRANGE");
    command.push(key);
    command.push(b"0");
    command.push(b"0");
    command
}

/// The answer of the server to a claim or a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The id belongs to the caller.
    Mine,
    /// The id is claimed with another token.
    InFlight {
        since: Duration,
        /// Until the server has expired the claim.
        remaining: Duration,
    },
    /// The id is recorded.
    Done {
        /// `None` if the key does not expire, because other software wrote it.
        remaining: Option<Duration>,
        value: Vec<u8>,
    },
}

impl Held {
    /// Reads the reply to a claim or a record. `None` if the key has another layout.
    pub(super) fn read(reply: Reply) -> Option<Self> {
        let millis = |number: i64| u64::try_from(number).ok().map(Duration::from_millis);
        let Reply::Array(parts) = reply else {
            return None;
        };
        let mut parts = parts.into_iter();
        match (parts.next()?, parts.next(), parts.next()) {
            (Reply::Integer(0), ..) => Some(Self::Mine),
            (Reply::Integer(1), Some(Reply::Integer(since)), Some(Reply::Integer(left))) => {
                let since = millis(since)?;
                // A key has expired when its time has passed. Without a lease, other software
                // wrote it.
                let remaining = millis(left).map_or(Duration::MAX, |left| left + MILLISECOND);
                Some(Self::InFlight { since, remaining })
            }
            (Reply::Integer(2), Some(Reply::Integer(left)), Some(Reply::Bytes(value))) => {
                let remaining = millis(left);
                Some(Self::Done { remaining, value })
            }
            _ => None,
        }
    }
}
