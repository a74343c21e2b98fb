//! What calls are booked with: told or estimated, whole or failed, passed on or translated, and never twice.

use gatehouse::app::accounts::{self, Payer};
use gatehouse::app::request::Head;
use gatehouse::app::rules;
use gatehouse::base::time::Millis;
use gatehouse::domain::limits::rules::Change;
use gatehouse::domain::llm::bound::Bound;
use gatehouse::domain::llm::price::Micros;
use gatehouse::domain::settings::config::{
    Allowance, Config, LimitClass, OnUnsupported, Serves, Similar,
};
use serde_json::{Value, json};

use crate::gateway::house::{
    Chat, Messages, ask, ask_with, events, house, once, once_each, patient, post, preamble, priced,
    question, said, secs, streamed, with,
};
use crate::support::fake_port::FakePort;
use crate::support::pipe::Client;
use crate::support::run::block_on;
use crate::support::upstream::{Piece, Scripted};

fn cost(received: &crate::support::Received) -> Option<&str> {
    received.header("x-gatehouse-cost-usd")
}

// === endpoints that are passed on ===

/// A site whose alias serves that endpoint, at these prices.
fn serving(serves: Serves, price: Value) -> FakePort {
    house(&[(Chat, "first")], |config: &mut Config| {
        config.aliases[0].serves = serves;
        config.prices =
            vec![serde_json::from_value(with(price, json!({"model": "first"}))).unwrap()];
    })
}

#[test]
fn pictures_characters_and_seconds_have_their_price() {
    let port = serving(Serves::Images, json!({"per_image": 0.04}));
    let two = json!({"created": 1, "data": [{"url": "a"}, {"url": "b"}]});
    port.provider("first", [Scripted::json(200, &two)]);
    let body = json!({"model": "site", "prompt": "a gate", "n": 2});
    let received = ask_with(&port, post("/v1/images/generations"), body);
    assert_eq!(cost(&received), Some("0.080000"), "{}", received.text());

    let port = serving(Serves::Speech, json!({"per_million_characters": 15.0}));
    port.provider(
        "first",
        [Scripted::answer(
            200,
            "audio/mpeg",
            ["ID3".to_owned().into()],
        )],
    );
    let body = json!({"model": "site", "input": "Grüß Gott!!", "voice": "alloy"});
    let received = ask_with(&port, post("/v1/audio/speech"), body);
    assert_eq!(cost(&received), Some("0.000165"), "11 characters");
    assert!(received.outcome.tokens_estimated);
}

#[test]
fn usage_that_is_not_told_is_estimated_and_never_nothing() {
    let port = serving(Serves::Moderations, json!({"input": 1000.0}));
    port.provider(
        "first",
        [Scripted::json(200, &json!({"id": "m", "results": [{}]}))],
    );
    let body = json!({"model": "site", "input": "twelve bytes"});
    let received = ask_with(&port, post("/v1/moderations"), body);
    assert_eq!(received.header("x-gatehouse-tokens-in"), Some("4"));
    assert!(received.outcome.tokens_estimated);
    assert_eq!(cost(&received), Some("0.004000"));
}

#[test]
fn a_stream_of_pictures_or_sound_is_refused_before_anybody_is_paid() {
    for (path, serves, patch, param) in [
        (
            "/v1/images/generations",
            Serves::Images,
            json!({"stream": true}),
            "stream",
        ),
        (
            "/v1/audio/speech",
            Serves::Speech,
            json!({"stream_format": "sse"}),
            "stream_format",
        ),
    ] {
        let port = serving(serves, json!({}));
        let body = with(
            json!({"model": "site", "input": "hi", "prompt": "hi"}),
            patch,
        );
        let received = ask_with(&port, post(path), body);
        assert_eq!(
            (received.status, received.code().as_deref()),
            (400, Some("unsupported_parameter"))
        );
        assert_eq!(received.json()["error"]["param"], param);
        assert!(port.sent.borrow().is_empty());
    }
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in parts {
        let file = if *name == "file" {
            "; filename=\"a.wav\""
        } else {
            ""
        };
        bytes.extend(
            format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes(),
        );
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"--b--\r\n");
    bytes
}

