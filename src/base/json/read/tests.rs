//! The reader against serde_json: what one takes the other takes, and as the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::read;

/// Some of everything that serde's derive can be asked for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole<'a> {
    count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<i64>,
    share: f64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    flag: bool,
    nothing: (),
    pair: (u8, String),
    letter: char,
    kinds: Vec<Kind>,
    tagged: Vec<Tagged>,
    by_number: BTreeMap<u32, Kind>,
    by_kind: BTreeMap<Plain, i16>,
    wrapped: Wrapped,
    value: Value,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Empty,
    One(u32),
    Two(u32, String),
    Named { a: Option<bool> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is")]
enum Tagged {
    Empty,
    Named { a: i64, b: Vec<Plain> },
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Plain {
    A,
    B,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(u64);

const WHOLE: &str = r#" {"count":18446744073709551615, "below":-3,"share":1.25e-7,"name":"a\"\\\/\b\f\n\r\tz",
    "flag":true,"nothing":null,"pair":[7,"x"],"letter":"ü",
    "kinds":["empty",{"one":1},{"two":[2,"\u00e9\ud83d\ude00"]},{"named":{"a":null}},{"empty":null}],
    "tagged":[{"is":"Empty"},{"a":-9,"is":"Named","b":["A",{"B":null}]}],
    "by_number":{"1":"empty","20":{"one":3}},"by_kind":{"A":-1,"B":2},"wrapped":5,
    "value":{"deep":[[],{},[{"a":[1,-1,0,-0.0,1e3,0.1,null,true,false,""]}]],"a longer name of a field":"and some more text"}} "#;

/// Reads a text both ways; only the texts of the errors may differ.
fn both<'a, T: Deserialize<'a> + std::fmt::Debug>(text: &'a str) -> Option<T> {
    let ours = read::<T>(text).ok();
    let theirs = serde_json::from_str::<T>(text).ok();
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{text}");
    ours
}

fn all(text: &str) -> bool {
    both::<IgnoredAny>(text);
    both::<&RawValue>(text);
    both::<Box<RawValue>>(text);
    both::<BTreeMap<&str, &RawValue>>(text);
    both::<&str>(text);
    both::<String>(text);
    both::<f64>(text);
    both::<i64>(text);
    both::<Option<u8>>(text);
    both::<Vec<Kind>>(text);
    both::<Vec<Tagged>>(text);
    both::<Whole<'_>>(text);
    both::<Value>(text).is_some()
}

#[test]
fn every_kind_of_field_is_read_as_serde_json_reads_it() {
    let whole = both::<Whole<'_>>(WHOLE).unwrap();
    assert_eq!(whole.count, u64::MAX);
    assert_eq!(whole.name, "a\"\\/\u{8}\u{c}\n\r\tz");
    assert_eq!(whole.kinds.get(2), Some(&Kind::Two(2, "é😀".to_owned())));
    assert!(all(WHOLE));
    let written = serde_json::to_string(&whole).unwrap();
    assert_eq!(both::<Whole<'_>>(&written), Some(whole));
}

#[test]
fn odd_texts_are_taken_and_refused_as_by_serde_json() {
    let taken = [
        "0",
        "-0",
        "1E+2",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "1e-999",
        "[]",
        "{}",
        "\"\"",
        "\"\u{7f}\u{80}\"",
        r#""\ud83d\ude00""#,
        r#""\u0000""#,
        " \t\r\n1 ",
        r#"{"a":1,"a":2}"#,
        "\"1234567\\n\"",
        "\"12345678\"",
        "\"123456789\\u00e9\"",
    ];
    for text in taken {
        assert!(all(text), "{text}");
    }
    let refused = [
        "",
        " ",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "1e999",
        "--1",
        "0x1",
        "nul",
        "nulll",
        "tru",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{1:2}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        "1 1",
        "\"",
        "\"\\",
        "\"\\u",
        "\"\\u12",
        "\"\\x\"",
        "\"\n\"",
        "\"12345678\u{1f}\"",
        "\"1234\u{1f}678\"",
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83d\n""#,
        r#""\ud83dx\ude00""#,
        r#""\ud83d\ud83d""#,
        "\0",
        "[1]\0",
        "]",
        "}",
        "[}",
        "{]",
        "'a'",
        "\u{feff}1",
        "[\u{a0}1]",
        r#""\u+123""#,
    ];
    for text in refused {
        assert!(!all(text), "{text}");
    }
}

#[test]
fn depth_ends_where_serde_jsons_does_and_what_is_skipped_may_be_deeper() {
    for (depth, read) in [(126, true), (127, true), (128, false), (200_000, false)] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            if depth < 1000 {
                assert_eq!(both::<Value>(&text).is_some(), read, "{depth}");
            }
            assert!(super::read::<Value>(&text).is_ok() == read, "{depth}");
            assert!(super::read::<IgnoredAny>(&text).is_ok());
            assert!(super::read::<&RawValue>(&text).is_ok_and(|raw| raw.get() == text));
        }
    }
}

#[test]
fn a_text_without_escapes_is_borrowed() {
    assert!(matches!(
        both::<Borrowing<'_>>(r#"{"name":"plain"}"#).unwrap().name,
        Cow::Borrowed("plain")
    ));
    assert_eq!(both::<&str>("\"a\\n\""), None);
}

#[derive(Debug, Deserialize)]
struct Borrowing<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[test]
fn a_struct_is_an_object_and_never_an_array() {
    assert!(read::<Borrowing<'_>>(r#"["plain"]"#).is_err());
}

#[test]
fn a_fault_names_the_field_and_the_place() {
    let fault = |text| read::<Vec<Tagged>>(text).unwrap_err().to_string();
    assert_eq!(fault(r#"[{"is":"C"}]"#), "unknown variant `C` at byte 10");
    assert_eq!(
        fault(r#"[{"is":"Named","a":1}]"#),
        "missing field `b` at byte 21"
    );
    assert_eq!(fault("[nul]"), "not found: `null` at byte 1");
    assert_eq!(fault("[] 1"), "text after the value at byte 3");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// One place of a document that reads well, changed to what means something in JSON.
    #[test]
    fn a_changed_document_is_read_as_by_serde_json(
        at in 0..WHOLE.len(),
        cut in 0..4_usize,
        put in prop::sample::select(vec![
            "", "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "1", "-", ".", "e", " ", "null", "\\u12", "\\ud800", "\n", "é",
            "1e5", "99999999999", "A", "empty", "\"a\":1,",
        ]),
    ) {
        let mut text = WHOLE.as_bytes().to_vec();
        let end = (at + cut).min(text.len());
        text.splice(at..end, put.bytes());
        if let Ok(text) = String::from_utf8(text) {
            all(&text);
        }
    }

    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        let written = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(both::<String>(&written), Some(text));
    }
}
