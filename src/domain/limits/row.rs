//! One row of the limiter: a burst bucket and a sustained log, made durable in slices.
//!
//! A slice is an allowance written down before it is spent: the stored row carries a number of reserved requests, and a
//! request that fits under it needs no write. Loading counts all that was reserved as spent at that moment, in the
//! bucket and in the log; each was in truth spent earlier or not at all. A restart thus never grants anything, and takes
//! away at most one slice.

use serde::{Deserialize, Serialize};

use super::bucket::{self, Bucket};
use super::policy::{LimitName, LimitStatus, Verdict, Window};
use super::window::{Log, granule};
use crate::base::time::Millis;

/// Largest slice, in requests; it is also at most an eighth of the quota.
pub const MAX_SLICE: u32 = 16;
/// An unspent reservation is given back after this time without a request. Below the platform's 10 s of idleness after
/// which an object may leave memory.
///
/// Slices double while a client asks more often than this, and start at one request again when it did not, so that a
/// client that asks now and then never has anything to forfeit.
pub const SETTLE: Millis = Millis::from_secs(5);

/// The windows that apply to a row.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// The bucket's window, if there is one.
    pub burst: Option<Window>,
    /// The log's window, if there is one.
    pub sustained: Option<Window>,
}

/// One client's or one network's state for one class. The default is a full allowance that was never stored.
#[derive(Clone, Debug, Default)]
pub struct Row {
    burst: Bucket,
    /// The window that the bucket was last spent by, for counting what was reserved without a policy.
    window: Option<Window>,
    sustained: Log,
    /// Stored as reserved and not yet spent.
    reserve: u32,
    /// Size of the last slice.
    slice: u32,
    /// Last admission since the row was loaded.
    touched: Millis,
    /// The stored row was unreadable at this time: everything counts as spent then.
    lost: Option<Millis>,
}

/// The stored form, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Stored {
    /// Bucket and its window, length of the log's window, reserved requests, entries (see [`Log::store`]).
    #[serde(rename = "v1")]
    Row {
        b: Bucket,
        w: Option<Window>,
        p: Millis,
        r: u32,
        e: Vec<(u64, u32)>,
    },
    /// [`Row::lost`].
    #[serde(rename = "lost")]
    Lost(Millis),
}

/// What a row's windows say to a request; given back to [`Row::spend`].
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The bucket's verdict.
    pub burst: Verdict,
    /// The log's verdict.
    pub sustained: Verdict,
    /// The bucket after the request.
    next: Bucket,
}

impl Row {
    /// Reads a stored row, and says whether it must be stored again. What was reserved counts as spent now, and an
    /// unreadable row as all spent now; unless that time is stored, each restart would begin the wait anew.
    #[must_use]
    pub fn load(now: Millis, text: &str) -> (Self, bool) {
        match serde_json::from_str(text) {
            Ok(Stored::Row { b, w, p, r, e }) => {
                let row = Self {
                    burst: w.map_or(b, |window| b.ahead(now, &window, r)),
                    window: w,
                    sustained: Log::load(now, p, &e, r),
                    ..Self::default()
                };
                (row, r > 0)
            }
            Ok(Stored::Lost(at)) => (Self::lost(at), false),
            Err(_) => (Self::lost(now), true),
        }
    }

    fn lost(at: Millis) -> Self {
        Self {
            lost: Some(at),
            ..Self::default()
        }
    }

