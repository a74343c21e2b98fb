//! The port: everything a story may ask of the world. `edge` implements it over Cloudflare, the tests over a fake that
//! can fail before and after persisting.

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::known::Known;
use crate::base::cobblestone::MessageKey;
use crate::base::digest::Bytes32;
use crate::base::errors::{Code, Refusal};
use crate::base::machine::Machine;
use crate::base::rows::RowMachine;
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::answer::Index;
pub use crate::domain::identity::signature::Algorithm;
use crate::domain::llm::health::local::LocalView;
use crate::domain::llm::stream::inlet::Inlet;
use crate::domain::llm::upstream::{UpstreamFault, UpstreamHead, UpstreamRequest};
use crate::domain::settings::names;
use crate::domain::settings::{Settings, SettingsFault};
use crate::domain::telemetry::LogLine;

/// The platform failed: a store or an object could not be reached or refused. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFault(pub String);

/// In front of a command that asks for an object's rows as they lie there, whichever machine they are of.
pub const SNAPSHOT: &str = "snapshot ";
/// In front of a command that puts such rows back.
pub const RESTORE: &str = "restore ";

/// Is the command one about rows? A machine's is JSON, which begins otherwise.
#[must_use]
pub fn is_of_rows(command: &str) -> bool {
    command.starts_with(SNAPSHOT) || command.starts_with(RESTORE)
}

/// In the fault of an object that was not put back whole yet.
pub const BEING_RESTORED: &str = "this object is being restored";

/// A kind of Durable Object that keeps a [`Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Limits of one network.
    Limiter,
    /// Quotas of a network or of the site.
    Ledger,
    /// What one principal owns.
    Owner,
    /// What one principal's conversations keep, in an object of its own beside the other.
    Memory,
    /// Which objects exist.
    Directory,
    /// Health of one target.
    Target,
    /// Key versions of one tenant.
    Keyring,
    /// A tenant's audit log.
    AuditLog,
    /// Where shared documents are noted.
    Shared,
    /// What one principal's documents are searched by.
    Stores,
}

impl Class {
    /// Is there one for all tenants? A provider is as healthy for one as for another.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Target)
    }

    /// The machine of many rows that such an object keeps; `None` for one that has them all in memory. Its name stands
    /// in front of each command, since several machines share a class.
    #[must_use]
    pub const fn rows(self) -> Option<&'static str> {
        match self {
            Self::Limiter
            | Self::Ledger
            | Self::Owner
            | Self::Directory
            | Self::Target
            | Self::Keyring
            | Self::AuditLog => None,
            Self::Shared => Some("pointers"),
            Self::Memory => Some("memory"),
            Self::Stores => Some("stores"),
        }
    }

    /// The binding.
    #[must_use]
    pub const fn binding(self) -> &'static str {
        match self {
            Self::Limiter => names::LIMITER,
            Self::Ledger => names::LEDGER,
            Self::Owner | Self::Shared | Self::Memory | Self::Stores => names::OWNER,
            Self::Directory => names::DIRECTORY,
            Self::Target => names::TARGET,
            Self::Keyring => names::KEYRING,
            Self::AuditLog => names::AUDIT_LOG,
        }
    }
}

/// A piece of a blob, to be sent as part of a longer body.
pub struct BlobPart {
    /// The blob's key.
    pub key: String,
    /// First byte of its content.
    pub offset: u64,
    /// Number of bytes of its content.
    pub length: u64,
    /// How it is sealed; `None` where the content lies there as it is.
    pub sealed: Option<Sealed>,
}

/// How a blob is sealed.
pub struct Sealed {
    /// What opens it.
    pub key: MessageKey,
    /// Length of its whole content in bytes.
    pub bytes: u64,
}

/// A body made of blobs.
pub enum Blobs<S> {
    /// It is there, and what was looked at of it opens.
    Body(S),
    /// The first blob is missing.
    Missing,
    /// The first blob was changed.
    Forged,
}

impl<S> Blobs<S> {
    /// The same of a body in another form.
    pub fn map<T>(self, form: impl FnOnce(S) -> T) -> Blobs<T> {
        match self {
            Self::Body(body) => Blobs::Body(form(body)),
            Self::Missing => Blobs::Missing,
            Self::Forged => Blobs::Forged,
        }
    }
}

/// A request body that arrives in pieces.
#[expect(
    async_fn_in_trait,
    reason = "the Worker is single-threaded: futures need not be Send"
)]
pub trait ByteSource {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The connection broke: what was read so far is not the whole body.
    async fn next(&mut self) -> Option<Result<Vec<u8>, PortFault>>;

    /// The whole body, at most `cap` bytes.
    ///
    /// # Errors
    /// The body is larger, or the connection broke.
    async fn whole(&mut self, cap: u64) -> Result<Vec<u8>, BodyFault> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece.map_err(|_| BodyFault::Cut)?;
            if whole.len().saturating_add(piece.len()) as u64 > cap {
                return Err(BodyFault::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

/// A SHA-256 that grows by what it is given, in that order.
#[expect(
    async_fn_in_trait,
    reason = "the Worker is single-threaded: futures need not be Send"
)]
pub trait Hash {
    /// Goes on with these bytes.
    ///
    /// # Errors
    /// The platform refused.
    async fn update(&self, bytes: Vec<u8>) -> Result<(), PortFault>;

