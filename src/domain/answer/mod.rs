//! The built-in answerer: it finds passages of the site's own pages and quotes them. It is no language model.
//!
//! The order of reading: [`tokens`] makes terms of text, [`bm25`] weighs them, [`index`] ranks passages by them,
//! [`sentences`] cuts a passage where a quote may begin and end, [`respond`] puts the answer together, [`markdown`] keeps
//! quoted text from being markup, and [`chunks`] cuts the answer for a stream. Search in documents (`retrieval`) uses the
//! first two, [`sentences`] and the count of tokens.

pub mod bm25;
pub mod chunks;
pub mod index;
mod markdown;
pub mod respond;
pub mod sentences;
pub mod tokens;

pub use chunks::{count_tokens_estimate, split_for_stream};
pub use index::{Hit, Index, IndexError, Passage};
pub use respond::{Answer, Citation, answer, answer_of};

/// The language of an answer's own words. Quotes stay in the language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// Simplified Chinese.
    Zh,
}

impl Lang {
    /// Chinese when the text has any Han character, else English.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if tokens::capped(text).chars().any(tokens::is_han) {
            Self::Zh
        } else {
            Self::En
        }
    }

    /// The primary subtag (BCP 47).
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }
}
