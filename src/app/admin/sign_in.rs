//! Becoming an operator, signing in, and one's own factors.
//!
//! Whoever joins is shown an operator key and the seed of a second factor first, and joins with a code that proves the
//! authenticator works. Between the two steps nothing is kept here: the first answer carries what the second needs,
//! sealed.

use serde_json::{Value, json};

use super::{Context, Told, hash_of};
use crate::app::audit;
use crate::app::gate;
use crate::app::keyring::{keyring, locked};
use crate::app::port::{Class, Port};
use crate::app::rules::HOUSE;
use crate::base::digest::{base64url, constant_time_eq, from_base64url, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::identity::api_key::{self, Env, Kind, ParsedKey};
use crate::domain::identity::operators::{
    Command, Deed as Change, Factors, Knock, NewSession, Newcomer, Proof, Reply,
};
use crate::domain::identity::recovery;
use crate::domain::identity::roles::{Action, Role};
use crate::domain::identity::totp;
use crate::domain::keyring::Opened;
use crate::domain::llm::request::{invalid, missing};
use crate::domain::settings::Environment;

/// How long an enrolment may take: 15 min × 60 s.
const ENROLMENT_TTL: Millis = Millis::from_secs(900);
/// The least length of `ADMIN_TOKEN`: a shorter one could be guessed.
const LEAST_TOKEN: usize = 16;
/// The audience in authenticators.
const ISSUER: &str = "Gatehouse";

/// Is the house claimed, and what is missing to set it up?
///
/// # Errors
/// `storage_unavailable`
pub async fn state<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let claimed = is_claimed(cx).await?;
    let token = admin_token(cx).is_some();
    Ok(Told::Json(json!({
        "claimed": claimed,
        "admin_token_set": claimed || token,
        "next": match (claimed, token) {
            (true, _) => "sign in",
            (false, true) => "claim the house with ADMIN_TOKEN",
            (false, false) => "set the secret ADMIN_TOKEN, at least 16 characters, and come back",
        },
    })))
}

/// `ADMIN_TOKEN`, if it is long enough to be one.
pub(super) fn admin_token<'c, P: Port>(cx: &'c Context<'_, P>) -> Option<&'c str> {
    let token = cx.port.settings().secrets.admin_token.as_ref()?;
    let token = token.reveal();
    (token.len() >= LEAST_TOKEN).then_some(token.as_str())
}

/// Can somebody sign in here, or become the owner?
///
/// # Errors
/// `setup_required` while nobody can; `storage_unavailable`.
pub async fn set_up<P: Port>(cx: &Context<'_, P>) -> Result<(), Refusal> {
    if admin_token(cx).is_some() || is_claimed(cx).await? {
        return Ok(());
    }
    Err(Refusal::new(Code::SetupRequired).detail(
        "Set the secret ADMIN_TOKEN to at least 16 random characters (locally a line in .dev.vars, deployed with npx wrangler secret put ADMIN_TOKEN), then come back.",
    ))
}

/// Has the house an owner?
///
/// # Errors
/// `storage_unavailable`
pub async fn is_claimed<P: Port>(cx: &Context<'_, P>) -> Result<bool, Refusal> {
    match cx.operators(Command::State).await? {
        Reply::State(claimed, ..) => Ok(claimed),
        _ => Err(Refusal::new(Code::StorageUnavailable)),
    }
}

