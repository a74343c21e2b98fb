//! Which answers are stored for an owner: names alone, so that an erasure finds them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::machine::Write;
use crate::base::time::Millis;
use crate::domain::llm::Protocol;

/// Answers that an owner has at most; beyond it the one that expires first goes.
pub const MAX_ANSWERS: usize = 1000;

const PREFIX: &str = "answer/";

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its object's name.
    pub id: String,
    /// The protocol in which its id is written.
    pub protocol: Protocol,
    /// When it is gone by itself at the latest.
    pub expires: Millis,
}

/// The stored answers of one owner, by id.
#[derive(Debug, Default)]
pub struct Answers(BTreeMap<String, Answer>);

impl Answers {
    /// Reads a row; `false` when it is none of these.
    pub(super) fn load(&mut self, key: &str, text: &str) -> bool {
        let Some((id, answer)) = key
            .strip_prefix(PREFIX)
            .zip(serde_json::from_str(text).ok())
        else {
            return false;
        };
        self.0.insert(id.to_owned(), answer);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        self.0.values().map(|answer| answer.expires).min()
    }

    /// Notes an answer; gives the one that has no place any more.
    pub(super) fn note(&mut self, answer: Answer) -> (Option<Answer>, Vec<Write>) {
        let mut writes = Vec::new();
        let full = self.0.len() >= MAX_ANSWERS && !self.0.contains_key(&answer.id);
        let first = self.0.values().min_by_key(|answer| answer.expires);
        let surplus = first.filter(|_| full).cloned();
        if let Some(surplus) = &surplus {
            writes.extend(self.forget(core::slice::from_ref(&surplus.id)));
        }
        if let Ok(text) = serde_json::to_string(&answer) {
            writes.push(write(&answer.id, Some(text)));
            self.0.insert(answer.id.clone(), answer);
        }
        (surplus, writes)
    }

    /// Forgets those that are gone.
    pub(super) fn forget(&mut self, ids: &[String]) -> Vec<Write> {
        let known = ids.iter().filter(|id| self.0.remove(*id).is_some());
        known.map(|id| write(id, None)).collect()
    }

    /// Forgets those that have expired.
    pub(super) fn expire(&mut self, now: Millis) -> Vec<Write> {
        let over = self.0.values().filter(|answer| answer.expires <= now);
        let over: Vec<String> = over.map(|answer| answer.id.clone()).collect();
        self.forget(&over)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Answer> {
        self.0.values().cloned().collect()
    }
}

fn write(id: &str, value: Option<String>) -> Write {
    Write {
        key: [PREFIX, id].concat(),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Answers, MAX_ANSWERS};
    use crate::base::time::Millis;
    use crate::domain::llm::Protocol;

    fn answer(n: usize) -> Answer {
        Answer {
            id: format!("a{n:04}"),
            protocol: Protocol::Responses,
            expires: Millis(1000 + n as u64),
        }
    }

    #[test]
    fn the_one_that_expires_first_makes_room_for_one_more() {
        let mut answers = Answers::default();
        for n in 0..MAX_ANSWERS {
            assert_eq!(answers.note(answer(n)).0, None);
        }
        // Another note of one that is known takes no room.
        assert_eq!(answers.note(answer(5)).0, None);
        let (surplus, writes) = answers.note(answer(MAX_ANSWERS));
        assert_eq!(surplus, Some(answer(0)));
        assert_eq!((writes.len(), answers.all().len()), (2, MAX_ANSWERS));
    }

    #[test]
    fn rows_are_read_again_and_what_expired_is_forgotten() {
        let mut answers = Answers::default();
        let (_, writes) = answers.note(answer(1));
        answers.note(answer(2));
        let mut again = Answers::default();
        assert!(again.load(&writes[0].key, writes[0].value.as_ref().unwrap()));
        assert!(!again.load("doc/a", "{}") && !again.load("answer/a", "{}"));
        assert_eq!(again.all(), [answer(1)]);
        assert_eq!(answers.next_due(), Some(Millis(1001)));
        assert_eq!(answers.expire(Millis(1001)).len(), 1);
        assert_eq!(answers.all(), [answer(2)]);
        assert_eq!(answers.forget(&["a0002".into(), "other".into()]).len(), 1);
        assert!(answers.is_empty());
    }
}
