//! What an operator changes while the house runs: lists, allowances, blocks, revocations, site keys, flags; and alerts.
//!
//! ```text
//! change    one change, as it is asked for, stored, and undone by another
//! snapshot  everything that is in force, with the decisions that each request needs; pure
//! alert     the newest alerts, and what an operator did about them
//! machine   Rules: a version that grows with every change, so that an isolate asks for no more than it lacks
//! ```

mod alert;
mod change;
mod machine;
mod snapshot;

pub use alert::{Alert, Level, MAX_ALERTS, Raise, State, Subject};
pub use change::{Block, Change, Lists, SiteKey, Target};
pub use machine::{Command, EPOCH_MARGIN, MAX_REVOKED, Reply, Rules};
pub use snapshot::Snapshot;
