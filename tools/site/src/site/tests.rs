//! Whole builds of small sites, with Gatehouse's real pages and scripts.

use std::fs;
use std::path::{Path, PathBuf};

use gatehouse::base::time::Millis;

use super::{Built, build};
use crate::publish::publish;
use crate::tree::Tree;

/// 2026-07-01T00:00:00Z
const NOW: Millis = Millis::from_secs(1_782_864_000);

/// A checkout with Gatehouse's pages and documentation and the given operator's files.
fn checkout(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = std::env::temp_dir().join(format!("gatehouse-site-{name}-{}", std::process::id()));
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Tree::read(&own.join("pages"))
        .unwrap()
        .write(&root.join("tools/site/pages"))
        .unwrap();
    let mut tree = Tree::default();
    tree.put(
        "gatehouse.toml",
        "[site]\ndir = \"public\"\ntitle = \"Rock & Roll\"\n",
    );
    tree.put(
        "docs/index.md",
        "# Quickstart\n\nRun it.\n\n## Next\n\nRead [limits](limits.md#waits).\n",
    );
    tree.put(
        "docs/limits.md",
        "# Limits\n\nEveryone has an allowance.\n\n## Waits\n\nA refusal names the wait.\n",
    );
    tree.put("docs/openapi.json", "{\"openapi\":\"3.1.1\"}\n");
    // The scripts are built without esbuild here: what is under test is the rest of the build.
    tree.put(
        "node_modules/streaming-markdown/smd.min.js",
        "export const parser = 0;",
    );
    tree.put("public/index.html", "<h1>Home</h1>");
    for (path, text) in files {
        tree.put(format!("public/{path}"), *text);
    }
    tree.write(&root).unwrap();
    root
}

fn built(name: &str, files: &[(&str, &str)]) -> Built {
    let root = checkout(name, files);
    let built = build(&root, NOW);
    fs::remove_dir_all(&root).unwrap();
    built.unwrap_or_else(|problems| panic!("{problems:?}"))
}

const HOME: &str = "<!doctype html><html lang=en><title>Home</title><link rel=stylesheet href=/gatehouse/style.css>\
    <h1>Rocks</h1><p>Granite is hard.</p><script src=\"js/a.js\"></script><a href=/docs/>docs</a>";

#[test]
fn any_folder_becomes_a_site_with_gatehouses_pages_beside_it() {
    let site = built(
        "any",
        &[("index.html", HOME), ("js/a.js", "1"), (".env", "SECRET=1")],
    );
    let home = site.tree.text("index.html").unwrap();
    assert!(
        home.contains("href=\"/gatehouse/style.") && home.contains(".immutable.css\""),
        "{home}"
    );
    assert!(home.contains("<h1 id=\"rocks\">"), "{home}");
    for path in [
        "404.html",
        "conversations.html",
        "documents.html",
        "docs/index.html",
        "docs/limits.md",
        "llms.txt",
        "gatehouse/ask.html",
        "gatehouse/chat.js",
    ] {
        assert!(site.tree.files.contains_key(path), "{path}");
    }
    assert!(!site.tree.files.keys().any(|path| path.contains(".env")));
    assert!(
        site.tree
            .text("404.html")
            .unwrap()
            .contains("Rock &amp; Roll")
    );
}

#[test]
fn own_pages_are_there_in_both_languages_and_lead_to_each_other() {
    let site = built("languages", &[]);
    for name in ["conversations", "documents", "shared"] {
        let en = site.tree.text(&format!("{name}.html")).unwrap();
        let zh = site.tree.text(&format!("zh/{name}.html")).unwrap();
        assert!(en.contains("<html lang=\"en\"") && zh.contains("<html lang=\"zh-Hans\""));
        let to_zh = format!("<a href=\"/zh/{name}\" lang=\"zh-Hans\" hreflang=\"zh-Hans\">");
        let to_en = format!("<a href=\"/{name}\" lang=\"en\" hreflang=\"en\">");
        assert!(en.contains(&to_zh) && zh.contains(&to_en), "{name}");
        assert!(zh.contains("<a href=\"/zh/documents\">"), "{name}");
        assert!(en.contains(".immutable.js\"></script>"), "{name}");
    }
}

#[test]
fn every_error_code_has_a_page_in_both_languages() {
    let site = built("errors", &[]);
    for entry in &gatehouse::base::errors::CATALOGUE {
        let en = site
            .tree
            .text(&format!("docs/errors/{}.html", entry.code))
            .unwrap();
        let zh = site
            .tree
            .text(&format!("zh/docs/errors/{}.html", entry.code))
            .unwrap();
        assert!(
            en.contains(&crate::html::escape(entry.en.fix))
                && zh.contains(&crate::html::escape(entry.zh.fix)),
            "{}",
            entry.code
        );
    }
}

#[test]
fn the_models_have_a_page_in_the_navigation_with_a_twin() {
    let site = built("models", &[]);
    let page = site.tree.text("docs/models.html").unwrap();
    for alias in gatehouse::domain::settings::embedded().unwrap().aliases {
        let column = format!("<th><code>{}</code></th>", alias.name);
        assert_eq!(page.contains(&column), alias.public, "{}", alias.name);
    }
    assert!(page.contains("<a href=\"/docs/models\" aria-current=\"page\">Models</a>"));
    let twin = site.tree.text("docs/models.md").unwrap();
    assert!(twin.contains("| JSON schema | yes |"), "{twin}");
    let list = site.tree.text("llms.txt").unwrap();
    assert!(list.contains("- [Models](/docs/models.md): "), "{list}");
}

