//! What one call holds until it is settled, and what it was charged.

use serde::{Deserialize, Serialize};

use super::meter::Charge;
use crate::base::time::Millis;
use crate::domain::limits::policy::Class;

/// An open reservation, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reservation {
    /// When it was made.
    #[serde(rename = "s")]
    pub at: Millis,
    /// When it expires at what it holds.
    #[serde(rename = "u")]
    pub until: Millis,
    /// A place.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub place: bool,
    /// Requests of the class's windows.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Tokens.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Charge>,
    /// Money, and the numbers of the windows that hold it (hour, day, month).
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub money: Option<(u64, [u64; 3])>,
}

impl Reservation {
    /// Does it hold anything?
    pub const fn holds(&self) -> bool {
        self.place || self.requests.is_some() || self.tokens.is_some() || self.money.is_some()
    }
}

/// What the windows of a class were charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Requests {
    /// The class.
    #[serde(rename = "c")]
    pub class: Class,
    /// The call's own requests, without a lease.
    #[serde(rename = "n")]
    pub own: u32,
    /// Requests of the lease that came with it.
    #[serde(rename = "a", default)]
    pub ahead: u32,
    /// Of the meter, with the lease.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Charge>,
    /// Of the log: its time and the granule.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub log: Option<(Millis, u64)>,
}
