//! Signed requests: RFC 9421 HTTP Message Signatures with RFC 9530 Content-Digest.
//!
//! What is judged here is everything but the signature itself, which the platform verifies: that the right parts of the
//! request are covered, that the digest is true of the bytes that arrived, that the times are near, and what exactly was
//! signed. The caller then looks the key up, verifies, and takes the nonce once.

pub mod content_digest;
mod fields;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use fields::{Bare, Member, Params, dictionary};

/// The `tag` of signatures that are meant for this house; others on the same request are for somebody else.
pub const TAG: &str = "gatehouse";
/// How far a signer's clock may be ahead of ours.
pub const SKEW: Millis = Millis::from_secs(30);
/// The longest life of a signature, from `created` to `expires`.
pub const MAX_LIFE: Millis = Millis::from_secs(300);
/// A nonce: long enough not to repeat by chance, short enough to keep.
const NONCE_BYTES: core::ops::RangeInclusive<usize> = 16..=128;
/// Longest `keyid` in bytes.
const MAX_KEYID: usize = 64;
/// Length of a signature in bytes, of either algorithm (RFC 8032 §5.1.6; RFC 9421 §3.3.4: r and s of 32 bytes each).
const SIGNATURE_BYTES: usize = 64;

/// What every signature must cover; [`CONTENT_DIGEST`] as well when there is a body.
const REQUIRED: [&str; 4] = ["@method", "@authority", "@path", "@query"];
const CONTENT_DIGEST: &str = "content-digest";
/// What a signature may cover besides.
const OPTIONAL: [&str; 5] = [
    CONTENT_DIGEST,
    "content-type",
    "content-length",
    "date",
    "idempotency-key",
];

/// How a registered key signs. The key's record decides; the request may only agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// RFC 9421 §3.3.6
    #[serde(rename = "ed25519")]
    Ed25519,
    /// RFC 9421 §3.3.4
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256,
}

impl Algorithm {
    /// The name in the registry of RFC 9421 §6.2.2.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256-sha256",
        }
    }

    /// Reads [`Algorithm::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ed25519, Self::EcdsaP256]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// The request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As sent; methods are case-sensitive.
    pub method: &'a str,
    /// Came over TLS: decides which port is the default one.
    pub https: bool,
    /// The `Host` header.
    pub authority: &'a str,
    /// The raw path, percent-encoded as sent.
    pub path: &'a str,
    /// The raw query without its `?`.
    pub query: Option<&'a str>,
    /// Header fields: lower-case names, several lines of one name joined with `, `.
    pub headers: &'a [(&'a str, &'a str)],
    /// The raw bytes.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.trim_matches([' ', '\t']))
    }
}

/// What is left to do: find the key, verify `signature` over `base`, take the nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// Names the key.
    pub keyid: String,
    /// What the request says that it was signed with: see [`Verify::agrees`].
    pub algorithm: Option<Algorithm>,
    /// The signature base (RFC 9421 §2.5).
    pub base: Vec<u8>,
    /// 64 bytes.
    pub signature: Vec<u8>,
    /// To be taken once per key.
    pub nonce: String,
    /// The signature is void after this time.
    pub expires: Millis,
}

impl Verify {
    /// Does the request agree with the algorithm of the key's record? Only the record decides how to verify.
    #[must_use]
    pub fn agrees(&self, key: Algorithm) -> bool {
        self.algorithm.is_none_or(|claimed| claimed == key)
    }

    /// How long a taken nonce must be remembered: the object that keeps it may have a clock of its own.
    #[must_use]
    pub const fn remember_until(&self) -> Millis {
        self.expires.plus(SKEW)
    }
}

/// May a `Signature-Input` hold a signature with our tag? Whether it does, [`verify`] says.
#[must_use]
pub fn is_for_us(input: &str) -> bool {
    input.contains(&["tag=\"", TAG, "\""].concat())
}

