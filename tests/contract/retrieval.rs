//! How well passages are found: the pure parts of retrieval put together, measured against judgements. The figures are
//! printed (`cargo test --test contract retrieval -- --nocapture --include-ignored`), and floors a little below them hold.
//!
//! nDCG@10 (Järvelin and Kekäläinen, 2002): gains linear in the grade, discounted by the logarithm of the rank.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gatehouse::domain::retrieval::bm25::Collection;
use gatehouse::domain::retrieval::chunk::{Chunking, Passage, passages};
use gatehouse::domain::retrieval::codes;
use gatehouse::domain::retrieval::extract::extract;
use gatehouse::domain::retrieval::format::Format;
use gatehouse::domain::retrieval::fuse::{Ranking, reciprocal_ranks};
use gatehouse::domain::retrieval::rerank::{Candidate, MOST, rerank};
use gatehouse::domain::retrieval::terms::{terms_of_passage, terms_of_question};
use gatehouse::domain::retrieval::vector::{Unit, encode, nearest};

/// A passage and what it is judged as: a document or a section.
struct Entry {
    unit: String,
    filename: String,
    passage: Passage,
    counts: BTreeMap<String, u32>,
    length: u32,
}

impl Entry {
    fn of(unit: String, filename: &str, passage: Passage) -> Self {
        let (terms, length) = terms_of_passage(&passage);
        Self {
            unit,
            filename: filename.to_owned(),
            passage,
            counts: terms
                .into_iter()
                .map(|term| (term.text, term.count))
                .collect(),
            length,
        }
    }
}

/// Embeddings of texts. `EMBEDDINGS` names a folder with `<name>.json`, an object of text → numbers; where there is none,
/// the texts are written to `<name>.texts.json`, for a program that embeds them.
struct Embedded(BTreeMap<String, Unit>);

impl Embedded {
    fn of(name: &str, searched: &Searched, judged: &Judged) -> Option<Self> {
        let dir = std::env::var_os("EMBEDDINGS")?;
        let file = Path::new(&dir).join(format!("{name}.json"));
        let passages = searched.entries.iter().map(|entry| text_of(&entry.passage));
        let questions = judged.iter().map(|(question, _)| question.clone());
        let texts: BTreeSet<String> = passages.chain(questions).collect();
        let Ok(bytes) = fs::read(&file) else {
            let list = serde_json::to_vec(&texts).unwrap();
            fs::write(file.with_extension("texts.json"), list).unwrap();
            return None;
        };
        let numbers: BTreeMap<String, Vec<f32>> = serde_json::from_slice(&bytes).unwrap();
        let units = numbers
            .into_iter()
            .map(|(text, numbers)| (text, Unit::of(&numbers).unwrap()));
        Some(Self(units.collect()))
    }

    fn stored(&self, searched: &Searched) -> Vec<Vec<u8>> {
        let entries = searched.entries.iter();
        entries
            .map(|entry| encode(&self.0[&text_of(&entry.passage)]))
            .collect()
    }

    /// Places and cosines of the nearest passages, as an object finds them.
    fn near(&self, searched: &Searched, question: &str) -> Vec<(usize, f64)> {
        let stored = self.stored(searched);
        let found = nearest(&self.0[question], stored.iter().enumerate(), MOST);
        found
            .into_iter()
            .map(|(place, cosine)| (place, f64::from(cosine)))
            .collect()
    }
}

/// Of the ten nearest passages to each question, the share that is among so many likely ones by their codes.
fn recall(searched: &Searched, judged: &Judged, embedded: &Embedded) -> [f64; 4] {
    let stored = embedded.stored(searched);
    let rows: Vec<Vec<u8>> = stored
        .chunks(OF_ROW)
        .map(|row| codes::encode(row).unwrap())
        .collect();
    let mut found = LIKELY.map(|_| 0);
    for (question, _) in judged {
        let unit = &embedded.0[question];
        let asked = codes::Question::of(unit);
        let cosines = rows.iter().flat_map(|row| asked.cosines(row).unwrap());
        let mut likely: Vec<(usize, f32)> = cosines.enumerate().collect();
        likely.sort_by(|a, b| b.1.total_cmp(&a.1));
        let exact = nearest(unit, stored.iter().enumerate(), 10);
        for (found, most) in found.iter_mut().zip(LIKELY) {
            let among = |place| likely[..most].iter().any(|(other, _)| *other == place);
            *found += exact.iter().filter(|(place, _)| among(*place)).count();
        }
    }
    found.map(|found| found as f64 / 10.0 / judged.len() as f64)
}

