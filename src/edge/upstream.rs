//! Reaching providers: sending, reading whole answers, and relaying streams natively.

use std::cell::RefCell;
use std::rc::Rc;

use wasm_bindgen::JsCast;
use worker::js_sys::{Array, Promise, Uint8Array};
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen::closure::Closure;
use worker::wasm_bindgen_futures::JsFuture;

use super::glue;
use crate::app::port::{Closing, FirstByte, RelayEnd};
use crate::base::time::Millis;
use crate::domain::llm::observe::{Observation, Observer};
use crate::domain::llm::upstream::{UpstreamFault, UpstreamHead, UpstreamRequest};
use crate::domain::settings::config::Deadlines;

/// Sends a request and waits for the head of its answer.
pub async fn send(
    request: UpstreamRequest<'_>,
    deadline: Millis,
) -> Result<(UpstreamHead, Option<JsValue>), UpstreamFault> {
    let mut headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    if let Some((name, key)) = &request.key {
        headers.push(format!(
            "{name}: {}",
            key.reveal().replace(['\r', '\n'], "")
        ));
    }
    let body = Uint8Array::from(request.body);
    let sent = glue::send(
        &request.url,
        &headers.join("\n"),
        &body,
        glue::as_f64(deadline.0),
    );
    let answer = JsFuture::from(sent)
        .await
        .map_err(|error| fault(&error, UpstreamFault::Unreachable))?;
    let answer = Array::from(&answer);
    let text = |index: u32| answer.get(index).as_string();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an HTTP status has three digits"
    )]
    let status = answer.get(0).as_f64().unwrap_or_default() as u16;
    let head = UpstreamHead {
        status,
        content_type: text(1),
        retry_after: text(2),
        retry_after_ms: text(3),
    };
    let body = answer.get(4);
    Ok((head, (!body.is_undefined()).then_some(body)))
}

/// Reads a body whole.
pub async fn read(
    body: JsValue,
    cap: u64,
    first_byte: Millis,
    deadline: Millis,
) -> Result<Vec<u8>, UpstreamFault> {
    let [first_byte, deadline] = [first_byte, deadline].map(|time| glue::as_f64(time.0.max(1)));
    let read = glue::read_all(&body, glue::as_f64(cap), first_byte, deadline);
    match JsFuture::from(read).await {
        Ok(bytes) => Ok(Uint8Array::new(&bytes).to_vec()),
        Err(error) => Err(fault(&error, UpstreamFault::Broken)),
    }
}

fn fault(error: &JsValue, otherwise: impl FnOnce(String) -> UpstreamFault) -> UpstreamFault {
    match glue::name(error).as_str() {
        "TimedOut" | "TimeoutError" => UpstreamFault::TimedOut,
        "Overrun" => UpstreamFault::Overran,
        "TooLarge" => UpstreamFault::TooLarge,
        _ => otherwise(glue::message(error)),
    }
}

/// Waits for the first byte of a body.
pub async fn first_byte(body: JsValue, deadline: Millis) -> FirstByte<JsValue> {
    let Ok(found) = JsFuture::from(glue::first_byte(&body, glue::as_f64(deadline.0))).await else {
        return FirstByte::Broken("the body cannot be read".to_owned());
    };
    match found.as_string().as_deref() {
        None => FirstByte::Began(found),
        Some("late") => FirstByte::TimedOut,
        Some("empty") => FirstByte::Empty,
        Some(broken) => FirstByte::Broken(broken.to_owned()),
    }
}

/// Passes a body to the client while the observer watches.
pub fn relay(
    branches: &JsValue,
    observer: Observer,
    deadlines: Deadlines,
    closing: Closing,
) -> (
    JsValue,
    impl Future<Output = (RelayEnd, Observation)> + 'static + use<>,
) {
    let observer = Rc::new(RefCell::new(observer));
    let watching = Rc::clone(&observer);
    let push = Closure::new(move |bytes: Uint8Array| {
        watching.borrow_mut().push(&bytes.to_vec());
    });
    let judging = Rc::clone(&observer);
    let mut closing = Some(closing);
    let close = Closure::new(move |end: u32| -> JsValue {
        let seen = judging.borrow().observation();
        closing
            .take()
            .and_then(|closing| closing(relay_end(end), &seen))
            .map_or(JsValue::UNDEFINED, |bytes| {
                Uint8Array::from(bytes.as_slice()).into()
            })
    });
    let close: Closure<dyn FnMut(u32) -> JsValue> = close;
    let pair = glue::relay(
        branches,
        glue::as_f64(deadlines.idle_ms),
        glue::as_f64(deadlines.total_ms),
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
        let seen = observer.borrow().observation();
        (end, seen)
    };
    (pair.get(0), future)
}

/// The numbers of `glue.js`.
const fn relay_end(number: u32) -> RelayEnd {
    match number {
        0 => RelayEnd::Ended,
        2 => RelayEnd::Stalled,
        3 => RelayEnd::Overran,
        4 => RelayEnd::ClientGone,
        _ => RelayEnd::Broken,
    }
}