/// The first owner: `{token, name}`, then `{enrolment, code}`.
///
/// # Errors
/// `setup_required` without `ADMIN_TOKEN`; `conflict` when the house is claimed; `invalid_credentials`.
pub async fn claim<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    // Who claimed it may repeat the step whose answer was lost.
    let proof = proof_of(cx, "claim").await?;
    if is_claimed(cx).await? && proof.is_none() {
        return Err(Refusal::new(Code::Conflict).detail("The house has an owner."));
    }
    let Some(token) = admin_token(cx) else {
        set_up(cx).await?;
        // Claimed, by a step that is repeated now and cannot be proved any more.
        return Err(Refusal::new(Code::Conflict).detail("The house has an owner."));
    };
    // Digests have one length, so that the time tells nothing of the token's.
    let digest = base64url(&sha256(token.as_bytes()));
    let given = match optional(cx, "token")? {
        Some(given) => base64url(&sha256(given.as_bytes())),
        // The first step's answer carries the proof of it, sealed.
        None => carried(cx, proof, "token")?,
    };
    if !constant_time_eq(given.as_bytes(), digest.as_bytes()) {
        return Err(unknown(cx, Deed::HouseClaim).await);
    }
    match enrolled(cx, "claim", &digest).await? {
        Enrolled::Begun(told) => Ok(told),
        Enrolled::Whole(newcomer, codes) => {
            let event = cx
                .event(Deed::HouseClaim)
                .target("operator")
                .about(&newcomer.id);
            let id = newcomer.id.clone();
            cx.operators_change(Command::Claim(newcomer), event).await?;
            joined(cx, &id, codes)
        }
    }
}

/// Another operator: `{invite, name}`, then `{enrolment, code}`.
///
/// # Errors
/// `invalid_credentials` for an invite that is wrong, used or over.
pub async fn join<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let code = match optional(cx, "invite")? {
        Some(invite) => {
            let parsed = api_key::parse(invite).filter(|key| key.kind == Kind::Invite);
            let Some(parsed) = parsed else {
                return Err(unknown(cx, Deed::OperatorJoin).await);
            };
            let ring = keyring(cx.port).await?;
            key_hash(&ring, &parsed)?
        }
        None => carried(cx, proof_of(cx, "join").await?, "invite")?,
    };
    let Reply::Invite(_) = cx.operators(Command::Peek(code.clone())).await? else {
        return Err(unknown(cx, Deed::OperatorJoin).await);
    };
    match enrolled(cx, "join", &code).await? {
        Enrolled::Begun(told) => Ok(told),
        Enrolled::Whole(newcomer, codes) => {
            let event = cx
                .event(Deed::OperatorJoin)
                .target("operator")
                .about(&newcomer.id);
            let id = newcomer.id.clone();
            cx.operators_change(Command::Join(code, newcomer), event)
                .await?;
            joined(cx, &id, codes)
        }
    }
}

fn joined<P: Port>(cx: &Context<'_, P>, id: &str, codes: Vec<String>) -> Result<Told, Refusal> {
    let _ = cx;
    Ok(Told::Created(json!({
        "operator": id,
        "recovery_codes": codes,
        "next": "Keep the recovery codes and the operator key, then sign in.",
    })))
}

enum Enrolled {
    /// The first answer: what to keep and what to type into the authenticator.
    Begun(Told),
    /// The authenticator works.
    Whole(Newcomer, Vec<String>),
}

/// What an enrolment carries from its first step to its second: id and name, seed, hash of the operator key, when it
/// ends, random bytes of the recovery codes, and the digest of what the first step was admitted by.
type Carried = (String, String, String, String, u64, String, String);

/// What the first step of the body's enrolment was admitted by; `None` without one that was made here.
async fn proof_of<P: Port>(cx: &Context<'_, P>, purpose: &str) -> Result<Option<String>, Refusal> {
    let Some(enrolment) = optional(cx, "enrolment")? else {
        return Ok(None);
    };
    let ring = keyring(cx.port).await?;
    let kept = ring.open("enrolment", purpose, enrolment).ok();
    let kept = kept.and_then(|kept| serde_json::from_slice::<Carried>(kept.reveal()).ok());
    Ok(kept.map(|kept| kept.6))
}

/// The proof that an enrolment carries, in place of a field.
fn carried<P: Port>(
    cx: &Context<'_, P>,
    proof: Option<String>,
    field: &'static str,
) -> Result<String, Refusal> {
    match (proof, optional(cx, "enrolment")?) {
        (Some(proof), _) => Ok(proof),
        (None, Some(_)) => Err(invalid("enrolment", "is void; begin again")),
        (None, None) => Err(missing(field)),
    }
}

