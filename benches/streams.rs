//! What a streamed answer costs on the host: microseconds a Server-Sent Event for parsing and accounting, for forwarding
//! in the same dialect, and for each translation; and what the failure engine takes of a call.
//!
//! `cargo bench --bench streams` or `npm run bench -- --host`. Numbers are printed and nothing is asserted about them;
//! that the streams are read whole is. The release profile is the one of the Worker (`opt-level = "s"`).

use std::hint::black_box;
use std::time::{Duration, Instant};

use gatehouse::base::sse::Parser;
use gatehouse::base::time::Millis;
use gatehouse::domain::llm::Protocol;
use gatehouse::domain::llm::engine::failure::{Failure, FailureKind};
use gatehouse::domain::llm::engine::machine::Engine;
use gatehouse::domain::llm::engine::{
    Action, AttemptId, Deadlines, Gate, Input, Mode, Plan, Retry, Target,
};
use gatehouse::domain::llm::message::Usage;
use gatehouse::domain::llm::normal::event::Envelope;
use gatehouse::domain::llm::stream::delivery::{Delivery, Options};
use gatehouse::domain::llm::stream::inlet::Inlet;

/// Text deltas of a stream.
const DELTAS: usize = 500;
/// How long a case is measured, after as long a warm-up; the best of [`ROUNDS`] such times counts, for what a machine
/// does beside only ever adds.
const SLICE: Duration = Duration::from_millis(60);
const ROUNDS: usize = 7;

/// 2026-11-21T05:05:00Z
const NOW: Millis = Millis(1_795_237_500_000);

const DIALECTS: [(Protocol, &str, &str); 3] = [
    (
        Protocol::Chat,
        include_str!("../tests/golden/chat/text.stream.sse"),
        "\"content\":\"Hello",
    ),
    (
        Protocol::Responses,
        include_str!("../tests/golden/responses/text.stream.sse"),
        "event: response.output_text.delta",
    ),
    (
        Protocol::Messages,
        include_str!("../tests/golden/messages/text.stream.sse"),
        "text_delta",
    ),
];

/// A provider's stream, an event a piece.
struct Sample {
    protocol: Protocol,
    pieces: Vec<Vec<u8>>,
}

impl Sample {
    /// The golden fixture with its first text delta many times over; so the events are as large as in life.
    fn of(protocol: Protocol, fixture: &str, delta: &str) -> Self {
        let events: Vec<&str> = fixture.split_inclusive("\n\n").collect();
        let first = events
            .iter()
            .position(|event| event.contains(delta))
            .expect("the fixture has a text delta");
        let pieces: Vec<Vec<u8>> = events
            .iter()
            .enumerate()
            .flat_map(|(i, event)| {
                let times = if i == first { DELTAS } else { 1 };
                std::iter::repeat_n(*event, times)
            })
            .filter(|event| !event.trim().is_empty())
            .enumerate()
            .map(|(i, event)| renumbered(event, i).into_bytes())
            .collect();
        let sample = Self { protocol, pieces };
        let mut inlet = Inlet::new(protocol, false);
        sample.pieces.iter().for_each(|piece| inlet.watch(piece));
        assert_eq!(inlet.fault(), None, "{protocol:?}");
        sample
    }

    fn events(&self) -> usize {
        self.pieces.len()
    }

    fn bytes(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    fn parse(&self) {
        let mut parser = Parser::default();
        for piece in &self.pieces {
            let _ = parser.push(piece, |event| {
                black_box(event.data.len());
            });
        }
    }

    fn watch(&self) {
        let mut inlet = Inlet::new(self.protocol, false);
        for piece in &self.pieces {
            inlet.watch(black_box(piece));
        }
        black_box(inlet.seen().usage);
    }

    fn deliver(&self, caller: Protocol, numbered: bool) {
        let mut inlet = Inlet::new(self.protocol, false);
        let options = Options {
            protocol: caller,
            hide_usage: true,
            numbered,
            keep: numbered,
        };
        let mut delivery = Delivery::new(options, envelope());
        delivery.begin(self.protocol, Mode::Fresh, Usage::default());
        for piece in &self.pieces {
            let (mut steps, mut out) = (Vec::new(), Vec::new());
            inlet.push(black_box(piece), &mut steps);
            for step in &steps {
                delivery.step(step, &mut out);
            }
            black_box(&out);
        }
    }
}

/// An event of the Responses API with the number that its place gives it.
fn renumbered(event: &str, number: usize) -> String {
    const FIELD: &str = "\"sequence_number\":";
    let Some((before, after)) = event.split_once(FIELD) else {
        return event.to_owned();
    };
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}{FIELD}{number}{rest}")
}

fn envelope() -> Envelope {
    Envelope {
        id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        created: NOW,
        estimated_input: 12,
        include_usage: false,
        builtin: false,
    }
}

// === the engine ===

