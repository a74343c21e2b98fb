//! Everything that is in force, and the decisions that each request needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::{Block, SiteKey, Target, class_name};
use crate::base::time::Millis;
use crate::domain::identity::Principal;
use crate::domain::limits::access::{self, Access, Cidr, Decision};
use crate::domain::limits::network::Source;
use crate::domain::settings::config::{Allowance, Limit, LimitClass};

/// The rules at one version. The default is that of a house in which nothing was ever changed: version 0.
///
/// Each isolate keeps one. What has expired may still stand in it: the decisions go by `now`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Grows with every change, and is never used twice.
    pub version: u64,
    /// Sessions issued until then are void; zero: none.
    pub epoch: Millis,
    /// The keyring's version.
    pub keyring: u64,
    /// The operator's lists.
    pub lists: Access,
    /// Further networks that reach the admin pages; where none are configured, the only ones.
    pub admin_allow: Option<Vec<Cidr>>,
    /// Allowances by scope.
    pub allowances: BTreeMap<String, Allowance>,
    /// Limits of clients and networks by scope.
    pub limits: BTreeMap<String, Limit>,
    /// Blocks by id.
    pub blocks: BTreeMap<String, Block>,
    /// Void sessions, by the token's or the visitor's id, until when.
    pub revoked: BTreeMap<String, Millis>,
    /// Site keys by id.
    pub site_keys: BTreeMap<String, SiteKey>,
    /// Flags by name.
    pub flags: BTreeMap<String, Value>,
    /// Stored rows that could not be read, and so are not in force.
    pub damaged: Vec<String>,
}

impl Snapshot {
    /// Is a session void? `issued` is when its token was issued, rounded down to whole seconds or not.
    ///
    /// Ids are looked up whatever the time: an entry that is still here names tokens that nobody should trust.
    #[must_use]
    pub fn is_revoked(&self, token: &str, visitor: &str, issued: Millis) -> bool {
        (self.epoch > Millis::ZERO && issued <= self.epoch)
            || self.revoked.contains_key(token)
            || self.revoked.contains_key(visitor)
    }

    /// Was what names this principal ended before its time: its session, or without one the visitor's own token?
    #[must_use]
    pub fn has_ended(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Visitor {
                id,
                session: Some(session),
                ..
            } => self.is_revoked(&session.id, id, session.issued),
            Principal::Visitor {
                id,
                issued,
                session: None,
            } => self.is_revoked(id, id, *issued),
            Principal::Anonymous | Principal::Key(_) => false,
        }
    }

    /// The block that stands against a caller; of several the one that ends last. It holds whatever the lists allow.
    #[must_use]
    pub fn block_for(
        &self,
        source: &Source,
        visitor: Option<&str>,
        key: Option<&str>,
        now: Millis,
    ) -> Option<&Block> {
        let meant = |block: &&Block| match &block.what {
            Target::Cidr(cidr) => source.address().is_some_and(|ip| cidr.contains(ip)),
            Target::Visitor(id) => visitor == Some(id),
            Target::Key(id) => key == Some(id),
        };
        self.blocks
            .values()
            .filter(|block| block.until > now)
            .filter(meant)
            .max_by_key(|block| block.until)
    }

    /// What an account may use: the operator's allowance for the scope, else the configured one.
    #[must_use]
    pub fn allowance<'a>(&'a self, scope: &str, configured: &'a Allowance) -> &'a Allowance {
        self.allowances.get(scope).unwrap_or(configured)
    }

    /// The limits of one client and its network: those for the country, the operator's before the configured ones, and
    /// else the general ones. `country` is in upper case, as the platform tells it.
    #[must_use]
    pub fn limit<'a>(
        &'a self,
        class: LimitClass,
        country: Option<&str>,
        configured: &'a [Limit],
    ) -> Option<&'a Limit> {
        let scope = ["limit/", class_name(class)].concat();
        let mut own = configured.iter().filter(|limit| limit.class == class);
        let theirs = country.and_then(|country| {
            let listed = |limit: &&Limit| limit.countries.iter().any(|c| c == country);
            let overriding = self.limits.get(&[&scope, "/", country].concat());
            overriding.or_else(|| own.clone().find(listed))
        });
        theirs
            .or_else(|| self.limits.get(&scope))
            .or_else(|| own.find(|limit| limit.countries.is_empty()))
    }

    /// The operator's lists over the configured ones; see [`access::decide`].
    #[must_use]
    pub fn access(
        &self,
        configured: &Access,
        source: &Source,
        country: Option<&str>,
        asn: Option<u32>,
    ) -> Decision {
        access::decide(&[&self.lists, configured], source, country, asn)
    }

    /// May this address reach the admin pages? An empty list lets everybody. Operators cannot take away what the
    /// configuration lets in: whoever may deploy can always come back.
    #[must_use]
    pub fn admin_allows(&self, source: &Source, configured: &[String]) -> bool {
        let list: Vec<Cidr> = configured.iter().filter_map(|t| t.parse().ok()).collect();
        let in_configured = access::contains(&list, source);
        match &self.admin_allow {
            Some(list) => list.is_empty() || in_configured || access::contains(list, source),
            None => configured.is_empty() || in_configured,
        }
    }

    /// Is a flag set to true?
    #[must_use]
    pub fn is_on(&self, flag: &str) -> bool {
        self.flags.get(flag).and_then(Value::as_bool) == Some(true)
    }
}
