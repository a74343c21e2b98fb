//! The normal form → a provider's request.

use serde_json::{Value, json};

use super::{assistant, call, conversation, from_chat, goldens, result, turn, user, weather_tool};
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::messages::request::{
    Generation, budget_of, effort_of, write, write_for,
};
use crate::domain::llm::normal::conversation::{
    Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Source, Thought, Tool, ToolCall,
    ToolChoice, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;

#[test]
fn every_golden_request_is_written_as_it_came() {
    for (mut body, conversation) in goldens() {
        let written = write(&conversation);
        assert_eq!(written.lost, []);
        body.remove("model");
        // One plain text may stand for itself: the shorter form of the same request.
        for message in body["messages"].as_array_mut().unwrap() {
            shorten(&mut message["content"]);
            for block in message["content"].as_array_mut().into_iter().flatten() {
                if let Some(content) = block.get_mut("content") {
                    shorten(content);
                }
            }
        }
        assert_eq!(written.body, body);
    }
}

fn shorten(content: &mut Value) {
    if let [block] = content.as_array().map_or(&[][..], Vec::as_slice)
        && block.as_object().unwrap().len() == 2
        && let Some(text) = block.get("text")
    {
        *content = text.clone();
    }
}

fn messages(conversation: &Conversation) -> Value {
    write(conversation).body["messages"].clone()
}

fn lost(conversation: &Conversation) -> Vec<(Feature, String)> {
    let lost = write(conversation).lost;
    lost.into_iter()
        .map(|item| (item.feature, item.param))
        .collect()
}

#[test]
fn roles_alternate_and_results_come_first() {
    let turns = vec![
        user("a"),
        user("b"),
        turn(Role::Assistant, vec![call("1", "Paris")]),
        turn(Role::Assistant, vec![call("2", "Rome")]),
        turn(Role::User, vec![result("1", "x", false)]),
        user("and now?"),
        turn(Role::User, vec![result("2", "y", true)]),
    ];
    let written = messages(&from_chat(turns));
    assert_eq!(
        written,
        json!([
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "1", "name": "get_weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "2", "name": "get_weather", "input": {"city": "Rome"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "x"},
                {"type": "tool_result", "tool_use_id": "2", "content": "y", "is_error": true},
                {"type": "text", "text": "and now?"},
            ]},
        ])
    );
}

#[test]
fn what_the_api_refuses_is_left_out_or_filled_in() {
    let blank = from_chat(vec![
        user(""),
        turn(Role::User, vec![]),
        user("a"),
        assistant(" \n"),
        user("b"),
    ]);
    assert_eq!(
        messages(&blank),
        json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])
    );
    let opening = from_chat(vec![assistant("Welcome."), user("a")]);
    assert_eq!(
        messages(&opening)[0],
        json!({"role": "user", "content": "."})
    );
    let prefill = from_chat(vec![user("a"), assistant("The answer is \n")]);
    assert_eq!(messages(&prefill)[1]["content"], "The answer is");
    let inner = from_chat(vec![user("a"), assistant("kept "), user("b")]);
    assert_eq!(messages(&inner)[1]["content"], "kept ");
}

#[test]
fn instructions_alone_become_the_users_words() {
    let alone = Conversation {
        system: vec![Part::text("Tell a joke.")],
        ..from_chat(vec![])
    };
    let body = write(&alone).body;
    assert_eq!(
        body["messages"],
        json!([{"role": "user", "content": "Tell a joke."}])
    );
    assert_eq!(body.get("system"), None);
    assert_eq!(
        messages(&from_chat(vec![])),
        json!([{"role": "user", "content": "."}])
    );
}

#[test]
fn instructions_in_the_middle_become_the_users_words_and_are_told() {
    let turns = vec![
        user("a"),
        turn(Role::System, vec![Part::text("Be brief.")]),
        assistant("b"),
        user("c"),
    ];
    let conversation = from_chat(turns);
    assert_eq!(
        messages(&conversation)[0]["content"][1]["text"],
        "Be brief."
    );
    assert_eq!(
        lost(&conversation),
        [(Feature::SystemTurn, "messages[].role".to_owned())]
    );
}

