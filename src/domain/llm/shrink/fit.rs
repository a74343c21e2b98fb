//! Leaving out the oldest turns of a conversation that does not fit a model's context.

use std::collections::BTreeMap;

use super::{asking_turn, is_question};
use crate::domain::llm::normal::conversation::{Conversation, Part, Role};
use crate::domain::llm::tokens;
use crate::domain::settings::config::OnOverflow;

/// A conversation that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// What is left of it.
    pub conversation: Conversation,
    /// For each turn as it was, whether it is still there.
    pub kept: Vec<bool>,
    /// Turns that were left out.
    pub dropped_turns: usize,
    /// Estimated tokens before.
    pub tokens_before: u64,
    /// Estimated tokens after.
    pub tokens_after: u64,
}

/// It does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Estimated tokens of the whole conversation, or, where turns may be left out, of what must stay.
    pub needed: u64,
    /// Tokens that fit.
    pub limit: u64,
}

/// Makes a conversation fit `limit` tokens of input (the model's context less the output's ceiling).
///
/// With [`OnOverflow::Trim`] the oldest exchanges go first, each whole: a question of the user with everything up to the
/// next one. When only the last exchange is left, its older steps go: a tool call together with its results. What
/// stays: the system part, instructions between the turns, the user's last question, the last turn of the user, and the
/// very last turn. So a call is never parted from its result, and what is left begins with the user where it did before.
///
/// # Errors
/// [`Overflow`] when it may not be shortened or is still too long.
pub fn fit(conversation: Conversation, limit: u64, policy: OnOverflow) -> Result<Fitted, Overflow> {
    let sizes: Vec<u64> = conversation.turns.iter().map(tokens::turn).collect();
    let frame = tokens::frame(&conversation);
    let before = sizes.iter().fold(frame, |sum, n| sum.saturating_add(*n));
    if before > limit && policy == OnOverflow::Refuse {
        return Err(Overflow {
            needed: before,
            limit,
        });
    }
    let mut kept = vec![true; conversation.turns.len()];
    let mut after = before;
    for unit in droppable_units(&conversation) {
        if after <= limit {
            break;
        }
        for turn in unit {
            if let (Some(kept), Some(size)) = (kept.get_mut(turn), sizes.get(turn)) {
                *kept = false;
                after = after.saturating_sub(*size);
            }
        }
    }
    if after > limit {
        return Err(Overflow {
            needed: after,
            limit,
        });
    }
    let mut fitted = conversation;
    let mut stays = kept.iter();
    fitted
        .turns
        .retain(|_| stays.next().copied().unwrap_or(true));
    Ok(Fitted {
        conversation: fitted,
        dropped_turns: kept.iter().filter(|kept| !**kept).count(),
        kept,
        tokens_before: before,
        tokens_after: after,
    })
}

/// Sets of turns that may be left out together, in the order in which they go.
fn droppable_units(conversation: &Conversation) -> Vec<Vec<usize>> {
    let turns = &conversation.turns;
    let bonds = Bonds::of(conversation);
    let asking = asking_turn(conversation).unwrap_or(turns.len());
    let last_of_user = turns.iter().rposition(|turn| turn.role == Role::User);
    let must_stay =
        |i: &usize| *i == asking || Some(*i) == last_of_user || i.saturating_add(1) == turns.len();
    let is_instruction = |i: &usize| turns.get(*i).is_some_and(|turn| turn.role == Role::System);

    let mut exchanges: Vec<Vec<usize>> = Vec::new();
    let mut steps: Vec<Vec<usize>> = Vec::new();
    for (i, turn) in turns.iter().enumerate() {
        let (list, begins) = if i < asking {
            (&mut exchanges, is_question(turn))
        } else {
            (&mut steps, true)
        };
        match list.last_mut() {
            Some(unit) if !begins || bonds.spans(i) => unit.push(i),
            _ => list.push(vec![i]),
        }
    }
    exchanges
        .into_iter()
        .chain(steps)
        .filter(|unit| !unit.iter().any(must_stay) && bonds.stay_within(unit))
        .map(|mut unit| {
            unit.retain(|i| !is_instruction(i));
            unit
        })
        .collect()
}

