//! Normal events → a caller's stream.

use serde_json::{Value, json};

use crate::domain::llm::dialect::messages::{usage, whole};
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event, Frame};

/// Writes a stream. Order and fields follow the SDK's `RawMessageStreamEvent`: one `message_start`, blocks one after
/// the other, one `message_delta` with the reason and the whole usage when the answer has ended, one `message_stop`.
#[derive(Debug)]
pub struct Writer {
    envelope: Envelope,
    /// The full id.
    id: String,
    model: String,
    stage: Stage,
    open: Option<Open>,
    next_index: u32,
    /// Held back to the block's end: the SDK takes each `signature_delta` for the whole signature.
    signature: String,
    usage: Option<Usage>,
    finish: Option<(Finish, Option<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    Content,
    Ended,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Tool,
    /// Thinking of which nothing has come, so that it is open whether it has words or is sealed. Not on the wire yet.
    Undecided,
    Thinking,
    Redacted,
    /// Thinking that somebody else wrote.
    Noted,
}

impl Writer {
    /// A writer for a new stream.
    #[must_use]
    pub fn new(envelope: Envelope) -> Self {
        Self {
            id: format!("msg_{}", envelope.id),
            envelope,
            model: String::new(),
            stage: Stage::Before,
            open: None,
            next_index: 0,
            signature: String::new(),
            usage: None,
            finish: None,
        }
    }

    /// Takes over id and model of a stream that the caller has seen the beginning of; the id with its prefix.
    pub fn adopt(&mut self, id: &str, model: &str) {
        id.clone_into(&mut self.id);
        model.clone_into(&mut self.model);
    }

    /// Takes over the count of blocks ([`super::Reader::next_index`]); needed only where the forwarded stream had blocks
    /// that the normal form leaves out.
    pub const fn set_next_index(&mut self, index: u32) {
        self.next_index = index;
    }

