//! The operators' pages as a browser without JavaScript meets them: it follows links, fills in forms and keeps cookies.

use std::collections::BTreeMap;

use gatehouse::app::port::Class;
use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::totp;

use crate::support::fake_port::{FakePort, Fault, Op, START, When};
use crate::support::run::block_on;
use crate::support::{FakeBody, Received};

const TOKEN: &str = "canary-admin-token-0123456789";
const ORIGIN: &str = "https://house.example";

// === a browser ===

struct Browser {
    port: FakePort,
    cookies: BTreeMap<String, String>,
    /// The page that is shown: path with query, and its answer.
    at: String,
    page: Option<Received>,
}

impl Browser {
    fn new(port: &FakePort) -> Self {
        Self {
            port: port.clone(),
            cookies: BTreeMap::new(),
            at: String::new(),
            page: None,
        }
    }

    fn head(&self, method: &str, address: &str) -> Head {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Head {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            own_origin: ORIGIN.into(),
            address: Some("198.51.100.7".into()),
            cookie: (!cookies.is_empty()).then(|| cookies.join("; ")),
            fetch_site: Some("same-origin".into()),
            user_agent: Some("<b>agent</b>".into()),
            at: self.port.clock().now(),
            ..Head::default()
        }
    }

    fn send(&mut self, head: Head, body: &str) -> u16 {
        let reply = block_on(serve(
            &self.port,
            head,
            FakeBody::whole(body.as_bytes(), 64),
        ));
        let got = Received::from(reply);
        for (name, value) in &got.headers {
            if *name == "set-cookie" {
                assert!(
                    value.contains("HttpOnly; SameSite=Strict; Secure"),
                    "{value}"
                );
                let (pair, rest) = value.split_once(';').unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                assert!(name.starts_with("__Host-"));
                if rest.contains("Max-Age=0") {
                    self.cookies.remove(name);
                } else {
                    self.cookies.insert(name.into(), value.into());
                }
            }
        }
        let status = got.status;
        if let Some(to) = got.header("location").map(str::to_owned) {
            for secret in ["gh_", "gho_", "ghi_", "token", "code", "secret"] {
                assert!(!to.contains(secret), "a secret in a Location: {to}");
            }
            assert_eq!(got.header("cache-control"), Some("no-store"));
            assert_eq!(status, 303);
            return self.get(&to);
        }
        if got
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
        {
            assert_eq!(got.header("cache-control"), Some("no-store"));
            let policy = got.header("content-security-policy").unwrap();
            assert!(
                policy.contains("script-src 'self'")
                    && policy.contains("form-action 'self'")
                    && !policy.contains("unsafe")
            );
            for inline in ["<script", "<style", " style=", " onclick=", "javascript:"] {
                assert!(!got.text().contains(inline), "{inline} in {}", got.text());
            }
        }
        self.page = Some(got);
        status
    }

    fn get(&mut self, address: &str) -> u16 {
        self.at = address.to_owned();
        let head = self.head("GET", address);
        self.send(head, "")
    }

    /// Fills in the form of that call and sends it; fields that are not given are as the page has them.
    fn fill(&mut self, call: &str, fields: &[(&str, &str)]) -> u16 {
        let form = self
            .form(call)
            .unwrap_or_else(|| panic!("no form for {call} in {}", self.text()));
        let action = attribute(form.split('>').next().unwrap(), "action").unwrap();
        let mut pairs = inputs(&form);
        for (name, value) in fields {
            match pairs.iter_mut().find(|(known, _)| known == name) {
                Some(pair) => (*value).clone_into(&mut pair.1),
                None => pairs.push(((*name).to_owned(), (*value).to_owned())),
            }
        }
        self.post(&action, &pairs)
    }

    fn post(&mut self, action: &str, pairs: &[(String, String)]) -> u16 {
        let body: Vec<String> = pairs
            .iter()
            .map(|(n, v)| format!("{}={}", encoded(n), encoded(v)))
            .collect();
        let body = body.join("&");
        self.at = action.to_owned();
        let head = Head {
            content_type: Some("application/x-www-form-urlencoded".into()),
            content_length: Some(body.len() as u64),
            origin: Some(ORIGIN.into()),
            ..self.head("POST", action)
        };
        self.send(head, &body)
    }

