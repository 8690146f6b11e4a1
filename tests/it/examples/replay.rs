//! The example `replay`, run as its users run it.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::example::{Folder, command, gzip, real_input, run, run_unread, stderr, stdout};

fn replay(args: &[&str], input: &[u8]) -> Output {
    run(command("replay", args), input)
}

/// What stands behind a name above the table.
fn figure(output: &Output, name: &str) -> String {
    let text = stdout(output);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name:?} in:\n{text}\n{}", stderr(output)))
        .to_string()
}

/// A column of the table, from top to bottom.
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

/// Judges the tags, and says how many elements begin so.
fn count_in_svg(path: &Path, start: &str) -> usize {
    let svg = fs::read_to_string(path).expect("the curve was written");
    let mut open = Vec::new();
    for (at, _) in svg.match_indices('<') {
        let tag = &svg[at + 1..at + svg[at..].find('>').expect("every tag ends")];
        assert!(
            !tag.contains('<') && tag.matches('"').count().is_multiple_of(2),
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
fn hit_ratios_are_those_computed_by_hand() {
    // In a cache of two: a miss, b miss, a hit, c miss and b goes, b miss and a goes, a miss and c goes, b hit.
    let trace = b"a,10\nb,20\na,10\nc,30\nb,20\na,10\nb,20\n";
    let output = replay(&["--max-entries", "2", "-"], trace);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(figure(&output, "requests"), "7");
    assert_eq!(figure(&output, "distinct keys"), "3");
    assert_eq!(figure(&output, "bytes asked for"), "120");
    assert_eq!(column(&output, "max entries"), ["2", "no limit"]);
    assert_eq!(column(&output, "hits"), ["2", "4"]);
    assert_eq!(column(&output, "hit ratio"), ["28.57%", "57.14%"]);
    assert_eq!(column(&output, "byte hit ratio"), ["25.00%", "50.00%"]);
    assert_eq!(column(&output, "evicted"), ["3", "-"]);
    assert_eq!(column(&output, "entries"), ["2", "3"]);
    assert_eq!(column(&output, "weight"), ["30", "60"]);
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_least_recently_used_goes_first_not_the_oldest() {
    let output = replay(&["--max-entries", "2", "-"], b"a\nb\na\nc\na\n");
    assert_eq!(column(&output, "hits"), ["2", "2"]);
    let output = replay(&["--max-entries", "2", "-"], b"a\nb\na\nc\nb\n");
    assert_eq!(column(&output, "hits"), ["1", "2"]);
}

#[test]
fn a_bound_on_bytes_evicts_what_has_to_go_and_rejects_what_never_fits() {
    let trace = b"a,40\nb,40\nc,100\nd,101\nd,101\nc,100\ne,0\ne,0\n";
    let output = replay(&["--max-bytes", "100", "-"], trace);
    // c makes a and b go; d never fits; c is held; e weighs 1, and makes c go.
    assert_eq!(column(&output, "max bytes"), ["100", "no limit"]);
    assert_eq!(column(&output, "hits"), ["2", "3"]);
    assert_eq!(column(&output, "rejected"), ["2", "-"]);
    assert_eq!(column(&output, "evicted"), ["3", "-"]);
    assert_eq!(column(&output, "weight"), ["1", "282"]);
}

#[test]
fn an_entry_expires_at_exactly_its_age_by_the_time_of_the_trace() {
    let trace = "time,key\n1700000000.5,a\n1700000059,a\n1700000060.499999999,a\n1700000060.5,a\n1700000070.25,b\n";
    let output = replay(
        &["--max-entries", "10", "--max-age", "60s", "-"],
        trace.as_bytes(),
    );
    assert_eq!(column(&output, "hits"), ["2", "3"]);
    assert_eq!(column(&output, "expired"), ["1", "-"]);
    assert_eq!(column(&output, "oldest age"), ["9 s", "-"]);
    assert!(
        stdout(&output).contains("max age 1 min 0 s"),
        "{}",
        stdout(&output)
    );

    let output = replay(
        &["--max-entries", "10", "--max-idle", "9750ms", "-"],
        trace.as_bytes(),
    );
    assert_eq!(column(&output, "hits"), ["2", "3"]);
    assert_eq!(
        column(&output, "idle"),
        ["2", "-"],
        "the last came just when the one before was idle for so long"
    );
}

#[test]
fn times_may_be_milliseconds_and_go_backwards() {
    let trace = b"1700000001000,a,1\n1700000000000,b,1\n1700000001999.5,b,1\n1700000002000,b,1\n";
    let output = replay(
        &[
            "--time-unit",
            "ms",
            "--max-age",
            "1s",
            "--max-entries",
            "10",
            "-",
        ],
        trace,
    );
    // `b` came at a time that counts as that of `a`, a second before the last line.
    assert_eq!(column(&output, "hits"), ["1", "2"]);
    assert_eq!(column(&output, "expired"), ["2", "-"]);
}

#[test]
fn columns_are_told_by_their_number_by_the_header_or_by_an_option() {
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
        (&["--columns", "-,key"], "1,a,b,c\n2,a,b,c\n", "-,key"),
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
fn a_key_that_looks_like_a_header_is_a_key_where_numbers_stand_beside_it() {
    let output = replay(&["--max-entries", "5", "-"], b"1,key,5\n2,key,5\n");
    assert_eq!(figure(&output, "requests"), "2");
}

#[test]
fn bad_lines_are_counted_and_the_first_few_named() {
    let trace = b"seq,key,bytes\n1,a,5\n\n2,b\n3,,5\n4,c,-5\n5,d,4294967296\n\
                  6,e,99999999999999999999\n7,f,5,6\n\xff\n8,g,4294967295";
    let output = replay(&["--max-entries", "5", "-"], trace);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(figure(&output, "input"), "11 lines, of which 8 bad");
    assert_eq!(figure(&output, "requests"), "2");
    assert_eq!(figure(&output, "bytes asked for"), "4,294,967,300");
    let named: Vec<_> = stderr(&output).lines().map(str::to_string).collect();
    assert_eq!(
        named,
        [
            "line 3: empty; passed over",
            "line 4: too few columns; passed over",
            "line 5: no key; passed over",
            "line 6: no valid number of bytes; passed over",
            "line 7: 4 GiB or more, which no entry can weigh; passed over",
            "further bad lines are only counted",
        ]
    );
}

#[test]
fn numbers_at_their_limits_do_no_harm() {
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
            &["--max-age", "1ms", "--max-idle", "213503982334d", "-"],
        ]
        .concat();
        let output = replay(&args, lines.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(
            figure(&output, "input"),
            "7 lines, of which 4 bad",
            "{limits:?}"
        );
        assert_eq!(figure(&output, "bytes asked for"), "12,884,901,885");
    }
}

#[test]
fn a_gzipped_file_is_known_by_its_first_bytes() {
    let folder = Folder::new("replay-gzip");
    let gzip = gzip(b"a,1\nb,2\na,1\n");
    folder.write("log", &gzip);
    let mut command = command("replay", &["--max-entries", "5", "log"]);
    command.current_dir(folder.path());
    let output = run(command, b"");
    assert_eq!(column(&output, "hits"), ["1", "1"]);

    let truncated = replay(&["--max-entries", "5", "-"], &gzip[..gzip.len() - 9]);
    assert_eq!(truncated.status.code(), Some(2), "{}", stdout(&truncated));
    assert!(
        stderr(&truncated).contains("cannot read standard input"),
        "{}",
        stderr(&truncated)
    );
}

#[test]
fn several_sizes_make_a_row_and_a_point_each() {
    let folder = Folder::new("replay-sizes");
    folder.write("a&b <c>.csv", b"a,10\nb,20\na,10\nc,30\nb,20\na,10\nb,20\n");
    let in_folder = |args: &[&str]| {
        let mut command = command("replay", args);
        command.current_dir(folder.path());
        run(command, b"")
    };
    let output = in_folder(&["--max-entries", "3,1,2,3", "a&b <c>.csv"]);
    assert_eq!(column(&output, "max entries"), ["1", "2", "3", "no limit"]);
    assert_eq!(column(&output, "hits"), ["0", "2", "4", "4"]);
    assert!(
        stdout(&output).ends_with("\ncurve: replay.svg\n"),
        "{}",
        stdout(&output)
    );
    let svg = folder.path().join("replay.svg");
    assert_eq!(count_in_svg(&svg, "circle class=\"hits\""), 3);
    assert_eq!(count_in_svg(&svg, "circle class=\"byte-hits\""), 3);
    let text = fs::read_to_string(svg).expect("the curve was written");
    assert!(
        text.contains("a&amp;b &lt;c&gt;.csv")
            && text.contains("<title>2: hit ratio 28.57%</title>"),
        "{text}"
    );

    fs::create_dir(folder.path().join("target")).expect("the folder can be written");
    let output = in_folder(&["--max-bytes", "30,1Ki", "--max-entries", "2", "a&b <c>.csv"]);
    assert_eq!(column(&output, "max entries"), ["2", "2", "no limit"]);
    assert_eq!(column(&output, "max bytes"), ["30", "1,024", "no limit"]);
    let svg = Path::new("target").join("replay.svg");
    assert!(
        stdout(&output).ends_with(&format!("\ncurve: {}\n", svg.display())),
        "{}",
        stdout(&output)
    );
    assert_eq!(
        count_in_svg(&folder.path().join(svg), "circle class=\"hits\""),
        2
    );

    folder.write("keys", b"a\nb\na\n");
    in_folder(&[
        "--max-entries",
        "1,2,3,4,5,6,7,8,9,10,1M,2M",
        "--svg",
        "keys.svg",
        "keys",
    ]);
    let svg = folder.path().join("keys.svg");
    assert_eq!(count_in_svg(&svg, "circle class=\"hits\""), 12);
    assert_eq!(count_in_svg(&svg, "circle class=\"byte-hits\""), 0);

    let output = in_folder(&[
        "--max-entries",
        "1,2",
        "--svg",
        "no/such/folder.svg",
        "keys",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        column(&output, "hits"),
        ["0", "1", "1"],
        "the figures are shown all the same"
    );
    assert!(
        stderr(&output).contains("cannot write no/such/folder.svg"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn without_a_file_requests_are_generated_and_said_to_be() {
    let folder = Folder::new("replay-generated");
    let mut command = command("replay", &["--requests", "5000", "--max-age", "1h"]);
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
        ["100", "1,000", "10,000", "100,000", "no limit"]
    );
    assert!(
        column(&output, "oldest age")[2].starts_with("59 min "),
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
    assert_eq!(
        count_in_svg(&folder.path().join("replay.svg"), "circle class=\"hits\""),
        4
    );
}

#[test]
fn no_requests_at_all_are_no_error() {
    let folder = Folder::new("replay-nothing");
    for args in [
        &["--requests", "0"][..],
        &["-"],
        &["--max-bytes", "1,2", "--max-age", "1s", "-"],
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
fn wrong_options_and_missing_files_end_with_code_2_and_say_why() {
    for (args, reason) in [
        (&["--max-entries", "0"][..], "above zero"),
        (&["--max-entries", "10,,20"], "a size is a whole number"),
        (&["--max-entries", "many"], "many"),
        (&["--max-entries", "99999999999G"], "within reach"),
        (&["--max-entries", "3G"], "a bound that cannot be reached"),
        (&["--max-bytes", "1.5M"], "1.5M"),
        (&["--max-bytes", "10T"], "k, M, G, Ki, Mi or Gi"),
        (
            &["--max-entries", "1,2", "--max-bytes", "1,2"],
            "but not of both",
        ),
        (&["--max-age", "0s"], "`ttl` is zero"),
        (&["--max-idle", "24"], "a time is a whole number"),
        (&["--max-age"], "--max-age"),
        (
            &["--columns", "seq,bytes", "-"],
            "no column is named \"key\"",
        ),
        (
            &["--columns", "key,time,time", "-"],
            "two columns are named \"time\"",
        ),
        (&["--columns", "key"], "need a file"),
        (&["--time-unit", "s"], "need a file"),
        (&["--time-unit", "h", "-"], "s or ms"),
        (
            &["--svg", "curve.svg", "--max-entries", "5", "-"],
            "--svg is for several sizes",
        ),
        (&["--requests", "5", "-"], "for generated input"),
        (&["--nonsense"], "--nonsense"),
        (&["-", "-"], "unexpected argument"),
        (
            &["there/is/no/such.file"],
            "cannot read there/is/no/such.file",
        ),
        (
            &["--max-bytes", "5", "-"],
            "--max-bytes needs a column \"bytes\", and the columns are: key",
        ),
        (
            &["--max-age", "5s", "-"],
            "--max-age needs a column \"time\"",
        ),
        (
            &["--max-idle", "5s", "-"],
            "--max-idle needs a column \"time\"",
        ),
        (
            &["--time-unit", "s", "-"],
            "--time-unit needs a column \"time\"",
        ),
    ] {
        let output = replay(args, b"a\nb\n");
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
    let output = replay(&["-"], b"1,2,a,5,x\n");
    assert!(
        stderr(&output).contains("the first line has 5 columns; say what they are"),
        "{}",
        stderr(&output)
    );
    let output = replay(&["-"], b"key,key\na,b\n");
    assert!(
        stderr(&output).contains("two columns are named \"key\""),
        "{}",
        stderr(&output)
    );
}

#[test]
fn help_names_every_option() {
    let output = replay(&["--help"], b"");
    assert_eq!(output.status.code(), Some(0));
    for option in "max-entries max-bytes max-age max-idle columns time-unit svg requests".split(' ')
    {
        assert!(
            stdout(&output).contains(&format!("  --{option} ")),
            "{option}"
        );
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let output = run_unread(command(
        "replay",
        &["--requests", "100", "--max-entries", "5"],
    ));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_real_trace_has_its_known_answers() {
    let Some(path) = real_input("web-requests.csv.gz") else {
        return;
    };
    let folder = Folder::new("replay-real");
    let mut command = command("replay", &["--max-entries", "100,1000,10000,100000", &path]);
    command.current_dir(folder.path());
    let output = run(command, b"");
    assert_eq!(figure(&output, "input"), "66,988 lines, of which 0 bad");
    assert_eq!(figure(&output, "requests"), "66,987");
    assert_eq!(figure(&output, "distinct keys"), "36,815");
    assert_eq!(figure(&output, "bytes asked for"), "485,457,552");
    // The smaller ones by a list in order of use, kept by hand.
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
