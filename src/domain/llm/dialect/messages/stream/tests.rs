use serde_json::{Value, json};

use super::grammar::check;
use super::{Reader, Writer};
use crate::base::sse::{DEFAULT_CAP_BYTES, Parser};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::messages::whole::{self, tests::envelope};
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::conversation::{Part, Thought};
use crate::domain::llm::normal::event::{Block, Delta, Event, Failed, Frame};
use crate::domain::llm::normal::whole::{Collector, Whole};

macro_rules! golden {
    ($name:literal, $what:literal) => {
        include_str!(concat!(
            "../../../../../../tests/golden/messages/",
            $name,
            $what
        ))
    };
}

macro_rules! all {
    ($($name:literal)*) => {
        [$(($name, golden!($name, ".stream.sse"), golden!($name, ".answer.json"))),*]
    };
}

fn read_bytes<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut parser = Parser::new(DEFAULT_CAP_BYTES);
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for piece in pieces {
        parser
            .push(piece, |event| {
                reader.event(event.data, &mut events).unwrap()
            })
            .unwrap();
    }
    events
}

fn read(data: &[Value]) -> Result<Vec<Event>, Invalid> {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for data in data {
        reader.event(&data.to_string(), &mut events)?;
    }
    Ok(events)
}

fn write(events: &[Event]) -> Vec<Frame> {
    let mut writer = Writer::new(envelope(false));
    let mut frames = Vec::new();
    for event in events {
        writer.event(event, &mut frames);
    }
    frames
}

fn data(frames: &[Frame]) -> Vec<Value> {
    frames
        .iter()
        .map(|frame| serde_json::from_str(&frame.data).unwrap())
        .collect()
}

fn collect(events: &[Event]) -> Whole {
    let mut collector = Collector::default();
    for event in events {
        collector.push(event);
    }
    collector.finished().unwrap().clone()
}

#[test]
fn every_golden_stream_says_what_its_whole_answer_says() {
    let table = all!("text" "system" "turns" "images" "file" "tools" "tool_results" "schema" "stop_length"
        "stop_sequence" "stop_filter" "reasoning" "cache" "usage");
    for (name, stream, answer) in table {
        let streamed = collect(&read_bytes([stream.as_bytes()]));
        let mut whole = whole::read(answer.as_bytes()).unwrap();
        // The model's own blanks come through in a stream.
        for part in &mut whole.parts {
            if let Part::ToolCall(call) = part {
                call.arguments = call.arguments.replace(':', ": ");
            }
        }
        assert_eq!(streamed, whole, "{name}");
    }
}

#[test]
fn a_golden_stream_split_at_every_byte_is_read_alike() {
    for stream in [
        golden!("tools", ".stream.sse"),
        golden!("reasoning", ".stream.sse"),
        golden!("server_tools", ".stream.sse"),
    ] {
        let bytes = stream.as_bytes();
        let whole = read_bytes([bytes]);
        for at in 0..=bytes.len() {
            let (a, b) = bytes.split_at(at);
            assert_eq!(read_bytes([a, b]), whole, "split at {at}");
        }
        assert_eq!(read_bytes(bytes.chunks(1)), whole);
    }
}

#[test]
fn a_golden_stream_is_written_again_in_its_own_grammar() {
    for stream in [
        golden!("text", ".stream.sse"),
        golden!("tools", ".stream.sse"),
        golden!("reasoning", ".stream.sse"),
        golden!("stop_sequence", ".stream.sse"),
        golden!("usage", ".stream.sse"),
        golden!("server_tools", ".stream.sse"),
    ] {
        let frames = write(&read_bytes([stream.as_bytes()]));
        check(&frames).unwrap();
        // The last report and the reason are the provider's own.
        let last = stream
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .rev()
            .nth(1)
            .unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!(data(&frames)[frames.len() - 2], last);
    }
}

