//! Answers that break after their first word and go on with another attempt: everything is said once.

use gatehouse::base::sse::write_event;
use gatehouse::domain::llm::Protocol;
use gatehouse::domain::llm::message::Finish;
use serde_json::Value;

use crate::gateway::house::{
    Chat, Messages, Responses, ask, calling, events, house, preamble, priced, streamed, streams,
};
use crate::grammar;
use crate::support::fake_port::FakePort;
use crate::support::upstream::{Piece, Scripted, Sent};

/// What the answer would be. The first attempt never gets further than `BEGUN`.
const FULL: &str =
    "The quick brown fox jumps over the lazy dog, and then it sleeps in the sun until the evening.";
const PIECES: [&str; 5] = [
    "The quick ",
    "brown fox jumps over",
    " the lazy dog, ",
    "and then it",
    " sleeps ",
];

fn begun() -> String {
    PIECES.concat()
}

/// What an attempt is to go on from, and whether it was told to by an instruction.
fn so_far(sent: &Sent) -> Option<(String, bool)> {
    let body = sent.json();
    let turns = body
        .get("messages")
        .or(body.get("input"))?
        .as_array()?
        .clone();
    let at = turns.iter().rposition(|turn| turn["role"] == "assistant")?;
    let text = match &turns[at]["content"] {
        Value::String(text) => text.clone(),
        parts => parts[0]["text"].as_str()?.to_owned(),
    };
    Some((text, at + 1 < turns.len()))
}

/// A provider that goes on where it is told to; after an instruction it says its last words again first.
fn goes_on(port: &FakePort, protocol: Protocol, model: &'static str, prefill: bool) {
    goes_on_with(port, protocol, model, prefill, FULL.to_owned());
}

fn goes_on_with(
    port: &FakePort,
    protocol: Protocol,
    model: &'static str,
    prefill: bool,
    full: String,
) {
    port.provider_that(model, move |sent| {
        let Some((text, told)) = so_far(sent) else {
            return streams(protocol, model, &[&full]);
        };
        assert_eq!(told, !prefill, "{text:?}");
        let rest = full
            .strip_prefix(&text)
            .expect("what was said is the beginning");
        let again = if told {
            // Less than that is taken for the language's own repetition.
            let from = if text.len() < 30 {
                text.len()
            } else {
                text.len().saturating_sub(40)
            };
            format!("{}{rest}", &text[from..])
        } else {
            rest.to_owned()
        };
        let (a, b) = again.split_at(again.len() / 2);
        streams(protocol, model, &[a, b])
    });
}

fn set_up(first: Protocol, second: Protocol, prefill: bool) -> FakePort {
    let port = house(&[(first, "first"), (second, "second")], |config| {
        priced(config);
        config.aliases[0].rescue = true;
        config.aliases[0].targets[1].prefill = Some(prefill);
        config.aliases[0].targets[0].prefill = Some(prefill);
    });
    goes_on(&port, second, "second", prefill);
    port
}

/// A chat without what a provider's chunks have of their own and ours have not. All name
/// the same second: a continuation names that of our answer, which no SDK looks at twice.
fn without_extras(caller: Protocol, bytes: &[u8]) -> Vec<u8> {
    const OWN: [&str; 3] = ["service_tier", "system_fingerprint", "obfuscation"];
    if caller != Chat {
        return bytes.to_vec();
    }
    let mut out = Vec::new();
    for frame in grammar::frames(bytes) {
        let data = match serde_json::from_str::<Value>(&frame.data) {
            Ok(Value::Object(mut chunk)) => {
                chunk.insert("created".into(), 0.into());
                chunk.retain(|name, _| !OWN.contains(&name.as_str()));
                Value::Object(chunk).to_string()
            }
            _ => frame.data,
        };
        write_event(&mut out, frame.event, &data);
    }
    out
}

/// Nothing follows a text of a responses stream that was said to be done, and none is done twice. The grammar does not
/// know that.
fn nothing_follows_a_done_text(caller: Protocol, bytes: &[u8], place: &str) {
    if caller != Responses {
        return;
    }
    let mut done = Vec::new();
    for frame in grammar::frames(bytes) {
        let data: Value = serde_json::from_str(&frame.data).unwrap();
        let of = (data["item_id"].clone(), data["content_index"].clone());
        match data["type"].as_str().unwrap() {
            "response.output_text.delta" => assert!(!done.contains(&of), "{place}: {data}"),
            "response.output_text.done" => {
                assert!(!done.contains(&of), "{place}: {data}");
                done.push(of);
            }
            _ => {}
        }
    }
}

fn is_finish(event: &str) -> bool {
    [
        "\"finish_reason\":\"stop\"",
        "message_delta",
        "response.completed",
    ]
    .iter()
    .any(|mark| event.contains(mark))
}

