//! Client of a running gateway's admin listener, for subcommands such as `reload` and `sessions`. It finds
//! the listener in the policies, or by the options.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::serve;
use crate::{
    gateway::NEXT_PAGE_HEADER,
    ledger::StoreConfig,
    outbound::{
        Authorities, CallResult, Endpoint, Outbound, OutboundCall, PeerResponse, Trust,
        sensitive_header,
    },
    policy::{AdminEndpoint, AdminSettings, read_admin_token},
    service::ADMIN_REQUEST_HEADER,
    tls::CertificateFiles,
    trace::{CallTarget, Peer},
};

/// The options of commands that call a running gateway.
#[derive(clap::Args)]
#[command(next_help_heading = "Admin listener")]
pub(super) struct AdminArgs {
    /// Admin listener of the gateway: http://HOST:PORT, https://HOST:PORT or unix:PATH. Default: that
    /// of the policies
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<String>,
    /// File with the token of the admin listener. Default: that of the policies, without --admin
    #[arg(long, value_name = "FILE", global = true)]
    admin_token_file: Option<PathBuf>,
    /// File of the CA certificates (PEM) that the admin listener is verified with. Default: public
    /// authorities, and without --admin the certificates of the policies
    #[arg(long, value_name = "FILE", global = true)]
    admin_ca_file: Option<PathBuf>,
    /// File with the client certificate for the admin listener (PEM)
    #[arg(long, value_name = "FILE", global = true, requires = "admin_key_file")]
    admin_certificate_file: Option<PathBuf>,
    /// File with the private key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", global = true, requires = "admin_certificate_file")]
    admin_key_file: Option<PathBuf>,
}

/// Sends requests to the admin listener of a gateway.
pub(super) struct AdminClient {
    // For messages.
    place: String,
    // Whether the policies name it, and not `--admin`.
    pub(super) is_of_policies: bool,
    endpoint: Endpoint,
    headers: Vec<(HeaderName, HeaderValue)>,
    outbound: Outbound,
}

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl AdminArgs {
    /// The client, and where the sessions of the gateway are stored; `None` if `--admin` names the
    /// listener: the policies are not read then.
    pub(super) fn client(
        &self,
        policies: &Path,
    ) -> Result<(AdminClient, Option<StoreConfig>), String> {
        if let Some(url) = &self.admin {
            return Ok((self.client_of(url, url.clone(), None)?, None));
        }
        let target = serve::load_admin_target(policies)?;
        let url = match &target.admin.endpoint {
            AdminEndpoint::Unix(file) => format!("unix:{}", file.path.display()),
            AdminEndpoint::Tcp(listener) => {
                let scheme = if listener.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", crate::server::reachable(listener.address))
            }
        };
        let place = format!("{} (`admin` in gateway.yaml)", target.admin.endpoint);
        Ok((self.client_of(&url, place, Some(&target.admin))?, Some(target.store)))
    }

    fn client_of(
        &self,
        url: &str,
        place: String,
        policy: Option<&AdminSettings>,
    ) -> Result<AdminClient, String> {
        let endpoint = match url.strip_prefix("unix:") {
            Some(path) => Endpoint::unix(path),
            None => Endpoint::parse(url, 1),
        };
        let endpoint = endpoint.map_err(|error| format!("--admin {url}: {error}"))?;
        let endpoint = match self.trust(&endpoint, policy)? {
            Some(trust) => endpoint.with_trust(trust),
            None => endpoint,
        };
        let mut headers = vec![(ADMIN_REQUEST_HEADER, HeaderValue::from_static("1"))];
        let token_file = self.admin_token_file.as_ref();
        if let Some(file) = token_file.or_else(|| policy?.token_file.as_ref()) {
            let token = read_admin_token(file)?;
            let field = sensitive_header(&format!("Bearer {}", token.reveal()))
                .ok_or("the token cannot be sent in a header field")?;
            headers.push((header::AUTHORIZATION, field));
        }
        let is_of_policies = policy.is_some();
        Ok(AdminClient { place, is_of_policies, endpoint, headers, outbound: Outbound::new() })
    }

    // `None` for the default: public authorities without a client certificate.
    fn trust(
        &self,
        endpoint: &Endpoint,
        policy: Option<&AdminSettings>,
    ) -> Result<Option<Trust>, String> {
        let shown = self.admin_certificate_file.as_ref().zip(self.admin_key_file.as_ref());
        let shown = shown.map(|(certificate, key)| CertificateFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        });
        // The chain of the listener's own certificate may end in a private authority.
        let own = policy.and_then(AdminSettings::tls).map(|tls| tls.files.certificate.clone());
        let authorities = match (&self.admin_ca_file, own) {
            (Some(file), _) => Authorities::Only(file.clone()),
            (None, Some(file)) => Authorities::Also(file),
            (None, None) if shown.is_none() => return Ok(None),
            (None, None) => Authorities::Public,
        };
        if !endpoint.is_tls() {
            return Err("`--admin-ca-file` and `--admin-certificate-file` need an admin listener \
                        with https"
                .to_owned());
        }
        Trust::read(&authorities, shown.as_ref()).map(Some)
    }
}