    fn form(&self, call: &str) -> Option<String> {
        let text = self.text();
        let forms = text
            .split("<form")
            .skip(1)
            .map(|part| part.split("</form>").next().unwrap());
        forms
            .filter(|form| inputs(form).contains(&("call".into(), call.into())))
            .map(str::to_owned)
            .next()
    }

    fn is_signed_in(&self) -> bool {
        self.cookies.contains_key("__Host-gatehouse-admin")
    }

    fn text(&self) -> &str {
        self.page.as_ref().unwrap().text()
    }

    fn has(&self, words: &str) -> bool {
        self.text().contains(words)
    }

    fn must(&self, words: &str) {
        assert!(self.has(words), "{words:?} is not in {}", self.text());
    }

    /// What is shown once under a label.
    fn copied(&self, label: &str) -> String {
        let from = self
            .text()
            .split(&format!("aria-label=\"{label}\">"))
            .nth(1);
        let from = from.unwrap_or_else(|| panic!("no {label} in {}", self.text()));
        unescaped(from.split("</pre>").next().unwrap())
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
    Some(unescaped(rest.split('"').next()?))
}

/// Names and values of a form as a browser would send them: boxes that are not ticked are left out.
fn inputs(form: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in form.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or((part, ""));
        let Some(name) = attribute(tag, "name") else {
            continue;
        };
        if tag.starts_with("input") {
            if attribute(tag, "type").as_deref() == Some("checkbox") && !tag.contains(" checked") {
                continue;
            }
            found.push((name, attribute(tag, "value").unwrap_or_default()));
        } else if tag.starts_with("textarea") {
            found.push((name, unescaped(text.trim_start_matches('\n'))));
        } else if tag.starts_with("select") {
            let options = form
                .split(&format!("name=\"{name}\""))
                .nth(1)
                .unwrap()
                .split("</select>")
                .next()
                .unwrap();
            let all: Vec<&str> = options.split("<option").skip(1).collect();
            let chosen = all
                .iter()
                .find(|option| option.contains(" selected"))
                .or(all.first());
            found.push((name, attribute(chosen.unwrap(), "value").unwrap()));
        }
    }
    found
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

// === operators ===

struct Operator {
    key: String,
    seed: Vec<u8>,
    recovery: Vec<String>,
}

fn house() -> FakePort {
    FakePort::with(|_| {}, &[("ADMIN_TOKEN", TOKEN)])
}

fn seed_of(secret: &str) -> Vec<u8> {
    let mut bits = 0_u64;
    let mut held = 0;
    let mut out = Vec::new();
    for c in secret.chars().filter(|c| !c.is_whitespace()) {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).unwrap() as u64;
        bits = bits << 5 | value;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}

impl Operator {
    /// A code that was not used before: time goes on to the next step.
    fn code(&self, browser: &Browser) -> String {
        browser.port.pass(Millis::from_secs(totp::STEP_SECONDS));
        self.now(browser)
    }

    fn now(&self, browser: &Browser) -> String {
        totp::code(
            &self.seed,
            browser.port.clock().now().secs() / totp::STEP_SECONDS,
        )
    }

    /// The second step of claiming or joining.
    fn enrol(browser: &mut Browser, call: &str) -> Self {
        let mut own = Self {
            key: browser.copied("Operator key"),
            seed: seed_of(&browser.copied("Secret")),
            recovery: Vec::new(),
        };
        let code = own.code(browser);
        assert_eq!(browser.fill(call, &[("code", &code)]), 200);
        own.recovery = browser
            .copied("Recovery codes")
            .lines()
            .map(str::to_owned)
            .collect();
        own
    }

