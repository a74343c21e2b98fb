//! Conversations that are too long: [`fit`] leaves out the oldest turns, [`compact`] shortens what is left by rule.
//!
//! Neither touches the system part's words beyond whitespace, the last turn of the user, tool calls, or thinking.

mod body;
mod compact;
mod fit;

pub use body::apply;
pub use compact::{Compacted, RECENT_TURNS, compact};
pub use fit::{Fitted, Overflow, fit};

use crate::domain::llm::normal::conversation::{Conversation, Part, Role, Turn};
use crate::domain::llm::tokens;
use crate::domain::settings::config::OnOverflow;

/// A conversation as it goes to a target, and what that took.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The conversation.
    pub conversation: Conversation,
    /// For each turn as it was, whether it is still there.
    pub kept: Vec<bool>,
    /// Turns that were left out.
    pub dropped_turns: usize,
    /// Bytes of text that compaction saved.
    pub saved_bytes: u64,
    /// Estimated tokens before and after.
    pub tokens_before: u64,
    /// See above.
    pub tokens_after: u64,
}

/// Everything that the alias allows, in the order that loses least: compaction first, and only then the oldest turns.
///
/// Turns are left out of the original and the rest is compacted again, so that no note speaks of text that is gone.
///
/// # Errors
/// [`Overflow`] when it is still too long for `limit` tokens of input; without a limit never.
pub fn shrink(
    conversation: Conversation,
    limit: Option<u64>,
    policy: OnOverflow,
    compacting: bool,
) -> Result<Shrunk, Overflow> {
    let tokens_before = tokens::conversation(&conversation);
    let limit = limit.unwrap_or(u64::MAX);
    if !compacting {
        return fit(conversation, limit, policy).map(|fitted| Shrunk {
            conversation: fitted.conversation,
            kept: fitted.kept,
            dropped_turns: fitted.dropped_turns,
            saved_bytes: 0,
            tokens_before,
            tokens_after: fitted.tokens_after,
        });
    }
    // What compaction saves need not be left out, but what is left saves less: at most three tries.
    let all = compact(conversation.clone(), RECENT_TURNS);
    let every = vec![true; conversation.turns.len()];
    let refusal = match fits(all, limit, every, tokens_before) {
        Ok(shrunk) => return Ok(shrunk),
        Err((refusal, _)) if policy == OnOverflow::Refuse => return Err(refusal),
        Err((refusal, saved)) => {
            let hopeful = fit(conversation.clone(), limit.saturating_add(saved), policy);
            let hopeful = hopeful.map_err(|overflow| Overflow {
                needed: overflow.needed.saturating_sub(saved),
                limit,
            })?;
            let compacted = compact(hopeful.conversation, RECENT_TURNS);
            match fits(compacted, limit, hopeful.kept, tokens_before) {
                Ok(shrunk) => return Ok(shrunk),
                Err(_) => refusal,
            }
        }
    };
    let fitted = fit(conversation, limit, policy).map_err(|overflow| Overflow {
        needed: overflow.needed.min(refusal.needed),
        limit,
    })?;
    let compacted = compact(fitted.conversation, RECENT_TURNS);
    fits(compacted, limit, fitted.kept, tokens_before).map_err(|(refusal, _)| refusal)
}

/// The refusal comes with the tokens that were saved.
fn fits(
    compacted: Compacted,
    limit: u64,
    kept: Vec<bool>,
    tokens_before: u64,
) -> Result<Shrunk, (Overflow, u64)> {
    let needed = tokens::conversation(&compacted.conversation);
    if needed > limit {
        return Err((Overflow { needed, limit }, compacted.saved_tokens));
    }
    Ok(Shrunk {
        conversation: compacted.conversation,
        dropped_turns: kept.iter().filter(|kept| !**kept).count(),
        kept,
        saved_bytes: compacted.saved_bytes,
        tokens_before,
        tokens_after: needed,
    })
}

/// The turn that asks: the last of the user that is more than tool results; the last of the user when all are.
fn asking_turn(conversation: &Conversation) -> Option<usize> {
    let last = |wanted: &dyn Fn(&Turn) -> bool| conversation.turns.iter().rposition(wanted);
    last(&|turn| is_question(turn)).or_else(|| last(&|turn| turn.role == Role::User))
}

/// Is it the user's own words, and not only what a tool answered?
fn is_question(turn: &Turn) -> bool {
    turn.role == Role::User
        && !turn
            .parts
            .iter()
            .all(|part| matches!(part, Part::ToolResult { .. }))
}

