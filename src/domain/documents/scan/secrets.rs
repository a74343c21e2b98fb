//! Credentials: those whose form tells what they are, as their issuers and gitleaks publish it, and random values that
//! are assigned to a name like `password`.

use super::bytes::{begins, entropy_millibits, holds, is_word, run};
use super::matched::{Match, masked};
use super::report::Rule;
use super::window::Spot;

/// A token that begins with fixed characters: those, then between `least` and `most` characters of an alphabet.
struct Token {
    prefix: &'static str,
    least: usize,
    most: usize,
    of: fn(u8) -> bool,
    rule: Rule,
}

const fn token(
    prefix: &'static str,
    least: usize,
    most: usize,
    of: fn(u8) -> bool,
    rule: Rule,
) -> Token {
    Token {
        prefix,
        least,
        most,
        of,
        rule,
    }
}

const ANY: usize = 400;

const TOKENS: [Token; 45] = [
    token("AKIA", 16, 16, is_base32, Rule::AwsKey),
    token("ASIA", 16, 16, is_base32, Rule::AwsKey),
    token("ABIA", 16, 16, is_base32, Rule::AwsKey),
    token("ACCA", 16, 16, is_base32, Rule::AwsKey),
    token("ghp_", 36, 36, is_alphanumeric, Rule::GithubToken),
    token("gho_", 36, 36, is_alphanumeric, Rule::GithubToken),
    token("ghu_", 36, 36, is_alphanumeric, Rule::GithubToken),
    token("ghs_", 36, 36, is_alphanumeric, Rule::GithubToken),
    token("ghr_", 36, 36, is_alphanumeric, Rule::GithubToken),
    token("github_pat_", 82, 82, is_word, Rule::GithubToken),
    token("glpat-", 20, 60, is_dashed, Rule::GitlabToken),
    token("glptt-", 40, 40, is_alphanumeric, Rule::GitlabToken),
    token("xoxb-", 24, 100, is_dashed, Rule::SlackToken),
    token("xoxp-", 24, 160, is_dashed, Rule::SlackToken),
    token("xoxa-", 24, 160, is_dashed, Rule::SlackToken),
    token("xoxr-", 24, 160, is_dashed, Rule::SlackToken),
    token("xoxe-", 24, 200, is_dashed, Rule::SlackToken),
    token("xoxs-", 24, 160, is_dashed, Rule::SlackToken),
    token("xapp-", 40, 160, is_dashed, Rule::SlackToken),
    token("sk_live_", 16, 99, is_alphanumeric, Rule::StripeKey),
    token("rk_live_", 16, 99, is_alphanumeric, Rule::StripeKey),
    token("sk_test_", 16, 99, is_alphanumeric, Rule::StripeKey),
    token("rk_test_", 16, 99, is_alphanumeric, Rule::StripeKey),
    token("whsec_", 32, 64, is_base64, Rule::StripeKey),
    token("AIza", 35, 35, is_dashed, Rule::GoogleKey),
    token("GOCSPX-", 28, 28, is_dashed, Rule::GoogleKey),
    token("ya29.", 40, ANY, is_dashed, Rule::GoogleKey),
    token("sk-ant-", 80, 140, is_dashed, Rule::AnthropicKey),
    token("sk-proj-", 40, 200, is_dashed, Rule::OpenaiKey),
    token("sk-svcacct-", 40, 200, is_dashed, Rule::OpenaiKey),
    token("sk-admin-", 40, 200, is_dashed, Rule::OpenaiKey),
    token("sk-None-", 40, 200, is_dashed, Rule::OpenaiKey),
    token("sk-or-v1-", 64, 64, is_hex, Rule::ServiceToken),
    token("sk-", 48, 48, is_alphanumeric, Rule::OpenaiKey),
    token("hf_", 34, 34, is_alphanumeric, Rule::HuggingfaceToken),
    token("api_org_", 34, 34, is_alphanumeric, Rule::HuggingfaceToken),
    token("npm_", 36, 36, is_alphanumeric, Rule::RegistryToken),
    token(
        "pypi-AgEIcHlwaS5vcmc",
        50,
        ANY,
        is_dashed,
        Rule::RegistryToken,
    ),
    token("SG.", 66, 66, is_dotted, Rule::ServiceToken),
    token("shpat_", 32, 32, is_hex, Rule::ServiceToken),
    token("shpss_", 32, 32, is_hex, Rule::ServiceToken),
    token("dop_v1_", 64, 64, is_hex, Rule::ServiceToken),
    token("doo_v1_", 64, 64, is_hex, Rule::ServiceToken),
    token(
        "AGE-SECRET-KEY-1",
        58,
        58,
        is_alphanumeric,
        Rule::PrivateKey,
    ),
    token("gsk_", 52, 52, is_alphanumeric, Rule::ServiceToken),
];

