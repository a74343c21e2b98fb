//! What happens before the first token: retries, waits, other targets, breakers, caps, and the last resort.

use std::rc::Rc;

use gatehouse::app::port::Class;
use gatehouse::app::request::Head;
use gatehouse::domain::answer::{Index, Passage};
use gatehouse::domain::llm::Protocol;
use gatehouse::domain::settings::config::{
    CachePolicy, Choose, LastResort, OnOverflow, OnUnsupported, Tier,
};
use serde_json::json;

use crate::gateway::house::{
    Chat, Messages, Responses, ask, ask_with, call, house, once, once_each, patient, post, priced,
    question, said, secs, streamed, streams, text_of, with,
};
use crate::support::fake_port::{FakePort, Fault, Op, When};
use crate::support::run::{join_all, settle};
use crate::support::upstream::{Piece, Scripted};
use crate::{grammar, support::Received};

const BOTH: [(Protocol, &str); 2] = [(Chat, "first"), (Messages, "second")];

fn fails(received: &Received, status: u16, code: &str) {
    assert_eq!(
        (received.status, received.code().as_deref()),
        (status, Some(code)),
        "{}",
        received.text()
    );
}

fn wait_of(received: &Received) -> Option<&str> {
    received.header("Retry-After")
}

/// Neither a person nor an SDK is told to try again.
fn is_final(received: &Received, code: &str) {
    fails(received, 502, code);
    assert_eq!(received.header("x-should-retry"), Some("false"), "{code}");
    assert_eq!(wait_of(received), None, "{code}");
    assert_eq!(received.header("retry-after-ms"), None, "{code}");
}

/// How often the operator was called, and by which code.
fn alerts(port: &FakePort) -> Vec<(String, String)> {
    let logged = port.logged.borrow();
    let alerts = logged.iter().filter(|line| line["route"] == "alert");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    alerts
        .map(|line| (text(&line["code"]), text(&line["target"])))
        .collect()
}

// === retries and waits ===

#[test]
fn a_server_error_is_tried_again_at_the_same_target_and_the_caller_sees_an_answer() {
    let port = house(&BOTH, |_| {});
    port.provider(
        "first",
        [
            Scripted::error(500, None),
            said(Chat, "first", "The answer."),
        ],
    );
    let received = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(text_of(Chat, &received), "The answer.");
    assert_eq!(received.header("x-gatehouse-attempts"), Some("2"));
    assert_eq!(
        received.header("x-gatehouse-target"),
        Some("with-first/first")
    );
    assert_eq!(port.sent_to("first").len(), 2);
    assert!(port.sent_to("second").is_empty());
}

#[test]
fn a_wait_that_is_asked_for_is_kept_to_the_millisecond_or_longer() {
    let port = house(&BOTH[..1], |_| {});
    port.provider(
        "first",
        [
            Scripted::error(429, Some("2")),
            said(Chat, "first", "The answer."),
        ],
    );
    let received = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(received.status, 200);
    let sent = port.sent_to("first");
    assert!(
        sent[1].at.since(sent[0].at) >= secs(2),
        "{:?}",
        sent[1].at.since(sent[0].at)
    );
    assert!(sent[1].at.since(sent[0].at) < secs(4));
}

#[test]
fn an_absurd_wait_is_not_waited_for_but_told_to_the_caller_capped() {
    let port = house(&BOTH[..1], |_| {});
    port.provider("first", [Scripted::error(429, Some("86400"))]);
    let received = ask(&port, Chat, question(Chat, "hi"));
    fails(&received, 503, "upstream_rate_limited");
    assert_eq!(wait_of(&received), Some("60"));
    // SDKs would sleep the minute out, once for each retry, and find the limit again.
    assert_eq!(received.header("x-should-retry"), Some("false"));
    assert!(
        received.text().contains("asks for a wait of 24 hours"),
        "{}",
        received.text()
    );
    assert_eq!(port.sent_to("first").len(), 1);
}

