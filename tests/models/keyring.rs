//! The keyring under random commands, evictions, storage that fails before or after it wrote, and a clock that stands
//! still or goes back. Keys are real here: everything is wrapped and opened as in an isolate.
//!
//! A million steps; `GATEHOUSE_LONG=1` takes twenty times as many.

use std::collections::BTreeMap;

use gatehouse::base::digest::{Bytes32, sha256};
use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::secret::Secret;
use gatehouse::base::time::Millis;
use gatehouse::domain::keyring::{
    Command, FirstKeys, Item, KeyState, Keyring, OpenError, Opened, PROPAGATION, Provider, Purpose,
    Refusal, Reply, Ring, Roots, SESSION_OVERLAP, Step, due, first_ring, rewrap_plan,
    rewrap_version, wrap_version,
};
use proptest::prelude::*;

use crate::cases::check;

/// 2026-11-21T05:05:00Z
const START: u64 = 1_795_237_500_000;
const DAY: u64 = 86_400_000;
const TENANT: &str = "acme";
const ISOLATES: usize = 3;

/// How storage fails during a command; the caller then repeats it.
#[derive(Clone, Copy, Debug)]
enum Storage {
    Works,
    FailsAndNotWritten,
    FailsButWritten,
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    /// The clock goes back, as it may after a move to another machine.
    Back(u64),
    Evict,
    Wake,
    /// An isolate loads the keyring.
    Refresh(usize),
    /// An isolate stores a provider's key.
    Put(usize, u8),
    Remove(u8),
    /// An isolate signs a session token.
    Sign(usize),
    Begin,
    Activate,
    Emergency,
    /// So many of the steps that are due are done, then the run is cut off.
    Cron(usize, u32),
    RewrapOne(usize),
    Retire(u32),
    Restore(u32),
    Destroy(u32),
    RaiseFloor(u32),
    RotateSession(bool),
    ChangeMaster,
}

struct Isolate {
    opened: Opened,
    /// Since the start, by a clock that is never set.
    loaded: u64,
}

struct World {
    rows: BTreeMap<String, String>,
    machine: Option<Keyring>,
    now: u64,
    elapsed: u64,
    draws: u64,
    masters: (Bytes32, Option<Bytes32>),
    isolates: Vec<Option<Isolate>>,
    /// What the providers' keys are.
    providers: BTreeMap<String, String>,
    /// What the pepper is, as it was at first.
    pepper: Bytes32,
    /// When the last emergency was: isolates that loaded before may have to load again.
    emergency: Option<u64>,
    storage: Vec<Storage>,
}

impl World {
    fn new(storage: Vec<Storage>) -> Self {
        let mut world = Self {
            rows: BTreeMap::new(),
            machine: None,
            now: START,
            elapsed: 0,
            draws: 0,
            masters: ([1; 32], None),
            isolates: (0..ISOLATES).map(|_| None).collect(),
            providers: BTreeMap::new(),
            pepper: [0; 32],
            emergency: None,
            storage,
        };
        let keys = FirstKeys {
            version: Secret::new(world.draw()),
            data: [0; 4].map(|_| (Secret::new(world.draw()), world.nonce())),
        };
        world.pepper = *keys.data[0].0.reveal();
        let wrap = wrap_version(
            TENANT,
            1,
            keys.version.reveal(),
            &world.roots(),
            &world.nonce(),
        );
        let reply = world.call(&first_ring(TENANT, wrap.unwrap(), &keys));
        assert!(matches!(reply, Reply::Loaded(_)));
        world
    }

    // === randomness, time, roots ===

    fn draw(&mut self) -> Bytes32 {
        self.draws += 1;
        sha256(&self.draws.to_be_bytes())
    }

    fn nonce(&mut self) -> [u8; 12] {
        self.draw()[..12].try_into().unwrap()
    }

    fn roots(&self) -> Roots {
        Roots::new(Some(&self.masters.0), self.masters.1.as_ref())
    }

    // === the object's shell ===

    fn machine(&mut self) -> &mut Keyring {
        let rows = || self.rows.clone().into_iter().collect();
        self.machine
            .get_or_insert_with(|| Keyring::load(Millis(self.now), rows()))
    }

    fn persist(&mut self, effects: Effects) {
        assert!(!effects.delete_all);
        assert!(
            effects
                .writes
                .iter()
                .all(|write| write.key.starts_with("ring/"))
        );
        effects.keep_in(&mut self.rows, &mut None);
    }

