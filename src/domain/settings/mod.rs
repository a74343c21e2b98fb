//! Environment and `gatehouse.toml` → one typed, validated [`Settings`].

pub mod config;
pub mod names;

use std::collections::BTreeMap;

use serde::de::Error as _;

use crate::base::digest::{Bytes32, DIGEST_BYTES, derive_key, from_base64url, hex, sha256};
use crate::base::secret::Secret;
use config::{Alias, Config, Deadlines, Provider, ProviderKind, Retry, Serves, Target};

/// The embedded configurations of all environments, as build.rs validated them.
const EMBEDDED: &str = include_str!(concat!(env!("OUT_DIR"), "/config.json"));

/// OpenAI's public address; used when an `openai` provider has a key and names no other.
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
/// Anthropic's public address, without `/v1` as its SDKs have it.
const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";

/// Which environment the Worker runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// `wrangler dev` on a developer's machine.
    Development,
    /// A rehearsal with its own stores.
    Staging,
    /// The real site.
    Production,
    /// The test harness.
    Test,
}

impl Environment {
    /// The name in wrangler.toml and gatehouse.toml.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Test => "test",
        }
    }

    /// An unknown or missing name is production: the strictest reading.
    #[must_use]
    pub fn from_name(name: Option<&str>) -> Self {
        match name {
            Some("development") => Self::Development,
            Some("staging") => Self::Staging,
            Some("test") => Self::Test,
            _ => Self::Production,
        }
    }
}

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFault(pub String);

/// Keys derived from `MASTER_KEY`, one for each purpose.
pub struct DerivedKeys {
    /// Signs visitor cookies.
    pub cookie: Secret<Bytes32>,
    /// Names cache entries.
    pub cache: Secret<Bytes32>,
    /// Hides addresses in logs.
    pub address: Secret<Bytes32>,
}

/// Secrets that are not the root of others.
pub struct Secrets {
    /// `ADMIN_TOKEN`
    pub admin_token: Option<Secret<String>>,
    /// `TURNSTILE_SECRET`
    pub turnstile: Option<Secret<String>>,
    /// `KMS_TOKEN`
    pub kms_token: Option<Secret<String>>,
    /// `SCANNER_TOKEN`
    pub scanner_token: Option<Secret<String>>,
    /// `AUDIT_WEBHOOK_SECRET`
    pub audit_webhook: Option<Secret<String>>,
}

impl Secrets {
    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| {
            let text = variable(name)?.trim().to_owned();
            (!text.is_empty()).then(|| Secret::new(text))
        };
        Self {
            admin_token: read(names::ADMIN_TOKEN),
            turnstile: read(names::TURNSTILE_SECRET),
            kms_token: read(names::KMS_TOKEN),
            scanner_token: read(names::SCANNER_TOKEN),
            audit_webhook: read(names::AUDIT_WEBHOOK_SECRET),
        }
    }
}

/// A provider that can be called.
pub struct ActiveProvider {
    /// Its name in gatehouse.toml.
    pub name: String,
    /// Its protocol.
    pub kind: ProviderKind,
    /// Address without a trailing slash.
    pub base_url: String,
    /// Its key; a local model has none.
    pub key: Option<Secret<String>>,
}

/// One way to answer for an alias.
pub struct ActiveTarget {
    /// Index into [`Settings::providers`].
    pub provider: usize,
    /// The provider's model; empty for the built-in answerer.
    pub model: String,
    /// As configured.
    pub config: Target,
}

/// An alias and those of its targets that are active.
pub struct ActiveAlias {
    /// As configured.
    pub config: Alias,
    /// Active targets in order.
    pub targets: Vec<ActiveTarget>,
}

