//! The caller's stream: forwarded, translated, continued, numbered, and what is left out of it.

use super::{Delivery, Options, full_id};
use crate::base::errors::{Code, Refusal};
use crate::base::sse::{Parser, write_event};
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::responses::echo::Echo;
use crate::domain::llm::dialect::{StreamReader, StreamWriter};
use crate::domain::llm::engine::Mode;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event};
use crate::domain::llm::normal::whole::{Collector, Whole};
use crate::domain::llm::stream::inlet::{Inlet, MAX_KEPT_BYTES};
use serde_json::{Value, json};

const USAGE: Usage = Usage {
    input: 10,
    cached: 0,
    written_5m: 0,
    written_1h: 0,
    output: 4,
    reasoning: 0,
    estimated: false,
};

fn envelope(id: &str, include_usage: bool) -> Envelope {
    Envelope {
        id: id.into(),
        created: Millis(0),
        estimated_input: 9,
        include_usage,
        builtin: false,
    }
}

fn delivery(options: Options) -> Delivery {
    Delivery::new(options, envelope("ours", !options.hide_usage))
}

const fn to(protocol: Protocol) -> Options {
    Options {
        protocol,
        hide_usage: false,
        numbered: false,
        keep: true,
    }
}

/// A provider's stream, as bytes.
fn provider(protocol: Protocol, events: &[Event]) -> Vec<u8> {
    let mut writer = StreamWriter::new(protocol, envelope("theirs", true));
    let (mut frames, mut bytes) = (Vec::new(), Vec::new());
    for event in events {
        writer.event(event, &mut frames);
    }
    for frame in frames {
        write_event(&mut bytes, frame.event, &frame.data);
    }
    bytes
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

fn said(words: &str) -> Vec<Event> {
    vec![start(), Event::Open(Block::Text), text(words), Event::Close]
}

fn ending() -> [Event; 3] {
    let finish = Event::Finish {
        reason: Finish::Stop,
        stop_sequence: None,
    };
    [Event::Usage(USAGE), finish, Event::End]
}

fn whole(words: &str) -> Vec<Event> {
    said(words).into_iter().chain(ending()).collect()
}

/// Delivers an attempt's bytes.
fn deliver(delivery: &mut Delivery, protocol: Protocol, mode: Mode, bytes: &[u8]) -> Vec<u8> {
    let mut inlet = Inlet::new(protocol, false);
    let (mut steps, mut out) = (Vec::new(), Vec::new());
    inlet.push(bytes, &mut steps);
    delivery.begin(protocol, mode, Usage::default());
    for step in &steps {
        delivery.step(step, &mut out);
    }
    out
}

fn events(bytes: &[u8]) -> Vec<(Option<u64>, String)> {
    let text = str::from_utf8(bytes).unwrap();
    let mut numbers = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .map(|number| number.parse().unwrap());
    let mut events = Vec::new();
    Parser::default()
        .push(bytes, |event| {
            events.push((numbers.next(), event.data.to_owned()));
        })
        .unwrap();
    events
}

fn read(protocol: Protocol, bytes: &[u8]) -> Option<Whole> {
    let mut reader = StreamReader::new(protocol);
    let mut collector = Collector::default();
    for (_, data) in events(bytes) {
        let mut events = Vec::new();
        let _ = reader.event(&data, &mut events);
        events.iter().for_each(|event| collector.push(event));
    }
    collector.finished().cloned()
}

#[test]
fn the_same_dialect_is_forwarded_byte_for_byte_unknown_events_included() {
    for protocol in Protocol::ALL {
        let mut bytes = provider(protocol, &said("Hi"));
        write_event(
            &mut bytes,
            Some("response.new_kind"),
            "{\"type\":\"response.new_kind\",\"sequence_number\":99}",
        );
        let rest = provider(protocol, &whole("Hi"));
        let rest = rest
            .strip_prefix(provider(protocol, &said("Hi")).as_slice())
            .unwrap();
        bytes.extend_from_slice(rest);
        let mut delivery = delivery(to(protocol));
        assert_eq!(deliver(&mut delivery, protocol, Mode::Fresh, &bytes), bytes);
        assert_eq!(delivery.finished().map(Whole::text).as_deref(), Some("Hi"));
    }
}

#[test]
fn usage_that_we_asked_for_is_hidden_from_a_caller_who_did_not_and_counted_all_the_same() {
    let bytes = provider(Protocol::Chat, &whole("Hi"));
    for hide_usage in [true, false] {
        let mut delivery = delivery(Options {
            hide_usage,
            ..to(Protocol::Chat)
        });
        let out = deliver(&mut delivery, Protocol::Chat, Mode::Fresh, &bytes);
        let text = str::from_utf8(&out).unwrap();
        assert_eq!(text.contains("prompt_tokens"), !hide_usage);
        assert!(text.ends_with("data: [DONE]\n\n"));
        assert_eq!(delivery.finished().and_then(|w| w.usage), Some(USAGE));
    }
}

/// A chat chunk.
fn chunk(choices: Value, usage: Value) -> String {
    let chunk = json!({"id": "x", "model": "m", "choices": choices, "usage": usage});
    format!("data: {chunk}\n\n")
}

#[test]
fn a_chunk_that_says_more_than_usage_loses_its_usage_alone() {
    let told = json!({"prompt_tokens": 1, "completion_tokens": 1});
    let zeros = json!({"prompt_tokens": 0, "completion_tokens": 0});
    // Some servers tell the counts in every chunk: with words, with another choice's, with annotations, with the finish.
    let choices = [
        json!([{"index": 0, "delta": {"content": "Hi"}}]),
        json!([{"index": 1, "delta": {"content": "one"}}]),
        json!([{"index": 0, "delta": {"annotations": [{"type": "url_citation"}]}}]),
        json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    ];
    for usage in [told.clone(), zeros.clone()] {
        let mut bytes: String = choices
            .iter()
            .map(|c| chunk(c.clone(), usage.clone()))
            .collect();
        bytes += &chunk(json!([]), usage.clone());
        bytes += "data: [DONE]\n\n";
        let mut delivery = delivery(Options {
            hide_usage: true,
            ..to(Protocol::Chat)
        });
        let out = deliver(&mut delivery, Protocol::Chat, Mode::Fresh, bytes.as_bytes());
        let out = events(&out);
        assert_eq!(out.len(), choices.len() + 1, "{out:?}");
        for ((_, data), expected) in out.iter().zip(&choices) {
            let told: Value = serde_json::from_str(data).unwrap();
            assert_eq!(told, json!({"id": "x", "model": "m", "choices": expected}));
        }
        assert_eq!(out[4].1, "[DONE]");
    }
}

#[test]
fn usage_that_comes_behind_the_end_is_counted_and_hidden_too() {
    let told = json!({"prompt_tokens": 7, "completion_tokens": 3});
    let mut bytes = chunk(
        json!([{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]),
        Value::Null,
    );
    bytes += "data: [DONE]\n\n";
    let late = bytes.clone() + &chunk(json!([]), told);
    let mut delivery = delivery(Options {
        hide_usage: true,
        ..to(Protocol::Chat)
    });
    let out = deliver(&mut delivery, Protocol::Chat, Mode::Fresh, late.as_bytes());
    let expected = bytes.replace(",\"usage\":null", "");
    assert_eq!(str::from_utf8(&out).unwrap(), expected);
    let mut inlet = Inlet::new(Protocol::Chat, false);
    inlet.watch(late.as_bytes());
    assert_eq!(
        inlet.seen().usage.map(|u| (u.input, u.output)),
        Some((7, 3))
    );
    assert_eq!(inlet.fault(), None);
}

#[test]
fn an_answer_that_is_written_anew_tells_our_estimate_where_the_provider_told_nothing() {
    let mut silent = whole("eight by");
    silent.retain(|event| !matches!(event, Event::Usage(_)));
    for protocol in [Protocol::Messages, Protocol::Responses] {
        let mut delivery = delivery(to(protocol));
        let bytes = provider(Protocol::Chat, &silent);
        // The writer of the provider's side knows no stream without usage.
        let bytes = String::from_utf8(bytes).unwrap();
        let bytes = bytes.replace("\"prompt_tokens\":0", "\"prompt_tokens\":null");
        let out = deliver(&mut delivery, Protocol::Chat, Mode::Fresh, bytes.as_bytes());
        let usage = read(protocol, &out).and_then(|whole| whole.usage).unwrap();
        assert_eq!((usage.input, usage.output), (9, 2), "{protocol:?}");
        let kept = delivery.finished().and_then(|whole| whole.usage).unwrap();
        assert!(kept.estimated);
    }
}

#[test]
fn a_continuation_without_usage_is_estimated_by_what_it_said_alone() {
    let mut delivery = delivery(to(Protocol::Messages));
    let first = provider(Protocol::Chat, &said("eight by"));
    deliver(&mut delivery, Protocol::Chat, Mode::Fresh, &first);
    let mut rest = whole("tes ");
    rest.retain(|event| !matches!(event, Event::Usage(_)));
    let mut inlet = Inlet::new(Protocol::Messages, false);
    let (mut steps, mut out) = (Vec::new(), Vec::new());
    inlet.push(&provider(Protocol::Messages, &rest), &mut steps);
    let spent = Usage {
        input: 9,
        output: 2,
        ..Usage::default()
    };
    delivery.begin(Protocol::Messages, Mode::Prefill, spent);
    for step in &mut steps {
        step.events
            .retain(|event| !matches!(event, Event::Usage(_)));
        delivery.step(step, &mut out);
    }
    let usage = delivery.finished().and_then(|whole| whole.usage).unwrap();
    assert_eq!((usage.input, usage.output), (18, 3));
}

#[test]
fn responses_repeat_what_was_asked_in_every_event_that_has_one() {
    let request = json!({"metadata": {"k": "v"}, "temperature": 0.5});
    let echo = Echo::of(request.as_object().unwrap(), Some("resp_0"), true);
    for from in [Protocol::Chat, Protocol::Responses] {
        let mut delivery = delivery(to(Protocol::Responses)).echoing(Some(echo.clone()));
        let bytes = provider(from, &whole("Hi"));
        let out = deliver(&mut delivery, from, Mode::Fresh, &bytes);
        let told: Vec<Value> = events(&out)
            .iter()
            .filter_map(|(_, data)| {
                serde_json::from_str::<Value>(data)
                    .unwrap()
                    .get("response")
                    .cloned()
            })
            .collect();
        assert_eq!(told.len(), 3);
        for response in told {
            assert_eq!(response["previous_response_id"], "resp_0");
            assert_eq!(response["store"], true);
            // What the provider did is told by itself.
            let asked = if from == Protocol::Responses {
                json!({})
            } else {
                json!({"k": "v"})
            };
            assert_eq!(response["metadata"], asked, "{from:?}");
        }
    }
}

#[test]
fn usage_that_is_null_because_we_asked_is_left_out_of_chunks_and_nothing_else_is() {
    let chunk = |usage: &str, words: &str| {
        format!(
            "data: {{\"id\":\"x\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{words}}}}}]{usage},\"obfuscation\":\"a\"}}\n\n"
        )
    };
    // The same words inside a text are the model's.
    let words = "\"say \\\"x\\\",\\\"usage\\\":null\"";
    for (usage, left) in [
        (",\"usage\":null", ""),
        (",\"usage\": null", ""),
        ("", ""),
        (
            ",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}",
            "",
        ),
    ] {
        for hide_usage in [true, false] {
            let mut delivery = delivery(Options {
                hide_usage,
                ..to(Protocol::Chat)
            });
            let bytes = chunk(usage, words).into_bytes();
            let out = deliver(&mut delivery, Protocol::Chat, Mode::Fresh, &bytes);
            let expected = chunk(if hide_usage { left } else { usage }, words);
            assert_eq!(str::from_utf8(&out), Ok(expected.as_str()));
            assert_eq!(delivery.text(), "say \"x\",\"usage\":null");
        }
    }
}

#[test]
fn nothing_follows_a_text_that_the_provider_called_done() {
    // With and without the event's name in a field of its own.
    for named in [true, false] {
        let whole = provider(Protocol::Responses, &whole("The sky "));
        let text = str::from_utf8(&whole).unwrap();
        let end = text.find("event: response.content_part.done").unwrap();
        let before = if named {
            text[..end].to_owned()
        } else {
            let lines = text[..end]
                .lines()
                .filter(|line| !line.starts_with("event"));
            lines.map(|line| format!("{line}\n")).collect()
        };
        let mut delivery = delivery(to(Protocol::Responses));
        let mut out = deliver(
            &mut delivery,
            Protocol::Responses,
            Mode::Fresh,
            before.as_bytes(),
        );
        let rest = provider(Protocol::Chat, &self::whole("is blue."));
        out.extend(deliver(&mut delivery, Protocol::Chat, Mode::Prefill, &rest));
        let mut done: Vec<u64> = Vec::new();
        for (_, data) in events(&out) {
            let data: Value = serde_json::from_str(&data).unwrap();
            let part = data["content_index"].as_u64();
            match data["type"].as_str().unwrap() {
                "response.output_text.done" => done.extend(part),
                "response.output_text.delta" => assert!(!done.contains(&part.unwrap()), "{data}"),
                _ => {}
            }
        }
        assert_eq!(done, [0, 1], "each once");
        assert_eq!(
            read(Protocol::Responses, &out).map(|w| w.text()).as_deref(),
            Some("The sky is blue.")
        );
    }
}

#[test]
fn numbers_count_every_event_from_zero_without_a_gap_also_where_one_is_hidden_or_an_error() {
    for protocol in Protocol::ALL {
        for from in Protocol::ALL {
            let mut delivery = delivery(Options {
                numbered: true,
                hide_usage: protocol == Protocol::Chat,
                ..to(protocol)
            });
            let mut out = deliver(
                &mut delivery,
                from,
                Mode::Fresh,
                &provider(from, &whole("Hi")),
            );
            delivery.error(&Refusal::new(Code::UpstreamStalled), "r", &mut out);
            let numbers: Vec<u64> = events(&out).into_iter().filter_map(|(id, _)| id).collect();
            let expected: Vec<u64> = (0..events(&out).len() as u64).collect();
            assert_eq!(numbers, expected, "{from:?} to {protocol:?}");
            assert_eq!(delivery.sequence(), expected.len() as u64);
        }
    }
}

#[test]
fn an_answer_that_can_be_asked_for_again_carries_our_id_in_every_event_and_no_word_of_it_changes() {
    for protocol in Protocol::ALL {
        // The foreign id stands in the text too: that is the model's word, not an id.
        let words = format!("The id {} is not quoted.", full_id(protocol, "theirs"));
        let mut delivery = delivery(Options {
            numbered: true,
            ..to(protocol)
        });
        let bytes = provider(protocol, &whole(&words));
        let out = deliver(&mut delivery, protocol, Mode::Fresh, &bytes);
        let (foreign, ours) = (full_id(protocol, "theirs"), full_id(protocol, "ours"));
        for (_, data) in events(&out) {
            assert!(!data.contains(&format!("\"{foreign}\"")), "{data}");
        }
        assert!(str::from_utf8(&out).unwrap().contains(&ours));
        assert_eq!(read(protocol, &out).map(|w| w.text()), Some(words));
    }
}

#[test]
fn errors_are_events_of_the_callers_dialect_with_the_next_number() {
    for protocol in Protocol::ALL {
        let mut delivery = delivery(to(protocol));
        let mut out = deliver(
            &mut delivery,
            Protocol::Chat,
            Mode::Fresh,
            &provider(Protocol::Chat, &said("Hi")),
        );
        let before = events(&out).len();
        delivery.error(&Refusal::new(Code::UpstreamStalled), "r", &mut out);
        let all = events(&out);
        assert_eq!(all.len(), before + 1);
        let last: Value = serde_json::from_str(&all[before].1).unwrap();
        assert!(last.to_string().contains("upstream_stalled"));
        if protocol == Protocol::Responses {
            assert_eq!(last["sequence_number"], before as u64);
        }
        assert_eq!(read(protocol, &out), None);
        assert_eq!(delivery.finished(), None);
    }
}

#[test]
fn a_forwarded_beginning_and_a_translated_rest_are_one_answer() {
    for caller in Protocol::ALL {
        for second in Protocol::ALL {
            let mut delivery = delivery(to(caller));
            let mut out = deliver(
                &mut delivery,
                caller,
                Mode::Fresh,
                &provider(caller, &said("The sky ")[..3]),
            );
            assert!(delivery.continuable());
            assert_eq!(delivery.text(), "The sky ");
            delivery.begin(second, Mode::Prefill, USAGE);
            let rest = provider(second, &whole("is blue."));
            let mut inlet = Inlet::new(second, false);
            let mut steps = Vec::new();
            inlet.push(&rest, &mut steps);
            for step in &steps {
                delivery.step(step, &mut out);
            }
            let whole = read(caller, &out).expect("a whole answer");
            assert_eq!(
                (whole.text().as_str(), whole.finish),
                ("The sky is blue.", Some(Finish::Stop)),
                "{caller:?} {second:?}"
            );
            // What the first attempt took is told as well.
            assert_eq!(whole.usage.map(|u| (u.input, u.output)), Some((20, 8)));
            let text = str::from_utf8(&out).unwrap();
            for once in [
                "event: message_start",
                "event: response.created",
                "\"role\":\"assistant\",\"content\":\"\"",
            ] {
                assert!(text.matches(once).count() <= 1, "{once} in {text}");
            }
        }
    }
}

#[test]
fn thinking_of_a_continuation_is_not_shown_behind_text() {
    for caller in Protocol::ALL {
        let mut delivery = delivery(to(caller));
        let mut out = deliver(
            &mut delivery,
            Protocol::Chat,
            Mode::Fresh,
            &provider(Protocol::Chat, &said("The sky ")[..3]),
        );
        let mut again = vec![
            start(),
            Event::Open(Block::Reasoning { id: None }),
            text("I must go on."),
            Event::Close,
        ];
        again.extend(whole("is blue.").into_iter().skip(1));
        out.extend(deliver(
            &mut delivery,
            Protocol::Messages,
            Mode::Instruction,
            &provider(Protocol::Messages, &again),
        ));
        assert!(!str::from_utf8(&out).unwrap().contains("must go on"));
        assert_eq!(
            read(caller, &out).map(|w| w.text()).as_deref(),
            Some("The sky is blue.")
        );
    }
}

#[test]
fn a_continuation_may_end_in_a_tool_call() {
    for caller in Protocol::ALL {
        let mut delivery = delivery(to(caller));
        let mut out = deliver(
            &mut delivery,
            Protocol::Chat,
            Mode::Fresh,
            &provider(Protocol::Chat, &said("Let me ")[..3]),
        );
        let call = Block::ToolCall {
            id: "c".into(),
            name: "f".into(),
        };
        let mut again = said("look.");
        again.extend([
            Event::Open(call),
            Event::Delta(Delta::Arguments("{}".into())),
            Event::Close,
        ]);
        again.extend(ending());
        out.extend(deliver(
            &mut delivery,
            Protocol::Messages,
            Mode::Prefill,
            &provider(Protocol::Messages, &again),
        ));
        let whole = read(caller, &out).expect("a whole answer");
        assert_eq!(whole.text(), "Let me look.");
        assert_eq!(whole.parts.len(), 2, "{whole:?}");
    }
}

#[test]
fn an_answer_that_is_too_long_to_be_kept_cannot_be_continued() {
    let long = "x".repeat(usize::try_from(MAX_KEPT_BYTES).unwrap() / 2 + 1);
    for protocol in Protocol::ALL {
        let mut delivery = delivery(to(protocol));
        let bytes = provider(
            Protocol::Chat,
            &[start(), Event::Open(Block::Text), text(&long)],
        );
        deliver(&mut delivery, Protocol::Chat, Mode::Fresh, &bytes);
        assert!(delivery.continuable());
        let step = crate::domain::llm::stream::inlet::Step {
            name: None,
            data: String::new(),
            events: vec![text(&long)],
        };
        delivery.step(&step, &mut Vec::new());
        assert!(!delivery.continuable());
        assert_eq!(delivery.finished(), None);
    }
    let unkept = delivery(Options {
        keep: false,
        ..to(Protocol::Chat)
    });
    assert!(!unkept.continuable());
}
