//! What is answered.

mod audit;
mod callers;
mod documents;
mod keyring;
mod keys;
mod operators;
mod overview;
mod rules;
mod sign_in;

use std::borrow::Cow;

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema, json_schema};

use super::objects;

pub use audit::*;
pub use callers::*;
pub use documents::*;
pub use keyring::*;
pub use keys::*;
pub use operators::*;
pub use overview::*;
pub use rules::*;
pub use sign_in::*;

/// A point in time (RFC 3339), in UTC.
pub struct Time;

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

objects! {
    /// An error (RFC 9457).
    Problem {
        /// The page of this kind of error.
        #[schemars(rename = "type")]
        kind: String,
        /// The kind in a sentence, in the reader's language.
        title: String,
        /// The status.
        status: u16,
        /// What was wrong with this request.
        detail: String,
        /// The code, for programs; it never changes its meaning.
        code: String,
        /// What to do next.
        fix: String,
        /// The field or parameter it is about.
        param: Option<String>,
        /// Stands in the log line of the request too.
        request_id: String,
        /// Can the same request succeed later?
        retryable: bool,
        /// After so many milliseconds.
        retry_after_ms: Option<u64>,
        /// Names of the limits that refused.
        violated_policies: Vec<String>,
    }
}
