//! A strict reader of the text that Prometheus scrapes.

use std::collections::{BTreeMap, BTreeSet};

/// The series of a page with their values.
pub type Scraped = BTreeMap<String, f64>;

/// Reads a page; or says which line is wrong.
pub fn parse(page: &str) -> Result<Scraped, String> {
    if !page.is_empty() && !page.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let (mut types, mut helped) = (BTreeMap::new(), BTreeSet::new());
    let mut scraped = Scraped::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        let wrong = |why: &str| Err(format!("{why}: {line:?}"));
        if let Some(help) = line.strip_prefix("# HELP ") {
            let Some((name, _)) = help.split_once(' ') else {
                return wrong("no help");
            };
            if !is_name(name) || !helped.insert(name) {
                return wrong("help of no name, or a second one");
            }
        } else if let Some(about) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = about.split_once(' ') else {
                return wrong("no type");
            };
            if !is_name(name)
                || !["counter", "gauge"].contains(&kind)
                || types.insert(name, kind).is_some()
            {
                return wrong("type of no name, of no kind, or a second one");
            }
        } else {
            let Some((series, value)) = line.rsplit_once(' ') else {
                return wrong("no value");
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            match types.get(name) {
                None => return wrong("a series without a type"),
                Some(kind) if (*kind == "counter") != name.ends_with("_total") => {
                    return wrong("a counter's name");
                }
                Some(_) => {}
            }
            if !labels.strip_suffix('}').is_some_and(are_labels) {
                return wrong("labels");
            }
            let Ok(value) = value.parse() else {
                return wrong("no number");
            };
            if scraped.insert(series.to_owned(), value).is_some() {
                return wrong("a series twice");
            }
        }
    }
    Ok(scraped)
}

fn is_name(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_first)
        && name
            .bytes()
            .all(|byte| is_first(byte) || byte.is_ascii_digit())
}

/// `name="value",…`, with backslashes before quotes, backslashes and line ends.
fn are_labels(mut rest: &str) -> bool {
    while let Some((name, quoted)) = rest.split_once("=\"") {
        let mut escaped = false;
        let end = quoted.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        let Some(end) = end.filter(|_| is_name(name)) else {
            return false;
        };
        rest = &quoted[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) if !more.is_empty() => rest = more,
            _ => break,
        }
    }
    rest.is_empty()
}
