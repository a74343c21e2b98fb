//! Canonical request → cache key; whether an answer may be kept, and the stored format.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::digest::{Bytes32, hex, hmac_sha256};
use crate::base::json::canonical;
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::message::Answer;
use crate::domain::llm::request::ChatRequest;
use crate::domain::settings::config::CachePolicy;

/// What a caller's `Cache-Control` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerWish {
    /// Nothing in particular.
    Any,
    /// `no-cache`: do not answer from the cache, but the answer may be kept.
    Fresh,
    /// `no-store`: neither.
    NoStore,
}

impl CallerWish {
    /// Reads the header (RFC 9111 §5.2.1).
    #[must_use]
    pub fn read(cache_control: Option<&str>) -> Self {
        let mut wish = Self::Any;
        for directive in cache_control.unwrap_or_default().split(',') {
            let name = directive.split('=').next().unwrap_or_default().trim();
            if name.eq_ignore_ascii_case("no-store") {
                return Self::NoStore;
            }
            if name.eq_ignore_ascii_case("no-cache")
                || directive.trim().eq_ignore_ascii_case("max-age=0")
            {
                wish = Self::Fresh;
            }
        }
        wish
    }
}

/// May an answer to this request be kept?
#[must_use]
pub fn cacheable(policy: CachePolicy, request: &ChatRequest) -> bool {
    if request.wants_more_than_text() {
        return false;
    }
    match policy {
        CachePolicy::Never => false,
        CachePolicy::Deterministic => request.temperature == Some(0.0),
        CachePolicy::Always => true,
    }
}

/// Who shares an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition<'a> {
    /// Every caller of a public alias.
    Shared,
    /// One principal alone.
    Principal(&'a str),
}

/// Body fields that do not change the answer: how it is delivered, and labels.
const IGNORED: [&str; 9] = [
    "model",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "store",
];

/// The name of an entry: an HMAC over everything that the answer depends on, so that names tell nothing and cannot be
/// made by others.
///
/// `endpoint` keeps chat and embeddings apart; `settings_digest` changes with the configuration.
#[must_use]
pub fn key(
    secret: &Secret<Bytes32>,
    endpoint: &str,
    settings_digest: &str,
    alias: &str,
    partition: Partition<'_>,
    body: &Map<String, Value>,
) -> String {
    let relevant: Map<String, Value> = body
        .iter()
        .filter(|(name, value)| !IGNORED.contains(&name.as_str()) && !value.is_null())
        .map(|(name, value)| (name.clone(), normal(value)))
        .collect();
    let partition = match partition {
        Partition::Shared => Value::Null,
        Partition::Principal(id) => Value::from(id),
    };
    // One JSON array, so that no two different inputs can spell the same text.
    let text = canonical(&Value::Array(vec![
        Value::from("cache/v1"),
        Value::from(endpoint),
        Value::from(settings_digest),
        Value::from(alias),
        partition,
        Value::Object(relevant),
    ]));
    let mac = hmac_sha256(secret.reveal(), text.as_bytes());
    format!("answers/{}", hex(&mac))
}

/// The endpoint name in a key.
#[must_use]
pub const fn chat_endpoint(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Chat => "chat.completions",
        Protocol::Responses => "responses",
        Protocol::Messages => "messages",
    }
}

/// Whole numbers are written alike whether the caller wrote `0` or `0.0`.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "checked to be whole and small"
            )]
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => Value::from(float as i64),
            _ => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(k, v)| (k.clone(), normal(v))).collect())
        }
        other => other.clone(),
    }
}

/// A kept answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Version of this format.
    v: u8,
    /// When it was made.
    pub stored: Millis,
    /// When it stops being an answer.
    pub expires: Millis,
    /// `provider/model` that answered.
    pub target: String,
    /// What is kept.
    pub kept: Kept,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// An answer in normal form: it can be sent in any protocol, whole or as a stream.
    Answer(Answer),
    /// A body as it was sent (embeddings).
    Body(String),
}

/// Version of [`Entry`]; entries of any other version are misses.
const ENTRY_VERSION: u8 = 1;

impl Entry {
    /// A new entry.
    #[must_use]
    pub const fn new(stored: Millis, ttl: Millis, target: String, kept: Kept) -> Self {
        Self {
            v: ENTRY_VERSION,
            stored,
            expires: stored.plus(ttl),
            target,
            kept,
        }
    }

    /// The stored bytes; `None` when they would be over `max_bytes`.
    #[must_use]
    pub fn to_bytes(&self, max_bytes: u64) -> Option<Vec<u8>> {
        let bytes = serde_json::to_vec(self).ok()?;
        (bytes.len() as u64 <= max_bytes).then_some(bytes)
    }

    /// Reads stored bytes although they may have expired: better an old answer than none.
    #[must_use]
    pub fn read_stale(bytes: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        (entry.v == ENTRY_VERSION).then_some(entry)
    }

