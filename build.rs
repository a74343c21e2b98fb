//! Turns `gatehouse.toml` and `src/errors.toml` into what the Worker embeds. Nothing else: an edit of a page never
//! recompiles Rust.

#[path = "src/domain/settings/config/mod.rs"]
#[allow(dead_code, unused_imports)]
mod config;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

const ENVIRONMENTS: [&str; 4] = ["development", "staging", "production", "test"];

fn main() {
    for input in [
        "gatehouse.toml",
        "src/errors.toml",
        "src/domain/settings/config",
        "build.rs",
    ] {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let steps = [
        ("catalogue.rs", catalogue("src/errors.toml")),
        ("config.json", configurations("gatehouse.toml")),
    ];
    let mut failed = false;
    for (name, made) in steps {
        match made {
            Ok(text) => {
                if let Err(error) = std::fs::write(out.join(name), text) {
                    println!("cargo::error={name}: {error}");
                    failed = true;
                }
            }
            Err(reasons) => {
                for reason in reasons {
                    println!("cargo::error={}", reason.replace('\n', " "));
                }
                failed = true;
            }
        }
    }
    if failed {
        std::process::exit(1);
    }
}

fn read(file: &str) -> Result<String, Vec<String>> {
    std::fs::read_to_string(Path::new(file)).map_err(|error| vec![format!("{file}: {error}")])
}

// === gatehouse.toml ===

/// JSON of every environment's configuration: `{"development": {…}, …}`.
fn configurations(file: &str) -> Result<String, Vec<String>> {
    let text = read(file)?;
    let mut base: toml::Table =
        toml::from_str(&text).map_err(|error| vec![format!("{file}: {error}")])?;
    let overlays = match base.remove("env") {
        None => toml::Table::new(),
        Some(toml::Value::Table(table)) => table,
        Some(_) => return Err(vec![format!("{file}: env: must be tables [env.NAME]")]),
    };
    let mut faults = Vec::new();
    for name in overlays.keys() {
        if !ENVIRONMENTS.contains(&name.as_str()) {
            faults.push(format!(
                "{file}: env.{name}: there is no such environment; use one of {}",
                ENVIRONMENTS.join(", ")
            ));
        }
    }
    let mut all = BTreeMap::new();
    for environment in ENVIRONMENTS {
        let mut merged = base.clone();
        if let Some(toml::Value::Table(overlay)) = overlays.get(environment) {
            merge(&mut merged, overlay);
        }
        match serde_path_to_error::deserialize::<_, config::Config>(toml::Value::Table(merged)) {
            Err(error) => faults.push(format!(
                "{file}: [{environment}] {}: {}",
                error.path(),
                error.inner()
            )),
            Ok(config) => {
                faults.extend(
                    config
                        .faults()
                        .iter()
                        .map(|fault| format!("{file}: [{environment}] {fault}")),
                );
                all.insert(environment, config);
            }
        }
    }
    faults.dedup();
    if !faults.is_empty() {
        return Err(faults);
    }
    serde_json::to_string(&all).map_err(|error| vec![format!("{file}: {error}")])
}

/// Tables are merged key by key; everything else is replaced.
fn merge(base: &mut toml::Table, overlay: &toml::Table) {
    for (key, value) in overlay {
        match (base.get_mut(key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge(below, above),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

// === src/errors.toml ===

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    status: u16,
    fault: String,
    retryable: bool,
    severity: String,
    openai: [String; 2],
    anthropic: String,
    en: Text,
    zh: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    title: String,
    fix: String,
}

/// Anthropic's documented error types; any other would be read as unknown by its SDK.
const ANTHROPIC_TYPES: [&str; 10] = [
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
];

/// Rust source of `Code` and `CATALOGUE`.
fn catalogue(file: &str) -> Result<String, Vec<String>> {
    let text = read(file)?;
    let entries: BTreeMap<String, Entry> =
        toml::from_str(&text).map_err(|error| vec![format!("{file}: {error}")])?;
    let mut faults = Vec::new();
    for (code, entry) in &entries {
        faults.extend(
            check(code, entry)
                .into_iter()
                .map(|reason| format!("{file}: {code}: {reason}")),
        );
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(render(&entries))
}

fn check(code: &str, entry: &Entry) -> Vec<String> {
    let mut faults = Vec::new();
    let mut unless = |holds: bool, reason: &str| {
        if !holds {
            faults.push(reason.to_owned());
        }
    };
    unless(
        code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
        "a code is lower-case letters and '_'",
    );
    unless(
        (400..600).contains(&entry.status),
        "status must be an error status",
    );
    unless(
        ["caller", "operator", "upstream", "gatehouse"].contains(&entry.fault.as_str()),
        "fault must be caller, operator, upstream or gatehouse",
    );
    unless(
        ["info", "warn", "error", "critical"].contains(&entry.severity.as_str()),
        "severity must be info, warn, error or critical",
    );
    unless(
        ANTHROPIC_TYPES.contains(&entry.anthropic.as_str()),
        "anthropic must be one of Anthropic's error types",
    );
    unless(
        entry.fault == "caller" || entry.status >= 500,
        "a status below 500 blames the caller",
    );
    unless(
        [&entry.en, &entry.zh]
            .iter()
            .all(|t| !t.title.is_empty() && !t.fix.is_empty()),
        "title and fix are needed in every language",
    );
    faults
}

fn render(entries: &BTreeMap<String, Entry>) -> String {
    let mut source = String::from(
        "/// Every error that Gatehouse can answer with.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub enum Code {\n",
    );
    for (code, entry) in entries {
        let _ = writeln!(
            source,
            "    /// {} ({}).\n    {},",
            entry.en.title,
            entry.status,
            camel(code)
        );
    }
    source.push_str("}\n\nimpl Code {\n    /// Every code, in the order of the catalogue.\n    pub const ALL: &'static [Self] = &[");
    for code in entries.keys() {
        let _ = write!(source, "Self::{}, ", camel(code));
    }
    source.push_str("];\n\n    /// The row of the catalogue.\n    #[must_use]\n    pub const fn entry(self) -> &'static Entry {\n        match self {\n");
    for (row, code) in entries.keys().enumerate() {
        let _ = writeln!(
            source,
            "            Self::{} => &CATALOGUE[{row}],",
            camel(code)
        );
    }
    source.push_str("        }\n    }\n\n    /// The code of that name.\n    #[must_use]\n    pub fn from_name(name: &str) -> Option<Self> {\n        match name {\n");
    for code in entries.keys() {
        let _ = writeln!(
            source,
            "            {code:?} => Some(Self::{}),",
            camel(code)
        );
    }
    source.push_str("            _ => None,\n        }\n    }\n}\n\n");
    let _ = writeln!(
        source,
        "/// The catalogue, sorted by code.\npub static CATALOGUE: [Entry; {}] = [",
        entries.len()
    );
    for (code, e) in entries {
        let _ = writeln!(
            source,
            "    Entry {{ code: {code:?}, status: {}, fault: Fault::{}, retryable: {}, severity: Severity::{}, \
             openai_type: {:?}, openai_code: {:?}, anthropic_type: {:?}, \
             en: Text {{ title: {:?}, fix: {:?} }}, zh: Text {{ title: {:?}, fix: {:?} }} }},",
            e.status,
            camel(&e.fault),
            e.retryable,
            camel(&e.severity),
            e.openai[0],
            e.openai[1],
            e.anthropic,
            e.en.title,
            e.en.fix,
            e.zh.title,
            e.zh.fix
        );
    }
    source.push_str("];\n");
    source
}

fn camel(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|c| c.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        })
        .collect()
}
