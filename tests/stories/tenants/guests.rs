//! Every route of visitors and keys that takes an id or shows who asks: what one tenant has, asked for at another
//! tenant's house by a visitor, a key and nobody of it, and with credentials that the first tenant gave.

use std::collections::BTreeSet;

use gatehouse::app::port::Port;
use gatehouse::app::request::Head;
use gatehouse::domain::identity::api_key::{self, Env, Kind};
use gatehouse::domain::memory::item::derived_id;
use gatehouse::domain::route::{Protocol, Route, route};
use serde_json::{Value, json};

use super::things::{Guest, Made, Thing, make};
use super::{HOSTS, TENANTS, house, kept, told};
use crate::support::Received;
use crate::support::fake_port::FakePort;
use crate::support::operator::owner_of;

/// What an id of a route names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Document,
    Link,
    /// A document that comes in parts and is not complete.
    Upload,
    /// An answer that is kept, in the dialect of its endpoint.
    Answer(Protocol),
    /// The same as a stream that can be read again.
    Stream(Protocol),
    SiteKey,
    Conversation,
    Memory,
    Store,
}

impl Left {
    /// Does it belong to a visitor or a key?
    const fn is_owned(self) -> bool {
        matches!(
            self,
            Self::Document
                | Self::Link
                | Self::Upload
                | Self::Conversation
                | Self::Memory
                | Self::Store
        )
    }
}

/// The first item of a conversation that was begun with items.
fn item_of(conversation: &str) -> String {
    derived_id(&serde_json::Map::new(), conversation, 0)
}

/// A question after one thing; `{}` is its id, in the path or in the body.
struct Ask {
    method: &'static str,
    path: &'static str,
    body: Value,
    left: Left,
}

fn ask(method: &'static str, path: &'static str, left: Left) -> Ask {
    Ask {
        method,
        path,
        body: Value::Null,
        left,
    }
}