#[test]
fn arguments_that_are_no_object_are_told_and_the_call_is_kept() {
    let turns = |arguments: &str| {
        let call = Part::ToolCall(ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: arguments.into(),
        });
        from_chat(vec![
            user("a"),
            turn(Role::Assistant, vec![call]),
            turn(Role::User, vec![result("1", "x", false)]),
        ])
    };
    for (arguments, input, carried) in [
        ("", json!({}), true),
        ("{}", json!({}), true),
        ("{\"a\":[1]}", json!({"a": [1]}), true),
        ("[1]", json!({}), false),
        ("{\"a\":", json!({}), false),
    ] {
        let conversation = turns(arguments);
        assert_eq!(
            messages(&conversation)[1]["content"][0]["input"],
            input,
            "{arguments}"
        );
        let expected = if carried {
            vec![]
        } else {
            vec![(
                Feature::Other,
                "messages[].tool_calls[].function.arguments".to_owned(),
            )]
        };
        assert_eq!(lost(&conversation), expected, "{arguments}");
    }
}

#[test]
fn ids_of_other_makers_are_made_to_fit_on_both_sides() {
    let turns = vec![
        user("a"),
        turn(
            Role::Assistant,
            vec![call("functions.get_weather:0", "Paris")],
        ),
        turn(
            Role::User,
            vec![result("functions.get_weather:0", "x", false)],
        ),
    ];
    let written = messages(&from_chat(turns));
    assert_eq!(written[1]["content"][0]["id"], "functions_get_weather_0");
    assert_eq!(
        written[2]["content"][0]["tool_use_id"],
        "functions_get_weather_0"
    );
}

#[test]
fn thoughts_of_other_makers_stay_behind() {
    let thought = |thought| {
        from_chat(vec![
            user("a"),
            turn(
                Role::Assistant,
                vec![Part::Reasoning(thought), Part::text("b")],
            ),
            user("c"),
        ])
    };
    let unsigned = Thought {
        text: "hm".into(),
        ..Thought::default()
    };
    let sealed_elsewhere = Thought {
        sealed: Some("x".into()),
        id: Some("rs_1".into()),
        ..Thought::default()
    };
    for foreign in [unsigned, sealed_elsewhere] {
        let conversation = thought(foreign);
        assert_eq!(messages(&conversation)[1]["content"], "b");
        assert_eq!(
            lost(&conversation),
            [(Feature::Hint, "messages[].reasoning_content".to_owned())]
        );
    }
}

#[test]
fn pictures_and_files_of_other_types_are_told() {
    let base64 = |media_type: &str, data: &str| Source::Base64 {
        media_type: media_type.into(),
        data: data.into(),
    };
    let image = |source, detail: Option<&str>| Part::Image {
        source,
        detail: detail.map(str::to_owned),
        cache: None,
    };
    let file = |source| Part::File {
        source,
        name: None,
        cache: None,
    };
    let cases = [
        (image(base64("image/webp", "AA=="), Some("auto")), None),
        (
            image(base64("image/png", "AA=="), Some("low")),
            Some((Feature::Hint, "messages[].content[].image_url.detail")),
        ),
        (
            image(base64("image/tiff", "AA=="), None),
            Some((Feature::Image, "messages[].content[]")),
        ),
        (file(base64("text/csv", "YSxi")), None),
        (file(base64("application/json", "e30=")), None),
        (
            file(base64("text/plain", "/w==")),
            Some((Feature::File, "messages[].content[]")),
        ),
        (
            file(base64("application/zip", "AA==")),
            Some((Feature::File, "messages[].content[]")),
        ),
        (file(Source::Url("https://example.com/a.pdf".into())), None),
    ];
    for (part, loss) in cases {
        let name = format!("{part:?}");
        let conversation = from_chat(vec![turn(
            Role::User,
            vec![Part::text("a"), part.clone(), part],
        )]);
        let expected: Vec<_> = loss
            .into_iter()
            .map(|(feature, param)| (feature, param.to_owned()))
            .collect();
        assert_eq!(lost(&conversation), expected, "{name}, told once");
    }
}

