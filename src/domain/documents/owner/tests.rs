use std::collections::BTreeMap;

use proptest::prelude::{Strategy, proptest};

use super::{Command, Intent, Limits, Order, OwnerDocuments, Purge, Reply, Row, Shortage};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::documents::manifest::tests::document;
use crate::domain::documents::manifest::{Document, Purpose};

const AMPLE: Limits = Limits {
    count: 10,
    bytes: 1000,
};

fn intent(id: &str, reserved: u64) -> Intent {
    Intent {
        id: id.into(),
        owner: "vis_1".into(),
        network: "n1".into(),
        reserved,
        segments: 3,
        abandoned: Millis(100),
    }
}

fn begin(id: &str, reserved: u64, limits: Limits) -> Command {
    Command::Begin {
        intent: intent(id, reserved),
        limits,
        key: None,
        owner_key: ["key made for ", id].concat(),
    }
}

/// The document may be stored; the owner's key was made for that one.
fn begun(first: &str) -> Reply {
    Reply::Begun {
        owner_key: ["key made for ", first].concat(),
    }
}

fn commit(document: &Document) -> Command {
    Command::Commit {
        document: document.clone(),
        finish: None,
    }
}

fn delete(id: &str) -> Command {
    Command::Delete { id: id.into() }
}

fn get(id: &str) -> Command {
    Command::Get { id: id.into() }
}

fn list(after: Option<&str>, limit: u32, order: Order) -> Command {
    Command::List {
        after: after.map(str::to_owned),
        limit,
        order,
        purpose: None,
    }
}

fn purge(id: &str, segments: usize) -> Purge {
    Purge {
        id: id.into(),
        owner: "vis_1".into(),
        network: "n1".into(),
        segments,
        document: None,
        blobs: Vec::new(),
        after: None,
    }
}

/// An owner with these documents, each of 5 bytes in 2 segments.
fn with(ids: &[&str]) -> OwnerDocuments {
    let mut owner = OwnerDocuments::default();
    for id in ids {
        owner.apply(Millis(0), begin(id, 5, AMPLE));
        assert_eq!(
            owner.apply(Millis(1), commit(&document(id, &[4, 1]))).0,
            Reply::Done
        );
    }
    owner
}

fn listed(owner: &mut OwnerDocuments, now: u64, command: Command) -> (Vec<String>, bool) {
    let (
        Reply::Page {
            documents,
            has_more,
        },
        effects,
    ) = owner.apply(Millis(now), command)
    else {
        panic!("not a page");
    };
    assert_eq!(effects, Effects::default());
    (
        documents.into_iter().map(|document| document.id).collect(),
        has_more,
    )
}

#[test]
fn a_document_is_there_from_its_commit_on_and_not_before() {
    let mut owner = OwnerDocuments::default();
    let (reply, effects) = owner.apply(Millis(0), begin("a", 5, AMPLE));
    assert_eq!((reply, effects.alarm), (begun("a"), Some(Millis(100))));
    assert_eq!(owner.apply(Millis(1), get("a")).0, Reply::NotFound);
    assert_eq!(owner.apply(Millis(1), delete("a")).0, Reply::NotFound);
    assert_eq!(
        listed(&mut owner, 1, list(None, 9, Order::Ascending)),
        (vec![], false)
    );
    let complete = document("a", &[4, 1]);
    let (reply, effects) = owner.apply(Millis(2), commit(&complete));
    assert_eq!((reply, effects.alarm), (Reply::Done, Some(Millis(9000))));
    assert_eq!(
        owner.apply(Millis(3), get("a")).0,
        Reply::Found {
            document: complete,
            owner_key: Some("key made for a".into())
        }
    );
}

