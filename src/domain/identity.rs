//! Presented credential → [`Principal`], and the signed cookie that makes a visitor recognisable.

use crate::base::digest::{Bytes32, base64url, constant_time_eq, from_base64url, hmac_sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::ids::{ID_BYTES, prefixed};
use crate::base::secret::Secret;
use crate::base::time::Millis;

/// The documented placeholder key: SDKs insist on a key, a page has none.
pub const PLACEHOLDER_KEY: &str = "visitor";

/// How long a visitor's cookie is good for: 30 d × 86,400 s.
pub const VISITOR_TTL: Millis = Millis::from_secs(2_592_000);

/// A cookie older than this is renewed on the next answer that sets cookies anyway.
pub const RENEW_AFTER: Millis = Millis::from_secs(86_400);

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Known by network address alone.
    Anonymous,
    /// A browser that presented our cookie.
    Visitor {
        /// Outlives every token format.
        id: String,
        /// When the cookie was made.
        issued: Millis,
    },
}

impl Principal {
    /// The word in the log line.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Visitor { .. } => "visitor",
        }
    }
}

/// What the request presented.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// `authorization`
    pub authorization: Option<&'a str>,
    /// `x-api-key`
    pub api_key: Option<&'a str>,
    /// `cookie`
    pub cookie: Option<&'a str>,
}

/// Finds out who is calling. Without a credential, or with the placeholder, the cookie decides; a cookie that is
/// malformed, forged or expired counts as none.
///
/// # Errors
/// `invalid_credentials` for any other credential; the answer is the same whatever is wrong with it.
pub fn principal(
    credentials: Credentials<'_>,
    cookie_key: Option<&Secret<Bytes32>>,
    now: Millis,
) -> Result<Principal, Refusal> {
    let bearer = credentials.authorization.map(bearer_token);
    for presented in [bearer, credentials.api_key.map(Some)]
        .into_iter()
        .flatten()
    {
        if presented != Some(PLACEHOLDER_KEY) {
            return Err(Refusal::new(Code::InvalidCredentials));
        }
    }
    let visitor = cookie_key.and_then(|key| {
        cookie_value(credentials.cookie?).and_then(|token| read_visitor(token, key, now))
    });
    Ok(visitor.unwrap_or(Principal::Anonymous))
}

/// The token of an `Authorization: Bearer …` header; `None` when it is of another form.
fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A new visitor.
#[must_use]
pub fn new_visitor(random: &[u8; ID_BYTES], now: Millis) -> Principal {
    Principal::Visitor {
        id: prefixed("vis", random),
        issued: now,
    }
}

/// Cookie name over https: the prefix binds it to this host, path `/` and TLS (RFC 6265bis §4.1.3.2).
pub const COOKIE_NAME: &str = "__Host-gatehouse";
/// Cookie name over plain http on a developer's machine, where the prefix is refused.
pub const COOKIE_NAME_PLAIN: &str = "gatehouse";

/// The `Set-Cookie` value for a visitor.
#[must_use]
pub fn set_cookie(id: &str, issued: Millis, key: &Secret<Bytes32>, https: bool) -> String {
    let token = write_visitor(id, issued, key);
    let (name, secure) = if https {
        (COOKIE_NAME, "; Secure")
    } else {
        (COOKIE_NAME_PLAIN, "")
    };
    format!(
        "{name}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
        VISITOR_TTL.secs()
    )
}

/// `v1.<id>.<issued seconds>.<HMAC-SHA-256 in base64url>`
fn write_visitor(id: &str, issued: Millis, key: &Secret<Bytes32>) -> String {
    let signed = format!("v1.{id}.{}", issued.secs());
    let mac = hmac_sha256(key.reveal(), signed.as_bytes());
    format!("{signed}.{}", base64url(&mac))
}

fn read_visitor(token: &str, key: &Secret<Bytes32>, now: Millis) -> Option<Principal> {
    let (signed, mac) = token.rsplit_once('.')?;
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
    (now < issued.plus(VISITOR_TTL)).then(|| Principal::Visitor {
        id: id.to_owned(),
        issued,
    })
}

