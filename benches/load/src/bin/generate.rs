//! A load generator: each connection is a thread that sends requests of one kind, one after the other, as
//! fast as they are answered or at a constant rate. Prints `RESULT REQUESTS FAILED MICROSECONDS P50_US
//! P99_US CPU_US`; the CPU time is that of the process under test during the measured requests.
//!
//! With a constant rate, a latency counts from the time at which the request was due, so that it includes the
//! wait of a request that was sent late.
//!
//! With `--every`, it prints `INTERVAL SECONDS REQUESTS CPU_US RESIDENT_KB` after each interval.
//!
//! `--before` and `--after` are commands that run directly before and after the measured requests.

#![expect(clippy::disallowed_methods, reason = "the program measures time and has no clock")]

use std::{
    collections::{HashMap, VecDeque},
    error::Error,
    fs,
    io::{self, Read, Write},
    mem,
    net::TcpStream,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const USAGE: &str = "generate --address HOST:PORT --kind KIND --tokens FILE [--pid PID] [--seconds N] \
                     [--connections N] [--rate N] [--first N] [--sessions N] [--before COMMAND] \
                     [--after COMMAND] [--every SECONDS]";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Creates in CAMARA 0.10.1, each for another device with its own public address.
    Create,
    /// The same, with one public address.
    CreateShared,
    /// Gets of existing sessions in CAMARA 1.0.0.
    Get,
    Delete,
    Extend,
    /// Lists of the sessions of a device.
    Retrieve,
    /// Creates in CAMARA 1.0.0, and deletes of the oldest session, alternately: the number of live sessions is constant.
    Churn,
}

struct Settings {
    address: String,
    kind: Kind,
    tokens: Vec<String>,
    duration: Duration,
    connections: u64,
    /// Requests per second; `None` for as many as possible.
    rate: Option<f64>,
    /// The number of the first device.
    first: u64,
    /// The number of sessions that are created before the measurement.
    sessions: u64,
}

/// The state that the connections share.
struct Load {
    settings: Settings,
    next: AtomicU64,
    started: Instant,
    /// Whether it creates the sessions that the measured requests need.
    is_setup: bool,
    /// Whether a failed answer was printed.
    has_failed: AtomicBool,
    /// The ids of the sessions that were created before.
    ids: Vec<String>,
    /// The live sessions, oldest first, if they are created and deleted alternately.
    live: Mutex<VecDeque<String>>,
}

#[derive(Default)]
struct Measured {
    latencies_us: Vec<u64>,
    failed: u64,
    /// The ids in the answers.
    ids: Vec<(u64, String)>,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = HashMap::new();
    let mut list = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (list.next(), list.next()) {
        args.insert(name, value);
    }
    let text = |name: &str| args.get(name).cloned().ok_or(USAGE);
    let number = |name: &str, default: u64| args.get(name).map_or(Ok(default), |n| n.parse());
    let kind = match &*text("--kind")? {
        "create" => Kind::Create,
        "create-shared" => Kind::CreateShared,
        "get" => Kind::Get,
        "delete" => Kind::Delete,
        "extend" => Kind::Extend,
        "retrieve" => Kind::Retrieve,
        "churn" => Kind::Churn,
        _ => return Err(USAGE.into()),
    };
    let settings = Settings {
        address: text("--address")?,
        kind,
        tokens: fs::read_to_string(text("--tokens")?)?.lines().map(str::to_owned).collect(),
        duration: Duration::from_secs(number("--seconds", 3)?),
        connections: number("--connections", 64)?,
        rate: args.get("--rate").map(|rate| rate.parse()).transpose()?,
        first: number("--first", 0)?,
        sessions: number("--sessions", 0)?,
    };
    let pid = args.get("--pid").cloned();
    let mut ids = create_sessions(&settings)?;
    let live = if kind == Kind::Churn { mem::take(&mut ids).into() } else { VecDeque::new() };
    run_command(args.get("--before"))?;
    let before = pid.as_deref().map_or(Ok(0), cpu_us)?;
    let started = Instant::now();
    let load = Arc::new(Load {
        settings,
        next: AtomicU64::new(0),
        started,
        is_setup: false,
        has_failed: AtomicBool::new(false),
        ids,
        live: Mutex::new(live),
    });
    if let Some((every, pid)) = args.get("--every").zip(pid.clone()) {
        let (every, load) = (every.parse()?, Arc::clone(&load));
        thread::spawn(move || print_intervals(&load, Duration::from_secs(every), &pid));
    }
    let measured = run(&load);
    let elapsed = started.elapsed().as_micros();
    let cpu = pid.as_deref().map_or(Ok(0), cpu_us)? - before;
    let mut latencies = measured.latencies_us;
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or(0);
    let (requests, failed) = (latencies.len(), measured.failed);
    run_command(args.get("--after"))?;
    println!("RESULT {requests} {failed} {elapsed} {} {} {cpu}", at(50), at(99));
    Ok(())
}

