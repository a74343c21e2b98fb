//! The catalogue's codes for what the engine calls failures.

use crate::base::errors::{Code, Refusal};
use crate::domain::llm::engine::End;
use crate::domain::llm::engine::failure::Break;

/// The catalogue's code for an answer that broke.
#[must_use]
pub const fn code_of_break(how: Break) -> Code {
    match how {
        Break::Cut => Code::UpstreamDisconnected,
        Break::Stalled => Code::UpstreamStalled,
        Break::Malformed | Break::MissingEnd => Code::UpstreamProtocol,
        Break::InBand => Code::UpstreamError,
        Break::TooLarge => Code::UpstreamTooLarge,
        Break::Deadline => Code::UpstreamDeadline,
        Break::Media => Code::UnsupportedParameter,
    }
}

/// The refusal for an answer that broke.
#[must_use]
pub fn refusal_of_break(how: Break) -> Refusal {
    match how {
        Break::Media => media_refused(),
        how => Refusal::new(code_of_break(how)),
    }
}

/// An answer that only the provider's own dialect can carry. The request is what asked for it, so nobody else is asked.
#[must_use]
pub fn media_refused() -> Refusal {
    Refusal::new(Code::UnsupportedParameter)
        .param("modalities")
        .detail("The provider answered with sound or a picture, which cannot be carried into this endpoint's dialect: ask at the endpoint of the provider's own dialect, or for text alone.")
        .cause("sound or a picture in another dialect")
}

/// What an end means for the log line.
#[must_use]
pub fn code_at(end: &End) -> Option<Code> {
    match end {
        End::Delivered { .. } | End::ClientGone => None,
        End::Failed { failure, .. } => Some(failure.kind.code()),
        End::Cut { how } => Some(code_of_break(*how)),
    }
}