/// The two steps of an enrolment. The second can be repeated: its answer depends on the enrolment alone. `proof`: the
/// digest of what the first step is admitted by.
async fn enrolled<P: Port>(
    cx: &Context<'_, P>,
    purpose: &str,
    proof: &str,
) -> Result<Enrolled, Refusal> {
    let ring = keyring(cx.port).await?;
    let Some(enrolment) = optional(cx, "enrolment")? else {
        let name = required(cx, "name")?;
        if !(1..=80).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(invalid("name", "must have 1 to 80 characters"));
        }
        let key = api_key::make(
            Kind::Operator,
            env(cx.port.settings().environment),
            &cx.port.random(),
        );
        let seed: [u8; totp::SEED_BYTES] = cx.port.random();
        let hash = hash_of_new(&ring, key.text.reveal())?;
        let expires = cx.port.now().plus(ENROLMENT_TTL);
        let codes: [u8; recovery::SET_BYTES] = cx.port.random();
        let kept = json!([
            key.id,
            name,
            base64url(&seed),
            hash,
            expires.0,
            base64url(&codes),
            proof,
        ]);
        let sealed = ring
            .seal(
                "enrolment",
                purpose,
                kept.to_string().as_bytes(),
                &cx.port.random(),
            )
            .map_err(|fault| locked(&fault))?;
        return Ok(Enrolled::Begun(Told::Json(json!({
            "enrolment": sealed,
            "operator_key": key.text.reveal(),
            "totp_secret": totp::base32(&seed),
            "totp_uri": totp::uri(ISSUER, name, &seed),
            "expires_at": expires.rfc3339(),
            "next": "Keep the operator key, add the secret to an authenticator, and send enrolment and code.",
        }))));
    };
    let void = || invalid("enrolment", "is void; begin again");
    let kept = ring
        .open("enrolment", purpose, enrolment)
        .map_err(|_| void())?;
    let (key, name, seed, hash, expires, codes, _): Carried =
        serde_json::from_slice(kept.reveal()).map_err(|_| void())?;
    let now = cx.port.now();
    if Millis(expires) <= now {
        return Err(void());
    }
    let seed = from_base64url(&seed).ok_or_else(void)?;
    let step = totp::matching_step(&seed, required(cx, "code")?, now).ok_or_else(|| {
        invalid(
            "code",
            "does not fit the secret: check the authenticator and its clock",
        )
    })?;
    let id = ["opr_", &key].concat();
    let codes = from_base64url(&codes).ok_or_else(void)?;
    let (codes, hashes) = recovery_codes(&ring, &id, &codes)?;
    let newcomer = Newcomer {
        name,
        factors: Factors {
            key: hash,
            seed: sealed_seed(cx, &ring, &id, &seed)?,
            last_step: step,
            recovery: hashes,
        },
        id,
    };
    Ok(Enrolled::Whole(newcomer, codes))
}

