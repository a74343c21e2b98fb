//! An object of a request and where it stands, so that every refusal and every loss names its field.

use serde_json::{Map, Value};

use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::Unplaced;
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::{invalid, missing};

/// An object and its path. `null` counts as not said.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The request itself.
    pub(super) const fn root(object: &'a Map<String, Value>) -> Self {
        Self {
            object,
            path: String::new(),
        }
    }

    /// The object at a path.
    pub(super) fn at(value: &'a Value, path: String) -> Result<Self, Refusal> {
        match value {
            Value::Object(object) => Ok(Self { object, path }),
            _ => Err(invalid(&path, "must be an object")),
        }
    }

    /// The path of a field; of the object itself when the name is empty.
    pub(super) fn path(&self, name: &str) -> String {
        match (self.path.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{name}", self.path),
        }
    }

    pub(super) fn invalid(&self, name: &str, rule: &str) -> Refusal {
        invalid(&self.path(name), rule)
    }

    pub(super) fn missing(&self, name: &str) -> Refusal {
        missing(&self.path(name))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Is the field there, be it null?
    pub(super) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(name, "must be a text")),
        }
    }

    /// A text that must be there and not be empty.
    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, Refusal> {
        match self.text(name)? {
            None => Err(self.missing(name)),
            Some("") => Err(self.invalid(name, "must not be empty")),
            Some(text) => Ok(text),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.invalid(name, "must be true or false")),
        }
    }

    pub(super) fn number(&self, name: &str, low: f64, high: f64) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => Err(self.invalid(name, &format!("must be a number between {low} and {high}"))),
        }
    }

    /// A whole number of at least 1.
    pub(super) fn positive(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) if count >= 1 => Ok(Some(count)),
                _ => Err(self.invalid(name, "must be a whole number of at least 1")),
            },
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.invalid(name, "must be an array")),
        }
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, Refusal> {
        self.get(name)
            .map(|value| Self::at(value, self.path(name)))
            .transpose()
    }

    /// An object that must be there.
    pub(super) fn required_object(&self, name: &str) -> Result<Self, Refusal> {
        self.object(name)?.ok_or_else(|| self.missing(name))
    }

    /// The fields that say something: neither null nor an empty array or object.
    pub(super) fn said(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.object.iter().filter_map(|(name, value)| {
            let nothing = match value {
                Value::Null => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => false,
            };
            (!nothing).then_some((name.as_str(), value))
        })
    }

    /// Reports what is said beside the known fields.
    pub(super) fn leftovers(&self, known: &[&str], feature: Feature, unplaced: &mut Vec<Unplaced>) {
        for (name, _) in self.said().filter(|(name, _)| !known.contains(name)) {
            self.unplaced(name, feature, unplaced);
        }
    }

    /// Reports a field that has no place in the normal form.
    pub(super) fn unplaced(&self, name: &str, feature: Feature, unplaced: &mut Vec<Unplaced>) {
        unplaced.push(Unplaced {
            feature,
            param: self.path(name),
        });
    }
}