/// How every token begins, also those that are no row of the table.
pub(super) const BEGINNINGS: [&str; TOKENS.len() + 2] = beginnings();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "at compile time, below the length"
)]
const fn beginnings() -> [&'static str; TOKENS.len() + 2] {
    let mut all = ["ey", "ht"].as_slice();
    let mut out = [""; TOKENS.len() + 2];
    let mut at = 0;
    while at < TOKENS.len() {
        out[at] = TOKENS[at].prefix;
        at += 1;
    }
    while let [word, rest @ ..] = all {
        out[at] = word;
        all = rest;
        at += 1;
    }
    out
}

/// Before an opaque token, in any case.
pub(super) const BEARER: &str = "bearer ";

/// Below this, in thousandths of a bit for each character, a token is a placeholder: `ghp_xxxxxxxx…`.
const LEAST_TOKEN_ENTROPY: u32 = 2_800;

/// Finds a token that begins at the place.
pub(super) fn token_at(spot: &Spot<'_>) -> Option<Match> {
    let (first, second) = (spot.ahead(0)?, spot.ahead(1)?);
    if !matches!(
        (first, second),
        (b'A', b'K' | b'S' | b'B' | b'C' | b'I' | b'G')
            | (b'g', b'h' | b'i' | b'l' | b's')
            | (b'x', b'o' | b'a')
            | (b's', b'k' | b'h')
            | (b'r', b'k')
            | (b'w', b'h')
            | (b'G', b'O')
            | (b'y', b'a')
            | (b'h', b'f' | b't')
            | (b'a', b'p')
            | (b'n', b'p')
            | (b'p', b'y')
            | (b'S', b'G')
            | (b'd', b'o')
            | (b'e', b'y')
    ) {
        return None;
    }
    match first {
        b'e' => jwt(spot),
        b'h' if second == b't' => slack_webhook(spot),
        _ => TOKENS.iter().find_map(|token| fits(token, spot)),
    }
}

fn fits(token: &Token, spot: &Spot<'_>) -> Option<Match> {
    let prefix = token.prefix.as_bytes();
    let rest = spot.after(prefix)?;
    let body = rest.get(..run(rest, token.of))?;
    // A longer word is another thing.
    let ends = rest.get(body.len()).is_none_or(|next| !is_word(*next));
    if !ends || !(token.least..=token.most).contains(&body.len()) || is_placeholder(body) {
        return None;
    }
    let length = prefix.len().saturating_add(body.len());
    Some(Match::new(token.rule, length, masked(prefix, length)))
}

/// Does it stand for a token instead of being one? `EXAMPLE` at the end is how AWS writes them.
fn is_placeholder(body: &[u8]) -> bool {
    entropy_millibits(body) < LEAST_TOKEN_ENTROPY
        || holds(body, b"example")
        || holds(body, b"xxxxx")
        || holds(body, b"your")
}

