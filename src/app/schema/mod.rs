//! The shapes of requests and answers, for the OpenAPI file. Only a host test builds this (feature `schema`); it sends a
//! request to every endpoint and holds what comes back against these shapes.
//!
//! The handlers read fields by hand, which keeps the wasm small. What is here says the same in types.

pub mod answers;
pub mod requests;

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};

use crate::domain::admin::Call;
use answers as a;
use requests as r;

/// Adds a type to a generator.
pub type Make = fn(&mut SchemaGenerator) -> Schema;

/// What an answer carries.
#[derive(Clone, Copy)]
pub enum Content {
    /// JSON of a type.
    Json(Make),
    /// A download of one of these content types.
    File(&'static [&'static str]),
    /// Nothing.
    Empty,
}

/// What goes in and what comes out.
pub struct Shape {
    /// The query's parameters: the properties of an object.
    pub query: Option<Make>,
    /// The body.
    pub body: Option<Make>,
    /// Answers by status.
    pub answers: Vec<(u16, Content)>,
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn gives<T: JsonSchema>() -> Shape {
    Shape {
        query: None,
        body: None,
        answers: vec![(200, Content::Json(of::<T>))],
    }
}

fn file(types: &'static [&'static str]) -> Shape {
    Shape {
        query: None,
        body: None,
        answers: vec![(200, Content::File(types))],
    }
}

impl Shape {
    fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some(of::<T>);
        self
    }

    fn asks<T: JsonSchema>(mut self) -> Self {
        self.query = Some(of::<T>);
        self
    }

    fn or<T: JsonSchema>(mut self, status: u16) -> Self {
        self.answers.push((status, Content::Json(of::<T>)));
        self
    }

    fn created(mut self) -> Self {
        for (status, _) in &mut self.answers {
            *status = 201;
        }
        self
    }
}

