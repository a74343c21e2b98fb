//! A chat call of providers: driven, judged, delivered, settled.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::accounts::{Reserved, reserve};
use super::drive::{Drive, RelayVerdict, Sink, Stopped, code_at, refusal_of_break, verdict};
use super::gate::Caller;
use super::health::Health;
use super::job::{Job, Wants};
use super::kept::{Slot, word};
use super::port::{Port, RelayDeadlines, RelayEnd};
use super::render::{Form, Rendering, envelope, rendered, stream_head};
use super::reply::{After, Body, Outcome, Reply};
use crate::base::errors::{Code, Refusal, Spent};
use crate::base::time::Millis;
use crate::domain::answer::split_for_stream;
use crate::domain::cache::{Entry, Kept};
use crate::domain::llm::Protocol;
use crate::domain::llm::bound::{self, bound};
use crate::domain::llm::dialect;
use crate::domain::llm::dialect::responses::echo::Echo;
use crate::domain::llm::engine::{Deadlines, End, Plan, Retry};
use crate::domain::llm::message::{Answer, Finish, Usage};
use crate::domain::llm::normal::conversation::Part;
use crate::domain::llm::normal::event::Envelope;
use crate::domain::llm::normal::whole::Whole;
use crate::domain::llm::plan::Candidate;
use crate::domain::llm::render::error_event;
use crate::domain::llm::stream::delivery::{Delivery, Options, full_id};
use crate::domain::llm::stream::inlet::Inlet;
use crate::domain::settings::Settings;
use crate::domain::settings::config::{Alias, LimitClass};

/// What a caller wants of a call beyond the request itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// Our id of the answer, without prefix.
    pub id: String,
    /// Number the events, so that a client can attach again.
    pub numbered: bool,
    /// Append a comment with cost and counts behind the end of a stream.
    pub trailer: bool,
    /// First token within that many milliseconds, where that is sooner than the alias says.
    pub first_token_ms: Option<u64>,
    /// Everything within that many milliseconds, where that is sooner than the alias says.
    pub total_ms: Option<u64>,
}

/// How long after a call's last deadline its reservation stays open: room for a slow settlement.
pub const SETTLE_WITHIN: Millis = Millis::from_secs(60);

/// One chat call: all that outlives the request.
pub struct Call<P: Port> {
    /// The world.
    pub port: P,
    /// Who asks.
    pub caller: Caller,
    /// How the caller wants the answer.
    pub form: Form,
    /// And what else.
    pub wishes: Wishes,
    /// The alias.
    pub alias: String,
    /// Who can answer.
    pub candidates: Rc<[Candidate]>,
    /// Why they stand in this order, where that was chosen.
    pub choice: Option<String>,
    /// What shrinking the request saved, where it was shrunk.
    pub saved: Option<String>,
    /// Our count of the input.
    pub input_tokens: u64,
    /// The schema that a whole answer must follow, where the alias holds it to that.
    pub schema: Option<serde_json::Value>,
    /// Where the answer is kept, if it may be.
    pub slot: Option<Slot>,
    /// What a response repeats of its request.
    pub echo: Option<Echo>,
    /// The provider is told more than the caller said, and would repeat it: the alias's own instructions.
    pub instructed: bool,
}

