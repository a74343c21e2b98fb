//! Watching a streamed answer from the side: end marker, usage, text, and whether it was an answer at all.

use serde::Deserialize;

use super::Protocol;
use super::message::{Answer, Finish, Usage};
use super::read::{AnthropicUsage, OpenAiUsage, estimate};
use crate::base::sse::{DEFAULT_CAP_BYTES, Parser};

/// What was seen of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The protocol's end marker came: `data: [DONE]`, or `message_stop`.
    pub ended: bool,
    /// An error came inside the stream.
    pub failed: bool,
    /// Something that is not the protocol came.
    pub malformed: bool,
    /// Usage, estimated where the provider told none.
    pub usage: Usage,
    /// The whole answer in normal form, when it was kept, ended well and is one plain text.
    pub answer: Option<Answer>,
    /// The stream stopped inside an event: whatever is appended must first end that event.
    pub inside_event: bool,
}

/// Reads a stream as it passes.
pub struct Observer {
    protocol: Protocol,
    parser: Parser,
    state: State,
}

struct State {
    protocol: Protocol,
    keep: bool,
    input_bytes: u64,
    text_bytes: u64,
    text: String,
    model: String,
    finish: Option<Finish>,
    openai: Option<OpenAiUsage>,
    anthropic: Option<AnthropicUsage>,
    plain: bool,
    ended: bool,
    failed: bool,
    malformed: bool,
}

/// Longest text that is kept for the cache, in bytes.
const MAX_KEPT_BYTES: usize = 262_144; // 256 KiB

impl Observer {
    /// Watches a stream of that protocol; `keep` also collects the answer's text.
    #[must_use]
    pub fn new(protocol: Protocol, keep: bool, input_bytes: u64) -> Self {
        Self {
            protocol,
            parser: Parser::new(DEFAULT_CAP_BYTES),
            state: State {
                protocol,
                keep,
                input_bytes,
                text_bytes: 0,
                text: String::new(),
                model: String::new(),
                finish: None,
                openai: None,
                anthropic: None,
                plain: true,
                ended: false,
                failed: false,
                malformed: false,
            },
        }
    }

    /// The protocol that is watched.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state.malformed {
            return;
        }
        let state = &mut self.state;
        if self
            .parser
            .push(bytes, |event| state.event(event.data))
            .is_err()
        {
            self.state.malformed = true;
        }
    }

    /// What was seen up to here.
    #[must_use]
    pub fn observation(&self) -> Observation {
        let state = &self.state;
        let usage = match (state.openai, state.anthropic) {
            (Some(usage), _) => usage.normal(),
            (None, Some(usage)) => usage.normal(),
            (None, None) => estimate(state.input_bytes, state.text_bytes),
        };
        let whole = state.ended && !state.failed && !state.malformed;
        let answer = (whole && state.keep && state.plain && state.finish == Some(Finish::Stop))
            .then(|| Answer {
                model: state.model.clone(),
                text: state.text.clone(),
                finish: Finish::Stop,
                usage,
            });
        Observation {
            ended: state.ended,
            failed: state.failed,
            malformed: state.malformed,
            usage,
            answer,
            // A parser that gave up may have stopped anywhere.
            inside_event: state.malformed || self.parser.pending(),
        }
    }
}

impl State {
    fn event(&mut self, data: &str) {
        match self.protocol {
            Protocol::OpenAi => self.openai_event(data),
            Protocol::Anthropic => self.anthropic_event(data),
        }
    }

    fn openai_event(&mut self, data: &str) {
        if data == "[DONE]" {
            self.ended = true;
            return;
        }
        let Ok(chunk) = serde_json::from_str::<Chunk>(data) else {
            self.malformed = true;
            return;
        };
        self.failed |= chunk.error.is_some();
        self.openai = chunk.usage.or(self.openai);
        if self.keep && self.model.is_empty() {
            self.model = chunk
                .model
                .map(std::borrow::Cow::into_owned)
                .unwrap_or_default();
        }
        for choice in chunk.choices.unwrap_or_default() {
            self.plain &= choice.index == 0
                && choice.delta.tool_calls.is_none()
                && choice.delta.function_call.is_none()
                && choice.delta.refusal.is_none();
            if let Some(text) = choice.delta.content {
                self.text(&text);
            }
            if let Some(reason) = choice.finish_reason {
                self.finish = Some(Finish::read(&reason));
            }
        }
    }