fn plan() -> Plan {
    let target = Target {
        gate: Gate::Closed,
        context_tokens: None,
        p95_first_token: None,
        queues: false,
        prefill: false,
    };
    Plan {
        targets: vec![target.clone(), target],
        retry: Retry {
            attempts_per_target: 2,
            attempts: 4,
            budget: Millis(20_000),
            base: Millis(250),
            max: Millis(4_000),
            max_retry_after: Millis(5_000),
        },
        deadlines: Deadlines {
            first_token: Millis(30_000),
            own_first_token: Millis(30_000),
            adaptive_floor: None,
            idle: Millis(30_000),
            total: Millis(300_000),
        },
        rescue: false,
        hedge: false,
    }
}

/// A call that goes well, without the pieces between its first token and its end.
fn call_that_works() {
    let (mut engine, actions) = Engine::new(plan(), NOW, 7);
    black_box(actions);
    black_box(engine.on(NOW.plus(Millis(400)), Input::Token { attempt: 0 }));
    black_box(engine.on(NOW.plus(Millis(900)), Input::Ended { attempt: 0 }));
    assert!(engine.is_over());
}

/// A call whose first target fails twice.
fn call_that_falls_back() {
    let (mut engine, actions) = Engine::new(plan(), NOW, 7);
    let mut now = NOW;
    let mut attempt = started(&actions);
    for _ in 0..2 {
        now = now.plus(Millis(100));
        let failure = Failure::new(FailureKind::Server);
        let id = attempt.expect("an attempt runs");
        let mut actions = engine.on(
            now,
            Input::Failed {
                attempt: id,
                failure,
            },
        );
        while started(&actions).is_none() {
            now = engine.due().expect("a wait has an end");
            actions = engine.on(now, Input::Tick);
        }
        attempt = started(&actions);
    }
    let attempt = attempt.expect("the second target is asked");
    black_box(engine.on(now, Input::Token { attempt }));
    black_box(engine.on(now, Input::Ended { attempt }));
    assert!(engine.is_over());
}

fn started(actions: &[Action]) -> Option<AttemptId> {
    actions.iter().find_map(|action| match action {
        Action::Start { attempt, .. } => Some(*attempt),
        _ => None,
    })
}

/// The piece of a stream that has been committed, as the driver reports each of them.
fn progress() {
    let (mut engine, _) = Engine::new(plan(), NOW, 7);
    black_box(engine.on(NOW, Input::Token { attempt: 0 }));
    for i in 0..DELTAS {
        let now = NOW.plus(Millis(i as u64));
        black_box(engine.on(now, Input::Progress { attempt: 0 }));
        black_box(engine.due());
    }
}

// === measuring ===

/// Microseconds that one of `units` takes, the best of all rounds.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is where the clock is read"
)]
fn best(units: usize, mut job: impl FnMut()) -> f64 {
    let mut slice = || {
        let began = Instant::now();
        let mut times = 0u32;
        while began.elapsed() < SLICE {
            job();
            times += 1;
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(times) / units as f64
    };
    slice();
    (0..ROUNDS).map(|_| slice()).fold(f64::INFINITY, f64::min)
}

/// One line; `base` is what the ratio is taken of.
fn line(what: &str, micros: f64, base: f64) {
    println!("{what:<46} {micros:>9.3} {:>7.2}", micros / base);
}

fn name(protocol: Protocol) -> &'static str {
    protocol.name()
}

fn main() {
    let samples = DIALECTS.map(|(protocol, fixture, delta)| Sample::of(protocol, fixture, delta));
    println!(
        "{:<46} {:>9} {:>7}",
        "per Server-Sent Event", "µs", "× watch"
    );
    for sample in &samples {
        let own = name(sample.protocol);
        let events = sample.events();
        let watch = best(events, || sample.watch());
        println!(
            "{own}: {events} events, {} bytes each on average",
            sample.bytes() / events
        );
        let parse = best(events, || sample.parse());
        line("  framing alone (Parser)", parse, watch);
        line("  parse and account (Inlet::watch)", watch, watch);
        let forward = best(events, || sample.deliver(sample.protocol, false));
        line("  inspected, same dialect", forward, watch);
        let numbered = best(events, || sample.deliver(sample.protocol, true));
        line("  inspected, numbered and kept", numbered, watch);
        for caller in DIALECTS.map(|(protocol, ..)| protocol) {
            if caller != sample.protocol {
                let translated = best(events, || sample.deliver(caller, false));
                let what = format!("  translated for a caller of {}", name(caller));
                line(&what, translated, watch);
            }
        }
    }
    println!();
    println!("{:<46} {:>9} {:>7}", "failure engine", "µs", "× call");
    let works = best(1, call_that_works);
    line("  a call that works", works, works);
    let falls_back = best(1, call_that_falls_back);
    line(
        "  a call with two failures and a fallback",
        falls_back,
        works,
    );
    line("  a piece of a stream", best(DELTAS, progress), works);
}
