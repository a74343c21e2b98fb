//! Operators, their sessions and second factors, as one synchronous state machine.
//!
//! Signing in takes two steps. [`Command::Begin`] counts the attempt and only then gives the sealed seed to whoever
//! showed the right key; the caller opens it, finds the step of the code, and [`Command::Enter`] takes that step, once.
//! Whoever acts is known by their session alone: role, rank and freshness are looked up when the change is made.
//!
//! Bounds: 100 operators and invitations together (beyond: `Full`), 20 sessions each (the one unused for longest ends),
//! 256 counters of attempts (the one that is forgotten soonest goes) beside one for each session that confirms.

mod attempts;
mod deeds;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::base::digest::constant_time_eq;
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;
use crate::domain::identity::roles::Role;
use attempts::Attempts;
pub use attempts::{FREE, FREE_UNKNOWN, LONGEST_WAIT, WINDOW};
pub use deeds::Deed;
pub use rows::{Factors, InviteInfo, Newcomer, Profile, SessionInfo};
use rows::{Invite, MAX_AGENT, Operator, Session};

/// Most operators and invitations.
pub const MAX_OPERATORS: usize = 100;
/// Most sessions of one operator.
pub const MAX_SESSIONS: usize = 20;
/// An invitation is good for 24 h × 3600 s.
pub const INVITE_TTL: Millis = Millis::from_secs(86_400);
/// The last use of a session is written down at most this often.
const TOUCH: Millis = Millis::from_secs(60);
/// Most counters of attempts.
const MAX_COUNTERS: usize = 256;
/// Calls that are remembered, so that one which is repeated is not done twice.
const MAX_DONE: usize = 16;

const OPERATOR_ROWS: &str = "op/o/";
const INVITE_ROWS: &str = "op/i/";
const SESSION_ROWS: &str = "op/s/";
const COUNTER_ROWS: &str = "op/a/";
const DONE_ROW: &str = "op/done";
/// The counter of unknown keys over all operators.
const EVERYBODY: &str = "*";

/// What is asked. Ids, hashes and sealed texts come from the caller; the machine has no randomness and no keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Is the house claimed?
    #[serde(rename = "state")]
    State,
    /// The first operator, an owner: whoever showed the set-up token. The first wins.
    #[serde(rename = "claim")]
    Claim(Newcomer),
    /// The invitation of a code (its hash), to show before joining.
    #[serde(rename = "peek")]
    Peek(String),
    /// Uses the invitation of a code (its hash) up.
    #[serde(rename = "join")]
    Join(String, Newcomer),
    /// Counts an attempt (an id made by the server) and tells what its code is checked against.
    #[serde(rename = "begin")]
    Begin(String, Knock),
    /// Signs in by an attempt that was begun with the operator key.
    #[serde(rename = "enter")]
    Enter {
        /// The attempt.
        #[serde(rename = "a")]
        attempt: String,
        /// Who.
        #[serde(rename = "o")]
        operator: String,
        /// The second factor.
        #[serde(rename = "p")]
        proof: Proof,
        /// The session to open.
        #[serde(rename = "s")]
        session: NewSession,
    },
    /// Confirms a session anew by an attempt that was begun with it: (attempt, hash of the token, step, fresh for).
    #[serde(rename = "confirm")]
    Confirm(String, String, u64, Millis),
    /// Whose session is it? (hash of the token, longest time without use, longest time at all)
    #[serde(rename = "auth")]
    Authenticate(String, Millis, Millis),
    /// All operators and invitations.
    #[serde(rename = "list")]
    List,
    /// The live sessions of one operator, or of all. (whose, longest time without use)
    #[serde(rename = "live")]
    Sessions(Option<String>, Millis),
    /// A change, by whoever the session belongs to.
    #[serde(rename = "act")]
    Act {
        /// Names the call; made by the server, so that no caller can choose one that was used.
        #[serde(rename = "i")]
        id: String,
        /// Hash of the session's token.
        #[serde(rename = "b")]
        by: String,
        /// The change.
        #[serde(rename = "d")]
        deed: Deed,
    },
}

/// Who asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Knock {
    /// (operator's id, hash of the operator key)
    #[serde(rename = "key")]
    Key(String, String),
    /// The hash of a session's token, to confirm it.
    #[serde(rename = "ses")]
    Session(String),
    /// Somebody whose invitation or set-up token was wrong: it is counted, and admits nobody.
    #[serde(rename = "any")]
    Nobody,
}

