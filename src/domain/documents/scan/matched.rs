//! What a check found at a place of a block.

use super::report::Rule;

/// A match.
#[derive(Debug)]
pub(super) struct Match {
    pub rule: Rule,
    /// How many bytes before the place it begins.
    pub back: usize,
    /// Its length in bytes, from where it begins.
    pub length: usize,
    /// Masked already.
    pub excerpt: String,
}

impl Match {
    pub(super) const fn new(rule: Rule, length: usize, excerpt: String) -> Self {
        Self {
            rule,
            back: 0,
            length,
            excerpt,
        }
    }

    /// The same, begun that many bytes before.
    pub(super) const fn from(mut self, back: usize) -> Self {
        self.back = back;
        self.length = self.length.saturating_add(back);
        self
    }
}

/// The first bytes of a secret, which are those that every one of its kind has, and how long it is.
pub(super) fn masked(shown: &[u8], length: usize) -> String {
    format!("{}… ({length} bytes)", String::from_utf8_lossy(shown))
}
