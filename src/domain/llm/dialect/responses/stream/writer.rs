//! Normal events → a caller's stream.

mod follow;
mod item;
mod state;

use serde_json::Value;

use self::state::State;
use crate::domain::llm::normal::event::{Envelope, Event, Frame};

/// Writes a stream.
///
/// Neighbouring texts and refusals are the parts of one message; every call and every thought is an item of its own.
#[derive(Debug)]
pub struct Writer(Box<State>);

impl Writer {
    /// A writer for a new stream.
    #[must_use]
    pub fn new(envelope: Envelope) -> Self {
        Self(Box::new(State::new(envelope)))
    }

    /// Writes one event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<Frame>) {
        self.0.expect_more(event, out);
        self.0.event(event, out);
    }

    /// Takes an event that was sent to the caller by other means.
    pub fn note(&mut self, event: &Event) {
        self.0.note(event);
    }

    /// Goes on under the id and the model that the caller has seen.
    pub fn adopt(&mut self, id: &str, model: &str) {
        self.0.adopt(id, model);
    }

    /// Takes the data of a frame that was forwarded as it came: its number, and the ids in it. Called before [`note`]
    /// for the events of that frame. Without it, what is written later has numbers and item ids of its own.
    ///
    /// [`note`]: Self::note
    pub fn follow(&mut self, data: &str) {
        self.0.follow(data);
    }

    /// The response as it stands: after the end, what the last event carried.
    #[must_use]
    pub fn answer(&self) -> Value {
        self.0.answer()
    }
}