#[test]
fn limits_count_what_is_pending_and_what_is_ready() {
    let limits = Limits {
        count: 3,
        bytes: 20,
    };
    let mut owner = with(&["a"]);
    let mut ask = |command| owner.apply(Millis(2), command).0;
    assert_eq!(
        ask(begin("b", 16, limits)),
        Reply::Full {
            shortage: Shortage::Bytes
        }
    );
    assert_eq!(ask(begin("b", 15, limits)), begun("a"));
    assert_eq!(
        ask(begin("c", 1, limits)),
        Reply::Full {
            shortage: Shortage::Bytes
        }
    );
    assert_eq!(ask(begin("c", 0, limits)), begun("a"));
    assert_eq!(
        ask(begin("d", 0, limits)),
        Reply::Full {
            shortage: Shortage::Count
        }
    );
    assert!(matches!(ask(delete("a")), Reply::Purge { .. }));
    assert_eq!(ask(begin("d", 5, limits)), begun("a"));
}

#[test]
fn repeated_commands_change_nothing_more() {
    let mut owner = OwnerDocuments::default();
    let limits = Limits { count: 1, bytes: 5 };
    owner.apply(Millis(0), begin("a", 5, limits));
    assert_eq!(
        owner.apply(Millis(1), begin("a", 5, limits)),
        (begun("a"), Effects::default())
    );
    let complete = document("a", &[4, 1]);
    owner.apply(Millis(1), commit(&complete));
    assert_eq!(
        owner.apply(Millis(1), commit(&complete)),
        (Reply::Done, Effects::default())
    );
    assert_eq!(
        owner.apply(Millis(1), begin("a", 5, limits)).0,
        Reply::NotFound,
        "never back to pending"
    );
    let abort = || Command::Abort { id: "a".into() };
    let (first, _) = owner.apply(Millis(1), abort());
    let (second, effects) = owner.apply(Millis(1), abort());
    assert_eq!((second, effects), (first, Effects::default()));
    assert_eq!(
        owner.apply(Millis(1), commit(&complete)).0,
        Reply::NotFound,
        "what is gone stays gone"
    );
}

#[test]
fn a_commit_needs_its_reservation() {
    let mut owner = OwnerDocuments::default();
    assert_eq!(
        owner.apply(Millis(0), commit(&document("a", &[5]))).0,
        Reply::NotFound
    );
    owner.apply(Millis(0), begin("a", 5, AMPLE));
    assert_eq!(
        owner.apply(Millis(0), commit(&document("a", &[6]))).0,
        Reply::NotFound
    );
    assert_eq!(
        owner
            .apply(Millis(0), commit(&document("a", &[1, 1, 1, 1])))
            .0,
        Reply::NotFound
    );
    assert_eq!(
        owner.apply(Millis(100), commit(&document("a", &[5]))).0,
        Reply::NotFound
    );
    assert_eq!(
        owner.apply(Millis(99), commit(&document("a", &[5]))).0,
        Reply::Done
    );
}

#[test]
fn lists_go_on_after_any_id_even_a_deleted_one() {
    let mut owner = with(&["a", "b", "c", "d"]);
    let names = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let mut ask = |after, limit, order| listed(&mut owner, 2, list(after, limit, order));
    assert_eq!(ask(None, 2, Order::Ascending), (names(&["a", "b"]), true));
    assert_eq!(
        ask(Some("b"), 2, Order::Ascending),
        (names(&["c", "d"]), false)
    );
    assert_eq!(
        ask(None, 3, Order::Descending),
        (names(&["d", "c", "b"]), true)
    );
    assert_eq!(ask(Some("b"), 3, Order::Descending), (names(&["a"]), false));
    assert_eq!(
        ask(Some("bb"), 9, Order::Ascending),
        (names(&["c", "d"]), false)
    );
    owner.apply(Millis(2), delete("b"));
    assert_eq!(
        listed(&mut owner, 2, list(Some("b"), 1, Order::Ascending)),
        (names(&["c"]), true)
    );
    assert_eq!(
        listed(&mut owner, 2, list(None, 9, Order::Ascending)),
        (names(&["a", "c", "d"]), false)
    );
}

