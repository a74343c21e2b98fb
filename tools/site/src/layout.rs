//! The frame around Gatehouse's own pages.

use crate::html::escape;
use crate::problem::{Outcome, Problem};
use crate::template::fill;
use crate::tree::Tree;

/// A language that Gatehouse's own pages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    En,
    /// Simplified Chinese.
    Zh,
}

impl Language {
    /// BCP 47 tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-Hans",
        }
    }

    /// Where the pages of this language begin, without a `/` at the end.
    pub const fn start(self) -> &'static str {
        match self {
            Self::En => "",
            Self::Zh => "/zh",
        }
    }

    /// The other one, and its own name for itself.
    const fn other(self) -> (Self, &'static str) {
        match self {
            Self::En => (Self::Zh, "中文"),
            Self::Zh => (Self::En, "English"),
        }
    }
}

/// Gatehouse's templates and the operator's title.
pub struct Layout {
    /// Files of `tools/site/pages`.
    pub templates: Tree,
    /// The operator's name for the site, as plain text.
    pub site_title: String,
}

/// One page before it is framed.
pub struct Page<'a> {
    /// Plain text.
    pub title: &'a str,
    /// Plain text, one sentence.
    pub description: &'a str,
    pub language: Language,
    /// HTML for `<head>`.
    pub head: &'a str,
    /// HTML inside `<main>`.
    pub main: &'a str,
    /// A class of `<body>`.
    pub kind: &'a str,
    /// Address of the page below [`Language::start`], where the other language has it too.
    pub twin: Option<&'a str>,
}

impl Layout {
    /// A template's text.
    ///
    /// # Errors
    /// There is no such template.
    pub fn template(&self, name: &str) -> Outcome<&str> {
        let missing = || {
            Problem::new(
                format!("tools/site/pages/{name}"),
                "the template is missing",
            )
        };
        self.templates.text(name).ok_or_else(missing)
    }

    /// Puts the frame around a page.
    ///
    /// # Errors
    /// A template whose placeholders do not fit.
    pub fn frame(&self, page: &Page<'_>) -> Outcome<String> {
        let zh = page.language == Language::Zh;
        let title = format!("{} · {}", page.title, self.site_title);
        let (other, name) = page.language.other();
        let (start, tag) = (other.start(), other.tag());
        let other = page.twin.map_or_else(String::new, |path| {
            format!("<a href=\"{start}{path}\" lang=\"{tag}\" hreflang=\"{tag}\">{name}</a>")
        });
        fill(
            "layout.html",
            self.template("layout.html")?,
            &[
                ("lang", page.language.tag()),
                ("title", &escape(&title)),
                ("description", &escape(page.description)),
                ("head", page.head),
                ("kind", page.kind),
                (
                    "skip",
                    if zh {
                        "跳到正文"
                    } else {
                        "Skip to content"
                    },
                ),
                ("site", &escape(&self.site_title)),
                ("nav", if zh { "网站" } else { "Site" }),
                ("conversations", if zh { "会话" } else { "Conversations" }),
                ("documents", if zh { "文档存放" } else { "Documents" }),
                ("docs", if zh { "使用说明" } else { "Docs" }),
                ("start", page.language.start()),
                ("other", &other),
                ("main", page.main),
            ],
        )
    }
}
