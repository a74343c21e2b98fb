//! Search in documents: what happens to bytes before they are found and to passages after.
//!
//! In: [`format`] says what a document is read as, [`extract`] makes text of it, [`chunk`] cuts the text into passages,
//! [`terms`] counts their words, [`vector`] and [`codes`] store their embeddings. Out: [`bm25`] weighs the words of a
//! question, [`codes`] and [`vector`] find the nearest, [`fuse`] joins both orders, and [`rerank`] reads the best passages once more.
//!
//! Between both: [`store`] keeps what is searched, over the rows of one object for each owner, and [`wire`] is how that
//! is told; [`filter`] narrows a search by what is known of files.
//!
//! Text of a document is data: nothing here reads it as markup once it is extracted.

pub mod bm25;
pub mod chunk;
pub mod codes;
pub mod extract;
pub mod filter;
pub mod format;
pub mod fuse;
pub mod rerank;
pub mod store;
pub mod terms;
pub mod vector;
pub mod wire;
