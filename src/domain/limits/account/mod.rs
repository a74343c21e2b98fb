//! What one principal, alias, tenant or the whole house has used: requests, tokens, places and money.
//!
//! ```text
//! command      what an account is asked, and what it answers
//! limits       what it may use; travels in each command
//! meter        GCRA for requests and tokens, with refunds
//! calendar     money by hour, day and month of UTC
//! reservation  what one call holds until it is settled, and what it was charged
//! requests     one class's meter and sliding log
//! watch        the usual rate; a block or slow-down
//! alert        what an operator should hear
//! machine      Account: all of it as one synchronous state machine
//! isolate      what an isolate remembers: leases, denials, calls in flight
//! ```
//!
//! **Reservations.** A call takes its worst case before it begins: [`Command::Take`] asks every window before it spends
//! from any, and is idempotent by the call's id. [`Command::Settle`] makes the real use of it, [`Command::Release`]
//! undoes it, and what nobody settles stays spent at its worst case from `until` on. A call that asks several accounts
//! asks the narrowest first, and releases those that admitted it when a wider one refuses.
//!
//! **Over-admission is zero.** In every window the sum of what is settled and reserved is at most the limit, whatever
//! the order of commands, restarts and repetitions, with two exceptions that the machine cannot prevent: a call that
//! used more than its worst case (booked in full and told), and a clock that was more than [`machine::STILL`] ahead
//! (what was spent then counts in the present window or the next, and windows that it made believe were over for
//! [`calendar::GRACE`] are forgotten).
//!
//! **Time.** A clock that steps back by up to [`machine::STILL`] stands still here until it has caught up. One that
//! steps back further moves what lies in the future to the present, and requests and tokens that were charged before
//! are then no longer given back.

pub mod alert;
pub mod calendar;
mod command;
pub mod isolate;
pub mod limits;
pub mod machine;
pub mod meter;
mod requests;
mod reservation;
pub mod watch;

pub use alert::{Alert, What};
pub use calendar::Span;
pub use command::{Back, Command, Reply, Spend, Take, Want};
pub use isolate::{Answer as IsolateAnswer, Isolate};
pub use limits::{Limits, Watch, micros};
pub use machine::Account;
pub use meter::Rate;

#[cfg(test)]
mod tests;
