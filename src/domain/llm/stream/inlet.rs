//! One attempt's bytes → steps: what each Server-Sent Event says in normal form, and what is known of the attempt.

use serde::de::IgnoredAny;

use crate::base::sse::{self, Parser};
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::{Invalid, StreamReader};
use crate::domain::llm::engine::failure::Break;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::event::{Block, Delta, Event, Failed};
use crate::domain::llm::normal::whole::{Collector, Whole};

/// One Server-Sent Event of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The `event` field, where the provider named one.
    pub name: Option<String>,
    /// The `data` field.
    pub data: String,
    /// What it says.
    pub events: Vec<Event>,
}

/// Reads one attempt's stream.
#[derive(Debug)]
pub struct Inlet {
    parser: Parser,
    reader: StreamReader,
    collector: Option<Collector>,
    seen: Seen,
}

/// Largest answer that is kept, in bytes of text, thinking and arguments: 1 MiB.
pub const MAX_KEPT_BYTES: u64 = 1_048_576;

/// Largest event of a stream, in bytes: 4 MiB. A picture in an answer is one event; the parser holds a small multiple of
/// it at worst, and an isolate has 128 MB.
pub const MAX_EVENT_BYTES: usize = 4 * 1_048_576;

/// What is known of an attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Real output has come.
    pub output: bool,
    /// A tool call has begun: the answer cannot be continued by somebody else.
    pub tool_call: bool,
    /// The model that answers.
    pub model: String,
    /// Sound or a picture has come, which only the provider's own dialect can carry.
    pub media: bool,
    /// The last usage that was told.
    pub usage: Option<Usage>,
    /// It was told with the finish reason or behind it, so that nothing is missing.
    pub usage_final: bool,
    /// Bytes of text, thinking and arguments so far, for the estimate where no usage is told.
    pub output_bytes: u64,
    /// Why the model stopped.
    pub finish: Option<Finish>,
    /// The provider's error inside the stream.
    pub failed: Option<Failed>,
    /// The end marker came.
    pub ended: bool,
    /// Something that cannot be read; nothing behind it is.
    pub malformed: bool,
    /// Events so far, of any kind: the number of the next one where a dialect counts them.
    pub events: u64,
}

impl Inlet {
    /// A new attempt's. With `keep` the answer is gathered.
    #[must_use]
    pub fn new(protocol: Protocol, keep: bool) -> Self {
        Self {
            parser: Parser::new(MAX_EVENT_BYTES),
            reader: StreamReader::new(protocol),
            collector: keep.then(Collector::default),
            seen: Seen::default(),
        }
    }

    /// What is known so far.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Does the stream stand inside an event, so that whatever is appended needs a blank line first?
    #[must_use]
    pub fn inside_event(&self) -> bool {
        self.seen.malformed || self.parser.pending()
    }

    /// The whole answer, where it was gathered, has ended well and is not too long.
    #[must_use]
    pub fn finished(&self) -> Option<&Whole> {
        let kept = self.fault().is_none() && self.seen.output_bytes <= MAX_KEPT_BYTES;
        self.collector
            .as_ref()
            .filter(|_| kept)
            .and_then(Collector::finished)
    }

    /// Reads the next piece and appends a step for each event that it completes, also for events of a kind that nobody
    /// here knows. A bad event, an error event and everything behind them are no steps.
    pub fn push(&mut self, bytes: &[u8], steps: &mut Vec<Step>) {
        self.read(bytes, |event, events| {
            steps.push(Step {
                name: (event.event != "message").then(|| event.event.to_owned()),
                data: event.data.to_owned(),
                events,
            });
        });
    }

    /// Reads the next piece of a stream that passes by itself.
    pub fn watch(&mut self, bytes: &[u8]) {
        self.read(bytes, |_, _| {});
    }

