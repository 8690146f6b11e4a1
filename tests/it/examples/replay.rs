//! The example `replay`, run as a process.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::example::{
    Folder, assert_fails, command, gzip, real_input, run, run_unread, stderr, stdout,
};

fn replay(args: &[&str], input: &[u8]) -> Output {
    run(command("replay", args), input)
}

/// Returns the figure after a name above the table.
fn figure(output: &Output, name: &str) -> String {
    let text = stdout(output);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name:?} in:\n{text}\n{}", stderr(output)))
        .to_string()
}

/// Returns a column of the table, from top to bottom.
fn column(output: &Output, name: &str) -> Vec<String> {
    let text = stdout(output);
    let table = text
        .lines()
        .skip_while(|line| !line.contains("  hits  "))
        .take_while(|line| !line.is_empty());
    let mut rows = table.map(|line| {
        line.trim()
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
    });
    let mut header = rows
        .next()
        .unwrap_or_else(|| panic!("no table in:\n{text}\n{}", stderr(output)));
    let at = header
        .position(|cell| cell == name)
        .unwrap_or_else(|| panic!("no column {name:?} in:\n{text}"));
    rows.map(|mut row| row.nth(at).expect("a cell in each column").to_string())
        .collect()
}

fn has_column(output: &Output, name: &str) -> bool {
    stdout(output)
        .lines()
        .any(|line| line.contains("  hits  ") && line.contains(name))
}

/// Checks that the SVG is well formed, and counts the elements that begin with `start`.
fn count_in_svg(path: &Path, start: &str) -> usize {
    let svg = fs::read_to_string(path).expect("the curve was written");
    let mut open = Vec::new();
    for (at, _) in svg.match_indices('<') {
        let tag = &svg[at + 1..at + svg[at..].find('>').expect("every tag ends")];
        assert!(
            !tag.contains('<') && tag.matches('"').count() % 2 == 0,
            "{tag}"
        );
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{svg}"),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().expect("a name")),
        }
    }
    assert!(
        open.is_empty() && svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
        "{svg}"
    );
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    for (at, _) in svg.match_indices('&') {
        assert!(
            ["&amp;", "&lt;", "&gt;"]
                .iter()
                .any(|known| svg[at..].starts_with(known)),
            "{}",
            &svg[at..]
        );
    }
    svg.matches(&format!("<{start}")).count()
}

#[test]
fn hit_ratios_are_those_of_a_small_trace() {
    // In a cache of two: a and b miss, a hits, c misses and evicts b, b misses and evicts a,
    // a misses and evicts c, b hits.
    let trace = b"a,10\nb,20\na,10\nc,30\nb,20\na,10\nb,20\n";
    let output = replay(&["--max-entries", "2", "-"], trace);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(figure(&output, "requests"), "7");
    assert_eq!(figure(&output, "distinct keys"), "3");
    assert_eq!(figure(&output, "bytes requested"), "120");
    assert_eq!(column(&output, "max entries"), ["2", "unbounded"]);
    assert_eq!(column(&output, "hits"), ["2", "4"]);
    assert_eq!(column(&output, "hit ratio"), ["28.57%", "57.14%"]);
    assert_eq!(column(&output, "byte hit ratio"), ["25.00%", "50.00%"]);
    assert_eq!(column(&output, "evicted"), ["3", "-"]);
    assert_eq!(column(&output, "entries"), ["2", "3"]);
    assert_eq!(column(&output, "weight"), ["30", "60"]);
    assert_eq!(stderr(&output), "");
}

#[test]
fn least_recently_used_key_is_evicted_not_the_oldest() {
    let output = replay(&["--max-entries", "2", "-"], b"a\nb\na\nc\na\n");
    assert_eq!(column(&output, "hits"), ["2", "2"]);
    let output = replay(&["--max-entries", "2", "-"], b"a\nb\na\nc\nb\n");
    assert_eq!(column(&output, "hits"), ["1", "2"]);
}

