//! One entry: who did what, when, and how it ended. No secrets, no content of documents or conversations.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::digest::{Bytes32, base64url, from_base64url, hmac_sha256};
use crate::base::json::canonical_object;
use crate::base::time::Millis;

/// Longest name, id or code in a leaf, in bytes; longer ones are cut.
pub const MAX_NAME_BYTES: usize = 128;
/// Most bytes of one person's fields, as JSON; beyond it only the subject is kept.
pub const MAX_PERSONAL_BYTES: usize = 2048;

/// What acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Somebody who administers the house.
    Operator,
    /// An API key.
    Key,
    /// A visitor of the site.
    Visitor,
    /// Gatehouse by itself: the cron, an alarm.
    System,
    /// A rule against unusual use.
    Rule,
    /// Nobody known: credentials that were refused.
    Unknown,
}

impl Actor {
    /// As in the leaf.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Key => "key",
            Self::Visitor => "visitor",
            Self::System => "system",
            Self::Rule => "rule",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What was done: the catalogue of what is recorded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As in the leaf: the thing and what happened to it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

actions! {
    /// The first operator claimed the house.
    HouseClaim = "house.claim",
    /// A snapshot was put back, or somebody tried to.
    HouseRestore = "house.restore",
    /// An operator took a snapshot.
    BackupTake = "backup.take",
    /// What an owner keeps was taken back to an earlier time, or somebody tried to.
    OwnerRewind = "owner.rewind",
    /// An operator signed in, or tried to.
    OperatorSignIn = "operator.sign_in",
    /// An operator signed out.
    OperatorSignOut = "operator.sign_out",
    /// An operator's session was ended by somebody.
    OperatorSessionEnd = "operator.session_end",
    /// An operator confirmed a second factor for a dangerous action, or tried to.
    OperatorConfirm = "operator.confirm",
    /// Somebody was invited to be an operator.
    OperatorInvite = "operator.invite",
    /// An invitation was taken up.
    OperatorJoin = "operator.join",
    /// An operator's role or name was changed.
    OperatorChange = "operator.change",
    /// An operator was removed.
    OperatorRemove = "operator.remove",
    /// An operator's second factor or key was replaced.
    OperatorCredentials = "operator.credentials",
    /// A recovery code was used, or new ones were made.
    OperatorRecovery = "operator.recovery",
    /// An API key was made.
    KeyCreate = "key.create",
    /// An API key's scopes, limits, expiry or tags were changed.
    KeyChange = "key.change",
    /// An API key's secret was replaced.
    KeyRotate = "key.rotate",
    /// An API key was revoked.
    KeyRevoke = "key.revoke",
    /// A secret or public key of an API key was used for the first time.
    KeyFirstUse = "key.first_use",
    /// An API key was used that had not been used for long.
    KeyDormantUse = "key.dormant_use",
    /// A site key was made.
    SiteKeyCreate = "site_key.create",
    /// A site key was changed.
    SiteKeyChange = "site_key.change",
    /// A site key was revoked.
    SiteKeyRevoke = "site_key.revoke",
    /// A visitor's session was revoked.
    SessionRevoke = "session.revoke",
    /// Credentials were refused.
    AuthRefuse = "auth.refuse",
    /// Limits were changed.
    LimitsChange = "limits.change",
    /// Allow or deny lists were changed.
    ListsChange = "lists.change",
    /// A budget was changed.
    BudgetChange = "budget.change",
    /// A budget's threshold was passed.
    BudgetAlert = "budget.alert",
    /// A rule slowed somebody down or blocked them.
    AbuseHold = "abuse.hold",
    /// An operator undid it.
    AbuseUndo = "abuse.undo",
    /// An alert was acknowledged.
    AlertClose = "alert.close",
    /// A key version was made, activated or retired.
    KeyringRotate = "keyring.rotate",
    /// Key material was destroyed.
    KeyringDestroy = "keyring.destroy",
    /// A recovery export was made.
    KeyringExport = "keyring.export",
    /// A provider's key was stored.
    ProviderKeyStore = "provider_key.store",
    /// A provider's key was removed.
    ProviderKeyRemove = "provider_key.remove",
    /// Another setting was changed.
    SettingsChange = "settings.change",
    /// Somebody's data was erased.
    SubjectErase = "subject.erase",
    /// A document was released that a scan held back.
    DocumentRelease = "document.release",
    /// A document was held.
    DocumentHold = "document.hold",
    /// A hold of a document ended.
    DocumentUnhold = "document.unhold",
    /// An operator deleted a document.
    DocumentRemove = "document.remove",
    /// Access was reviewed.
    AccessReview = "access.review",
    /// The log was read.
    AuditRead = "audit.read",
    /// The log was exported.
    AuditExport = "audit.export",
    /// The log was verified.
    AuditVerify = "audit.verify",
    /// Something was to be recorded that cannot be read.
    AuditUnreadable = "audit.unreadable",
}

impl Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.iter().find(|action| action.name() == name);
        found
            .copied()
            .ok_or_else(|| serde::de::Error::custom("not an action"))
    }
}

