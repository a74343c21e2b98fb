//! The text layer of a PDF (ISO 32000-1), page by page.
//!
//! Read are the characters that fonts give their codes, `ActualText`, forms, and the invisible text that recognition lays
//! over scans. Not read are annotations, form fields, attachments, bookmarks and metadata, nor pictures of text. Text in
//! scripts from right to left comes in the order of the file. A file is read whole or not at all: one with a stream that
//! is damaged, or with fonts that do not tell their letters, is refused.
//!
//! The work is bounded: bytes that are decompressed and looked at, objects, pages, depth. What is over a bound is
//! [`ExtractFault::TooLong`].

mod cmap;
mod content;
mod file;
mod filter;
mod font;
mod glyphs;
mod layout;
mod syntax;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::rc::Rc;

use super::{Blocks, ExtractFault};
use content::Reader;
use file::{File, MAX_STREAM_BYTES};
use syntax::Object;

/// The most pages, and how deep their tree is.
const MAX_PAGES: usize = 10_000;
const MAX_TREE_DEPTH: usize = 64;

/// The most streams of one page.
const MAX_PARTS: usize = 10_000;

/// A stretch for each paragraph; the anchor is its page, from 1.
pub(super) fn read(bytes: &[u8], blocks: &mut Blocks) -> Result<(), ExtractFault> {
    let mut file = File::open(bytes)?;
    let mut tree = Tree::of(&*file.catalog()?)?;
    let mut reader = Reader::new(blocks);
    while let Some((page, resources)) = tree.next(&mut file)? {
        let page = file.resolve(&page)?;
        let content = content(&mut file, &page)?;
        let resources = file.resolve(&resources)?;
        reader.page(&mut file, tree.pages, &content, &resources)?;
    }
    reader.finish()
}

/// The page tree (7.7.3) on the way to its leaves.
struct Tree {
    /// Nodes with the resources that they inherit and their depth; the last is next.
    ahead: Vec<(Object, Rc<Object>, usize)>,
    seen: BTreeSet<u32>,
    /// How many pages there were.
    pages: usize,
}

impl Tree {
    fn of(catalog: &Object) -> Result<Self, ExtractFault> {
        let root = catalog.get("Pages");
        let root = root.ok_or(ExtractFault::Malformed("no pages are in it"))?;
        Ok(Self {
            ahead: vec![(root.clone(), Rc::new(Object::Null), 0)],
            seen: BTreeSet::new(),
            pages: 0,
        })
    }

    /// The next page and its resources, its own or those of the nearest node above.
    fn next(&mut self, file: &mut File<'_>) -> Result<Option<(Object, Rc<Object>)>, ExtractFault> {
        while let Some((node, inherited, depth)) = self.ahead.pop() {
            if let Object::Ref(number) = node {
                if !self.seen.insert(number) {
                    return Err(ExtractFault::Malformed("a page that stands twice"));
                }
                if !file.has(number) {
                    return Err(ExtractFault::Malformed("a page that is missing"));
                }
            }
            let dict = file.resolve(&node)?;
            let resources = match dict.get("Resources") {
                Some(own) => Rc::new(own.clone()),
                None => inherited,
            };
            let kids = file.value(&dict, "Kids")?;
            let Object::Array(kids) = &*kids else {
                drop(dict);
                if self.pages >= MAX_PAGES {
                    return Err(ExtractFault::TooLong { limit: MAX_PAGES });
                }
                self.pages = self.pages.saturating_add(1);
                return Ok(Some((node, resources)));
            };
            if depth >= MAX_TREE_DEPTH {
                return Err(ExtractFault::Malformed("pages that are nested too deeply"));
            }
            if self.ahead.len().saturating_add(kids.len()) > MAX_PAGES.saturating_mul(2) {
                return Err(ExtractFault::TooLong { limit: MAX_PAGES });
            }
            let deeper = depth.saturating_add(1);
            let kids = kids.iter().rev();
            self.ahead
                .extend(kids.map(|kid| (kid.clone(), Rc::clone(&resources), deeper)));
        }
        Ok(None)
    }
}

/// The content of a page (7.8.2): its streams, with white space between, for a token ends where its stream does.
fn content(file: &mut File<'_>, page: &Object) -> Result<Rc<Vec<u8>>, ExtractFault> {
    let damaged = ExtractFault::Malformed("a page whose content is missing");
    let Some(contents) = page.get("Contents") else {
        return Ok(Rc::default());
    };
    if let Object::Ref(number) = contents
        && let Some(data) = file.stream(*number)?
    {
        return Ok(data);
    }
    let parts = file.resolve(contents)?;
    let parts = match (&parts, contents) {
        (parts, _) if matches!(**parts, Object::Array(_)) => parts.array(),
        (_, Object::Null) => &[],
        _ => return Err(damaged),
    };
    if parts.len() > MAX_PARTS {
        return Err(ExtractFault::TooLong { limit: MAX_PARTS });
    }
    let mut all = Vec::new();
    for part in parts {
        let Object::Ref(number) = part else { continue };
        let data = file.stream(*number)?.ok_or(damaged)?;
        // The same stream may stand there often.
        file.works(data.len())?;
        if all.len().saturating_add(data.len()) > MAX_STREAM_BYTES {
            let limit = MAX_STREAM_BYTES;
            return Err(ExtractFault::TooLong { limit });
        }
        all.extend_from_slice(&data);
        all.push(b'\n');
    }
    Ok(Rc::new(all))
}
