//! The object's side: the story of a call that runs in it.

use serde_json::Value;

use super::command::{ChatWork, Run, Standing, Work};
use super::recorder::Recorder;
use crate::app::call::{Begun, Call, refused};
use crate::app::chat::{builtin, call_of, planned};
use crate::app::drive::{Sink, Stopped};
use crate::app::gate::Caller;
use crate::app::house::current;
use crate::app::kept::Slot;
use crate::app::memory::turn;
use crate::app::port::Port;
use crate::app::raw::{self, RawCall};
use crate::app::reply::{Body, Outcome, Reply};
use crate::app::standing;
use crate::base::errors::Refusal;
use crate::domain::identity::Principal;
use crate::domain::llm::plan::{Answerer, find_alias};
use crate::domain::llm::request::{Belongs, ChatRequest, chat_request};
use crate::domain::llm::stream::log;

/// What the object's shell does for a call that runs in it.
pub trait Stage {
    /// The answer begins.
    fn head(&self, head: log::Head);
    /// More of it.
    fn write(&self, bytes: Vec<u8>);
    /// Resolves when it is wanted no more.
    fn stopped(&self) -> Stopped;
}

/// How a call in an object ended.
pub enum Ended {
    /// Whole or not, as the outcome says.
    Over(Outcome),
    /// Nothing could be made.
    Refused(Refusal),
}

/// Runs a call in its object.
pub async fn perform<P: Port, S: Stage + Clone + 'static>(port: &P, run: Run, stage: S) -> Ended {
    let port = match current(port).await {
        Ok(port) => port,
        Err(refusal) => return Ended::Refused(refusal),
    };
    let caller = Caller {
        principal: Principal::Anonymous,
        payer: run.payer,
        network: String::new(),
        client: String::new(),
        country: None,
        request_id: run.begin.request_id,
    };
    match run.work {
        Work::Chat(work) => match &work.belongs {
            None => perform_chat(&port, &work, caller, stage).await,
            Some(belongs) => {
                let recorder = Recorder::before(stage);
                let ended = perform_chat(&port, &work, caller, recorder.clone()).await;
                let ended = kept(&port, &work, belongs, &recorder, ended).await;
                recorder.release();
                ended
            }
        },
        Work::Raw(call) => perform_raw(&port, &call, &caller, &stage).await,
    }
}

async fn perform_chat<P: Port, S: Stage + Clone + 'static>(
    port: &P,
    work: &ChatWork,
    caller: Caller,
    stage: S,
) -> Ended {
    let call = match prepare(port, work, caller) {
        Ok(Prepared::Providers(call)) => call,
        Ok(Prepared::Builtin(request)) => {
            return match builtin(port, work.chinese, &request, &work.wishes).await {
                Ok(reply) => at_once(reply, &stage),
                Err(refusal) => Ended::Refused(refusal),
            };
        }
        Err(refusal) => return Ended::Refused(refusal),
    };
    if let Some(kept) = call.look_up().await {
        return at_once(kept, &stage);
    }
    match call.begin(true, Some(stage.stopped())).await {
        Begun::Refused(refusal) => Ended::Refused(refusal),
        Begun::Failed(refusal, drive) => Ended::Refused(refused(refusal, drive).await),
        Begun::Committed(mut drive) => {
            let owned = |headers: Vec<(&'static str, String)>| {
                headers
                    .into_iter()
                    .map(|(n, v)| (n.to_owned(), v))
                    .collect()
            };
            if !call.form.stream {
                return match call.whole_body(&mut drive) {
                    Ok((bytes, headers, outcome)) => {
                        stage.head(log::Head {
                            status: 200,
                            headers: owned(headers),
                        });
                        stage.write(bytes);
                        call.finish_whole(drive).await;
                        Ended::Over(outcome)
                    }
                    Err(refusal) => Ended::Refused(refusal),
                };
            }
            stage.head(log::Head {
                status: 200,
                headers: owned(call.headers(&drive)),
            });
            let writing = stage.clone();
            let sink = Sink::Record {
                write: Box::new(move |bytes| writing.write(bytes)),
                stopped: stage.stopped(),
            };
            Ended::Over(call.record(drive, sink).await)
        }
    }
}

