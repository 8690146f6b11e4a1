//! The example `restart`, run as a process.

use crate::support::example::{assert_fails, stdout};
use crate::support::process::command;

/// Returns the figures of a row: with a journal and without.
fn row(text: &str, name: &str) -> [u64; 2] {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name:?} in:\n{text}"));
    let figures: Vec<u64> = line
        .split_whitespace()
        .map(|figure| figure.replace(',', "").parse().expect("a number"))
        .collect();
    figures.try_into().expect("two figures")
}

#[test]
fn killed_bot_loses_nothing_and_repeats_at_most_one_message() {
    let output = command("restart", &["--kills", "5"])
        .output()
        .expect("it runs");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(row(&text, "lost"), [0, 0]);
    let [with, without] = row(&text, "handled twice");
    // The sender delivers the latest 200 messages again after each kill.
    assert!(with <= 5 && without > 100, "{text}");
    let [messages, _] = row(&text, "messages");
    let [handled, _] = row(&text, "handled ");
    assert_eq!(handled, messages + with);
    assert!(row(&text, "duplicates")[0] > 100, "{text}");
    assert!(text.contains("\nrecovery ") && text.contains("\nverdict: no message was lost"));
}

#[test]
fn other_synchronisation_loses_nothing_either() {
    for sync in ["every", "never"] {
        let output = command("restart", &["--kills", "2", "--sync", sync])
            .output()
            .expect("it runs");
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(row(&text, "lost")[0], 0);
    }
}

#[test]
fn wrong_option_of_restart_refers_to_help() {
    let restart = |args: &[&str]| command("restart", args).output().expect("it runs");
    assert!(stdout(&restart(&["--help"])).contains("--kills <N>"));
    for (args, reason) in [
        (&["--kills", "0"][..], "'--kills <N>'"),
        (&["--sync", "sometimes"], "'--sync <SYNC>'"),
        (&["file"], "'file'"),
    ] {
        assert_fails(&restart(args), 2, &[reason, "--help"]);
    }
}
