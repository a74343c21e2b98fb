//! The catalogue of errors, generated from `src/errors.toml`, and the one error value of the house.

use super::time::Millis;

/// Who has to act so that the error goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller: the same request will not succeed unchanged (or not yet).
    Caller,
    /// The operator: a setting, a secret or a key is wrong or missing.
    Operator,
    /// The model provider.
    Upstream,
    /// Gatehouse or the platform under it.
    Gatehouse,
}

/// How loud the log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Everyday refusals.
    Info,
    /// Worth a look when it repeats.
    Warn,
    /// Something failed that should not.
    Error,
    /// Somebody must act.
    Critical,
}

impl Severity {
    /// The word in the log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// What a person reads, in one language.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// One sentence, the same for every occurrence.
    pub title: &'static str,
    /// What to do next.
    pub fix: &'static str,
}

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The stable name, also the last part of `/docs/errors/<code>`.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Who has to act.
    pub fault: Fault,
    /// May the same request succeed later without a change?
    pub retryable: bool,
    /// Level of the log line.
    pub severity: Severity,
    /// `type` of the OpenAI error object.
    pub openai_type: &'static str,
    /// `code` of the OpenAI error object.
    pub openai_code: &'static str,
    /// `type` of the Anthropic error object.
    pub anthropic_type: &'static str,
    /// English.
    pub en: Text,
    /// Simplified Chinese.
    pub zh: Text,
}

include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

/// An error on its way to the caller: a code of the catalogue and what is particular to this occurrence.
///
/// It becomes a response in one place (`app::refuse`) and is logged in one place (`app::record`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The row of the catalogue.
    pub code: Code,
    /// What happened this time, for a person; never a secret, never provider text that was not cleaned.
    pub detail: Option<String>,
    /// The parameter at fault, as a path into the request body (`messages[2].content`).
    pub param: Option<String>,
    /// How long to wait before a retry can succeed.
    pub wait: Option<Millis>,
    /// What few refusals carry; boxed, so that the others stay small.
    extra: Option<Box<Extra>>,
    /// Methods that the address does answer (405 only).
    pub allow: Option<&'static str>,
    /// What went wrong behind the code, for the log alone.
    pub cause: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extra {
    violated: Vec<String>,
    headers: Vec<(&'static str, String)>,
    spent: Option<Spent>,
}

/// What a call took before it was refused, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The alias.
    pub alias: String,
    /// `provider/model` that was asked last.
    pub target: Option<String>,
    /// Input tokens of all attempts.
    pub tokens_in: u64,
    /// Output tokens of all attempts.
    pub tokens_out: u64,
    /// Some of them are our estimate.
    pub tokens_estimated: bool,
    /// Millionths of a US dollar; `None` without a price.
    pub cost_micros: Option<u64>,
    /// Attempts at providers.
    pub attempts: u32,
}

impl Refusal {
    /// A refusal without particulars.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            detail: None,
            param: None,
            wait: None,
            extra: None,
            allow: None,
            cause: None,
        }
    }

    /// Says what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names the parameter at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Notes what went wrong, for the log alone.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Names the limits that refused, as in `RateLimit-Policy`.
    #[must_use]
    pub fn violated(mut self, names: Vec<String>) -> Self {
        self.extra.get_or_insert_default().violated = names;
        self
    }

    /// Adds response headers.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.extra.get_or_insert_default().headers.extend(headers);
        self
    }

    /// The limits that refused.
    #[must_use]
    pub fn violated_limits(&self) -> &[String] {
        self.extra.as_deref().map_or(&[], |extra| &extra.violated)
    }

    /// Response headers that this refusal adds.
    #[must_use]
    pub fn response_headers(&self) -> &[(&'static str, String)] {
        self.extra.as_deref().map_or(&[], |extra| &extra.headers)
    }

    /// Notes what the call took until then.
    #[must_use]
    pub fn spent(mut self, spent: Spent) -> Self {
        self.extra.get_or_insert_default().spent = Some(spent);
        self
    }

    /// What the call took until then.
    #[must_use]
    pub fn what_was_spent(&self) -> Option<&Spent> {
        self.extra.as_deref()?.spent.as_ref()
    }

    /// Says how long to wait.
    #[must_use]
    pub const fn wait(mut self, wait: Millis) -> Self {
        self.wait = Some(wait);
        self
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use super::{CATALOGUE, Code};

    #[test]
    fn every_code_finds_its_own_row() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.entry().code), Some(*code));
        }
        assert_eq!(CATALOGUE.len(), Code::ALL.len());
    }

    #[test]
    fn statuses_and_texts_are_sane() {
        for entry in &CATALOGUE {
            assert!((400..600).contains(&entry.status), "{}", entry.code);
            for text in [entry.en.title, entry.en.fix, entry.zh.title, entry.zh.fix] {
                assert!(!text.is_empty(), "{}", entry.code);
            }
            // A provider's refusal of our key must never look like the caller's own 401.
            if entry.code.starts_with("upstream_") {
                assert_ne!(entry.status, 401);
            }
        }
    }
}
