//! The log's machine against a naive oracle: the list of all leaves, and the definition of a tree's root written out.
//! Storage fails before and after writing, the object is evicted, the clock jumps.
//!
//! One million steps; `GATEHOUSE_LONG=1` takes five times as many.

use std::collections::BTreeMap;

use fastrand::Rng;
use gatehouse::base::digest::{base64url, from_base64url};
use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::time::Millis;
use gatehouse::domain::audit::log::{
    AuditLog, Command, Due, ID_TILES, Kept, MAX_BATCH, MAX_LEAF, MAX_SEALED, MAX_SIZES,
    MAX_SUBJECTS, MAX_UNFLUSHED, Reply, Sealed, Status, Subject, Why, personal_path,
};
use gatehouse::domain::audit::tiles::{Kind, Tile, entries, hash_bytes, hashes};
use gatehouse::domain::audit::tree::{Hash, leaf_hash, node_hash, root};

const RUNS: u64 = 20;
const STEPS: u64 = 50_000;

/// Every leaf so far.
#[derive(Default)]
struct Oracle {
    ids: Vec<String>,
    leaves: Vec<Hash>,
    known: BTreeMap<String, u64>,
    /// Roots of full, aligned ranges: they never change.
    full: BTreeMap<(u64, u64), Hash>,
}

impl Oracle {
    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// `MTH(D[from:to])` (RFC 6962 §2.1).
    fn root(&mut self, from: u64, to: u64) -> Hash {
        let n = to - from;
        if n == 0 {
            return root(&[]);
        }
        if n == 1 {
            return self.leaves[from as usize];
        }
        let aligned = n.is_power_of_two() && from.is_multiple_of(n);
        if aligned && let Some(hash) = self.full.get(&(from, to)) {
            return *hash;
        }
        let k = from + n.next_power_of_two() / 2;
        let hash = node_hash(self.root(from, k), self.root(k, to));
        if aligned {
            self.full.insert((from, to), hash);
        }
        hash
    }

    /// The hashes of a tile, as many as there are.
    fn tile(&mut self, level: u8, index: u64) -> Vec<Hash> {
        let span = 1u64 << (8 * u32::from(level));
        let first = index * 256;
        let last = (self.size() / span).min(first + 256);
        (first..last)
            .map(|n| self.root(n * span, (n + 1) * span))
            .collect()
    }
}

/// The shell of the object, and what is stored elsewhere.
#[derive(Default)]
struct Object {
    rows: BTreeMap<String, String>,
    machine: Option<AuditLog>,
    blobs: BTreeMap<String, String>,
    now: Millis,
}

impl Object {
    fn step(&mut self, command: Command) -> (Reply, Effects) {
        let (rows, now) = (&self.rows, self.now);
        let load = || AuditLog::load(now, rows.clone().into_iter().collect());
        self.machine.get_or_insert_with(load).apply(now, command)
    }

    fn persist(&mut self, effects: Effects) {
        assert!(!effects.delete_all && effects.alarm.is_none());
        assert!(
            effects
                .writes
                .iter()
                .all(|write| write.key.starts_with("log/"))
        );
        effects.keep_in(&mut self.rows, &mut None);
    }

    fn ask(&mut self, command: Command) -> Reply {
        let (reply, effects) = self.step(command);
        self.persist(effects);
        reply
    }

    /// The same, but it can fail before and after it is written; the caller then asks again.
    fn ask_on_bad_ground(&mut self, command: Command, dice: &mut Rng) -> Reply {
        while dice.u64(..300) == 0 {
            let (_, effects) = self.step(command.clone());
            if dice.u64(..2) == 0 {
                self.persist(effects);
            }
            self.machine = None;
        }
        self.ask(command)
    }

