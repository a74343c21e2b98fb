//! A visitor's session over a fake world: whom it names, where it is good, what it takes, and how it ends.

use gatehouse::app::documents::sweep;
use gatehouse::app::keyring::keyring;
use gatehouse::app::objects::ask;
use gatehouse::app::port::{ByteSource, Class, Port, PortFault};
use gatehouse::app::request::Head;
use gatehouse::app::rules::change;
use gatehouse::app::serve::serve;
use gatehouse::base::digest::{base64url, hmac_sha256, sha256};
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::api_key::{self, Env, Kind};
use gatehouse::domain::identity::key_record::{
    Command, KeyRecord, KeySettings, Names, NewRecord, Reply, Scopes, Stores,
};
use gatehouse::domain::identity::site_key::{SiteKey, make_site_key};
use gatehouse::domain::limits::rules::Change;
use gatehouse::domain::settings::config::{Config, Proof, Tenant};
use serde_json::{Value, json};

use crate::support::fake_port::{FakePort, Fault, Op, When};
use crate::support::operator::{ADMIN_TOKEN, owner_of};
use crate::support::run::{block_on, both};
use crate::support::upstream::{Scripted, said_hello};
use crate::support::{FakeBody, Received};

const HOUSE: &str = "https://house.example";
const PAGE: &str = "https://page.example";
const SECRET: &str = "canary-turnstile-secret";

// === a browser and a program ===

/// A page in a browser: its origin, and the cookies that it keeps.
struct Page<'a> {
    port: &'a FakePort,
    origin: &'a str,
    cookies: Vec<(String, String)>,
    token: Option<String>,
    address: &'a str,
}

impl<'a> Page<'a> {
    fn of(port: &'a FakePort, origin: &'a str) -> Self {
        Self {
            port,
            origin,
            cookies: Vec::new(),
            token: None,
            address: "198.51.100.7",
        }
    }

    fn own(port: &'a FakePort) -> Self {
        Self::of(port, HOUSE)
    }

    fn head(&self, method: &str, path: &str) -> Head {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let own = self.origin == HOUSE;
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        Head {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            own_origin: HOUSE.into(),
            address: Some(self.address.into()),
            // Browsers send no Origin with a GET to their own.
            origin: (!own || method != "GET").then(|| self.origin.into()),
            fetch_site: Some(if own { "same-origin" } else { "cross-site" }.into()),
            cookie: (own && !cookies.is_empty()).then(|| cookies.join("; ")),
            authorization: self.token.as_ref().map(|token| format!("Bearer {token}")),
            at: self.port.clock().now(),
            ..Head::default()
        }
    }

    fn send(&mut self, head: Head, body: &[u8]) -> Received {
        let received = send(self.port, head, body);
        for set in all(&received, "set-cookie") {
            let (pair, more) = set.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(kept, _)| kept != name);
            if !more.contains("Max-Age=0;") {
                self.cookies.push((name.into(), value.into()));
            }
        }
        received
    }

    fn get(&mut self, path: &str) -> Received {
        self.send(self.head("GET", path), b"")
    }

    fn delete(&mut self, path: &str) -> Received {
        self.send(self.head("DELETE", path), b"")
    }

    fn post(&mut self, path: &str, body: &Value) -> Received {
        let bytes = body.to_string().into_bytes();
        let head = Head {
            content_type: Some("application/json".into()),
            content_length: Some(bytes.len() as u64),
            ..self.head("POST", path)
        };
        self.send(head, &bytes)
    }

    /// Asks for a session that needs no proof, and keeps its token where a page keeps one.
    fn begin(&mut self, body: &Value) -> Value {
        let received = self.post("/api/session", body);
        assert_eq!(received.status, 200, "{}", received.text());
        let told = received.json();
        if let Some(token) = told["token"].as_str() {
            self.token = Some(token.into());
        }
        told
    }

    fn me(&mut self) -> Value {
        let received = self.get("/api/me");
        assert_eq!(received.status, 200, "{}", received.text());
        received.json()
    }

    fn cookie(&self, name: &str) -> &str {
        let found = self.cookies.iter().find(|(kept, _)| kept == name);
        found.map_or("", |(_, value)| value)
    }

    fn ask(&mut self, model: &str) -> Received {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
        self.post("/v1/chat/completions", &body)
    }
}

fn send(port: &FakePort, head: Head, body: &[u8]) -> Received {
    let reply = block_on(serve(port, head, FakeBody::whole(body, 64)));
    Received::from(reply)
}

fn all<'r>(received: &'r Received, name: &str) -> Vec<&'r str> {
    let values = received.headers.iter().filter(|(n, _)| *n == name);
    values.map(|(_, value)| value.as_str()).collect()
}

fn code(received: &Received) -> String {
    let body = received.json();
    let own = body["error"]["gatehouse"]["code"].as_str();
    own.or(body["code"].as_str()).unwrap().to_owned()
}

/// Bodies of refusals, without the request's id, which is each one's own.
fn without_id(received: &Received) -> String {
    let id = received.header("x-request-id").unwrap();
    received.text().replace(id, "")
}

// === worlds ===

fn with(change: impl FnOnce(&mut Config)) -> FakePort {
    FakePort::with(change, &[("TURNSTILE_SECRET", SECRET)])
}

/// The same, with a provider's key and an `ADMIN_TOKEN`.
fn with_provider(change: impl FnOnce(&mut Config)) -> FakePort {
    let more = [("OPENAI_API_KEY", "sk-1"), ("ADMIN_TOKEN", ADMIN_TOKEN)];
    FakePort::with(change, &more)
}

/// The same as a stream.
fn streamed_hello() -> Scripted {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_795_219_200,
            "model": "gpt",
            "choices": [choice],
        });
        format!("data: {chunk}\n\n").into()
    };
    Scripted::events([
        chunk(
            json!({"role": "assistant", "content": "Hello."}),
            Value::Null,
        ),
        chunk(json!({}), json!("stop")),
        "data: [DONE]\n\n".into(),
    ])
}

fn listed(config: &mut Config) {
    config.server.allowed_origins = vec![PAGE.into()];
}

fn work(config: &mut Config) {
    config.session.proof = Proof::Work;
    config.session.work_bits = 8;
}

fn turnstile(config: &mut Config) {
    config.session.proof = Proof::Turnstile;
    config.session.turnstile_site_key = Some("1x00000000000000000000AA".into());
}

/// The built-in alias, for those in a session alone.
fn guarded(config: &mut Config) {
    for alias in &mut config.aliases {
        alias.session = true;
    }
}

