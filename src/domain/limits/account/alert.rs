//! What an operator should hear about an account.

use serde::{Deserialize, Serialize};

use super::calendar::{Span, Tally};
use crate::base::time::Millis;
use crate::domain::limits::policy::LimitName;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Half of a budget is spent.
    Half,
    /// Four fifths of a budget are spent.
    Most,
    /// A budget is spent, or most of it is and the rest did not cover a call.
    All,
    /// A budget will be spent before half of its window is over.
    Slope,
    /// More was used than the worst case that was reserved.
    Overrun,
    /// Many more requests in a minute than usual.
    Sudden,
}

/// An alert. It is told once, and after a restart perhaps again: [`Alert::id`] tells the same from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What happened.
    #[serde(rename = "w")]
    pub what: What,
    /// Of which limit.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitName>,
    /// When the window began that it is about, or when it happened.
    #[serde(rename = "s")]
    pub start: Millis,
    /// What was counted: millionths of a dollar, or requests.
    #[serde(rename = "c")]
    pub count: u64,
    /// Against what.
    #[serde(rename = "l")]
    pub of: u64,
    /// When the hold ends that it began.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

impl Alert {
    /// The same for the same event, within one account.
    #[must_use]
    pub fn id(&self) -> String {
        let limit = self.limit.map_or("", LimitName::as_str);
        format!("{}/{limit}/{}", self.name(), self.start.0)
    }

    const fn name(&self) -> &'static str {
        match self.what {
            What::Half => "half",
            What::Most => "most",
            What::All => "all",
            What::Slope => "slope",
            What::Overrun => "overrun",
            What::Sudden => "sudden",
        }
    }

    /// The reason in words, with its numbers.
    #[must_use]
    pub fn reason(&self) -> String {
        let limit = self.limit.map_or("budget", LimitName::as_str);
        let words = match self.what {
            What::Half => "50 % of the limit is spent",
            What::Most => "80 % of the limit is spent",
            What::All => "the limit is reached",
            What::Slope => "at this rate the limit is reached before half of the window is over",
            What::Overrun => "more was used than was reserved",
            What::Sudden => {
                return format!(
                    "sudden rate: {} requests in a minute, from {} on counts as unusual",
                    self.count, self.of
                );
            }
        };
        format!(
            "{limit}: {words} ({} of {} micro-dollars)",
            self.count, self.of
        )
    }
}

const HALF: u8 = 1;
const MOST: u8 = 2;
const ALL: u8 = 4;
const SLOPE: u8 = 8;

/// A slope is judged from this part of the limit on, lest the first call of a window be one: a quarter.
const SLOPE_FROM: u64 = 4;

/// What is to be told of a window of money. `spent` is settled, or expired at what it had reserved; `refused`: a call
/// did not fit just now. The tally remembers what was told.
pub fn of_budget(
    span: Span,
    tally: &mut Tally,
    now: Millis,
    spent: u64,
    refused: bool,
) -> Vec<Alert> {
    let Some(limit) = tally.limit.filter(|limit| *limit > 0) else {
        return Vec::new();
    };
    let parts = u128::from(spent).saturating_mul(100);
    let reached = |percent: u128| parts >= u128::from(limit).saturating_mul(percent);
    // What is only reserved comes back: a refusal alone says nothing about what is spent.
    let (bits, what) = if reached(100) || (refused && reached(80)) {
        (HALF | MOST | ALL, Some((ALL, What::All)))
    } else if reached(80) {
        (HALF | MOST, Some((MOST, What::Most)))
    } else if reached(50) {
        (HALF, Some((HALF, What::Half)))
    } else {
        (0, None)
    };
    let known = tally.told | tally.telling;
    let slope = is_steep(span, tally, now, spent, limit);
    tally.telling |= bits | if slope { SLOPE } else { 0 };
    let alert = |what| Alert {
        what,
        limit: Some(span.limit()),
        start: tally.start,
        count: spent,
        of: limit,
        until: None,
    };
    let slope = (slope && known & SLOPE == 0).then(|| alert(What::Slope));
    let level = what.filter(|(bit, _)| known & bit == 0);
    level
        .map(|(_, what)| alert(what))
        .into_iter()
        .chain(slope)
        .collect()
}

/// Does the budget end before half of its window is over, if money goes on as it did?
fn is_steep(span: Span, tally: &Tally, now: Millis, spent: u64, limit: u64) -> bool {
    let half = span.next(tally.start).since(tally.start).0 / 2;
    let elapsed = now.since(tally.start).0;
    let product = |a: u64, b: u64| u128::from(a).saturating_mul(u128::from(b));
    elapsed < half && spent >= limit / SLOPE_FROM && product(limit, elapsed) < product(spent, half)
}
