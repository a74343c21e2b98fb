//! Small files, written here as a writer of PDF would, and what is read of them.

use std::fmt::Write as _;

use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::super::{Blocks, ExtractFault, MAX_TEXT_BYTES};
use super::file::{MAX_DECODED_BYTES, MAX_STREAM_BYTES, MAX_WORK};
use super::glyphs::Names;
use super::{MAX_PAGES, read};

/// `page 1: text` of each stretch, or the fault.
fn texts(pdf: &[u8]) -> Vec<String> {
    let mut blocks = Blocks::default();
    match read(pdf, &mut blocks) {
        Ok(()) => blocks
            .found
            .iter()
            .map(|block| format!("{}: {}", block.anchor, block.text))
            .collect(),
        Err(fault) => vec![format!("{fault:?}")],
    }
}

fn fault(pdf: &[u8]) -> Option<ExtractFault> {
    read(pdf, &mut Blocks::default()).err()
}

/// A file on its way. Object 1 is the catalog, 2 the page tree.
struct Pdf(Vec<u8>);

impl Pdf {
    fn new() -> Self {
        let mut pdf = Self(b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n".to_vec());
        pdf.object(1, "<</Type/Catalog/Pages 2 0 R>>");
        pdf
    }

    fn object(&mut self, number: u32, value: &str) -> &mut Self {
        let object = format!("{number} 0 obj\n{value}\nendobj\n");
        self.0.extend(object.as_bytes());
        self
    }

    fn stream(&mut self, number: u32, dict: &str, body: &[u8]) -> &mut Self {
        let length = body.len();
        let head = format!("{number} 0 obj\n<<{dict}/Length {length}>>\nstream\n");
        self.0.extend(head.as_bytes());
        self.0.extend(body);
        self.0.extend(b"\nendstream\nendobj\n");
        self
    }

    fn trailer(&mut self, more: &str) -> Vec<u8> {
        let trailer = format!("trailer\n<</Root 1 0 R{more}>>\nstartxref\n0\n%%EOF\n");
        self.0.extend(trailer.as_bytes());
        std::mem::take(&mut self.0)
    }
}

const HELVETICA: &str = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>";

/// A file of one page (3) with that content (4) and the fonts F (5) and G (6).
fn page_with(content: &[u8], filter: &str, font: &str, more: &[(u32, &str)]) -> Vec<u8> {
    let mut pdf = Pdf::new();
    pdf.object(2, "<</Type/Pages/Kids[3 0 R]/Count 1>>")
        .object(
            3,
            "<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R/G 6 0 R>>\
             /XObject<</X 7 0 R/Y 8 0 R>>/Properties<</P 9 0 R>>>>>>",
        )
        .stream(4, filter, content)
        .object(5, font)
        .object(6, HELVETICA);
    for (number, value) in more {
        pdf.object(*number, value);
    }
    pdf.trailer("")
}

fn page(content: &str) -> Vec<u8> {
    page_with(content.as_bytes(), "", HELVETICA, &[])
}

/// What is read of a page with that content.
fn shown(content: &str) -> Vec<String> {
    texts(&page(content))
}

fn deflated(data: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(data, 6)
}

const HELLO: &str = "BT /F 12 Tf 72 700 Td (Hello, world) Tj ET";

#[test]
fn strings_are_read_where_they_stand() {
    let table: &[(&str, &[&str])] = &[
        (HELLO, &["page 1: Hello, world"]),
        (
            "BT /F 12 Tf [(Hel) -20 (lo,) -250 (world)] TJ ET",
            &["page 1: Hello, world"],
        ),
        ("BT /F 12 Tf 0 Tw 3 Tc (apart) Tj ET", &["page 1: apart"]),
        // Strings: nested, escaped, octal, hexadecimal.
        (
            r"BT /F 12 Tf (a\(b\)(c) \101\7) Tj <44 4 5> Tj ET",
            &["page 1: a(b)(c) ADE"],
        ),
        ("BT /F 12 Tf (one\\\ntwo) Tj ET", &["page 1: onetwo"]),
        (
            "BT /F 12 Tf (\\223q\\224 \\226 na\\357ve \\200) Tj ET",
            &["page 1: “q” – naïve €"],
        ),
        // Lines: by each operator that moves.
        (
            "BT /F 12 Tf 14 TL (a) Tj T* (b) Tj (c) ' 0 0 (d) \" ET",
            &["page 1: a\nb\nc\nd"],
        ),
        (
            "BT /F 12 Tf (a) Tj 0 -14 TD (b) Tj T* (c) Tj ET",
            &["page 1: a\nb\nc"],
        ),
        (
            "BT /F 12 Tf 1 0 0 1 9 99 Tm (a) Tj 1 0 0 1 9 85 Tm (b) Tj ET",
            &["page 1: a\nb"],
        ),
        // Paragraphs: a larger distance, another size, another column.
        (
            "BT /F 12 Tf 14 TL (a) Tj T* (b) Tj 0 -28 Td (c) Tj ET",
            &["page 1: a\nb", "page 1: c"],
        ),
        (
            "BT /F 20 Tf (Head) Tj 0 -20 Td /F 12 Tf (body) Tj ET",
            &["page 1: Head", "page 1: body"],
        ),
        (
            "BT /F 9 Tf 10 TL 10 90 Td (left) Tj T* (text) Tj 200 10 Td (right) Tj T* (text) Tj ET",
            &["page 1: left\ntext", "page 1: right\ntext"],
        ),
        // An index above the line is in the line; a space is where a gap is, and one only.
        (
            "BT /F 12 Tf (x) Tj 4 Ts /F 8 Tf (2) Tj 0 Ts /F 12 Tf ( y) Tj ET",
            &["page 1: x2 y"],
        ),
        ("BT /F 12 Tf (a) Tj 100 0 Td (b) Tj ET", &["page 1: a b"]),
        ("BT /F 12 Tf (a ) Tj 100 0 Td ( b) Tj ET", &["page 1: a b"]),
        (
            "BT /F 12 Tf 50 Tz (wi) Tj 4.5 0 Td (de) Tj ET",
            &["page 1: wide"],
        ),
        // Sizes by any matrix; text that runs up the margin.
        (
            "q 10 0 0 10 0 0 cm BT /F 1 Tf (a) Tj 0 -1.2 Td (b) Tj ET Q",
            &["page 1: a\nb"],
        ),
        (
            "BT /F 12 Tf 0 1 -1 0 50 50 Tm (up) Tj 14 TL T* (next) Tj ET",
            &["page 1: up\nnext"],
        ),
        // The state is saved, the position of text is not.
        ("BT /G 12 Tf q /F 12 Tf Q (a) Tj ET", &["page 1: a"]),
        // Invisible text is what recognition found on a scan.
        ("BT /F 12 Tf 3 Tr (scan) Tj ET", &["page 1: scan"]),
        // Images in the content.
        (
            "BI /W 1 /H 1 ID (\x01 EI\x02 EI Q BT /F 12 Tf (a) Tj ET",
            &["page 1: a"],
        ),
        // What no viewer minds.
        ("BT /F 12 Tf Q Q ] >> 1 2 foo (a) Tj (b", &["page 1: a"]),
        ("BT /None 12 Tf ET", &[]),
    ];
    for (content, expected) in table {
        assert_eq!(shown(content), *expected, "{content}");
    }
}

#[test]
fn words_that_lines_part_are_joined() {
    let lines = |first: &str, second: &str| {
        shown(&format!(
            "BT /F 12 Tf 14 TL ({first}) Tj T* ({second}) Tj ET"
        ))
    };
    assert_eq!(lines("exam-", "ple"), ["page 1: example"]);
    assert_eq!(lines("exam- ", "ple"), ["page 1: example"]);
    // A dash, a range and a name keep theirs.
    assert_eq!(lines("one -", "two"), ["page 1: one -\ntwo"]);
    assert_eq!(lines("1990-", "2000"), ["page 1: 1990-\n2000"]);
    assert_eq!(lines("Jean-", "Paul"), ["page 1: Jean-\nPaul"]);
}

#[test]
fn ligatures_are_written_as_letters() {
    let font = "<</Subtype/Type1/Encoding<</Differences[1/fi/ffl/f_f_i/fl.alt]>>>>";
    let pdf = page_with(b"BT /F 9 Tf (\x01\x02\x03\x04) Tj ET", "", font, &[]);
    assert_eq!(texts(&pdf), ["page 1: fifflffifl"]);
}

#[test]
fn every_filter_is_undone() {
    // A long word of many bytes, so that every guess is made.
    let word: String = (0..2000_u32)
        .map(|n| char::from((n * n / 7 % 26) as u8 + b'a'))
        .collect();
    let long = format!("BT /F 12 Tf ({word}) Tj ET");
    let png = |kind: u8| {
        // Rows of four bytes behind the kind of each, as an encoder writes them.
        let (mut out, mut above) = (Vec::new(), vec![0_u8; 4]);
        for row in long.as_bytes().chunks(4) {
            out.push(kind);
            for (at, byte) in row.iter().enumerate() {
                let left = if at > 0 { row[at - 1] } else { 0 };
                let (up, corner) = (above[at], if at > 0 { above[at - 1] } else { 0 });
                let guess = match kind {
                    1 => left,
                    2 => up,
                    3 => ((u16::from(left) + u16::from(up)) / 2) as u8,
                    4 => {
                        let (a, b, c) = (i32::from(left), i32::from(up), i32::from(corner));
                        let p = a + b - c;
                        let nearest = [left, up, corner].into_iter();
                        nearest.min_by_key(|v| (i32::from(*v) - p).abs()).unwrap()
                    }
                    _ => 0,
                };
                out.push(byte.wrapping_sub(guess));
            }
            above = row.to_vec();
            above.resize(4, 0);
        }
        deflated(&out)
    };
    let hex: String = HELLO.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x} ").unwrap();
        hex
    });
    let mut run = vec![(HELLO.len() - 1) as u8];
    run.extend(HELLO.bytes());
    // Three spaces as a repetition, and the end.
    run.extend([254, b' ', 128, 7]);
    let mut broken_sum = deflated(HELLO.as_bytes());
    *broken_sum.last_mut().unwrap() ^= 1;
    let mut cut_sum = deflated(HELLO.as_bytes());
    cut_sum.truncate(cut_sum.len() - 3);
    let tiff: Vec<u8> = HELLO
        .as_bytes()
        .chunks(4)
        .flat_map(|row| {
            (0..row.len()).map(|at| row[at].wrapping_sub(if at > 0 { row[at - 1] } else { 0 }))
        })
        .collect();
    let predictor = "/Filter/FlateDecode/DecodeParms<</Predictor 12/Columns 4>>";
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("/Filter/FlateDecode", deflated(HELLO.as_bytes())),
        ("/Filter/FlateDecode", broken_sum),
        ("/Filter/FlateDecode", cut_sum),
        (
            "/Filter[/FlateDecode]/DecodeParms[null]",
            deflated(HELLO.as_bytes()),
        ),
        (
            "/Filter/FlateDecode/DecodeParms<</Predictor 2/Columns 4>>",
            deflated(&tiff),
        ),
        ("/Filter/ASCIIHexDecode", [hex.as_bytes(), b">"].concat()),
        ("/Filter/ASCII85Decode", ascii85(HELLO.as_bytes())),
        (
            "/Filter[/ASCII85Decode/FlateDecode]",
            ascii85(&deflated(HELLO.as_bytes())),
        ),
        ("/Filter/RunLengthDecode", run),
        ("/Filter/LZWDecode", lzw(HELLO.as_bytes(), 1)),
        (
            "/Filter/LZWDecode/DecodeParms<</EarlyChange 0>>",
            lzw(HELLO.as_bytes(), 0),
        ),
    ];
    for (filter, body) in table {
        let pdf = page_with(&body, filter, HELVETICA, &[]);
        assert_eq!(texts(&pdf), ["page 1: Hello, world"], "{filter}");
    }
    for kind in 0..5 {
        let pdf = page_with(&png(kind), predictor, HELVETICA, &[]);
        assert_eq!(texts(&pdf), [format!("page 1: {word}")], "{kind}");
    }
    let damaged = Some(ExtractFault::Malformed("a damaged stream"));
    for (filter, body) in [
        ("/Filter/FlateDecode", &b"x\x9C\xFF\xFF"[..]),
        ("/Filter/FlateDecode", &deflated(HELLO.as_bytes())[..20]),
        ("/Filter/LZWDecode", b"\xFF\xFF\xFF"),
        ("/Filter/ASCII85Decode", b"\x7F"),
        ("/Filter/DCTDecode", b"x"),
        (predictor, b""),
    ] {
        let found = fault(&page_with(body, filter, HELVETICA, &[]));
        let is_empty = body.is_empty();
        assert_eq!(found, damaged.filter(|_| !is_empty), "{filter}");
    }
}

