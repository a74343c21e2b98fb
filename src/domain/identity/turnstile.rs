//! What is sent to Cloudflare Turnstile, and what its answer means.
//!
//! Source: Cloudflare's documentation, "Validate the token" (siteverify). A token is good for 300 s and for one
//! verification; the same `idempotency_key` makes a repeated verification of one token give the first answer again.

use serde_json::{Map, Value};

use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;

/// Where tokens are verified.
pub const SITEVERIFY: &str = "https://challenges.cloudflare.com/turnstile/v0/siteverify";
/// `action` that the page's widget is rendered with.
pub const ACTION: &str = "session";
/// A token is not accepted any longer than Cloudflare does: 300 s.
pub const MAX_AGE: Millis = Millis::from_secs(300);
/// The longest token, in characters.
pub const MAX_TOKEN_CHARS: usize = 2048;
/// How far Cloudflare's clock may be ahead of ours.
const SKEW: Millis = Millis::from_secs(60);

/// The form of a verification (`application/x-www-form-urlencoded`). It contains the secret.
///
/// `idempotency_key` is a UUID, the same for every attempt at one token.
///
/// # Errors
/// `challenge_failed` for a token that none can be; nobody is asked then.
pub fn form(
    secret: &Secret<String>,
    token: &str,
    remote_ip: Option<&str>,
    idempotency_key: &str,
) -> Result<Secret<String>, Refusal> {
    if token.is_empty() || token.len() > MAX_TOKEN_CHARS {
        return Err(refused("no-token"));
    }
    let mut text = String::from("secret=");
    encode(&mut text, secret.reveal());
    text.push_str("&response=");
    encode(&mut text, token);
    if let Some(address) = remote_ip {
        text.push_str("&remoteip=");
        encode(&mut text, address);
    }
    text.push_str("&idempotency_key=");
    encode(&mut text, idempotency_key);
    Ok(Secret::new(text))
}

/// Judges the answer: success, solved on that host (of the page's origin, without port) for [`ACTION`], at most
/// [`MAX_AGE`] ago.
///
/// # Errors
/// `challenge_failed` when the visitor has to try again, `setup_required` when the secret is wrong, `upstream_error`
/// when Turnstile cannot tell; the cause in the log says more.
pub fn judge(body: &[u8], hostname: &str, now: Millis) -> Result<(), Refusal> {
    let unclear =
        || Refusal::new(Code::UpstreamError).cause("turnstile: no answer that can be read");
    let answer: Map<String, Value> = serde_json::from_slice(body).map_err(|_| unclear())?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    match answer.get("success") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err(failure(&answer)),
        _ => return Err(unclear()),
    }
    if text("hostname") != Some(hostname) {
        return Err(refused("other-hostname"));
    }
    if text("action") != Some(ACTION) {
        return Err(refused("other-action"));
    }
    let solved = text("challenge_ts")
        .and_then(Millis::from_rfc3339)
        .ok_or_else(unclear)?;
    if now.since(solved) > MAX_AGE || solved > now.plus(SKEW) {
        return Err(refused("too-old"));
    }
    Ok(())
}

