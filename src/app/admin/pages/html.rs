//! Markup. Whatever comes from outside is escaped here and nowhere else.

use serde_json::Value;

use crate::base::time::Millis;
use crate::domain::page::escape;

/// Attributes of an element; values are escaped.
pub type Attributes<'a> = &'a [(&'a str, &'a str)];

/// An element around markup.
#[must_use]
pub fn element(tag: &str, attributes: Attributes<'_>, inner: &str) -> String {
    let mut out = void(tag, attributes);
    for part in [inner, "</", tag, ">"] {
        out.push_str(part);
    }
    out
}

/// An element that has no content.
#[must_use]
pub fn void(tag: &str, attributes: Attributes<'_>) -> String {
    let mut out = ["<", tag].concat();
    for (name, value) in attributes {
        for part in [" ", name, "=\"", &escape(value), "\""] {
            out.push_str(part);
        }
    }
    out.push('>');
    out
}

/// An element around text.
#[must_use]
pub fn text(tag: &str, text: &str) -> String {
    element(tag, &[], &escape(text))
}

/// A section with a heading; empty when there is nothing in it.
#[must_use]
pub fn section(heading: &str, inner: &str) -> String {
    if inner.is_empty() {
        return String::new();
    }
    element(
        "section",
        &[],
        &[text("h2", heading).as_str(), inner].concat(),
    )
}

/// A link to another of the pages; `path` is below `/admin`.
#[must_use]
pub fn link(path: &str, words: &str) -> String {
    element("a", &[("href", &["/admin", path].concat())], &escape(words))
}

/// Something to copy, in a box of its own.
#[must_use]
pub fn copyable(label: &str, value: &str) -> String {
    let head = element("p", &[("class", "label")], &escape(label));
    let attributes = [("class", "copy"), ("tabindex", "0"), ("aria-label", label)];
    head + &element(
        "pre",
        &[
            ("role", "group"),
            attributes[0],
            attributes[1],
            attributes[2],
        ],
        &escape(value),
    )
}

/// Names and values.
#[must_use]
pub fn facts(rows: &[(&str, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| text("dt", name) + &element("dd", &[], value))
        .collect();
    element("dl", &[("class", "facts")], &rows)
}

/// The column that holds forms.
pub const ACTIONS: &str = "!";

/// A table of records: columns as label and field. `cell` may make a cell's markup itself; [`ACTIONS`] asks for a
/// record's forms, and that column is left out where no record has any.
#[must_use]
pub fn table(
    caption: &str,
    columns: &[(&str, &str)],
    rows: &[Value],
    cell: &dyn Fn(&str, &Value) -> Option<String>,
) -> String {
    if rows.is_empty() {
        return element(
            "p",
            &[("class", "empty")],
            &escape(&["No ", caption, "."].concat()),
        );
    }
    let made: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cell = |(_, field): &(&str, &str)| match cell(field, row) {
                Some(markup) => markup,
                None if *field == ACTIONS => String::new(),
                None => show(at(row, field)),
            };
            columns.iter().map(cell).collect()
        })
        .collect();
    let is_shown = |i: usize, field: &str| {
        field != ACTIONS
            || made
                .iter()
                .any(|row| row.get(i).is_some_and(|cell| !cell.is_empty()))
    };
    let mut head = String::new();
    let mut body = String::new();
    for (i, (label, field)) in columns.iter().enumerate() {
        if is_shown(i, field) {
            head.push_str(&element("th", &[("scope", "col")], &escape(label)));
        }
    }
    for row in &made {
        body.push_str("<tr>");
        for (i, ((label, field), cell)) in columns.iter().zip(row).enumerate() {
            if i == 0 {
                body.push_str(&element("th", &[("scope", "row")], cell));
            } else if *field == ACTIONS {
                if is_shown(i, field) {
                    body.push_str(&element("td", &[("class", "actions")], cell));
                }
            } else {
                body.push_str(&element("td", &[("data-label", label)], cell));
            }
        }
        body.push_str("</tr>");
    }
    let caption = element("caption", &[("class", "unseen")], &escape(caption));
    [
        "<table class=\"records\">",
        &caption,
        "<thead><tr>",
        &head,
        "</tr></thead><tbody>",
        &body,
        "</tbody></table>",
    ]
    .concat()
}

/// A field of a record, null where it has none.
#[must_use]
pub fn at<'v>(value: &'v Value, field: &str) -> &'v Value {
    value.get(field).unwrap_or(&Value::Null)
}

/// A field of a record as text, empty where it is none.
#[must_use]
pub fn str_at<'v>(value: &'v Value, field: &str) -> &'v str {
    at(value, field).as_str().unwrap_or_default()
}

/// The records in a field.
#[must_use]
pub fn list_at<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    at(value, field).as_array().map_or(&[], Vec::as_slice)
}

/// A value as markup: times with their zone, lists in words.
#[must_use]
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) => time(text).unwrap_or_else(|| escape(text)),
        other => escape(&words(other)),
    }
}

