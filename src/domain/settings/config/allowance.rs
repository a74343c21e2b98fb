//! What a principal, an alias, a tenant or the whole house may use: requests, tokens, places and money.

use serde::{Deserialize, Serialize};

use super::fault::Faults;
use super::limits::{LimitClass, Window};

/// What one account may use. Everything that is left out is not limited.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Allowance {
    /// Requests, by endpoint class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Requests>,
    /// Tokens in and out together; a call counts at its most until it is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenWindow>,
    /// Model calls at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Money.
    #[serde(skip_serializing_if = "Budget::is_empty")]
    pub budget: Budget,
}

/// Requests of one endpoint class.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// Endpoint class.
    pub class: LimitClass,
    /// Short bursts (GCRA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Window>,
    /// Over a longer time (sliding window).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sustained: Option<Window>,
}

/// A number of tokens in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenWindow {
    /// How many.
    pub tokens: u64,
    /// In how many seconds.
    pub seconds: u32,
}

/// Money in US dollars by window; windows are those of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// In each hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour_usd: Option<f64>,
    /// On each day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day_usd: Option<f64>,
    /// In each month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month_usd: Option<f64>,
}

impl Budget {
    /// Is there no limit of money?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hour_usd.is_none() && self.day_usd.is_none() && self.month_usd.is_none()
    }
}

impl Allowance {
    /// Is nothing limited?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.tokens.is_none()
            && self.concurrent.is_none()
            && self.budget.is_empty()
    }

    /// What is wrong with it, each as a path below its own and a reason. The admin API holds what an operator sends to
    /// the same checks.
    #[must_use]
    pub fn faults(&self) -> Vec<(String, &'static str)> {
        let mut faults = Vec::new();
        let mut unless = |fine: bool, path: String, reason: &'static str| {
            if !fine {
                faults.push((path, reason));
            }
        };
        for (i, requests) in self.requests.iter().enumerate() {
            let twice = self
                .requests
                .iter()
                .take(i)
                .any(|other| other.class == requests.class);
            unless(!twice, format!("requests[{i}].class"), "stands twice");
            for (name, window) in [("burst", requests.burst), ("sustained", requests.sustained)] {
                unless(
                    window.is_none_or(|w| {
                        (1..=1_000_000).contains(&w.requests) && (1..=86_400).contains(&w.seconds)
                    }),
                    format!("requests[{i}].{name}"),
                    "needs 1 to 1000000 requests in 1 to 86400 seconds",
                );
            }
        }
        unless(
            self.tokens.is_none_or(|w| {
                (1..=1_000_000_000).contains(&w.tokens) && (1..=86_400).contains(&w.seconds)
            }),
            "tokens".into(),
            "needs 1 to 1000000000 tokens in 1 to 86400 seconds",
        );
        unless(
            self.concurrent.is_none_or(|n| (1..=10_000).contains(&n)),
            "concurrent".into(),
            "must lie between 1 and 10000",
        );
        for (name, usd) in [
            ("hour_usd", self.budget.hour_usd),
            ("day_usd", self.budget.day_usd),
            ("month_usd", self.budget.month_usd),
        ] {
            // A million dollars; in millionths that is 10¹², far below 2⁵³.
            unless(
                usd.is_none_or(|usd| (0.0..=1_000_000.0).contains(&usd)),
                format!("budget.{name}"),
                "must lie between 0 and 1000000 dollars",
            );
        }
        faults
    }

    pub(super) fn check(&self, path: &str, faults: &mut Faults) {
        for (below, reason) in self.faults() {
            faults.unless(false, format!("{path}.{below}"), reason);
        }
    }
}
