//! Requests to and answers of an external scanner.
//!
//! One call, `POST <url>`, JSON both ways, bytes in base64 (RFC 4648 §4):
//!
//! ```text
//! {"sha256": "<64 hex digits>", "size": 1234, "content_type": "application/pdf", "content": "<the bytes>"}
//!   → {"verdict": "clean"}
//!   → {"verdict": "infected", "name": "Win.Test.EICAR_HDB-1"}
//!   → {"verdict": "error", "message": "the signatures are being updated"}
//! ```
//!
//! `content` is missing where only digests are sent, and of documents that are too long; then the service answers from
//! what it knows of the digest, with `{"verdict": "unknown"}` where it knows nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::domain::settings::config::scan::{External, MAX_CONTENT, OnFailure, Send};

/// Longest name of what was found, in characters.
const MAX_NAME: usize = 120;

/// The longest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 16_384;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// SHA-256 of the content, 64 hex digits.
    pub sha256: &'a str,
    /// Length of the content.
    pub size: u64,
    /// What it is served as.
    pub content_type: &'a str,
}

/// What is known of a document after the service was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Answer {
    /// Nothing was found.
    Clean,
    /// Something was found.
    Infected {
        /// What, in the service's words.
        name: String,
    },
    /// It said nothing.
    Unknown {
        /// Why, for the log.
        why: String,
        /// The document is held back, and the service is to be asked again.
        retry: bool,
    },
}

/// Why an answer is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalError {
    /// Over [`MAX_ANSWER`].
    TooLong,
    /// Not a JSON object.
    NotJson,
    /// `verdict` is missing or another word.
    Verdict,
    /// It is infected with something without a name.
    Name,
    /// The service says that it failed.
    Failed(String),
    /// The service knows nothing of the digest, and was not sent more.
    NotKnown,
}

impl std::fmt::Display for ExternalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => f.write_str("the scanner's answer is too long"),
            Self::NotJson => f.write_str("the scanner's answer is not a JSON object"),
            Self::Verdict => f.write_str("the scanner's answer has no valid verdict"),
            Self::Name => f.write_str("the scanner's answer has no valid name"),
            Self::Failed(message) => write!(f, "the scanner failed: {message}"),
            Self::NotKnown => f.write_str("the scanner does not know the digest"),
        }
    }
}

impl std::error::Error for ExternalError {}

/// The body of a request, with the content where it is to be sent.
#[must_use]
pub fn request(subject: Subject<'_>, content: Option<&[u8]>) -> String {
    let text = |value: &str| Value::from(value).to_string();
    let (sha256, content_type) = (text(subject.sha256), text(subject.content_type));
    let size = subject.size.to_string();
    let mut body = [
        "{\"sha256\":",
        &sha256,
        ",\"size\":",
        &size,
        ",\"content_type\":",
        &content_type,
    ]
    .concat();
    if let Some(content) = content {
        body.push_str(",\"content\":\"");
        STANDARD.encode_string(content, &mut body);
        body.push('"');
    }
    body.push('}');
    body
}

/// Reads an answer.
///
/// # Errors
/// Every [`ExternalError`].
pub fn read(answer: &[u8]) -> Result<Answer, ExternalError> {
    if answer.len() > MAX_ANSWER {
        return Err(ExternalError::TooLong);
    }
    let value: Value = serde_json::from_slice(answer).map_err(|_| ExternalError::NotJson)?;
    let fields = value.as_object().ok_or(ExternalError::NotJson)?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    match text("verdict") {
        Some("clean") => Ok(Answer::Clean),
        Some("infected") => {
            let name = short(text("name").ok_or(ExternalError::Name)?);
            if name.is_empty() {
                return Err(ExternalError::Name);
            }
            Ok(Answer::Infected { name })
        }
        Some("error") => Err(ExternalError::Failed(short(
            text("message").unwrap_or_default(),
        ))),
        Some("unknown") => Err(ExternalError::NotKnown),
        _ => Err(ExternalError::Verdict),
    }
}

/// What follows when the service gave no answer.
#[must_use]
pub fn failed(why: String, on_failure: OnFailure) -> Answer {
    Answer::Unknown {
        why,
        retry: on_failure == OnFailure::Close,
    }
}

