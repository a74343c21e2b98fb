//! OpenAI chat completions, and what the servers that speak it too (Ollama, vLLM, llama.cpp, DeepSeek and others) do in
//! their own way.
//!
//! Sources: the types of OpenAI's SDK (`resources/chat/completions`), the API reference, and for the relatives their own
//! documentation and known quirks, each named where it is handled.
//!
//! What the dialect cannot say, and so changes on the way through it:
//!
//! * Text and thinking of an answer are one string each: neighbouring blocks of a kind become one, empty ones vanish.
//! * Thinking has words (`reasoning_content`) but neither signature nor sealed form nor id; citations are left out.
//! * A tool call without arguments has `{}`.
//! * The stop text that was met has no field; vLLM's `stop_reason` is read.
//! * Writes to the prompt cache have no lifetime: they are read as the five-minute kind.

mod finish;
pub mod request;
#[cfg(test)]
mod samples;
pub mod stream;
mod usage;
pub mod whole;
mod wire;