    fn status(&mut self) -> Status {
        match self.ask(Command::Status) {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    fn due(&mut self) -> Option<Due> {
        match self.ask(Command::Due) {
            Reply::Due(due) => due,
            other => panic!("{other:?}"),
        }
    }

    /// A blob that is written again is the same.
    fn put(&mut self, due: &Due) {
        for (path, bytes) in &due.blobs {
            let before = self.blobs.insert(path.clone(), bytes.clone());
            assert!(before.is_none_or(|before| before == *bytes), "{path}");
        }
    }

    fn flush(&mut self) -> bool {
        let Some(due) = self.due() else { return false };
        self.put(&due);
        assert_eq!(self.ask(Command::Flushed(due.tile)), Reply::Done);
        true
    }
}

fn kept(id: &str) -> Kept {
    let sealed = Sealed("who".into(), "kid".into(), format!("sealed {id}"));
    Kept(id.into(), format!("leaf {id}"), vec![sealed])
}

fn append(ids: &[&str]) -> Command {
    Command::Append {
        entries: ids.iter().map(|id| kept(id)).collect(),
        erase: Vec::new(),
    }
}

fn subject(name: &str, most: u32) -> Subject {
    Subject {
        subject: name.into(),
        kid: format!("kid-{name}"),
        wrapped: format!("wrapped-{name}"),
        most,
    }
}

#[test]
fn the_log_is_the_list_of_its_leaves() {
    for seed in 1..=RUNS * u64::from(crate::cases::times(5)) {
        let mut run = Run::new(seed);
        for step in 0..STEPS {
            run.step(step);
        }
        run.end();
    }
}

struct Run {
    seed: u64,
    dice: Rng,
    object: Object,
    oracle: Oracle,
    flushed: u64,
    checkpoint: Option<(u64, Hash)>,
    mirrored: u64,
    subjects: BTreeMap<String, u64>,
    next: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            dice: Rng::with_seed(seed),
            object: Object::default(),
            oracle: Oracle::default(),
            flushed: 0,
            checkpoint: None,
            mirrored: 0,
            subjects: BTreeMap::new(),
            next: 0,
        }
    }

    fn ask(&mut self, command: Command) -> Reply {
        self.object.ask_on_bad_ground(command, &mut self.dice)
    }

    fn step(&mut self, step: u64) {
        let at = format!("seed {} step {step}", self.seed);
        match self.dice.u64(..100) {
            0..60 => self.append(&at),
            60..70 => self.flush(&at),
            70..78 => self.store(&at),
            78..84 => self.tile(&at),
            84..88 => self.entries(&at),
            88..92 => self.subject(&at),
            92..94 => self.mirror(),
            94 if self.dice.u64(..4) == 0 => self.object.machine = None,
            94..98 => {
                // The clock stands still, goes on, goes back.
                self.object.now = Millis(self.dice.u64(..1 << 40));
                if let Some(machine) = &mut self.object.machine {
                    assert_eq!(machine.wake(self.object.now), Effects::default());
                }
            }
            _ => self.status(&at),
        }
    }

    /// Is the entry at this index recognized when it comes again?
    fn recognized(&self, index: u64) -> bool {
        index / 256 + ID_TILES + 1 > self.flushed
    }

    fn append(&mut self, at: &str) {
        let count = 1 + self.dice.u64(..4);
        let mut ids = Vec::new();
        for _ in 0..count {
            if self.dice.u64(..5) == 0 && self.oracle.size() > 0 {
                let size = self.oracle.size();
                let back = self.dice.u64(..size.min(12_000));
                ids.push(self.oracle.ids[(size - 1 - back) as usize].clone());
            } else {
                self.next += 1;
                ids.push(format!("e{}", self.next));
            }
        }
        let mut expected = Vec::new();
        let (before, unflushed) = (self.oracle.size(), self.oracle.size() - self.flushed * 256);
        let mut fresh: Vec<&String> = Vec::new();
        for id in &ids {
            let known = self.oracle.known.get(id).copied();
            match known.filter(|index| self.recognized(*index)) {
                Some(index) => expected.push(index),
                None => match fresh.iter().position(|other| *other == id) {
                    Some(place) => expected.push(before + place as u64),
                    None => {
                        expected.push(before + fresh.len() as u64);
                        fresh.push(id);
                    }
                },
            }
        }
        let not_known = ids.iter().filter(|id| {
            let known = self.oracle.known.get(*id).copied();
            known.is_none_or(|index| !self.recognized(index))
        });
        let full = unflushed + not_known.count() as u64 > MAX_UNFLUSHED as u64;
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let reply = self
            .object
            .ask_on_bad_ground(append(&names), &mut self.dice);
        if full {
            assert_eq!(reply, Reply::Refused(Why::Full), "{at}");
            return;
        }
        for id in fresh {
            self.oracle
                .known
                .insert(id.clone(), self.oracle.leaves.len() as u64);
            self.oracle.ids.push(id.clone());
            self.oracle.leaves.push(leaf_hash(kept(id).1.as_bytes()));
        }
        let Reply::Appended(indexes, status) = reply else {
            panic!("{at}: {reply:?}");
        };
        assert_eq!(indexes, expected, "{at}");
        self.check(&status, at);
    }

