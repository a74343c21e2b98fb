//! The operators' machine against a naive oracle: random commands, evictions, and storage that fails before or after it
//! wrote. A million steps; `GATEHOUSE_LONG=1` takes twenty times as many.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse::base::machine::{Effects, Machine};
use gatehouse::base::time::Millis;
use gatehouse::domain::identity::operators::{
    Command, Deed, Factors, Knock, NewSession, Newcomer, Operators, Proof, Reply, Why,
};
use gatehouse::domain::identity::roles::Role;
use proptest::prelude::*;

use crate::cases::check;

const START: u64 = 1_795_237_500_000;
const HOUR: u64 = 3_600_000;
const IDLE: u64 = HOUR;
const ABSOLUTE: u64 = 12 * HOUR;
const FRESH: u64 = 6 * HOUR;

// === The oracle: what the rules say, over plain lists ===

#[derive(Clone, Debug)]
struct Person {
    role: Role,
    disabled: bool,
    key: String,
    steps: BTreeSet<u64>,
    codes: BTreeSet<String>,
    by: Option<String>,
}

#[derive(Clone, Debug)]
struct Stay {
    who: String,
    born: u64,
    seen: u64,
    fresh: u64,
}

#[derive(Clone, Debug)]
struct Invited {
    code: String,
    role: Role,
    by: String,
    expires: u64,
    used: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Oracle {
    people: BTreeMap<String, Person>,
    stays: BTreeMap<String, Stay>,
    invites: BTreeMap<String, Invited>,
}

fn rank(role: Role) -> u8 {
    match role {
        Role::Owner => 0,
        Role::Admin => 1,
        Role::Analyst | Role::Support => 2,
    }
}

impl Oracle {
    fn enabled_owners(&self) -> Vec<&String> {
        let owners = self.people.iter();
        owners
            .filter(|(_, person)| person.role == Role::Owner && !person.disabled)
            .map(|(id, _)| id)
            .collect()
    }

    fn claim(&mut self, who: &Newcomer) -> Reply {
        match self.people.get(&who.id) {
            Some(known) if known.by.is_none() && known.key == who.factors.key => Reply::Done,
            _ if !self.people.is_empty() => Reply::No(Why::Claimed),
            _ => {
                self.settle(who, Role::Owner, None);
                Reply::Done
            }
        }
    }

    fn settle(&mut self, who: &Newcomer, role: Role, by: Option<String>) {
        let person = Person {
            role,
            disabled: false,
            key: who.factors.key.clone(),
            steps: BTreeSet::from([who.factors.last_step]),
            codes: who.factors.recovery.iter().cloned().collect(),
            by,
        };
        self.people.insert(who.id.clone(), person);
    }

    fn join(&mut self, now: u64, code: &str, who: &Newcomer) -> Reply {
        let mut open = self.invites.values_mut();
        let Some(invite) = open.find(|invite| invite.code == code && invite.expires > now) else {
            return Reply::No(Why::Unknown);
        };
        if let Some(used) = &invite.used {
            return if *used == who.id {
                Reply::Done
            } else {
                Reply::No(Why::Unknown)
            };
        }
        if self.people.contains_key(&who.id) {
            return Reply::No(Why::Taken);
        }
        invite.used = Some(who.id.clone());
        let (role, by) = (invite.role, invite.by.clone());
        self.settle(who, role, Some(by));
        Reply::Done
    }

    /// Is a proof good? If it is, it never is again.
    fn take(&mut self, who: &str, proof: &Proof) -> bool {
        let Some(person) = self.people.get_mut(who).filter(|person| !person.disabled) else {
            return false;
        };
        match proof {
            Proof::Step(step) => {
                let newer = person.steps.iter().all(|taken| step > taken);
                newer && person.steps.insert(*step)
            }
            Proof::Recovery(code) => person.codes.remove(code),
        }
    }

    fn live(&self, now: u64, hash: &str) -> Option<&Stay> {
        self.stays
            .get(hash)
            .filter(|stay| now < stay.born + ABSOLUTE)
    }

