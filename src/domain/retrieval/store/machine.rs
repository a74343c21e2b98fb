//! The machine of an owner's stores: exact limits, files that are found whole or not at all, and nothing left of what is
//! gone.

use super::command::{
    Batch, Blame, Command, Failure, File, Full, Hit, Key, Limits, NewFile, Page, Reply, SentBlock,
    SentVectors, Status, Store,
};
use super::rows::{self, COMING, Part, STORES, Segment, Total};
use super::search::{Asked, search};
use super::{schema, tidy};
use crate::base::digest::from_base64url;
use crate::base::rows::{RowMachine, Rows, RowsFault, Scan, Step};
use crate::base::time::Millis;
use crate::domain::owned::opened::{Opened, Standing, look_again};

/// The stores of one owner. All of it lies in its rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stores;

/// How long a file may be on its way after the last that was heard of it: ten minutes × 60 s. A call of the platform is
/// over by then.
const COMING_FOR: Millis = Millis::from_secs(600);

/// When the index is put in order after a change: a second, so that several changes make one turn.
const TIDY_AFTER: Millis = Millis::from_secs(1);

/// Batches are told for a day × 86,400 s.
const BATCH_TOLD: Millis = Millis::from_secs(86_400);

impl RowMachine for Stores {
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
        let mut open = Open::new(rows, now)?;
        let reply = open.apply(command)?;
        Ok((reply, open.close()?))
    }

    fn wake(&mut self, rows: &mut impl Rows, now: Millis) -> Result<Step, RowsFault> {
        if schema::brought_up(rows)? == Standing::Newer {
            return Ok(look_again(now));
        }
        let mut open = Open::woken(rows, now)?;
        open.expire()?;
        open.tidy()?;
        open.close()
    }
}

/// The rows, opened for one step.
type Open<'r, R> = Opened<'r, R, Total>;

