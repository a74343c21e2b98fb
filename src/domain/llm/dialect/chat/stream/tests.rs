//! Streams, read and written.

use proptest::prelude::proptest;
use serde_json::{Value, json};

use super::grammar::check;
use super::{Reader, Writer};
use crate::base::sse::write_event;
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::chat::samples::{
    GOLDEN, collected, envelope, events, flag, golden, read_stream, whole,
};
use crate::domain::llm::dialect::chat::whole;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event, Failed, Frame};
use crate::domain::llm::normal::whole::Whole;

#[test]
fn a_golden_stream_means_what_the_golden_answer_means() {
    for golden in GOLDEN {
        let events = read_stream([golden.stream.as_bytes()]).unwrap();
        let whole = whole::read(golden.answer.as_bytes()).unwrap();
        assert_eq!(collected(&events), whole, "{}", golden.feature);
        assert_eq!(events.last(), Some(&Event::End), "{}", golden.feature);
    }
}

#[test]
fn any_split_is_read_alike_and_any_cut_has_no_end() {
    for golden in GOLDEN {
        let bytes = golden.stream.as_bytes();
        let uncut = read_stream([bytes]).unwrap();
        for at in 0..=bytes.len() {
            let (a, b) = bytes.split_at(at);
            assert_eq!(
                read_stream([a, b]).unwrap(),
                uncut,
                "{} at {at}",
                golden.feature
            );
            // The last byte is the second line feed, which delivers the end marker.
            let cut = read_stream([a]).unwrap();
            assert_eq!(cut.contains(&Event::End), at == bytes.len());
        }
    }
}

fn text(text: &str) -> Event {
    Event::Delta(Delta::Text(text.into()))
}

fn arguments(text: &str) -> Event {
    Event::Delta(Delta::Arguments(text.into()))
}

fn call(id: &str, name: &str) -> Event {
    let (id, name) = (id.into(), name.into());
    Event::Open(Block::ToolCall { id, name })
}

fn finish(reason: Finish) -> Event {
    let stop_sequence = None;
    Event::Finish {
        reason,
        stop_sequence,
    }
}

const REASONING: Event = Event::Open(Block::Reasoning { id: None });
const TEXT: Event = Event::Open(Block::Text);

/// Reads chunks given as their first choice (an object with `delta` and what else) and hides the start.
fn choices(choices: &[Value]) -> Result<Vec<Event>, Invalid> {
    let chunks: Vec<Value> = choices
        .iter()
        .map(|choice| json!({"id": "chatcmpl-9", "model": "m", "choices": [choice]}))
        .collect();
    let events = data(&chunks)?;
    let (id, model) = ("chatcmpl-9".into(), "m".into());
    assert_eq!(events[0], Event::Start { id, model });
    Ok(events[1..].to_vec())
}

/// Reads chunks and `[DONE]`.
fn data(chunks: &[Value]) -> Result<Vec<Event>, Invalid> {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for chunk in chunks {
        reader.event(&chunk.to_string(), &mut events)?;
    }
    reader.event("[DONE]", &mut events)?;
    Ok(events)
}

#[test]
fn the_golden_tool_calls_stream_their_arguments() {
    let events = read_stream([golden("tools").stream.as_bytes()]).unwrap();
    let paris: Vec<Event> = ["{\"", "city", "\":\"", "Paris", "\"}"]
        .map(arguments)
        .into();
    assert_eq!(events[1], call("call_Paris", "get_weather"));
    assert_eq!(events[2..7], paris);
    assert_eq!(
        events[7..9],
        [Event::Close, call("call_Rome", "get_weather")]
    );
    assert_eq!(events[14..16], [Event::Close, finish(Finish::Tool)]);
    assert!(matches!(events[16..], [Event::Usage(_), Event::End]));
}

#[test]
fn one_chunk_may_say_everything() {
    let piece = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}});
    let delta =
        json!({"role": "assistant", "reasoning": "hm", "content": "Hi", "tool_calls": [piece]});
    assert_eq!(
        choices(&[
            json!({"delta": delta, "finish_reason": "stop"}),
            json!({"delta": {"content": ""}, "finish_reason": "stop"})
        ])
        .unwrap(),
        [
            REASONING,
            text("hm"),
            Event::Close,
            TEXT,
            text("Hi"),
            Event::Close,
            call("a", "f"),
            arguments("{}"),
            Event::Close,
            finish(Finish::Tool),
            Event::End
        ]
    );
}

