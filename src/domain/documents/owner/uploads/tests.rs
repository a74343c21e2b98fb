use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::super::{Command, Intent, Limits, OwnerDocuments, Purge, Reply, Row};
use super::{
    Ask, LATE_WRITE, MAX_PARTS, MAX_PARTS_AT_ONCE, Part, PartState, Stored, Told, Uploading, Why,
};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::documents::manifest::{Document, Purpose, Segment, blob_key, part_blob};

const ID: &str = "file_1";
const OVER: Millis = Millis::from_secs(10_000);
const EXPIRES: Millis = Millis::from_secs(20_000);
const BYTES: u64 = 10;

fn upload() -> Uploading {
    Uploading {
        intent: Intent {
            id: ID.into(),
            owner: "vis_1".into(),
            network: "n1".into(),
            reserved: BYTES,
            segments: 0,
            abandoned: OVER,
            version: 1,
            mark: String::new(),
        },
        filename: "a.txt".into(),
        purpose: Purpose::UserData,
        declared: "text/plain".into(),
        lifetime: None,
        created: Millis(1),
        key: None,
        parts: Vec::new(),
    }
}

fn about(ask: Ask) -> Command {
    Command::Upload { id: ID.into(), ask }
}

fn part(id: &str, until: Millis) -> Part {
    Part {
        id: id.into(),
        number: None,
        created: Millis(2),
        state: PartState::Writing { until, segments: 2 },
    }
}

fn stored(id: &str, bytes: u64, content: &str) -> Stored {
    Stored {
        bytes,
        sha256: content.into(),
        segments: vec![Segment {
            length: bytes,
            header: Some(["header of ", id].concat()),
            blob: Some(part_blob(id, 0)),
        }],
    }
}

fn commit(id: &str, number: Option<u32>, bytes: u64, content: &str) -> Command {
    about(Ask::CommitPart {
        part: id.into(),
        number,
        stored: stored(id, bytes, content),
    })
}

