//! The account as one synchronous state machine.
//!
//! Rows, each beginning with [`PREFIX`]: `c/<class>` the windows of requests, `t` money and tokens, `w` the usual rate
//! and the hold, `r/<id>` one open reservation. A take writes at most one of each; besides, reservations that expired
//! since are removed.

mod rows;
mod settle;
mod take;
mod tell;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::calendar::Calendar;
use super::command::{Command, Reply};
use super::meter::Meter;
use super::requests::Requests;
use super::reservation::Reservation;
use super::watch::{Hold, Rates};
use crate::base::machine::{Effects, Machine};
use crate::base::time::Millis;
use crate::domain::limits::policy::Class;

/// What the keys of all rows begin with.
pub const PREFIX: &str = "acct/";
/// Most open reservations; further takes are refused until one is settled or expires. None is ever forgotten.
pub const MAX_OPEN: usize = 10_000;
/// The longest that a reservation stays open.
pub const LONGEST: Millis = Millis::from_secs(7200);
/// How long a reservation of requests alone stays open, for a release or a repetition.
pub const SHORTEST: Millis = Millis::from_secs(10);
/// How long an account knows a lease, and so may take back what was not used of it.
pub const LEASE_KNOWN: Millis = Millis::from_secs(60);
/// How long a lease is good for.
pub const LEASE: Millis = Millis::from_secs(1);
/// Most requests in a lease.
pub const MAX_LEASE: u32 = 64;
/// A clock that goes back by no more stands still until it has caught up.
pub const STILL: Millis = Millis::from_secs(60);
/// The wait that is told when nobody knows it: a place, a reservation.
const GUESS: Millis = Millis::from_secs(1);
/// The latest time that JavaScript's Date can tell (ECMA-262 §21.4.1.1); a later clock counts as this.
const LATEST: Millis = Millis(8_640_000_000_000_000);
/// Tokens that one settlement books at most, in quotas: above that a provider's count is an error, not a use.
const MAX_EXTRA: u64 = 10;

/// What one account has used. The default is one that nobody used.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The latest time seen; it goes back with the clock only by more than [`STILL`].
    seen: Millis,
    classes: BTreeMap<Class, Requests>,
    totals: Totals,
    rates: Rates,
    open: BTreeMap<String, Reservation>,
    /// When each of them expires.
    due: BTreeSet<(Millis, String)>,
    /// Money of the open ones, by the window's number.
    reserved: BTreeMap<u64, u64>,
    /// Places of the open ones.
    places: u32,
    /// The number of the next window of money.
    fresh: u64,
    /// Rows that are not stored as they are.
    dirty: BTreeSet<String>,
    /// The alarm asked for last.
    alarm: Option<Millis>,
}

/// Money and tokens, as stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Totals {
    /// The clock of then.
    #[serde(rename = "s")]
    seen: Millis,
    #[serde(rename = "t", default)]
    tokens: Meter,
    /// By hour, day and month.
    #[serde(rename = "m", default)]
    money: [Calendar; 3],
    /// The stored row was unreadable at this time: everything counts as spent then.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    lost: Option<Millis>,
}

impl Machine for Account {
    type Command = Command;
    type Reply = Reply;

    /// Reads what is stored. An unreadable row counts as everything spent now, an unreadable reservation as a place
    /// that is taken for [`LONGEST`], an unreadable hold as none.
    fn load(now: Millis, rows: Vec<(String, String)>) -> Self {
        let now = now.min(LATEST);
        let mut account = Self {
            fresh: 1,
            ..Self::default()
        };
        for (key, text) in rows {
            account.read(now, &key, &text);
        }
        let numbers = account.totals.money.iter().flat_map(|calendar| &calendar.0);
        let last = numbers
            .map(|tally| tally.number)
            .chain(account.reserved.keys().copied())
            .max();
        account.fresh = last.unwrap_or(0).saturating_add(1);
        account
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let clock = now.min(LATEST);
        let now = self.clock(clock);
        self.confirm();
        self.expire(now);
        let reply = match command {
            Command::Take(take) => self.take(now, clock, *take),
            Command::Settle { id, tokens, micros } => self.settle(now, &id, tokens, micros),
            Command::Release { id } => self.release(now, &id),
            Command::Look { class, limits } => self.look(now, class, &limits),
            Command::Hold {
                until,
                slow,
                reason,
            } => {
                self.rates.hold = (until > now).then_some(Hold {
                    until,
                    slow,
                    reason,
                    alert: None,
                    told: false,
                    telling: false,
                });
                self.mark("w");
                self.done(now, true)
            }
            Command::Pardon => {
                let known = self.rates.pardon();
                self.mark("w");
                self.done(now, known)
            }
        };
        let mut effects = Effects {
            writes: self.flush(),
            ..Effects::default()
        };
        effects.alarm = self.ring(now);
        (reply, effects)
    }

    /// The alarm rang: reservations expire at what they hold, what is full is forgotten.
    ///
    /// Harmless at any other time, and more than once.
    fn wake(&mut self, now: Millis) -> Effects {
        let now = self.clock(now.min(LATEST));
        self.expire(now);
        self.sweep(now);
        if self.is_empty() {
            *self = Self {
                seen: self.seen,
                ..Self::default()
            };
            return Effects {
                delete_all: true,
                ..Effects::default()
            };
        }
        let writes = self.flush();
        self.alarm = None;
        let alarm = self.ring(now);
        Effects {
            writes,
            alarm,
            delete_all: false,
        }
    }
}