#[test]
fn the_message_so_far_beside_a_delta_is_not_read_twice() {
    // Perplexity's chunks.
    let read = choices(&[
        json!({"message": {"role": "assistant", "content": "H"}, "delta": {"content": "H"}}),
        json!({"message": {"role": "assistant", "content": "Hi"}, "delta": {"content": "i"}, "finish_reason": "stop"}),
    ]);
    assert_eq!(
        read.unwrap(),
        [
            TEXT,
            text("H"),
            text("i"),
            Event::Close,
            finish(Finish::Stop),
            Event::End
        ]
    );
}

#[test]
fn empty_pieces_open_nothing() {
    let read = choices(&[
        json!({"delta": {"role": "assistant", "content": "", "reasoning_content": null, "tool_calls": []}}),
        json!({"delta": null}),
        json!({"delta": {}, "finish_reason": ""}),
        json!({"delta": {}, "finish_reason": "null"}),
        json!({"index": 1, "delta": {"content": "of another answer"}}),
        json!({"delta": {}, "finish_reason": "stop"}),
    ]);
    assert_eq!(read.unwrap(), [finish(Finish::Stop), Event::End]);
}

/// One tool call delta, in a chunk of its own.
fn piece(piece: Value) -> Value {
    json!({"delta": {"content": null, "tool_calls": [piece]}})
}

#[test]
fn id_and_name_may_come_late() {
    let pieces = [
        json!({"index": 0, "function": {"name": "f", "arguments": "{\"a\""}}),
        json!({"index": 0, "id": "a", "function": {"arguments": ":1"}}),
        json!({"index": 0, "function": {"arguments": "}"}}),
    ];
    assert_eq!(
        choices(&pieces.map(piece)).unwrap(),
        [
            call("a", "f"),
            arguments("{\"a\""),
            arguments(":1"),
            arguments("}"),
            Event::Close,
            Event::End
        ]
    );
    let pieces = [
        json!({"index": 0, "id": "a", "function": {"arguments": "{"}}),
        json!({"index": 0, "function": {"name": "f", "arguments": "}"}}),
    ];
    assert_eq!(
        choices(&pieces.map(piece)).unwrap(),
        [
            call("a", "f"),
            arguments("{"),
            arguments("}"),
            Event::Close,
            Event::End
        ]
    );
}

#[test]
fn calls_are_told_apart_whatever_the_server_numbers() {
    let f = |id: &str, index: Option<u64>| json!({"index": index, "id": id, "function": {"name": "f", "arguments": "{}"}});
    let two = |a: &str, b: &str| {
        vec![
            call(a, "f"),
            arguments("{}"),
            Event::Close,
            call(b, "f"),
            arguments("{}"),
            Event::Close,
            Event::End,
        ]
    };
    let table = [
        // OpenAI; Gemini; no numbers; neither numbers nor ids; Gemini without ids
        ([f("a", Some(0)), f("b", Some(1))], two("a", "b")),
        ([f("a", Some(0)), f("b", Some(0))], two("a", "b")),
        ([f("a", None), f("b", None)], two("a", "b")),
        ([f("", None), f("", None)], two("call_9_0", "call_9_1")),
        (
            [f("", Some(0)), f("", Some(0))],
            two("call_9_0", "call_9_1"),
        ),
    ];
    for (pieces, expected) in table {
        assert_eq!(
            choices(&pieces.clone().map(piece)).unwrap(),
            expected,
            "{pieces:?}"
        );
        // The same in one chunk.
        let chunk = json!({"delta": {"tool_calls": pieces}});
        assert_eq!(choices(&[chunk]).unwrap(), expected, "{pieces:?}");
    }
}

