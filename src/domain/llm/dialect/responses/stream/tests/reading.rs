//! Streams of providers, and how they differ.

use super::super::Reader;
use super::{GOLDEN, added, arguments, golden, read_all, read_bytes, start, text};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::responses::whole;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::event::{Block, Delta, Event, Failed};
use crate::domain::llm::normal::whole::Collector;
use serde_json::{Value, json};

#[test]
fn a_streamed_answer_says_what_the_whole_one_says() {
    for (name, answer, stream) in GOLDEN {
        let mut collector = Collector::default();
        for event in read_bytes([stream.as_bytes()]) {
            collector.push(&event);
        }
        let whole = whole::read(answer.as_bytes()).unwrap();
        assert_eq!(collector.finished(), Some(&whole), "{name}");
    }
}

#[test]
fn text_comes_piece_by_piece_between_the_start_and_the_end() {
    let usage = Usage {
        input: 12,
        output: 5,
        ..Usage::default()
    };
    let expected = [
        Event::Start {
            id: "resp_68ff3c01a1b0819f".into(),
            model: "gpt-5.4-mini-2026-03-17".into(),
        },
        Event::Open(Block::Text),
        text("Hello"),
        text(" there!"),
        Event::Close,
        Event::Usage(usage),
        Event::Finish {
            reason: Finish::Stop,
            stop_sequence: None,
        },
        Event::End,
    ];
    assert_eq!(read_bytes([golden("text").as_bytes()]), expected);
}

#[test]
fn calls_come_one_after_the_other_with_their_arguments_in_pieces() {
    let read = read_bytes([golden("tools").as_bytes()]);
    let open = |id: &str| {
        Event::Open(Block::ToolCall {
            id: id.into(),
            name: "get_weather".into(),
        })
    };
    let paris = [
        open("call_Pq8aParis01"),
        arguments("{\""),
        arguments("city"),
        arguments("\":\""),
        arguments("Paris"),
        arguments("\"}"),
        Event::Close,
        open("call_Rm3bRome02"),
    ];
    assert_eq!(read[1..9], paris);
    assert!(read.contains(&Event::Finish {
        reason: Finish::Tool,
        stop_sequence: None
    }));
}

#[test]
fn thinking_ends_with_its_seal_as_the_finished_item_tells_it() {
    let read = read_bytes([golden("reasoning").as_bytes()]);
    let expected = [
        Event::Open(Block::Reasoning {
            id: Some("rs_68ff3c12a1b0819fa".into()),
        }),
        text("Count"),
        text(" the"),
        text(" letters."),
        Event::Delta(Delta::Sealed(
            "gAAAAABpIAEjZm9yIHRoZSBwcm92aWRlciBhbG9uZQ==".into(),
        )),
        Event::Close,
        Event::Open(Block::Text),
        text("Three."),
    ];
    assert_eq!(read[1..9], expected);
}

#[test]
fn a_cut_at_any_byte_changes_nothing() {
    for name in ["text", "tools", "reasoning", "stop_length"] {
        let bytes = golden(name).as_bytes();
        let whole = read_bytes([bytes]);
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(read_bytes([first, second]), whole, "{name} cut at {at}");
        }
        assert_eq!(read_bytes(bytes.chunks(1)), whole, "{name} byte by byte");
    }
}

fn created() -> Value {
    json!({"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress", "usage": null}})
}

fn completed(output: Value) -> Value {
    json!({"type": "response.completed", "response": {"id": "resp_1", "model": "m", "status": "completed", "output": output}})
}

fn done(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn delta(index: u64, text: &str) -> Value {
    json!({"type": "response.output_text.delta", "output_index": index, "content_index": 0, "delta": text})
}

fn arguments_delta(index: u64, text: &str) -> Value {
    json!({"type": "response.function_call_arguments.delta", "output_index": index, "delta": text})
}

fn message() -> Value {
    json!({"type": "message", "id": "msg_1"})
}

fn call() -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": ""})
}

/// The blocks of a stream whose start and end are ordinary.
fn blocks(middle: &[Value]) -> Vec<Event> {
    let data: Vec<Value> = [vec![created()], middle.to_vec(), vec![completed(json!([]))]].concat();
    let read = read_all(&data).unwrap();
    let is_block =
        |event: &&Event| matches!(event, Event::Open(_) | Event::Delta(_) | Event::Close);
    read.iter().filter(is_block).cloned().collect()
}