/// Prints what each interval cost, until the program ends.
fn print_intervals(load: &Load, every: Duration, pid: &str) {
    let now = || (load.next.load(Ordering::Relaxed), cpu_us(pid).unwrap_or_default());
    let mut before = now();
    loop {
        thread::sleep(every);
        let after = now();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.map_or("?", |text| text.trim().trim_end_matches(" kB"));
        let (seconds, requests) = (load.started.elapsed().as_secs(), after.0 - before.0);
        println!("INTERVAL {seconds} {requests} {} {resident}", after.1 - before.1);
        before = after;
    }
}

/// Runs a command before or after the measured requests, if there is one. Its output is discarded.
fn run_command(command: Option<&String>) -> io::Result<()> {
    let Some(command) = command else { return Ok(()) };
    let done = Command::new("sh").args(["-c", command]).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(io::Error::other(format!("failed: {command}"))) }
}

/// Creates the sessions that the measured requests need, and returns their ids in order.
fn create_sessions(settings: &Settings) -> Result<Vec<String>, Box<dyn Error>> {
    if settings.sessions == 0 {
        return Ok(Vec::new());
    }
    let create = Load {
        settings: Settings {
            address: settings.address.clone(),
            tokens: settings.tokens.clone(),
            duration: Duration::MAX,
            rate: None,
            ..*settings
        },
        next: AtomicU64::new(0),
        started: Instant::now(),
        is_setup: true,
        has_failed: AtomicBool::new(false),
        ids: Vec::new(),
        live: Mutex::default(),
    };
    let mut measured = run(&Arc::new(create));
    if measured.failed > 0 {
        return Err(format!("{} creates failed", measured.failed).into());
    }
    measured.ids.sort_unstable();
    Ok(measured.ids.into_iter().map(|(_, id)| id).collect())
}