#[test]
fn a_wait_within_a_minute_is_told_as_it_is_and_clients_may_try_again() {
    for caller in Protocol::ALL {
        for key in [None, Some("k".to_owned())] {
            let port = house(&BOTH[..1], once);
            let head = Head {
                idempotency_key: key,
                ..post(caller.endpoint())
            };
            for (asked, told, may_retry) in [
                ("7", "7", true),
                ("59", "59", true),
                ("864000", "60", false),
                ("99999999999", "60", false),
            ] {
                port.provider("first", [Scripted::error(429, Some(asked))]);
                let received = ask_with(&port, head.clone(), question(caller, "hi"));
                fails(&received, 503, "upstream_rate_limited");
                assert_eq!(wait_of(&received), Some(told), "{asked}");
                let header = received.header("x-should-retry");
                assert_eq!(header.is_none(), may_retry, "{asked}");
                assert_eq!(received.text().contains("asks for a wait"), !may_retry);
                port.pass(secs(3600));
            }
        }
    }
}

#[test]
fn an_absurd_wait_sends_the_call_to_the_next_target_at_once() {
    let port = house(&BOTH, |_| {});
    port.provider("first", [Scripted::error(429, Some("86400"))]);
    port.provider("second", [said(Messages, "second", "The answer.")]);
    let received = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(text_of(Chat, &received), "The answer.");
    let sent = port.sent.borrow();
    assert_eq!(sent[1].at.since(sent[0].at), secs(0));
}

#[test]
fn what_the_caller_must_mend_is_tried_nowhere_else() {
    let port = house(&BOTH, |_| {});
    port.provider("first", [Scripted::error(400, None)]);
    let received = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(received.status, 400);
    assert_eq!(port.sent.borrow().len(), 1);
}

#[test]
fn attempts_never_exceed_what_is_configured() {
    for attempts in 1..=5 {
        let port = house(
            &[(Chat, "a"), (Messages, "b"), (Responses, "c")],
            |config| {
                config.retry.attempts_per_target = attempts.min(2);
                config.retry.attempts = attempts;
            },
        );
        for model in ["a", "b", "c"] {
            port.provider(model, [Scripted::error(500, None)]);
        }
        let received = ask(&port, Chat, question(Chat, "hi"));
        fails(&received, 502, "upstream_error");
        assert_eq!(port.sent.borrow().len(), attempts as usize);
        assert_eq!(
            received.header("x-gatehouse-attempts"),
            Some(&*attempts.to_string())
        );
    }
}

// === other targets ===

#[test]
fn what_one_target_does_not_serve_is_asked_of_the_next_and_is_never_the_callers_404() {
    for status in [404, 405, 410, 451, 501] {
        for caller in Protocol::ALL {
            for stream in [false, true] {
                let place = format!("{status} for {caller:?}, stream {stream}");
                let body = || {
                    if stream {
                        streamed(caller, "hi")
                    } else {
                        question(caller, "hi")
                    }
                };
                let port = house(&BOTH, |_| {});
                port.provider("first", [Scripted::error(status, None)]);
                let answer = if stream {
                    streams(Messages, "second", &["The ", "answer."])
                } else {
                    said(Messages, "second", "The answer.")
                };
                port.provider("second", [answer]);
                for calls in 1..=6 {
                    let received = ask(&port, caller, body());
                    assert_eq!(received.status, 200, "{place}: {}", received.text());
                    assert_eq!(received.header("x-gatehouse-attempts"), Some("2"));
                    // It may be the caller's doing, so the breaker stays closed; the operator is called.
                    assert_eq!(port.sent_to("first").len(), calls, "{place}");
                    let told = ("upstream_not_found".into(), "with-first/first".into());
                    assert_eq!(alerts(&port), vec![told; calls], "{place}");
                }
                // Nobody is left.
                let port = house(&BOTH[..1], |_| {});
                port.provider("first", [Scripted::error(status, Some("3"))]);
                let received = ask(&port, caller, body());
                is_final(&received, "upstream_not_found");
                assert_eq!(port.sent.borrow().len(), 1, "{place}");
                let logged = port.logged.borrow();
                let cause = logged.last().unwrap()["cause"].as_str().unwrap().to_owned();
                assert_eq!(cause, format!("provider answered {status}: no"));
            }
        }
    }
}

#[test]
fn a_429_of_the_last_target_is_told_rather_than_a_key_that_the_first_one_refused() {
    for first in [401, 402, 404, 302] {
        let port = house(&BOTH, once_each);
        port.provider("first", [Scripted::error(first, None)]);
        port.provider("second", [Scripted::error(429, Some("7"))]);
        for _ in 0..2 {
            let received = ask(&port, Chat, question(Chat, "hi"));
            fails(&received, 503, "upstream_rate_limited");
            assert_eq!(wait_of(&received), Some("7"), "{first}");
            assert_eq!(received.header("x-should-retry"), None);
        }
    }
}

