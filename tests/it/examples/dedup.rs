//! The example `dedup`, run as a process on input of every kind.

use std::io::Write;
use std::process::Output;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::example::{
    Folder, assert_fails, command, gzip, real_input, run, run_unread, stderr, stdout,
};

fn dedup(args: &[&str], input: &[u8]) -> Output {
    run(command("dedup", args), input)
}

/// Returns the cells of the `DedupSet` and of the `HashSet` in a row of the table.
fn row(output: &Output, name: &str) -> [String; 2] {
    let text = stdout(output);
    let line = text.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no row {name:?} in:\n{text}\n{}", stderr(output)));
    let cells: Vec<_> = line[name.len()..]
        .split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect();
    let [ours, theirs] = cells[..] else {
        panic!("not two cells in {line:?}")
    };
    [ours.to_string(), theirs.to_string()]
}

fn verdict(output: &Output) -> String {
    let text = stdout(output);
    let line = text
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("verdict: "));
    line.unwrap_or_else(|| panic!("no verdict in:\n{text}"))
        .to_owned()
}

#[test]
fn bad_lines_are_counted_and_reported_with_their_file() {
    let output = dedup(&["-"], b"a\nb\n\na\n\xff\xfe\nc\r\nc\na");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(row(&output, "events"), ["6", "6"]);
    assert_eq!(row(&output, "answered new"), ["3", "3"]);
    assert_eq!(row(&output, "answered duplicate"), ["3", "3"]);
    assert_eq!(row(&output, "live at the end"), ["3", "3"]);
    assert_eq!(
        stderr(&output).lines().collect::<Vec<_>>(),
        [
            "standard input:3: skipped: empty",
            "standard input:5: skipped: invalid UTF-8"
        ]
    );
    assert!(
        stdout(&output).starts_with("input: 8 lines, 2 bad\n"),
        "{}",
        stdout(&output)
    );

    let folder = Folder::new("dedup-bad-lines");
    folder.write("ids.txt", b"a\n\n");
    let mut command = command("dedup", &["ids.txt"]);
    command.current_dir(folder.path());
    assert_eq!(stderr(&run(command, b"")), "ids.txt:2: skipped: empty\n");
}