    /// Reads stored bytes. Damaged, of another version or expired: a miss.
    #[must_use]
    pub fn read(bytes: &[u8], now: Millis) -> Option<Self> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        (entry.v == ENTRY_VERSION && now < entry.expires).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::{CallerWish, Entry, Kept, Partition, cacheable, key};
    use crate::base::secret::Secret;
    use crate::base::time::Millis;
    use crate::domain::llm::Protocol;
    use crate::domain::llm::message::{Answer, Finish, Usage};
    use crate::domain::llm::request::chat_request;
    use crate::domain::settings::config::CachePolicy;
    use serde_json::{Map, Value, json};

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!() };
        map
    }

    fn key_of(body: Value) -> String {
        key(
            &Secret::new([1; 32]),
            "chat.completions",
            "d",
            "site",
            Partition::Shared,
            &object(body),
        )
    }

    fn base() -> Value {
        json!({"model": "site", "messages": [{"role": "user", "content": "hi"}], "temperature": 0})
    }

    #[test]
    fn what_does_not_change_the_answer_does_not_change_the_key() {
        for (name, value) in [
            ("stream", json!(true)),
            ("stream_options", json!({"include_usage": true})),
            ("user", json!("u")),
            ("temperature", json!(0.0)),
            ("seed", Value::Null),
        ] {
            let mut body = base();
            body[name] = value;
            assert_eq!(key_of(body), key_of(base()), "{name}");
        }
    }

    #[test]
    fn the_order_of_fields_does_not_change_the_key_at_any_depth() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let one = r#"{"model":"site","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"x":{"b":1,"a":2}}"#;
        let other = r#"{"x":{"a":2,"b":1},"messages":[{"content":[{"text":"hi","type":"text"}],"role":"user"}],"model":"site"}"#;
        assert_ne!(read(one).to_string(), read(other).to_string());
        assert_eq!(key_of(read(one)), key_of(read(other)));
    }

    #[test]
    fn whatever_changes_the_answer_changes_the_key() {
        for (name, value) in [
            ("messages", json!([{"role": "user", "content": "hi "}])),
            ("messages", json!([{"role": "assistant", "content": "hi"}])),
            ("temperature", json!(0.1)),
            ("max_tokens", json!(5)),
            ("top_p", json!(0.5)),
            ("seed", json!(1)),
            ("stop", json!(["x"])),
            ("response_format", json!({"type": "json_object"})),
            ("anything_else", json!(false)),
        ] {
            let mut body = base();
            body[name] = value;
            assert_ne!(key_of(body), key_of(base()), "{name}");
        }
        let body = object(base());
        let secret = Secret::new([1; 32]);
        let keys = [
            key(
                &secret,
                "chat.completions",
                "d",
                "site",
                Partition::Shared,
                &body,
            ),
            key(&secret, "messages", "d", "site", Partition::Shared, &body),
            key(
                &secret,
                "chat.completions",
                "e",
                "site",
                Partition::Shared,
                &body,
            ),
            key(
                &secret,
                "chat.completions",
                "d",
                "other",
                Partition::Shared,
                &body,
            ),
            key(
                &secret,
                "chat.completions",
                "d",
                "site",
                Partition::Principal("a"),
                &body,
            ),
            key(
                &secret,
                "chat.completions",
                "d",
                "site",
                Partition::Principal("b"),
                &body,
            ),
            key(
                &Secret::new([2; 32]),
                "chat.completions",
                "d",
                "site",
                Partition::Shared,
                &body,
            ),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn only_deterministic_plain_requests_are_kept_unless_the_alias_says_so() {
        let request = |patch: Value| {
            let mut body = object(base());
            body.extend(object(patch));
            chat_request(body, Protocol::Chat).unwrap()
        };
        assert!(cacheable(CachePolicy::Deterministic, &request(json!({}))));
        assert!(!cacheable(
            CachePolicy::Deterministic,
            &request(json!({"temperature": 0.2}))
        ));
        assert!(!cacheable(
            CachePolicy::Deterministic,
            &request(json!({"temperature": null}))
        ));
        assert!(cacheable(
            CachePolicy::Always,
            &request(json!({"temperature": 1}))
        ));
        assert!(!cacheable(CachePolicy::Never, &request(json!({}))));
        assert!(!cacheable(
            CachePolicy::Always,
            &request(json!({"tools": [{"type": "function"}]}))
        ));
        assert!(!cacheable(CachePolicy::Always, &request(json!({"n": 2}))));
        assert!(!cacheable(
            CachePolicy::Always,
            &request(json!({"logprobs": true}))
        ));
    }

    #[test]
    fn the_callers_wish_is_read() {
        assert_eq!(CallerWish::read(None), CallerWish::Any);
        assert_eq!(CallerWish::read(Some("max-age=0")), CallerWish::Fresh);
        assert_eq!(CallerWish::read(Some("no-cache")), CallerWish::Fresh);
        assert_eq!(
            CallerWish::read(Some("no-cache, No-Store")),
            CallerWish::NoStore
        );
    }

    /// Changing this text orphans every kept answer; a new format needs a new version.
    const PINNED: &str = r#"{"v":1,"stored":1000,"expires":61000,"target":"openai/m","kept":{"answer":{"model":"m","text":"hi","finish":"stop","usage":{"input":1,"cached":0,"output":2}}}}"#;

    #[test]
    fn the_stored_format_is_pinned() {
        let answer = Answer {
            model: "m".into(),
            text: "hi".into(),
            finish: Finish::Stop,
            usage: Usage {
                input: 1,
                cached: 0,
                output: 2,
                estimated: false,
                ..Usage::default()
            },
        };
        let entry = Entry::new(
            Millis(1000),
            Millis(60_000),
            "openai/m".into(),
            Kept::Answer(answer),
        );
        assert_eq!(
            String::from_utf8(entry.to_bytes(1000).unwrap()).unwrap(),
            PINNED
        );
        assert_eq!(
            Entry::read(PINNED.as_bytes(), Millis(60_999)),
            Some(entry.clone())
        );
        assert_eq!(Entry::read(PINNED.as_bytes(), Millis(61_000)), None);
        assert_eq!(
            Entry::read(PINNED.replace("\"v\":1", "\"v\":2").as_bytes(), Millis(0)),
            None
        );
        assert_eq!(Entry::read(b"{", Millis(0)), None);
        assert_eq!(entry.to_bytes(10), None);
    }
}
