//! Internal links: every one must lead to a file, a fragment that exists, or a route of the Worker.

use std::collections::BTreeMap;

use crate::address;
use crate::html::Survey;
use crate::problem::Problem;
use crate::tree::{Tree, is_page};

/// First parts of the paths that the Worker answers itself.
const ROUTES: [&str; 8] = [
    "v1",
    "api",
    "ask",
    "admin",
    "healthz",
    "readyz",
    "metrics",
    "openapi.json",
];

/// Finds links that lead nowhere. `surveys` holds every page of `tree`.
pub fn broken(tree: &Tree, surveys: &BTreeMap<String, Survey>) -> Vec<Problem> {
    let redirects = redirected(tree);
    let mut problems = Vec::new();
    for (page, survey) in surveys {
        let html = tree.text(page).unwrap_or_default();
        for link in &survey.links {
            if let Some(reason) = fault(tree, surveys, &redirects, page, &link.reference) {
                problems.push(Problem::at(
                    page,
                    html,
                    link.offset,
                    format!("{}: {reason}", link.reference),
                ));
            }
        }
    }
    problems
}

/// Paths that the operator's `_redirects` names, up to a `*` or a placeholder.
fn redirected(tree: &Tree) -> Vec<String> {
    let lines = tree.text("_redirects").unwrap_or_default().lines();
    let sources = lines
        .filter_map(|line| line.split_whitespace().next())
        .filter(|source| source.starts_with('/'));
    sources
        .map(|source| {
            source
                .split(['*', ':'])
                .next()
                .unwrap_or_default()
                .trim_matches('/')
                .to_owned()
        })
        .collect()
}

fn fault(
    tree: &Tree,
    surveys: &BTreeMap<String, Survey>,
    redirects: &[String],
    page: &str,
    reference: &str,
) -> Option<&'static str> {
    let target = address::resolve(page, reference)?;
    let first = target.path.split('/').next().unwrap_or_default();
    let is_redirected = redirects.iter().any(|source| {
        target
            .path
            .trim_end_matches('/')
            .starts_with(source.as_str())
    });
    if ROUTES.contains(&first) || is_redirected {
        return None;
    }
    let Some(file) = address::find(tree, &target.path) else {
        return Some("there is no such page or file on this site");
    };
    let fragment = target
        .fragment()
        .filter(|fragment| !fragment.is_empty() && fragment != "top")?;
    let is_missing = is_page(file)
        && surveys
            .get(file)
            .is_some_and(|survey| !survey.ids.contains(&fragment));
    is_missing.then_some("the page has no element with that id")
}

#[cfg(test)]
mod tests {
    use super::broken;
    use crate::html::survey;
    use crate::tree::Tree;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.put(*path, *text);
        }
        let surveys = tree.pages().into_iter().map(|page| {
            let found = survey(&page, tree.text(&page).unwrap()).unwrap();
            (page, found)
        });
        broken(&tree, &surveys.collect())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_link_to_nothing_is_found_with_its_line() {
        let found = faults(&[(
            "a.html",
            "<p>\n<a href=\"/b\">x</a><a href=\"a#y\">x</a><img src=i.png>",
        )]);
        assert_eq!(
            found,
            [
                "a.html:2: /b: there is no such page or file on this site",
                "a.html:2: a#y: the page has no element with that id",
                "a.html:2: i.png: there is no such page or file on this site",
            ]
        );
    }

    #[test]
    fn pages_fragments_routes_redirects_and_other_sites_are_fine() {
        let html = "<h2 id=x></h2><a href=\"#x\"></a><a href=\"/d\"></a><a href=\"/d/#y\"></a><a href=\"/v1/models\"></a>\
            <a href=\"https://e.example/\"></a><a href=\"mailto:a@e.example\"></a><form action=\"/ask\"></form><a href=\"#\"></a>\
            <a href=\"/old/page\"></a>";
        let found = faults(&[
            ("a.html", html),
            ("d/index.html", "<p id=y>"),
            ("_redirects", "/old/* /d 301"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
}