#[test]
fn errors_inside_a_200_are_asked_of_the_next_target_by_what_their_type_says() {
    for (kind, goes_on, code) in [
        ("not_found_error", true, "upstream_not_found"),
        ("overloaded_error", true, "upstream_rate_limited"),
        ("rate_limit_error", true, "upstream_rate_limited"),
        ("billing_error", true, "upstream_quota"),
        ("permission_error", true, "upstream_auth"),
        ("authentication_error", true, "upstream_auth"),
        ("timeout_error", true, "upstream_timeout"),
        ("api_error", true, "upstream_error"),
        ("request_too_large", true, "input_too_long"),
        ("invalid_request_error", false, "upstream_rejected"),
    ] {
        for first in [Chat, Messages] {
            for stream in [false, true] {
                let error = json!({"type": "error", "error": {"type": kind, "message": "x"}});
                let broken = if stream {
                    Scripted::events([format!("event: error\ndata: {error}\n\n").into()])
                } else {
                    Scripted::json(200, &error)
                };
                let place = format!("{kind} of {first:?}, stream {stream}");
                let body = || with(question(Chat, "hi"), json!({"stream": stream}));
                let port = house(&[(first, "first"), (Messages, "second")], once_each);
                port.provider("first", [broken.clone()]);
                let answer = if stream {
                    streams(Messages, "second", &["The ", "answer."])
                } else {
                    said(Messages, "second", "The answer.")
                };
                port.provider("second", [answer]);
                let received = ask(&port, Chat, body());
                assert_eq!(
                    received.status == 200,
                    goes_on,
                    "{place}: {}",
                    received.text()
                );
                assert_eq!(
                    port.sent_to("second").len(),
                    usize::from(goes_on),
                    "{place}"
                );
                let port = house(&[(first, "first")], once);
                port.provider("first", [broken]);
                let alone = ask(&port, Chat, body());
                assert_eq!(alone.code().as_deref(), Some(code), "{place}");
                assert_ne!(alone.status, 404, "{place}");
            }
        }
    }
}

#[test]
fn any_failure_of_the_first_target_is_answered_by_the_second_in_every_pair_of_dialects() {
    let failures: Vec<(&str, Scripted)> = vec![
        ("refused", Scripted::refused()),
        ("500", Scripted::error(500, None)),
        ("529", Scripted::error(529, None)),
        ("401", Scripted::error(401, None)),
        ("402", Scripted::error(402, None)),
        ("302", Scripted::error(302, None)),
        (
            "html",
            Scripted::answer(200, "text/html", ["<html>".into()]),
        ),
        ("nothing", Scripted::answer(200, "application/json", [])),
        ("empty stream", Scripted::events([])),
        (
            "error in 200",
            Scripted::json(
                200,
                &json!({"error": {"message": "x", "type": "overloaded_error"}}),
            ),
        ),
        (
            "no finish reason",
            Scripted::json(
                200,
                &json!({
                    "id": "x", "model": "m", "role": "assistant", "type": "message", "object": "chat.completion",
                    "content": [{"type": "text", "text": "half"}], "stop_reason": null,
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": "half"}, "finish_reason": null}],
                }),
            ),
        ),
        (
            "no words",
            Scripted::json(
                200,
                &json!({
                    "id": "x", "model": "m", "role": "assistant", "type": "message", "object": "chat.completion",
                    "content": [], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 0},
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
                }),
            ),
        ),
        (
            "reset",
            Scripted::answer(
                200,
                "application/json",
                ["{".into(), Piece::Broken("reset".into())],
            ),
        ),
        ("silence", Scripted::events([Piece::Silence(secs(1000))])),
        ("slow head", Scripted::events([]).after(secs(1000))),
    ];
    for (name, failure) in failures {
        for (first, second) in [(Chat, Messages), (Messages, Responses), (Responses, Chat)] {
            for caller in Protocol::ALL {
                for stream in [false, true] {
                    let port = house(&[(first, "first"), (second, "second")], patient);
                    port.provider("first", [failure.clone()]);
                    let place =
                        format!("{name}: {first:?} {second:?} for {caller:?}, stream {stream}");
                    let text = if stream {
                        port.provider("second", [streams(second, "second", &["The ", "answer."])]);
                        let received = ask(&port, caller, streamed(caller, "hi"));
                        assert_eq!(received.status, 200, "{place}: {}", received.text());
                        grammar::check(caller, &received.body, false).text()
                    } else {
                        port.provider("second", [said(second, "second", "The answer.")]);
                        let received = ask(&port, caller, question(caller, "hi"));
                        assert_eq!(received.status, 200, "{place}: {}", received.text());
                        assert_eq!(
                            received.header("x-gatehouse-target"),
                            Some("with-second/second")
                        );
                        text_of(caller, &received)
                    };
                    assert_eq!(text, "The answer.", "{place}");
                }
            }
        }
    }
}

