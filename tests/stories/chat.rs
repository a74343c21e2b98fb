//! The chat story over a fake world: what goes up, what comes back, what is kept, and what happens when anything fails.

use std::rc::Rc;

use gatehouse::app::port::Class;
use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::time::Millis;
use gatehouse::domain::answer::{Index, Passage};
use gatehouse::domain::llm::upstream::{UpstreamFault, UpstreamHead};
use gatehouse::domain::settings::config::CachePolicy;
use serde_json::{Value, json};

use crate::support::fake_port::{FakePort, Fault, Op, START, When};
use crate::support::pipe::Client;
use crate::support::run::block_on;
use crate::support::upstream::{Piece, Scripted};
use crate::support::{FakeBody, Received};

const KEY: &str = "sk-canary-0123456789";

// === what the tests share ===

fn with_openai() -> FakePort {
    FakePort::with(|_| {}, &[("OPENAI_API_KEY", KEY)])
}

fn post(path: &str) -> Head {
    Head {
        method: "POST".into(),
        path: path.into(),
        own_origin: "https://house.example".into(),
        address: Some("198.51.100.7".into()),
        content_type: Some("application/json".into()),
        at: START,
        ..Head::default()
    }
}

fn ask_with(port: &FakePort, head: Head, body: &Value) -> Received {
    let bytes = body.to_string().into_bytes();
    let reply = block_on(serve(port, head, FakeBody::whole(&bytes, 64)));
    Received::from(reply)
}

fn ask(port: &FakePort, body: &Value) -> Received {
    ask_with(port, post("/v1/chat/completions"), body)
}

fn question(text: &str) -> Value {
    json!({"model": "site", "messages": [{"role": "user", "content": text}]})
}

/// A question whose answer may be kept.
fn fixed(text: &str) -> Value {
    let mut body = question(text);
    body["temperature"] = json!(0);
    body
}

fn streamed(text: &str) -> Value {
    let mut body = question(text);
    body["stream"] = json!(true);
    body
}

fn fixed_stream(text: &str) -> Value {
    let mut body = fixed(text);
    body["stream"] = json!(true);
    body
}

fn script(port: &FakePort, answer: Scripted) {
    port.script.borrow_mut().push_back(answer);
}

fn completion(text: &str) -> Scripted {
    let body = json!({
        "id": "x", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    });
    Scripted::answer(
        200,
        "application/json",
        [Piece::Bytes(body.to_string().into_bytes())],
    )
}

const CHUNK: &str =
    "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const STOP: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn stream(pieces: impl IntoIterator<Item = Piece>) -> Scripted {
    Scripted::answer(200, "text/event-stream", pieces)
}

fn code(received: &Received) -> String {
    received.json()["error"]["gatehouse"]["code"]
        .as_str()
        .unwrap()
        .to_owned()
}

// === what goes up ===

#[test]
fn nothing_of_the_callers_headers_goes_up_and_the_key_goes_in_its_own_header_alone() {
    let port = with_openai();
    script(&port, completion("Hi"));
    let head = Head {
        authorization: Some("Bearer visitor".into()),
        cookie: Some("session=secret".into()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        ..post("/v1/chat/completions")
    };
    let received = ask_with(&port, head, &question("hi"));
    assert_eq!(received.status, 200);
    let sent = port.sent.borrow()[0].clone();
    assert_eq!(sent.url, "https://api.openai.com/v1/chat/completions");
    assert_eq!(sent.key, Some(("authorization", format!("Bearer {KEY}"))));
    let names: Vec<&str> = sent.headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["content-type", "accept", "accept-encoding", "user-agent"]
    );
    let everything = format!("{:?} {}", sent.headers, String::from_utf8_lossy(&sent.body));
    for word in ["visitor", "secret", "4bf92f", KEY] {
        assert!(
            !everything.contains(&format!("Bearer {word}")) && !everything.contains("session="),
            "{word}"
        );
    }
}

