//! Visitors and keys, for themselves.

use schemars::JsonSchema;
use serde_json::Value;

use super::Time;
use super::keys::Used;
use crate::app::schema::objects;
use crate::app::schema::requests::All;
use crate::domain::identity::key_record::Stores;
use crate::domain::settings::config::Proof;

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
        /// Conversations with their items, as `/v1/conversations/{id}/export` tells them.
        conversations: Vec<Value>,
        /// Memories.
        memories: Vec<Memory>,
        /// Vector stores with their files, as `/v1/vector_stores` tells them.
        vector_stores: Vec<Value>,
        /// What is not in the list.
        not_listed: String,
    }

    /// What its owner wants remembered.
    Memory {
        /// Its id.
        id: String,
        /// `memory`.
        object: String,
        /// What it says.
        text: String,
        /// `you`, or the id of the conversation or response that it comes from.
        source: String,
        /// When it was made.
        created_at: Time,
        /// When it is forgotten.
        expires_at: Time,
    }

    /// Memories.
    MemoryList {
        /// `list`.
        object: String,
        /// The newest first.
        data: Vec<Memory>,
    }

    /// A memory is gone.
    MemoryDeleted {
        /// Its id.
        id: String,
        /// `memory.deleted`.
        object: String,
        /// It is.
        deleted: bool,
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
