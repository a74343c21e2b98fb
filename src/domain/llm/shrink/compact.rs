//! Shortening a conversation by rule, where the alias asks for it.
//!
//! 1. Long texts of old turns become their first sentence and the names that stood in backquotes.
//! 2. A block of text that stood before word for word becomes a short note.
//! 3. Runs of spaces and of empty lines are collapsed. Indentation and fenced code stay.
//!
//! Never touched: the user's last turn, and everything up to the last prompt-cache breakpoint, because a provider reads
//! it from its cache at a tenth of the price only while no byte of it changes. The rules are deterministic and a second
//! pass changes nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::asking_turn;
use crate::domain::llm::normal::conversation::{Conversation, Part};
use crate::domain::llm::tokens;

/// A conversation after compaction, and what that saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Compacted {
    /// The shorter conversation.
    pub conversation: Conversation,
    /// Bytes of text saved.
    pub saved_bytes: u64,
    /// Estimated tokens saved.
    pub saved_tokens: u64,
}

/// So many turns at the end count as recent: four questions and answers.
pub const RECENT_TURNS: usize = 8;
/// A shorter text of an old turn is kept whole, in bytes.
const SUMMARISED_BYTES: usize = 600;
/// Longest first sentence that is kept, in bytes.
const SENTENCE_BYTES: usize = 240;
/// Most names that a summary lists, and the longest of them in bytes.
const NAMES: usize = 8;
const NAME_BYTES: usize = 24;
/// A shorter block may stand twice, in bytes.
const BLOCK_BYTES: usize = 200;
/// What stands in place of a repeated block.
const REPEATED: &str = "[The same text as above.]";

/// Shortens a conversation. The `recent` last turns (see [`RECENT_TURNS`]) are not summarised.
#[must_use]
pub fn compact(conversation: Conversation, recent: usize) -> Compacted {
    let tokens_before = tokens::conversation(&conversation);
    let asking = asking_turn(&conversation);
    let frozen = frozen(&conversation);
    let old = conversation.turns.len().saturating_sub(recent);
    let mut shorter = conversation;
    let mut seen = BTreeSet::new();
    let mut saved = 0_usize;
    let mut change = |part: &mut Part, rules: Rules| {
        each_text(part, &mut |text| {
            let before = text.len();
            if let Some(new) = rules.apply(text, &mut seen) {
                *text = new;
            }
            saved = saved.saturating_add(before.saturating_sub(text.len()));
        })
    };
    let mut place = 0_usize;
    for part in &mut shorter.system {
        let rules = Rules {
            frozen: place < frozen,
            summarise: false,
        };
        change(part, rules);
        place = place.saturating_add(1);
    }
    for (i, turn) in shorter.turns.iter_mut().enumerate() {
        for part in &mut turn.parts {
            let rules = Rules {
                frozen: place < frozen || Some(i) == asking,
                summarise: i < old,
            };
            change(part, rules);
            place = place.saturating_add(1);
        }
    }
    Compacted {
        saved_bytes: u64::try_from(saved).unwrap_or(u64::MAX),
        saved_tokens: tokens_before.saturating_sub(tokens::conversation(&shorter)),
        conversation: shorter,
    }
}

/// How many parts, counted from the first of the system, stand at or before the last prompt-cache breakpoint.
fn frozen(conversation: &Conversation) -> usize {
    let turns = conversation.turns.iter().flat_map(|turn| &turn.parts);
    let marked = |part: &Part| match part {
        Part::Text { cache, .. }
        | Part::Image { cache, .. }
        | Part::File { cache, .. }
        | Part::ToolResult { cache, .. } => cache.is_some(),
        Part::ToolCall(_) | Part::Reasoning(_) | Part::Refusal(_) | Part::Media => false,
    };
    // Tools stand in front of everything, so that a breakpoint there freezes no text.
    conversation
        .system
        .iter()
        .chain(turns)
        .enumerate()
        .filter(|(_, part)| marked(part))
        .map(|(i, _)| i.saturating_add(1))
        .last()
        .unwrap_or(0)
}

