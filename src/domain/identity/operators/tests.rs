use std::collections::BTreeMap;

use super::{
    Command, Deed, Factors, INVITE_TTL, Knock, LONGEST_WAIT, NewSession, Newcomer, Operators,
    Proof, Reply, Why,
};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::identity::roles::Role;

const NOW: Millis = Millis(1_795_237_500_000);
const IDLE: Millis = Millis::from_secs(1800);
const ABSOLUTE: Millis = Millis::from_secs(43_200);
const FRESH: Millis = Millis::from_secs(600);

/// The machine with its storage and a clock.
#[derive(Default)]
struct House {
    machine: Operators,
    rows: BTreeMap<String, String>,
    now: Millis,
    calls: u32,
}

fn newcomer(id: &str) -> Newcomer {
    Newcomer {
        id: id.to_owned(),
        name: format!("Name of {id}"),
        factors: Factors {
            key: format!("key-{id}"),
            seed: format!("sealed-{id}"),
            last_step: 10,
            recovery: (0..10).map(|i| format!("code-{id}-{i}")).collect(),
        },
    }
}

impl House {
    fn claimed() -> Self {
        let mut house = Self {
            now: NOW,
            ..Self::default()
        };
        assert_eq!(house.ask(Command::Claim(newcomer("ann"))), Reply::Done);
        house
    }

    fn keep(&mut self, effects: Effects) {
        assert!(
            effects
                .writes
                .iter()
                .all(|write| write.key.starts_with("op/"))
        );
        effects.keep_in(&mut self.rows, &mut None);
    }

    fn ask(&mut self, command: Command) -> Reply {
        let (reply, effects) = self.machine.apply(self.now, command);
        self.keep(effects);
        reply
    }

    fn reload(&mut self) {
        let rows = self.rows.clone().into_iter().collect();
        self.machine = Operators::load(self.now, rows);
    }

    fn call(&mut self) -> String {
        self.calls += 1;
        format!("call-{}", self.calls)
    }

    fn knock(&mut self, id: &str, key: &str) -> (String, Reply) {
        let attempt = self.call();
        let knock = Knock::Key(id.to_owned(), key.to_owned());
        let reply = self.ask(Command::Begin(attempt.clone(), knock));
        (attempt, reply)
    }

    fn enter(&mut self, attempt: &str, id: &str, proof: Proof, session: &str) -> Reply {
        self.ask(Command::Enter {
            attempt: attempt.to_owned(),
            operator: id.to_owned(),
            proof,
            session: NewSession {
                hash: format!("hash-{session}"),
                id: session.to_owned(),
                network: "net".to_owned(),
                agent: "Firefox ".repeat(40),
                absolute: ABSOLUTE,
                fresh: FRESH,
            },
        })
    }

    /// Signs in with the right key and a step that is taken here.
    fn sign_in(&mut self, id: &str, step: u64, session: &str) {
        let (attempt, reply) = self.knock(id, &format!("key-{id}"));
        assert!(matches!(reply, Reply::Sealed(..)), "{reply:?}");
        let reply = self.enter(&attempt, id, Proof::Step(step), session);
        assert!(matches!(reply, Reply::In(_)), "{reply:?}");
    }

    fn act(&mut self, session: &str, deed: Deed) -> Reply {
        let id = self.call();
        let by = format!("hash-{session}");
        self.ask(Command::Act { id, by, deed })
    }

    /// Invites by the session `by`, and lets the invited one join and sign in under their own name.
    fn bring(&mut self, by: &str, id: &str, role: Role) {
        let invite = Deed::Invite {
            id: format!("inv-{id}"),
            code: format!("invite-{id}"),
            role,
        };
        assert_eq!(self.act(by, invite), Reply::Done);
        let join = Command::Join(format!("invite-{id}"), newcomer(id));
        assert_eq!(self.ask(join), Reply::Done);
        self.sign_in(id, 11, id);
    }

    fn authenticate(&mut self, session: &str) -> Reply {
        self.ask(Command::Authenticate(
            format!("hash-{session}"),
            IDLE,
            ABSOLUTE,
        ))
    }

    fn is_in(&mut self, session: &str) -> bool {
        matches!(self.authenticate(session), Reply::In(_))
    }

