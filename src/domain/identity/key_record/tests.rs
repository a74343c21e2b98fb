mod noted;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    Algorithm, Command, Entry, IndexCommand, IndexReply, KeyIndex, KeyRecord, KeySettings,
    MAX_KEYS, MAX_NONCES, MAX_OVERLAP, NONCE_SKEW, Names, NewRecord, PublicKey, Reply, Scopes,
    Stores, View,
};
use crate::base::digest::base64url;
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;

const NOW: Millis = Millis(1_800_000_000_000);

fn hash(n: u8) -> String {
    base64url(&[n; 32])
}

fn after(secs: u64) -> Millis {
    NOW.plus(Millis::from_secs(secs))
}

fn settings() -> KeySettings {
    KeySettings {
        name: "crawler".into(),
        scopes: Scopes {
            aliases: Names::Only(vec!["chat".into()]),
            endpoints: Names::All,
            stores: Stores::Read,
        },
        tags: BTreeMap::from([("team".into(), "search".into())]),
        tier: None,
        allowance: None,
        expires: None,
        public_keys: vec![],
        must_sign: false,
    }
}

fn signing() -> KeySettings {
    KeySettings {
        public_keys: vec![PublicKey {
            kid: "k1".into(),
            alg: Algorithm::Ed25519,
            key: hash(5),
        }],
        ..settings()
    }
}

fn create(settings: KeySettings) -> Command {
    Command::Create(Box::new(NewRecord {
        id: "0123456789abcdef".into(),
        tenant: "default".into(),
        created_by: "op_1".into(),
        hash: hash(1),
        settings,
    }))
}

fn auth(n: u8) -> Command {
    Command::Authenticate {
        hash: hash(n),
        recorded: false,
    }
}

fn rotate(n: u8, secs: u64) -> Command {
    Command::Rotate {
        hash: hash(n),
        overlap: Millis::from_secs(secs),
    }
}

fn sign(nonce: &str, expires: Millis, attempt: &str) -> Command {
    Command::AuthenticateSigned {
        kid: "k1".into(),
        nonce: nonce.into(),
        expires,
        attempt: attempt.into(),
        recorded: false,
    }
}

/// A shell: the machine and its durable rows.
struct House<M> {
    machine: M,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
}

impl<M: Machine> House<M> {
    fn new() -> Self {
        Self {
            machine: M::load(NOW, Vec::new()),
            rows: BTreeMap::new(),
            alarm: None,
        }
    }

    fn reload(&mut self, now: Millis) {
        self.machine = M::load(now, self.rows.clone().into_iter().collect());
    }

