//! A streamed answer on its way through us, where it is inspected: an attempt's bytes in, the caller's frames out.

pub mod delivery;
pub mod inlet;
pub mod log;
pub mod splice;