    fn wait(&mut self, time: Millis) {
        self.now = self.now.plus(time);
    }
}

fn no(why: Why) -> Reply {
    Reply::No(why)
}

#[test]
fn the_first_claim_wins_and_may_be_repeated() {
    let mut house = House::default();
    assert_eq!(house.ask(Command::State), Reply::State(false, 0, 0));
    let mut nameless = newcomer("ann");
    nameless.name.clear();
    assert_eq!(house.ask(Command::Claim(nameless)), no(Why::Invalid));
    assert_eq!(house.ask(Command::Claim(newcomer("ann"))), Reply::Done);
    assert_eq!(house.ask(Command::Claim(newcomer("eve"))), no(Why::Claimed));
    house.reload();
    assert_eq!(house.ask(Command::Claim(newcomer("ann"))), Reply::Done);
    let mut other_key = newcomer("ann");
    other_key.factors.key = "other".to_owned();
    assert_eq!(house.ask(Command::Claim(other_key)), no(Why::Claimed));
    assert_eq!(house.ask(Command::State), Reply::State(true, 1, 1));
}

#[test]
fn a_step_is_taken_once_even_by_parallel_calls() {
    let mut house = House::claimed();
    let (first, _) = house.knock("ann", "key-ann");
    let (second, told) = house.knock("ann", "key-ann");
    assert_eq!(told, Reply::Sealed("ann".into(), "sealed-ann".into(), 10));
    assert!(matches!(
        house.enter(&first, "ann", Proof::Step(11), "one"),
        Reply::In(_)
    ));
    assert_eq!(
        house.enter(&second, "ann", Proof::Step(11), "two"),
        no(Why::Refused)
    );
    // Also with an attempt that was begun later, and for a step before it.
    for step in [9, 10, 11] {
        let (attempt, told) = house.knock("ann", "key-ann");
        assert_eq!(told, Reply::Sealed("ann".into(), "sealed-ann".into(), 11));
        assert_eq!(
            house.enter(&attempt, "ann", Proof::Step(step), "two"),
            no(Why::Refused)
        );
        // A failed attempt is used up.
        assert_eq!(
            house.enter(&attempt, "ann", Proof::Step(12), "two"),
            no(Why::Refused)
        );
    }
    assert!(house.is_in("one") && !house.is_in("two"));
    // The same call again is answered the same.
    assert!(matches!(
        house.enter(&first, "ann", Proof::Step(11), "one"),
        Reply::In(_)
    ));
}

#[test]
fn entering_needs_an_attempt_that_was_begun_with_the_key() {
    let mut house = House::claimed();
    assert_eq!(
        house.enter("never", "ann", Proof::Step(11), "one"),
        no(Why::Refused)
    );
    let (attempt, reply) = house.knock("ann", "wrong");
    assert_eq!(reply, no(Why::Unknown));
    assert_eq!(
        house.enter(&attempt, "ann", Proof::Step(11), "one"),
        no(Why::Refused)
    );
    assert_eq!(
        house.enter("", "ann", Proof::Step(11), "one"),
        no(Why::Refused)
    );
}

#[test]
fn a_recovery_code_is_good_once() {
    let mut house = House::claimed();
    let code = || Proof::Recovery("code-ann-3".to_owned());
    let (attempt, _) = house.knock("ann", "key-ann");
    let Reply::In(standing) = house.enter(&attempt, "ann", code(), "one") else {
        panic!()
    };
    assert_eq!(standing.recovery_left, 9);
    house.reload();
    let (attempt, _) = house.knock("ann", "key-ann");
    assert_eq!(
        house.enter(&attempt, "ann", code(), "two"),
        no(Why::Refused)
    );
}

#[test]
fn six_wrong_codes_close_the_door_and_success_opens_it() {
    let mut house = House::claimed();
    for _ in 0..4 {
        assert!(matches!(house.knock("ann", "key-ann").1, Reply::Sealed(..)));
    }
    house.sign_in("ann", 11, "one");
    for _ in 0..5 {
        assert!(matches!(house.knock("ann", "key-ann").1, Reply::Sealed(..)));
    }
    assert_eq!(
        house.knock("ann", "key-ann").1,
        Reply::TooMany(Millis::from_secs(30))
    );
    house.reload();
    assert_eq!(
        house.knock("ann", "key-ann").1,
        Reply::TooMany(Millis::from_secs(30))
    );
    house.wait(Millis::from_secs(30));
    house.sign_in("ann", 12, "two");
    house.sign_in("ann", 13, "three");
}