/// A value as text.
#[must_use]
pub fn words(value: &Value) -> String {
    let joined = |parts: Vec<String>| {
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    };
    match value {
        Value::Null => "–".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) => joined(values.iter().map(words).collect()),
        Value::Object(fields) => joined(
            fields
                .iter()
                .map(|(name, value)| [name.as_str(), ": ", &words(value)].concat())
                .collect(),
        ),
    }
}

/// A time of the API (`2026-11-21T05:00:00.000Z`) as people read it.
fn time(text: &str) -> Option<String> {
    if text.len() != 24 {
        return None;
    }
    Millis::from_rfc3339(text)?;
    let (day, clock) = text.split_once('T')?;
    let clock = clock.get(..8)?;
    let words = [day, " ", clock, " UTC"].concat();
    Some(element("time", &[("datetime", text)], &words))
}

/// Seconds in the largest unit that they fill: `3 days`, `90 min`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, " days"),
        7_200.. => (seconds / 3_600, " h"),
        120.. => (seconds / 60, " min"),
        _ => (seconds, " s"),
    };
    count.to_string() + unit
}

/// What may be used, in words: an allowance, a limit or a budget.
#[must_use]
pub fn allowance(value: &Value) -> String {
    let mut parts = Vec::new();
    let window = |value: &Value, what: &str| {
        let (count, seconds) = (value.get(what)?.as_u64()?, value.get("seconds")?.as_u64()?);
        let what = [" ", what, " in "].concat();
        Some(count.to_string() + &what + &duration(seconds))
    };
    let requests = |value: &Value, parts: &mut Vec<String>| {
        for (name, word) in [
            ("burst", " (burst)"),
            ("sustained", ""),
            ("network_burst", " for a network (burst)"),
            ("network_sustained", " for a network"),
        ] {
            if let Some(words) = value.get(name).and_then(|value| window(value, "requests")) {
                parts.push([str_at(value, "class"), ": ", &words, word].concat());
            }
        }
    };
    for one in list_at(value, "requests") {
        requests(one, &mut parts);
    }
    requests(value, &mut parts);
    parts.extend(
        value
            .get("tokens")
            .and_then(|value| window(value, "tokens")),
    );
    if let Some(count) = value.get("concurrent").and_then(Value::as_u64) {
        parts.push(count.to_string() + " calls at the same time");
    }
    let budget = value.get("budget").unwrap_or(value);
    for (name, unit) in [
        ("hour_usd", "hour"),
        ("day_usd", "day"),
        ("month_usd", "month"),
    ] {
        if let Some(usd) = budget.get(name).filter(|usd| usd.is_number()) {
            parts.push(["$", &words(usd), " in each ", unit, " (UTC)"].concat());
        }
    }
    if parts.is_empty() {
        return "not limited".to_owned();
    }
    parts.iter().map(|part| text("div", part)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ACTIONS, allowance, element, show, table};

    #[test]
    fn whatever_comes_from_outside_is_text() {
        let evil = "<img src=x onerror=\"a\">'&";
        let rows = [json!({"name": evil, "list": [evil], "inner": {"a": evil}})];
        let columns = [("Name", "name"), (evil, "list"), ("Inner", "inner")];
        let html = table(evil, &columns, &rows, &|_, _| None)
            + &element("a", &[("href", evil)], &show(&json!(evil)));
        assert!(!html.contains("<img"), "{html}");
        assert!(!html.contains("\"a\""), "{html}");
        assert_eq!(html.matches("&lt;img").count(), 8, "{html}");
    }

    #[test]
    fn a_column_of_actions_is_there_when_a_record_has_one() {
        let rows = [json!({"id": "a"}), json!({"id": "b"})];
        let columns = [("Id", "id"), ("Actions", ACTIONS)];
        let made = |of: &'static str| {
            move |field: &str, row: &serde_json::Value| {
                (field == ACTIONS && row["id"] == of).then(|| "<form></form>".to_owned())
            }
        };
        let with = table("keys", &columns, &rows, &made("b"));
        assert_eq!(with.matches("class=\"actions\"").count(), 2, "{with}");
        let without = table("keys", &columns, &rows, &made("c"));
        assert!(
            !without.contains("actions") && !without.contains("Actions"),
            "{without}"
        );
    }

    #[test]
    fn times_have_a_zone_and_amounts_a_unit() {
        assert_eq!(
            show(&json!("2026-11-21T05:06:07.000Z")),
            "<time datetime=\"2026-11-21T05:06:07.000Z\">2026-11-21 05:06:07 UTC</time>"
        );
        let told = json!({
            "requests": [{"class": "chat", "burst": {"requests": 5, "seconds": 10}}],
            "tokens": {"tokens": 1000, "seconds": 7200},
            "budget": {"day_usd": 0.5},
        });
        let words = allowance(&told);
        for part in [
            "chat: 5 requests in 10 s (burst)",
            "1000 tokens in 2 h",
            "$0.5 in each day (UTC)",
        ] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(allowance(&json!({})), "not limited");
    }
}
