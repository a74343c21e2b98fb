//! The fields of a JSON object with their path, so that every refusal can name its field.

use serde_json::{Map, Value};

use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::Unplaced;
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::{invalid, missing};

/// An object of the request.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The request itself.
    pub const fn root(map: &'a Map<String, Value>) -> Self {
        Self {
            map,
            path: String::new(),
        }
    }

    /// The object at that path.
    pub fn at(value: &'a Value, path: String) -> Result<Self, Refusal> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            _ => Err(invalid(&path, "must be an object")),
        }
    }

    /// The path of this object.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of one of its fields.
    pub fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// A field that is said: not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub fn required(&self, name: &str) -> Result<&'a Value, Refusal> {
        self.get(name).ok_or_else(|| missing(&self.path_of(name)))
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.typed(name, Value::as_str, "must be a text")
    }

    /// A text that is not empty.
    pub fn required_text(&self, name: &str) -> Result<&'a str, Refusal> {
        self.required(name)?
            .as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.wrong(name, "must be a text that is not empty"))
    }

    /// One of these words.
    pub fn word(&self, name: &str, words: &[&str]) -> Result<Option<&'a str>, Refusal> {
        match self.text(name)? {
            Some(word) if !words.contains(&word) => {
                Err(self.wrong(name, &format!("must be one of {}", words.join(", "))))
            }
            word => Ok(word),
        }
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.typed(name, Value::as_bool, "must be true or false")
    }

    /// A whole number of at least 1.
    pub fn count(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let positive = |value: &Value| value.as_u64().filter(|count| *count >= 1);
        self.typed(name, positive, "must be a whole number of at least 1")
    }

    pub fn number(&self, name: &str, low: f64, high: f64) -> Result<Option<f64>, Refusal> {
        let within = |value: &Value| value.as_f64().filter(|n| (low..=high).contains(n));
        let rule = format!("must be a number between {low} and {high}");
        self.typed(name, within, &rule)
    }

    /// The elements of an array; none when it is not said.
    pub fn list(&self, name: &str) -> Result<&'a [Value], Refusal> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(self.wrong(name, "must be an array")),
        }
    }

    pub fn object(&self, name: &str) -> Result<Option<Self>, Refusal> {
        self.get(name)
            .map(|value| Self::at(value, self.path_of(name)))
            .transpose()
    }

    /// The refusal of a field.
    pub fn wrong(&self, name: &str, rule: &str) -> Refusal {
        invalid(&self.path_of(name), rule)
    }

    /// Reports every field that says something and is none of the known ones.
    pub fn others(&self, known: &[&str], feature: Feature, unplaced: &mut Vec<Unplaced>) {
        for (name, value) in self.map {
            if is_said(value) && !known.contains(&name.as_str()) {
                unplaced.push(Unplaced {
                    feature,
                    param: self.path_of(name),
                });
            }
        }
    }

    /// Reports the field if it says something.
    pub fn unplace(&self, name: &str, feature: Feature, unplaced: &mut Vec<Unplaced>) {
        if self.get(name).is_some_and(is_said) {
            unplaced.push(Unplaced {
                feature,
                param: self.path_of(name),
            });
        }
    }

    fn typed<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
        rule: &str,
    ) -> Result<Option<T>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(name, rule)),
        }
    }
}

/// Null and what is empty say nothing.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
