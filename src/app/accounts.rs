//! What a call may use beyond client and network: the accounts that it concerns, from the narrowest to the widest.
//!
//! Requests are counted when a request is admitted; tokens, places and money are reserved where providers are really
//! asked, by whoever will settle them. A wider account that refuses makes the narrower ones give back what they took.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::alerts;
use super::objects::ask;
use super::port::{Class as Object, Port};
use super::rules::rules;
use crate::base::digest::base64url;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::limits::account::{
    Account, Alert, Command, IsolateAnswer, Limits, Reply, Take, Want,
};
use crate::domain::limits::{Class, LimitName, LimitStatus, headers};
use crate::domain::llm::bound::Bound;
use crate::domain::llm::price::Micros;
use crate::domain::settings::config::{Allowance, DEFAULT_TENANT, LimitClass};
use crate::domain::settings::names;

/// Whose use it is. It travels with a call that runs in another place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payer {
    /// The principal's account: `key/<id>` or `visitor/<id>`; none for whom only the network is known.
    pub account: Option<String>,
    /// The accounts of its client and network, `client/<hidden name>` and `network/<hidden name>`.
    #[serde(default)]
    pub from: Option<(String, String)>,
    /// Its tier.
    pub tier: Option<String>,
    /// What it alone was given.
    pub allowance: Option<Allowance>,
}

/// One account.
#[derive(Clone, Debug)]
struct Place {
    /// Shared by all tenants?
    global: bool,
    /// Its object.
    name: String,
    /// What it may use.
    limits: Limits,
    /// Is it the caller's own? Nobody is told about the others.
    own: bool,
}

/// The accounts of a call, narrow to wide. Those that limit and watch nothing are left out.
async fn places(
    port: &impl Port,
    payer: &Payer,
    alias: Option<&str>,
    class: Class,
) -> Result<Vec<Place>, Refusal> {
    let own = rules(port).await?;
    // What all tenants share, only the house's own operators change: no tenant lifts it for itself.
    let shared = if port.tenant() == DEFAULT_TENANT {
        Rc::clone(&own)
    } else {
        rules(&port.of_tenant(DEFAULT_TENANT)).await?
    };
    let rules = own;
    let config = &port.settings().config;
    let nothing = Allowance::default();
    let mut places = Vec::new();
    let of = |allowance: &Allowance| Limits::of(allowance, class);
    let mut add = |name: &str, limits: Limits, global: bool, own: bool| {
        if !limits.is_empty() {
            places.push(Place {
                global,
                name: name.to_owned(),
                limits,
                own,
            });
        }
    };
    if let Some(account) = &payer.account {
        let of_tier = payer.tier.as_ref().map(|name| {
            let tier = config.tiers.iter().find(|tier| tier.name == *name);
            let configured = tier.map_or(&nothing, |tier| &tier.allowance);
            rules.allowance(&["tier/", name].concat(), configured)
        });
        let of_kind = || {
            let kind = account.split('/').next().unwrap_or_default();
            rules.allowance(kind, &nothing)
        };
        let given = payer.allowance.as_ref().or(of_tier);
        let configured = given.unwrap_or_else(of_kind);
        let limits = of(rules.allowance(account, configured)).watched(&config.abuse);
        add(account, limits, false, true);
    }
    if let Some((client, network)) = &payer.from {
        let nobody = payer.account.is_none();
        let limits = of(rules.allowance("client", &config.client));
        add(client, limits, false, nobody);
        let limits = of(rules.allowance("network", &config.network));
        add(network, limits, false, false);
    }
    if let Some(alias) = alias {
        let name = ["alias/", alias].concat();
        let known = port.settings().alias(alias);
        let configured = known.map_or(&nothing, |alias| &alias.config.allowance);
        add(&name, of(rules.allowance(&name, configured)), false, false);
    }
    let tenant = config
        .tenants
        .iter()
        .find(|tenant| tenant.name == port.tenant());
    let configured = tenant.map_or(&nothing, |tenant| &tenant.allowance);
    let limits = of(rules.allowance("tenant", configured));
    add("tenant", limits, false, false);
    let limits = of(shared.allowance("global", &config.global));
    add("all", limits, true, false);
    Ok(places)
}