    /// No more bytes come. Some servers leave out the blank line behind their last event: it counts where it is whole and
    /// is the answer's end, which makes a step like any other. Anything else without its end was cut.
    pub fn end(&mut self) -> Option<Step> {
        let seen = &mut self.seen;
        if seen.ended || seen.malformed || seen.failed.is_some() {
            return None;
        }
        let (name, data) = self.parser.unfinished()?;
        let cut = data.trim() != "[DONE]" && serde_json::from_str::<IgnoredAny>(&data).is_err();
        let mut events = Vec::new();
        if cut || self.reader.event(&data, &mut events).is_err() || !events.contains(&Event::End) {
            return None;
        }
        seen.events = seen.events.saturating_add(1);
        seen.judge_usage(&events);
        for event in &events {
            seen.note(event);
            if let Some(collector) = &mut self.collector {
                collector.push(event);
            }
        }
        let name = (name != "message").then(|| name.to_owned());
        Some(Step { name, data, events })
    }

    fn read(&mut self, bytes: &[u8], mut on_step: impl FnMut(sse::Event<'_>, Vec<Event>)) {
        let (seen, reader, collector) = (&mut self.seen, &mut self.reader, &mut self.collector);
        let whole = self.parser.push(bytes, |event| {
            seen.events = seen.events.saturating_add(1);
            if seen.malformed || seen.failed.is_some() {
                return;
            }
            let mut events = Vec::new();
            match reader.event(event.data, &mut events) {
                Ok(()) => {}
                Err(Invalid::Shape(_)) => seen.malformed = true,
                Err(Invalid::Error(failed)) => seen.failed = Some(failed),
            }
            seen.judge_usage(&events);
            for event in &events {
                seen.note(event);
                if let Some(collector) = collector
                    && seen.output_bytes <= MAX_KEPT_BYTES
                {
                    collector.push(event);
                }
            }
            if !seen.malformed && seen.failed.is_none() {
                on_step(event, events);
            }
        });
        if whole.is_err() {
            self.seen.malformed = true;
        }
    }

    /// What is wrong with the stream when no more bytes come; `None` when it is whole.
    #[must_use]
    pub fn fault(&self) -> Option<Break> {
        let seen = &self.seen;
        if seen.failed.is_some() {
            Some(Break::InBand)
        } else if seen.malformed {
            Some(Break::Malformed)
        } else if !seen.ended || seen.finish.is_none() {
            Some(Break::MissingEnd)
        } else {
            None
        }
    }
}

impl Seen {
    /// Before the events are noted. In one event the usage may stand before the finish reason.
    fn judge_usage(&mut self, events: &[Event]) {
        let has = |what: fn(&Event) -> bool| events.iter().any(what);
        let finished = self.finish.is_some() || has(|event| matches!(event, Event::Finish { .. }));
        self.usage_final |= finished && has(|event| matches!(event, Event::Usage(_)));
    }

    fn note(&mut self, event: &Event) {
        self.output |= event.is_output();
        match event {
            Event::Start { model, .. } => self.model.clone_from(model),
            Event::Open(Block::ToolCall { .. }) => self.tool_call = true,
            Event::Delta(Delta::Text(text) | Delta::Arguments(text)) => {
                self.output_bytes = self.output_bytes.saturating_add(text.len() as u64);
            }
            Event::Media => self.media = true,
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finish { reason, .. } => self.finish = Some(*reason),
            Event::Failed(failed) => self.failed = Some(failed.clone()),
            Event::End => self.ended = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Inlet, MAX_EVENT_BYTES, MAX_KEPT_BYTES, Step};
    use crate::domain::llm::Protocol;
    use crate::domain::llm::engine::failure::Break;
    use crate::domain::llm::message::Finish;
    use proptest::prelude::{any, proptest};

    const ROLE: &str = "data: {\"id\":\"x\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    const WORD: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    const STOP: &str =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const USAGE: &str =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn read(pieces: &[&str]) -> (Inlet, Vec<Step>) {
        let mut inlet = Inlet::new(Protocol::Chat, true);
        let mut steps = Vec::new();
        for piece in pieces {
            inlet.push(piece.as_bytes(), &mut steps);
        }
        (inlet, steps)
    }

