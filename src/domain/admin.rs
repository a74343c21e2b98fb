//! The operators' API as one table: method, path, what it does, and which right it takes.
//!
//! The check, the OpenAPI file, the test of every route × role × tenant and the docs are all made of this table.

use crate::base::errors::{Code, Refusal};
use crate::domain::identity::roles::Action;

/// What it takes to call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it leads to a session, or tells nothing but that one is needed.
    Open,
    /// A session, whatever the role.
    Session,
    /// A session whose role has that right.
    Right(Action),
}

/// One endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// HTTP method.
    pub method: &'static str,
    /// Path below `/api/admin`; `{…}` stands for one segment, a last `*` for the rest.
    pub path: &'static str,
    /// What is called.
    pub call: Call,
    /// What it takes.
    pub access: Access,
    /// One line for the docs.
    pub text: &'static str,
}

macro_rules! endpoints {
    ($($method:ident $path:literal $call:ident ($($access:tt)*) $text:literal;)*) => {
        /// What an endpoint does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Call {
            $(#[doc = $text] $call,)*
        }

        /// Every endpoint.
        pub const ENDPOINTS: &[Endpoint] = &[$(Endpoint {
            method: stringify!($method),
            path: $path,
            call: Call::$call,
            access: endpoints!(@ $($access)*),
            text: $text,
        },)*];
    };
    (@ open) => { Access::Open };
    (@ session) => { Access::Session };
    (@ $action:ident) => { Access::Right(Action::$action) };
}

