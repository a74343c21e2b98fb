//! Snapshots of what the objects keep: where they lie in the bucket, their formats, and how they are sealed.
//!
//! ```text
//! backup/pieces/<snapshot>/<n>-<random>   pages of objects' rows, sealed
//! backup/snapshots/<snapshot>             the manifest, sealed and written last: without it there is no snapshot
//! backup/running                          how far the one under way is, sealed
//! backup/checked/<snapshot>               how far a large one was looked through before it is put back, sealed
//! backup/erased/<time>-<digest>           somebody was erased then, and must not come back
//! ```

pub mod format;
pub mod names;
pub mod sealing;

use crate::base::time::Millis;

/// How long the platform can take an object back: 30 days × 86,400 s.
pub const KEPT_BY_PLATFORM: Millis = Millis::from_secs(2_592_000);

/// Is the next snapshot due? `last` is when the newest began; 0 hours: never.
#[must_use]
pub fn is_due(now: Millis, last: Option<Millis>, every_hours: u32) -> bool {
    let every = Millis::from_secs(u64::from(every_hours).saturating_mul(3_600));
    every_hours > 0 && last.is_none_or(|last| last.plus(every) <= now)
}

#[cfg(test)]
mod tests {
    use super::is_due;
    use crate::base::time::Millis;

    #[test]
    fn a_snapshot_is_due_after_its_hours_and_never_when_they_are_off() {
        let last = Some(Millis::from_secs(100));
        let hour = |seconds: u64| Millis::from_secs(100 + seconds);
        assert!(is_due(hour(0), None, 1));
        assert!(!is_due(hour(3_599), last, 1));
        assert!(is_due(hour(3_600), last, 1));
        assert!(!is_due(hour(1_000_000_000), last, 0) && !is_due(hour(0), None, 0));
    }
}
