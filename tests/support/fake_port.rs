//! The port in memory: the real machines over rows that are kept as the shell keeps them, stores, a scripted upstream,
//! a clock that the test sets, and a plan of faults.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use gatehouse::app::known::Known;
use gatehouse::app::objects::{DirectoryObject, KeyringObject, LedgerObject};
use gatehouse::app::port::{
    Algorithm, BlobPart, Blobs, Class, ClientGone, Closing, Hash, Port, PortFault, RESTORE,
    RelayDeadlines, RelayEnd, SNAPSHOT, StoredReply,
};
use gatehouse::base::cobblestone::{MessageKey, window};
use gatehouse::base::digest::{base64url, hex, sha256};
use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::rows::{MemoryRows, RowMachine, Step};
use gatehouse::base::secret::Secret;
use gatehouse::base::time::Millis;
use gatehouse::domain::answer::Index;
use gatehouse::domain::audit::log::AuditLog;
use gatehouse::domain::documents::owner::OwnerDocuments;
use gatehouse::domain::documents::pointers::Pointers;
use gatehouse::domain::limits::Limiter;
use gatehouse::domain::llm::health::local::LocalView;
use gatehouse::domain::llm::health::machine::TargetState;
use gatehouse::domain::llm::stream::inlet::Inlet;
use gatehouse::domain::llm::upstream::{UpstreamFault, UpstreamHead, UpstreamRequest};
use gatehouse::domain::memory::machine::Memory;
use gatehouse::domain::retrieval::store::machine::Stores;
use gatehouse::domain::settings::config::{Config, DEFAULT_TENANT};
use gatehouse::domain::settings::{Settings, SettingsFault, embedded, names};
use gatehouse::domain::telemetry::LogLine;

use sha2::Digest;

use super::pipe::{Client, FakeStream};
use super::run::{self, Clock, either, step};
use super::streams::{self, Answer};
use super::upstream::{FakeCall, Scripted, Sent};

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
    BlobGet,
    BlobDelete,
    BlobList,
    BlobStream,
    Hash,
    Rewind,
    Sign,
    Verify,
    Stored,
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
pub struct FakePort(Rc<World>, Rc<str>, Rc<Settings>);

/// Everything behind the port, open to the test.
pub struct World {
    variables: BTreeMap<String, String>,
    /// Settings of tenants whose operators stored providers' keys, as an isolate remembers them.
    tenants: RefCell<BTreeMap<String, Rc<Settings>>>,
    clock: Rc<Clock>,
    drawn: Cell<u64>,
    plan: RefCell<Plan>,
    evicting: Cell<bool>,
    objects: RefCell<BTreeMap<(Class, String), Object>>,
    /// What objects kept at earlier times; `None` where the platform forgets.
    pasts: RefCell<Option<Pasts>>,
    pub cache: RefCell<BTreeMap<String, (Vec<u8>, Millis)>>,
    pub assets: RefCell<BTreeMap<String, Vec<u8>>>,
    pub index: RefCell<Option<Rc<Index>>>,
    pub blobs: RefCell<BTreeMap<String, Vec<u8>>>,
    pub memory: RefCell<BTreeMap<String, (Vec<u8>, Millis)>>,
    answers: RefCell<BTreeMap<String, Rc<Answer>>>,
    views: RefCell<BTreeMap<String, LocalView>>,
    known: RefCell<BTreeMap<String, Known>>,
    /// What the next requests meet, whichever model they are for.
    pub script: RefCell<VecDeque<Scripted>>,
    providers: RefCell<BTreeMap<String, Provider>>,
    pub sent: RefCell<Vec<Sent>>,
    /// How clients read from now on.
    pub client: Cell<Client>,
    pub logged: RefCell<Vec<serde_json::Value>>,
}

/// Answers the requests for one model: their bodies in, what they meet out.
type Provider = Box<dyn FnMut(&Sent) -> Scripted>;

