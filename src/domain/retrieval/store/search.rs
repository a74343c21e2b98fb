//! Which passages answer a question best: BM25 over digests of terms, and several questions in one ranking.

use super::command::{Hit, Near, Store, Term};
use super::index::{Digest, Posting, Postings, find};
use super::near;
use super::rows::{self, Part, Segment};
use crate::base::digest::from_hex;
use crate::base::rows::{Rows, RowsFault, Scan};
use crate::domain::answer::tokens::Kind;
use crate::domain::retrieval::bm25::Collection;
use crate::domain::retrieval::fuse::{Ranking, reciprocal_ranks};

/// Segments of a store by their numbers.
pub type Segments = [(u64, Segment)];

/// A passage: in which segment, which number, and its score.
type Ranked = (usize, u32, f32);

/// A passage: in which segment, and which number.
pub type Place = (usize, u32);

/// What is asked.
pub struct Asked<'a> {
    /// The terms of each question.
    pub questions: &'a [Vec<Term>],
    /// The same by their embeddings.
    pub near: Option<&'a Near>,
    /// In files of these numbers alone.
    pub only: Option<&'a [u64]>,
    /// At most so many.
    pub limit: usize,
}

/// The best passages of a store.
pub fn search(
    rows: &impl Rows,
    store: &Store,
    segments: &Segments,
    asked: &Asked<'_>,
) -> Result<Vec<Hit>, RowsFault> {
    let Asked { only, limit, .. } = *asked;
    let mut rankings = Vec::with_capacity(asked.questions.len());
    for question in asked.questions {
        rankings.push(ranked(rows, store, segments, question, only, limit)?);
    }
    let near = asked
        .near
        .and_then(|near| Some((near, near::Asked::of(near)?)));
    let by_meaning = match &near {
        Some((_, asked)) => asked.ranked(rows, segments, only, limit)?,
        None => Vec::new(),
    };
    let places = match (rankings.as_slice(), by_meaning.as_slice()) {
        ([single], []) => single
            .iter()
            .map(|(at, passage, _)| (*at, *passage))
            .collect(),
        (words, meanings) => {
            let weights = near.as_ref().map_or((1.0, 1.0), |(near, _)| near.weights);
            fused(words, meanings, weights, limit)
        }
    };
    let scores = |(at, passage): Place| {
        let all = rankings.iter().flatten();
        let own = all.filter(|(a, p, _)| (*a, *p) == (at, passage));
        own.map(|(_, _, score)| *score).fold(0.0, f32::max)
    };
    let mut hits = Vec::with_capacity(places.len());
    for (at, passage) in places {
        let Some(part) = part_of(segments, (at, passage)) else {
            continue;
        };
        let place = passage.saturating_sub(part.first);
        let cosine = match &near {
            Some((_, asked)) => match known(&by_meaning, (at, passage)) {
                None => asked.cosine(rows, part, place)?,
                cosine => cosine,
            },
            None => None,
        };
        let sealed = rows::text(rows, &rows::passage(part.number, place))?;
        hits.extend(sealed.map(|sealed| Hit {
            number: part.number,
            place,
            score: scores((at, passage)),
            cosine,
            sealed,
        }));
    }
    Ok(hits)
}

/// The file that has a passage, if it is there still.
pub fn part_of(segments: &Segments, (at, passage): Place) -> Option<&Part> {
    let (_, segment) = segments.get(at)?;
    let at = segment.files.partition_point(|part| part.first <= passage);
    let part = segment.files.get(at.checked_sub(1)?)?;
    (passage.saturating_sub(part.first) < part.count).then_some(part)
}