fn site_key(port: &FakePort, origins: &[&str], edit: impl FnOnce(&mut SiteKey)) -> String {
    let mut key = SiteKey {
        id: make_site_key(Env::Test, &port.random()),
        name: "page".into(),
        origins: origins.iter().map(|origin| (*origin).into()).collect(),
        tier: None,
        enabled: true,
        proof: None,
    };
    edit(&mut key);
    let id = key.id.clone();
    block_on(change(
        port,
        Change::SiteKey(id.clone(), Some(key)),
        None,
        None,
    ))
    .unwrap();
    id
}

fn solved(challenge: &str, bits: u64) -> String {
    let zeros =
        |digest: [u8; 32]| u128::from_be_bytes(digest[..16].try_into().unwrap()).leading_zeros();
    (0u32..)
        .map(|n| n.to_string())
        .find(|n| u64::from(zeros(sha256(format!("{challenge}.{n}").as_bytes()))) >= bits)
        .unwrap()
}

fn puzzle(page: &mut Page<'_>, query: &str) -> Value {
    let terms = page.get(&format!("/api/session{query}"));
    assert_eq!(terms.status, 200, "{}", terms.text());
    let terms = terms.json();
    assert_eq!(terms["proof"], "work");
    let challenge = terms["challenge"].as_str().unwrap();
    json!({"challenge": challenge, "nonce": solved(challenge, terms["bits"].as_u64().unwrap())})
}

fn upload(page: &mut Page<'_>) -> String {
    let form = "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--B\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nHi\r\n--B--\r\n";
    let head = Head {
        content_type: Some("multipart/form-data; boundary=B".into()),
        content_length: Some(form.len() as u64),
        ..page.head("POST", "/v1/files")
    };
    let received = page.send(head, form.as_bytes());
    assert_eq!(received.status, 200, "{}", received.text());
    received.json()["id"].as_str().unwrap().into()
}

fn api_key(port: &FakePort) -> String {
    api_key_that(port, Stores::Write)
}

fn api_key_that(port: &FakePort, stores: Stores) -> String {
    let ring = block_on(keyring(port)).unwrap();
    let key = api_key::make(Kind::Api, Env::Test, &port.random());
    let text = key.text.reveal().clone();
    let parsed = api_key::parse(&text).unwrap();
    let record = NewRecord {
        id: key.id.clone(),
        tenant: port.tenant().into(),
        created_by: "op".into(),
        hash: base64url(&parsed.hash(ring.pepper().unwrap())),
        settings: KeySettings {
            name: "program".into(),
            scopes: Scopes {
                aliases: Names::All,
                endpoints: Names::All,
                stores,
            },
            tags: Default::default(),
            tier: None,
            allowance: None,
            expires: None,
            public_keys: Vec::new(),
            must_sign: false,
        },
    };
    let name = format!("key/{}", key.id);
    let made = block_on(ask::<KeyRecord>(
        port,
        Class::Ledger,
        &name,
        Command::Create(Box::new(record)),
    ));
    assert!(matches!(made, Ok(Reply::Known(_))), "{made:?}");
    text
}

// === the own origin ===

#[test]
fn a_page_of_the_own_origin_gets_cookies_that_scripts_cannot_read_and_no_token() {
    let port = with(|_| {});
    let mut page = Page::own(&port);
    assert_eq!(page.me()["kind"], "anonymous");
    let received = page.post("/api/session", &json!({}));
    assert_eq!(received.status, 200, "{}", received.text());
    let told = received.json();
    assert_eq!(told["object"], "session");
    assert_eq!(told["expires_in"], 900);
    assert!(told.get("token").is_none(), "{told}");
    let cookies = all(&received, "set-cookie");
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    for (name, age) in [
        ("__Host-gatehouse", 2_592_000),
        ("__Host-gatehouse-session", 900),
    ] {
        let end = format!("; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict; Secure");
        let fits =
            |cookie: &&&str| cookie.starts_with(&format!("{name}=ey")) && cookie.ends_with(&end);
        assert_eq!(
            cookies.iter().filter(fits).count(),
            1,
            "{name}: {cookies:?}"
        );
    }

    let me = page.me();
    assert_eq!(me["kind"], "visitor");
    assert_eq!(me["id"], told["visitor"]);
    assert_eq!(me["session"]["origin"], HOUSE);
    assert_eq!(me["session"]["expires_at"], told["expires_at"]);
    // Once more: the same visitor.
    assert_eq!(page.begin(&json!({}))["visitor"], told["visitor"]);
}

#[test]
fn over_plain_http_the_cookies_have_plain_names() {
    let port = with(|_| {});
    let page = Page::own(&port);
    let head = Head {
        own_origin: "http://localhost:8787".into(),
        origin: Some("http://localhost:8787".into()),
        content_length: Some(0),
        ..page.head("POST", "/api/session")
    };
    let received = send(&port, head, b"");
    assert_eq!(received.status, 200, "{}", received.text());
    for cookie in all(&received, "set-cookie") {
        assert!(
            cookie.starts_with("gatehouse=") || cookie.starts_with("gatehouse-session="),
            "{cookie}"
        );
        assert!(!cookie.contains("Secure"), "{cookie}");
    }
}

#[test]
fn a_session_is_renewed_in_the_last_third_of_its_life_and_not_before() {
    let port = with(|config| config.session.ttl_seconds = 60);
    let mut page = Page::own(&port);
    let visitor = page.begin(&json!({}))["visitor"].clone();
    let first = page.cookie("__Host-gatehouse-session").to_owned();
    port.pass(Millis::from_secs(40));
    assert!(all(&page.get("/v1/models"), "set-cookie").is_empty());
    port.pass(Millis::from_secs(1));
    let renewed = page.get("/v1/models");
    assert_eq!(all(&renewed, "set-cookie").len(), 2);
    assert_ne!(page.cookie("__Host-gatehouse-session"), first);
    port.pass(Millis::from_secs(30));
    let me = page.me();
    assert_eq!(me["id"], visitor);
    assert!(me["session"].is_object(), "the first would be over: {me}");
    // Nobody came for a while: the visitor is known, the session is over.
    port.pass(Millis::from_secs(61));
    let me = page.me();
    assert_eq!((&me["id"], &me["session"]), (&visitor, &Value::Null));
}