fn run(load: &Arc<Load>) -> Measured {
    let all = Arc::new(Mutex::new(Measured::default()));
    let threads: Vec<_> = (0..load.settings.connections)
        .map(|_| {
            let (load, all) = (Arc::clone(load), Arc::clone(&all));
            thread::spawn(move || {
                let own = drive(&load);
                let mut all = all.lock().unwrap();
                all.latencies_us.extend(own.latencies_us);
                all.failed += own.failed;
                all.ids.extend(own.ids);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    mem::take(&mut *all.lock().unwrap())
}

/// Sends requests over one connection until the time has passed, or what they need is used up.
fn drive(load: &Load) -> Measured {
    let (settings, mut measured) = (&load.settings, Measured::default());
    let mut connection = None;
    loop {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        let due = settings.rate.map(|rate| Duration::from_secs_f64(number as f64 / rate));
        if due.unwrap_or_else(|| load.started.elapsed()) >= settings.duration {
            return measured;
        }
        let request = if load.is_setup {
            (number < settings.sessions).then(|| load.setup_request(number))
        } else {
            load.request(number)
        };
        let Some(request) = request else { return measured };
        if let Some(wait) = due.and_then(|due| due.checked_sub(load.started.elapsed())) {
            thread::sleep(wait);
        }
        let sent = due.unwrap_or_else(|| load.started.elapsed());
        let answer = connection
            .take()
            .map_or_else(|| Connection::open(&settings.address), Ok)
            .and_then(|mut open: Connection| Ok((open.exchange(&request)?, open)));
        measured.latencies_us.push((load.started.elapsed() - sent).as_micros() as u64);
        match answer {
            Ok(((200..300, id), open)) => {
                connection = Some(open);
                if load.is_setup {
                    measured.ids.extend(id.map(|id| (number, id)));
                } else if settings.kind == Kind::Churn {
                    load.live.lock().unwrap().extend(id);
                }
            }
            Ok(((status, _), open)) => {
                if !load.has_failed.swap(true, Ordering::Relaxed) {
                    eprintln!("status {status}: {}", open.text());
                }
                measured.failed += 1;
                connection = Some(open);
            }
            Err(error) => {
                eprintln!("{error}");
                measured.failed += 1;
            }
        }
    }
}

impl Load {
    /// A request to measure; `None` if there are no more tokens or sessions.
    fn request(&self, number: u64) -> Option<Vec<u8>> {
        let Settings { kind, first, .. } = self.settings;
        let id = |index: u64| self.ids.get(usize::try_from(index).ok()?);
        let again = || id(number % self.ids.len().max(1) as u64);
        let device = first + number % self.ids.len().max(1) as u64;
        Some(match kind {
            Kind::Create | Kind::CreateShared => return self.create_request(number),
            Kind::Get => self.format(number, "GET", &session_path(again()?), "")?,
            Kind::Delete => self.format(number, "DELETE", &session_path(id(number)?), "")?,
            Kind::Extend => {
                let path = format!("{}/extend", session_path(again()?));
                self.format(number, "POST", &path, r#"{"requestedAdditionalDuration":1}"#)?
            }
            Kind::Churn if number % 2 == 0 => {
                self.create_request_1_0(number, self.settings.sessions + number)?
            }
            Kind::Churn => {
                let oldest = self.live.lock().unwrap().pop_front()?;
                self.format(number, "DELETE", &session_path(&oldest), "")?
            }
            Kind::Retrieve => {
                let body = format!(r#"{{"device":{{"phoneNumber":"+44{device:010}"}}}}"#);
                self.format(number, "POST", "/quality-on-demand/v1/retrieve-sessions", &body)?
            }
        })
    }

    /// A create of a session that the measured requests need.
    fn setup_request(&self, number: u64) -> Vec<u8> {
        if matches!(self.settings.kind, Kind::Create | Kind::CreateShared) {
            return self.create_request(number).unwrap_or_default();
        }
        self.create_request_1_0(number, number).unwrap_or_default()
    }

    fn create_request_1_0(&self, number: u64, device: u64) -> Option<Vec<u8>> {
        let device = self.settings.first + device;
        let body = format!(
            r#"{{"duration":3600,"device":{{"phoneNumber":"+44{device:010}"}},"applicationServer":{{"ipv4Address":"203.0.113.0/24"}},"qosProfile":"QOS_E"}}"#
        );
        self.format(number, "POST", "/quality-on-demand/v1/sessions", &body)
    }

    fn create_request(&self, number: u64) -> Option<Vec<u8>> {
        // Devices of measured creates differ from those created before.
        let measured = if self.is_setup { 0 } else { self.settings.sessions };
        let device = self.settings.first + measured + number;
        let public = if self.settings.kind == Kind::CreateShared { 7 } else { device % 0x2_0000 };
        let body = format!(
            r#"{{"duration":3600,"device":{{"phoneNumber":"+49{device:010}","ipv4Address":{{"publicAddress":"198.{}.{}.{}","publicPort":{}}}}},"applicationServer":{{"ipv4Address":"203.0.113.0/24"}},"devicePorts":{{"ranges":[{{"from":5010,"to":5020}}],"ports":[5060,5070]}},"applicationServerPorts":{{"ranges":[{{"from":8000,"to":8080}}],"ports":[443]}},"qosProfile":"QOS_E","webhook":{{"notificationUrl":"https://application-server.example.com/events","notificationAuthToken":"c8974e592c2fa383d4a3960714"}}}}"#,
            18 + (public >> 16),
            public >> 8 & 0xff,
            public & 0xff,
            1024 + device % 60_000,
        );
        self.format(number, "POST", "/qod/v0/sessions", &body)
    }

    fn format(&self, number: u64, method: &str, path: &str, body: &str) -> Option<Vec<u8>> {
        let tokens = &self.settings.tokens;
        // One token for all requests, or a new one for each.
        let token =
            tokens.get(if tokens.len() == 1 { 0 } else { usize::try_from(number).ok()? })?;
        let content = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{content}\r\n"
        );
        Some([head.as_bytes(), body.as_bytes()].concat())
    }
}

fn session_path(id: &str) -> String {
    format!("/quality-on-demand/v1/sessions/{id}")
}

impl Connection {
    fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// The status of the answer, and the session id in it.
    fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, Option<String>)> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let body_at = loop {
            self.read_more()?;
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..body_at]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no status"))?;
        if head.contains("transfer-encoding: chunked") {
            while !self.buffer[body_at..].ends_with(b"0\r\n\r\n") {
                self.read_more()?;
            }
        } else {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0_usize);
            while self.buffer.len() < body_at + length {
                self.read_more()?;
            }
        }
        Ok((status, session_id(&self.text())))
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 8192];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.buffer.extend_from_slice(&chunk[..read]);
                Ok(())
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

fn session_id(answer: &str) -> Option<String> {
    let rest = answer.split(r#""sessionId":""#).nth(1)?;
    Some(rest.split('"').next()?.to_owned())
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The CPU time of a process and its children, user and system.
fn cpu_us(pid: &str) -> Result<u64, Box<dyn Error>> {
    let mut pids = vec![pid.to_owned()];
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        pids.extend(children.split_whitespace().map(str::to_owned));
    }
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit(") ").next().ok_or("no fields in stat")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    }
    // A clock tick is 10 ms on all supported machines.
    Ok(ticks * 10_000)
}
