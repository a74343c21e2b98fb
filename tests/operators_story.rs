//! What operators go through: lost replies, repeated steps, codes that are good once.

mod support;

use gatehouse::domain::identity::roles::Role;
use serde_json::{Value, json};
use support::fake_port::FakePort;
use support::operator::{ADMIN_TOKEN, Operator, owner_of, request, unbase32};

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
