use super::api_key::{Env, Kind as KeyKind, make};
use super::token::{self, Claims, Expected, Keys};
use super::{
    Credentials, Presented, Principal, SessionClaims, Trust, VISITOR_TTL, is_visitor_id,
    new_visitor, presented, same_site, set_cookie, visitor_cookie, visitor_of_cookies,
    visitor_of_session,
};
use crate::base::digest::{base64url, hmac_sha256};
use crate::base::errors::Code;
use crate::base::secret::Secret;
use crate::base::time::Millis;

const NOW: Millis = Millis(1_800_000_000_000);
const VISITOR: &str = "vis_01010101010101010101010101010101";
const OTHER: &str = "vis_02020202020202020202020202020202";

fn bearer(header: &str) -> Credentials<'_> {
    Credentials {
        authorization: Some(header),
        ..Credentials::default()
    }
}

fn cookie(header: &str) -> Credentials<'_> {
    Credentials {
        cookie: Some(header),
        ..Credentials::default()
    }
}

/// Runs with what tokens are held against; the old cookies' key is [9; 32].
fn trusting<T>(tenant: &str, run: impl FnOnce(Trust<'_>) -> T) -> T {
    let (key, old) = (Secret::new([1; 32]), Secret::new([9; 32]));
    run(Trust {
        keys: Keys(&[("k1", &key)]),
        expected: Expected {
            issuer: "https://house.example",
            tenant,
        },
        old_cookies: Some(&old),
    })
}

fn session_of(subject: &str, trust: Trust<'_>) -> String {
    let claims = Claims {
        tier: None,
        site_key: None,
        began: None,
        subject: subject.into(),
        tenant: trust.expected.tenant.into(),
        issuer: trust.expected.issuer.into(),
        id: "ses_1".into(),
        issued: NOW,
        expires: NOW.plus(Millis::from_secs(900)),
        origin: Some("https://page.example".into()),
    };
    token::write(token::Kind::Session, &claims, trust.keys).unwrap()
}

fn cookie_of(id: &str, trust: Trust<'_>) -> String {
    let header = visitor_cookie(id, &[7; 16], trust, NOW, true).unwrap();
    let pair = header.split(';').next().unwrap();
    pair.split_once('=').unwrap().1.to_owned()
}

fn old_cookie(id: &str) -> String {
    let signed = format!("v1.{id}.{}", NOW.secs());
    let mac = hmac_sha256(&[9; 32], signed.as_bytes());
    format!("{signed}.{}", base64url(&mac))
}

// === what is presented ===

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
        Credentials {
            api_key: Some("visitor"),
            ..bearer("Bearer visitor")
        },
        cookie("a=b; xgatehouse=c"),
    ] {
        assert_eq!(presented(credentials), Ok(Presented::Nothing));
    }
}

#[test]
fn what_has_no_form_of_ours_is_refused_and_the_answer_does_not_tell_why() {
    let key = make(KeyKind::Api, Env::Test, &[3; 44]);
    let key = key.text.reveal();
    let invite = make(KeyKind::Invite, Env::Test, &[3; 44]);
    let mut mistyped = key.clone();
    mistyped.pop();
    mistyped.push(if key.ends_with('0') { '1' } else { '0' });
    for header in [
        "Bearer sk-1",
        "Basic dmlzaXRvcg==",
        "visitor",
        "",
        "Bearer",
        "Bearer ",
        "Bearer visitor, Bearer x",
        "Bearer visitor, Bearer visitor",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer a.b.c, Bearer a.b.c",
        "Bearer a.b.ü",
        "Bearer pk_prd_0123456789abcdef",
        &format!("Bearer {}", "a".repeat(5000)),
        &format!("Bearer {}.b.c", "a".repeat(5000)),
        &format!("Bearer {key}, Bearer {key}"),
        &format!("Bearer {mistyped}"),
        &format!("Basic {key}"),
        &format!("Bearer {}", invite.text.reveal()),
    ] {
        let refused = presented(bearer(header)).unwrap_err();
        assert_eq!(refused.code, Code::InvalidCredentials, "{header}");
        assert_eq!((refused.detail, refused.cause), (None, None), "{header}");
    }
}

