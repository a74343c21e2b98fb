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

    /// A snapshot. One that cannot be opened has neither sizes nor an end.
    Backup {
        /// Its id, `snap_…`.
        id: String,
        /// When the first object was read.
        begun_at: Time,
        /// When the last one was.
        ended_at: Option<Time>,
        /// How many objects.
        objects: Option<u64>,
        /// How many rows.
        rows: Option<u64>,
        /// How many bytes before they were sealed.
        bytes: Option<u64>,
        /// Does it open with the present `MASTER_KEY` or the previous one?
        usable: bool,
    }

    /// The snapshots.
    BackupList {
        /// Newest first, at most 100.
        backups: Vec<Backup>,
        /// `[backup] every_hours`.
        every_hours: u32,
        /// `[backup] keep`.
        keep: u32,
    }

    /// A snapshot, or a part of one.
    BackupTaken {
        /// Its id.
        snapshot: String,
        /// Objects so far.
        objects: u64,
        /// Is it whole? If not, the same call takes the next part.
        done: bool,
    }

    /// What an owner keeps now.
    Rewound {
        /// Whose.
        owner: String,
        /// As of when.
        to: Time,
        /// Documents that are there as they were.
        documents: u64,
        /// Documents whose content was deleted since: they stay away.
        documents_gone: u64,
        /// Why conversations and memories are as they are now; null when they went back.
        memory_kept: Option<String>,
        /// The same of vector stores.
        stores_kept: Option<String>,
    }

    /// How far a restore is.
    RestoreStep {
        /// Is everything back? If not, the same call takes the next step.
        done: bool,
        /// Pieces that were looked through before anything is written.
        checked: Option<u64>,
        /// Pieces that are back.
        restored: Option<u64>,
        /// Pieces of the snapshot.
        of: Option<u64>,
        /// The snapshot.
        snapshot: String,
        /// When it began.
        begun_at: Time,
        /// How old it is: what came since is lost.
        age_seconds: u64,
        /// Documents of it that were deleted since, and stay so.
        documents_gone: Option<u64>,
    }
}
