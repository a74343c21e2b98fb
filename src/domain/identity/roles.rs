//! Roles and what each may do: one table, for the check and for the docs.

use serde::{Deserialize, Serialize};

/// What an operator is in the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, including other owners.
    Owner,
    /// The daily work: keys, limits, budgets, people below.
    Admin,
    /// Reads use, spend and the audit log; changes nothing of the house.
    Analyst,
    /// Helps visitors: sees them, ends their sessions.
    Support,
}

impl Role {
    /// All of them, the most powerful first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Analyst, Self::Support];

    /// The word in requests, in rows and in the docs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Analyst => "analyst",
            Self::Support => "support",
        }
    }

    /// Reads [`Role::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Does the table allow it?
    #[must_use]
    pub const fn may(self, action: Action) -> bool {
        action.roles() & self.bit() != 0
    }

    /// May this role change an operator of the other role, or make one? Owners may change anybody; an admin only those
    /// below, so that nobody can raise another to their own rank.
    #[must_use]
    pub const fn manages(self, other: Self) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => matches!(other, Self::Analyst | Self::Support),
            Self::Analyst | Self::Support => false,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Owner => 1,
            Self::Admin => 2,
            Self::Analyst => 4,
            Self::Support => 8,
        }
    }
}

const OWNER: u8 = Role::Owner.bit();
const ADMIN: u8 = OWNER | Role::Admin.bit();
const ANALYST: u8 = ADMIN | Role::Analyst.bit();
const SUPPORT: u8 = ADMIN | Role::Support.bit();
const EVERYONE: u8 = ANALYST | SUPPORT;

/// The table. Each set names who joins owner and admin; the flag asks for a recent code of the second factor.
macro_rules! table {
    ($($action:ident $name:literal $roles:ident $fresh:literal $text:literal;)*) => {
        /// Something that an operator does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $(#[doc = $text] $action,)*
        }

        impl Action {
            /// All of them, in the order of the docs.
            pub const ALL: &[Self] = &[$(Self::$action,)*];

            /// The stable name, in the audit log and in the docs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$action => $name,)* }
            }

            /// What it means, in one line.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$action => $text,)* }
            }

            /// Does it need a code of the second factor confirmed within `admin.fresh_seconds`?
            #[must_use]
            pub const fn fresh(self) -> bool {
                match self { $(Self::$action => $fresh,)* }
            }

            const fn roles(self) -> u8 {
                match self { $(Self::$action => $roles,)* }
            }
        }
    };
}

table! {
    KeysRead         "keys.read"         EVERYONE false "See API keys (never their secrets)";
    KeysWrite        "keys.write"        ADMIN    true  "Create, rotate, change and revoke API keys";
    SiteKeysRead     "site_keys.read"    EVERYONE false "See site keys";
    SiteKeysWrite    "site_keys.write"   ADMIN    true  "Create, change and remove site keys";
    VisitorsRead     "visitors.read"     SUPPORT  false "See visitors and their sessions";
    VisitorsWrite    "visitors.write"    SUPPORT  true  "End and revoke visitors' sessions";
    VisitorsRevokeAll "visitors.revoke_all" ADMIN true  "Void every visitor session issued so far";
    LimitsRead       "limits.read"       EVERYONE false "See limits and tiers";
    LimitsWrite      "limits.write"      ADMIN    false "Change limits and tiers";
    ListsRead        "lists.read"        SUPPORT  false "See allow and deny lists and blocks";
    ListsWrite       "lists.write"       ADMIN    true  "Change allow and deny lists, block and unblock";
    AdminAllow       "admin.allow"       OWNER    true  "Change from which networks operators come";
    BudgetsRead      "budgets.read"      ANALYST  false "See budgets and what is left of them";
    BudgetsWrite     "budgets.write"     ADMIN    true  "Change budgets";
    FlagsRead        "flags.read"        ANALYST  false "See feature flags";
    FlagsWrite       "flags.write"       ADMIN    false "Change feature flags";
    DocumentsRead    "documents.read"    SUPPORT  false "See which documents are held back or held (never their content)";
    DocumentsWrite   "documents.write"   ADMIN    true  "Release, hold and delete visitors' documents";
    AlertsRead       "alerts.read"       EVERYONE false "See alerts";
    AlertsWrite      "alerts.write"      SUPPORT  false "Acknowledge alerts and undo what they did";
    OwnSessions      "own.sessions"      EVERYONE false "See and end one's own sessions";
    OwnFactors       "own.factors"       EVERYONE true  "Replace one's own key, second factor and recovery codes";
    OperatorsRead    "operators.read"    ADMIN    false "See operators, invites and operators' sessions";
    OperatorsInvite  "operators.invite"  ADMIN    true  "Invite operators of a lower role (owners: of any) and withdraw invites";
    OperatorsWrite   "operators.write"   ADMIN    true  "Disable, enable and remove operators of a lower role (owners: any)";
    OperatorsSessions "operators.sessions" ADMIN  false "End the sessions of operators of a lower role (owners: of any)";
    RolesWrite       "roles.write"       OWNER    true  "Change an operator's role";
    KeyringRead      "keyring.read"      ADMIN    false "See key versions and their states";
    KeyringRotate    "keyring.rotate"    ADMIN    true  "Rotate keys";
    KeyringDestroy   "keyring.destroy"   OWNER    true  "Retire and destroy key versions, emergency rotation";
    KeyringExport    "keyring.export"    OWNER    true  "Export the keyring for recovery";
    ProvidersRead    "providers.read"    ADMIN    false "See which providers have a key";
    ProvidersWrite   "providers.write"   ADMIN    true  "Store and remove providers' keys (write-only)";
    AuditRead        "audit.read"        ANALYST  false "Read the audit log";
    AuditVerify      "audit.verify"      EVERYONE false "Ask for checkpoints and proofs of the audit log";
    AuditExport      "audit.export"      ADMIN    true  "Export the audit log";
    AccessReview     "access.review"     ADMIN    false "Export who may do what";
    BackupsRead      "backups.read"      ADMIN    false "See which snapshots there are";
    BackupsWrite     "backups.write"     ADMIN    true  "Take a snapshot now, or what one owner keeps back to an earlier time";
    Erase            "erasure.write"     ADMIN    true  "Erase a visitor's data";
}