/// Embeddings whose codes lie in one row, as `app::retrieval::ingest` sends them.
const OF_ROW: usize = 256;

/// As many likely passages as are looked at: 80 are as many for ten as 400 are for the fifty of a search.
const LIKELY: [usize; 4] = [10, 20, 40, 80];

/// What is embedded of a passage.
fn text_of(passage: &Passage) -> String {
    let text = [passage.heading.as_str(), "\n", &passage.text].concat();
    text.trim().to_owned()
}

struct Searched {
    entries: Vec<Entry>,
    collection: Collection,
    with: BTreeMap<String, u64>,
}

impl Searched {
    fn of(entries: Vec<Entry>) -> Self {
        let mut with: BTreeMap<String, u64> = BTreeMap::new();
        for term in entries.iter().flat_map(|entry| entry.counts.keys()) {
            *with.entry(term.clone()).or_default() += 1;
        }
        let collection = Collection {
            passages: entries.len() as u64,
            total_length: entries.iter().map(|entry| u64::from(entry.length)).sum(),
        };
        Self {
            entries,
            collection,
            with,
        }
    }

    /// Places and scores, best first.
    fn bm25(&self, question: &str) -> Vec<(usize, f64)> {
        let asked = terms_of_question(question);
        let score = |entry: &Entry| -> f64 {
            let parts = asked.iter().filter_map(|term| {
                let count = *entry.counts.get(&term.text)?;
                let weight = self.collection.weight(term.kind, self.with[&term.text]);
                Some(self.collection.part(weight, count, entry.length))
            });
            parts.sum()
        };
        let scores = self.entries.iter().map(score).enumerate();
        let mut found: Vec<(usize, f64)> = scores.filter(|(_, score)| *score > 0.0).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found
    }

    fn reranked(&self, question: &str, embedded: Option<&Embedded>) -> Vec<(usize, f64)> {
        let bm25 = self.bm25(question);
        let near = embedded.map(|embedded| embedded.near(self, question));
        let mut found = match &near {
            None => bm25,
            Some(near) => fused(&[&bm25, near])
                .into_iter()
                .map(|(place, _)| {
                    let own = bm25.iter().find(|(other, _)| *other == place);
                    (place, own.map_or(0.0, |(_, score)| *score))
                })
                .collect(),
        };
        let cosine = |place: usize| {
            let near = near.as_ref()?.iter().find(|(other, _)| *other == place);
            near.map(|(_, cosine)| *cosine)
        };
        let rest = found.split_off(found.len().min(MOST));
        let candidates: Vec<Candidate<'_>> = found
            .iter()
            .map(|(place, bm25)| {
                let entry = &self.entries[*place];
                Candidate {
                    text: &entry.passage.text,
                    heading: &entry.passage.heading,
                    filename: &entry.filename,
                    bm25: *bm25,
                    vector: cosine(*place),
                }
            })
            .collect();
        let order = rerank(question, &candidates).into_iter();
        order
            .map(|ranked| (found[ranked.place].0, ranked.score))
            .chain(rest)
            .collect()
    }

    /// The judged units in the order of their best passages.
    fn units(&self, order: &[(usize, f64)]) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let units = order
            .iter()
            .map(|(place, _)| self.entries[*place].unit.as_str());
        units.filter(|unit| seen.insert(*unit)).collect()
    }
}

fn ndcg(found: &[&str], grades: &BTreeMap<String, f64>) -> f64 {
    let discounted = |gains: &[f64]| -> f64 {
        let gains = gains.iter().take(10).zip(2_u32..);
        gains
            .map(|(gain, rank)| gain / f64::from(rank).log2())
            .sum()
    };
    let gains: Vec<f64> = found
        .iter()
        .map(|unit| grades.get(*unit).copied().unwrap_or(0.0))
        .collect();
    let mut best: Vec<f64> = grades.values().copied().collect();
    best.sort_by(|a, b| b.total_cmp(a));
    discounted(&gains) / discounted(&best)
}

type Judged = Vec<(String, BTreeMap<String, f64>)>;

/// Several orders as one, by the places in each.
fn fused(orders: &[&[(usize, f64)]]) -> Vec<(usize, f64)> {
    let places: Vec<Vec<usize>> = orders
        .iter()
        .map(|order| order.iter().map(|(place, _)| *place).collect())
        .collect();
    let rankings: Vec<Ranking<'_, usize>> = places
        .iter()
        .map(|places| Ranking {
            places,
            weight: 1.0,
        })
        .collect();
    reciprocal_ranks(&rankings)
}

