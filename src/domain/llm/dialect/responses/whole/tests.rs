use proptest::prelude::{prop_assert_eq, proptest};
use serde_json::{Value, json};

use super::{read, write};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::responses::arbitrary::{
    as_read, envelope, whole, without_given_ids,
};
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};
use crate::domain::llm::normal::event::Failed;
use crate::domain::llm::normal::whole::{Collector, Whole};

macro_rules! golden {
    ($name:literal) => {
        read(include_bytes!(concat!(
            "../../../../../../tests/golden/responses/",
            $name,
            ".answer.json"
        )))
        .unwrap()
    };
}

fn answer(parts: Vec<Part>, finish: Finish, usage: Usage) -> Whole {
    Whole {
        id: String::new(),
        model: "gpt-5.4-mini-2026-03-17".into(),
        parts,
        finish: Some(finish),
        stop_sequence: None,
        usage: Some(usage),
    }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        ..Usage::default()
    }
}

fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: "get_weather".into(),
        arguments: arguments.into(),
    })
}

#[test]
fn golden_answers_mean_what_they_should() {
    let hello = || vec![Part::text("Hello there!")];
    let thought = Part::Reasoning(Thought {
        text: "Count the letters.".into(),
        signature: None,
        sealed: Some("gAAAAABpIAEjZm9yIHRoZSBwcm92aWRlciBhbG9uZQ==".into()),
        id: Some("rs_68ff3c12a1b0819fa".into()),
    });
    let calls = vec![
        call("call_Pq8aParis01", "{\"city\":\"Paris\"}"),
        call("call_Rm3bRome02", "{\"city\":\"Rome\"}"),
    ];
    let said = |text: &str| vec![Part::text(text)];
    let written = Usage {
        written_5m: 90,
        ..tokens(120, 5)
    };
    let thinking = Usage {
        reasoning: 16,
        ..tokens(14, 20)
    };
    let usage = Usage {
        cached: 100,
        reasoning: 10,
        ..tokens(120, 30)
    };
    let table = [
        (
            golden!("text"),
            answer(hello(), Finish::Stop, tokens(12, 5)),
        ),
        (
            golden!("system"),
            answer(hello(), Finish::Stop, tokens(18, 5)),
        ),
        (
            golden!("turns"),
            answer(hello(), Finish::Stop, tokens(24, 5)),
        ),
        (
            golden!("images"),
            answer(said("A cat and a dot."), Finish::Stop, tokens(200, 8)),
        ),
        (
            golden!("file"),
            answer(said("A short report."), Finish::Stop, tokens(300, 6)),
        ),
        (
            golden!("tools"),
            answer(calls, Finish::Tool, tokens(60, 40)),
        ),
        (
            golden!("tool_results"),
            answer(
                said("Paris has 18 degrees and sun. For Rome I have no data."),
                Finish::Stop,
                tokens(120, 16),
            ),
        ),
        (
            golden!("schema"),
            answer(
                said("{\"city\":\"Paris\",\"degrees\":18}"),
                Finish::Stop,
                tokens(40, 12),
            ),
        ),
        (
            golden!("stop_length"),
            answer(said("Once upon a"), Finish::Length, tokens(12, 16)),
        ),
        (
            golden!("stop_sequence"),
            answer(said("1, 2, 3"), Finish::Stop, tokens(12, 8)),
        ),
        (
            golden!("stop_filter"),
            answer(said("The song"), Finish::Filter, tokens(12, 2)),
        ),
        (
            golden!("reasoning"),
            answer(vec![thought, Part::text("Three.")], Finish::Stop, thinking),
        ),
        (golden!("cache"), answer(hello(), Finish::Stop, written)),
        (golden!("usage"), answer(hello(), Finish::Stop, usage)),
    ];
    for (read, expected) in table {
        assert!(read.id.starts_with("resp_68ff3c"));
        let id = read.id.clone();
        assert_eq!(read, Whole { id, ..expected });
    }
}

fn read_value(value: &Value) -> Result<Whole, Invalid> {
    read(value.to_string().as_bytes())
}

#[test]
fn what_is_no_response_is_refused() {
    for body in [
        "",
        "<html><body>502</body></html>",
        "null",
        "[]",
        "{}",
        "{\"object\": \"response\", \"output\": \"Hi\"}",
        "{\"output\": [{\"type\": \"function_call\", \"call_id\": \"c\"}]}",
        "{\"choices\": [{\"message\": {\"content\": \"Hi\"}, \"finish_reason\": \"stop\"}]}",
        "{\"output\": []",
    ] {
        let read = read(body.as_bytes());
        assert!(matches!(read, Err(Invalid::Shape(_))), "{body}: {read:?}");
    }
}

#[test]
fn an_error_inside_a_200_is_told() {
    let failed = |kind: &str, message: &str| {
        Err(Invalid::Error(Failed {
            kind: kind.into(),
            message: message.into(),
        }))
    };
    let table = [
        (
            json!({"error": {"message": "m", "type": "t", "code": "c"}}),
            failed("c", "m"),
        ),
        (
            json!({"error": {"message": "m", "type": "t", "code": null}}),
            failed("t", "m"),
        ),
        (json!({"error": "no memory"}), failed("", "no memory")),
        (
            json!({"status": "failed", "output": [], "error": {"code": "server_error", "message": "m"}}),
            failed("server_error", "m"),
        ),
        (
            json!({"status": "cancelled", "output": []}),
            failed("cancelled", ""),
        ),
    ];
    for (body, expected) in table {
        assert_eq!(read_value(&body), expected, "{body}");
    }
}

