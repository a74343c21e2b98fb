//! Points in time and durations, in whole milliseconds, with arithmetic that cannot overflow.

use serde::{Deserialize, Serialize};

/// A point in time or a duration, in milliseconds; as a point, since the Unix epoch (UTC).
///
/// All arithmetic saturates: a clock that jumps backwards yields a zero duration, never a huge one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// Zero milliseconds.
    pub const ZERO: Self = Self(0);

    /// A duration of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// `self + other`, at most `u64::MAX`.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// Whole seconds, rounded up: what `Retry-After` must say so that a retry then succeeds.
    #[must_use]
    pub const fn secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// A time in UTC such as `2022-02-28T15:14:30.096Z` (RFC 3339), rounded down to seconds.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let number = |text: &str, length: usize| {
            (text.len() == length && text.bytes().all(|b| b.is_ascii_digit()))
                .then(|| text.parse::<u64>().ok())?
        };
        let mut date = date.split('-');
        let year = number(date.next()?, 4).filter(|year| *year >= 1970)?;
        let month = number(date.next()?, 2).filter(|month| (1..=12).contains(month))?;
        let day = number(date.next()?, 2).filter(|day| (1..=31).contains(day))?;
        let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let mut clock = clock.split(':');
        let hour = number(clock.next()?, 2).filter(|hour| *hour < 24)?;
        let minute = number(clock.next()?, 2).filter(|minute| *minute < 60)?;
        let second = number(clock.next()?, 2).filter(|second| *second <= 60)?;
        if date.next().is_some()
            || clock.next().is_some()
            || number(fraction, fraction.len()).is_none()
        {
            return None;
        }
        let days = days_before(year, month)?.checked_add(day)?.checked_sub(1)?;
        let hours = days.checked_mul(24)?.checked_add(hour)?;
        let minutes = hours.checked_mul(60)?.checked_add(minute)?;
        Some(Self::from_secs(
            minutes.checked_mul(60)?.checked_add(second)?,
        ))
    }

    /// This point in time as RFC 3339 in UTC with millisecond precision, e.g. `2026-11-21T04:55:00.000Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let secs = self.secs();
        let (year, month, day) = civil_from_days(secs / 86_400);
        let of_day = secs % 86_400;
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            of_day / 3600,
            of_day % 3600 / 60,
            of_day % 60,
            self.0 % 1000
        )
    }

    /// This point in time as an IMF-fixdate (RFC 9110 §5.6.7), e.g. `Sat, 21 Nov 2026 04:55:00 GMT`.
    #[must_use]
    pub fn http_date(self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let secs = self.secs();
        let days = secs / 86_400;
        let (year, month, day) = civil_from_days(days);
        let of_day = secs % 86_400;
        let weekday = usize::try_from(days % 7)
            .ok()
            .and_then(|d| DAYS.get(d))
            .unwrap_or(&"Thu");
        let month = usize::try_from(month.saturating_sub(1))
            .ok()
            .and_then(|m| MONTHS.get(m))
            .unwrap_or(&"Jan");
        format!(
            "{weekday}, {day:02} {month} {year:04} {:02}:{:02}:{:02} GMT",
            of_day / 3600,
            of_day % 3600 / 60,
            of_day % 60
        )
    }
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: u64, month: u64) -> Option<u64> {
    // Cumulative days of a common year.
    const MONTHS: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_days = |years: u64| {
        (years / 4)
            .saturating_sub(years / 100)
            .saturating_add(years / 400)
    };
    let before = year.checked_sub(1)?;
    let leap_year = leap_days(year) > leap_days(before);
    year.checked_sub(1970)?
        .checked_mul(365)?
        // Leap days before 1970: 1969 / 4 - 1969 / 100 + 1969 / 400 = 492 - 19 + 4.
        .checked_add(leap_days(before).checked_sub(477)?)?
        .checked_add(*MONTHS.get(usize::try_from(month.checked_sub(1)?).ok()?)?)?
        .checked_add(u64::from(leap_year && month > 2))
}

/// Days since 1970-01-01 to (year, month, day) in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
pub(crate) fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Shifted so that years start on 1 March; 719_468 days lie between 0000-03-01 and 1970-01-01.
    let z = days.saturating_add(719_468);
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = day_of_era
        .saturating_sub(day_of_era / 1460)
        .saturating_add(day_of_era / 36_524)
        .saturating_sub(day_of_era / 146_096)
        / 365;
    let day_of_year = day_of_era.saturating_sub(
        year_of_era
            .saturating_mul(365)
            .saturating_add(year_of_era / 4)
            .saturating_sub(year_of_era / 100),
    );
    let shifted_month = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = day_of_year
        .saturating_sub(shifted_month.saturating_mul(153).saturating_add(2) / 5)
        .saturating_add(1);
    let month = if shifted_month < 10 {
        shifted_month.saturating_add(3)
    } else {
        shifted_month.saturating_sub(9)
    };
    let year = year_of_era
        .saturating_add(era.saturating_mul(400))
        .saturating_add(u64::from(month <= 2));
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::Millis;

    #[test]
    fn dates_are_written_in_utc() {
        for (secs, rfc3339, http) in [
            (
                0,
                "1970-01-01T00:00:00.000Z",
                "Thu, 01 Jan 1970 00:00:00 GMT",
            ),
            (
                951_782_400,
                "2000-02-29T00:00:00.000Z",
                "Tue, 29 Feb 2000 00:00:00 GMT",
            ),
            (
                1_795_237_500,
                "2026-11-21T05:05:00.000Z",
                "Sat, 21 Nov 2026 05:05:00 GMT",
            ),
            (
                4_107_542_399,
                "2100-02-28T23:59:59.000Z",
                "Sun, 28 Feb 2100 23:59:59 GMT",
            ),
        ] {
            assert_eq!(Millis::from_secs(secs).rfc3339(), rfc3339);
            assert_eq!(Millis::from_secs(secs).http_date(), http);
        }
    }

    #[test]
    fn a_clock_that_goes_back_yields_zero() {
        assert_eq!(Millis(5).since(Millis(9)), Millis::ZERO);
        assert_eq!(Millis(u64::MAX).plus(Millis(1)), Millis(u64::MAX));
    }
}
