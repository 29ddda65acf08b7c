//! The authentication of administrators: a bearer token, or a client certificate that the listener has
//! verified. The permissions of a Unix socket need no code here.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};

use super::text_response;
use crate::{
    clock::Clock,
    metrics::Metrics,
    policy::{AdminSettings, AdminTokens},
    qod::SourceAddress,
    reloadable::{FILE_CHECK_INTERVAL, Reloadable},
    server::failure_log::FailureLog,
    tls::CertificateThumbprint,
};

/// Checks that a request is of an administrator.
pub(in crate::server) struct AdminAuthentication {
    tokens: Option<Reloadable<AdminTokens>>,
    // A client certificate is accepted instead of a token, because the listener does not require it.
    accepts_certificate: bool,
    failures: FailureLog,
    metrics: Metrics,
    clock: Clock,
}

/// Why a request is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminAuthenticationFailure {
    NoToken,
    InvalidToken,
}

impl AdminAuthentication {
    /// Loads the tokens.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub(in crate::server) fn new(
        settings: &AdminSettings,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, String> {
        let clients = settings.tls().and_then(|tls| tls.clients.as_ref());
        Ok(Self {
            tokens: settings.token_file.clone().map(AdminTokens::read).transpose()?,
            accepts_certificate: clients.is_some_and(|clients| !clients.required),
            failures: FailureLog::new(clock.clone()),
            metrics,
            clock,
        })
    }

    /// Without tokens, every request that the listener accepts is authenticated.
    pub(super) async fn check(
        &self,
        request: &Request<Bytes>,
    ) -> Result<(), AdminAuthenticationFailure> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        if self.accepts_certificate && request.extensions().get::<CertificateThumbprint>().is_some()
        {
            return Ok(());
        }
        let presented =
            bearer_token(request.headers()).ok_or(AdminAuthenticationFailure::NoToken)?;
        let tokens = tokens.current(&self.clock, FILE_CHECK_INTERVAL).await;
        if tokens.contains(presented) {
            Ok(())
        } else {
            Err(AdminAuthenticationFailure::InvalidToken)
        }
    }

    /// Counts and logs the failure.
    pub(super) fn record(&self, request: &Request<Bytes>, failure: AdminAuthenticationFailure) {
        let reason = failure.reason();
        self.metrics.record_admin_authentication_failure(reason);
        if let Some(not_logged) = self.failures.permit() {
            let source = request.extensions().get().map(|SourceAddress(address)| address);
            tracing::warn!(
                event = "admin_authentication_failed",
                reason,
                source = source.map(tracing::field::display),
                not_logged,
                "a request to the admin listener has no valid token"
            );
        }
    }
}

impl AdminAuthenticationFailure {
    fn reason(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::InvalidToken => "invalid_token",
        }
    }

    /// The response to the request.
    pub(super) fn response(self) -> Response<Bytes> {
        let challenge = match self {
            Self::NoToken => "Bearer",
            Self::InvalidToken => "Bearer error=\"invalid_token\"",
        };
        let mut response = text_response(
            StatusCode::UNAUTHORIZED,
            "expected a token of `admin.token_file` in `Authorization: Bearer`\n",
        );
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }
}

// `None` if there is no bearer token, or more than one header field.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{AdminEndpoint, Listener},
        qod::Moment,
    };

    const TOKEN: &str = "a-token-of-an-administrator-of-32-characters";

    fn request(fields: &[&str]) -> Request<Bytes> {
        let fields = fields.iter().fold(Request::builder().uri("/sessions"), |request, field| {
            request.header("authorization", *field)
        });
        fields.body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn valid_token_is_required() {
        let file = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        std::fs::write(&file, TOKEN).unwrap();
        let listener = Listener { address: "127.0.0.1:9090".parse().unwrap(), tls: None };
        let settings = AdminSettings {
            endpoint: AdminEndpoint::Tcp(listener),
            hosts: Vec::new(),
            token_file: Some(file.clone()),
            metrics: None,
        };
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let metrics = Metrics::new().unwrap();
        let new = |settings: &AdminSettings| {
            AdminAuthentication::new(settings, metrics.clone(), clock.clone()).unwrap()
        };
        let authentication = new(&settings);
        let check = async |fields: &[&str]| authentication.check(&request(fields)).await;
        let valid = format!("Bearer {TOKEN}");
        assert_eq!(check(&[&valid]).await, Ok(()));
        assert_eq!(check(&[&format!("bearer  {TOKEN}")]).await, Ok(()));
        let none = Err(AdminAuthenticationFailure::NoToken);
        for absent in [&[][..], &[&*valid, &valid], &["Basic YTpi"], &[TOKEN], &["Bearer"]] {
            assert_eq!(check(absent).await, none, "{absent:?}");
        }
        let wrong = format!("{valid}x");
        assert_eq!(check(&[&wrong]).await, Err(AdminAuthenticationFailure::InvalidToken));

        let failure = AdminAuthenticationFailure::InvalidToken;
        authentication.record(&request(&[&wrong]), failure);
        let response = failure.response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
        let series = "qod_admin_authentication_failures_total{reason=\"invalid_token\"} 1";
        assert!(metrics.text().contains(series), "{}", metrics.text());
        std::fs::remove_file(file).unwrap();

        let open = new(&AdminSettings { token_file: None, ..settings });
        assert_eq!(open.check(&request(&[])).await, Ok(()));
    }
}
