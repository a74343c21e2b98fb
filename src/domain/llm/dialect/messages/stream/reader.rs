//! A provider's stream → normal events.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::messages::wire::{self, Message, failed};
use crate::domain::llm::dialect::messages::{usage, whole};
use crate::domain::llm::message::Finish;
use crate::domain::llm::normal::event::{Block, Delta, Event};

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Reader {
    stage: Stage,
    open: Option<Open>,
    /// One more than the greatest index of a block so far.
    next_index: u32,
    usage: Option<usage::Report>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Content,
    Finished,
    Ended,
}

#[derive(Debug)]
struct Open {
    index: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    Thinking,
    Redacted,
    /// With the whole `input` of the block's start, until a first piece comes.
    Tool {
        input: Option<String>,
    },
    /// A block of a server tool or of an unknown type.
    Ignored,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    index: Option<u32>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    content_block: Option<wire::Block<'a>>,
    #[serde(borrow)]
    delta: Option<WireDelta<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireDelta<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    #[serde(borrow)]
    citation: Option<&'a RawValue>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

const NO_EVENT: Invalid = Invalid::Shape("not an event of the Messages API");
const MISSING: Invalid = Invalid::Shape("an event without its fields");
const ORDER: Invalid = Invalid::Shape("events out of order");

impl Reader {
    /// Reads one event.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn event(&mut self, data: &str, out: &mut Vec<Event>) -> Result<(), Invalid> {
        let wire: Wire<'_> = match serde_json::from_str(data) {
            Ok(wire) => wire,
            Err(_) => return self.odd(data, out),
        };
        match wire.r#type.as_ref() {
            "content_block_delta" => self.delta(wire, out),
            "content_block_start" => self.start_block(wire, out),
            "content_block_stop" => self.stop_block(wire.index, out),
            "message_start" => self.start(wire.message, out),
            "message_delta" => self.message_delta(wire, out),
            "message_stop" => self.stop(out),
            "error" => {
                out.push(Event::Failed(failed(wire.error)));
                Ok(())
            }
            "ping" => {
                if self.stage != Stage::Before && self.stage != Stage::Ended {
                    out.push(Event::Ping);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The index that the next block would have: where a writer goes on that takes over from this stream
    /// ([`super::Writer::set_next_index`]).
    #[must_use]
    pub const fn next_index(&self) -> u32 {
        self.next_index
    }

    /// What is no event of ours: another end marker behind our own, an error without a type, or an event of an unknown
    /// type whose fields look different.
    fn odd(&self, data: &str, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if data == "[DONE]" && self.stage == Stage::Ended {
            return Ok(());
        }
        let odd: wire::Kind<'_> = serde_json::from_str(data).map_err(|_| NO_EVENT)?;
        match (odd.r#type.as_deref(), odd.error) {
            (None | Some("error"), Some(error)) => {
                out.push(Event::Failed(failed(Some(error))));
                Ok(())
            }
            (
                None | Some("error" | "ping" | "message_start" | "message_delta" | "message_stop"),
                _,
            ) => Err(NO_EVENT),
            (Some(kind), _) if kind.starts_with("content_block") => Err(NO_EVENT),
            (Some(_), _) => Ok(()),
        }
    }

    fn start(&mut self, message: Option<Message<'_>>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if self.stage != Stage::Before {
            return Err(ORDER);
        }
        let message = message.ok_or(MISSING)?;
        self.stage = Stage::Content;
        out.push(Event::Start {
            id: message.id.unwrap_or_default(),
            model: message.model.unwrap_or_default(),
        });
        self.report(message.usage, out);
        Ok(())
    }

    /// Reports what is known so far: a later report lies over an earlier one.
    fn report(&mut self, raw: Option<&RawValue>, out: &mut Vec<Event>) {
        let Some(report) = raw.and_then(usage::Report::read) else {
            return;
        };
        let report = report.over(self.usage.unwrap_or_default());
        self.usage = Some(report);
        out.push(Event::Usage(report.normal()));
    }

    fn start_block(&mut self, wire: Wire<'_>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if self.stage != Stage::Content || self.open.is_some() {
            return Err(ORDER);
        }
        let (Some(index), Some(block)) = (wire.index, wire.content_block) else {
            return Err(MISSING);
        };
        if index < self.next_index {
            return Err(ORDER);
        }
        self.next_index = index.saturating_add(1);
        let kind = open(block, out)?;
        self.open = Some(Open { index, kind });
        Ok(())
    }