    /// What all of it came to.
    ///
    /// # Errors
    /// The platform refused.
    async fn finish(self) -> Result<Bytes32, PortFault>;
}

/// Why a request body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Over the cap.
    TooLarge,
    /// The connection broke.
    Cut,
}

/// How the relay of a streamed answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEnd {
    /// The upstream ended, with or without its end marker.
    Ended,
    /// The upstream's connection broke.
    Broken,
    /// Nothing came for the idle deadline.
    Stalled,
    /// The total deadline passed.
    Overran,
    /// The client went away; the upstream was aborted.
    ClientGone,
}

/// What the relay holds a stream to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayDeadlines {
    /// Between two pieces.
    pub idle: Millis,
    /// From now to the last byte.
    pub total: Millis,
}

/// Makes the last bytes of a relayed answer from how it ended and what was seen of it: an in-band error, or nothing.
pub type Closing = Box<dyn FnOnce(RelayEnd, &Inlet) -> Option<Vec<u8>>>;

/// What the object of a stored answer replies.
pub struct StoredReply<S> {
    /// A `Told` as JSON.
    pub told: String,
    /// The answer's body.
    pub stream: Option<S>,
}

/// The client went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientGone;

/// The world, as the stories see it.
#[expect(
    async_fn_in_trait,
    reason = "the Worker is single-threaded: futures need not be Send"
)]
pub trait Port: Clone + 'static {
    /// A body in the platform's own form, which passes through without being copied.
    type Stream: 'static;
    /// A request to a provider that is under way.
    type Call: Clone + 'static;
    /// The writing side of a body.
    type Outlet: Clone + 'static;
    /// A SHA-256 that grows.
    type Hash: Hash;

    /// The settings of this isolate.
    fn settings(&self) -> &Settings;

    /// Whose objects and stores this port reaches. Every name that is given to it is put below `v1/<tenant>/`, so that
    /// no story can reach another tenant's.
    fn tenant(&self) -> &str;

    /// The same with settings that know these keys of providers, as of that revision of the keyring; the isolate
    /// remembers them for the tenant.
    ///
    /// # Errors
    /// The configuration is not valid with them.
    fn with_provider_keys(
        &self,
        revision: u64,
        key: &dyn Fn(&str) -> Option<Secret<String>>,
    ) -> Result<Self, SettingsFault>;

    /// The same world for another tenant, or for what all of them share ([`names::GLOBAL`]).
    #[must_use]
    fn of_tenant(&self, tenant: &str) -> Self;

    /// The current time.
    fn now(&self) -> Millis;

    /// Random bytes from the platform's generator.
    fn random<const N: usize>(&self) -> [u8; N];

    /// Sends a command to a Durable Object and waits for the reply, both as JSON.
    async fn object(&self, class: Class, name: &str, command: String) -> Result<String, PortFault>;

    /// Takes an object back to how it was at that time. `false` where the platform keeps no earlier states: nothing was
    /// done.
    async fn object_rewind(&self, class: Class, name: &str, to: Millis) -> Result<bool, PortFault>;

    /// Reads a cache entry and its age-independent bytes.
    async fn cache_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortFault>;

    /// Writes a cache entry that expires after `ttl_seconds` (at least 60).
    async fn cache_put(&self, key: &str, value: Vec<u8>, ttl_seconds: u64)
    -> Result<(), PortFault>;

    /// Reads a static asset by path.
    async fn asset(&self, path: &str) -> Result<Option<Vec<u8>>, PortFault>;

    /// The search index of the site's own pages, read once for each isolate.
    async fn site_index(&self) -> Result<Rc<Index>, PortFault>;

    /// Writes a blob whole.
    async fn blob_put(&self, key: &str, bytes: Vec<u8>) -> Result<(), PortFault>;

    /// Begins a SHA-256.
    fn hash(&self) -> Self::Hash;

    /// Seals a blob and writes it. What it is made of goes on with `hash`.
    async fn blob_seal(
        &self,
        key: &str,
        with: &MessageKey,
        plain: Vec<u8>,
        hash: Option<&Self::Hash>,
    ) -> Result<(), PortFault>;

    /// Reads a blob whole; `None` when there is none.
    async fn blob_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortFault>;

    /// Removes blobs; one that does not exist is no error.
    async fn blob_delete(&self, keys: &[String]) -> Result<(), PortFault>;

    /// Keys of blobs that begin so, in order, behind `after`: at most 1,000, and whether there are more.
    async fn blob_list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<(Vec<String>, bool), PortFault>;

    /// A body made of pieces of blobs, in order, fetched as the client reads. A sealed piece is given on chunk by chunk,
    /// each only once it has opened; what is missing or changed later cuts the body short.
    async fn blob_stream(&self, parts: Vec<BlobPart>) -> Result<Blobs<Self::Stream>, PortFault>;

    /// A piece of a blob in memory.
    async fn blob_open(&self, part: BlobPart) -> Result<Blobs<Vec<u8>>, PortFault>;

    /// The MD5 of pieces of blobs, one after the other, in 32 hex digits.
    async fn blob_md5(&self, parts: Vec<BlobPart>) -> Result<Blobs<String>, PortFault>;

    /// Signs a message (Ed25519, RFC 8032).
    async fn sign_ed25519(&self, seed: &[u8; 32], message: &[u8]) -> Result<[u8; 64], PortFault>;

    /// The public key of a seed (Ed25519, RFC 8032).
    async fn ed25519_public(&self, seed: &[u8; 32]) -> Result<[u8; 32], PortFault>;

    /// Is the signature valid? A key or signature of a wrong form is not.
    async fn verify(
        &self,
        algorithm: Algorithm,
        public: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, PortFault>;

    /// Starts a request to a provider; nothing is waited for. Redirects are not followed. With `tee` the answer's body
    /// can be relayed natively later, whole, after some of it was read here.
    fn call(&self, request: UpstreamRequest<'_>, tee: bool) -> Self::Call;

    /// Waits for the head of the answer.
    async fn head(&self, call: &Self::Call) -> Result<UpstreamHead, UpstreamFault>;

    /// The next piece of the answer's body; `None` at its end.
    async fn chunk(&self, call: &Self::Call) -> Result<Option<Vec<u8>>, UpstreamFault>;

    /// The rest of the answer's body, at most `cap` bytes (after decompression).
    async fn rest(&self, call: &Self::Call, cap: u64) -> Result<Vec<u8>, UpstreamFault>;

    /// The rest of the answer's body in the platform's own form.
    fn body(&self, call: &Self::Call) -> Self::Stream;

    /// Closes the connection; what is waited for of this call fails.
    fn abort(&self, call: &Self::Call);

    /// Passes a teed answer to the client byte for byte, from its first byte, while `observer` sees what is still to be
    /// read a few times a second. The future ends when the stream does and must be driven to its end after the answer
    /// was returned: it writes what `closing` makes of the end (an in-band error, or nothing) and closes the client's
    /// side.
    fn relay(
        &self,
        call: &Self::Call,
        observer: Inlet,
        deadlines: RelayDeadlines,
        closing: Closing,
    ) -> (
        Self::Stream,
        impl Future<Output = (RelayEnd, Inlet)> + 'static,
    );

    /// A body that is written piece by piece.
    fn outlet(&self) -> (Self::Outlet, Self::Stream);

    /// Writes a piece and waits until the client takes it.
    ///
    /// # Errors
    /// The client went away.
    async fn write(&self, outlet: &Self::Outlet, bytes: Vec<u8>) -> Result<(), ClientGone>;

    /// Resolves when the client has gone away.
    async fn gone(&self, outlet: &Self::Outlet);

    /// Ends the body.
    async fn close(&self, outlet: &Self::Outlet);

    /// Waits.
    async fn sleep(&self, time: Millis);

    /// Sends a command to the object of a stored answer.
    async fn stored(
        &self,
        name: &str,
        command: String,
    ) -> Result<StoredReply<Self::Stream>, PortFault>;

    /// What this isolate remembers of the tenant.
    fn known<T>(&self, step: impl FnOnce(&mut Known) -> T) -> T;

    /// This isolate's view of a target.
    fn view<T>(&self, target: &str, step: impl FnOnce(&mut LocalView) -> T) -> T;

    /// A small bounded memory of this isolate, for hot cache entries.
    fn memory_get(&self, key: &str) -> Option<Vec<u8>>;

    /// Remembers an entry in the isolate until `expires`.
    fn memory_put(&self, key: &str, value: &[u8], expires: Millis);

    /// Which of the bindings are there, by name.
    fn bindings(&self) -> Vec<(&'static str, bool)>;

    /// Writes the log line.
    fn log(&self, line: &LogLine);
}

/// Sends a typed command to the object of that class and name.
///
/// # Errors
/// The object could not be reached, or answered something that is not a reply.
pub async fn call<M: Machine>(
    port: &impl Port,
    class: Class,
    name: &str,
    command: &M::Command,
) -> Result<M::Reply, PortFault> {
    let command = to_json(command)?;
    let reply = port.object(class, name, command).await?;
    from_json(&reply)
}

/// The same for a machine of many rows.
///
/// # Errors
/// As [`call`].
pub async fn call_rows<M: RowMachine>(
    port: &impl Port,
    class: Class,
    name: &str,
    command: &M::Command,
) -> Result<M::Reply, PortFault> {
    let reply = port.object(class, name, to_json(command)?).await?;
    from_json(&reply)
}

fn to_json<T: Serialize>(value: &T) -> Result<String, PortFault> {
    serde_json::to_string(value).map_err(|error| PortFault(error.to_string()))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, PortFault> {
    serde_json::from_str(text).map_err(|error| PortFault(error.to_string()))
}

/// A store that failed, as the caller sees it.
#[must_use]
pub fn storage_refusal(fault: &PortFault) -> Refusal {
    Refusal::new(Code::StorageUnavailable)
        .wait(Millis::from_secs(2))
        .cause(fault.0.clone())
}
