//! What is sent to a provider, and what its refusals mean to our caller.

use serde_json::Value;

use super::Protocol;
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::llm::engine::failure::{Failure, FailureKind};
use crate::domain::llm::normal::event::Failed;
use crate::domain::settings::ActiveProvider;

/// A request to a provider. Nothing of the caller's headers is in it.
pub struct UpstreamRequest<'a> {
    /// Absolute address.
    pub url: String,
    /// The provider's key and the header that carries it.
    pub key: Option<(&'static str, Secret<String>)>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: &'a [u8],
}

/// The head of a provider's answer; the only headers that are ever read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamHead {
    /// HTTP status.
    pub status: u16,
    /// `content-type`
    pub content_type: Option<String>,
    /// `retry-after`
    pub retry_after: Option<String>,
    /// `retry-after-ms`
    pub retry_after_ms: Option<String>,
}

/// Why there is no (whole) answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    /// No connection, or none that got as far as an answer. The text is for the log.
    Unreachable(String),
    /// The connection broke after the answer began.
    Broken(String),
    /// More bytes than we accept.
    TooLarge,
}

impl UpstreamFault {
    /// The refusal for the caller and the cause for the log.
    #[must_use]
    pub fn refusal(&self) -> (Refusal, String) {
        let (code, cause) = match self {
            Self::Unreachable(text) => (Code::UpstreamUnreachable, text.clone()),
            Self::Broken(text) => (Code::UpstreamDisconnected, text.clone()),
            Self::TooLarge => (Code::UpstreamTooLarge, String::new()),
        };
        (Refusal::new(code), cause)
    }
}

/// The API version that our messages requests declare (Anthropic, "Versions").
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// A request to `path` (below the base URL) of a provider.
#[must_use]
pub fn request<'a>(
    provider: &ActiveProvider,
    protocol: Protocol,
    path: &str,
    content_type: &str,
    body: &'a [u8],
    stream: bool,
) -> UpstreamRequest<'a> {
    let accept = if stream {
        "text/event-stream"
    } else {
        "application/json"
    };
    let mut headers = vec![
        ("content-type", content_type.to_owned()),
        ("accept", accept.to_owned()),
        // A compressed stream is not flushed event by event by every server.
        ("accept-encoding", "identity".to_owned()),
        (
            "user-agent",
            concat!("gatehouse/", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
    ];
    let key = provider.key.as_ref().map(|key| match protocol {
        Protocol::Chat | Protocol::Responses => (
            "authorization",
            Secret::new(format!("Bearer {}", key.reveal())),
        ),
        Protocol::Messages => ("x-api-key", key.clone()),
    });
    if protocol == Protocol::Messages {
        headers.push(("anthropic-version", ANTHROPIC_VERSION.to_owned()));
    }
    UpstreamRequest {
        url: format!("{}{path}", provider.base_url),
        key,
        headers,
        body,
    }
}

/// The path below the base URL for a chat call.
#[must_use]
pub const fn chat_path(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Chat => "/chat/completions",
        Protocol::Responses => "/responses",
        Protocol::Messages => "/v1/messages",
    }
}

/// Longest wait that we pass on from a provider: an absurd value must not lock a page for days.
pub const MAX_PASSED_WAIT: Millis = Millis::from_secs(60);

/// What a provider's answer with an error status means to our caller. The second value is the cause for the log.
///
/// The provider's text is withheld but for a request that it found faulty, where it is the help the caller needs; even
/// then the provider's key is struck out.
#[must_use]
pub fn refusal(
    head: &UpstreamHead,
    body: &[u8],
    key: Option<&Secret<String>>,
    now: Millis,
) -> (Refusal, String) {
    let said = clean(&error_message(body), key);
    let cause = format!("provider answered {}", head.status);
    let refusal = match head.status {
        300..400 => Refusal::new(Code::UpstreamRedirect),
        400 | 404 | 409 | 413 | 422 => {
            let error = error_of(body);
            let refusal = Refusal::new(if error.is_context_length() {
                Code::InputTooLong
            } else if error.is_content_filter() {
                Code::ContentFiltered
            } else {
                Code::UpstreamRejected
            });
            if said.is_empty() {
                refusal
            } else {
                refusal.detail(said)
            }
        }
        401 | 403 => Refusal::new(Code::UpstreamAuth),
        408 | 504 | 524 => Refusal::new(Code::UpstreamTimeout),
        429 | 529 => {
            let wait = retry_after(head, now).unwrap_or(Millis::from_secs(5));
            Refusal::new(Code::UpstreamRateLimited).wait(wait)
        }
        503 => {
            let refusal = Refusal::new(Code::UpstreamError);
            match retry_after(head, now) {
                Some(wait) => refusal.wait(wait),
                None => refusal,
            }
        }
        _ => Refusal::new(Code::UpstreamError),
    };
    (refusal, cause)
}

