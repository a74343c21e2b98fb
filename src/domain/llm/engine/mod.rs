//! The failure engine: one call of an alias, from the first attempt to the settled end, as a synchronous state machine.
//!
//! Events in, actions out, `now` an argument; no I/O, no clock, no randomness of its own. The driver in `app` performs
//! the actions and reports what happened; the same engine serves streams and whole answers, native and inspected paths.
//!
//! What the driver owes the engine beside the types below:
//! * A [`Input::Tick`] at the time of the last [`Action::Wake`]. One too early is harmless, and a wish may stand although
//!   its deadline has moved on; one too late makes deadlines late, and nothing else.
//! * [`Engine::forbid_rescue`](machine::Engine::forbid_rescue) as soon as a tool call has begun: a stall is found by the
//!   engine, so nobody is asked then whether what came can be continued.
//! * [`Input::Progress`] at least once in each idle deadline in which something came; not for every piece.
//! * A trial is told to the breaker with the *first* report of its target; it is also reported when no attempt of the
//!   call came to it.

mod choose;
pub mod failure;
mod jitter;
pub mod machine;

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
use failure::{Break, Failure, FailureKind};

/// Number of an attempt, counted from 0 in the order of [`Action::Start`].
pub type AttemptId = u32;

/// Index into [`Plan::targets`].
pub type TargetId = usize;

/// What may be tried, and how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The chain, in the order in which it is to be tried; a weighted choice has been made already.
    pub targets: Vec<Target>,
    /// Retries and waits.
    pub retry: Retry,
    /// The three deadlines.
    pub deadlines: Deadlines,
    /// May an answer that broke after its first token be continued on the next target?
    pub rescue: bool,
    /// Start a second target when the first token is late.
    pub hedge: bool,
}

/// One target of the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What the breaker says at the beginning.
    pub gate: Gate,
    /// Tokens that fit; `None` when unknown. After a refusal for the context length only larger (or unknown) ones are tried.
    pub context_tokens: Option<u64>,
    /// Recent 95th percentile of the time to the first token, when enough is known.
    pub p95_first_token: Option<Millis>,
    /// May an attempt have to wait for a place before its request is sent? Then [`Input::Sent`] tells when it is.
    pub queues: bool,
    /// Does it continue an assistant's text that stands last in the request? Otherwise an instruction asks for it.
    pub prefill: bool,
}

/// Whether a target may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Healthy.
    Closed,
    /// This call is the single trial of a target that was down.
    Trial,
    /// Down; a later target is taken. `until` is when it may be tried again.
    Open {
        /// End of the pause.
        until: Millis,
        /// Why nothing but the operator's work will help, where that is so.
        fatal: Option<Fatal>,
    },
}

/// Retries before the first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Most attempts at one target, the first included; at least 1.
    pub attempts_per_target: u32,
    /// Most attempts of a call, hedges and rescues included; at least 1.
    pub attempts: u32,
    /// Waits and failed attempts together may take so long; then no new attempt is started.
    pub budget: Millis,
    /// First ceiling of the backoff; it doubles with each retry (full jitter: the wait is random below the ceiling).
    pub base: Millis,
    /// Highest ceiling of the backoff.
    pub max: Millis,
    /// Longest `Retry-After` that is waited for; a longer one makes the call go on to the next target at once.
    pub max_retry_after: Millis,
}

