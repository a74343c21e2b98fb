//! Requests and answers: from and to the platform's types, each in one crossing.

use worker::js_sys::Uint8Array;
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen_futures::JsFuture;
use worker::web_sys::{Request, Response};

use super::clock;
use super::glue;
use super::world::World;
use crate::app::port::{BodyFault, ByteSource, PortFault};
use crate::app::reply::{Body, Reply};
use crate::app::request::Head;
use crate::base::headers::field_value;

/// Reads the head of a request.
pub fn head(request: &Request) -> Head {
    let text = glue::head(request);
    let mut lines = text.split('\n');
    let mut head = Head {
        at: clock::now(),
        method: lines.next().unwrap_or_default().to_owned(),
        header_bytes: text.len(),
        ..Head::default()
    };
    let url = lines.next().unwrap_or_default();
    let country = lines.next().unwrap_or_default();
    head.asn = lines.next().and_then(|asn| asn.parse().ok());
    set_url(&mut head, url);
    for line in lines {
        if let Some((name, value)) = line.split_once(": ") {
            set_header(&mut head, name, value);
        }
    }
    // The header stands in for the platform's own finding where that is absent, as on a developer's machine.
    if !country.is_empty() {
        head.country = Some(country.to_owned());
    }
    head
}

fn set_url(head: &mut Head, url: &str) {
    let after_scheme = url.find("://").map_or(0, |at| at.saturating_add(3));
    let authority_end = url
        .bytes()
        .enumerate()
        .skip(after_scheme)
        .find(|(_, byte)| matches!(byte, b'/' | b'?'))
        .map_or(url.len(), |(at, _)| at);
    let (origin, rest) = url.split_at_checked(authority_end).unwrap_or((url, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    head.own_origin = origin.to_owned();
    head.path = if path.is_empty() {
        "/".to_owned()
    } else {
        path.to_owned()
    };
    head.query = query.split('#').next().unwrap_or_default().to_owned();
}

fn set_header(head: &mut Head, name: &str, value: &str) {
    let field = match name {
        "cf-connecting-ip" => &mut head.address,
        "cf-ipcountry" => &mut head.country,
        "authorization" => &mut head.authorization,
        "x-api-key" => &mut head.api_key,
        "cookie" => &mut head.cookie,
        "origin" => &mut head.origin,
        "sec-fetch-site" => &mut head.fetch_site,
        "user-agent" => &mut head.user_agent,
        "signature" => &mut head.signature,
        "signature-input" => &mut head.signature_input,
        "date" => &mut head.date,
        "content-digest" => &mut head.content_digest,
        "accept" => &mut head.accept,
        "content-type" => &mut head.content_type,
        "content-encoding" => &mut head.content_encoding,
        "cache-control" => &mut head.cache_control,
        "anthropic-version" => &mut head.anthropic_version,
        "range" => &mut head.range,
        "if-none-match" => &mut head.if_none_match,
        "if-match" => &mut head.if_match,
        "x-gatehouse-link" => &mut head.link,
        "x-gatehouse-passphrase" => &mut head.passphrase,
        "if-range" => &mut head.if_range,
        "accept-language" => &mut head.accept_language,
        "x-request-id" => &mut head.request_id,
        "traceparent" => &mut head.traceparent,
        "idempotency-key" => &mut head.idempotency_key,
        "last-event-id" => &mut head.last_event_id,
        "x-gatehouse-prefer" => &mut head.prefer,
        "access-control-request-method" => &mut head.cors_method,
        "access-control-request-headers" => &mut head.cors_headers,
        "x-gatehouse-resumable" => {
            head.resumable = is_true(value);
            return;
        }
        "x-gatehouse-trailer" => {
            head.trailer = is_true(value);
            return;
        }
        "x-gatehouse-first-token-ms" => {
            head.first_token_ms = value.trim().parse().ok();
            return;
        }
        "x-gatehouse-total-ms" => {
            head.total_ms = value.trim().parse().ok();
            return;
        }
        "content-length" => {
            head.content_length = value.trim().parse().ok();
            return;
        }
        _ => return,
    };
    *field = Some(value.to_owned());
}

fn is_true(value: &str) -> bool {
    let value = value.trim();
    value.eq_ignore_ascii_case("true") || value == "1"
}

/// The body of a request.
pub struct RequestBody {
    request: Request,
    length: Option<u64>,
    pieces: Option<glue::Pieces>,
}

impl RequestBody {
    /// The body of that request; `length` is its declared length.
    pub const fn new(request: Request, length: Option<u64>) -> Self {
        Self {
            request,
            length,
            pieces: None,
        }
    }
}

impl ByteSource for RequestBody {
    async fn next(&mut self) -> Option<Result<Vec<u8>, PortFault>> {
        if self.pieces.is_none() {
            let stream = self.request.body()?;
            self.pieces = Some(glue::pieces(&stream));
        }
        let piece = JsFuture::from(self.pieces.as_ref()?.next()).await;
        match piece {
            Err(error) => Some(Err(PortFault(glue::message(&error)))),
            Ok(end) if end.is_undefined() => None,
            Ok(piece) => Some(Ok(Uint8Array::new(&piece).to_vec())),
        }
    }

    async fn whole(&mut self, cap: u64) -> Result<Vec<u8>, BodyFault> {
        let Some(stream) = self.request.body() else {
            return Ok(Vec::new());
        };
        // The runtime holds a request to its declared length, so one native step is safe when that is acceptable.
        let read = if self.length.is_some_and(|length| length <= cap) {
            glue::read_buffer(&self.request)
        } else {
            glue::read_all(&stream, glue::as_f64(cap))
        };
        match JsFuture::from(read).await {
            Ok(bytes) => Ok(Uint8Array::new(&bytes).to_vec()),
            Err(error) if glue::name(&error) == "TooLarge" => Err(BodyFault::TooLarge),
            Err(_) => Err(BodyFault::Cut),
        }
    }
}

/// An answer in the platform's form.
pub fn response(reply: Reply<World>) -> Response {
    let headers: Vec<String> = reply
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", field_value(value)))
        .collect();
    let body = match reply.body {
        Body::Empty => JsValue::UNDEFINED,
        Body::Bytes(bytes) => Uint8Array::from(bytes.as_slice()).into(),
        Body::Stream(stream) => stream,
    };
    glue::respond(reply.status, &headers.join("\n"), body)
}
