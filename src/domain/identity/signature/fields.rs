//! Dictionaries of HTTP Structured Fields (RFC 9651 §4.2), as far as signatures and digests use them.
//!
//! Stricter than the standard where leniency could be used to smuggle: a key that stands twice is refused instead of the
//! last one winning, and everything is capped. Decimals, dates and display strings are not known.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Most bytes of a field.
const MAX_BYTES: usize = 4096;
/// Most members of a dictionary.
const MAX_MEMBERS: usize = 8;
/// Most items of an inner list.
const MAX_ITEMS: usize = 32;
/// Most parameters of an item or a list.
const MAX_PARAMS: usize = 16;
/// Most digits of an integer (RFC 9651 §3.3.1).
const MAX_DIGITS: usize = 15;

/// A bare item (§3.3).
#[derive(Debug, PartialEq, Eq)]
pub enum Bare<'a> {
    /// `42`
    Integer(i64),
    /// `"text"`, without its quotes and escapes.
    Text(String),
    /// `token`
    Token(&'a str),
    /// `:base64:`
    Bytes(Vec<u8>),
    /// `?1`, or a parameter without a value.
    Flag(bool),
}

/// `;name=value` …, in order (§3.1.2).
pub type Params<'a> = Vec<(&'a str, Bare<'a>)>;

/// A member of a dictionary (§3.2).
#[derive(Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// One item.
    Item(Bare<'a>, Params<'a>),
    /// An inner list (§3.1.1).
    List(Vec<(Bare<'a>, Params<'a>)>, Params<'a>),
}

/// Reads a dictionary; `None` for anything else. An empty text is an empty dictionary.
#[must_use]
pub fn dictionary(text: &str) -> Option<Vec<(&str, Member<'_>)>> {
    if text.len() > MAX_BYTES || !text.is_ascii() {
        return None;
    }
    let mut reader = Reader {
        rest: text.trim_matches(' '),
    };
    let mut members = Vec::new();
    while !reader.rest.is_empty() {
        let name = reader.key()?;
        let member = if reader.take('=') {
            reader.member()?
        } else {
            Member::Item(Bare::Flag(true), reader.params()?)
        };
        add(&mut members, MAX_MEMBERS, name, member)?;
        reader.skip(&[' ', '\t']);
        if reader.rest.is_empty() {
            break;
        }
        if !reader.take(',') {
            return None;
        }
        reader.skip(&[' ', '\t']);
        if reader.rest.is_empty() {
            return None;
        }
    }
    Some(members)
}

/// Adds under a name that is not yet there.
fn add<'a, T>(all: &mut Vec<(&'a str, T)>, most: usize, name: &'a str, value: T) -> Option<()> {
    if all.len() >= most || all.iter().any(|(known, _)| *known == name) {
        return None;
    }
    all.push((name, value));
    Some(())
}

