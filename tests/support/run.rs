//! Runs futures on this thread, one step at a time.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// More steps than any story takes: a future that never ends is an error and not a hang.
const MOST_STEPS: usize = 1_000_000;

/// Runs one future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..MOST_STEPS {
        if let Poll::Ready(value) = poll(future.as_mut()) {
            return value;
        }
    }
    panic!("the future does not end");
}

/// Runs futures side by side, a step of each in turn; the values in the order of the futures.
pub fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    for _ in 0..MOST_STEPS {
        for (future, value) in &mut futures {
            if value.is_none()
                && let Poll::Ready(ready) = poll(future.as_mut())
            {
                *value = Some(ready);
            }
        }
        if futures.iter().all(|(_, value)| value.is_some()) {
            return futures.into_iter().filter_map(|(_, value)| value).collect();
        }
    }
    panic!("the futures do not end");
}

/// Runs at most `steps` steps of a future and drops it, as the platform does with a request whose client is gone.
pub fn run_and_drop<T>(future: impl Future<Output = T>, steps: usize) -> Option<T> {
    let mut future = Box::pin(future);
    for _ in 0..steps {
        if let Poll::Ready(value) = poll(future.as_mut()) {
            return Some(value);
        }
    }
    None
}

/// Runs at most `steps` steps of the first future, then all of the second, then the rest of the first.
pub fn interrupt<T, U>(
    first: impl Future<Output = T>,
    steps: usize,
    second: impl Future<Output = U>,
) -> (T, U) {
    let mut first = pin!(first);
    for done in 0..steps {
        if let Poll::Ready(value) = poll(first.as_mut()) {
            return (value, block_on(second));
        }
        assert!(done < MOST_STEPS, "the future does not end");
    }
    let second = block_on(second);
    (block_on(first), second)
}

/// Lets others run.
pub async fn step() {
    let mut waited = false;
    std::future::poll_fn(|context: &mut Context<'_>| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
