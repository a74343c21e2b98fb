//! What is refused changes no counter, and what is told of limits.

use gatehouse::app::port::Class;
use gatehouse::domain::settings::config::{Allowance, Config};
use serde_json::{Value, json};

use gatehouse::app::request::Head;
use gatehouse::base::time::Millis;

use crate::gateway::house::{Chat, ask, ask_with, house, once, post, priced, question, said, with};
use crate::support::Received;
use crate::support::fake_port::{FakePort, Op};
use crate::support::operator::owner_of;

/// A house whose alias has that allowance, and whose clients have ten requests in an hour.
fn limited(allowance: Value) -> FakePort {
    house(&[(Chat, "first")], |config| {
        once(config);
        priced(config);
        for limit in &mut config.limits {
            limit.sustained.requests = 10;
            limit.sustained.seconds = 3600;
        }
        config.aliases[0].allowance = serde_json::from_value::<Allowance>(allowance).unwrap();
    })
}

fn asked(port: &FakePort, patch: Value) -> Received {
    port.provider("first", [said(Chat, "first", "The gate.")]);
    ask(port, Chat, with(question(Chat, "Where?"), patch))
}

fn left(received: &Received) -> Option<&str> {
    received.header("x-ratelimit-remaining-requests")
}

fn calls_of(port: &FakePort, class: Class) -> usize {
    port.calls()
        .iter()
        .filter(|op| **op == Op::Object(class))
        .count()
}

#[test]
fn what_an_alias_refuses_costs_its_caller_nothing_and_the_next_refusal_no_call() {
    let port = limited(json!({"requests": [
        {"class": "chat", "sustained": {"requests": 2, "seconds": 600}}
    ]}));
    for _ in 0..2 {
        assert_eq!(asked(&port, json!({})).status, 200);
    }
    assert_eq!(asked(&port, json!({})).status, 429);
    let before = (
        calls_of(&port, Class::Limiter),
        calls_of(&port, Class::Ledger),
    );
    for _ in 0..5 {
        assert_eq!(asked(&port, json!({})).status, 429);
    }
    let after = (
        calls_of(&port, Class::Limiter),
        calls_of(&port, Class::Ledger),
    );
    assert_eq!(before, after, "a refusal that is remembered asks nobody");
    port.pass(Millis::from_secs(601));
    // The third of ten, and not the ninth.
    assert_eq!(left(&asked(&port, json!({}))), Some("7"));
}

#[test]
fn what_a_budget_refuses_takes_no_request_of_anybody() {
    let port = limited(json!({
        "budget": {"day_usd": 0.005},
        "requests": [{"class": "chat", "sustained": {"requests": 3, "seconds": 600}}],
    }));
    assert_eq!(asked(&port, json!({"max_tokens": 10})).status, 200);
    for _ in 0..6 {
        // At ten dollars a million, a thousand tokens cost a cent.
        let refused = asked(&port, json!({"max_tokens": 1000}));
        assert_eq!(
            refused.code().as_deref(),
            Some("budget_exhausted"),
            "{}",
            refused.text()
        );
    }
    for rest in ["8", "7"] {
        let answered = asked(&port, json!({"max_tokens": 10}));
        assert_eq!(
            (answered.status, left(&answered)),
            (200, Some(rest)),
            "{}",
            answered.text()
        );
    }
}

fn asked_from(port: &FakePort, address: &str, key: Option<&str>) -> Received {
    port.provider("first", [said(Chat, "first", "The gate.")]);
    let head = Head {
        address: Some(address.into()),
        authorization: key.map(|key| ["Bearer ", key].concat()),
        at: port.clock().now(),
        ..post("/v1/chat/completions")
    };
    ask_with(port, head, question(Chat, "hi"))
}

#[test]
fn addresses_and_networks_have_budgets_whoever_calls_from_there() {
    let port = house(&[(Chat, "first")], |config| {
        once(config);
        priced(config);
        config.aliases[0].max_output_tokens = 100;
        config.client.budget.day_usd = Some(0.006);
        config.network.budget.day_usd = Some(0.006_3);
    });
    let key = key(&port, json!({}));
    // A call holds some thousand millionths of a dollar, and spends 50.
    let until_refused = |address, key, whose: &str| {
        for answered in 0..100 {
            port.pass(Millis::from_secs(4));
            let received = asked_from(&port, address, key);
            if received.status != 200 {
                assert_eq!(received.code().as_deref(), Some("budget_exhausted"));
                assert!(received.text().contains(whose), "{}", received.text());
                return answered;
            }
        }
        panic!("never refused");
    };
    let address = "The limit of your address";
    assert!(until_refused("192.0.2.7", None, address) > 10);
    assert_eq!(until_refused("192.0.2.7", Some(&key), address), 0);
    let network = "The limit of your network";
    assert_eq!(until_refused("192.0.2.8", Some(&key), network), 6);
    assert_eq!(until_refused("192.0.2.9", None, network), 0);
    assert_eq!(asked_from(&port, "203.0.113.7", None).status, 200);
}

