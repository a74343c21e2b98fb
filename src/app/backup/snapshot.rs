//! Taking a snapshot: objects in turn, their rows page by page, sealed in pieces of about 1 MiB.
//!
//! An invocation may make 1,000 calls: a run stops after some of them, and the next one goes on where it stopped. What a
//! run did after it last noted that is done again; nothing of it counts before the manifest names it.

use super::shelf::{ids, prune};
use super::{
    HOUSE_OBJECT, KEYRING_OBJECT, OWNED, Owned, Read, SINGLE, Wanted, class_name, fault, keys, read,
};
use crate::app::objects::{KEYS, ask, ask_keyring, key_object};
use crate::app::port::{Class, Port, PortFault};
use crate::base::cobblestone::SALT_BYTES;
use crate::base::digest::{base64url, hex, sha256};
use crate::base::time::Millis;
use crate::domain::backup::format::{Cursor, FORMAT, Manifest, Page, Pages, Piece};
use crate::domain::backup::is_due;
use crate::domain::backup::names;
use crate::domain::backup::sealing::{Keys, Part};
use crate::domain::documents::directory::{self, Directory};
use crate::domain::documents::owner::rows::network_of;
use crate::domain::documents::quota::network_ledger;
use crate::domain::keyring::{Command as Ring, Reply as RingReply};

/// Calls of one run; what else the cron does has the rest of the 1,000.
const CALLS: usize = 300;
/// A page of rows: 512 KiB = 512 × 1024 bytes, or as many rows, so that putting one back is a bounded step too.
const PAGE_BYTES: usize = 524_288;
const PAGE_ROWS: usize = 2_000;
/// A piece is written when it has reached 1 MiB = 1024 × 1024 bytes.
const PIECE_BYTES: usize = 1_048_576;
/// Names that are read of a directory at once.
const NAMES: usize = 200;
/// An object that changes while it is read is read again, so many times.
const TRIES: usize = 4;
/// What nobody kept anything in for an hour (3,600 s) leaves its directory.
const LINGERS: Millis = Millis::from_secs(3_600);

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The snapshot's id.
    pub id: String,
    /// Objects so far.
    pub objects: u64,
    /// Is it whole?
    pub done: bool,
}

/// Goes on with the snapshot under way, or begins one when it is due.
///
/// # Errors
/// What failed is tried again by the next run.
pub async fn run_due<P: Port>(port: &P) -> Result<(), PortFault> {
    let config = &port.settings().config.backup;
    if config.every_hours == 0 {
        return Ok(());
    }
    let under_way = running(port).await?.is_some();
    let last = ids(port).await?.pop().and_then(|id| names::begun(&id));
    if under_way || is_due(port.now(), last, config.every_hours) {
        step(port).await?;
    }
    Ok(())
}

/// Goes on with the snapshot under way, or begins one.
///
/// # Errors
/// An object or the bucket failed; there is no `MASTER_KEY`. It can be repeated.
pub async fn step<P: Port>(port: &P) -> Result<Taken, PortFault> {
    let mut keys = keys(port.settings()).into_iter();
    let keys = keys.next().ok_or_else(|| fault("MASTER_KEY is not set"))?;
    let cursor = match running(port).await? {
        Some(cursor) => cursor,
        None => {
            let id = names::snapshot_id(port.now(), &port.random());
            Cursor::new(id, opening(port).await?)
        }
    };
    let taking = Taking {
        port,
        keys,
        cursor,
        pages: Vec::new(),
        bytes: 0,
        holds: false,
        calls: 0,
    };
    taking.run().await
}

/// The snapshot under way. One that cannot be read, since `MASTER_KEY` changed, is begun anew.
async fn running<P: Port>(port: &P) -> Result<Option<Cursor>, PortFault> {
    let Some(sealed) = port.blob_get(names::RUNNING).await? else {
        return Ok(None);
    };
    let keys = keys(port.settings());
    let plain = keys.first().and_then(|keys| {
        let place = (port.tenant(), "", Part::Running);
        keys.open(place, &sealed).ok()
    });
    let cursor = plain.and_then(|plain| serde_json::from_slice::<Cursor>(&plain).ok());
    Ok(cursor.filter(|cursor| cursor.format == FORMAT))
}

