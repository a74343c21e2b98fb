//! HTML: the text that a reader of the page sees.
//!
//! [`Reader`] takes a document tag by tag, so that it needs no tree and no more memory than its text; [`super::tags`] cuts
//! the tags. A page is never wrong: what no browser would make sense of is passed over.

use super::tags::{Attributes, Token, Tokens};
use super::{Blocks, ExtractFault};

/// Elements whose content is never shown: scripts and styles, and what stands in for something else.
const UNSEEN: &[&str] = &[
    "audio", "canvas", "datalist", "iframe", "noembed", "noframes", "noscript", "object", "script",
    "style", "template", "video",
];

/// Elements without content, which no tag closes.
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];

/// Elements that begin a line of their own.
const LINES: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "dd",
    "details",
    "dialog",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "html",
    "legend",
    "li",
    "main",
    "nav",
    "ol",
    "optgroup",
    "option",
    "p",
    "pre",
    "search",
    "section",
    "select",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "tr",
    "ul",
];

/// Elements that end where the next of them begins or what holds them ends, so their end tags may be missing.
const ITEMS: &[&[&str]] = &[&["li"], &["dt", "dd"], &["tr"], &["td", "th"], &["option"]];
const HOLDERS: &[&str] = &["ul", "ol", "dl", "table", "select"];

/// A heading longer than this, in bytes, is one that nothing closes.
const LONGEST_HEADING: usize = 1024;

/// The anchor is the id of the nearest element above that begins a line.
pub(super) fn read(text: &str, blocks: &mut Blocks) -> Result<(), ExtractFault> {
    let is_xml = text.trim_start().starts_with("<?xml");
    let mut reader = Reader::new(blocks, is_xml);
    reader.html(text)?;
    reader.finish()
}

/// A document on its way to stretches of text.
pub(super) struct Reader<'b> {
    blocks: &'b mut Blocks,
    is_xml: bool,
    /// The headings above, outermost first, with their levels.
    path: Vec<(u8, String)>,
    anchor: String,
    text: String,
    /// The heading that is open: its level and text.
    heading: Option<(u8, String)>,
    preformatted: bool,
    hidden: Option<Hidden>,
    /// Whether the last heading has text or a heading below it.
    bare: bool,
}

/// A hidden element that is open.
struct Hidden {
    name: String,
    /// How many of its name are open, itself included.
    depth: u32,
    /// How many lists and tables are open in it.
    held: u32,
}

impl<'b> Reader<'b> {
    pub(super) fn new(blocks: &'b mut Blocks, is_xml: bool) -> Self {
        Self {
            blocks,
            is_xml,
            path: Vec::new(),
            anchor: String::new(),
            text: String::new(),
            heading: None,
            preformatted: false,
            hidden: None,
            bare: false,
        }
    }

    /// Reads a piece of HTML; an element may begin in one piece and end in another.
    pub(super) fn html(&mut self, html: &str) -> Result<(), ExtractFault> {
        for token in Tokens::of(html, self.is_xml) {
            match token {
                Token::Text(text) => self.text(&text),
                Token::Open { name, attributes } => {
                    self.open(&name, attributes.hidden(&name), attributes.id())?;
                    if attributes.closes_itself && self.is_xml {
                        self.close(&name)?;
                    }
                }
                Token::Close { name } => self.close(&name)?,
            }
        }
        Ok(())
    }

    /// An element begins.
    pub(super) fn open(
        &mut self,
        name: &str,
        is_hidden: bool,
        id: Option<&str>,
    ) -> Result<(), ExtractFault> {
        if let Some(hidden) = &mut self.hidden {
            if !hidden.ends_before(name) {
                hidden.opens(name);
                return Ok(());
            }
            self.hidden = None;
        }
        let is_void = VOID.contains(&name);
        if (is_hidden || UNSEEN.contains(&name)) && !is_void {
            self.hidden = Some(Hidden {
                name: name.to_owned(),
                depth: 1,
                held: 0,
            });
            return Ok(());
        }
        let level = level(name);
        let begins_line = LINES.contains(&name) || level.is_some();
        if begins_line && name != "br" {
            self.end_heading_before(name)?;
        }
        if let Some(id) = id
            && (begins_line || self.text.trim().is_empty())
        {
            self.anchor(&format!("#{id}"))?;
        }
        match name {
            "br" => self.text_break(),
            "pre" => {
                self.text_break();
                self.preformatted = true;
            }
            "td" | "th" if !self.at_line_start() => self.push(" | "),
            "title" if self.path.is_empty() => self.heading = Some((1, String::new())),
            _ if begins_line => self.text_break(),
            _ => {}
        }
        if let Some(level) = level {
            self.flush()?;
            self.heading = Some((level, String::new()));
        }
        Ok(())
    }

    /// An element ends.
    pub(super) fn close(&mut self, name: &str) -> Result<(), ExtractFault> {
        if let Some(hidden) = &mut self.hidden {
            if !hidden.closes(name) {
                return Ok(());
            }
            let was_it = hidden.name == name;
            self.hidden = None;
            if was_it {
                return Ok(());
            }
        }
        if level(name).is_some() || name == "title" {
            self.end_heading()?;
        } else if name == "pre" {
            self.preformatted = false;
            self.text_break();
        } else if LINES.contains(&name) {
            self.text_break();
        }
        Ok(())
    }

