//! A streamed answer in normal form.
//!
//! Grammar: `Start (Open Delta* Close)* Finish? End`, with `Ping`, `Media` and `Usage` anywhere behind `Start`, and `Failed` as
//! the last event of a stream that broke in-band. Blocks never nest and never interleave, so a delta needs no index.

use serde_json::Value;

use crate::domain::llm::message::{Finish, Usage};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The answer begins.
    Start {
        /// The provider's id of the answer; empty when it gave none.
        id: String,
        /// The provider's name of the model that answers.
        model: String,
    },
    /// A block begins.
    Open(Block),
    /// More of the open block.
    Delta(Delta),
    /// The open block is complete.
    Close,
    /// Sound or a picture, which the normal form does not hold: real output, but of its own dialect alone.
    Media,
    /// What it took so far: cumulative, a later report replaces an earlier one.
    Usage(Usage),
    /// Why the model stopped.
    Finish {
        /// The reason.
        reason: Finish,
        /// The stop text that was met.
        stop_sequence: Option<String>,
    },
    /// The provider reports an error inside the stream.
    Failed(Failed),
    /// The dialect's own end marker: only now is the answer whole.
    End,
    /// A sign of life.
    Ping,
}

/// What kind of block opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Text of the answer.
    Text,
    /// A refusal in words.
    Refusal,
    /// Thinking.
    Reasoning {
        /// The item id that the Responses API gave it.
        id: Option<String>,
    },
    /// A tool call.
    ToolCall {
        /// Its id.
        id: String,
        /// The tool.
        name: String,
    },
}

/// More of a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// Text, refusal or thinking, as the block says.
    Text(String),
    /// A piece of a tool call's arguments (JSON text).
    Arguments(String),
    /// The signature of a thinking block.
    Signature(String),
    /// Sealed thinking.
    Sealed(String),
    /// A citation of a text block, in the provider's own form. Writers of other dialects leave it out.
    Citation(Value),
}

/// An error inside a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The provider's `type` or `code`, for the classification; may be empty.
    pub kind: String,
    /// The provider's text, not cleaned: never for the caller as it is.
    pub message: String,
}

impl Event {
    /// Real output: what commits an attempt. Until then everything is preamble and can still be taken back.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Open(Block::ToolCall { .. }) | Self::Media => true,
            Self::Delta(Delta::Text(text) | Delta::Arguments(text)) => !text.is_empty(),
            Self::Delta(Delta::Sealed(_)) => true,
            _ => false,
        }
    }
}

/// One Server-Sent Event on its way to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The `event` field.
    pub event: Option<&'static str>,
    /// The `data` field.
    pub data: String,
}

/// What stands on every answer that we write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Our id without a prefix; the writers put their dialect's in front (`chatcmpl-`, `msg_`, `resp_`).
    pub id: String,
    /// When the answer began, in milliseconds since 1970.
    pub created: crate::base::time::Millis,
    /// Our count of the input, for dialects that tell it before the provider does (Anthropic's `message_start`).
    pub estimated_input: u64,
    /// OpenAI chat: send the usage chunk at the end.
    pub include_usage: bool,
    /// The answer is the built-in answerer's.
    pub builtin: bool,
}
