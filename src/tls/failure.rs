//! Names the reason of a failed TLS handshake in words.

// The text of rustls, as a part of the error, and what it means. The first match counts.
const REASONS: &[(&str, &str)] = &[
    // The peer rejected this end, and said why in an alert.
    ("alert: UnknownCA", "the peer does not know the authority of the certificate that it got"),
    ("alert: CertificateRequired", "the peer requires a client certificate"),
    ("alert: CertificateExpired", "the peer got an expired certificate"),
    ("alert: CertificateRevoked", "the peer got a revoked certificate"),
    ("alert: BadCertificate", "the peer rejected the certificate that it got"),
    ("alert: CertificateUnknown", "the peer rejected the certificate that it got"),
    ("alert: UnsupportedCertificate", "the peer rejected the certificate that it got"),
    ("alert: AccessDenied", "the peer denied access"),
    ("alert: UnrecognisedName", "the peer has no certificate for the host name"),
    ("alert: UnrecognizedName", "the peer has no certificate for the host name"),
    ("alert: ProtocolVersion", "no TLS version in common"),
    ("alert: HandshakeFailure", "no cipher suite in common, or no client certificate"),
    ("alert: NoApplicationProtocol", "no application protocol in common"),
    // This end rejected the peer.
    ("UnknownIssuer", "the certificate is of an unknown authority"),
    ("certificate expired", "the certificate has expired"),
    ("certificate: Expired", "the certificate has expired"),
    ("not valid yet", "the certificate is not valid yet"),
    ("NotValidYet", "the certificate is not valid yet"),
    ("not valid for name", "the certificate is for another name"),
    ("NotValidForName", "the certificate is for another name"),
    ("invalid peer certificate", "the certificate is not valid"),
    ("peer sent no certificates", "no certificate was presented"),
    ("peer is incompatible", "no TLS version or cipher suite in common"),
    ("any known protocol", "no application protocol in common"),
    ("corrupt message", "the peer does not speak TLS"),
    ("handshake eof", "the peer closed the connection during the handshake"),
    ("reset by peer", "the peer closed the connection during the handshake"),
];

/// The reason of a failed handshake, given the text of the error. The text of the error itself may
/// contain names from the peer's certificate, so it is not shown.
pub fn handshake_failure(error: &str) -> &'static str {
    let known = REASONS.iter().find(|(part, _)| error.contains(part));
    known.map_or("the handshake failed", |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use rustls::{
        AlertDescription, CertificateError, Error, PeerIncompatible, pki_types::UnixTime,
    };

    use super::*;

    #[test]
    fn reason_is_in_words() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let certificate = Error::InvalidCertificate;
        let cases = [
            (certificate(CertificateError::UnknownIssuer), "of an unknown authority"),
            (certificate(CertificateError::Expired), "has expired"),
            (
                certificate(CertificateError::ExpiredContext { time: at(2), not_after: at(1) }),
                "has expired",
            ),
            (certificate(CertificateError::NotValidYet), "not valid yet"),
            (
                certificate(CertificateError::NotValidYetContext {
                    time: at(1),
                    not_before: at(2),
                }),
                "not valid yet",
            ),
            (certificate(CertificateError::NotValidForName), "for another name"),
            (
                certificate(CertificateError::NotValidForNameContext {
                    expected: "a.example".try_into().unwrap(),
                    presented: vec!["b.example".to_owned()],
                }),
                "for another name",
            ),
            (certificate(CertificateError::BadEncoding), "is not valid"),
            (Error::NoCertificatesPresented, "no certificate was presented"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "does not know the authority"),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "requires a client certificate",
            ),
            (Error::AlertReceived(AlertDescription::CertificateExpired), "expired certificate"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "no TLS version"),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "no TLS version or cipher suite",
            ),
            (Error::NoApplicationProtocol, "no application protocol"),
            (Error::Other(rustls::OtherError(Arc::new(std::fmt::Error))), "the handshake failed"),
        ];
        for (error, expected) in cases {
            let text = format!("TLSHandshakeFailure context: tls connect error: {error}, SNI: x");
            assert!(handshake_failure(&text).contains(expected), "{text}");
        }
    }
}
