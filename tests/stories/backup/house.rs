//! A house with everything in it that a snapshot has to hold.

use gatehouse::app::backup::snapshot;
use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::domain::settings::config::Config;
use serde_json::{Value, json};

use crate::support::fake_port::FakePort;
use crate::support::operator::{ADMIN_TOKEN, Operator, owner_of, request, two_tenants};
use crate::support::run::block_on;
use crate::support::{FakeBody, Received};

pub const HOST: &str = "https://house.example";

/// A house with plenty of room.
pub fn house(change: impl FnOnce(&mut Config)) -> FakePort {
    FakePort::with(
        |config| {
            two_tenants(config);
            change(config);
        },
        &[("ADMIN_TOKEN", ADMIN_TOKEN)],
    )
}

/// Somebody with a browser.
pub struct Visitor {
    pub cookie: Option<String>,
    pub id: String,
    pub key: Option<String>,
}

impl Visitor {
    pub fn new() -> Self {
        Self {
            cookie: None,
            id: String::new(),
            key: None,
        }
    }

    /// Somebody who comes with an API key.
    pub fn with_key(key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..Self::new()
        }
    }

    fn send(
        &mut self,
        port: &FakePort,
        method: &str,
        path: &str,
        kind: &str,
        bytes: &[u8],
    ) -> Received {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let head = Head {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            own_origin: HOST.into(),
            fetch_site: Some("same-origin".into()),
            address: Some("203.0.113.9".into()),
            cookie: self.cookie.clone(),
            authorization: self.key.as_ref().map(|key| ["Bearer ", key].concat()),
            content_type: (!bytes.is_empty()).then(|| kind.into()),
            content_length: Some(bytes.len() as u64),
            at: port.clock().now(),
            ..Head::default()
        };
        let reply = block_on(serve(port, head, FakeBody::whole(bytes, 65_536)));
        let received = Received::from(reply);
        for (name, value) in &received.headers {
            if *name == "set-cookie" {
                self.cookie = value.split(';').next().map(str::to_owned);
            }
        }
        received
    }

    pub fn ask(&mut self, port: &FakePort, method: &str, path: &str, body: &Value) -> Received {
        let bytes = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        self.send(port, method, path, "application/json", &bytes)
    }

    fn done(&mut self, port: &FakePort, method: &str, path: &str, body: &Value) -> Value {
        let told = self.ask(port, method, path, body);
        assert_eq!(told.status, 200, "{method} {path}: {}", told.text());
        told.json()
    }

    /// Stores a document; its id.
    pub fn uploads(&mut self, port: &FakePort, name: &str, content: &[u8]) -> String {
        let head = format!(
            "--B\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--B\r\n\
             content-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\ncontent-type: text/plain\r\n\r\n"
        );
        let form = [head.as_bytes(), content, b"\r\n--B--\r\n"].concat();
        let kind = "multipart/form-data; boundary=B";
        let told = self.send(port, "POST", "/v1/files", kind, &form);
        assert_eq!(told.status, 200, "{}", told.text());
        if self.key.is_none() {
            let me = self.done(port, "GET", "/api/me", &Value::Null);
            self.id = me["id"].as_str().unwrap().to_owned();
        }
        told.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn deletes(&mut self, port: &FakePort, id: &str) {
        self.done(port, "DELETE", &format!("/v1/files/{id}"), &Value::Null);
    }

    /// Begins a conversation with these words; its id.
    pub fn begins(&mut self, port: &FakePort, words: &str) -> String {
        let item = json!({"type": "message", "role": "user", "content": words});
        let made = self.done(port, "POST", "/v1/conversations", &json!({"items": [item]}));
        made["id"].as_str().unwrap().to_owned()
    }

    pub fn lists(&mut self, port: &FakePort) -> Vec<String> {
        let listed = self.done(port, "GET", "/v1/files?limit=100", &Value::Null);
        let files = listed["data"].as_array().unwrap().iter();
        files
            .map(|file| file["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Everything of them that can be read.
    fn seen(&mut self, port: &FakePort) -> Vec<String> {
        let mut seen = Vec::new();
        let mut read = |path: &str, visitor: &mut Self| {
            let told = visitor.ask(port, "GET", path, &Value::Null);
            assert_eq!(told.status, 200, "{path}: {}", told.text());
            seen.push(format!("{path} {}", told.text()));
            told
        };
        let files = read("/v1/files?limit=100", self).json();
        for file in files["data"].as_array().unwrap() {
            let id = file["id"].as_str().unwrap();
            for path in ["/content", "/versions", "/shares", "/comments"] {
                read(&format!("/v1/files/{id}{path}"), self);
            }
        }
        read("/v1/shared", self);
        let talks = read("/v1/conversations", self).json();
        for talk in talks["data"].as_array().unwrap() {
            let id = talk["id"].as_str().unwrap();
            read(&format!("/v1/conversations/{id}/items?order=asc"), self);
        }
        let stores = self.done(port, "GET", "/v1/vector_stores", &Value::Null);
        for store in stores["data"].as_array().unwrap() {
            let path = format!("/v1/vector_stores/{}", store["id"].as_str().unwrap());
            let question = json!({"query": "What is the plan of the house?"});
            let found = self.done(port, "POST", &format!("{path}/search"), &question);
            assert_ne!(found["data"], json!([]));
            seen.push(format!("{path} {found}"));
        }
        seen
    }
}

/// Who lives there.
pub struct Furnished {
    pub owner: Operator,
    pub ann: Visitor,
    pub ben: Visitor,
    pub robot: Visitor,
    pub checkpoint: String,
}

/// A house with operators, an API key, a rule, documents, shares, comments, versions, a vector store, conversations, and a
/// log.
pub fn furnished() -> (FakePort, Furnished) {
    let port = house(|_| {});
    let owner = owner_of(&port, HOST);
    owner.confirm(&port);
    let made = owner.call(
        &port,
        "POST",
        "/keys",
        &json!({"name": "robot", "scopes": {"aliases": "all", "stores": "write"}}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let flag = owner.call(&port, "PUT", "/flags/banner", &json!({"value": "hello"}));
    assert_eq!(flag.status, 200, "{}", flag.text());
    let mut ann = Visitor::new();
    let mut ben = Visitor::new();
    let mut robot = Visitor::with_key(made.json()["key"].as_str().unwrap());
    let plan = ann.uploads(&port, "plan.txt", b"the plan of the house");
    ben.uploads(&port, "bens.txt", b"what Ben keeps");
    robot.uploads(&port, "robot.txt", b"beep");
    let share = json!({"with": "principal", "id": ben.id, "right": "view"});
    ann.done(&port, "POST", &format!("/v1/files/{plan}/shares"), &share);
    let said = json!({"text": "well drawn"});
    ann.done(&port, "POST", &format!("/v1/files/{plan}/comments"), &said);
    let store = ann.done(
        &port,
        "POST",
        "/v1/vector_stores",
        &json!({"name": "Plans"}),
    );
    let files = format!("/v1/vector_stores/{}/files", store["id"].as_str().unwrap());
    ann.done(&port, "POST", &files, &json!({"file_id": plan}));
    ann.begins(&port, "what the house is for");
    ben.begins(&port, "another matter");
    let checkpoint = owner.call(&port, "GET", "/audit/checkpoint", &Value::Null);
    let checkpoint = checkpoint.text().to_owned();
    let home = Furnished {
        owner,
        ann,
        ben,
        robot,
        checkpoint,
    };
    (port, home)
}

impl Furnished {
    /// Everything that can be read, by whoever may read it.
    pub fn seen(&mut self, port: &FakePort) -> Vec<String> {
        let mut seen = self.ann.seen(port);
        seen.extend(self.ben.seen(port));
        seen.extend(self.robot.seen(port));
        for path in ["/flags", "/keyring", "/limits"] {
            let told = self.owner.call(port, "GET", path, &Value::Null);
            assert_eq!(told.status, 200, "{path}: {}", told.text());
            let mut told = told.json();
            // Ages grow.
            for version in told["versions"].as_array_mut().into_iter().flatten() {
                version["in_state_seconds"] = Value::Null;
            }
            for age in ["age_seconds", "due_in_seconds"] {
                if let Some(known) = told.get_mut(age) {
                    *known = Value::Null;
                }
            }
            seen.push(told.to_string());
        }
        let keys = self.owner.call(port, "GET", "/keys", &Value::Null).json();
        seen.push(keys["keys"][0]["id"].to_string());
        let operators = self.owner.call(port, "GET", "/operators", &Value::Null);
        seen.push(operators.json()["operators"][0]["id"].to_string());
        seen
    }
}

/// Takes a whole snapshot.
pub fn snapshot_of(port: &FakePort) -> String {
    for _ in 0..100 {
        let taken = block_on(snapshot::step(port)).unwrap();
        if taken.done {
            // The next one has another time in its name.
            port.pass(gatehouse::base::time::Millis(1));
            return taken.id;
        }
    }
    panic!("the snapshot does not end");
}

/// One step of a restore.
pub fn restore(port: &FakePort, body: &Value) -> Received {
    request(port, HOST, None, "POST", "/restore", body)
}

/// A whole one.
pub fn restored(port: &FakePort, id: &str) -> Value {
    for _ in 0..100 {
        let step = restore(port, &json!({"token": ADMIN_TOKEN, "snapshot": id}));
        assert_eq!(step.status, 200, "{}", step.text());
        if step.json()["done"] == true {
            // What was set off by it has rung.
            port.pass(gatehouse::base::time::Millis(1));
            return step.json();
        }
    }
    panic!("the restore does not end");
}
