//! The shape of `gatehouse.toml`, and what makes it valid.
//!
//! This file uses nothing but `serde` and the standard library: build.rs includes it too, so that a wrong file
//! fails the build with the very checks that the Worker would apply.

use serde::{Deserialize, Serialize};

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
    /// The document store.
    #[serde(default)]
    pub documents: Documents,
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
}

impl Default for Server {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            max_body_bytes: 1_048_576, // 1 MiB = 1024 × 1024
        }
    }
}

/// `[deadlines]`, in milliseconds; an alias may lower them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// From sending the request to the first byte of the answer's body.
    pub first_byte_ms: u64,
    /// Between two pieces of a streamed answer.
    pub idle_ms: u64,
    /// From sending the request to the last byte.
    pub total_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            first_byte_ms: 30_000,
            idle_ms: 30_000,
            total_ms: 300_000, // 5 min × 60 s × 1000
        }
    }
}

/// What protocol a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// OpenAI's chat completions and embeddings: OpenAI itself, Ollama, llama.cpp, vLLM and many more.
    Openai,
    /// Anthropic's messages.
    Anthropic,
    /// The built-in answerer: quotes the site's own pages, needs no network.
    Builtin,
}

/// `[[provider]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The name that targets use.
    pub name: String,
    /// The protocol.
    pub kind: ProviderKind,
    /// Address of the API; with `/v1` for `openai`, without for `anthropic`, as their SDKs have it.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Variable that overrides `base_url`.
    #[serde(default)]
    pub base_url_var: Option<String>,
    /// Name of the secret that holds the key.
    #[serde(default)]
    pub key: Option<String>,
}

/// `[[alias]]`: what a caller may name as a model.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The id that callers send and `GET /v1/models` lists.
    pub name: String,
    /// A name for people.
    #[serde(default)]
    pub title: Option<String>,
    /// May visitors without a credential call it?
    #[serde(default)]
    pub public: bool,
    /// What the alias serves.
    #[serde(default)]
    pub serves: Serves,
    /// Put before whatever the caller sends.
    #[serde(default)]
    pub system: Option<String>,
    /// Ceiling and default for output tokens.
    #[serde(default = "default_max_output_tokens")]
    pub max_output_tokens: u64,
    /// Ceiling for the bytes of all message text.
    #[serde(default = "default_max_input_bytes")]
    pub max_input_bytes: u64,
    /// Ceiling for `temperature`.
    #[serde(default = "default_max_temperature")]
    pub max_temperature: f64,
    /// Parameters that cost or reach further than a chat (`tools`, `n`, `store`, `service_tier`, …) and may pass all the same.
    #[serde(default)]
    pub allow_parameters: Vec<String>,
    /// When answers are kept.
    #[serde(default)]
    pub cache: CachePolicy,
    /// Deadlines of this alias, where they differ.
    #[serde(default)]
    pub deadlines: Option<Deadlines>,
    /// Who answers: the first target whose provider is active and speaks the caller's protocol.
    #[serde(rename = "target")]
    pub targets: Vec<Target>,
}

const fn default_max_output_tokens() -> u64 {
    1024
}

const fn default_max_input_bytes() -> u64 {
    65_536 // 64 KiB, about 16,000 tokens of English
}

const fn default_max_temperature() -> f64 {
    2.0
}

/// What an alias serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Serves {
    /// Chat completions and messages.
    #[default]
    Chat,
    /// Embeddings.
    Embeddings,
}

/// When an answer is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePolicy {
    /// Never.
    Never,
    /// When the request asks for temperature 0 (and for embeddings).
    #[default]
    Deterministic,
    /// Always: the operator accepts that the same question gets the same answer.
    Always,
}

/// `[[alias.target]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name of a provider.
    pub provider: String,
    /// The provider's model; the built-in answerer has none.
    #[serde(default)]
    pub model: Option<String>,
    /// Variable that overrides `model`.
    #[serde(default)]
    pub model_var: Option<String>,
}

/// `[[price]]`, in US dollars per million tokens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The provider's model.
    pub model: String,
    /// Input.
    pub input: f64,
    /// Output.
    pub output: f64,
    /// Input read from the provider's prompt cache; the same as `input` when absent.
    #[serde(default)]
    pub cached_input: Option<f64>,
}

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

