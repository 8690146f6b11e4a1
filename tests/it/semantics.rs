//! The page of promises: it names existing tests only, and at least one per promise.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/semantics.md");

/// Returns the code spans that have the form of a test: file and function.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_name = |part: &str| {
        part.chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '/'))
    };
    let code = text.split('`').skip(1).step_by(2);
    code.filter_map(|code| code.split_once("::"))
        .filter(move |(file, function)| is_name(file) && is_name(function))
}

/// Returns the names of the tests in a file.
fn tests_of(file: &str) -> BTreeSet<String> {
    let folder = if file.starts_with("src/") {
        ""
    } else if file.starts_with("loom/") {
        "tests/"
    } else {
        "tests/it/"
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{folder}{file}.rs"));
    let source =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let after_mark = source
        .split("#[test]")
        .skip(1)
        .filter_map(|rest| rest.split_once("fn "));
    after_mark
        .filter_map(|(_, rest)| rest.split_once('('))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let named: BTreeSet<_> = named(PAGE).collect();
    assert!(named.len() > 100, "the page names {} tests", named.len());
    let missing: Vec<_> = named
        .into_iter()
        .filter(|(file, function)| !tests_of(file).contains(*function))
        .collect();
    assert!(
        missing.is_empty(),
        "the page names tests that are not there: {missing:?}"
    );
}

#[test]
fn every_promise_names_a_test() {
    // A promise begins with its number at the start of a line.
    let is_promise = |line: &str| {
        line.split_once(". ")
            .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    let lines: Vec<&str> = PAGE.lines().collect();
    let begins: Vec<usize> = (0..lines.len())
        .filter(|&at| is_promise(lines[at]))
        .collect();
    assert!(begins.len() > 60, "the page has {} promises", begins.len());
    for (at, &begin) in begins.iter().enumerate() {
        let end = begins.get(at + 1).copied().unwrap_or(lines.len());
        let promise = lines[begin..end].join("\n");
        let own = promise.split("\n## ").next().unwrap_or_default();
        assert!(
            named(own).next().is_some(),
            "no test holds: {}",
            lines[begin]
        );
    }
}
