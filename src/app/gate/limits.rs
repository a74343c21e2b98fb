//! Spending a caller's allowances.

use super::Caller;
use crate::app::accounts;
use crate::app::alerts;
use crate::app::port::{Class as Object, Port, call};
use crate::app::rules::rules;
use crate::base::errors::{Code, Refusal};
use crate::base::ids::prefixed;
use crate::base::time::Millis;
use crate::domain::identity::Principal;
use crate::domain::limits::machine::{Once, Watch};
use crate::domain::limits::{
    Class, Command, LimitName, LimitStatus, Limiter, Policy, Reply as LimiterReply, Window, headers,
};
use crate::domain::settings::config::{self, LimitClass};

/// Requests of one operator's session in seconds: for the pages, and for programs that walk through lists.
const OPERATOR_BURST: (u32, u64) = (600, 60);
/// The same over a longer time.
const OPERATOR_SUSTAINED: (u32, u64) = (10_000, 3600);

/// Spends one request of the caller's allowances in a class, and returns the headers that tell what is left: of the
/// network first, then of the accounts, narrow to wide.
///
/// # Errors
/// `rate_limited` with the exact wait; `abnormal_usage` while something is held; `overloaded`; `limiter_unavailable` when
/// nobody can say, since what costs money fails closed.
pub async fn admit<P: Port>(
    port: &P,
    caller: &Caller,
    alias: Option<&str>,
    class: LimitClass,
) -> Result<Vec<(&'static str, String)>, Refusal> {
    Ok(admit_call(port, caller, alias, class).await?.headers)
}

