//! The documentation: `docs/*.md` becomes pages with a navigation, their Markdown twins, and `/llms.txt`.
//!
//! The order of the navigation is the order in which `index.md` links to the pages; others follow by name.

use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};

use crate::html::escape;
use crate::layout::{Language, Layout, Page};
use crate::problem::{Outcome, Problem};
use crate::template::fill;
use crate::tree::{Tree, extension};

/// One document.
pub struct Document {
    /// File name without `.md`.
    pub name: String,
    /// Text of the first heading.
    pub title: String,
    /// Text of the first paragraph.
    pub summary: String,
    /// Markdown with the snippets included.
    pub markdown: String,
}

impl Document {
    /// A document of that name.
    pub fn of(name: &str, markdown: String) -> Self {
        let (title, summary) = opening(&markdown);
        Self {
            name: name.to_owned(),
            title,
            summary,
            markdown,
        }
    }

    /// Where the page is served.
    pub fn address(&self) -> String {
        match self.name.as_str() {
            "index" => "/docs/".to_owned(),
            name => format!("/docs/{name}"),
        }
    }
}

/// Reads the documents, adds those that the build wrote, and gives all in navigation order.
///
/// # Errors
/// A document without a title, an included file that is not there, a folder without `index.md`, or a file of a name that
/// the build writes itself.
pub fn read(source: &Tree, made: Vec<Document>) -> Outcome<Vec<Document>> {
    let mut documents = made;
    for (path, _) in source.files.iter().filter(|(path, _)| is_document(path)) {
        let text = source
            .text(path)
            .ok_or_else(|| Problem::new(format!("docs/{path}"), "not valid UTF-8"))?;
        let name = path.trim_end_matches(".md");
        if documents.iter().any(|document| document.name == name) {
            return Err(Problem::new(
                format!("docs/{path}"),
                "the build writes this page itself; choose another name",
            ));
        }
        let document = Document::of(name, include(path, text, source)?);
        if document.title.is_empty() {
            return Err(Problem::new(
                format!("docs/{path}"),
                "the first line must be a title, such as `# Limits`",
            ));
        }
        documents.push(document);
    }
    let index = documents.iter().find(|document| document.name == "index");
    let index = index
        .ok_or_else(|| Problem::new("docs/index.md", "the documentation needs a first page"))?;
    let order = linked(&index.markdown);
    documents.sort_by_key(|document| {
        let place = order.iter().position(|name| *name == document.name);
        (
            document.name != "index",
            place.unwrap_or(usize::MAX),
            document.name.clone(),
        )
    });
    Ok(documents)
}

fn is_document(path: &str) -> bool {
    extension(path) == Some("md") && !path.contains('/')
}

/// Replaces lines `<!-- include: snippets/x.mjs -->` by the file as a fenced block.
fn include(path: &str, text: &str, source: &Tree) -> Outcome<String> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let name = line
            .trim()
            .strip_prefix("<!-- include:")
            .and_then(|rest| rest.strip_suffix("-->"))
            .map(str::trim);
        match name {
            None => out.push_str(line),
            Some(name) => {
                let snippet = source.text(name).ok_or_else(|| Problem {
                    file: format!("docs/{path}"),
                    line: Some(number + 1),
                    reason: format!("there is no file docs/{name} to include"),
                })?;
                let language = if extension(name) == Some("mjs") {
                    "js"
                } else {
                    extension(name).unwrap_or_default()
                };
                out.push_str(&format!("```{language}\n{}\n```", snippet.trim_end()));
            }
        }
        out.push('\n');
    }
    Ok(out)
}

fn parser(markdown: &str) -> Parser<'_> {
    Parser::new_ext(
        markdown,
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_HEADING_ATTRIBUTES,
    )
}

/// Plain text of the first heading and of the first paragraph.
fn opening(markdown: &str) -> (String, String) {
    let is_title = |tag: &Tag<'_>| {
        matches!(
            tag,
            Tag::Heading {
                level: HeadingLevel::H1,
                ..
            }
        )
    };
    let is_paragraph = |tag: &Tag<'_>| matches!(tag, Tag::Paragraph);
    (
        first_text(markdown, is_title),
        first_text(markdown, is_paragraph),
    )
}

