//! One build, from the inputs to the finished tree. Every step is a function of the tree before it.

use std::collections::BTreeMap;
use std::path::Path;

use gatehouse::base::time::Millis;
use gatehouse::domain::answer::{Index, Passage};
use serde::Serialize;

use crate::html::Survey;
use crate::layout::{Language, Layout, Page};
use crate::problem::{Outcome, Problem};
use crate::tree::{Tree, is_page};
use crate::{
    address, bundle, catalogue, docs, fingerprint, hashes, headers, headings, html, links, models,
    passages, settings,
};

/// Folder of Gatehouse's own pages, relative to the root.
const PAGES: &str = "tools/site/pages";

/// The description of the API, in `docs` and at the top of the site.
const API: &str = "openapi.json";

/// Addresses that belong to Gatehouse: an operator's file there would break its pages.
const RESERVED: [&str; 3] = ["gatehouse/", "docs/errors/", "zh/docs/errors/"];

/// A finished site.
pub struct Built {
    /// Everything that is served.
    pub tree: Tree,
    /// What will not work as its author meant, but does not stop the build.
    pub warnings: Vec<String>,
}

/// Builds the site of the checkout at `root`. `now` decides which prices are shown.
///
/// # Errors
/// All problems that stopped the build.
pub fn build(root: &Path, now: Millis) -> Result<Built, Vec<Problem>> {
    // 1. Read the inputs.
    let site = settings::read(root).map_err(alone)?;
    let operator = operators(root, &site.dir).map_err(alone)?;
    let layout = Layout {
        templates: Tree::read(&root.join(PAGES)).map_err(alone)?,
        site_title: site.title,
    };
    let made = vec![models::document(&layout, now).map_err(alone)?];
    let source = Tree::read(&root.join("docs")).map_err(alone)?;
    let documents = docs::read(&source, made).map_err(alone)?;
    let scripts = bundle::build(root, &root.join(PAGES).join("js")).map_err(alone)?;
    let mut warnings: Vec<String> = scripts.warning.into_iter().collect();

    // 2. Render Gatehouse's own pages; where the operator has a file of the same name, theirs is served.
    let mut tree = own_pages(&layout, &documents).map_err(alone)?;
    tree.files.extend(
        scripts
            .files
            .into_iter()
            .map(|(name, bytes)| (format!("gatehouse/{name}"), bytes)),
    );
    if let Some(licence) = bundle::licence(root) {
        tree.put("gatehouse/licences.txt", licence);
    }
    let theirs: Vec<String> = operator.pages();
    if let Some(text) = source.text(API) {
        tree.put(API, text.to_owned());
    }
    tree.files.extend(operator.files);

    // 3. Give every section an address, then everything that pages load a hashed name.
    for page in tree.pages() {
        let text = tree
            .text(&page)
            .ok_or_else(|| alone(Problem::new(&page, "the page is not valid UTF-8")))?;
        let text = headings::add_ids(&page, text).map_err(alone)?;
        tree.put(page, text);
    }
    fingerprint::run(&mut tree).map_err(alone)?;

    // 4. Check what the pages say: links that lead nowhere stop the build in Gatehouse's pages, and are named in the operator's.
    let surveys = survey(&tree).map_err(alone)?;
    let (warned, stopping): (Vec<_>, Vec<_>) = links::broken(&tree, &surveys)
        .into_iter()
        .partition(|problem| theirs.contains(&problem.file));
    if !stopping.is_empty() {
        return Err(stopping);
    }
    warnings.extend(warned.iter().map(Problem::to_string));
    warnings.extend(blocked(&tree, &surveys));

    // 5. Write what depends on all of it: the headers, the search index, the list of files.
    let text = headers::render(&tree, surveys.values(), site.turnstile).map_err(alone)?;
    tree.put("_headers", text);
    let text = index(&tree, &layout.site_title).map_err(alone)?;
    tree.put("gatehouse/index.json", text);
    let text = manifest(&tree).map_err(alone)?;
    tree.put("gatehouse/manifest.json", text);
    Ok(Built { tree, warnings })
}

