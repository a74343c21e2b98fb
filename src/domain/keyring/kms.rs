//! Requests to and answers of an external key management service that wraps the key versions.
//!
//! Two calls, `POST <url>/wrap` and `POST <url>/unwrap`, JSON both ways, bytes in base64 (RFC 4648 §4):
//!
//! ```text
//! /wrap    {"plaintext": "<32 bytes>", "context": {…}}                       → {"ciphertext": "…", "key_id": "…"}
//! /unwrap  {"ciphertext": "…", "key_id": "…", "context": {…}}                → {"plaintext": "<32 bytes>"}
//! ```
//!
//! `context` is `{"tenant", "purpose": "kek", "version"}`, all texts. The service must bind it (as additional
//! authenticated data or an encryption context) and refuse to unwrap under another one. The ciphertext is kept as it
//! came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::command::MAX_WRAPPED_TEXT;
use super::ring::{Ring, Version, Wrap};
use super::wrap::KMS;
use crate::base::digest::{Bytes32, constant_time_eq};
use crate::base::secret::Secret;

/// The longest name of a service's key, in bytes.
const MAX_KEY_ID: usize = 200;
/// The longest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 16_384;

/// Why an answer of the service is not taken. Tells nothing of what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KmsError {
    /// Over [`MAX_ANSWER`].
    TooLong,
    /// Not a JSON object.
    NotJson,
    /// This field is missing, not a text, or not of the form that is asked for.
    Field(&'static str),
    /// What it wrapped it unwraps as something else.
    OtherKey,
}

impl std::fmt::Display for KmsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the key management service's answer ")?;
        match self {
            Self::TooLong => f.write_str("is too long"),
            Self::NotJson => f.write_str("is not a JSON object"),
            Self::Field(name) => write!(f, "has no valid {name}"),
            Self::OtherKey => f.write_str("is another key than it was given to wrap"),
        }
    }
}

impl std::error::Error for KmsError {}

/// The versions that the service must unwrap before the keyring can be opened.
pub fn wanted(ring: &Ring) -> impl Iterator<Item = &Version> {
    let opening = ring
        .versions
        .iter()
        .filter(|v| v.state.opens() && v.n >= ring.floor);
    opening.filter(|version| version.wrap.by.starts_with(KMS))
}

/// The body of `/wrap`; it holds the key.
#[must_use]
pub fn wrap_request(tenant: &str, n: u32, key: &Bytes32) -> Secret<String> {
    let plaintext = STANDARD.encode(key);
    Secret::new(
        [
            "{\"plaintext\":\"",
            &plaintext,
            "\",",
            &context(tenant, n),
            "}",
        ]
        .concat(),
    )
}

/// Reads the answer of `/wrap`.
///
/// # Errors
/// Every [`KmsError`].
pub fn read_wrap(answer: &[u8]) -> Result<Wrap, KmsError> {
    let value = read(answer)?;
    let ciphertext = text(&value, "ciphertext")?;
    let bytes = STANDARD
        .decode(ciphertext)
        .map_err(|_| KmsError::Field("ciphertext"))?;
    // A ciphertext of 32 bytes with a tag is longer than they are: anything shorter is not one.
    if bytes.len() <= 32 || ciphertext.len() > MAX_WRAPPED_TEXT {
        return Err(KmsError::Field("ciphertext"));
    }
    let key_id = text(&value, "key_id")?;
    if key_id.is_empty() || key_id.len() > MAX_KEY_ID || key_id.chars().any(char::is_control) {
        return Err(KmsError::Field("key_id"));
    }
    Ok(Wrap {
        by: [KMS, key_id].concat(),
        text: ciphertext.to_owned(),
    })
}

/// The body of `/unwrap`; `None` when the service does not wrap this version.
#[must_use]
pub fn unwrap_request(tenant: &str, n: u32, wrap: &Wrap) -> Option<String> {
    let key_id = Value::from(wrap.by.strip_prefix(KMS)?).to_string();
    let text = Value::from(wrap.text.as_str()).to_string();
    let context = context(tenant, n);
    Some(
        [
            "{\"ciphertext\":",
            &text,
            ",\"key_id\":",
            &key_id,
            ",",
            &context,
            "}",
        ]
        .concat(),
    )
}

/// Reads the answer of `/unwrap`.
///
/// # Errors
/// Every [`KmsError`].
pub fn read_unwrap(answer: &[u8]) -> Result<Secret<Bytes32>, KmsError> {
    let value = read(answer)?;
    let bytes = STANDARD.decode(text(&value, "plaintext")?).ok();
    let key = bytes.and_then(|bytes| Bytes32::try_from(bytes).ok());
    key.map(Secret::new).ok_or(KmsError::Field("plaintext"))
}