/// Spends one request of every account that limits or watches requests.
///
/// # Errors
/// `rate_limited`, `abnormal_usage`, `overloaded`, `limiter_unavailable`.
pub async fn admit(
    port: &impl Port,
    payer: &Payer,
    alias: Option<&str>,
    class: LimitClass,
) -> Result<Admitted, Refusal> {
    let class = class_of(class);
    let places = places_of_requests(port, payer, alias, class).await?;
    let want = one_request(class);
    let taken = take(port, places, want, Millis::from_secs(60)).await?;
    Ok(Admitted { taken, want })
}

/// A request that every account has counted.
pub struct Admitted {
    taken: Reserved,
    want: Want,
}

impl Admitted {
    /// The principal's own windows.
    #[must_use]
    pub fn status(&self) -> &[LimitStatus] {
        &self.taken.status
    }

    /// The request was refused elsewhere: no account counts it. What cannot be taken back stays spent.
    pub async fn take_back(self, port: &impl Port) {
        give_back(port, self.taken, self.want).await;
    }
}

/// The refusal that [`admit`] would repeat from this isolate's memory: whoever has it need not be counted anywhere.
///
/// # Errors
/// As [`admit`].
pub async fn refused_before(
    port: &impl Port,
    payer: &Payer,
    alias: Option<&str>,
    class: LimitClass,
) -> Result<(), Refusal> {
    let class = class_of(class);
    let want = one_request(class);
    let now = port.now();
    for place in places_of_requests(port, payer, alias, class).await? {
        let denied = port.known(|known| {
            known
                .accounts
                .denied(now, &place.key(), &want, &place.limits)
        });
        if let Some(reply) = denied {
            return Err(refusal(&reply, &place, now));
        }
    }
    Ok(())
}

const fn one_request(class: Class) -> Want {
    Want {
        class,
        requests: 1,
        tokens: 0,
        micros: 0,
        place: false,
    }
}

/// The accounts of a call as far as requests go.
async fn places_of_requests(
    port: &impl Port,
    payer: &Payer,
    alias: Option<&str>,
    class: Class,
) -> Result<Vec<Place>, Refusal> {
    let mut places = places(port, payer, alias, class).await?;
    for place in &mut places {
        place.limits = Limits {
            tokens: None,
            places: None,
            money: [None; 3],
            ..place.limits
        };
    }
    places.retain(|place| !place.limits.is_empty());
    Ok(places)
}

/// What a call holds until it is settled. One that is never settled stays spent at its most.
#[derive(Default)]
pub struct Reserved {
    id: String,
    places: Vec<Place>,
    leased: Vec<Place>,
    status: Vec<LimitStatus>,
}

/// Reserves the most that a call can take: tokens, a place, money.
///
/// # Errors
/// `budget_exhausted`, `budget_unbounded`, `concurrency_limited`, `rate_limited` (tokens), `abnormal_usage`,
/// `overloaded`, `limiter_unavailable`.
pub async fn reserve(
    port: &impl Port,
    payer: &Payer,
    alias: &str,
    class: LimitClass,
    bound: impl FnOnce() -> Bound,
    lasts: Millis,
) -> Result<Reserved, Refusal> {
    let class = class_of(class);
    let mut places = places(port, payer, Some(alias), class).await?;
    for place in &mut places {
        place.limits = Limits {
            burst: None,
            sustained: None,
            watch: None,
            ..place.limits
        };
    }
    places.retain(|place| !place.limits.is_empty());
    if places.is_empty() {
        return Ok(Reserved::default());
    }
    let bound = bound();
    let of_money = |place: &Place| place.limits.money.iter().any(Option::is_some);
    let micros = match bound.cost {
        Some(cost) => cost.0,
        None if places.iter().any(of_money) => return Err(Refusal::new(Code::BudgetUnbounded)),
        None => 0,
    };
    let want = Want {
        class,
        requests: 0,
        tokens: bound.tokens,
        micros,
        place: true,
    };
    take(port, places, want, lasts).await
}

impl Reserved {
    /// Headers that tell what the principal has left of its tokens.
    #[must_use]
    pub fn headers(&self, now: Millis) -> Vec<headers::Header> {
        headers::headers(&self.status, now)
    }

