use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{Block, ExtractFault, MAX_BYTES, MAX_HEADING_BYTES, MAX_TEXT_BYTES, extract};
use crate::domain::retrieval::format::Format;

const FORMATS: [Format; 6] = [
    Format::Text,
    Format::Markdown,
    Format::Html,
    Format::Csv,
    Format::Json,
    Format::Pdf,
];

/// `heading @ anchor: text` of each stretch.
fn read(format: Format, bytes: &[u8]) -> Vec<String> {
    match extract(format, bytes) {
        Ok(blocks) => blocks.iter().map(shown).collect(),
        Err(fault) => vec![format!("{fault:?}")],
    }
}

fn shown(block: &Block) -> String {
    format!("{} @ {}: {}", block.heading, block.anchor, block.text)
}

fn check(format: Format, table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(read(format, text.as_bytes()), *expected, "{text:?}");
    }
}

#[test]
fn text_is_read_by_paragraphs() {
    check(
        Format::Text,
        &[
            (
                "One.\nTwo.\n\n\nThree.",
                &[" @ line 1: One.\nTwo.", " @ line 5: Three."],
            ),
            ("\n\n  a\n    b\n", &[" @ line 3: a\n    b"]),
            ("a\r\n\r\nb\r\n", &[" @ line 1: a", " @ line 3: b"]),
            ("\u{FEFF}a\tb\0c", &[" @ line 1: a bc"]),
            ("", &["NoText"]),
            (" \n\u{200B}\u{202E}\n", &["NoText"]),
        ],
    );
}

