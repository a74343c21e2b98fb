//! The versions of a document: a new one takes its place, some earlier ones stay beside it.

use super::{Effects, Intent, OwnerDocuments, Purge, Reply, Row, Who, row_key, row_write};
use crate::base::machine::Write;
use crate::base::time::Millis;
use crate::domain::documents::about::{Grantee, Right};
use crate::domain::documents::manifest::{Document, version_blob, version_row};
use crate::domain::documents::pointers::HELD_BACK;

impl OwnerDocuments {
    /// May that version be stored? A document's first may; a later one by who may edit it, behind the one that is there.
    pub(super) fn may_begin(
        &mut self,
        now: Millis,
        intent: &Intent,
        who: Option<&Who>,
    ) -> Result<(), Box<Reply>> {
        if intent.version <= 1 {
            return Ok(());
        }
        let (document, _) = self
            .reach(now, &intent.id, who, Right::Edit)
            .map_err(|told| Box::new(told.0))?;
        let is_taken = match self.rows.get(&intent.slot()) {
            None => false,
            Some(Row::Pending(known)) => known != intent,
            Some(_) => true,
        };
        if is_taken || document.version != intent.version.saturating_sub(1) {
            let version = document.version;
            return Err(Box::new(Reply::Stale { version }));
        }
        Ok(())
    }

    /// The new version takes the place of the one before it, whose shares it inherits, and what it says nothing else of.
    pub(super) fn follow(
        &mut self,
        now: Millis,
        mut document: Document,
        keep: u32,
    ) -> Option<(Reply, Effects)> {
        let id = document.id.clone();
        let before = match self.rows.get(&id) {
            Some(row @ Row::Ready(before)) if !row.is_over(now) => before.clone(),
            _ => return None,
        };
        if before.version.saturating_add(1) != document.version {
            return None;
        }
        let said = core::mem::replace(&mut document.about, before.about.clone());
        document.about.provenance = said.provenance;
        document.about.scan = said.scan;
        document.about.held_back |= said.held_back;
        document.about.keep_until = document.about.keep_until.max(said.keep_until);
        if !said.tags.is_empty() {
            document.about.tags = said.tags;
        }
        document.created = before.created;
        document.about.epoch = document.about.epoch.saturating_add(1);
        let slot = document.slot();
        let newest = document.version;
        self.rows.remove(&slot);
        let noted = Write {
            key: row_key(&slot),
            value: None,
        };
        let earlier = version_row(&id, before.version);
        let effects = self.put(id.clone(), Row::Ready(document)).and([noted]);
        let effects = effects.then(self.put(earlier, Row::Earlier(before)));
        // Those that are too many go; a version that an operator holds stays.
        let oldest_kept = newest.saturating_sub(keep.max(1)).saturating_add(1);
        let surplus: Vec<Purge> = self
            .versions_of(&id)
            .filter_map(|(_, row)| match row {
                Row::Earlier(old) if old.version < oldest_kept && !old.about.is_kept(now) => {
                    Some(row.purge(now))
                }
                _ => None,
            })
            .collect();
        if surplus.is_empty() {
            return Some((Reply::Done, effects));
        }
        let removed: Vec<Write> = surplus
            .iter()
            .filter_map(|purge| {
                let row = Row::Removed(purge.clone());
                let write = row_write(&purge.id, &row);
                self.rows.insert(purge.id.clone(), row);
                write
            })
            .collect();
        let next_due = self.next_due();
        let purges = surplus;
        Some((Reply::Purge { purges, next_due }, effects.and(removed)))
    }

    /// All versions, the newest first.
    pub(super) fn versions(
        &mut self,
        now: Millis,
        id: &str,
        who: Option<&Who>,
    ) -> (Reply, Effects) {
        let (document, _) = match self.reach(now, id, who, Right::Edit) {
            Ok(reached) => reached,
            Err(told) => return *told,
        };
        let earlier = self.versions_of(id).filter_map(|(_, row)| match row {
            Row::Earlier(earlier) => Some(earlier.clone()),
            _ => None,
        });
        let mut documents: Vec<Document> = earlier.collect();
        documents.push(document);
        documents.reverse();
        let has_more = false;
        (
            Reply::Page {
                documents,
                has_more,
            },
            Effects::default(),
        )
    }

    /// The rows of a document's other versions, the oldest first.
    pub(super) fn versions_of<'a>(
        &'a self,
        id: &str,
    ) -> impl Iterator<Item = (&'a String, &'a Row)> {
        let prefix = [id, "@"].concat();
        let from = self.rows.range::<str, _>((
            core::ops::Bound::Excluded(prefix.as_str()),
            core::ops::Bound::Unbounded,
        ));
        from.take_while(move |(key, _)| key.starts_with(&prefix))
    }

    /// Is it a version of a document that is gone?
    pub(super) fn is_left_over(&self, now: Millis, id: &str, row: &Row) -> bool {
        let Row::Earlier(earlier) = row else {
            return false;
        };
        let newest = self.rows.get(&earlier.id);
        let is_there =
            newest.is_some_and(|newest| matches!(newest, Row::Ready(_)) && !newest.is_over(now));
        id != earlier.id && !is_there && !earlier.about.is_kept(now)
    }
}

/// What is left of a document when it goes, or of one version.
pub(super) fn purge_of(document: &Document, newest: bool) -> Purge {
    let named = document.segments.iter().filter_map(|s| s.blob.clone());
    let blobs: Vec<String> = named.collect();
    let row = if newest {
        document.id.clone()
    } else {
        version_row(&document.id, document.version)
    };
    let shares = document.about.shares.iter().filter(|_| newest);
    let noted = shares.map(|share| match &share.with {
        Grantee::Principal(id) => ["to/", id].concat(),
        Grantee::Role(role) => ["role/", role].concat(),
        Grantee::Link(_) | Grantee::Public => document.id.clone(),
    });
    let mut noted: Vec<String> = noted.collect();
    if !noted.is_empty() {
        noted.push(document.id.clone());
    }
    if newest && document.about.held_back {
        noted.push(HELD_BACK.to_owned());
    }
    noted.sort_unstable();
    noted.dedup();
    Purge {
        charge: Some(document.slot()).filter(|slot| *slot != row),
        document: Some(document.id.clone()).filter(|id| *id != row),
        id: row,
        owner: document.owner.clone(),
        network: document.network.clone(),
        segments: document.segments.len().saturating_sub(blobs.len()),
        blobs,
        after: None,
        noted,
    }
}

/// What can be there of a document that was never committed.
pub(super) fn purge_of_intent(intent: &Intent) -> Purge {
    let slot = intent.slot();
    let is_first = slot == intent.id;
    let later = if is_first { 0 } else { intent.segments };
    Purge {
        document: Some(intent.id.clone()).filter(|_| !is_first),
        id: slot,
        owner: intent.owner.clone(),
        network: intent.network.clone(),
        charge: None,
        segments: if is_first { intent.segments } else { 0 },
        blobs: (0..later)
            .map(|segment| version_blob(intent.version, &intent.mark, segment))
            .collect(),
        after: None,
        noted: Vec::new(),
    }
}