fn cookie_value(header: &str) -> Option<&str> {
    let find = |wanted: &str| {
        header
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    find(COOKIE_NAME).or_else(|| find(COOKIE_NAME_PLAIN))
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
mod tests {
    use super::{
        Credentials, Principal, cookie_value, new_visitor, principal, same_site, set_cookie,
    };
    use crate::base::errors::Code;
    use crate::base::secret::Secret;
    use crate::base::time::Millis;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn bearer(header: &str) -> Credentials<'_> {
        Credentials {
            authorization: Some(header),
            ..Credentials::default()
        }
    }

    #[test]
    fn the_placeholder_means_no_credential() {
        for credentials in [
            Credentials::default(),
            bearer("Bearer visitor"),
            bearer("bearer  visitor "),
            Credentials {
                api_key: Some("visitor"),
                ..Credentials::default()
            },
        ] {
            assert_eq!(principal(credentials, None, NOW), Ok(Principal::Anonymous));
        }
    }

    #[test]
    fn any_other_credential_is_refused() {
        for header in [
            "Bearer sk-1",
            "Basic dmlzaXRvcg==",
            "visitor",
            "",
            "Bearer visitor, Bearer x",
        ] {
            let refused = principal(bearer(header), None, NOW).unwrap_err();
            assert_eq!(refused.code, Code::InvalidCredentials, "{header}");
            assert_eq!(
                refused.detail, None,
                "the answer does not tell what is wrong"
            );
        }
        let both = Credentials {
            authorization: Some("Bearer visitor"),
            api_key: Some("sk-1"),
            cookie: None,
        };
        assert!(principal(both, None, NOW).is_err());
    }

    #[test]
    fn a_cookie_names_its_visitor_until_it_expires_or_is_changed() {
        let key = Secret::new([9u8; 32]);
        let Principal::Visitor { id, issued } = new_visitor(&[1; 16], NOW) else {
            panic!()
        };
        let header = set_cookie(&id, issued, &key, true);
        assert!(header.starts_with("__Host-gatehouse=v1.vis_"));
        assert!(header.contains("HttpOnly; SameSite=Strict; Secure"));
        let pair = header.split(';').next().unwrap().to_owned();
        let ask = |cookie: &str, key: &Secret<[u8; 32]>, now| {
            principal(
                Credentials {
                    cookie: Some(cookie),
                    ..Credentials::default()
                },
                Some(key),
                now,
            )
            .unwrap()
        };
        assert!(
            matches!(ask(&format!("a=b; {pair}"), &key, NOW), Principal::Visitor { id: found, .. } if found == id)
        );
        assert_eq!(ask(&pair, &Secret::new([8; 32]), NOW), Principal::Anonymous);
        assert_eq!(
            ask(&pair, &key, Millis(NOW.0 + 31 * 86_400_000)),
            Principal::Anonymous
        );
        for i in 17..pair.len() {
            let mut bytes = pair.clone().into_bytes();
            bytes[i] = if bytes[i] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(bytes).unwrap();
            assert_eq!(ask(&forged, &key, NOW), Principal::Anonymous, "byte {i}");
        }
    }

    #[test]
    fn the_prefixed_cookie_wins() {
        assert_eq!(cookie_value("gatehouse=a; __Host-gatehouse=b"), Some("b"));
        assert_eq!(cookie_value("gatehouse=a"), Some("a"));
        assert_eq!(cookie_value("xgatehouse=a"), None);
    }

    #[test]
    fn writes_from_other_sites_are_refused() {
        let own = "https://house.example";
        assert!(same_site(None, None, own).is_ok());
        assert!(same_site(Some(own), Some("same-origin"), own).is_ok());
        for (origin, site) in [
            (Some("https://evil.example"), None),
            (Some("null"), None),
            (
                Some("https://house.example.evil.example"),
                Some("same-origin"),
            ),
            (None, Some("cross-site")),
            (None, Some("same-site")),
        ] {
            assert_eq!(
                same_site(origin, site, own).unwrap_err().code,
                Code::CrossSiteRefused
            );
        }
    }
}