#[test]
fn byte_bound_evicts_entries_and_rejects_those_above_it() {
    let trace = b"a,40\nb,40\nc,100\nd,101\nd,101\nc,100\ne,0\ne,0\n";
    let output = replay(&["--max-bytes", "100", "-"], trace);
    // c evicts a and b, d exceeds the bound, c hits, e weighs 1 and evicts c.
    assert_eq!(column(&output, "max bytes"), ["100", "unbounded"]);
    assert_eq!(column(&output, "hits"), ["2", "3"]);
    assert_eq!(column(&output, "rejected"), ["2", "-"]);
    assert_eq!(column(&output, "evicted"), ["3", "-"]);
    assert_eq!(column(&output, "weight"), ["1", "282"]);
}

#[test]
fn entry_expires_at_exactly_its_ttl_in_trace_time() {
    let trace = "time,key\n1700000000.5,a\n1700000059,a\n1700000060.499999999,a\n\
                 1700000060.5,a\n1700000070.25,b\n";
    let output = replay(
        &["--max-entries", "10", "--ttl", "60s", "-"],
        trace.as_bytes(),
    );
    assert_eq!(column(&output, "hits"), ["2", "3"]);
    assert_eq!(column(&output, "expired"), ["1", "-"]);
    assert_eq!(column(&output, "oldest age"), ["9s", "-"]);
    assert!(stdout(&output).contains("ttl 1m"), "{}", stdout(&output));

    let output = replay(
        &["--max-entries", "10", "--idle-timeout", "9750ms", "-"],
        trace.as_bytes(),
    );
    assert_eq!(column(&output, "hits"), ["2", "3"]);
    assert_eq!(
        column(&output, "idle"),
        ["2", "-"],
        "the last request comes at exactly the idle timeout"
    );
}

#[test]
fn times_may_be_milliseconds_and_go_backwards() {
    let trace = b"1700000001000,a,1\n1700000000000,b,1\n1700000001999.5,b,1\n1700000002000,b,1\n";
    let output = replay(
        &[
            "--time-unit",
            "ms",
            "--ttl",
            "1s",
            "--max-entries",
            "10",
            "-",
        ],
        trace,
    );
    // The time of `b` counts as that of `a`, a second before the last line.
    assert_eq!(column(&output, "hits"), ["1", "2"]);
    assert_eq!(column(&output, "expired"), ["2", "-"]);
}

#[test]
fn columns_come_from_their_number_the_header_or_an_option() {
    for (args, trace, columns) in [
        (&[][..], "a\na\n", "key"),
        (&[], "a,5\na,5\n", "key,bytes"),
        (&[], "1,a,5\n2,a,5\n", "time,key,bytes"),
        (&[], "key\na\na\n", "key"),
        (&[], "seq,key,bytes\n1,a,5\n2,a,5\n", "-,key,bytes"),
        (
            &[],
            "\u{feff}Bytes, Key ,host,TIME\r\n5,a,x,1\r\n 5 , a , y , 2 \r\n",
            "bytes,key,-,time",
        ),
        (
            &["--columns", "seq,key,bytes"],
            "1,a,5\n2,a,5\n",
            "-,key,bytes",
        ),
        (&["--columns", "-,key"], "1,\"a,b\"\n2,\"a,b\"\n", "-,key"),
        (&["--delimiter", ";"], "a;5\na;5\n", "key,bytes"),
        (&["--delimiter", "\\t"], "\"a\"\t5\na\t5\n", "key,bytes"),
        (
            &["--columns", "-,-,key,-"],
            "what,time,key,bytes\n1,2,a,5\n2,2,a,5\n",
            "-,-,key,-",
        ),
    ] {
        let output = replay(
            &[args, &["--max-entries", "5", "-"]].concat(),
            trace.as_bytes(),
        );
        assert_eq!(
            output.status.code(),
            Some(0),
            "{trace}: {}",
            stderr(&output)
        );
        assert_eq!(figure(&output, "columns"), columns, "{trace}");
        assert_eq!(
            (
                figure(&output, "requests"),
                figure(&output, "distinct keys")
            ),
            ("2".into(), "1".into()),
            "{trace}"
        );
        assert_eq!(
            has_column(&output, "byte hit ratio"),
            columns.contains("bytes"),
            "{trace}"
        );
        assert_eq!(
            has_column(&output, "oldest age"),
            columns.contains("time"),
            "{trace}"
        );
        assert!(
            !has_column(&output, "expired") && !has_column(&output, "rejected"),
            "{trace}"
        );
        assert_eq!(stderr(&output), "", "{trace}");
    }
}

