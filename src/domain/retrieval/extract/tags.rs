//! HTML cut into tags and text (WHATWG HTML §13.2.5, as far as text needs it).

use std::borrow::Cow;
use std::collections::BTreeMap;

use pulldown_cmark::{Event, Parser};

/// Elements whose content is no markup up to their end tag.
const RAW: &[&str] = &[
    "iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp",
];

/// A longer name is no element of HTML; only that much of it is compared.
const NAME_BYTES: usize = 32;

/// The longest character reference is `&CounterClockwiseContourIntegral;`.
const REFERENCE_BYTES: usize = 34;

pub(super) enum Token<'a> {
    /// With character references read.
    Text(Cow<'a, str>),
    Open {
        name: String,
        attributes: Attributes<'a>,
    },
    Close {
        name: String,
    },
}

/// What of a tag's attributes says how its content is shown.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) style: Option<Cow<'a, str>>,
    pub(super) is_hidden: bool,
    pub(super) is_open: bool,
    pub(super) closes_itself: bool,
}

pub(super) struct Tokens<'a> {
    rest: &'a str,
    is_xml: bool,
    /// The element whose raw content comes next.
    raw: Option<String>,
    names: Names<'a>,
}

/// Names of characters that were looked up, since that is slow. 2125 exist; a document with more than
/// [`MAX_NAMES`] makes them up.
type Names<'a> = BTreeMap<&'a str, Option<String>>;

const MAX_NAMES: usize = 4096;

impl<'a> Tokens<'a> {
    pub(super) fn of(html: &'a str, is_xml: bool) -> Self {
        Self {
            rest: html,
            is_xml,
            raw: None,
            names: Names::new(),
        }
    }

    fn raw_text(&mut self, name: &str) -> Token<'a> {
        let end = end_tag(self.rest, name).unwrap_or(self.rest.len());
        let text = self.take(end);
        // Of these alone the text is shown, and references are read.
        match name {
            "textarea" | "title" => Token::Text(unescape(text, &mut self.names)),
            _ => Token::Text(Cow::Borrowed(text)),
        }
    }

    fn take(&mut self, end: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Passes over everything up to `mark` and the mark; over all when it is missing.
    fn skip_past(&mut self, mark: &str) {
        self.rest = self.rest.split_once(mark).map_or("", |(_, rest)| rest);
    }

    /// What begins with `<`. `None` when it is passed over.
    fn tag(&mut self) -> Option<Token<'a>> {
        let rest = self.rest.strip_prefix('<')?;
        if let Some(comment) = rest.strip_prefix("!--") {
            self.rest = comment;
            let at_once = comment.strip_prefix('>').or(comment.strip_prefix("->"));
            match at_once {
                Some(after) => self.rest = after,
                None => self.skip_past("-->"),
            }
            return None;
        }
        if let Some(data) = rest.strip_prefix("![CDATA[")
            && self.is_xml
        {
            self.rest = data;
            let text = data.split_once("]]>").map_or(data, |(text, _)| text);
            self.skip_past("]]>");
            return Some(Token::Text(Cow::Borrowed(text)));
        }
        if let Some(after) = rest.strip_prefix('/') {
            if !after.starts_with(|c: char| c.is_ascii_alphabetic()) {
                self.skip_past(">");
                return None;
            }
            self.rest = after;
            let name = self.name();
            self.attributes();
            return Some(Token::Close { name });
        }
        if rest.starts_with(['!', '?']) {
            self.skip_past(">");
            return None;
        }
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            self.rest = rest;
            return Some(Token::Text(Cow::Borrowed("<")));
        }
        self.rest = rest;
        let name = self.name();
        let attributes = self.attributes();
        if RAW.contains(&name.as_str()) && !self.is_xml {
            self.raw = Some(name.clone());
        }
        Some(Token::Open { name, attributes })
    }

    fn name(&mut self) -> String {
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>');
        let name = self.take(self.rest.find(ends).unwrap_or(self.rest.len()));
        let short = name.get(..name.floor_char_boundary(NAME_BYTES));
        short.unwrap_or(name).to_ascii_lowercase()
    }

    /// Reads up to the end of the tag, and past it. A tag that nothing ends is the end of the document.
    fn attributes(&mut self) -> Attributes<'a> {
        let mut found = Attributes::default();
        loop {
            let before = self.rest;
            self.rest = before.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if let Some(rest) = self.rest.strip_prefix('>') {
                let passed = before.len().saturating_sub(self.rest.len());
                found.closes_itself = before.get(..passed).unwrap_or_default().ends_with('/');
                self.rest = rest;
                return found;
            }
            if self.rest.is_empty() {
                return found;
            }
            // A `=` that begins a name belongs to it.
            let first = self.rest.chars().next().map_or(0, char::len_utf8);
            let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '=');
            let after_first = self.rest.get(first..).unwrap_or_default();
            let length = after_first.find(ends).unwrap_or(after_first.len());
            let name = self.take(first.saturating_add(length));
            let value = self.value();
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            // The first of two counts.
            if is("id") {
                let read = value.map(|value| unescape(value, &mut self.names));
                found.id = found.id.or(read);
            } else if is("style") {
                let read = value.map(|value| unescape(value, &mut self.names));
                found.style = found.style.or(read);
            } else if is("hidden") {
                found.is_hidden = true;
            } else if is("open") {
                found.is_open = true;
            }
        }
    }

    fn value(&mut self) -> Option<&'a str> {
        let after = self
            .rest
            .trim_start_matches(|c: char| c.is_ascii_whitespace());
        let value = after.strip_prefix('=')?;
        self.rest = value.trim_start_matches(|c: char| c.is_ascii_whitespace());
        for quote in ["\"", "'"] {
            if let Some(quoted) = self.rest.strip_prefix(quote) {
                let (value, rest) = quoted.split_once(quote).unwrap_or((quoted, ""));
                self.rest = rest;
                return Some(value);
            }
        }
        let ends = |c: char| c.is_ascii_whitespace() || c == '>';
        Some(self.take(self.rest.find(ends).unwrap_or(self.rest.len())))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if let Some(name) = self.raw.take() {
            return Some(self.raw_text(&name));
        }
        while !self.rest.is_empty() {
            let text = self.take(self.rest.find('<').unwrap_or(self.rest.len()));
            if !text.is_empty() {
                return Some(Token::Text(unescape(text, &mut self.names)));
            }
            if let Some(token) = self.tag() {
                return Some(token);
            }
        }
        None
    }
}