/// Holds the answer of `/unwrap` against the key that was wrapped.
///
/// # Errors
/// Every [`KmsError`].
pub fn same_key(answer: &[u8], key: &Bytes32) -> Result<(), KmsError> {
    if constant_time_eq(read_unwrap(answer)?.reveal(), key) {
        Ok(())
    } else {
        Err(KmsError::OtherKey)
    }
}

fn context(tenant: &str, n: u32) -> String {
    let tenant = Value::from(tenant).to_string();
    let n = n.to_string();
    [
        "\"context\":{\"tenant\":",
        &tenant,
        ",\"purpose\":\"kek\",\"version\":\"",
        &n,
        "\"}",
    ]
    .concat()
}

fn read(answer: &[u8]) -> Result<Value, KmsError> {
    if answer.len() > MAX_ANSWER {
        return Err(KmsError::TooLong);
    }
    let value: Value = serde_json::from_slice(answer).map_err(|_| KmsError::NotJson)?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(KmsError::NotJson)
    }
}

fn text<'a>(value: &'a Value, name: &'static str) -> Result<&'a str, KmsError> {
    value
        .get(name)
        .and_then(Value::as_str)
        .ok_or(KmsError::Field(name))
}

#[cfg(test)]
mod tests {
    use super::{
        KmsError, MAX_ANSWER, STANDARD, read_unwrap, read_wrap, same_key, unwrap_request,
        wrap_request,
    };
    use crate::domain::keyring::Wrap;
    use base64::Engine;
    use serde_json::json;

    fn answer(value: &serde_json::Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    #[test]
    fn the_requests_are_as_documented() {
        let request: serde_json::Value =
            serde_json::from_str(wrap_request("a\"b", 3, &[1; 32]).reveal()).unwrap();
        let context = json!({"tenant": "a\"b", "purpose": "kek", "version": "3"});
        assert_eq!(
            request,
            json!({"plaintext": STANDARD.encode([1; 32]), "context": context})
        );
        let mut wrap = Wrap {
            by: "kms:key/1".to_owned(),
            text: "Y2lwaGVy".to_owned(),
        };
        let request: serde_json::Value =
            serde_json::from_str(&unwrap_request("a\"b", 3, &wrap).unwrap()).unwrap();
        assert_eq!(
            request,
            json!({"ciphertext": "Y2lwaGVy", "key_id": "key/1", "context": context})
        );
        wrap.by = "local:01234567".to_owned();
        assert_eq!(unwrap_request("t", 3, &wrap), None);
    }

    #[test]
    fn an_answer_is_read_strictly() {
        let good = json!({"ciphertext": STANDARD.encode([2; 48]), "key_id": "k/7", "more": 1});
        assert_eq!(read_wrap(&answer(&good)).unwrap().by, "kms:k/7");
        let short = json!({"ciphertext": STANDARD.encode([2; 32]), "key_id": "k"});
        assert_eq!(
            read_wrap(&answer(&short)),
            Err(KmsError::Field("ciphertext"))
        );
        let number = json!({"ciphertext": 5, "key_id": "k"});
        assert_eq!(
            read_wrap(&answer(&number)),
            Err(KmsError::Field("ciphertext"))
        );
        for key_id in [
            json!(""),
            json!("a\nb"),
            json!("k".repeat(201)),
            json!(null),
        ] {
            let value = json!({"ciphertext": STANDARD.encode([2; 48]), "key_id": key_id});
            assert_eq!(
                read_wrap(&answer(&value)),
                Err(KmsError::Field("key_id")),
                "{value}"
            );
        }
        assert_eq!(read_wrap(b"[]"), Err(KmsError::NotJson));
        assert_eq!(read_wrap(b"{"), Err(KmsError::NotJson));
        assert_eq!(
            read_wrap(&vec![b' '; MAX_ANSWER + 1]),
            Err(KmsError::TooLong)
        );
    }

    #[test]
    fn an_unwrapped_key_has_32_bytes() {
        for length in [0, 31, 32, 33] {
            let value = json!({"plaintext": STANDARD.encode(vec![3; length])});
            let key = read_unwrap(&answer(&value)).ok();
            assert_eq!(
                key.map(|key| *key.reveal()),
                (length == 32).then_some([3; 32])
            );
        }
        let error = read_unwrap(&answer(&json!({"plaintext": "cGxhbnRlZA=="})))
            .err()
            .unwrap();
        assert!(!error.to_string().contains("cGxh"));
    }

    #[test]
    fn another_key_than_was_wrapped_is_told() {
        let answer = |byte: u8| answer(&json!({"plaintext": STANDARD.encode([byte; 32])}));
        assert_eq!(same_key(&answer(4), &[4; 32]), Ok(()));
        assert_eq!(same_key(&answer(5), &[4; 32]), Err(KmsError::OtherKey));
        assert_eq!(same_key(b"{", &[4; 32]), Err(KmsError::NotJson));
    }
}
