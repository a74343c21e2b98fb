//! The JavaScript functions of `glue.js`, `blobs.js` and `upstream.js`, typed.

use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::{Array, Promise, Uint8Array};
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen::closure::Closure;
use worker::web_sys::{Request, Response};

#[wasm_bindgen(module = "/src/edge/glue.js")]
extern "C" {
    pub fn head(request: &Request) -> String;
    pub fn respond(status: u16, headers: &str, body: JsValue) -> Response;

    #[wasm_bindgen(js_name = readAll)]
    pub fn read_all(source: &JsValue, cap: f64) -> Promise;
    pub type Pieces;
    pub fn pieces(source: &JsValue) -> Pieces;
    #[wasm_bindgen(method)]
    pub fn next(this: &Pieces) -> Promise;
    #[wasm_bindgen(js_name = readBuffer)]
    pub fn read_buffer(request: &Request) -> Promise;

    pub type Timer;
    pub fn timer(ms: f64) -> Timer;
    #[wasm_bindgen(method, getter)]
    pub fn promise(this: &Timer) -> Promise;
    #[wasm_bindgen(method)]
    pub fn clear(this: &Timer);

    #[wasm_bindgen(js_name = callObject)]
    pub fn call_object(env: &JsValue, binding: &str, name: &str, command: &str) -> Promise;
    #[wasm_bindgen(js_name = rewindObject)]
    pub fn rewind_object(env: &JsValue, binding: &str, name: &str, time: f64) -> Promise;
    #[wasm_bindgen(js_name = openStored)]
    pub fn open_stored(env: &JsValue, binding: &str, name: &str, command: &str) -> Promise;
    #[wasm_bindgen(js_name = loadRows, catch)]
    pub fn load_rows(storage: &JsValue) -> Result<Array, JsValue>;
    #[wasm_bindgen(catch)]
    pub fn persist(storage: &JsValue, flat: &Array) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = rowsExist, catch)]
    pub fn rows_exist(storage: &JsValue, table: &str) -> Result<bool, JsValue>;
    #[wasm_bindgen(js_name = inTransaction, catch)]
    pub fn in_transaction(
        storage: &JsValue,
        step: &mut dyn FnMut() -> Result<(), JsValue>,
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = rowsGet, catch)]
    pub fn rows_get(
        storage: &JsValue,
        table: &str,
        key: &str,
    ) -> Result<Option<Uint8Array>, JsValue>;
    #[wasm_bindgen(js_name = rowsScan, catch)]
    pub fn rows_scan(
        storage: &JsValue,
        table: &str,
        from: &str,
        to: &str,
        descending: bool,
        limit: u32,
    ) -> Result<Array, JsValue>;
    #[wasm_bindgen(js_name = rowsPut, catch)]
    pub fn rows_put(
        storage: &JsValue,
        table: &str,
        key: &str,
        value: &Uint8Array,
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = rowsRemove, catch)]
    pub fn rows_remove(storage: &JsValue, table: &str, key: &str) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = rowsRemoveBetween, catch)]
    pub fn rows_remove_between(
        storage: &JsValue,
        table: &str,
        from: &str,
        to: &str,
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = requireWhole, catch)]
    pub fn require_whole(storage: &JsValue) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = snapshotRows, catch)]
    pub fn snapshot_rows(storage: &JsValue, asked: &str) -> Result<String, JsValue>;
    #[wasm_bindgen(js_name = restoreRows, catch)]
    pub fn restore_rows(storage: &JsValue, asked: &str) -> Result<String, JsValue>;
    #[wasm_bindgen(js_name = setAlarm)]
    pub fn set_alarm(storage: &JsValue, at: f64);
    #[wasm_bindgen(js_name = deleteEverything)]
    pub fn delete_everything(storage: &JsValue) -> Promise;

    #[wasm_bindgen(js_name = signEd25519)]
    pub fn sign_ed25519(seed: &Uint8Array, message: &Uint8Array) -> Promise;
    #[wasm_bindgen(js_name = publicEd25519)]
    pub fn public_ed25519(seed: &Uint8Array) -> Promise;
    #[wasm_bindgen(js_name = verifySignature)]
    pub fn verify_signature(
        ed25519: bool,
        public: &Uint8Array,
        message: &Uint8Array,
        signature: &Uint8Array,
    ) -> Promise;
}

