//! How many cases a test of random input runs.

#![allow(dead_code, reason = "every test file uses another part of this")]

use proptest::prelude::{ProptestConfig, Strategy, TestCaseError};
use proptest::test_runner::TestRunner;

/// One, and `long` with `GATEHOUSE_LONG=1`.
pub fn times(long: u32) -> u32 {
    match std::env::var_os("GATEHOUSE_LONG") {
        Some(_) => long,
        None => 1,
    }
}

/// Runs `test` with `cases` values, and panics with the smallest one found that fails. With `GATEHOUSE_LONG=1` it is
/// twenty times as many.
pub fn check<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = ProptestConfig {
        cases: cases * times(20),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(strategy, test)
        .unwrap_or_else(|failure| panic!("{failure}"));
}