#[test]
fn the_usage_of_all_attempts_is_summed_and_priced() {
    let port = house(&BOTH, priced);
    // Ten tokens in and four out were counted before the answer turned out to be none.
    port.provider("first", [Scripted::json(200, &json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "half"}, "finish_reason": null}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4},
    }))]);
    port.provider("second", [said(Messages, "second", "The answer.")]);
    let received = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(received.status, 200);
    let attempts: u64 = received
        .header("x-gatehouse-attempts")
        .unwrap()
        .parse()
        .unwrap();
    assert!(attempts >= 2);
    let tokens_in: u64 = received
        .header("x-gatehouse-tokens-in")
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        tokens_in > 10,
        "the first attempt is in the sum: {tokens_in}"
    );
    let outcome = &received.outcome;
    let expected = outcome.tokens_in.unwrap() + 10 * outcome.tokens_out.unwrap();
    assert_eq!(outcome.cost_micros, Some(expected));
    let shown: f64 = received
        .header("x-gatehouse-cost-usd")
        .unwrap()
        .parse()
        .unwrap();
    assert!((shown - expected as f64 / 1e6).abs() < 1e-9);
}

// === breakers ===

#[test]
fn refused_credentials_open_the_breaker_and_the_next_call_does_not_touch_that_target() {
    let port = house(&BOTH, |_| {});
    port.provider("first", [Scripted::error(401, None)]);
    port.provider("second", [said(Messages, "second", "The answer.")]);
    for isolate in 0..3 {
        assert_eq!(
            ask(&port, Chat, question(Chat, "hi")).status,
            200,
            "{isolate}"
        );
        assert_eq!(port.sent_to("first").len(), 1);
    }
}

#[test]
fn what_lasts_until_the_operator_acts_is_final_for_every_call_and_every_isolate() {
    let quota = || {
        let error = json!({"error": {"code": "insufficient_quota", "message": "no"}});
        Scripted::json(429, &error)
    };
    for (refused, code) in [
        (Scripted::error(401, Some("9")), "upstream_auth"),
        (Scripted::error(403, None), "upstream_auth"),
        (Scripted::error(402, None), "upstream_quota"),
        (quota(), "upstream_quota"),
    ] {
        for caller in Protocol::ALL {
            for stream in [false, true] {
                let port = house(&BOTH[..1], |_| {});
                port.provider("first", [refused.clone()]);
                let body = || {
                    if stream {
                        streamed(caller, "hi")
                    } else {
                        question(caller, "hi")
                    }
                };
                // The first call asks, and the others know.
                for call in 0..4 {
                    is_final(&ask(&port, caller, body()), code);
                    assert_eq!(port.sent.borrow().len(), 1, "{code}, call {call}");
                }
                // Another isolate asks once, too, and learns the rest.
                port.other_isolate();
                for call in 0..3 {
                    is_final(&ask(&port, caller, body()), code);
                    assert_eq!(port.sent.borrow().len(), 2, "{code}, call {call}");
                }
                // The trial after the pause meets the same.
                port.pass(secs(31));
                for call in 0..3 {
                    is_final(&ask(&port, caller, body()), code);
                    assert_eq!(port.sent.borrow().len(), 3, "{code}, call {call}");
                }
                let told = (code.to_owned(), "with-first/first".to_owned());
                assert_eq!(alerts(&port), vec![told; 3]);
            }
        }
    }
}

