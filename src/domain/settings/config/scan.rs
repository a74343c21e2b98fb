//! Scanning of documents: what findings lead to, from where on something is a bomb, and a scanner outside.

use serde::{Deserialize, Serialize};

use super::fault::Faults;

/// Most content that may be sent outside, whatever is set: 16 MiB = 16 × 1024 × 1024, of an isolate's 128 MB.
pub const MAX_CONTENT: u64 = 16_777_216;

/// What a finding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is not looked at.
    Off,
    /// It is told to those who read the document.
    Flag,
    /// Nobody but an operator may read the document.
    Quarantine,
}

/// `[documents.scan]`: what each kind leads to, and the limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Known malware.
    pub malware: Action,
    /// Archives and images that become too much.
    pub bombs: Action,
    /// Active content under the type of something inert.
    pub disguises: Action,
    /// Types that are not accepted or not as declared.
    pub types: Action,
    /// What archives hide.
    pub archives: Action,
    /// Images that are not whole.
    pub images: Action,
    /// Scripts, macros and actions where they belong to the format.
    pub active: Action,
    /// Credentials.
    pub secrets: Action,
    /// Data about persons.
    pub personal: Action,
    /// What addresses a model.
    pub injection: Action,
    /// From where on something is a bomb.
    pub limits: Limits,
    /// Accepted types, as `[documents] types` has them; with none, every type is accepted.
    #[serde(skip)]
    pub accepted: Vec<String>,
}

/// From where on something is a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most bytes that an archive may unpack to.
    pub expanded_bytes: u64,
    /// Most bytes that one byte of an archive may unpack to, of an entry and of all; it counts from `ratio_from_bytes`.
    pub ratio: u64,
    /// Bytes unpacked below which the ratio does not matter.
    pub ratio_from_bytes: u64,
    /// Most entries of an archive.
    pub entries: u64,
    /// Most pixels of an image, all of its frames counted for a hundredth.
    pub pixels: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            malware: Action::Quarantine,
            bombs: Action::Quarantine,
            disguises: Action::Quarantine,
            types: Action::Flag,
            archives: Action::Flag,
            images: Action::Flag,
            active: Action::Flag,
            secrets: Action::Flag,
            personal: Action::Flag,
            injection: Action::Flag,
            limits: Limits::default(),
            accepted: Vec::new(),
        }
    }
}

impl Default for Limits {
    /// Deflate writes at most 1,032 bytes for one (zlib, "Maximum Compression Factor"); text comes to 20, tables of an
    /// office document to 100.
    fn default() -> Self {
        Self {
            expanded_bytes: 4_294_967_296, // 4 GiB
            ratio: 200,
            ratio_from_bytes: 33_554_432, // 32 MiB
            entries: 100_000,
            pixels: 100_000_000, // 400 MB as RGBA
        }
    }
}

/// What of a document is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Send {
    /// Its bytes, where it is short enough.
    #[default]
    Content,
    /// Its digest, length and type: nothing of what stands in it.
    Digest,
}

/// What a document of which the service says nothing is treated as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is held back until the service answers.
    #[default]
    Close,
    /// It is read as if there were no such service.
    Open,
}

/// `[documents.scanner]`: how a service outside is asked; its token is the secret `SCANNER_TOKEN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct External {
    /// Where it is; `https`, or `http` at this machine.
    pub url: Option<String>,
    /// What is sent.
    pub send: Send,
    /// Longest content that is sent, in bytes; of what is longer, only the digest. It is in memory three times.
    pub max_bytes: u64,
    /// How long it may take, in seconds.
    pub timeout_seconds: u64,
    /// What its failure means.
    pub on_failure: OnFailure,
}

impl Default for External {
    fn default() -> Self {
        Self {
            url: None,
            send: Send::Content,
            max_bytes: 8_388_608, // 8 MiB, one segment
            timeout_seconds: 30,
            on_failure: OnFailure::Close,
        }
    }
}

impl Limits {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (name, value) in [
            ("expanded_bytes", self.expanded_bytes),
            ("ratio", self.ratio),
            ("entries", self.entries),
            ("pixels", self.pixels),
        ] {
            let key = format!("documents.scan.limits.{name}");
            faults.unless(value > 0, key, "must be at least 1");
        }
    }
}

impl External {
    /// Is the content of a document of that length sent?
    #[must_use]
    pub fn sends_content(&self, size: u64) -> bool {
        self.send == Send::Content && size <= self.max_bytes
    }

    /// What is wrong with it.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=120).contains(&self.timeout_seconds) {
            return Err("timeout_seconds must be 1 to 120".to_owned());
        }
        if self.max_bytes > MAX_CONTENT {
            return Err(format!("max_bytes must be at most {MAX_CONTENT}"));
        }
        let Some(url) = &self.url else { return Ok(()) };
        let here = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let is_here = here.iter().any(|origin| {
            url.strip_prefix(origin)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        });
        if is_here
            || url
                .strip_prefix("https://")
                .is_some_and(|rest| !rest.is_empty())
        {
            Ok(())
        } else {
            Err("url must begin with https://".to_owned())
        }
    }
}
