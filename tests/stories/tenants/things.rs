//! What a tenant can have, made through its own house.

use gatehouse::app::alerts;
use gatehouse::app::keyring::rotate::run_due;
use gatehouse::app::port::Port;
use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::api_key::{self, Env, Kind};
use gatehouse::domain::identity::roles::Role;
use gatehouse::domain::limits::account::{Alert, What};
use serde_json::{Value, json};

use super::{HOSTS, TENANTS};
use crate::documents::scanned::eicar;
use crate::support::fake_port::FakePort;
use crate::support::operator::{Operator, member, unbase32};
use crate::support::run::block_on;
use crate::support::{FakeBody, Received};

// === somebody at a house ===

/// A browser or a program at the house of a tenant.
#[derive(Clone, Default)]
pub struct Guest {
    pub host: &'static str,
    /// The page's origin, where it is another than the house's.
    pub origin: Option<&'static str>,
    pub bearer: Option<String>,
    pub cookies: Vec<(String, String)>,
}

impl Guest {
    pub fn at(host: &'static str) -> Self {
        Self {
            host,
            ..Self::default()
        }
    }

    pub fn head(&self, port: &FakePort, method: &str, path: &str) -> Head {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        let foreign = self.origin.is_some();
        Head {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            own_origin: self.host.into(),
            address: Some("198.51.100.7".into()),
            origin: (foreign || method != "GET").then(|| self.origin.unwrap_or(self.host).into()),
            fetch_site: Some(if foreign { "cross-site" } else { "same-origin" }.into()),
            cookie: (!cookies.is_empty()).then(|| cookies.join("; ")),
            authorization: self.bearer.as_ref().map(|token| format!("Bearer {token}")),
            at: port.clock().now(),
            ..Head::default()
        }
    }

    pub fn send(&self, port: &FakePort, head: Head, body: &[u8]) -> Received {
        Received::from(block_on(serve(port, head, FakeBody::whole(body, 4096))))
    }

    pub fn ask(&self, port: &FakePort, method: &str, path: &str, body: &Value) -> Received {
        let mut head = self.head(port, method, path);
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        if !bytes.is_empty() {
            head.content_type = Some("application/json".into());
            head.content_length = Some(bytes.len() as u64);
        }
        self.send(port, head, &bytes)
    }

    pub fn get(&self, port: &FakePort, path: &str) -> Received {
        self.ask(port, "GET", path, &Value::Null)
    }

    /// Begins a session, and keeps its cookies or its token. Returns the visitor.
    pub fn begin(&mut self, port: &FakePort, body: &Value) -> String {
        let begun = self.ask(port, "POST", "/api/session", body);
        assert_eq!(begun.status, 200, "{}", begun.text());
        for (name, value) in &begun.headers {
            if *name == "set-cookie" {
                let pair = value.split("; ").next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                self.cookies.push((name.into(), value.into()));
            }
        }
        let told = begun.json();
        self.bearer = told["token"].as_str().map(str::to_owned);
        told["visitor"].as_str().unwrap().to_owned()
    }

    /// Uploads a document. Returns its id.
    pub fn upload(&self, port: &FakePort) -> String {
        self.upload_of(port, "Hi")
    }

    /// The same with that content.
    pub fn upload_of(&self, port: &FakePort, content: &str) -> String {
        let form = format!(
            "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--B\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--B--\r\n"
        );
        let head = Head {
            content_type: Some("multipart/form-data; boundary=B".into()),
            content_length: Some(form.len() as u64),
            ..self.head(port, "POST", "/v1/files")
        };
        let received = self.send(port, head, form.as_bytes());
        assert_eq!(received.status, 200, "{}", received.text());
        received.json()["id"].as_str().unwrap().to_owned()
    }

    /// A stored response. Returns its id.
    pub fn response(&self, port: &FakePort) -> String {
        let body = json!({"model": "site", "input": "Remember 4711.", "store": true});
        let answered = self.ask(port, "POST", "/v1/responses", &body);
        assert_eq!(answered.status, 200, "{}", answered.text());
        answered.json()["id"].as_str().unwrap().to_owned()
    }
}

// === what operators have ===

