use super::super::command::{Command, Limits, NewFile, Page, Reply, Status};
use super::super::index::Builder;
use super::{Blame, Stores};
use crate::base::digest::{base64url, hex};
use crate::base::rows::{MemoryRows, RowMachine};
use crate::base::time::Millis;

pub const LIMITS: Limits = Limits {
    stores: 9,
    files: 99,
    passages: 999,
    ttl: Millis(1_000_000_000),
};

pub fn store(n: u8) -> String {
    format!("vs_{}", format!("{n:02}").repeat(16))
}

pub fn file(n: u8) -> String {
    format!("file_{}", format!("{n:02}").repeat(16))
}

/// An object that is asked at some time.
#[derive(Default)]
pub struct Object {
    pub rows: MemoryRows,
    pub now: Millis,
    pub alarm: Option<Millis>,
}

impl Object {
    pub fn ask(&mut self, command: Command) -> Reply {
        let (reply, step) = Stores.apply(&mut self.rows, self.now, command).unwrap();
        self.alarm = step.alarm.or(self.alarm);
        if step.delete_all {
            *self = Self {
                now: self.now,
                ..Self::default()
            };
        }
        reply
    }

    /// Time passes until the alarm.
    pub fn ring(&mut self) -> bool {
        let Some(at) = self.alarm.take() else {
            return false;
        };
        self.now = self.now.max(at);
        let step = Stores.wake(&mut self.rows, self.now).unwrap();
        self.alarm = step.alarm;
        true
    }

    pub fn make(&mut self, n: u8) -> Reply {
        self.ask(Command::Create {
            id: store(n),
            key: "sealed-key".into(),
            sealed: format!("sealed-name-{n}"),
            life: None,
            limits: LIMITS,
        })
    }

