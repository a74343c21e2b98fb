//! The gateway over a fake world: several providers that fail in every way, and callers that must not notice, or must be
//! told truly.

mod answers;
mod before;
pub mod house;
mod limits;
mod memory;
mod money;
mod rescue;
mod shared;
mod stream;