/// A thing with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    ApiKey,
    SiteKey,
    Visitor,
    Block,
    /// A document that its scan held back.
    HeldBack,
    Flag,
    Alert,
    Operator,
    Invite,
    Session,
    KeyVersion,
    ProviderKey,
    /// An index that the log has and another one has not.
    Entry,
    /// The bundle with that many entries.
    Bundle,
    Checkpoint,
    /// What somebody becomes or is an operator with.
    OperatorKey,
    InviteCode,
    Joining,
    NewFactor,
}

impl Thing {
    pub const ALL: [Self; 19] = [
        Self::ApiKey,
        Self::SiteKey,
        Self::Visitor,
        Self::Block,
        Self::HeldBack,
        Self::Flag,
        Self::Alert,
        Self::Operator,
        Self::Invite,
        Self::Session,
        Self::KeyVersion,
        Self::ProviderKey,
        Self::Entry,
        Self::Bundle,
        Self::Checkpoint,
        Self::OperatorKey,
        Self::InviteCode,
        Self::Joining,
        Self::NewFactor,
    ];

    /// What its tenant's owner is told of it.
    pub fn read(self) -> &'static [&'static str] {
        match self {
            Self::ApiKey => &["/keys/{}", "/limits", "/budgets", "/lists"],
            Self::SiteKey => &["/site-keys"],
            Self::Visitor => &["/visitors/{}", "/limits", "/budgets", "/lists"],
            Self::Block => &["/lists"],
            Self::HeldBack => &["/documents", "/documents?state=held"],
            Self::Flag => &["/flags"],
            Self::Alert => &["/alerts"],
            Self::Operator | Self::Invite => &["/operators"],
            Self::Session => &["/sessions"],
            Self::KeyVersion => &["/keyring"],
            Self::ProviderKey => &["/providers", "/keyring"],
            Self::Entry | Self::Bundle | Self::Checkpoint => &["/audit/key"],
            Self::OperatorKey | Self::InviteCode | Self::Joining | Self::NewFactor => {
                &["/operators", "/sessions"]
            }
        }
    }
}

/// A thing that was made.
pub struct Made {
    /// Its id, or what it is shown as.
    pub id: String,
    /// An id of the same form that is nobody's.
    pub nobody: String,
    /// The second factor's code that goes with it.
    pub code: String,
    /// What is left to see whether it works: of a visitor or a key.
    pub guest: Guest,
    /// Of a visitor: a document and a stored response.
    pub left: Option<(String, String)>,
    /// Of an operator.
    pub member: Option<Operator>,
}

fn text(value: &Value, name: &str) -> String {
    let found = value[name].as_str();
    found
        .unwrap_or_else(|| panic!("{name} in {value}"))
        .to_owned()
}

/// The same text with another end.
fn other(id: &str) -> String {
    let (head, tail) = id.split_at(id.rfind('_').map_or(0, |at| at + 1));
    let same = tail.bytes().all(|b| b == b'0');
    assert!(!same, "{id} is nobody's");
    [head, &"0".repeat(tail.len())].concat()
}

/// Of a sealed text: another one.
fn torn(sealed: &str) -> String {
    let end = if sealed.ends_with('A') {
        "BBBB"
    } else {
        "AAAA"
    };
    [&sealed[..sealed.len() - 4], end].concat()
}