#[test]
fn the_answer_comes_back_as_it_came_and_is_booked() {
    let port = with_openai();
    script(&port, completion("Hi"));
    let received = ask(&port, &question("hi"));
    assert_eq!(received.json()["choices"][0]["message"]["content"], "Hi");
    assert_eq!(
        (received.outcome.tokens_in, received.outcome.tokens_out),
        (Some(5), Some(2))
    );
    let log = port.logged.borrow()[0].clone();
    assert_eq!(log["target"], "openai/gpt-5-mini");
    assert_eq!(log["tokens_out"], 2);
    assert!(!log.to_string().contains(KEY) && !log.to_string().contains("198.51"));
}

// === streams ===

#[test]
fn a_stream_passes_byte_for_byte() {
    let port = with_openai();
    script(&port, stream([CHUNK, STOP, DONE].map(Piece::from)));
    let received = ask(&port, &streamed("hi"));
    assert_eq!(received.text(), [CHUNK, STOP, DONE].concat());
    assert_eq!(received.outcome.code, None);
    assert!(
        received.outcome.tokens_estimated,
        "no usage came: the count is marked as ours"
    );
}

#[test]
fn a_stream_that_does_not_end_well_ends_with_an_error_and_is_not_kept() {
    let second = Millis::from_secs(1);
    let cases = [
        (vec![CHUNK.into()], "upstream_protocol"),
        (
            vec![CHUNK.into(), Piece::Broken("reset".into())],
            "upstream_disconnected",
        ),
        (
            vec![
                CHUNK.into(),
                Piece::Silence(Millis::from_secs(31)),
                DONE.into(),
            ],
            "upstream_stalled",
        ),
        (
            std::iter::repeat_n([Piece::Silence(Millis(29_000)), CHUNK.into()], 20)
                .flatten()
                .collect(),
            "upstream_deadline",
        ),
        (
            vec![CHUNK.into(), "data: {oops\n\n".into(), DONE.into()],
            "upstream_protocol",
        ),
        (
            vec![
                CHUNK.into(),
                "data: {\"choices\":[{\"index\":0,\"del".into(),
                Piece::Silence(second),
            ],
            "upstream_protocol",
        ),
    ];
    for (pieces, expected) in cases {
        let port = with_openai();
        script(&port, stream(pieces));
        let received = ask(&port, &streamed("hi"));
        assert_eq!(received.status, 200);
        assert_eq!(received.code().as_deref(), Some(expected));
        assert_eq!(received.outcome.code.unwrap().entry().code, expected);
        assert!(
            port.cache.borrow().is_empty() && port.memory.borrow().is_empty(),
            "{expected}"
        );
        assert_eq!(port.logged.borrow()[0]["code"], expected);
    }
}

#[test]
fn an_error_inside_the_stream_is_passed_once() {
    let port = with_openai();
    script(
        &port,
        stream([
            CHUNK.into(),
            "data: {\"error\":{\"message\":\"x\"}}\n\n".into(),
        ]),
    );
    let received = ask(&port, &streamed("hi"));
    assert_eq!(received.text().matches("\"error\"").count(), 1);
    assert_eq!(
        received.outcome.code.unwrap().entry().code,
        "upstream_error"
    );
}

#[test]
fn a_client_that_leaves_is_no_failure_of_ours() {
    let port = with_openai();
    port.client.set(Client {
        leaves_after: Some(1),
        ..Client::default()
    });
    script(&port, stream([CHUNK, CHUNK, STOP, DONE].map(Piece::from)));
    let received = ask(&port, &streamed("hi"));
    assert_eq!(received.outcome.code, None);
    assert_eq!(
        received.outcome.cause.as_deref(),
        Some("the client went away")
    );
    assert!(port.cache.borrow().is_empty());
}

