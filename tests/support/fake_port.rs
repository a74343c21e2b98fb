//! The port in memory: the real machines over rows that are kept as the shell keeps them, stores, a scripted upstream,
//! a clock that the test sets, and a plan of faults.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use gatehouse::app::port::{BlobPart, Class, FirstByte, Port, PortFault, RelayEnd};
use gatehouse::base::digest::{base64url, sha256};
use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::time::Millis;
use gatehouse::domain::answer::Index;
use gatehouse::domain::documents::directory::Directory;
use gatehouse::domain::documents::owner::OwnerDocuments;
use gatehouse::domain::documents::quota::Ledger;
use gatehouse::domain::limits::Limiter;
use gatehouse::domain::llm::observe::{Observation, Observer};
use gatehouse::domain::llm::upstream::{UpstreamFault, UpstreamHead, UpstreamRequest};
use gatehouse::domain::settings::config::{Config, Deadlines};
use gatehouse::domain::settings::{Settings, embedded, names};
use gatehouse::domain::telemetry::LogLine;

use super::run::step;

/// When every test begins: 2026-11-21T00:00:00Z.
pub const START: Millis = Millis(1_795_219_200_000);

// === faults ===

/// A call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Object(Class),
    CacheGet,
    CachePut,
    Asset,
    SiteIndex,
    BlobPut,
    BlobDelete,
    BlobStream,
}

/// On which side of persisting a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing happened.
    Before,
    /// It happened, but the caller does not learn it.
    After,
}

/// Which calls fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Of this kind alone; `None` counts calls of every kind.
    pub op: Option<Op>,
    /// The first that fails, from 0, counted from when the plan was made.
    pub first: usize,
    /// How many fail from there on.
    pub count: usize,
    /// How.
    pub when: When,
}

#[derive(Default)]
struct Plan {
    faults: Vec<Fault>,
    /// Calls since the plan was made.
    calls: Vec<Op>,
}

impl Plan {
    fn verdict(&mut self, op: Op) -> Option<When> {
        let nth = |only: Option<Op>| match only {
            None => self.calls.len(),
            Some(only) => self.calls.iter().filter(|call| **call == only).count(),
        };
        let hit = self.faults.iter().find(|fault| {
            let past = nth(fault.op).checked_sub(fault.first);
            fault.op.is_none_or(|only| only == op) && past.is_some_and(|past| past < fault.count)
        });
        let when = hit.map(|fault| fault.when);
        self.calls.push(op);
        when
    }
}

// === the world ===

/// The port; clones are the same world.
#[derive(Clone)]
pub struct FakePort(Rc<World>);

/// Everything behind the port, open to the test.
pub struct World {
    settings: Settings,
    now: Cell<Millis>,
    drawn: Cell<u64>,
    plan: RefCell<Plan>,
    evicting: Cell<bool>,
    objects: RefCell<BTreeMap<(Class, String), Object>>,
    pub cache: RefCell<BTreeMap<String, (Vec<u8>, Millis)>>,
    pub assets: RefCell<BTreeMap<String, Vec<u8>>>,
    pub index: RefCell<Option<Rc<Index>>>,
    pub blobs: RefCell<BTreeMap<String, Vec<u8>>>,
    pub memory: RefCell<BTreeMap<String, (Vec<u8>, Millis)>>,
    pub script: RefCell<VecDeque<Scripted>>,
    pub sent: RefCell<Vec<Sent>>,
    /// The client of a relayed answer goes away after so many pieces.
    pub client_leaves_after: Cell<Option<usize>>,
    pub logged: RefCell<Vec<serde_json::Value>>,
}

impl std::ops::Deref for FakePort {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl FakePort {
    /// A world with the shipped configuration and a master key.
    pub fn new() -> Self {
        Self::with(|_| {}, &[])
    }

