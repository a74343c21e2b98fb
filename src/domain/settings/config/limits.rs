//! Rate limits, and the lists of who may call.

use serde::{Deserialize, Serialize};

use super::fault::Faults;
use super::format::is_cidr;

/// A number of requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How many.
    pub requests: u32,
    /// In how many seconds.
    pub seconds: u32,
}

/// `[[limit]]`: what one client (IPv4 address, IPv6 /64) may do, and its network (IPv4 /24, IPv6 /48).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Endpoint class.
    pub class: LimitClass,
    /// For callers of these countries alone (ISO 3166-1 alpha-2); the entry without countries holds for all others.
    #[serde(default)]
    pub countries: Vec<String>,
    /// Short bursts (GCRA).
    pub burst: Window,
    /// Over a longer time (sliding window).
    pub sustained: Window,
    /// The whole network together, short bursts.
    #[serde(default)]
    pub network_burst: Option<Window>,
    /// The whole network together, over a longer time.
    #[serde(default)]
    pub network_sustained: Option<Window>,
}

/// The endpoint classes that have limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LimitClass {
    /// Lists and metadata.
    Read,
    /// Chat completions, messages and the plain form.
    Chat,
    /// Embeddings.
    Embeddings,
    /// Creating and deleting documents.
    Upload,
}

impl LimitClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Read, Self::Chat, Self::Embeddings, Self::Upload];
}

/// `[access]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Networks that the deny rules do not touch (CIDR).
    pub allow: Vec<String>,
    /// Networks that may not call (CIDR).
    pub deny: Vec<String>,
    /// When not empty, only these countries may call (ISO 3166-1 alpha-2).
    pub allow_countries: Vec<String>,
    /// Countries that may not call.
    pub deny_countries: Vec<String>,
    /// Autonomous systems (networks of one operator) that the deny rules do not touch.
    pub allow_asns: Vec<u32>,
    /// Autonomous systems that may not call.
    pub deny_asns: Vec<u32>,
}

pub(super) fn check_limits(limits: &[Limit], faults: &mut Faults) {
    for class in LimitClass::ALL {
        let general = |limit: &&Limit| limit.class == class && limit.countries.is_empty();
        let count = limits.iter().filter(general).count();
        faults.unless(
            count == 1,
            "limit",
            format!("class {class:?} needs exactly one entry without countries, there are {count}")
                .to_lowercase(),
        );
    }
    for (i, limit) in limits.iter().enumerate() {
        for country in &limit.countries {
            let earlier = limits.iter().take(i).filter(|l| l.class == limit.class);
            faults.unless(
                is_country(country) && earlier.into_iter().all(|l| !l.countries.contains(country)),
                format!("limit[{i}].countries"),
                format!("{country} must be two upper-case letters, once for each class"),
            );
        }
        let windows = [
            ("burst", Some(limit.burst)),
            ("sustained", Some(limit.sustained)),
            ("network_burst", limit.network_burst),
            ("network_sustained", limit.network_sustained),
        ];
        for (name, window) in windows {
            let Some(window) = window else { continue };
            faults.unless(
                (1..=1_000_000).contains(&window.requests)
                    && (1..=86_400).contains(&window.seconds),
                format!("limit[{i}].{name}"),
                "needs 1 to 1000000 requests in 1 to 86400 seconds",
            );
        }
    }
}

fn is_country(text: &str) -> bool {
    text.len() == 2
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

impl Access {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (name, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            for (i, cidr) in list.iter().enumerate() {
                faults.unless(
                    is_cidr(cidr),
                    format!("access.{name}[{i}]"),
                    "must be an address or a CIDR block such as 192.0.2.0/24 or 2001:db8::/32",
                );
            }
        }
        let countries = [
            ("allow_countries", &self.allow_countries),
            ("deny_countries", &self.deny_countries),
        ];
        for (name, list) in countries {
            for (i, country) in list.iter().enumerate() {
                faults.unless(
                    is_country(country),
                    format!("access.{name}[{i}]"),
                    "must be two upper-case letters (ISO 3166-1 alpha-2)",
                );
            }
        }
    }
}
