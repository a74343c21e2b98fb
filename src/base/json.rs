//! Strict reading of a JSON request body (RFC 8259, and RFC 7493 where that says what RFC 8259 leaves open).
//!
//! What two readers could understand differently is refused: a key that comes twice, text that is not Unicode. Objects
//! keep the order of their keys, because a model writes structured output in the order of its schema's properties; so
//! whatever is compared by its text is written by [`canonical`].

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

/// How much structure a body may have. Its size in bytes is capped where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arrays and objects inside each other, the outermost included. Above 126 counts as 126: the parser under this one stops there.
    pub depth: usize,
    /// Values in the whole body, arrays and objects included. Each takes 48 bytes in wasm, however short its text.
    pub values: usize,
}

impl Default for Limits {
    /// Depth 64; 700,000 values (× 48 bytes = 34 MB of the isolate's 128 MB).
    fn default() -> Self {
        Self {
            depth: 64,
            values: 700_000,
        }
    }
}

/// The parser refuses to enter a 128th level and calls that a syntax error, so ours must refuse the 127th.
const PARSER_DEPTH: usize = 126;

/// Fields of one object. Far more than any request has, and far fewer than it takes to make its hash table slow: the
/// hashes of names are not secret here.
pub const MAX_FIELDS: usize = 5000;

/// The longest path in a fault, in characters; the caller chooses the keys.
const PATH_CHARS: usize = 200;

/// Why a body was refused. The paths are JSON Pointers (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonFault {
    /// Bytes that are not UTF-8, or a `\u` escape that is half of a surrogate pair.
    Encoding {
        /// Where it starts, in bytes from the start of the body.
        offset: usize,
    },
    /// Not JSON, or a number that does not fit a double.
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// JSON, but not an object.
    NotAnObject,
    /// An object has the same key twice.
    DuplicateKey {
        /// Of the second of the two, cut to 200 characters.
        path: String,
    },
    /// Deeper than [`Limits::depth`].
    TooDeep {
        /// The depth that is allowed.
        limit: usize,
    },
    /// An object with more than [`MAX_FIELDS`].
    TooManyFields,
    /// More than [`Limits::values`].
    TooManyValues {
        /// The number that is allowed.
        limit: usize,
    },
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding { offset } => write!(f, "text that is not Unicode at byte {offset}"),
            Self::Syntax { line, column } => {
                write!(f, "not valid JSON at line {line}, column {column}")
            }
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::DuplicateKey { path } => write!(f, "the key at {path} comes twice"),
            Self::TooDeep { limit } => write!(f, "nested more than {limit} deep"),
            Self::TooManyFields => write!(f, "an object with more than {MAX_FIELDS} fields"),
            Self::TooManyValues { limit } => write!(f, "more than {limit} values"),
        }
    }
}

impl std::error::Error for JsonFault {}

/// Reads one JSON object and nothing after it.
///
/// Integers from `i64::MIN` to `u64::MAX` are kept exactly, other numbers as doubles.
///
/// # Errors
/// The first [`JsonFault`] in reading order, except that bytes that are not UTF-8 come before everything else.
pub fn parse_object(bytes: &[u8], limits: Limits) -> Result<Map<String, Value>, JsonFault> {
    let text = str::from_utf8(bytes).map_err(|error| JsonFault::Encoding {
        offset: error.valid_up_to(),
    })?;
    let mut reader = Reader {
        depth: limits.depth.min(PARSER_DEPTH),
        values: limits.values,
        values_left: limits.values,
        fault: None,
    };
    let mut parser = serde_json::Deserializer::from_str(text);
    let seed = Seed {
        reader: &mut reader,
        depth: 0,
        path: &Path::Root,
    };
    let read = seed.deserialize(&mut parser);
    let read = read.and_then(|value| parser.end().map(|()| value));
    match read {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(JsonFault::NotAnObject),
        Err(error) => Err(reader.fault.unwrap_or_else(|| classify(text, &error))),
    }
}

/// The text of a value with the keys of every object in byte order: one text for all orders of the same fields. For
/// digests and keys; what is sent keeps its order.
#[must_use]
pub fn canonical(value: &Value) -> String {
    text_of(&Sorted(value))
}

/// [`canonical`] of an object.
#[must_use]
pub fn canonical_object(object: &Map<String, Value>) -> String {
    text_of(&SortedObject(object))
}