#[test]
fn wherever_the_first_stream_is_cut_the_caller_gets_one_whole_stream_with_every_word_once() {
    let mut runs = 0;
    for first in Protocol::ALL {
        let events = events(first, "first", &PIECES);
        let finish = events.iter().position(|event| is_finish(event)).unwrap();
        for second in Protocol::ALL {
            for caller in Protocol::ALL {
                for prefill in [false, true] {
                    for cut in 0..=finish {
                        let port = set_up(first, second, prefill);
                        let before = events[..cut].iter().cloned().map(Piece::from);
                        let broken =
                            Scripted::events(before.chain([Piece::Broken("reset".into())]));
                        port.provider("first", [broken]);
                        let place = format!(
                            "{first:?} then {second:?} for {caller:?}, prefill {prefill}, cut at {cut}"
                        );
                        let received = ask(&port, caller, streamed(caller, "hi"));
                        assert_eq!(received.status, 200, "{place}: {}", received.text());
                        let read = grammar::read(caller, &grammar::frames(&received.body));
                        assert_eq!(read.so_far().text(), FULL, "{place}: {}", received.text());
                        let whole = grammar::check(caller, &received.body, false);
                        assert_eq!(
                            (whole.text().as_str(), whole.finish),
                            (FULL, Some(Finish::Stop)),
                            "{place}"
                        );
                        assert_eq!(received.outcome.code, None, "{place}");
                        nothing_follows_a_done_text(caller, &received.body, &place);
                        runs += 1;
                    }
                }
            }
        }
    }
    assert!(runs > 500, "{runs}");
}

/// Streams as the providers themselves send them, with thinking, citations, usage and fields of their own.
const RECORDED: [&str; 7] = [
    "text",
    "reasoning",
    "cache",
    "file",
    "images",
    "system",
    "usage",
];

#[test]
fn the_streams_that_providers_really_send_are_continued_wherever_they_are_cut() {
    let mut runs = 0;
    for first in Protocol::ALL {
        for name in RECORDED {
            let path = format!(
                "{}/tests/golden/{}/{name}.stream.sse",
                env!("CARGO_MANIFEST_DIR"),
                match first {
                    Chat => "chat",
                    Messages => "messages",
                    Responses => "responses",
                }
            );
            let stream = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            let events: Vec<String> = stream
                .split_inclusive("\n\n")
                .map(str::to_owned)
                .filter(|event| event.contains("data:"))
                .collect();
            let finish = events.iter().position(|event| is_finish(event)).unwrap();
            let said = grammar::read(first, &grammar::frames(stream.as_bytes()));
            let said = said.so_far().text();
            assert!(!said.is_empty(), "{path}");
            let full = format!("{said} And this is how it goes on, to the very end.");
            for (second, prefill) in [(Chat, false), (Messages, true), (Responses, false)] {
                for caller in Protocol::ALL {
                    for cut in 0..=finish {
                        let port = set_up(first, second, prefill);
                        goes_on_with(&port, second, "second", prefill, full.clone());
                        let before = events[..cut].iter().cloned().map(Piece::from);
                        let broken = before.chain([Piece::Broken("reset".into())]);
                        port.provider("first", [Scripted::events(broken)]);
                        let place = format!(
                            "{name} of {first:?}, then {second:?} for {caller:?}, cut at {cut}"
                        );
                        let received = ask(&port, caller, streamed(caller, "hi"));
                        assert_eq!(received.status, 200, "{place}: {}", received.text());
                        let text = received.text();
                        let read = grammar::read(caller, &grammar::frames(&received.body));
                        assert_eq!(read.so_far().text(), full, "{place}: {text}");
                        grammar::check(caller, &without_extras(caller, &received.body), false);
                        nothing_follows_a_done_text(caller, &received.body, &place);
                        runs += 1;
                    }
                }
            }
        }
    }
    assert!(runs > 1000, "{runs}");
}

#[test]
fn every_way_to_break_is_rescued_alike_and_both_attempts_are_booked() {
    let ends: [Vec<Piece>; 4] = [
        vec![Piece::Broken("reset".into())],
        vec![],
        vec![Piece::Silence(crate::gateway::house::secs(1000))],
        vec!["data: {oops\n\n".into()],
    ];
    for (first, second, caller) in [
        (Chat, Messages, Chat),
        (Messages, Messages, Messages),
        (Responses, Chat, Responses),
        (Messages, Responses, Chat),
    ] {
        for end in &ends {
            let port = set_up(first, second, true);
            let events = events(first, "first", &PIECES);
            let shown = preamble(&events) + 3;
            let before = events[..shown].iter().cloned().map(Piece::from);
            port.provider("first", [Scripted::events(before.chain(end.clone()))]);
            let received = ask(&port, caller, streamed(caller, "hi"));
            assert_eq!(
                grammar::check(caller, &received.body, false).text(),
                FULL,
                "{first:?} {second:?} {end:?}"
            );
            let outcome = &received.outcome;
            if caller != Chat {
                let told = grammar::check(caller, &received.body, false).usage.unwrap();
                let booked = (outcome.tokens_in, outcome.tokens_out);
                assert_eq!(
                    (Some(told.input), Some(told.output)),
                    booked,
                    "the caller is told the sum"
                );
            }
            assert_eq!(outcome.attempts, Some(2));
            assert!(
                outcome.tokens_in > Some(10),
                "both attempts are in it: {outcome:?}"
            );
            assert_eq!(
                outcome.cost_micros,
                Some(outcome.tokens_in.unwrap() + 10 * outcome.tokens_out.unwrap())
            );
            assert_eq!(port.sent.borrow().len(), 2);
        }
    }
}

