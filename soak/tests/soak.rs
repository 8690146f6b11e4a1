//! Runs the soak test as a process.

use std::process::{Command, Output};

fn soak(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(args)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

#[test]
fn promises_hold_for_a_second() {
    let output = soak(&["--seconds", "1", "--seed", "7"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.starts_with("soak: seed 7, "), "{stderr}");
    for what in [
        "ids new",
        "claims abandoned",
        "clock set back",
        "values computed",
        "changes of bounds",
        "scopes renewed",
        "waits for claims",
        "values of the cache or another task",
        "tasks cancelled",
        "restarts",
        "responses replayed",
        "checks denied",
    ] {
        let row = stdout.lines().find_map(|line| line.strip_suffix(what));
        let count = row.map(|row| row.trim().replace(',', ""));
        assert!(
            count.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > 0)),
            "{what} in:\n{stdout}"
        );
    }
    assert!(stdout.ends_with("all promises held\n"), "{stdout}");
}

#[test]
fn wrong_option_is_an_error_that_refers_to_help() {
    assert!(text(&soak(&["--help"]).stdout).contains("--seed <N>"));
    for wrong in [
        &["--seconds", "0"][..],
        &["--seconds", "long"],
        &["--threads", "0"],
        &["--sede", "1"],
        &["--without", "nothing"],
        &["file"],
    ] {
        let output = soak(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(text(&output.stderr).contains("--help"), "{wrong:?}");
    }
}
