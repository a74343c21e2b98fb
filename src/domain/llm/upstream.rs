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

/// A wait for a caller where the provider names none.
const UNNAMED_WAIT: Millis = Millis::from_secs(5);
/// As much of a provider's text as the log gets where it tells the operator what to mend, in characters.
const MAX_LOGGED_CHARS: usize = 200;

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
    let kind = failure(head, body, now).kind;
    let said = clean(&error_message(body), key);
    let mut cause = format!("provider answered {}", head.status);
    if kind == FailureKind::NotServed && !said.is_empty() {
        cause.push_str(": ");
        cause.extend(said.chars().take(MAX_LOGGED_CHARS));
    }
    let mut refusal = worded(kind, said);
    let wait = retry_after(head, now);
    refusal.wait = match kind {
        FailureKind::RateLimited => Some(wait.unwrap_or(UNNAMED_WAIT)),
        _ => wait.filter(|_| refusal.code.entry().retryable),
    };
    (refusal, cause)
}

/// The refusal for a failure, with the provider's words where the caller can mend something by them.
fn worded(kind: FailureKind, said: String) -> Refusal {
    let refusal = Refusal::new(kind.code());
    if kind.is_callers() && !said.is_empty() {
        refusal.detail(said)
    } else {
        refusal
    }
}

/// What a provider's answer with an error status means to the failure engine: its words first, which say more.
#[must_use]
pub fn failure(head: &UpstreamHead, body: &[u8], now: Millis) -> Failure {
    let error = error_of(body);
    let kind = match head.status {
        400 | 403 | 413 | 422 if error.is_context_length() => FailureKind::ContextLength,
        400 | 403 | 422 if error.is_content_filter() => FailureKind::ContentFilter,
        400 | 403 | 429 if error.is_quota() => FailureKind::Quota,
        400 | 403 | 422 if error.is_unknown_model() => FailureKind::NotServed,
        status => kind_of(status),
    };
    Failure {
        kind,
        wait: asked_wait(head, now),
    }
}

/// What an error status says by itself. The numbers above 511 are those of proxies (Cloudflare's 520 to 530) and of
/// Anthropic (529).
const fn kind_of(status: u16) -> FailureKind {
    match status {
        300..400 => FailureKind::Redirect,
        400 | 415 | 422 => FailureKind::Rejected,
        401 | 403 | 407 => FailureKind::Auth,
        402 => FailureKind::Quota,
        408 | 504 | 522 | 524 => FailureKind::Timeout,
        409 | 425 => FailureKind::Conflict,
        // Too many bytes or tokens for this one; a target with a larger context may take them.
        413 => FailureKind::ContextLength,
        429 | 529 => FailureKind::RateLimited,
        521 | 523 | 525 | 526 | 530 => FailureKind::Unreachable,
        400..=499 | 501 => FailureKind::NotServed,
        _ => FailureKind::Server,
    }
}

/// What an error object inside a stream or a 200 means to the failure engine.
#[must_use]
pub fn failure_in_band(failed: &Failed) -> Failure {
    let error = ErrorText {
        kind: failed.kind.to_ascii_lowercase(),
        said: failed.message.to_ascii_lowercase(),
    };
    Failure::new(error.kind_in_band())
}

/// What an error object inside a stream or a 200 means to our caller. The provider's text is treated as in [`refusal`].
#[must_use]
pub fn refusal_in_band(failed: &Failed, key: Option<&Secret<String>>) -> Refusal {
    let kind = failure_in_band(failed).kind;
    worded(kind, clean(&failed.message, key)).cause("an error inside a 200")
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
    fn is(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.kind.contains(word))
    }

    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.said.contains(word))
    }

    fn is_context_length(&self) -> bool {
        self.is(&["context_length", "request_too_large"])
            || self.says(&["context length", "context window", "prompt is too long"])
    }

    fn is_content_filter(&self) -> bool {
        self.is(&[
            "content_filter",
            "content_policy",
            "policy_violation",
            "bio_policy",
            "responsibleai",
        ]) || self.says(&[
            "content management policy",
            "content filtering policy",
            "input was flagged",
        ])
    }

    /// Anthropic says it in words alone, as an `invalid_request_error` with status 400.
    fn is_quota(&self) -> bool {
        self.is(&["insufficient_quota", "billing"]) || self.says(&["credit balance is too low"])
    }

    fn is_unknown_model(&self) -> bool {
        self.is(&["model_not_found", "invalid_model", "unknown_model"])
            || self.says(&["not a valid model", "model not exist"])
    }

    /// The kind of an error that has no status.
    fn kind_in_band(&self) -> FailureKind {
        let status = self.kind.trim().parse::<u16>().ok();
        if self.is_context_length() {
            FailureKind::ContextLength
        } else if self.is_content_filter() {
            FailureKind::ContentFilter
        } else if self.is_quota() {
            FailureKind::Quota
        } else if self.is_unknown_model() {
            FailureKind::NotServed
        } else if let Some(status @ 300..600) = status {
            // Some relays give the status of their own provider as the code.
            kind_of(status)
        } else if self.is(&["rate_limit", "overloaded", "too_many_requests"]) {
            FailureKind::RateLimited
        } else if self.is(&["authentication", "permission", "invalid_api_key"]) {
            FailureKind::Auth
        } else if self.is(&["timeout"]) {
            FailureKind::Timeout
        } else if self.is(&["invalid_", "image", "unsupported_"]) {
            FailureKind::Rejected
        } else if self.is(&["not_found", "data_residency"]) {
            FailureKind::NotServed
        } else {
            FailureKind::Server
        }
    }
}

