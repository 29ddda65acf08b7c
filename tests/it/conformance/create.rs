//! `createSession`.

use super::{bench::is_session, *};
use crate::world::name_sink;

const OPERATION: &str = "createSession";

fn sound<'b>(bench: &'b Bench, release: &'static str) -> Ask<'b> {
    let number = bench.number();
    bench.create(release, &wish(release, &number))
}

fn changed(bench: &Bench, release: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = wish(release, &bench.number());
    change(&mut body);
    body
}

fn refused(
    bench: &Bench,
    release: &'static str,
    (status, codes): (u16, &[&str]),
    change: impl FnOnce(&mut Value),
) -> Outcome {
    bench.create(release, &changed(bench, release, change)).expect(status, codes)
}

pub(super) fn all() -> Vec<Scenario> {
    let mut all = granted();
    all.extend(devices());
    all.extend(bodies());
    all.extend(servers());
    all.extend(rest());
    let ids = [
        "401.1_no_authorization_header",
        "401.2_expired_access_token",
        "401.3_invalid_access_token",
        "403.1_missing_access_token_scope",
        "400.10_invalid_x-correlator",
        "429.1_too_many_requests",
    ];
    all.extend(common(OPERATION, ids, sound));
    all
}

fn granted() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "01_generic_success_scenario", |bench, release| {
            let body = changed(bench, release, |body| {
                body[field(release, "devicePorts")] = json!({ "ports": [5060] });
                let ranges = json!({ "ranges": [{ "from": 5010, "to": 5020 }] });
                body[field(release, "applicationServerPorts")] = ranges;
                if is_new(release) {
                    body["sink"] = "https://app.example.com/cb".into();
                }
            });
            is_session(release, &body, &bench.create(release, &body).json(201)?)
        }),
        scenario(OPERATION, "02_1_sinkcredential_provided", |bench, release| {
            let body = changed(bench, release, |body| {
                name_sink(release, "https://app.example.com/cb", body);
            });
            let told = bench.create(release, &body).good(201)?;
            must(!told::shows_token(&told.body), "the credential is echoed")
        }),
        scenario(OPERATION, "02_2_event_received", told::of_create),
        scenario(OPERATION, "03_3_legged_missing_device", |bench, release| {
            from_1_0(release)?;
            let token = bench.users_token(&bench.number());
            let body = changed(bench, release, |body| {
                body.as_object_mut().unwrap().remove("device");
            });
            let told = bench.create(release, &body).by(Some(token)).json(201)?;
            must(told.get("device").is_none(), "a device is told")
        }),
        scenario(OPERATION, "04_1_application_server_subnets_provided", |bench, release| {
            let address = field(release, "ipv4Address");
            let server = json!({ address: "203.0.113.0/24" });
            let name = field(release, "applicationServer");
            let body = changed(bench, release, |body| body[name] = server.clone());
            let told = bench.create(release, &body).json(201)?;
            must(told[name] == server, &told.to_string())
        }),
        scenario(OPERATION, "04_2_application_server_list_provided", |bench, release| {
            only_1_2(release)?;
            let server = json!({ "ipAddresses": ["203.0.113.5"] });
            let body = changed(bench, release, |body| body["applicationServer"] = server.clone());
            let told = bench.create(release, &body).json(201)?;
            must(told["applicationServer"] == server, &told.to_string())
        }),
    ]
}

fn devices() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "C01.01_device_empty", |bench, release| {
            refused(bench, release, INVALID, |body| body[field(release, "device")] = json!({}))
        }),
        scenario(OPERATION, "C01.02_device_identifiers_not_schema_compliant", |bench, release| {
            let device = field(release, "device");
            let mut odd = odd_devices(release).into_iter();
            odd.try_for_each(|odd| refused(bench, release, INVALID, |body| body[device] = odd))
        }),
        scenario(OPERATION, "C01.04_unnecessary_device", |bench, release| {
            from_1_0(release)?;
            let number = bench.number();
            let token = bench.users_token(&number);
            let ask = bench.create(release, &wish(release, &number)).by(Some(token));
            ask.expect(422, &["UNNECESSARY_IDENTIFIER"])
        }),
        scenario(OPERATION, "C01.05_missing_device", |bench, release| {
            refused(bench, release, (422, &["MISSING_IDENTIFIER"]), |body| {
                body.as_object_mut().unwrap().remove(field(release, "device"));
            })
        }),
        scenario(OPERATION, "C01.06_unsupported_device", |bench, release| {
            refused(bench, release, (422, &["UNSUPPORTED_IDENTIFIER"]), |body| {
                body[field(release, "device")] = unsupported_device(release);
            })
        }),
    ]
}