#[test]
fn a_credential_is_found_in_either_header_and_beside_the_placeholder() {
    let new = make(KeyKind::Api, Env::Production, &[3; 44]);
    let key = new.text.reveal().as_str();
    let header = format!("Bearer {key}");
    for (authorization, api_key) in [
        (Some(header.as_str()), None),
        (None, Some(key)),
        (Some("Bearer visitor"), Some(key)),
        (Some(header.as_str()), Some("visitor")),
        (Some(header.as_str()), Some(key)),
    ] {
        let read = presented(Credentials {
            authorization,
            api_key,
            // A browser sends its cookies unasked: they do not count beside a key.
            cookie: Some("gatehouse=x"),
            ..Credentials::default()
        });
        assert!(
            matches!(read, Ok(Presented::Key(key)) if key.id == new.id),
            "{read:?}"
        );
    }
    let operator = make(KeyKind::Operator, Env::Production, &[3; 44]);
    let header = format!("Bearer {}", operator.text.reveal());
    assert!(matches!(
        presented(bearer(&header)),
        Ok(Presented::Operator(_))
    ));
    assert_eq!(
        presented(bearer("Bearer a.b.c")),
        Ok(Presented::Session("a.b.c"))
    );
}

#[test]
fn two_different_credentials_are_refused() {
    let one = make(KeyKind::Api, Env::Test, &[3; 44]);
    let two = make(KeyKind::Api, Env::Test, &[4; 44]);
    let header = format!("Bearer {}", one.text.reveal());
    for other in [two.text.reveal().as_str(), "a.b.c", "sk-1", ""] {
        let both = Credentials {
            api_key: Some(other),
            ..bearer(&header)
        };
        let refused = presented(both).unwrap_err();
        assert_eq!(refused.code, Code::InvalidCredentials, "{other}");
    }
    let signed = |authorization| {
        presented(Credentials {
            authorization,
            signed: true,
            ..Credentials::default()
        })
    };
    assert!(signed(Some(header.as_str())).is_err());
    assert_eq!(signed(Some("Bearer visitor")), Ok(Presented::Signed));
    assert_eq!(signed(None), Ok(Presented::Signed));
}

#[test]
fn the_prefixed_cookie_wins_and_over_https_no_other_counts() {
    let visitor = |header, https| {
        let credentials = Credentials {
            https,
            ..cookie(header)
        };
        match presented(credentials).unwrap() {
            Presented::Cookies { visitor, session } => (visitor, session),
            _ => (None, None),
        }
    };
    let both = "gatehouse=a; __Host-gatehouse=b; gatehouse-session=c; __Host-gatehouse-session=d";
    assert_eq!(visitor(both, true), (Some("b"), Some("d")));
    assert_eq!(visitor(both, false), (Some("b"), Some("d")));
    assert_eq!(
        visitor("gatehouse=a; gatehouse-session=c", false),
        (Some("a"), Some("c"))
    );
    assert_eq!(
        visitor("gatehouse=a; gatehouse-session=c", true),
        (None, None)
    );
    assert_eq!(visitor("xgatehouse=a", false), (None, None));
}

// === visitors ===

#[test]
fn a_cookie_names_its_visitor_until_it_expires_or_is_changed() {
    trusting("default", |trust| {
        let header = visitor_cookie(VISITOR, &[7; 16], trust, NOW, true).unwrap();
        assert!(header.starts_with("__Host-gatehouse=ey"), "{header}");
        assert!(
            header.ends_with("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure"),
            "{header}"
        );
        let text = cookie_of(VISITOR, trust);
        let ask = |text: &str, now| visitor_of_cookies(Some(text), None, trust, now);
        let known = Principal::Visitor {
            id: VISITOR.into(),
            issued: NOW,
            session: None,
        };
        assert_eq!(ask(&text, NOW), known);
        let end = NOW.plus(VISITOR_TTL);
        assert_eq!(ask(&text, Millis(end.0 - 1)), known);
        assert_eq!(ask(&text, end), Principal::Anonymous);
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] = if bytes[i] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(bytes).unwrap();
            assert_eq!(ask(&forged, NOW), Principal::Anonymous, "byte {i}");
        }
        trusting("acme", |other| {
            let there = visitor_of_cookies(Some(&text), None, other, NOW);
            assert_eq!(there, Principal::Anonymous);
        });
    });
}

