//! What an answer says, beside the one that reads it: for the conversation that it belongs to.

use std::cell::RefCell;
use std::rc::Rc;

use super::perform::Stage;
use crate::app::drive::Stopped;
use crate::domain::llm::stream::log;

/// Records an answer on its way. The event that ends a stream is held back until [`Recorder::release`]: whoever has seen
/// it finds the answer in its conversation.
pub struct Recorder<S> {
    stage: S,
    told: Rc<RefCell<Told>>,
}

#[derive(Default)]
struct Told {
    bytes: Vec<u8>,
    /// So many were given on.
    given: usize,
    /// Nothing more is given on.
    holds: bool,
}

/// What begins the last event of a stream.
const ENDS: [&[u8]; 2] = [b"event: response.completed", b"event: response.incomplete"];

impl<S: Stage> Recorder<S> {
    /// In front of a stage.
    pub fn before(stage: S) -> Self {
        Self {
            stage,
            told: Rc::default(),
        }
    }

    /// All that was said.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.told.borrow().bytes).into_owned()
    }

    /// Gives on what was held back.
    pub fn release(&self) {
        let rest = {
            let mut told = self.told.borrow_mut();
            let rest = told.bytes.get(told.given..).unwrap_or_default().to_vec();
            told.given = told.bytes.len();
            rest
        };
        if !rest.is_empty() {
            self.stage.write(rest);
        }
    }
}

impl<S: Clone> Clone for Recorder<S> {
    fn clone(&self) -> Self {
        Self {
            stage: self.stage.clone(),
            told: Rc::clone(&self.told),
        }
    }
}

impl<S: Stage> Stage for Recorder<S> {
    fn head(&self, head: log::Head) {
        self.stage.head(head);
    }

    fn write(&self, bytes: Vec<u8>) {
        let given = {
            let mut told = self.told.borrow_mut();
            let before = told.bytes.len();
            told.bytes.extend_from_slice(&bytes);
            if told.holds {
                return;
            }
            // It may have begun in the piece before.
            let from = before.saturating_sub(ENDS.map(<[u8]>::len).into_iter().max().unwrap_or(0));
            let new = told.bytes.get(from..).unwrap_or_default();
            let end = ENDS.iter().filter_map(|end| find(new, end)).min();
            let until = match end {
                None => told.bytes.len(),
                Some(at) => {
                    told.holds = true;
                    from.saturating_add(at).max(before)
                }
            };
            let given = told.bytes.get(before..until).unwrap_or_default().to_vec();
            told.given = until;
            given
        };
        if !given.is_empty() {
            self.stage.write(given);
        }
    }

    fn stopped(&self) -> Stopped {
        self.stage.stopped()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::Recorder;
    use crate::app::drive::Stopped;
    use crate::app::stored::Stage;
    use crate::domain::llm::stream::log;

    #[derive(Clone, Default)]
    struct Seen(Rc<RefCell<Vec<u8>>>);

    impl Stage for Seen {
        fn head(&self, _: log::Head) {}
        fn write(&self, bytes: Vec<u8>) {
            self.0.borrow_mut().extend(bytes);
        }
        fn stopped(&self) -> Stopped {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn the_last_event_is_held_back_wherever_the_stream_is_split() {
        let stream = "event: response.output_text.delta\ndata: {\"delta\":\"Hi\"}\n\n\
            event: response.completed\ndata: {\"response\":{}}\n\n";
        for at in 0..=stream.len() {
            let seen = Seen::default();
            let recorder = Recorder::before(seen.clone());
            for piece in [&stream[..at], &stream[at..]] {
                recorder.write(piece.as_bytes().to_vec());
            }
            let given = String::from_utf8(seen.0.borrow().clone()).unwrap();
            assert!(given.contains("delta\":\"Hi\"}\n\n"), "{at}: {given}");
            // Without its data an event is none.
            let last = given.rsplit("\n\n").next().unwrap();
            assert!(
                "event: response.completed".starts_with(last),
                "{at}: {given}"
            );
            assert_eq!(recorder.text(), stream);
            recorder.release();
            recorder.release();
            assert_eq!(*seen.0.borrow(), stream.as_bytes());
        }
    }

    #[test]
    fn an_answer_without_that_event_is_given_on_at_once() {
        let seen = Seen::default();
        let recorder = Recorder::before(seen.clone());
        recorder.write(b"{\"output\":[]}".to_vec());
        assert_eq!(*seen.0.borrow(), b"{\"output\":[]}");
    }
}
