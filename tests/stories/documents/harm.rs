//! Bad input: names, lengths, ends and contents that are meant to do harm. Each is stored whole and served as something
//! inert, or refused with nothing left.

use gatehouse::base::errors::Refusal;
use gatehouse::domain::documents::scan::policy::Action;

use super::{
    Caller, Class, Code, FakeBody, FakePort, Head, Received, SEGMENT_BYTES, assert_nothing_left,
    block_on, create_in_segments, form, head, listed, read, remove, sweep_all, upload_head,
    visitor,
};

fn send(port: &FakePort, caller: &Caller, head: &Head, form: &[u8]) -> Result<Received, Refusal> {
    let mut body = FakeBody::whole(form, 7);
    block_on(create_in_segments(
        port,
        caller,
        head,
        &mut body,
        SEGMENT_BYTES,
    ))
    .map(Received::from)
}

fn stored(port: &FakePort, caller: &Caller, form: &[u8]) -> Result<(String, String), Refusal> {
    let received = send(port, caller, &upload_head(form), form)?;
    let file = received.json();
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    Ok((text("id"), text("filename")))
}

/// Neither content nor a row of it, nor room that is taken; that there was an owner is forgotten by a later sweep.
fn assert_nothing_stored(port: &FakePort, when: &str) {
    assert!(port.blobs.borrow().is_empty(), "{when}");
    for class in [Class::Owner, Class::Ledger] {
        assert!(
            port.rows(class).is_empty(),
            "{class:?} {when}: {:?}",
            port.rows(class)
        );
    }
}

/// Reads `Content-Disposition` as RFC 6266 has it: both names, the second one decoded (RFC 8187).
fn names_of(disposition: &str) -> (String, String) {
    let rest = disposition.strip_prefix("attachment; filename=\"").unwrap();
    let (ascii, rest) = rest.split_once('"').unwrap();
    let encoded = rest.strip_prefix("; filename*=UTF-8''").unwrap();
    assert!(
        ascii
            .bytes()
            .all(|b| (b' '..=b'~').contains(&b) && !b"\"\\%".contains(&b)),
        "{ascii}"
    );
    let mut bytes = Vec::new();
    let mut rest = encoded;
    while let Some(c) = rest.chars().next() {
        if let Some(hex) = rest.strip_prefix('%') {
            bytes.push(u8::from_str_radix(&hex[..2], 16).unwrap());
            rest = &hex[2..];
        } else {
            assert!(
                c.is_ascii_alphanumeric() || "!#$&+-.^_`|~".contains(c),
                "{encoded}"
            );
            bytes.push(c as u8);
            rest = &rest[1..];
        }
    }
    (ascii.to_owned(), String::from_utf8(bytes).unwrap())
}

#[test]
fn whatever_a_file_is_called_its_name_stays_a_name() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let long = "x".repeat(1_000);
    let cut = "x".repeat(255);
    // As the form has it (browsers write %22, %0D and %0A), and as it is kept.
    for (sent, kept) in [
        // The same word in two forms of Unicode: two names, neither is turned into the other.
        ("caf\u{e9}.txt", "caf\u{e9}.txt"),
        ("cafe\u{301}.txt", "cafe\u{301}.txt"),
        ("\u{202e}txt.exe", "txt.exe"),
        ("a\u{2066}b\u{2069}\u{200b}.txt", "ab.txt"),
        ("a%0d%0aset-cookie: x=y.txt", "a%0d%0aset-cookie: x=y.txt"),
        ("a%0D%0Ab.txt", "ab.txt"),
        (&long, &cut),
        ("../../../etc/passwd", "passwd"),
        ("..\\\\..\\\\boot.ini", "boot.ini"),
        ("/etc/shadow", "shadow"),
        ("C:/Users/me/x.txt", "x.txt"),
        ("file:///etc/hosts", "hosts"),
        ("..", "untitled"),
        ("...", "untitled"),
        ("/", "untitled"),
        ("", "untitled"),
        (" ", "untitled"),
        // Names of devices under Windows: browsers change them when they save; here they are no files.
        ("CON", "CON"),
        ("nul.txt", "nul.txt"),
        ("COM1.tar.gz", "COM1.tar.gz"),
        ("a%22; filename=%22b.exe", "a\"; filename=\"b.exe"),
        ("100%.txt", "100%.txt"),
        ("%2e%2e%2fx", "%2e%2e%2fx"),
        ("a;b=c,d'e.txt", "a;b=c,d'e.txt"),
        (
            "<img src=x onerror=alert(1)>.txt",
            "<img src=x onerror=alert(1)>.txt",
        ),
        ("=cmd|' .txt", "=cmd|' .txt"),
        ("\u{1f4a9}.txt", "\u{1f4a9}.txt"),
        ("__proto__", "__proto__"),
    ] {
        let (id, filename) = stored(&port, &caller, &form(sent, b"hi")).unwrap();
        assert_eq!(filename, kept, "{sent:?}");
        let received = read(&port, &caller, &id, &head("GET", "/")).unwrap();
        let disposition = received.header("content-disposition").unwrap();
        let (ascii, decoded) = names_of(disposition);
        assert_eq!(decoded, kept, "{disposition}");
        assert_eq!(ascii.chars().count(), kept.chars().count(), "{disposition}");
        assert_eq!(received.header("set-cookie"), None);
        // A name is never part of where a document lies.
        assert!(
            port.blobs.borrow().keys().all(|key| key.contains(&id)),
            "{:?}",
            port.blobs.borrow().keys()
        );
        remove(&port, &caller, &id).unwrap();
    }
    // A line that ends inside the name ends the header: that is no form.
    for sent in ["a\r\nset-cookie: x.txt", "a\nb", "a\0b"] {
        match stored(&port, &caller, &form(sent, b"hi")) {
            Ok((id, filename)) => {
                assert!(!filename.contains(['\r', '\n', '\0']), "{filename:?}");
                remove(&port, &caller, &id).unwrap();
            }
            Err(refusal) => assert_eq!(refusal.code, Code::InvalidParameter, "{sent:?}"),
        }
    }
    sweep_all(&port);
    assert_nothing_left(&port, "after all names");
}

