//! What an owner's `Idempotency-Key`s stand for: the upload that is under way, or the reply of the one that was stored.
//!
//! ```text
//! (free) ──claim──▶ running ──finish──▶ finished ──ttl──▶ (free)
//!    ▲                 │ ▲──renew──┘
//!    └──free, lease────┘
//! ```
//! A running upload holds its key by a lease that it renews as its body comes, so that one whose Worker was lost frees its
//! key by itself. Whoever claims a key after that takes it away from the upload that had it: that one cannot finish.

use serde::{Deserialize, Serialize};

use crate::base::machine::Write;
use crate::base::time::Millis;

/// How long a running upload holds its key without renewing: 30 s. What a crash leaves behind is free after that.
pub const LEASE: Millis = Millis::from_secs(30);

/// Most finished uploads that one owner's keys stand for; beyond it the oldest are forgotten. A row is below 2 KiB, so
/// that all of them are below 512 KiB = 256 × 2 KiB.
pub const MAX_FINISHED: usize = 256;

/// A stored upload and what its key is to stand for from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// The key's digest.
    pub key: String,
    /// Digest of everything that the form said.
    pub fingerprint: String,
    /// The reply's body.
    pub body: String,
    /// How long the key stands for it.
    pub ttl: Millis,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing, or what asks.
    Free,
    /// Another upload is under way, and may be for that long without a sign of life.
    Running(Millis),
    /// An upload that was stored.
    Finished {
        /// Digest of everything that its form said.
        fingerprint: String,
        /// The reply's body.
        body: String,
    },
}

/// The keys of one owner, by their digests: the keys themselves are never kept. They are few enough to be looked through.
#[derive(Debug, Default)]
pub struct Keys(Vec<(String, Row)>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// The id of the document that the upload is to become, or became.
    document: String,
    /// Until when a running upload has the key to itself.
    lease: Millis,
    /// From when on an upload counts as given up, or its reply is forgotten.
    expires: Millis,
    /// Of a finished upload; while it runs there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// The reply's body; empty while it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    body: String,
}

impl Row {
    const fn is_finished(&self) -> bool {
        self.fingerprint.is_some()
    }

    fn standing(&self) -> Standing {
        Standing::Finished {
            fingerprint: self.fingerprint.clone().unwrap_or_default(),
            body: self.body.clone(),
        }
    }
}

const ROW_PREFIX: &str = "key/";

impl Keys {
    /// Takes a stored row in; `false` when it is none of a key.
    pub fn load(&mut self, row_key: &str, value: &str) -> bool {
        let key = row_key.strip_prefix(ROW_PREFIX);
        if let (Some(key), Ok(row)) = (key, serde_json::from_str(value)) {
            self.0.push((key.to_owned(), row));
            return true;
        }
        false
    }

    /// What the key stands for in the eyes of the upload that is to become `document`.
    #[must_use]
    pub fn standing(&self, now: Millis, key: &str, document: &str) -> Standing {
        match self.row(key) {
            Some(row) if row.is_finished() && now < row.expires => row.standing(),
            Some(row) if !row.is_finished() && now < row.lease && row.document != document => {
                Standing::Running(row.lease.since(now))
            }
            _ => Standing::Free,
        }
    }

    /// Gives a free key to an upload.
    pub fn claim(
        &mut self,
        now: Millis,
        key: String,
        document: String,
        abandoned: Millis,
    ) -> Option<Write> {
        let row = Row {
            document,
            lease: now.plus(LEASE),
            expires: abandoned,
            fingerprint: None,
            body: String::new(),
        };
        self.put(key, row)
    }

    /// Does the key belong to this running upload? Its lease may be over, as long as nobody else took the key.
    #[must_use]
    pub fn holds(&self, key: &str, document: &str) -> bool {
        let row = self.row(key);
        row.is_some_and(|row| !row.is_finished() && row.document == document)
    }

    /// Gives the key's upload another [`LEASE`], when [`Keys::holds`] is true of it.
    pub fn renew(&mut self, now: Millis, key: &str) -> Option<Write> {
        let (key, row) = self.0.iter_mut().find(|(known, _)| known == key)?;
        row.lease = now.plus(LEASE);
        row_write(key, row)
    }

