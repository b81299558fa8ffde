//! Equal requests under way share one provider call (single-flight).
//!
//! The *leader* is a task of its own that reads the reply as fast as it comes. Everybody who asked is a *follower*: each reads the
//! reply from its beginning, at their own pace. A slow or disconnected follower never delays the others. When the last one
//! disconnects, the call is cancelled.
//!
//! Of a very long reply only the newest part is kept. Nobody joins it any more, it isn't stored, and it is read as fast as its
//! fastest follower reads.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{Stream, unfold};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bytes of a reply that are kept for as long as anybody reads it, about, unless its leader [keeps more](Leader::keep). Of a longer one, up to half of them are forgotten
/// when the fastest follower is past that.
pub(super) const KEPT: usize = 16 << 20;
/// Bytes that a follower gets at once.
const PIECE: usize = 64 << 10;

/// How long the rest of a reply is waited for that nobody reads any more and that has said why it ends.
const GRACE: Duration = Duration::from_secs(2);

/// What a reply's end says to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cut {
    /// The provider broke off.
    #[error("the provider broke off its answer")]
    Broken,
    /// What this follower would read next isn't kept any more.
    #[error("the answer is long, and was read too slowly")]
    Late,
}

/// All flights under way, by what was asked. `H` is what comes before a reply's body.
pub(in crate::http) struct SingleFlight<K, H>(Mutex<HashMap<K, Arc<Flight<H>>>>);

impl<K, H> Default for SingleFlight<K, H> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// One call with all who wait for it.
pub(in crate::http) struct Flight<H> {
    state: Mutex<State<H>>,
    changed: Notify,
    /// A follower has gone.
    left: Notify,
    /// A follower has read on, of a reply that is long.
    was_read: Notify,
}

struct State<H> {
    head: Option<Result<Arc<H>, ()>>,
    /// All of the body so far but for what is forgotten, in one piece: pieces as they come from a connection each hold on to
    /// its whole buffer.
    body: Vec<u8>,
    /// How many bytes are kept.
    kept: usize,
    /// Bytes before these, which are forgotten.
    forgotten: usize,
    end: Option<Result<(), Cut>>,
    /// How much of the reply each follower has read.
    followers: BTreeMap<usize, usize>,
    /// How many followers there have been.
    joined: usize,
    /// Whether it is read on for a while though nobody reads along.
    is_lingering: bool,
}

/// What a request is to its call.
pub(super) enum Role<K: Hash + Eq + Clone, H> {
    /// It makes the call.
    Leader((Leader<K, H>, Follower<H>)),
    /// It reads along.
    Follower(Follower<H>),
}

/// Whoever makes the call tells here what comes of it. When it is dropped before its end, the reply was cut.
pub(super) struct Leader<K: Hash + Eq + Clone, H> {
    flights: Arc<SingleFlight<K, H>>,
    key: K,
    flight: Arc<Flight<H>>,
}

/// One follower's place in a reply.
pub(super) struct Follower<H> {
    flight: Arc<Flight<H>>,
    number: usize,
    at: usize,
}

impl<K: Hash + Eq + Clone, H> SingleFlight<K, H> {
    /// Joins the flight of `key`, or begins one.
    pub(super) fn join(self: &Arc<Self>, key: K) -> Role<K, H> {
        let flights = &mut *self.0.lock();
        if let Some(flight) = flights.get(&key) {
            let mut state = flight.state.lock();
            let is_read = !state.followers.is_empty() || state.is_lingering;
            if is_read && state.forgotten == 0 && !matches!(state.head, Some(Err(()))) {
                let number = state.join();
                drop(state);
                return Role::Follower(Follower { flight: Arc::clone(flight), number, at: 0 });
            }
        }
        let flight = Arc::new(Flight::new());
        flights.insert(key.clone(), Arc::clone(&flight));
        Role::Leader(self.led(key, flight))
    }

