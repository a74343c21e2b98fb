//! The machine of an owner's conversations and memories: exact limits, whole turns, and nothing done twice.

use super::command::{
    Command, Conversation, Full, Item, Key, Limits, Memory as Fact, NewItem, Once, Order, Reply,
    Trim,
};
use super::rows::{self, Kept, KeptItem, MEMORIES, Total, USES};
use super::schema;
use super::trim::cuts;
use crate::base::rows::{MAX_VALUE_BYTES, RowMachine, Rows, RowsFault, Scan, Step};
use crate::base::time::Millis;
use crate::domain::owned::opened::{Opened, Standing, look_again};

/// The memory of one owner. All of it lies in its rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

/// How many of the appends that are done once a conversation remembers. A call that comes twice does so within the
/// quarter of an hour that an object's call may last; as many others do not pass in one conversation until then.
const DONE_KEPT: usize = 64;

impl RowMachine for Memory {
    type Command = Command;
    type Reply = Reply;

    fn apply(
        &mut self,
        rows: &mut impl Rows,
        now: Millis,
        command: Command,
    ) -> Result<(Reply, Step), RowsFault> {
        if schema::brought_up(rows)? == Standing::Newer {
            return Ok((Reply::Newer, Step::default()));
        }
        let mut store = Store::new(rows, now)?;
        let reply = store.apply(command)?;
        Ok((reply, store.close()?))
    }

    fn wake(&mut self, rows: &mut impl Rows, now: Millis) -> Result<Step, RowsFault> {
        if schema::brought_up(rows)? == Standing::Newer {
            return Ok(look_again(now));
        }
        let mut store = Store::woken(rows, now)?;
        store.expire()?;
        store.close()
    }
}

/// The rows, opened for one step.
type Store<'r, R> = Opened<'r, R, Total>;

