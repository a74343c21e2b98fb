//! A request in normal form.

use serde_json::{Map, Value};

use super::feature::Feature;
use crate::domain::llm::Protocol;

/// A request, whatever dialect it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// The caller's dialect: names the fields in refusals.
    pub origin: Protocol,
    /// Instructions in front of the first turn, in order.
    pub system: Vec<Part>,
    /// What was said, oldest first.
    pub turns: Vec<Turn>,
    /// Tools that the caller runs.
    pub tools: Vec<Tool>,
    /// Which of them the model may or must use.
    pub tool_choice: ToolChoice,
    /// `Some(false)`: at most one tool call in an answer.
    pub parallel_tools: Option<bool>,
    /// What the answer must look like.
    pub format: Format,
    /// Ceilings and randomness.
    pub sampling: Sampling,
    /// How much the model should think first.
    pub reasoning: Option<Reasoning>,
    /// The caller's name for the person behind the request.
    pub user: Option<String>,
    /// Is the answer wanted as a stream?
    pub stream: bool,
    /// What the caller's dialect can say and the normal form cannot: which feature, and the field by its path in the
    /// request (`messages[0].content[1]`, `logit_bias`).
    pub unplaced: Vec<Unplaced>,
}

/// A field that has no place in the normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// What it is about.
    pub feature: Feature,
    /// Its path in the caller's request; `[]` stands for any index where a writer no longer knows it.
    pub param: String,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions in the middle of a conversation.
    System,
    /// The caller. Tool results are the caller's too.
    User,
    /// The model.
    Assistant,
}

/// One turn. Neighbouring turns of one role are allowed; writers join them where their dialect wants alternation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Who said it.
    pub role: Role,
    /// What was said, in order.
    pub parts: Vec<Part>,
}

/// One piece of content.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// A prompt-cache breakpoint after this part.
        cache: Option<CacheMark>,
    },
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// OpenAI's `detail`: `low`, `high`, `auto`.
        detail: Option<String>,
        /// A prompt-cache breakpoint after this part.
        cache: Option<CacheMark>,
    },
    /// A document, such as a PDF.
    File {
        /// Where it is.
        source: Source,
        /// Its name.
        name: Option<String>,
        /// A prompt-cache breakpoint after this part.
        cache: Option<CacheMark>,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult {
        /// The call's id.
        id: String,
        /// The result: texts and pictures.
        content: Vec<Part>,
        /// Did the tool fail?
        is_error: bool,
        /// A prompt-cache breakpoint after this part.
        cache: Option<CacheMark>,
    },
    /// The model's thinking, to be given back as it came.
    Reasoning(Thought),
    /// The model declined, in words.
    Refusal(String),
    /// Sound or a picture of an answer: known to be there, and passed in its own dialect alone.
    Media,
}

impl Part {
    /// A text without a cache mark.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            cache: None,
        }
    }
}

/// A tool call of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Its id, by which the result refers to it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as JSON text, exactly as the model wrote them; empty stands for `{}`.
    pub arguments: String,
}

/// Visible or sealed thinking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thought {
    /// The words; empty when they are sealed.
    pub text: String,
    /// Anthropic's `signature`, which proves the words.
    pub signature: Option<String>,
    /// Sealed thinking: Anthropic's `redacted_thinking.data`, OpenAI's `encrypted_content`.
    pub sealed: Option<String>,
    /// The item id that the Responses API gave it.
    pub id: Option<String>,
}

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An address that the provider fetches.
    Url(String),
    /// The bytes themselves, in standard base64.
    Base64 {
        /// Content type.
        media_type: String,
        /// The bytes.
        data: String,
    },
}

/// Anthropic's `cache_control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMark {
    /// `ephemeral`, five minutes.
    FiveMinutes,
    /// `ephemeral` with `ttl: "1h"`.
    OneHour,
}

/// A tool that the caller runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON Schema of its arguments; `None` for a tool without any.
    pub parameters: Option<Value>,
    /// Must the arguments follow the schema exactly?
    pub strict: Option<bool>,
    /// A prompt-cache breakpoint after this tool.
    pub cache: Option<CacheMark>,
}

/// Which tools the model may or must use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The caller said nothing.
    #[default]
    Unset,
    /// As the model likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// What the answer must look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Anything.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that follows a schema.
    Schema {
        /// The schema's name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// JSON Schema.
        schema: Value,
        /// Must it be followed exactly?
        strict: Option<bool>,
    },
}

/// Ceilings and randomness.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Most output tokens.
    pub max_output: Option<u64>,
    /// 0 to 2 (Anthropic: 0 to 1).
    pub temperature: Option<f64>,
    /// Nucleus.
    pub top_p: Option<f64>,
    /// Only the k likeliest.
    pub top_k: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// For repeatable answers.
    pub seed: Option<i64>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
}

/// How much the model should think first. One of the two says how much; the other is derived where it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// In a word.
    pub effort: Option<Effort>,
    /// In tokens (Anthropic's `thinking.budget_tokens`).
    pub budget_tokens: Option<u64>,
    /// Anthropic's `thinking: {"type": "adaptive"}`: the model decides.
    pub adaptive: bool,
    /// Should the thinking, or a summary of it, be shown?
    pub show: bool,
}

/// OpenAI's words for effort, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// No thinking.
    None,
    /// Almost none.
    Minimal,
    /// Little.
    Low,
    /// The default of most models.
    Medium,
    /// Much.
    High,
    /// As much as the model has.
    Max,
}

/// A request body in a provider's dialect, and what of the conversation is not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The body, without `model` and `stream`.
    pub body: Map<String, Value>,
    /// What could not be carried, in order of appearance.
    pub lost: Vec<Unplaced>,
}
