//! Tests of the reader of forms: whole, cut at every byte, and at random.

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{Event, MAX_HEADER_BYTES, MultipartFault, Parser, boundary, find_cr};

/// A part as the reader gave it: name, file's name, type, content.
type Part = (String, Option<String>, Option<String>, Vec<u8>);

/// Reads pieces of a body with boundary `B`; data in slices of at most `room`.
fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    boundary: &str,
    room: usize,
) -> Result<Vec<Part>, MultipartFault> {
    let mut parser = Parser::new(boundary);
    let mut parts: Vec<Part> = Vec::new();
    let (mut open, mut ended) = (false, false);
    for mut piece in pieces {
        loop {
            match parser.next(&mut piece, room) {
                Err(fault) => {
                    assert_eq!(
                        parser.next(&mut b"more".as_slice(), 9),
                        Err(fault),
                        "the fault stays"
                    );
                    assert_eq!(parser.finish(), Err(fault));
                    return Err(fault);
                }
                Ok(None) => break,
                Ok(Some(_)) if ended => panic!("an event after the end"),
                Ok(Some(Event::Part(head))) => {
                    assert!(!open, "a part inside a part");
                    open = true;
                    parts.push((head.name, head.filename, head.content_type, Vec::new()));
                }
                Ok(Some(Event::Data(bytes))) => {
                    assert!(open && !bytes.is_empty() && bytes.len() <= room);
                    parts.last_mut().unwrap().3.extend_from_slice(bytes);
                }
                Ok(Some(Event::PartEnd)) => {
                    assert!(open);
                    open = false;
                }
                Ok(Some(Event::End)) => {
                    assert!(!open);
                    ended = true;
                }
            }
        }
        assert!(piece.is_empty(), "all of the input is used");
        assert!(parser.headers.len() <= MAX_HEADER_BYTES);
    }
    parser.finish().map(|()| parts)
}

fn whole(body: &[u8]) -> Result<Vec<Part>, MultipartFault> {
    read([body], "B", usize::MAX)
}

fn field(name: &str, content: &str) -> Part {
    (name.into(), None, None, content.into())
}

const FORM: &[u8] = b"preamble\r\n--B\r\n\
    Content-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--B\r\n\
    content-disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\nContent-Type: image/png\r\n\r\n\
    \r\n--C\r\n--\r\r\n\r\n-B\n--B\r\r\n--A\r\n--B\t \r\n\
    Content-Disposition: form-data; name=empty\r\n\r\n\r\n--B--\r\nepilogue\r\n--B\r\n";

fn form_parts() -> Vec<Part> {
    vec![
        field("purpose", "user_data"),
        (
            "file".into(),
            Some("a.bin".into()),
            Some("image/png".into()),
            b"\r\n--C\r\n--\r\r\n\r\n-B\n--B\r\r\n--A".to_vec(),
        ),
        field("empty", ""),
    ]
}

#[test]
fn preamble_parts_and_epilogue_are_told_apart() {
    assert_eq!(whole(FORM), Ok(form_parts()));
}

#[test]
fn a_cut_at_any_byte_changes_nothing() {
    for first in 0..=FORM.len() {
        for second in first..=FORM.len() {
            let pieces = [&FORM[..first], &FORM[first..second], &FORM[second..]];
            assert_eq!(
                read(pieces, "B", 5),
                Ok(form_parts()),
                "cut at {first} and {second}"
            );
        }
    }
    for room in 1..9 {
        assert_eq!(
            read(FORM.chunks(1), "B", room),
            Ok(form_parts()),
            "room for {room}"
        );
        assert_eq!(read([FORM], "B", room), Ok(form_parts()), "room for {room}");
    }
}

#[test]
fn a_body_that_stops_anywhere_before_its_last_boundary_is_incomplete() {
    let end = FORM
        .windows(5)
        .position(|window| window == b"--B--")
        .unwrap()
        + 5;
    for length in 0..end {
        assert_eq!(
            whole(&FORM[..length]),
            Err(MultipartFault::Incomplete),
            "{length} bytes"
        );
    }
    assert_eq!(whole(&FORM[..end]), Ok(form_parts()));
}

#[test]
fn a_part_without_content_may_lack_its_line_break() {
    let head = "--B\r\nContent-Disposition: form-data; name=a\r\n";
    for (rest, content) in [
        ("\r\n\r\n--B--", ""),
        ("\r\n--B--", ""),
        ("\r\n\r\n\r\n--B--", "\r\n"),
        ("\r\n--A\r\n--B--", "--A"),
        ("\r\n--\r\n--B--", "--"),
        ("\r\nx--B\r\n--B--", "x--B"),
    ] {
        let body = format!("{head}{rest}");
        for room in [1, 100] {
            assert_eq!(
                read([body.as_bytes()], "B", room),
                Ok(vec![field("a", content)]),
                "{rest:?}"
            );
        }
    }
}

