//! The object `Stream`: runs a call, keeps what passes, and lets any number of clients read it.
//!
//! The only object that reaches the network: its whole job is to own a provider's answer. A pending request keeps it
//! alive without a client (compatibility date 2026-10-01), for up to 15 minutes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};

use wasm_bindgen::prelude::wasm_bindgen;
use worker::Env;
use worker::js_sys::{Array, Reflect, Uint8Array};
use worker::wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::{JsFuture, spawn_local};

use super::object::write_rows;
use super::world::World;
use super::{clock, glue};
use crate::app::port::Port as _;
use crate::app::reply::Outcome;
use crate::app::stored::command::{Command, Refused, Run, Standing, Told};
use crate::app::stored::{self, Ended, Stage};
use crate::base::errors::{Code, Refusal};
use crate::base::machine::Effects;
use crate::base::time::Millis;
use crate::domain::llm::stream::log::{Began, FLIGHT, Head, Log, Status};
use crate::domain::telemetry::LogLine;

/// The class `Stream`.
#[wasm_bindgen]
pub struct Stream(Rc<Answer>);

/// One answer: its log, the call that makes it, and who reads.
struct Answer {
    storage: JsValue,
    env: JsValue,
    log: RefCell<Option<Log>>,
    /// Why there is no answer, for everyone who waits for it.
    refused: RefCell<Option<Refused>>,
    /// Is a call being made?
    running: Cell<bool>,
    /// It is wanted no more.
    stop: Cell<bool>,
    /// A call that callers share needs no rows: nobody comes back to it.
    volatile: Cell<bool>,
    /// Clients that read now.
    readers: Cell<u32>,
    /// When rows were last written.
    flushed: Cell<Millis>,
    changes: Changes,
}

/// Rows are written at most this often while an answer passes.
const FLUSH_EVERY: Millis = Millis(250);

#[wasm_bindgen(wasm_bindgen_futures = ::worker::wasm_bindgen_futures, js_sys = ::worker::js_sys)]
impl Stream {
    /// Made by the platform.
    #[wasm_bindgen(constructor)]
    pub fn new(ctx: JsValue, env: JsValue) -> Self {
        Self(Rc::new(Answer {
            storage: Reflect::get(&ctx, &JsValue::from_str("storage"))
                .unwrap_or(JsValue::UNDEFINED),
            env,
            log: RefCell::new(None),
            refused: RefCell::new(None),
            running: Cell::new(false),
            stop: Cell::new(false),
            volatile: Cell::new(false),
            readers: Cell::new(0),
            flushed: Cell::new(Millis(0)),
            changes: Changes::default(),
        }))
    }

    /// One command in; what is told and, where it has one, the answer's body out.
    ///
    /// # Errors
    /// The command cannot be read, or storage refused.
    pub async fn open(&self, command: String) -> Result<Array, JsValue> {
        let command: Command = serde_json::from_str(&command).map_err(|e| js_error(&e))?;
        let answer = Rc::clone(&self.0);
        if let Command::Run(run) = &command {
            answer.volatile.set(run.begin.owner == FLIGHT);
        }
        answer.load()?;
        let foreign = |protocol| !answer.with(|log| log.speaks(protocol));
        let (told, body) = match command {
            _ if command.protocol().is_some_and(foreign) => (Told::NotFound, None),
            Command::Run(run) => answer.run(*run).await?,
            Command::Read { owner, after, .. } => answer.read(&owner, after).await,
            Command::Look { owner, .. } => (answer.standing(&owner), None),
            Command::Cancel { owner, .. } => (answer.cancel(&owner).await, None),
            Command::Delete { owner, .. } => (answer.delete(&owner).await?, None),
        };
        let told = serde_json::to_string(&told).map_err(|e| js_error(&e))?;
        let reply = Array::of1(&JsValue::from_str(&told));
        if let Some(body) = body {
            reply.push(&body);
        }
        Ok(reply)
    }

