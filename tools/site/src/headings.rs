//! Headings: each gets an id, so that every section of a page has an address.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use lol_html::{RewriteStrSettings, element, rewrite_str, text};

use crate::html::{decode, survey};
use crate::problem::{Outcome, Problem};

/// Gives every heading without an id one made of its text, so that each section has an address.
///
/// # Errors
/// A page that the rewriter cannot read.
pub fn add_ids(file: &str, html: &str) -> Outcome<String> {
    let headings = headings(file, html)?;
    let mut taken = survey(file, html)?.ids;
    let mut ids = Vec::new();
    for heading in &headings {
        ids.push(
            heading
                .needs_id
                .then(|| unique(&slug(&heading.text), &mut taken)),
        );
    }
    let mut next = ids.into_iter();
    let settings = RewriteStrSettings::new().append_element_content_handler(element!(
        "h1, h2, h3, h4, h5, h6",
        |heading| {
            if let Some(id) = next.next().flatten() {
                heading.set_attribute("id", &id)?;
            }
            Ok(())
        }
    ));
    rewrite_str(html, settings).map_err(|error| Problem::new(file, error.to_string()))
}

struct Heading {
    needs_id: bool,
    text: String,
}

fn headings(file: &str, html: &str) -> Outcome<Vec<Heading>> {
    let found = Rc::new(RefCell::new(Vec::<Heading>::new()));
    let (starts, texts) = (Rc::clone(&found), Rc::clone(&found));
    let settings = RewriteStrSettings::new()
        .append_element_content_handler(element!("h1, h2, h3, h4, h5, h6", move |heading| {
            let needs_id = !heading.has_attribute("id");
            starts.borrow_mut().push(Heading {
                needs_id,
                text: String::new(),
            });
            Ok(())
        }))
        .append_element_content_handler(text!("h1, h2, h3, h4, h5, h6", move |chunk| {
            if let Some(heading) = texts.borrow_mut().last_mut() {
                heading.text.push_str(chunk.as_str());
            }
            Ok(())
        }));
    rewrite_str(html, settings).map_err(|error| Problem::new(file, error.to_string()))?;
    Ok(found.take())
}

/// Letters and digits of any script in lower case, everything else as single hyphens.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in decode(text).chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') && c != '\'' && c != '’' {
            slug.push('-');
        }
    }
    match slug.trim_end_matches('-') {
        "" => "section".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

fn unique(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let mut id = wanted.to_owned();
    let mut number = 2_usize;
    while !taken.insert(id.clone()) {
        id = format!("{wanted}-{number}");
        number += 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::{add_ids, slug};

    fn with_ids(html: &str) -> String {
        add_ids("t.html", html).unwrap()
    }

    #[test]
    fn headings_get_ids_from_their_text_and_keep_their_own() {
        assert_eq!(
            with_ids("<h2>Set a <em>Key</em>!</h2>"),
            "<h2 id=\"set-a-key\">Set a <em>Key</em>!</h2>"
        );
        assert_eq!(with_ids("<h2 id=x>A</h2>"), "<h2 id=x>A</h2>");
        assert_eq!(
            with_ids("<h2>限制 与 缓存</h2>"),
            "<h2 id=\"限制-与-缓存\">限制 与 缓存</h2>"
        );
        assert_eq!(with_ids("<h2>!</h2>"), "<h2 id=\"section\">!</h2>");
    }

    #[test]
    fn ids_stay_unique_also_against_ids_elsewhere_in_the_page() {
        let html = "<h2>A</h2><p id=a-2></p><h2>A</h2>";
        assert_eq!(
            with_ids(html),
            "<h2 id=\"a\">A</h2><p id=a-2></p><h2 id=\"a-3\">A</h2>"
        );
    }

    #[test]
    fn a_slug_reads_like_the_heading() {
        assert_eq!(slug("What's R&amp;D?"), "whats-r-d");
        assert_eq!(slug("  `/v1/files`  "), "v1-files");
    }
}