    /// Begins a flight that nobody joins.
    pub(super) fn detached(self: &Arc<Self>, key: K) -> (Leader<K, H>, Follower<H>) {
        self.led(key, Arc::new(Flight::new()))
    }

    fn led(self: &Arc<Self>, key: K, flight: Arc<Flight<H>>) -> (Leader<K, H>, Follower<H>) {
        let leader = Leader { flights: Arc::clone(self), key, flight: Arc::clone(&flight) };
        let number = flight.state.lock().join();
        (leader, Follower { flight, number, at: 0 })
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl<H> Flight<H> {
    fn new() -> Self {
        let state = State {
            head: None,
            body: Vec::new(),
            kept: KEPT,
            forgotten: 0,
            end: None,
            followers: BTreeMap::new(),
            joined: 0,
            is_lingering: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), left: Notify::new(), was_read: Notify::new() }
    }
}

impl<H> State<H> {
    /// One more follower. Returns its number.
    fn join(&mut self) -> usize {
        let number = self.joined;
        self.joined += 1;
        self.followers.insert(number, 0);
        number
    }

    /// How long the reply is so far.
    fn length(&self) -> usize {
        self.forgotten + self.body.len()
    }

    /// Whether there is room for more of the reply. Where it is long, the first half of what is kept is forgotten once the
    /// fastest follower is past it.
    fn make_room(&mut self) -> bool {
        let half = self.body.len() / 2;
        if self.body.len() <= self.kept {
            return true;
        }
        let is_read = self.followers.values().max().is_some_and(|at| *at >= self.forgotten + half);
        if is_read {
            self.body.drain(..half);
            self.forgotten += half;
        }
        is_read
    }
}

impl<K: Hash + Eq + Clone, H> Leader<K, H> {
    /// So many bytes of the reply are kept.
    pub(super) fn keep(self, bytes: usize) -> Self {
        self.flight.state.lock().kept = bytes;
        self
    }

    /// The reply begins.
    pub(super) fn begins(&self, head: H) {
        self.flight.state.lock().head = Some(Ok(Arc::new(head)));
        self.flight.changed.notify_waiters();
    }

    /// There is no reply that others could share.
    pub(super) fn fails(self) {
        self.leave();
        self.flight.state.lock().head = Some(Err(()));
        self.flight.changed.notify_waiters();
    }

    /// More of it. Returns how long it is with that.
    pub(super) fn tells(&self, piece: &[u8]) -> usize {
        let state = &mut *self.flight.state.lock();
        state.body.extend_from_slice(piece);
        self.flight.changed.notify_waiters();
        state.length()
    }

    /// How long it is so far.
    fn length(&self) -> usize {
        self.flight.state.lock().length()
    }

    /// All of it so far, and `last`; none where it is longer than is kept.
    fn body_with(&self, last: &[u8]) -> Option<Bytes> {
        let state = self.flight.state.lock();
        (state.length() + last.len() <= state.kept).then(|| [state.body.as_slice(), last].concat().into())
    }

    /// Until there is room for more of it.
    async fn room(&self) {
        while !self.flight.state.lock().make_room() {
            self.flight.was_read.notified().await;
        }
    }

    /// It has come to its end.
    pub(super) fn ends(self) {
        self.leave();
        self.flight.state.lock().end = Some(Ok(()));
        self.flight.changed.notify_waiters();
    }

    /// Until nobody reads any more.
    pub(super) async fn is_abandoned(&self) {
        while self.has_followers() {
            self.flight.left.notified().await;
        }
    }

    fn has_followers(&self) -> bool {
        !self.flight.state.lock().followers.is_empty()
    }

    /// It is read on though nobody reads along; whoever asks the same may still join.
    fn lingers(&self) {
        self.flight.state.lock().is_lingering = true;
    }

    /// Whether nobody has joined meanwhile; then nobody does any more.
    fn stops_lingering(&self) -> bool {
        let state = &mut *self.flight.state.lock();
        state.is_lingering = false;
        state.followers.is_empty()
    }

