//! `explain`: shows step by step how a request would be handled, by a policy folder or by a running
//! gateway. It changes nothing and calls no operator.

use std::{
    io::Read,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use form_urlencoded::Serializer;
use http::Method;
use serde_json::Value;

use super::{admin::AdminArgs, caller, serve, terminal};
use crate::{
    gateway::{Explanation, PolicySnapshot},
    policy::{ExplainRequest, ExplainSubject},
    reloadable::read_regular,
};

#[derive(clap::Args)]
pub(super) struct ExplainArgs {
    /// Policy folder
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// `client_id` of the client
    #[arg(long)]
    client: String,
    /// Dialect of the request
    #[arg(long, value_name = "NAME")]
    dialect: String,
    #[command(flatten)]
    subject: ExplainSubjectArgs,
    /// Source IP address of the request
    #[arg(long, value_name = "ADDRESS")]
    source_address: Option<IpAddr>,
    /// Query the running gateway of these policies instead of reading the folder
    #[arg(long)]
    running: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct ExplainSubjectArgs {
    /// File with the body of a create request; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Explain only where a device is routed: a phone number with `+`, an IP address or a network
    /// access identifier
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

const BODY_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn run(arguments: &ExplainArgs) -> Result<ExitCode, String> {
    let body = arguments.subject.body.as_deref().map(read_body).transpose()?;
    if arguments.running {
        explain_running(arguments, body.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let about = match (body, &arguments.subject.device) {
        (Some(body), _) => ExplainSubject::Create(body),
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            ExplainSubject::device(name)?
        }
    };
    let caller = caller()?;
    let rules = PolicySnapshot::new(serve::load(&arguments.policies)?, &caller, None)?;
    let ExplainArgs { client, dialect, source_address, .. } = arguments;
    let (client, dialect) = (client.as_str().into(), dialect.clone());
    let question = ExplainRequest {
        client,
        dialect,
        subject: about,
        source_address: *source_address,
        reads_tables: true,
    };
    let explanation =
        rules.explain(&question, caller.clock.now()).map_err(|error| error.to_string())?;
    print(&explanation, arguments.json);
    Ok(ExitCode::SUCCESS)
}

fn read_body(file: &Path) -> Result<Vec<u8>, String> {
    if file != Path::new("-") {
        return read_regular(file, BODY_BYTES_MAX).map_err(|error| {
            format!("failed to read `{}`: {error}; `-` reads standard input", file.display())
        });
    }
    let mut body = Vec::new();
    let read = std::io::stdin()
        .take(BODY_BYTES_MAX + 1)
        .read_to_end(&mut body)
        .map_err(|error| format!("failed to read standard input: {error}"))?;
    if u64::try_from(read).is_ok_and(|read| read <= BODY_BYTES_MAX) {
        Ok(body)
    } else {
        Err(format!("the body is larger than {} KiB", BODY_BYTES_MAX >> 10))
    }
}

fn print(explanation: &Explanation, in_json: bool) {
    if in_json {
        terminal::print_line(&format!("{:#}", explanation.to_json()));
    } else {
        explanation.lines().iter().for_each(|line| terminal::print_line(line));
    }
}

fn explain_running(arguments: &ExplainArgs, body: Option<&[u8]>) -> Result<(), String> {
    let mut query = Serializer::new(String::new());
    query.append_pair("client", &arguments.client).append_pair("dialect", &arguments.dialect);
    if let Some(body) = body {
        query.append_pair("body", std::str::from_utf8(body).map_err(|error| error.to_string())?);
    }
    if let Some(device) = &arguments.subject.device {
        query.append_pair("device", device);
    }
    if let Some(address) = arguments.source_address {
        query.append_pair("source_address", &address.to_string());
    }
    if !arguments.json {
        query.append_pair("lines", "");
    }
    let path = format!("/policies/explain?{}", query.finish());
    let (admin, _) = arguments.admin.client(&arguments.policies)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        admin.check_folder(&arguments.policies).await?;
        admin.request(Method::GET, &path).await
    })?;
    let text = String::from_utf8_lossy(&answer.body);
    match serde_json::from_str::<Value>(&text) {
        Ok(explanation) if arguments.json => terminal::print_line(&format!("{explanation:#}")),
        _ => terminal::print_line(text.trim_end()),
    }
    Ok(())
}
