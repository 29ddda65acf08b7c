//! Per-thread connection pools: a thread reuses its own idle connections before those of other
//! threads. An event on a connection wakes the thread that opened it, which would have to wake the
//! waiting thread.

use std::sync::atomic::{AtomicU64, Ordering};

use pingora::{
    connectors::TransportConnector,
    protocols::Stream,
    upstreams::peer::{HttpPeer, Peer},
};

// The number of pools. More threads share them.
const POOLS: u64 = 16;
// Above the bits of all group keys.
const POOL_SHIFT: u32 = 48;

thread_local! {
    static THREAD_POOL: u64 = {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % POOLS
    };
}

/// A peer with the pool key of the current thread.
pub(super) struct ThreadPeer {
    own: u64,
    group: u64,
    pub(super) peer: HttpPeer,
}

impl ThreadPeer {
    pub(super) fn for_current_thread(peer: &HttpPeer) -> Self {
        Self::for_pool(THREAD_POOL.with(|own| *own), peer)
    }

    fn for_pool(own: u64, peer: &HttpPeer) -> Self {
        let mut thread_peer = Self { own, group: peer.group_key, peer: peer.clone() };
        thread_peer.select_pool(0);
        thread_peer
    }

    /// Takes an idle connection, with the key of its pool, to which it returns after use.
    pub(super) async fn take_idle(&mut self, pool: &TransportConnector) -> Option<(u64, Stream)> {
        for steps in 0..POOLS {
            self.select_pool(steps);
            if let Some(stream) = pool.reused_stream(&self.peer).await {
                return Some((self.peer.reuse_hash(), stream));
            }
        }
        self.select_pool(0);
        None
    }

    // Counted from the thread's own pool.
    fn select_pool(&mut self, steps: u64) {
        let pool = (self.own + steps) % POOLS;
        self.peer.group_key = self.group.wrapping_add(pool << POOL_SHIFT);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn own_connections_are_reused_first_then_those_of_other_threads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = HttpPeer::new(listener.local_addr().unwrap(), false, String::new());
        let pool = TransportConnector::new(None);
        let mut keys = Vec::new();
        for own in [3, 5] {
            let thread_peer = ThreadPeer::for_pool(own, &peer);
            let stream = pool.new_stream(&thread_peer.peer).await.unwrap();
            let key = thread_peer.peer.reuse_hash();
            keys.push(key);
            pool.release_stream(stream, key, Some(Duration::from_mins(1)));
        }
        let mut idle = Vec::new();
        let mut thread_peer = ThreadPeer::for_pool(5, &peer);
        while let Some((key, stream)) = thread_peer.take_idle(&pool).await {
            idle.push((key, stream));
        }
        let found: Vec<u64> = idle.iter().map(|(key, _)| *key).collect();
        assert_eq!(found, [keys[1], keys[0]]);
        // A new connection belongs to the thread's own pool.
        assert_eq!(thread_peer.peer.reuse_hash(), keys[1]);
        assert_ne!(keys[0], keys[1]);
    }
}
