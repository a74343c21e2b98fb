//! One change of the rules, and whether it may be.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::base::time::Millis;
pub use crate::domain::identity::site_key::SiteKey;
use crate::domain::limits::access::{Access, Cidr, Country};
use crate::domain::limits::policy;
use crate::domain::settings::config::{Allowance, Limit, LimitClass, Window};

/// Most entries of one list.
const MAX_LIST: usize = 1000;
/// Longest name of anything, in bytes.
const MAX_NAME: usize = 200;
/// Longest reason or flag, in bytes.
const MAX_TEXT: usize = 1000;

/// A change. Each says what is to stand afterwards, so that it can be repeated, and another one undoes it.
///
/// Where a value is optional, `None` takes away what stands under the name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The operator's lists, laid over the configured ones, and the networks that reach the admin pages. Whoever offers
    /// this sees to it that the caller may come back.
    Lists(Lists),
    /// What an account may use, instead of the configured allowance. The scope is `visitor`, `tenant`, `global`, or one
    /// of `visitor/`, `key/`, `tier/`, `alias/` and a name.
    Allowance(String, Option<Allowance>),
    /// The limits of one client and its network, instead of the configured ones: `limit/<class>`, or
    /// `limit/<class>/<country>`.
    Limit(String, Option<Limit>),
    /// A block, by an id that the caller makes.
    Block(String, Option<Block>),
    /// The sessions of a token's or a visitor's id are void until then, which is when the last of them expires.
    Revoke(String, Option<Millis>),
    /// Every session issued until this time is void. Cannot be undone.
    RevokeAll(Millis),
    /// A site key, by its id.
    SiteKey(String, Option<SiteKey>),
    /// A flag: true, false or a text.
    Flag(String, Option<Value>),
    /// The keyring has this version; a lower one than is known changes nothing.
    Keyring(u64),
}

/// Lists that are to be others; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lists {
    /// Blocks of addresses that no deny rule touches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Cidr>>,
    /// Blocks of addresses that may not call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<Cidr>>,
    /// When not empty, only these countries may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_countries: Option<Vec<Country>>,
    /// Countries that may not call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny_countries: Option<Vec<Country>>,
    /// Autonomous systems that no deny rule touches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_asns: Option<Vec<u32>>,
    /// Autonomous systems that may not call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny_asns: Option<Vec<u32>>,
    /// The networks that reach the admin pages besides the configured ones; `Some(None)`: the configured ones alone.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given_or_null"
    )]
    pub admin_allow: Option<Option<Vec<Cidr>>>,
}

/// Tells null from what is left out.
fn given_or_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Vec<Cidr>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Lists {
    /// Puts these lists in place, and returns those that stood in the places that changed.
    #[must_use]
    pub fn replace(self, lists: &mut Access, admin_allow: &mut Option<Vec<Cidr>>) -> Self {
        fn swap<T: PartialEq>(stood: &mut T, wanted: Option<T>) -> Option<T> {
            let wanted = wanted.filter(|wanted| *wanted != *stood)?;
            Some(std::mem::replace(stood, wanted))
        }
        Self {
            allow: swap(&mut lists.allow, self.allow),
            deny: swap(&mut lists.deny, self.deny),
            allow_countries: swap(&mut lists.allow_countries, self.allow_countries),
            deny_countries: swap(&mut lists.deny_countries, self.deny_countries),
            allow_asns: swap(&mut lists.allow_asns, self.allow_asns),
            deny_asns: swap(&mut lists.deny_asns, self.deny_asns),
            admin_allow: swap(admin_allow, self.admin_allow),
        }
    }

    fn fit(&self) -> bool {
        fn fits<T>(list: Option<&Vec<T>>) -> bool {
            list.is_none_or(|list| list.len() <= MAX_LIST)
        }
        fits(self.allow.as_ref())
            && fits(self.deny.as_ref())
            && fits(self.allow_countries.as_ref())
            && fits(self.deny_countries.as_ref())
            && fits(self.allow_asns.as_ref())
            && fits(self.deny_asns.as_ref())
            && fits(self.admin_allow.as_ref().and_then(Option::as_ref))
    }
}