#[test]
fn an_alias_for_sessions_alone_tells_who_has_none_to_get_one() {
    let port = with(guarded);
    let mut page = Page::own(&port);
    let refused = page.ask("site");
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (401, "session_required")
    );
    upload(&mut page);
    assert_eq!(page.me()["kind"], "visitor");
    assert_eq!(
        page.ask("site").status,
        401,
        "a visitor's cookie alone is no session"
    );
    page.begin(&json!({}));
    assert_ne!(page.ask("site").status, 401);

    // A key needs none, and gets none.
    let mut program = Page::own(&port);
    program.token = Some(api_key(&port));
    assert_ne!(program.ask("site").status, 401);
    let refused = program.post("/api/session", &json!({}));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (403, "forbidden")
    );
}

// === other origins ===

#[test]
fn a_page_of_a_listed_origin_gets_a_token_to_keep_and_no_cookie() {
    let port = with(|config| {
        listed(config);
        guarded(config);
    });
    let mut page = Page::of(&port, PAGE);
    let received = page.post("/api/session", &json!({}));
    assert_eq!(received.status, 200, "{}", received.text());
    assert!(all(&received, "set-cookie").is_empty());
    assert_eq!(received.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(received.header("access-control-allow-credentials"), None);
    let told = received.json();
    assert_eq!(told["token_type"], "Bearer");
    page.token = told["token"].as_str().map(str::to_owned);
    let me = page.me();
    assert_eq!(
        (&me["id"], &me["session"]["origin"]),
        (&told["visitor"], &json!(PAGE))
    );
    assert_ne!(page.ask("site").status, 401);
    // Renewed with the token in hand: the same visitor, the same origin, no cookie.
    let again = page.begin(&json!({}));
    assert_eq!(again["visitor"], told["visitor"]);
    assert_ne!(again["token"], told["token"]);
}

#[test]
fn a_token_of_one_origin_is_none_of_another() {
    let other = "https://other.example";
    let port = with(|config| config.server.allowed_origins = vec![PAGE.into(), other.into()]);
    let mut page = Page::of(&port, PAGE);
    page.begin(&json!({}));
    for origin in [other, HOUSE] {
        let mut thief = Page::of(&port, origin);
        thief.token.clone_from(&page.token);
        let refused = thief.post("/api/session", &json!({}));
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (401, "invalid_credentials"),
            "{origin}"
        );
    }
}

#[test]
fn a_token_that_a_program_renews_stays_with_its_origin_and_becomes_no_cookie() {
    let port = with(listed);
    let mut page = Page::of(&port, PAGE);
    page.begin(&json!({}));
    let head = Head {
        origin: None,
        fetch_site: None,
        content_length: Some(0),
        ..page.head("POST", "/api/session")
    };
    let received = send(&port, head, b"");
    assert_eq!(received.status, 200, "{}", received.text());
    assert!(all(&received, "set-cookie").is_empty());
    page.token = received.json()["token"].as_str().map(str::to_owned);
    assert_eq!(page.me()["session"]["origin"], PAGE);
}

#[test]
fn a_preflight_of_a_site_keys_origin_is_answered_by_an_isolate_that_knows_nothing_yet() {
    let port = with(|_| {});
    site_key(&port, &[PAGE], |_| {});
    for (origin, allowed) in [(PAGE, true), ("https://other.example", false)] {
        port.other_isolate();
        let head = Head {
            cors_method: Some("POST".into()),
            cors_headers: Some("authorization,content-type".into()),
            ..Page::of(&port, origin).head("OPTIONS", "/api/session")
        };
        let received = send(&port, head, b"");
        assert_eq!(received.status, 204);
        let expected = allowed.then_some((origin, "authorization, content-type"));
        let found = received
            .header("access-control-allow-origin")
            .zip(received.header("access-control-allow-headers"));
        assert_eq!(found, expected);
        assert_eq!(received.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn a_site_key_makes_sessions_for_its_origins_alone_and_lends_its_tier() {
    let port = with(|config| {
        config.server.allowed_origins = vec!["https://listed.example".into()];
        config
            .tiers
            .push(serde_json::from_value(json!({"name": "friends"})).unwrap());
    });
    let key = site_key(&port, &[PAGE], |key| key.tier = Some("friends".into()));
    let off = site_key(&port, &[PAGE], |key| key.enabled = false);
    let mut page = Page::of(&port, PAGE);
    page.begin(&json!({"site_key": key}));
    assert_eq!(page.me()["tier"], "friends");

    let mut page = Page::of(&port, PAGE);
    let bare = page.post("/api/session", &json!({}));
    assert_eq!(
        (bare.status, code(&bare).as_str()),
        (400, "missing_parameter")
    );
    for wrong in [off.as_str(), "pk_tst_0000000000000000", "", "__proto__"] {
        let refused = page.post("/api/session", &json!({"site_key": wrong}));
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (403, "origin_not_allowed"),
            "{wrong}"
        );
        let refused = page.get(&format!("/api/session?site_key={wrong}"));
        assert_eq!(refused.status, 403, "{wrong}");
    }
    let mut elsewhere = Page::of(&port, "https://listed.example");
    let refused = elsewhere.post("/api/session", &json!({"site_key": key}));
    assert_eq!(refused.status, 403);
    let mut stranger = Page::of(&port, "https://stranger.example");
    let refused = stranger.post("/api/session", &json!({"site_key": key}));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (403, "origin_not_allowed")
    );
    assert_eq!(refused.header("access-control-allow-origin"), None);
}

#[test]
fn a_body_that_asks_for_something_else_is_refused() {
    let port = with(|_| {});
    let mut page = Page::own(&port);
    for body in [
        json!({"tier": "gold"}),
        json!({"visitor": "vis_1"}),
        json!({"site_key": 7}),
    ] {
        let refused = page.post("/api/session", &body);
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (400, "invalid_parameter"),
            "{body}"
        );
    }
}

// === proof of work ===

#[test]
fn a_puzzle_makes_one_session_wherever_and_however_it_is_sent_again() {
    let port = with(work);
    let mut page = Page::own(&port);
    let refused = page.post("/api/session", &json!({}));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (400, "missing_parameter")
    );
    let answer = puzzle(&mut page, "");
    page.begin(&answer);
    // The same request id, another network, another isolate.
    for address in ["198.51.100.7", "203.0.113.9"] {
        port.other_isolate();
        let mut again = Page::own(&port);
        again.address = address;
        let bytes = answer.to_string().into_bytes();
        let head = |id: &str| Head {
            content_type: Some("application/json".into()),
            request_id: Some(id.into()),
            ..again.head("POST", "/api/session")
        };
        for id in ["req_same", "req_same"] {
            let refused = send(&port, head(id), &bytes);
            assert_eq!(
                (refused.status, code(&refused).as_str()),
                (403, "challenge_failed"),
                "{address}"
            );
        }
    }
    // Who has a session needs no other proof.
    page.begin(&json!({}));
}