    fn persist(&mut self, effects: Effects) {
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn ask(&mut self, now: Millis, command: M::Command) -> M::Reply {
        let (reply, effects) = self.machine.apply(now, command);
        self.persist(effects);
        reply
    }

    /// Fails but is written: the reply is lost, the machine is loaded again and asked once more.
    fn ask_again(&mut self, now: Millis, command: M::Command) -> M::Reply
    where
        M::Command: Clone,
    {
        self.ask(now, command.clone());
        self.reload(now);
        self.ask(now, command)
    }

    fn wake(&mut self, now: Millis) {
        self.alarm = None;
        let effects = self.machine.wake(now);
        self.persist(effects);
    }
}

fn made(settings: KeySettings) -> House<KeyRecord> {
    let mut house = House::new();
    known(house.ask(NOW, create(settings)));
    house
}

fn known(reply: Reply) -> View {
    match reply {
        Reply::Known(view) => *view,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_secret_of_a_live_key_opens_it_and_all_else_is_alike() {
    let mut never = House::<KeyRecord>::new();
    assert_eq!(never.ask(NOW, auth(1)), Reply::Unknown);
    assert_eq!(never.ask(NOW, Command::Look), Reply::Unknown);

    let mut house = made(KeySettings {
        expires: Some(after(60)),
        ..settings()
    });
    assert_eq!(known(house.ask(NOW, auth(1))).id, "0123456789abcdef");
    assert_eq!(house.ask(NOW, auth(2)), Reply::Unknown);
    for text in [
        String::new(),
        "x".into(),
        super::NO_HASH.into(),
        hash(1)[1..].into(),
    ] {
        assert_eq!(
            house.ask(
                NOW,
                Command::Authenticate {
                    hash: text,
                    recorded: false,
                }
            ),
            Reply::Unknown
        );
    }
    known(house.ask(Millis(after(60).0 - 1), auth(1)));
    assert_eq!(house.ask(after(60), auth(1)), Reply::Unknown);
    house.ask(NOW, Command::Revoke);
    assert_eq!(house.ask(NOW, auth(1)), Reply::Unknown);
    assert_eq!(
        house.ask(
            NOW,
            Command::Authenticate {
                hash: String::new(),
                recorded: false,
            }
        ),
        Reply::Unknown
    );
}

#[test]
fn the_stored_form_is_pinned_and_shows_no_secret() {
    let mut house = made(settings());
    house.ask(NOW, auth(1));
    let stored = r#"{"v1":{"id":"0123456789abcdef","tenant":"default","created":1800000000000,"created_by":"op_1","settings":{"name":"crawler","scopes":{"aliases":{"only":["chat"]},"endpoints":"all","stores":"read"},"tags":{"team":"search"},"must_sign":false},"version":1,"secret_since":1800000000000},"h":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}"#;
    let rows: Vec<(&str, &str)> = house.rows.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(rows, [("rec/key", stored), ("rec/used", "1800000000000")]);
    let shown = serde_json::to_string(&house.ask(NOW, Command::Look)).unwrap();
    assert!(!shown.contains(&hash(1)), "{shown}");
}

#[test]
fn every_command_may_be_repeated_after_its_reply_was_lost() {
    let mut house = House::<KeyRecord>::new();
    let first = known(house.ask_again(NOW, create(signing())));
    assert_eq!((first.created, first.version), (NOW, 1));
    known(house.ask_again(NOW, auth(1)));
    known(house.ask_again(NOW, sign("n1", after(60), "a1")));
    assert_eq!(house.ask(NOW, sign("n1", after(60), "a2")), Reply::Replayed);
    let rotated = known(house.ask_again(after(1), rotate(2, 60)));
    assert_eq!(rotated.overlap_until, Some(after(61)));
    known(house.ask(after(2), auth(1)));
    let change = Command::Change {
        version: 1,
        settings: Box::new(settings()),
    };
    assert_eq!(known(house.ask_again(after(2), change)).version, 2);
    house.ask(after(3), Command::Revoke);
    house.reload(after(3));
    let revoked = known(house.ask(after(9), Command::Revoke));
    assert_eq!(revoked.revoked, Some(after(3)));
}

#[test]
fn an_id_is_taken_once_and_for_ever() {
    let mut house = made(settings());
    let other = Command::Create(Box::new(NewRecord {
        id: "0123456789abcdef".into(),
        tenant: "default".into(),
        created_by: "op_2".into(),
        hash: hash(2),
        settings: settings(),
    }));
    assert_eq!(house.ask(NOW, other.clone()), Reply::Exists);
    house.ask(NOW, Command::Revoke);
    assert_eq!(house.ask(NOW, other), Reply::Exists);
    assert_eq!(house.ask(NOW, create(settings())), Reply::Exists);
    assert_eq!(house.ask(NOW, auth(1)), Reply::Unknown);
}

#[test]
fn both_secrets_are_good_during_the_overlap_and_one_after_it() {
    let mut house = made(settings());
    known(house.ask(NOW, rotate(2, 60)));
    assert_eq!(house.alarm, Some(after(60)));
    for n in [1, 2] {
        known(house.ask(Millis(after(60).0 - 1), auth(n)));
    }
    assert_eq!(house.ask(after(60), auth(1)), Reply::Unknown);
    known(house.ask(after(60), auth(2)));
    // Once the alarm has rung, a clock that goes back does not bring it to life again.
    house.wake(after(60));
    assert_eq!(house.ask(NOW, auth(1)), Reply::Unknown);
    assert!(!house.rows["rec/key"].contains(&hash(1)));
    known(house.ask(NOW, auth(2)));
}

#[test]
fn a_rotation_that_is_repeated_leaves_every_secret_its_own_deadline() {
    let mut house = made(settings());
    known(house.ask(NOW, rotate(2, 3600)));
    assert_eq!(house.ask(NOW, rotate(1, 3600)), Reply::Conflict);
    // The answer was lost, and the caller made another secret.
    let again = known(house.ask(after(10), rotate(3, 60)));
    assert_eq!(again.overlap_until, Some(after(3600)));
    house.reload(after(10));
    for n in [1, 2, 3] {
        known(house.ask(after(69), auth(n)));
    }
    house.wake(after(70));
    for (n, opens) in [(1, true), (2, false), (3, true)] {
        let reply = house.ask(after(70), auth(n));
        assert_eq!(reply != Reply::Unknown, opens, "{n}");
    }
    assert_eq!(house.alarm, Some(after(3600)));
    house.wake(after(3600));
    assert_eq!(house.ask(after(3600), auth(1)), Reply::Unknown);
    assert_eq!(known(house.ask(NOW, Command::Look)).overlap_until, None);
}

#[test]
fn three_earlier_secrets_are_good_and_none_more() {
    let mut house = made(settings());
    for n in 2..=4 {
        known(house.ask(NOW, rotate(n, 60)));
    }
    assert_eq!(house.ask(NOW, rotate(5, 60)), Reply::Full);
    for n in 1..=4 {
        known(house.ask(NOW, auth(n)));
    }
    known(house.ask(after(60), rotate(5, 60)));
    for (n, opens) in [(1, false), (2, false), (3, false), (4, true), (5, true)] {
        let reply = house.ask(after(60), auth(n));
        assert_eq!(reply != Reply::Unknown, opens, "{n}");
    }
}

#[test]
fn secrets_before_the_current_one_are_read_in_both_forms() {
    let mut house = made(settings());
    known(house.ask(NOW, rotate(2, 60)));
    let row = &house.rows["rec/key"];
    let tail = format!(
        r#""overlap_until":1800000060000}},"h":"{}","q":[["{}",1800000060000]]}}"#,
        hash(2),
        hash(1)
    );
    assert!(row.ends_with(&tail), "{row}");
    // As it was written while there could be only one.
    let old = row.replace(
        &format!(r#""q":[["{}",1800000060000]]"#, hash(1)),
        &format!(r#""p":"{}""#, hash(1)),
    );
    assert_ne!(&old, row);
    house.rows.insert("rec/key".into(), old);
    house.reload(NOW);
    known(house.ask(after(1), rotate(3, 3600)));
    for n in [1, 2, 3] {
        known(house.ask(after(59), auth(n)));
    }
    assert_eq!(house.ask(after(60), auth(1)), Reply::Unknown);
    known(house.ask(after(60), auth(2)));
}

#[test]
fn a_rotation_without_an_overlap_ends_all_secrets_before_it() {
    let mut house = made(settings());
    known(house.ask(NOW, rotate(2, 3600)));
    known(house.ask(NOW, rotate(3, 3600)));
    known(house.ask(NOW, rotate(4, 0)));
    for (n, opens) in [(1, false), (2, false), (3, false), (4, true)] {
        assert_eq!(house.ask(NOW, auth(n)) != Reply::Unknown, opens, "{n}");
    }
    let long = known(house.ask(NOW, rotate(5, u64::MAX)));
    assert_eq!(long.overlap_until, Some(NOW.plus(MAX_OVERLAP)));
}

#[test]
fn a_revocation_ends_every_secret_and_every_signature() {
    let mut house = made(signing());
    known(house.ask(NOW, rotate(2, 3600)));
    known(house.ask(NOW, sign("n1", after(60), "a")));
    house.ask(NOW, Command::Revoke);
    house.reload(NOW);
    assert_eq!(house.ask(NOW, auth(1)), Reply::Unknown);
    assert_eq!(house.ask(NOW, auth(2)), Reply::Unknown);
    assert_eq!(house.ask(NOW, sign("n2", after(60), "b")), Reply::Unknown);
    assert_eq!(house.ask(NOW, rotate(3, 0)), Reply::Conflict);
    let change = Command::Change {
        version: 1,
        settings: Box::new(settings()),
    };
    assert_eq!(house.ask(NOW, change), Reply::Conflict);
    assert!(known(house.ask(NOW, Command::Look)).revoked.is_some());
}

#[test]
fn a_change_made_from_an_older_version_is_refused() {
    let mut house = made(settings());
    let change = |version, name: &str, stores| Command::Change {
        version,
        settings: Box::new(KeySettings {
            name: name.into(),
            scopes: Scopes {
                stores,
                ..settings().scopes
            },
            ..settings()
        }),
    };
    known(house.ask(NOW, change(1, "crawler", Stores::None)));
    // Somebody renames it who has seen the wider scope.
    assert_eq!(
        house.ask(NOW, change(1, "robot", Stores::Read)),
        Reply::Conflict
    );
    let seen = known(house.ask(NOW, change(2, "robot", Stores::None)));
    assert_eq!((seen.version, seen.settings.name), (3, "robot".into()));
}

#[test]
fn a_key_that_must_sign_is_not_opened_by_its_secret() {
    let mut house = made(KeySettings {
        must_sign: true,
        ..signing()
    });
    assert_eq!(house.ask(NOW, auth(1)), Reply::Unknown);
    known(house.ask(NOW, sign("n", after(60), "a")));
}

#[test]
fn a_nonce_is_spent_once_for_as_long_as_its_signature_could_count() {
    let mut house = made(signing());
    known(house.ask(NOW, sign("n", after(60), "a")));
    let end = after(60).plus(NONCE_SKEW);
    for now in [NOW, after(60), Millis(end.0 - 1)] {
        assert_eq!(house.ask(now, sign("n", after(60), "b")), Reply::Replayed);
        house.reload(now);
        house.wake(now);
    }
    known(house.ask(NOW, sign("m", after(60), "b")));
    let other_kid = Command::AuthenticateSigned {
        kid: "k2".into(),
        nonce: "x".into(),
        expires: after(60),
        attempt: "c".into(),
        recorded: false,
    };
    assert_eq!(house.ask(NOW, other_kid), Reply::Unknown);
    assert_eq!(house.ask(end, sign("late", after(60), "d")), Reply::Unknown);
}

#[test]
fn a_forgotten_nonce_is_not_accepted_when_the_clock_goes_back() {
    let mut house = made(signing());
    known(house.ask(NOW, sign("n", after(60), "a")));
    let alarm = house.alarm.unwrap();
    assert!(alarm >= after(60).plus(NONCE_SKEW));
    house.wake(alarm);
    assert_eq!(house.alarm, None);
    assert!(!house.rows.keys().any(|key| key.starts_with("rec/n/")));
    for reload in [false, true] {
        if reload {
            house.reload(NOW);
        }
        assert_eq!(house.ask(NOW, sign("n", after(60), "b")), Reply::Unknown);
    }
    // A signature of the present counts.
    known(house.ask(alarm, sign("n", Millis(alarm.0 + 1000), "c")));
}

#[test]
fn beyond_the_bound_signed_requests_are_refused_and_no_nonce_is_forgotten() {
    let mut house = made(signing());
    for i in 0..MAX_NONCES {
        known(house.ask(NOW, sign(&i.to_string(), after(60), "a")));
    }
    assert_eq!(house.ask(NOW, sign("more", after(60), "a")), Reply::Full);
    assert_eq!(house.ask(NOW, sign("0", after(60), "b")), Reply::Replayed);
    // The secret alone still works.
    known(house.ask(NOW, auth(1)));
    // Once the first are over there is room, also without an alarm.
    let later = Millis(after(60).plus(NONCE_SKEW).0 + 60_000);
    let reply = house.ask(later, sign("more", Millis(later.0 + 60_000), "a"));
    known(reply);
    while house.alarm.is_some_and(|alarm| alarm <= later) {
        house.wake(later);
    }
    let left = house.rows.keys().filter(|k| k.starts_with("rec/n/"));
    assert_eq!(left.count(), 1);
}

#[test]
fn the_last_use_is_written_once_a_minute() {
    let mut house = made(settings());
    let mut writes = |now| house.machine.apply(now, auth(1)).1.writes.len();
    assert_eq!(writes(NOW), 1);
    assert_eq!(writes(Millis(NOW.0 + 59_999)), 0);
    assert_eq!(writes(Millis(NOW.0 + 60_000)), 1);
    // A clock that was wrong for a while does not stop it.
    assert_eq!(writes(NOW), 1);
    let (reply, _) = house.machine.apply(NOW, Command::Look);
    assert_eq!(known(reply).last_used, Some(NOW));
}

#[test]
fn rows_that_cannot_be_read_open_nothing() {
    let rows = vec![
        ("rec/key".to_owned(), "{".to_owned()),
        ("acct/x".to_owned(), "1".to_owned()),
    ];
    let mut record = KeyRecord::load(NOW, rows);
    assert_eq!(record.apply(NOW, auth(1)).0, Reply::Unknown);
    assert_eq!(record.apply(NOW, create(settings())).0, Reply::Exists);
    // A record without scopes is not one that may do everything.
    let mut house = made(settings());
    let text = house.rows["rec/key"].replace(r#""endpoints":"all","#, "");
    house.rows.insert("rec/key".into(), text);
    house.reload(NOW);
    assert_eq!(house.ask(NOW, auth(1)), Reply::Unknown);
    // A nonce that cannot be read is spent, a floor that cannot be read is now.
    let mut house = made(signing());
    known(house.ask(NOW, sign("n", after(600), "a")));
    let row = house
        .rows
        .keys()
        .find(|k| k.starts_with("rec/n/"))
        .unwrap()
        .clone();
    house.rows.insert(row, "?".into());
    house.reload(NOW);
    assert_eq!(house.ask(NOW, sign("n", after(600), "a")), Reply::Replayed);
    house.rows.insert("rec/floor".into(), "?".into());
    house.reload(after(1000));
    assert_eq!(house.ask(NOW, sign("m", after(600), "a")), Reply::Unknown);
}

#[test]
fn scopes_allow_what_they_name() {
    let scopes = settings().scopes;
    assert!(scopes.allows_alias("chat"));
    for alias in ["", "cha", "chat2", "Chat", "all"] {
        assert!(!scopes.allows_alias(alias), "{alias}");
    }
    assert!(scopes.allows_endpoint("anything"));
    let none = Scopes {
        endpoints: Names::Only(vec![]),
        ..scopes
    };
    assert!(!none.allows_endpoint("anything"));
    let store = |stores, needed| {
        Scopes {
            stores,
            ..settings().scopes
        }
        .allows_store(needed)
    };
    assert!(!store(Stores::None, Stores::Read));
    assert!(store(Stores::Read, Stores::Read));
    assert!(!store(Stores::Read, Stores::Write));
    assert!(store(Stores::Write, Stores::Read));
    assert!(store(Stores::Write, Stores::Write));
}

#[test]
fn settings_are_checked_when_they_come() {
    type Spoil = fn(&mut KeySettings);
    let spoils: [(&str, Spoil); 14] = [
        ("name", |s| s.name.clear()),
        ("name", |s| s.name = "x".repeat(101)),
        ("name", |s| s.name = "a\nb".into()),
        ("scopes.aliases", |s| {
            s.scopes.aliases = Names::Only(vec![String::new()])
        }),
        ("scopes.endpoints", |s| {
            s.scopes.endpoints = Names::Only(vec!["x".into(); 65])
        }),
        ("tags", |s| {
            s.tags = (0..17).map(|i| (i.to_string(), String::new())).collect()
        }),
        ("tags", |s| _ = s.tags.insert("a b".into(), String::new())),
        ("tags", |s| _ = s.tags.insert("a".into(), "x".repeat(257))),
        ("tier", |s| s.tier = Some(String::new())),
        ("public_keys", |s| {
            s.public_keys = vec![signing().public_keys[0].clone(); 2]
        }),
        ("public_keys", |s| {
            s.public_keys[0].key = base64url(&[5; 31])
        }),
        ("public_keys", |s| {
            s.public_keys[0].alg = Algorithm::EcdsaP256
        }),
        ("must_sign", |s| {
            s.must_sign = true;
            s.public_keys.clear();
        }),
        ("allowance.concurrent", |s| {
            s.allowance = Some(serde_json::from_str(r#"{"concurrent":0}"#).unwrap());
        }),
    ];
    for (path, spoil) in spoils {
        let mut bad = signing();
        spoil(&mut bad);
        let faults: Vec<String> = bad.faults().into_iter().map(|(path, _)| path).collect();
        assert_eq!(faults, [path]);
        assert_eq!(
            House::<KeyRecord>::new().ask(NOW, create(bad.clone())),
            Reply::Invalid
        );
        let change = Command::Change {
            version: 1,
            settings: Box::new(bad),
        };
        assert_eq!(made(settings()).ask(NOW, change), Reply::Invalid);
    }
    let mut point = vec![4];
    point.extend([7; 64]);
    let mut good = signing();
    good.public_keys.push(PublicKey {
        kid: "k2".into(),
        alg: Algorithm::EcdsaP256,
        key: base64url(&point),
    });
    assert_eq!(good.faults(), []);
    assert_eq!(
        made(good).ask(
            NOW,
            Command::Rotate {
                hash: "short".into(),
                overlap: NOW
            }
        ),
        Reply::Invalid
    );
}

#[derive(Clone, Debug)]
enum Step {
    Ask(Command),
    Lost(Command),
    Reload,
    Wake,
    Clock(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let command = prop_oneof![
        4 => (1u8..5).prop_map(auth),
        2 => (2u8..5, 0u64..200).prop_map(|(n, secs)| rotate(n, secs)),
        4 => (0u8..4, 0u64..400, 0u8..3)
            .prop_map(|(n, secs, a)| sign(&n.to_string(), after(secs), &a.to_string())),
        1 => Just(Command::Revoke),
    ];
    let step = prop_oneof![
        6 => command.clone().prop_map(Step::Ask),
        2 => command.prop_map(Step::Lost),
        1 => Just(Step::Reload),
        1 => Just(Step::Wake),
        2 => (-200i64..400).prop_map(Step::Clock),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens in between: no nonce is accepted for two attempts, nothing opens a revoked key, and the current
    /// secret opens a live one.
    #[test]
    fn nothing_is_accepted_twice_or_after_its_end(steps in steps()) {
        let mut house = made(signing());
        let mut now = NOW;
        let mut current = 1u8;
        let mut ended: Vec<u8> = Vec::new();
        let mut revoked = false;
        let mut spent: BTreeMap<(String, Millis), String> = BTreeMap::new();
        for step in steps {
            let command = match step {
                Step::Reload => { house.reload(now); continue }
                Step::Wake => { house.wake(now); continue }
                Step::Clock(secs) => {
                    now = Millis(now.0.saturating_add_signed(secs * 1000));
                    continue
                }
                // Whatever a shell loads again comes to the same.
                Step::Lost(command) => {
                    let reply = house.ask(now, command.clone());
                    house.reload(now);
                    prop_assert_eq!(house.ask(now, command.clone()), reply);
                    command
                }
                Step::Ask(command) => command,
            };
            let reply = house.ask(now, command.clone());
            let opened = matches!(reply, Reply::Known(_));
            match command {
                Command::Authenticate { hash: text, .. } => {
                    prop_assert!(!(revoked && opened));
                    prop_assert!(revoked || opened || text != hash(current));
                    prop_assert!(!opened || !ended.iter().any(|n| hash(*n) == text) || text == hash(current));
                }
                Command::AuthenticateSigned { nonce, expires, attempt, .. } if opened => {
                    prop_assert!(!revoked);
                    let first = spent.entry((nonce, expires)).or_insert_with(|| attempt.clone());
                    prop_assert_eq!(first, &attempt);
                }
                Command::Rotate { hash: text, overlap } if opened => {
                    prop_assert!(!revoked);
                    let next = (1..5).find(|n| hash(*n) == text).unwrap();
                    if next != current && overlap == Millis::ZERO {
                        ended = (1..5).filter(|n| *n != next).collect();
                    }
                    if next != current {
                        ended.retain(|n| *n != next);
                    }
                    current = next;
                }
                Command::Revoke => revoked = true,
                _ => {}
            }
        }
    }
}

// === the index ===

fn entry(n: u64) -> Entry {
    Entry {
        id: format!("key{n:05}"),
        name: format!("name {n}"),
        created: Millis(n / 3),
        created_by: "op_1".into(),
        revoked: None,
        waits: None,
    }
}

/// As it stands in the list.
fn listed(entry: Entry) -> Entry {
    Entry {
        waits: Some(NOW),
        ..entry
    }
}

fn pages(house: &mut House<KeyIndex>, limit: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let IndexReply::Page { entries, next } =
            house.ask(NOW, IndexCommand::Page { after, limit })
        else {
            panic!()
        };
        assert!(entries.len() <= limit);
        all.extend(entries);
        if next.is_none() {
            return all;
        }
        after = next;
    }
}

#[test]
fn every_key_is_listed_once_newest_first_whatever_the_page() {
    let mut house = House::<KeyIndex>::new();
    for n in 0..100 {
        assert_eq!(
            house.ask_again(NOW, IndexCommand::Put(entry(n))),
            IndexReply::Noted
        );
    }
    let mut expected: Vec<Entry> = (0..100).map(entry).map(listed).collect();
    expected.sort_by_key(|e| (std::cmp::Reverse(e.created), e.id.clone()));
    for limit in [1, 7, 99, 100, 200] {
        assert_eq!(pages(&mut house, limit), expected);
    }
    house.reload(NOW);
    assert_eq!(pages(&mut house, 50), expected);
    assert_eq!(
        house.rows["key/key00004"],
        r#"{"id":"key00004","n":"name 4","c":1,"b":"op_1","w":1800000000000}"#
    );
    // A page after an entry that is gone meanwhile.
    let first = house.ask(
        NOW,
        IndexCommand::Page {
            after: None,
            limit: 2,
        },
    );
    let IndexReply::Page { entries, next } = first else {
        panic!()
    };
    house.ask_again(
        NOW,
        IndexCommand::Drop {
            id: entries[1].id.clone(),
        },
    );
    let IndexReply::Page { entries, .. } = house.ask(
        NOW,
        IndexCommand::Page {
            after: next,
            limit: 1,
        },
    ) else {
        panic!()
    };
    assert_eq!(entries, expected[2..3]);
}

#[test]
fn a_revocation_in_the_list_stays_and_no_unreadable_row_is_hidden() {
    let mut house = House::<KeyIndex>::new();
    house.ask(NOW, IndexCommand::Put(entry(4)));
    let revoked = Entry {
        revoked: Some(NOW),
        ..entry(4)
    };
    house.ask(NOW, IndexCommand::Put(revoked.clone()));
    house.ask(NOW, IndexCommand::Put(entry(4)));
    assert_eq!(pages(&mut house, 10), [listed(revoked)]);
    house.rows.insert("key/broken".into(), "{".into());
    house.rows.insert("acct/other".into(), "{}".into());
    house.reload(NOW);
    let ids: Vec<String> = pages(&mut house, 10).into_iter().map(|e| e.id).collect();
    assert_eq!(ids, ["key00004", "broken"]);
}

#[test]
fn a_key_that_was_put_waits_until_it_is_settled_as_it_was_put() {
    let mut house = House::<KeyIndex>::new();
    let waiting =
        |house: &mut House<KeyIndex>, limit| match house.ask(NOW, IndexCommand::Waiting(limit)) {
            IndexReply::Waiting(waiting) => waiting,
            other => panic!("{other:?}"),
        };
    house.ask(after(2), IndexCommand::Put(entry(1)));
    house.ask(after(1), IndexCommand::Put(entry(2)));
    let (one, two) = (
        ("key00001".to_owned(), after(2)),
        ("key00002".to_owned(), after(1)),
    );
    assert_eq!(waiting(&mut house, 9), [two.clone(), one.clone()]);
    assert_eq!(waiting(&mut house, 1), std::slice::from_ref(&two));
    // Changed again meanwhile: what was delivered before says nothing of that.
    house.ask(after(3), IndexCommand::Put(entry(1)));
    let settled = IndexCommand::Settled(vec![one, two, ("key00009".into(), NOW)]);
    assert_eq!(house.ask_again(after(4), settled), IndexReply::Noted);
    house.reload(after(4));
    assert_eq!(waiting(&mut house, 9), [("key00001".to_owned(), after(3))]);
    assert_eq!(pages(&mut house, 9).len(), 2);
    // A row of before says nothing, and waits for nothing.
    let row = r#"{"id":"key00007","n":"name","c":1,"b":"op_1"}"#;
    house.rows.insert("key/key00007".into(), row.into());
    house.reload(after(4));
    assert_eq!(waiting(&mut house, 9).len(), 1);
}

#[test]
fn a_listed_key_with_an_event_of_its_use_waits_and_keeps_what_the_list_says_of_it() {
    let mut house = House::<KeyIndex>::new();
    house.ask(NOW, IndexCommand::Put(entry(1)));
    house.ask(NOW, IndexCommand::Settled(vec![("key00001".into(), NOW)]));
    for id in ["key00001", "key00009"] {
        let wait = IndexCommand::Wait { id: id.into() };
        assert_eq!(house.ask_again(after(5), wait), IndexReply::Noted);
    }
    house.reload(after(5));
    assert_eq!(
        house.ask(after(5), IndexCommand::Waiting(9)),
        IndexReply::Waiting(vec![("key00001".into(), after(5))])
    );
    let waits = Entry {
        waits: Some(after(5)),
        ..entry(1)
    };
    assert_eq!(pages(&mut house, 9), [waits]);
}

#[test]
fn the_list_is_bounded() {
    let mut house = House::<KeyIndex>::new();
    for n in 0..MAX_KEYS as u64 {
        house.ask(NOW, IndexCommand::Put(entry(n)));
    }
    let more = entry(MAX_KEYS as u64);
    assert_eq!(house.ask(NOW, IndexCommand::Put(more)), IndexReply::Full);
    let renamed = Entry {
        name: "other".into(),
        ..entry(0)
    };
    assert_eq!(
        house.ask(NOW, IndexCommand::Put(renamed)),
        IndexReply::Noted
    );
}
