//! Names that stand in several files must agree: wrangler.toml, the code, the entry and the docs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gatehouse::base::errors::CATALOGUE;
use gatehouse::domain::settings::{embedded, names};
use toml::{Table, Value};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn wrangler() -> Table {
    read("wrangler.toml").parse().unwrap()
}

/// The top level (development) and every `[env.NAME]`.
fn environments() -> Vec<(String, Table)> {
    let top = wrangler();
    let mut all = vec![("development".to_owned(), top.clone())];
    for (name, table) in top["env"].as_table().unwrap() {
        all.push((name.clone(), table.as_table().unwrap().clone()));
    }
    all
}

fn objects(environment: &Table) -> BTreeSet<(String, String)> {
    environment["durable_objects"]["bindings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| {
            (
                b["name"].as_str().unwrap().to_owned(),
                b["class_name"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn names_of(environment: &Table, list: &str) -> BTreeSet<String> {
    let items = environment
        .get(list)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    items
        .iter()
        .map(|item| item["binding"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_environment_has_the_same_bindings_as_the_code() {
    let expected: BTreeSet<(String, String)> = names::OBJECTS
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect();
    let all = environments();
    let known: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        known,
        BTreeSet::from(["development", "staging", "production", "test"])
    );
    for (name, environment) in &all {
        assert_eq!(objects(environment), expected, "{name}");
        assert_eq!(
            names_of(environment, "kv_namespaces"),
            BTreeSet::from([names::CACHE.to_owned()]),
            "{name}"
        );
        assert_eq!(
            names_of(environment, "r2_buckets"),
            BTreeSet::from([names::DOCUMENTS.to_owned()]),
            "{name}"
        );
        assert_eq!(
            environment["vars"][names::ENVIRONMENT].as_str(),
            Some(name.as_str())
        );
    }
    assert_eq!(
        wrangler()["assets"]["binding"].as_str(),
        Some(names::ASSETS)
    );
}

#[test]
fn environments_share_no_store() {
    let mut buckets = BTreeSet::new();
    let mut workers = BTreeSet::new();
    for (name, environment) in environments() {
        let bucket = environment["r2_buckets"][0]["bucket_name"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(buckets.insert(bucket), "{name} shares a bucket");
        assert!(
            workers.insert(environment["name"].as_str().unwrap().to_owned()),
            "{name} shares a name"
        );
    }
}

#[test]
fn every_object_class_is_migrated_once_and_exported() {
    let wrangler = wrangler();
    let migrated: Vec<String> = wrangler["migrations"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|m| m["new_sqlite_classes"].as_array().unwrap().clone())
        .map(|class| class.as_str().unwrap().to_owned())
        .collect();
    let classes: Vec<&str> = names::OBJECTS.iter().map(|(_, class)| *class).collect();
    assert_eq!(migrated, classes);
    let entry = read("src/edge/entry.js");
    for class in classes {
        assert!(
            entry.contains(&format!("export class {class} ")),
            "entry.js does not export {class}"
        );
    }
}

#[test]
fn the_worker_wakes_for_its_own_paths_alone() {
    let patterns: Vec<String> = wrangler()["assets"]["run_worker_first"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        patterns,
        [
            "/v1/*", "/api/*", "/admin", "/admin/*", "/ask", "/healthz", "/readyz"
        ]
    );
}

#[test]
fn every_variable_and_secret_is_documented() {
    let config = embedded().unwrap();
    let mut wanted: BTreeSet<String> = names::VARIABLES.iter().map(|v| (*v).to_owned()).collect();
    for provider in &config.providers {
        wanted.extend(provider.key.clone());
        wanted.extend(provider.base_url_var.clone());
    }
    for target in config.aliases.iter().flat_map(|alias| &alias.targets) {
        wanted.extend(target.model_var.clone());
    }
    let docs = read("docs/configuration.md");
    for name in &wanted {
        assert!(
            docs.contains(&format!("`{name}`")),
            "docs/configuration.md does not name {name}"
        );
    }
    let example = read(".dev.vars.example");
    for name in wanted
        .iter()
        .filter(|name| name.ends_with("_KEY") || name.ends_with("_URL"))
    {
        assert!(
            example.contains(&format!("{name}=")),
            ".dev.vars.example does not name {name}"
        );
    }
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let docs = read("docs/configuration.md");
    let value = serde_json::to_value(embedded().unwrap()).unwrap();
    let mut keys = BTreeSet::new();
    collect_keys(&value, &mut keys);
    for key in keys {
        assert!(
            (docs.contains(&format!("`{key}`")) || docs.contains(&format!("`[[{key}]]`"))),
            "docs/configuration.md does not name {key}"
        );
    }
}

fn collect_keys(value: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                keys.insert(key.clone());
                collect_keys(value, keys);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

#[test]
fn the_architecture_page_names_what_there_is() {
    let page = read("ARCHITECTURE.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Every path in backquotes that looks like one of ours exists.
    for word in page.split('`').skip(1).step_by(2) {
        let ours = ["src/", "tests/", "tools/", "static/", "docs/"]
            .iter()
            .any(|prefix| word.starts_with(prefix));
        if ours && !word.contains(['*', '<', ' ']) {
            assert!(
                root.join(word).exists(),
                "ARCHITECTURE.md names {word}, which does not exist"
            );
        }
    }
    // And every module stands on the page.
    for floor in ["base", "domain", "app", "edge"] {
        for entry in fs::read_dir(root.join("src").join(floor)).unwrap() {
            let name = entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .replace(".rs", "")
                .replace(".js", "");
            if name != "mod" {
                assert!(
                    page.contains(&format!("`{name}`")),
                    "ARCHITECTURE.md does not name {floor}/{name}"
                );
            }
        }
    }
}

#[test]
fn every_error_code_is_used_or_explained() {
    let mut code = String::new();
    for entry in walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        code.push_str(&fs::read_to_string(entry).unwrap());
    }
    for entry in &CATALOGUE {
        let camel: String = entry
            .code
            .split('_')
            .map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..]))
            .collect();
        assert!(
            code.contains(&format!("Code::{camel}")),
            "nothing answers with {}",
            entry.code
        );
    }
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn nothing_is_downloaded_from_a_named_host_by_the_build() {
    for name in [
        "tools/setup.mjs",
        "tools/build.mjs",
        "tools/lib.mjs",
        "package.json",
        "Cargo.toml",
    ] {
        let text = read(name);
        for line in text.lines().filter(|line| line.contains("://")) {
            assert!(
                line.contains("rustup.rs")
                    || line.contains("localhost")
                    || line.contains("127.0.0.1"),
                "{name} names a host: {line}"
            );
        }
    }
}
