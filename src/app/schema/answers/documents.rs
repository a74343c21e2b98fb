//! Documents, as operators see them.

use serde_json::Value;

use super::Time;
use crate::app::schema::objects;

objects! {
    /// A version of a document, without its content.
    HeldDocument {
        /// Its id.
        id: String,
        /// Which version.
        version: u32,
        /// Whose it is.
        owner: String,
        /// Its name.
        filename: String,
        /// What it is served as.
        content_type: String,
        /// Length of its content.
        bytes: u64,
        /// SHA-256 of its content, in hex.
        sha256: String,
        /// When it was made.
        created_at: Time,
        /// When it expires.
        expires_at: Time,
        /// Before that nobody deletes it.
        keep_until: Option<Time>,
        /// `waiting`, `clean`, `flagged`, `quarantined` or `released`.
        state: String,
        /// The rules that held it back.
        held_back_for: Option<String>,
        /// What its scan found: kind, rule, severity, place, a masked excerpt.
        findings: Option<Vec<Value>>,
        /// Who holds it, since when and for which matter.
        hold: Option<DocumentHeld>,
        /// With how many it is shared.
        shares: u64,
    }

    /// A hold.
    DocumentHeld {
        /// The operator's id.
        by: String,
        /// Since when.
        since: Time,
        /// Which matter it is for.
        reason: String,
    }

    /// Documents that are held back or held.
    DocumentPage {
        /// Their versions.
        documents: Vec<HeldDocument>,
        /// `after` of the next page.
        next: Option<String>,
    }

    /// A document.
    DocumentVersions {
        /// Its versions, the newest first.
        versions: Vec<HeldDocument>,
    }

    /// A document was deleted.
    DocumentRemoved {
        /// Its id.
        id: String,
        /// It is.
        removed: bool,
    }
}
