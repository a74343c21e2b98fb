//! What is said between the worker and the object of an answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::accounts::Payer;
use crate::app::call::Wishes;
use crate::app::kept::SlotKey;
use crate::app::raw::RawCall;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::passages::Passages;
use crate::domain::llm::request::Belongs;
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
        /// In which protocol its id is written.
        protocol: Protocol,
        /// From behind the event of that number.
        after: Option<u64>,
    },
    /// Tell where an answer stands, and all of it that is there.
    Look {
        /// Who asks.
        owner: String,
        /// In which protocol its id is written.
        protocol: Protocol,
    },
    /// Stop an answer.
    Cancel {
        /// Who asks.
        owner: String,
        /// In which protocol its id is written.
        protocol: Protocol,
    },
    /// Forget an answer.
    Delete {
        /// Who asks.
        owner: String,
        /// In which protocol its id is written.
        protocol: Protocol,
    },
}

impl Command {
    /// The protocol in which an answer's id is written, where one is asked for by its id.
    #[must_use]
    pub const fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Run(_) => None,
            Self::Read { protocol, .. }
            | Self::Look { protocol, .. }
            | Self::Cancel { protocol, .. }
            | Self::Delete { protocol, .. } => Some(*protocol),
        }
    }
}

/// A call that wants to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Whose stores it reaches.
    pub tenant: String,
    /// Whose use it is.
    pub payer: Payer,
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
    Raw(Box<RawCall>),
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
    /// An answer that is kept there will do.
    pub look_up: bool,
    /// Does the caller prefer Chinese? For the built-in answerer.
    pub chinese: bool,
    /// The response that it goes on from.
    pub previous: Option<String>,
    /// The conversation that it belongs to.
    #[serde(default)]
    pub belongs: Option<Belongs>,
    /// What its caller wants remembered.
    #[serde(default)]
    pub memories: Option<String>,
    /// What was found in documents.
    #[serde(default)]
    pub passages: Option<Passages>,
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
    /// Why there is no more of it.
    pub error: Option<log::Error>,
}

/// A refusal on its way between objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    code: String,
    detail: Option<String>,
    param: Option<String>,
    wait: Option<Millis>,
    cause: Option<String>,
    headers: Vec<(String, String)>,
}

impl Refused {
    /// Of a refusal.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Self {
        let headers = refusal.response_headers().iter();
        Self {
            code: refusal.code.entry().code.to_owned(),
            detail: refusal.detail.clone(),
            param: refusal.param.clone(),
            wait: refusal.wait,
            cause: refusal.cause.clone(),
            headers: headers.map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
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
        let headers = self.headers.into_iter();
        refusal.headers(headers.filter_map(|(name, value)| Some((own_header(&name)?, value))))
    }
}

/// Headers that belong to an answer itself and are kept with it.
const OWN_HEADERS: [&str; 14] = [
    "x-cache",
    "age",
    "x-should-retry",
    "x-gatehouse-answerer",
    "x-gatehouse-attempts",
    "x-gatehouse-target",
    "x-gatehouse-dropped",
    "x-gatehouse-choice",
    "x-gatehouse-saved",
    "x-gatehouse-response-id",
    "x-gatehouse-tokens-in",
    "x-gatehouse-tokens-out",
    "x-gatehouse-tokens-estimated",
    "x-gatehouse-cost-usd",
];

/// A name that is one of ours.
pub(super) fn own_header(name: &str) -> Option<&'static str> {
    OWN_HEADERS.into_iter().find(|own| *own == name)
}
