//! A provider's stream → normal events.

mod content;
mod items;

use std::borrow::Cow;
use std::mem;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::responses::wire::{
    Content, Count, Lenient, Snapshot, Text, failed, looks_like_object,
};
use crate::domain::llm::normal::conversation::Part;
use crate::domain::llm::normal::event::{Event, Failed};
use crate::domain::llm::normal::whole::Whole;

/// Reads a stream.
///
/// Servers differ in how much they send: a part need not be announced before its text, a text may come in its
/// `done` event alone, and the whole output in the last event alone. What provider-run tools do is left out.
#[derive(Debug, Default)]
pub struct Reader {
    phase: Phase,
    items: Vec<Known>,
    open: Option<Open>,
    calls: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Before,
    Running,
    Over,
}

/// An output item that was announced.
#[derive(Debug)]
struct Known {
    index: u64,
    kind: Kind,
    done: bool,
}

#[derive(Debug)]
enum Kind {
    /// The content parts whose text has come.
    Message { told: Vec<u64> },
    /// Have arguments come?
    Call { told: bool },
    /// Which texts come, and the last part of them.
    Reasoning {
        id: Option<String>,
        told: Option<(Words, u64)>,
    },
    /// Something else, left out whole.
    Other,
}

/// The two texts that reasoning can have. One says the same as the other, so the first to come is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Summary,
    Full,
}

/// The block that is open: of which item, and for a message of which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    item: u64,
    part: u64,
    holds: Holds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Text,
    Refusal,
    Arguments,
    Thinking,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    r#type: Text<'a>,
    #[serde(default)]
    output_index: Count,
    #[serde(default)]
    content_index: Count,
    #[serde(default)]
    summary_index: Count,
    #[serde(borrow, default)]
    delta: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    refusal: Text<'a>,
    #[serde(borrow, default)]
    arguments: Text<'a>,
    #[serde(borrow, default)]
    part: Lenient<Content<'a>>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Lenient<Snapshot<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Text<'a>,
}

type Read = Result<(), Invalid>;

impl Reader {
    /// Reads one event.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn event(&mut self, data: &str, out: &mut Vec<Event>) -> Read {
        if data == "[DONE]" {
            return Ok(()); // chat's end marker, which some servers send here too; the answer has ended before it
        }
        if !looks_like_object(data.as_bytes()) {
            return Err(Invalid::Shape("an event that is no JSON object"));
        }
        let mut wire: Wire<'_> =
            serde_json::from_str(data).map_err(|_| Invalid::Shape("an event that is no JSON"))?;
        let kind = mem::take(&mut wire.r#type);
        match kind.get() {
            "response.output_text.delta" => self.text(&wire, wire.delta.0.as_deref(), false, out),
            "response.function_call_arguments.delta" => self.arguments(&wire, out),
            "response.reasoning_summary_text.delta" => self.thinking(&wire, Words::Summary, out),
            "response.reasoning_text.delta" => self.thinking(&wire, Words::Full, out),
            "response.refusal.delta" => self.text(&wire, wire.delta.0.as_deref(), true, out),
            "response.output_text.done" => self.text_done(&wire, wire.text.get(), false, out),
            "response.refusal.done" => self.text_done(&wire, wire.refusal.get(), true, out),
            "response.function_call_arguments.done" => {
                self.arguments_done(wire.output_index, wire.arguments.get(), out)
            }
            "response.reasoning_summary_text.done" => {
                self.thinking_done(&wire, Words::Summary, out)
            }
            "response.reasoning_text.done" => self.thinking_done(&wire, Words::Full, out),
            "response.content_part.added" => self.part_added(&wire, out),
            "response.content_part.done" => self.part_done(&wire, out),
            "response.output_text.annotation.added" => self.annotation(&wire, out),
            "response.output_item.added" => self.item_added(&wire, out),
            "response.output_item.done" => self.item_done(&wire, out),
            "response.created" if self.phase != Phase::Before => {
                Err(Invalid::Shape("a second start"))
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                self.begin(wire.response.0.as_ref(), out)
            }
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => self.end(kind.get(), wire.response.0, out),
            "error" => self.fail(error_event(&wire), out),
            "" => match wire.error {
                Some(raw) => self.fail(failed(raw), out),
                None => Err(Invalid::Shape("an event without a type")),
            },
            "keepalive" if self.phase == Phase::Running => {
                out.push(Event::Ping);
                Ok(())
            }
            // Events of provider-run tools, and those to come.
            _ => Ok(()),
        }
    }

    // === the response ===

    fn begin(&mut self, response: Option<&Snapshot<'_>>, out: &mut Vec<Event>) -> Read {
        let response = response.ok_or(Invalid::Shape("a start without a response"))?;
        match self.phase {
            Phase::Running => Ok(()),
            Phase::Over => Err(OVER),
            Phase::Before => {
                self.phase = Phase::Running;
                out.push(Event::Start {
                    id: response.id.get().to_owned(),
                    model: response.model.get().to_owned(),
                });
                Ok(())
            }
        }
    }

    fn end(&mut self, kind: &str, response: Option<Snapshot<'_>>, out: &mut Vec<Event>) -> Read {
        if self.phase == Phase::Over {
            return Err(OVER);
        }
        let mut response = response.ok_or(Invalid::Shape("an end without a response"))?;
        let word = kind.strip_prefix("response.").unwrap_or_default();
        let final_status = matches!(
            response.status.get(),
            "completed" | "incomplete" | "failed" | "cancelled"
        );
        // The event's own name stands in for a status that is not told or not brought up to date.
        if !final_status || matches!(word, "failed" | "cancelled") {
            response.status = Text(Some(Cow::Borrowed(word)));
        }
        if let Some(failed) = response.failure() {
            return self.fail(failed, out);
        }
        self.begin(Some(&response), out)?;
        self.close(out);
        if self.items.is_empty() {
            self.all_at_once(&response, out)?;
        }
        out.extend(response.usage().map(Event::Usage));
        if let Some(reason) = response.finish(self.calls) {
            out.push(Event::Finish {
                reason,
                stop_sequence: None,
            });
        }
        out.push(Event::End);
        self.phase = Phase::Over;
        Ok(())
    }

    /// The output of a server that streams nothing but the start and the end.
    fn all_at_once(&mut self, response: &Snapshot<'_>, out: &mut Vec<Event>) -> Read {
        let parts = response.parts()?.unwrap_or_default();
        self.calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        let whole = Whole {
            id: String::new(),
            model: String::new(),
            parts,
            finish: None,
            stop_sequence: None,
            usage: None,
        };
        let blocks = whole
            .events()
            .into_iter()
            .filter(|event| matches!(event, Event::Open(_) | Event::Delta(_) | Event::Close));
        out.extend(blocks);
        Ok(())
    }

    fn fail(&mut self, failed: Failed, out: &mut Vec<Event>) -> Read {
        if self.phase == Phase::Over {
            return Err(OVER);
        }
        self.phase = Phase::Over;
        out.push(Event::Failed(failed));
        Ok(())
    }
}

const OVER: Invalid = Invalid::Shape("an event after the end");

impl Open {
    const fn new(item: u64, part: u64, holds: Holds) -> Self {
        Self { item, part, holds }
    }
}

/// The fields stand in the event itself (as documented) or in an error object inside it (as sent).
fn error_event(wire: &Wire<'_>) -> Failed {
    match wire.error {
        Some(raw) => failed(raw),
        None => Failed {
            kind: wire
                .code
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
                .map(Text::into_string)
                .unwrap_or_default(),
            message: wire.message.get().to_owned(),
        },
    }
}
