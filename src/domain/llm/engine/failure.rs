//! What can go wrong with an attempt, and what each kind allows.
//!
//! | kind | same target? | other targets? | breaker |
//! |---|---|---|---|
//! | `Server`, `Conflict` | once, before the others; then after them | yes | counts |
//! | `RateLimited`, `Timeout`, `Unreachable`, `FirstToken`, `Cut`, `Protocol`, `TooLarge` | after the others | yes | counts |
//! | `Unfit`, `Shed` | after the others | yes | – |
//! | `Redirect` | no | yes | counts |
//! | `Auth`, `Quota` | no | yes | opens at once |
//! | `NotServed` | no | yes | – |
//! | `ContextLength` | no | only those with a larger context | – |
//! | `ContentFilter`, `Rejected`, `Deadline` | no | no: the call ends | – |
//!
//! One exception, when an answer that broke is continued: `Rejected` then speaks of the continuation, not of the caller's
//! request. So another target may be asked, and the same one once more with an instruction instead of a prefill.

use super::{Fatal, Health};
use crate::base::errors::Code;
use crate::base::time::Millis;

/// Why an attempt brought no first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// The wait that the provider asked for (`Retry-After`), not capped.
    pub wait: Option<Millis>,
}

impl Failure {
    /// A failure without a wish.
    #[must_use]
    pub const fn new(kind: FailureKind) -> Self {
        Self { kind, wait: None }
    }

    /// What the target's breaker learns.
    #[must_use]
    pub const fn health(self) -> Health {
        if !self.kind.breaks() {
            return Health::Neutral;
        }
        Health::Failure {
            wait: self.wait,
            fatal: self.kind.fatal(),
        }
    }
}

