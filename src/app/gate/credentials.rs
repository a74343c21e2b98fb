//! From what was presented to who it is.

use std::rc::Rc;

use super::Caller;
use crate::app::alerts;
use crate::app::audit::Event;
use crate::app::keyring::keyring;
use crate::app::objects::{ask, key_object, offered};
use crate::app::port::{Class as Object, Port, PortFault, call};
use crate::app::request::Head;
use crate::app::rules::rules;
use crate::app::uses::{self, Due};
use crate::base::digest::{base64url, from_base64url};
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::identity::api_key::{ParsedKey, is_id};
use crate::domain::identity::key_record::{Command, KeyRecord, Reply, View};
use crate::domain::identity::signature;
use crate::domain::identity::token::{Expected, Keys};
use crate::domain::identity::{
    Presented, Principal, Trust, visitor_of_cookies, visitor_of_session,
};
use crate::domain::keyring::{Opened, Purpose};
use crate::domain::limits::machine::Watch;
use crate::domain::limits::{Command as Limit, Limiter, Reply as LimiterReply};
use crate::domain::settings::config::DEFAULT_TENANT;

/// Who presented that.
///
/// # Errors
/// `invalid_credentials`, the same for whatever is wrong; `keyring_unavailable`.
pub(super) async fn principal<P: Port>(
    port: &P,
    head: &Head,
    caller: &Caller,
    presented: Presented<'_>,
) -> Result<Principal, Refusal> {
    match presented {
        Presented::Nothing => Ok(Principal::Anonymous),
        Presented::Cookies { .. } if port.settings().keys.is_none() => Ok(Principal::Anonymous),
        Presented::Cookies { visitor, session } => {
            let ring = keyring(port).await?;
            let rules = rules(port).await?;
            let named = |session| {
                trusting(port, &ring, head, |trust| {
                    visitor_of_cookies(visitor, session, trust, head.at)
                })
            };
            let principal = named(session);
            // A session that was ended names nobody either.
            let principal = if rules.has_ended(&principal) {
                named(None)
            } else {
                principal
            };
            Ok(if rules.has_ended(&principal) {
                Principal::Anonymous
            } else {
                principal
            })
        }
        Presented::Session(text) => {
            let ring = keyring(port).await?;
            let principal = trusting(port, &ring, head, |trust| {
                visitor_of_session(text, trust, head.at)
            })?;
            if let Principal::Visitor {
                session: Some(session),
                ..
            } = &principal
                && !session.fits(head.origin.as_deref())
            {
                return Err(invalid("session token: of another origin"));
            }
            if rules(port).await?.has_ended(&principal) {
                return Err(invalid("session token: revoked"));
            }
            Ok(principal)
        }
        Presented::Key(key) => of_key(port, caller, key).await,
        // An operator's key opens a session of its own and nothing else; a signed request was read before.
        Presented::Operator(_) | Presented::Signed => Err(invalid("not for this")),
    }
}

async fn of_key<P: Port>(
    port: &P,
    caller: &Caller,
    key: ParsedKey<'_>,
) -> Result<Principal, Refusal> {
    let ring = keyring(port).await?;
    let pepper = ring
        .pepper()
        .map_err(|fault| crate::app::keyring::locked(&fault))?;
    let hash = base64url(&key.hash(pepper));
    let now = port.now();
    if let Some(view) = port.known(|known| known.key(key.id, &hash, now)) {
        return Ok(Principal::Key(Box::new((*view).clone())));
    }
    let command = Command::Authenticate {
        hash: hash.clone(),
        recorded: true,
    };
    let event = uses::offer(port, caller, key.id, Code::InvalidCredentials);
    let view = checked(port, key.id, command, event).await?;
    let shared = Rc::new(view.clone());
    port.known(|known| known.set_key(now, hash, shared));
    Ok(Principal::Key(Box::new(view)))
}

/// Asks a key's record whether it opens, and offers it the event. What belongs on record of it is stored there with what
/// it changes; it is brought to the log once the answer is on its way.
async fn checked<P: Port>(
    port: &P,
    id: &str,
    command: Command,
    event: Event,
) -> Result<View, Refusal> {
    let name = key_object(id);
    let reply = offered::<KeyRecord>(port, Object::Ledger, &name, command, event.outbox()).await;
    let (reply, waits) = reply.map_err(|fault| unanswered(&fault))?;
    if waits {
        port.known(|known| known.due.push(Due::Waits(id.to_owned())));
    }
    told(reply)
}

/// What a record says; only a key that is good is told from the others.
fn told(reply: Reply) -> Result<View, Refusal> {
    match reply {
        Reply::Noted(reply, _) => told(*reply),
        Reply::Known(view) => Ok(*view),
        Reply::Replayed => Err(Refusal::new(Code::ReplayedRequest)),
        Reply::Full => Err(Refusal::new(Code::Overloaded).wait(Millis::from_secs(60))),
        _ => Err(invalid("api key")),
    }
}

fn unanswered(fault: &PortFault) -> Refusal {
    Refusal::new(Code::LimiterUnavailable)
        .wait(Millis::from_secs(2))
        .cause(fault.0.clone())
}