/// Judges a signed request. `None`: it carries no signature with our tag.
///
/// A body must be covered by its digest. Without a body the digest may be left out; one that is sent must be true and
/// covered all the same.
///
/// # Errors
/// `signature_invalid`, its detail saying what is wrong.
pub fn verify(request: &Request<'_>, now: Millis) -> Result<Option<Verify>, Refusal> {
    let Some(input) = request.header("signature-input") else {
        return match request.header("signature") {
            Some(_) => Err(invalid("Signature-Input is missing.")),
            None => Ok(None),
        };
    };
    let inputs = dictionary(input).ok_or_else(|| invalid("Signature-Input is not well-formed."))?;
    let Some((label, covered, params)) = ours(&inputs)? else {
        return Ok(None);
    };
    let signature = signature_of(request, label)?;
    let names = components(covered)?;
    check_cover(request, &names)?;
    let told = told(params, now)?;
    let base = signature_base(request, &names, params).ok_or_else(|| {
        invalid("A covered header is missing, or holds characters that cannot be signed.")
    })?;
    if let Some(field) = request.header(CONTENT_DIGEST)
        && !content_digest::content_digest(field, request.body)
    {
        return Err(invalid(
            "Content-Digest needs sha-256 or sha-512 of the body as it is sent.",
        ));
    }
    Ok(Some(Verify {
        keyid: told.keyid.to_owned(),
        algorithm: told.algorithm,
        base,
        signature,
        nonce: told.nonce.to_owned(),
        expires: told.expires,
    }))
}

/// Which key does a request name that [`verify`] refused? For the record of it: nothing proves that it was that key.
#[must_use]
pub fn keyid_of(request: &Request<'_>) -> Option<String> {
    let inputs = dictionary(request.header("signature-input")?)?;
    let (_, _, params) = ours(&inputs).ok()??;
    text(params, "keyid").map(str::to_owned)
}

fn invalid(detail: &'static str) -> Refusal {
    Refusal::new(Code::SignatureInvalid).detail(detail)
}

type Covered<'a> = [(Bare<'a>, Params<'a>)];

/// The one signature with our tag: its label, components and parameters.
fn ours<'i, 'a>(
    inputs: &'i [(&'a str, Member<'a>)],
) -> Result<Option<(&'a str, &'i Covered<'a>, &'i Params<'a>)>, Refusal> {
    let mut found = None;
    for (label, member) in inputs {
        let Member::List(covered, params) = member else {
            return Err(invalid("Each member of Signature-Input is a list."));
        };
        if text(params, "tag") != Some(TAG) {
            continue;
        }
        // Which of two is checked must not be up to the sender.
        if found.is_some() {
            return Err(invalid("More than one signature has our tag."));
        }
        found = Some((*label, covered.as_slice(), params));
    }
    Ok(found)
}

fn signature_of(request: &Request<'_>, label: &str) -> Result<Vec<u8>, Refusal> {
    let field = request.header("signature").unwrap_or_default();
    let signatures = dictionary(field).ok_or_else(|| invalid("Signature is not well-formed."))?;
    let signature = signatures.into_iter().find(|(name, _)| *name == label);
    match signature {
        Some((_, Member::Item(Bare::Bytes(bytes), _))) if bytes.len() == SIGNATURE_BYTES => {
            Ok(bytes)
        }
        Some(_) => Err(invalid("The signature is not 64 bytes.")),
        None => Err(invalid("Signature has no member of the same label.")),
    }
}

/// The names of what is covered; parameters (`;req`, `;key`, `;bs` …) would change what a name means.
fn components<'i>(covered: &'i Covered<'_>) -> Result<Vec<&'i str>, Refusal> {
    let mut names: Vec<&str> = Vec::with_capacity(covered.len());
    for (component, params) in covered {
        let Bare::Text(name) = component else {
            return Err(invalid("A covered component is not a string."));
        };
        let known = REQUIRED.contains(&name.as_str()) || OPTIONAL.contains(&name.as_str());
        if !params.is_empty() || !known || names.contains(&name.as_str()) {
            return Err(invalid(
                "A covered component is unknown, has parameters or stands twice.",
            ));
        }
        names.push(name);
    }
    Ok(names)
}

fn check_cover(request: &Request<'_>, names: &[&str]) -> Result<(), Refusal> {
    let digest_needed = !request.body.is_empty() || request.header(CONTENT_DIGEST).is_some();
    if !REQUIRED.iter().all(|name| names.contains(name)) {
        return Err(invalid(
            "The signature must cover \"@method\", \"@authority\", \"@path\" and \"@query\".",
        ));
    }
    if digest_needed && !names.contains(&CONTENT_DIGEST) {
        return Err(invalid("The signature must cover \"content-digest\"."));
    }
    Ok(())
}

