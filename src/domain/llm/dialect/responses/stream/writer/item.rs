//! The item that is open, and the objects of items.

use serde_json::Value;

use crate::domain::llm::dialect::responses::items;
use crate::domain::llm::dialect::responses::wire::seal;

/// The item that is open.
#[derive(Debug)]
pub(super) struct Item {
    pub index: u64,
    pub id: String,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Message {
        /// The parts that are complete.
        parts: Vec<Value>,
        open: Option<Part>,
    },
    Call {
        id: String,
        name: String,
        arguments: String,
    },
    Reasoning {
        text: String,
        signature: Option<String>,
        sealed: Option<String>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Part {
    pub refusal: bool,
    pub text: String,
    pub annotations: Vec<Value>,
}

pub(super) const TEXT_DELTA: &str = "response.output_text.delta";

impl Kind {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Call { .. } => "function_call",
            Self::Reasoning { .. } => "reasoning",
        }
    }

    pub const fn prefix(&self) -> &'static str {
        match self {
            Self::Message { .. } => "msg",
            Self::Call { .. } => "fc",
            Self::Reasoning { .. } => "rs",
        }
    }
}

impl Part {
    pub const fn delta_event(&self) -> &'static str {
        if self.refusal {
            "response.refusal.delta"
        } else {
            TEXT_DELTA
        }
    }

    pub fn object(&self) -> Value {
        if self.refusal {
            items::refusal(&self.text)
        } else {
            items::output_text(&self.text, &self.annotations)
        }
    }
}

impl Item {
    pub fn object(&self, status: &str) -> Value {
        match &self.kind {
            Kind::Message { parts, .. } => items::message(&self.id, status, parts),
            Kind::Call {
                id,
                name,
                arguments,
            } => items::call(&self.id, status, id, name, arguments),
            Kind::Reasoning {
                text,
                signature,
                sealed,
            } => {
                let summary = (!text.is_empty()).then(|| items::summary_text(text));
                let encrypted = seal(signature.as_deref(), sealed.as_deref());
                items::reasoning(&self.id, summary.as_slice(), encrypted.as_deref())
            }
        }
    }
}

/// Is a citation in this dialect's own form?
pub(super) fn is_annotation(citation: &Value) -> bool {
    let has = |name: &str| citation.get(name).is_some_and(Value::is_string);
    match citation.get("type").and_then(Value::as_str) {
        Some("url_citation") => has("url"),
        Some("file_citation" | "container_file_citation" | "file_path") => has("file_id"),
        _ => false,
    }
}
