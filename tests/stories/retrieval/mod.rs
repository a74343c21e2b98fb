//! Vector stores from the request to the rows: whose they are, what is found of them, what a model is told, and what is
//! left when something fails or is deleted.

mod chat;
mod stores;

use gatehouse::app::port::Class;
use gatehouse::app::request::Head;
use gatehouse::app::serve::serve;
use gatehouse::base::time::Millis;
use gatehouse::domain::settings::config::Config;
use serde_json::{Value, json};

use crate::gateway::house::{Chat, ask_with, house, post, said, streams};
use crate::support::fake_port::FakePort;
use crate::support::run::{block_on, settle};
use crate::support::{FakeBody, Received};

/// Words that nothing but the documents says.
const CANARY: &str = "zanzibarquokka";

/// A document: each paragraph is about something else.
const GUIDE: &str = "The cache keeps an answer for one hour.\n\nThe limiter admits twenty requests a minute, and \
                     zanzibarquokka is the word of the day.\n\nThe scanner looks for harm in every document.";

/// Somebody with a browser, or with a key.
#[derive(Clone, Default)]
struct Somebody {
    cookie: Option<String>,
    bearer: Option<String>,
    origin: Option<&'static str>,
}

impl Somebody {
    fn ask(&mut self, port: &FakePort, method: &str, path: &str, body: Value) -> Received {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let foreign = self.origin.is_some();
        let head = Head {
            method: method.into(),
            query: query.into(),
            cookie: self.cookie.clone(),
            authorization: self.bearer.as_ref().map(|key| ["Bearer ", key].concat()),
            origin: self.origin.map(str::to_owned),
            fetch_site: Some(if foreign { "cross-site" } else { "same-origin" }.into()),
            at: port.clock().now(),
            ..post(path)
        };
        let received = ask_with(port, head, body);
        self.keeps(&received);
        received
    }

    fn keeps(&mut self, received: &Received) {
        for (name, value) in &received.headers {
            if *name == "set-cookie" && value.starts_with("gatehouse")
                || value.starts_with("__Host")
            {
                self.cookie = value.split(';').next().map(str::to_owned);
            }
        }
    }

    /// The JSON of an answer that went well.
    fn done(&mut self, port: &FakePort, method: &str, path: &str, body: Value) -> Value {
        let received = self.ask(port, method, path, body);
        assert_eq!(received.status, 200, "{method} {path}: {}", received.text());
        received.json()
    }

    fn get(&mut self, port: &FakePort, path: &str) -> Value {
        self.done(port, "GET", path, Value::Null)
    }

    /// Uploads a document, or its next version.
    fn uploads_to(
        &mut self,
        port: &FakePort,
        path: &str,
        name: &str,
        content: impl AsRef<[u8]>,
    ) -> String {
        let head = format!(
            "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nassistants\r\n\
             --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: text/plain\r\n\r\n"
        );
        let body = [head.as_bytes(), content.as_ref(), b"\r\n--B--\r\n"].concat();
        let head = Head {
            content_type: Some("multipart/form-data; boundary=B".into()),
            content_length: Some(body.len() as u64),
            cookie: self.cookie.clone(),
            authorization: self.bearer.as_ref().map(|key| ["Bearer ", key].concat()),
            fetch_site: Some("same-origin".into()),
            at: port.clock().now(),
            ..post(path)
        };
        let reply = block_on(serve(port, head, FakeBody::whole(&body, 4096)));
        let received = Received::from(reply);
        settle();
        assert_eq!(received.status, 200, "{}", received.text());
        self.keeps(&received);
        received.json()["id"].as_str().unwrap().to_owned()
    }

    fn uploads(&mut self, port: &FakePort, name: &str, content: impl AsRef<[u8]>) -> String {
        self.uploads_to(port, "/v1/files", name, content)
    }

    fn makes(&mut self, port: &FakePort, body: Value) -> String {
        let made = self.done(port, "POST", "/v1/vector_stores", body);
        made["id"].as_str().unwrap().to_owned()
    }

    /// Adds a document. Gives how it stands.
    fn adds(&mut self, port: &FakePort, store: &str, file: &str) -> Value {
        let path = format!("/v1/vector_stores/{store}/files");
        self.done(port, "POST", &path, json!({"file_id": file}))
    }

    /// A store with a document of that text: both ids.
    fn keeps_a_guide(&mut self, port: &FakePort, text: &str) -> (String, String) {
        let file = self.uploads(port, "guide.txt", text);
        let store = self.makes(port, json!({"name": "Guide"}));
        let told = self.adds(port, &store, &file);
        assert_eq!(told["status"], "completed", "{told}");
        (store, file)
    }

    fn searches(&mut self, port: &FakePort, store: &str, body: Value) -> Vec<Value> {
        let path = format!("/v1/vector_stores/{store}/search");
        let told = self.done(port, "POST", &path, body);
        told["data"].as_array().unwrap().clone()
    }

    /// The documents in which a question is answered, best first.
    fn finds(&mut self, port: &FakePort, store: &str, question: &str) -> Vec<String> {
        let found = self.searches(port, store, json!({"query": question}));
        let ids = found
            .iter()
            .map(|hit| hit["file_id"].as_str().unwrap().to_owned());
        ids.collect()
    }
}

/// A house whose provider says what it was told last, and cites the first passage.
fn reading(change: impl FnOnce(&mut Config)) -> FakePort {
    let port = house(&[(Chat, "first")], change);
    port.provider_that("first", |sent| {
        if sent.json()["stream"] == true {
            streams(Chat, "first", &["Twenty a minute", " [1]."])
        } else {
            said(Chat, "first", "Twenty a minute [1].")
        }
    });
    port
}

fn fails(received: &Received, status: u16, code: &str) {
    let told = (received.status, received.code());
    assert_eq!(told, (status, Some(code.into())), "{}", received.text());
}

/// Everything that is stored in this world: rows, blobs, cache.
fn stored(port: &FakePort) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for class in [Class::Memory, Class::Shared, Class::Stores] {
        for (object, rows) in port.many_rows(class) {
            all.extend(
                rows.into_iter()
                    .map(|(key, row)| (format!("{object} {key}"), row)),
            );
        }
    }
    for class in [
        Class::Owner,
        Class::Ledger,
        Class::Directory,
        Class::Limiter,
        Class::AuditLog,
    ] {
        for (object, rows) in port.rows(class) {
            let rows = rows.into_iter();
            all.extend(rows.map(|(key, row)| (format!("{object} {key}"), row.into_bytes())));
        }
    }
    let blobs = port.blobs.borrow();
    all.extend(blobs.iter().map(|(key, blob)| (key.clone(), blob.clone())));
    let cache = port.cache.borrow();
    all.extend(
        cache
            .iter()
            .map(|(key, (entry, _))| (key.clone(), entry.clone())),
    );
    all
}

/// Rows of an owner's stores that hold content: passages, what was made of them, and blocks.
fn content_rows(port: &FakePort) -> usize {
    let rows = port.many_rows(Class::Stores);
    let keys = rows.values().flat_map(|rows| rows.keys());
    let kinds = ["p/", "v/", "c/", "x/"];
    keys.filter(|key| kinds.iter().any(|kind| key.starts_with(kind)))
        .count()
}

const fn secs(seconds: u64) -> Millis {
    Millis::from_secs(seconds)
}

fn says(value: &[u8], word: &str) -> bool {
    value
        .windows(word.len())
        .any(|part| part == word.as_bytes())
}
