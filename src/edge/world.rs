//! The port over Cloudflare: KV, R2, Durable Objects, assets, fetch.

use std::rc::Rc;

use worker::js_sys::{Array, Promise, Reflect, Uint8Array};
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Env, console_log};

use super::hash::Hash;
use super::{clock, glue, memory, upstream};
use crate::app::known::Known;
use crate::app::port::{
    Algorithm, BlobPart, Blobs, Class, ClientGone, Closing, Port, PortFault, RelayDeadlines,
    RelayEnd, StoredReply, is_of_rows,
};
use crate::base::cobblestone::{MessageKey, window};
use crate::base::digest::{from_base64url, hex};
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::answer::Index;
use crate::domain::llm::health::local::LocalView;
use crate::domain::llm::stream::inlet::Inlet;
use crate::domain::llm::upstream::{UpstreamFault, UpstreamHead, UpstreamRequest};
use crate::domain::settings::config::DEFAULT_TENANT;
use crate::domain::settings::{Settings, SettingsFault, names};
use crate::domain::telemetry::LogLine;

/// The Worker's world.
#[derive(Clone)]
pub struct World {
    env: Env,
    settings: Rc<Settings>,
    tenant: Rc<str>,
}

impl World {
    /// The world of this environment; settings are resolved once for each isolate.
    ///
    /// # Errors
    /// The configuration or one of its overrides is not valid.
    pub fn new(env: Env) -> Result<Self, SettingsFault> {
        let settings = match memory::settings() {
            Some(settings) => settings,
            None => {
                let settings = Rc::new(Settings::resolve(&variables(&env))?);
                memory::set_settings(Rc::clone(&settings));
                settings
            }
        };
        Ok(Self {
            env,
            settings,
            tenant: Rc::from(DEFAULT_TENANT),
        })
    }

    fn object_name(&self, class: Class, name: &str) -> String {
        if class.is_shared() {
            names::stored(names::GLOBAL, name)
        } else {
            self.stored_name(name)
        }
    }

    fn stored_name(&self, name: &str) -> String {
        names::stored(&self.tenant, name)
    }

    /// A piece of a blob as `streamBlobs` of blobs.js takes it.
    fn piece(&self, part: &BlobPart) -> Array {
        let number = |number: u64| JsValue::from_f64(glue::as_f64(number));
        let (sealed, offset, length) = match &part.sealed {
            None => (JsValue::UNDEFINED, part.offset, part.length),
            Some(sealed) => {
                let window = window(sealed.bytes, part.offset, part.length);
                let how: Array = [
                    bytes(sealed.key.key().reveal()).into(),
                    bytes(sealed.key.base_nonce()).into(),
                    number(window.chunk),
                    number(window.skip),
                    number(part.length),
                    JsValue::from_bool(window.last),
                ]
                .iter()
                .collect();
                (JsValue::from(how), window.offset, window.length)
            }
        };
        let key = JsValue::from_str(&self.stored_name(&part.key));
        Array::of4(&key, &number(offset), &number(length), &sealed)
    }

    fn bucket(&self) -> JsValue {
        Reflect::get(&self.env, &JsValue::from_str(names::DOCUMENTS)).unwrap_or(JsValue::UNDEFINED)
    }
}

/// The variables and secrets of an environment.
fn variables(env: &Env) -> impl Fn(&str) -> Option<String> {
    |name| {
        Reflect::get(env, &JsValue::from_str(name))
            .ok()
            .and_then(|value| value.as_string())
    }
}

/// The writing side of a body.
#[derive(Clone)]
pub struct Outlet(Rc<glue::Outlet>);

/// A platform error as a fault.
fn js_fault(error: JsValue) -> PortFault {
    PortFault(glue::message(&error))
}

fn fault(error: impl std::fmt::Display) -> PortFault {
    PortFault(error.to_string())
}

/// What blobs.js gives: nothing where the first blob is missing, an error of its own where it was changed.
async fn blobs(given: Promise) -> Result<Blobs<JsValue>, PortFault> {
    match JsFuture::from(given).await {
        Ok(value) if value.is_undefined() => Ok(Blobs::Missing),
        Ok(value) => Ok(Blobs::Body(value)),
        Err(error) if glue::name(&error) == "Forged" => Ok(Blobs::Forged),
        Err(error) => Err(js_fault(error)),
    }
}