fn ascii85(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for group in data.chunks(4) {
        let mut padded = group.to_vec();
        padded.resize(4, 0);
        let mut value = u32::from_be_bytes(padded.try_into().unwrap());
        let mut digits = [0; 5];
        for digit in digits.iter_mut().rev() {
            *digit = (value % 85) as u8 + b'!';
            value /= 85;
        }
        if group.len() == 4 && digits == [b'!'; 5] {
            out.push(b'z');
        } else {
            out.extend(&digits[..group.len() + 1]);
        }
    }
    out.extend(b"~>");
    out
}

/// Codes of nine bits and more, with a table that grows as PDF's does.
fn lzw(data: &[u8], early: usize) -> Vec<u8> {
    let (mut bits, mut held, mut out) = (0_u64, 0, Vec::new());
    let mut put = |code: usize, width: u32| {
        bits = (bits << width) | code as u64;
        held += width;
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
        bits &= (1 << held) - 1;
    };
    let mut table: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    table.extend([vec![], vec![]]);
    put(256, 9);
    let mut width = 9;
    let mut rest = data;
    while !rest.is_empty() {
        let (code, known) = table
            .iter()
            .enumerate()
            .filter(|(_, known)| !known.is_empty() && rest.starts_with(known))
            .max_by_key(|(_, known)| known.len())
            .unwrap();
        let length = known.len();
        put(code, width);
        // The decoder's table is one entry behind.
        if table.len() + early >= 512 {
            width = 10;
        }
        table.push(rest[..(length + 1).min(rest.len())].to_vec());
        rest = &rest[length..];
    }
    put(257, width);
    put(0, 7);
    out
}