    /// The alarm: an answer that nobody may read any more is removed.
    ///
    /// # Errors
    /// Storage refused; the platform tries again.
    pub async fn alarm(&self) -> Result<(), JsValue> {
        self.0.load()?;
        let effects = self.0.with(|log| log.wake(clock::now()));
        if effects.delete_all {
            // The table goes with its rows: whatever comes next to this object must load anew.
            self.0.log.take();
            JsFuture::from(glue::delete_everything(&self.0.storage)).await?;
            return Ok(());
        }
        self.0.persist(&effects)
    }
}

type Body = Option<JsValue>;

impl Answer {
    fn load(&self) -> Result<(), JsValue> {
        let mut slot = self.log.borrow_mut();
        if slot.is_none() && !self.volatile.get() {
            *slot = Some(Log::load(super::object::rows(&self.storage)?));
        }
        Ok(())
    }

    fn with<T>(&self, step: impl FnOnce(&mut Log) -> T) -> T {
        step(self.log.borrow_mut().get_or_insert_default())
    }

    fn persist(&self, effects: &Effects) -> Result<(), JsValue> {
        if self.volatile.get() {
            return Ok(());
        }
        write_rows(&self.storage, effects)
    }

    // === commands ===

    async fn run(self: &Rc<Self>, run: Run) -> Result<(Told, Body), JsValue> {
        let (began, effects) = self.with(|log| log.begin(clock::now(), run.begin.clone()));
        let (owner, background) = (run.begin.owner.clone(), run.background);
        match began {
            Began::Conflict => return Ok((Told::Conflict, None)),
            Began::Attach => {}
            Began::Run => {
                self.persist(&effects)?;
                self.starts();
                let answer = Rc::clone(self);
                spawn_local(async move { answer.make(run).await });
            }
        }
        if background {
            return Ok((self.standing(&owner), None));
        }
        Ok(attached(began, self.answer(&owner, None).await))
    }

    fn starts(&self) {
        self.refused.take();
        self.stop.set(false);
        self.running.set(true);
    }

    async fn read(self: &Rc<Self>, owner: &str, after: Option<u64>) -> (Told, Body) {
        if !self.with(|log| log.is_stream()) {
            return (Told::NotFound, None);
        }
        self.answer(owner, after).await
    }

    /// Waits for the answer to begin and gives its head and body.
    async fn answer(self: &Rc<Self>, owner: &str, after: Option<u64>) -> (Told, Body) {
        self.enter();
        let told = self.begun(owner).await;
        let body = match &told {
            Told::Head { .. } if self.with(|log| log.is_stream()) => {
                let from = self.with(|log| log.position_after(after));
                let outlet = glue::outlet();
                let readable = outlet.readable();
                let answer = Rc::clone(self);
                spawn_local(async move {
                    answer.follow(&outlet, from).await;
                    answer.leave();
                });
                return (told, Some(readable));
            }
            Told::Head { .. } => {
                self.until_over().await;
                let bytes = self.with(|log| Uint8Array::from(log.read(0)));
                Some(bytes.into())
            }
            _ => None,
        };
        self.leave();
        (told, body)
    }

    async fn begun(&self, owner: &str) -> Told {
        loop {
            let seen = self.changes.count();
            let Some(status) = self.with(|log| log.status(clock::now(), owner)) else {
                return Told::NotFound;
            };
            if let Some(refused) = self.refused.borrow().clone() {
                return Told::Refused(Box::new(refused));
            }
            match (status, self.with(|log| log.answer_head().cloned())) {
                (_, Some(head)) => {
                    return Told::Head {
                        head,
                        attached: false,
                    };
                }
                (Status::Running, None) if self.running.get() => {
                    self.changes.next(seen).await;
                }
                (Status::Cancelled, None) => {
                    return told(&Refusal::new(Code::AnswerCancelled));
                }
                (_, None) => return told(&Refusal::new(Code::StreamLost)),
            }
        }
    }