#[test]
fn the_same_request_id_does_not_use_a_puzzle_twice() {
    let port = with(work);
    let mut page = Page::own(&port);
    let bytes = puzzle(&mut page, "").to_string().into_bytes();
    let head = || Head {
        content_type: Some("application/json".into()),
        request_id: Some("req_same".into()),
        ..page.head("POST", "/api/session")
    };
    assert_eq!(send(&port, head(), &bytes).status, 200);
    assert_eq!(send(&port, head(), &bytes).status, 403);
}

#[test]
fn a_wrong_late_or_foreign_answer_is_none() {
    let port = with(|config| {
        work(config);
        listed(config);
    });
    let mut page = Page::own(&port);
    let good = puzzle(&mut page, "");
    for (name, value) in [
        ("nonce", json!("x")),
        ("challenge", json!("pow1.a.0.9999999999.x")),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        let refused = page.post("/api/session", &bad);
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (403, "challenge_failed"),
            "{bad}"
        );
    }
    let mut other = Page::of(&port, PAGE);
    assert_eq!(other.post("/api/session", &good).status, 403);
    port.pass(Millis::from_secs(120));
    assert_eq!(page.post("/api/session", &good).status, 403);
    let answer = puzzle(&mut page, "");
    page.begin(&answer);
}

#[test]
fn a_site_key_can_ask_for_a_proof_that_others_need_not_give() {
    let port = with(|config| config.session.work_bits = 8);
    let key = site_key(&port, &[PAGE], |key| key.proof = Some(Proof::Work));
    let mut page = Page::of(&port, PAGE);
    let refused = page.post("/api/session", &json!({"site_key": key}));
    assert_eq!(refused.status, 400);
    let mut answer = puzzle(&mut page, &format!("?site_key={key}"));
    answer["site_key"] = json!(key);
    page.begin(&answer);
    assert_eq!(Page::own(&port).get("/api/session").json()["proof"], "none");
}

// === Turnstile ===

fn verdict(port: &FakePort, change: impl FnOnce(&mut Value)) {
    let mut answer = json!({
        "success": true,
        "challenge_ts": port.clock().now().rfc3339(),
        "hostname": "house.example",
        "action": "session",
        "error-codes": [],
    });
    change(&mut answer);
    port.script
        .borrow_mut()
        .push_back(Scripted::json(200, &answer));
}

#[test]
fn turnstile_is_asked_at_the_server_and_its_token_counts_once() {
    let port = with(turnstile);
    let mut page = Page::own(&port);
    let terms = page.get("/api/session").json();
    assert_eq!(
        (&terms["proof"], &terms["turnstile_site_key"]),
        (&json!("turnstile"), &json!("1x00000000000000000000AA"))
    );
    let missing = page.post("/api/session", &json!({}));
    assert_eq!(missing.status, 400);
    assert!(port.sent.borrow().is_empty());
    verdict(&port, |_| {});
    page.begin(&json!({"turnstile": "token-1"}));
    {
        let sent = port.sent.borrow();
        assert_eq!(
            sent[0].url,
            "https://challenges.cloudflare.com/turnstile/v0/siteverify"
        );
        let body = String::from_utf8_lossy(&sent[0].body).into_owned();
        assert!(
            body.starts_with(&format!(
                "secret={SECRET}&response=token-1&remoteip=198.51.100.7&idempotency_key="
            )),
            "{body}"
        );
    }
    // Even if Turnstile says yes again.
    verdict(&port, |_| {});
    let mut other = Page::own(&port);
    other.address = "203.0.113.9";
    let refused = other.post("/api/session", &json!({"turnstile": "token-1"}));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (403, "challenge_failed")
    );
}

#[test]
fn what_turnstile_does_not_confirm_is_refused() {
    let port = with(turnstile);
    type Edit = fn(&mut Value);
    let cases: [(Edit, u16, &str); 6] = [
        (|a| a["success"] = json!(false), 403, "challenge_failed"),
        (
            |a| a["hostname"] = json!("evil.example"),
            403,
            "challenge_failed",
        ),
        (|a| a["action"] = json!("login"), 403, "challenge_failed"),
        (
            |a| a["challenge_ts"] = json!("2020-01-01T00:00:00Z"),
            403,
            "challenge_failed",
        ),
        (|a| a["success"] = json!("true"), 502, "upstream_error"),
        (
            |a| *a = json!({"success": false, "error-codes": ["invalid-input-secret"]}),
            503,
            "setup_required",
        ),
    ];
    for (i, (edit, status, expected)) in cases.into_iter().enumerate() {
        verdict(&port, edit);
        let refused = Page::own(&port).post("/api/session", &json!({"turnstile": format!("t{i}")}));
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (status, expected),
            "{i}"
        );
        assert!(!refused.text().contains(SECRET));
    }
    for scripted in [
        Scripted::refused(),
        Scripted::error(302, None),
        Scripted::error(500, None),
        Scripted::json(200, &json!({"success": true})).after(Millis::from_secs(6)),
    ] {
        port.script.borrow_mut().push_back(scripted);
        let refused = Page::own(&port).post("/api/session", &json!({"turnstile": "t"}));
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (502, "upstream_error")
        );
    }
}

// === tokens that are not good ===