#[test]
fn lzw_codes_grow_as_both_conventions_say() {
    let words: String = (0..400).fold("aaaaaaaa ".to_owned(), |mut words, n| {
        write!(words, "w{n} ").unwrap();
        words
    });
    let words = words.trim_end();
    let content = format!("BT /F 12 Tf ({words}) Tj ET");
    for (early, parameters) in [(1, ""), (0, "/DecodeParms<</EarlyChange 0>>")] {
        let body = lzw(content.as_bytes(), early);
        let filter = format!("/Filter/LZWDecode{parameters}");
        let pdf = page_with(&body, &filter, HELVETICA, &[]);
        assert_eq!(texts(&pdf), [format!("page 1: {words}")], "{early}");
    }
}

#[test]
fn objects_in_object_streams_are_found() {
    let font = HELVETICA;
    let page = "<</Type/Page/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>";
    let tree = "<</Type/Pages/Kids[3 0 R]>>";
    let head = format!(
        "2 0 3 {} 5 {} ",
        tree.len() + 1,
        tree.len() + page.len() + 2
    );
    let packed = format!("{head}{tree} {page} {font}");
    let dict = format!("/Type/ObjStm/N 3/First {}/Filter 11 0 R", head.len());
    let mut pdf = Pdf::new();
    pdf.stream(10, &dict, &deflated(packed.as_bytes()))
        .object(11, "/FlateDecode")
        .stream(4, "", HELLO.as_bytes());
    // A cross-reference stream is the trailer too.
    pdf.stream(12, "/Type/XRef/Root 1 0 R/W[1 2 1]", b"\0\0\0\0");
    assert_eq!(texts(&pdf.0), ["page 1: Hello, world"]);
}

