//! A stored answer: what the object `Stream` keeps of one call, so that any number of clients can read it from any
//! place, now or later.
//!
//! A synchronous machine like the others; its shell runs the call and feeds what passes. Rows are written in batches
//! as the answer passes, so that nothing depends on a shutdown hook.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::digest::{base64url, from_base64url};
use crate::base::errors::{Code, Refusal};
use crate::base::machine::{Effects, Write};
use crate::base::sse::write_event;
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::render::{error_frame, error_object};

/// The log of one answer.
#[derive(Debug, Default)]
pub struct Log {
    meta: Option<Meta>,
    bytes: Vec<u8>,
    /// Where each event begins; the event's number is its index.
    events: Vec<usize>,
    /// Bytes that are in rows already.
    written: usize,
    batches: u64,
}

/// What is known of a stored answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    /// Version of this format.
    v: u8,
    status: Status,
    /// Who may read it: the principal's partition.
    owner: String,
    /// Digest of the request, for repeated keys.
    digest: String,
    created: Millis,
    expires: Millis,
    /// Aborted when nobody has read for so long; `None` never.
    grace: Option<Millis>,
    /// The answer's status and headers, once it began.
    head: Option<Head>,
    /// Is the body a stream of numbered events?
    stream: bool,
    /// What the caller sent, where it can be asked for again (Responses API).
    request: Option<String>,
    /// The caller's protocol, for an error at the end of a lost stream.
    protocol: Protocol,
    /// The request that began it.
    request_id: String,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

/// Why there is no answer, in OpenAI's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Error {
    /// Of a refusal.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Self {
        let text = &refusal.code.entry().en;
        let object = error_object(Protocol::Responses, refusal, text, "");
        let field = |name: &str| {
            let field = object.get("error").and_then(|error| error.get(name));
            field.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Self {
            code: field("code"),
            message: field("message"),
        }
    }
}

/// The owner of a call that several callers share.
pub const FLIGHT: &str = "flight";

/// Version of [`Meta`].
const VERSION: u8 = 1;

/// Where an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is being made.
    Running,
    /// It is whole.
    Done,
    /// It ended with an error; what there is can still be read.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// The object went away while it was being made.
    Lost,
}

/// An answer's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Headers that belong to the answer itself.
    pub headers: Vec<(String, String)>,
}

/// A call that wants to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Who may read it.
    pub owner: String,
    /// Digest of the request.
    pub digest: String,
    /// How long it is kept after its end.
    pub ttl: Millis,
    /// How long it may run unread; `None` for a call that runs in the background.
    pub grace: Option<Millis>,
    /// Is the answer a stream?
    pub stream: bool,
    /// What to keep of the request.
    pub request: Option<String>,
    /// The caller's protocol.
    pub protocol: Protocol,
    /// The request that begins it.
    pub request_id: String,
}

/// What a call is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// Run: nobody did so far, or what there was is void.
    Run,
    /// Read what another call makes or made.
    Attach,
    /// The same key with another request.
    Conflict,
}

/// The owner of an answer that was asked for without a cookie: whoever has its id may read it, also a visitor who got a
/// cookie in the meantime.
pub const HOLDER: &str = "holder";

/// Longest row, in bytes: far below SQLite's 2 MB for a value.
const MAX_ROW_BYTES: usize = 524_288;
/// What a row begins with that holds bytes in base64url: no event and no JSON text begins like this.
const BINARY: &str = "\u{0}base64:";
/// A running answer is at the latest given up after this: 15 min × 60 s, what the platform keeps an object alive for.
const LONGEST_RUN: Millis = Millis::from_secs(900);

impl Log {
    /// Rebuilds the log from its rows. An answer that was being made is lost with the object that made it.
    #[must_use]
    pub fn load(rows: Vec<(String, String)>) -> Self {
        let mut log = Self::default();
        let mut batches: Vec<(String, String)> = Vec::new();
        for (key, value) in rows {
            if key == "meta" {
                log.meta = serde_json::from_str(&value)
                    .ok()
                    .filter(|meta: &Meta| meta.v == VERSION);
            } else {
                batches.push((key, value));
            }
        }
        batches.sort();
        for (_, text) in &batches {
            match text.strip_prefix(BINARY) {
                Some(encoded) => log.extend(&from_base64url(encoded).unwrap_or_default()),
                None => log.extend(text.as_bytes()),
            }
        }
        log.written = log.bytes.len();
        log.batches = batches.len() as u64;
        if let Some(meta) = &mut log.meta
            && meta.status == Status::Running
        {
            meta.status = Status::Lost;
            log.say_lost();
        }
        log
    }

