//! Who of the operators is let in, by what, and what each change and its undo do.

use crate::support::fake_port::FakePort;
use crate::support::operator::{ADDRESS, ADMIN_TOKEN, member, owner_of, request, request_from};
use crate::support::run::block_on;
use crate::support::{FakeBody, Received};
use gatehouse::app::alerts;
use gatehouse::app::port::{ByteSource, PortFault};
use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::roles::Role;
use gatehouse::domain::limits::account::{Alert, What};
use serde_json::{Value, json};

const HOST: &str = "https://house.example";
/// The block of the one address that operators come from.
const OWN_BLOCK: &str = "198.51.100.7/32";

fn house() -> FakePort {
    FakePort::with(|_| {}, &[("ADMIN_TOKEN", ADMIN_TOKEN)])
}

// === who is let in ===

/// A body before whose last piece something happens.
struct Slow<F> {
    bytes: Vec<u8>,
    meanwhile: Option<F>,
}

impl<F: FnOnce()> ByteSource for Slow<F> {
    async fn next(&mut self) -> Option<Result<Vec<u8>, PortFault>> {
        let meanwhile = self.meanwhile.take()?;
        meanwhile();
        Some(Ok(core::mem::take(&mut self.bytes)))
    }
}

#[test]
fn a_removed_operator_does_nothing_by_a_request_whose_body_is_on_its_way() {
    let port = house();
    let owner = owner_of(&port, HOST);
    let key = json!({"name": "backdoor", "scopes": {"aliases": "all", "stores": "write"}});
    for (path, content_type, bytes) in [
        ("/api/admin/keys", "application/json", key.to_string()),
        (
            "/admin/keys",
            "application/x-www-form-urlencoded",
            "call=POST+/keys&name=backdoor&scopes.aliases=all&scopes.stores=write".to_owned(),
        ),
    ] {
        let other = member(&port, &owner, Role::Admin);
        let me = other.call(&port, "GET", "/me", &Value::Null).json();
        let id = me["operator"].clone();
        owner.confirm(&port);
        let head = Head {
            method: "POST".into(),
            path: path.into(),
            own_origin: HOST.into(),
            address: Some("192.0.2.200".into()),
            authorization: Some(["Bearer ", &other.token].concat()),
            content_type: Some(content_type.into()),
            content_length: Some(bytes.len() as u64),
            fetch_site: Some("same-origin".into()),
            at: port.clock().now(),
            ..Head::default()
        };
        let body = Slow {
            bytes: bytes.into_bytes(),
            meanwhile: Some(|| {
                let removed = owner.call(&port, "DELETE", &removing(&id), &Value::Null);
                assert_eq!(removed.status, 200, "{}", removed.text());
            }),
        };
        let late = Received::from(block_on(serve(&port, head, body)));
        assert_eq!(late.status, 401, "{path}: {}", late.text());
    }
    let keys = owner.call(&port, "GET", "/keys", &Value::Null).json();
    assert_eq!(keys["keys"], json!([]));
}

fn removing(id: &Value) -> String {
    ["/operators/", id.as_str().unwrap()].concat()
}

#[test]
fn of_a_caller_without_a_session_no_body_is_read() {
    let port = house();
    owner_of(&port, HOST);
    for token in [None, Some("Bearer made-up-made-up-made-up")] {
        let head = Head {
            method: "POST".into(),
            path: "/api/admin/keys".into(),
            own_origin: HOST.into(),
            authorization: token.map(str::to_owned),
            content_type: Some("application/json".into()),
            content_length: Some(2),
            at: port.clock().now(),
            ..Head::default()
        };
        let body = Slow {
            bytes: b"{}".to_vec(),
            meanwhile: Some(|| panic!("the body was read")),
        };
        let told = Received::from(block_on(serve(&port, head, body)));
        assert_eq!(told.status, 401, "{}", told.text());
    }
}

fn code(received: &Received) -> String {
    let told = received.json();
    told["code"].as_str().unwrap_or_default().to_owned()
}

/// Asks for the state of the house from an address, which needs no session.
fn state_from(port: &FakePort, address: &str) -> u16 {
    request_from(port, HOST, address, None, "GET", "/state", &Value::Null).status
}

#[test]
fn only_an_owner_with_a_fresh_code_says_where_operators_come_from() {
    let port = house();
    let owner = owner_of(&port, HOST);
    let other = member(&port, &owner, Role::Admin);
    other.confirm(&port);
    let own = json!({"admin_allow": [OWN_BLOCK]});
    let refused = other.call(&port, "PUT", "/lists", &own);
    assert_eq!(
        (refused.status, code(&refused)),
        (403, "forbidden".into()),
        "{}",
        refused.text()
    );
    port.pass(Millis::from_secs(1200));
    for who in [&owner, &other] {
        for fields in [&own, &json!({"deny": ["203.0.113.0/24"]})] {
            let stale = who.call(&port, "PUT", "/lists", fields);
            assert!(matches!(stale.status, 401 | 403), "{}", stale.text());
        }
    }
    assert_eq!(state_from(&port, "192.0.2.1"), 200);
    owner.confirm(&port);
    let set = owner.call(&port, "PUT", "/lists", &own);
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(state_from(&port, "192.0.2.1"), 403);
}