/// The document that these stored parts are to be.
fn made(parts: &[&Stored]) -> Document {
    Document {
        id: ID.into(),
        owner: "vis_1".into(),
        filename: "a.txt".into(),
        purpose: Purpose::UserData,
        content_type: "text/plain; charset=utf-8".into(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        sha256: "00".repeat(32),
        segments: parts
            .iter()
            .flat_map(|part| part.segments.clone())
            .collect(),
        version: 1,
        created: Millis(3),
        expires: EXPIRES,
        network: "n1".into(),
        key: Some("wrapped".into()),
        about: Box::default(),
    }
}

/// An owner with an open upload that has its key.
fn open() -> OwnerDocuments {
    let mut owner = OwnerDocuments::default();
    let begin = Command::BeginUpload {
        upload: Box::new(upload()),
        limits: Limits {
            count: 1,
            bytes: BYTES,
        },
        owner_key: "sealed".into(),
    };
    for _ in 0..2 {
        let reply = owner.apply(Millis(1), begin.clone()).0;
        assert!(matches!(reply, Reply::Begun { owner_key } if owner_key == "sealed"));
    }
    for key in ["wrapped", "another"] {
        owner.apply(Millis(1), about(Ask::Key { key: key.into() }));
    }
    owner
}

fn tell(owner: &mut OwnerDocuments, now: u64, command: Command) -> Option<Told> {
    match owner.apply(Millis(now), command).0 {
        Reply::Upload { told } => Some(told),
        Reply::NotFound => None,
        other => panic!("{other:?}"),
    }
}

fn add(
    owner: &mut OwnerDocuments,
    id: &str,
    number: Option<u32>,
    bytes: u64,
    content: &str,
) -> Option<Told> {
    let begin = about(Ask::BeginPart {
        part: part(id, Millis::from_secs(100)),
    });
    assert!(matches!(tell(owner, 2, begin), Some(Told::Open { .. })));
    tell(owner, 3, commit(id, number, bytes, content))
}

fn complete(owner: &mut OwnerDocuments, ids: &[&str]) -> Option<Told> {
    let Some(Told::Open { upload, .. }) = tell(owner, 4, about(Ask::Get)) else {
        panic!("not open");
    };
    let find = |id: &&str| {
        upload
            .parts
            .iter()
            .find(|part| part.id == **id)
            .and_then(Part::stored)
    };
    let parts: Vec<&Stored> = ids.iter().filter_map(find).collect();
    let ask = Ask::Complete {
        parts: ids.iter().map(ToString::to_string).collect(),
        document: made(&parts),
    };
    tell(owner, 5, about(ask))
}

fn why(told: Option<Told>) -> Why {
    match told {
        Some(Told::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_become_the_document_in_the_order_in_which_they_are_named() {
    let mut owner = open();
    add(&mut owner, "part_b", None, 4, "b");
    add(&mut owner, "part_a", None, 6, "a");
    let Some(Told::Completed { document, left }) = complete(&mut owner, &["part_a", "part_b"])
    else {
        panic!("not complete");
    };
    let blobs: Vec<_> = document
        .segments
        .iter()
        .filter_map(|s| s.blob.clone())
        .collect();
    assert_eq!(
        (blobs, left),
        (vec!["a-00000".to_owned(), "b-00000".to_owned()], vec![])
    );
    let Reply::Found {
        document: found,
        owner_key,
        ..
    } = owner
        .apply(
            Millis(6),
            Command::Get {
                id: ID.into(),
                version: None,
                who: None,
            },
        )
        .0
    else {
        panic!("not there");
    };
    assert_eq!((*document, owner_key.as_deref()), (found, Some("sealed")));
    // The same question again gets the same answer; another order does not.
    let again = |parts: &[&str]| {
        about(Ask::Complete {
            parts: parts.iter().map(ToString::to_string).collect(),
            document: made(&[]),
        })
    };
    let told = tell(&mut owner, 7, again(&["part_a", "part_b"]));
    assert!(matches!(told, Some(Told::Completed { .. })));
    for other in [
        &["part_b", "part_a"][..],
        &["part_a"],
        &[],
        &["part_a", "part_b", "part_b"],
    ] {
        assert_eq!(tell(&mut owner, 7, again(other)), None, "{other:?}");
    }
    assert_eq!(tell(&mut owner, 7, about(Ask::Cancel)), None);
}

#[test]
fn what_does_not_come_to_the_length_is_refused_and_stays_open() {
    let mut owner = open();
    add(&mut owner, "part_a", None, 6, "a");
    assert_eq!(why(complete(&mut owner, &["part_a"])), Why::Length);
    assert_eq!(
        why(complete(&mut owner, &["part_a", "part_a"])),
        Why::Length
    );
    assert_eq!(why(complete(&mut owner, &["part_a", "part_x"])), Why::Part);
    assert_eq!(why(complete(&mut owner, &[])), Why::Length);
    assert_eq!(why(add(&mut owner, "part_b", None, 5, "b")), Why::TooLong);
    add(&mut owner, "part_c", None, 4, "c");
    let told = complete(&mut owner, &["part_a", "part_c"]);
    assert!(matches!(told, Some(Told::Completed { .. })));
}

#[test]
fn numbers_stand_for_the_order() {
    let mut owner = open();
    add(&mut owner, "part_b", Some(2), 4, "b");
    add(&mut owner, "part_a", Some(1), 6, "a");
    assert_eq!(why(complete(&mut owner, &["part_b", "part_a"])), Why::Order);
    let told = complete(&mut owner, &["part_a", "part_b"]);
    assert!(matches!(told, Some(Told::Completed { .. })));
}

#[test]
fn a_part_that_comes_again_is_stored_once() {
    let mut owner = open();
    add(&mut owner, "part_a", Some(1), 6, "a");
    // Its answer was lost, and it is sent as another part.
    let Some(Told::Stored { part, left }) = add(&mut owner, "part_b", Some(1), 6, "a") else {
        panic!("not stored");
    };
    assert_eq!(part.id, "part_a");
    let keys: Vec<String> = left.iter().flat_map(Purge::keys).collect();
    let key = |name: &str| blob_key("vis_1", ID, name);
    assert_eq!(keys, [key("b-00000"), key("b-00001")]);
    // Another content in its place takes the place.
    let Some(Told::Stored { part, left }) = add(&mut owner, "part_c", Some(1), 10, "c") else {
        panic!("not stored");
    };
    assert_eq!(part.id, "part_c");
    assert_eq!(
        left.iter().flat_map(Purge::keys).collect::<Vec<_>>(),
        [key("a-00000")]
    );
    assert!(matches!(
        complete(&mut owner, &["part_c"]),
        Some(Told::Completed { .. })
    ));
}

#[test]
fn so_many_parts_at_a_time_and_in_all() {
    let mut owner = open();
    let begin = |id: usize, until: u64| {
        about(Ask::BeginPart {
            part: part(&format!("part_{id:04}"), Millis(until)),
        })
    };
    for id in 0..MAX_PARTS_AT_ONCE {
        assert!(matches!(
            tell(&mut owner, 2, begin(id, 50)),
            Some(Told::Open { .. })
        ));
    }
    assert_eq!(why(tell(&mut owner, 2, begin(900, 50))), Why::AtOnce);
    // Those whose writers were lost make room, and their blobs are remembered.
    let late = 50 + LATE_WRITE.0;
    assert_eq!(
        why(tell(&mut owner, late - 1, begin(900, late + 50))),
        Why::AtOnce
    );
    assert!(matches!(
        tell(&mut owner, late, begin(900, late + 50)),
        Some(Told::Open { .. })
    ));
    let Reply::Purge { purges, .. } = owner.apply(Millis(late), Command::Sweep { limit: 99 }).0
    else {
        panic!("no purge");
    };
    assert_eq!(purges.len(), MAX_PARTS_AT_ONCE);

    let mut upload = upload();
    upload.intent.reserved = 10_000;
    let mut owner = open();
    let full = Uploading {
        key: Some("wrapped".into()),
        parts: (0..MAX_PARTS)
            .map(|n| Part {
                state: PartState::Stored(stored("part_x", 1, &n.to_string())),
                ..part(&format!("part_{n}"), Millis(0))
            })
            .collect(),
        ..upload
    };
    owner.rows.insert(ID.into(), Row::Open(Box::new(full)));
    assert_eq!(why(tell(&mut owner, 2, begin(2000, 50))), Why::TooMany);
}

#[test]
fn no_part_begins_shortly_before_the_end_or_without_a_key() {
    let mut owner = open();
    let begin = |until| {
        about(Ask::BeginPart {
            part: part("part_a", until),
        })
    };
    let last = OVER.0 - LATE_WRITE.0;
    assert_eq!(tell(&mut owner, last, begin(OVER)), None);
    let Some(Told::Open { upload, .. }) = tell(&mut owner, last - 1, begin(OVER)) else {
        panic!("not open");
    };
    let until = Millis(last);
    assert_eq!(
        upload.parts[0].state,
        PartState::Writing { until, segments: 2 }
    );

    let mut owner = open();
    owner
        .rows
        .insert(ID.into(), Row::Open(Box::new(super::tests::upload())));
    assert_eq!(tell(&mut owner, 2, begin(OVER)), None);
}

#[test]
fn the_stored_form_is_pinned() {
    // A change here loses uploads that are under way, and leaves their blobs behind for ever.
    let row = r#"{"state":"open","intent":{"id":"file_1","owner":"vis_1","network":"n1","reserved":10,"segments":0,"abandoned":10000000},"filename":"a.txt","purpose":"user_data","declared":"text/plain","created":1,"key":"wrapped","parts":[{"id":"part_a","number":1,"created":2,"part":"stored","bytes":6,"sha256":"a","segments":[{"length":6,"header":"header of part_a","blob":"a-00000"}]},{"id":"part_b","created":2,"part":"writing","until":100000,"segments":2}]}"#;
    let removed = r#"{"state":"removed","id":"file_1","owner":"vis_1","network":"n1","segments":0,"blobs":["a-00000","b-00000","b-00001"],"after":400000}"#;
    let rows = vec![
        ("doc/file_1".to_owned(), row.to_owned()),
        ("owner-key".to_owned(), "sealed".to_owned()),
    ];
    let mut owner = OwnerDocuments::load(Millis(5), rows);
    let Some(Told::Open { upload, owner_key }) = tell(&mut owner, 5, about(Ask::Get)) else {
        panic!("not open");
    };
    let shown = serde_json::to_string(&Row::Open(upload)).unwrap();
    assert_eq!((shown.as_str(), owner_key.as_str()), (row, "sealed"));
    let (_, effects) = owner.apply(Millis(5), about(Ask::Cancel));
    assert_eq!(effects.writes[0].value.as_deref(), Some(removed));
    assert_eq!(effects.alarm, Some(Millis(400_000)));
}

// === no blob is forgotten, whoever is lost and whatever comes in between ===

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(usize),
    Write(usize),
    Commit(usize, u64, u8, bool),
    Abort(usize),
    Lose(usize),
    Complete(usize, usize),
    Cancel,
    Delete,
    Forget,
    Sweep,
    Bell,
}

fn any_step() -> impl Strategy<Value = Step> {
    let part = 0usize..4;
    prop_oneof![
        4 => part.clone().prop_map(Step::Begin),
        4 => part.clone().prop_map(Step::Write),
        4 => (part.clone(), 1u64..8, 0u8..3, any::<bool>()).prop_map(|(p, b, c, n)| Step::Commit(p, b, c, n)),
        1 => part.clone().prop_map(Step::Abort),
        1 => part.clone().prop_map(Step::Lose),
        2 => (part.clone(), part).prop_map(|(a, b)| Step::Complete(a, b)),
        1 => prop_oneof![
            proptest::prelude::Just(Step::Cancel),
            proptest::prelude::Just(Step::Delete),
            proptest::prelude::Just(Step::Forget),
        ],
        2 => proptest::prelude::Just(Step::Sweep),
        1 => proptest::prelude::Just(Step::Bell),
    ]
}

/// The machine with its rows, the bucket, and who writes.
struct World {
    owner: OwnerDocuments,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
    bucket: BTreeSet<String>,
    /// By part: until when its writer writes.
    writers: BTreeMap<usize, Millis>,
    /// Ids are used once: each part's next one.
    lives: [usize; 4],
    now: Millis,
}

impl World {
    fn new() -> Self {
        let mut owner = open();
        let (_, effects) = owner.apply(Millis(2), about(Ask::Key { key: "x".into() }));
        assert_eq!(effects, Effects::default());
        let rows = owner.rows.iter();
        let mut rows: BTreeMap<String, String> = rows
            .map(|(id, row)| (["doc/", id].concat(), serde_json::to_string(row).unwrap()))
            .collect();
        rows.insert("owner-key".into(), "sealed".into());
        Self {
            owner,
            rows,
            alarm: Some(OVER),
            bucket: BTreeSet::new(),
            writers: BTreeMap::new(),
            lives: [0; 4],
            now: Millis(2),
        }
    }

    fn name(&self, part: usize) -> String {
        format!("part_{part}{}", self.lives[part])
    }

    fn tell(&mut self, command: Command) -> Reply {
        let mut reloaded = OwnerDocuments::load(self.now, self.rows.clone().into_iter().collect());
        let (reply, effects) = self.owner.apply(self.now, command.clone());
        assert_eq!(reloaded.apply(self.now, command).0, reply);
        effects.keep_in(&mut self.rows, &mut self.alarm);
        reply
    }

    fn purge(&mut self, purges: &[Purge]) {
        for key in purges.iter().flat_map(Purge::keys) {
            self.bucket.remove(&key);
        }
        let ids = purges.iter().map(|purge| purge.id.clone()).collect();
        self.tell(Command::Purged { ids });
    }

    /// What the story does with what an upload was told.
    fn told(&mut self, ask: Ask) -> Option<Told> {
        let Reply::Upload { told } = self.tell(about(ask)) else {
            return None;
        };
        if let Told::Completed { left, .. }
        | Told::Stored { left, .. }
        | Told::Refused { left, .. }
        | Told::Gone { left } = &told
        {
            self.purge(left);
        }
        Some(told)
    }

    fn sweep(&mut self) {
        if let Reply::Purge { purges, .. } = self.tell(Command::Sweep { limit: 3 }) {
            self.purge(&purges);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin(p) => {
                self.lives[p] += 1;
                let id = self.name(p);
                let ask = Ask::BeginPart {
                    part: part(&id, self.now.plus(Millis::from_secs(200))),
                };
                self.writers.remove(&p);
                if let Some(Told::Open { upload, .. }) = self.told(ask) {
                    let part = upload.parts.into_iter().find(|part| part.id == id).unwrap();
                    let PartState::Writing { until, .. } = part.state else {
                        panic!()
                    };
                    self.writers.insert(p, until.plus(LATE_WRITE));
                }
            }
            // A write that began in time may arrive late.
            Step::Write(p) => {
                if self.writers.get(&p).is_some_and(|until| self.now < *until) {
                    let blobs = [0, 1].map(|n| blob_key("vis_1", ID, &part_blob(&self.name(p), n)));
                    self.bucket.extend(blobs);
                }
            }
            Step::Commit(p, bytes, content, numbered) => {
                if self.writers.remove(&p).is_some() {
                    let id = self.name(p);
                    let number = numbered.then_some(u32::from(content));
                    let Command::Upload { ask, .. } =
                        commit(&id, number, bytes, &content.to_string())
                    else {
                        panic!()
                    };
                    // The second blob was not needed.
                    self.bucket
                        .remove(&blob_key("vis_1", ID, &part_blob(&id, 1)));
                    self.told(ask);
                }
            }
            Step::Abort(p) => {
                if self.writers.remove(&p).is_some() {
                    let ask = Ask::AbortPart { part: self.name(p) };
                    self.told(ask);
                }
            }
            Step::Lose(p) => drop(self.writers.remove(&p)),
            Step::Complete(a, b) => {
                let Some(Told::Open { upload, .. }) = self.told(Ask::Get) else {
                    return;
                };
                let ids: Vec<String> = upload.parts.iter().map(|part| part.id.clone()).collect();
                let ids: Vec<String> = [a, b]
                    .iter()
                    .filter_map(|at| ids.get(*at).cloned())
                    .collect();
                let stored: Vec<&Stored> = ids
                    .iter()
                    .filter_map(|id| upload.parts.iter().find(|p| p.id == *id)?.stored())
                    .collect();
                let document = made(&stored);
                let total = document.bytes;
                if let Some(Told::Completed { .. }) = self.told(Ask::Complete {
                    parts: ids,
                    document,
                }) {
                    assert_eq!(total, BYTES);
                }
            }
            Step::Cancel => drop(self.told(Ask::Cancel)),
            Step::Delete => {
                if let Reply::Purge { purges, .. } = self.tell(Command::Delete { id: ID.into() }) {
                    self.purge(&purges);
                }
            }
            Step::Forget => {
                if let Reply::Purge { purges, .. } = self.tell(Command::Forget) {
                    self.purge(&purges);
                }
                assert_eq!(self.owner.owner_key, None);
            }
            Step::Sweep => self.sweep(),
            Step::Bell => {
                self.alarm = None;
                let effects = self.owner.wake(self.now);
                effects.keep_in(&mut self.rows, &mut self.alarm);
            }
        }
        self.holds();
    }

    fn holds(&self) {
        let rows = self.owner.rows.values();
        let known: BTreeSet<String> = rows.flat_map(|row| row.purge(self.now).keys()).collect();
        for key in &self.bucket {
            // Nobody knows it: then somebody still writes it, and will be told that it is not wanted.
            let of = |p: &usize| format!("/{}", part_blob(&self.name(*p), 0).replace("00000", ""));
            let written = self.writers.keys().any(|p| key.contains(&of(p)));
            assert!(known.contains(key) || written, "{key} is forgotten");
        }
        for row in self.owner.rows.values() {
            if let Row::Open(upload) = row {
                let stored = upload.parts.iter().filter_map(Part::stored);
                assert!(stored.map(|part| part.bytes).sum::<u64>() <= BYTES);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_blob_is_forgotten(steps in proptest::collection::vec((any_step(), 0u64..60_000), 0..60)) {
        let mut world = World::new();
        for (step, passed) in steps {
            world.now = world.now.plus(Millis(passed));
            world.step(step);
        }
        // Nobody is heard of again.
        world.writers.clear();
        for _ in 0..20 {
            world.now = world.now.max(world.alarm.unwrap_or_default());
            world.step(Step::Bell);
            world.step(Step::Sweep);
            world.step(Step::Sweep);
            world.step(Step::Sweep);
        }
        assert_eq!(world.bucket, BTreeSet::new());
        assert_eq!(world.rows, BTreeMap::new());
    }
}
