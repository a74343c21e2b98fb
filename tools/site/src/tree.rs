//! A folder held in memory: paths with `/`, without a leading one, in byte order.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::problem::{Outcome, Problem};

/// Files by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Path to bytes.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// Reads a folder. Names that start with a dot are left out, `.well-known` excepted.
    ///
    /// # Errors
    /// A folder or file that cannot be read, or a name that is not UTF-8.
    pub fn read(folder: &Path) -> Outcome<Self> {
        let mut tree = Self::default();
        tree.read_into(folder, "")?;
        Ok(tree)
    }

    fn read_into(&mut self, folder: &Path, prefix: &str) -> Outcome<()> {
        let unreadable =
            |error: std::io::Error| Problem::new(folder.display().to_string(), error.to_string());
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let shown = path.display().to_string();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(Problem::new(
                    shown,
                    "the name is not valid UTF-8; rename the file",
                ));
            };
            if name.starts_with('.') && name != ".well-known" {
                continue;
            }
            let inside = format!("{prefix}{name}");
            if path.is_dir() {
                self.read_into(&path, &format!("{inside}/"))?;
            } else {
                let bytes =
                    fs::read(&path).map_err(|error| Problem::new(shown, error.to_string()))?;
                self.files.insert(inside, bytes);
            }
        }
        Ok(())
    }

    /// Writes every file under `folder`, which is made.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub fn write(&self, folder: &Path) -> Outcome<()> {
        for (path, bytes) in &self.files {
            let target = folder.join(path);
            let made = target.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| fs::write(&target, bytes))
                .map_err(|error| Problem::new(target.display().to_string(), error.to_string()))?;
        }
        Ok(())
    }

    /// The file's text, or nothing when there is no such file or it is not UTF-8.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files
            .get(path)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Adds or replaces a text file.
    pub fn put(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.files.insert(path.into(), text.into().into_bytes());
    }

    /// Paths of the pages, in order.
    pub fn pages(&self) -> Vec<String> {
        self.files
            .keys()
            .filter(|path| is_page(path))
            .cloned()
            .collect()
    }
}

/// Is this path an HTML page?
pub fn is_page(path: &str) -> bool {
    matches!(extension(path), Some("html" | "htm"))
}

/// What stands after the last dot of the file's name.
pub fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, extension)| extension)
}

#[cfg(test)]
mod tests {
    use super::{Tree, extension};
    use std::fs;

    #[test]
    fn dotfiles_stay_out_and_well_known_comes_in() {
        let folder =
            std::env::temp_dir().join(format!("gatehouse-site-tree-{}", std::process::id()));
        fs::create_dir_all(folder.join(".well-known")).unwrap();
        fs::create_dir_all(folder.join(".git")).unwrap();
        for name in [".env", ".git/config", ".well-known/security.txt", "a.txt"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let tree = Tree::read(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            tree.files.keys().collect::<Vec<_>>(),
            [".well-known/security.txt", "a.txt"]
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let problem = Tree::read(std::path::Path::new("/nonexistent/site")).unwrap_err();
        assert_eq!(problem.file, "/nonexistent/site");
    }

    #[test]
    fn an_extension_belongs_to_the_name_and_not_to_a_folder() {
        assert_eq!(extension("a.b/c"), None);
        assert_eq!(extension("a.b/c.css"), Some("css"));
    }
}
