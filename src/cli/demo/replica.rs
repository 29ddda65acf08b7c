//! The second replica of the demo: a process of its own, on the same database.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    ADMIN_PORT, CALLBACK_PORT, GATEWAY_PORT, SECOND_ADMIN_PORT, SECOND_CALLBACK_PORT,
    SECOND_GATEWAY_PORT,
};
use crate::{
    cli::store,
    outbound::{Outbound, Trust},
    postgres::{Statement, migrate},
};

const READY_POLL: Duration = Duration::from_millis(50);
const READY_POLLS_MAX: usize = 400;

/// A schema of the demo. It is dropped at the end.
pub(super) struct DemoSchema {
    url: String,
    name: String,
}

/// A running gateway. It is killed when this is dropped.
pub(super) struct SecondReplica(Child);

impl DemoSchema {
    /// Creates the tables.
    pub(super) async fn create(url: &str) -> Result<Self, String> {
        let name = format!("qod_demo_{}", uuid::Uuid::new_v4().simple());
        let schema = Self { url: url.to_owned(), name };
        let database = store::open(schema.settings()?)?;
        migrate(&database).await.map_err(|error| error.to_string())?;
        Ok(schema)
    }

    /// Drops the tables.
    pub(super) async fn drop(self) -> Result<(), String> {
        let database = store::open(self.settings()?)?;
        let statement = Statement::new("drop_schema", "DROP SCHEMA {schema} CASCADE", &self.name);
        database.query(&statement, &[]).await.map(drop).map_err(|error| error.to_string())
    }

    fn settings(&self) -> Result<crate::postgres::Settings, String> {
        let mut settings = store::settings_of(&self.url)?;
        settings.schema.clone_from(&self.name);
        Ok(settings)
    }

    /// Replaces the directory of the shipped `gateway.yaml` by this schema, and writes its files.
    pub(super) fn select(&self, folder: &Path, gateway: &str) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::write(folder.join("postgres.url"), &self.url).map_err(failed)?;
        let key = format!("{0}{0}", uuid::Uuid::new_v4().simple());
        fs::write(folder.join("ledger.key"), key).map_err(failed)?;
        let store = format!(
            "  postgres: {{ url_file: postgres.url, schema: {}, single_server: true }}\n  key_file: \
             ledger.key\n",
            self.name
        );
        Ok(gateway.replace("  directory: ../ledger ", "  # ").replace("  sync: durable\n", &store))
    }
}

impl SecondReplica {
    /// Starts a gateway with the policies of the first one on other ports, and waits until it is ready.
    pub(super) async fn start(
        first: &Path,
        address: IpAddr,
        outbound: &Outbound,
    ) -> Result<Self, String> {
        let folder = first.join("second");
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir(&folder).map_err(failed)?;
        for entry in fs::read_dir(first).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                fs::copy(&path, folder.join(name)).map_err(failed)?;
            }
        }
        let gateway = fs::read_to_string(folder.join("gateway.yaml")).map_err(failed)?;
        let ports = [
            (GATEWAY_PORT, SECOND_GATEWAY_PORT),
            (CALLBACK_PORT, SECOND_CALLBACK_PORT),
            (ADMIN_PORT, SECOND_ADMIN_PORT),
        ];
        let gateway = ports.iter().fold(gateway, |text, (first, second)| {
            let listener = |port: u16| format!("address: {}", SocketAddr::new(address, port));
            text.replace(&listener(*first), &listener(*second))
        });
        fs::write(folder.join("gateway.yaml"), gateway).map_err(failed)?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let socket = folder.join("upgrade.sock");
        let child = Command::new(program)
            .args(["serve", "--policies"])
            .arg(&folder)
            .arg("--upgrade-socket")
            .arg(socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let replica = Self(child);
        let url = format!("http://{}/readyz", SocketAddr::new(address, SECOND_ADMIN_PORT));
        for _ in 0..READY_POLLS_MAX {
            if outbound.fetch(&url, &Trust::default(), Duration::from_secs(1), 1024).await.is_ok() {
                return Ok(replica);
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Err("the second replica was not ready in time".to_owned())
    }

    /// Kills the process.
    pub(super) fn kill(self) {
        drop(self);
    }
}

impl Drop for SecondReplica {
    fn drop(&mut self) {
        // The process may have ended.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
