//! What can be wrong with the inputs of a build, told so that a person can mend it.

use std::fmt;

/// One thing that is wrong: the file, the line where that is known, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path as the reader of the message knows it.
    pub file: String,
    /// First line is 1.
    pub line: Option<usize>,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

/// A step of the build: its result, or the one problem that stopped it.
pub type Outcome<T> = Result<T, Problem>;

impl Problem {
    /// A problem with a whole file.
    pub fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            reason: reason.into(),
        }
    }

    /// A problem at a byte offset of `text`.
    pub fn at(
        file: impl Into<String>,
        text: &str,
        offset: usize,
        reason: impl Into<String>,
    ) -> Self {
        let before = text.as_bytes().iter().take(offset);
        Self {
            file: file.into(),
            line: Some(before.filter(|byte| **byte == b'\n').count() + 1),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Problem;

    #[test]
    fn a_problem_names_file_line_and_reason() {
        let text = "one\ntwo\nthree";
        let problem = Problem::at("a.html", text, 8, "no such page");
        assert_eq!(problem.to_string(), "a.html:3: no such page");
        assert_eq!(Problem::new("a.html", "empty").to_string(), "a.html: empty");
    }
}
