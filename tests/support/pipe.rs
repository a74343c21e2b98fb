//! A body on its way to a client, who may be slow or leave.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use gatehouse::app::port::ClientGone;
use gatehouse::base::time::Millis;

use super::run::{Clock, moved, step, until};

/// How a client reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client {
    /// It goes away after so many pieces.
    pub leaves_after: Option<usize>,
    /// It waits that long before each piece.
    pub pause: Millis,
}

/// A body; clones are the same one. It is the writing and the reading side.
#[derive(Clone)]
pub struct FakeStream(Rc<Pipe>);

struct Pipe {
    clock: Rc<Clock>,
    client: Client,
    pieces: RefCell<VecDeque<Vec<u8>>>,
    ended: Cell<bool>,
    broken: RefCell<Option<String>>,
    gone: Cell<bool>,
}

/// What a client got.
#[derive(Debug, Default)]
pub struct Got {
    /// The pieces, and when they came.
    pub pieces: Vec<(Millis, Vec<u8>)>,
    /// Why the body broke off, if it did.
    pub broken: Option<String>,
    /// Did the body come to its end?
    pub ended: bool,
}

impl FakeStream {
    pub fn open(clock: &Rc<Clock>, client: Client) -> Self {
        Self(Rc::new(Pipe {
            clock: Rc::clone(clock),
            client,
            pieces: RefCell::default(),
            ended: Cell::default(),
            broken: RefCell::default(),
            gone: Cell::default(),
        }))
    }

    /// A body that is there already, and why it breaks off, if it does.
    pub fn of(clock: &Rc<Clock>, pieces: Vec<Vec<u8>>, broken: Option<String>) -> Self {
        let stream = Self::open(clock, Client::default());
        stream.0.pieces.borrow_mut().extend(pieces);
        *stream.0.broken.borrow_mut() = broken;
        stream.0.ended.set(true);
        stream
    }

    /// Writes a piece and waits until the client takes it.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), ClientGone> {
        if !self.0.gone.get() {
            self.0.pieces.borrow_mut().push_back(bytes);
            moved();
            until(|| self.0.gone.get() || self.0.pieces.borrow().is_empty()).await;
        }
        if self.0.gone.get() {
            return Err(ClientGone);
        }
        Ok(())
    }

    pub fn close(&self) {
        self.0.ended.set(true);
        moved();
    }

    pub fn is_gone(&self) -> bool {
        self.0.gone.get()
    }

    /// Resolves when the client has gone away.
    pub async fn gone(&self) {
        until(|| self.0.gone.get()).await;
    }

    /// Reads as its client does.
    pub async fn receive(&self) -> Got {
        let Client {
            leaves_after,
            pause,
        } = self.0.client;
        let mut got = Got::default();
        loop {
            if leaves_after.is_some_and(|pieces| got.pieces.len() >= pieces) {
                self.0.gone.set(true);
                moved();
                return got;
            }
            if pause > Millis(0) {
                self.0.clock.until(self.0.clock.now().plus(pause)).await;
            }
            step().await;
            until(|| self.0.ended.get() || !self.0.pieces.borrow().is_empty()).await;
            let piece = self.0.pieces.borrow_mut().pop_front();
            moved();
            match piece {
                Some(piece) => got.pieces.push((self.0.clock.now(), piece)),
                None => {
                    got.broken.clone_from(&self.0.broken.borrow());
                    got.ended = true;
                    return got;
                }
            }
        }
    }
}
