//! Does a text follow a JSON Schema? The keywords that providers accept for structured output (draft 2020-12), and a few
//! more; keywords that are not known say nothing, as the standard has it.

use core::cell::Cell;

use serde_json::{Map, Value};

/// Deepest nesting that is followed, `$ref` included: a schema may refer to itself.
const MAX_DEPTH: u32 = 64;

/// Most steps of one judgement: alternatives of alternatives grow without bounds, and schemas come from anybody.
const MAX_STEPS: u32 = 20_000;

/// Where and why a text does not follow a schema; `None` when it does, and when that cannot be told: a schema that is
/// nested too deeply, takes too long, or refers to something that is not in it says nothing.
#[must_use]
pub fn fault(schema: &Value, text: &str) -> Option<String> {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Some("not JSON".to_owned());
    };
    let judge = Judge {
        root: schema,
        steps: Cell::new(0),
        undecided: Cell::new(false),
    };
    let fault = judge.fault(schema, &value, "$", 0);
    fault.filter(|_| !judge.undecided.get())
}

struct Judge<'s> {
    root: &'s Value,
    steps: Cell<u32>,
    /// Nothing can be told any more.
    undecided: Cell<bool>,
}

impl Judge<'_> {
    fn fault(&self, schema: &Value, value: &Value, at: &str, depth: u32) -> Option<String> {
        let rules = match schema {
            Value::Bool(true) => return None,
            Value::Bool(false) => return Some(format!("{at}: nothing is allowed here")),
            Value::Object(rules) => rules,
            _ => return None,
        };
        self.steps.set(self.steps.get().saturating_add(1));
        if depth > MAX_DEPTH || self.steps.get() > MAX_STEPS {
            self.undecided.set(true);
        }
        if self.undecided.get() {
            return None;
        }
        let next = depth.saturating_add(1);
        if let Some(reference) = rules.get("$ref").and_then(Value::as_str) {
            let Some(target) = self.root.pointer(reference.trim_start_matches('#')) else {
                self.undecided.set(true);
                return None;
            };
            if let Some(fault) = self.fault(target, value, at, next) {
                return Some(fault);
            }
        }
        if let Some(kinds) = rules.get("type")
            && !is_of(kinds, value)
        {
            return Some(format!("{at}: must be {kinds}"));
        }
        if let Some(Value::Array(allowed)) = rules.get("enum")
            && !allowed.contains(value)
        {
            return Some(format!("{at}: is none of the allowed values"));
        }
        if rules.get("const").is_some_and(|only| only != value) {
            return Some(format!("{at}: is not the one allowed value"));
        }
        self.combined(rules, value, at, next)
            .or_else(|| match value {
                Value::Object(fields) => self.object(rules, fields, at, next),
                Value::Array(items) => self.array(rules, items, at, next),
                Value::String(text) => bounds(rules, text.chars().count(), "Length", at),
                Value::Number(number) => range(rules, number.as_f64()?, at),
                _ => None,
            })
    }

    fn combined(
        &self,
        rules: &Map<String, Value>,
        value: &Value,
        at: &str,
        depth: u32,
    ) -> Option<String> {
        let list = |name: &str| rules.get(name).and_then(Value::as_array);
        let passes = |schema: &Value| self.fault(schema, value, at, depth).is_none();
        if let Some(all) = list("allOf")
            && let Some(fault) = all.iter().find_map(|s| self.fault(s, value, at, depth))
        {
            return Some(fault);
        }
        if let Some(any) = list("anyOf")
            && !any.iter().any(passes)
        {
            return Some(format!("{at}: follows none of anyOf"));
        }
        if let Some(one) = list("oneOf")
            && one.iter().filter(|s| passes(s)).count() != 1
        {
            return Some(format!("{at}: does not follow exactly one of oneOf"));
        }
        let not = rules.get("not")?;
        passes(not).then(|| format!("{at}: follows what it must not"))
    }

    fn object(
        &self,
        rules: &Map<String, Value>,
        fields: &Map<String, Value>,
        at: &str,
        depth: u32,
    ) -> Option<String> {
        if let Some(Value::Array(required)) = rules.get("required") {
            let missing = required
                .iter()
                .filter_map(Value::as_str)
                .find(|name| !fields.contains_key(*name));
            if let Some(name) = missing {
                return Some(format!("{at}.{name}: is missing"));
            }
        }
        let known = rules.get("properties").and_then(Value::as_object);
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            let own = known.and_then(|known| known.get(name));
            let fault = match (own, rules.get("additionalProperties")) {
                (Some(own), _) => self.fault(own, value, &at, depth),
                (None, Some(other)) => self.fault(other, value, &at, depth),
                (None, None) => None,
            };
            if fault.is_some() {
                return fault;
            }
        }
        bounds(rules, fields.len(), "Properties", at)
    }

    fn array(
        &self,
        rules: &Map<String, Value>,
        items: &[Value],
        at: &str,
        depth: u32,
    ) -> Option<String> {
        let first = rules.get("prefixItems").and_then(Value::as_array);
        for (i, item) in items.iter().enumerate() {
            let own = first.and_then(|first| first.get(i)).or(rules.get("items"));
            let fault = own.and_then(|s| self.fault(s, item, &format!("{at}[{i}]"), depth));
            if fault.is_some() {
                return fault;
            }
        }
        bounds(rules, items.len(), "Items", at)
    }
}