fn knock_again(house: &mut House, session: &str) -> (String, Reply) {
    let attempt = house.call();
    let knock = Knock::Session(format!("hash-{session}"));
    let reply = house.ask(Command::Begin(attempt.clone(), knock));
    (attempt, reply)
}

#[test]
fn wrong_codes_with_the_key_keep_no_session_from_confirming() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "one");
    // Somebody has the key and no authenticator.
    for _ in 0..5 {
        assert!(matches!(house.knock("ann", "key-ann").1, Reply::Sealed(..)));
    }
    assert!(matches!(house.knock("ann", "key-ann").1, Reply::TooMany(_)));
    let (attempt, told) = knock_again(&mut house, "one");
    assert!(matches!(told, Reply::Sealed(..)), "{told:?}");
    // An attempt that was begun with the key confirms nothing.
    let (hash, fresh) = ("hash-one".to_owned(), FRESH);
    let confirm = |attempt: &str, step| Command::Confirm(attempt.into(), hash.clone(), step, fresh);
    assert_eq!(house.ask(confirm("call-3", 12)), no(Why::Refused));
    assert!(matches!(house.ask(confirm(&attempt, 12)), Reply::In(_)));
    // Success in the session does not open the door for whoever knocks outside.
    assert!(matches!(house.knock("ann", "key-ann").1, Reply::TooMany(_)));
}

#[test]
fn a_session_has_five_free_attempts_and_its_counter_ends_with_it() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "one");
    house.sign_in("ann", 12, "two");
    for _ in 0..5 {
        let told = knock_again(&mut house, "one").1;
        assert!(matches!(told, Reply::Sealed(..)), "{told:?}");
    }
    let wait = Reply::TooMany(Millis::from_secs(30));
    assert_eq!(knock_again(&mut house, "one").1, wait);
    house.reload();
    assert_eq!(knock_again(&mut house, "one").1, wait);
    assert!(matches!(
        knock_again(&mut house, "two").1,
        Reply::Sealed(..)
    ));
    assert!(matches!(house.knock("ann", "key-ann").1, Reply::Sealed(..)));
    assert!(house.rows.contains_key("op/a/s/one"));
    assert_eq!(house.act("one", Deed::SignOut), Reply::Done);
    assert!(!house.rows.contains_key("op/a/s/one"));
}

#[test]
fn wrong_invitations_and_set_up_tokens_count_with_unknown_keys() {
    let mut house = House::claimed();
    for i in 0..20 {
        let knock = Command::Begin(format!("n{i}"), Knock::Nobody);
        assert_eq!(house.ask(knock), no(Why::Unknown));
    }
    let more = Command::Begin("n20".into(), Knock::Nobody);
    assert_eq!(house.ask(more), Reply::TooMany(Millis::from_secs(30)));
    assert!(matches!(house.knock("nobody", "x").1, Reply::TooMany(_)));
    house.sign_in("ann", 11, "one");
}

