//! Streams: what is held back, what breaks, who leaves, and what is told at the end.

use gatehouse::app::request::Head;
use gatehouse::base::time::Millis;
use gatehouse::domain::llm::Protocol;
use serde_json::{Value, json};

use crate::gateway::house::{
    Chat, Messages, Responses, ask, ask_with, calling, events, house, once, patient, post,
    preamble, priced, question, said, secs, streamed, streams, text_of, with,
};
use crate::grammar;
use crate::support::pipe::Client;
use crate::support::upstream::{Piece, Scripted};

const TEXT: [&str; 3] = ["The ", "sky is ", "blue."];

/// Every way that a stream can take: natively, inspected, translated.
fn ways() -> Vec<(Protocol, Protocol, bool)> {
    let mut ways = Vec::new();
    for provider in Protocol::ALL {
        for caller in Protocol::ALL {
            ways.push((provider, caller, false));
        }
        ways.push((provider, Chat, true));
    }
    ways
}

fn asking(caller: Protocol, usage: bool) -> Value {
    let body = streamed(caller, "hi");
    if usage {
        with(body, json!({"stream_options": {"include_usage": true}}))
    } else {
        body
    }
}

#[test]
fn a_stream_of_any_provider_is_a_stream_of_the_callers_dialect() {
    for (provider, caller, usage) in ways() {
        let port = house(&[(provider, "first")], priced);
        port.provider("first", [streams(provider, "first", &TEXT)]);
        let received = ask(&port, caller, asking(caller, usage));
        let whole = grammar::check(caller, &received.body, usage);
        assert_eq!(whole.text(), "The sky is blue.");
        let outcome = &received.outcome;
        assert_eq!((outcome.tokens_in, outcome.tokens_out), (Some(10), Some(4)));
        assert!(!outcome.tokens_estimated);
        assert_eq!(outcome.cost_micros, Some(50), "10 × 1 + 4 × 10");
        assert_eq!(outcome.code, None);
        if caller != Chat || usage {
            assert_eq!(whole.usage.map(|u| (u.input, u.output)), Some((10, 4)));
        }
    }
}

#[test]
fn nothing_reaches_the_client_before_the_first_word_and_preamble_does_not_count_as_one() {
    for (provider, caller, usage) in ways() {
        let events = events(provider, "slow", &TEXT);
        let (before, after) = events.split_at(preamble(&events));
        let late = |gap: u64| {
            let pieces = before.iter().cloned().map(Piece::from);
            let pieces = pieces.chain([Piece::Silence(secs(gap))]);
            Scripted::events(pieces.chain(after.iter().cloned().map(Piece::from)))
        };
        // In time: all of it comes, and the first piece not before the first word.
        let port = house(&[(provider, "slow"), (provider, "second")], patient);
        port.provider("slow", [late(29)]);
        port.provider("second", [streams(provider, "second", &["The other."])]);
        let received = ask(&port, caller, asking(caller, usage));
        assert_eq!(
            grammar::check(caller, &received.body, usage).text(),
            "The sky is blue."
        );
        let first = received.pieces[0].0;
        assert!(first.since(port.sent.borrow()[0].at) >= secs(29));
        // Too late: another one answers, and nothing of the first is seen.
        let port = house(&[(provider, "slow"), (provider, "second")], patient);
        port.provider("slow", [late(31)]);
        port.provider("second", [streams(provider, "second", &["The other."])]);
        let received = ask(&port, caller, asking(caller, usage));
        assert_eq!(
            grammar::check(caller, &received.body, usage).text(),
            "The other."
        );
        assert!(port.sent_to("slow")[0].aborted());
        assert!(!received.text().contains("of-slow"), "{}", received.text());
    }
}

#[test]
fn a_caller_can_want_the_first_word_sooner_but_not_later_than_the_site_allows() {
    for (wish, patience) in [(Some(2000), 2), (Some(120_000), 30), (None, 30)] {
        let port = house(&[(Chat, "first")], once);
        port.provider("first", [Scripted::events([Piece::Silence(secs(1000))])]);
        let head = Head {
            first_token_ms: wish,
            ..post("/v1/chat/completions")
        };
        let began = port.clock().now();
        let received = ask_with(&port, head, streamed(Chat, "hi"));
        assert_eq!(
            (received.status, received.code().as_deref()),
            (504, Some("upstream_timeout"))
        );
        assert_eq!(port.clock().now().since(began), secs(patience));
    }
}

