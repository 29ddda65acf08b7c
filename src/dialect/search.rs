//! Requests and responses of `POST /search` of GSMA's Telco Finder API: looks up the operator of a
//! device by one identifier.

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::{
    MalformedRequest, Strictness, address, cursor::BodyCursor, json_body, respond,
    validation::ValidationErrors,
};
use crate::qod::{Device, DeviceIpv4, ProblemKind, Verbatim};

/// A search request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinderSearch {
    /// The device, with one identifier.
    pub device: Device,
    /// Whether to query other finders if the gateway's own routes do not match (`DEEP`).
    pub is_deep: bool,
    // Optional members of the response.
    api_root: bool,
    auth_provider_configuration: bool,
}

/// The search result.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundOperator<'a> {
    /// The operator's id.
    pub operator_id: &'a str,
    /// Base URL of its APIs; included on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_root: Option<&'a str>,
    /// URL of its authorization server's configuration; included on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_provider_configuration: Option<&'a str>,
}

const IDENTIFIERS: [&str; 4] =
    ["phoneNumber", "ipv4Address", "ipv6Address", "networkAccessIdentifier"];
const PORT_MAX: u32 = 65_535;

impl FinderSearch {
    /// Parses the body of `POST /search`. Rejects unknown members, because they might change the
    /// meaning of the others.
    ///
    /// # Errors
    /// If the body is invalid; the error lists every invalid value.
    pub fn parse(body: &[u8], strictness: &Strictness) -> Result<Self, MalformedRequest> {
        let json = strictness.parse(body)?;
        let (root, mut errors) = (BodyCursor::root(&json), ValidationErrors::default());
        let members = [
            "target",
            "includeApiRoot",
            "includeAuthProviderConfiguration",
            "portabilitySearchMode",
        ];
        root.allow_only(&members, &mut errors);
        let flag = |name: &str, errors: &mut ValidationErrors| {
            root.member(name).and_then(|member| member.boolean(errors)).unwrap_or_default()
        };
        let api_root = flag("includeApiRoot", &mut errors);
        let auth_provider_configuration = flag("includeAuthProviderConfiguration", &mut errors);
        let mode = root.member("portabilitySearchMode").and_then(|mode| {
            mode.parse(&mut errors, "expected `SHALLOW` or `DEEP`", |text| match text {
                "SHALLOW" => Some(false),
                "DEEP" => Some(true),
                _ => None,
            })
        });
        let asks_others = mode.unwrap_or_default();
        let target = root.required("target", &mut errors);
        let device = target.and_then(|target| device(&target, &mut errors));
        let search = device.map(|device| Self {
            device,
            is_deep: asks_others,
            api_root,
            auth_provider_configuration,
        });
        errors.into_result(search)
    }

    /// Renders the response with the requested members only.
    pub fn render(&self, found: &FoundOperator<'_>) -> Response<Bytes> {
        let found = FoundOperator {
            api_root: found.api_root.filter(|_| self.api_root),
            auth_provider_configuration: found
                .auth_provider_configuration
                .filter(|_| self.auth_provider_configuration),
            ..*found
        };
        respond(200, json_body(&found))
    }
}