/// Plain text of the first block that is wanted.
fn first_text(markdown: &str, wanted: impl Fn(&Tag<'_>) -> bool) -> String {
    let from =
        parser(markdown).skip_while(|event| !matches!(event, Event::Start(tag) if wanted(tag)));
    let inside = from
        .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_) | TagEnd::Paragraph)));
    let words = inside.map(|event| match event {
        Event::Text(text) | Event::Code(text) => text.into_string(),
        Event::SoftBreak | Event::HardBreak => " ".to_owned(),
        _ => String::new(),
    });
    words.collect()
}

/// Names of the documents that a document links to, in order.
fn linked(markdown: &str) -> Vec<String> {
    let names = parser(markdown).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. }) => {
            document_name(&dest_url).map(|(name, _)| name.to_owned())
        }
        _ => None,
    });
    names.collect()
}

/// `limits.md#waits` → (`limits`, `#waits`); nothing for other targets.
fn document_name(target: &str) -> Option<(&str, &str)> {
    let split = target.find('#').unwrap_or(target.len());
    let (path, fragment) = target.split_at_checked(split)?;
    let name = path.strip_suffix(".md")?;
    (!name.contains(['/', ':'])).then_some((name, fragment))
}

/// HTML of a document's text.
pub fn to_html(markdown: &str) -> String {
    let events = parser(markdown).map(|event| match event {
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) if link_type != LinkType::Email => Event::Start(Tag::Link {
            link_type,
            dest_url: page_address(dest_url),
            title,
            id,
        }),
        other => other,
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    // What scrolls sideways must be reachable by keyboard.
    out.replace("<pre>", "<pre tabindex=\"0\">")
        .replace("<table>", "<div class=\"scroll\" tabindex=\"0\"><table>")
        .replace("</table>", "</table></div>")
}

fn page_address(target: CowStr<'_>) -> CowStr<'_> {
    match document_name(&target) {
        Some(("index", fragment)) => format!("/docs/{fragment}").into(),
        Some((name, fragment)) => format!("/docs/{name}{fragment}").into(),
        None => target,
    }
}

/// The list of documents, with the open one marked. Ends with the error catalogue.
pub fn navigation(documents: &[Document], open: &str, language: Language) -> String {
    let mut items = String::new();
    let catalogue = match language {
        Language::En => ("/docs/errors/", "Error catalogue"),
        Language::Zh => ("/zh/docs/errors/", "错误目录"),
    };
    let entries = documents
        .iter()
        .map(|document| (document.address(), document.title.clone()));
    for (address, title) in entries.chain([(catalogue.0.to_owned(), catalogue.1.to_owned())]) {
        let mark = if address == open {
            " aria-current=\"page\""
        } else {
            ""
        };
        // The documents are in English, whatever the page around them speaks.
        let is_foreign = language != Language::En && address != catalogue.0;
        let tag = if is_foreign { " lang=\"en\"" } else { "" };
        let title = escape(&title);
        items.push_str(&format!(
            "<li><a href=\"{address}\"{tag}{mark}>{title}</a></li>"
        ));
    }
    format!("<ul>{items}</ul>")
}

/// Puts a text into the documentation's two columns.
///
/// # Errors
/// A template whose placeholders do not fit.
pub fn with_navigation(
    layout: &Layout,
    documents: &[Document],
    open: &str,
    language: Language,
    body: &str,
) -> Outcome<String> {
    let label = if language == Language::Zh {
        "使用说明"
    } else {
        "Documentation"
    };
    let values = [
        ("label", label),
        ("items", &navigation(documents, open, language)),
        ("body", body),
    ];
    fill("docs.html", layout.template("docs.html")?, &values)
}

/// Pages, twins and `/llms.txt`.
///
/// # Errors
/// A template whose placeholders do not fit.
pub fn render(layout: &Layout, documents: &[Document]) -> Outcome<Tree> {
    let mut tree = Tree::default();
    let mut list = format!(
        "# {}\n\n> Documentation of the Gatehouse backend that serves this site.\n\n## Docs\n\n",
        layout.site_title
    );
    for document in documents {
        let body = to_html(&document.markdown);
        let main = with_navigation(layout, documents, &document.address(), Language::En, &body)?;
        let twin = format!("/docs/{}.md", document.name);
        let page = Page {
            title: &document.title,
            description: &document.summary,
            language: Language::En,
            head: &format!("<link rel=\"alternate\" type=\"text/markdown\" href=\"{twin}\">"),
            main: &main,
            kind: "docs",
            twin: None,
        };
        tree.put(format!("docs/{}.html", document.name), layout.frame(&page)?);
        tree.put(twin.trim_start_matches('/'), document.markdown.clone());
        list.push_str(&format!(
            "- [{}]({twin}): {}\n",
            document.title, document.summary
        ));
    }
    tree.put("llms.txt", list);
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::{Document, Language, navigation, opening, read, to_html};
    use crate::tree::Tree;

    fn source(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.put(*path, *text);
        }
        tree
    }

    #[test]
    fn the_first_page_sets_the_order() {
        let tree = source(&[
            ("index.md", "# Start\n\n[b](b.md) then [a](a.md#x)"),
            ("a.md", "# A"),
            ("b.md", "# B"),
            ("c.md", "# C"),
            ("snippets/x.md", "no page"),
        ]);
        let documents = read(&tree, Vec::new()).unwrap();
        let names: Vec<&str> = documents
            .iter()
            .map(|document| document.name.as_str())
            .collect();
        assert_eq!(names, ["index", "b", "a", "c"]);
        let zh = navigation(&documents, "/zh/docs/errors/", Language::Zh);
        assert!(zh.contains("<a href=\"/docs/b\" lang=\"en\">B</a>"), "{zh}");
        let list = navigation(&documents, "/docs/b", Language::En);
        assert!(
            list.contains("<a href=\"/docs/b\" aria-current=\"page\">B</a>"),
            "{list}"
        );
    }

    #[test]
    fn a_document_that_the_build_writes_takes_its_place_and_its_name_is_taken() {
        let made = || {
            vec![Document::of(
                "models",
                "# Models\n\nWhat they can do.\n".into(),
            )]
        };
        let tree = source(&[
            ("index.md", "# Start\n\n[m](models.md) then [a](a.md)"),
            ("a.md", "# A"),
        ]);
        let documents = read(&tree, made()).unwrap();
        let titles: Vec<&str> = documents.iter().map(|d| d.title.as_str()).collect();
        assert_eq!(titles, ["Start", "Models", "A"]);
        let twice = source(&[("index.md", "# S"), ("models.md", "# M")]);
        let problem = read(&twice, made()).err().unwrap();
        assert!(
            problem.to_string().starts_with("docs/models.md: the build"),
            "{problem}"
        );
    }

    #[test]
    fn links_between_documents_work_in_both_forms() {
        assert_eq!(
            to_html("[x](limits.md#waits)"),
            "<p><a href=\"/docs/limits#waits\">x</a></p>\n"
        );
        assert_eq!(
            to_html("[x](index.md)"),
            "<p><a href=\"/docs/\">x</a></p>\n"
        );
        assert_eq!(
            to_html("[x](https://e.example/a.md)"),
            "<p><a href=\"https://e.example/a.md\">x</a></p>\n"
        );
    }

    #[test]
    fn a_snippet_is_included_as_code() {
        let tree = source(&[
            ("index.md", "# S\n\n<!-- include: snippets/a.mjs -->\n"),
            ("snippets/a.mjs", "a < b\n"),
        ]);
        let documents = read(&tree, Vec::new()).unwrap();
        assert_eq!(documents[0].markdown, "# S\n\n```js\na < b\n```\n");
        let missing = source(&[("index.md", "# S\n\n<!-- include: snippets/b.mjs -->\n")]);
        assert_eq!(
            read(&missing, Vec::new()).err().unwrap().to_string(),
            "docs/index.md:3: there is no file docs/snippets/b.mjs to include"
        );
    }

    #[test]
    fn title_and_summary_are_plain_text() {
        let (title, summary) = opening("# The `x` *way*\n\nOne [link](a.md)\nand more.\n\nTwo.");
        assert_eq!(
            (title.as_str(), summary.as_str()),
            ("The x way", "One link and more.")
        );
    }

    #[test]
    fn a_document_without_a_title_is_refused() {
        let problem = read(&source(&[("index.md", "text")]), Vec::new())
            .err()
            .unwrap();
        assert!(
            problem
                .to_string()
                .starts_with("docs/index.md: the first line"),
            "{problem}"
        );
    }
}
