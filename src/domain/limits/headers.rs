//! What a caller reads about its limits, as response headers.
//!
//! * `RateLimit-Policy` and `RateLimit`: draft-ietf-httpapi-ratelimit-headers-11, Structured Fields (RFC 9651).
//! * `X-RateLimit-*`: the old habit; `Reset` in seconds from now.
//! * The names that OpenAI's and Anthropic's SDKs and users know.
//! * `Retry-After` (RFC 9110 §10.2.3) and the extensions that the SDKs obey.
//!
//! All of it describes the caller's own windows; a network's stands here only when it refused (see [`LimitStatus`]).
//! What a limit counts follows from its name: `…tokens`, `…concurrent`, `budget…`, and requests else.
//!
//! The draft's registry of units (`qu`) has requests, bytes of content and concurrent requests. It has neither tokens
//! nor money, and a policy without a unit counts requests: limits of those are therefore not among the standard fields.
//! Tokens stand under OpenAI's and Anthropic's names, money in the refusal alone. There is no partition key (`pk`): it
//! would tell a caller's address or key.

use super::policy::LimitStatus;
use crate::base::time::Millis;

/// A header's name and value.
pub type Header = (&'static str, String);

/// Longest wait after which an SDK may retry by itself; the official SDKs ignore a longer `Retry-After` and retry at
/// once, so they are told not to.
pub const MAX_AUTOMATIC_WAIT: Millis = Millis::from_secs(60);

/// One limit as it is shown; see [`LimitStatus`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The name in the standard fields.
    pub name: &'a str,
    /// What it allows in all.
    pub quota: u64,
    /// In how long; not used for concurrent requests.
    pub window: Millis,
    /// What is left.
    pub remaining: u64,
    /// From now until more is left.
    pub more: Millis,
    /// From now until all of the quota is left.
    pub full: Millis,
}

impl From<&LimitStatus> for Shown<'_> {
    fn from(limit: &LimitStatus) -> Self {
        Self {
            name: limit.name.as_str(),
            quota: limit.quota.into(),
            window: limit.window,
            remaining: limit.remaining.into(),
            more: limit.more,
            full: limit.full,
        }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Requests,
    InputTokens,
    OutputTokens,
    Tokens,
    Concurrent,
    Money,
}

impl Shown<'_> {
    fn unit(&self) -> Unit {
        let name = self.name;
        if name.ends_with("input-tokens") {
            Unit::InputTokens
        } else if name.ends_with("output-tokens") {
            Unit::OutputTokens
        } else if name.ends_with("tokens") {
            Unit::Tokens
        } else if name.ends_with("concurrent") {
            Unit::Concurrent
        } else if name.contains("budget") {
            Unit::Money
        } else {
            Unit::Requests
        }
    }
}

/// Every header about the state of the limits. `now` serves Anthropic's, which names a point in time.
#[must_use]
pub fn headers(limits: &[LimitStatus], now: Millis) -> Vec<Header> {
    let shown: Vec<Shown> = limits.iter().map(Shown::from).collect();
    headers_of(&shown, now)
}

/// The same for limits of any origin. Of several limits of one unit, the single-valued headers tell the tightest.
#[must_use]
pub fn headers_of(limits: &[Shown], now: Millis) -> Vec<Header> {
    /// A unit's limit, rest and reset in OpenAI's names, and in Anthropic's; empty where it has none.
    type Names = (Unit, [&'static str; 3], [&'static str; 3]);
    const NAMES: [Names; 4] = [
        (
            Unit::Requests,
            [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ],
            [
                "anthropic-ratelimit-requests-limit",
                "anthropic-ratelimit-requests-remaining",
                "anthropic-ratelimit-requests-reset",
            ],
        ),
        (
            Unit::Tokens,
            [
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ],
            [
                "anthropic-ratelimit-tokens-limit",
                "anthropic-ratelimit-tokens-remaining",
                "anthropic-ratelimit-tokens-reset",
            ],
        ),
        (
            Unit::InputTokens,
            [""; 3],
            [
                "anthropic-ratelimit-input-tokens-limit",
                "anthropic-ratelimit-input-tokens-remaining",
                "anthropic-ratelimit-input-tokens-reset",
            ],
        ),
        (
            Unit::OutputTokens,
            [""; 3],
            [
                "anthropic-ratelimit-output-tokens-limit",
                "anthropic-ratelimit-output-tokens-remaining",
                "anthropic-ratelimit-output-tokens-reset",
            ],
        ),
    ];
    const PLAIN: [&str; 3] = [
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
    ];
    let mut all = rate_limit(limits);
    for (unit, openai, anthropic) in NAMES {
        let Some(tightest) = tightest(limits, unit) else {
            continue;
        };
        let (quota, rest) = (tightest.quota.to_string(), tightest.remaining.to_string());
        let mut tell = |[limit, remaining, reset]: [&'static str; 3], at: String| {
            all.extend([
                (limit, quota.clone()),
                (remaining, rest.clone()),
                (reset, at),
            ]);
        };
        if unit == Unit::Requests {
            tell(PLAIN, tightest.full.secs_ceil().to_string());
        }
        if !openai.contains(&"") {
            tell(openai, duration(tightest.full));
        }
        tell(anthropic, now.plus(tightest.full).rfc3339());
    }
    all
}

