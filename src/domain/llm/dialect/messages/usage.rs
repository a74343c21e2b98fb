//! Usage as Anthropic reports it: `input_tokens` leaves out what the prompt cache read and wrote, and a stream reports
//! twice, the later report cumulative over the earlier.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::llm::message::Usage;

/// What the provider said; what it left out, and what is no count, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    input: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    written_5m: Option<u64>,
    written_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Wire<'a> {
    input_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    #[serde(borrow)]
    cache_creation: Option<&'a RawValue>,
    output_tokens: Count,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Creation {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Details {
    thinking_tokens: Count,
}

impl Report {
    /// Reads a usage object. `None` when it is no object or has no count in it.
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let wire: Wire<'_> = fields(raw)?;
        let creation: Creation = inner(wire.cache_creation);
        let details: Details = inner(wire.output_tokens_details);
        let report = Self {
            input: wire.input_tokens.0,
            read: wire.cache_read_input_tokens.0,
            written: wire.cache_creation_input_tokens.0,
            written_5m: creation.ephemeral_5m_input_tokens.0,
            written_1h: creation.ephemeral_1h_input_tokens.0,
            output: wire.output_tokens.0,
            thinking: details.thinking_tokens.0,
        };
        (report != Self::default()).then_some(report)
    }

    /// Lays a later report over an earlier one.
    pub(super) fn over(self, earlier: Self) -> Self {
        Self {
            input: self.input.or(earlier.input),
            read: self.read.or(earlier.read),
            written: self.written.or(earlier.written),
            written_5m: self.written_5m.or(earlier.written_5m),
            written_1h: self.written_1h.or(earlier.written_1h),
            output: self.output.or(earlier.output),
            thinking: self.thinking.or(earlier.thinking),
        }
    }

    /// The normal form. Where the total and the lifetimes differ, the greater counts; what has no lifetime was written
    /// for five minutes.
    pub(super) fn normal(self) -> Usage {
        let by_lifetime = self
            .written_5m
            .unwrap_or(0)
            .saturating_add(self.written_1h.unwrap_or(0));
        let written = self.written.unwrap_or(0).max(by_lifetime);
        let written_1h = self.written_1h.unwrap_or(0);
        let cached = self.read.unwrap_or(0);
        let output = self.output.unwrap_or(0);
        Usage {
            input: self
                .input
                .unwrap_or(0)
                .saturating_add(cached)
                .saturating_add(written),
            cached,
            written_5m: written.saturating_sub(written_1h),
            written_1h,
            output,
            reasoning: self.thinking.unwrap_or(0).min(output),
            estimated: false,
        }
    }
}

fn inner<'a, T: Default + serde::Deserialize<'a>>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(fields).unwrap_or_default()
}

/// Objects alone: serde would take a list for the fields in their order.
fn fields<'a, T: serde::Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    let json = raw.get();
    json.starts_with('{')
        .then(|| serde_json::from_str(json).ok())
        .flatten()
}

/// Usage of a whole answer and of `message_start`: every field that the SDK's `Usage` declares.
pub(super) fn of_message(usage: Usage) -> Value {
    let Some(mut fields) = counts(usage) else {
        return Value::Null;
    };
    fields.insert(
        "cache_creation".into(),
        json!({
            "ephemeral_5m_input_tokens": usage.written_5m,
            "ephemeral_1h_input_tokens": usage.written_1h,
        }),
    );
    for name in ["inference_geo", "service_tier", "speed"] {
        fields.insert(name.into(), Value::Null);
    }
    Value::Object(fields)
}

/// Usage of `message_delta`: every field that the SDK's `MessageDeltaUsage` declares. Null leaves what `message_start`
/// said as it is.
pub(super) fn of_delta(usage: Option<Usage>) -> Value {
    match usage.and_then(counts) {
        Some(fields) => Value::Object(fields),
        None => json!({
            "input_tokens": null,
            "cache_read_input_tokens": null,
            "cache_creation_input_tokens": null,
            "output_tokens": 0,
            "output_tokens_details": null,
            "server_tool_use": null,
        }),
    }
}

