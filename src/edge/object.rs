//! Durable Objects: one generic shell over a pure [`Machine`], and a newtype for each class.

use std::cell::RefCell;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::{Array, Reflect};
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen_futures::JsFuture;

use super::{clock, glue};
use crate::app::port::{RESTORE, SNAPSHOT};
use crate::base::machine::{Effects, Machine};

/// Loads a machine once, applies commands to it, and makes their effects durable before the reply leaves.
struct Shell<M: Machine> {
    storage: JsValue,
    machine: RefCell<Option<M>>,
}

impl<M: Machine> Shell<M> {
    fn new(ctx: &JsValue) -> Self {
        Self {
            storage: storage_of(ctx),
            machine: RefCell::new(None),
        }
    }

    /// Decodes, applies, persists, encodes. There is no await in here: nothing can come between read and write.
    fn call(&self, command: &str) -> Result<String, JsValue> {
        let command: M::Command =
            serde_json::from_str(command).map_err(|error| js_error(&error))?;
        let (reply, effects) = self.with(|machine, now| machine.apply(now, command))?;
        self.persist(effects)?;
        serde_json::to_string(&reply).map_err(|error| js_error(&error))
    }

    /// Forgets what is in memory: the rows change behind the machine's back.
    fn forget(&self) {
        self.machine.borrow_mut().take();
    }

    /// Wakes the machine and waits until what it wants gone is gone.
    async fn alarm(&self) -> Result<(), JsValue> {
        let ((), effects) = self.with(|machine, now| ((), machine.wake(now)))?;
        if effects.delete_all {
            self.machine.borrow_mut().take();
            JsFuture::from(glue::delete_everything(&self.storage)).await?;
            return Ok(());
        }
        self.persist(effects)
    }

    fn with<T>(
        &self,
        step: impl FnOnce(&mut M, crate::base::time::Millis) -> T,
    ) -> Result<T, JsValue> {
        let now = clock::now();
        let mut slot = self.machine.borrow_mut();
        if slot.is_none() {
            *slot = Some(M::load(now, rows(&self.storage)?));
        }
        match slot.as_mut() {
            Some(machine) => Ok(step(machine, now)),
            None => Err(JsValue::from_str("the machine was not loaded")),
        }
    }

    /// If storage refuses, the machine is dropped and loaded anew by the next call: memory never runs ahead of what is
    /// durable.
    fn persist(&self, effects: Effects) -> Result<(), JsValue> {
        if effects.delete_all {
            // Rows first, so that nothing is left even if the platform's own clean-up comes late.
            self.machine.borrow_mut().take();
            let gone = glue::delete_everything(&self.storage);
            worker::wasm_bindgen_futures::spawn_local(async move {
                let _ = JsFuture::from(gone).await;
            });
            return Ok(());
        }
        if let Err(error) = write_rows(&self.storage, &effects) {
            self.machine.borrow_mut().take();
            return Err(error);
        }
        Ok(())
    }
}

fn storage_of(ctx: &JsValue) -> JsValue {
    Reflect::get(ctx, &JsValue::from_str("storage")).unwrap_or(JsValue::UNDEFINED)
}

/// Every row of a storage.
pub fn rows(storage: &JsValue) -> Result<Vec<(String, String)>, JsValue> {
    let flat = glue::load_rows(storage)?;
    let texts: Vec<String> = flat.iter().filter_map(|value| value.as_string()).collect();
    Ok(texts
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [key, value] => Some((key.clone(), value.clone())),
            _ => None,
        })
        .collect())
}

/// Writes rows in one transaction, and sets the alarm.
pub fn write_rows(storage: &JsValue, effects: &Effects) -> Result<(), JsValue> {
    if !effects.writes.is_empty() {
        let flat = Array::new();
        for write in &effects.writes {
            flat.push(&JsValue::from_str(&write.key));
            flat.push(
                &write
                    .value
                    .as_deref()
                    .map_or(JsValue::UNDEFINED, JsValue::from_str),
            );
        }
        glue::persist(storage, &flat)?;
    }
    if let Some(at) = effects.alarm {
        glue::set_alarm(storage, glue::as_f64(at.0));
    }
    Ok(())
}

fn js_error(error: &dyn std::fmt::Display) -> JsValue {
    JsValue::from_str(&error.to_string())
}

/// A class that keeps a machine; and, in objects of other names, machines of many rows, each under the name that stands
/// in front of its commands (`Class::rows`) and is its table's.
macro_rules! object {
    ($name:ident, $machine:ty $(; $table:ident: $rows:ty)*) => {
        #[doc = concat!("The class `", stringify!($name), "`.")]
        #[wasm_bindgen]
        pub struct $name {
            shell: Shell<$machine>,
            $($table: super::rows::RowShell<$rows>,)*
        }

        #[wasm_bindgen(wasm_bindgen_futures = ::worker::wasm_bindgen_futures, js_sys = ::worker::js_sys)]
        impl $name {
            /// Made by the platform.
            #[wasm_bindgen(constructor)]
            pub fn new(ctx: JsValue) -> Self {
                Self {
                    $($table: super::rows::RowShell::new(storage_of(&ctx), stringify!($table)),)*
                    shell: Shell::new(&ctx),
                }
            }

            /// One command in, one reply out, both JSON. Two are of no machine: `snapshot` reads rows as they lie there,
            /// `restore` puts them back.
            ///
            /// # Errors
            /// The command cannot be read, or storage refused; a restore has not put back everything yet.
            pub fn call(&self, command: &str) -> Result<String, JsValue> {
                let storage = &self.shell.storage;
                if let Some(asked) = command.strip_prefix(SNAPSHOT) {
                    return glue::snapshot_rows(storage, asked);
                }
                if let Some(asked) = command.strip_prefix(RESTORE) {
                    self.shell.forget();
                    $(self.$table.forget();)*
                    return glue::restore_rows(storage, asked);
                }
                glue::require_whole(storage)?;
                $(if let Some(command) = command.strip_prefix(concat!(stringify!($table), " ")) {
                    return self.$table.call(command);
                })*
                self.shell.call(command)
            }

            /// The alarm. While rows are put back it is for none of them.
            ///
            /// # Errors
            /// Storage refused; the platform tries again.
            pub async fn alarm(&self) -> Result<(), JsValue> {
                if glue::require_whole(&self.shell.storage).is_err() {
                    return Ok(());
                }
                $(if self.$table.exists()? {
                    return self.$table.alarm().await;
                })*
                self.shell.alarm().await
            }
        }
    };
}

object!(Limiter, crate::domain::limits::Limiter);
object!(Ledger, crate::app::objects::LedgerObject);
object!(Owner, crate::domain::documents::owner::OwnerDocuments;
    pointers: crate::domain::documents::pointers::Pointers;
    memory: crate::domain::memory::machine::Memory;
    stores: crate::domain::retrieval::store::machine::Stores);
object!(Directory, crate::app::objects::DirectoryObject);
object!(Keyring, crate::app::objects::KeyringObject);
object!(Target, crate::domain::llm::health::machine::TargetState);
object!(AuditLog, crate::domain::audit::log::AuditLog);
