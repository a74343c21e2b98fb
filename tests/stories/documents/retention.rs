//! How long documents are kept, by class; and that what is gone is in no store any more.

use gatehouse::app::documents::{comments, details, forget, shares, versions};
use gatehouse::domain::settings::config::RetentionClass;
use serde_json::{Value, json};

use super::*;

const DAY: Millis = Millis::from_secs(86_400);

fn house(classes: &[(Option<&str>, Option<&str>, u64, u64)]) -> FakePort {
    let classes = classes.to_vec();
    let class =
        |(purpose, of, ttl_seconds, keep_seconds): (Option<&str>, Option<&str>, u64, u64)| {
            RetentionClass {
                purpose: purpose.map(str::to_owned),
                of: of.map(str::to_owned),
                ttl_seconds,
                keep_seconds,
            }
        };
    FakePort::with(
        |config| config.documents.retention = classes.into_iter().map(class).collect(),
        &[],
    )
}

fn told(port: &FakePort, caller: &Caller, id: &str) -> Value {
    let reply = block_on(get(port, caller, &head("GET", "/"), id)).unwrap();
    Received::from(reply).json()
}

fn update(port: &FakePort, caller: &Caller, id: &str, change: &Value) -> Result<Value, Refusal> {
    let head = Head {
        content_type: Some("application/json".into()),
        ..head("POST", "/v1/files/x")
    };
    let mut body = FakeBody::whole(change.to_string().as_bytes(), 9);
    let reply = block_on(details::update(port, caller, &head, &mut body, id))?;
    Ok(Received::from(reply).json())
}

#[test]
fn a_class_says_how_long_a_document_is_kept_however_it_came() {
    let port = house(&[
        (Some("batch"), None, 60, 0),
        (None, Some("visitor"), 86_400, 0),
    ]);
    let caller = visitor("vis_1");
    let of_form = uploaded(&port, &caller);
    let of_parts = parts::of_parts(&port, &caller, CONTENT, true);
    let day = START.plus(DAY).secs();
    for id in [&of_form, &of_parts] {
        assert_eq!(told(&port, &caller, id)["expires_at"], day, "{id}");
    }
    // Nor can it be made longer later.
    let later = json!({"expires_at": day + 1});
    assert_eq!(
        update(&port, &caller, &of_form, &later).unwrap_err().code,
        Code::InvalidParameter
    );
    update(&port, &caller, &of_form, &json!({"expires_at": day - 1})).unwrap();
    port.pass(DAY);
    sweep_all(&port);
    assert_nothing_left(&port, "after a day");
}

#[test]
fn what_must_stay_is_deleted_by_nobody_but_an_erasure() {
    let port = house(&[(None, None, 604_800, 86_400)]);
    let caller = visitor("vis_1");
    let of_form = uploaded(&port, &caller);
    let of_parts = parts::of_parts(&port, &caller, CONTENT, true);
    for id in [&of_form, &of_parts] {
        let until = told(&port, &caller, id)["gatehouse"]["keep_until"].clone();
        assert_eq!(until, START.plus(DAY).secs());
        let refused = remove(&port, &caller, id).unwrap_err();
        assert_eq!(refused.code, Code::DocumentKept);
    }
    port.pass(DAY);
    remove(&port, &caller, &of_form).unwrap();

    let kept = uploaded(&port, &caller);
    assert_eq!(
        remove(&port, &caller, &kept).unwrap_err().code,
        Code::DocumentKept
    );
    block_on(forget(&port, "vis_1")).unwrap();
    sweep_all(&port);
    assert_nothing_left(&port, "after the erasure");
}

/// Everything that any store holds, as text.
fn everything(port: &FakePort) -> String {
    let mut all = String::new();
    for (key, bytes) in port.blobs.borrow().iter() {
        all.push_str(key);
        all.push_str(&String::from_utf8_lossy(bytes));
    }
    for class in [
        Class::Limiter,
        Class::Ledger,
        Class::Owner,
        Class::Directory,
        Class::Keyring,
        Class::AuditLog,
        Class::Target,
    ] {
        all.push_str(&format!("{:?}", port.rows(class)));
    }
    for class in [Class::Shared, Class::Memory] {
        for (name, rows) in port.many_rows(class) {
            all.push_str(&name);
            for (key, value) in rows {
                all.push_str(&key);
                all.push_str(&String::from_utf8_lossy(&value));
            }
        }
    }
    all
}

#[test]
fn of_what_is_deleted_no_store_holds_content_name_label_comment_or_key() {
    let port = FakePort::new();
    port.evict_always();
    let caller = visitor("vis_11111111111111111111111111111111");
    let canary = |what: &str| format!("canary-{what}");
    let content = canary("content-of-the-first");
    let form = form(&canary("name.txt"), content.as_bytes());
    let mut body = FakeBody::whole(&form, 7);
    let head_of = upload_head(&form);
    let stored = create_in_segments(&port, &caller, &head_of, &mut body, SEGMENT);
    let id = Received::from(block_on(stored).unwrap()).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    update(&port, &caller, &id, &json!({"tags": [canary("label")]})).unwrap();
    let json_head = Head {
        content_type: Some("application/json".into()),
        ..head("POST", "/")
    };
    let text = json!({"text": canary("comment")}).to_string();
    let mut body = FakeBody::whole(text.as_bytes(), 9);
    let made = comments::create(&port, &caller, &json_head, &mut body, &id);
    drop(block_on(made).unwrap());
    let with = json!({"with": "principal", "id": "vis_22222222222222222222222222222222"});
    let mut body = FakeBody::whole(with.to_string().as_bytes(), 9);
    drop(block_on(shares::create(&port, &caller, &json_head, &mut body, &id)).unwrap());
    let next = self::form(
        &canary("second.txt"),
        canary("content-of-the-second").as_bytes(),
    );
    let mut body = FakeBody::whole(&next, 7);
    let head_of = upload_head(&next);
    let version = versions::create_in_segments(&port, &caller, &head_of, &mut body, &id, SEGMENT);
    drop(block_on(version).unwrap());

    // Content and comments lie nowhere in plain text even while they are there.
    let before = everything(&port);
    assert!(before.contains(&id));
    for sealed in ["content-of-the-first", "content-of-the-second", "comment"] {
        assert!(!before.contains(&canary(sealed)), "{sealed}");
    }
    let wrapped: Vec<String> = before
        .split("\\\"key\\\":\\\"")
        .skip(1)
        .filter_map(|rest| rest.split("\\\"").next().map(str::to_owned))
        .collect();
    assert!(wrapped.len() >= 2, "a key for each version");

    remove(&port, &caller, &id).unwrap();
    sweep_all(&port);
    let after = everything(&port);
    assert!(!after.contains("canary"), "a text of the document is left");
    assert!(!after.contains(&id), "its id is left");
    for key in wrapped {
        assert!(!after.contains(&key), "a wrapped key is left");
    }
}