#[test]
fn a_target_that_is_down_in_passing_beside_one_without_a_key_is_waited_for() {
    let port = house(&BOTH, once_each);
    port.provider("first", [Scripted::error(401, None)]);
    port.provider("second", [Scripted::error(503, None)]);
    for _ in 0..5 {
        fails(
            &ask(&port, Chat, question(Chat, "hi")),
            502,
            "upstream_error",
        );
    }
    let sent = port.sent.borrow().len();
    let received = ask(&port, Chat, question(Chat, "hi"));
    fails(&received, 503, "upstream_unavailable");
    assert_eq!(port.sent.borrow().len(), sent, "both are open");
    assert_eq!(received.header("x-should-retry"), None);
    let wait: u64 = wait_of(&received).unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "the pause of the second: {wait}");
}

#[test]
fn a_target_that_was_down_is_tried_once_after_its_pause_and_is_healthy_again() {
    let port = house(&BOTH[..1], |_| {});
    port.provider("first", [Scripted::error(401, None)]);
    ask(&port, Chat, question(Chat, "hi"));
    port.provider("first", [said(Chat, "first", "The answer.")]);
    assert_ne!(ask(&port, Chat, question(Chat, "hi")).status, 200);
    port.pass(secs(3600));
    for _ in 0..3 {
        assert_eq!(ask(&port, Chat, question(Chat, "hi")).status, 200);
    }
    assert_eq!(port.sent.borrow().len(), 4);
}

#[test]
fn an_isolate_without_a_view_learns_of_a_target_that_is_down_from_its_object() {
    let port = house(&BOTH[..1], |_| {});
    port.provider("first", [Scripted::error(500, None)]);
    for _ in 0..10 {
        ask(&port, Chat, question(Chat, "hi"));
    }
    let before = port.sent.borrow().len();
    port.other_isolate();
    // It takes the target for healthy, fails once, and knows better from then on.
    ask(&port, Chat, question(Chat, "hi"));
    let first = port.sent.borrow().len();
    assert!(first > before);
    for _ in 0..5 {
        ask(&port, Chat, question(Chat, "hi"));
    }
    assert_eq!(port.sent.borrow().len(), first);
}

#[test]
fn without_the_objects_of_the_targets_calls_work_all_the_same() {
    for when in [When::Before, When::After] {
        let port = house(&BOTH, |_| {});
        port.fail([Fault {
            op: Some(Op::Object(Class::Target)),
            first: 0,
            count: usize::MAX,
            when,
        }]);
        port.provider(
            "first",
            [
                Scripted::error(500, None),
                said(Chat, "first", "The answer."),
            ],
        );
        for _ in 0..5 {
            assert_eq!(ask(&port, Chat, question(Chat, "hi")).status, 200);
        }
        let received = ask(&port, Chat, streamed(Chat, "hi"));
        assert_ne!(received.status, 500);
    }
}

// === the cap ===

#[test]
fn no_more_calls_run_at_once_than_the_cap_and_what_does_not_fit_is_shed_with_a_wait() {
    let port = house(&BOTH[..1], |config| {
        config.aliases[0].targets[0].max_concurrent = Some(2);
        config.aliases[0].targets[0].queue = 1;
        once(config);
    });
    let running = Rc::new(std::cell::Cell::new(0_u32));
    port.provider_that("first", move |sent| {
        running.set(running.get() + 1);
        let _ = sent;
        said(Chat, "first", "The answer.").after(secs(5))
    });
    let calls = (0..6)
        .map(|_| {
            call(
                port.clone(),
                post("/v1/chat/completions"),
                question(Chat, "hi"),
            )
        })
        .collect();
    let received = join_all(calls);
    settle();
    let answered = received.iter().filter(|r| r.status == 200).count();
    let shed: Vec<_> = received.iter().filter(|r| r.status != 200).collect();
    assert_eq!((answered, shed.len()), (3, 3), "{received:?}");
    for refused in shed {
        fails(refused, 503, "upstream_busy");
        let wait = refused
            .header("Retry-After")
            .or(refused.header("retry-after"));
        assert!(wait.is_some_and(|wait| wait.parse::<u64>().unwrap() >= 1));
    }
    // At most two at a time: the third begins when one has ended.
    let sent = port.sent_to("first");
    assert_eq!(sent.len(), 3);
    assert!(sent[1].at.since(sent[0].at) < secs(5) && sent[2].at.since(sent[0].at) >= secs(5));
    // And every place was given back.
    port.pass(secs(60));
    assert_eq!(ask(&port, Chat, question(Chat, "hi")).status, 200);
}