#[test]
fn pieces_of_one_call_stay_together_whatever_the_server_repeats() {
    let one = [
        call("a", "f"),
        arguments("{"),
        arguments("}"),
        Event::Close,
        Event::End,
    ];
    let table = [
        // id and name again
        [
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}),
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "}"}}),
        ],
        [
            json!({"id": "a", "function": {"name": "f", "arguments": "{"}}),
            json!({"id": "a", "function": {"name": "f", "arguments": "}"}}),
        ],
        // older vLLM: a new id for every piece
        [
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}),
            json!({"index": 0, "id": "b", "function": {"name": null, "arguments": "}"}}),
        ],
        // no number at all
        [
            json!({"id": "a", "function": {"name": "f", "arguments": "{"}}),
            json!({"function": {"name": "", "arguments": "}"}}),
        ],
    ];
    for pieces in table {
        assert_eq!(
            choices(&pieces.clone().map(piece)).unwrap(),
            one,
            "{pieces:?}"
        );
    }
    let legacy = [
        json!({"delta": {"function_call": {"name": "f", "arguments": "{"}}}),
        json!({"delta": {"function_call": {"arguments": "}"}}, "finish_reason": "function_call"}),
    ];
    assert_eq!(
        choices(&legacy).unwrap(),
        [
            call("call_9_0", "f"),
            arguments("{}"),
            Event::Close,
            finish(Finish::Tool),
            Event::End
        ]
    );
}

/// Pieces of numbered calls, each in a chunk of its own: number, name or nothing, arguments.
fn calls(pieces: &[(u64, &str, &str)]) -> Result<Vec<Event>, Invalid> {
    let chunks: Vec<Value> = pieces
        .iter()
        .map(|(index, name, arguments)| {
            let mut call = json!({"index": index, "function": {"arguments": arguments}});
            if !name.is_empty() {
                call["id"] = format!("id_{name}").into();
                call["function"]["name"] = (*name).into();
            }
            piece(call)
        })
        .collect();
    choices(&chunks)
}

/// Name and arguments of the calls, in order, and none inside another.
fn called(events: &[Event]) -> Vec<(String, String)> {
    let mut calls = Vec::new();
    let mut open = false;
    for event in events {
        match event {
            Event::Open(Block::ToolCall { id, name }) => {
                assert!(!open && *id == format!("id_{name}"));
                open = true;
                calls.push((name.clone(), String::new()));
            }
            Event::Delta(Delta::Arguments(more)) => {
                assert!(open);
                calls.last_mut().unwrap().1.push_str(more);
            }
            Event::Close => open = false,
            _ => {}
        }
    }
    assert!(!open);
    calls
}

#[test]
fn calls_whose_pieces_come_in_turns_are_told_one_after_the_other() {
    let told = |calls: &[(&str, &str)]| {
        let owned =
            |(name, arguments): &(&str, &str)| ((*name).to_owned(), (*arguments).to_owned());
        calls.iter().map(owned).collect::<Vec<_>>()
    };
    let in_turns = [
        (0, "f", ""),
        (1, "g", ""),
        (2, "h", ""),
        (0, "", "{\"x\":"),
        (2, "", "{\"z\":\"}\\\"{\"}"),
        (1, "", "{\"y\":"),
        (0, "", "1}"),
        (1, "", "[2]}"),
    ];
    let events = calls(&in_turns).unwrap();
    assert_eq!(
        called(&events),
        told(&[
            ("f", "{\"x\":1}"),
            ("g", "{\"y\":[2]}"),
            ("h", "{\"z\":\"}\\\"{\"}")
        ])
    );
    // The first one is told as it comes, and one behind a complete one, too.
    assert_eq!(calls(&in_turns[..1]).unwrap()[0], call("id_f", "f"));
    let one_by_one = [(0, "f", "{}"), (1, "g", "{"), (1, "", "}")];
    assert_eq!(
        calls(&one_by_one).unwrap()[2..6],
        [
            Event::Close,
            call("id_g", "g"),
            arguments("{"),
            arguments("}")
        ]
    );
    // Calls without arguments, or with some that never become whole, are told at the end.
    let never_whole = [(0, "f", ""), (1, "g", "7"), (2, "h", "{"), (0, "", "")];
    assert_eq!(
        called(&calls(&never_whole).unwrap()),
        told(&[("f", ""), ("g", "7"), ("h", "{")])
    );
}

#[test]
fn calls_that_wait_are_bounded() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(600_000));
    let fits = [
        (0, "f", "{"),
        (1, "g", &*long),
        (0, "", "}"),
        (2, "h", &*long),
    ];
    assert_eq!(called(&calls(&fits).unwrap()).len(), 3);
    let too_much = [(0, "f", "{"), (1, "g", &*long), (2, "h", &*long)];
    assert!(matches!(calls(&too_much), Err(Invalid::Shape(_))));
    let many: Vec<(u64, &str, &str)> = (0..5000).map(|index| (index, "f", "")).collect();
    assert!(matches!(calls(&many), Err(Invalid::Shape(_))));
}