    /// Characters between tags.
    pub(super) fn text(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        if self.preformatted && self.heading.is_none() {
            self.text.push_str(text);
            return;
        }
        let out = match &mut self.heading {
            Some((_, heading)) => heading,
            None => &mut self.text,
        };
        for c in text.chars() {
            if !c.is_whitespace() || c == '\u{A0}' {
                out.push(c);
            } else if !out.is_empty() && !out.ends_with([' ', '\n']) {
                out.push(' ');
            }
        }
        if let Some((_, heading)) = &self.heading
            && heading.len() > LONGEST_HEADING
        {
            // Nobody closed it: it is text.
            let heading = self.heading.take();
            self.text.push_str(&heading.unwrap_or_default().1);
        }
    }

    /// A new line of the same stretch.
    pub(super) fn text_break(&mut self) {
        if self.hidden.is_some() {
            return;
        }
        match &mut self.heading {
            Some((_, heading)) => heading.push(' '),
            None if !self.text.is_empty() && !self.text.ends_with('\n') => self.text.push('\n'),
            None => {}
        }
    }

    /// From here on text has another anchor.
    pub(super) fn anchor(&mut self, anchor: &str) -> Result<(), ExtractFault> {
        if self.hidden.is_some() {
            return Ok(());
        }
        if self.heading.is_none() {
            self.flush()?;
        }
        self.anchor = anchor.to_owned();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), ExtractFault> {
        self.end_heading()?;
        self.flush()?;
        self.keep_bare(u8::MIN)
    }

    fn push(&mut self, text: &str) {
        match &mut self.heading {
            Some((_, heading)) => heading.push_str(text),
            None => self.text.push_str(text),
        }
    }

    fn at_line_start(&self) -> bool {
        self.text.is_empty() || self.text.ends_with('\n')
    }

    /// Some elements cannot stand in a heading: one that is open then is closed.
    fn end_heading_before(&mut self, name: &str) -> Result<(), ExtractFault> {
        let may_stand = matches!(name, "div" | "header" | "caption" | "summary");
        if may_stand {
            Ok(())
        } else {
            self.end_heading()
        }
    }

    fn end_heading(&mut self) -> Result<(), ExtractFault> {
        let Some((level, heading)) = self.heading.take() else {
            return Ok(());
        };
        let heading = super::label(&heading);
        if heading.is_empty() {
            return Ok(());
        }
        self.keep_bare(level)?;
        self.path.retain(|(above, _)| *above < level);
        self.path.push((level, heading));
        self.bare = true;
        Ok(())
    }

    /// A heading with nothing below it is text itself: it may be all that a slide or an agenda has.
    fn keep_bare(&mut self, next: u8) -> Result<(), ExtractFault> {
        if let Some((level, heading)) = self.path.last()
            && self.bare
            && *level >= next
        {
            let heading = heading.clone();
            self.blocks.push(&self.joined(), &self.anchor, &heading)?;
        }
        self.bare = false;
        Ok(())
    }

    fn joined(&self) -> String {
        let names: Vec<&str> = self.path.iter().map(|(_, name)| name.as_str()).collect();
        names.join(" > ")
    }

    fn flush(&mut self) -> Result<(), ExtractFault> {
        if !self.text.trim().is_empty() {
            self.bare = false;
            let heading = self.joined();
            self.blocks.push(&heading, &self.anchor, &self.text)?;
        }
        self.text.clear();
        Ok(())
    }
}

impl Hidden {
    /// Whether the tag `name` begins something outside, since this element has no end tag.
    fn ends_before(&self, name: &str) -> bool {
        if self.held > 0 {
            return false;
        }
        let siblings = ITEMS
            .iter()
            .find(|items| items.contains(&self.name.as_str()));
        match siblings {
            Some(siblings) => siblings.contains(&name),
            None => self.name == "p" && (LINES.contains(&name) || level(name).is_some()),
        }
    }

    fn opens(&mut self, name: &str) {
        if name == self.name && !VOID.contains(&name) {
            self.depth = self.depth.saturating_add(1);
        }
        if HOLDERS.contains(&name) {
            self.held = self.held.saturating_add(1);
        }
    }

    /// Whether the end tag `name` ends this element.
    fn closes(&mut self, name: &str) -> bool {
        if name == self.name {
            self.depth = self.depth.saturating_sub(1);
            return self.depth == 0;
        }
        if !HOLDERS.contains(&name) {
            return self.name == "p" && LINES.contains(&name);
        }
        let is_item = ITEMS
            .iter()
            .any(|items| items.contains(&self.name.as_str()));
        if self.held == 0 {
            return is_item || self.name == "p";
        }
        self.held = self.held.saturating_sub(1);
        false
    }
}

fn level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', digit @ b'1'..=b'6'] => Some(digit.saturating_sub(b'0')),
        _ => None,
    }
}

impl Attributes<'_> {
    /// Whether a browser shows nothing of the element. Style sheets are not read.
    fn hidden(&self, name: &str) -> bool {
        let style = self.style.as_deref().unwrap_or_default();
        let style: String = style
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let says = style.split(';').any(|rule| {
            let rule = rule.trim_end_matches("!important");
            matches!(
                rule,
                "display:none"
                    | "visibility:hidden"
                    | "visibility:collapse"
                    | "content-visibility:hidden"
                    | "opacity:0"
                    | "font-size:0"
                    | "font-size:0px"
            )
        });
        says || self.is_hidden || (name == "dialog" && !self.is_open)
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref().filter(|id| !id.trim().is_empty())
    }
}