#[test]
fn what_is_configured_stays_let_in_and_a_variable_is_the_way_back() {
    let allow = |config: &mut gatehouse::domain::settings::config::Config| {
        config.admin.allow = vec!["198.51.100.0/24".into(), "192.0.2.0/24".into()];
    };
    let token = ("ADMIN_TOKEN", ADMIN_TOKEN);
    let configured = FakePort::with(allow, &[token]);
    let plain = FakePort::with(|_| {}, &[token]);
    let reset = FakePort::with(|_| {}, &[token, ("ADMIN_ALLOW_RESET", "true")]);
    let lists = json!({
        "admin_allow": [ADDRESS],
        "allow": [ADDRESS],
        "deny": ["0.0.0.0/0"],
    });
    for (port, fields, near, far) in [
        (&configured, &json!({"admin_allow": [ADDRESS]}), 200, 403),
        (&plain, &lists, 403, 403),
        (&reset, &lists, 200, 200),
    ] {
        let owner = owner_of(port, HOST);
        let set = owner.call(port, "PUT", "/lists", fields);
        assert_eq!(set.status, 200, "{}", set.text());
        assert_eq!(state_from(port, "192.0.2.1"), near);
        assert_eq!(state_from(port, "203.0.113.1"), far);
    }
}

#[test]
fn lists_change_together_or_not_at_all_and_what_is_left_out_stays() {
    let port = house();
    let owner = owner_of(&port, HOST);
    let lists = || owner.call(&port, "GET", "/lists", &Value::Null).json();
    let set = |fields: Value| owner.call(&port, "PUT", "/lists", &fields);
    assert_eq!(set(json!({"deny": ["203.0.113.0/24"]})).status, 200);
    let before = lists();
    let late = json!({"expect": 99, "deny_asns": [64512], "admin_allow": [ADDRESS]});
    assert_eq!(set(late).status, 409);
    assert_eq!(lists(), before);

    let networks = set(json!({"admin_allow": [ADDRESS], "expect": before["version"]})).json();
    assert_eq!(lists()["lists"], before["lists"]);
    assert_eq!(lists()["admin_allow"], json!([OWN_BLOCK]));
    assert_eq!(networks["undo"]["body"], json!({"admin_allow": null}));
    let both = set(json!({"admin_allow": null, "deny_countries": ["AQ"]})).json();
    assert_eq!(
        both["version"].as_u64(),
        networks["version"].as_u64().map(|version| version + 1)
    );
    assert_eq!(set(both["undo"]["body"].clone()).status, 200);
    assert_eq!(lists()["admin_allow"], json!([OWN_BLOCK]));
    assert_eq!(lists()["lists"], before["lists"]);
}

#[test]
fn neither_others_at_the_same_address_nor_a_limit_lock_an_operator_out() {
    let port = house();
    let owner = owner_of(&port, HOST);
    let one = json!({"requests": 1, "seconds": 3600});
    let limit = json!({"class": "read", "burst": one, "sustained": one});
    let fields = json!({"scope": "limit/read", "limit": limit});
    let set = owner.call(&port, "PUT", "/limits", &fields);
    assert_eq!(set.status, 200, "{}", set.text());
    port.pass(Millis::from_secs(2));
    let guess = || {
        let head = Head {
            method: "GET".into(),
            path: "/api/me".into(),
            own_origin: HOST.into(),
            address: Some(ADDRESS.into()),
            authorization: Some(format!(
                "Bearer gh_tst_{}_{}",
                "0".repeat(16),
                "0".repeat(49)
            )),
            at: port.clock().now(),
            ..Head::default()
        };
        Received::from(block_on(serve(&port, head, FakeBody::whole(b"", 1)))).status
    };
    let guesses: Vec<u16> = (0..40).map(|_| guess()).collect();
    assert_eq!(guesses.last(), Some(&429), "{guesses:?}");
    assert_eq!(state_from(&port, ADDRESS), 429);
    for _ in 0..20 {
        let told = owner.call(&port, "GET", "/lists", &Value::Null);
        assert_eq!(told.status, 200, "{}", told.text());
    }
    let page = Head {
        method: "GET".into(),
        path: "/admin".into(),
        own_origin: HOST.into(),
        address: Some(ADDRESS.into()),
        authorization: Some(["Bearer ", &owner.token].concat()),
        at: port.clock().now(),
        ..Head::default()
    };
    let page = Received::from(block_on(serve(&port, page, FakeBody::whole(b"", 1))));
    assert_eq!(page.status, 200, "{}", page.text());
    // Signing in counts for the network as before, and so does a token that is nobody's.
    for (token, path) in [
        (None, "/sign-in"),
        (Some("made-up-made-up-made-up"), "/keys"),
    ] {
        let told = request(&port, HOST, token, "POST", path, &json!({}));
        assert_eq!(told.status, 429, "{}", told.text());
    }
}

