//! What a caller reads about its limits, as response headers.
//!
//! * `RateLimit-Policy` and `RateLimit`: draft-ietf-httpapi-ratelimit-headers-11, Structured Fields (RFC 9651).
//! * `X-RateLimit-*`: the old habit; `Reset` in seconds from now.
//! * The names that OpenAI's and Anthropic's SDKs and users know.
//! * `Retry-After` (RFC 9110 §10.2.3) and the extensions that the SDKs obey.
//!
//! All of it describes the caller's own windows; a network's stands here only when it refused (see [`LimitStatus`]).

use super::policy::LimitStatus;
use crate::base::time::Millis;

/// A header's name and value.
pub type Header = (&'static str, String);

/// Longest wait after which an SDK may retry by itself; the official SDKs ignore a longer `Retry-After` and retry at
/// once, so they are told not to.
pub const MAX_AUTOMATIC_WAIT: Millis = Millis::from_secs(60);

/// Every header about the state of the limits. `now` serves Anthropic's, which names a point in time.
#[must_use]
pub fn headers(limits: &[LimitStatus], now: Millis) -> Vec<Header> {
    let mut all = rate_limit(limits);
    if let Some(tightest) = tightest(limits) {
        let LimitStatus {
            quota,
            remaining,
            full,
            ..
        } = tightest;
        all.extend([
            ("X-RateLimit-Limit", quota.to_string()),
            ("X-RateLimit-Remaining", remaining.to_string()),
            ("X-RateLimit-Reset", full.secs_ceil().to_string()),
            ("x-ratelimit-limit-requests", quota.to_string()),
            ("x-ratelimit-remaining-requests", remaining.to_string()),
            ("x-ratelimit-reset-requests", duration(*full)),
            ("anthropic-ratelimit-requests-limit", quota.to_string()),
            (
                "anthropic-ratelimit-requests-remaining",
                remaining.to_string(),
            ),
            (
                "anthropic-ratelimit-requests-reset",
                now.plus(*full).rfc3339(),
            ),
        ]);
    }
    all
}

/// `RateLimit-Policy` and `RateLimit`; nothing when there are no limits (a List must not be empty).
///
/// `t` is the time within which no more than `r` can be had: until the quota next grows, not until it is full.
#[must_use]
pub fn rate_limit(limits: &[LimitStatus]) -> Vec<Header> {
    if limits.is_empty() {
        return Vec::new();
    }
    let policy = list(limits, |limit| {
        // `w` is in whole seconds and must not be zero.
        let seconds = limit.window.secs_ceil().max(1);
        format!("\"{}\";q={};w={seconds}", limit.name.as_str(), limit.quota)
    });
    let state = list(limits, |limit| {
        let seconds = limit.more.secs_ceil();
        format!(
            "\"{}\";r={};t={seconds}",
            limit.name.as_str(),
            limit.remaining
        )
    });
    vec![("RateLimit-Policy", policy), ("RateLimit", state)]
}

/// The headers of a refusal. In whole seconds the wait is rounded up, so that a retry then succeeds.
#[must_use]
pub fn retry(wait: Millis) -> Vec<Header> {
    let mut all = vec![
        ("Retry-After", wait.secs_ceil().max(1).to_string()),
        ("retry-after-ms", wait.0.max(1).to_string()),
    ];
    if wait > MAX_AUTOMATIC_WAIT {
        all.push(("x-should-retry", "false".to_owned()));
    }
    all
}

/// The limit that would refuse first: the fewest remaining, and of equals the one that is longest in refilling.
fn tightest(limits: &[LimitStatus]) -> Option<&LimitStatus> {
    limits
        .iter()
        .min_by_key(|limit| (limit.remaining, std::cmp::Reverse(limit.more)))
}

fn list(limits: &[LimitStatus], item: impl Fn(&LimitStatus) -> String) -> String {
    limits.iter().map(item).collect::<Vec<_>>().join(", ")
}

/// A duration as OpenAI writes it: `120ms`, `8.64s`, `6m0s`, `1h0m0s`.
fn duration(time: Millis) -> String {
    let (seconds, millis) = (time.secs(), time.0 % 1000);
    if seconds == 0 && millis > 0 {
        return format!("{millis}ms");
    }
    let mut text = String::new();
    if seconds >= 3600 {
        text.push_str(&format!("{}h", seconds / 3600));
    }
    if seconds >= 60 {
        text.push_str(&format!("{}m", seconds % 3600 / 60));
    }
    text.push_str(&(seconds % 60).to_string());
    if millis > 0 {
        text.push_str(format!(".{millis:03}").trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::{duration, headers, rate_limit, retry};
    use crate::base::time::Millis;
    use crate::domain::limits::policy::{LimitName, LimitStatus};

    fn limit(
        name: LimitName,
        quota: u32,
        window: u64,
        remaining: u32,
        more: u64,
        full: u64,
    ) -> LimitStatus {
        LimitStatus {
            name,
            quota,
            window: Millis(window),
            remaining,
            more: Millis(more),
            full: Millis(full),
        }
    }

    #[test]
    fn the_tightest_limit_stands_in_the_single_valued_headers() {
        let limits = [
            limit(LimitName::Burst, 20, 10_000, 3, 6_001, 8_640),
            limit(LimitName::Sustained, 200, 3_600_000, 150, 100, 3_599_001),
        ];
        let lines: Vec<String> = headers(&limits, Millis(1_795_237_500_000))
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            lines,
            [
                "RateLimit-Policy: \"burst\";q=20;w=10, \"sustained\";q=200;w=3600",
                "RateLimit: \"burst\";r=3;t=7, \"sustained\";r=150;t=1",
                "X-RateLimit-Limit: 20",
                "X-RateLimit-Remaining: 3",
                "X-RateLimit-Reset: 9",
                "x-ratelimit-limit-requests: 20",
                "x-ratelimit-remaining-requests: 3",
                "x-ratelimit-reset-requests: 8.64s",
                "anthropic-ratelimit-requests-limit: 20",
                "anthropic-ratelimit-requests-remaining: 3",
                "anthropic-ratelimit-requests-reset: 2026-11-21T05:05:08.640Z",
            ]
        );
    }

    #[test]
    fn of_two_spent_limits_the_longer_wait_stands() {
        let limits = [
            limit(LimitName::Burst, 20, 10_000, 0, 500, 10_000),
            limit(
                LimitName::NetworkSustained,
                2000,
                3_600_000,
                0,
                70_000,
                70_000,
            ),
        ];
        let all = headers(&limits, Millis::ZERO);
        assert!(all.contains(&("X-RateLimit-Limit", "2000".to_owned())));
        assert!(all.contains(&("X-RateLimit-Reset", "70".to_owned())));
    }

    #[test]
    fn a_window_below_a_second_is_told_as_one_second_because_zero_is_invalid() {
        let [policy, state] = &rate_limit(&[limit(LimitName::Burst, 5, 250, 5, 0, 0)])[..] else {
            panic!()
        };
        assert_eq!(policy.1, "\"burst\";q=5;w=1");
        assert_eq!(state.1, "\"burst\";r=5;t=0");
        assert!(headers(&[], Millis::ZERO).is_empty());
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (wait, seconds, millis, automatic) in [
            (0, "1", "1", true),
            (1, "1", "1", true),
            (1000, "1", "1000", true),
            (1001, "2", "1001", true),
            (60_000, "60", "60000", true),
            (60_001, "61", "60001", false),
        ] {
            let all = retry(Millis(wait));
            assert!(all.contains(&("Retry-After", seconds.to_owned())), "{wait}");
            assert!(
                all.contains(&("retry-after-ms", millis.to_owned())),
                "{wait}"
            );
            assert_eq!(
                !all.contains(&("x-should-retry", "false".to_owned())),
                automatic,
                "{wait}"
            );
        }
    }

    #[test]
    fn durations_read_as_openai_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (120, "120ms"),
            (1000, "1s"),
            (8640, "8.64s"),
            (1001, "1.001s"),
            (59_999, "59.999s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
            (86_399_100, "23h59m59.1s"),
        ] {
            assert_eq!(duration(Millis(millis)), text);
        }
    }
}
