//! An account's own usual rate, and the block or slow-down that stands on it.

use serde::{Deserialize, Serialize};

use super::alert::{Alert, What};
use super::limits::Watch;
use crate::base::time::Millis;

const MINUTE: u64 = 60_000; // 60 s × 1000 ms
/// The average moves by a sixteenth of the difference in each minute.
const WEIGHT: u64 = 16;
/// The average counts thousandths of a request.
const SCALE: u64 = 1000;
/// After so many minutes without a request nothing is left of an average: (15/16)^512 < 10⁻¹⁴.
const FORGET: u64 = 512;

/// A block or a slow-down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// When it ends by itself.
    #[serde(rename = "u")]
    pub until: Millis,
    /// Are rates and places at a quarter? Else every request is refused.
    #[serde(rename = "s")]
    pub slow: bool,
    /// Why, in words.
    #[serde(rename = "r")]
    pub reason: String,
    /// What told the operator of it, when a rule began it and not an operator.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(super) alert: Option<Alert>,
    /// Was the alert told, as stored?
    #[serde(rename = "t", default)]
    pub(super) told: bool,
    #[serde(skip)]
    pub(super) telling: bool,
}

/// Requests by minute, averaged, and the hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// The present minute since the epoch.
    #[serde(rename = "m")]
    minute: u64,
    /// Requests in it.
    #[serde(rename = "c")]
    count: u64,
    /// Thousandths of a request in a minute, on the average of the minutes before.
    #[serde(rename = "a")]
    average: u64,
    /// The hold, if one stands.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

impl Rates {
    /// Counts admitted requests, and begins a slow-down when they are a sudden rate. `true` when it must be stored:
    /// a minute ended or a hold began. Between, a restart forgets the requests of the present minute.
    pub fn count(&mut self, now: Millis, requests: u64, watch: &Watch) -> bool {
        let turned = self.turn(now);
        self.count = self.count.saturating_add(requests);
        let usual = self
            .average
            .saturating_mul(u64::from(watch.factor))
            .div_ceil(SCALE)
            .max(u64::from(watch.floor));
        if watch.factor == 0 || self.count < usual || self.hold.is_some() {
            return turned;
        }
        let alert = Alert {
            what: What::Sudden,
            limit: None,
            start: Millis(self.minute.saturating_mul(MINUTE)),
            count: self.count,
            of: usual,
            until: Some(now.plus(watch.hold)),
        };
        self.hold = Some(Hold {
            until: now.plus(watch.hold),
            slow: true,
            reason: alert.reason(),
            alert: Some(alert),
            told: false,
            telling: false,
        });
        true
    }

    /// The alert of a hold that was not told yet.
    pub fn tell(&mut self) -> Option<Alert> {
        let hold = self.hold.as_mut()?;
        if hold.told || hold.telling {
            return None;
        }
        hold.telling = true;
        hold.alert.clone()
    }

    /// What was told in the command before counts as told from the next row that is written.
    pub fn confirm(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.told |= hold.telling;
        }
    }

    /// Ends the hold, and counts the present minute anew, lest it begin the next one; `false` when there was none.
    pub fn pardon(&mut self) -> bool {
        self.count = 0;
        self.hold.take().is_some()
    }

    /// Ends a hold whose time is over; `true` when there was one.
    pub fn expire(&mut self, now: Millis) -> bool {
        self.hold.take_if(|hold| hold.until <= now).is_some()
    }

    /// When it may be forgotten: the hold is over and the average gone.
    pub fn full_at(&self) -> Millis {
        let gone = self.minute.saturating_add(FORGET).saturating_mul(MINUTE);
        let idle = self.count == 0 && self.average == 0;
        let held = self.hold.as_ref().map_or(Millis::ZERO, |hold| hold.until);
        held.max(if idle { Millis::ZERO } else { Millis(gone) })
    }

    /// The clock went back: the present minute goes on now.
    pub fn rebase(&mut self, now: Millis) {
        self.minute = self.minute.min(now.0 / MINUTE);
    }

    fn turn(&mut self, now: Millis) -> bool {
        let minute = now.0 / MINUTE;
        let passed = minute.saturating_sub(self.minute);
        if passed == 0 {
            return false;
        }
        let known = self.minute > 0;
        self.minute = minute;
        let count = std::mem::take(&mut self.count);
        if !known || passed > FORGET {
            self.average = 0;
            return true;
        }
        for i in 0..passed {
            let heard = if i == 0 {
                count.saturating_mul(SCALE)
            } else {
                0
            };
            let kept = self.average.saturating_mul(WEIGHT.saturating_sub(1));
            self.average = kept.saturating_add(heard) / WEIGHT;
        }
        true
    }
}
