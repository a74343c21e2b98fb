//! Runs futures on this thread, one step at a time, under clocks that only move when nobody else does.
//!
//! Everything is polled in turns: the future that a test waits for, then what was spawned. When a whole turn moved
//! nothing, time goes on to the next moment that somebody sleeps for. So an hour costs no time, and an answer that waits
//! for itself is an error and not a hang.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use gatehouse::base::time::Millis;

/// More steps than any story takes: a future that never ends is an error and not a hang.
const MOST_STEPS: usize = 1_000_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static TASKS: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
    static CLOCKS: RefCell<Vec<Weak<Clock>>> = const { RefCell::new(Vec::new()) };
    static MOVED: Cell<bool> = const { Cell::new(false) };
}

// === running ===

/// Runs one future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..MOST_STEPS {
        MOVED.set(false);
        if let Poll::Ready(value) = poll(future.as_mut()) {
            return value;
        }
        poll_tasks();
        if !MOVED.get() {
            assert!(advance(), "everybody waits, and nobody sleeps");
        }
    }
    panic!("the future does not end");
}

/// Runs what was spawned until it sleeps or waits; no time passes.
pub fn settle() {
    for _ in 0..MOST_STEPS {
        MOVED.set(false);
        poll_tasks();
        if !MOVED.get() {
            return;
        }
    }
    panic!("the tasks do not come to rest");
}

/// Runs what was spawned to its end, however long that takes.
pub fn finish() {
    block_on(until(|| TASKS.with_borrow(Vec::is_empty)));
}

/// Runs futures side by side, a step of each in turn; the values in the order of the futures.
pub fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    block_on(joined(futures))
}

/// The same, to wait for.
pub async fn joined<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|_| {
        for (future, value) in &mut futures {
            if value.is_none()
                && let Poll::Ready(ready) = poll(future.as_mut())
            {
                moved();
                *value = Some(ready);
            }
        }
        if futures.iter().all(|(_, value)| value.is_some()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, value)| value).collect()
}

/// Two futures side by side.
pub async fn both<T, U>(first: impl Future<Output = T>, second: impl Future<Output = U>) -> (T, U) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut two) = (None, None);
    std::future::poll_fn(|_| {
        if one.is_none()
            && let Poll::Ready(value) = poll(first.as_mut())
        {
            moved();
            one = Some(value);
        }
        if two.is_none()
            && let Poll::Ready(value) = poll(second.as_mut())
        {
            moved();
            two = Some(value);
        }
        match (one.is_some(), two.is_some()) {
            (true, true) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    (one.unwrap(), two.unwrap())
}

/// The first of two futures that is ready: `Ok` for the first, `Err` for the second.
pub async fn either<T, U>(
    first: impl Future<Output = T>,
    second: impl Future<Output = U>,
) -> Result<T, U> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    std::future::poll_fn(|_| {
        if let Poll::Ready(value) = poll(first.as_mut()) {
            return Poll::Ready(Ok(value));
        }
        poll(second.as_mut()).map(Err)
    })
    .await
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

/// Lets a future run beside everything else from now on.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    TASKS.with_borrow_mut(|tasks| tasks.push(Box::pin(future)));
    moved();
}

/// Tells that something changed for which somebody may wait.
pub fn moved() {
    MOVED.set(true);
}

/// Waits for something that others do; whoever does it calls [`moved`].
pub async fn until(mut done: impl FnMut() -> bool) {
    std::future::poll_fn(|_| {
        if done() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Lets others run.
pub async fn step() {
    let mut waited = false;
    until(|| {
        let ready = waited;
        waited = true;
        moved();
        ready
    })
    .await;
}

fn poll_tasks() {
    // What a task spawns is polled in the next turn.
    let tasks = TASKS.take();
    let mut left: Vec<Task> = Vec::new();
    for mut task in tasks {
        match poll(task.as_mut()) {
            Poll::Ready(()) => moved(),
            Poll::Pending => left.push(task),
        }
    }
    TASKS.with_borrow_mut(|new| {
        left.append(new);
        *new = left;
    });
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// === time ===

/// A world's clock.
pub struct Clock {
    now: Cell<Millis>,
    drawn: Cell<u64>,
    sleepers: RefCell<BTreeMap<u64, Millis>>,
}

impl Clock {
    /// A clock that stands at `now`.
    pub fn new(now: Millis) -> Rc<Self> {
        let clock = Rc::new(Self {
            now: Cell::new(now),
            drawn: Cell::new(0),
            sleepers: RefCell::default(),
        });
        CLOCKS.with_borrow_mut(|clocks| {
            clocks.retain(|clock| clock.strong_count() > 0);
            clocks.push(Rc::downgrade(&clock));
        });
        clock
    }

    pub fn now(&self) -> Millis {
        self.now.get()
    }

    pub fn set(&self, now: Millis) {
        self.now.set(now);
        moved();
    }

    /// Sleeps until then.
    pub fn until(self: &Rc<Self>, at: Millis) -> Sleep {
        let id = self.drawn.get();
        self.drawn.set(id + 1);
        Sleep {
            clock: Rc::clone(self),
            at,
            id,
        }
    }

    /// Goes on to the next moment that somebody sleeps for.
    fn advance(&self) -> bool {
        let now = self.now.get();
        let next = self
            .sleepers
            .borrow()
            .values()
            .copied()
            .filter(|at| *at > now)
            .min();
        if let Some(next) = next {
            self.now.set(next);
        }
        next.is_some()
    }
}

fn advance() -> bool {
    CLOCKS.with_borrow(|clocks| {
        let clocks = clocks.iter().filter_map(Weak::upgrade);
        // Every clock goes on, not only the first that can.
        clocks.filter(|clock| clock.advance()).count() > 0
    })
}

/// Ready at a moment.
pub struct Sleep {
    clock: Rc<Clock>,
    at: Millis,
    id: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let mut sleepers = self.clock.sleepers.borrow_mut();
        if self.clock.now() >= self.at {
            sleepers.remove(&self.id);
            moved();
            return Poll::Ready(());
        }
        sleepers.insert(self.id, self.at);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.sleepers.borrow_mut().remove(&self.id);
    }
}
