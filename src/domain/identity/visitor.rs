//! Visitors: who a token names, and the cookies that keep it.

use super::token::{self, Claims, Expected, Keys};
use super::{Principal, SessionClaims};
use crate::base::digest::{Bytes32, constant_time_eq, from_base64url, hmac_sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::ids::{ID_BYTES, prefixed};
use crate::base::secret::Secret;
use crate::base::time::Millis;

/// How long a visitor's cookie is good for: 30 d × 86,400 s.
pub const VISITOR_TTL: Millis = Millis::from_secs(2_592_000);

/// A cookie older than this is renewed on the next answer that sets cookies anyway.
pub const RENEW_AFTER: Millis = Millis::from_secs(86_400);

/// What tokens are held against.
#[derive(Clone, Copy)]
pub struct Trust<'a> {
    /// Of the tenant's sessions.
    pub keys: Keys<'a>,
    /// Own origin and tenant.
    pub expected: Expected<'a>,
    /// Key of the cookies that were written before there were tokens. They are read and no longer written; they belong
    /// to the default tenant.
    pub old_cookies: Option<&'a Secret<Bytes32>>,
}

/// Who the cookies name. The visitor's cookie says who, and a session counts if it is that visitor's; alone it says who
/// as well. What is malformed, forged or expired counts as none.
#[must_use]
pub fn visitor_of_cookies(
    visitor: Option<&str>,
    session: Option<&str>,
    trust: Trust<'_>,
    now: Millis,
) -> Principal {
    let session = session.and_then(|text| read(token::Kind::Session, text, trust, now).ok());
    let known = visitor.and_then(|text| known_visitor(text, trust, now));
    match (known, session) {
        (None, None) => Principal::Anonymous,
        (None, Some(claims)) => in_session(claims),
        (Some((id, issued)), session) => Principal::Visitor {
            session: session
                .filter(|claims| claims.subject == id)
                .map(session_claims),
            id,
            issued,
        },
    }
}

/// Who a session's token names that was presented as a credential.
///
/// # Errors
/// `invalid_credentials`; the cause, for the log alone, tells the [fault](token::Fault).
pub fn visitor_of_session(text: &str, trust: Trust<'_>, now: Millis) -> Result<Principal, Refusal> {
    match read(token::Kind::Session, text, trust, now) {
        Ok(claims) => Ok(in_session(claims)),
        Err(fault) => {
            let cause = ["session token: ", fault.as_str()].concat();
            Err(Refusal::new(Code::InvalidCredentials).cause(cause))
        }
    }
}

fn read(
    kind: token::Kind,
    text: &str,
    trust: Trust<'_>,
    now: Millis,
) -> Result<Claims, token::Fault> {
    token::read(kind, text, trust.keys, trust.expected, now)
}

fn in_session(claims: Claims) -> Principal {
    Principal::Visitor {
        id: claims.subject.clone(),
        issued: claims.issued,
        session: Some(session_claims(claims)),
    }
}

fn session_claims(claims: Claims) -> SessionClaims {
    SessionClaims {
        id: claims.id,
        issued: claims.issued,
        expires: claims.expires,
        origin: claims.origin,
        tier: claims.tier,
        site_key: claims.site_key,
        began: claims.began.unwrap_or(claims.issued),
    }
}

/// Id and time of issue of a visitor's cookie, in the present form or in the old one.
fn known_visitor(text: &str, trust: Trust<'_>, now: Millis) -> Option<(String, Millis)> {
    if text.starts_with("v1.") {
        return old_visitor(text, trust.old_cookies?, now);
    }
    let claims = read(token::Kind::Visitor, text, trust, now).ok()?;
    Some((claims.subject, claims.issued))
}

/// The old form: `v1.<id>.<issued seconds>.<HMAC-SHA-256 in base64url>`.
fn old_visitor(text: &str, key: &Secret<Bytes32>, now: Millis) -> Option<(String, Millis)> {
    let (signed, mac) = text.rsplit_once('.')?;
    let expected = hmac_sha256(key.reveal(), signed.as_bytes());
    if !constant_time_eq(&from_base64url(mac)?, &expected) {
        return None;
    }
    let mut parts = signed.split('.');
    let ("v1", id, issued, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    let issued = Millis::from_secs(issued.parse().ok()?);
    (now < issued.plus(VISITOR_TTL) && is_visitor_id(id)).then(|| (id.to_owned(), issued))
}

/// A new visitor.
#[must_use]
pub fn new_visitor(random: &[u8; ID_BYTES], now: Millis) -> Principal {
    Principal::Visitor {
        id: prefixed("vis", random),
        issued: now,
        session: None,
    }
}

/// `vis_` and 32 lower-case hexadecimal digits: the id is part of stored names.
#[must_use]
pub fn is_visitor_id(text: &str) -> bool {
    text.strip_prefix("vis_").is_some_and(|hex| {
        hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Cookie of the visitor's id over https: the prefix binds it to this host, path `/` and TLS (RFC 6265bis §4.1.3.2).
pub const COOKIE_NAME: &str = "__Host-gatehouse";
/// Cookie name over plain http on a developer's machine, where the prefix is refused.
pub const COOKIE_NAME_PLAIN: &str = "gatehouse";
/// Cookie of the session over https.
pub const SESSION_COOKIE_NAME: &str = "__Host-gatehouse-session";
/// Cookie of the session over plain http.
pub const SESSION_COOKIE_NAME_PLAIN: &str = "gatehouse-session";

/// Names over https and over plain http.
pub(super) const fn cookie_names(kind: token::Kind) -> (&'static str, &'static str) {
    match kind {
        token::Kind::Visitor => (COOKIE_NAME, COOKIE_NAME_PLAIN),
        token::Kind::Session => (SESSION_COOKIE_NAME, SESSION_COOKIE_NAME_PLAIN),
    }
}

/// The `Set-Cookie` value that keeps a token; `lifetime` zero removes it.
#[must_use]
pub fn set_cookie(kind: token::Kind, token: &str, lifetime: Millis, https: bool) -> String {
    let (prefixed, plain) = cookie_names(kind);
    let (name, secure) = if https {
        (prefixed, "; Secure")
    } else {
        (plain, "")
    };
    format!(
        "{name}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
        lifetime.secs()
    )
}

/// The `Set-Cookie` value that keeps a visitor's id; `None` without a key to sign with.
#[must_use]
pub fn visitor_cookie(
    id: &str,
    random: &[u8; ID_BYTES],
    trust: Trust<'_>,
    now: Millis,
    https: bool,
) -> Option<String> {
    let claims = Claims {
        subject: id.to_owned(),
        tenant: trust.expected.tenant.to_owned(),
        issuer: trust.expected.issuer.to_owned(),
        id: prefixed("tok", random),
        issued: now,
        expires: now.plus(VISITOR_TTL),
        origin: None,
        tier: None,
        site_key: None,
        began: None,
    };
    let token = token::write(token::Kind::Visitor, &claims, trust.keys)?;
    Some(set_cookie(token::Kind::Visitor, &token, VISITOR_TTL, https))
}