fn bytes(slice: &[u8]) -> Uint8Array {
    Uint8Array::from(slice)
}

/// The search index that the site's builder writes.
const INDEX_ASSET: &str = "/gatehouse/index.json";

impl Port for World {
    type Stream = JsValue;
    type Call = JsValue;
    type Outlet = Outlet;
    type Hash = Hash;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn tenant(&self) -> &str {
        &self.tenant
    }

    fn with_provider_keys(
        &self,
        revision: u64,
        key: &dyn Fn(&str) -> Option<Secret<String>>,
    ) -> Result<Self, SettingsFault> {
        let settings = Settings::resolve_with(&variables(&self.env), revision, key)?;
        let settings = Rc::new(settings);
        memory::set_settings_of(&self.tenant, Rc::clone(&settings));
        Ok(Self {
            settings,
            ..self.clone()
        })
    }

    fn of_tenant(&self, tenant: &str) -> Self {
        let own = memory::settings_of(tenant);
        Self {
            env: self.env.clone(),
            settings: own.unwrap_or_else(|| Rc::clone(&self.settings)),
            tenant: Rc::from(tenant),
        }
    }

    fn now(&self) -> Millis {
        clock::now()
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        clock::random()
    }

    async fn object(&self, class: Class, name: &str, command: String) -> Result<String, PortFault> {
        let name = self.object_name(class, name);
        let command = match class.rows() {
            Some(machine) if !is_of_rows(&command) => [machine, " ", &command].concat(),
            _ => command,
        };
        let call = glue::call_object(&self.env, class.binding(), &name, &command);
        let reply = JsFuture::from(call).await.map_err(js_fault)?;
        reply
            .as_string()
            .ok_or_else(|| PortFault("the object's reply is not text".to_owned()))
    }

    async fn object_rewind(&self, class: Class, name: &str, to: Millis) -> Result<bool, PortFault> {
        let name = self.object_name(class, name);
        let call = glue::rewind_object(&self.env, class.binding(), &name, glue::as_f64(to.0));
        let went = JsFuture::from(call).await.map_err(js_fault)?;
        Ok(went.is_truthy())
    }

    async fn cache_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortFault> {
        let kv = self.env.kv(names::CACHE).map_err(fault)?;
        kv.get(&self.stored_name(key)).bytes().await.map_err(fault)
    }

    async fn cache_put(
        &self,
        key: &str,
        value: Vec<u8>,
        ttl_seconds: u64,
    ) -> Result<(), PortFault> {
        let kv = self.env.kv(names::CACHE).map_err(fault)?;
        let put = kv
            .put_bytes(&self.stored_name(key), &value)
            .map_err(fault)?;
        put.expiration_ttl(ttl_seconds)
            .execute()
            .await
            .map_err(fault)
    }

    async fn asset(&self, path: &str) -> Result<Option<Vec<u8>>, PortFault> {
        let assets = self.env.assets(names::ASSETS).map_err(fault)?;
        // The host does not matter to the binding; the path does.
        let mut answer = assets
            .fetch(format!("https://assets.invalid{path}"), None)
            .await
            .map_err(fault)?;
        if answer.status_code() != 200 {
            return Ok(None);
        }
        answer.bytes().await.map(Some).map_err(fault)
    }

    async fn site_index(&self) -> Result<Rc<Index>, PortFault> {
        if let Some(index) = memory::index() {
            return Ok(index);
        }
        let bytes = self
            .asset(INDEX_ASSET)
            .await?
            .ok_or_else(|| PortFault(format!("{INDEX_ASSET} is missing")))?;
        let index = Rc::new(Index::from_json(&bytes).map_err(fault)?);
        memory::set_index(Rc::clone(&index));
        Ok(index)
    }

