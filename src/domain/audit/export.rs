//! The log for people and auditors: filters, and rows as JSON and CSV.

use serde_json::{Map, Value};

use crate::base::time::Millis;

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// From this time on.
    pub since: Option<Millis>,
    /// Before this time.
    pub until: Option<Millis>,
    /// `key.revoke`, or the front of it: `key.`
    pub action: Option<String>,
    /// `operator`, `key`, …
    pub actor: Option<String>,
    /// `ok`, `refused`, or a code.
    pub outcome: Option<String>,
    /// What kind of thing it was done to.
    pub target: Option<String>,
    /// Whose fields stand in it, on either side. An entry whose fields were erased is nobody's.
    pub subject: Option<String>,
}

impl Filter {
    /// Does the entry pass?
    #[must_use]
    pub fn takes(&self, row: &Row) -> bool {
        let text = |name: &str| row.leaf.get(name).and_then(Value::as_str).unwrap_or("");
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_deref().is_none_or(|wanted| text(name) == wanted)
        };
        // One form of equal length, so that the order of texts is that of times.
        let at = text("at");
        let outcome = text("outcome");
        self.since.is_none_or(|since| *at >= *since.rfc3339())
            && self.until.is_none_or(|until| *at < *until.rfc3339())
            && self.action.as_deref().is_none_or(|wanted| {
                let group = wanted.ends_with('.');
                text("action") == wanted || group && text("action").starts_with(wanted)
            })
            && self
                .outcome
                .as_deref()
                .is_none_or(|wanted| outcome == wanted || wanted == "refused" && outcome != "ok")
            && is(&self.actor, "actor")
            && is(&self.target, "target")
            && self.subject.as_deref().is_none_or(|wanted| {
                [&row.who, &row.what]
                    .into_iter()
                    .any(|part| part.subject() == Some(wanted))
            })
    }
}

/// What is personal in an entry, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// The entry has none.
    #[default]
    None,
    /// The fields.
    Open(Map<String, Value>),
    /// The subject's key was erased.
    Erased,
    /// It was never kept: there was no place for one more key.
    NotKept,
    /// It does not open, or is not what the leaf commits to: somebody changed it.
    Damaged,
}

impl Part {
    fn subject(&self) -> Option<&str> {
        match self {
            Self::Open(fields) => fields.get("subject")?.as_str(),
            _ => None,
        }
    }

    fn value(&self) -> Option<Value> {
        let word = match self {
            Self::None => return None,
            Self::Open(fields) => return Some(Value::Object(fields.clone())),
            Self::Erased => "erased",
            Self::NotKept => "not_kept",
            Self::Damaged => "damaged",
        };
        Some(Value::from(word))
    }
}

/// An entry, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where in the log.
    pub index: u64,
    /// The leaf's fields.
    pub leaf: Map<String, Value>,
    /// The actor's own fields.
    pub who: Part,
    /// The target's own fields.
    pub what: Part,
}

impl Row {
    /// As JSON: the leaf's fields, the index, and what is personal in place of the commitments.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut row = Map::new();
        row.insert("index".to_owned(), Value::from(self.index));
        for (name, value) in &self.leaf {
            row.insert(name.clone(), value.clone());
        }
        for (name, part) in [("who", &self.who), ("what", &self.what)] {
            match part.value() {
                Some(value) => drop(row.insert(name.to_owned(), value)),
                None => drop(row.remove(name)),
            }
        }
        Value::Object(row)
    }

    /// As a line of CSV; see [`csv_line`].
    #[must_use]
    pub fn csv(&self) -> String {
        let row = self.json();
        csv_line(COLUMNS.iter().map(|name| match row.get(name) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }))
    }
}

const COLUMNS: [&str; 11] = [
    "index", "at", "actor", "action", "outcome", "target", "tenant", "request", "id", "who", "what",
];

/// The head of the CSV.
#[must_use]
pub fn csv_head() -> String {
    csv_line(COLUMNS.iter().map(|name| (*name).to_owned()))
}

