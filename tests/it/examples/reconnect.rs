//! The example `reconnect`, run as its users run it: as a process.

use std::env;
use std::fs;
use std::process::Output;

use crate::support::process::command;

fn reconnect(args: &[&str]) -> Output {
    command("reconnect", args)
        .output()
        .expect("the example runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn the_naive_list_piles_up_and_the_registry_does_not() {
    let output = reconnect(&["--svg", "-"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for line in [
        "naive        holds 3000 handlers and 4000 KiB that they captured, and calls 1000 for one message",
        "with keys    holds 3 handlers and 4 KiB that they captured, and calls 1 for one message",
        "with scopes  holds 3 handlers and 4 KiB that they captured, and calls 1 for one message",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn the_curves_are_drawn_to_a_file() {
    let folder = env::temp_dir().join(format!("reconnect-{}", std::process::id()));
    let file = folder.join("deeper").join("curves.svg");
    let output = reconnect(&["--reconnects", "7", "--svg", file.to_str().expect("text")]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let svg = fs::read_to_string(&file).expect("a file");
    assert!(
        svg.starts_with("<svg ")
            && svg.ends_with("</svg>\n")
            && svg.matches("stroke-width").count() == 3
    );
    fs::remove_dir_all(folder).expect("it was made here");
}

#[test]
fn a_small_run_a_wrong_option_and_help() {
    assert!(
        stdout(&reconnect(&["--reconnects", "1", "--svg", "-"])).contains("after 1 reconnects")
    );
    assert!(stdout(&reconnect(&["--help"])).starts_with("A client that reconnects"));
    for wrong in [
        &["--reconnects", "0"][..],
        &["--reconnects", "many"],
        &["--sgv", "x"],
        &["file"],
    ] {
        let output = reconnect(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).starts_with("reconnect: "),
            "{wrong:?}"
        );
    }
}
