//! A private PostgreSQL server for tests, so that tests need no installation of their own. It never
//! survives the test process, however that process ends.

use std::{
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// The owner of the test databases. It is no superuser and has this password; connections to
/// 127.0.0.1 need none unless [`Options::hba`] demands it.
pub const USER: &str = "qod";
/// The password of [`USER`].
pub const PASSWORD: &str = "correct-horse";

const POLL: Duration = Duration::from_millis(20);
const POLLS_MAX: usize = 3000;

// Reads until the test process has ended. Then it stops the server and removes its folder.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
while read -r _; do :; done
pid=$(sed -n 1p "$1/data/postmaster.pid" 2>/dev/null)
shared_memory=$(sed -n 7p "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -CONT "$pid" 2>/dev/null; kill -QUIT "$pid" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -KILL "$pid" 2>/dev/null
    ipcrm -m "${shared_memory##* }" 2>/dev/null
fi
rm -rf "$1"
"#;

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Does a commit reach the disk?
    pub fsync: bool,
    /// Further settings, such as `("log_statement", "all")`.
    pub settings: Vec<(String, String)>,
    /// Lines of `pg_hba.conf` before the one that trusts all connections.
    pub hba: Vec<String>,
    /// Files in the data folder, such as `("server.crt", "…")`.
    pub files: Vec<(String, String)>,
}

/// A running server. It is stopped when dropped, or when the process ends.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    options: Options,
    process: Mutex<Option<Child>>,
    _watchdog: Watchdog,
}

/// A database of its own for one test. It is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase<'a> {
    server: &'a Server,
    /// The name of the database.
    pub name: String,
    /// Its URL for its owner, [`USER`].
    pub url: String,
}

/// Ends when its input ends. The kernel closes the input when this process ends.
#[derive(Debug)]
struct Watchdog(Child);

/// The server that the tests of this process share, without `fsync`. `None` if PostgreSQL is not
/// installed: the test says that it is skipped, and returns. In CI that is a failure.
pub fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    SHARED.get_or_init(|| Server::start_new(Options::default())).as_ref()
}

/// The name of a schema that no other test of this process uses. It may be created in the database
/// [`USER`] of the shared server, which is faster than a database of its own.
pub fn unique_schema() -> String {
    unique("schema")
}

/// The folder that contains `postgres` and `initdb`.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort();
    let packaged = versions.into_iter().rev().map(|(_, path)| path.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = packaged.chain(std::env::split_paths(&path)).find(|folder| {
        ["postgres", "initdb", "psql", "pg_basebackup"]
            .iter()
            .all(|name| folder.join(name).exists())
    });
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none_or(|value| value != "true"),
            "PostgreSQL is not installed: run scripts/setup"
        );
        let text = "skipped: PostgreSQL is not installed (scripts/setup installs it)\n";
        io::stderr().write_all(text.as_bytes()).unwrap();
    }
    found
}

impl Server {
    /// Creates a database cluster and starts it. `None` if PostgreSQL is not installed.
    pub fn start_new(options: Options) -> Option<Self> {
        let server = Self::prepare(programs()?, options);
        server.initialize();
        server.start();
        let password = format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'");
        server.sql("postgres", &password);
        server.sql("postgres", &format!("CREATE DATABASE {USER} OWNER {USER}"));
        Some(server)
    }

