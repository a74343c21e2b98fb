//! What one owner keeps, taken back to an earlier time.

use gatehouse::app::port::Class;
use gatehouse::app::schedule;
use gatehouse::base::time::Millis;
use serde_json::{Value, json};

use super::house::{Furnished, Visitor, furnished};
use crate::support::fake_port::{FakePort, Fault, Op, When};
use crate::support::run::block_on;

const MINUTE: Millis = Millis::from_secs(60);

/// A house on a platform that remembers, and the time as of which everything is in it.
fn remembered() -> (FakePort, Furnished, Millis) {
    let (port, mut home) = furnished();
    port.remembers();
    // Whatever is asked is remembered: each object once.
    home.seen(&port);
    let then = port.clock().now();
    port.pass(MINUTE);
    (port, home, then)
}

fn asked(port: &FakePort, home: &Furnished, owner: &str, to: &str) -> (u16, Value) {
    home.owner.confirm(port);
    let told = home
        .owner
        .call(port, "POST", "/rewind", &json!({"owner": owner, "to": to}));
    (told.status, told.json())
}

fn rewound(port: &FakePort, home: &Furnished, owner: &str, to: Millis) -> Value {
    let (status, told) = asked(port, home, owner, &to.rfc3339());
    assert_eq!(status, 200, "{told}");
    told
}

/// Bytes that the site's quota counts.
fn charged(port: &FakePort) -> usize {
    let ledgers = port.rows(Class::Ledger);
    let site = ledgers.iter().find(|(name, _)| name.contains("docs-site"));
    site.map_or(0, |(_, rows)| rows.len())
}

#[test]
fn what_was_deleted_by_mistake_is_there_again_but_for_content_that_is_gone() {
    let (port, mut home, then) = remembered();
    let before = home.ben.lists(&port);
    let talks = "/v1/conversations";
    let talk = home.ann.ask(&port, "GET", talks, &Value::Null).json()["data"][0]["id"].clone();
    let talk = talk.as_str().unwrap().to_owned();
    // Ann loses a document, a conversation and a vector store, and stores something else.
    let lists = home.ann.lists(&port);
    home.ann.deletes(&port, &lists[0]);
    let path = format!("{talks}/{talk}");
    assert_eq!(
        home.ann.ask(&port, "DELETE", &path, &Value::Null).status,
        200
    );
    let stores = home
        .ann
        .ask(&port, "GET", "/v1/vector_stores", &Value::Null)
        .json();
    let store = format!(
        "/v1/vector_stores/{}",
        stores["data"][0]["id"].as_str().unwrap()
    );
    assert_eq!(
        home.ann.ask(&port, "DELETE", &store, &Value::Null).status,
        200
    );
    let late = home.ann.uploads(&port, "late.txt", b"after it");
    let counted = charged(&port);

    let told = rewound(&port, &home, &home.ann.id.clone(), then);
    assert_eq!(
        (&told["documents"], &told["documents_gone"]),
        (&json!(0), &json!(1)),
        "{told}"
    );
    assert_eq!(
        (&told["memory_kept"], &told["stores_kept"]),
        (&Value::Null, &Value::Null)
    );
    // The conversation and the store are back, the document's content is not, and what came since is away.
    assert_eq!(home.ann.ask(&port, "GET", &path, &Value::Null).status, 200);
    assert_eq!(home.ann.ask(&port, "GET", &store, &Value::Null).status, 200);
    assert!(home.ann.lists(&port).is_empty());
    let late = format!("/v1/files/{late}/content");
    assert_eq!(home.ann.ask(&port, "GET", &late, &Value::Null).status, 404);
    assert_eq!(charged(&port), counted - 1, "its quota is given back");
    // Nobody else went anywhere.
    assert_eq!(home.ben.lists(&port), before);
    // Its blobs stay for a day, and then go; so does what the rows of then pointed to.
    let mine = |port: &FakePort| {
        let blobs = port.blobs.borrow();
        blobs
            .keys()
            .filter(|key| key.contains(&home.ann.id))
            .count()
    };
    assert_eq!(block_on(schedule::run(&port)), Vec::<String>::new());
    assert_eq!(mine(&port), 1);
    port.pass(Millis::from_secs(86_400));
    let said = block_on(schedule::run(&port));
    assert_eq!(said, ["1 blobs that no row knew were removed"]);
    assert_eq!(mine(&port), 0);
}