/// A whole answer: bytes, headers that tell about it, and what the log line says.
pub type WholeBody = (Vec<u8>, Vec<(&'static str, String)>, Outcome);

/// How far a call came before anything was delivered.
pub enum Begun<P: Port> {
    /// An answer can be delivered.
    Committed(Box<Drive<P>>),
    /// None can: the refusal, and the settled books.
    Failed(Refusal, Box<Drive<P>>),
    /// Nobody was asked: the call would cost more than there is.
    Refused(Refusal),
}

impl<P: Port> Call<P> {
    /// The same call once more, without what only one may have.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            port: self.port.clone(),
            caller: self.caller.clone(),
            form: self.form,
            wishes: self.wishes.clone(),
            alias: self.alias.clone(),
            candidates: Rc::from([]),
            choice: None,
            saved: None,
            input_tokens: self.input_tokens,
            schema: None,
            slot: self.slot.as_ref().map(|slot| Slot::of(slot.key(), false)),
            echo: self.echo.clone(),
            instructed: self.instructed,
        }
    }

    /// A kept answer.
    pub async fn look_up(&self) -> Option<Reply<P>> {
        let entry = self.slot.as_ref()?.look_up(&self.port).await?;
        self.kept(&entry, "hit")
    }

    /// An answer that was kept once and is older than it should be.
    pub async fn look_up_stale(&self) -> Option<Reply<P>> {
        let entry = self.slot.as_ref()?.look_up_stale(&self.port).await?;
        self.kept(&entry, "stale")
    }

    /// A kept answer as a reply, with the word of `X-Cache`.
    pub fn kept(&self, entry: &Entry, word: &'static str) -> Option<Reply<P>> {
        let Kept::Answer(answer) = &entry.kept else {
            return None;
        };
        let age = self.port.now().since(entry.stored);
        let pieces = split_for_stream(&answer.text);
        let rendering = Rendering {
            form: self.form,
            wishes: &self.wishes,
            echo: self.echo.clone(),
            builtin: false,
        };
        let mut reply = rendered(&self.port, rendering, answer, &pieces)
            .header("x-cache", word)
            .header("age", age.secs().to_string())
            .header("x-gatehouse-target", entry.target.clone())
            .header("x-gatehouse-attempts", "0");
        reply.outcome = Outcome {
            alias: Some(self.alias.clone()),
            target: Some(entry.target.clone()),
            tokens_in: Some(0),
            tokens_out: Some(0),
            cache: Some(word),
            stream: Some(self.form.stream),
            ..Outcome::default()
        };
        Some(reply)
    }

    /// Drives the chain until an answer can be delivered, or none can, or `stopped` says that none is wanted.
    pub async fn begin(&self, inspected: bool, stopped: Option<Stopped>) -> Begun<P> {
        let mut drive = match self.drive(inspected).await {
            Ok(drive) => Box::new(drive),
            Err(refusal) => return Begun::Refused(refusal),
        };
        if self.form.stream {
            drive.until_committed(stopped).await;
        } else {
            drive.until_over(stopped).await;
        }
        match drive.end().cloned() {
            Some(End::Failed {
                failure,
                target,
                wait,
            }) => Begun::Failed(drive.refusal(failure, target, wait), drive),
            Some(End::ClientGone) => Begun::Failed(Refusal::new(Code::AnswerCancelled), drive),
            _ => Begun::Committed(drive),
        }
    }

    async fn drive(&self, inspected: bool) -> Result<Drive<P>, Refusal> {
        let settings = self.port.settings();
        let config = settings.alias(&self.alias).map(|alias| &alias.config);
        let reserved = self.reserve(config).await?;
        let health = Health::consult(&self.port, &self.candidates, config, &self.caller).await;
        let rescue = config.is_some_and(|alias| alias.rescue) && self.form.stream;
        let path = path(self, inspected, rescue);
        let job = Job {
            alias: self.alias.clone(),
            request_id: self.caller.request_id.clone(),
            schema: self.schema.clone(),
            wants: Wants::Chat {
                protocol: self.form.protocol,
                stream: self.form.stream,
            },
            candidates: Rc::clone(&self.candidates),
            input_tokens: self.input_tokens,
            native: path == Path::Native,
            max_bytes: inspected.then_some(settings.config.streams.max_bytes),
            keep: self.slot.is_some(),
        };
        let delivery = Delivery::new(
            Options {
                protocol: self.form.protocol,
                hide_usage: self.form.protocol == Protocol::Chat && !self.form.include_usage,
                numbered: self.wishes.numbered,
                keep: rescue || self.slot.is_some() || self.wishes.numbered,
            },
            self.envelope(),
        )
        .echoing(self.echo());
        let plan = Plan {
            targets: health.targets(&self.candidates),
            retry: retry(settings, config),
            deadlines: deadlines(settings, config, &self.wishes, self.form.stream),
            rescue,
            hedge: config.is_some_and(|alias| alias.hedge) && self.candidates.len() > 1,
        };
        Ok(Drive::begin(
            &self.port, job, plan, health, delivery, reserved,
        ))
    }

    /// Reserves the most that the call can take, in every account that it concerns.
    async fn reserve(&self, config: Option<&Alias>) -> Result<Reserved, Refusal> {
        let settings = self.port.settings();
        let attempts = retry(settings, config).attempts;
        let rescue = config.is_some_and(|alias| alias.rescue) && self.form.stream;
        let most = || {
            bound(
                &settings.config.prices,
                &self.candidates,
                bound::Call::Chat { rescue },
                attempts,
                self.port.now(),
            )
        };
        let total = deadlines(settings, config, &self.wishes, self.form.stream).total;
        reserve(
            &self.port,
            &self.caller.payer,
            &self.alias,
            LimitClass::Chat,
            most,
            total.plus(SETTLE_WITHIN),
        )
        .await
    }

    /// What the response repeats of its request: whatever it was to be, only a numbered answer is stored.
    fn echo(&self) -> Option<Echo> {
        let echo = self.echo.clone();
        echo.map(|echo| echo.where_stored(self.wishes.numbered))
    }

    fn envelope(&self) -> Envelope {
        envelope(&self.port, self.form, &self.wishes.id, self.input_tokens)
    }

    /// Asks, and makes the reply to the client.
    ///
    /// # Errors
    /// What is known before anything was delivered; what comes later ends the stream with an error event.
    pub async fn ask(self) -> Result<Reply<P>, Refusal> {
        match self.begin(false, None).await {
            Begun::Refused(refusal) => Err(refusal),
            Begun::Failed(refusal, drive) => Err(refused(refusal, drive).await),
            Begun::Committed(drive) if !self.form.stream => self.whole(drive),
            Begun::Committed(drive) if drive.job.native => Ok(self.relay(drive)),
            Begun::Committed(drive) => Ok(self.stream(drive)),
        }
    }

    /// A whole answer as a reply; what is left is done after it has gone.
    fn whole(self, mut drive: Box<Drive<P>>) -> Result<Reply<P>, Refusal> {
        let answer = self
            .slot
            .as_ref()
            .and_then(|_| drive.whole()?.whole.as_ref().and_then(plain));
        let (bytes, headers, outcome) = self.whole_body(&mut drive)?;
        let mut reply = Reply::json(200, bytes).headers(headers);
        reply.outcome = outcome.clone();
        reply.after = Some(Box::pin(async move {
            if let Some(answer) = answer {
                self.keep(&drive, answer).await;
            }
            drive.settle().await;
            outcome
        }));
        Ok(reply)
    }

    /// A whole answer's body and headers: as it came where the provider speaks the caller's protocol, written anew
    /// where it does not. A stored answer carries our own id.
    ///
    /// # Errors
    /// Nothing was committed, which the engine does not allow.
    pub fn whole_body(&self, drive: &mut Drive<P>) -> Result<WholeBody, Refusal> {
        let body = drive.whole();
        let (Some(body), Some(protocol)) = (body, self.protocol_of(drive)) else {
            return Err(Refusal::new(Code::Internal).cause("no answer was committed"));
        };
        let foreign = protocol == self.form.protocol;
        let written = match &body.whole {
            Some(whole) if !foreign => {
                let written = dialect::write_whole(self.form.protocol, whole, &self.envelope());
                Some(written)
            }
            // Another id, and where it is stored; or instructions that are nobody's business.
            _ if self.wishes.numbered || self.instructed => {
                serde_json::from_slice(&body.bytes).ok()
            }
            _ => None,
        };
        let bytes = match written {
            Some(Value::Object(mut written)) => {
                if self.wishes.numbered {
                    let id = full_id(self.form.protocol, &self.wishes.id);
                    written.insert("id".into(), id.into());
                }
                if let Some(echo) = self.echo() {
                    echo.put(&mut written, foreign);
                }
                Value::Object(written).to_string().into_bytes()
            }
            _ => body.bytes.clone(),
        };
        let outcome = self.outcome(drive);
        let mut headers = self.headers(drive);
        headers.extend(cost_headers(&outcome));
        Ok((bytes, headers, outcome))
    }

    /// What is left to do for a whole answer that was recorded.
    pub async fn finish_whole(&self, mut drive: Box<Drive<P>>) {
        if let Some(answer) = drive
            .whole()
            .and_then(|body| body.whole.as_ref().and_then(plain))
        {
            self.keep(&drive, answer).await;
        }
        drive.settle().await;
    }

    /// A streamed answer that passes natively, watched on the side.
    fn relay(self, mut drive: Box<Drive<P>>) -> Reply<P> {
        let headers = self.headers(&drive);
        let Some((call, inlet)) = drive.hand_over() else {
            return Reply::status(502);
        };
        let deadlines = drive.deadlines_left();
        let (protocol, request_id) = (self.form.protocol, self.caller.request_id.clone());
        let trailer = self.wishes.trailer.then(|| drive.trailer_of_relay());
        let closing = Box::new(
            move |end: RelayEnd, inlet: &Inlet| match verdict(end, inlet) {
                // An error that came inside the stream has reached the client already.
                RelayVerdict::Broken(how) if inlet.seen().failed.is_none() => {
                    let refusal = refusal_of_break(how);
                    Some(error_event(
                        protocol,
                        &refusal,
                        &request_id,
                        inlet.seen().events,
                        inlet.inside_event(),
                    ))
                }
                RelayVerdict::Whole => {
                    // Its last event may lack the blank line.
                    let open = inlet.inside_event();
                    let mut last = if open { b"\n\n".to_vec() } else { Vec::new() };
                    last.extend(trailer.into_iter().flat_map(|trailer| trailer(inlet)));
                    (!last.is_empty()).then_some(last)
                }
                _ => None,
            },
        );
        let deadlines = RelayDeadlines {
            idle: deadlines.0,
            total: deadlines.1,
        };
        let (stream, done) = self.port.relay(&call, inlet, deadlines, closing);
        let mut reply = stream_head(Reply::status(200)).headers(headers);
        reply.body = Body::Stream(stream);
        let after: After = Box::pin(async move {
            let (end, inlet) = done.await;
            let answer = inlet.finished().and_then(plain);
            drive.relayed(end, inlet);
            if let Some(answer) = answer {
                self.keep(&drive, answer).await;
            }
            drive.settle().await;
            self.outcome(&drive)
        });
        reply.after = Some(after);
        reply
    }

    /// A streamed answer that is inspected on its way.
    fn stream(self, mut drive: Box<Drive<P>>) -> Reply<P> {
        let mut reply = stream_head(Reply::status(200)).headers(self.headers(&drive));
        let (outlet, body) = self.port.outlet();
        reply.body = Body::Stream(body);
        let after: After = Box::pin(async move {
            let (port, watched) = (self.port.clone(), outlet.clone());
            let sink = Sink::Client {
                outlet,
                gone: Box::pin(async move { port.gone(&watched).await }),
            };
            drive
                .run(sink, |drive, end| self.last_words(drive, end))
                .await;
            self.settled(drive).await
        });
        reply.after = Some(after);
        reply
    }

    /// Runs a committed stream into a record.
    pub async fn record(&self, mut drive: Box<Drive<P>>, sink: Sink<P>) -> Outcome {
        drive
            .run(sink, |drive, end| self.last_words(drive, end))
            .await;
        self.settled(drive).await
    }

    async fn settled(&self, mut drive: Box<Drive<P>>) -> Outcome {
        if let Some(answer) = drive.delivery().finished().and_then(plain) {
            self.keep(&drive, answer).await;
        }
        drive.settle().await;
        self.outcome(&drive)
    }

    /// What stands at the end of an inspected stream: an error in the caller's dialect, the trailer, or nothing.
    fn last_words(&self, drive: &mut Drive<P>, end: &End) -> Vec<u8> {
        let mut out = Vec::new();
        match end {
            End::Cut { how } => {
                let refusal = refusal_of_break(*how);
                drive
                    .delivery()
                    .error(&refusal, &self.caller.request_id, &mut out);
            }
            End::ClientGone if self.wishes.numbered => {
                let refusal = Refusal::new(Code::AnswerCancelled);
                drive
                    .delivery()
                    .error(&refusal, &self.caller.request_id, &mut out);
            }
            End::Delivered { .. } if self.wishes.trailer => out.extend(drive.trailer()),
            _ => {}
        }
        out
    }

    fn protocol_of(&self, drive: &Drive<P>) -> Option<Protocol> {
        let target = drive.target()?;
        Some(self.candidates.get(target)?.protocol)
    }

    /// Headers that tell who answered and how that came about.
    pub fn headers(&self, drive: &Drive<P>) -> Vec<(&'static str, String)> {
        let candidate = drive
            .target()
            .and_then(|target| self.candidates.get(target));
        let mut headers = vec![
            ("x-cache", word(self.slot.as_ref()).to_owned()),
            ("x-gatehouse-attempts", drive.total().attempts.to_string()),
        ];
        if let Some(candidate) = candidate {
            headers.push(("x-gatehouse-target", candidate.name()));
            if !candidate.dropped.is_empty() {
                headers.push(("x-gatehouse-dropped", listed(&candidate.dropped)));
            }
        }
        if let Some(choice) = &self.choice {
            headers.push(("x-gatehouse-choice", choice.clone()));
        }
        if let Some(saved) = &self.saved {
            headers.push(("x-gatehouse-saved", saved.clone()));
        }
        if self.wishes.numbered {
            let id = full_id(self.form.protocol, &self.wishes.id);
            headers.push(("x-gatehouse-response-id", id));
        }
        headers.extend(drive.limits());
        headers
    }

    async fn keep(&self, drive: &Drive<P>, answer: Answer) {
        let candidate = drive
            .target()
            .and_then(|target| self.candidates.get(target));
        if let (Some(slot), Some(candidate)) = (&self.slot, candidate) {
            slot.keep(
                &self.port,
                &self.caller,
                candidate.name(),
                Kept::Answer(answer),
            )
            .await;
        }
    }

    /// What the log line says of the call.
    pub fn outcome(&self, drive: &Drive<P>) -> Outcome {
        let total = drive.total();
        let candidate = drive
            .target()
            .and_then(|target| self.candidates.get(target));
        Outcome {
            code: drive.end().and_then(code_at),
            cause: drive.end().map(|end| cause(end).to_owned()),
            alias: Some(self.alias.clone()),
            target: candidate.map(Candidate::name),
            cache: Some(word(self.slot.as_ref())),
            stream: Some(self.form.stream),
            tokens_in: Some(total.usage.input),
            tokens_out: Some(total.usage.output),
            tokens_estimated: total.usage.estimated,
            cost_micros: total.cost.map(|cost| cost.0),
            attempts: Some(total.attempts),
        }
    }
}

