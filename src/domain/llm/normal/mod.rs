//! The normal form of a conversation: what every dialect is read into and written from, so that any caller's dialect
//! meets any provider's with one reader and one writer each.
//!
//! | | whole | streamed |
//! |---|---|---|
//! | request | [`Conversation`](conversation::Conversation) | – |
//! | answer | [`Whole`](whole::Whole) | [`Event`](event::Event)s, one block after the other |

pub mod conversation;
pub mod event;
pub mod feature;
pub mod whole;
