//! Text of pages inside Markdown that must stay text (CommonMark 0.31 §2.4 backslash escapes; GFM autolinks).

use super::tokens::is_ignorable;

/// `text` on one line, with every character escaped that Markdown or HTML could read as markup.
///
/// Control characters and those that have no glyph (bidirectional overrides among them) are left out.
pub(super) fn escaped(text: &str) -> String {
    let words = text.split_whitespace().flat_map(|word| [" ", word]).skip(1);
    let seen = |c: &char| !c.is_control() && (!is_ignorable(*c) || is_joined(*c));
    let mut chars = words.flat_map(str::chars).filter(seen).peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        if is_markup(&out, c, chars.peek().copied()) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Marks that change the letter before them and are seen: combining accents, variation selectors, the joiner of emoji.
fn is_joined(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}' | '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
}

/// Whether `c` between `before` and `next` could be read as markup.
fn is_markup(before: &str, c: char, next: Option<char>) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match c {
        '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '~' | '|' | '$' | '{' | '}'
        | '@' => true,
        // `https://…` and `www.…` become links by themselves.
        ':' => next == Some('/'),
        '.' if before.ends_with("www") || before.ends_with("WWW") => true,
        // Headings, list markers, rules.
        '#' | '-' | '+' | '=' => before.is_empty(),
        '.' | ')' => is_number(before),
        _ => false,
    }
}

/// `url` as the destination of a link, or nothing when it leads out of the site.
pub(super) fn link_target(url: &str) -> Option<String> {
    let leads_out =
        url.starts_with("//") || url.contains(['\\', '\0']) || url.contains(char::is_control);
    if !url.starts_with('/') || leads_out {
        return None;
    }
    let mut out = String::with_capacity(url.len());
    for c in url.chars() {
        match c {
            '(' | ')' | '<' | '>' | '"' | '`' | '[' | ']' | '*' | '|' | ';' => {
                // ASCII, so one byte each; `;` would end an entity.
                out.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c if c.is_whitespace() => out.push_str("%20"),
            c if is_ignorable(c) => {}
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{escaped, link_target};

    #[test]
    fn markup_becomes_text() {
        let table = [
            (
                "Plain, words (and more): 你好。",
                "Plain, words (and more): 你好。",
            ),
            (
                "[click](javascript:alert(1))",
                r"\[click\](javascript:alert(1))",
            ),
            (
                "![x](//evil.example/p.png)",
                r"!\[x\](//evil.example/p.png)",
            ),
            (
                "<img src=x onerror=alert(1)>",
                r"\<img src=x onerror=alert(1)\>",
            ),
            (
                "**bold** _it_ `code` ~~no~~",
                r"\*\*bold\*\* \_it\_ \`code\` \~\~no\~\~",
            ),
            ("&lt;b&gt; \\*", r"\&lt;b\&gt; \\\*"),
            (
                "see https://evil.example or www.evil.example",
                r"see https\://evil.example or www\.evil.example",
            ),
            ("mail a@evil.example", r"mail a\@evil.example"),
            ("# head", r"\# head"),
            ("- item", r"\- item"),
            ("1. item", r"1\. item"),
            ("2) item", r"2\) item"),
            ("a\n\n# head\n> out\r\n\u{85}- x", r"a # head \> out - x"),
            ("a\u{202E}b\u{200B}c\u{0}\u{1B}[31m", r"abc\[31m"),
            (
                "follow. 1.5 s (2) key: value",
                "follow. 1.5 s (2) key: value",
            ),
            ("e\u{301} 👩\u{200D}💻", "e\u{301} 👩\u{200D}💻"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    #[test]
    fn links_stay_inside_the_site_and_inside_their_brackets() {
        let table = [
            ("/docs/limits#burst", Some("/docs/limits#burst")),
            ("/docs/限流#突发", Some("/docs/限流#突发")),
            ("/a b)c(d", Some("/a%20b%29c%28d")),
            ("/a?b=1&copy;=2", Some("/a?b=1&copy%3B=2")),
            ("/a_b_c[d]", Some("/a_b_c%5Bd%5D")),
            ("/a\u{202E}b", Some("/ab")),
            ("//evil.example/", None),
            ("/\\evil.example/", None),
            ("https://evil.example/", None),
            ("javascript:alert(1)", None),
            ("/a\nb", None),
            ("", None),
        ];
        for (url, expected) in table {
            assert_eq!(link_target(url).as_deref(), expected, "{url:?}");
        }
    }
}