#[test]
fn tool_choice_and_parallel_calls_have_their_own_words() {
    let with = |tool_choice: ToolChoice, parallel_tools| Conversation {
        tools: vec![weather_tool(None)],
        tool_choice,
        parallel_tools,
        ..from_chat(vec![user("a")])
    };
    let named = || ToolChoice::Named("f".into());
    for (choice, parallel, written) in [
        (ToolChoice::Unset, None, Value::Null),
        (ToolChoice::Unset, Some(true), Value::Null),
        (
            ToolChoice::Unset,
            Some(false),
            json!({"type": "auto", "disable_parallel_tool_use": true}),
        ),
        (ToolChoice::Auto, None, json!({"type": "auto"})),
        (ToolChoice::None, Some(false), json!({"type": "none"})),
        (ToolChoice::Required, Some(true), json!({"type": "any"})),
        (
            named(),
            Some(false),
            json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true}),
        ),
    ] {
        let body = write(&with(choice.clone(), parallel)).body;
        assert_eq!(
            body.get("tool_choice").cloned().unwrap_or_default(),
            written,
            "{choice:?} {parallel:?}"
        );
    }
    let no_tools = |tool_choice| Conversation {
        tools: vec![],
        ..with(tool_choice, Some(false))
    };
    assert_eq!(
        write(&no_tools(ToolChoice::Auto)).body.get("tool_choice"),
        None
    );
    assert_eq!(lost(&no_tools(ToolChoice::Auto)), []);
    assert_eq!(
        lost(&no_tools(ToolChoice::Required)),
        [(Feature::Other, "tool_choice".to_owned())]
    );
}

#[test]
fn a_tool_without_arguments_has_an_empty_schema_and_any_other_is_not_touched() {
    let tool = |parameters: Option<Value>| {
        let tool = Tool {
            parameters,
            strict: Some(true),
            ..weather_tool(None)
        };
        let conversation = Conversation {
            tools: vec![tool],
            ..from_chat(vec![user("a")])
        };
        write(&conversation).body["tools"][0].clone()
    };
    let nothing = json!({"type": "object", "properties": {}});
    assert_eq!(tool(None)["input_schema"], nothing);
    assert_eq!(tool(Some(json!({})))["input_schema"], nothing);
    let odd = json!({"properties": {"a": {}}});
    assert_eq!(tool(Some(odd.clone()))["input_schema"], odd);
    assert_eq!(tool(None)["strict"], true);
}

fn sampled(sampling: Sampling) -> Conversation {
    Conversation {
        sampling,
        ..from_chat(vec![user("a")])
    }
}

#[test]
fn sampling_is_clamped_carried_or_told() {
    let body = write(&sampled(Sampling {
        temperature: Some(1.7),
        top_k: Some(5),
        ..Sampling::default()
    }));
    assert_eq!(
        (&body.body["temperature"], &body.body["top_k"]),
        (&json!(1.0), &json!(5))
    );
    assert_eq!(body.body["max_tokens"], 4096);
    assert_eq!(body.lost, []);

    let both = Sampling {
        temperature: Some(0.2),
        top_p: Some(0.5),
        ..Sampling::default()
    };
    assert_eq!(
        lost(&sampled(both.clone())),
        [(Feature::Other, "top_p".to_owned())]
    );
    let defaults = Sampling {
        temperature: Some(1.0),
        top_p: Some(0.5),
        ..Sampling::default()
    };
    let body = write(&sampled(defaults)).body;
    assert_eq!(
        (body.get("temperature"), &body["top_p"]),
        (None, &json!(0.5)),
        "a default gives way"
    );
    let default = Sampling {
        temperature: Some(0.2),
        top_p: Some(1.0),
        ..Sampling::default()
    };
    assert_eq!(lost(&sampled(default)), []);

    let rest = Sampling {
        seed: Some(1),
        presence_penalty: Some(0.0),
        frequency_penalty: Some(0.5),
        stop: vec!["END".into(), "\n".into()],
        ..Sampling::default()
    };
    let conversation = sampled(rest);
    assert_eq!(
        lost(&conversation),
        [
            (Feature::Stop, "stop".to_owned()),
            (Feature::Seed, "seed".to_owned()),
            (Feature::Penalties, "frequency_penalty".to_owned()),
        ]
    );
    assert_eq!(write(&conversation).body["stop_sequences"], json!(["END"]));
}

