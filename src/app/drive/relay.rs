//! The native path: the platform copies the bytes, and what was seen of them is judged at the end.

use super::Drive;
use crate::app::port::{Port, RelayEnd};
use crate::base::time::Millis;
use crate::domain::llm::engine::Input;
use crate::domain::llm::engine::failure::Break;
use crate::domain::llm::stream::inlet::Inlet;

impl<P: Port> Drive<P> {
    /// Takes the committed attempt's inlet, so that the relay can watch with it.
    pub fn hand_over(&mut self) -> Option<(P::Call, Inlet)> {
        let committed = self.committed?;
        let attempt = self.running.iter_mut().find(|a| a.id == committed)?;
        attempt.pending = None;
        Some((attempt.call.clone()?, attempt.inlet.take()?))
    }

    /// Takes the end of a relay.
    pub fn relayed(&mut self, end: RelayEnd, inlet: Inlet) {
        let Some(id) = self.committed else { return };
        let verdict = verdict(end, &inlet);
        if let Some(attempt) = self.running.iter_mut().find(|a| a.id == id) {
            attempt.inlet = Some(inlet);
        }
        self.tell(match verdict {
            RelayVerdict::Whole => Input::Ended { attempt: id },
            RelayVerdict::ClientGone => Input::ClientGone,
            RelayVerdict::Broken(how) => Input::Broken {
                attempt: id,
                how,
                continuable: false,
            },
        });
    }

    /// What is left of the deadlines for a relay: between two pieces, and in all.
    #[must_use]
    pub fn deadlines_left(&self) -> (Millis, Millis) {
        let left = self.began.plus(self.deadlines.total).since(self.port.now());
        (self.deadlines.idle, Millis(left.0.max(1)))
    }
}

/// What the end of a relay means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayVerdict {
    /// The answer is whole.
    Whole,
    /// The client went away.
    ClientGone,
    /// It broke.
    Broken(Break),
}

/// Judges the end of a relay by how the connection ended and by what was seen.
#[must_use]
pub fn verdict(end: RelayEnd, inlet: &Inlet) -> RelayVerdict {
    match (end, inlet.fault()) {
        (RelayEnd::ClientGone, _) => RelayVerdict::ClientGone,
        // An error inside the stream, or something that cannot be read, says more than how the connection ended.
        (_, Some(how @ (Break::InBand | Break::Malformed))) => RelayVerdict::Broken(how),
        // What broke behind the end marker broke nothing.
        (_, None) => RelayVerdict::Whole,
        (RelayEnd::Ended, Some(how)) => RelayVerdict::Broken(how),
        (RelayEnd::Broken, _) => RelayVerdict::Broken(Break::Cut),
        (RelayEnd::Stalled, _) => RelayVerdict::Broken(Break::Stalled),
        (RelayEnd::Overran, _) => RelayVerdict::Broken(Break::Deadline),
    }
}
