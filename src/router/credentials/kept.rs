//! A credential that expires: kept, and replaced in time.
//!
//! While it is good, nobody waits: a new one is fetched in the background before it ends. Where there is none, all who need
//! it wait for the same fetch. A fetch is a task of its own, so callers that go away don't end it, and it is bounded in time.
//! After one that failed there is a pause, so that whoever issues credentials isn't asked by every request.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::CredentialError;

/// How long one fetch may take. Arbitrary: AWS's chain asks up to five places, with a second for each.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long before its end a credential is replaced, so that no request leaves with one that ends on the way. Of those that
/// last for less than twice as long, after half of their life.
const MARGIN: Duration = Duration::from_secs(300);
/// What is good for good is looked up again after so long, because files and variables of the environment are changed.
const LASTING: Duration = Duration::from_secs(3600);
/// The shortest life that is believed: what has expired already is asked for again no sooner.
const SHORTEST: Duration = Duration::from_secs(2);
/// The pause after the first failure, doubled with each that follows, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where credentials come from.
pub(super) trait Source: Send + Sync + 'static {
    /// A token, or a key with its secret.
    type Credential: Clone + Send + Sync + 'static;

    /// A new one.
    fn fetch(&self) -> impl Future<Output = Result<Fetched<Self::Credential>, CredentialError>> + Send;
}

/// A credential, and for how long it is good; none for those that don't end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched<C> {
    pub(super) credential: C,
    pub(super) lifetime: Option<Duration>,
}

/// The credential of one source.
pub(super) struct Kept<S: Source> {
    source: Arc<S>,
    state: Arc<Mutex<State<S::Credential>>>,
}

struct State<C> {
    current: Option<Current<C>>,
    /// The one fetch that is under way.
    fetching: Option<Fetching<C>>,
    failed: Option<Failed>,
}

type Fetching<C> = Shared<BoxFuture<'static, Result<C, CredentialError>>>;

struct Current<C> {
    credential: C,
    renew_at: Instant,
    expires_at: Instant,
}

struct Failed {
    pause: Duration,
    until: Instant,
    error: CredentialError,
}

impl<S: Source> Kept<S> {
    pub(super) fn new(source: S) -> Self {
        let state = State { current: None, fetching: None, failed: None };
        Self { source: Arc::new(source), state: Arc::new(Mutex::new(state)) }
    }

    /// One that is good for a while.
    pub(super) async fn get(&self) -> Result<S::Credential, CredentialError> {
        let fetching = {
            let mut state = self.state.lock();
            let now = Instant::now();
            let usable = state.current.as_ref().filter(|current| now < current.expires_at);
            let (usable, is_fresh) = (
                usable.map(|current| current.credential.clone()),
                usable.is_some_and(|current| now < current.renew_at),
            );
            if let Some(credential) = usable.clone().filter(|_| is_fresh) {
                return Ok(credential);
            }
            if let Some(failed) = state.failed.as_ref().filter(|failed| now < failed.until) {
                return usable.ok_or_else(|| failed.error.clone());
            }
            let fetching = state.fetching.get_or_insert_with(|| self.fetch()).clone();
            if let Some(credential) = usable {
                return Ok(credential);
            }
            fetching
        };
        fetching.await
    }

    /// The one that is kept, if it is good still.
    pub(super) fn current(&self) -> Option<S::Credential> {
        let now = Instant::now();
        let state = self.state.lock();
        state.current.as_ref().filter(|current| now < current.expires_at).map(|current| current.credential.clone())
    }

    fn fetch(&self) -> Fetching<S::Credential> {
        let (source, state) = (Arc::clone(&self.source), Arc::clone(&self.state));
        let task = tokio::spawn(async move {
            let fetched = tokio::time::timeout(PATIENCE, source.fetch()).await;
            let late = || CredentialError::late(format!("there was no answer within {} s", PATIENCE.as_secs()));
            let fetched = fetched.unwrap_or_else(|_| Err(late()));
            let mut state = state.lock();
            state.fetching = None;
            state.keep(fetched, Instant::now())
        });
        let state = Arc::clone(&self.state);
        let ended = async move {
            task.await.unwrap_or_else(|_| {
                state.lock().fetching = None;
                Err(CredentialError::reply("the task that asks for credentials ended"))
            })
        };
        ended.boxed().shared()
    }
}