#[test]
fn whatever_is_wrong_with_a_token_the_refusal_is_the_same() {
    let port = with(|config| {
        listed(config);
        config.tenants.push(Tenant {
            name: "acme".into(),
            hosts: vec!["acme.example".into()],
            allowance: serde_json::from_value(json!({})).unwrap(),
        });
    });
    let mut page = Page::of(&port, PAGE);
    page.begin(&json!({}));
    let good = page.token.clone().unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let forged = base64url(&hmac_sha256(
        &[0; 32],
        format!("{}.{}", parts[0], parts[1]).as_bytes(),
    ));
    let none = base64url(br#"{"alg":"none","typ":"session+jwt"}"#);
    let bad = [
        format!("{}.{}.{forged}", parts[0], parts[1]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.AA", parts[1]),
        "a.b.c".into(),
        format!("{good}x"),
    ];
    let mut answers = Vec::new();
    for token in bad {
        page.token = Some(token);
        answers.push(page.get("/api/me"));
    }
    // In another tenant's house it is like one that never was.
    let at_acme = |token: &str| {
        let head = Head {
            own_origin: "https://acme.example".into(),
            authorization: Some(format!("Bearer {token}")),
            ..page.head("GET", "/api/me")
        };
        send(&port, head, b"")
    };
    let (known, unknown) = (at_acme(&good), at_acme("a.b.c"));
    assert_eq!(known.status, 401);
    assert_eq!(without_id(&known), without_id(&unknown));
    page.token = Some(good);
    assert_eq!(page.get("/api/me").status, 200);
    port.pass(Millis::from_secs(900));
    answers.push(page.get("/api/me"));
    for answer in &answers {
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert_eq!(without_id(answer), without_id(&answers[0]));
    }
}

#[test]
fn a_cookie_that_is_not_good_counts_as_none() {
    let port = with(|_| {});
    let mut page = Page::own(&port);
    page.begin(&json!({}));
    let visitor = page.cookie("__Host-gatehouse").to_owned();
    for (name, value) in [
        ("__Host-gatehouse", "x".to_owned()),
        (
            "__Host-gatehouse",
            page.cookie("__Host-gatehouse-session").to_owned(),
        ),
        ("__Host-gatehouse-session", visitor),
        ("gatehouse", page.cookie("__Host-gatehouse").to_owned()),
    ] {
        let mut thief = Page::own(&port);
        thief.cookies = vec![(name.into(), value)];
        assert_eq!(thief.me()["kind"], "anonymous", "{name}");
    }
}

#[test]
fn a_cookie_of_before_there_were_tokens_still_names_its_visitor() {
    let port = with(|_| {});
    let id = format!("vis_{}", "0a".repeat(16));
    let signed = format!("v1.{id}.{}", port.clock().now().secs());
    let key = port.settings().keys.as_ref().unwrap().cookie.reveal();
    let mac = base64url(&hmac_sha256(key, signed.as_bytes()));
    let mut page = Page::own(&port);
    page.cookies = vec![("__Host-gatehouse".into(), format!("{signed}.{mac}"))];
    assert_eq!(page.me()["id"], *id);
    assert_eq!(page.begin(&json!({}))["visitor"], *id);
    assert!(page.cookie("__Host-gatehouse").starts_with("ey"));
    assert_eq!(page.me()["id"], *id);
}

// === the end ===

#[test]
fn an_ended_token_is_refused_at_once_and_within_a_second_everywhere() {
    let port = with(listed);
    let mut page = Page::of(&port, PAGE);
    page.begin(&json!({}));
    assert_eq!(page.delete("/api/session").status, 204);
    for _ in 0..2 {
        for path in ["/api/me", "/v1/files", "/api/me/usage"] {
            let refused = page.get(path);
            assert_eq!(
                (refused.status, code(&refused).as_str()),
                (401, "invalid_credentials"),
                "{path}"
            );
        }
        let refused = page.post("/api/session", &json!({}));
        assert_eq!(refused.status, 401, "it is not renewed either");
        port.other_isolate();
    }
}

#[test]
fn an_ended_cookie_session_is_over_and_the_visitor_stays() {
    let port = with(guarded);
    let mut page = Page::own(&port);
    let told = page.begin(&json!({}));
    let (visitor, session) = (page.cookies[0].clone(), page.cookies[1].clone());
    let ended = page.delete("/api/session");
    assert_eq!(ended.status, 204);
    assert!(page.cookie("__Host-gatehouse-session").is_empty());
    // Somebody kept both.
    page.cookies = vec![visitor, session.clone()];
    let me = page.me();
    assert_eq!(
        (&me["id"], &me["session"]),
        (&told["visitor"], &Value::Null)
    );
    assert_eq!(page.ask("site").status, 401);
    // The ended one alone names nobody.
    page.cookies = vec![session];
    assert_eq!(page.me()["kind"], "anonymous");
    let none = page.delete("/api/session");
    assert_eq!(
        (none.status, code(&none).as_str()),
        (401, "session_required")
    );
}

#[test]
fn another_site_cannot_end_or_erase_by_cookies() {
    let port = with(listed);
    let mut page = Page::own(&port);
    page.begin(&json!({}));
    for (method, path) in [
        ("DELETE", "/api/session"),
        ("POST", "/api/me/erase"),
        ("GET", "/api/me/export"),
    ] {
        for (origin, site) in [
            (Some(PAGE), "cross-site"),
            (None, "cross-site"),
            (None, "same-site"),
        ] {
            let head = Head {
                origin: origin.map(str::to_owned),
                fetch_site: Some(site.into()),
                content_length: Some(0),
                ..page.head(method, path)
            };
            let refused = send(&port, head, b"");
            assert_eq!(
                (refused.status, code(&refused).as_str()),
                (403, "cross_site_refused"),
                "{path}"
            );
        }
    }
    assert!(page.me()["session"].is_object());
}

#[test]
fn every_session_before_an_epoch_is_over() {
    let port = with_provider(listed);
    let owner = owner_of(&port, HOUSE);
    owner.confirm(&port);
    let mut own = Page::own(&port);
    own.begin(&json!({}));
    let mut other = Page::of(&port, PAGE);
    other.begin(&json!({}));
    let told = owner.call(&port, "POST", "/visitors/revoke-all", &json!({}));
    assert_eq!(told.status, 200, "{}", told.text());
    let epoch = port.now().plus(Millis::from_secs(2));
    assert_eq!(told.json()["void_before"], epoch.rfc3339());
    assert_eq!(own.me()["kind"], "anonymous");
    assert_eq!(other.get("/api/me").status, 401);
    // What is told is what is done: those of that very second are void too, and those after it are not.
    port.pass(Millis::from_secs(2));
    own.begin(&json!({}));
    assert_eq!(own.me()["kind"], "anonymous");
    port.pass(Millis::from_secs(1));
    own.begin(&json!({}));
    assert_eq!(own.me()["kind"], "visitor");
}

/// How a session ends while one of its requests is being answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Nothing,
    RevokedAll,
    Ended,
    Revoked,
}

/// Ends the page's session in three seconds.
async fn ended_in_three_seconds(page: &Page<'_>, visitor: &str, how: Meanwhile) {
    let port = page.port;
    port.sleep(Millis::from_secs(3)).await;
    let until = Some(port.now().plus(Millis::from_secs(3600)));
    let ended = match how {
        Meanwhile::Nothing => return,
        Meanwhile::Ended => {
            let head = page.head("DELETE", "/api/session");
            let ended = serve(port, head, FakeBody::whole(b"", 1)).await;
            assert_eq!(ended.status, 204);
            return;
        }
        Meanwhile::RevokedAll => Change::RevokeAll(port.now()),
        Meanwhile::Revoked => Change::Revoke(visitor.into(), until),
    };
    change(port, ended, None, None).await.unwrap();
}

/// A body that comes after nine seconds.
struct LateBody<'a>(&'a FakePort, Option<&'static [u8]>);

impl ByteSource for LateBody<'_> {
    async fn next(&mut self) -> Option<Result<Vec<u8>, PortFault>> {
        self.0.sleep(Millis::from_secs(9)).await;
        self.1.take().map(|bytes| Ok(bytes.to_vec()))
    }
}