fn asks() -> Vec<Ask> {
    use Left::{Answer, Conversation, Document, Link, Memory, SiteKey, Store, Stream, Upload};
    use Protocol::{Chat, Messages, Responses};
    let mut all = vec![
        ask("GET", "/v1/files?after={}", Document),
        ask("GET", "/v1/files/{}", Document),
        ask("HEAD", "/v1/files/{}", Document),
        ask("GET", "/v1/files/{}/content", Document),
        ask("DELETE", "/v1/files/{}", Document),
        ask("GET", "/v1/files/{}/versions", Document),
        ask("GET", "/v1/files/{}/shares", Document),
        ask("GET", "/v1/files/{}/comments", Document),
        ask("GET", "/v1/files/{}/scan", Document),
        ask("POST", "/v1/files/{}/content", Document),
        ask("DELETE", "/v1/files/{}/versions/9", Document),
        ask("DELETE", "/v1/files/{}/shares/none", Document),
        ask("DELETE", "/v1/files/{}/comments/none", Document),
        ask("GET", "/v1/shared/{}", Link),
        ask("GET", "/v1/shared/{}/content", Link),
        ask("GET", "/v1/uploads/{}", Upload),
        ask("GET", "/v1/uploads/{}/parts", Upload),
        ask("POST", "/v1/uploads/{}/parts", Upload),
        ask("POST", "/v1/uploads/{}/cancel", Upload),
        ask("GET", "/v1/responses/{}/input_items", Answer(Responses)),
        ask("GET", "/api/session?site_key={}", SiteKey),
        ask("GET", "/v1/conversations?after={}", Conversation),
        ask("GET", "/v1/conversations/{}", Conversation),
        ask("DELETE", "/v1/conversations/{}", Conversation),
        ask("GET", "/v1/conversations/{}/export", Conversation),
        ask("GET", "/v1/conversations/{}/items", Conversation),
        ask("GET", "/v1/conversations/{}/items/{item}", Conversation),
        ask("DELETE", "/v1/conversations/{}/items/{item}", Conversation),
        ask("DELETE", "/api/me/memories/{}", Memory),
        ask("GET", "/v1/vector_stores?after={}", Store),
        ask("GET", "/v1/vector_stores/{}", Store),
        ask("DELETE", "/v1/vector_stores/{}", Store),
        ask("GET", "/v1/vector_stores/{}/files", Store),
        ask("GET", "/v1/vector_stores/{}/files/none", Store),
        ask("DELETE", "/v1/vector_stores/{}/files/none", Store),
        ask("GET", "/v1/vector_stores/{}/file_batches/none", Store),
    ];
    for (path, protocol) in [
        ("/v1/chat/completions/{}", Chat),
        ("/v1/responses/{}", Responses),
        ("/v1/messages/{}", Messages),
    ] {
        all.push(ask("GET", path, Answer(protocol)));
        all.push(ask("DELETE", path, Answer(protocol)));
    }
    for (path, protocol) in [
        ("/v1/chat/completions/{}/cancel", Chat),
        ("/v1/responses/{}/cancel", Responses),
        ("/v1/messages/{}/cancel", Messages),
    ] {
        all.push(ask("POST", path, Answer(protocol)));
    }
    for (path, protocol) in [
        ("/v1/chat/completions/{}?stream=true", Chat),
        ("/v1/responses/{}?stream=true&starting_after=0", Responses),
        ("/v1/messages/{}?stream=true", Messages),
    ] {
        all.push(ask("GET", path, Stream(protocol)));
    }
    all.push(Ask {
        body: json!({"model": "site", "input": "And then?", "previous_response_id": "{}"}),
        ..ask("POST", "/v1/responses", Answer(Responses))
    });
    all.push(Ask {
        body: json!({"model": "site", "input": "And then?", "conversation": "{}"}),
        ..ask("POST", "/v1/responses", Conversation)
    });
    all.push(Ask {
        body: json!({"query": "4711"}),
        ..ask("POST", "/v1/vector_stores/{}/search", Store)
    });
    all.push(Ask {
        body: json!({"name": "Mine"}),
        ..ask("POST", "/v1/vector_stores/{}", Store)
    });
    all.push(Ask {
        body: json!({
            "model": "site", "messages": [{"role": "user", "content": "4711?"}], "gatehouse": {"stores": ["{}"]},
        }),
        ..ask("POST", "/v1/chat/completions", Store)
    });
    all.push(Ask {
        body: json!({"metadata": {"title": "Mine"}}),
        ..ask("POST", "/v1/conversations/{}", Conversation)
    });
    all.push(Ask {
        body: json!({"items": [{"role": "user", "content": "And this."}]}),
        ..ask("POST", "/v1/conversations/{}/items", Conversation)
    });
    all.push(Ask {
        body: json!({"part_ids": []}),
        ..ask("POST", "/v1/uploads/{}/complete", Upload)
    });
    for (path, body) in [
        ("/v1/files/{}", json!({"tags": ["a"]})),
        ("/v1/files/{}/shares", json!({"with": "public"})),
        ("/v1/files/{}/comments", json!({"text": "a"})),
    ] {
        all.push(Ask {
            body,
            ..ask("POST", path, Document)
        });
    }
    all.push(Ask {
        body: json!({"site_key": "{}"}),
        ..ask("POST", "/api/session", SiteKey)
    });
    all
}

