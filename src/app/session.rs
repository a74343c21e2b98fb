//! A visitor's session: short-lived, bound to an origin, renewed by itself, revoked at once.
//!
//! A page of the same origin holds it as a cookie that scripts cannot read; a page of another origin gets it as a token
//! to keep in memory and to send as `Authorization: Bearer`.

use serde_json::{Map, Value, json};

use super::audit::{Event, drain_of};
use super::body::json_body;
use super::gate::{self, Caller, admit, once, trusting};
use super::keyring::keyring;
use super::outward;
use super::port::{ByteSource, Class, Port};
use super::reply::Reply;
use super::request::Head;
use super::rules::{HOUSE, change, newest, rules};
use crate::base::errors::{Code, Refusal};
use crate::base::ids::prefixed;
use crate::base::time::Millis;
use crate::domain::audit::entry::{Action, Actor};
use crate::domain::identity::token::{self, Claims, Kind};
use crate::domain::identity::{
    Principal, SessionClaims, new_visitor, proof, set_cookie, turnstile, visitor_cookie,
};
use crate::domain::limits::rules::{Change, SiteKey};
use crate::domain::llm::request::{invalid, missing};
use crate::domain::llm::upstream::UpstreamRequest;
use crate::domain::settings::config::{LimitClass, Proof};

/// How long Turnstile may take to answer.
const TURNSTILE_PATIENCE: Millis = Millis::from_secs(5);
/// The longest answer of Turnstile's that is read.
const TURNSTILE_ANSWER: u64 = 16_384;

/// What a session takes here, with a new puzzle where one is to be solved.
///
/// # Errors
/// 429 and 503 of the limits; `origin_not_allowed`.
pub async fn terms<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Reply<P>, Refusal> {
    let limits = admit(port, caller, None, LimitClass::Read).await?;
    let site = site_of(port, head, head.query_value("site_key").as_deref()).await?;
    let proof = proof_of(port, site.as_ref());
    let config = &port.settings().config.session;
    let mut told = json!({"proof": proof, "ttl_seconds": config.ttl_seconds});
    match proof {
        Proof::None => {}
        Proof::Turnstile => {
            put(
                &mut told,
                "turnstile_site_key",
                json!(config.turnstile_site_key),
            );
        }
        Proof::Work => {
            let ring = keyring(port).await?;
            let key = ring
                .session_signer(port.now())
                .map_err(|fault| super::keyring::locked(&fault))?;
            let origin = origin_of(head);
            let terms = proof::Terms {
                key: &key.key,
                tenant: port.tenant(),
                origin,
            };
            let challenge = proof::challenge(terms, config.work_bits, &port.random(), port.now());
            put(&mut told, "challenge", Value::from(challenge));
            put(&mut told, "bits", Value::from(config.work_bits));
        }
    }
    Ok(Reply::json(200, told.to_string()).headers(limits))
}

