//! The last step: the finished tree takes the place of the old folder, whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::problem::{Outcome, Problem};
use crate::tree::Tree;

/// Writes `tree` beside `out` and swaps the two. Returns false when `out` already holds exactly this.
///
/// # Errors
/// A file that cannot be written, or a folder that cannot be renamed; the old folder then stays.
pub fn publish(tree: &Tree, out: &Path) -> Outcome<bool> {
    if stands(tree, out) {
        return Ok(false);
    }
    let (fresh, old) = (sibling(out, "new"), sibling(out, "old"));
    let wrong = |path: &Path, error: std::io::Error| {
        Problem::new(path.display().to_string(), error.to_string())
    };
    if let Err(problem) = tree.write(&fresh) {
        let _ = fs::remove_dir_all(&fresh);
        return Err(problem);
    }
    if out.exists() {
        fs::rename(out, &old).map_err(|error| wrong(out, error))?;
    }
    if let Err(error) = fs::rename(&fresh, out) {
        let _ = fs::rename(&old, out);
        let _ = fs::remove_dir_all(&fresh);
        return Err(wrong(out, error));
    }
    if old.exists() {
        fs::remove_dir_all(&old).map_err(|error| wrong(&old, error))?;
    }
    Ok(true)
}

/// Are these the files of `out`, dotfiles included, byte for byte?
fn stands(tree: &Tree, out: &Path) -> bool {
    Tree::read(out).is_ok_and(|standing| standing == *tree)
}

/// `build/site` → `build/.site.new-<process>`; the process id keeps two builds at once apart.
fn sibling(out: &Path, purpose: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(format!(".{purpose}-{}", std::process::id()));
    out.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::{publish, sibling};
    use crate::tree::Tree;
    use std::fs;

    fn tree(path: &str, text: &str) -> Tree {
        let mut tree = Tree::default();
        tree.put(path, text);
        tree
    }

    #[test]
    fn a_new_site_replaces_the_old_one_whole() {
        let folder =
            std::env::temp_dir().join(format!("gatehouse-site-publish-{}", std::process::id()));
        let out = folder.join("site");
        assert!(publish(&tree("a/old.html", "1"), &out).unwrap());
        assert!(
            !publish(&tree("a/old.html", "1"), &out).unwrap(),
            "the same site is not written again"
        );
        assert!(publish(&tree("new.html", "2"), &out).unwrap());
        assert_eq!(Tree::read(&out).unwrap(), tree("new.html", "2"));

        // A site that cannot be written whole leaves the one that stands.
        let mut impossible = tree("x", "a file");
        impossible.put("x/y", "and a folder of the same name");
        assert!(publish(&impossible, &out).is_err());
        assert_eq!(Tree::read(&out).unwrap(), tree("new.html", "2"));
        assert!(!sibling(&out, "new").exists() && !sibling(&out, "old").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
