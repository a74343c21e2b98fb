//! Uses of API keys that belong on record, and refusals in a key's name: from the request to the audit log.

use crate::support::fake_port::{FakePort, Fault, Op, When};
use crate::support::operator::{ADMIN_TOKEN, Operator, owner_of};
use crate::support::run::block_on;
use crate::support::{FakeBody, Received};
use ed25519_dalek::{Signer, SigningKey};
use gatehouse::app::port::Class;
use gatehouse::app::request::Head;
use gatehouse::app::schedule;
use gatehouse::app::serve::serve;
use gatehouse::base::digest::{base64url, sha256};
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::api_key::{self, Env, Kind};
use serde_json::{Value, json};

const HOST: &str = "https://house.example";
/// Where programs are.
const ADDRESS: &str = "192.0.2.7";
const DAY: u64 = 86_400;

fn house() -> (FakePort, Operator) {
    let port = FakePort::with(|_| {}, &[("ADMIN_TOKEN", ADMIN_TOKEN)]);
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    (port, owner)
}

/// An answer of the operators' API that went well.
fn done(port: &FakePort, owner: &Operator, method: &str, path: &str, body: &Value) -> Value {
    let told = owner.call(port, method, path, body);
    assert!((200..300).contains(&told.status), "{}", told.text());
    told.json()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// (id, the whole key)
fn made(port: &FakePort, owner: &Operator, more: Value) -> (String, String) {
    let mut body = json!({"name": "a program", "scopes": {"aliases": "all"}});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let made = done(port, owner, "POST", "/keys", &body);
    (text(&made, "id"), text(&made, "key"))
}

fn rotated(port: &FakePort, owner: &Operator, id: &str, seconds: u64) -> String {
    owner.confirm(port);
    let path = format!("/keys/{id}/rotate");
    let body = json!({"overlap_seconds": seconds});
    text(&done(port, owner, "POST", &path, &body), "key")
}

fn head(port: &FakePort, key: &str) -> Head {
    Head {
        method: "GET".into(),
        path: "/v1/models".into(),
        own_origin: HOST.into(),
        address: Some(ADDRESS.into()),
        authorization: Some(["Bearer ", key].concat()),
        request_id: Some("req-of-the-program".into()),
        at: port.clock().now(),
        ..Head::default()
    }
}

/// One request of a program, of an isolate that remembers nothing.
fn uses(port: &FakePort, key: &str) -> u16 {
    port.other_isolate();
    Received::from(block_on(serve(
        port,
        head(port, key),
        FakeBody::whole(b"", 1),
    )))
    .status
}

/// Entries about a key, newest first, without those of operators.
fn entries(port: &FakePort, owner: &Operator, id: &str) -> Vec<Value> {
    let path = ["/audit?target=key&subject=", id].concat();
    let told = done(port, owner, "GET", &path, &Value::Null);
    let all = told["entries"].as_array().unwrap().clone();
    all.into_iter()
        .filter(|entry| entry["actor"] != "operator")
        .collect()
}

/// Action, actor, outcome and reason of each.
fn short(entries: &[Value]) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |entry: &Value| {
        let parts = [
            &entry["action"],
            &entry["actor"],
            &entry["outcome"],
            &entry["what"]["reason"],
        ];
        parts.map(word).join(" ")
    };
    entries.iter().map(line).collect()
}

fn log_is_down(port: &FakePort) {
    port.fail([Fault {
        op: Some(Op::Object(Class::AuditLog)),
        first: 0,
        count: usize::MAX,
        when: When::Before,
    }]);
}

#[test]
fn the_first_use_of_a_key_and_of_its_new_secret_are_on_record() {
    let (port, owner) = house();
    let (id, key) = made(&port, &owner, json!({}));
    for _ in 0..3 {
        assert_eq!(uses(&port, &key), 200);
    }
    let told = entries(&port, &owner, &id);
    assert_eq!(short(&told), ["key.first_use key ok -"]);
    let entry = &told[0];
    assert_eq!(entry["who"]["subject"], *id);
    assert_eq!(entry["what"]["subject"], *id);
    assert_eq!(entry["what"]["credential"], "secret");
    assert_eq!(entry["request"], "req-of-the-program");
    assert_eq!(entry["target"], "key");
    // The address is there in the form that others have, and nothing of the secret.
    let from = text(&entry["who"], "from");
    assert!(
        !from.is_empty() && !entry.to_string().contains(ADDRESS),
        "{entry}"
    );
    assert!(!entry.to_string().contains(&key[24..]), "{entry}");
    assert!(!entry.to_string().contains("last_used"), "{entry}");

    let new = rotated(&port, &owner, &id, 3600);
    assert_eq!(uses(&port, &key), 200);
    assert_eq!(entries(&port, &owner, &id).len(), 1, "the old one was seen");
    assert_eq!(uses(&port, &new), 200);
    let told = entries(&port, &owner, &id);
    assert_eq!(short(&told), ["key.first_use key ok -"; 2]);
    assert!(
        !text(&told[0]["what"], "last_used").is_empty(),
        "{}",
        told[0]
    );
}