    /// Books what was really used, and gives the rest back.
    pub async fn settle(&mut self, port: &impl Port, tokens: u64, micros: u64) {
        for place in core::mem::take(&mut self.places) {
            let command = Command::Settle {
                id: self.id.clone(),
                tokens,
                micros,
            };
            // A settlement that is lost stays booked at the most: what fails here is never too little.
            if let Ok(Reply::Done { alerts, .. }) = tell(port, &place, command).await {
                heard(port, &place, &alerts).await;
            }
        }
    }
}

/// Takes from one account after the other; the first that refuses makes the others give back.
async fn take(
    port: &impl Port,
    places: Vec<Place>,
    want: Want,
    lasts: Millis,
) -> Result<Reserved, Refusal> {
    // Never the caller's own id: whoever could choose it would spend once for many requests.
    let mut taken = Reserved {
        id: base64url(&port.random::<16>()),
        ..Reserved::default()
    };
    for place in places {
        match take_one(port, &taken.id, &place, want, lasts).await {
            Ok(Took::Asked(status)) => {
                if place.own {
                    taken.status = status;
                }
                taken.places.push(place);
            }
            Ok(Took::Leased(status)) => {
                if place.own {
                    taken.status = status;
                }
                taken.leased.push(place);
            }
            Err(Untaken { refusal, perhaps }) => {
                if perhaps {
                    taken.places.push(place);
                }
                give_back(port, taken, want).await;
                return Err(refusal);
            }
        }
    }
    Ok(taken)
}

async fn give_back(port: &impl Port, taken: Reserved, want: Want) {
    for place in &taken.places {
        let release = Command::Release {
            id: taken.id.clone(),
        };
        let _ = tell(port, place, release).await;
    }
    let now = port.now();
    for place in &taken.leased {
        port.known(|known| {
            known
                .accounts
                .give_back(now, &place.key(), &want, &place.limits);
        });
    }
}

enum Took {
    Asked(Vec<LimitStatus>),
    Leased(Vec<LimitStatus>),
}

struct Untaken {
    refusal: Refusal,
    /// The call failed, and may have been done.
    perhaps: bool,
}

impl From<Refusal> for Untaken {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            perhaps: false,
        }
    }
}

async fn take_one(
    port: &impl Port,
    id: &str,
    place: &Place,
    want: Want,
    lasts: Millis,
) -> Result<Took, Untaken> {
    let asked = port.now();
    let key = place.key();
    let answer = port.known(|known| known.accounts.ask(asked, &key, &want, &place.limits));
    let (ahead, back) = match answer {
        IsolateAnswer::Leased(status) => return Ok(Took::Leased(status)),
        IsolateAnswer::Refused(reply) => return Err(refusal(&reply, place, asked).into()),
        IsolateAnswer::Shed => {
            let wait = Millis::from_secs(1);
            return Err(Refusal::new(Code::Overloaded).wait(wait).into());
        }
        IsolateAnswer::Ask { ahead, back } => (ahead, back),
    };
    let command = || {
        Command::Take(Box::new(Take {
            id: id.to_owned(),
            want,
            limits: place.limits,
            until: asked.plus(lasts),
            ahead,
            back: back.clone(),
        }))
    };
    let mut reply = tell(port, place, command()).await;
    if reply.is_err() {
        // Once more with the same id: what failed may have been done, and is then not done twice.
        reply = tell(port, place, command()).await;
    }
    let seen = port.known(|known| {
        known
            .accounts
            .heard(asked, &key, id, &want, &place.limits, reply.as_ref().ok())
    });
    match reply {
        Ok(Reply::Taken { alerts, .. }) => {
            heard(port, place, &alerts).await;
            Ok(Took::Asked(seen))
        }
        Ok(reply) => {
            if let Reply::Refused { alerts, .. } = &reply {
                heard(port, place, alerts).await;
            }
            Err(refusal(&reply, place, port.now()).into())
        }
        Err(fault) => Err(Untaken {
            refusal: Refusal::new(Code::LimiterUnavailable)
                .wait(Millis::from_secs(2))
                .cause(fault),
            perhaps: true,
        }),
    }
}

impl Place {
    /// Its name in the isolate's memory.
    fn key(&self) -> String {
        if self.global {
            [names::GLOBAL, "/", &self.name].concat()
        } else {
            self.name.clone()
        }
    }

