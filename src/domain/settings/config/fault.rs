//! What is wrong with a configuration: key and reason.

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Path of the key, e.g. `alias[1].target[0].provider`.
    pub key: String,
    /// Why the value cannot stand.
    pub reason: String,
}

impl std::fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<ConfigFault>);

impl Faults {
    pub(super) fn add(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        self.0.push(ConfigFault {
            key: key.into(),
            reason: reason.into(),
        });
    }

    pub(super) fn unless(
        &mut self,
        holds: bool,
        key: impl Into<String>,
        reason: impl Into<String>,
    ) {
        if !holds {
            self.add(key, reason);
        }
    }

    /// The reason names the bounds.
    pub(super) fn within(&mut self, key: impl Into<String>, value: u64, least: u64, most: u64) {
        self.unless(
            (least..=most).contains(&value),
            key,
            format!("must lie between {least} and {most}"),
        );
    }
}
