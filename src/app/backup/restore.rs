//! Putting a snapshot back into an empty house, a bounded number of calls at a time.
//!
//! The house is closed first and opened last: between the two its own object refuses, and with it every request. How far
//! the restore is stands in that object too. Each step may be repeated, from wherever it was cut off.

use std::collections::BTreeSet;

use super::erased::Erased;
use super::shelf::{Opened, open};
use super::{HOUSE_OBJECT, KEYRING_OBJECT, OWNED, Put, Stands, class_name, class_of, put};
use crate::app::documents::shares::renote;
use crate::app::known::{FRESH, Known};
use crate::app::port::{Class, Port, PortFault, storage_refusal};
use crate::base::errors::{Code, Refusal};
use crate::base::outbox;
use crate::domain::backup::format::{Page, Row};
use crate::domain::backup::names;
use crate::domain::backup::sealing::Part;
use crate::domain::documents::directory;
use crate::domain::documents::owner::rows::{restored, shares_of};

/// Calls of one step: far below the 1,000 that an invocation may make.
const CALLS: usize = 300;
/// Pieces of about 1 MiB that one step looks through before anything is written.
const CHECKS: usize = 60;

/// How far a restore is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many pieces of all are looked through; nothing is written yet.
    Checked(usize, usize),
    /// So many pieces of all are put back.
    Restored(usize, usize),
    /// Everything is there, but for so many documents that were deleted since.
    Done {
        /// Documents that were deleted since.
        lost: u64,
    },
}

/// How far it is: piece, page, documents that were deleted since.
type Reached = (usize, usize, u64);

/// Takes the next step.
///
/// * `discard`: what came since into a house without an owner goes.
/// * `claimed`: has the house an owner? Asked only of a house that no restore has closed.
/// * `event`: tells of the restore; it is stored with the house's own rows.
///
/// # Errors
/// `not_found`, `snapshot_damaged`: nothing was written by this step; `conflict` for a house in use;
/// `storage_unavailable`.
pub async fn step<P: Port>(
    port: &P,
    snapshot: &str,
    discard: bool,
    claimed: impl AsyncFn() -> Result<bool, Refusal>,
    event: (String, String),
) -> Result<Step, Refusal> {
    let snapshot = open(port, snapshot).await?;
    let begun = snapshot.manifest.begun;
    let look = Put {
        id: &snapshot.id,
        look: true,
        ..Put::default()
    };
    let house = put(port, HOUSE_OBJECT, &look).await.map_err(failed)?;
    match house.is {
        Stands::Whole => {
            let (_, _, lost) = read_reached(&house.reached);
            return Ok(Step::Done { lost });
        }
        Stands::Filling => {}
        Stands::Empty | Stands::Used | Stands::Other => {
            if house.is != Stands::Other {
                if claimed().await? {
                    return Err(Refusal::new(Code::Conflict).detail("The house has an owner."));
                }
                let ring = put(port, KEYRING_OBJECT, &look).await.map_err(failed)?;
                if (house.is == Stands::Used || ring.is == Stands::Used) && !discard {
                    return Err(Refusal::new(Code::Conflict).detail(
                        "The house was used since. With \"discard\": true the snapshot takes the place of what came.",
                    ));
                }
            }
            if let Some(step) = checked(port, &snapshot).await? {
                return Ok(step);
            }
            close(port, &snapshot.id).await.map_err(failed)?;
        }
    }
    let erased = Erased::since(port, begun).await.map_err(failed)?;
    let restoring = Restoring {
        port,
        snapshot,
        erased,
        calls: 0,
        lost: 0,
    };
    restoring.run(read_reached(&house.reached), event).await
}

fn failed(fault: PortFault) -> Refusal {
    storage_refusal(&fault)
}

fn read_reached(text: &str) -> Reached {
    serde_json::from_str(text).unwrap_or_default()
}

/// Every piece opens, or nothing is written: `None` when all were looked through. How far that is, is kept in the bucket.
async fn checked<P: Port>(port: &P, snapshot: &Opened) -> Result<Option<Step>, Refusal> {
    let of = snapshot.manifest.pieces.len();
    if of <= CHECKS {
        for number in 0..of {
            snapshot.piece(port, number).await?;
        }
        return Ok(None);
    }
    let name = names::checked(&snapshot.id);
    let place = (port.tenant(), snapshot.id.as_str(), Part::Running);
    let kept = port.blob_get(&name).await.map_err(failed)?;
    let kept = kept.and_then(|kept| snapshot.keys.open(place, &kept).ok());
    let from: usize = kept
        .and_then(|kept| serde_json::from_slice(&kept).ok())
        .unwrap_or_default();
    let to = from.saturating_add(CHECKS).min(of);
    for number in from..to {
        snapshot.piece(port, number).await?;
    }
    if to == of {
        port.blob_delete(&[name]).await.map_err(failed)?;
        return Ok(None);
    }
    let text = to.to_string();
    let sealed = snapshot.keys.message(place, &port.random());
    let sealed = sealed.seal(text.as_bytes());
    port.blob_put(&name, sealed).await.map_err(failed)?;
    Ok(Some(Step::Checked(to, of)))
}

/// From here on nothing is served. What isolates remember of the house is over a second later.
async fn close<P: Port>(port: &P, id: &str) -> Result<(), PortFault> {
    let begin = Put {
        id,
        discard: true,
        ..Put::default()
    };
    put(port, HOUSE_OBJECT, &begin).await?;
    put(port, KEYRING_OBJECT, &begin).await?;
    port.sleep(FRESH).await;
    Ok(())
}