endpoints! {
    GET    "/state"                     State            (open)             "Is the house claimed, and what is missing to set it up?";
    POST   "/claim"                     Claim            (open)             "Become the first owner with ADMIN_TOKEN";
    POST   "/join"                      Join             (open)             "Become an operator with an invite";
    POST   "/sign-in"                   SignIn           (open)             "Begin a session with operator key and second factor";
    POST   "/sign-out"                  SignOut          (session)          "End this session";
    GET    "/me"                        Me               (session)          "Who am I, and what may I do?";
    POST   "/me/confirm"                Confirm          (session)          "Confirm the second factor for what needs it fresh";
    POST   "/me/key"                    OwnKey           (OwnFactors)       "Replace one's own operator key";
    POST   "/me/totp"                   OwnTotp          (OwnFactors)       "Replace one's own second factor";
    POST   "/me/recovery"               OwnRecovery      (OwnFactors)       "Make new recovery codes";
    GET    "/overview"                  Overview         (AlertsRead)       "What stands: alerts, keys, keyring, log";
    GET    "/keys"                      Keys             (KeysRead)         "List API keys";
    POST   "/keys"                      KeyCreate        (KeysWrite)        "Create an API key; its secret is shown once";
    GET    "/keys/{id}"                 Key              (KeysRead)         "One API key, with last use and spend";
    PATCH  "/keys/{id}"                 KeyChange        (KeysWrite)        "Change an API key's name, scopes, limits, expiry";
    POST   "/keys/{id}/rotate"          KeyRotate        (KeysWrite)        "Give a new secret; the old one is good for the overlap";
    DELETE "/keys/{id}"                 KeyRevoke        (KeysWrite)        "Revoke an API key";
    GET    "/site-keys"                 SiteKeys         (SiteKeysRead)     "List publishable site keys";
    POST   "/site-keys"                 SiteKeyCreate    (SiteKeysWrite)    "Create a publishable key bound to origins";
    PUT    "/site-keys/{id}"            SiteKeyChange    (SiteKeysWrite)    "Change a site key, or make a removed one again";
    DELETE "/site-keys/{id}"            SiteKeyRemove    (SiteKeysWrite)    "Remove a site key";
    GET    "/visitors/{id}"             Visitor          (VisitorsRead)     "What is known of a visitor";
    POST   "/visitors/{id}/revoke"      VisitorRevoke    (VisitorsWrite)    "End every session of a visitor";
    POST   "/visitors/revoke-all"       VisitorsRevokeAll (VisitorsRevokeAll) "Void every visitor session issued so far";
    GET    "/limits"                    Limits           (LimitsRead)       "What applies: configured and overridden";
    PUT    "/limits"                    LimitSet         (LimitsWrite)      "Override what a scope may use";
    DELETE "/limits"                    LimitClear       (LimitsWrite)      "Go back to what is configured for a scope";
    GET    "/lists"                     Lists            (ListsRead)        "Allow and deny lists, and blocks";
    PUT    "/lists"                     ListsSet         (ListsWrite)       "Change the operators' lists";
    POST   "/blocks"                    BlockAdd         (ListsWrite)       "Block a network, a visitor or a key for a time";
    DELETE "/blocks/{id}"               BlockRemove      (ListsWrite)       "Lift a block";
    GET    "/budgets"                   Budgets          (BudgetsRead)      "Budgets and what is spent and reserved of them";
    PUT    "/budgets"                   BudgetSet        (BudgetsWrite)     "Override the budget of a scope";
    GET    "/documents"                 Documents        (DocumentsRead)    "Documents that scans held back, or that operators hold";
    POST   "/documents/{id}/release"    DocumentRelease  (DocumentsWrite)   "Let a version go that a scan held back";
    POST   "/documents/{id}/hold"       DocumentHold     (DocumentsWrite)   "Hold a document, whoever asks for its deletion";
    DELETE "/documents/{id}/hold"       DocumentUnhold   (DocumentsWrite)   "End a hold";
    DELETE "/documents/{id}"            DocumentRemove   (DocumentsWrite)   "Delete a document that is not held";
    GET    "/flags"                     Flags            (FlagsRead)        "Flags";
    PUT    "/flags/{name}"              FlagSet          (FlagsWrite)       "Set a flag";
    GET    "/alerts"                    Alerts           (AlertsRead)       "Alerts, newest first";
    POST   "/alerts/{id}/seen"          AlertSeen        (AlertsWrite)      "Acknowledge an alert";
    POST   "/alerts/{id}/undo"          AlertUndo        (AlertsWrite)      "Lift what an alert brought about";
    GET    "/operators"                 Operators        (OperatorsRead)    "Operators and invites";
    POST   "/operators"                 OperatorInvite   (OperatorsInvite)  "Invite an operator; the code is shown once";
    PATCH  "/operators/{id}"            OperatorChange   (OperatorsWrite)   "Disable or enable an operator";
    PUT    "/operators/{id}/role"       OperatorRole     (RolesWrite)       "Change an operator's role";
    DELETE "/operators/{id}"            OperatorRemove   (OperatorsWrite)   "Remove an operator, or withdraw an invite";
    GET    "/sessions"                  Sessions         (OwnSessions)      "One's own sessions; with operators' rights, all";
    DELETE "/sessions/{id}"             SessionEnd       (OwnSessions)      "End a session";
    GET    "/keyring"                   Keyring          (KeyringRead)      "Key versions, states, ages, progress";
    POST   "/keyring/rotate"            KeyringRotate    (KeyringRotate)    "Begin a rotation, or take its next step";
    POST   "/keyring/session"           KeyringSession   (KeyringRotate)    "Replace the key that signs sessions";
    POST   "/keyring/emergency"         KeyringEmergency (KeyringDestroy)   "Rotate at once and raise the floor";
    DELETE "/keyring/{version}"         KeyringDestroy   (KeyringDestroy)   "Destroy a retired version";
    POST   "/keyring/export"            KeyringExport    (KeyringExport)    "Export everything wrapped for recovery";
    GET    "/providers"                 Providers        (ProvidersRead)    "Which providers have a key, and from where";
    PUT    "/providers/{name}/key"      ProviderKeySet   (ProvidersWrite)   "Store a provider's key; it is never shown again";
    DELETE "/providers/{name}/key"      ProviderKeyRemove (ProvidersWrite)  "Remove a stored provider's key";
    GET    "/audit"                     Audit            (AuditRead)        "Entries of the log, newest first";
    GET    "/audit/export"              AuditExport      (AuditExport)      "Entries as JSON or CSV";
    GET    "/audit/checkpoint"          AuditCheckpoint  (AuditVerify)      "The newest signed checkpoint, to keep outside";
    GET    "/audit/key"                 AuditKey         (AuditVerify)      "The key that checkpoints are verified with";
    GET    "/audit/inclusion"           AuditInclusion   (AuditVerify)      "Proof that an entry is in the log";
    GET    "/audit/consistency"         AuditConsistency (AuditVerify)      "Proof that the log only grew";
    POST   "/audit/verify"              AuditVerify      (AuditVerify)      "Hold the log against an older checkpoint";
    GET    "/audit/tile/*"              AuditTile        (AuditRead)        "Tiles of the log (C2SP tlog-tiles)";
    GET    "/backups"                   Backups          (BackupsRead)      "Which snapshots there are, newest first";
    POST   "/backups"                   BackupTake       (BackupsWrite)     "Take a snapshot now, or the next part of one";
    POST   "/rewind"                    Rewind           (BackupsWrite)     "Take what one owner keeps back to an earlier time, by the platform's recovery";
    POST   "/restore"                   Restore          (open)             "Put a snapshot back into an empty house with ADMIN_TOKEN, step by step";
    GET    "/access-review"             AccessReview     (AccessReview)     "Who may do what: operators, keys, last use";
    POST   "/erase"                     Erase            (Erase)            "Erase a visitor's personal data";
}

