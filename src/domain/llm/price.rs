//! What a call costs: prices and counts as whole numbers, rounded once, upwards, at the very end.
//!
//! The unit of calculation is the femto-dollar (10⁻¹⁵ USD). A price of at most six decimals per million tokens is then a
//! whole number for each token, and so are the quarter and the double that prompt-cache writes cost by default.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
use crate::domain::llm::message::Usage;
use crate::domain::settings::Settings;
use crate::domain::settings::config::Price;

/// An amount of money in millionths of a US dollar. Shown as dollars with six decimals, without rounding.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `self + other`, at most `u64::MAX`.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self + other`, unless it is more than can be held.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self − other`, at least nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Everything of a call that may have a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Tokens.
    pub usage: Usage,
    /// Images made.
    pub images: u64,
    /// Audio, heard or made.
    pub audio: Millis,
    /// Characters read aloud.
    pub characters: u64,
    /// Nobody told how long the audio is: it is our estimate.
    pub audio_estimated: bool,
}

impl From<Usage> for Consumed {
    fn from(usage: Usage) -> Self {
        Self {
            usage,
            ..Self::default()
        }
    }
}

/// The entry that counts for a provider's model at a time: one with the provider's name before one without, then the
/// newest whose first day (UTC) has come.
#[must_use]
pub fn find<'p>(
    prices: &'p [Price],
    provider: &str,
    model: &str,
    now: Millis,
) -> Option<&'p Price> {
    let now = now.rfc3339();
    let valid = |price: &&Price| {
        price.model == model
            && price.provider.as_deref().is_none_or(|name| name == provider)
            // Dates of four-digit years stand in the order of their texts; `2026-10-07` < `2026-10-07T00:…`.
            && price.valid_from.as_deref().is_none_or(|day| day < now.as_str())
    };
    prices
        .iter()
        .filter(valid)
        .max_by_key(|price| (price.provider.is_some(), price.valid_from.as_deref()))
}

/// What was consumed, at a price. Saturates at `u64::MAX` micro-dollars.
///
/// `usage.input` includes cached and written tokens and `usage.output` includes reasoning; counts that contradict this
/// are cut to what the total leaves, so that no part is charged twice and none is negative.
#[must_use]
pub fn cost(consumed: &Consumed, price: &Price) -> Micros {
    let usage = &consumed.usage;
    let mut fresh = usage.input;
    let [cached, written_5m, written_1h] =
        [usage.cached, usage.written_5m, usage.written_1h].map(|part| take(&mut fresh, part));
    let mut spoken = usage.output;
    let reasoning = take(&mut spoken, usage.reasoning);

    let input = femtos(price.input, PER_MILLION);
    let output = femtos(price.output, PER_MILLION);
    let per_token =
        |own: Option<f64>, default: u128| own.map_or(default, |p| femtos(p, PER_MILLION));
    let each = |own: Option<f64>| own.map_or(0, |p| femtos(p, PER_ONE));
    let rows: [(u64, u128); 9] = [
        (fresh, input),
        (cached, per_token(price.cached_input, input)),
        // 5 ÷ 4 is exact: a price of six decimals has three spare digits.
        (
            written_5m,
            per_token(price.cache_write_5m, input.saturating_mul(5) / 4),
        ),
        (
            written_1h,
            per_token(price.cache_write_1h, input.saturating_mul(2)),
        ),
        (spoken, output),
        (reasoning, per_token(price.reasoning, output)),
        (consumed.images, each(price.per_image)),
        (
            consumed.characters,
            per_token(price.per_million_characters, 0),
        ),
        (1, each(price.per_request)),
    ];
    // A second's price for a millisecond: six decimals of a dollar are 10⁹ femto-dollars at least, so that ÷ 1000 is exact.
    let audio = u128::from(consumed.audio.0).saturating_mul(each(price.per_second) / 1000);
    let total = rows.iter().fold(audio, |sum, (count, femtos)| {
        sum.saturating_add(u128::from(*count).saturating_mul(*femtos))
    });
    Micros(u64::try_from(total.div_ceil(FEMTOS_PER_MICRO)).unwrap_or(u64::MAX))
}