    /// A stream that was cut with its object ends with an error in the caller's dialect, never just so. The rows still
    /// say that it is being made, so that every load comes to the same.
    fn say_lost(&mut self) {
        let Some(meta) = self
            .meta
            .as_ref()
            .filter(|meta| meta.stream && meta.head.is_some())
        else {
            return;
        };
        let number = self.events.len() as u64;
        let refusal = Refusal::new(Code::StreamLost);
        let frame = error_frame(meta.protocol, &refusal, &meta.request_id, number);
        let mut event = Vec::new();
        if !self.events.is_empty() || self.bytes.is_empty() {
            event.extend_from_slice(format!("id: {number}\n").as_bytes());
        }
        write_event(&mut event, frame.event, &frame.data);
        self.extend(&event);
        self.written = self.bytes.len();
    }

    /// A call wants to run or to read.
    pub fn begin(&mut self, now: Millis, begin: Begin) -> (Began, Effects) {
        if let Some(meta) = &self.meta {
            // What failed or was stopped was no answer: whoever asks again wants one. A shared call is joined while it
            // runs; what has ended is the cache's matter.
            let stands = match meta.status {
                Status::Running => true,
                Status::Done => begin.owner != FLIGHT,
                Status::Failed | Status::Cancelled | Status::Lost => false,
            };
            let void = now >= meta.expires || !stands;
            if !void {
                let same = meta.digest == begin.digest && meta.owner == begin.owner;
                let began = if same { Began::Attach } else { Began::Conflict };
                return (began, Effects::default());
            }
        }
        let mut writes = self.forget();
        self.meta = Some(Meta {
            v: VERSION,
            status: Status::Running,
            owner: begin.owner,
            digest: begin.digest,
            created: now,
            // Should the object die before it can say more.
            expires: now.plus(LONGEST_RUN).plus(begin.ttl),
            grace: begin.grace,
            head: None,
            stream: begin.stream,
            request: begin.request,
            protocol: begin.protocol,
            request_id: begin.request_id,
            error: None,
        });
        writes.extend(self.meta_row());
        (Began::Run, self.effects(writes))
    }

    /// The answer begins.
    pub fn head(&mut self, head: Head) -> Effects {
        if let Some(meta) = &mut self.meta {
            meta.head = Some(head);
        }
        let writes = self.meta_row().into_iter().collect();
        self.effects(writes)
    }

    /// More of the answer; rows are written by [`Log::flush`].
    pub fn append(&mut self, bytes: &[u8]) {
        self.extend(bytes);
    }

    /// Writes what is in no row yet. `all` also writes what may be half an event.
    pub fn flush(&mut self) -> Effects {
        let mut writes = Vec::new();
        let new = self.bytes.get(self.written..).unwrap_or_default();
        // Bytes are text wherever they come from us or from a JSON body; a cut inside a character waits.
        let valid = match str::from_utf8(new) {
            Ok(text) => text,
            Err(error) => new
                .get(..error.valid_up_to())
                .and_then(|valid| str::from_utf8(valid).ok())
                .unwrap_or_default(),
        };
        let mut rest = valid;
        while !rest.is_empty() {
            let mut at = rest.len().min(MAX_ROW_BYTES);
            while !rest.is_char_boundary(at) {
                at = at.saturating_sub(1);
            }
            let (row, tail) = rest.split_at(at);
            writes.push(Write {
                key: format!("log/{:08}", self.batches),
                value: Some(row.to_owned()),
            });
            self.batches = self.batches.saturating_add(1);
            rest = tail;
        }
        self.written = self.written.saturating_add(valid.len());
        Effects {
            writes,
            ..Effects::default()
        }
    }

    /// The answer is over. Everything is written, and the time until it is forgotten begins.
    pub fn end(&mut self, now: Millis, status: Status, ttl: Millis) -> Effects {
        let mut effects = self.flush();
        // What is left is no text.
        let rest = self.bytes.get(self.written..).unwrap_or_default();
        for piece in rest.chunks(MAX_ROW_BYTES / 2) {
            effects.writes.push(Write {
                key: format!("log/{:08}", self.batches),
                value: Some(format!("{BINARY}{}", base64url(piece))),
            });
            self.batches = self.batches.saturating_add(1);
        }
        self.written = self.bytes.len();
        if let Some(meta) = &mut self.meta {
            meta.status = status;
            meta.expires = now.plus(ttl);
        }
        effects.writes.extend(self.meta_row());
        let writes = core::mem::take(&mut effects.writes);
        self.effects(writes)
    }

