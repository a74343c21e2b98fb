//! Who may ask how often: exact rate limits as one synchronous state machine.
//!
//! ```text
//! network   CF-Connecting-IP → Source: the object (IPv4 /24, IPv6 /48) and the row in it (address, /64)
//! access    allow and deny lists by CIDR block and country
//! policy    what one endpoint class allows: burst and sustained windows, per client and per network
//! bucket    GCRA, one theoretical arrival time in exact fractions of a millisecond
//! window    sliding log for the sustained quota
//! row       one client's (or network's) bucket and log, made durable in slices before they are spent
//! machine   Limiter: every row of one network; apply and wake
//! headers   RateLimit, X-RateLimit-*, OpenAI's and Anthropic's names, Retry-After
//! ```
//!
//! **Time.** The wall clock is an argument and is trusted only to pass. Standing still refills nothing; going back
//! refills nothing and never lengthens a wait beyond its window, because whatever lies in the future is moved to the
//! present; jumping forward refills at most one full quota.

pub mod access;
pub mod account;
pub mod bucket;
pub mod headers;
pub mod machine;
pub mod network;
pub mod policy;
pub mod row;
pub mod rules;
pub mod window;

pub use access::{Access, Cidr, Country, Decision, DeniedBy};
pub use machine::{Command, Limiter, Reply};
pub use network::{Network, Source};
pub use policy::{Class, LimitName, LimitStatus, Policy, Window};