    /// The stored form. Should it ever fail to serialise, the empty text is read as a lost row.
    #[must_use]
    pub fn store(&self) -> String {
        let stored = match self.lost {
            Some(at) => Stored::Lost(at),
            None => {
                let (p, e) = self.sustained.store();
                Stored::Row {
                    b: self.burst,
                    w: self.window,
                    p,
                    r: self.reserve,
                    e,
                }
            }
        };
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// A row of the same spending that was never stored.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            burst: self.burst,
            sustained: self.sustained.clone(),
            lost: self.lost,
            ..Self::default()
        }
    }

    /// Asks every window, and spends nothing.
    pub fn ask(&mut self, now: Millis, windows: Windows, cost: u32) -> Answer {
        self.presume_spent(windows);
        let mut answer = Answer {
            burst: Verdict::Admit,
            sustained: Verdict::Admit,
            next: self.burst,
        };
        if let Some(window) = &windows.burst {
            (answer.next, answer.burst) = bucket::decide(self.burst, now, window, cost);
            if answer.burst != Verdict::Admit {
                self.burst = answer.next; // the same debt, seen from a clock that may have gone back
            }
        }
        if let Some(window) = &windows.sustained {
            self.sustained.advance(now, window);
            answer.sustained = self.sustained.decide(now, window, cost);
        }
        answer
    }

    /// Spends what every window admitted. `Some` is the row to store before anyone learns of the admission.
    #[must_use]
    pub fn spend(
        &mut self,
        now: Millis,
        windows: Windows,
        cost: u32,
        answer: &Answer,
    ) -> Option<String> {
        let limited = windows.burst.is_some() || windows.sustained.is_some();
        if cost == 0 || !limited {
            return None;
        }
        self.burst = answer.next;
        self.window = windows.burst;
        if let Some(window) = &windows.sustained {
            self.sustained.spend(now, window, cost);
        }
        let busy = now.since(self.touched) < SETTLE;
        self.touched = now;
        if self.reserve >= cost {
            self.reserve = self.reserve.saturating_sub(cost);
            return None;
        }
        self.take_slice(now, windows, cost, busy);
        Some(self.store())
    }

    /// Takes back what was spent at `at`, and gives the row to store.
    #[must_use]
    pub fn refund(&mut self, now: Millis, windows: Windows, cost: u32, at: Millis) -> String {
        if let Some(window) = &self.window {
            self.burst = self.burst.without(now, window, cost, at);
        }
        if let Some(window) = &windows.sustained {
            self.sustained.refund(at, granule(window), cost);
        }
        self.store()
    }

    /// Reserves what is left of the slice after `cost`, within what the windows have left.
    fn take_slice(&mut self, now: Millis, windows: Windows, cost: u32, busy: bool) {
        let largest = [windows.burst, windows.sustained]
            .into_iter()
            .flatten()
            .map(|window| (window.requests() / 8).clamp(1, MAX_SLICE))
            .min()
            .unwrap_or(1);
        self.slice = if busy {
            self.slice.saturating_mul(2).clamp(1, largest)
        } else {
            1
        };
        self.reserve = self.slice.saturating_sub(cost);
        if let Some(window) = &windows.sustained {
            self.reserve = self.reserve.min(self.sustained.remaining(window));
        }
        if let Some(window) = &windows.burst {
            self.reserve = self.reserve.min(self.burst.remaining(now, window));
        }
    }

    /// Everything that a lost row allows was spent when it was lost.
    fn presume_spent(&mut self, windows: Windows) {
        let Some(at) = self.lost.take() else { return };
        if let Some(window) = &windows.burst {
            self.burst = Bucket::spent(at, window);
        }
        if let Some(window) = &windows.sustained {
            self.sustained = Log::load(at, window.per(), &[], window.requests());
        }
    }

    /// Is anything reserved that was not spent?
    #[must_use]
    pub const fn is_unsettled(&self) -> bool {
        self.reserve > 0
    }

    /// When the row next needs [`Row::settle`], or else may be forgotten.
    #[must_use]
    pub fn due(&self) -> Millis {
        if self.is_unsettled() {
            self.touched.plus(SETTLE)
        } else {
            self.full_at()
        }
    }

    /// Gives the unspent reservation back when it was idle for [`SETTLE`]; `Some` is the row to store.
    pub fn settle(&mut self, now: Millis) -> Option<String> {
        if !self.is_unsettled() || now < self.due() {
            return None;
        }
        self.reserve = 0;
        self.slice = 0;
        Some(self.store())
    }

    /// Moves to now what lies in the future (the clock went back).
    pub fn rebase(&mut self, now: Millis) {
        self.burst.rebase(now);
        self.sustained.rebase(now);
        self.touched = self.touched.min(now);
        self.lost = self.lost.map(|at| at.min(now));
    }

    /// When every quota is full again and the row may be forgotten.
    #[must_use]
    pub fn full_at(&self) -> Millis {
        let lost = self
            .lost
            .map_or(Millis::ZERO, |at| at.plus(Window::MAX_PER));
        self.burst.full_at().max(self.sustained.full_at()).max(lost)
    }

    /// The windows as the client itself may see them.
    #[must_use]
    pub fn status(&self, now: Millis, burst: &Window, sustained: &Window) -> Vec<LimitStatus> {
        vec![
            LimitStatus {
                name: LimitName::Burst,
                quota: burst.requests(),
                window: burst.per(),
                remaining: self.burst.remaining(now, burst),
                more: self.burst.more(now, burst),
                full: self.burst.full(now, burst),
            },
            LimitStatus {
                name: LimitName::Sustained,
                quota: sustained.requests(),
                window: sustained.per(),
                remaining: self.sustained.remaining(sustained),
                more: self.sustained.more(now, sustained),
                full: self.sustained.full(now),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, SETTLE, Windows};
    use crate::base::time::Millis;
    use crate::domain::limits::policy::{Verdict, Window};

    const START: Millis = Millis(1_795_237_500_000);

    fn windows() -> Windows {
        Windows {
            burst: Window::new(64, Millis(64_000)),
            sustained: Window::new(200, Millis(3_600_000)),
        }
    }

    fn admit(row: &mut Row, now: Millis) -> Option<String> {
        let answer = row.ask(now, windows(), 1);
        assert_eq!(
            (answer.burst, answer.sustained),
            (Verdict::Admit, Verdict::Admit)
        );
        row.spend(now, windows(), 1, &answer)
    }

    fn remaining(row: &mut Row, now: Millis) -> Vec<u32> {
        let Windows {
            burst: Some(b),
            sustained: Some(s),
        } = windows()
        else {
            panic!()
        };
        row.ask(now, windows(), 0);
        row.status(now, &b, &s)
            .iter()
            .map(|limit| limit.remaining)
            .collect()
    }

    #[test]
    fn slices_double_while_the_client_is_busy_so_that_most_admissions_write_nothing() {
        let mut row = Row::default();
        let wrote: Vec<u32> = (1..=40)
            .filter_map(|n| admit(&mut row, START).map(|_| n))
            .collect();
        // Slices of 1, 2, 4, 8, 8 … (an eighth of 64).
        assert_eq!(wrote, [1, 2, 4, 8, 16, 24, 32, 40]);
    }

    #[test]
    fn a_client_that_asks_now_and_then_reserves_nothing() {
        let mut row = Row::default();
        for minute in 0..50 {
            let now = START.plus(Millis::from_secs(60 * minute));
            assert!(admit(&mut row, now).is_some());
            assert!(!row.is_unsettled());
        }
    }

    #[test]
    fn the_last_slice_reserves_no_more_than_is_left() {
        let mut row = Row::default();
        let mut stored = String::new();
        for n in 0..64 {
            stored = admit(&mut row, START).unwrap_or(stored);
            let mut loaded = Row::load(START, &stored).0;
            let left = remaining(&mut loaded, START);
            assert!(
                left[0] <= 63 - n && left[0] + 8 > 63 - n,
                "burst after {n}: {left:?}"
            );
            assert!(
                left[1] <= 199 - n && left[1] + 8 > 199 - n,
                "sustained after {n}: {left:?}"
            );
        }
        // The burst is used up, so nothing of the sustained quota is held back for it.
        let mut loaded = Row::load(START, &stored).0;
        assert_eq!(remaining(&mut loaded, START), [0, 136]);
    }

    #[test]
    fn a_reservation_spent_late_is_not_granted_again_by_a_restart() {
        let mut row = Row::default();
        let mut stored = String::new();
        for _ in 0..5 {
            stored = admit(&mut row, START).unwrap_or(stored);
        }
        // A minute later the bucket is full again, and the two reserved requests are spent without a write.
        let later = START.plus(Millis(64_000));
        assert_eq!(
            (admit(&mut row, later), admit(&mut row, later)),
            (None, None)
        );
        let mut loaded = Row::load(later, &stored).0;
        assert_eq!(remaining(&mut row, later)[0], 62);
        assert!(remaining(&mut loaded, later)[0] <= 62);
        assert!(remaining(&mut loaded, later)[1] <= 193);
    }

    #[test]
    fn a_steady_client_writes_once_per_slice_however_fast_its_bucket_refills() {
        let mut row = Row::default();
        let windows = Windows {
            burst: Window::new(100_000, Millis(60_000)),
            sustained: Window::new(1000, Millis(60_000)),
        };
        let mut writes = 0;
        for n in 0..500 {
            let now = START.plus(Millis(n * 20));
            let answer = row.ask(now, windows, 1);
            writes += u32::from(row.spend(now, windows, 1, &answer).is_some());
        }
        // 1, 2, 4, 8, and then 16 each time.
        assert!((500 / 16..=5 + 500 / 16).contains(&writes), "{writes}");
    }

    #[test]
    fn a_client_that_asks_every_few_seconds_writes_once_per_slice_too() {
        let mut row = Row::default();
        let windows = Windows {
            burst: Window::new(1000, Millis(60_000)),
            sustained: Window::new(1000, Millis(60_000)),
        };
        let mut writes = 0;
        for n in 0..320 {
            let now = START.plus(Millis(n * 3000));
            let answer = row.ask(now, windows, 1);
            writes += u32::from(row.spend(now, windows, 1, &answer).is_some());
        }
        assert!((320 / 16..=5 + 320 / 16).contains(&writes), "{writes}");
    }

    #[test]
    fn settling_gives_the_reservation_back() {
        let mut row = Row::default();
        for _ in 0..9 {
            let _ = admit(&mut row, START);
        }
        assert!(row.is_unsettled());
        assert_eq!(row.settle(START.plus(Millis(SETTLE.0 - 1))), None);
        let now = START.plus(SETTLE);
        let stored = row.settle(now).unwrap();
        let mut loaded = Row::load(now, &stored).0;
        assert_eq!(remaining(&mut loaded, now), remaining(&mut row, now));
        assert_eq!(row.settle(now), None);
    }

    #[test]
    fn an_unreadable_row_is_an_empty_bucket_and_refills_in_time() {
        for text in [
            "",
            "{}",
            "null",
            "{\"v1\":{}}",
            "{\"v1\":{\"b\":[1,0,1],\"p\":1,\"r\":0,\"e\":[]},\"x\":1}",
        ] {
            let mut row = Row::load(START, text).0;
            assert_eq!(remaining(&mut row, START), [0, 0], "{text}");
            let answer = row.ask(START, windows(), 1);
            assert_eq!(answer.burst, Verdict::Wait(Millis(1000)));
            assert_eq!(answer.sustained, Verdict::Wait(Millis(3_600_000)));
            let hour = START.plus(Millis(3_600_000));
            assert_eq!(remaining(&mut row, hour), [64, 200]);
        }
    }

    #[test]
    fn a_copy_has_what_the_original_has_left_and_reserves_nothing() {
        let mut lost = Row::load(START, "?").0;
        assert_eq!(remaining(&mut lost.copy(), START), [0, 0]);
        let mut row = Row::default();
        for _ in 0..5 {
            let _ = admit(&mut row, START);
        }
        assert_eq!(remaining(&mut row.copy(), START), [59, 195]);
        assert!(admit(&mut row.copy(), START).is_some());
        assert_eq!(remaining(&mut lost, START), [0, 0]);
    }

    #[test]
    fn a_lost_row_keeps_the_time_of_its_loss_over_restarts() {
        let text = Row::load(START, "?").0.store();
        assert_eq!(text, r#"{"lost":1795237500000}"#);
        let later = START.plus(Millis(32_000));
        let mut row = Row::load(later, &text).0;
        assert_eq!(remaining(&mut row, later), [32, 0]);
    }

    #[test]
    fn the_stored_form_is_pinned_because_a_changed_one_would_empty_every_row() {
        let mut row = Row::default();
        let mut stored = admit(&mut row, START);
        for n in 1..4u64 {
            stored = admit(&mut row, START.plus(Millis(n * 100))).or(stored);
        }
        let text = r#"{"v1":{"b":[1795237504000,0,64],"w":[64,64000],"p":3600000,"r":3,"e":[[1795237500000,1],[100,1],[100,1],[100,1]]}}"#;
        assert_eq!(stored.unwrap(), text);
        assert!(Row::load(START, text).0.lost.is_none());
    }
}