    async fn blob_put(&self, key: &str, bytes: Vec<u8>) -> Result<(), PortFault> {
        let key = self.stored_name(key);
        let put = glue::put_blob(&self.bucket(), &key, &Uint8Array::from(bytes.as_slice()));
        JsFuture::from(put).await.map(|_| ()).map_err(js_fault)
    }

    fn hash(&self) -> Hash {
        Hash::new()
    }

    async fn blob_seal(
        &self,
        key: &str,
        with: &MessageKey,
        plain: Vec<u8>,
        hash: Option<&Hash>,
    ) -> Result<(), PortFault> {
        let put = glue::put_sealed(
            &self.bucket(),
            &self.stored_name(key),
            &bytes(with.key().reveal()),
            &bytes(with.base_nonce()),
            &bytes(with.header()),
            &bytes(&plain),
            hash.map_or(&JsValue::UNDEFINED, |hash| &hash.0),
        );
        // The platform has its own copy.
        drop(plain);
        JsFuture::from(put).await.map(|_| ()).map_err(js_fault)
    }

    async fn blob_get(&self, key: &str) -> Result<Option<Vec<u8>>, PortFault> {
        let key = self.stored_name(key);
        let blob = JsFuture::from(glue::get_blob(&self.bucket(), &key))
            .await
            .map_err(js_fault)?;
        Ok((!blob.is_undefined()).then(|| Uint8Array::new(&blob).to_vec()))
    }

    async fn blob_delete(&self, keys: &[String]) -> Result<(), PortFault> {
        let bucket = self.env.bucket(names::DOCUMENTS).map_err(fault)?;
        // R2 removes at most 1,000 objects in one call.
        for batch in keys.chunks(1000) {
            let batch: Vec<String> = batch.iter().map(|key| self.stored_name(key)).collect();
            bucket.delete_multiple(batch).await.map_err(fault)?;
        }
        Ok(())
    }

    async fn blob_list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<(Vec<String>, bool), PortFault> {
        let prefix = self.stored_name(prefix);
        let after = after.map(|after| self.stored_name(after));
        let list = glue::list_blobs(&self.bucket(), &prefix, after.as_deref());
        let list = Array::from(&JsFuture::from(list).await.map_err(js_fault)?);
        let own = self.stored_name("");
        let names = list.iter().skip(1).filter_map(|key| key.as_string());
        let names = names.filter_map(|key| key.strip_prefix(&own).map(str::to_owned));
        Ok((names.collect(), list.get(0).is_truthy()))
    }

    async fn blob_stream(&self, parts: Vec<BlobPart>) -> Result<Blobs<JsValue>, PortFault> {
        let list: Array = parts.iter().map(|part| self.piece(part)).collect();
        blobs(glue::stream_blobs(&self.bucket(), &list)).await
    }

    async fn blob_open(&self, part: BlobPart) -> Result<Blobs<Vec<u8>>, PortFault> {
        let opened = blobs(glue::open_blob(&self.bucket(), &self.piece(&part))).await?;
        Ok(opened.map(|bytes| Uint8Array::new(&bytes).to_vec()))
    }

    async fn blob_md5(&self, parts: Vec<BlobPart>) -> Result<Blobs<String>, PortFault> {
        let list: Array = parts.iter().map(|part| self.piece(part)).collect();
        let digest = blobs(glue::digest_blobs(&self.bucket(), &list, "MD5")).await?;
        Ok(digest.map(|digest| hex(&Uint8Array::new(&digest).to_vec())))
    }

    async fn sign_ed25519(&self, seed: &[u8; 32], message: &[u8]) -> Result<[u8; 64], PortFault> {
        let signed = glue::sign_ed25519(&bytes(seed), &bytes(message));
        let signed = JsFuture::from(signed).await.map_err(js_fault)?;
        let signature = Uint8Array::new(&signed).to_vec().try_into();
        signature.map_err(|_| fault("a signature of another length"))
    }