#[test]
fn a_text_stream_is_these_events() {
    let events = read_bytes([golden!("text", ".stream.sse").as_bytes()]);
    let usage = |output| {
        Event::Usage(Usage {
            input: 10,
            output,
            ..Usage::default()
        })
    };
    let expected = [
        Event::Start {
            id: "msg_01Gold01".into(),
            model: "claude-haiku-4-5".into(),
        },
        usage(1),
        Event::Open(Block::Text),
        Event::Ping,
        Event::Delta(Delta::Text("Hello".into())),
        Event::Delta(Delta::Text(" there!".into())),
        Event::Close,
        usage(5),
        Event::Finish {
            reason: Finish::Stop,
            stop_sequence: None,
        },
        Event::End,
    ];
    assert_eq!(events, expected);
}

#[test]
fn server_tools_are_left_out_and_citations_kept() {
    let events = read_bytes([golden!("server_tools", ".stream.sse").as_bytes()]);
    let opened: Vec<&Event> = events
        .iter()
        .filter(|event| matches!(event, Event::Open(_)))
        .collect();
    assert_eq!(
        opened,
        [
            &Event::Open(Block::Reasoning { id: None }),
            &Event::Open(Block::Text)
        ]
    );
    let cited = events
        .iter()
        .any(|event| matches!(event, Event::Delta(Delta::Citation(value)) if value["cited_text"] == "sunny"));
    assert!(cited);
    assert_eq!(collect(&events).text(), "It is sunny.");
    let frames = data(&write(&events));
    let citations = frames
        .iter()
        .filter(|frame| frame["delta"]["type"] == "citations_delta");
    assert_eq!(citations.count(), 1);
}

#[test]
fn the_hour_of_the_cache_is_kept_though_the_last_report_does_not_tell_it() {
    let events = read_bytes([golden!("cache", ".stream.sse").as_bytes()]);
    let usage = collect(&events).usage.unwrap();
    assert_eq!(
        (usage.input, usage.written_5m, usage.written_1h),
        (120, 15, 100)
    );
}

fn message_start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "m"}})
}

fn text_start(index: u32) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
}

fn text_delta(index: u32) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": "a"}})
}

fn block_stop(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn message_delta() -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}})
}

fn message_stop() -> Value {
    json!({"type": "message_stop"})
}

#[test]
fn a_broken_order_is_no_stream() {
    let (start, stop) = (message_start, message_stop);
    let whole = vec![
        start(),
        text_start(0),
        text_delta(0),
        block_stop(0),
        message_delta(),
        stop(),
    ];
    assert!(read(&whole).is_ok());
    for broken in [
        vec![text_start(0)],
        vec![text_delta(0)],
        vec![message_delta()],
        vec![stop()],
        vec![start(), start()],
        vec![start(), text_delta(0)],
        vec![start(), block_stop(0)],
        vec![start(), text_start(0), text_start(1)],
        vec![start(), text_start(0), text_delta(1)],
        vec![start(), text_start(0), block_stop(1)],
        vec![start(), text_start(0), message_delta()],
        vec![start(), text_start(0), stop()],
        vec![start(), text_start(0), block_stop(0), text_start(0)],
        vec![start(), text_start(0), block_stop(0), text_delta(0)],
        vec![start(), message_delta(), text_start(0)],
        vec![start(), message_delta(), stop(), stop()],
        vec![start(), message_delta(), stop(), start()],
        vec![start(), message_delta(), stop(), text_start(0)],
        vec![
            start(),
            text_start(0),
            json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
        ],
    ] {
        assert!(
            matches!(read(&broken), Err(Invalid::Shape(_))),
            "{broken:?}"
        );
    }
}

