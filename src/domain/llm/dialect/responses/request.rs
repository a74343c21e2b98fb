//! Requests.
//!
//! What is read into the normal form in another shape, and so comes back in it:
//!
//! | here | normal form |
//! |---|---|
//! | `instructions`, and system and developer messages in front | the system parts |
//! | items of the model in a row (reasoning, a message, calls) | one turn |
//! | outputs of calls in a row | one turn of the user |
//! | `tool_choice: allowed_tools` | only these tools |
//! | `effort: xhigh` and `max` | the highest effort |
//! | `prompt_cache_breakpoint` | a cache mark: without `ttl` the short one, with `30m` or `12h` the long one |

mod content;
mod fields;
mod input;
mod read;
mod settings;
mod tools;
mod write;
mod write_input;

pub use read::read;
pub use write::write;

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;
