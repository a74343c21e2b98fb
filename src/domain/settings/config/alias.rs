//! What a caller may name as a model, and how its calls are handled.

use serde::{Deserialize, Serialize};

use super::Config;
use super::allowance::Allowance;
use super::fault::Faults;
use super::format::{NAME_RULE, is_name};
use super::patience::{Deadlines, Retry};
use super::principals::DEFAULT_TENANT;
use super::target::Target;

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
    /// Do visitors need a session (`POST /api/session`)?
    #[serde(default)]
    pub session: bool,
    /// Tenants that may call it; all when empty.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// What all of its callers together may use.
    #[serde(default)]
    pub allowance: Allowance,
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
    /// Attempts and waits of this alias, in place of the general ones.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// In which order targets are tried.
    #[serde(default)]
    pub choose: Choose,
    /// What `auto` aims at when the caller does not say.
    #[serde(default)]
    pub prefer: Prefer,
    /// May an answer that broke after its first token go on with the next target?
    #[serde(default)]
    pub rescue: bool,
    /// Start a second target when the first token is late?
    #[serde(default)]
    pub hedge: bool,
    /// What may answer when every target is down, in order.
    #[serde(default)]
    pub last_resort: Vec<LastResort>,
    /// Do streams go on without their client, to be read again?
    #[serde(default)]
    pub resumable: bool,
    /// What happens to a field that the target's protocol cannot carry.
    #[serde(default)]
    pub on_unsupported: OnUnsupported,
    /// What happens to a conversation that does not fit the target's context.
    #[serde(default)]
    pub on_overflow: OnOverflow,
    /// Shorten whitespace, repeated context and old turns?
    #[serde(default)]
    pub compact: bool,
    /// Check answers against the caller's JSON schema, and ask once more when one does not follow it?
    #[serde(default)]
    pub validate_schema: bool,
    /// May answers of the Responses API be kept for `GET /v1/responses/{id}`?
    #[serde(default = "yes")]
    pub store_responses: bool,
    /// May answers use what their caller wants remembered?
    #[serde(default)]
    pub memories: bool,
    /// Vector stores that every answer may quote, each as `KEY_ID/vs_…`: the API key that owns it, and its id.
    #[serde(default)]
    pub stores: Vec<String>,
    /// Who goes first where a target's places are taken.
    #[serde(default)]
    pub priority: Priority,
    /// Answer from the cache when a similar question was asked before?
    #[serde(default)]
    pub similar: Option<Similar>,
    /// Who answers.
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

const fn yes() -> bool {
    true
}

/// What an alias serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Serves {
    /// Chat completions, responses and messages.
    #[default]
    Chat,
    /// Embeddings.
    Embeddings,
    /// Judging texts and pictures.
    Moderations,
    /// Making and changing pictures.
    Images,
    /// Reading text aloud.
    Speech,
    /// Writing down speech.
    Transcriptions,
}

impl Serves {
    /// The word in `gatehouse.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Images => "images",
            Self::Speech => "speech",
            Self::Transcriptions => "transcriptions",
        }
    }
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

/// In which order targets are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// As they stand.
    #[default]
    Order,
    /// At random, by weight.
    Weighted,
    /// By what the request is like.
    Auto,
}

/// What `auto` aims at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// The better model in case of doubt.
    #[default]
    Quality,
    /// The quicker one.
    Latency,
    /// The cheaper one.
    Cost,
}

impl Prefer {
    /// The word in `gatehouse.toml` and in the request header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Latency => "latency",
            Self::Cost => "cost",
        }
    }

    /// Reads that word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Quality, Self::Latency, Self::Cost]
            .into_iter()
            .find(|prefer| prefer.name() == name)
    }
}

/// What may answer when every target is down. Either is marked as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LastResort {
    /// A cached answer that is past its time.
    Stale,
    /// The built-in answerer.
    Builtin,
}

/// What happens to a field that the target's protocol cannot carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnsupported {
    /// The call is refused, and the field named.
    #[default]
    Refuse,
    /// The field is left out, and a header says so.
    Drop,
}

/// What happens to a conversation that does not fit the target's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOverflow {
    /// The call is refused with the counts.
    #[default]
    Refuse,
    /// The oldest turns are left out.
    Trim,
}

/// Who goes first where a target's places are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// Nobody does.
    Batch,
}

/// `similar`: answers of similar questions, never across principals unless the alias is public.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Similar {
    /// The alias that makes the embeddings.
    #[serde(default = "default_similar_alias")]
    pub alias: String,
    /// Least cosine of the two questions.
    #[serde(default = "default_threshold")]
    pub threshold: f64,
    /// Questions kept in a partition; the oldest goes out.
    #[serde(default = "default_max_entries")]
    pub max_entries: usize,
}

fn default_similar_alias() -> String {
    "embed".into()
}

