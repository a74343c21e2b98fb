//! The `[site]` table of `gatehouse.toml`, and what else pages depend on. The rest of the file is checked when the Worker is built.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::problem::{Outcome, Problem};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    site: Site,
    #[serde(default)]
    session: Session,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Session {
    proof: String,
}

/// What the operator says about the site.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Site {
    /// Folder of the operator's pages, relative to the root.
    pub dir: String,
    /// Name of the site, as plain text.
    pub title: String,
    /// Do visitors prove themselves to Turnstile? Then pages may load it.
    #[serde(skip)]
    pub turnstile: bool,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            dir: "static".to_owned(),
            title: "Gatehouse".to_owned(),
            turnstile: false,
        }
    }
}

/// Reads `gatehouse.toml`; without the file, or without the table, the defaults hold.
///
/// # Errors
/// A file that is not TOML, or a value of another type.
pub fn read(root: &Path) -> Outcome<Site> {
    let Ok(text) = fs::read_to_string(root.join("gatehouse.toml")) else {
        return Ok(Site::default());
    };
    parse(&text)
}

fn parse(text: &str) -> Outcome<Site> {
    let file: File = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Problem::at("gatehouse.toml", text, start, error.message())
    })?;
    Ok(Site {
        turnstile: file.session.proof == "turnstile",
        ..file.site
    })
}

#[cfg(test)]
mod tests {
    use super::{Site, parse};

    #[test]
    fn other_tables_do_not_matter_and_missing_keys_have_defaults() {
        let site = parse("[site]\ndir = \"public\"\n[server]\nx = 1\n").unwrap();
        assert_eq!(
            site,
            Site {
                dir: "public".to_owned(),
                ..Site::default()
            }
        );
        assert_eq!(parse("").unwrap(), Site::default());
    }

    #[test]
    fn only_the_word_itself_lets_turnstile_in() {
        let of = |text: &str| parse(text).unwrap().turnstile;
        assert!(of("[session]\nproof = \"turnstile\"\nttl_seconds = 60\n"));
        assert!(!of("[session]\nproof = \"work\"\n"));
        assert!(!of("[session]\nturnstile_site_key = \"x\"\n"));
        assert!(!of(""));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        assert!(
            parse("[site]\ndir = 3\n")
                .unwrap_err()
                .to_string()
                .starts_with("gatehouse.toml:2: ")
        );
    }
}