/// What a provider's answer with an error status means to the failure engine.
#[must_use]
pub fn failure(head: &UpstreamHead, body: &[u8], now: Millis) -> Failure {
    let error = error_of(body);
    let kind = match head.status {
        300..400 => FailureKind::Redirect,
        401 | 403 => FailureKind::Auth,
        402 => FailureKind::Quota,
        408 | 504 | 524 => FailureKind::Timeout,
        409 | 425 => FailureKind::Conflict,
        429 if error.is_quota() => FailureKind::Quota,
        429 | 529 => FailureKind::RateLimited,
        400 | 413 | 422 if error.is_context_length() => FailureKind::ContextLength,
        400 | 422 if error.is_content_filter() => FailureKind::ContentFilter,
        400..500 => FailureKind::Rejected,
        _ => FailureKind::Server,
    };
    Failure {
        kind,
        wait: asked_wait(head, now),
    }
}

/// What an error object inside a stream or a 200 means to the failure engine.
#[must_use]
pub fn failure_in_band(failed: &Failed) -> Failure {
    let error = ErrorText {
        kind: failed.kind.to_ascii_lowercase(),
        said: failed.message.to_ascii_lowercase(),
    };
    let kind = if error.is_context_length() {
        FailureKind::ContextLength
    } else if error.is_content_filter() {
        FailureKind::ContentFilter
    } else if error.is_quota() {
        FailureKind::Quota
    } else if ["rate_limit", "overloaded", "429", "529"]
        .iter()
        .any(|word| error.kind.contains(word))
    {
        FailureKind::RateLimited
    } else if ["authentication", "permission"]
        .iter()
        .any(|word| error.kind.contains(word))
    {
        FailureKind::Auth
    } else if error.kind.contains("invalid_request") {
        FailureKind::Rejected
    } else {
        FailureKind::Server
    };
    Failure::new(kind)
}

/// What an error object inside a stream or a 200 means to our caller. The provider's text is treated as in [`refusal`].
#[must_use]
pub fn refusal_in_band(failed: &Failed, key: Option<&Secret<String>>) -> Refusal {
    let code = match failure_in_band(failed).kind {
        FailureKind::ContextLength => Code::InputTooLong,
        FailureKind::ContentFilter => Code::ContentFiltered,
        FailureKind::RateLimited | FailureKind::Quota => Code::UpstreamRateLimited,
        FailureKind::Auth => Code::UpstreamAuth,
        FailureKind::Rejected => Code::UpstreamRejected,
        _ => Code::UpstreamError,
    };
    let refusal = Refusal::new(code).cause("an error inside a 200");
    let said = clean(&failed.message, key);
    let helps = matches!(
        code,
        Code::InputTooLong | Code::ContentFiltered | Code::UpstreamRejected
    );
    if helps && !said.is_empty() {
        refusal.detail(said)
    } else {
        refusal
    }
}

/// The words of a provider's error, in lower case.
struct ErrorText {
    kind: String,
    said: String,
}

fn error_of(body: &[u8]) -> ErrorText {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = value.get("error").unwrap_or(&value);
    let word = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    ErrorText {
        kind: format!("{} {}", word("type"), word("code")).to_ascii_lowercase(),
        said: error_message(body).to_ascii_lowercase(),
    }
}

impl ErrorText {
    fn is_context_length(&self) -> bool {
        self.kind.contains("context_length") || is_context_length(&self.said)
    }

    fn is_content_filter(&self) -> bool {
        ["content_filter", "content_policy", "responsibleai"]
            .iter()
            .any(|word| self.kind.contains(word))
            || ["content management policy", "content filtering policy"]
                .iter()
                .any(|words| self.said.contains(words))
    }

    fn is_quota(&self) -> bool {
        ["insufficient_quota", "billing"]
            .iter()
            .any(|word| self.kind.contains(word))
    }
}

/// The wait that a provider asks for, at least a second and at most [`MAX_PASSED_WAIT`].
fn retry_after(head: &UpstreamHead, now: Millis) -> Option<Millis> {
    let wait = asked_wait(head, now)?;
    Some(wait.clamp(Millis::from_secs(1), MAX_PASSED_WAIT))
}

/// The wait that a provider asks for, as it asks: milliseconds, seconds or a date.
fn asked_wait(head: &UpstreamHead, now: Millis) -> Option<Millis> {
    let from_ms = head
        .retry_after_ms
        .as_deref()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map(Millis);
    let from_secs = head.retry_after.as_deref().and_then(|text| {
        let text = text.trim();
        match text.parse::<u64>() {
            Ok(secs) => Some(Millis(secs.saturating_mul(1000))),
            Err(_) => http_date(text).map(|date| date.since(now)),
        }
    });
    from_ms.or(from_secs)
}

/// An IMF-fixdate (RFC 9110 §5.6.7) such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Millis> {
    let mut parts = text.split([' ', ':']).filter(|part| !part.is_empty());
    let (_weekday, day, month, year) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (hour, minute, second) = (number()?, number()?, number()?);
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = u64::try_from(MONTHS.iter().position(|m| *m == month)?)
        .ok()?
        .checked_add(1)?;
    let days = days_from_civil(year.parse().ok()?, month, day.parse().ok()?)?;
    let secs = days
        .checked_mul(86_400)?
        .checked_add(hour.checked_mul(3600)?)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second)?;
    Some(Millis::from_secs(secs))
}

