//! What is written, and what is lost with it.

use serde_json::{Value, json};

use super::{asks, assistant, call, lost, nothing, of_messages, result, tool, user};
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::chat::request::write;
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Effort, Part, Reasoning, Role, Sampling, Source, Thought, ToolChoice,
    Turn,
};
use crate::domain::llm::normal::feature::Feature;

#[test]
fn instructions_stand_in_front_or_in_the_middle() {
    let conversation = of_messages(json!([
        {"role": "system", "content": "A"}, {"role": "developer", "content": [{"type": "text", "text": "B"}]},
        {"role": "user", "content": "Hi"}, {"role": "system", "content": "C"},
    ]));
    assert_eq!(conversation.system, [Part::text("A"), Part::text("B")]);
    let mut turns = asks("Hi");
    turns.push(Turn {
        role: Role::System,
        parts: vec![Part::text("C")],
    });
    assert_eq!(conversation.turns, turns);
    let body = write(&conversation).body;
    let content = json!([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]);
    assert_eq!(
        body["messages"],
        json!([{"role": "system", "content": content}, {"role": "user", "content": "Hi"}, {"role": "system", "content": "C"}])
    );
}

#[test]
fn results_are_written_right_behind_the_calls() {
    // As Anthropic's and the Responses API's callers may order them.
    let turns = vec![
        assistant(vec![Part::text("Let me see.")]),
        assistant(vec![call("a", "")]),
        assistant(vec![call("b", "{}")]),
        Turn {
            role: Role::System,
            parts: vec![Part::text("Hurry.")],
        },
        user(vec![Part::text("And?"), result("b", "2")]),
        user(vec![result("a", "1")]),
    ];
    let written = write(&Conversation { turns, ..nothing() });
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}});
    assert_eq!(
        written.body["messages"],
        json!([
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call("a"), call("b")]},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "system", "content": "Hurry."},
            {"role": "user", "content": "And?"},
        ])
    );
    assert_eq!(written.lost, []);
}

#[test]
fn losses_name_the_field_of_the_callers_dialect() {
    let image = Part::Image {
        source: Source::Url("https://x.example/a.png".into()),
        detail: None,
        cache: None,
    };
    let file = Part::File {
        source: Source::Url("https://x.example/a.pdf".into()),
        name: None,
        cache: Some(CacheMark::FiveMinutes),
    };
    let answer = Part::ToolResult {
        id: "a".into(),
        content: vec![Part::text("x"), image.clone()],
        is_error: true,
        cache: None,
    };
    let thought = Part::Reasoning(Thought {
        signature: Some("s".into()),
        ..Thought::default()
    });
    let turns = vec![
        user(vec![file]),
        assistant(vec![thought]),
        user(vec![answer]),
    ];
    let sampling = Sampling {
        top_k: Some(3),
        stop: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
        ..Sampling::default()
    };
    let unplaced = vec![lost(Feature::Other, "context_management")];
    let conversation = Conversation {
        turns,
        sampling,
        unplaced,
        ..nothing()
    };
    let of = |origin| {
        write(&Conversation {
            origin,
            ..conversation.clone()
        })
        .lost
    };
    assert_eq!(
        of(Protocol::Messages),
        [
            lost(Feature::Other, "context_management"),
            lost(Feature::Hint, "messages[].content[].cache_control"),
            lost(Feature::File, "messages[].content[]"),
            lost(Feature::Hint, "messages[].content[].thinking"),
            lost(Feature::Hint, "messages[].content[].is_error"),
            lost(Feature::Image, "messages[].content[]"),
            lost(Feature::TopK, "top_k"),
            lost(Feature::Stop, "stop_sequences"),
        ]
    );
    let params: Vec<String> = of(Protocol::Responses)
        .into_iter()
        .map(|lost| lost.param)
        .collect();
    assert_eq!(
        params,
        [
            "context_management",
            "input[].content[].prompt_cache_breakpoint",
            "input[].content[]",
            "input[].summary",
            "input[].output",
            "input[].content[]",
            "top_k",
            "stop"
        ]
    );
    let written = write(&conversation).body;
    assert_eq!(written["stop"], json!(["a", "b", "c", "d"]));
    assert_eq!(
        written["messages"],
        json!([{"role": "tool", "tool_call_id": "a", "content": "x"}])
    );
}

#[test]
fn a_budget_becomes_a_word() {
    let word = |reasoning: Reasoning| {
        write(&Conversation {
            reasoning: Some(reasoning),
            ..nothing()
        })
        .body
        .get("reasoning_effort")
        .cloned()
    };
    let budget = |tokens| {
        word(Reasoning {
            budget_tokens: Some(tokens),
            ..Reasoning::default()
        })
    };
    for (tokens, effort) in [
        (0, "none"),
        (1024, "low"),
        (8191, "low"),
        (8192, "medium"),
        (16_383, "medium"),
        (16_384, "high"),
        (u64::MAX, "high"),
    ] {
        assert_eq!(budget(tokens), Some(effort.into()), "{tokens}");
    }
    assert_eq!(
        word(Reasoning {
            effort: Some(Effort::Max),
            budget_tokens: Some(1),
            ..Reasoning::default()
        }),
        Some("xhigh".into())
    );
    assert_eq!(
        word(Reasoning {
            adaptive: true,
            show: true,
            ..Reasoning::default()
        }),
        None
    );
}

#[test]
fn tool_settings_are_left_out_without_tools() {
    let conversation = Conversation {
        turns: asks("Hi"),
        tool_choice: ToolChoice::None,
        parallel_tools: Some(false),
        ..nothing()
    };
    let body = write(&conversation).body;
    assert_eq!(body.keys().collect::<Vec<_>>(), ["messages"]);
    let with_tools = Conversation {
        tools: vec![tool("f")],
        tool_choice: ToolChoice::Named("f".into()),
        ..conversation
    };
    let body = write(&with_tools).body;
    assert_eq!(
        body["tools"],
        json!([{"type": "function", "function": {"name": "f"}}])
    );
    assert_eq!(
        body["tool_choice"],
        json!({"type": "function", "function": {"name": "f"}})
    );
    assert_eq!(body["parallel_tool_calls"], false);
}

#[test]
fn a_turn_that_says_nothing_here_does_not_stand_between_calls_and_results() {
    let thought = || {
        Part::Reasoning(Thought {
            sealed: Some("s".into()),
            ..Thought::default()
        })
    };
    let turns = vec![
        assistant(vec![call("a", "{}")]),
        user(vec![Part::text("And?")]),
        assistant(vec![thought()]),
        user(vec![result("a", "1")]),
    ];
    let written = write(&Conversation { turns, ..nothing() });
    let roles: Vec<&Value> = written.body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["role"])
        .collect();
    assert_eq!(roles, ["assistant", "tool", "user"]);
    assert_eq!(
        written.lost,
        [lost(Feature::Hint, "messages[].reasoning_content")]
    );
}

#[test]
fn parts_in_impossible_places_are_reported() {
    let written = write(&Conversation {
        system: vec![result("a", "1")],
        turns: asks("Hi"),
        ..nothing()
    });
    assert_eq!(written.lost, [lost(Feature::Other, "messages[].content[]")]);
    let turns = vec![assistant(vec![Part::text("Hi"), result("a", "1")])];
    assert_eq!(
        write(&Conversation { turns, ..nothing() }).lost,
        [lost(Feature::Other, "messages[].content[]")]
    );
}
