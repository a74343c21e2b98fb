//! Snapshots and the way back: what was there is there again, byte for byte, whatever fails on the way; who was erased
//! stays away; nothing is served half-way.

mod faults;
mod house;
mod rewind;

use gatehouse::app::backup::{shelf, snapshot};
use gatehouse::app::port::{Class, Port};
use gatehouse::app::schedule;
use gatehouse::base::digest::{base64url, hex, sha256};
use gatehouse::base::time::Millis;
use gatehouse::domain::backup::format::{FORMAT, Pages, Piece};
use gatehouse::domain::backup::names;
use gatehouse::domain::backup::sealing::{Keys, Part};
use serde_json::{Value, json};

use crate::support::fake_port::{FakePort, Fault, Op, When};
use crate::support::operator::{ADMIN_TOKEN, owner_of, request, two_tenants};
use crate::support::run::block_on;
use house::{HOST, Visitor, furnished, house, restore, restored, snapshot_of};

#[test]
fn a_lost_house_comes_back_whole() {
    let (port, mut home) = furnished();
    let before = home.seen(&port);
    let rows = port.rows(Class::AuditLog);
    let id = snapshot_of(&port);
    port.lose_objects();
    assert!(port.rows(Class::Directory).is_empty());

    let done = restored(&port, &id);
    assert_eq!(done["documents_gone"], 0, "{done}");
    home.owner.sign_in(&port);
    assert_eq!(home.seen(&port), before);
    // Keys, operators and rules are the ones of before, and the log only grew.
    let log = home
        .owner
        .call(&port, "GET", "/audit?limit=100", &Value::Null);
    let actions = log.text();
    for wanted in ["house.restore", "house.claim", "key.create"] {
        assert!(actions.contains(wanted), "{wanted} in {actions}");
    }
    let checked = home.owner.call(
        &port,
        "POST",
        "/audit/verify",
        &json!({"checkpoint": home.checkpoint}),
    );
    assert_eq!(
        checked.json()["verdict"],
        "consistent",
        "{}",
        checked.text()
    );
    assert!(!rows.is_empty());
    // Everything goes on: new documents, new words in the conversation, the cron.
    home.ann.uploads(&port, "after", b"after the restore");
    assert_eq!(schedule_run(&port), Vec::<String>::new());
}

fn schedule_run(port: &FakePort) -> Vec<String> {
    block_on(schedule::run(port))
}

#[test]
fn what_expires_still_does_after_a_restore() {
    let (port, _home) = furnished();
    let id = snapshot_of(&port);
    port.lose_objects();
    restored(&port, &id);
    assert_eq!(port.many_rows(Class::Memory).len(), 2);
    port.pass(Millis::from_secs(40 * 86_400));
    assert!(port.many_rows(Class::Memory).is_empty());
    let ledgers = port.rows(Class::Ledger);
    assert!(!ledgers.keys().any(|name| name.contains("/docs-")));
}

#[test]
fn sessions_of_operators_are_left_behind() {
    let (port, home) = furnished();
    let id = snapshot_of(&port);
    port.lose_objects();
    restored(&port, &id);
    let old = home.owner.call(&port, "GET", "/me", &Value::Null);
    assert_eq!(old.status, 401, "{}", old.text());
}

#[test]
fn what_came_after_the_snapshot_is_lost_and_what_was_deleted_or_erased_stays_away() {
    let (port, mut home) = furnished();
    let mut erased = Visitor::new();
    let hers = erased.uploads(&port, "secret.txt", b"canary of the erased");
    erased.begins(&port, "canary words");
    let deleted = home.ann.uploads(&port, "gone.txt", b"gone");
    let id = snapshot_of(&port);
    let late = home.ann.uploads(&port, "late.txt", b"late");
    home.ann.deletes(&port, &deleted);
    assert_eq!(
        erased
            .ask(&port, "POST", "/api/me/erase", &json!({}))
            .status,
        200
    );
    port.lose_objects();

    let done = restored(&port, &id);
    assert_eq!(done["documents_gone"], 1, "{done}");
    assert!(
        !port
            .rows(Class::Owner)
            .keys()
            .any(|name| name.contains(&erased.id))
    );
    assert!(
        !port
            .many_rows(Class::Memory)
            .keys()
            .any(|name| name.contains(&erased.id))
    );
    for rows in port
        .rows(Class::Directory)
        .values()
        .chain(port.rows(Class::AuditLog).values())
    {
        assert!(!rows.keys().any(|key| key.contains(&erased.id)), "{rows:?}");
    }
    let names = home.ann.lists(&port);
    for (gone, why) in [
        (&late, "came later"),
        (&deleted, "was deleted"),
        (&hers, "is hers"),
    ] {
        assert!(!names.contains(gone), "{why}: {names:?}");
    }
    // The sweep clears up what is left of them, and no ledger counts them any more.
    port.pass(Millis::from_secs(2));
    schedule_run(&port);
    let owners = port.rows(Class::Owner);
    assert!(
        !owners
            .values()
            .flatten()
            .any(|(_, row)| row.contains(&deleted))
    );
    let ledgers = port.rows(Class::Ledger);
    assert!(
        !ledgers
            .values()
            .flatten()
            .any(|(key, _)| key.contains(&deleted))
    );
}