    /// From now on the key stands for the reply. What is too many goes, the oldest first.
    pub fn finish(&mut self, now: Millis, document: String, finish: Finish) -> Vec<Write> {
        let row = Row {
            document,
            lease: now,
            expires: now.plus(finish.ttl),
            fingerprint: Some(finish.fingerprint),
            body: finish.body,
        };
        let mut writes: Vec<Write> = self.put(finish.key, row).into_iter().collect();
        loop {
            let finished = self.0.iter().filter(|(_, row)| row.is_finished());
            if finished.clone().count() <= MAX_FINISHED {
                return writes;
            }
            let oldest = finished.min_by_key(|(_, row)| row.expires);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                return writes;
            };
            writes.extend(self.remove(|known, _| known == key));
        }
    }

    /// The reply of the upload that became this document.
    #[must_use]
    pub fn finished(&self, document: &str) -> Option<Standing> {
        let mut rows = self.0.iter().map(|(_, row)| row);
        rows.find(|row| row.is_finished() && row.document == document)
            .map(Row::standing)
    }

    /// Frees the key of an upload that failed.
    pub fn free(&mut self, document: &str) -> Vec<Write> {
        self.remove(|_, row| !row.is_finished() && row.document == document)
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: Millis) -> Vec<Write> {
        self.remove(|_, row| row.expires <= now)
    }

    /// When the next one is over.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.0.iter().map(|(_, row)| row.expires).min()
    }

    /// Is there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn row(&self, key: &str) -> Option<&Row> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, row)| row)
    }

    fn put(&mut self, key: String, row: Row) -> Option<Write> {
        let write = row_write(&key, &row);
        self.0.retain(|(known, _)| *known != key);
        self.0.push((key, row));
        write
    }

    fn remove(&mut self, which: impl Fn(&str, &Row) -> bool) -> Vec<Write> {
        let mut writes = Vec::new();
        self.0.retain(|(key, row)| {
            let goes = which(key, row);
            if goes {
                writes.push(Write {
                    key: format!("{ROW_PREFIX}{key}"),
                    value: None,
                });
            }
            !goes
        });
        writes
    }
}

