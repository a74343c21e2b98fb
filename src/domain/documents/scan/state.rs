//! Who may read a document, from what its scans said. The state is kept beside the document and changes in one
//! direction, but for the release by an operator.

use serde::{Deserialize, Serialize};

use super::external::Answer;
use super::report::{Report, Verdict};
use crate::base::time::Millis;

/// What is kept of a version's scans, beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    /// Who may read it.
    pub state: State,
    /// When that was found.
    pub at: Millis,
    /// The report, sealed under the version's data key; `None` where there is nothing to report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

impl Scanned {
    /// What follows where a scan of that version was kept already: an operator's release stands, whatever a scan that
    /// was under way says; beside that the later one counts.
    #[must_use]
    pub fn after(self, known: Option<&Self>) -> Self {
        match known {
            Some(known) if matches!(known.state, State::Released { .. }) => known.clone(),
            _ => self,
        }
    }
}

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It was not scanned to the end.
    Waiting,
    /// Nothing was found.
    Clean,
    /// Something was found that readers are told of.
    Flagged,
    /// Nobody but an operator may read it.
    Quarantined {
        /// What led to it, for the operator.
        why: String,
    },
    /// An operator looked at it and let it go.
    Released {
        /// Who did.
        by: String,
    },
}

/// Who wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Whoever uploaded it.
    Owner,
    /// Somebody with whom it was shared.
    Other,
    /// A model, or the index that it is searched by.
    Model,
    /// An operator.
    Operator,
}

impl State {
    /// The word on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Clean => "clean",
            Self::Flagged => "flagged",
            Self::Quarantined { .. } => "quarantined",
            Self::Released { .. } => "released",
        }
    }

    /// What follows from the scans. `external` is what the external scanner answered, where one is set up; whether its
    /// failure holds a document back was decided before ([`super::external::Answer`]).
    #[must_use]
    pub fn after(report: &Report, external: Option<&Answer>) -> Self {
        if let Some(Answer::Infected { name }) = external {
            return Self::Quarantined {
                why: format!("the external scanner found {name}"),
            };
        }
        match (report.verdict, external) {
            (Verdict::Quarantined, _) => Self::Quarantined { why: why(report) },
            (_, Some(Answer::Unknown { retry: true, .. })) => Self::Waiting,
            (Verdict::Flagged, _) => Self::Flagged,
            (Verdict::Clean, _) => Self::Clean,
        }
    }

    /// Is it held back until an operator looks at it?
    #[must_use]
    pub const fn is_held_back(&self) -> bool {
        matches!(self, Self::Quarantined { .. })
    }

    /// An operator lets a document go that was held back. `None` when it was not.
    #[must_use]
    pub fn released(&self, by: &str) -> Option<Self> {
        matches!(self, Self::Quarantined { .. }).then(|| Self::Released { by: by.to_owned() })
    }

    /// May that one read the document's content? An owner may read what was not scanned yet, for it is their own, but
    /// not what was found to be harmful.
    #[must_use]
    pub const fn may_read(&self, who: Reader) -> bool {
        match (self, who) {
            (_, Reader::Operator)
            | (Self::Clean | Self::Flagged | Self::Released { .. }, _)
            | (Self::Waiting, Reader::Owner) => true,
            (Self::Waiting | Self::Quarantined { .. }, _) => false,
        }
    }
}

/// The rules that led to quarantine, each once.
fn why(report: &Report) -> String {
    let mut rules = Vec::new();
    for finding in &report.findings {
        if finding.action == super::policy::Action::Quarantine && !rules.contains(&finding.rule) {
            rules.push(finding.rule);
        }
    }
    let names = rules.iter().map(|rule| {
        let name = serde_json::to_value(rule).ok();
        name.and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    });
    names.collect::<Vec<_>>().join(", ")
}