#[test]
fn formats_are_carried_or_told_in_the_callers_words() {
    for (origin, param, description) in [
        (
            Protocol::Chat,
            "response_format",
            "response_format.json_schema.description",
        ),
        (
            Protocol::Responses,
            "text.format",
            "text.format.description",
        ),
    ] {
        let conversation = |format| Conversation {
            origin,
            format,
            ..conversation(vec![user("a")])
        };
        assert_eq!(
            lost(&conversation(Format::JsonObject)),
            [(Feature::JsonObject, param.to_owned())]
        );
        let schema = Format::Schema {
            name: "weather".into(),
            description: Some("of a city".into()),
            schema: json!({"type": "object"}),
            strict: None,
        };
        let conversation = conversation(schema);
        assert_eq!(
            lost(&conversation),
            [(Feature::Hint, description.to_owned())]
        );
        assert_eq!(
            write(&conversation).body["output_config"],
            json!({"format": {"type": "json_schema", "schema": {"type": "object"}}})
        );
    }
}

fn thinks(effort: Effort, max_output: u64) -> Conversation {
    Conversation {
        reasoning: Some(Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        }),
        ..sampled(Sampling {
            max_output: Some(max_output),
            ..Sampling::default()
        })
    }
}

#[test]
fn effort_becomes_a_budget_below_the_ceiling() {
    let budget = |effort, max_output| {
        write(&thinks(effort, max_output)).body["thinking"]["budget_tokens"].clone()
    };
    assert_eq!(budget(Effort::Minimal, 64_000), 1024);
    assert_eq!(budget(Effort::Low, 64_000), 2048);
    assert_eq!(budget(Effort::Medium, 64_000), 8192);
    assert_eq!(budget(Effort::High, 64_000), 16_384);
    assert_eq!(budget(Effort::Max, 64_000), 32_000);
    assert_eq!(
        budget(Effort::High, 4096),
        3072,
        "a quarter stays for the answer"
    );
    assert_eq!(budget(Effort::High, 2048), 1536);
    let none = write(&thinks(Effort::None, 64_000));
    assert_eq!(none.body["thinking"], json!({"type": "disabled"}));
    assert_eq!(none.lost, []);
}

#[test]
fn every_effort_is_its_budgets_effort() {
    for effort in [
        Effort::Minimal,
        Effort::Low,
        Effort::Medium,
        Effort::High,
        Effort::Max,
    ] {
        let budget = budget_of(effort).unwrap();
        assert_eq!(effort_of(budget), effort);
        // There is no less than minimal.
        assert!(effort_of(budget - 1) < effort || effort == Effort::Minimal);
    }
    assert_eq!(
        (budget_of(Effort::None), effort_of(0)),
        (None, Effort::None)
    );
}

#[test]
fn thinking_gives_way_to_what_the_api_refuses_beside_it() {
    let reasoning = (Feature::Reasoning, "reasoning_effort".to_owned());
    let base = || thinks(Effort::High, 64_000);
    let in_loop = |first: Option<Part>| {
        let mut said: Vec<Part> = first.into_iter().collect();
        said.push(call("1", "Paris"));
        Conversation {
            turns: vec![
                user("a"),
                turn(Role::Assistant, said),
                turn(Role::User, vec![result("1", "x", false)]),
            ],
            ..base()
        }
    };
    let signed = Part::Reasoning(Thought {
        text: "hm".into(),
        signature: Some("s".into()),
        ..Thought::default()
    });
    let forced = Conversation {
        tools: vec![weather_tool(None)],
        tool_choice: ToolChoice::Required,
        ..base()
    };
    let prefilled = Conversation {
        turns: vec![user("a"), assistant("b")],
        ..base()
    };
    for conversation in [thinks(Effort::Low, 2047), in_loop(None), forced, prefilled] {
        assert_eq!(write(&conversation).body.get("thinking"), None);
        assert_eq!(lost(&conversation), std::slice::from_ref(&reasoning));
    }
    assert_eq!(
        write(&in_loop(Some(signed))).body["thinking"]["type"],
        "enabled"
    );
    assert_eq!(lost(&base()), []);
    // An old tool loop does not matter.
    let over = Conversation {
        turns: [in_loop(None).turns, vec![assistant("done"), user("b")]].concat(),
        ..base()
    };
    assert_eq!(lost(&over), []);
}