    fn prepare(programs: PathBuf, options: Options) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("qod-pg-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // The process id may be that of an earlier test process that was killed.
        _ = fs::remove_dir_all(&folder);
        fs::DirBuilder::new().mode(0o755).create(&folder).unwrap();
        if let Some((user, group)) = server_user() {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let watchdog = Watchdog::start(&folder);
        let port = free_port();
        Self { programs, folder, port, options, process: Mutex::new(None), _watchdog: watchdog }
    }

    fn initialize(&self) {
        self.run(
            "initdb",
            &["-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync", "-D"],
            &self.data(),
        );
        let mut hba = self.options.hba.join("\n");
        hba += "\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n";
        hba += "local replication all trust\nhost replication all 127.0.0.1/32 trust\n";
        self.write("pg_hba.conf", &hba);
        for (name, text) in &self.options.files {
            self.write(name, text);
        }
        let on_off = |on| if on { "on" } else { "off" };
        let mut settings = format!(
            "listen_addresses = '127.0.0.1'\nmax_connections = 300\nshared_buffers = 64MB\n\
             fsync = {0}\nfull_page_writes = {0}\nwal_level = replica\nmax_wal_senders = 4\n\
             hot_standby = on\nlog_min_messages = warning\n",
            on_off(self.options.fsync)
        );
        let own = self.options.settings.iter();
        settings.extend(own.map(|(name, value)| format!("{name} = '{value}'\n")));
        self.write("postgresql.conf", &settings);
    }

    /// Starts the server, and waits until it accepts connections.
    pub fn start(&self) {
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string()])
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        *self.process.lock().unwrap() = Some(command.spawn().unwrap());
        let started = wait_until(|| {
            let exited = self.process.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            assert!(exited.is_none(), "the server has ended: {}", self.log());
            let state = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let state = state.lines().nth(7).unwrap_or_default().trim().to_owned();
            ["ready", "standby"].contains(&state.as_str()) && self.try_sql("postgres", "").is_ok()
        });
        assert!(started, "the server did not start: {}", self.log());
    }

    /// Stops the server: at once, as after a crash, or after it has closed all connections.
    pub fn stop(&self, immediate: bool) {
        signal(if immediate { "QUIT" } else { "INT" }, &[self.process_id()]);
        self.wait_for_end();
    }

    /// Kills all processes of the server.
    pub fn kill9(&self) {
        let main = self.process_id();
        // The main process starts no further one.
        signal("STOP", &[main]);
        let mut all = children_of(main);
        all.push(main);
        signal("KILL", &all);
        self.wait_for_end();
        // The server cannot be started again while one of its processes has the shared memory.
        assert!(wait_until(|| all.iter().all(|process| has_ended(*process))));
    }

    /// Stops the execution of all processes of the server, until [`Server::thaw`].
    pub fn freeze(&self) {
        let main = self.process_id();
        signal("STOP", &[main]);
        signal("STOP", &children_of(main));
    }

    /// Continues the execution of all processes of the server.
    pub fn thaw(&self) {
        let main = self.process_id();
        signal("CONT", &children_of(main));
        signal("CONT", &[main]);
    }

    /// Creates a standby of this server, to which each commit is replicated synchronously.
    pub fn synchronous_standby(&self) -> Self {
        let standby = Self::prepare(self.programs.clone(), self.options.clone());
        let socket = self.folder.to_str().unwrap();
        let port = self.port.to_string();
        let from = ["-h", socket, "-p", &port, "-U", "postgres", "-c", "fast", "--no-sync", "-D"];
        standby.run("pg_basebackup", &from, &standby.data());
        let primary = format!(
            "primary_conninfo = 'host={socket} port={port} user=postgres \
             application_name=standby'\n"
        );
        let path = standby.data().join("postgresql.auto.conf");
        let settings = fs::read_to_string(path).unwrap() + &primary;
        standby.write("postgresql.auto.conf", &settings);
        standby.write("standby.signal", "");
        standby.start();
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.sql("postgres", "SELECT pg_reload_conf()");
        let state = "SELECT coalesce(max(sync_state), '') FROM pg_stat_replication";
        assert!(wait_until(|| self.sql("postgres", state) == "sync"), "{}", standby.log());
        standby
    }

    /// Stops the process of a standby that receives the changes, so that its primary waits.
    pub fn freeze_replication(&self) {
        let name = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("walreceiver")
        };
        let receivers: Vec<u32> = children_of(self.process_id()).into_iter().filter(name).collect();
        assert!(!receivers.is_empty(), "the standby receives nothing");
        signal("STOP", &receivers);
    }

    /// Makes a standby the primary, and waits until it accepts writes.
    pub fn promote(&self) {
        // A stopped receiver would not end.
        signal("CONT", &children_of(self.process_id()));
        assert_eq!(self.sql("postgres", "SELECT pg_promote(true, 60)"), "t");
        // The former settings of the primary would wait for a standby.
        self.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of a database for its owner, without TLS.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// The URL of a database for the superuser, without TLS.
    pub fn superuser_url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// A database that exists while the result exists.
    pub fn create_database(&self) -> TestDatabase<'_> {
        let name = unique("test");
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        TestDatabase { server: self, url: self.url(&name), name }
    }

    /// Executes SQL as the superuser. Returns the result, one row a line, `|` between columns.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Executes SQL as the superuser.
    ///
    /// # Errors
    /// The message of the server.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self
            .command("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres"])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql, "-h"])
            .arg(&self.folder)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The log of the server.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn process_id(&self) -> u32 {
        self.process.lock().unwrap().as_ref().expect("the server runs").id()
    }

    fn wait_for_end(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.wait().unwrap();
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = server_user() {
            chown(&path, Some(user), Some(group)).unwrap();
        }
    }

    fn run(&self, program: &str, arguments: &[&str], last: &Path) {
        let output = self.command(program).args(arguments).arg(last).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A program of the server, as a user that it accepts.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // A terminal's interrupt would stop the server before the tests.
        command.current_dir(&self.folder).stdin(Stdio::null()).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        if let Some((user, group)) = server_user() {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.lock().unwrap().is_some() {
            self.kill9();
        }
    }
}

impl Drop for TestDatabase<'_> {
    fn drop(&mut self) {
        // The server may be stopped.
        _ = self.server.try_sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

impl Watchdog {
    fn start(folder: &Path) -> Self {
        let child = Command::new("sh")
            .args(["-c", WATCHDOG, "sh"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        _ = self.0.wait();
    }
}

/// The user and group of the server if this process is that of root, which the server refuses.
fn server_user() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    if own.split_whitespace().nth(1) != Some("0") {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let id_of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(
        id_of("postgres")
            .or_else(|| id_of("nobody"))
            .expect("/etc/passwd has neither `postgres` nor `nobody`"),
    )
}

fn signal(name: &str, processes: &[u32]) {
    for process in processes {
        let mut kill = Command::new("sh");
        // A process may have ended.
        kill.args(["-c", &format!("kill -{name} {process}")]).stderr(Stdio::null());
        kill.status().unwrap();
    }
}

fn has_ended(process: u32) -> bool {
    // An ended process that was not waited for remains as a zombie.
    fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may contain spaces.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_child).collect()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn unique(prefix: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("{prefix}_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    (0..POLLS_MAX).any(|_| {
        condition() || {
            thread::sleep(POLL);
            false
        }
    })
}
