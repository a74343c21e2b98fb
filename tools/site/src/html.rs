//! Pages as text: references, ids, and what a strict content security policy has to know about them.
//!
//! Pages are changed in place by a streaming rewriter, so what is not touched stays as its author wrote it, byte for byte.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use lol_html::{RewriteStrSettings, element, end_tag, rewrite_str, text};

use crate::problem::{Outcome, Problem};

/// Elements and attributes whose target is loaded with the page, and so gets a hashed name.
const LOADED: [(&str, &str); 12] = [
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("video", "src"),
    ("video", "poster"),
    ("audio", "src"),
    ("track", "src"),
    ("input", "src"),
    ("object", "data"),
    ("embed", "src"),
    ("image", "href"),
    ("use", "href"),
];

/// `rel` values of `<link>` whose target is loaded with the page.
const LOADED_RELS: [&str; 6] = [
    "stylesheet",
    "icon",
    "apple-touch-icon",
    "mask-icon",
    "preload",
    "modulepreload",
];

/// A reference in a page, as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Byte offset of the element.
    pub offset: usize,
    /// The attribute's value.
    pub reference: String,
}

/// What a page holds that matters to the rest of the build.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Everything the page points at.
    pub links: Vec<Link>,
    /// Ids and names that a fragment can point at.
    pub ids: BTreeSet<String>,
    /// Text of inline scripts, exactly as the browser hashes it.
    pub scripts: Vec<String>,
    /// Text of inline styles.
    pub styles: Vec<String>,
    /// What the policy will block, with the byte offset.
    pub blocked: Vec<(usize, String)>,
}

/// Copies a page, giving the reference of everything it loads to `replace`.
///
/// Elements with `integrity` are left alone: their author has fixed the bytes.
///
/// # Errors
/// A page that the rewriter cannot read.
pub fn rewrite_loaded(
    file: &str,
    html: &str,
    mut replace: impl FnMut(&str) -> Option<String>,
) -> Outcome<String> {
    let settings = RewriteStrSettings::new().append_element_content_handler(element!("*", |el| {
        if el.has_attribute("integrity") {
            return Ok(());
        }
        let tag = el.tag_name();
        let mut names: Vec<&str> = LOADED
            .iter()
            .filter(|(name, _)| *name == tag)
            .map(|(_, attr)| *attr)
            .collect();
        if tag == "link"
            && el
                .get_attribute("rel")
                .is_some_and(|rel| is_loaded_rel(&rel))
        {
            names.push("href");
        }
        for name in names {
            let new = el
                .get_attribute(name)
                .and_then(|value| replace(&decode(&value)));
            if let Some(new) = new {
                el.set_attribute(name, &encode(&new))?;
            }
        }
        for name in ["srcset", "imagesrcset"] {
            if let Some(value) = el.get_attribute(name) {
                el.set_attribute(name, &encode(&srcset(&decode(&value), &mut replace)))?;
            }
        }
        Ok(())
    }));
    rewrite_str(html, settings).map_err(|error| Problem::new(file, error.to_string()))
}

fn is_loaded_rel(rel: &str) -> bool {
    rel.split_ascii_whitespace().any(|word| {
        LOADED_RELS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(word))
    })
}

/// `a.png 1x, b.png 2x` (HTML, section 4.8.4.2.1). Addresses that hold commas, as `data:` ones do, are left alone.
fn srcset(value: &str, replace: &mut impl FnMut(&str) -> Option<String>) -> String {
    if value.contains("data:") {
        return value.to_owned();
    }
    let candidates = value.split(',').map(|candidate| {
        let candidate = candidate.trim();
        let (address, descriptor) = candidate
            .split_once(char::is_whitespace)
            .unwrap_or((candidate, ""));
        let address = replace(address).unwrap_or_else(|| address.to_owned());
        format!("{address} {}", descriptor.trim())
            .trim_end()
            .to_owned()
    });
    candidates.collect::<Vec<_>>().join(", ")
}

