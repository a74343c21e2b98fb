//! Pure nouns, one folder or file each: no I/O, no clock, no randomness, no platform.
//!
//! The modules stand in this order, and each may use those above it only (`tests/contract/floors.rs` holds it):
//!
//! 1. `settings`: environment and `gatehouse.toml` → one typed, validated `Settings`.
//! 2. `route`: method and path → `Route`; the whole public surface in one match.
//! 3. `identity`: presented credential → `Principal`; the signed cookie.
//! 4. `limits`: exact rate limits as one synchronous state machine; networks and access lists.
//! 5. `answer`: the built-in answerer: BM25 over the site's pages, quoting, cited.
//! 6. `llm`: model calls: requests, plans, answers, streams, and what providers' errors mean.
//! 7. `cache`: canonical request → cache key; what may be kept, and the stored format.
//! 8. `documents`: manifests, ownership, quotas, multipart, content types, ranges.
//! 9. `owned`: what one owner keeps in an object: rows with sums and a key, sealed texts.
//! 10. `memory`: conversations, exactly limited, sealed, trimmed by whole turns.
//! 11. `retrieval`: documents → text → passages → terms and vectors; search, fusion and reranking.
//! 12. `audit`: the append-only log: entries, tree, tiles, checkpoints, proofs.
//! 13. `keyring`: key versions, their rotation, and what they wrap.
//! 14. `backup`: snapshots: names, formats, how they are sealed.
//! 15. `admin`: the operators' API as one table.
//! 16. `page`: safe HTML for the few pages that the Worker makes itself.
//! 17. `telemetry`: the log line and trace context.

pub mod admin;
pub mod answer;
pub mod audit;
pub mod backup;
pub mod cache;
pub mod documents;
pub mod identity;
pub mod keyring;
pub mod limits;
pub mod llm;
pub mod memory;
pub mod owned;
pub mod page;
pub mod retrieval;
pub mod route;
pub mod settings;
pub mod telemetry;
