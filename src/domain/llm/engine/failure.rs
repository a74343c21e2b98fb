//! What can go wrong with an attempt, and what each kind allows.
//!
//! | kind | same target? | other targets? | breaker |
//! |---|---|---|---|
//! | `Server`, `Conflict` | once, before the others; then after them | yes | counts |
//! | `RateLimited`, `Timeout`, `Unreachable`, `FirstToken`, `Cut`, `Protocol`, `TooLarge` | after the others | yes | counts |
//! | `Shed` | after the others | yes | – |
//! | `Redirect`, `Quota` | no | yes | counts |
//! | `Auth` | no | yes | opens at once |
//! | `ContextLength` | no | only those with a larger context | – |
//! | `ContentFilter`, `Rejected`, `Deadline` | no | no: the call ends | – |
//!
//! One exception, when an answer that broke is continued: `Rejected` then speaks of the continuation, not of the caller's
//! request. So another target may be asked, and the same one once more with an instruction instead of a prefill.

use super::Health;
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
            fatal: matches!(self.kind, FailureKind::Auth),
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
    /// 408, 504, 524: the provider's own timeout.
    Timeout,
    /// 409, 425.
    Conflict,
    /// No connection, or it was reset.
    Unreachable,
    /// No first token in time.
    FirstToken,
    /// The connection ended or stalled before the first token.
    Cut,
    /// 200 with something that is no answer: HTML, another shape, empty, no finish reason, an error object that says nothing more.
    Protocol,
    /// More bytes than we accept.
    TooLarge,
    /// 3xx.
    Redirect,
    /// 401, 403: our credentials.
    Auth,
    /// 402, or 429 that says the provider's quota is used up.
    Quota,
    /// The request does not fit the model's context.
    ContextLength,
    /// The provider's content filter.
    ContentFilter,
    /// 400, 404, 413, 422: the request itself.
    Rejected,
    /// The target's concurrency cap: shed before anything was sent.
    Shed,
    /// The call's total deadline passed.
    Deadline,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::RateLimited,
        Self::Server,
        Self::Timeout,
        Self::Conflict,
        Self::Unreachable,
        Self::FirstToken,
        Self::Cut,
        Self::Protocol,
        Self::TooLarge,
        Self::Redirect,
        Self::Auth,
        Self::Quota,
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
            | Self::TooLarge
            | Self::Shed => true,
            Self::Redirect
            | Self::Auth
            | Self::Quota
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
            Self::ContextLength
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

    /// How much it tells the caller when several targets failed; the highest is told. What the caller can mend comes
    /// first, then what the operator can, then what names a wait, then how far the call got.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Rejected => 12,
            Self::ContextLength => 11,
            Self::ContentFilter => 10,
            Self::Auth => 9,
            Self::Quota => 8,
            Self::RateLimited => 7,
            Self::Shed => 6,
            Self::Deadline | Self::Timeout | Self::FirstToken => 5,
            Self::Server => 4,
            Self::Protocol | Self::Cut | Self::TooLarge => 3,
            Self::Conflict | Self::Redirect => 2,
            Self::Unreachable => 1,
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
}

impl Break {
    /// Every way.
    pub const ALL: [Self; 7] = [
        Self::Cut,
        Self::Stalled,
        Self::Malformed,
        Self::MissingEnd,
        Self::InBand,
        Self::TooLarge,
        Self::Deadline,
    ];

    /// Can another target go on after it? Not when there is no time left, or when the answer is too large already.
    #[must_use]
    pub const fn may_be_rescued(self) -> bool {
        !matches!(self, Self::TooLarge | Self::Deadline)
    }

    /// What the target's breaker learns. A long answer that meets the total deadline is nobody's fault.
    #[must_use]
    pub const fn health(self) -> Health {
        match self {
            Self::Deadline => Health::Neutral,
            _ => Health::Failure {
                wait: None,
                fatal: false,
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FailureKind as K;
    use super::{Break, Failure};
    use crate::base::time::Millis;
    use crate::domain::llm::engine::Health;

    /// kind, same target, same target first, other targets, breaker counts, rank's order below.
    const TABLE: [(K, bool, bool, bool, bool); 17] = [
        (K::Rejected, false, false, false, false),
        (K::ContextLength, false, false, true, false),
        (K::ContentFilter, false, false, false, false),
        (K::Auth, false, false, true, true),
        (K::Quota, false, false, true, true),
        (K::RateLimited, true, false, true, true),
        (K::Shed, true, false, true, false),
        (K::Deadline, false, false, false, false),
        (K::Timeout, true, false, true, true),
        (K::FirstToken, true, false, true, true),
        (K::Server, true, true, true, true),
        (K::Protocol, true, false, true, true),
        (K::Cut, true, false, true, true),
        (K::TooLarge, true, false, true, true),
        (K::Conflict, true, true, true, true),
        (K::Redirect, false, false, true, true),
        (K::Unreachable, true, false, true, true),
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
    fn what_the_caller_can_mend_is_told_first_and_a_dead_line_last() {
        for pair in TABLE.windows(2) {
            let (above, below) = (pair[0].0, pair[1].0);
            assert!(above.rank() >= below.rank(), "{above:?} {below:?}");
        }
        for (above, below) in [
            (K::Rejected, K::ContextLength),
            (K::ContextLength, K::ContentFilter),
            (K::ContentFilter, K::Auth),
            (K::Auth, K::Quota),
            (K::Quota, K::RateLimited),
            (K::RateLimited, K::Shed),
            (K::Shed, K::FirstToken),
            (K::Timeout, K::Server),
            (K::Server, K::Unreachable),
            (K::Redirect, K::Unreachable),
        ] {
            assert!(above.rank() > below.rank(), "{above:?} {below:?}");
        }
    }

    #[test]
    fn only_refused_credentials_are_fatal_and_a_wait_is_passed_on() {
        for kind in K::ALL {
            let wait = Some(Millis(7));
            let expected = if kind.breaks() {
                Health::Failure {
                    wait,
                    fatal: kind == K::Auth,
                }
            } else {
                Health::Neutral
            };
            assert_eq!(Failure { kind, wait }.health(), expected);
        }
    }

    #[test]
    fn an_answer_that_is_too_large_or_too_late_is_not_continued() {
        for how in Break::ALL {
            let hopeless = matches!(how, Break::TooLarge | Break::Deadline);
            assert_eq!(how.may_be_rescued(), !hopeless, "{how:?}");
            assert_eq!(how.health() == Health::Neutral, how == Break::Deadline);
        }
    }
}
