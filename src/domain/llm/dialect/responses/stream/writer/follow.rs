//! Going on after frames that were forwarded as they came.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::state::{ITEM_DONE, State};
use crate::domain::llm::dialect::responses::wire::{Count, Item, Lenient, Text};
use crate::domain::llm::normal::event::{Delta, Event, Frame};

/// What the forwarded frames have left to be done.
#[derive(Debug, Default)]
pub(super) struct Forward {
    /// There were any: their numbers count, and not those of the events that are noted.
    numbered: bool,
    /// The item that was added last, until it is opened here or done there.
    pub item: Option<ForwardedItem>,
    /// Events of the open item that are not to be sent again.
    pub told: Vec<String>,
    /// The status with which the open item was done.
    pub status: Option<String>,
}

#[derive(Debug)]
pub(super) struct ForwardedItem {
    pub index: u64,
    pub object: Value,
}

impl State {
    pub fn note(&mut self, event: &Event) {
        let sequence = self.sequence;
        self.event(event, &mut Vec::new());
        if self.forward.numbered {
            self.sequence = sequence;
        }
    }

    pub fn adopt(&mut self, id: &str, model: &str) {
        id.clone_into(&mut self.id);
        model.clone_into(&mut self.model);
        self.adopted = true;
    }

    /// A text that the forwarded frames have ended goes on after all: in a new part, since no part ends twice.
    pub fn expect_more(&mut self, event: &Event, out: &mut Vec<Frame>) {
        let more = matches!(event, Event::Delta(Delta::Text(text)) if !text.is_empty());
        if more && self.forward.told.iter().any(|name| is_end_of_text(name)) {
            self.begin_next_part(out);
        }
    }

    pub fn follow(&mut self, data: &str) {
        let Ok(seen) = serde_json::from_str::<Forwarded<'_>>(data) else {
            return;
        };
        self.forward.numbered = true;
        if let Some(response) = seen.response.0 {
            self.adopt(response.id.get(), response.model.get());
            self.created = response.created_at.0.unwrap_or(self.created);
        }
        let item = || {
            seen.item
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
        };
        let index = seen.output_index.get();
        match seen.r#type.get() {
            "response.output_item.added" => {
                self.finish_item("completed", &mut Vec::new());
                self.next_index = self.next_index.max(index.saturating_add(1));
                self.forward.told.clear();
                self.forward.status = None;
                self.forward.item = item().map(|object| ForwardedItem { index, object });
            }
            // An item that has no block: what a tool of the provider did, or thinking without words.
            ITEM_DONE
                if !seen.item.is_some_and(has_blocks)
                    && self.forward.item.take_if(|f| f.index == index).is_some() =>
            {
                self.output.extend(item());
            }
            name if is_structure(name) => {
                if name == ITEM_DONE {
                    let status = |item: Value| Some(item.get("status")?.as_str()?.to_owned());
                    self.forward.status = item().and_then(status);
                }
                self.forward.told.push(name.to_owned());
            }
            _ => {}
        }
        if let Some(number) = seen.sequence_number.0 {
            self.sequence = number.saturating_add(1);
        }
    }
}

/// What is of interest in a forwarded frame.
#[derive(Deserialize)]
struct Forwarded<'a> {
    #[serde(borrow, default)]
    r#type: Text<'a>,
    #[serde(default)]
    sequence_number: Count,
    #[serde(default)]
    output_index: Count,
    #[serde(borrow, default)]
    response: Lenient<ForwardedResponse<'a>>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ForwardedResponse<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    model: Text<'a>,
    #[serde(default)]
    created_at: Count,
}

/// Does reading this item give anything?
fn has_blocks(item: &RawValue) -> bool {
    let mut parts = Vec::new();
    serde_json::from_str::<Item<'_>>(item.get())
        .is_ok_and(|item| item.into_parts(&mut parts).is_ok() && !parts.is_empty())
}

fn is_end_of_text(name: &str) -> bool {
    matches!(name, "response.output_text.done" | "response.refusal.done")
}

/// Events that begin and end the parts of an item, and end the item.
fn is_structure(name: &str) -> bool {
    matches!(
        name,
        "response.content_part.added"
            | "response.content_part.done"
            | "response.output_text.done"
            | "response.refusal.done"
            | "response.function_call_arguments.done"
            | "response.reasoning_summary_part.added"
            | "response.reasoning_summary_part.done"
            | "response.reasoning_summary_text.done"
            | "response.output_item.done"
    )
}