#[test]
fn a_house_in_use_refuses_and_one_without_an_owner_asks_first() {
    let (port, _home) = furnished();
    let id = snapshot_of(&port);
    let before = port.rows(Class::Directory);
    let refused = restore(&port, &json!({"token": ADMIN_TOKEN, "snapshot": id}));
    assert_eq!((refused.status, code(&refused)), (409, "conflict".into()));
    assert_eq!(port.rows(Class::Directory).len(), before.len());

    port.lose_objects();
    // Somebody came by: there is a new keyring.
    Visitor::new().uploads(&port, "stray.txt", b"stray");
    let refused = restore(&port, &json!({"token": ADMIN_TOKEN, "snapshot": id}));
    assert_eq!((refused.status, code(&refused)), (409, "conflict".into()));
    let discard = json!({"token": ADMIN_TOKEN, "snapshot": id, "discard": true});
    let done = until_done(&port, &discard);
    assert_eq!(done["done"], true);
    let late = restore(&port, &json!({"token": ADMIN_TOKEN, "snapshot": id}));
    assert_eq!(
        late.json()["done"],
        true,
        "the lost answer of the last step"
    );
}

fn code(received: &crate::support::Received) -> String {
    received.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn until_done(port: &FakePort, body: &Value) -> Value {
    for _ in 0..100 {
        let step = restore(port, body);
        assert_eq!(step.status, 200, "{}", step.text());
        if step.json()["done"] == true {
            return step.json();
        }
    }
    panic!("the restore does not end");
}

#[test]
fn nobody_without_the_token_restores_and_only_what_is_a_snapshot() {
    let (port, _home) = furnished();
    let id = snapshot_of(&port);
    port.lose_objects();
    for (body, status) in [
        (
            json!({"token": "canary-admin-token-00000000", "snapshot": id}),
            401,
        ),
        (json!({"snapshot": id}), 400),
        (json!({"token": ADMIN_TOKEN}), 400),
        (
            json!({"token": ADMIN_TOKEN, "snapshot": "snap_000000000000000000ff"}),
            404,
        ),
        (json!({"token": ADMIN_TOKEN, "snapshot": "../../etc"}), 404),
        (
            json!({"token": ADMIN_TOKEN, "snapshot": id, "discard": "yes"}),
            400,
        ),
    ] {
        let answer = restore(&port, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    assert!(port.rows(Class::Owner).is_empty());
}

#[test]
fn a_damaged_snapshot_is_refused_before_anything_is_written() {
    let (port, _home) = furnished();
    let id = snapshot_of(&port);
    let other = snapshot_of(&port);
    port.lose_objects();
    let good = port.blobs.borrow().clone();
    let of = |part: &str, id: &str| -> String {
        let found = good
            .keys()
            .find(|key| key.contains(&format!("backup/{part}/{id}")));
        found.unwrap().clone()
    };
    let (piece, manifest) = (of("pieces", &id), of("snapshots", &id));
    let changed = |key: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut blobs = good.clone();
        change(blobs.get_mut(key).unwrap());
        blobs
    };
    let flip = |at: usize| move |blob: &mut Vec<u8>| *blob.iter_mut().rev().nth(at).unwrap() ^= 1;
    let mut without = good.clone();
    without.remove(&piece);
    let swapped = |part: &str| {
        let mut blobs = good.clone();
        blobs.insert(of(part, &id), good[&of(part, &other)].clone());
        blobs
    };
    for (what, blobs) in [
        ("a flipped bit of a piece", changed(&piece, &flip(40))),
        (
            "a piece that was cut",
            changed(&piece, &|blob| blob.truncate(blob.len() - 20)),
        ),
        ("no piece", without),
        ("another snapshot's piece", swapped("pieces")),
        (
            "a flipped bit of the manifest",
            changed(&manifest, &flip(3)),
        ),
        (
            "a manifest that was cut",
            changed(&manifest, &|blob| blob.truncate(60)),
        ),
        ("another snapshot's manifest", swapped("snapshots")),
    ] {
        *port.blobs.borrow_mut() = blobs;
        let answer = restore(&port, &json!({"token": ADMIN_TOKEN, "snapshot": id}));
        assert_eq!(
            code(&answer),
            "snapshot_damaged",
            "{what}: {}",
            answer.text()
        );
        for class in [
            Class::Owner,
            Class::Directory,
            Class::Keyring,
            Class::AuditLog,
        ] {
            assert!(port.rows(class).is_empty(), "{what}");
        }
    }
    // The house is not closed by it either.
    *port.blobs.borrow_mut() = good;
    let state = request(&port, HOST, None, "GET", "/state", &Value::Null);
    assert_eq!(state.json()["claimed"], false, "{}", state.text());
    restored(&port, &id);
}

/// The same snapshot with a piece for each of its pages, and empty ones up to `count`.
fn in_pieces(port: &FakePort, id: &str, count: usize) {
    let keys = Keys::of(port.settings().master.as_ref().unwrap().reveal());
    let opened = block_on(shelf::open(port, id)).unwrap();
    let mut manifest = opened.manifest.clone();
    let mut pages = Vec::new();
    for number in 0..manifest.pieces.len() {
        pages.extend(block_on(opened.piece(port, number)).unwrap().pages);
    }
    // The house comes last.
    let empty = count - pages.len();
    let pieces = (0..empty)
        .map(|_| Vec::new())
        .chain(pages.into_iter().map(|page| vec![page]));
    manifest.pieces.clear();
    for (number, pages) in pieces.enumerate() {
        let pages = Pages {
            format: FORMAT,
            pages,
        };
        let plain = serde_json::to_vec(&pages).unwrap();
        let salt = [u8::try_from(number).unwrap(); 24];
        let blob = names::piece(id, number, &[7; names::RANDOM_BYTES]);
        let sealed = keys.message(("default", id, Part::Piece(number)), &salt);
        block_on(port.blob_put(&blob, sealed.seal(&plain))).unwrap();
        manifest.pieces.push(Piece {
            blob,
            salt: base64url(&salt),
            bytes: plain.len() as u64,
            sha256: hex(&sha256(&plain)),
        });
    }
    let plain = serde_json::to_vec(&manifest).unwrap();
    let sealed = keys.message(("default", id, Part::Manifest), &[9; 24]);
    block_on(port.blob_put(&names::manifest(id), sealed.seal(&plain))).unwrap();
}

#[test]
fn a_large_snapshot_is_looked_through_to_its_end_before_anything_is_written() {
    let (port, mut home) = furnished();
    let id = snapshot_of(&port);
    let seen = home.seen(&port);
    in_pieces(&port, &id, 130);
    port.lose_objects();
    let good = port.blobs.borrow().clone();
    let body = json!({"token": ADMIN_TOKEN, "snapshot": id});
    // The damage is in the part that the third step looks through.
    let piece = names::piece(&id, 125, &[7; names::RANDOM_BYTES]);
    let stored = good.keys().find(|key| key.ends_with(&piece)).unwrap();
    *(port.blobs.borrow_mut().get_mut(stored).unwrap().last_mut()).unwrap() ^= 1;
    let checked: Vec<Value> = (0..2)
        .map(|_| restore(&port, &body).json()["checked"].clone())
        .collect();
    assert_eq!(checked, [60, 120]);
    let answer = restore(&port, &body);
    assert_eq!(code(&answer), "snapshot_damaged", "{}", answer.text());
    for class in [Class::Owner, Class::Directory, Class::Keyring] {
        assert!(port.rows(class).is_empty(), "{class:?}");
    }
    let blob = good[stored].clone();
    port.blobs.borrow_mut().insert(stored.clone(), blob);
    restored(&port, &id);
    home.owner.sign_in(&port);
    assert_eq!(home.seen(&port), seen);
}

#[test]
fn a_snapshot_of_another_tenant_does_not_open() {
    let port = FakePort::with(two_tenants, &[("ADMIN_TOKEN", ADMIN_TOKEN)]);
    let hosts = ["https://house.example", "https://acme.example"];
    for host in hosts {
        owner_of(&port, host);
    }
    let acme = port.of_tenant("acme");
    let id = snapshot_of(&port);
    let theirs = snapshot_of(&acme);
    port.lose_objects();
    let listed = restore(&port, &json!({"token": ADMIN_TOKEN, "snapshot": theirs}));
    assert_eq!(code(&listed), "not_found");
    // Not even when its blobs are copied.
    let copies: Vec<(String, Vec<u8>)> = {
        let blobs = port.blobs.borrow();
        let theirs = blobs
            .iter()
            .filter(|(key, _)| key.starts_with("v1/acme/backup/"));
        let moved = |key: &str| key.replacen("v1/acme/", "v1/default/", 1);
        theirs
            .map(|(key, blob)| (moved(key), blob.clone()))
            .collect()
    };
    port.blobs.borrow_mut().extend(copies);
    let copied = restore(&port, &json!({"token": ADMIN_TOKEN, "snapshot": theirs}));
    assert_eq!(code(&copied), "snapshot_damaged");
    // One tenant's way back is no other's.
    restored(&port, &id);
    assert!(
        !port
            .rows(Class::Directory)
            .keys()
            .any(|name| name.starts_with("v1/acme/"))
    );
}

#[test]
fn nothing_is_served_while_a_house_is_half_way_back() {
    let (port, mut home) = furnished();
    let id = snapshot_of(&port);
    port.lose_objects();
    // The restore stops in the middle: one of its calls to an owner fails.
    port.fail([Fault {
        op: Some(Op::Object(Class::Owner)),
        first: 1,
        count: 1,
        when: When::Before,
    }]);
    let stopped = restore(&port, &json!({"token": ADMIN_TOKEN, "snapshot": id}));
    assert_eq!(stopped.status, 503, "{}", stopped.text());
    port.heal();
    let answers = [
        home.ann.ask(&port, "GET", "/v1/files", &Value::Null),
        home.ann
            .ask(&port, "GET", "/v1/conversations", &Value::Null),
        home.ann.ask(&port, "POST", "/api/session", &json!({})),
        request(&port, HOST, None, "GET", "/state", &Value::Null),
        request(
            &port,
            HOST,
            None,
            "POST",
            "/claim",
            &json!({"token": ADMIN_TOKEN, "name": "Eve"}),
        ),
    ];
    for answer in answers {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(
            answer.text().contains("house_restoring"),
            "{}",
            answer.text()
        );
    }
    // The cron takes nothing for gone that is not back yet.
    let before = port.rows(Class::Directory);
    port.pass(Millis::from_secs(7200));
    assert_eq!(schedule_run(&port), Vec::<String>::new());
    assert_eq!(port.rows(Class::Directory), before);
    // And the wrong token is still the wrong one.
    let wrong = restore(
        &port,
        &json!({"token": "canary-admin-token-00000000", "snapshot": id}),
    );
    assert!(matches!(wrong.status, 401 | 503), "{}", wrong.text());
    restored(&port, &id);
    home.owner.sign_in(&port);
    assert_eq!(home.ann.lists(&port).len(), 1);
}

#[test]
fn the_cron_takes_one_a_day_and_keeps_as_many_as_it_may() {
    let port = house(|config| config.backup.keep = 2);
    let mut owner = owner_of(&port, HOST);
    let mut listed = |port: &FakePort| -> Vec<String> {
        owner.sign_in(port);
        let listed = owner.call(port, "GET", "/backups", &Value::Null);
        let backups = listed.json()["backups"].as_array().unwrap().clone();
        backups
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    schedule_run(&port);
    let first = listed(&port);
    assert_eq!(first.len(), 1);
    port.pass(Millis::from_secs(3600));
    schedule_run(&port);
    assert_eq!(listed(&port), first, "not due yet");
    for _ in 0..3 {
        port.pass(Millis::from_secs(86_400));
        schedule_run(&port);
    }
    let last = listed(&port);
    assert_eq!(last.len(), 2);
    assert!(!last.contains(&first[0]));
    let blobs = port.blobs.borrow();
    let kept = blobs.keys().filter(|key| key.contains("/backup/"));
    for key in kept {
        assert!(last.iter().any(|id| key.contains(id)), "{key} is nobody's");
    }
}

#[test]
fn the_cron_takes_none_where_it_is_off_or_nobody_ever_was() {
    let off = house(|config| config.backup.every_hours = 0);
    owner_of(&off, HOST);
    let unused = house(|_| {});
    for port in [off, unused] {
        schedule_run(&port);
        assert!(
            !port
                .blobs
                .borrow()
                .keys()
                .any(|key| key.contains("/backup/"))
        );
    }
}

#[test]
fn notes_of_erasures_stay_as_long_as_a_snapshot_is_older_or_the_platform_remembers() {
    let port = house(|config| config.backup.keep = 1);
    owner_of(&port, HOST);
    let mut visitor = Visitor::new();
    visitor.uploads(&port, "a", b"a");
    snapshot_of(&port);
    visitor.ask(&port, "POST", "/api/me/erase", &json!({}));
    let notes = |port: &FakePort| {
        let blobs = port.blobs.borrow();
        blobs
            .keys()
            .filter(|key| key.contains("/backup/erased/"))
            .count()
    };
    assert_eq!(notes(&port), 1);
    for blob in port.blobs.borrow().keys() {
        assert!(!blob.contains(&visitor.id), "{blob}");
    }
    port.pass(Millis::from_secs(600));
    snapshot_of(&port);
    assert_eq!(
        notes(&port),
        1,
        "it may have been erased while this one began"
    );
    port.pass(Millis::from_secs(7200));
    snapshot_of(&port);
    assert_eq!(notes(&port), 1, "the platform could bring them back");
    port.pass(Millis::from_secs(30 * 86_400));
    snapshot_of(&port);
    assert_eq!(notes(&port), 0);
}

#[test]
fn a_snapshot_holds_nothing_in_the_clear_and_its_rows_are_those_of_the_objects() {
    let (port, home) = furnished();
    let id = snapshot_of(&port);
    let blobs = port.blobs.borrow();
    for (key, blob) in blobs.iter().filter(|(key, _)| key.contains("/backup/")) {
        let text = String::from_utf8_lossy(blob);
        for word in [home.ann.id.as_str(), "ring/", "doc/", "rows"] {
            assert!(
                !text.contains(word) && !key.contains(&home.ann.id),
                "{word} in {key}"
            );
        }
    }
    drop(blobs);
    let before = [Class::Owner, Class::Keyring, Class::Ledger].map(|class| port.rows(class));
    let memory = port.many_rows(Class::Memory);
    port.lose_objects();
    restored(&port, &id);
    let after = [Class::Owner, Class::Keyring].map(|class| port.rows(class));
    assert_eq!(before[..2], after);
    assert_eq!(port.many_rows(Class::Memory), memory);
    let ledgers = port.rows(Class::Ledger);
    for (name, rows) in &before[2] {
        // Accounts of visitors and networks are left out.
        if name.contains("/docs-") || name.contains("/key/") {
            assert_eq!(ledgers.get(name), Some(rows), "{name}");
        }
    }
}

#[test]
fn an_owner_whose_conversations_are_gone_leaves_the_directory_and_comes_back_with_the_next() {
    let port = house(|_| {});
    owner_of(&port, HOST);
    let mut visitor = Visitor::new();
    visitor.begins(&port, "words");
    let known = |port: &FakePort| {
        let rows = port.rows(Class::Directory);
        let of = |name: &String| name.ends_with("/memory-owners");
        rows.iter()
            .filter(|(name, _)| of(name))
            .map(|(_, rows)| rows.len())
            .sum::<usize>()
    };
    assert_eq!(known(&port), 1);
    snapshot_of(&port);
    assert_eq!(known(&port), 1);
    // Everything expires.
    port.pass(Millis::from_secs(40 * 86_400));
    snapshot_of(&port);
    assert_eq!(known(&port), 1, "noted");
    port.pass(Millis::from_secs(3_601));
    snapshot_of(&port);
    assert_eq!(known(&port), 0);
    visitor.begins(&port, "words again");
    assert_eq!(known(&port), 1);
    visitor.ask(&port, "POST", "/api/me/erase", &json!({}));
    assert_eq!(known(&port), 0);
}

#[test]
fn a_large_house_is_read_and_put_back_in_several_steps() {
    let port = house(|_| {});
    owner_of(&port, HOST);
    // More owners than a run has calls for.
    for at in 0..310 {
        let mut one = Visitor::new();
        one.uploads(&port, &at.to_string(), b"x");
    }
    let begun = block_on(snapshot::step(&port)).unwrap();
    assert!(!begun.done, "{begun:?}");
    let done = snapshot_of(&port);
    assert_eq!(done, begun.id, "it went on");
    port.lose_objects();
    let first = restore(&port, &json!({"token": ADMIN_TOKEN, "snapshot": done}));
    assert_eq!(first.json()["done"], false, "{}", first.text());
    restored(&port, &done);
    let owners = port.rows(Class::Owner).len();
    assert_eq!(owners, 310);
}