#[test]
fn a_session_that_is_ended_during_a_slow_call_is_not_renewed_by_its_answer() {
    use Meanwhile::{Ended, Nothing, Revoked, RevokedAll};
    for how in [Nothing, RevokedAll, Ended, Revoked] {
        let port = with_provider(|config| config.session.ttl_seconds = 60);
        let mut page = Page::own(&port);
        let visitor = page.begin(&json!({}))["visitor"]
            .as_str()
            .unwrap()
            .to_owned();
        port.pass(Millis::from_secs(45));
        port.script
            .borrow_mut()
            .push_back(said_hello().after(Millis::from_secs(9)));
        let body = json!({"model": "site", "messages": [{"role": "user", "content": "Hi"}]});
        let bytes = body.to_string().into_bytes();
        let head = Head {
            content_type: Some("application/json".into()),
            ..page.head("POST", "/v1/chat/completions")
        };
        let (reply, ()) = block_on(both(
            serve(&port, head, FakeBody::whole(&bytes, 64)),
            ended_in_three_seconds(&page, &visitor, how),
        ));
        let received = Received::from(reply);
        assert_eq!(received.status, 200, "{how:?}: {}", received.text());
        let cookies = if how == Nothing { 2 } else { 0 };
        assert_eq!(all(&received, "set-cookie").len(), cookies, "{how:?}");
    }
}

#[test]
fn a_session_that_is_ended_while_its_renewal_is_on_the_way_is_not_renewed() {
    use Meanwhile::{Ended, Nothing, Revoked, RevokedAll};
    for how in [Nothing, RevokedAll, Ended, Revoked] {
        let port = with(|_| {});
        let mut page = Page::own(&port);
        let visitor = page.begin(&json!({}))["visitor"]
            .as_str()
            .unwrap()
            .to_owned();
        let head = Head {
            content_type: Some("application/json".into()),
            ..page.head("POST", "/api/session")
        };
        let (reply, ()) = block_on(both(
            serve(&port, head, LateBody(&port, Some(b"{}"))),
            ended_in_three_seconds(&page, &visitor, how),
        ));
        let received = Received::from(reply);
        if how == Nothing {
            assert_eq!(received.status, 200, "{}", received.text());
        } else {
            assert_eq!(
                (received.status, code(&received).as_str()),
                (401, "invalid_credentials"),
                "{how:?}"
            );
            assert!(all(&received, "set-cookie").is_empty());
        }
    }
}

// === the site key of a session ===

/// A program that renews the token of a page, without an `Origin`.
fn renewed_by_a_program(page: &mut Page<'_>) -> Received {
    let head = Head {
        origin: None,
        fetch_site: None,
        content_length: Some(0),
        ..page.head("POST", "/api/session")
    };
    let received = send(page.port, head, b"");
    if received.status == 200 {
        page.token = received.json()["token"].as_str().map(str::to_owned);
    }
    received
}

fn tiers(config: &mut Config) {
    for name in ["gold", "plain"] {
        let tier = serde_json::from_value(json!({"name": name})).unwrap();
        config.tiers.push(tier);
    }
}

#[test]
fn a_session_of_a_site_key_that_is_gone_or_off_or_serves_another_origin_is_not_renewed() {
    let changes: [fn(&mut Option<SiteKey>); 3] = [
        |key| *key = None,
        |key| key.as_mut().unwrap().enabled = false,
        |key| key.as_mut().unwrap().origins = vec!["https://other.example".into()],
    ];
    for (i, edit) in changes.into_iter().enumerate() {
        let port = with(tiers);
        let id = site_key(&port, &[PAGE], |key| key.tier = Some("gold".into()));
        let mut page = Page::of(&port, PAGE);
        page.begin(&json!({"site_key": id}));
        assert_eq!(renewed_by_a_program(&mut page).status, 200);
        let rules = block_on(gatehouse::app::rules::rules(&port)).unwrap();
        let mut key = rules.site_keys.get(&id).cloned();
        edit(&mut key);
        block_on(change(&port, Change::SiteKey(id, key), None, None)).unwrap();
        let refused = renewed_by_a_program(&mut page);
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (403, "origin_not_allowed"),
            "{i}"
        );
    }
}

#[test]
fn a_renewal_takes_the_tier_that_the_site_key_has_by_now() {
    let port = with(tiers);
    let id = site_key(&port, &[PAGE], |key| key.tier = Some("gold".into()));
    let mut page = Page::of(&port, PAGE);
    page.begin(&json!({"site_key": id}));
    assert_eq!(page.me()["tier"], "gold");
    let rules = block_on(gatehouse::app::rules::rules(&port)).unwrap();
    let mut key = rules.site_keys[&id].clone();
    for tier in [Some("plain"), None] {
        key.tier = tier.map(str::to_owned);
        let changed = Change::SiteKey(id.clone(), Some(key.clone()));
        block_on(change(&port, changed, None, None)).unwrap();
        assert_eq!(renewed_by_a_program(&mut page).status, 200);
        assert_eq!(page.me()["tier"], json!(tier));
    }
}

#[test]
fn a_session_is_renewed_up_to_its_greatest_age_and_no_further() {
    let port = with(|config| {
        listed(config);
        config.session.ttl_seconds = 60;
        config.session.max_age_seconds = 100;
    });
    let mut program = Page::of(&port, PAGE);
    assert_eq!(program.begin(&json!({}))["expires_in"], 60);
    let mut own = Page::own(&port);
    own.begin(&json!({}));
    port.pass(Millis::from_secs(50));
    // Fifty seconds are left of the hundred.
    let renewed = renewed_by_a_program(&mut program);
    assert_eq!(renewed.json()["expires_in"], 50);
    assert_eq!(all(&own.get("/v1/models"), "set-cookie").len(), 2);
    port.pass(Millis::from_secs(45));
    assert_eq!(renewed_by_a_program(&mut program).json()["expires_in"], 5);
    // Nothing would come of another cookie.
    assert!(all(&own.get("/v1/models"), "set-cookie").is_empty());
    assert!(own.me()["session"].is_object());
    port.pass(Millis::from_secs(5));
    assert_eq!(renewed_by_a_program(&mut program).status, 401);
    assert_eq!(own.me()["session"], Value::Null);
    assert_eq!(own.begin(&json!({}))["expires_in"], 60);
}

