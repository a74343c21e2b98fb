//! How long an upstream may take, and how often it is asked again.

use serde::{Deserialize, Serialize};

use super::fault::Faults;

/// `[deadlines]`, in milliseconds; an alias may lower them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// From sending the request to the first real output: preamble events do not count.
    pub first_token_ms: u64,
    /// Where set, a target's deadline for the first token follows three times its recent 95th percentile, but never
    /// falls below this.
    pub adaptive_floor_ms: Option<u64>,
    /// From sending the request to the whole of an answer that is not streamed: it shows no first token before its end.
    /// As `first_token_ms` where it is not set.
    pub whole_ms: Option<u64>,
    /// Between two pieces of a streamed answer.
    pub idle_ms: u64,
    /// From the beginning of the call to its end, all attempts and waits included.
    pub total_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            first_token_ms: 30_000,
            adaptive_floor_ms: None,
            whole_ms: None,
            idle_ms: 30_000,
            total_ms: 300_000, // 5 min × 60 s × 1000
        }
    }
}

impl Deadlines {
    pub(super) fn check(&self, path: &str, faults: &mut Faults) {
        let sane = |ms: u64| (100..=900_000).contains(&ms);
        faults.unless(
            sane(self.first_token_ms) && sane(self.idle_ms) && sane(self.total_ms),
            path,
            "each deadline must lie between 100 and 900000 ms",
        );
        faults.unless(
            self.total_ms >= self.first_token_ms,
            format!("{path}.total_ms"),
            "must not be shorter than first_token_ms",
        );
        faults.unless(
            self.whole_ms
                .is_none_or(|whole| (self.first_token_ms..=self.total_ms).contains(&whole)),
            format!("{path}.whole_ms"),
            "must lie between first_token_ms and total_ms",
        );
        faults.unless(
            self.adaptive_floor_ms
                .is_none_or(|floor| (100..=self.first_token_ms).contains(&floor)),
            format!("{path}.adaptive_floor_ms"),
            "must lie between 100 and first_token_ms",
        );
    }
}

/// `[retry]`: attempts and waits before the first token; an alias may have its own table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Most attempts at one target, the first included.
    pub attempts_per_target: u32,
    /// Most attempts of a call, hedges and rescues included.
    pub attempts: u32,
    /// Failed attempts and waits together may take so long; then no new attempt is started.
    pub budget_ms: u64,
    /// First ceiling of the backoff, which doubles with each retry (full jitter).
    pub base_ms: u64,
    /// Highest ceiling of the backoff.
    pub max_ms: u64,
    /// Longest `Retry-After` that is waited for.
    pub max_retry_after_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts_per_target: 2,
            attempts: 4,
            budget_ms: 60_000,
            base_ms: 250,
            max_ms: 4000,
            max_retry_after_ms: 5000,
        }
    }
}

impl Retry {
    pub(super) fn check(&self, path: &str, faults: &mut Faults) {
        let key = |name: &str| format!("{path}.{name}");
        let per_target = u64::from(self.attempts_per_target);
        faults.within(key("attempts_per_target"), per_target, 1, 10);
        faults.within(key("attempts"), u64::from(self.attempts), 1, 20);
        faults.unless(
            self.attempts_per_target <= self.attempts,
            key("attempts"),
            "must not be less than attempts_per_target",
        );
        faults.within(key("budget_ms"), self.budget_ms, 0, 900_000);
        faults.within(key("base_ms"), self.base_ms, 1, 60_000);
        faults.within(key("max_ms"), self.max_ms, 1, 60_000);
        faults.unless(
            self.base_ms <= self.max_ms,
            key("max_ms"),
            "must not be less than base_ms",
        );
        // The official SDKs wait a minute at most.
        faults.within(
            key("max_retry_after_ms"),
            self.max_retry_after_ms,
            0,
            60_000,
        );
    }
}
