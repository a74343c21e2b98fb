//! What a scan found, as it is told and stored. A finding never holds what it found: a secret or a person's data stands
//! in it masked, and words that address a model stand in it as a quotation.

use serde::{Deserialize, Serialize};

use super::policy::{Action, Policy};

/// Most findings in a report; what is beyond is counted.
pub const MAX_FINDINGS: usize = 100;

/// Most findings of one rule, so that a list of addresses does not hide a key.
const MAX_OF_A_RULE: usize = 20;

/// Longest excerpt, in characters.
const MAX_EXCERPT_CHARS: usize = 80;

/// The number of the stored form.
const FORM: u8 = 1;

/// What is to become of the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing was found that the policy minds.
    #[default]
    Clean,
    /// Something was found that readers should know of.
    Flagged,
    /// Nobody but an operator may read it.
    Quarantined,
}

/// How bad a finding is by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Common in harmless documents.
    Low,
    /// Worth a look.
    Medium,
    /// Rarely harmless.
    High,
}

/// Kinds of findings; the policy says what each leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Known malware.
    Malware,
    /// Little that becomes very much when it is unpacked or drawn.
    Bomb,
    /// Active content under the type of something inert.
    Disguise,
    /// A type that is not accepted, or is not the one that was declared.
    Type,
    /// What an archive hides or does beside its content.
    Archive,
    /// An image that is not whole.
    Image,
    /// Scripts, macros and actions where they belong to the format.
    Active,
    /// Credentials.
    Secret,
    /// Data about a person.
    Personal,
    /// Words or characters that address a model instead of its reader.
    Injection,
}

/// What exactly was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The test file of anti-malware programs (eicar.org).
    Eicar,
    /// An archive declares that it unpacks to far more than it is.
    ArchiveExpansion,
    /// An archive has too many entries.
    ArchiveEntries,
    /// Entries of an archive share their bytes.
    ArchiveOverlap,
    /// An image declares more pixels than may be drawn.
    ImagePixels,
    /// HTML, SVG or a server's script under another type.
    HiddenMarkup,
    /// An image that is a script too.
    ScriptPolyglot,
    /// A program.
    Executable,
    /// The type is not on the list of accepted ones.
    TypeRefused,
    /// The bytes are another type than the declared one.
    TypeMismatch,
    /// A second format inside or behind the first.
    Polyglot,
    /// An archive in an archive; what is in it was not looked at.
    ArchiveNested,
    /// An encrypted entry, which cannot be looked at.
    ArchiveEncrypted,
    /// An entry that would be unpacked elsewhere.
    ArchivePath,
    /// An archive that contradicts itself or ends early.
    ArchiveBroken,
    /// An image without pixels, or one that ends early.
    ImageBroken,
    /// JavaScript in a PDF.
    PdfScript,
    /// A PDF that starts a program.
    PdfLaunch,
    /// A file in a PDF.
    PdfAttachment,
    /// Something that a PDF does by itself when it is opened.
    PdfOpenAction,
    /// Media or forms in a PDF that run scripts of their own.
    PdfActiveForm,
    /// Macros in an office document.
    OfficeMacro,
    /// A script in a page or an image.
    MarkupScript,
    /// A private key (RFC 7468).
    PrivateKey,
    /// AWS access key id.
    AwsKey,
    /// GitHub token.
    GithubToken,
    /// GitLab token.
    GitlabToken,
    /// Slack token or webhook.
    SlackToken,
    /// Stripe key.
    StripeKey,
    /// Google API key or client secret.
    GoogleKey,
    /// OpenAI key.
    OpenaiKey,
    /// Anthropic key.
    AnthropicKey,
    /// Hugging Face token.
    HuggingfaceToken,
    /// Token of a package registry (npm, PyPI).
    RegistryToken,
    /// SendGrid, Shopify, `DigitalOcean`.
    ServiceToken,
    /// JSON Web Token (RFC 7519).
    Jwt,
    /// A random value that is assigned to a name like `password`.
    AssignedSecret,
    /// E-mail address.
    Email,
    /// Telephone number.
    Phone,
    /// International bank account number (ISO 13616).
    Iban,
    /// Number of a payment card (ISO/IEC 7812).
    PaymentCard,
    /// Social security number of the United States.
    UsSsn,
    /// Resident identity number of China (GB 11643).
    CnResidentId,
    /// A call to drop the instructions that a model has.
    OverrideInstructions,
    /// A call to give away the instructions that a model has.
    RevealInstructions,
    /// A call to act behind the reader's back.
    ConcealFromUser,
    /// A token that marks whose turn it is.
    ControlToken,
    /// Characters that readers do not see.
    HiddenText,
    /// Characters that change the order in which text is seen (UAX #9).
    BidiControl,
}

