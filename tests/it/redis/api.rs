//! The client crate is an implementation detail.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is readable");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Returns `true` if code, not a comment, names an item of the client crate.
fn names_the_client(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("redis::").any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|before| before == ':' || before == '_' || before.is_alphanumeric())
    })
}

#[test]
fn only_one_private_file_names_the_client_crate() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let client = folder.join("redis/client.rs");
    for path in sources(&folder) {
        let source = fs::read_to_string(&path).expect("a source is text");
        if path == client {
            // No item of this file can be re-exported to users.
            assert!(source.lines().any(names_the_client));
            let is_public = |line: &str| line.trim_start().starts_with("pub ");
            assert!(!source.lines().any(is_public));
            // A trait for a type of the client, or with it, would be public as well.
            let of_others = |line: &&str| {
                let is_ours = ["impl Client {", "impl Connection for Client {"].contains(line);
                line.starts_with("impl") && !is_ours
            };
            assert_eq!(source.lines().find(of_others), None);
        } else {
            let named = source.lines().find(|line| names_the_client(line));
            assert_eq!(named, None, "{}", path.display());
        }
    }
}