#[wasm_bindgen(module = "/src/edge/blobs.js")]
extern "C" {
    #[wasm_bindgen(js_name = putBlob)]
    pub fn put_blob(bucket: &JsValue, key: &str, bytes: &Uint8Array) -> Promise;
    #[wasm_bindgen(js_name = putSealed)]
    pub fn put_sealed(
        bucket: &JsValue,
        key: &str,
        raw: &Uint8Array,
        base: &Uint8Array,
        header: &Uint8Array,
        plain: &Uint8Array,
        hash: &JsValue,
    ) -> Promise;
    #[wasm_bindgen(js_name = newHash)]
    pub fn new_hash() -> JsValue;
    #[wasm_bindgen(js_name = updateHash)]
    pub fn update_hash(hash: &JsValue, bytes: &Uint8Array) -> Promise;
    #[wasm_bindgen(js_name = finishHash)]
    pub fn finish_hash(hash: &JsValue) -> Promise;
    #[wasm_bindgen(js_name = getBlob)]
    pub fn get_blob(bucket: &JsValue, key: &str) -> Promise;
    #[wasm_bindgen(js_name = listBlobs)]
    pub fn list_blobs(bucket: &JsValue, prefix: &str, after: Option<&str>) -> Promise;
    #[wasm_bindgen(js_name = streamBlobs)]
    pub fn stream_blobs(bucket: &JsValue, parts: &Array) -> Promise;
    #[wasm_bindgen(js_name = openBlob)]
    pub fn open_blob(bucket: &JsValue, part: &Array) -> Promise;
    #[wasm_bindgen(js_name = digestBlobs)]
    pub fn digest_blobs(bucket: &JsValue, parts: &Array, algorithm: &str) -> Promise;
}

#[wasm_bindgen(module = "/src/edge/upstream.js")]
extern "C" {
    #[wasm_bindgen(js_name = startCall)]
    pub fn start_call(url: &str, headers: &str, body: &Uint8Array, tee: bool) -> JsValue;
    #[wasm_bindgen(js_name = headOf)]
    pub fn head_of(call: &JsValue) -> Promise;
    #[wasm_bindgen(js_name = chunkOf)]
    pub fn chunk_of(call: &JsValue) -> Promise;
    #[wasm_bindgen(js_name = restOf)]
    pub fn rest_of(call: &JsValue, cap: f64) -> Promise;
    #[wasm_bindgen(js_name = bodyOf)]
    pub fn body_of(call: &JsValue) -> JsValue;
    #[wasm_bindgen(js_name = abortCall)]
    pub fn abort_call(call: &JsValue);
    pub fn relay(
        call: &JsValue,
        idle_ms: f64,
        total_ms: f64,
        push: &Closure<dyn FnMut(Uint8Array)>,
        closing: &JsValue,
    ) -> Array;

    pub type Outlet;
    pub fn outlet() -> Outlet;
    #[wasm_bindgen(method, getter)]
    pub fn readable(this: &Outlet) -> JsValue;
    #[wasm_bindgen(method, getter)]
    pub fn gone(this: &Outlet) -> Promise;
    #[wasm_bindgen(js_name = writeTo)]
    pub fn write_to(outlet: &Outlet, bytes: &Uint8Array) -> Promise;
    #[wasm_bindgen(js_name = closeOutlet)]
    pub fn close_outlet(outlet: &Outlet) -> Promise;
}

/// The text of a JavaScript error.
pub fn message(error: &JsValue) -> String {
    let text = |name: &str| {
        worker::js_sys::Reflect::get(error, &JsValue::from_str(name))
            .ok()
            .and_then(|value| value.as_string())
    };
    match (text("name"), text("message")) {
        (Some(name), Some(message)) => format!("{name}: {message}"),
        _ => error
            .as_string()
            .unwrap_or_else(|| "an unknown error".to_owned()),
    }
}

/// The name of a JavaScript error.
pub fn name(error: &JsValue) -> String {
    worker::js_sys::Reflect::get(error, &JsValue::from_str("name"))
        .ok()
        .and_then(|value| value.as_string())
        .unwrap_or_default()
}

/// JavaScript's numbers are exact to 2^53, far above any size or time here.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes and times stay below 2^53"
)]
pub const fn as_f64(number: u64) -> f64 {
    number as f64
}