/// Values with text keys can always be written.
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

struct Sorted<'v>(&'v Value);

struct SortedObject<'v>(&'v Map<String, Value>);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => SortedObject(fields).serialize(serializer),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            other => other.serialize(serializer),
        }
    }
}

impl Serialize for SortedObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields: Vec<(&String, &Value)> = self.0.iter().collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        serializer.collect_map(
            fields
                .into_iter()
                .map(|(name, value)| (name, Sorted(value))),
        )
    }
}

/// What holds for the whole body while it is read.
struct Reader {
    depth: usize,
    values: usize,
    values_left: usize,
    /// The parser's own error type carries text only, so ours waits here.
    fault: Option<JsonFault>,
}

/// One value at its place: builds the [`Value`] in the same pass that checks it.
struct Seed<'a> {
    reader: &'a mut Reader,
    /// Arrays and objects around this value.
    depth: usize,
    path: &'a Path<'a>,
}

/// The way to a value, on the stack: it becomes text only in a fault.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.reader.values_left.checked_sub(1) {
            Some(left) => self.reader.values_left = left,
            None => {
                let limit = self.reader.values;
                return Err(self.reader.refuse(JsonFault::TooManyValues { limit }));
            }
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.reader.enter(self.depth)?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Seed {
            reader: &mut *self.reader,
            depth,
            path: &Path::Index(self.path, array.len()),
        })? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.reader.enter(self.depth)?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = Path::Key(self.path, &key);
            if object.contains_key(&key) {
                let path = path.pointer();
                return Err(self.reader.refuse(JsonFault::DuplicateKey { path }));
            }
            let value = entries.next_value_seed(Seed {
                reader: &mut *self.reader,
                depth,
                path: &path,
            })?;
            object.insert(key, value);
            if object.len() > MAX_FIELDS {
                return Err(self.reader.refuse(JsonFault::TooManyFields));
            }
        }
        Ok(Value::Object(object))
    }
}

impl Reader {
    /// The depth inside an array or object that has `outside` of them around it.
    fn enter<E: Error>(&mut self, outside: usize) -> Result<usize, E> {
        let limit = self.depth;
        if outside >= limit {
            return Err(self.refuse(JsonFault::TooDeep { limit }));
        }
        Ok(outside.saturating_add(1))
    }

    fn refuse<E: Error>(&mut self, fault: JsonFault) -> E {
        self.fault = Some(fault);
        E::custom("refused")
    }
}

impl Path<'_> {
    /// As a JSON Pointer; a long one ends in `…`.
    fn pointer(&self) -> String {
        let mut parts = Vec::new();
        let mut at = self;
        loop {
            at = match at {
                Path::Root => break,
                Path::Key(parent, key) => {
                    let head: String = key.chars().take(PATH_CHARS.saturating_add(1)).collect();
                    parts.push(Cow::Owned(head.replace('~', "~0").replace('/', "~1")));
                    parent
                }
                Path::Index(parent, index) => {
                    parts.push(Cow::Owned(index.to_string()));
                    parent
                }
            };
        }
        let mut pointer = String::new();
        for part in parts.iter().rev() {
            pointer.push('/');
            pointer.push_str(part);
        }
        if let Some((cut, _)) = pointer.char_indices().nth(PATH_CHARS) {
            pointer.truncate(cut);
            pointer.push('…');
        }
        pointer
    }
}

/// The parser's error as a fault.
///
/// The parser has no category for half a surrogate pair. It stops at the first error, so a half pair in front of
/// the place where it stopped is the one it stopped for.
fn classify(text: &str, error: &serde_json::Error) -> JsonFault {
    let (line, column) = (error.line(), error.column());
    if error.classify() == Category::Syntax
        && let Some(offset) = lone_surrogate(text)
        && offset < offset_of(text, line, column)
    {
        return JsonFault::Encoding { offset };
    }
    JsonFault::Syntax {
        line: line.max(1),
        column: column.max(1),
    }
}

/// The byte that the parser calls `line` and `column`.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let lines_before = line.saturating_sub(1);
    let bytes_before = text.split_inclusive('\n').take(lines_before).map(str::len);
    bytes_before.sum::<usize>().saturating_add(column)
}