/// Begins a session: `{key, code}` or `{key, recovery_code}`.
///
/// # Errors
/// `invalid_credentials`, the same for whatever is wrong; `too_many_attempts`.
pub async fn sign_in<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let ring = keyring(cx.port).await?;
    let parsed = api_key::parse(required(cx, "key")?).filter(|key| key.kind == Kind::Operator);
    // A key of another form costs an attempt like any other.
    let (id, hash) = match &parsed {
        Some(key) => (["opr_", key.id].concat(), key_hash(&ring, key)?),
        None => ("opr_-".to_owned(), "-".to_owned()),
    };
    let attempt = cx.new_id("att");
    let begun = cx
        .operators(Command::Begin(
            attempt.clone(),
            Knock::Key(id.clone(), hash),
        ))
        .await?;
    let (operator, seed, last) = match begun {
        Reply::Sealed(operator, seed, last) => (operator, seed, last),
        Reply::TooMany(wait) => return Err(closed(cx, Deed::OperatorSignIn, wait).await),
        _ => return Err(refused(cx, cx.event(Deed::OperatorSignIn)).await),
    };
    let recovery_code = optional(cx, "recovery_code")?;
    let proof = match recovery_code {
        Some(code) => {
            let pepper = ring.pepper().map_err(|fault| locked(&fault))?;
            recovery::hash(pepper, &operator, code).map(Proof::Recovery)
        }
        None => {
            let seed = ring
                .open("totp", &operator, &seed)
                .map_err(|fault| locked(&fault))?;
            let step = totp::matching_step(seed.reveal(), required(cx, "code")?, cx.port.now());
            step.filter(|step| *step > last).map(Proof::Step)
        }
    };
    let Some(proof) = proof else {
        // Nobody proved to be that operator, but somebody has the key.
        let event = cx.event(Deed::OperatorSignIn).target("operator");
        return Err(refused(cx, event.about(&operator)).await);
    };
    let token = base64url(&cx.port.random::<32>());
    let admin = &cx.port.settings().config.admin;
    let lasts = Millis::from_secs(admin.session_seconds);
    let session = NewSession {
        hash: hash_of(&token),
        id: cx.new_id("ops"),
        network: cx.caller.client.clone(),
        agent: cx.head.user_agent.clone().unwrap_or_default(),
        absolute: lasts,
        fresh: Millis::from_secs(admin.fresh_seconds),
    };
    let event = cx
        .event(if recovery_code.is_some() {
            Deed::OperatorRecovery
        } else {
            Deed::OperatorSignIn
        })
        .by(crate::domain::audit::entry::Actor::Operator, &operator)
        .known_as("from", &cx.caller.client);
    let entered = cx
        .operators_change(
            Command::Enter {
                attempt,
                operator,
                proof,
                session,
            },
            event,
        )
        .await;
    match entered {
        Ok(Reply::In(standing)) => {
            let told = json!({
                "operator": standing.operator,
                "name": standing.name,
                "role": standing.role.name(),
                "session": standing.session,
                "recovery_codes_left": standing.recovery_left,
                "token": token,
                "fresh_until": standing.fresh_until.rfc3339(),
            });
            Ok(Told::Session(told, Some((token, lasts))))
        }
        Ok(_) => Err(Refusal::new(Code::StorageUnavailable)),
        Err(refusal) => Err(gate::failed(cx.port, &cx.caller, refusal).await),
    }
}

/// Ends this session.
///
/// # Errors
/// `storage_unavailable`
pub async fn sign_out<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    act(cx, Change::SignOut, cx.event(Deed::OperatorSignOut)).await?;
    Ok(Told::Session(json!({"signed_out": true}), None))
}

/// Who am I, and what may I do?
///
/// # Errors
/// `invalid_credentials`
pub fn me<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let standing = cx
        .standing
        .as_ref()
        .ok_or_else(|| Refusal::new(Code::InvalidCredentials))?;
    let may: Vec<&str> = Action::ALL
        .iter()
        .filter(|action| standing.role.may(**action))
        .map(|action| action.name())
        .collect();
    Ok(Told::Json(json!({
        "operator": standing.operator,
        "name": standing.name,
        "role": standing.role.name(),
        "session": standing.session,
        "tenant": cx.port.tenant(),
        "fresh_until": standing.fresh_until.rfc3339(),
        "fresh": cx.is_fresh(),
        "recovery_codes_left": standing.recovery_left,
        "may": may,
    })))
}

/// Confirms the second factor: `{code}`.
///
/// # Errors
/// `invalid_credentials`, `too_many_attempts`.
pub async fn confirm<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let attempt = cx.new_id("att");
    let begun = cx
        .operators(Command::Begin(
            attempt.clone(),
            Knock::Session(cx.session.clone()),
        ))
        .await?;
    let (operator, seed, last) = match begun {
        Reply::Sealed(operator, seed, last) => (operator, seed, last),
        Reply::TooMany(wait) => return Err(closed(cx, Deed::OperatorConfirm, wait).await),
        _ => return Err(refused(cx, cx.event(Deed::OperatorConfirm)).await),
    };
    let ring = keyring(cx.port).await?;
    let seed = ring
        .open("totp", &operator, &seed)
        .map_err(|fault| locked(&fault))?;
    let step = totp::matching_step(seed.reveal(), required(cx, "code")?, cx.port.now());
    let Some(step) = step.filter(|step| *step > last) else {
        return Err(refused(cx, cx.event(Deed::OperatorConfirm)).await);
    };
    let fresh = Millis::from_secs(cx.port.settings().config.admin.fresh_seconds);
    let command = Command::Confirm(attempt, cx.session.clone(), step, fresh);
    cx.operators_change(command, cx.event(Deed::OperatorConfirm))
        .await?;
    let until = cx.port.now().plus(fresh);
    Ok(Told::Json(json!({"fresh_until": until.rfc3339()})))
}

