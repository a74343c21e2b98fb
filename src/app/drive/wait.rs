//! Waits for the next thing that happens to a call.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::{Drive, Sink};
use crate::app::attempt::Arrival;
use crate::app::port::{ClientGone, Port};
use crate::base::time::Millis;
use crate::domain::llm::engine::AttemptId;

/// Something that happened.
pub(super) enum Happening {
    Arrived(AttemptId, Arrival),
    Time,
    Gone,
    Written,
}

/// A timer that runs.
pub(super) struct Timer {
    at: Millis,
    sleep: Pin<Box<dyn Future<Output = ()>>>,
}

/// A write that is under way.
pub(super) type Writing = Pin<Box<dyn Future<Output = Result<(), ClientGone>>>>;

impl<P: Port> Drive<P> {
    /// The next thing that happens: something of an attempt, the timer, the client, or the end of a write.
    pub(super) async fn next(
        &mut self,
        sink: Option<&mut Sink<P>>,
        writing: Option<&mut Writing>,
    ) -> Happening {
        self.arm();
        let (mut sink, mut writing) = (sink, writing);
        let (running, timer) = (&mut self.running, &mut self.timer);
        poll_fn(|context| {
            if let Some(writing) = writing.as_mut() {
                match writing.as_mut().poll(context) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Happening::Written),
                    Poll::Ready(Err(ClientGone)) => return Poll::Ready(Happening::Gone),
                    Poll::Pending => {}
                }
            } else {
                for attempt in running.iter_mut() {
                    if let Some(pending) = attempt.pending.as_mut()
                        && let Poll::Ready(arrival) = pending.as_mut().poll(context)
                    {
                        attempt.pending = None;
                        return Poll::Ready(Happening::Arrived(attempt.id, arrival));
                    }
                }
            }
            let gone = match sink.as_mut() {
                Some(Sink::Client { gone, .. }) => gone.as_mut().poll(context).is_ready(),
                Some(Sink::Record { stopped, .. }) => stopped.as_mut().poll(context).is_ready(),
                None => false,
            };
            if gone {
                return Poll::Ready(Happening::Gone);
            }
            if let Some(armed) = timer.as_mut()
                && armed.sleep.as_mut().poll(context).is_ready()
            {
                *timer = None;
                return Poll::Ready(Happening::Time);
            }
            Poll::Pending
        })
        .await
    }

    /// Sees to it that a timer fires when the engine wants one, not earlier than needed: a deadline that moves on with
    /// every piece must not cost a timer for every piece. One that fires too early finds nothing to do.
    fn arm(&mut self) {
        let Some(due) = self.engine.due() else { return };
        if self.timer.as_ref().is_some_and(|timer| timer.at <= due) {
            return;
        }
        let port = self.port.clone();
        let time = Millis(due.since(port.now()).0.max(1));
        self.timer = Some(Timer {
            at: due,
            sleep: Box::pin(async move { port.sleep(time).await }),
        });
    }
}
