//! The example `dedup`, run as its users run it: as a process, on input of every kind.

use std::process::Output;

use crate::support::example::{Folder, command, gzip, real_input, run, run_unread, stderr, stdout};

fn dedup(args: &[&str], input: &[u8]) -> Output {
    run(command("dedup", args), input)
}

/// The row of the table that begins so: what the `DedupSet` and what the `HashSet` has there.
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

#[test]
fn ids_on_standard_input_are_counted_and_bad_lines_named_and_passed_over() {
    let output = dedup(&["-"], b"a\nb\n\na\n\xff\xfe\nc\r\nc\na");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(row(&output, "events"), ["6", "6"]);
    assert_eq!(row(&output, "distinct (answered new)"), ["3", "3"]);
    assert_eq!(row(&output, "duplicates"), ["3", "3"]);
    assert_eq!(row(&output, "live at the end"), ["3", "3"]);
    assert!(
        stderr(&output).contains("line 3: empty"),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("line 5: not UTF-8"),
        "{}",
        stderr(&output)
    );
    assert!(
        stdout(&output).starts_with("input: 8 lines, of which 2 bad\n"),
        "{}",
        stdout(&output)
    );
    assert!(
        stdout(&output).contains("stats: 3 of 1000000 entries"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn only_the_first_few_bad_lines_are_named() {
    let output = dedup(&["-"], "\n".repeat(1000).as_bytes());
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).lines().count() < 10, "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with("input: 1,000 lines, of which 1,000 bad\n"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_line_that_does_not_end_is_passed_over_without_being_held() {
    let input = [b"a\n".as_slice(), &vec![b'x'; 3 << 20], b"\na\n"].concat();
    let output = dedup(&["-"], &input);
    assert_eq!(row(&output, "events"), ["2", "2"]);
    assert!(
        stderr(&output).contains("line 2: too long"),
        "{}",
        stderr(&output)
    );
    assert!(
        stdout(&output).starts_with("input: 3 lines, of which 1 bad\n"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn an_id_is_fresh_again_at_exactly_its_ttl_by_the_time_of_the_trace() {
    let before = "1700000000.25\ta\n1700000059.5\tb\n1700000060.249999999\ta\n";
    let output = dedup(&["--timestamped", "--ttl", "60s", "-"], before.as_bytes());
    assert_eq!(row(&output, "distinct (answered new)"), ["2", "2"]);

    let exactly = format!("{before}1700000060.25\ta\n");
    let output = dedup(&["--timestamped", "--ttl", "60s", "-"], exactly.as_bytes());
    assert_eq!(row(&output, "distinct (answered new)"), ["3", "2"]);
    assert_eq!(row(&output, "expired"), ["1", "-"]);
    assert_eq!(row(&output, "oldest age"), ["750 ms", "-"]);
}

#[test]
fn timestamps_may_be_milliseconds_after_any_separator_and_go_backwards() {
    let input =
        "1700000000000,a\n1700000000999.5 b\n1700000000500\tc\n1700000001000,a\n1700000001499,c\n";
    let output = dedup(
        &["--timestamped", "--time-unit", "ms", "--ttl", "1000ms", "-"],
        input.as_bytes(),
    );
    // `c` came at a time that counts as that of `b`.
    assert_eq!(row(&output, "distinct (answered new)"), ["4", "3"]);
    assert_eq!(row(&output, "oldest age"), ["499 ms", "-"]);
}

#[test]
fn lines_without_a_valid_timestamp_or_id_are_bad() {
    let input = "1,a\nb\n-2,c\n3.,d\n4e3,e\n99999999999999999999,f\n5,\n6,g\n";
    let output = dedup(&["--timestamped", "-"], input.as_bytes());
    assert_eq!(row(&output, "events"), ["2", "2"]);
    assert!(
        stdout(&output).starts_with("input: 8 lines, of which 6 bad\n"),
        "{}",
        stdout(&output)
    );
    assert!(
        stderr(&output).contains("line 2: no id after a timestamp"),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("line 3: no valid timestamp"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn evictions_by_the_bound_are_shown_with_the_window_that_is_left() {
    let output = dedup(
        &["--timestamped", "--max-entries", "2", "-"],
        b"0 a\n10 b\n75 c\n80 a\n",
    );
    assert_eq!(row(&output, "distinct (answered new)"), ["4", "3"]);
    assert_eq!(row(&output, "evicted by the bound"), ["2", "-"]);
    assert_eq!(row(&output, "shortest window"), ["1 min 10 s", "-"]);
    assert_eq!(row(&output, "live at the end"), ["2", "3"]);
}

#[test]
fn a_gzipped_file_is_known_by_its_first_bytes() {
    let gzip = gzip(b"a\nb\na\n");
    let folder = Folder::new("dedup-gzip");
    folder.write("ids", &[&gzip[..], &gzip[..]].concat());
    let output = dedup(
        &[folder.path().join("ids").to_str().expect("a path in UTF-8")],
        b"",
    );
    assert_eq!(row(&output, "events"), ["6", "6"]);
    assert_eq!(row(&output, "distinct (answered new)"), ["2", "2"]);

    let truncated = dedup(&["-"], &gzip[..gzip.len() - 9]);
    assert_eq!(truncated.status.code(), Some(2), "{}", stdout(&truncated));
    assert!(
        stderr(&truncated).contains("cannot read standard input"),
        "{}",
        stderr(&truncated)
    );
}

#[test]
fn wrong_options_and_missing_files_end_with_code_2_and_say_why() {
    for (args, reason) in [
        (&["--ttl", "0s"][..], "`ttl` is zero"),
        (&["--ttl", "24"], "a time is a whole number"),
        (&["--ttl", "1w"], "a time is a whole number"),
        (&["--ttl", "h"], "a time is a whole number"),
        (&["--ttl", "99999999999999999d"], "a time is a whole number"),
        (&["--ttl"], "--ttl"),
        (
            &["--events", "18446744073709551615"],
            "at most 1,000,000,000",
        ),
        (&["--max-entries", "0"], "`max_entries` is zero"),
        (&["--max-entries", "many"], "many"),
        (&["--time-unit", "s", "-"], "needs --timestamped"),
        (&["--timestamped", "--time-unit", "h", "-"], "s or ms"),
        (&["--timestamped"], "needs a file"),
        (&["--events", "5", "-"], "for generated input"),
        (&["--nonsense"], "--nonsense"),
        (&["-", "-"], "unexpected argument"),
        (
            &["there/is/no/such.file"],
            "cannot read there/is/no/such.file",
        ),
    ] {
        let output = dedup(args, b"");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            stdout(&output)
        );
        assert!(
            stderr(&output).contains(reason),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{args:?}");
    }
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
fn without_a_file_a_day_is_generated_and_said_to_be() {
    let output = dedup(&["--events", "10000"], b"");
    assert!(stdout(&output).contains("GENERATED"), "{}", stdout(&output));
    assert_eq!(row(&output, "events"), ["10,000", "10,000"]);
    assert_eq!(row(&output, "distinct (answered new)"), ["8,500", "8,500"]);
    assert_eq!(row(&output, "oldest age"), ["23 h 59 min", "-"]);
    assert_eq!(
        row(&output, "bytes per live id"),
        ["- (too few to weigh)", "- (too few to weigh)"]
    );
}

#[test]
fn no_events_at_all_are_no_error() {
    for args in [&["--events", "0"][..], &["-"]] {
        let output = dedup(args, b"");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(row(&output, "events"), ["0", "0"]);
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let output = run_unread(command("dedup", &["--events", "100"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_real_trace_has_its_known_answers() {
    let Some(path) = real_input("vault-service.ids.gz") else {
        return;
    };
    let output = dedup(&[&path], b"");
    assert_eq!(row(&output, "events"), ["135,702", "135,702"]);
    assert_eq!(
        row(&output, "distinct (answered new)"),
        ["90,468", "90,468"]
    );
    if cfg!(target_os = "linux") {
        for bytes in row(&output, "bytes per live id") {
            let bytes: f64 = bytes.parse().expect("a number");
            assert!(
                (16.0..300.0).contains(&bytes),
                "{bytes} bytes for an id of 16"
            );
        }
    }
}
