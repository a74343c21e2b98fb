//! What one owner keeps, taken back to an earlier time by the platform's own recovery: each object goes back as it was,
//! and then its rows are made to agree with what is not in it.
//!
//! Every step may be repeated, and the whole of it too: the same time gives the same rows.

use std::collections::BTreeSet;

use super::erased::Erased;
use super::{Wanted, fault, read};
use crate::app::documents::shares::renote;
use crate::app::documents::{ask_owner, orphans, register, sweep};
use crate::app::objects::ask;
use crate::app::owned::object_of;
use crate::app::port::{Class, Port, PortFault, storage_refusal};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::backup::KEPT_BY_PLATFORM;
use crate::domain::documents::owner::{self, rows};
use crate::domain::documents::quota::{self, Ledger, SITE_LEDGER, network_ledger};
use crate::domain::memory::machine::Memory;
use crate::domain::retrieval::store::machine::Stores;

/// Rows and bytes of one page of an object.
const PAGE_ROWS: usize = 1_000;
const PAGE_BYTES: usize = 1_048_576;

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// Documents that are there as they were.
    pub documents: u64,
    /// Documents whose content was deleted since: they stay away.
    pub lost: u64,
    /// Why conversations and memories are as they are now: `None` when they went back.
    pub memory: Option<String>,
    /// The same of vector stores.
    pub stores: Option<String>,
}

/// Was the owner erased, as far back as the platform remembers?
///
/// # Errors
/// `storage_unavailable`
pub async fn is_erased<P: Port>(port: &P, owner: &str) -> Result<bool, Refusal> {
    let longest = port.now().since(KEPT_BY_PLATFORM);
    let erased = Erased::since(port, longest).await.map_err(failed)?;
    Ok(erased.has(port, owner))
}

/// Takes what an owner keeps back. Whoever [was erased](is_erased) is not to be asked for.
///
/// | # | step |
/// |---|---|
/// | 1 | what is half deleted goes, so that it does not come back without its quota |
/// | 2 | orphans stay for a day, so that there is a way forth again; the documents' object goes back; where the platform cannot, nothing was done |
/// | 3 | the quota of what came since is given back; its blobs go as orphans do |
/// | 4 | rows whose blobs are gone are gone too |
/// | 5 | the sweep knows the owner, and shares are where they are looked for |
/// | 6 | conversations and vector stores go back |
///
/// # Errors
/// `rewind_unavailable`: nothing was done. `storage_unavailable`: it can be repeated.
pub async fn rewind<P: Port>(port: &P, owner: &str, to: Millis) -> Result<Rewound, Refusal> {
    // 1
    sweep::finish(port, owner).await.map_err(failed)?;

    // 2
    orphans::postpone(port).await.map_err(failed)?;
    let newer = newer_than(port, owner, to).await.map_err(failed)?;
    let went = port.object_rewind(Class::Owner, owner, to).await;
    if !went.map_err(failed)? {
        return Err(Refusal::new(Code::RewindUnavailable));
    }

    // 3
    release(port, &newer).await.map_err(failed)?;

    // 4
    let (blobs, _) = super::restore::blobs_of(port, owner)
        .await
        .map_err(failed)?;
    let compare = owner::Command::Compare {
        blobs: blobs.into_iter().collect(),
    };
    let compared = ask_owner(port, owner, &compare).await.map_err(failed)?;
    let owner::Reply::Compared {
        documents,
        lost,
        shared,
    } = compared
    else {
        return Err(failed(fault(format_args!(
            "the owner answered {compared:?}"
        ))));
    };

    // 5
    if documents > 0 || lost > 0 {
        register(port, owner, port.now()).await.map_err(failed)?;
    }
    for (document, grantees) in shared {
        let noted = renote(port, owner, &document, &grantees).await;
        noted.map_err(failed)?;
    }

    // 6
    let memory = (Class::Memory, object_of::<Memory>(owner));
    let stores = (Class::Stores, object_of::<Stores>(owner));
    Ok(Rewound {
        documents,
        lost,
        memory: also(port, memory, to).await,
        stores: also(port, stores, to).await,
    })
}

fn failed(fault: PortFault) -> Refusal {
    storage_refusal(&fault)
}

// === 3 ===

/// What takes room of a quota: the ledger's network, and its slot there.
type Charge = (String, String);

/// What came after that time and takes room of quotas.
async fn newer_than<P: Port>(port: &P, owner: &str, to: Millis) -> Result<Vec<Charge>, PortFault> {
    let mut newer = Vec::new();
    let mut after: Option<(String, String)> = None;
    loop {
        let place = after.as_ref();
        let wanted = Wanted {
            after: place.map(|(table, key)| (table.as_str(), key.as_str())),
            bytes: PAGE_BYTES,
            rows: PAGE_ROWS,
        };
        let page = read(port, (Class::Owner, owner), &wanted).await?;
        let rows = page.rows.iter();
        newer.extend(rows.filter_map(|(_, key, value)| rows::charged_after(key, value, to)));
        match page.rows.into_iter().next_back() {
            Some((table, key, _)) if page.more => after = Some((table, key)),
            _ => return Ok(newer),
        }
    }
}

async fn release<P: Port>(port: &P, charges: &[Charge]) -> Result<(), PortFault> {
    let networks: BTreeSet<&String> = charges.iter().map(|(network, _)| network).collect();
    let of = |wanted: Option<&String>| quota::Command::Release {
        ids: charges
            .iter()
            .filter(|(network, _)| wanted.is_none_or(|wanted| wanted == network))
            .map(|(_, slot)| slot.clone())
            .collect(),
    };
    for network in networks {
        let ledger = network_ledger(network);
        ask::<Ledger>(port, Class::Ledger, &ledger, of(Some(network))).await?;
    }
    if !charges.is_empty() {
        ask::<Ledger>(port, Class::Ledger, SITE_LEDGER, of(None)).await?;
    }
    Ok(())
}

// === 6 ===

/// Takes another object of the owner back; why not, where it could not be. The lists of who keeps conversations or stores
/// still have them: only an erasure takes somebody out.
async fn also<P: Port>(port: &P, (class, object): (Class, String), to: Millis) -> Option<String> {
    match port.object_rewind(class, &object, to).await {
        Ok(true) => None,
        Ok(false) => Some("The platform cannot.".to_owned()),
        Err(fault) => Some(fault.0),
    }
}