    fn check(&mut self, status: &Status, at: &str) {
        assert_eq!(status.size, self.oracle.size(), "{at}");
        assert_eq!(status.root, self.oracle.root(0, status.size), "{at}");
        assert_eq!(status.flushed, self.flushed, "{at}");
        let checkpoint = status.checkpoint.as_ref();
        assert_eq!(
            checkpoint.map(|c| (c.size, c.root)),
            self.checkpoint,
            "{at}"
        );
        assert_eq!(status.mirrored, self.mirrored, "{at}");
        assert!(!status.damaged, "{at}");
        assert!(status.sizes.len() <= MAX_SIZES && status.sizes.is_sorted());
    }

    fn status(&mut self, at: &str) {
        let status = self.object.status();
        self.check(&status, at);
    }

    /// Flushing may stop anywhere and begin again.
    fn flush(&mut self, at: &str) {
        let tiles = self.dice.u64(..3);
        for _ in 0..tiles {
            let Some(due) = self.object.due() else {
                assert!(self.oracle.size() - self.flushed * 256 < 256, "{at}");
                return;
            };
            assert_eq!(due.tile, self.flushed, "{at}");
            self.object.put(&due);
            if self.dice.u64(..60) == 0 {
                self.object.machine = None;
                return;
            }
            assert_eq!(self.ask(Command::Flushed(due.tile)), Reply::Done, "{at}");
            self.flushed += 1;
        }
    }

    fn store(&mut self, at: &str) {
        let size = self.oracle.size();
        let size = (size + 3).saturating_sub(self.dice.u64(..600));
        let real = size <= self.oracle.size();
        let mut root = if real {
            self.oracle.root(0, size)
        } else {
            leaf_hash(b"future")
        };
        if self.dice.u64(..4) == 0 {
            root.0[0] ^= 1;
        }
        let right = real && root == self.oracle.root(0, size);
        let command = Command::StoreCheckpoint {
            size,
            root,
            text: format!("note {size}"),
        };
        let stale = size < self.checkpoint.map_or(0, |(size, _)| size) || size < self.flushed * 256;
        let expected = match (stale, right) {
            (true, _) => Reply::Refused(Why::Stale),
            (_, false) => Reply::Refused(Why::Inconsistent),
            _ => Reply::Done,
        };
        assert_eq!(self.ask(command), expected, "{at}");
        if expected == Reply::Done {
            self.checkpoint = Some((size, root));
        }
    }

    fn tile(&mut self, at: &str) {
        let level = self.dice.u8(..4);
        let tiles = (self.oracle.size() >> (8 * (u32::from(level) + 1))) + 2;
        let index = self.dice.u64(..tiles);
        let expected = self.oracle.tile(level, index);
        let stored = index < self.flushed >> (8 * u32::from(level));
        let reply = self.ask(Command::Tile(level, index));
        let bytes = (!expected.is_empty()).then(|| base64url(&hash_bytes(&expected)));
        if stored {
            assert_eq!(reply, Reply::Hashes(None), "{at}");
            let path = Tile::full(Kind::Hashes(level), index).path();
            assert_eq!(self.object.blobs.get(&path), bytes.as_ref(), "{at} {path}");
        } else {
            assert_eq!(reply, Reply::Hashes(bytes), "{at} {level} {index}");
        }
    }