    fn authenticate(&mut self, now: u64, hash: &str) -> Option<(String, Role, u64)> {
        let stay = self.stays.get_mut(hash)?;
        let unused = now.saturating_sub(stay.seen);
        if unused >= IDLE || now.saturating_sub(stay.born) >= ABSOLUTE {
            self.stays.remove(hash);
            return None;
        }
        if unused >= 60_000 {
            stay.seen = now;
        }
        let person = &self.people[&stay.who];
        Some((stay.who.clone(), person.role, stay.fresh))
    }

    fn act(&mut self, now: u64, hash: &str, deed: &Deed) -> Result<(), Why> {
        self.stays.retain(|_, stay| now < stay.born + ABSOLUTE);
        self.invites.retain(|_, invite| invite.expires > now);
        let stay = self.stays.get(hash).ok_or(Why::Unknown)?.clone();
        let me = stay.who.clone();
        let role = self.people[&me].role;
        let (least, dangerous) = match deed {
            Deed::SetRole(..) => (0, true),
            Deed::Invite { .. } | Deed::Withdraw(_) => (1, true),
            Deed::Disable(_) | Deed::Enable(_) | Deed::Remove(_) => (1, true),
            Deed::EndAllOf(id) if *id == me => (2, false),
            Deed::EndSession(id) if self.stays.get(id).is_some_and(|s| s.who == me) => (2, false),
            Deed::EndAllOf(_) | Deed::EndSession(_) => (1, false),
            Deed::SignOut => (2, false),
            Deed::ReplaceKey(_) | Deed::ReplaceTotp(..) | Deed::ReplaceRecovery(_) => (2, true),
        };
        if rank(role) > least {
            return Err(Why::Forbidden);
        }
        if dangerous && stay.fresh <= now {
            return Err(Why::NotFresh);
        }
        let may_touch = |other: Role| {
            if role == Role::Owner || rank(role) < rank(other) {
                Ok(())
            } else {
                Err(Why::Forbidden)
            }
        };
        let target = |id: &String| -> Result<Person, Why> {
            let person = self.people.get(id).ok_or(Why::NotFound)?;
            may_touch(person.role).map(|()| person.clone())
        };
        let last = |id: &String| {
            if self.enabled_owners() == [id] {
                Err(Why::LastOwner)
            } else {
                Ok(())
            }
        };
        match deed {
            Deed::Invite { id, code, role } => {
                may_touch(*role)?;
                if self
                    .invites
                    .iter()
                    .any(|(known, i)| known == id || i.code == *code)
                {
                    return Err(Why::Taken);
                }
                let invite = Invited {
                    code: code.clone(),
                    role: *role,
                    by: me,
                    expires: now + 24 * HOUR,
                    used: None,
                };
                self.invites.insert(id.clone(), invite);
            }
            Deed::Withdraw(id) => {
                may_touch(self.invites.get(id).ok_or(Why::NotFound)?.role)?;
                self.invites.remove(id);
            }
            Deed::SetRole(id, to) => {
                target(id)?;
                if *to != Role::Owner {
                    last(id)?;
                }
                self.people.get_mut(id).unwrap().role = *to;
                self.invites.retain(|_, i| i.by != *id || i.used.is_some());
            }
            Deed::Disable(id) | Deed::Remove(id) => {
                target(id)?;
                last(id)?;
                self.stays.retain(|_, stay| stay.who != *id);
                self.invites.retain(|_, i| i.by != *id || i.used.is_some());
                if matches!(deed, Deed::Remove(_)) {
                    self.people.remove(id);
                } else {
                    self.people.get_mut(id).unwrap().disabled = true;
                }
            }
            Deed::Enable(id) => {
                target(id)?;
                self.people.get_mut(id).unwrap().disabled = false;
            }
            Deed::EndSession(id) => {
                let owner = self.stays.get(id).ok_or(Why::NotFound)?.who.clone();
                if owner != me {
                    target(&owner)?;
                }
                self.stays.remove(id);
            }
            Deed::EndAllOf(id) => {
                if *id != me {
                    target(id)?;
                }
                self.stays
                    .retain(|known, stay| stay.who != *id || known == hash);
            }
            Deed::SignOut => {
                self.stays.remove(hash);
            }
            Deed::ReplaceKey(key) => {
                self.people.get_mut(&me).unwrap().key.clone_from(key);
                self.stays
                    .retain(|known, stay| stay.who != me || known == hash);
            }
            Deed::ReplaceTotp(_, step) => {
                self.people.get_mut(&me).unwrap().steps = BTreeSet::from([*step]);
                self.stays
                    .retain(|known, stay| stay.who != me || known == hash);
            }
            Deed::ReplaceRecovery(codes) => {
                self.people.get_mut(&me).unwrap().codes = codes.iter().cloned().collect();
            }
        }
        Ok(())
    }
}

// === The machine with its storage ===

/// What happens to one write.
#[derive(Clone, Copy, Debug)]
enum Storage {
    Works,
    /// The object left memory before the call.
    Evicted,
    FailsUnwritten,
    FailsButWritten,
}

#[derive(Default)]
struct Object {
    machine: Operators,
    rows: BTreeMap<String, String>,
    alarm: Option<Millis>,
    calls: u64,
}

impl Object {
    fn keep(&mut self, effects: Effects) {
        assert!(
            effects
                .writes
                .iter()
                .all(|write| write.key.starts_with("op/"))
        );
        effects.keep_in(&mut self.rows, &mut self.alarm);
    }

