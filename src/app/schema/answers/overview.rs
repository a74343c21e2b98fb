//! The house at a glance.

use crate::app::schema::objects;

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
