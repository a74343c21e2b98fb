//! Calls that run in an object: keyed calls, calls that several callers share, and streams that outlive their client.

use gatehouse::app::gate::trusting;
use gatehouse::app::keyring::keyring;
use gatehouse::app::request::Head;
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::{Principal, new_visitor, visitor_cookie};
use gatehouse::domain::llm::Protocol;
use gatehouse::domain::settings::config::CachePolicy;
use serde_json::{Value, json};

use crate::gateway::house::{
    Chat, Messages, Responses, ask, ask_with, call, events, get, house, once, post, question, said,
    secs, streamed, streams, text_of, with,
};
use crate::grammar;
use crate::support::Received;
use crate::support::fake_port::{FakePort, Fault, Op, When};
use crate::support::pipe::Client;
use crate::support::run::{block_on, finish, join_all, settle};
use crate::support::upstream::{Piece, Scripted};

const TEXT: [&str; 4] = ["The ", "sky ", "is ", "blue."];

fn keyed(caller: Protocol, key: &str) -> Head {
    Head {
        idempotency_key: Some(key.into()),
        ..post(caller.endpoint())
    }
}

fn resumable(caller: Protocol) -> Head {
    Head {
        resumable: true,
        ..post(caller.endpoint())
    }
}

fn one() -> FakePort {
    let port = house(&[(Chat, "first")], |_| {});
    port.provider("first", [said(Chat, "first", "The sky is blue.")]);
    port
}

/// A provider whose events come a second apart.
fn slowly(port: &FakePort, protocol: Protocol, text: &[&str]) {
    let pieces = events(protocol, "first", text)
        .into_iter()
        .flat_map(|event| [Piece::Silence(secs(1)), event.into()]);
    port.provider("first", [Scripted::events(pieces)]);
}

// === keys ===

#[test]
fn the_same_key_and_body_are_one_upstream_call_and_the_same_bytes() {
    for provider in Protocol::ALL {
        for caller in Protocol::ALL {
            for stream in [false, true] {
                let port = house(&[(provider, "first")], |_| {});
                let (body, answer) = if stream {
                    (streamed(caller, "hi"), streams(provider, "first", &TEXT))
                } else {
                    (
                        question(caller, "hi"),
                        said(provider, "first", "The sky is blue."),
                    )
                };
                port.provider("first", [answer.after(secs(3))]);
                let calls = (0..3)
                    .map(|_| call(port.clone(), keyed(caller, "k"), body.clone()))
                    .collect();
                let mut received = join_all(calls);
                settle();
                port.pass(secs(3600));
                received.push(ask_with(&port, keyed(caller, "k"), body.clone()));
                // The order of fields is no difference.
                assert_eq!(port.sent.borrow().len(), 1);
                for again in &received {
                    assert_eq!(again.status, 200, "{}", again.text());
                    assert_eq!(again.body, received[0].body);
                }
                let attached = received
                    .iter()
                    .filter(|r| r.header("x-gatehouse-attached").is_some());
                assert_eq!(attached.count(), 3);
                if stream {
                    assert_eq!(
                        grammar::check(caller, &received[0].body, false).text(),
                        "The sky is blue."
                    );
                } else {
                    assert_eq!(text_of(caller, &received[0]), "The sky is blue.");
                }
                // A day later the key is free.
                port.pass(secs(90_000));
                ask_with(&port, keyed(caller, "k"), body);
                assert_eq!(port.sent.borrow().len(), 2);
            }
        }
    }
}

#[test]
fn the_same_key_with_another_body_is_refused_and_another_callers_key_is_another_key() {
    let port = one();
    assert_eq!(
        ask_with(&port, keyed(Chat, "k"), question(Chat, "hi")).status,
        200
    );
    let other = ask_with(&port, keyed(Chat, "k"), question(Chat, "ho"));
    assert_eq!(
        (other.status, other.code().as_deref()),
        (422, Some("idempotency_conflict"))
    );
    assert_eq!(port.sent.borrow().len(), 1);
    let elsewhere = Head {
        address: Some("203.0.113.9".into()),
        ..keyed(Chat, "k")
    };
    assert_eq!(ask_with(&port, elsewhere, question(Chat, "ho")).status, 200);
    assert_eq!(
        ask_with(&port, keyed(Messages, "k"), question(Messages, "ho")).status,
        200
    );
    assert_eq!(port.sent.borrow().len(), 3);
    for bad in ["", "\u{e9}", &"x".repeat(256)] {
        assert_eq!(
            ask_with(&port, keyed(Chat, bad), question(Chat, "hi")).status,
            400,
            "{bad:?}"
        );
    }
}