    async fn until_over(&self) {
        while self.running.get() {
            let seen = self.changes.count();
            self.changes.next(seen).await;
        }
    }

    fn standing(&self, owner: &str) -> Told {
        self.with(|log| match log.status(clock::now(), owner) {
            None => Told::NotFound,
            Some(status) => Told::Standing(Box::new(Standing {
                status,
                created: log.created(),
                request: log.request().map(str::to_owned),
                stream: log.is_stream(),
                body: String::from_utf8_lossy(log.read(0)).into_owned(),
                error: log.error(),
            })),
        })
    }

    async fn cancel(&self, owner: &str) -> Told {
        if matches!(self.standing(owner), Told::NotFound) {
            return Told::NotFound;
        }
        self.stop();
        self.until_over().await;
        self.standing(owner)
    }

    async fn delete(&self, owner: &str) -> Result<Told, JsValue> {
        if let Told::NotFound = self.cancel(owner).await {
            return Ok(Told::NotFound);
        }
        self.log.take();
        JsFuture::from(glue::delete_everything(&self.storage)).await?;
        Ok(Told::Done)
    }

    fn stop(&self) {
        self.stop.set(true);
        self.changes.told();
    }

    // === the call ===

    /// Sees a call to its end.
    async fn make(self: &Rc<Self>, run: Run) {
        let began = clock::now();
        let (ttl, request_id) = (run.begin.ttl, run.begin.request_id.clone());
        let ended = match self.world(&run.tenant) {
            Ok(world) => stored::perform(&world, run, Making(Rc::clone(self))).await,
            Err(refusal) => Ended::Refused(refusal),
        };
        let (status, outcome) = match ended {
            Ended::Over(outcome) => {
                let status = match outcome.code {
                    _ if self.stop.get() => Status::Cancelled,
                    None => Status::Done,
                    Some(_) => Status::Failed,
                };
                (status, outcome)
            }
            Ended::Refused(refusal) => {
                self.refused.replace(Some(Refused::of(&refusal)));
                self.with(|log| log.fail(&refusal));
                let status = if self.stop.get() {
                    Status::Cancelled
                } else {
                    Status::Failed
                };
                (status, Outcome::of(&refusal))
            }
        };
        self.over(status, ttl);
        if let Ok(text) = serde_json::to_string(&line(&request_id, began, outcome)) {
            worker::console_log!("{text}");
        }
    }

    fn world(&self, tenant: &str) -> Result<World, Refusal> {
        World::new(self.env.clone().unchecked_into::<Env>())
            .map(|world| world.of_tenant(tenant))
            .map_err(|fault| Refusal::new(Code::SetupRequired).cause(fault.0))
    }

    fn over(&self, status: Status, ttl: Millis) {
        let effects = self.with(|log| log.end(clock::now(), status, ttl));
        if let Err(error) = self.persist(&effects) {
            worker::console_error!("stream: {}", glue::message(&error));
        }
        self.running.set(false);
        self.changes.told();
    }

    /// Writes what passed since the last time, if that is long enough ago.
    fn flush(&self) {
        let now = clock::now();
        if now.since(self.flushed.get()) < FLUSH_EVERY {
            return;
        }
        self.flushed.set(now);
        let effects = self.with(Log::flush);
        if let Err(error) = self.persist(&effects) {
            worker::console_error!("stream: {}", glue::message(&error));
        }
    }

    // === readers ===

    /// Gives a client everything from a position on, until the answer is over or the client has gone.
    async fn follow(&self, outlet: &glue::Outlet, mut at: usize) {
        let mut gone = pin!(JsFuture::from(outlet.gone()));
        loop {
            let seen = self.changes.count();
            let (piece, running) =
                self.with(|log| (Uint8Array::from(log.read(at)), self.running.get()));
            if piece.length() > 0 {
                at = at.saturating_add(piece.length() as usize);
                if JsFuture::from(glue::write_to(outlet, &piece))
                    .await
                    .is_err()
                {
                    return;
                }
                // The answer was over, so that this was the rest of it; meanwhile the log may hold another one.
                if !running {
                    let _ = JsFuture::from(glue::close_outlet(outlet)).await;
                    return;
                }
            } else if running {
                let mut change = pin!(self.changes.next(seen));
                let left = poll_fn(|context| {
                    if gone.as_mut().poll(context).is_ready() {
                        return Poll::Ready(true);
                    }
                    change.as_mut().poll(context).map(|()| false)
                })
                .await;
                if left {
                    return;
                }
            } else {
                let _ = JsFuture::from(glue::close_outlet(outlet)).await;
                return;
            }
        }
    }