    fn entries(&mut self, at: &str) {
        let size = self.oracle.size();
        let from = self.dice.u64(..size + 2);
        let to = from + self.dice.u64(..300);
        let Reply::Entries(first, entries) = self.ask(Command::Entries(from, to)) else {
            panic!("{at}");
        };
        assert_eq!(first, from.max(self.flushed * 256), "{at}");
        let ids: Vec<_> = entries.iter().map(|entry| &entry.0).collect();
        let expected = (first..to.min(size)).map(|i| &self.oracle.ids[i as usize]);
        assert_eq!(ids, expected.collect::<Vec<_>>(), "{at}");
    }

    fn subject(&mut self, at: &str) {
        let name = format!("s{}", self.dice.u64(..20));
        if self.dice.u64(..3) == 0 {
            let erase = Command::Append {
                entries: Vec::new(),
                erase: vec![name.clone()],
            };
            assert!(matches!(self.ask(erase), Reply::Appended(..)), "{at}");
            self.subjects.remove(&name);
            return;
        }
        self.next += 1;
        let kid = format!("k{}", self.next);
        let new = Subject {
            subject: name.clone(),
            kid: kid.clone(),
            wrapped: format!("w{}", self.next),
            most: 15,
        };
        let room = self.subjects.len() < 15 || self.subjects.contains_key(&name);
        let reply = self.ask(Command::Subjects(vec![new]));
        let number = *self.subjects.get(&name).unwrap_or(&self.next);
        let key = room.then(|| (format!("k{number}"), format!("w{number}")));
        assert_eq!(reply, Reply::Keys(vec![key.clone()]), "{at}");
        if room {
            self.subjects.insert(name, number);
        }
        let live = self.subjects.values().any(|n| *n == self.next);
        let known = live.then(|| (kid.clone(), format!("w{}", self.next)));
        assert_eq!(self.ask(Command::Keys(vec![kid])), Reply::Keys(vec![known]));
    }

    fn mirror(&mut self) {
        let newest = self.checkpoint.map_or(0, |(size, _)| size);
        let size = self.dice.u64(..newest + 10);
        assert_eq!(self.ask(Command::Mirrored(size)), Reply::Done);
        self.mirrored = self.mirrored.max(size.min(newest));
    }

    /// What is stored elsewhere is every leaf but those of the last tiles.
    fn end(mut self) {
        while self.object.flush() {
            self.flushed += 1;
        }
        let at = format!("seed {} at its end", self.seed);
        self.status(&at);
        for tile in 0..self.flushed {
            let path = Tile::full(Kind::Entries, tile).path();
            let bytes = from_base64url(&self.object.blobs[&path]).unwrap();
            let leaves = entries(&bytes).unwrap();
            let hashed: Vec<Hash> = leaves.into_iter().map(leaf_hash).collect();
            assert_eq!(hashed, self.oracle.tile(0, tile));
            let path = Tile::full(Kind::Hashes(0), tile).path();
            let bytes = from_base64url(&self.object.blobs[&path]).unwrap();
            assert_eq!(hashes(&bytes).unwrap(), hashed);
            let personal = from_base64url(&self.object.blobs[&personal_path(tile)]).unwrap();
            let personal: Vec<Vec<Sealed>> = serde_json::from_slice(&personal).unwrap();
            let id = &self.oracle.ids[tile as usize * 256 + 7];
            assert_eq!(personal[7], kept(id).2);
        }
        let entries = |(key, _): &(&String, &String)| key.starts_with("log/e/");
        let left = self.object.rows.iter().filter(entries).count() as u64;
        assert_eq!(left, self.oracle.size() % 256, "{at}");
        let ids = |(key, _): &(&String, &String)| key.starts_with("log/i/");
        let left = self.object.rows.iter().filter(ids).count() as u64;
        assert_eq!(left, self.flushed.min(ID_TILES), "{at}");
        assert!(self.oracle.size() > 20_000, "{}", self.oracle.size());
    }
}

// === single behaviours ===

/// A log with so many entries.
fn log(size: u64) -> Object {
    let mut object = Object::default();
    let ids: Vec<String> = (0..size).map(|n| format!("e{n}")).collect();
    for batch in ids.chunks(MAX_BATCH) {
        let names: Vec<&str> = batch.iter().map(String::as_str).collect();
        while object.ask(append(&names)) == Reply::Refused(Why::Full) {
            assert!(object.flush());
        }
    }
    object
}