/// 10⁻⁶ ÷ 10⁻¹⁵
const FEMTOS_PER_MICRO: u128 = 1_000_000_000;
/// Femto-dollars per unit of the sixth decimal, for prices per million: 10⁻⁶ ÷ 10⁶ ÷ 10⁻¹⁵
const PER_MILLION: u128 = 1000;
/// The same for prices of one: 10⁻⁶ ÷ 10⁻¹⁵
const PER_ONE: u128 = 1_000_000_000;

/// Moves up to `wanted` out of `rest`.
const fn take(rest: &mut u64, wanted: u64) -> u64 {
    let taken = if wanted < *rest { wanted } else { *rest };
    *rest = rest.saturating_sub(taken);
    taken
}

/// An amount of the configuration as a whole number of femto-dollars. The decimals are taken from the shortest text
/// that means the number, which is what stands in the file, so that no binary fraction gets in.
fn femtos(dollars: f64, per_millionth: u128) -> u128 {
    let text = dollars.to_string();
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let digits = whole
        .bytes()
        .chain(decimals.bytes().chain(core::iter::repeat(b'0')).take(6));
    let millionths = digits.filter(u8::is_ascii_digit).fold(0_u128, |sum, d| {
        sum.saturating_mul(10)
            .saturating_add(u128::from(d.saturating_sub(b'0')))
    });
    millionths.saturating_mul(per_millionth)
}

impl Settings {
    /// What a call of a provider's model costs; `None` when no price is configured.
    #[must_use]
    pub fn cost(
        &self,
        provider: &str,
        model: &str,
        consumed: &Consumed,
        now: Millis,
    ) -> Option<Micros> {
        find(&self.config.prices, provider, model, now).map(|price| cost(consumed, price))
    }

