//! The layers of the modules are those of the page about the internals.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/internals.md");

/// Returns the layer of each top-level module, the highest first.
fn layers() -> BTreeMap<String, usize> {
    let (_, diagram) = PAGE.split_once("```text\n").expect("a diagram");
    let (diagram, _) = diagram.split_once("```").expect("an end");
    let mut layers = BTreeMap::new();
    let mut layer = 0;
    for line in diagram.lines() {
        // Names end at two spaces, behind which the description begins.
        let names = line.trim_start().split("  ").next().unwrap_or_default();
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            layers.insert(name.to_owned(), layer);
        }
        if !names.ends_with(',') {
            layer += 1;
        }
    }
    layers
}

/// Returns the top-level modules that a source file names in code.
fn imports(source: &str) -> impl Iterator<Item = &str> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|path| {
            path.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default()
        })
}

fn for_each_source(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_source(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn modules_import_only_from_lower_layers() {
    let layers = layers();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for_each_source(&root, &mut |path, source| {
        let inner = path.strip_prefix(&root).unwrap().with_extension("");
        let module = inner.iter().next().unwrap().to_str().unwrap();
        // The root exports everything, `docs` has pages only, and tests may import what they test.
        if matches!(module, "lib" | "docs") || inner.ends_with("tests") {
            return;
        }
        let layer = layers
            .get(module)
            .unwrap_or_else(|| panic!("{module} is in no layer"));
        for imported in imports(source).filter(|&imported| imported != module) {
            let below = layers.get(imported);
            let below = below
                .unwrap_or_else(|| panic!("{}: crate::{imported} is no module", path.display()));
            assert!(
                layer < below,
                "{}: {imported} is not below {module}",
                path.display()
            );
            checked += 1;
        }
    });
    assert!(checked > 300, "only {checked} imports were found");
}