/// Kinds of failure before the first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// 429, 529.
    RateLimited,
    /// 5xx but those below.
    Server,
    /// 408, 504, 522, 524: the provider's own timeout.
    Timeout,
    /// 409, 425.
    Conflict,
    /// No connection, or it was reset; 521, 523, 525, 526, 530: a proxy says so of its origin.
    Unreachable,
    /// No first token in time.
    FirstToken,
    /// The connection ended or stalled before the first token.
    Cut,
    /// 200 with something that is no answer: HTML, another shape, no finish reason, an error object that says nothing more.
    Protocol,
    /// An answer that is none of what was asked: without a word, or not as its schema says. Requests can be made to have no
    /// other answer, so the breaker does not count it.
    Unfit,
    /// More bytes than we accept.
    TooLarge,
    /// 3xx.
    Redirect,
    /// 401, 403, 407: our credentials.
    Auth,
    /// 402, or a refusal that says that the account's quota is used up.
    Quota,
    /// 404, 405, 410, 451, 501 and their like: the target does not know the model or the path. It may also be a file that the
    /// caller named, so the breaker does not count it: a visitor must not be able to close a target for all.
    NotServed,
    /// The request does not fit the model's context.
    ContextLength,
    /// The provider's content filter.
    ContentFilter,
    /// 400, 415, 422: the request itself.
    Rejected,
    /// The target's concurrency cap: shed before anything was sent.
    Shed,
    /// The call's total deadline passed.
    Deadline,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 19] = [
        Self::RateLimited,
        Self::Server,
        Self::Timeout,
        Self::Conflict,
        Self::Unreachable,
        Self::FirstToken,
        Self::Cut,
        Self::Protocol,
        Self::Unfit,
        Self::TooLarge,
        Self::Redirect,
        Self::Auth,
        Self::Quota,
        Self::NotServed,
        Self::ContextLength,
        Self::ContentFilter,
        Self::Rejected,
        Self::Shed,
        Self::Deadline,
    ];

    /// May the same target be asked again in this call?
    #[must_use]
    pub const fn retries_same(self) -> bool {
        match self {
            Self::RateLimited
            | Self::Server
            | Self::Timeout
            | Self::Conflict
            | Self::Unreachable
            | Self::FirstToken
            | Self::Cut
            | Self::Protocol
            | Self::Unfit
            | Self::TooLarge
            | Self::Shed => true,
            Self::Redirect
            | Self::Auth
            | Self::Quota
            | Self::NotServed
            | Self::ContextLength
            | Self::ContentFilter
            | Self::Rejected
            | Self::Deadline => false,
        }
    }

    /// Is the same target asked once more before any other? Failures that come at once and are mostly gone at once;
    /// after the others it is better to try a healthy target than to try the visitor's patience.
    #[must_use]
    pub const fn retries_same_first(self) -> bool {
        matches!(self, Self::Server | Self::Conflict)
    }

    /// May another target be asked? After `ContextLength` only one with a larger context.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        !matches!(self, Self::ContentFilter | Self::Rejected | Self::Deadline)
    }

    /// Is it the target's fault, so that its breaker counts it?
    #[must_use]
    pub const fn breaks(self) -> bool {
        !matches!(
            self,
            Self::Unfit
                | Self::NotServed
                | Self::ContextLength
                | Self::ContentFilter
                | Self::Rejected
                | Self::Shed
                | Self::Deadline
        )
    }

    /// Is it the caller's to mend, so that trying again later makes no sense?
    #[must_use]
    pub const fn is_callers(self) -> bool {
        matches!(
            self,
            Self::Rejected | Self::ContextLength | Self::ContentFilter
        )
    }

    /// Is it the operator's to mend, so that trying again soon makes no sense?
    #[must_use]
    pub const fn is_operators(self) -> bool {
        matches!(
            self,
            Self::Auth | Self::Quota | Self::NotServed | Self::Redirect
        )
    }

    /// Does it open the target's breaker at once?
    #[must_use]
    pub const fn fatal(self) -> Option<Fatal> {
        match self {
            Self::Auth => Some(Fatal::Key),
            Self::Quota => Some(Fatal::Quota),
            _ => None,
        }
    }

    /// The catalogue's code, where nothing more is known.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::RateLimited => Code::UpstreamRateLimited,
            Self::Server | Self::Conflict => Code::UpstreamError,
            Self::Timeout | Self::FirstToken => Code::UpstreamTimeout,
            Self::Unreachable => Code::UpstreamUnreachable,
            Self::Cut => Code::UpstreamDisconnected,
            Self::Protocol | Self::Unfit => Code::UpstreamProtocol,
            Self::TooLarge => Code::UpstreamTooLarge,
            Self::Redirect => Code::UpstreamRedirect,
            Self::Auth => Code::UpstreamAuth,
            Self::Quota => Code::UpstreamQuota,
            Self::NotServed => Code::UpstreamNotFound,
            Self::ContextLength => Code::InputTooLong,
            Self::ContentFilter => Code::ContentFiltered,
            Self::Rejected => Code::UpstreamRejected,
            Self::Shed => Code::UpstreamBusy,
            Self::Deadline => Code::UpstreamDeadline,
        }
    }

    /// How much it tells the caller when several targets failed; the highest is told. What the caller can mend comes
    /// first, then what names a wait, then how far the call got. What only the operator can mend comes last: clients are
    /// told not to try that again, and as long as one target failed in passing, trying again may help.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Rejected => 14,
            Self::ContextLength => 13,
            Self::ContentFilter => 12,
            Self::RateLimited => 11,
            Self::Shed => 10,
            Self::Deadline | Self::Timeout | Self::FirstToken => 9,
            Self::Server => 8,
            Self::Protocol | Self::Unfit | Self::Cut | Self::TooLarge => 7,
            Self::Conflict => 6,
            Self::Unreachable => 5,
            Self::Auth => 4,
            Self::Quota => 3,
            Self::NotServed => 2,
            Self::Redirect => 1,
        }
    }
}

/// How an answer broke after its first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Break {
    /// The connection ended or was reset.
    Cut,
    /// Nothing came for the idle deadline.
    Stalled,
    /// An event that cannot be read.
    Malformed,
    /// The stream ended without its end marker or finish reason.
    MissingEnd,
    /// The provider reported an error inside the stream.
    InBand,
    /// More bytes than we accept.
    TooLarge,
    /// The total deadline passed.
    Deadline,
    /// Sound or a picture came, which the caller's dialect cannot carry.
    Media,
}

impl Break {
    /// Every way.
    pub const ALL: [Self; 8] = [
        Self::Cut,
        Self::Stalled,
        Self::Malformed,
        Self::MissingEnd,
        Self::InBand,
        Self::TooLarge,
        Self::Deadline,
        Self::Media,
    ];

    /// Can another target go on after it? Not when there is no time left, when the answer is too large already, or when
    /// it cannot be told in words.
    #[must_use]
    pub const fn may_be_rescued(self) -> bool {
        !matches!(self, Self::TooLarge | Self::Deadline | Self::Media)
    }

    /// What the target's breaker learns. A long answer that meets the total deadline is nobody's fault.
    #[must_use]
    pub const fn health(self) -> Health {
        match self {
            Self::Deadline | Self::Media => Health::Neutral,
            _ => Health::Failure {
                wait: None,
                fatal: None,
            },
        }
    }