/// A second factor that the caller has checked, or a recovery code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// The step whose code was given.
    #[serde(rename = "t")]
    Step(u64),
    /// The hash of a recovery code.
    #[serde(rename = "r")]
    Recovery(String),
}

/// A session to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSession {
    /// Hash of its token.
    #[serde(rename = "h")]
    pub hash: String,
    /// Names it in lists.
    #[serde(rename = "i")]
    pub id: String,
    /// Hashed network address.
    #[serde(rename = "n")]
    pub network: String,
    /// Label of the browser; cut to 120 characters.
    #[serde(rename = "a")]
    pub agent: String,
    /// Ends after this long whatever happens.
    #[serde(rename = "u")]
    pub absolute: Millis,
    /// Dangerous actions are open for this long.
    #[serde(rename = "f")]
    pub fresh: Millis,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// (claimed, operators, owners who can sign in)
    #[serde(rename = "state")]
    State(bool, usize, usize),
    /// Done, now or by the same call before.
    #[serde(rename = "done")]
    Done,
    /// Not done.
    #[serde(rename = "no")]
    No(Why),
    /// Too many attempts: the next is admitted after this long.
    #[serde(rename = "wait")]
    TooMany(Millis),
    /// The attempt is counted; the code is checked against this: (operator, sealed seed, last step taken).
    #[serde(rename = "seal")]
    Sealed(String, String, u64),
    /// Signed in.
    #[serde(rename = "in")]
    In(Standing),
    /// The invitation of a code.
    #[serde(rename = "invite")]
    Invite(InviteInfo),
    /// Everybody.
    #[serde(rename = "list")]
    List(Vec<Profile>, Vec<InviteInfo>),
    /// Sessions.
    #[serde(rename = "sessions")]
    Sessions(Vec<SessionInfo>),
}

/// Who a session belongs to, and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The operator's id.
    #[serde(rename = "o")]
    pub operator: String,
    /// Their name.
    #[serde(rename = "n")]
    pub name: String,
    /// Their role now.
    #[serde(rename = "r")]
    pub role: Role,
    /// The session's id.
    #[serde(rename = "s")]
    pub session: String,
    /// Dangerous actions are open until then.
    #[serde(rename = "f")]
    pub fresh_until: Millis,
    /// Recovery codes that are left.
    #[serde(rename = "c")]
    pub recovery_left: usize,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The house has an owner.
    Claimed,
    /// No such key, session or code. Which of them, and what is wrong with it, is not told.
    Unknown,
    /// The code was used, or the attempt was not begun.
    Refused,
    /// The role does not allow it.
    Forbidden,
    /// Confirm the second factor first.
    NotFresh,
    /// No such operator, invitation or session.
    NotFound,
    /// The house would have no owner who can sign in.
    LastOwner,
    /// No more operators fit.
    Full,
    /// A value is empty or too long.
    Invalid,
    /// The id or the code is in use.
    Taken,
}

/// The operators of one house. The default is a house that nobody claimed.
#[derive(Clone, Debug, Default)]
pub struct Operators {
    operators: BTreeMap<String, Operator>,
    invites: BTreeMap<String, Invite>,
    /// By the hash of their token.
    sessions: BTreeMap<String, Session>,
    counters: BTreeMap<String, Attempts>,
    /// Calls done, oldest first.
    done: VecDeque<String>,
    /// An operator's row could not be read: the house is not free to be claimed.
    damaged: bool,
    /// Rows of other kinds that could not be read; removed by the next alarm.
    junk: Vec<String>,
    /// The alarm asked for last.
    alarm: Option<Millis>,
}

impl Machine for Operators {
    type Command = Command;
    type Reply = Reply;

