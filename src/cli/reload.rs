//! `reload`: has a running gateway read its policies anew, and says what becomes of it.

use std::{path::Path, process::ExitCode};

use http::Method;
use serde_json::Value;

use super::{admin::Admin, serve, terminal};

pub(super) fn run(folder: &Path) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let place = serve::load_place(folder)?;
    let told = runtime
        .block_on(async { Admin::at(place.admin)?.ask(Method::POST, "/policies/reload").await })?;
    let told: Value = serde_json::from_slice(&told.body).map_err(|error| error.to_string())?;
    let changed = if told.get("changed") == Some(&Value::Bool(true)) {
        "is in force now"
    } else {
        "was in force already"
    };
    let version = told.get("version").and_then(Value::as_str).unwrap_or_default();
    terminal::line(&format!("{}: {version} {changed}", folder.display()));
    Ok(ExitCode::SUCCESS)
}
