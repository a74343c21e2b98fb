//! What a target can carry, what a request needs, and what `GET /v1/models` tells of an alias.

use serde_json::{Map, Value, json};

use crate::base::time::Millis;
use crate::domain::llm::normal::conversation::{Conversation, Effort, Format, Part};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::{Protocol, price};
use crate::domain::settings::config::{Alias, Capability, Price, ProviderKind, Serves, Target};
use crate::domain::settings::{ActiveAlias, Settings};

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u16);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | bit(capability))
    }

    /// Is it in the set?
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & bit(capability) != 0
    }

    /// What is in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of `needs` is not in this set.
    #[must_use]
    pub const fn lacks(self, needs: Self) -> Self {
        Self(needs.0 & !self.0)
    }

    /// Has it nothing?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members, in the order of [`Capability::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .into_iter()
            .filter(move |capability| self.has(*capability))
    }
}

const fn bit(capability: Capability) -> u16 {
    match capability {
        Capability::Images => 1,
        Capability::Files => 2,
        Capability::Audio => 4,
        Capability::Tools => 8,
        Capability::JsonSchema => 16,
        Capability::JsonObject => 32,
        Capability::Reasoning => 64,
        Capability::Streaming => 128,
        Capability::ParallelTools => 256,
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        iter.into_iter().fold(Self::NONE, Self::with)
    }
}

/// What a target can carry: as configured, else the usual of its provider's kind.
#[must_use]
pub fn of(kind: ProviderKind, target: &Target) -> Capabilities {
    match &target.capabilities {
        Some(list) => list.iter().copied().collect(),
        None => usual(kind),
    }
}

/// What an alias refuses, whatever its targets could carry: pictures, files and sound need `images` among its
/// `allow_parameters`.
fn refused(alias: &Alias) -> Capabilities {
    if alias.allow_parameters.iter().any(|name| name == "images") {
        return Capabilities::NONE;
    }
    Capabilities::NONE
        .with(Capability::Images)
        .with(Capability::Files)
        .with(Capability::Audio)
}

/// The usual of a kind. Audio is never usual: few models take it. Anthropic's messages have no "some JSON object".
#[must_use]
pub fn usual(kind: ProviderKind) -> Capabilities {
    let most = Capabilities::NONE
        .with(Capability::Images)
        .with(Capability::Files)
        .with(Capability::Tools)
        .with(Capability::JsonSchema)
        .with(Capability::Reasoning)
        .with(Capability::Streaming)
        .with(Capability::ParallelTools);
    match kind {
        ProviderKind::Openai | ProviderKind::OpenaiResponses => most.with(Capability::JsonObject),
        ProviderKind::Anthropic => most,
        ProviderKind::Builtin => Capabilities::NONE.with(Capability::Streaming),
    }
}

/// What carrying a conversation takes. Streaming is not among it: a stream can be written from a whole answer.
#[must_use]
pub fn needs(conversation: &Conversation) -> Capabilities {
    let turns = conversation.turns.iter().flat_map(|turn| &turn.parts);
    let content = conversation
        .system
        .iter()
        .chain(turns)
        .fold(Capabilities::NONE, |set, part| set.or(needs_of(part)));
    let format = match conversation.format {
        Format::Text => None,
        Format::JsonObject => Some(Capability::JsonObject),
        Format::Schema { .. } => Some(Capability::JsonSchema),
    };
    let tools = (!conversation.tools.is_empty()).then_some(Capability::Tools);
    // Only the wish for several at once needs it; the wish for at most one is about tools.
    let parallel = (tools.is_some() && conversation.parallel_tools == Some(true))
        .then_some(Capability::ParallelTools);
    let thinking = conversation.reasoning.as_ref().is_some_and(|reasoning| {
        reasoning.adaptive
            || reasoning.budget_tokens.is_some_and(|tokens| tokens > 0)
            || reasoning.effort.is_some_and(|e| e != Effort::None)
    });
    let unplaced = conversation
        .unplaced
        .iter()
        .filter_map(|unplaced| match unplaced.feature {
            Feature::Image => Some(Capability::Images),
            Feature::File => Some(Capability::Files),
            Feature::Audio => Some(Capability::Audio),
            _ => None,
        });
    format
        .into_iter()
        .chain(tools)
        .chain(parallel)
        .chain(thinking.then_some(Capability::Reasoning))
        .chain(unplaced)
        .fold(content, Capabilities::with)
}

