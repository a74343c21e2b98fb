//! Who is calling, from where, and whether the limits admit it.

use super::port::{Class as Object, Port, call};
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::identity::{Principal, principal};
use crate::domain::limits::{
    Access, Class, Command, Decision, DeniedBy, LimitName, LimitStatus, Limiter, Policy,
    Reply as LimiterReply, Source, Window, headers,
};
use crate::domain::settings::config::{self, LimitClass};

/// The caller of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// Name of the network's limiter object: `v4-198.51.100.0`, `v6-2001:db8:1::` or `unknown`.
    pub network: String,
    /// The client's row in it: an IPv4 address or an IPv6 /64.
    pub client: String,
    /// The request's id.
    pub request_id: String,
}

/// Finds out who is calling, and applies the operator's lists.
///
/// # Errors
/// `invalid_credentials`, `address_denied`, `country_denied`, `origin_not_allowed`.
pub fn caller(port: &impl Port, head: &Head, request_id: &str) -> Result<Caller, Refusal> {
    let settings = port.settings();
    let source = Source::parse(head.address.as_deref());
    let access = access_lists(&settings.config.access);
    match access.decide(&source, head.country.as_deref()) {
        Decision::Checked => {}
        Decision::Denied(DeniedBy::Address) => return Err(Refusal::new(Code::AddressDenied)),
        Decision::Denied(DeniedBy::Country) => return Err(Refusal::new(Code::CountryDenied)),
    }
    if let Some(origin) = &head.origin
        && !origin_allowed(port, head, origin)
    {
        return Err(Refusal::new(Code::OriginNotAllowed));
    }
    let cookie_key = settings.keys.as_ref().map(|keys| &keys.cookie);
    Ok(Caller {
        principal: principal(head.credentials(), cookie_key, head.at)?,
        network: source.network().to_string(),
        client: source.client(),
        request_id: request_id.to_owned(),
    })
}

/// May pages of that origin call? The site's own may; others only when the operator lists them exactly.
#[must_use]
pub fn origin_allowed(port: &impl Port, head: &Head, origin: &str) -> bool {
    origin == head.own_origin
        || port
            .settings()
            .config
            .server
            .allowed_origins
            .iter()
            .any(|allowed| allowed == origin)
}

/// Spends one request of the caller's allowance in a class and returns the headers that tell what is left.
///
/// # Errors
/// `rate_limited` with the exact wait; `limiter_unavailable` when the limiter cannot answer, since what costs money
/// fails closed.
pub async fn admit(
    port: &impl Port,
    caller: &Caller,
    class: LimitClass,
) -> Result<Vec<(&'static str, String)>, Refusal> {
    let unavailable = || Refusal::new(Code::LimiterUnavailable).wait(Millis::from_secs(2));
    let configured = port
        .settings()
        .config
        .limits
        .iter()
        .find(|limit| limit.class == class);
    let policy = configured.and_then(policy).ok_or_else(unavailable)?;
    match spend(port, caller, policy).await.ok_or_else(unavailable)? {
        LimiterReply::Admitted { limits } => Ok(headers::headers(&limits, port.now())),
        LimiterReply::Refused {
            wait,
            limits,
            violated,
        } => {
            let names = violated
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect();
            Err(Refusal::new(Code::RateLimited)
                .wait(wait)
                .detail(explain(&limits, &violated, wait))
                .violated(names)
                .headers(headers::headers(&limits, port.now())))
        }
        // A request costs one, and a window holds at least one.
        LimiterReply::TooCostly { .. } => Err(unavailable()),
    }
}

/// May this client cause one more cache entry? Unknown counts as no: a cache that is not written is only slower.
pub async fn may_write_cache(port: &impl Port, caller: &Caller) -> bool {
    let hourly = Window::new(
        port.settings().config.cache.writes_per_hour,
        Millis::from_secs(3600),
    );
    let Some(hourly) = hourly else { return false };
    let policy = Policy {
        class: Class::CacheWrite,
        burst: hourly,
        sustained: hourly,
        network_burst: None,
        network_sustained: None,
    };
    matches!(
        spend(port, caller, policy).await,
        Some(LimiterReply::Admitted { .. })
    )
}

async fn spend(port: &impl Port, caller: &Caller, policy: Policy) -> Option<LimiterReply> {
    let command = Command::Admit {
        client: caller.client.clone(),
        policy,
        cost: 1,
    };
    call::<Limiter>(port, Object::Limiter, &caller.network, &command)
        .await
        .ok()
}

fn explain(limits: &[LimitStatus], violated: &[LimitName], wait: Millis) -> String {
    let tightest = limits.iter().find(|limit| violated.contains(&limit.name));
    match tightest {
        Some(limit) => format!(
            "The limit of {} requests in {} s is used up; the next is free in {} s.",
            limit.quota,
            limit.window.secs_ceil(),
            wait.secs_ceil().max(1)
        ),
        None => format!("The next request is free in {} s.", wait.secs_ceil().max(1)),
    }
}

fn policy(limit: &config::Limit) -> Option<Policy> {
    let window =
        |w: config::Window| Window::new(w.requests, Millis::from_secs(u64::from(w.seconds)));
    Some(Policy {
        class: match limit.class {
            LimitClass::Read => Class::Read,
            LimitClass::Chat => Class::Chat,
            LimitClass::Embeddings => Class::Embeddings,
            LimitClass::Upload => Class::Upload,
        },
        burst: window(limit.burst)?,
        sustained: window(limit.sustained)?,
        network_burst: limit.network_burst.and_then(window),
        network_sustained: limit.network_sustained.and_then(window),
    })
}

/// The lists as the limits module reads them. build.rs validated every entry; one that cannot be read is left out.
fn access_lists(lists: &config::Access) -> Access {
    Access {
        allow: lists
            .allow
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        deny: lists
            .deny
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        allow_countries: lists
            .allow_countries
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        deny_countries: lists
            .deny_countries
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
    }
}