    /// Reads what is stored. What cannot be read never opens a door: an unreadable operator still claims the house, an
    /// unreadable counter is closed, an unreadable session or invitation is none.
    fn load(now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut all = Self::default();
        for (key, value) in rows {
            let read = if let Some(id) = key.strip_prefix(OPERATOR_ROWS) {
                let read = insert(&mut all.operators, id, &value);
                all.damaged |= !read;
                // Left as it is, for somebody to look at.
                true
            } else if let Some(id) = key.strip_prefix(INVITE_ROWS) {
                insert(&mut all.invites, id, &value)
            } else if let Some(hash) = key.strip_prefix(SESSION_ROWS) {
                insert(&mut all.sessions, hash, &value)
            } else if let Some(name) = key.strip_prefix(COUNTER_ROWS) {
                let counter = serde_json::from_str(&value);
                let counter = counter.unwrap_or_else(|_| Attempts::unreadable(now));
                all.counters.insert(name.to_owned(), counter);
                true
            } else if key == DONE_ROW {
                let done = serde_json::from_str(&value);
                done.map(|done| all.done = done).is_ok()
            } else {
                false
            };
            if !read {
                all.junk.push(key);
            }
        }
        all
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let mut effects = Effects::default();
        let reply = match command {
            Command::State => self.state(),
            Command::Claim(who) => self.claim(now, who, &mut effects),
            Command::Peek(code) => match self.invited(now, &code) {
                Some(invite) => Reply::Invite(invite.0.clone()),
                None => Reply::No(Why::Unknown),
            },
            Command::Join(code, who) => self.join(now, &code, who, &mut effects),
            Command::Begin(attempt, knock) => self.begin(now, &attempt, knock, &mut effects),
            Command::Enter {
                attempt,
                operator,
                proof,
                session,
            } => self.enter(now, &attempt, &operator, &proof, session, &mut effects),
            Command::Confirm(attempt, session, step, fresh) => {
                self.confirm(now, &attempt, &session, step, fresh, &mut effects)
            }
            Command::Authenticate(session, idle, absolute) => {
                self.authenticate(now, &session, idle, absolute, &mut effects)
            }
            Command::List => self.list(now),
            Command::Sessions(of, idle) => {
                let live = self.sessions.values().filter(|session| {
                    session.0.until > now
                        && now.since(session.0.seen) < idle
                        && of.as_ref().is_none_or(|of| *of == session.0.operator)
                });
                Reply::Sessions(live.map(|session| session.0.clone()).collect())
            }
            Command::Act { id, by, deed } => self.act(now, &id, &by, deed, &mut effects),
        };
        if !effects.writes.is_empty() {
            self.set_alarm(now, &mut effects);
        }
        (reply, effects)
    }

    /// Forgets what has expired. Operators stay, so a claimed house is never empty.
    fn wake(&mut self, now: Millis) -> Effects {
        let mut effects = Effects::default();
        self.expire(now, &mut effects);
        effects.writes.extend(self.junk.drain(..).map(remove));
        if self.operators.is_empty()
            && self.invites.is_empty()
            && self.sessions.is_empty()
            && self.counters.is_empty()
            && self.done.is_empty()
            && !self.damaged
        {
            *self = Self::default();
            return Effects {
                delete_all: true,
                ..Effects::default()
            };
        }
        self.alarm = None;
        self.set_alarm(now, &mut effects);
        effects
    }
}

// === Becoming an operator ===

impl Operators {
    fn is_claimed(&self) -> bool {
        self.damaged || !self.operators.is_empty()
    }

    fn state(&self) -> Reply {
        let owners = self.operators.values().filter(|operator| {
            let profile = &operator.0;
            profile.role == Role::Owner && !profile.disabled
        });
        Reply::State(self.is_claimed(), self.operators.len(), owners.count())
    }

    fn claim(&mut self, now: Millis, who: Newcomer, effects: &mut Effects) -> Reply {
        if self.is_claimed() {
            let again = self.operators.get(&who.id).is_some_and(|known| {
                known.0.created_by.is_none() && known.1.key == who.factors.key
            });
            return if again {
                Reply::Done
            } else {
                Reply::No(Why::Claimed)
            };
        }
        if !who.acceptable() {
            return Reply::No(Why::Invalid);
        }
        self.admit(now, who, Role::Owner, None, effects);
        Reply::Done
    }

    /// The invitation of a code that has not expired, used or not.
    fn invited(&self, now: Millis, code: &str) -> Option<&Invite> {
        self.invites.values().find(|invite| {
            invite.0.expires > now && constant_time_eq(invite.1.as_bytes(), code.as_bytes())
        })
    }

    fn join(&mut self, now: Millis, code: &str, who: Newcomer, effects: &mut Effects) -> Reply {
        let Some(invite) = self.invited(now, code) else {
            return Reply::No(Why::Unknown);
        };
        match &invite.0.used {
            Some(by) if *by == who.id => return Reply::Done,
            Some(_) => return Reply::No(Why::Unknown),
            None => {}
        }
        if !who.acceptable() {
            return Reply::No(Why::Invalid);
        }
        if self.operators.contains_key(&who.id) {
            return Reply::No(Why::Taken);
        }
        let mut invite = invite.clone();
        invite.0.used = Some(who.id.clone());
        effects.writes.push(put(invite_key(&invite.0.id), &invite));
        let (role, by) = (invite.0.role, invite.0.by.clone());
        self.invites.insert(invite.0.id.clone(), invite);
        self.admit(now, who, role, Some(by), effects);
        Reply::Done
    }

