//! What a caller's conversations keep between calls.
//!
//! * [`machine`]: conversations and their items over rows, one object for each owner; [`command`] is what may be asked
//!   of it, [`rows`] how it lies there, [`schema`] how rows of earlier versions are brought up.
//! * [`trim`]: where a conversation may be cut.
//! * [`sealing`]: what the rows are sealed with, which the object never opens.
//! * [`item`], [`wire`]: items as they come in and go out.

pub mod command;
pub mod item;
pub mod machine;
mod rows;
mod schema;
pub mod sealing;
pub mod trim;
pub mod wire;
