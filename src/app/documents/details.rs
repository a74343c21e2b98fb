//! What is known of a document beside its content, changed by who may edit it.

use super::reach::{asked, entitled};
use super::shares::details;
use super::upload::settle;
use super::{invalid, register, shape};
use crate::app::body::json_body;
use crate::app::gate::Caller;
use crate::app::port::{ByteSource, Port, storage_refusal};
use crate::app::reply::Reply;
use crate::app::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::documents::about::Right;
use crate::domain::documents::owner::Command;
use crate::domain::documents::owner::details::{Ask, Told};
use crate::domain::documents::retention::{Kind, retention};
use crate::domain::documents::said::said;
use crate::domain::documents::wire;

/// What may be changed.
const FIELDS: [&str; 4] = ["filename", "tags", "keep_until", "expires_at"];

/// Changes labels and dates. Its owner alone changes dates: at most the lifetime of documents from now on; the date
/// before which it stays only moves away.
///
/// # Errors
/// 400, 403, 404, 503.
pub async fn update<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let fields = json_body(port, head, body).await?;
    let said = said(&fields, &FIELDS)?;
    let now = port.now();
    if said.expires.is_some() || said.keep_until.is_some() {
        let held = entitled(port, caller, id, Right::Own).await?;
        let kind = Kind {
            purpose: held.document.purpose,
            owner: &held.owner,
            tier: caller.payer.tier.as_deref(),
        };
        let ttl = retention(&port.settings().config.documents, kind).ttl;
        within("keep_until", said.keep_until, now, ttl)?;
        within("expires_at", said.expires, now, ttl)?;
        // The sweep comes when it is over by its new date, and what it takes is charged until then.
        let due = said.expires.unwrap_or(held.document.expires);
        register(port, &held.owner, due)
            .await
            .map_err(|fault| storage_refusal(&fault))?;
        let mut later = held.document.clone();
        later.expires = later.expires.max(due);
        later.about.keep_until = later.about.keep_until.max(said.keep_until);
        settle(port, &later).await?;
    }
    let command = |who| Command::Details {
        id: id.to_owned(),
        who,
        ask: Ask::Change {
            filename: said.filename.clone(),
            tags: said.tags.clone(),
            expires: said.expires,
            keep_until: said.keep_until,
        },
    };
    let (_, reply) = asked(port, caller, None, id, command).await?;
    match details(Ok(reply))? {
        Told::Document { document, right } => {
            let told = wire::file_for(&document, right, shape(head));
            Ok(Reply::json(200, told))
        }
        _ => Err(Refusal::new(Code::Internal)),
    }
}

/// A date that is said must be to come, and no later than documents are kept.
pub(super) fn within(
    param: &str,
    date: Option<Millis>,
    now: Millis,
    ttl: Millis,
) -> Result<(), Refusal> {
    let last = now.plus(ttl);
    match date {
        Some(date) if date <= now || date > last => {
            let (seconds, shown) = (last.secs(), last.rfc3339());
            let detail = format!("Use a time to come, up to {seconds} ({shown}).");
            Err(invalid(param, &detail))
        }
        _ => Ok(()),
    }
}