impl AdminClient {
    /// Reads a page of JSON lines, and the position of the next one if there is any.
    pub(super) async fn page_of<P: FromStr>(
        &self,
        path_and_query: &str,
    ) -> Result<(Vec<Value>, Option<P>), String> {
        let answer = self.request(Method::GET, path_and_query).await?;
        let next =
            answer.headers.get(NEXT_PAGE_HEADER).and_then(|next| next.to_str().ok()?.parse().ok());
        let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let page = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
        Ok((page.map_err(|error| error.to_string())?, next))
    }

    /// Sends a request and returns the response. A status other than 2xx is an error with the body as
    /// its text.
    pub(super) async fn request(&self, method: Method, path: &str) -> Result<PeerResponse, String> {
        let call = OutboundCall {
            target: CallTarget::of(Peer::Other),
            method,
            path,
            headers: &self.headers,
            body: Bytes::new(),
            connect_timeout: TIMEOUT,
            timeout: TIMEOUT,
            response_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.outbound.send(&self.endpoint, &call).await {
            CallResult::Answered(answer) if answer.status.is_success() => Ok(answer),
            CallResult::Answered(answer) => {
                let text = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
                Err(match answer.status {
                    StatusCode::UNAUTHORIZED => format!("{text} (`--admin-token-file`)"),
                    _ => text,
                })
            }
            CallResult::NotSent(reason)
            | CallResult::PoolExhausted(reason)
            | CallResult::Unknown(reason) => {
                let hint = if self.endpoint.is_tls() {
                    "; is it running? See also `--admin-ca-file` and `--admin-certificate-file`"
                } else {
                    "; is it running?"
                };
                Err(format!("failed to call the gateway at {}: {reason}{hint}", self.place))
            }
        }
    }

    /// Returns an error if the gateway reads another policy folder than this one, which names its listener.
    pub(super) async fn check_folder(&self, folder: &Path) -> Result<(), String> {
        if !self.is_of_policies {
            return Ok(());
        }
        let status = self.request(Method::GET, "/policies").await?;
        let status: Value =
            serde_json::from_slice(&status.body).map_err(|error| error.to_string())?;
        let Some(read) = status.get("folder").and_then(Value::as_str) else { return Ok(()) };
        // The gateway may run in a container, in which the folder has another path.
        let identity =
            |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        match (identity(Path::new(read)), identity(folder)) {
            (Some(of_gateway), Some(own)) if of_gateway != own => Err(format!(
                "the gateway at {} reads the policy folder `{read}`; `{}` is another folder",
                self.place,
                folder.display()
            )),
            _ => Ok(()),
        }
    }
}
