//! Prompt traces: requests in their order, from lines of JSON or a Parquet file.

mod jsonl;
mod parquet;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A request of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// What is asked.
    pub prompt: String,
    /// Requests of one group have the same right answer.
    pub group: String,
    /// What was answered; JSON that is no string is kept as its text.
    pub response: Option<String>,
    /// The whole conversation, a list of messages.
    pub messages: Option<serde_json::Value>,
    /// The model that was asked.
    pub model: Option<String>,
    /// The cache that was asked.
    pub cache: Option<String>,
    /// When it was asked, in milliseconds since 1970.
    pub at: Option<u64>,
    /// The prompt's vector, whatever made it: all of a trace have one dimension, are finite and of some length.
    pub embedding: Option<Vec<f32>>,
}

/// Requests in their order, and what couldn't be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// Those that could be.
    pub requests: Vec<Request>,
    /// Lines or rows that are no request, by their number, and why; some of them.
    pub broken: Vec<(u64, String)>,
    /// How many those are.
    pub skipped: u64,
}

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system refuses.
    #[error("can't read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// It begins like a Parquet file and goes on otherwise, or is packed in a way that isn't known here.
    #[error("{} begins like a Parquet file, but can't be read as one: {why}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A column isn't there.
    #[error("{} has no {wanted}; it has {}", path.display(), list(present))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column, or those that would do.
        wanted: String,
        /// Columns that are there.
        present: Vec<String>,
    },
    /// A column holds something else.
    #[error("the column `{column}` of {} doesn't hold {wanted}", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Embeddings were asked for by a name, and it is no Parquet file.
    #[error("{} has lines of JSON, whose embeddings are called `embedding`, not `{wanted}`", path.display())]
    NoColumns {
        /// The file.
        path: PathBuf,
        /// The name.
        wanted: String,
    },
}

impl Trace {
    /// Broken lines that are told at most.
    const TOLD: usize = 20;

    /// Reads lines of JSON, `most` requests of them. Members that no request has are passed over, so that an
    /// export's lines are requests too.
    ///
    /// # Errors
    /// Where the lines can't be read. What is wrong with one line is told in the trace.
    pub fn read(lines: impl BufRead, most: usize) -> std::io::Result<Self> {
        jsonl::read(lines, most)
    }

    /// Reads `most` requests of a file of either kind; its first bytes tell which. `embeddings` names the column of a
    /// Parquet file that has the prompts' vectors.
    ///
    /// # Errors
    /// See [`TraceError`]. What is wrong with one line or row is told in the trace.
    pub fn open(path: &Path, most: usize, embeddings: Option<&str>) -> Result<Self, TraceError> {
        let refused = |source| TraceError::Io { path: path.into(), source };
        let mut file = File::open(path).map_err(refused)?;
        // Not by seeking back: lines may come through a pipe.
        let mut head = Vec::new();
        file.by_ref().take(parquet::MAGIC.len() as u64).read_to_end(&mut head).map_err(refused)?;
        if head == parquet::MAGIC {
            return parquet::read(path, file, most, embeddings);
        }
        if let Some(wanted) = embeddings.filter(|name| *name != jsonl::EMBEDDING) {
            return Err(TraceError::NoColumns { path: path.into(), wanted: wanted.into() });
        }
        Self::read(BufReader::new(head.chain(file)), most).map_err(refused)
    }
}

/// A trace that is being read.
struct Reading {
    trace: Trace,
    most: usize,
    /// Of the first embedding.
    dimension: Option<usize>,
}

impl Reading {
    fn new(most: usize) -> Self {
        Self { trace: Trace::default(), most, dimension: None }
    }

    /// Requests that are still wanted.
    fn wanted(&self) -> usize {
        self.most - self.trace.requests.len()
    }

    /// Takes what line or row `number` has in it.
    fn take(&mut self, number: u64, found: Result<Found, String>) {
        match found.and_then(|found| self.whole(found)) {
            Ok(mut request) => {
                if let Some(embedding) = &mut request.embedding {
                    self.dimension.get_or_insert(embedding.len());
                    // They are most of what a trace takes up, and grew number by number.
                    embedding.shrink_to_fit();
                }
                self.trace.requests.push(request);
            }
            Err(why) => {
                self.trace.skipped += 1;
                if self.trace.broken.len() < Trace::TOLD {
                    self.trace.broken.push((number, why));
                }
            }
        }
    }

    fn whole(&self, Found { prompt, group, rest }: Found) -> Result<Request, String> {
        let prompt = prompt.ok_or("it has no prompt")?;
        if prompt.is_empty() {
            return Err("its prompt is empty".into());
        }
        let group = match (group, &rest.response) {
            (Some(group), _) => group,
            // Answers of tools alone have no text; they'd all be of one group.
            (None, Some(response)) if response.is_empty() => {
                return Err("it has no group, and its response is empty".into());
            }
            // Equal responses mean equal answers.
            (None, Some(response)) => response.clone(),
            (None, None) => return Err("it has neither a group nor a response".into()),
        };
        if let Some(embedding) = &rest.embedding {
            check(embedding, self.dimension)?;
        }
        Ok(Request { prompt, group, ..rest })
    }
}

/// What is in a line or row: a request that may lack what every request has.
#[derive(Default)]
struct Found {
    prompt: Option<String>,
    group: Option<String>,
    /// Everything else.
    rest: Request,
}

/// Whether an embedding can be compared with others.
fn check(embedding: &[f32], first: Option<usize>) -> Result<(), String> {
    let dimension = embedding.len();
    if let Some(first) = first.filter(|first| *first != dimension) {
        return Err(format!("its embedding has {dimension} dimensions, the first one has {first}"));
    }
    if !embedding.iter().all(|x| x.is_finite()) {
        return Err("its embedding isn't finite".into());
    }
    // Next to nothing is nothing: it can't be scaled to length 1 either.
    if embedding.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() <= f64::EPSILON {
        return Err("its embedding is all zeros".into());
    }
    Ok(())
}

/// Names as a sentence has them.
fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { format!("`{}`", names.join("`, `")) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_first_bytes_of_a_file_tell_its_kind() {
        let mut file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
        file.write_all(b"{\"prompt\": \"a\", \"group\": 1, \"embedding\": [1]}\n").unwrap();
        let trace = Trace::open(file.path(), usize::MAX, None).unwrap();
        assert_eq!((trace.requests[0].prompt.as_str(), trace.skipped), ("a", 0));
        assert_eq!(Trace::open(file.path(), usize::MAX, Some("embedding")).unwrap(), trace);
        let error = Trace::open(file.path(), usize::MAX, Some("emb_gte")).unwrap_err().to_string();
        assert!(error.ends_with("whose embeddings are called `embedding`, not `emb_gte`"), "{error}");

        let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
        file.write_all(b"PAR1{}PAR1").unwrap();
        let error = Trace::open(file.path(), usize::MAX, None).unwrap_err().to_string();
        assert!(error.contains(".jsonl begins like a Parquet file, but can't be read as one: "), "{error}");

        let empty = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Trace::open(empty.path(), usize::MAX, None).unwrap(), Trace::default());
        let error = Trace::open(Path::new("/nowhere/trace"), usize::MAX, None).unwrap_err().to_string();
        assert!(error.starts_with("can't read /nowhere/trace: "), "{error}");
    }
}
