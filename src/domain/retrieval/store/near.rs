//! Which passages are nearest to a question by their embeddings: an exact scan.
//!
//! A row holds the length of an encoded embedding (2 bytes, little endian) and then the embeddings of neighbouring
//! passages, all together sealed. It is opened with a key that comes with the question and goes with it.

use super::command::Near;
use super::rows::{self, Part};
use super::sealing::open_vectors;
use super::search::{Place, Segments};
use crate::base::digest::{Bytes32, from_base64url};
use crate::base::rows::{Rows, RowsFault, Scan};
use crate::base::secret::Secret;
use crate::domain::retrieval::vector::{Unit, decode, nearest};

/// Rows that are in memory at the same time.
const ROWS_AT_ONCE: usize = 4;

/// Questions that are compared.
pub struct Asked<'n> {
    key: Secret<Bytes32>,
    model: &'n str,
    questions: Vec<Unit>,
}

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
        })
    }

    /// The nearest passages to each question.
    pub fn ranked(
        &self,
        rows: &impl Rows,
        segments: &Segments,
        only: Option<&[u64]>,
        most: usize,
    ) -> Result<Vec<Vec<Place>>, RowsFault> {
        let mut best: Vec<Vec<(Place, f32)>> = vec![Vec::new(); self.questions.len()];
        for (at, (_, segment)) in segments.iter().enumerate() {
            for part in segment.files.iter().filter(|part| self.has(part, only)) {
                self.scan(rows, part, |first, vectors| {
                    let numbers = part.first.saturating_add(first)..;
                    for (question, best) in self.questions.iter().zip(&mut best) {
                        let placed = numbers.clone().map(|number| (at, number));
                        best.extend(nearest(question, placed.zip(vectors.iter()), most));
                    }
                })?;
                for best in &mut best {
                    best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                    best.truncate(most);
                }
            }
        }
        let places = best.into_iter();
        let places = places.map(|best| best.into_iter().map(|(place, _)| place).collect());
        Ok(places.collect())
    }

    fn has(&self, part: &Part, only: Option<&[u64]>) -> bool {
        part.model.as_deref() == Some(self.model)
            && only.is_none_or(|only| only.contains(&part.number))
    }

    /// Goes through the embeddings of a file: the place of the first, and some.
    fn scan(
        &self,
        rows: &impl Rows,
        part: &Part,
        mut seen: impl FnMut(u32, Vec<&[u8]>),
    ) -> Result<(), RowsFault> {
        let prefix = rows::vectors(part.number);
        let mut after: Option<String> = None;
        loop {
            let found = rows.scan(Scan {
                prefix: &prefix,
                after: after.as_deref(),
                descending: false,
                limit: ROWS_AT_ONCE,
            })?;
            for (key, sealed) in &found {
                let (first, plain) = self.opened(part.number, key, sealed)?;
                seen(first, split(&plain));
            }
            match found.last() {
                Some((key, _)) if found.len() == ROWS_AT_ONCE => after = Some(key.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn opened(&self, number: u64, key: &str, sealed: &[u8]) -> Result<(u32, Vec<u8>), RowsFault> {
        let first = rows::number(key).and_then(|first| u32::try_from(first).ok());
        let first = first.ok_or_else(|| crate::base::rows::unreadable(key))?;
        let plain = open_vectors(&self.key, (number, first), sealed);
        let plain = plain.map_err(|_| crate::base::rows::unreadable(key))?;
        Ok((first, plain))
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
        let behind = [&rows::vector(part.number, place), "~"].concat();
        let found = rows.scan(Scan {
            prefix: &rows::vectors(part.number),
            after: Some(&behind),
            descending: true,
            limit: 1,
        })?;
        let Some((key, sealed)) = found.first() else {
            return Ok(None);
        };
        let (first, plain) = self.opened(part.number, key, sealed)?;
        let vectors = split(&plain);
        let vector = vectors.get(place.saturating_sub(first) as usize);
        let cosines = self
            .questions
            .iter()
            .filter_map(|question| question.cosine(vector?));
        Ok(cosines.max_by(f32::total_cmp))
    }
}

/// The embeddings of a row that was opened.
fn split(plain: &[u8]) -> Vec<&[u8]> {
    match plain.split_first_chunk::<2>() {
        Some((length, vectors)) if *length != [0; 2] => vectors
            .chunks_exact(u16::from_le_bytes(*length).into())
            .collect(),
        _ => Vec::new(),
    }
}

/// A row of embeddings before it is sealed. All have the same length.
#[must_use]
pub fn joined(vectors: &[Vec<u8>]) -> Vec<u8> {
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
    use super::{Asked, Near, Part, joined, rows};
    use crate::base::digest::base64url;
    use crate::base::rows::{MemoryRows, Rows as _};
    use crate::base::secret::Secret;
    use crate::domain::retrieval::store::rows::Segment;
    use crate::domain::retrieval::store::sealing::seal_vectors;
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

    /// A file's embeddings in rows; its passages begin in the segment at `first`.
    fn file(rows: &mut MemoryRows, number: u64, first: u32, vectors: &[[f32; 2]]) -> Part {
        for (at, row) in vectors.chunks(IN_A_ROW).enumerate() {
            let place = u32::try_from(at * IN_A_ROW).unwrap();
            let vectors: Vec<Vec<u8>> = row.iter().map(|numbers| encoded(*numbers)).collect();
            let sealed = seal_vectors(
                &Secret::new([7; 32]),
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
        let ranked = |only, most| asked.ranked(&rows, &segments, only, most).unwrap();
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
}
