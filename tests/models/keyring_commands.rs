//! The keyring's commands one by one, and that no key ever shows.

use gatehouse::base::aead::AeadError;
use gatehouse::base::digest::{Bytes32, base64url, hex};
use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::secret::Secret;
use gatehouse::base::time::Millis;
use gatehouse::domain::keyring::{
    Command, DataKey, FirstKeys, Item, KeyState, Keyring, MAX_HELD, MAX_PROVIDERS,
    MAX_SESSION_KEYS, OpenError, Opened, PROPAGATION, Purpose, Refusal, Reply, Ring, Roots,
    SESSION_OVERLAP, Step, Warning, Wrap, Wrapper, due, first_ring, kms, rewrap_plan,
    rewrap_version, status, wrap_version,
};

/// 2026-11-21T05:05:00Z
const START: Millis = Millis(1_795_237_500_000);
const DAY: u64 = 86_400_000;
const MASTER: Bytes32 = [0xC1; 32];
const PEPPER: Bytes32 = [0xC2; 32];
const SESSION: Bytes32 = [0xC3; 32];
const AUDIT: Bytes32 = [0xC4; 32];
const SEAL: Bytes32 = [0xC5; 32];
const KEK: Bytes32 = [0xC6; 32];
const PROVIDER: &str = "sk-canary-4f1d9a";

struct House {
    machine: Keyring,
    rows: std::collections::BTreeMap<String, String>,
    now: Millis,
    /// All that was said: replies as Debug and as JSON.
    said: String,
}

impl House {
    fn empty() -> Self {
        Self {
            machine: Keyring::load(START, Vec::new()),
            rows: Default::default(),
            now: START,
            said: String::new(),
        }
    }

    fn new() -> Self {
        let mut house = Self::empty();
        let reply = house.call(init(&MASTER, KEK));
        assert!(matches!(reply, Reply::Loaded(_)));
        house
    }

    fn call(&mut self, command: Command) -> Reply {
        let (reply, effects) = self.machine.apply(self.now, command);
        self.said += &format!("{reply:?} {}", serde_json::to_string(&reply).unwrap());
        self.keep(effects);
        reply
    }

    fn keep(&mut self, effects: Effects) {
        effects.keep_in(&mut self.rows, &mut None);
    }

    fn done(&mut self, command: Command) {
        let reply = self.call(command);
        assert!(
            matches!(reply, Reply::Done { changed: true, .. }),
            "{reply:?}"
        );
    }

    fn repeated(&mut self, command: Command) {
        let reply = self.call(command);
        assert!(
            matches!(reply, Reply::Done { changed: false, .. }),
            "{reply:?}"
        );
    }

    fn refused(&mut self, command: Command, why: Refusal) {
        assert_eq!(self.call(command), Reply::Refused(why));
    }

