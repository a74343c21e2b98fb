//! The shape of `gatehouse.toml`, and what makes it valid.
//!
//! These files use nothing but `serde` and the standard library: build.rs includes them too, so that a wrong file
//! fails the build with the very checks that the Worker would apply. [`Config`] is the whole; each part stands with its
//! checks in a file of its own.

mod alias;
mod allowance;
mod fault;
mod format;
mod limits;
mod patience;
mod price;
mod principals;
mod provider;
pub mod scan;
mod stores;
mod target;

use serde::{Deserialize, Serialize};

pub use alias::{
    Alias, CachePolicy, Choose, LastResort, OnOverflow, OnUnsupported, Prefer, Priority, Serves,
    Similar,
};
pub use allowance::{Allowance, Budget, Requests, TokenWindow};
pub use fault::ConfigFault;
pub use format::{is_base_url, is_origin};
pub use limits::{Access, Limit, LimitClass, Window};
pub use patience::{Deadlines, Retry};
pub use price::Price;
pub use principals::{
    Abuse, AccountTier, Admin, Audit, DEFAULT_TENANT, Keyring, Proof, Session, Tenant,
};
pub use provider::{Provider, ProviderKind};
pub use stores::{Backup, Cache, Documents, Memory, RetentionClass, Retrieval, Streams, Trim};
pub use target::{Capability, Target, Tier};

use fault::Faults;

/// One environment's configuration: the top level of the file with `[env.NAME]` laid over it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The operator's site.
    #[serde(default)]
    pub site: Site,
    /// Who may call from where, and how much a body may weigh.
    #[serde(default)]
    pub server: Server,
    /// How long an upstream may take.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// Attempts and waits before the first token.
    #[serde(default)]
    pub retry: Retry,
    /// Model providers, in order.
    #[serde(default, rename = "provider")]
    pub providers: Vec<Provider>,
    /// Model aliases, in order; the first that can serve chat is the default.
    #[serde(default, rename = "alias")]
    pub aliases: Vec<Alias>,
    /// Prices of provider models.
    #[serde(default, rename = "price")]
    pub prices: Vec<Price>,
    /// Rate limits, one for each endpoint class.
    #[serde(default, rename = "limit")]
    pub limits: Vec<Limit>,
    /// Allow and deny lists.
    #[serde(default)]
    pub access: Access,
    /// The answer cache.
    #[serde(default)]
    pub cache: Cache,
    /// Running answers.
    #[serde(default)]
    pub streams: Streams,
    /// The document store.
    #[serde(default)]
    pub documents: Documents,
    /// Conversations and memories.
    #[serde(default)]
    pub memory: Memory,
    /// Search in documents.
    #[serde(default)]
    pub retrieval: Retrieval,
    /// Tenants beside the default one.
    #[serde(default, rename = "tenant")]
    pub tenants: Vec<Tenant>,
    /// Visitors' sessions.
    #[serde(default)]
    pub session: Session,
    /// What principals may use, by the tier they belong to.
    #[serde(default, rename = "tier")]
    pub tiers: Vec<AccountTier>,
    /// What each client may use, whoever it says it is: an IPv4 address or an IPv6 /64.
    #[serde(default)]
    pub client: Allowance,
    /// What each network may use: an IPv4 /24 or an IPv6 /48.
    #[serde(default)]
    pub network: Allowance,
    /// What all tenants together may use.
    #[serde(default)]
    pub global: Allowance,
    /// Operators.
    #[serde(default)]
    pub admin: Admin,
    /// Key versions.
    #[serde(default)]
    pub keyring: Keyring,
    /// The audit log.
    #[serde(default)]
    pub audit: Audit,
    /// What counts as unusual.
    #[serde(default)]
    pub abuse: Abuse,
    /// Snapshots of what the objects keep.
    #[serde(default)]
    pub backup: Backup,
}

/// `[site]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// Folder with the operator's pages, relative to gatehouse.toml.
    pub dir: String,
    /// Name of the site, used in page titles.
    pub title: String,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            dir: "static".into(),
            title: "Gatehouse".into(),
        }
    }
}

/// `[server]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Other origins whose pages may call the model endpoints (`https://example.org`); the site's own origin always may.
    pub allowed_origins: Vec<String>,
    /// Largest JSON body in bytes.
    pub max_body_bytes: u64,
    /// Largest form with pictures or sound in bytes.
    pub max_form_bytes: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            max_body_bytes: 1_048_576, // 1 MiB = 1024 × 1024
            max_form_bytes: 8_388_608, // 8 MiB = 8 × 1024 × 1024
        }
    }
}

impl Config {
    /// Everything that is wrong and that the types alone cannot say.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = Faults::default();
        self.check_site(&mut faults);
        self.check_server(&mut faults);
        self.deadlines.check("deadlines", &mut faults);
        self.retry.check("retry", &mut faults);
        provider::check_providers(&self.providers, &mut faults);
        alias::check_aliases(self, &mut faults);
        price::check_prices(&self.prices, &self.providers, &mut faults);
        limits::check_limits(&self.limits, &mut faults);
        self.access.check(&mut faults);
        self.cache.check(&mut faults);
        self.streams.check(&mut faults);
        self.documents.check(&self.tiers, &mut faults);
        self.memory.check(&mut faults);
        self.retrieval.check(&self.aliases, &mut faults);
        principals::check_tenants(&self.tenants, &mut faults);
        self.session.check(&mut faults);
        principals::check_tiers(&self.tiers, &self.session, &mut faults);
        self.client.check("client", &mut faults);
        self.network.check("network", &mut faults);
        self.global.check("global", &mut faults);
        self.admin.check(&mut faults);
        self.keyring.check(&mut faults);
        self.audit.check(&mut faults);
        self.abuse.check(&mut faults);
        self.backup.check(&mut faults);
        faults.0
    }

    fn check_site(&self, faults: &mut Faults) {
        let dir = &self.site.dir;
        faults.unless(
            !dir.is_empty() && !dir.starts_with('/') && !dir.split('/').any(|part| part == ".."),
            "site.dir",
            "must be a folder below gatehouse.toml",
        );
    }

    fn check_server(&self, faults: &mut Faults) {
        for (i, origin) in self.server.allowed_origins.iter().enumerate() {
            faults.unless(
                is_origin(origin),
                format!("server.allowed_origins[{i}]"),
                "must be scheme://host[:port] in lower case without a path, such as https://example.org",
            );
        }
        faults.unless(
            (1024..=26_214_400).contains(&self.server.max_body_bytes),
            "server.max_body_bytes",
            "must lie between 1024 and 26214400 (25 MiB), what an isolate's memory allows",
        );
        faults.unless(
            (1024..=16_777_216).contains(&self.server.max_form_bytes),
            "server.max_form_bytes",
            "must lie between 1024 and 16777216 (16 MiB), what fits into a message between objects",
        );
    }
}

#[cfg(test)]
mod tests;
