//! Gatehouse's own scripts: bundled with esbuild where it is installed, else served as they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde::Deserialize;

use crate::js;
use crate::problem::{Outcome, Problem};
use crate::tree::Tree;

/// Scripts that pages load, without `.js`; `proof` is a worker's, `session` is for pages of other origins.
const ENTRIES: [&str; 5] = ["chat", "documents", "proof", "session", "shared"];

/// All of Gatehouse's JavaScript together, bundled and uncompressed: 88 KiB × 1,024 bytes. Unbundled scripts are for
/// development alone and are not weighed.
const BUDGET: usize = 88 * 1024;

/// What a page loads before anything is asked of it: 48 KiB × 1,024 bytes.
const FIRST_LOAD: usize = 48 * 1024;

/// Where esbuild writes what imports what; it is not served.
const META: &str = "meta.json";

/// The one package that the scripts import, and the file of it that a browser can load.
const PACKAGE: (&str, &str) = ("streaming-markdown", "smd.min.js");

/// What a build of the scripts gave.
pub struct Scripts {
    /// Files to stand under `gatehouse/`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Something the person who builds should know.
    pub warning: Option<String>,
}

/// Builds the scripts of `folder`, with packages and esbuild looked up from `root`.
///
/// # Errors
/// A script that does not build, a missing package, or more JavaScript than the budget.
pub fn build(root: &Path, folder: &Path) -> Outcome<Scripts> {
    let scripts = match esbuild(root) {
        Some(program) => {
            let mut files = bundled(&program, folder)?;
            let meta = files.remove(META).unwrap_or_default();
            check_budget(files.values().map(Vec::len).sum::<usize>(), folder)?;
            check_first_loads(&meta, folder)?;
            Scripts {
                files,
                warning: None,
            }
        }
        None => Scripts {
            files: unbundled(root, folder)?,
            warning: Some(
                "esbuild was not found (npm ci installs it); the scripts are served unbundled"
                    .to_owned(),
            ),
        },
    };
    Ok(scripts)
}

fn check_budget(size: usize, folder: &Path) -> Outcome<()> {
    if size > BUDGET {
        let reason = format!(
            "the scripts are {size} bytes together, the budget is {BUDGET}; remove code or raise the budget"
        );
        return Err(Problem::new(folder.display().to_string(), reason));
    }
    Ok(())
}

/// What esbuild tells of what it wrote.
#[derive(Deserialize)]
struct Meta {
    outputs: BTreeMap<String, Output>,
}

#[derive(Deserialize)]
struct Output {
    bytes: usize,
    #[serde(default)]
    imports: Vec<Import>,
}

#[derive(Deserialize)]
struct Import {
    path: String,
    kind: String,
}

impl Meta {
    /// Bytes of a file with all that it imports at once, which leaves out what it imports when it is asked to.
    fn first_load(&self, path: &str) -> usize {
        let (mut seen, mut open) = (BTreeSet::from([path]), vec![path]);
        let mut size: usize = 0;
        while let Some(output) = open.pop().and_then(|path| self.outputs.get(path)) {
            size = size.saturating_add(output.bytes);
            for import in &output.imports {
                if import.kind == "import-statement" && seen.insert(&import.path) {
                    open.push(&import.path);
                }
            }
        }
        size
    }
}

fn check_first_loads(meta: &[u8], folder: &Path) -> Outcome<()> {
    let wrong = |reason: String| Problem::new(folder.display().to_string(), reason);
    let meta: Meta = serde_json::from_slice(meta).map_err(|error| wrong(error.to_string()))?;
    for path in meta.outputs.keys() {
        let name = Path::new(path).file_stem().unwrap_or_default();
        let size = meta.first_load(path);
        if ENTRIES.iter().any(|entry| *entry == name) && size > FIRST_LOAD {
            return Err(wrong(format!(
                "{path} loads {size} bytes at once, the budget is {FIRST_LOAD}; import later what is needed later"
            )));
        }
    }
    Ok(())
}

/// The program that npm installed, beside the packages that it bundles.
fn esbuild(root: &Path) -> Option<PathBuf> {
    let name = if cfg!(windows) {
        "esbuild.cmd"
    } else {
        "esbuild"
    };
    let installed = root.join("node_modules/.bin").join(name);
    installed.exists().then_some(installed)
}

