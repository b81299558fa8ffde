//! Where nodes are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::codes;
use super::super::simd::{LINE, Line};
use super::{BASE_LINKS, LINKS, Node};

/// Nodes of a chunk.
const CHUNK: usize = 256;
/// What the cosine of a unit vector and its codes is larger than.
const SAME: f32 = 0.99;
/// Ends a list of neighbours that isn't full.
const NONE: u32 = u32::MAX;

/// All nodes of a graph. A clone is cheap and doesn't see nodes that are added later; it sees their links.
#[derive(Clone)]
pub(super) struct Chunks {
    dimension: usize,
    /// Lines of a node's codes.
    lines: usize,
    /// All full but the last.
    list: Arc<[Arc<Chunk>]>,
    nodes: usize,
}

/// Some nodes, in arrays with one part for each.
struct Chunk {
    vectors: Box<[f32]>,
    codes: Box<[Line]>,
    /// What one step of a code is worth.
    steps: Box<[f32]>,
    /// Neighbours on the lowest level.
    base: Box<[AtomicU32]>,
    /// Neighbours on the other levels, which one node in [`LINKS`] has.
    upper: Box<[Box<[AtomicU32]>]>,
}

/// A node's neighbours on one level, those that it was given first and [`NONE`] behind them.
#[derive(Clone, Copy)]
pub(super) struct Neighbours<'c>(&'c [AtomicU32]);

/// The highest level of a node: one in [`LINKS`] nodes of a level is on the next one too. Looks random, and is always the
/// same, so that the same vectors make the same graph.
pub(super) fn level(Node(node): Node) -> usize {
    // The finalizer of SplitMix64 (Steele et al. 2014).
    let mut x = u64::from(node).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x.trailing_zeros() / LINKS.trailing_zeros()) as usize
}

/// The part of number `number` of an array of parts. Its place can't overflow where there is one, and this is the inner
/// loop of every search, so no instruction is spent on asking.
fn part<T>(array: &[T], number: usize, length: usize) -> &[T] {
    &array[number.wrapping_mul(length)..][..length]
}

impl Chunks {
    pub(super) fn new(dimension: usize) -> Self {
        Self { dimension, lines: codes::lines(dimension), list: Arc::default(), nodes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes
    }

    /// Whether `node` is among them.
    pub(super) fn has(&self, Node(node): Node) -> bool {
        (node as usize) < self.nodes
    }

    /// These and some more. Their links are copied where a chunk wasn't full, so nobody may link meanwhile.
    pub(super) fn extended<'v>(&self, vectors: impl ExactSizeIterator<Item = &'v [f32]>) -> Self {
        let mut vectors = vectors.peekable();
        let mut list = self.list.to_vec();
        let mut nodes = self.nodes;
        let mut open = if nodes.is_multiple_of(CHUNK) { None } else { list.pop() };
        while vectors.peek().is_some() {
            let mut chunk = open.take().map_or_else(Growing::default, |chunk| Growing::from(&*chunk));
            for vector in vectors.by_ref().take(CHUNK - chunk.steps.len()) {
                #[expect(clippy::cast_possible_truncation, reason = "4 billion vectors don't fit into memory")]
                chunk.push(vector, self.lines, level(Node(nodes as u32)));
                nodes += 1;
            }
            list.push(Arc::new(chunk.into()));
        }
        list.extend(open);
        Self { list: list.into(), nodes, ..self.clone() }
    }

    pub(super) fn vector(&self, node: Node) -> &[f32] {
        let (chunk, row) = self.at(node);
        part(&chunk.vectors, row, self.dimension)
    }

    pub(super) fn codes(&self, node: Node) -> &[Line] {
        let (chunk, row) = self.at(node);
        part(&chunk.codes, row, self.lines)
    }

    pub(super) fn step(&self, node: Node) -> f32 {
        let (chunk, row) = self.at(node);
        chunk.steps[row]
    }

    pub(super) fn neighbours(&self, node: Node, level: usize) -> Neighbours<'_> {
        let (chunk, row) = self.at(node);
        Neighbours(match level.checked_sub(1) {
            None => part(&chunk.base, row, BASE_LINKS),
            Some(upper) => part(&chunk.upper[row], upper, LINKS),
        })
    }

    fn at(&self, Node(node): Node) -> (&Chunk, usize) {
        (&self.list[node as usize / CHUNK], node as usize % CHUNK)
    }
}

/// A chunk but for its vectors, as it is kept on disk.
#[derive(serde::Serialize, serde::Deserialize)]
pub(in super::super) struct ChunkImage {
    #[serde(with = "serde_bytes")]
    codes: Vec<u8>,
    steps: Vec<f32>,
    base: Vec<u32>,
    upper: Vec<Vec<u32>>,
}

impl ChunkImage {
    /// Its nodes.
    pub(in super::super) fn len(&self) -> usize {
        self.steps.len()
    }
}

impl Chunks {
    /// Images of all chunks.
    pub(super) fn images(self) -> impl Iterator<Item = ChunkImage> {
        (0..self.list.len()).map(move |chunk| {
            let Chunk { codes, steps, base, upper, .. } = &*self.list[chunk];
            let numbers = |links: &[AtomicU32]| links.iter().map(|link| link.load(Ordering::Relaxed)).collect();
            ChunkImage {
                codes: codes.iter().flat_map(|line| line.0).collect(),
                steps: steps.to_vec(),
                base: numbers(base),
                upper: upper.iter().map(|links| numbers(links)).collect(),
            }
        })
    }
}