    /// A world with a changed configuration and further variables. An empty value takes a variable away.
    pub fn with(change: impl FnOnce(&mut Config), variables: &[(&str, &str)]) -> Self {
        let mut config = embedded().unwrap();
        change(&mut config);
        let config = serde_json::to_string(&config).unwrap();
        let master_key = base64url(&[0x42; 32]);
        let lookup = |name: &str| {
            let given = variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| *value);
            let value = given.or(match name {
                names::ENVIRONMENT => Some("test"),
                names::GATEHOUSE_CONFIG => Some(&config),
                names::MASTER_KEY => Some(&master_key),
                _ => None,
            });
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        Self(Rc::new(World {
            settings: Settings::resolve(&lookup).unwrap(),
            now: Cell::new(START),
            drawn: Cell::default(),
            plan: RefCell::default(),
            evicting: Cell::default(),
            objects: RefCell::default(),
            cache: RefCell::default(),
            assets: RefCell::default(),
            index: RefCell::default(),
            blobs: RefCell::default(),
            memory: RefCell::default(),
            script: RefCell::default(),
            sent: RefCell::default(),
            client_leaves_after: Cell::default(),
            logged: RefCell::default(),
        }))
    }

    /// Lets calls fail from now on, instead of those of an earlier plan.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.plan.borrow_mut() = Plan {
            faults: faults.into_iter().collect(),
            calls: Vec::new(),
        };
    }

    /// Lets every call succeed again, and counts from 0.
    pub fn heal(&self) {
        *self.plan.borrow_mut() = Plan::default();
    }

    /// The calls since the last plan was made.
    pub fn calls(&self) -> Vec<Op> {
        self.plan.borrow().calls.clone()
    }

    /// Sets the clock, without waking anybody.
    pub fn set_now(&self, now: Millis) {
        self.now.set(now);
    }

    /// Lets time pass, and alarms ring at the end of it.
    pub fn pass(&self, time: Millis) {
        self.now.set(self.now.get().plus(time));
        let now = self.now.get();
        for ((class, _), object) in self.objects.borrow_mut().iter_mut() {
            if object.alarm.is_some_and(|alarm| alarm <= now) {
                object.alarm = None;
                let effects = object.machine(*class, now).wake(now);
                object.persist(effects);
            }
        }
    }

    /// Before every call the objects forget what is not in their rows.
    pub fn evict_always(&self) {
        self.evicting.set(true);
    }

    /// The rows of all objects of a class, by object; those without rows are left out.
    pub fn rows(&self, class: Class) -> BTreeMap<String, BTreeMap<String, String>> {
        let objects = self.objects.borrow();
        let of_class = objects
            .iter()
            .filter(|((c, _), object)| *c == class && !object.rows.is_empty());
        of_class
            .map(|((_, name), object)| (name.clone(), object.rows.clone()))
            .collect()
    }

    /// Is an alarm set without a row that it could be for?
    pub fn has_idle_alarm(&self) -> bool {
        self.objects
            .borrow()
            .values()
            .any(|object| object.rows.is_empty() && object.alarm.is_some())
    }

    async fn call<T>(&self, op: Op, effect: impl FnOnce() -> T) -> Result<T, PortFault> {
        step().await;
        let verdict = self.plan.borrow_mut().verdict(op);
        if verdict == Some(When::Before) {
            return Err(PortFault(format!("{op:?} failed before")));
        }
        let done = effect();
        match verdict {
            Some(_) => Err(PortFault(format!("{op:?} failed after"))),
            None => Ok(done),
        }
    }
}

// === objects ===

/// What the shell of an object does: load once, apply, persist, answer.
#[derive(Default)]
struct Object {
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
    machine: Option<Box<dyn Kept>>,
}

impl Object {
    fn machine(&mut self, class: Class, now: Millis) -> &mut dyn Kept {
        let rows = &self.rows;
        let load = || -> Box<dyn Kept> {
            let rows = rows.clone().into_iter().collect();
            match class {
                Class::Limiter => Box::new(Keeper(Limiter::load(now, rows))),
                Class::Ledger => Box::new(Keeper(Ledger::load(now, rows))),
                Class::Owner => Box::new(Keeper(OwnerDocuments::load(now, rows))),
                Class::Directory => Box::new(Keeper(Directory::load(now, rows))),
            }
        };
        &mut **self.machine.get_or_insert_with(load)
    }