#[test]
fn a_tile_of_tiles_is_written_with_the_tile_that_completes_it() {
    // 65,536 = 256 × 256 entries.
    let mut object = log(65_536 + 300);
    while object.flush() {}
    let level_1 = Tile::full(Kind::Hashes(1), 0).path();
    let bytes = from_base64url(&object.blobs[&level_1]).unwrap();
    let full = hashes(&bytes).unwrap();
    assert_eq!(full.len(), 256);
    // Evicted, the log is what it was.
    let before = object.status();
    object.machine = None;
    assert_eq!(object.status(), before);
    let mut all: Vec<Hash> = (0..65_836u64)
        .map(|n| leaf_hash(format!("leaf e{n}").as_bytes()))
        .collect();
    assert_eq!(before.root, root(&all));
    all.truncate(65_536);
    let level_2 = object.ask(Command::Tile(2, 0));
    assert_eq!(level_2, Reply::Hashes(Some(base64url(&root(&all).0))));
    assert_eq!(root(&full), root(&all));
    assert_eq!(object.ask(Command::Tile(1, 0)), Reply::Hashes(None));
}

#[test]
fn a_full_log_refuses_until_something_is_flushed() {
    let mut object = log(MAX_UNFLUSHED as u64);
    assert_eq!(object.ask(append(&["more"])), Reply::Refused(Why::Full));
    // What is there already is there.
    let again = object.ask(append(&["e0", "e4095"]));
    assert!(matches!(again, Reply::Appended(indexes, _) if indexes == [0, 4095]));
    assert!(object.flush());
    assert!(matches!(object.ask(append(&["more"])), Reply::Appended(..)));
}

#[test]
fn what_is_too_large_is_refused_whole() {
    let mut object = log(1);
    let id = |id: String| Kept(id, "leaf".into(), Vec::new());
    let sealed = |size| {
        Kept(
            "s".into(),
            "l".into(),
            vec![Sealed("who".into(), "k".into(), "x".repeat(size))],
        )
    };
    for bad in [
        vec![id(String::new())],
        vec![id("x".repeat(129))],
        vec![Kept("a".into(), "x".repeat(MAX_LEAF + 1), Vec::new())],
        vec![sealed(MAX_SEALED - 3)],
        (0..=MAX_BATCH).map(|n| id(n.to_string())).collect(),
        vec![id("good".into()), id(String::new())],
    ] {
        let reply = object.ask(Command::Append {
            entries: bad,
            erase: vec!["s".into()],
        });
        assert_eq!(reply, Reply::Refused(Why::TooLarge));
    }
    assert_eq!(object.status().size, 1);
    let good = vec![
        sealed(MAX_SEALED - 4),
        Kept("a".into(), "x".repeat(MAX_LEAF), Vec::new()),
    ];
    let reply = object.ask(Command::Append {
        entries: good,
        erase: Vec::new(),
    });
    assert!(matches!(reply, Reply::Appended(..)));
}

#[test]
fn flushing_what_is_not_next_changes_nothing() {
    let mut object = log(600);
    let before = object.rows.clone();
    for tile in [1, 2, 7, u64::MAX] {
        object.ask(Command::Flushed(tile));
    }
    assert_eq!(object.rows, before);
    assert!(object.flush() && object.flush() && !object.flush());
    let before = object.rows.clone();
    for tile in [0, 1, 2] {
        object.ask(Command::Flushed(tile));
    }
    assert_eq!(object.rows, before, "the unfinished tile stays");
}

#[test]
fn subjects_are_bounded_and_visitors_leave_places() {
    let mut object = Object::default();
    for n in 0..3 {
        let reply = object.ask(Command::Subjects(vec![subject(&format!("v{n}"), 2)]));
        assert_eq!(reply == Reply::Keys(vec![None]), n == 2);
    }
    let reply = object.ask(Command::Subjects(vec![subject("op", u32::MAX)]));
    assert!(matches!(reply, Reply::Keys(keys) if keys[0].is_some()));
    for n in 0..MAX_SUBJECTS {
        object.ask(Command::Subjects(vec![subject(&format!("n{n}"), u32::MAX)]));
    }
    assert_eq!(object.rows.len(), MAX_SUBJECTS);
    let long = subject(&"x".repeat(513), u32::MAX);
    assert_eq!(
        Object::default().ask(Command::Subjects(vec![long])),
        Reply::Keys(vec![None])
    );
}

