//! A search of GSMA's Telco Finder API: one identifier of a device, and what is to be told of the operator
//! that serves it.

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::{Malformed, Strictness, address, fault::Faults, node::Node, respond, written};
use crate::{
    json::Json,
    qod::{Device, DeviceIpv4, Kind, Written},
};

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// A device that is known by one identifier.
    pub device: Device,
    /// May others be asked, where our own routes do not know (`DEEP`)?
    pub asks_others: bool,
    // Which further members the answer has.
    api_root: bool,
    auth_provider_configuration: bool,
}

/// What is told of an operator.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorFound<'a> {
    /// What it is called.
    pub operator_id: &'a str,
    /// Where its APIs are; told if it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_root: Option<&'a str>,
    /// And where its tokens are got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_provider_configuration: Option<&'a str>,
}

const IDENTIFIERS: [&str; 4] =
    ["phoneNumber", "ipv4Address", "ipv6Address", "networkAccessIdentifier"];
const PORT_MAX: u32 = 65_535;

impl Search {
    /// Reads the body of `POST /search`. No member is left out: it might change what the rest means.
    ///
    /// # Errors
    /// What is wrong with it, place by place.
    pub fn read(body: &[u8], strictness: &Strictness) -> Result<Self, Malformed> {
        let json = Json::parse(body, &strictness.bounds())?;
        let (root, mut faults) = (Node::root(&json), Faults::default());
        let known = [
            "target",
            "includeApiRoot",
            "includeAuthProviderConfiguration",
            "portabilitySearchMode",
        ];
        root.only(&known, &mut faults);
        let wants = |name: &str, faults: &mut Faults| {
            root.member(name).and_then(|member| member.truth(faults)).unwrap_or_default()
        };
        let api_root = wants("includeApiRoot", &mut faults);
        let auth_provider_configuration = wants("includeAuthProviderConfiguration", &mut faults);
        let mode = root.member("portabilitySearchMode").and_then(|mode| {
            mode.parsed(&mut faults, "expected `SHALLOW` or `DEEP`", |text| match text {
                "SHALLOW" => Some(false),
                "DEEP" => Some(true),
                _ => None,
            })
        });
        let asks_others = mode.unwrap_or_default();
        let target = root.required("target", &mut faults);
        let device = target.and_then(|target| device(&target, &mut faults));
        let search = device.map(|device| Self {
            device,
            asks_others,
            api_root,
            auth_provider_configuration,
        });
        faults.none_or(search)
    }

    /// Writes the answer, without what was not asked for.
    pub fn render(&self, found: &OperatorFound<'_>) -> Response<Bytes> {
        let found = OperatorFound {
            api_root: found.api_root.filter(|_| self.api_root),
            auth_provider_configuration: found
                .auth_provider_configuration
                .filter(|_| self.auth_provider_configuration),
            ..*found
        };
        respond(200, written(&found))
    }
}

fn device(target: &Node<'_>, faults: &mut Faults) -> Option<Device> {
    target.only(&IDENTIFIERS, faults);
    target.any_of(&IDENTIFIERS, faults);
    let named = IDENTIFIERS.iter().filter(|name| target.member(name).is_some());
    if named.count() > 1 {
        faults.meaning(target.place, Kind::InvalidArgument, "expected one identifier only");
    }
    let phone = target.member("phoneNumber");
    let phone = phone.and_then(|phone| address::phone_with_plus(&phone, faults));
    let ipv4 = target.member("ipv4Address").and_then(|ipv4| self::ipv4(&ipv4, faults));
    let ipv6 = target.member("ipv6Address").and_then(|ipv6| {
        ipv6.parsed(faults, "expected an IPv6 address such as 2001:db8::1", address::ipv6_address)
    });
    let ipv6 = ipv6.map(|address| Written::plain(address.into()));
    let nai = target.member("networkAccessIdentifier");
    let nai = nai.and_then(|nai| address::nai(&nai, faults));
    let device = Device { phone, nai, external_id: None, ipv4, ipv6 };
    (!device.is_empty()).then_some(device)
}

