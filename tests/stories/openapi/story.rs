//! Every endpoint is called as the file says, and answers as the file says.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use gatehouse::app::keyring::rotate::run_due;
use gatehouse::app::port::Port;
use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::digest::base64url;
use gatehouse::base::time::Millis;
use gatehouse::domain::admin::{Call, ENDPOINTS, Endpoint};
use gatehouse::domain::identity::totp;
use serde_json::{Value, json};

use super::document::{document, path_of};
use super::schema::{Schemas, resolve};
use crate::support::fake_port::FakePort;
use crate::support::run::block_on;
use crate::support::{FakeBody, Received};

const TOKEN: &str = "a long enough admin token";
const ORIGIN: &str = "https://house.example";
const DAY: u64 = 86_400; // seconds

/// A client that believes the file.
struct Desk {
    port: FakePort,
    document: Value,
    /// Calls and statuses that were met.
    met: BTreeSet<(String, u16)>,
    session: Option<String>,
    operator_key: String,
    seed: Vec<u8>,
}

fn endpoint(call: Call) -> &'static Endpoint {
    ENDPOINTS
        .iter()
        .find(|endpoint| endpoint.call == call)
        .unwrap()
}

/// RFC 4648 §6, for the authenticator.
fn from_base32(text: &str) -> Vec<u8> {
    let bits: String = text
        .bytes()
        .map(|byte| {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                _ => byte - b'2' + 26,
            };
            format!("{value:05b}")
        })
        .collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    bytes
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}

impl Desk {
    fn new() -> Self {
        let change = |config: &mut gatehouse::domain::settings::config::Config| {
            config.keyring.recovery_key = Some(recovery_key());
            // The story is not about limits.
            for limit in &mut config.limits {
                limit.burst.requests = 10_000;
                limit.sustained.requests = 10_000;
                limit.network_burst = None;
                limit.network_sustained = None;
            }
            config.tiers.push(
                serde_json::from_value(
                    json!({"name": "free", "allowance": {"budget": {"day_usd": 1.0}}}),
                )
                .unwrap(),
            );
        };
        Self {
            port: FakePort::with(change, &[("ADMIN_TOKEN", TOKEN)]),
            document: document(),
            met: BTreeSet::new(),
            session: None,
            operator_key: String::new(),
            seed: Vec::new(),
        }
    }

    /// The code that an authenticator shows; each is good once, so that time has to pass.
    fn code(&self) -> String {
        self.port
            .set_now(self.port.now().plus(Millis::from_secs(30)));
        totp::code(&self.seed, totp::step_at(self.port.now()))
    }

    fn send(&self, method: &str, path: &str, query: &str, body: Option<&Value>) -> Received {
        let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let head = Head {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            own_origin: ORIGIN.into(),
            address: Some("198.51.100.7".into()),
            content_type: body.map(|_| "application/json".into()),
            content_length: Some(bytes.len() as u64),
            authorization: self.session.as_ref().map(|token| format!("Bearer {token}")),
            at: self.port.now(),
            ..Head::default()
        };
        Received::from(block_on(serve(
            &self.port,
            head,
            FakeBody::whole(&bytes, 1000),
        )))
    }

    /// Calls an endpoint and holds both sides against the file.
    fn call(&mut self, call: Call, id: &str, query: &str, body: Option<Value>) -> Received {
        let endpoint = endpoint(call);
        let template = path_of(endpoint);
        let operation =
            self.document["paths"][&template][endpoint.method.to_ascii_lowercase()].clone();
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let Some(body) = &body {
            let faults = Schemas::of(&self.document, false).faults(schema, body);
            assert!(faults.is_empty(), "{call:?} sends {body}: {faults:?}");
        } else {
            assert_ne!(
                operation["requestBody"]["required"], true,
                "{call:?} takes a body"
            );
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap();
            let mut known = operation["parameters"].as_array().into_iter().flatten();
            assert!(
                known.any(|one| one["in"] == "query" && one["name"] == name),
                "{call:?}: {name}"
            );
        }
        let path = match template.split_once('{') {
            Some((before, after)) => [before, id, after.split_once('}').unwrap().1].concat(),
            None => template,
        };
        let received = self.send(endpoint.method, &path, query, body.as_ref());
        self.hold(&format!("{call:?}"), &operation, &received);
        received
    }

