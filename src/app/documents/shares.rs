//! Shares: who else may do what with a document.
//!
//! A share counts from the moment the owner's row has it until it has it no more. What is noted elsewhere only helps to
//! find it: it is noted before, and forgotten after.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::reach::{asked, entitled, pointers, who};
use super::{ask_owner, invalid, page_length, unexpected};
use crate::app::body::json_body;
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Port, PortFault, storage_refusal};
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::base::digest::{base64url, from_hex, hex, hmac_sha256, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::documents::about::{Grantee, Link, Right, Share, share_id};
use crate::domain::documents::manifest::Document;
use crate::domain::documents::owner::details::{Ask, Told};
use crate::domain::documents::owner::{self, Command, Purge};
use crate::domain::documents::pointers::{self, Pointer};
use crate::domain::documents::wire;
use crate::domain::identity::is_visitor_id;
use crate::domain::settings::DerivedKeys;

/// Longest and shortest passphrase in bytes.
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 8..=256;

/// Most documents of a page of what is shared with somebody.
const PAGE: u32 = 100;

/// Shares a document.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site; fields are right | 400, 403 |
/// | 2 | the document is the caller's | 403, 404 |
/// | 3 | it is noted where those look with whom it is shared | 503 |
/// | 4 | the owner's row: from here on it is shared | 404, 503 |
///
/// The secret of a link is in this answer and nowhere else.
///
/// # Errors
/// As the table says.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    // 1
    head.own_site()?;
    let fields = json_body(port, head, body).await?;
    let now = port.now();
    let secret: [u8; 16] = port.random();
    let wanted = wanted(port, &fields, &secret, now)?;

    // 2
    let owner = entitled(port, caller, id, Right::Own).await?.owner;

    // 3
    let share = Share {
        id: share_id(&port.random()),
        with: wanted.with,
        right: wanted.right,
        created: now,
        expires: wanted.expires,
    };
    let pointer = Pointer {
        document: id.to_owned(),
        owner: owner.clone(),
    };
    for name in names(id, &share.with) {
        let pointer = pointer.clone();
        pointers(port, &name, &pointers::Command::Put { pointer })
            .await
            .map_err(|fault| storage_refusal(&fault))?;
    }

    // 4
    let command = Command::Details {
        id: id.to_owned(),
        who: None,
        ask: Ask::Share {
            share: share.clone(),
        },
    };
    match details(ask_owner(port, &owner, &command).await)? {
        Told::Document { .. } => {}
        Told::TooMany => {
            return Err(
                Refusal::new(Code::QuotaExceeded).detail("A document has 64 shares at most.")
            );
        }
        _ => return Err(Refusal::new(Code::Internal)),
    }
    let mut told = shown(&share);
    if let (Grantee::Link(_), Some(told)) = (&share.with, told.as_object_mut()) {
        let token = token(id, &secret).unwrap_or_default();
        let url = format!("{}/v1/shared/{token}/content", head.own_origin);
        told.insert("url".into(), url.into());
        told.insert("token".into(), token.into());
    }
    Ok(Reply::json(200, told.to_string()))
}

/// Lists the shares of a document.
///
/// # Errors
/// 403 for who may not share it, 404, 503.
pub async fn list<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let held = entitled(port, caller, id, Right::Own).await?;
    let now = port.now();
    let shares = held.document.about.shares.iter();
    let live = shares.filter(|share| share.expires.is_none_or(|expires| now < expires));
    let data: Vec<Value> = live.map(shown).collect();
    let told = json!({"object": "list", "data": data, "has_more": false});
    Ok(Reply::json(200, told.to_string()))
}

/// Ends a share.
///
/// # Errors
/// 403 for who may not share it, 404, 503.
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
    share: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let command = |who| Command::Details {
        id: id.to_owned(),
        who,
        ask: Ask::Unshare {
            id: share.to_owned(),
        },
    };
    let (_, reply) = asked(port, caller, None, id, command).await?;
    match details(Ok(reply))? {
        Told::Unshared {
            document,
            share: gone,
        } => {
            // What fails here leaves a note that gives nobody anything.
            let _ = unnote(port, &document, &gone).await;
            let told = json!({"id": share, "object": "file.share.deleted", "deleted": true});
            Ok(Reply::json(200, told.to_string()))
        }
        _ => Err(Refusal::new(Code::NotFound).detail("There is no such share.")),
    }
}