impl<R: Rows> Open<'_, R> {
    fn apply(&mut self, command: Command) -> Result<Reply, RowsFault> {
        match command {
            Command::Key => Ok(Reply::Key { key: self.key()? }),
            Command::Create {
                id,
                key,
                sealed,
                life,
                limits,
            } => self.create(id, &key, sealed, life, &limits),
            Command::Get { id } => match self.find(&id)? {
                Some(store) => self.told(store),
                None => Ok(Reply::NotFound),
            },
            Command::List { page } => self.list(&page),
            Command::Update {
                id,
                key,
                sealed,
                life,
                limits,
            } => self.update(&id, &key, sealed, life, &limits),
            Command::Delete { id } => match self.find(&id)? {
                Some(store) => {
                    self.remove(&store)?;
                    Ok(Reply::Done)
                }
                None => Ok(Reply::NotFound),
            },
            Command::Begin {
                store,
                key,
                files,
                batch,
                limits,
            } => self.begin(&store, &key, files, batch, &limits),
            Command::Put {
                number,
                at,
                passages,
                blocks,
                vectors,
                codes,
                limits,
            } => self.put(
                number,
                (at, &passages),
                &blocks,
                (&vectors, &codes),
                &limits,
            ),
            Command::End {
                number,
                length,
                bytes,
                model,
                failure,
            } => self.end(number, (length, bytes), model, failure),
            Command::Files {
                store,
                batch,
                status,
                page,
            } => self.files(&store, batch.as_deref(), status, &page),
            Command::File { store, file } => self.file(&store, &file),
            Command::Attributes {
                store,
                file,
                key,
                sealed,
            } => self.attributes(&store, &file, &key, sealed),
            Command::Detach { store, file } => self.detach(&store, &file),
            Command::Spoil { numbers } => self.spoil(&numbers),
            Command::Drop { documents } => {
                for store in self.stores()? {
                    for document in &documents {
                        self.detach(&store.id, document)?;
                    }
                }
                Ok(Reply::Done)
            }
            Command::Batch {
                store,
                batch,
                cancel,
            } => self.batch(&store, &batch, cancel),
            Command::Content {
                store,
                file,
                from,
                limit,
            } => self.content(&store, &file, from, limit),
            Command::Search {
                store,
                questions,
                near,
                only,
                limit,
            } => {
                let asked = Asked {
                    questions: &questions,
                    near: near.as_ref(),
                    only: only.as_deref(),
                    limit: limit as usize,
                };
                self.search(&store, &asked)
            }
            Command::Forget => {
                self.emptied = true;
                Ok(Reply::Forgotten {
                    stores: self.total.stores,
                })
            }
        }
    }

    // === stores ===

    fn create(
        &mut self,
        id: String,
        key: &Key,
        sealed: String,
        life: Option<Millis>,
        limits: &Limits,
    ) -> Result<Reply, RowsFault> {
        if let Some(key) = self.other_key(key)? {
            return Ok(Reply::Other { key });
        }
        if let Some(store) = self.find(&id)? {
            return self.told(store);
        }
        self.expire_if_due()?;
        if self.total.stores >= limits.stores {
            return Ok(full(Full::Stores));
        }
        self.begin_with(key)?;
        let store = Store {
            id,
            created: self.now,
            used: self.now,
            life: lasting(life, limits),
            limited: life.is_some(),
            sealed,
            counts: [0; 4],
            bytes: 0,
            passages: 0,
            length: 0,
        };
        self.total.stores = self.total.stores.saturating_add(1);
        self.keep(&store)?;
        self.told(store)
    }

    fn update(
        &mut self,
        id: &str,
        key: &Key,
        sealed: String,
        life: Option<Millis>,
        limits: &Limits,
    ) -> Result<Reply, RowsFault> {
        let Some(mut store) = self.find(id)? else {
            return Ok(Reply::NotFound);
        };
        if let Some(key) = self.other_key(key)? {
            return Ok(Reply::Other { key });
        }
        store.sealed = sealed;
        store.life = lasting(life, limits);
        store.limited = life.is_some();
        store.used = store.used.max(self.now);
        self.keep(&store)?;
        self.told(store)
    }

    fn list(&self, page: &Page) -> Result<Reply, RowsFault> {
        let mut stores = self.stores()?;
        stores.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        let Some((stores, more)) = cut(stores, page, |store| &store.id) else {
            return Ok(Reply::NotFound);
        };
        Ok(Reply::Stores {
            stores,
            more,
            key: self.key()?,
        })
    }

    fn told(&self, store: Store) -> Result<Reply, RowsFault> {
        Ok(Reply::Stores {
            stores: vec![store],
            more: false,
            key: self.key()?,
        })
    }

    /// Every store that is not over.
    fn stores(&self) -> Result<Vec<Store>, RowsFault> {
        let mut stores: Vec<Store> = self.all(STORES)?;
        stores.retain(|store| self.now < store.expires());
        Ok(stores)
    }

    fn find(&self, id: &str) -> Result<Option<Store>, RowsFault> {
        let store: Option<Store> = rows::read(self.rows, &rows::store(id))?;
        Ok(store.filter(|store| self.now < store.expires()))
    }

    fn keep(&mut self, store: &Store) -> Result<(), RowsFault> {
        self.wake_by(store.expires());
        rows::write(self.rows, &rows::store(&store.id), store)
    }

    fn remove(&mut self, store: &Store) -> Result<(), RowsFault> {
        for file in self.all::<File>(&rows::files(&store.id))? {
            self.remove_content(file.number)?;
            self.rows.remove_all(&rows::blocks(file.number))?;
            self.rows.remove(&rows::coming(file.number))?;
            self.total.passages = self.total.passages.saturating_sub(file.passages);
        }
        for (number, _) in self.segments(&store.id)? {
            self.rows.remove_all(&rows::blocks(number))?;
        }
        for prefix in [
            rows::files(&store.id),
            rows::segments(&store.id),
            rows::batches(&store.id),
        ] {
            self.rows.remove_all(&prefix)?;
        }
        self.rows.remove(&rows::store(&store.id))?;
        self.total.stores = self.total.stores.saturating_sub(1);
        Ok(())
    }

    // === files on their way ===

    fn begin(
        &mut self,
        id: &str,
        key: &Key,
        new: Vec<NewFile>,
        batch: Option<String>,
        limits: &Limits,
    ) -> Result<Reply, RowsFault> {
        let Some(mut store) = self.find(id)? else {
            return Ok(Reply::NotFound);
        };
        if let Some(key) = self.other_key(key)? {
            return Ok(Reply::Other { key });
        }
        let mut old = Vec::with_capacity(new.len());
        for file in &new {
            old.push(self.find_file(id, &file.id)?);
        }
        let added = old.iter().filter(|file| file.is_none()).count() as u64;
        let there: u64 = store.counts.iter().map(|count| u64::from(*count)).sum();
        if there.saturating_add(added) > u64::from(limits.files) {
            return Ok(full(Full::Files));
        }
        for file in old.into_iter().flatten() {
            self.empty(&mut store, &file)?;
            count(&mut store, file.status, false);
        }
        if let Some(batch) = &batch {
            self.begin_batch(id, batch, &new)?;
        }
        let mut files = Vec::with_capacity(new.len());
        for told in new {
            let file = File {
                told,
                number: self.next_number(),
                created: self.now,
                status: Status::InProgress,
                failure: None,
                batch: batch.clone(),
                until: self.now.plus(COMING_FOR),
                passages: 0,
                length: 0,
                bytes: 0,
                model: None,
            };
            let row = rows::file(id, &file.told.id);
            rows::write(self.rows, &row, &file)?;
            self.rows.put(&rows::coming(file.number), row.as_bytes())?;
            self.wake_by(file.until);
            count(&mut store, file.status, true);
            files.push(file);
        }
        store.used = store.used.max(self.now);
        self.keep(&store)?;
        self.found(files, false)
    }

    fn put(
        &mut self,
        number: u64,
        (at, passages): (u32, &[String]),
        blocks: &[SentBlock],
        (vectors, codes): (&[SentVectors], &[SentVectors]),
        limits: &Limits,
    ) -> Result<Reply, RowsFault> {
        let Some((store, mut file)) = self.coming(number)? else {
            return Ok(Reply::NotFound);
        };
        let behind = at.saturating_add(u32::try_from(passages.len()).unwrap_or(u32::MAX));
        let added = behind.saturating_sub(file.passages);
        if self.total.passages.saturating_add(added) > limits.passages {
            return Ok(full(Full::Passages));
        }
        for (place, passage) in (at..behind).zip(passages) {
            let row = rows::passage(number, place);
            self.rows.put(&row, passage.as_bytes())?;
        }
        for (first, block) in blocks {
            let block = from_base64url(block).filter(|_| tidy::is_digest(first));
            let block = block.ok_or_else(|| RowsFault("a block cannot be read".to_owned()))?;
            self.rows.put(&rows::block(number, first), &block)?;
        }
        self.put_made(vectors, |place| rows::vector(number, place))?;
        self.put_made(codes, |place| rows::code(number, place))?;
        self.total.passages = self.total.passages.saturating_add(added);
        file.passages = file.passages.max(behind);
        file.until = self.now.plus(COMING_FOR);
        rows::write(self.rows, &rows::file(&store.id, &file.told.id), &file)?;
        Ok(Reply::Done)
    }

    fn put_made(
        &mut self,
        sent: &[SentVectors],
        row: impl Fn(u32) -> String,
    ) -> Result<(), RowsFault> {
        for (place, sealed) in sent {
            let sealed = from_base64url(sealed);
            let sealed = sealed.ok_or_else(|| RowsFault("embeddings cannot be read".to_owned()))?;
            self.rows.put(&row(*place), &sealed)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        number: u64,
        (length, bytes): (u64, u64),
        model: Option<String>,
        failure: Option<Failure>,
    ) -> Result<Reply, RowsFault> {
        let Some((mut store, mut file)) = self.coming(number)? else {
            return Ok(Reply::NotFound);
        };
        if let Some(failure) = failure {
            self.fail(&mut store, file, failure)?;
            self.keep(&store)?;
            return Ok(Reply::Done);
        }
        self.rows.remove(&rows::coming(number))?;
        count(&mut store, file.status, false);
        file.status = Status::Completed;
        (file.length, file.bytes) = (length, bytes);
        file.model.clone_from(&model);
        count(&mut store, file.status, true);
        if file.passages > 0 {
            let segment = Segment {
                size: file.passages,
                files: vec![Part {
                    file: file.told.id.clone(),
                    number,
                    first: 0,
                    count: file.passages,
                    model,
                }],
            };
            rows::write(self.rows, &rows::segment(&store.id, number), &segment)?;
            self.tidy_soon(&store.id)?;
        }
        store.passages = store.passages.saturating_add(file.passages);
        store.length = store.length.saturating_add(length);
        store.bytes = store.bytes.saturating_add(bytes);
        store.used = store.used.max(self.now);
        rows::write(self.rows, &rows::file(&store.id, &file.told.id), &file)?;
        self.keep(&store)?;
        Ok(Reply::Done)
    }

    /// A file on its way, and its store.
    fn coming(&self, number: u64) -> Result<Option<(Store, File)>, RowsFault> {
        let Some(row) = rows::text(self.rows, &rows::coming(number))? else {
            return Ok(None);
        };
        let Some((store, _)) = rows::of_file(&row) else {
            return Ok(None);
        };
        let (store, file) = (self.find(store)?, rows::read(self.rows, &row)?);
        let file = file.filter(|file: &File| self.now < file.until);
        Ok(store.zip(file))
    }

    fn fail(
        &mut self,
        store: &mut Store,
        mut file: File,
        failure: Failure,
    ) -> Result<(), RowsFault> {
        self.empty(store, &file)?;
        count(store, file.status, false);
        file.status = Status::Failed;
        file.failure = Some(failure);
        (file.passages, file.length, file.bytes) = (0, 0, 0);
        count(store, file.status, true);
        rows::write(self.rows, &rows::file(&store.id, &file.told.id), &file)
    }

    // === files ===

    fn files(
        &self,
        store: &str,
        batch: Option<&str>,
        status: Option<Status>,
        page: &Page,
    ) -> Result<Reply, RowsFault> {
        if self.find(store)?.is_none() {
            return Ok(Reply::NotFound);
        }
        if let Some(batch) = batch
            && self.rows.get(&rows::batch(store, batch))?.is_none()
        {
            return Ok(Reply::NotFound);
        }
        let mut files: Vec<File> = self.all(&rows::files(store))?;
        files.retain(|file| {
            status.is_none_or(|status| file.status == status)
                && (batch.is_none() || file.batch.as_deref() == batch)
        });
        files.sort_by_key(|file| file.number);
        match cut(files, page, |file| &file.told.id) {
            Some((files, more)) => self.found(files, more),
            None => Ok(Reply::NoFile),
        }
    }

    fn file(&self, store: &str, file: &str) -> Result<Reply, RowsFault> {
        if self.find(store)?.is_none() {
            return Ok(Reply::NotFound);
        }
        match self.find_file(store, file)? {
            Some(file) => self.found(vec![file], false),
            None => Ok(Reply::NoFile),
        }
    }

    fn attributes(
        &mut self,
        store: &str,
        file: &str,
        key: &Key,
        sealed: Option<String>,
    ) -> Result<Reply, RowsFault> {
        if self.find(store)?.is_none() {
            return Ok(Reply::NotFound);
        }
        let Some(mut file) = self.find_file(store, file)? else {
            return Ok(Reply::NoFile);
        };
        if let Some(key) = self.other_key(key)? {
            return Ok(Reply::Other { key });
        }
        file.told.sealed = sealed;
        rows::write(self.rows, &rows::file(store, &file.told.id), &file)?;
        self.found(vec![file], false)
    }

    fn detach(&mut self, store: &str, file: &str) -> Result<Reply, RowsFault> {
        let Some(mut store) = self.find(store)? else {
            return Ok(Reply::NotFound);
        };
        let Some(file) = self.find_file(&store.id, file)? else {
            return Ok(Reply::NoFile);
        };
        self.empty(&mut store, &file)?;
        count(&mut store, file.status, false);
        self.rows.remove(&rows::file(&store.id, &file.told.id))?;
        self.keep(&store)?;
        Ok(Reply::Done)
    }

    fn spoil(&mut self, numbers: &[u64]) -> Result<Reply, RowsFault> {
        for mut store in self.stores()? {
            let files = self.all::<File>(&rows::files(&store.id))?.into_iter();
            let spoilt = files
                .filter(|file| file.status == Status::Completed && numbers.contains(&file.number));
            let mut any = false;
            for file in spoilt {
                let failure = Failure {
                    code: Blame::InvalidFile,
                    message: "The document is gone, may not be read any more, or has another \
                              version: add it again."
                        .to_owned(),
                };
                self.fail(&mut store, file, failure)?;
                any = true;
            }
            if any {
                self.keep(&store)?;
            }
        }
        Ok(Reply::Done)
    }

    /// Removes a file's passages and what was made of them, but for its part of the index.
    fn remove_content(&mut self, number: u64) -> Result<(), RowsFault> {
        self.rows.remove_all(&rows::passages(number))?;
        self.rows.remove_all(&rows::vectors(number))?;
        self.rows.remove_all(&rows::codes(number))
    }

    /// Nothing of a file's content is left, nor is it found any more. Its row is left to the caller.
    fn empty(&mut self, store: &mut Store, file: &File) -> Result<(), RowsFault> {
        self.remove_content(file.number)?;
        self.total.passages = self.total.passages.saturating_sub(file.passages);
        if file.status == Status::InProgress {
            self.rows.remove(&rows::coming(file.number))?;
            return self.rows.remove_all(&rows::blocks(file.number));
        }
        store.passages = store.passages.saturating_sub(file.passages);
        store.length = store.length.saturating_sub(file.length);
        store.bytes = store.bytes.saturating_sub(file.bytes);
        for (number, mut segment) in self.segments(&store.id)? {
            let before = segment.files.len();
            segment.files.retain(|part| part.number != file.number);
            if segment.files.len() == before {
                continue;
            }
            let row = rows::segment(&store.id, number);
            if segment.files.is_empty() {
                self.rows.remove_all(&rows::blocks(number))?;
                self.rows.remove(&row)?;
            } else {
                rows::write(self.rows, &row, &segment)?;
                self.tidy_soon(&store.id)?;
            }
        }
        Ok(())
    }

    fn find_file(&self, store: &str, file: &str) -> Result<Option<File>, RowsFault> {
        rows::read(self.rows, &rows::file(store, file))
    }

    fn found(&self, files: Vec<File>, more: bool) -> Result<Reply, RowsFault> {
        Ok(Reply::Files {
            files,
            more,
            key: self.key_of_rows()?,
        })
    }

    // === batches ===

    fn begin_batch(&mut self, store: &str, id: &str, files: &[NewFile]) -> Result<(), RowsFault> {
        for old in self.all::<Batch>(&rows::batches(store))? {
            if self.now.since(old.created) > BATCH_TOLD {
                self.rows.remove(&rows::batch(store, &old.id))?;
            }
        }
        let batch = Batch {
            id: id.to_owned(),
            created: self.now,
            files: files.iter().map(|file| file.id.clone()).collect(),
            cancelled: false,
            counts: [0; 4],
        };
        rows::write(self.rows, &rows::batch(store, id), &batch)
    }

    fn batch(&mut self, store: &str, id: &str, cancel: bool) -> Result<Reply, RowsFault> {
        let row = rows::batch(store, id);
        let (store, batch) = (self.find(store)?, rows::read::<Batch>(self.rows, &row)?);
        let Some((mut store, mut batch)) = store.zip(batch) else {
            return Ok(Reply::NotFound);
        };
        let mut counts = [0_u32; 4];
        for id in &batch.files {
            let file = self.find_file(&store.id, id)?;
            let file = file.filter(|file| file.batch.as_deref() == Some(&batch.id));
            let mut status = file.as_ref().map_or(Status::Cancelled, |file| file.status);
            if let Some(mut file) = file.filter(|_| cancel && status == Status::InProgress) {
                self.empty(&mut store, &file)?;
                count(&mut store, status, false);
                status = Status::Cancelled;
                count(&mut store, status, true);
                file.status = status;
                file.passages = 0;
                rows::write(self.rows, &rows::file(&store.id, id), &file)?;
            }
            if let Some(sum) = counts.get_mut(status as usize) {
                *sum = sum.saturating_add(1);
            }
        }
        if cancel && !batch.cancelled {
            batch.cancelled = true;
            rows::write(self.rows, &row, &batch)?;
            self.keep(&store)?;
        }
        batch.counts = counts;
        Ok(Reply::Batch { batch })
    }

    // === passages ===

    fn content(&self, store: &str, file: &str, from: u32, limit: u32) -> Result<Reply, RowsFault> {
        if self.find(store)?.is_none() {
            return Ok(Reply::NotFound);
        }
        let Some(file) = self.find_file(store, file)? else {
            return Ok(Reply::NoFile);
        };
        let mut hits = Vec::new();
        if file.status == Status::Completed {
            let behind = from
                .checked_sub(1)
                .map(|last| rows::passage(file.number, last));
            let found = self.rows.scan(Scan {
                prefix: &rows::passages(file.number),
                after: behind.as_deref(),
                descending: false,
                limit: limit as usize,
            })?;
            for (key, sealed) in found {
                hits.push(Hit {
                    number: file.number,
                    place: rows::number(&key).unwrap_or_default() as u32,
                    score: 0.0,
                    cosine: None,
                    sealed: String::from_utf8(sealed).map_err(|_| unreadable(&key))?,
                });
            }
        }
        Ok(Reply::Passages {
            hits,
            files: vec![file],
            key: self.key_of_rows()?,
        })
    }

    fn search(&mut self, id: &str, asked: &Asked<'_>) -> Result<Reply, RowsFault> {
        let Some(mut store) = self.find(id)? else {
            return Ok(Reply::NotFound);
        };
        let segments = self.segments(id)?;
        let hits = search(self.rows, &store, &segments, asked)?;
        let mut files: Vec<File> = Vec::new();
        for hit in &hits {
            if files.iter().any(|file| file.number == hit.number) {
                continue;
            }
            let parts = segments.iter().flat_map(|(_, segment)| &segment.files);
            let part = parts.clone().find(|part| part.number == hit.number);
            if let Some(part) = part {
                files.extend(self.find_file(id, &part.file)?);
            }
        }
        // A write for each question would be dear; a store that is used stays all the same.
        if self.now.since(store.used).0 > store.life.0 / 16 {
            store.used = self.now;
            self.keep(&store)?;
        }
        Ok(Reply::Passages {
            hits,
            files,
            key: self.key_of_rows()?,
        })
    }

    fn segments(&self, store: &str) -> Result<Vec<(u64, Segment)>, RowsFault> {
        let rows = self.scan(&rows::segments(store))?.into_iter();
        rows.map(|(key, value)| {
            let number = rows::number(&key).ok_or_else(|| unreadable(&key))?;
            Ok((number, rows::parsed(&key, &value)?))
        })
        .collect()
    }

    fn tidy_soon(&mut self, store: &str) -> Result<(), RowsFault> {
        if tidy::plan(&self.segments(store)?).is_some() {
            self.wake_by(self.now.plus(TIDY_AFTER));
        }
        Ok(())
    }

    /// One step of putting the indexes in order, and when to take the next.
    fn tidy(&mut self) -> Result<(), RowsFault> {
        let mut done = false;
        for store in self.stores()? {
            let mut segments = self.segments(&store.id)?;
            let Some(chosen) = tidy::plan(&segments) else {
                continue;
            };
            if done {
                self.wake_by(self.now.plus(TIDY_AFTER));
                break;
            }
            segments.retain(|(number, _)| chosen.contains(number));
            let number = self.next_number();
            tidy::join(self.rows, &store.id, segments, number)?;
            self.tidy_soon(&store.id)?;
            done = true;
        }
        Ok(())
    }

    // === rows ===

    fn next_number(&mut self) -> u64 {
        let number = self.total.next;
        self.total.next = number.saturating_add(1);
        number
    }

    fn expire_if_due(&mut self) -> Result<(), RowsFault> {
        if !self.is_due() {
            return Ok(());
        }
        self.expire()?;
        for store in self.stores()? {
            self.tidy_soon(&store.id)?;
        }
        Ok(())
    }

    /// Removes what is over, and sets the alarm anew.
    fn expire(&mut self) -> Result<(), RowsFault> {
        self.total.alarm = None;
        for store in self.all::<Store>(STORES)? {
            if self.now < store.expires() {
                self.wake_by(store.expires());
            } else {
                self.remove(&store)?;
            }
        }
        for (key, row) in self.scan(COMING)? {
            let row = String::from_utf8(row).map_err(|_| unreadable(&key))?;
            let Some(file) = rows::read::<File>(self.rows, &row)? else {
                self.rows.remove(&key)?;
                continue;
            };
            if self.now < file.until {
                self.wake_by(file.until);
                continue;
            }
            let store = rows::of_file(&row).map(|(store, _)| store.to_owned());
            if let Some(mut store) = self.find(&store.unwrap_or_default())? {
                let failure = Failure {
                    code: Blame::ServerError,
                    message: "It was not finished in time: add the file again.".to_owned(),
                };
                self.fail(&mut store, file, failure)?;
                self.keep(&store)?;
            }
        }
        Ok(())
    }
}