/// Text parts, and those inside tool results.
fn each_text(part: &mut Part, change: &mut dyn FnMut(&mut String)) {
    match part {
        Part::Text { text, .. } => change(text),
        Part::ToolResult { content, .. } => {
            for part in content {
                each_text(part, change);
            }
        }
        _ => {}
    }
}

#[derive(Clone, Copy)]
struct Rules {
    frozen: bool,
    summarise: bool,
}

impl Rules {
    /// The shorter text; `None` when it stays as it is. Its blocks count as seen either way.
    fn apply(self, text: &str, seen: &mut BTreeSet<String>) -> Option<String> {
        if self.frozen {
            for block in blocks(text) {
                let _ = is_repeated(&block, seen);
            }
            return None;
        }
        let summary = self.summarise.then(|| summary(text)).flatten();
        let shorter = rewrite(summary.as_deref().unwrap_or(text), seen);
        // Blank text stays: providers refuse an empty one.
        let saves = shorter.len() < text.len() && tokens::text(&shorter) <= tokens::text(text);
        (saves && !shorter.trim().is_empty()).then_some(shorter)
    }
}

// === 1. old turns ===

/// The first sentence and the names of a long text; `None` for a short one.
fn summary(text: &str) -> Option<String> {
    if text.len() < SUMMARISED_BYTES {
        return None;
    }
    let text = text.trim();
    let mut short = first_sentence(text).to_owned();
    let dropped = text.len().saturating_sub(short.len());
    let _ = write!(short, "\n[{dropped} bytes left out");
    let names = names(text, &short);
    if !names.is_empty() {
        let _ = write!(short, "; they name {}", names.join(", "));
    }
    short.push_str(".]");
    Some(short)
}

fn first_sentence(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let mut end = 0;
    for (i, c) in line.char_indices() {
        let after = i.saturating_add(c.len_utf8());
        if after > SENTENCE_BYTES {
            break;
        }
        end = after;
        let rest = line.get(after..).unwrap_or_default();
        let ends = matches!(c, '。' | '！' | '？')
            || (matches!(c, '.' | '!' | '?') && (rest.is_empty() || rest.starts_with(' ')));
        if ends {
            break;
        }
    }
    line.get(..end).unwrap_or_default()
}

/// What stands in backquotes, in order, each once, unless the sentence has it already.
fn names(text: &str, sentence: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split('`').skip(1).step_by(2) {
        let fits = (1..=NAME_BYTES).contains(&name.len()) && !name.contains(char::is_whitespace);
        let quoted = format!("`{name}`");
        if fits && names.len() < NAMES && !names.contains(&quoted) && !sentence.contains(&quoted) {
            names.push(quoted);
        }
    }
    names
}

// === 2. and 3. repeated blocks, whitespace ===

/// A run of lines without an empty one between them, or a whole fenced code block.
struct Block<'t> {
    lines: Vec<&'t str>,
    is_code: bool,
    /// Does an empty line stand before it?
    is_apart: bool,
}

impl Block<'_> {
    /// With single spaces, unless it is code.
    fn text(&self) -> String {
        if self.is_code {
            return self.lines.join("\n");
        }
        let lines: Vec<String> = self.lines.iter().map(|line| collapse(line)).collect();
        lines.join("\n")
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut fence: Option<&str> = None;
    let (mut fresh, mut is_apart) = (true, false);
    for line in text.split('\n') {
        let start = line.trim_start();
        if let Some(open) = fence {
            if let Some(block) = blocks.last_mut() {
                block.lines.push(line);
            }
            if start.starts_with(open) {
                (fence, fresh) = (None, true);
            }
            continue;
        }
        fence = ["```", "~~~"].into_iter().find(|f| start.starts_with(f));
        if line.trim().is_empty() {
            (fresh, is_apart) = (true, true);
            continue;
        }
        match blocks.last_mut() {
            Some(block) if !fresh && fence.is_none() => block.lines.push(line),
            _ => blocks.push(Block {
                lines: vec![line],
                is_code: fence.is_some(),
                is_apart,
            }),
        }
        (fresh, is_apart) = (false, false);
    }
    blocks
}