/// An endpoint of operators.
#[must_use]
pub fn admin(call: Call) -> Shape {
    match call {
        Call::State => gives::<a::HouseState>(),
        Call::Claim => gives::<a::Enrolment>()
            .takes::<r::Claim>()
            .or::<a::Joined>(201),
        Call::Join => gives::<a::Enrolment>()
            .takes::<r::Join>()
            .or::<a::Joined>(201),
        Call::SignIn => gives::<a::SignedIn>().takes::<r::SignIn>(),
        Call::SignOut => gives::<a::SignedOut>(),
        Call::Me => gives::<a::OperatorSelf>(),
        Call::Confirm => gives::<a::Confirmed>().takes::<r::Confirm>(),
        Call::OwnKey => gives::<a::NewOperatorKey>(),
        Call::OwnTotp => gives::<a::TotpStep>().takes::<r::ReplaceTotp>(),
        Call::OwnRecovery => gives::<a::RecoveryCodes>(),
        Call::Overview => gives::<a::Overview>(),
        Call::Keys => gives::<a::ApiKeyPage>().asks::<r::KeysQuery>(),
        Call::KeyCreate => gives::<a::ApiKeyMade>()
            .takes::<r::ApiKeyCreate>()
            .created(),
        Call::Key => gives::<a::ApiKeyWithUse>(),
        Call::KeyChange => gives::<a::ApiKey>().takes::<r::ApiKeyChange>(),
        Call::KeyRotate => gives::<a::ApiKeyRotated>().takes::<r::ApiKeyRotate>(),
        Call::KeyRevoke => gives::<a::ApiKey>(),
        Call::SiteKeys => gives::<a::SiteKeyList>(),
        Call::SiteKeyCreate => gives::<a::SiteKeyChanged>()
            .takes::<r::SiteKeyCreate>()
            .created(),
        Call::SiteKeyChange => gives::<a::SiteKeyChanged>().takes::<r::SiteKeyChange>(),
        Call::SiteKeyRemove => gives::<a::SiteKeyRemoved>(),
        Call::Visitor => gives::<a::Visitor>(),
        Call::VisitorRevoke => gives::<a::VisitorRevoked>().takes::<r::Expected>(),
        Call::VisitorsRevokeAll => gives::<a::AllRevoked>().takes::<r::Expected>(),
        Call::Limits => gives::<a::LimitsInForce>(),
        Call::LimitSet => gives::<a::LimitChanged>().takes::<r::LimitSet>(),
        Call::LimitClear => gives::<a::LimitCleared>().asks::<r::ScopeQuery>(),
        Call::Lists => gives::<a::Lists>(),
        Call::ListsSet => gives::<a::ListsChanged>().takes::<r::ListsSet>(),
        Call::BlockAdd => gives::<a::BlockAdded>().takes::<r::BlockAdd>(),
        Call::BlockRemove => gives::<a::BlockLifted>(),
        Call::Budgets => gives::<a::BudgetList>(),
        Call::BudgetSet => gives::<a::BudgetChanged>().takes::<r::BudgetSet>(),
        Call::Flags => gives::<a::FlagList>(),
        Call::FlagSet => gives::<a::FlagChanged>().takes::<r::FlagSet>(),
        Call::Alerts => gives::<a::AlertPage>().asks::<r::AlertsQuery>(),
        Call::AlertSeen | Call::AlertUndo => gives::<a::AlertMarked>(),
        Call::Operators => gives::<a::OperatorList>(),
        Call::OperatorInvite => gives::<a::Invited>().takes::<r::RoleGiven>().created(),
        Call::OperatorChange => gives::<a::OperatorChanged>().takes::<r::OperatorChange>(),
        Call::OperatorRole => gives::<a::OperatorRole>().takes::<r::RoleGiven>(),
        Call::OperatorRemove => gives::<a::Removed>(),
        Call::Sessions => gives::<a::SessionList>(),
        Call::SessionEnd => gives::<a::SessionEnded>(),
        Call::Keyring => gives::<a::KeyringStatus>(),
        Call::KeyringRotate => gives::<a::RotationStep>(),
        Call::KeyringSession => gives::<a::SessionKeyStep>(),
        Call::KeyringEmergency => gives::<a::EmergencyDone>(),
        Call::KeyringDestroy => gives::<a::VersionDestroyed>(),
        Call::KeyringExport => file(&["application/json"]),
        Call::Providers => gives::<a::ProviderList>(),
        Call::ProviderKeySet => gives::<a::ProviderKey>().takes::<r::ProviderKeySet>(),
        Call::ProviderKeyRemove => gives::<a::ProviderKey>(),
        Call::Audit => gives::<a::AuditPage>().asks::<r::AuditQuery>(),
        Call::AuditExport => {
            file(&["application/json", "text/csv; charset=utf-8"]).asks::<r::AuditExportQuery>()
        }
        Call::AuditCheckpoint => file(&["text/plain; charset=utf-8"]),
        Call::AuditKey => gives::<a::AuditKey>(),
        Call::AuditInclusion => gives::<a::InclusionProof>().asks::<r::InclusionQuery>(),
        Call::AuditConsistency => gives::<a::ConsistencyProof>().asks::<r::ConsistencyQuery>(),
        Call::AuditVerify => gives::<a::Verification>().takes::<r::Verify>(),
        Call::AuditTile => file(&["application/octet-stream"]),
        Call::AccessReview => {
            let mut shape = gives::<a::AccessReview>().asks::<r::FormatQuery>();
            shape
                .answers
                .push((200, Content::File(&["text/csv; charset=utf-8"])));
            shape
        }
        Call::Documents => gives::<a::DocumentPage>().asks::<r::DocumentsQuery>(),
        Call::DocumentRelease => gives::<a::DocumentVersions>().takes::<r::DocumentRelease>(),
        Call::DocumentHold => gives::<a::DocumentVersions>().takes::<r::DocumentHold>(),
        Call::DocumentUnhold => gives::<a::DocumentVersions>().asks::<r::OwnerQuery>(),
        Call::DocumentRemove => gives::<a::DocumentRemoved>().asks::<r::OwnerQuery>(),
        Call::Backups => gives::<a::BackupList>(),
        Call::BackupTake => gives::<a::BackupTaken>(),
        Call::Rewind => gives::<a::Rewound>().takes::<r::Rewind>(),
        Call::Restore => gives::<a::RestoreStep>().takes::<r::Restore>(),
        Call::Erase => gives::<a::Erased>().takes::<r::Erase>(),
    }
}

/// An endpoint of visitors and keys below `/api`; `None` where there is no such one.
#[must_use]
pub fn own(method: &str, path: &str) -> Option<Shape> {
    Some(match (method, path) {
        ("GET", "/api/session") => gives::<a::SessionTerms>().asks::<r::SiteKeyQuery>(),
        ("POST", "/api/session") => gives::<a::Session>().takes::<r::SessionCreate>(),
        ("DELETE", "/api/session") => Shape {
            query: None,
            body: None,
            answers: vec![(204, Content::Empty)],
        },
        ("GET", "/api/me") => gives::<a::Caller>(),
        ("GET", "/api/me/usage") => gives::<a::Used>(),
        ("GET", "/api/me/export") => gives::<a::OwnData>(),
        ("GET", "/api/me/memories") => gives::<a::MemoryList>(),
        ("POST", "/api/me/memories") => gives::<a::Memory>().takes::<r::MemoryCreate>(),
        ("DELETE", "/api/me/memories/{id}") => gives::<a::MemoryDeleted>(),
        ("POST", "/api/me/erase") => gives::<a::OwnErased>(),
        _ => return None,
    })
}

/// An error.
#[must_use]
pub fn problem() -> Make {
    of::<a::Problem>
}

/// Declares objects whose fields are all public.
macro_rules! objects {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $of:ty,)* })*) => {
        $(
            #[derive(schemars::JsonSchema)]
            $(#[$meta])*
            pub struct $name {
                $($(#[$field_meta])* pub $field: $of,)*
            }
        )*
    };
}
use objects;
