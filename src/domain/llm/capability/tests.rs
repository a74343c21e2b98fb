use super::{Capabilities, describe, needs, of, usual};
use crate::base::time::Millis;
use crate::domain::llm::normal::conversation::{
    Effort, Format, Part, Reasoning, Role, Source, Tool, ToolCall, Turn, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::tokens::empty;
use crate::domain::settings::config::{Capability, ProviderKind};
use crate::domain::settings::{Settings, embedded, names};
use serde_json::{Value, json};

fn set(list: &[Capability]) -> Capabilities {
    list.iter().copied().collect()
}

#[test]
fn every_capability_has_a_place_of_its_own() {
    for a in Capability::ALL {
        for b in Capability::ALL {
            assert_eq!(set(&[a]).has(b), a == b, "{a:?} {b:?}");
        }
        assert_eq!(serde_json::to_value(a).unwrap(), a.name());
    }
    let all = set(&Capability::ALL);
    assert_eq!(all.iter().collect::<Vec<_>>(), Capability::ALL);
    let two = set(&[Capability::Images, Capability::Tools]);
    assert_eq!(
        set(&[Capability::Tools]).lacks(two),
        set(&[Capability::Images])
    );
    assert!(all.lacks(two).is_empty());
}

#[test]
fn a_request_needs_what_is_in_it() {
    let part = |part: Part| {
        let mut with = empty();
        with.turns.push(Turn {
            role: Role::User,
            parts: vec![part],
        });
        with
    };
    let url = || Source::Url("https://example.org/".into());
    let image = || Part::Image {
        source: url(),
        detail: None,
        cache: None,
    };
    let call = ToolCall {
        id: "1".into(),
        name: "f".into(),
        arguments: String::new(),
    };
    let mut tools = empty();
    tools.tools.push(Tool {
        name: "f".into(),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
    });
    let mut parallel = tools.clone();
    parallel.parallel_tools = Some(true);
    let mut single = tools.clone();
    single.parallel_tools = Some(false);
    let mut object = empty();
    object.format = Format::JsonObject;
    let mut schema = empty();
    schema.format = Format::Schema {
        name: "a".into(),
        description: None,
        schema: json!({}),
        strict: None,
    };
    let thinking = |reasoning: Reasoning| {
        let mut with = empty();
        with.reasoning = Some(reasoning);
        with
    };
    let effort = |effort| {
        thinking(Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        })
    };
    let mut audio = empty();
    audio.unplaced.push(Unplaced {
        feature: Feature::Audio,
        param: "modalities".into(),
    });
    let mut streamed = empty();
    streamed.stream = true;
    let table = [
        (empty(), vec![]),
        (streamed, vec![]),
        (part(Part::text("a")), vec![]),
        (part(image()), vec![Capability::Images]),
        (
            part(Part::File {
                source: url(),
                name: None,
                cache: None,
            }),
            vec![Capability::Files],
        ),
        (part(Part::ToolCall(call)), vec![Capability::Tools]),
        (
            part(Part::ToolResult {
                id: "1".into(),
                content: vec![image()],
                is_error: false,
                cache: None,
            }),
            vec![Capability::Images, Capability::Tools],
        ),
        (tools, vec![Capability::Tools]),
        (single, vec![Capability::Tools]),
        (parallel, vec![Capability::Tools, Capability::ParallelTools]),
        (object, vec![Capability::JsonObject]),
        (schema, vec![Capability::JsonSchema]),
        (effort(Effort::None), vec![]),
        (effort(Effort::Low), vec![Capability::Reasoning]),
        (
            thinking(Reasoning {
                budget_tokens: Some(1024),
                ..Reasoning::default()
            }),
            vec![Capability::Reasoning],
        ),
        (
            thinking(Reasoning {
                adaptive: true,
                ..Reasoning::default()
            }),
            vec![Capability::Reasoning],
        ),
        (audio, vec![Capability::Audio]),
    ];
    for (conversation, wanted) in table {
        assert_eq!(needs(&conversation), set(&wanted), "{conversation:?}");
    }
}