#[test]
fn a_list_can_be_of_one_purpose() {
    let mut owner = with(&["a"]);
    owner.apply(Millis(0), begin("b", 5, AMPLE));
    let batch = Document {
        purpose: Purpose::Batch,
        ..document("b", &[5])
    };
    owner.apply(Millis(0), commit(&batch));
    let of = |purpose| Command::List {
        after: None,
        limit: 9,
        order: Order::Ascending,
        purpose: Some(purpose),
    };
    assert_eq!(listed(&mut owner, 2, of(Purpose::Batch)).0, ["b"]);
    assert_eq!(listed(&mut owner, 2, of(Purpose::UserData)).0, ["a"]);
    assert_eq!(listed(&mut owner, 2, of(Purpose::Evals)).0, [""; 0]);
}

#[test]
fn an_expired_document_is_unknown_at_once() {
    let mut owner = with(&["a"]);
    assert!(matches!(
        owner.apply(Millis(8999), get("a")).0,
        Reply::Found { .. }
    ));
    assert_eq!(owner.apply(Millis(9000), get("a")).0, Reply::NotFound);
    assert_eq!(owner.apply(Millis(9000), delete("a")).0, Reply::NotFound);
    assert_eq!(
        listed(&mut owner, 9000, list(None, 9, Order::Ascending)),
        (vec![], false)
    );
}

#[test]
fn a_sweep_lists_what_is_over_until_it_is_purged() {
    let mut owner = with(&["a", "b"]);
    owner.apply(Millis(1), begin("c", 20, AMPLE));
    owner.apply(Millis(2), delete("b"));
    let sweep = |limit| Command::Sweep { limit };
    let swept = |purges: &[Purge], next_due: Option<u64>| Reply::Purge {
        purges: purges.to_vec(),
        next_due: next_due.map(Millis),
    };
    assert_eq!(
        owner.apply(Millis(99), sweep(9)).0,
        swept(&[purge("b", 2)], Some(100))
    );
    assert_eq!(
        owner.apply(Millis(100), sweep(9)).0,
        swept(&[purge("b", 2), purge("c", 3)], Some(9000))
    );
    assert_eq!(
        owner.apply(Millis(100), sweep(1)).0,
        swept(&[purge("b", 2)], Some(100))
    );
    let purged = |ids: &[&str]| Command::Purged {
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    };
    owner.apply(Millis(101), purged(&["b", "c", "a", "x"]));
    assert!(
        matches!(owner.apply(Millis(102), get("a")).0, Reply::Found { .. }),
        "only what was removed"
    );
    assert_eq!(owner.apply(Millis(102), sweep(9)).0, swept(&[], Some(9000)));
    assert_eq!(
        owner.apply(Millis(9000), sweep(9)).0,
        swept(&[purge("a", 2)], None)
    );
    let (_, effects) = owner.apply(Millis(9001), purged(&["a"]));
    assert_eq!((effects.delete_all, effects.writes.len()), (true, 0));
}

#[test]
fn an_alarm_removes_for_good_what_is_over() {
    let mut owner = with(&["a"]);
    owner.apply(Millis(1), begin("b", 5, AMPLE));
    let effects = owner.wake(Millis(100));
    assert_eq!(
        (effects.writes.len(), effects.alarm, effects.delete_all),
        (1, Some(Millis(9000)), false)
    );
    owner.wake(Millis(9000));
    assert_eq!(
        owner.apply(Millis(1), get("a")).0,
        Reply::NotFound,
        "a clock that goes back brings nothing back"
    );
    assert_eq!(
        purge("a", 2).keys(),
        ["docs/vis_1/a/00000", "docs/vis_1/a/00001"]
    );
}