/// All that is known about the house before a request comes.
pub struct Settings {
    /// Which environment this is.
    pub environment: Environment,
    /// The configuration after overrides.
    pub config: Config,
    /// SHA-256 of configuration and overrides, 16 hex digits: part of every cache key.
    pub digest: String,
    /// Keys derived from `MASTER_KEY`; `None` when that secret is missing or malformed.
    pub keys: Option<DerivedKeys>,
    /// `MASTER_KEY`: the root of the keyring.
    pub master: Option<Secret<Bytes32>>,
    /// `MASTER_KEY_PREVIOUS`: the root before it.
    pub master_previous: Option<Secret<Bytes32>>,
    /// Further secrets.
    pub secrets: Secrets,
    /// `ADMIN_ALLOW_RESET`: operators reach the house whatever lists operators set.
    pub admin_allow_reset: bool,
    /// Where Turnstile is asked instead, in the environment `test` alone.
    pub turnstile_url: Option<String>,
    /// The revision of the keyring whose providers' keys are among these settings; 0: none are.
    pub ring: u64,
    /// Active providers.
    pub providers: Vec<ActiveProvider>,
    /// Every alias, in order; those without an active target answer 503.
    pub aliases: Vec<ActiveAlias>,
    /// For every provider: its name, whether it is active, and which variables would activate it.
    pub provider_status: Vec<(String, bool, Vec<String>)>,
}

impl Settings {
    /// Resolves the embedded configuration against variables and secrets.
    ///
    /// # Errors
    /// A configuration or override that is not valid.
    pub fn resolve(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsFault> {
        Self::resolve_with(variable, 0, &|_| None)
    }

    /// The same with providers' keys that operators stored, by the providers' names; a secret of the deployment goes
    /// before.
    ///
    /// # Errors
    /// As for [`Settings::resolve`].
    pub fn resolve_with(
        variable: &dyn Fn(&str) -> Option<String>,
        ring: u64,
        stored: &dyn Fn(&str) -> Option<Secret<String>>,
    ) -> Result<Self, SettingsFault> {
        let environment = Environment::from_name(variable(names::ENVIRONMENT).as_deref());
        let mut config = load(environment, variable)?;
        if let Some(origins) = variable(names::ALLOWED_ORIGINS) {
            config.server.allowed_origins = split_origins(&origins)?;
        }
        let providers: Vec<(String, Option<ActiveProvider>, Vec<String>)> = config
            .providers
            .iter()
            .map(|provider| {
                activate(provider, variable, stored)
                    .map(|active| (provider.name.clone(), active, activators(provider)))
            })
            .collect::<Result<_, _>>()?;
        let provider_status = providers
            .iter()
            .map(|(name, active, variables)| (name.clone(), active.is_some(), variables.clone()))
            .collect();
        let providers: Vec<ActiveProvider> = providers
            .into_iter()
            .filter_map(|(_, active, _)| active)
            .collect();
        let aliases: Vec<ActiveAlias> = config
            .aliases
            .iter()
            .map(|alias| resolve_alias(alias, &providers, variable))
            .collect();
        let master = variable(names::MASTER_KEY).and_then(|text| master_key(&text));
        Ok(Self {
            environment,
            digest: digest(&config, &providers, &aliases),
            keys: master.as_ref().map(|root| derive_keys(root.reveal())),
            master,
            master_previous: variable(names::MASTER_KEY_PREVIOUS)
                .and_then(|text| master_key(&text)),
            secrets: Secrets::read(variable),
            ring,
            admin_allow_reset: variable(names::ADMIN_ALLOW_RESET)
                .is_some_and(|text| text.trim() == "true"),
            turnstile_url: variable(names::TURNSTILE_URL)
                .filter(|_| environment == Environment::Test),
            config,
            providers,
            aliases,
            provider_status,
        })
    }

    /// The alias of that name.
    #[must_use]
    pub fn alias(&self, name: &str) -> Option<&ActiveAlias> {
        self.aliases.iter().find(|alias| alias.config.name == name)
    }

    /// The alias that a page gets when it names none: the first public one that serves chat and is active.
    #[must_use]
    pub fn default_alias(&self) -> Option<&ActiveAlias> {
        self.aliases.iter().find(|alias| {
            alias.config.public && alias.config.serves == Serves::Chat && !alias.targets.is_empty()
        })
    }

    /// The tenant of a request, by the origin (`scheme://host[:port]`) that it was made to.
    #[must_use]
    pub fn tenant_of(&self, origin: &str) -> &str {
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        let named = |tenant: &&config::Tenant| tenant.hosts.iter().any(|known| known == host);
        let tenant = self.config.tenants.iter().find(named);
        tenant.map_or(config::DEFAULT_TENANT, |tenant| tenant.name.as_str())
    }

    /// Every tenant.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        let named = self.config.tenants.iter();
        core::iter::once(config::DEFAULT_TENANT).chain(named.map(|tenant| tenant.name.as_str()))
    }