#[test]
fn a_failure_before_the_answer_begins_frees_the_key() {
    for stream in [false, true] {
        let port = house(&[(Chat, "first")], once);
        port.provider("first", [Scripted::error(500, None)]);
        let body = if stream {
            streamed(Chat, "hi")
        } else {
            question(Chat, "hi")
        };
        let failed = ask_with(&port, keyed(Chat, "k"), body.clone());
        assert_eq!(
            (failed.status, failed.code().as_deref()),
            (502, Some("upstream_error"))
        );
        assert_eq!(failed.header("x-gatehouse-attempts"), Some("1"));
        let answer = if stream {
            streams(Chat, "first", &TEXT)
        } else {
            said(Chat, "first", "The sky is blue.")
        };
        port.provider("first", [answer]);
        assert_eq!(ask_with(&port, keyed(Chat, "k"), body).status, 200);
    }
}

#[test]
fn a_key_whose_object_was_taken_away_in_the_middle_may_be_tried_again() {
    let port = house(&[(Chat, "first")], |_| {});
    slowly(&port, Chat, &TEXT);
    port.client.set(Client {
        leaves_after: Some(2),
        ..Client::default()
    });
    ask_with(&port, keyed(Chat, "k"), streamed(Chat, "hi"));
    port.evict_answers();
    port.client.set(Client::default());
    let again = ask_with(&port, keyed(Chat, "k"), streamed(Chat, "hi"));
    assert_eq!(
        grammar::check(Chat, &again.body, false).text(),
        TEXT.concat()
    );
    assert_eq!(port.sent.borrow().len(), 2);
}

#[test]
fn without_the_object_of_a_keyed_call_nothing_is_sent_or_nothing_is_sent_twice() {
    for when in [When::Before, When::After] {
        let port = one();
        port.fail([Fault {
            op: Some(Op::Stored),
            first: 0,
            count: 1,
            when,
        }]);
        let failed = ask_with(&port, keyed(Chat, "k"), question(Chat, "hi"));
        assert_eq!(
            (failed.status, failed.code().as_deref()),
            (503, Some("storage_unavailable"))
        );
        assert_eq!(
            ask_with(&port, keyed(Chat, "k"), question(Chat, "hi")).status,
            200
        );
        assert_eq!(port.sent.borrow().len(), 1);
    }
}

// === single flight ===

#[test]
fn equal_questions_at_the_same_time_are_one_upstream_call() {
    for stream in [false, true] {
        for caller in Protocol::ALL {
            let port = house(&[(Messages, "first")], |config| {
                config.aliases[0].cache = CachePolicy::Always;
            });
            let (body, answer) = if stream {
                (streamed(caller, "hi"), streams(Messages, "first", &TEXT))
            } else {
                (
                    question(caller, "hi"),
                    said(Messages, "first", "The sky is blue."),
                )
            };
            port.provider("first", [answer.after(secs(2))]);
            let calls = (0..4)
                .map(|_| call(port.clone(), post(caller.endpoint()), body.clone()))
                .collect();
            let received = join_all(calls);
            settle();
            assert_eq!(port.sent.borrow().len(), 1);
            for one in &received {
                assert_eq!(one.status, 200, "{}", one.text());
                assert_eq!(one.body, received[0].body);
            }
            // And later ones are answered by the cache.
            port.pass(secs(10));
            let later = ask(&port, caller, body);
            assert_eq!(later.header("x-cache"), Some("hit"));
            assert_eq!(port.sent.borrow().len(), 1);
        }
    }
}

#[test]
fn a_failed_flight_fails_everyone_in_it_and_the_next_one_is_asked_anew() {
    let port = house(&[(Chat, "first")], |config| {
        config.aliases[0].cache = CachePolicy::Always;
        once(config);
    });
    port.provider("first", [Scripted::error(500, None).after(secs(1))]);
    let calls = (0..2)
        .map(|_| {
            call(
                port.clone(),
                post("/v1/chat/completions"),
                question(Chat, "hi"),
            )
        })
        .collect();
    for received in join_all(calls) {
        assert_eq!(
            (received.status, received.code().as_deref()),
            (502, Some("upstream_error"))
        );
    }
    assert_eq!(port.sent.borrow().len(), 1);
    port.provider("first", [said(Chat, "first", "The sky is blue.")]);
    assert_eq!(ask(&port, Chat, question(Chat, "hi")).status, 200);
}