#[test]
fn a_use_after_thirty_days_is_on_record() {
    let (port, mut owner) = house();
    let (id, key) = made(&port, &owner, json!({}));
    assert_eq!(uses(&port, &key), 200);
    port.pass(Millis::from_secs(29 * DAY));
    assert_eq!(uses(&port, &key), 200);
    let last = port.clock().now().rfc3339();
    port.pass(Millis::from_secs(30 * DAY));
    assert_eq!(uses(&port, &key), 200);
    assert_eq!(uses(&port, &key), 200);
    owner.sign_in(&port);
    let told = entries(&port, &owner, &id);
    assert_eq!(
        short(&told),
        ["key.dormant_use key ok -", "key.first_use key ok -"]
    );
    assert_eq!(told[0]["what"]["last_used"], *last);
}

#[test]
fn what_is_refused_in_a_keys_name_is_on_record_once_an_hour() {
    let (port, owner) = house();
    let (id, key) = made(&port, &owner, json!({}));
    let wrong = api_key::make_for(Kind::Api, Env::Test, &id, &[7; 32]);
    for _ in 0..4 {
        assert_eq!(uses(&port, wrong.reveal()), 401);
    }
    assert_eq!(
        short(&entries(&port, &owner, &id)),
        ["auth.refuse unknown invalid_credentials wrong_secret"]
    );
    let new = rotated(&port, &owner, &id, 60);
    port.pass(Millis::from_secs(60));
    assert_eq!(uses(&port, &key), 401);
    owner.confirm(&port);
    done(
        &port,
        &owner,
        "DELETE",
        &["/keys/", &id].concat(),
        &Value::Null,
    );
    assert_eq!(uses(&port, &new), 401);
    assert_eq!(
        short(&entries(&port, &owner, &id)),
        [
            "auth.refuse key invalid_credentials revoked",
            "auth.refuse key invalid_credentials old_secret",
            "auth.refuse unknown invalid_credentials wrong_secret",
        ]
    );
    port.pass(Millis::from_secs(3600));
    assert_eq!(uses(&port, wrong.reveal()), 401);
    let told = owner_again(&port, owner, &id);
    assert_eq!(told[0]["what"]["left_out"], "3", "{}", told[0]);
    assert_eq!(told.len(), 4);
}

/// As [`entries`], for a session that is over meanwhile.
fn owner_again(port: &FakePort, mut owner: Operator, id: &str) -> Vec<Value> {
    owner.sign_in(port);
    entries(port, &owner, id)
}

#[test]
fn an_expired_key_is_on_record_as_such() {
    let (port, owner) = house();
    let end = port.clock().now().plus(Millis::from_secs(600)).rfc3339();
    let (id, key) = made(&port, &owner, json!({"expires_at": end}));
    port.pass(Millis::from_secs(600));
    assert_eq!(uses(&port, &key), 401);
    assert_eq!(
        short(&entries(&port, &owner, &id)),
        ["auth.refuse key invalid_credentials expired"]
    );
}

#[test]
fn an_id_that_is_nowhere_writes_nothing_and_the_watch_on_networks_tells_of_it() {
    let (port, owner) = house();
    let before = port.rows(Class::Ledger);
    let (signer, mut statuses) = (SigningKey::from_bytes(&[9; 32]), Vec::new());
    for n in 0..11_u8 {
        let key = api_key::make(Kind::Api, Env::Test, &[n; api_key::KEY_RANDOM_BYTES]);
        statuses.push(uses(&port, key.text.reveal()));
        statuses.push(signs(&port, &signer, &key.id, n, true));
    }
    assert_eq!(port.rows(Class::Ledger), before);
    assert!(
        statuses.iter().take(20).all(|status| *status == 401),
        "{statuses:?}"
    );
    assert_eq!(statuses.last(), Some(&429));
    let all = done(
        &port,
        &owner,
        "GET",
        "/audit?action=auth.refuse",
        &Value::Null,
    );
    assert_eq!(all["entries"], json!([]));
    let alerts = done(&port, &owner, "GET", "/alerts", &Value::Null);
    assert_eq!(alerts["alerts"][0]["kind"], "auth-failures", "{alerts}");
    let holds = done(
        &port,
        &owner,
        "GET",
        "/audit?action=abuse.hold",
        &Value::Null,
    );
    assert_eq!(holds["entries"].as_array().unwrap().len(), 1, "{holds}");
}

// === signed requests ===

