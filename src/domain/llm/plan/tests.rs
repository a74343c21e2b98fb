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

/// Settings of an alias whose one target speaks that dialect.
fn toward(protocol: Protocol, change: impl FnOnce(&mut Config)) -> Settings {
    let keys = match protocol {
        Protocol::Messages => ANTHROPIC,
        _ => OPENAI,
    };
    settings(keys, |config| {
        if protocol == Protocol::Responses {
            config.providers[0].kind = ProviderKind::OpenaiResponses;
            config.aliases.retain(|alias| alias.name != "embed");
        }
        change(config);
    })
}

#[test]
fn the_properties_of_a_schema_reach_every_provider_in_the_order_given() {
    const SCHEMA: &str = r#"{"type":"object","properties":{"reasoning":{"type":"string"},"nested":{"type":"object","properties":{"z":{"type":"number"},"a":{"type":"number"}}},"answer":{"type":"string"}},"required":["reasoning","nested","answer"],"additionalProperties":false}"#;
    let bodies = [
        (
            Protocol::Chat,
            r#"{"model":"site","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":SCHEMA}}],
                "response_format":{"type":"json_schema","json_schema":{"name":"reply","strict":true,"schema":SCHEMA}}}"#,
        ),
        (
            Protocol::Messages,
            r#"{"model":"site","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":SCHEMA}],
                "output_config":{"format":{"type":"json_schema","schema":SCHEMA}}}"#,
        ),
        (
            Protocol::Responses,
            r#"{"model":"site","input":"hi","tools":[{"type":"function","name":"f","parameters":SCHEMA,"strict":false}],
                "text":{"format":{"type":"json_schema","name":"reply","strict":true,"schema":SCHEMA}}}"#,
        ),
    ];
    for target in Protocol::ALL {
        let settings = toward(target, |_| {});
        for (caller, body) in bodies {
            let body = serde_json::from_str(&body.replace("SCHEMA", SCHEMA)).unwrap();
            let candidates = candidates(&settings, caller, body).unwrap();
            let (_, bytes) = candidates[0].body(Mode::Fresh, None);
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(
                text.matches(SCHEMA).count(),
                2,
                "{caller:?} {target:?} {text}"
            );
        }
    }
}

#[test]
fn a_body_of_the_same_dialect_keeps_the_order_of_its_fields() {
    let settings = settings(OPENAI, |config| config.aliases[0].system = None);
    let text = r#"{"zebra":1,"stream":false,"messages":[{"role":"user","content":"hi"}],"model":"site","max_tokens":5,"apple":{"b":1,"a":2}}"#;
    let candidates = candidates(
        &settings,
        Protocol::Chat,
        serde_json::from_str(text).unwrap(),
    );
    let (_, bytes) = candidates.unwrap()[0].body(Mode::Fresh, None);
    let expected = r#"{"zebra":1,"messages":[{"role":"user","content":"hi"}],"model":"gpt-5-mini","apple":{"b":1,"a":2},"max_completion_tokens":5}"#;
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn instructions_alone_are_sent_as_input_and_nothing_at_all_is_refused() {
    let settings = toward(Protocol::Responses, |config| {
        config.aliases[0].system = None
    });
    let alone = json!({"model": "site", "messages": [{"role": "system", "content": "Say hi."}]});
    let sent_body = sent(&settings, Protocol::Chat, alone).unwrap();
    assert_eq!(sent_body["input"].as_array().unwrap().len(), 1);
    assert!(sent_body["input"].to_string().contains("Say hi."));
    let empty = json!({"model": "site", "messages": [{"role": "user", "content": []}]});
    let refusal = sent(&settings, Protocol::Chat, empty).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.param.as_deref()),
        (Code::InvalidParameter, Some("messages"))
    );
}

