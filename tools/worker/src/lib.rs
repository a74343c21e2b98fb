//! The Worker's wasm module: all of it is in `gatehouse::edge`.
//!
//! It is a crate of its own because cargo turns link-time optimisation off for a library that is also an rlib, as
//! `gatehouse` is for the site's builder and the tests.

#[cfg(target_arch = "wasm32")]
pub use gatehouse::edge;