#[test]
fn a_place_is_given_back_by_a_call_that_fails_and_by_a_client_that_leaves() {
    let port = house(&BOTH[..1], |config| {
        config.aliases[0].targets[0].max_concurrent = Some(1);
        config.aliases[0].targets[0].queue = 0;
        once(config);
    });
    port.provider("first", [Scripted::error(400, None)]);
    assert_eq!(ask(&port, Chat, question(Chat, "hi")).status, 400);
    port.provider("first", [streams(Chat, "first", &["The ", "answer."])]);
    port.client.set(crate::support::pipe::Client {
        leaves_after: Some(1),
        ..Default::default()
    });
    assert_eq!(ask(&port, Chat, streamed(Chat, "hi")).status, 200);
    port.client.set(Default::default());
    let received = ask(&port, Chat, streamed(Chat, "hi"));
    assert_eq!(received.status, 200, "{}", received.text());
}

#[test]
fn a_cap_that_cannot_be_asked_for_is_held() {
    let port = house(&BOTH[..1], |config| {
        config.aliases[0].targets[0].max_concurrent = Some(1);
    });
    port.provider("first", [said(Chat, "first", "The answer.")]);
    port.fail([Fault {
        op: Some(Op::Object(Class::Target)),
        first: 0,
        count: usize::MAX,
        when: When::Before,
    }]);
    fails(
        &ask(&port, Chat, question(Chat, "hi")),
        503,
        "upstream_busy",
    );
    assert!(port.sent.borrow().is_empty());
}

// === the last resort ===

fn with_pages(port: &crate::support::fake_port::FakePort) {
    let passage = Passage {
        url: "/docs/keys#where".into(),
        page: "Security".into(),
        heading: "Where keys are kept".into(),
        text: "Provider keys are kept in Worker secrets. They never reach a browser.".into(),
        lang: "en".into(),
    };
    *port.index.borrow_mut() = Some(Rc::new(Index::build(vec![passage])));
}

#[test]
fn when_nobody_answers_an_old_answer_does_and_then_the_pages_each_marked_as_what_it_is() {
    let port = house(&BOTH, |config| {
        config.aliases[0].last_resort = vec![LastResort::Stale, LastResort::Builtin];
        config.aliases[0].cache = CachePolicy::Always;
    });
    with_pages(&port);
    port.provider("first", [said(Chat, "first", "The old answer.")]);
    let asked = || question(Chat, "Where are provider keys kept?");
    assert_eq!(ask(&port, Chat, asked()).status, 200);
    port.provider("first", [Scripted::refused()]);
    port.provider("second", [Scripted::refused()]);
    port.pass(secs(3601));
    port.other_isolate();
    let stale = ask(&port, Chat, asked());
    assert_eq!(text_of(Chat, &stale), "The old answer.");
    assert_eq!(stale.header("x-gatehouse-fallback"), Some("stale"));
    assert_eq!(stale.header("x-cache"), Some("stale"));
    assert_eq!(stale.header("age"), Some("3601"));
    let builtin = ask(
        &port,
        Chat,
        question(Chat, "Where are the keys of providers kept?"),
    );
    assert_eq!(builtin.header("x-gatehouse-fallback"), Some("builtin"));
    assert_eq!(
        builtin.header("x-gatehouse-answerer"),
        Some("built-in, no model")
    );
    assert!(text_of(Chat, &builtin).contains("Worker secrets"));
    assert!(builtin.outcome.code.is_some(), "the operator sees why");
    for caller in Protocol::ALL {
        let received = ask(&port, caller, streamed(caller, "Where are keys kept now?"));
        assert!(
            grammar::check(caller, &received.body, false)
                .text()
                .contains("Worker secrets")
        );
    }
    // Too old even for that.
    port.pass(secs(90_000));
    let later = ask(&port, Chat, asked());
    assert_eq!(later.header("x-gatehouse-fallback"), Some("builtin"));
}