fn alone(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

/// The operator's folder, which must have a first page and leave Gatehouse's addresses alone.
fn operators(root: &Path, dir: &str) -> Outcome<Tree> {
    let folder = root.join(dir);
    if !folder.is_dir() {
        return Err(Problem::new(
            "gatehouse.toml",
            format!("[site] dir = \"{dir}\": there is no such folder"),
        ));
    }
    let operator = Tree::read(&folder)?;
    if !operator.files.contains_key("index.html") {
        return Err(Problem::new(
            format!("{dir}/index.html"),
            "the site needs a first page of this name",
        ));
    }
    for path in operator.files.keys() {
        let file = format!("{dir}/{path}");
        if RESERVED.iter().any(|start| path.starts_with(start)) {
            return Err(Problem::new(
                file,
                "Gatehouse serves its own files at this address; move yours elsewhere",
            ));
        }
        if fingerprint::is_hashed(path) {
            return Err(Problem::new(
                file,
                "names with .immutable. are made by the build; rename the file",
            ));
        }
    }
    Ok(operator)
}

/// Documents, catalogue and the single pages, with style sheet and icon.
fn own_pages(layout: &Layout, documents: &[docs::Document]) -> Outcome<Tree> {
    let mut tree = docs::render(layout, documents)?;
    tree.files
        .extend(catalogue::render(layout, documents)?.files);
    for file in ["style.css", "icon.svg"] {
        tree.put(format!("gatehouse/{file}"), layout.template(file)?);
    }
    for own in OWN {
        own.put(layout, &mut tree)?;
    }
    for (file, title, language, kind) in [
        ("ask.html", "Ask", Language::En, "plain"),
        ("ask.zh.html", "提问", Language::Zh, "plain"),
        ("admin.html", "Admin", Language::En, "admin"),
    ] {
        tree.put(
            format!("gatehouse/{file}"),
            worker_template(layout, file, title, language, kind)?,
        );
    }
    Ok(tree)
}

/// A page of Gatehouse's own, in one language.
struct Own {
    /// Its template; served under the name without the language.
    template: &'static str,
    language: Language,
    title: &'static str,
    description: &'static str,
    /// The script that it loads.
    script: Option<&'static str>,
    kind: &'static str,
    /// Has the other language a page of the same name?
    has_twin: bool,
}

impl Own {
    fn put(&self, layout: &Layout, tree: &mut Tree) -> Outcome<()> {
        let name = self.template.split('.').next().unwrap_or_default();
        let script = self.script.map(|script| {
            format!("<script type=\"module\" src=\"/gatehouse/{script}.js\"></script>")
        });
        let path = format!("/{name}");
        let page = Page {
            title: self.title,
            description: self.description,
            language: self.language,
            head: &[CLOSED, script.as_deref().unwrap_or_default()].concat(),
            main: layout.template(self.template)?,
            kind: self.kind,
            twin: self.has_twin.then_some(path.as_str()),
        };
        let file = format!("{}{path}.html", self.language.start());
        tree.put(file.trim_start_matches('/'), layout.frame(&page)?);
        Ok(())
    }
}

const OWN: [Own; 7] = [
    Own {
        template: "conversations.html",
        language: Language::En,
        title: "Conversations",
        description: "What you asked here before: go on, rename, delete.",
        script: Some("chat"),
        kind: "wide",
        has_twin: true,
    },
    Own {
        template: "conversations.zh.html",
        language: Language::Zh,
        title: "会话",
        description: "您以前的提问：继续、重命名、删除。",
        script: Some("chat"),
        kind: "wide",
        has_twin: true,
    },
    Own {
        template: "documents.html",
        language: Language::En,
        title: "Documents",
        description: "Keep documents on this site: upload, list, share, download, delete.",
        script: Some("documents"),
        kind: "wide",
        has_twin: true,
    },
    Own {
        template: "documents.zh.html",
        language: Language::Zh,
        title: "文档存放",
        description: "在本网站保存文档：上传、列出、共享、下载、删除。",
        script: Some("documents"),
        kind: "wide",
        has_twin: true,
    },
    Own {
        template: "shared.html",
        language: Language::En,
        title: "A shared document",
        description: "Opens a document that somebody shares by a link.",
        script: Some("shared"),
        kind: "plain",
        has_twin: true,
    },
    Own {
        template: "shared.zh.html",
        language: Language::Zh,
        title: "共享的文档",
        description: "打开他人通过链接共享的文档。",
        script: Some("shared"),
        kind: "plain",
        has_twin: true,
    },
    Own {
        template: "404.html",
        language: Language::En,
        title: "Page not found",
        description: "There is nothing at this address.",
        script: None,
        kind: "plain",
        has_twin: false,
    },
];

/// Keeps a page out of search engines and out of the answerer's index.
const CLOSED: &str = "<meta name=\"robots\" content=\"noindex\">";

/// A page that the Worker fills: the plain form, the operators'. Its places `<!--gatehouse:name-->` must arrive as they are written.
fn worker_template(
    layout: &Layout,
    file: &str,
    title: &str,
    language: Language,
    kind: &str,
) -> Outcome<String> {
    let main = layout.template(file)?;
    let page = Page {
        title,
        description: &layout.site_title,
        language,
        head: CLOSED,
        main,
        kind,
        twin: None,
    };
    let framed = layout.frame(&page)?;
    let (before, after) = framed.split_once("<title>").unwrap_or((&framed, ""));
    let after = after
        .split_once("</title>")
        .map_or(after, |(_, after)| after);
    Ok(format!(
        "{before}<title>{title} · <!--gatehouse:title--></title>{after}"
    ))
}

fn survey(tree: &Tree) -> Outcome<BTreeMap<String, Survey>> {
    let mut surveys = BTreeMap::new();
    for page in tree.pages() {
        let survey = html::survey(&page, tree.text(&page).unwrap_or_default())?;
        surveys.insert(page, survey);
    }
    Ok(surveys)
}

fn blocked(tree: &Tree, surveys: &BTreeMap<String, Survey>) -> Vec<String> {
    let mut found = Vec::new();
    for (page, survey) in surveys {
        let html = tree.text(page).unwrap_or_default();
        for (offset, reason) in &survey.blocked {
            found.push(Problem::at(page, html, *offset, reason.clone()).to_string());
        }
    }
    found
}

fn index(tree: &Tree, site_title: &str) -> Outcome<String> {
    let mut all: Vec<Passage> = Vec::new();
    for (path, _) in tree.files.iter().filter(|(path, _)| is_page(path)) {
        let html = tree.text(path).unwrap_or_default();
        all.extend(passages::of_page(path, html, site_title));
    }
    let text = Index::build(all).to_json();
    text.map_err(|error| Problem::new("gatehouse/index.json", error.to_string()))
}

/// One file of the manifest.
#[derive(Serialize)]
struct Listed {
    /// Address at which it is served.
    url: String,
    /// Bytes.
    size: usize,
    /// SHA-256, hexadecimal.
    sha256: String,
}

fn manifest(tree: &Tree) -> Outcome<String> {
    // `_headers` and `_redirects` are read by the platform and never served.
    let served = tree.files.iter().filter(|(path, _)| !path.starts_with('_'));
    let listed: BTreeMap<&str, Listed> = served
        .map(|(path, bytes)| {
            let listed = Listed {
                url: address::of_file(path),
                size: bytes.len(),
                sha256: hashes::hex(bytes),
            };
            (path.as_str(), listed)
        })
        .collect();
    json("gatehouse/manifest.json", &listed)
}

fn json(file: &str, value: &impl Serialize) -> Outcome<String> {
    serde_json::to_string(value).map_err(|error| Problem::new(file, error.to_string()))
}

#[cfg(test)]
mod tests;
