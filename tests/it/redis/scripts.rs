//! The Lua scripts on a real server, compared with the model of one key.

use leakproof_testkit::shared::{Key, Reply, Request};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::server::{Server, is_installed};

pub const CLAIM: &str = include_str!("../../../src/redis/claim.lua");
pub const COMMIT: &str = include_str!("../../../src/redis/commit.lua");
pub const EXTEND: &str = include_str!("../../../src/redis/extend.lua");
pub const RELEASE: &str = include_str!("../../../src/redis/release.lua");

fn request() -> impl Strategy<Value = Option<Request>> {
    let (token, value) = (1..4_u16, 0..4_u8);
    prop_oneof![
        1 => Just(None),
        4 => token.clone().prop_map(|token| Some(Request::Claim { token })),
        2 => (token.clone(), value.clone())
            .prop_map(|(token, value)| Some(Request::Record { token, value })),
        3 => (token.clone(), value.clone())
            .prop_map(|(token, value)| Some(Request::Commit { token, value })),
        1 => (token.clone(), value).prop_map(|(token, value)| Some(Request::Push { token, value })),
        2 => token.clone().prop_map(|token| Some(Request::Extend { token })),
        2 => token.prop_map(|token| Some(Request::Release { token })),
        1 => Just(Some(Request::Remove)),
    ]
}

fn send(server: &Server, request: Request) -> String {
    let token = |token: u16| [token.to_le_bytes()[0]; 16];
    let eval = |script: &str, args: &[&[u8]]| {
        let call = [b"EVAL".as_slice(), script.as_bytes(), b"1", b"key"];
        server.command(&[&call, args].concat())
    };
    let ms = b"600000";
    match request {
        Request::Claim { token: t } => eval(CLAIM, &[&token(t), ms]),
        Request::Record { token: t, value } => eval(CLAIM, &[&token(t), ms, &[value + b'0']]),
        Request::Commit { token: t, value } => eval(COMMIT, &[&token(t), ms, &[value + b'0']]),
        Request::Push { token: t, value } => eval(COMMIT, &[&token(t), ms, &[value + b'0'], b"1"]),
        Request::Extend { token: t } => eval(EXTEND, &[&token(t), ms]),
        Request::Release { token: t } => eval(RELEASE, &[&token(t)]),
        Request::Remove => eval(RELEASE, &[b""]),
    }
}

/// Returns `true` if the server replied what the model did.
fn agrees(request: Request, expected: Reply, reply: &str) -> bool {
    match (request, expected) {
        (_, Reply::Mine) => reply == "0",
        (_, Reply::InFlight) => reply.starts_with("1 "),
        (_, Reply::Duplicate { value }) => {
            reply.starts_with("2 ") && reply.ends_with(&format!(" {value}"))
        }
        (Request::Release { .. } | Request::Remove, Reply::Changed) => reply != "nil",
        (Request::Release { .. } | Request::Remove, _) => reply == "nil",
        (_, Reply::Changed) => reply == "1",
        (_, Reply::Unchanged) => reply == "0",
    }
}

/// Returns `true` if the stored bytes are those of the model's state.
fn holds(key: Key, stored: &str) -> bool {
    let starts = |state: u8, token: u16| {
        let bytes = stored.as_bytes();
        bytes[0] == state && bytes[1..17].iter().all(|&byte| u16::from(byte) == token)
    };
    match key {
        Key::Absent => stored == "nil",
        Key::InFlight { token } => starts(b'C', token),
        Key::Done { token, value } => starts(b'D', token) && stored[17..] == value.to_string(),
    }
}

#[test]
fn scripts_answer_and_store_like_the_model() {
    if !is_installed() {
        return;
    }
    let server = Server::start(&[]);
    let config = ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let requests = proptest::collection::vec(request(), 1..40);
    let outcome = TestRunner::new(config).run(&requests, |requests| {
        server.text("DEL key");
        let mut key = Key::Absent;
        for request in requests {
            let Some(request) = request else {
                // The lease or the ttl ends.
                server.text("DEL key");
                key = Key::Absent;
                continue;
            };
            let expected = key.apply(request);
            let reply = send(&server, request);
            prop_assert!(
                agrees(request, expected, &reply),
                "{request:?}: {expected:?}, {reply}"
            );
            let stored = server.text("GET key");
            prop_assert!(holds(key, &stored), "{request:?}: {key:?}, {stored}");
            prop_assert!(key == Key::Absent || server.text("PTTL key").len() > 4);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// The commands of the scripts and of `src/redis`.
const COMMANDS: [&str; 12] = [
    "get",
    "getrange",
    "set",
    "del",
    "pttl",
    "pexpire",
    "time",
    "eval",
    "evalsha",
    "ping",
    "wait",
    "config|get",
];

#[test]
fn commands_are_as_old_as_the_oldest_supported_server() {
    // The options of `SET` that are used, `NX` and `PX`, are from 2.6.12.
    for script in [CLAIM, COMMIT, EXTEND, RELEASE] {
        for call in script.split("redis.call('").skip(1) {
            let name = call.split('\'').next().unwrap_or_default().to_lowercase();
            assert!(COMMANDS.contains(&name.as_str()), "{name}");
        }
    }
    if !is_installed() {
        return;
    }
    let server = Server::start(&[]);
    for name in COMMANDS {
        let docs = server.text(&format!("COMMAND DOCS {name}"));
        if docs.starts_with("ERR") {
            println!("skipped: a server before version 7 has no table of versions");
            return;
        }
        let since = docs
            .split("since ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let parts: Vec<u32> = since
            .unwrap_or_default()
            .split('.')
            .map_while(|part| part.parse().ok())
            .collect();
        assert!(parts.len() == 3 && parts <= vec![6, 2, 0], "{name}: {docs}");
    }
}