#[test]
fn a_stream_that_breaks_after_its_first_word_ends_with_an_error_in_the_callers_dialect_and_without_an_end_mark()
 {
    let faults: [(&str, Vec<Piece>, &str); 6] = [
        ("cut", vec![Piece::Broken("reset".into())], "upstream_disconnected"),
        ("stall", vec![Piece::Silence(secs(1000))], "upstream_stalled"),
        ("malformed", vec!["data: {oops\n\n".into()], "upstream_protocol"),
        ("half an event", vec!["data: {\"type\":".into()], "upstream_protocol"),
        ("no end", vec![], "upstream_protocol"),
        ("error inside", vec![
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"sk-canary\"},\"code\":\"server_error\",\"message\":\"sk-canary\"}\n\n".into(),
        ], "upstream_error"),
    ];
    for (provider, caller, usage) in ways() {
        for (name, fault, code) in &faults {
            // An error inside a chat's stream has no type of its own.
            let fault: Vec<Piece> = if *name == "error inside" && provider == Chat {
                vec![
                    "data: {\"error\":{\"message\":\"sk-canary\",\"type\":\"server_error\"}}\n\n"
                        .into(),
                ]
            } else {
                fault.clone()
            };
            let place = format!("{name}: {provider:?} for {caller:?}, usage {usage}");
            let port = house(&[(provider, "first"), (provider, "second")], |_| {});
            let events = events(provider, "first", &TEXT);
            let shown = preamble(&events) + 2;
            let pieces = events[..shown].iter().cloned().map(Piece::from);
            port.provider("first", [Scripted::events(pieces.chain(fault))]);
            port.provider("second", [streams(provider, "second", &["never"])]);
            let received = ask(&port, caller, asking(caller, usage));
            assert_eq!(received.status, 200, "{place}");
            let text = received.text();
            // What passes natively holds the provider's own words.
            let native = provider == caller && (caller != Chat || usage);
            if *name == "error inside" && native {
                assert_eq!(
                    text.matches("sk-canary").count() % 2,
                    usize::from(provider == Chat)
                );
                assert_eq!(
                    received.outcome.code.unwrap().entry().code,
                    *code,
                    "{place}"
                );
                continue;
            }
            assert!(!text.contains("canary"), "{place}: {text}");
            for mark in [
                "[DONE]",
                "message_stop",
                "response.completed",
                "finish_reason\":\"stop",
            ] {
                assert!(!text.contains(mark), "{place}: {mark} in {text}");
            }
            assert_eq!(received.code().as_deref(), Some(*code), "{place}: {text}");
            let frames = grammar::frames(&received.body);
            let read = grammar::read(caller, &frames);
            assert!(read.finished().is_none(), "{place}");
            assert_eq!(read.so_far().text(), "The sky is ", "{place}");
            let last = frames.last().unwrap();
            assert_eq!(last.event, (caller != Chat).then_some("error"), "{place}");
            let last: Value = serde_json::from_str(&last.data).unwrap();
            match caller {
                Chat => assert!(last["error"]["message"].is_string()),
                Messages => assert_eq!(last["type"], "error"),
                Responses => {
                    assert!(last["message"].is_string() && last["sequence_number"].is_u64())
                }
            }
            assert_eq!(
                received.outcome.code.unwrap().entry().code,
                *code,
                "{place}"
            );
            assert!(port.sent_to("second").is_empty(), "{place}");
            assert!(
                port.sent.borrow()[0].aborted() || *name != "stall",
                "{place}"
            );
        }
    }
}

#[test]
fn the_total_deadline_ends_a_stream_that_never_stops_talking() {
    for (provider, caller, usage) in ways() {
        let port = house(&[(provider, "first")], |_| {});
        let events = events(provider, "first", &["The "; 40]);
        let pieces = events
            .into_iter()
            .flat_map(|event| [Piece::Silence(secs(20)), event.into()]);
        port.provider("first", [Scripted::events(pieces.skip(1))]);
        let began = port.clock().now();
        let received = ask(&port, caller, asking(caller, usage));
        if received.status == 200 {
            assert_eq!(received.code().as_deref(), Some("upstream_deadline"));
            assert_eq!(port.clock().now().since(began), secs(300));
        } else {
            // Responses streams have so much preamble that the first word is late.
            assert_eq!(
                received.code().as_deref(),
                Some("upstream_timeout"),
                "{provider:?}"
            );
        }
    }
}

#[test]
fn a_client_that_leaves_takes_the_upstream_with_it_and_is_booked_once() {
    for (provider, caller, usage) in ways() {
        for leaves_after in [1, 2, 4] {
            let port = house(&[(provider, "first"), (provider, "second")], |_| {});
            port.client.set(Client {
                leaves_after: Some(leaves_after),
                ..Client::default()
            });
            let events = events(provider, "first", &["The "; 20]);
            let pieces = events
                .into_iter()
                .flat_map(|event| [Piece::Silence(Millis(100)), event.into()]);
            port.provider("first", [Scripted::events(pieces)]);
            let received = ask(&port, caller, asking(caller, usage));
            let place = format!("{provider:?} for {caller:?}, usage {usage}, after {leaves_after}");
            assert!(port.sent.borrow()[0].aborted(), "{place}");
            assert_eq!(port.sent.borrow().len(), 1, "{place}");
            assert_eq!(received.outcome.code, None, "{place}");
            assert_eq!(
                received.outcome.cause.as_deref(),
                Some("the client went away")
            );
            assert_eq!(received.outcome.attempts, Some(1));
            assert!(
                received.outcome.tokens_estimated && received.outcome.tokens_out > Some(0),
                "{place}"
            );
            assert_eq!(port.logged.borrow().len(), 1);
        }
    }
}