/// What belongs to one person, and is readable as long as that person's key is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// Whose key it lies under: an operator's, visitor's or API key's id.
    pub subject: String,
    /// Name, hashed address, and what else there is to say.
    #[serde(default)]
    pub fields: Map<String, Value>,
}

impl Personal {
    /// What is committed to and sealed: the fields and the subject, in one form for every order.
    #[must_use]
    pub fn text(&self) -> String {
        let mut fields = self.fields.clone();
        fields.insert("subject".to_owned(), Value::from(cut(&self.subject)));
        let text = canonical_object(&fields);
        if text.len() <= MAX_PERSONAL_BYTES {
            return text;
        }
        fields.retain(|name, _| name == "subject");
        fields.insert("omitted".to_owned(), Value::Bool(true));
        canonical_object(&fields)
    }
}

/// An entry, before it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Unique: the same again is the same entry.
    pub id: String,
    /// When it happened.
    pub at: Millis,
    /// What acted.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// The code of the refusal; `None` when it was done.
    #[serde(default)]
    pub refused: Option<String>,
    /// Where.
    pub tenant: String,
    /// The request's id; empty without one.
    #[serde(default)]
    pub request: String,
    /// What kind of thing it was done to.
    #[serde(default)]
    pub target: Option<String>,
    /// The actor's own fields.
    #[serde(default)]
    pub who: Option<Personal>,
    /// The target's own fields.
    #[serde(default)]
    pub what: Option<Personal>,
}

impl Entry {
    /// An entry with nothing but what every entry has.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        at: Millis,
        actor: Actor,
        action: Action,
        tenant: &str,
    ) -> Self {
        Self {
            id: id.into(),
            at,
            actor,
            action,
            refused: None,
            tenant: tenant.to_owned(),
            request: String::new(),
            target: None,
            who: None,
            what: None,
        }
    }

    /// An event of the outbox. One that cannot be read becomes an entry that says so: it must not hold up the others.
    #[must_use]
    pub fn of_event(
        id: &str,
        event: &str,
        refused: Option<&str>,
        now: Millis,
        tenant: &str,
    ) -> Self {
        let unreadable = |_| Self::new("", now, Actor::System, Action::AuditUnreadable, tenant);
        let mut entry = serde_json::from_str(event).unwrap_or_else(unreadable);
        id.clone_into(&mut entry.id);
        tenant.clone_into(&mut entry.tenant);
        if let Some(code) = refused {
            entry.refused = Some(code.to_owned());
        }
        entry
    }

    /// The text for [`crate::base::outbox::Command::Do`].
    #[must_use]
    pub fn to_event(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The leaf: canonical JSON of what is not personal, and the commitments to what is.
    #[must_use]
    pub fn leaf(&self, who: Option<&Commitment>, what: Option<&Commitment>) -> String {
        let mut leaf = Map::new();
        let mut put = |name: &str, value: Value| drop(leaf.insert(name.to_owned(), value));
        put("v", Value::from(1));
        put("id", Value::from(cut(&self.id)));
        put("at", Value::from(self.at.rfc3339()));
        put("actor", Value::from(self.actor.name()));
        put("action", Value::from(self.action.name()));
        put("tenant", Value::from(cut(&self.tenant)));
        let outcome = self.refused.as_deref().unwrap_or("ok");
        put("outcome", Value::from(cut(outcome)));
        if !self.request.is_empty() {
            put("request", Value::from(cut(&self.request)));
        }
        if let Some(target) = &self.target {
            put("target", Value::from(cut(target)));
        }
        for (name, commitment) in [("who", who), ("what", what)] {
            if let Some(commitment) = commitment {
                put(name, Value::from(base64url(&commitment.0)));
            }
        }
        canonical_object(&leaf)
    }
}

/// The front of a name that is too long, at a character's boundary.
fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME_BYTES))
        .unwrap_or(name)
}

/// `HMAC-SHA-256(salt, personal text)`. The salt makes it say nothing about fields that could be guessed; it is sealed
/// with them, and gone with their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(pub Bytes32);

impl Commitment {
    /// Commits to a personal text.
    #[must_use]
    pub fn to(salt: &Bytes32, text: &str) -> Self {
        Self(hmac_sha256(salt, text.as_bytes()))
    }
}

/// Characters of the salt in base64url: ⌈32 × 8 / 6⌉.
const SALT_CHARS: usize = 43;

/// What is sealed: the salt and the personal text.
#[must_use]
pub fn salted(salt: &Bytes32, text: &str) -> String {
    [&base64url(salt), text].concat()
}

/// The fields of what was sealed, if the commitment of the leaf is to them.
#[must_use]
pub fn opened(salted: &[u8], commitment: &str) -> Option<Map<String, Value>> {
    let (salt, text) = str::from_utf8(salted).ok()?.split_at_checked(SALT_CHARS)?;
    let salt: Bytes32 = from_base64url(salt)?.try_into().ok()?;
    if base64url(&Commitment::to(&salt, text).0) != commitment {
        return None;
    }
    serde_json::from_str(text).ok()
}