fn ipv4(node: &Node<'_>, faults: &mut Faults) -> Option<DeviceIpv4> {
    node.only(&["publicAddress", "publicPort"], faults);
    let public = node.required("publicAddress", faults);
    let public = public.and_then(|public| address::ipv4(&public, faults));
    let port = node.member("publicPort");
    let port = port.and_then(|port| port.number(faults, Kind::OutOfRange, (0, PORT_MAX)));
    let public_port = port.and_then(|port| u16::try_from(port).ok());
    Some(DeviceIpv4::Public { public: public?, private: None, public_port })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &Value) -> Result<Search, Malformed> {
        Search::read(body.to_string().as_bytes(), &Strictness::default())
    }

    fn of(target: &Value) -> Result<Device, Malformed> {
        read(&json!({ "target": target })).map(|search| search.device)
    }

    #[test]
    fn a_device_is_named_by_one_identifier() {
        let phone = of(&json!({ "phoneNumber": "+34600000000" })).unwrap();
        assert_eq!(phone.phone.unwrap().value.to_string(), "+34600000000");
        let ipv4 = of(&json!({ "ipv4Address": { "publicAddress": "84.125.93.10" } })).unwrap();
        assert_eq!(ipv4.ipv4.unwrap().routable().to_string(), "84.125.93.10");
        of(&json!({ "ipv4Address": { "publicAddress": "84.125.93.10", "publicPort": 59765 } }))
            .unwrap();
        let ipv6 = of(&json!({ "ipv6Address": "2001:db8::1" })).unwrap();
        assert_eq!(ipv6.ipv6.unwrap().value.to_string(), "2001:db8::1/128");
        let nai = of(&json!({ "networkAccessIdentifier": "me@operator.example" })).unwrap();
        assert_eq!(nai.nai.unwrap().realm(), Some("operator.example"));
    }

    #[test]
    fn what_is_no_search_is_told_place_by_place() {
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
            assert_eq!(malformed.faults[0].pointer, pointer, "{body}: {malformed}");
            assert!(!malformed.to_string().contains("600000000"), "{malformed}");
        }
        let twice = br#"{"target":{"phoneNumber":"+34600000000"},"target":{}}"#;
        assert!(Search::read(twice, &Strictness::default()).is_err());
    }

    #[test]
    fn others_are_asked_by_a_deep_search_only() {
        let asks = |more: Value| {
            let mut body = json!({ "target": { "phoneNumber": "+34600000000" } });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(&body).unwrap().asks_others
        };
        assert!(asks(json!({ "portabilitySearchMode": "DEEP" })));
        assert!(!asks(json!({ "portabilitySearchMode": "SHALLOW" })));
        assert!(!asks(json!({})));
    }

    #[test]
    fn no_more_is_told_than_was_asked_for() {
        let found = OperatorFound {
            operator_id: "TEL_ES",
            api_root: Some("https://api.example"),
            auth_provider_configuration: Some("https://auth.example"),
        };
        let told = |more: Value| {
            let mut body = json!({ "target": { "phoneNumber": "+34600000000" } });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let answer = read(&body).unwrap().render(&found);
            serde_json::from_slice::<Value>(answer.body()).unwrap()
        };
        assert_eq!(told(json!({})), json!({ "operatorId": "TEL_ES" }));
        assert_eq!(
            told(json!({ "includeApiRoot": true, "portabilitySearchMode": "DEEP" })),
            json!({ "operatorId": "TEL_ES", "apiRoot": "https://api.example" })
        );
        assert_eq!(
            told(json!({ "includeApiRoot": false, "includeAuthProviderConfiguration": true })),
            json!({ "operatorId": "TEL_ES", "authProviderConfiguration": "https://auth.example" })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_search_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = Search::read(&bytes, &Strictness::default());
        }
    }
}
