//! How fast documents become passages on the host: megabytes of a document a second, for its text, its passages and their
//! terms.
//!
//! `cargo bench --bench extraction`. Numbers are printed and nothing is asserted about them; that text comes out is. The
//! release profile is the one of the Worker (`opt-level = "s"`).

#![allow(clippy::disallowed_methods, reason = "a program that measures time")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use gatehouse::domain::retrieval::chunk::{Chunking, passages};
use gatehouse::domain::retrieval::extract::extract;
use gatehouse::domain::retrieval::format::Format;
use gatehouse::domain::retrieval::terms::terms_of_passage;

/// Bytes of a document.
const SIZE: usize = 1024 * 1024;

/// The best of so many runs counts, for what a machine does beside only ever adds.
const ROUNDS: usize = 7;

fn main() {
    let prose = include_str!("../docs/configuration.md");
    let chinese = "网关限制每个访客的请求。文档在存储之前加密，密钥由密钥环保管。";
    let page = format!(
        "<h2 id=a>Limits</h2><p class='x'>{}</p><ul><li>One &amp; two<li hidden>no</ul>",
        &prose[..2000.min(prose.len())].replace('<', "&lt;")
    );
    let row = "1042,\"Apple, red\",1.50,in stock,2026-01-01\n";
    let object = r#"{"id":1042,"name":"Apple, red","price":1.5,"tags":["fruit","red"],"of":{"farm":"North"}},"#;
    let samples = [
        ("text", Format::Text, filled(prose)),
        ("text, Chinese", Format::Text, filled(chinese)),
        ("Markdown", Format::Markdown, filled(prose)),
        ("HTML", Format::Html, filled(&page)),
        (
            "CSV",
            Format::Csv,
            format!("id,name,price,state,day\n{}", filled(row)),
        ),
        ("JSON", Format::Json, format!("[{}0]", filled(object))),
    ];
    println!("MB/s of a document of 1 MiB   text  passages  terms");
    for (name, format, document) in samples {
        let bytes = document.as_bytes();
        let blocks = extract(format, bytes).expect("text");
        let cut = passages(&blocks, Chunking::DEFAULT);
        assert!(!cut.is_empty());
        let text = rate(bytes.len(), || {
            extract(format, black_box(bytes)).map_or(0, |b| b.len())
        });
        let pieces = rate(bytes.len(), || {
            passages(black_box(&blocks), Chunking::DEFAULT).len()
        });
        let terms = rate(bytes.len(), || {
            let counts = black_box(&cut)
                .iter()
                .map(|passage| terms_of_passage(passage).0.len());
            counts.sum()
        });
        println!(
            "{name:<28} {text:>6.1}  {pieces:>8.1} {terms:>6.1}   {} passages",
            cut.len()
        );
    }
}

/// Whole copies of `sample` up to [`SIZE`].
fn filled(sample: &str) -> String {
    sample.repeat((SIZE / sample.len()).max(1))
}

fn rate(bytes: usize, run: impl Fn() -> usize) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        assert!(black_box(run()) > 0);
        best = best.min(start.elapsed());
    }
    bytes as f64 / 1e6 / best.as_secs_f64()
}