    fn reload(&mut self, now: u64) {
        let rows = self.rows.clone().into_iter().collect();
        self.machine = Operators::load(Millis(now), rows);
    }

    fn ask(&mut self, now: u64, storage: Storage, command: &Command) -> Reply {
        if matches!(storage, Storage::Evicted) {
            self.reload(now);
        }
        let (first, effects) = self.machine.apply(Millis(now), command.clone());
        match storage {
            Storage::Works | Storage::Evicted => {
                self.keep(effects);
                return first;
            }
            Storage::FailsUnwritten => {}
            Storage::FailsButWritten => self.keep(effects),
        }
        self.reload(now);
        let (again, effects) = self.machine.apply(Millis(now), command.clone());
        self.keep(effects);
        assert_eq!(
            again, first,
            "a repeated call is answered the same: {command:?}"
        );
        again
    }

    fn call(&mut self) -> String {
        self.calls += 1;
        format!("call{}", self.calls)
    }

    /// What memory and storage say when asked for everything.
    fn everything(&mut self, now: u64) -> String {
        let asked = [
            Command::State,
            Command::List,
            Command::Sessions(None, Millis(u64::MAX)),
        ];
        let told = asked.map(|command| self.machine.apply(Millis(now), command).0);
        serde_json::to_string(&told).unwrap()
    }
}

// === Steps ===

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Claim(u8),
    Join {
        invite: u8,
        who: u8,
    },
    /// Begin with the key and enter, twice in parallel. A step is told by its distance from the last one taken.
    SignIn {
        who: u8,
        proof: Proof,
        session: u8,
    },
    Confirm {
        session: u8,
        ahead: u8,
    },
    Authenticate(u8),
    Act {
        session: u8,
        deed: Deed,
    },
}

fn name(of: u8) -> String {
    format!("opr{of}")
}