fn send_form(
    port: &FakePort,
    key: Option<&str>,
    parts: &[(&str, &[u8])],
) -> crate::support::Received {
    let head = Head {
        content_type: Some("multipart/form-data; boundary=b".into()),
        idempotency_key: key.map(str::to_owned),
        ..post("/v1/audio/transcriptions")
    };
    let bytes = form(parts);
    let received = crate::support::run::block_on(async {
        let body = crate::support::FakeBody::whole(&bytes, 64);
        let reply = gatehouse::app::serve::serve(port, head, body).await;
        crate::support::Received::of(reply).await
    });
    crate::support::run::settle();
    received
}

#[test]
fn a_transcription_is_booked_by_its_seconds() {
    let port = serving(Serves::Transcriptions, json!({"per_second": 0.0001}));
    let told = json!({"text": "hi", "usage": {"type": "duration", "seconds": 61.5}});
    port.provider("first", [Scripted::json(200, &told)]);
    let received = send_form(&port, None, &[("model", b"site"), ("file", b"RIFF")]);
    assert_eq!(cost(&received), Some("0.006150"), "{}", received.text());
}

#[test]
fn a_form_names_its_model_once_and_is_no_stream() {
    let port = serving(Serves::Transcriptions, json!({}));
    for more in [("model", &b"expensive"[..]), ("stream", b"true")] {
        let received = send_form(&port, None, &[("model", b"site"), ("file", b"RIFF"), more]);
        assert_eq!(received.status, 400, "{}", received.text());
        assert_eq!(received.json()["error"]["param"], more.0);
    }
    assert!(port.sent.borrow().is_empty());
}

#[test]
fn a_key_tells_two_sounds_apart_that_are_no_text() {
    let port = serving(Serves::Transcriptions, json!({}));
    port.provider("first", [Scripted::json(200, &json!({"text": "hi"}))]);
    let one = send_form(
        &port,
        Some("k"),
        &[("model", b"site"), ("file", b"\xff\xfe")],
    );
    let other = send_form(
        &port,
        Some("k"),
        &[("model", b"site"), ("file", b"\xfa\xfb")],
    );
    let again = send_form(
        &port,
        Some("k"),
        &[("model", b"site"), ("file", b"\xff\xfe")],
    );
    assert_eq!((one.status, other.status, again.status), (200, 422, 200));
    assert_eq!(port.sent.borrow().len(), 1);
}

// === calls that fail, and parts of calls ===

#[test]
fn what_a_rejected_whole_answer_told_is_booked() {
    let port = house(&[(Chat, "first"), (Chat, "second")], priced);
    let empty = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "first",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ""}}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 4096, "total_tokens": 5096},
    });
    port.provider("first", [Scripted::json(200, &empty)]);
    port.provider("second", [said(Chat, "second", "The answer.")]);
    let received = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(received.header("x-gatehouse-tokens-in"), Some("1010"));
    assert_eq!(received.header("x-gatehouse-tokens-out"), Some("4100"));
    // 1010 × 1 + 4100 × 10 micro-dollars
    assert_eq!(cost(&received), Some("0.042010"));
}

#[test]
fn a_call_that_was_refused_tells_the_log_what_it_took() {
    for key in [None, Some("k".to_owned())] {
        let port = house(&[(Chat, "first")], |config| {
            once(config);
            priced(config);
        });
        let empty = json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "first",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ""}}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000},
        });
        port.provider("first", [Scripted::json(200, &empty)]);
        let head = Head {
            idempotency_key: key.clone(),
            ..post(Chat.endpoint())
        };
        let received = ask_with(&port, head, question(Chat, "hi"));
        assert_eq!(received.status, 502);
        assert_eq!(cost(&received), Some("0.001000"));
        assert_eq!(received.header("x-gatehouse-tokens-in"), Some("1000"));
        if key.is_none() {
            let outcome = &received.outcome;
            assert_eq!(outcome.alias.as_deref(), Some("site"));
            assert_eq!(outcome.target.as_deref(), Some("with-first/first"));
            assert_eq!(
                (outcome.cost_micros, outcome.attempts),
                (Some(1000), Some(1))
            );
        }
    }
}

