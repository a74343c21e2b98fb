//! A scanner outside that answers, is slow, lies or is down.

use gatehouse::app::documents::scanner::ask;
use gatehouse::base::digest::{hex, sha256};
use gatehouse::base::secret::Secret;
use gatehouse::base::time::Millis;
use gatehouse::domain::documents::scan::external::{Answer, External, OnFailure, Send, Subject};
use serde_json::json;

use crate::support::fake_port::FakePort;
use crate::support::run::block_on;
use crate::support::upstream::{Piece, Scripted, Sent};

const CONTENT: &[u8] = b"The quick brown fox";

fn service() -> External {
    External {
        url: Some("https://scan.example/v1/scan".to_owned()),
        ..External::default()
    }
}

/// Asks about the content, and tells what was sent.
fn asked(external: &External, scripted: Scripted) -> (Option<Answer>, Vec<Sent>) {
    let port = FakePort::new();
    port.provider_that("", move |_| scripted.clone());
    let digest = hex(&sha256(CONTENT));
    let subject = Subject {
        sha256: &digest,
        size: CONTENT.len() as u64,
        content_type: "text/plain; charset=utf-8",
    };
    let token = Secret::new("canary-scanner-token".to_owned());
    let answer = block_on(ask(&port, external, Some(&token), subject, Some(CONTENT)));
    let sent = port.sent.borrow().clone();
    (answer, sent)
}

fn clean() -> Scripted {
    Scripted::json(200, &json!({"verdict": "clean"}))
}

#[test]
fn the_service_gets_the_document_and_its_token() {
    let (answer, sent) = asked(&service(), clean());
    assert_eq!(answer, Some(Answer::Clean));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].url, "https://scan.example/v1/scan");
    assert_eq!(
        sent[0].key,
        Some(("authorization", "Bearer canary-scanner-token".to_owned()))
    );
    assert_eq!(
        sent[0].json(),
        json!({
            "sha256": hex(&sha256(CONTENT)), "size": 19, "content_type": "text/plain; charset=utf-8",
            "content": "VGhlIHF1aWNrIGJyb3duIGZveA==",
        })
    );
}

#[test]
fn without_a_service_nobody_is_asked() {
    let (answer, sent) = asked(&External::default(), clean());
    assert_eq!((answer, sent.len()), (None, 0));
}

#[test]
fn only_the_digest_is_sent_where_the_content_shall_not_leave_or_is_too_long() {
    let digest = External {
        send: Send::Digest,
        ..service()
    };
    let short = External {
        max_bytes: 18,
        ..service()
    };
    for external in [digest, short] {
        let (_, sent) = asked(&external, clean());
        assert_eq!(sent[0].json()["content"], serde_json::Value::Null);
        assert_eq!(sent[0].json()["size"], 19);
    }
}

#[test]
fn what_is_found_is_told() {
    let found = json!({"verdict": "infected", "name": "Win.Worm"});
    let (answer, _) = asked(&service(), Scripted::json(200, &found));
    let name = "Win.Worm".to_owned();
    assert_eq!(answer, Some(Answer::Infected { name }));
}

#[test]
fn whatever_fails_holds_the_document_back_or_lets_it_go_as_it_is_set() {
    let verdict = |value| Scripted::json(200, &json!({ "verdict": value }));
    let long = Piece::Bytes(vec![b' '; 20_000]);
    for (scripted, why) in [
        (Scripted::refused(), "connection refused"),
        (Scripted::error(500, None), "status 500"),
        (Scripted::error(302, None), "status 302"),
        (verdict("fine"), "no valid verdict"),
        (verdict("unknown"), "does not know"),
        (verdict("error"), "failed"),
        (
            Scripted::answer(200, "text/html", ["<html>".into()]),
            "not a JSON object",
        ),
        (
            Scripted::answer(200, "application/json", [long]),
            "TooLarge",
        ),
        (
            Scripted::answer(
                200,
                "application/json",
                ["{".into(), Piece::Broken("reset".into())],
            ),
            "reset",
        ),
        (
            clean().after(Millis::from_secs(31)),
            "no answer within 30 s",
        ),
        (
            Scripted::answer(
                200,
                "application/json",
                [Piece::Silence(Millis::from_secs(40)), "{}".into()],
            ),
            "no answer within 30 s",
        ),
    ] {
        for (on_failure, held_back) in [(OnFailure::Close, true), (OnFailure::Open, false)] {
            let external = External {
                on_failure,
                ..service()
            };
            match asked(&external, scripted.clone()).0 {
                Some(Answer::Unknown { why: told, retry }) => {
                    assert!(told.contains(why), "{told}");
                    assert!(!told.contains("canary"), "{told}");
                    assert_eq!(retry, held_back, "{why}");
                }
                other => panic!("{why}: {other:?}"),
            }
        }
    }
    let (answer, _) = asked(&service(), clean().after(Millis::from_secs(29)));
    assert_eq!(answer, Some(Answer::Clean), "just in time");
}
