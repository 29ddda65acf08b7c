//! Concurrent callers with the same key share one call.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::trace;

/// The calls in progress, by key.
pub struct SharedCalls<K, V>(Arc<Mutex<Receivers<K, V>>>);

type Receivers<K, V> = HashMap<K, watch::Receiver<Option<V>>>;

impl<K, V> SharedCalls<K, V>
where
    K: Copy + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Waits for the result of the call in progress for `key`. If there is none, `start` gets the number of
    /// calls in progress and returns a call, or the result if none is needed or permitted.
    ///
    /// The call runs on a separate task, so that a cancelled caller does not cancel the call that others wait
    /// for. Returns `None` if the task was aborted, which happens when the runtime shuts down.
    pub async fn get<F>(&self, key: K, start: impl FnOnce(usize) -> Result<F, V>) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut receiver = match self.join(key, start) {
            Ok(receiver) => receiver,
            Err(result) => return Some(result),
        };
        receiver.wait_for(Option::is_some).await.ok().and_then(|result| result.clone())
    }

    fn join<F>(
        &self,
        key: K,
        start: impl FnOnce(usize) -> Result<F, V>,
    ) -> Result<watch::Receiver<Option<V>>, V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut receivers = lock(&self.0);
        if let Some(receiver) = receivers.get(&key) {
            return Ok(receiver.clone());
        }
        let call = start(receivers.len())?;
        let (sender, receiver) = watch::channel(None);
        receivers.insert(key, receiver.clone());
        drop(receivers);
        let in_progress = InProgress { receivers: Arc::clone(&self.0), key };
        // In the trace of the first caller.
        tokio::spawn(trace::inherit(async move {
            let result = call.await;
            drop(in_progress);
            sender.send_replace(Some(result));
        }));
        Ok(receiver)
    }

    /// Is no call in progress?
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

impl<K, V> Default for SharedCalls<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// A call in progress. Dropping it ends the sharing.
struct InProgress<K: Eq + Hash, V> {
    receivers: Arc<Mutex<Receivers<K, V>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for InProgress<K, V> {
    fn drop(&mut self) {
        lock(&self.receivers).remove(&self.key);
    }
}

fn lock<K, V>(receivers: &Mutex<Receivers<K, V>>) -> MutexGuard<'_, Receivers<K, V>> {
    receivers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(calls: &SharedCalls<u8, usize>, key: u8) -> Option<usize> {
        let start = |in_progress| {
            Ok(async move {
                tokio::task::yield_now().await;
                in_progress
            })
        };
        calls.get(key, start).await
    }

    #[tokio::test]
    async fn callers_with_one_key_share_one_call() {
        let calls = SharedCalls::default();
        let results = tokio::join!(get(&calls, 1), get(&calls, 1), get(&calls, 2));
        assert_eq!(results, (Some(0), Some(0), Some(1)));
        assert!(calls.is_empty());
        assert_eq!(get(&calls, 1).await, Some(0), "a result is not cached");
    }

    #[tokio::test]
    async fn call_that_is_not_started_is_not_shared() {
        let calls = SharedCalls::<u8, usize>::default();
        let rejected = calls.get(1, |_| Err::<std::future::Ready<usize>, _>(7)).await;
        assert_eq!(rejected, Some(7));
        assert!(calls.is_empty());
    }

    #[tokio::test]
    async fn aborted_call_has_no_result() {
        let calls = SharedCalls::<u8, usize>::default();
        let aborted = calls.get(1, |_| Ok(async { panic!("aborts the task") })).await;
        assert_eq!(aborted, None);
        assert!(calls.is_empty());
    }
}
