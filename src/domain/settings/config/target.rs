//! Who answers for an alias.

use serde::{Deserialize, Serialize};

use super::alias::{Alias, Serves};
use super::fault::Faults;
use super::format::{VARIABLE_RULE, is_variable};
use super::provider::{Provider, ProviderKind};

/// `[[alias.target]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
    /// Share of the calls where the alias chooses `weighted`; 0 is only tried when the others fail.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Tokens that fit, input and output together; unknown when absent.
    #[serde(default)]
    pub context_tokens: Option<u64>,
    /// Most tokens that the model writes; unknown when absent.
    #[serde(default)]
    pub max_output_tokens: Option<u64>,
    /// Does the model go on from an assistant's text that stands last in the request? When absent it is asked to by an
    /// instruction, which every model understands.
    #[serde(default)]
    pub prefill: Option<bool>,
    /// How much the model can do, for aliases that choose `auto`.
    #[serde(default)]
    pub tier: Tier,
    /// What it can carry; the usual of its provider's kind when absent.
    #[serde(default)]
    pub capabilities: Option<Vec<Capability>>,
    /// Most calls at a time; no bound when absent.
    #[serde(default)]
    pub max_concurrent: Option<u32>,
    /// Most calls that wait for one of these places.
    #[serde(default = "default_queue")]
    pub queue: u32,
}

const fn default_weight() -> u32 {
    1
}

const fn default_queue() -> u32 {
    16
}

/// How much a model can do, in rising order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Quick and cheap.
    Small,
    /// Between the two.
    #[default]
    Medium,
    /// The strongest.
    Large,
}

impl Tier {
    /// The word in `gatehouse.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }
}

/// What a target can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Pictures in the input.
    Images,
    /// Documents in the input.
    Files,
    /// Audio in or out.
    Audio,
    /// Tools that the caller runs.
    Tools,
    /// Answers that follow a JSON schema.
    JsonSchema,
    /// Answers that are some JSON object.
    JsonObject,
    /// Thinking that the caller can ask for.
    Reasoning,
    /// Streamed answers.
    Streaming,
    /// Several tool calls in one answer.
    ParallelTools,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Self; 9] = [
        Self::Images,
        Self::Files,
        Self::Audio,
        Self::Tools,
        Self::JsonSchema,
        Self::JsonObject,
        Self::Reasoning,
        Self::Streaming,
        Self::ParallelTools,
    ];

    /// The word in `gatehouse.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Files => "files",
            Self::Audio => "audio",
            Self::Tools => "tools",
            Self::JsonSchema => "json_schema",
            Self::JsonObject => "json_object",
            Self::Reasoning => "reasoning",
            Self::Streaming => "streaming",
            Self::ParallelTools => "parallel_tools",
        }
    }
}

impl Target {
    pub(super) fn check(
        &self,
        alias: &Alias,
        providers: &[Provider],
        path: &str,
        faults: &mut Faults,
    ) {
        let key = |name: &str| format!("{path}.{name}");
        let Some(provider) = providers.iter().find(|p| p.name == self.provider) else {
            faults.add(
                key("provider"),
                format!("there is no provider named \"{}\"", self.provider),
            );
            return;
        };
        if let Some(variable) = &self.model_var {
            faults.unless(is_variable(variable), key("model_var"), VARIABLE_RULE);
        }
        if provider.kind == ProviderKind::Builtin {
            faults.unless(
                self.model.is_none(),
                key("model"),
                "the built-in answerer has no models",
            );
        } else {
            faults.unless(
                self.model.as_deref().is_some_and(|m| !m.is_empty()),
                key("model"),
                "names the provider's model and is required",
            );
        }
        if alias.serves != Serves::Chat {
            faults.unless(
                provider.kind == ProviderKind::Openai,
                key("provider"),
                format!("{} need a provider of kind \"openai\"", alias.serves.name()),
            );
        }
        self.check_numbers(&key, faults);
    }

    fn check_numbers(&self, key: &dyn Fn(&str) -> String, faults: &mut Faults) {
        faults.within(key("weight"), u64::from(self.weight), 0, 1_000_000);
        faults.within(key("queue"), u64::from(self.queue), 0, 1000);
        if let Some(most) = self.max_concurrent {
            faults.within(key("max_concurrent"), u64::from(most), 1, 10_000);
        }
        if let Some(tokens) = self.context_tokens {
            faults.within(key("context_tokens"), tokens, 256, 100_000_000);
        }
        if let Some(tokens) = self.max_output_tokens {
            faults.within(key("max_output_tokens"), tokens, 1, 10_000_000);
        }
        if let (Some(context), Some(output)) = (self.context_tokens, self.max_output_tokens) {
            faults.unless(
                output <= context,
                key("max_output_tokens"),
                "must not be more than context_tokens",
            );
        }
        for (i, capability) in self.capabilities.iter().flatten().enumerate() {
            faults.unless(
                !self
                    .capabilities
                    .iter()
                    .flatten()
                    .take(i)
                    .any(|c| c == capability),
                key(&format!("capabilities[{i}]")),
                "stands twice",
            );
        }
    }
}
