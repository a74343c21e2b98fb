//! The external key management service: two calls, no redirects, bounded answers.

use super::unavailable;
use crate::app::port::Port;
use crate::base::digest::Bytes32;
use crate::base::errors::Refusal;
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::keyring::kms::{
    KmsError, MAX_ANSWER, read_unwrap, read_wrap, same_key, unwrap_request, wanted, wrap_request,
};
use crate::domain::keyring::{Opened, Ring, Wrap};
use crate::domain::llm::upstream::UpstreamRequest;

/// How long the service may take.
const PATIENCE: Millis = Millis::from_secs(10);

/// Has a version's key wrapped, and unwrapped again: a wrap that does not open would be stored, and with it everything
/// under that version lost.
///
/// # Errors
/// `keyring_unavailable`
pub async fn wrap<P: Port>(port: &P, n: u32, key: &Bytes32) -> Result<Wrap, Refusal> {
    let body = wrap_request(port.tenant(), n, key);
    let answer = post(port, "/wrap", body.reveal()).await?;
    let wrap = read_wrap(&answer).map_err(|fault| told(&fault))?;
    if let Some(body) = unwrap_request(port.tenant(), n, &wrap) {
        let answer = post(port, "/unwrap", &body).await?;
        same_key(&answer, key).map_err(|fault| told(&fault))?;
    }
    Ok(wrap)
}

/// The keys of all versions that the service wraps. Those that `last` has opened already are not asked for again.
///
/// # Errors
/// `keyring_unavailable`
pub async fn unwrap<P: Port>(
    port: &P,
    ring: &Ring,
    last: Option<&Opened>,
) -> Result<Vec<(u32, Secret<Bytes32>)>, Refusal> {
    let mut keys = Vec::new();
    for version in wanted(ring) {
        if let Some(key) = last.and_then(|last| last.unwrapped(version)) {
            keys.push((version.n, key.clone()));
        } else if let Some(body) = unwrap_request(port.tenant(), version.n, &version.wrap) {
            let answer = post(port, "/unwrap", &body).await?;
            let key = read_unwrap(&answer).map_err(|fault| told(&fault))?;
            keys.push((version.n, key));
        }
    }
    Ok(keys)
}

async fn post<P: Port>(port: &P, path: &str, body: &str) -> Result<Vec<u8>, Refusal> {
    let settings = port.settings();
    let Some(url) = &settings.config.keyring.kms_url else {
        return Err(unavailable(
            "keys are wrapped by a service, and [keyring] names none",
        ));
    };
    let key = settings.secrets.kms_token.as_ref().map(|token| {
        (
            "authorization",
            Secret::new(format!("Bearer {}", token.reveal())),
        )
    });
    let request = UpstreamRequest {
        url: format!("{}{path}", url.trim_end_matches('/')),
        key,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.as_bytes(),
    };
    crate::app::outward::post(port, request, MAX_ANSWER as u64, PATIENCE)
        .await
        .map_err(|fault| unavailable(&format!("key management service: {fault}")))
}

fn told(fault: &KmsError) -> Refusal {
    unavailable(&fault.to_string())
}
