//! Items and the blocks that they open.

use std::borrow::Cow;

use super::{Holds, Kind, Known, OVER, Open, Phase, Read, Reader, Wire, Words};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::responses::wire::{Count, Item};
use crate::domain::llm::normal::event::{Block, Event};

impl Reader {
    pub(super) fn item_added(&mut self, wire: &Wire<'_>, out: &mut Vec<Event>) -> Read {
        self.running()?;
        let index = wire.output_index.get();
        if self.items.iter().any(|known| known.index == index) {
            return Err(Invalid::Shape("an item added twice"));
        }
        let item = item_of(wire)?;
        let kind = match item.r#type.get() {
            "message" => Kind::Message { told: Vec::new() },
            "function_call" => {
                let name = item.name.get();
                if name.is_empty() {
                    return Err(Invalid::Shape("a call without a name"));
                }
                self.calls = true;
                let block = Block::ToolCall {
                    id: item.call_id(),
                    name: name.to_owned(),
                };
                self.open_block(Open::new(index, 0, Holds::Arguments), block, out);
                Kind::Call { told: false }
            }
            "reasoning" => Kind::Reasoning {
                id: item.id.full().map(Cow::into_owned),
                told: None,
            },
            _ => Kind::Other,
        };
        self.items.push(Known {
            index,
            kind,
            done: false,
        });
        Ok(())
    }

    pub(super) fn item_done(&mut self, wire: &Wire<'_>, out: &mut Vec<Event>) -> Read {
        let index = wire.output_index.get();
        let item = item_of(wire)?;
        let known = self.known(wire.output_index)?;
        if known.done {
            return Err(Invalid::Shape("an item done twice"));
        }
        match &known.kind {
            Kind::Message { .. } => {
                for (part, content) in (0..).zip(&item.content.0) {
                    match content.r#type.get() {
                        "output_text" => self.fill(index, part, content.text.get(), false, out)?,
                        "refusal" => self.fill(index, part, content.refusal.get(), true, out)?,
                        _ => {}
                    }
                }
            }
            Kind::Call { .. } => {
                self.arguments_done(wire.output_index, item.arguments.get(), out)?;
            }
            Kind::Reasoning { told, .. } => {
                if told.is_none() {
                    self.think(wire.output_index, Words::Summary, 0, &item.thought(), out)?;
                }
                self.sealed(wire.output_index, item.encrypted_content.get(), out)?;
            }
            Kind::Other => {}
        }
        if self.open.is_some_and(|open| open.item == index) {
            self.close(out);
        }
        self.known(wire.output_index)?.done = true;
        Ok(())
    }

    pub(super) fn open_block(&mut self, wanted: Open, block: Block, out: &mut Vec<Event>) {
        self.close(out);
        self.open = Some(wanted);
        out.push(Event::Open(block));
    }

    pub(super) fn close(&mut self, out: &mut Vec<Event>) {
        if self.open.take().is_some() {
            out.push(Event::Close);
        }
    }

    pub(super) fn running(&self) -> Read {
        match self.phase {
            Phase::Running => Ok(()),
            Phase::Before => Err(Invalid::Shape("output before the start")),
            Phase::Over => Err(OVER),
        }
    }

    /// The item that an event speaks of. The last ones first: events speak of them.
    pub(super) fn known(&mut self, index: Count) -> Result<&mut Known, Invalid> {
        self.running()?;
        let index = index.get();
        self.items
            .iter_mut()
            .rev()
            .find(|known| known.index == index)
            .ok_or(Invalid::Shape("an event of an item that was not added"))
    }
}

fn item_of<'a>(wire: &Wire<'a>) -> Result<Item<'a>, Invalid> {
    let raw = wire
        .item
        .ok_or(Invalid::Shape("an item event without an item"))?;
    serde_json::from_str(raw.get()).map_err(|_| Invalid::Shape("an item that is no object"))
}