/// The wait that a provider asks for, at least a second and at most [`MAX_PASSED_WAIT`].
fn retry_after(head: &UpstreamHead, now: Millis) -> Option<Millis> {
    let wait = asked_wait(head, now)?;
    Some(wait.clamp(Millis::from_secs(1), MAX_PASSED_WAIT))
}

/// The wait that a provider asks for, as it asks: milliseconds, seconds or a date.
fn asked_wait(head: &UpstreamHead, now: Millis) -> Option<Millis> {
    let from_ms = head.retry_after_ms.as_deref();
    let from_ms = from_ms.and_then(|text| Some(Millis(thousandths(text)?.div_ceil(1000))));
    let from_secs = head.retry_after.as_deref().and_then(|text| {
        let secs = thousandths(text).map(Millis);
        secs.or_else(|| http_date(text.trim()).map(|date| date.since(now)))
    });
    from_ms.or(from_secs)
}

/// A number with or without decimals (RFC 9110 has none, some send them), in thousandths. One that is absurdly large is
/// a large one all the same.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) {
        return None;
    }
    let padded: String = decimals.chars().chain("000".chars()).take(3).collect();
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX);
    Some(
        whole
            .saturating_mul(1000)
            .saturating_add(padded.parse().ok()?),
    )
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

#[cfg(test)]
mod tests {
    use super::{UpstreamHead, failure, failure_in_band, refusal, refusal_in_band};
    use crate::base::errors::Code;
    use crate::base::secret::Secret;
    use crate::base::time::Millis;
    use crate::domain::llm::engine::failure::FailureKind as K;
    use crate::domain::llm::normal::event::Failed;

    const NOW: Millis = Millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    fn head(status: u16, retry_after: Option<&str>) -> UpstreamHead {
        UpstreamHead {
            status,
            retry_after: retry_after.map(str::to_owned),
            ..UpstreamHead::default()
        }
    }

