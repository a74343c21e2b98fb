//! Short-lived signed tokens: JWT (RFC 7519) as RFC 8725 wants them.
//!
//! One algorithm (HS256), one kind of key, one form (compact), and a `typ` for each kind of token, so that none can
//! stand in for another. The header may hold `alg`, `typ` and `kid` and nothing else: whatever could make a reader
//! fetch, unpack or trust something (`jku`, `jwk`, `x5u`, `x5c`, `crit`, `zip`, `b64`) is refused unread.

use serde_json::{Map, Value, json};

use crate::base::digest::{Bytes32, base64url, constant_time_eq, from_base64url, hmac_sha256};
use crate::base::json::{Limits, parse_object};
use crate::base::secret::Secret;
use crate::base::time::Millis;

/// The one audience.
pub const AUDIENCE: &str = "gatehouse";
/// How far the clocks of two places may differ: a token issued so far in the future is good already. It does not
/// lengthen a token's life: what is revoked is remembered until `exp`.
pub const LEEWAY: Millis = Millis::from_secs(60);
/// The longest token that is read, in characters. Two origins, a tenant's name and the rest come to about 1,400.
pub const MAX_CHARS: usize = 2048;

/// A header or a payload is one flat object.
const FLAT: Limits = Limits {
    depth: 2,
    values: 32,
};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shows that a visitor was let in.
    Session,
    /// Keeps a visitor's id; only ever a cookie.
    Visitor,
}

impl Kind {
    /// Its `typ`.
    const fn typ(self) -> &'static str {
        match self {
            Self::Session => "session+jwt",
            Self::Visitor => "visitor+jwt",
        }
    }

    /// No token of this kind may live longer, whatever it says.
    #[must_use]
    pub const fn longest(self) -> Millis {
        match self {
            Self::Session => Millis::from_secs(86_400), // 24 h × 3600 s, the most that the configuration allows
            Self::Visitor => super::VISITOR_TTL,
        }
    }
}

/// What a token says. Its times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: the visitor's id.
    pub subject: String,
    /// `ten`
    pub tenant: String,
    /// `iss`: the origin that issued it.
    pub issuer: String,
    /// `jti`: the token's own id, by which it can be revoked.
    pub id: String,
    /// `iat`
    pub issued: Millis,
    /// `exp`: the first moment at which it is void.
    pub expires: Millis,
    /// `org`: the origin that it was given to.
    pub origin: Option<String>,
    /// `tie`: the tier of the site key that it was made with.
    pub tier: Option<String>,
    /// `key`: the site key that it was made with.
    pub site_key: Option<String>,
    /// `auth_time`: when the first session of a row of renewals was made; none in tokens of before there was such a claim.
    pub began: Option<Millis>,
}

/// Keys by `kid`. The first signs, all of them verify: two during a rotation.
#[derive(Clone, Copy)]
pub struct Keys<'a>(pub &'a [(&'a str, &'a Secret<Bytes32>)]);

/// What a token must have been issued for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The own origin.
    pub issuer: &'a str,
    /// The tenant.
    pub tenant: &'a str,
}

/// Why a token is void: for the log of the operator. Callers answer all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not three parts of base64url, or too long.
    Form,
    /// A header that is no object, or with a member that is not known.
    Header,
    /// Not HS256.
    Algorithm,
    /// Of another kind.
    Type,
    /// Signed by a key that is not there.
    Key,
    /// Not signed by that key.
    Signature,
    /// A claim is missing or of the wrong type.
    Claims,
    /// Issued by another origin.
    Issuer,
    /// Issued for somebody else.
    Audience,
    /// Issued for another tenant.
    Tenant,
    /// Over.
    Expired,
    /// From the future.
    Early,
    /// Longer than its kind may live.
    Long,
}

impl Fault {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Tenant => "tenant",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Long => "long",
        }
    }
}

