//! Reading what providers send: the shapes shared by whole answers and by streams.

use serde::Deserialize;

use super::Protocol;
use super::message::{Answer, Finish, Usage};

/// Why an answer with status 200 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not JSON, or not an answer of the protocol.
    Shape,
    /// An error object inside a 200.
    Error,
}

/// A whole answer as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What it took; estimated where the provider told nothing.
    pub usage: Usage,
    /// The answer in normal form, when it is one plain text and nothing more.
    pub plain: Option<Answer>,
}

/// Usage as OpenAI and its many relatives report it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OpenAiUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl OpenAiUsage {
    pub(super) fn normal(self) -> Usage {
        let input = self.prompt_tokens.unwrap_or(0);
        let cached = self
            .prompt_tokens_details
            .and_then(|d| d.cached_tokens)
            .unwrap_or(0);
        Usage {
            input,
            cached: cached.min(input),
            output: self.completion_tokens.unwrap_or(0),
            estimated: false,
        }
    }
}

/// Usage as Anthropic reports it: `input_tokens` leaves cached tokens out, output is cumulative in a stream.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnthropicUsage {
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl AnthropicUsage {
    /// Lays a later report over an earlier one.
    pub(super) fn over(self, earlier: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            cache_read_input_tokens: self
                .cache_read_input_tokens
                .or(earlier.cache_read_input_tokens),
            cache_creation_input_tokens: self
                .cache_creation_input_tokens
                .or(earlier.cache_creation_input_tokens),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
        }
    }

    pub(super) fn normal(self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        Usage {
            input: self
                .input_tokens
                .unwrap_or(0)
                .saturating_add(cached)
                .saturating_add(self.cache_creation_input_tokens.unwrap_or(0)),
            cached,
            output: self.output_tokens.unwrap_or(0),
            estimated: false,
        }
    }
}

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: String,
    choices: Option<Vec<Choice>>,
    usage: Option<OpenAiUsage>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    message: ChoiceMessage,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct ChoiceMessage {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<serde::de::IgnoredAny>>,
    function_call: Option<serde::de::IgnoredAny>,
    audio: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    model: String,
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
    usage: Option<AnthropicUsage>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
    citations: Option<serde::de::IgnoredAny>,
}

/// Reads a whole answer. `input_bytes` feeds the estimate when the provider reports no usage.
///
/// # Errors
/// The bytes are not an answer of the protocol.
pub fn whole(protocol: Protocol, bytes: &[u8], input_bytes: u64) -> Result<Read, Invalid> {
    match protocol {
        Protocol::OpenAi => completion(bytes, input_bytes),
        Protocol::Anthropic => message(bytes, input_bytes),
    }
}

fn completion(bytes: &[u8], input_bytes: u64) -> Result<Read, Invalid> {
    let completion: Completion = serde_json::from_slice(bytes).map_err(|_| Invalid::Shape)?;
    if completion.error.is_some() {
        return Err(Invalid::Error);
    }
    let choices = completion
        .choices
        .filter(|c| !c.is_empty())
        .ok_or(Invalid::Shape)?;
    let text_bytes: usize = choices
        .iter()
        .map(|choice| choice.message.content.as_deref().map_or(0, str::len))
        .fold(0, usize::saturating_add);
    let usage = completion.usage.map_or_else(
        || estimate(input_bytes, text_bytes as u64),
        OpenAiUsage::normal,
    );
    let plain = match <[Choice; 1]>::try_from(choices) {
        Ok([choice]) => plain_choice(choice, completion.model, usage),
        Err(_) => None,
    };
    Ok(Read { usage, plain })
}

fn plain_choice(choice: Choice, model: String, usage: Usage) -> Option<Answer> {
    let message = choice.message;
    let more = message.refusal.is_some()
        || message.function_call.is_some()
        || message.audio.is_some()
        || message.tool_calls.is_some_and(|calls| !calls.is_empty());
    let finish = Finish::read(choice.finish_reason.as_deref()?);
    if more || finish != Finish::Stop {
        return None;
    }
    Some(Answer {
        model,
        text: message.content?,
        finish,
        usage,
    })
}