// === a key without stores ===

#[test]
fn a_key_without_stores_neither_stores_answers_nor_reads_nor_lists_anything() {
    let port = with_provider(|_| {});
    let program = |stores| {
        let mut program = Page::own(&port);
        program.token = Some(api_key_that(&port, stores));
        program
    };
    let ask = |program: &mut Page<'_>, more: Value| {
        port.script.borrow_mut().clear();
        port.script.borrow_mut().push_back(said_hello());
        let mut body = json!({"model": "site", "input": "Hi"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        program.post("/v1/responses", &body)
    };
    for stores in [Stores::None, Stores::Read] {
        let mut key = program(stores);
        for (more, param) in [
            (json!({"store": true}), "store"),
            (json!({"store": "yes"}), "store"),
            (json!({"background": true}), "background"),
        ] {
            let refused = ask(&mut key, more);
            assert_eq!(
                (refused.status, code(&refused).as_str()),
                (403, "forbidden"),
                "{param}"
            );
            assert_eq!(refused.json()["error"]["param"], param);
        }
        // What it did not ask for is not done.
        for more in [json!({}), json!({"store": null}), json!({"store": false})] {
            let answered = ask(&mut key, more);
            assert_eq!(answered.status, 200, "{}", answered.text());
            assert_eq!(answered.json()["store"], false);
        }
        assert_eq!(port.stored_answers(), 0, "{stores:?}");
    }
    let mut none = program(Stores::None);
    let refused = ask(&mut none, json!({"previous_response_id": "resp_1"}));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (403, "forbidden")
    );
    for path in ["/api/me/export", "/v1/files", "/v1/responses/resp_1"] {
        assert_eq!(none.get(path).status, 403, "{path}");
    }
    // Nor is a stream kept that it could not come back to.
    let body =
        json!({"model": "site", "messages": [{"role": "user", "content": "Hi"}], "stream": true});
    for (stores, kept) in [(Stores::None, 0), (Stores::Read, 1)] {
        let key = program(stores);
        port.script.borrow_mut().clear();
        port.script.borrow_mut().push_back(streamed_hello());
        let head = Head {
            content_type: Some("application/json".into()),
            resumable: true,
            ..key.head("POST", "/v1/chat/completions")
        };
        let streamed = send(&port, head, body.to_string().as_bytes());
        assert_eq!(streamed.status, 200, "{}", streamed.text());
        assert_eq!(port.stored_answers(), kept, "{stores:?}");
    }
    // Who may write stores as the API has it.
    let mut write = program(Stores::Write);
    let answered = ask(&mut write, json!({}));
    assert_eq!(answered.json()["store"], true);
    let id = answered.json()["id"].clone();
    let next = ask(&mut write, json!({"previous_response_id": id}));
    assert_eq!(next.status, 200, "{}", next.text());
}

// === what is known of a caller ===

#[test]
fn who_is_nobody_has_no_account() {
    let port = with(|_| {});
    let mut page = Page::own(&port);
    for path in ["/api/me/usage", "/api/me/export"] {
        let refused = page.get(path);
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (401, "session_required"),
            "{path}"
        );
    }
    let refused = page.post("/api/me/erase", &json!({}));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (401, "session_required")
    );
}

#[test]
fn a_key_is_described_without_its_secret_and_erases_nothing() {
    let port = with(|_| {});
    let mut program = Page::own(&port);
    let key = api_key(&port);
    program.token = Some(key.clone());
    let me = program.me();
    assert_eq!(me["kind"], "key");
    assert!(key.contains(me["id"].as_str().unwrap()));
    assert!(!me.to_string().contains(&key[24..]));
    assert_eq!(program.get("/api/me/usage").status, 200);
    assert_eq!(program.get("/api/me/export").status, 200);
    let refused = program.post("/api/me/erase", &json!({}));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (403, "forbidden")
    );
}

#[test]
fn an_export_lists_the_documents_and_erasing_removes_them_with_the_visitor() {
    let port = with(listed);
    let mut page = Page::own(&port);
    let told = page.begin(&json!({}));
    let file = upload(&mut page);
    let mut other = Page::own(&port);
    other.begin(&json!({}));
    let kept = upload(&mut other);

    let export = page.get("/api/me/export");
    assert_eq!(export.status, 200, "{}", export.text());
    assert_eq!(
        export.header("content-disposition"),
        Some("attachment; filename=\"gatehouse-export.json\"")
    );
    let export = export.json();
    assert_eq!(export["me"]["id"], told["visitor"]);
    assert_eq!(export["documents"].as_array().unwrap().len(), 1);
    assert_eq!(export["documents"][0]["id"], *file);

    let before = port.blobs.borrow().len();
    let cookies = page.cookies.clone();
    let erased = page.post("/api/me/erase", &json!({}));
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert_eq!(erased.json(), json!({"erased": true, "documents": 1}));
    assert!(page.cookies.is_empty(), "{:?}", page.cookies);
    let blobs = port.blobs.borrow();
    let left = blobs
        .keys()
        .filter(|key| key.contains("/docs/vis_"))
        .count();
    assert_eq!(left, 1, "of {before}: {:?}", blobs.keys());
    drop(blobs);
    // Who kept the cookies is a stranger, everywhere, and gets another name.
    for _ in 0..2 {
        page.cookies.clone_from(&cookies);
        assert_eq!(page.me()["kind"], "anonymous");
        assert_eq!(page.get("/v1/files").json()["data"], json!([]));
        port.other_isolate();
    }
    assert_ne!(page.begin(&json!({}))["visitor"], told["visitor"]);
    assert_eq!(other.get("/v1/files").json()["data"][0]["id"], *kept);
}