impl Call {
    /// Fields of the body. One that is not known is refused: a misspelt one would be passed over.
    #[must_use]
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Claim => &["token", "name", "enrolment", "code"],
            Self::Join => &["invite", "name", "enrolment", "code"],
            Self::SignIn => &["key", "code", "recovery_code"],
            Self::Confirm => &["code"],
            Self::OwnTotp => &["enrolment", "code"],
            Self::KeyCreate => &[
                "name",
                "scopes",
                "tags",
                "tier",
                "allowance",
                "expires_at",
                "public_keys",
                "must_sign",
            ],
            Self::KeyChange => &[
                "version",
                "name",
                "scopes",
                "tags",
                "tier",
                "allowance",
                "expires_at",
                "public_keys",
                "must_sign",
            ],
            Self::KeyRotate => &["overlap_seconds"],
            Self::SiteKeyCreate => &["name", "origins", "tier", "proof", "enabled", "expect"],
            // `id` as it was read: the whole object may be sent back.
            Self::SiteKeyChange => &[
                "id", "name", "origins", "tier", "proof", "enabled", "expect",
            ],
            Self::VisitorRevoke | Self::VisitorsRevokeAll => &["expect"],
            Self::LimitSet => &["scope", "allowance", "limit", "expect"],
            Self::ListsSet => &[
                "allow",
                "deny",
                "allow_countries",
                "deny_countries",
                "allow_asns",
                "deny_asns",
                "admin_allow",
                "expect",
            ],
            Self::BlockAdd => &["cidr", "visitor", "key", "seconds", "reason", "expect"],
            Self::BudgetSet => &["scope", "budget", "expect"],
            Self::FlagSet => &["value", "expect"],
            Self::OperatorInvite | Self::OperatorRole => &["role"],
            Self::OperatorChange => &["disabled"],
            Self::ProviderKeySet => &["key"],
            Self::AuditVerify => &["checkpoint", "cursor"],
            Self::DocumentRelease => &["owner", "version"],
            Self::DocumentHold => &["owner", "reason"],
            Self::Restore => &["token", "snapshot", "discard"],
            Self::Erase => &["visitor"],
            Self::Rewind => &["owner", "to"],
            _ => &[],
        }
    }
}