/// A line of CSV (RFC 4180), every cell quoted. A cell that a spreadsheet would take for a formula gets an apostrophe
/// before it (OWASP, "CSV Injection").
#[must_use]
pub fn csv_line(cells: impl IntoIterator<Item = String>) -> String {
    let mut line = String::new();
    for cell in cells {
        if !line.is_empty() {
            line.push(',');
        }
        line.push('"');
        // Spaces before it do not keep a spreadsheet from it; the full-width forms are taken for the same signs.
        let sign = cell.trim_start_matches(' ').chars().next();
        if sign.is_some_and(|sign| "=+-@\t\r\n\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(sign)) {
            line.push('\'');
        }
        line.push_str(&cell.replace('"', "\"\""));
        line.push('"');
    }
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{Filter, Part, Row, csv_line};
    use crate::base::time::Millis;

    fn row(leaf: Value) -> Row {
        let fields = json!({"subject": "op_1", "name": "=HYPERLINK(1)"});
        Row {
            index: 7,
            leaf: map(leaf),
            who: Part::Open(map(fields)),
            what: Part::Erased,
        }
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (cell, line) in [
            ("plain", "\"plain\"\r\n"),
            ("=1+1", "\"'=1+1\"\r\n"),
            ("+1", "\"'+1\"\r\n"),
            ("-1", "\"'-1\"\r\n"),
            ("@SUM(A1)", "\"'@SUM(A1)\"\r\n"),
            ("\t=1", "\"'\t=1\"\r\n"),
            ("\r=1", "\"'\r=1\"\r\n"),
            ("\n=1", "\"'\n=1\"\r\n"),
            ("  =1", "\"'  =1\"\r\n"),
            ("\u{ff1d}1", "\"'\u{ff1d}1\"\r\n"),
            ("a\",=1", "\"a\"\",=1\"\r\n"),
            ("", "\"\"\r\n"),
        ] {
            assert_eq!(csv_line([cell.to_owned()]), line);
        }
    }

    #[test]
    fn filters_take_what_they_name() {
        let leaf = json!({"at": Millis(5000).rfc3339(), "actor": "operator", "action": "key.revoke",
            "outcome": "forbidden", "target": "key"});
        let row = row(leaf);
        let text = |text: &str| Some(text.to_owned());
        let all = Filter::default();
        for (filter, takes) in [
            (all.clone(), true),
            (
                Filter {
                    since: Some(Millis(5000)),
                    ..all.clone()
                },
                true,
            ),
            (
                Filter {
                    since: Some(Millis(5001)),
                    ..all.clone()
                },
                false,
            ),
            (
                Filter {
                    until: Some(Millis(5000)),
                    ..all.clone()
                },
                false,
            ),
            (
                Filter {
                    until: Some(Millis(5001)),
                    ..all.clone()
                },
                true,
            ),
            (
                Filter {
                    action: text("key.revoke"),
                    ..all.clone()
                },
                true,
            ),
            (
                Filter {
                    action: text("key."),
                    ..all.clone()
                },
                true,
            ),
            (
                Filter {
                    action: text("key"),
                    ..all.clone()
                },
                false,
            ),
            (
                Filter {
                    actor: text("visitor"),
                    ..all.clone()
                },
                false,
            ),
            (
                Filter {
                    outcome: text("refused"),
                    ..all.clone()
                },
                true,
            ),
            (
                Filter {
                    outcome: text("forbidden"),
                    ..all.clone()
                },
                true,
            ),
            (
                Filter {
                    outcome: text("ok"),
                    ..all.clone()
                },
                false,
            ),
            (
                Filter {
                    target: text("key"),
                    ..all.clone()
                },
                true,
            ),
            (
                Filter {
                    subject: text("op_1"),
                    ..all.clone()
                },
                true,
            ),
            (
                Filter {
                    subject: text("op_2"),
                    ..all.clone()
                },
                false,
            ),
        ] {
            assert_eq!(filter.takes(&row), takes, "{filter:?}");
        }
    }

    #[test]
    fn what_was_erased_says_so() {
        let row = row(json!({"at": "x", "who": "commitment", "what": "commitment"}));
        let json = row.json();
        assert_eq!(json["what"], "erased");
        assert_eq!(json["who"]["subject"], "op_1");
        assert!(row.csv().contains("\"erased\""), "{}", row.csv());
    }
}
