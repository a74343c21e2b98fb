//! What must agree: files with the code and with each other, and the code with standards, golden files and
//! implementations that were not written here.

use gatehouse::domain;

#[path = "../support/grammar.rs"]
mod grammar;

mod audit_tree;
mod floors;
mod names;
mod retrieval;
mod scanned;
mod signature;
mod translation;
mod vectors;
