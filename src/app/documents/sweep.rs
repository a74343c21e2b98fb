//! Removing what is over: expired documents, abandoned uploads, deletions that stopped half-way.

use super::{ask_owner, purge};
use crate::app::objects::ask;
use crate::app::port::{Class, Port, PortFault};
use crate::base::time::Millis;
use crate::domain::documents::directory::{self, DOCUMENT_OWNERS, Directory, Visit};
use crate::domain::documents::owner;

/// Owners of one sweep, and documents of one visit: with about six calls for a visit and one for each network, a sweep
/// stays far below the 1,000 calls that one invocation may make.
const OWNERS_AT_ONCE: u32 = 16;
const DOCUMENTS_AT_ONCE: u32 = 32;

/// After a fault an owner is visited again after ten minutes (10 × 60 s), so that one that cannot be visited does not
/// keep others waiting.
const AGAIN_AFTER: Millis = Millis::from_secs(600);

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Owners that were visited.
    pub owners: usize,
    /// Documents of which nothing is left.
    pub documents: usize,
    /// What failed, for the log. It is tried again by a later sweep.
    pub faults: Vec<String>,
}

/// Visits the owners that are due, the most urgent first, a bounded number of them.
///
/// 1. The directory says who is due.
/// 2. Each owner says what is over, and shows none of it any more.
/// 3. Blobs go, then quota, then the rows.
/// 4. The directory learns when to come again.
///
/// # Errors
/// The directory did not answer. A fault with one owner does not keep the others waiting.
pub async fn sweep<P: Port>(port: &P) -> Result<Swept, PortFault> {
    // 1
    let due = directory::Command::Due {
        limit: OWNERS_AT_ONCE,
    };
    let owners = match ask::<Directory>(port, Class::Directory, DOCUMENT_OWNERS, due).await? {
        directory::Reply::Due { owners } => owners,
        directory::Reply::Done => return Err(PortFault("the directory gave no list".to_owned())),
    };
    let mut swept = Swept::default();
    for Visit { owner, mark } in owners {
        // 2 and 3
        swept.owners = swept.owners.saturating_add(1);
        let next_due = match visit(port, &owner).await {
            Ok((documents, next_due)) => {
                swept.documents = swept.documents.saturating_add(documents);
                next_due
            }
            Err(fault) => {
                swept.faults.push(fault.0);
                Some(port.now().plus(AGAIN_AFTER))
            }
        };
        // 4
        let done = directory::Command::Done {
            owner,
            mark,
            next_due,
        };
        if let Err(fault) = ask::<Directory>(port, Class::Directory, DOCUMENT_OWNERS, done).await {
            swept.faults.push(fault.0);
        }
    }
    Ok(swept)
}

/// Visits of one owner in a row: 20 × 32 documents.
const VISITS: usize = 20;

/// Removes all that is over of an owner.
///
/// # Errors
/// Something did not answer, or more is left than one call can remove. It can be repeated.
pub async fn finish<P: Port>(port: &P, owner: &str) -> Result<(), PortFault> {
    for _ in 0..VISITS {
        let (removed, _) = visit(port, owner).await?;
        if removed == 0 {
            return Ok(());
        }
    }
    Err(PortFault("more is left to remove".to_owned()))
}

/// How many documents went, and when there will be something to do again.
async fn visit<P: Port>(port: &P, owner: &str) -> Result<(usize, Option<Millis>), PortFault> {
    let command = owner::Command::Sweep {
        limit: DOCUMENTS_AT_ONCE,
    };
    match ask_owner(port, owner, &command).await? {
        owner::Reply::Purge { purges, next_due } => {
            if !purges.is_empty() {
                purge(port, owner, &purges).await?;
            }
            Ok((purges.len(), next_due))
        }
        other => Err(PortFault(format!("the owner answered {other:?}"))),
    }
}
