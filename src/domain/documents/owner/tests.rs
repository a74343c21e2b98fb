use std::collections::BTreeMap;

use proptest::prelude::{Strategy, proptest};

use super::details::{self, Ask, Told};
use super::{Command, Intent, Limits, Order, OwnerDocuments, Purge, Reply, Row, Shortage};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::documents::about::{Grantee, Hold, Link, Right, Share};
use crate::domain::documents::access::{Shown, Who};
use crate::domain::documents::manifest::tests::document;
use crate::domain::documents::manifest::{Document, Purpose, blob_key, slot, version_blob};

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
        version: 1,
        mark: String::new(),
    }
}

fn begin(id: &str, reserved: u64, limits: Limits) -> Command {
    Command::Begin {
        intent: intent(id, reserved),
        limits,
        key: None,
        owner_key: ["key made for ", id].concat(),
        who: None,
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
        keep: 1,
    }
}

fn delete(id: &str) -> Command {
    Command::Delete { id: id.into() }
}

fn get(id: &str) -> Command {
    Command::Get {
        id: id.into(),
        version: None,
        who: None,
    }
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
        charge: None,
        noted: Vec::new(),
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
            owner_key: Some("key made for a".into()),
            right: Right::Own,
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
    let abort = || Command::Abort {
        id: "a".into(),
        mark: String::new(),
    };
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
    let (_, effects) = owner.apply(
        Millis(0),
        Command::Abort {
            id: "a".into(),
            mark: String::new(),
        },
    );
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

fn begin_version(id: &str, version: u32, reserved: u64, limits: Limits) -> Command {
    Command::Begin {
        intent: Intent {
            version,
            ..intent(id, reserved)
        },
        limits,
        key: None,
        owner_key: "another".into(),
        who: None,
    }
}

/// That version, of one segment, of which one earlier is kept.
fn commit_version(id: &str, version: u32, bytes: u64) -> Command {
    let mut document = document(id, &[bytes]);
    document.version = version;
    document.segments[0].blob = Some(version_blob(version, "", 0));
    Command::Commit {
        document,
        finish: None,
        keep: 2,
    }
}

fn about(id: &str, ask: Ask) -> Command {
    Command::Details {
        id: id.into(),
        who: None,
        ask,
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    let limits = Limits {
        count: 3,
        bytes: 20,
    };
    (0usize..4, 0u64..12, 0u8..15, 2u32..5).prop_map(move |(id, bytes, kind, version)| {
        let id = ["a", "b", "c", "d"][id];
        match kind {
            9 | 10 => begin_version(id, version, bytes, limits),
            11 | 12 => commit_version(id, version, bytes.max(1)),
            13 => about(
                id,
                Ask::RemoveVersion {
                    version: version - 1,
                },
            ),
            14 => Command::Abort {
                id: slot(id, version),
                mark: String::new(),
            },
            0 | 1 => begin(id, bytes, limits),
            2 | 3 => commit(&document(id, &[bytes.max(1)])),
            4 => Command::Abort {
                id: id.into(),
                mark: String::new(),
            },
            5 => delete(id),
            6 => Command::Sweep { limit: 2 },
            7 => Command::Purged {
                ids: vec![id.into()],
            },
            _ => list(Some(id), 2, Order::Descending),
        }
    })
}

/// An upload that begins now has its time from now on.
fn as_of(now: Millis, mut command: Command) -> Command {
    if let Command::Begin { intent, .. } = &mut command {
        intent.abandoned = now.plus(Millis(100));
    }
    command
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
            let command = as_of(now, command);
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
                Row::Ready(document) | Row::Earlier(document) => Some(document.bytes),
                Row::Removed(_) => None,
            }).collect();
            let documents = owner.rows.iter().filter(|(id, row)| {
                let counts = !matches!(row, Row::Removed(_) | Row::Earlier(_)) && !id.contains('@');
                counts && !row.is_over(now)
            }).count();
            assert!(documents <= 3 && sizes.iter().sum::<u64>() <= 20, "{documents} {sizes:?}");
        }
    }
}

