//! The idle connections, in one list for each thread. A thread reuses its own connections before those of
//! others: an event on a connection wakes the thread that opened it, which would have to wake the waiting
//! thread.
//!
//! No task waits for the end of a connection, as in pingora's pool: there, each use of a connection
//! wakes a task, often on another thread. A connection that is closed, or was idle for too long, is dropped when
//! it would be taken, or by a task that looks at all of them every second.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use pingora::protocols::Stream;
use tokio::{
    io::AsyncReadExt,
    task::unconstrained,
    time::{Instant, sleep},
};

// The number of lists. More threads share them.
const LISTS: usize = 16;
/// The maximum number of idle connections in a list.
const LIST_CONNECTIONS_MAX: usize = 1024;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    static LIST_OF_THREAD: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % LISTS
    };
}

/// Identifies connections that can replace each other: to one address, with one TLS configuration. No two
/// endpoints share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PoolKey(u64);

/// Where a connection returns to after its use: to the list of the thread that opened it.
#[derive(Clone, Copy)]
pub(super) struct PoolSlot {
    key: PoolKey,
    list: usize,
}

/// The pool of idle connections.
#[derive(Default)]
pub(super) struct IdlePool {
    lists: [Mutex<IdleList>; LISTS],
    // Whether a task looks for connections that are closed.
    is_watched: AtomicBool,
}

#[derive(Default)]
struct IdleList {
    // The connections of a key in the order of their release.
    connections: HashMap<PoolKey, VecDeque<IdleConnection>>,
    count: usize,
}

struct IdleConnection {
    stream: Stream,
    since: Instant,
}

/// The task that closes stale connections. If it is aborted, the next connection starts another one.
struct Watch {
    pool: Arc<IdlePool>,
    has_ended: bool,
}

impl PoolKey {
    /// A key that was never used before.
    pub(super) fn unique() -> Self {
        static KEYS: AtomicUsize = AtomicUsize::new(0);
        Self(KEYS.fetch_add(1, Ordering::Relaxed) as u64)
    }
}

impl PoolSlot {
    /// The place of a connection that the current thread opens.
    pub(super) fn of_current_thread(key: PoolKey) -> Self {
        Self { key, list: LIST_OF_THREAD.with(|list| *list) }
    }
}

impl IdlePool {
    /// Takes the connection with this key that was released last.
    pub(super) fn take(&self, key: PoolKey) -> Option<(PoolSlot, Stream)> {
        let own = PoolSlot::of_current_thread(key).list;
        (own..LISTS).chain(0..own).find_map(|list| {
            loop {
                // The lock is released first: reading may call the kernel.
                let mut stream = self.list(list)?.pop(key)?;
                if is_open(&mut stream) {
                    return Some((PoolSlot { key, list }, stream));
                }
            }
        })
    }

