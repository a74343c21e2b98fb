//! Which passages are nearest to a question by their embeddings.
//!
//! A row holds the length of an encoded embedding (2 bytes, little endian) and then the embeddings of neighbouring
//! passages, all together sealed. It is opened with a key that comes with the question and goes with it.
//!
//! | embeddings | how |
//! | --- | --- |
//! | up to [`EXACT_UP_TO`] | each is compared |
//! | more | by their [codes](crate::domain::retrieval::codes) the likeliest are chosen, and these are compared |
//!
//! A file without codes, as earlier versions of this program left them, is compared whole.

use std::collections::{BTreeMap, BTreeSet};

use super::command::Near;
use super::rows::{self, CODES, Part};
use super::sealing::{Made, open_made};
use super::search::{Place, Segments, part_of};
use crate::base::digest::{Bytes32, from_base64url};
use crate::base::rows::{Rows, RowsFault, Scan, unreadable};
use crate::base::secret::Secret;
use crate::domain::retrieval::codes::{self, Question};
use crate::domain::retrieval::vector::{Nearest, Unit, decode};

/// Rows that are in memory at the same time.
const ROWS_AT_ONCE: usize = 16;

/// The most embeddings of which each is compared: of 256 numbers they come to 1 MiB, and the rows of those that codes
/// choose, 4 × 50, to 0.8 MiB.
pub const EXACT_UP_TO: u32 = 4_096;

/// Embeddings that are compared for each passage that is asked for, where codes choose them.
pub const COMPARED: usize = 4;

/// Bytes of a row of embeddings: 4 KiB = 4 × 1,024. A row is opened whole for one of them, and the cipher takes some 20 ms
/// for a MiB there.
const ROW_BYTES: usize = 4_096;

/// Questions that are compared.
pub struct Asked<'n> {
    key: Secret<Bytes32>,
    model: &'n str,
    questions: Vec<Unit>,
    exact_up_to: u32,
}

/// The files of a store that a question is about, by their numbers: each with its segment.
type Files<'s> = BTreeMap<u64, (usize, &'s Part)>;

/// The nearest places to each question.
type Found = Vec<Nearest<Place>>;

impl<'n> Asked<'n> {
    /// `None` for what is none.
    pub fn of(near: &'n Near) -> Option<Self> {
        let key: Bytes32 = from_base64url(&near.key)?.try_into().ok()?;
        let questions = near.questions.iter().map(|question| {
            let numbers = decode(&from_base64url(question)?)?;
            Unit::of(&numbers)
        });
        Some(Self {
            key: Secret::new(key),
            model: &near.model,
            questions: questions.collect::<Option<_>>()?,
            exact_up_to: EXACT_UP_TO,
        })
    }

    /// The nearest passages to each question, with their cosines.
    pub fn ranked(
        &self,
        rows: &impl Rows,
        segments: &Segments,
        only: Option<&[u64]>,
        most: usize,
    ) -> Result<Vec<Vec<(Place, f32)>>, RowsFault> {
        let mut files = self.files(segments, only);
        let counts = files.values().map(|(_, part)| part.count);
        let all = counts.fold(0, u32::saturating_add);
        let mut found = self.none_yet(most);
        if all > self.exact_up_to {
            let likely = self.likely(rows, &mut files, most.saturating_mul(COMPARED))?;
            self.compare(rows, segments, likely, &mut found)?;
        }
        for (at, part) in files.into_values() {
            self.scan(rows, at, part, &mut found)?;
        }
        Ok(found.into_iter().map(Nearest::in_order).collect())
    }

    fn none_yet(&self, most: usize) -> Found {
        let questions = self.questions.iter();
        questions.map(|_| Nearest::new(most)).collect()
    }

