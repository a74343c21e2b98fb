//! The health of one target (a model at a provider): circuit breaker, recent latency, concurrency.
//!
//! What all isolates share lives in one object per target ([`machine::TargetState`]); each isolate keeps a
//! [`local::LocalView`] of it. While a target is healthy the view decides alone, and one batch of successes every
//! [`local::REPORT_EVERY`] is all that the object hears. A failure is told at once, and its reply brings the shared view.
//!
//! **Recovery.** No pause lasts longer than [`breaker::LONGEST_PAUSE`] = 30 s: the first is 5 s, a failed trial doubles
//! it (5, 10, 20, 30), and a pause after a trial ends at the latest 30 s after that trial *began*. A trial whose
//! result never comes ends after [`breaker::TRIAL_LEASE`] = 30 s. So 30 s after a target works again, counted from the
//! last failure reported before, its next call is let through, as a trial or because one has succeeded already.

pub mod breaker;
pub mod lanes;
pub mod latency;
pub mod local;
pub mod machine;
