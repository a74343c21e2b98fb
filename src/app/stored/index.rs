//! The names of a visitor's stored answers, by which an erasure finds them.

use super::ask::tell;
use super::command::{Command, Told};
use super::place::owner_of_visitor;
use crate::app::documents::ask_owner;
use crate::app::gate::Caller;
use crate::app::port::{Port, storage_refusal};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::documents::answers::Answer;
use crate::domain::documents::owner::{Command as Ask, Reply};
use crate::domain::identity::Principal;
use crate::domain::llm::stream::log::Begin;

/// An answer is kept for a time from its end on: an hour covers the longest call.
const LONGEST_CALL: Millis = Millis::from_secs(3600);

/// Notes an answer that is about to be stored under a visitor's name.
///
/// # Errors
/// `storage_unavailable`: what no erasure would find is not stored.
pub async fn note<P: Port>(
    port: &P,
    caller: &Caller,
    id: &str,
    begin: &Begin,
) -> Result<(), Refusal> {
    let Principal::Visitor { id: visitor, .. } = &caller.principal else {
        return Ok(());
    };
    if begin.owner != owner_of_visitor(visitor) {
        return Ok(());
    }
    let answer = Answer {
        id: id.to_owned(),
        protocol: begin.protocol,
        expires: port.now().plus(begin.ttl).plus(LONGEST_CALL),
    };
    for surplus in asked(port, visitor, &Ask::NoteAnswer { answer }).await? {
        // It is on its way out by itself.
        let _ = delete(port, visitor, &surplus).await;
    }
    Ok(())
}

/// An answer was deleted. Where its name stays, it expires.
pub async fn deleted<P: Port>(port: &P, caller: &Caller, id: &str) {
    if let Principal::Visitor { id: visitor, .. } = &caller.principal {
        let ids = vec![id.to_owned()];
        let _ = ask_owner(port, visitor, &Ask::ForgetAnswers { ids }).await;
    }
}

/// Deletes every stored answer of a visitor; one that is being made is stopped. May be repeated.
///
/// # Errors
/// `storage_unavailable`
pub async fn forget<P: Port>(port: &P, visitor: &str) -> Result<usize, Refusal> {
    let answers = asked(port, visitor, &Ask::Answers).await?;
    let mut deleted = 0_usize;
    for answer in &answers {
        if delete(port, visitor, answer).await? {
            deleted = deleted.saturating_add(1);
        }
    }
    if !answers.is_empty() {
        let ids = answers.into_iter().map(|answer| answer.id).collect();
        ask_owner(port, visitor, &Ask::ForgetAnswers { ids })
            .await
            .map_err(|fault| storage_refusal(&fault))?;
    }
    Ok(deleted)
}

/// True when it was there.
async fn delete<P: Port>(port: &P, visitor: &str, answer: &Answer) -> Result<bool, Refusal> {
    let command = Command::Delete {
        owner: owner_of_visitor(visitor),
        protocol: answer.protocol,
    };
    let (told, _) = tell(port, &answer.id, &command).await?;
    Ok(matches!(told, Told::Done))
}

async fn asked<P: Port>(port: &P, visitor: &str, ask: &Ask) -> Result<Vec<Answer>, Refusal> {
    match ask_owner(port, visitor, ask).await {
        Ok(Reply::Answers { answers }) => Ok(answers),
        Ok(other) => {
            Err(Refusal::new(Code::Internal).cause(format!("the owner answered {other:?}")))
        }
        Err(fault) => Err(storage_refusal(&fault)),
    }
}