#[test]
fn a_document_as_it_was_has_its_name_its_shares_and_its_quota() {
    let (port, mut home, then) = remembered();
    let plan = home.ann.lists(&port)[0].clone();
    let counted = charged(&port);
    let shares = format!("/v1/files/{plan}/shares");
    let listed = home.ann.ask(&port, "GET", &shares, &Value::Null).json();
    let share = listed["data"][0]["id"].as_str().unwrap().to_owned();
    let ended = home
        .ann
        .ask(&port, "DELETE", &format!("{shares}/{share}"), &Value::Null);
    assert_eq!(ended.status, 200, "{}", ended.text());
    let shared = |ben: &mut Visitor| ben.ask(&port, "GET", "/v1/shared", &Value::Null).json();
    assert_eq!(shared(&mut home.ben)["data"], json!([]));

    let told = rewound(&port, &home, &home.ann.id.clone(), then);
    assert_eq!(
        (&told["documents"], &told["documents_gone"]),
        (&json!(1), &json!(0)),
        "{told}"
    );
    assert_eq!(shared(&mut home.ben)["data"][0]["id"], json!(plan));
    assert_eq!(charged(&port), counted);
    let content = format!("/v1/files/{plan}/content");
    let read = home.ben.ask(&port, "GET", &content, &Value::Null);
    assert_eq!((read.status, read.text()), (200, "the plan of the house"));
}

#[test]
fn what_came_back_is_in_the_next_snapshot() {
    let (port, mut home, then) = remembered();
    let talks = "/v1/conversations";
    let talk = home.ann.ask(&port, "GET", talks, &Value::Null).json()["data"][0]["id"].clone();
    let path = format!("{talks}/{}", talk.as_str().unwrap());
    home.ann.ask(&port, "DELETE", &path, &Value::Null);
    let plan = home.ann.lists(&port)[0].clone();
    home.ann.deletes(&port, &plan);
    // The cron finds nobody there any more.
    port.pass(Millis::from_secs(86_400));
    block_on(schedule::run(&port));
    home.owner.sign_in(&port);
    rewound(&port, &home, &home.ann.id.clone(), then);
    let left = |port: &FakePort| {
        let rows = port.rows(Class::Owner);
        let mine = rows.iter().filter(|(name, _)| name.contains(&home.ann.id));
        mine.flat_map(|(_, rows)| rows.keys())
            .filter(|key| key.starts_with("doc/"))
            .count()
    };
    assert_eq!(left(&port), 1, "the document that was deleted since");
    block_on(schedule::run(&port));
    assert_eq!(left(&port), 0, "and the cron knows of it again");
    let id = super::snapshot_of(&port);
    port.lose_objects();
    super::restored(&port, &id);
    assert_eq!(home.ann.ask(&port, "GET", &path, &Value::Null).status, 200);
}

#[test]
fn the_log_tells_of_it_and_an_erasure_takes_the_name_out() {
    let (port, mut home, then) = remembered();
    let ann = home.ann.id.clone();
    rewound(&port, &home, &ann, then);
    let log = |home: &Furnished| {
        let read = home
            .owner
            .call(&port, "GET", "/audit?limit=100", &Value::Null);
        read.text().to_owned()
    };
    let told = log(&home);
    assert!(
        told.contains("owner.rewind") && told.contains(&ann),
        "{told}"
    );
    let erased = home.ann.ask(&port, "POST", "/api/me/erase", &json!({}));
    assert_eq!(erased.status, 200);
    let (status, _) = asked(&port, &home, &ann, &then.rfc3339());
    assert_eq!(status, 404);
    let told = log(&home);
    assert!(
        told.contains("owner.rewind") && !told.contains(&ann),
        "{told}"
    );
}

#[test]
fn what_is_half_deleted_does_not_come_back() {
    let (port, mut home, then) = remembered();
    let plan = home.ann.lists(&port)[0].clone();
    port.fail([Fault {
        op: Some(Op::BlobDelete),
        first: 0,
        count: 1,
        when: When::Before,
    }]);
    home.ann
        .ask(&port, "DELETE", &format!("/v1/files/{plan}"), &Value::Null);
    port.heal();
    assert!(home.ann.lists(&port).is_empty());
    let told = rewound(&port, &home, &home.ann.id.clone(), then);
    assert_eq!(
        (&told["documents"], &told["documents_gone"]),
        (&json!(0), &json!(1)),
        "{told}"
    );
}

