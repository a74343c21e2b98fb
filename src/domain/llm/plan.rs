//! Alias + request → who can answer, in which order, and the very bytes that are sent.

use serde_json::{Map, Value, json};

use super::Protocol;
use super::capability::{self, Capabilities};
use super::choose::{self, Features, Obstacle};
use super::dialect;
use super::engine::Mode;
use super::normal::conversation::Conversation;
use super::render::THREAD;
use super::request::{ChatRequest, EmbeddingsRequest};
use super::{price, shrink, tokens};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::settings::config::{
    Alias, Capability, Choose, OnOverflow, OnUnsupported, Prefer, ProviderKind, Serves,
};
use crate::domain::settings::{ActiveAlias, ActiveProvider, ActiveTarget, Settings};

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

/// A target that can answer a request.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Index into [`Settings::providers`].
    pub provider: usize,
    /// The provider's name.
    pub provider_name: String,
    /// Its model.
    pub model: String,
    /// The protocol in which it is asked.
    pub protocol: Protocol,
    /// Path below the provider's base URL.
    pub path: String,
    /// What is sent.
    pub payload: Payload,
    /// Fields of the caller's request that are not in it.
    pub dropped: Vec<String>,
    /// Tokens that fit.
    pub context_tokens: Option<u64>,
    /// Does it continue an assistant's text that stands last?
    pub prefill: bool,
    /// Requests that it may answer at once, and how many may wait.
    pub cap: Option<(u32, u32)>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A JSON object.
    Json(Map<String, Value>),
    /// Bytes that are passed on.
    Bytes {
        /// Their content type.
        content_type: String,
        /// The bytes.
        bytes: std::rc::Rc<[u8]>,
    },
}

impl Candidate {
    /// `provider/model`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider_name, self.model)
    }

    /// Content type and bytes of an attempt. `text` is what a continuation goes on from.
    #[must_use]
    pub fn body(&self, mode: Mode, text: Option<&str>) -> (String, Vec<u8>) {
        match &self.payload {
            Payload::Bytes {
                content_type,
                bytes,
            } => (content_type.clone(), bytes.to_vec()),
            Payload::Json(body) => {
                let bytes = match text.filter(|text| !text.trim().is_empty()) {
                    Some(text) if mode != Mode::Fresh => {
                        to_bytes(&continued(self.protocol, body.clone(), mode, text))
                    }
                    _ => to_bytes(body),
                };
                ("application/json".to_owned(), bytes)
            }
        }
    }
}

/// What a model is told that cannot go on from its own words by itself.
const CONTINUE: &str = "Your last message was cut off. Continue it from exactly where it stops. Do not repeat any of it, \
    do not begin anew, and add no remark about this.";

/// A request with the text so far behind it. White space at its end is left out: some providers refuse a last turn that
/// ends with it.
fn continued(
    protocol: Protocol,
    mut body: Map<String, Value>,
    mode: Mode,
    text: &str,
) -> Map<String, Value> {
    let field = match protocol {
        Protocol::Chat | Protocol::Messages => "messages",
        Protocol::Responses => "input",
    };
    // A Responses request may hold its only turn as plain text.
    if let Some(Value::String(only)) = body.get(field) {
        let only = only.clone();
        body.insert(field.into(), json!([{"role": "user", "content": only}]));
    }
    if let Some(Value::Array(turns)) = body.get_mut(field) {
        turns.push(json!({"role": "assistant", "content": text.trim_end()}));
        if mode == Mode::Instruction {
            turns.push(json!({"role": "user", "content": CONTINUE}));
        }
    }
    body
}

/// Finds the alias of a request, for a caller without a credential.
///
/// # Errors
/// `model_not_found` when no alias has that name; `model_not_public` when visitors may not call it.
pub fn find_alias<'s>(settings: &'s Settings, name: &str) -> Result<&'s ActiveAlias, Refusal> {
    let alias = settings.alias(name).ok_or_else(|| {
        let names: Vec<&str> = settings
            .aliases
            .iter()
            .filter(|alias| alias.config.public)
            .map(|alias| alias.config.name.as_str())
            .collect();
        Refusal::new(Code::ModelNotFound)
            .param("model")
            .detail(format!("The aliases here are: {}.", names.join(", ")))
    })?;
    if alias.config.public {
        Ok(alias)
    } else {
        Err(Refusal::new(Code::ModelNotPublic).param("model"))
    }
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
    let (targets, choice) = ordered(settings, &alias.config, targets, request, circumstances)?;
    let (candidates, saved) = candidates(&alias.config, &targets, request)?;
    Ok(ChatPlan {
        alias: &alias.config,
        answerer: Answerer::Providers(candidates),
        choice,
        saved,
    })
}