#[test]
fn whoever_has_no_account_is_told_what_its_address_has_left() {
    let tokens = |config: &mut Config| {
        once(config);
        let tokens = json!({"tokens": {"tokens": 5000, "seconds": 3600}});
        config.client = serde_json::from_value(tokens).unwrap();
    };
    let port = house(&[(Chat, "first")], tokens);
    let received = asked_from(&port, "192.0.2.7", None);
    let limit = received.header("x-ratelimit-limit-tokens");
    assert_eq!((received.status, limit), (200, Some("5000")));
    let key = key(&port, json!({}));
    let received = asked_from(&port, "192.0.2.7", Some(&key));
    let limit = received.header("x-ratelimit-limit-tokens");
    assert_eq!((received.status, limit), (200, None));
    // Nothing is asked for where nothing is limited.
    let port = house(&[(Chat, "first")], once);
    assert_eq!(asked_from(&port, "192.0.2.7", None).status, 200);
    assert_eq!(calls_of(&port, Class::Ledger), 0);
}

#[test]
fn operators_limit_addresses_and_networks_while_the_house_runs() {
    let port = house(&[(Chat, "first")], once);
    let owner = owner_of(&port, "https://house.example");
    owner.confirm(&port);
    for scope in ["client", "network"] {
        let wanted = json!({"scope": scope, "allowance": {"requests": [
            {"class": "chat", "sustained": {"requests": 1, "seconds": 600}},
        ]}});
        let set = owner.call(&port, "PUT", "/limits", &wanted);
        assert_eq!(set.status, 200, "{}", set.text());
        port.pass(Millis::from_secs(60));
        assert_eq!(asked_from(&port, "192.0.2.7", None).status, 200);
        assert_eq!(asked_from(&port, "192.0.2.7", None).status, 429);
        let neighbour = asked_from(&port, "192.0.2.8", None);
        let expected = if scope == "client" { 200 } else { 429 };
        assert_eq!(neighbour.status, expected, "{scope}");
        assert_eq!(asked_from(&port, "203.0.113.7", None).status, 200);
        port.pass(Millis::from_secs(601));
        owner.confirm(&port);
        let path = ["/limits?scope=", scope].concat();
        let cleared = owner.call(&port, "DELETE", &path, &json!({}));
        assert_eq!(cleared.status, 200, "{}", cleared.text());
    }
}

/// A key with that allowance.
fn key(port: &FakePort, allowance: Value) -> String {
    let owner = owner_of(port, "https://house.example");
    owner.confirm(port);
    let wanted = json!({"name": "shop", "scopes": {"aliases": "all"}, "allowance": allowance});
    let made = owner.call(port, "POST", "/keys", &wanted);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["key"].as_str().unwrap().to_owned()
}

fn asked_by(port: &FakePort, key: &str) -> Received {
    port.provider("first", [said(Chat, "first", "The gate.")]);
    let head = Head {
        authorization: Some(["Bearer ", key].concat()),
        at: port.clock().now(),
        ..post("/v1/chat/completions")
    };
    ask_with(port, head, question(Chat, "Where?"))
}

#[test]
fn a_key_gets_all_that_it_is_allowed_is_told_so_each_time_and_is_not_held_for_it() {
    let port = house(&[(Chat, "first")], once);
    let key = key(
        &port,
        json!({
            "requests": [{"class": "chat", "sustained": {"requests": 100, "seconds": 3600}}],
            "tokens": {"tokens": 10_000_000, "seconds": 60},
            "concurrent": 10,
        }),
    );
    for n in 1..=100_u32 {
        let answered = asked_by(&port, &key);
        assert_eq!(answered.status, 200, "request {n}: {}", answered.text());
        let told = |name| answered.header(name).map(str::to_owned);
        let rest = (100 - n).to_string();
        assert_eq!(
            told("x-ratelimit-limit-requests").as_deref(),
            Some("100"),
            "{n}"
        );
        assert_eq!(told("x-ratelimit-remaining-requests"), Some(rest), "{n}");
        assert_eq!(
            told("x-ratelimit-limit-tokens").as_deref(),
            Some("10000000"),
            "{n}"
        );
        assert_eq!(
            told("anthropic-ratelimit-tokens-limit").as_deref(),
            Some("10000000")
        );
        // Ten in a second.
        port.pass(Millis(100));
    }
    let refused = asked_by(&port, &key);
    assert_eq!(
        refused.code().as_deref(),
        Some("rate_limited"),
        "{}",
        refused.text()
    );
    for name in [
        "x-ratelimit-limit-requests",
        "anthropic-ratelimit-requests-limit",
    ] {
        assert_eq!(refused.header(name), Some("100"), "{name}");
    }
    let asked = calls_of(&port, Class::Ledger);
    // Each call reserves and settles tokens and a place; of requests most are asked for nowhere.
    assert!(asked < 300, "{asked}");
}

#[test]
fn a_key_without_limits_is_asked_for_seldom() {
    let port = house(&[(Chat, "first")], once);
    let key = key(&port, json!({}));
    asked_by(&port, &key);
    let before = calls_of(&port, Class::Ledger);
    for _ in 0..50 {
        assert_eq!(asked_by(&port, &key).status, 200);
        port.pass(Millis(10));
    }
    let asked = calls_of(&port, Class::Ledger) - before;
    assert!(asked < 20, "{asked} of 50");
}