// === streams that outlive their client ===

fn id_of(received: &Received) -> String {
    received
        .header("x-gatehouse-response-id")
        .unwrap()
        .to_owned()
}

fn reading(caller: Protocol, id: &str) -> String {
    format!("{}/{id}", caller.endpoint())
}

#[test]
fn reading_behind_any_event_joins_to_the_uncut_stream() {
    for provider in Protocol::ALL {
        for caller in Protocol::ALL {
            let port = house(&[(provider, "first")], |_| {});
            port.provider("first", [streams(provider, "first", &TEXT)]);
            let whole = ask_with(&port, resumable(caller), streamed(caller, "hi"));
            assert_eq!(
                grammar::check(caller, &whole.body, false).text(),
                TEXT.concat()
            );
            let id = id_of(&whole);
            // The answer carries our id, wherever it tells one.
            assert!(
                whole.text().contains(&id) && !whole.text().contains("\"id\":\"resp_of-first"),
                "{}",
                whole.text()
            );
            let text = whole.text();
            let numbers: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("id: "))
                .collect();
            let expected: Vec<String> = (0..numbers.len()).map(|n| n.to_string()).collect();
            assert_eq!(numbers, expected);
            for (n, _) in numbers.iter().enumerate() {
                let rest = get(
                    &port,
                    &reading(caller, &id),
                    &format!("stream=true&starting_after={n}"),
                );
                assert_eq!(rest.status, 200);
                let begin = text.find(&format!("id: {}\n", n + 1)).unwrap_or(text.len());
                assert_eq!(rest.text(), &text[begin..], "behind {n}");
            }
            let all = get(&port, &reading(caller, &id), "stream=true");
            assert_eq!(all.body, whole.body);
            // A browser's event source asks with a header.
            let head = Head {
                method: "GET".into(),
                query: "stream=true".into(),
                last_event_id: Some("1".into()),
                ..post(&reading(caller, &id))
            };
            let rest = ask_with(&port, head, json!({}));
            assert!(rest.text().starts_with("id: 2\n"), "{}", rest.text());
            assert_eq!(port.sent.borrow().len(), 1);
        }
    }
}

#[test]
fn a_client_that_left_reads_on_where_it_was_and_one_object_tells_where_the_answer_stands() {
    for provider in Protocol::ALL {
        for caller in Protocol::ALL {
            let port = house(&[(provider, "first")], |_| {});
            slowly(&port, provider, &TEXT);
            port.client.set(Client {
                leaves_after: Some(3),
                ..Client::default()
            });
            let left = ask_with(&port, resumable(caller), streamed(caller, "hi"));
            port.client.set(Client::default());
            let id = id_of(&left);
            let standing = get(&port, &reading(caller, &id), "");
            assert_eq!(standing.status, 200, "{}", standing.text());
            match caller {
                Responses => assert_eq!(standing.json()["status"], "in_progress"),
                _ => assert_eq!(standing.json()["gatehouse"]["status"], "running"),
            }
            let seen = left.text();
            let last: u64 = seen
                .lines()
                .filter_map(|l| l.strip_prefix("id: "))
                .next_back()
                .unwrap()
                .parse()
                .unwrap();
            port.pass(secs(2));
            let rest = get(
                &port,
                &reading(caller, &id),
                &format!("stream=true&starting_after={last}"),
            );
            let joined = [seen, rest.text()].concat();
            assert_eq!(
                grammar::check(caller, joined.as_bytes(), false).text(),
                TEXT.concat(),
                "{provider:?} {caller:?}"
            );
            let standing = get(&port, &reading(caller, &id), "");
            assert_eq!(text_of(caller, &standing), TEXT.concat());
            assert!(standing.json().get("gatehouse").is_none());
            if caller == Responses {
                assert_eq!(standing.json()["status"], "completed");
                assert_eq!(standing.json()["id"], id.as_str());
            }
            assert_eq!(port.sent.borrow().len(), 1);
            assert!(!port.sent.borrow()[0].aborted());
        }
    }
}

