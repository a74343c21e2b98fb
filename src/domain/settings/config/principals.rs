//! Tenants, sessions, tiers, and what watches over them.

use serde::{Deserialize, Serialize};

use super::allowance::Allowance;
use super::fault::Faults;
use super::format::{NAME_RULE, is_base_url, is_cidr, is_name, is_origin};

/// The tenant of every host that no `[[tenant]]` names.
pub const DEFAULT_TENANT: &str = "default";

/// `[[tenant]]`: a house of its own under one deployment, with its own principals, documents, limits and log.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Part of every stored name.
    pub name: String,
    /// Its hosts, with the port where it is not the scheme's own: `acme.example`, `acme.localhost:8787`.
    pub hosts: Vec<String>,
    /// What all of it together may use.
    #[serde(default)]
    pub allowance: Allowance,
}

/// `[session]`: what a visitor shows to be one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// How long a session's token is good for, in seconds.
    pub ttl_seconds: u64,
    /// How long a session can be renewed, in seconds; then it takes a new one, with its proof.
    pub max_age_seconds: u64,
    /// How a new session proves that it is worth one.
    pub proof: Proof,
    /// Leading zero bits of a proof of work (SHA-256); each doubles the work.
    pub work_bits: u32,
    /// Cloudflare Turnstile's public site key; its secret is the secret `TURNSTILE_SECRET`.
    pub turnstile_site_key: Option<String>,
    /// The tier of visitors.
    pub tier: Option<String>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            ttl_seconds: 900,           // 15 min × 60 s
            max_age_seconds: 2_592_000, // 30 d × 86,400 s
            proof: Proof::None,
            work_bits: 16,
            turnstile_site_key: None,
            tier: None,
        }
    }
}

/// How a new session proves that it is worth one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Not at all.
    #[default]
    None,
    /// A puzzle that costs the browser a moment and needs no third party.
    Work,
    /// Cloudflare Turnstile, verified at the server.
    Turnstile,
}

/// `[[tier]]`: what each principal of a kind may use.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccountTier {
    /// Keys and `[session]` name it.
    pub name: String,
    /// Of each principal.
    #[serde(default)]
    pub allowance: Allowance,
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// When not empty, only these networks reach `/admin` and `/api/admin` (CIDR).
    pub allow: Vec<String>,
    /// A session that nobody uses ends after so many seconds.
    pub idle_seconds: u64,
    /// A session ends after so many seconds whatever happens.
    pub session_seconds: u64,
    /// How long a confirmed code of the second factor suffices for dangerous actions, in seconds.
    pub fresh_seconds: u64,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            idle_seconds: 1800,      // 30 min × 60 s
            session_seconds: 43_200, // 12 h × 3600 s
            fresh_seconds: 600,      // 10 min × 60 s
        }
    }
}

/// `[keyring]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keyring {
    /// A key version is replaced after so many days; 0: only by hand.
    pub rotate_days: u32,
    /// An external key management service that wraps the key versions (`https://…`); its token is the secret `KMS_TOKEN`.
    pub kms_url: Option<String>,
    /// X-Wing public key (base64url) to which recovery exports are sealed as well. Off when left out.
    pub recovery_key: Option<String>,
}

impl Default for Keyring {
    fn default() -> Self {
        Self {
            rotate_days: 90,
            kms_url: None,
            recovery_key: None,
        }
    }
}

/// `[audit]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Where new checkpoints are sent (`https://…`), signed by the secret `AUDIT_WEBHOOK_SECRET`.
    pub mirror_url: Option<String>,
}

/// `[abuse]`: what counts as unusual, and what then happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Abuse {
    /// Are the rules applied?
    pub enabled: bool,
    /// A principal's requests in a minute are a sudden rate at so many times its own average; 0: not watched.
    pub rate_factor: u32,
    /// … and not below so many requests in the minute.
    pub rate_floor: u32,
    /// More different principals than this of one network in ten minutes; 0: not watched.
    pub principals_per_network: u32,
    /// More refused credentials than this of one client in ten minutes; 0: not watched.
    pub auth_failures: u32,
    /// How long a block or a slow-down lasts, in seconds.
    pub hold_seconds: u64,
}

