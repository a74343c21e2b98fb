//! What operators go through: lost replies, repeated steps, codes that are good once.

use crate::support::fake_port::{FakePort, Fault, Op, When};
use crate::support::operator::{ADMIN_TOKEN, Operator, owner_of, request, unbase32};
use crate::support::run::block_on;
use gatehouse::app::port::Class;
use gatehouse::app::schedule;
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::roles::Role;
use serde_json::{Value, json};

const HOST: &str = "https://house.example";

fn house() -> FakePort {
    FakePort::with(|_| {}, &[("ADMIN_TOKEN", ADMIN_TOKEN)])
}

/// Takes both steps of becoming an operator, the second one twice.
fn twice(port: &FakePort, path: &str, proof: &Value) -> (Value, [Value; 2]) {
    let mut first = proof.clone();
    first["name"] = "Ada".into();
    let begun = request(port, HOST, None, "POST", path, &first);
    assert_eq!(begun.status, 200, "{}", begun.text());
    let begun = begun.json();
    let seed = unbase32(begun["totp_secret"].as_str().unwrap());
    let mut second = proof.clone();
    second["enrolment"] = begun["enrolment"].clone();
    let answers = [(); 2].map(|()| {
        second["code"] = Operator::code(port, &seed).into();
        let joined = request(port, HOST, None, "POST", path, &second);
        assert_eq!(joined.status, 201, "{}", joined.text());
        joined.json()
    });
    (begun, answers)
}

fn signs_in_with(port: &FakePort, begun: &Value, joined: &Value) {
    for code in joined["recovery_codes"].as_array().unwrap() {
        let body = json!({"key": begun["operator_key"], "recovery_code": code});
        let entered = request(port, HOST, None, "POST", "/sign-in", &body);
        assert_eq!(entered.status, 200, "{}", entered.text());
        let again = request(port, HOST, None, "POST", "/sign-in", &body);
        assert_eq!(again.status, 401, "{}", again.text());
        port.pass(gatehouse::base::time::Millis::from_secs(901));
    }
}

#[test]
fn whoever_repeats_the_claim_whose_answer_was_lost_gets_recovery_codes_that_work() {
    let port = house();
    let (begun, [first, second]) = twice(&port, "/claim", &json!({"token": ADMIN_TOKEN}));
    assert_eq!(first, second);
    signs_in_with(&port, &begun, &second);
}

#[test]
fn whoever_repeats_the_joining_whose_answer_was_lost_gets_recovery_codes_that_work() {
    let port = house();
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    let invited = owner.call(
        &port,
        "POST",
        "/operators",
        &json!({"role": Role::Admin.name()}),
    );
    let invite = json!({"invite": invited.json()["invite"]});
    let (begun, [first, second]) = twice(&port, "/join", &invite);
    assert_eq!(first, second);
    signs_in_with(&port, &begun, &second);
}

#[test]
fn a_claimed_house_tells_nothing_of_its_admin_token() {
    let port = house();
    owner_of(&port, HOST);
    for token in [ADMIN_TOKEN, "another-admin-token"] {
        for body in [
            json!({"token": token, "name": "Eve"}),
            json!({"token": token, "enrolment": "gh1.made-up", "code": "000000"}),
        ] {
            let told = request(&port, HOST, None, "POST", "/claim", &body);
            assert_eq!(told.status, 409, "{}", told.text());
        }
    }
}

#[test]
fn a_repeated_step_is_on_record_once() {
    let port = house();
    let (begun, _) = twice(&port, "/claim", &json!({"token": ADMIN_TOKEN}));
    port.pass(gatehouse::base::time::Millis::from_secs(60));
    let seed = unbase32(begun["totp_secret"].as_str().unwrap());
    let body = json!({"key": begun["operator_key"], "code": Operator::code(&port, &seed)});
    let entered = request(&port, HOST, None, "POST", "/sign-in", &body).json();
    let token = entered["token"].as_str();
    for (action, times) in [("house.claim", 1), ("operator.sign_in", 1)] {
        let path = ["/audit?action=", action].concat();
        let told = request(&port, HOST, token, "GET", &path, &Value::Null).json();
        assert_eq!(told["entries"].as_array().unwrap().len(), times, "{told}");
    }
}

