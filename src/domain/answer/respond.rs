//! The answer: the best sentences of the best passages, word for word, each with its link.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Lang;
use super::index::{Hit, Index, Passage, Wanted};
use super::markdown::{escaped, link_target};
use super::sentences::{is_closed, sentences};
use super::tokens::terms;

/// The least share of the question that a passage must have to count as an answer.
const LEAST_COVERAGE: f64 = 0.3;
/// A further passage is quoted when it scores at least this share of the best one.
const LEAST_OF_BEST: f64 = 0.65;
/// A further sentence, likewise within its passage.
const LEAST_OF_BEST_SENTENCE: f64 = 0.6;
/// What a word counts in a sentence when the heading has it too: all sentences there are about it.
const IN_HEADING: f64 = 0.3;
/// What a piece of text is worth that is no whole sentence, against one that is.
const FRAGMENT: f64 = 0.5;
/// What a passage in the language of the question gains over the same in another.
const SAME_LANGUAGE: f64 = 1.5;

/// How many passages are looked at, quoted and listed.
const CANDIDATES: usize = 16;
const PASSAGES: usize = 3;
const NEAREST: usize = 3;
/// Sentences from the best passage, and from each further one.
const SENTENCES_OF_BEST: usize = 3;
const SENTENCES_OF_OTHERS: usize = 2;

/// What the built-in answerer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text to show, in Markdown. Text of pages in it cannot act as markup.
    pub markdown: String,
    /// What was quoted, in the order of the text. Empty: nothing on the site answers the question.
    pub citations: Vec<Citation>,
}

/// One quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// Where it stands: [`Passage::url`], which starts with `/`.
    pub url: String,
    /// `Page — Heading`.
    pub title: String,
    /// The words of the passage, unchanged: not Markdown, to be shown as text.
    pub quote: String,
}

/// Answers from the pages of the site alone. `lang` is the language of the answer's own words; see [`Lang::of`].
#[must_use]
pub fn answer(index: &Index, question: &str, lang: Lang) -> Answer {
    let hits = ranked(index, question, lang);
    let weights = index.weigh(question);
    let weights: BTreeMap<&str, f64> = weights.iter().map(Wanted::as_pair).collect();
    let best = hits.first().map_or(0.0, |hit| hit.score);
    let mut markdown = String::new();
    let mut citations = Vec::new();
    let good = hits
        .iter()
        .filter(|hit| hit.coverage >= LEAST_COVERAGE && hit.score >= best * LEAST_OF_BEST);
    let mut quoted: usize = 0;
    for hit in good {
        let most = if quoted == 0 {
            SENTENCES_OF_BEST
        } else {
            SENTENCES_OF_OTHERS
        };
        let quotes = quotes(hit.passage, &weights, most);
        if quotes.is_empty() {
            continue;
        }
        for citation in &quotes {
            markdown.push_str(&format!("\n\n> {}", escaped(&citation.quote)));
        }
        markdown.push_str(&format!("\n\n{}", link(hit.passage)));
        citations.extend(quotes);
        quoted = quoted.saturating_add(1);
        if quoted == PASSAGES {
            break;
        }
    }
    if citations.is_empty() {
        return nothing_found(index, &hits, lang);
    }
    let lead = match lang {
        Lang::En => "Built-in answer, no model. From this site's pages:",
        Lang::Zh => "内置回答，未使用模型。以下摘自本站页面：",
    };
    Answer {
        markdown: format!("{lead}{markdown}"),
        citations,
    }
}

/// Answers from passages that were found elsewhere, in their order, each quote with its passage's number. `None` where
/// none of them says enough of what is asked.
#[must_use]
pub fn answer_of(passages: Vec<Passage>, question: &str, lang: Lang) -> Option<Answer> {
    let index = Index::build(passages);
    let hits = index.search(question, CANDIDATES);
    let weights = index.weigh(question);
    let weights: BTreeMap<&str, f64> = weights.iter().map(Wanted::as_pair).collect();
    let mut markdown = String::new();
    let mut sources = String::new();
    let mut citations = Vec::new();
    let mut quoted: usize = 0;
    for (passage, number) in index.passages().iter().zip(1_u32..) {
        let hit = hits.iter().find(|hit| core::ptr::eq(hit.passage, passage));
        if quoted == PASSAGES || !hit.is_some_and(|hit| hit.coverage >= LEAST_COVERAGE) {
            continue;
        }
        let most = if quoted == 0 {
            SENTENCES_OF_BEST
        } else {
            SENTENCES_OF_OTHERS
        };
        let quotes = quotes(passage, &weights, most);
        if quotes.is_empty() {
            continue;
        }
        for citation in &quotes {
            markdown.push_str(&format!("\n\n> {} [{number}]", escaped(&citation.quote)));
        }
        sources.push_str(&format!("\n- [{number}] {}", escaped(&passage.page)));
        citations.extend(quotes);
        quoted = quoted.saturating_add(1);
    }
    let lead = match lang {
        Lang::En => "Built-in answer, no model. From the documents:",
        Lang::Zh => "内置回答，未使用模型。以下摘自文档：",
    };
    (!citations.is_empty()).then(|| Answer {
        markdown: format!("{lead}{markdown}\n{sources}"),
        citations,
    })
}

