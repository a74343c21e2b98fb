//! One file per story: asynchronous, straight-line, over one port trait.

pub mod ask;
pub mod body;
pub mod call;
pub mod chat;
pub mod documents;
pub mod embeddings;
pub mod gate;
pub mod kept;
pub mod models;
pub mod operations;
pub mod port;
pub mod record;
pub mod refuse;
pub mod render;
pub mod reply;
pub mod request;
pub mod serve;
