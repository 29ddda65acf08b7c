//! Splits a token into its three parts and parses its header strictly (RFC 7515, compact form).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{InvalidToken, SignatureAlgorithm};
use crate::json::{Json, JsonLimits};

const HEADER_BOUNDS: JsonLimits = JsonLimits { depth_max: 4, members_max: 16, elements_max: 32 };
const KID_BYTES_MAX: usize = 256;
const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// Header members that change the signature's meaning (RFC 7515 §4.1.11, RFC 7797), or declare a
/// nested token (§4.1.10). Members that include or reference a key (`jku`, `jwk`, `x5u`, `x5c`) are
/// ignored (§4.1.2 to §4.1.8): a key from a token proves nothing, and no URL from a token is ever
/// fetched.
const REJECTED_MEMBERS: [&str; 3] = ["crit", "b64", "cty"];

/// The purpose of a JWT, which determines the accepted headers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JwtUse {
    /// An access token or a DevEdge proof.
    Token,
    /// A DPoP proof, which includes its public key (RFC 9449 §4.2).
    Dpop,
}

/// An unverified JWS in compact form.
pub(super) struct Jws<'t> {
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) kid: Option<Box<str>>,
    /// Whether `typ` is `at+jwt`.
    pub(super) is_access_token: bool,
    payload: &'t str,
    signing_input: &'t str,
    signature: &'t str,
}

impl<'t> Jws<'t> {
    /// Parses a token.
    pub(super) fn parse(token: &'t str) -> Result<Self, InvalidToken> {
        Self::parse_as(JwtUse::Token, token, |_| Ok(())).map(|(jws, ())| jws)
    }

    /// Parses a DPoP proof (RFC 9449) and reads its key with `read_key`.
    pub(super) fn parse_dpop<T>(
        proof: &'t str,
        read_key: impl FnOnce(&Json<'_>) -> Option<T>,
    ) -> Result<(Self, T), InvalidToken> {
        Self::parse_as(JwtUse::Dpop, proof, |header| {
            header.member("jwk").and_then(read_key).ok_or(InvalidToken::Key)
        })
    }

    fn parse_as<T>(
        purpose: JwtUse,
        token: &'t str,
        read: impl FnOnce(&Json<'_>) -> Result<T, InvalidToken>,
    ) -> Result<(Self, T), InvalidToken> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(InvalidToken::Format)?;
        let (header, payload) = signing_input.split_once('.').ok_or(InvalidToken::Format)?;
        if header.len() > purpose.header_bytes_max() || payload.contains('.') {
            return Err(InvalidToken::Format);
        }
        let header = decode(header)?;
        let header = Json::parse_case_sensitive(&header, &HEADER_BOUNDS)
            .map_err(|_| InvalidToken::Format)?;
        if !matches!(header, Json::Object(_)) {
            return Err(InvalidToken::Format);
        }
        if REJECTED_MEMBERS.iter().any(|name| header.member(name).is_some()) {
            return Err(InvalidToken::CriticalHeader);
        }
        let typ = purpose.check_type(header.member("typ"))?;
        let algorithm = header
            .member("alg")
            .and_then(Json::as_str)
            .and_then(|name| name.parse().ok())
            .ok_or(InvalidToken::Algorithm)?;
        let kid = match header.member("kid").map(Json::as_str) {
            None => None,
            Some(Some(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid.into()),
            Some(_) => return Err(InvalidToken::Key),
        };
        let read = read(&header)?;
        let is_access_token = typ == Some(ACCESS_TOKEN_TYPE);
        Ok((Self { algorithm, kid, is_access_token, payload, signing_input, signature }, read))
    }

    /// Decodes the payload.
    pub(super) fn payload(&self) -> Result<Vec<u8>, InvalidToken> {
        decode(self.payload)
    }

    /// Returns the JWS signing input.
    pub(super) fn signing_input(&self) -> &'t [u8] {
        self.signing_input.as_bytes()
    }

    /// Returns the signature in base64url.
    pub(super) fn signature(&self) -> &'t str {
        self.signature
    }
}

/// Returns the payload if the token has the form of a JWT. The header is not validated.
pub(super) fn payload_if_jwt(token: &str) -> Option<Vec<u8>> {
    let (signed, _) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let is_object = decode(header).is_ok_and(|header| header.trim_ascii_start().starts_with(b"{"));
    if payload.contains('.') || !is_object {
        return None;
    }
    Some(decode(payload).unwrap_or_default())
}

impl JwtUse {
    // The header of a token may have a certificate chain, that of a proof has a key.
    const fn header_bytes_max(self) -> usize {
        match self {
            Self::Token => 6 * 1024,
            Self::Dpop => 4 * 1024,
        }
    }

    /// Checks `typ` and returns its canonical spelling. A token may have no `typ`, `JWT`, or
    /// `at+jwt` (RFC 9068 §2.1); other types, such as logout tokens, are rejected. A DPoP proof
    /// must have `dpop+jwt`.
    fn check_type(self, typ: Option<&Json<'_>>) -> Result<Option<&'static str>, InvalidToken> {
        let Some(typ) = typ else {
            return if self == Self::Token { Ok(None) } else { Err(InvalidToken::Type) };
        };
        let typ = typ.as_str().ok_or(InvalidToken::Type)?;
        let short = match typ.split_once('/') {
            Some((application, short)) if application.eq_ignore_ascii_case("application") => short,
            Some(_) => return Err(InvalidToken::Type),
            None => typ,
        };
        let types: &[&'static str] = match self {
            Self::Token => &["JWT", ACCESS_TOKEN_TYPE],
            Self::Dpop => &["dpop+jwt"],
        };
        let known = types.iter().find(|known| short.eq_ignore_ascii_case(known));
        known.map(|known| Some(*known)).ok_or(InvalidToken::Type)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, InvalidToken> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken::Format)
}

#[cfg(any(fuzzing, test))]
pub(super) mod fuzz;