/// Three parts of base64url, of which the first two are JSON objects: `{"` is `eyJ`.
fn jwt(spot: &Spot<'_>) -> Option<Match> {
    spot.after(b"eyJ")?;
    let mut length = 0_usize;
    for (part, least) in [17, 17, 10].into_iter().enumerate() {
        let rest = spot.rest.get(length..)?;
        if part == 1 && !rest.starts_with(b"eyJ") {
            return None;
        }
        let long = run(rest, is_dashed);
        if long < least || (part < 2 && rest.get(long) != Some(&b'.')) {
            return None;
        }
        let dot = usize::from(part < 2);
        length = length.saturating_add(long).saturating_add(dot);
    }
    Some(Match::new(Rule::Jwt, length, masked(b"eyJ", length)))
}

fn slack_webhook(spot: &Spot<'_>) -> Option<Match> {
    const START: &[u8] = b"https://hooks.slack.com/services/";
    let rest = spot.after(START)?;
    let long = run(rest, |byte| is_alphanumeric(byte) || byte == b'/');
    let body = rest.get(..long)?;
    let length = START.len().saturating_add(long);
    ((40..=60).contains(&long) && !is_placeholder(body))
        .then(|| Match::new(Rule::SlackToken, length, masked(START, length)))
}

/// Finds a private key that begins at the place with `-----BEGIN`. A key has content: the line alone is a quotation.
pub(super) fn private_key(spot: &Spot<'_>) -> Option<Match> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const LEAST_CONTENT: usize = 40;
    let rest = spot.after(BEGIN)?;
    let label = rest.get(
        ..run(rest, |b| {
            b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' '
        }),
    )?;
    if !label.ends_with(b"PRIVATE KEY") && !label.ends_with(b"PRIVATE KEY BLOCK") {
        return None;
    }
    let after = rest.get(label.len()..)?.strip_prefix(b"-----")?;
    // Headers of old keys stand before the content; a key in a JSON text has \n for the end of a line.
    let content = after
        .iter()
        .take(600)
        .filter(|byte| is_base64(**byte))
        .count();
    let is_key = content >= LEAST_CONTENT
        && entropy_millibits(after.get(..after.len().min(600))?) > LEAST_TOKEN_ENTROPY
        && !holds(after.get(..after.len().min(80))?, b"...");
    if !is_key {
        return None;
    }
    let end = spot
        .rest
        .get(BEGIN.len()..)?
        .windows(9)
        .position(|window| window == b"-----END ")
        .and_then(|at| {
            let end = at.saturating_add(BEGIN.len()).saturating_add(9);
            let tail = spot.rest.get(end..)?;
            let line = run(tail, |b| {
                b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b' ' | b'-')
            });
            Some(end.saturating_add(line))
        });
    let length = end.unwrap_or(spot.rest.len());
    let shown = [BEGIN, label, b"-----"].concat();
    Some(Match::new(Rule::PrivateKey, length, masked(&shown, length)))
}

/// The names to which secrets are assigned.
const NAMES: [&[u8]; 14] = [
    b"password",
    b"passwd",
    b"secret",
    b"api_key",
    b"apikey",
    b"api-key",
    b"access_key",
    b"accesskey",
    b"access-key",
    b"auth_token",
    b"access_token",
    b"token",
    b"private_key",
    b"credential",
];

/// Shortest and longest value, in bytes.
const VALUE: core::ops::RangeInclusive<usize> = 20..=160;

/// Least entropy of a value, in thousandths of a bit for each character: words come to 3,500, random base64 of 20
/// characters to 3,900 at least in nearly all cases.
const LEAST_VALUE_ENTROPY: u32 = 3_700;

