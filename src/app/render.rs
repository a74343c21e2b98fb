//! An answer in normal form as a reply: what the cache and the built-in answerer send.

use serde_json::Value;

use super::port::Port;
use super::reply::Reply;
use crate::base::ids::prefixed;
use crate::domain::llm::Protocol;
use crate::domain::llm::message::Answer;
use crate::domain::llm::render::{self, Envelope};

/// How a caller wants its answer.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// In which protocol.
    pub protocol: Protocol,
    /// As a stream?
    pub stream: bool,
    /// With the usage chunk (OpenAI streams)?
    pub include_usage: bool,
}

/// Renders an answer; `pieces` joined are its text.
pub fn rendered<P: Port>(
    port: &P,
    form: Form,
    answer: &Answer,
    pieces: &[String],
    builtin: bool,
) -> Reply<P> {
    let id = prefixed("gh", &port.random());
    let envelope = Envelope {
        id: &id,
        created: port.now(),
        builtin,
    };
    if form.stream {
        let bytes = render::stream(form.protocol, answer, pieces, form.include_usage, envelope);
        stream_head(Reply::status(200)).bytes(bytes)
    } else {
        Reply::json(200, render::whole(form.protocol, answer, envelope))
    }
}

/// The headers of an event stream, which nothing on the way may hold back.
pub fn stream_head<P: Port>(reply: Reply<P>) -> Reply<P> {
    reply
        .header("content-type", "text/event-stream; charset=utf-8")
        .header("cache-control", "no-store, no-transform")
        .header("x-accel-buffering", "no")
}

/// The text of a whole answer, also of one that the output ceiling cut.
#[must_use]
pub fn plain_text(protocol: Protocol, bytes: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(bytes).ok()?;
    match protocol {
        Protocol::OpenAi => Some(
            body.pointer("/choices/0/message/content")?
                .as_str()?
                .to_owned(),
        ),
        Protocol::Anthropic => {
            let blocks = body.get("content")?.as_array()?;
            Some(
                blocks
                    .iter()
                    .filter_map(|block| block.get("text")?.as_str())
                    .collect(),
            )
        }
    }
}
