//! Where a call runs: beside its request, or in an object that its client can come back to.

use serde_json::{Map, Value, json};

use crate::app::gate::{Caller, may_store};
use crate::app::request::Head;
use crate::base::digest::{base64url, hex, hmac_sha256, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::json::canonical_object;
use crate::base::time::Millis;
use crate::domain::cache::Partition;
use crate::domain::identity::Principal;
use crate::domain::identity::key_record::Stores;
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::responses::echo::Echo;
use crate::domain::llm::request::ChatRequest;
use crate::domain::llm::stream::log;
use crate::domain::settings::Settings;
use crate::domain::settings::config::Alias;

/// Why a call runs in an object, and in which.
pub struct Place {
    /// The object's name and the answer's id.
    pub id: String,
    /// Who may read it.
    pub owner: String,
    /// How long it is kept.
    pub ttl: Millis,
    /// How long it may run unread.
    pub grace: Option<Millis>,
    /// Number its events.
    pub numbered: bool,
    /// What to keep of the request.
    pub request: Option<String>,
    /// Answer at once.
    pub background: bool,
    /// Look into the cache there: nobody has done so yet.
    pub look_up: bool,
}

/// The part of the callers in which a key stands for one thing.
#[must_use]
pub fn partition(caller: &Caller) -> String {
    match &caller.principal {
        Principal::Visitor { id, .. } => format!("visitor/{id}"),
        Principal::Key(view) => format!("key/{}", view.id),
        Principal::Anonymous => format!("client/{}", caller.client),
    }
}

/// Who may read an answer: the visitor who asked. Without a cookie it is whoever has the id, which is 128 random bits: a
/// visitor's network may change in the middle of an answer.
#[must_use]
pub fn owner(caller: &Caller) -> String {
    match &caller.principal {
        Principal::Visitor { id, .. } => owner_of_visitor(id),
        Principal::Key(view) => format!("key/{}", view.id),
        Principal::Anonymous => log::HOLDER.to_owned(),
    }
}

/// As whom a visitor owns answers.
pub(super) fn owner_of_visitor(id: &str) -> String {
    ["visitor/", id].concat()
}

/// With whom an alias's kept answers are shared.
#[must_use]
pub fn shared_with<'a>(caller: &'a Caller, alias: &Alias) -> Partition<'a> {
    match &caller.principal {
        Principal::Key(view) if !alias.public => Partition::Principal(&view.id),
        _ => Partition::Shared,
    }
}

/// An object's name from what it stands for; nobody without the key can make it.
///
/// # Errors
/// `setup_required` without a `MASTER_KEY`.
pub fn object_id(settings: &Settings, purpose: &str, parts: &[&str]) -> Result<String, Refusal> {
    let keys = settings
        .keys
        .as_ref()
        .ok_or_else(|| Refusal::new(Code::SetupRequired).detail("MASTER_KEY is not set."))?;
    let text = json!([purpose, parts]).to_string();
    let mac = hmac_sha256(keys.cache.reveal(), text.as_bytes());
    Ok(base64url(mac.get(..16).unwrap_or_default()))
}

/// Digest of a request body. The order of fields does not matter, at any depth.
#[must_use]
pub fn digest_of(body: &Map<String, Value>) -> String {
    hex(&sha256(canonical_object(body).as_bytes()))
}

/// Longest `Idempotency-Key`, in characters (as Stripe's and most others').
const MAX_KEY_CHARS: usize = 255;

/// The object of a keyed call.
///
/// # Errors
/// `invalid_parameter` for a key that is empty, too long or not printable.
pub fn keyed(
    settings: &Settings,
    caller: &Caller,
    route: &str,
    key: &str,
) -> Result<String, Refusal> {
    let fine =
        (1..=MAX_KEY_CHARS).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !fine {
        return Err(Refusal::new(Code::InvalidParameter)
            .param("Idempotency-Key")
            .detail("The Idempotency-Key header must have 1 to 255 printable ASCII characters."));
    }
    object_id(
        settings,
        "idempotency/v1",
        &[&partition(caller), route, key],
    )
}

/// Is it a response that will be stored here?
fn is_stored(alias: &Alias, request: &ChatRequest) -> bool {
    request.protocol == Protocol::Responses
        && alias.store_responses
        && request.body.get("store").and_then(Value::as_bool) != Some(false)
}

/// What the response repeats of its request.
#[must_use]
pub fn echo_of(alias: &Alias, request: &ChatRequest) -> Option<Echo> {
    let previous = request.previous.as_deref();
    let conversation = request.belongs.as_ref().map(|belongs| belongs.id.as_str());
    let echo = || {
        Echo::of(&request.body, previous, is_stored(alias, request))
            .belonging(conversation)
            .quoting(request.passages.as_ref())
    };
    (request.protocol == Protocol::Responses).then(echo)
}

