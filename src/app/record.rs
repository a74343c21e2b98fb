//! The one log line of a request.

use super::gate::Caller;
use super::port::Port;
use super::reply::Outcome;
use super::request::Head;
use crate::base::errors::Severity;
use crate::base::time::Millis;
use crate::domain::telemetry::{LogLine, Trace};

/// What the log line needs from the beginning of a request.
#[derive(Clone, Debug)]
pub struct Record {
    method: String,
    route: &'static str,
    principal: &'static str,
    request_id: String,
    trace_id: String,
    began: Millis,
    status: u16,
    headers_at: Millis,
}

impl Record {
    /// Notes what is known when the headers go out.
    #[must_use]
    pub fn new(
        head: &Head,
        route: &'static str,
        caller: Option<&Caller>,
        request_id: &str,
        trace: &Trace,
        status: u16,
        now: Millis,
    ) -> Self {
        Self {
            method: head.method.chars().take(16).collect(),
            route,
            principal: caller.map_or("unknown", |caller| caller.principal.kind()),
            request_id: request_id.to_owned(),
            trace_id: trace.trace_id.clone(),
            began: head.at,
            status,
            headers_at: now,
        }
    }

    /// Writes the line.
    pub fn write(&self, port: &impl Port, outcome: Outcome) {
        let now = port.now();
        let level = outcome
            .code
            .map_or(Severity::Info, |code| code.entry().severity);
        port.log(&LogLine {
            level: level.as_str(),
            time: now.rfc3339(),
            request_id: self.request_id.clone(),
            trace_id: self.trace_id.clone(),
            method: self.method.clone(),
            route: self.route,
            principal: self.principal,
            status: self.status,
            code: outcome.code.map(|code| code.entry().code),
            cause: outcome.cause.filter(|cause| !cause.is_empty()),
            alias: outcome.alias,
            target: outcome.target,
            cache: outcome.cache,
            stream: outcome.stream,
            ms_to_headers: self.headers_at.since(self.began).0,
            ms_total: now.since(self.began).0,
            tokens_in: outcome.tokens_in,
            tokens_out: outcome.tokens_out,
            tokens_estimated: outcome.tokens_estimated,
            cost_micros: outcome.cost_micros,
            attempts: outcome.attempts,
        });
    }
}