/// `[cache]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// How long an answer is kept, in seconds; KV accepts no less than 60.
    pub ttl_seconds: u64,
    /// Largest answer that is kept, in bytes.
    pub max_entry_bytes: u64,
    /// New entries that one client may cause in an hour.
    pub writes_per_hour: u32,
    /// Entries kept in the memory of one isolate.
    pub isolate_entries: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            ttl_seconds: 3600,
            max_entry_bytes: 262_144, // 256 KiB
            writes_per_hour: 120,
            isolate_entries: 256,
        }
    }
}

/// `[documents]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Documents {
    /// Largest document in bytes.
    pub max_bytes: u64,
    /// Documents of one visitor.
    pub max_count: u32,
    /// Bytes of one visitor's documents.
    pub max_visitor_bytes: u64,
    /// Bytes of all documents of one network (a new cookie is no new quota).
    pub max_network_bytes: u64,
    /// Bytes of all documents of anonymous visitors.
    pub max_site_bytes: u64,
    /// How long an anonymous visitor's document is kept, in seconds.
    pub ttl_seconds: u64,
    /// Accepted content types; `text/*` accepts a whole family.
    pub types: Vec<String>,
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            max_bytes: 26_214_400, // 25 MiB = 25 × 1024 × 1024
            max_count: 100,
            max_visitor_bytes: 104_857_600, // 100 MiB
            max_network_bytes: 524_288_000, // 500 MiB
            max_site_bytes: 10_737_418_240, // 10 GiB
            ttl_seconds: 604_800,           // 7 d × 86,400 s
            types: [
                "text/*",
                "application/json",
                "application/jsonl",
                "application/pdf",
                "image/png",
                "image/jpeg",
                "image/gif",
                "image/webp",
            ]
            .map(String::from)
            .to_vec(),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Path of the key, e.g. `alias[1].target[0].provider`.
    pub key: String,
    /// Why the value cannot stand.
    pub reason: String,
}

impl std::fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

