//! An answer on its way out, and the work that is left to do once it has gone.

use std::pin::Pin;

use super::port::Port;
use crate::base::errors::{Code, Refusal};

/// A body.
pub enum Body<S> {
    /// None.
    Empty,
    /// All of it.
    Bytes(Vec<u8>),
    /// In the platform's own form.
    Stream(S),
}

/// Work for after the last byte. It is driven to its end by the platform's `waitUntil`.
pub type After = Pin<Box<dyn Future<Output = Outcome>>>;

/// What the log line needs to know about an answer, beyond its head.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The catalogue's code, for refusals and for failures after the status was sent.
    pub code: Option<Code>,
    /// What went wrong behind a code, for the operator.
    pub cause: Option<String>,
    /// The alias.
    pub alias: Option<String>,
    /// `provider/model`.
    pub target: Option<String>,
    /// `hit`, `miss` or `bypass`.
    pub cache: Option<&'static str>,
    /// Whether the answer was streamed.
    pub stream: Option<bool>,
    /// Input tokens.
    pub tokens_in: Option<u64>,
    /// Output tokens.
    pub tokens_out: Option<u64>,
    /// The counts are our estimate.
    pub tokens_estimated: bool,
    /// Millionths of a US dollar.
    pub cost_micros: Option<u64>,
    /// Attempts at providers, retries, hedges and continuations included.
    pub attempts: Option<u32>,
}

impl Outcome {
    /// Of a refusal, with what was spent before it.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Self {
        let spent = refusal.what_was_spent().cloned();
        let known = Self {
            code: Some(refusal.code),
            cause: refusal.cause.clone(),
            ..Self::default()
        };
        let Some(spent) = spent else { return known };
        Self {
            alias: Some(spent.alias),
            target: spent.target,
            tokens_in: Some(spent.tokens_in),
            tokens_out: Some(spent.tokens_out),
            tokens_estimated: spent.tokens_estimated,
            cost_micros: spent.cost_micros,
            attempts: Some(spent.attempts),
            ..known
        }
    }
}

/// An answer.
pub struct Reply<P: Port> {
    /// HTTP status.
    pub status: u16,
    /// Headers in lower case; those that stand on every answer are added by `serve`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body<P::Stream>,
    /// What is known already.
    pub outcome: Outcome,
    /// What is left to do; its outcome replaces the one above.
    pub after: Option<After>,
}

impl<P: Port> Reply<P> {
    /// An answer with nothing but a status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Empty,
            outcome: Outcome::default(),
            after: None,
        }
    }

    /// A JSON answer that no cache keeps.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::status(status)
            .header("content-type", "application/json")
            .header("cache-control", "no-store")
            .bytes(body)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds headers.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Sets a body of bytes.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Bytes(body.into());
        self
    }
}
