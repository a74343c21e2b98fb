//! HTML of the few pages that the Worker makes itself: Markdown of unknown origin → safe markup, and a template.

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html};

/// Text → HTML text, safe in content and in quoted attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Markdown of a model → HTML without any markup of its own: raw HTML becomes text, images become links, and links go
/// to http, https, mailto or this site only.
#[must_use]
pub fn markdown(source: &str) -> String {
    let mut unlinked: usize = 0;
    let events = Parser::new_ext(
        source,
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH,
    )
    .filter_map(|event| {
        Some(match event {
            Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
            Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => return None,
            Event::Start(
                Tag::Link {
                    dest_url,
                    title,
                    id,
                    ..
                }
                | Tag::Image {
                    dest_url,
                    title,
                    id,
                    ..
                },
            ) => {
                if !safe_address(&dest_url) {
                    unlinked = unlinked.saturating_add(1);
                    return None;
                }
                Event::Start(Tag::Link {
                    link_type: LinkType::Inline,
                    dest_url,
                    title,
                    id,
                })
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                if unlinked > 0 {
                    unlinked = unlinked.saturating_sub(1);
                    return None;
                }
                Event::End(TagEnd::Link)
            }
            // An id from a model could take the place of one of the page's own.
            Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
                level,
                id: None,
                classes: Vec::new(),
                attrs: Vec::new(),
            }),
            Event::Start(Tag::CodeBlock(_)) => Event::Start(Tag::CodeBlock(
                pulldown_cmark::CodeBlockKind::Fenced(CowStr::Borrowed("")),
            )),
            other => other,
        })
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out.replace("<a href=", "<a rel=\"noopener nofollow ugc\" href=")
}

/// `https:`, `http:`, `mailto:` or a path of this site (`/docs/#a`, but not `//host`).
fn safe_address(address: &str) -> bool {
    let lower = address.trim().to_ascii_lowercase();
    if lower.chars().any(|c| c.is_control() || c == '\\') {
        return false;
    }
    let own_path = lower.starts_with('#') || (lower.starts_with('/') && !lower.starts_with("//"));
    own_path
        || ["https://", "http://", "mailto:"]
            .iter()
            .any(|scheme| lower.starts_with(scheme))
}

/// Puts values into the places `<!--gatehouse:NAME-->` of a template, in one pass, so that a value that spells a place
/// is not filled again.
#[must_use]
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    const OPEN: &str = "<!--gatehouse:";
    const CLOSE: &str = "-->";
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(before);
        match after.split_once(CLOSE) {
            Some((name, tail)) => {
                if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
                    out.push_str(value);
                }
                rest = tail;
            }
            None => {
                rest = "";
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{escape, fill, markdown};

    #[test]
    fn a_models_markup_is_shown_not_obeyed() {
        for (source, forbidden) in [
            ("<script>alert(1)</script>", "<script"),
            ("a <img src=x onerror=alert(1)> b", "<img"),
            ("[x](javascript:alert(1))", "href"),
            ("[x](JaVaScRiPt:alert(1))", "href"),
            ("[x](data:text/html,x)", "href"),
            ("[x](//evil.example)", "href"),
            ("![x](https://evil.example/?leak)", "<img"),
            ("<a href=\"javascript:1\">x</a>", "<a "),
            ("# <b>t</b> {#question}", " id="),
        ] {
            let html = markdown(source);
            assert!(!html.contains(forbidden), "{source} → {html}");
        }
    }

    #[test]
    fn ordinary_markdown_works() {
        let html = markdown("> quote\n\n[Docs](/docs/#a) and **bold**\n\n- one\n");
        assert!(html.contains("<blockquote>"));
        assert!(html.contains("<a rel=\"noopener nofollow ugc\" href=\"/docs/#a\">Docs</a>"));
        assert!(html.contains("<strong>bold</strong>") && html.contains("<li>one</li>"));
    }

    #[test]
    fn links_around_refused_images_stay_balanced() {
        let html = markdown("[![alt](javascript:1)](https://a.example)");
        assert_eq!(
            html.matches("<a ").count(),
            html.matches("</a>").count(),
            "{html}"
        );
    }

    #[test]
    fn a_value_cannot_open_a_place_of_its_own() {
        let page = fill(
            "<p><!--gatehouse:a--></p><!--gatehouse:b-->",
            &[("a", "<!--gatehouse:b-->"), ("b", "B")],
        );
        assert_eq!(page, "<p><!--gatehouse:b--></p>B");
        assert_eq!(
            escape("<a href=\"x\">'&"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"
        );
    }
}
