//! What a question to a vector store takes in its object, over rows in memory: `cargo bench --bench stores`.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    reason = "a program that measures time"
)]

use std::hint::black_box;
use std::time::Instant;

use gatehouse::base::digest::{base64url, hex};
use gatehouse::base::rows::{MemoryRows, RowMachine};
use gatehouse::base::secret::Secret;
use gatehouse::base::time::Millis;
use gatehouse::domain::answer::tokens::Kind;
use gatehouse::domain::retrieval::chunk::Passage;
use gatehouse::domain::retrieval::store::command::{Command, Limits, Near, NewFile, Reply};
use gatehouse::domain::retrieval::store::index::Builder;
use gatehouse::domain::retrieval::store::machine::Stores;
use gatehouse::domain::retrieval::store::near::rows_of;
use gatehouse::domain::retrieval::store::sealing::{Made, hidden, seal_made};
use gatehouse::domain::retrieval::terms::{terms_of_passage, terms_of_question};
use gatehouse::domain::retrieval::vector::{Unit, decode, encode, nearest};

const LIMITS: Limits = Limits {
    stores: 1,
    files: 1_000,
    passages: 100_000,
    ttl: Millis(u64::MAX / 2),
};

/// Passages of a file.
const OF_FILE: usize = 100;

/// Words of a passage, and of the language. A word's rank decides how often it comes, as Zipf has it.
const WORDS: usize = 120;
const VOCABULARY: f64 = 50_000.0;

fn main() {
    println!(
        "passages  build     joined    rows MB  segments  rare      mixed     common    embeddings  all compared  found"
    );
    for passages in [1_000, 10_000, 100_000] {
        run(passages);
    }
}

fn word(random: &mut fastrand::Rng) -> String {
    // The inverse of a distribution that falls with the rank.
    let rank = VOCABULARY.powf(random.f64()) as u64;
    format!("word{rank}")
}

fn passage(random: &mut fastrand::Rng) -> Passage {
    let words: Vec<String> = (0..WORDS).map(|_| word(random)).collect();
    Passage {
        text: words.join(" "),
        ..Passage::default()
    }
}

/// Numbers of an embedding, as `[retrieval] dimensions` has it.
const DIMENSIONS: usize = 256;

/// Passages of a topic come one after the other, as those of a document do.
const OF_TOPIC: usize = 50;

/// How far a passage lies from the middle of its topic, which is 1 from the origin.
const SPREAD: f32 = 0.8;

fn direction(seed: u64, length: f32) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    // Sums of four are near enough to a normal distribution.
    let one = |_| (0..4).map(|_| random.f32() - 0.5).sum();
    let made: Vec<f32> = (0..DIMENSIONS).map(one).collect();
    let norm = made.iter().map(|x| x * x).sum::<f32>().sqrt();
    made.iter().map(|x| x / norm * length).collect()
}

/// The embedding of a passage; questions are passages that nobody has.
fn embedding(topic: usize, passage: usize) -> Unit {
    let middle = direction(1_000_000 + topic as u64, 1.0);
    let noise = direction(9_000_000 + passage as u64, SPREAD);
    let numbers: Vec<f32> = middle.iter().zip(noise).map(|(a, b)| a + b).collect();
    Unit::of(&numbers).expect("not all of them are zero")
}

/// What it takes to compare every embedding of rows that are opened already, in milliseconds, and how many of the ten
/// nearest a search finds.
fn recall(object: &mut Object, key: &Secret<[u8; 32]>, stored: &[Vec<u8>]) -> (f64, f64) {
    const QUESTIONS: usize = 40;
    const NEAREST: usize = 10;
    let (mut seconds, mut among) = (0.0, 0);
    for n in 0..QUESTIONS {
        let question = embedding(n * stored.len() / OF_TOPIC / QUESTIONS, usize::MAX / 2 + n);
        // As it comes to the object.
        let sent = encode(&question);
        let question = Unit::of(&decode(&sent).expect("encoded")).expect("a unit");
        let start = Instant::now();
        let exact = nearest(&question, stored.iter().enumerate(), NEAREST);
        seconds += start.elapsed().as_secs_f64();
        let command = Command::Search {
            store: "vs_1".into(),
            questions: vec![Vec::new()],
            near: Some(Near {
                key: base64url(key.reveal()),
                model: "model".into(),
                questions: vec![base64url(&sent)],
                weights: (1.0, 1.0),
            }),
            only: None,
            limit: 50,
        };
        let Reply::Passages { hits, .. } = object.ask(command) else {
            panic!("no passages");
        };
        // Passages are known by their cosine to the last bit: the same numbers are multiplied in the same order.
        let found: Vec<f32> = hits.iter().filter_map(|hit| hit.cosine).collect();
        among += exact
            .iter()
            .filter(|(_, cosine)| found.contains(cosine))
            .count();
    }
    (
        seconds * 1000.0 / QUESTIONS as f64,
        among as f64 / (QUESTIONS * NEAREST) as f64,
    )
}

struct Object {
    rows: MemoryRows,
    now: Millis,
    alarm: Option<Millis>,
}