#[test]
fn sampling_gives_way_to_thinking() {
    let conversation = Conversation {
        sampling: Sampling {
            max_output: Some(64_000),
            temperature: Some(0.2),
            top_p: Some(0.5),
            top_k: Some(3),
            ..Sampling::default()
        },
        ..thinks(Effort::Low, 64_000)
    };
    let written = write(&conversation);
    assert_eq!(written.body["thinking"]["type"], "enabled");
    assert!(
        ["temperature", "top_p", "top_k"]
            .iter()
            .all(|name| !written.body.contains_key(*name))
    );
    let names: Vec<&str> = written
        .lost
        .iter()
        .map(|item| item.param.as_str())
        .collect();
    assert_eq!(names, ["temperature", "top_p", "top_k"]);
    let narrow = Conversation {
        sampling: Sampling {
            max_output: Some(64_000),
            top_p: Some(0.97),
            ..Sampling::default()
        },
        ..thinks(Effort::Low, 64_000)
    };
    assert_eq!(write(&narrow).body["top_p"], 0.97);
}

#[test]
fn newer_models_think_adaptively_and_take_no_sampling() {
    let conversation = Conversation {
        sampling: Sampling {
            max_output: Some(1000),
            temperature: Some(1.0),
            top_p: Some(0.5),
            ..Sampling::default()
        },
        ..thinks(Effort::Minimal, 1000)
    };
    let written = write_for(&conversation, Generation::Adaptive);
    assert_eq!(
        written.body["thinking"],
        json!({"type": "adaptive", "display": "omitted"})
    );
    assert_eq!(written.body["output_config"], json!({"effort": "low"}));
    assert_eq!(written.body.get("temperature"), None);
    assert_eq!(
        written.lost,
        [Unplaced {
            feature: Feature::Other,
            param: "top_p".into()
        }]
    );
    let budget = Conversation {
        reasoning: Some(Reasoning {
            budget_tokens: Some(9000),
            show: true,
            ..Reasoning::default()
        }),
        ..conversation
    };
    let written = write_for(&budget, Generation::Adaptive);
    assert_eq!(
        written.body["thinking"],
        json!({"type": "adaptive", "display": "summarized"})
    );
    assert_eq!(written.body["output_config"], json!({"effort": "medium"}));
}

#[test]
fn a_summary_alone_does_not_turn_thinking_on() {
    let conversation = Conversation {
        origin: Protocol::Responses,
        reasoning: Some(Reasoning {
            show: true,
            ..Reasoning::default()
        }),
        ..conversation(vec![user("a")])
    };
    assert_eq!(
        lost(&conversation),
        [(Feature::Hint, "reasoning.summary".to_owned())]
    );
}

#[test]
fn the_generation_is_told_by_the_version_in_the_name() {
    for model in [
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-opus-4-6",
        "claude-sonnet-4-20250514",
        "claude-3-5-sonnet-latest",
        "claude-3-opus-20240229",
        "anthropic/claude-sonnet-4.6",
        "us.anthropic.claude-opus-4-5-20251101-v1:0",
        "claude-2.1",
        "deepseek-chat",
        "",
    ] {
        assert_eq!(Generation::of(model), Generation::Budget, "{model}");
    }
    for model in [
        "claude-opus-4-7",
        "anthropic/claude-opus-4.8",
        "claude-opus-4-8-20260528",
        "claude-sonnet-5",
        "claude-haiku-5-5",
        "claude-fable-5-1",
        "claude-mythos-preview",
        "claude-opus-10",
    ] {
        assert_eq!(Generation::of(model), Generation::Adaptive, "{model}");
    }
}
