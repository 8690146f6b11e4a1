//! The example `rate_limit`, run as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};

use crate::support::example::stdout;
use crate::support::process::command;

/// A process that is killed when dropped.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the service on a free port. Returns its address as well.
fn started(mut command: Command) -> (Ending, String) {
    let mut process = command.spawn().expect("the example starts");
    let mut line = String::new();
    let printed = process.stdout.take().expect("a pipe");
    BufReader::new(printed).read_line(&mut line).expect("text");
    let address = line.trim().strip_prefix("listening on ");
    let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (Ending(process), address)
}

#[test]
fn messages_above_the_quota_of_a_chat_are_429() {
    let args = ["--address", "127.0.0.1:0", "--per-minute", "3"];
    let (_process, address) = started(command("rate_limit", &args));
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let send = |chat: &str| {
        let post = agent.post(format!("{address}/chats/{chat}/messages"));
        post.send("hi").expect("an answer")
    };
    for _ in 0..3 {
        let mut answer = send("7");
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.body_mut().read_to_string().unwrap(),
            "you said: hi\n"
        );
    }
    let denied = send("7");
    assert_eq!(denied.status(), 429);
    let wait = denied.headers()["retry-after"].to_str().expect("text");
    let wait: u64 = wait.parse().expect("seconds");
    assert!((1..=20).contains(&wait), "{wait} s");
    assert_eq!(send("8").status(), 200, "each chat has its own quota");
    assert_eq!(send("eight").status(), 400);
    let mut stats = agent
        .get(format!("{address}/stats"))
        .call()
        .expect("an answer");
    let stats = stats.body_mut().read_to_string().expect("text");
    let expected = "2 of 100000 entries (0.0%), 4 allowed, 1 limited, 2 inserted";
    assert_eq!(stats, expected);
}

#[test]
fn flood_takes_bounded_memory_and_resets_no_chat() {
    let args = [
        "--flood",
        "300000",
        "--max-chats",
        "2000",
        "--per-minute",
        "600",
    ];
    let output = command("rate_limit", &args).output().expect("it runs");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let number = |of: &str, after: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(of)).expect(of);
        let figure = line.split(after).nth(1).expect(after).trim_start();
        let figure = figure.split(' ').next().expect("a word").replace(',', "");
        figure.parse().unwrap_or_else(|_| panic!("{line}"))
    };
    let ours = number("BoundedStateStore", "at most");
    let theirs = number("HashMapStateStore", "at most");
    assert!(ours < 200_000 && theirs > 20 * ours, "{text}");
    assert!(number("BoundedStateStore", "bytes,") > 200_000, "{text}");
    assert_eq!(number("HashMapStateStore", "bytes,"), 0, "{text}");
    // 0.3 s after its burst, with a message every 0.1 s.
    let established = "and 3 of 600 messages are allowed now";
    assert_eq!(text.matches(established).count(), 2, "{text}");
}
