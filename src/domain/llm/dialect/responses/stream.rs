//! Streams. One item is open at a time: a message with its text and refusal parts, a call, or reasoning.

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
mod grammar;
#[cfg(test)]
mod tests;