#[test]
fn without_a_final_status_there_is_no_finish() {
    for response in [
        json!({"output": []}),
        json!({"output": [], "status": "in_progress"}),
        json!({"output": [], "status": "incomplete", "incomplete_details": null}),
    ] {
        assert_eq!(read_value(&response).unwrap().finish, None, "{response}");
    }
    let cut = json!({"output": [], "status": "incomplete", "incomplete_details": {"reason": "max_messages"}});
    assert_eq!(read_value(&cut).unwrap().finish, Some(Finish::Length));
}

#[test]
fn usage_is_never_negative_and_never_more_in_part_than_in_whole() {
    let usage = |usage: Value| {
        read_value(&json!({"output": [], "usage": usage}))
            .unwrap()
            .usage
    };
    for none in [
        json!(null),
        json!({}),
        json!("many"),
        json!([1, 2]),
        json!({"input_tokens": 0, "output_tokens": 0}),
        json!({"input_tokens": "12", "output_tokens": -3}),
    ] {
        assert_eq!(usage(none.clone()), None, "{none}");
    }
    assert_eq!(
        usage(json!({
            "input_tokens": 10, "output_tokens": 4.5, "input_tokens_details": null, "output_tokens_details": "none",
        })),
        Some(tokens(10, 0))
    );
    assert_eq!(
        usage(json!({
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 50, "cache_write_tokens_details": {"ttl_12h_tokens": 1}},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 90},
        })),
        Some(Usage {
            cached: 8,
            written_5m: 1,
            written_1h: 1,
            reasoning: 4,
            ..tokens(10, 4)
        })
    );
    let cached = json!({"input_tokens": 10, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 99}});
    assert_eq!(usage(cached).unwrap().cached, 10);
}

#[test]
fn items_of_provider_run_tools_and_empty_thoughts_are_left_out() {
    let response = json!({"status": "completed", "output": [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "arguments": {"a": 1}, "content": "x"},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi", "annotations": []}, {"type": "hologram"}]},
        {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]},
    ]});
    let whole = read_value(&response).unwrap();
    assert_eq!(whole.parts, [Part::text("Hi"), Part::Refusal("No.".into())]);
    assert_eq!(whole.finish, Some(Finish::Stop));
}

#[test]
fn the_full_text_of_reasoning_stands_in_for_a_summary() {
    let response = json!({"output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "a"}, {"type": "reasoning_text", "text": "b"}]},
    ]});
    let Part::Reasoning(thought) = &read_value(&response).unwrap().parts[0] else {
        panic!()
    };
    assert_eq!(thought.text, "a\n\nb");
}

#[test]
fn a_signature_travels_in_encrypted_content_and_comes_back() {
    let thought = Thought {
        text: "hm".into(),
        signature: Some("EqQBsig==".into()),
        sealed: None,
        id: Some("rs_1".into()),
    };
    let whole = answer(
        vec![Part::Reasoning(thought.clone())],
        Finish::Stop,
        tokens(1, 1),
    );
    let written = write(&whole, &envelope());
    assert_eq!(
        written["output"][0]["encrypted_content"],
        "signature:EqQBsig=="
    );
    let read = read_value(&written).unwrap();
    assert_eq!(read.parts, [Part::Reasoning(thought)]);
}

#[test]
fn the_answer_is_a_whole_response_object() {
    let whole = answer(
        vec![Part::text("Hi"), call("call_1", "")],
        Finish::Tool,
        Usage {
            cached: 2,
            reasoning: 1,
            ..tokens(5, 3)
        },
    );
    let expected = json!({
        "id": "resp_68ff",
        "object": "response",
        "created_at": 1_795_237_500,
        "status": "completed",
        "model": "gpt-5.4-mini-2026-03-17",
        "output": [
            {
                "id": "msg_68ff_0", "type": "message", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
            },
            {
                "id": "fc_68ff_1", "type": "function_call", "status": "completed",
                "call_id": "call_1", "name": "get_weather", "arguments": "{}",
            },
        ],
        "usage": {
            "input_tokens": 5,
            "input_tokens_details": {
                "cached_tokens": 2,
                "cache_write_tokens": 0,
                "cache_write_tokens_details": {"ttl_30m_tokens": 0, "ttl_12h_tokens": 0},
            },
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 8,
        },
        "error": null,
        "incomplete_details": null,
        "access_programs": null,
        "instructions": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "temperature": null,
        "tool_choice": "auto",
        "tools": [],
        "top_p": null,
    });
    assert_eq!(write(&whole, &envelope()), expected);
    let untold = Whole {
        usage: None,
        ..whole
    };
    assert_eq!(write(&untold, &envelope())["usage"]["total_tokens"], 0);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(whole in whole()) {
        let written = read_value(&write(&whole, &envelope())).unwrap();
        let mut expected = Collector::default();
        for event in as_read(&whole.events()) {
            expected.push(&event);
        }
        let mut read = Collector::default();
        for event in without_given_ids(written.events()) {
            read.push(&event);
        }
        prop_assert_eq!(read.so_far(), expected.so_far());
    }
}
