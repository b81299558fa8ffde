//! An index's graph on its way to disk and back.
//!
//! An image is a head and some parts, all opaque bytes. It has no vectors: whoever keeps images keeps those anyway, and
//! knows better than any image which rows there are. A restored index therefore holds just the rows that it is given: those
//! that the image has never heard of wait in the tail, those that are gone leave dead nodes. So no image is ever too old,
//! only less of a help.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::graph::Graph;
use super::hnsw::{self, ChunkImage, Node};
use super::row::Row;
use super::{Key, VectorIndex};
use crate::embed::Embedding;

/// Of the layout of images.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    dimension: usize,
    graph: hnsw::Head,
}

#[derive(Serialize, Deserialize)]
struct Part<K> {
    chunk: ChunkImage,
    /// Whose rows each node's are.
    keys: Vec<Vec<K>>,
}

/// Why an image can't be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It can't be encoded or decoded.
    #[error("an index's image can't be read or written")]
    Encoding(#[from] postcard::Error),
    /// It is no image, or one of something else.
    #[error("an index's image {0}")]
    Unfit(&'static str),
}

/// A graph, to be kept.
pub struct Image {
    /// What [`Restoring`] begins with.
    pub head: Vec<u8>,
    /// The rest. Each part is made when it is asked for.
    pub parts: Box<dyn Iterator<Item = Result<Vec<u8>, ImageError>> + Send>,
}

impl<K: Key + Serialize> VectorIndex<K> {
    /// An image of its graph, if it has one. Searches and changes go on while its parts are made.
    ///
    /// # Errors
    /// [`ImageError::Encoding`], now or from a part.
    pub fn image(&self) -> Result<Option<Image>, ImageError> {
        let Some(graph) = self.parts.read().graph.clone() else { return Ok(None) };
        self.unsaved.store(0, Ordering::Relaxed);
        let (head, chunks) = graph.hnsw().image();
        let head = postcard::to_stdvec(&Head { format: FORMAT, dimension: self.dimension, graph: head })?;
        let mut nodes = 0..;
        let parts = chunks.map(move |chunk| {
            let keys = graph.keys(nodes.by_ref().take(chunk.len()).map(Node));
            Ok(postcard::to_stdvec(&Part { chunk, keys })?)
        });
        Ok(Some(Image { head, parts: Box::new(parts) }))
    }
}

/// An index that is made of an image and of the rows that there are.
pub struct Restoring<K> {
    graph: hnsw::Restoring,
    nodes: HashMap<K, Node>,
    /// The rows of each node.
    rows: Vec<Vec<Row<K>>>,
    /// Has the rows that the graph doesn't know.
    index: VectorIndex<K>,
}

impl<K: Key + for<'d> Deserialize<'d>> Restoring<K> {
    /// Begins with an image's head, for vectors of `dimension` components.
    ///
    /// # Errors
    /// Where it isn't one.
    pub fn new(dimension: usize, head: &[u8]) -> Result<Self, ImageError> {
        let head: Head = postcard::from_bytes(head)?;
        if head.format != FORMAT || head.dimension != dimension {
            return Err(ImageError::Unfit("is of another format or dimension"));
        }
        let graph = hnsw::Restoring::new(dimension, head.graph);
        Ok(Self { graph, nodes: HashMap::new(), rows: Vec::new(), index: VectorIndex::new(dimension) })
    }

    /// Adds an image's next part.
    ///
    /// # Errors
    /// Where it isn't.
    pub fn push(&mut self, part: &[u8]) -> Result<(), ImageError> {
        let Part::<K> { chunk, keys } = postcard::from_bytes(part)?;
        if keys.len() != chunk.len() {
            return Err(ImageError::Unfit("has a part that contradicts itself"));
        }
        self.graph.push(chunk).ok_or(ImageError::Unfit("has a part that isn't its own"))?;
        for (node, keys) in (self.rows.len() as u32..).map(Node).zip(keys) {
            self.rows.push(Vec::new());
            self.nodes.extend(keys.into_iter().map(|key| (key, node)));
        }
        Ok(())
    }

    /// # Errors
    /// Where parts are missing.
    pub fn check(&self) -> Result<(), ImageError> {
        self.graph.is_whole().then_some(()).ok_or(ImageError::Unfit("lacks parts"))
    }

    /// Adds a row.
    pub fn insert(&mut self, row: Row<K>, vector: &Embedding) {
        match self.nodes.get(&row.key) {
            Some(&node) if self.graph.set_vector(node, vector.as_slice()) => self.rows[node.0 as usize].push(row),
            _ => self.index.insert(row, vector),
        }
    }

    /// The index of these rows. The image must have passed [`check`](Self::check).
    #[must_use]
    pub fn finish(self) -> VectorIndex<K> {
        self.index.parts.write().graph = Some(Graph::of(self.graph.finish(), self.rows).into());
        self.index
    }
}