fn message(bytes: &[u8], input_bytes: u64) -> Result<Read, Invalid> {
    let message: Message = serde_json::from_slice(bytes).map_err(|_| Invalid::Shape)?;
    if message.r#type == "error" {
        return Err(Invalid::Error);
    }
    let blocks = message.content.ok_or(Invalid::Shape)?;
    let text_bytes: usize = blocks
        .iter()
        .map(|block| block.text.as_deref().map_or(0, str::len))
        .fold(0, usize::saturating_add);
    let usage = message.usage.map_or_else(
        || estimate(input_bytes, text_bytes as u64),
        AnthropicUsage::normal,
    );
    let all_text = blocks
        .iter()
        .all(|block| block.r#type == "text" && block.citations.is_none());
    let finish = message.stop_reason.as_deref().map(Finish::read);
    let plain = (all_text && !blocks.is_empty() && finish == Some(Finish::Stop)).then(|| Answer {
        model: message.model,
        text: blocks.into_iter().filter_map(|block| block.text).collect(),
        finish: Finish::Stop,
        usage,
    });
    Ok(Read { usage, plain })
}

/// Usage when the provider reports none: about four bytes a token (OpenAI's rule of thumb for English), never zero.
#[must_use]
pub fn estimate(input_bytes: u64, output_bytes: u64) -> Usage {
    Usage {
        input: input_bytes.div_ceil(4).max(1),
        cached: 0,
        output: output_bytes.div_ceil(4),
        estimated: true,
    }
}

#[cfg(test)]
mod tests {
    use super::{Invalid, whole};
    use crate::domain::llm::Protocol;
    use crate::domain::llm::message::{Finish, Usage};
    use serde_json::json;

    #[test]
    fn an_openai_answer_is_read() {
        let bytes = json!({
            "model": "gpt-x", "choices": [{"message": {"role": "assistant", "content": "Hi", "refusal": null}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
        });
        let read = whole(Protocol::OpenAi, bytes.to_string().as_bytes(), 0).unwrap();
        assert_eq!(
            read.usage,
            Usage {
                input: 10,
                cached: 4,
                output: 2,
                estimated: false
            }
        );
        let plain = read.plain.unwrap();
        assert_eq!((plain.text.as_str(), plain.finish), ("Hi", Finish::Stop));
    }

    #[test]
    fn an_anthropic_answer_is_read_and_its_input_includes_the_cache() {
        let bytes = json!({
            "type": "message", "model": "claude-x", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1, "output_tokens": 2}
        });
        let read = whole(Protocol::Anthropic, bytes.to_string().as_bytes(), 0).unwrap();
        assert_eq!(
            read.usage,
            Usage {
                input: 15,
                cached: 4,
                output: 2,
                estimated: false
            }
        );
        assert!(read.plain.is_some());
    }

    #[test]
    fn what_is_not_one_whole_plain_text_is_not_kept() {
        for choice in [
            json!({"message": {"content": null, "tool_calls": [{}]}, "finish_reason": "tool_calls"}),
            json!({"message": {"content": "cut"}, "finish_reason": "length"}),
            json!({"message": {"content": "no reason"}, "finish_reason": null}),
        ] {
            let bytes = json!({"choices": [choice]}).to_string();
            assert_eq!(
                whole(Protocol::OpenAi, bytes.as_bytes(), 8).unwrap().plain,
                None
            );
        }
    }

    #[test]
    fn missing_usage_is_estimated_and_flagged_never_zero() {
        let bytes =
            json!({"choices": [{"message": {"content": "12345"}, "finish_reason": "stop"}]})
                .to_string();
        let usage = whole(Protocol::OpenAi, bytes.as_bytes(), 8).unwrap().usage;
        assert_eq!(
            usage,
            Usage {
                input: 2,
                cached: 0,
                output: 2,
                estimated: true
            }
        );
    }

    #[test]
    fn errors_and_other_bodies_inside_a_200_are_failures() {
        for (protocol, body, fault) in [
            (Protocol::OpenAi, "<html>", Invalid::Shape),
            (Protocol::OpenAi, "{}", Invalid::Shape),
            (Protocol::OpenAi, r#"{"choices":[]}"#, Invalid::Shape),
            (
                Protocol::OpenAi,
                r#"{"error":{"message":"x"}}"#,
                Invalid::Error,
            ),
            (
                Protocol::Anthropic,
                r#"{"type":"error","error":{}}"#,
                Invalid::Error,
            ),
            (Protocol::Anthropic, r#"{"type":"message"}"#, Invalid::Shape),
        ] {
            assert_eq!(
                whole(protocol, body.as_bytes(), 0).unwrap_err(),
                fault,
                "{body}"
            );
        }
    }
}
