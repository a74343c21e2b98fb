//! From a document's id to the document: the caller's own, or somebody else's that is shared with them.
//!
//! What they may do is decided by the owner's object ([`crate::domain::documents::access`]); for who may nothing it is as
//! if there were no such document.

use super::sealing::Held;
use super::{ask_owner, not_found, owner_of, unexpected};
use crate::app::gate::Caller;
use crate::app::port::{Class, Port, PortFault, call_rows, storage_refusal};
use crate::base::errors::Refusal;
use crate::domain::documents::about::Right;
use crate::domain::documents::access::{Shown, Who};
use crate::domain::documents::manifest::is_document_id;
use crate::domain::documents::owner::{Command, Reply};
use crate::domain::documents::pointers::{self, HELD, HELD_BACK, Pointer, Pointers};
use crate::domain::identity::Principal;

/// A document that the caller may read: as it is now, or in an earlier version, which only who may edit it reads.
///
/// # Errors
/// `document_not_found` for everything that they may not; `storage_unavailable`.
pub async fn reach<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
    version: Option<u32>,
) -> Result<Held, Refusal> {
    let get = |who| Command::Get {
        id: id.to_owned(),
        version,
        who,
    };
    held(asked(port, caller, None, id, get).await?)
}

/// A document as it is now, for something that takes more than reading it.
///
/// # Errors
/// As for [`reach`]; `forbidden` for who may read it and not do that.
pub async fn entitled<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
    wanted: Right,
) -> Result<Held, Refusal> {
    let held = reach(port, caller, id, None).await?;
    if held.right < wanted {
        let right = held.right;
        return Err(unexpected(Ok(Reply::Forbidden { right })));
    }
    Ok(held)
}

/// What was read a moment ago: is it still there?
pub async fn again<P: Port>(
    port: &P,
    caller: &Caller,
    held: &Held,
    version: Option<u32>,
) -> Result<(), Refusal> {
    let is_own = owner_of(caller).as_deref() == Some(&held.owner);
    let command = Command::Get {
        id: held.document.id.clone(),
        version,
        who: (!is_own).then(|| Box::new(who(caller, None))),
    };
    match ask_owner(port, &held.owner, &command).await {
        // A link is not shown again here: a document that is there is damaged, and who sees that is no matter.
        Ok(Reply::Found { .. } | Reply::Passphrase { .. }) => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// What was found, from the owner's reply.
pub fn held((owner, reply): (String, Reply)) -> Result<Held, Refusal> {
    match reply {
        Reply::Found {
            document,
            owner_key,
            right,
        } => Ok(Held {
            owner,
            document,
            owner_key,
            right,
        }),
        other => Err(unexpected(Ok(other))),
    }
}

/// Asks whoever owns that document: the caller first, then who it is noted of. Gives their id and what they reply.
///
/// # Errors
/// `document_not_found`, `storage_unavailable`.
pub async fn asked<P: Port>(
    port: &P,
    caller: &Caller,
    link: Option<Shown>,
    id: &str,
    command: impl Fn(Option<Box<Who>>) -> Command,
) -> Result<(String, Reply), Refusal> {
    if !is_document_id(id) {
        return Err(not_found());
    }
    let fault = |fault: PortFault| storage_refusal(&fault);
    let own = owner_of(caller);
    if let Some(own) = &own {
        let reply = ask_owner(port, own, &command(None)).await.map_err(fault)?;
        if reply != Reply::NotFound {
            return Ok((own.clone().into_owned(), reply));
        }
    }
    let owner = noted(port, id).await.map_err(fault)?;
    let owner = owner.filter(|owner| own.as_deref() != Some(owner));
    let owner = owner.ok_or_else(not_found)?;
    let who = Box::new(who(caller, link));
    let reply = ask_owner(port, &owner, &command(Some(who))).await;
    Ok((owner, reply.map_err(fault)?))
}

/// As whom a caller asks for what is not theirs.
pub fn who(caller: &Caller, link: Option<Shown>) -> Who {
    let mut roles = match &caller.principal {
        Principal::Anonymous => Vec::new(),
        Principal::Visitor { .. } => vec!["visitor".to_owned()],
        Principal::Key(_) => vec!["key".to_owned()],
    };
    roles.extend(
        caller
            .payer
            .tier
            .iter()
            .map(|tier| ["tier:", tier].concat()),
    );
    Who {
        principal: owner_of(caller).map(std::borrow::Cow::into_owned),
        roles,
        link,
    }
}

/// Whose a shared document is.
async fn noted<P: Port>(port: &P, id: &str) -> Result<Option<String>, PortFault> {
    let command = pointers::Command::Get {
        document: id.to_owned(),
    };
    let found = pointers(port, id, &command).await?;
    Ok(found.into_iter().next().map(|pointer| pointer.owner))
}

/// Whose a document is that is shared, held back or held; `None` where nothing is noted of it.
///
/// # Errors
/// Storage did not answer.
pub async fn owner_of_noted<P: Port>(port: &P, id: &str) -> Result<Option<String>, PortFault> {
    for name in [id, HELD_BACK, HELD] {
        let command = pointers::Command::Get {
            document: id.to_owned(),
        };
        let found = pointers(port, name, &command).await?;
        if let Some(pointer) = found.into_iter().next() {
            return Ok(Some(pointer.owner));
        }
    }
    Ok(None)
}

/// Asks what is noted under a name.
pub async fn pointers<P: Port>(
    port: &P,
    name: &str,
    command: &pointers::Command,
) -> Result<Vec<Pointer>, PortFault> {
    let name = ["shared/", name].concat();
    match call_rows::<Pointers>(port, Class::Shared, &name, command).await? {
        pointers::Reply::Found { pointers } => Ok(pointers),
        pointers::Reply::Done => Ok(Vec::new()),
    }
}