#[test]
fn a_trailer_counts_a_stream_that_came_in_one_piece_once() {
    for (caller, body) in [
        (
            Chat,
            with(
                streamed(Chat, "hi"),
                json!({"stream_options": {"include_usage": true}}),
            ),
        ),
        (Messages, streamed(Messages, "hi")),
    ] {
        for joined in [true, false] {
            let port = house(&[(caller, "first")], priced);
            let mut pieces = events(caller, "first", &["The ", "answer."]);
            if joined {
                pieces = vec![pieces.concat()];
            }
            port.provider(
                "first",
                [Scripted::events(pieces.into_iter().map(Piece::from))],
            );
            let head = Head {
                trailer: true,
                ..post(caller.endpoint())
            };
            let received = ask_with(&port, head, body.clone());
            let trailer = received.text().rsplit(": gatehouse ").next().unwrap();
            let told: Value = serde_json::from_str(trailer.trim()).unwrap();
            assert_eq!(
                (&told["tokens_in"], &told["tokens_out"]),
                (&json!(10), &json!(4))
            );
            assert_eq!(told["cost_usd"], "0.000050");
            assert_eq!(received.outcome.cost_micros, Some(50));
        }
    }
}

#[test]
fn comparing_questions_is_booked_too() {
    let port = house(&[(Chat, "first"), (Chat, "embedder")], |config| {
        priced(config);
        let mut embedder = config.aliases[0].clone();
        embedder.name = "embed".into();
        embedder.serves = Serves::Embeddings;
        embedder.targets.remove(0);
        config.aliases[0].targets.truncate(1);
        config.aliases[0].cache = gatehouse::domain::settings::config::CachePolicy::Always;
        let similar: Similar =
            serde_json::from_value(json!({"alias": "embed", "threshold": 0.9})).unwrap();
        config.aliases[0].similar = Some(similar);
        config.aliases.push(embedder);
    });
    let vector = json!({"data": [{"embedding": [1.0, 0.0]}], "usage": {"prompt_tokens": 1000}});
    port.provider("embedder", [Scripted::json(200, &vector)]);
    port.provider("first", [said(Chat, "first", "The answer.")]);
    let first = ask(&port, Chat, question(Chat, "Where are the keys?"));
    // The comparison; the answer is booked in the object in which callers share it.
    assert_eq!(
        (first.outcome.cost_micros, first.outcome.tokens_in),
        (Some(1000), Some(1000))
    );
    let second = ask(&port, Chat, question(Chat, "Where are my keys?"));
    assert_eq!(second.header("x-cache"), Some("similar"));
    assert_eq!(
        (second.outcome.cost_micros, second.outcome.tokens_in),
        (Some(1000), Some(1000))
    );
}

// === budgets ===

/// The least that an attempt counts whose provider tells nothing: 100 tokens out, and more than a thousand in at twice
/// the price.
const MOST: u64 = 100 * 10 + 1060 * 2;

/// Prices, a ceiling of 100 tokens, and a dollar a day for the alias.
fn budgeted(config: &mut Config) {
    priced(config);
    config.aliases[0].max_output_tokens = 100;
    config.aliases[0].allowance.budget.day_usd = Some(1.0);
}

/// Micro-dollars of the day that the alias has spent; nothing is reserved any more.
fn spent(port: &FakePort) -> u64 {
    let told = block_on(accounts::look(port, "alias/site")).unwrap();
    let windows = told["spend"].as_array().unwrap();
    let day = windows
        .iter()
        .find(|w| w["window"] == "day-budget")
        .unwrap();
    assert_eq!(day["reserved_usd"], "0.000000");
    let digits = day["spent_usd"].as_str().unwrap().replace('.', "");
    digits.parse().unwrap()
}