/// Where the first escape stands that is half of a surrogate pair.
fn lone_surrogate(text: &str) -> Option<usize> {
    const LENGTH: usize = r"\u0000".len();
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(skipped) = bytes.get(at..)?.iter().position(|byte| *byte == b'\\') {
        at = at.saturating_add(skipped);
        let after = at.saturating_add(LENGTH);
        at = match (escaped_unit(bytes, at), escaped_unit(bytes, after)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => after.saturating_add(LENGTH),
            (Some(0xD800..=0xDFFF), _) => return Some(at),
            (Some(_), _) => after,
            (None, _) => at.saturating_add(r"\n".len()),
        };
    }
    None
}

/// The UTF-16 code unit of the `\uXXXX` that starts at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..)?.strip_prefix(br"\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit: u16, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{JsonFault, Limits, canonical, canonical_object, parse_object};

    fn read(text: &str) -> Result<Map<String, Value>, JsonFault> {
        parse_object(text.as_bytes(), Limits::default())
    }

    #[test]
    fn keys_stay_in_the_order_in_which_they_came() {
        let text = r#"{"z":1,"a":{"y":[{"d":1,"c":2}],"b":null},"m":"x"}"#;
        assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
    }

    #[test]
    fn the_canonical_text_is_one_for_every_order_of_fields_at_any_depth() {
        let one = read(r#"{"z":1,"a":{"y":[{"d":1,"c":2},[{"f":0,"e":0}]],"b":null}}"#).unwrap();
        let other = read(r#"{"a":{"b":null,"y":[{"c":2,"d":1},[{"e":0,"f":0}]]},"z":1}"#).unwrap();
        let text = r#"{"a":{"b":null,"y":[{"c":2,"d":1},[{"e":0,"f":0}]]},"z":1}"#;
        for body in [one, other] {
            assert_eq!(canonical_object(&body), text);
            assert_eq!(canonical(&Value::Object(body)), text);
        }
        // The order of an array is its meaning.
        assert_ne!(canonical(&json!([1, 2])), canonical(&json!([2, 1])));
    }

    fn syntax(line: usize, column: usize) -> JsonFault {
        JsonFault::Syntax { line, column }
    }

    #[test]
    fn objects_are_read_whole() {
        let table = [
            ("{}", json!({})),
            (" \t\r\n{ } \n", json!({})),
            (
                r#"{"model":"fast","messages":[{"role":"user","content":"你好 \ud83e\udd80 \u00e9\n"}],"x_unknown":{"a":[1,null,true]}}"#,
                json!({"model": "fast", "messages": [{"role": "user", "content": "你好 🦀 é\n"}],
                    "x_unknown": {"a": [1, null, true]}}),
            ),
            (r#"{"":{"":""}}"#, json!({"": {"": ""}})),
            (r#"{"a":"\u0000"}"#, json!({"a": "\0"})),
            (r#"{"a":"\\ud800"}"#, json!({"a": r"\ud800"})),
            (r#"{"a":"\uDBFF\uDFFF"}"#, json!({"a": "\u{10ffff}"})),
            // The same key in different objects is no duplicate.
            (
                r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#,
                json!({"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]}),
            ),
            // Keys are compared as they are: neither folded nor normalised.
            (
                r#"{"é":1,"e\u0301":2,"A":3,"a":4}"#,
                json!({"é": 1, "e\u{301}": 2, "A": 3, "a": 4}),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(read(text).map(Value::Object), Ok(expected), "{text}");
        }
    }

    #[test]
    fn numbers_survive() {
        let kept = [
            "0",
            "-1",
            "9007199254740993",
            "18446744073709551615",
            "-9223372036854775808",
            "-0.0",
            "0.7",
            "0.1",
            "1.5",
            "0.30000000000000004",
            "1e300",
            "5e-324",
            "3.14159",
        ];
        for number in kept {
            let object = read(&format!(r#"{{"n":{number}}}"#)).unwrap();
            let written = serde_json::to_string(&object["n"]).unwrap();
            let same = written == number || written.parse() == number.parse::<f64>();
            let exact = number.contains(['.', 'e']) || written == number;
            assert!(same && exact, "{number} became {written}");
        }
        for number in ["1e999", "-1e999", "123123e100000"] {
            let fault = read(&format!(r#"{{"n":{number}}}"#)).unwrap_err();
            assert!(
                matches!(fault, JsonFault::Syntax { line: 1, .. }),
                "{number}: {fault:?}"
            );
        }
    }

    #[test]
    fn a_key_that_comes_twice_is_named_by_its_pointer() {
        let table = [
            (r#"{"a":1,"a":1}"#, "/a"),
            (r#"{"a":1,"b":2,"\u0061":3}"#, "/a"),
            (r#"{"":1,"":2}"#, "/"),
            (r#"{"a":{"b":{"c":1,"c":2}}}"#, "/a/b/c"),
            (
                r#"{"messages":[{},{"role":"user","role":"system"}]}"#,
                "/messages/1/role",
            ),
            (r#"{"a":[[[0,{"k":1,"k":2}]]]}"#, "/a/0/0/1/k"),
            (r#"{"a/b~c":{"~1":1,"~1":2}}"#, "/a~1b~0c/~01"),
            // The first fault in reading order wins.
            (r#"{"a":1,"a":1,"#, "/a"),
            (r#"{"a":1,"a":{"b":1,"b":2}}"#, "/a"),
        ];
        for (text, path) in table {
            let path = path.to_owned();
            assert_eq!(read(text), Err(JsonFault::DuplicateKey { path }), "{text}");
        }
    }

    #[test]
    fn a_long_path_is_cut() {
        let key = "键/".repeat(100_000);
        let Err(JsonFault::DuplicateKey { path }) = read(&format!(r#"{{"{key}":1,"{key}":2}}"#))
        else {
            panic!("accepted");
        };
        assert_eq!(path.chars().count(), 201);
        assert!(path.starts_with("/键~1键~1") && path.ends_with('…'));
    }

    #[test]
    fn half_a_surrogate_pair_is_a_fault_of_encoding() {
        // (text, offset of the backslash)
        let table = [
            (r#"{"a":"\ud800"}"#, 6),
            (r#"{"a":"\uDFFF"}"#, 6),
            (r#"{"a":"\ud800abc"}"#, 6),
            (r#"{"a":"\ud800\n"}"#, 6),
            (r#"{"a":"\ud800\u0041"}"#, 6),
            (r#"{"a":"\ud800\ud800"}"#, 6),
            (r#"{"a":"\udc00\ud800"}"#, 6),
            (r#"{"a":"\\\ud800"}"#, 8),
            (r#"{"\ud800":1}"#, 2),
            ("{\n \"b\":\"\\ud83e\\udd80\",\n \"a\":[\"\\ud83e\"]}", 30),
        ];
        for (text, offset) in table {
            assert_eq!(read(text), Err(JsonFault::Encoding { offset }), "{text}");
        }
        // An escaped backslash starts no escape.
        assert_eq!(read(r#"{"a":"\\ud800",x}"#), Err(syntax(1, 16)));
        // An error in front of the half pair is the one that is told.
        assert_eq!(read(r#"{"a":tru,"b":"\ud800"}"#), Err(syntax(1, 9)));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_a_fault_of_encoding() {
        let table: &[(&[u8], usize)] = &[
            (b"{\"a\":\"\xFF\"}", 6),
            (b"{\"a\":\"\xED\xA0\x80\"}", 6), // a surrogate in UTF-8
            (b"{\"a\":\"\xC0\xAF\"}", 6),     // overlong
            (b"{\"a\":\"\xE4\xBD\"}", 6),     // cut
            (b"\xFF\xFE{\0}\0", 0),           // UTF-16
            (b"{]\xFF", 2),
        ];
        for (bytes, offset) in table {
            let fault = parse_object(bytes, Limits::default());
            assert_eq!(
                fault,
                Err(JsonFault::Encoding { offset: *offset }),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_a_syntax_fault() {
        // After the n_* cases of JSONTestSuite, each as the whole body or as the value of a key.
        let values = [
            "",
            "+1",
            "01",
            "-01",
            "1.",
            ".5",
            "-",
            "1e",
            "1e+",
            "0x1",
            "1_000",
            "NaN",
            "Infinity",
            "-Infinity",
            "nul",
            "True",
            "tru",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u00zz\"",
            "\"\u{1}\"",
            "\"\n\"",
            "\"\t\"",
            "\"\\\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1",
            "[",
            "1]",
            "[1}",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{1:1}",
            "{'a':1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\"::1}",
            "{null:1}",
            "// c\n1",
            "/* c */1",
            "1 # c",
            "\u{a0}1",
            "\u{feff}1",
            "\u{2028}1",
            "\u{c}1",
            "<a>",
            "1,",
            "1}",
            "\\u0031",
            "\"a\"b",
        ];
        for value in values {
            let fault = read(&format!("{{\"k\":{value}}}"));
            assert!(
                matches!(fault, Err(JsonFault::Syntax { .. })),
                "{value:?}: {fault:?}"
            );
        }
        for body in [
            "",
            " ",
            "{",
            "}",
            "{}x",
            "{}{}",
            "{},",
            "{}\0",
            "\u{feff}{}",
            "{\"a\":1}]",
            "{\"a\"",
        ] {
            assert!(
                matches!(read(body), Err(JsonFault::Syntax { .. })),
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_syntax_fault_says_where() {
        let table = [
            ("", syntax(1, 1)),
            ("x", syntax(1, 1)),
            ("{\"a\":1,}", syntax(1, 8)),
            ("{\n  \"a\": 1,\n  \"b\": ?\n}", syntax(3, 8)),
            ("{}\n\n x", syntax(3, 2)),
        ];
        for (text, fault) in table {
            assert_eq!(read(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn only_an_object_is_a_body() {
        for text in ["null", "1", "\"a\"", "[]", "[{}]", "true"] {
            assert_eq!(read(text), Err(JsonFault::NotAnObject), "{text}");
        }
    }

    #[test]
    fn depth_is_capped_without_a_stack_overflow() {
        let nested = |open: &str, close: &str, levels: usize| {
            format!("{{\"a\":{}0{}}}", open.repeat(levels), close.repeat(levels))
        };
        let limit = 64;
        // (opening, closing, levels that these are)
        for (open, close, each) in [("[", "]", 1), ("{\"a\":", "}", 1), ("[{\"a\":", "}]", 2)] {
            // The outermost object is one level more.
            let fitting = (limit - 1) / each;
            assert!(read(&nested(open, close, fitting)).is_ok(), "{open}");
            let deeper = fitting + 1;
            for levels in [deeper, 1000, 100_000] {
                let fault = read(&nested(open, close, levels));
                assert_eq!(
                    fault,
                    Err(JsonFault::TooDeep { limit }),
                    "{open} × {levels}"
                );
            }
            let cut = format!("{{\"a\":{}", open.repeat(100_000));
            assert_eq!(read(&cut), Err(JsonFault::TooDeep { limit }));
        }
    }

    #[test]
    fn a_depth_limit_above_the_parsers_own_is_clamped() {
        let limits = Limits {
            depth: 10_000,
            ..Limits::default()
        };
        let body =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_object(body(125).as_bytes(), limits).is_ok());
        for levels in [126, 127, 128, 5000] {
            let fault = parse_object(body(levels).as_bytes(), limits);
            assert_eq!(fault, Err(JsonFault::TooDeep { limit: 126 }), "{levels}");
        }
    }

    #[test]
    fn an_object_has_a_number_of_fields_that_is_bounded() {
        let object = |fields: usize| {
            let fields: Vec<String> = (0..fields).map(|i| format!("\"k{i}\":1")).collect();
            format!("{{\"a\":{{{}}}}}", fields.join(","))
        };
        let read = |fields| parse_object(object(fields).as_bytes(), Limits::default());
        assert!(read(super::MAX_FIELDS).is_ok());
        assert_eq!(read(super::MAX_FIELDS + 1), Err(JsonFault::TooManyFields));
    }

    #[test]
    fn values_are_counted() {
        let limits = Limits {
            values: 4,
            ..Limits::default()
        };
        let read = |text: &str| parse_object(text.as_bytes(), limits);
        assert!(read(r#"{"a":[1,2]}"#).is_ok());
        let fault = Err(JsonFault::TooManyValues { limit: 4 });
        for text in [
            r#"{"a":[1,2,3]}"#,
            r#"{"a":1,"b":2,"c":3,"d":4}"#,
            r#"{"a":[[[]]],"b":{}}"#,
        ] {
            assert_eq!(read(text), fault, "{text}");
        }
    }
}
