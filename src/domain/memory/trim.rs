//! Where a conversation may be cut: before a turn, and never between a call and its output.

use std::collections::BTreeMap;

use super::command::Mark;

/// Indexes before which a list of items may be cut, from the oldest on; 0, where nothing is cut, is not among them.
/// Each item comes with the number of the append that brought it.
///
/// A turn begins with what is said to the model. Several such items in a row are of one turn, unless they came
/// separately.
#[must_use]
pub fn cuts<'a>(items: impl IntoIterator<Item = (&'a Mark, u64)>) -> Vec<usize> {
    let items: Vec<(&Mark, u64)> = items.into_iter().collect();
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, (mark, _)) in items.iter().enumerate() {
        if let Some(joint) = &mark.joint {
            ends.insert(joint, at);
        }
    }
    let mut cuts = Vec::new();
    // Up to where what came so far is joined.
    let mut joined = 0;
    let mut before: Option<(bool, u64)> = None;
    for (at, (mark, append)) in items.iter().enumerate() {
        let begins = mark.asks && before.is_some_and(|last| last != (true, *append));
        if begins && joined < at {
            cuts.push(at);
        }
        let end = mark.joint.as_deref().and_then(|joint| ends.get(joint));
        joined = joined.max(end.copied().unwrap_or_default());
        before = Some((mark.asks, *append));
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::cuts;
    use crate::domain::memory::command::Mark;

    /// `u` is said to the model, `a` by it; a digit joins; a space is between two appends.
    fn of(said: &str) -> Vec<usize> {
        let mut append = 0;
        let mut items: Vec<(Mark, u64)> = Vec::new();
        for word in said.chars() {
            match word {
                ' ' => append += 1,
                'u' | 'a' => items.push((
                    Mark {
                        asks: word == 'u',
                        joint: None,
                    },
                    append,
                )),
                digit => items.push((
                    Mark {
                        asks: false,
                        joint: Some(digit.to_string()),
                    },
                    append,
                )),
            }
        }
        cuts(items.iter().map(|(mark, append)| (mark, *append)))
    }

    #[test]
    fn a_turn_goes_whole_and_a_call_with_its_output() {
        assert_eq!(of(""), [0_usize; 0]);
        assert_eq!(of("ua ua ua"), [2, 4]);
        // In one append too.
        assert_eq!(of("uauaua"), [2, 4]);
        // Several messages of one append are one turn; of two appends they are two.
        assert_eq!(of("uua uua"), [3]);
        assert_eq!(of("u u ua"), [1, 2]);
        // The call of the first answer is answered in the next append.
        assert_eq!(of("u1 1a ua"), [4]);
        // Something was asked in between.
        assert_eq!(of("u1 ua 1a ua"), [6]);
        assert_eq!(of("u12 2a ua 1a ua"), [9]);
        // An output that never came joins nothing.
        assert_eq!(of("u1 ua"), [2]);
        // What begins with an answer cannot be cut before it.
        assert_eq!(of("a ua"), [1]);
    }
}