    fn anthropic_event(&mut self, data: &str) {
        let Ok(event) = serde_json::from_str::<AnthropicEvent>(data) else {
            self.malformed = true;
            return;
        };
        match event.r#type.as_ref() {
            "message_stop" => self.ended = true,
            "error" => self.failed = true,
            "message_start" => {
                if let Some(message) = event.message {
                    self.model = message
                        .model
                        .map(std::borrow::Cow::into_owned)
                        .unwrap_or_default();
                    self.anthropic = message.usage;
                }
            }
            "content_block_start" => {
                self.plain &= event
                    .content_block
                    .is_none_or(|block| block.r#type == "text");
            }
            "content_block_delta" => match event.delta {
                Some(AnthropicDelta {
                    text: Some(text), ..
                }) => self.text(&text),
                _ => self.plain = false,
            },
            "message_delta" => {
                if let Some(usage) = event.usage {
                    self.anthropic = Some(usage.over(self.anthropic.unwrap_or_default()));
                }
                if let Some(reason) = event.delta.and_then(|delta| delta.stop_reason) {
                    self.finish = Some(Finish::read(&reason));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        self.text_bytes = self.text_bytes.saturating_add(text.len() as u64);
        if self.keep {
            if self.text.len().saturating_add(text.len()) > MAX_KEPT_BYTES {
                self.keep = false;
                self.text = String::new();
            } else {
                self.text.push_str(text);
            }
        }
    }
}

use std::borrow::Cow;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    choices: Option<Vec<ChunkChoice<'a>>>,
    #[serde(default)]
    usage: Option<OpenAiUsage>,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ChunkChoice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: ChunkDelta<'a>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct ChunkDelta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(default)]
    tool_calls: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    function_call: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    refusal: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct AnthropicEvent<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Option<AnthropicStart<'a>>,
    #[serde(borrow, default)]
    content_block: Option<AnthropicBlock<'a>>,
    #[serde(borrow, default)]
    delta: Option<AnthropicDelta<'a>>,
    #[serde(default)]
    usage: Option<AnthropicUsage>,
}

#[derive(Deserialize)]
struct AnthropicStart<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<AnthropicUsage>,
}

#[derive(Deserialize)]
struct AnthropicBlock<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct AnthropicDelta<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::Observer;
    use crate::domain::llm::Protocol;
    use crate::domain::llm::message::Usage;

    const OPENAI: &str = "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"He\"},\"finish_reason\":null}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"llo \\u4f60\"}}],\"usage\":null}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}}\n\n\
        data: [DONE]\n\n";

    const ANTHROPIC: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c\",\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n\
        event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
        event: ping\ndata: {\"type\":\"ping\"}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n\
        event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    #[test]
    fn any_split_is_read_alike() {
        for (protocol, stream, text, usage) in [
            (
                Protocol::OpenAi,
                OPENAI,
                "Hello 你",
                Usage {
                    input: 5,
                    cached: 0,
                    output: 3,
                    estimated: false,
                },
            ),
            (
                Protocol::Anthropic,
                ANTHROPIC,
                "Hi",
                Usage {
                    input: 7,
                    cached: 0,
                    output: 4,
                    estimated: false,
                },
            ),
        ] {
            for at in 0..=stream.len() {
                let mut observer = Observer::new(protocol, true, 0);
                let (a, b) = stream.as_bytes().split_at(at);
                observer.push(a);
                observer.push(b);
                let seen = observer.observation();
                assert!(
                    seen.ended && !seen.failed && !seen.malformed && !seen.inside_event,
                    "split at {at}"
                );
                assert_eq!(seen.usage, usage);
                assert_eq!(seen.answer.unwrap().text, text);
            }
        }
    }

    #[test]
    fn a_stream_cut_anywhere_has_not_ended() {
        for (protocol, stream) in [(Protocol::OpenAi, OPENAI), (Protocol::Anthropic, ANTHROPIC)] {
            // The last two bytes are the line end and the blank line that delivers the end marker.
            for at in 0..stream.len() - 1 {
                let mut observer = Observer::new(protocol, true, 0);
                observer.push(&stream.as_bytes()[..at]);
                let seen = observer.observation();
                assert!(!seen.ended && seen.answer.is_none(), "cut at {at}");
            }
        }
    }

    #[test]
    fn errors_and_nonsense_inside_a_stream_are_seen() {
        let mut observer = Observer::new(Protocol::OpenAi, true, 0);
        observer.push(b"data: {\"error\":{\"message\":\"x\"}}\n\n");
        assert!(observer.observation().failed);
        let mut observer = Observer::new(Protocol::OpenAi, true, 0);
        observer.push(b"data: {\"choices\": oops\n\n");
        assert!(observer.observation().malformed);
        let mut observer = Observer::new(Protocol::Anthropic, true, 0);
        observer.push(b"event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n");
        assert!(observer.observation().failed);
    }

    #[test]
    fn without_usage_the_count_is_estimated() {
        let mut observer = Observer::new(Protocol::OpenAi, false, 400);
        observer.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n");
        let usage = observer.observation().usage;
        assert_eq!(
            usage,
            Usage {
                input: 100,
                cached: 0,
                output: 2,
                estimated: true
            }
        );
    }

    #[test]
    fn tool_calls_are_not_kept() {
        let mut observer = Observer::new(Protocol::OpenAi, true, 0);
        observer.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{}]},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
        assert_eq!(observer.observation().answer, None);
    }
}