#[test]
fn the_last_definition_of_an_object_counts() {
    let mut pdf = page(HELLO);
    pdf.extend(
        b"4 0 obj <</Length 13 0 R>> stream\r\nBT /F 12 Tf (Newer) Tj ET\r\nendstream endobj\n",
    );
    pdf.extend(b"13 0 obj 25 endobj trailer <</Root 1 0 R/Prev 9>>");
    assert_eq!(texts(&pdf), ["page 1: Newer"]);
    // Also where one of them is in an object stream.
    let update = "<</Type/Pages/Kids[]>>";
    let mut stream = Pdf(pdf.clone());
    stream.stream(
        20,
        "/Type/ObjStm/N 1/First 4",
        format!("2 0 {update}").as_bytes(),
    );
    assert_eq!(texts(&stream.0), [""; 0]);
    stream.object(2, "<</Kids[3 0 R]>>");
    assert_eq!(texts(&stream.0), ["page 1: Newer"]);
}

#[test]
fn lengths_that_are_wrong_do_not_matter() {
    for length in ["0", "9", "99999", "-1", "(x)", "4 0 R", "77 0 R"] {
        let mut pdf = Pdf::new();
        pdf.object(2, "<</Kids[3 0 R]>>");
        pdf.object(3, "<</Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>");
        let stream = format!("4 0 obj<</Length {length}>>stream\n{HELLO}\nendstream endobj\n");
        pdf.0.extend(stream.as_bytes());
        let pdf = pdf.object(5, HELVETICA).trailer("");
        assert_eq!(texts(&pdf), ["page 1: Hello, world"], "{length}");
    }
}

#[test]
fn words_of_the_syntax_in_strings_are_none() {
    let mut pdf = page(HELLO);
    let head = pdf
        .windows(7)
        .position(|window| window == b"3 0 obj")
        .unwrap();
    let info = b"15 0 obj <</Creator(Exstream )/Title(a stream trailer)>> endobj\n";
    pdf.splice(head..head, info.iter().copied());
    assert_eq!(texts(&pdf), ["page 1: Hello, world"]);
}

#[test]
fn pages_come_in_order_with_what_they_inherit() {
    let mut pdf = Pdf::new();
    pdf.object(2, "<</Kids[6 0 R 3 0 R]/Resources<</Font<</F 5 0 R>>>>>>")
        .object(3, "<</Type/Page/Contents[4 0 R 8 0 R]>>")
        .stream(4, "", b"BT /F 12 Tf 14 TL (th) Tj")
        .stream(8, "", b"T* (ird) Tj ET")
        .object(5, HELVETICA)
        .object(6, "<</Kids[7 0 R 9 0 R]>>")
        .object(7, "<</Type/Page/Contents 10 0 R>>")
        .object(9, "<</Type/Page>>")
        .stream(10, "", b"BT /F 12 Tf (first) Tj ET");
    let expected = ["page 1: first", "page 3: th\nird"];
    assert_eq!(texts(&pdf.trailer("")), expected);
}

#[test]
fn forms_are_read_where_they_are_drawn() {
    let form = |resources: &str, content: &str| {
        let length = content.len();
        format!(
            "<</Subtype/Form/Matrix[1 0 0 1 0 -14]{resources}/Length {length}>>\n\
             stream\n{content}\nendstream"
        )
    };
    let inner = form(
        "/Resources<</Font<</H 6 0 R>>>>",
        "BT /H 12 Tf (inner) Tj ET",
    );
    let outer = form("", "/Y Do BT /F 12 Tf (outer) Tj ET");
    let content = b"BT /F 12 Tf (before) Tj ET /X Do /X Do /None Do";
    let pdf = page_with(content, "", HELVETICA, &[(7, &outer), (8, &inner)]);
    assert_eq!(
        texts(&pdf),
        [
            "page 1: before",
            "page 1: inner",
            "page 1: outer\ninner",
            "page 1: outer"
        ]
    );
    // One that draws itself, and one that every line draws again.
    let own = form("", "/X Do BT /F 12 Tf (once) Tj ET");
    let pdf = page_with(b"/X Do", "", HELVETICA, &[(7, &own)]);
    assert_eq!(texts(&pdf).len(), 16);
}

