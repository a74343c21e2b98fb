//! References in a stylesheet: `url(…)` and `@import "…"` (CSS Syntax 3, sections 4.3.5 and 4.3.6).

/// Copies a stylesheet, giving every reference to `replace`; what that leaves alone stays as it is.
pub fn rewrite(text: &str, mut replace: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = if rest.starts_with("/*") {
            rest.find("*/")
                .map_or(rest.len(), |end| end.saturating_add(2))
        } else if let Some(found) = url(rest).or_else(|| import(rest)) {
            match replace(found.reference) {
                Some(new) => out.push_str(&format!("{}\"{new}\"{}", found.before, found.after)),
                None => out.push_str(found.whole),
            }
            rest = rest.get(found.whole.len()..).unwrap_or_default();
            continue;
        } else if first == '"' || first == '\'' {
            quoted(rest).map_or(rest.len(), |inner| inner.len().saturating_add(2))
        } else {
            first.len_utf8()
        };
        let (head, tail) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        out.push_str(head);
        rest = tail;
    }
    out
}

struct Found<'a> {
    whole: &'a str,
    before: &'a str,
    reference: &'a str,
    after: &'a str,
}

/// `url(x)`, `url("x")` at the start of `text`.
fn url(text: &str) -> Option<Found<'_>> {
    let open = text
        .get(..4)
        .filter(|head| head.eq_ignore_ascii_case("url("))?;
    let inside = text.get(open.len()..)?;
    let padding = inside.len() - inside.trim_start().len();
    let body = inside.trim_start();
    let (reference, length) = match quoted(body) {
        Some(inner) => (inner, inner.len() + 2),
        None => {
            let bare = body.get(..body.find(')')?)?;
            (bare.trim_end(), bare.len())
        }
    };
    let end = body.get(length..)?.find(')')? + 1;
    Some(Found {
        whole: text.get(..open.len() + padding + length + end)?,
        before: open,
        reference,
        after: ")",
    })
}

/// `@import "x"` at the start of `text`; the form with `url(…)` is found as such.
fn import(text: &str) -> Option<Found<'_>> {
    let keyword = text
        .get(..7)
        .filter(|head| head.eq_ignore_ascii_case("@import"))?;
    let inside = text.get(keyword.len()..)?;
    let padding = inside.len() - inside.trim_start().len();
    let reference = quoted(inside.trim_start())?;
    Some(Found {
        whole: text.get(..keyword.len() + padding + reference.len() + 2)?,
        before: text.get(..keyword.len() + padding)?,
        reference,
        after: "",
    })
}

/// The inside of the string that `text` starts with.
fn quoted(text: &str) -> Option<&str> {
    let mark = text
        .chars()
        .next()
        .filter(|mark| matches!(mark, '"' | '\''))?;
    let inside = text.get(1..)?;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return inside.get(..at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    fn mark(text: &str) -> String {
        rewrite(text, |reference| {
            (!reference.contains(':')).then(|| format!("<{reference}>"))
        })
    }

    #[test]
    fn references_in_every_spelling_are_found() {
        assert_eq!(mark("a{b:url(x.png)}"), "a{b:url(\"<x.png>\")}");
        assert_eq!(mark("a{b:URL( 'x.png' ) c}"), "a{b:URL(\"<x.png>\") c}");
        assert_eq!(
            mark("@import \"a.css\" print;"),
            "@import \"<a.css>\" print;"
        );
        assert_eq!(mark("@import url(a.css);"), "@import url(\"<a.css>\");");
        assert_eq!(
            mark("src:url(a.woff2)format('x'),url(b.woff)"),
            "src:url(\"<a.woff2>\")format('x'),url(\"<b.woff>\")"
        );
    }

    #[test]
    fn comments_strings_and_data_stay() {
        for text in [
            "/* url(x.png) */a{}",
            "a::before{content:\"url(x.png)\"}",
            "a{b:url(data:image/png;base64,AA==)}",
            "a{content:'it\\'s url(x)'}",
            "a{b:url(x",
            "/* open",
        ] {
            assert_eq!(mark(text), text);
        }
    }
}