/// Routes that show or change what belongs to whoever asks: asked with credentials of another tenant.
const OWN: [(&str, &str); 11] = [
    ("GET", "/api/me/memories"),
    ("GET", "/api/session"),
    ("DELETE", "/api/session"),
    ("GET", "/api/me"),
    ("GET", "/api/me/usage"),
    ("GET", "/api/me/export"),
    ("POST", "/api/me/erase"),
    ("GET", "/v1/files"),
    ("GET", "/v1/shared"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
];

/// Routes without an id of a tenant's and without anything of whoever asks, and why.
const OTHERS: [(&str, &str); 17] = [
    ("ConversationCreate", "the id is in its answer"),
    ("MemoryCreate", "the id is in its answer"),
    ("Health", "says that the process answers"),
    ("Ready", "the deployment's own"),
    (
        "Model",
        "the id is an alias, which stands in the configuration of all",
    ),
    ("Ask", "a question without an id"),
    ("Messages", "a question without an id"),
    ("CountTokens", "a question without an id"),
    ("Embeddings", "a question without an id"),
    ("Moderations", "a question without an id"),
    ("Images", "a question without an id"),
    ("Audio", "a question without an id"),
    ("FilesCreate", "the id is in its answer"),
    ("UploadCreate", "the id is in its answer"),
    ("Admin", "operators.rs"),
    ("AdminPage", "operators.rs"),
    ("Preflight", "tells methods and headers"),
];

/// The names of the routes, as the code has them.
fn routes() -> BTreeSet<String> {
    let text = include_str!("../../../src/domain/route.rs");
    let body = text.split("pub enum Route {").nth(1).unwrap();
    let lines = body.split("\n}").next().unwrap().lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .map(name_of)
        .collect()
}

fn name_of(text: &str) -> String {
    text.chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}

#[test]
fn every_route_is_asked_or_said_to_have_nothing_of_a_tenants() {
    let named = |(method, path): (&str, &str)| {
        let path = path.replace("{}", "x").replace("{item}", "y");
        let path = path.split('?').next().unwrap();
        let found: Route = route(method, path).unwrap();
        name_of(&format!("{found:?}"))
    };
    let mut known: BTreeSet<String> = asks()
        .iter()
        .map(|ask| named((ask.method, ask.path)))
        .chain(OWN.map(named))
        .collect();
    for (name, why) in OTHERS {
        assert!(known.insert(name.into()), "{name} is asked, and {why}");
    }
    let all = routes();
    assert!(all.len() > 30, "{all:?}");
    assert_eq!(known, all);
}

// === the worlds ===

/// By whom something was left, and who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Visitor,
    Key,
    /// Nobody owns documents, and an answer is theirs who hold its id.
    Nobody,
}

const EVERYBODY: [Who; 3] = [Who::Visitor, Who::Key, Who::Nobody];

fn guest(port: &FakePort, at: usize, who: Who) -> Guest {
    let mut guest = Guest::at(HOSTS[at]);
    match who {
        Who::Visitor => {
            guest.begin(port, &json!({}));
        }
        Who::Key => {
            let mut owner = owner_of(port, HOSTS[at]);
            guest.bearer = make(port, &mut owner, Thing::ApiKey).guest.bearer;
        }
        Who::Nobody => {}
    }
    guest
}

/// What somebody leaves. Returns its id.
fn leave(port: &FakePort, guest: &Guest, left: Left) -> String {
    match left {
        Left::Document => guest.upload(port),
        Left::Link => {
            let id = guest.upload(port);
            let link = json!({"with": "link"});
            let made = guest.ask(port, "POST", &format!("/v1/files/{id}/shares"), &link);
            assert_eq!(made.status, 200, "{}", made.text());
            made.json()["token"].as_str().unwrap().to_owned()
        }
        Left::Upload => {
            let wanted = json!({"filename": "4711.txt", "purpose": "user_data", "bytes": 9, "mime_type": "text/plain"});
            let begun = guest.ask(port, "POST", "/v1/uploads", &wanted);
            assert_eq!(begun.status, 200, "{}", begun.text());
            let id = begun.json()["id"].as_str().unwrap().to_owned();
            let stored = part(port, guest, &format!("/v1/uploads/{id}/parts"), "4711");
            assert_eq!(stored.status, 200, "{}", stored.text());
            id
        }
        Left::Conversation => {
            let body = json!({
                "metadata": {"title": "4711"},
                "items": [{"role": "user", "content": "Remember 4711."}],
            });
            let made = guest.ask(port, "POST", "/v1/conversations", &body);
            assert_eq!(made.status, 200, "{}", made.text());
            made.json()["id"].as_str().unwrap().to_owned()
        }
        Left::Memory => {
            let body = json!({"text": "My number is 4711."});
            let made = guest.ask(port, "POST", "/api/me/memories", &body);
            assert_eq!(made.status, 200, "{}", made.text());
            made.json()["id"].as_str().unwrap().to_owned()
        }
        Left::Store => {
            let file = guest.upload(port);
            let body = json!({"name": "4711", "file_ids": [file]});
            let made = guest.ask(port, "POST", "/v1/vector_stores", &body);
            assert_eq!(made.status, 200, "{}", made.text());
            made.json()["id"].as_str().unwrap().to_owned()
        }
        Left::SiteKey => {
            let mut owner = owner_of(port, guest.host);
            make(port, &mut owner, Thing::SiteKey).id
        }
        Left::Answer(Protocol::Responses) => guest.response(port),
        Left::Answer(protocol) | Left::Stream(protocol) => {
            let body = match protocol {
                Protocol::Responses => {
                    json!({"model": "site", "input": "Remember 4711.", "stream": true})
                }
                _ => json!({
                    "model": "site",
                    "messages": [{"role": "user", "content": "Remember 4711."}],
                    "max_tokens": 100,
                    "stream": true,
                }),
            };
            let bytes = body.to_string().into_bytes();
            let head = Head {
                content_type: Some("application/json".into()),
                content_length: Some(bytes.len() as u64),
                resumable: true,
                ..guest.head(port, "POST", protocol.endpoint())
            };
            let streamed = guest.send(port, head, &bytes);
            assert_eq!(streamed.status, 200, "{}", streamed.text());
            let id = streamed.header("x-gatehouse-response-id");
            id.unwrap_or_else(|| panic!("{:?}", streamed.headers))
                .to_owned()
        }
    }
}

