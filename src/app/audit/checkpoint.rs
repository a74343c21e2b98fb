//! Signing the tree head.

use super::{Audit, proofs, unexpected};
use crate::app::port::{Port, PortFault};
use crate::base::time::Millis;
use crate::domain::audit::checkpoint::{Checkpoint, Key, Note};
use crate::domain::audit::log::{Command, Reply, Signed, Status, Why};
use crate::domain::audit::tree::verify_consistency;

/// Without demand a new checkpoint is signed at most once a minute.
pub const SIGN_EVERY: Millis = Millis::from_secs(60);

/// The log's public key.
///
/// # Errors
/// The platform's cipher failed.
pub async fn key<P: Port, C>(port: &P, audit: &Audit<'_, C>) -> Result<Key, PortFault> {
    Ok(Key {
        name: audit.origin.to_owned(),
        public: port.ed25519_public(audit.seed.reveal()).await?,
    })
}

/// The newest checkpoint. A new one is signed when the log has grown since and `on_demand` or [`SIGN_EVERY`] allow it,
/// or when the newest is by another key. What is signed was checked to be consistent with the one before.
///
/// # Errors
/// A store or the cipher failed; or the log does not match its own checkpoint, and then nothing is signed.
pub async fn checkpoint<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    on_demand: bool,
) -> Result<Signed, PortFault> {
    let key = key(port, audit).await?;
    // Another one may sign a later head at the same time; ours is then stale, and theirs is as good.
    for _ in 0..3 {
        let status = audit.status(port).await?;
        if let Some(newest) = &status.checkpoint
            && signed_by(newest, &key)
            && (newest.size == status.size
                || !on_demand && port.now().since(newest.at) < SIGN_EVERY)
        {
            return Ok(newest.clone());
        }
        if !consistent(port, audit, &status).await? {
            return Err(PortFault(
                "the audit log does not match its newest checkpoint: nothing is signed".to_owned(),
            ));
        }
        let head = Checkpoint {
            origin: audit.origin.to_owned(),
            size: status.size,
            root: status.root,
        };
        let signature = port
            .sign_ed25519(audit.seed.reveal(), head.text().as_bytes())
            .await?;
        let store = Command::StoreCheckpoint {
            size: head.size,
            root: head.root,
            text: head.signed(&key, &signature),
        };
        match audit.ask(port, &store).await? {
            Reply::Done | Reply::Refused(Why::Stale) => {}
            Reply::Refused(why) => return Err(PortFault(format!("the checkpoint: {why:?}"))),
            _ => return Err(unexpected()),
        }
        let kept = audit.status(port).await?.checkpoint;
        if let Some(kept) = kept.filter(|kept| kept.size >= head.size && signed_by(kept, &key)) {
            return Ok(kept);
        }
    }
    Err(PortFault(
        "the audit log grows faster than it is signed".to_owned(),
    ))
}

fn signed_by(signed: &Signed, key: &Key) -> bool {
    Note::parse(&signed.text).is_some_and(|note| note.signature(key).is_some())
}

/// Does the log still begin with what was signed last?
async fn consistent<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    status: &Status,
) -> Result<bool, PortFault> {
    if status.damaged {
        return Ok(false);
    }
    let Some(old) = &status.checkpoint else {
        return Ok(true);
    };
    if old.size > status.size {
        return Ok(false);
    }
    let proof = proofs::consistency_of(port, audit, status, old.size, status.size).await?;
    Ok(proof.is_some_and(|proof| {
        verify_consistency(old.size, old.root, status.size, status.root, &proof)
    }))
}
