//! Chunks → normal events.

mod call;

use std::collections::VecDeque;

use self::call::Call;
use super::super::wire::{Answer, CallPiece, Choice, Loose, Saying, failure};
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
    /// The tool call that was opened last, complete or not.
    call: Option<Call>,
    /// Calls that began before the open one was complete. Servers may send the pieces of several calls in turns; here
    /// they come one call after the other.
    waiting: VecDeque<Call>,
    /// What waits, in bytes.
    held_bytes: usize,
    /// How many tool calls have begun.
    calls: u64,
}

/// Most that is held of calls that wait for another one: 1 MiB.
const MAX_HELD_BYTES: usize = 1_048_576;
/// What a call takes beside its arguments, in bytes.
const CALL_BYTES: usize = 256;

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

impl Reader {
    /// Reads one event. After `[DONE]` nothing counts but usage, which some servers send late.
    ///
    /// # Errors
    /// The data is no chunk, or comes where it cannot: content after the finish, more of a tool call that is complete,
    /// the end before the start. See [`Invalid`]. An error inside the stream is [`Event::Failed`].
    pub fn event(&mut self, data: &str, out: &mut Vec<Event>) -> Result<(), Invalid> {
        if self.stage == Stage::Ended {
            let late = serde_json::from_str::<Answer<'_>>(data).ok();
            out.extend(
                late.and_then(|late| usage::read(&late.usage))
                    .map(Event::Usage),
            );
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
            Saying::Media => {
                self.close(out)?;
                out.push(Event::Media);
                return Ok(());
            }
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
        match self.place_of(&piece)? {
            Place::Open if self.open == Some(Open::Call) => {
                if let Some(call) = &mut self.call {
                    call.introduce(&piece);
                    call.flow(out);
                    call.take(piece);
                    call.flow(out);
                }
            }
            Place::Open => return Err(COMPLETE),
            Place::Waiting(at) => {
                let taken = self.waiting.get_mut(at).map_or(0, |call| call.take(piece));
                self.held_bytes = self.held_bytes.saturating_add(taken);
            }
            Place::New => self.begin_call(piece, out)?,
        }
        if self.held_bytes > MAX_HELD_BYTES {
            return Err(Invalid::Shape("too much of several tool calls at once"));
        }
        self.advance(out)
    }

    /// Whose piece it is.
    fn place_of(&self, piece: &CallPiece<'_>) -> Result<Place, Invalid> {
        let numbered = |call: &Call| piece.index.is_some() && call.index == piece.index;
        let same = self.waiting.iter().rposition(numbered);
        let (place, call) = match (same, &self.call) {
            (Some(at), _) => (Place::Waiting(at), self.waiting.get(at)),
            (None, Some(call)) if numbered(call) => (Place::Open, Some(call)),
            (None, None) => (Place::New, None),
            // Without a number it can only be the last one that is meant.
            (None, Some(call)) => match self.waiting.len().checked_sub(1) {
                Some(at) => (Place::Waiting(at), self.waiting.get(at)),
                None => (Place::Open, Some(call)),
            },
        };
        Ok(match call {
            Some(call) if call.continues_with(piece)? => place,
            _ => Place::New,
        })
    }

    /// Opens a call, or lets it wait while the one that is open is not complete.
    fn begin_call(&mut self, piece: CallPiece<'_>, out: &mut Vec<Event>) -> Result<(), Invalid> {
        let mut call = Call::new(piece.index, self.calls);
        self.calls = self.calls.saturating_add(1);
        let numbered = |call: &Call| call.index.is_some();
        let in_turns = self.open == Some(Open::Call)
            && numbered(&call)
            && self
                .call
                .as_ref()
                .is_some_and(|open| numbered(open) && !open.complete());
        let held = call.take(piece);
        if in_turns {
            self.held_bytes = self
                .held_bytes
                .saturating_add(CALL_BYTES)
                .saturating_add(held);
            self.waiting.push_back(call);
        } else {
            self.close(out)?;
            self.open_call(call, out);
        }
        Ok(())
    }

    fn open_call(&mut self, mut call: Call, out: &mut Vec<Event>) {
        call.flow(out);
        self.open = Some(Open::Call);
        self.call = Some(call);
    }

    /// Goes on to the next call that waits, once the open one is complete.
    fn advance(&mut self, out: &mut Vec<Event>) -> Result<(), Invalid> {
        while self.call.as_ref().is_some_and(Call::complete)
            && let Some(next) = self.waiting.pop_front()
        {
            self.close_block(out)?;
            self.open_call(next, out);
        }
        if self.waiting.is_empty() {
            self.held_bytes = 0;
        }
        Ok(())
    }

    /// Closes the open block, if any, and tells the calls that wait behind it.
    fn close(&mut self, out: &mut Vec<Event>) -> Result<(), Invalid> {
        self.close_block(out)?;
        while let Some(next) = self.waiting.pop_front() {
            self.open_call(next, out);
            self.close_block(out)?;
        }
        self.held_bytes = 0;
        Ok(())
    }

    fn close_block(&mut self, out: &mut Vec<Event>) -> Result<(), Invalid> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        if open == Open::Call
            && let Some(call) = &mut self.call
        {
            call.close(&self.answer, out)?;
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

/// Whose a piece of a call is.
enum Place {
    /// The call's that was opened last.
    Open,
    /// One's that waits.
    Waiting(usize),
    /// A call's that begins with it.
    New,
}

const COMPLETE: Invalid = Invalid::Shape("more of a tool call that is complete");