proptest! {
    /// Whatever may have been written for a document stands in some row until somebody says that it is deleted.
    #[test]
    fn no_blob_is_forgotten_and_none_is_given_up_that_a_document_needs(
        steps in proptest::collection::vec((any_command(), 0u64..40), 0..60),
    ) {
        let mut owner = OwnerDocuments::default();
        let mut now = Millis(0);
        // What can lie in the store, by the slot that it was written for.
        let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (command, passed) in steps {
            now = now.plus(Millis(passed));
            let command = as_of(now, command);
            let purged = match &command {
                Command::Purged { ids } => ids.clone(),
                _ => Vec::new(),
            };
            let gone: Vec<Purge> = owner.rows.values().filter_map(|row| match row {
                Row::Removed(purge) if purged.contains(&purge.id) => Some(purge.clone()),
                _ => None,
            }).collect();
            let reply = owner.apply(now, command.clone()).0;
            match (command, reply) {
                (Command::Begin { intent, .. }, Reply::Begun { .. }) => {
                    let keys = (0..intent.segments).map(|segment| {
                        blob_key("vis_1", &intent.id, &version_blob(intent.version, "", segment))
                    });
                    written.insert(intent.slot(), keys.collect());
                }
                // Of what was reserved only that was written.
                (Command::Commit { document, .. }, Reply::Done | Reply::Purge { .. }) => {
                    let names = (0..document.segments.len()).map(|n| document.blob(n));
                    let keys = names.map(|name| blob_key("vis_1", &document.id, &name));
                    written.insert(document.slot(), keys.collect());
                }
                _ => {}
            }
            for purge in gone {
                written.remove(purge.charged());
            }
            let noted: Vec<String> = owner.rows.values().flat_map(|row| row.purge(now).keys()).collect();
            for key in written.values().flatten() {
                assert!(noted.contains(key), "{key} is forgotten");
            }
            let unique: std::collections::BTreeSet<&String> = noted.iter().collect();
            assert_eq!(unique.len(), noted.len(), "two rows give up the same blob");
            for row in owner.rows.values() {
                if let Row::Earlier(earlier) = row {
                    let there = owner.rows.get(&earlier.id);
                    let newer = matches!(there, Some(Row::Ready(newest)) if newest.version > earlier.version);
                    assert!(newer || row.is_over(now) || there.is_none_or(|row| row.is_over(now)));
                }
            }
        }
    }
}

/// An owner with a document in two versions; the first is an earlier one.
fn with_versions() -> OwnerDocuments {
    let mut owner = with(&["a"]);
    owner.apply(Millis(2), begin_version("a", 2, 5, AMPLE));
    assert_eq!(
        owner.apply(Millis(3), commit_version("a", 2, 3)).0,
        Reply::Done
    );
    owner
}

fn got(owner: &mut OwnerDocuments, version: Option<u32>, who: Option<Who>) -> Option<Document> {
    let command = Command::Get {
        id: "a".into(),
        version,
        who: who.map(Box::new),
    };
    match owner.apply(Millis(4), command).0 {
        Reply::Found { document, .. } => Some(document),
        _ => None,
    }
}

#[test]
fn a_new_version_takes_the_place_of_the_one_before_which_stays_beside_it() {
    let mut owner = with_versions();
    let newest = got(&mut owner, None, None).unwrap();
    assert_eq!((newest.version, newest.bytes), (2, 3));
    assert_eq!(newest.about.epoch, 1);
    let first = got(&mut owner, Some(1), None).unwrap();
    assert_eq!((first.version, first.bytes), (1, 5));
    assert_eq!(got(&mut owner, Some(3), None), None);
    assert_eq!(
        listed(&mut owner, 4, list(None, 9, Order::Ascending)).0,
        ["a"]
    );
    // With a third one the first is one too many.
    owner.apply(Millis(5), begin_version("a", 3, 5, AMPLE));
    let (reply, _) = owner.apply(Millis(6), commit_version("a", 3, 1));
    let Reply::Purge { purges, .. } = reply else {
        panic!("{reply:?}");
    };
    let of_first = Purge {
        charge: Some("a".into()),
        document: Some("a".into()),
        ..purge("a@00001", 2)
    };
    assert_eq!(purges, [of_first]);
    assert_eq!(got(&mut owner, Some(1), None), None);
    assert_eq!(got(&mut owner, Some(2), None).unwrap().bytes, 3);
}

#[test]
fn of_two_who_store_the_next_version_one_is_told_that_it_is_stale() {
    let mut owner = with_versions();
    let stale = Reply::Stale { version: 2 };
    for version in [2, 4] {
        let begin = begin_version("a", version, 5, AMPLE);
        assert_eq!(owner.apply(Millis(5), begin).0, stale, "{version}");
    }
    assert_eq!(
        owner.apply(Millis(5), begin_version("a", 3, 5, AMPLE)).0,
        begun("a")
    );
    let other = begin_version("a", 3, 6, AMPLE);
    assert_eq!(owner.apply(Millis(5), other).0, stale);
    assert_eq!(
        owner.apply(Millis(5), begin_version("b", 2, 5, AMPLE)).0,
        Reply::NotFound
    );
}