#[test]
fn an_answer_that_nobody_reads_is_stopped_after_its_grace_period() {
    let port = house(&[(Chat, "first")], |config| {
        config.streams.grace_seconds = 5
    });
    slowly(&port, Chat, &["The "; 100]);
    port.client.set(Client {
        leaves_after: Some(1),
        ..Client::default()
    });
    let left = ask_with(&port, resumable(Chat), streamed(Chat, "hi"));
    let began = port.clock().now();
    finish();
    assert!(port.sent.borrow()[0].aborted());
    assert!(port.clock().now().since(began) <= secs(6));
    let standing = get(&port, &reading(Chat, &id_of(&left)), "");
    assert_eq!(standing.json()["gatehouse"]["status"], "cancelled");
}

#[test]
fn a_cancelled_answer_stops_its_upstream_and_tells_so() {
    for caller in Protocol::ALL {
        let port = house(&[(Messages, "first")], |_| {});
        slowly(&port, Messages, &["The "; 100]);
        port.client.set(Client {
            leaves_after: Some(2),
            ..Client::default()
        });
        let left = ask_with(&port, resumable(caller), streamed(caller, "hi"));
        port.client.set(Client::default());
        let id = id_of(&left);
        let cancel = post(&format!("{}/cancel", reading(caller, &id)));
        let cancelled = ask_with(&port, cancel, json!({}));
        assert_eq!(cancelled.status, 200, "{}", cancelled.text());
        match caller {
            Responses => assert_eq!(cancelled.json()["status"], "cancelled"),
            _ => assert_eq!(cancelled.json()["gatehouse"]["status"], "cancelled"),
        }
        assert!(port.sent.borrow()[0].aborted());
        let text = get(&port, &reading(caller, &id), "stream=true");
        assert_eq!(
            text.code().as_deref(),
            Some("answer_cancelled"),
            "{}",
            text.text()
        );
        let line = port
            .logged
            .borrow()
            .iter()
            .find(|line| line["method"] == "CALL")
            .cloned()
            .unwrap();
        assert_eq!(line["attempts"], 1);
    }
}

#[test]
fn a_deleted_or_expired_answer_is_gone_and_leaves_no_row() {
    let port = house(&[(Chat, "first")], |_| {});
    port.provider("first", [streams(Chat, "first", &TEXT)]);
    let made = ask_with(&port, resumable(Chat), streamed(Chat, "hi"));
    let path = reading(Chat, &id_of(&made));
    let delete = Head {
        method: "DELETE".into(),
        ..post(&path)
    };
    assert_eq!(ask_with(&port, delete, json!({})).json()["deleted"], true);
    assert_eq!(get(&port, &path, "").status, 404);
    assert_eq!(port.stored_answers(), 0);
    let made = ask_with(&port, resumable(Chat), streamed(Chat, "hi"));
    let path = reading(Chat, &id_of(&made));
    assert_eq!(get(&port, &path, "").status, 200);
    port.pass(Millis(3_600_000 + 1));
    assert_eq!(get(&port, &path, "").status, 404);
    assert_eq!(port.stored_answers(), 0);
}

#[test]
fn an_answer_that_is_read_after_its_object_was_taken_away_is_whole_or_said_to_be_lost() {
    let port = house(&[(Chat, "first")], |_| {});
    port.provider("first", [streams(Chat, "first", &TEXT)]);
    let made = ask_with(&port, resumable(Chat), streamed(Chat, "hi"));
    port.evict_answers();
    let again = get(&port, &reading(Chat, &id_of(&made)), "stream=true");
    assert_eq!(again.body, made.body);
    slowly(&port, Chat, &TEXT);
    port.client.set(Client {
        leaves_after: Some(2),
        ..Client::default()
    });
    let left = ask_with(&port, resumable(Chat), streamed(Chat, "hi"));
    port.client.set(Client::default());
    port.evict_answers();
    let standing = get(&port, &reading(Chat, &id_of(&left)), "");
    assert_eq!(
        standing.json()["gatehouse"]["status"],
        "lost",
        "{}",
        standing.text()
    );
}

