//! A module imports only modules that stand below it in `lib.rs`, some have no circles inside, and only some know some libraries.

use std::collections::{BTreeMap, BTreeSet};
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

/// Modules without circles: no file imports one that imports it, through others or not.
const WITHOUT_CIRCLES: [&str; 5] = ["cache", "decide", "http", "llm", "router"];

/// A file's module, as `cache::learning`.
fn module_path(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.replace('/', "::")
}

/// What a `use` names, braces expanded: `a::{b, c::d}` are `a::b` and `a::c::d`.
fn named(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut parts, mut depth, mut begun) = (Vec::new(), 0, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[begun..at]);
                begun = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[begun..]);
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(named).map(|part| format!("{}{part}", head.trim())).collect()
}

/// The modules that the code of `module` imports, of `modules`. Tests may import what they like, and what a module exports of
/// its parts isn't imported.
fn imports(module: &str, code: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let uses = code.split("\nuse ").skip(1).filter_map(|rest| rest.split(';').next());
    let target = |path: String| {
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        let full = match path.split_once("::")? {
            ("crate", rest) => rest.to_owned(),
            ("self", rest) => format!("{module}::{rest}"),
            ("super", rest) => match rest.strip_prefix("super::") {
                Some(rest) => format!("{}::{rest}", parent.rsplit_once("::")?.0),
                None => format!("{parent}::{rest}"),
            },
            (first, _) if modules.contains(&format!("{module}::{first}")) => format!("{module}::{path}"),
            _ => return None,
        };
        let mut found = full.as_str();
        while !modules.contains(found) {
            found = found.rsplit_once("::")?.0;
        }
        Some(found.to_owned())
    };
    uses.flat_map(named).filter_map(target).filter(|target| target != module).collect()
}

/// A circle that begins and ends at `module`, if there is one.
fn circle(module: &str, imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let (mut ways, mut seen) = (vec![vec![module.to_owned()]], BTreeSet::new());
    while let Some(way) = ways.pop() {
        for next in way.last().and_then(|last| imports.get(last)).into_iter().flatten() {
            let further: Vec<String> = way.iter().chain([next]).cloned().collect();
            if next == module {
                return Some(further);
            }
            if seen.insert(next.clone()) {
                ways.push(further);
            }
        }
    }
    None
}

#[test]
fn modules_have_no_circles() {
    for top in WITHOUT_CIRCLES {
        let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
        let files: Vec<(String, String)> =
            all().into_iter().filter(|(path, _)| module_of(path) == top && !is_test(path)).collect();
        let modules: BTreeSet<String> = files.iter().map(|(path, _)| module_path(path)).collect();
        let imported: BTreeMap<String, BTreeSet<String>> =
            files.iter().map(|(path, code)| (module_path(path), imports(&module_path(path), code, &modules))).collect();
        assert!(imported.values().map(BTreeSet::len).sum::<usize>() > modules.len(), "{top} imports nothing?");
        let circles: Vec<_> = modules.iter().filter_map(|module| circle(module, &imported)).collect();
        assert!(circles.is_empty(), "{circles:#?}");
    }
}

#[test]
fn circles_are_found() {
    let modules: BTreeSet<String> = ["m", "m::a", "m::a::b", "m::c"].map(str::to_owned).into();
    let of = |module: &str, code: &str| (module.to_owned(), imports(module, code, &modules));
    let code = [
        of("m::a", "\nuse super::c::{D, e::{F, g}};\nuse std::fmt;"),
        of("m::a::b", "\nuse super::super::c::D;"),
        of("m::c", "\nuse crate::m::a::b::{self, H};\n#[cfg(test)]\nuse super::a::X;"),
    ];
    assert_eq!(code[0].1, ["m::c".to_owned()].into());
    assert_eq!(code[2].1, ["m::a::b".to_owned()].into());
    let imported: BTreeMap<_, _> = code.into();
    assert_eq!(circle("m::c", &imported), Some(["m::c", "m::a::b", "m::c"].map(str::to_owned).to_vec()));
    assert_eq!(circle("m::a", &imported), None);
}
