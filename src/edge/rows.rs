//! Durable Objects of many rows: the shell over a [`RowMachine`], and its rows in SQLite.
//!
//! Each machine has a table of its own, which its first write makes: an object that was only asked keeps nothing.

use std::cell::RefCell;

use worker::js_sys::Uint8Array;
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::{JsFuture, spawn_local};

use super::{clock, glue};
use crate::base::rows::{MAX_VALUE_BYTES, Row, RowMachine, Rows, RowsFault, Scan, Step};

/// Sorts behind every key: the last character there is.
const LAST: &str = "\u{10FFFF}";

/// The rows of one machine.
struct Table<'a> {
    storage: &'a JsValue,
    name: &'static str,
}

fn fault(error: &JsValue) -> RowsFault {
    RowsFault(glue::message(error))
}

impl Rows for Table<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, RowsFault> {
        let value = glue::rows_get(self.storage, self.name, key).map_err(|e| fault(&e))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Row>, RowsFault> {
        let end = [scan.prefix, LAST].concat();
        // The key right behind a key is that and a NUL.
        let behind = scan.after.map(|after| [after, "\0"].concat());
        let (from, to) = match (scan.after, behind.as_deref()) {
            (Some(after), _) if scan.descending => (scan.prefix, end.as_str().min(after)),
            (_, Some(behind)) => (scan.prefix.max(behind), end.as_str()),
            (_, None) => (scan.prefix, end.as_str()),
        };
        let limit = u32::try_from(scan.limit).unwrap_or(u32::MAX);
        let flat = glue::rows_scan(self.storage, self.name, from, to, scan.descending, limit);
        let flat: Vec<JsValue> = flat.map_err(|e| fault(&e))?.iter().collect();
        let (pairs, _) = flat.as_chunks::<2>();
        let rows = pairs.iter().filter_map(|[key, value]| {
            let value = value.dyn_ref::<Uint8Array>()?;
            Some((key.as_string()?, value.to_vec()))
        });
        Ok(rows.collect())
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Result<(), RowsFault> {
        if value.len() > MAX_VALUE_BYTES {
            let length = value.len();
            return Err(RowsFault(format!("the row {key} has {length} bytes")));
        }
        glue::rows_put(self.storage, self.name, key, &Uint8Array::from(value))
            .map_err(|e| fault(&e))
    }

    fn remove(&mut self, key: &str) -> Result<(), RowsFault> {
        glue::rows_remove(self.storage, self.name, key).map_err(|e| fault(&e))
    }

    fn remove_all(&mut self, prefix: &str) -> Result<(), RowsFault> {
        let end = [prefix, LAST].concat();
        glue::rows_remove_between(self.storage, self.name, prefix, &end).map_err(|e| fault(&e))
    }
}

/// The reply to a command, where one was applied, and what else is to be done.
type Done<M> = (Option<<M as RowMachine>::Reply>, Step);

/// Applies commands to a machine, each in one transaction.
pub struct RowShell<M: RowMachine> {
    storage: JsValue,
    table: &'static str,
    machine: RefCell<M>,
}

impl<M: RowMachine> RowShell<M> {
    /// The machine whose rows are in that table.
    pub fn new(storage: JsValue, table: &'static str) -> Self {
        Self {
            storage,
            table,
            machine: RefCell::default(),
        }
    }

    /// Forgets what is in memory: the rows change behind the machine's back.
    pub fn forget(&self) {
        *self.machine.borrow_mut() = M::default();
    }

    /// Is anything kept?
    ///
    /// # Errors
    /// Storage refused.
    pub fn exists(&self) -> Result<bool, JsValue> {
        glue::rows_exist(&self.storage, self.table)
    }

    /// Decodes, applies, encodes.
    ///
    /// # Errors
    /// The command cannot be read, or storage refused; nothing was written.
    pub fn call(&self, command: &str) -> Result<String, JsValue> {
        let command: M::Command = serde_json::from_str(command).map_err(text)?;
        let mut command = Some(command);
        let (reply, step) = self.step(|machine, rows| {
            let Some(command) = command.take() else {
                return Err(RowsFault("a step ran twice".to_owned()));
            };
            let (reply, step) = machine.apply(rows, clock::now(), command)?;
            Ok((Some(reply), step))
        })?;
        if step.delete_all {
            let gone = glue::delete_everything(&self.storage);
            spawn_local(async move {
                let _ = JsFuture::from(gone).await;
            });
        }
        serde_json::to_string(&reply).map_err(text)
    }

    /// Wakes the machine and waits until what it wants gone is gone.
    ///
    /// # Errors
    /// Storage refused; the platform tries again.
    pub async fn alarm(&self) -> Result<(), JsValue> {
        let (_, step) = self.step(|machine, rows| {
            let step = machine.wake(rows, clock::now())?;
            Ok((None, step))
        })?;
        if step.delete_all {
            JsFuture::from(glue::delete_everything(&self.storage)).await?;
        }
        Ok(())
    }

    /// One step in one transaction. A machine whose step was undone is made anew.
    fn step(
        &self,
        mut act: impl FnMut(&mut M, &mut Table<'_>) -> Result<Done<M>, RowsFault>,
    ) -> Result<Done<M>, JsValue> {
        let mut table = Table {
            storage: &self.storage,
            name: self.table,
        };
        let mut machine = self.machine.borrow_mut();
        let mut done = None;
        let outcome = glue::in_transaction(&self.storage, &mut || {
            let (reply, step) = act(&mut machine, &mut table).map_err(text_of)?;
            if step.delete_all {
                // Rows first, so that nothing is left even if the platform's own clean-up comes late.
                table.remove_all("").map_err(text_of)?;
            }
            done = Some((reply, step));
            Ok(())
        });
        match (outcome, done) {
            (Ok(()), Some((reply, step))) => {
                if step.delete_all {
                    *machine = M::default();
                } else if let Some(at) = step.alarm {
                    glue::set_alarm(&self.storage, glue::as_f64(at.0));
                }
                Ok((reply, step))
            }
            (outcome, _) => {
                *machine = M::default();
                outcome?;
                Err(JsValue::from_str("the step did not run"))
            }
        }
    }
}

fn text(error: impl std::fmt::Display) -> JsValue {
    JsValue::from_str(&error.to_string())
}

fn text_of(fault: RowsFault) -> JsValue {
    JsValue::from_str(&fault.0)
}