/// A new operator key of one's own; ends one's other sessions.
///
/// # Errors
/// `storage_unavailable`
pub async fn own_key<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let ring = keyring(cx.port).await?;
    let id = cx.operator().strip_prefix("opr_").unwrap_or_default();
    let env = env(cx.port.settings().environment);
    let key = api_key::make_for(Kind::Operator, env, id, &cx.port.random());
    let hash = hash_of_new(&ring, key.reveal())?;
    let event = cx.event(Deed::OperatorCredentials).detail("what", "key");
    act(cx, Change::ReplaceKey(hash), event).await?;
    Ok(Told::Json(json!({"operator_key": key.reveal()})))
}

/// A new second factor: `{}`, then `{enrolment, code}`; ends one's other sessions.
///
/// # Errors
/// `invalid_parameter`, `storage_unavailable`.
pub async fn own_totp<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let ring = keyring(cx.port).await?;
    let operator = cx.operator().to_owned();
    let Some(enrolment) = optional(cx, "enrolment")? else {
        let seed: [u8; totp::SEED_BYTES] = cx.port.random();
        let sealed = ring
            .seal("totp-new", &operator, &seed, &cx.port.random())
            .map_err(|fault| locked(&fault))?;
        let name = cx.standing.as_ref().map_or("", |standing| &standing.name);
        return Ok(Told::Json(json!({
            "enrolment": sealed,
            "totp_secret": totp::base32(&seed),
            "totp_uri": totp::uri(ISSUER, name, &seed),
        })));
    };
    let seed = ring
        .open("totp-new", &operator, enrolment)
        .map_err(|_| invalid("enrolment", "is void; begin again"))?;
    let step = totp::matching_step(seed.reveal(), required(cx, "code")?, cx.port.now())
        .ok_or_else(|| invalid("code", "does not fit the secret"))?;
    let sealed = sealed_seed(cx, &ring, &operator, seed.reveal())?;
    let event = cx
        .event(Deed::OperatorCredentials)
        .detail("what", "second factor");
    act(cx, Change::ReplaceTotp(sealed, step), event).await?;
    Ok(Told::Json(json!({"replaced": true})))
}

/// New recovery codes; the old ones are void.
///
/// # Errors
/// `storage_unavailable`
pub async fn own_recovery<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let ring = keyring(cx.port).await?;
    let (codes, hashes) = recovery_codes(
        &ring,
        cx.operator(),
        &cx.port.random::<{ recovery::SET_BYTES }>(),
    )?;
    let event = cx.event(Deed::OperatorRecovery).detail("what", "new codes");
    act(cx, Change::ReplaceRecovery(hashes), event).await?;
    Ok(Told::Json(json!({"recovery_codes": codes})))
}

/// Does a deed of the operators' machine.
///
/// # Errors
/// What the machine refuses.
pub async fn act<P: Port>(
    cx: &Context<'_, P>,
    deed: Change,
    event: audit::Event,
) -> Result<(), Refusal> {
    let command = Command::Act {
        id: cx.new_id("act"),
        by: cx.session.clone(),
        deed,
    };
    cx.operators_change(command, event).await.map(|_| ())
}

/// A refused attempt: recorded, counted, and answered like any other.
async fn refused<P: Port>(cx: &Context<'_, P>, event: audit::Event) -> Refusal {
    audit::record(cx.port, event.refused(Code::InvalidCredentials)).await;
    cx.deliver(Class::Directory, HOUSE).await;
    gate::failed(cx.port, &cx.caller, Refusal::new(Code::InvalidCredentials)).await
}

