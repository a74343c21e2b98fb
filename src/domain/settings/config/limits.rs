//! Rate limits, and the lists of who may call.

use serde::{Deserialize, Serialize};

use super::fault::Faults;
use super::format::is_cidr;

/// A number of requests in a time.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How many.
    pub requests: u32,
    /// In how many seconds.
    pub seconds: u32,
}

/// `[[limit]]`: what one client (IPv4 address, IPv6 /64) may do, and its network (IPv4 /24, IPv6 /48).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Endpoint class.
    pub class: LimitClass,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
}

pub(super) fn check_limits(limits: &[Limit], faults: &mut Faults) {
    for class in LimitClass::ALL {
        let count = limits.iter().filter(|l| l.class == class).count();
        faults.unless(
            count == 1,
            "limit",
            format!("class {class:?} needs exactly one entry, there are {count}").to_lowercase(),
        );
    }
    for (i, limit) in limits.iter().enumerate() {
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
                    country.len() == 2
                        && country
                            .bytes()
                            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
                    format!("access.{name}[{i}]"),
                    "must be two upper-case letters (ISO 3166-1 alpha-2)",
                );
            }
        }
    }
}
