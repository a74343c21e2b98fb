//! Addresses of the site: how a file is reached, and what a reference in a page means.
//!
//! The rules are those of Workers static assets with `html_handling = "auto-trailing-slash"`.

use crate::tree::Tree;

/// The address of a file: `about.html` is `/about`, `docs/index.html` is `/docs/`.
pub fn of_file(path: &str) -> String {
    let bare = path.strip_suffix(".html").unwrap_or(path);
    match bare.strip_suffix("index") {
        Some(folder) if bare != path && (folder.is_empty() || folder.ends_with('/')) => {
            format!("/{folder}")
        }
        _ => format!("/{bare}"),
    }
}

/// The file that answers a path without its leading `/`.
pub fn find<'a>(tree: &'a Tree, path: &str) -> Option<&'a str> {
    let trimmed = path.trim_end_matches('/');
    let candidates = [
        path.to_owned(),
        format!("{path}index.html"),
        format!("{trimmed}.html"),
        format!("{trimmed}/index.html"),
    ];
    candidates.iter().find_map(|candidate| {
        tree.files
            .get_key_value(candidate.as_str())
            .map(|(path, _)| path.as_str())
    })
}

/// A reference to something on this site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Decoded path without its leading `/`.
    pub path: String,
    /// Query and fragment as written, each with its mark.
    pub rest: String,
}

impl Reference {
    /// The fragment without its mark, percent-decoded.
    pub fn fragment(&self) -> Option<String> {
        self.rest
            .split_once('#')
            .map(|(_, fragment)| percent_decode(fragment))
    }
}

/// Reads a reference as it stands in the file `from`; nothing for other sites and other schemes.
pub fn resolve(from: &str, reference: &str) -> Option<Reference> {
    let reference = reference.trim();
    if has_scheme(reference) || reference.starts_with("//") {
        return None;
    }
    let split = reference.find(['?', '#']).unwrap_or(reference.len());
    let (path, rest) = reference.split_at_checked(split)?;
    let rest = rest.to_owned();
    if path.is_empty() {
        return Some(Reference {
            path: from.to_owned(),
            rest,
        });
    }
    let decoded = percent_decode(path);
    let mut parts: Vec<&str> = match decoded.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').collect(),
    };
    parts.pop();
    for part in decoded.trim_start_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    Some(Reference {
        path: parts.join("/"),
        rest,
    })
}

/// RFC 3986, section 3.1: a letter, then letters, digits, `+`, `-`, `.`, then a colon.
fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// RFC 3986, section 2.1. A sequence that is not UTF-8 is left as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|_| first == b'%');
        let value = pair
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{find, of_file, resolve};
    use crate::tree::Tree;

    #[test]
    fn pages_lose_their_extension() {
        assert_eq!(of_file("index.html"), "/");
        assert_eq!(of_file("docs/index.html"), "/docs/");
        assert_eq!(of_file("about.html"), "/about");
        assert_eq!(of_file("my-index.html"), "/my-index");
        assert_eq!(of_file("a/index"), "/a/index");
        assert_eq!(of_file("app.js"), "/app.js");
    }

    #[test]
    fn references_resolve_against_the_page() {
        let path = |from, reference| resolve(from, reference).map(|r| r.path);
        assert_eq!(path("a/b.html", "c.css").as_deref(), Some("a/c.css"));
        assert_eq!(path("a/b.html", "../c.css?v=1#x").as_deref(), Some("c.css"));
        assert_eq!(path("a/b.html", "/x/./y.js").as_deref(), Some("x/y.js"));
        assert_eq!(path("a/b.html", "../../../c").as_deref(), Some("c"));
        assert_eq!(
            path("a/b.html", "my%20file.png").as_deref(),
            Some("a/my file.png")
        );
        assert_eq!(path("a/b.html", "#here").as_deref(), Some("a/b.html"));
        assert_eq!(path("a/b.html", "a:b"), None);
        assert_eq!(path("a/b.html", "//cdn.example/x.js"), None);
        assert_eq!(path("a/b.html", "./a:b").as_deref(), Some("a/a:b"));
        assert_eq!(
            resolve("a.html", "b?q=1#%E4%B8%AD")
                .and_then(|r| r.fragment())
                .as_deref(),
            Some("中")
        );
    }

    #[test]
    fn a_broken_percent_sequence_is_kept() {
        assert_eq!(
            resolve("a", "100%25%").map(|r| r.path).as_deref(),
            Some("100%%")
        );
        assert_eq!(resolve("a", "%zz").map(|r| r.path).as_deref(), Some("%zz"));
    }

    #[test]
    fn a_page_is_found_with_and_without_its_extension() {
        let mut tree = Tree::default();
        tree.put("docs/index.html", "");
        tree.put("about.html", "");
        assert_eq!(find(&tree, "docs"), Some("docs/index.html"));
        assert_eq!(find(&tree, "docs/"), Some("docs/index.html"));
        assert_eq!(find(&tree, "about"), Some("about.html"));
        assert_eq!(find(&tree, "about.html"), Some("about.html"));
        assert_eq!(find(&tree, "nothing"), None);
        tree.put("index.html", "");
        assert_eq!(find(&tree, ""), Some("index.html"));
    }
}
