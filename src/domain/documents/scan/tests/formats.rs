//! Archives, images, pages and documents that do something: each is built here byte by byte.

use std::io::Write as _;

use super::super::policy::Policy;
use super::super::report::{Report, Rule, Verdict};
use super::super::{Claim, Scanner};
use super::{rules, scan, scan_as, text};

// === building ===

/// A ZIP archive of entries: name, content, and what their headers say of the lengths.
fn zip(entries: &[(&str, &[u8], u32, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (name, content, packed, expanded) in entries {
        let at = out.len() as u32;
        let method: u16 = if packed == expanded { 0 } else { 8 };
        let sizes = [packed.to_le_bytes(), expanded.to_le_bytes()].concat();
        let head = [
            &[20, 0, 0, 0][..],
            &method.to_le_bytes(),
            &[0; 8],
            &sizes,
            &(name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&head);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(content);
        directory.extend_from_slice(b"PK\x01\x02\x14\0");
        directory.extend_from_slice(&head);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let count = entries.len() as u16;
    let at = out.len() as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&[count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend_from_slice(&[(directory.len() as u32).to_le_bytes(), at.to_le_bytes()].concat());
    out.extend_from_slice(&[0, 0]);
    out
}

/// An archive of stored entries.
fn stored(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, content)| (*name, *content, content.len() as u32, content.len() as u32))
        .collect();
    zip(&entries)
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], data: &[u8]| {
        out.extend_from_slice(&(data.len() as u32).to_be_bytes());
        out.extend_from_slice(kind);
        out.extend_from_slice(data);
        out.extend_from_slice(&[0; 4]);
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, 6, 0, 0, 0]].concat());
    chunk(b"IDAT", &[1, 2, 3]);
    chunk(b"IEND", &[]);
    out
}

fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut out = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    // A long comment, as cameras leave one.
    out.extend_from_slice(&[b"\xff\xfe\x13\x88"[..].to_vec(), vec![b'.'; 4_998]].concat());
    out.extend_from_slice(b"\xff\xff\xc2\0\x0b\x08");
    out.extend_from_slice(&[height.to_be_bytes(), width.to_be_bytes()].concat());
    out.extend_from_slice(b"\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\x12\x34\xff\xd9");
    out
}

