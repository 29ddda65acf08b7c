//! `reload`: makes a running gateway reload its policies and prints the version in use.

use std::{path::Path, process::ExitCode};

use http::Method;
use serde_json::Value;

use super::{admin::AdminArgs, terminal};

pub(super) fn run(folder: &Path, admin: &AdminArgs) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let (admin, _) = admin.client(folder)?;
    let answer = runtime.block_on(async {
        admin.check_folder(folder).await?;
        admin.request(Method::POST, "/policies/reload").await
    })?;
    let result: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let outcome =
        if result.get("changed") == Some(&Value::Bool(true)) { "applied" } else { "unchanged" };
    let version = result.get("version").and_then(Value::as_str).unwrap_or_default();
    let folder = folder.display().to_string();
    let folder = match result.get("folder").and_then(Value::as_str) {
        Some(read) if !admin.is_of_policies => read,
        _ => &folder,
    };
    terminal::print_line(&format!("{folder}: version {version} {outcome}"));
    Ok(ExitCode::SUCCESS)
}