#[test]
fn a_stored_response_is_there_to_be_read_with_its_input_and_runs_in_the_background_when_asked() {
    for provider in Protocol::ALL {
        let port = house(&[(provider, "first")], |config| {
            config.aliases[0].on_unsupported =
                gatehouse::domain::settings::config::OnUnsupported::Drop;
        });
        port.provider(
            "first",
            [said(provider, "first", "The sky is blue.").after(secs(2))],
        );
        let body = with(question(Responses, "hi"), json!({"store": true}));
        let made = ask(&port, Responses, body.clone());
        assert_eq!(made.status, 200, "{}", made.text());
        let id = made.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(id, id_of(&made));
        let read = get(&port, &reading(Responses, &id), "");
        assert_eq!(read.json()["output"], made.json()["output"]);
        let input = get(
            &port,
            &format!("{}/input_items", reading(Responses, &id)),
            "",
        );
        assert_eq!(input.status, 200);
        assert!(input.text().contains("hi"), "{}", input.text());
        // In the background.
        let behind = ask(&port, Responses, with(body, json!({"background": true})));
        assert_eq!(behind.status, 200, "{provider:?}: {}", behind.text());
        assert!(
            matches!(
                behind.json()["status"].as_str(),
                Some("in_progress" | "queued")
            ),
            "{}",
            behind.text()
        );
        let id = behind.json()["id"].as_str().unwrap().to_owned();
        finish();
        let read = get(&port, &reading(Responses, &id), "");
        assert_eq!(
            (&read.json()["status"], text_of(Responses, &read).as_str()),
            (&json!("completed"), "The sky is blue.")
        );
    }
}

#[test]
fn a_stream_that_breaks_in_its_object_is_the_same_error_for_everyone_who_reads_it() {
    for caller in Protocol::ALL {
        let port = house(&[(Messages, "first")], |_| {});
        let events = events(Messages, "first", &TEXT);
        let pieces = events[..4].iter().cloned().map(Piece::from);
        port.provider(
            "first",
            [Scripted::events(
                pieces.chain([Piece::Broken("reset".into())]),
            )],
        );
        let first = ask_with(&port, resumable(caller), streamed(caller, "hi"));
        assert_eq!(
            first.code().as_deref(),
            Some("upstream_disconnected"),
            "{}",
            first.text()
        );
        let again = get(&port, &reading(caller, &id_of(&first)), "stream=true");
        assert_eq!(again.body, first.body);
        let numbers = first.text().matches("id: ").count();
        let frames = grammar::frames(&first.body);
        assert_eq!(numbers, frames.len(), "the error is numbered too");
        let standing: Value = get(&port, &reading(caller, &id_of(&first)), "").json();
        match caller {
            Responses => assert_eq!(standing["status"], "failed"),
            _ => assert_eq!(standing["gatehouse"]["status"], "failed"),
        }
    }
}

#[test]
fn several_clients_read_one_answer_each_at_its_own_pace() {
    let port = house(&[(Chat, "first")], |_| {});
    slowly(&port, Chat, &TEXT);
    let first = call(port.clone(), keyed(Chat, "k"), streamed(Chat, "hi"));
    let slow = {
        let port = port.clone();
        async move {
            port.client.set(Client {
                pause: secs(3),
                ..Client::default()
            });
            let head = keyed(Chat, "k");
            call(port, head, streamed(Chat, "hi")).await
        }
    };
    let (first, slow) = block_on(crate::support::run::both(first, slow));
    assert_eq!(first.body, slow.body);
    assert_eq!(
        grammar::check(Chat, &first.body, false).text(),
        TEXT.concat()
    );
    assert_eq!(port.sent.borrow().len(), 1);
}

// === wishes, keys and ids that hold ===

#[test]
fn a_shared_call_carries_nobodys_hurry_to_others() {
    let port = house(&[(Chat, "first")], |config| {
        once(config);
        config.aliases[0].cache = CachePolicy::Always;
    });
    port.provider_that("first", |_| {
        said(Chat, "first", "The sky is blue.").after(secs(3))
    });
    let hurried = Head {
        total_ms: Some(1000),
        ..post(Chat.endpoint())
    };
    let calls = vec![
        call(port.clone(), hurried, question(Chat, "hi")),
        call(port.clone(), post(Chat.endpoint()), question(Chat, "hi")),
        call(port.clone(), post(Chat.endpoint()), question(Chat, "hi")),
    ];
    let statuses: Vec<u16> = join_all(calls).iter().map(|r| r.status).collect();
    settle();
    assert_eq!(statuses, [504, 200, 200]);
    assert_eq!(port.sent.borrow().len(), 2, "equal wishes share a call");
}