    /// Notes why there will be no answer; [`Log::end`] writes it.
    pub fn fail(&mut self, refusal: &Refusal) {
        if let Some(meta) = &mut self.meta {
            meta.error = Some(Error::of(refusal));
        }
    }

    /// Why there is no answer.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let meta = self.meta.as_ref()?;
        let lost = || Error::of(&Refusal::new(Code::StreamLost));
        let is_lost = meta.status == Status::Lost;
        meta.error.clone().or_else(|| is_lost.then(lost))
    }

    /// Called by the alarm.
    pub fn wake(&mut self, now: Millis) -> Effects {
        match &self.meta {
            Some(meta) if now < meta.expires => self.effects(Vec::new()),
            _ => {
                *self = Self::default();
                Effects {
                    delete_all: true,
                    ..Effects::default()
                }
            }
        }
    }

    /// Where the answer stands, for someone who may know.
    #[must_use]
    pub fn status(&self, now: Millis, owner: &str) -> Option<Status> {
        let meta = self.meta.as_ref()?;
        let may_know = meta.owner == owner || meta.owner == HOLDER;
        (now < meta.expires && may_know).then_some(meta.status)
    }

    /// The answer's head, once it began.
    #[must_use]
    pub fn answer_head(&self) -> Option<&Head> {
        self.meta.as_ref()?.head.as_ref()
    }

    /// What was kept of the request.
    #[must_use]
    pub fn request(&self) -> Option<&str> {
        self.meta.as_ref()?.request.as_deref()
    }

    /// Is the body a stream of events?
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.meta.as_ref().is_some_and(|meta| meta.stream)
    }

    /// Was it asked for in that protocol?
    #[must_use]
    pub fn speaks(&self, protocol: Protocol) -> bool {
        let meta = self.meta.as_ref();
        meta.is_some_and(|meta| meta.protocol == protocol)
    }

    /// When it began.
    #[must_use]
    pub fn created(&self) -> Millis {
        self.meta.as_ref().map_or(Millis(0), |meta| meta.created)
    }

    /// How long it may run unread.
    #[must_use]
    pub fn grace(&self) -> Option<Millis> {
        self.meta.as_ref()?.grace
    }

    /// Where to begin reading behind the event of that number: a byte position. A reader who had more of a lost stream
    /// than was written is at least told that it is lost.
    #[must_use]
    pub fn position_after(&self, event: Option<u64>) -> usize {
        let Some(event) = event else { return 0 };
        let next = usize::try_from(event)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let lost = self
            .meta
            .as_ref()
            .is_some_and(|meta| meta.status == Status::Lost);
        let last = self.events.last().copied().filter(|_| lost);
        let beyond = last.unwrap_or(self.bytes.len());
        self.events.get(next).copied().unwrap_or(beyond)
    }

    /// What stands from a byte position on.
    #[must_use]
    pub fn read(&self, from: usize) -> &[u8] {
        self.bytes.get(from..).unwrap_or_default()
    }

    /// Bytes in all.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Has nothing come yet?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn extend(&mut self, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        // An event begins with its number, at the very beginning or behind a blank line; data holds no blank line.
        let from = start.saturating_sub(5);
        if self.events.is_empty() && self.bytes.starts_with(b"id: ") {
            self.events.push(0);
        }
        let window = self.bytes.get(from..).unwrap_or_default();
        let found: Vec<usize> = window
            .windows(6)
            .enumerate()
            .filter(|(_, six)| *six == b"\n\nid: ")
            .map(|(at, _)| from.saturating_add(at).saturating_add(2))
            .collect();
        for at in found {
            if self.events.last().is_none_or(|last| *last < at) {
                self.events.push(at);
            }
        }
    }

    /// Removes what an earlier, void answer left.
    fn forget(&mut self) -> Vec<Write> {
        let writes = (0..self.batches)
            .map(|batch| Write {
                key: format!("log/{batch:08}"),
                value: None,
            })
            .collect();
        *self = Self::default();
        writes
    }

    fn meta_row(&self) -> Option<Write> {
        let meta = self.meta.as_ref()?;
        Some(Write {
            key: "meta".to_owned(),
            value: serde_json::to_string(meta).ok(),
        })
    }

    fn effects(&self, writes: Vec<Write>) -> Effects {
        Effects {
            writes,
            alarm: self.meta.as_ref().map(|meta| meta.expires),
            delete_all: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Began, Begin, FLIGHT, HOLDER, Head, Log, Status};
    use crate::base::machine::Effects;
    use crate::base::time::Millis;
    use crate::domain::llm::Protocol;
    use std::collections::BTreeMap;

    const T: Millis = Millis(1_000_000);
    const TTL: Millis = Millis::from_secs(3600);

    fn begin(digest: &str) -> Begin {
        Begin {
            owner: "o".into(),
            digest: digest.into(),
            ttl: TTL,
            grace: None,
            stream: true,
            request: None,
            protocol: Protocol::Chat,
            request_id: "req_1".into(),
        }
    }

    fn head() -> Head {
        Head {
            status: 200,
            headers: vec![("a".into(), "b".into())],
        }
    }

    #[derive(Default)]
    struct Rows(BTreeMap<String, String>);

    impl Rows {
        fn keep(&mut self, effects: Effects) {
            effects.keep_in(&mut self.0, &mut None);
        }

        fn load(&self) -> Log {
            Log::load(self.0.clone().into_iter().collect())
        }
    }

    fn stream() -> String {
        (0..12)
            .map(|n| format!("id: {n}\ndata: piece {n} 你好 id: 9\n\n"))
            .collect()
    }

    #[test]
    fn reading_behind_any_event_goes_on_with_the_next_wherever_the_bytes_were_cut() {
        let text = stream();
        for cut in 0..text.len() {
            let mut log = Log::default();
            log.begin(T, begin("d"));
            let (a, b) = text.as_bytes().split_at(cut);
            log.append(a);
            log.append(b);
            for event in 0..12_u64 {
                let rest = log.read(log.position_after(Some(event)));
                let expected = text.find(&format!("\n\nid: {}\n", event + 1));
                let expected = expected.map_or("", |at| &text[at + 2..]);
                assert_eq!(str::from_utf8(rest).unwrap(), expected, "cut at {cut}");
            }
            assert_eq!(log.read(log.position_after(None)), text.as_bytes());
        }
    }

    #[test]
    fn a_finished_answer_outlives_its_object_byte_for_byte() {
        let (mut log, mut rows) = (Log::default(), Rows::default());
        let (began, effects) = log.begin(T, begin("d"));
        assert_eq!(began, Began::Run);
        rows.keep(effects);
        rows.keep(log.head(head()));
        for piece in stream().as_bytes().chunks(7) {
            log.append(piece);
            rows.keep(log.flush());
        }
        rows.keep(log.end(T, Status::Done, TTL));
        let mut again = rows.load();
        assert_eq!(again.read(0), stream().as_bytes());
        assert_eq!(again.position_after(Some(3)), log.position_after(Some(3)));
        assert_eq!(again.status(T, "o"), Some(Status::Done));
        assert_eq!(again.answer_head(), Some(&head()));
        assert_eq!(again.begin(T, begin("d")).0, Began::Attach);
    }

    #[test]
    fn an_answer_that_was_being_made_is_lost_with_its_object_and_its_key_is_free_again() {
        let (mut log, mut rows) = (Log::default(), Rows::default());
        rows.keep(log.begin(T, begin("d")).1);
        log.append(b"id: 0\ndata: x\n\n");
        rows.keep(log.flush());
        let mut again = rows.load();
        assert_eq!(again.status(T, "o"), Some(Status::Lost));
        let (began, effects) = again.begin(T, begin("d"));
        assert_eq!(began, Began::Run);
        rows.keep(effects);
        assert!(again.is_empty());
        assert!(rows.load().is_empty(), "no row of the lost answer is left");
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_too() {
        let (mut log, mut rows) = (Log::default(), Rows::default());
        rows.keep(log.begin(T, begin("d")).1);
        let audio: Vec<u8> = (0..=255).cycle().take(600_000).collect();
        log.append(&audio);
        rows.keep(log.flush());
        rows.keep(log.end(T, Status::Done, TTL));
        assert_eq!(rows.load().read(0), audio);
    }

    #[test]
    fn one_key_stands_for_one_request_until_it_expires() {
        let mut log = Log::default();
        log.begin(T, begin("d"));
        assert_eq!(log.begin(T, begin("d")).0, Began::Attach);
        assert_eq!(log.begin(T, begin("other")).0, Began::Conflict);
        log.end(T, Status::Done, TTL);
        assert_eq!(log.begin(T, begin("other")).0, Began::Conflict);
        let later = T.plus(TTL);
        assert_eq!(log.status(later, "o"), None);
        assert_eq!(log.begin(later, begin("other")).0, Began::Run);
    }

    #[test]
    fn what_failed_or_was_stopped_may_be_tried_again_with_the_same_key() {
        for status in [Status::Failed, Status::Cancelled] {
            let mut log = Log::default();
            log.begin(T, begin("d"));
            log.head(head());
            log.append(b"id: 0\ndata: x\n\n");
            log.end(T, status, TTL);
            assert_eq!(
                log.status(T, "o"),
                Some(status),
                "and can be read until then"
            );
            assert_eq!(log.begin(T, begin("d")).0, Began::Run);
            assert!(log.is_empty());
        }
    }

    #[test]
    fn a_stream_that_was_cut_with_its_object_ends_with_an_error_and_never_just_so() {
        for (protocol, name) in [
            (Protocol::Chat, "data: {\"error\":{\"message\":\""),
            (Protocol::Messages, "event: error\ndata: "),
            (Protocol::Responses, "event: error\ndata: "),
        ] {
            let (mut log, mut rows) = (Log::default(), Rows::default());
            let call = Begin {
                protocol,
                ..begin("d")
            };
            rows.keep(log.begin(T, call).1);
            rows.keep(log.head(head()));
            log.append(b"id: 0\ndata: x\n\n");
            rows.keep(log.flush());
            for _ in 0..2 {
                let mut again = rows.load();
                let rest = again.read(again.position_after(Some(0)));
                let rest = str::from_utf8(rest).unwrap();
                assert!(rest.starts_with(&format!("id: 1\n{name}")), "{rest}");
                assert!(rest.contains("stream_lost") && rest.contains("req_1"));
                // Some of what was delivered may not have been written.
                assert_eq!(again.position_after(Some(7)), again.position_after(Some(0)));
                rows.keep(again.flush());
            }
        }
    }

    #[test]
    fn an_answer_that_ended_well_has_nothing_added() {
        let (mut log, mut rows) = (Log::default(), Rows::default());
        rows.keep(log.begin(T, begin("d")).1);
        rows.keep(log.head(head()));
        log.append(b"id: 0\ndata: x\n\n");
        rows.keep(log.end(T, Status::Cancelled, TTL));
        assert_eq!(rows.load().read(0), b"id: 0\ndata: x\n\n");
    }

    #[test]
    fn a_shared_call_is_joined_while_it_runs_and_not_after() {
        let mut log = Log::default();
        let shared = || Begin {
            owner: FLIGHT.into(),
            ..begin("d")
        };
        assert_eq!(log.begin(T, shared()).0, Began::Run);
        assert_eq!(log.begin(T, shared()).0, Began::Attach);
        log.end(T, Status::Done, TTL);
        assert_eq!(log.begin(T, shared()).0, Began::Run);
    }

    #[test]
    fn nobody_but_the_owner_learns_of_an_answer() {
        let mut log = Log::default();
        log.begin(T, begin("d"));
        assert_eq!(log.status(T, "o"), Some(Status::Running));
        assert_eq!(log.status(T, "p"), None);
        assert_eq!(log.status(T, HOLDER), None);
    }

    #[test]
    fn an_answer_without_an_owner_is_read_by_whoever_has_its_id_also_with_a_cookie() {
        let mut log = Log::default();
        let unowned = Begin {
            owner: HOLDER.into(),
            ..begin("d")
        };
        log.begin(T, unowned);
        assert_eq!(log.status(T, HOLDER), Some(Status::Running));
        assert_eq!(log.status(T, "visitor/1"), Some(Status::Running));
    }

    #[test]
    fn the_alarm_removes_what_has_expired_and_nothing_earlier() {
        let mut log = Log::default();
        log.begin(T, begin("d"));
        let effects = log.end(T, Status::Done, TTL);
        assert_eq!(effects.alarm, Some(T.plus(TTL)));
        assert!(!log.wake(Millis(T.plus(TTL).0 - 1)).delete_all);
        assert!(log.wake(T.plus(TTL)).delete_all);
    }

    #[test]
    fn the_stored_format_is_pinned() {
        let mut rows = Rows::default();
        let mut log = Log::default();
        rows.keep(log.begin(T, begin("d")).1);
        rows.keep(log.head(head()));
        log.append(b"id: 0\ndata: x\n\n");
        rows.keep(log.end(T, Status::Done, TTL));
        let expected = BTreeMap::from([
            ("log/00000000".to_owned(), "id: 0\ndata: x\n\n".to_owned()),
            (
                "meta".to_owned(),
                r#"{"v":1,"status":"done","owner":"o","digest":"d","created":1000000,"expires":4600000,"grace":null,"head":{"status":200,"headers":[["a","b"]]},"stream":true,"request":null,"protocol":"chat","request_id":"req_1"}"#.to_owned(),
            ),
        ]);
        assert_eq!(rows.0, expected);
    }
}
