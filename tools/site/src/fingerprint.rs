//! Hashed names: what a page loads is also served as `name.<hash>.immutable.<extension>`, which may be kept for a year.
//!
//! A copy stands beside its original, so relative references inside it stay true, and the original keeps its name for
//! whoever asks by it. Stylesheets and scripts are hashed after the references in them have been replaced.

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::Outcome;
use crate::tree::{Tree, extension, is_page};
use crate::{address, css, hashes, html, js};

/// Marks a hashed name. One header rule per extension then covers every folder.
pub const MARK: &str = "immutable";

/// Hexadecimal digits of the hash in a name: 12 × 4 = 48 bits, ample against accidents among one site's files.
const DIGITS: usize = 12;

/// Gives everything that the pages load a hashed copy, and points the pages at the copies.
///
/// # Errors
/// A page that cannot be read as HTML.
pub fn run(tree: &mut Tree) -> Outcome<()> {
    let mut names = Names {
        tree,
        done: BTreeMap::new(),
        open: BTreeSet::new(),
    };
    for page in names.tree.pages() {
        let Some(text) = names.tree.text(&page).map(str::to_owned) else {
            continue;
        };
        let rewritten =
            html::rewrite_loaded(&page, &text, |reference| names.hashed(&page, reference))?;
        names.tree.put(page, rewritten);
    }
    Ok(())
}

struct Names<'a> {
    tree: &'a mut Tree,
    /// Original path to hashed path, or nothing for a file that must keep its name.
    done: BTreeMap<String, Option<String>>,
    /// Files whose references are being replaced: meeting one again means a cycle.
    open: BTreeSet<String>,
}

impl Names<'_> {
    /// The hashed address for a reference in the file `from`, if its target is a file of this site.
    fn hashed(&mut self, from: &str, reference: &str) -> Option<String> {
        let target = address::resolve(from, reference)?;
        let path = self.name(&target.path)?;
        Some(format!("/{path}{}", target.rest))
    }

    fn name(&mut self, path: &str) -> Option<String> {
        if let Some(known) = self.done.get(path) {
            return known.clone();
        }
        if is_page(path)
            || !self.tree.files.contains_key(path)
            || !self.open.insert(path.to_owned())
        {
            return None;
        }
        self.replace_references(path);
        self.open.remove(path);
        let bytes = self.tree.files.get(path)?.clone();
        let name = hashed_name(path, &bytes);
        if let Some(name) = &name {
            self.tree.files.insert(name.clone(), bytes);
        }
        self.done.insert(path.to_owned(), name.clone());
        name
    }

    fn replace_references(&mut self, path: &str) {
        let Some(text) = self.tree.text(path).map(str::to_owned) else {
            return;
        };
        let rewritten = match extension(path) {
            Some("css") => css::rewrite(&text, |reference| self.hashed(path, reference)),
            Some("js" | "mjs") => js::rewrite(&text, |specifier| {
                let is_path = ["./", "../", "/"]
                    .iter()
                    .any(|start| specifier.starts_with(start));
                is_path.then(|| self.hashed(path, specifier)).flatten()
            }),
            _ => return,
        };
        self.tree.put(path, rewritten);
    }
}

/// `js/app.js` → `js/app.3f2a4b5c6d7e.immutable.js`; a name without an extension stays.
fn hashed_name(path: &str, bytes: &[u8]) -> Option<String> {
    let extension = extension(path)?;
    let stem = path.strip_suffix(extension)?.strip_suffix('.')?;
    let hash = hashes::hex(bytes);
    Some(format!("{stem}.{}.{MARK}.{extension}", hash.get(..DIGITS)?))
}

/// Is this a hashed copy?
pub fn is_hashed(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|name| name.contains(&format!(".{MARK}.")))
}

#[cfg(test)]
mod tests {
    use super::{is_hashed, run};
    use crate::tree::Tree;

    fn built(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.put(*path, *text);
        }
        run(&mut tree).unwrap();
        tree
    }

    fn hashed<'a>(tree: &'a Tree, stem: &str) -> &'a str {
        tree.files
            .keys()
            .find(|path| path.starts_with(stem) && is_hashed(path))
            .unwrap()
    }

    #[test]
    fn a_chain_of_references_is_hashed_from_its_end() {
        let files = [
            ("a/p.html", "<link rel=stylesheet href=s.css>"),
            ("a/s.css", "b{c:url(../i.png)}"),
            ("i.png", "1"),
        ];
        let tree = built(&files);
        let image = hashed(&tree, "i.");
        let style = hashed(&tree, "a/s.");
        assert_eq!(
            tree.text(style).unwrap(),
            format!("b{{c:url(\"/{image}\")}}")
        );
        assert!(
            tree.text("a/p.html")
                .unwrap()
                .contains(&format!("\"/{style}\""))
        );
        assert!(tree.files.contains_key("i.png") && tree.files.contains_key("a/s.css"));

        let mut changed = files;
        changed[2].1 = "2";
        let after = built(&changed);
        assert_ne!(
            hashed(&after, "a/s."),
            style,
            "a stylesheet's name must change with what it loads"
        );
    }

    #[test]
    fn modules_that_import_each_other_still_load() {
        let tree = built(&[
            ("p.html", "<script type=module src=a.js></script>"),
            (
                "a.js",
                "import './b.js'; import 'bare'; import './missing.js'",
            ),
            ("b.js", "import './a.js'"),
        ]);
        let b = hashed(&tree, "b.").to_owned();
        assert_eq!(tree.text(&b).unwrap(), "import './a.js'");
        let a = tree.text(hashed(&tree, "a.")).unwrap();
        assert_eq!(
            a,
            format!("import \"/{b}\"; import 'bare'; import './missing.js'")
        );
    }

    #[test]
    fn pages_queries_and_other_sites_keep_their_meaning() {
        let html = "<img src=\"i.svg?x=1&amp;y=2#z\"><img src=\"https://e.example/i.svg\"><object data=q.html></object>";
        let tree = built(&[("p.html", html), ("i.svg", "<svg/>"), ("q.html", "")]);
        let image = hashed(&tree, "i.");
        assert_eq!(
            tree.text("p.html").unwrap(),
            format!(
                "<img src=\"/{image}?x=1&amp;y=2#z\"><img src=\"https://e.example/i.svg\"><object data=q.html></object>"
            )
        );
        assert_eq!(tree.files.len(), 4);
    }
}