const fn default_threshold() -> f64 {
    0.95
}

const fn default_max_entries() -> usize {
    200
}

pub(super) fn check_aliases(config: &Config, faults: &mut Faults) {
    let aliases = &config.aliases;
    faults.unless(
        aliases.iter().any(|a| a.serves == Serves::Chat),
        "alias",
        "at least one alias must serve chat",
    );
    for (i, alias) in aliases.iter().enumerate() {
        let path = format!("alias[{i}]");
        faults.unless(
            aliases.iter().take(i).all(|a| a.name != alias.name),
            format!("{path}.name"),
            "stands twice",
        );
        alias.check(&path, faults);
        alias.check_chat_alone(&path, faults);
        if let Some(similar) = &alias.similar {
            similar.check(aliases, &format!("{path}.similar"), faults);
        }
        for (j, target) in alias.targets.iter().enumerate() {
            let path = format!("{path}.target[{j}]");
            target.check(alias, &config.providers, &path, faults);
        }
        alias.allowance.check(&format!("{path}.allowance"), faults);
        for tenant in &alias.tenants {
            let known =
                tenant == DEFAULT_TENANT || config.tenants.iter().any(|t| t.name == *tenant);
            faults.unless(
                known,
                format!("{path}.tenants"),
                format!("there is no tenant {tenant}"),
            );
        }
    }
}

impl Alias {
    fn check(&self, path: &str, faults: &mut Faults) {
        let key = |name: &str| format!("{path}.{name}");
        faults.unless(is_name(&self.name), key("name"), NAME_RULE);
        faults.within(
            key("max_output_tokens"),
            self.max_output_tokens,
            1,
            1_000_000,
        );
        faults.within(key("max_input_bytes"), self.max_input_bytes, 1, 26_214_400);
        faults.unless(
            (0.0..=2.0).contains(&self.max_temperature),
            key("max_temperature"),
            "must lie between 0 and 2",
        );
        if let Some(deadlines) = &self.deadlines {
            deadlines.check(&key("deadlines"), faults);
        }
        if let Some(retry) = &self.retry {
            retry.check(&key("retry"), faults);
        }
        faults.unless(
            !self.targets.is_empty(),
            key("target"),
            "needs at least one target",
        );
        faults.unless(
            self.choose != Choose::Weighted
                || self.targets.is_empty()
                || self.targets.iter().any(|target| target.weight > 0),
            key("choose"),
            "needs a target with a weight above 0",
        );
        faults.unless(
            self.stores.len() <= 4,
            key("stores"),
            "must be at most 4: each is asked with every call",
        );
        for (i, store) in self.stores.iter().enumerate() {
            let parts = store.split_once('/');
            let fine = parts.is_some_and(|(owner, id)| {
                !owner.is_empty()
                    && owner.bytes().all(|b| b.is_ascii_alphanumeric())
                    && id.starts_with("vs_")
            });
            faults.unless(
                fine,
                key(&format!("stores[{i}]")),
                "must be the id of an API key and of its vector store, such as 4fJ2kQ9x/vs_…",
            );
        }
        for (i, resort) in self.last_resort.iter().enumerate() {
            faults.unless(
                !self.last_resort.iter().take(i).any(|r| r == resort),
                key(&format!("last_resort[{i}]")),
                "stands twice",
            );
        }
    }

    /// What would do nothing must not stand there as if it did.
    fn check_chat_alone(&self, path: &str, faults: &mut Faults) {
        if self.serves == Serves::Chat {
            return;
        }
        let set = [
            ("choose", self.choose == Choose::Auto),
            ("rescue", self.rescue),
            ("hedge", self.hedge),
            ("last_resort", !self.last_resort.is_empty()),
            ("resumable", self.resumable),
            ("on_overflow", self.on_overflow != OnOverflow::Refuse),
            ("compact", self.compact),
            ("validate_schema", self.validate_schema),
            ("similar", self.similar.is_some()),
            ("stores", !self.stores.is_empty()),
        ];
        for (name, is_set) in set {
            faults.unless(
                !is_set,
                format!("{path}.{name}"),
                "is for aliases that serve chat",
            );
        }
    }
}

impl Similar {
    fn check(&self, aliases: &[Alias], path: &str, faults: &mut Faults) {
        faults.unless(
            aliases
                .iter()
                .any(|alias| alias.name == self.alias && alias.serves == Serves::Embeddings),
            format!("{path}.alias"),
            "must name an alias that serves embeddings",
        );
        // Below one half two questions share little more than their language.
        faults.unless(
            (0.5..=1.0).contains(&self.threshold),
            format!("{path}.threshold"),
            "must lie between 0.5 and 1",
        );
        faults.unless(
            (1..=2000).contains(&self.max_entries),
            format!("{path}.max_entries"),
            "must lie between 1 and 2000",
        );
    }
}