impl std::ops::Deref for FakePort {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

/// Why a piece of a blob cannot be had.
#[derive(Debug)]
enum Cut {
    Missing,
    Forged,
}

impl FakePort {
    /// A piece of a blob's content.
    fn piece(&self, part: &BlobPart) -> Result<Vec<u8>, Cut> {
        let blobs = self.blobs.borrow();
        let blob = blobs
            .get(&self.stored_name(&part.key))
            .ok_or(Cut::Missing)?;
        let slice = |from: u64, length: u64| blob.get(from as usize..(from + length) as usize);
        let Some(sealed) = &part.sealed else {
            return slice(part.offset, part.length)
                .map(<[u8]>::to_vec)
                .ok_or(Cut::Missing);
        };
        let window = window(sealed.bytes, part.offset, part.length);
        // R2 gives what there is of a range.
        let to = (window.offset + window.length)
            .min(blob.len() as u64)
            .max(window.offset);
        let bytes = slice(window.offset, to - window.offset).ok_or(Cut::Forged)?;
        let plain = sealed.key.open_chunks(window.chunk, bytes, window.last);
        let plain = plain.map_err(|_| Cut::Forged)?;
        let wanted = plain.get(window.skip as usize..(window.skip + part.length) as usize);
        wanted.map(<[u8]>::to_vec).ok_or(Cut::Forged)
    }

    fn opened(&self, part: &BlobPart) -> Blobs<Vec<u8>> {
        match self.piece(part) {
            Ok(bytes) => Blobs::Body(bytes),
            Err(Cut::Missing) => Blobs::Missing,
            Err(Cut::Forged) => Blobs::Forged,
        }
    }

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
        let settings = Rc::new(Settings::resolve(&lookup).unwrap());
        let variables: BTreeMap<String, String> = names::VARIABLES
            .iter()
            .copied()
            .chain(variables.iter().map(|(name, _)| *name))
            .filter_map(|name| Some((name.to_owned(), lookup(name)?)))
            .collect();
        let world = World {
            variables,
            tenants: RefCell::default(),
            clock: Clock::new(START),
            drawn: Cell::default(),
            plan: RefCell::default(),
            evicting: Cell::default(),
            objects: RefCell::default(),
            pasts: RefCell::default(),
            cache: RefCell::default(),
            assets: RefCell::default(),
            index: RefCell::default(),
            blobs: RefCell::default(),
            memory: RefCell::default(),
            answers: RefCell::default(),
            views: RefCell::default(),
            known: RefCell::default(),
            script: RefCell::default(),
            providers: RefCell::default(),
            sent: RefCell::default(),
            client: Cell::default(),
            logged: RefCell::default(),
        };
        Self(Rc::new(world), Rc::from(DEFAULT_TENANT), settings)
    }