#[test]
fn a_document_goes_with_all_its_versions() {
    let mut owner = with_versions();
    owner.apply(Millis(5), begin_version("a", 3, 5, AMPLE));
    let (reply, _) = owner.apply(Millis(6), delete("a"));
    let Reply::Purge { purges, .. } = reply else {
        panic!("{reply:?}");
    };
    let slots: Vec<&str> = purges.iter().map(Purge::charged).collect();
    assert_eq!(slots, ["a@00002", "a"], "by what they are charged as");
    assert_eq!(
        owner.apply(Millis(7), commit_version("a", 3, 1)).0,
        Reply::NotFound,
        "which comes too late"
    );
    let ids = purges.into_iter().map(|purge| purge.id).collect();
    owner.apply(Millis(8), Command::Purged { ids });
    let abort = Command::Abort {
        id: "a@00003".into(),
        mark: String::new(),
    };
    let (reply, _) = owner.apply(Millis(9), abort);
    assert!(matches!(reply, Reply::Purge { .. }), "{reply:?}");
    let ids = vec!["a@00003".into()];
    assert!(owner.apply(Millis(9), Command::Purged { ids }).1.delete_all);
}

fn share(id: &str, with: Grantee, right: Right) -> Ask {
    Ask::Share {
        share: Share {
            id: id.into(),
            with,
            right,
            created: Millis(2),
            expires: None,
        },
    }
}

fn second() -> Who {
    Who {
        principal: Some("vis_2".into()),
        ..Who::default()
    }
}

#[test]
fn what_is_shared_is_there_for_them_until_the_share_ends() {
    let mut owner = with_versions();
    assert_eq!(got(&mut owner, None, Some(second())), None);
    let with = Grantee::Principal("vis_2".into());
    owner.apply(
        Millis(3),
        about("a", share("share_1", with.clone(), Right::View)),
    );
    let found = got(&mut owner, None, Some(second())).unwrap();
    assert_eq!((found.version, found.about.epoch), (2, 2));
    assert_eq!(
        got(&mut owner, Some(1), Some(second())),
        None,
        "earlier versions are for editors"
    );
    // The new right takes the place of the old one.
    owner.apply(Millis(3), about("a", share("share_2", with, Right::Edit)));
    assert!(got(&mut owner, Some(1), Some(second())).is_some());
    let unshare = |id: &str| Ask::Unshare { id: id.into() };
    let told = |(reply, _)| match reply {
        Reply::Details { told } => *told,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        told(owner.apply(Millis(3), about("a", unshare("share_1")))),
        Told::Unknown
    );
    let ended = told(owner.apply(Millis(3), about("a", unshare("share_2"))));
    let Told::Unshared { document, .. } = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(document.about.epoch, 4);
    assert_eq!(got(&mut owner, None, Some(second())), None);
}

#[test]
fn who_may_only_read_changes_nothing() {
    let mut owner = with(&["a"]);
    let with = Grantee::Principal("vis_2".into());
    owner.apply(Millis(3), about("a", share("share_1", with, Right::View)));
    let before = owner.rows.clone();
    let change = |expires| Ask::Change {
        filename: Some("b.txt".into()),
        tags: None,
        expires,
        keep_until: None,
    };
    for ask in [
        change(None),
        change(Some(Millis(5))),
        share("share_2", Grantee::Public, Right::View),
        Ask::Unshare {
            id: "share_1".into(),
        },
        Ask::Hold { hold: None },
        Ask::RemoveVersion { version: 1 },
        Ask::RemoveComment { id: "c".into() },
    ] {
        let command = Command::Details {
            id: "a".into(),
            who: Some(Box::new(second())),
            ask: ask.clone(),
        };
        let forbidden = Reply::Forbidden { right: Right::View };
        assert_eq!(owner.apply(Millis(4), command).0, forbidden, "{ask:?}");
    }
    let mut version = begin_version("a", 2, 1, AMPLE);
    if let Command::Begin { who, .. } = &mut version {
        *who = Some(Box::new(second()));
    }
    assert_eq!(
        owner.apply(Millis(4), version).0,
        Reply::Forbidden { right: Right::View }
    );
    assert_eq!(owner.rows, before);
}