    #[test]
    fn a_whole_stream_has_no_fault_and_is_gathered() {
        let (inlet, steps) = read(&[ROLE, WORD, STOP, USAGE, DONE]);
        assert_eq!((inlet.fault(), steps.len()), (None, 5));
        let seen = inlet.seen();
        assert!(seen.output && seen.ended && !seen.tool_call && !inlet.inside_event());
        assert_eq!(
            (seen.model.as_str(), seen.finish),
            ("m", Some(Finish::Stop))
        );
        assert_eq!(seen.usage.map(|u| (u.input, u.output)), Some((3, 2)));
        assert_eq!(
            inlet.finished().map(|whole| whole.text()).as_deref(),
            Some("Hi")
        );
    }

    #[test]
    fn preamble_is_no_output_and_a_tool_call_is() {
        let (inlet, _) = read(&[ROLE, ": a comment\n\n"]);
        assert!(!inlet.seen().output);
        let call = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}\n\n";
        let (inlet, _) = read(&[ROLE, call]);
        assert!(inlet.seen().output && inlet.seen().tool_call);
    }

    #[test]
    fn every_way_to_end_badly_has_its_name_and_is_not_kept() {
        let error = "data: {\"error\":{\"message\":\"x\"}}\n\n";
        let cases: [(&[&str], Break); 6] = [
            (&[ROLE, WORD], Break::MissingEnd),
            (&[ROLE, WORD, STOP], Break::MissingEnd),
            (&[ROLE, WORD, DONE], Break::MissingEnd),
            (
                &[ROLE, WORD, "data: {\"choices\":[{\"del"],
                Break::MissingEnd,
            ),
            (
                &[ROLE, "data: {oops\n\n", WORD, STOP, DONE],
                Break::Malformed,
            ),
            (&[ROLE, WORD, error, STOP, DONE], Break::InBand),
        ];
        for (pieces, expected) in cases {
            let (inlet, _) = read(pieces);
            assert_eq!(inlet.fault(), Some(expected), "{pieces:?}");
            assert_eq!(inlet.finished(), None);
        }
    }

    #[test]
    fn what_is_bad_and_what_comes_behind_it_is_no_step() {
        let (inlet, steps) = read(&[ROLE, WORD, "data: {oops\n\n", WORD, STOP, DONE]);
        assert_eq!(steps.len(), 2);
        assert!(
            inlet.inside_event(),
            "what is appended begins with a blank line"
        );
        assert_eq!(inlet.seen().output_bytes, 2);
        let (inlet, _) = read(&[ROLE, "data: {\"cho"]);
        assert!(inlet.inside_event());
    }

    #[test]
    fn events_of_a_kind_that_nobody_knows_pass_as_steps_without_meaning() {
        let (inlet, steps) = read(&[
            ROLE,
            "event: note\ndata: {\"object\":\"note\"}\n\n",
            WORD,
            STOP,
            DONE,
        ]);
        let unknown = &steps[1];
        assert_eq!(unknown.name.as_deref(), Some("note"));
        assert_eq!(unknown.data, "{\"object\":\"note\"}");
        assert!(unknown.events.is_empty());
        assert_eq!(inlet.fault(), None);
    }

    #[test]
    fn an_answer_over_the_limit_is_counted_and_passed_but_not_kept() {
        let long = WORD.replace("Hi", &"x".repeat(100_000));
        let mut pieces = vec![ROLE];
        let times = usize::try_from(MAX_KEPT_BYTES / 100_000).unwrap() + 1;
        pieces.extend(std::iter::repeat_n(long.as_str(), times));
        pieces.extend([STOP, DONE]);
        let (inlet, steps) = read(&pieces);
        assert_eq!((inlet.fault(), steps.len()), (None, pieces.len()));
        assert_eq!(inlet.seen().output_bytes, 100_000 * times as u64);
        assert_eq!(inlet.finished(), None);
    }

