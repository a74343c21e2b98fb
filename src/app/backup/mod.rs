//! Snapshots of what the objects keep, and the way back from them.
//!
//! * `snapshot`: reads objects page by page and seals them into the bucket, a bounded number of calls at a time.
//! * `shelf`: which snapshots there are; old ones go.
//! * `restore`: puts a snapshot back into an empty house; nothing is served until all of it is there.
//! * `rewind`: takes what one owner keeps back to an earlier time, by the platform's own recovery.
//! * `erased`: who was erased must not come back.
//!
//! Blobs of documents are not copied: they lie in the same bucket already.

pub mod erased;
pub mod restore;
pub mod rewind;
pub mod shelf;
pub mod snapshot;

use serde::{Deserialize, Serialize};

use super::objects::{KEYRING, KEYS};
use super::owned::Owned as _;
use super::port::{Class, Port, PortFault, RESTORE, SNAPSHOT};
use super::rules::HOUSE;
use crate::base::secret::Secret;
use crate::domain::backup::format::Row;
use crate::domain::backup::sealing::Keys;
use crate::domain::documents::directory::{DOCUMENT_OWNERS, MEMORY_OWNERS, STORE_OWNERS};
use crate::domain::documents::quota::SITE_LEDGER;
use crate::domain::memory::machine::Memory;
use crate::domain::retrieval::store::machine::Stores;
use crate::domain::settings::Settings;

/// A kind of objects that each owner has one of.
pub struct Owned {
    /// The directory that knows the owners.
    pub directory: &'static str,
    /// The objects' class.
    pub class: Class,
    /// What follows the owner's id in an object's name.
    pub suffix: &'static str,
}

/// What an owner has: another kind of object is another row.
pub const OWNED: [Owned; 3] = [
    Owned {
        directory: DOCUMENT_OWNERS,
        class: Class::Owner,
        suffix: "",
    },
    Owned {
        directory: MEMORY_OWNERS,
        class: Class::Memory,
        suffix: Memory::SUFFIX,
    },
    Owned {
        directory: STORE_OWNERS,
        class: Class::Stores,
        suffix: Stores::SUFFIX,
    },
];

/// Objects of the tenant that have one name. Behind them come the keyring and the house, each in a step of its own.
const SINGLE: [(Class, &str); 9] = [
    (Class::Shared, "shared/held-back"),
    (Class::Shared, "shared/held"),
    (Class::Ledger, SITE_LEDGER),
    (Class::Ledger, "tenant"),
    (Class::Directory, DOCUMENT_OWNERS),
    (Class::Directory, MEMORY_OWNERS),
    (Class::Directory, STORE_OWNERS),
    (Class::Directory, KEYS),
    (Class::AuditLog, "audit"),
];

/// The last two objects that are put back: what is sealed opens again, and then the house is open.
const KEYRING_OBJECT: (Class, &str) = (Class::Keyring, KEYRING);
const HOUSE_OBJECT: (Class, &str) = (Class::Directory, HOUSE);

/// The names of classes in snapshots.
const CLASSES: [(Class, &str); 8] = [
    (Class::Owner, "owner"),
    (Class::Memory, "memory"),
    (Class::Stores, "stores"),
    (Class::Shared, "shared"),
    (Class::Ledger, "ledger"),
    (Class::Directory, "directory"),
    (Class::Keyring, "keyring"),
    (Class::AuditLog, "audit_log"),
];

fn class_name(class: Class) -> &'static str {
    let found = CLASSES.iter().find(|(known, _)| *known == class);
    found.map_or("", |(_, name)| name)
}

fn class_of(name: &str) -> Option<Class> {
    let found = CLASSES.iter().find(|(_, known)| *known == name);
    found.map(|(class, _)| *class)
}

/// The keys of snapshots, the present root's first.
fn keys(settings: &Settings) -> Vec<Keys> {
    let roots = [&settings.master, &settings.master_previous];
    let roots = roots.into_iter().flatten().map(Secret::reveal);
    roots.map(Keys::of).collect()
}

fn fault(text: impl std::fmt::Display) -> PortFault {
    PortFault(text.to_string())
}

// === rows of objects ===

/// What of an object's rows is asked for.
#[derive(Serialize)]
struct Wanted<'a> {
    after: Option<(&'a str, &'a str)>,
    bytes: usize,
    rows: usize,
}

/// A page of them.
#[derive(Deserialize)]
struct Read {
    rows: Vec<Row>,
    more: bool,
    /// Another one when the object was written since.
    mark: String,
}

async fn read<P: Port>(
    port: &P,
    (class, name): (Class, &str),
    wanted: &Wanted<'_>,
) -> Result<Read, PortFault> {
    let asked = serde_json::to_string(wanted).map_err(fault)?;
    let told = port
        .object(class, name, [SNAPSHOT, &asked].concat())
        .await?;
    serde_json::from_str(&told).map_err(fault)
}

/// Rows to put back.
#[derive(Default, Serialize)]
struct Put<'a> {
    /// The restore: the snapshot's id.
    id: &'a str,
    /// Only tells how the object stands.
    look: bool,
    /// The object is begun anew.
    first: bool,
    /// The object is whole after this.
    last: bool,
    rows: &'a [Row],
    /// Kept for the next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<String>,
    /// In the place of whatever is there.
    discard: bool,
}

/// How an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stands {
    /// Nothing is there.
    Empty,
    /// Something is there that no restore under way put there.
    Used,
    /// Half-way in another restore.
    Other,
    /// Half-way in this one.
    Filling,
    /// Whole by this one.
    Whole,
}

#[derive(Deserialize)]
struct Answer {
    is: Stands,
    reached: String,
}

async fn put<P: Port>(
    port: &P,
    (class, name): (Class, &str),
    rows: &Put<'_>,
) -> Result<Answer, PortFault> {
    let asked = serde_json::to_string(rows).map_err(fault)?;
    let told = port.object(class, name, [RESTORE, &asked].concat()).await?;
    serde_json::from_str(&told).map_err(fault)
}
