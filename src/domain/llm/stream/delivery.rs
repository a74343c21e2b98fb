//! The steps of one or several attempts → the caller's stream.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::inlet::{MAX_KEPT_BYTES, Step};
use super::splice::Splice;
use crate::base::errors::Refusal;
use crate::base::sse::write_event;
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::StreamWriter;
use crate::domain::llm::dialect::responses::echo::Echo;
use crate::domain::llm::engine::Mode;
use crate::domain::llm::message::Usage;
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event, Frame};
use crate::domain::llm::normal::whole::{Collector, Whole};
use crate::domain::llm::render::error_frame;
use crate::domain::llm::tokens;

/// How the caller's stream is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The caller's protocol.
    pub protocol: Protocol,
    /// Leave out the chunk that carries nothing but usage (OpenAI chat): the caller did not ask for it, we did.
    pub hide_usage: bool,
    /// Number the events from 0 (`id:`) and give the answer our own id, so that a client can attach again.
    pub numbered: bool,
    /// Keep the answer: for a continuation, a cache, a store.
    pub keep: bool,
}

/// Makes the caller's stream.
#[derive(Debug)]
pub struct Delivery {
    options: Options,
    writer: StreamWriter,
    envelope: Envelope,
    how: How,
    open: Option<Block>,
    /// The provider said that the open text is done (Responses API), but not that its block is: a continuation opens
    /// another one, since nothing may follow a text that is done.
    text_done: bool,
    collector: Collector,
    kept_bytes: u64,
    /// What earlier attempts of this answer took.
    spent: Usage,
    /// The bytes of what they said.
    bytes_before: u64,
    /// The provider of this attempt has told usage.
    usage_told: bool,
    /// The provider's id of the answer, which is replaced by ours.
    foreign_id: Option<String>,
    sequence: u64,
    /// What responses repeat of their request.
    echo: Option<Echo>,
    /// The search in documents was told.
    search_told: bool,
}

#[derive(Debug)]
enum How {
    /// Events pass as the provider wrote them.
    Forward,
    /// Events are written anew.
    Translate,
    /// Events of a later attempt go on where an earlier one broke.
    Continue {
        splice: Splice,
        /// The block that the provider has open is one the caller does not see.
        skipping: bool,
    },
}

impl Delivery {
    /// A new answer's.
    #[must_use]
    pub fn new(options: Options, envelope: Envelope) -> Self {
        Self {
            options,
            writer: StreamWriter::new(options.protocol, envelope.clone()),
            envelope,
            how: How::Translate,
            open: None,
            text_done: false,
            collector: Collector::default(),
            kept_bytes: 0,
            spent: Usage::default(),
            bytes_before: 0,
            usage_told: false,
            foreign_id: None,
            sequence: 0,
            echo: None,
            search_told: false,
        }
    }

    /// The same, with what its responses repeat of the request (Responses API).
    #[must_use]
    pub fn echoing(self, echo: Option<Echo>) -> Self {
        Self { echo, ..self }
    }

    /// From now on an attempt at a provider of that protocol is delivered. `spent` is what earlier attempts took.
    pub fn begin(&mut self, protocol: Protocol, mode: Mode, spent: Usage) {
        self.spent = spent;
        self.bytes_before = self.kept_bytes;
        self.usage_told = false;
        let begun = self.sequence > 0;
        self.how = if begun {
            How::Continue {
                splice: Splice::new(&self.text(), mode == Mode::Instruction),
                skipping: false,
            }
        } else if protocol == self.options.protocol {
            How::Forward
        } else {
            How::Translate
        };
    }

    /// The text that the caller has.
    #[must_use]
    pub fn text(&self) -> String {
        self.collector.so_far().text()
    }

    /// Can another attempt go on from what the caller has?
    #[must_use]
    pub const fn continuable(&self) -> bool {
        self.options.keep && self.kept_bytes <= MAX_KEPT_BYTES
    }

    /// The whole answer, once it has ended and was not too long to be kept.
    #[must_use]
    pub fn finished(&self) -> Option<&Whole> {
        self.continuable()
            .then(|| self.collector.finished())
            .flatten()
    }

    /// The number that the next event will carry.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Delivers a step.
    pub fn step(&mut self, step: &Step, out: &mut Vec<u8>) {
        match &self.how {
            How::Forward => self.forward(step, out),
            How::Translate => {
                for event in &step.events {
                    self.write(event, out);
                }
            }
            How::Continue { .. } => {
                if core::mem::take(&mut self.text_done) && self.open.is_some() {
                    self.write(&Event::Close, out);
                }
                for event in &step.events {
                    for event in self.continued(event) {
                        self.write(&event, out);
                    }
                }
            }
        }
    }