    fn title(&self) -> &'static str {
        match self.name.split('/').next() {
            Some("client") => "The limit of your address",
            Some("network") => "The limit of your network",
            Some("alias") => "The limit of this alias",
            Some("tenant") => "The limit of this site",
            Some("all") => "The limit of all sites together",
            _ => "Your limit",
        }
    }
}

async fn tell<P: Port>(port: &P, place: &Place, command: Command) -> Result<Reply, String> {
    let global;
    let port = if place.global {
        global = port.of_tenant(names::GLOBAL);
        &global
    } else {
        port
    };
    let reply = ask::<Account>(port, Object::Ledger, &place.name, command).await;
    reply.map_err(|fault| fault.0)
}

async fn heard<P: Port>(port: &P, place: &Place, told: &[Alert]) {
    for alert in told {
        alerts::of_account(port, &place.name, place.global, alert).await;
    }
}

/// A refusal in the caller's words. Of accounts that are not the caller's own nothing but the wait is told.
fn refusal(reply: &Reply, place: &Place, now: Millis) -> Refusal {
    let Reply::Refused {
        wait,
        forever,
        why,
        status,
        ..
    } = reply
    else {
        return Refusal::new(Code::LimiterUnavailable)
            .wait(Millis::from_secs(2))
            .cause("an account answered something else");
    };
    let has = |names: &[LimitName]| why.iter().any(|name| names.contains(name));
    let budget = [
        LimitName::HourBudget,
        LimitName::DayBudget,
        LimitName::MonthBudget,
    ];
    let code = if has(&[LimitName::Hold]) {
        Code::AbnormalUsage
    } else if has(&budget) {
        Code::BudgetExhausted
    } else if has(&[LimitName::Overload]) {
        Code::Overloaded
    } else if has(&[LimitName::Concurrent]) {
        Code::ConcurrencyLimited
    } else {
        Code::RateLimited
    };
    let names: Vec<&str> = why.iter().map(|name| name.as_str()).collect();
    let mut detail = format!("{} refuses: {}.", place.title(), names.join(", "));
    if *forever {
        detail.push_str(" The request alone needs more than the whole of it: ask for less.");
    } else {
        detail.push_str(" There is room again in ");
        detail.push_str(&wait.secs_ceil().max(1).to_string());
        detail.push_str(" s.");
    }
    let refusal = Refusal::new(code)
        .detail(detail)
        .violated(why.iter().map(|name| name.as_str().to_owned()).collect());
    let refusal = if *forever {
        refusal
    } else {
        refusal.wait(*wait)
    };
    if place.own {
        refusal.headers(headers::headers(status, now))
    } else {
        refusal
    }
}

const fn class_of(class: LimitClass) -> Class {
    match class {
        LimitClass::Read => Class::Read,
        LimitClass::Chat => Class::Chat,
        LimitClass::Embeddings => Class::Embeddings,
        LimitClass::Upload => Class::Upload,
    }
}

/// What an account used, for operators and for its owner; `scope` as in the rules (`global` is the account of all).
///
/// # Errors
/// `limiter_unavailable`
pub async fn look<P: Port>(port: &P, scope: &str) -> Result<Value, Refusal> {
    let place = Place {
        global: scope == "global",
        name: if scope == "global" {
            "all".to_owned()
        } else {
            scope.to_owned()
        },
        limits: Limits::default(),
        own: false,
    };
    let command = Command::Look {
        class: Class::Chat,
        limits: Limits::default(),
    };
    let Ok(Reply::Seen {
        spend,
        places,
        open,
        hold,
        ..
    }) = tell(port, &place, command).await
    else {
        return Err(Refusal::new(Code::LimiterUnavailable).wait(Millis::from_secs(2)));
    };
    let spend: Vec<Value> = spend
        .iter()
        .map(|window| {
            json!({
                "window": window.name.as_str(),
                "spent_usd": Micros(window.spent).to_string(),
                "reserved_usd": Micros(window.reserved).to_string(),
                "since": window.start.rfc3339(),
                "until": window.end.rfc3339(),
            })
        })
        .collect();
    let hold = hold.map(
        |(until, slow, reason)| json!({"until": until.rfc3339(), "slow": slow, "reason": reason}),
    );
    Ok(json!({"spend": spend, "running": places, "open_reservations": open, "hold": hold}))
}