#[test]
fn first_line_with_a_number_is_no_header() {
    let output = replay(&["--max-entries", "5", "-"], b"1,key,5\n2,key,5\n");
    assert_eq!(figure(&output, "requests"), "2");
}

#[test]
fn bad_lines_are_counted_and_the_first_are_reported() {
    let trace = b"seq,key,bytes\n1,a,5\n\n2,b\n3,,5\n4,c,-5\n5,d,4294967296\n\
                  6,e,99999999999999999999\n7,f,5,6\n\xff\n8,g,4294967295";
    let output = replay(&["--max-entries", "5", "-"], trace);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(figure(&output, "input"), "11 lines, 8 bad");
    assert_eq!(figure(&output, "requests"), "2");
    assert_eq!(figure(&output, "bytes requested"), "4,294,967,300");
    let named: Vec<_> = stderr(&output).lines().map(str::to_string).collect();
    assert_eq!(
        named,
        [
            "standard input:3: skipped: empty",
            "standard input:4: skipped: too few columns",
            "standard input:5: skipped: empty key",
            "standard input:6: skipped: invalid number of bytes",
            "standard input:7: skipped: bytes must be below 4 GiB, \
             the most that an entry can weigh",
            "standard input: more bad lines are only counted",
        ]
    );
}

#[test]
fn largest_numbers_do_not_overflow() {
    let times = [
        "0",
        "18446744073.709551615",
        "18446744073.709551616",
        "-1",
        "1e9",
        "NaN",
        "18446744073.70955161",
    ];
    let lines: String = times
        .iter()
        .map(|time| format!("{time},a,4294967295\n"))
        .collect();
    for limits in [
        ["--max-entries", "1"],
        ["--max-bytes", "4294967294"],
        ["--max-bytes", "17179869183Gi"],
    ] {
        let args = [
            &limits[..],
            &["--ttl", "1ms", "--idle-timeout", "213503982334d", "-"],
        ]
        .concat();
        let output = replay(&args, lines.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(figure(&output, "input"), "7 lines, 4 bad", "{limits:?}");
        assert_eq!(figure(&output, "bytes requested"), "12,884,901,885");
    }
}

#[test]
fn gzipped_file_is_recognised_by_its_first_bytes() {
    let folder = Folder::new("replay-gzip");
    let gzip = gzip(b"a,1\nb,2\na,1\n");
    folder.write("log", &gzip);
    let mut command = command("replay", &["--max-entries", "5", "log"]);
    command.current_dir(folder.path());
    let output = run(command, b"");
    assert_eq!(column(&output, "hits"), ["1", "1"]);

    let truncated = replay(&["--max-entries", "5", "-"], &gzip[..gzip.len() - 9]);
    assert_eq!(truncated.status.code(), Some(1), "{}", stdout(&truncated));
    assert!(
        stderr(&truncated).contains("cannot read standard input"),
        "{}",
        stderr(&truncated)
    );
}

#[test]
fn each_size_has_a_row_and_a_dot_in_the_chart() {
    let folder = Folder::new("replay-sizes");
    folder.write("a&b <c>.csv", b"a,10\nb,20\na,10\nc,30\nb,20\na,10\nb,20\n");
    let in_folder = |args: &[&str]| {
        let mut command = command("replay", args);
        command.current_dir(folder.path());
        run(command, b"")
    };
    let output = in_folder(&["--max-entries", "3,1,2,3", "a&b <c>.csv"]);
    assert_eq!(column(&output, "max entries"), ["1", "2", "3", "unbounded"]);
    assert_eq!(column(&output, "hits"), ["0", "2", "4", "4"]);
    assert!(
        stdout(&output).ends_with("\nchart: replay.svg\n"),
        "{}",
        stdout(&output)
    );
    let svg = folder.path().join("replay.svg");
    // Each size has a dot for hits and one for bytes.
    assert_eq!(count_in_svg(&svg, "circle"), 6);
    let text = fs::read_to_string(svg).expect("the curve was written");
    assert!(
        text.contains("a&amp;b &lt;c&gt;.csv")
            && text.contains("<title>hit ratio, 2: 28.57%</title>"),
        "{text}"
    );

    fs::create_dir(folder.path().join("target")).expect("the folder can be written");
    let output = in_folder(&["--max-bytes", "30,1Ki", "--max-entries", "2", "a&b <c>.csv"]);
    assert_eq!(column(&output, "max entries"), ["2", "2", "unbounded"]);
    assert_eq!(column(&output, "max bytes"), ["30", "1,024", "unbounded"]);
    let svg = Path::new("target").join("replay.svg");
    assert!(
        stdout(&output).ends_with(&format!("\nchart: {}\n", svg.display())),
        "{}",
        stdout(&output)
    );
    assert_eq!(count_in_svg(&folder.path().join(svg), "circle"), 4);

    folder.write("keys", b"a\nb\na\n");
    in_folder(&[
        "--max-entries",
        "1,2,3,4,5,6,7,8,9,10,1M,2M",
        "--svg",
        "keys.svg",
        "keys",
    ]);
    let svg = folder.path().join("keys.svg");
    assert_eq!(count_in_svg(&svg, "circle"), 12);

    let output = in_folder(&[
        "--max-entries",
        "1,2",
        "--svg",
        "no/such/folder.svg",
        "keys",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        column(&output, "hits"),
        ["0", "1", "1"],
        "the table is printed before"
    );
    assert!(
        stderr(&output).contains("cannot write no/such/folder.svg"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn requests_are_generated_without_a_file() {
    let folder = Folder::new("replay-generated");
    let mut command = command("replay", &["--requests", "5000", "--ttl", "1h"]);
    command.current_dir(folder.path());
    let output = run(command, b"");
    assert!(
        figure(&output, "input").starts_with("GENERATED"),
        "{}",
        stdout(&output)
    );
    assert_eq!(figure(&output, "requests"), "5,000");
    assert_eq!(
        column(&output, "max entries"),
        ["100", "1,000", "10,000", "100,000", "unbounded"]
    );
    assert!(
        column(&output, "oldest age")[2].starts_with("59m "),
        "{}",
        stdout(&output)
    );
    let hits: Vec<u64> = column(&output, "hits")
        .iter()
        .map(|hits| hits.replace(',', "").parse().expect("hits"))
        .collect();
    assert!(
        hits.is_sorted() && hits[0] > 500 && hits[3] < hits[4] && hits[4] < 4_000,
        "zipf-like, and aged: {hits:?}"
    );
    assert_eq!(count_in_svg(&folder.path().join("replay.svg"), "circle"), 8);
}

#[test]
fn empty_input_is_no_error() {
    let folder = Folder::new("replay-nothing");
    for args in [
        &["--requests", "0"][..],
        &["-"],
        &["--max-bytes", "1,2", "--ttl", "1s", "-"],
    ] {
        let mut command = command("replay", args);
        command.current_dir(folder.path());
        let output = run(command, b"");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(figure(&output, "requests"), "0");
        assert!(
            column(&output, "hit ratio")
                .iter()
                .all(|ratio| ratio == "-"),
            "{}",
            stdout(&output)
        );
        count_in_svg(&folder.path().join("replay.svg"), "circle");
    }
}

#[test]
fn input_without_a_valid_line_is_a_failure() {
    for input in [&b"a,x\nb,y\n"[..], b"\n\n", b"key,bytes\na,-1\n"] {
        let output = replay(&["--columns", "key,bytes", "-"], input);
        let error = "standard input has no valid line, and ";
        assert_fails(&output, 1, &[error]);
    }
}

#[test]
fn other_delimiter_than_a_comma_is_refused_unless_named() {
    for line in ["key;bytes", "key\tbytes", "/a;b=1"] {
        let output = replay(&["-"], format!("{line}\n").as_bytes());
        assert_fails(
            &output,
            1,
            &["standard input:1: ", "has no comma; pass --delimiter"],
        );
    }
    let output = replay(
        &["--delimiter", ",", "--max-entries", "5", "-"],
        b"/a;b=1\n",
    );
    assert_eq!(figure(&output, "columns"), "key");
}

#[test]
fn wrong_option_is_named_in_an_error_that_refers_to_help() {
    for (args, reason) in [
        (&["--max-entries", "0"][..], "'--max-entries <N,..>'"),
        (&["--max-entries", "10,,20"], "'--max-entries <N,..>'"),
        (&["--max-entries", "many"], "'--max-entries <N,..>'"),
        (&["--max-entries", "99999999999G"], "'--max-entries <N,..>'"),
        (&["--max-bytes", "1.5M"], "'--max-bytes <N,..>'"),
        (&["--max-bytes", "10T"], "k, M, G, Ki, Mi, Gi"),
        (
            &["--max-entries", "1,2", "--max-bytes", "1,2"],
            "--max-entries and --max-bytes cannot both",
        ),
        (&["--idle-timeout", "24"], "'--idle-timeout <TIME>'"),
        (&["--ttl"], "'--ttl <TIME>'"),
        (
            &["--columns", "seq,bytes", "-"],
            "no column is named \"key\"",
        ),
        (
            &["--columns", "key,time,time", "-"],
            "two columns are named \"time\"",
        ),
        (&["--columns", "key"], "<FILE>"),
        (&["--delimiter", "ab", "-"], "'--delimiter <DELIMITER>'"),
        (&["--time-unit", "s"], "<FILE>"),
        (&["--time-unit", "h", "-"], "must be s or ms"),
        (
            &["--svg", "curve.svg", "--max-entries", "5", "-"],
            "--svg needs several sizes",
        ),
        (&["--requests", "5", "-"], "'--requests <N>' cannot be used"),
        (&["--nonsense"], "'--nonsense'"),
        (&["-", "-"], "unexpected argument '-'"),
    ] {
        assert_fails(&replay(args, b"a\nb\n"), 2, &[reason, "--help"]);
    }
    for (args, reason) in [
        (
            &["--max-bytes", "5", "-"][..],
            "--max-bytes needs a column \"bytes\"",
        ),
        (&["--ttl", "5s", "-"], "--ttl needs a column \"time\""),
        (
            &["--idle-timeout", "5s", "-"],
            "--idle-timeout needs a column",
        ),
        (
            &["--time-unit", "s", "-"],
            "--time-unit needs a column \"time\"",
        ),
        (&["--ttl", "0s"], "ttl"),
        (&["--max-entries", "3G"], "max_entries"),
    ] {
        assert_fails(&replay(args, b"a\nb\n"), 1, &[reason, "--help"]);
    }
    for (args, input, reason) in [
        (&["no/such.file"], &b""[..], "cannot read no/such.file"),
        (
            &["-"],
            b"1,2,a,5,x\n",
            "the first line has 5 columns; name them",
        ),
        (&["-"], b"key,key\na,b\n", "two columns are named \"key\""),
    ] {
        assert_fails(&replay(args, input), 1, &[reason]);
    }
}

#[test]
fn help_names_every_option() {
    let output = replay(&["--help"], b"");
    assert_eq!(output.status.code(), Some(0));
    for option in
        "max-entries max-bytes ttl idle-timeout columns delimiter time-unit svg requests".split(' ')
    {
        assert!(
            stdout(&output).contains(&format!("  --{option} ")),
            "{option}"
        );
    }
}

#[test]
fn closed_standard_output_is_no_error() {
    let output = run_unread(command(
        "replay",
        &["--requests", "100", "--max-entries", "5"],
    ));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn real_trace_gives_its_known_answers() {
    let Some(path) = real_input("web-requests.csv.gz") else {
        return;
    };
    let folder = Folder::new("replay-real");
    let mut command = command("replay", &["--max-entries", "100,1000,10000,100000", &path]);
    command.current_dir(folder.path());
    let output = run(command, b"");
    assert_eq!(figure(&output, "input"), "66,988 lines, 0 bad");
    assert_eq!(figure(&output, "requests"), "66,987");
    assert_eq!(figure(&output, "distinct keys"), "36,815");
    assert_eq!(figure(&output, "bytes requested"), "485,457,552");
    assert_eq!(
        column(&output, "hits"),
        ["12,535", "18,720", "26,904", "30,172", "30,172"]
    );
    let unbounded = f64::from(66_987 - 36_815) / 66_987.0;
    assert_eq!(
        column(&output, "hit ratio")[4],
        format!("{:.2}%", 100.0 * unbounded)
    );
    let byte_unbounded = f64::from(485_457_552 - 278_854_232) / 485_457_552.0;
    assert_eq!(
        column(&output, "byte hit ratio")[4],
        format!("{:.2}%", 100.0 * byte_unbounded)
    );
    assert_eq!(
        column(&output, "weight")[3..],
        ["278,854,232", "278,854,232"]
    );
}