impl Config {
    /// Everything that is wrong and that the types alone cannot say.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = Faults::default();
        self.check_site(&mut faults);
        self.check_server(&mut faults);
        check_deadlines("deadlines", &self.deadlines, &mut faults);
        self.check_providers(&mut faults);
        self.check_aliases(&mut faults);
        self.check_prices(&mut faults);
        self.check_limits(&mut faults);
        self.check_access(&mut faults);
        self.check_stores(&mut faults);
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
    }

    fn check_providers(&self, faults: &mut Faults) {
        for (i, provider) in self.providers.iter().enumerate() {
            let key = |name: &str| format!("provider[{i}].{name}");
            faults.unless(is_name(&provider.name), key("name"), NAME_RULE);
            faults.unless(
                self.providers
                    .iter()
                    .take(i)
                    .all(|p| p.name != provider.name),
                key("name"),
                "stands twice",
            );
            if let Some(url) = &provider.base_url {
                faults.unless(is_base_url(url), key("base_url"), BASE_URL_RULE);
            }
            for (name, value) in [
                ("key", &provider.key),
                ("base_url_var", &provider.base_url_var),
            ] {
                if let Some(value) = value {
                    faults.unless(is_variable(value), key(name), VARIABLE_RULE);
                }
            }
            if provider.kind == ProviderKind::Builtin {
                faults.unless(
                    provider.base_url.is_none()
                        && provider.base_url_var.is_none()
                        && provider.key.is_none(),
                    key("kind"),
                    "the built-in answerer takes no base_url, base_url_var or key",
                );
            }
        }
    }

    fn check_aliases(&self, faults: &mut Faults) {
        faults.unless(
            self.aliases.iter().any(|a| a.serves == Serves::Chat),
            "alias",
            "at least one alias must serve chat",
        );
        for (i, alias) in self.aliases.iter().enumerate() {
            let key = |name: &str| format!("alias[{i}].{name}");
            faults.unless(is_name(&alias.name), key("name"), NAME_RULE);
            faults.unless(
                self.aliases.iter().take(i).all(|a| a.name != alias.name),
                key("name"),
                "stands twice",
            );
            faults.unless(
                (1..=1_000_000).contains(&alias.max_output_tokens),
                key("max_output_tokens"),
                "must lie between 1 and 1000000",
            );
            faults.unless(
                (1..=26_214_400).contains(&alias.max_input_bytes),
                key("max_input_bytes"),
                "must lie between 1 and 26214400",
            );
            faults.unless(
                (0.0..=2.0).contains(&alias.max_temperature),
                key("max_temperature"),
                "must lie between 0 and 2",
            );
            if let Some(deadlines) = &alias.deadlines {
                check_deadlines(&key("deadlines"), deadlines, faults);
            }
            faults.unless(
                !alias.targets.is_empty(),
                key("target"),
                "needs at least one target",
            );
            for (j, target) in alias.targets.iter().enumerate() {
                self.check_target(alias, target, &format!("alias[{i}].target[{j}]"), faults);
            }
        }
    }

    fn check_target(&self, alias: &Alias, target: &Target, path: &str, faults: &mut Faults) {
        let Some(provider) = self.providers.iter().find(|p| p.name == target.provider) else {
            faults.add(
                format!("{path}.provider"),
                format!("there is no provider named \"{}\"", target.provider),
            );
            return;
        };
        if let Some(variable) = &target.model_var {
            faults.unless(
                is_variable(variable),
                format!("{path}.model_var"),
                VARIABLE_RULE,
            );
        }
        let named = target.model.as_deref().is_some_and(|m| !m.is_empty());
        if provider.kind == ProviderKind::Builtin {
            faults.unless(
                target.model.is_none(),
                format!("{path}.model"),
                "the built-in answerer has no models",
            );
        } else {
            faults.unless(
                named,
                format!("{path}.model"),
                "names the provider's model and is required",
            );
        }
        if alias.serves == Serves::Embeddings {
            faults.unless(
                provider.kind == ProviderKind::Openai,
                format!("{path}.provider"),
                "embeddings need a provider of kind \"openai\"",
            );
        }
    }

    fn check_prices(&self, faults: &mut Faults) {
        for (i, price) in self.prices.iter().enumerate() {
            let sane = |p: f64| (0.0..=100_000.0).contains(&p);
            faults.unless(
                sane(price.input) && sane(price.output) && price.cached_input.is_none_or(sane),
                format!("price[{i}]"),
                "prices are US dollars per million tokens, between 0 and 100000",
            );
            faults.unless(
                self.prices.iter().take(i).all(|p| p.model != price.model),
                format!("price[{i}].model"),
                "stands twice",
            );
        }
    }

    fn check_limits(&self, faults: &mut Faults) {
        for class in LimitClass::ALL {
            let count = self.limits.iter().filter(|l| l.class == class).count();
            faults.unless(
                count == 1,
                "limit",
                format!("class {class:?} needs exactly one entry, there are {count}")
                    .to_lowercase(),
            );
        }
        for (i, limit) in self.limits.iter().enumerate() {
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

    fn check_access(&self, faults: &mut Faults) {
        for (name, list) in [("allow", &self.access.allow), ("deny", &self.access.deny)] {
            for (i, cidr) in list.iter().enumerate() {
                faults.unless(
                    is_cidr(cidr),
                    format!("access.{name}[{i}]"),
                    "must be an address or a CIDR block such as 192.0.2.0/24 or 2001:db8::/32",
                );
            }
        }
        let countries = [
            ("allow_countries", &self.access.allow_countries),
            ("deny_countries", &self.access.deny_countries),
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

    fn check_stores(&self, faults: &mut Faults) {
        faults.unless(
            (60..=31_536_000).contains(&self.cache.ttl_seconds),
            "cache.ttl_seconds",
            "must lie between 60 (what KV accepts) and 31536000",
        );
        faults.unless(
            (1..=25_000_000).contains(&self.cache.max_entry_bytes),
            "cache.max_entry_bytes",
            "must lie between 1 and 25000000 (KV's limit is 25 MiB)",
        );
        faults.unless(
            self.cache.isolate_entries <= 10_000,
            "cache.isolate_entries",
            "must be at most 10000",
        );
        let documents = &self.documents;
        faults.unless(
            (1..=5_000_000_000).contains(&documents.max_bytes),
            "documents.max_bytes",
            "must lie between 1 and 5000000000",
        );
        faults.unless(
            documents.max_bytes <= documents.max_visitor_bytes
                && documents.max_visitor_bytes <= documents.max_network_bytes
                && documents.max_network_bytes <= documents.max_site_bytes,
            "documents",
            "needs max_bytes ≤ max_visitor_bytes ≤ max_network_bytes ≤ max_site_bytes",
        );
        faults.unless(
            (60..=31_536_000).contains(&documents.ttl_seconds),
            "documents.ttl_seconds",
            "must lie between 60 and 31536000",
        );
        faults.unless(
            (1..=10_000).contains(&documents.max_count),
            "documents.max_count",
            "must lie between 1 and 10000",
        );
        for (i, content_type) in documents.types.iter().enumerate() {
            faults.unless(
                content_type.split_once('/').is_some_and(|(a, b)| {
                    !a.is_empty()
                        && !b.is_empty()
                        && content_type.bytes().all(|c| c.is_ascii_graphic())
                }),
                format!("documents.types[{i}]"),
                "must be a content type such as text/plain or text/*",
            );
        }
    }
}

const NAME_RULE: &str = "must be 1 to 64 characters of a-z, 0-9, '-', '_' and '.'";
const VARIABLE_RULE: &str =
    "must be the name of a variable: A-Z, 0-9 and '_', not the value itself";
const BASE_URL_RULE: &str = "must be https://host[:port][/path] without query, or http:// for this machine or a private network";

#[derive(Default)]
struct Faults(Vec<ConfigFault>);

impl Faults {
    fn add(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        self.0.push(ConfigFault {
            key: key.into(),
            reason: reason.into(),
        });
    }

    fn unless(&mut self, holds: bool, key: impl Into<String>, reason: impl Into<String>) {
        if !holds {
            self.add(key, reason);
        }
    }
}

fn check_deadlines(path: &str, deadlines: &Deadlines, faults: &mut Faults) {
    let sane = |ms: u64| (100..=900_000).contains(&ms);
    faults.unless(
        sane(deadlines.first_byte_ms) && sane(deadlines.idle_ms) && sane(deadlines.total_ms),
        path,
        "each deadline must lie between 100 and 900000 ms",
    );
    faults.unless(
        deadlines.total_ms >= deadlines.first_byte_ms,
        format!("{path}.total_ms"),
        "must not be shorter than first_byte_ms",
    );
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.')
        })
}

fn is_variable(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// An origin as browsers send it: scheme, host and port, in lower case, nothing after.
#[must_use]
pub fn is_origin(origin: &str) -> bool {
    let rest = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    rest.is_some_and(|host| {
        !host.is_empty()
            && host.bytes().all(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
            })
    })
}

/// A provider's address: https anywhere, plain http only where it cannot leave the private network.
#[must_use]
pub fn is_base_url(url: &str) -> bool {
    let clean = url
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'@' | b'\\'));
    let host_of = |rest: &str| {
        let authority = rest.split('/').next().unwrap_or_default().to_owned();
        match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default().to_owned(),
            None => authority.split(':').next().unwrap_or_default().to_owned(),
        }
    };
    if !clean {
        return false;
    }
    if let Some(rest) = url.strip_prefix("https://") {
        return !host_of(rest).is_empty();
    }
    url.strip_prefix("http://")
        .is_some_and(|rest| is_private_host(&host_of(rest)))
}

