//! The three dialects: each reads its requests, answers and streams into the normal form and writes them from it.
//!
//! Any caller's dialect meets any provider's through these functions alone; nothing here knows two dialects at once.

pub mod chat;
mod lost;
pub mod messages;
pub mod responses;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Protocol;
use super::normal::conversation::{Conversation, Written};
use super::normal::event::{Envelope, Event, Failed, Frame};
use super::normal::whole::Whole;
use crate::base::errors::Refusal;

/// Why bytes with status 200 are no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not JSON, or not of this dialect. The text is for the log.
    Shape(&'static str),
    /// An error object inside a 200.
    Error(Failed),
}

/// Reads a request body. Shape and types are checked here and every refusal names the field by its path.
///
/// # Errors
/// `missing_parameter`, `invalid_parameter`.
pub fn read_request(
    protocol: Protocol,
    body: &Map<String, Value>,
) -> Result<Conversation, Refusal> {
    match protocol {
        Protocol::Chat => chat::request::read(body),
        Protocol::Responses => responses::request::read(body),
        Protocol::Messages => messages::request::read(body),
    }
}

/// Writes a request body for a model, without `model` and `stream`.
#[must_use]
pub fn write_request(protocol: Protocol, conversation: &Conversation, model: &str) -> Written {
    match protocol {
        Protocol::Chat => chat::request::write(conversation),
        Protocol::Responses => responses::request::write(conversation),
        Protocol::Messages => {
            let generation = messages::request::Generation::of(model);
            messages::request::write_for(conversation, generation)
        }
    }
}

/// Reads a whole answer.
///
/// # Errors
/// See [`Invalid`].
pub fn read_whole(protocol: Protocol, body: &[u8]) -> Result<Whole, Invalid> {
    match protocol {
        Protocol::Chat => chat::whole::read(body),
        Protocol::Responses => responses::whole::read(body),
        Protocol::Messages => messages::whole::read(body),
    }
}

/// Writes a whole answer.
#[must_use]
pub fn write_whole(protocol: Protocol, whole: &Whole, envelope: &Envelope) -> Value {
    match protocol {
        Protocol::Chat => chat::whole::write(whole, envelope),
        Protocol::Responses => responses::whole::write(whole, envelope),
        Protocol::Messages => messages::whole::write(whole, envelope),
    }
}

/// Reads JSON as text: streams are text already, and serde has a parser of its own for bytes, which would hold every
/// shape a second time.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_str(str::from_utf8(body).ok()?).ok()
}

/// Reads a stream, one Server-Sent Event at a time.
#[derive(Debug)]
pub enum StreamReader {
    /// OpenAI chat completions.
    Chat(chat::stream::Reader),
    /// OpenAI responses.
    Responses(responses::stream::Reader),
    /// Anthropic messages.
    Messages(messages::stream::Reader),
}

impl StreamReader {
    /// A reader for a new stream.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Chat => Self::Chat(chat::stream::Reader::default()),
            Protocol::Responses => Self::Responses(responses::stream::Reader::default()),
            Protocol::Messages => Self::Messages(messages::stream::Reader::default()),
        }
    }

    /// Reads one event's data and appends what it means; what comes after an invalid event must not be read.
    ///
    /// # Errors
    /// The data is not of the dialect, or breaks its grammar.
    pub fn event(&mut self, data: &str, out: &mut Vec<Event>) -> Result<(), Invalid> {
        match self {
            Self::Chat(reader) => reader.event(data, out),
            Self::Responses(reader) => reader.event(data, out),
            Self::Messages(reader) => reader.event(data, out),
        }
    }
}

/// Writes a stream, one normal event at a time.
#[derive(Debug)]
pub enum StreamWriter {
    /// OpenAI chat completions.
    Chat(chat::stream::Writer),
    /// OpenAI responses.
    Responses(responses::stream::Writer),
    /// Anthropic messages.
    Messages(messages::stream::Writer),
}

impl StreamWriter {
    /// A writer for a new stream.
    #[must_use]
    pub fn new(protocol: Protocol, envelope: Envelope) -> Self {
        match protocol {
            Protocol::Chat => Self::Chat(chat::stream::Writer::new(envelope)),
            Protocol::Responses => Self::Responses(responses::stream::Writer::new(envelope)),
            Protocol::Messages => Self::Messages(messages::stream::Writer::new(envelope)),
        }
    }

    /// Writes what an event takes in this dialect: no frame, one or several.
    pub fn event(&mut self, event: &Event, out: &mut Vec<Frame>) {
        match self {
            Self::Chat(writer) => writer.event(event, out),
            Self::Responses(writer) => writer.event(event, out),
            Self::Messages(writer) => writer.event(event, out),
        }
    }

    /// Takes notice of the ids and numbers in the data of an event that reached the caller as the provider wrote it; to
    /// be called before [`StreamWriter::note`] for what the event says.
    pub fn follow(&mut self, data: &str) {
        match self {
            Self::Responses(writer) => writer.follow(data),
            Self::Messages(writer) => writer.follow(data),
            // A chat's chunks carry nothing but the answer's id.
            Self::Chat(_) => {}
        }
    }

    /// Takes notice of an event that reached the caller as the provider wrote it.
    pub fn note(&mut self, event: &Event) {
        match self {
            Self::Chat(writer) => writer.note(event),
            Self::Responses(writer) => writer.note(event),
            Self::Messages(writer) => writer.note(event),
        }
    }

    /// Goes on with the id and the model that the caller has seen.
    pub fn adopt(&mut self, id: &str, model: &str) {
        match self {
            Self::Chat(writer) => writer.adopt(id, model),
            Self::Responses(writer) => writer.adopt(id, model),
            Self::Messages(writer) => writer.adopt(id, model),
        }
    }
}
