//! The URL of a database: several hosts, user, password, database and TLS mode.

use std::{fmt, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::qod::Secret;

// An unreachable host is found after 25 seconds; a statement has a timeout of its own.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// A parsed URL. It contains a password: `Debug` prints `***`.
#[derive(Clone)]
pub struct DatabaseUrl {
    config: Config,
    hosts: Vec<HostAddress>,
}

#[derive(Clone)]
struct HostAddress {
    host: Option<Host>,
    address: Option<std::net::IpAddr>,
    port: u16,
}

impl DatabaseUrl {
    /// Parses `postgresql://user:password@host:port,host:port/database?parameters`.
    ///
    /// TLS is required unless the URL contains `sslmode=disable`, or all hosts are Unix sockets. The
    /// server's certificate and its name are always verified. If there are several hosts, the one
    /// that accepts writes is used.
    ///
    /// # Errors
    /// The fault, in words, without the content of the URL.
    pub fn parse(text: &Secret) -> Result<Self, String> {
        let text = text.single_line()?;
        let (rest, parameters) =
            text.reveal().split_once('?').unwrap_or_else(|| (text.reveal(), ""));
        if !rest.starts_with("postgresql://") && !rest.starts_with("postgres://") {
            return Err("the URL of the database does not begin with `postgresql://`".to_owned());
        }
        let mode = |parameter: &str| parameter.strip_prefix("sslmode=").map(ToOwned::to_owned);
        let modes: Vec<String> = parameters.split('&').filter_map(mode).collect();
        let parameters: Vec<&str> = parameters
            .split('&')
            .filter(|parameter| !parameter.is_empty() && !parameter.starts_with("sslmode="))
            .collect();
        // The error names a parameter, never a value.
        let plain = Secret::new(format!("{rest}?{}", parameters.join("&")));
        let mut config: Config = plain.reveal().parse().map_err(describe)?;
        let hosts = hosts_of(&config)?;
        let all_local = hosts.iter().all(|host| matches!(host.host, Some(Host::Unix(_))));
        config.ssl_mode(match modes.as_slice() {
            [] if all_local => SslMode::Disable,
            [] => SslMode::Require,
            [mode] => match mode.as_str() {
                "disable" => SslMode::Disable,
                "require" | "verify-full" => SslMode::Require,
                _ => return Err("`sslmode` is not `disable`, `require` or `verify-full`".into()),
            },
            _ => return Err("the URL of the database has several `sslmode`".to_owned()),
        });
        if config.get_user().is_none() {
            return Err("the URL of the database has no user".to_owned());
        }
        if config.get_dbname().is_none() {
            return Err("the URL of the database has no database name".to_owned());
        }
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err("`target_session_attrs` is not `read-write`".to_owned());
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL);
        config.keepalives_retries(KEEPALIVE_RETRIES);
        Ok(Self { config, hosts })
    }

    /// The number of hosts: at least one.
    pub(super) const fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Are connections encrypted?
    pub fn uses_tls(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }

    /// The settings of a connection to one host, without timeouts.
    pub(super) fn config_of(&self, host: usize) -> Option<Config> {
        let HostAddress { host, address, port } = self.hosts.get(host)?.clone();
        let own = &self.config;
        let mut config = Config::new();
        match host {
            Some(Host::Tcp(name)) => _ = config.host(name),
            Some(Host::Unix(path)) => _ = config.host_path(path),
            None => (),
        }
        if let Some(address) = address {
            config.hostaddr(address);
        }
        config.port(port).ssl_mode(own.get_ssl_mode());
        config.user(own.get_user()?).dbname(own.get_dbname()?);
        if let Some(password) = own.get_password() {
            config.password(password);
        }
        config.options(own.get_options().unwrap_or_default());
        config.channel_binding(own.get_channel_binding());
        config.ssl_negotiation(own.get_ssl_negotiation());
        config.target_session_attrs(own.get_target_session_attrs());
        config.keepalives(own.get_keepalives()).keepalives_idle(own.get_keepalives_idle());
        config.keepalives_interval(KEEPALIVE_INTERVAL).keepalives_retries(KEEPALIVE_RETRIES);
        if let Some(timeout) = own.get_connect_timeout() {
            config.connect_timeout(*timeout);
        }
        Some(config)
    }
}

/// The host names with their ports, as the server's own client library combines them.
fn hosts_of(config: &Config) -> Result<Vec<HostAddress>, String> {
    let (names, addresses, ports) =
        (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let number = names.len().max(addresses.len());
    let fits = |length: usize| length == 0 || length == number;
    if number == 0 {
        return Err("the URL of the database has no host".to_owned());
    }
    if !fits(names.len()) || !fits(addresses.len()) || !(fits(ports.len()) || ports.len() == 1) {
        return Err("the URL of the database has different numbers of hosts and ports".to_owned());
    }
    let hosts = (0..number).map(|index| HostAddress {
        host: names.get(index).cloned(),
        address: addresses.get(index).copied(),
        port: ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432),
    });
    Ok(hosts.collect())
}

fn describe(error: tokio_postgres::Error) -> String {
    let source = error.into_source().map(|source| source.to_string());
    let fault = source.filter(|text| text.starts_with("unknown option")).unwrap_or_default();
    match fault.as_str() {
        "" => "the URL of the database is not valid".to_owned(),
        _ => format!("the URL of the database is not valid: {fault}"),
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
