//! What a document is read as.

/// A format of which text can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Plain text, and everything that is read like it: source code, logs, tables by tabulators.
    Text,
    /// CommonMark with tables.
    Markdown,
    /// HTML, and XML, of which the text between the tags is taken.
    Html,
    /// Comma-separated values (RFC 4180), the first row their names.
    Csv,
    /// JSON, or one JSON value a line.
    Json,
    /// The text layer of a PDF.
    Pdf,
}

/// What a document is read as, from its stored type (`documents::content_type` judged it by the bytes) and its name's
/// ending, which tells apart what is stored as plain text. `None`: no text can be had of it.
#[must_use]
pub fn format_of(content_type: &str, filename: &str) -> Option<Format> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    match essence.as_str() {
        "text/markdown" => Some(Format::Markdown),
        "text/csv" => Some(Format::Csv),
        "text/html"
        | "application/xhtml+xml"
        | "text/xml"
        | "application/xml"
        | "image/svg+xml" => Some(Format::Html),
        "application/json"
        | "application/jsonl"
        | "application/x-ndjson"
        | "application/x-jsonlines" => Some(Format::Json),
        "application/pdf" => Some(Format::Pdf),
        "text/plain" => Some(by_ending(filename)),
        "application/javascript" => Some(Format::Text),
        other if other.ends_with("+json") => Some(Format::Json),
        other if other.ends_with("+xml") => Some(Format::Html),
        other if other.starts_with("text/") => Some(Format::Text),
        _ => None,
    }
}

fn by_ending(filename: &str) -> Format {
    let ending = filename.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "md" | "markdown" => Format::Markdown,
        "htm" | "html" | "xhtml" | "xml" => Format::Html,
        "csv" => Format::Csv,
        "json" | "jsonl" | "ndjson" => Format::Json,
        _ => Format::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, format_of};

    #[test]
    fn type_and_ending_say_what_a_document_is_read_as() {
        let table = [
            ("text/plain", "notes.txt", Some(Format::Text)),
            ("text/plain; charset=utf-8", "notes", Some(Format::Text)),
            ("text/plain", "README.MD", Some(Format::Markdown)),
            ("text/plain", "data.csv", Some(Format::Csv)),
            ("text/plain", "page.html", Some(Format::Html)),
            ("text/plain", "data.jsonl", Some(Format::Json)),
            ("text/plain", "fake.pdf", Some(Format::Text)),
            ("Text/Markdown; charset=utf-8", "x", Some(Format::Markdown)),
            ("text/csv", "x.txt", Some(Format::Csv)),
            ("text/html", "x.txt", Some(Format::Html)),
            ("text/xml", "feed", Some(Format::Html)),
            ("text/javascript", "x.js", Some(Format::Text)),
            ("application/json", "x", Some(Format::Json)),
            ("application/ld+json", "x", Some(Format::Json)),
            ("application/jsonl", "x", Some(Format::Json)),
            ("application/pdf", "x", Some(Format::Pdf)),
            ("image/svg+xml", "x.svg", Some(Format::Html)),
            ("image/png", "text.txt", None),
            ("application/zip", "x.docx", None),
            ("application/octet-stream", "x.txt", None),
            ("", "", None),
        ];
        for (content_type, filename, expected) in table {
            let found = format_of(content_type, filename);
            assert_eq!(found, expected, "{content_type} {filename}");
        }
    }
}