    /// Nobody joins from now on: who asks the same is answered from the cache.
    fn leave(&self) {
        let flights = &mut *self.flights.0.lock();
        if flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            flights.remove(&self.key);
        }
    }
}

impl<K: Hash + Eq + Clone, H> Drop for Leader<K, H> {
    fn drop(&mut self) {
        self.leave();
        let state = &mut *self.flight.state.lock();
        state.head.get_or_insert(Err(()));
        state.end.get_or_insert(Err(Cut::Broken));
        self.flight.changed.notify_waiters();
    }
}

impl<H> Follower<H> {
    /// What comes before the body. None where the call failed in a way that is no answer to others.
    pub(super) async fn head(&self) -> Option<Arc<H>> {
        loop {
            let changed = self.flight.changed.notified();
            if let Some(head) = &self.flight.state.lock().head {
                return head.clone().ok();
            }
            changed.await;
        }
    }

    /// The body from its beginning.
    pub(super) fn body(self) -> impl Stream<Item = Result<Bytes, Cut>> + use<H> {
        unfold((self, false), |(mut follower, is_over)| async move {
            if is_over {
                return None;
            }
            let next = follower.next().await?;
            let is_over = next.is_err();
            Some((next, (follower, is_over)))
        })
    }

    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            let changed = self.flight.changed.notified();
            {
                let state = &mut *self.flight.state.lock();
                let Some(rest) = self.at.checked_sub(state.forgotten).and_then(|at| state.body.get(at..)) else {
                    return Some(Err(Cut::Late));
                };
                if !rest.is_empty() {
                    let piece = Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)]);
                    self.at += piece.len();
                    state.followers.insert(self.number, self.at);
                    if state.body.len() > state.kept {
                        self.flight.was_read.notify_one();
                    }
                    return Some(Ok(piece));
                }
                if let Some(end) = state.end {
                    return end.err().map(Err);
                }
            }
            changed.await;
        }
    }
}

impl<H> Drop for Follower<H> {
    fn drop(&mut self) {
        let state = &mut *self.flight.state.lock();
        state.followers.remove(&self.number);
        if state.followers.is_empty() {
            self.flight.left.notify_one();
        }
    }
}

/// How far a reply has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    /// Anything may follow.
    Unfinished,
    /// It has said why it ends. Some clients leave then.
    NearlyWhole,
    /// Nothing that matters follows.
    Whole,
}

