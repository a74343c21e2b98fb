//! Documents at rest: nothing can be read without the keyring, and nothing that was changed is delivered.

use gatehouse::app::port::Class;
use gatehouse::base::digest::hex;
use gatehouse::base::errors::Code;
use serde_json::Value;

use super::*;

/// Everything that is stored, as text where it is text.
fn stored(port: &FakePort) -> Vec<Vec<u8>> {
    let blobs = port.blobs.borrow();
    let classes = [
        Class::Owner,
        Class::Ledger,
        Class::Directory,
        Class::Keyring,
    ];
    let rows = classes.map(|class| port.rows(class).into_values().flatten().collect::<Vec<_>>());
    let rows = rows
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key} {value}").into_bytes());
    blobs.values().cloned().chain(rows).collect()
}

fn holds(stored: &[Vec<u8>], canary: &[u8]) -> bool {
    let hex = hex(canary).into_bytes();
    stored.iter().any(|bytes| {
        [canary, &hex]
            .iter()
            .any(|canary| bytes.windows(canary.len()).any(|part| part == *canary))
    })
}

#[test]
fn no_store_holds_a_word_of_a_document() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let stored = stored(&port);
    for canary in [&b"quick"[..], b"brown", b"lazy"] {
        assert!(!holds(&stored, canary), "{canary:?}");
    }
    // The probe finds what is there.
    assert!(holds(&stored, id.as_bytes()));
    let told = read(&port, &caller, &id, &head("GET", "/")).unwrap();
    assert_eq!(told.body, CONTENT);
}

#[test]
fn whatever_is_changed_in_the_bucket_is_found_before_it_is_delivered() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let other = uploaded(&port, &caller);
    let whole = port.blobs.borrow().clone();
    let key = |id: &str, segment: usize| format!("v1/default/docs/vis_1/{id}/{segment:05}");
    let get = head("GET", "/");
    let refused = |shown: &str| {
        let refusal = read(&port, &caller, &id, &get).unwrap_err();
        assert_eq!(refusal.code, Code::Integrity, "{shown}");
    };
    let first = whole[&key(&id, 0)].clone();
    // Every bit of what follows the header, which the row holds as well.
    for bit in 56 * 8..first.len() * 8 {
        let mut changed = first.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        port.blobs.borrow_mut().insert(key(&id, 0), changed);
        refused(&format!("bit {bit}"));
    }
    for length in 0..first.len() {
        port.blobs
            .borrow_mut()
            .insert(key(&id, 0), first[..length].to_vec());
        refused(&format!("cut to {length}"));
    }
    for (shown, blob) in [
        ("another segment", key(&id, 1)),
        ("another document's", key(&other, 0)),
    ] {
        port.blobs
            .borrow_mut()
            .insert(key(&id, 0), whole[&blob].clone());
        refused(shown);
    }
    // What is changed further on cuts the body short there.
    *port.blobs.borrow_mut() = whole.clone();
    port.blobs.borrow_mut().get_mut(&key(&id, 3)).unwrap()[60] ^= 1;
    let told = read(&port, &caller, &id, &get).unwrap();
    assert!(told.broken.is_some());
    assert_eq!(told.body, &CONTENT[..30]);
    // And the other document is whole.
    let told = read(&port, &caller, &other, &get).unwrap();
    assert_eq!(told.body, CONTENT);
}

#[test]
fn another_owners_row_opens_nothing() {
    let port = FakePort::new();
    let (caller, thief) = (visitor("vis_1"), visitor("vis_2"));
    let id = uploaded(&port, &caller);
    uploaded(&port, &thief);
    // Somebody who can write into storage puts the row where another one reads it.
    let row = port.rows(Class::Owner)["v1/default/vis_1"][&format!("doc/{id}")].clone();
    port.set_row(Class::Owner, "v1/default/vis_2", &format!("doc/{id}"), &row);
    let refusal = read(&port, &thief, &id, &head("GET", "/")).unwrap_err();
    assert_eq!(refusal.code, Code::Integrity);
}

#[test]
fn a_document_of_an_earlier_version_is_read_as_it_lies_there() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let id = uploaded(&port, &caller);
    let name = format!("doc/{id}");
    let row = port.rows(Class::Owner)["v1/default/vis_1"][&name].clone();
    let mut row: Value = serde_json::from_str(&row).unwrap();
    row.as_object_mut().unwrap().remove("key");
    for (n, segment) in row["segments"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .enumerate()
    {
        segment.as_object_mut().unwrap().remove("header");
        let plain = CONTENT.chunks(SEGMENT as usize).nth(n).unwrap().to_vec();
        let key = format!("v1/default/docs/vis_1/{id}/{n:05}");
        port.blobs.borrow_mut().insert(key, plain);
    }
    port.set_row(Class::Owner, "v1/default/vis_1", &name, &row.to_string());
    let told = read(&port, &caller, &id, &head("GET", "/")).unwrap();
    assert_eq!(told.body, CONTENT);
    remove(&port, &caller, &id).unwrap();
    sweep_all(&port);
    assert_nothing_left(&port, "after its deletion");
}

#[test]
fn the_last_document_takes_its_owners_key_with_it() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    let key = |port: &FakePort| {
        let rows = port.rows(Class::Owner);
        rows.get("v1/default/vis_1")
            .and_then(|rows| rows.get("owner-key").cloned())
    };
    let ids = [uploaded(&port, &caller), uploaded(&port, &caller)];
    let first = key(&port);
    remove(&port, &caller, &ids[0]).unwrap();
    assert_eq!(key(&port), first);
    remove(&port, &caller, &ids[1]).unwrap();
    assert_eq!(key(&port), None);
    uploaded(&port, &caller);
    assert_ne!(key(&port), first);
}
