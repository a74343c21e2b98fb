//! What an account is asked, and what it answers.

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::limits::Limits;
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, LimitName, LimitStatus};

/// What a call needs at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The endpoints' class; requests are counted by class, all else together.
    #[serde(rename = "c")]
    pub class: Class,
    /// Requests, usually 1.
    #[serde(rename = "r")]
    pub requests: u32,
    /// Tokens in and out together.
    #[serde(rename = "t", default)]
    pub tokens: u64,
    /// Millionths of a dollar.
    #[serde(rename = "m", default)]
    pub micros: u64,
    /// One of the places for calls at the same time?
    #[serde(rename = "p", default)]
    pub place: bool,
}

/// [`Command::Take`]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// The call's id. It is not used again for another call.
    #[serde(rename = "i")]
    pub id: String,
    /// Its worst case.
    #[serde(rename = "w")]
    pub want: Want,
    /// What the account may use.
    #[serde(rename = "l")]
    pub limits: Limits,
    /// When it stays spent if nobody has settled it: the call's last deadline and a margin. At most
    /// [`super::machine::LONGEST`] from now. A call of requests alone has nothing to settle, and is forgotten after
    /// [`super::machine::SHORTEST`].
    #[serde(rename = "u")]
    pub until: Millis,
    /// Further requests to take in advance, if only requests are limited.
    #[serde(rename = "a", default)]
    pub ahead: u32,
    /// Leases that are over, whose unused requests come back.
    #[serde(rename = "k", default, skip_serializing_if = "Vec::is_empty")]
    pub back: Vec<Back>,
}

/// What became of a lease that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// The call that it was granted with.
    #[serde(rename = "i")]
    pub id: String,
    /// Requests that were made of it.
    #[serde(rename = "u")]
    pub used: u32,
    /// Requests that were not, and will not be.
    #[serde(rename = "n")]
    pub unused: u32,
}

/// What an account is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Reserve all of it, or nothing.
    #[serde(rename = "take")]
    Take(Box<Take>),
    /// What the call really used. More than was reserved is booked in full (tokens: at most ten times their quota).
    /// An id that is not open (settled, released, or expired at its worst case) changes nothing.
    #[serde(rename = "settle")]
    Settle {
        /// The call.
        #[serde(rename = "i")]
        id: String,
        /// Tokens in and out together.
        #[serde(rename = "t")]
        tokens: u64,
        /// Millionths of a dollar.
        #[serde(rename = "m")]
        micros: u64,
    },
    /// Undo it, requests too. A lease that came with it stays: it may be in use. An id that is not open changes nothing.
    #[serde(rename = "release")]
    Release {
        /// The call.
        #[serde(rename = "i")]
        id: String,
    },
    /// Only look.
    #[serde(rename = "look")]
    Look {
        /// Whose windows of requests.
        #[serde(rename = "c")]
        class: Class,
        /// What the account may use.
        #[serde(rename = "l")]
        limits: Limits,
    },
    /// Block the account or slow it down.
    #[serde(rename = "hold")]
    Hold {
        /// When it ends by itself.
        #[serde(rename = "u")]
        until: Millis,
        /// Rates and places at a quarter; else every request is refused.
        #[serde(rename = "s")]
        slow: bool,
        /// Why, in words.
        #[serde(rename = "r")]
        reason: String,
    },
    /// End a block or slow-down.
    #[serde(rename = "pardon")]
    Pardon,
}

/// What an account answers. `status` are the account's windows of requests and tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Reserved.
    #[serde(rename = "ok")]
    Taken {
        /// After it.
        #[serde(rename = "s")]
        status: Vec<LimitStatus>,
        /// Requests taken in advance, and when they lapse.
        #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
        lease: Option<(u32, Millis)>,
        /// What the operator should hear.
        #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
        alerts: Vec<Alert>,
    },
    /// Nothing was reserved.
    #[serde(rename = "no")]
    Refused {
        /// A retry after exactly this long is admitted, and one a millisecond earlier is not, if nothing else happens
        /// meanwhile. Of [`LimitName::Concurrent`] and [`LimitName::Overload`] it is a guess: 1 s.
        #[serde(rename = "t")]
        wait: Millis,
        /// Waiting does not help: more is wanted than a whole limit. `wait` is zero then.
        #[serde(rename = "f", default)]
        forever: bool,
        /// What refused.
        #[serde(rename = "v")]
        why: Vec<LimitName>,
        /// As it stays.
        #[serde(rename = "s")]
        status: Vec<LimitStatus>,
        /// What the operator should hear.
        #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
        alerts: Vec<Alert>,
    },
    /// Settled, released, held or pardoned.
    #[serde(rename = "done")]
    Done {
        /// Was there something to settle, to release or to pardon?
        #[serde(rename = "k")]
        known: bool,
        /// What the operator should hear.
        #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
        alerts: Vec<Alert>,
    },
    /// [`Command::Look`]
    #[serde(rename = "seen")]
    Seen {
        /// Windows of requests and tokens.
        #[serde(rename = "s")]
        status: Vec<LimitStatus>,
        /// Money by hour, day and month.
        #[serde(rename = "m")]
        spend: Vec<Spend>,
        /// Places taken.
        #[serde(rename = "p")]
        places: u32,
        /// Open reservations.
        #[serde(rename = "n")]
        open: u32,
        /// The block or slow-down that stands: its end, whether it is a slow-down, and why.
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        hold: Option<(Millis, bool, String)>,
    },
}

/// Money in one window, in millionths of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Which window.
    #[serde(rename = "n")]
    pub name: LimitName,
    /// Settled, or expired at its worst case.
    #[serde(rename = "u")]
    pub spent: u64,
    /// Reserved by calls that are not settled.
    #[serde(rename = "r")]
    pub reserved: u64,
    /// The limit, if there is one.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// When the window began.
    #[serde(rename = "s")]
    pub start: Millis,
    /// When it ends.
    #[serde(rename = "e")]
    pub end: Millis,
}
