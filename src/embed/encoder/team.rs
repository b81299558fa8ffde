//! The threads of an encoder.
//!
//! The caller leads; helpers sleep between passes and join as soon as they are awake. A pass never waits for a helper
//! that has not come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};

use parking_lot::RwLock;

use super::forward::{self, Board, Pass, Scratch};
use super::phases::{Broken, Phases};
use super::weights::Weights;
use super::{Instructions, Set};

/// Spins of a helper for the next pass before it goes to sleep: some times as long as waking it takes, because it is woken
/// when a text arrives, which then is handed over and tokenized first.
const SPINS: u32 = 4096;

/// Wakes a team's helpers, and those of the team that takes its place.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Waker(Arc<RwLock<Vec<Thread>>>);

impl Waker {
    pub(in super::super) fn wake(&self) {
        self.0.read().iter().for_each(Thread::unpark);
    }
}

/// Threads that compute passes together.
pub(super) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    scratch: Scratch,
}

struct Shared {
    instructions: Instructions,
    weights: Arc<Weights>,
    pass: RwLock<Pass>,
    /// Passes that have begun.
    begun: AtomicU64,
    closing: AtomicBool,
    phases: Phases,
    board: Board,
}

impl Shared {
    fn work(&self, scratch: &mut Scratch) -> Result<(), Broken> {
        let _guard = self.phases.guard();
        let pass = self.pass.read();
        let (weights, board, phases) = (&self.weights, &self.board, &self.phases);
        match self.instructions.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(isa) => forward::run(isa, weights, board, &pass, phases, scratch),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(isa) => forward::run(isa, weights, board, &pass, phases, scratch),
            Set::Plain(isa) => forward::run(isa, weights, board, &pass, phases, scratch),
        }
    }

    fn help(&self) {
        let mut scratch = Scratch::default();
        let mut seen = 0;
        let mut spins = 0;
        while !self.closing.load(Ordering::Acquire) {
            let begun = self.begun.load(Ordering::Acquire);
            if begun != seen {
                (seen, spins) = (begun, 0);
                if self.work(&mut scratch).is_err() {
                    return;
                }
            } else if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                spins = 0;
                std::thread::park();
            }
        }
    }
}

impl Team {
    /// A team of `threads`, the caller among them; `waker` wakes it from now on.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub(super) fn start(
        instructions: Instructions,
        weights: Arc<Weights>,
        threads: usize,
        waker: &Waker,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            instructions,
            weights,
            pass: RwLock::default(),
            begun: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            phases: Phases::default(),
            board: Board::default(),
        });
        let mut team = Self { shared, helpers: Vec::new(), scratch: Scratch::default() };
        for number in 1..threads {
            let shared = Arc::clone(&team.shared);
            let thread = std::thread::Builder::new().name(format!("embed-{number}"));
            team.helpers.push(thread.spawn(move || shared.help())?);
        }
        *waker.0.write() = team.helpers.iter().map(|helper| helper.thread().clone()).collect();
        Ok(team)
    }

    fn wake(&self) {
        self.helpers.iter().for_each(|helper| helper.thread().unpark());
    }

    /// Sends `texts` through the encoder; `with` gets, for each in its order, its tokens' final rows, (tokens, hidden).
    pub(super) fn pass<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t [u32]>,
        mut with: impl FnMut(usize, &[f32]),
    ) -> Result<(), Broken> {
        self.shared.pass.write().set(texts, self.shared.phases.now());
        self.shared.begun.fetch_add(1, Ordering::Release);
        self.wake();
        self.shared.work(&mut self.scratch)?;
        let pass = self.shared.pass.read();
        let mut token = 0;
        let mut text = 0;
        self.shared.board.rows(&pass, self.shared.weights.shape.hidden, |row| {
            while pass.texts()[text].end <= token {
                text += 1;
            }
            with(text, row);
            token += 1;
        });
        Ok(())
    }

    /// Whether a thread panicked, so that another team is needed.
    pub(super) fn is_broken(&self) -> bool {
        self.shared.phases.is_broken()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.wake();
        for helper in self.helpers.drain(..) {
            // One that panicked has told the others already.
            let _ = helper.join();
        }
    }
}
