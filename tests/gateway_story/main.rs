//! The gateway over a fake world: several providers that fail in every way, and callers that must not notice, or must be
//! told truly.

use gatehouse::domain;

#[path = "../support/grammar.rs"]
mod grammar;
#[path = "../support/mod.rs"]
mod support;

mod answers;
mod before;
mod house;
mod limits;
mod money;
mod rescue;
mod shared;
mod stream;
