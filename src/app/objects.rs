//! Which machines each class of Durable Objects keeps.
//!
//! The set of classes cannot grow without a migration, so that one class serves several purposes: a key's record and
//! what it used stand in one object, which then decides about both at once. Each machine's rows have a prefix of their
//! own, and each is asked by a command of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::port::{Class, Port, PortFault, call};
use super::uses;
use crate::base::errors::Code;
use crate::base::machine::{Effects, Machine, Write};
use crate::base::outbox::{self, Audited, Drain, Pending, Told};
use crate::base::time::Millis;
use crate::domain::audit::AuditLog;
use crate::domain::documents::directory::Directory as Owners;
use crate::domain::documents::quota::Ledger as Quota;
use crate::domain::identity::key_record::{KeyIndex, KeyRecord};
use crate::domain::identity::operators::{Operators, Why};
use crate::domain::keyring::Keyring;
use crate::domain::limits::account::Account;
use crate::domain::limits::rules::Rules;

/// When each machine of an object wants to be woken: an object has one alarm, and forgets in memory what it was for.
const ALARM_ROWS: &str = "at/";

/// What several machines of one object have in common.
#[derive(Debug, Default)]
struct Parts {
    /// Keys of the rows of each machine, by its place.
    keys: BTreeMap<usize, BTreeSet<String>>,
    /// When each wants to be woken.
    alarms: BTreeMap<usize, Millis>,
}

impl Parts {
    /// The rows of each machine, by the prefixes of their keys; what none of them knows goes to the first.
    fn split(
        &mut self,
        rows: Vec<(String, String)>,
        prefixes: &[&str],
    ) -> Vec<Vec<(String, String)>> {
        let mut parts: Vec<Vec<(String, String)>> = prefixes.iter().map(|_| Vec::new()).collect();
        for (key, value) in rows {
            if let Some(part) = key.strip_prefix(ALARM_ROWS) {
                if let (Ok(part), Ok(at)) = (part.parse(), value.parse()) {
                    self.alarms.insert(part, Millis(at));
                }
                continue;
            }
            let place = prefixes
                .iter()
                .position(|prefix| key.starts_with(prefix))
                .unwrap_or(0);
            self.keys.entry(place).or_default().insert(key.clone());
            if let Some(part) = parts.get_mut(place) {
                part.push((key, value));
            }
        }
        parts
    }

    /// One machine's effects as those of the object: it removes only its own rows, and its alarm does not push away
    /// another's.
    fn take(&mut self, part: usize, mut effects: Effects, woken: bool) -> Effects {
        let keys = self.keys.entry(part).or_default();
        let emptied = effects.delete_all;
        if emptied {
            effects.delete_all = false;
            effects.writes = core::mem::take(keys)
                .into_iter()
                .map(|key| Write { key, value: None })
                .collect();
        }
        for write in &effects.writes {
            if write.value.is_some() {
                keys.insert(write.key.clone());
            } else {
                keys.remove(&write.key);
            }
        }
        let wanted = match effects.alarm {
            Some(at) if !emptied => Some(at),
            None if !emptied && !woken => return effects,
            _ => None,
        };
        if self.alarms.get(&part).copied() != wanted {
            match wanted {
                Some(at) => self.alarms.insert(part, at),
                None => self.alarms.remove(&part),
            };
            effects.writes.push(Write {
                key: format!("{ALARM_ROWS}{part}"),
                value: wanted.map(|at| at.0.to_string()),
            });
        }
        effects.alarm = self.alarms.values().min().copied();
        effects
    }

    /// The effects of one or several machines as the object's: when no row of any is left, nothing of it is.
    fn finish(&mut self, all: impl IntoIterator<Item = Effects>) -> Effects {
        let mut joined = Effects::default();
        for effects in all {
            joined.alarm = effects.alarm.or(joined.alarm);
            joined.writes.extend(effects.writes);
        }
        if !joined.writes.is_empty() && self.keys.values().all(BTreeSet::is_empty) {
            self.alarms.clear();
            return Effects {
                delete_all: true,
                ..Effects::default()
            };
        }
        joined
    }
}