/// Lists what others share with the caller, by name or by role.
///
/// # Errors
/// 400, 403, 503.
pub async fn with_me<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let limit = page_length(head, 20, PAGE)?;
    let after = super::cursor(head, "after")?;
    let who = who(caller, None);
    let own = who.principal.iter().map(|id| ["to/", id].concat());
    let roles = who.roles.iter().map(|role| ["role/", role].concat());
    let mut noted: Vec<(String, Pointer)> = Vec::new();
    for name in own.chain(roles) {
        let command = pointers::Command::List {
            after: after.clone(),
            limit: limit.saturating_add(1),
        };
        let found = pointers(port, &name, &command).await;
        let found = found.map_err(|fault| storage_refusal(&fault))?;
        noted.extend(found.into_iter().map(|pointer| (name.clone(), pointer)));
    }
    noted.sort_by(|(_, a), (_, b)| b.document.cmp(&a.document));
    noted.dedup_by(|(_, a), (_, b)| a.document == b.document);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = noted.len() > limit;
    noted.truncate(limit);
    let mut data = Vec::new();
    let mut last = None;
    for (name, pointer) in noted {
        last = Some(pointer.document.clone());
        let command = Command::Get {
            id: pointer.document.clone(),
            version: None,
            who: Some(Box::new(who.clone())),
        };
        match ask_owner(port, &pointer.owner, &command).await {
            Ok(owner::Reply::Found {
                document, right, ..
            }) => data.push(wire::file_value(&document, right)),
            Ok(owner::Reply::NotFound) => {
                // Left behind by a share that is over.
                let documents = vec![pointer.document];
                let _ = pointers(port, &name, &pointers::Command::Remove { documents }).await;
            }
            other => return Err(unexpected(other)),
        }
    }
    let told = json!({"object": "list", "data": data, "last_id": last, "has_more": has_more});
    Ok(Reply::json(200, told.to_string()))
}

/// Forgets where documents were noted that are gone.
pub(super) async fn forget<P: Port>(port: &P, purges: &[Purge]) -> Result<(), PortFault> {
    for purge in purges {
        for name in &purge.noted {
            let documents = vec![purge.id.clone()];
            pointers(port, name, &pointers::Command::Remove { documents }).await?;
        }
    }
    Ok(())
}

/// Forgets where a document was noted for a share, unless another one needs it.
async fn unnote<P: Port>(port: &P, document: &Document, gone: &Share) -> Result<(), PortFault> {
    let shares = &document.about.shares;
    for name in names(&document.id, &gone.with) {
        let needed = shares
            .iter()
            .any(|share| names(&document.id, &share.with).contains(&name));
        if !needed {
            let documents = vec![document.id.clone()];
            pointers(port, &name, &pointers::Command::Remove { documents }).await?;
        }
    }
    Ok(())
}

/// Notes a document's shares where they are looked for: after its row was put back from a snapshot. Returns how many calls
/// that took.
///
/// # Errors
/// The notes could not be reached. It can be repeated.
pub async fn renote<P: Port>(
    port: &P,
    owner: &str,
    document: &str,
    shares: &[Grantee],
) -> Result<usize, PortFault> {
    let all = shares.iter().flat_map(|with| names(document, with));
    let all: BTreeSet<String> = all.collect();
    for name in &all {
        let pointer = Pointer {
            document: document.to_owned(),
            owner: owner.to_owned(),
        };
        pointers(port, name, &pointers::Command::Put { pointer }).await?;
    }
    Ok(all.len())
}

/// Where a share is noted.
fn names(document: &str, with: &Grantee) -> Vec<String> {
    let listed = match with {
        Grantee::Principal(id) => Some(["to/", id].concat()),
        Grantee::Role(role) => Some(["role/", role].concat()),
        Grantee::Link(_) | Grantee::Public => None,
    };
    listed.into_iter().chain([document.to_owned()]).collect()
}

/// What the owner told of a document's details.
pub(in crate::app) fn details(reply: Result<owner::Reply, PortFault>) -> Result<Told, Refusal> {
    match reply {
        Ok(owner::Reply::Details { told }) => Ok(*told),
        other => Err(unexpected(other)),
    }
}

// === links ===

/// The token of a link: the document's id and the link's secret, 32 bytes in 43 characters.
fn token(document: &str, secret: &[u8; 16]) -> Option<String> {
    let digits = document.strip_prefix("file_")?;
    let id = from_hex(digits)?;
    Some(base64url(&[id.as_slice(), secret].concat()))
}

/// The digest by which a link's secret is known.
pub(super) fn digest(secret: &[u8]) -> String {
    hex(&sha256(&[b"gatehouse/link/".as_slice(), secret].concat()))
}

/// The digest of a passphrase: who reads the rows has neither the house's key nor the link's secret, without which no
/// passphrase can be tried.
pub(super) fn passphrase_digest(keys: &DerivedKeys, secret: &[u8], passphrase: &str) -> String {
    let said = format!("gatehouse/passphrase/{}/{passphrase}", hex(secret));
    hex(&hmac_sha256(keys.cache.reveal(), said.as_bytes()))
}