fn counts(usage: Usage) -> Option<serde_json::Map<String, Value>> {
    let written = usage.written_5m.saturating_add(usage.written_1h);
    let details = (usage.reasoning > 0).then(|| json!({"thinking_tokens": usage.reasoning}));
    let fields = json!({
        "input_tokens": usage.input.saturating_sub(usage.cached).saturating_sub(written),
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": written,
        "output_tokens": usage.output,
        "output_tokens_details": details,
        "server_tool_use": null,
    });
    match fields {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// A count of tokens, read from whatever stands there: what is no count is absent, never an error.
#[derive(Clone, Copy, Default)]
struct Count(Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count(Some(count)))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(count).ok()))
    }

    fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
        // 2^53: up to there a float holds whole numbers exactly.
        let whole = (0.0..=9_007_199_254_740_992.0).contains(&count);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range just tested"
        )]
        let count = count as u64;
        Ok(Count(whole.then_some(count)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, of_message};
    use crate::domain::llm::message::Usage;
    use proptest::prelude::*;
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    fn read(usage: &Value) -> Option<Usage> {
        Report::read(&to_raw_value(usage).unwrap()).map(Report::normal)
    }

    #[test]
    fn input_includes_what_the_cache_read_and_wrote_by_lifetime() {
        let usage = json!({
            "input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 15,
            "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 10},
            "output_tokens": 30, "output_tokens_details": {"thinking_tokens": 10},
        });
        let expected = Usage {
            input: 120,
            cached: 100,
            written_5m: 5,
            written_1h: 10,
            output: 30,
            reasoning: 10,
            estimated: false,
        };
        assert_eq!(read(&usage), Some(expected));
    }

    #[test]
    fn what_is_no_count_is_absent_and_never_an_error() {
        for nonsense in [
            json!(-5),
            json!("7"),
            json!(null),
            json!(true),
            json!([1]),
            json!({"a": 1}),
            json!(-1.5),
            json!(1e300),
        ] {
            let usage = json!({
                "input_tokens": nonsense, "cache_creation": nonsense, "output_tokens": 3,
                "output_tokens_details": nonsense, "cache_read_input_tokens": nonsense,
            });
            let expected = Usage {
                output: 3,
                ..Usage::default()
            };
            assert_eq!(read(&usage), Some(expected), "{nonsense}");
            assert_eq!(read(&nonsense), None, "{nonsense}");
        }
        assert_eq!(read(&json!({})), None);
        assert_eq!(read(&json!({"output_tokens": 3.0})).unwrap().output, 3);
    }

    #[test]
    fn where_total_and_lifetimes_differ_the_greater_counts() {
        for (total, expected) in [
            (json!(null), (30, 10, 20)),
            (json!(5), (30, 10, 20)),
            (json!(35), (35, 15, 20)),
        ] {
            let usage = json!({
                "input_tokens": 0, "cache_creation_input_tokens": total,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            });
            let usage = read(&usage).unwrap();
            assert_eq!((usage.input, usage.written_5m, usage.written_1h), expected);
        }
    }

    #[test]
    fn thinking_never_exceeds_the_output_and_sums_never_overflow() {
        let usage = json!({
            "input_tokens": u64::MAX, "cache_read_input_tokens": u64::MAX, "output_tokens": 2,
            "output_tokens_details": {"thinking_tokens": 9},
        });
        let usage = read(&usage).unwrap();
        assert_eq!((usage.input, usage.reasoning), (u64::MAX, 2));
    }

    proptest! {
        #[test]
        fn usage_survives_being_written(parts in [0u64..1000, 0..1000, 0..1000, 0..1000, 0..1000], reasoning in 0u64..1000) {
            let [fresh, cached, written_5m, written_1h, output] = parts;
            let usage = Usage {
                input: fresh + cached + written_5m + written_1h,
                cached, written_5m, written_1h, output,
                reasoning: reasoning.min(output),
                estimated: false,
            };
            prop_assert_eq!(read(&of_message(usage)), Some(usage));
        }
    }
}
