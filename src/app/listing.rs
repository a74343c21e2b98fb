//! Pages of lists, as OpenAI's calls ask for them.

use super::request::Head;
use crate::base::errors::Refusal;
use crate::domain::llm::request::invalid;

/// Longest page of a list, and its length when none is given (as OpenAI has it).
const MOST: u32 = 100;
const USUAL: u32 = 20;

/// How many are asked for: `limit`.
///
/// # Errors
/// `invalid_parameter`
pub fn length(head: &Head) -> Result<u32, Refusal> {
    let Some(limit) = head.query_value("limit") else {
        return Ok(USUAL);
    };
    let limit = limit.parse().ok();
    limit
        .filter(|limit| (1..=MOST).contains(limit))
        .ok_or_else(|| invalid("limit", "must be a number from 1 to 100"))
}

/// Are the oldest asked for first? `order`, which is `desc` unless it is given.
///
/// # Errors
/// `invalid_parameter`
pub fn is_ascending(head: &Head) -> Result<bool, Refusal> {
    match head.query_value("order").as_deref() {
        None | Some("desc") => Ok(false),
        Some("asc") => Ok(true),
        Some(_) => Err(invalid("order", "must be asc or desc")),
    }
}