struct Restoring<'a, P> {
    port: &'a P,
    snapshot: Opened,
    erased: Erased,
    calls: usize,
    /// Documents that were deleted since.
    lost: u64,
}

impl<P: Port> Restoring<'_, P> {
    async fn run(mut self, reached: Reached, event: (String, String)) -> Result<Step, Refusal> {
        let (from, skip, lost) = reached;
        self.lost = lost;
        let of = self.snapshot.manifest.pieces.len();
        for number in from..of {
            let pages = self.snapshot.piece(self.port, number).await?.pages;
            self.calls = self.calls.saturating_add(1);
            let skip = if number == from { skip } else { 0 };
            for (at, page) in pages.into_iter().enumerate().skip(skip) {
                if self.calls >= CALLS {
                    self.note((number, at, self.lost)).await?;
                    return Ok(Step::Restored(number, of));
                }
                self.page(page, &event).await?;
            }
        }
        // The house is open, and this isolate knows another one.
        self.port.known(|known| *known = Known::default());
        Ok(Step::Done { lost: self.lost })
    }

    /// Notes how far it is.
    async fn note(&self, reached: Reached) -> Result<(), Refusal> {
        let reached = Put {
            id: &self.snapshot.id,
            reached: serde_json::to_string(&reached).ok(),
            discard: true,
            ..Put::default()
        };
        let noted = put(self.port, HOUSE_OBJECT, &reached).await;
        noted.map(drop).map_err(failed)
    }

    /// Puts a page back.
    async fn page(&mut self, page: Page, event: &(String, String)) -> Result<(), Refusal> {
        let class = class_of(&page.class).ok_or_else(|| {
            let why = format!("The snapshot has objects of a class {}.", page.class);
            Refusal::new(Code::SnapshotDamaged).detail(why)
        })?;
        let owner = owner_of(class, &page.object);
        if owner.is_some_and(|owner| self.erased.has(self.port, owner)) {
            return Ok(());
        }
        let blobs = match (class, owner) {
            (Class::Owner, Some(owner)) => {
                let (blobs, calls) = blobs_of(self.port, owner).await.map_err(failed)?;
                self.calls = self.calls.saturating_add(calls);
                blobs
            }
            _ => BTreeSet::new(),
        };
        let is_house = (class_name(class), page.object.as_str())
            == (class_name(HOUSE_OBJECT.0), HOUSE_OBJECT.1);
        let mut shared = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for (table, key, value) in page.rows {
            let Some(value) = self.row(class, &page.object, &key, value, &blobs) else {
                continue;
            };
            if class == Class::Owner {
                shared.extend(shares_of(&key, &value));
            }
            rows.push((table, key, value));
        }
        if is_house && page.last {
            // Behind all that wait.
            let (id, event) = event;
            let (key, value) = outbox::row_of(self.port.now().0, id, event);
            rows.push(("rows".to_owned(), key, value));
        }
        let filled = Put {
            id: &self.snapshot.id,
            first: page.first,
            last: page.last,
            rows: &rows,
            reached: is_house
                .then(|| serde_json::to_string(&(0, 0, self.lost)).ok())
                .flatten(),
            // The house was empty or given up: nothing that came since is worth more than the snapshot.
            discard: true,
            ..Put::default()
        };
        self.calls = self.calls.saturating_add(1);
        put(self.port, (class, &page.object), &filled)
            .await
            .map_err(failed)?;
        for (document, grantees) in shared {
            let calls = renote(self.port, &page.object, &document, &grantees).await;
            self.calls = self.calls.saturating_add(calls.map_err(failed)?);
        }
        Ok(())
    }

    /// A row as it is put back; `None` for what is not.
    fn row(
        &mut self,
        class: Class,
        object: &str,
        key: &str,
        value: String,
        blobs: &BTreeSet<String>,
    ) -> Option<String> {
        /// Sessions of operators: who signs in again has a new one.
        const SESSIONS: &str = "op/s/";
        /// Keys of subjects in the audit log.
        const SUBJECTS: &str = "log/s/";

        let now = self.port.now();
        let is_erased = |owner: &str| self.erased.has(self.port, owner);
        match class {
            Class::Owner => {
                let (value, lost) = restored(key, value, now, |blob| blobs.contains(blob));
                self.lost = self.lost.saturating_add(u64::from(lost));
                Some(value)
            }
            Class::Directory if OWNED.iter().any(|owned| owned.directory == object) => {
                directory::restored(key, value, now, is_erased)
            }
            Class::Directory if key.starts_with(SESSIONS) => None,
            Class::AuditLog => match key.strip_prefix(SUBJECTS) {
                Some(subject) if is_erased(subject) => None,
                _ => Some(value),
            },
            _ => Some(value),
        }
    }
}

/// The blobs that an owner has, and how many calls it took to list them.
///
/// # Errors
/// The bucket failed.
pub(super) async fn blobs_of<P: Port>(
    port: &P,
    owner: &str,
) -> Result<(BTreeSet<String>, usize), PortFault> {
    let prefix = ["docs/", owner, "/"].concat();
    let mut found = BTreeSet::new();
    let mut after: Option<String> = None;
    let mut calls = 0_usize;
    loop {
        calls = calls.saturating_add(1);
        let (blobs, more) = port.blob_list(&prefix, after.as_deref()).await?;
        after = blobs.last().cloned();
        found.extend(blobs);
        if !more || after.is_none() {
            return Ok((found, calls));
        }
    }
}

/// Whose object that is.
fn owner_of(class: Class, object: &str) -> Option<&str> {
    let owned = OWNED.iter().find(|owned| owned.class == class)?;
    object.strip_suffix(owned.suffix)
}
