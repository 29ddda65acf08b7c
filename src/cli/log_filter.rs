//! The log filter of the environment variable `RUST_LOG`.

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The targets of log lines: audit records, and the crates that log.
const TARGETS: [&str; 7] = ["audit", "qod_gateway", "pingora", "h2", "rustls", "redb", "tokio"];

/// Returns the filter of `RUST_LOG`, or the default if the variable is not set or invalid, and why it is
/// invalid.
pub(super) fn from_environment(default: &str) -> (EnvFilter, Option<String>) {
    #[expect(clippy::disallowed_methods, reason = "a convention of log output, not a setting")]
    let text = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) if !text.trim().is_empty() => text,
        Ok(_) | Err(std::env::VarError::NotPresent) => return (EnvFilter::new(default), None),
        Err(error) => return (EnvFilter::new(default), Some(error.to_string())),
    };
    match parse(&text) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(error)),
    }
}

fn parse(text: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    // A word that is no level is taken as the name of a module. If there is no such module, nothing is
    // logged.
    let unknown = text.split(',').map(str::trim).find(|directive| {
        let target = directive.split(['=', '[', ':']).next().unwrap_or_default();
        let is_level = !directive.contains('=') && target.parse::<LevelFilter>().is_ok();
        let is_known = TARGETS.iter().any(|name| target.starts_with(name));
        !target.is_empty() && !is_level && !is_known
    });
    unknown.map_or(Ok(filter), |directive| {
        Err(format!(
            "`{}` is neither a level, such as `debug`, nor a module with a level, such as \
             `qod_gateway::operator=debug`",
            directive.escape_debug()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn levels_and_known_modules_are_accepted() {
        for text in [
            "info",
            "WARN",
            "off",
            "0",
            "info,pingora=warn",
            "qod_gateway::operator=debug,pingora_core=error",
            "qod_gateway[span]=info",
            "warn,",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn other_words_are_errors() {
        for text in [
            "garbage",
            "info,garbage",
            "qod_gatewy=debug",
            "info=debug",
            "loud",
            "qod_gateway=loud",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