/// Somebody may not call for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Who.
    pub what: Target,
    /// Until when.
    pub until: Millis,
    /// Why, for operators.
    pub reason: String,
    /// An operator's id, or `rule:<name>`.
    pub by: String,
}

/// Whom a block is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Everybody in a block of addresses.
    Cidr(Cidr),
    /// A visitor's id.
    Visitor(String),
    /// An API key's id.
    Key(String),
}

impl Change {
    /// What is wrong with it, in words.
    pub(super) fn fault(&self, now: Millis) -> Option<&'static str> {
        let named = |name: &str| (1..=MAX_NAME).contains(&name.len());
        let (fine, reason) = match self {
            Self::Lists(lists) => (lists.fit(), "a list has at most 1000 entries"),
            Self::Allowance(scope, allowance) => {
                let faults = allowance.as_ref().map(Allowance::faults);
                if let Some((_, reason)) = faults.iter().flatten().next() {
                    return Some(reason);
                }
                (is_scope(scope), "there is no such scope of an allowance")
            }
            Self::Limit(scope, limit) => (
                is_limit_scope(scope, limit.as_ref().map(|limit| limit.class))
                    && limit.as_ref().is_none_or(is_valid),
                "needs limit/<class> or limit/<class>/<country> of the class of the limit, and 1 to 1000000 requests in 1 to 86400 seconds",
            ),
            Self::Block(id, block) => (
                named(id)
                    && block.as_ref().is_none_or(|block| {
                        block.until > now && block.reason.len() <= MAX_TEXT && named(&block.by)
                    }),
                "a block needs an id, an end in the future, and a reason of at most 1000 bytes",
            ),
            Self::Revoke(id, _) => (named(id), "needs an id of at most 200 bytes"),
            Self::SiteKey(id, key) => {
                let faults = key.as_ref().map(SiteKey::faults);
                if let Some((_, reason)) = faults.iter().flatten().next() {
                    return Some(reason);
                }
                (
                    named(id)
                        && key.as_ref().is_none_or(|key| {
                            key.id == *id && key.tier.as_deref().is_none_or(named)
                        }),
                    "a site key stands under its own id",
                )
            }
            Self::Flag(name, value) => (
                named(name)
                    && value.as_ref().is_none_or(|value| match value {
                        Value::String(text) => text.len() <= MAX_TEXT,
                        other => other.is_boolean(),
                    }),
                "a flag has a name, and is true, false or a text of at most 1000 bytes",
            ),
            Self::RevokeAll(_) | Self::Keyring(_) => (true, ""),
        };
        (!fine).then_some(reason)
    }
}

fn is_scope(scope: &str) -> bool {
    let named = |kind| {
        scope
            .strip_prefix(kind)
            .is_some_and(|name| (1..=MAX_NAME).contains(&name.len()))
    };
    matches!(
        scope,
        "client" | "network" | "visitor" | "tenant" | "global"
    ) || ["visitor/", "key/", "tier/", "alias/"]
        .into_iter()
        .any(named)
}

fn is_limit_scope(scope: &str, class: Option<LimitClass>) -> bool {
    let Some(rest) = scope.strip_prefix("limit/") else {
        return false;
    };
    let (name, country) = match rest.split_once('/') {
        Some((name, country)) => (name, Some(country)),
        None => (rest, None),
    };
    let known = LimitClass::ALL
        .into_iter()
        .any(|one| class_name(one) == name && class.is_none_or(|class| class == one));
    let is_country = |text: &str| {
        text.parse::<Country>().is_ok() && !text.bytes().any(|b| b.is_ascii_lowercase())
    };
    known && country.is_none_or(is_country)
}

/// The name of a class in a scope.
pub(super) const fn class_name(class: LimitClass) -> &'static str {
    match class {
        LimitClass::Read => "read",
        LimitClass::Chat => "chat",
        LimitClass::Embeddings => "embeddings",
        LimitClass::Upload => "upload",
    }
}

fn is_valid(limit: &Limit) -> bool {
    [
        Some(limit.burst),
        Some(limit.sustained),
        limit.network_burst,
        limit.network_sustained,
    ]
    .into_iter()
    .flatten()
    .all(|Window { requests, seconds }| {
        policy::Window::new(requests, Millis::from_secs(u64::from(seconds))).is_some()
    })
}
