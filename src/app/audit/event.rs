//! Events as the stories make them, and the tenant's log with the keys of its keyring.

use serde_json::{Map, Value};

use super::record::{append, drain};
use super::{Audit, Cipher, origin};
use crate::app::keyring::{keyring, locked};
use crate::app::objects::{DirectoryObject, KeyringObject, LedgerObject, outbox};
use crate::app::port::{Class, Port, PortFault};
use crate::base::aead;
use crate::base::digest::{Bytes32, derive_key};
use crate::base::errors::{Code, Refusal};
use crate::base::ids::prefixed;
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::audit::entry::{Action, Actor, Entry, Personal};

/// An event on its way to the log.
#[derive(Clone, Debug)]
pub struct Event(Entry);

impl Event {
    /// Something that happened now, by the house itself.
    #[must_use]
    pub fn new(port: &impl Port, action: Action) -> Self {
        let id = prefixed("evt", &port.random());
        Self(Entry::new(
            id,
            port.now(),
            Actor::System,
            action,
            port.tenant(),
        ))
    }

    /// Who did it.
    #[must_use]
    pub fn by(mut self, actor: Actor, subject: &str) -> Self {
        self.0.actor = actor;
        self.0.who = Some(personal(subject));
        self
    }

    /// Something to know of who did it: name, hashed address.
    #[must_use]
    pub fn known_as(mut self, name: &str, value: &str) -> Self {
        if let Some(who) = &mut self.0.who {
            who.fields.insert(name.to_owned(), Value::from(value));
        }
        self
    }

    /// What it was done to, by its id.
    #[must_use]
    pub fn about(mut self, subject: &str) -> Self {
        self.0.what = Some(personal(subject));
        self
    }

    /// Something to know of it: never a secret, never content.
    #[must_use]
    pub fn detail(mut self, name: &str, value: &str) -> Self {
        let what = self.0.what.get_or_insert_with(|| personal("-"));
        what.fields.insert(name.to_owned(), Value::from(value));
        self
    }

    /// What kind of thing it was done to.
    #[must_use]
    pub fn target(mut self, kind: &str) -> Self {
        self.0.target = Some(kind.to_owned());
        self
    }

    /// The request that brought it about.
    #[must_use]
    pub fn request(mut self, id: &str) -> Self {
        id.clone_into(&mut self.0.request);
        self
    }

    /// It was refused.
    #[must_use]
    pub fn refused(mut self, code: Code) -> Self {
        self.0.refused = Some(code.entry().code.to_owned());
        self
    }

    /// Id and text for an outbox.
    #[must_use]
    pub fn outbox(&self) -> (String, String) {
        (self.0.id.clone(), self.0.to_event())
    }
}

/// A value for [`Event::detail`], as JSON and cut: an entry has room for an old and a new one.
#[must_use]
pub fn short(value: &Value) -> String {
    const MOST: usize = 400; // bytes; quotes are escaped once more
    let text = value.to_string();
    if text.len() <= MOST {
        return text;
    }
    let front = text.get(..text.floor_char_boundary(MOST));
    [front.unwrap_or_default(), "…"].concat()
}

fn personal(subject: &str) -> Personal {
    Personal {
        subject: subject.to_owned(),
        fields: Map::new(),
    }
}

/// AES-256-GCM with key commitment.
pub struct Sealing;

impl Cipher for Sealing {
    fn seal(&self, key: &Bytes32, context: &str, nonce: &[u8; 12], text: &[u8]) -> Option<String> {
        aead::seal(key, nonce, context.as_bytes(), text).ok()
    }

    fn open(&self, key: &Bytes32, context: &str, sealed: &str) -> Option<Vec<u8>> {
        let text = aead::open(key, context.as_bytes(), sealed).ok()?;
        Some(text.reveal().clone())
    }
}

/// Does something with the tenant's log.
///
/// # Errors
/// `setup_required`, `keyring_unavailable`; whatever `step` says.
pub async fn with_log<P: Port, T>(
    port: &P,
    step: impl AsyncFnOnce(&Audit<'_, Sealing>) -> Result<T, PortFault>,
) -> Result<T, Refusal> {
    let ring = keyring(port).await?;
    let seed = ring.audit_seed().map_err(|fault| locked(&fault))?;
    let root = ring.seal_key().map_err(|fault| locked(&fault))?;
    let seal = Secret::new(derive_key(root.reveal(), "gatehouse/v1/audit-subjects"));
    let origin = origin(port.tenant());
    let audit = Audit {
        tenant: port.tenant(),
        origin: &origin,
        seed,
        seal: &seal,
        cipher: Sealing,
    };
    step(&audit).await.map_err(|fault| unavailable(&fault))
}

/// Records an event that no change of a machine carries: an attempt, a read, a rule. What fails here is told in the log
/// line of the house; what must not happen unrecorded goes through an outbox.
pub async fn record<P: Port>(port: &P, event: Event) {
    let _ = recorded(port, event).await;
}

/// The same, for what must not go on unrecorded.
///
/// # Errors
/// `audit_unavailable`
pub async fn recorded<P: Port>(port: &P, event: Event) -> Result<(), Refusal> {
    with_log(port, async |audit| {
        append(port, audit, core::slice::from_ref(&event.0), &[])
            .await
            .map(|_| ())
    })
    .await
}

/// Brings the events that wait in an object to the log. What fails is tried again by the next change and by the cron.
pub async fn drain_of<P: Port>(port: &P, class: Class, name: &str) -> Result<usize, Refusal> {
    with_log(port, async |audit| {
        drain(port, audit, async |ask| match class {
            Class::Directory => outbox::<DirectoryObject>(port, class, name, ask).await,
            Class::Keyring => outbox::<KeyringObject>(port, class, name, ask).await,
            _ => outbox::<LedgerObject>(port, class, name, ask).await,
        })
        .await
    })
    .await
}

fn unavailable(fault: &PortFault) -> Refusal {
    Refusal::new(Code::AuditUnavailable)
        .wait(Millis::from_secs(2))
        .cause(fault.0.clone())
}

/// Records that a subject was erased, and makes its personal fields unreadable in the same step.
///
/// # Errors
/// `audit_unavailable`
pub async fn erased<P: Port>(port: &P, subject: &str, event: Event) -> Result<(), Refusal> {
    with_log(port, async |audit| {
        super::record::erase(port, audit, subject, &event.0).await
    })
    .await
}
