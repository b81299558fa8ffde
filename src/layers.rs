//! A module imports only modules that stand below it in `lib.rs`, and only some modules know some libraries.

use std::fs;
use std::path::{Path, PathBuf};

/// From the top down, as `lib.rs` lists them.
const ORDER: [&str; 14] = [
    "cli",
    "http",
    "replay",
    "router",
    "cache",
    "decide",
    "prompt",
    "llm",
    "store",
    "index",
    "embed",
    "telemetry",
    "config",
    "background",
];
/// Libraries, and the only folders or files that may name them.
const KNOWN_BY: [(&str, &[&str]); 4] = [
    ("axum::", &["http/"]),
    ("rocksdb::", &["store/embedded/"]),
    ("candle_core::", &["embed/"]),
    ("jsonschema::", &["llm/"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Each source's path below `src`, and its text without comments.
fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        (path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), code.join("\n"))
    };
    found.into_iter().map(read).collect()
}

fn module_of(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn no_module_imports_one_that_stands_above_it() {
    let place = |name: &str| ORDER.iter().position(|module| *module == name);
    let mut wrong = Vec::new();
    for (path, code) in all() {
        let Some(own) = place(module_of(&path)) else { continue };
        for rest in code.split("crate::").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if place(&name).is_some_and(|other| other < own) {
                wrong.push(format!("{path} imports crate::{name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn libraries_are_known_where_they_belong() {
    let mut wrong = Vec::new();
    for (path, code) in all() {
        // This list names them too.
        if path == "layers.rs" {
            continue;
        }
        for (library, folders) in KNOWN_BY {
            if code.contains(library) && !folders.iter().any(|folder| path.starts_with(folder)) {
                wrong.push(format!("{path} names {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_order_is_that_of_the_library() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let listed = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    assert_eq!(listed.collect::<Vec<_>>(), ORDER);
}
