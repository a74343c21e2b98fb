//! API keys, and what principals use.

use std::collections::BTreeMap;

use super::Time;
use crate::app::schema::objects;
use crate::app::schema::requests::Names;
use crate::domain::identity::key_record::{PublicKey, Stores};
use crate::domain::settings::config::Allowance;

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
