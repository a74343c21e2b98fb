//! What has been written so far, and what comes next.

use std::mem;

use serde::Serialize;
use serde_json::{Value, json};

use super::follow::{Forward, ForwardedItem};
use super::item::{Item, Kind, Part, TEXT_DELTA, is_annotation};
use crate::domain::llm::dialect::responses::items::{self, Head};
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event, Frame};

/// A stream in the making.
#[derive(Debug)]
pub(super) struct State {
    envelope: Envelope,
    pub id: String,
    pub model: String,
    pub adopted: bool,
    pub created: u64,
    started: bool,
    ended: bool,
    /// Number of the next event.
    pub sequence: u64,
    /// Index of the next item.
    pub next_index: u64,
    /// The items that are complete.
    pub output: Vec<Value>,
    item: Option<Item>,
    /// Ids of the calls so far.
    calls: Vec<String>,
    pub forward: Forward,
    usage: Option<Usage>,
    finish: Option<Finish>,
}

pub(super) const ITEM_DONE: &str = "response.output_item.done";

/// The event that comes by far the most often.
#[derive(Serialize)]
struct DeltaFrame<'a> {
    r#type: &'static str,
    sequence_number: u64,
    item_id: &'a str,
    output_index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<usize>,
    delta: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[(); 0]>,
}

impl State {
    pub fn new(envelope: Envelope) -> Self {
        Self {
            id: format!("resp_{}", envelope.id),
            model: String::new(),
            adopted: false,
            created: envelope.created.secs(),
            envelope,
            started: false,
            ended: false,
            sequence: 0,
            next_index: 0,
            output: Vec::new(),
            item: None,
            calls: Vec::new(),
            forward: Forward::default(),
            usage: None,
            finish: None,
        }
    }

    pub fn event(&mut self, event: &Event, out: &mut Vec<Frame>) {
        if self.ended {
            return;
        }
        match event {
            Event::Start { model, .. } => self.start(model, out),
            Event::Open(block) => self.open(block, out),
            Event::Delta(delta) => self.delta(delta, out),
            Event::Close => self.close(out),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finish { reason, .. } => self.finish = Some(*reason),
            Event::End => self.end(out),
            // The app writes the error; the dialect has no sign of life.
            Event::Failed(_) | Event::Ping | Event::Media => {}
        }
    }

    pub fn answer(&self) -> Value {
        items::ended(&self.head(), self.finish, self.usage, self.output.clone())
    }

    // === the response ===

    fn start(&mut self, model: &str, out: &mut Vec<Frame>) {
        if mem::replace(&mut self.started, true) {
            return; // a second attempt goes on in the first one's response
        }
        if !self.adopted {
            model.clone_into(&mut self.model);
        }
        let response = items::begun(&self.head());
        self.push("response.created", json!({"response": response}), out);
        self.push("response.in_progress", json!({"response": response}), out);
    }

    fn end(&mut self, out: &mut Vec<Frame>) {
        let cut = !matches!(self.finish, Some(Finish::Stop | Finish::Tool));
        self.finish_item(if cut { "incomplete" } else { "completed" }, out);
        self.finish_forwarded(out);
        let response = self.answer();
        let name = match self.finish {
            Some(Finish::Stop | Finish::Tool) => "response.completed",
            _ => "response.incomplete",
        };
        self.push(name, json!({"response": response}), out);
        self.ended = true;
    }

