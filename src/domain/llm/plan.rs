//! Alias + request → who answers, and the very bytes that are sent.

use serde_json::{Map, Value, json};

use super::Protocol;
use super::request::{ChatRequest, EmbeddingsRequest};
use crate::base::errors::{Code, Refusal};
use crate::domain::settings::config::{Alias, ProviderKind, Serves};
use crate::domain::settings::{ActiveAlias, ActiveProvider, ActiveTarget, Settings};

/// What is to be done for a chat request.
pub struct ChatPlan<'s> {
    /// The alias as configured.
    pub alias: &'s Alias,
    /// Who answers.
    pub answerer: Answerer<'s>,
}

/// Who answers.
pub enum Answerer<'s> {
    /// The built-in answerer.
    Builtin,
    /// A provider.
    Provider {
        /// The provider.
        provider: &'s ActiveProvider,
        /// Its model.
        model: &'s str,
        /// The body to send.
        body: Vec<u8>,
    },
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

/// Decides who answers a chat request and with which body.
///
/// # Errors
/// The alias does not serve chat, has no active provider, or none that speaks the caller's protocol; the input is over
/// the ceiling; a parameter is not carried.
pub fn plan_chat<'s>(
    settings: &'s Settings,
    alias: &'s ActiveAlias,
    request: &ChatRequest,
) -> Result<ChatPlan<'s>, Refusal> {
    if alias.config.serves != Serves::Chat {
        return Err(Refusal::new(Code::EndpointNotCarried).param("model"));
    }
    let target = choose_target(settings, alias, request.protocol)?;
    check_input(&alias.config, request.input_bytes, "messages")?;
    let provider = settings.provider(target);
    let answerer = match provider {
        Some(provider) if provider.kind != ProviderKind::Builtin => {
            check_parameters(&alias.config, request)?;
            Answerer::Provider {
                provider,
                model: &target.model,
                body: chat_body(&alias.config, provider, &target.model, request),
            }
        }
        _ => Answerer::Builtin,
    };
    Ok(ChatPlan {
        alias: &alias.config,
        answerer,
    })
}

/// Decides who answers an embeddings request and with which body.
///
/// # Errors
/// As for chat.
pub fn plan_embeddings<'s>(
    settings: &'s Settings,
    alias: &'s ActiveAlias,
    request: &EmbeddingsRequest,
) -> Result<(&'s ActiveProvider, &'s str, Vec<u8>), Refusal> {
    if alias.config.serves != Serves::Embeddings {
        return Err(Refusal::new(Code::EndpointNotCarried).param("model"));
    }
    let target = choose_target(settings, alias, Protocol::OpenAi)?;
    check_input(&alias.config, request.input_bytes, "input")?;
    let provider = settings
        .provider(target)
        .ok_or_else(|| Refusal::new(Code::ProviderNotConfigured))?;
    let mut body = request.body.clone();
    body.insert("model".into(), Value::from(target.model.as_str()));
    Ok((provider, &target.model, to_bytes(&body)))
}

/// The protocols in which an alias can be called now.
#[must_use]
pub fn protocols(settings: &Settings, alias: &ActiveAlias) -> Vec<Protocol> {
    [Protocol::OpenAi, Protocol::Anthropic]
        .into_iter()
        .filter(|protocol| choose_target(settings, alias, *protocol).is_ok())
        .collect()
}

/// Is the built-in answerer who would answer this alias in that protocol?
#[must_use]
pub fn answered_by_builtin(settings: &Settings, alias: &ActiveAlias, protocol: Protocol) -> bool {
    choose_target(settings, alias, protocol)
        .ok()
        .and_then(|target| settings.provider(target))
        .is_some_and(|provider| provider.kind == ProviderKind::Builtin)
}

const fn speaks(kind: ProviderKind, protocol: Protocol) -> bool {
    matches!(
        (kind, protocol),
        (ProviderKind::Builtin, _)
            | (ProviderKind::Openai, Protocol::OpenAi)
            | (ProviderKind::Anthropic, Protocol::Anthropic)
    )
}

