//! What is said between the worker and the object of an answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::call::Wishes;
use crate::app::kept::SlotKey;
use crate::app::raw::RawCall;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::stream::log;

/// What the object is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Make an answer, or read what another call of the same request makes.
    Run(Box<Run>),
    /// Read an answer as a stream.
    Read {
        /// Who asks.
        owner: String,
        /// From behind the event of that number.
        after: Option<u64>,
    },
    /// Tell where an answer stands, and all of it that is there.
    Look {
        /// Who asks.
        owner: String,
    },
    /// Stop an answer.
    Cancel {
        /// Who asks.
        owner: String,
    },
    /// Forget an answer.
    Delete {
        /// Who asks.
        owner: String,
    },
}

/// A call that wants to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// How its answer is kept, and for whom.
    pub begin: log::Begin,
    /// Answer at once, without waiting for the end.
    pub background: bool,
    /// What to do.
    pub work: Work,
}

/// What a call needs to be made in another place.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A chat call.
    Chat(Box<ChatWork>),
    /// A call whose answer is passed on.
    Raw(RawCall),
}

/// A chat call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChatWork {
    /// The caller's protocol.
    pub protocol: Protocol,
    /// The request.
    pub body: Map<String, Value>,
    /// What else is wanted.
    pub wishes: Wishes,
    /// What an alias that chooses is asked to prefer.
    pub prefer: Option<String>,
    /// For the cache's own limit.
    pub network: String,
    /// The same.
    pub client: String,
    /// Where the answer is kept, if it may be.
    pub slot: Option<SlotKey>,
}

/// What the object answers, beside a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The answer's head; its body is the stream, or follows.
    Head {
        /// Status and headers.
        head: log::Head,
        /// Did another call make it?
        attached: bool,
    },
    /// Where an answer stands.
    Standing(Box<Standing>),
    /// There is no such answer for this caller.
    NotFound,
    /// The key stands for another request.
    Conflict,
    /// It could not be made.
    Refused(Box<Refused>),
    /// Done.
    Done,
}

/// Where an answer stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Running, whole, …
    pub status: log::Status,
    /// When it began.
    pub created: Millis,
    /// What was kept of the request.
    pub request: Option<String>,
    /// Is the body a stream of events?
    pub stream: bool,
    /// What there is of the body.
    pub body: String,
}

/// A refusal on its way between objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    code: String,
    detail: Option<String>,
    param: Option<String>,
    wait: Option<Millis>,
    cause: Option<String>,
    attempts: Option<String>,
}

impl Refused {
    /// Of a refusal.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Self {
        let attempts = refusal
            .response_headers()
            .iter()
            .find(|(name, _)| *name == "x-gatehouse-attempts")
            .map(|(_, value)| value.clone());
        Self {
            code: refusal.code.entry().code.to_owned(),
            detail: refusal.detail.clone(),
            param: refusal.param.clone(),
            wait: refusal.wait,
            cause: refusal.cause.clone(),
            attempts,
        }
    }

    /// Back again.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        let mut refusal = Refusal::new(Code::from_name(&self.code).unwrap_or(Code::Internal));
        refusal.detail = self.detail;
        refusal.param = self.param;
        refusal.wait = self.wait;
        refusal.cause = self.cause;
        match self.attempts {
            Some(attempts) => refusal.headers([("x-gatehouse-attempts", attempts)]),
            None => refusal,
        }
    }
}
