//! What each kind of finding leads to.

use super::report::Kind;
pub use crate::domain::settings::config::scan::{Action, Limits, Policy};

impl Policy {
    /// What a kind leads to.
    #[must_use]
    pub const fn action(&self, kind: Kind) -> Action {
        match kind {
            Kind::Malware => self.malware,
            Kind::Bomb => self.bombs,
            Kind::Disguise => self.disguises,
            Kind::Type => self.types,
            Kind::Archive => self.archives,
            Kind::Image => self.images,
            Kind::Active => self.active,
            Kind::Secret => self.secrets,
            Kind::Personal => self.personal,
            Kind::Injection => self.injection,
        }
    }

    /// Is any of these kinds looked at?
    pub(super) fn looks_at(&self, kind: Kind) -> bool {
        self.action(kind) != Action::Off
    }
}