/// Reads `body` into the flight of `leader`. `before_end` is called with all of it, where that is kept, before its last piece is told,
/// where `completeness`, which is told its length with it, knows that it is the last one, so that whoever has read the whole reply
/// can rely on that call having been made. When all followers have gone, a reply that is nearly whole is read on for [`GRACE`].
pub(super) async fn run<K: Hash + Eq + Clone, H, E>(
    leader: Leader<K, H>,
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    completeness: impl Fn(usize) -> Completeness,
    before_end: impl FnOnce(Option<Bytes>),
) {
    let mut before_end = Some(before_end);
    let mut given_up = None;
    loop {
        let patience = async {
            match given_up {
                None => leader.is_abandoned().await,
                Some(at) => tokio::time::sleep_until(at).await,
            }
        };
        let next = async {
            leader.room().await;
            body.next().await
        };
        let next = tokio::select! {
            biased;
            next = next => next,
            () = patience => {
                given_up = match given_up.take() {
                    // Somebody has come meanwhile.
                    Some(_) if leader.stops_lingering() => return,
                    Some(_) => None,
                    None if before_end.is_none() || completeness(leader.length()) == Completeness::Unfinished => return,
                    None => {
                        leader.lingers();
                        Some(tokio::time::Instant::now() + GRACE)
                    }
                };
                continue;
            }
        };
        match next {
            Some(Ok(piece)) => {
                if completeness(leader.length() + piece.len()) == Completeness::Whole
                    && let Some(before_end) = before_end.take()
                {
                    before_end(leader.body_with(&piece));
                }
                leader.tells(&piece);
            }
            // What fails after its end has merely ended.
            Some(Err(_)) if before_end.is_none() => return leader.ends(),
            Some(Err(_)) => return,
            None => {
                if let Some(before_end) = before_end.take() {
                    before_end(leader.body_with(&[]));
                }
                return leader.ends();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;

    type All = Arc<SingleFlight<&'static str, u8>>;

    fn lead(all: &All) -> (Leader<&'static str, u8>, Follower<u8>) {
        match all.join("q") {
            Role::Leader(led) => led,
            Role::Follower(_) => panic!("somebody else leads"),
        }
    }

    fn join(all: &All) -> Follower<u8> {
        match all.join("q") {
            Role::Follower(follower) => follower,
            Role::Leader(..) => panic!("nobody leads"),
        }
    }

    async fn read(follower: Follower<u8>) -> Result<String, Cut> {
        let pieces: Vec<_> = follower.body().collect().await;
        let pieces: Result<Vec<Bytes>, Cut> = pieces.into_iter().collect();
        pieces.map(|pieces| String::from_utf8(pieces.concat()).unwrap())
    }

    #[tokio::test]
    async fn who_comes_late_reads_from_the_beginning_and_then_along() {
        let all = All::default();
        let (leader, first) = lead(&all);
        assert!(first.head().now_or_never().is_none());
        leader.begins(7);
        leader.tells(b"a");
        let late = join(&all);
        assert_eq!(late.head().await.as_deref(), Some(&7));
        let mut body = Box::pin(late.body());
        assert_eq!(body.next().await.unwrap().unwrap(), "a");
        let mut next = body.next();
        assert!(futures_util::poll!(&mut next).is_pending());
        leader.tells(b"b");
        assert_eq!(next.await.unwrap().unwrap(), "b");
        leader.ends();
        assert!(body.next().await.is_none());
        assert_eq!(read(first).await.unwrap(), "ab");
        assert_eq!(all.len(), 0);
    }

    #[tokio::test]
    async fn a_failure_is_nobodys_answer_and_a_cut_is_seen_by_all() {
        let all = All::default();
        let (leader, first) = lead(&all);
        let second = join(&all);
        leader.fails();
        assert!(first.head().await.is_none() && second.head().await.is_none());
        let (leader, first) = lead(&all);
        leader.begins(0);
        let second = join(&all);
        let failing = stream::iter([Ok(Bytes::from("a")), Err(())]);
        run(leader, failing, |_| Completeness::Unfinished, |_| panic!("it isn't whole")).await;
        assert_eq!((read(first).await, read(second).await), (Err(Cut::Broken), Err(Cut::Broken)));
        assert_eq!(all.len(), 0);
    }

    #[tokio::test]
    async fn one_who_goes_away_holds_nobody_up_and_when_all_have_the_call_is_given_up() {
        let all = All::default();
        let (leader, first) = lead(&all);
        leader.begins(0);
        let second = join(&all);
        drop(first);
        assert!(leader.is_abandoned().now_or_never().is_none());
        drop(second);
        run(leader, stream::pending::<Result<Bytes, ()>>(), |_| Completeness::Unfinished, |_| panic!("it isn't whole"))
            .await;
        assert_eq!(all.len(), 0);
        // One that is alone is joined by nobody, and takes nobody's place.
        let (alone, _follower) = all.detached("q");
        assert_eq!(all.len(), 0);
        let (led, reading) = lead(&all);
        alone.ends();
        assert_eq!(all.len(), 1);
        drop((led, reading));
        // Nobody waits any longer for one that is given up.
        let (leader, first) = lead(&all);
        drop(first);
        let (_other, _follower) = lead(&all);
        drop(leader);
        assert_eq!(all.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_has_said_why_it_ends_is_read_on_for_a_while() {
        let all = All::default();
        let (leader, first) = lead(&all);
        leader.begins(0);
        drop(first);
        let late = async { Ok::<_, ()>(Bytes::from("end")) };
        let pieces = Box::pin(stream::iter([Ok(Bytes::from("so "))]).chain(stream::once(late)));
        let kept = Mutex::new(None);
        let completeness = |length| if length == 6 { Completeness::Whole } else { Completeness::NearlyWhole };
        run(leader, pieces, completeness, |all| *kept.lock() = all).await;
        assert_eq!(kept.lock().as_deref(), Some(&b"so end"[..]));
        // Not for ever.
        let (leader, first) = lead(&all);
        leader.begins(0);
        drop(first);
        let began = tokio::time::Instant::now();
        let silent = stream::pending::<Result<Bytes, ()>>();
        run(leader, silent, |_| Completeness::NearlyWhole, |_| panic!("it isn't whole")).await;
        assert_eq!(began.elapsed(), GRACE);
    }

    #[tokio::test]
    async fn what_is_whole_is_kept_before_its_last_piece_is_told() {
        let all = All::default();
        let (leader, first) = lead(&all);
        leader.begins(0);
        let pieces = stream::iter([Ok(Bytes::from("a")), Ok(Bytes::from("b")), Err(())]);
        let kept = Mutex::new(None);
        run(
            leader,
            pieces,
            |length| if length == 2 { Completeness::Whole } else { Completeness::Unfinished },
            |all| *kept.lock() = all,
        )
        .await;
        assert_eq!(kept.lock().as_deref(), Some(&b"ab"[..]));
        assert_eq!(read(first).await.unwrap(), "ab");
    }

    #[tokio::test]
    async fn a_very_long_reply_goes_to_its_fastest_reader_within_bounded_memory() {
        let all = All::default();
        let (leader, fast) = lead(&all);
        leader.begins(0);
        let (slow, flight) = (join(&all), Arc::clone(&fast.flight));
        let pieces = stream::iter((0..100).map(|n| Ok::<_, ()>(Bytes::from(vec![n; 1 << 20]))));
        let kept = Mutex::new(None);
        let flying = run(leader, pieces, |_| Completeness::Unfinished, |all| *kept.lock() = Some(all));
        let reading = async {
            let (mut body, mut length) = (Box::pin(fast.body()), 0);
            while let Some(piece) = body.next().await {
                let piece = piece.unwrap();
                assert!(piece.iter().all(|byte| usize::from(*byte) == length >> 20));
                length += piece.len();
                let state = flight.state.lock();
                assert!(state.body.len() <= KEPT + (1 << 20));
                assert!(state.body.capacity() <= 2 * KEPT);
            }
            length
        };
        let ((), length) = futures_util::join!(flying, reading);
        assert_eq!(length, 100 << 20);
        // It isn't stored, nobody joins it, and whoever didn't keep up is told so.
        assert_eq!(*kept.lock(), Some(None));
        assert_eq!(read(slow).await, Err(Cut::Late));
    }

    #[tokio::test]
    async fn a_very_long_reply_waits_for_its_readers() {
        let all = All::default();
        let (leader, first) = lead(&all);
        leader.begins(0);
        let pieces = stream::iter((0..100).map(|_| Ok::<_, ()>(Bytes::from(vec![0; 1 << 20]))));
        let mut flying =
            Box::pin(run(leader, pieces, |_| Completeness::Unfinished, |_| panic!("it isn't read to its end")));
        assert!(futures_util::poll!(&mut flying).is_pending());
        assert!(first.flight.state.lock().length() <= KEPT + (1 << 20));
        // It still has all of it, so others may join; once it hasn't, they make calls of their own.
        drop(join(&all));
        let mut body = Box::pin(first.body());
        for _ in 0..KEPT / PIECE {
            body.next().await.unwrap().unwrap();
        }
        assert!(futures_util::poll!(&mut flying).is_pending());
        let (_other, _follower) = lead(&all);
        drop(body);
        flying.await;
    }
}
