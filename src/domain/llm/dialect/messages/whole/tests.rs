use proptest::prelude::*;
use serde_json::{Value, json};

use super::{read, write};
use crate::base::time::Millis;
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};
use crate::domain::llm::normal::event::{Envelope, Failed};
use crate::domain::llm::normal::whole::Whole;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../../../tests/golden/messages/",
            $name,
            ".answer.json"
        ))
    };
}

pub(in crate::domain::llm::dialect::messages) fn envelope(builtin: bool) -> Envelope {
    Envelope {
        id: "1".into(),
        created: Millis(1_760_000_000_000),
        estimated_input: 7,
        include_usage: false,
        builtin,
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
fn every_golden_answer_says_what_it_means() {
    let usage = |input, output| Usage {
        input,
        output,
        ..Usage::default()
    };
    let plain = |text: &str| vec![Part::text(text)];
    let hello = || plain("Hello there!");
    let thought = Part::Reasoning(Thought {
        text: "Count the letters.".into(),
        signature: Some("c2lnbmF0dXJl".into()),
        ..Thought::default()
    });
    let table = [
        (golden!("text"), hello(), Finish::Stop, usage(10, 5)),
        (golden!("system"), hello(), Finish::Stop, usage(10, 5)),
        (
            golden!("turns"),
            plain("Hello again!"),
            Finish::Stop,
            usage(10, 5),
        ),
        (
            golden!("images"),
            plain("A cat and a dot."),
            Finish::Stop,
            usage(10, 5),
        ),
        (
            golden!("file"),
            plain("It is empty."),
            Finish::Stop,
            usage(10, 5),
        ),
        (
            golden!("tools"),
            vec![
                call("toolu_01Paris", r#"{"city":"Paris"}"#),
                call("toolu_02Rome", r#"{"city":"Rome"}"#),
            ],
            Finish::Tool,
            usage(10, 5),
        ),
        (
            golden!("tool_results"),
            plain("Paris has 18 degrees; Rome is unknown."),
            Finish::Stop,
            usage(10, 5),
        ),
        (
            golden!("schema"),
            plain(r#"{"city":"Paris","degrees":18}"#),
            Finish::Stop,
            usage(10, 5),
        ),
        (
            golden!("stop_length"),
            plain("1, 2, 3"),
            Finish::Length,
            usage(10, 8),
        ),
        (
            golden!("stop_sequence"),
            plain("1, 2, 3, "),
            Finish::Stop,
            usage(10, 5),
        ),
        (
            golden!("stop_filter"),
            plain("I"),
            Finish::Filter,
            usage(10, 5),
        ),
        (
            golden!("reasoning"),
            vec![thought, Part::text("Three.")],
            Finish::Stop,
            Usage {
                reasoning: 10,
                ..usage(20, 30)
            },
        ),
        (
            golden!("cache"),
            hello(),
            Finish::Stop,
            Usage {
                written_5m: 15,
                written_1h: 100,
                ..usage(120, 5)
            },
        ),
        (
            golden!("usage"),
            hello(),
            Finish::Stop,
            Usage {
                cached: 100,
                reasoning: 10,
                ..usage(120, 30)
            },
        ),
    ];
    for (answer, parts, finish, usage) in table {
        let whole = read(answer.as_bytes()).unwrap();
        let stop_sequence = answer
            .contains("\"stop_sequence\":\"4\"")
            .then(|| "4".to_owned());
        let expected = Whole {
            id: "msg_01Gold01".into(),
            model: "claude-haiku-4-5".into(),
            parts,
            finish: Some(finish),
            stop_sequence,
            usage: Some(usage),
        };
        assert_eq!(whole, expected, "{answer}");
        // What we write of it differs in the id alone, and in what only the provider knows.
        let mut written = write(&whole, &envelope(false));
        let mut golden: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(written["id"], "msg_1");
        for value in [&mut written, &mut golden] {
            value["id"] = Value::Null;
            value["stop_details"] = Value::Null;
            value["usage"]["service_tier"] = Value::Null;
        }
        assert_eq!(written, golden);
    }
}

#[test]
fn what_is_no_answer_is_told_apart_from_an_error_object() {
    let error = |kind: &str, message: &str| {
        Invalid::Error(Failed {
            kind: kind.into(),
            message: message.into(),
        })
    };
    for (body, expected) in [
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
            error("overloaded_error", "Overloaded"),
        ),
        (r#"{"error":{"message":"no type"}}"#, error("", "no type")),
        (r#"{"error":"only a text"}"#, error("", "only a text")),
        (r#"{"type":"error"}"#, error("", "")),
    ] {
        assert_eq!(read(body.as_bytes()), Err(expected), "{body}");
    }
    for body in [
        "",
        "<html><body>502 Bad Gateway</body></html>",
        "[]",
        "null",
        "{}",
        r#"{"type":"message"}"#,
        r#"{"type":"message","content":"text"}"#,
        r#"{"type":"message","content":[{"text":"no type"}]}"#,
        r#"{"type":"message","content":[{"type":"text"}]}"#,
        r#"{"type":"message","content":[{"type":"tool_use","name":"no id"}]}"#,
        r#"{"type":"completion","content":[]}"#,
        r#"{"object":"chat.completion","choices":[]}"#,
        r#"{"type":"message","content":[]} trailing"#,
    ] {
        assert!(
            matches!(read(body.as_bytes()), Err(Invalid::Shape(_))),
            "{body}"
        );
    }
}

#[test]
fn what_may_be_missing_is_missing_and_not_invented() {
    let whole =
        read(br#"{"content":[{"type":"text","text":"Hi"}],"stop_reason":null,"usage":"?"}"#)
            .unwrap();
    assert_eq!((whole.id.as_str(), whole.model.as_str()), ("", ""));
    assert_eq!((whole.finish, whole.usage), (None, None));
    let written = write(&whole, &envelope(false));
    assert_eq!(written["stop_reason"], Value::Null);
    assert_eq!(written["usage"]["input_tokens"], 0);
    assert_eq!(written["usage"]["output_tokens"], 0);
}

#[test]
fn blocks_of_server_tools_and_of_unknown_types_are_left_out() {
    let body = json!({"type": "message", "content": [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [], "text": 5},
        {"type": "text", "text": "Hi", "citations": [{"type": "char_location"}]},
        {"type": "of_next_year", "data": {}},
        {"type": "redacted_thinking", "data": "c2VhbGVk"},
    ], "stop_reason": "pause_turn"});
    let whole = read(body.to_string().as_bytes()).unwrap();
    let sealed = Part::Reasoning(Thought {
        sealed: Some("c2VhbGVk".into()),
        ..Thought::default()
    });
    assert_eq!(whole.parts, [Part::text("Hi"), sealed]);
    assert_eq!(whole.finish, Some(Finish::Pause));
}

#[test]
fn every_stop_reason_is_read() {
    for (word, finish) in [
        ("end_turn", Finish::Stop),
        ("stop_sequence", Finish::Stop),
        ("pause_turn", Finish::Pause),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("tool_use", Finish::Tool),
        ("refusal", Finish::Filter),
    ] {
        let body = json!({"type": "message", "content": [], "stop_reason": word}).to_string();
        assert_eq!(
            read(body.as_bytes()).unwrap().finish,
            Some(finish),
            "{word}"
        );
    }
}

#[test]
fn the_answerer_of_the_house_is_marked() {
    let whole = read(golden!("text").as_bytes()).unwrap();
    let marked = write(&whole, &envelope(true));
    assert_eq!(
        marked["gatehouse"],
        json!({"answerer": "built-in, no model"})
    );
    assert_eq!(write(&whole, &envelope(false)).get("gatehouse"), None);
}

#[test]
fn arguments_that_are_no_object_are_given_as_they_are() {
    for (arguments, input) in [
        ("", json!({})),
        (" ", json!({})),
        ("{\"a\":1}", json!({"a": 1})),
        ("{\"a\":", json!("{\"a\":")),
        ("[1]", json!("[1]")),
        ("\"a\"", json!("\"a\"")),
    ] {
        assert_eq!(super::input(arguments), input, "{arguments}");
    }
}

#[test]
fn a_refusal_is_text_and_a_thought_with_both_is_two_blocks() {
    let whole = Whole {
        id: String::new(),
        model: "m".into(),
        parts: vec![
            Part::Refusal("No.".into()),
            Part::text(""),
            Part::Reasoning(Thought {
                text: "hm".into(),
                signature: None,
                sealed: Some("s".into()),
                id: Some("rs_1".into()),
            }),
            Part::Reasoning(Thought::default()),
        ],
        finish: Some(Finish::Stop),
        stop_sequence: None,
        usage: None,
    };
    assert_eq!(
        write(&whole, &envelope(false))["content"],
        json!([
            {"type": "text", "text": "No.", "citations": null},
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "redacted_thinking", "data": "s"},
        ])
    );
}

/// Parts that this dialect carries unchanged.
pub(in crate::domain::llm::dialect::messages) fn part() -> impl Strategy<Value = Part> {
    let text = ".{1,12}";
    prop_oneof![
        text.prop_map(Part::text),
        (".{0,8}", "[a-z]{1,6}").prop_map(|(text, signature)| Part::Reasoning(Thought {
            text,
            signature: Some(signature),
            ..Thought::default()
        })),
        text.prop_map(|sealed| Part::Reasoning(Thought {
            sealed: Some(sealed),
            ..Thought::default()
        })),
        ("[a-z0-9_]{1,8}", "[a-z]{1,8}", arguments()).prop_map(|(id, name, arguments)| {
            Part::ToolCall(ToolCall {
                id,
                name,
                arguments,
            })
        }),
    ]
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_owned()),
        ".{0,6}".prop_map(|text| json!({"text": text}).to_string()),
        // What a model wrote that is no object.
        Just("[1, 2]".to_owned()),
        Just("{\"cut".to_owned()),
        Just("\"a text\"".to_owned()),
    ]
}

pub(in crate::domain::llm::dialect::messages) fn usage() -> impl Strategy<Value = Usage> {
    (0u64..500, 0u64..500, 0u64..500, 0u64..500, 0u64..500).prop_map(
        |(fresh, cached, written_5m, output, reasoning)| Usage {
            input: fresh + cached + written_5m,
            cached,
            written_5m,
            written_1h: 0,
            output,
            reasoning: reasoning.min(output),
            estimated: false,
        },
    )
}

pub(in crate::domain::llm::dialect::messages) fn ending()
-> impl Strategy<Value = (Option<Finish>, Option<String>)> {
    prop_oneof![
        Just((None, None)),
        Just((Some(Finish::Stop), None)),
        Just((Some(Finish::Length), None)),
        Just((Some(Finish::Filter), None)),
        Just((Some(Finish::Tool), None)),
        ".{1,4}".prop_map(|stop| (Some(Finish::Stop), Some(stop))),
    ]
}

proptest! {
    #[test]
    fn a_written_answer_is_read_back_the_same(
        parts in proptest::collection::vec(part(), 0..6),
        (finish, stop_sequence) in ending(),
        usage in usage(),
    ) {
        let whole = Whole { id: "msg_1".into(), model: "m".into(), parts, finish, stop_sequence, usage: Some(usage) };
        let bytes = write(&whole, &envelope(false)).to_string();
        prop_assert_eq!(read(bytes.as_bytes()), Ok(whole));
    }

    #[test]
    fn nothing_makes_the_reader_panic(body in ".{0,40}") {
        let _ = read(body.as_bytes());
        let _ = read(format!(r#"{{"content":[{body}]}}"#).as_bytes());
    }
}
