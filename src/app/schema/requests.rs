//! What callers send.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::answers::Time;
use super::objects;
use crate::domain::identity::key_record::{PublicKey, Stores};
use crate::domain::identity::roles::Role;
use crate::domain::limits::rules::State;
use crate::domain::settings::config::{Allowance, Budget, Limit, Proof};

/// All names, or a list of names.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Names {
    /// Every name, also those to come.
    All(All),
    /// These; an empty list is none.
    Only(#[schemars(length(max = 64))] Vec<String>),
}

/// The word for every name.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum All {
    /// Every name.
    All,
}

objects! {
    /// First `token` and `name`; the answer carries an enrolment. Then `enrolment` and `code`.
    #[schemars(deny_unknown_fields)]
    Claim {
        /// The secret `ADMIN_TOKEN`; the enrolment stands for it.
        token: Option<String>,
        /// The operator's name, 1 to 80 characters.
        name: Option<String>,
        /// From the first answer; good for 15 minutes.
        enrolment: Option<String>,
        /// The authenticator's code.
        code: Option<String>,
    }

    /// First `invite` and `name`; the answer carries an enrolment. Then `enrolment` and `code`.
    #[schemars(deny_unknown_fields)]
    Join {
        /// The invite, good once and for 24 hours; the enrolment stands for it.
        invite: Option<String>,
        /// The operator's name, 1 to 80 characters.
        name: Option<String>,
        /// From the first answer; good for 15 minutes.
        enrolment: Option<String>,
        /// The authenticator's code.
        code: Option<String>,
    }

    /// `code` or `recovery_code`.
    #[schemars(deny_unknown_fields)]
    SignIn {
        /// The operator key, `gho_…`.
        key: String,
        /// The authenticator's code; each is good once.
        code: Option<String>,
        /// One of the recovery codes, in place of `code`; each is good once.
        recovery_code: Option<String>,
    }

    /// A code of the second factor.
    #[schemars(deny_unknown_fields)]
    Confirm {
        /// The authenticator's code; each is good once.
        code: String,
    }

    /// First an empty object; then `enrolment` and `code`.
    #[schemars(deny_unknown_fields)]
    ReplaceTotp {
        /// From the first answer.
        enrolment: Option<String>,
        /// The new authenticator's code.
        code: Option<String>,
    }

    /// A page of keys.
    KeysQuery {
        /// `next` of the page before.
        after: Option<String>,
    }

    /// A new API key.
    #[schemars(deny_unknown_fields)]
    ApiKeyCreate {
        /// For people, 1 to 100 characters.
        name: String,
        /// What it may reach.
        scopes: ScopesGiven,
        /// For reports; at most 16.
        #[schemars(default)]
        tags: BTreeMap<String, String>,
        /// Name of a `[[tier]]`.
        tier: Option<String>,
        /// In place of the tier's.
        allowance: Option<Allowance>,
        /// A time to come.
        expires_at: Option<Time>,
        /// For signed requests; at most 4.
        #[schemars(default)]
        public_keys: Vec<PublicKey>,
        /// The secret alone opens nothing: every request must be signed.
        #[schemars(default)]
        must_sign: bool,
    }

    /// Changes of an API key; what is left out stays.
    #[schemars(deny_unknown_fields)]
    ApiKeyChange {
        /// The version that the change is made from; another one is a `conflict`.
        #[schemars(default)]
        version: u32,
        /// For people, 1 to 100 characters.
        #[schemars(default)]
        name: String,
        /// What it may reach; parts that are left out stay.
        #[schemars(default, with = "ScopesGiven")]
        scopes: Option<ScopesGiven>,
        /// For reports; at most 16.
        #[schemars(default)]
        tags: BTreeMap<String, String>,
        /// Name of a `[[tier]]`.
        tier: Option<String>,
        /// In place of the tier's.
        allowance: Option<Allowance>,
        /// A time to come; null: never.
        expires_at: Option<Time>,
        /// For signed requests; at most 4.
        #[schemars(default)]
        public_keys: Vec<PublicKey>,
        /// The secret alone opens nothing: every request must be signed.
        #[schemars(default)]
        must_sign: bool,
    }

    /// What a key may reach. For a new key, what is left out is not allowed, but every endpoint is; in a change it stays.
    #[schemars(deny_unknown_fields)]
    ScopesGiven {
        /// Aliases of models.
        #[schemars(default, with = "Names")]
        aliases: Option<Names>,
        /// Routes such as `/v1/responses/{id}`.
        #[schemars(default, with = "Names")]
        endpoints: Option<Names>,
        /// Documents and stored answers.
        #[schemars(default, with = "Stores")]
        stores: Option<Stores>,
    }

    /// How long the old secret stays good.
    #[schemars(deny_unknown_fields)]
    ApiKeyRotate {
        /// 0 to 2,592,000 (30 days); left out: a day.
        #[schemars(default, range(max = 2_592_000))]
        overlap_seconds: u64,
    }

    /// A new site key.
    #[schemars(deny_unknown_fields)]
    SiteKeyCreate {
        /// For people, at most 100 characters.
        #[schemars(default)]
        name: String,
        /// Pages of these origins may use it, as browsers send them: `https://shop.example`.
        #[schemars(length(min = 1, max = 32))]
        origins: Vec<String>,
        /// The tier of its visitors; else that of `[session]`.
        tier: Option<String>,
        /// The proof that its sessions need; else that of `[session]`.
        proof: Option<Proof>,
        /// Does it make sessions? Left out: yes.
        #[schemars(default)]
        enabled: bool,
        /// Only when the rules still have this version.
        expect: Option<u64>,
    }

    /// Changes of a site key; what is left out stays.
    #[schemars(deny_unknown_fields)]
    SiteKeyChange {
        /// Is not read.
        #[schemars(default)]
        id: String,
        /// For people, at most 100 characters.
        #[schemars(default)]
        name: String,
        /// Pages of these origins may use it.
        #[schemars(default, length(min = 1, max = 32))]
        origins: Vec<String>,
        /// The tier of its visitors; null: that of `[session]`.
        tier: Option<String>,
        /// The proof that its sessions need; null: that of `[session]`.
        proof: Option<Proof>,
        /// Does it make sessions?
        #[schemars(default)]
        enabled: bool,
        /// Only when the rules still have this version.
        expect: Option<u64>,
    }

    /// A version that is expected.
    #[schemars(deny_unknown_fields)]
    Expected {
        /// Only when the rules still have this version.
        expect: Option<u64>,
    }

    /// `allowance`, or `limit` for a class's limits of clients and networks.
    #[schemars(deny_unknown_fields)]
    LimitSet {
        /// `global`, `tenant`, `network`, `client`, `visitor` (each of them), `visitor/<id>`, `key/<id>`, `tier/<name>` or `alias/<name>`; with
        /// `limit`: `limit/<class>` or `limit/<class>/<country>`.
        scope: String,
        /// What each account of the scope may use. A budget that is left out stays.
        #[schemars(default)]
        allowance: Allowance,
        /// What each client and network may use.
        #[schemars(default, with = "Limit")]
        limit: Option<Limit>,
        /// Only when the rules still have this version.
        expect: Option<u64>,
    }

    /// A scope.
    ScopeQuery {
        /// As it was overridden.
        scope: String,
    }

    /// The operators' lists, as one change: what is left out stays.
    #[schemars(deny_unknown_fields)]
    ListsSet {
        /// Blocks of addresses that no deny rule touches (CIDR).
        allow: Option<Vec<String>>,
        /// Blocks of addresses that may not call.
        deny: Option<Vec<String>>,
        /// When not empty, only these countries may call (ISO 3166-1 alpha-2).
        allow_countries: Option<Vec<String>>,
        /// Countries that may not call.
        deny_countries: Option<Vec<String>>,
        /// Autonomous systems that no deny rule touches.
        allow_asns: Option<Vec<u32>>,
        /// Autonomous systems that may not call.
        deny_asns: Option<Vec<u32>>,
        /// Networks that reach the operators' API besides those configured; null: those configured alone. Owners only.
        admin_allow: Option<Vec<String>>,
        /// Only when the rules still have this version.
        expect: Option<u64>,
    }

    /// A block of one of `cidr`, `visitor` and `key`.
    #[schemars(deny_unknown_fields)]
    BlockAdd {
        /// A network.
        cidr: Option<String>,
        /// A visitor's id.
        visitor: Option<String>,
        /// An API key's id.
        key: Option<String>,
        /// For how long; at most a year.
        #[schemars(range(min = 1, max = 31_536_000))]
        seconds: u64,
        /// Why, for operators alone.
        reason: String,
        /// Only when the rules still have this version.
        expect: Option<u64>,
    }

    /// A budget.
    #[schemars(deny_unknown_fields)]
    BudgetSet {
        /// `global`, `tenant`, `network`, `client`, `visitor` (each of them), `visitor/<id>`, `key/<id>`, `tier/<name>` or `alias/<name>`.
        scope: String,
        /// US dollars by window; an empty object takes the budget away.
        budget: Budget,
        /// Only when the rules still have this version.
        expect: Option<u64>,
    }

    /// A flag's value.
    #[schemars(deny_unknown_fields)]
    FlagSet {
        /// true, false, a text; null removes the flag.
        value: Value,
        /// Only when the rules still have this version.
        expect: Option<u64>,
    }

    /// A page of alerts.
    AlertsQuery {
        /// Alerts before this id.
        before: Option<String>,
        /// Alerts in this state.
        state: Option<State>,
    }

    /// A role.
    #[schemars(deny_unknown_fields)]
    RoleGiven {
        /// The role.
        role: Role,
    }

    /// An operator's standing.
    #[schemars(deny_unknown_fields)]
    OperatorChange {
        /// Is the operator kept out?
        disabled: bool,
    }

    /// A provider's key.
    #[schemars(deny_unknown_fields)]
    ProviderKeySet {
        /// 1 to 4096 visible ASCII characters.
        #[schemars(length(min = 1, max = 4096))]
        key: String,
    }

    /// Which entries.
    AuditQuery {
        /// Entries before this index.
        before: Option<u64>,
        /// From this day or time on.
        since: Option<String>,
        /// Before this day or time.
        until: Option<String>,
        /// An action such as `key.create`, or a group such as `key.`.
        action: Option<String>,
        /// `operator`, `key`, `visitor`, `system`, `rule` or `unknown`.
        actor: Option<String>,
        /// `ok`, `refused`, or a code.
        outcome: Option<String>,
        /// What kind of thing it was done to.
        target: Option<String>,
        /// The id of whom it is about.
        subject: Option<String>,
    }

    /// Which entries, and in which form. For `before`, an answer carries `x-gatehouse-next`.
    AuditExportQuery {
        /// `json` (default) or `csv`.
        format: Option<Format>,
        /// Which entries.
        #[schemars(flatten)]
        which: AuditQuery,
    }

    /// A form.
    FormatQuery {
        /// `json` (default) or `csv`.
        format: Option<Format>,
    }

    /// An entry in a log of a size.
    InclusionQuery {
        /// The entry's index.
        index: u64,
        /// The log's size; left out: the present one.
        size: Option<u64>,
    }

    /// Two sizes of the log.
    ConsistencyQuery {
        /// The smaller one.
        from: u64,
        /// The larger one; left out: the present one.
        to: Option<u64>,
    }

    /// A checkpoint to hold the log against.
    #[schemars(deny_unknown_fields)]
    Verify {
        /// The signed checkpoint, all lines.
        checkpoint: String,
        /// `cursor` of the answer before, when there was more to read.
        cursor: Option<Value>,
    }

    /// Which documents.
    DocumentsQuery {
        /// `held_back` by scans (if nothing is said), or `held` by operators.
        state: Option<String>,
        /// `next` of the page before.
        after: Option<String>,
    }

    /// Whose a document is.
    OwnerQuery {
        /// `vis_…` or `key_…`; needed where the document is neither shared nor held.
        owner: Option<String>,
    }

    /// Which version to release.
    #[schemars(deny_unknown_fields)]
    DocumentRelease {
        /// `vis_…` or `key_…`; needed where the document is neither shared nor held.
        owner: Option<String>,
        /// The newest, if nothing is said.
        version: Option<u32>,
    }

    /// A hold.
    #[schemars(deny_unknown_fields)]
    DocumentHold {
        /// `vis_…` or `key_…`; needed where the document is neither shared nor held.
        owner: Option<String>,
        /// Which matter it is for: 1 to 500 bytes.
        reason: String,
    }

    /// Whom to erase.
    #[schemars(deny_unknown_fields)]
    Erase {
        /// The visitor's id, `vis_…`.
        visitor: String,
    }

    /// What to take back to when.
    #[schemars(deny_unknown_fields)]
    Rewind {
        /// The owner: a visitor's id, `vis_…`, or `key_` and the id of an API key.
        owner: String,
        /// The time, RFC 3339, within the last 30 days.
        to: String,
    }

    /// Which snapshot to put back.
    #[schemars(deny_unknown_fields)]
    Restore {
        /// `ADMIN_TOKEN`.
        token: String,
        /// The snapshot's id, `snap_…`.
        snapshot: String,
        /// What came into the house since goes; without it a house that was used refuses.
        discard: Option<bool>,
    }

    /// Which site asks.
    SiteKeyQuery {
        /// `pk_…`; not needed by pages of the site itself.
        site_key: Option<String>,
    }

    /// Something to be remembered.
    MemoryCreate {
        /// What: 1 to 500 characters.
        text: String,
        /// Where it comes from: `you`, or the id of a conversation or a response.
        source: Option<String>,
        /// When it is to be forgotten, such as `2027-01-31T00:00:00Z`; no later than the operator's limit.
        expires_at: Option<String>,
    }

    /// What a new session takes, as `GET /api/session` says.
    #[schemars(deny_unknown_fields)]
    SessionCreate {
        /// `pk_…`; not needed by pages of the site itself.
        site_key: Option<String>,
        /// The answer of Cloudflare Turnstile's widget.
        turnstile: Option<String>,
        /// The puzzle, as it was given.
        challenge: Option<String>,
        /// The puzzle's solution.
        nonce: Option<String>,
    }
}

/// A form of lists.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Format {
    /// JSON.
    Json,
    /// Comma-separated values (RFC 4180).
    Csv,
}