/// How long a store is kept without use: as its owner says, and at most as long as anything.
fn lasting(life: Option<Millis>, limits: &Limits) -> Millis {
    life.map_or(limits.ttl, |life| life.min(limits.ttl))
}

/// Counts a file of a store, or no more.
fn count(store: &mut Store, status: Status, more: bool) {
    if let Some(count) = store.counts.get_mut(status as usize) {
        *count = if more {
            count.saturating_add(1)
        } else {
            count.saturating_sub(1)
        };
    }
}

/// A page of a list, which comes oldest first; `None` when what it is told from is not in it.
fn cut<T>(mut all: Vec<T>, page: &Page, id: impl Fn(&T) -> &str) -> Option<(Vec<T>, bool)> {
    if !page.ascending {
        all.reverse();
    }
    let place = |wanted: &str| all.iter().position(|one| id(one) == wanted);
    let from = match &page.after {
        Some(after) => place(after)?.saturating_add(1),
        None => 0,
    };
    let to = match &page.before {
        Some(before) => place(before)?,
        None => all.len(),
    };
    all.truncate(to);
    all.drain(..from.min(to));
    let limit = page.limit as usize;
    let more = all.len() > limit;
    if page.before.is_some() && page.after.is_none() {
        // Those right before it.
        all.drain(..all.len().saturating_sub(limit));
    } else {
        all.truncate(limit);
    }
    Some((all, more))
}

const fn full(limit: Full) -> Reply {
    Reply::Full { limit }
}

fn unreadable(key: &str) -> RowsFault {
    crate::base::rows::unreadable(key)
}

#[cfg(test)]
pub(super) mod tests;