#[test]
fn before_the_first_byte_a_failing_stream_is_an_ordinary_error() {
    let cases = [
        (stream([]), 502, "upstream_protocol"),
        (
            stream([Piece::Silence(Millis::from_secs(31)), CHUNK.into()]),
            504,
            "upstream_timeout",
        ),
        (
            stream([Piece::Broken("reset".into())]),
            502,
            "upstream_disconnected",
        ),
        (
            Scripted::answer(200, "text/html", ["<html>".into()]),
            502,
            "upstream_protocol",
        ),
    ];
    for (answer, status, expected) in cases {
        let port = with_openai();
        port.provider("gpt-5-mini", [answer]);
        let received = ask(&port, &streamed("hi"));
        assert_eq!(
            (received.status, code(&received).as_str()),
            (status, expected)
        );
    }
}

#[test]
fn every_failure_of_a_provider_has_its_own_answer_and_never_its_text() {
    let error = |status| {
        Scripted::answer(
            status,
            "application/json",
            [format!("{{\"error\":{{\"message\":\"key {KEY} org-1\"}}}}")
                .as_str()
                .into()],
        )
    };
    let mut cases = vec![
        (
            Scripted::fault(UpstreamFault::Unreachable("refused".into())),
            502,
            "upstream_unreachable",
        ),
        (
            Scripted::answer(200, "application/json", ["<html>".into()]),
            502,
            "upstream_protocol",
        ),
        (
            Scripted::answer(200, "application/json", ["{\"error\":{}}".into()]),
            502,
            "upstream_error",
        ),
        (
            Scripted::answer(200, "application/json", [Piece::Broken("reset".into())]),
            502,
            "upstream_disconnected",
        ),
        (
            Scripted::answer(
                200,
                "application/json",
                [Piece::Bytes(vec![b'x'; 9_000_000])],
            ),
            502,
            "upstream_too_large",
        ),
        (
            Scripted::answer(
                200,
                "application/json",
                ["{".into(), Piece::Silence(Millis::from_secs(301))],
            ),
            504,
            "upstream_timeout",
        ),
        (
            Scripted::answer(
                200,
                "application/json",
                [Piece::Silence(Millis::from_secs(121)), "{}".into()],
            ),
            504,
            "upstream_timeout",
        ),
    ];
    for (status, ours, expected) in [
        (302, 502, "upstream_redirect"),
        (401, 502, "upstream_auth"),
        (403, 502, "upstream_auth"),
        (429, 503, "upstream_rate_limited"),
        (500, 502, "upstream_error"),
        (503, 502, "upstream_error"),
    ] {
        cases.push((error(status), ours, expected));
    }
    for (answer, status, expected) in cases {
        let port = with_openai();
        port.provider("gpt-5-mini", [answer]);
        let received = ask(&port, &question("hi"));
        assert_eq!(
            (received.status, code(&received).as_str()),
            (status, expected)
        );
        let log = port.logged.borrow()[0].to_string();
        assert!(
            !received.text().contains("canary") && !log.contains("canary"),
            "{expected}"
        );
        // What only the operator can mend is an alert of its own, beside the request's line.
        let logged = port.logged.borrow();
        let lines: Vec<_> = logged.iter().filter(|l| l["route"] != "alert").collect();
        assert_eq!((lines.len(), &lines[0]["code"]), (1, &json!(expected)));
        let alerts = logged.iter().filter(|line| line["route"] == "alert");
        let operators = ["upstream_auth", "upstream_redirect"].contains(&expected);
        assert_eq!(alerts.count() > 0, operators, "{expected}");
    }
}

#[test]
fn a_providers_wait_is_passed_on_capped() {
    let port = with_openai();
    let head = UpstreamHead {
        status: 429,
        retry_after: Some("86400".into()),
        ..UpstreamHead::default()
    };
    script(&port, Scripted::of(head, []));
    let received = ask(&port, &question("hi"));
    assert_eq!(received.header("Retry-After"), Some("60"));
}

// === limits ===