#[test]
fn what_the_provider_told_in_the_end_is_what_a_budget_books() {
    let port = house(&[(Chat, "first")], budgeted);
    port.provider("first", [said(Chat, "first", "The answer.")]);
    ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(spent(&port), 50);
    // An error status costs nothing.
    let port = house(&[(Chat, "first"), (Chat, "second")], |config| {
        budgeted(config);
        once_each(config);
    });
    port.provider("first", [Scripted::error(500, None)]);
    port.provider("second", [said(Chat, "second", "The answer.")]);
    ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(spent(&port), 50);
}

#[test]
fn calls_that_are_given_up_are_booked_at_their_most_so_that_deadlines_spend_the_budget() {
    let port = house(&[(Chat, "first")], |config| {
        budgeted(config);
        once(config);
        config.aliases[0].allowance.budget.day_usd = Some(0.01);
    });
    let late = || said(Chat, "first", "The answer.").after(Millis(250));
    port.provider("first", (0..40).map(|_| late()));
    let mut refused = 0;
    for _ in 0..40 {
        let head = Head {
            total_ms: Some(60),
            ..post(Chat.endpoint())
        };
        let received = ask_with(&port, head, question(Chat, "hi"));
        assert_ne!(received.status, 200);
        refused += u64::from(received.code().as_deref() == Some("budget_exhausted"));
    }
    let asked = port.sent.borrow().len() as u64;
    assert!(asked > 0 && asked * MOST <= 10_000, "{asked} calls");
    assert_eq!(refused, 40 - asked);
    assert!(spent(&port) >= asked * MOST && spent(&port) <= 10_000);
}

#[test]
fn a_stream_without_its_last_usage_is_booked_at_its_ceiling() {
    for protocol in [Chat, Messages] {
        for leaves in [false, true] {
            let port = house(&[(protocol, "first")], |config| {
                budgeted(config);
                once(config);
            });
            let all = events(protocol, "first", &["The ", "answer."]);
            let shown = preamble(&all) + 1;
            let mut pieces: Vec<Piece> = all[..shown].iter().cloned().map(Piece::from).collect();
            if leaves {
                port.client.set(Client {
                    leaves_after: Some(1),
                    ..Client::default()
                });
                pieces.push(Piece::Silence(secs(5)));
            }
            pieces.push(Piece::Broken("reset".into()));
            port.provider("first", [Scripted::events(pieces)]);
            let received = ask(&port, protocol, streamed(protocol, "hi"));
            assert!(received.outcome.tokens_estimated);
            let place = format!("{protocol:?}, the client leaves: {leaves}");
            if protocol == Messages {
                // It told the input at the beginning: 10 × 1 + 100 × 10.
                assert_eq!(spent(&port), 1010, "{place}");
            } else {
                assert!(spent(&port) >= MOST, "{place}: {}", spent(&port));
            }
            // What the log says stays an estimate of what came.
            assert!(received.outcome.cost_micros < Some(200), "{place}");
        }
    }
}

#[test]
fn attempts_that_were_given_up_for_another_or_told_no_usage_count_at_their_most() {
    let mut silent: Value = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "first",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "The answer."}}],
    });
    let attempts = [
        // Late, and another one answers.
        said(Chat, "first", "The answer.").after(secs(31)),
        // Nobody can tell whether the request had arrived.
        Scripted::refused(),
        // In the place of an answer stands an error, behind a good status.
        Scripted::json(
            200,
            &json!({"error": {"message": "no", "type": "server_error"}}),
        ),
        {
            silent["choices"][0]["message"]["content"] = json!("");
            Scripted::json(200, &silent)
        },
    ];
    for attempt in attempts {
        let port = house(&[(Chat, "first"), (Chat, "second")], |config| {
            budgeted(config);
            once_each(config);
            patient(config);
            config.deadlines.whole_ms = Some(30_000);
        });
        let place = format!("{attempt:?}");
        port.provider("first", [attempt]);
        port.provider("second", [said(Chat, "second", "The answer.")]);
        let received = ask(&port, Chat, question(Chat, "hi"));
        assert_eq!(port.sent.borrow().len(), 2, "{place}: {}", received.text());
        assert!(spent(&port) >= MOST + 50, "{place}: {}", spent(&port));
        assert!(spent(&port) < 2 * MOST, "{place}: {}", spent(&port));
    }
}