    /// Appends an event of our own, such as the error that ends a broken stream.
    pub fn append(&mut self, name: Option<&str>, data: &str, out: &mut Vec<u8>) {
        if self.options.numbered {
            out.extend_from_slice(format!("id: {}\n", self.sequence).as_bytes());
        }
        self.sequence = self.sequence.saturating_add(1);
        write_event(out, name, data);
    }

    /// Appends an error in the caller's dialect.
    pub fn error(&mut self, refusal: &Refusal, request_id: &str, out: &mut Vec<u8>) {
        let frame = error_frame(self.options.protocol, refusal, request_id, self.sequence);
        self.append(frame.event, &frame.data, out);
    }

    fn forward(&mut self, step: &Step, out: &mut Vec<u8>) {
        if self.options.keep {
            self.writer.follow(&step.data);
        }
        for event in &step.events {
            self.note(event);
        }
        self.text_done = self.options.protocol == Protocol::Responses
            && (is_text_done(step) || self.text_done && step.events.is_empty());
        let told = if self.options.hide_usage {
            without_usage(step)
        } else {
            Some(Cow::Borrowed(step.data.as_str()))
        };
        let Some(told) = told else { return };
        let ours = self.foreign_id.as_ref().map(|foreign| {
            let quoted = format!("\"{}\"", self.id());
            told.replace(&format!("\"{foreign}\""), &quoted)
        });
        let ours = ours.as_deref().unwrap_or(&told);
        self.tell_search(ours, out);
        let echoed = self.echo.as_ref().and_then(|echo| echo.event(ours, true));
        let data = echoed.as_deref().unwrap_or(ours);
        self.append(step.name.as_deref(), data, out);
    }

    /// Tells of the search in documents before the first event that tells of output.
    fn tell_search(&mut self, before: &str, out: &mut Vec<u8>) {
        if self.search_told || !self.echo.as_ref().is_some_and(Echo::searched) {
            return;
        }
        let echo = self.echo.as_ref();
        for (name, data) in echo.map(|echo| echo.opening(before)).unwrap_or_default() {
            self.search_told = true;
            self.append(Some(name), &data, out);
        }
    }

    /// The answer's id as the caller's dialect spells it.
    #[must_use]
    pub fn id(&self) -> String {
        full_id(self.options.protocol, &self.envelope.id)
    }

    /// Takes notice of an event that passes as it is.
    fn note(&mut self, event: &Event) {
        if let Event::Start { id, model } = event {
            if self.options.numbered && !id.is_empty() {
                self.foreign_id = Some(id.clone());
            }
            if self.options.keep {
                let id = if self.options.numbered {
                    self.id()
                } else {
                    id.clone()
                };
                self.writer.note(event);
                self.writer.adopt(&id, model);
            }
        } else if self.options.keep {
            self.writer.note(event);
        }
        self.remember(event);
    }

    fn remember(&mut self, event: &Event) {
        match event {
            Event::Open(block) => self.open = Some(block.clone()),
            Event::Close => self.open = None,
            Event::Delta(Delta::Text(text) | Delta::Arguments(text)) => {
                self.kept_bytes = self.kept_bytes.saturating_add(text.len() as u64);
            }
            _ => {}
        }
        if self.continuable() {
            self.collector.push(event);
        }
    }