#[test]
fn a_field_that_is_not_known_is_named() {
    let port = house();
    for (path, body) in [
        ("/claim", json!({"token": ADMIN_TOKEN, "nmae": "Ada"})),
        ("/sign-in", json!({"key": "gho_x", "totp": "000000"})),
    ] {
        let told = request(&port, HOST, None, "POST", path, &body);
        assert_eq!(told.status, 400, "{}", told.text());
        let name = body.as_object().unwrap().keys().next_back().unwrap();
        assert_eq!(told.json()["param"], name.as_str(), "{}", told.text());
    }
}

/// Entries of the log, newest first.
fn entries(port: &FakePort, owner: &Operator, query: &str) -> Vec<Value> {
    let told = owner.call(port, "GET", &["/audit?", query].concat(), &Value::Null);
    assert_eq!(told.status, 200, "{}", told.text());
    told.json()["entries"].as_array().unwrap().clone()
}

fn made_key(port: &FakePort, owner: &Operator) -> Value {
    let body = json!({"name": "Grace's laptop", "scopes": {"aliases": "all"}});
    let made = owner.call(port, "POST", "/keys", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

#[test]
fn a_rotation_that_is_sent_twice_ends_no_secret_before_its_time() {
    let port = house();
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    let id = made_key(&port, &owner)["id"].as_str().unwrap().to_owned();
    let path = format!("/keys/{id}/rotate");
    let rotate =
        |seconds: u64| owner.call(&port, "POST", &path, &json!({"overlap_seconds": seconds}));
    let first = rotate(3600).json();
    let second = rotate(60).json();
    assert_eq!(first["overlap_until"], second["overlap_until"], "{second}");
    assert_eq!(rotate(60).status, 200);
    let more = rotate(60);
    assert_eq!(more.status, 409, "{}", more.text());
    assert!(more.text().contains("overlap_seconds 0"), "{}", more.text());
    let last = rotate(0);
    assert_eq!(last.json()["overlap_until"], Value::Null, "{}", last.text());
}

#[test]
fn an_event_that_waits_in_the_object_of_a_key_is_brought_by_the_cron() {
    let port = house();
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    let id = made_key(&port, &owner)["id"].as_str().unwrap().to_owned();
    port.fail([Fault {
        op: Some(Op::Object(Class::AuditLog)),
        first: 0,
        count: usize::MAX,
        when: When::Before,
    }]);
    let revoked = owner.call(&port, "DELETE", &["/keys/", &id].concat(), &Value::Null);
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert!(!block_on(schedule::run(&port)).is_empty());
    port.heal();
    assert_eq!(entries(&port, &owner, "action=key.revoke").len(), 0);
    assert_eq!(block_on(schedule::run(&port)), [""; 0]);
    assert_eq!(entries(&port, &owner, "action=key.revoke").len(), 1);
    // The mark stays as long as a change may be on its way, and goes then.
    let marked = || {
        let rows = port.rows(Class::Directory);
        let rows = rows.values().flatten();
        let row = rows.filter(|(key, _)| key.starts_with("key/"));
        row.filter(|(_, row)| row.contains("\"w\":")).count()
    };
    assert_eq!(marked(), 1);
    port.pass(Millis::from_secs(601));
    assert_eq!(block_on(schedule::run(&port)), [""; 0]);
    assert_eq!(marked(), 0);
}

#[test]
fn a_wrong_code_with_the_right_key_names_whose_key_it_was_and_a_wait_is_on_record_once() {
    let port = house();
    let owner = owner_of(&port, HOST);
    let body = json!({"key": owner.key, "code": "000000"});
    let mut told = Vec::new();
    for _ in 0..8 {
        told.push(request(&port, HOST, None, "POST", "/sign-in", &body).status);
    }
    assert_eq!(told, [401, 401, 401, 401, 401, 429, 429, 429]);
    let own = owner.call(&port, "GET", "/me", &Value::Null).json()["operator"].clone();
    let refused = entries(
        &port,
        &owner,
        "action=operator.sign_in&outcome=invalid_credentials",
    );
    assert_eq!(refused.len(), 5);
    assert!(
        refused.iter().all(|entry| entry["what"]["subject"] == own),
        "{refused:?}"
    );
    assert!(refused.iter().all(|entry| entry["actor"] == "unknown"));
    let waits = entries(&port, &owner, "outcome=too_many_attempts");
    assert_eq!(waits.len(), 1, "{waits:?}");
    // Whoever is in can still confirm.
    owner.confirm(&port);
}

#[test]
fn wrong_invites_and_set_up_tokens_are_limited_over_all_networks() {
    let port = FakePort::with(|c| c.abuse.enabled = false, &[("ADMIN_TOKEN", ADMIN_TOKEN)]);
    let claim = |token: &str| {
        let body = json!({"token": token, "name": "Eve"});
        request(&port, HOST, None, "POST", "/claim", &body).status
    };
    for n in 0..20 {
        assert_eq!(claim(&format!("a-wrong-admin-token-{n}")), 401, "{n}");
    }
    assert_eq!(claim("a-wrong-admin-token"), 429);
    let body = json!({"invite": "ghi_dev_x", "name": "Eve"});
    let joined = request(&port, HOST, None, "POST", "/join", &body);
    assert_eq!(joined.status, 429, "{}", joined.text());
    // It keeps nobody out who has the token.
    owner_of(&port, HOST);
}

#[test]
fn a_sign_in_counts_as_use_after_its_session_is_gone() {
    let port = house();
    let mut owner = owner_of(&port, HOST);
    let member = crate::support::operator::member(&port, &owner, Role::Admin);
    member.call(&port, "POST", "/sign-out", &Value::Null);
    // The owner's first session is idle for too long.
    port.pass(Millis::from_secs(1801));
    owner.sign_in(&port);
    let review = owner.call(&port, "GET", "/access-review", &Value::Null);
    assert_eq!(review.status, 200, "{}", review.text());
    for line in review.json()["access"].as_array().unwrap() {
        assert_ne!(line["last_used"], Value::Null, "{line}");
    }
    // A session that was idle for too long is not listed.
    let listed = owner.call(&port, "GET", "/sessions", &Value::Null).json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_house_that_nobody_can_claim_answers_with_the_steps_everywhere() {
    for variables in [&[][..], &[("ADMIN_TOKEN", "fifteen-letters")][..]] {
        let port = FakePort::with(|_| {}, variables);
        let ask = |method, path, body: &Value| {
            request(
                &port,
                HOST,
                Some("a-token-of-twenty-chars"),
                method,
                path,
                body,
            )
        };
        let state = ask("GET", "/state", &Value::Null);
        assert_eq!(state.status, 200, "{}", state.text());
        assert_eq!(state.json()["admin_token_set"], false, "{}", state.text());
        for (method, path, body) in [
            (
                "POST",
                "/claim",
                json!({"token": "fifteen-letters", "name": "Eve"}),
            ),
            (
                "POST",
                "/sign-in",
                json!({"key": "gho_x", "code": "000000"}),
            ),
            ("POST", "/join", json!({"invite": "ghi_x", "name": "Eve"})),
            ("GET", "/me", Value::Null),
            ("GET", "/keys", Value::Null),
        ] {
            let told = ask(method, path, &body);
            assert_eq!(told.status, 503, "{path} {}", told.text());
            assert_eq!(told.json()["code"], "setup_required", "{path}");
            assert!(told.text().contains("ADMIN_TOKEN"), "{}", told.text());
        }
    }
}

#[test]
fn an_enrolment_stands_for_what_its_first_step_was_admitted_by() {
    let port = house();
    let begun = request(
        &port,
        HOST,
        None,
        "POST",
        "/claim",
        &json!({"token": ADMIN_TOKEN, "name": "Ada"}),
    )
    .json();
    let seed = unbase32(begun["totp_secret"].as_str().unwrap());
    let second = |code: String| json!({"enrolment": begun["enrolment"], "code": code});
    // An invitation is not proved by what proves the token.
    let crossed = request(
        &port,
        HOST,
        None,
        "POST",
        "/join",
        &second(Operator::code(&port, &seed)),
    );
    assert_eq!(crossed.status, 400, "{}", crossed.text());
    let void = json!({"enrolment": "gh1.made-up", "code": "000000"});
    assert_eq!(
        request(&port, HOST, None, "POST", "/claim", &void).status,
        400
    );
    let joined = request(
        &port,
        HOST,
        None,
        "POST",
        "/claim",
        &second(Operator::code(&port, &seed)),
    );
    assert_eq!(joined.status, 201, "{}", joined.text());
    signs_in_with(&port, &begun, &joined.json());

    let port = house();
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    let invited = owner
        .call(&port, "POST", "/operators", &json!({"role": "admin"}))
        .json();
    let first = json!({"invite": invited["invite"], "name": "Bob"});
    let begun = request(&port, HOST, None, "POST", "/join", &first).json();
    let seed = unbase32(begun["totp_secret"].as_str().unwrap());
    let second = json!({"enrolment": begun["enrolment"], "code": Operator::code(&port, &seed)});
    // Withdrawn in between: the enrolment is not worth more than the invitation.
    let path = ["/operators/", invited["id"].as_str().unwrap()].concat();
    assert_eq!(owner.call(&port, "DELETE", &path, &Value::Null).status, 200);
    let joined = request(&port, HOST, None, "POST", "/join", &second);
    assert_eq!(joined.status, 401, "{}", joined.text());
}

#[test]
fn an_enrolment_ends_with_the_admin_token_that_it_was_begun_with() {
    let port = house();
    let first = json!({"token": ADMIN_TOKEN, "name": "Ada"});
    let begun = request(&port, HOST, None, "POST", "/claim", &first).json();
    let seed = unbase32(begun["totp_secret"].as_str().unwrap());
    let second = json!({"enrolment": begun["enrolment"], "code": Operator::code(&port, &seed), "token": "another-admin-token"});
    let joined = request(&port, HOST, None, "POST", "/claim", &second);
    assert_eq!(joined.status, 401, "{}", joined.text());
}

#[test]
fn a_day_as_the_end_of_a_query_is_in_it() {
    let port = house();
    let owner = owner_of(&port, HOST);
    let day = |query: &str| entries(&port, &owner, query).len();
    assert!(day("action=house.claim&since=2026-11-21&until=2026-11-21") == 1);
    assert_eq!(day("action=house.claim&until=2026-11-20"), 0);
    assert_eq!(day("action=house.claim&until=2026-11-21T00:00:00Z"), 0);
}

#[test]
fn a_change_tells_its_old_and_new_values_and_no_names() {
    let port = house();
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    let id = made_key(&port, &owner)["id"].as_str().unwrap().to_owned();
    let change = json!({"name": "Linus's laptop", "expires_at": "2027-01-31T00:00:00Z"});
    let changed = owner.call(&port, "PATCH", &["/keys/", &id].concat(), &change);
    assert_eq!(changed.status, 200, "{}", changed.text());
    let rows = entries(&port, &owner, "action=key.");
    let text = |row: &Value, field: &str| row["what"][field].as_str().unwrap().to_owned();
    assert_eq!(text(&rows[0], "old"), r#"{"expires_at":null}"#);
    assert_eq!(
        text(&rows[0], "new"),
        r#"{"expires_at":"2027-01-31T00:00:00.000Z"}"#
    );
    assert!(
        text(&rows[1], "new").contains(r#""aliases":"all""#),
        "{}",
        rows[1]
    );
    let told = Value::from(rows).to_string();
    assert!(!told.contains("laptop"), "{told}");

    for list in ["192.0.2.0/24", "203.0.113.0/24"] {
        let set = owner.call(&port, "PUT", "/lists", &json!({"deny": [list]}));
        assert_eq!(set.status, 200, "{}", set.text());
    }
    let rows = entries(&port, &owner, "action=lists.change");
    assert!(
        text(&rows[0], "old").contains("192.0.2.0/24"),
        "{}",
        rows[0]
    );
    assert!(
        text(&rows[0], "new").contains("203.0.113.0/24"),
        "{}",
        rows[0]
    );
    let set = owner.call(
        &port,
        "PUT",
        "/flags/beta",
        &json!({"value": "x".repeat(2000)}),
    );
    if set.status == 200 {
        let rows = entries(&port, &owner, "action=settings.change");
        assert_eq!(text(&rows[0], "old"), "null");
        assert!(text(&rows[0], "new").ends_with('…'), "{}", rows[0]);
    }
}

#[test]
fn a_refusal_for_want_of_a_fresh_code_is_on_record() {
    let port = house();
    let owner = owner_of(&port, HOST);
    port.pass(Millis::from_secs(601));
    let refused = owner.call(&port, "POST", "/operators", &json!({"role": "admin"}));
    assert_eq!(refused.json()["code"], "second_factor_required");
    let rows = entries(&port, &owner, "action=auth.refuse");
    assert_eq!(rows[0]["outcome"], "second_factor_required", "{rows:?}");
    assert_eq!(rows[0]["what"]["action"], "operators.invite", "{rows:?}");
}
