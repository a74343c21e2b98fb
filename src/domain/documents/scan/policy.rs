//! What findings lead to, and from where on something is a bomb. The configuration's `[documents.scan]` has this form.

use serde::{Deserialize, Serialize};

use super::report::Kind;

/// What a finding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is not looked at.
    Off,
    /// It is told to those who read the document.
    Flag,
    /// Nobody but an operator may read the document.
    Quarantine,
}

/// What each kind leads to, and the limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Known malware.
    pub malware: Action,
    /// Archives and images that become too much.
    pub bombs: Action,
    /// Active content under the type of something inert.
    pub disguises: Action,
    /// Types that are not accepted or not as declared.
    pub types: Action,
    /// What archives hide.
    pub archives: Action,
    /// Images that are not whole.
    pub images: Action,
    /// Scripts, macros and actions where they belong to the format.
    pub active: Action,
    /// Credentials.
    pub secrets: Action,
    /// Data about persons.
    pub personal: Action,
    /// What addresses a model.
    pub injection: Action,
    /// From where on something is a bomb.
    pub limits: Limits,
    /// Accepted types, as `[documents] types` has them; with none, every type is accepted.
    #[serde(skip)]
    pub accepted: Vec<String>,
}

/// From where on something is a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most bytes that an archive may unpack to.
    pub expanded_bytes: u64,
    /// Most bytes that one byte of an archive may unpack to, of an entry and of all; it counts from `ratio_from_bytes`.
    pub ratio: u64,
    /// Bytes unpacked below which the ratio does not matter.
    pub ratio_from_bytes: u64,
    /// Most entries of an archive.
    pub entries: u64,
    /// Most pixels of an image, all of its frames counted for a hundredth.
    pub pixels: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            malware: Action::Quarantine,
            bombs: Action::Quarantine,
            disguises: Action::Quarantine,
            types: Action::Flag,
            archives: Action::Flag,
            images: Action::Flag,
            active: Action::Flag,
            secrets: Action::Flag,
            personal: Action::Flag,
            injection: Action::Flag,
            limits: Limits::default(),
            accepted: Vec::new(),
        }
    }
}

impl Default for Limits {
    /// Deflate writes at most 1,032 bytes for one (zlib, "Maximum Compression Factor"); text comes to 20, tables of an
    /// office document to 100.
    fn default() -> Self {
        Self {
            expanded_bytes: 4_294_967_296, // 4 GiB
            ratio: 200,
            ratio_from_bytes: 33_554_432, // 32 MiB
            entries: 100_000,
            pixels: 100_000_000, // 400 MB as RGBA
        }
    }
}

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
