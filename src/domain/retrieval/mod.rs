//! What documents are searched by.
//!
//! * [`store`]: vector stores, their files and passages, over the rows of one object for each owner.

pub mod store;
