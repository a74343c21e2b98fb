//! The body for each target: the caller's own, or the same in another dialect, and what the alias puts on it.

use serde_json::{Map, Value, json};

use super::candidate::{Candidate, Payload};
use super::fields::{
    LEAST_OUTPUT_WITH_THINKING, cap, cap_openai_output, prepend_system, stream_fields,
    thinking_fits,
};
use super::{ProviderTarget, input_field, protocol_of, too_long};
use crate::base::errors::{Code, Refusal};
use crate::domain::llm::normal::conversation::{Conversation, Written};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::{ChatRequest, invalid};
use crate::domain::llm::{Protocol, dialect, shrink, tokens, upstream};
use crate::domain::settings::config::{Alias, OnOverflow, OnUnsupported};
use crate::domain::settings::{ActiveProvider, ActiveTarget};

/// The targets that can carry a request, each with its body; and what shrinking saved.
pub(super) fn candidates(
    alias: &Alias,
    targets: &[ProviderTarget<'_>],
    request: &ChatRequest,
) -> Result<(Vec<Candidate>, Option<String>), Refusal> {
    let mut able = Vec::with_capacity(targets.len());
    let mut why_not = None;
    let mut saved = None;
    for (target, provider) in targets {
        let shrunk = match shrunk(alias, target, request) {
            Ok(shrunk) => shrunk,
            Err(refusal) => {
                why_not = why_not.or(Some(refusal));
                continue;
            }
        };
        match candidate(alias, target, provider, request, shrunk.as_ref()) {
            Ok(candidate) => able.push(candidate),
            Err(refusal) => why_not = why_not.or(Some(refusal)),
        }
        saved = saved.or_else(|| shrunk.as_ref().map(told));
    }
    match why_not {
        Some(refusal) if able.is_empty() => Err(refusal),
        _ => Ok((able, saved)),
    }
}

/// The conversation as it fits the target, where the alias allows that it is made smaller and something was.
fn shrunk(
    alias: &Alias,
    target: &ActiveTarget,
    request: &ChatRequest,
) -> Result<Option<shrink::Shrunk>, Refusal> {
    let trims = alias.on_overflow == OnOverflow::Trim && target.config.context_tokens.is_some();
    if !trims && !alias.compact {
        return Ok(None);
    }
    let system = request.system(alias.system.as_deref());
    let system = system.as_deref().map_or(0, tokens::text);
    let conversation = request.conversation()?;
    let asked = conversation
        .sampling
        .max_output
        .unwrap_or(alias.max_output_tokens);
    let output = asked.min(alias.max_output_tokens);
    let beside = output.saturating_add(system);
    let limit = target
        .config
        .context_tokens
        .map(|all| all.saturating_sub(beside));
    let shrunk = shrink::shrink(
        conversation.clone(),
        limit,
        alias.on_overflow,
        alias.compact,
    )
    .map_err(|overflow| {
        let limit = overflow.limit.saturating_add(beside);
        too_long(
            request.protocol,
            overflow.needed.saturating_add(beside),
            limit,
        )
    })?;
    let changed = shrunk.dropped_turns > 0 || shrunk.saved_bytes > 0;
    Ok(changed.then_some(shrunk))
}

fn told(shrunk: &shrink::Shrunk) -> String {
    format!(
        "turns={};bytes={};tokens={}",
        shrunk.dropped_turns,
        shrunk.saved_bytes,
        shrunk.tokens_before.saturating_sub(shrunk.tokens_after)
    )
}

fn candidate(
    alias: &Alias,
    target: &ActiveTarget,
    provider: &ActiveProvider,
    request: &ChatRequest,
    shrunk: Option<&shrink::Shrunk>,
) -> Result<Candidate, Refusal> {
    let protocol = protocol_of(provider.kind);
    let ceiling = target
        .config
        .max_output_tokens
        .map_or(alias.max_output_tokens, |own| {
            own.min(alias.max_output_tokens)
        });
    // The caller's own body: what nobody here knows survives.
    let own = match shrunk {
        _ if protocol != request.protocol => None,
        None => Some(request.body.clone()),
        Some(shrunk) => shrink::apply(protocol, &request.body, request.conversation()?, shrunk),
    };
    let (mut body, mut dropped) = match own {
        Some(own) => (own, Vec::new()),
        None => {
            let conversation = match shrunk {
                Some(shrunk) => &shrunk.conversation,
                None => request.conversation()?,
            };
            translated(
                alias,
                request,
                protocol,
                conversation,
                ceiling,
                &target.model,
            )?
        }
    };
    body.insert("model".into(), Value::from(target.model.as_str()));
    if let Some(system) = request.system(alias.system.as_deref()) {
        prepend_system(protocol, &mut body, &system);
    }
    if request
        .temperature
        .is_some_and(|t| t > alias.max_temperature)
    {
        body.insert("temperature".into(), json!(alias.max_temperature));
    }
    match protocol {
        Protocol::Chat => cap_openai_output(&mut body, ceiling, provider),
        Protocol::Responses => cap(&mut body, "max_output_tokens", ceiling),
        Protocol::Messages => {
            cap(&mut body, "max_tokens", ceiling);
            if !thinking_fits(&mut body, ceiling) {
                if alias.on_unsupported == OnUnsupported::Refuse {
                    return Err(no_room_to_think("thinking", ceiling));
                }
                dropped.push("thinking".to_owned());
            }
        }
    }
    stream_fields(protocol, &mut body, request.stream);
    if protocol == Protocol::Responses {
        // What is stored is stored here, not there.
        body.insert("store".into(), Value::Bool(false));
        body.shift_remove("background");
    }
    let path = upstream::chat_path(protocol);
    let mut candidate = Candidate::new((target, provider), protocol, path, Payload::Json(body));
    candidate.dropped = dropped;
    candidate.prefill = target.config.prefill.unwrap_or(false);
    Ok(candidate)
}

/// A body in another dialect, and the fields that are not in it.
fn translated(
    alias: &Alias,
    request: &ChatRequest,
    protocol: Protocol,
    conversation: &Conversation,
    ceiling: u64,
    model: &str,
) -> Result<(Map<String, Value>, Vec<String>), Refusal> {
    // The ceiling is known before the rest is written: how much a model may think depends on it.
    let mut conversation = conversation.clone();
    let asked = conversation.sampling.max_output.unwrap_or(ceiling);
    conversation.sampling.max_output = Some(asked.min(ceiling));
    let mut written = dialect::write_request(protocol, &conversation, model);
    if request.protocol == Protocol::Responses {
        // These are done here, whoever answers.
        written
            .lost
            .retain(|lost| !matches!(lost.param.as_str(), "background" | "store"));
    }
    carry_verbosity(request, protocol, &mut written);
    let said = written.body.get("messages").or(written.body.get("input"));
    if said.and_then(Value::as_array).is_some_and(Vec::is_empty) {
        let rule = "must hold something that can be sent to the provider of this alias";
        return Err(invalid(input_field(request.protocol), rule));
    }
    let lost = written
        .lost
        .iter()
        .find(|lost| !lost.feature.is_hint() && alias.on_unsupported == OnUnsupported::Refuse);
    if let Some(lost) = lost {
        let room = asked.min(ceiling);
        if lost.feature == Feature::Reasoning
            && protocol == Protocol::Messages
            && room < LEAST_OUTPUT_WITH_THINKING
        {
            return Err(no_room_to_think(&lost.param, room));
        }
        return Err(not_carried(&lost.param));
    }
    let mut dropped: Vec<String> = Vec::new();
    for lost in written.lost {
        if !dropped.contains(&lost.param) {
            dropped.push(lost.param);
        }
    }
    Ok((written.body, dropped))
}

/// The two dialects of OpenAI say in different places how many words an answer should have.
fn carry_verbosity(request: &ChatRequest, protocol: Protocol, written: &mut Written) {
    let (param, verbosity) = match (request.protocol, protocol) {
        (Protocol::Chat, Protocol::Responses) => ("verbosity", request.body.get("verbosity")),
        (Protocol::Responses, Protocol::Chat) => {
            let text = request.body.get("text");
            (
                "text.verbosity",
                text.and_then(|text| text.get("verbosity")),
            )
        }
        _ => return,
    };
    let Some(verbosity) = verbosity.filter(|value| value.is_string()) else {
        return;
    };
    written.lost.retain(|lost| lost.param != param);
    let fields = match protocol {
        Protocol::Responses => {
            let text = written.body.entry("text").or_insert_with(|| json!({}));
            text.as_object_mut()
        }
        _ => Some(&mut written.body),
    };
    if let Some(fields) = fields {
        fields.insert("verbosity".into(), verbosity.clone());
    }
}

fn no_room_to_think(param: &str, room: u64) -> Refusal {
    Refusal::new(Code::UnsupportedParameter)
        .param(param)
        .detail(format!(
            "`{param}` takes an output ceiling of at least {LEAST_OUTPUT_WITH_THINKING} tokens at the provider of this alias, half of it for the answer; this request has {room}. Ask for less thinking or more tokens; the operator can raise max_output_tokens or allow that the field is left out (on_unsupported = \"drop\")."
        ))
}

fn not_carried(param: &str) -> Refusal {
    Refusal::new(Code::UnsupportedParameter)
        .param(param)
        .detail(format!(
            "`{param}` cannot be carried to the provider of this alias; the operator can allow that it is left out (on_unsupported = \"drop\")."
        ))
}