#[test]
fn the_last_sign_in_outlives_its_session_and_older_rows_have_none() {
    let mut house = House::claimed();
    let profile = |house: &mut House| match house.ask(Command::List) {
        Reply::List(operators, _) => operators[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(profile(&mut house).signed_in, None);
    house.reload();
    assert!(!house.rows["op/o/ann"].contains(r#""s":1"#));
    house.sign_in("ann", 11, "one");
    assert_eq!(house.act("one", Deed::SignOut), Reply::Done);
    house.reload();
    assert_eq!(profile(&mut house).signed_in, Some(NOW));
}

#[test]
fn a_session_that_was_idle_for_too_long_is_not_listed() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "one");
    let listed = |house: &mut House| match house.ask(Command::Sessions(None, IDLE)) {
        Reply::Sessions(sessions) => sessions.len(),
        other => panic!("{other:?}"),
    };
    house.wait(Millis(IDLE.0 - 1));
    assert_eq!(listed(&mut house), 1);
    house.wait(Millis(1));
    assert_eq!(listed(&mut house), 0);
    assert!(!house.is_in("one"));
}

#[test]
fn an_unknown_operator_costs_the_same_as_a_wrong_key() {
    let story = |id: &str| {
        let mut house = House::claimed();
        let mut told = Vec::new();
        for _ in 0..8 {
            let before = house.rows.clone();
            let reply = house.knock(id, "wrong").1;
            let changed = house
                .rows
                .iter()
                .filter(|(key, row)| before.get(*key) != Some(*row));
            told.push((reply, changed.count()));
            house.wait(Millis(1));
        }
        told
    };
    let known = story("ann");
    assert_eq!(known, story("nobody"));
    assert_eq!(known, story(""));
    assert_eq!(known[4], (no(Why::Unknown), 2));
    assert_eq!(known[5], (Reply::TooMany(Millis(29_999)), 0));
}

#[test]
fn wrong_keys_are_limited_over_all_and_keep_nobody_out() {
    let mut house = House::claimed();
    for i in 0..20 {
        assert_eq!(house.knock(&format!("guess-{i}"), "x").1, no(Why::Unknown));
    }
    assert!(matches!(house.knock("guess-20", "x").1, Reply::TooMany(_)));
    for _ in 0..9 {
        house.knock("ann", "x");
    }
    house.sign_in("ann", 11, "one");
}

#[test]
fn counters_are_bounded_and_forgotten() {
    let mut house = House::claimed();
    for i in 0..400 {
        house.wait(LONGEST_WAIT);
        house.wait(LONGEST_WAIT);
        let (_, reply) = house.knock(&format!("guess-{i}"), "x");
        assert_eq!(reply, no(Why::Unknown));
    }
    let counters = |house: &House| {
        house
            .rows
            .keys()
            .filter(|key| key.starts_with("op/a/"))
            .count()
    };
    assert!(counters(&house) <= 256);
    house.wait(Millis::from_secs(86_400));
    let effects = house.machine.wake(house.now);
    assert!(!effects.delete_all);
    house.keep(effects);
    assert_eq!(counters(&house), 0);
    assert_eq!(house.rows.len(), 1, "the operator stays");
}

#[test]
fn sessions_end_by_idleness_age_and_number() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "idle");
    house.wait(Millis(IDLE.0 - 1));
    assert!(house.is_in("idle"));
    house.wait(Millis(IDLE.0 - 1));
    house.reload();
    assert!(house.is_in("idle"));
    house.wait(IDLE);
    assert!(!house.is_in("idle"));
    assert!(!house.rows.keys().any(|key| key.starts_with("op/s/")));

    house.sign_in("ann", 12, "old");
    let born = house.now;
    while house.now.since(born) < Millis(ABSOLUTE.0 - 60_000) {
        house.wait(Millis(59_000));
        assert!(house.is_in("old"));
    }
    house.now = born.plus(ABSOLUTE);
    assert!(!house.is_in("old"));

    for i in 0..=20 {
        house.wait(Millis(1));
        house.sign_in("ann", 20 + i, &format!("s{i}"));
    }
    assert!(!house.is_in("s0"), "the oldest makes room");
    assert!((1..=20).all(|i| house.is_in(&format!("s{i}"))));
}

#[test]
fn use_is_written_down_at_most_once_a_minute() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "one");
    let mut writes = 0;
    for _ in 0..100 {
        house.wait(Millis(3000));
        let command = Command::Authenticate("hash-one".into(), IDLE, ABSOLUTE);
        let (_, effects) = house.machine.apply(house.now, command);
        writes += effects.writes.len();
        house.keep(effects);
    }
    assert_eq!(writes, 5);
}