#[test]
fn an_operators_session_has_a_limit_of_its_own() {
    let port = house();
    let owner = owner_of(&port, HOST);
    let ask = || owner.call(&port, "GET", "/me", &Value::Null).status;
    let answers: Vec<u16> = (0..700).map(|_| ask()).collect();
    assert!(answers[..590].iter().all(|status| *status == 200));
    assert_eq!(answers.last(), Some(&429));
}

// === changes and what undoes them ===

#[test]
fn every_undo_restores_what_stood_before() {
    let port = FakePort::with(
        |config| {
            config
                .tiers
                .push(serde_json::from_value(json!({"name": "free"})).unwrap());
        },
        &[("ADMIN_TOKEN", ADMIN_TOKEN)],
    );
    let owner = owner_of(&port, HOST);
    let call = |method: &str, path: &str, body: &Value| {
        owner.confirm(&port);
        let told = owner.call(&port, method, path, body);
        assert!(told.status < 300, "{method} {path} {body}: {}", told.text());
        told.json()
    };
    // Everything that such a call can change; ids of blocks are new after an undo, and the rest of a block's time is less.
    let state = || {
        let mut all = json!({});
        for path in ["/site-keys", "/limits", "/lists", "/flags"] {
            let mut told = owner.call(&port, "GET", path, &Value::Null).json();
            told.as_object_mut().unwrap().remove("version");
            for block in told
                .get_mut("blocks")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                block["id"] = Value::Null;
                block["until"] = Value::Null;
            }
            // Their order is that of their ids.
            if let Some(blocks) = told.get_mut("blocks").and_then(Value::as_array_mut) {
                blocks.sort_by_key(Value::to_string);
            }
            all[path] = told;
        }
        all
    };
    let key = json!({"name": "a", "scopes": {"aliases": "all", "stores": "none"}});
    let key = call("POST", "/keys", &key)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let of_key = ["key/", &key].concat();
    let site = json!({"name": "shop", "origins": ["https://shop.example"], "proof": "work"});
    let site_key = call("POST", "/site-keys", &site)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let site_path = ["/site-keys/", &site_key].concat();
    let visitor = "vis_000102030405060708090a0b0c0d0e0f";
    let block = json!({"visitor": visitor, "seconds": 86_400, "reason": "noise"});
    let block_id = call("POST", "/blocks", &block)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let one = json!({"requests": 9, "seconds": 60});
    let limit = |requests: u32| {
        let one = json!({"requests": requests, "seconds": 60});
        json!({"scope": "limit/chat", "limit": {"class": "chat", "burst": one, "sustained": one}})
    };
    let requests = json!([{"class": "chat", "sustained": one}]);
    let budget = |scope: &str, day: f64| json!({"scope": scope, "budget": {"day_usd": day}});
    let steps = [
        ("POST", "/site-keys".to_owned(), site),
        (
            "PUT",
            site_path.clone(),
            json!({"enabled": false, "proof": null}),
        ),
        ("DELETE", site_path, Value::Null),
        // An override that has no budget, a budget, another budget, none, and others beside it.
        (
            "PUT",
            "/limits".into(),
            json!({"scope": "tenant", "allowance": {"concurrent": 7}}),
        ),
        ("PUT", "/budgets".into(), budget("tenant", 2.0)),
        ("PUT", "/budgets".into(), budget("tenant", 3.0)),
        (
            "PUT",
            "/budgets".into(),
            json!({"scope": "tenant", "budget": {}}),
        ),
        ("PUT", "/budgets".into(), budget("global", 2.0)),
        ("PUT", "/budgets".into(), budget(&of_key, 2.0)),
        (
            "PUT",
            "/limits".into(),
            json!({"scope": "tier/free", "allowance": {"requests": requests}}),
        ),
        (
            "PUT",
            "/limits".into(),
            json!({"scope": "tier/free", "allowance": {"concurrent": 7, "budget": {"day_usd": 4.0}}}),
        ),
        (
            "PUT",
            "/limits".into(),
            json!({"scope": "tier/free", "allowance": {"concurrent": 8, "budget": {}}}),
        ),
        ("DELETE", "/limits?scope=tier/free".into(), Value::Null),
        ("PUT", "/limits".into(), limit(9)),
        ("PUT", "/limits".into(), limit(8)),
        ("DELETE", "/limits?scope=limit/chat".into(), Value::Null),
        (
            "PUT",
            "/lists".into(),
            json!({"deny": ["203.0.113.0/24"], "deny_asns": [64512]}),
        ),
        (
            "PUT",
            "/lists".into(),
            json!({"deny": [], "admin_allow": [ADDRESS]}),
        ),
        ("PUT", "/lists".into(), json!({"admin_allow": null})),
        (
            "POST",
            "/blocks".into(),
            json!({"cidr": "192.0.2.0/24", "seconds": 86_400, "reason": "noise"}),
        ),
        (
            "POST",
            "/blocks".into(),
            json!({"key": key, "seconds": 86_400, "reason": "noise"}),
        ),
        ("DELETE", ["/blocks/", &block_id].concat(), Value::Null),
        ("PUT", "/flags/beta".into(), json!({"value": true})),
        ("PUT", "/flags/beta".into(), json!({"value": "some"})),
        ("PUT", "/flags/beta".into(), json!({"value": null})),
    ];
    for (method, path, body) in steps {
        let before = state();
        let told = call(method, &path, &body);
        let after = state();
        assert_ne!(before, after, "{method} {path} {body}");
        let undo = &told["undo"];
        let to = undo["path"]
            .as_str()
            .unwrap_or_else(|| panic!("{method} {path} {body}: {told}"));
        let to = to.strip_prefix("/api/admin").unwrap();
        let undone = call(undo["method"].as_str().unwrap(), to, &undo["body"]);
        assert_eq!(state(), before, "{method} {path} {body} undone by {undo}");
        // And the undo is undone: the next step stands on this one.
        let redo = &undone["undo"];
        let to = redo["path"]
            .as_str()
            .unwrap()
            .strip_prefix("/api/admin")
            .unwrap();
        call(redo["method"].as_str().unwrap(), to, &redo["body"]);
        assert_eq!(
            state(),
            after,
            "{method} {path} {body} done again by {redo}"
        );
    }
}

