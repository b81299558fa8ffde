//! Threads that do what nobody waits for: making room, and linking vectors into graphs.

use std::collections::HashSet;
use std::hash::Hash;

use parking_lot::{Condvar, Mutex};

/// What is to be done, each thing once however often it is asked for.
pub(super) struct WorkSet<T> {
    /// None once nothing more is to be done.
    things: Mutex<Option<HashSet<T>>>,
    changed: Condvar,
}

impl<T: Copy + Eq + Hash> WorkSet<T> {
    pub(super) fn new() -> Self {
        Self { things: Mutex::new(Some(HashSet::new())), changed: Condvar::new() }
    }

    /// Asks for `thing`. It is done from the beginning even where it is being done now.
    pub(super) fn want(&self, thing: T) {
        if let Some(things) = &mut *self.things.lock() {
            things.insert(thing);
            self.changed.notify_one();
        }
    }

    /// Nothing more is to be done.
    pub(super) fn close(&self) {
        *self.things.lock() = None;
        self.changed.notify_all();
    }

    /// What is to be done next, waited for. `None`: nothing ever again.
    pub(super) fn next(&self) -> Option<T> {
        let mut things = self.things.lock();
        loop {
            let wanted = things.as_mut()?;
            if let Some(next) = wanted.iter().next().copied() {
                wanted.remove(&next);
                return Some(next);
            }
            self.changed.wait(&mut things);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_often_is_done_once_and_nothing_after_the_end() {
        let wanted = WorkSet::new();
        [1, 2, 1, 1].into_iter().for_each(|thing| wanted.want(thing));
        let mut done = [wanted.next(), wanted.next()];
        done.sort_unstable();
        assert_eq!(done, [Some(1), Some(2)]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wanted.next());
            wanted.close();
            assert_eq!(waiting.join().unwrap(), None);
        });
        wanted.want(3);
        assert_eq!(wanted.next(), None);
    }
}
