//! An owner's vector stores against a naive search that goes through every passage. Files come and go, storage fails at
//! every write, the machine is lost between calls, the index is put in order at any time.

use std::collections::BTreeMap;

use gatehouse::base::digest::{base64url, hex};
use gatehouse::base::rows::{MemoryRows, Row, RowMachine, Rows, RowsFault, Scan, Step};
use gatehouse::base::time::Millis;
use gatehouse::domain::answer::tokens::Kind;
use gatehouse::domain::retrieval::bm25::Collection;
use gatehouse::domain::retrieval::store::command::{
    Blame, Command, Failure, Full, Hit, Limits, NewFile, Page, Reply, Status,
};
use gatehouse::domain::retrieval::store::index::{Builder, Digest};
use gatehouse::domain::retrieval::store::machine::Stores;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases::check;

const LIMITS: Limits = Limits {
    stores: 2,
    files: 6,
    passages: 60,
    ttl: Millis(10_000_000_000),
};

// === rows that fail ===

/// Rows whose writes fail from the given one on.
struct Failing<'a> {
    rows: &'a mut MemoryRows,
    left: usize,
}

impl Failing<'_> {
    fn write(&mut self) -> Result<&mut MemoryRows, RowsFault> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| RowsFault("full".into()))?;
        Ok(self.rows)
    }
}

impl Rows for Failing<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RowsFault> {
        self.rows.get(key)
    }
    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Row>, RowsFault> {
        self.rows.scan(scan)
    }
    fn put(&mut self, key: &str, value: &[u8]) -> Result<(), RowsFault> {
        self.write()?.put(key, value)
    }
    fn remove(&mut self, key: &str) -> Result<(), RowsFault> {
        self.write()?.remove(key)
    }
    fn remove_all(&mut self, prefix: &str) -> Result<(), RowsFault> {
        self.write()?.remove_all(prefix)
    }
}

/// An object: its rows, its alarm, and how the next steps fail.
#[derive(Default)]
struct Object {
    rows: MemoryRows,
    alarm: Option<Millis>,
    now: Millis,
}

impl Object {
    fn step<T>(
        &mut self,
        fails_at: Option<usize>,
        act: impl Fn(&mut Failing<'_>, Millis) -> Result<(T, Step), RowsFault>,
    ) -> T {
        for left in [fails_at, None].into_iter().flatten().chain([usize::MAX]) {
            let before = self.rows.clone();
            let mut rows = Failing {
                rows: &mut self.rows,
                left,
            };
            match act(&mut rows, self.now) {
                Ok((told, step)) => {
                    if step.delete_all {
                        self.rows = MemoryRows::default();
                        self.alarm = None;
                    } else {
                        self.alarm = step.alarm.or(self.alarm);
                    }
                    return told;
                }
                Err(_) => self.rows = before,
            }
        }
        unreachable!("the last does not fail")
    }

    fn ask(&mut self, fails_at: Option<usize>, command: &Command) -> Reply {
        self.step(fails_at, |rows, now| {
            Stores.apply(rows, now, command.clone())
        })
    }

    fn wait(&mut self, time: u64, fails_at: Option<usize>) {
        self.now = self.now.plus(Millis(time));
        if self.alarm.is_some_and(|alarm| alarm <= self.now) {
            self.alarm = None;
            self.step(fails_at, |rows, now| Ok(((), Stores.wake(rows, now)?)));
        }
    }
}

// === the naive search ===

type Passage = Vec<(u8, u32)>;

#[derive(Clone, Debug, Default)]
struct Naive {
    /// Stores, their files that can be found, with numbers and passages.
    stores: BTreeMap<u8, BTreeMap<u8, (u64, Vec<Passage>)>>,
    /// Files that are there and cannot be found.
    others: BTreeMap<u8, Vec<u8>>,
}

impl Naive {
    fn passages(&self) -> usize {
        let files = self.stores.values().flat_map(BTreeMap::values);
        files.map(|(_, passages)| passages.len()).sum()
    }