/// A wrong set-up token or invitation: counted over all networks, like a key that is not known.
pub(super) async fn unknown<P: Port>(cx: &Context<'_, P>, deed: Deed) -> Refusal {
    let counted = Command::Begin(cx.new_id("att"), Knock::Nobody);
    match cx.operators(counted).await {
        Ok(Reply::TooMany(wait)) => closed(cx, deed, wait).await,
        Ok(_) => refused(cx, cx.event(deed)).await,
        Err(refusal) => refusal,
    }
}

/// Too many attempts. The first that meets a wait is on record, those after it are not: by client, as far as this
/// isolate remembers, so that knocking does not fill the log.
async fn closed<P: Port>(cx: &Context<'_, P>, deed: Deed, wait: Millis) -> Refusal {
    let told = [
        "attempts/",
        cx.port.tenant(),
        "/",
        deed.name(),
        "/",
        &cx.caller.client,
    ]
    .concat();
    if cx.port.memory_get(&told).is_none() {
        cx.port.memory_put(&told, b"1", cx.port.now().plus(wait));
        let event = cx
            .event(deed)
            .detail("wait_seconds", &wait.secs().to_string());
        audit::record(cx.port, event.refused(Code::TooManyAttempts)).await;
    }
    Refusal::new(Code::TooManyAttempts).wait(wait)
}

fn sealed_seed<P: Port>(
    cx: &Context<'_, P>,
    ring: &Opened,
    operator: &str,
    seed: &[u8],
) -> Result<String, Refusal> {
    ring.seal("totp", operator, seed, &cx.port.random())
        .map_err(|fault| locked(&fault))
}

/// New recovery codes, and their hashes.
fn recovery_codes(
    ring: &Opened,
    operator: &str,
    random: &[u8],
) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let codes = recovery::codes(random);
    let pepper = ring.pepper().map_err(|fault| locked(&fault))?;
    let hashes = codes
        .iter()
        .filter_map(|code| recovery::hash(pepper, operator, code))
        .collect();
    Ok((codes, hashes))
}

/// What is stored of an invite's code or of a key.
///
/// # Errors
/// `keyring_unavailable`
pub fn hash_of_new(ring: &Opened, text: &str) -> Result<String, Refusal> {
    let parsed = api_key::parse(text).ok_or_else(|| Refusal::new(Code::Internal))?;
    key_hash(ring, &parsed)
}

fn key_hash(ring: &Opened, key: &ParsedKey<'_>) -> Result<String, Refusal> {
    let pepper: &Secret<_> = ring.pepper().map_err(|fault| locked(&fault))?;
    Ok(base64url(&key.hash(pepper)))
}

/// The part of a key that says where it is meant to be used.
#[must_use]
pub const fn env(environment: Environment) -> Env {
    match environment {
        Environment::Development => Env::Development,
        Environment::Staging => Env::Staging,
        Environment::Production => Env::Production,
        Environment::Test => Env::Test,
    }
}

/// A role by its name.
///
/// # Errors
/// `invalid_parameter`
pub fn role(name: &str) -> Result<Role, Refusal> {
    Role::from_name(name).ok_or_else(|| invalid("role", "must be owner, admin, analyst or support"))
}

/// A field that must be a text.
///
/// # Errors
/// `missing_parameter`, `invalid_parameter`.
pub fn required<'c, P>(cx: &'c Context<'_, P>, name: &'static str) -> Result<&'c str, Refusal> {
    optional(cx, name)?.ok_or_else(|| missing(name))
}

/// A field that may be a text.
///
/// # Errors
/// `invalid_parameter`
pub fn optional<'c, P>(
    cx: &'c Context<'_, P>,
    name: &'static str,
) -> Result<Option<&'c str>, Refusal> {
    match cx.fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim())),
        Some(_) => Err(invalid(name, "must be a text")),
    }
}
