//! Pure nouns, one folder or file each: no I/O, no clock, no randomness, no platform.
//!
//! The modules stand in this order, and each may use those above it only.

pub mod answer;
pub mod cache;
pub mod documents;
pub mod identity;
pub mod limits;
pub mod llm;
pub mod page;
pub mod route;
pub mod settings;
pub mod telemetry;