#[test]
fn a_trailer_is_for_those_who_asked_for_it() {
    let port = house(&[(Chat, "first")], |config| {
        config.aliases[0].cache = CachePolicy::Always;
    });
    port.provider_that("first", |_| streams(Chat, "first", &TEXT).after(secs(1)));
    let with_trailer = Head {
        trailer: true,
        ..post(Chat.endpoint())
    };
    let calls = vec![
        call(port.clone(), with_trailer, streamed(Chat, "hi")),
        call(port.clone(), post(Chat.endpoint()), streamed(Chat, "hi")),
    ];
    let told: Vec<bool> = join_all(calls)
        .iter()
        .map(|r| r.text().contains(": gatehouse"))
        .collect();
    settle();
    assert_eq!(told, [true, false]);
}

#[test]
fn a_key_holds_although_the_answer_is_in_the_cache() {
    let port = house(&[(Chat, "first")], |config| {
        config.aliases[0].cache = CachePolicy::Always;
    });
    port.provider("first", [said(Chat, "first", "The sky is blue.")]);
    assert_eq!(ask(&port, Chat, question(Chat, "hi")).status, 200);
    let one = ask_with(&port, keyed(Chat, "k"), question(Chat, "hi"));
    let again = ask_with(&port, keyed(Chat, "k"), question(Chat, "hi"));
    assert_eq!(one.header("x-cache"), Some("hit"));
    assert_eq!(one.body, again.body);
    assert_eq!(again.header("x-gatehouse-attached"), Some("true"));
    let other = ask_with(&port, keyed(Chat, "k"), question(Chat, "ho"));
    assert_eq!(other.status, 422);
    let bad = ask_with(&port, keyed(Chat, &"k".repeat(300)), question(Chat, "hi"));
    assert_eq!(bad.status, 400);
    assert_eq!(port.sent.borrow().len(), 1);
}

#[test]
fn what_one_prefers_is_no_answer_for_who_prefers_something_else() {
    let port = house(&[(Chat, "first")], |config| {
        config.aliases[0].cache = CachePolicy::Always;
    });
    port.provider_that("first", |_| said(Chat, "first", "The sky is blue."));
    let prefers = |word: &str| Head {
        prefer: Some(word.into()),
        ..post(Chat.endpoint())
    };
    for (word, kept) in [("cost", "miss"), ("quality", "miss"), ("cost", "hit")] {
        let received = ask_with(&port, prefers(word), question(Chat, "hi"));
        assert_eq!(received.header("x-cache"), Some(kept), "{word}");
    }
}

#[test]
fn a_response_from_the_cache_can_be_read_and_continued() {
    let port = house(&[(Chat, "first")], |config| {
        config.aliases[0].cache = CachePolicy::Always;
    });
    port.provider_that("first", |_| said(Chat, "first", "The sky is blue."));
    for stream in [false, true] {
        let body = with(
            question(Responses, "hi"),
            json!({"store": true, "stream": stream}),
        );
        assert_eq!(ask(&port, Responses, body.clone()).status, 200);
        let kept = ask(&port, Responses, body);
        let id = kept.header("x-gatehouse-response-id").unwrap().to_owned();
        assert_eq!(kept.header("x-cache"), Some("hit"), "{stream}");
        let read = get(&port, &format!("/v1/responses/{id}"), "");
        assert_eq!(text_of(Responses, &read), "The sky is blue.");
        assert_eq!(read.json()["id"], json!(id));
        let next = with(
            question(Responses, "why?"),
            json!({"previous_response_id": id}),
        );
        assert_eq!(ask(&port, Responses, next).status, 200);
    }
}

#[test]
fn an_id_is_one_of_its_own_protocol() {
    let port = one();
    let received = ask_with(&port, resumable(Chat), streamed(Chat, "hi"));
    // The provider of this test answers whole; what matters is the id.
    let stored = ask(
        &port,
        Responses,
        with(question(Responses, "hi"), json!({"store": true})),
    );
    let id = stored.header("x-gatehouse-response-id").unwrap();
    let bare = id.strip_prefix("resp_").unwrap();
    assert_eq!(get(&port, &format!("/v1/responses/{id}"), "").status, 200);
    for foreign in [
        format!("/v1/messages/msg_{bare}"),
        format!("/v1/chat/completions/chatcmpl-{bare}"),
    ] {
        assert_eq!(get(&port, &foreign, "").status, 404, "{foreign}");
    }
    drop(received);
}