/// Sends a part of an upload.
fn part(port: &FakePort, by: &Guest, path: &str, content: &str) -> Received {
    let form = format!(
        "--B\r\nContent-Disposition: form-data; name=\"data\"; filename=\"part\"\r\n\r\n{content}\r\n--B--\r\n"
    );
    let head = Head {
        content_type: Some("multipart/form-data; boundary=B".into()),
        content_length: Some(form.len() as u64),
        ..by.head(port, "POST", path)
    };
    by.send(port, head, form.as_bytes())
}

/// Sends a new version of a document.
fn version(port: &FakePort, by: &Guest, path: &str) -> Received {
    let form = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nother\r\n--B--\r\n";
    let head = Head {
        content_type: Some("multipart/form-data; boundary=B".into()),
        content_length: Some(form.len() as u64),
        ..by.head(port, "POST", path)
    };
    by.send(port, head, form.as_bytes())
}

fn nobody(id: &str) -> String {
    let at = id.rfind(['_', '-']).map_or(0, |_| {
        // An id of an answer may hold both signs itself: what is before the first one is its prefix.
        id.find(['_', '-']).map_or(0, |at| at + 1)
    });
    let head = if id.starts_with("pk_tst_") { 7 } else { at };
    [&id[..head], &"0".repeat(id.len() - head)].concat()
}

impl Ask {
    fn put(&self, port: &FakePort, by: &Guest, id: &str) -> Received {
        let path = self.path.replace("{}", id);
        let path = path.replace("{item}", &item_of(id));
        if (self.method, self.left) == ("POST", Left::Upload) && path.ends_with("/parts") {
            return part(port, by, &path, "other");
        }
        if self.method == "POST" && path.ends_with("/content") {
            return version(port, by, &path);
        }
        let body = if self.body.is_null() {
            Value::Null
        } else {
            serde_json::from_str(&self.body.to_string().replace("{}", id)).unwrap()
        };
        by.ask(port, self.method, &path, &body)
    }
}

struct World {
    port: FakePort,
    holder: Guest,
    asker: Guest,
    id: String,
}

fn world(of: usize, left: Left, by: Who, asks: Who) -> World {
    let port = house();
    let holder = guest(&port, of, by);
    let id = leave(&port, &holder, left);
    let asker = guest(&port, 1 - of, asks);
    // The other house has a keyring and rules of its own, whoever asks there.
    drop(guest(&port, 1 - of, Who::Visitor));
    World {
        port,
        holder,
        asker,
        id,
    }
}