    /// Is an answer one of those that the file lists?
    fn hold(&mut self, what: &str, operation: &Value, received: &Received) {
        let status = received.status.to_string();
        let mut response = &operation["responses"][&status];
        if let Some(reference) = response["$ref"].as_str() {
            response = resolve(&self.document, reference);
        }
        assert!(
            response.is_object(),
            "{what} answers {status}: {}",
            String::from_utf8_lossy(&received.body)
        );
        if received.status == 204 {
            assert!(received.body.is_empty(), "{what}");
            self.met.insert((what.to_owned(), 204));
            return;
        }
        let content_type = received.header("content-type").unwrap();
        let content = &response["content"][content_type];
        assert!(content.is_object(), "{what} answers {content_type}");
        if let Some(schema) = content.get("schema") {
            let told = received.json();
            let faults = Schemas::of(&self.document, true).faults(schema, &told);
            assert!(faults.is_empty(), "{what} tells {told}: {faults:?}");
            if received.status >= 400 {
                let codes = response["x-gatehouse-codes"].as_array().unwrap();
                assert!(codes.contains(&told["code"]), "{what}: {told}");
            }
        }
        if received.status < 400 {
            self.met.insert((what.to_owned(), received.status));
        }
    }

    fn get(&mut self, call: Call, id: &str, query: &str) -> Value {
        let received = self.call(call, id, query, None);
        assert_eq!(received.status, 200, "{call:?}: {}", received.text());
        received.json()
    }

    fn change(&mut self, call: Call, id: &str, body: Value) -> Value {
        let received = self.call(call, id, "", Some(body));
        assert!(received.status < 300, "{call:?}: {}", received.text());
        received.json()
    }

    fn refused(&mut self, call: Call, id: &str, body: Option<Value>) -> String {
        let received = self.call(call, id, "", body);
        assert!(received.status >= 400, "{call:?}: {}", received.text());
        received.json()["code"].as_str().unwrap().to_owned()
    }

    fn file(&mut self, call: Call, id: &str, query: &str) -> String {
        let received = self.call(call, id, query, None);
        assert_eq!(
            received.status,
            200,
            "{call:?}: {}",
            String::from_utf8_lossy(&received.body)
        );
        String::from_utf8_lossy(&received.body).into_owned()
    }

    /// Claims the house and signs in.
    fn open(&mut self) {
        assert_eq!(self.get(Call::State, "", "")["claimed"], false);
        let begun = self.change(Call::Claim, "", json!({"token": TOKEN, "name": "Ada"}));
        self.operator_key = begun["operator_key"].as_str().unwrap().to_owned();
        self.seed = from_base32(begun["totp_secret"].as_str().unwrap());
        let code = self.code();
        let body = json!({"token": TOKEN, "enrolment": begun["enrolment"], "code": code});
        self.change(Call::Claim, "", body);
        self.sign_in();
    }

    fn sign_in(&mut self) {
        let code = self.code();
        self.session = None;
        let told = self.change(
            Call::SignIn,
            "",
            json!({"key": self.operator_key, "code": code}),
        );
        self.session = told["token"].as_str().map(str::to_owned);
    }

    fn confirm(&mut self) {
        let code = self.code();
        self.change(Call::Confirm, "", json!({"code": code}));
    }
}

/// Any X-Wing public key.
fn recovery_key() -> String {
    use x_wing::{DecapsulationKey, Decapsulator as _, KeyExport as _};
    base64url(
        &DecapsulationKey::from([7; 32])
            .encapsulation_key()
            .to_bytes(),
    )
}

fn key_fields() -> Value {
    json!({
        "name": "build",
        "scopes": {"aliases": ["site"], "endpoints": ["/v1/chat/completions"], "stores": "none"},
        "tags": {"team": "web"},
        "tier": "free",
        "allowance": {
            "requests": [{"class": "chat", "burst": {"requests": 5, "seconds": 10}}],
            "tokens": {"tokens": 1000, "seconds": 60},
            "concurrent": 2,
            "budget": {"day_usd": 0.5},
        },
        "expires_at": "2027-01-31T00:00:00Z",
        "public_keys": [{"kid": "ci", "alg": "ed25519", "key": base64url(SigningKey::from_bytes(&[3; 32]).verifying_key().as_bytes())}],
        "must_sign": false,
    })
}

