//! Requests.

mod content;
mod fields;
mod read;
mod settings;
mod thinking;
mod turns;
mod write;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use read::read;
pub use thinking::{Generation, budget_of, effort_of};
pub use write::{write, write_for};