#[test]
fn a_preamble_only_ends_at_a_line_that_begins_with_the_boundary() {
    let part = "Content-Disposition: form-data; name=a\r\n\r\nx\r\n--B--";
    for preamble in [
        "--B\r\n",
        "\r\n--B\r\n",
        "--A\r\n--B\r\n",
        "x--B\r\n\r\n--B  \r\n",
        "\r\r\n--B\r\n",
    ] {
        assert_eq!(
            whole(format!("{preamble}{part}").as_bytes()),
            Ok(vec![field("a", "x")]),
            "{preamble:?}"
        );
    }
    assert_eq!(whole(b"--B--"), Ok(vec![]));
}

#[test]
fn names_of_files() {
    let named = |disposition: &str| {
        let body =
            format!("--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\nx\r\n--B--");
        whole(body.as_bytes()).map(|parts| (parts[0].0.clone(), parts[0].1.clone()))
    };
    for (disposition, name, filename) in [
        ("name=\"file\"; filename=\"a.txt\"", "file", Some("a.txt")),
        ("NAME=file ; FileName = a.txt", "file", Some("a.txt")),
        ("name=\"file\"; filename=\"\"", "file", Some("")),
        (
            "name=\"file\"; filename=\"a;b=c.txt\"",
            "file",
            Some("a;b=c.txt"),
        ),
        (
            "name=\"file\"; filename=\"报告 final.pdf\"",
            "file",
            Some("报告 final.pdf"),
        ),
        (
            "name=\"file\"; filename=\"say %22hi%22 100%25.txt\"",
            "file",
            Some("say \"hi\" 100%25.txt"),
        ),
        (
            "name=\"file\"; filename=\"say \\\"hi\\\".txt\"",
            "file",
            Some("say \"hi\".txt"),
        ),
        (
            "name=\"file\"; filename=\"C:\\dir\\a.txt\"",
            "file",
            Some("C:\\dir\\a.txt"),
        ),
        (
            "name=\"file\"; filename=\"a.txt\"; filename*=UTF-8''evil.html",
            "file",
            Some("a.txt"),
        ),
        ("name=\"file\"; filename*=UTF-8''evil.html", "file", None),
        (
            "name=\"expires_after[seconds]\";",
            "expires_after[seconds]",
            None,
        ),
        ("name=\"a%0D%0Ab\"", "a\r\nb", None),
    ] {
        let expected = (name.to_owned(), filename.map(str::to_owned));
        assert_eq!(named(disposition), Ok(expected), "{disposition}");
    }
    for disposition in [
        "",
        "filename=\"a.txt\"",
        "name=\"a\"; name=\"b\"",
        "name=\"a\"; filename=\"x\"; filename=\"y\"",
        "name=\"a",
        "name=\"a\" b",
        "name",
        "name=",
        "name=a b",
        "=a",
    ] {
        assert_eq!(
            named(disposition),
            Err(MultipartFault::Disposition),
            "{disposition}"
        );
    }
}

