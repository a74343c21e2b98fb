//! Documents as OpenAI's and Anthropic's file objects.

use serde::Serialize;

use super::about::{Provenance, Right};
use super::manifest::{Document, Purpose};
use super::owner::uploads::Part;
use crate::base::time::Millis;

/// OpenAI's `file`. Times are in whole seconds.
#[derive(Serialize)]
struct OpenAiFile<'a> {
    id: &'a str,
    object: &'static str,
    bytes: u64,
    created_at: u64,
    expires_at: u64,
    filename: &'a str,
    purpose: Purpose,
    status: &'static str,
}

impl<'a> From<&'a Document> for OpenAiFile<'a> {
    fn from(document: &'a Document) -> Self {
        Self {
            id: &document.id,
            object: "file",
            bytes: document.bytes,
            created_at: document.created.secs(),
            expires_at: document.expires.secs(),
            filename: &document.filename,
            purpose: document.purpose,
            status: "processed",
        }
    }
}

/// Anthropic's `file`.
#[derive(Serialize)]
struct AnthropicFile<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    filename: &'a str,
    mime_type: &'a str,
    size_bytes: u64,
    created_at: String,
    downloadable: bool,
}

impl<'a> From<&'a Document> for AnthropicFile<'a> {
    fn from(document: &'a Document) -> Self {
        let essence = document.content_type.split(';').next();
        Self {
            id: &document.id,
            kind: "file",
            filename: &document.filename,
            mime_type: essence.unwrap_or_default(),
            size_bytes: document.bytes,
            created_at: document.created.rfc3339(),
            downloadable: true,
        }
    }
}

/// In whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

/// One document.
#[must_use]
pub fn file(document: &Document, shape: Shape) -> String {
    match shape {
        Shape::OpenAi => json(&OpenAiFile::from(document)),
        Shape::Anthropic => json(&AnthropicFile::from(document)),
    }
}

/// What we tell of a document beside what the dialects have.
#[derive(Serialize)]
struct Ours<'a> {
    version: u32,
    content_type: &'a str,
    sha256: &'a str,
    tags: &'a [String],
    provenance: &'a Provenance,
    keep_until: Option<u64>,
    held: bool,
    shared: bool,
    /// What its scan says: `waiting`, `clean`, `flagged`, `quarantined` or `released`.
    scan: &'static str,
    /// What whoever asks may do with it.
    right: Right,
}

impl<'a> Ours<'a> {
    fn of(document: &'a Document, right: Right) -> Self {
        let about = &document.about;
        Self {
            version: document.version,
            content_type: &document.content_type,
            sha256: &document.sha256,
            tags: &about.tags,
            provenance: &about.provenance,
            keep_until: about.keep_until.map(Millis::secs),
            held: about.hold.is_some(),
            shared: !about.shares.is_empty(),
            scan: about.state().name(),
            right,
        }
    }
}

/// A file object, and what we tell beside it.
#[derive(Serialize)]
struct With<'a, F> {
    #[serde(flatten)]
    file: F,
    gatehouse: Ours<'a>,
}

/// One document, with all that is known of it, for whoever may do that with it.
#[must_use]
pub fn file_for(document: &Document, right: Right, shape: Shape) -> String {
    let gatehouse = Ours::of(document, right);
    match shape {
        Shape::OpenAi => json(&With {
            file: OpenAiFile::from(document),
            gatehouse,
        }),
        Shape::Anthropic => json(&With {
            file: AnthropicFile::from(document),
            gatehouse,
        }),
    }
}

/// As [`file_for`] in OpenAI's words, for a list.
#[must_use]
pub fn file_value(document: &Document, right: Right) -> serde_json::Value {
    serde_json::from_str(&file_for(document, right, Shape::OpenAi)).unwrap_or_default()
}

/// A version of a document.
#[must_use]
pub fn version(document: &Document) -> serde_json::Value {
    let provenance = &document.about.provenance;
    let stored = provenance.at.unwrap_or(document.created);
    serde_json::json!({
        "object": "file.version",
        "file_id": document.id,
        "version": document.version,
        "bytes": document.bytes,
        "sha256": document.sha256,
        "content_type": document.content_type,
        "created_at": stored.secs(),
        "expires_at": document.expires.secs(),
        "provenance": provenance,
        "scan": document.about.state().name(),
    })
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState<'a> {
    /// Parts may come.
    Pending,
    /// It has become this document.
    Completed(&'a Document),
    /// It was given up.
    Cancelled,
}

/// What is told of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadHead<'a> {
    /// `upload_<32 hex digits>`
    pub id: &'a str,
    /// The bytes that it must come to.
    pub bytes: u64,
    /// When it was created.
    pub created: Millis,
    /// When its time is over, or that of its document.
    pub expires: Millis,
    /// As in [`Document::filename`].
    pub filename: &'a str,
    /// As in [`Document::purpose`].
    pub purpose: Purpose,
}

/// OpenAI's `upload`.
#[must_use]
pub fn upload(head: UploadHead<'_>, state: UploadState<'_>) -> String {
    #[derive(Serialize)]
    struct Upload<'a> {
        id: &'a str,
        object: &'static str,
        bytes: u64,
        created_at: u64,
        expires_at: u64,
        filename: &'a str,
        purpose: Purpose,
        status: &'static str,
        file: Option<OpenAiFile<'a>>,
    }
    let (status, file) = match state {
        UploadState::Pending => ("pending", None),
        UploadState::Completed(document) => ("completed", Some(OpenAiFile::from(document))),
        UploadState::Cancelled => ("cancelled", None),
    };
    json(&Upload {
        id: head.id,
        object: "upload",
        bytes: head.bytes,
        created_at: head.created.secs(),
        expires_at: head.expires.secs(),
        filename: head.filename,
        purpose: head.purpose,
        status,
        file,
    })
}

