use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::fields::{Member, dictionary};
use super::{Algorithm, Request, Verify, components, signature_base, verify};
use crate::base::errors::Code;
use crate::base::time::Millis;

// === RFC 9421 Appendix B: what is signed ===

const RFC_BODY: &[u8] = b"{\"hello\": \"world\"}";

/// Appendix B.2, `test-request`.
fn rfc_request<'a>() -> Request<'a> {
    Request {
        method: "POST",
        https: true,
        authority: "example.com",
        path: "/foo",
        query: Some("param=Value&Pet=dog"),
        headers: &[
            ("host", "example.com"),
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("content-type", "application/json"),
            (
                "content-digest",
                "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
            ),
            ("content-length", "18"),
        ],
        body: RFC_BODY,
    }
}

/// The base of one `Signature-Input` member, if all that it covers is known.
fn base_of(request: &Request<'_>, input: &str) -> Option<String> {
    let members = dictionary(input)?;
    let Member::List(covered, params) = &members.first()?.1 else {
        return None;
    };
    let base = signature_base(request, &components(covered).ok()?, params)?;
    String::from_utf8(base).ok()
}

#[test]
fn rfc_9421_b_2_3_full_coverage() {
    let input = "sig-b23=(\"date\" \"@method\" \"@path\" \"@query\" \"@authority\" \"content-type\" \"content-digest\" \
                 \"content-length\");created=1618884473;keyid=\"test-key-rsa-pss\"";
    let expected = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\
        \"@method\": POST\n\
        \"@path\": /foo\n\
        \"@query\": ?param=Value&Pet=dog\n\
        \"@authority\": example.com\n\
        \"content-type\": application/json\n\
        \"content-digest\": sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:\n\
        \"content-length\": 18\n\
        \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@query\" \"@authority\" \"content-type\" \"content-digest\" \
        \"content-length\");created=1618884473;keyid=\"test-key-rsa-pss\"";
    assert_eq!(base_of(&rfc_request(), input).as_deref(), Some(expected));
}

/// B.2.5: an HMAC shows that the base is right to the byte.
#[test]
fn rfc_9421_b_2_5_hmac() {
    let input = "sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
    let base = base_of(&rfc_request(), input).unwrap();
    let secret = STANDARD
        .decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
        .unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
    mac.update(base.as_bytes());
    assert_eq!(
        STANDARD.encode(mac.finalize().into_bytes()),
        "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="
    );
}