/// What the parameters tell.
struct Told<'a> {
    keyid: &'a str,
    nonce: &'a str,
    algorithm: Option<Algorithm>,
    expires: Millis,
}

fn told<'i>(params: &'i Params<'_>, now: Millis) -> Result<Told<'i>, Refusal> {
    const KNOWN: [&str; 6] = ["created", "expires", "nonce", "keyid", "tag", "alg"];
    if !params.iter().all(|(name, _)| KNOWN.contains(name)) {
        return Err(invalid("The signature has an unknown parameter."));
    }
    let (Some(created), Some(expires), Some(nonce), Some(keyid)) = (
        time(params, "created"),
        time(params, "expires"),
        text(params, "nonce"),
        text(params, "keyid"),
    ) else {
        return Err(invalid(
            "The signature needs created, expires, nonce, keyid and tag.",
        ));
    };
    if created > now.plus(SKEW) {
        return Err(invalid("created lies in the future."));
    }
    if expires <= created || expires.since(created) > MAX_LIFE {
        return Err(invalid("expires must be 1 to 300 seconds after created."));
    }
    if expires < now {
        return Err(invalid("The signature has expired."));
    }
    if !NONCE_BYTES.contains(&nonce.len()) || !(1..=MAX_KEYID).contains(&keyid.len()) {
        return Err(invalid("nonce has 16 to 128 characters, keyid at most 64."));
    }
    let algorithm = match params.iter().find(|(name, _)| *name == "alg") {
        None => None,
        Some((_, Bare::Text(name))) if let Some(known) = Algorithm::from_name(name) => Some(known),
        Some(_) => return Err(invalid("alg is ed25519 or ecdsa-p256-sha256.")),
    };
    Ok(Told {
        keyid,
        nonce,
        algorithm,
        expires,
    })
}

fn text<'i>(params: &'i Params<'_>, name: &str) -> Option<&'i str> {
    match params.iter().find(|(known, _)| *known == name) {
        Some((_, Bare::Text(text))) => Some(text),
        _ => None,
    }
}

fn time(params: &Params<'_>, name: &str) -> Option<Millis> {
    match params.iter().find(|(known, _)| *known == name) {
        Some((_, Bare::Integer(secs))) => Some(Millis::from_secs(u64::try_from(*secs).ok()?)),
        _ => None,
    }
}

/// RFC 9421 §2.5. `None` when a component has no value, or one that could pass for another line.
fn signature_base(request: &Request<'_>, names: &[&str], params: &Params<'_>) -> Option<Vec<u8>> {
    let mut base = String::with_capacity(512);
    for name in names {
        let value = component(request, name)?;
        if !value
            .bytes()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        {
            return None;
        }
        quote(name, &mut base);
        base.push_str(": ");
        base.push_str(&value);
        base.push('\n');
    }
    base.push_str("\"@signature-params\": (");
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            base.push(' ');
        }
        quote(name, &mut base);
    }
    base.push(')');
    for (name, value) in params {
        base.push(';');
        base.push_str(name);
        base.push('=');
        match value {
            Bare::Integer(number) => base.push_str(&number.to_string()),
            Bare::Text(text) => quote(text, &mut base),
            // No parameter that is accepted has another form.
            Bare::Token(_) | Bare::Bytes(_) | Bare::Flag(_) => return None,
        }
    }
    Some(base.into_bytes())
}

/// The value of a component: derived (§2.2) or a header field (§2.1).
fn component(request: &Request<'_>, name: &str) -> Option<String> {
    Some(match name {
        "@method" => request.method.to_owned(),
        "@authority" => {
            let authority = request.authority.to_ascii_lowercase();
            let default = if request.https { ":443" } else { ":80" };
            match authority.strip_suffix(default) {
                Some(host) => host.to_owned(),
                None => authority,
            }
        }
        // An empty path is normalised (§2.2.6).
        "@path" if request.path.is_empty() => "/".to_owned(),
        "@path" => request.path.to_owned(),
        // An absent query is the question mark alone (§2.2.7).
        "@query" => {
            let mut query = String::from("?");
            query.push_str(request.query.unwrap_or_default());
            query
        }
        field => request.header(field)?.to_owned(),
    })
}

/// A string as RFC 9651 §4.1.6 writes it.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}
