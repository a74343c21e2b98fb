//! Ages, progress, warnings, and what the schedule asks for. All of it follows from what is stored.

use super::command::PROPAGATION;
use super::ring::{Item, Purpose, Ring, Version};
use super::state::KeyState;
use super::wrap::Wrapper;
use crate::base::time::Millis;

const DAY: Millis = Millis::from_secs(86_400);

/// A version that wraps nothing any more is retired after so long: 1 day, time enough to see that all is well.
pub const RETIRE_AFTER: Millis = DAY;
/// A retired version's material is destroyed after so long: 90 days. The platform can restore an object's rows as they
/// were up to 30 days ago; what it brings back can still be opened.
pub const DESTROY_AFTER: Millis = Millis(DAY.0 * 90);
/// How long the key of session tokens verifies after it was replaced: 31 days. The longest token lives 30 days.
pub const SESSION_OVERLAP: Millis = Millis(DAY.0 * 31);
/// A version that still wraps something so long after it was superseded is worth an alert: 7 days.
pub const DECRYPT_ONLY_ALERT: Millis = Millis(DAY.0 * 7);
/// A version that is pending for so long is worth an alert: 1 hour. The schedule activates it within minutes.
pub const PENDING_ALERT: Millis = Millis::from_secs(3600);

/// Something that an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The active version is older than the configured age; its age.
    RotationDue(Millis),
    /// A version that should only open still wraps keys, long after it was superseded.
    DecryptOnlyTooOld(u32),
    /// A version is pending for long.
    PendingTooLong(u32),
    /// So many versions are wrapped by another root or service than the present one. Until they are wrapped anew,
    /// `MASTER_KEY_PREVIOUS` must stay.
    RootChanged(u32),
    /// An emergency rotation has not raised the floor yet, since so many keys are wrapped below it.
    EmergencyUnfinished(u32),
}

/// The keyring at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The version that seals.
    pub active: u32,
    /// For how long it has been active.
    pub age: Millis,
    /// When the schedule replaces it; `None`: by hand only.
    pub due_in: Option<Millis>,
    /// Every version that is remembered: number, state, how long it has been in that state, how many keys it wraps.
    pub versions: Vec<(u32, KeyState, Millis, usize)>,
    /// How many keys are wrapped by what should wrap them now, of how many.
    pub progress: (usize, usize),
    /// What an operator should know.
    pub warnings: Vec<Warning>,
}

/// The keyring at a glance; `None` before it was made. `rotate_days` 0: versions are replaced by hand only.
#[must_use]
pub fn status(ring: &Ring, now: Millis, rotate_days: u32, wrapper: &Wrapper) -> Option<Status> {
    let active = ring.active()?;
    let age = age_of(active, now);
    let held = ring
        .versions
        .iter()
        .filter(|v| v.state != KeyState::Destroyed)
        .count();
    let all = ring
        .data
        .len()
        .saturating_add(ring.providers.len())
        .saturating_add(held);
    let left = rewrap_plan(ring, wrapper).len();
    let in_state = |v: &Version| {
        (
            v.n,
            v.state,
            now.since(v.since),
            ring.wrapped_under(|n| n == v.n),
        )
    };
    Some(Status {
        active: active.n,
        age,
        due_in: (rotate_days > 0).then(|| days(rotate_days).since(age)),
        versions: ring.versions.iter().map(in_state).collect(),
        progress: (all.saturating_sub(left), all),
        warnings: warnings(ring, now, rotate_days, wrapper),
    })
}

fn warnings(ring: &Ring, now: Millis, rotate_days: u32, wrapper: &Wrapper) -> Vec<Warning> {
    let age = ring
        .active()
        .map_or(Millis::ZERO, |active| age_of(active, now));
    let mut warnings = Vec::new();
    if rotate_days > 0 && age >= days(rotate_days) {
        warnings.push(Warning::RotationDue(age));
    }
    for version in &ring.versions {
        let since = now.since(version.since);
        let used = ring.wrapped_under(|n| n == version.n) > 0;
        match version.state {
            KeyState::DecryptOnly if since >= DECRYPT_ONLY_ALERT && used => {
                warnings.push(Warning::DecryptOnlyTooOld(version.n));
            }
            KeyState::Pending if since >= PENDING_ALERT => {
                warnings.push(Warning::PendingTooLong(version.n))
            }
            _ => {}
        }
    }
    let elsewhere = stray_versions(ring, wrapper).count();
    if elsewhere > 0 {
        warnings.push(Warning::RootChanged(count(elsewhere)));
    }
    if ring.raise_to > ring.floor {
        warnings.push(Warning::EmergencyUnfinished(count(
            ring.wrapped_under(|n| n < ring.raise_to),
        )));
    }
    warnings
}