#[test]
fn actual_text_stands_for_its_glyphs() {
    let table: &[(&str, &[&str])] = &[
        (
            "/Span<</ActualText(word)>>BDC (w) Tj (xyz) Tj EMC ( on) Tj",
            &["page 1: word on"],
        ),
        (
            "/Span<</ActualText<FEFF4E2D6587>>>BDC (??) Tj EMC",
            &["page 1: 中文"],
        ),
        ("/Span/P BDC (??) Tj EMC (!) Tj", &["page 1: named!"]),
        (
            "/Span<</ActualText()>>BDC (gone) Tj EMC (here) Tj",
            &["page 1: here"],
        ),
        (
            "/A BMC /Span<</ActualText(x)>>BDC /B BMC (1) Tj EMC (2) Tj EMC (3) Tj EMC",
            &["page 1: x3"],
        ),
        ("/P<</MCID 0>>BDC (plain) Tj EMC EMC", &["page 1: plain"]),
    ];
    for (content, expected) in table {
        let content = format!("BT /F 12 Tf {content} ET");
        let named = [(9, "<</ActualText(named)>>")];
        let pdf = page_with(content.as_bytes(), "", HELVETICA, &named);
        assert_eq!(texts(&pdf), *expected, "{content}");
    }
}

fn stream_text(dict: &str, body: &str) -> String {
    let length = body.len();
    format!("<<{dict}/Length {length}>>\nstream\n{body}\nendstream")
}

#[test]
fn simple_fonts_tell_their_letters() {
    let map = stream_text(
        "",
        "1 begincodespacerange <00> <FF> endcodespacerange 2 beginbfchar <01> <0041> \
         <02> <00660066> endbfchar 2 beginbfrange <03> <04> <0042> <05> <06> [<0058> <D83DDE00>] \
         endbfrange 1 beginbfrange <10> <12> <0061007A> endbfrange",
    );
    let cut = "<</Subtype/Type1/FontDescriptor 8 0 R>>";
    let program = stream_text(
        "",
        "/Encoding 256 array 0 1 255 {1 index exch /.notdef put} for\n\
         dup 1 /A put dup 2 /eacute put readonly def eexec dup 3 /B put",
    );
    let table: &[(&str, &[u8], &str)] = &[
        (
            "<</ToUnicode 7 0 R>>",
            b"\x01\x02\x03\x04\x05\x06",
            "AffBCX😀",
        ),
        ("<</ToUnicode 7 0 R>>", b"\x10\x11", "aza{"),
        // What the map has not, the encoding may have.
        (
            "<</ToUnicode 7 0 R/Encoding/WinAnsiEncoding>>",
            b"\x01\xE9",
            "Aé",
        ),
        ("<</Encoding/MacRomanEncoding>>", b"\x8E\xD5", "é’"),
        ("<</Encoding/StandardEncoding>>", b"'`\xAE", "’‘fi"),
        ("<</BaseFont/ABCDEF+Symbol>>", b"ab\xB3", "αβ≥"),
        (
            "<</Encoding<</BaseEncoding/WinAnsiEncoding/Differences[65/Beta 1/afii10017/afii10097 9/uni4E2D6587/u1F600/Aogonek/a.sc]>>>>",
            b"AB\x01\x02\x09\x0A\x0B\x0C",
            "ΒBАя中文😀Ąa",
        ),
        // The code in the name, as TeX's bitmaps have it; another number says nothing.
        (
            "<</Subtype/Type3/FontMatrix[.01 0 0 .01 0 0]/Encoding<</Differences[65/a65/C066/a1]>>>>",
            b"ABDEFGHABC",
            "ABDEFGHAB",
        ),
        (cut, b"\x01\x02", "Aé"),
        ("<</Encoding<</Differences[32/.notdef]>>>>", b"a b", "a b"),
        // Pictures have no letters.
        ("<</BaseFont/ZapfDingbats>>", b"AB", "c"),
    ];
    for (font, bytes, expected) in table {
        let mut content = b"BT /F 12 Tf <".to_vec();
        for byte in *bytes {
            content.extend(format!("{byte:02X}").bytes());
        }
        content.extend(b"> Tj");
        if font.contains("Dingbats") {
            content.extend(b" /G 12 Tf (c) Tj");
        }
        content.extend(b" ET");
        let more = [
            (7, map.as_str()),
            (8, "<</Flags 4/FontFile 9 0 R>>"),
            (9, &program),
        ];
        let pdf = page_with(&content, "", font, &more);
        assert_eq!(texts(&pdf), [format!("page 1: {expected}")], "{font}");
    }
}

#[test]
fn names_of_glyphs_are_in_order() {
    let names = Names::new();
    assert!(names.0.is_sorted_by(|a, b| a.0 < b.0));
    for (name, text) in names.0.clone() {
        assert_eq!(text.chars().count(), 1, "{name}");
        assert_eq!(names.text(name.as_bytes()).as_deref(), Some(text), "{name}");
    }
}