#[test]
fn verbosity_is_carried_between_the_two_dialects_of_openai() {
    let to_responses = with(&json!({"verbosity": "low"}));
    let sent_there = sent(
        &toward(Protocol::Responses, |_| {}),
        Protocol::Chat,
        to_responses,
    );
    assert_eq!(sent_there.unwrap()["text"], json!({"verbosity": "low"}));
    let beside = with(&json!({"verbosity": "low", "response_format": {"type": "json_object"}}));
    let sent_there = sent(&toward(Protocol::Responses, |_| {}), Protocol::Chat, beside);
    assert_eq!(
        sent_there.unwrap()["text"],
        json!({"format": {"type": "json_object"}, "verbosity": "low"})
    );
    let to_chat = json!({"model": "site", "input": "hi", "text": {"verbosity": "high"}});
    let sent_there = sent(
        &toward(Protocol::Chat, |_| {}),
        Protocol::Responses,
        to_chat,
    );
    assert_eq!(sent_there.unwrap()["verbosity"], "high");
    // Anthropic's has no such thing.
    let refused = with(&json!({"verbosity": "low"}));
    let refusal = sent(&toward(Protocol::Messages, |_| {}), Protocol::Chat, refused).unwrap_err();
    assert_eq!(refusal.param.as_deref(), Some("verbosity"));
}

#[test]
fn the_targets_own_ceiling_is_kept_where_it_is_lower() {
    let settings = settings(OPENAI, |config| {
        config.aliases[0].targets[0].max_output_tokens = Some(100);
    });
    let of = |body| sent(&settings, Protocol::Chat, body).unwrap()["max_completion_tokens"].clone();
    assert_eq!(of(hi()), 100);
    assert_eq!(of(with(&json!({"max_completion_tokens": 7}))), 7);
}

#[test]
fn of_two_ceilings_one_is_sent_with_the_lower_value() {
    let both =
        |few: u64, many: u64| with(&json!({"max_completion_tokens": few, "max_tokens": many}));
    let official = settings(OPENAI, |_| {});
    let other = settings(OPENAI, |config| {
        config.providers[0].base_url_var = None;
        config.providers[0].base_url = Some("https://other.example/v1".into());
    });
    for (settings, kept, left_out) in [
        (&official, "max_completion_tokens", "max_tokens"),
        (&other, "max_tokens", "max_completion_tokens"),
    ] {
        for (few, many, lower) in [(1, 2000, 1), (2000, 1, 1), (5000, 9000, 1024)] {
            let sent = sent(settings, Protocol::Chat, both(few, many)).unwrap();
            assert_eq!(sent[kept], lower, "{kept}");
            assert_eq!(sent.get(left_out), None);
        }
    }
}

#[test]
fn a_ceiling_under_a_name_that_is_not_capped_needs_the_operators_word() {
    for (param, value) in [
        ("n_predict", json!(9000)),
        ("num_predict", json!(9000)),
        ("max_new_tokens", json!(9000)),
        ("max_output_tokens", json!(9000)),
        ("options", json!({"num_predict": 9000})),
    ] {
        let settings = settings(OPENAI, |_| {});
        let mut body = hi();
        body[param] = value.clone();
        let refusal = sent(&settings, Protocol::Chat, body).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some(param));
    }
    let settings = toward(Protocol::Responses, |_| {});
    let own = json!({"model": "site", "input": "hi", "max_output_tokens": 9});
    assert_eq!(
        sent(&settings, Protocol::Responses, own).unwrap()["max_output_tokens"],
        9
    );
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
    let detail = refusal.detail.unwrap();
    assert!(
        detail.contains("2048") && detail.contains("1024"),
        "{detail}"
    );
    let effort = with(&json!({"reasoning_effort": "high", "max_tokens": 500}));
    let refusal = candidates(&refusing, Protocol::Chat, effort).unwrap_err();
    assert_eq!(refusal.param.as_deref(), Some("reasoning_effort"));
    let detail = refusal.detail.unwrap();
    assert!(
        detail.contains("2048") && detail.contains("500"),
        "{detail}"
    );
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
        "n": 1, "store": false, "service_tier": null, "audio": null, "models": [], "fallbacks": null, "tools": [{"type": "function", "function": {"name": "f"}}]
    }));
    assert!(sent(&settings, Protocol::Chat, harmless).is_ok());
}