#[test]
fn the_stored_rows_are_pinned() {
    // A change here makes documents vanish from lists and leaves their blobs behind for ever.
    let pending = r#"{"state":"pending","id":"a","owner":"vis_1","network":"n1","reserved":5,"segments":3,"abandoned":100}"#;
    let removed = r#"{"state":"removed","id":"a","owner":"vis_1","network":"n1","segments":3}"#;
    let mut owner = OwnerDocuments::default();
    let (_, effects) = owner.apply(Millis(0), begin("a", 5, AMPLE));
    assert_eq!(effects.writes[0].key, "doc/a");
    assert_eq!(effects.writes[0].value.as_deref(), Some(pending));
    let (_, effects) = owner.apply(Millis(0), Command::Abort { id: "a".into() });
    assert_eq!(effects.writes[0].value.as_deref(), Some(removed));
    let (_, effects) = with(&[]).apply(Millis(0), begin("b", 5, AMPLE));
    let mut reloaded = OwnerDocuments::load(
        Millis(0),
        vec![(
            effects.writes[0].key.clone(),
            effects.writes[0].value.clone().unwrap(),
        )],
    );
    let (_, effects) = reloaded.apply(Millis(0), commit(&document("b", &[5])));
    let ready = effects.writes[0].value.clone().unwrap();
    assert!(
        ready.starts_with(r#"{"state":"ready","id":"b","owner":"vis_1","#),
        "{ready}"
    );
    let rows = vec![("doc/b".into(), ready), ("doc/a".into(), removed.into())];
    assert_eq!(
        listed(
            &mut OwnerDocuments::load(Millis(0), rows),
            1,
            list(None, 9, Order::Ascending)
        )
        .0,
        ["b"]
    );
}

fn any_command() -> impl Strategy<Value = Command> {
    let limits = Limits {
        count: 3,
        bytes: 20,
    };
    (0usize..4, 0u64..12, 0u8..9).prop_map(move |(id, bytes, kind)| {
        let id = ["a", "b", "c", "d"][id];
        match kind {
            0 | 1 => begin(id, bytes, limits),
            2 | 3 => commit(&document(id, &[bytes.max(1)])),
            4 => Command::Abort { id: id.into() },
            5 => delete(id),
            6 => Command::Sweep { limit: 2 },
            7 => Command::Purged {
                ids: vec![id.into()],
            },
            _ => list(Some(id), 2, Order::Descending),
        }
    })
}

proptest! {
    #[test]
    fn never_over_the_limits_and_a_reload_changes_nothing(
        steps in proptest::collection::vec((any_command(), 0u64..40), 0..60),
    ) {
        let mut rows = BTreeMap::new();
        let mut owner = OwnerDocuments::default();
        let mut now = Millis(0);
        let mut first = None;
        for (command, passed) in steps {
            now = now.plus(Millis(passed));
            let mut reloaded = OwnerDocuments::load(now, rows.clone().into_iter().collect());
            let (reply, effects) = owner.apply(now, command.clone());
            assert_eq!(reloaded.apply(now, command).0, reply);
            assert!(!effects.delete_all || owner.rows.is_empty());
            effects.keep_in(&mut rows, &mut None);
            assert_eq!(rows.remove("owner-key"), owner.owner_key);
            assert_eq!(rows.len(), owner.rows.len());
            // The first key is kept until nothing is left that it could open.
            if rows.is_empty() {
                first = None;
            }
            if let Reply::Begun { owner_key } = reply {
                assert_eq!(first.get_or_insert_with(|| owner_key.clone()), &owner_key);
            }
            assert_eq!(owner.owner_key, first);
            rows.extend(first.clone().map(|key| ("owner-key".into(), key)));
            let sizes: Vec<u64> = owner.rows.values().filter(|row| !row.is_over(now)).filter_map(|row| match row {
                Row::Pending(intent) => Some(intent.reserved),
                Row::Open(upload) => Some(upload.intent.reserved),
                Row::Ready(document) => Some(document.bytes),
                Row::Removed(_) => None,
            }).collect();
            assert!(sizes.len() <= 3 && sizes.iter().sum::<u64>() <= 20, "{sizes:?}");
        }
    }
}

#[test]
fn rows_of_a_newer_version_are_not_thrown_away() {
    let rows = vec![
        (
            "doc/a".into(),
            r#"{"state":"removed","id":"a","owner":"o","network":"n","segments":1}"#.into(),
        ),
        ("doc/b".into(), r#"{"state":"frozen"}"#.into()),
    ];
    let mut owner = OwnerDocuments::load(Millis(0), rows);
    let (_, effects) = owner.apply(
        Millis(1),
        Command::Purged {
            ids: vec!["a".into()],
        },
    );
    assert!(!effects.delete_all);
    assert!(!owner.wake(Millis(2)).delete_all);
}
