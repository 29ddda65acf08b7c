//! Profiles: the documents of the profile APIs, and rendered profiles in every release.

use super::{rules::check_rules, *};

const APART: [&str; 4] = [
    "qos-profiles-0.11.1.yaml",
    "qos-profiles-1.0.0.yaml",
    "qos-profiles-1.1.0.yaml",
    "qos-profiles-1.2.0-rc.3.yaml",
];

fn all() -> impl Iterator<Item = &'static str> {
    ["camara-0.9.0.yaml", "camara-0.10.1.yaml"].into_iter().chain(APART)
}

#[test]
fn every_schema_compiles_and_every_example_is_valid() {
    let mut seen = 0;
    for file in shipped("qos-profiles-") {
        let document = document(&file);
        for (name, schema) in document.content["components"]["schemas"].as_object().unwrap() {
            document.validator(name, Direction::Request).unwrap();
            let validator = document.validator(name, Direction::Response).unwrap();
            if let Some(example) = schema.get("example") {
                assert_eq!(violations(&validator, example), [""; 0], "{file} {name} {example}");
                seen += 1;
            }
        }
        let search = document.validator("QosProfileDeviceRequest", Direction::Request).unwrap();
        let examples = "/paths/~1retrieve-qos-profiles/post/requestBody/content\
                        /application~1json/examples";
        for example in document.content.pointer(examples).unwrap().as_object().unwrap().values() {
            assert_eq!(violations(&search, &example["value"]), [""; 0], "{file}");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn queries_are_validated() {
    let full = json!({
        "device": {
            "phoneNumber": "+441632960123",
            "networkAccessIdentifier": "sensor-17@iot.example.com",
            "ipv4Address": {
                "publicAddress": "203.0.113.9", "privateAddress": "10.0.0.1", "publicPort": 40123,
            },
            "ipv6Address": "2001:db8:1::1",
        },
        "name": "QOS_E",
        "status": "ACTIVE",
    });
    for file in APART {
        let invalid = [
            ("/device", json!({})),
            ("/device/phoneNumber", json!("441632960123")),
            ("/device/ipv4Address", json!({ "publicAddress": "203.0.113.9" })),
            ("/device/ipv4Address/publicPort", json!(65_536)),
            ("/name", json!("ab")),
            ("/name", json!("a b")),
            ("/name", json!("x".repeat(257))),
            ("/status", json!("active")),
        ];
        let required = ["/device/ipv4Address/publicAddress"];
        check_rules(file, "QosProfileDeviceRequest", &full, &required, &invalid);
    }
}

#[test]
fn profiles_are_validated() {
    let rate = json!({ "value": 0, "unit": "bps" });
    let time = json!({ "value": 1, "unit": "Days" });
    for (file, classes, countries) in all()
        .zip([false, false, false, true, true, true])
        .zip([false, false, false, false, true, true])
        .map(|((file, classes), countries)| (file, classes, countries))
    {
        let mut full = json!({
            "name": "QOS_E", "description": "For people", "status": "DEPRECATED",
            "targetMinUpstreamRate": rate, "maxUpstreamRate": rate, "maxUpstreamBurstRate": rate,
            "targetMinDownstreamRate": rate, "maxDownstreamRate": rate,
            "maxDownstreamBurstRate": rate, "minDuration": time, "maxDuration": time,
            "priority": 100, "packetDelayBudget": time, "jitter": time, "packetErrorLossRate": 10,
        });
        let mut invalid = vec![
            ("/name", json!("ab")),
            ("/status", json!("GONE")),
            ("/priority", json!(0)),
            ("/priority", json!(101)),
            ("/packetErrorLossRate", json!(0)),
            ("/packetErrorLossRate", json!(11)),
            ("/maxUpstreamRate", json!({ "value": 1025, "unit": "bps" })),
            ("/maxUpstreamRate", json!({ "value": -1, "unit": "bps" })),
            ("/maxUpstreamRate", json!({ "value": 1, "unit": "mbps" })),
            ("/jitter", json!({ "value": 0, "unit": "Days" })),
            ("/jitter", json!({ "value": 2_147_483_648_u32, "unit": "Days" })),
            ("/jitter", json!({ "value": 1, "unit": "Weeks" })),
        ];
        let mut required = vec!["/name", "/status"];
        if classes {
            full["l4sQueueType"] = json!("mixed-queue");
            full["serviceClass"] = json!("standard");
            invalid
                .extend([("/l4sQueueType", json!("l4s")), ("/serviceClass", json!("best_effort"))]);
        }
        if countries {
            full["countryAvailability"] = json!([{ "countryName": "DE", "networks": ["26299"] }]);
            required.push("/countryAvailability/0/countryName");
            invalid.push(("/countryAvailability/0/countryName", json!("de")));
        }
        check_rules(file, "QosProfile", &full, &required, &invalid);
    }
}

#[test]
fn bounds_of_1_2() {
    let file = APART[3];
    let is_valid =
        |component: &str, body: &Value| violations(&validator(file, component), body).is_empty();
    let described =
        |text: &str| json!({ "name": "QOS_E", "status": "ACTIVE", "description": text });
    assert!(is_valid("QosProfile", &described(&"x".repeat(1024))));
    for text in ["bell\u{7}", &"x".repeat(1025)] {
        assert!(!is_valid("QosProfile", &described(text)));
    }
    let profiles = |count| Value::from(vec![json!({ "name": "QOS_E", "status": "ACTIVE" }); count]);
    assert!(is_valid("QosProfiles", &profiles(100)) && !is_valid("QosProfiles", &profiles(101)));
    let port = |port: u32| {
        json!({
            "device": { "ipv4Address": { "publicAddress": "203.0.113.9", "publicPort": port } },
        })
    };
    let search = "QosProfileDeviceRequest";
    assert!(is_valid(search, &port(1)) && !is_valid(search, &port(0)));
}
