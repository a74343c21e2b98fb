//! Small types everyone may hold, and nothing that has a room of its own.

pub mod aead;
pub mod cobblestone;
pub mod digest;
pub mod errors;
pub mod headers;
pub mod ids;
pub mod json;
pub mod machine;
pub mod outbox;
pub mod rows;
pub mod secret;
pub mod sse;
pub mod time;