impl Rule {
    /// The kind and how bad it is.
    #[must_use]
    pub const fn facts(self) -> (Kind, Severity) {
        use Severity::{High, Low, Medium};
        match self {
            Self::Eicar => (Kind::Malware, High),
            Self::ArchiveExpansion
            | Self::ArchiveEntries
            | Self::ArchiveOverlap
            | Self::ImagePixels => (Kind::Bomb, High),
            Self::HiddenMarkup | Self::ScriptPolyglot | Self::Executable => (Kind::Disguise, High),
            Self::TypeRefused => (Kind::Type, High),
            Self::TypeMismatch => (Kind::Type, Low),
            Self::Polyglot => (Kind::Type, Medium),
            Self::ArchiveNested | Self::ArchiveBroken => (Kind::Archive, Low),
            Self::ArchiveEncrypted | Self::ArchivePath => (Kind::Archive, Medium),
            Self::ImageBroken => (Kind::Image, Low),
            Self::PdfOpenAction => (Kind::Active, Low),
            Self::PdfScript | Self::PdfAttachment | Self::PdfActiveForm | Self::MarkupScript => {
                (Kind::Active, Medium)
            }
            Self::PdfLaunch | Self::OfficeMacro => (Kind::Active, High),
            Self::Jwt | Self::AssignedSecret => (Kind::Secret, Medium),
            Self::PrivateKey
            | Self::AwsKey
            | Self::GithubToken
            | Self::GitlabToken
            | Self::SlackToken
            | Self::StripeKey
            | Self::GoogleKey
            | Self::OpenaiKey
            | Self::AnthropicKey
            | Self::HuggingfaceToken
            | Self::RegistryToken
            | Self::ServiceToken => (Kind::Secret, High),
            Self::Email | Self::Phone => (Kind::Personal, Low),
            Self::Iban => (Kind::Personal, Medium),
            Self::PaymentCard | Self::UsSsn | Self::CnResidentId => (Kind::Personal, High),
            Self::OverrideInstructions | Self::RevealInstructions | Self::ConcealFromUser => {
                (Kind::Injection, High)
            }
            Self::ControlToken | Self::HiddenText => (Kind::Injection, Medium),
            Self::BidiControl => (Kind::Injection, Low),
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// What exactly it is.
    pub rule: Rule,
    /// How bad it is by itself.
    pub severity: Severity,
    /// What the policy made of it.
    pub action: Action,
    /// Where it begins: bytes from the document's start.
    pub offset: u64,
    /// The line on which it begins, from 1; in text alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Its length in bytes; 0 where it is the document as a whole.
    pub length: u64,
    /// What a person needs to recognise it, masked; at most 80 characters, without control or invisible ones.
    pub excerpt: String,
}

/// What a scan found in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The number of this form.
    pub form: u8,
    /// What is to become of the document.
    pub verdict: Verdict,
    /// Length of what was scanned.
    pub bytes: u64,
    /// The worst of them when there are more than [`MAX_FINDINGS`]; in the order of their places.
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub more: u64,
}

/// Collects what is found.
pub(super) struct Findings {
    found: Vec<Finding>,
    more: u64,
    verdict: Verdict,
}

impl Findings {
    pub(super) const fn new() -> Self {
        Self {
            found: Vec::new(),
            more: 0,
            verdict: Verdict::Clean,
        }
    }

    /// Notes a finding, unless the policy has its kind off. Which of one rule are kept is decided by their order alone,
    /// which is that of their places.
    pub(super) fn add(&mut self, policy: &Policy, rule: Rule, place: Place, excerpt: &str) {
        let (kind, severity) = rule.facts();
        let action = policy.action(kind);
        let verdict = match action {
            Action::Off => return,
            Action::Flag => Verdict::Flagged,
            Action::Quarantine => Verdict::Quarantined,
        };
        self.verdict = self.verdict.max(verdict);
        let same = self.found.iter().filter(|known| known.rule == rule).count();
        if same >= MAX_OF_A_RULE {
            self.more = self.more.saturating_add(1);
            return;
        }
        self.found.push(Finding {
            kind,
            rule,
            severity,
            action,
            offset: place.offset,
            line: place.line,
            length: place.length,
            excerpt: shown(excerpt),
        });
    }

    pub(super) fn report(mut self, bytes: u64) -> Report {
        let at = |finding: &Finding| (finding.offset, finding.rule, finding.length);
        if self.found.len() > MAX_FINDINGS {
            self.found.sort_by_key(|one| {
                (
                    core::cmp::Reverse(one.action),
                    core::cmp::Reverse(one.severity),
                    at(one),
                )
            });
            let left_out = self.found.len().saturating_sub(MAX_FINDINGS);
            self.more = self
                .more
                .saturating_add(u64::try_from(left_out).unwrap_or(u64::MAX));
            self.found.truncate(MAX_FINDINGS);
        }
        self.found.sort_by_key(at);
        Report {
            form: FORM,
            verdict: self.verdict,
            bytes,
            findings: self.found,
            more: self.more,
        }
    }
}

/// Where something was found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub offset: u64,
    pub line: Option<u64>,
    pub length: u64,
}

impl Place {
    /// Bytes of a format, which has no lines.
    pub(super) const fn at(offset: u64, length: u64) -> Self {
        Self {
            offset,
            line: None,
            length,
        }
    }
}

/// Text that is safe to show: what cannot be seen is written as its number, and it is cut.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    let mut room = MAX_EXCERPT_CHARS.saturating_sub(1);
    for c in text.chars() {
        let (written, length) = if c.is_control() || super::hidden::is_invisible(c) {
            let number = format!("⟨U+{:04X}⟩", u32::from(c));
            let length = number.chars().count();
            (number, length)
        } else {
            (c.to_string(), 1)
        };
        let Some(left) = room.checked_sub(length) else {
            shown.push('…');
            break;
        };
        room = left;
        shown.push_str(&written);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{MAX_EXCERPT_CHARS, shown};

    #[test]
    fn an_excerpt_has_its_length_whatever_has_to_be_written_out() {
        assert_eq!(shown("a\u{3}b"), "a⟨U+0003⟩b");
        for text in ["x".repeat(200), "\u{3}".repeat(200), "x\u{200b}".repeat(60)] {
            let shown = shown(&text);
            assert!(shown.chars().count() <= MAX_EXCERPT_CHARS, "{shown}");
            assert!(shown.ends_with('…'));
        }
        let fits = "x".repeat(MAX_EXCERPT_CHARS - 1);
        assert_eq!(shown(&fits), fits);
    }
}
