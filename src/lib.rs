//! Gatehouse: the missing backend of a static site, as one Cloudflare Worker.
//!
//! The house has four floors, and imports point down only: `edge → app → domain → base`.
//!
//! * [`base`]: small types everyone may hold.
//! * [`domain`]: pure decisions; no I/O, no clock, no randomness.
//! * [`app`]: one file per story, over one port trait.
//! * `edge`: the only floor that knows Cloudflare (wasm builds only).
//!
//! `tests/contract/floors.rs` fails on an import that points up or sideways.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

pub mod app;
pub mod base;
pub mod domain;

#[cfg(target_arch = "wasm32")]
pub mod edge;