/// Key versions that open at the moment.
async fn opening<P: Port>(port: &P) -> Result<Vec<u32>, PortFault> {
    match ask_keyring(port, Ring::Load { known: 0 }).await? {
        RingReply::Loaded(ring) => {
            let versions = ring.versions.iter().filter(|version| version.state.opens());
            Ok(versions.map(|version| version.n).collect())
        }
        RingReply::Empty => Ok(Vec::new()),
        other => Err(fault(format_args!("the keyring answered {other:?}"))),
    }
}

/// An object whose turn it is.
struct Next {
    /// Where the next run goes on.
    after: String,
    class: Class,
    name: String,
    /// Of an owner's: which kind, and the directory's row.
    of: Option<(&'static Owned, String)>,
}

struct Taking<'a, P> {
    port: &'a P,
    keys: Keys,
    cursor: Cursor,
    /// What the next piece is made of.
    pages: Vec<Page>,
    bytes: usize,
    /// Nothing is written yet, however much it is.
    holds: bool,
    calls: usize,
}

impl<P: Port> Taking<'_, P> {
    async fn run(mut self) -> Result<Taken, PortFault> {
        loop {
            let Some(names) = self.names().await? else {
                return self.finish().await;
            };
            if names.is_empty() {
                self.cursor.stage = self.cursor.stage.saturating_add(1);
                self.cursor.after = String::new();
            }
            for next in names {
                let found = self.object(next.class, &next.name).await?;
                if let (false, Some((owned, row))) = (found, &next.of) {
                    self.left(owned, &next.after, row).await?;
                }
                self.cursor.after = next.after;
                if self.calls >= CALLS {
                    return self.pause().await;
                }
            }
        }
    }

    /// The next objects of this stage; `None` after the last stage.
    async fn names(&mut self) -> Result<Option<Vec<Next>>, PortFault> {
        let stage = self.cursor.stage;
        if let Some(owned) = OWNED.get(stage) {
            let rows = self.listed(owned.directory, "owner/").await?;
            let next = |(owner, row): (String, String)| Next {
                name: [&owner, owned.suffix].concat(),
                after: owner,
                class: owned.class,
                of: Some((owned, row)),
            };
            return Ok(Some(rows.into_iter().map(next).collect()));
        }
        let next = |after: String, class, name| Next {
            after,
            class,
            name,
            of: None,
        };
        let after = self.cursor.after.clone();
        let names: Vec<Next> = match stage.saturating_sub(OWNED.len()) {
            0 => {
                let networks = self.cursor.networks.iter().filter(|name| **name > after);
                let ledger =
                    |name: &String| next(name.clone(), Class::Ledger, network_ledger(name));
                networks.take(NAMES).map(ledger).collect()
            }
            1 => {
                let keys = self.listed(KEYS, "key/").await?;
                let record = |(id, _): (String, String)| {
                    let name = key_object(&id);
                    next(id, Class::Ledger, name)
                };
                keys.into_iter().map(record).collect()
            }
            2 => {
                let aliases = self.port.settings().config.aliases.iter();
                let mut names: Vec<&str> = aliases.map(|alias| alias.name.as_str()).collect();
                names.sort_unstable();
                let names = names.into_iter().filter(|name| *name > after.as_str());
                let account = |name: &str| {
                    let object = ["alias/", name].concat();
                    next(name.to_owned(), Class::Ledger, object)
                };
                names.map(account).collect()
            }
            3 => {
                let done = after.parse().unwrap_or(0_usize);
                let left = SINGLE.iter().enumerate().skip(done);
                let single = |(at, (class, name)): (usize, &(Class, &str))| {
                    next(at.saturating_add(1).to_string(), *class, (*name).to_owned())
                };
                left.map(single).collect()
            }
            _ => return Ok(None),
        };
        Ok(Some(names))
    }

    /// Rows of a directory behind the cursor: what follows the prefix in their keys, and their values.
    async fn listed(
        &mut self,
        name: &str,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, PortFault> {
        let after = [prefix, &self.cursor.after].concat();
        let wanted = Wanted {
            after: Some(("rows", &after)),
            bytes: PAGE_BYTES,
            rows: NAMES,
        };
        self.calls = self.calls.saturating_add(1);
        let found = read(self.port, (Class::Directory, name), &wanted).await?;
        let named = found.rows.into_iter().filter_map(|(_, key, value)| {
            let name = key.strip_prefix(prefix)?;
            Some((name.to_owned(), value))
        });
        Ok(named.collect())
    }

    /// Reads an object; `false` when it keeps nothing.
    async fn object(&mut self, class: Class, name: &str) -> Result<bool, PortFault> {
        for _ in 0..TRIES {
            let Some(pages) = self.pages_of(class, name).await? else {
                continue;
            };
            let found = pages > 0;
            self.cursor.objects = self.cursor.objects.saturating_add(u64::from(found));
            return Ok(found);
        }
        Err(fault(format_args!("{name} changed again and again")))
    }

    /// How many pages an object has; `None` when it changed meanwhile. What was read of it then stays and is void.
    async fn pages_of(&mut self, class: Class, name: &str) -> Result<Option<usize>, PortFault> {
        let mut last: Option<(Read, usize)> = None;
        loop {
            let after = last.as_ref().and_then(|(read, _)| read.rows.last());
            let wanted = Wanted {
                after: after.map(|(table, key, _)| (table.as_str(), key.as_str())),
                bytes: PAGE_BYTES,
                rows: PAGE_ROWS,
            };
            self.calls = self.calls.saturating_add(1);
            let found = read(self.port, (class, name), &wanted).await?;
            let (before, count) = match &last {
                Some((read, count)) => (Some(&read.mark), *count),
                None => (None, 0),
            };
            if before.is_some_and(|mark| *mark != found.mark) {
                return Ok(None);
            }
            if found.rows.is_empty() && count == 0 {
                return Ok(Some(0));
            }
            if class == Class::Owner {
                let networks = found.rows.iter();
                let networks = networks.filter_map(|(_, key, value)| network_of(key, value));
                self.cursor.networks.extend(networks);
            }
            let page = Page {
                class: class_name(class).to_owned(),
                object: name.to_owned(),
                first: count == 0,
                last: !found.more,
                rows: found.rows.clone(),
            };
            self.keep(page).await?;
            let count = count.saturating_add(1);
            if !found.more {
                return Ok(Some(count));
            }
            last = Some((found, count));
        }
    }

    async fn keep(&mut self, page: Page) -> Result<(), PortFault> {
        let sizes = page.rows.iter();
        let size: usize = sizes
            .map(|(_, key, value)| key.len().saturating_add(value.len()))
            .sum();
        self.bytes = self.bytes.saturating_add(size);
        let rows = u64::try_from(page.rows.len()).unwrap_or(u64::MAX);
        self.cursor.rows = self.cursor.rows.saturating_add(rows);
        self.pages.push(page);
        if self.bytes >= PIECE_BYTES && !self.holds {
            self.write().await?;
        }
        Ok(())
    }

    /// Seals what was read so far as a piece.
    async fn write(&mut self) -> Result<(), PortFault> {
        if self.pages.is_empty() {
            return Ok(());
        }
        let number = self.cursor.pieces.len();
        let pages = Pages {
            format: FORMAT,
            pages: core::mem::take(&mut self.pages),
        };
        self.bytes = 0;
        let plain = serde_json::to_vec(&pages).map_err(fault)?;
        drop(pages);
        let salt: [u8; SALT_BYTES] = self.port.random();
        let piece = Piece {
            blob: names::piece(&self.cursor.id, number, &self.port.random()),
            salt: base64url(&salt),
            bytes: u64::try_from(plain.len()).unwrap_or(u64::MAX),
            sha256: hex(&sha256(&plain)),
        };
        let place = (
            self.port.tenant(),
            self.cursor.id.as_str(),
            Part::Piece(number),
        );
        let key = self.keys.message(place, &salt);
        self.calls = self.calls.saturating_add(1);
        self.port.blob_seal(&piece.blob, &key, plain, None).await?;
        self.cursor.pieces.push(piece);
        Ok(())
    }

    /// Notes how far it is.
    async fn pause(mut self) -> Result<Taken, PortFault> {
        self.write().await?;
        let plain = serde_json::to_vec(&self.cursor).map_err(fault)?;
        let place = (self.port.tenant(), "", Part::Running);
        let sealed = self.keys.message(place, &self.port.random()).seal(&plain);
        self.port.blob_put(names::RUNNING, sealed).await?;
        Ok(self.taken(false))
    }

    fn taken(self, done: bool) -> Taken {
        Taken {
            id: self.cursor.id,
            objects: self.cursor.objects,
            done,
        }
    }

    /// The keyring last, so that it opens whatever was read before, and the house in front of it: rules that were read
    /// later could tell of a newer keyring. In the snapshot the house is the last all the same, as it is put back.
    async fn finish(mut self) -> Result<Taken, PortFault> {
        self.write().await?;
        self.holds = true;
        self.object(HOUSE_OBJECT.0, HOUSE_OBJECT.1).await?;
        let house = core::mem::take(&mut self.pages);
        self.object(KEYRING_OBJECT.0, KEYRING_OBJECT.1).await?;
        let now = opening(self.port).await?;
        if self
            .cursor
            .versions
            .iter()
            .any(|version| !now.contains(version))
        {
            // What was sealed under it would open no more.
            self.port.blob_delete(&[names::RUNNING.to_owned()]).await?;
            return Err(fault("a key version was retired meanwhile: begun anew"));
        }
        self.pages.extend(house);
        self.write().await?;
        let manifest = Manifest {
            format: FORMAT,
            begun: names::begun(&self.cursor.id).unwrap_or_default(),
            ended: self.port.now(),
            objects: self.cursor.objects,
            rows: self.cursor.rows,
            pieces: core::mem::take(&mut self.cursor.pieces),
        };
        let plain = serde_json::to_vec(&manifest).map_err(fault)?;
        let id = self.cursor.id.clone();
        let place = (self.port.tenant(), id.as_str(), Part::Manifest);
        let sealed = self.keys.message(place, &self.port.random()).seal(&plain);
        self.port.blob_put(&names::manifest(&id), sealed).await?;
        self.port.blob_delete(&[names::RUNNING.to_owned()]).await?;
        let keep = self.port.settings().config.backup.keep;
        prune(self.port, usize::try_from(keep).unwrap_or(usize::MAX)).await?;
        Ok(self.taken(true))
    }

    /// An owner whose object keeps nothing leaves the directory: first it is noted when that was seen, which whoever
    /// registers again takes back; an hour later it goes.
    async fn left(&mut self, owned: &Owned, owner: &str, row: &str) -> Result<(), PortFault> {
        if owned.directory == directory::DOCUMENT_OWNERS {
            // Those are visited by the sweep.
            return Ok(());
        }
        let Some((due, mark)) = directory::read_row(row) else {
            return Ok(());
        };
        let now = self.port.now();
        let next_due = match due {
            Millis::ZERO => Some(now),
            seen if seen.plus(LINGERS) <= now => None,
            _ => return Ok(()),
        };
        let done = directory::Command::Done {
            owner: owner.to_owned(),
            mark,
            next_due,
        };
        self.calls = self.calls.saturating_add(1);
        ask::<Directory>(self.port, Class::Directory, owned.directory, done)
            .await
            .map(drop)
    }
}