/// What is left of the field.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip(&mut self, blanks: &[char]) {
        self.rest = self.rest.trim_start_matches(blanks);
    }

    /// The longest prefix of such characters.
    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !belongs(byte));
        let (run, rest) = self
            .rest
            .split_at_checked(end.unwrap_or(self.rest.len()))
            .unwrap_or_default();
        self.rest = rest;
        run
    }

    fn key(&mut self) -> Option<&'a str> {
        let key = self.run(|byte| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'_' | b'-' | b'.' | b'*')
        });
        key.starts_with(|first: char| first.is_ascii_lowercase() || first == '*')
            .then_some(key)
    }

    fn member(&mut self) -> Option<Member<'a>> {
        if !self.take('(') {
            return Some(Member::Item(self.bare()?, self.params()?));
        }
        let mut items = Vec::new();
        loop {
            self.skip(&[' ']);
            if self.take(')') {
                return Some(Member::List(items, self.params()?));
            }
            if items.len() >= MAX_ITEMS {
                return None;
            }
            items.push((self.bare()?, self.params()?));
            if !self.rest.starts_with([' ', ')']) {
                return None;
            }
        }
    }

    fn params(&mut self) -> Option<Params<'a>> {
        let mut params = Vec::new();
        while self.take(';') {
            self.skip(&[' ']);
            let name = self.key()?;
            let value = if self.take('=') {
                self.bare()?
            } else {
                Bare::Flag(true)
            };
            add(&mut params, MAX_PARAMS, name, value)?;
        }
        Some(params)
    }

    fn bare(&mut self) -> Option<Bare<'a>> {
        match self.rest.bytes().next()? {
            b'"' => self.text(),
            b':' => self.bytes(),
            b'?' => self.flag(),
            b'-' | b'0'..=b'9' => self.integer(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                Some(Bare::Token(self.run(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                })))
            }
            _ => None,
        }
    }

    fn text(&mut self) -> Option<Bare<'a>> {
        self.take('"');
        let mut text = String::new();
        let mut characters = self.rest.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => match characters.next()? {
                    escaped @ ('"' | '\\') => text.push(escaped),
                    _ => return None,
                },
                plain @ ' '..='~' => text.push(plain),
                _ => return None,
            }
        }
        self.rest = characters.as_str();
        Some(Bare::Text(text))
    }

    fn bytes(&mut self) -> Option<Bare<'a>> {
        self.take(':');
        let (encoded, rest) = self.rest.split_once(':')?;
        self.rest = rest;
        STANDARD.decode(encoded).ok().map(Bare::Bytes)
    }

    fn flag(&mut self) -> Option<Bare<'a>> {
        self.take('?');
        let set = self.take('1');
        (set || self.take('0')).then_some(Bare::Flag(set))
    }

    fn integer(&mut self) -> Option<Bare<'a>> {
        let negative = self.take('-');
        let digits = self.run(|byte| byte.is_ascii_digit());
        // A dot would make it a decimal.
        if digits.len() > MAX_DIGITS || self.rest.starts_with('.') {
            return None;
        }
        let number: i64 = digits.parse().ok()?;
        Some(Bare::Integer(if negative {
            number.saturating_neg()
        } else {
            number
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bare, Member, dictionary};

    #[test]
    fn dictionaries_of_all_known_forms() {
        // Forms of the examples in RFC 9651 §3.
        let members = dictionary(
            "  a=1;x;y=\"q\\\"\\\\\" ,\tb=( \"p\";n=?0   tok );z=-42, c, d=:cHJldGVuZA==:,e=*a/b:c ",
        )
        .unwrap();
        let text = |text: &str| Bare::Text(text.to_owned());
        assert_eq!(
            members,
            [
                (
                    "a",
                    Member::Item(
                        Bare::Integer(1),
                        vec![("x", Bare::Flag(true)), ("y", text("q\"\\"))]
                    )
                ),
                (
                    "b",
                    Member::List(
                        vec![
                            (text("p"), vec![("n", Bare::Flag(false))]),
                            (Bare::Token("tok"), vec![])
                        ],
                        vec![("z", Bare::Integer(-42))]
                    )
                ),
                ("c", Member::Item(Bare::Flag(true), vec![])),
                ("d", Member::Item(Bare::Bytes(b"pretend".to_vec()), vec![])),
                ("e", Member::Item(Bare::Token("*a/b:c"), vec![])),
            ]
        );
        assert_eq!(dictionary(""), Some(vec![]));
        assert_eq!(dictionary("  "), Some(vec![]));
    }

    #[test]
    fn anything_else_is_refused() {
        let many = |count: usize, one: &str, between: &str| vec![one; count].join(between);
        for wrong in [
            "a=1,",
            ",a=1",
            "a=1 b=2",
            "a=1;",
            "a= 1",
            "A=1",
            "1=1",
            "a=1,a=2",
            "a=1;x=1;x=2",
            "a=\"open",
            "a=\"bad\\n\"",
            "a=\"tab\t\"",
            "a=:no",
            "a=:bm8:",
            "a=:not base64:",
            "a=:YQ=:",
            "a=:YR==:",
            "a=1.5",
            "a=@1659578233",
            "a=%\"f\"",
            "a=?2",
            "a=-",
            "a=1234567890123456",
            "a=(1",
            "a=(1,2)",
            "a=(\"a\"\"b\")",
            "a=(1\t2)",
            "a=((1))",
            "a=1\n",
            "a=\u{e9}",
        ] {
            assert_eq!(dictionary(wrong), None, "{wrong:?}");
        }
        let items = |count| format!("a=({})", many(count, "1", " "));
        assert!(dictionary(&items(32)).is_some());
        assert!(dictionary(&items(33)).is_none());
        let members = |count| (0..count).map(|i| format!("k{i}=1")).collect::<Vec<_>>();
        assert!(dictionary(&members(8).join(",")).is_some());
        assert!(dictionary(&members(9).join(",")).is_none());
        assert!(dictionary(&format!("a={}", members(16).join(";"))).is_none());
        assert!(dictionary(&format!("a=1;{}", members(16).join(";"))).is_some());
        assert!(dictionary(&format!("a=1;{}", members(17).join(";"))).is_none());
        assert!(dictionary(&format!("a=\"{}\"", "x".repeat(4092))).is_some());
        assert!(dictionary(&format!("a=\"{}\"", "x".repeat(4093))).is_none());
    }
}