impl Object {
    fn ask(&mut self, command: Command) -> Reply {
        let (reply, step) = Stores
            .apply(&mut self.rows, self.now, command)
            .expect("rows in memory");
        self.alarm = step.alarm.or(self.alarm);
        reply
    }
}

fn run(passages: usize) {
    let key = Secret::new([7; 32]);
    let mut random = fastrand::Rng::with_seed(1);
    let mut object = Object {
        rows: MemoryRows::default(),
        now: Millis(0),
        alarm: None,
    };
    object.ask(Command::Create {
        id: "vs_1".into(),
        key: "key".into(),
        sealed: String::new(),
        life: None,
        limits: LIMITS,
    });
    let mut stored: Vec<Vec<u8>> = Vec::with_capacity(passages);
    let mut building = 0.0;
    let mut joining = 0.0;
    for file in 0..passages / OF_FILE {
        let begin = Command::Begin {
            store: "vs_1".into(),
            key: "key".into(),
            files: vec![NewFile {
                id: format!("file_{file:032}"),
                version: 1,
                epoch: 0,
                chunking: (800, 400),
                sealed: None,
            }],
            batch: None,
            limits: LIMITS,
        };
        let Reply::Files { files, .. } = object.ask(begin) else {
            panic!("no file began");
        };
        let number = files[0].number;
        let texts: Vec<Passage> = (0..OF_FILE).map(|_| passage(&mut random)).collect();
        let start = Instant::now();
        let mut index = Builder::default();
        for text in &texts {
            let (terms, length) = terms_of_passage(text);
            let digests = terms.iter().map(|t| (hidden(&key, &t.text), t.count));
            index.passage(digests, length);
        }
        let length = index.length();
        let blocks = index.blocks().into_iter();
        let blocks = blocks.map(|(first, block)| (hex(&first), base64url(&block)));
        let vectors: Vec<Vec<u8>> = (file * OF_FILE..)
            .take(texts.len())
            .map(|at| encode(&embedding(at / OF_TOPIC, at)))
            .collect();
        stored.extend_from_slice(&vectors);
        let made = rows_of(0, &vectors).map(|(made, first, plain)| {
            let sealed = seal_made(&key, made, (number, first), &[3; 24], &plain);
            (made, (first, base64url(&sealed)))
        });
        let (codes, vectors): (Vec<_>, Vec<_>) = made.partition(|(made, _)| *made == Made::Codes);
        let told =
            |rows: Vec<(Made, (u32, String))>| rows.into_iter().map(|(_, row)| row).collect();
        let put = Command::Put {
            number,
            at: 0,
            passages: texts.iter().map(|text| text.text.clone()).collect(),
            blocks: blocks.collect(),
            vectors: told(vectors),
            codes: told(codes),
            limits: LIMITS,
        };
        object.ask(put);
        object.ask(Command::End {
            number,
            length,
            bytes: 0,
            model: Some("model".into()),
            failure: None,
        });
        building += start.elapsed().as_secs_f64();
        let start = Instant::now();
        object.now = object.now.plus(Millis(1_000));
        while object.alarm.is_some_and(|alarm| alarm <= object.now) {
            let step = Stores.wake(&mut object.rows, object.now);
            object.alarm = step.expect("rows in memory").alarm;
        }
        joining += start.elapsed().as_secs_f64();
    }
    let bytes: usize = object.rows.0.iter().map(|(k, v)| k.len() + v.len()).sum();
    let segments = object.rows.0.keys().filter(|k| k.starts_with("g/")).count();
    let ask = |ranks: [u64; 4]| -> Vec<(String, bool)> {
        let words = ranks.map(|rank| format!("word{rank}")).join(" ");
        let terms = terms_of_question(&words).into_iter();
        terms
            .map(|t| (hex(&hidden(&key, &t.text)), t.kind == Kind::Single))
            .collect()
    };
    let mut took = Vec::new();
    for (ranks, is_near) in [
        ([40_001, 30_007, 20_011, 9_001], false),
        ([5, 300, 4_000, 30_000], false),
        ([1, 2, 3, 4], false),
        ([40_001, 30_007, 20_011, 9_001], true),
    ] {
        let question = ask(ranks);
        let near = is_near.then(|| Near {
            key: base64url(key.reveal()),
            model: "model".into(),
            questions: vec![base64url(&encode(&embedding(7, usize::MAX / 2)))],
            weights: (1.0, 1.0),
        });
        let mut times: Vec<f64> = (0..15)
            .map(|_| {
                let command = Command::Search {
                    store: "vs_1".into(),
                    questions: vec![question.clone()],
                    near: near.clone(),
                    only: None,
                    limit: 50,
                };
                let start = Instant::now();
                black_box(object.ask(command));
                start.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        took.push(times[times.len() / 2]);
    }
    let (compared, found) = recall(&mut object, &key, &stored);
    println!(
        "{passages:>8}  {building:>6.2} s  {joining:>6.2} s  {:>7.1}  {segments:>8}  {:>5.2} ms  {:>5.2} ms  {:>5.2} ms  {:>5.2} ms    {compared:>5.1} ms  {found:.3}",
        bytes as f64 / 1e6,
        took[0],
        took[1],
        took[2],
        took[3],
    );
}