#[test]
fn what_raises_the_price_or_chooses_another_model_needs_the_operators_word() {
    let refused = |param: &str, value: &Value, allowed: &[&str]| {
        Protocol::ALL.map(|protocol| {
            let settings = toward(protocol, |config| {
                config.aliases[0].allow_parameters =
                    allowed.iter().map(|name| (*name).to_owned()).collect();
            });
            let mut body = match protocol {
                Protocol::Responses => json!({"model": "site", "input": "hi"}),
                _ => with(&json!({"max_tokens": 9})),
            };
            body[param] = value.clone();
            match sent(&settings, protocol, body) {
                Ok(sent) => {
                    assert_eq!(&sent[param], value, "{param} passes as it is");
                    None
                }
                Err(refusal) => refusal.param,
            }
        })
    };
    for (param, value) in [
        ("inference_geo", json!("us")),
        ("speed", json!("fast")),
        ("models", json!(["dear"])),
        ("fallbacks", json!([{"model": "dear"}])),
        ("provider", json!({"order": ["dear"]})),
        ("providerOptions", json!({"gateway": {"models": ["dear"]}})),
        ("route", json!("fallback")),
        ("preset", json!("dear")),
        ("transforms", json!(["middle-out"])),
        ("plugins", json!([{"id": "web"}])),
        ("api_base", json!("https://elsewhere.example")),
        ("base_url", json!("https://elsewhere.example")),
        ("search_parameters", json!({"mode": "on"})),
        ("data_sources", json!([{"type": "azure_search"}])),
        ("enable_search", json!(true)),
        ("best_of", json!(3.0)),
    ] {
        let named = [const { None }; 3].map(|_: Option<()>| Some(param.to_owned()));
        assert_eq!(refused(param, &value, &[]), named, "{param}");
        assert_eq!(refused(param, &value, &[param]), [None, None, None]);
        assert_eq!(refused(param, &Value::Null, &[]), [None, None, None]);
    }
    for (param, value) in [
        ("speed", json!("standard")),
        ("models", json!([])),
        ("enable_search", json!(false)),
    ] {
        assert_eq!(refused(param, &value, &[]), [None, None, None], "{param}");
    }
}

#[test]
fn pictures_and_files_inside_tool_results_need_the_operators_word_too() {
    let image =
        json!({"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}});
    let messages = |result: Value| {
        json!({"model": "site", "max_tokens": 9, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"content": [image]}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}, result]}]},
        ]})
    };
    let responses = |output: Value| {
        json!({"model": "site", "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": output},
        ]})
    };
    let input_image = json!([{"type": "input_image", "image_url": "https://x.example/a.png"}]);
    for (protocol, body, path) in [
        (
            Protocol::Messages,
            messages(image.clone()),
            "messages[2].content[0].content[1]",
        ),
        (
            Protocol::Messages,
            messages(
                json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
            ),
            "messages[2].content[0].content[1]",
        ),
        (
            Protocol::Responses,
            responses(input_image),
            "input[2].output[0]",
        ),
    ] {
        let refusing = toward(protocol, |_| {});
        let refusal = sent(&refusing, protocol, body.clone()).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some(path));
        let allowing = toward(protocol, |config| {
            config.aliases[0].allow_parameters = vec!["images".into()];
        });
        assert!(sent(&allowing, protocol, body).is_ok());
    }
    // A tool's arguments that look like a picture are none.
    let harmless = messages(json!({"type": "text", "text": "y"}));
    assert!(
        sent(
            &toward(Protocol::Messages, |_| {}),
            Protocol::Messages,
            harmless
        )
        .is_ok()
    );
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
    let body = || {
        with(
            &json!({"messages": turns.clone(), "max_tokens": 100, "logit_bias": {"1": 2}, "made_up": 1}),
        )
    };
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
    let sent = body_of(&candidates[0], Mode::Fresh, None);
    assert_eq!(
        (&sent["logit_bias"], &sent["made_up"]),
        (&json!({"1": 2}), &json!(1)),
        "unknown fields survive"
    );
    let sent = sent.to_string();
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