/// The table in Markdown. `yes`: may; `yes*`: may, after a code confirmed within `admin.fresh_seconds`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| Action | What it is |");
    for role in Role::ALL {
        text.push(' ');
        text.push_str(role.name());
        text.push_str(" |");
    }
    text.push_str("\n|---|---|---|---|---|---|\n");
    for action in Action::ALL {
        text.push_str("| `");
        text.push_str(action.name());
        text.push_str("` | ");
        text.push_str(action.text());
        text.push_str(" |");
        for role in Role::ALL {
            text.push_str(match (role.may(*action), action.fresh()) {
                (true, true) => " yes* |",
                (true, false) => " yes |",
                (false, _) => " |",
            });
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Action, Role, markdown};

    fn rights(role: Role) -> BTreeSet<&'static str> {
        let may = Action::ALL.iter().filter(|action| role.may(**action));
        may.map(|action| action.name()).collect()
    }

    #[test]
    fn an_owner_may_everything_and_an_admin_all_that_the_others_may() {
        assert_eq!(rights(Role::Owner).len(), Action::ALL.len());
        for role in [Role::Analyst, Role::Support] {
            assert!(rights(Role::Admin).is_superset(&rights(role)));
            assert!(rights(Role::Admin).len() > rights(role).len());
        }
        assert!(rights(Role::Owner).len() > rights(Role::Admin).len());
    }

    #[test]
    fn names_are_unique() {
        assert_eq!(rights(Role::Owner).len(), Action::ALL.len());
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name()), Some(role));
            assert_eq!(
                serde_json::to_string(&role).unwrap(),
                format!("\"{}\"", role.name())
            );
        }
        assert_eq!(Role::from_name("Owner"), None);
    }

    #[test]
    fn what_analysts_and_support_may_change() {
        let writes = |role| -> Vec<&str> {
            let names = rights(role).into_iter();
            names
                .filter(|name| !name.ends_with(".read") && *name != "audit.verify")
                .collect()
        };
        assert_eq!(writes(Role::Analyst), ["own.factors", "own.sessions"]);
        assert_eq!(
            writes(Role::Support),
            [
                "alerts.write",
                "own.factors",
                "own.sessions",
                "visitors.write"
            ]
        );
        let owner_only: Vec<_> = rights(Role::Owner)
            .difference(&rights(Role::Admin))
            .copied()
            .collect();
        assert_eq!(
            owner_only,
            [
                "admin.allow",
                "keyring.destroy",
                "keyring.export",
                "roles.write"
            ]
        );
    }

    #[test]
    fn nobody_below_an_owner_manages_their_equal_or_better() {
        for (rank, role) in Role::ALL.into_iter().enumerate() {
            for (other_rank, other) in Role::ALL.into_iter().enumerate() {
                let manages = role.manages(other);
                assert!(role == Role::Owner || !manages || rank < other_rank);
                // Managing is of use only to those who may act on operators at all.
                assert!(!manages || role.may(Action::OperatorsWrite));
            }
            assert!(Role::Owner.manages(role));
        }
    }

    #[test]
    fn the_docs_table_says_what_the_check_does() {
        let text = markdown();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(2)
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows.len(), Action::ALL.len());
        for (row, action) in rows.iter().zip(Action::ALL) {
            assert_eq!(row[1], format!("`{}`", action.name()));
            for (cell, role) in row[3..7].iter().zip(Role::ALL) {
                assert_eq!(!cell.is_empty(), role.may(*action), "{row:?}");
                assert_eq!(*cell == "yes*", role.may(*action) && action.fresh());
            }
        }
    }
}
