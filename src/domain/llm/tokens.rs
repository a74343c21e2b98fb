//! About how many tokens a text or a conversation takes, without running a tokeniser.
//!
//! Used where a provider reports no usage, for `count_tokens` at providers without that endpoint, and for checks
//! against a model's context. Each character weighs what it takes on average, in 24ths of a token; the weights were
//! fitted to the public vocabularies `cl100k_base` and `o200k_base`. Prose, code and JSON in Latin script come out
//! within a fifth; other scripts are counted as older vocabularies do, which newer ones undercut by up to a half.

use crate::domain::llm::message::Usage;
use crate::domain::llm::normal::conversation::{
    Conversation, Format, Part, Source, Tool, ToolCall, Turn,
};

/// A picture of unknown size. Providers take 85 (OpenAI, `detail: "low"`) to about 1600 (Anthropic, 1568 pixels wide).
pub const IMAGE_TOKENS: u64 = 1000;
/// The same with `detail: "low"`.
pub const SMALL_IMAGE_TOKENS: u64 = 85;
/// A document that cannot be weighed because only its address is known: one page, read as text and as a picture.
pub const PAGE_TOKENS: u64 = 2000;
/// Bytes of a PDF for which one token is counted: 50 KB a page ÷ 2000 tokens.
const PDF_BYTES_PER_TOKEN: u64 = 25;
/// What marks the beginning, the role and the end of a turn.
const TURN_TOKENS: u64 = 4;
/// What frames a tool, a call or a result.
const TOOL_TOKENS: u64 = 8;

/// Parts of a token in which characters are weighed.
const WHOLE: u64 = 24;
/// A letter or digit of a run that is longer than words are: identifiers, hashes, base64.
const RUN_LETTERS: u32 = 16;

/// Tokens of a text. 0 for the empty text only.
#[must_use]
pub fn text(text: &str) -> u64 {
    let mut sum_of_weights = 0_u64;
    let mut run = 0_u32;
    let mut after_space = false;
    for c in text.chars() {
        run = if c.is_ascii_alphanumeric() {
            run.saturating_add(1)
        } else {
            0
        };
        let weight = if c.is_whitespace() {
            // A single space belongs to the word behind it; indentation is joined.
            if after_space { 2 } else { 4 }
        } else if run > RUN_LETTERS {
            18
        } else {
            weight(c)
        };
        after_space = c.is_whitespace();
        sum_of_weights = sum_of_weights.saturating_add(weight);
    }
    sum_of_weights.div_ceil(WHOLE)
}

/// 24ths of a token that a character takes.
const fn weight(c: char) -> u64 {
    match c {
        'a'..='z' => 5,
        'A'..='Z' => 8,
        '0'..='9' => 12,
        '\0'..='\u{7f}' => 14,
        // Hangul
        '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' => 20,
        // Han, kana and their punctuation
        '\u{3000}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ffef}'
        | '\u{20000}'..='\u{3ffff}' => 22,
        // Latin with accents, Greek, Cyrillic, Hebrew, Arabic
        '\u{80}'..='\u{7ff}' => 10,
        // Indic and other scripts of three bytes
        '\u{800}'..='\u{ffff}' => 18,
        // Emoji
        _ => 48,
    }
}

/// Tokens of a whole request: system part, turns, tools and schema. Never 0.
#[must_use]
pub fn conversation(conversation: &Conversation) -> u64 {
    let turns = conversation.turns.iter().map(turn);
    sum(turns).saturating_add(frame(conversation))
}

/// What a request takes beside its turns.
#[must_use]
pub fn frame(conversation: &Conversation) -> u64 {
    let schema = match &conversation.format {
        Format::Schema { schema, .. } => text(&schema.to_string()),
        Format::Text | Format::JsonObject => 0,
    };
    // The answer's own beginning counts as input.
    sum(conversation.tools.iter().map(tool))
        .saturating_add(parts(&conversation.system))
        .saturating_add(schema)
        .saturating_add(TURN_TOKENS)
}

/// Tokens of a turn.
#[must_use]
pub fn turn(turn: &Turn) -> u64 {
    parts(&turn.parts).saturating_add(TURN_TOKENS)
}

/// Tokens of content.
#[must_use]
pub fn parts(parts: &[Part]) -> u64 {
    sum(parts.iter().map(part))
}

