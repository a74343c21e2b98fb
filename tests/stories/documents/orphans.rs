//! Blobs that no row knows are found and go; whatever a row knows of stays, in each of its states.

use gatehouse::app::documents::{orphans, versions};

use super::*;

const DAY: Millis = Millis::from_secs(86_400);

fn keys(port: &FakePort) -> Vec<String> {
    let blobs = port.blobs.borrow();
    let documents = blobs.keys().filter(|key| key.contains("/docs/"));
    documents.cloned().collect()
}

/// A blob of a document that its owner does not know.
fn orphan(port: &FakePort, owner: &str, number: usize) -> String {
    let key = format!("v1/default/docs/{owner}/file_{number:032x}/00000");
    port.blobs
        .borrow_mut()
        .insert(key.clone(), b"left".to_vec());
    key
}

fn swept(port: &FakePort) -> usize {
    block_on(orphans::sweep(port)).unwrap()
}

#[test]
fn only_what_no_row_knows_goes() {
    let port = FakePort::new();
    let caller = visitor("vis_1");
    // A document with an earlier version, one of parts, an upload that is open, and one that was interrupted.
    let id = uploaded(&port, &caller);
    let next = form("fox.txt", b"the second version");
    let mut body = FakeBody::whole(&next, 7);
    let head_of = upload_head(&next);
    let version = versions::create_in_segments(&port, &caller, &head_of, &mut body, &id, SEGMENT);
    drop(block_on(version).unwrap());
    parts::of_parts(&port, &caller, CONTENT, true);
    parts::open_with_a_part(&port, &caller);
    let before = keys(&port).len();
    let interrupted = (12..60).any(|steps| {
        let stopped = run_and_drop(upload(&port, &caller, CONTENT), steps).is_none();
        stopped && keys(&port).len() > before
    });
    assert!(interrupted, "behind a blob");
    let known = keys(&port);

    let unknown = [
        orphan(&port, "vis_1", 1),
        orphan(&port, "vis_1", 2),
        orphan(&port, "vis_2", 3),
    ];
    assert_eq!(swept(&port), unknown.len());
    assert_eq!(keys(&port), known);
    assert_eq!(
        read(&port, &caller, &id, &head("GET", "/")).unwrap().body,
        b"the second version"
    );
    // Once a day.
    orphan(&port, "vis_1", 4);
    assert_eq!(swept(&port), 0);
    port.pass(DAY);
    assert_eq!(swept(&port), 1);
}

#[test]
fn a_bucket_without_documents_is_not_written() {
    let port = FakePort::new();
    assert_eq!(swept(&port), 0);
    assert!(port.blobs.borrow().is_empty());
}

#[test]
fn a_long_bucket_is_read_page_by_page_to_its_end() {
    let port = FakePort::new();
    let caller = visitor("vis_000");
    let id = uploaded(&port, &caller);
    for owner in 0..150 {
        for number in 0..10 {
            orphan(&port, &format!("vis_{owner:03}"), number);
        }
    }
    let mut rounds = Vec::new();
    while rounds.iter().sum::<usize>() < 1_500 {
        rounds.push(swept(&port));
        assert!(rounds.len() < 9, "{rounds:?}");
    }
    assert!(rounds.len() > 1, "{rounds:?}");
    assert_eq!(
        read(&port, &caller, &id, &head("GET", "/")).unwrap().body,
        CONTENT
    );
    assert_eq!(swept(&port), 0);
}

#[test]
fn wherever_it_fails_it_goes_on_and_takes_nothing_that_is_known() {
    let caller = visitor("vis_1");
    for when in [When::Before, When::After] {
        for first in 0..8 {
            let port = FakePort::new();
            let id = uploaded(&port, &caller);
            orphan(&port, "vis_1", 1);
            orphan(&port, "vis_2", 2);
            let known = keys(&port).len() - 2;
            port.fail([Fault {
                op: None,
                first,
                count: 1,
                when,
            }]);
            let _ = block_on(orphans::sweep(&port));
            port.heal();
            port.pass(DAY);
            swept(&port);
            assert_eq!(keys(&port).len(), known, "{when:?} {first}");
            assert_eq!(
                read(&port, &caller, &id, &head("GET", "/")).unwrap().body,
                CONTENT
            );
        }
    }
}