#[test]
fn what_breaks_the_grammar_is_invalid() {
    let first = piece(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}));
    let second =
        piece(json!({"index": 1, "id": "b", "function": {"name": "f", "arguments": "{}"}}));
    let more = piece(json!({"index": 0, "function": {"arguments": "}"}}));
    let said = json!({"delta": {"content": "Hi"}});
    let done = json!({"delta": {}, "finish_reason": "stop"});
    for broken in [
        vec![first.clone(), second, more.clone()], // more of a call that is complete
        vec![first.clone(), said.clone(), more.clone()],
        vec![said.clone(), done.clone(), said], // content after the finish
        vec![done.clone(), first],
        vec![more, done], // a call that nobody named
        vec![json!({"delta": {"content": 7}})],
        vec![json!({"delta": "Hi"})],
    ] {
        assert!(
            matches!(choices(&broken), Err(Invalid::Shape(_))),
            "{broken:?}"
        );
    }
    for nonsense in [
        "",
        "{",
        "oops",
        "null",
        "7",
        "[]",
        "{}",
        "{\"type\":\"message_start\",\"message\":{}}",
        "[DONE]",
        "<html>",
    ] {
        let mut reader = Reader::default();
        let mut events = Vec::new();
        let read = reader.event(nonsense, &mut events);
        assert!(
            matches!(read, Err(Invalid::Shape(_))) && events.is_empty(),
            "{nonsense}"
        );
    }
}

#[test]
fn what_nobody_knows_is_ignored_once_the_answer_has_begun() {
    let said = json!({"id": "chatcmpl-9", "model": "m", "choices": [{"delta": {"content": "Hi", "mood": "good"}, "x": 1}], "y": {}});
    let events = data(&[said, json!({"type": "note"}), json!({"choices": []})]).unwrap();
    assert_eq!(events[1..], [TEXT, text("Hi"), Event::Close, Event::End]);
}

#[test]
fn azure_begins_with_its_filters_view_of_the_prompt() {
    let filters = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0}]});
    let said = json!({"id": "chatcmpl-9", "model": "m", "choices": [{"delta": {"content": "Hi"}}]});
    let (id, model) = ("chatcmpl-9".into(), "m".into());
    assert_eq!(
        data(&[filters, said]).unwrap()[0],
        Event::Start { id, model }
    );
}

#[test]
fn usage_is_heard_in_any_chunk() {
    let usage = |output: u64| json!({"prompt_tokens": 3, "completion_tokens": output});
    let told = |output| {
        Event::Usage(Usage {
            input: 3,
            output,
            ..Usage::default()
        })
    };
    let events = data(&[
        json!({"choices": [{"delta": {"content": "Hi"}}], "usage": usage(1)}),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}),
        json!({"usage": usage(2)}),
        json!({"choices": [], "usage": usage(3)}),
        json!({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}),
    ]);
    assert_eq!(
        events.unwrap()[1..],
        [
            TEXT,
            text("Hi"),
            told(1),
            Event::Close,
            finish(Finish::Stop),
            told(2),
            told(3),
            Event::End
        ]
    );
}

