//! What stands in items: texts and refusals, arguments, thinking.

use super::{Holds, Kind, Open, Read, Reader, Wire, Words};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::responses::wire::{Count, PARAGRAPH, unseal};
use crate::domain::llm::normal::event::{Block, Delta, Event};

impl Reader {
    // === text and refusal ===

    pub(super) fn part_added(&mut self, wire: &Wire<'_>, out: &mut Vec<Event>) -> Read {
        let part = wire.part.0.as_ref().map_or("", |part| part.r#type.get());
        let refusal = part == "refusal";
        if refusal || part == "output_text" {
            self.message_block(wire.output_index, wire.content_index.get(), refusal, out)?;
        }
        Ok(())
    }

    pub(super) fn part_done(&mut self, wire: &Wire<'_>, out: &mut Vec<Event>) -> Read {
        let Some(part) = &wire.part.0 else {
            return Ok(());
        };
        match part.r#type.get() {
            "output_text" => self.text_done(wire, part.text.get(), false, out)?,
            "refusal" => self.text_done(wire, part.refusal.get(), true, out)?,
            _ => return Ok(()),
        }
        let (item, part) = (wire.output_index.get(), wire.content_index.get());
        if self
            .open
            .is_some_and(|open| open.item == item && open.part == part)
        {
            self.close(out);
        }
        Ok(())
    }

    pub(super) fn text(
        &mut self,
        wire: &Wire<'_>,
        text: Option<&str>,
        refusal: bool,
        out: &mut Vec<Event>,
    ) -> Read {
        let text = text.ok_or(Invalid::Shape("a text delta without text"))?;
        let part = wire.content_index.get();
        if self.message_block(wire.output_index, part, refusal, out)? && !text.is_empty() {
            self.told(wire.output_index, part)?;
            out.push(Event::Delta(Delta::Text(text.to_owned())));
        }
        Ok(())
    }

    pub(super) fn text_done(
        &mut self,
        wire: &Wire<'_>,
        text: &str,
        refusal: bool,
        out: &mut Vec<Event>,
    ) -> Read {
        match &self.known(wire.output_index)?.kind {
            Kind::Message { .. } => {
                let (item, part) = (wire.output_index.get(), wire.content_index.get());
                self.fill(item, part, text, refusal, out)
            }
            Kind::Other => Ok(()),
            _ => Err(Invalid::Shape("text of an item that is no message")),
        }
    }

    /// The whole text of a part of which nothing has come yet.
    pub(super) fn fill(
        &mut self,
        item: u64,
        part: u64,
        text: &str,
        refusal: bool,
        out: &mut Vec<Event>,
    ) -> Read {
        let index = Count(Some(item));
        let told =
            matches!(&self.known(index)?.kind, Kind::Message { told } if told.contains(&part));
        if told || text.is_empty() {
            return Ok(());
        }
        self.message_block(index, part, refusal, out)?;
        self.told(index, part)?;
        out.push(Event::Delta(Delta::Text(text.to_owned())));
        Ok(())
    }

    /// Makes that part's block the open one; false for an item that is left out.
    pub(super) fn message_block(
        &mut self,
        index: Count,
        part: u64,
        refusal: bool,
        out: &mut Vec<Event>,
    ) -> Result<bool, Invalid> {
        let (holds, block) = if refusal {
            (Holds::Refusal, Block::Refusal)
        } else {
            (Holds::Text, Block::Text)
        };
        let wanted = Open::new(index.get(), part, holds);
        if self.open == Some(wanted) {
            return Ok(true);
        }
        let known = self.known(index)?;
        match known.kind {
            Kind::Other => return Ok(false),
            Kind::Message { .. } if !known.done => {}
            _ => return Err(Invalid::Shape("text outside a message")),
        }
        self.open_block(wanted, block, out);
        Ok(true)
    }

    pub(super) fn told(&mut self, index: Count, part: u64) -> Read {
        if let Kind::Message { told } = &mut self.known(index)?.kind
            && !told.contains(&part)
        {
            told.push(part);
        }
        Ok(())
    }

    pub(super) fn annotation(&mut self, wire: &Wire<'_>, out: &mut Vec<Event>) -> Read {
        let index = wire.output_index;
        if let Some(raw) = wire.annotation
            && self.message_block(index, wire.content_index.get(), false, out)?
            && let Ok(citation) = serde_json::from_str(raw.get())
        {
            out.push(Event::Delta(Delta::Citation(citation)));
        }
        Ok(())
    }