#[test]
fn who_was_erased_stays_away() {
    let (port, mut home, _) = remembered();
    let mut erased = Visitor::new();
    erased.uploads(&port, "secret.txt", b"canary");
    let then = port.clock().now();
    port.pass(MINUTE);
    let told = erased.ask(&port, "POST", "/api/me/erase", &json!({}));
    assert_eq!(told.status, 200);
    let (status, told) = asked(&port, &home, &erased.id, &then.rfc3339());
    assert_eq!((status, &told["code"]), (404, &json!("not_found")));
    // As long as the platform could bring them back, however many snapshots come and go.
    for _ in 0..29 {
        port.pass(Millis::from_secs(86_400));
        super::snapshot_of(&port);
        block_on(schedule::run(&port));
    }
    home.owner.sign_in(&port);
    let (status, _) = asked(&port, &home, &erased.id, &then.rfc3339());
    assert_eq!(status, 404);
    assert!(
        !port
            .rows(Class::Owner)
            .keys()
            .any(|name| name.contains(&erased.id))
    );
}

#[test]
fn where_the_platform_forgets_nothing_is_done() {
    let (port, mut home) = furnished();
    let before = home.ann.lists(&port);
    let then = port.clock().now();
    port.pass(MINUTE);
    let (status, told) = asked(&port, &home, &home.ann.id, &then.rfc3339());
    assert_eq!(
        (status, &told["code"]),
        (501, &json!("rewind_unavailable")),
        "{told}"
    );
    assert_eq!(home.ann.lists(&port), before);
}

#[test]
fn a_time_that_cannot_be_and_somebody_who_cannot_be_are_refused() {
    let (port, home, then) = remembered();
    let ann = home.ann.id.clone();
    let late = port.clock().now().plus(Millis::from_secs(86_400)).rfc3339();
    let early = then.since(Millis::from_secs(31 * 86_400)).rfc3339();
    for (owner, to, param) in [
        (ann.as_str(), "yesterday", "to"),
        (&ann, &late, "to"),
        (&ann, &early, "to"),
        ("docs-site", &then.rfc3339(), "owner"),
        ("key_../x", &then.rfc3339(), "owner"),
        ("key_", &then.rfc3339(), "owner"),
    ] {
        let (status, told) = asked(&port, &home, owner, to);
        assert_eq!(
            (status, &told["param"]),
            (400, &json!(param)),
            "{owner} {to}"
        );
    }
}

#[test]
fn whatever_fails_on_the_way_the_same_call_brings_it_to_its_end() {
    // Each call in its turn, before and after it was done.
    let ops = [
        Op::Rewind,
        Op::BlobList,
        Op::Object(Class::Owner),
        Op::Object(Class::Ledger),
        Op::BlobPut,
    ];
    for op in ops {
        for (first, when) in [
            (0, When::Before),
            (0, When::After),
            (1, When::Before),
            (1, When::After),
        ] {
            let (port, mut home, then) = remembered();
            let plan = home.ann.lists(&port)[0].clone();
            home.ann.deletes(&port, &plan);
            home.ann.uploads(&port, "late.txt", b"after it");
            home.owner.confirm(&port);
            port.fail([Fault {
                op: Some(op),
                first,
                count: 1,
                when,
            }]);
            let ann = home.ann.id.clone();
            let to = json!({"owner": ann, "to": then.rfc3339()});
            home.owner.call(&port, "POST", "/rewind", &to);
            port.heal();
            rewound(&port, &home, &ann, then);
            assert!(home.ann.lists(&port).is_empty(), "{op:?} {first} {when:?}");
            port.pass(Millis::from_secs(2 * 86_400));
            block_on(schedule::run(&port));
            block_on(schedule::run(&port));
            let blobs = port.blobs.borrow();
            assert!(
                !blobs
                    .keys()
                    .any(|key| key.contains(&ann) && key.contains("docs/")),
                "{op:?} {first} {when:?}"
            );
        }
    }
}
