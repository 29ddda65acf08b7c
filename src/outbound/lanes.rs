//! Whose connection is used again: a thread's own before another's. What is heard on a connection wakes
//! the thread that opened it, which would have to wake the one that waits.

use std::sync::atomic::{AtomicU64, Ordering};

use pingora::{
    connectors::TransportConnector,
    protocols::Stream,
    upstreams::peer::{HttpPeer, Peer},
};

// Threads beyond share them.
const LANES: u64 = 16;
// Above all numbers of groups.
const LANE_SHIFT: u32 = 48;

thread_local! {
    static OWN: u64 = {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % LANES
    };
}

/// A peer as this thread sees it, with its own connections.
pub(super) struct Lanes {
    own: u64,
    group: u64,
    pub(super) peer: HttpPeer,
}

impl Lanes {
    pub(super) fn of(peer: &HttpPeer) -> Self {
        Self::seen_from(OWN.with(|own| *own), peer)
    }

    fn seen_from(own: u64, peer: &HttpPeer) -> Self {
        let mut lanes = Self { own, group: peer.group_key, peer: peer.clone() };
        lanes.turn_to(0);
        lanes
    }

    /// A connection that is idle, and by what it is kept: it goes back to whose it is.
    pub(super) async fn idle(&mut self, pool: &TransportConnector) -> Option<(u64, Stream)> {
        for steps in 0..LANES {
            self.turn_to(steps);
            if let Some(stream) = pool.reused_stream(&self.peer).await {
                return Some((self.peer.reuse_hash(), stream));
            }
        }
        self.turn_to(0);
        None
    }

    // From the own lane on.
    fn turn_to(&mut self, steps: u64) {
        let lane = (self.own + steps) % LANES;
        self.peer.group_key = self.group.wrapping_add(lane << LANE_SHIFT);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn ones_own_are_used_first_and_anothers_before_one_is_opened() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = HttpPeer::new(listener.local_addr().unwrap(), false, String::new());
        let pool = TransportConnector::new(None);
        let mut kept = Vec::new();
        for own in [3, 5] {
            let lanes = Lanes::seen_from(own, &peer);
            let stream = pool.new_stream(&lanes.peer).await.unwrap();
            kept.push(lanes.peer.reuse_hash());
            pool.release_stream(stream, lanes.peer.reuse_hash(), Some(Duration::from_mins(1)));
        }
        let mut idle = Vec::new();
        let mut lanes = Lanes::seen_from(5, &peer);
        while let Some((kept_by, stream)) = lanes.idle(&pool).await {
            idle.push((kept_by, stream));
        }
        let found: Vec<u64> = idle.iter().map(|(kept_by, _)| *kept_by).collect();
        assert_eq!(found, [kept[1], kept[0]]);
        // What is opened now is the own lane's.
        assert_eq!(lanes.peer.reuse_hash(), kept[1]);
        assert_ne!(kept[0], kept[1]);
    }
}