    /// A command as the app calls it: repeated after a failure.
    fn call(&mut self, command: &Command) -> Reply {
        loop {
            let now = Millis(self.now);
            let storage = self.storage.pop().unwrap_or(Storage::Works);
            let (reply, effects) = self.machine().apply(now, command.clone());
            match storage {
                Storage::Works => {
                    self.persist(effects);
                    return reply;
                }
                Storage::FailsAndNotWritten => self.machine = None,
                Storage::FailsButWritten => {
                    self.persist(effects);
                    self.machine = None;
                }
            }
        }
    }

    fn ring(&mut self) -> Ring {
        match self.call(&Command::Load { known: 0 }) {
            Reply::Loaded(ring) => *ring,
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self) -> Opened {
        let ring = self.ring();
        Opened::new(TENANT, ring, &self.roots(), &[]).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn fresh(&self, isolate: &Isolate) -> bool {
        self.elapsed - isolate.loaded < PROPAGATION.0
    }

    // === steps ===

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Advance(by) => {
                self.now += by;
                self.elapsed += by;
            }
            Op::Back(by) => self.now -= by,
            Op::Evict => self.machine = None,
            Op::Wake => {
                let now = Millis(self.now);
                let effects = self.machine().wake(now);
                self.persist(effects);
            }
            Op::Refresh(i) => self.refresh(i),
            Op::Put(i, name) => self.put(i, name),
            Op::Remove(name) => {
                self.call(&Command::RemoveProvider {
                    name: format!("p{name}"),
                });
                self.providers.remove(&format!("p{name}"));
            }
            Op::Sign(i) => self.sign(i),
            Op::Begin => {
                let n = self.ring().next();
                self.begin(n);
            }
            Op::Activate => {
                if let Some(n) = self.ring().pending().map(|pending| pending.n) {
                    self.call(&Command::Activate { n });
                }
            }
            Op::Emergency => self.emergency(),
            Op::Cron(steps, rotate_days) => self.cron(steps, rotate_days),
            Op::RewrapOne(which) => {
                let plan = rewrap_plan(&self.ring(), &self.roots().wrapper().unwrap());
                if !plan.is_empty() {
                    self.rewrap(&plan[which % plan.len()]);
                }
            }
            Op::Retire(n) => drop(self.call(&Command::Retire { n })),
            Op::Restore(n) => drop(self.call(&Command::Restore { n })),
            Op::Destroy(n) => drop(self.call(&Command::Destroy { n })),
            Op::RaiseFloor(to) => drop(self.call(&Command::RaiseFloor { to })),
            Op::RotateSession(at_once) => self.rotate_session(at_once),
            Op::ChangeMaster => {
                // Not before everything is wrapped by the present one: there is room for one previous key.
                let plan = rewrap_plan(&self.ring(), &self.roots().wrapper().unwrap());
                if !plan.iter().any(|item| matches!(item, Item::Version(_))) {
                    self.masters = (self.draw(), Some(self.masters.0));
                }
            }
        }
    }

    fn refresh(&mut self, i: usize) {
        let loaded = self.elapsed;
        self.isolates[i] = Some(Isolate {
            opened: self.open(),
            loaded,
        });
    }

    fn begin(&mut self, n: u32) {
        let key = self.draw();
        let wrap = wrap_version(TENANT, n, &key, &self.roots(), &self.nonce()).unwrap();
        self.call(&Command::Begin { n, wrap });
    }

    fn emergency(&mut self) {
        let n = self.ring().next();
        let key = self.draw();
        let wrap = wrap_version(TENANT, n, &key, &self.roots(), &self.nonce()).unwrap();
        let reply = self.call(&Command::Emergency { n, wrap });
        assert!(
            matches!(reply, Reply::Done { .. } | Reply::Refused(Refusal::Full)),
            "{reply:?}"
        );
        self.emergency = Some(self.elapsed);
        // The rows that leaked before it may go on being read by an isolate, but nothing new is sealed below.
        assert_eq!(self.ring().active().unwrap().n, n);
    }