#[cfg(test)]
mod tests {
    use super::{Overflow, shrink};
    use crate::domain::llm::normal::conversation::{Conversation, Part, Role, Turn};
    use crate::domain::llm::tokens::{self, empty};
    use crate::domain::settings::config::OnOverflow;
    use proptest::prelude::*;

    const NOTE: &str = "[The same text as above.]";

    fn context() -> String {
        "A long context that a page sends with every question. ".repeat(8)
    }

    /// A page that sends its context with each of these questions.
    fn chat(questions: usize, filler: usize) -> Conversation {
        let mut conversation = empty();
        for i in 0..questions {
            conversation.turns.push(Turn {
                role: Role::User,
                parts: vec![Part::text(format!("{}\n\nquestion {i}", context()))],
            });
            conversation.turns.push(Turn {
                role: Role::Assistant,
                parts: vec![Part::text(format!("answer {i} {}", "word ".repeat(filler)))],
            });
        }
        conversation.turns.pop();
        conversation
    }

    fn text(conversation: &Conversation) -> String {
        let words = |part: &Part| match part {
            Part::Text { text, .. } => text.clone(),
            other => panic!("{other:?}"),
        };
        let parts = conversation.turns.iter().flat_map(|turn| &turn.parts);
        parts.map(words).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn compaction_alone_may_be_enough() {
        let conversation = chat(3, 0);
        let before = tokens::conversation(&conversation);
        let shrunk = shrink(
            conversation.clone(),
            Some(before - 1),
            OnOverflow::Refuse,
            true,
        )
        .unwrap();
        assert_eq!(shrunk.dropped_turns, 0);
        assert!(shrunk.saved_bytes > 300 && shrunk.tokens_after < before);
        assert_eq!(shrunk.tokens_before, before);
        assert_eq!(
            shrink(conversation, Some(before - 1), OnOverflow::Refuse, false),
            Err(Overflow {
                needed: before,
                limit: before - 1
            })
        );
    }

    #[test]
    fn without_a_limit_all_that_is_asked_for_is_done() {
        let conversation = chat(3, 0);
        let plain = shrink(conversation.clone(), None, OnOverflow::Trim, false).unwrap();
        assert_eq!(plain.conversation, conversation);
        assert!(
            shrink(conversation, None, OnOverflow::Refuse, true)
                .unwrap()
                .saved_bytes
                > 300
        );
    }

    #[test]
    fn a_note_never_speaks_of_text_that_was_left_out() {
        let conversation = chat(6, 40);
        let least = tokens::conversation(&chat(1, 0));
        let mut trimmed = 0;
        for limit in least..tokens::conversation(&conversation) {
            let shrunk = shrink(conversation.clone(), Some(limit), OnOverflow::Trim, true).unwrap();
            let text = text(&shrunk.conversation);
            if let Some(note) = text.find(NOTE) {
                assert!(
                    text.find(context().trim())
                        .is_some_and(|place| place < note)
                );
            }
            trimmed += usize::from(shrunk.dropped_turns > 0);
        }
        assert!(trimmed > 0);
    }

    #[test]
    fn a_refusal_names_the_limit_that_was_asked_for() {
        let refused = shrink(chat(3, 0), Some(10), OnOverflow::Trim, true).unwrap_err();
        assert_eq!(refused.limit, 10);
        assert!(refused.needed > 10);
    }

    proptest! {
        #[test]
        fn it_fits_or_is_refused(
            questions in 1_usize..9, filler in 0_usize..200, percent in 1_u64..120, compacting in any::<bool>(),
            policy in prop::sample::select(vec![OnOverflow::Refuse, OnOverflow::Trim]),
        ) {
            let conversation = chat(questions, filler);
            let before = tokens::conversation(&conversation);
            let limit = before * percent / 100;
            match shrink(conversation.clone(), Some(limit), policy, compacting) {
                Ok(shrunk) => {
                    prop_assert!(shrunk.tokens_after <= limit);
                    prop_assert_eq!(shrunk.tokens_after, tokens::conversation(&shrunk.conversation));
                    prop_assert_eq!(shrunk.tokens_before, before);
                    prop_assert_eq!(shrunk.conversation.turns.last(), conversation.turns.last());
                    let left = conversation.turns.len() - shrunk.conversation.turns.len();
                    prop_assert_eq!(left, shrunk.dropped_turns);
                    prop_assert!(policy == OnOverflow::Trim || left == 0);
                }
                Err(overflow) => {
                    prop_assert!(overflow.needed > limit && overflow.limit == limit);
                    prop_assert!(overflow.needed <= before);
                }
            }
        }
    }
}
