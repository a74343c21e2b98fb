//! What one endpoint class allows, and what a caller is told about it.

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;

/// Endpoints that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Lists and metadata.
    Read,
    /// Chat completions, messages and the plain form.
    Chat,
    /// Embeddings.
    Embeddings,
    /// Creating and deleting documents.
    Upload,
    /// Pages that the Worker makes itself.
    Page,
    /// New entries of the answer cache.
    CacheWrite,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Chat,
        Self::Embeddings,
        Self::Upload,
        Self::Page,
        Self::CacheWrite,
    ];

    /// The stable name, part of stored keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Upload => "upload",
            Self::Page => "page",
            Self::CacheWrite => "cache_write",
        }
    }

    /// The class of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// So many requests in so long a time; both within bounds that keep all arithmetic exact in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u32, Millis)", into = "(u32, Millis)")]
pub struct Window {
    requests: u32,
    per: Millis,
}

impl Window {
    /// Largest quota. With [`Window::MAX_PER`]: 10⁶ × 8.64 × 10⁷ ms = 8.64 × 10¹³, far below 2⁶³.
    pub const MAX_REQUESTS: u32 = 1_000_000;
    /// Longest period: one day = 24 × 3600 × 1000 ms.
    pub const MAX_PER: Millis = Millis(86_400_000);

    /// `None` unless 1 ≤ requests ≤ [`Window::MAX_REQUESTS`] and 1 ms ≤ per ≤ [`Window::MAX_PER`].
    #[must_use]
    pub const fn new(requests: u32, per: Millis) -> Option<Self> {
        if requests == 0 || requests > Self::MAX_REQUESTS || per.0 == 0 || per.0 > Self::MAX_PER.0 {
            return None;
        }
        Some(Self { requests, per })
    }

    /// The quota.
    #[must_use]
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// The period.
    #[must_use]
    pub const fn per(&self) -> Millis {
        self.per
    }
}

impl TryFrom<(u32, Millis)> for Window {
    type Error = &'static str;

    fn try_from((requests, per): (u32, Millis)) -> Result<Self, Self::Error> {
        Self::new(requests, per).ok_or("a window needs 1 to 1000000 requests in 1 ms to one day")
    }
}

impl From<Window> for (u32, Millis) {
    fn from(window: Window) -> Self {
        (window.requests, window.per)
    }
}

/// The limits of one class. It travels in each command, so that a changed setting needs no restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Which endpoints.
    #[serde(rename = "c")]
    pub class: Class,
    /// One client, short bursts: `requests` at once, refilled evenly over `per`.
    #[serde(rename = "b")]
    pub burst: Window,
    /// One client, over a longer time: never more than `requests` in any `per`.
    #[serde(rename = "s")]
    pub sustained: Window,
    /// All clients of the network together, short bursts.
    #[serde(rename = "nb", default, skip_serializing_if = "Option::is_none")]
    pub network_burst: Option<Window>,
    /// All clients of the network together, over a longer time.
    #[serde(rename = "ns", default, skip_serializing_if = "Option::is_none")]
    pub network_sustained: Option<Window>,
}

/// The name of a window in `RateLimit-Policy` and in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitName {
    /// [`Policy::burst`].
    Burst,
    /// [`Policy::sustained`].
    Sustained,
    /// [`Policy::network_burst`].
    NetworkBurst,
    /// [`Policy::network_sustained`].
    NetworkSustained,
    /// An account's tokens.
    Tokens,
    /// An account's places: calls at the same time.
    Concurrent,
    /// An account's money in the hour (UTC).
    HourBudget,
    /// An account's money on the day (UTC).
    DayBudget,
    /// An account's money in the month (UTC).
    MonthBudget,
    /// A block or slow-down that an operator or a rule put on an account.
    Hold,
    /// The account's object has as many open reservations as it keeps.
    Overload,
}

impl LimitName {
    /// The name as callers see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Sustained => "sustained",
            Self::NetworkBurst => "network-burst",
            Self::NetworkSustained => "network-sustained",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
            Self::HourBudget => "hour-budget",
            Self::DayBudget => "day-budget",
            Self::MonthBudget => "month-budget",
            Self::Hold => "hold",
            Self::Overload => "overload",
        }
    }
}

/// One window as a caller may see it, after the decision.
///
/// A network's window appears only when it refused, with nothing remaining and its own wait: how much other callers
/// used is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// Which window.
    #[serde(rename = "n")]
    pub name: LimitName,
    /// Requests that it allows.
    #[serde(rename = "q")]
    pub quota: u32,
    /// In how long.
    #[serde(rename = "w")]
    pub window: Millis,
    /// Requests that are left now.
    #[serde(rename = "r")]
    pub remaining: u32,
    /// From now until more is left; zero when all of the quota is.
    #[serde(rename = "m")]
    pub more: Millis,
    /// From now until all of the quota is left again.
    #[serde(rename = "f")]
    pub full: Millis,
}

/// What one window says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fits.
    Admit,
    /// It fits after exactly this long and not a millisecond earlier, if nothing else is admitted meanwhile.
    Wait(Millis),
    /// It costs more than the whole quota.
    Never,
}

#[cfg(test)]
mod tests {
    use super::{Class, Policy, Window};
    use crate::base::time::Millis;

    #[test]
    fn class_names_are_stable_because_stored_keys_hold_them() {
        let names = [
            "read",
            "chat",
            "embeddings",
            "upload",
            "page",
            "cache_write",
        ];
        for (class, name) in Class::ALL.into_iter().zip(names) {
            assert_eq!(class.as_str(), name);
            assert_eq!(Class::from_name(name), Some(class));
            assert_eq!(
                serde_json::to_string(&class).unwrap(),
                format!("\"{name}\"")
            );
        }
        assert_eq!(Class::from_name("Chat"), None);
    }

    #[test]
    fn a_window_without_requests_or_time_does_not_exist() {
        assert!(Window::new(0, Millis(1)).is_none());
        assert!(Window::new(1, Millis(0)).is_none());
        assert!(Window::new(1_000_001, Millis(1)).is_none());
        assert!(Window::new(1, Millis(86_400_001)).is_none());
        assert!(Window::new(1_000_000, Millis(86_400_000)).is_some());
        assert!(serde_json::from_str::<Window>("[0,1000]").is_err());
    }

    #[test]
    fn a_policy_is_short_in_json() {
        let policy = Policy {
            class: Class::Chat,
            burst: Window::new(20, Millis(60_000)).unwrap(),
            sustained: Window::new(200, Millis(3_600_000)).unwrap(),
            network_burst: Window::new(200, Millis(60_000)),
            network_sustained: None,
        };
        let json = r#"{"c":"chat","b":[20,60000],"s":[200,3600000],"nb":[200,60000]}"#;
        assert_eq!(serde_json::to_string(&policy).unwrap(), json);
        assert_eq!(serde_json::from_str::<Policy>(json).unwrap(), policy);
    }
}