#[test]
fn an_event_without_its_fields_is_no_event() {
    for (before, data) in [
        (vec![], "{\"type\":\"message_start\"}"),
        (vec![], "{\"type\":\"message_start\",\"message\":5}"),
        (vec![], "not json"),
        (vec![], "[DONE]"),
        (vec![], "{\"choices\":[]}"),
        (
            vec![message_start()],
            "{\"type\":\"content_block_start\",\"index\":0}",
        ),
        (
            vec![message_start()],
            "{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\"}}",
        ),
        (
            vec![message_start()],
            "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"name\":\"f\"}}",
        ),
        (
            vec![message_start()],
            "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"redacted_thinking\"}}",
        ),
        (
            vec![message_start(), text_start(0)],
            "{\"type\":\"content_block_delta\",\"index\":0}",
        ),
        (
            vec![message_start(), text_start(0)],
            "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"a\"}}",
        ),
        (
            vec![message_start(), text_start(0)],
            "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\"}}",
        ),
        (
            vec![message_start(), text_start(0)],
            "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":5}}",
        ),
        (
            vec![message_start(), text_start(0)],
            "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_de",
        ),
    ] {
        let mut reader = Reader::default();
        let mut events = Vec::new();
        for event in before {
            reader.event(&event.to_string(), &mut events).unwrap();
        }
        assert!(
            matches!(reader.event(data, &mut events), Err(Invalid::Shape(_))),
            "{data}"
        );
    }
}

#[test]
fn what_is_unknown_is_passed_over() {
    let events = read(&[
        json!({"type": "ping"}),
        message_start(),
        json!({"type": "of_next_year", "index": "x", "delta": 5}),
        text_start(0),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "of_next_year", "shade": 1}}),
        text_delta(0),
        block_stop(0),
        message_delta(),
        message_delta(),
        message_stop(),
        json!({"type": "ping"}),
    ])
    .unwrap();
    let finishes = events
        .iter()
        .filter(|event| matches!(event, Event::Finish { .. }));
    assert_eq!(finishes.count(), 1, "a repeated reason is told once");
    assert_eq!(events.last(), Some(&Event::End));
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for event in [message_start(), message_delta(), message_stop()] {
        reader.event(&event.to_string(), &mut events).unwrap();
    }
    assert_eq!(
        reader.event("[DONE]", &mut events),
        Ok(()),
        "the marker of another dialect behind our own"
    );
}

#[test]
fn an_error_inside_the_stream_is_told() {
    for (data, kind, message) in [
        (
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            "overloaded_error",
            "Overloaded",
        ),
        (json!({"error": {"message": "no type"}}), "", "no type"),
        (
            json!({"type": "error", "error": "only a text"}),
            "",
            "only a text",
        ),
    ] {
        let events = read(&[message_start(), text_start(0), data]).unwrap();
        let failed = Failed {
            kind: kind.into(),
            message: message.into(),
        };
        assert_eq!(events.last(), Some(&Event::Failed(failed)));
    }
}