    fn put(&mut self, i: usize, name: u8) {
        if self.isolates[i].is_none() {
            self.refresh(i);
        }
        let name = format!("p{name}");
        let key = format!("sk-{}", self.draws);
        let nonce = self.nonce();
        let sealed = |world: &Self| {
            let writer = world.isolates[i].as_ref().unwrap();
            writer
                .opened
                .put_provider(&name, &Secret::new(key.clone()), "op_1", &nonce)
                .unwrap()
        };
        let mut command = sealed(self);
        let mut reply = self.call(&command);
        if reply == Reply::Refused(Refusal::Stale) {
            // Its version is no longer the active one: it loads again, and then it must succeed.
            self.refresh(i);
            command = sealed(self);
            reply = self.call(&command);
        }
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        self.providers.insert(name.clone(), key.clone());
        let Command::PutProvider {
            name,
            version,
            text,
            by,
        } = command
        else {
            unreachable!()
        };
        let provider = Provider {
            name,
            version,
            text,
            by,
            at: Millis(self.now),
        };
        // Zero failed requests: whoever loaded within the interval opens what was sealed now.
        for reader in self
            .isolates
            .iter()
            .flatten()
            .filter(|reader| self.fresh(reader))
        {
            match reader.opened.open_provider(&provider) {
                Ok(opened) => assert_eq!(*opened.reveal(), key),
                Err(OpenError::UnknownVersion(n)) => {
                    assert_eq!(n, version);
                    let emergency = self
                        .emergency
                        .expect("an unknown version without an emergency");
                    assert!(
                        reader.loaded <= emergency,
                        "unknown although it loaded after the emergency"
                    );
                }
                Err(fault) => panic!("{fault}"),
            }
        }
    }

    fn sign(&mut self, i: usize) {
        let now = Millis(self.now);
        let Some(signer) = self.isolates[i]
            .as_ref()
            .filter(|isolate| self.fresh(isolate))
        else {
            return;
        };
        let signed = signer.opened.session_signer(now).unwrap();
        for reader in self
            .isolates
            .iter()
            .flatten()
            .filter(|reader| self.fresh(reader))
        {
            let verifier = reader.opened.session_verifier(&signed.id, now);
            match verifier {
                Some(key) => assert_eq!(key.reveal(), signed.key.reveal()),
                None => assert!(
                    self.emergency
                        .is_some_and(|at| reader.loaded <= at || signer.loaded <= at),
                    "a token of {} that an isolate does not know",
                    signed.id
                ),
            }
        }
    }

    fn rotate_session(&mut self, at_once: bool) {
        let key = Secret::new(self.draw());
        let nonce = self.nonce();
        let overlap = if at_once {
            Millis::ZERO
        } else {
            SESSION_OVERLAP
        };
        let command = self.open().rotate_session(&key, overlap, &nonce).unwrap();
        let reply = self.call(&command);
        assert!(
            matches!(reply, Reply::Done { .. } | Reply::Refused(Refusal::Full)),
            "{reply:?}"
        );
        if at_once {
            self.emergency = Some(self.elapsed);
        }
    }

    fn rewrap(&mut self, item: &Item) {
        let nonce = self.nonce();
        let command = match item {
            Item::Version(n) => {
                let ring = self.ring();
                rewrap_version(
                    TENANT,
                    ring.version(*n).unwrap(),
                    &self.roots(),
                    &[],
                    &nonce,
                )
            }
            _ => self.open().rewrap(item, &nonce),
        };
        match command {
            Ok(command) => match self.call(&command) {
                Reply::Done { .. } => {}
                // A session key of the plan may run out before its turn comes.
                Reply::Refused(Refusal::Unknown) => {
                    let Item::Data(id) = item else {
                        panic!("{item:?} is unknown")
                    };
                    assert!(self.ring().data.iter().all(|key| key.id != *id));
                }
                other => panic!("{other:?}"),
            },
            Err(fault) => assert_eq!(fault, OpenError::Gone),
        }
    }

    fn cron(&mut self, most: usize, rotate_days: u32) {
        let wrapper = self.roots().wrapper().unwrap();
        let steps = due(&self.ring(), Millis(self.now), rotate_days, &wrapper);
        let mut left = most;
        for step in steps {
            let items = if let Step::Rewrap(items) = &step {
                items.clone()
            } else {
                Vec::new()
            };
            for item in &items {
                if left == 0 {
                    return;
                }
                left -= 1;
                self.rewrap(item);
            }
            if left == 0 {
                return;
            }
            left -= 1;
            match step {
                Step::Begin(n) => self.begin(n),
                Step::Activate(n) => drop(self.call(&Command::Activate { n })),
                Step::Retire(n) => drop(self.call(&Command::Retire { n })),
                Step::Destroy(n) => drop(self.call(&Command::Destroy { n })),
                Step::RotateSession => self.rotate_session(false),
                Step::VoidSessions => self.rotate_session(true),
                Step::Rewrap(_) => {}
            }
        }
    }

    // === what must always hold ===