#[test]
fn an_error_in_the_stream_is_the_last_event() {
    let failed = |kind: &str, message: &str| {
        Event::Failed(Failed {
            kind: kind.into(),
            message: message.into(),
        })
    };
    let table = [
        (
            json!({"error": {"message": "gone", "type": "server_error", "code": null}}),
            failed("server_error", "gone"),
        ),
        (
            json!({"error": {"object": "error", "message": "gone", "type": "BadRequestError", "code": 400}}),
            failed("BadRequestError", "gone"),
        ),
        (json!({"error": "gone"}), failed("", "gone")),
        (
            json!({"object": "error", "message": "gone", "type": "x"}),
            failed("x", "gone"),
        ),
        (
            json!({"id": "1", "error": {"code": "server_error", "message": "gone"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}),
            failed("server_error", "gone"),
        ),
        (
            json!({"choices": [{"delta": {}, "finish_reason": "insufficient_system_resource"}]}),
            failed("insufficient_system_resource", ""),
        ),
    ];
    let said = json!({"choices": [{"delta": {"content": "Hi"}}]});
    for (error, failed) in table {
        let events = data(&[said.clone(), error.clone(), said.clone()]).unwrap();
        assert_eq!(events[1..], [TEXT, text("Hi"), failed.clone()], "{error}");
        assert_eq!(data(&[error]).unwrap().last(), Some(&failed));
    }
}

#[test]
fn after_the_end_nothing_is_read() {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for data in [
        "{\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}",
        " [DONE] ",
        "[DONE]",
        "{\"choices\":[]}",
        "oops",
    ] {
        reader.event(data, &mut events).unwrap();
    }
    assert_eq!(
        events.iter().filter(|event| **event == Event::End).count(),
        1
    );
}

fn written(events: &[Event], envelope: Envelope) -> Vec<Frame> {
    let mut writer = Writer::new(envelope);
    let mut frames = Vec::new();
    events
        .iter()
        .for_each(|event| writer.event(event, &mut frames));
    frames
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames
        .iter()
        .for_each(|frame| write_event(&mut bytes, frame.event, &frame.data));
    bytes
}

#[test]
fn a_stream_is_written_as_openai_sends_it() {
    let start = Event::Start {
        id: "x".into(),
        model: "m".into(),
    };
    let usage = Event::Usage(Usage {
        input: 3,
        output: 2,
        ..Usage::default()
    });
    let events = [
        start,
        Event::Ping,
        TEXT,
        text("Hi"),
        Event::Close,
        call("a", "f"),
        Event::Close,
        usage,
        finish(Finish::Tool),
        Event::End,
    ];
    let frames = written(&events, envelope());
    let chunk = |delta: Value, reason: Value| json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_795_237_500, "model": "m", "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}], "usage": null});
    let expected = [
        chunk(
            json!({"role": "assistant", "content": "", "refusal": null}),
            Value::Null,
        ),
        chunk(json!({"content": "Hi"}), Value::Null),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
            Value::Null,
        ),
        chunk(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            Value::Null,
        ),
        chunk(json!({}), json!("tool_calls")),
    ];
    assert_eq!(frames.len(), expected.len() + 2);
    for (frame, expected) in frames.iter().zip(&expected) {
        assert_eq!(
            serde_json::from_str::<Value>(&frame.data).unwrap(),
            *expected
        );
    }
    let last: Value = serde_json::from_str(&frames[5].data).unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]["total_tokens"]),
        (&json!([]), &json!(5))
    );
    assert_eq!(
        frames[6],
        Frame {
            event: None,
            data: "[DONE]".into()
        }
    );
}

#[test]
fn the_built_in_answerer_marks_every_chunk() {
    let whole = whole::read(golden("text").answer.as_bytes()).unwrap();
    let frames = written(
        &whole.events(),
        Envelope {
            builtin: true,
            include_usage: false,
            ..envelope()
        },
    );
    let (done, chunks) = frames.split_last().unwrap();
    assert_eq!(done.data, "[DONE]");
    for chunk in chunks {
        let chunk: Value = serde_json::from_str(&chunk.data).unwrap();
        assert_eq!(chunk["gatehouse"]["answerer"], "built-in, no model");
        assert_eq!(chunk.get("usage"), None);
    }
}

#[test]
fn a_second_start_and_a_failure_write_nothing() {
    let start = |model: &str| Event::Start {
        id: "x".into(),
        model: model.into(),
    };
    let failed = Event::Failed(Failed {
        kind: String::new(),
        message: "secret".into(),
    });
    let frames = written(
        &[start("m"), TEXT, text("Hi"), failed, start("n"), text("!")],
        envelope(),
    );
    assert_eq!(frames.len(), 3);
    assert!(
        frames
            .iter()
            .all(|frame| frame.data.contains("\"model\":\"m\""))
    );
}

