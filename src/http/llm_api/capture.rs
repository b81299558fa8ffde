//! A body that is handed on as it comes, and kept on the side.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use super::flight::TAIL;

/// Largest reply that is kept.
const LIMIT: usize = 16 << 20;

/// Hands on `inner` unchanged and calls `complete` with all of it: just before its last piece is handed on, where that is
/// known for the last one, so that whoever has read the whole reply can rely on that call having been made. A stream that
/// fails before its end, or that its reader gives up, is forgotten; what fails after its end mark has merely ended.
pub(super) struct Capture<S, F> {
    inner: S,
    /// In one piece: pieces as they come from a connection each hold on to its whole buffer.
    body: Vec<u8>,
    size: usize,
    /// From `Content-Length`. Readers of a body whose length is known don't poll it past its end.
    expected: Option<usize>,
    /// Whether the pieces so far are all of a body that marks its end itself.
    has_ended: fn(&[u8]) -> bool,
    is_whole: bool,
    complete: Option<F>,
}

impl<S, F: FnOnce(Bytes)> Capture<S, F> {
    pub(super) fn new(inner: S, expected: Option<usize>, has_ended: fn(&[u8]) -> bool, complete: F) -> Self {
        Self { inner, body: Vec::new(), size: 0, expected, has_ended, is_whole: false, complete: Some(complete) }
    }

    fn keep(&mut self, piece: &Bytes) {
        self.size += piece.len();
        if self.size > LIMIT {
            self.complete = None;
            self.body = Vec::new();
        }
        if self.complete.is_some() {
            self.body.extend_from_slice(piece);
        }
        if self.expected == Some(self.size) || (self.has_ended)(&self.body[self.body.len().saturating_sub(TAIL)..]) {
            self.is_whole = true;
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(complete) = self.complete.take() {
            complete(std::mem::take(&mut self.body).into());
        }
    }
}

impl<S, F, E> Stream for Capture<S, F>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    F: FnOnce(Bytes) + Unpin,
{
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.inner).poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(piece))) => self.keep(piece),
            Poll::Ready(Some(Err(_))) if self.is_whole => return Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => self.complete = None,
            Poll::Ready(None) if self.expected.is_none_or(|expected| expected == self.size) => self.finish(),
            Poll::Ready(None) | Poll::Pending => {}
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::{StreamExt, stream};

    use super::*;

    async fn capture(items: Vec<Result<&'static str, ()>>, expected: Option<usize>, take: usize) -> Option<String> {
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let ended = |end: &[u8]| end.ends_with(b"end");
        let inner = stream::iter(items.into_iter().map(|item| item.map(Bytes::from)));
        let capture = Capture::new(inner, expected, ended, move |body: Bytes| {
            *keep.lock().unwrap() = Some(body.to_vec());
        });
        let _read: Vec<_> = capture.take(take).collect().await;
        let kept = kept.lock().unwrap().take();
        kept.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[tokio::test]
    async fn only_what_was_read_whole_is_kept() {
        assert_eq!(capture(vec![Ok("a"), Ok("b")], None, 9).await.as_deref(), Some("ab"));
        assert_eq!(capture(vec![Ok("a"), Ok("b")], Some(2), 2).await.as_deref(), Some("ab"));
        assert_eq!(capture(vec![Ok("a"), Ok("end"), Ok("")], None, 2).await.as_deref(), Some("aend"));
        assert_eq!(capture(vec![Ok("a"), Ok("end"), Err(())], None, 9).await.as_deref(), Some("aend"));
        assert_eq!(capture(vec![Ok("a"), Ok("b")], None, 1).await, None);
        assert_eq!(capture(vec![Ok("a"), Err(())], None, 9).await, None);
        assert_eq!(capture(vec![Ok("a")], Some(2), 9).await, None);
    }
}