    fn check(&mut self) {
        let ring = self.ring();
        let active = ring.versions.iter().filter(|v| v.state == KeyState::Active);
        assert_eq!(active.count(), 1);
        let mut again = Keyring::load(Millis(self.now), self.rows.clone().into_iter().collect());
        let (reply, _) = again.apply(Millis(self.now), Command::Load { known: 0 });
        assert_eq!(
            reply,
            Reply::Loaded(Box::new(ring.clone())),
            "memory and rows differ"
        );
        assert!(ring.floor <= ring.active().unwrap().n);
        for version in &ring.versions {
            let gone = version.state == KeyState::Destroyed;
            assert_eq!(gone, version.wrap.text.is_empty());
            assert!(version.state.opens() || ring.wrapped_under(|n| n == version.n) == 0);
        }
        assert_eq!(ring.wrapped_under(|n| n < ring.floor), 0);
        let opened = self.open();
        assert_eq!(opened.faults, []);
        assert_eq!(opened.pepper().unwrap().reveal(), &self.pepper);
        let stored: Vec<_> = ring.providers.iter().map(|p| p.name.clone()).collect();
        assert_eq!(stored, self.providers.keys().cloned().collect::<Vec<_>>());
        for (name, key) in &self.providers {
            assert_eq!(opened.provider(name).unwrap().reveal(), key);
        }
        for version in &ring.versions {
            let key = opened.version(version.n);
            assert_eq!(
                key.is_ok(),
                version.state.opens() && version.n >= ring.floor
            );
        }
    }

    /// Rewrapping ends, from wherever it was cut off, and then the floor can be raised to the active version.
    fn finish(&mut self) {
        let wrapper = self.roots().wrapper().unwrap();
        let mut left = rewrap_plan(&self.ring(), &wrapper).len();
        while left > 0 {
            self.cron(1, 0);
            let now_left = rewrap_plan(&self.ring(), &wrapper).len();
            assert!(now_left < left, "no progress at {left}");
            left = now_left;
        }
        let to = self.ring().active().unwrap().n;
        let reply = self.call(&Command::RaiseFloor { to });
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        self.masters.1 = None;
        self.check();
    }
}

fn op() -> impl Strategy<Value = Op> {
    let n = 1..8u32;
    prop_oneof![
        6 => (0..8_000u64).prop_map(Op::Advance),
        1 => (0..40 * DAY).prop_map(Op::Advance),
        1 => (0..20_000u64).prop_map(Op::Back),
        1 => Just(Op::Evict),
        1 => Just(Op::Wake),
        5 => (0..ISOLATES).prop_map(Op::Refresh),
        5 => (0..ISOLATES, 0..4u8).prop_map(|(i, name)| Op::Put(i, name)),
        1 => (0..4u8).prop_map(Op::Remove),
        4 => (0..ISOLATES).prop_map(Op::Sign),
        3 => Just(Op::Begin),
        4 => Just(Op::Activate),
        1 => Just(Op::Emergency),
        2 => (0..6usize, prop_oneof![Just(0), Just(1), Just(90)]).prop_map(|(steps, days)| Op::Cron(steps, days)),
        3 => any::<usize>().prop_map(Op::RewrapOne),
        2 => n.clone().prop_map(Op::Retire),
        1 => n.clone().prop_map(Op::Restore),
        1 => n.clone().prop_map(Op::Destroy),
        1 => n.prop_map(Op::RaiseFloor),
        2 => prop::bool::weighted(0.2).prop_map(Op::RotateSession),
        1 => Just(Op::ChangeMaster),
    ]
}

fn storage() -> impl Strategy<Value = Storage> {
    prop_oneof![
        6 => Just(Storage::Works),
        1 => Just(Storage::FailsAndNotWritten),
        1 => Just(Storage::FailsButWritten),
    ]
}

#[test]
fn one_version_is_active_all_that_is_sealed_opens_and_rewrapping_ends() {
    let strategy = (
        prop::collection::vec(op(), 1..60),
        prop::collection::vec(storage(), 0..200),
    );
    check(35_000, &strategy, |(ops, storage)| {
        let mut world = World::new(storage);
        for op in &ops {
            world.run(op);
            world.check();
        }
        world.finish();
        Ok(())
    });
}

#[test]
fn every_purpose_has_its_own_key() {
    let mut world = World::new(Vec::new());
    let opened = world.open();
    let keys = [opened.pepper(), opened.audit_seed()].map(|key| *key.unwrap().reveal());
    let session = opened.session_signer(Millis(START)).unwrap();
    assert_ne!(keys[0], keys[1]);
    assert!(!keys.contains(session.key.reveal()));
    assert_eq!(opened.ring.data.len(), Purpose::ALL.len());
}