/// A signed request; one that is not `fine` has another body than was signed.
fn signs(port: &FakePort, signer: &SigningKey, id: &str, nonce: u8, fine: bool) -> u16 {
    let standard = |bytes: &[u8]| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let body = b"{}";
    let digest = format!("sha-256=:{}:", standard(&sha256(body)));
    let now = port.clock().now().0 / 1000;
    let covered = r#"("@method" "@authority" "@path" "@query" "content-digest")"#;
    let nonce = base64url(&[nonce; 16]);
    let params = format!(
        r#"{covered};created={now};expires={};nonce="{nonce}";keyid="{id}/k1";tag="gatehouse""#,
        now + 60
    );
    let base = [
        "\"@method\": POST",
        "\"@authority\": house.example",
        "\"@path\": /v1/embeddings",
        "\"@query\": ?",
        &format!("\"content-digest\": {digest}"),
        &format!("\"@signature-params\": {params}"),
    ]
    .join("\n");
    let signature = signer.sign(base.as_bytes()).to_bytes();
    let sent: &[u8] = if fine { body } else { b"[]" };
    let head = Head {
        method: "POST".into(),
        path: "/v1/embeddings".into(),
        authorization: None,
        content_digest: Some(digest),
        content_type: Some("application/json".into()),
        content_length: Some(2),
        signature_input: Some(format!("sig={params}")),
        signature: Some(format!("sig=:{}:", standard(&signature))),
        ..head(port, "")
    };
    port.other_isolate();
    Received::from(block_on(serve(port, head, FakeBody::whole(sent, 8)))).status
}

#[test]
fn signatures_that_are_refused_are_on_record_and_so_is_the_first_that_is_good() {
    let (port, owner) = house();
    let signer = SigningKey::from_bytes(&[3; 32]);
    let key = base64url(signer.verifying_key().as_bytes());
    let public = json!([{"kid": "k1", "alg": "ed25519", "key": key}]);
    let (id, _) = made(&port, &owner, json!({"public_keys": public}));
    // The request itself says too little; what counts is who sent it.
    assert_eq!(signs(&port, &signer, &id, 1, true), 400);
    assert_eq!(signs(&port, &signer, &id, 1, true), 409);
    assert_eq!(signs(&port, &signer, &id, 2, false), 401, "another body");
    let other = SigningKey::from_bytes(&[4; 32]);
    assert_eq!(signs(&port, &other, &id, 3, true), 401, "another key");
    let told = entries(&port, &owner, &id);
    assert_eq!(
        short(&told),
        [
            "auth.refuse unknown signature_invalid signature",
            "auth.refuse key replayed_request replayed",
            "key.first_use key ok -",
        ]
    );
    assert_eq!(told[2]["what"]["credential"], "signature");
    assert_eq!(told[2]["what"]["kid"], "k1");
    port.pass(Millis::from_secs(3600));
    assert_eq!(signs(&port, &other, &id, 4, true), 401);
    let told = owner_again(&port, owner, &id);
    assert_eq!(told[0]["what"]["left_out"], "1", "{}", told[0]);
}

// === what fails ===

#[test]
fn nothing_is_called_for_the_record_before_the_answer() {
    let (port, owner) = house();
    let (_, key) = made(&port, &owner, json!({}));
    let wait = |port: &FakePort| {
        port.other_isolate();
        port.heal();
        let reply = block_on(serve(port, head(port, &key), FakeBody::whole(b"", 1)));
        let calls = port.calls();
        let after = reply.after.is_some();
        assert_eq!(Received::from(reply).status, 200);
        (calls, after)
    };
    let (first, is_noted) = wait(&port);
    let (second, is_noted_again) = wait(&port);
    assert!(is_noted && !is_noted_again);
    assert_eq!(first, second);
}

#[test]
fn a_use_is_on_record_though_the_log_was_down_and_the_key_is_used_no_more() {
    let (port, owner) = house();
    let (id, key) = made(&port, &owner, json!({}));
    // The list's mark of the key being made is gone.
    port.pass(Millis::from_secs(601));
    assert_eq!(block_on(schedule::run(&port)), [""; 0]);
    log_is_down(&port);
    assert_eq!(uses(&port, &key), 200);
    assert!(!block_on(schedule::run(&port)).is_empty());
    port.heal();
    assert_eq!(entries(&port, &owner, &id).len(), 0);
    assert_eq!(block_on(schedule::run(&port)), [""; 0]);
    assert_eq!(
        short(&entries(&port, &owner, &id)),
        ["key.first_use key ok -"]
    );
}

#[test]
fn a_use_whose_answer_was_not_seen_to_its_end_is_brought_by_the_next_one() {
    let (port, owner) = house();
    let (id, key) = made(&port, &owner, json!({}));
    // The isolate is gone before what is left of the request was done.
    drop(block_on(serve(
        &port,
        head(&port, &key),
        FakeBody::whole(b"", 1),
    )));
    assert_eq!(entries(&port, &owner, &id).len(), 0);
    port.pass(Millis::from_secs(61));
    assert_eq!(uses(&port, &key), 200);
    assert_eq!(
        short(&entries(&port, &owner, &id)),
        ["key.first_use key ok -"]
    );
}

#[test]
fn whatever_call_fails_a_first_use_is_on_record_once() {
    for when in [When::Before, When::After] {
        for first in 0.. {
            let (port, owner) = house();
            let (id, key) = made(&port, &owner, json!({}));
            port.fail([Fault {
                op: None,
                first,
                count: 1,
                when,
            }]);
            uses(&port, &key);
            let calls = port.calls().len();
            port.heal();
            port.pass(Millis::from_secs(61));
            assert_eq!(uses(&port, &key), 200);
            assert_eq!(
                short(&entries(&port, &owner, &id)),
                ["key.first_use key ok -"],
                "{when:?} {first}"
            );
            if first >= calls {
                break;
            }
        }
    }
}
