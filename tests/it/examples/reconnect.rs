//! The example `reconnect`, run as a process.

use std::fs;

use crate::support::example::{Folder, assert_fails, stdout};
use crate::support::process::command;

#[test]
fn plain_list_grows_and_registry_does_not() {
    let output = command("reconnect", &["--svg", "-"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name:?} in:\n{text}"))
            .trim()
            .to_owned()
    };
    for (name, handlers, calls, kib) in [
        ("plain list ", "3,000", "1,000", 4_000..5_000),
        ("with keys ", "3", "1", 4..20),
        ("with scopes ", "3", "1", 4..20),
    ] {
        let line = line(name);
        let rest = line.strip_prefix(&format!("has {handlers} handlers and "));
        let (allocated, rest) = rest
            .and_then(|rest| rest.split_once(" KiB allocated, and calls "))
            .unwrap_or_else(|| panic!("{line}"));
        assert_eq!(rest, format!("{calls} for one message"));
        let allocated: usize = allocated.replace(',', "").parse().expect("a number");
        assert!(kib.contains(&allocated), "{line}");
    }
}

#[test]
fn chart_is_written_but_no_directory_is_created() {
    let folder = Folder::new("reconnect");
    let reconnect = |args: &[&str]| {
        let mut command = command("reconnect", args);
        command.current_dir(folder.path());
        command.output().expect("it runs")
    };
    let output = reconnect(&["--reconnects", "7"]);
    assert!(stdout(&output).ends_with("\nchart: reconnect.svg\n"));
    let svg = fs::read_to_string(folder.path().join("reconnect.svg")).expect("a file");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<polyline").count(), 3);

    let output = reconnect(&["--reconnects", "7", "--svg", "no/such.svg"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write no/such.svg"));
    assert!(!folder.path().join("no").exists());
}

#[test]
fn wrong_option_is_named_in_an_error_that_refers_to_help() {
    let reconnect = |args: &[&str]| command("reconnect", args).output().expect("it runs");
    assert!(
        stdout(&reconnect(&["--reconnects", "1", "--svg", "-"])).contains("after 1 reconnects")
    );
    assert!(stdout(&reconnect(&["--help"])).contains("--reconnects <N>"));
    for (args, reason) in [
        (&["--reconnects", "0"][..], "'--reconnects <N>'"),
        (&["--reconnects", "many"], "'--reconnects <N>'"),
        (&["--sgv", "x"], "'--sgv'"),
        (&["file"], "'file'"),
    ] {
        assert_fails(&reconnect(args), 2, &[reason, "--help"]);
    }
}