/// The embedded configuration with one chat alias of these targets, and these prices.
fn settings(targets: &Value, prices: &Value) -> Settings {
    let mut config = serde_json::to_value(embedded().unwrap()).unwrap();
    config["alias"][0]["target"] = targets.clone();
    config["alias"][0]["max_output_tokens"] = json!(4096);
    config["alias"][0]["allow_parameters"] = json!(["images"]);
    config["price"] = prices.clone();
    let text = config.to_string();
    Settings::resolve(&move |name| match name {
        names::ENVIRONMENT => Some("test".into()),
        names::GATEHOUSE_CONFIG => Some(text.clone()),
        "OPENAI_API_KEY" => Some("sk-x".into()),
        _ => None,
    })
    .unwrap()
}

#[test]
fn an_alias_can_do_what_one_of_its_active_targets_can() {
    let settings = settings(
        &json!([
            {"provider": "openai", "model": "a", "capabilities": ["tools"], "context_tokens": 8000,
             "max_output_tokens": 1000, "tier": "small"},
            {"provider": "openai", "model": "b", "capabilities": ["images"], "context_tokens": 128_000,
             "max_output_tokens": 9000},
            {"provider": "anthropic", "model": "c", "tier": "large"},
            {"provider": "builtin"},
        ]),
        &json!([
            {"model": "a", "input": 0.25, "output": 2.0, "cached_input": 0.025},
            {"model": "b", "input": 0.25, "output": 2.0, "cached_input": 0.025},
            {"model": "b", "input": 1, "output": 3, "valid_from": "2026-10-07"},
            {"model": "c", "input": 9, "output": 9},
        ]),
    );
    let alias = &settings.aliases[0];
    assert_eq!(
        describe(&settings, alias, Millis(1_791_331_200_000)),
        json!({
            "capabilities": ["images", "tools"],
            "context_tokens": 128_000,
            "max_output_tokens": 4096,
            "prices": [
                {"input": 0.25, "output": 2.0, "cached_input": 0.025},
                {"input": 1.0, "output": 3.0},
            ],
            "tier": "medium",
            "protocols": crate::domain::llm::Protocol::ALL.map(crate::domain::llm::Protocol::name),
        })
    );
    let before = describe(&settings, alias, Millis(0));
    assert_eq!(before["prices"].as_array().unwrap().len(), 1);
}

#[test]
fn what_an_alias_refuses_is_not_told_as_a_capability() {
    let mut settings = settings(
        &json!([{"provider": "openai", "model": "a", "capabilities": ["images", "files", "audio", "tools"]}]),
        &json!([]),
    );
    let told = |settings: &Settings| {
        describe(settings, &settings.aliases[0], Millis(0))["capabilities"].clone()
    };
    assert_eq!(
        told(&settings),
        json!(["images", "files", "audio", "tools"])
    );
    settings.aliases[0].config.allow_parameters = vec!["n".into()];
    assert_eq!(told(&settings), json!(["tools"]));
}

#[test]
fn the_built_in_answerer_is_described_where_it_answers_alone() {
    let settings = settings(&json!([{"provider": "builtin"}]), &json!([]));
    let described = describe(&settings, &settings.aliases[0], Millis(0));
    assert_eq!(described["capabilities"], json!(["streaming"]));
    assert_eq!(described["context_tokens"], Value::Null);
    assert_eq!(described["prices"], json!([]));
}

#[test]
fn an_alias_of_embeddings_has_no_capabilities_of_a_chat() {
    let settings = settings(&json!([{"provider": "builtin"}]), &json!([]));
    let alias = settings.alias("embed").unwrap();
    let described = describe(&settings, alias, Millis(0));
    assert_eq!(described["capabilities"], json!([]));
    assert_eq!(described["protocols"], json!([]));
}

#[test]
fn what_is_configured_replaces_the_usual() {
    let settings = settings(
        &json!([{"provider": "openai", "model": "a", "capabilities": []}, {"provider": "openai", "model": "b"}]),
        &json!([]),
    );
    let targets = &settings.aliases[0].targets;
    let openai = ProviderKind::Openai;
    assert!(of(openai, &targets[0].config).is_empty());
    assert_eq!(of(openai, &targets[1].config), usual(openai));
    assert!(!usual(openai).has(Capability::Audio));
    assert!(!usual(ProviderKind::Anthropic).has(Capability::JsonObject));
}