#[test]
fn composite_fonts_tell_their_characters() {
    let map = stream_text(
        "",
        "1 begincodespacerange <0000> <FFFF> endcodespacerange \
         1 beginbfrange <0000> <FFFF> <0041> endbfrange 2 beginbfchar <0102> <4E2D> <0000> <0058> endbfchar",
    );
    let mixed = stream_text(
        "/Type/CMap",
        "2 begincodespacerange <00> <7F> <8000> <FFFF> endcodespacerange \
         1 begincidrange <8000> <80FF> 5 endcidrange",
    );
    let to_unicode = stream_text("", "2 beginbfchar <41> <0042> <8141> <6587> endbfchar");
    let font = |encoding: &str| {
        format!("<</Subtype/Type0/Encoding{encoding}/DescendantFonts[<</W[5[500 500]]>>]")
    };
    let table: &[(String, &str, &str)] = &[
        (font("/Identity-H/ToUnicode 7 0 R"), "000000010102", "XB中"),
        (font("/Identity-V/ToUnicode 7 0 R"), "00000001", "XB"),
        (font(" 8 0 R/ToUnicode 9 0 R"), "41814141", "B文B"),
        (font("/UniGB-UCS2-H"), "4E2D6587", "中文"),
        (font("/UniJIS-UTF16-H"), "65E5D842DFB7672C", "日𠮷本"),
        (font("/UniKS-UTF8-H"), "ED959C41", "한A"),
        (font("/UniCNS-UTF32-H"), "00004E2D", "中"),
        (font("/90ms-RKSJ-H/ToUnicode 9 0 R"), "41814142", "B文B"),
        (font("/Identity-H/ToUnicode/Identity-H"), "00410042", "AB"),
    ];
    for (font, hex, expected) in table {
        let content = format!("BT /F 12 Tf <{hex}> Tj ET");
        let more = [(7, map.as_str()), (8, &mixed), (9, &to_unicode)];
        let font = format!("{font}>>");
        let pdf = page_with(content.as_bytes(), "", &font, &more);
        let found = texts(&pdf);
        assert_eq!(found, [format!("page 1: {expected}")], "{font}");
    }
}

#[test]
fn chinese_lines_are_joined_without_a_space_and_korean_ones_are_not() {
    let font = "<</Subtype/Type0/Encoding/UniGB-UTF16-H/DescendantFonts[<<>>]>>";
    let lines = |first: &str, second: &str| {
        let content = format!("BT /F 12 Tf 14 TL <{first}> Tj T* <{second}> Tj ET");
        texts(&page_with(content.as_bytes(), "", font, &[]))
    };
    assert_eq!(lines("4E2D", "6587"), ["page 1: 中文"]);
    assert_eq!(lines("D55C", "AD6D"), ["page 1: 한\n국"]);
    // Rows of a table.
    assert_eq!(
        lines("82F9679C> Tj 72 0 Td <7EA2", "9999"),
        ["page 1: 苹果 红\n香"]
    );
    // Vertical writing runs down and to the left.
    let vertical = "<</Subtype/Type0/Encoding/UniGB-UTF16-V/DescendantFonts[<<>>]>>";
    let content = "BT /F 12 Tf 200 700 Td <4E2D6587> Tj -20 0 Td <7F517AD9> Tj ET";
    assert_eq!(
        texts(&page_with(content.as_bytes(), "", vertical, &[])),
        ["page 1: 中文网站"]
    );
}

#[test]
fn letters_of_a_script_from_right_to_left_are_one_line() {
    let font = "<</Subtype/Type0/Encoding/UniGB-UTF16-H/DescendantFonts[<</DW 500>>]>>";
    let content = "BT /F 10 Tf 100 0 Td <05E9> Tj -5 0 Td <05DC> Tj -5 0 Td <05D5> Tj ET";
    let found = texts(&page_with(content.as_bytes(), "", font, &[]));
    assert_eq!(found, ["page 1: שלו"]);
}

#[test]
fn what_cannot_be_read_says_why() {
    let untold = "a PDF whose letters cannot be told from its fonts";
    let identity = "<</Subtype/Type0/Encoding/Identity-H/DescendantFonts[<<>>]>>";
    let glyphs = |font: &str, content: &str| fault(&page_with(content.as_bytes(), "", font, &[]));
    let malformed = |what| Some(ExtractFault::Malformed(what));
    assert_eq!(
        glyphs(identity, "BT /F 9 Tf <0001> Tj ET"),
        malformed(untold)
    );
    // A fifth may be missing: icons, a formula.
    assert_eq!(
        glyphs(identity, "BT /F 9 Tf <0001> Tj /G 9 Tf (abc) Tj ET"),
        malformed(untold)
    );
    assert_eq!(
        glyphs(identity, "BT /F 9 Tf <0001> Tj /G 9 Tf (abcd) Tj ET"),
        None
    );
    let symbolic = "<</Subtype/TrueType/FontDescriptor<</Flags 4/FontFile2 9 0 R>>>>";
    assert_eq!(glyphs(symbolic, "BT /F 9 Tf (a) Tj ET"), malformed(untold));

    assert_eq!(fault(b""), malformed("not a PDF"));
    assert_eq!(
        fault(b"%PDF-1.7"),
        malformed("no trailer leads to its pages")
    );
    assert_eq!(
        fault(&Pdf::new().trailer("/Encrypt 9 0 R")),
        Some(ExtractFault::Encrypted)
    );
    let mut pdf = Pdf::new();
    pdf.stream(9, "/Type/XRef/Root 1 0 R/Encrypt<<>>", b"");
    assert_eq!(fault(&pdf.0), Some(ExtractFault::Encrypted));
    assert_eq!(
        fault(&Pdf::new().trailer("")),
        malformed("a page that is missing")
    );
    let kids = |kids: &str| fault(&Pdf::new().object(2, kids).trailer(""));
    assert_eq!(
        kids("<</Kids[9 0 R]>>"),
        malformed("a page that is missing")
    );
    assert_eq!(
        kids("<</Kids[2 0 R]>>"),
        malformed("a page that stands twice")
    );
    assert_eq!(
        kids("<</Contents 9 0 R>>"),
        malformed("a page whose content is missing")
    );
    let deep = "[".repeat(100);
    assert_eq!(kids(&deep), malformed("nested too deeply"));
    // Pages without text, as scans are, are none of these.
    assert_eq!(kids("<</Kids[<<>><<>>]>>"), None);
}