impl Default for Abuse {
    fn default() -> Self {
        Self {
            enabled: true,
            rate_factor: 10,
            rate_floor: 300,
            principals_per_network: 100,
            auth_failures: 20,
            hold_seconds: 900, // 15 min × 60 s
        }
    }
}

pub(super) fn check_tenants(tenants: &[Tenant], faults: &mut Faults) {
    for (i, tenant) in tenants.iter().enumerate() {
        let key = |name: &str| format!("tenant[{i}].{name}");
        faults.unless(is_name(&tenant.name), key("name"), NAME_RULE);
        faults.unless(
            tenant.name != DEFAULT_TENANT && tenant.name != "global",
            key("name"),
            "is taken: `default` has every host that no tenant names, `global` is all of them",
        );
        let before = tenants.get(..i).unwrap_or_default();
        faults.unless(
            before.iter().all(|other| other.name != tenant.name),
            key("name"),
            "stands twice",
        );
        faults.unless(!tenant.hosts.is_empty(), key("hosts"), "needs a host");
        for host in &tenant.hosts {
            let others = before.iter().flat_map(|other| &other.hosts);
            faults.unless(
                is_origin(&format!("https://{host}")),
                key("hosts"),
                format!("{host} is not a host such as acme.example or acme.localhost:8787"),
            );
            faults.unless(
                others.into_iter().all(|other| other != host),
                key("hosts"),
                format!("{host} belongs to another tenant"),
            );
        }
        tenant.allowance.check(&key("allowance"), faults);
    }
}

pub(super) fn check_tiers(tiers: &[AccountTier], session: &Session, faults: &mut Faults) {
    for (i, tier) in tiers.iter().enumerate() {
        let key = |name: &str| format!("tier[{i}].{name}");
        faults.unless(is_name(&tier.name), key("name"), NAME_RULE);
        let before = tiers.get(..i).unwrap_or_default();
        faults.unless(
            before.iter().all(|other| other.name != tier.name),
            key("name"),
            "stands twice",
        );
        tier.allowance.check(&key("allowance"), faults);
    }
    if let Some(name) = &session.tier {
        faults.unless(
            tiers.iter().any(|tier| tier.name == *name),
            "session.tier",
            "names no [[tier]]",
        );
    }
}

impl Session {
    pub(super) fn check(&self, faults: &mut Faults) {
        // A minute to a day: longer is no longer short-lived.
        faults.within("session.ttl_seconds", self.ttl_seconds, 60, 86_400);
        // At most a year of 365 d × 86,400 s.
        faults.within(
            "session.max_age_seconds",
            self.max_age_seconds,
            self.ttl_seconds,
            31_536_000,
        );
        // 2^26 hashes take a phone about a minute.
        faults.within("session.work_bits", u64::from(self.work_bits), 1, 26);
        faults.unless(
            self.proof != Proof::Turnstile || self.turnstile_site_key.is_some(),
            "session.turnstile_site_key",
            "is needed when proof = \"turnstile\"",
        );
    }
}

impl Admin {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (i, cidr) in self.allow.iter().enumerate() {
            faults.unless(
                is_cidr(cidr),
                format!("admin.allow[{i}]"),
                "must be an address or a CIDR block such as 192.0.2.0/24 or 2001:db8::/32",
            );
        }
        faults.within("admin.idle_seconds", self.idle_seconds, 60, 86_400);
        faults.within("admin.session_seconds", self.session_seconds, 60, 604_800);
        faults.within("admin.fresh_seconds", self.fresh_seconds, 30, 86_400);
    }
}

impl Keyring {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.within("keyring.rotate_days", u64::from(self.rotate_days), 0, 3650);
        faults.unless(
            self.kms_url.as_deref().is_none_or(is_base_url),
            "keyring.kms_url",
            "must be https://, or http:// on this machine or a private network",
        );
    }
}

impl Audit {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.unless(
            self.mirror_url.as_deref().is_none_or(is_base_url),
            "audit.mirror_url",
            "must be https://, or http:// on this machine or a private network",
        );
    }
}

impl Abuse {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.within("abuse.hold_seconds", self.hold_seconds, 1, 86_400);
        faults.within("abuse.rate_floor", u64::from(self.rate_floor), 1, 1_000_000);
    }
}
