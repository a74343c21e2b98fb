//! What one tenant has, asked for by its real id at another tenant's house: nothing is told that an id of nobody would
//! not be told, and nothing changes.
//!
//! Every question is put in two worlds that are the same up to the question: once with the real id, once with an id of
//! nobody. Randomness and clock are the test's own, so that the two answers can be compared whole.

mod guests;
mod operators;
mod things;

use std::collections::BTreeMap;

use gatehouse::app::port::Class;
use serde_json::json;

use crate::support::Received;
use crate::support::fake_port::FakePort;
use crate::support::operator::{ADMIN_TOKEN, two_tenants};
use crate::support::upstream::{Scripted, said_hello};

/// The houses of the tenants, and the tenants' names.
const HOSTS: [&str; 2] = ["https://house.example", "https://acme.example"];
const TENANTS: [&str; 2] = ["default", "acme"];

/// Two tenants whose limits do not bind, with providers that say hello.
fn house() -> FakePort {
    let port = FakePort::with(
        |config| {
            two_tenants(config);
            // Providers whose keys operators store: one will have a key, the other none.
            let alias = config.aliases[0].clone();
            for name in ["prov-a", "prov-b"] {
                let provider = json!({"name": name, "kind": "openai", "key": "NO_SUCH_SECRET"});
                config
                    .providers
                    .push(serde_json::from_value(provider).unwrap());
                let mut alias = alias.clone();
                alias.name = ["by-", name].concat();
                alias.targets.truncate(1);
                alias.targets[0].provider = name.into();
                alias.targets[0].model = Some("m".into());
                alias.targets[0].model_var = None;
                config.aliases.push(alias);
            }
        },
        &[("ADMIN_TOKEN", ADMIN_TOKEN), ("OPENAI_API_KEY", "sk-1")],
    );
    for model in ["gpt-5-mini", "m"] {
        port.provider_that(model, |sent| {
            if sent.json()["stream"] == true {
                streamed_hello()
            } else {
                said_hello()
            }
        });
    }
    port
}

fn streamed_hello() -> Scripted {
    let chunk = |delta: serde_json::Value, finish: Option<&str>| {
        let chunk = json!({
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_795_219_200,
            "model": "gpt",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        format!("data: {chunk}\n\n").into()
    };
    Scripted::events([
        chunk(json!({"role": "assistant", "content": "Hello."}), None),
        chunk(json!({}), Some("stop")),
        "data: [DONE]\n\n".into(),
    ])
}

/// Everything of an answer; the id that it was asked for is replaced by a word. A number is no longer found in a text
/// and stays.
fn told(received: &Received, id: &str) -> (u16, Vec<String>, String) {
    let without = |text: &str| {
        if id.len() < 4 {
            text.to_owned()
        } else {
            text.replace(id, "ID")
        }
    };
    let headers = received.headers.iter();
    let headers = headers.map(|(name, value)| format!("{name}: {}", without(value)));
    let body = String::from_utf8_lossy(&received.body).into_owned();
    (received.status, headers.collect(), without(&body))
}

/// Every row and blob of a tenant.
type Kept = BTreeMap<String, String>;

fn kept(port: &FakePort, tenant: &str) -> Kept {
    let prefix = format!("v1/{tenant}/");
    let mut all = Kept::new();
    for class in [
        Class::Limiter,
        Class::Ledger,
        Class::Owner,
        Class::Directory,
        Class::Keyring,
        Class::AuditLog,
    ] {
        for (name, rows) in port.rows(class) {
            if name.starts_with(&prefix) {
                let named = |(key, value)| (format!("{class:?} {name} {key}"), value);
                all.extend(rows.into_iter().map(named));
            }
        }
    }
    for class in [Class::Memory, Class::Stores] {
        for (name, rows) in port.many_rows(class) {
            if name.starts_with(&prefix) {
                let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
                let named = |(key, value)| (format!("{class:?} {name} {key}"), text(value));
                all.extend(rows.into_iter().map(named));
            }
        }
    }
    for (name, bytes) in port.blobs.borrow().iter() {
        if name.starts_with(&prefix) {
            all.insert(name.clone(), String::from_utf8_lossy(bytes).into_owned());
        }
    }
    assert!(!all.is_empty(), "{tenant} keeps something");
    all
}