impl<R: Rows> Store<'_, R> {
    fn apply(&mut self, command: Command) -> Result<Reply, RowsFault> {
        match command {
            Command::Key => Ok(Reply::Key { key: self.key()? }),
            Command::Create {
                id,
                key,
                metadata,
                items,
                digest,
                limits,
            } => self.create(id, &key, metadata, &items, digest, &limits),
            Command::Get { id } => match self.find(&id)? {
                Some(kept) => self.described(kept),
                None => Ok(Reply::NotFound),
            },
            Command::Update {
                id,
                key,
                metadata,
                limits,
            } => self.update(&id, &key, metadata, &limits),
            Command::Delete { id } => match self.find(&id)? {
                None => Ok(Reply::NotFound),
                Some(kept) => {
                    self.remove(&kept)?;
                    Ok(Reply::Done)
                }
            },
            Command::List { after, limit } => self.list(after.as_deref(), limit),
            Command::Append {
                id,
                key,
                once,
                items,
                given,
                limits,
            } => self.append(&id, &key, once, &items, given, &limits),
            Command::Items {
                id,
                after,
                limit,
                order,
            } => self.items(&id, after.as_deref(), limit, order),
            Command::Item { id, item } => self.item(&id, &item),
            Command::DeleteItem { id, item } => self.delete_item(&id, &item),
            Command::Memories => self.memories(),
            Command::Remember {
                key,
                memory,
                limits,
            } => self.remember(&key, &memory, &limits),
            Command::Unremember { id } => match self.find_memory(&id)? {
                None => Ok(Reply::NotFound),
                Some(memory) => {
                    self.unremember(&memory)?;
                    Ok(Reply::Done)
                }
            },
            Command::Forget => {
                self.emptied = true;
                Ok(Reply::Forgotten {
                    conversations: self.total.conversations,
                })
            }
        }
    }

    // === conversations ===

    fn create(
        &mut self,
        id: String,
        key: &Key,
        metadata: Option<String>,
        items: &[NewItem],
        digest: String,
        limits: &Limits,
    ) -> Result<Reply, RowsFault> {
        if let Some(key) = self.other_key(key)? {
            return Ok(Reply::Other { key });
        }
        let made = Once {
            key: String::new(),
            digest,
        };
        if let Some(kept) = self.find(&id)? {
            return if kept.done.contains(&made) {
                self.described(kept)
            } else {
                Ok(Reply::Conflict)
            };
        }
        self.expire()?;
        if self.total.conversations >= limits.conversations {
            return Ok(full(Full::Conversations));
        }
        let bytes = length(metadata.as_deref());
        let mut kept = Kept {
            told: Conversation {
                id,
                created: self.now,
                used: self.now,
                expires: self.now.plus(limits.ttl),
                items: 0,
                bytes,
                metadata,
            },
            place: 0,
            append: 0,
            done: vec![made],
        };
        let counted = self.total.bytes;
        self.total.bytes = counted.saturating_add(bytes);
        if let Err(refused) = self.add(&mut kept, items, false, limits)? {
            self.total.bytes = counted;
            return Ok(refused);
        }
        self.begin_with(key)?;
        self.total.conversations = self.total.conversations.saturating_add(1);
        self.keep(&kept)?;
        self.described(kept)
    }

    fn update(
        &mut self,
        id: &str,
        key: &Key,
        metadata: Option<String>,
        limits: &Limits,
    ) -> Result<Reply, RowsFault> {
        let Some(mut kept) = self.find(id)? else {
            return Ok(Reply::NotFound);
        };
        if let Some(key) = self.other_key(key)? {
            return Ok(Reply::Other { key });
        }
        let (before, after) = (
            length(kept.told.metadata.as_deref()),
            length(metadata.as_deref()),
        );
        let moved = |bytes: u64| bytes.saturating_sub(before).saturating_add(after);
        if after > before && moved(self.total.bytes) > limits.owner_bytes {
            return Ok(full(Full::Owner));
        }
        if after > before && moved(kept.told.bytes) > limits.conversation_bytes {
            return Ok(full(Full::Bytes));
        }
        self.total.bytes = moved(self.total.bytes);
        kept.told.bytes = moved(kept.told.bytes);
        kept.told.metadata = metadata;
        self.used(&mut kept, limits)?;
        self.keep(&kept)?;
        self.described(kept)
    }

    fn list(&self, after: Option<&str>, limit: u32) -> Result<Reply, RowsFault> {
        let after = match after {
            None => None,
            Some(id) => match self.find(id)? {
                Some(kept) => Some(rows::used(kept.told.used, id)),
                None => return Ok(Reply::NotFound),
            },
        };
        let listed = self.rows.scan(Scan {
            prefix: USES,
            after: after.as_deref(),
            descending: true,
            limit: usize::MAX,
        })?;
        let (mut conversations, mut more) = (Vec::new(), false);
        for (key, expires) in listed {
            if rows::time(&key, &expires)? <= self.now {
                continue;
            }
            if conversations.len() == limit as usize {
                more = true;
                break;
            }
            let kept = self.find(rows::listed(&key))?;
            conversations.extend(kept.map(|kept| kept.told));
        }
        Ok(Reply::Conversations {
            conversations,
            more,
            key: self.key()?,
        })
    }

    fn described(&self, kept: Kept) -> Result<Reply, RowsFault> {
        Ok(Reply::Conversation {
            conversation: kept.told,
            key: self.key_of_rows()?,
        })
    }

    // === items ===

    fn append(
        &mut self,
        id: &str,
        key: &Key,
        once: Option<Once>,
        items: &[NewItem],
        given: bool,
        limits: &Limits,
    ) -> Result<Reply, RowsFault> {
        let Some(mut kept) = self.find(id)? else {
            return Ok(Reply::NotFound);
        };
        if let Some(once) = &once
            && let Some(done) = kept.done.iter().find(|done| done.key == once.key)
        {
            return Ok(if done == once {
                Reply::Done
            } else {
                Reply::Conflict
            });
        }
        if let Some(key) = self.other_key(key)? {
            return Ok(Reply::Other { key });
        }
        if let Err(refused) = self.add(&mut kept, items, given, limits)? {
            return Ok(refused);
        }
        if let Some(once) = once {
            let surplus = kept.done.len().saturating_add(1).saturating_sub(DONE_KEPT);
            kept.done.drain(..surplus.min(kept.done.len()));
            kept.done.push(once);
        }
        self.used(&mut kept, limits)?;
        self.keep(&kept)?;
        Ok(Reply::Done)
    }

    /// Makes room for items and writes them; the conversation's own row is left to the caller. Where they are refused,
    /// nothing was written.
    fn add(
        &mut self,
        kept: &mut Kept,
        items: &[NewItem],
        given: bool,
        limits: &Limits,
    ) -> Result<Result<(), Reply>, RowsFault> {
        let id = kept.told.id.clone();
        let mut ids = std::collections::BTreeSet::new();
        for item in items {
            if item.sealed.len() > MAX_VALUE_BYTES {
                return Ok(Err(full(Full::Item)));
            }
            let there = self.rows.get(&rows::name(&id, &item.id))?.is_some();
            if there || !ids.insert(&item.id) {
                return Ok(Err(Reply::Taken));
            }
        }
        let gone = match self.room(kept, items, given, limits)? {
            Ok(gone) => gone,
            Err(limit) => return Ok(Err(full(limit))),
        };
        for (place, item) in gone {
            self.drop_item(kept, place, &item)?;
        }
        for item in items {
            let (place, bytes) = (kept.place, item.sealed.len() as u64);
            let row = KeptItem {
                id: item.id.clone(),
                append: kept.append,
                bytes,
                mark: item.mark.clone(),
            };
            rows::write(self.rows, &rows::item(&id, place), &row)?;
            self.rows
                .put(&rows::content(&id, place), item.sealed.as_bytes())?;
            let name = rows::name(&id, &item.id);
            self.rows.put(&name, place.to_string().as_bytes())?;
            kept.place = kept.place.saturating_add(1);
            kept.told.items = kept.told.items.saturating_add(1);
            kept.told.bytes = kept.told.bytes.saturating_add(bytes);
            self.total.bytes = self.total.bytes.saturating_add(bytes);
        }
        kept.append = kept.append.saturating_add(1);
        Ok(Ok(()))
    }

    /// The items that have to go so that new ones fit: as few turns as possible.
    fn room(
        &self,
        kept: &Kept,
        new: &[NewItem],
        given: bool,
        limits: &Limits,
    ) -> Result<Result<Vec<(u64, KeptItem)>, Full>, RowsFault> {
        let added: u64 = new.iter().map(|item| item.sealed.len() as u64).sum();
        let mut items = u64::from(kept.told.items).saturating_add(new.len() as u64);
        let mut bytes = kept.told.bytes.saturating_add(added);
        let mut total = self.total.bytes.saturating_add(added);
        let over = |items: u64, bytes: u64, total: u64| {
            if items > u64::from(limits.items) {
                Some(Full::Items)
            } else if bytes > limits.conversation_bytes {
                Some(Full::Bytes)
            } else if total > limits.owner_bytes {
                Some(Full::Owner)
            } else {
                None
            }
        };
        let Some(limit) = over(items, bytes, total) else {
            return Ok(Ok(Vec::new()));
        };
        match limits.trim {
            Trim::Refuse if given => return Ok(Ok(Vec::new())),
            Trim::Refuse => return Ok(Err(limit)),
            Trim::Oldest => {}
        }
        let old = self.marks(&kept.told.id)?;
        let marks = old.iter().map(|(_, item)| (&item.mark, item.append));
        let coming = new.iter().map(|item| (&item.mark, kept.append));
        let cuts = cuts(marks.chain(coming));
        let (mut gone, here) = (Vec::new(), old.len());
        let mut cuts = cuts.into_iter().filter(|cut| *cut <= here).peekable();
        for (at, item) in old.into_iter().enumerate() {
            while cuts.peek().is_some_and(|cut| *cut <= at) {
                cuts.next();
            }
            if cuts.peek().is_none() {
                // What is left is one turn.
                return Ok(Err(limit));
            }
            items = items.saturating_sub(1);
            bytes = bytes.saturating_sub(item.1.bytes);
            total = total.saturating_sub(item.1.bytes);
            gone.push(item);
            let whole = cuts.peek() == Some(&at.saturating_add(1));
            if whole && over(items, bytes, total).is_none() {
                return Ok(Ok(gone));
            }
        }
        Ok(Err(limit))
    }

    /// Every item of a conversation with its place, without contents.
    fn marks(&self, id: &str) -> Result<Vec<(u64, KeptItem)>, RowsFault> {
        let rows = self.scan(&rows::items(id))?.into_iter();
        rows.map(|(key, value)| {
            let place = rows::place(&key)
                .ok_or_else(|| RowsFault(format!("the row {key} has no place")))?;
            Ok((place, rows::parsed(&key, &value)?))
        })
        .collect()
    }

    fn items(
        &self,
        id: &str,
        after: Option<&str>,
        limit: u32,
        order: Order,
    ) -> Result<Reply, RowsFault> {
        if self.find(id)?.is_none() {
            return Ok(Reply::NotFound);
        }
        let after = match after {
            None => None,
            Some(item) => match self.place_of(id, item)? {
                Some(place) => Some(rows::item(id, place)),
                None => return Ok(Reply::NoItem),
            },
        };
        let limit = limit as usize;
        let mut found = self.rows.scan(Scan {
            prefix: &rows::items(id),
            after: after.as_deref(),
            descending: order == Order::Descending,
            limit: limit.saturating_add(1),
        })?;
        let more = found.len() > limit;
        found.truncate(limit);
        let mut items = Vec::with_capacity(found.len());
        for (key, value) in found {
            let kept: KeptItem = rows::parsed(&key, &value)?;
            items.push(self.whole(id, rows::place(&key).unwrap_or_default(), kept)?);
        }
        Ok(Reply::Items {
            items,
            more,
            key: self.key_of_rows()?,
        })
    }

    fn item(&self, id: &str, item: &str) -> Result<Reply, RowsFault> {
        if self.find(id)?.is_none() {
            return Ok(Reply::NotFound);
        }
        let Some((place, kept)) = self.find_item(id, item)? else {
            return Ok(Reply::NoItem);
        };
        Ok(Reply::Items {
            items: vec![self.whole(id, place, kept)?],
            more: false,
            key: self.key_of_rows()?,
        })
    }

    fn delete_item(&mut self, id: &str, item: &str) -> Result<Reply, RowsFault> {
        let Some(mut kept) = self.find(id)? else {
            return Ok(Reply::NotFound);
        };
        let Some((place, row)) = self.find_item(id, item)? else {
            return Ok(Reply::NoItem);
        };
        self.drop_item(&mut kept, place, &row)?;
        self.keep(&kept)?;
        self.described(kept)
    }

    fn whole(&self, id: &str, place: u64, kept: KeptItem) -> Result<Item, RowsFault> {
        let content = rows::text(self.rows, &rows::content(id, place))?;
        let sealed =
            content.ok_or_else(|| RowsFault(format!("the item {} has no content", kept.id)))?;
        Ok(Item {
            id: kept.id,
            append: kept.append,
            sealed,
            mark: kept.mark,
        })
    }

    fn find_item(&self, id: &str, item: &str) -> Result<Option<(u64, KeptItem)>, RowsFault> {
        let Some(place) = self.place_of(id, item)? else {
            return Ok(None);
        };
        let kept = rows::read(self.rows, &rows::item(id, place))?;
        Ok(kept.map(|kept| (place, kept)))
    }

    fn place_of(&self, id: &str, item: &str) -> Result<Option<u64>, RowsFault> {
        let place = rows::text(self.rows, &rows::name(id, item))?;
        Ok(place.and_then(|place| place.parse().ok()))
    }

    fn drop_item(&mut self, kept: &mut Kept, place: u64, item: &KeptItem) -> Result<(), RowsFault> {
        let id = &kept.told.id;
        self.rows.remove(&rows::item(id, place))?;
        self.rows.remove(&rows::content(id, place))?;
        self.rows.remove(&rows::name(id, &item.id))?;
        kept.told.items = kept.told.items.saturating_sub(1);
        kept.told.bytes = kept.told.bytes.saturating_sub(item.bytes);
        self.total.bytes = self.total.bytes.saturating_sub(item.bytes);
        Ok(())
    }

    // === memories ===

    fn memories(&self) -> Result<Reply, RowsFault> {
        let mut memories = self.all::<Fact>(MEMORIES)?;
        memories.retain(|memory| self.now < memory.expires);
        memories.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        Ok(Reply::Memories {
            memories,
            key: self.key()?,
        })
    }

    fn remember(&mut self, key: &Key, memory: &Fact, limits: &Limits) -> Result<Reply, RowsFault> {
        if let Some(key) = self.other_key(key)? {
            return Ok(Reply::Other { key });
        }
        if self.find_memory(&memory.id)?.is_some() {
            return Ok(Reply::Done);
        }
        self.expire()?;
        if self.total.memories >= limits.memories {
            return Ok(full(Full::Memories));
        }
        let bytes = memory.sealed.len() as u64;
        let total = self.total.bytes.saturating_add(bytes);
        if total > limits.owner_bytes {
            return Ok(full(Full::Owner));
        }
        self.begin_with(key)?;
        self.total.memories = self.total.memories.saturating_add(1);
        self.total.bytes = total;
        self.wake_by(memory.expires);
        rows::write(self.rows, &rows::memory(&memory.id), memory)?;
        Ok(Reply::Done)
    }

    fn unremember(&mut self, memory: &Fact) -> Result<(), RowsFault> {
        self.rows.remove(&rows::memory(&memory.id))?;
        let bytes = memory.sealed.len() as u64;
        self.total.memories = self.total.memories.saturating_sub(1);
        self.total.bytes = self.total.bytes.saturating_sub(bytes);
        Ok(())
    }

    fn find_memory(&self, id: &str) -> Result<Option<Fact>, RowsFault> {
        let memory: Option<Fact> = rows::read(self.rows, &rows::memory(id))?;
        Ok(memory.filter(|memory| self.now < memory.expires))
    }

    // === rows ===

    fn find(&self, id: &str) -> Result<Option<Kept>, RowsFault> {
        let kept: Option<Kept> = rows::read(self.rows, &rows::conversation(id))?;
        Ok(kept.filter(|kept| self.lives(kept)))
    }

    fn lives(&self, kept: &Kept) -> bool {
        self.now < kept.told.expires
    }

    /// It is used now. The row that lists it goes; [`Self::keep`] writes the new one.
    fn used(&mut self, kept: &mut Kept, limits: &Limits) -> Result<(), RowsFault> {
        let listed = rows::used(kept.told.used, &kept.told.id);
        self.rows.remove(&listed)?;
        // A clock that went back does not make it older.
        kept.told.used = kept.told.used.max(self.now);
        kept.told.expires = kept.told.used.plus(limits.ttl);
        Ok(())
    }

    fn keep(&mut self, kept: &Kept) -> Result<(), RowsFault> {
        self.wake_by(kept.told.expires);
        let (listed, expires) = (
            rows::used(kept.told.used, &kept.told.id),
            kept.told.expires.0.to_string(),
        );
        self.rows.put(&listed, expires.as_bytes())?;
        rows::write(self.rows, &rows::conversation(&kept.told.id), kept)
    }

    fn remove(&mut self, kept: &Kept) -> Result<(), RowsFault> {
        let id = &kept.told.id;
        self.rows.remove(&rows::conversation(id))?;
        self.rows.remove(&rows::used(kept.told.used, id))?;
        for prefix in [rows::items(id), rows::contents(id), rows::names(id)] {
            self.rows.remove_all(&prefix)?;
        }
        self.total.conversations = self.total.conversations.saturating_sub(1);
        self.total.bytes = self.total.bytes.saturating_sub(kept.told.bytes);
        Ok(())
    }

    /// Removes what is over, and sets the alarm anew.
    fn expire(&mut self) -> Result<(), RowsFault> {
        if !self.is_due() {
            return Ok(());
        }
        self.total.alarm = None;
        for (key, expires) in self.scan(USES)? {
            let expires = rows::time(&key, &expires)?;
            if self.now < expires {
                self.wake_by(expires);
            } else if let Some(kept) =
                rows::read(self.rows, &rows::conversation(rows::listed(&key)))?
            {
                self.remove(&kept)?;
            }
        }
        for memory in self.all::<Fact>(MEMORIES)? {
            if self.now < memory.expires {
                self.wake_by(memory.expires);
            } else {
                self.unremember(&memory)?;
            }
        }
        Ok(())
    }
}

const fn full(limit: Full) -> Reply {
    Reply::Full { limit }
}

fn length(sealed: Option<&str>) -> u64 {
    sealed.map_or(0, str::len) as u64
}

#[cfg(test)]
mod tests;