fn rewrite(text: &str, seen: &mut BTreeSet<String>) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, block) in blocks(text).into_iter().enumerate() {
        // Where a text begins or ends with white space, its neighbour may need it.
        out.push_str(match (i, block.is_apart) {
            (0, false) => "",
            (0, true) | (_, false) => "\n",
            (_, true) => "\n\n",
        });
        if is_repeated(&block, seen) {
            out.push_str(REPEATED);
        } else {
            out.push_str(&block.text());
        }
    }
    match text.chars().next_back() {
        Some('\n') => out.push('\n'),
        Some(last) if last.is_whitespace() && !out.ends_with(last) => out.push(last),
        _ => {}
    }
    out
}

/// Has a block stood before? Blocks are compared after whitespace was collapsed, so that a second pass finds the same.
fn is_repeated(block: &Block<'_>, seen: &mut BTreeSet<String>) -> bool {
    let text = block.text();
    text.len() >= BLOCK_BYTES && !seen.insert(text)
}

/// A line with single spaces between its words; its indentation stays.
fn collapse(line: &str) -> String {
    let line = line.trim_end();
    let body = line.trim_start_matches([' ', '\t']);
    let indent = line.len().saturating_sub(body.len());
    let mut out = line.get(..indent).unwrap_or_default().to_owned();
    let mut after_space = false;
    for c in body.chars() {
        let is_space = matches!(c, ' ' | '\t');
        if !is_space {
            out.push(c);
        } else if !after_space {
            out.push(' ');
        }
        after_space = is_space;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{RECENT_TURNS, REPEATED, compact};
    use crate::domain::llm::normal::conversation::{
        CacheMark, Conversation, Part, Role, Thought, ToolCall, Turn,
    };
    use crate::domain::llm::tokens::{self, empty};
    use proptest::prelude::*;

    fn says(role: Role, words: &str) -> Turn {
        Turn {
            role,
            parts: vec![Part::text(words)],
        }
    }

    fn words(part: &Part) -> &str {
        match part {
            Part::Text { text, .. } => text,
            Part::ToolResult { content, .. } => words(&content[0]),
            other => panic!("{other:?}"),
        }
    }

    /// A system part and a last question around this text.
    fn shortened(text: &str) -> String {
        let mut conversation = empty();
        conversation.system = vec![Part::text(text)];
        conversation.turns = vec![says(Role::User, "question")];
        words(&compact(conversation, RECENT_TURNS).conversation.system[0]).to_owned()
    }

    #[test]
    fn whitespace_is_collapsed_outside_code() {
        let table = [
            ("a  b\t\tc   \nd", "a b c\nd"),
            ("a\n\n\n\nb", "a\n\nb"),
            ("a\n \n\t\nb", "a\n\nb"),
            ("  - one  two\n    - three", "  - one two\n    - three"),
            (
                "a  b\n```\nx  =  1\n\n\ny\n```\nc  d",
                "a b\n```\nx  =  1\n\n\ny\n```\nc d",
            ),
            ("~~~\nx  y\n```\nz  z\n~~~", "~~~\nx  y\n```\nz  z\n~~~"),
            ("```\nnever  closed", "```\nnever  closed"),
            // A neighbouring part may go on behind it.
            ("one   two ", "one two "),
            ("\n\n\none\n\n\n", "\none\n"),
            ("   \n ", "   \n "),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(shortened(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_repeated_block_is_replaced_by_a_note() {
        let context = "The same long context. ".repeat(10);
        let context = context.trim();
        let mut conversation = empty();
        conversation.system = vec![Part::text(format!("Be brief.\n\n{context}"))];
        conversation.turns = vec![
            says(Role::User, &format!("{context}\n\nfirst question")),
            says(Role::Assistant, "answer"),
            Turn {
                role: Role::User,
                parts: vec![Part::ToolResult {
                    id: "1".into(),
                    content: vec![Part::text(context.replace(' ', "  "))],
                    is_error: false,
                    cache: None,
                }],
            },
            says(Role::User, &format!("{context}\n\nlast question")),
        ];
        let before = conversation.clone();
        let after = compact(conversation, RECENT_TURNS);
        let turns = &after.conversation.turns;
        assert_eq!(after.conversation.system, before.system);
        assert_eq!(
            words(&turns[0].parts[0]),
            format!("{REPEATED}\n\nfirst question")
        );
        assert_eq!(words(&turns[2].parts[0]), REPEATED);
        assert_eq!(turns[3], before.turns[3]);
        let bytes = |c: &Conversation| -> usize {
            c.turns
                .iter()
                .flat_map(|t| &t.parts)
                .map(|p| words(p).len())
                .sum()
        };
        let saved = u64::try_from(bytes(&before) - bytes(&after.conversation)).unwrap();
        assert_eq!(after.saved_bytes, saved);
        assert_eq!(
            after.saved_tokens,
            tokens::conversation(&before) - tokens::conversation(&after.conversation)
        );
        assert!(after.saved_tokens > 80, "{}", after.saved_tokens);
    }

    #[test]
    fn a_short_block_may_stand_twice() {
        let text = format!("{}\n\nb\n\n{}", "a".repeat(199), "a".repeat(199));
        assert_eq!(shortened(&text), text);
    }

    #[test]
    fn long_texts_of_old_turns_become_their_first_sentence_and_names() {
        let long = format!(
            "Use `Engine::on` for it. Then more.\n{}\nSee `Plan` and `Engine::on` and `a b` and `Plan`.",
            "Filler of no meaning.\n".repeat(40)
        );
        let mut conversation = empty();
        conversation.turns = vec![
            says(Role::User, "old question"),
            says(Role::Assistant, &long),
            says(Role::User, "question"),
            says(Role::Assistant, &long),
            says(Role::User, "last question"),
        ];
        let after = compact(conversation.clone(), 3).conversation.turns;
        let first = "Use `Engine::on` for it.";
        assert_eq!(
            words(&after[1].parts[0]),
            format!(
                "{first}\n[{} bytes left out; they name `Plan`.]",
                long.len() - first.len()
            )
        );
        // One turn more is recent.
        let more = compact(conversation.clone(), 4).conversation.turns;
        assert_eq!(more[1], conversation.turns[1]);
        // What stood in the old turn is gone: the recent one is no repetition of it.
        assert_eq!(after[3], conversation.turns[3]);
        assert_eq!(after[0], conversation.turns[0]);
    }

    #[test]
    fn a_first_sentence_ends_where_sentences_end() {
        let old = |text: &str| {
            let mut conversation = empty();
            conversation.turns = vec![
                says(Role::Assistant, &format!("{text}{}", "x".repeat(600))),
                says(Role::User, "question"),
            ];
            let after = compact(conversation, 0).conversation;
            let short = words(&after.turns[0].parts[0]).to_owned();
            short.lines().next().unwrap().to_owned()
        };
        assert_eq!(old("Version 1.2 is out! And "), "Version 1.2 is out!");
        assert_eq!(old("今天很好。明天"), "今天很好。");
        assert_eq!(old("A heading\nand text. "), "A heading");
        assert_eq!(old(&"é".repeat(200)), "é".repeat(120));
    }

    #[test]
    fn nothing_before_a_cache_breakpoint_changes() {
        let long = format!("a  b. {}", "word  ".repeat(300));
        let mut conversation = empty();
        conversation.system = vec![Part::Text {
            text: long.clone(),
            cache: Some(CacheMark::OneHour),
        }];
        conversation.turns = vec![
            says(Role::User, &long),
            Turn {
                role: Role::Assistant,
                parts: vec![Part::Text {
                    text: long.clone(),
                    cache: Some(CacheMark::FiveMinutes),
                }],
            },
            says(Role::Assistant, &long),
            says(Role::User, "question"),
        ];
        let after = compact(conversation.clone(), RECENT_TURNS).conversation;
        assert_eq!(after.system, conversation.system);
        assert_eq!(after.turns[..2], conversation.turns[..2]);
        assert_eq!(words(&after.turns[2].parts[0]), format!("{REPEATED} "));
    }

    #[test]
    fn calls_thinking_and_refusals_stay_as_they_are() {
        let long = "many  words ".repeat(100);
        let mut conversation = empty();
        conversation.turns = vec![
            Turn {
                role: Role::Assistant,
                parts: vec![
                    Part::Reasoning(Thought {
                        text: long.clone(),
                        signature: Some("proof".into()),
                        ..Thought::default()
                    }),
                    Part::ToolCall(ToolCall {
                        id: "1".into(),
                        name: "f".into(),
                        arguments: long.clone(),
                    }),
                    Part::Refusal(long.clone()),
                ],
            },
            says(Role::User, "question"),
        ];
        let after = compact(conversation.clone(), 0);
        assert_eq!(after.conversation, conversation);
        assert_eq!((after.saved_bytes, after.saved_tokens), (0, 0));
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "word ",
            "a  b",
            "\n",
            "\n\n",
            "\n\n\n",
            "```\n",
            "\n```\n",
            "`Name` ",
            "End. ",
            "\t",
            "  ",
            "句。",
            "the quick brown fox jumps over the lazy dog ",
            "a block of text that is long enough to be noticed when it is met for a second time, because it has \
             more than two hundred bytes, which is where the rule about repeated blocks of text begins to matter to us",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn compaction_only_ever_shortens_text_and_a_second_pass_changes_nothing(
            system in text(),
            turns in prop::collection::vec((any::<bool>(), text(), any::<bool>()), 1..12),
            recent in 0_usize..6,
            mark in prop::option::of(0_usize..12),
        ) {
            let mut conversation = empty();
            conversation.system = vec![Part::text(system)];
            for (i, (is_user, text, is_result)) in turns.into_iter().enumerate() {
                let cache = (mark == Some(i)).then_some(CacheMark::OneHour);
                let text = Part::Text { text, cache };
                let part = if is_user && is_result {
                    Part::ToolResult { id: "1".into(), content: vec![text], is_error: false, cache: None }
                } else {
                    text
                };
                let role = if is_user { Role::User } else { Role::Assistant };
                conversation.turns.push(Turn { role, parts: vec![part] });
            }
            let once = compact(conversation.clone(), recent);
            let after = &once.conversation;
            prop_assert_eq!(after.turns.len(), conversation.turns.len());
            let mut saved = 0;
            let all = |c: &Conversation| -> Vec<Part> {
                c.system.iter().chain(c.turns.iter().flat_map(|t| &t.parts)).cloned().collect()
            };
            for (old, new) in all(&conversation).iter().zip(&all(after)) {
                let (old, new) = (words(old), words(new));
                prop_assert!(new.len() <= old.len());
                prop_assert!(tokens::text(new) <= tokens::text(old));
                prop_assert_eq!(new.trim().is_empty(), old.trim().is_empty());
                saved += old.len() - new.len();
            }
            prop_assert_eq!(once.saved_bytes, u64::try_from(saved).unwrap());
            let asking = super::asking_turn(&conversation);
            if let Some(asking) = asking {
                prop_assert_eq!(&after.turns[asking], &conversation.turns[asking]);
            }
            let twice = compact(after.clone(), recent);
            prop_assert_eq!(&twice.conversation, after);
            prop_assert_eq!(twice.saved_bytes, 0);
        }
    }
}