    // === calls ===

    pub(super) fn arguments(&mut self, wire: &Wire<'_>, out: &mut Vec<Event>) -> Read {
        let text =
            (wire.delta.0.as_deref()).ok_or(Invalid::Shape("an arguments delta without text"))?;
        self.argue(wire.output_index, text, out)
    }

    /// The whole arguments, for a call of which none have come yet.
    pub(super) fn arguments_done(
        &mut self,
        index: Count,
        text: &str,
        out: &mut Vec<Event>,
    ) -> Read {
        match self.known(index)?.kind {
            Kind::Call { told: false } => self.argue(index, text, out),
            Kind::Call { told: true } | Kind::Other => Ok(()),
            _ => Err(Invalid::Shape("arguments of an item that is no call")),
        }
    }

    pub(super) fn argue(&mut self, index: Count, text: &str, out: &mut Vec<Event>) -> Read {
        let is_open = self.open.is_some_and(|open| open.item == index.get());
        match &mut self.known(index)?.kind {
            Kind::Other => Ok(()),
            _ if text.is_empty() => Ok(()),
            // Blocks cannot interleave, so a call that another block has closed takes nothing more.
            Kind::Call { told } if is_open => {
                *told = true;
                out.push(Event::Delta(Delta::Arguments(text.to_owned())));
                Ok(())
            }
            _ => Err(Invalid::Shape("arguments outside their call")),
        }
    }

    // === reasoning ===

    pub(super) fn thinking(&mut self, wire: &Wire<'_>, words: Words, out: &mut Vec<Event>) -> Read {
        let text =
            (wire.delta.0.as_deref()).ok_or(Invalid::Shape("a reasoning delta without text"))?;
        self.think(wire.output_index, words, words.part(wire), text, out)
    }

    pub(super) fn thinking_done(
        &mut self,
        wire: &Wire<'_>,
        words: Words,
        out: &mut Vec<Event>,
    ) -> Read {
        let part = words.part(wire);
        match self.known(wire.output_index)?.kind {
            Kind::Reasoning {
                told: Some((_, last)),
                ..
            } if last >= part => Ok(()),
            _ => self.think(wire.output_index, words, part, wire.text.get(), out),
        }
    }

    pub(super) fn think(
        &mut self,
        index: Count,
        words: Words,
        part: u64,
        text: &str,
        out: &mut Vec<Event>,
    ) -> Read {
        let known = self.known(index)?;
        let Kind::Reasoning { told, .. } = &mut known.kind else {
            let left_out = matches!(known.kind, Kind::Other);
            return if left_out { Ok(()) } else { Err(NO_REASONING) };
        };
        if text.is_empty() || told.is_some_and(|(first, _)| first != words) {
            return Ok(());
        }
        let next_part = told.is_some_and(|(_, last)| last != part);
        *told = Some((words, part));
        self.reasoning_block(index, out)?;
        if next_part {
            out.push(Event::Delta(Delta::Text(PARAGRAPH.to_owned())));
        }
        out.push(Event::Delta(Delta::Text(text.to_owned())));
        Ok(())
    }

    pub(super) fn sealed(&mut self, index: Count, encrypted: &str, out: &mut Vec<Event>) -> Read {
        let (signature, sealed) = unseal(encrypted);
        let delta = signature
            .map(Delta::Signature)
            .or_else(|| sealed.map(Delta::Sealed));
        if let Some(delta) = delta {
            self.reasoning_block(index, out)?;
            out.push(Event::Delta(delta));
        }
        Ok(())
    }

    /// Makes the item's block the open one. It is opened by its first content, because items without any are common.
    pub(super) fn reasoning_block(&mut self, index: Count, out: &mut Vec<Event>) -> Read {
        let wanted = Open::new(index.get(), 0, Holds::Thinking);
        if self.open == Some(wanted) {
            return Ok(());
        }
        let known = self.known(index)?;
        match &known.kind {
            Kind::Reasoning { id, .. } if !known.done => {
                let block = Block::Reasoning { id: id.clone() };
                self.open_block(wanted, block, out);
                Ok(())
            }
            _ => Err(NO_REASONING),
        }
    }
}

const NO_REASONING: Invalid = Invalid::Shape("thinking outside a reasoning item");

impl Words {
    /// Which part of the text an event speaks of.
    fn part(self, wire: &Wire<'_>) -> u64 {
        match self {
            Self::Summary => wire.summary_index.get(),
            Self::Full => wire.content_index.get(),
        }
    }
}