#[test]
fn freshness_passes_and_is_confirmed_by_a_new_step() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "one");
    house.wait(FRESH);
    let codes = || Deed::ReplaceRecovery(vec!["new".to_owned()]);
    assert_eq!(house.act("one", codes()), no(Why::NotFresh));
    let confirm = |house: &mut House, attempt: &str, step| {
        let hash = "hash-one".to_owned();
        let knock = Command::Begin(attempt.to_owned(), Knock::Session(hash.clone()));
        assert!(matches!(house.ask(knock), Reply::Sealed(..)));
        house.ask(Command::Confirm(attempt.to_owned(), hash, step, FRESH))
    };
    assert_eq!(confirm(&mut house, "c1", 11), no(Why::Refused));
    let Reply::In(standing) = confirm(&mut house, "c2", 12) else {
        panic!()
    };
    assert_eq!(standing.fresh_until, house.now.plus(FRESH));
    house.wait(Millis(FRESH.0 - 1));
    assert_eq!(house.act("one", codes()), Reply::Done);
    // A confirmation without an attempt, and one for another's session.
    let direct = Command::Confirm("c9".into(), "hash-one".into(), 99, FRESH);
    assert_eq!(house.ask(direct), no(Why::Refused));
    let foreign = Command::Confirm("c9".into(), "hash-two".into(), 99, FRESH);
    assert_eq!(house.ask(foreign), no(Why::Unknown));
}

#[test]
fn ranks_are_kept() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "ann");
    house.bring("ann", "bob", Role::Admin);
    house.bring("ann", "cat", Role::Admin);
    house.bring("bob", "dan", Role::Support);
    let invite = |role| Deed::Invite {
        id: "i".into(),
        code: "c".into(),
        role,
    };
    for (by, deed) in [
        ("bob", invite(Role::Owner)),
        ("bob", invite(Role::Admin)),
        ("bob", Deed::SetRole("bob".into(), Role::Owner)),
        ("bob", Deed::SetRole("dan".into(), Role::Analyst)),
        ("bob", Deed::Disable("ann".into())),
        ("bob", Deed::Remove("ann".into())),
        ("bob", Deed::Remove("cat".into())),
        ("bob", Deed::EndAllOf("ann".into())),
        ("bob", Deed::EndSession("ann".into())),
        ("dan", invite(Role::Support)),
        ("dan", Deed::SetRole("dan".into(), Role::Owner)),
        ("dan", Deed::EndAllOf("bob".into())),
        ("dan", Deed::Disable("bob".into())),
    ] {
        assert_eq!(
            house.act(by, deed.clone()),
            no(Why::Forbidden),
            "{by} {deed:?}"
        );
    }
    assert_eq!(
        house.act("bob", Deed::EndSession("dan".into())),
        Reply::Done
    );
    assert!(!house.is_in("dan"));
    assert_eq!(house.act("dan", Deed::SignOut), no(Why::Unknown));
    assert_eq!(house.act("bob", Deed::Remove("dan".into())), Reply::Done);
    assert_eq!(
        house.act("bob", Deed::Remove("dan".into())),
        no(Why::NotFound)
    );
}

#[test]
fn the_last_owner_stays_also_when_two_remove_each_other() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "ann");
    for deed in [
        Deed::SetRole("ann".into(), Role::Admin),
        Deed::Disable("ann".into()),
        Deed::Remove("ann".into()),
    ] {
        assert_eq!(house.act("ann", deed), no(Why::LastOwner));
    }
    house.bring("ann", "bob", Role::Owner);
    assert_eq!(house.act("ann", Deed::Remove("bob".into())), Reply::Done);
    assert_eq!(
        house.act("bob", Deed::Remove("ann".into())),
        no(Why::Unknown)
    );
    assert_eq!(house.ask(Command::State), Reply::State(true, 1, 1));

    house.bring("ann", "cat", Role::Owner);
    assert_eq!(house.act("cat", Deed::Disable("ann".into())), Reply::Done);
    // A disabled owner is no owner who could help.
    assert_eq!(
        house.act("cat", Deed::Remove("cat".into())),
        no(Why::LastOwner)
    );
    assert_eq!(
        house.act("cat", Deed::SetRole("cat".into(), Role::Support)),
        no(Why::LastOwner)
    );
    assert_eq!(house.act("cat", Deed::Enable("ann".into())), Reply::Done);
    assert_eq!(
        house.act("cat", Deed::SetRole("cat".into(), Role::Support)),
        Reply::Done
    );
    assert_eq!(
        house.act("cat", Deed::SetRole("cat".into(), Role::Owner)),
        no(Why::Forbidden)
    );
}