/// The alias's rules for retries, or the general ones.
#[must_use]
pub fn retry(settings: &Settings, alias: Option<&Alias>) -> Retry {
    let general = &settings.config.retry;
    let retry = alias
        .and_then(|alias| alias.retry.as_ref())
        .unwrap_or(general);
    Retry {
        attempts_per_target: retry.attempts_per_target,
        attempts: retry.attempts,
        budget: Millis(retry.budget_ms),
        base: Millis(retry.base_ms),
        max: Millis(retry.max_ms),
        max_retry_after: Millis(retry.max_retry_after_ms),
    }
}

/// The alias's deadlines; the caller may lower them. An answer that is not streamed shows nothing before its end.
#[must_use]
pub fn deadlines(
    settings: &Settings,
    alias: Option<&Alias>,
    wishes: &Wishes,
    stream: bool,
) -> Deadlines {
    let own = alias.map_or(settings.config.deadlines, |alias| settings.deadlines(alias));
    let lower = |own: u64, asked: Option<u64>| Millis(asked.unwrap_or(own).clamp(1, own));
    let first = if stream {
        own.first_token_ms
    } else {
        own.whole_ms.unwrap_or(own.first_token_ms)
    };
    Deadlines {
        first_token: lower(first, wishes.first_token_ms),
        own_first_token: Millis(first),
        adaptive_floor: own.adaptive_floor_ms.filter(|_| stream).map(Millis),
        idle: Millis(own.idle_ms),
        total: lower(own.total_ms, wishes.total_ms),
    }
}