#[test]
fn what_has_its_finish_reason_is_not_continued_when_only_the_end_mark_is_missing() {
    for first in [Chat, Messages] {
        let port = set_up(first, Chat, true);
        let events = events(first, "first", &PIECES);
        let finish = events.iter().position(|event| is_finish(event)).unwrap();
        let before = events[..=finish].iter().cloned().map(Piece::from);
        port.provider(
            "first",
            [Scripted::events(
                before.chain([Piece::Broken("reset".into())]),
            )],
        );
        for caller in Protocol::ALL {
            let received = ask(&port, caller, streamed(caller, "hi"));
            assert_eq!(received.code().as_deref(), Some("upstream_disconnected"));
            let read = grammar::read(caller, &grammar::frames(&received.body));
            assert_eq!(read.so_far().text(), begun());
        }
        assert!(port.sent_to("second").is_empty());
    }
}

#[test]
fn a_tool_call_is_never_continued() {
    for first in Protocol::ALL {
        let events = calling(first, "first");
        let begins = events
            .iter()
            .position(|event| event.contains("call_1"))
            .unwrap();
        let finish = events
            .iter()
            .position(|e| e.contains("tool_calls\"}") || is_finish(e))
            .unwrap_or(events.len());
        for end in [
            Piece::Broken("reset".into()),
            Piece::Silence(crate::gateway::house::secs(1000)),
        ] {
            for cut in begins + 1..finish {
                for caller in Protocol::ALL {
                    let port = set_up(first, Messages, true);
                    let before = events[..cut].iter().cloned().map(Piece::from);
                    port.provider("first", [Scripted::events(before.chain([end.clone()]))]);
                    let received = ask(&port, caller, streamed(caller, "hi"));
                    let code = received.code();
                    assert!(
                        matches!(
                            code.as_deref(),
                            Some("upstream_disconnected" | "upstream_stalled")
                        ),
                        "{first:?} for {caller:?} cut at {cut}: {}",
                        received.text()
                    );
                    assert!(port.sent_to("second").is_empty());
                }
            }
        }
    }
}

#[test]
fn a_rescue_that_fails_too_ends_the_stream_with_an_error_and_without_an_end_mark() {
    for caller in Protocol::ALL {
        let port = set_up(Chat, Messages, true);
        let events = events(Chat, "first", &PIECES);
        let shown = preamble(&events) + 2;
        let before = events[..shown].iter().cloned().map(Piece::from);
        port.provider(
            "first",
            [
                Scripted::events(before.chain([Piece::Broken("reset".into())])),
                Scripted::error(500, None),
            ],
        );
        port.provider("second", [Scripted::error(500, None)]);
        let received = ask(&port, caller, streamed(caller, "hi"));
        assert_eq!(received.code().as_deref(), Some("upstream_disconnected"));
        let read = grammar::read(caller, &grammar::frames(&received.body));
        assert!(read.finished().is_none());
        assert_eq!(read.so_far().text(), "The quick brown fox jumps over");
        assert!(port.sent.borrow().len() <= 4);
    }
}

#[test]
fn a_prefill_that_is_refused_is_asked_again_with_an_instruction() {
    let port = set_up(Chat, Messages, true);
    let events = events(Chat, "first", &PIECES);
    let shown = preamble(&events) + 2;
    let before = events[..shown].iter().cloned().map(Piece::from);
    port.provider(
        "first",
        [Scripted::events(
            before.chain([Piece::Broken("reset".into())]),
        )],
    );
    port.provider_that("second", |sent| {
        let (text, told) = so_far(sent).unwrap();
        if !told {
            return Scripted::error(400, None);
        }
        streams(Messages, "second", &[FULL.strip_prefix(&text).unwrap()])
    });
    let received = ask(&port, Chat, streamed(Chat, "hi"));
    assert_eq!(grammar::check(Chat, &received.body, false).text(), FULL);
    assert_eq!(port.sent_to("second").len(), 2);
}