/// Chunks that are made of images; their vectors come one by one.
pub(super) struct Restoring {
    dimension: usize,
    lines: usize,
    list: Vec<Growing>,
    nodes: usize,
}

impl Restoring {
    pub(super) fn new(dimension: usize) -> Self {
        Self { dimension, lines: codes::lines(dimension), list: Vec::new(), nodes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes
    }

    /// Adds the next chunk of a graph of `all` nodes. `None`: it isn't one.
    pub(super) fn push(&mut self, image: ChunkImage, all: usize) -> Option<()> {
        let ChunkImage { codes, steps, base, upper } = image;
        let count = steps.len();
        let expected = all.checked_sub(self.nodes)?.min(CHUNK);
        let levels = (self.nodes..).map(|node| u32::try_from(node).map(|node| level(Node(node)) * LINKS));
        let fits = count == expected
            && codes.len() == count * self.lines * LINE
            && base.len() == count * BASE_LINKS
            && upper.len() == count
            && upper.iter().zip(levels).all(|(links, length)| length == Ok(links.len()));
        if !fits {
            return None;
        }
        // Whatever an image says, links lead to nodes that are there, and on that level.
        let links = |on: usize, numbers: &[u32]| -> Vec<AtomicU32> {
            let known = numbers.iter().copied().filter(|node| (*node as usize) < all && level(Node(*node)) >= on);
            known.chain(std::iter::repeat(NONE)).take(numbers.len()).map(AtomicU32::new).collect()
        };
        let upper_links =
            |levels: &Vec<u32>| levels.chunks(LINKS).zip(1..).flat_map(|(numbers, on)| links(on, numbers)).collect();
        self.list.push(Growing {
            vectors: vec![0.0; count * self.dimension],
            codes: codes.as_chunks::<LINE>().0.iter().map(|line| Line(*line)).collect(),
            steps,
            base: base.chunks(BASE_LINKS).flat_map(|numbers| links(0, numbers)).collect(),
            upper: upper.iter().map(upper_links).collect(),
        });
        self.nodes += count;
        Some(())
    }

    /// Gives a node its vector, if that is the one that its codes are of.
    pub(super) fn set_vector(&mut self, Node(node): Node, vector: &[f32]) -> bool {
        let row = node as usize % CHUNK;
        let chunk = &mut self.list[node as usize / CHUNK];
        let cosine = codes::product(&chunk.codes[row * self.lines..][..self.lines], chunk.steps[row], vector);
        let is_its = cosine > SAME;
        if is_its {
            chunk.vectors[row * self.dimension..][..self.dimension].copy_from_slice(vector);
        }
        is_its
    }

    pub(super) fn vector(&self, Node(node): Node) -> &[f32] {
        part(&self.list[node as usize / CHUNK].vectors, node as usize % CHUNK, self.dimension)
    }

    pub(super) fn finish(self) -> Chunks {
        let Self { dimension, lines, list, nodes } = self;
        Chunks { dimension, lines, nodes, list: list.into_iter().map(|chunk| Arc::new(chunk.into())).collect() }
    }
}

impl<'c> Neighbours<'c> {
    pub(super) fn iter(self) -> impl Iterator<Item = Node> + 'c {
        self.0.iter().map(|link| link.load(Ordering::Acquire)).take_while(|link| *link != NONE).map(Node)
    }

    /// How many there may be.
    pub(super) fn capacity(self) -> usize {
        self.0.len()
    }

    /// Adds one, if there is room.
    pub(super) fn push(self, node: Node) -> bool {
        let free = self.0.iter().find(|link| link.load(Ordering::Relaxed) == NONE);
        free.inspect(|free| free.store(node.0, Ordering::Release)).is_some()
    }

    /// Replaces them.
    pub(super) fn set(self, nodes: impl Iterator<Item = Node>) {
        let nodes = nodes.map(|node| node.0).chain(std::iter::repeat(NONE));
        self.0.iter().zip(nodes).for_each(|(link, node)| link.store(node, Ordering::Release));
    }
}

/// A chunk that is being made.
#[derive(Default)]
struct Growing {
    vectors: Vec<f32>,
    codes: Vec<Line>,
    steps: Vec<f32>,
    base: Vec<AtomicU32>,
    upper: Vec<Box<[AtomicU32]>>,
}

impl Growing {
    fn push(&mut self, vector: &[f32], lines: usize, level: usize) {
        let none = |count: usize| std::iter::repeat_with(|| AtomicU32::new(NONE)).take(count);
        self.vectors.extend_from_slice(vector);
        let from = self.codes.len();
        self.codes.resize(from + lines, Line([0; LINE]));
        self.steps.push(codes::encode(vector, &mut self.codes[from..]));
        self.base.extend(none(BASE_LINKS));
        self.upper.push(none(level * LINKS).collect());
    }
}

impl From<&Chunk> for Growing {
    fn from(chunk: &Chunk) -> Self {
        let copy = |links: &[AtomicU32]| -> Vec<AtomicU32> {
            links.iter().map(|link| AtomicU32::new(link.load(Ordering::Relaxed))).collect()
        };
        Self {
            vectors: chunk.vectors.to_vec(),
            codes: chunk.codes.to_vec(),
            steps: chunk.steps.to_vec(),
            base: copy(&chunk.base),
            upper: chunk.upper.iter().map(|links| copy(links).into()).collect(),
        }
    }
}

impl From<Growing> for Chunk {
    fn from(chunk: Growing) -> Self {
        Self {
            vectors: chunk.vectors.into(),
            codes: chunk.codes.into(),
            steps: chunk.steps.into(),
            base: chunk.base.into(),
            upper: chunk.upper.into(),
        }
    }
}