/// Reads a page for links, ids, inline code and what the policy will block.
///
/// # Errors
/// A page that the rewriter cannot read.
pub fn survey(file: &str, html: &str) -> Outcome<Survey> {
    let found = Rc::new(RefCell::new(Survey::default()));
    let inline = Rc::new(RefCell::new(String::new()));
    let (elements, scripts, styles) = (Rc::clone(&found), Rc::clone(&found), Rc::clone(&found));
    let (script_text, style_text) = (Rc::clone(&inline), Rc::clone(&inline));
    let settings = RewriteStrSettings::new()
        .append_element_content_handler(element!("*", move |el| {
            let offset = el.source_location().bytes().start;
            let mut survey = elements.borrow_mut();
            let tag = el.tag_name();
            for attribute in el.attributes() {
                let (name, value) = (attribute.name(), decode(&attribute.value()));
                survey.attribute(offset, &tag, &name, value);
            }
            Ok(())
        }))
        .append_element_content_handler(element!("script:not([src])", move |el| {
            let runs = el.get_attribute("type").is_none_or(|kind| is_code(&kind));
            let (scripts, script_text) = (Rc::clone(&scripts), Rc::clone(&script_text));
            el.on_end_tag(end_tag!(move |_| {
                let text = script_text.take();
                if runs && !text.is_empty() {
                    scripts.borrow_mut().scripts.push(text);
                }
                Ok(())
            }))?;
            Ok(())
        }))
        .append_element_content_handler(element!("style", move |el| {
            let (styles, style_text) = (Rc::clone(&styles), Rc::clone(&style_text));
            el.on_end_tag(end_tag!(move |_| {
                styles.borrow_mut().styles.push(style_text.take());
                Ok(())
            }))?;
            Ok(())
        }))
        .append_element_content_handler(text!("script:not([src]), style", move |chunk| {
            inline.borrow_mut().push_str(chunk.as_str());
            Ok(())
        }));
    rewrite_str(html, settings).map_err(|error| Problem::new(file, error.to_string()))?;
    Ok(found.take())
}

impl Survey {
    fn attribute(&mut self, offset: usize, tag: &str, name: &str, value: String) {
        match name {
            "href" if tag == "base" => {
                self.blocked.push((
                    offset,
                    "<base> is blocked by the policy; write references in full".to_owned(),
                ));
            }
            "href" | "src" | "poster" | "action" | "formaction" => {
                if tag == "script" && (value.contains("://") || value.starts_with("//")) {
                    let reason = format!(
                        "the script {value} is blocked by the policy; put a copy on this site"
                    );
                    self.blocked.push((offset, reason));
                }
                self.links.push(Link {
                    offset,
                    reference: value,
                });
            }
            "id" => {
                self.ids.insert(value);
            }
            "name" if tag == "a" => {
                self.ids.insert(value);
            }
            "style" => {
                self.blocked.push((
                    offset,
                    "the style attribute is blocked by the policy; use a class".to_owned(),
                ));
            }
            name if name.starts_with("on") => {
                let reason =
                    format!("the attribute {name} is blocked by the policy; use addEventListener");
                self.blocked.push((offset, reason));
            }
            _ => {}
        }
    }
}

/// Is a script of this type executed, and so subject to the policy?
fn is_code(kind: &str) -> bool {
    let kind = kind.trim().to_ascii_lowercase();
    kind.is_empty()
        || kind.ends_with("javascript")
        || matches!(kind.as_str(), "module" | "importmap" | "speculationrules")
}

/// Text for use inside an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    encode(text).replace('<', "&lt;").replace('>', "&gt;")
}

fn encode(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;")
}

/// The references that occur in addresses and headings.
pub fn decode(text: &str) -> String {
    let named = [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ];
    let mut text = text.to_owned();
    for (reference, character) in named {
        text = text.replace(reference, character);
    }
    text.replace("&nbsp;", " ").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::{rewrite_loaded, survey};

    #[test]
    fn only_what_is_loaded_is_rewritten() {
        let html = "<link rel=\"Stylesheet\" href=\"a.css\"><link rel=next href=b.html><a href=c.js></a>\
            <script src='d.js'></script><script src=e.js integrity=sha256-x></script><img src=f.png srcset=\"f.png 1x, g.png 2x\">";
        let out =
            rewrite_loaded("t.html", html, |reference| Some(format!("/H/{reference}"))).unwrap();
        assert_eq!(
            out,
            "<link rel=\"Stylesheet\" href=\"/H/a.css\"><link rel=next href=b.html><a href=c.js></a>\
            <script src=\"/H/d.js\"></script><script src=e.js integrity=sha256-x></script>\
            <img src=\"/H/f.png\" srcset=\"/H/f.png 1x, /H/g.png 2x\">"
        );
    }

    #[test]
    fn inline_code_is_found_exactly_and_data_is_not_code() {
        let html = "<script>\n a < b && \"c\" \n</script><script type=\"application/ld+json\">{}</script>\
            <script type=module>x</script><style>p{}</style><script src=a.js></script><script></script>";
        let found = survey("t.html", html).unwrap();
        assert_eq!(found.scripts, ["\n a < b && \"c\" \n", "x"]);
        assert_eq!(found.styles, ["p{}"]);
    }

    #[test]
    fn what_the_policy_blocks_is_reported_with_its_place() {
        let html = "<p style=\"x\">\n<button onclick=\"x\"><script src=\"https://cdn.example/x.js\"></script><base href=/x>";
        let found = survey("t.html", html).unwrap();
        let offsets: Vec<usize> = found.blocked.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [0, 14, 34, 82]);
    }

    #[test]
    fn links_carry_decoded_references() {
        let found = survey(
            "t.html",
            "<a href=\"/a?b=1&amp;c=2#d\">x</a><a name=\"old\"></a>",
        )
        .unwrap();
        assert_eq!(found.links[0].reference, "/a?b=1&c=2#d");
        assert!(found.ids.contains("old"));
    }
}
