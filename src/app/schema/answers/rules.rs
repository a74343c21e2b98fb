//! What changes while the house runs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::Time;
use super::keys::Used;
use crate::app::schema::objects;
use crate::domain::limits::rules::{Level, State};
use crate::domain::settings::config::{Access, Allowance, Budget, Limit, Proof};

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
        /// Of each client.
        client: Allowance,
        /// Of each network.
        network: Allowance,
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