/// What of a stream comes back from this dialect: see the head of the dialect. Blocks are told by their deltas.
fn normal(events: &[Event], include_usage: bool) -> Vec<Event> {
    let mut blocks: Vec<(Block, Vec<Event>)> = Vec::new();
    let (mut head, mut reason, mut usage) = (Vec::new(), None, None);
    for event in events {
        match event {
            Event::Start { model, .. } => head.push(Event::Start {
                id: "chatcmpl-1".into(),
                model: model.clone(),
            }),
            Event::Open(Block::Reasoning { .. }) => {
                blocks.push((Block::Reasoning { id: None }, Vec::new()))
            }
            Event::Open(block) => blocks.push((block.clone(), Vec::new())),
            Event::Delta(Delta::Text(text) | Delta::Arguments(text)) if !text.is_empty() => {
                blocks.last_mut().unwrap().1.push(event.clone())
            }
            Event::Usage(told) => usage = Some(*told),
            Event::Finish { reason: told, .. } => reason = Some(*told),
            _ => {}
        }
    }
    let is_call = |block: &Block| matches!(block, Block::ToolCall { .. });
    let mut open: Option<Block> = None;
    let mut calls = false;
    for (block, mut deltas) in blocks {
        if is_call(&block) {
            calls = true;
            if deltas.is_empty() {
                deltas.push(arguments("{}"));
            }
        } else if deltas.is_empty() {
            continue;
        }
        if open.as_ref() != Some(&block) || is_call(&block) {
            head.extend(open.take().map(|_| Event::Close));
            head.push(Event::Open(block.clone()));
            open = Some(block);
        }
        head.extend(deltas);
    }
    let usage = usage
        .filter(|usage| include_usage && usage.input + usage.output > 0)
        .map(|usage| Usage {
            written_5m: usage.written_5m + usage.written_1h,
            written_1h: 0,
            ..usage
        });
    let reason = reason.map(|reason| match reason {
        Finish::Stop if calls => Finish::Tool,
        reason => reason,
    });
    // Only a finish or the end closes the last block.
    let close = open.map(|_| Event::Close);
    let usage = usage.map(Event::Usage);
    match reason {
        Some(reason) => {
            head.extend(close);
            head.push(finish(reason));
            head.extend(usage);
        }
        None => {
            head.extend(usage);
            head.extend(close);
        }
    }
    head.push(Event::End);
    head
}

proptest! {
    #[test]
    fn every_written_stream_keeps_the_grammar_and_is_read_back(events in events(), include_usage in flag()) {
        let frames = written(&events, Envelope { include_usage, ..envelope() });
        check(&frames, include_usage).unwrap();
        assert_eq!(read_stream([bytes(&frames).as_slice()]), Ok(normal(&events, include_usage)));
    }

    #[test]
    fn a_whole_answer_is_the_same_streamed(whole in whole()) {
        let streamed = read_stream([bytes(&written(&whole.events(), envelope())).as_slice()]).unwrap();
        let at_once = whole::read(whole::write(&whole, &envelope()).to_string().as_bytes()).unwrap();
        let streamed = collected(&streamed);
        assert_eq!(Whole { parts: Vec::new(), ..streamed.clone() }, Whole { parts: Vec::new(), ..at_once.clone() });
        assert_eq!(streamed.text(), at_once.text());
    }

    #[test]
    fn a_stream_of_other_hands_goes_on_anywhere(events in events(), cut in 0..30usize) {
        // The first frames went to the caller as another server wrote them, with its id and model.
        let cut = cut.min(events.len());
        let (before, after) = events.split_at(cut);
        let mut writer = Writer::new(envelope());
        let mut own = Vec::new();
        let mut noting = Writer::new(envelope());
        before.iter().for_each(|event| { writer.event(event, &mut own); noting.note(event); });
        noting.adopt("chatcmpl-other", "other");
        let mut tail = Vec::new();
        after.iter().for_each(|event| { writer.event(event, &mut own); noting.event(event, &mut tail); });
        let rest = &own[own.len() - tail.len()..];
        for (own, adopted) in rest.iter().zip(&tail) {
            if own.data == "[DONE]" {
                assert_eq!(own, adopted);
                continue;
            }
            let (mut own, adopted): (Value, Value) = (serde_json::from_str(&own.data).unwrap(), serde_json::from_str(&adopted.data).unwrap());
            own["id"] = json!("chatcmpl-other");
            own["model"] = json!("other");
            assert_eq!(own, adopted);
        }
        assert_eq!(tail.last().map(|frame| frame.data.as_str()), (cut < events.len()).then_some("[DONE]"));
    }
}