#[test]
fn the_index_quotes_operator_and_documentation_with_anchors() {
    let site = built("index", &[("index.html", HOME), ("js/a.js", "1")]);
    let index = site.tree.text("gatehouse/index.json").unwrap();
    for part in [
        "Granite is hard.",
        "/#rocks",
        "/docs/limits#waits",
        "A refusal names the wait.",
    ] {
        assert!(index.contains(part), "{part} is not in {index}");
    }
    assert!(
        !index.contains("The page may have moved"),
        "a page closed to robots must not be quoted"
    );
}

#[test]
fn the_answer_template_keeps_the_workers_placeholders() {
    let site = built("ask", &[]);
    let ask = site.tree.text("gatehouse/ask.html").unwrap();
    for name in ["title", "question", "answer", "note", "models"] {
        assert_eq!(
            ask.matches(&format!("<!--gatehouse:{name}-->")).count(),
            1,
            "{name}: {ask}"
        );
    }
}

#[test]
fn two_builds_of_the_same_inputs_are_equal() {
    let files = [
        ("index.html", HOME),
        ("js/a.js", "1"),
        ("b.html", "<h1>B</h1>"),
    ];
    let (first, second) = (built("same1", &files), built("same2", &files));
    assert_eq!(first.tree, second.tree);
}

#[test]
fn a_broken_link_in_the_documentation_stops_the_build_and_the_old_site_stands() {
    let root = checkout("broken", &[("index.html", "<h1>Old</h1>")]);
    let out = root.join("build/site");
    publish(
        &build(&root, NOW)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .tree,
        &out,
    )
    .unwrap();
    fs::write(root.join("docs/limits.md"), "# Limits\n\n[x](nothing.md)\n").unwrap();
    let problems = build(&root, NOW).err().unwrap();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let stands = out.join("docs/limits.html").exists();
    fs::remove_dir_all(&root).unwrap();
    assert!(
        shown
            .iter()
            .any(|line| line.contains("/docs/nothing: there is no such page")),
        "{shown:?}"
    );
    assert!(
        shown
            .iter()
            .any(|line| line.contains("/docs/limits#waits: the page has no element")),
        "{shown:?}"
    );
    assert!(stands);
}

#[test]
fn an_operators_broken_link_is_named_but_does_not_stop_the_build() {
    let site = built(
        "warn",
        &[("index.html", "<p>\n<a href=/gone>x</a>\n<p style=x>")],
    );
    assert!(
        site.warnings.contains(
            &"index.html:2: /gone: there is no such page or file on this site".to_owned()
        ),
        "{:?}",
        site.warnings
    );
    assert!(
        site.warnings
            .iter()
            .any(|line| line.starts_with("index.html:3: the style attribute")),
        "{:?}",
        site.warnings
    );
}

#[test]
fn reserved_addresses_are_refused_and_others_can_be_replaced() {
    let root = checkout("reserved", &[("gatehouse/x.js", "")]);
    let problems = build(&root, NOW).err().unwrap();
    fs::remove_dir_all(&root).unwrap();
    assert!(
        problems[0]
            .to_string()
            .starts_with("public/gatehouse/x.js: Gatehouse serves"),
        "{problems:?}"
    );
    let site = built("replaced", &[("404.html", "<p>mine</p>")]);
    assert_eq!(site.tree.text("404.html"), Some("<p>mine</p>"));
}

#[test]
fn a_missing_folder_or_first_page_is_one_clear_problem() {
    let root = checkout("nothing", &[]);
    fs::remove_file(root.join("public/index.html")).unwrap();
    let first_page = build(&root, NOW).err().unwrap();
    fs::remove_dir_all(root.join("public")).unwrap();
    let folder = build(&root, NOW).err().unwrap();
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(first_page.len(), 1);
    assert!(
        first_page[0].to_string().starts_with("public/index.html: "),
        "{first_page:?}"
    );
    assert!(
        folder[0]
            .to_string()
            .starts_with("gatehouse.toml: [site] dir = \"public\": "),
        "{folder:?}"
    );
}

#[test]
fn the_description_of_the_api_is_served_at_the_top_unless_the_site_has_its_own() {
    let site = built("api", &[]);
    assert_eq!(
        site.tree.text("openapi.json"),
        Some("{\"openapi\":\"3.1.1\"}\n")
    );
    let site = built("own-api", &[("openapi.json", "{}")]);
    assert_eq!(site.tree.text("openapi.json"), Some("{}"));
}

#[test]
fn the_manifest_lists_what_is_served() {
    let site = built("manifest", &[("index.html", HOME), ("js/a.js", "1")]);
    let manifest: serde_json::Value =
        serde_json::from_str(site.tree.text("gatehouse/manifest.json").unwrap()).unwrap();
    assert_eq!(manifest["js/a.js"]["size"], 1);
    assert_eq!(manifest["js/a.js"]["url"], "/js/a.js");
    assert_eq!(
        manifest["js/a.js"]["sha256"],
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    );
    assert_eq!(manifest.get("_headers"), None);
}