    /// The same, when it happened before the first token after all.
    #[must_use]
    pub const fn before_token(self) -> FailureKind {
        match self {
            Self::Cut | Self::Stalled => FailureKind::Cut,
            Self::Malformed | Self::MissingEnd | Self::InBand => FailureKind::Protocol,
            Self::TooLarge => FailureKind::TooLarge,
            Self::Deadline => FailureKind::Deadline,
            Self::Media => FailureKind::Rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FailureKind as K;
    use super::{Break, Failure};
    use crate::base::time::Millis;
    use crate::domain::llm::engine::{Fatal, Health};

    /// kind, same target, same target first, other targets, breaker counts, rank's order below.
    const TABLE: [(K, bool, bool, bool, bool); 19] = [
        (K::Rejected, false, false, false, false),
        (K::ContextLength, false, false, true, false),
        (K::ContentFilter, false, false, false, false),
        (K::RateLimited, true, false, true, true),
        (K::Shed, true, false, true, false),
        (K::Deadline, false, false, false, false),
        (K::Timeout, true, false, true, true),
        (K::FirstToken, true, false, true, true),
        (K::Server, true, true, true, true),
        (K::Protocol, true, false, true, true),
        (K::Unfit, true, false, true, false),
        (K::Cut, true, false, true, true),
        (K::TooLarge, true, false, true, true),
        (K::Conflict, true, true, true, true),
        (K::Unreachable, true, false, true, true),
        (K::Auth, false, false, true, true),
        (K::Quota, false, false, true, true),
        (K::NotServed, false, false, true, false),
        (K::Redirect, false, false, true, true),
    ];

    #[test]
    fn every_kind_allows_what_the_table_says() {
        assert!(K::ALL.iter().all(|k| TABLE.iter().any(|row| row.0 == *k)));
        for (kind, same, first, on, breaks) in TABLE {
            assert_eq!(kind.retries_same(), same, "{kind:?}");
            assert_eq!(kind.retries_same_first(), first, "{kind:?}");
            assert_eq!(kind.goes_on(), on, "{kind:?}");
            assert_eq!(kind.breaks(), breaks, "{kind:?}");
        }
    }

    #[test]
    fn what_the_caller_can_mend_is_told_first_and_what_only_the_operator_can_last() {
        for pair in TABLE.windows(2) {
            let (above, below) = (pair[0].0, pair[1].0);
            assert!(above.rank() >= below.rank(), "{above:?} {below:?}");
        }
        for (above, below) in [
            (K::Rejected, K::ContextLength),
            (K::ContextLength, K::ContentFilter),
            (K::ContentFilter, K::RateLimited),
            (K::RateLimited, K::Shed),
            (K::Shed, K::FirstToken),
            (K::Timeout, K::Server),
            (K::Server, K::Unreachable),
            (K::Unreachable, K::Auth),
            (K::Auth, K::Quota),
            (K::Quota, K::NotServed),
        ] {
            assert!(above.rank() > below.rank(), "{above:?} {below:?}");
        }
    }

    #[test]
    fn only_what_lasts_until_the_operator_acts_is_fatal_and_a_wait_is_passed_on() {
        for kind in K::ALL {
            let wait = Some(Millis(7));
            let fatal = match kind {
                K::Auth => Some(Fatal::Key),
                K::Quota => Some(Fatal::Quota),
                _ => None,
            };
            let expected = if kind.breaks() {
                Health::Failure { wait, fatal }
            } else {
                Health::Neutral
            };
            assert_eq!(Failure { kind, wait }.health(), expected);
            assert!(fatal.is_none_or(|fatal| fatal.kind() == kind));
        }
    }

    #[test]
    fn a_client_is_told_to_try_again_by_itself_only_where_that_can_help() {
        for kind in K::ALL {
            let entry = kind.code().entry();
            let hopeless = kind.is_callers() || kind.is_operators() || kind == K::TooLarge;
            assert_eq!(entry.retryable, !hopeless, "{kind:?}");
            assert_eq!(entry.status < 500, kind.is_callers(), "{kind:?}");
            assert_eq!(
                entry.fault == crate::base::errors::Fault::Operator,
                kind.is_operators(),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_too_large_or_too_late_is_not_continued() {
        for how in Break::ALL {
            let hopeless = matches!(how, Break::TooLarge | Break::Deadline | Break::Media);
            assert_eq!(how.may_be_rescued(), !hopeless, "{how:?}");
            let nobodys = matches!(how, Break::Deadline | Break::Media);
            assert_eq!(how.health() == Health::Neutral, nobodys);
        }
    }
}
