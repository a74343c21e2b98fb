//! Operators and their sessions.

use super::Time;
use crate::app::schema::objects;
use crate::domain::identity::roles::Role;

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
