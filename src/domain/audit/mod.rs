//! The audit log: append-only, and such that changing it afterwards shows.
//!
//! Its leaves are the leaves of a Merkle tree (RFC 6962 §2.1), published as tiles (C2SP tlog-tiles) with signed
//! checkpoints (C2SP tlog-checkpoint). Whoever holds an older checkpoint can tell whether anything before it was edited,
//! removed, swapped or cut off. Without one held elsewhere, a log that was rewritten whole looks like any other.
//!
//! What is personal is not in the leaves: they hold salted commitments, and the fields lie beside them, sealed under a
//! key for each subject. Erasing that key makes them unreadable wherever they were copied, and leaves every proof valid.

pub mod checkpoint;
pub mod entry;
pub mod export;
pub mod log;
pub mod review;
pub mod tiles;
pub mod tree;
pub mod webhook;

pub use log::AuditLog;
