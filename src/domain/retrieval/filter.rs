//! Which files a search is narrowed to: OpenAI's comparison and compound filters over attributes.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::base::errors::Refusal;
use crate::domain::llm::request::{invalid, missing};

/// How deep filters may stand in each other, and how many there may be.
const MAX_DEPTH: usize = 8;
const MAX_FILTERS: usize = 64;

/// A filter that is well-formed.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// An attribute against a value.
    Compare(String, Test, Value),
    /// All of them, or at least one.
    Compound(bool, Vec<Filter>),
}

/// How an attribute is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// The orders that fit, or that do not: less, equal, greater.
    Order([bool; 3]),
    /// The value is the same. A file without the attribute has another.
    Same(bool),
    /// One of the values is the same.
    Among(bool),
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// `missing_parameter`, `invalid_parameter`
    pub fn read(given: &Value) -> Result<Self, Refusal> {
        read(given, MAX_DEPTH, &mut 0)
    }

    /// Does a file with these attributes pass?
    #[must_use]
    pub fn passes(&self, attributes: &Map<String, Value>) -> bool {
        match self {
            Self::Compound(all, filters) if *all => filters.iter().all(|f| f.passes(attributes)),
            Self::Compound(_, filters) => filters.iter().any(|f| f.passes(attributes)),
            Self::Compare(key, test, value) => {
                let own = attributes.get(key);
                match test {
                    Test::Same(wanted) => is_same(own, value) == *wanted,
                    Test::Among(wanted) => {
                        let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
                        values.iter().any(|value| is_same(own, value)) == *wanted
                    }
                    Test::Order(fitting) => {
                        let order = own.and_then(|own| order(own, value));
                        let [less, equal, greater] = *fitting;
                        match order {
                            Some(Ordering::Less) => less,
                            Some(Ordering::Equal) => equal,
                            Some(Ordering::Greater) => greater,
                            None => false,
                        }
                    }
                }
            }
        }
    }
}

fn read(given: &Value, depth: usize, seen: &mut usize) -> Result<Filter, Refusal> {
    *seen = seen.saturating_add(1);
    if depth == 0 || *seen > MAX_FILTERS {
        return Err(invalid("filters", "must be at most 64, at most 8 deep"));
    }
    let Value::Object(fields) = given else {
        return Err(invalid("filters", "must be an object"));
    };
    let kind = fields.get("type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| missing("filters.type"))?;
    if matches!(kind, "and" | "or") {
        let Some(Value::Array(filters)) = fields.get("filters") else {
            return Err(missing("filters.filters"));
        };
        let filters = filters
            .iter()
            .map(|filter| read(filter, depth.saturating_sub(1), seen));
        let filters: Vec<Filter> = filters.collect::<Result<_, _>>()?;
        return Ok(Filter::Compound(kind == "and", filters));
    }
    let test = match kind {
        "eq" => Test::Same(true),
        "ne" => Test::Same(false),
        "in" => Test::Among(true),
        "nin" => Test::Among(false),
        "lt" => Test::Order([true, false, false]),
        "lte" => Test::Order([true, true, false]),
        "gt" => Test::Order([false, false, true]),
        "gte" => Test::Order([false, true, true]),
        _ => {
            let rule = "must be one of eq, ne, gt, gte, lt, lte, in, nin, and, or";
            return Err(invalid("filters.type", rule));
        }
    };
    let key = fields.get("key").and_then(Value::as_str);
    let key = key.ok_or_else(|| missing("filters.key"))?;
    let value = fields
        .get("value")
        .ok_or_else(|| missing("filters.value"))?;
    let fine = match (test, value) {
        (Test::Among(_), Value::Array(values)) => values.iter().all(is_plain),
        (Test::Among(_), _) => false,
        (Test::Order(_), Value::Bool(_)) => false,
        (_, value) => is_plain(value),
    };
    if !fine {
        let rule = "must be a text, a number or a boolean that can be compared so, or a list for in and nin";
        return Err(invalid("filters.value", rule));
    }
    Ok(Filter::Compare(key.to_owned(), test, value.clone()))
}

const fn is_plain(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

fn is_same(own: Option<&Value>, value: &Value) -> bool {
    own.is_some_and(|own| own == value || order(own, value) == Some(Ordering::Equal))
}

/// Numbers by size, texts by their characters; anything else cannot be compared.
fn order(own: &Value, value: &Value) -> Option<Ordering> {
    match (own, value) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use serde_json::{Value, json};

    #[test]
    fn each_comparison_passes_what_it_says() {
        let attributes = json!({"year": 2024, "team": "blue", "open": true, "share": 0.5});
        let attributes = attributes.as_object().unwrap();
        for (kind, key, value, expected) in [
            ("eq", "year", json!(2024), true),
            ("eq", "year", json!(2024.0), true),
            ("eq", "year", json!("2024"), false),
            ("eq", "open", json!(true), true),
            ("eq", "none", json!(1), false),
            ("ne", "team", json!("red"), true),
            ("ne", "team", json!("blue"), false),
            ("ne", "none", json!("red"), true),
            ("gt", "year", json!(2023), true),
            ("gt", "year", json!(2024), false),
            ("gte", "year", json!(2024), true),
            ("lt", "share", json!(0.6), true),
            ("lt", "share", json!(0.5), false),
            ("lte", "team", json!("blue"), true),
            ("lte", "team", json!("a"), false),
            ("lt", "year", json!("3000"), false),
            ("gt", "none", json!(0), false),
            ("in", "team", json!(["red", "blue"]), true),
            ("in", "year", json!([1, 2]), false),
            ("nin", "year", json!([1, 2]), true),
            ("nin", "team", json!(["blue"]), false),
            ("nin", "none", json!(["blue"]), true),
        ] {
            let filter = Filter::read(&json!({"type": kind, "key": key, "value": value})).unwrap();
            assert_eq!(filter.passes(attributes), expected, "{kind} {key} {value}");
        }
        let is = |year: u32| json!({"type": "eq", "key": "year", "value": year});
        let both = |kind: &str, one: Value, two: Value| {
            let filter = json!({"type": kind, "filters": [one, two]});
            Filter::read(&filter).unwrap().passes(attributes)
        };
        assert!(both("or", is(1), is(2024)) && !both("and", is(1), is(2024)));
        assert!(both("and", is(2024), is(2024)) && !both("or", is(1), is(2)));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let mut deep = json!({"type": "eq", "key": "a", "value": 1});
        for _ in 0..8 {
            deep = json!({"type": "and", "filters": [deep]});
        }
        let many: Vec<Value> = (0..64)
            .map(|n| json!({"type": "eq", "key": "a", "value": n}))
            .collect();
        for bad in [
            json!([]),
            json!({}),
            json!({"type": "like", "key": "a", "value": 1}),
            json!({"type": "eq", "value": 1}),
            json!({"type": "eq", "key": "a"}),
            json!({"type": "eq", "key": "a", "value": null}),
            json!({"type": "eq", "key": "a", "value": [1]}),
            json!({"type": "in", "key": "a", "value": 1}),
            json!({"type": "in", "key": "a", "value": [[1]]}),
            json!({"type": "gt", "key": "a", "value": true}),
            json!({"type": "and"}),
            json!({"type": "or", "filters": many}),
            deep,
        ] {
            assert!(Filter::read(&bad).is_err(), "{bad}");
        }
    }
}