    pub fn begin(&mut self, of: u8, files: &[u8], batch: Option<&str>) -> Vec<u64> {
        let files = files.iter().map(|n| NewFile {
            id: file(*n),
            version: 1,
            epoch: 0,
            chunking: (800, 400),
            sealed: Some(format!("sealed-attributes-{n}")),
        });
        let begin = Command::Begin {
            store: store(of),
            key: "sealed-key".into(),
            files: files.collect(),
            batch: batch.map(str::to_owned),
            limits: LIMITS,
        };
        match self.ask(begin) {
            Reply::Files { files, .. } => files.iter().map(|file| file.number).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Passages, each of the one term that is its number among all.
    pub fn put(&mut self, number: u64, terms: &[u8]) -> Reply {
        let mut index = Builder::default();
        for term in terms {
            index.passage([([*term; 8], 1)], 1);
        }
        let blocks = index.blocks().into_iter();
        let passages = terms.iter().map(|term| format!("sealed-{term}"));
        self.ask(Command::Put {
            number,
            at: 0,
            passages: passages.collect(),
            blocks: blocks
                .map(|(first, block)| (hex(&first), base64url(&block)))
                .collect(),
            vectors: Vec::new(),
            codes: Vec::new(),
            limits: LIMITS,
        })
    }

    /// Something for embeddings and something for codes: the machine looks into neither.
    pub fn put_vectors(&mut self, number: u64) {
        let put = Command::Put {
            number,
            at: 0,
            passages: Vec::new(),
            blocks: Vec::new(),
            vectors: vec![(0, base64url(b"embeddings"))],
            codes: vec![(0, base64url(b"codes"))],
            limits: LIMITS,
        };
        assert_eq!(self.ask(put), Reply::Done);
    }

    pub fn end(&mut self, number: u64, length: u64) -> Reply {
        self.ask(Command::End {
            number,
            length,
            bytes: 100,
            model: None,
            failure: None,
        })
    }

    pub fn add(&mut self, of: u8, n: u8, terms: &[u8]) -> u64 {
        let number = self.begin(of, &[n], None)[0];
        assert_eq!(self.put(number, terms), Reply::Done);
        assert_eq!(self.end(number, terms.len() as u64), Reply::Done);
        number
    }

    pub fn find(&mut self, of: u8, term: u8) -> Vec<String> {
        let command = Command::Search {
            store: store(of),
            questions: vec![vec![(hex(&[term; 8]), false)]],
            near: None,
            only: None,
            limit: 9,
        };
        match self.ask(command) {
            Reply::Passages { hits, .. } => hits.into_iter().map(|hit| hit.sealed).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn counts(&mut self, of: u8) -> [u32; 4] {
        match self.ask(Command::Get { id: store(of) }) {
            Reply::Stores { stores, .. } => stores[0].counts,
            other => panic!("{other:?}"),
        }
    }

    fn keys(&self, prefix: &str) -> usize {
        let keys = self.rows.0.keys();
        keys.filter(|key| key.starts_with(prefix)).count()
    }
}

#[test]
fn a_file_is_found_from_its_end_on_and_not_before() {
    let mut object = Object::default();
    object.make(1);
    let number = object.begin(1, &[1], None)[0];
    assert_eq!(object.put(number, &[7, 8]), Reply::Done);
    assert_eq!(object.find(1, 7), [""; 0]);
    assert_eq!(object.counts(1), [1, 0, 0, 0]);
    assert_eq!(object.end(number, 2), Reply::Done);
    assert_eq!(object.find(1, 7), ["sealed-7"]);
    assert_eq!(object.counts(1), [0, 1, 0, 0]);
    // What ended takes nothing more.
    assert_eq!(object.put(number, &[9]), Reply::NotFound);
    assert_eq!(object.end(number, 2), Reply::NotFound);
}

#[test]
fn what_is_never_finished_is_ended_by_the_alarm() {
    let mut object = Object::default();
    object.make(1);
    let number = object.begin(1, &[1], None)[0];
    object.put(number, &[7]);
    assert!(object.ring());
    assert_eq!(object.now, Millis(600_000));
    assert_eq!(object.counts(1), [0, 0, 1, 0]);
    assert_eq!(
        (object.keys("p/"), object.keys("x/"), object.keys("i/")),
        (0, 0, 0)
    );
    let files = Command::File {
        store: store(1),
        file: file(1),
    };
    let Reply::Files { files, .. } = object.ask(files) else {
        panic!();
    };
    assert_eq!(files[0].failure.as_ref().unwrap().code, Blame::ServerError);
    // Whoever comes late is told, and nothing is found.
    assert_eq!(object.end(number, 1), Reply::NotFound);
    assert_eq!(object.find(1, 7), [""; 0]);
}

#[test]
fn a_file_that_begins_anew_leaves_its_earlier_passages_and_what_was_on_its_way() {
    let mut object = Object::default();
    object.make(1);
    object.add(1, 1, &[7]);
    let late = object.begin(1, &[1], None)[0];
    assert_eq!(object.find(1, 7), [""; 0]);
    object.put(late, &[8]);
    let last = object.add(1, 1, &[9]);
    assert!(last > late);
    assert_eq!(object.end(late, 1), Reply::NotFound);
    assert_eq!(
        (object.find(1, 8), object.find(1, 9)),
        (vec![], vec!["sealed-9".into()])
    );
    assert_eq!((object.keys("p/"), object.counts(1)), (1, [0, 1, 0, 0]));
}

#[test]
fn a_batch_is_given_up_as_far_as_it_is_on_its_way() {
    let mut object = Object::default();
    object.make(1);
    let numbers = object.begin(1, &[1, 2, 3], Some("vsfb_1"));
    object.put(numbers[0], &[7]);
    object.end(numbers[0], 1);
    object.put(numbers[1], &[8]);
    let ask = |cancel| Command::Batch {
        store: store(1),
        batch: "vsfb_1".into(),
        cancel,
    };
    let counts = |reply| match reply {
        Reply::Batch { batch } => (batch.counts, batch.cancelled),
        other => panic!("{other:?}"),
    };
    assert_eq!(counts(object.ask(ask(false))), ([2, 1, 0, 0], false));
    assert_eq!(counts(object.ask(ask(true))), ([0, 1, 0, 2], true));
    assert_eq!(object.end(numbers[1], 1), Reply::NotFound);
    assert_eq!((object.counts(1), object.keys("p/")), ([0, 1, 0, 2], 1));
    // A file of it that is added anew belongs to it no more.
    object.add(1, 1, &[9]);
    assert_eq!(counts(object.ask(ask(false))), ([0, 0, 0, 3], true));
}

#[test]
fn a_batch_is_told_of_for_a_day() {
    let mut object = Object::default();
    object.make(1);
    let told = |object: &mut Object| {
        let reply = object.ask(Command::Batch {
            store: store(1),
            batch: "vsfb_1".into(),
            cancel: false,
        });
        matches!(reply, Reply::Batch { .. })
    };
    object.begin(1, &[1], Some("vsfb_1"));
    object.now = object.now.plus(Millis::from_secs(86_400));
    object.begin(1, &[2], Some("vsfb_2"));
    assert!(told(&mut object));
    object.now = object.now.plus(Millis(1));
    object.begin(1, &[3], Some("vsfb_3"));
    assert!(!told(&mut object));
}

#[test]
fn many_files_lie_in_few_segments_and_what_is_gone_leaves_them() {
    let mut object = Object::default();
    object.make(1);
    for n in 1..=60 {
        object.add(1, n, &[n, 200]);
        object.now = object.now.plus(Millis(2_000));
        while object.alarm.is_some_and(|alarm| alarm <= object.now) {
            object.ring();
        }
    }
    assert!(object.keys("g/") <= 9, "{}", object.keys("g/"));
    for n in 1..=60 {
        assert_eq!(object.find(1, n), [format!("sealed-{n}")]);
    }
    assert_eq!(object.find(1, 200).len(), 9);
    let documents = (1..=55).map(file).collect();
    object.ask(Command::Drop { documents });
    assert_eq!((object.keys("p/"), object.find(1, 7).len()), (10, 0));
    for _ in 0..20 {
        object.now = object.now.plus(Millis(2_000));
        if object.alarm.is_some_and(|alarm| alarm <= object.now) {
            object.ring();
        }
    }
    // The terms of what is gone stand in no block any more.
    let blocks = object
        .rows
        .0
        .iter()
        .filter(|(key, _)| key.starts_with("x/"));
    let blocks: Vec<u8> = blocks.flat_map(|(_, block)| block.clone()).collect();
    assert!(!blocks.windows(8).any(|part| part == [7_u8; 8]));
    assert_eq!(object.find(1, 60), ["sealed-60"]);
}

#[test]
fn pages_are_cut_from_either_side() {
    let mut object = Object::default();
    object.make(1);
    for n in 1..=5 {
        object.add(1, n, &[n]);
    }
    let mut page = |page: Page| match object.ask(Command::Files {
        store: store(1),
        batch: None,
        status: Some(Status::Completed),
        page,
    }) {
        Reply::Files { files, more, .. } => {
            let ids = files
                .iter()
                .map(|one| one.told.id[5..7].parse::<u8>().unwrap());
            Some((ids.collect::<Vec<u8>>(), more))
        }
        _ => None,
    };
    let of = |after: Option<u8>, before: Option<u8>, ascending| Page {
        after: after.map(file),
        before: before.map(file),
        limit: 2,
        ascending,
    };
    assert_eq!(page(of(None, None, true)), Some((vec![1, 2], true)));
    assert_eq!(page(of(None, None, false)), Some((vec![5, 4], true)));
    assert_eq!(page(of(Some(3), None, true)), Some((vec![4, 5], false)));
    assert_eq!(page(of(None, Some(4), true)), Some((vec![2, 3], true)));
    assert_eq!(page(of(None, Some(2), false)), Some((vec![4, 3], true)));
    assert_eq!(page(of(Some(1), Some(3), true)), Some((vec![2], false)));
    assert_eq!(page(of(Some(9), None, true)), None);
}

#[test]
fn a_store_goes_with_all_that_is_in_it_and_the_last_one_with_the_key() {
    let mut object = Object::default();
    object.make(1);
    object.make(2);
    object.add(1, 1, &[7]);
    object.begin(1, &[2], Some("vsfb_1"));
    object.add(2, 1, &[7]);
    object.ask(Command::Delete { id: store(1) });
    assert_eq!(
        (object.keys("p/"), object.keys("i/"), object.keys("b/")),
        (1, 0, 0)
    );
    assert_eq!(object.find(2, 7), ["sealed-7"]);
    object.ask(Command::Delete { id: store(2) });
    assert!(object.rows.0.is_empty() && object.alarm.is_none());
    // Whoever only asks makes nothing.
    assert_eq!(object.ask(Command::Get { id: store(1) }), Reply::NotFound);
    object.ask(Command::Drop {
        documents: vec![file(1)],
    });
    assert!(object.rows.0.is_empty());
}

#[test]
fn another_key_is_told_the_one_that_counts() {
    let mut object = Object::default();
    object.make(1);
    let command = Command::Update {
        id: store(1),
        key: "another".into(),
        sealed: "x".into(),
        life: None,
        limits: LIMITS,
    };
    let key = "sealed-key".into();
    assert_eq!(object.ask(command), Reply::Other { key });
}