/// The first active target that speaks the caller's protocol. The built-in answerer speaks both, but it steps in only
/// where no provider is active: a visitor of a site with a model must not get the answerer for using the other SDK.
fn choose_target<'a>(
    settings: &Settings,
    alias: &'a ActiveAlias,
    protocol: Protocol,
) -> Result<&'a ActiveTarget, Refusal> {
    let kind = |target: &ActiveTarget| settings.provider(target).map(|p| p.kind);
    let has_provider = alias
        .targets
        .iter()
        .any(|target| kind(target).is_some_and(|k| k != ProviderKind::Builtin));
    let found = alias.targets.iter().find(|target| {
        kind(target)
            .is_some_and(|k| speaks(k, protocol) && (k != ProviderKind::Builtin || !has_provider))
    });
    match found {
        Some(target) => Ok(target),
        None if alias.targets.is_empty() => Err(not_configured(settings, &alias.config)),
        None => {
            let other = match protocol {
                Protocol::OpenAi => Protocol::Anthropic,
                Protocol::Anthropic => Protocol::OpenAi,
            };
            Err(Refusal::new(Code::DialectNotCarried)
                .param("model")
                .detail(format!("Call this alias at {}.", other.endpoint())))
        }
    }
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
        "audio" | "prediction" | "web_search_options" | "mcp_servers" | "container" => {
            !value.is_null()
        }
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
    for name in COSTLY.into_iter().chain(["container"]) {
        if request
            .body
            .get(name)
            .is_some_and(|value| costly(name, value))
            && !allowed(name)
        {
            return Err(refuse(name, name));
        }
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
    let messages = body.get("messages")?.as_array()?;
    messages.iter().enumerate().find_map(|(i, message)| {
        let parts = message.get("content")?.as_array()?;
        let part = parts.iter().position(|part| {
            part.get("type")
                .and_then(Value::as_str)
                .is_some_and(|kind| {
                    matches!(
                        kind,
                        "image_url" | "image" | "input_audio" | "file" | "document"
                    )
                })
        })?;
        Some(format!("messages[{i}].content[{part}]"))
    })
}