#[test]
fn a_slow_client_is_no_stalled_provider() {
    for (provider, caller, usage) in ways() {
        let port = house(&[(provider, "first")], |_| {});
        port.client.set(Client {
            pause: secs(12),
            ..Client::default()
        });
        let pieces = events(provider, "first", &["The ", "sky"]);
        port.provider(
            "first",
            [Scripted::events(pieces.into_iter().map(Piece::from))],
        );
        let received = ask(&port, caller, asking(caller, usage));
        assert_eq!(received.outcome.code, None);
        assert_eq!(
            grammar::check(caller, &received.body, usage).text(),
            "The sky"
        );
    }
}

#[test]
fn the_trailer_is_a_comment_behind_the_end_for_those_who_asked() {
    for (provider, caller, usage) in ways() {
        let port = house(&[(provider, "first")], priced);
        port.provider("first", [streams(provider, "first", &TEXT)]);
        let head = Head {
            trailer: true,
            ..post(caller.endpoint())
        };
        let received = ask_with(&port, head, asking(caller, usage));
        let text = received.text();
        let (answer, comment) = text.rsplit_once(": gatehouse ").unwrap();
        grammar::check(caller, answer.as_bytes(), usage);
        let told: Value = serde_json::from_str(comment.trim_end()).unwrap();
        assert_eq!(
            told,
            json!({
                "target": "with-first/first", "attempts": 1, "tokens_in": 10, "tokens_out": 4,
                "tokens_estimated": false, "cost_usd": told["cost_usd"],
            })
        );
        assert!(
            told["cost_usd"].as_str().unwrap().starts_with("0.00005"),
            "{told}"
        );
    }
}

#[test]
fn a_tool_call_passes_every_pair_of_dialects() {
    for (provider, caller, usage) in ways() {
        let port = house(&[(provider, "first")], |config| {
            config.aliases[0].allow_parameters = vec!["tools".into()];
        });
        let events = calling(provider, "first");
        port.provider(
            "first",
            [Scripted::events(events.into_iter().map(Piece::from))],
        );
        let received = ask(&port, caller, asking(caller, usage));
        let whole = grammar::check(caller, &received.body, usage);
        let call = whole.parts.iter().find_map(|part| match part {
            gatehouse::domain::llm::normal::conversation::Part::ToolCall(call) => Some(call),
            _ => None,
        });
        let call = call.expect("a call");
        assert_eq!((call.id.as_str(), call.name.as_str()), ("call_1", "look"));
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!(arguments, json!({"at": 1}));
        assert_eq!(
            whole.finish,
            Some(gatehouse::domain::llm::message::Finish::Tool)
        );
    }
}

// === hedging ===

#[test]
fn a_late_first_word_starts_a_second_target_and_the_loser_is_aborted_and_booked() {
    for stream in [false, true] {
        let port = house(&[(Chat, "first"), (Messages, "second")], |config| {
            priced(config);
            config.aliases[0].hedge = true;
        });
        let answer = |model: &'static str, protocol| {
            if stream {
                streams(protocol, model, &TEXT)
            } else {
                said(protocol, model, "The sky is blue.")
            }
        };
        let body = || {
            if stream {
                streamed(Chat, "hi")
            } else {
                question(Chat, "hi")
            }
        };
        // The target's usual time becomes known.
        port.provider("first", [answer("first", Chat).after(Millis(500))]);
        for _ in 0..200 {
            assert_eq!(ask(&port, Chat, body()).status, 200);
            assert!(port.sent_to("second").is_empty());
        }
        // Now it is late, and the other one wins.
        port.provider("first", [answer("first", Chat).after(secs(20))]);
        port.provider("second", [answer("second", Messages).after(Millis(300))]);
        let began = port.clock().now();
        let received = ask(&port, Chat, body());
        let took = port.clock().now().since(began);
        assert!(took < secs(5), "{took:?}");
        let text = if stream {
            grammar::check(Chat, &received.body, false).text()
        } else {
            text_of(Chat, &received)
        };
        assert_eq!(text, "The sky is blue.");
        assert_eq!(
            received.header("x-gatehouse-target"),
            Some("with-second/second")
        );
        assert_eq!(received.header("x-gatehouse-attempts"), Some("2"));
        assert!(port.sent_to("first").last().unwrap().aborted());
        assert!(!port.sent_to("second")[0].aborted());
        assert_eq!(received.outcome.attempts, Some(2));
    }
}
