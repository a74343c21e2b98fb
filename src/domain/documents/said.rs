//! What a caller says of a document in words: labels, dates, where it comes from.

use serde::Serialize;
use serde_json::{Map, Value};

use super::about::{MAX_SOURCES, MAX_TAG_BYTES, MAX_TAGS};
use super::content_type::clean_filename;
use super::manifest::is_document_id;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;

/// Longest name of a tool or a model in bytes.
const MAX_NAME_BYTES: usize = 128;

/// What is said; what is not said is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Said {
    /// A name for people, cleaned.
    pub filename: Option<String>,
    /// Sorted, each once.
    pub tags: Option<Vec<String>>,
    /// Ids of documents that it was made from.
    pub sources: Vec<String>,
    /// The program that made it.
    pub tool: Option<String>,
    /// The model that made it.
    pub model: Option<String>,
    /// Not to be deleted before.
    pub keep_until: Option<Millis>,
    /// To be gone from then on.
    pub expires: Option<Millis>,
}

/// Reads the fields that `known` names.
///
/// # Errors
/// `invalid_parameter` for a field that is not known, or whose value is of another kind or beyond its bounds.
pub fn said(fields: &Map<String, Value>, known: &[&str]) -> Result<Said, Refusal> {
    let mut said = Said::default();
    for (name, value) in fields {
        if !known.contains(&name.as_str()) {
            let known = known.join(", ");
            return Err(invalid(name, format!("Use one of {known}.")));
        }
        match name.as_str() {
            "filename" => said.filename = Some(filename(value)?),
            "tags" => said.tags = Some(tags(value)?),
            "derived_from" => said.sources = sources(value)?,
            "tool" => said.tool = name_of(name, value)?,
            "model" => said.model = name_of(name, value)?,
            "keep_until" => said.keep_until = date(name, value)?,
            _ => said.expires = date(name, value)?,
        }
    }
    Ok(said)
}

fn filename(value: &Value) -> Result<String, Refusal> {
    let name = value.as_str().filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| invalid("filename", "Use a text.".to_owned()))?;
    Ok(clean_filename(name))
}

fn texts(param: &str, value: &Value, most: usize) -> Result<Vec<String>, Refusal> {
    let wrong = || invalid(param, format!("Use a list of at most {most} texts."));
    let list = value.as_array().filter(|list| list.len() <= most);
    let texts = list.ok_or_else(wrong)?.iter().map(Value::as_str);
    let texts: Option<Vec<&str>> = texts.collect();
    Ok(texts
        .ok_or_else(wrong)?
        .into_iter()
        .map(str::to_owned)
        .collect())
}

fn tags(value: &Value) -> Result<Vec<String>, Refusal> {
    let mut tags = texts("tags", value, MAX_TAGS)?;
    for tag in &mut tags {
        *tag = tag.trim().to_owned();
        let fits = (1..=MAX_TAG_BYTES).contains(&tag.len()) && !tag.chars().any(char::is_control);
        if !fits {
            let detail = format!("A tag has 1 to {MAX_TAG_BYTES} bytes of text.");
            return Err(invalid("tags", detail));
        }
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

fn sources(value: &Value) -> Result<Vec<String>, Refusal> {
    let sources = texts("derived_from", value, MAX_SOURCES)?;
    if sources.iter().all(|id| is_document_id(id)) {
        Ok(sources)
    } else {
        Err(invalid("derived_from", "Use ids of documents.".to_owned()))
    }
}

fn name_of(param: &str, value: &Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(name)
            if (1..=MAX_NAME_BYTES).contains(&name.len())
                && !name.chars().any(char::is_control) =>
        {
            Ok(Some(name.clone()))
        }
        _ => Err(invalid(
            param,
            format!("Use a text of at most {MAX_NAME_BYTES} bytes."),
        )),
    }
}

/// A time in whole seconds, as OpenAI has them.
fn date(param: &str, value: &Value) -> Result<Option<Millis>, Refusal> {
    match value {
        Value::Null => Ok(None),
        value => {
            let seconds = value.as_u64().filter(|seconds| *seconds < LAST_SECOND);
            let wrong = || invalid(param, "Use a time in seconds since 1970.".to_owned());
            Ok(Some(Millis::from_secs(seconds.ok_or_else(wrong)?)))
        }
    }
}

/// 1 January 10000, the first day that RFC 3339 cannot write.
const LAST_SECOND: u64 = 253_402_300_800;

fn invalid(param: &str, detail: String) -> Refusal {
    Refusal::new(Code::InvalidParameter)
        .param(param)
        .detail(detail)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Said, said};
    use crate::base::errors::{Code, Refusal};
    use crate::base::time::Millis;

    const KNOWN: [&str; 7] = [
        "filename",
        "tags",
        "derived_from",
        "tool",
        "model",
        "keep_until",
        "expires_at",
    ];

    fn read(value: Value) -> Result<Said, Refusal> {
        said(value.as_object().unwrap(), &KNOWN)
    }

    #[test]
    fn what_is_said_is_read() {
        let source = format!("file_{}", "0".repeat(32));
        let all = read(json!({
            "filename": "b/../a.txt", "tags": ["b", " a ", "b"], "derived_from": [source],
            "tool": "t", "model": "m", "keep_until": 2, "expires_at": 3,
        }));
        let expected = Said {
            filename: Some("a.txt".into()),
            tags: Some(vec!["a".into(), "b".into()]),
            sources: vec![source],
            tool: Some("t".into()),
            model: Some("m".into()),
            keep_until: Some(Millis(2_000)),
            expires: Some(Millis(3_000)),
        };
        assert_eq!(all.unwrap(), expected);
        assert_eq!(read(json!({})).unwrap(), Said::default());
        assert_eq!(
            read(json!({"tool": null, "keep_until": null})).unwrap(),
            Said::default()
        );
    }

    #[test]
    fn what_is_beyond_its_bounds_is_refused_by_name() {
        let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        for (field, value) in [
            ("filename", json!(1)),
            ("filename", json!("  ")),
            ("tags", json!("a")),
            ("tags", json!([1])),
            ("tags", json!([""])),
            ("tags", json!(["a\nb"])),
            ("tags", json!(["x".repeat(65)])),
            ("tags", json!(many)),
            ("derived_from", json!(["file_1"])),
            ("tool", json!("")),
            ("tool", json!("x".repeat(129))),
            ("model", json!(7)),
            ("keep_until", json!(-1)),
            ("keep_until", json!("tomorrow")),
            ("expires_at", json!(253_402_300_800_u64)),
            ("other", json!(1)),
        ] {
            let refusal = read(json!({field: value})).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidParameter, "{field}");
            assert_eq!(refusal.param.as_deref(), Some(field));
        }
    }
}