    fn admit(
        &mut self,
        now: Millis,
        who: Newcomer,
        role: Role,
        by: Option<String>,
        effects: &mut Effects,
    ) {
        let profile = Profile {
            id: who.id.clone(),
            name: who.name,
            role,
            created: now,
            created_by: by,
            disabled: false,
            signed_in: None,
        };
        self.operators
            .insert(who.id.clone(), Operator(profile, who.factors));
        self.store(&who.id, effects);
    }

    fn list(&self, now: Millis) -> Reply {
        let invites = self.invites.values().map(|invite| &invite.0);
        Reply::List(
            self.operators
                .values()
                .map(|operator| operator.0.clone())
                .collect(),
            invites
                .filter(|invite| invite.expires > now)
                .cloned()
                .collect(),
        )
    }
}

// === Signing in ===

impl Operators {
    /// An operator who may sign in.
    fn enabled(&self, id: &str) -> Option<&Operator> {
        self.operators
            .get(id)
            .filter(|operator| !operator.0.disabled)
    }

    /// A session that has not reached its end.
    fn live(&self, now: Millis, hash: &str) -> Option<&Session> {
        self.sessions
            .get(hash)
            .filter(|session| session.0.until > now)
    }

    /// Attempts with the right key and those with another are counted apart: whoever lacks the key cannot keep out
    /// whoever has it. An operator that does not exist is counted like one whose key is wrong. A session that confirms
    /// is counted apart from both: whoever has the key and no authenticator cannot keep out whoever is in.
    fn begin(&mut self, now: Millis, attempt: &str, knock: Knock, effects: &mut Effects) -> Reply {
        if !rows::is_token(attempt) {
            return Reply::No(Why::Invalid);
        }
        let everybody = || (EVERYBODY.to_owned(), FREE_UNKNOWN);
        let (id, known, counters) = match knock {
            Knock::Key(id, key) => {
                let kept = self.enabled(&id).map_or("", |operator| &operator.1.key);
                let known = constant_time_eq(kept.as_bytes(), key.as_bytes()) && !key.is_empty();
                let counters = if known {
                    vec![(right(&id), FREE)]
                } else {
                    vec![(wrong(&id), FREE), everybody()]
                };
                (id, known, counters)
            }
            Knock::Session(hash) => match self.live(now, &hash) {
                Some(session) => {
                    let counters = vec![(confirming(&session.0.id), FREE)];
                    (session.0.operator.clone(), true, counters)
                }
                None => return Reply::No(Why::Unknown),
            },
            Knock::Nobody => (String::new(), false, vec![everybody()]),
        };
        let wait = counters
            .iter()
            .filter_map(|(name, _)| self.counters.get(name))
            .filter(|counter| !counter.knows(attempt))
            .map(|counter| counter.wait(now))
            .max();
        if let Some(wait) = wait.filter(|wait| *wait > Millis::ZERO) {
            return Reply::TooMany(wait);
        }
        for (name, free) in counters {
            self.count(now, name, free, attempt, effects);
        }
        match self.enabled(&id).filter(|_| known) {
            Some(Operator(_, factors)) => {
                Reply::Sealed(id, factors.seed.clone(), factors.last_step)
            }
            None => Reply::No(Why::Unknown),
        }
    }

    fn count(
        &mut self,
        now: Millis,
        name: String,
        free: usize,
        attempt: &str,
        effects: &mut Effects,
    ) {
        if self.counters.len() >= MAX_COUNTERS && !self.counters.contains_key(&name) {
            let soonest = self
                .counters
                .iter()
                .filter(|(name, _)| name.starts_with("w/"))
                .min_by_key(|(_, counter)| counter.forgotten_at())
                .map(|(name, _)| name.clone());
            if let Some(name) = soonest {
                self.counters.remove(&name);
                effects.writes.push(remove(counter_key(&name)));
            }
        }
        let counter = self.counters.entry(name.clone()).or_default();
        if !counter.knows(attempt) {
            counter.count(now, attempt, free);
            effects.writes.push(put(counter_key(&name), counter));
        }
    }

    /// Uses an attempt up, right or wrong.
    fn use_attempt(&mut self, name: &str, attempt: &str, effects: &mut Effects) -> bool {
        let Some(counter) = self.counters.get_mut(name) else {
            return false;
        };
        let known = counter.use_up(attempt);
        if known {
            effects.writes.push(put(counter_key(name), counter));
        }
        known
    }