#[test]
fn text_needs_no_announcement_of_its_part() {
    let read = blocks(&[
        added(0, message()),
        delta(0, "a"),
        delta(0, ""),
        delta(0, "b"),
    ]);
    assert_eq!(
        read,
        [Event::Open(Block::Text), text("a"), text("b"), Event::Close]
    );
}

#[test]
fn what_comes_only_when_it_is_done_is_read_once() {
    let content = json!([{"type": "output_text", "text": "Hi"}]);
    let text_done = json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hi"});
    let part_done = json!({"type": "response.content_part.done", "output_index": 0, "content_index": 0, "part": content[0]});
    let item_done = done(0, json!({"type": "message", "content": content}));
    let hi = [Event::Open(Block::Text), text("Hi"), Event::Close];
    let all = [text_done, part_done, item_done];
    for first in 0..all.len() {
        let middle = [vec![added(0, message())], all[first..].to_vec()].concat();
        assert_eq!(blocks(&middle), hi, "from {first}");
    }
    let middle = [vec![added(0, message()), delta(0, "Hi")], all.to_vec()].concat();
    assert_eq!(blocks(&middle), hi, "after deltas");

    let arguments_done = json!({"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{}"});
    let item_done = done(0, json!({"type": "function_call", "arguments": "{}"}));
    for middle in [
        vec![arguments_done.clone(), item_done.clone()],
        vec![item_done],
    ] {
        let read = blocks(&[vec![added(0, call())], middle].concat());
        assert_eq!(read[1..], [arguments("{}"), Event::Close]);
    }
}

#[test]
fn an_output_that_comes_only_at_the_end_is_read() {
    let output = json!([
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]);
    let read = read_all(&[created(), completed(output)]).unwrap();
    assert_eq!(
        read[1..4],
        [Event::Open(Block::Text), text("Hi"), Event::Close]
    );
    assert_eq!(read[5..7], [arguments("{}"), Event::Close]);
    assert_eq!(
        read[7],
        Event::Finish {
            reason: Finish::Tool,
            stop_sequence: None
        }
    );
}

