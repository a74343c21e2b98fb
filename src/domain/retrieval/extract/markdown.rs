//! Markdown: its blocks, under the path of their headings. What HTML stands in it is read as HTML, so that a hidden
//! element hides here too.

use std::ops::Range;

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::html::Reader;
use super::{Blocks, ExtractFault};

/// The anchor is the line on which a paragraph, list or table begins, from 1.
pub(super) fn read(text: &str, blocks: &mut Blocks) -> Result<(), ExtractFault> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut lines = Lines {
        text,
        at: 0,
        line: 1,
    };
    let mut reader = Reader::new(blocks, false);
    let mut depth = 0_usize;
    let mut metadata = false;
    // A raw element often is several events, cut at its lines.
    let mut raw = String::new();
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        if let Event::Html(html) | Event::InlineHtml(html) = &event {
            raw.push_str(html);
            continue;
        }
        if !raw.is_empty() {
            reader.html(&raw)?;
            raw.clear();
        }
        match event {
            Event::Start(Tag::MetadataBlock(_)) => metadata = true,
            Event::End(TagEnd::MetadataBlock(_)) => metadata = false,
            _ if metadata => {}
            Event::Start(tag) => {
                if depth == 0 {
                    reader.anchor(&lines.anchor(&range))?;
                }
                depth = depth.saturating_add(1);
                if let Some(name) = element(&tag.to_end()) {
                    reader.open(name, false, None)?;
                }
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                if let Some(name) = element(&tag) {
                    reader.close(name)?;
                }
            }
            Event::Text(text) | Event::Code(text) => reader.text(&text),
            Event::SoftBreak => reader.text(" "),
            Event::HardBreak => reader.text_break(),
            Event::Rule => reader.anchor(&lines.anchor(&range))?,
            Event::InlineMath(math) | Event::DisplayMath(math) => reader.text(&math),
            Event::TaskListMarker(_) | Event::FootnoteReference(_) => {}
            Event::Html(_) | Event::InlineHtml(_) => {}
        }
    }
    reader.html(&raw)?;
    reader.finish()
}

/// The HTML element that a piece of Markdown is; none for what only frames others.
fn element(tag: &TagEnd) -> Option<&'static str> {
    Some(match tag {
        TagEnd::Heading(level) => match level {
            HeadingLevel::H1 => "h1",
            HeadingLevel::H2 => "h2",
            HeadingLevel::H3 => "h3",
            HeadingLevel::H4 => "h4",
            HeadingLevel::H5 => "h5",
            HeadingLevel::H6 => "h6",
        },
        TagEnd::Paragraph | TagEnd::FootnoteDefinition => "p",
        TagEnd::BlockQuote(_) => "blockquote",
        TagEnd::CodeBlock => "pre",
        TagEnd::List(_) => "ul",
        TagEnd::Item => "li",
        TagEnd::Table => "table",
        TagEnd::TableHead | TagEnd::TableRow => "tr",
        TagEnd::TableCell => "td",
        _ => return None,
    })
}

/// Lines, counted as far as the events have come.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn anchor(&mut self, range: &Range<usize>) -> CowStr<'static> {
        if let Some(passed) = self.text.get(self.at..range.start) {
            let breaks = passed.bytes().filter(|b| *b == b'\n').count();
            self.line = self.line.saturating_add(breaks);
            self.at = range.start;
        }
        format!("line {}", self.line).into()
    }
}
