//! Requests.

mod content;
mod fields;
mod messages;
mod options;
mod read;
mod write;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use read::read;
pub use write::write;