    fn head(&self) -> Head<'_> {
        Head {
            id: &self.id,
            model: &self.model,
            created: self.created,
            builtin: self.envelope.builtin,
        }
    }

    // === blocks ===

    fn open(&mut self, block: &Block, out: &mut Vec<Frame>) {
        match block {
            Block::Text => self.open_part(false, out),
            Block::Refusal => self.open_part(true, out),
            Block::Reasoning { id } => self.open_reasoning(id.as_deref(), out),
            Block::ToolCall { id, name } => self.open_call(id, name, out),
        }
    }

    fn delta(&mut self, delta: &Delta, out: &mut Vec<Frame>) {
        match delta {
            Delta::Text(text) | Delta::Arguments(text) => self.words(delta, text, out),
            Delta::Signature(more) => {
                if let Some(Kind::Reasoning { signature, .. }) = self.kind() {
                    signature.get_or_insert_default().push_str(more);
                }
            }
            Delta::Sealed(data) => {
                if let Some(Kind::Reasoning { sealed, .. }) = self.kind() {
                    *sealed = Some(data.clone());
                }
            }
            Delta::Citation(citation) if is_annotation(citation) => self.annotate(citation, out),
            Delta::Citation(_) => {}
        }
    }

    /// A message stays open, because more of it may follow.
    fn close(&mut self, out: &mut Vec<Frame>) {
        match self.kind() {
            Some(Kind::Message { .. }) => self.close_part(out),
            Some(_) => self.finish_item("completed", out),
            None => {}
        }
    }

    fn words(&mut self, delta: &Delta, text: &str, out: &mut Vec<Frame>) {
        let Some(item) = &mut self.item else { return };
        if text.is_empty() {
            return;
        }
        let is_text = matches!(delta, Delta::Text(_));
        let (name, content_index, summary_index) = match &mut item.kind {
            Kind::Message {
                parts,
                open: Some(part),
            } if is_text => {
                part.text.push_str(text);
                (part.delta_event(), Some(parts.len()), None)
            }
            Kind::Call { arguments, .. } if !is_text => {
                arguments.push_str(text);
                ("response.function_call_arguments.delta", None, None)
            }
            Kind::Reasoning { text: all, .. } if is_text => {
                let first = all.is_empty();
                all.push_str(text);
                if first {
                    self.open_summary(out);
                }
                ("response.reasoning_summary_text.delta", None, Some(0))
            }
            _ => return,
        };
        let Some(item) = &self.item else { return };
        let logprobs = (name == TEXT_DELTA).then_some([]);
        let frame = DeltaFrame {
            r#type: name,
            sequence_number: self.sequence,
            item_id: &item.id,
            output_index: item.index,
            content_index,
            summary_index,
            delta: text,
            logprobs,
        };
        out.push(Frame {
            event: Some(name),
            // Texts and numbers always have a JSON form.
            data: serde_json::to_string(&frame).unwrap_or_default(),
        });
        self.sequence = self.sequence.saturating_add(1);
    }

    // === items ===

    /// Adds an item: the one that the forwarded stream has added, or one of our own.
    fn add_item(&mut self, wanted: Option<&str>, kind: Kind, out: &mut Vec<Frame>) {
        self.finish_item("completed", out);
        let is_this = |item: &mut ForwardedItem| {
            item.object.get("type").and_then(Value::as_str) == Some(kind.name())
        };
        if let Some(ForwardedItem { index, object }) = self.forward.item.take_if(is_this) {
            let id = object.get("id").and_then(Value::as_str);
            let id = id.unwrap_or_default().to_owned();
            self.item = Some(Item { index, id, kind });
            return;
        }
        self.finish_forwarded(out);
        self.forward.told.clear();
        self.forward.status = None;
        let index = self.next_index;
        self.next_index = index.saturating_add(1);
        let id = match wanted {
            Some(wanted) => wanted.to_owned(),
            None => format!("{}_{}_{index}", kind.prefix(), self.envelope.id),
        };
        let item = Item { index, id, kind };
        let added = item.object("in_progress");
        self.item = Some(item);
        self.push_of_item("response.output_item.added", json!({"item": added}), out);
    }

    /// Ends an item that the forwarded stream has added and said no more of.
    fn finish_forwarded(&mut self, out: &mut Vec<Frame>) {
        let Some(ForwardedItem { index, mut object }) = self.forward.item.take() else {
            return;
        };
        if let Value::Object(fields) = &mut object {
            fields.insert("status".into(), "incomplete".into());
        }
        let fields = json!({"output_index": index, "item": object});
        self.push(ITEM_DONE, fields, out);
        self.output.push(object);
    }

    pub fn finish_item(&mut self, status: &str, out: &mut Vec<Frame>) {
        self.close_part(out);
        match self.kind() {
            None => return,
            Some(Kind::Message { .. }) => {}
            Some(Kind::Call { arguments, .. }) => {
                if arguments.is_empty() {
                    arguments.push_str("{}");
                }
                let done = json!({"arguments": arguments});
                self.push_of_item("response.function_call_arguments.done", done, out);
            }
            Some(Kind::Reasoning { text, .. }) => {
                let text = text.clone();
                if !text.is_empty() {
                    let done = json!({"summary_index": 0, "text": text});
                    self.push_of_item("response.reasoning_summary_text.done", done, out);
                    let part = items::summary_text(&text);
                    let done = json!({"summary_index": 0, "part": part});
                    self.push_of_item("response.reasoning_summary_part.done", done, out);
                }
            }
        }
        let Some(item) = &self.item else { return };
        // What forwarded frames have said of it stands.
        let said = self.forward.status.take();
        let done = item.object(said.as_deref().unwrap_or(status));
        let fields = json!({"item": done});
        self.push_of_item(ITEM_DONE, fields, out);
        self.output.push(done);
        self.item = None;
    }

    fn open_part(&mut self, refusal: bool, out: &mut Vec<Frame>) {
        // A forwarded message that was done already takes no further part.
        if self.forward.told.iter().any(|told| told == ITEM_DONE) {
            self.finish_item("completed", out);
        }
        if matches!(self.kind(), Some(Kind::Message { .. })) {
            self.close_part(out);
        } else {
            let kind = Kind::Message {
                parts: Vec::new(),
                open: None,
            };
            self.add_item(None, kind, out);
        }
        let Some(Kind::Message { parts, open }) = self.kind() else {
            return;
        };
        let part = Part {
            refusal,
            ..Part::default()
        };
        let fields = json!({"content_index": parts.len(), "part": part.object()});
        *open = Some(part);
        self.push_of_item("response.content_part.added", fields, out);
    }

    /// Ends the open part and begins another one of its kind.
    pub fn begin_next_part(&mut self, out: &mut Vec<Frame>) {
        if let Some(Kind::Message {
            open: Some(part), ..
        }) = self.kind()
        {
            let refusal = part.refusal;
            self.open_part(refusal, out);
        }
    }

    fn close_part(&mut self, out: &mut Vec<Frame>) {
        let Some(Kind::Message { parts, open }) = self.kind() else {
            return;
        };
        let Some(part) = open.take() else { return };
        let (index, object) = (parts.len(), part.object());
        parts.push(object.clone());
        let (name, done) = if part.refusal {
            let done = json!({"content_index": index, "refusal": part.text});
            ("response.refusal.done", done)
        } else {
            let done = json!({"content_index": index, "text": part.text, "logprobs": []});
            ("response.output_text.done", done)
        };
        self.push_of_item(name, done, out);
        let done = json!({"content_index": index, "part": object});
        self.push_of_item("response.content_part.done", done, out);
    }

    fn annotate(&mut self, citation: &Value, out: &mut Vec<Frame>) {
        let Some(Kind::Message {
            parts,
            open: Some(part),
        }) = self.kind()
        else {
            return;
        };
        let fields = json!({
            "content_index": parts.len(),
            "annotation_index": part.annotations.len(),
            "annotation": citation,
        });
        part.annotations.push(citation.clone());
        self.push_of_item("response.output_text.annotation.added", fields, out);
    }

    /// Clients tell calls apart by their ids, so a call without one, or with one that came before, gets another.
    fn open_call(&mut self, id: &str, name: &str, out: &mut Vec<Frame>) {
        let id = if id.is_empty() || self.calls.iter().any(|seen| seen == id) {
            format!("call_{}_{}", self.envelope.id, self.next_index)
        } else {
            id.to_owned()
        };
        self.calls.push(id.clone());
        let kind = Kind::Call {
            id,
            name: name.to_owned(),
            arguments: String::new(),
        };
        self.add_item(None, kind, out);
    }

    fn open_reasoning(&mut self, id: Option<&str>, out: &mut Vec<Frame>) {
        let fresh = |id: &&str| {
            let used = |item: &Value| item.get("id").and_then(Value::as_str) == Some(*id);
            !id.is_empty() && !self.output.iter().any(used)
        };
        let wanted = id.filter(fresh);
        let kind = Kind::Reasoning {
            text: String::new(),
            signature: None,
            sealed: None,
        };
        self.add_item(wanted, kind, out);
    }

    fn open_summary(&mut self, out: &mut Vec<Frame>) {
        let fields = json!({"summary_index": 0, "part": items::summary_text("")});
        self.push_of_item("response.reasoning_summary_part.added", fields, out);
    }

    // === frames ===

    fn kind(&mut self) -> Option<&mut Kind> {
        self.item.as_mut().map(|item| &mut item.kind)
    }

    /// An event of the open item.
    fn push_of_item(&mut self, name: &'static str, mut fields: Value, out: &mut Vec<Frame>) {
        if let Some(place) = self.forward.told.iter().position(|told| told == name) {
            self.forward.told.swap_remove(place);
            return;
        }
        if let (Some(item), Value::Object(fields)) = (&self.item, &mut fields) {
            fields.insert("output_index".into(), item.index.into());
            if !fields.contains_key("item") {
                fields.insert("item_id".into(), item.id.as_str().into());
            }
        }
        self.push(name, fields, out);
    }

    fn push(&mut self, name: &'static str, mut fields: Value, out: &mut Vec<Frame>) {
        if let Value::Object(fields) = &mut fields {
            fields.insert("type".into(), name.into());
            fields.insert("sequence_number".into(), self.sequence.into());
        }
        self.sequence = self.sequence.saturating_add(1);
        out.push(Frame {
            event: Some(name),
            data: fields.to_string(),
        });
    }
}