    fn delta(&mut self, wire: Wire<'_>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        let delta = wire.delta.ok_or(MISSING)?;
        let Some(open) = &mut self.open else {
            return Err(ORDER);
        };
        if wire.index != Some(open.index) {
            return Err(ORDER);
        }
        let piece = match (&mut open.kind, delta.r#type.as_ref()) {
            (Kind::Ignored, _) => return Ok(()),
            (Kind::Text, "text_delta") => delta.text.map(Delta::Text),
            (Kind::Text, "citations_delta") => {
                let citation = delta.citation.ok_or(MISSING)?;
                let value = serde_json::from_str(citation.get()).map_err(|_| MISSING)?;
                out.push(Event::Delta(Delta::Citation(value)));
                return Ok(());
            }
            (Kind::Thinking, "thinking_delta") => delta.thinking.map(Delta::Text),
            (Kind::Thinking, "signature_delta") => delta.signature.map(Delta::Signature),
            (Kind::Tool { input }, "input_json_delta") => {
                if delta
                    .partial_json
                    .as_ref()
                    .is_some_and(|json| !json.is_empty())
                {
                    *input = None;
                }
                delta.partial_json.map(Delta::Arguments)
            }
            (
                _,
                "text_delta" | "citations_delta" | "thinking_delta" | "signature_delta"
                | "input_json_delta",
            ) => return Err(Invalid::Shape("a delta of another kind of block")),
            (_, "") => return Err(MISSING),
            // A kind of delta that is not known yet.
            _ => return Ok(()),
        };
        push(piece.ok_or(MISSING)?, out);
        Ok(())
    }

    fn stop_block(&mut self, index: Option<u32>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        let open = self.open.take().ok_or(ORDER)?;
        if index != Some(open.index) {
            return Err(ORDER);
        }
        match open.kind {
            Kind::Ignored => return Ok(()),
            Kind::Tool { input: Some(input) } => push(Delta::Arguments(input), out),
            _ => {}
        }
        out.push(Event::Close);
        Ok(())
    }

    fn message_delta(&mut self, wire: Wire<'_>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if !matches!(self.stage, Stage::Content | Stage::Finished) || self.open.is_some() {
            return Err(ORDER);
        }
        self.report(wire.usage, out);
        let Some(delta) = wire.delta else {
            return Ok(());
        };
        if let Some(reason) = &delta.stop_reason
            && self.stage == Stage::Content
        {
            self.stage = Stage::Finished;
            out.push(Event::Finish {
                reason: Finish::read(reason),
                stop_sequence: delta.stop_sequence,
            });
        }
        Ok(())
    }

    fn stop(&mut self, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if !matches!(self.stage, Stage::Content | Stage::Finished) || self.open.is_some() {
            return Err(ORDER);
        }
        self.stage = Stage::Ended;
        out.push(Event::End);
        Ok(())
    }
}

/// Opens a block. Some servers put content into the block's start; the API leaves it empty.
fn open(block: wire::Block<'_>, out: &mut Vec<Event>) -> Result<Kind, Invalid> {
    let (kind, opened) = match block.r#type.as_ref() {
        "text" => (Kind::Text, Block::Text),
        "thinking" => (Kind::Thinking, Block::Reasoning { id: None }),
        "redacted_thinking" => (Kind::Redacted, Block::Reasoning { id: None }),
        "tool_use" => {
            let input = block
                .input
                .map(|raw| whole::arguments(raw.get()))
                .filter(|input| !matches!(input.as_str(), "" | "null" | "{}"));
            let (Some(id), Some(name)) = (block.id, block.name) else {
                return Err(MISSING);
            };
            (Kind::Tool { input }, Block::ToolCall { id, name })
        }
        _ => return Ok(Kind::Ignored),
    };
    out.push(Event::Open(opened));
    let begun = match kind {
        Kind::Text => [block.text.map(Delta::Text), None],
        Kind::Thinking => [
            block.thinking.map(Delta::Text),
            block.signature.map(Delta::Signature),
        ],
        Kind::Redacted => [Some(Delta::Sealed(block.data.ok_or(MISSING)?)), None],
        Kind::Tool { .. } | Kind::Ignored => [None, None],
    };
    for delta in begun.into_iter().flatten() {
        push(delta, out);
    }
    Ok(kind)
}

/// Pieces that say nothing are left out.
fn push(delta: Delta, out: &mut Vec<Event>) {
    let empty = match &delta {
        Delta::Text(text) | Delta::Arguments(text) | Delta::Signature(text) => text.is_empty(),
        Delta::Sealed(_) | Delta::Citation(_) => false,
    };
    if !empty {
        out.push(Event::Delta(delta));
    }
}
