//! What is answered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::Value;

use super::objects;
use super::requests::{All, Names};
use crate::domain::identity::key_record::{PublicKey, Stores};
use crate::domain::identity::roles::Role;
use crate::domain::limits::rules::{Level, State};
use crate::domain::settings::config::{Access, Allowance, Budget, Limit, Proof};

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

// === errors ===

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

// === becoming an operator, signing in ===

objects! {
    /// Is the house claimed?
    HouseState {
        /// Has it an owner?
        claimed: bool,
        /// Is `ADMIN_TOKEN` set, or not needed any more?
        admin_token_set: bool,
        /// What to do next.
        next: String,
    }

    /// The first answer to a newcomer: what to keep, and what to send back.
    Enrolment {
        /// To be sent back within 15 minutes.
        enrolment: String,
        /// `gho_…`: shown once.
        operator_key: String,
        /// For the authenticator, in base32.
        totp_secret: String,
        /// The same as an `otpauth` address.
        totp_uri: String,
        /// When the enrolment is void.
        expires_at: Time,
        /// What to do next.
        next: String,
    }

    /// A new operator.
    Joined {
        /// The operator's id.
        operator: String,
        /// Shown once; each is good once in place of a code.
        recovery_codes: Vec<String>,
        /// What to do next.
        next: String,
    }

    /// A session.
    SignedIn {
        /// The operator's id.
        operator: String,
        /// Name.
        name: String,
        /// Role.
        role: Role,
        /// The session's id.
        session: String,
        /// Recovery codes that are left.
        recovery_codes_left: u32,
        /// The session's token: also the cookie, or `Authorization: Bearer` for programs.
        token: String,
        /// Until when no other code is asked for.
        fresh_until: Time,
    }

    /// The session is over.
    SignedOut {
        /// It is.
        signed_out: bool,
    }

    /// Who is signed in.
    OperatorSelf {
        /// The operator's id.
        operator: String,
        /// Name.
        name: String,
        /// Role.
        role: Role,
        /// The session's id.
        session: String,
        /// The tenant.
        tenant: String,
        /// Until when no other code is asked for.
        fresh_until: Time,
        /// Is it so now?
        fresh: bool,
        /// Recovery codes that are left.
        recovery_codes_left: u32,
        /// Names of the rights.
        may: Vec<String>,
    }

    /// The second factor is confirmed.
    Confirmed {
        /// Until when no other code is asked for.
        fresh_until: Time,
    }

    /// A new operator key.
    NewOperatorKey {
        /// `gho_…`: shown once.
        operator_key: String,
    }

    /// The first step: a new secret.
    NewTotp {
        /// To be sent back.
        enrolment: String,
        /// For the authenticator, in base32.
        totp_secret: String,
        /// The same as an `otpauth` address.
        totp_uri: String,
    }

    /// The second step.
    TotpReplaced {
        /// It is.
        replaced: bool,
    }

    /// New recovery codes.
    RecoveryCodes {
        /// Shown once.
        recovery_codes: Vec<String>,
    }
}

/// One of two steps.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum TotpStep {
    /// The first.
    New(NewTotp),
    /// The second.
    Replaced(TotpReplaced),
}

// === overview ===

objects! {
    /// What stands.
    Overview {
        /// The tenant.
        tenant: String,
        /// Open alerts, at most 100.
        open_alerts: u32,
        /// Version of the rules.
        rules_version: u64,
        /// Rows of the rules that cannot be read, and so are not in force.
        damaged_rules: Vec<String>,
        /// Site keys.
        site_keys: u32,
        /// Blocks.
        blocks: u32,
        /// The keyring.
        keyring: Option<OverviewKeyring>,
        /// The audit log.
        audit: OverviewAudit,
    }

    /// The keyring, in short.
    OverviewKeyring {
        /// The active version.
        active: u32,
        /// Its age in days.
        age_days: u64,
        /// How many warnings there are.
        warnings: u32,
    }

    /// The audit log, in short.
    OverviewAudit {
        /// How many entries it has.
        entries: u64,
        /// How many the newest checkpoint covers.
        checkpoint: Option<u64>,
    }
}

// === keys ===