#[test]
fn what_has_no_glyph_is_left_out_and_joiners_stay() {
    let table = [
        ("pay\u{200B}pal \u{202E}ecilA\u{202C}", "paypal ecilA"),
        ("tags\u{E0041}\u{E007F}!", "tags!"),
        ("soft\u{AD}hyphen", "softhyphen"),
        (
            "👩\u{200D}💻 می\u{200C}خواهم e\u{301}",
            "👩\u{200D}💻 می\u{200C}خواهم e\u{301}",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(
            extract(Format::Text, text.as_bytes()).unwrap()[0].text,
            expected
        );
    }
}

#[test]
fn both_encodings_of_unicode_are_read() {
    let wide = |big: bool| -> Vec<u8> {
        "\u{FEFF}Grüße 🦀"
            .encode_utf16()
            .flat_map(|unit| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect()
    };
    for bytes in [wide(true), wide(false), "Grüße 🦀".into()] {
        assert_eq!(read(Format::Text, &bytes), [" @ line 1: Grüße 🦀"]);
    }
    for bytes in [
        &b"gr\xFC\xDFe"[..],
        b"\xFF\xFEa",
        b"\xFE\xFF\xD8\x00",
        b"\xEF\xBB\xBF\xFF",
    ] {
        for format in [Format::Text, Format::Html, Format::Csv, Format::Json] {
            assert_eq!(
                extract(format, bytes),
                Err(ExtractFault::NotUtf8),
                "{bytes:?}"
            );
        }
    }
}

#[test]
fn markdown_is_read_under_its_headings() {
    check(
        Format::Markdown,
        &[
            (
                "Before.\n\n# Guide\n\nA *b* `c`\nd [link](/x \"t\").\n\n## Limits {#own}\n\n- one\n- two\n\n# End\n",
                &[
                    " @ line 1: Before.",
                    "Guide @ line 5: A b c d link.",
                    "Guide > Limits @ line 10: one\ntwo",
                    "End @ line 13: End",
                ],
            ),
            (
                "| a | b |\n|---|---|\n| 1 | 2 |\n\n```rust\nfn  x() {\n    1\n}\n```\n",
                &[" @ line 1: a | b\n1 | 2", " @ line 5: fn  x() {\n    1\n}"],
            ),
            // Deeper headings end with their parent; a skipped level is none.
            (
                "# A\n### B\nb\n## C\nc",
                &["A > B @ line 3: b", "A > C @ line 5: c"],
            ),
            ("Set\n===\nx", &["Set @ line 3: x"]),
            // HTML in it is read as HTML.
            (
                "a <b>bold</b> &amp; <!-- not --> b<br>c",
                &[" @ line 1: a bold & b\nc"],
            ),
            (
                "<div style=\"display:none\">\n\nnot *this*\n\n</div>\n\nthis",
                &[" @ line 7: this"],
            ),
            ("a <span hidden>no</span> b", &[" @ line 1: a b"]),
            ("<script>\nno\n</script>\n\nyes", &[" @ line 5: yes"]),
            ("---\ntitle: no\n---\n\nyes", &[" @ line 5: yes"]),
            ("![alt](x.png)", &[" @ line 1: alt"]),
            ("[x]: /y\n<!-- no -->", &["NoText"]),
        ],
    );
}

#[test]
fn a_page_is_read_as_it_is_seen() {
    check(
        Format::Html,
        &[
            (
                "<!doctype html><html><head><title>T &amp; S</title><style>no</style></head><body>\
                 <p>Hello <b>big</b>\n world</p><h1 id=top>Guide</h1><p>One<p>Two\
                 <h2>Sub <i>x</i></h2><ul><li>a<li>b</ul><section id='s'><h2>Next</h2>n</section>",
                &[
                    "T & S @ : Hello big world",
                    "Guide @ #top: One\nTwo",
                    "Guide > Sub x @ #top: a\nb",
                    "Guide > Next @ #s: n",
                ],
            ),
            (
                "<table><tr><th>a<th>b<tr><td>1</td><td>2</td></table>",
                &[" @ : a | b\n1 | 2"],
            ),
            ("<pre>a\n  b</pre>c", &[" @ : a\n  b\nc"]),
            ("a<br>b<hr>c", &[" @ : a\nb\nc"]),
            // Not seen.
            (
                "a<script>if (a</b) x</script>b<SCRIPT src=x></SCRIPT >c",
                &[" @ : abc"],
            ),
            ("a<!-- <p>no --> b<!-->c", &[" @ : a bc"]),
            (
                "a<template><p>no</template><noscript>no</noscript>",
                &[" @ : a"],
            ),
            ("a<div hidden><div>no</div>no</div>b", &[" @ : ab"]),
            (
                "a<p style='color:red; Display : NONE !important'>no<p>b",
                &[" @ : a\nb"],
            ),
            (
                "a<span style=\"visibility:hidden\">no</span>b",
                &[" @ : ab"],
            ),
            (
                "<ul><li hidden>no<ul><li>no</ul>no<li>yes</ul>b",
                &[" @ : yes\nb"],
            ),
            ("<ul><li hidden>no</ul>b", &[" @ : b"]),
            (
                "<dialog>no</dialog><dialog open>yes</dialog>",
                &[" @ : yes"],
            ),
            ("<input hidden>a<br hidden>b", &[" @ : a\nb"]),
            ("<h1 hidden>no</h1><h2>yes</h2>x", &["yes @ : x"]),
            ("a<div hidden>no", &[" @ : a"]),
            // An inline id does not part a sentence.
            (
                "<p id=p>One <span id=x>two</span> three.",
                &[" @ #p: One two three."],
            ),
            // A heading that nothing closes is text in the end.
            ("<h1>A<p>b", &["A @ : b"]),
            (
                "<h2>Only</h2><h2>Last</h2>",
                &["Only @ : Only", "Last @ : Last"],
            ),
            // No browser chokes on these.
            ("a < b && c > d </ x><3 <", &[" @ : a < b && c > d <3 <"]),
            ("<p title='>'>a</p title='>'>b", &[" @ : a\nb"]),
            ("<p =x a=b c = 'd'e/>f", &[" @ : f"]),
            ("a<p title='never closed", &[" @ : a"]),
            ("a<![CDATA[no]]>b", &[" @ : ab"]),
            ("<title>no close", &["no close @ : no close"]),
            ("", &["NoText"]),
        ],
    );
}

#[test]
fn xml_is_read_between_its_tags() {
    let feed = "<?xml version='1.0'?><rss><item><title>A</title><link/>\
                <description><![CDATA[x <b>y]]></description></item></rss>";
    assert_eq!(read(Format::Html, feed.as_bytes()), ["A @ : x <b>y"]);
}

#[test]
fn tables_are_read_by_rows() {
    check(
        Format::Csv,
        &[
            (
                "name,price\r\nApple,\"1,50\"\r\n\r\n\"Big \"\"B\"\"\nx\",2\r\n",
                &[
                    " @ row 2: name: Apple\nprice: 1,50",
                    " @ row 3: name: Big \"B\"\nx\nprice: 2",
                ],
            ),
            ("a;b\n1;2,5", &[" @ row 2: a: 1\nb: 2,5"]),
            ("a\tb\n1\t2", &[" @ row 2: a: 1\nb: 2"]),
            // Cells that are missing, too many or without a name.
            (
                "a,,c\n1\n1,2,3,4",
                &[" @ row 2: a: 1", " @ row 3: a: 1\n2\nc: 3\n4"],
            ),
            ("a,b\n,\n,x", &[" @ row 3: b: x"]),
            ("only,names", &[" @ row 1: only\nnames"]),
            ("one column\nx", &[" @ row 2: one column: x"]),
            ("a\n\"never closed", &[" @ row 2: a: never closed"]),
            ("a,b\nno last line", &[" @ row 2: a: no last line"]),
            ("\n\n", &["NoText"]),
        ],
    );
    let wide = "x,".repeat(5000);
    let fault = ExtractFault::Malformed("a row of more than 4096 cells");
    assert_eq!(extract(Format::Csv, wide.as_bytes()), Err(fault));
    let long = format!("a,b\n{},x\n", "y".repeat(100_000));
    assert_eq!(
        extract(Format::Csv, long.as_bytes()).unwrap()[0].text.len(),
        100_008
    );
}

#[test]
fn json_is_read_by_its_objects() {
    let not_json = "Malformed(\"not JSON, or nested too deeply\")";
    check(
        Format::Json,
        &[
            (
                r#"{"name":"x","n":[1,2.5,true,null,""],"a":{"b":{"c":"d"}},"last":-1}"#,
                &[
                    " @ $: name: x\nn: 1\nn: 2.5\nn: true",
                    " @ $.a: b.c: d",
                    " @ $: last: -1",
                ],
            ),
            (
                r#"[{"a":1},{"a":2,"in":[{"k":"v"}],"z":3}]"#,
                &[
                    " @ $[0]: a: 1",
                    " @ $[1]: a: 2",
                    " @ $[1].in[0]: k: v",
                    " @ $[1]: z: 3",
                ],
            ),
            (
                r#"{"data":{"rows":[{"a":1},[2]]}}"#,
                &[" @ $.data.rows[0]: a: 1", " @ $.data: rows: 2"],
            ),
            (r#""only \u00e9""#, &[" @ $: only é"]),
            (
                "{\"a\":1}\n\n{\"a\":{\"b\":2}}\n",
                &[" @ line 1: a: 1", " @ line 3.a: b: 2"],
            ),
            ("1 2", &[not_json]),
            ("{\"a\":1,}", &[not_json]),
            ("{\"a\":1}\n{", &[not_json]),
            ("{}", &["NoText"]),
            ("", &["NoText"]),
        ],
    );
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    assert_eq!(read(Format::Json, deep.as_bytes()), [not_json]);
}

#[test]
fn more_than_the_limits_is_refused_as_a_whole() {
    let long = vec![b'a'; MAX_BYTES + 1];
    for format in FORMATS {
        let fault = ExtractFault::TooLong { limit: MAX_BYTES };
        assert_eq!(extract(format, &long), Err(fault));
    }
    let text = ExtractFault::TooLong {
        limit: MAX_TEXT_BYTES,
    };
    assert_eq!(
        extract(Format::Text, &long[..MAX_TEXT_BYTES + 1]),
        Err(text)
    );
    // Names repeated for each row make far more text than there are bytes.
    let names = format!("{}\n", "a-name-of-eighty-bytes-and-more-".repeat(3) + ",");
    let table = names + &"x\n".repeat(99_999);
    assert!(matches!(
        extract(Format::Csv, table.as_bytes()),
        Err(ExtractFault::TooLong { .. })
    ));
    let lines = "a\n\n".repeat(100_001);
    let blocks = ExtractFault::TooLong { limit: 100_000 };
    assert_eq!(extract(Format::Text, lines.as_bytes()), Err(blocks));
    let nested = format!("{{\"{}\":[", "k".repeat(1_000)) + &"1,".repeat(500_000) + "1]}";
    assert!(matches!(
        extract(Format::Json, nested.as_bytes()),
        Err(ExtractFault::TooLong { .. })
    ));
}

#[test]
fn headings_and_anchors_are_bounded() {
    let long = "é".repeat(400);
    let page = format!("<h1 id={long}>{long}</h1>x");
    let blocks = extract(Format::Html, page.as_bytes()).unwrap();
    assert_eq!(blocks[0].heading.len(), MAX_HEADING_BYTES);
    assert!(blocks[0].anchor.len() <= MAX_HEADING_BYTES);
    // So long that it is no heading.
    let endless = format!("<h1>{}", "word ".repeat(1000));
    let blocks = extract(Format::Html, endless.as_bytes()).unwrap();
    assert_eq!(
        (blocks[0].heading.as_str(), blocks[0].text.len()),
        ("", 4999)
    );
}

#[test]
fn a_pdf_is_read_by_its_pages() {
    // Printed by Chromium: a heading, a table, a link, ligatures, Chinese, and a second page.
    let pdf = include_bytes!("../../../../tests/fixtures/documents/printed.pdf");
    assert_eq!(
        read(Format::Pdf, pdf),
        [
            " @ page 1: House rules",
            " @ page 1: The limiter admits twenty requests a minute for each visitor, and a hundred for\n\
             each network; whoever asks for more is told how long to wait. Office hours and\n\
             difficult flights are counted in full.",
            " @ page 1: Prices",
            " @ page 1: Plan Requests Price",
            " @ page 1: Small 1,000 € 5",
            " @ page 1: Large 20,000 € 50",
            " @ page 1: 中文说明",
            " @ page 1: 网关限制每个访客的请求。文档在存储之前加密，密钥由密钥环保管。\
             每个访客每分钟可以提出二十个请求，超过的要等待。",
            " @ page 1: Read the guide first.",
            " @ page 2: The second page has one line, naïve façade – “quoted”.",
        ]
    );
    // Its pages are pictures.
    let scanned =
        b"%PDF-1.7 1 0 obj<</Pages 2 0 R>>endobj 2 0 obj<<>>endobj trailer<</Root 1 0 R>>";
    assert_eq!(extract(Format::Pdf, scanned), Err(ExtractFault::NoText));
}

/// Text made of what these formats are made of.
fn markup() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: [&str; 44] = [
        "<",
        ">",
        "</",
        "<!--",
        "-->",
        "<p>",
        "<p hidden>",
        "</p>",
        "<ul>",
        "<li hidden>",
        "</ul>",
        "<h1>",
        "</h1>",
        "<h2 id=a>",
        "<title>",
        "<script>",
        "</script>",
        "<pre>",
        "<td>",
        "<![CDATA[",
        "<?xml ",
        "&amp;",
        "&#x41;",
        "&",
        ";",
        "\"",
        "'",
        "=",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\n",
        "\r\n",
        " ",
        "# ",
        "|",
        "```",
        "word ",
        "键",
        "\u{200B}",
        "12",
    ];
    let part = prop_oneof![
        6 => (0..PARTS.len()).prop_map(|place| PARTS[place].as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
        1 => Just("\u{FEFF}".into()),
    ];
    vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop_oneof![markup(), vec(any::<u8>(), 0..200)]) {
        for format in FORMATS {
            let Ok(blocks) = extract(format, &bytes) else { continue };
            assert!(!blocks.is_empty());
            for block in blocks {
                assert!(!block.text.trim().is_empty() && block.text == super::text::seen(&block.text));
                assert!(block.heading.len() <= MAX_HEADING_BYTES && block.anchor.len() <= MAX_HEADING_BYTES);
                assert!(!block.heading.contains('\n') && !block.anchor.contains('\n'));
            }
        }
    }

    #[test]
    fn plain_text_loses_nothing_that_is_seen(text in "[ -~\n键é]{0,200}") {
        let black = |text: &str| text.split_whitespace().collect::<String>();
        let blocks = extract(Format::Text, text.as_bytes()).unwrap_or_default();
        let found: String = blocks.iter().map(|block| black(&block.text)).collect();
        assert_eq!(found, black(&text));
    }
}