fn needs_of(part: &Part) -> Capabilities {
    match part {
        Part::Image { .. } => Capabilities::NONE.with(Capability::Images),
        Part::File { .. } => Capabilities::NONE.with(Capability::Files),
        Part::ToolCall(_) => Capabilities::NONE.with(Capability::Tools),
        Part::ToolResult { content, .. } => content
            .iter()
            .fold(Capabilities::NONE.with(Capability::Tools), |set, part| {
                set.or(needs_of(part))
            }),
        Part::Text { .. } | Part::Reasoning(_) | Part::Refusal(_) | Part::Media => {
            Capabilities::NONE
        }
    }
}

/// What `GET /v1/models` tells of an alias in its namespaced field.
///
/// An alias can do what at least one of its active targets can and it does not refuse itself: targets that cannot carry a
/// request are passed over. So capabilities are a union, and the context and the output ceiling are those of the largest target whose size is
/// known. The built-in answerer counts only where it answers alone. Prices are those of the targets in their order,
/// each once, without the names of the provider's models.
#[must_use]
pub fn describe(settings: &Settings, alias: &ActiveAlias, now: Millis) -> Value {
    let of_kind = |builtin: bool| {
        alias.targets.iter().filter_map(move |target| {
            let provider = settings.provider(target)?;
            ((provider.kind == ProviderKind::Builtin) == builtin).then_some((provider, target))
        })
    };
    let mut active: Vec<_> = of_kind(false).collect();
    if active.is_empty() {
        active = of_kind(true).collect();
    }
    let is_chat = alias.config.serves == Serves::Chat;
    let carried = active
        .iter()
        .filter(|_| is_chat)
        .fold(Capabilities::NONE, |set, (provider, target)| {
            set.or(of(provider.kind, &target.config))
        });
    let capabilities = refused(&alias.config).lacks(carried);
    let largest = |size: fn(&Target) -> Option<u64>| {
        active
            .iter()
            .filter_map(|(_, target)| size(&target.config))
            .max()
    };
    // No target writes more than the alias lets it.
    let output = largest(|target| target.max_output_tokens)
        .map_or(alias.config.max_output_tokens, |tokens| {
            tokens.min(alias.config.max_output_tokens)
        });
    let tier = active.iter().map(|(_, target)| target.config.tier).max();
    let mut prices: Vec<Value> = Vec::new();
    for (provider, target) in &active {
        let found = price::find(&settings.config.prices, &provider.name, &target.model, now);
        let Some(shown) = found.map(show) else {
            continue;
        };
        if !prices.contains(&shown) {
            prices.push(shown);
        }
    }
    let protocols: Vec<&str> = if is_chat {
        Protocol::ALL.map(Protocol::name).to_vec()
    } else {
        Vec::new()
    };
    json!({
        "capabilities": capabilities.iter().map(Capability::name).collect::<Vec<_>>(),
        "context_tokens": largest(|target| target.context_tokens),
        "max_output_tokens": output,
        "prices": prices,
        "tier": tier.map(crate::domain::settings::config::Tier::name),
        "protocols": protocols,
    })
}

/// A price as callers see it: US dollars, token prices per million, what is not charged left out.
fn show(price: &Price) -> Value {
    let mut shown = Map::new();
    let mut put = |name: &str, amount: Option<f64>| {
        if let Some(amount) = amount {
            shown.insert(name.to_owned(), Value::from(amount));
        }
    };
    put("input", Some(price.input));
    put("output", Some(price.output));
    put("cached_input", price.cached_input);
    put("cache_write_5m", price.cache_write_5m);
    put("cache_write_1h", price.cache_write_1h);
    put("reasoning", price.reasoning);
    put("per_image", price.per_image);
    put("per_second", price.per_second);
    put("per_million_characters", price.per_million_characters);
    put("per_request", price.per_request);
    Value::Object(shown)
}

#[cfg(test)]
mod tests;
