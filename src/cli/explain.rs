//! `explain`: what would become of a request, step by step, by a folder of policies or in a gateway
//! that runs. Nothing is touched, and no operator called.

use std::{
    io::Read,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use form_urlencoded::Serializer;
use http::Method;
use serde_json::Value;

use super::{admin::Admin, caller, serve, terminal};
use crate::{
    gateway::{Explanation, Rules},
    policy::{About, Question},
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The folder of policies
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
    /// Who asks, by its `client_id`
    #[arg(long)]
    client: String,
    /// What it speaks, by the dialect's name
    #[arg(long, value_name = "NAME")]
    dialect: String,
    #[command(flatten)]
    about: AboutArguments,
    /// Where it calls from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Ask the gateway that runs by these policies
    #[arg(long)]
    running: bool,
    /// Tell it in JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct AboutArguments {
    /// The file of a create's body; `-` for standard input
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Only a device: a number with its `+`, an address, or a network access identifier
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

const BODY_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let body = arguments.about.body.as_deref().map(read).transpose()?;
    if arguments.running {
        ask(arguments, body.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let about = match (body, &arguments.about.device) {
        (Some(body), _) => About::Create(body),
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            About::device(name).map_err(|error| error.to_string())?
        }
    };
    let caller = caller()?;
    let rules = Rules::new(serve::load(&arguments.policies)?, &caller, None)?;
    let Arguments { client, dialect, from, .. } = arguments;
    let (client, dialect) = (client.as_str().into(), dialect.clone());
    let question = Question { client, dialect, about, from: *from, reads_tables: true };
    let told = rules.explain(&question, caller.clock.now()).map_err(|error| error.to_string())?;
    tell(&told, arguments.json);
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    if file == Path::new("-") {
        std::io::stdin().take(BODY_BYTES_MAX).read_to_end(&mut body).map_err(told)?;
    } else {
        let opened = std::fs::File::open(file).map_err(told)?;
        opened.take(BODY_BYTES_MAX).read_to_end(&mut body).map_err(told)?;
    }
    Ok(body)
}

fn tell(told: &Explanation, in_json: bool) {
    if in_json {
        terminal::line(&format!("{:#}", told.to_json()));
    } else {
        told.lines().iter().for_each(|line| terminal::line(line));
    }
}

fn ask(arguments: &Arguments, body: Option<&[u8]>) -> Result<(), String> {
    let mut query = Serializer::new(String::new());
    query.append_pair("client", &arguments.client).append_pair("dialect", &arguments.dialect);
    if let Some(body) = body {
        query.append_pair("body", std::str::from_utf8(body).map_err(|error| error.to_string())?);
    }
    if let Some(device) = &arguments.about.device {
        query.append_pair("device", device);
    }
    if let Some(from) = arguments.from {
        query.append_pair("from", &from.to_string());
    }
    if !arguments.json {
        query.append_pair("lines", "");
    }
    let path = format!("/policies/explain?{}", query.finish());
    let place = serve::load_place(&arguments.policies)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let told = runtime.block_on(async { Admin::at(place.admin)?.ask(Method::GET, &path).await })?;
    let text = String::from_utf8_lossy(&told.body);
    match serde_json::from_str::<Value>(&text) {
        Ok(told) if arguments.json => terminal::line(&format!("{told:#}")),
        _ => terminal::line(text.trim_end()),
    }
    Ok(())
}