/// OpenAI's `upload.part`, with what it takes to go on after an interruption.
#[derive(Serialize)]
struct OpenAiPart<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    upload_id: &'a str,
    bytes: u64,
    sha256: &'a str,
    part_number: Option<u32>,
}

impl<'a> OpenAiPart<'a> {
    /// `None` while it is written.
    fn of(upload_id: &'a str, part: &'a Part) -> Option<Self> {
        let stored = part.stored()?;
        Some(Self {
            id: &part.id,
            object: "upload.part",
            created_at: part.created.secs(),
            upload_id,
            bytes: stored.bytes,
            sha256: &stored.sha256,
            part_number: part.number,
        })
    }
}

/// A part of an upload.
#[must_use]
pub fn part(upload_id: &str, part: &Part) -> String {
    OpenAiPart::of(upload_id, part).map_or_else(String::new, |part| json(&part))
}

/// The parts of an upload that are stored, in order of arrival.
#[must_use]
pub fn parts(upload_id: &str, parts: &[Part]) -> String {
    #[derive(Serialize)]
    struct Page<'a> {
        object: &'static str,
        data: Vec<OpenAiPart<'a>>,
        first_id: Option<&'a str>,
        last_id: Option<&'a str>,
        has_more: bool,
    }
    let stored = parts
        .iter()
        .filter_map(|part| OpenAiPart::of(upload_id, part));
    let data: Vec<OpenAiPart<'_>> = stored.collect();
    json(&Page {
        object: "list",
        first_id: data.first().map(|part| part.id),
        last_id: data.last().map(|part| part.id),
        data,
        has_more: false,
    })
}

/// A page of a list.
#[must_use]
pub fn list(documents: &[Document], has_more: bool, shape: Shape) -> String {
    #[derive(Serialize)]
    struct Page<'a, F> {
        #[serde(skip_serializing_if = "Option::is_none")]
        object: Option<&'static str>,
        data: Vec<F>,
        first_id: Option<&'a str>,
        last_id: Option<&'a str>,
        has_more: bool,
    }
    let first_id = documents.first().map(|document| document.id.as_str());
    let last_id = documents.last().map(|document| document.id.as_str());
    let with = |document| With {
        file: OpenAiFile::from(document),
        gatehouse: Ours::of(document, Right::Own),
    };
    match shape {
        Shape::OpenAi => json(&Page {
            object: Some("list"),
            data: documents.iter().map(with).collect(),
            first_id,
            last_id,
            has_more,
        }),
        Shape::Anthropic => json(&Page {
            object: None,
            data: documents.iter().map(AnthropicFile::from).collect(),
            first_id,
            last_id,
            has_more,
        }),
    }
}

/// A document that was deleted.
#[must_use]
pub fn deleted(id: &str, shape: Shape) -> String {
    match shape {
        Shape::OpenAi => json(&serde_json::json!({"id": id, "object": "file", "deleted": true})),
        Shape::Anthropic => json(&serde_json::json!({"id": id, "type": "file_deleted"})),
    }
}

/// Strings, numbers and lists of them always become JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Right, Shape, deleted, file, file_value, list};
    use crate::base::time::Millis;
    use crate::domain::documents::manifest::Document;
    use crate::domain::documents::manifest::tests::document;

    fn sample() -> Document {
        Document {
            filename: "r\u{e9}sum\u{e9} \"1\".txt".into(),
            created: Millis(1_700_000_000_999),
            expires: Millis(1_700_604_800_999),
            ..document("file_1", &[4, 5])
        }
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_objects_of_both_protocols() {
        let open_ai = json!({
            "id": "file_1", "object": "file", "bytes": 9, "created_at": 1_700_000_000, "expires_at": 1_700_604_800,
            "filename": "résumé \"1\".txt", "purpose": "user_data", "status": "processed",
        });
        let anthropic = json!({
            "id": "file_1", "type": "file", "filename": "résumé \"1\".txt", "mime_type": "text/plain", "size_bytes": 9,
            "created_at": "2023-11-14T22:13:20.999Z", "downloadable": true,
        });
        assert_eq!(value(&file(&sample(), Shape::OpenAi)), open_ai);
        assert_eq!(value(&file(&sample(), Shape::Anthropic)), anthropic);
        let second = Document {
            id: "file_2".into(),
            ..sample()
        };
        let page = value(&list(&[sample(), second.clone()], true, Shape::OpenAi));
        assert_eq!(page["object"], "list");
        assert_eq!(page["data"][0], file_value(&sample(), Right::Own));
        assert_eq!(
            (&page["first_id"], &page["last_id"], &page["has_more"]),
            (&json!("file_1"), &json!("file_2"), &json!(true))
        );
        let page = value(&list(&[sample()], false, Shape::Anthropic));
        assert_eq!(
            page,
            json!({"data": [anthropic], "first_id": "file_1", "last_id": "file_1", "has_more": false})
        );
    }

    #[test]
    fn an_empty_list_has_no_ids() {
        let expected = json!({"object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false});
        assert_eq!(value(&list(&[], false, Shape::OpenAi)), expected);
    }

    #[test]
    fn what_is_deleted_says_so() {
        assert_eq!(
            value(&deleted("file_1", Shape::OpenAi)),
            json!({"id": "file_1", "object": "file", "deleted": true})
        );
        assert_eq!(
            value(&deleted("file_1", Shape::Anthropic)),
            json!({"id": "file_1", "type": "file_deleted"})
        );
    }
}