#[test]
fn an_entry_and_an_erasure_are_one_transaction() {
    let mut object = Object::default();
    object.ask(Command::Subjects(vec![subject("a", 9), subject("b", 9)]));
    let command = Command::Append {
        entries: vec![kept("e")],
        erase: vec!["a".into(), "nobody".into()],
    };
    let (_, effects) = object.step(command);
    let keys: Vec<_> = effects.writes.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(keys, ["log/e/0000000000000000", "log/s/a"]);
    object.persist(effects);
    for evicted in [false, true] {
        if evicted {
            object.machine = None;
        }
        let reply = object.ask(Command::Keys(vec!["kid-a".into(), "kid-b".into()]));
        let b = Some(("kid-b".into(), "wrapped-b".into()));
        assert_eq!(reply, Reply::Keys(vec![None, b]));
    }
}

#[test]
fn rows_that_were_changed_are_noticed_and_nothing_more_is_signed() {
    let sign = |object: &mut Object| {
        let Status { size, root, .. } = object.status();
        object.ask(Command::StoreCheckpoint {
            size,
            root,
            text: format!("note {size}"),
        })
    };
    let last = "log/e/000000000000012b"; // 299
    type Change = fn(&mut BTreeMap<String, String>);
    let changes: [Change; 6] = [
        |rows| drop(rows.remove("log/e/000000000000012b")),
        |rows| drop(rows.remove("log/e/0000000000000105")),
        |rows| {
            let value = rows["log/e/0000000000000105"].replace("leaf", "lief");
            rows.insert("log/e/0000000000000105".into(), value);
        },
        |rows| {
            let a = rows["log/e/0000000000000105"].clone();
            let b = rows["log/e/0000000000000106"].clone();
            rows.insert("log/e/0000000000000105".into(), b);
            rows.insert("log/e/0000000000000106".into(), a);
        },
        |rows| drop(rows.remove("log/t/0000000000000001")),
        |rows| rows.retain(|key, _| key == "log/c"),
    ];
    for change in changes {
        let mut object = log(300);
        object.flush();
        assert!(object.rows.contains_key(last));
        assert_eq!(sign(&mut object), Reply::Done);
        assert!(!object.status().damaged);
        object.machine = None;
        change(&mut object.rows);
        assert!(object.status().damaged);
        // Events are still taken; only signing stops.
        assert!(matches!(
            object.ask(append(&["later"])),
            Reply::Appended(..)
        ));
        assert!(matches!(
            sign(&mut object),
            Reply::Refused(Why::Inconsistent | Why::Stale)
        ));
    }
}

#[test]
fn the_stored_form_is_pinned() {
    // A change here loses every log.
    let rows = [
        ("log/f", "1"),
        (
            "log/t/0000000000000001",
            r#"["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]"#,
        ),
        (
            "log/e/0000000000000100",
            r#"["id","leaf",[["who","kid","text"]]]"#,
        ),
        ("log/i/0000000000000000", r#"["old"]"#),
        ("log/s/vis_1", r#"["kid","wrapped"]"#),
        ("log/z", "[256]"),
        ("log/m", "256"),
        (
            "log/c",
            r#"{"size":256,"root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","text":"note","at":5}"#,
        ),
    ];
    let mut object = Object::default();
    for (key, value) in rows {
        object.rows.insert(key.into(), value.into());
    }
    let status = object.status();
    assert_eq!(
        (status.size, status.flushed, status.mirrored),
        (257, 1, 256)
    );
    assert_eq!(status.sizes, [256]);
    assert!(!status.damaged);
    let reply = object.ask(append(&["old", "id"]));
    assert!(matches!(reply, Reply::Appended(indexes, _) if indexes == [0, 256]));
    let kids = vec!["kid".to_owned()];
    let key = Some(("kid".into(), "wrapped".into()));
    assert_eq!(object.ask(Command::Keys(kids)), Reply::Keys(vec![key]));
}