objects! {
    /// A page of keys.
    ApiKeyPage {
        /// The keys.
        keys: Vec<ApiKeyEntry>,
        /// `after` of the next page.
        next: Option<String>,
    }

    /// A key in the list.
    ApiKeyEntry {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// When it was made.
        created_at: Time,
        /// By which operator.
        created_by: String,
        /// When it was revoked.
        revoked_at: Option<Time>,
    }

    /// What a key may reach.
    Scopes {
        /// Aliases of models.
        aliases: Names,
        /// Routes.
        endpoints: Names,
        /// Documents and stored answers.
        stores: Stores,
    }

    /// An API key; its secret is not here.
    ApiKey {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// Counts the changes.
        version: u32,
        /// What it may reach.
        scopes: Scopes,
        /// For reports.
        tags: BTreeMap<String, String>,
        /// Name of a `[[tier]]`.
        tier: Option<String>,
        /// In place of the tier's.
        allowance: Option<Allowance>,
        /// When it ends.
        expires_at: Option<Time>,
        /// For signed requests.
        public_keys: Vec<PublicKey>,
        /// Must every request be signed?
        must_sign: bool,
        /// When it was made.
        created_at: Time,
        /// By which operator.
        created_by: String,
        /// When its secret was made.
        secret_since: Time,
        /// Until when an earlier secret is good too: the last of their times.
        overlap_until: Option<Time>,
        /// When it was revoked.
        revoked_at: Option<Time>,
        /// When it was last used, to the minute.
        last_used_at: Option<Time>,
    }

    /// A new key.
    ApiKeyMade {
        /// The key's settings.
        #[schemars(flatten)]
        settings: ApiKey,
        /// `gh_…`: shown once.
        key: String,
        /// What to do next.
        next: String,
    }

    /// A key with a new secret.
    ApiKeyRotated {
        /// The key's settings.
        #[schemars(flatten)]
        settings: ApiKey,
        /// `gh_…`: shown once.
        key: String,
    }

    /// A key, with what it used.
    ApiKeyWithUse {
        /// The key's settings.
        #[schemars(flatten)]
        settings: ApiKey,
        /// What it used.
        used: Used,
    }

    /// What an account used.
    Used {
        /// Money by window; windows without a budget are not counted.
        spend: Vec<Spend>,
        /// Calls that are running.
        running: u32,
        /// Reservations that are not settled.
        open_reservations: u32,
        /// What holds it back.
        hold: Option<Hold>,
    }

    /// Money in a window.
    Spend {
        /// The window's name.
        window: String,
        /// US dollars, in decimals.
        spent_usd: String,
        /// US dollars of calls that are not settled.
        reserved_usd: String,
        /// When the window began.
        since: Time,
        /// When it ends.
        until: Time,
    }

    /// Something that holds an account back.
    Hold {
        /// When it ends.
        until: Time,
        /// Are limits at a quarter? Else nothing is admitted.
        slow: bool,
        /// Why.
        reason: String,
    }
}

// === what changes while the house runs ===

