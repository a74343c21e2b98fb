//! Every binding, variable and secret name, once. A test compares them with wrangler.toml and the docs.

/// Static assets: the site that `gatehouse-site` wrote.
pub const ASSETS: &str = "ASSETS";
/// KV namespace of the answer cache.
pub const CACHE: &str = "CACHE";
/// R2 bucket of the documents.
pub const DOCUMENTS: &str = "DOCUMENTS";
/// Durable Object: limits of one network.
pub const LIMITER: &str = "LIMITER";
/// Durable Object: budgets and quotas of a key, alias, tenant or the whole site.
pub const LEDGER: &str = "LEDGER";
/// Durable Object: what one principal owns.
pub const OWNER: &str = "OWNER";
/// Durable Object: a running answer.
pub const STREAM: &str = "STREAM";
/// Durable Object: health of one provider target.
pub const TARGET: &str = "TARGET";
/// Durable Object: key versions.
pub const KEYRING: &str = "KEYRING";
/// Durable Object: the append-only log.
pub const AUDIT_LOG: &str = "AUDIT_LOG";
/// Durable Object: background work.
pub const JOBS: &str = "JOBS";
/// Durable Object: where every object that must be found again is registered.
pub const DIRECTORY: &str = "DIRECTORY";

/// In the place of a tenant: what all tenants share.
pub const GLOBAL: &str = "global";

/// A stored name: below its tenant.
#[must_use]
pub fn stored(tenant: &str, name: &str) -> String {
    format!("v1/{tenant}/{name}")
}

/// Bindings that are not Durable Objects.
pub const STORES: [&str; 3] = [ASSETS, CACHE, DOCUMENTS];

/// Durable Object bindings and their classes. The set is whole from the first version on, because a new class is a
/// migration that cannot be rolled out gradually.
pub const OBJECTS: [(&str, &str); 9] = [
    (LIMITER, "Limiter"),
    (LEDGER, "Ledger"),
    (OWNER, "Owner"),
    (STREAM, "Stream"),
    (TARGET, "Target"),
    (KEYRING, "Keyring"),
    (AUDIT_LOG, "AuditLog"),
    (JOBS, "Jobs"),
    (DIRECTORY, "Directory"),
];

/// Variable: which environment this is (`development`, `staging`, `production`, `test`).
pub const ENVIRONMENT: &str = "ENVIRONMENT";
/// Variable: comma-separated origins that replace `[server] allowed_origins`.
pub const ALLOWED_ORIGINS: &str = "ALLOWED_ORIGINS";
/// Variable: a whole configuration as JSON; read in environment `test` alone.
pub const GATEHOUSE_CONFIG: &str = "GATEHOUSE_CONFIG";
/// Secret: 32 random bytes in base64url, the root of cookie, cache and address keys.
pub const MASTER_KEY: &str = "MASTER_KEY";

/// Secret: the master key before this one, while what it wrapped is wrapped anew.
pub const MASTER_KEY_PREVIOUS: &str = "MASTER_KEY_PREVIOUS";
/// Secret: what the first operator shows to claim the house.
pub const ADMIN_TOKEN: &str = "ADMIN_TOKEN";
/// Variable: `true` lets operators in again whom the operators' own lists keep out; while it is set, those do not count.
pub const ADMIN_ALLOW_RESET: &str = "ADMIN_ALLOW_RESET";
/// Secret: Cloudflare Turnstile's.
pub const TURNSTILE_SECRET: &str = "TURNSTILE_SECRET";
/// Variable: another address of Turnstile's verification; read in environment `test` alone.
pub const TURNSTILE_URL: &str = "TURNSTILE_URL";
/// Secret: the bearer token of an external key management service.
pub const KMS_TOKEN: &str = "KMS_TOKEN";
/// Secret: the bearer token of an external scanner of documents.
pub const SCANNER_TOKEN: &str = "SCANNER_TOKEN";
/// Secret: signs what the audit log sends out (`whsec_…`, Standard Webhooks).
pub const AUDIT_WEBHOOK_SECRET: &str = "AUDIT_WEBHOOK_SECRET";

/// Variables and secrets that the code itself reads; providers and targets name further ones in gatehouse.toml.
pub const VARIABLES: [&str; 12] = [
    ENVIRONMENT,
    ALLOWED_ORIGINS,
    GATEHOUSE_CONFIG,
    MASTER_KEY,
    MASTER_KEY_PREVIOUS,
    ADMIN_TOKEN,
    ADMIN_ALLOW_RESET,
    TURNSTILE_SECRET,
    TURNSTILE_URL,
    KMS_TOKEN,
    SCANNER_TOKEN,
    AUDIT_WEBHOOK_SECRET,
];
