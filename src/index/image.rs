//! An index's graph on its way to disk and back.
//!
//! An image is a head and some parts, all opaque bytes. It has no vectors: whoever keeps images keeps those anyway, and
//! knows better than any image which rows there are. A restored index therefore holds just the rows that it is given: those
//! that the image has never heard of wait in the tail, those that are gone leave dead nodes. So no image is ever too old,
//! only less of a help.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::graph::Graph;
use super::hnsw::{self, ChunkImage, Node};
use super::row::Row;
use super::{Key, VectorIndex};
use crate::embed::Embedding;

/// Of the layout of images.
const FORMAT: u32 = 1;
/// How long an image waits for a graph that is being changed. Rows are moved into it in steps that are shorter; only building
/// it anew, and the first step after a start, take longer.
const PATIENCE: Duration = Duration::from_secs(2);

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

impl<K: Key + Serialize> VectorIndex<K> {
    /// Hands an image of its graph to `keep`, part by part, and returns the image's head, with which [`Restoring`] begins.
    /// Searches and changes go on meanwhile, but for those of the graph, which wait. `None` where there is no graph, or where
    /// it has been changed for a while already and nobody knows for how long.
    ///
    /// # Errors
    /// [`ImageError::Encoding`], or what `keep` says.
    pub fn save_image<E: From<ImageError>>(
        &self,
        mut keep: impl FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<Vec<u8>>, E> {
        // Nodes that are being linked would be in the image, and not be reached.
        let Some(_only) = self.upkeep.try_lock_for(PATIENCE) else { return Ok(None) };
        let Some(graph) = self.parts.read().graph.clone() else { return Ok(None) };
        let unsaved = self.unsaved.swap(0, Ordering::Relaxed);
        let kept = self.save_parts(&graph, &mut keep);
        if kept.is_err() {
            self.unsaved.fetch_add(unsaved, Ordering::Relaxed);
        }
        kept.map(Some)
    }

    fn save_parts<E: From<ImageError>>(
        &self,
        graph: &Graph<K>,
        keep: &mut impl FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let (head, chunks) = graph.hnsw().image();
        let mut nodes = 0..;
        for chunk in chunks {
            let keys = graph.keys(nodes.by_ref().take(chunk.len()).map(Node));
            keep(encoded(&Part { chunk, keys })?)?;
        }
        Ok(encoded(&Head { format: FORMAT, dimension: self.dimension, graph: head })?)
    }
}

fn encoded(value: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    Ok(postcard::to_stdvec(value)?)
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
        match self.nodes.get(&row.key).copied() {
            Some(node) if self.is_of(node, vector) => self.rows[node.0 as usize].push(row),
            _ => self.index.insert(row, vector),
        }
    }

    /// Whether `vector` is the one that `node` was linked for. All rows of a node must have the same.
    fn is_of(&mut self, node: Node, vector: &Embedding) -> bool {
        if self.rows[node.0 as usize].is_empty() {
            self.graph.set_vector(node, vector.as_slice())
        } else {
            self.graph.vector(node) == vector.as_slice()
        }
    }

    /// The index of these rows. The image must have passed [`check`](Self::check).
    #[must_use]
    pub fn finish(self) -> VectorIndex<K> {
        self.index.parts.write().graph = Some(Graph::of(self.graph.finish(), self.rows).into());
        self.index
    }
}