/// Makes a session.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the body | 400 |
/// | 2 | limits | 429, 503 |
/// | 3 | site key and origin fit together | 403 |
/// | 4 | the proof, used once | 403 |
/// | 5 | who: the visitor that the cookies or the present session name, or a new one | – |
/// | 6 | what named the visitor and the site key stand still; token, and on the own origin cookies | 401, 403, 503 |
///
/// # Errors
/// As the table says.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Reply<P>, Refusal> {
    // 1
    let fields = if head.content_length == Some(0) {
        Map::new()
    } else {
        json_body(port, head, body).await?
    };
    known_fields(&fields)?;
    if matches!(caller.principal, Principal::Key(_)) {
        return Err(Refusal::new(Code::Forbidden).detail("An API key needs no session."));
    }
    // 2
    let limits = admit(port, caller, None, LimitClass::Upload).await?;
    // 3
    let text = |name: &'static str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(invalid(name, "must be a text")),
    };
    let site = site_of(port, head, text("site_key")?).await?;
    // 4: who has a session renews it without another proof.
    let standing = match &caller.principal {
        Principal::Visitor {
            session: Some(session),
            ..
        } => Some(session),
        _ => None,
    };
    if standing.is_none() {
        proved(port, head, proof_of(port, site.as_ref()), &text).await?;
    }
    // 5
    let visitor = match &caller.principal {
        Principal::Visitor { id, .. } => id.clone(),
        _ => match new_visitor(&port.random(), port.now()) {
            Principal::Visitor { id, .. } => id,
            _ => return Err(Refusal::new(Code::Internal)),
        },
    };
    // 6: a session stays with its origin and its site key, and a cookie is for our own.
    let bound = standing.and_then(|session| session.origin.clone());
    let site_key = standing
        .and_then(|session| session.site_key.clone())
        .or_else(|| site.map(|site| site.id));
    let wanted = Wanted {
        visitor: &visitor,
        origin: bound.unwrap_or_else(|| origin_of(head).to_owned()),
        site_key,
        began: standing.map(|session| session.began),
    };
    let keeps_cookies = own_page(head) && wanted.origin == head.own_origin;
    let made = make(port, head, caller, wanted).await?;
    let mut told = json!({
        "object": "session",
        "visitor": visitor,
        "expires_at": made.claims.expires.rfc3339(),
        "expires_in": made.claims.expires.since(made.claims.issued).secs(),
    });
    let mut reply = Reply::json(200, "");
    if keeps_cookies {
        for cookie in made.cookies {
            reply = reply.header("set-cookie", cookie);
        }
    } else {
        put(&mut told, "token", Value::from(made.token));
        put(&mut told, "token_type", Value::from("Bearer"));
    }
    Ok(reply.headers(limits).bytes(told.to_string()))
}

/// Ends the caller's session everywhere.
///
/// # Errors
/// `session_required` without one; `limiter_unavailable`.
pub async fn end<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Reply<P>, Refusal> {
    if head.cookie.is_some() {
        head.own_site()?;
    }
    let limits = admit(port, caller, None, LimitClass::Read).await?;
    let Principal::Visitor {
        id,
        session: Some(session),
        ..
    } = &caller.principal
    else {
        return Err(Refusal::new(Code::SessionRequired));
    };
    // The event waits beside the change: the session ends whether or not the log can be reached.
    let event = Event::new(port, Action::SessionRevoke)
        .by(Actor::Visitor, id)
        .target("session")
        .request(&caller.request_id);
    change(
        port,
        Change::Revoke(session.id.clone(), Some(session.expires)),
        None,
        Some(event.outbox()),
    )
    .await?;
    let gone = set_cookie(Kind::Session, "", Millis::ZERO, head.https());
    let mut reply = Reply::status(204)
        .header("set-cookie", gone)
        .headers(limits);
    let (port, outcome) = (port.clone(), reply.outcome.clone());
    reply.after = Some(Box::pin(async move {
        // What is not recorded now is by the next change or the cron.
        let _ = drain_of(&port, Class::Directory, HOUSE).await;
        outcome
    }));
    Ok(reply)
}

/// A session cookie that is in the last third of its life is followed by a new one.
pub async fn renewed<P: Port>(port: &P, caller: &Caller, head: &Head, reply: Reply<P>) -> Reply<P> {
    let Principal::Visitor {
        id,
        session: Some(session),
        ..
    } = &caller.principal
    else {
        return reply;
    };
    let by_cookie = head.authorization.is_none() && head.api_key.is_none();
    let ends_here = reply.headers.iter().any(|(name, _)| *name == "set-cookie");
    let longest = session.began.plus(max_age(port));
    if !by_cookie
        || ends_here
        || !own_page(head)
        || !gate::wants_renewal(session, port.now())
        || session.expires >= longest
    {
        return reply;
    }
    let wanted = Wanted {
        visitor: id,
        origin: head.own_origin.clone(),
        site_key: session.site_key.clone(),
        began: Some(session.began),
    };
    match make(port, head, caller, wanted).await {
        Ok(made) => made
            .cookies
            .into_iter()
            .fold(reply, |reply, cookie| reply.header("set-cookie", cookie)),
        // The session goes on for a while, if it was not ended meanwhile, and the next request tries again.
        Err(_) => reply,
    }
}

