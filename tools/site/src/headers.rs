//! The `_headers` file: security headers for every asset, and a year of caching for hashed names.
//!
//! Limits of Workers static assets: 100 rules, 2,000 characters in a line. A longer line is dropped with no more than a
//! warning when the site is deployed, and its policy with it, so the build refuses it at 1,900.

use std::collections::BTreeSet;

use gatehouse::base::headers::{CONTENT_SECURITY_POLICY, SECURITY_HEADERS};

use crate::fingerprint::{self, MARK};
use crate::hashes;
use crate::html::Survey;
use crate::problem::{Outcome, Problem};
use crate::tree::{Tree, extension};

/// Characters in a line.
const LONGEST_LINE: usize = 1_900;

/// Rules in the file.
const MOST_RULES: usize = 100;

/// Where Turnstile's script and frame are from, as Cloudflare's documentation of its content security policy has it.
const TURNSTILE: &str = "https://challenges.cloudflare.com";

/// A year: 365 × 86,400 s. RFC 8246 lets a browser skip revalidation.
const KEPT_FOR_A_YEAR: &str = "public, max-age=31536000, immutable";

/// Headers of every asset beside those that API answers carry too.
///
/// A form sent under `no-referrer` carries `Origin: null` (Fetch, section 3.2), which the Worker could not tell from a
/// foreign page; so pages keep their referrer for their own origin.
const PAGES_ONLY: [(&str, &str); 4] = [
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Writes `_headers`; an operator's own rules follow Gatehouse's. `turnstile` lets pages load Cloudflare Turnstile, and
/// nothing else of that host.
///
/// # Errors
/// A line or a number of rules that the platform would drop.
pub fn render<'a>(
    tree: &Tree,
    surveys: impl Iterator<Item = &'a Survey>,
    turnstile: bool,
) -> Outcome<String> {
    let policy = policy(surveys, turnstile);
    let mut text = format!("/*\n  Content-Security-Policy: {policy}\n");
    let shared = SECURITY_HEADERS
        .iter()
        .filter(|(name, _)| PAGES_ONLY.iter().all(|(own, _)| own != name));
    for (name, value) in shared.chain(&PAGES_ONLY) {
        text.push_str(&format!("  {name}: {value}\n"));
    }
    let hashed = tree
        .files
        .keys()
        .filter(|path| fingerprint::is_hashed(path));
    for extension in hashed
        .filter_map(|path| extension(path))
        .collect::<BTreeSet<_>>()
    {
        text.push_str(&format!(
            "/*.{MARK}.{extension}\n  Cache-Control: {KEPT_FOR_A_YEAR}\n"
        ));
    }
    text.push_str("/gatehouse/*\n  X-Robots-Tag: noindex\n");
    // Pages of other origins import the session's script; whoever can reach the site can read it anyway.
    text.push_str("/gatehouse/*.js\n  Access-Control-Allow-Origin: *\n");
    text.push_str("/docs/*.md\n  Content-Type: text/markdown; charset=utf-8\n");
    if let Some(own) = tree.text("_headers") {
        text.push_str(own);
    }
    check(&text)?;
    Ok(text)
}

/// The policy of all pages: the base one, with the hashes of the inline code that the operator's pages hold.
fn policy<'a>(surveys: impl Iterator<Item = &'a Survey>, turnstile: bool) -> String {
    let (mut scripts, mut styles) = (BTreeSet::new(), BTreeSet::new());
    for survey in surveys {
        scripts.extend(
            survey
                .scripts
                .iter()
                .map(|text| hashes::source_expression(text)),
        );
        styles.extend(
            survey
                .styles
                .iter()
                .map(|text| hashes::source_expression(text)),
        );
    }
    let directives = CONTENT_SECURITY_POLICY
        .split(';')
        .map(str::trim)
        .filter(|directive| !directive.is_empty());
    let directives = directives.map(|directive| {
        let extra = match directive.split_whitespace().next() {
            Some("script-src") => &scripts,
            Some("style-src") => &styles,
            _ => return directive.to_owned(),
        };
        extra
            .iter()
            .fold(directive.to_owned(), |all, hash| format!("{all} {hash}"))
    });
    let directives = directives.map(|directive| {
        if turnstile && directive.starts_with("script-src ") {
            format!("{directive} {TURNSTILE}; frame-src {TURNSTILE}")
        } else {
            directive
        }
    });
    directives.collect::<Vec<_>>().join("; ")
}