#[test]
fn a_budget_that_is_only_held_by_running_calls_is_no_spent_one() {
    let port = house(&[(Chat, "first")], |config| {
        budgeted(config);
        once(config);
    });
    port.provider("first", [said(Chat, "first", "The answer.")]);
    let held = Bound {
        tokens: 0,
        cost: Some(Micros(999_000)),
    };
    let payer = Payer::default();
    let reserved = accounts::reserve(&port, &payer, "site", LimitClass::Chat, || held, secs(60));
    let mut reserved = block_on(reserved).unwrap();
    let refused = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(refused.code().as_deref(), Some("budget_exhausted"));
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(refused.header("x-should-retry"), None);
    block_on(reserved.settle(&port, 0, 998_000));
    port.clock().set(port.clock().now().plus(secs(2)));
    let refused = ask(&port, Chat, question(Chat, "hi"));
    assert_eq!(refused.code().as_deref(), Some("budget_exhausted"));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
}

#[test]
fn no_tenant_lifts_the_budget_of_all() {
    let port = house(&[(Chat, "first")], |config| {
        budgeted(config);
        once(config);
        config.global.budget.day_usd = Some(0.004);
        config.tenants = vec![
            serde_json::from_value(json!({"name": "acme", "hosts": ["acme.example"]})).unwrap(),
        ];
    });
    port.provider("first", (0..4).map(|_| Scripted::refused()));
    let code = || {
        let head = Head {
            own_origin: "https://acme.example".into(),
            ..post(Chat.endpoint())
        };
        ask_with(&port, head, question(Chat, "hi")).code()
    };
    assert_eq!(code().as_deref(), Some("upstream_unreachable"));
    assert_eq!(code().as_deref(), Some("budget_exhausted"));
    let lift = |tenant: &str| {
        use gatehouse::app::port::Port as _;
        let mut allowance = Allowance::default();
        allowance.budget.day_usd = Some(1000.0);
        let change = Change::Allowance("global".into(), Some(allowance));
        block_on(rules::change(&port.of_tenant(tenant), change, None, None)).unwrap();
    };
    lift("acme");
    assert_eq!(code().as_deref(), Some("budget_exhausted"));
    lift("default");
    assert_eq!(code().as_deref(), Some("upstream_unreachable"));
}

#[test]
fn a_number_of_pictures_that_is_none_is_refused() {
    let port = serving(Serves::Images, json!({"per_image": 0.04}));
    for odd in [json!(4.0), json!("4"), json!(0), json!(-1), json!([4])] {
        let body = json!({"model": "site", "prompt": "a gate", "n": odd});
        let received = ask_with(&port, post("/v1/images/generations"), body);
        assert_eq!(received.status, 400, "{odd}");
        assert_eq!(received.json()["error"]["param"], "n");
    }
    assert!(port.sent.borrow().is_empty());
}

// === headers ===

#[test]
fn the_names_of_dropped_parameters_are_told_up_to_a_number() {
    let port = house(&[(Messages, "first")], |config| {
        config.aliases[0].on_unsupported = OnUnsupported::Drop;
    });
    port.provider("first", [said(Messages, "first", "The answer.")]);
    let mut body = question(Chat, "hi");
    for i in 0..1500 {
        body[format!("unknown_{i}")] = json!(1);
    }
    let received = ask(&port, Chat, body);
    let dropped = received.header("x-gatehouse-dropped").unwrap();
    assert!(
        dropped.len() < 1000 && dropped.ends_with("and 1470 more"),
        "{dropped}"
    );
}
