//! JSON, or one value a line: a line of text for each value, behind the names that lead to it.
//!
//! It is read as a stream, without a tree of values in memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Blocks, ExtractFault};

/// The longest name of a field, in bytes; it stands in front of every value below it.
const NAME_BYTES: usize = 80;

/// A stretch is closed when it has this many bytes; the next has the same anchor.
const STRETCH_BYTES: usize = 16 * 1024;

const NOT_JSON: ExtractFault = ExtractFault::Malformed("not JSON, or nested too deeply");

/// The anchor is the path (RFC 9535) of the object that the values belong to: `$.rows[3]`; with one value a line, the
/// line: `line 4`.
pub(super) fn read(text: &str, blocks: &mut Blocks) -> Result<(), ExtractFault> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    match values.next() {
        None => return Ok(()),
        Some(first) => first.map_err(|_| NOT_JSON)?,
    };
    let rest = text.get(values.byte_offset()..).unwrap_or_default();
    if rest.trim().is_empty() {
        return value(text, "$", blocks);
    }
    for (line, number) in text.lines().zip(1_usize..) {
        if !line.trim().is_empty() {
            value(line, &format!("line {number}"), blocks)?;
        }
    }
    Ok(())
}

fn value(text: &str, root: &str, blocks: &mut Blocks) -> Result<(), ExtractFault> {
    let mut walk = Walk {
        blocks,
        path: root.to_owned(),
        object: root.to_owned(),
        name: String::new(),
        text: String::new(),
        fault: None,
    };
    let mut parser = serde_json::Deserializer::from_str(text);
    let node = Node {
        walk: &mut walk,
        begins: true,
        is_root: true,
    };
    let read = node.deserialize(&mut parser);
    let read = read.and_then(|()| parser.end());
    match (walk.fault, read) {
        (Some(fault), _) => Err(fault),
        (None, Err(_)) => Err(NOT_JSON),
        (None, Ok(())) => walk.flush(),
    }
}

struct Walk<'b> {
    blocks: &'b mut Blocks,
    /// Where the reader stands.
    path: String,
    /// The object that the stretch belongs to.
    object: String,
    /// The names of fields from there to where the reader stands.
    name: String,
    text: String,
    fault: Option<ExtractFault>,
}

impl Walk<'_> {
    fn flush(&mut self) -> Result<(), ExtractFault> {
        let text = std::mem::take(&mut self.text);
        self.blocks.push("", &self.object, &text)
    }

    /// [`Walk::flush`] for the parser, which knows its own errors only.
    fn flush_or_stop<E: Error>(&mut self) -> Result<(), E> {
        self.flush().map_err(|fault| {
            self.fault = Some(fault);
            E::custom("stopped")
        })
    }

    fn line<E: Error>(&mut self, value: &str) -> Result<(), E> {
        if !self.name.is_empty() {
            self.text.push_str(&self.name);
            self.text.push_str(": ");
        }
        self.text.push_str(value);
        self.text.push('\n');
        if self.text.len() > STRETCH_BYTES {
            self.flush_or_stop()?;
        }
        Ok(())
    }
}

/// A value that comes next.
struct Node<'w, 'b> {
    walk: &'w mut Walk<'b>,
    /// An object here begins a stretch of its own: the root, a field of it, an element of an array.
    begins: bool,
    is_root: bool,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.walk.line(if value { "true" } else { "false" })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.walk.line(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.walk.line(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.walk.line(&value.to_string())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if value.trim().is_empty() {
            return Ok(());
        }
        self.walk.line(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let walk = self.walk;
        let path = walk.path.len();
        for place in 0_usize.. {
            walk.path.push_str(&format!("[{place}]"));
            let element = Node {
                walk: &mut *walk,
                begins: true,
                is_root: false,
            };
            let read = elements.next_element_seed(element)?;
            walk.path.truncate(path);
            if read.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let walk = self.walk;
        let path = walk.path.len();
        let around = (walk.object.clone(), walk.name.clone());
        if self.begins {
            walk.flush_or_stop()?;
            walk.object = walk.path.clone();
            walk.name.clear();
        }
        let name = walk.name.len();
        while let Some(field) = fields.next_key::<String>()? {
            let field = super::label(&field);
            let field = field.get(..field.floor_char_boundary(NAME_BYTES));
            let field = field.unwrap_or_default();
            walk.path.push('.');
            walk.path.push_str(field);
            if !walk.name.is_empty() {
                walk.name.push('.');
            }
            walk.name.push_str(field);
            fields.next_value_seed(Node {
                walk: &mut *walk,
                begins: self.is_root,
                is_root: false,
            })?;
            walk.path.truncate(path);
            walk.name.truncate(name);
        }
        if self.begins {
            walk.flush_or_stop()?;
            (walk.object, walk.name) = around;
        }
        Ok(())
    }
}
