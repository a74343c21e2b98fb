//! The error catalogue as pages, and as JSON for the page's scripts.

use std::collections::BTreeMap;

use gatehouse::base::errors::{CATALOGUE, Entry, Fault, Text};
use serde::Serialize;

use crate::docs::{Document, with_navigation};
use crate::html::escape;
use crate::layout::{Language, Layout, Page};
use crate::problem::{Outcome, Problem};
use crate::template::fill;
use crate::tree::Tree;

/// One entry as the page's scripts read it.
#[derive(Serialize)]
struct Spoken {
    status: u16,
    retryable: bool,
    title: &'static str,
    fix: &'static str,
}

impl Language {
    const fn text(self, entry: &Entry) -> Text {
        match self {
            Self::En => entry.en,
            Self::Zh => entry.zh,
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::En => "docs/errors",
            Self::Zh => "zh/docs/errors",
        }
    }

    const fn fault(self, fault: Fault) -> &'static str {
        match (self, fault) {
            (Self::En, Fault::Caller) => "Whoever sent the request",
            (Self::En, Fault::Operator) => "The operator of the site",
            (Self::En, Fault::Upstream) => "The model provider",
            (Self::En, Fault::Gatehouse) => "Gatehouse, or the platform under it",
            (Self::Zh, Fault::Caller) => "发送请求的一方",
            (Self::Zh, Fault::Operator) => "网站运营者",
            (Self::Zh, Fault::Upstream) => "模型提供商",
            (Self::Zh, Fault::Gatehouse) => "Gatehouse 或其所在平台",
        }
    }

    const fn retry(self, retryable: bool) -> &'static str {
        match (self, retryable) {
            (Self::En, true) => "Yes: the same request can succeed later without a change.",
            (Self::En, false) => "No: something has to be changed first.",
            (Self::Zh, true) => "可以：同样的请求稍后可能成功。",
            (Self::Zh, false) => "不可以：需要先作出更改。",
        }
    }
}

/// Pages in both languages and `gatehouse/errors.<language>.json`.
///
/// # Errors
/// A template whose placeholders do not fit.
pub fn render(layout: &Layout, documents: &[Document]) -> Outcome<Tree> {
    let mut tree = Tree::default();
    for (language, file) in [
        (Language::En, "errors.en.json"),
        (Language::Zh, "errors.zh.json"),
    ] {
        for entry in &CATALOGUE {
            let path = format!("{}/{}.html", language.folder(), entry.code);
            tree.put(path, page(layout, documents, language, entry)?);
        }
        tree.put(
            format!("{}/index.html", language.folder()),
            index(layout, documents, language)?,
        );
        tree.put(format!("gatehouse/{file}"), json(language)?);
    }
    Ok(tree)
}

fn json(language: Language) -> Outcome<String> {
    let spoken: BTreeMap<&str, Spoken> = CATALOGUE
        .iter()
        .map(|entry| {
            let Text { title, fix } = language.text(entry);
            (
                entry.code,
                Spoken {
                    status: entry.status,
                    retryable: entry.retryable,
                    title,
                    fix,
                },
            )
        })
        .collect();
    serde_json::to_string(&spoken)
        .map_err(|error| Problem::new("src/errors.toml", error.to_string()))
}

fn page(
    layout: &Layout,
    documents: &[Document],
    language: Language,
    entry: &Entry,
) -> Outcome<String> {
    let text = language.text(entry);
    let status = entry.status.to_string();
    let template = if language == Language::Zh {
        "error.zh.html"
    } else {
        "error.en.html"
    };
    let values = [
        ("title", escape(text.title)),
        ("fix", escape(text.fix)),
        ("code", escape(entry.code)),
        ("status", status),
        ("fault", escape(language.fault(entry.fault))),
        ("retry", escape(language.retry(entry.retryable))),
        ("openai_type", escape(entry.openai_type)),
        ("openai_code", escape(entry.openai_code)),
        ("anthropic_type", escape(entry.anthropic_type)),
    ];
    let values: Vec<(&str, &str)> = values
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let body = fill(template, layout.template(template)?, &values)?;
    let open = format!("/{}/", language.folder());
    let main = with_navigation(layout, documents, &open, language, &body)?;
    layout.frame(&Page {
        title: text.title,
        description: text.fix,
        language,
        head: &alternates(&format!("docs/errors/{}", entry.code)),
        main: &main,
        kind: "docs",
        twin: None,
    })
}

fn index(layout: &Layout, documents: &[Document], language: Language) -> Outcome<String> {
    let mut entries: Vec<&Entry> = CATALOGUE.iter().collect();
    entries.sort_by_key(|entry| (entry.status, entry.code));
    let rows: String = entries.iter().map(|entry| row(language, entry)).collect();
    let (template, title) = match language {
        Language::En => ("errors.en.html", "Error catalogue"),
        Language::Zh => ("errors.zh.html", "错误目录"),
    };
    let body = fill(template, layout.template(template)?, &[("rows", &rows)])?;
    let open = format!("/{}/", language.folder());
    let main = with_navigation(layout, documents, &open, language, &body)?;
    layout.frame(&Page {
        title,
        description: if language == Language::Zh {
            "每个错误代码的含义与处理办法。"
        } else {
            "What every error code means and what to do."
        },
        language,
        head: &alternates("docs/errors/"),
        main: &main,
        kind: "docs",
        twin: None,
    })
}

fn row(language: Language, entry: &Entry) -> String {
    let address = format!("/{}/{}", language.folder(), entry.code);
    // A code may be broken after each word, so that the table fits a phone.
    let code = escape(entry.code).replace('_', "_<wbr>");
    let link = format!("<a href=\"{address}\"><code>{code}</code></a>");
    let title = escape(language.text(entry).title);
    let status = entry.status;
    format!("<tr><td>{status}</td><td>{link}</td><td>{title}</td></tr>\n")
}

fn alternates(path: &str) -> String {
    format!(
        "<link rel=\"alternate\" hreflang=\"en\" href=\"/{path}\"><link rel=\"alternate\" hreflang=\"zh-Hans\" href=\"/zh/{path}\">"
    )
}

#[cfg(test)]
mod tests {
    use super::{CATALOGUE, Language, json};

    #[test]
    fn the_json_holds_every_code_in_its_language() {
        let en: serde_json::Value = serde_json::from_str(&json(Language::En).unwrap()).unwrap();
        let zh: serde_json::Value = serde_json::from_str(&json(Language::Zh).unwrap()).unwrap();
        for entry in &CATALOGUE {
            assert_eq!(en[entry.code]["fix"], entry.en.fix);
            assert_eq!(zh[entry.code]["title"], entry.zh.title);
        }
    }
}