/// A refusal that tells how much was tried; the breakers learn of it first.
pub async fn refused<P: Port>(refusal: Refusal, mut drive: Box<Drive<P>>) -> Refusal {
    let total = drive.total();
    let last = drive.last_target();
    drive.settle().await;
    let mut headers = vec![("x-gatehouse-attempts", total.attempts.to_string())];
    let spent = Spent {
        alias: drive.job.alias.clone(),
        target: last,
        tokens_in: total.usage.input,
        tokens_out: total.usage.output,
        tokens_estimated: total.usage.estimated,
        cost_micros: total.cost.map(|cost| cost.0),
        attempts: total.attempts,
    };
    let refusal = refusal.spent(spent);
    // What was refused at once cost nothing and says nothing of it.
    if total.usage != Usage::default() {
        headers.extend(cost_headers(&Outcome::of(&refusal)));
    }
    refusal.headers(headers)
}

/// Which way a stream takes. Decided here and nowhere else.
///
/// | path | when |
/// |---|---|
/// | native | the provider speaks the caller's protocol and nothing of its stream must be changed or be ready to be continued |
/// | inspected | another protocol; a usage chunk that the caller did not ask for; the alias's own instructions, which a response would repeat; `rescue`; a stored stream; several protocols in the chain |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Native,
    Inspected,
}

