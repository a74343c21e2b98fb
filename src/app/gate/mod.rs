//! Who is calling, from where, what they may reach, and whether the limits admit it.

mod credentials;
mod limits;

use std::rc::Rc;

use super::accounts::Payer;
use super::objects::key_object;
use super::port::Port;
use super::request::Head;
use super::rules::rules;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::identity::key_record::Stores;
use crate::domain::identity::{Presented, Principal, SessionClaims, presented};
use crate::domain::limits::network::{client_name, network_name};
use crate::domain::limits::rules::Snapshot;
use crate::domain::limits::{Access, Decision, DeniedBy, Source};
use crate::domain::settings::config::Alias;
use crate::domain::settings::{ActiveAlias, Settings};

pub use credentials::{failed, trusting};
pub use limits::{Admission, admit, admit_call, admit_operator, may_write_cache, once};

/// The caller of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// Whose use it is.
    pub payer: Payer,
    /// Name of the network's limiter object, which tells nothing of the address.
    pub network: String,
    /// The client's row in it: an IPv4 address or an IPv6 /64, hidden in the same way.
    pub client: String,
    /// The country, in upper case, where the platform tells it.
    pub country: Option<String>,
    /// The request's id.
    pub request_id: String,
}

/// Finds out who is calling, and applies the operator's lists and blocks.
///
/// # Errors
/// `address_denied`, `network_denied`, `country_denied`, `origin_not_allowed`, `invalid_credentials`, `abnormal_usage`
/// while a block stands; `limiter_unavailable`, `keyring_unavailable`.
pub async fn caller<P: Port>(port: &P, head: &Head, request_id: &str) -> Result<Caller, Refusal> {
    let caller = stranger(port, head, request_id).await?;
    let presented = presented(head.credentials())?;
    let principal = credentials::principal(port, head, &caller, presented).await?;
    identified(port, head, caller, principal).await
}

/// The same for a signed request, whose body was read.
///
/// # Errors
/// As for [`caller`]; `signature_invalid`, `replayed_request`.
pub async fn signed_caller<P: Port>(
    port: &P,
    head: &Head,
    request_id: &str,
    body: &[u8],
) -> Result<Caller, Refusal> {
    let caller = stranger(port, head, request_id).await?;
    match presented(head.credentials())? {
        Presented::Signed => {}
        _ => return Err(Refusal::new(Code::InvalidCredentials)),
    }
    let principal = credentials::signed(port, head, &caller, body).await?;
    identified(port, head, caller, principal).await
}

/// The caller, now that it is known who it is.
async fn identified<P: Port>(
    port: &P,
    head: &Head,
    stranger: Caller,
    principal: Principal,
) -> Result<Caller, Refusal> {
    let rules = rules(port).await?;
    let caller = Caller {
        payer: Payer {
            from: stranger.payer.from,
            ..payer(port.settings(), &principal)
        },
        principal,
        ..stranger
    };
    not_blocked(port, head, &rules, &caller)?;
    Ok(caller)
}

/// The caller as far as nothing but its address says who it is.
///
/// # Errors
/// Those of the lists; `origin_not_allowed`.
pub async fn stranger<P: Port>(port: &P, head: &Head, request_id: &str) -> Result<Caller, Refusal> {
    stranger_by(port, head, request_id, &*rules(port).await?)
}

/// The same by these rules.
///
/// # Errors
/// As for [`stranger`].
pub fn stranger_by<P: Port>(
    port: &P,
    head: &Head,
    request_id: &str,
    rules: &Snapshot,
) -> Result<Caller, Refusal> {
    let settings = port.settings();
    let source = Source::parse(head.address.as_deref());
    let country = head.country.as_deref().map(str::to_ascii_uppercase);
    let configured = Access::of(&settings.config.access);
    match rules.access(&configured, &source, country.as_deref(), head.asn) {
        Decision::Checked => {}
        Decision::Denied(DeniedBy::Address) => return Err(Refusal::new(Code::AddressDenied)),
        Decision::Denied(DeniedBy::Network) => return Err(Refusal::new(Code::NetworkDenied)),
        Decision::Denied(DeniedBy::Country) => return Err(Refusal::new(Code::CountryDenied)),
    }
    if let Some(origin) = &head.origin
        && !origin_listed(settings, rules, head, origin)
    {
        return Err(Refusal::new(Code::OriginNotAllowed));
    }
    // Without a MASTER_KEY the names are hidden from nobody; such a house keeps nothing else either.
    let key = settings
        .keys
        .as_ref()
        .map_or([0; 32], |keys| *keys.address.reveal());
    let (client, network) = (client_name(&key, &source), network_name(&key, &source));
    let from = (
        ["client/", &client].concat(),
        ["network/", &network].concat(),
    );
    Ok(Caller {
        principal: Principal::Anonymous,
        payer: Payer {
            from: Some(from),
            ..Payer::default()
        },
        network: ["net/", &network].concat(),
        client,
        country,
        request_id: request_id.to_owned(),
    })
}