/// A part of the story: its name and what is done.
type Part = (&'static str, fn(&mut Desk));

/// The parts; each can stand alone.
const PARTS: [Part; 9] = [
    ("operators", operators),
    ("keys", keys),
    ("rules", rules),
    ("alerts", alerts),
    ("keyring", keyring),
    ("audit", audit),
    ("documents", documents),
    ("backups", backups),
    ("own factors", own_factors),
];

#[test]
fn every_endpoint_of_operators_answers_as_the_file_says() {
    let desk = &mut Desk::new();
    desk.open();
    let mut broken = Vec::new();
    for (name, part) in PARTS {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| part(desk)));
        broken.extend(told.is_err().then_some(name));
    }
    assert_eq!(broken, [""; 0], "parts of the story");
    for endpoint in ENDPOINTS {
        let operation =
            &desk.document["paths"][path_of(endpoint)][endpoint.method.to_ascii_lowercase()];
        let statuses = operation["responses"].as_object().unwrap().keys();
        for status in statuses
            .map(|status| status.parse::<u16>().unwrap())
            .filter(|status| *status < 300)
        {
            let met = (format!("{:?}", endpoint.call), status);
            assert!(desk.met.contains(&met), "{met:?} was not met");
        }
    }
}

fn operators(desk: &mut Desk) {
    desk.get(Call::Me, "", "");
    desk.get(Call::Overview, "", "");
    let invited = desk.change(Call::OperatorInvite, "", json!({"role": "support"}));
    let begun = desk.change(
        Call::Join,
        "",
        json!({"invite": invited["invite"], "name": "Bo"}),
    );
    desk.port
        .set_now(desk.port.now().plus(Millis::from_secs(30)));
    let seed = from_base32(begun["totp_secret"].as_str().unwrap());
    let code = totp::code(&seed, totp::step_at(desk.port.now()));
    let body = json!({"invite": invited["invite"], "enrolment": begun["enrolment"], "code": code});
    let joined = desk.change(Call::Join, "", body);
    let wrong = json!({"invite": "not an invite", "name": "Cy"});
    assert_eq!(
        desk.refused(Call::Join, "", Some(wrong)),
        "invalid_credentials"
    );
    let id = joined["operator"].as_str().unwrap().to_owned();
    assert_eq!(
        desk.get(Call::Operators, "", "")["operators"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    desk.change(Call::OperatorChange, &id, json!({"disabled": true}));
    desk.change(Call::OperatorRole, &id, json!({"role": "analyst"}));
    desk.call(Call::OperatorRemove, &id, "", None);
    let own = desk.get(Call::Me, "", "")["operator"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(desk.refused(Call::OperatorRemove, &own, None), "last_owner");
    // A session to end: of another client.
    let here = desk.session.clone();
    desk.sign_in();
    let sessions = desk.get(Call::Sessions, "", "");
    let other = sessions["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["current"] == false)
        .unwrap();
    let other = other["id"].as_str().unwrap().to_owned();
    assert_ne!(here, desk.session);
    desk.call(Call::SessionEnd, &other, "", None);
    // Without a fresh second factor what needs one is refused.
    desk.port
        .set_now(desk.port.now().plus(Millis::from_secs(601)));
    assert_eq!(
        desk.refused(Call::KeyCreate, "", Some(key_fields())),
        "second_factor_required"
    );
    desk.confirm();
    // Without a session everything else is.
    let session = desk.session.take();
    assert_eq!(desk.refused(Call::Keys, "", None), "invalid_credentials");
    desk.session = session;
}

fn keys(desk: &mut Desk) {
    let made = desk.change(Call::KeyCreate, "", key_fields());
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(
        desk.get(Call::Keys, "", "after=")["keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    desk.get(Call::Key, &id, "");
    desk.change(Call::KeyChange, &id, json!({"version": 1, "scopes": {"aliases": "all"}, "tier": null, "allowance": null, "expires_at": null}));
    assert_eq!(
        desk.refused(
            Call::KeyChange,
            &id,
            Some(json!({"version": 1, "name": "late"}))
        ),
        "conflict"
    );
    desk.change(Call::KeyRotate, &id, json!({"overlap_seconds": 60}));
    desk.get(Call::AccessReview, "", "");
    desk.file(Call::AccessReview, "", "format=csv");
    desk.call(Call::KeyRevoke, &id, "", None);
    assert_eq!(
        desk.refused(Call::Key, "0000000000000000", None),
        "not_found"
    );
    let made = desk.change(Call::SiteKeyCreate, "", json!({"name": "shop", "origins": ["https://shop.example"], "tier": "free", "proof": "work", "enabled": true}));
    let id = made["id"].as_str().unwrap().to_owned();
    desk.change(
        Call::SiteKeyChange,
        &id,
        json!({"proof": null, "enabled": false}),
    );
    desk.get(Call::SiteKeys, "", "");
    desk.call(Call::SiteKeyRemove, &id, "", None);
}

fn rules(desk: &mut Desk) {
    let visitor = "vis_000102030405060708090a0b0c0d0e0f";
    desk.call(Call::VisitorRevoke, visitor, "", None);
    let block = desk.change(
        Call::BlockAdd,
        "",
        json!({"visitor": visitor, "seconds": 60, "reason": "a test"}),
    );
    desk.change(
        Call::BlockAdd,
        "",
        json!({"cidr": "192.0.2.0/24", "seconds": 60, "reason": "a test"}),
    );
    desk.get(Call::Visitor, visitor, "");
    desk.get(Call::Lists, "", "");
    desk.call(Call::BlockRemove, block["id"].as_str().unwrap(), "", None);
    desk.change(Call::ListsSet, "", json!({"deny": ["203.0.113.0/24"], "deny_countries": ["AQ"], "deny_asns": [64512], "admin_allow": ["198.51.100.0/24"]}));
    assert_eq!(
        desk.refused(
            Call::ListsSet,
            "",
            Some(json!({"deny": ["198.51.100.0/24"]}))
        ),
        "conflict"
    );
    desk.change(Call::VisitorsRevokeAll, "", json!({}));
    desk.change(
        Call::LimitSet,
        "",
        json!({"scope": "tenant", "allowance": {"concurrent": 9, "budget": {"month_usd": 9.5}}}),
    );
    desk.change(Call::LimitSet, "", json!({"scope": "limit/chat", "limit": {"class": "chat", "burst": {"requests": 9, "seconds": 9}, "sustained": {"requests": 9, "seconds": 9}}}));
    desk.change(
        Call::BudgetSet,
        "",
        json!({"scope": "global", "budget": {"day_usd": 2.0}}),
    );
    desk.get(Call::Limits, "", "");
    assert_eq!(
        desk.get(Call::Budgets, "", "")["budgets"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        desk.call(Call::LimitClear, "", "scope=limit/chat", None)
            .status,
        200
    );
    desk.change(Call::FlagSet, "banner", json!({"value": "on"}));
    desk.get(Call::Flags, "", "");
}

/// A client whose credentials are refused too often is blocked; that is an alert, and can be undone.
fn alerts(desk: &mut Desk) {
    let own = desk.session.take();
    let stranger = Head {
        method: "GET".into(),
        path: "/api/me".into(),
        own_origin: ORIGIN.into(),
        address: Some("192.0.3.9".into()),
        ..Head::default()
    };
    for _ in 0..30 {
        let head = Head {
            authorization: Some("Bearer gh_tst_nothing".into()),
            at: desk.port.now(),
            ..stranger.clone()
        };
        drop(Received::from(block_on(serve(
            &desk.port,
            head,
            FakeBody::whole(b"", 1),
        ))));
    }
    desk.session = own;
    let alerts = desk.get(Call::Alerts, "", "state=open");
    let id = alerts["alerts"][0]["id"].as_str().unwrap().to_owned();
    desk.call(Call::AlertSeen, &id, "", None);
    desk.call(Call::AlertUndo, &id, "", None);
    assert_eq!(desk.refused(Call::AlertSeen, "999", None), "not_found");
}

fn keyring(desk: &mut Desk) {
    desk.confirm();
    desk.get(Call::Keyring, "", "");
    desk.call(Call::KeyringRotate, "", "", None);
    assert_eq!(desk.refused(Call::KeyringRotate, "", None), "conflict");
    desk.port
        .set_now(desk.port.now().plus(Millis::from_secs(10)));
    assert_eq!(
        desk.call(Call::KeyringRotate, "", "", None).json()["step"],
        "activated"
    );
    desk.call(Call::KeyringSession, "", "", None);
    assert_eq!(desk.refused(Call::KeyringDestroy, "1", None), "conflict");
    desk.file(Call::KeyringExport, "", "");
    desk.change(Call::ProviderKeySet, "openai", json!({"key": "sk-planted"}));
    desk.get(Call::Providers, "", "");
    desk.call(Call::ProviderKeyRemove, "openai", "", None);
    desk.call(Call::KeyringEmergency, "", "", None);
    // What wraps nothing is retired by the cron after a day; then it can be destroyed.
    desk.port
        .set_now(desk.port.now().plus(Millis::from_secs(2 * DAY)));
    block_on(run_due(&desk.port, 0)).unwrap();
    desk.sign_in();
    let status = desk.get(Call::Keyring, "", "");
    let mut versions = status["versions"].as_array().unwrap().iter();
    let retired = versions
        .find(|version| version["state"] == "retired")
        .unwrap();
    let retired = retired["version"].to_string();
    desk.call(Call::KeyringDestroy, &retired, "", None);
}

fn audit(desk: &mut Desk) {
    desk.change(
        Call::Erase,
        "",
        json!({"visitor": "vis_000102030405060708090a0b0c0d0e0f"}),
    );
    let page = desk.get(Call::Audit, "", "action=key.&outcome=ok");
    assert!(page["entries"].as_array().unwrap().len() >= 4, "{page}");
    desk.file(Call::AuditExport, "", "");
    desk.file(Call::AuditExport, "", "format=csv&actor=operator");
    let checkpoint = desk.file(Call::AuditCheckpoint, "", "");
    desk.get(Call::AuditKey, "", "");
    desk.get(Call::AuditInclusion, "", "index=3");
    desk.get(Call::AuditConsistency, "", "from=2");
    let verdict = desk.change(Call::AuditVerify, "", json!({"checkpoint": checkpoint}));
    assert_eq!(verdict["verdict"], "consistent", "{verdict}");
    let size: u64 = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    desk.file(Call::AuditTile, &format!("0/000.p/{size}"), "");
}

fn documents(desk: &mut Desk) {
    let (owner, id) = crate::documents::scanned::harmful(&desk.port);
    let page = desk.get(Call::Documents, "", "state=held_back");
    assert_eq!(page["documents"][0]["held_back_for"], "eicar", "{page}");
    let told = desk.change(
        Call::DocumentRelease,
        &id,
        json!({"owner": owner, "version": 1}),
    );
    assert_eq!(told["versions"][0]["state"], "released");
    let hold = json!({"owner": owner, "reason": "case 4711"});
    desk.change(Call::DocumentHold, &id, hold);
    let page = desk.get(Call::Documents, "", "state=held");
    assert_eq!(page["documents"][0]["hold"]["reason"], "case 4711");
    assert_eq!(
        desk.refused(Call::DocumentRemove, &id, None),
        "document_kept"
    );
    desk.call(Call::DocumentUnhold, &id, "", None);
    desk.call(Call::DocumentRemove, &id, &["owner=", owner].concat(), None);
}

fn own_factors(desk: &mut Desk) {
    desk.change(Call::OwnTotp, "", json!({}));
    let begun = desk.change(Call::OwnTotp, "", json!({}));
    desk.seed = from_base32(begun["totp_secret"].as_str().unwrap());
    let code = desk.code();
    desk.change(
        Call::OwnTotp,
        "",
        json!({"enrolment": begun["enrolment"], "code": code}),
    );
    desk.call(Call::OwnKey, "", "", None);
    desk.call(Call::OwnRecovery, "", "", None);
    desk.call(Call::SignOut, "", "", None);
}

fn backups(desk: &mut Desk) {
    desk.sign_in();
    let taken = desk.call(Call::BackupTake, "", "", None).json();
    assert_eq!(taken["done"], true, "{taken}");
    let listed = desk.get(Call::Backups, "", "");
    assert_eq!(listed["backups"][0]["id"], taken["snapshot"], "{listed}");
    let earlier = json!({"owner": "key_abc", "to": "2026-11-20T00:00:00Z"});
    assert_eq!(
        desk.refused(Call::Rewind, "", Some(earlier.clone())),
        "rewind_unavailable"
    );
    desk.port.remembers();
    assert_eq!(desk.change(Call::Rewind, "", earlier)["documents"], 0);
    let body = json!({"token": TOKEN, "snapshot": taken["snapshot"]});
    assert_eq!(
        desk.refused(Call::Restore, "", Some(body.clone())),
        "conflict"
    );
    desk.port.lose_objects();
    let unknown = json!({"token": TOKEN, "snapshot": "snap_000000000000000000ff"});
    assert_eq!(desk.refused(Call::Restore, "", Some(unknown)), "not_found");
    assert_eq!(desk.change(Call::Restore, "", body)["done"], true);
    desk.sign_in();
}

#[test]
fn what_the_file_requires_is_required_and_what_it_does_not_know_is_refused() {
    let desk = &mut Desk::new();
    desk.open();
    let site_key = desk.change(
        Call::SiteKeyCreate,
        "",
        json!({"origins": ["https://shop.example"]}),
    );
    let site_key = site_key["id"].as_str().unwrap().to_owned();
    let key = desk.change(Call::KeyCreate, "", key_fields())["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (mut required, mut closed) = (0, 0);
    for (call, id, body) in [
        (Call::Confirm, "", json!({"code": "000000"})),
        (Call::KeyCreate, "", key_fields()),
        (Call::KeyChange, key.as_str(), json!({"name": "other"})),
        (
            Call::SiteKeyCreate,
            "",
            json!({"origins": ["https://shop.example"]}),
        ),
        (
            Call::SiteKeyChange,
            site_key.as_str(),
            json!({"enabled": true}),
        ),
        (
            Call::LimitSet,
            "",
            json!({"scope": "tenant", "allowance": {"concurrent": 9}}),
        ),
        (Call::ListsSet, "", json!({})),
        (
            Call::BlockAdd,
            "",
            json!({"cidr": "192.0.2.0/24", "seconds": 60, "reason": "a test"}),
        ),
        (
            Call::BudgetSet,
            "",
            json!({"scope": "global", "budget": {"day_usd": 2.0}}),
        ),
        (Call::FlagSet, "banner", json!({"value": true})),
        (Call::OperatorInvite, "", json!({"role": "support"})),
        (Call::OperatorChange, "opr_x", json!({"disabled": true})),
        (Call::OperatorRole, "opr_x", json!({"role": "support"})),
        (Call::ProviderKeySet, "openai", json!({"key": "sk-planted"})),
        (Call::AuditVerify, "", json!({"checkpoint": "x\n1\ny\n"})),
        (
            Call::DocumentRelease,
            "file_000102030405060708090a0b0c0d0e0f",
            json!({"owner": "vis_1", "version": 1}),
        ),
        (
            Call::DocumentHold,
            "file_000102030405060708090a0b0c0d0e0f",
            json!({"owner": "vis_1", "reason": "a test"}),
        ),
        (
            Call::Restore,
            "",
            json!({"token": TOKEN, "snapshot": "snap_000000000000000000ff"}),
        ),
        (
            Call::Erase,
            "",
            json!({"visitor": "vis_000102030405060708090a0b0c0d0e0f"}),
        ),
    ] {
        let endpoint = endpoint(call);
        let template = path_of(endpoint);
        let path = match template.split_once('{') {
            Some((before, after)) => [before, id, after.split_once('}').unwrap().1].concat(),
            None => template.clone(),
        };
        let operation = &desk.document["paths"][&template][endpoint.method.to_ascii_lowercase()];
        let reference = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let schema = resolve(&desk.document, reference.as_str().unwrap());
        let send = |body: &Value| {
            let received = desk.send(endpoint.method, &path, "", Some(body));
            let code = if received.status < 400 {
                Value::Null
            } else {
                received.json()["code"].clone()
            };
            (received.status, code)
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            let mut less = body.clone();
            less.as_object_mut()
                .unwrap()
                .shift_remove(name.as_str().unwrap());
            let (status, code) = send(&less);
            assert_eq!(status, 400, "{call:?} without {name}: {code}");
            required += 1;
        }
        if schema["additionalProperties"] == false {
            let mut more = body.clone();
            more["surprise"] = json!(1);
            assert_eq!(send(&more), (400, json!("invalid_parameter")), "{call:?}");
            closed += 1;
        }
        // Whatever is named may be sent, though not with every value.
        for (name, schema) in schema["properties"].as_object().unwrap() {
            if schema["type"] == "string" {
                let mut wrong = body.clone();
                wrong[name] = json!({"not": "a text"});
                let (status, code) = send(&wrong);
                let passed = call == Call::SiteKeyChange && name == "id";
                assert!(
                    status == 400 || passed,
                    "{call:?} with a strange {name}: {status} {code}"
                );
            }
        }
    }
    assert!(required >= 14 && closed >= 8, "{required} {closed}");
}

#[test]
fn callers_are_told_what_the_file_says() {
    let desk = &mut Desk::new();
    desk.open();
    let key = desk.change(
        Call::KeyCreate,
        "",
        json!({"name": "k", "scopes": {"aliases": "all", "stores": "write"}}),
    );
    let operator = desk.session.take();
    let ask =
        |desk: &mut Desk, method: &str, path: &str, body: Option<Value>, token: Option<&str>| {
            let operation = desk.document["paths"][path][method.to_ascii_lowercase()].clone();
            desk.session = token.map(str::to_owned);
            let received = desk.send(method, path, "", body.as_ref());
            desk.hold(&format!("{method} {path}"), &operation, &received);
            received
        };
    ask(desk, "GET", "/api/session", None, None);
    let me = ask(desk, "GET", "/api/me", None, None);
    assert_eq!(me.json()["kind"], "anonymous");
    assert_eq!(ask(desk, "GET", "/api/me/usage", None, None).status, 401);
    let made = ask(desk, "POST", "/api/session", Some(json!({})), None);
    assert_eq!(made.status, 200);
    let strange = ask(
        desk,
        "POST",
        "/api/session",
        Some(json!({"surprise": 1})),
        None,
    );
    assert_eq!(strange.json()["code"], "invalid_parameter");
    let secret = key["key"].as_str().unwrap();
    for path in ["/api/me", "/api/me/usage", "/api/me/export"] {
        assert_eq!(
            ask(desk, "GET", path, None, Some(secret)).status,
            200,
            "{path}"
        );
    }
    assert_eq!(
        ask(desk, "POST", "/api/me/erase", None, Some(secret)).json()["code"],
        "forbidden"
    );
    // A visitor, by a token as another origin holds it.
    let site_key = {
        desk.session = operator;
        desk.change(
            Call::SiteKeyCreate,
            "",
            json!({"origins": ["https://shop.example"]}),
        )
    };
    let foreign = |desk: &Desk, method: &str, path: &str, body: Value, token: Option<&str>| {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let head = Head {
            method: method.into(),
            path: path.into(),
            own_origin: ORIGIN.into(),
            origin: Some("https://shop.example".into()),
            fetch_site: Some("cross-site".into()),
            address: Some("198.51.100.7".into()),
            content_type: (!bytes.is_empty()).then(|| "application/json".into()),
            content_length: Some(bytes.len() as u64),
            authorization: token.map(|token| format!("Bearer {token}")),
            at: desk.port.now(),
            ..Head::default()
        };
        Received::from(block_on(serve(
            &desk.port,
            head,
            FakeBody::whole(&bytes, 1000),
        )))
    };
    let made = foreign(
        desk,
        "POST",
        "/api/session",
        json!({"site_key": site_key["id"]}),
        None,
    );
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let mut told = vec![("POST", "/api/session", made)];
    for (method, path) in [
        ("GET", "/api/me"),
        ("GET", "/api/me/usage"),
        ("GET", "/api/me/export"),
        ("POST", "/api/me/erase"),
    ] {
        told.push((
            method,
            path,
            foreign(desk, method, path, Value::Null, Some(&token)),
        ));
    }
    let made = foreign(
        desk,
        "POST",
        "/api/session",
        json!({"site_key": site_key["id"]}),
        None,
    );
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let ended = foreign(desk, "DELETE", "/api/session", Value::Null, Some(&token));
    assert_eq!(ended.status, 204);
    told.push(("DELETE", "/api/session", ended));
    for (method, path, received) in told {
        assert!(
            received.status < 300,
            "{method} {path}: {}",
            received.text()
        );
        let operation = desk.document["paths"][path][method.to_ascii_lowercase()].clone();
        desk.hold(&format!("{method} {path}"), &operation, &received);
    }
}
