//! One tool call of a stream.

use super::COMPLETE;
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::chat::wire::{CallPiece, made_up_call_id};
use crate::domain::llm::normal::event::{Block, Delta, Event};

/// A tool call. Until id and name are known, and it is its turn, it holds its arguments.
#[derive(Debug)]
pub(super) struct Call {
    pub index: Option<u64>,
    /// How many calls were before it.
    number: u64,
    id: String,
    name: String,
    held: String,
    told: bool,
    has_arguments: bool,
    json: Json,
}

impl Call {
    pub fn new(index: Option<u64>, number: u64) -> Self {
        Self {
            index,
            number,
            id: String::new(),
            name: String::new(),
            held: String::new(),
            told: false,
            has_arguments: false,
            json: Json::default(),
        }
    }

    /// Is a piece more of this call, or the beginning of another?
    ///
    /// OpenAI numbers the calls and tells id and name once. Others leave the number out, or give 0 to every call
    /// (Gemini), or repeat the name, or invent a new id for every piece (older vLLM). A new call is what has another
    /// number, or says a name under another id.
    pub fn continues_with(&self, piece: &CallPiece<'_>) -> Result<bool, Invalid> {
        let named = piece.name().is_some();
        let other_id = piece
            .id()
            .is_some_and(|id| !self.id.is_empty() && id != self.id);
        match (self.index, piece.index) {
            (Some(own), Some(index)) if index < own => Err(COMPLETE),
            (Some(own), Some(index)) if index > own => Ok(false),
            (Some(_), Some(_)) => {
                let whole_calls_without_ids = self.id.is_empty()
                    && piece.id().is_none()
                    && !self.name.is_empty()
                    && self.has_arguments;
                Ok(!(named && (other_id || whole_calls_without_ids)))
            }
            _ => Ok(!named || piece.id().is_some_and(|id| id == self.id)),
        }
    }

    /// Are the arguments a whole JSON object, so that nothing can follow?
    pub const fn complete(&self) -> bool {
        self.json.whole
    }

    /// Takes id and name of a piece, as far as they are new.
    pub fn introduce(&mut self, piece: &CallPiece<'_>) {
        if self.id.is_empty() {
            piece.id().unwrap_or_default().clone_into(&mut self.id);
        }
        if self.name.is_empty() {
            piece.name().unwrap_or_default().clone_into(&mut self.name);
        }
    }

    /// Takes a piece, and tells how many bytes of arguments it had.
    pub fn take(&mut self, piece: CallPiece<'_>) -> usize {
        self.introduce(&piece);
        let Some(arguments) = piece.arguments() else {
            return 0;
        };
        self.has_arguments = true;
        self.json.push(&arguments);
        self.held.push_str(&arguments);
        arguments.len()
    }

    /// Tells what is held, once id and name are known.
    pub fn flow(&mut self, out: &mut Vec<Event>) {
        if !self.id.is_empty() && !self.name.is_empty() {
            self.tell(out);
        }
    }

    /// Tells the rest; the block can be closed.
    pub fn close(&mut self, answer: &str, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if self.name.is_empty() {
            return Err(Invalid::Shape("a tool call without a name"));
        }
        if self.id.is_empty() {
            self.id = made_up_call_id(answer, self.number);
        }
        self.tell(out);
        Ok(())
    }

    fn tell(&mut self, out: &mut Vec<Event>) {
        if !self.told {
            self.told = true;
            out.push(Event::Open(Block::ToolCall {
                id: self.id.clone(),
                name: self.name.clone(),
            }));
        }
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            out.push(Event::Delta(Delta::Arguments(held)));
        }
    }
}

/// Where a JSON object in pieces stands. What is no object never becomes whole.
#[derive(Debug, Default)]
struct Json {
    depth: u32,
    in_text: bool,
    escaped: bool,
    whole: bool,
}

impl Json {
    fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if self.in_text {
                self.in_text = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.whole = self.depth == 0;
                }
                _ => {}
            }
        }
    }
}