    /// The provider of a target.
    #[must_use]
    pub fn provider(&self, target: &ActiveTarget) -> Option<&ActiveProvider> {
        self.providers.get(target.provider)
    }

    /// An alias's deadlines, where it has its own, each no longer than the general ones.
    #[must_use]
    pub fn deadlines(&self, alias: &Alias) -> Deadlines {
        let general = self.config.deadlines;
        alias.deadlines.map_or(general, |own| Deadlines {
            whole_ms: own
                .whole_ms
                .or(general.whole_ms)
                .map(|whole| whole.min(general.whole_ms.unwrap_or(whole))),
            first_token_ms: own.first_token_ms.min(general.first_token_ms),
            adaptive_floor_ms: own
                .adaptive_floor_ms
                .or(general.adaptive_floor_ms)
                .map(|floor| floor.min(own.first_token_ms).min(general.first_token_ms)),
            idle_ms: own.idle_ms.min(general.idle_ms),
            total_ms: own.total_ms.min(general.total_ms),
        })
    }

    /// An alias's attempts and waits: its own where it has them, else the general ones.
    #[must_use]
    pub fn retry(&self, alias: &Alias) -> Retry {
        alias.retry.unwrap_or(self.config.retry)
    }
}

/// The embedded configuration of an environment, or in `test` the one that `GATEHOUSE_CONFIG` carries.
fn load(
    environment: Environment,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, SettingsFault> {
    let fault = |error: serde_json::Error| SettingsFault(format!("configuration: {error}"));
    if environment == Environment::Test
        && let Some(text) = variable(names::GATEHOUSE_CONFIG)
    {
        let config: Config = serde_json::from_str(&text).map_err(fault)?;
        let faults = config.faults();
        return if faults.is_empty() {
            Ok(config)
        } else {
            let reasons: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(SettingsFault(format!(
                "{}: {}",
                names::GATEHOUSE_CONFIG,
                reasons.join("; ")
            )))
        };
    }
    // Raw values: only the environment that is used is read in full.
    let all: BTreeMap<&str, &serde_json::value::RawValue> =
        serde_json::from_str(EMBEDDED).map_err(fault)?;
    let raw = all
        .get(environment.name())
        .ok_or_else(|| fault(serde_json::Error::custom("no such environment")))?;
    serde_json::from_str(raw.get()).map_err(fault)
}

/// The configuration of `development` as built: what host programs such as the site's builder read.
///
/// # Errors
/// Never for a library that was built: build.rs validated the text.
pub fn embedded() -> Result<Config, SettingsFault> {
    load(Environment::Development, &|_| None)
}

fn split_origins(text: &str) -> Result<Vec<String>, SettingsFault> {
    text.split(',')
        .map(str::trim)
        .filter(|origin| !origin.is_empty())
        .map(|origin| {
            if config::is_origin(origin) {
                Ok(origin.to_owned())
            } else {
                Err(SettingsFault(format!(
                    "{}: every entry must be scheme://host[:port]",
                    names::ALLOWED_ORIGINS
                )))
            }
        })
        .collect()
}

/// The variables of which one is enough to make a provider active.
fn activators(provider: &Provider) -> Vec<String> {
    provider
        .key
        .iter()
        .chain(&provider.base_url_var)
        .cloned()
        .collect()
}

fn activate(
    provider: &Provider,
    variable: &dyn Fn(&str) -> Option<String>,
    stored: &dyn Fn(&str) -> Option<Secret<String>>,
) -> Result<Option<ActiveProvider>, SettingsFault> {
    let set = |name: &Option<String>| {
        name.as_deref()
            .and_then(variable)
            .filter(|value| !value.trim().is_empty())
    };
    let key = set(&provider.key).map(|key| Secret::new(key.trim().to_owned()));
    let key = key.or_else(|| stored(&provider.name));
    let named_url = set(&provider.base_url_var).or_else(|| provider.base_url.clone());
    let active = provider.kind == ProviderKind::Builtin || key.is_some() || named_url.is_some();
    if !active {
        return Ok(None);
    }
    let base_url = named_url.unwrap_or_else(|| {
        match provider.kind {
            ProviderKind::Openai | ProviderKind::OpenaiResponses => OPENAI_BASE_URL,
            ProviderKind::Anthropic => ANTHROPIC_BASE_URL,
            ProviderKind::Builtin => "",
        }
        .to_owned()
    });
    let base_url = base_url.trim().trim_end_matches('/').to_owned();
    if provider.kind != ProviderKind::Builtin && !config::is_base_url(&base_url) {
        return Err(SettingsFault(format!(
            "provider {}: its base URL must be https://, or http:// on this machine or a private network",
            provider.name
        )));
    }
    Ok(Some(ActiveProvider {
        name: provider.name.clone(),
        kind: provider.kind,
        base_url,
        key,
    }))
}

fn resolve_alias(
    alias: &Alias,
    providers: &[ActiveProvider],
    variable: &dyn Fn(&str) -> Option<String>,
) -> ActiveAlias {
    let targets = alias
        .targets
        .iter()
        .filter_map(|target| {
            let provider = providers.iter().position(|p| p.name == target.provider)?;
            let model = target
                .model_var
                .as_deref()
                .and_then(variable)
                .filter(|model| !model.trim().is_empty())
                .or_else(|| target.model.clone())
                .unwrap_or_default();
            Some(ActiveTarget {
                provider,
                model,
                config: target.clone(),
            })
        })
        .collect();
    ActiveAlias {
        config: alias.clone(),
        targets,
    }
}

/// 32 bytes in base64url; not all zero.
fn master_key(text: &str) -> Option<Secret<Bytes32>> {
    let root: Bytes32 = from_base64url(text.trim().trim_end_matches('='))?
        .try_into()
        .ok()?;
    (root != [0; DIGEST_BYTES]).then(|| Secret::new(root))
}

fn derive_keys(root: &Bytes32) -> DerivedKeys {
    DerivedKeys {
        cookie: Secret::new(derive_key(root, "gatehouse/v1/cookie")),
        cache: Secret::new(derive_key(root, "gatehouse/v1/cache")),
        address: Secret::new(derive_key(root, "gatehouse/v1/address")),
    }
}

/// What a cached answer depends on beside the request: aliases, addresses and models, never keys.
fn digest(config: &Config, providers: &[ActiveProvider], aliases: &[ActiveAlias]) -> String {
    let mut text = serde_json::to_string(config).unwrap_or_default();
    for provider in providers {
        text.push_str(&provider.name);
        text.push('\n');
        text.push_str(&provider.base_url);
        text.push('\n');
    }
    for model in aliases
        .iter()
        .flat_map(|alias| &alias.targets)
        .map(|target| &target.model)
    {
        text.push_str(model);
        text.push('\n');
    }
    hex(&sha256(text.as_bytes())).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::{Environment, Settings, embedded, names};
    use crate::domain::settings::config::ProviderKind;

    fn with(pairs: &[(&str, &str)]) -> Settings {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect();
        Settings::resolve(&move |name| {
            pairs
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
        })
        .unwrap()
    }

    #[test]
    fn without_any_key_the_default_alias_is_the_built_in_answerer() {
        let settings = with(&[]);
        let alias = settings.default_alias().unwrap();
        assert_eq!(alias.config.name, "site");
        assert_eq!(
            settings.provider(&alias.targets[0]).unwrap().kind,
            ProviderKind::Builtin
        );
        assert!(settings.keys.is_none());
    }

    #[test]
    fn a_key_alone_activates_the_public_address() {
        let settings = with(&[("OPENAI_API_KEY", "sk-x"), ("OPENAI_MODEL", "gpt-test")]);
        let alias = settings.default_alias().unwrap();
        let provider = settings.provider(&alias.targets[0]).unwrap();
        assert_eq!(provider.base_url, "https://api.openai.com/v1");
        assert_eq!(alias.targets[0].model, "gpt-test");
    }

    #[test]
    fn a_base_url_alone_activates_a_local_model() {
        let settings = with(&[("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1/")]);
        let provider = &settings.providers[0];
        assert_eq!(provider.base_url, "http://127.0.0.1:11434/v1");
        assert!(provider.key.is_none());
    }

    #[test]
    fn plain_http_to_the_internet_is_refused() {
        let refused = Settings::resolve(&|name| {
            (name == "OPENAI_BASE_URL").then(|| "http://api.example.org/v1".into())
        });
        assert!(refused.is_err_and(|fault| fault.0.contains("openai")));
    }

    #[test]
    fn an_unknown_environment_is_production() {
        assert_eq!(
            Environment::from_name(Some("prod")),
            Environment::Production
        );
        assert_eq!(Environment::from_name(None), Environment::Production);
    }

    #[test]
    fn a_whole_configuration_is_taken_in_test_alone_and_validated() {
        let mut config = embedded().unwrap();
        config.site.title = "Replaced".into();
        let text = serde_json::to_string(&config).unwrap();
        let test = with(&[
            (names::ENVIRONMENT, "test"),
            (names::GATEHOUSE_CONFIG, &text),
        ]);
        assert_eq!(test.config.site.title, "Replaced");
        let production = with(&[
            (names::ENVIRONMENT, "production"),
            (names::GATEHOUSE_CONFIG, &text),
        ]);
        assert_ne!(production.config.site.title, "Replaced");

        config.aliases[0].targets[0].provider = "nobody".into();
        let text = serde_json::to_string(&config).unwrap();
        let refused = Settings::resolve(&|name| match name {
            names::ENVIRONMENT => Some("test".into()),
            names::GATEHOUSE_CONFIG => Some(text.clone()),
            _ => None,
        });
        assert!(refused.is_err_and(|fault| fault.0.contains("alias[0].target[0].provider")));
    }

    #[test]
    fn an_alias_lowers_deadlines_and_replaces_retries() {
        use super::config::{Deadlines, Retry};
        let mut settings = with(&[]);
        let general = Deadlines {
            adaptive_floor_ms: Some(2000),
            ..Deadlines::default()
        };
        settings.config.deadlines = general;
        let mut alias = settings.config.aliases[0].clone();
        assert_eq!(settings.deadlines(&alias), general);
        assert_eq!(settings.retry(&alias), Retry::default());

        alias.deadlines = Some(Deadlines {
            first_token_ms: 1500,
            whole_ms: None,
            adaptive_floor_ms: None,
            idle_ms: 60_000,
            total_ms: 9000,
        });
        let own = Retry {
            attempts: 7,
            ..Retry::default()
        };
        alias.retry = Some(own);
        let lowered = Deadlines {
            first_token_ms: 1500,
            whole_ms: None,
            adaptive_floor_ms: Some(1500),
            idle_ms: 30_000,
            total_ms: 9000,
        };
        assert_eq!(settings.deadlines(&alias), lowered);
        assert_eq!(settings.retry(&alias), own);
    }

    #[test]
    fn the_responses_api_has_openais_address() {
        let mut config = embedded().unwrap();
        config.providers[0].kind = ProviderKind::OpenaiResponses;
        config.aliases.retain(|alias| alias.name != "embed");
        let text = serde_json::to_string(&config).unwrap();
        let settings = with(&[
            (names::ENVIRONMENT, "test"),
            (names::GATEHOUSE_CONFIG, &text),
            ("OPENAI_API_KEY", "sk-x"),
        ]);
        let provider = &settings.providers[0];
        assert_eq!(provider.kind, ProviderKind::OpenaiResponses);
        assert_eq!(provider.base_url, "https://api.openai.com/v1");
    }

    #[test]
    fn a_target_keeps_its_configuration() {
        let settings = with(&[("ANTHROPIC_API_KEY", "sk-x")]);
        let target = &settings.aliases[0].targets[0];
        assert_eq!(target.config.provider, "anthropic");
        assert_eq!(target.config.weight, 1);
    }

    #[test]
    fn the_master_key_must_be_32_bytes() {
        assert!(with(&[(names::MASTER_KEY, "c2hvcnQ")]).keys.is_none());
        assert!(
            with(&[(names::MASTER_KEY, &format!("{}A", "B".repeat(42)))])
                .keys
                .is_some()
        );
    }

    #[test]
    fn the_digest_follows_models_and_never_keys() {
        let a = with(&[("OPENAI_API_KEY", "sk-x")]);
        let b = with(&[("OPENAI_API_KEY", "sk-y")]);
        let c = with(&[("OPENAI_API_KEY", "sk-x"), ("OPENAI_MODEL", "other")]);
        assert_eq!(a.digest, b.digest);
        assert_ne!(a.digest, c.digest);
    }
}