/// The passages that can be linked, best first, those in the reader's language ahead of equals.
fn ranked<'a>(index: &'a Index, question: &str, lang: Lang) -> Vec<Hit<'a>> {
    let mut hits = index.search(question, CANDIDATES);
    hits.retain(|hit| link_target(&hit.passage.url).is_some());
    for hit in &mut hits {
        if is_in(hit.passage, lang) {
            hit.score *= SAME_LANGUAGE;
        }
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits
}

/// At most `most` sentences that have most of the question, in the order of the text; neighbours make one quote.
fn quotes(passage: &Passage, weights: &BTreeMap<&str, f64>, most: usize) -> Vec<Citation> {
    let all = sentences(&passage.text);
    let in_heading = distinct(&passage.heading);
    let worth = |range: &Range<usize>| {
        let sentence = passage.text.get(range.clone()).unwrap_or_default();
        let worths = distinct(sentence).into_iter().filter_map(|term| {
            let weight = weights.get(term.as_str())?;
            let share = if in_heading.contains(&term) {
                IN_HEADING
            } else {
                1.0
            };
            Some(weight * share)
        });
        let whole = if is_closed(sentence) { 1.0 } else { FRAGMENT };
        whole * worths.sum::<f64>()
    };
    let mut by_worth: Vec<(usize, f64)> = all.iter().map(worth).enumerate().collect();
    by_worth.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = by_worth.first().map_or(0.0, |(_, worth)| *worth);
    // Where only the heading has the question's words all are worth nothing, and the first whole ones are taken.
    let is_whole = |place: usize| {
        let range = all.get(place).cloned().unwrap_or_default();
        passage.text.get(range).is_some_and(is_closed)
    };
    by_worth.retain(|(place, worth)| {
        *worth >= best * LEAST_OF_BEST_SENTENCE && (best > 0.0 || is_whole(*place))
    });
    by_worth.truncate(if best > 0.0 {
        most
    } else {
        SENTENCES_OF_OTHERS
    });
    let chosen: BTreeSet<usize> = by_worth.into_iter().map(|(place, _)| place).collect();

    let mut joined: Vec<Range<usize>> = Vec::new();
    let mut last_place = None;
    for (place, range) in all
        .into_iter()
        .enumerate()
        .filter(|(place, _)| chosen.contains(place))
    {
        match joined.last_mut() {
            Some(quote) if last_place == place.checked_sub(1) => quote.end = range.end,
            _ => joined.push(range),
        }
        last_place = Some(place);
    }
    let quoted = joined
        .into_iter()
        .filter_map(|range| passage.text.get(range));
    quoted
        .map(|quote| Citation {
            url: passage.url.clone(),
            title: title(passage),
            quote: quote.to_owned(),
        })
        .collect()
}

fn distinct(text: &str) -> BTreeSet<String> {
    terms(text).into_iter().map(|term| term.text).collect()
}

fn nothing_found(index: &Index, hits: &[Hit<'_>], lang: Lang) -> Answer {
    let (nothing, nearest, pages) = match lang {
        Lang::En => (
            "Built-in answer, no model. I found nothing on this site's pages that answers this.",
            "Nearest pages:",
            "Pages to start from:",
        ),
        Lang::Zh => (
            "内置回答，未使用模型。本站页面中没有找到能回答这个问题的内容。",
            "最接近的页面：",
            "可以从这些页面看起：",
        ),
    };
    let (head, passages): (_, Vec<&Passage>) = if hits.is_empty() {
        let mut all: Vec<&Passage> = index.passages().iter().collect();
        // The shortest addresses are the front doors.
        all.sort_by_key(|passage| (!is_in(passage, lang), page_of(passage).len()));
        (pages, all)
    } else {
        (nearest, hits.iter().map(|hit| hit.passage).collect())
    };
    let mut seen = BTreeSet::new();
    let links: Vec<String> = passages
        .into_iter()
        .filter(|passage| link_target(&passage.url).is_some() && seen.insert(page_of(passage)))
        .take(NEAREST)
        .map(|passage| format!("\n- {}", link(passage)))
        .collect();
    let mut markdown = nothing.to_owned();
    if !links.is_empty() {
        markdown.push_str(&format!("\n\n{head}\n{}", links.concat()));
    }
    Answer {
        markdown,
        citations: Vec::new(),
    }
}

fn is_in(passage: &Passage, lang: Lang) -> bool {
    passage.lang.split(['-', '_']).next() == Some(lang.tag())
}

/// The address without the anchor.
fn page_of(passage: &Passage) -> &str {
    passage.url.split('#').next().unwrap_or_default()
}

fn title(passage: &Passage) -> String {
    match (passage.page.trim(), passage.heading.trim()) {
        ("", "") => passage.url.clone(),
        ("", only) | (only, "") => only.to_owned(),
        // A page's title often is its first heading and the name of the site.
        (page, heading) if page.starts_with(heading) => page.to_owned(),
        (page, heading) => format!("{page} — {heading}"),
    }
}

fn link(passage: &Passage) -> String {
    let title = escaped(&title(passage));
    match link_target(&passage.url) {
        Some(target) => format!("[{title}]({target})"),
        None => title,
    }
}