/// A block by an operator or a rule. It tells when it ends; why is told to operators alone.
fn not_blocked(
    port: &impl Port,
    head: &Head,
    rules: &Snapshot,
    caller: &Caller,
) -> Result<(), Refusal> {
    let source = Source::parse(head.address.as_deref());
    let (visitor, key) = match &caller.principal {
        Principal::Visitor { id, .. } => (Some(id.as_str()), None),
        Principal::Key(view) => (None, Some(view.id.as_str())),
        Principal::Anonymous => (None, None),
    };
    let now = port.now();
    match rules.block_for(&source, visitor, key, now) {
        None => Ok(()),
        Some(block) => Err(Refusal::new(Code::AbnormalUsage)
            .wait(block.until.since(now))
            .detail("An operator has blocked requests from here for a while.")
            .cause(["blocked: ", &block.reason].concat())),
    }
}

fn payer(settings: &Settings, principal: &Principal) -> Payer {
    match principal {
        Principal::Anonymous => Payer::default(),
        Principal::Visitor { id, session, .. } => {
            let own = session.as_ref().and_then(|session| session.tier.clone());
            Payer {
                account: Some(["visitor/", id].concat()),
                tier: own.or_else(|| settings.config.session.tier.clone()),
                ..Payer::default()
            }
        }
        Principal::Key(view) => Payer {
            account: Some(key_object(&view.id)),
            tier: view.settings.tier.clone(),
            allowance: view.settings.allowance.clone(),
            from: None,
        },
    }
}

/// May pages of that origin call? The site's own may; others only when the operator lists them exactly, in the
/// configuration or for a site key.
#[must_use]
pub fn origin_allowed(port: &impl Port, head: &Head, origin: &str) -> bool {
    let rules = port.known(|known| known.last_rules());
    let rules = rules.unwrap_or_else(|| Rc::new(Snapshot::default()));
    origin_listed(port.settings(), &rules, head, origin)
}

fn origin_listed(settings: &Settings, rules: &Snapshot, head: &Head, origin: &str) -> bool {
    let configured = &settings.config.server.allowed_origins;
    origin == head.own_origin
        || configured.iter().any(|allowed| allowed == origin)
        || rules.site_keys.values().any(|key| key.serves(origin))
}

// === what a caller may reach ===

/// May this caller use that alias?
///
/// # Errors
/// `model_not_found` for another tenant's, `model_not_public`, `session_required`, `forbidden` for a key without that
/// scope.
pub fn may_call(port: &impl Port, caller: &Caller, alias: &Alias) -> Result<(), Refusal> {
    if !alias.tenants.is_empty() && !alias.tenants.iter().any(|name| name == port.tenant()) {
        return Err(Refusal::new(Code::ModelNotFound).param("model"));
    }
    match &caller.principal {
        Principal::Key(view) if view.settings.scopes.allows_alias(&alias.name) => Ok(()),
        Principal::Key(_) => Err(Refusal::new(Code::Forbidden)
            .param("model")
            .detail("This key's scopes do not name that alias.")),
        _ if !alias.public => Err(Refusal::new(Code::ModelNotPublic).param("model")),
        Principal::Visitor {
            session: Some(_), ..
        } => Ok(()),
        _ if alias.session => Err(Refusal::new(Code::SessionRequired)),
        _ => Ok(()),
    }
}

/// Would [`may_call`] allow it, now or with a session? For lists.
#[must_use]
pub fn may_see(port: &impl Port, caller: &Caller, alias: &ActiveAlias) -> bool {
    match may_call(port, caller, &alias.config) {
        Ok(()) => !alias.targets.is_empty(),
        Err(refusal) => refusal.code == Code::SessionRequired && !alias.targets.is_empty(),
    }
}

/// May this key use that endpoint, and what it stores? Whoever is no key may.
///
/// # Errors
/// `forbidden`
pub fn may_reach(caller: &Caller, endpoint: &str, stores: Stores) -> Result<(), Refusal> {
    let Principal::Key(view) = &caller.principal else {
        return Ok(());
    };
    let scopes = &view.settings.scopes;
    if !scopes.allows_endpoint(endpoint) {
        return Err(Refusal::new(Code::Forbidden)
            .detail(format!("This key's scopes do not name {endpoint}.")));
    }
    may_store(caller, stores)
}

/// May this caller do that with what is stored? Whoever is no key may.
///
/// # Errors
/// `forbidden`
pub fn may_store(caller: &Caller, stores: Stores) -> Result<(), Refusal> {
    match &caller.principal {
        Principal::Key(view) if !view.settings.scopes.allows_store(stores) => {
            Err(Refusal::new(Code::Forbidden)
                .detail("This key's scopes do not reach what is stored."))
        }
        _ => Ok(()),
    }
}

/// How much of a session's life is left when the page gets a new one by itself: a third.
#[must_use]
pub fn wants_renewal(session: &SessionClaims, now: Millis) -> bool {
    let life = session.expires.since(session.issued);
    session.expires.since(now).0 < life.0 / 3
}
