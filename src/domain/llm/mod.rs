//! Model calls: reading what callers ask, deciding who answers and with what, and reading what providers send.

pub mod bound;
pub mod capability;
pub mod choose;
pub mod dialect;
pub mod engine;
pub mod health;
pub mod message;
pub mod normal;
pub mod passages;
pub mod plan;
pub mod price;
pub mod raw;
pub mod render;
pub mod request;
pub mod schema;
pub mod shrink;
pub mod similar;
pub mod stream;
pub mod tokens;
pub mod upstream;

pub use crate::domain::route::Protocol;
