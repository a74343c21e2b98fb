//! Blobs that no row knows: an intent is noted before a blob is written and a row goes after it, so that there are none
//! unless something went wrong, or rows were put back from an earlier day. The cron looks through the bucket, a page at a
//! time and each blob once a day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ask_owner;
use crate::app::port::{Port, PortFault};
use crate::base::time::Millis;
use crate::domain::documents::owner::{Command, Reply};

/// What stands in front of a document's blobs: `docs/<owner>/<document>/<name>`.
const DOCUMENTS: &str = "docs/";

/// Where the next page begins.
const PLACE: &str = "sweep/orphans";

/// Owners of one page that are asked: with the list and two calls for the place, far below the 1,000 calls that one
/// invocation may make.
const OWNERS_AT_ONCE: usize = 100;

/// From the end of the bucket to its next beginning: 24 h × 3,600 s.
const ROUND: Millis = Millis::from_secs(86_400);

#[derive(Default, Serialize, Deserialize)]
struct Place {
    /// Behind this key.
    after: Option<String>,
    /// Not before then.
    not_before: Millis,
}

/// Leaves what no row knows for another day.
///
/// # Errors
/// The bucket failed.
pub async fn postpone<P: Port>(port: &P) -> Result<(), PortFault> {
    let next = Place {
        after: None,
        not_before: port.now().plus(ROUND),
    };
    note(port, &next).await
}

async fn note<P: Port>(port: &P, next: &Place) -> Result<(), PortFault> {
    let text = serde_json::to_vec(next).map_err(|error| PortFault(error.to_string()))?;
    port.blob_put(PLACE, text).await
}

/// Removes what no row knows, and tells how many blobs that were.
///
/// # Errors
/// A store did not answer; the next run begins at the same place.
pub async fn sweep<P: Port>(port: &P) -> Result<usize, PortFault> {
    let now = port.now();
    let known = port.blob_get(PLACE).await?;
    let place: Place = known
        .as_deref()
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default();
    if now < place.not_before {
        return Ok(0);
    }
    let (keys, more) = port.blob_list(DOCUMENTS, place.after.as_deref()).await?;
    if keys.is_empty() && known.is_none() {
        return Ok(0);
    }
    let mut owners: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    let mut last = None;
    let mut whole = !more;
    for key in &keys {
        let Some((owner, _)) = parts_of(key) else {
            continue;
        };
        if !owners.contains_key(owner) && owners.len() >= OWNERS_AT_ONCE {
            whole = false;
            break;
        }
        owners.entry(owner).or_default().push(key);
        last = Some(key.clone());
    }
    let mut removed = 0_usize;
    for (owner, keys) in owners {
        let unknown = unknown(port, owner, &keys).await?;
        port.blob_delete(&unknown).await?;
        removed = removed.saturating_add(unknown.len());
    }
    let next = if whole {
        Place {
            after: None,
            not_before: now.plus(ROUND),
        }
    } else {
        Place {
            after: last.or_else(|| keys.last().cloned()),
            not_before: Millis::ZERO,
        }
    };
    note(port, &next).await?;
    Ok(removed)
}

/// Owner and document of a blob.
fn parts_of(key: &str) -> Option<(&str, &str)> {
    let (owner, rest) = key.strip_prefix(DOCUMENTS)?.split_once('/')?;
    Some((owner, rest.split_once('/')?.0))
}

/// Those of an owner's blobs that no row knows. They were listed before the owner is asked: whatever is written later
/// has an intent by now.
async fn unknown<P: Port>(
    port: &P,
    owner: &str,
    keys: &[&String],
) -> Result<Vec<String>, PortFault> {
    let mut documents: Vec<String> = keys
        .iter()
        .filter_map(|key| parts_of(key))
        .map(|(_, document)| document.to_owned())
        .collect();
    documents.dedup();
    match ask_owner(port, owner, &Command::Blobs { documents }).await? {
        Reply::Blobs { keys: known } => Ok(keys
            .iter()
            .filter(|key| known.binary_search(key).is_err())
            .map(|key| (*key).clone())
            .collect()),
        other => Err(PortFault(format!("the owner answered {other:?}"))),
    }
}
