//! What operators do: the API and the pages over it.
//!
//! Every endpoint of [`crate::domain::admin`] is a function from a [`Context`] to what is told. The pages call the same
//! functions: a form is a request of the API in another writing.

pub mod backup;
pub mod documents;
pub mod keyring;
pub mod keys;
pub mod log;
pub mod operators;
pub mod pages;
pub mod review;
pub mod rules;
pub mod sign_in;

use std::rc::Rc;

use serde_json::{Map, Value};

use super::audit::{self, Event};
use super::body::json_body;
use super::gate::{self, Caller};
use super::objects::{ask, told, why_code};
use super::port::{ByteSource, Class, Port};
use super::reply::Reply;
use super::request::Head;
use super::rules::HOUSE;
use crate::base::digest::{hex, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::ids::prefixed;
use crate::base::time::Millis;
use crate::domain::admin::{Access, Call, Endpoint, Found, find};
use crate::domain::audit::entry::{Action as Deed, Actor};
use crate::domain::identity::operators::{Command, Operators, Reply as OperatorsReply, Standing};
use crate::domain::identity::roles::Action;
use crate::domain::limits::rules::Snapshot;
use crate::domain::limits::{Access as Lists, Source};
use crate::domain::llm::request::invalid;
use crate::domain::settings::config::LimitClass;

pub use pages::page;

/// Cookie of an operator's session over https.
const COOKIE_NAME: &str = "__Host-gatehouse-admin";
/// The same over plain http on a developer's machine, where the prefix is refused.
const COOKIE_NAME_PLAIN: &str = "gatehouse-admin";

/// A request of an operator, or of somebody on the way to be one.
pub struct Context<'a, P> {
    /// The world.
    pub port: &'a P,
    /// The request.
    pub head: &'a Head,
    /// As far as the network tells.
    pub caller: Caller,
    /// Who is signed in.
    pub standing: Option<Standing>,
    /// Hash of the session's token.
    pub session: String,
    /// What stood in the place of `{…}` in the path.
    pub id: String,
    /// The body's fields.
    pub fields: Map<String, Value>,
}