fn is_of(kinds: &Value, value: &Value) -> bool {
    let one = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        // 1.0 is an integer too (JSON Schema Core §6.3).
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        _ => true,
    };
    match kinds {
        Value::String(kind) => one(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(one),
        _ => true,
    }
}

/// `minLength`, `maxItems` and their like.
fn bounds(rules: &Map<String, Value>, count: usize, what: &str, at: &str) -> Option<String> {
    let limit = |side: &str| rules.get(&format!("{side}{what}")).and_then(Value::as_u64);
    let count = count as u64;
    let short = limit("min").is_some_and(|least| count < least);
    let long = limit("max").is_some_and(|most| count > most);
    (short || long).then(|| format!("{at}: its size is out of bounds"))
}

fn range(rules: &Map<String, Value>, number: f64, at: &str) -> Option<String> {
    let limit = |name: &str| rules.get(name).and_then(Value::as_f64);
    let out = limit("minimum").is_some_and(|least| number < least)
        || limit("maximum").is_some_and(|most| number > most)
        || limit("exclusiveMinimum").is_some_and(|least| number <= least)
        || limit("exclusiveMaximum").is_some_and(|most| number >= most);
    out.then(|| format!("{at}: is out of range"))
}

#[cfg(test)]
mod tests {
    use super::fault;
    use serde_json::{Value, json};

    fn follows(schema: &Value, value: &Value) -> bool {
        fault(schema, &value.to_string()).is_none()
    }

    #[test]
    fn what_providers_accept_as_a_schema_is_held() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 1},
                "degrees": {"type": ["number", "null"], "minimum": -90, "exclusiveMaximum": 90},
                "sky": {"enum": ["clear", "grey"]},
                "days": {"type": "array", "items": {"$ref": "#/$defs/day"}, "maxItems": 2},
            },
            "required": ["city", "degrees"],
            "additionalProperties": false,
            "$defs": {"day": {"type": "integer"}},
        });
        let good = json!({"city": "Rome", "degrees": 21.5, "sky": "clear", "days": [1, 2.0]});
        assert!(follows(&schema, &good));
        assert!(follows(&schema, &json!({"city": "Rome", "degrees": null})));
        for (field, value) in [
            ("city", json!("")),
            ("city", json!(1)),
            ("degrees", json!("21")),
            ("degrees", json!(90)),
            ("degrees", json!(-91)),
            ("sky", json!("blue")),
            ("days", json!([1.5])),
            ("days", json!([1, 2, 3])),
            ("wind", json!(1)),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(!follows(&schema, &bad), "{field}");
        }
        assert!(!follows(&schema, &json!({"city": "Rome"})));
        assert!(!follows(&schema, &json!([])));
        assert!(fault(&schema, "Rome, 21 degrees").is_some());
    }

    #[test]
    fn alternatives() {
        let schema = json!({"anyOf": [{"type": "string"}, {"const": 1}], "not": {"const": "no"}});
        assert!(follows(&schema, &json!("yes")) && follows(&schema, &json!(1)));
        assert!(!follows(&schema, &json!(2)) && !follows(&schema, &json!("no")));
        let one = json!({"oneOf": [{"type": "number"}, {"type": "integer"}]});
        assert!(follows(&one, &json!(1.5)) && !follows(&one, &json!(1)));
        let all = json!({"allOf": [{"minimum": 1}, {"maximum": 2}]});
        assert!(follows(&all, &json!(1.5)) && !follows(&all, &json!(3)));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let list = json!({
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
            "$ref": "#/$defs/node",
        });
        assert!(follows(&list, &json!({"next": {"next": {}}})));
        assert!(!follows(&list, &json!({"next": {"next": 1}})));
    }

    #[test]
    fn a_schema_that_cannot_be_judged_says_nothing() {
        assert!(follows(&json!({"$ref": "#"}), &json!(1)), "endless");
        let elsewhere = json!({"$ref": "https://schemas.example/day", "type": "string"});
        assert!(follows(&elsewhere, &json!(1)), "not in the schema");
        assert!(fault(&elsewhere, "no JSON").is_some());
        // Each level asks the next one three times: 3^25 steps.
        let mut defs = serde_json::Map::new();
        for level in 0..25 {
            let next = json!({"$ref": format!("#/$defs/{}", level + 1)});
            let bomb = json!({"anyOf": [{"allOf": [next, false]}, {"allOf": [next, false]}, next]});
            defs.insert(level.to_string(), bomb);
        }
        defs.insert("25".into(), json!(false));
        let bomb = json!({"$defs": defs, "$ref": "#/$defs/0"});
        assert!(follows(&bomb, &json!({"a": 1})));
    }

    #[test]
    fn fields_of_a_dictionary_follow_the_schema_for_the_rest() {
        let schema = json!({"type": "object", "additionalProperties": {"type": "number"}});
        assert!(follows(&schema, &json!({"a": 1})) && !follows(&schema, &json!({"a": "1"})));
        let tuple = json!({"prefixItems": [{"type": "string"}], "items": false});
        assert!(follows(&tuple, &json!(["a"])) && !follows(&tuple, &json!(["a", 1])));
    }
}