/// B.2.6, with the key of B.1.4.
#[test]
fn rfc_9421_b_2_6_ed25519() {
    let input = "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
                 ;created=1618884473;keyid=\"test-key-ed25519\"";
    let base = base_of(&rfc_request(), input).unwrap();
    let decode = |text| -> [u8; 32] {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        bytes.try_into().unwrap()
    };
    let public =
        VerifyingKey::from_bytes(&decode("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs")).unwrap();
    let published = STANDARD
        .decode("wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==")
        .unwrap();
    let signature = Signature::from_slice(&published).unwrap();
    public.verify_strict(base.as_bytes(), &signature).unwrap();
    let private = SigningKey::from_bytes(&decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU"));
    assert_eq!(private.sign(base.as_bytes()).to_bytes().to_vec(), published);
}

/// §2.2.3, §2.2.6 and §2.2.7.
#[test]
fn derived_components_are_normalised() {
    let of = |request: Request<'_>, name: &str| {
        let base = base_of(&request, &format!("s=(\"{name}\")")).unwrap();
        let (line, _) = base.split_once('\n').unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let with = |authority, https| Request {
        authority,
        https,
        ..rfc_request()
    };
    assert_eq!(
        of(with("WWW.Example.COM", true), "@authority"),
        "www.example.com"
    );
    assert_eq!(
        of(with("example.com:443", true), "@authority"),
        "example.com"
    );
    assert_eq!(
        of(with("example.com:80", true), "@authority"),
        "example.com:80"
    );
    assert_eq!(
        of(with("example.com:80", false), "@authority"),
        "example.com"
    );
    assert_eq!(
        of(with("example.com:443", false), "@authority"),
        "example.com:443"
    );
    assert_eq!(of(with("[::1]:8787", false), "@authority"), "[::1]:8787");
    let path = Request {
        path: "",
        query: None,
        ..rfc_request()
    };
    assert_eq!(of(path, "@path"), "/");
    assert_eq!(of(path, "@query"), "?");
    let raw = Request {
        path: "/a%2Fb/../c",
        query: Some("baz=bat%2Dman&&x"),
        ..rfc_request()
    };
    assert_eq!(of(raw, "@path"), "/a%2Fb/../c");
    assert_eq!(of(raw, "@query"), "?baz=bat%2Dman&&x");
}

#[test]
fn a_value_cannot_pass_for_another_line() {
    for path in ["/a\n\"@query\": ?", "/\u{e9}", "/\r"] {
        let request = Request {
            path,
            ..rfc_request()
        };
        assert_eq!(base_of(&request, "s=(\"@path\")"), None);
    }
    let quoted = base_of(&rfc_request(), "s=();nonce=\"a\\\"b\\\\\"").unwrap();
    assert_eq!(quoted, "\"@signature-params\": ();nonce=\"a\\\"b\\\\\"");
}

// === What is accepted ===

const NOW: Millis = Millis(1_795_237_500_000);
const SECS: i64 = 1_795_237_500;
const COVER: &str = "(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\")";
const BARE_COVER: &str = "(\"@method\" \"@authority\" \"@path\" \"@query\")";

fn params(created: i64, expires: i64) -> String {
    format!(
        ";created={created};expires={expires};nonce=\"0123456789abcdef\";keyid=\"key1\";tag=\"gatehouse\""
    )
}

fn good() -> String {
    format!("sig={COVER}{}", params(SECS, SECS + 60))
}

/// `:AAAA…=:` of 64 bytes.
fn blank_signature(label: &str) -> String {
    format!("{label}=:{}:", STANDARD.encode([0u8; 64]))
}

fn ask(input: &str, signature: &str, now: Millis) -> Result<Option<Verify>, String> {
    ask_with(input, signature, now, rfc_request())
}

fn ask_with(
    input: &str,
    signature: &str,
    now: Millis,
    request: Request<'_>,
) -> Result<Option<Verify>, String> {
    let mut headers = request.headers.to_vec();
    headers.push(("signature-input", input));
    if !signature.is_empty() {
        headers.push(("signature", signature));
    }
    let request = Request {
        headers: &headers,
        ..request
    };
    verify(&request, now).map_err(|refusal| {
        assert_eq!(refusal.code, Code::SignatureInvalid);
        refusal.detail.unwrap()
    })
}

#[test]
fn a_complete_signature_is_told_apart() {
    let told = ask(&good(), &blank_signature("sig"), NOW).unwrap().unwrap();
    assert_eq!(told.keyid, "key1");
    assert_eq!(told.nonce, "0123456789abcdef");
    assert_eq!(told.expires, Millis::from_secs(SECS as u64 + 60));
    assert_eq!(told.remember_until(), Millis::from_secs(SECS as u64 + 90));
    assert_eq!(told.signature, [0; 64]);
    assert_eq!(told.algorithm, None);
    assert!(told.agrees(Algorithm::Ed25519) && told.agrees(Algorithm::EcdsaP256));
    let base = String::from_utf8(told.base).unwrap();
    assert!(base.ends_with(&good()["sig=".len()..]), "{base}");

    let with_alg = format!("{};alg=\"ecdsa-p256-sha256\"", good());
    let told = ask(&with_alg, &blank_signature("sig"), NOW)
        .unwrap()
        .unwrap();
    assert!(told.agrees(Algorithm::EcdsaP256) && !told.agrees(Algorithm::Ed25519));
}

#[test]
fn only_a_request_without_our_tag_counts_as_unsigned() {
    let plain = rfc_request();
    assert_eq!(verify(&plain, NOW), Ok(None));
    let foreign = good().replace("tag=\"gatehouse\"", "tag=\"web-bot-auth\"");
    assert_eq!(ask(&foreign, &blank_signature("sig"), NOW), Ok(None));
    let untagged = good().replace(";tag=\"gatehouse\"", "");
    assert_eq!(ask(&untagged, &blank_signature("sig"), NOW), Ok(None));
    // A signature of somebody else, of a form that we would refuse, does not disturb ours.
    let both = format!("p=(\"@authority\";req \"x-any\");tag=\"proxy\", {}", good());
    let signatures = format!("{}, p=:AAAA:", blank_signature("sig"));
    assert!(ask(&both, &signatures, NOW).unwrap().is_some());
    let headers = [("signature", "sig=:AAAA:")];
    let lone = Request {
        headers: &headers,
        ..plain
    };
    assert!(verify(&lone, NOW).is_err());
}

#[test]
fn whatever_is_wrong_is_refused() {
    let good = good();
    assert!(ask(&good, &blank_signature("sig"), NOW).unwrap().is_some());
    let signature = blank_signature("sig");
    let second = good.replacen("sig=", "other=", 1);
    for (why, input) in [
        ("two signatures with our tag", format!("{good}, {second}")),
        ("one label twice", format!("{good}, {good}")),
        ("trailing garbage", format!("{good} x")),
        ("not a list", format!("{good}, a=1")),
        ("no method", good.replace("\"@method\" ", "")),
        ("no authority", good.replace("\"@authority\" ", "")),
        ("no path", good.replace("\"@path\" ", "")),
        ("no query", good.replace("\"@query\" ", "")),
        (
            "no digest of a body",
            good.replace(" \"content-digest\"", ""),
        ),
        (
            "component with a parameter",
            good.replace("\"@path\"", "\"@path\";req"),
        ),
        (
            "key of a dictionary",
            good.replace("\"content-digest\"", "\"content-digest\";key=\"md5\""),
        ),
        (
            "unknown derived component",
            good.replace("\"@path\"", "\"@path\" \"@query-param\";name=\"Pet\""),
        ),
        (
            "unknown field",
            good.replace("\"@path\"", "\"@path\" \"host\""),
        ),
        (
            "upper case",
            good.replace("\"@path\"", "\"@path\" \"Date\""),
        ),
        (
            "component twice",
            good.replace("\"@path\"", "\"@path\" \"@path\""),
        ),
        (
            "component that is no string",
            good.replace("\"@path\"", "\"@path\" date"),
        ),
        (
            "covered field that is not there",
            good.replace("\"@path\"", "\"@path\" \"idempotency-key\""),
        ),
        ("no created", good.replace(&format!(";created={SECS}"), "")),
        (
            "no expires",
            good.replace(&format!(";expires={}", SECS + 60), ""),
        ),
        ("no nonce", good.replace(";nonce=\"0123456789abcdef\"", "")),
        ("no keyid", good.replace(";keyid=\"key1\"", "")),
        (
            "short nonce",
            good.replace("0123456789abcdef", "0123456789abcde"),
        ),
        (
            "long nonce",
            good.replace("0123456789abcdef", &"x".repeat(129)),
        ),
        ("empty keyid", good.replace("\"key1\"", "\"\"")),
        (
            "long keyid",
            good.replace("\"key1\"", &format!("\"{}\"", "k".repeat(65))),
        ),
        (
            "created as text",
            good.replace(&format!("created={SECS}"), &format!("created=\"{SECS}\"")),
        ),
        ("negative created", good.replace("created=", "created=-")),
        (
            "nonce as token",
            good.replace("\"0123456789abcdef\"", "a123456789abcdef"),
        ),
        ("unknown parameter", format!("{good};x=1")),
        ("parameter twice", format!("{good};keyid=\"key2\"")),
        ("unknown algorithm", format!("{good};alg=\"hmac-sha256\"")),
        ("no algorithm", format!("{good};alg=\"none\"")),
        ("algorithm as token", format!("{good};alg=ed25519")),
        (
            "created in the future",
            format!("sig={COVER}{}", params(SECS + 31, SECS + 60)),
        ),
        (
            "expired",
            format!("sig={COVER}{}", params(SECS - 100, SECS - 1)),
        ),
        (
            "too long a life",
            format!("sig={COVER}{}", params(SECS, SECS + 301)),
        ),
        (
            "expires before created",
            format!("sig={COVER}{}", params(SECS + 10, SECS + 9)),
        ),
        (
            "expires with created",
            format!("sig={COVER}{}", params(SECS, SECS)),
        ),
    ] {
        assert_ne!(input, good, "{why}: the case changes nothing");
        assert!(ask(&input, &signature, NOW).is_err(), "{why}");
    }
    for (why, signature) in [
        ("none", String::new()),
        ("of another label", blank_signature("sih")),
        ("not bytes", "sig=1".to_owned()),
        ("a list", format!("sig=({})", &signature[4..])),
        ("63 bytes", format!("sig=:{}:", STANDARD.encode([0u8; 63]))),
        ("65 bytes", format!("sig=:{}:", STANDARD.encode([0u8; 65]))),
        ("twice", format!("{signature}, {signature}")),
        ("garbage after it", format!("{signature}x")),
    ] {
        assert!(ask(&good, &signature, NOW).is_err(), "{why}");
    }
}

#[test]
fn the_bounds_of_time_are_inclusive() {
    let signature = blank_signature("sig");
    for (created, expires, ok) in [
        (SECS + 30, SECS + 60, true),
        (SECS + 31, SECS + 60, false),
        (SECS - 300, SECS, true),
        (SECS - 301, SECS, false),
        (SECS - 200, SECS - 1, false),
        (SECS, SECS + 300, true),
        (SECS, SECS + 1, true),
    ] {
        let input = format!("sig={COVER}{}", params(created, expires));
        let told = ask(&input, &signature, NOW);
        assert_eq!(told.is_ok(), ok, "{created} {expires}");
    }
    // The same bytes are void a millisecond after they expire.
    let input = format!("sig={COVER}{}", params(SECS - 60, SECS));
    assert!(ask(&input, &signature, NOW).is_ok());
    assert!(ask(&input, &signature, NOW.plus(Millis(1))).is_err());
}

#[test]
fn the_digest_is_recomputed_over_what_arrived() {
    let signature = blank_signature("sig");
    for body in [
        &b"{\"hello\":\"world\"}"[..],
        b"{\"hello\": \"world\"}\n",
        b"",
    ] {
        let request = Request {
            body,
            ..rfc_request()
        };
        assert!(ask_with(&good(), &signature, NOW, request).is_err());
    }
}

#[test]
fn without_a_body_the_digest_may_be_left_out_but_not_uncovered() {
    let bare = format!("sig={BARE_COVER}{}", params(SECS, SECS + 60));
    let signature = blank_signature("sig");
    let ask = |input: &str, headers, body| {
        let request = Request {
            headers,
            body,
            ..rfc_request()
        };
        ask_with(input, &signature, NOW, request)
    };
    let empty = &[(
        "content-digest",
        "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    )][..];
    assert!(ask(&bare, &[], b"").unwrap().is_some());
    assert!(ask(&bare, &[], b"x").is_err());
    assert!(ask(&bare, empty, b"").is_err());
    assert!(ask(&good(), empty, b"").unwrap().is_some());
    assert!(ask(&good(), empty, b"x").is_err());
    assert!(ask(&good(), &[], b"").is_err());
}