    #[test]
    fn an_end_without_its_blank_line_counts_where_it_is_whole() {
        let message = "event: message_stop\ndata: {\"type\":\"message_stop\"}";
        let begun = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"x\",\"model\":\"m\"}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
        let chat = [ROLE, WORD, STOP].concat();
        for (protocol, before, last) in [
            (Protocol::Chat, chat.as_str(), "data: [DONE]"),
            (Protocol::Chat, chat.as_str(), "data: [DONE]\n"),
            (Protocol::Chat, chat.as_str(), "data:[DONE]\r\n"),
            (Protocol::Messages, begun, message),
            (Protocol::Messages, begun, &format!("{message}\n")),
        ] {
            let mut inlet = Inlet::new(protocol, true);
            inlet.watch(before.as_bytes());
            inlet.watch(last.as_bytes());
            assert_eq!(inlet.fault(), Some(Break::MissingEnd), "{last}");
            let step = inlet.end().unwrap();
            assert_eq!(step.name.is_some(), protocol == Protocol::Messages);
            assert_eq!(inlet.fault(), None, "{last}");
            assert!(inlet.finished().is_some() && inlet.inside_event());
            assert_eq!(inlet.end(), None);
        }
        // What was cut, and what is no end, is none.
        for last in [
            "data: [DON",
            "data: {\"choices\":[{\"del",
            WORD.trim_end(),
            "event: x",
            ": [DONE]",
            "[DONE]",
        ] {
            let (mut inlet, _) = read(&[ROLE, WORD, STOP, last]);
            assert_eq!(inlet.end(), None, "{last}");
            assert_eq!(inlet.fault(), Some(Break::MissingEnd), "{last}");
            assert_eq!(inlet.seen().output_bytes, 2);
        }
    }

    #[test]
    fn an_event_of_four_mebibytes_is_read_and_a_larger_one_is_not() {
        for (bytes, fits) in [(4_000_000, true), (MAX_EVENT_BYTES + 1, false)] {
            let long = WORD.replace("Hi", &"x".repeat(bytes));
            let (inlet, steps) = read(&[ROLE, &long, STOP, DONE]);
            assert_eq!((inlet.fault().is_none(), steps.len() == 4), (fits, fits));
        }
    }

    #[test]
    fn sound_and_pictures_are_output() {
        for delta in [
            "{\"audio\":{\"id\":\"a\",\"data\":\"AA\"}}",
            "{\"images\":[{\"type\":\"image_url\"}]}",
        ] {
            let chunk = WORD.replace("{\"content\":\"Hi\"}", delta);
            let (inlet, _) = read(&[ROLE, &chunk, STOP, DONE]);
            assert!(inlet.seen().output && inlet.seen().media);
            assert!(inlet.finished().is_some_and(|whole| !whole.is_empty()));
        }
        let nothing = WORD.replace("{\"content\":\"Hi\"}", "{\"audio\":null,\"images\":[]}");
        let (inlet, _) = read(&[ROLE, &nothing]);
        assert!(!inlet.seen().output && !inlet.seen().media);
    }

    proptest! {
        /// Where the bytes are cut makes no difference.
        #[test]
        fn pieces_of_any_size_are_the_same_stream(sizes in proptest::collection::vec(1_usize..50, 1..20), crlf in any::<bool>()) {
            let text = [ROLE, WORD, "event: note\ndata: {\"a\":\"你好\"}\n\n", STOP, USAGE, DONE].concat();
            let text = if crlf { text.replace('\n', "\r\n") } else { text };
            let (whole, expected) = read(&[&text]);
            let mut inlet = Inlet::new(Protocol::Chat, true);
            let (mut steps, mut rest, mut sizes) = (Vec::new(), text.as_bytes(), sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                inlet.push(piece, &mut steps);
                rest = more;
            }
            assert_eq!(steps, expected);
            assert_eq!(inlet.seen(), whole.seen());
            let mut watched = Inlet::new(Protocol::Chat, true);
            watched.watch(text.as_bytes());
            assert_eq!(watched.seen(), whole.seen());
        }
    }
}