/// Which turns hold calls and results of each other.
struct Bonds {
    /// For each turn, the last that has a result of its calls; itself when none has.
    last_result: Vec<usize>,
    /// For each turn, whether a call before it has a result in it or behind it.
    spanned: Vec<bool>,
}

impl Bonds {
    /// An id that is used again belongs to the latest call before the result.
    fn of(conversation: &Conversation) -> Self {
        let turns = &conversation.turns;
        let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last_result: Vec<usize> = (0..turns.len()).collect();
        for (i, turn) in turns.iter().enumerate() {
            for part in &turn.parts {
                match part {
                    Part::ToolCall(call) => {
                        calls.insert(&call.id, i);
                    }
                    Part::ToolResult { id, .. } => {
                        let Some(call) = calls.get(id.as_str()) else {
                            continue;
                        };
                        if let Some(last) = last_result.get_mut(*call) {
                            *last = i;
                        }
                    }
                    _ => {}
                }
            }
        }
        let mut reached = None;
        let spanned = last_result
            .iter()
            .enumerate()
            .map(|(i, last)| {
                let spanned = reached.is_some_and(|reached| i <= reached);
                reached = reached.max(Some(*last));
                spanned
            })
            .collect();
        Self {
            last_result,
            spanned,
        }
    }

    fn spans(&self, turn: usize) -> bool {
        self.spanned.get(turn).copied().unwrap_or(false)
    }