/// The targets in the order in which they are tried, without those that cannot carry the request; and why, where that
/// was chosen. A plain chain whose targets say nothing about themselves is not looked at more closely.
fn ordered<'s>(
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
    let system = alias.system.as_deref().map_or(0, tokens::text);
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

fn too_long(protocol: Protocol, needed: u64, limit: u64) -> Refusal {
    Refusal::new(Code::InputTooLong)
        .param(input_field(protocol))
        .detail(format!(
            "The request takes about {needed} tokens, the answer's ceiling included; the model's context holds {limit}."
        ))
}

/// The field that holds what was said.
const fn input_field(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Chat | Protocol::Messages => "messages",
        Protocol::Responses => "input",
    }
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

/// The targets that can carry a request, each with its body; and what shrinking saved.
fn candidates(
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
        let conversation = shrunk.as_ref().map(|shrunk| &shrunk.conversation);
        match candidate(alias, target, provider, request, conversation) {
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
    let system = alias.system.as_deref().map_or(0, tokens::text);
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
    shrunk: Option<&Conversation>,
) -> Result<Candidate, Refusal> {
    let protocol = protocol_of(provider.kind);
    let ceiling = target
        .config
        .max_output_tokens
        .map_or(alias.max_output_tokens, |own| {
            own.min(alias.max_output_tokens)
        });
    let (mut body, mut dropped) = match shrunk {
        // The caller's own body: what nobody here knows survives.
        None if protocol == request.protocol => (request.body.clone(), Vec::new()),
        None => translated(
            alias,
            request,
            protocol,
            request.conversation()?,
            ceiling,
            &target.model,
        )?,
        Some(shrunk) => translated(alias, request, protocol, shrunk, ceiling, &target.model)?,
    };
    body.insert("model".into(), Value::from(target.model.as_str()));
    if let Some(system) = &alias.system {
        prepend_system(protocol, &mut body, system);
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
                    return Err(not_carried("thinking"));
                }
                dropped.push("thinking".to_owned());
            }
        }
    }
    stream_fields(protocol, &mut body, request.stream);
    if protocol == Protocol::Responses {
        // What is stored is stored here, not there.
        body.insert("store".into(), Value::Bool(false));
        body.remove("background");
    }
    Ok(Candidate {
        provider: target.provider,
        provider_name: provider.name.clone(),
        model: target.model.clone(),
        protocol,
        path: super::upstream::chat_path(protocol).to_owned(),
        payload: Payload::Json(body),
        dropped,
        context_tokens: target.config.context_tokens,
        prefill: target.config.prefill.unwrap_or(false),
        cap: target
            .config
            .max_concurrent
            .map(|cap| (cap, target.config.queue)),
    })
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
    let lost = written
        .lost
        .iter()
        .find(|lost| !lost.feature.is_hint() && alias.on_unsupported == OnUnsupported::Refuse);
    if let Some(lost) = lost {
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

fn not_carried(param: &str) -> Refusal {
    Refusal::new(Code::UnsupportedParameter)
        .param(param)
        .detail(format!(
            "`{param}` cannot be carried to the provider of this alias; the operator can allow that it is left out (on_unsupported = \"drop\")."
        ))
}

/// Asks for a stream, and OpenAI's chat for usage in it: what a stream took must be known whether or not the caller
/// wants to.
fn stream_fields(protocol: Protocol, body: &mut Map<String, Value>, stream: bool) {
    if !stream {
        body.remove("stream");
        body.remove("stream_options");
        return;
    }
    body.insert("stream".into(), Value::Bool(true));
    if protocol == Protocol::Chat {
        match body.get_mut("stream_options") {
            Some(Value::Object(options)) => {
                options.insert("include_usage".into(), Value::Bool(true));
            }
            _ => {
                body.insert("stream_options".into(), json!({"include_usage": true}));
            }
        }
    }
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
        .map(|(target, provider)| Candidate {
            provider: target.provider,
            provider_name: provider.name.clone(),
            model: target.model.clone(),
            protocol: Protocol::Chat,
            path: path.to_owned(),
            payload: payload(&target.model),
            dropped: Vec::new(),
            context_tokens: target.config.context_tokens,
            prefill: false,
            cap: target
                .config
                .max_concurrent
                .map(|cap| (cap, target.config.queue)),
        })
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

fn check_input(alias: &Alias, bytes: u64, param: &str) -> Result<(), Refusal> {
    if bytes <= alias.max_input_bytes {
        return Ok(());
    }
    Err(Refusal::new(Code::InputTooLong)
        .param(param)
        .detail(format!(
            "The input has {bytes} bytes; this alias accepts {}.",
            alias.max_input_bytes
        )))
}

/// Parameters that cost more than one bounded answer, or reach beyond it, and what makes each of them harmless.
fn costly(name: &str, value: &Value) -> bool {
    match name {
        "n" | "best_of" => value.as_u64().is_some_and(|n| n > 1),
        "store" => value.as_bool() == Some(true),
        "modalities" => value
            .as_array()
            .is_some_and(|list| list.iter().any(|m| m.as_str() != Some("text"))),
        "service_tier" => !matches!(value.as_str(), Some("auto" | "default" | "standard_only")),
        "audio" | "prediction" | "web_search_options" | "mcp_servers" | "container"
        | "conversation" | "prompt" => !value.is_null(),
        _ => false,
    }
}

const COSTLY: [&str; 9] = [
    "n",
    "best_of",
    "store",
    "modalities",
    "service_tier",
    "audio",
    "prediction",
    "web_search_options",
    "mcp_servers",
];

fn check_parameters(alias: &Alias, request: &ChatRequest) -> Result<(), Refusal> {
    let allowed = |name: &str| alias.allow_parameters.iter().any(|allowed| allowed == name);
    let refuse = |param: &str, allow: &str| {
        Refusal::new(Code::UnsupportedParameter).param(param).detail(format!(
            "`{param}` is not carried by this alias; the operator can add \"{allow}\" to its allow_parameters."
        ))
    };
    // What is stored in the operator's account at the provider is not for visitors.
    for name in COSTLY
        .into_iter()
        .chain(["container", "conversation", "prompt"])
    {
        // What a Responses caller wants stored is stored here.
        let ours = name == "store" && request.protocol == Protocol::Responses;
        if request
            .body
            .get(name)
            .is_some_and(|value| costly(name, value))
            && !ours
            && !allowed(name)
        {
            return Err(refuse(name, name));
        }
    }
    // A conversation that the provider held would be the operator's, not its caller's.
    if request.protocol == Protocol::Messages
        && request.body.get("thread").is_some_and(|v| !v.is_null())
    {
        return Err(Refusal::new(Code::UnsupportedParameter)
            .param(THREAD)
            .detail("No conversations are held here: send all of `messages` without `thread`."));
    }
    if let Some(Value::Array(tools)) = request.body.get("tools")
        && !allowed("server_tools")
    {
        for (i, tool) in tools.iter().enumerate() {
            // Tools that the caller runs are bounded by the input ceiling; those the provider runs are billed apart.
            let own = tool
                .get("type")
                .and_then(Value::as_str)
                .is_none_or(|kind| matches!(kind, "function" | "custom"));
            if !own {
                return Err(refuse(&format!("tools[{i}].type"), "server_tools"));
            }
        }
    }
    if !allowed("images")
        && let Some(param) = first_media_part(&request.body)
    {
        return Err(refuse(&param, "images"));
    }
    Ok(())
}

/// The path of the first content part that is an image, a file or audio.
fn first_media_part(body: &Map<String, Value>) -> Option<String> {
    let (field, messages) = ["messages", "input"]
        .into_iter()
        .find_map(|field| Some((field, body.get(field)?.as_array()?)))?;
    messages.iter().enumerate().find_map(|(i, message)| {
        let parts = message.get("content")?.as_array()?;
        let part = parts.iter().position(|part| {
            part.get("type")
                .and_then(Value::as_str)
                .is_some_and(|kind| {
                    matches!(
                        kind,
                        "image_url"
                            | "image"
                            | "input_audio"
                            | "file"
                            | "document"
                            | "input_image"
                            | "input_file"
                    )
                })
        })?;
        Some(format!("{field}[{i}].content[{part}]"))
    })
}

/// Puts the alias's own instructions in front.
fn prepend_system(protocol: Protocol, body: &mut Map<String, Value>, system: &str) {
    match protocol {
        Protocol::Chat => prepend_system_message(body, system),
        Protocol::Messages => prepend_system_field(body, system),
        Protocol::Responses => {
            let own = body.get("instructions").and_then(Value::as_str);
            let joined = own.map_or_else(|| system.to_owned(), |own| format!("{system}\n\n{own}"));
            body.insert("instructions".into(), Value::from(joined));
        }
    }
}

fn prepend_system_message(body: &mut Map<String, Value>, system: &str) {
    if let Some(Value::Array(messages)) = body.get_mut("messages") {
        messages.insert(0, json!({"role": "system", "content": system}));
    }
}

fn prepend_system_field(body: &mut Map<String, Value>, system: &str) {
    let joined = match body.remove("system") {
        Some(Value::String(own)) => Value::from(format!("{system}\n\n{own}")),
        Some(Value::Array(mut blocks)) => {
            blocks.insert(0, json!({"type": "text", "text": system}));
            Value::Array(blocks)
        }
        _ => Value::from(system),
    };
    body.insert("system".into(), joined);
}

/// OpenAI's newer models accept `max_completion_tokens` alone; other servers know `max_tokens` best. A caller's choice
/// stands elsewhere.
fn cap_openai_output(body: &mut Map<String, Value>, ceiling: u64, provider: &ActiveProvider) {
    let official = provider.base_url.starts_with("https://api.openai.com/");
    if official
        && !body.contains_key("max_completion_tokens")
        && let Some(value) = body.remove("max_tokens")
    {
        body.insert("max_completion_tokens".into(), value);
    }
    let given = ["max_completion_tokens", "max_tokens"]
        .into_iter()
        .filter(|name| body.get(*name).is_some_and(|value| !value.is_null()))
        .collect::<Vec<_>>();
    if given.is_empty() {
        cap(
            body,
            if official {
                "max_completion_tokens"
            } else {
                "max_tokens"
            },
            ceiling,
        );
    }
    for name in given {
        cap(body, name, ceiling);
    }
}

fn cap(body: &mut Map<String, Value>, name: &str, ceiling: u64) {
    let asked = body.get(name).and_then(Value::as_u64).unwrap_or(ceiling);
    body.insert(name.into(), Value::from(asked.min(ceiling)));
}

/// Least thinking budget that Anthropic's API takes, in tokens (API reference, `thinking.budget_tokens`).
const MIN_THINKING_TOKENS: u64 = 1024;

/// Lowers a thinking budget that the lowered output ceiling leaves no room for, which the API would refuse: half is for
/// the answer. False where not even the least budget fits, and the field was left out.
fn thinking_fits(body: &mut Map<String, Value>, ceiling: u64) -> bool {
    let budget = |body: &Map<String, Value>| body.get("thinking")?.get("budget_tokens")?.as_u64();
    if budget(body).is_none_or(|budget| budget < ceiling) {
        return true;
    }
    let half = ceiling / 2;
    match body.get_mut("thinking") {
        Some(Value::Object(thinking)) if half >= MIN_THINKING_TOKENS => {
            thinking.insert("budget_tokens".into(), Value::from(half));
            true
        }
        _ => {
            body.remove("thinking");
            false
        }
    }
}

fn to_bytes(body: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Answerer, Candidate, ChatPlan, Circumstances, Payload, find_alias, plan_chat};
    use crate::base::errors::{Code, Refusal};
    use crate::base::time::Millis;
    use crate::domain::llm::Protocol;
    use crate::domain::llm::engine::Mode;
    use crate::domain::llm::request::chat_request;
    use crate::domain::settings::config::{
        Capability, Choose, Config, OnOverflow, OnUnsupported, ProviderKind,
    };
    use crate::domain::settings::{Settings, embedded, names};
    use proptest::prelude::{Strategy, proptest};
    use serde_json::{Value, json};

    const OPENAI: &[(&str, &str)] = &[("OPENAI_API_KEY", "k")];
    const ANTHROPIC: &[(&str, &str)] = &[("ANTHROPIC_API_KEY", "k")];
    const BOTH: &[(&str, &str)] = &[("OPENAI_API_KEY", "k"), ("ANTHROPIC_API_KEY", "k")];

    fn settings(keys: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Settings {
        let mut config = embedded().unwrap();
        change(&mut config);
        let config = serde_json::to_string(&config).unwrap();
        Settings::resolve(&|name: &str| {
            let given = keys.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            let own = match name {
                names::ENVIRONMENT => Some("test"),
                names::GATEHOUSE_CONFIG => Some(config.as_str()),
                _ => None,
            };
            given.or(own).map(str::to_owned)
        })
        .unwrap()
    }

    fn plan<'s>(
        settings: &'s Settings,
        protocol: Protocol,
        body: Value,
    ) -> Result<ChatPlan<'s>, Refusal> {
        let Value::Object(body) = body else { panic!() };
        let request = chat_request(body, protocol)?;
        let alias = find_alias(settings, &request.alias)?;
        let circumstances = Circumstances {
            now: Millis(0),
            seed: 7,
            prefer: None,
            health: &|_| (None, false),
        };
        plan_chat(settings, alias, &request, &circumstances)
    }

    fn candidates(
        settings: &Settings,
        protocol: Protocol,
        body: Value,
    ) -> Result<Vec<Candidate>, Refusal> {
        Ok(match plan(settings, protocol, body)?.answerer {
            Answerer::Builtin => Vec::new(),
            Answerer::Providers(candidates) => candidates,
        })
    }

    /// What the first target is sent.
    fn sent(settings: &Settings, protocol: Protocol, body: Value) -> Result<Value, Refusal> {
        let candidates = candidates(settings, protocol, body)?;
        Ok(candidates
            .first()
            .map_or(Value::Null, |first| body_of(first, Mode::Fresh, None)))
    }

    fn body_of(candidate: &Candidate, mode: Mode, text: Option<&str>) -> Value {
        let (content_type, bytes) = candidate.body(mode, text);
        assert_eq!(content_type, "application/json");
        serde_json::from_slice(&bytes).unwrap()
    }

    fn hi() -> Value {
        json!({"model": "site", "messages": [{"role": "user", "content": "hi"}]})
    }

    fn with(patch: &Value) -> Value {
        let mut body = hi();
        for (key, value) in patch.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    #[test]
    fn the_alias_pins_model_system_and_ceilings() {
        let settings = settings(OPENAI, |_| {});
        let body = with(&json!({"max_tokens": 99999, "seed": 1, "made_up": [1]}));
        let sent = sent(&settings, Protocol::Chat, body).unwrap();
        assert_eq!(sent["model"], "gpt-5-mini");
        assert_eq!(sent["messages"][0]["role"], "system");
        assert_eq!(sent["messages"][1]["content"], "hi");
        assert_eq!(sent["max_completion_tokens"], 1024);
        assert_eq!(sent.get("max_tokens"), None);
        assert_eq!(
            (&sent["seed"], &sent["made_up"]),
            (&json!(1), &json!([1])),
            "unknown fields survive"
        );
    }

    #[test]
    fn the_targets_own_ceiling_is_kept_where_it_is_lower() {
        let settings = settings(OPENAI, |config| {
            config.aliases[0].targets[0].max_output_tokens = Some(100);
        });
        let of =
            |body| sent(&settings, Protocol::Chat, body).unwrap()["max_completion_tokens"].clone();
        assert_eq!(of(hi()), 100);
        assert_eq!(of(with(&json!({"max_completion_tokens": 7}))), 7);
    }

    #[test]
    fn a_thinking_budget_stays_below_the_lowered_ceiling_or_is_left_out_and_named() {
        let with_ceiling = |ceiling| {
            settings(ANTHROPIC, move |config| {
                config.aliases[0].max_output_tokens = ceiling;
                config.aliases[0].on_unsupported = OnUnsupported::Drop;
            })
        };
        let native = |budget: u64| {
            with(&json!({
                "max_tokens": 20_000, "thinking": {"type": "enabled", "budget_tokens": budget}
            }))
        };
        for (ceiling, budget, expected) in [
            (4096, 16_000, Some(2048)),
            (4096, 2000, Some(2000)),
            (20_000, 16_000, Some(16_000)),
            (1024, 16_000, None),
        ] {
            let settings = with_ceiling(ceiling);
            let candidates = candidates(&settings, Protocol::Messages, native(budget)).unwrap();
            let sent = body_of(&candidates[0], Mode::Fresh, None);
            assert_eq!(sent["thinking"]["budget_tokens"].as_u64(), expected);
            assert_eq!(candidates[0].dropped.is_empty(), expected.is_some());
        }
        let refusing = settings(ANTHROPIC, |_| {});
        let refusal = candidates(&refusing, Protocol::Messages, native(16_000)).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some("thinking"));
        // The same for a caller of another dialect, who names an effort.
        for ceiling in [100, 1024, 2048, 4096, 40_000] {
            let settings = with_ceiling(ceiling);
            let body = with(&json!({"reasoning_effort": "high"}));
            let sent = sent(&settings, Protocol::Chat, body).unwrap();
            assert_eq!(sent["max_tokens"], ceiling);
            let budget = sent["thinking"]["budget_tokens"].as_u64();
            assert!(
                budget.is_none_or(|budget| (1024..ceiling).contains(&budget)),
                "{sent}"
            );
        }
    }

    #[test]
    fn local_servers_get_the_field_they_know() {
        let settings = settings(&[("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")], |_| {});
        let sent = sent(&settings, Protocol::Chat, hi()).unwrap();
        assert_eq!(sent["max_tokens"], 1024);
        assert_eq!(sent.get("max_completion_tokens"), None);
    }

    #[test]
    fn anthropic_systems_are_joined() {
        let settings = settings(ANTHROPIC, |_| {});
        for own in [
            json!("Be kind."),
            json!([{"type": "text", "text": "Be kind."}]),
        ] {
            let body = with(&json!({"max_tokens": 5, "system": own}));
            let sent = sent(&settings, Protocol::Messages, body).unwrap();
            let text = sent["system"].to_string();
            assert!(
                text.contains("visitors") && text.contains("Be kind."),
                "{text}"
            );
            assert!(text.find("visitors") < text.find("Be kind."), "{text}");
            assert_eq!(sent["max_tokens"], 5);
        }
    }

    #[test]
    fn instructions_are_joined_and_nothing_is_stored_at_the_provider() {
        let settings = settings(OPENAI, |config| {
            config.providers[0].kind = ProviderKind::OpenaiResponses;
            config.aliases.retain(|alias| alias.name != "embed");
        });
        let body = json!({"model": "site", "input": "hi", "instructions": "Be kind.", "store": true, "background": true});
        let sent = sent(&settings, Protocol::Responses, body).unwrap();
        let text = sent["instructions"].as_str().unwrap();
        assert!(text.contains("visitors") && text.ends_with("\n\nBe kind."));
        assert_eq!(sent["store"], false);
        assert_eq!(sent.get("background"), None);
        assert_eq!(sent["max_output_tokens"], 1024);
    }

    #[test]
    fn no_caller_reaches_a_model_that_no_alias_names() {
        let settings = settings(OPENAI, |_| {});
        let body = with(&json!({"model": "gpt-5-mini"}));
        assert_eq!(
            sent(&settings, Protocol::Chat, body).unwrap_err().code,
            Code::ModelNotFound
        );
    }

    #[test]
    fn costly_parameters_need_the_operators_word() {
        let settings = settings(OPENAI, |_| {});
        for (patch, param) in [
            (json!({"n": 2}), "n"),
            (json!({"store": true}), "store"),
            (json!({"service_tier": "priority"}), "service_tier"),
            (json!({"web_search_options": {}}), "web_search_options"),
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
                "messages[0].content[0]",
            ),
        ] {
            let refusal = sent(&settings, Protocol::Chat, with(&patch)).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.param.as_deref()),
                (Code::UnsupportedParameter, Some(param))
            );
        }
        let harmless = with(&json!({
            "n": 1, "store": false, "tools": [{"type": "function", "function": {"name": "f"}}]
        }));
        assert!(sent(&settings, Protocol::Chat, harmless).is_ok());
    }

    #[test]
    fn every_target_of_the_chain_is_asked_in_its_own_dialect() {
        let settings = settings(BOTH, |_| {});
        let candidates = candidates(&settings, Protocol::Chat, hi()).unwrap();
        let told: Vec<(String, Protocol, &str)> = candidates
            .iter()
            .map(|c| (c.name(), c.protocol, c.path.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "openai/gpt-5-mini".to_owned(),
                    Protocol::Chat,
                    "/chat/completions"
                ),
                (
                    "anthropic/claude-haiku-4-5".to_owned(),
                    Protocol::Messages,
                    "/v1/messages"
                ),
            ]
        );
        let second = body_of(&candidates[1], Mode::Fresh, None);
        assert_eq!(second["model"], "claude-haiku-4-5");
        assert_eq!(second["max_tokens"], 1024);
        assert!(second["system"].to_string().contains("visitors"));
        assert_eq!(second["messages"][0]["role"], "user");
    }

    #[test]
    fn a_field_that_cannot_be_carried_is_named_or_left_out_as_the_alias_says() {
        let body = || with(&json!({"logit_bias": {"5": 1}, "temperature": 0.5}));
        let refusing = settings(ANTHROPIC, |_| {});
        let refusal = candidates(&refusing, Protocol::Chat, body()).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.param.as_deref()),
            (Code::UnsupportedParameter, Some("logit_bias"))
        );
        let dropping = settings(ANTHROPIC, |config| {
            config.aliases[0].on_unsupported = OnUnsupported::Drop;
        });
        let candidates = candidates(&dropping, Protocol::Chat, body()).unwrap();
        assert_eq!(candidates[0].dropped, ["logit_bias"]);
        let sent = body_of(&candidates[0], Mode::Fresh, None);
        assert_eq!(sent.get("logit_bias"), None);
        assert_eq!(sent["temperature"], 0.5);
    }

    #[test]
    fn a_target_that_cannot_carry_a_field_is_passed_over_where_another_one_can() {
        let settings = settings(BOTH, |config| config.aliases[0].targets.swap(0, 1));
        let body = with(&json!({"logit_bias": {"5": 1}}));
        let candidates = candidates(&settings, Protocol::Chat, body).unwrap();
        let names: Vec<String> = candidates.iter().map(Candidate::name).collect();
        assert_eq!(names, ["openai/gpt-5-mini"]);
    }

    #[test]
    fn a_target_without_a_needed_capability_is_left_out_before_anything_is_sent() {
        let settings = settings(BOTH, |config| {
            config.aliases[0].targets[0].capabilities = Some(vec![Capability::Streaming]);
            config.aliases[0].allow_parameters = vec!["tools".into()];
        });
        let tools = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]});
        let candidates = candidates(&settings, Protocol::Chat, with(&tools)).unwrap();
        let names: Vec<String> = candidates.iter().map(Candidate::name).collect();
        assert_eq!(names, ["anthropic/claude-haiku-4-5"]);
    }

    #[test]
    fn usage_is_asked_for_in_every_chat_stream_and_in_no_whole_answer() {
        let settings = settings(OPENAI, |_| {});
        let of = |patch: Value| sent(&settings, Protocol::Chat, with(&patch)).unwrap();
        for patch in [
            json!({"stream": true}),
            json!({"stream": true, "stream_options": {"include_usage": false}}),
            json!({"stream": true, "stream_options": null}),
        ] {
            assert_eq!(of(patch)["stream_options"]["include_usage"], true);
        }
        let kept = of(json!({"stream": true, "stream_options": {"include_obfuscation": false}}));
        assert_eq!(kept["stream_options"]["include_obfuscation"], false);
        let whole = of(json!({"stream": false}));
        assert_eq!(
            (whole.get("stream"), whole.get("stream_options")),
            (None, None)
        );
    }

    #[test]
    fn a_continuation_holds_the_text_so_far_once_and_the_instruction_only_where_it_is_needed() {
        let settings = settings(BOTH, |config| {
            let mut third = config.aliases[0].targets[0].clone();
            third.provider = "openai-responses".into();
            let mut provider = config.providers[0].clone();
            provider.name = "openai-responses".into();
            provider.kind = ProviderKind::OpenaiResponses;
            config.providers.push(provider);
            config.aliases[0].targets.insert(2, third);
        });
        let candidates = candidates(&settings, Protocol::Chat, hi()).unwrap();
        assert_eq!(candidates.len(), 3);
        for candidate in &candidates {
            let field = match candidate.protocol {
                Protocol::Responses => "input",
                _ => "messages",
            };
            let fresh = body_of(candidate, Mode::Fresh, None)[field].clone();
            let before = fresh.as_array().unwrap().len();
            let prefill = body_of(candidate, Mode::Prefill, Some("The sky \n"))[field].clone();
            assert_eq!(
                prefill.as_array().unwrap()[before..],
                [json!({"role": "assistant", "content": "The sky"})]
            );
            let told = body_of(candidate, Mode::Instruction, Some("The sky"))[field].clone();
            let told = &told.as_array().unwrap()[before..];
            assert_eq!(told[0], json!({"role": "assistant", "content": "The sky"}));
            assert_eq!(told[1]["role"], "user");
            assert_eq!(told.len(), 2);
            // Nothing but white space was said: that is a fresh answer.
            for nothing in [None, Some(""), Some(" \n")] {
                assert_eq!(body_of(candidate, Mode::Instruction, nothing)[field], fresh);
            }
        }
    }

    #[test]
    fn a_plain_text_input_becomes_a_turn_before_it_is_continued() {
        let settings = settings(OPENAI, |config| {
            config.providers[0].kind = ProviderKind::OpenaiResponses;
            config.aliases.retain(|alias| alias.name != "embed");
        });
        let body = json!({"model": "site", "input": "hi"});
        let candidates = candidates(&settings, Protocol::Responses, body).unwrap();
        let sent = body_of(&candidates[0], Mode::Prefill, Some("Hel"));
        assert_eq!(
            sent["input"],
            json!([
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "Hel"},
            ])
        );
    }

    #[test]
    fn too_long_an_input_is_refused_with_both_numbers() {
        let settings = settings(OPENAI, |_| {});
        let long = json!({"messages": [{"role": "user", "content": "x".repeat(70_000)}]});
        let refusal = sent(&settings, Protocol::Chat, with(&long)).unwrap_err();
        assert_eq!(refusal.code, Code::InputTooLong);
        let detail = refusal.detail.unwrap();
        assert!(
            detail.contains("65536") && detail.contains("700"),
            "{detail}"
        );
    }

    #[test]
    fn what_does_not_fit_the_context_is_refused_with_counts_or_trimmed() {
        let turns: Vec<Value> = (0..40)
            .map(|i| {
                let role = if i % 2 == 0 { "user" } else { "assistant" };
                json!({"role": role, "content": format!("turn {i} {}", "word ".repeat(40))})
            })
            .chain([json!({"role": "user", "content": "the last question"})])
            .collect();
        let body = || with(&json!({"messages": turns.clone(), "max_tokens": 100}));
        let small = |trim| {
            settings(OPENAI, move |config| {
                config.aliases[0].targets[0].context_tokens = Some(1000);
                if trim {
                    config.aliases[0].on_overflow = OnOverflow::Trim;
                }
            })
        };
        let refusal = candidates(&small(false), Protocol::Chat, body()).unwrap_err();
        assert_eq!(refusal.code, Code::InputTooLong);
        assert!(refusal.detail.unwrap().contains("1000"));
        let trimming = small(true);
        let plan = plan(&trimming, Protocol::Chat, body()).unwrap();
        let saved = plan.saved.clone().unwrap();
        assert!(
            saved.starts_with("turns=") && !saved.starts_with("turns=0"),
            "{saved}"
        );
        let Answerer::Providers(candidates) = plan.answerer else {
            panic!()
        };
        let sent = body_of(&candidates[0], Mode::Fresh, None).to_string();
        assert!(sent.contains("the last question") && !sent.contains("turn 0 "));
        assert!(
            sent.contains("visitors"),
            "the alias's own words are never trimmed"
        );
    }

    #[test]
    fn an_alias_that_chooses_tells_why() {
        let settings = settings(BOTH, |config| config.aliases[0].choose = Choose::Auto);
        let chosen = plan(&settings, Protocol::Chat, hi()).unwrap();
        assert!(chosen.choice.is_some_and(|why| !why.is_empty()));
        let settings = self::settings(BOTH, |_| {});
        assert_eq!(plan(&settings, Protocol::Chat, hi()).unwrap().choice, None);
    }

    #[test]
    fn an_alias_without_an_active_provider_names_the_variable() {
        let settings = settings(&[], |_| {});
        let alias = settings.alias("embed").unwrap();
        assert!(alias.targets.is_empty());
        let request = crate::domain::llm::request::embeddings_request(
            json!({"model": "embed", "input": "x"})
                .as_object()
                .unwrap()
                .clone(),
        )
        .unwrap();
        let refusal = super::plan_raw(&settings, alias, "/embeddings", |_| {
            super::Payload::Json(request.body.clone())
        })
        .unwrap_err();
        assert_eq!(refusal.code, Code::ProviderNotConfigured);
        assert!(refusal.detail.unwrap().contains("OPENAI_API_KEY"));
    }

    #[test]
    fn bytes_are_passed_on_as_they_came_whatever_the_mode() {
        let settings = settings(OPENAI, |_| {});
        let alias = settings.alias("embed").unwrap();
        let made = super::plan_raw(&settings, alias, "/audio/transcriptions", |model| {
            Payload::Bytes {
                content_type: "multipart/form-data; boundary=x".into(),
                bytes: format!("--x {model}").into_bytes().into(),
            }
        })
        .unwrap();
        let expected = (
            "multipart/form-data; boundary=x".to_owned(),
            b"--x text-embedding-3-small".to_vec(),
        );
        assert_eq!(made[0].body(Mode::Fresh, None), expected);
        assert_eq!(made[0].body(Mode::Instruction, Some("text")), expected);
    }

    fn temperature() -> impl Strategy<Value = f64> {
        (0..=400_u32).prop_map(|t| f64::from(t) / 100.0)
    }

    proptest! {
        /// Whatever a caller asks for, no body leaves that is above the alias's ceilings.
        #[test]
        fn no_ceiling_is_ever_passed(max in 0_u64..1_000_000, temperature in temperature(), stream: bool) {
            let settings = settings(BOTH, |_| {});
            for field in ["max_tokens", "max_completion_tokens"] {
                let body = with(&json!({field: max, "temperature": temperature, "stream": stream}));
                let Ok(candidates) = candidates(&settings, Protocol::Chat, body) else { continue };
                for candidate in candidates {
                    let sent = body_of(&candidate, Mode::Fresh, None);
                    let ceilings: Vec<u64> = ["max_tokens", "max_completion_tokens"]
                        .iter().filter_map(|name| sent.get(*name)?.as_u64()).collect();
                    assert!(!ceilings.is_empty() && ceilings.iter().all(|c| *c <= 1024), "{sent}");
                    let limit = settings.alias("site").unwrap().config.max_temperature;
                    assert!(sent.get("temperature").and_then(Value::as_f64).is_none_or(|t| t <= limit), "{sent}");
                }
            }
        }
    }
}