#[test]
fn what_does_not_exist_has_no_limits_budgets_and_blocks() {
    let port = house();
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    let foreign = "0".repeat(16);
    let missing = ["key/", &foreign].concat();
    let budget = json!({"day_usd": 1.0});
    for (scope, status) in [
        ("tier/nothing", 400),
        ("alias/none", 400),
        ("key/zzz", 400),
        ("key/nobody<script>", 400),
        ("visitor/zzz", 400),
        ("nothing", 400),
        (missing.as_str(), 404),
        ("alias/site", 200),
        ("visitor/vis_000102030405060708090a0b0c0d0e0f", 200),
    ] {
        for (path, fields) in [
            (
                "/limits",
                json!({"scope": scope, "allowance": {"concurrent": 1}}),
            ),
            ("/budgets", json!({"scope": scope, "budget": budget})),
        ] {
            let told = owner.call(&port, "PUT", path, &fields);
            assert_eq!(told.status, status, "{path} {scope}: {}", told.text());
        }
    }
    for (field, id, status) in [
        ("key", "nobody<script>", 400),
        ("key", "zzz", 400),
        ("key", foreign.as_str(), 404),
        ("visitor", "zzz", 400),
    ] {
        let fields = json!({field: id, "seconds": 60, "reason": "noise"});
        let told = owner.call(&port, "POST", "/blocks", &fields);
        assert_eq!(told.status, status, "{field} {id}: {}", told.text());
    }
    let site = json!({"origins": ["https://shop.example"]});
    for id in ["pk_tst_x", "pk_prd_0000000000000000", "x"] {
        let told = owner.call(&port, "PUT", &["/site-keys/", id].concat(), &site);
        assert_eq!(told.status, 404, "{id}: {}", told.text());
    }
}

#[test]
fn the_alert_of_a_sudden_rate_ends_with_its_hold() {
    let port = house();
    let owner = owner_of(&port, HOST);
    let now = port.clock().now();
    let until = now.plus(Millis::from_secs(600));
    let alert = Alert {
        what: What::Sudden,
        limit: None,
        start: now,
        count: 99,
        of: 99,
        until: Some(until),
    };
    block_on(alerts::of_account(&port, "tenant", false, &alert));
    let told = owner.call(&port, "GET", "/alerts", &Value::Null).json();
    assert_eq!(told["alerts"][0]["until"], until.rfc3339(), "{told}");
    let path = "/audit?action=abuse.hold";
    let told = owner.call(&port, "GET", path, &Value::Null).json();
    assert_eq!(
        told["entries"][0]["what"]["until"],
        until.rfc3339(),
        "{told}"
    );
}
