//! The floor plan, held mechanically: imports point down, and only `edge` knows the platform.

use std::fs;
use std::path::{Path, PathBuf};

const FLOORS: [&str; 4] = ["base", "domain", "app", "edge"];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// (file below src, its text without comment lines)
fn files() -> Vec<(String, String)> {
    sources(&root())
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            let text = fs::read_to_string(&path).unwrap();
            let code: Vec<&str> = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect();
            (name, code.join("\n"))
        })
        .collect()
}

/// Every `crate::a::b` that a text names, as (a, b).
fn crate_paths(code: &str) -> Vec<(String, String)> {
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| {
            let path: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
                .collect();
            let mut parts = path.split("::").map(str::to_owned);
            let first = parts.next().unwrap_or_default();
            let second = parts.next().unwrap_or_default();
            // `use crate::app::{a, b}`: the floor is what counts, the names follow in braces.
            vec![(first, second)]
        })
        .collect()
}

fn floor_of(name: &str) -> Option<usize> {
    FLOORS
        .iter()
        .position(|floor| name.split('/').next() == Some(floor))
}

#[test]
fn imports_point_down() {
    for (name, code) in files() {
        let Some(own) = floor_of(&name) else { continue };
        for (floor, _) in crate_paths(&code) {
            let Some(other) = FLOORS.iter().position(|f| *f == floor) else {
                continue;
            };
            assert!(
                other <= own,
                "{name} imports from {floor}, which lies above it"
            );
        }
    }
}

#[test]
fn domain_modules_use_only_those_declared_before_them() {
    let declared = fs::read_to_string(root().join("domain/mod.rs")).unwrap();
    // Numbered lines of its head: `//! 1. `settings`: …`.
    let order: Vec<&str> = declared
        .lines()
        .filter_map(|line| {
            line.strip_prefix("//! ")?
                .split_once(". `")?
                .1
                .split('`')
                .next()
        })
        .collect();
    let modules = declared
        .lines()
        .filter(|line| line.starts_with("pub mod "))
        .count();
    assert_eq!(
        order.len(),
        modules,
        "every module has its place in the list: {order:?}"
    );
    let place = |module: &str| order.iter().position(|m| *m == module);
    for (name, code) in files() {
        let Some(rest) = name.strip_prefix("domain/") else {
            continue;
        };
        let own = rest.split('/').next().unwrap().trim_end_matches(".rs");
        let Some(own_place) = place(own) else {
            assert_eq!(own, "mod", "{name} is not declared in domain/mod.rs");
            continue;
        };
        for (floor, module) in crate_paths(&code) {
            if floor != "domain" {
                continue;
            }
            let other = place(&module).unwrap_or_else(|| {
                panic!("{name} names domain::{module} in a form this test cannot read")
            });
            assert!(
                other <= own_place,
                "{name} uses domain::{module}, which is declared after {own}"
            );
        }
    }
}

#[test]
fn only_the_edge_knows_the_platform() {
    let forbidden = [
        "worker::",
        "js_sys",
        "web_sys",
        "wasm_bindgen",
        "getrandom",
        "SystemTime",
        "Instant::now",
        "std::thread",
        "std::net::Tcp",
        "std::fs",
    ];
    for (name, code) in files() {
        if name.starts_with("edge/") {
            continue;
        }
        // Tests inside a module may do what they like.
        let code = code.split("#[cfg(test)]").next().unwrap();
        for word in forbidden {
            assert!(!code.contains(word), "{name} names {word}");
        }
    }
}

#[test]
fn one_line_alone_tells_the_targets_apart() {
    let lines: usize = files()
        .iter()
        .map(|(_, code)| code.matches("target_arch").count())
        .sum();
    assert_eq!(lines, 1, "lib.rs has the only cfg(target_arch)");
    let front_door = fs::read_to_string(root().join("lib.rs")).unwrap();
    assert!(front_door.contains("#[cfg(target_arch = \"wasm32\")]\npub mod edge;"));
    assert!(front_door.lines().count() <= 60);
}

#[test]
fn every_module_says_what_it_is() {
    for path in sources(&root())
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
    {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} has no head", path.display());
    }
}

#[test]
fn a_secret_can_be_neither_shown_nor_written() {
    let secret = fs::read_to_string(root().join("base/secret.rs")).unwrap();
    let derives = secret
        .lines()
        .find(|line| line.starts_with("#[derive"))
        .unwrap();
    for name in ["Debug", "Display", "Serialize"] {
        assert!(!derives.contains(name));
        assert!(!secret.contains(&format!("{name} for Secret")));
    }
}
