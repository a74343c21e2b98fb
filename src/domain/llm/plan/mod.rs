//! Alias + request → who can answer, in which order, and the very bytes that are sent.

mod body;
mod candidate;
mod check;
mod fields;
mod order;

use super::Protocol;
use super::request::{ChatRequest, EmbeddingsRequest};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::settings::config::{Alias, Prefer, ProviderKind, Serves};
use crate::domain::settings::{ActiveAlias, ActiveProvider, ActiveTarget, Settings};

pub use candidate::{Candidate, Payload};
pub use check::is_costly;
use check::{check_input, check_parameters};

/// What is to be done for a chat request.
pub struct ChatPlan<'s> {
    /// The alias as configured.
    pub alias: &'s Alias,
    /// Who answers.
    pub answerer: Answerer,
    /// Why the targets stand in this order, where that was chosen.
    pub choice: Option<String>,
    /// What shrinking the request saved, where it was shrunk, for a header.
    pub saved: Option<String>,
}

/// Who answers.
pub enum Answerer {
    /// The built-in answerer.
    Builtin,
    /// One of these targets.
    Providers(Vec<Candidate>),
}

/// What a plan needs to know beyond settings and request.
pub struct Circumstances<'c> {
    /// The current time, for prices.
    pub now: Millis,
    /// Random; spreads the weighted choice.
    pub seed: u64,
    /// What the caller asks an alias that chooses to prefer.
    pub prefer: Option<Prefer>,
    /// Recent 95th percentile of the time to the first token of a target, and whether its breaker is open, by its name.
    pub health: &'c dyn Fn(&str) -> (Option<Millis>, bool),
}

/// Finds the alias of a request. Who may call it is not asked here.
///
/// # Errors
/// `model_not_found` when no alias has that name.
pub fn find_alias<'s>(settings: &'s Settings, name: &str) -> Result<&'s ActiveAlias, Refusal> {
    settings.alias(name).ok_or_else(|| {
        let names: Vec<&str> = settings
            .aliases
            .iter()
            .filter(|alias| alias.config.public)
            .map(|alias| alias.config.name.as_str())
            .collect();
        Refusal::new(Code::ModelNotFound)
            .param("model")
            .detail(format!("The aliases here are: {}.", names.join(", ")))
    })
}

/// Decides who answers a chat request, in which order, and with which bodies.
///
/// # Errors
/// The alias does not serve chat, has no active provider, or none that can carry what is asked; the input is over the
/// ceiling; a parameter is not allowed.
pub fn plan_chat<'s>(
    settings: &'s Settings,
    alias: &'s ActiveAlias,
    request: &ChatRequest,
    circumstances: &Circumstances<'_>,
) -> Result<ChatPlan<'s>, Refusal> {
    if alias.config.serves != Serves::Chat {
        return Err(Refusal::new(Code::EndpointNotCarried).param("model"));
    }
    check_input(
        &alias.config,
        request.input_bytes,
        input_field(request.protocol),
    )?;
    let targets = provider_targets(settings, alias);
    if targets.is_empty() {
        if alias.targets.is_empty() {
            return Err(not_configured(settings, &alias.config));
        }
        return Ok(ChatPlan {
            alias: &alias.config,
            answerer: Answerer::Builtin,
            choice: None,
            saved: None,
        });
    }
    check_parameters(&alias.config, request)?;
    let (targets, choice) =
        order::ordered(settings, &alias.config, targets, request, circumstances)?;
    let (candidates, saved) = body::candidates(&alias.config, &targets, request)?;
    Ok(ChatPlan {
        alias: &alias.config,
        answerer: Answerer::Providers(candidates),
        choice,
        saved,
    })
}

/// May an alias answer an embeddings request?
///
/// # Errors
/// It serves something else, or the input is over its ceiling.
pub fn check_embeddings(alias: &ActiveAlias, request: &EmbeddingsRequest) -> Result<(), Refusal> {
    if alias.config.serves != Serves::Embeddings {
        return Err(Refusal::new(Code::EndpointNotCarried).param("model"));
    }
    check_input(&alias.config, request.input_bytes, "input")
}

/// The targets of an alias for an endpoint that is passed on. `payload` makes the body for a model.
///
/// # Errors
/// No provider is active.
pub fn plan_raw(
    settings: &Settings,
    alias: &ActiveAlias,
    path: &str,
    payload: impl Fn(&str) -> Payload,
) -> Result<Vec<Candidate>, Refusal> {
    let targets = provider_targets(settings, alias);
    if targets.is_empty() {
        return Err(not_configured(settings, &alias.config));
    }
    Ok(targets
        .into_iter()
        .map(|target| Candidate::new(target, Protocol::Chat, path, payload(&target.0.model)))
        .collect())
}

fn not_configured(settings: &Settings, alias: &Alias) -> Refusal {
    let variables: Vec<&str> = alias
        .targets
        .iter()
        .flat_map(|target| {
            settings
                .provider_status
                .iter()
                .filter(|(name, ..)| *name == target.provider)
                .flat_map(|(_, _, variables)| variables.iter().map(String::as_str))
        })
        .collect();
    Refusal::new(Code::ProviderNotConfigured)
        .param("model")
        .detail(format!("Set one of: {}.", variables.join(", ")))
}

/// An active target and its provider. The built-in answerer is none: it steps in only where no provider is active, or
/// as the last resort.
type ProviderTarget<'s> = (&'s ActiveTarget, &'s ActiveProvider);

fn provider_targets<'s>(settings: &'s Settings, alias: &'s ActiveAlias) -> Vec<ProviderTarget<'s>> {
    alias
        .targets
        .iter()
        .filter_map(|target| Some((target, settings.provider(target)?)))
        .filter(|(_, provider)| provider.kind != ProviderKind::Builtin)
        .collect()
}

/// Is the built-in answerer who would answer this alias?
#[must_use]
pub fn answered_by_builtin(settings: &Settings, alias: &ActiveAlias) -> bool {
    !alias.targets.is_empty() && provider_targets(settings, alias).is_empty()
}

/// The protocol that a provider speaks.
#[must_use]
pub const fn protocol_of(kind: ProviderKind) -> Protocol {
    match kind {
        ProviderKind::Openai | ProviderKind::Builtin => Protocol::Chat,
        ProviderKind::OpenaiResponses => Protocol::Responses,
        ProviderKind::Anthropic => Protocol::Messages,
    }
}

/// The field that holds what was said.
const fn input_field(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Chat | Protocol::Messages => "messages",
        Protocol::Responses => "input",
    }
}

fn too_long(protocol: Protocol, needed: u64, limit: u64) -> Refusal {
    Refusal::new(Code::InputTooLong)
        .param(input_field(protocol))
        .detail(format!(
            "The request takes about {needed} tokens, the answer's ceiling included; the model's context holds {limit}."
        ))
}

#[cfg(test)]
mod tests;