/// Mean nDCG@10 of BM25 and of the reranked order; with embeddings that of each stage is printed too.
fn measure(name: &str, searched: &Searched, judged: &Judged) -> [f64; 2] {
    let embedded = Embedded::of(name, searched, judged);
    let mut sums = [0.0; 5];
    for (question, grades) in judged {
        let (bm25, reranked) = (searched.bm25(question), searched.reranked(question, None));
        let mut orders = vec![bm25.clone(), reranked.clone()];
        if let Some(embedded) = &embedded {
            let near = embedded.near(searched, question);
            orders.push(fused(&[&bm25, &near]));
            orders.push(near);
            orders.push(searched.reranked(question, Some(embedded)));
        }
        for (sum, order) in sums.iter_mut().zip(&orders) {
            *sum += ndcg(&searched.units(order), grades);
        }
        if std::env::var_os("RETRIEVAL_MISSES").is_some() {
            let of = |order: &[(usize, f64)]| ndcg(&searched.units(order), grades);
            println!(
                "{:.2} {:.2} {question} → {:?}",
                of(&bm25),
                of(&reranked),
                &searched.units(&reranked)[..2.min(reranked.len())]
            );
        }
    }
    let means = sums.map(|sum| sum / judged.len() as f64);
    let [bm25, reranked, fused, near, all] = means;
    println!(
        "{name}: {} passages, {} questions, nDCG@10: BM25 {bm25:.3}, reranked {reranked:.3}; embeddings {near:.3}, fused \
         with BM25 {fused:.3}, reranked {all:.3}",
        searched.entries.len(),
        judged.len()
    );
    if let Some(embedded) = &embedded {
        let recall = recall(searched, judged, embedded);
        println!("{name}: of the ten nearest, by codes among {LIKELY:?}: {recall:.3?}");
    }
    [bm25, reranked]
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn own_docs() -> Searched {
    let mut files: Vec<_> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    files.sort();
    let mut entries = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let blocks = extract(Format::Markdown, &fs::read(&path).unwrap()).unwrap();
        for passage in passages(&blocks, Chunking::DEFAULT) {
            let heading = passage.heading.rsplit(" > ").next().unwrap();
            entries.push(Entry::of(format!("{name}#{heading}"), &name, passage));
        }
    }
    Searched::of(entries)
}

#[test]
fn questions_about_the_docs_find_their_section() {
    let searched = own_docs();
    let table = include_str!("../vectors/retrieval.tsv");
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let judged: Judged = lines
        .map(|line| {
            let (question, section) = line.split_once('\t').unwrap();
            let exists = searched.entries.iter().any(|entry| entry.unit == section);
            assert!(exists, "docs have no section {section}");
            (
                question.to_owned(),
                BTreeMap::from([(section.to_owned(), 1.0)]),
            )
        })
        .collect();
    let [bm25, reranked] = measure("docs", &searched, &judged);
    assert!(bm25 >= FLOORS[0], "{bm25}");
    assert!(reranked >= FLOORS[1], "{reranked}");
}

/// A language of XQuAD (`tests/fixtures/xquad/README.md`): each question has one paragraph. Every `nth` question is asked.
fn xquad(folder: &Path, language: &str, nth: usize) -> [f64; 2] {
    #[derive(serde::Deserialize)]
    struct File {
        paragraphs: Vec<String>,
        questions: Vec<(String, usize)>,
    }
    let bytes = fs::read(folder.join(format!("{language}.json"))).unwrap();
    let file: File = serde_json::from_slice(&bytes).unwrap();
    let mut entries = Vec::new();
    for (place, paragraph) in file.paragraphs.iter().enumerate() {
        let blocks = extract(Format::Text, paragraph.as_bytes()).unwrap();
        let cut = passages(&blocks, Chunking::DEFAULT).into_iter();
        entries.extend(cut.map(|passage| Entry::of(place.to_string(), "", passage)));
    }
    let questions = file.questions.into_iter().step_by(nth);
    let judged: Judged = questions
        .map(|(question, place)| (question, BTreeMap::from([(place.to_string(), 1.0)])))
        .collect();
    measure(
        &format!("XQuAD {language}"),
        &Searched::of(entries),
        &judged,
    )
}