fn device(target: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<Device> {
    target.allow_only(&IDENTIFIERS, errors);
    target.require_any_of(&IDENTIFIERS, errors);
    let given = IDENTIFIERS.iter().filter(|name| target.member(name).is_some());
    if given.count() > 1 {
        errors.add_semantic(
            target.pointer,
            ProblemKind::InvalidArgument,
            "expected exactly one identifier",
        );
    }
    let phone = target.member("phoneNumber");
    let phone = phone.and_then(|phone| address::phone_with_plus(&phone, errors));
    let ipv4 = target.member("ipv4Address").and_then(|ipv4| self::ipv4(&ipv4, errors));
    let ipv6 = target.member("ipv6Address").and_then(|ipv6| {
        ipv6.parse(errors, "expected an IPv6 address such as 2001:db8::1", address::ipv6_address)
    });
    let ipv6 = ipv6.map(|address| Verbatim::from_value(address.into()));
    let nai = target.member("networkAccessIdentifier");
    let nai = nai.and_then(|nai| address::nai(&nai, errors));
    let device = Device { phone, nai, external_id: None, ipv4, ipv6 };
    (!device.is_empty()).then_some(device)
}

fn ipv4(cursor: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<DeviceIpv4> {
    cursor.allow_only(&["publicAddress", "publicPort"], errors);
    let public = cursor.required("publicAddress", errors);
    let public = public.and_then(|public| address::ipv4(&public, errors));
    let port = cursor.member("publicPort");
    let port = port.and_then(|port| port.integer(errors, ProblemKind::OutOfRange, 0..=PORT_MAX));
    let public_port = port.and_then(|port| u16::try_from(port).ok());
    Some(DeviceIpv4::Public { public: public?, private: None, public_port })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &Value) -> Result<FinderSearch, MalformedRequest> {
        FinderSearch::parse(body.to_string().as_bytes(), &Strictness::default())
    }

    fn search_device(target: &Value) -> Result<Device, MalformedRequest> {
        read(&json!({ "target": target })).map(|search| search.device)
    }

    #[test]
    fn each_identifier_is_accepted_alone() {
        let phone = search_device(&json!({ "phoneNumber": "+34600000000" })).unwrap();
        assert_eq!(phone.phone.unwrap().value.to_string(), "+34600000000");
        let ipv4 =
            search_device(&json!({ "ipv4Address": { "publicAddress": "84.125.93.10" } })).unwrap();
        let Some(DeviceIpv4::Public { public, .. }) = ipv4.ipv4 else { panic!("{ipv4:?}") };
        assert_eq!(public.to_string(), "84.125.93.10");
        search_device(
            &json!({ "ipv4Address": { "publicAddress": "84.125.93.10", "publicPort": 59765 } }),
        )
        .unwrap();
        let ipv6 = search_device(&json!({ "ipv6Address": "2001:db8::1" })).unwrap();
        assert_eq!(ipv6.ipv6.unwrap().value.to_string(), "2001:db8::1/128");
        let nai =
            search_device(&json!({ "networkAccessIdentifier": "me@operator.example" })).unwrap();
        assert_eq!(nai.nai.unwrap().realm(), Some("operator.example"));
    }

    #[test]
    fn invalid_search_is_rejected_with_its_pointer() {
        let phone = json!({ "phoneNumber": "+34600000000" });
        for (body, pointer) in [
            (json!([]), ""),
            (json!({}), ""),
            (json!({ "target": {} }), "/target"),
            (json!({ "target": "+34600000000" }), "/target"),
            (json!({ "target": { "phoneNumber": "34600000000" } }), "/target/phoneNumber"),
            (json!({ "target": { "phoneNumber": 34_600_000_000_u64 } }), "/target/phoneNumber"),
            (json!({ "target": { "ipv4Address": "84.125.93.10" } }), "/target/ipv4Address"),
            (
                json!({ "target": { "ipv4Address": { "publicAddress": "84.125.93.0/24" } } }),
                "/target/ipv4Address/publicAddress",
            ),
            (
                json!({ "target": { "ipv4Address": {
                    "publicAddress": "84.125.93.10", "publicPort": 65_536,
                } } }),
                "/target/ipv4Address/publicPort",
            ),
            (json!({ "target": { "ipv6Address": "2001:db8::/64" } }), "/target/ipv6Address"),
            (json!({ "target": { "ipv6Address": "::ffff:1.2.3.4" } }), "/target/ipv6Address"),
            (json!({ "target": { "phoneNumber": "+34600000000", "more": 1 } }), "/target/more"),
            (json!({ "target": phone, "more": 1 }), "/more"),
            (json!({ "target": phone, "includeApiRoot": "true" }), "/includeApiRoot"),
            (json!({ "target": phone, "portabilitySearchMode": "WIDE" }), "/portabilitySearchMode"),
            (
                json!({ "target": { "phoneNumber": "+34600000000", "ipv6Address": "2001:db8::1" } }),
                "/target",
            ),
        ] {
            let malformed = read(&body).unwrap_err();
            assert_eq!(malformed.errors[0].pointer, pointer, "{body}: {malformed}");
            assert!(!malformed.to_string().contains("600000000"), "{malformed}");
        }
        let twice = br#"{"target":{"phoneNumber":"+34600000000"},"target":{}}"#;
        assert!(FinderSearch::parse(twice, &Strictness::default()).is_err());
    }

    #[test]
    fn only_a_deep_search_queries_other_finders() {
        let asks_others = |more: Value| {
            let mut body = json!({ "target": { "phoneNumber": "+34600000000" } });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(&body).unwrap().is_deep
        };
        assert!(asks_others(json!({ "portabilitySearchMode": "DEEP" })));
        assert!(!asks_others(json!({ "portabilitySearchMode": "SHALLOW" })));
        assert!(!asks_others(json!({})));
    }

    #[test]
    fn response_has_requested_members_only() {
        let found = FoundOperator {
            operator_id: "TEL_ES",
            api_root: Some("https://api.example"),
            auth_provider_configuration: Some("https://auth.example"),
        };
        let response = |more: Value| {
            let mut body = json!({ "target": { "phoneNumber": "+34600000000" } });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let answer = read(&body).unwrap().render(&found);
            serde_json::from_slice::<Value>(answer.body()).unwrap()
        };
        assert_eq!(response(json!({})), json!({ "operatorId": "TEL_ES" }));
        assert_eq!(
            response(json!({ "includeApiRoot": true, "portabilitySearchMode": "DEEP" })),
            json!({ "operatorId": "TEL_ES", "apiRoot": "https://api.example" })
        );
        assert_eq!(
            response(json!({ "includeApiRoot": false, "includeAuthProviderConfiguration": true })),
            json!({ "operatorId": "TEL_ES", "authProviderConfiguration": "https://auth.example" })
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = FinderSearch::parse(&bytes, &Strictness::default());
        }
    }
}
