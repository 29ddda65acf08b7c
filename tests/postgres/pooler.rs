//! PgBouncer for tests: a pooler between a process under test and its database, which gives each
//! transaction any connection.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

const PROGRAMS: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];

// Ends the pooler when the test process has ended.
const RUN: &str = r#"
trap '' INT TERM HUP
"$@" & pid=$!
while read -r _; do :; done
kill -TERM "$pid"; wait "$pid"
"#;

/// A running pooler. It is stopped when dropped, or when the process ends.
#[derive(Debug)]
pub struct Pooler {
    folder: PathBuf,
    process: Child,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Pooler {
    /// Starts a pooler of the server at this port of 127.0.0.1, with two connections for each
    /// database. `None` if PgBouncer is not installed: the test says so.
    pub fn start(server: u16, user: &str) -> Option<Self> {
        let program = PROGRAMS.into_iter().find(|program| Path::new(program).exists());
        let Some(program) = program else {
            let text = b"skipped: PgBouncer is not installed\n";
            std::io::stderr().write_all(text).unwrap();
            return None;
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let name = format!("qod-pgbouncer-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let users = folder.join("users");
        fs::write(&users, format!("\"{user}\" \"\"\n")).unwrap();
        let settings = folder.join("settings.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = 2\nignore_startup_parameters = options\n",
            users.display()
        );
        fs::write(&settings, text).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh", program, "-q"]);
        // It refuses to run as root.
        if fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        {
            command.args(["-u", "postgres"]);
        }
        command.arg(&settings).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.process_group(0).spawn().unwrap();
        let pooler = Self { folder, process, port };
        let accepts = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let started = (0..500).any(|_| {
            accepts() || {
                thread::sleep(Duration::from_millis(20));
                false
            }
        });
        assert!(started, "the pooler did not start");
        Some(pooler)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        _ = self.process.wait();
        _ = fs::remove_dir_all(&self.folder);
    }
}