fn ranked(
    rows: &impl Rows,
    store: &Store,
    segments: &Segments,
    question: &[Term],
    only: Option<&[u64]>,
    limit: usize,
) -> Result<Vec<Ranked>, RowsFault> {
    let mut scores: Vec<Vec<f32>> = segments
        .iter()
        .map(|(_, segment)| vec![0.0; segment.size as usize])
        .collect();
    let collection = Collection {
        passages: store.passages.into(),
        total_length: store.length,
    };
    for (term, single) in question {
        let Some(digest) = digest_of(term) else {
            continue;
        };
        let mut blocks = Vec::with_capacity(segments.len());
        let mut having: u64 = 0;
        for (number, segment) in segments {
            let block = block_of(rows, *number, term)?;
            if let Some(block) = &block
                && let Some(postings) = find(block, digest)
            {
                let live = of_parts(postings, segment, |_| true).count();
                having = having.saturating_add(live as u64);
            }
            blocks.push(block);
        }
        let kind = if *single { Kind::Single } else { Kind::Word };
        let weight = collection.weight(kind, having);
        for ((block, (_, segment)), scores) in blocks.iter().zip(segments).zip(&mut scores) {
            let Some(postings) = block.as_deref().and_then(|block| find(block, digest)) else {
                continue;
            };
            let wanted = |part: &Part| only.is_none_or(|only| only.contains(&part.number));
            for posting in of_parts(postings, segment, wanted) {
                let worth = collection.part(weight, posting.count, posting.length);
                if let Some(score) = scores.get_mut(posting.passage as usize) {
                    *score += worth as f32;
                }
            }
        }
    }
    let scored = scores.iter().enumerate().flat_map(|(at, scores)| {
        let scored = scores.iter().enumerate().filter(|(_, score)| **score > 0.0);
        scored.map(move |(passage, score)| (at, passage as u32, *score))
    });
    Ok(best(scored.collect(), limit))
}

/// The postings of passages that are there still and wanted. Both are in order, so that they are walked together.
fn of_parts<'a>(
    postings: Postings<'a>,
    segment: &'a Segment,
    wanted: impl Fn(&Part) -> bool + 'a,
) -> impl Iterator<Item = Posting> + 'a {
    let mut parts = segment.files.iter();
    let mut now = parts.next();
    let mut is_wanted = now.is_some_and(&wanted);
    postings.filter(move |posting| {
        while let Some(part) = now
            && posting.passage >= part.first.saturating_add(part.count)
        {
            now = parts.next();
            is_wanted = now.is_some_and(&wanted);
        }
        is_wanted && now.is_some_and(|part| part.first <= posting.passage)
    })
}

/// The best, in order; of equals the older first.
fn best(mut all: Vec<Ranked>, limit: usize) -> Vec<Ranked> {
    let order = |a: &Ranked, b: &Ranked| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1)));
    if let Some(last) = limit.checked_sub(1).filter(|last| *last < all.len()) {
        all.select_nth_unstable_by(last, order);
    }
    all.truncate(limit);
    all.sort_unstable_by(order);
    all
}

/// The cosine of a passage to the one question that there is, where it was among the nearest.
fn known(nearest: &[Vec<(Place, f32)>], wanted: Place) -> Option<f32> {
    let [nearest] = nearest else {
        return None;
    };
    let found = nearest.iter().find(|(place, _)| *place == wanted);
    found.map(|(_, cosine)| *cosine)
}

/// One ranking of several: what counts is the place in each.
fn fused(
    words: &[Vec<Ranked>],
    meanings: &[Vec<(Place, f32)>],
    (words_count, meanings_count): (f64, f64),
    limit: usize,
) -> Vec<Place> {
    let places = |ranking: &Vec<Ranked>| {
        let places = ranking.iter().map(|(at, passage, _)| (*at, *passage));
        places.collect()
    };
    let words: Vec<Vec<Place>> = words.iter().map(places).collect();
    let places = |ranking: &Vec<(Place, f32)>| ranking.iter().map(|(place, _)| *place).collect();
    let meanings: Vec<Vec<Place>> = meanings.iter().map(places).collect();
    let of = |weight| move |places| Ranking { places, weight };
    let of_words = words.iter().map(Vec::as_slice).map(of(words_count));
    let of_meanings = meanings.iter().map(Vec::as_slice).map(of(meanings_count));
    let rankings: Vec<Ranking<'_, Place>> = of_words.chain(of_meanings).collect();
    let fused = reciprocal_ranks(&rankings).into_iter().take(limit);
    fused.map(|(place, _)| place).collect()
}

/// The block in which a term stands, if it does.
fn block_of(rows: &impl Rows, segment: u64, term: &str) -> Result<Option<Vec<u8>>, RowsFault> {
    // The last that begins with it or before it; `~` sorts behind every digit.
    let behind = [&rows::block(segment, term), "~"].concat();
    let found = rows.scan(Scan {
        prefix: &rows::blocks(segment),
        after: Some(&behind),
        descending: true,
        limit: 1,
    })?;
    Ok(found.into_iter().next().map(|(_, block)| block))
}

fn digest_of(term: &str) -> Option<Digest> {
    from_hex(term)?.try_into().ok()
}
