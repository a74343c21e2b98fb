//! Streams.

mod reader;
mod writer;

#[cfg(test)]
mod grammar;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use reader::Reader;
pub use writer::Writer;