fn shipped() -> PathBuf {
    root().join("tests/fixtures/xquad")
}

#[test]
fn questions_find_their_paragraph_in_languages_with_and_without_spaces() {
    for (language, floors) in XQUAD {
        let [bm25, reranked] = xquad(&shipped(), language, 8);
        assert!(bm25 >= floors[0], "{language}, BM25: {bm25}");
        assert!(reranked >= floors[1], "{language}, reranked: {reranked}");
    }
}

#[test]
#[ignore = "asks every question, which takes a minute"]
fn all_questions_find_their_paragraph() {
    for (language, floors) in XQUAD {
        let [bm25, reranked] = xquad(&shipped(), language, 1);
        assert!(bm25 >= floors[0], "{language}, BM25: {bm25}");
        assert!(reranked >= floors[1], "{language}, reranked: {reranked}");
    }
    // The other languages of the collection, in files of the same form.
    let Some(others) = std::env::var_os("XQUAD") else {
        return;
    };
    for language in ["ar", "de", "el", "es", "hi", "ro", "ru", "tr", "vi"] {
        xquad(Path::new(&others), language, 1);
    }
}

/// Cranfield 1400: 1,400 abstracts on aerodynamics, 225 questions, judged in grades (Cleverdon, 1967). Nobody states its
/// licence, so it is not shipped. `CRANFIELD` names a folder with `cran_docs.json` (`id`, `title`, `body`),
/// `cran_queries.json` (`query number`, `query`) and `cran_qrels.json` (`query_num`, `id`, `position`: 1 is a complete
/// answer, 4 of least interest).
#[test]
#[ignore = "needs the Cranfield collection in the folder that CRANFIELD names"]
fn cranfield_s_questions_find_their_abstracts() {
    let dir = std::env::var("CRANFIELD").expect("CRANFIELD names the folder");
    let load = |name: &str| -> Vec<serde_json::Value> {
        serde_json::from_slice(&fs::read(Path::new(&dir).join(name)).unwrap()).unwrap()
    };
    let mut entries = Vec::new();
    for document in load("cran_docs.json") {
        let text = |key: &str| document[key].as_str().unwrap_or_default().trim().to_owned();
        let (id, title) = (document["id"].to_string(), text("title"));
        let body = text("body");
        // The abstract begins with its title once more.
        let body = body.strip_prefix(&title).unwrap_or(&body).to_owned();
        let Ok(mut blocks) = extract(Format::Text, body.as_bytes()) else {
            continue;
        };
        for block in &mut blocks {
            block.heading.clone_from(&title);
        }
        let cut = passages(&blocks, Chunking::DEFAULT).into_iter();
        entries.extend(cut.map(|passage| Entry::of(id.clone(), "", passage)));
    }
    let mut grades: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for judgement in load("cran_qrels.json") {
        let position = judgement["position"].as_i64().unwrap();
        let (question, id) = (
            judgement["query_num"].as_str().unwrap(),
            judgement["id"].as_str().unwrap(),
        );
        if (1..=4).contains(&position) {
            grades
                .entry(question.to_owned())
                .or_default()
                .insert(id.to_owned(), (5 - position) as f64);
        }
    }
    let judged: Judged = load("cran_queries.json")
        .into_iter()
        .filter_map(|question| {
            let grades = grades.remove(&question["query number"].to_string())?;
            Some((question["query"].as_str().unwrap().to_owned(), grades))
        })
        .collect();
    let [bm25, reranked] = measure("Cranfield", &Searched::of(entries), &judged);
    assert!(bm25 >= FLOORS[2], "{bm25}");
    assert!(reranked >= FLOORS[3], "{reranked}");
}

/// BM25 and reranked: of the docs (measured 0.731 and 0.766; they move as the docs grow, so that the floor only holds what is
/// broken), of Cranfield (0.533 and 0.536).
/// With embeddings of all-MiniLM-L6-v2: alone 0.796 and 0.500, fused 0.812 and 0.559, reranked 0.814 and 0.566.
const FLOORS: [f64; 4] = [0.6, 0.6, 0.52, 0.52];

/// BM25 and reranked, by language (measured 0.968 and 0.969, 0.968 and 0.968, 0.968 and 0.969).
const XQUAD: [(&str, [f64; 2]); 3] = [
    ("en", [0.955, 0.955]),
    ("zh", [0.955, 0.955]),
    ("th", [0.955, 0.955]),
];