#[test]
fn who_is_disabled_is_out_at_once_with_their_invitations() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "ann");
    house.bring("ann", "bob", Role::Admin);
    let invite = Deed::Invite {
        id: "i".into(),
        code: "c".into(),
        role: Role::Support,
    };
    assert_eq!(house.act("bob", invite), Reply::Done);
    assert!(matches!(
        house.ask(Command::Peek("c".into())),
        Reply::Invite(_)
    ));
    assert_eq!(house.act("ann", Deed::Disable("bob".into())), Reply::Done);
    assert!(!house.is_in("bob"));
    assert_eq!(house.knock("bob", "key-bob").1, no(Why::Unknown));
    assert_eq!(
        house.ask(Command::Join("c".into(), newcomer("dan"))),
        no(Why::Unknown)
    );
    assert_eq!(house.act("ann", Deed::Enable("bob".into())), Reply::Done);
    assert!(!house.is_in("bob"), "enabling does not bring sessions back");
    house.sign_in("bob", 12, "bob2");
}

#[test]
fn an_invitation_is_used_once_and_expires() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "ann");
    let invite = |id: &str, code: &str| Deed::Invite {
        id: id.into(),
        code: code.into(),
        role: Role::Analyst,
    };
    assert_eq!(house.act("ann", invite("i1", "c1")), Reply::Done);
    assert_eq!(house.act("ann", invite("i1", "c9")), no(Why::Taken));
    assert_eq!(house.act("ann", invite("i9", "c1")), no(Why::Taken));
    assert_eq!(
        house.ask(Command::Join("c1".into(), newcomer("ann"))),
        no(Why::Taken)
    );
    assert_eq!(
        house.ask(Command::Join("c1".into(), newcomer("bob"))),
        Reply::Done
    );
    house.reload();
    assert_eq!(
        house.ask(Command::Join("c1".into(), newcomer("bob"))),
        Reply::Done
    );
    assert_eq!(
        house.ask(Command::Join("c1".into(), newcomer("eve"))),
        no(Why::Unknown)
    );
    assert_eq!(house.act("ann", invite("i2", "c2")), Reply::Done);
    assert_eq!(house.act("ann", invite("i3", "c3")), Reply::Done);
    assert_eq!(house.act("ann", Deed::Withdraw("i3".into())), Reply::Done);
    assert_eq!(
        house.ask(Command::Join("c3".into(), newcomer("eve"))),
        no(Why::Unknown)
    );
    house.wait(INVITE_TTL);
    assert_eq!(
        house.ask(Command::Join("c2".into(), newcomer("eve"))),
        no(Why::Unknown)
    );
}

#[test]
fn a_hundred_fit() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "ann");
    for i in 0..100 {
        let deed = Deed::Invite {
            id: format!("i{i}"),
            code: format!("c{i}"),
            role: Role::Support,
        };
        let expected = if i < 99 { Reply::Done } else { no(Why::Full) };
        assert_eq!(house.act("ann", deed), expected, "{i}");
    }
    for i in 0..99 {
        let join = Command::Join(format!("c{i}"), newcomer(&format!("o{i}")));
        assert_eq!(house.ask(join), Reply::Done);
    }
    house.wait(INVITE_TTL);
    assert_eq!(house.ask(Command::State), Reply::State(true, 100, 1));
}

#[test]
fn own_factors_are_replaced_and_other_sessions_end() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "one");
    house.sign_in("ann", 12, "two");
    let codes = Deed::ReplaceRecovery(vec!["n".into(); 11]);
    assert_eq!(house.act("one", codes), no(Why::Invalid));
    assert_eq!(
        house.act("one", Deed::ReplaceTotp("sealed-new".into(), 5)),
        Reply::Done
    );
    assert!(house.is_in("one") && !house.is_in("two"));
    assert_eq!(
        house.act("one", Deed::ReplaceKey("key-new".into())),
        Reply::Done
    );
    assert_eq!(house.knock("ann", "key-ann").1, no(Why::Unknown));
    let (_, told) = house.knock("ann", "key-new");
    assert_eq!(told, Reply::Sealed("ann".into(), "sealed-new".into(), 5));
}