#[test]
fn malformed_bodies_have_a_name_each() {
    let head = "Content-Disposition: form-data; name=a";
    let many = |count: usize| format!("--B\r\n{head}\r\n\r\nx\r\n").repeat(count) + "--B--";
    let padded = |count: usize| format!("--B{}\r\n{head}\r\n\r\nx\r\n--B--", " ".repeat(count));
    let long = |count: usize| {
        format!(
            "--B\r\n{head}\r\nX: {}\r\n\r\nx\r\n--B--",
            "a".repeat(count)
        )
    };
    // 38 bytes of disposition, "X: ", three line breaks.
    let fits = MAX_HEADER_BYTES - head.len() - 3 - 6;
    for (body, fault) in [
        ("--Bx\r\n".into(), MultipartFault::Delimiter),
        ("--B\n".into(), MultipartFault::Delimiter),
        ("--B-x".into(), MultipartFault::Delimiter),
        ("--B --".into(), MultipartFault::Delimiter),
        ("--B\r\r\n".into(), MultipartFault::Delimiter),
        (padded(65), MultipartFault::Delimiter),
        (many(33), MultipartFault::TooManyParts),
        (long(fits + 1), MultipartFault::HeadersTooLong),
        (long(1_000_000), MultipartFault::HeadersTooLong),
        ("--B\r\n\r\nx\r\n--B--".into(), MultipartFault::Disposition),
        (
            "--B\r\nContent-Type: text/plain\r\n\r\nx".into(),
            MultipartFault::Disposition,
        ),
        (
            format!("--B\r\n{head}\r\n{head}\r\n\r\n"),
            MultipartFault::Disposition,
        ),
        (
            "--B\r\nContent-Disposition: attachment; name=a\r\n\r\n".into(),
            MultipartFault::Disposition,
        ),
        (
            format!("--B\r\n{head}\r\nno colon\r\n\r\n"),
            MultipartFault::Header,
        ),
        (
            format!("--B\r\n{head}\r\n folded: x\r\n\r\n"),
            MultipartFault::Header,
        ),
        (
            format!("--B\r\n{head}\r\n: x\r\n\r\n"),
            MultipartFault::Header,
        ),
        (
            format!("--B\r\n{head}\r\nX: a\nY: b\r\n\r\n"),
            MultipartFault::Header,
        ),
        (
            format!("--B\r\n{head}\r\nX: a\0\r\n\r\n"),
            MultipartFault::Header,
        ),
        (
            format!("--B\r\n{head}\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n"),
            MultipartFault::Header,
        ),
        (
            format!("--B\r\n{head}\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
            MultipartFault::TransferEncoding,
        ),
        (
            format!("--B\r\n{head}\n\nx\r\n--B--"),
            MultipartFault::Incomplete,
        ),
    ] {
        let body = body.as_bytes();
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert_eq!(whole(body), Err(fault), "{shown:?}");
        assert_eq!(
            read(body.chunks(1), "B", 1),
            Err(fault),
            "byte by byte: {shown:?}"
        );
    }
    assert_eq!(
        whole(b"--B\r\nContent-Disposition: form-data; name=\xff\r\n\r\n"),
        Err(MultipartFault::Encoding)
    );
    for body in [
        many(32),
        padded(64),
        long(fits),
        format!("--B\r\n{head}\r\nContent-Transfer-Encoding: BINARY\r\n\r\nx\r\n--B--"),
    ] {
        assert!(whole(body.as_bytes()).is_ok(), "{:?}", &body[..60]);
    }
}

#[test]
fn boundaries_of_content_types() {
    let longest = "a".repeat(70);
    for (content_type, expected) in [
        ("multipart/form-data; boundary=abc", "abc"),
        ("Multipart/Form-Data;BOUNDARY=\"a b\"; charset=utf-8", "a b"),
        (
            "multipart/form-data; charset=utf-8; boundary=----WebKitFormBoundary7MA4",
            "----WebKitFormBoundary7MA4",
        ),
        (
            "multipart/form-data; boundary=\"gc0pJq0M:08jU534c0p'()+_,./=?\"",
            "gc0pJq0M:08jU534c0p'()+_,./=?",
        ),
        (
            &format!("multipart/form-data; boundary={longest}"),
            &longest,
        ),
    ] {
        assert_eq!(
            boundary(content_type).as_deref(),
            Ok(expected),
            "{content_type}"
        );
    }
    for content_type in [
        "",
        "application/json",
        "multipart/mixed; boundary=a",
        "multipart/form-data-x; boundary=a",
    ] {
        assert_eq!(
            boundary(content_type),
            Err(MultipartFault::NotFormData),
            "{content_type}"
        );
    }
    for parameters in [
        "",
        "boundary=",
        "boundary=\"\"",
        "boundary=\"a \"",
        "boundary=a; boundary=b",
        "boundary=\"a",
        "boundary=a\u{e9}",
        "boundary=\"a\rb\"",
        "boundary=\"a*b\"",
        &format!("boundary={longest}a"),
    ] {
        let content_type = format!("multipart/form-data; {parameters}");
        assert_eq!(
            boundary(&content_type),
            Err(MultipartFault::Boundary),
            "{parameters}"
        );
    }
}

/// Bytes that keep the reader busy: line breaks, hyphens, beginnings of the boundary.
fn tricky() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r\n--".to_vec()),
        Just(b"\r\n--xY-".to_vec()),
        Just(b"--xY-x".to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_content_comes_back_whole_in_any_pieces(
        contents in proptest::collection::vec(tricky(), 0..5),
        step in 1usize..30,
        room in 1usize..30,
    ) {
        const BOUNDARY: &str = "xY-xZ";
        // The generator makes the whole delimiter by a rare accident of single bytes alone.
        proptest::prop_assume!(!contents.iter().any(|c| c.windows(7).any(|w| w == b"--xY-xZ")));
        let mut body = Vec::new();
        for (index, content) in contents.iter().enumerate() {
            body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=f{index}\r\n\r\n").as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let parts = read(body.chunks(step), BOUNDARY, room).unwrap();
        let read_back: Vec<Vec<u8>> = parts.into_iter().map(|part| part.3).collect();
        assert_eq!(read_back, contents);
    }

    #[test]
    fn any_bytes_end_in_parts_or_a_fault_whatever_the_pieces(
        body in proptest::collection::vec(
            prop_oneof![
                any::<u8>().prop_map(|byte| vec![byte]),
                Just(b"\r\n".to_vec()), Just(b"--B".to_vec()), Just(b"\r\n--B\r\n".to_vec()), Just(b"--".to_vec()),
                Just(b"Content-Disposition: form-data; name=a\r\n\r\n".to_vec()),
            ],
            0..40,
        ),
        step in 1usize..9,
    ) {
        let body = body.concat();
        assert_eq!(read(body.chunks(step), "B", 3), whole(&body));
    }

    #[test]
    fn the_fast_scan_finds_what_the_plain_one_finds(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(0x0C), Just(0x8D)], 0..40),
    ) {
        assert_eq!(find_cr(&bytes), bytes.iter().position(|byte| *byte == b'\r'));
    }
}
