//! What runs when a document is opened: scripts of pages and images, actions of a PDF, macros of office documents.

use super::bytes::{begins, is_word, run};
use super::matched::Match;
use super::report::Rule;
use super::window::Spot;

/// Finds a name in a PDF that makes it do something; the slash is at the place. Names may be written with `#` and two
/// hex digits for a character (ISO 32000-1 §7.3.5). What lies in compressed objects is not seen.
pub(super) fn pdf_name(spot: &Spot<'_>) -> Option<Match> {
    const NAMES: [(&[u8], Rule); 14] = [
        (b"JavaScript", Rule::PdfScript),
        (b"JS", Rule::PdfScript),
        (b"Launch", Rule::PdfLaunch),
        (b"EmbeddedFile", Rule::PdfAttachment),
        (b"EmbeddedFiles", Rule::PdfAttachment),
        (b"OpenAction", Rule::PdfOpenAction),
        (b"AA", Rule::PdfOpenAction),
        (b"RichMedia", Rule::PdfActiveForm),
        (b"XFA", Rule::PdfActiveForm),
        (b"SubmitForm", Rule::PdfActiveForm),
        (b"ImportData", Rule::PdfActiveForm),
        (b"GoToE", Rule::PdfActiveForm),
        (b"GoToR", Rule::PdfActiveForm),
        (b"Movie", Rule::PdfActiveForm),
    ];
    let rest = spot.rest.get(1..spot.rest.len().min(64))?;
    let mut name = Vec::with_capacity(16);
    let mut length = 1_usize;
    let mut bytes = rest.iter().copied();
    while let Some(byte) = bytes.next() {
        if name.len() > 16 {
            return None;
        }
        if byte == b'#' {
            let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
            let code = digit()?.saturating_mul(16).saturating_add(digit()?);
            name.push(u8::try_from(code).ok()?);
            length = length.saturating_add(3);
        } else if byte.is_ascii_alphanumeric() {
            name.push(byte);
            length = length.saturating_add(1);
        } else {
            break;
        }
    }
    let (known, rule) = NAMES.iter().find(|(known, _)| *known == name)?;
    // Two letters come about by chance in compressed bytes: what they name must follow.
    let after = spot.rest.get(length..)?;
    let after = after.get(run(after, |b| b.is_ascii_whitespace())..)?;
    let named = matches!(
        after.first(),
        Some(b'(' | b'<' | b'[' | b'/' | b'>' | b'0'..=b'9')
    );
    (known.len() > 2 || named).then(|| {
        Match::new(
            *rule,
            length,
            format!("/{}", String::from_utf8_lossy(known)),
        )
    })
}

/// Finds what makes a page or an image run a script, in a document of markup; `<` is at the place.
pub(super) fn markup_script(spot: &Spot<'_>) -> Option<Match> {
    let tags: [&[u8]; 4] = [
        b"<script",
        b"<foreignobject",
        b"<?xml-stylesheet",
        b"<xsl:script",
    ];
    let local = || {
        // `<s:script` under another prefix.
        let name = spot.rest.get(1..spot.rest.len().min(24))?;
        let colon = run(name, is_word);
        (name.get(colon) == Some(&b':')).then_some(())?;
        begins(name.get(colon.saturating_add(1)..)?, b"script").then_some(colon.saturating_add(8))
    };
    let length = tags
        .iter()
        .find(|tag| begins(spot.rest, tag))
        .map(|tag| tag.len())
        .or_else(local)?;
    ended(spot, length).then(|| told(Rule::MarkupScript, spot, length))
}

/// How those begin that [`markup_attribute`] finds, in any case.
pub(super) const ATTRIBUTE_BEGINNINGS: [&str; 2] = ["javascript:", "on"];

/// Finds `javascript:` and attributes like `onload=`, in a document of markup; their first letter is at the place.
pub(super) fn markup_attribute(spot: &Spot<'_>) -> Option<Match> {
    const URL: &[u8] = b"javascript:";
    if begins(spot.rest, URL) {
        return Some(told(Rule::MarkupScript, spot, URL.len()));
    }
    let separated = spot
        .last()
        .is_some_and(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'/'));
    if !separated || !begins(spot.rest, b"on") {
        return None;
    }
    let name = run(spot.rest.get(..spot.rest.len().min(32))?, |b| {
        b.is_ascii_alphabetic()
    });
    let rest = spot.rest.get(name..)?;
    let value = rest
        .get(run(rest, |b| b.is_ascii_whitespace())..)?
        .strip_prefix(b"=")?;
    let value = value.get(run(value, |b| b.is_ascii_whitespace())..)?;
    (name >= 5 && matches!(value.first(), Some(b'"' | b'\'' | b'a'..=b'z')))
        .then(|| told(Rule::MarkupScript, spot, name))
}

/// Finds markup, or a script of a server, in something that should have none; `<` is at the place.
pub(super) fn markup_inside(spot: &Spot<'_>) -> Option<Match> {
    let tags: [&[u8]; 7] = [
        b"<script",
        b"<html",
        b"<!doctype html",
        b"<iframe",
        b"<svg",
        b"<?php",
        b"<body",
    ];
    let length = tags.iter().find(|tag| begins(spot.rest, tag))?.len();
    ended(spot, length).then(|| told(Rule::HiddenMarkup, spot, length))
}

/// Finds the name of the storage that holds the macros of an older office document, in UTF-16; its first byte is at the
/// place.
pub(super) fn old_macro(spot: &Spot<'_>) -> Option<Match> {
    const NAME: &[u8] = b"_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T\0";
    spot.after(NAME)?;
    Some(Match::new(
        Rule::OfficeMacro,
        NAME.len(),
        "_VBA_PROJECT".to_owned(),
    ))
}

fn ended(spot: &Spot<'_>, length: usize) -> bool {
    spot.ahead(length).is_none_or(|b| !is_word(b) && b != b'-')
}

fn told(rule: Rule, spot: &Spot<'_>, length: usize) -> Match {
    let text = String::from_utf8_lossy(spot.rest.get(..length).unwrap_or_default());
    Match::new(rule, length, text.into_owned())
}