macro_rules! together {
    ($(#[$doc:meta])* $name:ident, $command:ident, $reply:ident;
     $($place:literal $field:ident $variant:ident $short:literal $machine:ty, $prefix:literal;)*) => {
        $(#[$doc])*
        pub struct $name {
            parts: Parts,
            $($field: $machine,)*
        }

        #[doc = concat!("What is asked of a `", stringify!($name), "`.")]
        #[derive(Serialize, Deserialize)]
        pub enum $command {
            $(#[doc = concat!("Of its ", stringify!($field), ".")]
            #[serde(rename = $short)]
            $variant(<$machine as Machine>::Command),)*
        }

        #[doc = concat!("What a `", stringify!($name), "` answers.")]
        #[derive(Serialize, Deserialize)]
        pub enum $reply {
            $(#[doc = concat!("Its ", stringify!($field), ".")]
            #[serde(rename = $short)]
            $variant(<$machine as Machine>::Reply),)*
        }

        impl Machine for $name {
            type Command = $command;
            type Reply = $reply;

            fn load(now: Millis, rows: Vec<(String, String)>) -> Self {
                let mut parts = Parts::default();
                let mut rows = parts.split(rows, &[$($prefix),*]).into_iter();
                Self {
                    $($field: <$machine>::load(now, rows.next().unwrap_or_default()),)*
                    parts,
                }
            }

            fn apply(&mut self, now: Millis, command: $command) -> ($reply, Effects) {
                match command {
                    $($command::$variant(command) => {
                        let (reply, effects) = self.$field.apply(now, command);
                        let effects = self.parts.take($place, effects, false);
                        ($reply::$variant(reply), self.parts.finish([effects]))
                    })*
                }
            }

            fn wake(&mut self, now: Millis) -> Effects {
                let mut all = Vec::new();
                $(if self.parts.alarms.get(&$place).is_some_and(|at| *at <= now) {
                    let effects = self.$field.wake(now);
                    all.push(self.parts.take($place, effects, true));
                })*
                let mut effects = self.parts.finish(all);
                if !effects.delete_all {
                    // The alarm that woke us is spent, even when it came too early.
                    effects.alarm = self.parts.alarms.values().min().copied();
                }
                effects
            }
        }

        $(impl Part for $machine {
            type Whole = $name;
            fn command(command: <$machine as Machine>::Command) -> $command {
                $command::$variant(command)
            }
            fn reply(reply: $reply) -> Option<<$machine as Machine>::Reply> {
                match reply {
                    $reply::$variant(reply) => Some(reply),
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }
        })*

        impl Told for $reply {
            fn refused(&self) -> Option<&str> {
                match self {
                    $(Self::$variant(reply) => reply.refused(),)*
                }
            }

            fn takes(&self, offered: &str) -> Option<String> {
                match self {
                    $(Self::$variant(reply) => reply.takes(offered),)*
                }
            }
        }
    };
}

together! {
    /// What a tenant's house knows: owners of documents, operators, rules, and which API keys there are.
    Directory, DirectoryCommand, DirectoryReply;
    0 owners Owners "own" Owners, "owner/";
    1 operators Operators "opr" Operators, "op/";
    2 rules Rules "rul" Rules, "rules/";
    3 keys Keys "key" KeyIndex, "key/";
}

together! {
    /// What an account holds: bytes of documents, a key's record, and what was used.
    Ledger, LedgerCommand, LedgerReply;
    0 quota Quota "quo" Quota, "entry/";
    1 record Record "rec" KeyRecord, "rec/";
    2 account Account "acc" Account, "acct/";
}

/// A machine that shares its object with others.
pub trait Part: Machine {
    /// What the object keeps.
    type Whole: Machine;
    /// Its command as the object's.
    fn command(command: Self::Command) -> <Self::Whole as Machine>::Command;
    /// Its reply out of the object's.
    fn reply(reply: <Self::Whole as Machine>::Reply) -> Option<Self::Reply>;
}

/// What the class `Directory` keeps.
pub type DirectoryObject = Audited<Directory>;
/// What the class `Ledger` keeps.
pub type LedgerObject = Audited<Ledger>;
/// What the class `Keyring` keeps.
pub type KeyringObject = Audited<Keyring>;
/// What the class `AuditLog` keeps.
pub type AuditObject = AuditLog;

/// Asks one machine of an object, without a record of it.
///
/// # Errors
/// The object could not be reached.
pub async fn ask<M: Part>(
    port: &impl Port,
    class: Class,
    name: &str,
    command: M::Command,
) -> Result<M::Reply, PortFault>
where
    M::Whole: Machine,
    <M::Whole as Machine>::Reply: Told + DeserializeOwned,
{
    told::<M>(port, class, name, command, None).await
}

/// Asks one machine of an object; the event is kept with the change that it tells of.
///
/// # Errors
/// The object could not be reached; too many events wait.
pub async fn told<M: Part>(
    port: &impl Port,
    class: Class,
    name: &str,
    command: M::Command,
    event: Option<(String, String)>,
) -> Result<M::Reply, PortFault>
where
    M::Whole: Machine,
    <M::Whole as Machine>::Reply: Told + DeserializeOwned,
{
    let (event_id, event) = match event {
        Some((id, event)) => (id, Some(event)),
        None => (String::new(), None),
    };
    let command = outbox::Command::Do {
        event,
        event_id,
        offer: None,
        command: M::command(command),
    };
    done::<M>(port, class, name, &command)
        .await
        .map(|(reply, _)| reply)
}

/// Asks one machine of an object, which may take the event for the record. Tells also whether events wait there that are
/// to be brought to the log.
///
/// # Errors
/// The object could not be reached.
pub async fn offered<M: Part>(
    port: &impl Port,
    class: Class,
    name: &str,
    command: M::Command,
    (event_id, event): (String, String),
) -> Result<(M::Reply, bool), PortFault>
where
    M::Whole: Machine,
    <M::Whole as Machine>::Reply: Told + DeserializeOwned,
{
    let command = outbox::Command::Do {
        event: None,
        event_id,
        offer: Some(event),
        command: M::command(command),
    };
    done::<M>(port, class, name, &command).await
}

/// The machine's reply, and whether events wait.
async fn done<M: Part>(
    port: &impl Port,
    class: Class,
    name: &str,
    command: &outbox::Command<<M::Whole as Machine>::Command>,
) -> Result<(M::Reply, bool), PortFault>
where
    M::Whole: Machine,
    <M::Whole as Machine>::Reply: Told + DeserializeOwned,
{
    let (reply, waits) = match call::<Audited<M::Whole>>(port, class, name, command).await? {
        outbox::Reply::Done(reply) => (reply, false),
        outbox::Reply::Waits(reply) => (reply, true),
        outbox::Reply::Full => return Err(PortFault("too many events wait".to_owned())),
        outbox::Reply::Out(_) => {
            return Err(PortFault("the object answered something else".to_owned()));
        }
    };
    let reply = M::reply(reply)
        .ok_or_else(|| PortFault("the object answered for another machine".to_owned()))?;
    Ok((reply, waits))
}

/// The object with the list of a tenant's API keys.
pub const KEYS: &str = "keys";

/// The object of an API key: its record, and the account of its use.
#[must_use]
pub fn key_object(id: &str) -> String {
    ["key/", id].concat()
}

/// The keyring's object.
pub const KEYRING: &str = "keyring";

/// Asks the keyring.
///
/// # Errors
/// The object could not be reached.
pub async fn tell_keyring(
    port: &impl Port,
    command: <Keyring as Machine>::Command,
    event: Option<(String, String)>,
) -> Result<<Keyring as Machine>::Reply, PortFault> {
    let (event_id, event) = match event {
        Some((id, event)) => (id, Some(event)),
        None => (String::new(), None),
    };
    let command = outbox::Command::Do {
        event,
        event_id,
        offer: None,
        command,
    };
    match call::<KeyringObject>(port, Class::Keyring, KEYRING, &command).await? {
        outbox::Reply::Done(reply) | outbox::Reply::Waits(reply) => Ok(reply),
        outbox::Reply::Full => Err(PortFault("too many events wait".to_owned())),
        outbox::Reply::Out(_) => Err(PortFault("the object answered something else".to_owned())),
    }
}

/// The same without a record of it.
///
/// # Errors
/// As for [`tell_keyring`].
pub async fn ask_keyring(
    port: &impl Port,
    command: <Keyring as Machine>::Command,
) -> Result<<Keyring as Machine>::Reply, PortFault> {
    tell_keyring(port, command, None).await
}

/// An object with an outbox.
pub trait OutboxOf: Machine {
    /// The command that asks about events.
    fn about_events(drain: Drain) -> Self::Command;
    /// The events in a reply.
    fn events(reply: Self::Reply) -> Option<Vec<Pending>>;
}

impl<M: Machine> OutboxOf for Audited<M>
where
    M::Reply: Told,
{
    fn about_events(drain: Drain) -> Self::Command {
        outbox::Command::Out(drain)
    }

    fn events(reply: Self::Reply) -> Option<Vec<Pending>> {
        match reply {
            outbox::Reply::Out(events) => Some(events),
            outbox::Reply::Done(_) | outbox::Reply::Waits(_) | outbox::Reply::Full => None,
        }
    }
}

/// Asks about the events that wait in an object.
///
/// # Errors
/// The object could not be reached.
pub async fn outbox<M: OutboxOf>(
    port: &impl Port,
    class: Class,
    name: &str,
    drain: Drain,
) -> Result<Vec<Pending>, PortFault> {
    let reply = call::<M>(port, class, name, &M::about_events(drain)).await?;
    M::events(reply).ok_or_else(|| PortFault("the object told no events".to_owned()))
}

// === what belongs on record of a refusal ===

impl Told for crate::domain::documents::directory::Reply {
    fn refused(&self) -> Option<&str> {
        None
    }
}

impl Told for crate::domain::documents::quota::Reply {
    fn refused(&self) -> Option<&str> {
        None
    }
}

impl Told for crate::domain::limits::account::Reply {
    fn refused(&self) -> Option<&str> {
        None
    }
}

impl Told for crate::domain::identity::key_record::Reply {
    fn refused(&self) -> Option<&str> {
        match self {
            Self::Exists | Self::Conflict | Self::Invalid | Self::Full => Some("conflict"),
            _ => None,
        }
    }

    fn takes(&self, offered: &str) -> Option<String> {
        match self {
            Self::Noted(_, Some(note)) => Some(uses::on_record(offered, note)),
            _ => None,
        }
    }
}

impl Told for crate::domain::identity::key_record::IndexReply {
    fn refused(&self) -> Option<&str> {
        None
    }
}

impl Told for crate::domain::limits::rules::Reply {
    fn refused(&self) -> Option<&str> {
        match self {
            Self::Conflict(_) | Self::Full => Some("conflict"),
            Self::Invalid(_) => Some("invalid_parameter"),
            _ => None,
        }
    }
}

impl Told for crate::domain::identity::operators::Reply {
    fn refused(&self) -> Option<&str> {
        match self {
            Self::No(why) => Some(why_code(*why).entry().code),
            Self::TooMany(_) => Some(Code::TooManyAttempts.entry().code),
            _ => None,
        }
    }
}

impl Told for crate::domain::keyring::Reply {
    fn refused(&self) -> Option<&str> {
        match self {
            Self::Refused(_) => Some(Code::Conflict.entry().code),
            _ => None,
        }
    }
}

/// The catalogue's code for what the operators' machine refuses.
#[must_use]
pub const fn why_code(why: Why) -> Code {
    match why {
        Why::Claimed | Why::Full | Why::Taken => Code::Conflict,
        Why::Unknown | Why::Refused => Code::InvalidCredentials,
        Why::Forbidden => Code::Forbidden,
        Why::NotFresh => Code::SecondFactorRequired,
        Why::NotFound => Code::NotFound,
        Why::LastOwner => Code::LastOwner,
        Why::Invalid => Code::InvalidParameter,
    }
}
