//! Fields of a JSON object, read with refusals that name them by their path. Null counts as not said.

use serde_json::{Map, Value};

use crate::base::errors::Refusal;
use crate::domain::llm::request::{invalid, missing};

/// An object of the request.
pub(super) type Fields = Map<String, Value>;

/// A field's value, unless it is null.
pub(super) fn said<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// Null, an empty list and an empty object say nothing.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// The path of a field; the top level has an empty path.
pub(super) fn at(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

pub(super) fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Fields, Refusal> {
    value
        .as_object()
        .ok_or_else(|| invalid(path, "must be an object"))
}

pub(super) fn optional_object<'a>(
    fields: &'a Fields,
    path: &str,
    name: &str,
) -> Result<Option<&'a Fields>, Refusal> {
    said(fields, name)
        .map(|value| object(value, &at(path, name)))
        .transpose()
}

pub(super) fn list<'a>(fields: &'a Fields, path: &str, name: &str) -> Result<&'a [Value], Refusal> {
    match said(fields, name) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(invalid(&at(path, name), "must be an array")),
    }
}

pub(super) fn text<'a>(
    fields: &'a Fields,
    path: &str,
    name: &str,
) -> Result<Option<&'a str>, Refusal> {
    said(fields, name)
        .map(|value| {
            value
                .as_str()
                .ok_or_else(|| invalid(&at(path, name), "must be a text"))
        })
        .transpose()
}

/// A text that must be there; it may be empty.
pub(super) fn required_text<'a>(
    fields: &'a Fields,
    path: &str,
    name: &str,
) -> Result<&'a str, Refusal> {
    text(fields, path, name)?.ok_or_else(|| missing(&at(path, name)))
}

/// A text that must be there and say something.
pub(super) fn name<'a>(fields: &'a Fields, path: &str, name: &str) -> Result<&'a str, Refusal> {
    let text = required_text(fields, path, name)?;
    if text.is_empty() {
        return Err(invalid(&at(path, name), "must not be empty"));
    }
    Ok(text)
}

pub(super) fn flag(fields: &Fields, path: &str, name: &str) -> Result<Option<bool>, Refusal> {
    said(fields, name)
        .map(|value| {
            value
                .as_bool()
                .ok_or_else(|| invalid(&at(path, name), "must be true or false"))
        })
        .transpose()
}

pub(super) fn whole_number(
    fields: &Fields,
    path: &str,
    name: &str,
    least: u64,
) -> Result<Option<u64>, Refusal> {
    said(fields, name)
        .map(|value| {
            value
                .as_u64()
                .filter(|number| *number >= least)
                .ok_or_else(|| {
                    let rule = format!("must be a whole number of at least {least}");
                    invalid(&at(path, name), &rule)
                })
        })
        .transpose()
}

/// A number between 0 and 1.
pub(super) fn share(fields: &Fields, name: &str) -> Result<Option<f64>, Refusal> {
    said(fields, name)
        .map(|value| {
            value
                .as_f64()
                .filter(|number| (0.0..=1.0).contains(number))
                .ok_or_else(|| invalid(name, "must be a number between 0 and 1"))
        })
        .transpose()
}
