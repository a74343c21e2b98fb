//! Holds a value against a JSON schema, as far as the file uses JSON Schema. A keyword that is not known here fails the
//! test: nothing is passed over in silence.

use serde_json::{Map, Value};

/// Keywords that say nothing about a value.
const NOTES: [&str; 7] = [
    "description",
    "title",
    "format",
    "default",
    "examples",
    "$schema",
    "deprecated",
];

/// Holds values against the schemas of a document.
pub struct Schemas<'a> {
    document: &'a Value,
    /// Must every property be named by its schema? So for answers: what is not in the file must not be told.
    closed: bool,
}

impl<'a> Schemas<'a> {
    pub fn of(document: &'a Value, closed: bool) -> Self {
        Self { document, closed }
    }

    /// What is wrong with a value; empty when nothing is.
    pub fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.hold(schema, value, "", &mut faults);
        faults
    }

    fn hold(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let Value::Object(schema) = schema else {
            assert_eq!(schema, &Value::Bool(true), "{at}: an impossible schema");
            return;
        };
        for (keyword, says) in schema {
            self.keyword(schema, keyword, says, value, at, faults);
        }
        if let (true, Some(Value::Object(named)), Value::Object(fields)) =
            (self.closed, schema.get("properties"), value)
            && !schema.contains_key("additionalProperties")
        {
            for name in fields.keys().filter(|name| !named.contains_key(*name)) {
                faults.push(format!("{at}/{name} is not in the schema"));
            }
        }
    }

    fn keyword(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        says: &Value,
        value: &Value,
        at: &str,
        faults: &mut Vec<String>,
    ) {
        let mut unless = |fine: bool, what: &str| {
            if !fine {
                faults.push(format!("{at}: {what} {says}, and it is {value}"));
            }
        };
        let items = value.as_array().map(Vec::len);
        let characters = value.as_str().map(|text| text.chars().count());
        let bound = |given: Option<usize>, fits: fn(u64, u64) -> bool| {
            given.is_none_or(|given| fits(given as u64, says.as_u64().unwrap()))
        };
        match keyword {
            "type" => {
                let fits = match says {
                    Value::Array(types) => types.iter().any(|one| is(one, value)),
                    one => is(one, value),
                };
                unless(fits, "must be");
            }
            "enum" => unless(says.as_array().unwrap().contains(value), "must be one of"),
            "const" => unless(says == value, "must be"),
            "minimum" => unless(
                value.as_f64().is_none_or(|n| n >= says.as_f64().unwrap()),
                "must be at least",
            ),
            "maximum" => unless(
                value.as_f64().is_none_or(|n| n <= says.as_f64().unwrap()),
                "must be at most",
            ),
            "minItems" => unless(bound(items, |a, b| a >= b), "needs items"),
            "maxItems" => unless(bound(items, |a, b| a <= b), "has at most"),
            "minLength" => unless(bound(characters, |a, b| a >= b), "needs characters"),
            "maxLength" => unless(bound(characters, |a, b| a <= b), "has at most"),
            "required" => {
                for name in says.as_array().unwrap() {
                    if value
                        .as_object()
                        .is_some_and(|fields| !fields.contains_key(name.as_str().unwrap()))
                    {
                        faults.push(format!("{at}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in says.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        self.hold(schema, value, &format!("{at}/{name}"), faults);
                    }
                }
            }
            "additionalProperties" => {
                let named = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if named.is_some_and(|named| named.contains_key(name)) {
                        continue;
                    }
                    match says {
                        Value::Bool(false) => faults.push(format!("{at}/{name} is not known")),
                        schema => self.hold(schema, value, &format!("{at}/{name}"), faults),
                    }
                }
            }
            "items" => {
                for (i, value) in value.as_array().into_iter().flatten().enumerate() {
                    self.hold(says, value, &format!("{at}/{i}"), faults);
                }
            }
            "$ref" => self.hold(
                resolve(self.document, says.as_str().unwrap()),
                value,
                at,
                faults,
            ),
            "oneOf" | "anyOf" => {
                let fitting = says
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|schema| self.faults(schema, value).is_empty())
                    .count();
                let fine = fitting == 1 || keyword == "anyOf" && fitting > 0;
                unless(fine, "must fit one of");
            }
            note => assert!(
                NOTES.contains(&note),
                "{at}: the keyword {note} is not understood"
            ),
        }
    }
}

fn is(one: &Value, value: &Value) -> bool {
    match one.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("{other} is no type"),
    }
}

/// What a reference within the document names.
pub fn resolve<'a>(document: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference
        .strip_prefix('#')
        .expect("a reference within the file");
    document
        .pointer(pointer)
        .unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

#[test]
fn a_value_is_held_to_each_keyword() {
    use serde_json::json;
    let document = json!({"components": {"schemas": {"Word": {"type": "string", "maxLength": 3}}}});
    let word = json!({"$ref": "#/components/schemas/Word"});
    let object = json!({"type": "object", "required": ["a"], "properties": {"a": word, "b": {"type": ["integer", "null"], "minimum": 1, "maximum": 9}}});
    for (closed, schema, value, faults) in [
        (true, &object, json!({"a": "x"}), 0),
        (true, &object, json!({"a": "long", "b": 0}), 2),
        (true, &object, json!({"b": 10}), 2),
        (true, &object, json!({"a": "x", "c": 1}), 1),
        (false, &object, json!({"a": "x", "c": 1}), 0),
        (
            false,
            &json!({"type": "object", "properties": {}, "additionalProperties": false}),
            json!({"c": 1}),
            1,
        ),
        (
            false,
            &json!({"type": "object", "additionalProperties": word}),
            json!({"c": 1}),
            1,
        ),
        (
            false,
            &json!({"type": "array", "items": word, "minItems": 1, "maxItems": 1}),
            json!(["a", "long"]),
            2,
        ),
        (
            false,
            &json!({"oneOf": [{"const": "a"}, {"enum": ["a", "b"]}]}),
            json!("a"),
            1,
        ),
        (
            false,
            &json!({"anyOf": [{"const": "a"}, {"enum": ["a", "b"]}]}),
            json!("a"),
            0,
        ),
        (
            false,
            &json!({"anyOf": [{"const": "a"}, {"type": "null"}]}),
            json!("b"),
            1,
        ),
        (false, &json!(true), json!("b"), 0),
    ] {
        let found = Schemas::of(&document, closed).faults(schema, &value);
        assert_eq!(found.len(), faults, "{schema} {value}: {found:?}");
    }
}