/// A request that is counted, and can be taken back.
pub struct Admission {
    headers: Vec<(&'static str, String)>,
    policy: Policy,
    at: Millis,
    accounts: accounts::Admitted,
}

impl Admission {
    /// What became of the request, and the headers that tell what is left. One that a limit refused after all, a budget
    /// for instance, changes no counter.
    ///
    /// # Errors
    /// The outcome's.
    pub async fn over<P: Port, T>(
        self,
        port: &P,
        caller: &Caller,
        outcome: Result<T, Refusal>,
    ) -> Result<(T, Vec<(&'static str, String)>), Refusal> {
        match outcome {
            Ok(done) => Ok((done, self.headers)),
            Err(refusal) => {
                if is_of_limits(refusal.code) {
                    self.accounts.take_back(port).await;
                    take_back(port, caller, self.policy, self.at).await;
                }
                Err(refusal)
            }
        }
    }
}

const fn is_of_limits(code: Code) -> bool {
    matches!(
        code,
        Code::BudgetExhausted
            | Code::BudgetUnbounded
            | Code::ConcurrencyLimited
            | Code::RateLimited
            | Code::AbnormalUsage
            | Code::Overloaded
            | Code::LimiterUnavailable
    )
}

/// As [`admit`], for a call that may still be refused by what it would cost.
///
/// # Errors
/// As [`admit`].
pub async fn admit_call<P: Port>(
    port: &P,
    caller: &Caller,
    alias: Option<&str>,
    class: LimitClass,
) -> Result<Admission, Refusal> {
    let rules = rules(port).await?;
    let configured = &port.settings().config.limits;
    let limit = rules.limit(class, caller.country.as_deref(), configured);
    let policy = limit.and_then(policy).ok_or_else(unavailable)?;
    accounts::refused_before(port, &caller.payer, alias, class).await?;
    let (mut shown, at) = spent(port, caller, policy).await?;
    let own = match accounts::admit(port, &caller.payer, alias, class).await {
        Ok(own) => own,
        Err(refusal) => {
            take_back(port, caller, policy, at).await;
            return Err(refusal);
        }
    };
    if !own.status().is_empty() {
        // A principal's own limits are what it can do something about.
        shown = own.status().to_vec();
    }
    Ok(Admission {
        headers: headers::headers(&shown, port.now()),
        policy,
        at,
        accounts: own,
    })
}

/// Spends one request of an operator's session. It is counted by itself, so that neither what others do at the same
/// address nor a limit that an operator set can keep operators out.
///
/// # Errors
/// `rate_limited`, `limiter_unavailable`.
pub async fn admit_operator<P: Port>(
    port: &P,
    caller: &Caller,
    session: &str,
) -> Result<Vec<(&'static str, String)>, Refusal> {
    let window = |(requests, seconds)| Window::new(requests, Millis::from_secs(seconds));
    let policy = Policy {
        class: Class::Read,
        burst: window(OPERATOR_BURST).ok_or_else(unavailable)?,
        sustained: window(OPERATOR_SUSTAINED).ok_or_else(unavailable)?,
        network_burst: None,
        network_sustained: None,
    };
    let own = Caller {
        network: ["operator/", session].concat(),
        client: "operator".to_owned(),
        ..caller.clone()
    };
    let (shown, _) = spent(port, &own, policy).await?;
    Ok(headers::headers(&shown, port.now()))
}

/// Spends one request of a policy, and returns what is left and when it was spent.
async fn spent<P: Port>(
    port: &P,
    caller: &Caller,
    policy: Policy,
) -> Result<(Vec<LimitStatus>, Millis), Refusal> {
    match spend(port, caller, policy).await.ok_or_else(unavailable)? {
        LimiterReply::Admitted { limits, at, alert } => {
            if let Some(alert) = alert {
                alerts::of_network(port, &caller.network, &caller.client, &alert).await;
            }
            Ok((limits, at))
        }
        LimiterReply::Refused {
            wait,
            limits,
            violated,
            slowed,
            alert,
        } => {
            if let Some(alert) = alert {
                alerts::of_network(port, &caller.network, &caller.client, &alert).await;
            }
            let names = violated
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect();
            let mut detail = explain(&limits, &violated, wait);
            if let Some(reason) = slowed {
                detail.push_str(" It counts at a quarter for a while: ");
                detail.push_str(&reason.to_string());
            }
            Err(Refusal::new(Code::RateLimited)
                .wait(wait)
                .detail(detail)
                .violated(names)
                .headers(headers::headers(&limits, port.now())))
        }
        LimiterReply::Held { wait, why, alert } => {
            if let Some(alert) = alert {
                alerts::of_network(port, &caller.network, &caller.client, &alert).await;
            }
            Err(Refusal::new(Code::AbnormalUsage)
                .wait(wait)
                .detail(why.to_string()))
        }
        // A request costs one, and a window holds at least one; the others answer other commands.
        _ => Err(unavailable()),
    }
}

fn unavailable() -> Refusal {
    Refusal::new(Code::LimiterUnavailable).wait(Millis::from_secs(2))
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

/// Uses an id a single time. Each id has an object of its own, since a network's would know nothing of its use in another.
///
/// # Errors
/// `challenge_failed` when it was used before; `limiter_unavailable`.
pub async fn once(port: &impl Port, id: &str, until: Millis) -> Result<(), Refusal> {
    let command = Command::Once {
        id: id.to_owned(),
        until,
        // Not the request's id, which the caller may choose.
        by: prefixed("use", &port.random()),
    };
    let name = ["once/", id].concat();
    let reply = call::<Limiter>(port, Object::Limiter, &name, &command).await;
    match reply {
        Ok(LimiterReply::Once(Once::Fresh)) => Ok(()),
        Ok(LimiterReply::Once(_)) => {
            Err(Refusal::new(Code::ChallengeFailed).detail("This answer was used before."))
        }
        _ => Err(unavailable()),
    }
}

async fn spend(port: &impl Port, caller: &Caller, policy: Policy) -> Option<LimiterReply> {
    let who = match &caller.principal {
        Principal::Anonymous => None,
        Principal::Visitor { id, .. } => Some(id.clone()),
        Principal::Key(view) => Some(view.id.clone()),
    };
    let watch = Watch::of(&port.settings().config.abuse);
    let command = Command::Admit {
        client: caller.client.clone(),
        policy,
        cost: 1,
        watch: who.zip(watch),
    };
    call::<Limiter>(port, Object::Limiter, &caller.network, &command)
        .await
        .ok()
}

/// Takes a request back that an account refused. One that cannot be taken back stays spent.
async fn take_back(port: &impl Port, caller: &Caller, policy: Policy, at: Millis) {
    let command = Command::Refund {
        client: caller.client.clone(),
        policy,
        cost: 1,
        at,
    };
    let _ = call::<Limiter>(port, Object::Limiter, &caller.network, &command).await;
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