fn gif(width: u16, height: u16, frames: usize) -> Vec<u8> {
    let mut out = b"GIF89a".to_vec();
    out.extend_from_slice(&[width.to_le_bytes(), height.to_le_bytes()].concat());
    out.extend_from_slice(&[0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    out.extend_from_slice(b"\x21\xfe\x05hello\0");
    for _ in 0..frames {
        out.extend_from_slice(&[0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0]);
    }
    out.push(0x3b);
    out
}

fn riff(chunks: &[u8]) -> Vec<u8> {
    [
        b"RIFF",
        &(chunks.len() as u32 + 4).to_le_bytes()[..],
        b"WEBP",
        chunks,
    ]
    .concat()
}

fn bmp(width: i32, height: i32) -> Vec<u8> {
    let mut out = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    out.extend_from_slice(&[width.to_le_bytes(), height.to_le_bytes()].concat());
    out.extend_from_slice(&[0; 32]);
    out
}

fn tiff(width: u32, height: u32) -> Vec<u8> {
    let mut out = b"MM\0*\0\0\x00\x20".to_vec();
    out.extend_from_slice(&[0; 24]);
    out.extend_from_slice(&[0, 2]);
    for (tag, value) in [(256_u16, width), (257, height)] {
        out.extend_from_slice(&tag.to_be_bytes());
        out.extend_from_slice(&[0, 4, 0, 0, 0, 1]);
        out.extend_from_slice(&value.to_be_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    out
}

fn avif(width: u32, height: u32) -> Vec<u8> {
    let mut out =
        b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf\0\0\0\x40meta\0\0\0\0\0\0\0\x14ispe\0\0\0\0"
            .to_vec();
    out.extend_from_slice(&[width.to_be_bytes(), height.to_be_bytes()].concat());
    out
}

fn tar(entries: &[(&str, u8, &str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, size, content) in entries {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..124 + size.len()].copy_from_slice(size.as_bytes());
        block[156] = *kind;
        if *kind == b'2' {
            block[157..163].copy_from_slice(b"../etc");
        }
        if *kind == b'S' {
            block[483..495].copy_from_slice(b"77777777777\0");
        }
        block[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(content);
        out.resize(out.len().div_ceil(512) * 512, 0);
    }
    out.resize(out.len() + 1_024, 0);
    out
}

/// gzip with a name and a comment in its header.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = b"\x1f\x8b\x08\x18\0\0\0\0\0\x03name\0comment\0".to_vec();
    out.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(content, 9));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out
}

/// One of each, for the tests of splits.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let pdf =
        b"%PDF-1.7\n1 0 obj <</OpenAction <</S /JavaScript /JS (app.alert(1))>> >> endobj\n%%EOF"
            .to_vec();
    vec![
        ("zip", zip(&[("a.zip", b"abc", 100, 4_000_000_000), ("../x", text::eicar().as_bytes(), 68, 68)])),
        ("png", [png(50_000, 50_000), stored(&[("a", b"b")])].concat()),
        ("jpeg", jpeg(60_000, 60_000)),
        ("gif", gif(5_000, 5_000, 900)),
        ("tiff", tiff(60_000, 60_000)),
        ("tar", tar(&[("a", b'0', "00000000003", b"abc"), ("b", b'2', "00000000000", b"")])),
        ("gzip", gzip(&vec![0; 40 << 20])),
        ("pdf", pdf),
        ("svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"><script>alert(1)</script></svg>".to_vec()),
    ]
}

// === archives ===

#[test]
fn archives_that_become_too_much_are_found_by_their_headers() {
    let text = vec![b'x'; 1_000];
    for (name, bytes, expected) in [
        (
            "plain",
            stored(&[("a.txt", b"hello"), ("b.txt", &text)]),
            vec![],
        ),
        (
            "well packed",
            zip(&[("a.txt", &text, 1_000, 150_000)]),
            vec![],
        ),
        (
            "small but dense",
            zip(&[("a.txt", b"xx", 2, 30_000_000)]),
            vec![],
        ),
        (
            "one bomb",
            zip(&[("a.txt", &text, 1_000, 400_000_000)]),
            vec![Rule::ArchiveExpansion],
        ),
        (
            "too large in all",
            zip(&[
                ("a", &text, 1_000, 150_000),
                ("b", b"", 2_100_000_000, 4_200_000_000),
                ("c", b"", 2_100_000_000, 4_200_000_000),
            ]),
            vec![Rule::ArchiveOverlap, Rule::ArchiveExpansion],
        ),
        (
            "shared bytes",
            zip(&[
                ("a", &text, 1_000, 1_000),
                ("b", b"", 900, 1_200),
                ("c", b"", 900, 1_200),
            ]),
            vec![Rule::ArchiveOverlap],
        ),
    ] {
        let report = scan(&bytes);
        let mut found = rules(&report);
        found.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}: {report:?}");
        assert_eq!(
            report.verdict == Verdict::Quarantined,
            !expected.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn the_sizes_of_zip64_are_read() {
    let mut bytes = zip(&[("a.txt", b"x", 10, u32::MAX)]);
    // Grow the row of the directory by an extra field: the size is 1 TiB.
    let row = bytes
        .windows(4)
        .position(|window| window == b"PK\x01\x02")
        .unwrap();
    bytes[row + 30] = 12;
    let extra = [&[1, 0, 8, 0][..], &(1_u64 << 40).to_le_bytes()].concat();
    let at = row + 46 + 5;
    bytes.splice(at..at, extra);
    assert_eq!(rules(&scan(&bytes)), [Rule::ArchiveExpansion]);
}

#[test]
fn archives_tell_what_they_hide() {
    let mut locked = stored(&[("a.txt", b"hello")]);
    locked[6] = 1;
    for (bytes, rule) in [
        (stored(&[("inner.ZIP", b"PK")]), Rule::ArchiveNested),
        (stored(&[("../../etc/passwd", b"x")]), Rule::ArchivePath),
        (stored(&[("/etc/passwd", b"x")]), Rule::ArchivePath),
        (stored(&[("C:\\x", b"x")]), Rule::ArchivePath),
        (stored(&[("word/vbaProject.bin", b"x")]), Rule::OfficeMacro),
        (locked, Rule::ArchiveEncrypted),
        (stored(&[("e.com", text::eicar().as_bytes())]), Rule::Eicar),
        (
            tar(&[("e.com", b'0', "00000000104", text::eicar().as_bytes())]),
            Rule::Eicar,
        ),
        (
            tar(&[("../x", b'0', "00000000000", b"")]),
            Rule::ArchivePath,
        ),
        (
            tar(&[("link", b'2', "00000000000", b"")]),
            Rule::ArchivePath,
        ),
        (
            tar(&[("sparse", b'S', "00000000000", b"")]),
            Rule::ArchiveExpansion,
        ),
        (
            tar(&[("a.tgz", b'0', "00000000000", b"")]),
            Rule::ArchiveNested,
        ),
        (
            tar(&[("cut", b'0', "00007777777", b"short")]),
            Rule::ArchiveBroken,
        ),
    ] {
        assert_eq!(rules(&scan(&bytes)), [rule], "{rule:?}");
    }
    let inner = stored(&[("e.com", text::eicar().as_bytes())]);
    let nested = stored(&[("inner.zip", &inner), ("after.txt", &inner)]);
    assert_eq!(
        rules(&scan(&nested)),
        [Rule::ArchiveNested, Rule::Eicar, Rule::Eicar],
        "and no overlap"
    );
    assert_eq!(
        rules(&scan(&tar(&[
            ("a", b'0', "00000000003", b"abc"),
            ("d/", b'5', "00000000000", b"")
        ]))),
        []
    );
}

#[test]
fn an_archive_has_no_more_entries_than_allowed() {
    let policy = Policy {
        limits: super::Limits {
            entries: 3,
            ..super::Limits::default()
        },
        ..Policy::default()
    };
    let names = ["a", "b", "c", "d"].map(|name| (name, &b"x"[..]));
    for (entries, expected) in [
        (&names[..3], vec![]),
        (&names[..], vec![Rule::ArchiveEntries]),
    ] {
        let mut scanner = Scanner::new(policy.clone(), Claim::default());
        scanner.push(&stored(entries));
        assert_eq!(rules(&scanner.finish()), expected);
    }
}

#[test]
fn gzip_is_inflated_up_to_a_bound() {
    let noise: Vec<u8> = {
        let mut random = fastrand::Rng::with_seed(3);
        std::iter::repeat_with(|| random.u8(..))
            .take(100_000)
            .collect()
    };
    for (name, bytes, expected) in [
        ("text", gzip(&b"hello world ".repeat(10_000)), vec![]),
        ("noise", gzip(&noise), vec![]),
        ("small zeros", gzip(&vec![0; 20 << 20]), vec![]),
        (
            "bomb",
            gzip(&vec![0; 80 << 20]),
            vec![Rule::ArchiveExpansion],
        ),
        (
            "bomb behind a member",
            [gzip(b"hello"), gzip(&vec![0; 80 << 20])].concat(),
            vec![Rule::ArchiveExpansion],
        ),
        ("cut", gzip(&noise)[..50_000].to_vec(), vec![]),
        (
            "a bomb that ends early",
            gzip(&vec![0; 80 << 20])[..70_000].to_vec(),
            vec![Rule::ArchiveExpansion],
        ),
        ("only a header", b"\x1f\x8b\x08\0".to_vec(), vec![]),
    ] {
        assert_eq!(rules(&scan(&bytes)), expected, "{name}");
    }
    // A bomb that lies about its length.
    let mut lies = gzip(&vec![0; 80 << 20]);
    let end = lies.len() - 4;
    lies[end..].fill(0);
    assert_eq!(rules(&scan(&lies)), [Rule::ArchiveExpansion]);
}

// === images ===

#[test]
fn images_of_too_many_pixels_are_found_by_their_headers() {
    let vp8x = |width: u32, height: u32| {
        let size = [
            &(width - 1).to_le_bytes()[..3],
            &(height - 1).to_le_bytes()[..3],
        ]
        .concat();
        riff(&[b"VP8X\x0a\0\0\0\0\0\0\0", &size[..]].concat())
    };
    let vp8l = |width: u32, height: u32| {
        let bits = (width - 1) | ((height - 1) << 14);
        riff(&[b"VP8L\x0a\0\0\0\x2f", &bits.to_le_bytes()[..], &[0; 5]].concat())
    };
    for (name, small, large) in [
        ("png", png(1_000, 1_000), png(20_000, 20_000)),
        ("jpeg", jpeg(1_000, 1_000), jpeg(60_000, 60_000)),
        ("gif", gif(1_000, 1_000, 3), gif(60_000, 60_000, 1)),
        (
            "gif of many frames",
            gif(1_000, 1_000, 900),
            gif(5_000, 5_000, 900),
        ),
        ("webp", vp8x(1_000, 1_000), vp8x(16_000_000, 16_000_000)),
        ("webp lossless", vp8l(1_000, 1_000), vp8l(16_000, 16_000)),
        ("bmp", bmp(1_000, -1_000), bmp(20_000, -20_000)),
        ("tiff", tiff(1_000, 1_000), tiff(20_000, 20_000)),
        ("avif", avif(1_000, 1_000), avif(20_000, 20_000)),
    ] {
        assert_eq!(rules(&scan(&small)), [], "{name}");
        let report = scan(&large);
        assert_eq!(rules(&report), [Rule::ImagePixels], "{name}");
        assert_eq!(report.verdict, Verdict::Quarantined, "{name}");
    }
    assert_eq!(
        scan(&png(20_000, 30_000)).findings[0].excerpt,
        "20000 × 30000 pixels"
    );
}

#[test]
fn images_that_are_not_whole_are_told() {
    for (name, bytes) in [
        ("no width", png(0, 5)),
        ("cut", png(5, 5)[..30].to_vec()),
        ("cut jpeg", jpeg(5, 5)[..3_000].to_vec()),
        ("not a block", [&gif(5, 5, 1)[..19], b"zzzz"].concat()),
        (
            "not a chunk",
            [&png(5, 5)[..33], b"\0\0\0\0\0\0\0\0"].concat(),
        ),
    ] {
        assert_eq!(rules(&scan(&bytes)), [Rule::ImageBroken], "{name}");
    }
}

// === types ===

fn found(bytes: &[u8], content_type: &str, filename: &str) -> Vec<Rule> {
    rules(&scan_as(bytes, content_type, filename))
}

#[test]
fn active_content_in_disguise_is_held_back() {
    let html = b"<!doctype html><script>alert(1)</script>";
    let mut program = b"MZ".to_vec();
    program.resize(128, 0);
    program[60] = 64;
    program[64..68].copy_from_slice(b"PE\0\0");
    let gif_script = b"GIF89a/*\x00\x00\x00\x00\x00*/=1;alert(1)//".to_vec();
    for (name, bytes, content_type, rule) in [
        (
            "page as image",
            html.to_vec(),
            "image/png",
            Rule::HiddenMarkup,
        ),
        (
            "page as pdf",
            html.to_vec(),
            "application/pdf",
            Rule::HiddenMarkup,
        ),
        (
            "svg as png",
            b"<svg onload=alert(1)>".to_vec(),
            "image/png",
            Rule::HiddenMarkup,
        ),
        (
            "page behind an image",
            [png(5, 5), html.to_vec()].concat(),
            "image/png",
            Rule::HiddenMarkup,
        ),
        (
            "php in a comment of a jpeg",
            [
                &jpeg(5, 5)[..100],
                b"<?php system('x'); ?>",
                &jpeg(5, 5)[121..],
            ]
            .concat(),
            "image/jpeg",
            Rule::HiddenMarkup,
        ),
        (
            "gif and script",
            gif_script,
            "image/gif",
            Rule::ScriptPolyglot,
        ),
        (
            "page and pdf",
            [&html[..], b"\n%PDF-1.7\n%%EOF"].concat(),
            "text/html",
            Rule::HiddenMarkup,
        ),
        ("program as text", program, "text/plain", Rule::Executable),
        (
            "elf",
            b"\x7fELF\x02\x01\x01\0".to_vec(),
            "application/octet-stream",
            Rule::Executable,
        ),
    ] {
        let report: Report = scan_as(&bytes, content_type, "x");
        assert!(rules(&report).contains(&rule), "{name}: {report:?}");
        assert_eq!(report.verdict, Verdict::Quarantined, "{name}");
    }
}

#[test]
fn types_that_do_not_fit_are_told_and_nothing_is_held_back() {
    let zipped = [png(5, 5), stored(&[("a", b"b")])].concat();
    assert_eq!(found(&zipped, "image/png", "a.png"), [Rule::Polyglot]);
    assert_eq!(
        scan_as(&zipped, "image/png", "a.png").verdict,
        Verdict::Flagged
    );
    assert_eq!(
        found(&jpeg(5, 5), "image/png", "a.png"),
        [Rule::TypeMismatch]
    );
    assert_eq!(found(b"hello", "image/png", "a.png"), [Rule::TypeMismatch]);
    assert_eq!(found(b"hello", "", "a.png"), [Rule::TypeMismatch]);
    assert_eq!(
        found(b"junk\n%PDF-1.7\n%%EOF", "application/pdf", "a.pdf"),
        [Rule::TypeMismatch, Rule::Polyglot]
    );
    for (bytes, content_type, filename) in [
        (png(5, 5), "image/png", "a.png"),
        (jpeg(5, 5), "image/jpeg", "a.JPG"),
        (
            b"# Title\n<div align=\"center\">x</div> <script> in text".to_vec(),
            "text/markdown",
            "README.md",
        ),
        (
            b"<p align=\"center\">a readme</p>".to_vec(),
            "text/markdown",
            "README.md",
        ),
        (
            stored(&[("word/document.xml", b"x")]),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "a.docx",
        ),
        (b"%PDF-1.7\n%%EOF".to_vec(), "application/pdf", "a.pdf"),
        (b"{}".to_vec(), "application/json", "a.json"),
        (Vec::new(), "", "empty"),
    ] {
        assert_eq!(found(&bytes, content_type, filename), [], "{content_type}");
    }
}

#[test]
fn a_type_that_is_not_accepted_is_told() {
    let policy = Policy {
        accepted: vec!["text/plain".to_owned()],
        ..Policy::default()
    };
    for (bytes, expected) in [
        (&b"hello"[..], vec![]),
        (b"%PDF-1.7", vec![Rule::TypeRefused]),
    ] {
        let mut scanner = Scanner::new(policy.clone(), Claim::default());
        scanner.push(bytes);
        assert_eq!(rules(&scanner.finish()), expected);
    }
}

// === what runs ===

#[test]
fn what_a_pdf_does_is_told() {
    let pdf = |inside: &str| format!("%PDF-1.7\n1 0 obj <<{inside}>> endobj\n%%EOF");
    for (inside, expected) in [
        (
            "/S /JavaScript /JS (x)",
            vec![Rule::PdfScript, Rule::PdfScript],
        ),
        ("/S /J#61va#53cript", vec![Rule::PdfScript]),
        ("/S /Launch /F (cmd.exe)", vec![Rule::PdfLaunch]),
        ("/Type /EmbeddedFile", vec![Rule::PdfAttachment]),
        ("/OpenAction 5 0 R", vec![Rule::PdfOpenAction]),
        ("/AA << /O 5 0 R >>", vec![Rule::PdfOpenAction]),
        ("/XFA 7 0 R", vec![Rule::PdfActiveForm]),
        (
            "/Type /Page /JSON (x) /AAPL:x /Launcher /JavaScripts",
            vec![],
        ),
    ] {
        assert_eq!(rules(&scan(pdf(inside).as_bytes())), expected, "{inside}");
    }
    assert_eq!(
        rules(&scan(b"a text about /JavaScript and /Launch")),
        [],
        "not in a PDF"
    );
}

#[test]
fn scripts_of_pages_and_images_are_told_but_not_words_of_a_text() {
    for (bytes, count) in [
        (&b"<svg xmlns='x'><script>alert(1)</script></svg>"[..], 1),
        (b"<svg xmlns='x'><a:script>alert(1)</a:script></svg>", 1),
        (b"<svg onload = \"alert(1)\"/>", 1),
        (b"<svg><a href=\"javascript:alert(1)\"/></svg>", 1),
        (
            b"<?xml version='1.0'?><?xml-stylesheet href='x.xsl'?><a/>",
            1,
        ),
        (b"<html><body onclick=x()><ScRiPt>", 2),
        (
            b"<svg xmlns='x'><path d='M0 0'/><description>once = one</description></svg>",
            0,
        ),
        (b"<html><p>one = two, ongoing</p></html>", 0),
        (b"In a text, <script> and onload=\"x\" are words.", 0),
    ] {
        let found = rules(&scan(bytes));
        assert_eq!(
            found,
            vec![Rule::MarkupScript; count],
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn macros_of_older_office_documents_are_told() {
    let mut compound = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    compound.resize(2_000, 0);
    assert_eq!(rules(&scan(&compound)), []);
    for c in "_VBA_PROJECT".bytes() {
        let _ = compound.write(&[c, 0]);
    }
    compound.resize(3_000, 0);
    assert_eq!(rules(&scan(&compound)), [Rule::OfficeMacro]);
}