fn path<P: Port>(call: &Call<P>, inspected: bool, rescue: bool) -> Path {
    let protocol = call.form.protocol;
    let foreign = call.candidates.iter().any(|c| c.protocol != protocol);
    let hidden = call.instructed || protocol == Protocol::Chat && !call.form.include_usage;
    if !call.form.stream || inspected || rescue || foreign || hidden || call.wishes.numbered {
        Path::Inspected
    } else {
        Path::Native
    }
}

/// The answer as the cache keeps it: one plain text that ended by itself.
fn plain(whole: &Whole) -> Option<Answer> {
    let [Part::Text { text, .. }] = whole.parts.as_slice() else {
        return None;
    };
    (whole.finish == Some(Finish::Stop)).then(|| Answer {
        model: whole.model.clone(),
        text: text.clone(),
        finish: Finish::Stop,
        usage: whole.usage.unwrap_or_default(),
    })
}

/// Most names that a header tells, and their longest.
const MAX_LISTED: usize = 30;
const MAX_NAME_CHARS: usize = 100;

/// Names of parameters in a header: they may be the caller's own invention.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MAX_LISTED);
    let mut list: Vec<String> = shown
        .map(|name| name.chars().take(MAX_NAME_CHARS).collect())
        .collect();
    if let Some(more) = names.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
        list.push(format!("and {more} more"));
    }
    list.join(", ")
}

/// Counts and cost, for replies that are not streamed.
#[must_use]
pub fn cost_headers(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let count = |name, value: Option<u64>| value.map(|value| (name, value.to_string()));
    let estimated = outcome.tokens_estimated.then(|| {
        let told = "x-gatehouse-tokens-estimated";
        (told, "true".to_owned())
    });
    let cost = outcome.cost_micros.map(|micros| {
        let cost = crate::domain::llm::price::Micros(micros);
        ("x-gatehouse-cost-usd", cost.to_string())
    });
    [
        count("x-gatehouse-tokens-in", outcome.tokens_in),
        count("x-gatehouse-tokens-out", outcome.tokens_out),
        estimated,
        cost,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How a call ended, for the log.
const fn cause(end: &End) -> &'static str {
    match end {
        End::Delivered { .. } => "",
        End::ClientGone => "the client went away",
        End::Failed { .. } => "no target answered",
        End::Cut { .. } => "the answer broke after it had begun",
    }
}