/// Usage of an answer whose provider reported none. Flagged as an estimate; the output is never 0 for a text.
#[must_use]
pub const fn estimated(input: u64, output: u64) -> Usage {
    Usage {
        input,
        cached: 0,
        written_5m: 0,
        written_1h: 0,
        output,
        reasoning: 0,
        estimated: true,
    }
}

fn part(part: &Part) -> u64 {
    match part {
        Part::Text { text: words, .. } | Part::Refusal(words) => text(words),
        Part::Image { detail, .. } if detail.as_deref() == Some("low") => SMALL_IMAGE_TOKENS,
        Part::Image { .. } => IMAGE_TOKENS,
        Part::File { source, name, .. } => {
            file(source).saturating_add(name.as_deref().map_or(0, text))
        }
        Part::ToolCall(ToolCall {
            name, arguments, ..
        }) => text(name)
            .saturating_add(text(arguments))
            .saturating_add(TOOL_TOKENS),
        Part::ToolResult { content, .. } => parts(content).saturating_add(TOOL_TOKENS),
        Part::Reasoning(thought) => {
            let sealed = thought.sealed.as_deref().map_or(0, str::len);
            // Sealed words are base64 of about four bytes a token: 4 ÷ 3 × 4 ≈ 5 characters.
            text(&thought.text).saturating_add(length(sealed).div_ceil(5))
        }
        Part::Media => 0,
    }
}

fn file(source: &Source) -> u64 {
    match source {
        Source::Url(_) => PAGE_TOKENS,
        Source::Base64 { media_type, data } => {
            // Base64 writes three bytes as four characters.
            let bytes = length(data.len()).saturating_mul(3) / 4;
            if media_type.starts_with("text/") || media_type.ends_with("json") {
                bytes.div_ceil(4).max(1)
            } else {
                (bytes / PDF_BYTES_PER_TOKEN).max(PAGE_TOKENS)
            }
        }
    }
}

fn tool(tool: &Tool) -> u64 {
    let schema = tool.parameters.as_ref().map(ToString::to_string);
    text(&tool.name)
        .saturating_add(tool.description.as_deref().map_or(0, text))
        .saturating_add(schema.as_deref().map_or(0, text))
        .saturating_add(TOOL_TOKENS)
}

fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A conversation of nothing, for tests to fill.
#[cfg(test)]
pub(super) fn empty() -> Conversation {
    use crate::domain::llm::Protocol;
    use crate::domain::llm::normal::conversation::{Sampling, ToolChoice};
    Conversation {
        origin: Protocol::Chat,
        system: Vec::new(),
        turns: Vec::new(),
        tools: Vec::new(),
        tool_choice: ToolChoice::Unset,
        parallel_tools: None,
        format: Format::Text,
        sampling: Sampling::default(),
        reasoning: None,
        user: None,
        stream: false,
        unplaced: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{conversation, empty, estimated, parts, text};
    use crate::domain::llm::normal::conversation::{
        Format, Part, Role, Source, Thought, Tool, ToolCall, Turn,
    };
    use proptest::prelude::*;
    use serde_json::json;

    /// A text, and its tokens in `o200k_base` and `cl100k_base`.
    const COUNTED: [(&str, u64, u64); 11] = [
        (
            "A visitor asks the page, and the page asks the model. When the first target is down, the second one answers, and the log says which of them it was and what it cost.",
            39,
            39,
        ),
        (
            "fn earlier(a: &[u64], limit: u64) -> Option<usize> {\n    a.iter()\n        .position(|x| *x > limit)\n        .map(|i| i.saturating_sub(1))\n}\n",
            49,
            48,
        ),
        (
            r#"{"model":"site","messages":[{"role":"user","content":"What is it?"}],"max_tokens":1024,"stream":true}"#,
            30,
            29,
        ),
        (
            "Die Seite erklärt, wie man den Dienst startet und wie man einen Schlüssel hinterlegt.",
            17,
            22,
        ),
        (
            "本页说明如何启动服务以及如何设置密钥。如果没有密钥,回答将引用本站页面的内容。",
            24,
            35,
        ),
        (
            "このページでは、サービスの起動方法とキーの設定方法を説明します。",
            18,
            27,
        ),
        (
            "이 페이지는 서비스를 시작하는 방법과 키를 설정하는 방법을 설명합니다.",
            17,
            26,
        ),
        (
            "Эта страница рассказывает, как запустить сервис и как настроить ключ.",
            17,
            25,
        ),
        (
            "1021, 88213, 771, 40962, 5, 99, 123456, 8080, 11434, 2026",
            35,
            35,
        ),
        (
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            35,
            35,
        ),
        (
            "qZkLxWvTjHnBgYpRmDcFsKuEoAiXwQzVtJhNbGyPrMdCfSkUeOaIxWqZvTjHnLbGyPrMd",
            50,
            59,
        ),
    ];

    #[test]
    fn the_estimate_is_near_what_tokenisers_count() {
        for (words, newer, older) in COUNTED {
            let estimate = text(words);
            let (least, most) = (newer.min(older) * 3 / 4, newer.max(older) * 5 / 4);
            assert!(
                (least..=most).contains(&estimate),
                "{estimate} is not within {least}..={most}: {words}"
            );
        }
    }

    #[test]
    fn every_part_of_a_request_counts() {
        let least = conversation(&empty());
        let base64 = |media_type: &str, bytes: usize| Source::Base64 {
            media_type: media_type.into(),
            data: "A".repeat(bytes / 3 * 4),
        };
        let file = |source| Part::File {
            source,
            name: None,
            cache: None,
        };
        let image = |detail: Option<&str>| Part::Image {
            source: Source::Url("https://example.org/a.png".into()),
            detail: detail.map(Into::into),
            cache: None,
        };
        let table: [(Part, u64); 9] = [
            (Part::text("a word"), text("a word")),
            (image(None), 1000),
            (image(Some("low")), 85),
            (file(Source::Url("https://example.org/a.pdf".into())), 2000),
            (file(base64("application/pdf", 300_000)), 12_000),
            (file(base64("text/plain", 1200)), 300),
            (
                Part::ToolCall(ToolCall {
                    id: "1".into(),
                    name: "weather".into(),
                    arguments: r#"{"city":"Bern"}"#.into(),
                }),
                text("weather") + text(r#"{"city":"Bern"}"#) + 8,
            ),
            (
                Part::ToolResult {
                    id: "1".into(),
                    content: vec![Part::text("rain")],
                    is_error: false,
                    cache: None,
                },
                text("rain") + 8,
            ),
            (
                Part::Reasoning(Thought {
                    text: "So far".into(),
                    sealed: Some("A".repeat(500)),
                    ..Thought::default()
                }),
                text("So far") + 100,
            ),
        ];
        for (part, tokens) in table {
            assert_eq!(parts(std::slice::from_ref(&part)), tokens, "{part:?}");
            let mut with = empty();
            with.turns.push(Turn {
                role: Role::User,
                parts: vec![part],
            });
            assert_eq!(conversation(&with), least + 4 + tokens);
        }
        let mut with = empty();
        with.system.push(Part::text("Be brief."));
        assert_eq!(conversation(&with), least + text("Be brief."));
        let mut with = empty();
        with.tools.push(Tool {
            name: "weather".into(),
            description: Some("The weather of a city".into()),
            parameters: Some(json!({"type": "object"})),
            strict: None,
            cache: None,
        });
        assert!(conversation(&with) > least + 8 + text("The weather of a city"));
        let mut with = empty();
        with.format = Format::Schema {
            name: "answer".into(),
            description: None,
            schema: json!({"type": "object"}),
            strict: None,
        };
        assert_eq!(conversation(&with), least + text(r#"{"type":"object"}"#));
    }

    #[test]
    fn an_estimate_says_that_it_is_one() {
        let usage = estimated(12, 3);
        assert_eq!((usage.input, usage.output, usage.estimated), (12, 3, true));
    }

    proptest! {
        #[test]
        fn only_nothing_takes_nothing(words in "\\PC{0,60}|[ \\n\\t]{0,9}") {
            prop_assert_eq!(text(&words) == 0, words.is_empty());
        }

        #[test]
        fn more_text_never_takes_less(a in "\\PC{0,40}", b in "\\PC{0,40}") {
            let joined = format!("{a}{b}");
            prop_assert!(text(&joined) >= text(&a));
            // Nor does cutting it save more than the rounding and the weight of a joint.
            prop_assert!(text(&a) + text(&b) + 9 >= text(&joined));
        }
    }
}