/// The session that is to be made.
struct Wanted<'a> {
    visitor: &'a str,
    origin: String,
    site_key: Option<String>,
    /// When the first of a row of renewals was made; none for a new one.
    began: Option<Millis>,
}

struct Made {
    claims: SessionClaims,
    token: String,
    cookies: Vec<String>,
}

fn max_age(port: &impl Port) -> Millis {
    Millis::from_secs(port.settings().config.session.max_age_seconds)
}

/// Makes a token. A request may have taken long: what its caller came with may have been ended since, by somebody whom
/// the new token would escape.
async fn make<P: Port>(
    port: &P,
    head: &Head,
    caller: &Caller,
    wanted: Wanted<'_>,
) -> Result<Made, Refusal> {
    let ring = keyring(port).await?;
    let rules = match &caller.principal {
        Principal::Visitor { .. } => newest(port).await?,
        _ => rules(port).await?,
    };
    let ended = |cause: &str| Refusal::new(Code::InvalidCredentials).cause(cause);
    if rules.has_ended(&caller.principal) {
        return Err(ended("session: ended while it was asked for"));
    }
    let site = match &wanted.site_key {
        None => None,
        Some(id) => Some(
            rules
                .site_keys
                .get(id)
                .filter(|site| site.serves(&wanted.origin))
                .ok_or_else(|| Refusal::new(Code::OriginNotAllowed))?,
        ),
    };
    let visitor = wanted.visitor;
    let now = Millis::from_secs(port.now().secs());
    let began = wanted.began.unwrap_or(now);
    let ttl = Millis::from_secs(port.settings().config.session.ttl_seconds);
    let expires = now.plus(ttl).min(began.plus(max_age(port)));
    if expires <= now {
        return Err(ended("session: renewed for too long"));
    }
    let ttl = expires.since(now);
    let claims = Claims {
        subject: visitor.to_owned(),
        tenant: port.tenant().to_owned(),
        issuer: head.own_origin.clone(),
        id: prefixed("ses", &port.random()),
        issued: now,
        expires,
        origin: Some(wanted.origin.clone()),
        tier: site.and_then(|site| site.tier.clone()),
        site_key: wanted.site_key.clone(),
        began: Some(began),
    };
    let no_key = || Refusal::new(Code::KeyringUnavailable).cause("no key signs sessions");
    trusting(port, &ring, head, |trust| {
        let token = token::write(Kind::Session, &claims, trust.keys).ok_or_else(no_key)?;
        let https = head.https();
        let cookies = [
            visitor_cookie(visitor, &port.random(), trust, now, https),
            Some(set_cookie(Kind::Session, &token, ttl, https)),
        ];
        Ok(Made {
            cookies: cookies.into_iter().flatten().collect(),
            token,
            claims: SessionClaims {
                id: claims.id.clone(),
                issued: claims.issued,
                expires: claims.expires,
                origin: claims.origin.clone(),
                tier: claims.tier.clone(),
                site_key: claims.site_key.clone(),
                began,
            },
        })
    })
}

/// The site key that was named, which must serve the page that asks. A page of the site's own needs none; of another
/// origin that the configuration lists neither.
async fn site_of<P: Port>(
    port: &P,
    head: &Head,
    named: Option<&str>,
) -> Result<Option<SiteKey>, Refusal> {
    let Some(named) = named else {
        let listed = &port.settings().config.server.allowed_origins;
        let origin = origin_of(head);
        return if own_page(head) || listed.iter().any(|listed| listed == origin) {
            Ok(None)
        } else {
            Err(missing("site_key"))
        };
    };
    let rules = rules(port).await?;
    let site = rules
        .site_keys
        .get(named)
        .filter(|site| site.serves(origin_of(head)));
    site.cloned()
        .map(Some)
        .ok_or_else(|| Refusal::new(Code::OriginNotAllowed))
}