    /// Takes over the index of a block from the data of a forwarded event, also of blocks that the normal form leaves out.
    pub fn follow(&mut self, data: &str) {
        #[derive(serde::Deserialize)]
        struct Mark<'a> {
            #[serde(borrow)]
            r#type: std::borrow::Cow<'a, str>,
            #[serde(default)]
            index: Option<u32>,
        }
        if !data.contains("content_block_st") {
            return;
        }
        let Ok(mark) = serde_json::from_str::<Mark<'_>>(data) else {
            return;
        };
        match (mark.r#type.as_ref(), mark.index) {
            ("content_block_start", Some(index)) => self.next_index = index,
            ("content_block_stop", Some(index)) => self.next_index = index.saturating_add(1),
            _ => {}
        }
    }

    /// Notes an event whose frames somebody else has sent.
    pub fn note(&mut self, event: &Event) {
        let mut unused = Vec::new();
        match (event, self.open) {
            (Event::Open(Block::Reasoning { .. }), _) => {
                self.close(&mut unused);
                self.open = Some(Open::Noted);
                self.next_index = self.next_index.saturating_add(1);
            }
            (Event::Delta(_), Some(Open::Noted)) => {}
            _ => self.event(event, &mut unused),
        }
        self.signature.clear();
    }

    /// Writes one event. Events behind `End` are left out, and so is a second `Start`.
    pub fn event(&mut self, event: &Event, out: &mut Vec<Frame>) {
        match (self.stage, event) {
            (Stage::Before, Event::Start { model, .. }) => self.start(model, out),
            (Stage::Before | Stage::Content, Event::Usage(usage)) => self.usage = Some(*usage),
            (Stage::Content, event) => self.content(event, out),
            _ => {}
        }
    }

    fn content(&mut self, event: &Event, out: &mut Vec<Frame>) {
        match event {
            Event::Open(block) => {
                self.close(out);
                self.begin(block, out);
            }
            Event::Delta(delta) => self.delta(delta, out),
            Event::Close => self.close(out),
            Event::Finish {
                reason,
                stop_sequence,
            } => {
                self.close(out);
                self.finish = Some((*reason, stop_sequence.clone()));
            }
            Event::End => self.end(out),
            Event::Ping => out.push(frame("ping", r#"{"type":"ping"}"#.to_owned())),
            // The app writes the error.
            Event::Failed(_) | Event::Start { .. } | Event::Usage(_) | Event::Media => {}
        }
    }

    fn start(&mut self, model: &str, out: &mut Vec<Frame>) {
        self.stage = Stage::Content;
        if self.model.is_empty() {
            model.clone_into(&mut self.model);
        }
        let usage = self.usage.unwrap_or(Usage {
            input: self.envelope.estimated_input,
            ..Usage::default()
        });
        let usage = usage::of_message(Usage {
            output: 0,
            reasoning: 0,
            ..usage
        });
        let message = whole::message(&self.id, &self.model, usage, &self.envelope);
        let data = format!(
            r#"{{"type":"message_start","message":{}}}"#,
            Value::Object(message)
        );
        out.push(frame("message_start", data));
    }

    fn begin(&mut self, block: &Block, out: &mut Vec<Frame>) {
        match block {
            Block::Text | Block::Refusal => self.begin_text(out),
            Block::Reasoning { .. } => self.open = Some(Open::Undecided),
            Block::ToolCall { id, name } => {
                let block = format!(
                    r#"{{"type":"tool_use","id":{},"name":{},"input":{{}},"caller":{{"type":"direct"}}}}"#,
                    quoted(id),
                    quoted(name)
                );
                self.open_block(Open::Tool, &block, out);
            }
        }
    }

    fn begin_text(&mut self, out: &mut Vec<Frame>) {
        let block = r#"{"type":"text","text":"","citations":null}"#;
        self.open_block(Open::Text, block, out);
    }

    fn open_block(&mut self, open: Open, block: &str, out: &mut Vec<Frame>) {
        let index = self.next_index;
        self.next_index = index.saturating_add(1);
        self.open = Some(open);
        let data =
            format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#);
        out.push(frame("content_block_start", data));
    }

    fn delta(&mut self, delta: &Delta, out: &mut Vec<Frame>) {
        match (delta, self.open) {
            (Delta::Text(text), Some(Open::Text)) => self.piece("text_delta", "text", text, out),
            // A text that somebody else has begun and closed goes on.
            (Delta::Text(text), None) => {
                self.begin_text(out);
                self.piece("text_delta", "text", text, out);
            }
            (Delta::Text(text), Some(Open::Noted)) => {
                self.piece("thinking_delta", "thinking", text, out);
            }
            (Delta::Text(text), Some(Open::Undecided | Open::Thinking | Open::Redacted))
                if !text.is_empty() =>
            {
                self.think(out);
                self.piece("thinking_delta", "thinking", text, out);
            }
            (
                Delta::Signature(signature),
                Some(Open::Undecided | Open::Thinking | Open::Redacted),
            ) => {
                self.think(out);
                self.signature.push_str(signature);
            }
            (Delta::Signature(signature), Some(Open::Noted)) => self.signature.push_str(signature),
            (Delta::Sealed(data), Some(Open::Undecided | Open::Thinking | Open::Redacted)) => {
                if self.open != Some(Open::Undecided) {
                    self.close(out);
                }
                let block = format!(r#"{{"type":"redacted_thinking","data":{}}}"#, quoted(data));
                self.open_block(Open::Redacted, &block, out);
            }
            (Delta::Arguments(json), Some(Open::Tool)) => {
                self.piece("input_json_delta", "partial_json", json, out);
            }
            (Delta::Citation(citation), Some(Open::Text)) if is_own(citation) => {
                self.send_delta(
                    &format!(r#"{{"type":"citations_delta","citation":{citation}}}"#),
                    out,
                );
            }
            _ => {}
        }
    }

    /// Makes sure that the open block is one of thinking in words.
    fn think(&mut self, out: &mut Vec<Frame>) {
        if self.open == Some(Open::Thinking) {
            return;
        }
        if self.open == Some(Open::Redacted) {
            self.close(out);
        }
        let block = r#"{"type":"thinking","thinking":"","signature":""}"#;
        self.open_block(Open::Thinking, block, out);
    }

    fn piece(&self, kind: &str, field: &str, text: &str, out: &mut Vec<Frame>) {
        if !text.is_empty() {
            let delta = format!(r#"{{"type":"{kind}","{field}":{}}}"#, quoted(text));
            self.send_delta(&delta, out);
        }
    }

    fn send_delta(&self, delta: &str, out: &mut Vec<Frame>) {
        let index = self.next_index.saturating_sub(1);
        let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
        out.push(frame("content_block_delta", data));
    }

    fn close(&mut self, out: &mut Vec<Frame>) {
        if !self.signature.is_empty() {
            let signature = std::mem::take(&mut self.signature);
            self.piece("signature_delta", "signature", &signature, out);
        }
        match self.open.take() {
            None | Some(Open::Undecided) => {}
            Some(_) => {
                let index = self.next_index.saturating_sub(1);
                let data = format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
                out.push(frame("content_block_stop", data));
            }
        }
    }

    fn end(&mut self, out: &mut Vec<Frame>) {
        self.close(out);
        self.stage = Stage::Ended;
        let (reason, stop_sequence) = match self.finish.take() {
            Some((finish, stop)) => (Some(whole::stop_reason(finish, stop.as_deref())), stop),
            None => (None, None),
        };
        let delta = json!({
            "stop_reason": reason,
            "stop_sequence": stop_sequence,
            "stop_details": null,
            "container": null,
        });
        let usage = usage::of_delta(self.usage);
        let data = format!(r#"{{"type":"message_delta","delta":{delta},"usage":{usage}}}"#);
        out.push(frame("message_delta", data));
        out.push(frame(
            "message_stop",
            r#"{"type":"message_stop"}"#.to_owned(),
        ));
    }
}

const fn frame(event: &'static str, data: String) -> Frame {
    Frame {
        event: Some(event),
        data,
    }
}

fn quoted(text: &str) -> String {
    // Writing a text cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// Anthropic's own citations; those of other dialects mean nothing to the caller.
fn is_own(citation: &Value) -> bool {
    matches!(
        citation.get("type").and_then(Value::as_str),
        Some(
            "char_location"
                | "page_location"
                | "content_block_location"
                | "web_search_result_location"
                | "search_result_location"
        )
    )
}