/// Who signed a request (RFC 9421). `keyid` is `<key id>/<kid>`.
///
/// # Errors
/// `signature_invalid`, `replayed_request`, `overloaded`.
pub(super) async fn signed<P: Port>(
    port: &P,
    head: &Head,
    caller: &Caller,
    body: &[u8],
) -> Result<Principal, Refusal> {
    // What is refused in the name of a key is told to its record after the answer.
    let named = |keyid: &str| {
        if let Some((id, _)) = parts_of(keyid) {
            let event = Box::new(uses::offer(port, caller, id, Code::SignatureInvalid));
            port.known(|known| known.due.push(Due::Refused(id.to_owned(), event)));
        }
    };
    let cause = |cause: &str| Refusal::new(Code::SignatureInvalid).cause(cause);
    let host = head
        .own_origin
        .split_once("://")
        .map_or("", |(_, host)| host);
    let length = head.content_length.map(|length| length.to_string());
    let fields: Vec<(&str, &str)> = [
        ("signature", &head.signature),
        ("signature-input", &head.signature_input),
        ("content-digest", &head.content_digest),
        ("content-type", &head.content_type),
        ("content-length", &length),
        ("date", &head.date),
        ("idempotency-key", &head.idempotency_key),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect();
    let request = signature::Request {
        method: &head.method,
        https: head.https(),
        authority: host,
        path: &head.path,
        query: Some(head.query.as_str()).filter(|query| !query.is_empty()),
        headers: &fields,
        body,
    };
    let verify = signature::verify(&request, head.at)
        .inspect_err(|_| {
            if let Some(keyid) = signature::keyid_of(&request) {
                named(&keyid);
            }
        })?
        .ok_or_else(|| cause("no signature with the tag gatehouse"))?;
    let (id, kid) = parts_of(&verify.keyid).ok_or_else(|| cause("keyid is not <key id>/<kid>"))?;
    let look = ask::<KeyRecord>(port, Object::Ledger, &key_object(id), Command::Look).await;
    let view = look
        .map_err(|fault| unanswered(&fault))
        .and_then(told)
        .map_err(|refusal| unsigned(refusal, "unknown key"))?;
    let refused = |text: &str| {
        named(&verify.keyid);
        cause(text)
    };
    let key = view
        .settings
        .public_keys
        .iter()
        .find(|key| key.kid == kid)
        .ok_or_else(|| refused("unknown kid"))?;
    if !verify.agrees(key.alg) {
        return Err(refused("another algorithm than the key's"));
    }
    let public = from_base64url(&key.key).unwrap_or_default();
    let fine = port
        .verify(key.alg, &public, &verify.base, &verify.signature)
        .await
        .map_err(|fault| refused(&fault.0))?;
    if !fine {
        return Err(refused("the signature does not verify"));
    }
    let command = Command::AuthenticateSigned {
        kid: kid.to_owned(),
        nonce: verify.nonce.clone(),
        expires: verify.expires,
        attempt: base64url(&port.random::<16>()),
        recorded: true,
    };
    let event = uses::offer(port, caller, id, Code::SignatureInvalid);
    let view = checked(port, id, command, event)
        .await
        .map_err(|refusal| unsigned(refusal, "unknown key"))?;
    Ok(Principal::Key(Box::new(view)))
}

/// `keyid` as id and `kid`.
fn parts_of(keyid: &str) -> Option<(&str, &str)> {
    keyid.split_once('/').filter(|(id, _)| is_id(id))
}

fn unsigned(refusal: Refusal, cause: &str) -> Refusal {
    if refusal.code == Code::InvalidCredentials {
        Refusal::new(Code::SignatureInvalid).cause(cause)
    } else {
        refusal
    }
}

/// Runs with what visitors' tokens are held against.
pub fn trusting<P: Port, T>(
    port: &P,
    ring: &Opened,
    head: &Head,
    run: impl FnOnce(Trust<'_>) -> T,
) -> T {
    let now = port.now();
    let signer = ring.session_signer(now).ok();
    let ids: Vec<&str> = ring
        .ring
        .data
        .iter()
        .filter(|key| key.purpose == Purpose::Session)
        .map(|key| key.id.as_str())
        .collect();
    // The first signs.
    let first = signer.as_ref().map(|key| (key.id.as_str(), &key.key));
    let others = ids
        .iter()
        .filter(|id| signer.as_ref().is_none_or(|signer| signer.id != **id))
        .filter_map(|id| Some((*id, ring.session_verifier(id, now)?)));
    let keys: Vec<(&str, &Secret<[u8; 32]>)> = first.into_iter().chain(others).collect();
    let old = port.settings().keys.as_ref().map(|keys| &keys.cookie);
    run(Trust {
        keys: Keys(&keys),
        expected: Expected {
            issuer: &head.own_origin,
            tenant: port.tenant(),
        },
        // They belong to the tenant that was there before there were others.
        old_cookies: old.filter(|_| port.tenant() == DEFAULT_TENANT),
    })
}

/// Counts a refused credential against the client; one too many, and it is told to wait instead.
pub async fn failed<P: Port>(port: &P, caller: &Caller, refusal: Refusal) -> Refusal {
    let guessed = matches!(
        refusal.code,
        Code::InvalidCredentials | Code::SignatureInvalid
    );
    let Some(watch) = Watch::of(&port.settings().config.abuse).filter(|_| guessed) else {
        return refusal;
    };
    let command = Limit::AuthFailed {
        client: caller.client.clone(),
        watch,
    };
    let reply = call::<Limiter>(port, Object::Limiter, &caller.network, &command).await;
    let alert = match &reply {
        Ok(LimiterReply::Noted { alert } | LimiterReply::Held { alert, .. }) => alert.as_ref(),
        _ => None,
    };
    if let Some(alert) = alert {
        alerts::of_network(port, &caller.network, &caller.client, alert).await;
    }
    match reply {
        Ok(LimiterReply::Held { wait, why, .. }) => Refusal::new(Code::AbnormalUsage)
            .wait(wait)
            .detail(why.to_string()),
        _ => refusal,
    }
}

fn invalid(cause: &str) -> Refusal {
    Refusal::new(Code::InvalidCredentials).cause(cause)
}