    fn persist(&mut self, effects: Effects) {
        if effects.delete_all {
            assert!(effects.writes.is_empty(), "delete_all goes without writes");
            *self = Self::default();
            return;
        }
        for write in effects.writes {
            match write.value {
                Some(value) => self.rows.insert(write.key, value),
                None => self.rows.remove(&write.key),
            };
        }
        self.alarm = effects.alarm.or(self.alarm);
    }
}

trait Kept {
    fn apply(&mut self, now: Millis, command: &str) -> (String, Effects);
    fn wake(&mut self, now: Millis) -> Effects;
}

struct Keeper<M>(M);

impl<M: Machine> Kept for Keeper<M> {
    fn apply(&mut self, now: Millis, command: &str) -> (String, Effects) {
        let command = serde_json::from_str(command).expect("a command of this machine");
        let (reply, effects) = self.0.apply(now, command);
        (serde_json::to_string(&reply).unwrap(), effects)
    }

    fn wake(&mut self, now: Millis) -> Effects {
        self.0.wake(now)
    }
}

// === streams and the upstream ===

/// A piece of a scripted body.
#[derive(Clone, Debug)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// Nothing comes for that long.
    Silence(Millis),
    /// The connection breaks.
    Broken(String),
}

impl From<&str> for Piece {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

/// What a request to the upstream meets.
pub enum Scripted {
    /// An answer.
    Answer(UpstreamHead, Vec<Piece>),
    /// None.
    Fault(UpstreamFault),
}

impl Scripted {
    /// An answer of that status and content type.
    pub fn answer(
        status: u16,
        content_type: &str,
        pieces: impl IntoIterator<Item = Piece>,
    ) -> Self {
        let head = UpstreamHead {
            status,
            content_type: Some(content_type.to_owned()),
            ..UpstreamHead::default()
        };
        Self::Answer(head, pieces.into_iter().collect())
    }
}

/// A request that went upstream.
#[derive(Clone, Debug)]
pub struct Sent {
    pub url: String,
    /// The header that carries the key, and its value.
    pub key: Option<(&'static str, String)>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// A body on its way; clones are the same body.
#[derive(Clone, Debug, Default)]
pub struct FakeStream(Rc<RefCell<VecDeque<Piece>>>);

enum Pulled {
    Bytes(Vec<u8>),
    End,
    TimedOut,
    Broken(String),
}

impl FakeStream {
    pub fn of(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self(Rc::new(RefCell::new(pieces.into_iter().collect())))
    }

    /// All bytes that are there, and why they break off if they do.
    pub fn drain(&self) -> (Vec<u8>, Option<String>) {
        let mut whole = Vec::new();
        while let Some(piece) = self.0.borrow_mut().pop_front() {
            match piece {
                Piece::Bytes(bytes) => whole.extend(bytes),
                Piece::Silence(_) => {}
                Piece::Broken(cause) => return (whole, Some(cause)),
            }
        }
        (whole, None)
    }
}

impl World {
    /// The next bytes of a body; silence makes the clock go on.
    async fn pull(&self, body: &FakeStream, deadline: Millis) -> Pulled {
        let give_up = self.now.get().plus(deadline);
        loop {
            step().await;
            let piece = body.0.borrow_mut().pop_front();
            match piece {
                None => return Pulled::End,
                Some(Piece::Bytes(bytes)) => return Pulled::Bytes(bytes),
                Some(Piece::Broken(cause)) => return Pulled::Broken(cause),
                Some(Piece::Silence(time)) => {
                    let speaks_again = self.now.get().plus(time);
                    self.now.set(speaks_again.min(give_up));
                    if speaks_again >= give_up {
                        return Pulled::TimedOut;
                    }
                }
            }
        }
    }
}

// === impl Port ===

impl Port for FakePort {
    type Stream = FakeStream;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn now(&self) -> Millis {
        self.now.get()
    }

    /// Different each time and the same in each run.
    fn random<const N: usize>(&self) -> [u8; N] {
        self.drawn.set(self.drawn.get() + 1);
        let digest = sha256(&self.drawn.get().to_be_bytes());
        std::array::from_fn(|i| digest[i % digest.len()])
    }

    async fn object(&self, class: Class, name: &str, command: String) -> Result<String, PortFault> {
        let now = self.now();
        let act = || {
            let mut objects = self.objects.borrow_mut();
            let object = objects.entry((class, name.to_owned())).or_default();
            if self.evicting.get() {
                object.machine = None;
            }
            let (reply, effects) = object.machine(class, now).apply(now, &command);
            object.persist(effects);
            reply
        };
        self.call(Op::Object(class), act).await
    }

    async fn cache_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortFault> {
        let act = || {
            let cache = self.cache.borrow();
            let live = cache.get(key).filter(|(_, expires)| self.now() < *expires);
            live.map(|(bytes, _)| bytes.clone())
        };
        self.call(Op::CacheGet, act).await
    }

    async fn cache_put(
        &self,
        key: &str,
        value: Vec<u8>,
        ttl_seconds: u64,
    ) -> Result<(), PortFault> {
        assert!(ttl_seconds >= 60, "KV accepts no less");
        let expires = self.now().plus(Millis::from_secs(ttl_seconds));
        let act = || {
            drop(
                self.cache
                    .borrow_mut()
                    .insert(key.to_owned(), (value, expires)),
            )
        };
        self.call(Op::CachePut, act).await
    }

    async fn asset(&self, path: &str) -> Result<Option<Vec<u8>>, PortFault> {
        self.call(Op::Asset, || self.assets.borrow().get(path).cloned())
            .await
    }

    async fn site_index(&self) -> Result<Rc<Index>, PortFault> {
        let found = self
            .call(Op::SiteIndex, || self.index.borrow().clone())
            .await?;
        found.ok_or_else(|| PortFault("there is no index".to_owned()))
    }

    async fn blob_put(&self, key: &str, bytes: Vec<u8>) -> Result<(), PortFault> {
        let act = || drop(self.blobs.borrow_mut().insert(key.to_owned(), bytes));
        self.call(Op::BlobPut, act).await
    }

    async fn blob_delete(&self, keys: &[String]) -> Result<(), PortFault> {
        assert!(keys.len() <= 1000, "R2 deletes at most 1,000 keys at once");
        let act = || self.blobs.borrow_mut().retain(|key, _| !keys.contains(key));
        self.call(Op::BlobDelete, act).await
    }

    async fn blob_stream(&self, parts: Vec<BlobPart>) -> Result<Option<FakeStream>, PortFault> {
        let act = || {
            let blobs = self.blobs.borrow();
            let mut pieces = Vec::new();
            for (
                index,
                BlobPart {
                    key,
                    offset,
                    length,
                },
            ) in parts.iter().enumerate()
            {
                let (from, to) = (*offset as usize, (*offset + *length) as usize);
                match blobs.get(key).and_then(|blob| blob.get(from..to)) {
                    Some(bytes) => pieces.push(Piece::Bytes(bytes.to_vec())),
                    None if index == 0 => return None,
                    None => pieces.push(Piece::Broken(format!("{key} is missing"))),
                }
            }
            Some(FakeStream::of(pieces))
        };
        self.call(Op::BlobStream, act).await
    }

    async fn send(
        &self,
        request: UpstreamRequest<'_>,
        _deadline: Millis,
    ) -> Result<(UpstreamHead, Option<FakeStream>), UpstreamFault> {
        step().await;
        self.sent.borrow_mut().push(Sent {
            url: request.url,
            key: request.key.map(|(name, key)| (name, key.reveal().clone())),
            headers: request.headers,
            body: request.body.to_vec(),
        });
        match self.script.borrow_mut().pop_front() {
            Some(Scripted::Answer(head, pieces)) => Ok((head, Some(FakeStream::of(pieces)))),
            Some(Scripted::Fault(fault)) => Err(fault),
            None => Err(UpstreamFault::Unreachable("nothing is scripted".to_owned())),
        }
    }

    async fn read(
        &self,
        body: FakeStream,
        cap: u64,
        first_byte: Millis,
        deadline: Millis,
    ) -> Result<Vec<u8>, UpstreamFault> {
        let give_up = self.now().plus(deadline);
        let mut whole = Vec::new();
        loop {
            let left = give_up.since(self.now());
            let waiting = whole.is_empty() && first_byte < left;
            let patience = if waiting { first_byte } else { left };
            match self.pull(&body, patience).await {
                Pulled::Bytes(bytes) => whole.extend(bytes),
                Pulled::End => return Ok(whole),
                Pulled::TimedOut if waiting => return Err(UpstreamFault::TimedOut),
                Pulled::TimedOut => return Err(UpstreamFault::Overran),
                Pulled::Broken(cause) => return Err(UpstreamFault::Broken(cause)),
            }
            if whole.len() as u64 > cap {
                return Err(UpstreamFault::TooLarge);
            }
        }
    }

    async fn first_byte(&self, body: FakeStream, deadline: Millis) -> FirstByte<FakeStream> {
        match self.pull(&body, deadline).await {
            Pulled::Bytes(bytes) => {
                body.0.borrow_mut().push_front(Piece::Bytes(bytes));
                FirstByte::Began(body)
            }
            Pulled::End => FirstByte::Empty,
            Pulled::TimedOut => FirstByte::TimedOut,
            Pulled::Broken(cause) => FirstByte::Broken(cause),
        }
    }

    fn relay(
        &self,
        body: FakeStream,
        mut observer: Observer,
        deadlines: Deadlines,
        closing: Box<dyn FnOnce(RelayEnd, &Observation) -> Option<Vec<u8>>>,
    ) -> (
        FakeStream,
        impl Future<Output = (RelayEnd, Observation)> + 'static,
    ) {
        let client = FakeStream::default();
        let (port, to_client) = (self.clone(), client.clone());
        let relayed = async move {
            let give_up = port.now().plus(Millis(deadlines.total_ms));
            let mut passed = 0;
            let end = loop {
                if port
                    .client_leaves_after
                    .get()
                    .is_some_and(|pieces| passed >= pieces)
                {
                    break RelayEnd::ClientGone;
                }
                let left = give_up.since(port.now());
                match port.pull(&body, left.min(Millis(deadlines.idle_ms))).await {
                    Pulled::Bytes(bytes) => {
                        observer.push(&bytes);
                        to_client.0.borrow_mut().push_back(Piece::Bytes(bytes));
                        passed += 1;
                    }
                    Pulled::End => break RelayEnd::Ended,
                    Pulled::Broken(_) => break RelayEnd::Broken,
                    Pulled::TimedOut if port.now() >= give_up => break RelayEnd::Overran,
                    Pulled::TimedOut => break RelayEnd::Stalled,
                }
            };
            let seen = observer.observation();
            if let Some(bytes) = closing(end, &seen).filter(|_| end != RelayEnd::ClientGone) {
                to_client.0.borrow_mut().push_back(Piece::Bytes(bytes));
            }
            (end, seen)
        };
        (client, relayed)
    }

    fn memory_get(&self, key: &str) -> Option<Vec<u8>> {
        let memory = self.memory.borrow();
        memory
            .get(key)
            .filter(|(_, expires)| self.now() < *expires)
            .map(|(bytes, _)| bytes.clone())
    }

    fn memory_put(&self, key: &str, value: &[u8], expires: Millis) {
        self.memory
            .borrow_mut()
            .insert(key.to_owned(), (value.to_vec(), expires));
    }

    fn bindings(&self) -> Vec<(&'static str, bool)> {
        let stores = names::STORES.into_iter();
        stores
            .chain(names::OBJECTS.map(|(binding, _)| binding))
            .map(|binding| (binding, true))
            .collect()
    }

    fn log(&self, line: &LogLine) {
        self.logged
            .borrow_mut()
            .push(serde_json::to_value(line).unwrap());
    }
}