/// Finds a random value that is assigned at the place, which is a `=` or `:`, to a name before it.
pub(super) fn assignment(spot: &Spot<'_>) -> Option<Match> {
    let name = name_before(spot.behind)?;
    if !NAMES.iter().any(|known| holds(name, known)) {
        return None;
    }
    // `=`, `:`, `:=`, `=>`, `==`; then blanks, perhaps a quotation mark.
    let operator = run(spot.rest, |b| matches!(b, b'=' | b':' | b'>')).min(3);
    let rest = spot.rest.get(operator..)?;
    let blanks = run(rest, |b| matches!(b, b' ' | b'\t')).min(8);
    let rest = rest.get(blanks..)?;
    let quote = usize::from(matches!(rest.first(), Some(b'"' | b'\'' | b'`')));
    let rest = rest.get(quote..)?;
    let value = rest.get(
        ..run(rest, |b| {
            is_base64(b)
                || matches!(
                    b,
                    b'-' | b'_'
                        | b'.'
                        | b'~'
                        | b'!'
                        | b'@'
                        | b'#'
                        | b'$'
                        | b'%'
                        | b'^'
                        | b'&'
                        | b'*'
                )
        }),
    )?;
    // An expression goes on, a value ends.
    if matches!(
        rest.get(value.len()),
        Some(b'(' | b'[' | b'{' | b'<' | b':' | b'?')
    ) {
        return None;
    }
    if !VALUE.contains(&value.len()) || !is_random(value) {
        return None;
    }
    let before = operator.saturating_add(blanks).saturating_add(quote);
    let length = value.len();
    let excerpt = masked(&[name, b" = "].concat(), length);
    // It begins at the operator, since what is before the place may belong to an earlier finding.
    Some(Match::new(
        Rule::AssignedSecret,
        before.saturating_add(length),
        excerpt,
    ))
}

/// The name that ends where something is assigned, with quotation marks and blanks between.
fn name_before(behind: &[u8]) -> Option<&[u8]> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'"' | b'\'' | b'`');
    let end = behind
        .len()
        .checked_sub(behind.iter().rev().take_while(|b| blank(b)).count().min(4))?;
    let head = behind.get(..end)?;
    let long = head
        .iter()
        .rev()
        .take(48)
        .take_while(|b| is_dashed(**b))
        .count();
    head.get(end.checked_sub(long)?..)
        .filter(|name| !name.is_empty())
}

/// Letters and digits mixed as chance mixes them, and no sign of a placeholder, a path, a name or a reference.
fn is_random(value: &[u8]) -> bool {
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = value.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let marks = value.len().saturating_sub(digits).saturating_sub(letters);
    let placeholders: [&[u8]; 9] = [
        b"example",
        b"xxxx",
        b"your",
        b"changeme",
        b"placeholder",
        b"${",
        b"$(",
        b"://",
        b"process.env",
    ];
    // In words there is a vowel near; a run of seven letters of one case is a word or a name.
    let word = longest_lowercase_run(value);
    digits >= 2
        && letters >= 4
        && marks.saturating_mul(4) <= value.len()
        && word < 7
        && entropy_millibits(value) >= LEAST_VALUE_ENTROPY
        && !placeholders.iter().any(|mark| holds(value, mark))
}

fn longest_lowercase_run(value: &[u8]) -> usize {
    value
        .split(|b| !b.is_ascii_lowercase())
        .map(<[u8]>::len)
        .max()
        .unwrap_or(0)
}

const fn is_base32(byte: u8) -> bool {
    byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7')
}

const fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

const fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

const fn is_dashed(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

const fn is_dotted(byte: u8) -> bool {
    is_dashed(byte) || byte == b'.'
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Does `Bearer` stand here with an opaque token behind it?
pub(super) fn bearer(spot: &Spot<'_>) -> Option<Match> {
    if !begins(spot.rest, BEARER.as_bytes()) {
        return None;
    }
    let rest = spot.rest.get(7..)?;
    let value = rest.get(
        ..run(rest, |b| {
            is_base64(b) || matches!(b, b'-' | b'_' | b'.' | b'~')
        }),
    )?;
    (VALUE.contains(&value.len()) && is_random(value)).then(|| {
        let length = value.len().saturating_add(7);
        Match::new(Rule::AssignedSecret, length, masked(b"Bearer ", length))
    })
}