#[test]
fn content_in_the_start_of_a_block_is_not_lost() {
    let events = read(&[
        message_start(),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hel"}}),
        text_delta(0),
        block_stop(0),
        json!({"type": "content_block_start", "index": 1, "content_block":
            {"type": "thinking", "thinking": "hm", "signature": "s"}}),
        block_stop(1),
        json!({"type": "content_block_start", "index": 2, "content_block":
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}}),
        block_stop(2),
        // A start that repeats what the pieces say: the pieces count.
        json!({"type": "content_block_start", "index": 3, "content_block":
            {"type": "tool_use", "id": "u", "name": "f", "input": {"b": 1}}}),
        json!({"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
        block_stop(3),
        message_delta(),
        message_stop(),
    ])
    .unwrap();
    let whole = collect(&events);
    let arguments: Vec<&str> = whole
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall(call) => Some(call.arguments.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(arguments, ["{\"a\":1}", "{}"]);
    assert_eq!(whole.text(), "Hela");
    let thought = Thought {
        text: "hm".into(),
        signature: Some("s".into()),
        ..Thought::default()
    };
    assert_eq!(whole.parts[1], Part::Reasoning(thought));
}

fn start() -> Event {
    Event::Start {
        id: "theirs".into(),
        model: "m".into(),
    }
}

fn text(text: &str) -> Event {
    Event::Delta(Delta::Text(text.into()))
}

#[test]
fn the_start_tells_our_estimate_and_the_end_the_last_report() {
    let report = |output| {
        Event::Usage(Usage {
            input: 120,
            cached: 100,
            output,
            reasoning: 10,
            ..Usage::default()
        })
    };
    let finish = Event::Finish {
        reason: Finish::Stop,
        stop_sequence: Some("x".into()),
    };
    // Usage may come before and behind the reason; the last one counts.
    let events = [start(), report(20), finish, report(30), Event::End];
    let frames = write(&events);
    check(&frames).unwrap();
    let frames = data(&frames);
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[0]["message"]["id"], "msg_1");
    assert_eq!(frames[0]["message"]["model"], "m");
    assert_eq!(frames[0]["message"]["usage"]["input_tokens"], 7);
    assert_eq!(frames[1]["delta"]["stop_reason"], "stop_sequence");
    assert_eq!(frames[1]["delta"]["stop_sequence"], "x");
    assert_eq!(
        frames[1]["usage"],
        json!({"input_tokens": 20, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0,
            "output_tokens": 30, "output_tokens_details": {"thinking_tokens": 10}, "server_tool_use": null})
    );
}

#[test]
fn without_a_report_the_estimate_of_the_start_stands() {
    let frames = data(&write(&[start(), Event::End]));
    assert_eq!(frames[1]["usage"]["input_tokens"], Value::Null);
    assert_eq!(frames[1]["usage"]["output_tokens"], 0);
    assert_eq!(frames[1]["delta"]["stop_reason"], Value::Null);
}

#[test]
fn the_signature_comes_once_and_last() {
    let events = [
        start(),
        Event::Open(Block::Reasoning { id: None }),
        Event::Delta(Delta::Signature("ab".into())),
        text("hm"),
        Event::Delta(Delta::Signature("cd".into())),
        Event::Close,
        Event::End,
    ];
    let frames = write(&events);
    check(&frames).unwrap();
    assert_eq!(
        data(&frames)[3]["delta"],
        json!({"type": "signature_delta", "signature": "abcd"})
    );
}

#[test]
fn words_and_sealed_content_of_one_thought_are_two_blocks() {
    let events = [
        start(),
        Event::Open(Block::Reasoning {
            id: Some("rs_1".into()),
        }),
        text("hm"),
        Event::Delta(Delta::Sealed("sealed".into())),
        Event::Close,
        Event::Open(Block::Reasoning { id: None }),
        Event::Close,
        Event::Open(Block::Text),
        text("Hi"),
        Event::Close,
        Event::End,
    ];
    let frames = write(&events);
    check(&frames).unwrap();
    let kinds: Vec<Value> = data(&frames)
        .iter()
        .filter(|frame| frame["type"] == "content_block_start")
        .map(|frame| frame["content_block"]["type"].clone())
        .collect();
    assert_eq!(
        kinds,
        ["thinking", "redacted_thinking", "text"],
        "thinking without content is left out"
    );
}

#[test]
fn a_call_without_arguments_has_no_delta() {
    let events = [
        start(),
        Event::Open(Block::ToolCall {
            id: "call_1".into(),
            name: "f".into(),
        }),
        Event::Delta(Delta::Arguments(String::new())),
        Event::Close,
        Event::End,
    ];
    let frames = write(&events);
    check(&frames).unwrap();
    assert_eq!(frames.len(), 5);
    assert_eq!(
        data(&frames)[1]["content_block"],
        json!({"type": "tool_use", "id": "call_1", "name": "f", "input": {}, "caller": {"type": "direct"}})
    );
}

#[test]
fn citations_of_other_dialects_and_failures_are_not_written() {
    let foreign = json!({"type": "url_citation", "url": "https://example.com/"});
    let events = [
        start(),
        Event::Open(Block::Text),
        Event::Delta(Delta::Citation(foreign)),
        Event::Failed(Failed {
            kind: "x".into(),
            message: "secret".into(),
        }),
    ];
    assert_eq!(write(&events).len(), 2);
}

#[test]
fn an_unclosed_block_is_closed_and_nothing_follows_the_end() {
    let events = [
        start(),
        start(),
        Event::Open(Block::Text),
        text("a"),
        Event::Open(Block::Text),
        text("b"),
        Event::End,
        Event::Open(Block::Text),
        Event::End,
        Event::Ping,
    ];
    check(&write(&events)).unwrap();
}

#[test]
fn the_builtin_answerer_is_marked_in_the_start() {
    let mut writer = Writer::new(envelope(true));
    let mut frames = Vec::new();
    writer.event(&start(), &mut frames);
    assert_eq!(
        data(&frames)[0]["message"]["gatehouse"]["answerer"],
        "built-in, no model"
    );
}

/// Frames that were forwarded, noted event by event, and the writer's own from there on are one stream.
fn continued(stream: &str, cut_after: usize, more: &[Event]) -> Vec<Frame> {
    let (mut reader, mut writer) = (Reader::default(), Writer::new(envelope(false)));
    let mut frames = Vec::new();
    for line in stream.lines() {
        let Some(data) = line.strip_prefix("data: ") else {
            continue;
        };
        if frames.len() == cut_after {
            break;
        }
        let kind: Value = serde_json::from_str(data).unwrap();
        let kind = match kind["type"].as_str().unwrap() {
            "message_start" => "message_start",
            "content_block_start" => "content_block_start",
            "content_block_delta" => "content_block_delta",
            "content_block_stop" => "content_block_stop",
            _ => "ping",
        };
        let mut events = Vec::new();
        reader.event(data, &mut events).unwrap();
        events.iter().for_each(|event| writer.note(event));
        frames.push(Frame {
            event: Some(kind),
            data: data.to_owned(),
        });
    }
    writer.adopt("msg_01Gold01", "claude-haiku-4-5");
    writer.set_next_index(reader.next_index());
    for event in more {
        writer.event(event, &mut frames);
    }
    frames
}

#[test]
fn a_forwarded_stream_goes_on_wherever_it_was_cut() {
    let finish = Event::Finish {
        reason: Finish::Stop,
        stop_sequence: None,
    };
    let more = [text("more"), Event::Close, finish.clone(), Event::End];
    let reopened = [
        Event::Open(Block::Text),
        text("more"),
        Event::Close,
        finish,
        Event::End,
    ];
    // All events but message_delta and message_stop.
    for (stream, count) in [
        (golden!("text", ".stream.sse"), 6),
        (golden!("reasoning", ".stream.sse"), 9),
        (golden!("tools", ".stream.sse"), 12),
    ] {
        for cut in 1..=count {
            check(&continued(stream, cut, &reopened)).unwrap();
            if !stream.contains("tool_use") && !stream.contains("signature_delta") {
                check(&continued(stream, cut, &more)).unwrap();
            }
        }
    }
    // Blocks that the normal form leaves out are counted all the same; pings have no fields to check.
    let frames = continued(golden!("server_tools", ".stream.sse"), 10, &more);
    let last = data(&frames)
        .into_iter()
        .rfind(|frame| frame["type"] == "content_block_stop");
    assert_eq!(last.unwrap()["index"], 3);
}

#[test]
fn adopted_id_and_model_stand_in_a_start_that_is_still_to_come() {
    let mut writer = Writer::new(envelope(false));
    writer.adopt("msg_theirs", "theirs");
    let mut frames = Vec::new();
    writer.event(&start(), &mut frames);
    let message = &data(&frames)[0]["message"];
    assert_eq!(
        (&message["id"], &message["model"]),
        (&json!("msg_theirs"), &json!("theirs"))
    );
}
