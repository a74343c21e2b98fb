//! Calls that run inside the object `Stream`: resumable streams, keyed calls, stored responses, and calls that several
//! callers share.
//!
//! `place` decides which calls do, `ask` is the worker's side, `command` is what the two say to each other, and
//! `perform` is the story that the object runs; the object's shell is in `edge`.

mod ask;
pub mod command;
mod index;
mod perform;
mod place;
mod recorder;

pub use ask::{ask, ask_raw, cancel, delete, get, look};
pub use index::forget;
pub use perform::{Ended, Stage, perform};
pub use place::{
    Place, digest_of, echo_of, keyed, object_id, owner, partition, place, place_of_new, shared_with,
};