/// What an endpoint tells.
#[derive(Debug)]
pub enum Told {
    /// A JSON value.
    Json(Value),
    /// A new thing.
    Created(Value),
    /// A JSON value, and the session's cookie: its token and how long it lasts; `None` takes it away.
    Session(Value, Option<(String, Millis)>),
    /// Another kind of content, with the name under which it is to be kept.
    File {
        /// Content type.
        content_type: &'static str,
        /// File name.
        name: &'static str,
        /// Content.
        bytes: Vec<u8>,
        /// Headers that tell how to go on.
        headers: Vec<(&'static str, String)>,
    },
}

/// `/api/admin/…`
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | method and path → endpoint | 404, 405 |
/// | 2 | lists, the networks that operators come from | 403 |
/// | 3 | rate: of the session where there is one, else of the network | 429 |
/// | 4 | a page of another site changes nothing | 403 |
/// | 5 | session: without one nothing is read | 401 |
/// | 6 | body | 400, 413 |
/// | 7 | session as it is after the body came, role, fresh second factor; a house that nobody can claim | 401, 403, 503 |
/// | 8 | names of the body's fields | 400 |
/// | 9 | the endpoint | any |
///
/// # Errors
/// As the table says.
pub async fn api<P: Port, B: ByteSource>(
    port: &P,
    head: &Head,
    body: &mut B,
    path: &str,
    request_id: &str,
) -> Result<Reply<P>, Refusal> {
    // 1
    let Found { endpoint, id } = find(&head.method, path)?;
    // 2
    let caller = match endpoint.call {
        Call::Restore => arrived_to_restore(port, head, request_id).await?,
        _ => arrived(port, head, request_id).await?,
    };
    let mut context = Context {
        port,
        head,
        caller,
        standing: None,
        session: String::new(),
        id,
        fields: Map::new(),
    };
    // 3
    let open = endpoint.access == Access::Open;
    let signed = if open { Ok(()) } else { context.sign().await };
    let limits = match endpoint.call {
        Call::Restore => context.admit_restore().await?,
        _ => context.admit().await?,
    };
    // 4
    head.own_site()?;
    // 5
    if let Err(refusal) = signed {
        sign_in::set_up(&context).await?;
        return Err(refusal);
    }
    // 6
    let bodiless = matches!(endpoint.method, "GET" | "DELETE") || head.content_length == Some(0);
    if !bodiless {
        context.fields = json_body(port, head, body).await?;
        // Whoever sends it slowly may be no operator any more.
        context.standing = None;
    }
    // 7
    context.enter(endpoint).await?;
    // 8
    let known = endpoint.call.fields();
    if let Some(name) = context
        .fields
        .keys()
        .find(|name| !known.contains(&name.as_str()))
    {
        return Err(invalid(name, "is not known here"));
    }
    // 9
    let told = dispatch(&context, endpoint.call).await?;
    Ok(context.reply(told).headers(limits))
}

/// The caller as far as lists and networks go.
///
/// # Errors
/// `setup_required` without a `MASTER_KEY`; `address_denied`.
pub async fn arrived<P: Port>(port: &P, head: &Head, request_id: &str) -> Result<Caller, Refusal> {
    let rules = super::rules::rules(port).await?;
    arrived_by(port, head, request_id, rules)
}

/// The same for whoever puts a house back: while its own rules are not back yet, those of the configuration stand.
///
/// # Errors
/// As for [`arrived`].
pub async fn arrived_to_restore<P: Port>(
    port: &P,
    head: &Head,
    request_id: &str,
) -> Result<Caller, Refusal> {
    match arrived(port, head, request_id).await {
        Err(refusal) if refusal.code == Code::HouseRestoring => {
            arrived_by(port, head, request_id, Rc::default())
        }
        arrived => arrived,
    }
}

/// The same by these rules.
fn arrived_by<P: Port>(
    port: &P,
    head: &Head,
    request_id: &str,
    mut rules: Rc<Snapshot>,
) -> Result<Caller, Refusal> {
    if port.settings().admin_allow_reset {
        // The way back for whom operators' lists keep out.
        rules = Rc::new(Snapshot {
            lists: Lists::default(),
            admin_allow: None,
            ..(*rules).clone()
        });
    }
    let caller = gate::stranger_by(port, head, request_id, &rules)?;
    if port.settings().master.is_none() {
        return Err(Refusal::new(Code::SetupRequired).detail("MASTER_KEY is not set."));
    }
    let source = Source::parse(head.address.as_deref());
    if !rules.admin_allows(&source, &port.settings().config.admin.allow) {
        return Err(Refusal::new(Code::AddressDenied));
    }
    Ok(caller)
}

impl<P: Port> Context<'_, P> {
    /// Finds out who is signed in, and whether the endpoint is open to them.
    ///
    /// # Errors
    /// `setup_required` while nobody can become the owner; `invalid_credentials` without a session, `forbidden`,
    /// `second_factor_required`.
    pub async fn enter(&mut self, endpoint: &Endpoint) -> Result<(), Refusal> {
        if endpoint.access == Access::Open {
            return match endpoint.call {
                // A house that is being restored cannot be asked who owns it.
                Call::State | Call::Restore => Ok(()),
                _ => sign_in::set_up(self).await,
            };
        }
        if self.standing.is_none()
            && let Err(refusal) = self.sign().await
        {
            sign_in::set_up(self).await?;
            return Err(refusal);
        }
        match endpoint.access {
            Access::Open | Access::Session => Ok(()),
            Access::Right(action) => self.may(action).await,
        }
    }

    /// Spends one request: of the session's own, or of the network's without a session.
    ///
    /// # Errors
    /// As for [`gate::admit`].
    pub async fn admit(&self) -> Result<Vec<(&'static str, String)>, Refusal> {
        match self.standing {
            Some(_) => gate::admit_operator(self.port, &self.caller, &self.session).await,
            None => gate::admit(self.port, &self.caller, None, LimitClass::Read).await,
        }
    }

    /// Spends one request of a network that puts a house back; a closed house counts it too.
    ///
    /// # Errors
    /// As for [`gate::admit`].
    pub async fn admit_restore(&self) -> Result<Vec<(&'static str, String)>, Refusal> {
        let name = ["restore/", &self.caller.client].concat();
        gate::admit_operator(self.port, &self.caller, &name).await
    }

    /// Reads the session.
    ///
    /// # Errors
    /// `invalid_credentials` without one.
    pub async fn sign(&mut self) -> Result<(), Refusal> {
        let no_session = || {
            Refusal::new(Code::InvalidCredentials)
                .detail("Sign in first, with POST /api/admin/sign-in or at /admin.")
        };
        let token = session_token(self.head).ok_or_else(no_session)?;
        self.session = hash_of(token);
        let admin = &self.port.settings().config.admin;
        let command = Command::Authenticate(
            self.session.clone(),
            self.idle(),
            Millis::from_secs(admin.session_seconds),
        );
        match self.operators(command).await? {
            OperatorsReply::In(standing) => {
                self.standing = Some(standing);
                Ok(())
            }
            _ => Err(no_session()),
        }
    }