/// Writes a token; `None` without a key.
#[must_use]
pub fn write(kind: Kind, claims: &Claims, keys: Keys<'_>) -> Option<String> {
    let (kid, key) = keys.0.first()?;
    let header = json!({"alg": "HS256", "typ": kind.typ(), "kid": kid});
    let mut payload = json!({
        "iss": claims.issuer,
        "aud": AUDIENCE,
        "sub": claims.subject,
        "ten": claims.tenant,
        "jti": claims.id,
        "iat": claims.issued.secs(),
        "exp": claims.expires.secs(),
    });
    if let (Some(origin), Value::Object(members)) = (&claims.origin, &mut payload) {
        members.insert("org".to_owned(), origin.as_str().into());
    }
    if let (Some(tier), Value::Object(members)) = (&claims.tier, &mut payload) {
        members.insert("tie".to_owned(), tier.as_str().into());
    }
    if let (Some(key), Value::Object(members)) = (&claims.site_key, &mut payload) {
        members.insert("key".to_owned(), key.as_str().into());
    }
    if let (Some(began), Value::Object(members)) = (claims.began, &mut payload) {
        members.insert("auth_time".to_owned(), began.secs().into());
    }
    let mut text = base64url(header.to_string().as_bytes());
    text.push('.');
    text.push_str(&base64url(payload.to_string().as_bytes()));
    let mac = hmac_sha256(key.reveal(), text.as_bytes());
    text.push('.');
    text.push_str(&base64url(&mac));
    (text.len() <= MAX_CHARS).then_some(text)
}

/// Reads a token of that kind.
///
/// # Errors
/// The first [`Fault`]; nothing of the payload is looked at before the signature has been verified.
pub fn read(
    kind: Kind,
    text: &str,
    keys: Keys<'_>,
    expected: Expected<'_>,
    now: Millis,
) -> Result<Claims, Fault> {
    let (typ, payload) = open(text, keys)?;
    if typ.as_deref() != Some(kind.typ()) {
        return Err(Fault::Type);
    }
    let members = parse_object(&payload, FLAT).map_err(|_| Fault::Claims)?;
    let claims = claims(&members).ok_or(Fault::Claims)?;
    if members.get("aud").and_then(Value::as_str) != Some(AUDIENCE) {
        return Err(Fault::Audience);
    }
    if claims.issuer != expected.issuer {
        return Err(Fault::Issuer);
    }
    if claims.tenant != expected.tenant {
        return Err(Fault::Tenant);
    }
    let not_before = match members.get("nbf") {
        Some(value) => seconds(value).ok_or(Fault::Claims)?,
        None => claims.issued,
    };
    if claims.issued.max(not_before) > now.plus(LEEWAY) {
        return Err(Fault::Early);
    }
    if now >= claims.expires {
        return Err(Fault::Expired);
    }
    if claims.expires.since(claims.issued) > kind.longest() {
        return Err(Fault::Long);
    }
    Ok(claims)
}

/// The signed text in compact form (RFC 7515 §7.1): its `typ` and its payload, once the signature is verified.
///
/// # Errors
/// `Form`, `Header`, `Algorithm`, `Key` or `Signature`.
pub fn open(text: &str, keys: Keys<'_>) -> Result<(Option<String>, Vec<u8>), Fault> {
    if text.len() > MAX_CHARS {
        return Err(Fault::Form);
    }
    // One split: what is verified is what is read.
    let (signed, signature) = text.rsplit_once('.').ok_or(Fault::Form)?;
    let (header, payload) = signed.split_once('.').ok_or(Fault::Form)?;
    // The decoder takes [A-Za-z0-9_-] alone, without padding or spare bits: a text has one form.
    let [header, payload, signature] = [header, payload, signature].map(from_base64url);
    let (Some(header), Some(payload), Some(signature)) = (header, payload, signature) else {
        return Err(Fault::Form);
    };
    let mut header = parse_object(&header, FLAT).map_err(|_| Fault::Header)?;
    let known = |name: &String| matches!(name.as_str(), "alg" | "typ" | "kid");
    if !header.keys().all(known) {
        return Err(Fault::Header);
    }
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(Fault::Algorithm);
    }
    let kid = header.get("kid").and_then(Value::as_str);
    let key = keys.0.iter().find(|(name, _)| Some(*name) == kid);
    let (_, key) = key.ok_or(Fault::Key)?;
    let expected = hmac_sha256(key.reveal(), signed.as_bytes());
    if !constant_time_eq(&signature, &expected) {
        return Err(Fault::Signature);
    }
    let typ = match header.remove("typ") {
        Some(Value::String(typ)) => Some(typ),
        Some(_) => return Err(Fault::Header),
        None => None,
    };
    Ok((typ, payload))
}

