//! `reload`: makes a running gateway reload its policies and prints the version in use.

use std::{path::Path, process::ExitCode};

use http::Method;
use serde_json::Value;

use super::{admin::AdminClient, serve, terminal};

pub(super) fn run(folder: &Path) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let target = serve::load_admin_target(folder)?;
    let answer = runtime.block_on(async {
        let admin = AdminClient::new(target.admin)?;
        admin.check_folder(folder).await?;
        admin.request(Method::POST, "/policies/reload").await
    })?;
    let result: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let outcome =
        if result.get("changed") == Some(&Value::Bool(true)) { "applied" } else { "unchanged" };
    let version = result.get("version").and_then(Value::as_str).unwrap_or_default();
    terminal::print_line(&format!("{}: version {version} {outcome}", folder.display()));
    Ok(ExitCode::SUCCESS)
}
