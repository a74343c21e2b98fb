//! The one log line of a request, and trace context.

use serde::Serialize;

use crate::base::digest::hex;

/// One JSON line for each request. No bodies, no secrets, no addresses; labels are of low cardinality.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogLine {
    /// `info`, `warn`, `error` or `critical`.
    pub level: &'static str,
    /// When the answer was complete, RFC 3339 in UTC.
    pub time: String,
    /// The request's id, as answered in `x-request-id`.
    pub request_id: String,
    /// Trace id (W3C Trace Context).
    pub trace_id: String,
    /// HTTP method.
    pub method: String,
    /// The route with ids left out.
    pub route: &'static str,
    /// `anonymous` or `visitor`.
    pub principal: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The catalogue's code, for refusals and for failures after the status was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What went wrong behind a code, for the operator; never a body, never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The alias that was asked for, once it is known to exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// `provider/model` that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `hit`, `miss` or `bypass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<&'static str>,
    /// Whether the answer was streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Milliseconds from the request to the headers of the answer.
    pub ms_to_headers: u64,
    /// Milliseconds from the request to the end of the answer.
    pub ms_total: u64,
    /// Input tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u64>,
    /// Output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u64>,
    /// The provider did not report usage: the token counts are our estimate.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub tokens_estimated: bool,
    /// Cost in millionths of a US dollar, where the model has a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Attempts at providers, retries, hedges and continuations included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// A W3C trace context (Trace Context, level 1): where our span belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 hex digits.
    pub trace_id: String,
    /// Our span: 16 hex digits.
    pub span_id: String,
}

impl Trace {
    /// Continues the caller's trace, or begins a new one when its header is missing or not exactly valid. The caller's
    /// `sampled` flag is not honoured: the public does not decide what we record.
    #[must_use]
    pub fn begin(traceparent: Option<&str>, random: &[u8; 24]) -> Self {
        let (trace, span) = random.split_at(16);
        Self {
            trace_id: traceparent
                .and_then(trace_id_of)
                .map_or_else(|| hex(trace), str::to_owned),
            span_id: hex(span),
        }
    }

    /// The `traceparent` header of the answer.
    #[must_use]
    pub fn header(&self) -> String {
        format!("00-{}-{}-00", self.trace_id, self.span_id)
    }
}

/// The trace id of a valid version-00 header: lower-case hex, ids not all zero.
fn trace_id_of(header: &str) -> Option<&str> {
    let mut parts = header.split('-');
    let ("00", trace, span, flags, None) = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next(),
    ) else {
        return None;
    };
    let lower_hex = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    (lower_hex(trace, 32)
        && lower_hex(span, 16)
        && lower_hex(flags, 2)
        && !zero(trace)
        && !zero(span))
    .then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::{LogLine, Trace};

    #[test]
    fn a_valid_traceparent_is_continued_with_a_span_of_our_own() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::begin(Some(given), &[0xab; 24]);
        assert_eq!(
            trace.header(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-00"
        );
    }

    #[test]
    fn anything_else_begins_a_new_trace() {
        for bad in [
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "",
        ] {
            assert_eq!(
                Trace::begin(Some(bad), &[1; 24]).trace_id,
                "01".repeat(16),
                "{bad}"
            );
        }
    }

    #[test]
    fn absent_fields_are_not_written() {
        let line = serde_json::to_string(&LogLine::default()).unwrap();
        assert!(
            !line.contains("alias") && !line.contains("tokens_estimated") && !line.contains("code")
        );
    }
}