#[test]
fn a_cookie_of_the_old_form_still_names_its_visitor() {
    trusting("default", |trust| {
        let text = old_cookie(VISITOR);
        let ask = |text: &str, trust, now| visitor_of_cookies(Some(text), None, trust, now);
        let known = ask(&text, trust, NOW);
        assert!(
            matches!(known, Principal::Visitor { ref id, issued, .. } if id == VISITOR && issued == NOW)
        );
        assert_eq!(
            ask(&text, trust, NOW.plus(VISITOR_TTL)),
            Principal::Anonymous
        );
        let without = Trust {
            old_cookies: None,
            ..trust
        };
        assert_eq!(ask(&text, without, NOW), Principal::Anonymous);
        assert_eq!(
            ask(&old_cookie("vis_../x"), trust, NOW),
            Principal::Anonymous
        );
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] = if bytes[i] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(bytes).unwrap();
            assert_eq!(ask(&forged, trust, NOW), Principal::Anonymous, "byte {i}");
        }
    });
}

#[test]
fn a_session_counts_for_its_own_visitor_alone() {
    trusting("default", |trust| {
        let (visitor, session) = (cookie_of(VISITOR, trust), session_of(VISITOR, trust));
        let foreign = session_of(OTHER, trust);
        let ask = |visitor: Option<&str>, session: Option<&str>| match visitor_of_cookies(
            visitor, session, trust, NOW,
        ) {
            Principal::Visitor { id, session, .. } => Some((id, session.map(|session| session.id))),
            _ => None,
        };
        let in_session = Some((VISITOR.to_owned(), Some("ses_1".to_owned())));
        assert_eq!(ask(Some(&visitor), Some(&session)), in_session);
        assert_eq!(ask(None, Some(&session)), in_session);
        assert_eq!(ask(Some(&old_cookie(VISITOR)), Some(&session)), in_session);
        let outside = Some((VISITOR.to_owned(), None));
        assert_eq!(ask(Some(&visitor), Some(&foreign)), outside);
        assert_eq!(ask(Some(&visitor), Some("x")), outside);
        // Neither kind of token stands in for the other.
        assert_eq!(ask(Some(&session), None), None);
        assert_eq!(ask(None, Some(&visitor)), None);
        assert_eq!(ask(None, None), None);
    });
}

#[test]
fn a_session_that_is_not_good_refuses_the_request_and_tells_the_log_alone_why() {
    trusting("default", |trust| {
        let text = session_of(VISITOR, trust);
        let known = visitor_of_session(&text, trust, NOW).unwrap();
        assert!(
            matches!(&known, Principal::Visitor { id, session: Some(session), .. }
            if id == VISITOR && session.origin.as_deref() == Some("https://page.example"))
        );
        for (text, now, cause) in [
            (text.as_str(), NOW.plus(VISITOR_TTL), "expired"),
            (&cookie_of(VISITOR, trust), NOW, "type"),
            ("a.b.c", NOW, "form"),
        ] {
            let refused = visitor_of_session(text, trust, now).unwrap_err();
            assert_eq!(refused.code, Code::InvalidCredentials);
            assert_eq!(refused.detail, None);
            assert_eq!(refused.cause, Some(format!("session token: {cause}")));
        }
    });
}

#[test]
fn a_session_is_of_use_to_the_page_it_was_given_to() {
    let session = |origin: Option<&str>| SessionClaims {
        tier: None,
        site_key: None,
        began: NOW,
        id: "ses_1".into(),
        issued: NOW,
        expires: NOW,
        origin: origin.map(str::to_owned),
    };
    let given = session(Some("https://page.example"));
    assert!(given.fits(Some("https://page.example")));
    assert!(given.fits(None));
    assert!(!given.fits(Some("https://other.example")));
    assert!(!given.fits(Some("null")));
    assert!(session(None).fits(Some("https://other.example")));
}

#[test]
fn cookies_over_plain_http_have_no_prefix_and_lifetime_zero_removes_them() {
    assert_eq!(
        set_cookie(token::Kind::Session, "", Millis::ZERO, false),
        "gatehouse-session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    );
    assert_eq!(
        set_cookie(token::Kind::Session, "t", Millis::from_secs(900), true),
        "__Host-gatehouse-session=t; Path=/; Max-Age=900; HttpOnly; SameSite=Strict; Secure"
    );
}

#[test]
fn visitor_ids_have_one_form() {
    let Principal::Visitor { id, .. } = new_visitor(&[1; 16], NOW) else {
        panic!()
    };
    assert_eq!(id, VISITOR);
    assert!(is_visitor_id(&id));
    for other in [
        "",
        "vis_",
        &id[..35],
        &format!("{id}0"),
        &id.replace("01", "0A"),
        "vis_../../../../../../../../../../x",
    ] {
        assert!(!is_visitor_id(other), "{other}");
    }
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
