//! Rows as they lie in an object, as glue.js reads them and puts them back.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gatehouse::app::port::{BEING_RESTORED, Class, PortFault};
use gatehouse::base::time::Millis;
use serde::Deserialize;
use serde_json::json;

use super::Object;

type Row = (String, String, String);

/// The restore that fills or filled an object.
pub struct Mark {
    id: String,
    whole: bool,
    reached: String,
}

pub fn require_whole(object: &Object) -> Result<(), PortFault> {
    match &object.restore {
        Some(mark) if !mark.whole => Err(PortFault(format!("Error: {BEING_RESTORED}"))),
        _ => Ok(()),
    }
}

fn all(object: &Object, class: Class) -> Vec<Row> {
    let many = class.rows().unwrap_or_default().to_owned();
    let bytes = object.many.0.iter().map(|(key, value)| {
        let text = BASE64_STANDARD.encode(value);
        (many.clone(), key.clone(), text)
    });
    let texts = object.rows.iter();
    let texts = texts.map(|(key, value)| ("rows".to_owned(), key.clone(), value.clone()));
    let mut all: Vec<Row> = bytes.chain(texts).collect();
    all.sort();
    all
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    after: Option<(String, String)>,
    bytes: usize,
    rows: usize,
}

pub fn snapshot(object: &Object, class: Class, asked: &str) -> String {
    let wanted: Wanted = serde_json::from_str(asked).expect("a question about rows");
    let mut rows: Vec<Row> = Vec::new();
    let (mut size, mut more) = (0, false);
    for row in all(object, class) {
        let place = (row.0.clone(), row.1.clone());
        if wanted.after.as_ref().is_some_and(|after| place <= *after) {
            continue;
        }
        if !rows.is_empty() && (size >= wanted.bytes || rows.len() >= wanted.rows) {
            more = true;
            break;
        }
        size += row.1.len() + row.2.len();
        rows.push(row);
    }
    json!({"rows": rows, "more": more, "mark": object.written.to_string()}).to_string()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    id: String,
    look: bool,
    first: bool,
    last: bool,
    rows: Vec<Row>,
    reached: Option<String>,
    discard: bool,
}

pub fn restore(object: &mut Object, class: Class, now: Millis, asked: &str) -> String {
    let asked: Asked = serde_json::from_str(asked).expect("rows to put back");
    let own = object.restore.as_ref().filter(|mark| mark.id == asked.id);
    let is = match (own, &object.restore) {
        (Some(mark), _) if mark.whole => "whole",
        (Some(_), _) => "filling",
        (None, Some(mark)) if !mark.whole => "other",
        _ if object.is_empty() => "empty",
        _ => "used",
    };
    let reached = own.map_or(String::new(), |mark| mark.reached.clone());
    if asked.look || is == "whole" || is == "used" && !asked.discard {
        return json!({"is": is, "reached": reached}).to_string();
    }
    let own = own.is_some();
    object.machine = None;
    object.row_machine = None;
    object.written += 1;
    if !own || asked.first {
        object.rows = BTreeMap::new();
        object.many.0 = BTreeMap::new();
    }
    let mark = Mark {
        id: asked.id,
        whole: asked.last,
        reached: asked.reached.unwrap_or(reached),
    };
    for (table, key, value) in asked.rows {
        if table == "rows" {
            object.rows.insert(key, value);
        } else {
            assert_eq!(Some(table.as_str()), class.rows());
            let value = BASE64_STANDARD.decode(value).expect("bytes");
            object.many.0.insert(key, value);
        }
    }
    if asked.last {
        object.alarm = Some(now);
    }
    let told = json!({"is": if mark.whole { "whole" } else { "filling" }, "reached": mark.reached});
    object.restore = Some(mark);
    told.to_string()
}