#[test]
fn reasoning_that_its_provider_did_not_store_is_not_sent_again() {
    let port = house(&[(Responses, "first")], |_| {});
    let answer = json!({
        "id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "first",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "x"},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "Blue.", "annotations": []}]},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    });
    port.provider_that("first", move |_| Scripted::json(200, &answer));
    let first = ask(
        &port,
        Responses,
        with(question(Responses, "hi"), json!({"store": true})),
    );
    let id = first.header("x-gatehouse-response-id").unwrap();
    let next = with(
        question(Responses, "why?"),
        json!({"previous_response_id": id}),
    );
    assert_eq!(ask(&port, Responses, next).status, 200);
    let sent = port.sent_to("first")[1].json();
    let ids: Vec<&Value> = sent["input"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item.get("id"))
        .collect();
    assert_eq!(ids, [&json!("rs_2")], "{sent}");
}

// === whose it is ===

/// A visitor's cookie.
fn cookie(port: &FakePort, number: u8) -> Option<String> {
    let now = port.clock().now();
    let Principal::Visitor { id, .. } = new_visitor(&[number; 16], now) else {
        panic!("no visitor");
    };
    let head = Head {
        own_origin: "https://house.example".into(),
        ..Head::default()
    };
    let ring = block_on(keyring(port)).ok()?;
    let set = trusting(port, &ring, &head, |trust| {
        visitor_cookie(&id, &[number; 16], trust, now, true)
    });
    set?.split(';').next().map(str::to_owned)
}

#[test]
fn an_answer_that_could_not_be_made_is_told_to_its_owner_and_is_unknown_to_everybody_else() {
    let port = house(&[(Chat, "first")], once);
    port.provider("first", [Scripted::error(500, None).after(secs(2))]);
    let (owner, other) = (cookie(&port, 1), cookie(&port, 2));
    let asking = |method: &str, path: &str, cookie: &Option<String>| Head {
        method: method.into(),
        cookie: cookie.clone(),
        ..post(path)
    };
    let body = with(
        question(Responses, "hi"),
        json!({"store": true, "background": true}),
    );
    let made = ask_with(&port, asking("POST", Responses.endpoint(), &owner), body);
    assert_eq!(made.status, 200, "{}", made.text());
    let path = reading(Responses, made.json()["id"].as_str().unwrap());
    // While it runs, and when it has failed.
    for failed in [false, true] {
        if failed {
            finish();
        }
        for cookie in [&other, &None] {
            for (method, path, query) in [
                ("GET", path.clone(), ""),
                ("GET", path.clone(), "stream=true"),
                ("GET", format!("{path}/input_items"), ""),
                ("POST", format!("{path}/cancel"), ""),
                ("DELETE", path.clone(), ""),
            ] {
                let head = Head {
                    query: query.into(),
                    ..asking(method, &path, cookie)
                };
                let refused = ask_with(&port, head, json!({}));
                assert_eq!(
                    (refused.status, refused.code().as_deref()),
                    (404, Some("response_not_found")),
                    "{method} {path}: {}",
                    refused.text()
                );
            }
        }
        let own = ask_with(&port, asking("GET", &path, &owner), json!({}));
        let status = if failed { "failed" } else { "in_progress" };
        assert_eq!(own.json()["status"], status, "{}", own.text());
    }
}

#[test]
fn a_refusal_under_a_key_is_told_to_nobody_else_who_uses_the_same_key() {
    for stream in [false, true] {
        let port = house(&[(Chat, "first")], once);
        let (owner, other) = (cookie(&port, 1), cookie(&port, 2));
        let body = if stream {
            streamed(Chat, "hi")
        } else {
            question(Chat, "hi")
        };
        let answer = if stream {
            streams(Chat, "first", &TEXT)
        } else {
            said(Chat, "first", "The sky is blue.")
        };
        port.provider("first", [Scripted::error(500, None).after(secs(2)), answer]);
        let ask = |cookie: &Option<String>| {
            let head = Head {
                cookie: cookie.clone(),
                ..keyed(Chat, "k")
            };
            call(port.clone(), head, body.clone())
        };
        let mut received = join_all(vec![ask(&owner), ask(&owner), ask(&other)]);
        let others = received.pop().unwrap();
        assert_eq!(others.status, 200, "{}", others.text());
        for own in received {
            assert_eq!(own.code().as_deref(), Some("upstream_error"));
        }
        assert_eq!(port.sent.borrow().len(), 2);
        settle();
    }
}