    /// Returns a connection after a complete exchange.
    pub(super) fn release(self: &Arc<Self>, slot: PoolSlot, mut stream: Stream) {
        if !is_open(&mut stream) {
            return;
        }
        let Some(mut list) = self.list(slot.list) else { return };
        let evicted = list.push(slot.key, stream);
        drop(list);
        drop(evicted);
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            tokio::spawn(Watch { pool: Arc::clone(self), has_ended: false }.run());
        }
    }

    // Closes the connections that are idle for too long or that the peer has closed.
    fn close_stale(&self, now: Instant) {
        for index in 0..LISTS {
            // The lock is released first: closing calls the kernel.
            let stale = self.list(index).map(|mut list| list.take_stale(now));
            drop(stale);
        }
    }

    fn is_empty(&self) -> bool {
        (0..LISTS).filter_map(|index| self.list(index)).all(|list| list.count == 0)
    }

    fn list(&self, index: usize) -> Option<MutexGuard<'_, IdleList>> {
        Some(self.lists.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl IdleList {
    fn pop(&mut self, key: PoolKey) -> Option<Stream> {
        let connections = self.connections.get_mut(&key)?;
        let IdleConnection { stream, since } = connections.pop_back()?;
        self.count -= 1;
        if since.elapsed() < IDLE_TIMEOUT {
            return Some(stream);
        }
        // The others are older.
        self.count -= connections.len();
        connections.clear();
        None
    }

    // Returns the connection that has to make room, if the list is full.
    fn push(&mut self, key: PoolKey, stream: Stream) -> Option<IdleConnection> {
        let idle = IdleConnection { stream, since: Instant::now() };
        self.connections.entry(key).or_default().push_back(idle);
        self.count += 1;
        if self.count > LIST_CONNECTIONS_MAX { self.pop_oldest() } else { None }
    }

    fn pop_oldest(&mut self) -> Option<IdleConnection> {
        let released = |idle: Option<&IdleConnection>| idle.map(|idle| idle.since);
        let connections = self.connections.values_mut().filter(|list| !list.is_empty());
        let oldest = connections.min_by_key(|list| released(list.front()))?.pop_front();
        self.count -= 1;
        oldest
    }

    fn take_stale(&mut self, now: Instant) -> Vec<IdleConnection> {
        let is_stale = |idle: &mut IdleConnection| {
            now.duration_since(idle.since) >= IDLE_TIMEOUT || !is_open(&mut idle.stream)
        };
        let mut stale = Vec::new();
        self.connections.retain(|_, connections| {
            let mut position = 0;
            while let Some(idle) = connections.get_mut(position) {
                if is_stale(idle) {
                    stale.extend(connections.remove(position));
                    self.count -= 1;
                } else {
                    position += 1;
                }
            }
            !connections.is_empty()
        });
        stale
    }
}

impl Watch {
    async fn run(mut self) {
        loop {
            sleep(CHECK_INTERVAL).await;
            self.pool.close_stale(Instant::now());
            if !self.pool.is_empty() {
                continue;
            }
            self.pool.is_watched.store(false, Ordering::SeqCst);
            self.has_ended = true;
            // A connection may have been released meanwhile, when there seemed to be a task.
            if self.pool.is_empty() || self.pool.is_watched.swap(true, Ordering::SeqCst) {
                return;
            }
            self.has_ended = false;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.has_ended {
            self.pool.is_watched.store(false, Ordering::SeqCst);
        }
    }
}

// An open connection has nothing to read: the peer has answered every request. Without the budget of the task,
// which could report a connection as not ready.
fn is_open(stream: &mut Stream) -> bool {
    unconstrained(stream.read(&mut [0])).now_or_never().is_none()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncWriteExt, DuplexStream, duplex},
        time::{advance, pause},
    };

    use super::*;

    // The two ends of a connection.
    fn connection() -> (Stream, DuplexStream) {
        let (ours, theirs) = duplex(64);
        (Box::new(ours), theirs)
    }

    fn slot(key: PoolKey, list: usize) -> PoolSlot {
        PoolSlot { key, list }
    }

    #[tokio::test]
    async fn own_connections_are_reused_first_then_those_of_other_threads() {
        let (pool, key) = (Arc::new(IdlePool::default()), PoolKey::unique());
        let own = PoolSlot::of_current_thread(key);
        let other = slot(key, (own.list + 3) % LISTS);
        let mut peers = Vec::new();
        for slot in [own, other, own] {
            let (stream, peer) = connection();
            peers.push(peer);
            pool.release(slot, stream);
        }
        let taken: Vec<_> = std::iter::from_fn(|| pool.take(key)).collect();
        let lists: Vec<usize> = taken.iter().map(|(slot, _)| slot.list).collect();
        assert_eq!(lists, [own.list, own.list, other.list]);
        assert!(pool.take(PoolKey::unique()).is_none());
    }

    #[tokio::test]
    async fn connection_that_the_peer_has_closed_or_written_to_is_not_reused() {
        let (pool, key) = (Arc::new(IdlePool::default()), PoolKey::unique());
        let own = PoolSlot::of_current_thread(key);
        let [(one, closing), (two, mut writing), (three, _idle)] = [(); 3].map(|()| connection());
        pool.release(own, one);
        pool.release(own, two);
        pool.release(own, three);
        drop(closing);
        writing.write_all(b"HTTP/1.1 408").await.unwrap();
        assert_eq!(std::iter::from_fn(|| pool.take(key)).count(), 1);
    }

    #[tokio::test]
    async fn stale_connections_are_closed_within_a_second() {
        pause();
        let (pool, key) = (Arc::new(IdlePool::default()), PoolKey::unique());
        let own = PoolSlot::of_current_thread(key);
        let [(one, closing), (two, mut idle)] = [(); 2].map(|()| connection());
        pool.release(own, one);
        pool.release(own, two);
        assert!(pool.is_watched.load(Ordering::Acquire));
        let count = || pool.list(own.list).unwrap().count;
        drop(closing);
        sleep(CHECK_INTERVAL * 2).await;
        assert_eq!(count(), 1);
        advance(IDLE_TIMEOUT).await;
        // The peer sees the end of the connection.
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(count(), 0);
        sleep(CHECK_INTERVAL).await;
        assert!(!pool.is_watched.load(Ordering::Acquire));
    }

    #[tokio::test]
    async fn connection_that_was_idle_for_too_long_is_not_reused() {
        pause();
        let (pool, key) = (Arc::new(IdlePool::default()), PoolKey::unique());
        let own = PoolSlot::of_current_thread(key);
        // As if no task looked for such connections.
        pool.is_watched.store(true, Ordering::SeqCst);
        let [(one, _peer), (two, _other_peer)] = [(); 2].map(|()| connection());
        pool.release(own, one);
        pool.release(own, two);
        advance(IDLE_TIMEOUT).await;
        assert!(pool.take(key).is_none() && pool.is_empty());
    }

    #[tokio::test]
    async fn oldest_connection_makes_room_in_a_full_list() {
        let pool = Arc::new(IdlePool::default());
        let oldest = PoolKey::unique();
        let mut peers = Vec::new();
        for key in [oldest].into_iter().chain((0..LIST_CONNECTIONS_MAX).map(|_| PoolKey::unique()))
        {
            let (stream, peer) = connection();
            peers.push(peer);
            pool.release(slot(key, 0), stream);
        }
        assert_eq!(pool.list(0).unwrap().count, LIST_CONNECTIONS_MAX);
        assert!(pool.take(oldest).is_none());
    }
}