/// Everything that is not wrapped by what should wrap it now: versions under the present root or service, keys under
/// the active version. It may be done in any order and in as many runs as it takes.
#[must_use]
pub fn rewrap_plan(ring: &Ring, wrapper: &Wrapper) -> Vec<Item> {
    let Some(active) = ring.active().map(|active| active.n) else {
        return Vec::new();
    };
    let versions = stray_versions(ring, wrapper).map(|version| Item::Version(version.n));
    let data = ring.data.iter().filter(|key| key.version != active);
    let providers = ring.providers.iter().filter(|key| key.version != active);
    versions
        .chain(data.map(|key| Item::Data(key.id.clone())))
        .chain(providers.map(|key| Item::Provider(key.name.clone())))
        .collect()
}

/// A step that the schedule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make and begin the version of this number.
    Begin(u32),
    /// Activate this one.
    Activate(u32),
    /// Wrap these anew.
    Rewrap(Vec<Item>),
    /// Take this one out of use.
    Retire(u32),
    /// Remove this one's material.
    Destroy(u32),
    /// Make a new key for session tokens, with an overlap of [`SESSION_OVERLAP`].
    RotateSession,
    /// The same without one: every session is void. It ends an emergency that was cut off before it got there.
    VoidSessions,
}

/// What is due now, in order. A step that fails does not keep the others from being done; what then follows from them
/// is due the next time. Empty before the keyring was made. `rotate_days` 0: nothing is replaced.
#[must_use]
pub fn due(ring: &Ring, now: Millis, rotate_days: u32, wrapper: &Wrapper) -> Vec<Step> {
    let Some(active) = ring.active() else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    let plan = rewrap_plan(ring, wrapper);
    if !plan.is_empty() {
        steps.push(Step::Rewrap(plan));
    }
    for version in &ring.versions {
        let since = now.since(version.since);
        let used = ring.wrapped_under(|n| n == version.n) > 0;
        match version.state {
            KeyState::Pending if since >= PROPAGATION => steps.push(Step::Activate(version.n)),
            KeyState::DecryptOnly if !used && since >= RETIRE_AFTER => {
                steps.push(Step::Retire(version.n))
            }
            KeyState::Retired if !used && since >= DESTROY_AFTER => {
                steps.push(Step::Destroy(version.n))
            }
            _ => {}
        }
    }
    let sessions = ring
        .data
        .iter()
        .filter(|key| key.purpose == Purpose::Session);
    let newest = sessions.map(|key| key.created).max().unwrap_or(now);
    let emergency = ring.version(ring.raise_to).and_then(|v| v.activated);
    if emergency.is_some_and(|at| newest < at) {
        steps.push(Step::VoidSessions);
    }
    if rotate_days == 0 {
        return steps;
    }
    if ring.pending().is_none() && age_of(active, now) >= days(rotate_days) {
        steps.push(Step::Begin(ring.next()));
    }
    if now.since(newest) >= days(rotate_days) {
        steps.push(Step::RotateSession);
    }
    steps
}

fn stray_versions<'a>(ring: &'a Ring, wrapper: &'a Wrapper) -> impl Iterator<Item = &'a Version> {
    let held = ring
        .versions
        .iter()
        .filter(|v| v.state != KeyState::Destroyed);
    held.filter(|version| !wrapper.made(&version.wrap))
}

fn age_of(active: &Version, now: Millis) -> Millis {
    now.since(active.activated.unwrap_or(active.created))
}

const fn days(count: u32) -> Millis {
    Millis(DAY.0.saturating_mul(count as u64))
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