#[test]
fn input_without_a_valid_line_is_a_failure() {
    let output = dedup(&["-"], "\n".repeat(1000).as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let errors = stderr(&output);
    assert!(
        errors.lines().count() < 10,
        "only the first are reported: {errors}"
    );
    assert!(
        errors.ends_with("dedup: standard input has no valid line, and 1,000 bad ones\n"),
        "{errors}"
    );
}

#[test]
fn line_of_megabytes_is_skipped() {
    let input = [b"a\n".as_slice(), &vec![b'x'; 3 << 20], b"\na\n"].concat();
    let output = dedup(&["-"], &input);
    assert_eq!(row(&output, "events"), ["2", "2"]);
    assert!(
        stderr(&output).contains("standard input:2: skipped: longer than 1 MiB"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn id_is_new_again_at_exactly_its_ttl_in_trace_time() {
    let before = "1700000000.25\ta\n1700000059.5\tb\n1700000060.249999999\ta\n";
    let output = dedup(&["--timestamped", "--ttl", "60s", "-"], before.as_bytes());
    assert_eq!(row(&output, "answered new"), ["2", "2"]);

    let exactly = format!("{before}1700000060.25\ta\n");
    let output = dedup(&["--timestamped", "--ttl", "60s", "-"], exactly.as_bytes());
    assert_eq!(row(&output, "answered new"), ["3", "2"]);
    assert_eq!(row(&output, "expired"), ["1", "-"]);
    assert_eq!(row(&output, "oldest entry age"), ["750ms", "-"]);
    assert_eq!(
        verdict(&output),
        "no redelivery within 1m would have been handled twice"
    );
}

#[test]
fn timestamps_may_be_milliseconds_and_go_backwards() {
    let input =
        "1700000000000,a\n1700000000999.5 b\n1700000000500\tc\n1700000001000,a\n1700000001499,c\n";
    let output = dedup(
        &["--timestamped", "--time-unit", "ms", "--ttl", "1000ms", "-"],
        input.as_bytes(),
    );
    // The time of `c` counts as that of `b`.
    assert_eq!(row(&output, "answered new"), ["4", "3"]);
    assert_eq!(row(&output, "oldest entry age"), ["499ms", "-"]);
}

#[test]
fn lines_without_a_valid_timestamp_or_id_are_bad() {
    let input = "1,a\nb\n-2,c\n3.,d\n4e3,e\n99999999999999999999,f\n5,\n6,g\n";
    let output = dedup(&["--timestamped", "-"], input.as_bytes());
    assert_eq!(row(&output, "events"), ["2", "2"]);
    assert!(
        stdout(&output).starts_with("input: 8 lines, 6 bad\n"),
        "{}",
        stdout(&output)
    );
    for error in [
        "standard input:2: skipped: no tab, comma or space after the timestamp",
        "standard input:3: skipped: invalid timestamp",
    ] {
        assert!(stderr(&output).contains(error), "{}", stderr(&output));
    }
}

#[test]
fn quoted_and_semicolon_csv_is_refused() {
    for (line, reason) in [
        ("1,\"a\"\n", "quoted id"),
        ("1;a\n", "no tab, comma or space"),
    ] {
        let output = dedup(&["--timestamped", "-"], line.as_bytes());
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
}

#[test]
fn verdict_counts_redeliveries_that_the_bound_missed() {
    let output = dedup(
        &["--timestamped", "--max-entries", "2", "-"],
        b"0 a\n10 b\n75 c\n80 a\n81 a\n82 b\n",
    );
    assert_eq!(row(&output, "answered new"), ["5", "3"]);
    assert_eq!(row(&output, "evicted by the bound"), ["3", "-"]);
    assert_eq!(row(&output, "shortest window"), ["7s", "-"]);
    assert_eq!(row(&output, "live at the end"), ["2", "3"]);
    assert_eq!(
        verdict(&output),
        "2 redeliveries within 1day would have been handled twice; at least 3 entries are needed"
    );
}

#[test]
fn entries_needed_are_those_that_are_live_at_once() {
    let lines = "0 a\n1 b\n2 c\n60 d\n62 e\n62 f\n";
    let args = ["--timestamped", "--ttl", "1m", "--max-entries", "2", "-"];
    let output = dedup(&args, lines.as_bytes());
    assert!(
        verdict(&output).ends_with("handled twice; at least 3 entries are needed"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn gzipped_file_is_recognised_by_its_first_bytes() {
    let gzip = gzip(b"a\nb\na\n");
    let folder = Folder::new("dedup-gzip");
    folder.write("ids", &[&gzip[..], &gzip[..]].concat());
    let output = dedup(
        &[folder.path().join("ids").to_str().expect("a path in UTF-8")],
        b"",
    );
    assert_eq!(row(&output, "events"), ["6", "6"]);
    assert_eq!(row(&output, "answered new"), ["2", "2"]);

    let truncated = dedup(&["-"], &gzip[..gzip.len() - 9]);
    assert_eq!(truncated.status.code(), Some(1), "{}", stdout(&truncated));
    assert!(
        stderr(&truncated).contains("cannot read standard input"),
        "{}",
        stderr(&truncated)
    );
}

#[test]
fn wrong_option_is_named_in_an_error_that_refers_to_help() {
    for (args, reason) in [
        (&["--ttl", "24"][..], "'--ttl <TTL>'"),
        (&["--ttl", "99999999999999999d"], "'--ttl <TTL>'"),
        (&["--ttl"], "'--ttl <TTL>'"),
        (&["--events", "18446744073709551615"], "'--events <N>'"),
        (&["--max-entries", "many"], "'--max-entries <N>'"),
        (&["--time-unit", "s", "-"], "--timestamped"),
        (
            &["--timestamped", "--time-unit", "h", "-"],
            "must be s or ms",
        ),
        (&["--timestamped"], "<FILE>"),
        (
            &["--events", "5", "-"],
            "'--events <N>' cannot be used with",
        ),
        (&["--nonsense"], "'--nonsense'"),
        (&["-", "-"], "unexpected argument '-'"),
    ] {
        assert_fails(&dedup(args, b""), 2, &[reason, "--help"]);
    }
    assert_fails(&dedup(&["--ttl", "0s"], b""), 1, &["ttl", "--help"]);
    assert_fails(
        &dedup(&["--max-entries", "0"], b""),
        1,
        &["max_entries", "--help"],
    );
    assert_fails(
        &dedup(&["no/such.file"], b""),
        1,
        &["cannot read no/such.file"],
    );
}

#[test]
fn help_names_every_option() {
    let output = dedup(&["--help"], b"");
    assert_eq!(output.status.code(), Some(0));
    for option in [
        "--ttl",
        "--max-entries",
        "--timestamped",
        "--time-unit",
        "--events",
    ] {
        assert!(stdout(&output).contains(option), "{option}");
    }
}

#[test]
fn day_is_generated_without_a_file() {
    let output = dedup(&["--events", "10000"], b"");
    assert!(stdout(&output).contains("GENERATED"), "{}", stdout(&output));
    assert_eq!(row(&output, "events"), ["10,000", "10,000"]);
    assert_eq!(row(&output, "answered new"), ["8,500", "8,500"]);
    assert!(row(&output, "oldest entry age")[0].starts_with("23h 59m "));
}

#[test]
fn bytes_per_id_agree_with_the_documented_formula() {
    // About 62 bytes per id of 45 bytes, and a few more while the map grows. Resident memory
    // showed 44, because pages were reused.
    for events in ["100000", "300000"] {
        let [ours, theirs] = row(&dedup(&["--events", events], b""), "bytes per live id")
            .map(|bytes| bytes.parse::<f64>().expect("a number"));
        assert!((57.0..67.0).contains(&ours), "{ours} for {events} events");
        assert!(
            (70.0..150.0).contains(&theirs),
            "{theirs} for {events} events"
        );
    }
}

#[test]
fn progress_is_shown_in_runs_of_over_two_seconds() {
    let mut process = command("dedup", &["-"]).spawn().expect("it starts");
    let mut input = process.stdin.take().expect("a pipe");
    input.write_all(b"a\n").expect("it reads");
    // Nothing is sent, so the wait ends after the timeout.
    let (_sender, receiver) = channel::<()>();
    let _ = receiver.recv_timeout(Duration::from_millis(2_500));
    input
        .write_all("b\n".repeat(300).as_bytes())
        .expect("it reads");
    drop(input);
    let output = process.wait_with_output().expect("it ends");
    assert_eq!(stderr(&output), "256 lines read ...\n");
    assert_eq!(stderr(&dedup(&["--events", "100"], b"")), "");
}

#[test]
fn empty_input_is_no_error() {
    for args in [&["--events", "0"][..], &["-"]] {
        let output = dedup(args, b"");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(row(&output, "events"), ["0", "0"]);
    }
}

#[test]
fn closed_standard_output_is_no_error() {
    let output = run_unread(command("dedup", &["--events", "100"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn real_trace_gives_its_known_answers() {
    let Some(path) = real_input("vault-service.ids.gz") else {
        return;
    };
    let output = dedup(&[&path], b"");
    assert_eq!(row(&output, "events"), ["135,702", "135,702"]);
    assert_eq!(row(&output, "answered new"), ["90,468", "90,468"]);
    let output = dedup(&["--max-entries", "20000", &path], b"");
    assert!(
        verdict(&output).ends_with("at least 90,468 entries are needed"),
        "{}",
        verdict(&output)
    );
}