fn bundled(program: &Path, folder: &Path) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let out = env::temp_dir().join(format!("gatehouse-scripts-{}", std::process::id()));
    let result = Command::new(program)
        .args(ENTRIES.map(|entry| format!("{}/{entry}.js", folder.display())))
        .args([
            "--bundle",
            "--splitting",
            "--minify",
            "--format=esm",
            "--target=es2022",
        ])
        .args([
            "--charset=utf8",
            "--legal-comments=none",
            "--log-level=error",
            "--chunk-names=[name]-[hash]",
        ])
        .arg(format!("--outdir={}", out.display()))
        .arg(format!("--metafile={}", out.join(META).display()))
        .output()
        .map_err(|error| Problem::new(program.display().to_string(), error.to_string()));
    let files = result.and_then(|result| {
        if !result.status.success() {
            let reason = String::from_utf8_lossy(&result.stderr).trim().to_owned();
            return Err(Problem::new(folder.display().to_string(), reason));
        }
        Tree::read(&out)
    });
    // A leftover in the temporary folder harms nobody.
    let _ = fs::remove_dir_all(&out);
    Ok(files?.files)
}

fn unbundled(root: &Path, folder: &Path) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let (package, file) = PACKAGE;
    let source = root.join("node_modules").join(package).join(file);
    let library = fs::read(&source).map_err(|error| {
        Problem::new(
            source.display().to_string(),
            format!("{error}; run npm ci first"),
        )
    })?;
    let mut tree = Tree::read(folder)?;
    for path in tree.files.keys().cloned().collect::<Vec<_>>() {
        if let Some(text) = tree.text(&path) {
            let text = js::rewrite(text, |specifier| {
                (specifier == package).then(|| format!("./{file}"))
            });
            tree.put(path, text);
        }
    }
    tree.files.insert(file.to_owned(), library);
    Ok(tree.files)
}

/// The licence of the package whose code the scripts carry, if it is installed.
pub fn licence(root: &Path) -> Option<String> {
    let places = [
        root.join("node_modules"),
        PathBuf::from(env::var_os("NODE_PATH").unwrap_or_default()),
    ];
    let text = places
        .iter()
        .find_map(|place| fs::read_to_string(place.join(PACKAGE.0).join("license")).ok())?;
    Some(format!("{}\n\n{}\n", PACKAGE.0, text.trim()))
}

#[cfg(test)]
mod tests {
    use super::{BUDGET, FIRST_LOAD, check_budget, check_first_loads, unbundled};
    use std::fs;
    use std::path::Path;

    #[test]
    fn a_byte_over_the_budget_fails_the_build() {
        assert!(check_budget(BUDGET, Path::new("js")).is_ok());
        let problem = check_budget(BUDGET + 1, Path::new("js")).unwrap_err();
        assert!(problem.reason.contains("90113 bytes"), "{problem}");
    }

    #[test]
    fn a_page_is_weighed_with_what_it_imports_at_once_and_not_with_what_it_imports_later() {
        let check = |own: usize, kind: &str| {
            let meta = format!(
                r#"{{"inputs":{{}},"outputs":{{
                    "out/documents.js":{{"bytes":{own},"imports":[{{"path":"out/a.js","kind":"import-statement"}}]}},
                    "out/a.js":{{"bytes":10,"imports":[{{"path":"out/b.js","kind":"{kind}"}}]}},
                    "out/b.js":{{"bytes":20,"imports":[{{"path":"out/a.js","kind":"import-statement"}}]}}}}}}"#
            );
            check_first_loads(meta.as_bytes(), Path::new("js"))
        };
        assert!(check(FIRST_LOAD - 30, "import-statement").is_ok());
        assert!(check(FIRST_LOAD - 10, "dynamic-import").is_ok());
        let problem = check(FIRST_LOAD - 29, "import-statement").unwrap_err();
        assert!(problem.reason.contains("49153 bytes"), "{problem}");
        assert!(check_first_loads(b"", Path::new("js")).is_err());
    }

    #[test]
    fn without_esbuild_the_package_is_served_beside_the_scripts() {
        let root =
            std::env::temp_dir().join(format!("gatehouse-site-bundle-{}", std::process::id()));
        fs::create_dir_all(root.join("node_modules/streaming-markdown")).unwrap();
        fs::create_dir_all(root.join("js")).unwrap();
        fs::write(
            root.join("js/chat.js"),
            "import * as smd from 'streaming-markdown'; import './sse.js'",
        )
        .unwrap();
        let missing = unbundled(&root, &root.join("js")).unwrap_err();
        fs::write(root.join("node_modules/streaming-markdown/smd.min.js"), "x").unwrap();
        let files = unbundled(&root, &root.join("js")).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(missing.reason.contains("npm ci"), "{missing}");
        let chat = String::from_utf8(files["chat.js"].clone()).unwrap();
        assert_eq!(
            chat,
            "import * as smd from \"./smd.min.js\"; import './sse.js'"
        );
        assert_eq!(files["smd.min.js"], b"x");
    }
}