#[test]
fn without_the_limiter_no_model_is_called() {
    for when in [When::Before, When::After] {
        let port = with_openai();
        port.fail([Fault {
            op: Some(Op::Object(Class::Limiter)),
            first: 0,
            count: usize::MAX,
            when,
        }]);
        let received = ask(&port, &question("hi"));
        assert_eq!(
            (received.status, code(&received).as_str()),
            (503, "limiter_unavailable")
        );
        assert!(port.sent.borrow().is_empty());
    }
}

#[test]
fn the_limit_refuses_with_the_exact_wait_and_a_retry_then_succeeds() {
    let port = with_openai();
    for _ in 0..20 {
        script(&port, completion("Hi"));
        assert_eq!(ask(&port, &question("hi")).status, 200);
    }
    let refused = ask(&port, &question("hi"));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (429, "rate_limited")
    );
    let wait: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
    port.pass(Millis(wait - 1));
    assert_eq!(ask(&port, &question("hi")).status, 429);
    port.pass(Millis(1));
    script(&port, completion("Hi"));
    assert_eq!(ask(&port, &question("hi")).status, 200);
}

#[test]
fn faulty_requests_spend_nothing() {
    let port = with_openai();
    for _ in 0..30 {
        assert_eq!(
            ask(
                &port,
                &json!({"model": "nobody", "messages": [{"role": "user", "content": "x"}]})
            )
            .status,
            404
        );
        assert_eq!(ask(&port, &json!({"model": "site"})).status, 400);
    }
    assert!(port.rows(Class::Limiter).is_empty());
}

// === the cache ===

#[test]
fn a_second_equal_question_is_answered_from_the_cache_in_either_form() {
    for first_streamed in [false, true] {
        let port = with_openai();
        if first_streamed {
            script(&port, stream([CHUNK, STOP, DONE].map(Piece::from)));
            assert_eq!(
                ask(&port, &fixed_stream("hi")).header("x-cache"),
                Some("miss")
            );
        } else {
            script(&port, completion("Hi"));
            assert_eq!(ask(&port, &fixed("hi")).header("x-cache"), Some("miss"));
        }
        port.pass(Millis::from_secs(7));
        for from_kv in [false, true] {
            if from_kv {
                port.memory.borrow_mut().clear();
            }
            let whole = ask(&port, &fixed("hi"));
            assert_eq!(
                (whole.header("x-cache"), whole.header("age")),
                (Some("hit"), Some("7"))
            );
            assert_eq!(whole.json()["choices"][0]["message"]["content"], "Hi");
            let again = ask(&port, &fixed_stream("hi"));
            assert_eq!(again.header("x-cache"), Some("hit"));
            assert!(again.text().ends_with(DONE) && again.text().contains("Hi"));
        }
        assert_eq!(port.sent.borrow().len(), 1);
    }
}

#[test]
fn the_caller_can_refuse_the_cache() {
    let port = with_openai();
    let with = |wish: &str| Head {
        cache_control: Some(wish.into()),
        ..post("/v1/chat/completions")
    };
    script(&port, completion("one"));
    assert_eq!(
        ask_with(&port, with("no-store"), &fixed("hi")).header("x-cache"),
        Some("bypass")
    );
    assert!(port.cache.borrow().is_empty());
    script(&port, completion("two"));
    ask(&port, &fixed("hi"));
    script(&port, completion("three"));
    assert_eq!(
        ask_with(&port, with("no-cache"), &fixed("hi")).header("x-cache"),
        Some("miss")
    );
    let kept = ask(&port, &fixed("hi"));
    assert_eq!(kept.json()["choices"][0]["message"]["content"], "three");
}

#[test]
fn a_broken_store_costs_time_and_nothing_else() {
    for op in [Op::CacheGet, Op::CachePut] {
        for when in [When::Before, When::After] {
            let port = with_openai();
            port.fail([Fault {
                op: Some(op),
                first: 0,
                count: usize::MAX,
                when,
            }]);
            script(&port, completion("Hi"));
            let received = ask(&port, &fixed("hi"));
            assert_eq!(
                (received.status, received.outcome.code),
                (200, None),
                "{op:?} {when:?}"
            );
        }
    }
}