objects! {
    /// The request that restores what stood before.
    Undo {
        /// Method.
        method: String,
        /// Path and query.
        path: String,
        /// Body.
        #[schemars(skip_serializing_if = "Option::is_none")]
        body: Option<Value>,
    }

    /// What a change came to.
    Change {
        /// The rules' new version.
        version: u64,
        /// How to undo it; null where it cannot be.
        undo: Option<Undo>,
    }

    /// A site key.
    SiteKey {
        /// `pk_…`
        id: String,
        /// Name.
        name: String,
        /// Pages of these origins may use it.
        origins: Vec<String>,
        /// The tier of its visitors.
        tier: Option<String>,
        /// The proof that its sessions need.
        proof: Option<Proof>,
        /// Does it make sessions?
        enabled: bool,
    }

    /// Every site key.
    SiteKeyList {
        /// The site keys.
        site_keys: Vec<SiteKey>,
        /// Version of the rules.
        version: u64,
    }

    /// A site key that was made or changed.
    SiteKeyChanged {
        /// The site key.
        #[schemars(flatten)]
        site_key: SiteKey,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// A site key that was removed.
    SiteKeyRemoved {
        /// Its id.
        id: String,
        /// It is.
        removed: bool,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// A block.
    Block {
        /// Id.
        id: String,
        /// Whom it is for.
        what: BlockTarget,
        /// When it ends.
        until: Time,
        /// Why.
        reason: String,
        /// By which operator.
        by: String,
    }

    /// What is known of a visitor.
    Visitor {
        /// Id.
        id: String,
        /// Sessions are void until then.
        sessions_void_until: Option<Time>,
        /// Blocks.
        blocks: Vec<Block>,
        /// What it used.
        used: Used,
    }

    /// A visitor's sessions are void.
    VisitorRevoked {
        /// The visitor's id.
        id: String,
        /// Until when.
        sessions_void_until: Time,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// Every session is void.
    AllRevoked {
        /// Those issued before.
        void_before: Time,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// What is configured.
    LimitsConfigured {
        /// Of clients and networks.
        limits: Vec<Limit>,
        /// By `tier/<name>`.
        tiers: BTreeMap<String, Allowance>,
        /// By `alias/<name>`.
        aliases: BTreeMap<String, Allowance>,
        /// Of the tenant.
        tenant: Option<Allowance>,
        /// Of all tenants.
        global: Allowance,
    }

    /// What operators set.
    LimitsOverridden {
        /// By scope.
        allowances: BTreeMap<String, Allowance>,
        /// By scope.
        limits: BTreeMap<String, Limit>,
    }

    /// What applies.
    LimitsInForce {
        /// Version of the rules.
        version: u64,
        /// What is configured.
        configured: LimitsConfigured,
        /// What lies over it.
        overridden: LimitsOverridden,
    }

    /// A scope has other limits.
    LimitChanged {
        /// The scope.
        scope: String,
        /// What each account may use.
        #[schemars(skip_serializing_if = "Option::is_none")]
        allowance: Option<Allowance>,
        /// What each client and network may use.
        #[schemars(skip_serializing_if = "Option::is_none")]
        limit: Option<Limit>,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// A scope has what is configured.
    LimitCleared {
        /// The scope.
        scope: String,
        /// It is.
        cleared: bool,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// Lists and blocks.
    Lists {
        /// Version of the rules.
        version: u64,
        /// What is configured.
        configured: Access,
        /// What lies over it.
        lists: Access,
        /// Networks that reach the operators' API besides those configured; null: those configured alone.
        admin_allow: Option<Vec<String>>,
        /// Blocks.
        blocks: Vec<Block>,
    }

    /// The lists are others.
    ListsChanged {
        /// The lists.
        lists: Access,
        /// Networks that reach the operators' API besides those configured; null: those configured alone.
        admin_allow: Option<Vec<String>>,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// A block was made.
    BlockAdded {
        /// The block.
        #[schemars(flatten)]
        block: Block,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// A block was lifted.
    BlockLifted {
        /// Its id.
        id: String,
        /// It is.
        lifted: bool,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// A budget and its use.
    BudgetInForce {
        /// The scope.
        scope: String,
        /// US dollars by window.
        budget: Budget,
        /// Was it set by an operator?
        overridden: bool,
        /// What is spent and reserved of it.
        used: Used,
    }

    /// Every budget.
    BudgetList {
        /// Those of single accounts: tiers have one for each principal.
        budgets: Vec<BudgetInForce>,
        /// Version of the rules.
        version: u64,
    }

    /// A scope has another budget.
    BudgetChanged {
        /// The scope.
        scope: String,
        /// US dollars by window.
        budget: Budget,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// Every flag.
    FlagList {
        /// By name.
        flags: BTreeMap<String, Value>,
        /// Version of the rules.
        version: u64,
    }

    /// A flag has another value.
    FlagChanged {
        /// Name.
        name: String,
        /// Value.
        value: Value,
        /// What it came to.
        #[schemars(flatten)]
        change: Change,
    }

    /// An alert.
    Alert {
        /// Id.
        id: String,
        /// When it was first raised.
        at: Time,
        /// How often.
        count: u32,
        /// The rule's name.
        kind: String,
        /// The account or network.
        about: String,
        /// Why, in a sentence.
        reason: String,
        /// How bad.
        level: Level,
        /// When what it brought about ends.
        until: Time,
        /// What became of it.
        state: State,
        /// By which operator.
        by: Option<String>,
        /// Is there something to lift?
        can_undo: bool,
    }

    /// A page of alerts, newest first.
    AlertPage {
        /// The alerts.
        alerts: Vec<Alert>,
        /// Are there older ones?
        more: bool,
    }

    /// An alert's new state.
    AlertMarked {
        /// Id.
        id: String,
        /// State.
        state: State,
    }
}

/// Whom a block is for.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum BlockTarget {
    /// A network.
    Cidr(String),
    /// A visitor's id.
    Visitor(String),
    /// An API key's id.
    Key(String),
}

// === operators ===

objects! {
    /// An operator.
    Operator {
        /// Id.
        id: String,
        /// Name.
        name: String,
        /// Role.
        role: Role,
        /// Since when.
        created_at: Time,
        /// Invited by whom; null for whoever claimed the house.
        created_by: Option<String>,
        /// Is the operator kept out?
        disabled: bool,
    }

    /// An invite; its code is not here.
    Invite {
        /// Id.
        id: String,
        /// What the newcomer will be.
        role: Role,
        /// By which operator.
        by: String,
        /// When it is void.
        expires_at: Time,
        /// The operator who came of it.
        used_by: Option<String>,
    }

    /// Operators and invites.
    OperatorList {
        /// Operators.
        operators: Vec<Operator>,
        /// Invites.
        invites: Vec<Invite>,
    }

    /// A new invite.
    Invited {
        /// Id.
        id: String,
        /// What the newcomer will be.
        role: Role,
        /// The code: shown once.
        invite: String,
        /// Where it is used.
        join_url: String,
        /// What to do next.
        next: String,
    }

    /// An operator was let in or kept out.
    OperatorChanged {
        /// Id.
        id: String,
        /// Is the operator kept out?
        disabled: bool,
    }

    /// An operator has another role.
    OperatorRole {
        /// Id.
        id: String,
        /// Role.
        role: Role,
    }

    /// Something was removed.
    Removed {
        /// Id.
        id: String,
        /// It is.
        removed: bool,
    }

    /// A session of an operator.
    OperatorSession {
        /// Id.
        id: String,
        /// The operator's id.
        operator: String,
        /// When it began.
        created_at: Time,
        /// When it was last used.
        seen_at: Time,
        /// When it ends.
        until: Time,
        /// From which address, hashed.
        from: String,
        /// The client's name for itself.
        agent: String,
        /// Is it this one?
        current: bool,
    }

    /// Sessions.
    SessionList {
        /// Sessions.
        sessions: Vec<OperatorSession>,
    }

    /// A session was ended.
    SessionEnded {
        /// Id.
        id: String,
        /// It is.
        ended: bool,
    }
}

// === keyring ===

objects! {
    /// A version of the key that wraps the others.
    KeyVersion {
        /// Number.
        version: u32,
        /// `pending`, `active`, `decrypt-only`, `retired` or `destroyed`.
        state: String,
        /// For how long.
        in_state_seconds: u64,
        /// How many keys it wraps.
        wraps: u32,
    }

    /// A key that does something.
    DataKey {
        /// What.
        purpose: String,
        /// Id.
        id: String,
        /// The version that wraps it.
        wrapped_under: u32,
        /// When it was made.
        created_at: Time,
        /// A replaced key verifies until then.
        verifies_until: Option<Time>,
    }

    /// The keyring.
    KeyringStatus {
        /// The active version.
        active: u32,
        /// Its age.
        age_seconds: u64,
        /// When it is to be replaced; null: never by itself.
        due_in_seconds: Option<u64>,
        /// Versions below are never used again.
        floor: u32,
        /// Grows with every change.
        revision: u64,
        /// `master key` or `kms`.
        wrapped_by: String,
        /// How many keys are wrapped as they should be …
        rewrapped: u64,
        /// … of how many.
        of: u64,
        /// Versions.
        versions: Vec<KeyVersion>,
        /// Keys that they wrap.
        data_keys: Vec<DataKey>,
        /// What should be done, in words.
        warnings: Vec<String>,
    }

    /// A step of a rotation.
    RotationStep {
        /// `begun` or `activated`.
        step: String,
        /// The new version.
        version: u32,
        /// What to do next.
        #[schemars(skip_serializing_if = "Option::is_none")]
        next: Option<String>,
        /// Keys that were wrapped anew.
        #[schemars(skip_serializing_if = "Option::is_none")]
        rewrapped: Option<u32>,
    }

    /// The key of sessions was replaced.
    SessionKeyStep {
        /// What was done.
        step: String,
    }

    /// The emergency rotation is done.
    EmergencyDone {
        /// The new version.
        version: u32,
        /// Keys that were wrapped anew.
        rewrapped: u32,
        /// `void`.
        sessions: String,
        /// What to do next.
        next: String,
    }

    /// A version's material is gone.
    VersionDestroyed {
        /// Number.
        version: u32,
        /// It is.
        destroyed: bool,
    }

    /// A provider of the configuration.
    Provider {
        /// Name.
        name: String,
        /// Has it what it needs?
        active: bool,
        /// Variables and secrets that would make it active.
        secrets: Vec<String>,
        /// Is a key stored?
        stored: bool,
        /// By which operator.
        stored_by: Option<String>,
        /// When.
        stored_at: Option<Time>,
        /// Why the stored key cannot be read.
        fault: Option<String>,
    }

    /// Providers.
    ProviderList {
        /// Providers.
        providers: Vec<Provider>,
    }

    /// A provider's key was stored or removed.
    ProviderKey {
        /// The provider's name.
        name: String,
        /// Is a key stored?
        stored: bool,
    }
}

// === audit ===

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

// === visitors and keys ===

objects! {
    /// What a new session takes.
    SessionTerms {
        /// How it proves that it is worth one.
        proof: Proof,
        /// How long a session's token is good for.
        ttl_seconds: u64,
        /// The puzzle: find a `nonce`.
        #[schemars(skip_serializing_if = "Option::is_none")]
        challenge: Option<String>,
        /// Leading zero bits that are asked for.
        #[schemars(skip_serializing_if = "Option::is_none")]
        bits: Option<u32>,
        /// Turnstile's public key.
        #[schemars(skip_serializing_if = "Option::is_none")]
        turnstile_site_key: Option<String>,
    }

    /// A session. Pages of the site itself get it as a cookie, others as a token.
    Session {
        /// `session`.
        object: String,
        /// The visitor's id.
        visitor: String,
        /// When it ends.
        expires_at: Time,
        /// In how many seconds.
        expires_in: u64,
        /// For `Authorization: Bearer`, to be kept in memory.
        #[schemars(skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// `Bearer`.
        #[schemars(skip_serializing_if = "Option::is_none")]
        token_type: Option<String>,
    }

    /// A caller without a credential.
    AnonymousCaller {
        /// `anonymous`.
        kind: String,
        /// The tenant.
        tenant: String,
    }

    /// A session, as its visitor sees it.
    OwnSession {
        /// When it ends.
        expires_at: Time,
        /// The origin that it was given to.
        origin: Option<String>,
    }

    /// A visitor.
    VisitorCaller {
        /// `visitor`.
        kind: String,
        /// The visitor's id.
        id: String,
        /// The tenant.
        tenant: String,
        /// The tier.
        tier: Option<String>,
        /// The session; null for a visitor that is known by a cookie alone.
        session: Option<OwnSession>,
    }

    /// An API key.
    KeyCaller {
        /// `key`.
        kind: String,
        /// The key's id.
        id: String,
        /// Name.
        name: String,
        /// The tenant.
        tenant: String,
        /// The tier.
        tier: Option<String>,
        /// What it may reach.
        scopes: StoredScopes,
        /// When it ends.
        expires_at: Option<Time>,
    }

    /// What a key may reach, as its owner sees it.
    StoredScopes {
        /// Aliases of models.
        aliases: StoredNames,
        /// Routes.
        endpoints: StoredNames,
        /// Documents and stored answers.
        stores: Stores,
    }

    /// These names.
    OnlyNames {
        /// An empty list is none.
        only: Vec<String>,
    }

    /// Everything that is kept of the caller under its own name.
    OwnData {
        /// Who.
        me: Caller,
        /// What it used.
        usage: Used,
        /// Documents, as `/v1/files` lists them.
        documents: Vec<Value>,
        /// What is not in the list.
        not_listed: String,
    }

    /// The caller is erased.
    OwnErased {
        /// It is.
        erased: bool,
        /// Documents that were deleted.
        documents: u64,
    }
}

/// All names, or some.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum StoredNames {
    /// Every name.
    All(All),
    /// Some.
    Only(OnlyNames),
}

/// Who the caller is.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Caller {
    /// A key.
    Key(KeyCaller),
    /// A visitor.
    Visitor(VisitorCaller),
    /// Nobody known.
    Anonymous(AnonymousCaller),
}