/// Days from 1970-01-01 to a date (Howard Hinnant, `days_from_civil`); `None` before 1970 or beyond the year 9999.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (y, m) = if month <= 2 {
        (year.checked_sub(1)?, month.checked_add(9)?)
    } else {
        (year, month.checked_sub(3)?)
    };
    let (era, year_of_era) = (y / 400, y % 400);
    let day_of_year = m
        .checked_mul(153)?
        .checked_add(2)?
        .checked_div(5)?
        .checked_add(day)?
        .checked_sub(1)?;
    let day_of_era = year_of_era
        .checked_mul(365)?
        .checked_add(year_of_era / 4)?
        .checked_sub(year_of_era / 100)?
        .checked_add(day_of_year)?;
    era.checked_mul(146_097)?
        .checked_add(day_of_era)?
        .checked_sub(719_468)
}

/// The human part of a provider's error body, in either protocol.
fn error_message(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return String::new();
    };
    let error = value.get("error").unwrap_or(&value);
    error
        .as_str()
        .or_else(|| error.get("message").and_then(Value::as_str))
        .unwrap_or_default()
        .to_owned()
}

/// Longest provider text that is passed on, in characters.
const MAX_SAID_CHARS: usize = 500;

/// Provider text without control characters, without our key, and without anything that looks like a key.
fn clean(text: &str, key: Option<&Secret<String>>) -> String {
    let text = match key {
        Some(key) if !key.reveal().is_empty() => text.replace(key.reveal().as_str(), "[key]"),
        _ => text.to_owned(),
    };
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|word| {
            let bare = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            if bare.starts_with("sk-")
                || bare.starts_with("org-")
                || bare.starts_with("key-")
                || bare.contains("***")
            {
                "[removed]"
            } else {
                word
            }
        })
        .collect();
    words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_SAID_CHARS)
        .collect()
}

fn is_context_length(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("context length")
        || said.contains("context window")
        || said.contains("prompt is too long")
}

#[cfg(test)]
mod tests {
    use super::{UpstreamHead, refusal};
    use crate::base::errors::Code;
    use crate::base::secret::Secret;
    use crate::base::time::Millis;

    const NOW: Millis = Millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn head(status: u16, retry_after: Option<&str>) -> UpstreamHead {
        UpstreamHead {
            status,
            retry_after: retry_after.map(str::to_owned),
            ..UpstreamHead::default()
        }
    }

    #[test]
    fn every_status_has_its_meaning() {
        for (status, code) in [
            (302, Code::UpstreamRedirect),
            (400, Code::UpstreamRejected),
            (401, Code::UpstreamAuth),
            (403, Code::UpstreamAuth),
            (404, Code::UpstreamRejected),
            (408, Code::UpstreamTimeout),
            (429, Code::UpstreamRateLimited),
            (500, Code::UpstreamError),
            (503, Code::UpstreamError),
            (529, Code::UpstreamRateLimited),
        ] {
            assert_eq!(
                refusal(&head(status, None), b"", None, NOW).0.code,
                code,
                "{status}"
            );
        }
    }

    #[test]
    fn waits_are_read_in_every_form_and_capped() {
        for (given, secs) in [
            ("2", 2),
            ("0", 1),
            ("86400", 60),
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
            ("Sun, 06 Nov 1994 08:49:00 GMT", 1),
            ("Mon, 01 Jan 2035 00:00:00 GMT", 60),
            ("soon", 5),
        ] {
            let (refusal, _) = refusal(&head(429, Some(given)), b"", None, NOW);
            assert_eq!(refusal.wait, Some(Millis::from_secs(secs)), "{given}");
        }
    }

    #[test]
    fn the_providers_text_helps_with_faulty_requests_and_never_shows_a_key() {
        let key = Secret::new("sk-canary-123".to_owned());
        let body = br#"{"error":{"message":"Bad seed; key sk-canary-123 of (org-abc) and sk-other\u0007"}}"#;
        let (said, _) = refusal(&head(400, None), body, Some(&key), NOW);
        let detail = said.detail.unwrap();
        assert!(detail.starts_with("Bad seed"));
        assert!(
            !detail.contains("canary")
                && !detail.contains("org-abc")
                && !detail.contains("sk-other")
        );
        let (withheld, cause) = refusal(&head(401, None), body, Some(&key), NOW);
        assert_eq!(withheld.detail, None);
        assert!(!cause.contains("canary"));
    }

    #[test]
    fn a_full_context_is_told_apart() {
        let body =
            br#"{"error":{"message":"This model's maximum context length is 8192 tokens."}}"#;
        assert_eq!(
            refusal(&head(400, None), body, None, NOW).0.code,
            Code::InputTooLong
        );
    }
}