    /// The same in plain numbers, at the newest price of that model from whichever provider; see [`Settings::cost`].
    #[must_use]
    pub fn cost_micros(&self, model: &str, input: u64, cached: u64, output: u64) -> Option<u64> {
        let usage = Usage {
            input,
            cached,
            output,
            ..Usage::default()
        };
        self.config
            .prices
            .iter()
            .filter(|price| price.model == model)
            .max_by_key(|price| (price.provider.is_none(), price.valid_from.as_deref()))
            .map(|price| cost(&usage.into(), price).0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Consumed, Micros, cost, find};
    use crate::base::time::Millis;
    use crate::domain::llm::message::Usage;
    use crate::domain::settings::config::Price;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn price(fields: Value) -> Price {
        let mut all = json!({"model": "m"});
        for (key, value) in fields.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    fn usage(input: u64, cached: u64, written_5m: u64, written_1h: u64, output: u64) -> Usage {
        Usage {
            input,
            cached,
            written_5m,
            written_1h,
            output,
            ..Usage::default()
        }
    }

    #[test]
    fn published_prices_give_published_costs() {
        // Claude Sonnet 4.5: 3 in, 3.75 and 6 for writes, 0.30 for reads, 15 out.
        let sonnet = price(json!({"input": 3.0, "output": 15.0, "cached_input": 0.3}));
        // Claude Haiku 3 has a write price that is not 1.25 × its input.
        let haiku = price(json!({
            "input": 0.25, "output": 1.25, "cached_input": 0.03, "cache_write_5m": 0.3, "cache_write_1h": 0.5,
        }));
        let gpt_5_mini = price(json!({"input": 0.25, "output": 2.0, "cached_input": 0.025}));
        let embedding = price(json!({"input": 0.02}));
        let table = [
            (&sonnet, usage(1_000_000, 0, 0, 0, 0), 3_000_000),
            (&sonnet, usage(1_000_000, 0, 1_000_000, 0, 0), 3_750_000),
            (&sonnet, usage(1_000_000, 0, 0, 1_000_000, 0), 6_000_000),
            (&sonnet, usage(1_000_000, 1_000_000, 0, 0, 0), 300_000),
            (&sonnet, usage(0, 0, 0, 0, 1_000_000), 15_000_000),
            // 100 fresh × 3 + 2000 read × 0.3 + 400 written × 3.75 + 50 written × 6 + 10 out × 15
            (&sonnet, usage(2550, 2000, 400, 50, 10), 2850),
            (&haiku, usage(1000, 0, 1000, 0, 0), 300),
            (&haiku, usage(1000, 0, 0, 1000, 0), 500),
            // 1117 fresh × 0.25 + 1920 read × 0.025 + 300 × 2 = 927.25, rounded up
            (&gpt_5_mini, usage(3037, 1920, 0, 0, 300), 928),
            (&embedding, usage(8, 0, 0, 0, 0), 1),
            (&embedding, usage(1_000_000, 0, 0, 0, 0), 20_000),
        ];
        for (price, usage, micros) in table {
            assert_eq!(cost(&usage.into(), price), Micros(micros), "{usage:?}");
        }
    }

    #[test]
    fn reasoning_is_part_of_the_output_and_charged_once() {
        let thinking = Usage {
            output: 1000,
            reasoning: 600,
            ..Usage::default()
        };
        let plain = price(json!({"input": 1.0, "output": 10.0}));
        assert_eq!(cost(&thinking.into(), &plain), Micros(10_000));
        let dearer = price(json!({"input": 1.0, "output": 10.0, "reasoning": 20.0}));
        assert_eq!(cost(&thinking.into(), &dearer), Micros(16_000));
    }

    #[test]
    fn images_seconds_characters_and_requests_have_prices() {
        let consumed = |images, audio, characters| Consumed {
            images,
            audio: Millis(audio),
            characters,
            ..Consumed::default()
        };
        let table = [
            (json!({"per_image": 0.04}), consumed(3, 0, 0), 120_000),
            // 0.006 a minute
            (json!({"per_second": 0.0001}), consumed(0, 61_500, 0), 6150),
            (json!({"per_second": 0.0001}), consumed(0, 1, 0), 1),
            (
                json!({"per_million_characters": 15.0}),
                consumed(0, 0, 1234),
                18_510,
            ),
            (json!({"per_request": 0.01}), consumed(0, 0, 0), 10_000),
        ];
        for (fields, consumed, micros) in table {
            assert_eq!(cost(&consumed, &price(fields)), Micros(micros));
        }
    }

    #[test]
    fn the_newest_valid_price_of_that_provider_counts() {
        let prices = [
            price(json!({"input": 1.0})),
            price(json!({"input": 2.0, "valid_from": "2026-10-07"})),
            price(json!({"input": 3.0, "valid_from": "2027-01-01"})),
            price(json!({"input": 9.0, "provider": "near"})),
            price(json!({"input": 8.0, "provider": "near", "valid_from": "2026-06-01"})),
        ];
        let at = |provider, millis| {
            find(&prices, provider, "m", Millis(millis)).map(|price| price.input.to_string())
        };
        // 2026-10-06T23:59:59.999Z and one millisecond later
        let change = 1_791_331_200_000;
        assert_eq!(Millis(change).rfc3339(), "2026-10-07T00:00:00.000Z");
        assert_eq!(at("far", change - 1).as_deref(), Some("1"));
        assert_eq!(at("far", change).as_deref(), Some("2"));
        assert_eq!(at("near", change).as_deref(), Some("8"));
        assert_eq!(at("near", 0).as_deref(), Some("9"));
        assert!(find(&prices, "far", "other", Millis(change)).is_none());
    }

    #[test]
    fn micros_are_shown_as_dollars_without_rounding() {
        for (micros, shown) in [
            (0, "0.000000"),
            (1234, "0.001234"),
            (1_000_000, "1.000000"),
            (12_345_678, "12.345678"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(Micros(micros).to_string(), shown);
        }
        assert_eq!(Micros(u64::MAX).plus(Micros(1)), Micros(u64::MAX));
        assert_eq!(Micros(u64::MAX).checked_add(Micros(1)), None);
        assert_eq!(Micros(1).minus(Micros(2)), Micros::ZERO);
    }

    #[test]
    fn the_largest_counts_at_the_largest_prices_do_not_overflow() {
        let dear = price(json!({
            "input": 100_000.0, "output": 100_000.0, "per_image": 100_000.0, "per_second": 100_000.0,
        }));
        let most = Consumed {
            usage: usage(u64::MAX, 0, 0, u64::MAX, u64::MAX),
            images: u64::MAX,
            audio: Millis(u64::MAX),
            characters: u64::MAX,
            audio_estimated: false,
        };
        assert_eq!(cost(&most, &dear), Micros(u64::MAX));
    }

    /// A price as the operator writes it, in millionths of a dollar, and its oracle: the sum as a fraction of big
    /// integers with a denominator that every term divides (millionths of a dollar per 4 × 10⁹ units).
    const SCALE: u128 = 4_000_000_000;

    fn dollars(millionths: u64) -> f64 {
        format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
            .parse()
            .unwrap()
    }

    proptest! {
        #[test]
        fn the_cost_is_that_of_the_big_integers(
            parts in prop::array::uniform6(0_u64..2_000_000_000),
            prices in prop::array::uniform3(0_u64..200_000_000),
            per in prop::array::uniform3(0_u64..90_000_000),
            more in (0_u64..100, 0_u64..10_000_000, 0_u64..10_000_000),
        ) {
            let [fresh, cached, written_5m, written_1h, spoken, reasoning] = parts;
            let [input, output, cached_input] = prices;
            let [image, second, characters] = per;
            let price = price(json!({
                "input": dollars(input), "output": dollars(output), "cached_input": dollars(cached_input),
                "per_image": dollars(image), "per_second": dollars(second),
                "per_million_characters": dollars(characters),
            }));
            let consumed = Consumed {
                usage: Usage {
                    input: fresh + cached + written_5m + written_1h,
                    cached, written_5m, written_1h,
                    output: spoken + reasoning,
                    reasoning,
                    estimated: false,
                },
                images: more.0,
                audio: Millis(more.1),
                characters: more.2,
                audio_estimated: false,
            };
            let wide = |n: u64| u128::from(n);
            let per_million = SCALE / 1_000_000;
            let sum = (wide(fresh) * wide(input)
                + wide(cached) * wide(cached_input)
                + wide(written_1h) * wide(input) * 2
                + wide(spoken + reasoning) * wide(output)
                + wide(more.2) * wide(characters)) * per_million
                + wide(written_5m) * wide(input) * 5 * (per_million / 4)
                + wide(more.0) * wide(image) * SCALE
                + wide(more.1) * wide(second) * (SCALE / 1000);
            prop_assert_eq!(u128::from(cost(&consumed, &price).0), sum.div_ceil(SCALE));
        }

        #[test]
        fn more_of_anything_never_costs_less(
            counts in prop::array::uniform6(0_u64..1_000_000),
            prices in prop::array::uniform2(0_u64..50_000_000),
            which in 0_usize..5,
            more in 0_u64..1_000_000,
        ) {
            let price = price(json!({
                "input": dollars(prices[0]), "output": dollars(prices[1]),
                "per_image": 0.01, "per_second": 0.0001, "per_million_characters": 15.0,
            }));
            let consumed = |n: [u64; 6]| Consumed {
                usage: Usage { input: n[0], output: n[1], reasoning: n[5].min(n[1]), ..Usage::default() },
                images: n[2],
                audio: Millis(n[3]),
                characters: n[4],
                audio_estimated: false,
            };
            let mut larger = counts;
            larger[which] += more;
            prop_assert!(cost(&consumed(counts), &price) <= cost(&consumed(larger), &price));
        }

        /// A provider that reports more cached than input must not make the rest negative or huge.
        #[test]
        fn contradictory_counts_stay_within_the_total(
            input in 0_u64..1_000_000, parts in prop::array::uniform3(any::<u64>()),
            output in 0_u64..1_000_000, reasoning in any::<u64>(),
        ) {
            let same = price(json!({
                "input": 1.0, "output": 1.0, "cached_input": 1.0, "cache_write_5m": 1.0, "cache_write_1h": 1.0,
            }));
            let usage = Usage {
                input, cached: parts[0], written_5m: parts[1], written_1h: parts[2], output, reasoning,
                estimated: false,
            };
            prop_assert_eq!(cost(&usage.into(), &same), Micros(input + output));
        }

        /// The embedded configuration is JSON: no price may change on the way through it.
        #[test]
        fn a_price_survives_the_embedding(millionths in 0_u64..=100_000_000_000) {
            let before = dollars(millionths);
            let after: f64 = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
            let consumed = Consumed { images: 1, ..Consumed::default() };
            let cost = cost(&consumed, &price(json!({"per_image": after})));
            prop_assert_eq!(cost, Micros(millionths));
        }
    }
}
