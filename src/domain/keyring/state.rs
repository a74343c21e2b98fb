//! The states of a key version.

use serde::{Deserialize, Serialize};

/// What a key version may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Made known to readers; opens, does not seal yet.
    Pending,
    /// Seals and opens. There is exactly one.
    Active,
    /// Opens what it sealed, seals nothing new.
    DecryptOnly,
    /// Neither seals nor opens; its material is kept and can be brought back.
    Retired,
    /// Its material is gone for good.
    Destroyed,
}

impl KeyState {
    /// Its name in documents and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::DecryptOnly => "decrypt_only",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
        }
    }

    /// May what it sealed be opened?
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::DecryptOnly)
    }

    /// The state after an event; `None` when the table has no such transition.
    #[must_use]
    pub fn after(self, event: Event) -> Option<Self> {
        TRANSITIONS
            .iter()
            .find(|(from, by, _)| *from == self && *by == event)
            .map(|(_, _, to)| *to)
    }
}

/// What can happen to a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Readers know it: it seals from now on.
    Activate,
    /// Another version became active.
    Supersede,
    /// Nothing is wrapped under it any more, or it was never used.
    Retire,
    /// Retired too early.
    Restore,
    /// Its material is removed.
    Destroy,
}

/// Every transition there is.
pub const TRANSITIONS: [(KeyState, Event, KeyState); 6] = [
    (KeyState::Pending, Event::Activate, KeyState::Active),
    (KeyState::Pending, Event::Retire, KeyState::Retired),
    (KeyState::Active, Event::Supersede, KeyState::DecryptOnly),
    (KeyState::DecryptOnly, Event::Retire, KeyState::Retired),
    (KeyState::Retired, Event::Restore, KeyState::DecryptOnly),
    (KeyState::Retired, Event::Destroy, KeyState::Destroyed),
];

#[cfg(test)]
mod tests {
    use super::{Event, KeyState, TRANSITIONS};

    #[test]
    fn destroyed_is_final_and_an_active_version_leaves_only_by_being_superseded() {
        for event in [
            Event::Activate,
            Event::Supersede,
            Event::Retire,
            Event::Restore,
            Event::Destroy,
        ] {
            assert_eq!(KeyState::Destroyed.after(event), None);
            let left = KeyState::Active.after(event);
            assert_eq!(
                left,
                (event == Event::Supersede).then_some(KeyState::DecryptOnly)
            );
        }
    }

    #[test]
    fn nothing_that_still_opens_can_be_destroyed() {
        for (from, event, _) in TRANSITIONS {
            assert!(event != Event::Destroy || !from.opens());
        }
    }

    #[test]
    fn only_a_pending_version_becomes_active() {
        for (from, _, to) in TRANSITIONS {
            assert!(to != KeyState::Active || from == KeyState::Pending);
        }
    }
}
