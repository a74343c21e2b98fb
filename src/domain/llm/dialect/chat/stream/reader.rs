//! Chunks → normal events.

use super::super::wire::{Answer, CallPiece, Choice, Loose, Saying, failure, made_up_call_id};
use super::super::{finish, usage};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::normal::event::{Block, Delta, Event, Failed};

/// Reads a stream. Blocks open with their first content, so that an answer of empty chunks has none.
#[derive(Debug, Default)]
pub struct Reader {
    stage: Stage,
    /// The answer's id, for tool calls that come without one.
    answer: String,
    open: Option<Open>,
    /// The tool call that came last, open or not.
    call: Option<Call>,
    /// How many tool calls have begun.
    calls: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Before,
    Started,
    Finished,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Refusal,
    Reasoning,
    /// [`Reader::call`]
    Call,
}

/// A tool call. Until id and name are known it waits, and its arguments with it.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    held: String,
    told: bool,
    has_arguments: bool,
}

impl Reader {
    /// Reads one event. After `[DONE]` everything is ignored.
    ///
    /// # Errors
    /// The data is no chunk, or comes where it cannot: content after the finish, more of a tool call that is complete,
    /// the end before the start. See [`Invalid`]. An error inside the stream is [`Event::Failed`].
    pub fn event(&mut self, data: &str, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if self.stage == Stage::Ended {
            return Ok(());
        }
        if data.trim() == "[DONE]" {
            return self.end(out);
        }
        let chunk: Answer<'_> =
            serde_json::from_str(data).map_err(|_| Invalid::Shape("not a chat chunk"))?;
        if let Some(failed) = chunk.failed() {
            self.fail(failed, out);
            return Ok(());
        }
        let usage = usage::read(&chunk.usage);
        let choices = match chunk.choices {
            Some(choices) => choices,
            None if usage.is_none() && self.stage == Stage::Before => {
                return Err(Invalid::Shape("no choices"));
            }
            None => Vec::new(),
        };
        // Azure's first chunk holds its filter's view of the prompt, without id, model and choices.
        let says_something = !choices.is_empty() || usage.is_some() || chunk.id.text().is_some();
        if self.stage == Stage::Before && says_something {
            self.start(&chunk.id, &chunk.model, out);
        }
        for choice in choices {
            // More than one answer is refused before it is asked for.
            if choice.index == 0 && self.stage != Stage::Ended {
                self.choice(choice, out)?;
            }
        }
        if self.stage != Stage::Ended {
            out.extend(usage.map(Event::Usage));
        }
        Ok(())
    }

    fn start(&mut self, id: &Loose<'_>, model: &Loose<'_>, out: &mut Vec<Event>) {
        self.stage = Stage::Started;
        id.text().unwrap_or_default().clone_into(&mut self.answer);
        out.push(Event::Start {
            id: self.answer.clone(),
            model: model.text().unwrap_or_default().to_owned(),
        });
    }

