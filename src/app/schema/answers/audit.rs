//! The audit log.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::Time;
use crate::app::schema::objects;

objects! {
    /// An entry of the log.
    AuditEntry {
        /// Where in the log.
        index: u64,
        /// Version of the form.
        v: u32,
        /// Id.
        id: String,
        /// When it happened.
        at: Time,
        /// What acted.
        actor: String,
        /// What was done.
        action: String,
        /// `ok`, or the code of the refusal.
        outcome: String,
        /// The tenant.
        tenant: String,
        /// The request's id.
        #[schemars(skip_serializing_if = "Option::is_none")]
        request: Option<String>,
        /// What kind of thing it was done to.
        #[schemars(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// The actor's fields, or `erased`, `not_kept` or `damaged`.
        #[schemars(skip_serializing_if = "Option::is_none")]
        who: Option<Personal>,
        /// The target's fields, likewise.
        #[schemars(skip_serializing_if = "Option::is_none")]
        what: Option<Personal>,
    }

    /// A page of the log, newest first.
    AuditPage {
        /// Entries.
        entries: Vec<AuditEntry>,
        /// `before` of the next page.
        next: Option<u64>,
    }

    /// The key that checkpoints are verified with.
    AuditKey {
        /// As C2SP signed-note writes it.
        vkey: String,
        /// The log's name in checkpoints.
        origin: String,
    }

    /// Proof that an entry is in the log (RFC 6962 §2.1.1). Hashes are in base64url.
    InclusionProof {
        /// The entry's index.
        index: u64,
        /// The log's size.
        size: u64,
        /// Hash of the entry.
        leaf_hash: String,
        /// Root of the log of that size.
        root: String,
        /// Hashes from the leaf to the root.
        proof: Vec<String>,
    }

    /// Proof that the log only grew (RFC 6962 §2.1.2). Hashes are in base64url.
    ConsistencyProof {
        /// The smaller size.
        from: u64,
        /// The larger size.
        to: u64,
        /// Root of the smaller log.
        old_root: String,
        /// Root of the larger log.
        root: String,
        /// Hashes that join them.
        proof: Vec<String>,
    }

    /// What came of holding the log against a checkpoint.
    Verification {
        /// `consistent`, `more`, `not a checkpoint`, `forged`, `truncated`, `missing`, `changed`, `rewritten` or
        /// `wrong head`.
        verdict: String,
        /// The same in a sentence.
        text: String,
        /// Entries that the checkpoint covers.
        #[schemars(skip_serializing_if = "Option::is_none")]
        checkpoint: Option<u64>,
        /// Entries of the log.
        #[schemars(skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// To be sent back: there is more to read.
        #[schemars(skip_serializing_if = "Option::is_none")]
        cursor: Option<Value>,
        /// The tile that is missing.
        #[schemars(skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// The entry that was changed.
        #[schemars(skip_serializing_if = "Option::is_none")]
        index: Option<u64>,
    }

    /// Somebody or something with access.
    AccessFinding {
        /// `operator` or `key`.
        kind: String,
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// A role and its rights, or scopes.
        rights: Vec<String>,
        /// Since when.
        created: Time,
        /// Until when.
        expires: Option<Time>,
        /// Used last.
        last_used: Option<Time>,
        /// Is it taken away already?
        revoked: bool,
        /// What to ask about: `expired`, `unused`, `never_used`, `no_expiry`, `unbounded`, `no_second_factor`.
        questions: Vec<String>,
    }

    /// Who may do what.
    AccessReview {
        /// Those with questions first.
        access: Vec<AccessFinding>,
        /// Is it everybody? At most 500 are looked at.
        complete: bool,
    }

    /// A visitor was erased.
    Erased {
        /// The visitor's id.
        visitor: String,
        /// It is.
        erased: bool,
        /// Documents that were deleted.
        documents: u64,
    }
}

/// Personal fields, as far as they can be read.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Personal {
    /// The fields.
    Open(BTreeMap<String, Value>),
    /// Why there are none.
    Closed(Closed),
}

/// Why personal fields cannot be read.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Closed {
    /// The person was erased.
    Erased,
    /// There was no place for one more person's key.
    NotKept,
    /// They were changed.
    Damaged,
}
