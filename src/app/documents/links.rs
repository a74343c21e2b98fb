//! Documents by link: whoever has it may read, wherever they come from.
//!
//! No cookie and no key counts here, so that a page of another site can do no more with a link than its reader.
//!
//! The token stands in the path, or, where the path says [`IN_HEADER`], in a header: paths are what logs of requests keep.

use super::reach::{asked, held};
use super::sealing::Held;
use super::shares::{digest, passphrase_digest};
use super::{not_found, send, shape};
use crate::app::gate::Caller;
use crate::app::port::Port;
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::base::digest::{from_base64url, hex};
use crate::base::errors::Refusal;
use crate::domain::documents::access::Shown;
use crate::domain::documents::owner::Command;
use crate::domain::documents::wire;
use crate::domain::identity::Principal;

/// In the place of a token: it is in the header `x-gatehouse-link`. A token is longer.
const IN_HEADER: &str = "link";

/// Describes the document of a link.
///
/// # Errors
/// `document_not_found`, `passphrase_required`, `too_many_attempts`, `storage_unavailable`.
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    token: &str,
) -> Result<Reply<P>, Refusal> {
    let (_, held) = linked(port, caller, head, token).await?;
    let told = wire::file_for(&held.document, held.right, shape(head));
    Ok(Reply::json(200, told))
}

/// Sends its content.
///
/// # Errors
/// As for [`get`]; 416; 500 for what is damaged.
pub async fn content<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    token: &str,
) -> Result<Reply<P>, Refusal> {
    let (nobody, held) = linked(port, caller, head, token).await?;
    send(port, &nobody, head, &held).await
}

/// The document, for whoever has the link and nothing else.
async fn linked<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    token: &str,
) -> Result<(Caller, Held), Refusal> {
    let keys = &port.settings().keys;
    let keys = keys.as_ref().ok_or_else(super::upload::setup_required)?;
    let token = match token {
        IN_HEADER => head.link.as_deref().unwrap_or_default(),
        token => token,
    };
    let bytes = from_base64url(token).filter(|bytes| bytes.len() == 32);
    let bytes = bytes.ok_or_else(not_found)?;
    let (id, secret) = bytes.split_at_checked(16).ok_or_else(not_found)?;
    let id = ["file_", &hex(id)].concat();
    let shown = Shown {
        digest: digest(secret),
        passphrase: head
            .passphrase
            .as_deref()
            .map(|passphrase| passphrase_digest(keys, secret, passphrase)),
    };
    let nobody = Caller {
        principal: Principal::Anonymous,
        ..caller.clone()
    };
    let get = |who| Command::Get {
        id: id.clone(),
        version: None,
        who,
    };
    let found = asked(port, &nobody, Some(shown), &id, get).await?;
    Ok((nobody, held(found)?))
}
