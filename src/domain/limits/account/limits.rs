//! What an account may use. It travels in each command, so that a changed setting needs no restart.

use serde::{Deserialize, Serialize};

use super::calendar::Span;
use super::meter::Rate;
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, Window};
use crate::domain::settings::config::{Abuse, Allowance, LimitClass};

/// The limits of one account for one class of requests. What is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests at once, refilled evenly.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Window>,
    /// Requests in any window of that length.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub sustained: Option<Window>,
    /// Tokens at once, refilled evenly.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Rate>,
    /// Calls at the same time.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub places: Option<u32>,
    /// Millionths of a dollar in each hour, on each day, in each month of UTC.
    #[serde(rename = "m", default, skip_serializing_if = "unlimited")]
    pub money: [Option<u64>; 3],
    /// When a rate counts as sudden.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
}

/// A minute's requests are a sudden rate at `factor` times the account's own average and not below `floor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Times the average.
    #[serde(rename = "x")]
    pub factor: u32,
    /// Requests in the minute.
    #[serde(rename = "f")]
    pub floor: u32,
    /// How long the account is then slowed down.
    #[serde(rename = "h")]
    pub hold: Millis,
}

/// The time over which a sudden rate is counted.
const MINUTE: Millis = Millis::from_secs(60);

fn unlimited(money: &[Option<u64>; 3]) -> bool {
    money.iter().all(Option::is_none)
}

impl Limits {
    /// The limits that an allowance sets for a class; nothing is watched yet ([`Limits::watched`]).
    #[must_use]
    pub fn of(allowance: &Allowance, class: Class) -> Self {
        let mut requests = allowance.requests.iter();
        let requests = requests.find(|requests| is(requests.class, class));
        let window = |window: crate::domain::settings::config::Window| {
            Window::new(
                window.requests,
                Millis::from_secs(u64::from(window.seconds)),
            )
        };
        let budget = &allowance.budget;
        Self {
            burst: requests.and_then(|r| r.burst).and_then(window),
            sustained: requests.and_then(|r| r.sustained).and_then(window),
            tokens: allowance.tokens.and_then(|tokens| {
                Rate::new(tokens.tokens, Millis::from_secs(u64::from(tokens.seconds)))
            }),
            places: allowance.concurrent,
            money: [budget.hour_usd, budget.day_usd, budget.month_usd].map(|usd| usd.map(micros)),
            watch: None,
        }
    }

    /// These, with sudden rates watched when the rules ask for it.
    #[must_use]
    pub fn watched(self, abuse: &Abuse) -> Self {
        let watch = Watch {
            factor: abuse.rate_factor,
            floor: abuse.rate_floor,
            hold: Millis::from_secs(abuse.hold_seconds),
        };
        Self {
            watch: (abuse.enabled && abuse.rate_factor > 0).then_some(watch),
            ..self
        }
    }

    /// Is nothing limited and nothing watched? Such an account need not be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Does nothing but the number of requests count?
    #[must_use]
    pub fn is_of_requests_alone(&self) -> bool {
        self.tokens.is_none() && self.places.is_none() && unlimited(&self.money)
    }

    /// The limit of one window of money.
    #[must_use]
    pub fn budget(&self, span: Span) -> Option<u64> {
        let [hour, day, month] = self.money;
        match span {
            Span::Hour => hour,
            Span::Day => day,
            Span::Month => month,
        }
    }

    /// Rates and places at a quarter, at least one. Money is as before: a slow-down ends, and a budget does not. Requests
    /// that are watched and not limited are limited to a quarter of what is never sudden.
    #[must_use]
    pub fn slowed(mut self) -> Self {
        let quarter = |window: Window| Window::new((window.requests() / 4).max(1), window.per());
        if let (None, None, Some(watch)) = (self.burst, self.sustained, &self.watch) {
            self.burst = Window::new(watch.floor.max(1), MINUTE);
        }
        self.burst = self.burst.and_then(quarter);
        self.sustained = self.sustained.and_then(quarter);
        self.tokens = self.tokens.map(Rate::quarter);
        self.places = self.places.map(|places| (places / 4).max(1));
        self
    }
}

fn is(configured: LimitClass, class: Class) -> bool {
    class
        == match configured {
            LimitClass::Read => Class::Read,
            LimitClass::Chat => Class::Chat,
            LimitClass::Embeddings => Class::Embeddings,
            LimitClass::Upload => Class::Upload,
        }
}

/// Dollars in whole millionths, rounded down. A decimal such as 0.29 has no exact double, so that what lies within a
/// thousandth below a whole millionth is that one.
#[must_use]
pub fn micros(usd: f64) -> u64 {
    // Up to a million dollars (10¹² millionths) a double is exact to 1/8192. The conversion saturates, at 0 too.
    (usd * 1_000_000.0 + 0.001) as u64
}

#[cfg(test)]
mod tests {
    use super::{Limits, micros};
    use crate::domain::limits::policy::Class;
    use crate::domain::settings::config::{Abuse, Allowance};

    fn allowance() -> Allowance {
        serde_json::from_str(
            r#"{"requests":[{"class":"chat","burst":{"requests":20,"seconds":60}},{"class":"read","sustained":{"requests":3,"seconds":9}}],
                "tokens":{"tokens":100000,"seconds":60},"concurrent":5,"budget":{"day_usd":0.29,"month_usd":10}}"#,
        )
        .unwrap()
    }

    #[test]
    fn limits_are_those_of_their_class_and_short_in_json() {
        let limits = Limits::of(&allowance(), Class::Chat).watched(&Abuse::default());
        let json = r#"{"b":[20,60000],"t":[100000,60000],"p":5,"m":[null,290000,10000000],"w":{"x":10,"f":300,"h":900000}}"#;
        assert_eq!(serde_json::to_string(&limits).unwrap(), json);
        assert_eq!(serde_json::from_str::<Limits>(json).unwrap(), limits);
        let read = Limits::of(&allowance(), Class::Read);
        assert!(read.burst.is_none() && read.sustained.is_some());
        let off = Abuse {
            enabled: false,
            ..Abuse::default()
        };
        assert!(
            Limits::of(&Allowance::default(), Class::Chat)
                .watched(&off)
                .is_empty()
        );
    }

    #[test]
    fn budgets_are_rounded_down_to_a_millionth() {
        for (usd, exact) in [
            (0.0, 0),
            (0.29, 290_000),
            (0.1, 100_000),
            (0.000_000_9, 0),
            (0.000_001_9, 1),
            (1e6, 1_000_000_000_000),
            (-1.0, 0),
            (f64::NAN, 0),
        ] {
            assert_eq!(micros(usd), exact, "{usd}");
        }
        for cents in 0..200_000u64 {
            assert_eq!(micros(cents as f64 / 100.0), cents * 10_000);
        }
    }

    #[test]
    fn slowed_limits_are_a_quarter_and_never_none() {
        let slow = Limits::of(&allowance(), Class::Chat).slowed();
        assert_eq!(slow.burst.unwrap().requests(), 5);
        assert_eq!(slow.tokens.unwrap().quota(), 25_000);
        assert_eq!(slow.places, Some(1));
        assert_eq!(slow.money, Limits::of(&allowance(), Class::Chat).money);
    }
}