#[test]
fn a_length_that_is_not_true_stores_the_whole_or_nothing() {
    let caller = visitor("vis_1");
    let content = b"The quick brown fox jumps over the lazy dog.";
    let form = form("fox.txt", content);
    for declared in [
        0,
        1,
        form.len() as u64 - 1,
        form.len() as u64 + 1,
        1_000_000,
        u64::MAX,
    ] {
        let port = FakePort::new();
        let head = Head {
            content_length: Some(declared),
            ..upload_head(&form)
        };
        match send(&port, &caller, &head, &form) {
            Ok(received) => {
                let id = received.json()["id"].as_str().unwrap().to_owned();
                let received = read(&port, &caller, &id, &super::head("GET", "/")).unwrap();
                assert_eq!(received.body, content, "{declared}");
                remove(&port, &caller, &id).unwrap();
            }
            Err(refusal) => {
                let codes = [
                    Code::PayloadTooLarge,
                    Code::IncompleteBody,
                    Code::StorageUnavailable,
                    Code::QuotaExceeded,
                ];
                assert!(codes.contains(&refusal.code), "{declared}: {refusal:?}");
                assert_eq!(listed(&port, &caller), [""; 0]);
            }
        }
        assert_nothing_stored(&port, &format!("with {declared} bytes declared"));
    }
}

#[test]
fn a_file_without_bytes_is_refused_and_leaves_nothing() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let refusal = stored(&port, &caller, &form("empty.txt", b"")).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.param.as_deref()),
        (Code::InvalidParameter, Some("file"))
    );
    assert_nothing_stored(&port, "after an empty file");
    // Zeros are bytes, but no text.
    let refusal = stored(&port, &caller, &form("zeros.txt", &[0; 100])).unwrap_err();
    assert_eq!(refusal.code, Code::DocumentTypeRefused);
    assert_nothing_stored(&port, "after zeros");
}

#[test]
fn what_is_two_formats_at_once_is_served_as_one_that_is_inert() {
    // Where an operator lets it pass; by default it is held back.
    let port = FakePort::with(|config| config.documents.scan.disguises = Action::Flag, &[]);
    let caller = visitor("vis_1");
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
    let plain = "text/plain; charset=utf-8";
    for (content, served) in [
        (b"GIF89a/*\0\0\0\0\0*/=1;alert(1)//;".to_vec(), "image/gif"),
        (
            b"%PDF-1.7\n<html><script>alert(1)</script></html>\n%%EOF".to_vec(),
            "application/pdf",
        ),
        (
            b"<html><script>alert(1)</script></html>\n%PDF-1.7\n%%EOF".to_vec(),
            plain,
        ),
        (
            [&png[..], b"PK\x03\x04\x14\0\0\0\0\0"].concat(),
            "image/png",
        ),
        (
            [&png[..], b"<script>alert(1)</script>"].concat(),
            "image/png",
        ),
        (
            b"<!-- %PDF-1.7 --><svg onload=alert(1)>".to_vec(),
            "refused",
        ),
        (
            b"\xff\xd8\xff\xe0/*\0JFIF*/=1;alert(1)".to_vec(),
            "image/jpeg",
        ),
        (
            b"<?xml version='1.0'?><?xml-stylesheet type='text/xsl' href='#x'?><x/>".to_vec(),
            plain,
        ),
        (b"\xef\xbb\xbf<html><body onload=alert(1)>".to_vec(), plain),
        (b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-".to_vec(), plain),
        (b"\0\0\0\0<html>".to_vec(), "refused"),
    ] {
        // Whatever it is declared as; under the name of a type that is not accepted it may be refused.
        let mut refused = 0;
        for declared in [
            "text/html",
            "image/svg+xml",
            "application/xhtml+xml",
            "application/pdf",
            "image/png",
            "application/javascript",
        ] {
            let form = String::from_utf8_lossy(&form("x", b"@")).into_owned();
            let form = form.replace(
                "Content-Type: text/plain",
                &format!("Content-Type: {declared}"),
            );
            let (before, after) = form.split_once('@').unwrap();
            let form = [before.as_bytes(), &content, after.as_bytes()].concat();
            match stored(&port, &caller, &form) {
                Ok((id, _)) => {
                    let received = read(&port, &caller, &id, &head("GET", "/")).unwrap();
                    assert_eq!(
                        received.header("content-type"),
                        Some(served),
                        "{declared}: {}",
                        content.escape_ascii()
                    );
                    assert!(
                        received
                            .header("content-disposition")
                            .unwrap()
                            .starts_with("attachment;")
                    );
                    assert!(
                        received
                            .header("content-security-policy")
                            .unwrap()
                            .ends_with("; sandbox")
                    );
                    assert_eq!(received.body, content);
                    remove(&port, &caller, &id).unwrap();
                }
                Err(refusal) => {
                    assert_eq!(refusal.code, Code::DocumentTypeRefused, "{declared}");
                    refused += 1;
                }
            }
        }
        assert_eq!(
            refused == 6,
            served == "refused",
            "{}",
            content.escape_ascii()
        );
    }
    sweep_all(&port);
    assert_nothing_left(&port, "after all of them");
}
