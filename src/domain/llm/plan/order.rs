//! In which order the targets of an alias are tried.

use super::{Circumstances, ProviderTarget, too_long};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::capability::{self, Capabilities};
use crate::domain::llm::choose::{self, Features, Obstacle};
use crate::domain::llm::request::ChatRequest;
use crate::domain::llm::{Protocol, price, tokens};
use crate::domain::settings::config::{
    Alias, Capability, Choose, OnOverflow, OnUnsupported, ProviderKind,
};
use crate::domain::settings::{ActiveTarget, Settings};

/// The targets in the order in which they are tried, without those that cannot carry the request; and why, where that
/// was chosen. A plain chain whose targets say nothing about themselves is not looked at more closely.
pub(super) fn ordered<'s>(
    settings: &Settings,
    alias: &Alias,
    targets: Vec<ProviderTarget<'s>>,
    request: &ChatRequest,
    circumstances: &Circumstances<'_>,
) -> Result<(Vec<ProviderTarget<'s>>, Option<String>), Refusal> {
    let said = |(target, _): &ProviderTarget<'_>| {
        target.config.context_tokens.is_some() || target.config.capabilities.is_some()
    };
    if alias.choose == Choose::Order && !targets.iter().any(said) {
        return Ok((targets, None));
    }
    let prefer = circumstances.prefer.unwrap_or(alias.prefer);
    let conversation = request.conversation()?;
    let asked = conversation
        .sampling
        .max_output
        .unwrap_or(alias.max_output_tokens);
    let output = asked.min(alias.max_output_tokens);
    let mut features = Features::of(conversation, output, prefer, None);
    let system = request.system(alias.system.as_deref());
    let system = system.as_deref().map_or(0, tokens::text);
    features.input_tokens = features.input_tokens.saturating_add(system);
    let may_shrink = alias.on_overflow == OnOverflow::Trim || alias.compact;
    let seen: Vec<(Option<Millis>, bool)> = targets
        .iter()
        .map(|(target, provider)| {
            (circumstances.health)(&format!("{}/{}", provider.name, target.model))
        })
        .collect();
    let known: Vec<choose::Candidate<'_>> = targets
        .iter()
        .zip(&seen)
        .map(|((target, provider), (p95, open))| choose::Candidate {
            tier: target.config.tier,
            weight: target.config.weight,
            capabilities: able(alias, provider.kind, target),
            // What is too long is shrunk later.
            context_tokens: target.config.context_tokens.filter(|_| !may_shrink),
            max_output_tokens: target.config.max_output_tokens,
            price: price::find(
                &settings.config.prices,
                &provider.name,
                &target.model,
                circumstances.now,
            ),
            p95: *p95,
            open: *open,
        })
        .collect();
    let choice = choose::choose(alias.choose, &features, &known, circumstances.seed);
    let order: Vec<ProviderTarget<'s>> = choice
        .order
        .iter()
        .filter_map(|i| targets.get(*i).copied())
        .collect();
    if order.is_empty() {
        return Err(no_target(request.protocol, &choice.left_out));
    }
    let reason = (alias.choose != Choose::Order).then_some(choice.reason);
    Ok((order, reason))
}

/// What a target can carry. Where the alias lets fields be dropped, nothing keeps a target from being asked.
fn able(alias: &Alias, kind: ProviderKind, target: &ActiveTarget) -> Capabilities {
    match alias.on_unsupported {
        OnUnsupported::Refuse => capability::of(kind, &target.config),
        OnUnsupported::Drop => Capability::ALL.into_iter().collect(),
    }
}

/// Why no target can carry a request, with the numbers where it is too long.
fn no_target(protocol: Protocol, left_out: &[(usize, Obstacle)]) -> Refusal {
    let longest = left_out.iter().filter_map(|(_, obstacle)| match obstacle {
        Obstacle::Context { needed, limit } => Some((*limit, *needed)),
        _ => None,
    });
    if let Some((limit, needed)) = longest.max() {
        return too_long(protocol, needed, limit);
    }
    let missing: Vec<&str> = left_out
        .iter()
        .map(|(_, obstacle)| obstacle.name())
        .collect();
    Refusal::new(Code::UnsupportedParameter).detail(format!(
        "No target of this alias can carry the request; missing: {}.",
        missing.join(", ")
    ))
}
