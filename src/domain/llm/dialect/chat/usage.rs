//! Usage as OpenAI and its relatives tell it.

use serde_json::{Value, json};

use super::wire::Loose;
use crate::domain::llm::message::Usage;

/// Reads `usage`. Counts that are missing, null, negative or no numbers are not told; `None` when neither the input nor
/// the output is, or when both are zero, which some servers send as a placeholder.
pub(super) fn read(usage: &Loose<'_>) -> Option<Usage> {
    let count = |name| usage.get(name).and_then(Loose::count);
    let detail = |group, name| usage.get(group)?.get(name)?.count();
    let prompt = count("prompt_tokens");
    let completion = count("completion_tokens");
    // Gemini and xAI leave reasoning out of the completion, but not out of the total.
    let beyond_prompt = prompt
        .zip(count("total_tokens"))
        .map(|(prompt, total)| total.saturating_sub(prompt));
    let output = completion.max(beyond_prompt).unwrap_or(0);
    let input = prompt.unwrap_or(0);
    if input == 0 && output == 0 {
        return None;
    }
    let reasoning = detail("completion_tokens_details", "reasoning_tokens").unwrap_or(0);
    let cached = detail("prompt_tokens_details", "cached_tokens")
        .or_else(|| count("prompt_cache_hit_tokens")) // DeepSeek
        .or_else(|| count("cached_tokens")) // Moonshot
        .unwrap_or(0)
        .min(input);
    let written = detail("prompt_tokens_details", "cache_write_tokens").unwrap_or(0);
    Some(Usage {
        input,
        cached,
        written_5m: written.min(input.saturating_sub(cached)),
        // More reasoning than output means that it was left out.
        output: if reasoning > output {
            output.saturating_add(reasoning)
        } else {
            output
        },
        reasoning,
        ..Usage::default()
    })
}

/// Writes `usage` with the fields that OpenAI sends.
pub(super) fn write(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input.saturating_add(usage.output),
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.written_5m.saturating_add(usage.written_1h),
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use crate::domain::llm::message::Usage;

    fn of(text: &str) -> Option<Usage> {
        read(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn relatives_count_in_their_own_way() {
        let table = [
            // (usage, input, cached, written, output, reasoning)
            (
                r#"{"prompt_tokens":9,"completion_tokens":2}"#,
                [9, 0, 0, 2, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":null}"#,
                [9, 0, 0, 2, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":3}}"#,
                [9, 4, 3, 2, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":5}"#,
                [9, 4, 0, 2, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"cached_tokens":4}"#,
                [9, 4, 0, 2, 0],
            ),
            // reasoning inside the completion (OpenAI), beside it (xAI), told by the total alone (Gemini)
            (
                r#"{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                [9, 0, 0, 7, 5],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"total_tokens":16,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                [9, 0, 0, 7, 5],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                [9, 0, 0, 7, 5],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"total_tokens":16}"#,
                [9, 0, 0, 7, 0],
            ),
            // a part that is larger than its whole
            (
                r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":3}}"#,
                [9, 9, 0, 2, 0],
            ),
            // what is no count is not told
            (
                r#"{"prompt_tokens":9,"completion_tokens":"2","total_tokens":-1,"prompt_tokens_details":[],"completion_tokens_details":{"reasoning_tokens":-3}}"#,
                [9, 0, 0, 0, 0],
            ),
            (
                r#"{"prompt_tokens":9.0,"completion_tokens":2.5,"total_tokens":1e300}"#,
                [9, 0, 0, 0, 0],
            ),
        ];
        for (text, [input, cached, written_5m, output, reasoning]) in table {
            let expected = Usage {
                input,
                cached,
                written_5m,
                output,
                reasoning,
                ..Usage::default()
            };
            assert_eq!(of(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn usage_that_tells_nothing_is_none() {
        for text in [
            "null",
            "{}",
            "[]",
            "7",
            "\"x\"",
            r#"{"prompt_tokens":-4,"completion_tokens":null}"#,
            r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let usage = Usage {
            input: 120,
            cached: 100,
            written_5m: 7,
            written_1h: 3,
            output: 30,
            reasoning: 10,
            estimated: true,
        };
        let back = Usage {
            written_5m: 10,
            written_1h: 0,
            estimated: false,
            ..usage
        };
        assert_eq!(of(&write(usage).to_string()), Some(back));
    }
}