fn newcomer(who: u8) -> Newcomer {
    Newcomer {
        id: name(who),
        name: name(who),
        factors: Factors {
            key: format!("key{who}"),
            seed: "sealed".to_owned(),
            last_step: 3,
            recovery: (0..3).map(|code| format!("code{code}")).collect(),
        },
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL.to_vec())
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || (0u8..4).prop_map(name);
    prop_oneof![
        6 => (0u8..3, role()).prop_map(|(id, role)| Deed::Invite {
            id: format!("inv{id}"),
            code: format!("invite{id}"),
            role,
        }),
        3 => (0u8..3).prop_map(|id| Deed::Withdraw(format!("inv{id}"))),
        3 => (who(), role()).prop_map(|(id, role)| Deed::SetRole(id, role)),
        3 => who().prop_map(Deed::Disable),
        2 => who().prop_map(Deed::Enable),
        3 => who().prop_map(Deed::Remove),
        1 => (0u8..4).prop_map(|id| Deed::EndSession(format!("ses{id}"))),
        1 => who().prop_map(Deed::EndAllOf),
        1 => Just(Deed::SignOut),
        1 => (0u8..5).prop_map(|key| Deed::ReplaceKey(format!("key{key}"))),
        1 => (0u64..9).prop_map(|step| Deed::ReplaceTotp("sealed".to_owned(), step)),
        1 => Just(Deed::ReplaceRecovery(vec!["code0".to_owned(), "code7".to_owned()])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let proof = prop_oneof![
        6 => (0u64..4).prop_map(Proof::Step),
        1 => (0u8..8).prop_map(|code| Proof::Recovery(format!("code{code}"))),
    ];
    prop_oneof![
        2 => prop_oneof![4 => 0u64..90_000, 4 => 0..2 * HOUR, 1 => 0..30 * HOUR].prop_map(Step::Pass),
        1 => (0u8..5).prop_map(Step::Claim),
        5 => (0u8..3, 0u8..4).prop_map(|(invite, who)| Step::Join { invite, who }),
        8 => (0u8..4, proof, 0u8..4).prop_map(|(who, proof, session)| Step::SignIn { who, proof, session }),
        2 => (0u8..4, 0u8..3).prop_map(|(session, ahead)| Step::Confirm { session, ahead }),
        2 => (0u8..4).prop_map(Step::Authenticate),
        10 => (0u8..4, deed()).prop_map(|(session, deed)| Step::Act { session, deed }),
    ]
}

fn storage() -> impl Strategy<Value = Storage> {
    prop_oneof![
        6 => Just(Storage::Works),
        1 => Just(Storage::Evicted),
        1 => Just(Storage::FailsUnwritten),
        1 => Just(Storage::FailsButWritten),
    ]
}

struct World {
    now: u64,
    object: Object,
    oracle: Oracle,
    /// (operator, step) that were accepted since the seed was last replaced.
    taken: BTreeSet<(String, u64)>,
    /// How often each kind of thing happened.
    seen: BTreeMap<String, u32>,
}

impl World {
    fn run(&mut self, step: &Step, storage: Storage) {
        match step {
            Step::Pass(time) => {
                self.now += time;
                if self.object.alarm.is_some_and(|alarm| alarm.0 <= self.now) {
                    let effects = self.object.machine.wake(Millis(self.now));
                    self.object.keep(effects);
                    let now = self.now;
                    self.oracle
                        .stays
                        .retain(|_, stay| now < stay.born + ABSOLUTE);
                    self.oracle.invites.retain(|_, invite| invite.expires > now);
                }
            }
            Step::Claim(who) => {
                let who = newcomer(*who);
                let expected = self.oracle.claim(&who);
                self.expect(storage, &Command::Claim(who), &expected);
            }
            Step::Join { invite, who } => {
                let (code, who) = (format!("invite{invite}"), newcomer(*who));
                let expected = self.oracle.join(self.now, &code, &who);
                self.expect(storage, &Command::Join(code, who), &expected);
            }
            Step::SignIn {
                who,
                proof,
                session,
            } => self.sign_in(*who, proof, *session, storage),
            Step::Confirm { session, ahead } => self.confirm(*session, *ahead, storage),
            Step::Authenticate(session) => {
                let hash = format!("hash{session}");
                let expected = self.oracle.authenticate(self.now, &format!("ses{session}"));
                let command = Command::Authenticate(hash, Millis(IDLE), Millis(ABSOLUTE));
                match (self.object.ask(self.now, storage, &command), expected) {
                    (Reply::In(told), Some((who, role, fresh))) => {
                        assert_eq!((told.operator, told.role), (who, role));
                        assert_eq!(told.fresh_until, Millis(fresh));
                    }
                    (Reply::No(Why::Unknown), None) => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::Act { session, deed } => {
                // Mostly a session that is open: the others can only be refused.
                let open = self.oracle.stays.keys().filter_map(|id| id.bytes().last());
                let open: Vec<u8> = open.map(|digit| digit - b'0').collect();
                let session = match open.get(usize::from(*session)) {
                    Some(open) => open,
                    None => session,
                };
                let id = self.object.call();
                let by = format!("hash{session}");
                let done = self.oracle.act(self.now, &format!("ses{session}"), deed);
                let expected = done.map_or_else(Reply::No, |()| Reply::Done);
                if let (Deed::ReplaceTotp(..), Reply::Done) = (deed, &expected) {
                    let me = self.oracle.stays[&format!("ses{session}")].who.clone();
                    self.taken.retain(|(who, _)| *who != me);
                }
                if let (Deed::Remove(id), Reply::Done) = (deed, &expected) {
                    self.taken.retain(|(who, _)| who != id);
                }
                let deed = deed.clone();
                self.expect(storage, &Command::Act { id, by, deed }, &expected);
            }
        }
    }

    fn expect(&mut self, storage: Storage, command: &Command, expected: &Reply) {
        let told = self.object.ask(self.now, storage, command);
        assert_eq!(told, *expected, "{command:?}");
        let kind = match (command, &told) {
            (Command::Act { deed, .. }, Reply::Done) => format!("{deed:?}"),
            (Command::Act { .. }, refused) => format!("{refused:?}"),
            (other, Reply::Done) => format!("{other:?}"),
            _ => return,
        };
        self.saw(&kind);
    }

    /// Counts by the first word, or all of a refusal.
    fn saw(&mut self, kind: &str) {
        let word = if kind.starts_with("No(") {
            kind
        } else {
            kind.split(|c: char| !c.is_alphanumeric()).next().unwrap()
        };
        *self.seen.entry(word.to_owned()).or_default() += 1;
    }

    /// Two calls with one code, begun before either enters: one at most gets in.
    fn sign_in(&mut self, who: u8, proof: &Proof, session: u8, storage: Storage) {
        // The waits have a test of their own; here enough time passes for none.
        self.now += 2 * HOUR;
        let (hash, id) = (format!("hash{session}"), format!("ses{session}"));
        if self.oracle.live(self.now, &id).is_some() {
            return;
        }
        let who = name(who);
        let person = self.oracle.people.get(&who);
        let key = person.map_or("none".to_owned(), |person| person.key.clone());
        let attempts = [self.object.call(), self.object.call()];
        for attempt in &attempts {
            let knock = Command::Begin(attempt.clone(), Knock::Key(who.clone(), key.clone()));
            let told = self.object.ask(self.now, storage, &knock);
            let known = person.is_some_and(|person| !person.disabled);
            assert_eq!(matches!(told, Reply::Sealed(..)), known, "{told:?}");
            assert!(known || told == Reply::No(Why::Unknown));
        }
        let last = person.and_then(|person| person.steps.last().copied());
        let proof = &match proof {
            Proof::Step(ahead) => Proof::Step((last.unwrap_or(3) + ahead).saturating_sub(1)),
            recovery @ Proof::Recovery(_) => recovery.clone(),
        };
        let good = self.oracle.take(&who, proof);
        let mut inside = 0;
        for (i, attempt) in attempts.into_iter().enumerate() {
            let command = Command::Enter {
                attempt,
                operator: who.clone(),
                proof: proof.clone(),
                session: NewSession {
                    hash: format!("{hash}{}", ["", "second"][i]),
                    id: id.clone(),
                    network: "net".to_owned(),
                    agent: String::new(),
                    absolute: Millis(ABSOLUTE),
                    fresh: Millis(FRESH),
                },
            };
            let told = self.object.ask(self.now, storage, &command);
            inside += u32::from(matches!(told, Reply::In(_)));
        }
        assert_eq!(inside, u32::from(good), "{who} {proof:?}");
        if good {
            if let Proof::Step(step) = proof {
                assert!(self.taken.insert((who.clone(), *step)), "a step twice");
            }
            let stay = Stay {
                who,
                born: self.now,
                seen: self.now,
                fresh: self.now + FRESH,
            };
            self.oracle.stays.insert(id, stay);
            self.saw("In");
        }
    }

    fn confirm(&mut self, session: u8, ahead: u8, storage: Storage) {
        let (hash, id) = (format!("hash{session}"), format!("ses{session}"));
        let attempt = self.object.call();
        let knock = Command::Begin(attempt.clone(), Knock::Session(hash.clone()));
        let told = self.object.ask(self.now, storage, &knock);
        let Some(stay) = self.oracle.live(self.now, &id).cloned() else {
            assert_eq!(told, Reply::No(Why::Unknown));
            return;
        };
        if matches!(told, Reply::TooMany(_)) {
            return;
        }
        let Reply::Sealed(_, _, last) = told else {
            panic!("{told:?}")
        };
        let step = last + u64::from(ahead);
        let good = self.oracle.take(&stay.who, &Proof::Step(step));
        let command = Command::Confirm(attempt, hash, step, Millis(FRESH));
        let told = self.object.ask(self.now, storage, &command);
        assert_eq!(matches!(told, Reply::In(_)), good);
        if good {
            assert!(self.taken.insert((stay.who, step)));
            self.oracle.stays.get_mut(&id).unwrap().fresh = self.now + FRESH;
        }
    }

    /// What holds after every step.
    fn check(&mut self) {
        let people = self.oracle.people.len();
        let owners = self.oracle.enabled_owners().len();
        assert!(people == 0 || owners > 0, "a house without an owner");
        let state = self
            .object
            .machine
            .apply(Millis(self.now), Command::State)
            .0;
        assert_eq!(state, Reply::State(people > 0, people, owners));
        let Reply::Sessions(sessions) = self
            .object
            .machine
            .apply(Millis(self.now), Command::Sessions(None, Millis(u64::MAX)))
            .0
        else {
            panic!()
        };
        let mine: BTreeSet<String> = sessions.into_iter().map(|session| session.id).collect();
        let live = self.oracle.stays.keys();
        let theirs: BTreeSet<String> = live
            .filter(|id| self.oracle.live(self.now, id).is_some())
            .cloned()
            .collect();
        assert_eq!(mine, theirs);
        let memory = self.object.everything(self.now);
        let mut loaded = Object {
            rows: self.object.rows.clone(),
            ..Object::default()
        };
        loaded.reload(self.now);
        assert_eq!(
            memory,
            loaded.everything(self.now),
            "memory and rows differ"
        );
        assert!(self.object.rows.len() < 100);
    }
}

#[test]
fn the_machine_does_what_the_rules_say() {
    let seen = std::cell::RefCell::new(BTreeMap::<String, u32>::new());
    let steps = prop::collection::vec((step(), storage()), 1..150);
    check(14_000, &steps, |steps| {
        let mut world = World {
            now: START,
            object: Object::default(),
            oracle: Oracle::default(),
            taken: BTreeSet::new(),
            seen: BTreeMap::new(),
        };
        world.run(&Step::Claim(0), Storage::Works);
        world.sign_in(0, &Proof::Step(2), 0, Storage::Works);
        for (step, storage) in &steps {
            world.run(step, *storage);
            world.check();
        }
        for (kind, count) in world.seen {
            *seen.borrow_mut().entry(kind).or_default() += count;
        }
        Ok(())
    });
    // The random commands reach everything.
    let seen = seen.into_inner();
    for kind in [
        "Claim",
        "Join",
        "In",
        "Invite",
        "Withdraw",
        "SetRole",
        "Disable",
        "Enable",
        "Remove",
        "EndSession",
        "EndAllOf",
        "SignOut",
        "ReplaceKey",
        "ReplaceTotp",
        "ReplaceRecovery",
        "No(Unknown)",
        "No(Forbidden)",
        "No(NotFresh)",
        "No(NotFound)",
        "No(LastOwner)",
        "No(Taken)",
    ] {
        assert!(
            seen.get(kind).is_some_and(|count| *count >= 10),
            "{kind}: {seen:?}"
        );
    }
}