#[test]
fn bombs_are_refused_as_too_long() {
    let limit = |pdf: &[u8]| match fault(pdf) {
        Some(ExtractFault::TooLong { limit }) => limit,
        other => panic!("{other:?}"),
    };
    let zeros = deflated(&vec![b' '; MAX_STREAM_BYTES + 1]);
    assert_eq!(
        limit(&page_with(&zeros, "/Filter/FlateDecode", HELVETICA, &[])),
        MAX_STREAM_BYTES
    );
    let twice = deflated(&zeros);
    let filters = "/Filter[/FlateDecode/FlateDecode]";
    assert_eq!(
        limit(&page_with(&twice, filters, HELVETICA, &[])),
        MAX_STREAM_BYTES
    );
    let run = [129_u8, b' '].repeat(MAX_STREAM_BYTES / 128 + 1);
    assert_eq!(
        limit(&page_with(&run, "/Filter/RunLengthDecode", HELVETICA, &[])),
        MAX_STREAM_BYTES
    );

    // Many streams, each within its own bound.
    let spaces = deflated(&vec![b' '; MAX_STREAM_BYTES - 1]);
    let mut pdf = Pdf::new();
    pdf.object(2, "<</Kids[3 0 R 4 0 R 5 0 R 6 0 R 7 0 R]>>");
    for number in 3..8 {
        let page = format!("<</Contents {} 0 R>>", number + 10);
        pdf.object(number, &page)
            .stream(number + 10, "/Filter/FlateDecode", &spaces);
    }
    let left = limit(&pdf.trailer(""));
    assert!(left <= MAX_DECODED_BYTES, "{left}");

    // A page that is the same stream a thousand times.
    let mut pdf = Pdf::new();
    let parts = format!("<</Contents[{}]>>", "4 0 R ".repeat(1000));
    pdf.object(2, &parts).stream(4, "", &[b' '; 100_000]);
    assert_eq!(limit(&pdf.trailer("")), MAX_STREAM_BYTES);

    // Forms that draw the next one a hundred times each: 100^8 drawings.
    let mut pdf = Pdf::new();
    pdf.object(
        2,
        "<</Contents 10 0 R/Resources<</XObject<</X 11 0 R>>/Font<</F 9 0 R>>>>>>",
    )
    .object(9, HELVETICA)
    .stream(10, "", b"/X Do");
    for number in 11..19 {
        let dict = format!(
            "/Subtype/Form/Resources<</XObject<</X {} 0 R>>>>",
            number + 1
        );
        pdf.stream(number, &dict, "/X Do ".repeat(100).as_bytes());
    }
    assert_eq!(limit(&pdf.trailer("")), MAX_WORK);

    // Glyphs that stand for sixty characters each.
    let map = stream_text(
        "",
        &format!("1 beginbfchar <41> <{}> endbfchar", "0041".repeat(60)),
    );
    let content = format!("BT /F 9 Tf ({}) Tj ET", "A".repeat(200_000));
    let pdf = page_with(content.as_bytes(), "", "<</ToUnicode 7 0 R>>", &[(7, &map)]);
    assert_eq!(limit(&pdf), MAX_TEXT_BYTES);

    // Widths that are the same long array behind many codes.
    let widths = format!("[{}]", "9 0 R ".repeat(100_000));
    let codes = format!("[{}]", "1 8 0 R ".repeat(100_000));
    let font = "<</Subtype/Type0/Encoding/Identity-H/DescendantFonts[<</W 7 0 R>>]>>";
    let pdf = page_with(
        b"BT /F 9 Tf (ab) Tj ET",
        "",
        font,
        &[(7, &codes), (8, &widths)],
    );
    assert!(matches!(fault(&pdf), Some(ExtractFault::TooLong { .. })));

    let pages = format!("<</Kids[{}]>>", "<<>>".repeat(MAX_PAGES + 1));
    assert_eq!(
        limit(Pdf::new().object(2, &pages).trailer("").as_slice()),
        MAX_PAGES
    );
    let pages = format!("<</Contents 3 0 R/A[{}]>>", "0 ".repeat(1_000_000));
    assert!(limit(&Pdf::new().object(2, &pages).trailer("")) > 0);
}