    #[test]
    fn a_wait_is_read_in_every_form_and_however_absurd() {
        for (said, wait) in [
            ("2", Some(2000)),
            (" 1.5 ", Some(1500)),
            ("0.0009", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10_000)),
            ("soon", None),
            ("-1", None),
            ("1.x", None),
            ("", None),
        ] {
            let asked = super::asked_wait(&head(429, Some(said)), NOW);
            assert_eq!(asked, wait.map(Millis), "{said}");
        }
        let millis = UpstreamHead {
            retry_after_ms: Some("1500.2".into()),
            ..head(429, Some("60"))
        };
        assert_eq!(super::asked_wait(&millis, NOW), Some(Millis(1501)));
    }

    #[test]
    fn every_status_has_its_meaning() {
        for (status, kind, code) in [
            (300, K::Redirect, Code::UpstreamRedirect),
            (302, K::Redirect, Code::UpstreamRedirect),
            (400, K::Rejected, Code::UpstreamRejected),
            (401, K::Auth, Code::UpstreamAuth),
            (402, K::Quota, Code::UpstreamQuota),
            (403, K::Auth, Code::UpstreamAuth),
            (404, K::NotServed, Code::UpstreamNotFound),
            (405, K::NotServed, Code::UpstreamNotFound),
            (407, K::Auth, Code::UpstreamAuth),
            (408, K::Timeout, Code::UpstreamTimeout),
            (409, K::Conflict, Code::UpstreamError),
            (410, K::NotServed, Code::UpstreamNotFound),
            (413, K::ContextLength, Code::InputTooLong),
            (415, K::Rejected, Code::UpstreamRejected),
            (422, K::Rejected, Code::UpstreamRejected),
            (425, K::Conflict, Code::UpstreamError),
            (429, K::RateLimited, Code::UpstreamRateLimited),
            (451, K::NotServed, Code::UpstreamNotFound),
            (500, K::Server, Code::UpstreamError),
            (501, K::NotServed, Code::UpstreamNotFound),
            (502, K::Server, Code::UpstreamError),
            (503, K::Server, Code::UpstreamError),
            (504, K::Timeout, Code::UpstreamTimeout),
            (520, K::Server, Code::UpstreamError),
            (521, K::Unreachable, Code::UpstreamUnreachable),
            (522, K::Timeout, Code::UpstreamTimeout),
            (523, K::Unreachable, Code::UpstreamUnreachable),
            (524, K::Timeout, Code::UpstreamTimeout),
            (525, K::Unreachable, Code::UpstreamUnreachable),
            (526, K::Unreachable, Code::UpstreamUnreachable),
            (529, K::RateLimited, Code::UpstreamRateLimited),
            (530, K::Unreachable, Code::UpstreamUnreachable),
        ] {
            let head = head(status, None);
            assert_eq!(failure(&head, b"", NOW).kind, kind, "{status}");
            assert_eq!(refusal(&head, b"", None, NOW).0.code, code, "{status}");
        }
    }

    #[test]
    fn the_words_of_an_error_say_more_than_its_status() {
        for (status, error, kind) in [
            (
                400,
                r#"{"code":"context_length_exceeded"}"#,
                K::ContextLength,
            ),
            (
                400,
                r#"{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}"#,
                K::ContextLength,
            ),
            (413, r#"{"type":"request_too_large"}"#, K::ContextLength),
            (400, r#"{"code":"content_filter"}"#, K::ContentFilter),
            (
                403,
                r#"{"code":403,"message":"requires moderation and your input was flagged"}"#,
                K::ContentFilter,
            ),
            (429, r#"{"code":"insufficient_quota"}"#, K::Quota),
            (403, r#"{"type":"billing_error"}"#, K::Quota),
            (
                400,
                r#"{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}"#,
                K::Quota,
            ),
            (400, r#"{"code":"model_not_found"}"#, K::NotServed),
            (403, r#"{"code":"model_not_found"}"#, K::NotServed),
            (
                400,
                r#"{"message":"x/y is not a valid model ID"}"#,
                K::NotServed,
            ),
            (
                404,
                r#"{"type":"not_found_error","message":"model: x"}"#,
                K::NotServed,
            ),
            (
                400,
                r#"{"type":"invalid_request_error","message":"seed must be a number"}"#,
                K::Rejected,
            ),
            (529, r#"{"type":"overloaded_error"}"#, K::RateLimited),
        ] {
            let body = format!("{{\"error\":{error}}}");
            let failure = failure(&head(status, None), body.as_bytes(), NOW);
            assert_eq!(failure.kind, kind, "{status} {error}");
        }
    }

    #[test]
    fn an_error_without_a_status_means_what_its_type_says() {
        for (kind, said, expected) in [
            ("invalid_request_error", "", K::Rejected),
            ("invalid_prompt", "", K::Rejected),
            ("invalid_image_url", "", K::Rejected),
            ("failed_to_download_image", "", K::Rejected),
            ("image_file_not_found", "", K::Rejected),
            ("image_content_policy_violation", "", K::ContentFilter),
            ("authentication_error", "", K::Auth),
            ("invalid_api_key", "", K::Auth),
            ("permission_error", "", K::Auth),
            ("billing_error", "", K::Quota),
            ("insufficient_quota", "", K::Quota),
            ("not_found_error", "model: x", K::NotServed),
            ("model_not_found", "", K::NotServed),
            ("request_too_large", "", K::ContextLength),
            ("rate_limit_error", "", K::RateLimited),
            ("rate_limit_exceeded", "", K::RateLimited),
            ("overloaded_error", "Overloaded", K::RateLimited),
            ("timeout_error", "", K::Timeout),
            ("vector_store_timeout", "", K::Timeout),
            ("api_error", "", K::Server),
            ("server_error", "", K::Server),
            ("", "", K::Server),
            ("404", "", K::NotServed),
            ("402", "", K::Quota),
            ("429", "", K::RateLimited),
            ("502", "", K::Server),
            ("7", "", K::Server),
        ] {
            let failed = Failed {
                kind: kind.into(),
                message: said.into(),
            };
            assert_eq!(failure_in_band(&failed).kind, expected, "{kind}");
            let refusal = refusal_in_band(&failed, None);
            assert_eq!(refusal.code, expected.code(), "{kind}");
        }
    }

    #[test]
    fn what_a_target_does_not_serve_is_told_to_the_log_and_not_to_the_caller() {
        let key = Secret::new("sk-canary-123".to_owned());
        let body = br#"{"error":{"message":"The model `m` does not exist for sk-canary-123"}}"#;
        let (told, cause) = refusal(&head(404, None), body, Some(&key), NOW);
        assert_eq!((told.code, told.detail), (Code::UpstreamNotFound, None));
        assert_eq!(
            cause,
            "provider answered 404: The model `m` does not exist for [key]"
        );
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