    fn files<'s>(&self, segments: &'s Segments, only: Option<&[u64]>) -> Files<'s> {
        let parts = segments.iter().enumerate().flat_map(|(at, (_, segment))| {
            let parts = segment.files.iter().filter(|part| self.has(part, only));
            parts.map(move |part| (part.number, (at, part)))
        });
        parts.collect()
    }

    fn has(&self, part: &Part, only: Option<&[u64]>) -> bool {
        part.model.as_deref() == Some(self.model)
            && only.is_none_or(|only| only.contains(&part.number))
    }

    /// The passages that are likely to be nearest, by their codes. Files that have codes are taken away.
    fn likely(
        &self,
        rows: &impl Rows,
        files: &mut Files<'_>,
        most: usize,
    ) -> Result<BTreeSet<Place>, RowsFault> {
        let questions: Vec<Question> = self.questions.iter().map(Question::of).collect();
        let mut found = self.none_yet(most);
        let mut coded = BTreeSet::new();
        // Behind which row to go on. Files that nobody asked about are passed over.
        let mut after = files.keys().next().map(|number| rows::codes(*number));
        while let Some(behind) = after {
            let some = rows.scan(Scan {
                prefix: CODES,
                after: Some(&behind),
                descending: false,
                limit: ROWS_AT_ONCE,
            })?;
            let mut last = None;
            for (key, sealed) in &some {
                let (number, first) = rows::of_codes(key).ok_or_else(|| unreadable(key))?;
                last = Some(number);
                let Some((at, part)) = files.get(&number) else {
                    continue;
                };
                let plain = self.opened(Made::Codes, (number, first), key, sealed)?;
                let first = part.first.saturating_add(first);
                for (question, found) in questions.iter().zip(&mut found) {
                    // None of another number of numbers: those are passed over.
                    let cosines = question.cosines(&plain).into_iter().flatten();
                    for (place, cosine) in (first..).zip(cosines) {
                        found.add((*at, place), cosine);
                    }
                }
                coded.insert(number);
            }
            after = last
                .filter(|_| some.len() == ROWS_AT_ONCE)
                .and_then(|last| {
                    let (next, _) = files.range(last..).next()?;
                    let end = some.last().map(|(key, _)| key.clone());
                    end.max(Some(rows::codes(*next)))
                });
        }
        files.retain(|number, _| !coded.contains(number));
        let likely = found.into_iter().flat_map(Nearest::in_order);
        Ok(likely.map(|(place, _)| place).collect())
    }

    /// Compares the embeddings of some passages.
    fn compare(
        &self,
        rows: &impl Rows,
        segments: &Segments,
        chosen: BTreeSet<Place>,
        found: &mut Found,
    ) -> Result<(), RowsFault> {
        let mut row: Option<Row> = None;
        for (at, passage) in chosen {
            let Some(part) = part_of(segments, (at, passage)) else {
                continue;
            };
            let place = passage.saturating_sub(part.first);
            if row
                .as_ref()
                .is_none_or(|row| row.get(part.number, place).is_none())
            {
                row = self.row_of(rows, part.number, place)?;
            }
            let vector = row.as_ref().and_then(|row| row.get(part.number, place));
            for (question, found) in self.questions.iter().zip(found.iter_mut()) {
                if let Some(cosine) = vector.and_then(|vector| question.cosine(vector)) {
                    found.add((at, passage), cosine);
                }
            }
        }
        Ok(())
    }

    /// Compares all embeddings of a file.
    fn scan(
        &self,
        rows: &impl Rows,
        at: usize,
        part: &Part,
        found: &mut Found,
    ) -> Result<(), RowsFault> {
        let prefix = rows::vectors(part.number);
        let mut after: Option<String> = None;
        loop {
            let some = rows.scan(Scan {
                prefix: &prefix,
                after: after.as_deref(),
                descending: false,
                limit: ROWS_AT_ONCE,
            })?;
            for (key, sealed) in &some {
                let row = self.row(part.number, key, sealed)?;
                let first = part.first.saturating_add(row.first);
                for (question, found) in self.questions.iter().zip(found.iter_mut()) {
                    for (place, vector) in (first..).zip(row.vectors()) {
                        if let Some(cosine) = question.cosine(vector) {
                            found.add((at, place), cosine);
                        }
                    }
                }
            }
            match some.last() {
                Some((key, _)) if some.len() == ROWS_AT_ONCE => after = Some(key.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn opened(
        &self,
        made: Made,
        place: (u64, u32),
        key: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, RowsFault> {
        open_made(&self.key, made, place, sealed).map_err(|_| unreadable(key))
    }

    fn row(&self, number: u64, key: &str, sealed: &[u8]) -> Result<Row, RowsFault> {
        let first = rows::number(key).and_then(|first| u32::try_from(first).ok());
        let first = first.ok_or_else(|| unreadable(key))?;
        Ok(Row {
            number,
            first,
            plain: self.opened(Made::Embeddings, (number, first), key, sealed)?,
        })
    }

    /// The row that has a passage's embedding, where there is one.
    fn row_of(&self, rows: &impl Rows, number: u64, place: u32) -> Result<Option<Row>, RowsFault> {
        let behind = [&rows::vector(number, place), "~"].concat();
        let found = rows.scan(Scan {
            prefix: &rows::vectors(number),
            after: Some(&behind),
            descending: true,
            limit: 1,
        })?;
        let row = found.first();
        row.map(|(key, sealed)| self.row(number, key, sealed))
            .transpose()
    }

    /// The cosine of a passage to the question that it is nearest to.
    pub fn cosine(
        &self,
        rows: &impl Rows,
        part: &Part,
        place: u32,
    ) -> Result<Option<f32>, RowsFault> {
        if part.model.as_deref() != Some(self.model) {
            return Ok(None);
        }
        let row = self.row_of(rows, part.number, place)?;
        let vector = row.as_ref().and_then(|row| row.get(part.number, place));
        let cosines = self
            .questions
            .iter()
            .filter_map(|question| question.cosine(vector?));
        Ok(cosines.max_by(f32::total_cmp))
    }
}

/// A row of embeddings that was opened.
struct Row {
    number: u64,
    first: u32,
    plain: Vec<u8>,
}

impl Row {
    fn vectors(&self) -> impl Iterator<Item = &[u8]> {
        split(&self.plain)
    }

    fn get(&self, number: u64, place: u32) -> Option<&[u8]> {
        let at = place
            .checked_sub(self.first)
            .filter(|_| self.number == number)?;
        self.vectors().nth(at as usize)
    }
}

fn split(plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = plain.split_first_chunk::<2>();
    let parts = parts.filter(|(length, _)| **length != [0; 2]).into_iter();
    parts.flat_map(|(length, vectors)| vectors.chunks_exact(u16::from_le_bytes(*length).into()))
}

/// The rows that neighbouring embeddings become, before they are sealed: what is in each, the place of its first, and its
/// bytes. All embeddings have the same length, and one row has the codes of all.
pub fn rows_of(
    first: u32,
    vectors: &[Vec<u8>],
) -> impl Iterator<Item = (Made, u32, Vec<u8>)> + use<'_> {
    let length = vectors.first().map_or(1, Vec::len).max(1);
    let of_row = ROW_BYTES.checked_div(length).unwrap_or_default().max(1);
    let rows = vectors.chunks(of_row).zip((first..).step_by(of_row));
    let rows = rows.map(|(row, first)| (Made::Embeddings, first, joined(row)));
    let codes = codes::encode(vectors).into_iter();
    rows.chain(codes.map(move |codes| (Made::Codes, first, codes)))
}

fn joined(vectors: &[Vec<u8>]) -> Vec<u8> {
    let length = vectors.first().map_or(0, Vec::len);
    let length = u16::try_from(length).unwrap_or(0).to_le_bytes();
    let mut all = length.to_vec();
    for vector in vectors {
        all.extend_from_slice(vector);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{Asked, Near, Part, Place, joined, rows, rows_of};
    use crate::base::digest::base64url;
    use crate::base::rows::{MemoryRows, Row, Rows, RowsFault, Scan};
    use crate::base::secret::Secret;
    use crate::domain::retrieval::store::rows::Segment;
    use crate::domain::retrieval::store::sealing::{Made, seal_made};
    use crate::domain::retrieval::vector::{Unit, encode};

    const MODEL: &str = "embedder";
    /// Embeddings of a row, as few as make several rows.
    const IN_A_ROW: usize = 2;

    fn encoded(numbers: [f32; 2]) -> Vec<u8> {
        encode(&Unit::of(&numbers).unwrap())
    }

    fn near(model: &str, question: [f32; 2]) -> Near {
        Near {
            key: base64url(&[7; 32]),
            model: model.to_owned(),
            questions: vec![base64url(&encoded(question))],
            weights: (1.0, 1.0),
        }
    }

    const KEY: [u8; 32] = [7; 32];

    /// A file's embeddings in rows, without codes; its passages begin in the segment at `first`.
    fn file(rows: &mut MemoryRows, number: u64, first: u32, vectors: &[[f32; 2]]) -> Part {
        for (at, row) in vectors.chunks(IN_A_ROW).enumerate() {
            let place = u32::try_from(at * IN_A_ROW).unwrap();
            let vectors: Vec<Vec<u8>> = row.iter().map(|numbers| encoded(*numbers)).collect();
            let sealed = seal_made(
                &Secret::new(KEY),
                Made::Embeddings,
                (number, place),
                &[3; 24],
                &joined(&vectors),
            );
            rows.put(&rows::vector(number, place), &sealed).unwrap();
        }
        Part {
            file: format!("file-{number}"),
            number,
            first,
            count: u32::try_from(vectors.len()).unwrap(),
            model: Some(MODEL.to_owned()),
        }
    }

    fn places(found: Vec<Vec<(Place, f32)>>) -> Vec<Vec<Place>> {
        let of_one = |found: Vec<(Place, f32)>| found.into_iter().map(|(place, _)| place).collect();
        found.into_iter().map(of_one).collect()
    }

    /// East of the question are the first file's second and fifth embedding, and the second file's first.
    fn stored() -> (MemoryRows, Vec<(u64, Segment)>) {
        let mut rows = MemoryRows::default();
        let one = [[0.0, 1.0], [1.0, 0.1], [-1.0, 0.0], [0.0, -1.0], [1.0, 0.4]];
        let two = [[1.0, 0.2], [-1.0, 0.1]];
        let files = vec![file(&mut rows, 1, 0, &one), file(&mut rows, 2, 5, &two)];
        (rows, vec![(0, Segment { size: 7, files })])
    }

    #[test]
    fn the_nearest_come_first_whichever_row_and_file_they_lie_in() {
        let (rows, segments) = stored();
        let near = near(MODEL, [1.0, 0.0]);
        let asked = Asked::of(&near).unwrap();
        let ranked = |only, most| places(asked.ranked(&rows, &segments, only, most).unwrap());
        assert_eq!(ranked(None, 3), [[(0, 1), (0, 5), (0, 4)]]);
        assert_eq!(ranked(None, 1), [[(0, 1)]]);
        // A file that a filter leaves out is not looked at.
        assert_eq!(ranked(Some(&[2]), 1), [[(0, 5)]]);
        assert_eq!(ranked(Some(&[]), 3), [[]]);
    }

    #[test]
    fn embeddings_of_another_model_are_passed_over() {
        let (rows, segments) = stored();
        let near = near("another", [1.0, 0.0]);
        let asked = Asked::of(&near).unwrap();
        assert_eq!(asked.ranked(&rows, &segments, None, 3).unwrap(), [[]]);
        let part = &segments[0].1.files[0];
        assert_eq!(asked.cosine(&rows, part, 1), Ok(None));
    }

    #[test]
    fn a_passage_is_as_near_as_its_own_embedding() {
        let (rows, segments) = stored();
        let near = near(MODEL, [1.0, 0.0]);
        let asked = Asked::of(&near).unwrap();
        let part = &segments[0].1.files[0];
        for (place, cosine) in [(0, 0.0), (1, 0.995), (2, -1.0), (3, 0.0), (4, 0.928)] {
            let found = asked.cosine(&rows, part, place).unwrap().unwrap();
            assert!((found - cosine).abs() < 0.01, "{place}: {found}");
        }
    }

    #[test]
    fn another_key_opens_nothing_and_what_is_no_question_is_none() {
        let (rows, segments) = stored();
        let mut near = near(MODEL, [1.0, 0.0]);
        near.key = base64url(&[8; 32]);
        let asked = Asked::of(&near).unwrap();
        assert!(asked.ranked(&rows, &segments, None, 3).is_err());
        near.key = base64url(&[8; 31]);
        assert!(Asked::of(&near).is_none());
        near.key = base64url(&[8; 32]);
        near.questions.push("?".to_owned());
        assert!(Asked::of(&near).is_none());
    }

    // === many ===

    const DIMENSIONS: usize = 256;
    const OF_FILE: u32 = 200;

    fn random(random: &mut fastrand::Rng, spread: f32, around: &[f32]) -> Vec<f32> {
        // Sums of several are near enough to a normal distribution.
        let mut one = || (0..4).map(|_| random.f32() - 0.5).sum::<f32>();
        around.iter().map(|x| x + spread * one()).collect()
    }

    /// A file of as many topics as there are `around`, in rows as they are written.
    fn large(rows: &mut MemoryRows, number: u64, around: &[Vec<f32>], with_codes: bool) -> Part {
        let mut seed = fastrand::Rng::with_seed(number);
        let vectors: Vec<Vec<u8>> = (0..OF_FILE as usize)
            .map(|at| random(&mut seed, 1.0, &around[at % around.len()]))
            .map(|numbers| encode(&Unit::of(&numbers).unwrap()))
            .collect();
        for (made, first, plain) in rows_of(0, &vectors) {
            let row = match made {
                Made::Embeddings => rows::vector(number, first),
                Made::Codes => rows::code(number, first),
            };
            let sealed = seal_made(&Secret::new(KEY), made, (number, first), &[3; 24], &plain);
            if with_codes || made == Made::Embeddings {
                rows.put(&row, &sealed).unwrap();
            }
        }
        Part {
            file: format!("file-{number}"),
            number,
            first: 0,
            count: OF_FILE,
            model: Some(MODEL.to_owned()),
        }
    }

    fn topics() -> Vec<Vec<f32>> {
        let mut seed = fastrand::Rng::with_seed(99);
        let one = |_| random(&mut seed, 1.0, &[0.0; DIMENSIONS]);
        (0..40).map(one).collect()
    }

    /// Twelve files, two a segment. Between them are rows of files that are not asked about; the eighth has no codes.
    fn many() -> (MemoryRows, Vec<(u64, Segment)>, Vec<f32>) {
        let mut rows = MemoryRows::default();
        let topics = topics();
        let segments = (0..6_u64).map(|segment| {
            let files = [2 * segment, 2 * segment + 1].map(|n| {
                large(&mut rows, 10 * n + 3, &topics[..4], true);
                let around = &topics[3 * n as usize..][..4];
                Part {
                    first: if n % 2 == 0 { 0 } else { OF_FILE },
                    ..large(&mut rows, 10 * n + 5, around, n != 7)
                }
            });
            let size = 2 * OF_FILE;
            (
                segment,
                Segment {
                    size,
                    files: files.into(),
                },
            )
        });
        let segments = segments.collect();
        let mut seed = fastrand::Rng::with_seed(98);
        (rows, segments, random(&mut seed, 0.5, &topics[20]))
    }

    fn asking(questions: &[Vec<f32>]) -> Near {
        let encoded = |one: &Vec<f32>| base64url(&encode(&Unit::of(one).unwrap()));
        Near {
            questions: questions.iter().map(encoded).collect(),
            ..near(MODEL, [1.0, 0.0])
        }
    }

    /// Counts the bytes of rows that are read.
    struct Counted<'r>(&'r MemoryRows, Cell<usize>);

    impl Rows for Counted<'_> {
        fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RowsFault> {
            self.0.get(key)
        }
        fn scan(&self, scan: Scan<'_>) -> Result<Vec<Row>, RowsFault> {
            let found = self.0.scan(scan)?;
            let bytes: usize = found.iter().map(|(_, value)| value.len()).sum();
            self.1.set(self.1.get() + bytes);
            Ok(found)
        }
        fn put(&mut self, _: &str, _: &[u8]) -> Result<(), RowsFault> {
            unreachable!()
        }
        fn remove(&mut self, _: &str) -> Result<(), RowsFault> {
            unreachable!()
        }
        fn remove_all(&mut self, _: &str) -> Result<(), RowsFault> {
            unreachable!()
        }
    }

    #[test]
    fn by_codes_the_same_are_found_and_less_is_read() {
        let (rows, segments, question) = many();
        let near = asking(&[question]);
        let mut asked = Asked::of(&near).unwrap();
        let mut ranked = |exact_up_to, only, most| {
            asked.exact_up_to = exact_up_to;
            let rows = Counted(&rows, Cell::new(0));
            let found = places(asked.ranked(&rows, &segments, only, most).unwrap());
            (found, rows.1.get())
        };
        for only in [None, Some(&[35, 65, 75, 105][..])] {
            let (exact, found) = (ranked(u32::MAX, only, 20).0, ranked(0, only, 20).0);
            assert_eq!(found[0][..10], exact[0][..10]);
            assert_eq!(found[0].len(), 20);
        }
        let (all, some) = (ranked(u32::MAX, None, 2).1, ranked(0, None, 2).1);
        assert!(some * 3 < all * 2, "{some} {all}");
        // At the border every embedding is compared, one further none need be.
        assert_eq!(ranked(12 * OF_FILE, None, 2).1, all);
        assert_eq!(ranked(12 * OF_FILE - 1, None, 2).1, some);
    }

    #[test]
    fn what_has_no_codes_is_compared_whole() {
        let (rows, segments, _) = many();
        // Most like the file without codes.
        let mut seed = fastrand::Rng::with_seed(75);
        let first = random(&mut seed, 1.0, &topics()[21]);
        let near = asking(&[first]);
        let mut asked = Asked::of(&near).unwrap();
        asked.exact_up_to = 0;
        for only in [None, Some(&[75][..])] {
            let found = asked.ranked(&rows, &segments, only, 1).unwrap();
            assert_eq!(places(found), [[(3, OF_FILE)]]);
        }
    }

    #[test]
    fn each_question_has_its_own_nearest() {
        let (rows, segments, question) = many();
        let other = topics().swap_remove(9);
        let alone = |one: &Vec<f32>| {
            let near = asking(core::slice::from_ref(one));
            let asked = Asked::of(&near).unwrap();
            places(asked.ranked(&rows, &segments, None, 20).unwrap()).remove(0)
        };
        let both = asking(&[question.clone(), other.clone()]);
        let mut asked = Asked::of(&both).unwrap();
        asked.exact_up_to = 0;
        let found = places(asked.ranked(&rows, &segments, None, 20).unwrap());
        assert_eq!(found[0][..5], alone(&question)[..5]);
        assert_eq!(found[1][..5], alone(&other)[..5]);
    }

    #[test]
    fn each_passage_is_compared_by_its_own_embedding_whichever_came_before() {
        let (rows, segments, question) = many();
        let near = asking(&[question]);
        let asked = Asked::of(&near).unwrap();
        let chosen = [(0, 3), (0, OF_FILE + 3), (1, 0), (1, 1), (1, 199), (4, 2)];
        let mut found = asked.none_yet(chosen.len());
        asked
            .compare(&rows, &segments, chosen.into(), &mut found)
            .unwrap();
        let found = found.remove(0).in_order();
        assert_eq!(found.len(), chosen.len());
        for ((at, passage), cosine) in found {
            let part = &segments[at].1.files[usize::from(passage >= OF_FILE)];
            let own = asked.cosine(&rows, part, passage % OF_FILE).unwrap();
            assert_eq!(own, Some(cosine), "{at} {passage}");
        }
    }

    /// As after a change of `[retrieval] dimensions`.
    #[test]
    fn embeddings_of_another_number_of_numbers_are_passed_over() {
        let (rows, segments, question) = many();
        let near = asking(&[question[..DIMENSIONS / 2].to_vec()]);
        let mut asked = Asked::of(&near).unwrap();
        for exact_up_to in [0, u32::MAX] {
            asked.exact_up_to = exact_up_to;
            assert_eq!(asked.ranked(&rows, &segments, None, 5), Ok(vec![vec![]]));
        }
    }

    #[test]
    fn codes_that_were_changed_or_moved_are_refused() {
        let (rows, segments, question) = many();
        let near = asking(&[question]);
        let mut asked = Asked::of(&near).unwrap();
        asked.exact_up_to = 0;
        let refused = |change: &dyn Fn(&mut MemoryRows)| {
            let mut rows = rows.clone();
            change(&mut rows);
            asked.ranked(&rows, &segments, None, 5).is_err()
        };
        assert!(!refused(&|_| ()));
        let row = rows::code(25, 0);
        assert!(refused(&|rows| rows.0.get_mut(&row).unwrap()[80] ^= 1));
        assert!(refused(&|rows| {
            let other = rows.0[&rows::code(35, 0)].clone();
            rows.0.insert(row.clone(), other);
        }));
        let embeddings = rows.0[&rows::vector(25, 0)].clone();
        assert!(refused(&|rows| drop(
            rows.0.insert(row.clone(), embeddings.clone())
        )));
    }
}