/// `RateLimit-Policy` and `RateLimit`; nothing when there are no limits that they can tell (a List must not be empty).
///
/// `t` is the time within which no more than `r` can be had: until the quota next grows, not until it is full. Places
/// for concurrent requests have neither a window nor a time.
#[must_use]
pub fn rate_limit(limits: &[Shown]) -> Vec<Header> {
    let list = |item: fn(&Shown) -> Option<String>| {
        let items: Vec<String> = limits.iter().filter_map(item).collect();
        items.join(", ")
    };
    let policy = list(|limit| {
        let Shown { name, quota, .. } = limit;
        match limit.unit() {
            Unit::Requests => {
                // `w` is in whole seconds and must not be zero.
                let seconds = limit.window.secs_ceil().max(1);
                Some(format!("\"{name}\";q={quota};w={seconds}"))
            }
            Unit::Concurrent => Some(format!("\"{name}\";q={quota};qu=\"concurrent-requests\"")),
            _ => None,
        }
    });
    let state = list(|limit| {
        let Shown {
            name, remaining, ..
        } = limit;
        match limit.unit() {
            Unit::Requests => {
                let seconds = limit.more.secs_ceil();
                Some(format!("\"{name}\";r={remaining};t={seconds}"))
            }
            Unit::Concurrent => Some(format!("\"{name}\";r={remaining}")),
            _ => None,
        }
    });
    if policy.is_empty() {
        return Vec::new();
    }
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

/// The limit of a unit that would refuse first: the fewest remaining, and of equals the one that is longest in refilling.
fn tightest<'a, 'b>(limits: &'a [Shown<'b>], unit: Unit) -> Option<&'a Shown<'b>> {
    limits
        .iter()
        .filter(|limit| limit.unit() == unit)
        .min_by_key(|limit| (limit.remaining, std::cmp::Reverse(limit.more)))
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
    use super::{Shown, duration, headers, headers_of, rate_limit, retry};
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

    fn named(
        name: &str,
        quota: u64,
        window: u64,
        remaining: u64,
        more: u64,
        full: u64,
    ) -> Shown<'_> {
        Shown {
            name,
            quota,
            window: Millis(window),
            remaining,
            more: Millis(more),
            full: Millis(full),
        }
    }

    fn lines(limits: &[Shown]) -> Vec<String> {
        headers_of(limits, Millis(1_795_237_500_000))
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    }

    #[test]
    fn tokens_stand_under_the_providers_names_alone_because_the_draft_has_no_such_unit() {
        let minute = 60_000;
        assert_eq!(
            lines(&[
                named("tokens", 100_000, minute, 90_000, 1, 6000),
                named("tenant-tokens", 5_000_000_000, minute, 400, 1, 59_999),
                named("input-tokens", 80_000, minute, 79_000, 1, 750),
                named("output-tokens", 16_000, minute, 16_000, 0, 0),
            ]),
            [
                "x-ratelimit-limit-tokens: 5000000000",
                "x-ratelimit-remaining-tokens: 400",
                "x-ratelimit-reset-tokens: 59.999s",
                "anthropic-ratelimit-tokens-limit: 5000000000",
                "anthropic-ratelimit-tokens-remaining: 400",
                "anthropic-ratelimit-tokens-reset: 2026-11-21T05:05:59.999Z",
                "anthropic-ratelimit-input-tokens-limit: 80000",
                "anthropic-ratelimit-input-tokens-remaining: 79000",
                "anthropic-ratelimit-input-tokens-reset: 2026-11-21T05:05:00.750Z",
                "anthropic-ratelimit-output-tokens-limit: 16000",
                "anthropic-ratelimit-output-tokens-remaining: 16000",
                "anthropic-ratelimit-output-tokens-reset: 2026-11-21T05:05:00.000Z",
            ]
        );
    }

    #[test]
    fn places_have_a_unit_and_neither_window_nor_time_and_money_is_not_told() {
        assert_eq!(
            lines(&[
                named("concurrent", 4, 0, 1, 1000, 1000),
                named("budget-day", 1_000_000, 86_400_000, 7, 9, 9),
            ]),
            [
                "RateLimit-Policy: \"concurrent\";q=4;qu=\"concurrent-requests\"",
                "RateLimit: \"concurrent\";r=1",
            ]
        );
        // Fewer places than requests are left, and the requests' headers still count requests.
        let both = lines(&[
            named("concurrent", 4, 0, 0, 1000, 1000),
            named("burst", 20, 10_000, 3, 1, 2),
        ]);
        assert!(both.contains(&"X-RateLimit-Remaining: 3".to_owned()));
        assert!(both.contains(&"RateLimit: \"concurrent\";r=0, \"burst\";r=3;t=1".to_owned()));
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
        let [policy, state] = &rate_limit(&[named("burst", 5, 250, 5, 0, 0)])[..] else {
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