/// An endpoint that was found, with what stood in the place of `{…}` or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub endpoint: &'static Endpoint,
    /// The segment.
    pub id: String,
}

/// Finds the endpoint of a path below `/api/admin`.
///
/// # Errors
/// `not_found`, `method_not_allowed`.
pub fn find(method: &str, path: &str) -> Result<Found, Refusal> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut other: Option<&'static Endpoint> = None;
    // A literal segment goes before a placeholder.
    let mut best: Option<(usize, Found)> = None;
    for endpoint in ENDPOINTS {
        let Some((literal, id)) = matches(endpoint.path, path) else {
            continue;
        };
        if endpoint.method != method {
            other = Some(endpoint);
        } else if best.as_ref().is_none_or(|(known, _)| literal > *known) {
            best = Some((literal, Found { endpoint, id }));
        }
    }
    match (best, other) {
        (Some((_, found)), _) => Ok(found),
        (None, Some(other)) => {
            let mut refusal = Refusal::new(Code::MethodNotAllowed)
                .detail(["This address answers ", other.method, "."].concat());
            refusal.allow = Some(other.method);
            Err(refusal)
        }
        (None, None) => Err(Refusal::new(Code::NotFound)),
    }
}

/// How many segments are literally the same, and the one that is not.
fn matches(pattern: &str, path: &str) -> Option<(usize, String)> {
    if let Some(prefix) = pattern.strip_suffix('*') {
        let rest = path.strip_prefix(prefix)?;
        return (!rest.is_empty()).then(|| (prefix.matches('/').count(), rest.to_owned()));
    }
    let mut own = pattern.split('/');
    let mut given = path.split('/');
    let (mut literal, mut id) = (0_usize, String::new());
    loop {
        match (own.next(), given.next()) {
            (None, None) => return Some((literal, id)),
            (Some(own), Some(given)) if own == given => literal = literal.saturating_add(1),
            (Some(own), Some(given)) if own.starts_with('{') && !given.is_empty() => {
                id = given.to_owned();
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Call, ENDPOINTS, find};
    use crate::base::errors::Code;

    #[test]
    fn every_endpoint_is_found_by_its_own_method_and_path() {
        for endpoint in ENDPOINTS {
            let path = endpoint
                .path
                .replace("{id}", "key_1")
                .replace("{name}", "a")
                .replace("{version}", "3")
                .replace('*', "0/000");
            let found = find(endpoint.method, &path).unwrap();
            assert_eq!(found.endpoint, endpoint, "{path}");
        }
        assert_eq!(find("PUT", "/flags/a").unwrap().id, "a");
        assert_eq!(
            find("GET", "/audit/tile/0/x001/000").unwrap().id,
            "0/x001/000"
        );
        let revoke = find("POST", "/visitors/revoke-all").unwrap();
        assert_eq!(revoke.endpoint.call, Call::VisitorsRevokeAll);
    }

    #[test]
    fn anything_else_is_refused() {
        for (method, path, code) in [
            ("GET", "/nothing", Code::NotFound),
            ("GET", "", Code::NotFound),
            ("GET", "/keys/", Code::NotFound),
            ("GET", "/keys/a/b/c", Code::NotFound),
            ("GET", "/audit/tile/", Code::NotFound),
            ("PUT", "/keys", Code::MethodNotAllowed),
            ("GET", "/claim", Code::MethodNotAllowed),
        ] {
            assert_eq!(
                find(method, path).unwrap_err().code,
                code,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn only_what_leads_to_a_session_or_back_to_a_house_is_open() {
        let open: Vec<Call> = ENDPOINTS
            .iter()
            .filter(|endpoint| endpoint.access == Access::Open)
            .map(|endpoint| endpoint.call)
            .collect();
        assert_eq!(
            open,
            [
                Call::State,
                Call::Claim,
                Call::Join,
                Call::SignIn,
                Call::Restore
            ]
        );
    }
}