#[test]
fn an_erasure_that_fails_on_the_way_is_finished_by_asking_again() {
    let places = [
        Op::BlobDelete,
        Op::Stored,
        Op::Object(Class::Owner),
        Op::Object(Class::AuditLog),
        Op::Object(Class::Directory),
    ];
    let mut failures = 0;
    for (op, when) in places
        .into_iter()
        .flat_map(|op| [(op, When::Before), (op, When::After)])
    {
        for first in 0..8 {
            let port = with_provider(|_| {});
            let mut page = Page::own(&port);
            page.begin(&json!({}));
            upload(&mut page);
            stored_answer(&mut page);
            let cookies = page.cookies.clone();
            port.fail([Fault {
                op: Some(op),
                first,
                count: 8,
                when,
            }]);
            let failed = page.post("/api/me/erase", &json!({}));
            port.heal();
            if failed.status != 200 {
                assert!(failed.status >= 500, "{op:?} {when:?}: {}", failed.text());
                failures += 1;
                page.cookies = cookies;
                let again = page.post("/api/me/erase", &json!({}));
                // Only the last step makes a stranger, when it is done and not acknowledged; then the rest is done.
                let last = (op, when) == (Op::Object(Class::Directory), When::After);
                assert!(
                    again.status == 200 || (last && again.status == 401),
                    "{op:?} {when:?} {first}: {}",
                    again.text()
                );
                assert_eq!(port.stored_answers(), 0, "{op:?} {when:?} {first}");
            }
            // No list leads to it any more; a blob that could not be deleted is the sweep's.
            page.cookies.clear();
            port.pass(Millis::from_secs(3600));
            while block_on(sweep(&port)).unwrap().owners > 0 {}
            let blobs = port.blobs.borrow();
            let left: Vec<&String> = blobs
                .keys()
                .filter(|key| key.contains("/docs/vis_"))
                .collect();
            assert!(left.is_empty(), "{op:?} {when:?} {first}: {left:?}");
        }
    }
    assert!(failures >= 10, "{failures}");
}

fn stored_answer(page: &mut Page<'_>) -> String {
    page.port.script.borrow_mut().push_back(said_hello());
    let body = json!({"model": "site", "input": "Remember 4711."});
    let answered = page.post("/v1/responses", &body);
    assert_eq!(answered.status, 200, "{}", answered.text());
    answered.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_erasure_deletes_the_visitors_stored_answers_and_no_others() {
    let port = with_provider(|_| {});
    let mut page = Page::own(&port);
    let visitor = page.begin(&json!({}))["visitor"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut other = Page::own(&port);
    other.begin(&json!({}));
    let kept = stored_answer(&mut other);
    for _ in 0..2 {
        stored_answer(&mut page);
    }
    // Streams and keyed calls are the visitor's too.
    for (resumable, key) in [(true, None), (false, Some("k".to_owned()))] {
        port.script.borrow_mut().push_back(if resumable {
            streamed_hello()
        } else {
            said_hello()
        });
        let head = Head {
            content_type: Some("application/json".into()),
            idempotency_key: key,
            resumable,
            ..page.head("POST", "/v1/chat/completions")
        };
        let body = json!({"model": "site", "messages": [{"role": "user", "content": "Remember 4711."}], "stream": resumable});
        assert_eq!(send(&port, head, body.to_string().as_bytes()).status, 200);
    }
    let gone = stored_answer(&mut page);
    assert_eq!(page.delete(&format!("/v1/responses/{gone}")).status, 200);
    assert_eq!(port.stored_answers(), 5);
    let erased = page.post("/api/me/erase", &json!({}));
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert_eq!(port.stored_answers(), 1);
    assert_eq!(other.get(&format!("/v1/responses/{kept}")).status, 200);
    // Nothing is left that would lead to them.
    port.change_rows(Class::Owner, &visitor, |rows| {
        assert!(rows.is_empty(), "{rows:?}")
    });
}

#[test]
fn what_was_said_of_a_visitor_in_a_block_goes_with_the_visitor() {
    let port = with_provider(|_| {});
    let owner = owner_of(&port, HOUSE);
    let mut page = Page::own(&port);
    let visitor = page.begin(&json!({}))["visitor"]
        .as_str()
        .unwrap()
        .to_owned();
    let block = json!({"visitor": visitor, "seconds": 3600, "reason": "Mr Smith of Baker Street"});
    let made = owner.call(&port, "POST", "/blocks", &block);
    assert_eq!(made.status, 200, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let lifted = owner.call(&port, "DELETE", &format!("/blocks/{id}"), &json!({}));
    assert_eq!(lifted.status, 200, "{}", lifted.text());
    let log = |word: &str| {
        let log = owner.call(&port, "GET", "/audit", &json!({}));
        assert_eq!(log.status, 200, "{}", log.text());
        log.text().contains(word)
    };
    assert!(log("Baker Street") && log(&visitor));
    owner.confirm(&port);
    let erased = owner.call(&port, "POST", "/erase", &json!({"visitor": visitor}));
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert!(!log("Baker Street") && !log(&visitor));
}

#[test]
fn ending_ones_own_session_is_recorded_and_does_not_wait_for_the_log() {
    for broken in [false, true] {
        let port = with_provider(listed);
        let owner = owner_of(&port, HOUSE);
        let mut page = Page::of(&port, PAGE);
        let visitor = page.begin(&json!({}))["visitor"]
            .as_str()
            .unwrap()
            .to_owned();
        if broken {
            port.fail([Fault {
                op: Some(Op::Object(Class::AuditLog)),
                first: 0,
                count: 100,
                when: When::Before,
            }]);
        }
        assert_eq!(page.delete("/api/session").status, 204);
        assert_eq!(page.get("/api/me").status, 401);
        port.heal();
        if broken {
            // The next change brings it along.
            let flag = json!({"value": true});
            assert_eq!(owner.call(&port, "PUT", "/flags/x", &flag).status, 200);
        }
        let log = owner.call(&port, "GET", "/audit?action=session.revoke", &json!({}));
        let entries = log.json()["entries"].as_array().unwrap().clone();
        assert_eq!(entries.len(), 1, "{}", log.text());
        assert!(entries[0].to_string().contains(&visitor), "{}", entries[0]);
    }
}

// === when something fails ===

#[test]
fn without_the_rules_nobody_gets_a_session() {
    let port = with(|_| {});
    port.fail([Fault {
        op: Some(Op::Object(Class::Directory)),
        first: 0,
        count: 100,
        when: When::Before,
    }]);
    let refused = Page::own(&port).post("/api/session", &json!({}));
    assert_eq!(refused.status, 503, "{}", refused.text());
    port.heal();
    Page::own(&port).begin(&json!({}));
}

#[test]
fn a_puzzle_whose_use_cannot_be_written_makes_no_session() {
    let port = with(work);
    let mut page = Page::own(&port);
    let answer = puzzle(&mut page, "");
    // The first call of the limiter admits, the next one is the puzzle's.
    port.fail([Fault {
        op: Some(Op::Object(Class::Limiter)),
        first: 1,
        count: 8,
        when: When::Before,
    }]);
    let refused = page.post("/api/session", &answer);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(all(&refused, "set-cookie").is_empty());
    port.heal();
    page.begin(&answer);
}
