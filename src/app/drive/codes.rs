//! The catalogue's codes for what the engine calls failures.

use crate::base::errors::Code;
use crate::domain::llm::engine::End;
use crate::domain::llm::engine::failure::{Break, FailureKind};

/// The catalogue's code for a failure of which nothing more is known.
#[must_use]
pub const fn code_of(kind: FailureKind) -> Code {
    match kind {
        FailureKind::RateLimited | FailureKind::Quota => Code::UpstreamRateLimited,
        FailureKind::Server | FailureKind::Conflict => Code::UpstreamError,
        FailureKind::Timeout | FailureKind::FirstToken => Code::UpstreamTimeout,
        FailureKind::Unreachable => Code::UpstreamUnreachable,
        FailureKind::Cut => Code::UpstreamDisconnected,
        FailureKind::Protocol => Code::UpstreamProtocol,
        FailureKind::TooLarge => Code::UpstreamTooLarge,
        FailureKind::Redirect => Code::UpstreamRedirect,
        FailureKind::Auth => Code::UpstreamAuth,
        FailureKind::ContextLength => Code::InputTooLong,
        FailureKind::ContentFilter => Code::ContentFiltered,
        FailureKind::Rejected => Code::UpstreamRejected,
        FailureKind::Shed => Code::UpstreamBusy,
        FailureKind::Deadline => Code::UpstreamDeadline,
    }
}

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
        End::Failed { failure, .. } => Some(code_of(failure.kind)),
        End::Cut { how } => Some(code_of_break(*how)),
    }
}