    /// Our count of what the attempt took, for a provider that tells nothing.
    fn estimate(&self) -> Usage {
        let said = self.kept_bytes.saturating_sub(self.bytes_before);
        // About four bytes make a token.
        tokens::estimated(self.envelope.estimated_input, said.div_ceil(4))
    }

    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        if *event == Event::End && !self.usage_told {
            let usage = Event::Usage(self.estimate());
            self.write(&usage, out);
        }
        self.usage_told |= matches!(event, Event::Usage(_));
        let event = match event {
            Event::Usage(usage) => &Event::Usage(self.spent.plus(*usage)),
            other => other,
        };
        self.remember(event);
        let mut frames: Vec<Frame> = Vec::new();
        self.writer.event(event, &mut frames);
        for frame in frames {
            self.tell_search(&frame.data, out);
            let echo = self.echo.as_ref();
            let echoed = echo.and_then(|echo| echo.event(&frame.data, false));
            self.append(frame.event, echoed.as_deref().unwrap_or(&frame.data), out);
        }
    }

    /// What an event of a continuing attempt means to the caller, who has the beginning already.
    fn continued(&mut self, event: &Event) -> Vec<Event> {
        let open = self.open.clone();
        let has_text = self.collector.so_far().parts.iter().any(
            |part| matches!(part, crate::domain::llm::normal::conversation::Part::Text { text, .. } if !text.is_empty()),
        );
        let How::Continue { splice, skipping } = &mut self.how else {
            return vec![event.clone()];
        };
        if *skipping {
            *skipping = !matches!(event, Event::Close);
            return Vec::new();
        }
        let closed = |first: Event| match open {
            Some(_) => vec![Event::Close, first],
            None => vec![first],
        };
        match event {
            Event::Start { .. } => Vec::new(),
            Event::Open(Block::Text) if open == Some(Block::Text) => Vec::new(),
            // The model thinks again before it goes on: the caller is past that.
            Event::Open(Block::Reasoning { .. }) if has_text => {
                *skipping = true;
                Vec::new()
            }
            Event::Open(Block::Text) => closed(event.clone()),
            Event::Open(_) => {
                let rest = splice.end();
                let mut events = Vec::new();
                if open == Some(Block::Text) && !rest.is_empty() {
                    events.push(Event::Delta(Delta::Text(rest)));
                }
                events.extend(closed(event.clone()));
                events
            }
            Event::Delta(Delta::Text(text)) if open == Some(Block::Text) => {
                let new = splice.push(text);
                if new.is_empty() {
                    Vec::new()
                } else {
                    vec![Event::Delta(Delta::Text(new))]
                }
            }
            Event::Close | Event::Finish { .. } if open == Some(Block::Text) => {
                let rest = splice.end();
                let mut events = Vec::new();
                if !rest.is_empty() {
                    events.push(Event::Delta(Delta::Text(rest)));
                }
                events.push(Event::Close);
                if !matches!(event, Event::Close) {
                    events.push(event.clone());
                }
                events
            }
            Event::Finish { .. } => closed(event.clone()),
            Event::Close if open.is_none() => Vec::new(),
            other => vec![other.clone()],
        }
    }
}

/// Does the event say that a text or refusal is done? The name stands in quotes of its own, so it is no word of the text.
fn is_text_done(step: &Step) -> bool {
    ["response.output_text.done", "response.refusal.done"]
        .iter()
        .any(|name| match &step.name {
            Some(event) => event == name,
            None => step.data.contains(&format!("\"{name}\"")),
        })
}

/// A chat chunk without its usage, which nobody asked for; `None` for the chunk that is there for it alone. Some servers
/// tell usage in every chunk, beside words and other choices, and OpenAI a null.
fn without_usage(step: &Step) -> Option<Cow<'_, str>> {
    let data = step.data.as_str();
    if let Some((before, behind)) = around_null_usage(data) {
        return Some(Cow::Owned([before, behind].concat()));
    }
    // Zeros are no usage to us, but a chunk of them all the same.
    let told = step.events.iter().any(|e| matches!(e, Event::Usage(_)));
    if !told && !data.contains("\"usage\":{") {
        return Some(Cow::Borrowed(data));
    }
    let Ok(mut chunk) = serde_json::from_str::<Map<String, Value>>(data) else {
        return Some(Cow::Borrowed(data));
    };
    let usage = chunk.shift_remove("usage");
    if usage.is_none_or(|usage| !usage.is_object()) {
        return Some(Cow::Borrowed(data));
    }
    let choices = chunk.get("choices").and_then(Value::as_array);
    let more = choices.is_some_and(|choices| !choices.is_empty());
    more.then(|| Cow::Owned(Value::Object(chunk).to_string()))
}

/// What stands around `,"usage":null` in a chunk, if that is in it. Inside a text its quotes would be escaped.
fn around_null_usage(data: &str) -> Option<(&str, &str)> {
    let (before, behind) = data.split_once(",\"usage\":")?;
    Some((before, behind.trim_start().strip_prefix("null")?))
}

/// An id with the prefix of its dialect.
#[must_use]
pub fn full_id(protocol: Protocol, id: &str) -> String {
    let prefix = match protocol {
        Protocol::Chat => "chatcmpl-",
        Protocol::Responses => "resp_",
        Protocol::Messages => "msg_",
    };
    format!("{prefix}{id}")
}

#[cfg(test)]
mod tests;