#[test]
fn what_one_client_writes_to_the_cache_is_capped() {
    let port = FakePort::with(
        |config| {
            config.cache.writes_per_hour = 3;
            config.aliases[0].cache = CachePolicy::Always;
        },
        &[("OPENAI_API_KEY", KEY)],
    );
    for i in 0..10 {
        script(&port, completion("Hi"));
        assert_eq!(ask(&port, &fixed(&format!("question {i}"))).status, 200);
    }
    assert_eq!(port.cache.borrow().len(), 3);
}

#[test]
fn limits_come_before_the_cache() {
    let port = with_openai();
    script(&port, completion("Hi"));
    ask(&port, &fixed("hi"));
    for _ in 0..19 {
        assert_eq!(ask(&port, &fixed("hi")).header("x-cache"), Some("hit"));
    }
    assert_eq!(ask(&port, &fixed("hi")).status, 429);
}

#[test]
fn an_answer_that_is_cut_by_the_ceiling_is_not_kept() {
    let port = with_openai();
    let body = json!({"choices": [{"index": 0, "message": {"content": "cut"}, "finish_reason": "length"}]});
    script(
        &port,
        Scripted::answer(200, "application/json", [body.to_string().as_str().into()]),
    );
    assert_eq!(ask(&port, &fixed("hi")).status, 200);
    assert!(port.cache.borrow().is_empty());
}

// === the built-in answerer, the plain form ===

fn house_with_pages() -> FakePort {
    let port = FakePort::new();
    let passage = Passage {
        url: "/docs/keys#where".into(),
        page: "Security".into(),
        heading: "Where keys are kept".into(),
        text: "Provider keys are kept in Worker secrets. They never reach a browser.".into(),
        lang: "en".into(),
    };
    *port.index.borrow_mut() = Some(Rc::new(Index::build(vec![passage])));
    port
}

#[test]
fn without_a_key_the_pages_answer_and_say_so() {
    let port = house_with_pages();
    let received = ask(&port, &question("Where are provider keys kept?"));
    assert_eq!(
        received.header("x-gatehouse-answerer"),
        Some("built-in, no model")
    );
    let text = received.json()["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.contains("Worker secrets") && text.contains("(/docs/keys#where)"),
        "{text}"
    );
    assert!(port.sent.borrow().is_empty());
    let streamed = ask_with(
        &port,
        post("/v1/messages"),
        &json!({"model": "site", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "Where are provider keys kept?"}]}),
    );
    assert!(streamed.text().contains("event: message_stop") && streamed.text().contains("Worker"));
}

fn form(port: &FakePort, body: &str, change: impl FnOnce(&mut Head)) -> Received {
    let mut head = Head {
        content_type: Some("application/x-www-form-urlencoded".into()),
        ..post("/ask")
    };
    change(&mut head);
    Received::from(block_on(serve(
        port,
        head,
        FakeBody::whole(body.as_bytes(), 7),
    )))
}

