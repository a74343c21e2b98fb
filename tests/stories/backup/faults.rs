//! Any one call that fails, before or after it did what it does, and the same again.

use std::collections::BTreeMap;

use gatehouse::app::backup::snapshot;
use gatehouse::app::port::Class;
use serde_json::json;

use super::house::{furnished, restore, restored, snapshot_of};
use crate::support::fake_port::{FakePort, Fault, When};
use crate::support::operator::ADMIN_TOKEN;
use crate::support::run::block_on;

type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// What a restore puts back, as it lies there; the entry of the restore itself has another id each time.
fn everything(port: &FakePort) -> (Vec<Rows>, usize) {
    let classes = [Class::Owner, Class::Keyring, Class::Directory];
    let mut rows: Vec<Rows> = classes.map(|class| port.rows(class)).into();
    for rows in rows.iter_mut().flat_map(|rows| rows.values_mut()) {
        rows.retain(|key, _| !key.starts_with("out/"));
        // Those are made of the time of the restore.
        for (key, value) in rows.iter_mut() {
            if key.starts_with("owner/") {
                value.clear();
            }
        }
    }
    let memory = port.many_rows(Class::Memory);
    (rows, memory.values().map(BTreeMap::len).sum())
}

fn both(first: usize) -> impl Iterator<Item = Fault> {
    [When::Before, When::After]
        .into_iter()
        .map(move |when| Fault {
            op: None,
            first,
            count: 1,
            when,
        })
}

#[test]
fn a_snapshot_with_any_fault_is_whole_when_it_is_taken_again() {
    let (port, _home) = furnished();
    port.heal();
    let id = snapshot_of(&port);
    let calls = port.calls().len();
    port.lose_objects();
    restored(&port, &id);
    let expected = everything(&port);
    for fault in (0..calls).flat_map(both) {
        let (port, _home) = furnished();
        port.fail([fault]);
        let failed = block_on(snapshot::step(&port));
        port.heal();
        // Whether it seemed to work or not: the next one does.
        drop(failed);
        let id = snapshot_of(&port);
        port.lose_objects();
        restored(&port, &id);
        let found = everything(&port);
        let names = |rows: &[Rows]| -> Vec<Vec<String>> {
            let of = |rows: &Rows| rows.keys().cloned().collect();
            rows.iter().map(of).collect()
        };
        assert_eq!(names(&found.0), names(&expected.0), "{fault:?}");
        assert_eq!(found.1, expected.1, "{fault:?}");
    }
    assert!(calls > 20, "{calls}");
}

#[test]
fn a_restore_with_any_fault_is_whole_when_it_is_repeated_and_open_only_then() {
    let (port, _home) = furnished();
    let id = snapshot_of(&port);
    port.lose_objects();
    let bucket = port.blobs.borrow().clone();
    port.heal();
    restored(&port, &id);
    let calls = port.calls().len();
    let expected = everything(&port);
    let body = json!({"token": ADMIN_TOKEN, "snapshot": id});
    let mut refused = 0;
    for fault in (0..calls).flat_map(both) {
        port.lose_objects();
        *port.blobs.borrow_mut() = bucket.clone();
        port.fail([fault]);
        let first = restore(&port, &body);
        port.heal();
        if first.status != 200 {
            refused += 1;
            assert_eq!(first.status, 503, "{fault:?}: {}", first.text());
        }
        restored(&port, &id);
        assert_eq!(everything(&port), expected, "{fault:?}");
    }
    assert!(refused > 20, "{refused} of {calls}");
}
