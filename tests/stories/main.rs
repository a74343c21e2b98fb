//! What the application does, over a fake world that can fail before and after it stores something.

use gatehouse::domain;

#[path = "../support/grammar.rs"]
mod grammar;
#[path = "../support/mod.rs"]
mod support;

mod admin_pages;
mod audit;
mod backup;
mod chat;
mod documents;
mod gateway;
mod key_use;
mod keyring_outage;
// Without the feature the types do not describe themselves.
#[cfg(feature = "schema")]
mod openapi;
mod operators;
mod operators_guard;
mod retrieval;
mod rights;
mod session;
mod tenants;