    fn enter(&self) {
        self.readers.set(self.readers.get().saturating_add(1));
    }

    /// A reader less. An answer that nobody reads is stopped after its grace period.
    fn leave(self: &Rc<Self>) {
        self.readers.set(self.readers.get().saturating_sub(1));
        let grace = self.with(|log| log.grace());
        let Some(grace) = grace.filter(|_| self.readers.get() == 0 && self.running.get()) else {
            return;
        };
        let answer = Rc::clone(self);
        spawn_local(async move {
            clock::sleep(grace).await;
            if answer.readers.get() == 0 && answer.running.get() {
                answer.stop();
            }
        });
    }
}

/// The side of an answer that the call sees.
#[derive(Clone)]
struct Making(Rc<Answer>);

impl Stage for Making {
    fn head(&self, head: Head) {
        let effects = self.0.with(|log| log.head(head));
        if let Err(error) = self.0.persist(&effects) {
            worker::console_error!("stream: {}", glue::message(&error));
        }
        self.0.changes.told();
    }

    fn write(&self, bytes: Vec<u8>) {
        self.0.with(|log| log.append(&bytes));
        self.0.flush();
        self.0.changes.told();
    }

    fn stopped(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        let answer = Rc::clone(&self.0);
        Box::pin(async move {
            while !answer.stop.get() {
                let seen = answer.changes.count();
                answer.changes.next(seen).await;
            }
        })
    }
}

/// Tells everyone who waits that something changed.
#[derive(Default)]
struct Changes {
    count: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Changes {
    fn count(&self) -> u64 {
        self.count.get()
    }

    fn told(&self) {
        self.count.set(self.count.get().wrapping_add(1));
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Resolves once there was a change since `seen`.
    async fn next(&self, seen: u64) {
        poll_fn(|context| {
            if self.count.get() != seen {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Marks an answer that another call makes or made.
fn attached(began: Began, (told, body): (Told, Body)) -> (Told, Body) {
    match told {
        Told::Head { head, .. } => {
            let attached = began == Began::Attach;
            (Told::Head { head, attached }, body)
        }
        other => (other, body),
    }
}

fn told(refusal: &Refusal) -> Told {
    Told::Refused(Box::new(Refused::of(refusal)))
}

/// The call's own log line: the request's line was written when its client left.
fn line(request_id: &str, began: Millis, outcome: Outcome) -> LogLine {
    let now = clock::now();
    let severity = outcome.code.map(|code| code.entry().severity.as_str());
    LogLine {
        level: severity.unwrap_or("info"),
        time: now.rfc3339(),
        request_id: request_id.to_owned(),
        method: "CALL".to_owned(),
        route: "stream",
        principal: "object",
        code: outcome.code.map(|code| code.entry().code),
        cause: outcome.cause.filter(|cause| !cause.is_empty()),
        alias: outcome.alias,
        target: outcome.target,
        cache: outcome.cache,
        stream: outcome.stream,
        ms_total: now.since(began).0,
        tokens_in: outcome.tokens_in,
        tokens_out: outcome.tokens_out,
        tokens_estimated: outcome.tokens_estimated,
        cost_micros: outcome.cost_micros,
        attempts: outcome.attempts,
        ..LogLine::default()
    }
}

fn js_error(error: &dyn std::fmt::Display) -> JsValue {
    JsValue::from_str(&error.to_string())
}