/// The body for the provider: the caller's, with the real model, the system prompt and the ceilings put in.
fn chat_body(
    alias: &Alias,
    provider: &ActiveProvider,
    model: &str,
    request: &ChatRequest,
) -> Vec<u8> {
    let mut body = request.body.clone();
    body.insert("model".into(), Value::from(model));
    if let Some(system) = &alias.system {
        match request.protocol {
            Protocol::OpenAi => prepend_system_message(&mut body, system),
            Protocol::Anthropic => prepend_system_field(&mut body, system),
        }
    }
    if request
        .temperature
        .is_some_and(|t| t > alias.max_temperature)
    {
        body.insert("temperature".into(), json!(alias.max_temperature));
    }
    match request.protocol {
        Protocol::OpenAi => cap_openai_output(&mut body, alias.max_output_tokens, provider),
        Protocol::Anthropic => cap(&mut body, "max_tokens", alias.max_output_tokens),
    }
    to_bytes(&body)
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

fn to_bytes(body: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Answerer, find_alias, plan_chat, protocols};
    use crate::base::errors::{Code, Refusal};
    use crate::domain::llm::Protocol;
    use crate::domain::llm::request::chat_request;
    use crate::domain::settings::Settings;
    use serde_json::{Value, json};

    fn settings(pairs: &[(&'static str, &'static str)]) -> Settings {
        let pairs = pairs.to_vec();
        Settings::resolve(&move |name| {
            pairs
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
        .unwrap()
    }

    fn sent(settings: &Settings, protocol: Protocol, body: Value) -> Result<Value, Refusal> {
        let Value::Object(body) = body else { panic!() };
        let request = chat_request(body, protocol)?;
        let alias = find_alias(settings, &request.alias)?;
        match plan_chat(settings, alias, &request)?.answerer {
            Answerer::Builtin => Ok(Value::Null),
            Answerer::Provider { body, .. } => Ok(serde_json::from_slice(&body).unwrap()),
        }
    }

    const OPENAI: [(&str, &str); 1] = [("OPENAI_API_KEY", "k")];

    #[test]
    fn the_alias_pins_model_system_and_ceilings() {
        let settings = settings(&OPENAI);
        let body = json!({"model": "site", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 99999, "seed": 1});
        let sent = sent(&settings, Protocol::OpenAi, body).unwrap();
        assert_eq!(sent["model"], "gpt-5-mini");
        assert_eq!(sent["messages"][0]["role"], "system");
        assert_eq!(sent["messages"][1]["content"], "hi");
        assert_eq!(sent["max_completion_tokens"], 1024);
        assert_eq!(sent.get("max_tokens"), None);
        assert_eq!(sent["seed"], 1, "unknown fields survive");
    }

    #[test]
    fn local_servers_get_the_field_they_know() {
        let settings = settings(&[("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")]);
        let body = json!({"model": "site", "messages": [{"role": "user", "content": "hi"}]});
        let sent = sent(&settings, Protocol::OpenAi, body).unwrap();
        assert_eq!(sent["max_tokens"], 1024);
    }

    #[test]
    fn anthropic_systems_are_joined() {
        let settings = settings(&[("ANTHROPIC_API_KEY", "k")]);
        let base = json!({"model": "site", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
        for (own, check) in [
            (json!("Be kind."), "string"),
            (json!([{"type": "text", "text": "Be kind."}]), "array"),
        ] {
            let mut body = base.clone();
            body["system"] = own;
            let sent = sent(&settings, Protocol::Anthropic, body).unwrap();
            let text = sent["system"].to_string();
            assert!(
                text.contains("visitors") && text.contains("Be kind."),
                "{check}"
            );
            assert_eq!(sent["max_tokens"], 5);
        }
    }

    #[test]
    fn no_caller_reaches_a_model_that_no_alias_names() {
        let settings = settings(&OPENAI);
        let body = json!({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(
            sent(&settings, Protocol::OpenAi, body).unwrap_err().code,
            Code::ModelNotFound
        );
    }

    #[test]
    fn costly_parameters_need_the_operators_word() {
        let settings = settings(&OPENAI);
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
            let mut body =
                json!({"model": "site", "messages": [{"role": "user", "content": "hi"}]});
            for (key, value) in patch.as_object().unwrap() {
                body[key] = value.clone();
            }
            let refusal = sent(&settings, Protocol::OpenAi, body).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.param.as_deref()),
                (Code::UnsupportedParameter, Some(param))
            );
        }
        let harmless = json!({
            "model": "site", "messages": [{"role": "user", "content": "hi"}], "n": 1, "store": false,
            "tools": [{"type": "function", "function": {"name": "f"}}]
        });
        assert!(sent(&settings, Protocol::OpenAi, harmless).is_ok());
    }

    #[test]
    fn the_other_protocol_is_refused_with_the_way_out() {
        let settings = settings(&[("ANTHROPIC_API_KEY", "k")]);
        let body = json!({"model": "site", "messages": [{"role": "user", "content": "hi"}]});
        let refusal = sent(&settings, Protocol::OpenAi, body).unwrap_err();
        assert_eq!(refusal.code, Code::DialectNotCarried);
        assert!(refusal.detail.unwrap().contains("/v1/messages"));
        assert_eq!(
            protocols(&settings, settings.alias("site").unwrap()),
            [Protocol::Anthropic]
        );
    }

    #[test]
    fn too_long_an_input_is_refused_with_both_numbers() {
        let settings = settings(&OPENAI);
        let body =
            json!({"model": "site", "messages": [{"role": "user", "content": "x".repeat(70_000)}]});
        let refusal = sent(&settings, Protocol::OpenAi, body).unwrap_err();
        assert_eq!(refusal.code, Code::InputTooLong);
        assert!(refusal.detail.unwrap().contains("65536"));
    }

    #[test]
    fn an_alias_without_an_active_provider_names_the_variable() {
        let settings = settings(&[]);
        let alias = settings.alias("embed").unwrap();
        assert!(alias.targets.is_empty());
    }
}