fn row_write(key: &str, row: &Row) -> Option<Write> {
    Some(Write {
        key: format!("{ROW_PREFIX}{key}"),
        value: Some(serde_json::to_string(row).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Just, Strategy, prop_oneof, proptest};

    use super::{Finish, LEASE, MAX_FINISHED};
    use crate::base::machine::{Effects, Machine};
    use crate::base::time::Millis;
    use crate::domain::documents::manifest::Document;
    use crate::domain::documents::manifest::tests::document;
    use crate::domain::documents::owner::{Command, Intent, Limits, OwnerDocuments, Reply};

    const HOUR: Millis = Millis::from_secs(3600);
    /// When the documents are over, which is before their keys are.
    const OVER: Millis = Millis::from_secs(1000);
    const TTL: Millis = Millis::from_secs(86_400);

    fn begin_at(now: Millis, id: &str, key: &str, count: u32) -> Command {
        Command::Begin {
            intent: Intent {
                id: id.into(),
                owner: "vis_1".into(),
                network: "n1".into(),
                reserved: 5,
                segments: 3,
                abandoned: now.plus(HOUR),
                version: 1,
                mark: String::new(),
            },
            limits: Limits {
                count,
                bytes: 10_000,
            },
            key: Some(key.into()),
            owner_key: "owner's".into(),
            who: None,
        }
    }

    fn begun() -> Reply {
        Reply::Begun {
            owner_key: "owner's".into(),
        }
    }

    fn begin(id: &str, key: &str) -> Command {
        begin_at(Millis(0), id, key, 100)
    }

    fn commit(id: &str, key: &str) -> Command {
        Command::Commit {
            document: Document {
                expires: OVER,
                ..document(id, &[4, 1])
            },
            finish: Some(Finish {
                key: key.into(),
                fingerprint: format!("print of {id}"),
                body: format!("reply about {id}"),
                ttl: TTL,
            }),
            keep: 1,
        }
    }

    fn renew(id: &str, key: &str) -> Command {
        Command::Renew {
            id: id.into(),
            key: key.into(),
        }
    }

    fn abort(id: &str) -> Command {
        Command::Abort {
            id: id.into(),
            mark: String::new(),
        }
    }

    fn repeated(id: &str) -> Reply {
        Reply::Repeated {
            fingerprint: format!("print of {id}"),
            body: format!("reply about {id}"),
        }
    }

    /// An owner that takes its rows from storage before each command.
    #[derive(Default)]
    struct Stored {
        rows: BTreeMap<String, String>,
        alarm: Option<Millis>,
    }

    impl Stored {
        fn owner(&self, now: Millis) -> OwnerDocuments {
            OwnerDocuments::load(now, self.rows.clone().into_iter().collect())
        }

        fn tell(&mut self, now: u64, command: Command) -> Reply {
            let (reply, effects) = self.owner(Millis(now)).apply(Millis(now), command);
            self.persist(effects);
            reply
        }

        fn wake(&mut self, now: Millis) {
            self.alarm = None;
            let effects = self.owner(now).wake(now);
            self.persist(effects);
        }

        fn persist(&mut self, effects: Effects) {
            effects.keep_in(&mut self.rows, &mut self.alarm);
        }

        fn keys(&self) -> Vec<&str> {
            let keys = self.rows.keys();
            keys.filter_map(|key| key.strip_prefix("key/")).collect()
        }
    }

    #[test]
    fn a_key_is_taken_then_stands_for_the_reply_and_then_is_free() {
        let mut owner = Stored::default();
        assert_eq!(owner.tell(0, begin("a", "k")), begun());
        assert_eq!(
            owner.tell(10_000, begin("b", "k")),
            Reply::Busy {
                wait: Millis(20_000)
            }
        );
        assert_eq!(owner.tell(10_000, begin("b", "other")), begun());
        assert_eq!(owner.tell(11_000, commit("a", "k")), Reply::Done);
        assert_eq!(owner.tell(11_000, begin("c", "k")), repeated("a"));
        let over = 11_000 + TTL.0;
        assert_eq!(owner.tell(over - 1, begin("c", "k")), repeated("a"));
        assert_eq!(
            owner.tell(over, begin_at(Millis(over), "c", "k", 100)),
            begun()
        );
    }

    #[test]
    fn a_repetition_takes_no_room_and_needs_none() {
        let mut owner = Stored::default();
        owner.tell(0, begin_at(Millis(0), "a", "k", 1));
        let before = owner.rows.clone();
        assert!(matches!(
            owner.tell(1, begin_at(Millis(0), "b", "k", 1)),
            Reply::Busy { .. }
        ));
        assert_eq!(owner.rows, before);
        owner.tell(2, commit("a", "k"));
        let before = owner.rows.clone();
        assert_eq!(
            owner.tell(3, begin_at(Millis(0), "b", "k", 1)),
            repeated("a")
        );
        assert_eq!(owner.rows, before);
    }

    #[test]
    fn an_upload_without_room_takes_no_key() {
        let mut owner = Stored::default();
        let full = owner.tell(0, begin_at(Millis(0), "a", "k", 0));
        assert!(matches!(full, Reply::Full { .. }));
        assert_eq!(owner.keys(), [""; 0]);
    }

    #[test]
    fn what_fails_frees_its_key_at_once_and_nobody_elses() {
        let mut owner = Stored::default();
        owner.tell(0, begin("a", "k"));
        owner.tell(0, begin("b", "other"));
        assert!(matches!(owner.tell(1, abort("a")), Reply::Purge { .. }));
        assert_eq!(owner.keys(), ["other"]);
        assert_eq!(owner.tell(2, begin("c", "k")), begun());
    }

    #[test]
    fn what_was_lost_frees_its_key_when_its_lease_is_over_and_cannot_finish_then() {
        let mut owner = Stored::default();
        owner.tell(0, begin("a", "k"));
        let last = LEASE.0 - 1;
        assert_eq!(
            owner.tell(last, begin("b", "k")),
            Reply::Busy { wait: Millis(1) }
        );
        assert_eq!(owner.tell(last, renew("a", "k")), Reply::Done);
        assert_eq!(
            owner.tell(LEASE.0, begin("b", "k")),
            Reply::Busy { wait: Millis(last) }
        );
        let over = last + LEASE.0;
        assert_eq!(
            owner.tell(over, renew("a", "k")),
            Reply::Done,
            "nobody wants it"
        );
        let over = over + LEASE.0;
        assert_eq!(owner.tell(over, begin("b", "k")), begun());
        assert_eq!(owner.tell(over, renew("a", "k")), Reply::NotFound);
        assert_eq!(owner.tell(over, commit("a", "k")), Reply::NotFound);
        assert!(matches!(owner.tell(over, abort("a")), Reply::Purge { .. }));
        assert_eq!(
            owner.tell(over, commit("b", "k")),
            Reply::Done,
            "and has not freed it"
        );
    }

    #[test]
    fn a_repeated_begin_or_commit_is_no_second_upload() {
        let mut owner = Stored::default();
        for _ in 0..2 {
            assert_eq!(owner.tell(0, begin("a", "k")), begun());
        }
        for _ in 0..2 {
            assert_eq!(owner.tell(1, commit("a", "k")), Reply::Done);
        }
        // The document, what its key stands for, and the owner's key.
        assert_eq!(owner.rows.len(), 3);
    }

    #[test]
    fn a_document_that_was_stored_under_a_key_is_not_taken_back() {
        let mut owner = Stored::default();
        owner.tell(0, begin("a", "k"));
        owner.tell(1, commit("a", "k"));
        assert_eq!(owner.tell(2, abort("a")), repeated("a"));
        let get = Command::Get {
            id: "a".into(),
            version: None,
            who: None,
        };
        assert!(matches!(owner.tell(2, get), Reply::Found { .. }));
    }

    #[test]
    fn a_key_outlives_its_document_and_goes_by_the_alarm() {
        let mut owner = Stored::default();
        owner.tell(0, begin("a", "k"));
        owner.tell(1, commit("a", "k"));
        owner.tell(2, Command::Delete { id: "a".into() });
        let gone = Command::Purged {
            ids: vec!["a".into()],
        };
        owner.tell(3, gone);
        assert_eq!(owner.tell(4, begin("b", "k")), repeated("a"));
        let sweep = owner.tell(5, Command::Sweep { limit: 9 });
        assert!(
            matches!(sweep, Reply::Purge { next_due: None, .. }),
            "a key needs no visit: {sweep:?}"
        );
        let alarm = owner.alarm.unwrap();
        assert_eq!(alarm, Millis(1 + TTL.0));
        owner.wake(Millis(alarm.0 - 1));
        assert_eq!(
            (owner.keys(), owner.alarm),
            (vec!["k"], Some(alarm)),
            "a bell that rang too early"
        );
        owner.wake(alarm);
        assert_eq!((owner.rows.len(), owner.alarm), (0, None));
    }

    #[test]
    fn too_many_keys_forget_the_oldest_finished_ones() {
        let mut owner = Stored::default();
        owner.tell(0, begin_at(Millis(0), "running", "running", 1000));
        for i in 0..MAX_FINISHED + 2 {
            let (id, key) = (format!("d{i:04}"), format!("k{i:04}"));
            owner.tell(1 + i as u64, begin_at(Millis(0), &id, &key, 1000));
            assert_eq!(owner.tell(1 + i as u64, commit(&id, &key)), Reply::Done);
        }
        let keys = owner.keys();
        assert_eq!(keys.len(), MAX_FINISHED + 1);
        assert_eq!(
            (keys[0], keys[MAX_FINISHED - 1], keys[MAX_FINISHED]),
            ("k0002", "k0257", "running")
        );
    }

    #[test]
    fn the_stored_rows_are_pinned() {
        // A change here frees every key: what is repeated then is stored twice.
        let mut owner = Stored::default();
        owner.tell(0, begin("a", "k"));
        let running = r#"{"document":"a","lease":30000,"expires":3600000}"#;
        assert_eq!(owner.rows["key/k"], running);
        owner.tell(1, commit("a", "k"));
        let finished = r#"{"document":"a","lease":1,"expires":86400001,"fingerprint":"print of a","body":"reply about a"}"#;
        assert_eq!(owner.rows["key/k"], finished);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin(usize, u32),
        Commit(usize),
        Abort(usize),
        Renew(usize),
        Delete(usize),
        Sweep,
        Bell,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let which = 0usize..9;
        prop_oneof![
            4 => (which.clone(), 0u32..6).prop_map(|(i, count)| Step::Begin(i, count)),
            4 => which.clone().prop_map(Step::Commit),
            1 => which.clone().prop_map(Step::Abort),
            1 => which.clone().prop_map(Step::Renew),
            1 => which.prop_map(Step::Delete),
            1 => Just(Step::Sweep),
            1 => Just(Step::Bell),
        ]
    }

    proptest! {
        /// Nine uploads, three to a key, in any order with any time between.
        #[test]
        fn one_key_is_one_document_and_never_stuck(
            steps in proptest::collection::vec((any_step(), 0u64..20_000), 0..80),
        ) {
            let mut owner = Stored::default();
            let mut now = 0;
            let ids: Vec<String> = (0..9).map(|i| format!("d{i}")).collect();
            let key = |i: usize| ["k0", "k1", "k2"][i % 3];
            // By key: who has it and until when, and what it stands for and until when.
            let mut leases: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
            let mut replies: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
            for (step, passed) in steps {
                now += passed;
                match step {
                    Step::Begin(i, count) => {
                        let reply = owner.tell(now, begin_at(Millis(now), &ids[i], key(i), count));
                        let standing = replies.get(key(i)).filter(|(_, until)| now < *until);
                        let running = leases.get(key(i)).filter(|(of, until)| now < *until && *of != i);
                        match (standing, running) {
                            (Some((of, _)), _) => assert_eq!(reply, repeated(&ids[*of])),
                            (None, Some((_, until))) => assert_eq!(reply, Reply::Busy { wait: Millis(until - now) }),
                            (None, None) => assert!(!matches!(reply, Reply::Busy { .. } | Reply::Repeated { .. })),
                        }
                        if reply == begun() {
                            leases.insert(key(i), (i, now + LEASE.0));
                        }
                    }
                    Step::Commit(i) => {
                        let before = replies.get(key(i)).copied();
                        let reply = owner.tell(now, commit(&ids[i], key(i)));
                        let holds = leases.get(key(i)).is_some_and(|(of, _)| *of == i);
                        if reply == Reply::Done {
                            let again = before.is_some_and(|(of, _)| of == i);
                            assert!(holds || again, "{i} finished without its key");
                            if holds {
                                leases.remove(key(i));
                                replies.insert(key(i), (i, now + TTL.0));
                            }
                        }
                    }
                    Step::Abort(i) => {
                        let reply = owner.tell(now, abort(&ids[i]));
                        if !matches!(reply, Reply::Repeated { .. }) && leases.get(key(i)).is_some_and(|(of, _)| *of == i) {
                            leases.remove(key(i));
                        }
                    }
                    Step::Renew(i) => {
                        let holds = leases.get(key(i)).is_some_and(|(of, _)| *of == i);
                        let reply = owner.tell(now, renew(&ids[i], key(i)));
                        assert_eq!(reply == Reply::Done, holds, "{reply:?}");
                        if holds {
                            leases.insert(key(i), (i, now + LEASE.0));
                        }
                    }
                    Step::Delete(i) => {
                        owner.tell(now, Command::Delete { id: ids[i].clone() });
                    }
                    Step::Sweep => {
                        if let Reply::Purge { purges, .. } = owner.tell(now, Command::Sweep { limit: 2 }) {
                            let ids = purges.into_iter().map(|purge| purge.id).collect();
                            owner.tell(now, Command::Purged { ids });
                        }
                    }
                    Step::Bell => owner.wake(Millis(now)),
                }
            }
            // Nobody is heard of again: every key is free, or gives the one reply that it stands for.
            now += LEASE.0;
            for (i, key) in ["k0", "k1", "k2"].iter().enumerate() {
                let reply = owner.tell(now, begin_at(Millis(now), &format!("new{i}"), key, 1000));
                match replies.get(key).filter(|(_, until)| now < *until) {
                    Some((of, _)) => assert_eq!(reply, repeated(&ids[*of])),
                    None => assert_eq!(reply, begun()),
                }
            }
            // And in the end nothing is left, by the bell and the sweep alone.
            for _ in 0..40 {
                let Some(at) = owner.alarm.filter(|_| !owner.rows.is_empty()) else { break };
                now = now.max(at.0);
                owner.wake(Millis(now));
                while let Reply::Purge { purges, .. } = owner.tell(now, Command::Sweep { limit: 9 }) {
                    if purges.is_empty() { break }
                    let ids = purges.into_iter().map(|purge| purge.id).collect();
                    owner.tell(now, Command::Purged { ids });
                }
            }
            assert_eq!((owner.rows.len(), owner.alarm), (0, None));
        }
    }
}
