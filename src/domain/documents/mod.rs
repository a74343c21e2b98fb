//! Documents: what is stored where, who owns it, how much room there is, and what may come in and go out.
//!
//! * [`manifest`]: a document, its segments and its keys; [`about`]: what else is known of it.
//! * [`access`]: who may do what with it; [`pointers`]: where those find it whose it is not; [`said`]: what callers say of it.
//! * [`owner`], [`quota`], [`directory`]: the three objects that keep them; [`keys`]: what an owner's repeated uploads get.
//! * [`multipart`], [`form`], [`part`], [`cutter`], [`content_type`]: an upload, read piece by piece.
//! * [`sealing`]: the keys under which they lie in R2.
//! * [`scan`]: what is in it that harms readers or models.
//! * [`range`], [`wire`]: what goes back to the caller.

pub mod about;
pub mod access;
pub mod answers;
pub mod content_type;
pub mod cutter;
pub mod directory;
pub mod form;
pub mod keys;
pub mod manifest;
pub mod multipart;
pub mod owner;
pub mod part;
pub mod pointers;
pub mod quota;
pub mod range;
pub mod retention;
pub mod said;
pub mod scan;
pub mod sealing;
pub mod wire;
