//! Builds the site that Gatehouse serves: the operator's pages and Gatehouse's own, with hashed names, headers, error
//! pages and the search index. `gatehouse-site --root . --out build/site`

mod address;
mod bundle;
mod catalogue;
mod css;
mod docs;
mod fingerprint;
mod hashes;
mod headers;
mod headings;
mod html;
mod js;
mod layout;
mod links;
mod models;
mod passages;
mod problem;
mod publish;
mod settings;
mod site;
mod template;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use gatehouse::base::time::Millis;

const USAGE: &str = "usage: gatehouse-site [--root FOLDER] [--out FOLDER]";

fn main() -> ExitCode {
    let Some((root, out)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let built = match site::build(&root, now()) {
        Ok(built) => built,
        Err(problems) => return refuse(&problems),
    };
    for warning in &built.warnings {
        eprintln!("warning: {warning}");
    }
    match publish::publish(&built.tree, &out) {
        Ok(changed) => {
            let size: usize = built.tree.files.values().map(Vec::len).sum();
            let state = if changed { "written" } else { "unchanged" };
            println!(
                "site: {} files, {} KiB, {state} in {}",
                built.tree.files.len(),
                size / 1024,
                out.display()
            );
            ExitCode::SUCCESS
        }
        Err(problem) => refuse(&[problem]),
    }
}

/// `SOURCE_DATE_EPOCH` (reproducible-builds.org) where it is set, in seconds; else the clock.
fn now() -> Millis {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    given
        .and_then(|text| text.parse().ok())
        .map_or_else(clock, Millis::from_secs)
}

#[expect(clippy::disallowed_methods, reason = "this is the program's edge")]
fn clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Millis::from_secs(since.map_or(0, |time| time.as_secs()))
}

fn refuse(problems: &[problem::Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    eprintln!("the site was not built; the last one stands");
    ExitCode::FAILURE
}

/// Root and output folder, or nothing when the arguments are not understood.
fn arguments(mut given: impl Iterator<Item = String>) -> Option<(PathBuf, PathBuf)> {
    let (mut root, mut out) = (PathBuf::from("."), None);
    while let Some(name) = given.next() {
        let value = PathBuf::from(given.next()?);
        match name.as_str() {
            "--root" => root = value,
            "--out" => out = Some(value),
            _ => return None,
        }
    }
    let out = out.unwrap_or_else(|| root.join("build/site"));
    Some((root, out))
}

#[cfg(test)]
mod tests {
    use super::arguments;
    use std::path::PathBuf;

    fn given(text: &str) -> Option<(PathBuf, PathBuf)> {
        arguments(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_have_defaults_and_unknown_ones_are_refused() {
        assert_eq!(
            given(""),
            Some((PathBuf::from("."), PathBuf::from("./build/site")))
        );
        assert_eq!(
            given("--root a --out b"),
            Some((PathBuf::from("a"), PathBuf::from("b")))
        );
        assert_eq!(given("--root"), None);
        assert_eq!(given("--help x"), None);
    }
}
