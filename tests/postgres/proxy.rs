//! A TCP proxy between a process under test and its database, which can fail in the ways that a network
//! fails: it refuses or cuts connections, stops forwarding, or loses an answer.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

const POLL: Duration = Duration::from_millis(5);

/// The proxy. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    /// Its address.
    pub address: SocketAddr,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    is_cut: AtomicBool,
    is_frozen: AtomicBool,
    ended: AtomicBool,
    /// The number of answers that are still to be lost.
    lost_answers: AtomicUsize,
}

impl Proxy {
    /// Starts a proxy of this address.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let faults = Arc::<Faults>::default();
        let shared = Arc::clone(&faults);
        thread::spawn(move || {
            while !shared.ended.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((client, _)) => {
                        let faults = Arc::clone(&shared);
                        thread::spawn(move || forward(client, target, &faults));
                    }
                    Err(_) => thread::sleep(POLL),
                }
            }
        });
        Self { address, faults }
    }

    /// Closes all connections, and refuses new ones.
    pub fn cut(&self) {
        self.faults.is_cut.store(true, Ordering::SeqCst);
    }

    /// Accepts connections again.
    pub fn restore(&self) {
        self.faults.is_cut.store(false, Ordering::SeqCst);
        self.faults.is_frozen.store(false, Ordering::SeqCst);
    }

    /// Stops forwarding in both directions; connections stay open.
    pub fn freeze(&self) {
        self.faults.is_frozen.store(true, Ordering::SeqCst);
    }

    /// Loses the next answers, and closes their connections. Their statements are executed.
    pub fn lose_answers(&self, count: usize) {
        self.faults.lost_answers.store(count, Ordering::SeqCst);
    }

    /// The number of answers that are still to be lost.
    pub fn answers_to_lose(&self) -> usize {
        self.faults.lost_answers.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.faults.ended.store(true, Ordering::SeqCst);
    }
}

fn forward(client: TcpStream, target: SocketAddr, faults: &Arc<Faults>) {
    if faults.is_cut.load(Ordering::SeqCst) {
        return;
    }
    let Ok(server) = TcpStream::connect(target) else { return };
    let (Ok(client_end), Ok(server_end)) = (client.try_clone(), server.try_clone()) else { return };
    let shared = Arc::clone(faults);
    // Answers of the start of a connection are never lost: an answer is lost only after a statement.
    let is_started = Arc::new(AtomicBool::new(false));
    let started = Arc::clone(&is_started);
    thread::spawn(move || pump(client_end, server_end, &shared, &started, Direction::Statements));
    pump(server, client, faults, &is_started, Direction::Answers);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Statements,
    Answers,
}

fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    faults: &Faults,
    is_started: &AtomicBool,
    direction: Direction,
) {
    _ = from.set_read_timeout(Some(POLL));
    let mut buffer = vec![0; 64 << 10];
    loop {
        if faults.is_cut.load(Ordering::SeqCst) || faults.ended.load(Ordering::SeqCst) {
            break;
        }
        if faults.is_frozen.load(Ordering::SeqCst) {
            thread::sleep(POLL);
            continue;
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        if faults.is_cut.load(Ordering::SeqCst) {
            break;
        }
        // The first byte of a message is its type: `P` parses a statement.
        if direction == Direction::Statements && buffer.first() == Some(&b'P') {
            is_started.store(true, Ordering::SeqCst);
        }
        if direction == Direction::Answers && is_started.swap(false, Ordering::SeqCst) {
            let lose = |left: usize| left.checked_sub(1);
            if faults.lost_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
                break;
            }
        }
        // A frozen proxy loses nothing that it has read.
        while faults.is_frozen.load(Ordering::SeqCst) && !faults.is_cut.load(Ordering::SeqCst) {
            thread::sleep(POLL);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}
