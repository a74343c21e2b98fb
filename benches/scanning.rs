//! How fast documents are scanned on the host: megabytes a second.
//!
//! `cargo bench --bench scanning`. Numbers are printed and nothing is asserted about them. The release profile is the one
//! of the Worker (`opt-level = "s"`).

#![allow(clippy::disallowed_methods, reason = "a program that measures time")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use gatehouse::domain::documents::scan::{Claim, Policy, Scanner};

/// Bytes of a document.
const SIZE: usize = 8 * 1024 * 1024;

/// The best of so many runs counts, for what a machine does beside only ever adds.
const ROUNDS: usize = 5;

fn main() {
    // Every byte as often as any other, without a period that anything could meet.
    let mut state = 1_u64;
    let binary: Vec<u8> = (0..SIZE)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let row = "1042,\"Apple, red\",1.50,in stock,2026-01-01\n";
    let object = r#"{"id":1042,"name":"Apple, red","price":1.5,"tags":["fruit","red"],"of":{"farm":"North"}},"#;
    let samples = [
        (
            "one sentence",
            filled("What is sealed opens again, chunk by chunk. "),
        ),
        ("text", filled(include_str!("../docs/configuration.md"))),
        (
            "text, Chinese",
            filled("网关限制每个访客的请求。文档在存储之前加密，密钥由密钥环保管。"),
        ),
        ("CSV", filled(row)),
        ("JSON", filled(object)),
        ("binary", binary),
    ];
    for (name, document) in samples {
        let rate = rate(&document);
        println!("{name:<16} {rate:>7.1} MB/s");
    }
}

/// Whole copies of `sample` up to [`SIZE`].
fn filled(sample: &str) -> Vec<u8> {
    sample.repeat((SIZE / sample.len()).max(1)).into_bytes()
}

fn rate(document: &[u8]) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut scanner = Scanner::new(Policy::default(), Claim::default());
        for piece in document.chunks(65_536) {
            scanner.push(black_box(piece));
        }
        black_box(scanner.finish());
        best = best.min(start.elapsed());
    }
    document.len() as f64 / 1e6 / best.as_secs_f64()
}