#[test]
fn lists_show_no_hash_and_no_seed() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "ann");
    house.bring("ann", "bob", Role::Admin);
    let replies = [
        house.ask(Command::List),
        house.ask(Command::Sessions(None, IDLE)),
        house.ask(Command::Sessions(Some("bob".into()), IDLE)),
        house.ask(Command::Peek("invite-bob".into())),
        house.authenticate("bob"),
        house.ask(Command::State),
    ];
    let Reply::Sessions(of_bob) = &replies[2] else {
        panic!()
    };
    assert_eq!(of_bob.len(), 1);
    assert_eq!(of_bob[0].agent.chars().count(), 120);
    for reply in replies {
        let text = serde_json::to_string(&reply).unwrap();
        for hidden in ["key-", "sealed-", "code-", "hash-", "invite-"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }
}

#[test]
fn what_cannot_be_read_opens_no_door() {
    let rows = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let mut house = Operators::load(NOW, rows("op/o/ann", "{"));
    let claim = || Command::Claim(newcomer("eve"));
    assert_eq!(house.apply(NOW, claim()).0, no(Why::Claimed));
    assert!(!house.wake(NOW).delete_all);
    assert_eq!(house.apply(NOW, Command::State).0, Reply::State(true, 0, 0));

    let mut house = House::claimed();
    for key in [
        "op/a/r/ann",
        "op/s/hash-x",
        "op/i/x",
        "op/done",
        "op/new kind",
    ] {
        house.rows.insert(key.to_owned(), "?".to_owned());
    }
    house.reload();
    assert_eq!(
        house.knock("ann", "key-ann").1,
        Reply::TooMany(LONGEST_WAIT)
    );
    assert!(!house.is_in("x"));
    let effects = house.machine.wake(house.now);
    house.keep(effects);
    let kept: Vec<&String> = house.rows.keys().collect();
    assert_eq!(kept, ["op/a/r/ann", "op/o/ann"]);
}

#[test]
fn an_empty_house_leaves_nothing() {
    let mut machine = Operators::load(NOW, vec![]);
    assert!(machine.wake(NOW).delete_all);
    let knock = Command::Begin("a".into(), Knock::Key("ann".into(), "x".into()));
    let (_, effects) = machine.apply(NOW, knock);
    let alarm = effects.alarm.unwrap();
    assert!(!machine.wake(Millis(alarm.0 - 1)).delete_all);
    assert!(machine.wake(alarm).delete_all);
}

/// A change here orphans what is stored.
#[test]
fn stored_forms_are_pinned() {
    let mut house = House::claimed();
    house.sign_in("ann", 11, "one");
    let invite = Deed::Invite {
        id: "i1".into(),
        code: "c1".into(),
        role: Role::Analyst,
    };
    assert_eq!(house.act("one", invite), Reply::Done);
    house.knock("ann", "key-ann");
    let mut rows = house.rows.clone();
    let session = rows.remove("op/s/hash-one").unwrap();
    assert!(session.starts_with(
        r#"[{"i":"one","o":"ann","c":1795237500000,"s":1795237500000,"u":1795280700000,"f":1795238100000,"n":"net","a":"Firefox "#
    ));
    assert!(session.ends_with(r#""},"call-1"]"#));
    let expected = [
        (
            "op/a/r/ann",
            r#"{"r":[["call-3",1795237500000]],"l":0,"u":0}"#,
        ),
        ("op/done", r#"["call-2 hash-one"]"#),
        (
            "op/i/i1",
            r#"[{"i":"i1","r":"analyst","b":"ann","e":1795323900000,"u":null},"c1"]"#,
        ),
        (
            "op/o/ann",
            r#"[{"i":"ann","n":"Name of ann","r":"owner","c":1795237500000,"b":null,"d":false,"s":1795237500000},{"k":"key-ann","s":"sealed-ann","l":11,"r":["code-ann-0","code-ann-1","code-ann-2","code-ann-3","code-ann-4","code-ann-5","code-ann-6","code-ann-7","code-ann-8","code-ann-9"]}]"#,
        ),
    ];
    let rows: Vec<(&str, &str)> = rows.iter().map(|(key, row)| (&**key, &**row)).collect();
    assert_eq!(rows, expected);
}