// === the request ===

struct Wanted {
    with: Grantee,
    right: Right,
    expires: Option<Millis>,
}

fn wanted<P: Port>(
    port: &P,
    fields: &Map<String, Value>,
    secret: &[u8; 16],
    now: Millis,
) -> Result<Wanted, Refusal> {
    const KNOWN: [&str; 5] = ["with", "id", "right", "expires_at", "passphrase"];
    if let Some(name) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(invalid(name, &format!("Use one of {}.", KNOWN.join(", "))));
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let named = || text("id").ok_or_else(|| Refusal::new(Code::MissingParameter).param("id"));
    let with = match text("with") {
        Some("principal") => {
            let id = named()?;
            let is_one = is_visitor_id(id) || is_key_owner(id);
            if !is_one {
                return Err(invalid("id", "Use the id of a visitor or of an API key."));
            }
            Grantee::Principal(id.to_owned())
        }
        Some("role") => Grantee::Role(role(port, named()?)?),
        Some("link") => Grantee::Link(link(port, fields, secret)?),
        Some("public") => Grantee::Public,
        _ => return Err(invalid("with", "Use principal, role, link or public.")),
    };
    if !matches!(with, Grantee::Link(_)) && fields.contains_key("passphrase") {
        return Err(invalid("passphrase", "Only a link has one."));
    }
    let right = match text("right") {
        None if !fields.contains_key("right") => Right::View,
        name => name
            .and_then(Right::from_name)
            .ok_or_else(|| invalid("right", "Use view, comment or edit."))?,
    };
    match (&with, right) {
        (Grantee::Link(_), Right::Comment | Right::Edit) => {
            return Err(invalid("right", "A link is for reading alone."));
        }
        (Grantee::Public, Right::Edit) => {
            let detail = "Only a principal or a role can edit: who edits must be known.";
            return Err(invalid("right", detail));
        }
        _ => {}
    }
    let expires = match fields.get("expires_at") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let at = value.as_u64().map(Millis::from_secs);
            let at = at.filter(|at| now < *at);
            Some(at.ok_or_else(|| invalid("expires_at", "Use a time to come, in seconds."))?)
        }
    };
    Ok(Wanted {
        with,
        right,
        expires,
    })
}

/// As whom an API key owns documents.
fn is_key_owner(id: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    id.strip_prefix("key_")
        .is_some_and(|id| (1..=64).contains(&id.len()) && id.chars().all(fits))
}

fn role(port: &impl Port, name: &str) -> Result<String, Refusal> {
    let tiers = &port.settings().config.tiers;
    let known = match name.strip_prefix("tier:") {
        Some(tier) => tiers.iter().any(|known| known.name == tier),
        None => matches!(name, "visitor" | "key"),
    };
    if known {
        Ok(name.to_owned())
    } else {
        Err(invalid(
            "id",
            "Use visitor, key, or tier:<a tier of this house>.",
        ))
    }
}

/// Can it be said in a header? What a header cannot carry would open nothing.
fn is_passphrase(text: &str) -> bool {
    PASSPHRASE_BYTES.contains(&text.len())
        && text.trim() == text
        && !text.chars().any(char::is_control)
}

fn link(port: &impl Port, fields: &Map<String, Value>, secret: &[u8; 16]) -> Result<Link, Refusal> {
    let keys = &port.settings().keys;
    let keys = keys.as_ref().ok_or_else(super::upload::setup_required)?;
    let passphrase = match fields.get("passphrase") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if is_passphrase(text) => {
            Some(passphrase_digest(keys, secret, text))
        }
        Some(_) => {
            let detail = "Use a text of 8 to 256 bytes, without control characters and without spaces at its ends.";
            return Err(invalid("passphrase", detail));
        }
    };
    Ok(Link {
        digest: digest(secret),
        passphrase,
        failed: 0,
        failing_since: None,
    })
}

// === the answer ===

fn shown(share: &Share) -> Value {
    let (with, id) = match &share.with {
        Grantee::Principal(id) => ("principal", Some(id)),
        Grantee::Role(role) => ("role", Some(role)),
        Grantee::Link(_) => ("link", None),
        Grantee::Public => ("public", None),
    };
    let has_passphrase = match &share.with {
        Grantee::Link(link) => Some(link.passphrase.is_some()),
        _ => None,
    };
    json!({
        "id": share.id,
        "object": "file.share",
        "with": {"type": with, "id": id},
        "right": share.right,
        "created_at": share.created.secs(),
        "expires_at": share.expires.map(Millis::secs),
        "has_passphrase": has_passphrase,
    })
}