/// The place of a call that has a key, or whose answer is stored: all that becomes of it happens in its object, an answer
/// from the cache included.
///
/// # Errors
/// A bad key.
pub fn place(
    settings: &Settings,
    caller: &Caller,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
    new_id: impl Fn() -> String,
) -> Result<Option<Place>, Refusal> {
    let streams = &settings.config.streams;
    let flag = |name: &str| request.body.get(name).and_then(Value::as_bool);
    let echo = echo_of(alias, request).filter(|_| is_stored(alias, request));
    let (stored, background) = (echo.is_some(), flag("background") == Some(true));
    let background = stored && background;
    let kept = echo.map(|echo| {
        let mut response = echo.to_value();
        if let Some(response) = response.as_object_mut() {
            // Until a provider has told its own.
            response.insert("model".into(), request.alias.as_str().into());
        }
        // What a conversation said before is kept there, sealed, and nowhere else.
        let asked = request.asked();
        json!({"input": asked.get("input"), "response": response}).to_string()
    });
    if let Some(key) = &head.idempotency_key {
        return Ok(Some(Place {
            id: keyed(settings, caller, request.protocol.endpoint(), key)?,
            owner: owner(caller),
            ttl: Millis::from_secs(streams.idempotency_ttl_seconds),
            // Whoever retries will be back; an answer that was paid for is finished.
            grace: None,
            numbered: request.stream || stored,
            request: kept,
            background,
            look_up: true,
        }));
    }
    let belongs = request.belongs.is_some();
    if belongs && !stored {
        // Nobody can come back to it, but it must reach its conversation.
        return Ok(Some(Place {
            id: new_id(),
            owner: log::FLIGHT.to_owned(),
            ttl: FLIGHT_TTL,
            grace: None,
            numbered: false,
            request: None,
            background: false,
            look_up: true,
        }));
    }
    let grace = Millis::from_secs(streams.grace_seconds);
    Ok(stored.then(|| Place {
        id: new_id(),
        owner: owner(caller),
        ttl: Millis::from_secs(streams.ttl_seconds),
        // A conversation is told the whole answer, whether its client waits for it or not.
        grace: (!background && !belongs).then_some(grace),
        numbered: true,
        request: kept,
        background,
        look_up: true,
    }))
}

/// The place of a call that providers must answer: an object for a stream that can be read again, or for what several
/// callers ask at the same time.
///
/// # Errors
/// `setup_required` without a `MASTER_KEY`.
pub fn place_of_new(
    settings: &Settings,
    caller: &Caller,
    head: &Head,
    alias: &Alias,
    request: &ChatRequest,
    flight: Option<&str>,
    new_id: impl Fn() -> String,
) -> Result<Option<Place>, Refusal> {
    let streams = &settings.config.streams;
    // For a key that may not read it again there is nothing to keep.
    let reads = may_store(caller, Stores::Read).is_ok();
    if request.stream && (alias.resumable || head.resumable) && reads {
        return Ok(Some(Place {
            id: new_id(),
            owner: owner(caller),
            ttl: Millis::from_secs(streams.ttl_seconds),
            grace: Some(Millis::from_secs(streams.grace_seconds)),
            numbered: true,
            request: None,
            background: false,
            look_up: false,
        }));
    }
    let Some(key) = flight else { return Ok(None) };
    // Only who wants the same in the same way is carried along: nobody gets another one's deadline or trailer.
    let form = json!([
        request.protocol.name(),
        request.stream,
        request.include_usage,
        head.trailer,
        head.first_token_ms,
        head.total_ms,
        head.prefer,
    ]);
    Ok(Some(Place {
        id: object_id(settings, "flight/v2", &[key, &form.to_string()])?,
        owner: log::FLIGHT.to_owned(),
        // The cache takes over from here.
        ttl: FLIGHT_TTL,
        grace: Some(FLIGHT_GRACE),
        numbered: false,
        request: None,
        background: false,
        look_up: false,
    }))
}

/// A shared call is forgotten as soon as the cache has its answer; a second bridges the write.
const FLIGHT_TTL: Millis = Millis::from_secs(1);

/// A shared call cannot be attached to by its id: when its last caller has gone, only an equal question in this very
/// moment could still want it.
const FLIGHT_GRACE: Millis = Millis::from_secs(1);

#[cfg(test)]
mod tests {
    use super::digest_of;
    use serde_json::{Map, Value};

    fn of(text: &str) -> String {
        digest_of(&serde_json::from_str::<Map<String, Value>>(text).unwrap())
    }

    #[test]
    fn a_body_with_its_fields_in_another_order_is_the_same_body_at_any_depth() {
        let one =
            of(r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"x":{"b":1,"a":2}}"#);
        let same = r#"{"x":{"a":2,"b":1},"messages":[{"content":"hi","role":"user"}],"model":"m"}"#;
        assert_eq!(one, of(same));
        for other in [
            same.replace("\"hi\"", "\"ho\""),
            same.replace("\"b\":1", "\"b\":2"),
        ] {
            assert_ne!(one, of(&other));
        }
    }
}