#[test]
fn the_plain_form_is_answered_with_a_page_that_obeys_nobodys_markup() {
    let port = house_with_pages();
    let received = form(
        &port,
        "question=Where+are+keys+kept%3F+%3Cscript%3E",
        |_| {},
    );
    assert_eq!(
        (received.status, received.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(
        received.text().contains("Worker secrets")
            && received.text().contains("href=\"/docs/keys#where\"")
    );
    assert!(!received.text().contains("<script>"));
    assert!(
        received
            .header("content-security-policy")
            .unwrap()
            .contains("script-src 'self'")
    );
    assert_eq!(received.header("referrer-policy"), Some("same-origin"));
}

#[test]
fn the_plain_form_refuses_as_a_page_in_the_readers_language() {
    let port = house_with_pages();
    let refused = form(&port, "question=", |head| {
        head.accept_language = Some("zh-CN,zh;q=0.9".into())
    });
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("缺少必需的参数")
            && refused.text().contains("/docs/errors/missing_parameter")
    );
    let foreign = form(&port, "question=hi", |head| {
        head.origin = Some("https://evil.example".into())
    });
    assert_eq!(foreign.status, 403);
    assert!(
        foreign
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
}

// === embeddings ===

#[test]
fn embeddings_are_passed_on_and_kept() {
    let port = with_openai();
    let body =
        json!({"object": "list", "data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 4}});
    script(
        &port,
        Scripted::answer(200, "application/json", [body.to_string().as_str().into()]),
    );
    let question = json!({"model": "embed", "input": "hi"});
    let first = ask_with(&port, post("/v1/embeddings"), &question);
    assert_eq!(
        (first.header("x-cache"), first.outcome.tokens_in),
        (Some("miss"), Some(4))
    );
    let sent: Value = serde_json::from_slice(&port.sent.borrow()[0].body).unwrap();
    assert_eq!(sent["model"], "text-embedding-3-small");
    let second = ask_with(&port, post("/v1/embeddings"), &question);
    assert_eq!(
        (second.header("x-cache"), second.json()),
        (Some("hit"), body)
    );
}

// === what stands on every answer ===

#[test]
fn refusals_carry_what_successes_carry() {
    let port = house_with_pages();
    let origin = |head: Head| Head {
        origin: Some("https://house.example".into()),
        request_id: Some("mine-1".into()),
        ..head
    };
    let asked = question("Where are keys kept?");
    let ok = ask_with(&port, origin(post("/v1/chat/completions")), &asked);
    let refusals = [
        ask_with(&port, origin(post("/v1/nowhere")), &asked),
        ask_with(&port, origin(post("/v1/models")), &asked),
        ask_with(
            &port,
            origin(post("/v1/chat/completions")),
            &json!({"model": "nobody", "messages": [{"role": "user", "content": "x"}]}),
        ),
        ask_with(
            &port,
            Head {
                api_key: Some("sk-1".into()),
                ..origin(post("/v1/chat/completions"))
            },
            &asked,
        ),
    ];
    assert_eq!(refusals.each_ref().map(|r| r.status), [404, 405, 404, 401]);
    for received in refusals.iter().chain([&ok]) {
        for name in [
            "x-request-id",
            "request-id",
            "traceparent",
            "vary",
            "x-content-type-options",
            "referrer-policy",
            "content-security-policy",
            "access-control-allow-origin",
            "access-control-expose-headers",
        ] {
            assert!(
                received.header(name).is_some(),
                "{} lacks {name}",
                received.status
            );
        }
        assert_eq!(received.header("x-request-id"), Some("mine-1"));
        assert_eq!(received.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn pages_of_other_origins_may_call_only_when_listed() {
    let port = FakePort::with(
        |config| config.server.allowed_origins = vec!["https://friend.example".into()],
        &[("OPENAI_API_KEY", KEY)],
    );
    let from = |origin: &str| Head {
        origin: Some(origin.into()),
        ..post("/v1/chat/completions")
    };
    script(&port, completion("Hi"));
    let friend = ask_with(&port, from("https://friend.example"), &question("hi"));
    assert_eq!(
        (friend.status, friend.header("access-control-allow-origin")),
        (200, Some("https://friend.example"))
    );
    for origin in [
        "https://evil.example",
        "null",
        "https://friend.example.evil.example",
        "http://friend.example",
    ] {
        let refused = ask_with(&port, from(origin), &question("hi"));
        assert_eq!(
            (
                refused.status,
                refused.header("access-control-allow-origin")
            ),
            (403, None),
            "{origin}"
        );
        assert_eq!(
            refused.header("vary").map(|v| v.contains("Origin")),
            Some(true)
        );
    }
}