#[test]
fn a_range_of_all_codes_is_no_work() {
    let map = stream_text("", "1 beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange");
    let pdf = page_with(
        b"BT /F 9 Tf (\x01) Tj ET",
        "",
        "<</ToUnicode 7 0 R>>",
        &[(7, &map)],
    );
    assert_eq!(texts(&pdf), ["page 1: B"]);
}

#[test]
fn cycles_end() {
    // References to themselves and to each other, as every part that is followed.
    let more = [(5, "5 0 R"), (7, "8 0 R"), (8, "7 0 R"), (9, "9 0 R")];
    let content = b"BT /F 9 Tf (a) Tj ET /X Do /Span/P BDC EMC";
    let mut pdf = Pdf::new();
    pdf.object(2, "<</Kids[3 0 R]/Parent 3 0 R>>")
        .object(
            3,
            "<</Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>/XObject 7 0 R\
             /Properties<</P 9 0 R>>>>>>",
        )
        .stream(4, "/Filter 8 0 R/DecodeParms 7 0 R", content);
    for (number, value) in more {
        pdf.object(number, value);
    }
    assert!(
        fault(&pdf.trailer("")).is_none_or(|fault| matches!(fault, ExtractFault::Malformed(_)))
    );
    // Object streams whose filters are in each other.
    let mut pdf = Pdf::new();
    pdf.stream(
        10,
        "/Type/ObjStm/First 4/Filter 31 0 R",
        b"30 0 /FlateDecode",
    )
    .stream(
        11,
        "/Type/ObjStm/First 4/Filter 30 0 R",
        b"31 0 /FlateDecode",
    );
    assert_eq!(
        texts(&pdf.trailer("")),
        ["Malformed(\"a page that is missing\")"]
    );
}

/// A file with something of everything.
fn sample() -> Vec<u8> {
    let map = stream_text("", "1 beginbfrange <0001> <00FF> <0041> endbfrange");
    let mut pdf = Pdf::new();
    let packed = format!(
        "5 0 6 {} {HELVETICA} <</Subtype/Type0/Encoding/Identity-H/ToUnicode 7 0 R\
                          /DescendantFonts[<</W[1[500 600]3 9 700]/DW 900>>]>>",
        HELVETICA.len() + 1
    );
    let first = packed.find('<').unwrap();
    let body = deflated(packed.as_bytes());
    pdf.object(
        2,
        "<</Kids[3 0 R 12 0 R]/Resources<</Font<</F 5 0 R/G 6 0 R>>/XObject<</X 8 0 R>>>>>>",
    )
    .object(3, "<</Type/Page/Contents[4 0 R]>>")
    .object(12, "<</Type/Page/Contents 13 0 R>>")
    .stream(4, "/Filter/FlateDecode", &deflated(HELLO.as_bytes()))
    .stream(
        13,
        "",
        b"q 1 0 0 1 5 5 cm BT /G 9 Tf [<0001> -300 <0002>] TJ ET Q /X Do",
    )
    .object(7, &map)
    .stream(
        8,
        "/Subtype/Form",
        b"BT /F 9 Tf /Span<</ActualText(x)>>BDC (form) Tj EMC ET",
    )
    .stream(
        10,
        &format!("/Type/ObjStm/N 2/First {first}/Filter/FlateDecode"),
        &body,
    );
    pdf.trailer("")
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused_or_whole() {
    let whole = sample();
    let expected = ["page 1: Hello, world", "page 2: A B\nx"];
    assert_eq!(texts(&whole), expected);
    for length in 0..whole.len() {
        let mut blocks = Blocks::default();
        let found = read(&whole[..length], &mut blocks);
        assert!(found.is_err() || length > whole.len() - 30, "{length}");
    }
}

/// Where to write which bytes.
fn changes() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    const PARTS: [&str; 20] = [
        "1 0 obj",
        "2 0 R",
        "stream\n",
        "endstream",
        "endobj",
        "<<",
        ">>",
        "[",
        "]",
        "(",
        ")",
        "<",
        "/Kids",
        "/Length 9",
        "/Filter",
        "trailer",
        "-1",
        "99999999999",
        "BI ",
        "BDC ",
    ];
    let part = prop_oneof![
        (0..PARTS.len()).prop_map(|place| PARTS[place].as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec((0_usize..4000, part), 1..8)
}

proptest! {
    #[test]
    fn any_change_of_a_file_is_read_or_refused(changes in changes()) {
        let mut pdf = sample();
        for (at, bytes) in changes {
            let at = at % pdf.len();
            let end = (at + bytes.len()).min(pdf.len());
            pdf.splice(at..end, bytes);
        }
        let _ = texts(&pdf);
    }

    #[test]
    fn any_content_is_read_or_refused(changes in changes()) {
        let content: Vec<u8> = changes.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let _ = texts(&page_with(&content, "", HELVETICA, &[]));
        let _ = texts(&page_with(&content, "/Filter/FlateDecode", HELVETICA, &[]));
        let _ = texts(&page_with(&content, "/Filter/LZWDecode", HELVETICA, &[]));
    }
}