fn is_private_host(host: &str) -> bool {
    if host == "localhost"
        || host.ends_with(".localhost")
        || host.ends_with(".internal")
        || host.ends_with(".local")
    {
        return true;
    }
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => false,
    }
}

fn is_cidr(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        return false;
    };
    let widest = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|p| p.parse::<u8>().is_ok_and(|p| p <= widest))
}

#[cfg(test)]
mod tests {
    use super::{is_base_url, is_cidr, is_origin};

    #[test]
    fn base_urls_are_https_or_stay_at_home() {
        for url in [
            "https://api.openai.com/v1",
            "http://127.0.0.1:11434/v1",
            "http://localhost:8080",
            "http://[::1]:8080/v1",
            "http://10.1.2.3/v1",
        ] {
            assert!(is_base_url(url), "{url}");
        }
        for url in [
            "http://api.openai.com/v1",
            "https://user@host/v1",
            "https:///v1",
            "ftp://x",
            "https://x/v1?key=1",
            "http://127.0.0.1.evil.example/v1",
        ] {
            assert!(!is_base_url(url), "{url}");
        }
    }

    #[test]
    fn origins_have_no_path() {
        assert!(is_origin("https://example.org"));
        assert!(is_origin("http://localhost:3000"));
        for bad in [
            "https://example.org/",
            "example.org",
            "https://",
            "*",
            "null",
            "https://Example.org",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn cidr_blocks() {
        assert!(is_cidr("192.0.2.0/24") && is_cidr("2001:db8::/32") && is_cidr("192.0.2.1"));
        assert!(!is_cidr("192.0.2.0/33") && !is_cidr("x/8") && !is_cidr("192.0.2.0/"));
    }
}