impl<C: Clone> State<C> {
    fn keep(&mut self, fetched: Result<Fetched<C>, CredentialError>, now: Instant) -> Result<C, CredentialError> {
        match fetched {
            Ok(Fetched { credential, lifetime }) => {
                let lifetime = lifetime.unwrap_or(LASTING).clamp(SHORTEST, LASTING * 24);
                let expires_at = now + lifetime;
                let renew_at = expires_at - MARGIN.min(lifetime / 2);
                self.current = Some(Current { credential: credential.clone(), renew_at, expires_at });
                self.failed = None;
                Ok(credential)
            }
            Err(error) => {
                let pause = self.failed.as_ref().map_or(PAUSE, |failed| (failed.pause * 2).min(LONGEST_PAUSE));
                tracing::warn!(%error, "no new credentials");
                self.failed = Some(Failed { pause, until: now + pause, error: error.clone() });
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers after so long with what is next; the last one again and again.
    struct Issuer {
        takes: Duration,
        answers: Vec<Result<u64, CredentialError>>,
        asked: AtomicUsize,
    }

    impl Source for Arc<Issuer> {
        type Credential = usize;

        async fn fetch(&self) -> Result<Fetched<usize>, CredentialError> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.takes).await;
            let seconds = self.answers[asked.min(self.answers.len() - 1)].clone()?;
            Ok(Fetched { credential: asked + 1, lifetime: (seconds > 0).then_some(Duration::from_secs(seconds)) })
        }
    }

    fn issuer(takes: u64, answers: Vec<Result<u64, CredentialError>>) -> (Arc<Issuer>, Kept<Arc<Issuer>>) {
        let issuer = Arc::new(Issuer { takes: Duration::from_secs(takes), answers, asked: AtomicUsize::new(0) });
        (Arc::clone(&issuer), Kept::new(issuer))
    }

    async fn pass(seconds: u64) {
        // A fetch that has begun knows the time that it began at, and one that is due by then has ended.
        for time in [Duration::ZERO, Duration::from_secs(seconds)] {
            tokio::time::advance(time).await;
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn no() -> CredentialError {
        CredentialError::refused("no")
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_need_one_wait_for_the_same_fetch() {
        let (issuer, kept) = issuer(3, vec![Ok(3600)]);
        let got = tokio::join!(kept.get(), kept.get(), kept.get());
        assert_eq!(got, (Ok(1), Ok(1), Ok(1)));
        assert_eq!((issuer.asked.load(Ordering::Relaxed), kept.current()), (1, Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_does_not_end_the_fetch() {
        let (issuer, kept) = issuer(3, vec![Ok(3600)]);
        assert!(tokio::time::timeout(Duration::from_secs(1), kept.get()).await.is_err());
        assert_eq!(kept.get().await, Ok(1));
        assert_eq!(issuer.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_replaced_before_it_ends_and_nobody_waits() {
        let (issuer, kept) = issuer(3, vec![Ok(3600), Ok(100), Ok(3600)]);
        assert_eq!(kept.get().await, Ok(1));
        pass(3299).await;
        assert_eq!((kept.get().await, issuer.asked.load(Ordering::Relaxed)), (Ok(1), 1));
        pass(1).await;
        let before = Instant::now();
        assert_eq!((kept.get().await, kept.get().await), (Ok(1), Ok(1)), "the old one serves");
        assert_eq!(Instant::now(), before);
        pass(3).await;
        assert_eq!((kept.get().await, issuer.asked.load(Ordering::Relaxed)), (Ok(2), 2));
        // A short one, after half of its life.
        pass(49).await;
        assert_eq!((kept.get().await, issuer.asked.load(Ordering::Relaxed)), (Ok(2), 2));
        pass(1).await;
        assert_eq!(kept.get().await, Ok(2));
        pass(3).await;
        assert_eq!((kept.get().await, issuer.asked.load(Ordering::Relaxed)), (Ok(3), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_not_used() {
        let (_, kept) = issuer(3, vec![Ok(3600), Ok(3600)]);
        assert_eq!(kept.get().await, Ok(1));
        pass(3600).await;
        assert_eq!(kept.current(), None);
        assert_eq!(kept.get().await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_repeated_at_once_and_the_old_one_serves_to_its_end() {
        let (issuer, kept) = issuer(0, vec![Ok(600), Err(no()), Err(no()), Err(no()), Ok(600)]);
        assert_eq!(kept.get().await, Ok(1));
        pass(300).await;
        assert_eq!(kept.get().await, Ok(1));
        pass(0).await;
        assert_eq!((kept.get().await, issuer.asked.load(Ordering::Relaxed)), (Ok(1), 2), "a pause of a second");
        pass(1).await;
        assert_eq!(kept.get().await, Ok(1));
        pass(0).await;
        pass(1).await;
        assert_eq!((kept.get().await, issuer.asked.load(Ordering::Relaxed)), (Ok(1), 3), "a pause of two");
        pass(298).await;
        assert_eq!(kept.get().await, Err(no()), "the old one has ended");
        assert_eq!((kept.get().await, issuer.asked.load(Ordering::Relaxed)), (Err(no()), 4));
        pass(4).await;
        assert_eq!(kept.get().await, Ok(5));
        assert!(kept.state.lock().failed.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_is_bounded_in_time() {
        let (_, kept) = issuer(3600, vec![Ok(600)]);
        let begun = Instant::now();
        let error = kept.get().await.unwrap_err();
        assert_eq!(error.for_callers(), "whoever issues them didn't answer in time");
        assert_eq!(begun.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_looked_up_again_and_what_has_ended_already_not_at_once() {
        let (issuer, kept) = issuer(0, vec![Ok(0)]);
        assert_eq!(kept.get().await, Ok(1));
        pass(3600).await;
        assert_eq!(kept.get().await, Ok(2));
        assert_eq!(issuer.asked.load(Ordering::Relaxed), 2);
        let mut state = State { current: None, fetching: None, failed: None };
        let now = Instant::now();
        state.keep(Ok(Fetched { credential: 7, lifetime: Some(Duration::ZERO) }), now).unwrap();
        assert_eq!(state.current.map(|current| current.renew_at - now), Some(SHORTEST / 2));
    }
}