    /// Scores of every passage that has a term of the question.
    fn scores(
        &self,
        store: u8,
        question: &[u8],
        only: Option<&[u64]>,
    ) -> BTreeMap<(u64, u32), f64> {
        let all: Vec<((u64, u32), &Passage)> = self.stores[&store]
            .values()
            .flat_map(|(number, passages)| {
                (0..)
                    .zip(passages)
                    .map(|(place, passage)| ((*number, place), passage))
            })
            .collect();
        let collection = Collection {
            passages: all.len() as u64,
            total_length: all.iter().map(|(_, p)| u64::from(length(p))).sum(),
        };
        let mut scores = BTreeMap::new();
        for (at, passage) in &all {
            let mut score = 0.0;
            for term in question {
                let with = all.iter().filter(|(_, p)| p.iter().any(|(t, _)| t == term));
                let weight = collection.weight(Kind::Word, with.count() as u64);
                let own = passage.iter().filter(|(t, _)| t == term);
                let count: u32 = own.map(|(_, count)| count).sum();
                if count > 0 {
                    score += collection.part(weight, count, length(passage));
                }
            }
            if score > 0.0 && only.is_none_or(|only| only.contains(&at.0)) {
                scores.insert(*at, score);
            }
        }
        scores
    }
}

fn length(passage: &Passage) -> u32 {
    passage.iter().map(|(_, count)| count).sum::<u32>() + 3
}

fn digest(term: u8) -> Digest {
    // Spread, so that they do not come in the order of the terms.
    (u64::from(term) + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_be_bytes()
}

// === what happens ===

#[derive(Clone, Debug)]
enum Deed {
    Make(u8),
    Unmake(u8),
    /// Store, file, passages; whether it ends, and how.
    Add(u8, u8, Vec<Passage>, Ending),
    Detach(u8, u8),
    Spoil(u8, u8),
    Drop(u8),
    Wait(u64),
    Search(u8, Vec<u8>, bool, u8),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Done,
    Failed,
    /// Nobody says anything any more.
    Never,
}

fn passage() -> impl Strategy<Value = Passage> {
    vec((0_u8..24, 1_u32..4), 1..6)
}

fn deed() -> impl Strategy<Value = Deed> {
    let ending =
        prop_oneof![6 => Just(Ending::Done), 1 => Just(Ending::Failed), 1 => Just(Ending::Never)];
    prop_oneof![
        2 => (0_u8..3).prop_map(Deed::Make),
        1 => (0_u8..2).prop_map(Deed::Unmake),
        12 => (0_u8..2, 0_u8..7, vec(passage(), 0..9), ending)
            .prop_map(|(store, file, passages, ending)| Deed::Add(store, file, passages, ending)),
        2 => (0_u8..2, 0_u8..7).prop_map(|(store, file)| Deed::Detach(store, file)),
        1 => (0_u8..2, 0_u8..7).prop_map(|(store, file)| Deed::Spoil(store, file)),
        1 => (0_u8..7).prop_map(Deed::Drop),
        4 => prop_oneof![Just(2_000_u64), Just(700_000)].prop_map(Deed::Wait),
        8 => (0_u8..2, vec(0_u8..24, 0..5), any::<bool>(), 1_u8..12)
            .prop_map(|(store, question, all, most)| Deed::Search(store, question, all, most)),
    ]
}

fn store_id(store: u8) -> String {
    format!("vs_{store:032}")
}

fn file_id(file: u8) -> String {
    format!("file_{file:032}")
}

fn sealed(number: u64, place: usize) -> String {
    format!("sealed-{number}-{place}")
}

/// Puts a file into a store. Gives its number when it is found from now on, or why it is not.
fn add(
    object: &mut Object,
    (store, file): (u8, u8),
    passages: &[Passage],
    ending: Ending,
    fails_at: Option<usize>,
) -> Result<u64, Reply> {
    let begin = Command::Begin {
        store: store_id(store),
        key: "key".into(),
        files: vec![NewFile {
            id: file_id(file),
            version: 1,
            epoch: 0,
            chunking: (800, 400),
            sealed: None,
        }],
        batch: None,
        limits: LIMITS,
    };
    let number = match object.ask(fails_at, &begin) {
        Reply::Files { files, .. } => files[0].number,
        other => return Err(other),
    };
    let mut index = Builder::default();
    for passage in passages {
        let terms = passage.iter().map(|(term, count)| (digest(*term), *count));
        index.passage(terms, length(passage));
    }
    let (length, blocks) = (index.length(), index.blocks());
    let half = passages.len() / 2;
    let texts: Vec<String> = (0..passages.len()).map(|at| sealed(number, at)).collect();
    let blocks = blocks.into_iter();
    let blocks: Vec<(String, String)> = blocks
        .map(|(first, block)| (hex(&first), base64url(&block)))
        .collect();
    for (at, passages, blocks) in [(0, &texts[..half], vec![]), (half, &texts[half..], blocks)] {
        let put = Command::Put {
            number,
            at: at as u32,
            passages: passages.to_vec(),
            blocks,
            vectors: Vec::new(),
            codes: Vec::new(),
            limits: LIMITS,
        };
        // Once more than needed: it may be repeated.
        for _ in 0..2 {
            match object.ask(fails_at, &put) {
                Reply::Done => {}
                other => return Err(other),
            }
        }
    }
    let failure = (ending == Ending::Failed).then(|| Failure {
        code: Blame::InvalidFile,
        message: "No.".into(),
    });
    if ending == Ending::Never {
        return Err(Reply::NotFound);
    }
    let end = Command::End {
        number,
        length,
        bytes: 1,
        model: None,
        failure,
    };
    match object.ask(fails_at, &end) {
        Reply::Done if ending == Ending::Done => Ok(number),
        other => Err(other),
    }
}

fn agrees(object: &mut Object, naive: &Naive, deed: &Deed) -> Result<(), TestCaseError> {
    let Deed::Search(store, question, all, most) = deed else {
        return Ok(());
    };
    let mut question = question.clone();
    question.sort_unstable();
    question.dedup();
    let numbers: Vec<u64> = naive.stores[store]
        .values()
        .map(|(number, _)| *number)
        .filter(|number| number % 2 == 0)
        .collect();
    let only = (!*all).then_some(numbers);
    let command = Command::Search {
        store: store_id(*store),
        questions: vec![question.iter().map(|t| (hex(&digest(*t)), false)).collect()],
        near: None,
        only: only.clone(),
        limit: u32::from(*most),
    };
    let before = object.rows.clone();
    let Reply::Passages { hits, files, .. } = object.ask(None, &command) else {
        panic!("{command:?}");
    };
    prop_assert_eq!(&object.rows, &before, "who only asks changes nothing");
    let scores = naive.scores(*store, &question, only.as_deref());
    let mut best: Vec<f64> = scores.values().copied().collect();
    best.sort_by(|a, b| b.total_cmp(a));
    best.truncate(usize::from(*most));
    prop_assert_eq!(hits.len(), best.len());
    for (hit, wanted) in hits.iter().zip(best) {
        let Hit {
            number,
            place,
            score,
            sealed: text,
            ..
        } = hit;
        let own = scores.get(&(*number, *place));
        prop_assert!(own.is_some(), "{:?} has no term of {:?}", hit, question);
        prop_assert!(
            (own.unwrap() - f64::from(*score)).abs() < 1e-4,
            "{:?} {:?}",
            hit,
            own
        );
        prop_assert!(
            (wanted - f64::from(*score)).abs() < 1e-4,
            "{:?} {}",
            hit,
            wanted
        );
        prop_assert_eq!(text, &sealed(*number, *place as usize));
        prop_assert!(files.iter().any(|file| file.number == *number));
    }
    Ok(())
}

fn happens(deeds: &[(Deed, Option<usize>)]) -> Result<(), TestCaseError> {
    let (mut object, mut naive) = (Object::default(), Naive::default());
    object.now = Millis(1_000);
    for (deed, fails_at) in deeds {
        let fails_at = *fails_at;
        match deed {
            Deed::Make(store) => {
                let command = Command::Create {
                    id: store_id(*store),
                    key: "key".into(),
                    sealed: "said".into(),
                    life: None,
                    limits: LIMITS,
                };
                let there = naive.stores.contains_key(store);
                let told = object.ask(fails_at, &command);
                if !there && naive.stores.len() == 2 {
                    prop_assert_eq!(
                        told,
                        Reply::Full {
                            limit: Full::Stores
                        }
                    );
                } else {
                    let one = matches!(&told, Reply::Stores { stores, .. } if stores.len() == 1);
                    prop_assert!(one);
                    naive.stores.entry(*store).or_default();
                }
            }
            Deed::Unmake(store) => {
                let id = store_id(*store);
                let told = object.ask(fails_at, &Command::Delete { id });
                let there = naive.stores.remove(store).is_some();
                naive.others.remove(store);
                prop_assert_eq!(told == Reply::Done, there);
            }
            Deed::Add(store, file, passages, ending) => {
                let told = add(&mut object, (*store, *file), passages, *ending, fails_at);
                let Some(files) = naive.stores.get_mut(store) else {
                    prop_assert_eq!(told, Err(Reply::NotFound));
                    continue;
                };
                let others = naive.others.entry(*store).or_default();
                let there = files.contains_key(file) || others.contains(file);
                if !there && files.len() + others.len() == LIMITS.files as usize {
                    prop_assert_eq!(told, Err(Reply::Full { limit: Full::Files }));
                    continue;
                }
                files.remove(file);
                others.retain(|other| other != file);
                match told {
                    Ok(number) => {
                        files.insert(*file, (number, passages.clone()));
                    }
                    Err(_) => others.push(*file),
                }
            }
            Deed::Detach(store, file) => {
                let command = Command::Detach {
                    store: store_id(*store),
                    file: file_id(*file),
                };
                object.ask(fails_at, &command);
                naive.stores.get_mut(store).map(|files| files.remove(file));
                let others = naive.others.get_mut(store);
                if let Some(others) = others {
                    others.retain(|other| other != file);
                }
            }
            Deed::Spoil(store, file) => {
                let found = naive.stores.get_mut(store);
                if let Some((number, _)) = found.and_then(|files| files.remove(file)) {
                    naive.others.entry(*store).or_default().push(*file);
                    let numbers = vec![number];
                    object.ask(fails_at, &Command::Spoil { numbers });
                }
            }
            Deed::Drop(file) => {
                let documents = vec![file_id(*file)];
                object.ask(fails_at, &Command::Drop { documents });
                for files in naive.stores.values_mut() {
                    files.remove(file);
                }
                for others in naive.others.values_mut() {
                    others.retain(|other| other != file);
                }
            }
            Deed::Wait(time) => object.wait(*time, fails_at),
            Deed::Search(store, ..) => {
                if naive.stores.contains_key(store) {
                    agrees(&mut object, &naive, deed)?;
                }
            }
        }
        let rows = object.rows.0.keys();
        let kept = rows.filter(|key| key.starts_with("p/")).count();
        prop_assert!(kept >= naive.passages() && kept <= LIMITS.passages as usize);
        prop_assert_eq!(object.rows.0.is_empty(), naive.stores.is_empty());
    }
    // What was never finished is ended, and of what is not found nothing is left.
    for _ in 0..40 {
        object.wait(700_000, None);
    }
    let rows = &object.rows.0;
    let count = |prefix: &str| rows.keys().filter(|key| key.starts_with(prefix)).count();
    prop_assert_eq!(count("p/"), naive.passages());
    prop_assert_eq!(count("i/"), 0);
    let page = || Page {
        limit: 99,
        ..Page::default()
    };
    for (store, files) in naive.stores.clone() {
        let command = Command::Files {
            store: store_id(store),
            batch: None,
            status: Some(Status::Completed),
            page: page(),
        };
        let Reply::Files { files: told, .. } = object.ask(None, &command) else {
            panic!();
        };
        prop_assert_eq!(told.len(), files.len());
        for term in 0..24 {
            let search = Deed::Search(store, vec![term], true, 50);
            agrees(&mut object, &naive, &search)?;
        }
    }
    for store in naive.stores.keys() {
        let id = store_id(*store);
        prop_assert_eq!(object.ask(None, &Command::Delete { id }), Reply::Done);
    }
    prop_assert!(object.rows.0.is_empty());
    Ok(())
}

#[test]
fn a_search_finds_what_a_naive_one_does_whatever_happened_before() {
    let fails = prop_oneof![3 => Just(None), 1 => (0_usize..12).prop_map(Some)];
    check(200, &vec((deed(), fails), 1..60), |deeds| happens(&deeds));
}