/// Makes a thing in the owner's house.
pub fn make(port: &FakePort, owner: &mut Operator, thing: Thing) -> Made {
    let tenant = TENANTS[HOSTS.iter().position(|host| *host == owner.host).unwrap()];
    let mut made = Made {
        id: String::new(),
        nobody: String::new(),
        code: String::new(),
        guest: Guest::at(owner.host),
        left: None,
        member: None,
    };
    if thing == Thing::KeyVersion {
        // The third version is active, and the second one retired: the other house knows the first alone.
        for _ in 0..2 {
            for _ in 0..2 {
                owner.confirm(port);
                let step = owner.call(port, "POST", "/keyring/rotate", &json!({}));
                assert_eq!(step.status, 200, "{}", step.text());
                port.pass(Millis::from_secs(6));
            }
        }
        port.pass(Millis::from_secs(86_400 + 60));
        block_on(run_due(&port.of_tenant(tenant), 0)).unwrap();
        owner.sign_in(port);
        let told = owner.call(port, "GET", "/keyring", &Value::Null).json();
        let second = &told["versions"].as_array().unwrap()[1];
        assert_eq!(
            (second["version"].as_u64(), second["state"].as_str()),
            (Some(2), Some("retired")),
            "{told}"
        );
        (made.id, made.nobody) = ("2".into(), "7".into());
        return made;
    }
    owner.confirm(port);
    let host = owner.host;
    let owner = &*owner;
    let done = |method: &str, path: &str, body: Value| {
        let told = owner.call(port, method, path, &body);
        assert!(
            (200..300).contains(&told.status),
            "{method} {path}: {}",
            told.text()
        );
        told
    };
    let joiner = || {
        text(
            &done("POST", "/operators", json!({"role": "analyst"})).json(),
            "invite",
        )
    };
    match thing {
        Thing::ApiKey => {
            let scopes = json!({"aliases": "all", "endpoints": "all", "stores": "write"});
            // The list after the first one is not empty.
            let mut both = ["a", "b"].map(|name| {
                let body = json!({"name": name, "scopes": scopes});
                let told = done("POST", "/keys", body).json();
                (text(&told, "id"), text(&told, "key"))
            });
            both.sort();
            let [(id, key), _] = both;
            made.guest.bearer = Some(key);
            made.id = id;
        }
        Thing::SiteKey => {
            let site = json!({"name": "shop", "origins": ["https://shop.example"]});
            made.id = text(&done("POST", "/site-keys", site).json(), "id");
        }
        Thing::Visitor => {
            let id = made.guest.begin(port, &json!({}));
            made.left = Some((made.guest.upload(port), made.guest.response(port)));
            let block = json!({"visitor": id, "seconds": 1, "reason": "noise"});
            let block = text(&done("POST", "/blocks", block).json(), "id");
            done("DELETE", &format!("/blocks/{block}"), Value::Null);
            for path in ["/limits", "/budgets"] {
                let scope = format!("visitor/{id}");
                let body = if path == "/limits" {
                    json!({"scope": scope, "allowance": {"concurrent": 3}})
                } else {
                    json!({"scope": scope, "budget": {"day_usd": 5.0}})
                };
                done("PUT", path, body);
            }
            made.id = id;
        }
        Thing::Block => {
            let block = json!({"cidr": "203.0.113.0/24", "seconds": 600, "reason": "noise"});
            made.id = text(&done("POST", "/blocks", block).json(), "id");
        }
        Thing::HeldBack => {
            made.guest.begin(port, &json!({}));
            made.id = made
                .guest
                .upload_of(port, &String::from_utf8(eicar()).unwrap());
            made.nobody = other(&made.id);
        }
        Thing::Flag => {
            done("PUT", "/flags/only-here", json!({"value": "mine"}));
            (made.id, made.nobody) = ("only-here".into(), "not-there".into());
        }
        Thing::Alert => {
            let now = port.clock().now();
            for name in ["tenant", "alias/site"] {
                let alert = Alert {
                    what: What::Sudden,
                    limit: None,
                    start: now,
                    count: 99,
                    of: 99,
                    until: Some(now.plus(Millis::from_secs(600))),
                };
                block_on(alerts::of_account(
                    &port.of_tenant(tenant),
                    name,
                    false,
                    &alert,
                ));
            }
            let told = done("GET", "/alerts", Value::Null).json();
            made.id = text(&told["alerts"][0], "id");
            made.nobody = "77".into();
        }
        Thing::Operator => {
            let other = member(port, owner, Role::Analyst);
            let told = done("GET", "/operators", Value::Null).json();
            let all = told["operators"].as_array().unwrap();
            let analyst = all.iter().find(|one| one["role"] == "analyst").unwrap();
            made.id = text(analyst, "id");
            made.member = Some(other);
        }
        Thing::Invite => {
            let told = done("POST", "/operators", json!({"role": "analyst"})).json();
            made.id = text(&told, "id");
        }
        Thing::Session => {
            let member = member(port, owner, Role::Analyst);
            let told = member.call(port, "GET", "/sessions", &Value::Null).json();
            made.id = text(&told["sessions"][0], "id");
            made.member = Some(member);
        }
        Thing::KeyVersion => unreachable!("made above"),
        Thing::ProviderKey => {
            done("PUT", "/providers/prov-a/key", json!({"key": "sk-mine"}));
            (made.id, made.nobody) = ("prov-a".into(), "prov-b".into());
        }
        Thing::Entry | Thing::Bundle => {
            for i in 0..40 {
                done("PUT", &format!("/flags/f{i}"), json!({"value": true}));
            }
            let told = done("GET", "/overview", Value::Null).json();
            let size = told["audit"]["entries"].as_u64().unwrap();
            (made.id, made.nobody) = ((size - 1).to_string(), "250".into());
        }
        Thing::Checkpoint => {
            let note = done("GET", "/audit/checkpoint", Value::Null);
            made.id = note.text().to_owned();
            made.nobody = made.id.replace(&["/", tenant].concat(), "/nobody");
        }
        Thing::OperatorKey => {
            let member = member(port, owner, Role::Analyst);
            made.id = member.key.as_str().unwrap().to_owned();
            made.code = Operator::code(port, &member.secret);
            let nobody = api_key::make(Kind::Operator, Env::Test, &port.random());
            made.nobody = nobody.text.reveal().clone();
            made.member = Some(member);
        }
        Thing::InviteCode => {
            made.id = joiner();
            let nobody = api_key::make(Kind::Invite, Env::Test, &port.random());
            made.nobody = nobody.text.reveal().clone();
        }
        Thing::Joining => {
            let body = json!({"invite": joiner(), "name": "Joan"});
            let begun = Guest::at(host).ask(port, "POST", "/api/admin/join", &body);
            assert_eq!(begun.status, 200, "{}", begun.text());
            let begun = begun.json();
            made.id = text(&begun, "enrolment");
            made.nobody = torn(&made.id);
            made.code = Operator::code(port, &unbase32(begun["totp_secret"].as_str().unwrap()));
        }
        Thing::NewFactor => {
            let begun = done("POST", "/me/totp", json!({})).json();
            made.id = text(&begun, "enrolment");
            made.nobody = torn(&made.id);
            made.code = Operator::code(port, &unbase32(begun["totp_secret"].as_str().unwrap()));
        }
    }
    if made.nobody.is_empty() {
        made.nobody = other(&made.id);
    }
    made
}

