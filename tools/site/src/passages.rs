//! Pages cut into passages for the answerer's index: one per heading, with the address of that heading.

use gatehouse::domain::answer::Passage;
use scraper::node::{Element, Node};
use scraper::{ElementRef, Html, Selector};

use crate::address;

/// What holds no text that a visitor came to read.
const SKIPPED: [&str; 15] = [
    "nav", "script", "style", "template", "noscript", "form", "dialog", "footer", "select",
    "button", "svg", "iframe", "object", "audio", "video",
];

/// Elements that end a line of text.
const BLOCKS: [&str; 23] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "header",
    "hr",
    "li",
    "main",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "ul",
];

/// Cuts a page into passages. A page that asks robots not to index it has none.
///
/// Text keeps the page's words, with white space collapsed. Long code is left out: collapsed, it could not be read.
///
/// `site_title` is taken off the end of the page's title, where it only repeats where the reader is.
pub fn of_page(path: &str, html: &str, site_title: &str) -> Vec<Passage> {
    let document = Html::parse_document(html);
    if attribute(&document, "meta[name=robots i]", "content")
        .is_some_and(|content| content.contains("noindex"))
    {
        return Vec::new();
    }
    let title = first(&document, "title")
        .map(|title| collapse(&title.text().collect::<String>()))
        .unwrap_or_default();
    let mut cutter = Cutter {
        url: address::of_file(path),
        page: title
            .strip_suffix(&format!(" · {site_title}"))
            .unwrap_or(&title)
            .to_owned(),
        lang: attribute(&document, "html", "lang").unwrap_or_else(|| "en".to_owned()),
        heading: String::new(),
        anchor: None,
        lines: Vec::new(),
        line: String::new(),
        passages: Vec::new(),
    };
    if let Some(root) = first(&document, "main").or_else(|| first(&document, "body")) {
        cutter.element(root);
    }
    cutter.finish()
}

fn first<'a>(document: &'a Html, selector: &str) -> Option<ElementRef<'a>> {
    let selector = Selector::parse(selector).ok()?;
    document.select(&selector).next()
}

fn attribute(document: &Html, selector: &str, name: &str) -> Option<String> {
    first(document, selector)?.attr(name).map(str::to_owned)
}

struct Cutter {
    url: String,
    page: String,
    lang: String,
    heading: String,
    anchor: Option<String>,
    lines: Vec<String>,
    line: String,
    passages: Vec<Passage>,
}

impl Cutter {
    fn element(&mut self, element: ElementRef<'_>) {
        let (name, value) = (element.value().name(), element.value());
        if SKIPPED.contains(&name) || is_hidden(value) || (name == "pre" && is_long(element)) {
            return;
        }
        if matches!(name, "h1" | "h2" | "h3" | "h4" | "h5" | "h6") {
            self.finish_passage();
            self.heading = collapse(&element.text().collect::<String>());
            self.anchor = value.id().map(str::to_owned);
            return;
        }
        if name == "tr" {
            self.row(element);
            return;
        }
        let is_block = BLOCKS.contains(&name);
        if is_block {
            self.end_line();
        }
        for child in element.children() {
            match child.value() {
                Node::Text(text) => self.line.push_str(text),
                Node::Element(_) => {
                    if let Some(child) = ElementRef::wrap(child) {
                        self.element(child);
                    }
                }
                _ => {}
            }
        }
        if is_block {
            self.end_line();
        }
    }

    /// A row of a table is a passage of its own: run together, rows could not be read. Rows of headings are left out.
    fn row(&mut self, row: ElementRef<'_>) {
        let cells: Vec<ElementRef<'_>> = row.child_elements().collect();
        if !cells.iter().any(|cell| cell.value().name() == "td") {
            return;
        }
        let texts = cells
            .iter()
            .map(|cell| collapse(&cell.text().collect::<String>()));
        let texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        self.push_passage(texts.join(" · "));
    }

    fn end_line(&mut self) {
        let line = collapse(&std::mem::take(&mut self.line));
        if !line.is_empty() {
            self.lines.push(line);
        }
    }

    fn finish_passage(&mut self) {
        self.end_line();
        let text = std::mem::take(&mut self.lines).join(" ");
        self.push_passage(text);
    }

    fn push_passage(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        let fragment = self
            .anchor
            .as_ref()
            .map(|anchor| format!("#{anchor}"))
            .unwrap_or_default();
        self.passages.push(Passage {
            url: format!("{}{fragment}", self.url),
            page: self.page.clone(),
            heading: self.heading.clone(),
            text,
            lang: self.lang.clone(),
        });
    }

    fn finish(mut self) -> Vec<Passage> {
        self.finish_passage();
        self.passages
    }
}

/// Lines of code that can still be read when they are run together.
const QUOTABLE_LINES: usize = 3;

fn is_long(element: ElementRef<'_>) -> bool {
    element.text().collect::<String>().trim().lines().count() > QUOTABLE_LINES
}

fn is_hidden(element: &Element) -> bool {
    let has = |name| element.attr(name).is_some();
    has("hidden") || has("data-noindex") || element.attr("aria-hidden") == Some("true")
}

fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::of_page;

    #[test]
    fn every_row_of_a_table_is_a_passage_of_its_own() {
        let page = "<title>T</title><main><h2 id=a>A</h2><p>Before.<table><thead><tr><th>key<th>means</thead>\
            <tr><td><code>x</code><td>one thing<tr><th>y<td></table>After.</main>";
        let found = of_page("t.html", page, "");
        let shown: Vec<(&str, &str)> = found
            .iter()
            .map(|p| (p.url.as_str(), p.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("/t#a", "x · one thing"),
                ("/t#a", "y"),
                ("/t#a", "Before. After.")
            ]
        );
    }

    const PAGE: &str = "<!doctype html><html lang=zh-Hans><title> The  page · Site </title><body><nav><a href=/>Home</a></nav>\
        <main><p>Before.</p><h2 id=a>First <em>one</em></h2><p>Some &amp; <b>bold</b>\n text.<p>More.<ul><li>x<li>y</ul><pre>set\n  k</pre><pre>1\n2\n3\n4</pre>\
        <form><label>Ask</label></form><h2 id=b>Empty</h2><h2 id=c>Last</h2><div hidden>secret</div><p data-noindex>aside</p>end<script>1</script></main>";

    #[test]
    fn sections_become_passages_with_their_addresses() {
        let found = of_page("guide/index.html", PAGE, "Site");
        let shown: Vec<(&str, &str, &str)> = found
            .iter()
            .map(|p| (p.url.as_str(), p.heading.as_str(), p.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("/guide/", "", "Before."),
                (
                    "/guide/#a",
                    "First one",
                    "Some & bold text. More. x y set k"
                ),
                ("/guide/#c", "Last", "end"),
            ]
        );
        assert!(
            found
                .iter()
                .all(|p| p.page == "The page" && p.lang == "zh-Hans")
        );
    }

    #[test]
    fn a_page_closed_to_robots_is_not_quoted() {
        assert!(
            of_page(
                "a.html",
                "<meta name=robots content=\"noindex\"><p>x</p>",
                ""
            )
            .is_empty()
        );
    }
}
