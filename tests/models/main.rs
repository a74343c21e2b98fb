//! The machines of the domain against naive oracles: random commands in great number, failing storage, eviction, a
//! clock that jumps.

#[path = "../support/cases.rs"]
mod cases;

mod account;
mod answer_quotes;
mod audit_log;
mod engine;
mod keyring;
mod keyring_commands;
mod limits;
mod limits_holds;
mod memory;
mod operators;
mod rules;
mod stores;