fn bodies() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "400.1_schema_not_compliant", |bench, release| {
            bench.create(release, &json!([1])).expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.2_no_request_body", |bench, release| {
            bench.ask(release, "POST", "/sessions").expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.3_empty_request_body", |bench, release| {
            bench.create(release, &json!({})).expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.4_empty_property", |bench, release| {
            for name in ["applicationServer", "devicePorts", "applicationServerPorts"] {
                refused(bench, release, INVALID, |body| body[field(release, name)] = json!({}))?;
            }
            if !is_new(release) {
                return Ok(());
            }
            refused(bench, release, INVALID, |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({});
            })
        }),
        scenario(OPERATION, "400.5_out_of_range_port", |bench, release| {
            let told = (400, &["OUT_OF_RANGE", "INVALID_ARGUMENT"] as &[&str]);
            for ports in ["devicePorts", "applicationServerPorts"] {
                for odd in [
                    json!({ "ports": [65_536] }),
                    json!({ "ranges": [{ "from": -1, "to": 9 }] }),
                    json!({ "ranges": [{ "from": 9, "to": 65_536 }] }),
                ] {
                    refused(bench, release, told, |body| body[field(release, ports)] = odd)?;
                }
            }
            if release == R0_8 {
                return Ok(());
            }
            let device = json!({ "publicAddress": "192.0.2.7", "publicPort": 65_536 });
            refused(bench, release, told, |body| body["device"] = json!({ "ipv4Address": device }))
        }),
        scenario(OPERATION, "400.6_unsupported_sink_credential_type", |bench, release| {
            from_0_11(release)?;
            let codes: &[&str] =
                if release == R1_2 { &["INVALID_ARGUMENT"] } else { &["INVALID_CREDENTIAL"] };
            for kind in ["PLAIN", "REFRESHTOKEN"] {
                refused(bench, release, (400, codes), |body| {
                    body["sink"] = "https://app.example.com/cb".into();
                    body["sinkCredential"] = json!({ "credentialType": kind });
                })?;
            }
            Ok(())
        }),
        scenario(OPERATION, "400.7_sink_credential_invalid_token", |bench, release| {
            from_0_11(release)?;
            refused(bench, release, (400, &["INVALID_TOKEN", "INVALID_ARGUMENT"]), |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({
                    "credentialType": "ACCESSTOKEN", "accessToken": "x",
                    "accessTokenExpiresUtc": "2099-01-01T00:00:00Z", "accessTokenType": "odd",
                });
            })
        }),
        scenario(OPERATION, "400.8_non_existent_qos_profile", |bench, release| {
            let told = (400, &["INVALID_ARGUMENT"] as &[&str]);
            refused(bench, release, told, |body| body[field(release, "qosProfile")] = "NONE".into())
        }),
        scenario(OPERATION, "400.9_invalid_duration", |bench, release| {
            let code = if release == R0_10 { "OUT_OF_RANGE" } else { "INVALID_ARGUMENT" };
            refused(bench, release, (400, &[code]), |body| body["duration"] = 86_401.into())
        }),
    ]
}

fn servers() -> Vec<Scenario> {
    let list = |id, list: Value| {
        scenario(OPERATION, id, move |bench, release| {
            only_1_2(release)?;
            let list = list.clone();
            refused(bench, release, INVALID, |body| {
                body["applicationServer"] = json!({ "ipAddresses": list });
            })
        })
    };
    let many: Vec<String> = (1..=17).map(|n| format!("203.0.113.{n}")).collect();
    vec![
        scenario(OPERATION, "400.11_invalid_application_server", |bench, release| {
            only_1_2(release)?;
            refused(bench, release, INVALID, |body| {
                body["applicationServer"] =
                    json!({ "ipv4Address": "203.0.113.5", "ipAddresses": ["203.0.113.5"] });
            })
        }),
        list("400.12_empty_application_server_list", json!([])),
        list("400.13_application_server_list_is_too_large", json!(many)),
        list(
            "400.14_duplicate_values_in_application_server_list",
            json!(["203.0.113.5", "203.0.113.5"]),
        ),
        list("400.15_invalid_values_in_application_server_list", json!(["203.0.113.300"])),
        list("400.16_subnet_in_application_server_list", json!(["203.0.113.0/24"])),
    ]
}

fn rest() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "409.1_session_conflict", |bench, release| {
            let (number, _) = bench.session(release);
            bench.create(release, &wish(release, &number)).expect(409, &["CONFLICT"])
        }),
        scenario(OPERATION, "422.1_session_qos_profile_not_applicable", |bench, release| {
            let code: &[&str] = &["QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"];
            refused(bench, release, (422, code), |body| {
                body[field(release, "qosProfile")] = "OFF".into();
            })
        }),
        scenario(OPERATION, "422.2_private_key_jwt_not_configured", |bench, release| {
            only_1_2(release)?;
            refused(bench, release, (422, &["PRIVATE_KEY_JWT_NOT_CONFIGURED"]), |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({ "credentialType": "PRIVATE_KEY_JWT" });
            })
        }),
    ]
}