    async fn ed25519_public(&self, seed: &[u8; 32]) -> Result<[u8; 32], PortFault> {
        let public = JsFuture::from(glue::public_ed25519(&bytes(seed)));
        let text = public.await.map_err(js_fault)?.as_string();
        let public = text.and_then(|text| from_base64url(&text)?.try_into().ok());
        public.ok_or_else(|| fault("no public key"))
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        public: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, PortFault> {
        let ed25519 = algorithm == Algorithm::Ed25519;
        let (public, message) = (bytes(public), bytes(message));
        let valid = glue::verify_signature(ed25519, &public, &message, &bytes(signature));
        JsFuture::from(valid)
            .await
            .map(|valid| valid.is_truthy())
            .map_err(js_fault)
    }

    fn call(&self, request: UpstreamRequest<'_>, tee: bool) -> JsValue {
        upstream::call(&request, tee)
    }

    async fn head(&self, call: &JsValue) -> Result<UpstreamHead, UpstreamFault> {
        upstream::head(call).await
    }

    async fn chunk(&self, call: &JsValue) -> Result<Option<Vec<u8>>, UpstreamFault> {
        upstream::chunk(call).await
    }

    async fn rest(&self, call: &JsValue, cap: u64) -> Result<Vec<u8>, UpstreamFault> {
        upstream::rest(call, cap).await
    }

    fn body(&self, call: &JsValue) -> JsValue {
        glue::body_of(call)
    }

    fn abort(&self, call: &JsValue) {
        glue::abort_call(call);
    }

    fn relay(
        &self,
        call: &JsValue,
        inlet: Inlet,
        deadlines: RelayDeadlines,
        closing: Closing,
    ) -> (JsValue, impl Future<Output = (RelayEnd, Inlet)> + 'static) {
        upstream::relay(call, inlet, deadlines, closing)
    }

    fn outlet(&self) -> (Outlet, JsValue) {
        let outlet = glue::outlet();
        let readable = outlet.readable();
        (Outlet(Rc::new(outlet)), readable)
    }

    async fn write(&self, outlet: &Outlet, bytes: Vec<u8>) -> Result<(), ClientGone> {
        let written = glue::write_to(&outlet.0, &Uint8Array::from(bytes.as_slice()));
        JsFuture::from(written)
            .await
            .map(|_| ())
            .map_err(|_| ClientGone)
    }

    async fn gone(&self, outlet: &Outlet) {
        let _ = JsFuture::from(outlet.0.gone()).await;
    }

    async fn close(&self, outlet: &Outlet) {
        let _ = JsFuture::from(glue::close_outlet(&outlet.0)).await;
    }

    async fn sleep(&self, time: Millis) {
        clock::sleep(time).await;
    }

    async fn stored(&self, name: &str, command: String) -> Result<StoredReply<JsValue>, PortFault> {
        let opened = glue::open_stored(&self.env, names::STREAM, &self.stored_name(name), &command);
        let reply = Array::from(&JsFuture::from(opened).await.map_err(js_fault)?);
        let body = reply.get(1);
        Ok(StoredReply {
            told: reply.get(0).as_string().unwrap_or_default(),
            stream: (!body.is_undefined()).then_some(body),
        })
    }

    fn known<T>(&self, step: impl FnOnce(&mut Known) -> T) -> T {
        memory::known(&self.tenant, step)
    }

    fn view<T>(&self, target: &str, step: impl FnOnce(&mut LocalView) -> T) -> T {
        memory::view(target, step)
    }

    fn memory_get(&self, key: &str) -> Option<Vec<u8>> {
        memory::entry(&self.stored_name(key), clock::now())
    }

    fn memory_put(&self, key: &str, value: &[u8], expires: Millis) {
        memory::set_entry(
            &self.stored_name(key),
            value,
            expires,
            self.settings.config.cache.isolate_entries,
        );
    }

    fn bindings(&self) -> Vec<(&'static str, bool)> {
        let objects = names::OBJECTS.iter().map(|(binding, _)| *binding);
        names::STORES
            .into_iter()
            .chain(objects)
            .map(|name| {
                let there = Reflect::get(&self.env, &JsValue::from_str(name))
                    .is_ok_and(|value| value.is_object());
                (name, there)
            })
            .collect()
    }

    fn log(&self, line: &LogLine) {
        if let Ok(text) = serde_json::to_string(line) {
            console_log!("{text}");
        }
    }
}