/// Words of the service for a log or a page.
fn short(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(MAX_NAME).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::{
        Answer, External, ExternalError, MAX_ANSWER, MAX_CONTENT, OnFailure, Send, Subject, failed,
        read, request,
    };

    const SUBJECT: Subject<'_> = Subject {
        sha256: "00ff",
        size: 3,
        content_type: "text/\"plain\"",
    };

    #[test]
    fn the_requests_are_as_documented() {
        let read = |body: String| serde_json::from_str::<Value>(&body).unwrap();
        let digest = json!({"sha256": "00ff", "size": 3, "content_type": "text/\"plain\""});
        assert_eq!(read(request(SUBJECT, None)), digest);
        let mut content = digest;
        content["content"] = STANDARD.encode(b"abc").into();
        assert_eq!(read(request(SUBJECT, Some(b"abc"))), content);
    }

    #[test]
    fn an_answer_is_read_strictly() {
        let infected = |name: &str| {
            Ok(Answer::Infected {
                name: name.to_owned(),
            })
        };
        for (answer, expected) in [
            (json!({"verdict": "clean", "more": 1}), Ok(Answer::Clean)),
            (
                json!({"verdict": "infected", "name": "Win.Worm"}),
                infected("Win.Worm"),
            ),
            (
                json!({"verdict": "infected", "name": "a\n\u{1b}[1mb "}),
                infected("a[1mb"),
            ),
            (
                json!({"verdict": "infected", "name": "x".repeat(500)}),
                infected(&"x".repeat(120)),
            ),
            (json!({"verdict": "infected"}), Err(ExternalError::Name)),
            (
                json!({"verdict": "infected", "name": "\n"}),
                Err(ExternalError::Name),
            ),
            (
                json!({"verdict": "error", "message": "busy"}),
                Err(ExternalError::Failed("busy".to_owned())),
            ),
            (
                json!({"verdict": "error"}),
                Err(ExternalError::Failed(String::new())),
            ),
            (json!({"verdict": "unknown"}), Err(ExternalError::NotKnown)),
            (json!({"verdict": "CLEAN"}), Err(ExternalError::Verdict)),
            (json!({"verdict": true}), Err(ExternalError::Verdict)),
            (json!({"clean": true}), Err(ExternalError::Verdict)),
            (json!(["clean"]), Err(ExternalError::NotJson)),
            (json!("clean"), Err(ExternalError::NotJson)),
        ] {
            assert_eq!(read(answer.to_string().as_bytes()), expected, "{answer}");
        }
        assert_eq!(read(b""), Err(ExternalError::NotJson));
        assert_eq!(read(b"{\"verdict\":\"clean\""), Err(ExternalError::NotJson));
        assert_eq!(
            read(&vec![b' '; MAX_ANSWER + 1]),
            Err(ExternalError::TooLong)
        );
    }

    #[test]
    fn a_failure_holds_back_only_where_it_shall() {
        for (on_failure, retry) in [(OnFailure::Close, true), (OnFailure::Open, false)] {
            let why = "down".to_owned();
            assert_eq!(
                failed(why.clone(), on_failure),
                Answer::Unknown { why, retry }
            );
        }
        assert_eq!(External::default().on_failure, OnFailure::Close);
    }

    #[test]
    fn settings_are_checked() {
        let with = |url: &str| External {
            url: Some(url.to_owned()),
            ..External::default()
        };
        for url in [
            "https://scan.example/v1",
            "http://127.0.0.1:9/x",
            "http://localhost",
            "http://[::1]:1",
        ] {
            assert_eq!(with(url).check(), Ok(()), "{url}");
        }
        for url in [
            "http://scan.example",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "https://",
            "ftp://x",
            "",
        ] {
            assert!(with(url).check().is_err(), "{url}");
        }
        for (timeout_seconds, max_bytes) in [(0, 1), (121, 1), (1, MAX_CONTENT + 1)] {
            let external = External {
                timeout_seconds,
                max_bytes,
                ..External::default()
            };
            assert!(external.check().is_err());
        }
        assert_eq!(External::default().check(), Ok(()));
        let digest = External {
            send: Send::Digest,
            ..External::default()
        };
        assert!(!digest.sends_content(1) && External::default().sends_content(8_388_608));
        assert!(!External::default().sends_content(8_388_609));
        let read: External =
            toml::from_str("url = \"https://x\"\nsend = \"digest\"\non_failure = \"open\"")
                .unwrap();
        assert_eq!(
            (read.send, read.on_failure),
            (Send::Digest, OnFailure::Open)
        );
        assert!(toml::from_str::<External>("uri = \"https://x\"").is_err());
    }
}