    /// Holds the operator to a right. Who has it not, or did not confirm it, is on record.
    ///
    /// # Errors
    /// `forbidden`, `second_factor_required`.
    pub async fn may(&self, action: Action) -> Result<(), Refusal> {
        let Some(standing) = &self.standing else {
            return Err(Refusal::new(Code::InvalidCredentials));
        };
        let record = async |code| {
            let event = self
                .event(Deed::AuthRefuse)
                .detail("action", action.name())
                .refused(code);
            audit::record(self.port, event).await;
        };
        if !standing.role.may(action) {
            record(Code::Forbidden).await;
            return Err(Refusal::new(Code::Forbidden).detail(format!(
                "The role {} may not: {}.",
                standing.role.name(),
                action.text()
            )));
        }
        if action.fresh() && !self.is_fresh() {
            record(Code::SecondFactorRequired).await;
            return Err(Refusal::new(Code::SecondFactorRequired));
        }
        Ok(())
    }

    /// A session ends after this long without use.
    #[must_use]
    pub fn idle(&self) -> Millis {
        Millis::from_secs(self.port.settings().config.admin.idle_seconds)
    }

    /// Was the second factor confirmed lately?
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let now = self.port.now();
        self.standing
            .as_ref()
            .is_some_and(|standing| standing.fresh_until > now)
    }

    /// The operator's id; empty for whoever is none.
    #[must_use]
    pub fn operator(&self) -> &str {
        self.standing
            .as_ref()
            .map_or("", |standing| standing.operator.as_str())
    }

    /// An event by this operator, from this address, in this request.
    #[must_use]
    pub fn event(&self, action: Deed) -> Event {
        let event = Event::new(self.port, action).request(&self.caller.request_id);
        let event = match &self.standing {
            Some(standing) => event
                .by(Actor::Operator, &standing.operator)
                .known_as("name", &standing.name),
            None => event.by(Actor::Unknown, "-"),
        };
        event.known_as("from", &self.caller.client)
    }

    /// Asks the operators' machine.
    ///
    /// # Errors
    /// `storage_unavailable`
    pub async fn operators(&self, command: Command) -> Result<OperatorsReply, Refusal> {
        ask::<Operators>(self.port, Class::Directory, HOUSE, command)
            .await
            .map_err(|fault| super::port::storage_refusal(&fault))
    }

    /// Changes something of operators; the event goes with the change.
    ///
    /// # Errors
    /// What the machine refuses.
    pub async fn operators_change(
        &self,
        command: Command,
        event: Event,
    ) -> Result<OperatorsReply, Refusal> {
        let reply = told::<Operators>(
            self.port,
            Class::Directory,
            HOUSE,
            command,
            Some(event.outbox()),
        )
        .await
        .map_err(|fault| super::port::storage_refusal(&fault))?;
        self.deliver(Class::Directory, HOUSE).await;
        match reply {
            OperatorsReply::No(why) => Err(Refusal::new(why_code(why))),
            OperatorsReply::TooMany(wait) => Err(Refusal::new(Code::TooManyAttempts).wait(wait)),
            reply => Ok(reply),
        }
    }

    /// Brings the events of an object to the audit log; what fails waits there for the cron.
    pub async fn deliver(&self, class: Class, name: &str) {
        let _ = audit::drain_of(self.port, class, name).await;
    }

    /// A fresh id.
    #[must_use]
    pub fn new_id(&self, prefix: &str) -> String {
        prefixed(prefix, &self.port.random())
    }

    fn reply(&self, told: Told) -> Reply<P> {
        match told {
            Told::Json(value) => Reply::json(200, value.to_string()),
            Told::Created(value) => Reply::json(201, value.to_string()),
            Told::Session(value, session) => {
                let cookie = session_cookie(self.head, session.as_ref());
                Reply::json(200, value.to_string()).header("set-cookie", cookie)
            }
            Told::File {
                content_type,
                name,
                bytes,
                headers,
            } => Reply::status(200)
                .header("content-type", content_type)
                .header("cache-control", "no-store")
                .header(
                    "content-disposition",
                    ["attachment; filename=\"", name, "\""].concat(),
                )
                .headers(headers)
                .bytes(bytes),
        }
    }
}

/// The `Set-Cookie` value of an operator's session.
#[must_use]
pub fn session_cookie(head: &Head, session: Option<&(String, Millis)>) -> String {
    let (name, secure) = if head.https() {
        (COOKIE_NAME, "; Secure")
    } else {
        (COOKIE_NAME_PLAIN, "")
    };
    let (token, lasts) = session.map_or(("", 0), |(token, lasts)| (token.as_str(), lasts.secs()));
    format!("{name}={token}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}")
}