fn check(text: &str) -> Outcome<()> {
    for (number, line) in text.lines().enumerate() {
        let length = line.chars().count();
        if length > LONGEST_LINE {
            let name = line.trim().split(':').next().unwrap_or_default();
            return Err(Problem {
                file: "_headers".to_owned(),
                line: Some(number + 1),
                reason: format!(
                    "{name} is {length} characters long, the limit is {LONGEST_LINE}; move inline scripts and styles into files"
                ),
            });
        }
    }
    let is_rule = |line: &&str| {
        !line.starts_with(char::is_whitespace) && !line.trim().is_empty() && !line.starts_with('#')
    };
    let rules = text.lines().filter(is_rule).count();
    if rules > MOST_RULES {
        return Err(Problem::new(
            "_headers",
            format!("{rules} rules, the limit is {MOST_RULES}; use fewer in your own _headers"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CONTENT_SECURITY_POLICY, Survey, hashes, render};
    use crate::tree::Tree;

    fn page(scripts: &[&str], styles: &[&str]) -> Survey {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Survey {
            scripts: owned(scripts),
            styles: owned(styles),
            ..Survey::default()
        }
    }

    #[test]
    fn without_inline_code_the_policy_is_the_base_one() {
        let text = render(&Tree::default(), [].iter(), false).unwrap();
        assert!(
            text.starts_with(&format!(
                "/*\n  Content-Security-Policy: {CONTENT_SECURITY_POLICY}\n"
            )),
            "{text}"
        );
    }

    #[test]
    fn turnstile_is_let_in_alone_and_only_when_it_is_chosen() {
        let text = render(&Tree::default(), [page(&["a"], &[])].iter(), true).unwrap();
        let (policy, _) = text.split_once("\n  x-").unwrap();
        let host = "https://challenges.cloudflare.com";
        let expected = format!(
            "script-src 'self' {} {host}; frame-src {host};",
            hashes::source_expression("a")
        );
        assert!(policy.contains(&expected), "{policy}");
        assert_eq!(policy.matches(host).count(), 2);
        let without = render(&Tree::default(), [].iter(), false).unwrap();
        assert!(!without.contains(host) && !without.contains("frame-src"));
    }

    #[test]
    fn inline_code_is_allowed_by_its_hash_once() {
        let text = render(
            &Tree::default(),
            [page(&["a"], &["b"]), page(&["a"], &[])].iter(),
            false,
        )
        .unwrap();
        let (a, b) = (
            hashes::source_expression("a"),
            hashes::source_expression("b"),
        );
        assert!(text.contains(&format!("script-src 'self' {a};")), "{text}");
        assert!(text.contains(&format!("style-src 'self' {b};")), "{text}");
    }

    #[test]
    fn a_line_that_the_platform_would_drop_fails_the_build() {
        let many: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let scripts: Vec<&str> = many.iter().map(String::as_str).collect();
        let problem = render(&Tree::default(), [page(&scripts, &[])].iter(), false).unwrap_err();
        assert!(
            problem
                .to_string()
                .starts_with("_headers:2: Content-Security-Policy is "),
            "{problem}"
        );
    }

    #[test]
    fn more_rules_than_the_platform_reads_fail_the_build() {
        let mut tree = Tree::default();
        tree.put(
            "_headers",
            (0..100)
                .map(|number| format!("/{number}\n  X-A: b\n"))
                .collect::<String>(),
        );
        assert!(
            render(&tree, [].iter(), false)
                .unwrap_err()
                .reason
                .contains("rules")
        );
    }

    #[test]
    fn hashed_names_are_kept_for_a_year_and_others_are_not() {
        let mut tree = Tree::default();
        tree.put("js/a.0123456789ab.immutable.js", "");
        tree.put("js/a.js", "");
        tree.put("b.css", "");
        let text = render(&tree, [].iter(), false).unwrap();
        assert!(
            text.contains(
                "/*.immutable.js\n  Cache-Control: public, max-age=31536000, immutable\n"
            ),
            "{text}"
        );
        assert_eq!(text.matches("Cache-Control").count(), 1);
    }
}