impl Made {
    /// It still does at its own house what it is for.
    pub fn works(&self, port: &FakePort, thing: Thing, what: &str) {
        match thing {
            Thing::ApiKey => {
                let me = self.guest.get(port, "/api/me");
                assert_eq!(me.json()["id"], self.id, "{what}: {}", me.text());
            }
            Thing::SiteKey => {
                let mut page = Guest {
                    origin: Some("https://shop.example"),
                    ..self.guest.clone()
                };
                page.begin(port, &json!({"site_key": self.id}));
                assert!(page.bearer.is_some(), "{what}");
            }
            Thing::Visitor => {
                let me = self.guest.get(port, "/api/me").json();
                assert_eq!(me["id"], self.id, "{what}: {me}");
                let (document, response) = self.left.as_ref().unwrap();
                let read = self
                    .guest
                    .get(port, &format!("/v1/files/{document}/content"));
                assert_eq!((read.status, read.text()), (200, "Hi"), "{what}");
                let read = self.guest.get(port, &format!("/v1/responses/{response}"));
                assert_eq!(read.status, 200, "{what}: {}", read.text());
            }
            Thing::Session => {
                let member = self.member.as_ref().unwrap();
                let me = member.call(port, "GET", "/me", &Value::Null);
                assert_eq!(me.status, 200, "{what}: {}", me.text());
            }
            Thing::ProviderKey => {
                let body =
                    json!({"model": "by-prov-a", "messages": [{"role": "user", "content": "Hi"}]});
                let answered = self.guest.ask(port, "POST", "/v1/chat/completions", &body);
                assert_eq!(answered.status, 200, "{what}: {}", answered.text());
                let sent = port.sent_to("m").pop().unwrap();
                assert!(
                    sent.key
                        .as_ref()
                        .is_some_and(|(_, key)| key.ends_with("sk-mine")),
                    "{what}"
                );
            }
            // What the owner is told of the others is all that there is of them, and the same request is granted to
            // their own house afterwards.
            Thing::Block
            | Thing::HeldBack
            | Thing::Flag
            | Thing::Alert
            | Thing::Operator
            | Thing::Invite
            | Thing::KeyVersion
            | Thing::Entry
            | Thing::Bundle
            | Thing::Checkpoint
            | Thing::OperatorKey
            | Thing::InviteCode
            | Thing::Joining
            | Thing::NewFactor => {}
        }
    }
}