    fn stored_name(&self, name: &str) -> String {
        names::stored(&self.1, name)
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

    /// The clock of this world.
    pub fn clock(&self) -> Rc<Clock> {
        Rc::clone(&self.clock)
    }

    /// Sets the clock, without ringing an alarm.
    pub fn set_now(&self, now: Millis) {
        self.clock.set(now);
    }

    /// Lets time pass, and alarms ring at the end of it.
    pub fn pass(&self, time: Millis) {
        let now = self.clock.now().plus(time);
        self.clock.set(now);
        run::settle();
        for answer in self.answers.borrow().values() {
            answer.wake(now);
        }
        for ((class, _), object) in self.objects.borrow_mut().iter_mut() {
            if object.alarm.is_some_and(|alarm| alarm <= now) {
                object.alarm = None;
                object.wake(*class, now);
            }
        }
    }

    /// What requests for that model meet, one after the other; the last one stays.
    pub fn provider(&self, model: &str, scripted: impl IntoIterator<Item = Scripted>) {
        let mut left: VecDeque<Scripted> = scripted.into_iter().collect();
        self.provider_that(model, move |_| {
            let next = left.front().cloned().expect("something is scripted");
            if left.len() > 1 {
                left.pop_front();
            }
            next
        });
    }

    /// Requests for that model meet what `answer` makes of them.
    pub fn provider_that(&self, model: &str, answer: impl FnMut(&Sent) -> Scripted + 'static) {
        self.providers
            .borrow_mut()
            .insert(model.to_owned(), Box::new(answer));
    }

    fn scripted(&self, sent: &Sent) -> Scripted {
        if let Some(provider) = self.providers.borrow_mut().get_mut(&sent.model()) {
            return provider(sent);
        }
        let next = self.script.borrow_mut().pop_front();
        next.unwrap_or_else(|| {
            Scripted::fault(UpstreamFault::Unreachable("nothing is scripted".into()))
        })
    }

    /// The requests that went to a model.
    pub fn sent_to(&self, model: &str) -> Vec<Sent> {
        let sent = self.sent.borrow();
        sent.iter()
            .filter(|s| s.model() == model)
            .cloned()
            .collect()
    }

    /// Another isolate: it has no memory and no view of its own.
    pub fn other_isolate(&self) {
        self.memory.borrow_mut().clear();
        self.views.borrow_mut().clear();
        self.known.borrow_mut().clear();
        self.tenants.borrow_mut().clear();
    }

    /// From now on the platform knows how objects were.
    pub fn remembers(&self) {
        self.pasts.borrow_mut().get_or_insert_default();
    }

    /// Every object is gone, and what isolates remembered of them; the bucket stays.
    pub fn lose_objects(&self) {
        self.objects.borrow_mut().clear();
        self.answers.borrow_mut().clear();
        self.cache.borrow_mut().clear();
        self.other_isolate();
    }

    /// The platform takes the objects of stored answers away.
    pub fn evict_answers(&self) {
        for answer in self.answers.borrow_mut().values_mut() {
            *answer = answer.evict();
        }
        run::moved();
    }

    /// Stored answers that still have rows.
    pub fn stored_answers(&self) -> usize {
        let answers = self.answers.borrow();
        answers.values().filter(|answer| !answer.is_empty()).count()
    }

    /// Somebody changes an object's rows behind its back.
    pub fn change_rows(
        &self,
        class: Class,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) {
        let mut objects = self.objects.borrow_mut();
        let object = objects.entry((class, name.to_owned())).or_default();
        change(&mut object.rows);
        object.machine = None;
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

    /// The rows of all objects of a class of many rows, by object; those without rows are left out.
    pub fn many_rows(&self, class: Class) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        let objects = self.objects.borrow();
        let of_class = objects
            .iter()
            .filter(|((c, _), object)| *c == class && !object.many.0.is_empty());
        of_class
            .map(|((_, name), object)| (name.clone(), object.many.0.clone()))
            .collect()
    }

    /// Writes a row behind the object's back.
    pub fn set_row(&self, class: Class, name: &str, key: &str, value: &str) {
        let mut objects = self.objects.borrow_mut();
        let object = objects.get_mut(&(class, name.to_owned()));
        let object = object.expect("an object that was asked before");
        object.rows.insert(key.to_owned(), value.to_owned());
        object.machine = None;
    }

    /// The same for an object of many rows.
    pub fn set_many_row(&self, class: Class, name: &str, key: &str, value: &[u8]) {
        let mut objects = self.objects.borrow_mut();
        let object = objects.get_mut(&(class, name.to_owned()));
        let object = object.expect("an object that was asked before");
        object.many.0.insert(key.to_owned(), value.to_vec());
        object.row_machine = None;
    }

    /// Is an alarm set without a row that it could be for?
    pub fn has_idle_alarm(&self) -> bool {
        self.objects
            .borrow()
            .values()
            .any(|object| object.is_empty() && object.alarm.is_some())
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

mod rows;

/// What the shell of an object does: load once, apply, persist, answer.
#[derive(Default)]
struct Object {
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
    machine: Option<Box<dyn Kept>>,
    /// Of a machine of many rows.
    many: MemoryRows,
    row_machine: Option<Box<dyn RowsKept>>,
    /// The restore that fills or filled it.
    restore: Option<rows::Mark>,
    /// How often it was asked something that may have written.
    written: u64,
}

/// When, and the rows of then.
type Past = (Millis, BTreeMap<String, String>, MemoryRows);
type Pasts = BTreeMap<(Class, String), Vec<Past>>;

/// The machine of many rows that the objects of a class keep.
fn row_machine(class: Class) -> Option<Box<dyn RowsKept>> {
    match class.rows()? {
        "pointers" => Some(Box::new(RowsKeeper(Pointers))),
        "memory" => Some(Box::new(RowsKeeper(Memory))),
        "stores" => Some(Box::new(RowsKeeper(Stores))),
        name => panic!("no machine is called {name}"),
    }
}

impl Object {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.many.0.is_empty()
    }

    fn call(&mut self, class: Class, now: Millis, command: &str) -> String {
        if let Some(fresh) = row_machine(class) {
            let machine = self.row_machine.get_or_insert(fresh);
            let (reply, step) = machine.apply(&mut self.many, now, command);
            self.keep(step);
            return reply;
        }
        let (reply, effects) = self.machine(class, now).apply(now, command);
        self.persist(effects);
        reply
    }

    /// As the shell takes it: what is about rows is of no machine.
    fn asked(&mut self, class: Class, now: Millis, command: &str) -> Result<String, PortFault> {
        if let Some(asked) = command.strip_prefix(RESTORE) {
            return Ok(rows::restore(self, class, now, asked));
        }
        rows::require_whole(self)?;
        if let Some(asked) = command.strip_prefix(SNAPSHOT) {
            return Ok(rows::snapshot(self, class, asked));
        }
        self.written += 1;
        Ok(self.call(class, now, command))
    }

    fn wake(&mut self, class: Class, now: Millis) {
        if rows::require_whole(self).is_err() {
            return;
        }
        self.written += 1;
        if let Some(fresh) = row_machine(class) {
            let machine = self.row_machine.get_or_insert(fresh);
            let step = machine.wake(&mut self.many, now);
            return self.keep(step);
        }
        let effects = self.machine(class, now).wake(now);
        self.persist(effects);
    }

    fn keep(&mut self, step: Step) {
        if step.delete_all {
            *self = Self::default();
        } else {
            self.alarm = step.alarm.or(self.alarm);
        }
    }

    fn machine(&mut self, class: Class, now: Millis) -> &mut dyn Kept {
        let rows = &self.rows;
        let load = || -> Box<dyn Kept> {
            let rows = rows.clone().into_iter().collect();
            match class {
                Class::Shared => unreachable!("a machine of many rows"),
                Class::Limiter => Box::new(Keeper(Limiter::load(now, rows))),
                Class::Ledger => Box::new(Keeper(LedgerObject::load(now, rows))),
                Class::Owner => Box::new(Keeper(OwnerDocuments::load(now, rows))),
                Class::Directory => Box::new(Keeper(DirectoryObject::load(now, rows))),
                Class::Keyring => Box::new(Keeper(KeyringObject::load(now, rows))),
                Class::Target => Box::new(Keeper(TargetState::load(now, rows))),
                Class::Memory | Class::Stores => unreachable!("its rows are many"),
                Class::AuditLog => Box::new(Keeper(AuditLog::load(now, rows))),
            }
        };
        &mut **self.machine.get_or_insert_with(load)
    }

    fn persist(&mut self, effects: Effects) {
        if effects.delete_all {
            self.machine = None;
        }
        effects.keep_in(&mut self.rows, &mut self.alarm);
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

trait RowsKept {
    fn apply(&mut self, rows: &mut MemoryRows, now: Millis, command: &str) -> (String, Step);
    fn wake(&mut self, rows: &mut MemoryRows, now: Millis) -> Step;
}

struct RowsKeeper<M>(M);

impl<M: RowMachine> RowsKept for RowsKeeper<M> {
    fn apply(&mut self, rows: &mut MemoryRows, now: Millis, command: &str) -> (String, Step) {
        let command = serde_json::from_str(command).expect("a command of this machine");
        let (reply, step) = self.0.apply(rows, now, command).expect("rows in memory");
        (serde_json::to_string(&reply).unwrap(), step)
    }

    fn wake(&mut self, rows: &mut MemoryRows, now: Millis) -> Step {
        self.0.wake(rows, now).expect("rows in memory")
    }
}

// === impl Port ===

/// A hash that fails as the plan says.
pub struct FakeHash(FakePort, RefCell<sha2::Sha256>);

impl Hash for FakeHash {
    async fn update(&self, bytes: Vec<u8>) -> Result<(), PortFault> {
        let act = || self.1.borrow_mut().update(&bytes);
        self.0.call(Op::Hash, act).await
    }

    async fn finish(self) -> Result<[u8; 32], PortFault> {
        let act = || self.1.borrow().clone().finalize().into();
        self.0.call(Op::Hash, act).await
    }
}

impl Port for FakePort {
    type Stream = FakeStream;
    type Call = FakeCall;
    type Outlet = FakeStream;
    type Hash = FakeHash;

    fn settings(&self) -> &Settings {
        &self.2
    }

    fn with_provider_keys(
        &self,
        revision: u64,
        key: &dyn Fn(&str) -> Option<Secret<String>>,
    ) -> Result<Self, SettingsFault> {
        let variable = |name: &str| self.variables.get(name).cloned();
        let settings = Rc::new(Settings::resolve_with(&variable, revision, key)?);
        let mut tenants = self.tenants.borrow_mut();
        tenants.insert(self.1.to_string(), Rc::clone(&settings));
        Ok(Self(Rc::clone(&self.0), Rc::clone(&self.1), settings))
    }

    fn tenant(&self) -> &str {
        &self.1
    }

    fn of_tenant(&self, tenant: &str) -> Self {
        let own = self.tenants.borrow().get(tenant).cloned();
        let settings = own.unwrap_or_else(|| Rc::clone(&self.2));
        Self(Rc::clone(&self.0), Rc::from(tenant), settings)
    }

    fn now(&self) -> Millis {
        self.clock.now()
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
            let name = if class.is_shared() {
                names::stored(names::GLOBAL, name)
            } else {
                self.stored_name(name)
            };
            let object = objects.entry((class, name.clone())).or_default();
            if self.evicting.get() {
                object.machine = None;
                object.row_machine = None;
            }
            let told = object.asked(class, now, &command);
            if let Some(pasts) = &mut *self.pasts.borrow_mut() {
                let past = (now, object.rows.clone(), object.many.clone());
                pasts.entry((class, name)).or_default().push(past);
            }
            told
        };
        self.call(Op::Object(class), act).await?
    }

    async fn object_rewind(&self, class: Class, name: &str, to: Millis) -> Result<bool, PortFault> {
        let act = || {
            let pasts = self.pasts.borrow();
            let Some(pasts) = &*pasts else {
                return false;
            };
            let at = (class, self.stored_name(name));
            let mut known = pasts.get(&at).into_iter().flatten();
            let past = known.rfind(|(time, ..)| *time <= to);
            let (_, rows, many) = past.cloned().unwrap_or_default();
            let object = Object {
                rows,
                many,
                ..Object::default()
            };
            self.objects.borrow_mut().insert(at, object);
            true
        };
        self.call(Op::Rewind, act).await
    }

    async fn cache_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortFault> {
        let act = || {
            let cache = self.cache.borrow();
            let live = cache
                .get(&self.stored_name(key))
                .filter(|(_, expires)| self.now() < *expires);
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
                    .insert(self.stored_name(key), (value, expires)),
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
        let act = || {
            let mut blobs = self.blobs.borrow_mut();
            drop(blobs.insert(self.stored_name(key), bytes));
        };
        self.call(Op::BlobPut, act).await
    }

    fn hash(&self) -> FakeHash {
        FakeHash(self.clone(), RefCell::default())
    }

    async fn blob_seal(
        &self,
        key: &str,
        with: &MessageKey,
        plain: Vec<u8>,
        hash: Option<&FakeHash>,
    ) -> Result<(), PortFault> {
        if let Some(hash) = hash {
            hash.1.borrow_mut().update(&plain);
        }
        self.blob_put(key, with.seal(&plain)).await
    }

    async fn blob_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortFault> {
        let act = || self.blobs.borrow().get(&self.stored_name(key)).cloned();
        self.call(Op::BlobGet, act).await
    }

    async fn blob_delete(&self, keys: &[String]) -> Result<(), PortFault> {
        assert!(keys.len() <= 1000, "R2 deletes at most 1,000 keys at once");
        let keys: Vec<String> = keys.iter().map(|key| self.stored_name(key)).collect();
        let act = || self.blobs.borrow_mut().retain(|key, _| !keys.contains(key));
        self.call(Op::BlobDelete, act).await
    }

    async fn blob_list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<(Vec<String>, bool), PortFault> {
        let own = self.stored_name("");
        let act = || {
            let blobs = self.blobs.borrow();
            let names = blobs.keys().filter_map(|key| key.strip_prefix(&own));
            let behind = |name: &&str| after.is_none_or(|after| *name > after);
            let mut names = names
                .filter(|name| name.starts_with(prefix))
                .filter(behind)
                .map(str::to_owned);
            let page: Vec<String> = names.by_ref().take(1000).collect();
            (page, names.next().is_some())
        };
        self.call(Op::BlobList, act).await
    }

    async fn blob_stream(&self, parts: Vec<BlobPart>) -> Result<Blobs<FakeStream>, PortFault> {
        let act = || {
            let mut pieces = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                match (index, self.piece(part)) {
                    (_, Ok(bytes)) => pieces.push(bytes),
                    (0, Err(Cut::Missing)) => return Blobs::Missing,
                    (0, Err(Cut::Forged)) => return Blobs::Forged,
                    (_, Err(cut)) => {
                        let cause = format!("{}: {cut:?}", part.key);
                        return Blobs::Body(FakeStream::of(&self.clock, pieces, Some(cause)));
                    }
                }
            }
            Blobs::Body(FakeStream::of(&self.clock, pieces, None))
        };
        self.call(Op::BlobStream, act).await
    }

    async fn blob_open(&self, part: BlobPart) -> Result<Blobs<Vec<u8>>, PortFault> {
        self.call(Op::BlobGet, || self.opened(&part)).await
    }

    async fn blob_md5(&self, parts: Vec<BlobPart>) -> Result<Blobs<String>, PortFault> {
        let act = || {
            let mut whole = Vec::new();
            for part in &parts {
                match self.opened(part) {
                    Blobs::Body(bytes) => whole.extend(bytes),
                    Blobs::Missing => return Blobs::Missing,
                    Blobs::Forged => return Blobs::Forged,
                }
            }
            Blobs::Body(hex(&md5::Md5::digest(&whole)))
        };
        self.call(Op::BlobGet, act).await
    }

    async fn sign_ed25519(&self, seed: &[u8; 32], message: &[u8]) -> Result<[u8; 64], PortFault> {
        let key = SigningKey::from_bytes(seed);
        self.call(Op::Sign, || key.sign(message).to_bytes()).await
    }

    async fn ed25519_public(&self, seed: &[u8; 32]) -> Result<[u8; 32], PortFault> {
        let key = SigningKey::from_bytes(seed);
        self.call(Op::Sign, || key.verifying_key().to_bytes()).await
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        public: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, PortFault> {
        assert_eq!(algorithm, Algorithm::Ed25519, "the fake knows no other");
        let valid = || {
            let public = public.try_into().ok()?;
            let key = VerifyingKey::from_bytes(public).ok()?;
            let signature = Signature::from_slice(signature).ok()?;
            key.verify_strict(message, &signature).ok()
        };
        self.call(Op::Verify, || valid().is_some()).await
    }

    fn call(&self, request: UpstreamRequest<'_>, tee: bool) -> FakeCall {
        let sent = Sent::new(
            self.now(),
            request.url,
            request.key.map(|(name, key)| (name, key.reveal().clone())),
            request.headers,
            request.body.to_vec(),
        );
        let scripted = self.scripted(&sent);
        let call = FakeCall::new(&self.clock, scripted, tee, &sent);
        self.sent.borrow_mut().push(sent);
        call
    }

    async fn head(&self, call: &FakeCall) -> Result<UpstreamHead, UpstreamFault> {
        call.head().await
    }

    async fn chunk(&self, call: &FakeCall) -> Result<Option<Vec<u8>>, UpstreamFault> {
        call.chunk().await
    }

    async fn rest(&self, call: &FakeCall, cap: u64) -> Result<Vec<u8>, UpstreamFault> {
        call.rest(cap).await
    }

    fn body(&self, _: &FakeCall) -> FakeStream {
        unreachable!("nothing asks for a body as it is")
    }

    fn abort(&self, call: &FakeCall) {
        call.abort();
    }

    fn relay(
        &self,
        call: &FakeCall,
        inlet: Inlet,
        deadlines: RelayDeadlines,
        closing: Closing,
    ) -> (
        FakeStream,
        impl Future<Output = (RelayEnd, Inlet)> + 'static,
    ) {
        let client = FakeStream::open(&self.clock, self.client.get());
        let (clock, call) = (self.clock(), call.clone());
        let relayed = relayed(clock, call, client.clone(), inlet, deadlines, closing);
        (client, relayed)
    }

    fn outlet(&self) -> (FakeStream, FakeStream) {
        let stream = FakeStream::open(&self.clock, self.client.get());
        (stream.clone(), stream)
    }

    async fn write(&self, outlet: &FakeStream, bytes: Vec<u8>) -> Result<(), ClientGone> {
        outlet.write(bytes).await
    }

    async fn gone(&self, outlet: &FakeStream) {
        outlet.gone().await;
    }

    async fn close(&self, outlet: &FakeStream) {
        outlet.close();
    }

    async fn sleep(&self, time: Millis) {
        self.clock.until(self.now().plus(time)).await;
    }

    async fn stored(
        &self,
        name: &str,
        command: String,
    ) -> Result<StoredReply<FakeStream>, PortFault> {
        step().await;
        let verdict = self.plan.borrow_mut().verdict(Op::Stored);
        if verdict == Some(When::Before) {
            return Err(PortFault("Stored failed before".into()));
        }
        let answer = Rc::clone(
            self.answers
                .borrow_mut()
                .entry(self.stored_name(name))
                .or_default(),
        );
        let reply = streams::open(self, answer, &command).await;
        match verdict {
            Some(_) => Err(PortFault("Stored failed after".into())),
            None => Ok(reply),
        }
    }

    fn known<T>(&self, step: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.borrow_mut();
        step(known.entry(self.1.to_string()).or_default())
    }

    fn view<T>(&self, target: &str, step: impl FnOnce(&mut LocalView) -> T) -> T {
        let mut views = self.views.borrow_mut();
        step(views.entry(target.to_owned()).or_default())
    }

    fn memory_get(&self, key: &str) -> Option<Vec<u8>> {
        let memory = self.memory.borrow();
        memory
            .get(&self.stored_name(key))
            .filter(|(_, expires)| self.now() < *expires)
            .map(|(bytes, _)| bytes.clone())
    }

    fn memory_put(&self, key: &str, value: &[u8], expires: Millis) {
        self.memory
            .borrow_mut()
            .insert(self.stored_name(key), (value.to_vec(), expires));
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

/// A body that passes by itself, while the inlet watches.
async fn relayed(
    clock: Rc<Clock>,
    call: FakeCall,
    client: FakeStream,
    mut inlet: Inlet,
    deadlines: RelayDeadlines,
    closing: Closing,
) -> (RelayEnd, Inlet) {
    let give_up = clock.now().plus(deadlines.total);
    let mut pieces: VecDeque<(Vec<u8>, bool)> =
        call.teed().into_iter().map(|bytes| (bytes, true)).collect();
    let end = loop {
        let Some((bytes, watched)) = pieces.pop_front() else {
            let patience = clock.now().plus(deadlines.idle).min(give_up);
            let waited = either(call.chunk(), either(clock.until(patience), client.gone()));
            match waited.await {
                Ok(Ok(Some(bytes))) => pieces.push_back((bytes, false)),
                Ok(Ok(None)) => break RelayEnd::Ended,
                Ok(Err(_)) => break RelayEnd::Broken,
                Err(Ok(())) if clock.now() >= give_up => break RelayEnd::Overran,
                Err(Ok(())) => break RelayEnd::Stalled,
                Err(Err(())) => break RelayEnd::ClientGone,
            }
            continue;
        };
        if !watched {
            inlet.watch(&bytes);
        }
        match either(client.write(bytes), clock.until(give_up)).await {
            Ok(Ok(())) => {}
            Ok(Err(ClientGone)) => break RelayEnd::ClientGone,
            Err(()) => break RelayEnd::Overran,
        }
    };
    if end == RelayEnd::Ended {
        inlet.end();
    } else {
        call.abort();
    }
    if let Some(bytes) = closing(end, &inlet).filter(|_| end != RelayEnd::ClientGone) {
        // The client may go away at the very last moment too.
        let _ = client.write(bytes).await;
    }
    client.close();
    (end, inlet)
}
