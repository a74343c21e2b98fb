//! Presented credential → [`Principal`], and the cookies that make a visitor recognisable.
//!
//! [`presented`] reads what a request carries without knowing anybody. Visitors are then known by tokens alone
//! ([`visitor_of_cookies`], [`visitor_of_session`]); API keys are looked up by their id. A cookie that is not good counts
//! as none, since browsers send it unasked; any other credential that is not good refuses the request.

pub mod api_key;
pub mod key_record;
pub mod operators;
pub mod proof;
pub mod recovery;
pub mod roles;
pub mod signature;
pub mod site_key;
pub mod token;
pub mod totp;
pub mod turnstile;
mod visitor;

use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use api_key::ParsedKey;
pub use visitor::{
    COOKIE_NAME, COOKIE_NAME_PLAIN, RENEW_AFTER, SESSION_COOKIE_NAME, SESSION_COOKIE_NAME_PLAIN,
    Trust, VISITOR_TTL, is_visitor_id, new_visitor, set_cookie, visitor_cookie, visitor_of_cookies,
    visitor_of_session,
};

/// The documented placeholder key: SDKs insist on a key, a page has none.
pub const PLACEHOLDER_KEY: &str = "visitor";

/// Who is calling.
#[derive(Clone, Debug, PartialEq)]
pub enum Principal {
    /// Known by network address alone.
    Anonymous,
    /// A browser that presented our cookie or a session.
    Visitor {
        /// Outlives every token format.
        id: String,
        /// When the token that named it was made.
        issued: Millis,
        /// The session that it is in.
        session: Option<SessionClaims>,
    },
    /// A machine with an API key.
    Key(Box<key_record::View>),
}

/// What a session's token says of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    /// The token's id, by which it can be revoked.
    pub id: String,
    /// When it was issued, in whole seconds: before an epoch of revocation it is void.
    pub issued: Millis,
    /// When it ends.
    pub expires: Millis,
    /// The origin that it was given to.
    pub origin: Option<String>,
    /// The tier of the site key that it was made with.
    pub tier: Option<String>,
    /// The site key that it was made with.
    pub site_key: Option<String>,
    /// When the first session of this row of renewals was made.
    pub began: Millis,
}

impl SessionClaims {
    /// May a page of that origin use it? A token that another page got hold of is of no use there; programs, which send
    /// no `Origin`, are not held by this.
    #[must_use]
    pub fn fits(&self, origin: Option<&str>) -> bool {
        match (&self.origin, origin) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        }
    }
}

impl Principal {
    /// The word in the log line.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Visitor { .. } => "visitor",
            Self::Key(_) => "key",
        }
    }
}

/// The headers of a request that can say who calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// `authorization`
    pub authorization: Option<&'a str>,
    /// `x-api-key`
    pub api_key: Option<&'a str>,
    /// `cookie`
    pub cookie: Option<&'a str>,
    /// Is there a `signature-input`?
    pub signed: bool,
    /// Did it come over https? Then only cookies with the `__Host-` prefix count: a neighbouring host can plant others.
    pub https: bool,
}

/// What a request presented, read and not yet believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// No credential, or the placeholder.
    Nothing,
    /// Cookies of ours, at least one.
    Cookies {
        /// The one that keeps the visitor's id.
        visitor: Option<&'a str>,
        /// The one of the session.
        session: Option<&'a str>,
    },
    /// A session's token.
    Session(&'a str),
    /// An API key.
    Key(ParsedKey<'a>),
    /// An operator's key: for signing in, nowhere else.
    Operator(ParsedKey<'a>),
    /// Signature fields (RFC 9421).
    Signed,
}

/// Reads what a request presents. A credential beside the placeholder is the credential, one that comes in both headers
/// is one, and cookies count only when there is no other.
///
/// # Errors
/// `invalid_credentials` for what has no form of ours, twice the same header, or two different credentials; the answer is
/// the same for all of them.
pub fn presented(credentials: Credentials<'_>) -> Result<Presented<'_>, Refusal> {
    let invalid = || Refusal::new(Code::InvalidCredentials);
    let bearer = match credentials.authorization {
        Some(header) => Some(bearer_token(header).ok_or_else(invalid)?),
        None => None,
    };
    let mut found = None;
    for text in [bearer, credentials.api_key.map(str::trim)]
        .into_iter()
        .flatten()
    {
        if text == PLACEHOLDER_KEY {
            continue;
        }
        let read = credential(text).ok_or_else(invalid)?;
        if found.replace(read).is_some_and(|other| other != read) {
            return Err(invalid());
        }
    }
    match (found, credentials.signed) {
        (Some(_), true) => Err(invalid()),
        (Some(found), false) => Ok(found),
        (None, true) => Ok(Presented::Signed),
        (None, false) => Ok(cookies(credentials)),
    }
}

/// A key or a token by its form. A header that came twice has a comma, which neither has.
fn credential(text: &str) -> Option<Presented<'_>> {
    if let Some(key) = api_key::parse(text) {
        return match key.kind {
            api_key::Kind::Api => Some(Presented::Key(key)),
            api_key::Kind::Operator => Some(Presented::Operator(key)),
            api_key::Kind::Invite => None,
        };
    }
    let token = text.len() <= token::MAX_CHARS
        && text.split('.').count() == 3
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    token.then_some(Presented::Session(text))
}

/// The token of an `Authorization: Bearer …` header; `None` when it is of another form.
fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookies(credentials: Credentials<'_>) -> Presented<'_> {
    let value = |kind| cookie_value(credentials.cookie?, kind, credentials.https);
    match (value(token::Kind::Visitor), value(token::Kind::Session)) {
        (None, None) => Presented::Nothing,
        (visitor, session) => Presented::Cookies { visitor, session },
    }
}

fn cookie_value(header: &str, kind: token::Kind, https: bool) -> Option<&str> {
    let find = |wanted: &str| {
        header
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    let (prefixed, plain) = visitor::cookie_names(kind);
    find(prefixed).or_else(|| find(plain).filter(|_| !https))
}

/// May this request change something that belongs to the cookie's visitor? Browsers tell where a request comes from;
/// a request without either header does not come from a page.
///
/// # Errors
/// `cross_site_refused` when a browser says that another site sent it.
pub fn same_site(
    origin: Option<&str>,
    fetch_site: Option<&str>,
    own_origin: &str,
) -> Result<(), Refusal> {
    let foreign_origin = origin.is_some_and(|origin| origin != own_origin);
    let foreign_site = fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if foreign_origin || foreign_site {
        Err(Refusal::new(Code::CrossSiteRefused))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