#[test]
fn wrong_passphrases_are_counted_in_the_row() {
    let mut owner = with(&["a"]);
    let link = Grantee::Link(Link {
        digest: "d".into(),
        passphrase: Some("p".into()),
        failed: 0,
        failing_since: None,
    });
    owner.apply(Millis(2), about("a", share("share_1", link, Right::View)));
    let show = |owner: &mut OwnerDocuments, passphrase: &str| {
        let who = Who {
            link: Some(Shown {
                digest: "d".into(),
                passphrase: Some(passphrase.into()),
            }),
            ..Who::default()
        };
        let command = Command::Get {
            id: "a".into(),
            version: None,
            who: Some(Box::new(who)),
        };
        owner.apply(Millis(4), command)
    };
    for _ in 0..10 {
        let (reply, effects) = show(&mut owner, "q");
        let (wrong, wait) = (true, None);
        assert_eq!(reply, Reply::Passphrase { wrong, wait });
        assert_eq!(effects.writes.len(), 1, "a restart must not forget it");
    }
    let (reply, effects) = show(&mut owner, "p");
    assert!(matches!(reply, Reply::Passphrase { wait: Some(_), .. }));
    assert_eq!(effects, Effects::default());
}

#[test]
fn what_is_held_or_retained_stays_whoever_asks() {
    let mut owner = with_versions();
    let keep = Ask::Change {
        filename: None,
        tags: None,
        expires: None,
        keep_until: Some(Millis(50)),
    };
    owner.apply(Millis(4), about("a", keep));
    let until = Some(Millis(50));
    let remove = |version| about("a", Ask::RemoveVersion { version });
    for command in [delete("a"), remove(1)] {
        assert_eq!(owner.apply(Millis(49), command).0, Reply::Kept { until });
    }
    let hold = Ask::Hold {
        hold: Some(Hold {
            by: "op_1".into(),
            since: Millis(5),
            reason: "matter 7".into(),
        }),
    };
    owner.apply(Millis(49), about("a", hold));
    let until = None;
    let late = Millis(1_000_000);
    assert_eq!(owner.apply(late, delete("a")).0, Reply::Kept { until });
    assert!(owner.wake(late).writes.is_empty(), "nor does it expire");
    let (reply, effects) = owner.apply(late, Command::Forget);
    assert!(matches!(reply, Reply::Purge { purges, .. } if purges.is_empty()));
    assert!(
        !effects.delete_all && owner.owner_key.is_some(),
        "and stays readable"
    );
    owner.apply(late, about("a", Ask::Hold { hold: None }));
    assert!(!owner.wake(late).writes.is_empty());
    assert_eq!(owner.apply(late, get("a")).0, Reply::NotFound);
}

#[test]
fn comments_are_there_with_their_document_and_go_with_it() {
    let mut owner = with_versions();
    let with = Grantee::Principal("vis_2".into());
    owner.apply(
        Millis(3),
        about("a", share("share_1", with, Right::Comment)),
    );
    let comment = |id: &str, by: Option<&str>| Ask::Comment {
        comment: details::Comment {
            id: id.into(),
            by: by.map(str::to_owned),
            created: Millis(4),
            sealed: "sealed".into(),
            version: 2,
        },
    };
    let by_second = |ask| Command::Details {
        id: "a".into(),
        who: Some(Box::new(second())),
        ask,
    };
    let (_, effects) = owner.apply(Millis(4), about("a", comment("c1", Some("vis_1"))));
    assert_eq!(effects.writes[0].key, "note/a/c1");
    let stored = r#"{"id":"c1","by":"vis_1","created":4,"sealed":"sealed","version":2}"#;
    assert_eq!(effects.writes[0].value.as_deref(), Some(stored));
    owner.apply(Millis(4), by_second(comment("c2", Some("vis_2"))));
    let ids = |owner: &mut OwnerDocuments| match owner.apply(Millis(4), by_second(Ask::Comments)).0
    {
        Reply::Details { told } => match *told {
            Told::Comments {
                comments,
                documents,
                ..
            } => {
                assert_eq!(documents.len(), 1, "the version that they stand beside");
                comments.into_iter().map(|c| c.id).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(ids(&mut owner), ["c1", "c2"]);
    let remove = |id: &str| Ask::RemoveComment { id: id.into() };
    owner.apply(Millis(4), by_second(remove("c1")));
    assert_eq!(ids(&mut owner), ["c1", "c2"], "which is not theirs");
    owner.apply(Millis(4), about("a", remove("c2")));
    assert_eq!(ids(&mut owner), ["c1"]);
    let Reply::Purge { purges, .. } = owner.apply(Millis(5), delete("a")).0 else {
        panic!("it is theirs");
    };
    let ids = purges.into_iter().map(|purge| purge.id).collect();
    assert!(owner.apply(Millis(5), Command::Purged { ids }).1.delete_all);
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