#[test]
fn a_message_that_stays_open_behind_a_call_is_not_read_twice() {
    // Servers that translate from chat completions end the message last.
    let read = blocks(&[
        added(0, message()),
        delta(0, "Hi"),
        added(1, call()),
        arguments_delta(1, "{}"),
        done(1, call()),
        done(
            0,
            json!({"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}),
        ),
    ]);
    let texts = read.iter().filter(|event| **event == text("Hi")).count();
    assert_eq!((texts, read.len()), (1, 6));
}

#[test]
fn parts_of_a_summary_are_paragraphs_and_the_full_text_is_not_read_beside_it() {
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let summary = |index: u64, text: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": index, "delta": text});
    let full = json!({"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "full"});
    let read = blocks(&[
        added(0, reasoning.clone()),
        summary(0, "a"),
        full.clone(),
        summary(1, "b"),
    ]);
    assert_eq!(read[1..4], [text("a"), text("\n\n"), text("b")]);
    let read = blocks(&[added(0, reasoning.clone()), full, summary(0, "a")]);
    assert_eq!(read[1..], [text("full"), Event::Close]);

    let ended = json!({"type": "reasoning", "summary": [{"text": "a"}, {"text": "b"}]});
    let read = blocks(&[added(0, reasoning.clone()), done(0, ended)]);
    assert_eq!(read[1..], [text("a\n\nb"), Event::Close]);
    assert_eq!(
        blocks(&[added(0, reasoning.clone()), done(0, reasoning)]),
        [],
        "nothing to show"
    );
}

#[test]
fn items_of_provider_run_tools_are_left_out_whole() {
    let search =
        json!({"type": "web_search_call", "id": "ws_1", "content": 5, "arguments": {"a": 1}});
    let read = blocks(&[
        added(0, search.clone()),
        json!({"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1", "delta": {"x": []}}),
        delta(0, "of no message"),
        arguments_delta(0, "of no call"),
        done(0, search),
        json!({"type": "response.shape_of_the_future", "part": [1], "text": 7, "response": "x"}),
        added(1, message()),
        delta(1, "Hi"),
    ]);
    assert_eq!(read, [Event::Open(Block::Text), text("Hi"), Event::Close]);
}

#[test]
fn an_annotation_is_a_citation_of_the_text() {
    let annotation = json!({"type": "url_citation", "url": "https://example.com", "title": "t", "start_index": 0, "end_index": 2});
    let event = json!({"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation_index": 0, "annotation": annotation});
    let read = blocks(&[added(0, message()), delta(0, "Hi"), event]);
    assert_eq!(read[2], Event::Delta(Delta::Citation(annotation)));
}

#[test]
fn errors_inside_a_stream_are_told_with_their_code() {
    let table = [
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": null, "sequence_number": 3}),
            "rate_limit_exceeded",
            "slow",
        ),
        (
            json!({"type": "error", "error": {"type": "invalid_request_error", "code": null, "message": "bad"}}),
            "invalid_request_error",
            "bad",
        ),
        (
            json!({"error": {"code": 502, "message": "bad"}}),
            "502",
            "bad",
        ),
        (json!({"error": "out of memory"}), "", "out of memory"),
        (
            json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error", "message": "oops"}}}),
            "server_error",
            "oops",
        ),
        (
            json!({"type": "response.failed", "response": {"error": null}}),
            "failed",
            "",
        ),
        (
            json!({"type": "response.completed", "response": {"status": "cancelled"}}),
            "cancelled",
            "",
        ),
    ];
    for (event, kind, message) in table {
        for events in [vec![event.clone()], vec![created(), event.clone()]] {
            let read = read_all(&events).unwrap();
            let failed = Failed {
                kind: kind.into(),
                message: message.into(),
            };
            assert_eq!(read.last(), Some(&Event::Failed(failed)), "{event}");
            assert!(!read.contains(&Event::End));
        }
    }
}

#[test]
fn a_missing_reason_is_told_by_no_finish() {
    let mut end = completed(json!([]));
    end["type"] = "response.incomplete".into();
    end["response"]["status"] = "incomplete".into();
    let read = read_all(&[created(), end.clone()]).unwrap();
    assert_eq!(read, [start(), Event::End]);
    end["response"]["incomplete_details"] = json!({"reason": "max_output_tokens"});
    let read = read_all(&[created(), end]).unwrap();
    assert!(matches!(
        read[1],
        Event::Finish {
            reason: Finish::Length,
            ..
        }
    ));
}

#[test]
fn a_broken_grammar_is_refused() {
    let fine = [added(0, message()), delta(0, "Hi")];
    assert!(read_all(&[vec![created()], fine.to_vec()].concat()).is_ok());
    let table: Vec<Vec<Value>> = vec![
        vec![created(), created()],
        fine.to_vec(),
        vec![created(), delta(0, "Hi")],
        vec![created(), added(0, message()), added(0, message())],
        vec![created(), added(0, message()), arguments_delta(0, "{")],
        vec![created(), added(0, call()), delta(0, "Hi")],
        vec![
            created(),
            added(0, json!({"type": "function_call", "call_id": "c"})),
        ],
        vec![
            created(),
            added(0, message()),
            done(0, message()),
            delta(0, "Hi"),
        ],
        vec![
            created(),
            added(0, message()),
            done(0, message()),
            done(0, message()),
        ],
        vec![
            created(),
            added(0, call()),
            added(1, call()),
            arguments_delta(0, "{"),
        ],
        vec![
            created(),
            added(0, message()),
            json!({"type": "response.output_text.delta", "output_index": 0}),
        ],
        vec![
            created(),
            json!({"type": "response.output_item.added", "output_index": 0}),
        ],
        vec![created(), completed(json!([])), completed(json!([]))],
        vec![created(), completed(json!([])), added(0, message())],
        vec![created(), completed(json!([])), created()],
        vec![created(), json!({"type": "response.completed"})],
        vec![json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": []})],
        vec![json!(["response.created"])],
        vec![json!("text")],
    ];
    for events in table {
        let read = read_all(&events);
        assert!(
            matches!(read, Err(Invalid::Shape(_))),
            "{events:?}: {read:?}"
        );
    }
    let mut reader = Reader::default();
    for broken in ["", "{", "<html>", "{\"type\": \"response.created\"", "null"] {
        assert!(reader.event(broken, &mut Vec::new()).is_err(), "{broken}");
    }
}

#[test]
fn signs_of_life_and_the_end_marker_of_chat_are_no_output() {
    let mut reader = Reader::default();
    let mut read = Vec::new();
    for data in [
        &*json!({"type": "keepalive", "sequence_number": 0}).to_string(),
        &*created().to_string(),
        &*json!({"type": "keepalive", "sequence_number": 1}).to_string(),
        &*json!({"type": "response.in_progress", "response": {}}).to_string(),
        &*completed(json!([])).to_string(),
        "[DONE]",
    ] {
        reader.event(data, &mut read).unwrap();
    }
    assert_eq!(read.len(), 4, "{read:?}");
    assert_eq!(read[1], Event::Ping);
}
