//! A load balancer for TCP connections: round robin over the replicas that are ready.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::http::{Connection, request};

const CHECK_INTERVAL: Duration = Duration::from_millis(50);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The balancer. It ends with this value.
pub(super) struct Balancer {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    targets: Mutex<Vec<Arc<Target>>>,
    connections: AtomicUsize,
    ended: AtomicBool,
}

struct Target {
    address: SocketAddr,
    is_ready: AtomicBool,
}

impl Balancer {
    /// Starts a balancer without targets.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if own.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&own);
                thread::spawn(move || forward(client, &shared));
            }
        });
        Self { address, shared }
    }

    /// Adds a target, which gets connections while the admin listener reports that it is ready.
    pub(super) fn add(&self, address: SocketAddr, admin: SocketAddr) {
        let target = Arc::new(Target { address, is_ready: AtomicBool::new(false) });
        self.shared.lock_targets().push(Arc::clone(&target));
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            while !shared.ended.load(Ordering::SeqCst) {
                target.is_ready.store(is_ready(admin), Ordering::SeqCst);
                thread::sleep(CHECK_INTERVAL);
            }
        });
    }

    /// The number of targets that are ready.
    pub(super) fn ready(&self) -> usize {
        self.shared.ready().len()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Ends the wait for a connection.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock_targets(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Target>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Vec<SocketAddr> {
        let targets = self.lock_targets();
        let ready = targets.iter().filter(|target| target.is_ready.load(Ordering::SeqCst));
        ready.map(|target| target.address).collect()
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&admin, CHECK_TIMEOUT) else { return false };
    if stream.set_read_timeout(Some(CHECK_TIMEOUT)).is_err() {
        return false;
    }
    let mut connection = Connection::from_stream(stream);
    connection.write(&request("GET", "/readyz", &[], "")).is_ok()
        && connection.read().is_some_and(|answer| answer.status == 200)
}

fn forward(client: TcpStream, shared: &Shared) {
    let ready = shared.ready();
    let first = shared.connections.fetch_add(1, Ordering::Relaxed);
    let in_turn = (0..ready.len()).map(|index| ready[(first + index) % ready.len()]);
    let Some(server) = in_turn.map(TcpStream::connect).find_map(Result::ok) else { return };
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || copy(from, to));
    copy(server, client);
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    _ = io::copy(&mut from, &mut to);
    _ = to.shutdown(Shutdown::Both);
    _ = from.shutdown(Shutdown::Both);
}