/// Adds a whole answer to its conversation. Where that fails the answer is given all the same, and the log says why.
async fn kept<P: Port, S: Stage>(
    port: &P,
    work: &ChatWork,
    belongs: &Belongs,
    recorder: &Recorder<S>,
    ended: Ended,
) -> Ended {
    let mut outcome = match ended {
        Ended::Over(outcome) if outcome.code.is_none() => outcome,
        other => return other,
    };
    let standing = Standing {
        status: log::Status::Done,
        created: port.now(),
        request: None,
        stream: work.body.get("stream").and_then(Value::as_bool) == Some(true),
        body: recorder.text(),
        error: None,
    };
    let told = standing::body(work.protocol, &work.wishes.id, &standing);
    let output = match told.map(|mut told| told.get_mut("output").map(Value::take)) {
        Ok(Some(Value::Array(output))) => output,
        _ => {
            outcome.cause = Some("the answer could not be read for its conversation".to_owned());
            return Ended::Over(outcome);
        }
    };
    let input = turn::input_items(work.body.get("input").cloned());
    let own = input.into_iter().skip(belongs.earlier).collect();
    if let Err(refusal) = turn::keep(port, belongs, &work.wishes.id, own, output).await {
        let code = refusal.code.entry().code;
        let cause = refusal.cause.or(refusal.detail).unwrap_or_default();
        outcome.cause = Some(format!("not added to its conversation: {code}: {cause}"));
    }
    Ended::Over(outcome)
}

async fn perform_raw<P: Port, S: Stage>(
    port: &P,
    call: &RawCall,
    caller: &Caller,
    stage: &S,
) -> Ended {
    let asked = match find_alias(port.settings(), &call.alias) {
        Ok(alias) => raw::ask(port, caller, alias, call).await,
        Err(refusal) => Err(refusal),
    };
    match asked {
        Err(refusal) => Ended::Refused(refusal),
        Ok(raw) => {
            let kind = ("content-type".to_owned(), raw::content_type(&raw));
            let told = raw
                .headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.clone()));
            stage.head(log::Head {
                status: 200,
                headers: core::iter::once(kind).chain(told).collect(),
            });
            stage.write(raw.bytes);
            let mut drive = raw.drive;
            drive.settle().await;
            Ended::Over(raw.outcome)
        }
    }
}

/// An answer of which all is there.
fn at_once<P: Port>(reply: Reply<P>, stage: &impl Stage) -> Ended {
    let headers = reply.headers.into_iter();
    stage.head(log::Head {
        status: reply.status,
        headers: headers.map(|(n, v)| (n.to_owned(), v)).collect(),
    });
    if let Body::Bytes(bytes) = reply.body {
        stage.write(bytes);
    }
    Ended::Over(reply.outcome)
}

/// Who answers a call.
enum Prepared<P: Port> {
    Providers(Box<Call<P>>),
    Builtin(Box<ChatRequest>),
}

/// The call as it was planned on the worker's side.
fn prepare<P: Port>(port: &P, work: &ChatWork, caller: Caller) -> Result<Prepared<P>, Refusal> {
    let mut request = chat_request(work.body.clone(), work.protocol)?;
    request.previous.clone_from(&work.previous);
    request.belongs.clone_from(&work.belongs);
    request.memories.clone_from(&work.memories);
    request.passages.clone_from(&work.passages);
    let settings = port.settings();
    let alias = find_alias(settings, &request.alias)?;
    let plan = planned(port, alias, &request, work.prefer.as_deref())?;
    let Answerer::Providers(candidates) = plan.answerer else {
        return Ok(Prepared::Builtin(Box::new(request)));
    };
    let caller = Caller {
        network: work.network.clone(),
        client: work.client.clone(),
        ..caller
    };
    let mut call = call_of(port, &caller, alias, &request, candidates);
    call.choice = plan.choice;
    call.saved = plan.saved;
    call.wishes = work.wishes.clone();
    let slot = work.slot.clone();
    call.slot = slot.map(|key| Slot::of(key, work.look_up));
    Ok(Prepared::Providers(Box::new(call)))
}
