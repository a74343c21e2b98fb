//! What an owner's documents are searched by: vector stores, their files, and the passages of these.
//!
//! * [`machine`]: stores, files and batches over rows, one object for each owner; [`command`] is what may be asked of it,
//!   [`rows`] how it lies there, [`schema`] which versions of that there were.
//! * [`index`]: the sorted blocks in which a file's terms lie; `tidy` joins those of many files, `search` ranks
//!   by them; `near` ranks by embeddings.
//! * [`sealing`]: what rows are sealed with and terms are hidden by. The object opens and knows none of it.

pub mod command;
pub mod index;
pub mod machine;
pub mod near;
mod rows;
mod schema;
pub mod sealing;
mod search;
mod tidy;
