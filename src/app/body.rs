//! Request bodies: read once, capped, and strict.

use serde_json::{Map, Value};

use super::port::{BodyFault, ByteSource, Port};
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::json::{JsonFault, Limits, parse_object};

/// Reads a JSON object.
///
/// # Errors
/// `unsupported_media_type`, `payload_too_large`, `incomplete_body`, `invalid_json`, `invalid_encoding`, `duplicate_key`.
pub async fn json_body<P: Port, B: ByteSource>(
    port: &P,
    head: &Head,
    body: &mut B,
) -> Result<Map<String, Value>, Refusal> {
    let media_type = head
        .content_type
        .as_deref()
        .and_then(|t| t.split(';').next())
        .map(str::trim);
    if !media_type.is_some_and(|t| t.eq_ignore_ascii_case("application/json")) {
        return Err(
            Refusal::new(Code::UnsupportedMediaType).detail("Send content-type: application/json.")
        );
    }
    let cap = port.settings().config.server.max_body_bytes;
    let bytes = read_body(head, body, cap).await?;
    parse_object(&bytes, Limits::default()).map_err(json_refusal)
}

/// Reads a body of at most `cap` bytes, without content coding.
///
/// # Errors
/// `unsupported_media_type`, `payload_too_large`, `incomplete_body`.
pub async fn read_body<B: ByteSource>(
    head: &Head,
    body: &mut B,
    cap: u64,
) -> Result<Vec<u8>, Refusal> {
    let too_large =
        || Refusal::new(Code::PayloadTooLarge).detail(format!("At most {cap} bytes are accepted."));
    if head
        .content_encoding
        .as_deref()
        .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(Refusal::new(Code::UnsupportedMediaType)
            .detail("Send the body without Content-Encoding."));
    }
    if head.content_length.is_some_and(|length| length > cap) {
        return Err(too_large());
    }
    body.whole(cap).await.map_err(|fault| match fault {
        BodyFault::TooLarge => too_large(),
        BodyFault::Cut => Refusal::new(Code::IncompleteBody),
    })
}

/// A body that is not strict JSON, as the caller sees it.
fn json_refusal(fault: JsonFault) -> Refusal {
    let detail = fault.to_string();
    match fault {
        JsonFault::Encoding { .. } => Refusal::new(Code::InvalidEncoding).detail(detail),
        JsonFault::DuplicateKey { path } => {
            Refusal::new(Code::DuplicateKey).param(path).detail(detail)
        }
        _ => Refusal::new(Code::InvalidJson).detail(detail),
    }
}
