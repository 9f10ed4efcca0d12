//! Rules of the source itself that a compiler does not check: a type's name means one thing, files
//! stay readable, and a room knows only the rooms below it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The longest file, in lines.
const LONGEST: usize = 600;

/// Rooms of `driftglass` from the lowest to the highest: each may use those before it.
const ROOMS: [&str; 10] =
    ["store", "source", "embed", "alert", "incident", "engine", "query", "serve", "generate", "cli"];

/// Every Rust file of the two crates, tests left out, with its text before its own unit tests.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("crates/core/src")];
    let mut out = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if name != "tests" && name != "simulation" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "conformance.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                out.push((path.strip_prefix(root).unwrap().to_owned(), code));
            }
        }
    }
    assert!(out.len() > 200, "{} files", out.len());
    out
}

/// The type that a line declares, if it does; associated types and local types are left out.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub").map_or(line, |rest| {
        let rest = rest.strip_prefix('(').and_then(|r| r.split_once(')')).map_or(rest, |r| r.1);
        rest.trim_start()
    });
    let kinds = ["struct ", "enum ", "trait ", "union ", "type "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[test]
fn a_name_of_a_type_means_one_thing() {
    assert_eq!(declared("pub(super) struct Names<'a>(u8);"), Some("Names"));
    assert_eq!(declared("pub enum Kind {"), Some("Kind"));
    assert_eq!(declared("    type Value = u8;"), None);
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (path, code) in sources() {
        for name in code.lines().filter_map(declared) {
            places.entry(name.to_owned()).or_default().push(path.clone());
        }
    }
    assert!(places.len() > 400, "{} names", places.len());
    places.retain(|_, of| of.len() > 1);
    assert!(places.is_empty(), "defined more than once: {places:#?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<_> = sources().into_iter().filter(|(_, code)| code.lines().count() > LONGEST).collect();
    assert!(long.is_empty(), "split by purpose: {:?}", long.iter().map(|l| &l.0).collect::<Vec<_>>());
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let rank = |room: &str| ROOMS.iter().position(|r| *r == room);
    let mut upwards = Vec::new();
    for (path, code) in sources() {
        let Ok(inner) = path.strip_prefix("src") else { continue };
        let room = inner.iter().next().unwrap().to_str().unwrap();
        let Some(own) = rank(room) else { continue };
        for after in code.split("crate::").skip(1) {
            let used = after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if rank(used).is_some_and(|r| r > own) {
                upwards.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    upwards.sort();
    upwards.dedup();
    assert!(upwards.is_empty(), "{upwards:#?}");
}