    /// Takes the second factor, each step and each code once; success forgets the attempts of that counter.
    fn take(
        &mut self,
        now: Millis,
        id: &str,
        proof: &Proof,
        counter: &str,
        effects: &mut Effects,
    ) -> bool {
        let operator = self.operators.get_mut(id);
        let operator = operator.filter(|operator| !operator.0.disabled);
        let Some(Operator(profile, factors)) = operator else {
            return false;
        };
        match proof {
            Proof::Step(step) if *step > factors.last_step => factors.last_step = *step,
            Proof::Step(_) => return false,
            Proof::Recovery(hash) => {
                let before = factors.recovery.len();
                factors
                    .recovery
                    .retain(|kept| !constant_time_eq(kept.as_bytes(), hash.as_bytes()));
                if factors.recovery.len() == before {
                    return false;
                }
            }
        }
        profile.signed_in = Some(now);
        self.store(id, effects);
        if self.counters.remove(counter).is_some() {
            effects.writes.push(remove(counter_key(counter)));
        }
        true
    }

    fn enter(
        &mut self,
        now: Millis,
        attempt: &str,
        operator: &str,
        proof: &Proof,
        new: NewSession,
        effects: &mut Effects,
    ) -> Reply {
        if let Some(known) = self.live(now, &new.hash) {
            // The same call again, or a hash that cannot be anybody else's.
            return if known.1 == attempt && known.0.operator == operator {
                self.standing(known)
            } else {
                Reply::No(Why::Refused)
            };
        }
        if !rows::is_token(&new.hash) || !rows::is_token(&new.id) || !rows::is_token(&new.network) {
            return Reply::No(Why::Invalid);
        }
        let counter = right(operator);
        if !self.use_attempt(&counter, attempt, effects)
            || !self.take(now, operator, proof, &counter, effects)
        {
            return Reply::No(Why::Refused);
        }
        let info = SessionInfo {
            id: new.id,
            operator: operator.to_owned(),
            created: now,
            seen: now,
            until: now.plus(new.absolute),
            fresh_until: now.plus(new.fresh),
            network: new.network,
            agent: new.agent.chars().take(MAX_AGENT).collect(),
        };
        let session = Session(info, attempt.to_owned());
        self.make_room(operator, effects);
        effects.writes.push(put(session_key(&new.hash), &session));
        let reply = self.standing(&session);
        self.sessions.insert(new.hash, session);
        reply
    }

    /// Ends the sessions that have not been used for longest, until one more fits.
    fn make_room(&mut self, operator: &str, effects: &mut Effects) {
        let own = || {
            let all = self.sessions.iter();
            all.filter(|(_, session)| session.0.operator == operator)
        };
        if own().count() < MAX_SESSIONS {
            return;
        }
        let oldest = own()
            .min_by_key(|(_, session)| session.0.seen)
            .map(|(hash, _)| hash.clone());
        self.end_sessions(effects, |hash, _| Some(hash) == oldest.as_deref());
    }

    fn confirm(
        &mut self,
        now: Millis,
        attempt: &str,
        hash: &str,
        step: u64,
        fresh: Millis,
        effects: &mut Effects,
    ) -> Reply {
        let Some(mut session) = self.live(now, hash).cloned() else {
            return Reply::No(Why::Unknown);
        };
        if session.1 == attempt {
            return self.standing(&session);
        }
        let operator = session.0.operator.clone();
        let counter = confirming(&session.0.id);
        if !self.use_attempt(&counter, attempt, effects)
            || !self.take(now, &operator, &Proof::Step(step), &counter, effects)
        {
            return Reply::No(Why::Refused);
        }
        session.0.fresh_until = now.plus(fresh);
        attempt.clone_into(&mut session.1);
        effects.writes.push(put(session_key(hash), &session));
        let reply = self.standing(&session);
        self.sessions.insert(hash.to_owned(), session);
        reply
    }

    fn authenticate(
        &mut self,
        now: Millis,
        hash: &str,
        idle: Millis,
        absolute: Millis,
        effects: &mut Effects,
    ) -> Reply {
        let Some(session) = self.sessions.get_mut(hash) else {
            return Reply::No(Why::Unknown);
        };
        let info = &mut session.0;
        let unused = now.since(info.seen);
        if unused >= idle || now.since(info.created) >= absolute || now >= info.until {
            self.end_sessions(effects, |known, _| known == hash);
            return Reply::No(Why::Unknown);
        }
        if unused >= TOUCH.min(Millis(idle.0 / 2)) && unused > Millis::ZERO {
            info.seen = now;
            effects.writes.push(put(session_key(hash), session));
        }
        match self.sessions.get(hash) {
            Some(session) => self.standing(session),
            None => Reply::No(Why::Unknown),
        }
    }

