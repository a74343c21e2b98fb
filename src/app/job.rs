//! What a call of providers is about, apart from their failures.

use std::rc::Rc;

use serde_json::Value;

use crate::domain::llm::Protocol;
use crate::domain::llm::plan::Candidate;
use crate::domain::llm::raw::Asked;
use crate::domain::settings::config::Serves;

/// A call that any of its candidates can answer.
pub struct Job {
    /// The alias that was asked for.
    pub alias: String,
    /// The request's id, for the log.
    pub request_id: String,
    /// What kind of answer is wanted.
    pub wants: Wants,
    /// Who can answer, in the order in which they are tried.
    pub candidates: Rc<[Candidate]>,
    /// Our count of the input, for providers that report no usage.
    pub input_tokens: u64,
    /// Does the answer pass natively once it is committed?
    pub native: bool,
    /// Most bytes of a stream that is stored.
    pub max_bytes: Option<u64>,
    /// Gather the answer: for the cache.
    pub keep: bool,
    /// The schema that a whole answer's text must follow; one that does not is no answer.
    pub schema: Option<Value>,
}

/// What kind of answer is wanted.
#[derive(Clone, Copy, Debug)]
pub enum Wants {
    /// A chat answer.
    Chat {
        /// The caller's protocol.
        protocol: Protocol,
        /// As a stream?
        stream: bool,
    },
    /// A body that is passed on as it is.
    Raw {
        /// The endpoint, by which it is judged and counted.
        serves: Serves,
        /// How large the request is.
        asked: Asked,
    },
}
