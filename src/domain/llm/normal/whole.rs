//! A whole answer in normal form, and the way between it and the events of a stream.

use super::conversation::{Part, Thought, ToolCall};
use super::event::{Block, Delta, Event};
use crate::domain::llm::message::{Finish, Usage};

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// The provider's id; empty when it gave none.
    pub id: String,
    /// The provider's name of the model.
    pub model: String,
    /// Texts, refusals, thoughts and tool calls, in order.
    pub parts: Vec<Part>,
    /// Why the model stopped; `None` when the provider did not say, which makes it no answer.
    pub finish: Option<Finish>,
    /// The stop text that was met.
    pub stop_sequence: Option<String>,
    /// What it took; `None` when the provider did not say.
    pub usage: Option<Usage>,
}

impl Whole {
    /// All text of the answer, joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::Text { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Has it neither text nor a refusal nor a tool call nor sound or a picture?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Text { text, .. } => text.is_empty(),
            Part::Refusal(text) => text.is_empty(),
            Part::ToolCall(_) | Part::Media => false,
            _ => true,
        })
    }

    /// The same answer as a stream; each block in one piece.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::Start {
            id: self.id.clone(),
            model: self.model.clone(),
        }];
        for part in &self.parts {
            let (block, deltas) = match part {
                Part::Text { text, .. } => (Block::Text, vec![Delta::Text(text.clone())]),
                Part::Refusal(text) => (Block::Refusal, vec![Delta::Text(text.clone())]),
                Part::ToolCall(call) => (
                    Block::ToolCall {
                        id: call.id.clone(),
                        name: call.name.clone(),
                    },
                    vec![Delta::Arguments(call.arguments.clone())],
                ),
                Part::Reasoning(thought) => (
                    Block::Reasoning {
                        id: thought.id.clone(),
                    },
                    deltas_of(thought),
                ),
                Part::Media => {
                    events.push(Event::Media);
                    continue;
                }
                Part::Image { .. } | Part::File { .. } | Part::ToolResult { .. } => continue,
            };
            events.push(Event::Open(block));
            events.extend(deltas.into_iter().map(Event::Delta));
            events.push(Event::Close);
        }
        events.extend(self.usage.map(Event::Usage));
        if let Some(reason) = self.finish {
            events.push(Event::Finish {
                reason,
                stop_sequence: self.stop_sequence.clone(),
            });
        }
        events.push(Event::End);
        events
    }
}

fn deltas_of(thought: &Thought) -> Vec<Delta> {
    let mut deltas = Vec::new();
    if !thought.text.is_empty() {
        deltas.push(Delta::Text(thought.text.clone()));
    }
    deltas.extend(thought.signature.clone().map(Delta::Signature));
    deltas.extend(thought.sealed.clone().map(Delta::Sealed));
    deltas
}

/// Gathers the events of a stream into a whole answer.
#[derive(Clone, Debug)]
pub struct Collector {
    whole: Whole,
    ended: bool,
    failed: bool,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            whole: Whole {
                id: String::new(),
                model: String::new(),
                parts: Vec::new(),
                finish: None,
                stop_sequence: None,
                usage: None,
            },
            ended: false,
            failed: false,
        }
    }
}

impl Collector {
    /// Takes the next event.
    pub fn push(&mut self, event: &Event) {
        let whole = &mut self.whole;
        match event {
            Event::Start { id, model } => {
                whole.id.clone_from(id);
                whole.model.clone_from(model);
            }
            Event::Open(block) => whole.parts.push(match block {
                Block::Text => Part::text(""),
                Block::Refusal => Part::Refusal(String::new()),
                Block::Reasoning { id } => Part::Reasoning(Thought {
                    id: id.clone(),
                    ..Thought::default()
                }),
                Block::ToolCall { id, name } => Part::ToolCall(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                }),
            }),
            Event::Delta(delta) => {
                if let Some(part) = whole.parts.last_mut() {
                    extend(part, delta);
                }
            }
            Event::Media if whole.parts.last() == Some(&Part::Media) => {}
            Event::Media => whole.parts.push(Part::Media),
            Event::Usage(usage) => whole.usage = Some(*usage),
            Event::Finish {
                reason,
                stop_sequence,
            } => {
                whole.finish = Some(*reason);
                whole.stop_sequence.clone_from(stop_sequence);
            }
            Event::Failed(_) => self.failed = true,
            Event::End => self.ended = true,
            Event::Close | Event::Ping => {}
        }
    }

    /// What has come so far.
    #[must_use]
    pub const fn so_far(&self) -> &Whole {
        &self.whole
    }

    /// The answer, once its end marker has come and no error stood in it.
    #[must_use]
    pub fn finished(&self) -> Option<&Whole> {
        (self.ended && !self.failed).then_some(&self.whole)
    }
}

fn extend(part: &mut Part, delta: &Delta) {
    match (part, delta) {
        (Part::Text { text, .. } | Part::Refusal(text), Delta::Text(more)) => text.push_str(more),
        (Part::Reasoning(thought), Delta::Text(more)) => thought.text.push_str(more),
        (Part::Reasoning(thought), Delta::Signature(signature)) => {
            thought
                .signature
                .get_or_insert_default()
                .push_str(signature);
        }
        (Part::Reasoning(thought), Delta::Sealed(data)) => thought.sealed = Some(data.clone()),
        (Part::ToolCall(call), Delta::Arguments(more)) => call.arguments.push_str(more),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Collector, Whole};
    use crate::domain::llm::message::{Finish, Usage};
    use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};

    #[test]
    fn a_whole_answer_survives_being_streamed() {
        let whole = Whole {
            id: "1".into(),
            model: "m".into(),
            parts: vec![
                Part::Reasoning(Thought {
                    text: "hm".into(),
                    signature: Some("s".into()),
                    sealed: None,
                    id: Some("rs_1".into()),
                }),
                Part::text("Hello"),
                Part::ToolCall(ToolCall {
                    id: "c".into(),
                    name: "f".into(),
                    arguments: "{\"a\":1}".into(),
                }),
                Part::Refusal("no".into()),
            ],
            finish: Some(Finish::Tool),
            stop_sequence: Some("x".into()),
            usage: Some(Usage {
                input: 3,
                output: 2,
                ..Usage::default()
            }),
        };
        let mut collector = Collector::default();
        for event in whole.events() {
            assert_eq!(collector.finished(), None);
            collector.push(&event);
        }
        assert_eq!(collector.finished(), Some(&whole));
    }
}
