//! Normal events → chunks.

use serde_json::{Map, Value, json};

use super::super::usage;
use super::super::whole::builtin_mark;
use super::super::wire::made_up_call_id;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::event::{Block, Delta, Envelope, Event, Frame};

/// Writes a stream: the role, the content, the finish, the usage where it is wanted, `[DONE]`.
#[derive(Debug)]
pub struct Writer {
    envelope: Envelope,
    /// The full id, once a stream of other hands has told it.
    adopted: Option<String>,
    model: String,
    /// What stands in front of `choices` in every chunk; made anew when id or model change.
    head: String,
    stage: Stage,
    open: Open,
    /// Tool calls that have begun.
    calls: u64,
    usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Before,
    Started,
    Finished,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Refusal,
    Reasoning,
    Call { index: u64, has_arguments: bool },
}

impl Writer {
    /// A writer for a new stream.
    #[must_use]
    pub const fn new(envelope: Envelope) -> Self {
        Self {
            envelope,
            adopted: None,
            model: String::new(),
            head: String::new(),
            stage: Stage::Before,
            open: Open::Nothing,
            calls: 0,
            usage: ZERO,
        }
    }

    /// Takes over the full id and the model that the caller has already seen, and keeps them whatever starts later.
    pub fn adopt(&mut self, id: &str, model: &str) {
        self.adopted = Some(id.to_owned());
        model.clone_into(&mut self.model);
        self.head = self.make_head();
    }

    /// Goes on as if `event` had been written, without writing it.
    pub fn note(&mut self, event: &Event) {
        self.event(event, &mut Vec::new());
    }

    /// Writes one event. Nothing is written for what the dialect does not have, for a second start and after the end.
    pub fn event(&mut self, event: &Event, out: &mut Vec<Frame>) {
        if self.stage == Stage::Ended {
            return;
        }
        match event {
            Event::Start { model, .. } => self.start(model, out),
            Event::Open(block) => self.begin(block, out),
            Event::Delta(delta) => self.delta(delta, out),
            Event::Close => self.close(out),
            Event::Usage(usage) => self.usage = *usage,
            Event::Finish { reason, .. } => self.finish(*reason, out),
            Event::End => self.end(out),
            Event::Failed(_) | Event::Ping | Event::Media => {}
        }
    }

    fn start(&mut self, model: &str, out: &mut Vec<Frame>) {
        if self.stage != Stage::Before {
            return;
        }
        self.stage = Stage::Started;
        if self.adopted.is_none() {
            model.clone_into(&mut self.model);
        }
        self.head = self.make_head();
        self.chunk(
            r#"{"role":"assistant","content":"","refusal":null}"#,
            None,
            out,
        );
    }

    fn begin(&mut self, block: &Block, out: &mut Vec<Frame>) {
        self.close(out);
        self.open = match block {
            Block::Text => Open::Text,
            Block::Refusal => Open::Refusal,
            Block::Reasoning { .. } => Open::Reasoning,
            Block::ToolCall { id, name } => {
                let index = self.calls;
                self.calls = self.calls.saturating_add(1);
                self.begin_call(index, id, name, out);
                Open::Call {
                    index,
                    has_arguments: false,
                }
            }
        };
    }

    fn begin_call(&self, index: u64, id: &str, name: &str, out: &mut Vec<Frame>) {
        let made_up;
        let id = if id.is_empty() {
            made_up = made_up_call_id(&self.envelope.id, index);
            &made_up
        } else {
            id
        };
        let call = json!({
            "index": index,
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": ""},
        });
        self.chunk(&format!(r#"{{"tool_calls":[{call}]}}"#), None, out);
    }

    fn delta(&mut self, delta: &Delta, out: &mut Vec<Frame>) {
        match (self.open, delta) {
            (Open::Call { index, .. }, Delta::Arguments(text)) if !text.is_empty() => {
                self.open = Open::Call {
                    index,
                    has_arguments: true,
                };
                self.arguments(index, text, out);
            }
            (open, Delta::Text(text)) if !text.is_empty() => {
                let field = match open {
                    Open::Text => "content",
                    Open::Refusal => "refusal",
                    Open::Reasoning => "reasoning_content",
                    Open::Nothing | Open::Call { .. } => return,
                };
                self.chunk(&format!(r#"{{"{field}":{}}}"#, quoted(text)), None, out);
            }
            // Signatures, sealed thinking and the citations of others have no field.
            _ => {}
        }
    }

    fn arguments(&self, index: u64, text: &str, out: &mut Vec<Frame>) {
        let text = quoted(text);
        let delta =
            format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":{text}}}}}]}}"#);
        self.chunk(&delta, None, out);
    }

    fn close(&mut self, out: &mut Vec<Frame>) {
        if let Open::Call {
            index,
            has_arguments: false,
        } = self.open
        {
            self.arguments(index, "{}", out); // callers parse them, and empty text is no JSON
        }
        self.open = Open::Nothing;
    }

    fn finish(&mut self, reason: Finish, out: &mut Vec<Frame>) {
        self.close(out);
        if self.stage == Stage::Started {
            self.stage = Stage::Finished;
            self.chunk("{}", Some(reason), out);
        }
    }

    fn end(&mut self, out: &mut Vec<Frame>) {
        self.close(out);
        self.stage = Stage::Ended;
        if self.envelope.include_usage {
            let usage = usage::write(self.usage);
            out.push(frame(format!(r#"{}[],"usage":{usage}}}"#, self.head)));
        }
        out.push(frame("[DONE]".to_owned()));
    }

    /// One chunk with one choice. `delta` is JSON.
    fn chunk(&self, delta: &str, finish: Option<Finish>, out: &mut Vec<Frame>) {
        let finish = match finish {
            Some(reason) => quoted(reason.openai()),
            None => "null".to_owned(),
        };
        let usage = if self.envelope.include_usage {
            r#","usage":null"#
        } else {
            ""
        };
        out.push(frame(format!(
            r#"{}[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]{usage}}}"#,
            self.head
        )));
    }

    /// Every chunk's fields but `choices` and `usage`, up to the value of `choices`.
    fn make_head(&self) -> String {
        let mut fields = Map::new();
        let id = match &self.adopted {
            Some(id) => id.clone(),
            None => format!("chatcmpl-{}", self.envelope.id),
        };
        fields.insert("id".into(), Value::from(id));
        fields.insert("object".into(), Value::from("chat.completion.chunk"));
        fields.insert("created".into(), Value::from(self.envelope.created.secs()));
        fields.insert("model".into(), Value::from(self.model.as_str()));
        if self.envelope.builtin {
            fields.insert("gatehouse".into(), builtin_mark());
        }
        let mut head = Value::Object(fields).to_string();
        head.pop(); // the closing brace
        head.push_str(r#","choices":"#);
        head
    }
}

const ZERO: Usage = Usage {
    input: 0,
    cached: 0,
    written_5m: 0,
    written_1h: 0,
    output: 0,
    reasoning: 0,
    estimated: false,
};

fn frame(data: String) -> Frame {
    Frame { event: None, data }
}

/// Text as a JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
