//! What providers charge.

use serde::{Deserialize, Serialize};

use super::fault::Faults;
use super::format::is_date;
use super::provider::Provider;

/// `[[price]]`, in US dollars: token prices per million tokens.
///
/// Several entries may name one model; the newest that is already valid counts, and an entry with the provider's name
/// goes before one without.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The provider's model.
    pub model: String,
    /// Only with this provider; any when absent.
    #[serde(default)]
    pub provider: Option<String>,
    /// The first day on which it is charged (`YYYY-MM-DD`, UTC); from ever when absent.
    #[serde(default)]
    pub valid_from: Option<String>,
    /// Input.
    #[serde(default)]
    pub input: f64,
    /// Output.
    #[serde(default)]
    pub output: f64,
    /// Input read from the provider's prompt cache; the same as `input` when absent.
    #[serde(default)]
    pub cached_input: Option<f64>,
    /// Input written to the prompt cache for five minutes; 1.25 × `input` when absent.
    #[serde(default)]
    pub cache_write_5m: Option<f64>,
    /// Input written to the prompt cache for an hour; 2 × `input` when absent.
    #[serde(default)]
    pub cache_write_1h: Option<f64>,
    /// Reasoning, which is part of the output; the same as `output` when absent.
    #[serde(default)]
    pub reasoning: Option<f64>,
    /// One image made.
    #[serde(default)]
    pub per_image: Option<f64>,
    /// One second of audio.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// A million characters read aloud.
    #[serde(default)]
    pub per_million_characters: Option<f64>,
    /// One request, whatever it takes.
    #[serde(default)]
    pub per_request: Option<f64>,
    /// The most tokens that one image counts, sent or made: what a budget reserves for it.
    #[serde(default)]
    pub max_image_tokens: Option<u64>,
    /// The longest sound of one request in seconds: what a budget reserves for it.
    #[serde(default)]
    pub max_seconds: Option<u64>,
}

impl Price {
    /// Every amount with the name of its key.
    const fn amounts(&self) -> [(&'static str, Option<f64>); 10] {
        [
            ("input", Some(self.input)),
            ("output", Some(self.output)),
            ("cached_input", self.cached_input),
            ("cache_write_5m", self.cache_write_5m),
            ("cache_write_1h", self.cache_write_1h),
            ("reasoning", self.reasoning),
            ("per_image", self.per_image),
            ("per_second", self.per_second),
            ("per_million_characters", self.per_million_characters),
            ("per_request", self.per_request),
        ]
    }
}

/// More than any price and little enough for exact arithmetic, in dollars.
const MAX_AMOUNT: f64 = 100_000.0;

/// Decimals that are kept: a millionth of a dollar per million tokens.
pub const DECIMALS: usize = 6;

pub(super) fn check_prices(prices: &[Price], providers: &[Provider], faults: &mut Faults) {
    for (i, price) in prices.iter().enumerate() {
        let key = |name: &str| format!("price[{i}].{name}");
        faults.unless(!price.model.is_empty(), key("model"), "must not be empty");
        for (name, amount) in price.amounts() {
            let Some(amount) = amount else { continue };
            faults.unless(
                (0.0..=MAX_AMOUNT).contains(&amount),
                key(name),
                "must be US dollars between 0 and 100000",
            );
            faults.unless(
                decimals(amount) <= DECIMALS,
                key(name),
                "must have at most 6 decimals",
            );
        }
        if let Some(name) = &price.provider {
            faults.unless(
                providers.iter().any(|provider| provider.name == *name),
                key("provider"),
                format!("there is no provider named \"{name}\""),
            );
        }
        if let Some(date) = &price.valid_from {
            faults.unless(
                is_date(date),
                key("valid_from"),
                "must be a date, YYYY-MM-DD",
            );
        }
        let same = |other: &Price| {
            other.model == price.model
                && other.provider == price.provider
                && other.valid_from == price.valid_from
        };
        faults.unless(
            !prices.iter().take(i).any(same),
            key("model"),
            "stands twice with the same provider and valid_from",
        );
    }
}

/// Decimals of a number as it is written: the shortest text that means it, which is what the file says.
fn decimals(amount: f64) -> usize {
    let text = amount.to_string();
    text.split_once('.').map_or(0, |(_, after)| after.len())
}
