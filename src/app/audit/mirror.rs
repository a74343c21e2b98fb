//! Sending new checkpoints out: only a checkpoint that lies elsewhere can show that the log was rewritten.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use serde_json::json;

use super::{Audit, checkpoint};
use crate::app::port::{Port, PortFault};
use crate::base::digest::{hex, sha256};
use crate::base::time::Millis;
use crate::domain::audit::log::Command;
use crate::domain::audit::webhook::WebhookSecret;
use crate::domain::llm::upstream::UpstreamRequest;

/// How long the receiver may take (Standard Webhooks asks for 15 to 30 s).
const PATIENCE: Millis = Millis::from_secs(15);

/// Sends the newest checkpoint to `url` if it was not sent yet. True when it was sent now. What failed is sent again by
/// the next call, with the same `webhook-id`.
///
/// # Errors
/// A store failed; or the receiver did not answer 2xx in 15 s. Redirects are not followed.
pub async fn mirror<P: Port, C>(
    port: &P,
    audit: &Audit<'_, C>,
    url: &str,
    secret: &WebhookSecret,
) -> Result<bool, PortFault> {
    let status = audit.status(port).await?;
    let Some(newest) = status
        .checkpoint
        .filter(|newest| newest.size > status.mirrored)
    else {
        return Ok(false);
    };
    let key = checkpoint::key(port, audit).await?;
    let body = json!({
        "type": "audit.checkpoint",
        "timestamp": newest.at.rfc3339(),
        "data": {
            "origin": audit.origin,
            "size": newest.size,
            "checkpoint": newest.text,
            "key": key.vkey(),
        },
    })
    .to_string();
    let [digest @ .., _] = &sha256(newest.text.as_bytes());
    let id = ["checkpoint_", &hex(digest.get(..16).unwrap_or(digest))].concat();
    let mut headers = secret.headers(&id, port.now().secs(), body.as_bytes());
    headers.push(("content-type", "application/json".to_owned()));
    send(port, url, headers, body.as_bytes()).await?;
    audit.ask(port, &Command::Mirrored(newest.size)).await?;
    Ok(true)
}

async fn send<P: Port>(
    port: &P,
    url: &str,
    headers: Vec<(&'static str, String)>,
    body: &[u8],
) -> Result<(), PortFault> {
    let request = UpstreamRequest {
        url: url.to_owned(),
        key: None,
        headers,
        body,
    };
    let call = port.call(request, false);
    let head = {
        let (mut head, mut late) = (pin!(port.head(&call)), pin!(port.sleep(PATIENCE)));
        poll_fn(|context| match head.as_mut().poll(context) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending => late.as_mut().poll(context).map(|()| None),
        })
        .await
    };
    // Nothing of the body is of interest.
    port.abort(&call);
    match head {
        Some(Ok(head)) if (200..300).contains(&head.status) => Ok(()),
        Some(Ok(head)) => Err(PortFault(format!("the mirror answered {}", head.status))),
        Some(Err(fault)) => Err(PortFault(format!("the mirror: {fault:?}"))),
        None => Err(PortFault("the mirror did not answer in time".to_owned())),
    }
}