    fn ring(&mut self) -> Ring {
        match self.call(Command::Load { known: 0 }) {
            Reply::Loaded(ring) => *ring,
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self) -> Opened {
        opened(self.ring(), &roots()).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn later(&mut self, by: u64) {
        self.now = self.now.plus(Millis(by));
    }

    /// A new active version.
    fn rotate(&mut self, n: u32) {
        self.done(begin(n));
        self.later(PROPAGATION.0);
        self.done(Command::Activate { n });
    }

    fn rewrap_all(&mut self) {
        for item in rewrap_plan(&self.ring(), &wrapper()) {
            let command = self.open().rewrap(&item, &[9; 12]).unwrap();
            self.done(command);
        }
    }
}

fn roots() -> Roots {
    Roots::new(Some(&MASTER), None)
}

fn wrapper() -> Wrapper {
    roots().wrapper().unwrap()
}

fn opened(ring: Ring, roots: &Roots) -> Result<Opened, OpenError> {
    Opened::new("acme", ring, roots, &[])
}

fn begin(n: u32) -> Command {
    Command::Begin { n, wrap: local(n) }
}

fn emergency(n: u32) -> Command {
    Command::Emergency { n, wrap: local(n) }
}

fn local(n: u32) -> Wrap {
    wrap_version("acme", n, &[n as u8; 32], &roots(), &[n as u8; 12]).unwrap()
}

fn init(master: &Bytes32, version: Bytes32) -> Command {
    let wrap = wrap_version(
        "acme",
        1,
        &version,
        &Roots::new(Some(master), None),
        &[1; 12],
    )
    .unwrap();
    let data = [PEPPER, SESSION, AUDIT, SEAL].map(|key| (Secret::new(key), [2; 12]));
    first_ring(
        "acme",
        wrap,
        &FirstKeys {
            version: Secret::new(version),
            data,
        },
    )
}

fn put(house: &mut House, name: &str) -> Command {
    house
        .open()
        .put_provider(name, &Secret::new(PROVIDER.to_owned()), "op_1", &[5; 12])
        .unwrap()
}

fn state(house: &mut House, n: u32) -> KeyState {
    house.ring().version(n).unwrap().state
}

#[test]
fn before_it_was_made_there_is_nothing_to_load_and_nothing_to_change() {
    let mut house = House::empty();
    assert_eq!(house.call(Command::Load { known: 0 }), Reply::Empty);
    house.refused(begin(1), Refusal::Empty);
    assert!(house.rows.is_empty());
}

#[test]
fn the_first_to_make_it_wins_and_the_second_gets_the_winners() {
    let mut house = House::new();
    let before = house.rows.clone();
    let Reply::Loaded(ring) = house.call(init(&MASTER, [0xEE; 32])) else {
        panic!("not loaded")
    };
    assert_eq!(house.rows, before);
    assert_eq!(
        opened(*ring, &roots())
            .ok()
            .unwrap()
            .version(1)
            .unwrap()
            .reveal(),
        &KEK
    );
}

#[test]
fn a_keyring_without_a_key_for_each_purpose_is_not_made() {
    let Command::Init { wrap, keys } = init(&MASTER, KEK) else {
        panic!("not init")
    };
    for missing in 0..keys.len() {
        let mut house = House::empty();
        let mut keys = keys.clone();
        keys.remove(missing);
        house.refused(
            Command::Init {
                wrap: wrap.clone(),
                keys,
            },
            Refusal::Invalid,
        );
    }
}

#[test]
fn who_has_the_newest_revision_is_told_so() {
    let mut house = House::new();
    let revision = house.ring().revision;
    assert_eq!(
        house.call(Command::Load { known: revision }),
        Reply::Unchanged
    );
    house.done(begin(2));
    assert!(matches!(
        house.call(Command::Load { known: revision }),
        Reply::Loaded(_)
    ));
}

#[test]
fn a_version_is_not_used_before_every_reader_knows_it() {
    let mut house = House::new();
    house.done(begin(2));
    assert_eq!(
        house.call(Command::Activate { n: 2 }),
        Reply::Wait(PROPAGATION)
    );
    house.later(PROPAGATION.0 - 1);
    assert_eq!(
        house.call(Command::Activate { n: 2 }),
        Reply::Wait(Millis(1))
    );
    // A clock that goes back makes it wait longer, not less.
    house.now = START.since(Millis(1000));
    assert_eq!(
        house.call(Command::Activate { n: 2 }),
        Reply::Wait(PROPAGATION)
    );
    house.now = START.plus(PROPAGATION);
    house.done(Command::Activate { n: 2 });
    house.repeated(Command::Activate { n: 2 });
    assert_eq!(
        (state(&mut house, 1), state(&mut house, 2)),
        (KeyState::DecryptOnly, KeyState::Active)
    );
    house.refused(
        Command::Activate { n: 1 },
        Refusal::State(KeyState::DecryptOnly),
    );
}

#[test]
fn versions_are_numbered_without_a_gap_and_one_is_pending_at_a_time() {
    let mut house = House::new();
    house.refused(begin(3), Refusal::NotNext(2));
    house.refused(begin(1), Refusal::Taken);
    house.done(begin(2));
    house.repeated(begin(2));
    house.refused(
        Command::Begin {
            n: 2,
            wrap: local(3),
        },
        Refusal::Taken,
    );
    house.refused(begin(3), Refusal::Pending(2));
    house.done(Command::Retire { n: 2 });
    house.done(begin(3));
}

#[test]
fn a_version_leaves_only_when_nothing_is_wrapped_under_it_and_what_is_destroyed_says_so() {
    let mut house = House::new();
    let command = put(&mut house, "openai");
    house.done(command);
    house.rotate(2);
    house.refused(Command::Retire { n: 1 }, Refusal::InUse(5));
    house.refused(Command::Destroy { n: 1 }, Refusal::InUse(5));
    house.refused(Command::RaiseFloor { to: 2 }, Refusal::InUse(5));
    house.rewrap_all();
    house.refused(
        Command::Destroy { n: 1 },
        Refusal::State(KeyState::DecryptOnly),
    );
    house.done(Command::Retire { n: 1 });
    house.repeated(Command::Retire { n: 1 });
    assert_eq!(house.open().version(1).err(), Some(OpenError::Retired(1)));
    house.done(Command::Restore { n: 1 });
    house.done(Command::Retire { n: 1 });
    house.done(Command::Destroy { n: 1 });
    house.repeated(Command::Destroy { n: 1 });
    let gone = local_text(&KEK);
    assert!(house.rows.values().all(|row| !row.contains(&gone)));
    assert_eq!(house.open().version(1).err(), Some(OpenError::Destroyed(1)));
    house.refused(
        Command::Restore { n: 1 },
        Refusal::State(KeyState::Destroyed),
    );
    house.refused(Command::Retire { n: 2 }, Refusal::InUse(5));
    assert_eq!(
        house.open().version(7).err(),
        Some(OpenError::UnknownVersion(7))
    );
    house.refused(Command::Retire { n: 7 }, Refusal::Unknown);
}

fn local_text(key: &Bytes32) -> String {
    wrap_version("acme", 1, key, &roots(), &[1; 12])
        .unwrap()
        .text
}

#[test]
fn the_floor_only_rises_and_stays_below_what_is_active() {
    let mut house = House::new();
    house.rotate(2);
    house.rewrap_all();
    house.refused(Command::RaiseFloor { to: 3 }, Refusal::Floor(2));
    house.done(Command::RaiseFloor { to: 2 });
    house.repeated(Command::RaiseFloor { to: 2 });
    house.refused(Command::RaiseFloor { to: 1 }, Refusal::Floor(2));
    assert_eq!(state(&mut house, 1), KeyState::Retired);
    assert_eq!(
        house.open().version(1).err(),
        Some(OpenError::BelowFloor(1))
    );
    house.refused(Command::Restore { n: 1 }, Refusal::Floor(2));
}

#[test]
fn an_emergency_takes_effect_at_once_and_raises_the_floor_after_rewrapping() {
    let mut house = House::new();
    house.done(begin(2));
    house.done(emergency(3));
    house.repeated(emergency(3));
    assert_eq!(
        (state(&mut house, 2), state(&mut house, 3)),
        (KeyState::Retired, KeyState::Active)
    );
    let now = house.now;
    let unfinished =
        |house: &mut House| status(&house.ring(), now, 90, &wrapper()).unwrap().warnings;
    assert_eq!(unfinished(&mut house), [Warning::EmergencyUnfinished(4)]);
    house.rewrap_all();
    assert_eq!(unfinished(&mut house), []);
    assert_eq!(
        (house.ring().floor, state(&mut house, 1)),
        (3, KeyState::Retired)
    );
    // The pepper itself does not change: API keys go on working.
    assert_eq!(house.open().pepper().unwrap().reveal(), &PEPPER);
}

#[test]
fn an_emergency_that_was_cut_off_before_sessions_were_void_is_ended_by_the_schedule() {
    let mut house = House::new();
    house.later(1);
    house.done(emergency(2));
    house.rewrap_all();
    let before = house.ring().data.clone();
    for rotate_days in [0, 90] {
        let steps = due(&house.ring(), house.now, rotate_days, &wrapper());
        assert_eq!(steps, [Step::VoidSessions]);
    }
    let command = house
        .open()
        .rotate_session(&Secret::new([0xD1; 32]), Millis::ZERO, &[6; 12])
        .unwrap();
    house.done(command);
    assert_eq!(due(&house.ring(), house.now, 0, &wrapper()), []);
    let sessions = |data: &[DataKey]| -> Vec<String> {
        let sessions = data.iter().filter(|key| key.purpose == Purpose::Session);
        sessions.map(|key| key.id.clone()).collect()
    };
    let (old, new) = (sessions(&before), sessions(&house.ring().data));
    assert!(new.len() == 1 && !old.contains(&new[0]), "{old:?} {new:?}");
}

#[test]
fn wrapping_anew_never_overwrites_what_changed_meanwhile() {
    let mut house = House::new();
    let first = put(&mut house, "openai");
    house.done(first);
    house.rotate(2);
    let stale = house
        .open()
        .rewrap(&Item::Provider("openai".to_owned()), &[6; 12])
        .unwrap();
    let newer = house
        .open()
        .put_provider("openai", &Secret::new("newer".to_owned()), "op_2", &[7; 12])
        .unwrap();
    house.done(newer);
    house.refused(stale, Refusal::Stale);
    assert_eq!(house.open().provider("openai").unwrap().reveal(), "newer");
    let late = house
        .open()
        .rewrap(&Item::Data(house.ring().data[0].id.clone()), &[8; 12])
        .unwrap();
    house.rotate(3);
    house.refused(late, Refusal::Stale);
}

#[test]
fn a_session_key_that_has_run_out_since_it_was_planned_is_gone_and_no_failure() {
    let mut house = House::new();
    let old = house.open().session_signer(house.now).unwrap().id;
    let key = Secret::new([0xD1; 32]);
    let command = house
        .open()
        .rotate_session(&key, SESSION_OVERLAP, &[6; 12])
        .unwrap();
    house.done(command);
    house.later(SESSION_OVERLAP.0);
    house.rotate(2);
    let plan = rewrap_plan(&house.ring(), &wrapper());
    assert!(!plan.contains(&Item::Data(old.clone())));
    let fault = house.open().rewrap(&Item::Data(old), &[9; 12]).err();
    assert_eq!(fault, Some(OpenError::Gone));
}

#[test]
fn an_old_session_key_verifies_until_the_longest_token_has_run_out() {
    let mut house = House::new();
    let old = house.open().session_signer(house.now).unwrap().id;
    let command = house
        .open()
        .rotate_session(&Secret::new([0xD1; 32]), SESSION_OVERLAP, &[6; 12])
        .unwrap();
    let (_, effects) = house.machine.apply(house.now, command.clone());
    house.keep(effects.clone());
    house.repeated(command);
    let opened = house.open();
    // Known first, used later.
    assert_eq!(opened.session_signer(house.now).unwrap().id, old);
    let used = house.now.plus(PROPAGATION);
    let new = opened.session_signer(used).unwrap().id;
    assert_ne!(new, old);
    assert!(opened.session_verifier(&new, house.now).is_some());
    let end = used.plus(SESSION_OVERLAP);
    assert_eq!(effects.alarm, Some(end));
    assert!(opened.session_verifier(&old, Millis(end.0 - 1)).is_some());
    assert!(opened.session_verifier(&old, end).is_none());
    // An alarm that comes early removes nothing and comes again.
    let early = house.machine.wake(Millis(end.0 - 1));
    assert_eq!((early.writes.len(), early.alarm), (0, Some(end)));
    let due = house.machine.wake(end);
    assert_eq!((due.writes.len(), due.alarm), (2, None));
}

#[test]
fn a_session_key_made_while_the_clock_was_back_does_not_sign_before_it_is_known() {
    let mut house = House::new();
    let old = house.open().session_signer(house.now).unwrap().id;
    house.now = house.now.since(PROPAGATION);
    let key = Secret::new([0xD1; 32]);
    let command = house
        .open()
        .rotate_session(&key, SESSION_OVERLAP, &[6; 12])
        .unwrap();
    house.done(command);
    let signer = |house: &mut House| house.open().session_signer(house.now).unwrap().id;
    assert_eq!(signer(&mut house), old);
    house.later(PROPAGATION.0);
    assert_eq!(signer(&mut house), old);
    house.later(PROPAGATION.0);
    assert_ne!(signer(&mut house), old);
}

#[test]
fn in_an_emergency_session_keys_are_replaced_at_once() {
    let mut house = House::new();
    let old = house.open().session_signer(house.now).unwrap().id;
    let command = house
        .open()
        .rotate_session(&Secret::new([0xD1; 32]), Millis::ZERO, &[6; 12])
        .unwrap();
    house.done(command.clone());
    house.repeated(command);
    assert_ne!(house.open().session_signer(house.now).unwrap().id, old);
    assert!(house.open().session_verifier(&old, house.now).is_none());
}

#[test]
fn everything_is_bounded() {
    let mut house = House::new();
    for i in 1..MAX_SESSION_KEYS {
        let command = house
            .open()
            .rotate_session(&Secret::new([i as u8; 32]), SESSION_OVERLAP, &[6; 12])
            .unwrap();
        house.done(command);
    }
    let command = house
        .open()
        .rotate_session(&Secret::new([0xD1; 32]), SESSION_OVERLAP, &[6; 12])
        .unwrap();
    house.refused(command, Refusal::Full);
    for i in 0..MAX_PROVIDERS {
        let command = put(&mut house, &format!("p{i}"));
        house.done(command);
    }
    let command = put(&mut house, "one-more");
    house.refused(command, Refusal::Full);
    let long = Wrap {
        by: "kms:k".to_owned(),
        text: "A".repeat(4097),
    };
    house.refused(Command::Begin { n: 2, wrap: long }, Refusal::Invalid);
    for n in 2..=MAX_HELD as u32 {
        let wrap = Wrap {
            by: "kms:k".to_owned(),
            text: n.to_string(),
        };
        house.done(Command::Begin { n, wrap });
        house.done(Command::Retire { n });
    }
    let n = MAX_HELD as u32 + 1;
    house.refused(Command::Begin { n, wrap: local(1) }, Refusal::Full);
    for n in 2..=MAX_HELD as u32 {
        house.done(Command::Destroy { n });
    }
    // The oldest destroyed versions are forgotten, and told as destroyed nonetheless.
    assert_eq!(house.ring().version(2), None);
    assert_eq!(house.open().version(2).err(), Some(OpenError::Destroyed(2)));
    house.repeated(Command::Destroy { n: 2 });
    house.refused(Command::Restore { n: 2 }, Refusal::Destroyed);
    house.done(Command::Begin { n, wrap: local(1) });
}

#[test]
fn rows_that_do_not_fit_together_are_never_overwritten() {
    let house = House::new();
    let whole: Vec<(String, String)> = house.rows.clone().into_iter().collect();
    let without = |key: &str| {
        whole
            .iter()
            .filter(|(k, _)| !k.starts_with(key))
            .cloned()
            .collect::<Vec<_>>()
    };
    let with = |key: &str| [whole.clone(), vec![(key.to_owned(), "{".to_owned())]].concat();
    for rows in [
        without("ring/meta"),
        without("ring/v/1"),
        without("ring/d/"),
        with("ring/v/2"),
        with("ring/x"),
    ] {
        let mut machine = Keyring::load(START, rows);
        for command in [Command::Load { known: 0 }, init(&MASTER, [0xEE; 32])] {
            let (reply, effects) = machine.apply(START, command);
            assert_eq!(
                (reply, effects),
                (Reply::Refused(Refusal::Broken), Effects::default())
            );
        }
        assert_eq!(machine.wake(START), Effects::default());
    }
    // Rows of another machine beside it are not its own.
    let mut machine = Keyring::load(START, with("out/1"));
    assert!(matches!(
        machine.apply(START, Command::Load { known: 0 }).0,
        Reply::Loaded(_)
    ));
}

#[test]
fn a_new_master_key_opens_with_the_previous_one_until_everything_is_wrapped_anew() {
    let mut house = House::new();
    let new: Bytes32 = [0xA1; 32];
    let old_root = house.ring().versions[0].wrap.by.replace("local:", "");
    // Without the previous one: which root is missing, by its id.
    let missing = opened(house.ring(), &Roots::new(Some(&new), None))
        .err()
        .unwrap();
    assert_eq!(missing, OpenError::RootMissing(old_root));
    assert!(missing.to_string().contains("MASTER_KEY_PREVIOUS"));
    assert_eq!(
        opened(house.ring(), &Roots::new(None, None)).err(),
        Some(OpenError::NoMasterKey)
    );

    let both = Roots::new(Some(&new), Some(&MASTER));
    let wrapper = both.wrapper().unwrap();
    assert_eq!(
        opened(house.ring(), &both)
            .ok()
            .unwrap()
            .pepper()
            .unwrap()
            .reveal(),
        &PEPPER
    );
    let warnings = status(&house.ring(), house.now, 90, &wrapper)
        .unwrap()
        .warnings;
    assert_eq!(warnings, [Warning::RootChanged(1)]);
    assert_eq!(
        due(&house.ring(), house.now, 90, &wrapper),
        [Step::Rewrap(vec![Item::Version(1)])]
    );
    let version = house.ring().versions[0].clone();
    let command = rewrap_version("acme", &version, &both, &[], &[3; 12]).unwrap();
    house.done(command.clone());
    house.repeated(command);
    let alone = Roots::new(Some(&new), None);
    assert_eq!(
        opened(house.ring(), &alone)
            .ok()
            .unwrap()
            .pepper()
            .unwrap()
            .reveal(),
        &PEPPER
    );
    assert_eq!(rewrap_plan(&house.ring(), &wrapper), []);
}

#[test]
fn what_is_wrapped_for_one_place_does_not_open_in_another() {
    let mut house = House::new();
    let ring = house.ring();
    assert!(matches!(
        Opened::new("other", ring.clone(), &roots(), &[]).err(),
        Some(OpenError::Sealed(_, AeadError::Forged))
    ));
    // The pepper's text in the place of the seal key's.
    let mut swapped = ring.clone();
    let text = swapped.data[0].text.clone();
    swapped.data[1].text = text;
    assert!(matches!(
        opened(swapped, &roots()).err(),
        Some(OpenError::Sealed(_, AeadError::Forged))
    ));
    // One provider's key in the place of another's: it alone is missing.
    for name in ["openai", "anthropic"] {
        let command = put(&mut house, name);
        house.done(command);
    }
    let mut swapped = house.ring();
    swapped.providers[0].text = swapped.providers[1].text.clone();
    let opened = opened(swapped, &roots()).ok().unwrap();
    assert_eq!(opened.faults.len(), 1);
    assert!(opened.provider("anthropic").is_none());
    assert_eq!(opened.provider("openai").unwrap().reveal(), PROVIDER);
}

#[test]
fn small_secrets_open_where_they_were_sealed_alone() {
    let mut house = House::new();
    let opened = house.open();
    let text = opened.seal("totp", "op_1", b"seed", &[7; 12]).unwrap();
    assert_eq!(
        opened.open("totp", "op_1", &text).ok().unwrap().reveal(),
        b"seed"
    );
    for (purpose, place) in [("totp", "op_2"), ("other", "op_1")] {
        assert!(matches!(
            opened.open(purpose, place, &text),
            Err(OpenError::Sealed(_, AeadError::Forged))
        ));
    }
    house.rotate(2);
    house.rewrap_all();
    assert_eq!(
        house
            .open()
            .open("totp", "op_1", &text)
            .ok()
            .unwrap()
            .reveal(),
        b"seed"
    );
}

#[test]
fn an_external_service_can_wrap_the_versions() {
    let mut house = House::empty();
    let by_kms = Wrap {
        by: "kms:key/1".to_owned(),
        text: "Y2lwaGVydGV4dA==".to_owned(),
    };
    let Command::Init { keys, .. } = init(&MASTER, KEK) else {
        panic!("not init")
    };
    house.call(Command::Init { wrap: by_kms, keys });
    let ring = house.ring();
    assert_eq!(
        kms::wanted(&ring)
            .map(|version| version.n)
            .collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(
        opened(ring.clone(), &roots()).err(),
        Some(OpenError::KmsMissing(1))
    );
    let unwrapped = [(1, Secret::new(KEK))];
    let opened = Opened::new("acme", ring.clone(), &Roots::default(), &unwrapped)
        .ok()
        .unwrap();
    assert_eq!(opened.pepper().unwrap().reveal(), &PEPPER);
    assert_eq!(rewrap_plan(&ring, &Wrapper::Kms), []);
    // Back to the root of MASTER_KEY.
    assert_eq!(rewrap_plan(&ring, &wrapper()), [Item::Version(1)]);
    let command =
        rewrap_version("acme", &ring.versions[0], &roots(), &unwrapped, &[3; 12]).unwrap();
    house.done(command);
    assert_eq!(house.open().pepper().unwrap().reveal(), &PEPPER);
}

#[test]
fn the_schedule_takes_a_version_through_its_whole_life() {
    let mut house = House::new();
    let steps = |house: &mut House| due(&house.ring(), house.now, 90, &wrapper());
    assert_eq!(steps(&mut house), []);
    house.later(90 * DAY - 1);
    assert_eq!(steps(&mut house), []);
    house.later(1);
    assert_eq!(steps(&mut house), [Step::Begin(2), Step::RotateSession]);
    let at = status(&house.ring(), house.now, 90, &wrapper()).unwrap();
    assert_eq!(at.warnings, [Warning::RotationDue(Millis(90 * DAY))]);
    assert_eq!(due(&house.ring(), house.now, 0, &wrapper()), []);
    house.done(begin(2));
    assert_eq!(steps(&mut house), [Step::RotateSession]);
    let command = house
        .open()
        .rotate_session(&Secret::new([0xD1; 32]), SESSION_OVERLAP, &[6; 12])
        .unwrap();
    house.done(command);
    house.later(PROPAGATION.0);
    assert_eq!(steps(&mut house), [Step::Activate(2)]);
    house.done(Command::Activate { n: 2 });
    let at = status(&house.ring(), house.now, 90, &wrapper()).unwrap();
    assert_eq!(
        (at.active, at.progress, at.due_in),
        (2, (2, 7), Some(Millis(90 * DAY)))
    );
    house.later(7 * DAY);
    let at = status(&house.ring(), house.now, 90, &wrapper()).unwrap();
    assert_eq!(at.warnings, [Warning::DecryptOnlyTooOld(1)]);
    assert!(matches!(&steps(&mut house)[..], [Step::Rewrap(items)] if items.len() == 5));
    house.rewrap_all();
    assert_eq!(
        status(&house.ring(), house.now, 90, &wrapper())
            .unwrap()
            .progress,
        (7, 7)
    );
    assert_eq!(steps(&mut house), [Step::Retire(1)]);
    house.done(Command::Retire { n: 1 });
    house.later(80 * DAY);
    assert_eq!(steps(&mut house), []);
    house.later(10 * DAY);
    assert_eq!(steps(&mut house)[0], Step::Destroy(1));
}

/// Every form in which a key might show.
fn forms(key: &[u8]) -> Vec<String> {
    let standard: String = base64url(key).replace('-', "+").replace('_', "/");
    vec![
        base64url(key),
        standard,
        hex(key),
        hex(key).to_uppercase(),
        format!("{key:?}"),
        serde_json::to_string(key).unwrap(),
    ]
}

#[test]
fn no_key_ever_shows_in_a_row_a_reply_or_an_error() {
    let mut house = House::new();
    let command = put(&mut house, "openai");
    let mut seen = format!("{command:?}");
    house.done(command);
    house.rotate(2);
    house.rewrap_all();
    let command = house
        .open()
        .rotate_session(&Secret::new([0xD1; 32]), SESSION_OVERLAP, &[6; 12])
        .unwrap();
    seen += &format!("{command:?}");
    house.done(command);
    let ring = house.ring();
    for roots in [
        Roots::default(),
        Roots::new(Some(&[1; 32]), None),
        Roots::new(Some(&[1; 32]), Some(&[2; 32])),
    ] {
        let fault = opened(ring.clone(), &roots).err().unwrap();
        seen += &format!("{fault:?} {fault}");
    }
    let mut broken = ring.clone();
    broken.data[0].text = "AAAA".to_owned();
    let fault = opened(broken, &roots()).err().unwrap();
    seen += &format!("{fault:?} {fault} {:?}", house.rows);
    seen += &house.said;
    let text = house
        .open()
        .seal("totp", "op_1", &PEPPER, &[7; 12])
        .unwrap();
    seen += &text;
    for key in [
        MASTER, PEPPER, SESSION, AUDIT, SEAL, KEK, [2; 32], [0xD1; 32],
    ] {
        for form in forms(&key) {
            assert!(!seen.contains(&form), "{form}");
        }
    }
    assert!(!seen.contains(PROVIDER) && !seen.contains("canary"));
    // The search finds what is there.
    assert!(format!("{seen}{}", base64url(&PEPPER)).contains(&forms(&PEPPER)[0]));
}