    /// Have all calls of these neighbouring turns their results among them? The results have their calls there anyway,
    /// because no piece begins at a turn that is spanned.
    fn stay_within(&self, unit: &[usize]) -> bool {
        unit.last().is_none_or(|last| {
            unit.iter()
                .all(|turn| self.last_result.get(*turn).is_none_or(|r| r <= last))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Overflow, fit};
    use crate::domain::llm::normal::conversation::{Conversation, Part, Role, ToolCall, Turn};
    use crate::domain::llm::tokens::{self, empty};
    use crate::domain::settings::config::OnOverflow;
    use proptest::prelude::*;

    fn says(role: Role, words: &str) -> Turn {
        Turn {
            role,
            parts: vec![Part::text(words)],
        }
    }

    fn calls(ids: &[&str]) -> Turn {
        Turn {
            role: Role::Assistant,
            parts: ids
                .iter()
                .map(|id| {
                    Part::ToolCall(ToolCall {
                        id: (*id).into(),
                        name: "weather".into(),
                        arguments: "{}".into(),
                    })
                })
                .collect(),
        }
    }

    fn results(ids: &[&str]) -> Turn {
        Turn {
            role: Role::User,
            parts: ids
                .iter()
                .map(|id| Part::ToolResult {
                    id: (*id).into(),
                    content: vec![Part::text("It will rain all day, says the tool.")],
                    is_error: false,
                    cache: None,
                })
                .collect(),
        }
    }

    fn of(turns: Vec<Turn>) -> Conversation {
        let mut conversation = empty();
        conversation.system = vec![Part::text("Be brief.")];
        conversation.turns = turns;
        conversation
    }

    /// The words of what is left when it may take `limit` tokens.
    fn left(turns: &[Turn], limit: u64) -> Result<Vec<String>, u64> {
        let show = |turn: &Turn| match &turn.parts[0] {
            Part::Text { text, .. } => text.clone(),
            Part::ToolCall(call) => format!("call {}", call.id),
            Part::ToolResult { id, .. } => format!("result {id}"),
            other => panic!("{other:?}"),
        };
        fit(of(turns.to_vec()), limit, OnOverflow::Trim)
            .map(|fitted| fitted.conversation.turns.iter().map(show).collect())
            .map_err(|overflow| overflow.needed)
    }

    fn size(turns: &[Turn]) -> u64 {
        tokens::conversation(&of(turns.to_vec()))
    }

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_is_refused_with_counts() {
        let conversation = of(vec![says(Role::User, "one"), says(Role::Assistant, "two")]);
        let size = tokens::conversation(&conversation);
        for policy in [OnOverflow::Refuse, OnOverflow::Trim] {
            let fitted = fit(conversation.clone(), size, policy).unwrap();
            assert_eq!(fitted.conversation, conversation);
            assert_eq!((fitted.tokens_before, fitted.tokens_after), (size, size));
            assert_eq!(fitted.dropped_turns, 0);
        }
        assert_eq!(
            fit(conversation, size - 1, OnOverflow::Refuse),
            Err(Overflow {
                needed: size,
                limit: size - 1
            })
        );
    }

    #[test]
    fn whole_exchanges_go_oldest_first() {
        let turns = [
            says(Role::User, "first question"),
            says(Role::Assistant, "first answer"),
            says(Role::System, "From now on in French."),
            says(Role::User, "second question"),
            calls(&["a"]),
            results(&["a"]),
            says(Role::Assistant, "second answer"),
            says(Role::User, "third question"),
        ];
        let all = size(&turns);
        let instruction = "From now on in French.";
        assert_eq!(
            left(&turns, all - 1).unwrap(),
            [
                instruction,
                "second question",
                "call a",
                "result a",
                "second answer",
                "third question"
            ]
        );
        let second = all - size(&turns[..2]) + size(&[]);
        assert_eq!(
            left(&turns, second - 1).unwrap(),
            [instruction, "third question"]
        );
        let least = size(&[turns[2].clone(), turns[7].clone()]);
        assert_eq!(left(&turns, least).unwrap().len(), 2);
        assert_eq!(left(&turns, least - 1), Err(least));
    }

    #[test]
    fn in_a_long_chain_of_tools_the_oldest_steps_go() {
        let turns = [
            says(Role::User, "question"),
            calls(&["a", "b"]),
            results(&["a"]),
            results(&["b"]),
            says(Role::Assistant, "so far"),
            calls(&["c"]),
            results(&["c"]),
        ];
        let all = size(&turns);
        assert_eq!(
            left(&turns, all - 1).unwrap(),
            ["question", "so far", "call c", "result c"]
        );
        let least = size(&[turns[0].clone(), turns[5].clone(), turns[6].clone()]);
        assert_eq!(
            left(&turns, least).unwrap(),
            ["question", "call c", "result c"]
        );
        assert_eq!(left(&turns, least - 1), Err(least));
    }

    #[test]
    fn a_result_behind_the_question_keeps_its_call() {
        let turns = [
            says(Role::User, "first question"),
            calls(&["a"]),
            says(Role::User, "hurry"),
            results(&["a"]),
        ];
        let all = size(&turns);
        assert_eq!(left(&turns, all - 1), Err(all));
        // Nor does the result go without its call where more follows.
        let mut longer = turns.to_vec();
        longer.extend([calls(&["b"]), results(&["b"])]);
        assert_eq!(left(&longer, size(&longer) - 1), Err(size(&longer)));
    }

    #[test]
    fn an_id_that_is_used_again_belongs_to_the_latest_call() {
        let turns = [
            says(Role::User, "first question"),
            calls(&["a"]),
            results(&["a"]),
            says(Role::User, "second question"),
            calls(&["a"]),
            results(&["a"]),
        ];
        assert_eq!(
            left(&turns, size(&turns) - 1).unwrap(),
            ["second question", "call a", "result a"]
        );
    }

    #[test]
    fn an_answer_that_was_begun_stays() {
        let turns = [
            says(Role::User, "question"),
            says(Role::Assistant, "The answer is"),
        ];
        assert_eq!(left(&turns, size(&turns) - 1), Err(size(&turns)));
    }

    /// One exchange: a question, rounds of parallel calls with their results in one or in several turns, an answer.
    fn exchange() -> impl Strategy<Value = Vec<(u8, usize)>> {
        prop::collection::vec((0_u8..5, 1_usize..4), 0..5)
    }

    fn build(exchanges: &[Vec<(u8, usize)>], reuse_ids: bool, words: usize) -> Vec<Turn> {
        let mut turns = Vec::new();
        let mut number = 0;
        for (i, steps) in exchanges.iter().enumerate() {
            turns.push(says(
                Role::User,
                &format!("question {i} {}", "word ".repeat(words)),
            ));
            for (kind, count) in steps {
                let ids: Vec<String> = (0..*count)
                    .map(|k| {
                        number += 1;
                        if reuse_ids {
                            format!("call_{k}")
                        } else {
                            format!("call_{number}")
                        }
                    })
                    .collect();
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                match kind {
                    0 => turns.push(says(Role::Assistant, "a thought on the way")),
                    1 => turns.push(says(Role::System, "an instruction")),
                    2 => {
                        turns.push(calls(&ids));
                        turns.push(results(&ids));
                    }
                    3 => {
                        turns.push(calls(&ids));
                        turns.extend(ids.iter().map(|id| results(&[id])));
                    }
                    _ => {
                        turns.push(calls(&ids));
                        let mut mixed = results(&ids);
                        mixed.parts.push(Part::text("and hurry"));
                        turns.push(mixed);
                    }
                }
            }
        }
        turns
    }

    proptest! {
        #[test]
        fn it_fits_or_is_refused_and_nothing_is_torn_apart(
            exchanges in prop::collection::vec(exchange(), 1..5),
            reuse_ids in any::<bool>(),
            words in 0_usize..30,
            percent in 0_u64..130,
        ) {
            let turns = build(&exchanges, reuse_ids, words);
            let before = size(&turns);
            let limit = before * percent / 100;
            let conversation = of(turns.clone());
            let Ok(fitted) = fit(conversation.clone(), limit, OnOverflow::Trim) else {
                prop_assert!(before > limit);
                return Ok(());
            };
            let after = &fitted.conversation;
            prop_assert!(fitted.tokens_after <= limit);
            prop_assert_eq!(tokens::conversation(after), fitted.tokens_after);
            prop_assert_eq!(fitted.tokens_before, before);
            prop_assert_eq!(turns.len() - after.turns.len(), fitted.dropped_turns);
            prop_assert_eq!(&after.system, &conversation.system);
            if before <= limit {
                prop_assert_eq!(after, &conversation);
            }
            // The last turn of the user, his last question and every instruction are there.
            let last = |turns: &[Turn]| turns.iter().rfind(|t| t.role == Role::User).cloned();
            prop_assert_eq!(last(&after.turns), last(&turns));
            let question = |turns: &[Turn]| turns.iter().rfind(|t| {
                t.role == Role::User && t.parts.iter().any(|p| matches!(p, Part::Text { .. }))
            }).cloned();
            prop_assert_eq!(question(&after.turns), question(&turns));
            let instructions = |turns: &[Turn]| turns.iter().filter(|t| t.role == Role::System).count();
            prop_assert_eq!(instructions(&after.turns), instructions(&turns));
            // It begins with the user's own words.
            let first = after.turns.iter().find(|t| t.role != Role::System).unwrap();
            prop_assert_eq!(first.role, Role::User);
            let own_words = matches!(first.parts[0], Part::Text { .. });
            prop_assert!(own_words);
            // Each call stands before its result, and no result without its call.
            let mut open: Vec<String> = Vec::new();
            for turn in &after.turns {
                for part in &turn.parts {
                    match part {
                        Part::ToolCall(call) => open.push(call.id.clone()),
                        Part::ToolResult { id, .. } => {
                            let place = open.iter().position(|o| o == id);
                            prop_assert!(place.is_some(), "a result without its call: {}", id);
                            open.remove(place.unwrap());
                        }
                        _ => {}
                    }
                }
            }
            prop_assert_eq!(open, Vec::<String>::new(), "a call without its result");
        }
    }
}