/// Where `</name` begins.
fn end_tag(text: &str, name: &str) -> Option<usize> {
    let mut from = 0_usize;
    while let Some(found) = text.get(from..)?.find("</") {
        let at = from.saturating_add(found);
        let after = text.get(at.saturating_add(2)..)?;
        let named = after.get(..name.len());
        let closes = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>');
        let ends = after
            .get(name.len()..)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(closes));
        if named.is_some_and(|named| named.eq_ignore_ascii_case(name)) && ends {
            return Some(at);
        }
        from = at.saturating_add(2);
    }
    None
}

/// Reads character references (§13.5); what is none stays as it is.
fn unescape<'a>(text: &'a str, names: &mut Names<'a>) -> Cow<'a, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let near = after.get(..after.floor_char_boundary(REFERENCE_BYTES));
        let name = near
            .and_then(|near| near.split_once(';'))
            .map(|(name, _)| name);
        match name.and_then(|name| Some((name, referred(name, names)?))) {
            Some((name, character)) => {
                out.push_str(&character);
                rest = after
                    .get(name.len().saturating_add(1)..)
                    .unwrap_or_default();
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn referred<'a>(name: &'a str, names: &mut Names<'a>) -> Option<String> {
    let simple = match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        "nbsp" => "\u{A0}",
        _ => "",
    };
    if !simple.is_empty() {
        return Some(simple.to_owned());
    }
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32).map(String::from);
    }
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    if let Some(known) = names.get(name) {
        return known.clone();
    }
    if names.len() >= MAX_NAMES {
        return None;
    }
    // The Markdown reader has the table of all.
    let reference = format!("&{name};");
    let read: String = Parser::new(&reference)
        .filter_map(|event| match event {
            Event::Text(text) => Some(text.into_string()),
            _ => None,
        })
        .collect();
    let read = (read != reference).then_some(read);
    names.insert(name, read.clone());
    read
}

#[cfg(test)]
mod tests {
    use super::{Names, unescape};

    #[test]
    fn names_that_are_made_up_are_looked_up_a_bounded_number_of_times() {
        let text: String = (0..10_000).map(|n| format!("&x{n};")).collect();
        let mut names = Names::new();
        assert_eq!(unescape(&text, &mut names), text);
        assert_eq!(names.len(), super::MAX_NAMES);
        assert_eq!(unescape("&amp;&#65;", &mut names), "&A");
    }

    #[test]
    fn character_references_are_read() {
        let table = [
            ("plain", "plain"),
            (
                "a &amp; b &lt;c&gt; &quot;d&quot; &apos;",
                "a & b <c> \"d\" '",
            ),
            ("&eacute;&NotEqualTilde;&copy;", "é≂\u{338}©"),
            ("&#233;&#xE9;&#XE9;", "ééé"),
            (
                "AT&T; & &; &&amp; &#; &#x; &#xD800; &nosuch;",
                "AT&T; & &; && &#; &#x; &#xD800; &nosuch;",
            ),
            ("&CounterClockwiseContourIntegral;", "∳"),
            ("&键;&", "&键;&"),
        ];
        for (text, expected) in table {
            assert_eq!(unescape(text, &mut Names::new()), expected, "{text}");
        }
    }
}