/// The token of an operator's session: the cookie, or a bearer for programs.
fn session_token(head: &Head) -> Option<&str> {
    let bearer = head.authorization.as_deref().and_then(|header| {
        let (scheme, token) = header.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let name = if head.https() {
        COOKIE_NAME
    } else {
        COOKIE_NAME_PLAIN
    };
    let cookie = || {
        head.cookie
            .as_deref()?
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    bearer
        .or_else(cookie)
        .filter(|token| (20..=100).contains(&token.len()))
}

/// What is stored of a token: it has 256 random bits, so that nothing slower is needed.
#[must_use]
pub fn hash_of(token: &str) -> String {
    hex(&sha256(token.as_bytes()))
}

/// Calls an endpoint.
///
/// # Errors
/// Whatever it refuses.
pub async fn dispatch<P: Port>(cx: &Context<'_, P>, call: Call) -> Result<Told, Refusal> {
    match call {
        Call::State => sign_in::state(cx).await,
        Call::Claim => sign_in::claim(cx).await,
        Call::Join => sign_in::join(cx).await,
        Call::SignIn => sign_in::sign_in(cx).await,
        Call::SignOut => sign_in::sign_out(cx).await,
        Call::Me => sign_in::me(cx),
        Call::Confirm => sign_in::confirm(cx).await,
        Call::OwnKey => sign_in::own_key(cx).await,
        Call::OwnTotp => sign_in::own_totp(cx).await,
        Call::OwnRecovery => sign_in::own_recovery(cx).await,
        Call::Overview => review::overview(cx).await,
        Call::Keys => keys::list(cx).await,
        Call::KeyCreate => keys::create(cx).await,
        Call::Key => keys::get(cx).await,
        Call::KeyChange => keys::change(cx).await,
        Call::KeyRotate => keys::rotate(cx).await,
        Call::KeyRevoke => keys::revoke(cx).await,
        Call::SiteKeys => rules::site_keys(cx).await,
        Call::SiteKeyCreate => rules::site_key_create(cx).await,
        Call::SiteKeyChange => rules::site_key_change(cx).await,
        Call::SiteKeyRemove => rules::site_key_remove(cx).await,
        Call::Visitor => rules::visitor(cx).await,
        Call::VisitorRevoke => rules::visitor_revoke(cx).await,
        Call::VisitorsRevokeAll => rules::visitors_revoke_all(cx).await,
        Call::Limits => rules::limits(cx).await,
        Call::LimitSet => rules::limit_set(cx).await,
        Call::LimitClear => rules::limit_clear(cx).await,
        Call::Lists => rules::lists(cx).await,
        Call::ListsSet => rules::lists_set(cx).await,
        Call::BlockAdd => rules::block_add(cx).await,
        Call::BlockRemove => rules::block_remove(cx).await,
        Call::Budgets => rules::budgets(cx).await,
        Call::BudgetSet => rules::budget_set(cx).await,
        Call::Flags => rules::flags(cx).await,
        Call::FlagSet => rules::flag_set(cx).await,
        Call::Alerts => rules::alerts(cx).await,
        Call::AlertSeen => rules::alert_seen(cx).await,
        Call::AlertUndo => rules::alert_undo(cx).await,
        Call::Operators => operators::list(cx).await,
        Call::OperatorInvite => operators::invite(cx).await,
        Call::OperatorChange => operators::change(cx).await,
        Call::OperatorRole => operators::role_of(cx).await,
        Call::OperatorRemove => operators::remove(cx).await,
        Call::Sessions => operators::sessions(cx).await,
        Call::SessionEnd => operators::session_end(cx).await,
        Call::Keyring => keyring::status(cx).await,
        Call::KeyringRotate => keyring::rotate(cx).await,
        Call::KeyringSession => keyring::session(cx).await,
        Call::KeyringEmergency => keyring::emergency(cx).await,
        Call::KeyringDestroy => keyring::destroy(cx).await,
        Call::KeyringExport => keyring::export(cx).await,
        Call::Providers => keyring::providers(cx).await,
        Call::ProviderKeySet => keyring::provider_set(cx).await,
        Call::ProviderKeyRemove => keyring::provider_remove(cx).await,
        Call::Audit => log::entries(cx).await,
        Call::AuditExport => log::export(cx).await,
        Call::AuditCheckpoint => log::checkpoint(cx).await,
        Call::AuditKey => log::key(cx).await,
        Call::AuditInclusion => log::inclusion(cx).await,
        Call::AuditConsistency => log::consistency(cx).await,
        Call::AuditVerify => log::verify(cx).await,
        Call::AuditTile => log::tile(cx).await,
        Call::Backups => backup::list(cx).await,
        Call::BackupTake => backup::take(cx).await,
        Call::Rewind => backup::rewind(cx).await,
        Call::Restore => backup::restore(cx).await,
        Call::AccessReview => review::access(cx).await,
        Call::Erase => review::erase(cx).await,
        Call::Documents => documents::list(cx).await,
        Call::DocumentRelease => documents::release(cx).await,
        Call::DocumentHold => documents::hold(cx).await,
        Call::DocumentUnhold => documents::unhold(cx).await,
        Call::DocumentRemove => documents::delete(cx).await,
    }
}