fn claims(members: &Map<String, Value>) -> Option<Claims> {
    let text = |name: &str| {
        let text = members.get(name)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    Some(Claims {
        subject: text("sub").filter(|id| super::is_visitor_id(id))?,
        tenant: text("ten")?,
        issuer: text("iss")?,
        id: text("jti")?,
        issued: seconds(members.get("iat")?)?,
        expires: seconds(members.get("exp")?)?,
        origin: match members.get("org") {
            Some(_) => Some(text("org")?),
            None => None,
        },
        tier: text("tie"),
        site_key: text("key"),
        began: match members.get("auth_time") {
            Some(value) => Some(seconds(value)?),
            None => None,
        },
    })
}

/// A NumericDate (RFC 7519 §2), whole and not before 1970.
fn seconds(value: &Value) -> Option<Millis> {
    value.as_u64().map(Millis::from_secs)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Claims, Expected, Fault, Keys, Kind, MAX_CHARS, read, write};
    use crate::base::digest::{base64url, hmac_sha256};
    use crate::base::secret::Secret;
    use crate::base::time::Millis;

    const NOW: Millis = Millis(1_800_000_000_000);
    const HERE: Expected<'_> = Expected {
        issuer: "https://house.example",
        tenant: "default",
    };

    fn key(byte: u8) -> Secret<[u8; 32]> {
        Secret::new([byte; 32])
    }

    fn sample() -> Claims {
        Claims {
            tier: None,
            site_key: None,
            began: None,
            subject: "vis_00112233445566778899aabbccddeeff".into(),
            tenant: "default".into(),
            issuer: "https://house.example".into(),
            id: "ses_1".into(),
            issued: NOW,
            expires: NOW.plus(Millis::from_secs(900)),
            origin: Some("https://page.example".into()),
        }
    }

    fn payload() -> Value {
        json!({
            "iss": HERE.issuer, "aud": "gatehouse", "sub": sample().subject, "ten": "default",
            "jti": "ses_1", "iat": NOW.secs(), "exp": NOW.secs() + 900,
        })
    }

    /// A well signed token with these texts inside.
    fn crafted(header: &str, payload: &str) -> String {
        let signed = format!(
            "{}.{}",
            base64url(header.as_bytes()),
            base64url(payload.as_bytes())
        );
        let mac = hmac_sha256(&[1; 32], signed.as_bytes());
        format!("{signed}.{}", base64url(&mac))
    }

    fn ask(text: &str) -> Result<Claims, Fault> {
        ask_at(text, NOW)
    }

    fn ask_at(text: &str, now: Millis) -> Result<Claims, Fault> {
        read(Kind::Session, text, Keys(&[("k1", &key(1))]), HERE, now)
    }

    const HEADER: &str = r#"{"alg":"HS256","typ":"session+jwt","kid":"k1"}"#;

    #[test]
    fn the_stored_form_is_pinned() {
        // Made by another implementation of HMAC and base64url.
        let text = write(Kind::Session, &sample(), Keys(&[("k1", &key(1))])).unwrap();
        assert_eq!(
            text,
            "eyJhbGciOiJIUzI1NiIsInR5cCI6InNlc3Npb24rand0Iiwia2lkIjoiazEifQ.eyJpc3MiOiJodHRwczovL2hvdXNlLmV4YW1wbGUiLCJhdWQiOiJnYXRlaG91c2UiLCJzdWIiOiJ2aXNfMDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmYiLCJ0ZW4iOiJkZWZhdWx0IiwianRpIjoic2VzXzEiLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMDkwMCwib3JnIjoiaHR0cHM6Ly9wYWdlLmV4YW1wbGUifQ.8NkMpr0ve_Nlb67uRsNkcqfAKMUW0Dkl5Bi32BnEZew"
        );
        assert_eq!(ask(&text), Ok(sample()));
    }

    #[test]
    fn every_changed_character_is_refused() {
        let text = write(Kind::Session, &sample(), Keys(&[("k1", &key(1))])).unwrap();
        for i in 0..text.len() {
            for other in ["A", "B", "_", "-", ".", "=", "+", "/", " ", "\n", "%"] {
                if &text[i..=i] == other {
                    continue;
                }
                let changed = format!("{}{other}{}", &text[..i], &text[i + 1..]);
                assert!(ask(&changed).is_err(), "{changed}");
                let longer = format!("{}{other}{}", &text[..i], &text[i..]);
                assert!(ask(&longer).is_err(), "{longer}");
            }
            assert!(ask(&text[..i]).is_err());
        }
    }

    #[test]
    fn a_header_that_wants_anything_else_is_refused() {
        let claims = payload().to_string();
        assert!(ask(&crafted(HEADER, &claims)).is_ok());
        for (fault, header) in [
            (Fault::Algorithm, json!({"alg": "none"})),
            (Fault::Algorithm, json!({"alg": "noNE"})),
            (Fault::Algorithm, json!({"alg": "hs256"})),
            (Fault::Algorithm, json!({"alg": "HS512"})),
            (Fault::Algorithm, json!({"alg": "RS256"})),
            (Fault::Algorithm, json!({"alg": ["HS256"]})),
            (Fault::Algorithm, json!({"alg": null})),
            (Fault::Type, json!({"typ": "visitor+jwt"})),
            (Fault::Type, json!({"typ": "JWT"})),
            (Fault::Type, json!({"typ": "Session+JWT"})),
            (Fault::Type, json!({"typ": "application/session+jwt"})),
            (Fault::Header, json!({"typ": 1})),
            (Fault::Key, json!({"kid": "k2"})),
            (Fault::Key, json!({"kid": "../../dev/null"})),
            (Fault::Key, json!({"kid": "k1' OR '1'='1"})),
            (Fault::Key, json!({"kid": 1})),
            (Fault::Key, json!({"kid": ""})),
            (Fault::Header, json!({"crit": ["exp"]})),
            (Fault::Header, json!({"crit": []})),
            (Fault::Header, json!({"b64": false})),
            (Fault::Header, json!({"zip": "DEF"})),
            (Fault::Header, json!({"enc": "A256GCM"})),
            (Fault::Header, json!({"cty": "JWT"})),
            (Fault::Header, json!({"jku": "https://evil.example/keys"})),
            (Fault::Header, json!({"jwk": {"kty": "oct", "k": "AQEB"}})),
            (Fault::Header, json!({"x5u": "https://evil.example/c"})),
            (Fault::Header, json!({"x5c": ["MIIB"]})),
            (Fault::Header, json!({"x5t": "a"})),
        ] {
            let mut members: Value = serde_json::from_str(HEADER).unwrap();
            for (name, value) in header.as_object().unwrap() {
                members[name] = value.clone();
            }
            let text = crafted(&members.to_string(), &claims);
            assert_eq!(ask(&text), Err(fault), "{members}");
        }
        for header in [
            r#"{"alg":"HS256","typ":"session+jwt","kid":"k1","kid":"k1"}"#,
            r#"{"alg":"none","typ":"session+jwt","kid":"k1","alg":"HS256"}"#,
            r#"["HS256"]"#,
            r#"{"alg":"HS256","typ":"session+jwt","kid":"k1"} "x""#,
            "",
        ] {
            assert_eq!(
                ask(&crafted(header, &claims)),
                Err(Fault::Header),
                "{header}"
            );
        }
        for (missing, fault) in [
            ("alg", Fault::Algorithm),
            ("typ", Fault::Type),
            ("kid", Fault::Key),
        ] {
            let mut members: Value = serde_json::from_str(HEADER).unwrap();
            members.as_object_mut().unwrap().remove(missing);
            assert_eq!(ask(&crafted(&members.to_string(), &claims)), Err(fault));
        }
    }

    #[test]
    fn other_serializations_are_refused() {
        let text = crafted(HEADER, &payload().to_string());
        let parts: Vec<&str> = text.split('.').collect();
        let flattened =
            json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string();
        for text in [
            flattened,
            format!("{}..{}", parts[0], parts[2]),
            format!(".{}.{}", parts[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{text}."),
            format!("{text}.{}", parts[2]),
            format!("{text}.{}.{}", parts[1], parts[2]),
            format!("{text}="),
            format!(" {text}"),
            format!("{}.{}=.{}", parts[0], parts[1], parts[2]),
            String::new(),
            "..".into(),
            ".".repeat(MAX_CHARS + 1),
        ] {
            assert!(ask(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_claim_is_checked() {
        let now = NOW.secs();
        for (fault, claim) in [
            (
                Fault::Issuer,
                json!({"iss": "https://house.example.evil.example"}),
            ),
            (Fault::Issuer, json!({"iss": "https://house.example/"})),
            (Fault::Issuer, json!({"iss": "http://house.example"})),
            (Fault::Audience, json!({"aud": "other"})),
            (Fault::Audience, json!({"aud": ["gatehouse"]})),
            (Fault::Audience, json!({"aud": null})),
            (Fault::Tenant, json!({"ten": "acme"})),
            (Fault::Claims, json!({"ten": ""})),
            (Fault::Claims, json!({"sub": ""})),
            (Fault::Claims, json!({"sub": "key_1"})),
            (Fault::Claims, json!({"sub": "vis_../../tenant"})),
            (Fault::Claims, json!({"sub": 7})),
            (Fault::Claims, json!({"jti": ""})),
            (Fault::Claims, json!({"jti": null})),
            (Fault::Claims, json!({"org": ""})),
            (Fault::Claims, json!({"org": null})),
            (Fault::Claims, json!({"exp": "1900000000"})),
            (Fault::Claims, json!({"exp": 1.9e9})),
            (Fault::Claims, json!({"exp": -1})),
            (Fault::Claims, json!({"exp": null})),
            (Fault::Claims, json!({"iat": -1})),
            (Fault::Claims, json!({"nbf": "1"})),
            (Fault::Expired, json!({"exp": now})),
            (Fault::Expired, json!({"exp": now - 1})),
            (Fault::Expired, json!({"exp": 0})),
            (Fault::Early, json!({"iat": now + 61})),
            (Fault::Early, json!({"nbf": now + 61})),
            (Fault::Early, json!({"nbf": u64::MAX})),
            (Fault::Long, json!({"exp": now + 86_401})),
            (Fault::Long, json!({"exp": u64::MAX})),
            (Fault::Long, json!({"iat": 0})),
        ] {
            let mut members = payload();
            for (name, value) in claim.as_object().unwrap() {
                members[name] = value.clone();
            }
            let text = crafted(HEADER, &members.to_string());
            assert_eq!(ask(&text), Err(fault), "{members}");
        }
        for missing in ["iss", "sub", "ten", "jti", "iat", "exp"] {
            let mut members = payload();
            members.as_object_mut().unwrap().remove(missing);
            let text = crafted(HEADER, &members.to_string());
            assert_eq!(ask(&text), Err(Fault::Claims), "{missing}");
        }
        let twice = payload().to_string().replace(
            "\"ten\":\"default\"",
            "\"ten\":\"acme\",\"ten\":\"default\"",
        );
        assert_eq!(ask(&crafted(HEADER, &twice)), Err(Fault::Claims));
    }

    #[test]
    fn clocks_may_differ_by_a_minute_and_no_token_lives_longer_for_it() {
        let text = write(Kind::Session, &sample(), Keys(&[("k1", &key(1))])).unwrap();
        assert!(ask_at(&text, Millis(NOW.0 - 60_000)).is_ok());
        assert_eq!(ask_at(&text, Millis(NOW.0 - 60_001)), Err(Fault::Early));
        assert!(ask_at(&text, Millis(NOW.0 + 899_999)).is_ok());
        assert_eq!(ask_at(&text, Millis(NOW.0 + 900_000)), Err(Fault::Expired));
        assert_eq!(ask_at(&text, Millis(u64::MAX)), Err(Fault::Expired));
    }

    #[test]
    fn two_keys_are_good_during_a_rotation_and_the_first_signs() {
        let (old, new) = (key(1), key(2));
        let text = write(Kind::Session, &sample(), Keys(&[("k1", &old)])).unwrap();
        let both = Keys(&[("k2", &new), ("k1", &old)]);
        assert!(read(Kind::Session, &text, both, HERE, NOW).is_ok());
        let renewed = write(Kind::Session, &sample(), both).unwrap();
        assert_eq!(ask(&renewed), Err(Fault::Key));
        let after = Keys(&[("k2", &new)]);
        assert!(read(Kind::Session, &renewed, after, HERE, NOW).is_ok());
        assert_eq!(
            read(Kind::Session, &text, after, HERE, NOW),
            Err(Fault::Key)
        );
        // The key's name does not make the key.
        assert_eq!(
            read(Kind::Session, &text, Keys(&[("k1", &new)]), HERE, NOW),
            Err(Fault::Signature)
        );
        assert_eq!(write(Kind::Session, &sample(), Keys(&[])), None);
    }

    #[test]
    fn a_token_of_one_kind_is_none_of_the_other() {
        let own = key(1);
        let keys = Keys(&[("k1", &own)]);
        for (kind, other) in [
            (Kind::Session, Kind::Visitor),
            (Kind::Visitor, Kind::Session),
        ] {
            let text = write(kind, &sample(), keys).unwrap();
            assert!(read(kind, &text, keys, HERE, NOW).is_ok());
            assert_eq!(read(other, &text, keys, HERE, NOW), Err(Fault::Type));
        }
    }
}
