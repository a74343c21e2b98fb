//! What belongs on record of an API key's use: the first of each secret and public key, one after a long time, and what
//! is refused in its name.
//!
//! The key's record decides ([`Note`]) and stores the event with what it changes. From there it is brought to the log
//! after the answer. What fails is tried again by the key's next use, and by the cron.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use serde_json::Value;

use super::audit::{Event, drain_of};
use super::gate::Caller;
use super::objects::{KEYS, ask, key_object, offered};
use super::port::{Class, Port};
use super::reply::Reply;
use crate::base::errors::Code;
use crate::base::time::Millis;
use crate::domain::audit::entry::{Action, Actor, Entry};
use crate::domain::identity::key_record::{Command, IndexCommand, KeyIndex, KeyRecord, Note, Why};

/// What is left to do once an answer is on its way.
#[derive(Debug)]
pub enum Due {
    /// Events wait in the object of that key.
    Waits(String),
    /// A signature in the name of that key was refused; its record is offered the event.
    Refused(String, Box<Event>),
}

/// The event that a key's record is offered with a check: as it is, somebody unknown was refused with that code.
#[must_use]
pub fn offer<P: Port>(port: &P, caller: &Caller, id: &str, code: Code) -> Event {
    Event::new(port, Action::AuthRefuse)
        .by(Actor::Unknown, id)
        .known_as("from", &caller.client)
        .target("key")
        .about(id)
        .request(&caller.request_id)
        .refused(code)
}

/// The event that was offered, as what the record noted.
#[must_use]
pub fn on_record(offered: &str, note: &Note) -> String {
    // One that cannot be read is recorded as such.
    let Ok(mut entry) = serde_json::from_str::<Entry>(offered) else {
        return offered.to_owned();
    };
    let mut details: Vec<(&str, String)> = Vec::new();
    match note {
        Note::Use {
            first,
            kid,
            last_used,
        } => {
            entry.actor = Actor::Key;
            entry.refused = None;
            entry.action = if *first {
                Action::KeyFirstUse
            } else {
                Action::KeyDormantUse
            };
            let shown = if kid.is_some() { "signature" } else { "secret" };
            details.push(("credential", shown.to_owned()));
            details.extend(kid.iter().map(|kid| ("kid", kid.clone())));
            details.extend(last_used.map(|last| ("last_used", Millis::rfc3339(last))));
        }
        Note::Refused { why, left_out } => {
            if why.is_holder() {
                entry.actor = Actor::Key;
            }
            if *why == Why::Replayed {
                entry.refused = Some(Code::ReplayedRequest.entry().code.to_owned());
            }
            details.push(("reason", why.name().to_owned()));
            if *left_out > 0 {
                details.push(("left_out", left_out.to_string()));
            }
        }
    }
    if let Some(what) = &mut entry.what {
        for (name, value) in details {
            what.fields.insert(name.to_owned(), Value::from(value));
        }
    }
    entry.to_event()
}

/// Sees to it that what is due is done after the answer, beside what is left of it.
pub fn delivered<P: Port>(port: &P, mut reply: Reply<P>) -> Reply<P> {
    let due = port.known(|known| core::mem::take(&mut known.due));
    if due.is_empty() {
        return reply;
    }
    let port = port.clone();
    let deliver = async move {
        for due in due {
            deliver(&port, due).await;
        }
    };
    reply.after = Some(match reply.after.take() {
        Some(after) => Box::pin(beside(after, deliver)),
        None => {
            let outcome = reply.outcome.clone();
            Box::pin(async move {
                deliver.await;
                outcome
            })
        }
    });
    reply
}

async fn deliver<P: Port>(port: &P, due: Due) {
    let id = match due {
        Due::Waits(id) => id,
        Due::Refused(id, event) => {
            let name = key_object(&id);
            let command = Command::RefuseSignature;
            let event = event.outbox();
            match offered::<KeyRecord>(port, Class::Ledger, &name, command, event).await {
                Ok((_, true)) => id,
                _ => return,
            }
        }
    };
    // The list first: the cron then knows where to look if this ends here.
    let command = IndexCommand::Wait { id: id.clone() };
    let _ = ask::<KeyIndex>(port, Class::Directory, KEYS, command).await;
    let _ = drain_of(port, Class::Ledger, &key_object(&id)).await;
}

/// Both, side by side; the value of the first.
async fn beside<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> T {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut value, mut done) = (None, false);
    poll_fn(|context| {
        if value.is_none()
            && let Poll::Ready(ready) = first.as_mut().poll(context)
        {
            value = Some(ready);
        }
        done = done || second.as_mut().poll(context).is_ready();
        match value.take() {
            Some(ready) if done => Poll::Ready(ready),
            other => {
                value = other;
                Poll::Pending
            }
        }
    })
    .await
}