    fn sign_in(&self, browser: &mut Browser) {
        assert_eq!(browser.get("/admin"), 200);
        let code = self.code(browser);
        assert_eq!(
            browser.fill("POST /sign-in", &[("key", &self.key), ("code", &code)]),
            200
        );
        browser.must("You are signed in.");
    }
}

/// A house with its owner signed in.
fn owned() -> (Browser, Operator) {
    let mut browser = Browser::new(&house());
    assert_eq!(browser.get("/admin"), 200);
    assert_eq!(
        browser.fill("POST /claim", &[("token", TOKEN), ("name", "Ada <i>")]),
        200
    );
    let owner = Operator::enrol(&mut browser, "POST /claim");
    owner.sign_in(&mut browser);
    (browser, owner)
}

/// Another operator of a role, signed in with a browser of their own.
fn joined(owner: &mut Browser, role: &str) -> (Browser, Operator) {
    owner.get("/admin/operators");
    assert_eq!(owner.fill("POST /operators", &[("role", role)]), 200);
    let invite = owner.copied("Invite");
    let mut browser = Browser::new(&owner.port);
    assert_eq!(browser.get("/admin/join"), 200);
    assert_eq!(
        browser.fill("POST /join", &[("invite", &invite), ("name", "Grace")]),
        200
    );
    let operator = Operator::enrol(&mut browser, "POST /join");
    operator.sign_in(&mut browser);
    (browser, operator)
}

// === the stories ===

#[test]
fn without_the_token_the_page_tells_the_steps_and_offers_no_form() {
    let mut browser = Browser::new(&FakePort::new());
    assert_eq!(browser.get("/admin"), 503);
    browser.must("ADMIN_TOKEN");
    assert!(!browser.has("<form"));
    let pairs = [
        ("call", "POST /claim"),
        ("token", TOKEN),
        ("name", "Mallory"),
    ]
    .map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(browser.post("/admin", &pairs), 503);
    assert!(!browser.has(TOKEN));
}

#[test]
fn from_the_claim_to_a_revoked_key_without_a_script() {
    let (mut browser, _) = owned();
    assert_eq!(browser.get("/admin/keys"), 200);
    let alias = browser.port_alias();
    assert_eq!(
        browser.fill(
            "POST /keys",
            &[
                ("name", "crawler"),
                ("scopes.aliases:item", &alias),
                ("tags:pairs", "team=search")
            ]
        ),
        200
    );
    let first = browser.copied("API key");
    assert!(first.starts_with("gh_tst_"), "{first}");

    browser.get("/admin/keys");
    browser.must("crawler");
    assert!(!browser.has(&first), "a key is shown once");
    let id = first.split('_').nth(2).unwrap().to_owned();
    let path = format!("/admin/keys/{id}");
    assert_eq!(browser.get(&path), 200);
    browser.must(&alias);
    browser.must("team: search");

    assert_eq!(
        browser.fill(&format!("PATCH /keys/{id}"), &[("name", "spider")]),
        200
    );
    browser.must("The key is changed.");
    browser.must("spider");
    browser.must(&alias);

    assert_eq!(browser.fill(&format!("POST /keys/{id}/rotate"), &[]), 200);
    let second = browser.copied("API key");
    assert_ne!(first, second);
    browser.must("The old secret is good until");

    browser.get(&path);
    let call = format!("DELETE /keys/{id}");
    assert_eq!(browser.fill(&call, &[]), 200);
    browser.must("This cannot be undone.");
    browser.get(&path);
    assert!(
        !browser.has("Revoked"),
        "nothing is done before it is confirmed"
    );
    browser.fill(&call, &[]);
    assert_eq!(browser.fill(&call, &[]), 200);
    browser.must("The key is revoked.");
    browser.must("Revoked <time");
    assert!(browser.form(&call).is_none());
}

impl Browser {
    /// The first alias that the form for a key offers.
    fn port_alias(&self) -> String {
        let form = self.form("POST /keys").unwrap();
        let tag = form
            .split('<')
            .find(|tag| tag.contains("scopes.aliases:item"))
            .unwrap();
        attribute(tag, "value").unwrap()
    }
}

#[test]
fn a_wrong_code_or_key_is_refused_in_the_same_words_and_gives_no_session() {
    let (mut browser, owner) = owned();
    assert_eq!(browser.fill("POST /sign-out", &[]), 200);
    browser.must("You are signed out.");
    assert!(!browser.is_signed_in());

    assert_eq!(browser.get("/admin/keys"), 401);
    let said = |browser: &Browser| {
        browser
            .text()
            .split("role=\"alert\"")
            .nth(1)
            .unwrap()
            .split("Request id")
            .next()
            .unwrap()
            .to_owned()
    };
    let good = owner.code(&browser);
    let wrong = if good == "000000" { "000001" } else { "000000" };
    assert_eq!(
        browser.fill("POST /sign-in", &[("key", &owner.key), ("code", wrong)]),
        401
    );
    let first = said(&browser);
    assert!(
        !browser.is_signed_in()
            && !browser.has(&owner.key)
            && first.contains("invalid_credentials")
    );
    let code = first.find("invalid_credentials").unwrap();
    assert!(
        first.find("<strong>").unwrap() < code,
        "the cause stands before the code"
    );
    assert_eq!(
        browser.fill("POST /sign-in", &[("key", "gho_tst_x"), ("code", &good)]),
        401
    );
    assert_eq!(said(&browser), first);
    // The page that was asked for is the one that comes after the sign-in.
    assert_eq!(
        browser.fill("POST /sign-in", &[("key", &owner.key), ("code", &good)]),
        200
    );
    assert_eq!(browser.at, "/admin/keys?notice=SignIn");
    browser.must("New key");
}

#[test]
fn a_recovery_code_stands_in_for_the_authenticator_once() {
    let (mut browser, owner) = owned();
    browser.fill("POST /sign-out", &[]);
    let fields = [
        ("key", owner.key.as_str()),
        ("code", ""),
        ("recovery_code", owner.recovery[0].as_str()),
    ];
    assert_eq!(browser.fill("POST /sign-in", &fields), 200);
    browser.must("You are signed in.");
    browser.fill("POST /sign-out", &[]);
    assert_eq!(browser.fill("POST /sign-in", &fields), 401);
}

#[test]
fn an_enrolment_with_a_wrong_code_is_shown_again_with_what_it_needs() {
    let mut browser = Browser::new(&house());
    browser.get("/admin");
    browser.fill("POST /claim", &[("token", TOKEN), ("name", "Ada")]);
    assert!(!browser.has(TOKEN), "the enrolment stands for it");
    let key = browser.copied("Operator key");
    assert_eq!(browser.fill("POST /claim", &[("code", "12")]), 400);
    assert_eq!(browser.copied("Operator key"), key);
    browser.must("aria-invalid=\"true\"");
    Operator::enrol(&mut browser, "POST /claim").sign_in(&mut browser);
}

#[test]
fn a_stale_second_factor_is_asked_for_and_the_form_goes_on() {
    let (mut browser, owner) = owned();
    browser.get("/admin/keys");
    browser.port.pass(Millis::from_secs(601));
    assert_eq!(browser.fill("POST /keys", &[("name", "late \"key\"")]), 200);
    browser.must("Confirm that it is you");
    browser.must("late &quot;key&quot;");
    assert_eq!(browser.fill("POST /keys", &[("totp", "1")]), 401);
    browser.must("Confirm that it is you");
    browser.must("The code is wrong");
    let code = owner.code(&browser);
    assert_eq!(browser.fill("POST /keys", &[("totp", &code)]), 200);
    assert!(browser.copied("API key").starts_with("gh_tst_"));
    browser.get("/admin/keys");
    assert_eq!(browser.text().matches("late &quot;key&quot;").count(), 1);
}

#[test]
fn what_a_role_may_not_is_neither_offered_nor_done() {
    let (mut owner, _) = owned();
    let (mut browser, _) = joined(&mut owner, "analyst");
    assert_eq!(browser.get("/admin/keys"), 200);
    assert!(browser.form("POST /keys").is_none());
    assert!(!browser.has("/admin/keyring") && !browser.has("/admin/operators"));
    for call in [
        "POST /keys",
        "POST /operators",
        "DELETE /keys/0123456789abcdef",
        "GET /audit/export",
        "POST /keyring/emergency",
    ] {
        let pairs = [
            ("call", call),
            ("name", "x"),
            ("scopes.stores", "none"),
            ("role", "owner"),
            ("sure", "yes"),
        ];
        let pairs = pairs.map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(browser.post("/admin/keys", &pairs), 403, "{call}");
        browser.must("forbidden");
    }
    for path in [
        "/admin/keyring",
        "/admin/operators",
        "/admin/providers",
        "/admin/access-review",
        "/admin/visitors",
    ] {
        assert_eq!(browser.get(path), 403, "{path}");
        assert!(browser.form("POST /sign-out").is_some());
    }
    owner.get("/admin/keys");
    owner.must("No API keys.");
}

#[test]
fn each_section_is_a_page_for_its_owner() {
    let (mut browser, _) = owned();
    browser.get("/admin");
    let paths: Vec<String> = browser
        .text()
        .split("href=\"/admin")
        .skip(1)
        .map(|part| format!("/admin{}", part.split('"').next().unwrap()))
        .collect();
    assert!(paths.len() >= 16, "{paths:?}");
    for path in paths {
        assert_eq!(browser.get(&path), 200, "{path}: {}", browser.text());
        browser.must(if path.contains('?') {
            "aria-current=\"page\""
        } else {
            "aria-current"
        });
    }
    assert_eq!(browser.get("/admin/nothing"), 404);
    assert_eq!(browser.get("/admin/keys/0123456789abcdef"), 404);
    assert_eq!(browser.get("/admin/visitors?id=%3Cb%3E"), 200);
    assert!(!browser.has("<b>"));
}

#[test]
fn names_with_markup_are_text() {
    let (mut browser, _) = owned();
    let evil = "\"><img src=x onerror=alert(1)>";
    browser.get("/admin/keys");
    browser.fill("POST /keys", &[("name", evil)]);
    browser.get("/admin/lists");
    browser.fill(
        "POST /blocks",
        &[("cidr", "203.0.113.0/24"), ("reason", evil)],
    );
    browser.must("The block is in force.");
    browser.get("/admin/flags");
    browser.fill(
        "PUT /flags/{name}",
        &[("{name}", "flag<img>"), ("value:flag", evil)],
    );
    for path in [
        "/admin/keys",
        "/admin/lists",
        "/admin/flags",
        "/admin/audit",
        "/admin/access-review",
        "/admin/sessions",
        "/admin",
    ] {
        assert_eq!(browser.get(path), 200);
        assert!(!browser.has("<img"), "{path}: {}", browser.text());
        assert!(!browser.has("<i>") && !browser.has("<b>agent"), "{path}");
    }
    // Nothing of an address is shown as it is.
    for path in [
        "/admin/audit?action=%22%3E%3Cimg%3E",
        "/admin/limits?scope=%22%3E%3Cimg%3E",
        "/admin/keys?notice=%3Cimg%3E",
        "/admin/alerts?state=%3Cimg%3E",
        "/admin/%3Cimg%3E",
    ] {
        browser.get(path);
        assert!(!browser.has("<img"), "{path}");
    }
}

#[test]
fn a_change_can_be_undone_but_not_over_a_later_one() {
    let (mut browser, _) = owned();
    browser.get("/admin/lists");
    browser.fill(
        "POST /blocks",
        &[("cidr", "203.0.113.0/24"), ("reason", "noise")],
    );
    browser.must("203.0.113.0/24");
    let undo = |browser: &Browser| {
        browser.text().split("role=\"status\"").nth(1).map(|part| {
            let form = part.split("</form>").next().unwrap();
            inputs(form)
                .into_iter()
                .find(|(name, _)| name == "call")
                .unwrap()
                .1
        })
    };
    let call = undo(&browser).unwrap();
    assert!(call.starts_with("DELETE /blocks/blk_"), "{call}");
    assert_eq!(browser.fill(&call, &[]), 200);
    browser.must("No blocks.");

    let now = "allowance.concurrent:number";
    browser.get("/admin/limits");
    assert_eq!(
        browser.fill("PUT /limits", &[("scope", "visitor"), (now, "7")]),
        200
    );
    browser.must("7 calls at the same time");
    browser.get("/admin/limits?scope=visitor");
    assert_eq!(browser.fill("PUT /limits", &[(now, "9")]), 200);
    assert_eq!(undo(&browser).unwrap(), "PUT /limits");
    // Two forms of the page call this; that of the notice is the first.
    assert_eq!(browser.fill("PUT /limits", &[]), 200);
    browser.must("7 calls at the same time");

    browser.get("/admin/limits?scope=visitor");
    browser.fill("PUT /limits", &[(now, "9")]);
    let mut other = Browser::new(&browser.port);
    other.cookies.clone_from(&browser.cookies);
    other.get("/admin/flags");
    other.fill(
        "PUT /flags/{name}",
        &[("{name}", "beta"), ("value:flag", "true")],
    );
    assert_eq!(browser.fill("PUT /limits", &[]), 409);
    browser.get("/admin/limits");
    browser.must("9 calls at the same time");
}

#[test]
fn a_refused_form_keeps_what_was_typed_and_names_the_field() {
    let (mut browser, _) = owned();
    browser.get("/admin/site-keys");
    assert_eq!(
        browser.fill(
            "POST /site-keys",
            &[("name", "Shop"), ("origins:list", "not an origin")]
        ),
        400
    );
    browser.must("value=\"Shop\"");
    browser.must("not an origin");
    browser.must("aria-invalid=\"true\"");
    browser.must("autofocus");
    assert_eq!(
        browser.fill(
            "POST /site-keys",
            &[("origins:list", "https://shop.example")]
        ),
        200
    );
    browser.must("The site key is made.");
    browser.must("https://shop.example");
    browser.get("/admin/budgets");
    assert_eq!(
        browser.fill(
            "PUT /budgets",
            &[("scope", "tenant"), ("budget.day_usd:number", "-1")]
        ),
        200
    );
    browser.must("Is this what you mean?");
    assert_eq!(browser.fill("PUT /budgets", &[]), 400);
    browser.must("aria-invalid=\"true\"");
    browser.fill("PUT /budgets", &[("budget.day_usd:number", "2.5")]);
    browser.must("Is this what you mean?");
    assert_eq!(browser.fill("PUT /budgets", &[]), 200);
    browser.must("$2.5 in each day (UTC)");
    browser.must("spent");
}

#[test]
fn limits_by_class_are_set_shown_and_cleared() {
    let (mut browser, _) = owned();
    browser.get("/admin/limits");
    let fields = [
        ("scope", "alias/site"),
        ("allowance.requests.1.sustained.requests:number", "40"),
        ("allowance.requests.1.sustained.seconds:number", "3600"),
        ("allowance.tokens.tokens:number", "5000"),
        ("allowance.tokens.seconds:number", "86400"),
    ];
    assert_eq!(browser.fill("PUT /limits", &fields), 200);
    browser.must("chat: 40 requests in 60 min");
    browser.must("5000 tokens in 24 h");
    assert_eq!(browser.fill("DELETE /limits?scope=alias%2fsite", &[]), 200);
    assert!(!browser.has("chat: 40 requests in 60 min"));
}

#[test]
fn a_form_of_another_site_changes_nothing() {
    let (mut browser, _) = owned();
    let pairs = "call=POST%20/keys&name=x&scopes.stores=none";
    for (origin, site) in [
        (Some("https://evil.example"), None),
        (Some("null"), Some("cross-site")),
        (None, Some("same-site")),
    ] {
        let head = Head {
            content_type: Some("application/x-www-form-urlencoded".into()),
            origin: origin.map(str::to_owned),
            fetch_site: site.map(str::to_owned),
            ..browser.head("POST", "/admin/keys")
        };
        assert_eq!(browser.send(head, pairs), 403);
    }
    browser.get("/admin/keys");
    browser.must("No API keys.");
}

#[test]
fn the_second_factor_and_the_key_are_replaced() {
    let (mut browser, mut owner) = owned();
    browser.get("/admin/me");
    assert_eq!(browser.fill("POST /me/totp", &[]), 200);
    owner.seed = seed_of(&browser.copied("Secret"));
    assert_eq!(browser.fill("POST /me/totp", &[("code", "1")]), 400);
    let code = owner.code(&browser);
    assert_eq!(browser.fill("POST /me/totp", &[("code", &code)]), 200);
    browser.must("Your second factor is replaced.");
    assert_eq!(browser.fill("POST /me/key", &[]), 200);
    browser.must("Replace my key");
    assert_eq!(browser.fill("POST /me/key", &[]), 200);
    owner.key = browser.copied("Operator key");
    browser.get("/admin");
    browser.fill("POST /sign-out", &[]);
    owner.sign_in(&mut browser);
}

#[test]
fn the_log_is_verified_against_a_checkpoint_that_was_kept() {
    let (mut browser, _) = owned();
    browser.get("/admin/audit");
    browser.must("house.claim");
    assert_eq!(browser.fill("GET /audit/checkpoint", &[]), 200);
    let page = browser.page.as_ref().unwrap();
    assert_eq!(
        page.header("content-disposition"),
        Some("attachment; filename=\"checkpoint\"")
    );
    let kept = browser.text().to_owned();
    browser.get("/admin/audit");
    // A browser sends a text with CR LF.
    assert_eq!(
        browser.fill(
            "POST /audit/verify",
            &[("checkpoint", &kept.replace('\n', "\r\n"))]
        ),
        200
    );
    browser.must("Verdict: consistent");
    browser.get("/admin/audit");
    let forged = kept.replacen("— ", "— x", 1);
    assert_eq!(
        browser.fill("POST /audit/verify", &[("checkpoint", &forged)]),
        200
    );
    assert!(!browser.has("Verdict: consistent"), "{}", browser.text());
    browser.get("/admin/audit?action=house.claim");
    assert_eq!(browser.fill("GET /audit/export", &[]), 200);
    assert!(
        browser.has("house.claim") && !browser.has("operator.sign_in"),
        "{}",
        browser.text()
    );
    assert!(START < browser.port.clock().now());
}

#[test]
fn a_notice_tells_only_what_this_browser_did() {
    let (mut browser, _) = owned();
    let says = "The emergency rotation is done";
    let mut stranger = Browser::new(&browser.port);
    for browser in [&mut stranger, &mut browser] {
        browser.get("/admin?notice=KeyringEmergency");
        assert!(!browser.has(says), "{}", browser.text());
        assert!(!browser.has("role=\"status\""), "{}", browser.text());
    }
    browser.get("/admin/flags");
    browser.fill(
        "PUT /flags/{name}",
        &[("{name}", "beta"), ("value:flag", "true")],
    );
    browser.must("The flag is set.");
    // Of a page that is loaded again as well, with what undoes it; under no other name.
    browser.get("/admin/flags?notice=FlagSet");
    browser.must("The flag is set.");
    browser.must("Undo");
    browser.get("/admin?notice=KeyringEmergency");
    assert!(!browser.has(says));
}

#[test]
fn a_role_a_disabling_and_a_budget_are_asked_about_first() {
    let (mut owner, _) = owned();
    joined(&mut owner, "support");
    owner.get("/admin/operators");
    let calls: Vec<String> = owner
        .text()
        .split("name=\"call\" value=\"")
        .skip(1)
        .map(|part| part.split('"').next().unwrap().to_owned())
        .collect();
    let find = |method: &str, end: &str| {
        let found = calls
            .iter()
            .rfind(|call| call.starts_with(method) && call.ends_with(end));
        found.unwrap_or_else(|| panic!("{calls:?}")).clone()
    };
    for (call, fields, done) in [
        (
            find("PUT /operators/", "/role"),
            vec![("role", "owner")],
            "The operator is changed.",
        ),
        (
            find("PATCH /operators/", ""),
            Vec::new(),
            "The operator is changed.",
        ),
        (
            "PUT /budgets".to_owned(),
            vec![("scope", "global"), ("budget.day_usd:number", "0.5")],
            "The budget is changed.",
        ),
    ] {
        owner.get(if call.contains("budgets") {
            "/admin/budgets"
        } else {
            "/admin/operators"
        });
        assert_eq!(owner.fill(&call, &fields), 200);
        owner.must("Is this what you mean?");
        assert!(!owner.has(done), "{call}");
        assert_eq!(owner.fill(&call, &[]), 200);
        owner.must(done);
    }
}

#[test]
fn a_lifted_block_and_a_removed_site_key_come_back_by_undo() {
    let (mut browser, _) = owned();
    let first = |browser: &Browser, start: &str| {
        let text = browser.text();
        let from = text.split("name=\"call\" value=\"").skip(1);
        let call = from.map(|part| part.split('"').next().unwrap());
        call.filter(|call| call.starts_with(start))
            .map(str::to_owned)
            .next()
            .unwrap_or_else(|| panic!("no {start} in {text}"))
    };
    browser.get("/admin/lists");
    browser.fill(
        "POST /blocks",
        &[("cidr", "203.0.113.0/24"), ("reason", "noise")],
    );
    browser.get("/admin/lists");
    let lift = first(&browser, "DELETE /blocks/");
    browser.fill(&lift, &[]);
    browser.must("The block is lifted.");
    browser.must("No blocks.");
    // The notice's form is the first of the page.
    assert_eq!(browser.fill("POST /blocks", &[]), 200);
    browser.must("203.0.113.0/24");

    browser.get("/admin/site-keys");
    browser.fill(
        "POST /site-keys",
        &[("name", "Shop"), ("origins:list", "https://shop.example")],
    );
    browser.get("/admin/site-keys");
    let remove = first(&browser, "DELETE /site-keys/");
    browser.fill(&remove, &[]);
    browser.fill(&remove, &[]);
    browser.must("The site key is removed.");
    assert!(!browser.has("DELETE /site-keys/"));
    let undo = first(&browser, "PUT /site-keys/");
    assert_eq!(browser.fill(&undo, &[]), 200);
    browser.must("https://shop.example");
    browser.must("DELETE /site-keys/");
}

#[test]
fn only_an_owner_is_offered_the_networks_of_operators() {
    let (mut owner, _) = owned();
    let (mut admin, _) = joined(&mut owner, "admin");
    for (browser, offered) in [(&mut owner, true), (&mut admin, false)] {
        assert_eq!(browser.get("/admin/lists"), 200);
        assert_eq!(browser.has("admin_allow"), offered);
    }
    owner.fill("PUT /lists", &[("deny:list", "203.0.113.0/24")]);
    owner.must("The lists are changed.");
    owner.must("203.0.113.0/24");
}

#[test]
fn a_snapshot_is_taken_and_a_lost_house_put_back_without_a_script() {
    let (mut browser, owner) = owned();
    assert_eq!(browser.get("/admin/restore"), 409);
    browser.must("This house has an owner");
    assert!(browser.form("POST /restore").is_none());
    assert_eq!(browser.get("/admin/backups"), 200);
    browser.must("No snapshots.");
    assert_eq!(browser.fill("POST /backups", &[]), 200);
    browser.must("The snapshot is taken.");
    let id = browser.text().split("<code>snap_").nth(1).unwrap();
    let id = format!("snap_{}", id.split('<').next().unwrap());

    browser.port.lose_objects();
    let mut browser = Browser::new(&browser.port);
    assert_eq!(browser.get("/admin"), 200);
    browser.must("href=\"/admin/restore\"");
    assert_eq!(browser.get("/admin/restore"), 200);
    let wrong = [("token", "canary-admin-token-00000000")];
    assert_eq!(browser.fill("POST /restore", &wrong), 401);
    browser.must("invalid_credentials");
    assert!(!browser.has("canary-admin-token"));
    let unknown = [("token", TOKEN), ("snapshot", "snap_000000000000000000ff")];
    assert_eq!(browser.fill("POST /restore", &unknown), 404);
    // Which one is never guessed, but told to whoever has the token.
    assert_eq!(browser.get("/admin/restore"), 200);
    let none = [("token", TOKEN), ("snapshot", "")];
    assert_eq!(browser.fill("POST /restore", &none), 400);
    browser.must(&id);
    // The wrong token was counted: the house is not as empty as it was.
    assert_eq!(browser.get("/admin/restore"), 200);
    let asked = [("token", TOKEN), ("snapshot", id.as_str())];
    assert_eq!(browser.fill("POST /restore", &asked), 409);
    browser.must("was used since");
    let anyway = [asked[0], asked[1], ("discard:bool", "true")];
    // It is cut off in the middle: nothing is served, but the page that goes on.
    browser.port.fail([Fault {
        op: Some(Op::Object(Class::Keyring)),
        first: 2,
        count: 1,
        when: When::Before,
    }]);
    assert_eq!(browser.get("/admin/restore"), 200);
    assert_eq!(browser.fill("POST /restore", &anyway), 503);
    browser.port.heal();
    assert_eq!(browser.get("/admin"), 503);
    browser.must("house_restoring");
    assert_eq!(browser.get("/admin/restore"), 200);
    assert_eq!(browser.fill("POST /restore", &asked), 200);
    browser.must("The house is back");
    assert!(!browser.has(TOKEN));
    owner.sign_in(&mut browser);
}

#[test]
fn what_an_owner_keeps_is_taken_back_after_a_question() {
    let (mut browser, _owner) = owned();
    let asked = [("owner", "key_abc"), ("to", "2026-11-20T00:00:00Z")];
    assert_eq!(browser.get("/admin/backups"), 200);
    assert_eq!(browser.fill("POST /rewind", &asked), 200);
    browser.must("What came since is away");
    assert_eq!(browser.fill("POST /rewind", &[]), 501);
    browser.must("rewind_unavailable");
    browser.port.remembers();
    assert_eq!(browser.get("/admin/backups"), 200);
    assert_eq!(browser.fill("POST /rewind", &asked), 200);
    assert_eq!(browser.fill("POST /rewind", &[]), 200);
    browser.must("It is taken back");
    browser.must("as they were then");
}

#[test]
fn without_a_snapshot_there_is_nothing_to_put_back() {
    let mut browser = Browser::new(&house());
    assert_eq!(browser.get("/admin/restore"), 200);
    assert_eq!(browser.fill("POST /restore", &[("token", TOKEN)]), 400);
    browser.must("holds no snapshot");
    let mut browser = Browser::new(&FakePort::new());
    assert_eq!(browser.get("/admin/restore"), 503);
    browser.must("ADMIN_TOKEN");
    assert!(browser.form("POST /restore").is_none());
}