fn proof_of(port: &impl Port, site: Option<&SiteKey>) -> Proof {
    site.and_then(|site| site.proof)
        .unwrap_or(port.settings().config.session.proof)
}

async fn proved<'f, P: Port>(
    port: &P,
    head: &Head,
    proof: Proof,
    text: &impl Fn(&'static str) -> Result<Option<&'f str>, Refusal>,
) -> Result<(), Refusal> {
    match proof {
        Proof::None => Ok(()),
        Proof::Work => {
            let challenge = text("challenge")?.ok_or_else(|| missing("challenge"))?;
            let nonce = text("nonce")?.ok_or_else(|| missing("nonce"))?;
            let ring = keyring(port).await?;
            let now = port.now();
            let failed = |cause: &str| {
                Refusal::new(Code::ChallengeFailed).cause(["proof of work: ", cause].concat())
            };
            // Whoever got the puzzle before a rotation may solve it after.
            let keys = ring
                .ring
                .data
                .iter()
                .filter_map(|key| ring.session_verifier(&key.id, now));
            let mut result = Err(failed("no key"));
            for key in keys {
                let terms = proof::Terms {
                    key,
                    tenant: port.tenant(),
                    origin: origin_of(head),
                };
                result = proof::check(terms, challenge, nonce, now)
                    .map_err(|fault| failed(&format!("{fault:?}")));
                if result.is_ok() {
                    break;
                }
            }
            let solved = result?;
            once(port, &solved.id, solved.expires).await
        }
        Proof::Turnstile => turnstile(port, head, text("turnstile")?).await,
    }
}

async fn turnstile<P: Port>(port: &P, head: &Head, response: Option<&str>) -> Result<(), Refusal> {
    let response = response.ok_or_else(|| missing("turnstile"))?;
    let settings = port.settings();
    let secret = settings.secrets.turnstile.as_ref().ok_or_else(|| {
        Refusal::new(Code::SetupRequired).detail("The secret TURNSTILE_SECRET is not set.")
    })?;
    let attempt = uuid(port.random());
    let form = turnstile::form(secret, response, head.address.as_deref(), &attempt)?;
    let digest = crate::base::digest::hex(&crate::base::digest::sha256(response.as_bytes()));
    let url = settings
        .turnstile_url
        .clone()
        .unwrap_or_else(|| turnstile::SITEVERIFY.to_owned());
    let request = UpstreamRequest {
        url,
        key: None,
        headers: vec![(
            "content-type",
            "application/x-www-form-urlencoded".to_owned(),
        )],
        body: form.reveal().as_bytes(),
    };
    let answer = outward::post(port, request, TURNSTILE_ANSWER, TURNSTILE_PATIENCE)
        .await
        .map_err(|cause| {
            Refusal::new(Code::UpstreamError).cause(["turnstile: ", &cause].concat())
        })?;
    let origin = origin_of(head);
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let now = port.now();
    turnstile::judge(&answer, host, now)?;
    once(port, &digest, now.plus(turnstile::MAX_AGE)).await
}

/// A random UUID (RFC 9562 §5.4).
fn uuid(mut bytes: [u8; 16]) -> String {
    if let Some(byte) = bytes.get_mut(6) {
        *byte = (*byte & 0x0f) | 0x40;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = (*byte & 0x3f) | 0x80;
    }
    let hex = crate::base::digest::hex(&bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

/// The page that asks: its origin, or our own where a browser sends none.
fn origin_of(head: &Head) -> &str {
    head.origin.as_deref().unwrap_or(&head.own_origin)
}

/// Is it a page of our own origin? Only such a page keeps cookies.
fn own_page(head: &Head) -> bool {
    head.own_site().is_ok()
}

fn known_fields(fields: &Map<String, Value>) -> Result<(), Refusal> {
    const KNOWN: [&str; 4] = ["site_key", "turnstile", "challenge", "nonce"];
    match fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        Some(name) => Err(invalid(name, "is not known here")),
        None => Ok(()),
    }
}

fn put(told: &mut Value, name: &str, value: Value) {
    if let Some(fields) = told.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}