    fn choice(&mut self, choice: Choice<'_>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if let Some(failed) = failure(&choice.error) {
            self.fail(failed, out);
            return Ok(());
        }
        let (sayings, calls) = match choice.delta {
            Some(delta) => delta.take().map_err(Invalid::Shape)?,
            None => (Vec::new(), Vec::new()),
        };
        if self.stage == Stage::Finished && !(sayings.is_empty() && calls.is_empty()) {
            return Err(Invalid::Shape("content after the finish"));
        }
        for saying in sayings {
            self.say(saying, out)?;
        }
        for call in calls {
            self.call_piece(call, out)?;
        }
        if self.stage == Stage::Finished {
            return Ok(()); // some servers repeat the reason
        }
        match finish::read(&choice.finish_reason, self.calls > 0) {
            None => Ok(()),
            Some(Err(failed)) => {
                self.fail(failed, out);
                Ok(())
            }
            Some(Ok(reason)) => {
                self.close(out)?;
                self.stage = Stage::Finished;
                out.push(Event::Finish {
                    reason,
                    stop_sequence: finish::stop_sequence(&choice.stop_reason, reason),
                });
                Ok(())
            }
        }
    }

    fn say(&mut self, saying: Saying<'_>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        let (kind, block, text) = match saying {
            Saying::Text(text) => (Open::Text, Block::Text, text),
            Saying::Refusal(text) => (Open::Refusal, Block::Refusal, text),
            Saying::Thought(text) => (Open::Reasoning, Block::Reasoning { id: None }, text),
        };
        if self.open != Some(kind) {
            self.close(out)?;
            self.open = Some(kind);
            out.push(Event::Open(block));
        }
        out.push(Event::Delta(Delta::Text(text.into_owned())));
        Ok(())
    }

    fn call_piece(&mut self, piece: CallPiece<'_>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        let continues = match &self.call {
            Some(call) => call.continues_with(&piece)?,
            None => false,
        };
        if !continues {
            self.close(out)?;
            self.open = Some(Open::Call);
            self.calls = self.calls.saturating_add(1);
            self.call = Some(Call {
                index: piece.index,
                ..Call::default()
            });
        } else if self.open != Some(Open::Call) {
            return Err(Invalid::Shape("more of a tool call that is complete"));
        }
        if let Some(call) = &mut self.call {
            call.take(piece, out);
        }
        Ok(())
    }

    /// Closes the open block, if any.
    fn close(&mut self, out: &mut Vec<Event>) -> Result<(), Invalid> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        if open == Open::Call
            && let Some(call) = &mut self.call
        {
            if call.name.is_empty() {
                return Err(Invalid::Shape("a tool call without a name"));
            }
            if call.id.is_empty() {
                call.id = made_up_call_id(&self.answer, self.calls.saturating_sub(1));
            }
            call.tell(out);
        }
        out.push(Event::Close);
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if self.stage == Stage::Before {
            return Err(Invalid::Shape("the end before the start"));
        }
        self.close(out)?;
        self.stage = Stage::Ended;
        out.push(Event::End);
        Ok(())
    }

    fn fail(&mut self, failed: Failed, out: &mut Vec<Event>) {
        self.stage = Stage::Ended;
        out.push(Event::Failed(failed));
    }
}

impl Call {
    /// Is a piece more of this call, or the beginning of another?
    ///
    /// OpenAI numbers the calls and tells id and name once. Others leave the number out, or give 0 to every call
    /// (Gemini), or repeat the name, or invent a new id for every piece (older vLLM). A new call is what has another
    /// number, or says a name under another id.
    fn continues_with(&self, piece: &CallPiece<'_>) -> Result<bool, Invalid> {
        let named = piece.name().is_some();
        let other_id = piece
            .id()
            .is_some_and(|id| !self.id.is_empty() && id != self.id);
        match (self.index, piece.index) {
            (Some(own), Some(index)) if index < own => {
                Err(Invalid::Shape("more of a tool call that is complete"))
            }
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

    fn take(&mut self, piece: CallPiece<'_>, out: &mut Vec<Event>) {
        if self.id.is_empty() {
            piece.id().unwrap_or_default().clone_into(&mut self.id);
        }
        if self.name.is_empty() {
            piece.name().unwrap_or_default().clone_into(&mut self.name);
        }
        if !self.id.is_empty() && !self.name.is_empty() {
            self.tell(out);
        }
        let Some(arguments) = piece.arguments() else {
            return;
        };
        self.has_arguments = true;
        if self.told {
            out.push(Event::Delta(Delta::Arguments(arguments.into_owned())));
        } else {
            self.held.push_str(&arguments);
        }
    }

    /// Opens the block, once, with what was held.
    fn tell(&mut self, out: &mut Vec<Event>) {
        if self.told {
            return;
        }
        self.told = true;
        out.push(Event::Open(Block::ToolCall {
            id: self.id.clone(),
            name: self.name.clone(),
        }));
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            out.push(Event::Delta(Delta::Arguments(held)));
        }
    }
}