    fn standing(&self, session: &Session) -> Reply {
        match self.enabled(&session.0.operator) {
            Some(Operator(profile, factors)) => Reply::In(Standing {
                operator: profile.id.clone(),
                name: profile.name.clone(),
                role: profile.role,
                session: session.0.id.clone(),
                fresh_until: session.0.fresh_until,
                recovery_left: factors.recovery.len(),
            }),
            None => Reply::No(Why::Unknown),
        }
    }
}

// === Rows ===

impl Operators {
    /// Writes an operator's row, or removes it when they are gone.
    fn store(&self, id: &str, effects: &mut Effects) {
        let key = [OPERATOR_ROWS, id].concat();
        effects.writes.push(match self.operators.get(id) {
            Some(operator) => put(key, operator),
            None => remove(key),
        });
    }

    fn remember(&mut self, call: String, effects: &mut Effects) {
        self.done.push_back(call);
        if self.done.len() > MAX_DONE {
            self.done.pop_front();
        }
        effects.writes.push(put(DONE_ROW.to_owned(), &self.done));
    }

    fn end_sessions(&mut self, effects: &mut Effects, ends: impl Fn(&str, &SessionInfo) -> bool) {
        self.sessions.retain(|hash, session| {
            let end = ends(hash, &session.0);
            if end {
                effects.writes.push(remove(session_key(hash)));
                let counter = confirming(&session.0.id);
                if self.counters.remove(&counter).is_some() {
                    effects.writes.push(remove(counter_key(&counter)));
                }
            }
            !end
        });
    }

    /// Forgets invitations, sessions and counters whose time has come.
    fn expire(&mut self, now: Millis, effects: &mut Effects) {
        self.end_sessions(effects, |_, session| session.until <= now);
        self.invites.retain(|id, invite| {
            let keep = invite.0.expires > now;
            if !keep {
                effects.writes.push(remove(invite_key(id)));
            }
            keep
        });
        self.counters.retain(|name, counter| {
            let keep = counter.forgotten_at() > now;
            if !keep {
                effects.writes.push(remove(counter_key(name)));
            }
            keep
        });
    }

    /// Asks to be woken when the first of them expires, if that is another time than asked for last.
    fn set_alarm(&mut self, now: Millis, effects: &mut Effects) {
        let invites = self.invites.values().map(|invite| invite.0.expires);
        let sessions = self.sessions.values().map(|session| session.0.until);
        let counters = self.counters.values().map(Attempts::forgotten_at);
        let first = invites.chain(sessions).chain(counters).min();
        let next = first.map(|at| at.max(now.plus(Millis(1))));
        if next.is_some() && next != self.alarm {
            self.alarm = next;
            effects.alarm = next;
        }
    }
}

fn insert<T: serde::de::DeserializeOwned>(
    all: &mut BTreeMap<String, T>,
    name: &str,
    value: &str,
) -> bool {
    let read = serde_json::from_str(value);
    read.map(|row| all.insert(name.to_owned(), row)).is_ok()
}

/// The counter of attempts with the right key.
fn right(operator: &str) -> String {
    ["r/", operator].concat()
}

/// The counter of attempts with another key; ids that cannot exist share one.
fn wrong(operator: &str) -> String {
    let named = rows::is_token(operator) && operator.is_ascii();
    ["w/", if named { operator } else { "?" }].concat()
}

/// The counter of a session's attempts to confirm itself.
fn confirming(session: &str) -> String {
    ["s/", session].concat()
}

fn invite_key(id: &str) -> String {
    [INVITE_ROWS, id].concat()
}

fn session_key(hash: &str) -> String {
    [SESSION_ROWS, hash].concat()
}

fn counter_key(name: &str) -> String {
    [COUNTER_ROWS, name].concat()
}

fn put<T: Serialize>(key: String, row: &T) -> Write {
    // Texts and numbers always serialise; were it not so, an unreadable row opens no door (see `load`).
    let value = serde_json::to_string(row).unwrap_or_default();
    Write {
        key,
        value: Some(value),
    }
}

const fn remove(key: String) -> Write {
    Write { key, value: None }
}