fn failure(answer: &Map<String, Value>) -> Refusal {
    let codes: Vec<&str> = answer
        .get("error-codes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let has = |wanted: &str| codes.contains(&wanted);
    if has("missing-input-secret") || has("invalid-input-secret") {
        return Refusal::new(Code::SetupRequired)
            .cause("turnstile: the secret TURNSTILE_SECRET is missing or wrong");
    }
    if has("internal-error") || has("bad-request") {
        return Refusal::new(Code::UpstreamError).cause("turnstile: could not verify");
    }
    // A word of ours, never theirs: the log keeps no text that somebody else made.
    refused(if has("timeout-or-duplicate") {
        "timeout-or-duplicate"
    } else {
        "not-passed"
    })
}

fn refused(why: &str) -> Refusal {
    Refusal::new(Code::ChallengeFailed).cause(["turnstile: ", why].concat())
}

/// Percent-encodes for a form; a superset of what must be encoded.
fn encode(into: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            into.push(char::from(byte));
        } else {
            into.push('%');
            for nibble in [byte >> 4, byte & 15] {
                into.extend(
                    DIGITS
                        .get(usize::from(nibble))
                        .map(|digit| char::from(*digit)),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{form, judge};
    use crate::base::errors::Code;
    use crate::base::secret::Secret;
    use crate::base::time::Millis;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn answer() -> Value {
        json!({
            "success": true,
            "challenge_ts": Millis(NOW.0 - 10_000).rfc3339(),
            "hostname": "page.example",
            "error-codes": [],
            "action": "session",
            "cdata": "",
            "metadata": {"interactive": false},
        })
    }

    fn ask(answer: &Value) -> Result<(), Code> {
        judge(answer.to_string().as_bytes(), "page.example", NOW).map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_form_is_encoded() {
        let secret = Secret::new("0x4+/=&".to_owned());
        let text = form(&secret, "a b&secret=c", Some("2001:db8::1"), "u-1").unwrap();
        assert_eq!(
            text.reveal(),
            "secret=0x4%2B%2F%3D%26&response=a%20b%26secret%3Dc&remoteip=2001%3Adb8%3A%3A1&idempotency_key=u-1"
        );
        let text = form(&secret, "t", None, "u-1").unwrap();
        assert!(!text.reveal().contains("remoteip"));
    }

    #[test]
    fn a_token_that_none_can_be_is_sent_nowhere() {
        let secret = Secret::new("s".to_owned());
        for token in [String::new(), "x".repeat(2049)] {
            let refused = form(&secret, &token, None, "u").err().map(|r| r.code);
            assert_eq!(refused, Some(Code::ChallengeFailed));
        }
        assert!(form(&secret, &"x".repeat(2048), None, "u").is_ok());
    }

    #[test]
    fn only_a_fresh_success_of_this_host_and_action_passes() {
        assert_eq!(ask(&answer()), Ok(()));
        for (name, value, code) in [
            ("success", json!(false), Code::ChallengeFailed),
            ("success", json!("true"), Code::UpstreamError),
            ("success", json!(null), Code::UpstreamError),
            ("hostname", json!("evil.example"), Code::ChallengeFailed),
            (
                "hostname",
                json!("page.example.evil.example"),
                Code::ChallengeFailed,
            ),
            ("hostname", json!(""), Code::ChallengeFailed),
            ("action", json!("login"), Code::ChallengeFailed),
            ("action", json!(""), Code::ChallengeFailed),
            ("action", json!(null), Code::ChallengeFailed),
            ("challenge_ts", json!("yesterday"), Code::UpstreamError),
            (
                "challenge_ts",
                json!(Millis(NOW.0 - 301_000).rfc3339()),
                Code::ChallengeFailed,
            ),
            (
                "challenge_ts",
                json!(Millis(NOW.0 + 61_000).rfc3339()),
                Code::ChallengeFailed,
            ),
        ] {
            let mut changed = answer();
            changed[name] = value;
            assert_eq!(ask(&changed), Err(code), "{changed}");
        }
        for (name, code) in [
            ("success", Code::UpstreamError),
            ("hostname", Code::ChallengeFailed),
            ("action", Code::ChallengeFailed),
            ("challenge_ts", Code::UpstreamError),
        ] {
            let mut changed = answer();
            changed.as_object_mut().unwrap().remove(name);
            assert_eq!(ask(&changed), Err(code), "{name}");
        }
        for body in ["", "[]", "<html>", "{\"success\":true"] {
            assert!(judge(body.as_bytes(), "page.example", NOW).is_err());
        }
    }

    #[test]
    fn error_codes_say_who_has_to_act() {
        for (codes, code) in [
            (json!(["invalid-input-response"]), Code::ChallengeFailed),
            (json!(["missing-input-response"]), Code::ChallengeFailed),
            (json!(["timeout-or-duplicate"]), Code::ChallengeFailed),
            (json!(["something-new"]), Code::ChallengeFailed),
            (json!([]), Code::ChallengeFailed),
            (json!(null), Code::ChallengeFailed),
            (json!(["invalid-input-secret"]), Code::SetupRequired),
            (json!(["missing-input-secret"]), Code::SetupRequired),
            (json!(["internal-error"]), Code::UpstreamError),
            (json!(["bad-request"]), Code::UpstreamError),
        ] {
            let failed = json!({"success": false, "error-codes": codes});
            assert_eq!(ask(&failed), Err(code), "{failed}");
        }
        assert_eq!(ask(&json!({"success": false})), Err(Code::ChallengeFailed));
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for secs in [
            0,
            951_782_400,
            951_868_800,
            1_795_237_500,
            4_107_542_399,
            4_107_542_400,
            253_402_300_799,
        ] {
            let time = Millis::from_secs(secs);
            assert_eq!(Millis::from_rfc3339(&time.rfc3339()), Some(time));
        }
        // Every month of a common and of a leap year.
        for day in 0..1461 {
            let time = Millis::from_secs(1_704_067_200 + day * 86_400);
            assert_eq!(Millis::from_rfc3339(&time.rfc3339()), Some(time));
        }
        for text in [
            "",
            "Z",
            "2022-02-28",
            "2022-02-28T15:14:30",
            "2022-02-28T15:14:30+00:00",
            "2022-02-28T15:14Z",
            "2022-13-01T00:00:00Z",
            "2022-00-01T00:00:00Z",
            "2022-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2022-02-28T24:00:00Z",
            "2022-02-28T15:14:30.Z",
            "2022-02-28T15:14:30.x1Z",
            "+022-02-28T15:14:30Z",
            "2022-02-28-01T15:14:30Z",
        ] {
            assert_eq!(Millis::from_rfc3339(text), None, "{text}");
        }
    }
}