#[test]
fn what_is_wrong_with_the_request_is_no_case_for_the_last_resort() {
    let port = house(&BOTH, |config| {
        config.aliases[0].last_resort = vec![LastResort::Builtin];
    });
    with_pages(&port);
    port.provider("first", [Scripted::error(400, None)]);
    let received = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(
        (received.status, received.header("x-gatehouse-fallback")),
        (400, None)
    );
}

// === choosing, fitting, dropping ===

#[test]
fn an_alias_that_chooses_takes_the_small_model_for_a_small_question_and_tells_why() {
    let port = house(&[(Chat, "large"), (Messages, "small")], |config| {
        let alias = &mut config.aliases[0];
        alias.choose = Choose::Auto;
        alias.targets[0].tier = Tier::Large;
        alias.targets[1].tier = Tier::Small;
        alias.max_input_bytes = 1_000_000;
    });
    port.provider("large", [said(Chat, "large", "The answer.")]);
    port.provider("small", [said(Messages, "small", "The answer.")]);
    let small = ask(&port, Chat, question(Chat, "What time is it?"));
    assert_eq!(small.header("x-gatehouse-target"), Some("with-small/small"));
    let why = small.header("x-gatehouse-choice").unwrap().to_owned();
    assert!(!why.is_empty());
    let long = format!(
        "Prove step by step why this algorithm is correct and refactor it:\n```\n{}\n```",
        "fn f(x: u32) -> u32 { x }\n".repeat(2000)
    );
    let large = ask(&port, Chat, question(Chat, &long));
    assert_eq!(large.header("x-gatehouse-target"), Some("with-large/large"));
    assert_ne!(large.header("x-gatehouse-choice").unwrap(), why);
    let head = gatehouse::app::request::Head {
        prefer: Some("speed".into()),
        ..post("/v1/chat/completions")
    };
    let refused = ask_with(&port, head, question(Chat, "hi"));
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("x-gatehouse-prefer"));
}

#[test]
fn what_does_not_fit_is_refused_with_the_counts_or_trimmed_and_told() {
    let turns: Vec<_> = (0..41)
        .map(|i| {
            let role = if i % 2 == 0 { "user" } else { "assistant" };
            json!({"role": role, "content": format!("turn {i} {}", "word ".repeat(50))})
        })
        .collect();
    let body = || {
        with(
            question(Chat, "x"),
            json!({"messages": turns.clone(), "max_tokens": 50}),
        )
    };
    for trim in [false, true] {
        let port = house(&BOTH[..1], |config| {
            config.aliases[0].targets[0].context_tokens = Some(1000);
            if trim {
                config.aliases[0].on_overflow = OnOverflow::Trim;
            }
        });
        port.provider("first", [said(Chat, "first", "The answer.")]);
        let received = ask(&port, Chat, body());
        if trim {
            assert_eq!(received.status, 200, "{}", received.text());
            let saved = received.header("x-gatehouse-saved").unwrap();
            assert!(
                saved.starts_with("turns=") && !saved.starts_with("turns=0;"),
                "{saved}"
            );
            let sent = port.sent.borrow()[0].json().to_string();
            assert!(sent.contains("turn 40 ") && !sent.contains("turn 0 "));
        } else {
            fails(&received, 400, "input_too_long");
            assert!(received.text().contains("1000"));
            assert!(port.sent.borrow().is_empty());
        }
    }
}

#[test]
fn a_field_that_cannot_be_carried_is_named_in_a_header_or_in_the_refusal() {
    let body = || with(question(Chat, "hi"), json!({"logit_bias": {"5": 1}}));
    let refusing = house(&BOTH[1..], |_| {});
    let refused = ask(&refusing, Chat, body());
    fails(&refused, 400, "unsupported_parameter");
    assert_eq!(refused.json()["error"]["param"], "logit_bias");
    assert!(refusing.sent.borrow().is_empty());
    let dropping = house(&BOTH[1..], |config| {
        config.aliases[0].on_unsupported = OnUnsupported::Drop;
    });
    dropping.provider("second", [said(Messages, "second", "The answer.")]);
    let received = ask(&dropping, Chat, body());
    assert_eq!(text_of(Chat, &received), "The answer.");
    assert_eq!(received.header("x-gatehouse-dropped"), Some("logit_bias"));
    assert_eq!(dropping.sent.borrow()[0].json().get("logit_bias"), None);
}
