//! Reaching providers: calls, whole answers, pieces, and streams that are relayed natively.

use std::cell::RefCell;
use std::rc::Rc;

use wasm_bindgen::JsCast;
use worker::js_sys::{Array, Promise, Uint8Array};
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen::closure::Closure;
use worker::wasm_bindgen_futures::JsFuture;

use super::glue;
use crate::app::port::{Closing, RelayDeadlines, RelayEnd};
use crate::domain::llm::stream::inlet::Inlet;
use crate::domain::llm::upstream::{UpstreamFault, UpstreamHead, UpstreamRequest};

/// Starts a request.
pub fn call(request: &UpstreamRequest<'_>, tee: bool) -> JsValue {
    let mut headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", one_line(value)))
        .collect();
    if let Some((name, key)) = &request.key {
        headers.push(format!("{name}: {}", one_line(key.reveal())));
    }
    let body = Uint8Array::from(request.body);
    glue::start_call(&request.url, &headers.join("\n"), &body, tee)
}

/// A line feed in a value would be a header of its own.
fn one_line(value: &str) -> String {
    value.replace(['\r', '\n'], "")
}

/// Waits for the head of the answer.
pub async fn head(call: &JsValue) -> Result<UpstreamHead, UpstreamFault> {
    let head = JsFuture::from(glue::head_of(call))
        .await
        .map_err(|error| UpstreamFault::Unreachable(glue::message(&error)))?;
    let head = Array::from(&head);
    let text = |index: u32| head.get(index).as_string();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an HTTP status has three digits"
    )]
    let status = head.get(0).as_f64().unwrap_or_default() as u16;
    Ok(UpstreamHead {
        status,
        content_type: text(1),
        retry_after: text(2),
        retry_after_ms: text(3),
    })
}

/// The next piece of the body.
pub async fn chunk(call: &JsValue) -> Result<Option<Vec<u8>>, UpstreamFault> {
    let piece = JsFuture::from(glue::chunk_of(call))
        .await
        .map_err(|e| fault(&e))?;
    Ok((!piece.is_undefined()).then(|| Uint8Array::new(&piece).to_vec()))
}

/// The rest of the body.
pub async fn rest(call: &JsValue, cap: u64) -> Result<Vec<u8>, UpstreamFault> {
    let whole = JsFuture::from(glue::rest_of(call, glue::as_f64(cap))).await;
    whole
        .map(|bytes| Uint8Array::new(&bytes).to_vec())
        .map_err(|error| fault(&error))
}

fn fault(error: &JsValue) -> UpstreamFault {
    match glue::name(error).as_str() {
        "TooLarge" => UpstreamFault::TooLarge,
        _ => UpstreamFault::Broken(glue::message(error)),
    }
}

/// Passes a body to the client while the inlet watches.
pub fn relay(
    call: &JsValue,
    inlet: Inlet,
    deadlines: RelayDeadlines,
    closing: Closing,
) -> (
    JsValue,
    impl Future<Output = (RelayEnd, Inlet)> + 'static + use<>,
) {
    let inlet = Rc::new(RefCell::new(Some(inlet)));
    let watching = Rc::clone(&inlet);
    let push = Closure::new(move |bytes: Uint8Array| {
        if let Some(inlet) = watching.borrow_mut().as_mut() {
            inlet.watch(&bytes.to_vec());
        }
    });
    let judging = Rc::clone(&inlet);
    let mut closing = Some(closing);
    let close = Closure::new(move |end: u32| -> JsValue {
        let mut inlet = judging.borrow_mut();
        if relay_end(end) == RelayEnd::Ended {
            inlet.as_mut().map(Inlet::end);
        }
        inlet
            .as_ref()
            .zip(closing.take())
            .and_then(|(inlet, closing)| closing(relay_end(end), inlet))
            .map_or(JsValue::UNDEFINED, |bytes| {
                Uint8Array::from(bytes.as_slice()).into()
            })
    });
    let close: Closure<dyn FnMut(u32) -> JsValue> = close;
    let pair = glue::relay(
        call,
        glue::as_f64(deadlines.idle.0),
        glue::as_f64(deadlines.total.0),
        &push,
        close.as_ref(),
    );
    let done = pair.get(1).unchecked_into::<Promise>();
    let future = async move {
        let end = JsFuture::from(done).await;
        // The closures must live as long as JavaScript may call them.
        drop((push, close));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "one of five small numbers"
        )]
        let end = end
            .ok()
            .and_then(|end| end.as_f64())
            .map_or(RelayEnd::Broken, |end| relay_end(end as u32));
        let inlet = inlet.borrow_mut().take();
        (
            end,
            inlet.unwrap_or_else(|| Inlet::new(crate::domain::llm::Protocol::Chat, false)),
        )
    };
    (pair.get(0), future)
}

/// The numbers of `upstream.js`.
const fn relay_end(number: u32) -> RelayEnd {
    match number {
        0 => RelayEnd::Ended,
        2 => RelayEnd::Stalled,
        3 => RelayEnd::Overran,
        4 => RelayEnd::ClientGone,
        _ => RelayEnd::Broken,
    }
}