/// Deadlines of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the start of an attempt to its first real output.
    pub first_token: Millis,
    /// The same as the alias has it. A caller may be less patient; what comes later than the caller wanted, but not later
    /// than this, is no fault of the target.
    pub own_first_token: Millis,
    /// Lower `first_token` to three times the target's recent p95, but not below this; `None`: do not adapt.
    pub adaptive_floor: Option<Millis>,
    /// Between two pieces, once output has begun.
    pub idle: Millis,
    /// From the beginning of the call to its end, all attempts and waits included.
    pub total: Millis,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The attempt was refused or failed before a first token: an error status, no connection, a body that is no answer.
    Failed {
        /// Which.
        attempt: AttemptId,
        /// How.
        failure: Failure,
    },
    /// The attempt's request goes out, after it had waited for a place: its first-token deadline begins anew.
    Sent {
        /// Which.
        attempt: AttemptId,
    },
    /// The attempt's first real output is here (it is still held back).
    Token {
        /// Which.
        attempt: AttemptId,
    },
    /// More of an answer came.
    Progress {
        /// Which.
        attempt: AttemptId,
    },
    /// The answer is whole: end marker, finish reason, everything. For a whole body this follows `Token` at once.
    Ended {
        /// Which.
        attempt: AttemptId,
    },
    /// The answer broke after its first token.
    Broken {
        /// Which.
        attempt: AttemptId,
        /// How.
        how: Break,
        /// Can what has come be continued? Not when a tool call has begun.
        continuable: bool,
    },
    /// The wait that [`Action::Wake`] asked for is over, or time has passed anyway.
    Tick,
    /// The client went away.
    ClientGone,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start an attempt at a target.
    Start {
        /// Its number.
        attempt: AttemptId,
        /// Where.
        target: TargetId,
        /// Fresh, or going on from the text so far.
        mode: Mode,
    },
    /// Abort an attempt: its connection is closed and nothing more is reported of it.
    Abort {
        /// Which.
        attempt: AttemptId,
    },
    /// Deliver this attempt's answer, held pieces first. At most one attempt is committed at a time.
    Commit {
        /// Which.
        attempt: AttemptId,
    },
    /// The attempt is over: book what it took. Exactly once for each started attempt.
    Book {
        /// Which.
        attempt: AttemptId,
        /// How it ended.
        outcome: Booked,
    },
    /// Tell the target's breaker.
    Report {
        /// Which target.
        target: TargetId,
        /// What it did.
        health: Health,
    },
    /// Call [`Engine::on`](machine::Engine::on) with [`Input::Tick`] at that time, unless something happens earlier. Replaces an earlier wish.
    Wake {
        /// When.
        at: Millis,
    },
    /// The call is over; nothing follows.
    Finish(End),
}

/// How an attempt begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With the caller's request.
    Fresh,
    /// With the text so far as the assistant's last turn.
    Prefill,
    /// With the text so far and an instruction to go on exactly there.
    Instruction,
}

/// How an attempt ended, for the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booked {
    /// Its answer was delivered whole (or was the end of a continued one).
    Delivered,
    /// It failed before its first token.
    Failed,
    /// It broke after its first token.
    Broken,
    /// It lost against another attempt.
    Lost,
    /// The client went away.
    ClientGone,
}

/// What a breaker learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// A first token after that time.
    Success {
        /// Time to the first token.
        first_token: Millis,
    },
    /// It failed in a way that is the target's fault.
    Failure {
        /// It asked for this much peace.
        wait: Option<Millis>,
        /// Open at once, and why.
        fatal: Option<Fatal>,
    },
    /// Neither: the fault was the request's, or the attempt was ended by us. A trial is given back.
    Neutral,
}

/// What lasts until the operator acts, so that it opens a breaker at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fatal {
    /// The credentials are refused.
    Key,
    /// The account's quota is used up.
    Quota,
}

impl Fatal {
    /// The failure that it was.
    #[must_use]
    pub const fn kind(self) -> FailureKind {
        match self {
            Self::Key => FailureKind::Auth,
            Self::Quota => FailureKind::Quota,
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// A whole answer was delivered by this attempt.
    Delivered {
        /// Which.
        attempt: AttemptId,
    },
    /// Nothing was delivered: a refusal, or the last resort where the alias allows it.
    Failed {
        /// The failure that tells the caller most.
        failure: Failure,
        /// Of which target; `None` when none could be tried at all.
        target: Option<TargetId>,
        /// How long until trying again makes sense: the shortest wait that a target asked for or that an open one still
        /// has. `None` when nobody named one, when the caller or the operator must mend something first, or when the deadline
        /// passed.
        wait: Option<Millis>,
    },
    /// Part of an answer was delivered, and no more can come: an error inside the stream.
    Cut {
        /// How it broke.
        how: Break,
    },
    /// The client went away.
    ClientGone,
}
