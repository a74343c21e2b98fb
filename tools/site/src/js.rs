//! Module specifiers in JavaScript: `import "x"`, `import … from "x"`, `export … from "x"`, `import("x")`.
//!
//! A small scanner that knows comments, strings, templates and regular expressions. Where it is in doubt it changes
//! nothing, which is safe: every file also keeps its own name.

/// Copies a script, giving every literal specifier to `replace`; what that leaves alone stays as it is.
pub fn rewrite(text: &str, mut replace: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = Before::default();
    while !rest.is_empty() {
        let token = next(rest, &mut before);
        let (head, tail) = rest
            .split_at_checked(token.length.max(1))
            .unwrap_or((rest, ""));
        let new = token.specifier.and_then(&mut replace);
        match new {
            Some(new) => out.push_str(&format!("\"{new}\"")),
            None => out.push_str(head),
        }
        rest = tail;
    }
    out
}

/// What the scanner remembers of the tokens before this one.
#[derive(Default)]
struct Before {
    /// The last word or mark, without white space and comments.
    last: String,
    /// The one before that.
    earlier: String,
    /// Depths of `{` at which a template's `${` was opened.
    templates: Vec<usize>,
    depth: usize,
}

impl Before {
    fn push(&mut self, token: &str) {
        // `obj.from` and `loader.import` are members, not keywords.
        let token = if self.last == "." { "member" } else { token };
        self.earlier = std::mem::replace(&mut self.last, token.to_owned());
    }

    /// Is a string here a module specifier?
    fn expects_specifier(&self) -> bool {
        matches!(self.last.as_str(), "from" | "import")
            || (self.last == "(" && self.earlier == "import")
    }

    /// Does a `/` here start a regular expression (and not divide)?
    fn expects_value(&self) -> bool {
        const WORDS: [&str; 12] = [
            "return",
            "typeof",
            "case",
            "in",
            "of",
            "delete",
            "void",
            "throw",
            "new",
            "instanceof",
            "await",
            "yield",
        ];
        match self.last.chars().last() {
            None => true,
            Some(c) if is_word(c) => WORDS.contains(&self.last.as_str()),
            Some(c) => !matches!(c, ')' | ']' | '}' | '"' | '`'),
        }
    }
}

struct Token<'a> {
    length: usize,
    specifier: Option<&'a str>,
}

impl Token<'_> {
    const fn plain(length: usize) -> Self {
        Self {
            length,
            specifier: None,
        }
    }
}

fn next<'a>(rest: &'a str, before: &mut Before) -> Token<'a> {
    let Some(first) = rest.chars().next() else {
        return Token::plain(0);
    };
    if first.is_whitespace() {
        return Token::plain(first.len_utf8());
    }
    if rest.starts_with("//") {
        return Token::plain(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Token::plain(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    match first {
        '"' | '\'' => {
            let length = until(rest, 1, first, false);
            let inside = rest
                .get(..length)
                .and_then(|whole| whole.get(1..)?.strip_suffix(first));
            let specifier =
                inside.filter(|text| before.expects_specifier() && !text.contains('\\'));
            before.push("\"");
            Token { length, specifier }
        }
        '`' => template(rest, 1, before),
        '}' if before.templates.last() == Some(&before.depth) => {
            before.templates.pop();
            template(rest, 1, before)
        }
        '/' if before.expects_value() => {
            let length = until(rest, 1, '/', true);
            before.push("\"");
            Token::plain(length)
        }
        c if is_word(c) => {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            before.push(rest.get(..length).unwrap_or_default());
            Token::plain(length)
        }
        other => {
            match other {
                '{' => before.depth += 1,
                '}' => before.depth = before.depth.saturating_sub(1),
                _ => {}
            }
            before.push(other.encode_utf8(&mut [0; 4]));
            Token::plain(other.len_utf8())
        }
    }
}

/// The part of a template up to its end or to the next `${`.
fn template<'a>(rest: &'a str, from: usize, before: &mut Before) -> Token<'a> {
    let mut escaped = false;
    let body = rest.get(from..).unwrap_or_default();
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '`' => {
                before.push("`");
                return Token::plain(from + at + 1);
            }
            '$' if body
                .get(at + 1..)
                .is_some_and(|after| after.starts_with('{')) =>
            {
                before.templates.push(before.depth);
                before.push("{");
                return Token::plain(from + at + 2);
            }
            _ => {}
        }
    }
    Token::plain(rest.len())
}

/// Length up to and with the closing `mark`; inside a class of a regular expression `/` does not close.
fn until(rest: &str, from: usize, mark: char, is_pattern: bool) -> usize {
    let (mut escaped, mut in_class) = (false, false);
    for (at, c) in rest.get(from..).unwrap_or_default().char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return from + at,
            '[' if is_pattern => in_class = true,
            ']' if is_pattern => in_class = false,
            c if c == mark && !in_class => return from + at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    fn mark(text: &str) -> String {
        rewrite(text, |specifier| Some(format!("<{specifier}>")))
    }

    #[test]
    fn specifiers_in_every_form_are_found() {
        assert_eq!(mark("import './a.js'"), "import \"<./a.js>\"");
        assert_eq!(
            mark("import{a as b}from\"./a.js\";b()"),
            "import{a as b}from\"<./a.js>\";b()"
        );
        assert_eq!(mark("export * from './a.js'"), "export * from \"<./a.js>\"");
        assert_eq!(
            mark("await import( './a.js' )"),
            "await import( \"<./a.js>\" )"
        );
        assert_eq!(
            mark("import /* why */ x from // here\n './a.js'"),
            "import /* why */ x from // here\n \"<./a.js>\""
        );
    }

    #[test]
    fn what_only_looks_like_an_import_stays() {
        for text in [
            "// import './a.js'\n",
            "/* import './a.js' */",
            "x = \"import './a.js'\"",
            "x = `import './a.js' ${y} from './b.js'`",
            "x = `${`import 'a'`} import 'b'`",
            "Array.from('abc'); loader.import('x')",
            "x = /import 'a'/.test(y)",
            "x = /[/'\"]/; y = a / b / c",
            "from = 'a'",
            "x = 'unterminated",
        ] {
            assert_eq!(mark(text), text);
        }
    }

    #[test]
    fn code_inside_a_template_is_code() {
        assert_eq!(
            mark("`${await import('./a.js')} import 'b'`"),
            "`${await import(\"<./a.js>\")} import 'b'`"
        );
        assert_eq!(
            mark("`${{a:1}.a}`;import './a.js'"),
            "`${{a:1}.a}`;import \"<./a.js>\""
        );
    }
}