#[test]
fn an_id_of_another_tenant_is_an_id_of_nobody_for_visitors_and_keys() {
    let mut asked = 0;
    for ask in asks() {
        for by in EVERYBODY {
            // A site key is nobody's of these, and what has an owner is nobody's at all.
            if (ask.left == Left::SiteKey && by != Who::Nobody)
                || (ask.left.is_owned() && by == Who::Nobody)
            {
                continue;
            }
            for (of, asks) in [0, 1]
                .into_iter()
                .flat_map(|of| EVERYBODY.map(|who| (of, who)))
            {
                let what = format!(
                    "{} {} of a {by:?} of {} by a {asks:?}",
                    ask.method, ask.path, TENANTS[of]
                );
                let real = world(of, ask.left, by, asks);
                let before = kept(&real.port, TENANTS[of]);
                let answer = ask.put(&real.port, &real.asker, &real.id);
                let same = kept(&real.port, TENANTS[of]) == before;
                assert!(same, "{what}: something changed");
                let none = world(of, ask.left, by, asks);
                assert_eq!(none.id, real.id, "{what}: the worlds are the same");
                let nobody = nobody(&none.id);
                let unknown = ask.put(&none.port, &none.asker, &nobody);
                assert_eq!(told(&answer, &real.id), told(&unknown, &nobody), "{what}");
                assert!(!answer.text().contains("4711"), "{what}");

                // Whose it is still has it, and for them the same question is a good one.
                let own = match ask.left {
                    Left::Document => real
                        .holder
                        .get(&real.port, &format!("/v1/files/{}/content", real.id)),
                    Left::Link => real
                        .holder
                        .get(&real.port, &format!("/v1/shared/{}", real.id)),
                    Left::Upload => real
                        .holder
                        .get(&real.port, &format!("/v1/uploads/{}", real.id)),
                    Left::Answer(protocol) | Left::Stream(protocol) => {
                        let path = format!("{}/{}", protocol.endpoint(), real.id);
                        real.holder.get(&real.port, &path)
                    }
                    Left::Conversation => real
                        .holder
                        .get(&real.port, &format!("/v1/conversations/{}/items", real.id)),
                    Left::Memory => real.holder.get(&real.port, "/api/me/memories"),
                    Left::Store => real
                        .holder
                        .get(&real.port, &format!("/v1/vector_stores/{}", real.id)),
                    Left::SiteKey => shop(&ask, &real),
                };
                assert_eq!(own.status, 200, "{what}, as its own: {}", own.text());
                if ask.left != Left::SiteKey {
                    let granted = ask.put(&real.port, &real.holder, &real.id);
                    // What is done cannot be cancelled, what is not there not be completed.
                    let refusable = ["cancel", "complete"];
                    let refused = refusable.iter().any(|end| ask.path.ends_with(end));
                    let is_unknown = ["/9", "/none"].iter().any(|end| ask.path.ends_with(end));
                    let good = granted.status < 300
                        || is_unknown && granted.status == 404
                        || refused && granted.status != 404;
                    assert!(good, "{what}, as its own: {}", granted.text());
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 250, "{asked}");
}

/// A page of the origin that the site key is for.
fn shop(ask: &Ask, world: &World) -> Received {
    let page = Guest {
        origin: Some("https://shop.example"),
        ..world.holder.clone()
    };
    ask.put(&world.port, &page, &world.id)
}

// === credentials ===

/// A credential of one tenant, shown at the house of the other, is the same as one that nobody was ever given.
#[test]
fn a_credential_of_another_tenant_is_one_of_nobody() {
    let page = "https://shop.example";
    for (method, path) in OWN {
        for (of, kind) in [0, 1]
            .into_iter()
            .flat_map(|of| ["cookies", "token", "key"].map(|kind| (of, kind)))
        {
            let what = format!("{method} {path} with the {kind} of {}", TENANTS[of]);
            let made = || {
                let port = house();
                let mut owner = owner_of(&port, HOSTS[of]);
                let foreign = owner_of(&port, HOSTS[1 - of]);
                // Both houses serve that origin.
                for owner in [&owner, &foreign] {
                    owner.confirm(&port);
                    let site = json!({"name": "shop", "origins": [page]});
                    assert_eq!(owner.call(&port, "POST", "/site-keys", &site).status, 201);
                }
                let site_key = owner.call(&port, "GET", "/site-keys", &Value::Null).json();
                let site_key = site_key["site_keys"][0]["id"].clone();
                let guest = match kind {
                    "cookies" => {
                        let mut guest = Guest::at(HOSTS[of]);
                        guest.begin(&port, &json!({}));
                        guest.upload(&port);
                        guest
                    }
                    "token" => {
                        let mut guest = Guest::at(HOSTS[of]);
                        guest.origin = Some(page);
                        guest.begin(&port, &json!({"site_key": site_key}));
                        guest
                    }
                    _ => {
                        let Made { guest, .. } = make(&port, &mut owner, Thing::ApiKey);
                        guest.upload(&port);
                        guest
                    }
                };
                (port, guest)
            };
            let body = match path {
                "/v1/chat/completions" => {
                    json!({"model": "site", "messages": [{"role": "user", "content": "Hi"}]})
                }
                _ if method == "POST" => json!({}),
                _ => Value::Null,
            };
            let (port, own) = made();
            let before = kept(&port, TENANTS[of]);
            let shown = Guest {
                host: HOSTS[1 - of],
                ..own.clone()
            };
            let answer = shown.ask(&port, method, path, &body);
            assert!(
                kept(&port, TENANTS[of]) == before,
                "{what}: something changed"
            );

            let (none, mut unknown) = made();
            unknown.host = HOSTS[1 - of];
            for (_, value) in &mut unknown.cookies {
                *value = another(value);
            }
            unknown.bearer = unknown.bearer.map(|bearer| match kind {
                "key" => {
                    let random = none.random();
                    api_key::make(Kind::Api, Env::Test, &random)
                        .text
                        .reveal()
                        .clone()
                }
                _ => another(&bearer),
            });
            let refused = unknown.ask(&none, method, path, &body);
            assert_eq!(comparable(&answer), comparable(&refused), "{what}");

            // At its own house it is good for the same.
            let granted = own.ask(&port, method, path, &body);
            let good = match kind {
                "cookies" => granted.status < 300,
                // A page of another origin has no documents, and a key no session.
                _ => !granted.text().contains("invalid_credentials") && granted.status < 500,
            };
            assert!(good, "{what}, at its own house: {}", granted.text());
        }
    }
}

/// The same form, and nobody's: the signature is another one.
fn another(token: &str) -> String {
    let last = if token.ends_with("AAAA") {
        "BBBB"
    } else {
        "AAAA"
    };
    [&token[..token.len() - 4], last].concat()
}

/// Without what random bytes made, of which the two worlds drew a different number.
fn comparable(received: &Received) -> (u16, Vec<String>, String) {
    let (status, headers, body) = told(received, received.header("x-request-id").unwrap());
    let named = |header: &&String| !header.starts_with("traceparent");
    let headers = headers.iter().filter(named).cloned().collect();
    (status, headers, body)
}

#[test]
fn the_same_idempotency_key_of_two_tenants_is_two_calls() {
    for who in EVERYBODY {
        let port = house();
        let [first, second] = [0, 1].map(|at| {
            let guest = guest(&port, at, who);
            let body = json!({"model": "site", "messages": [{"role": "user", "content": format!("I am {at}")}]});
            let bytes = body.to_string().into_bytes();
            let head = Head {
                content_type: Some("application/json".into()),
                content_length: Some(bytes.len() as u64),
                idempotency_key: Some("order-4711".into()),
                ..guest.head(&port, "POST", "/v1/chat/completions")
            };
            guest.send(&port, head, &bytes)
        });
        for answered in [first, second] {
            assert_eq!(answered.status, 200, "{who:?}: {}", answered.text());
            assert_eq!(answered.header("x-gatehouse-attached"), None, "{who:?}");
        }
        assert_eq!(port.sent_to("gpt-5-mini").len(), 2, "{who:?}");
    }
}
