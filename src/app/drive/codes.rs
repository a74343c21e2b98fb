//! The catalogue's codes for what the engine calls failures.

use crate::base::errors::Code;
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
    }
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
