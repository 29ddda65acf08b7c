//! `createSession`.

use super::{bench::check_session, *};
use crate::world::set_sink;

const OPERATION: &str = "createSession";

fn valid_request<'b>(bench: &'b Bench, release: &'static str) -> TestRequest<'b> {
    let number = bench.number();
    bench.create(release, &create_request(release, &number))
}

fn body_with(bench: &Bench, release: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = create_request(release, &bench.number());
    change(&mut body);
    body
}

fn expect_rejected(
    bench: &Bench,
    release: &'static str,
    (status, codes): (u16, &[&str]),
    change: impl FnOnce(&mut Value),
) -> ScenarioResult {
    bench.create(release, &body_with(bench, release, change)).expect_error(status, codes)
}

pub(super) fn all() -> Vec<Scenario> {
    let mut all = accepted();
    all.extend(devices());
    all.extend(bodies());
    all.extend(servers());
    all.extend(conflicts_and_conditions());
    let ids = [
        "401.1_no_authorization_header",
        "401.2_expired_access_token",
        "401.3_invalid_access_token",
        "403.1_missing_access_token_scope",
        "400.10_invalid_x-correlator",
        "429.1_too_many_requests",
    ];
    all.extend(common_scenarios(OPERATION, ids, valid_request));
    all
}

fn accepted() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "01_generic_success_scenario", |bench, release| {
            let body = body_with(bench, release, |body| {
                body[field(release, "devicePorts")] = json!({ "ports": [5060] });
                let ranges = json!({ "ranges": [{ "from": 5010, "to": 5020 }] });
                body[field(release, "applicationServerPorts")] = ranges;
                if is_1_x(release) {
                    body["sink"] = "https://app.example.com/cb".into();
                }
            });
            check_session(release, &body, &bench.create(release, &body).expect_json(201)?)
        }),
        scenario(OPERATION, "02_1_sinkcredential_provided", |bench, release| {
            let body = body_with(bench, release, |body| {
                set_sink(release, "https://app.example.com/cb", body);
            });
            let response = bench.create(release, &body).expect_success(201)?;
            ensure(
                !notifications::contains_sink_token(&response.body),
                "the response contains the credential",
            )
        }),
        scenario(OPERATION, "02_2_event_received", notifications::event_after_create),
        scenario(OPERATION, "03_3_legged_missing_device", |bench, release| {
            from_1_0(release)?;
            let token = bench.user_token(&bench.number());
            let body = body_with(bench, release, |body| {
                body.as_object_mut().unwrap().remove("device");
            });
            let response = bench.create(release, &body).with_token(Some(token)).expect_json(201)?;
            ensure(response.get("device").is_none(), "the response contains a device")
        }),
        scenario(OPERATION, "04_1_application_server_subnets_provided", |bench, release| {
            let address = field(release, "ipv4Address");
            let server = json!({ address: "203.0.113.0/24" });
            let name = field(release, "applicationServer");
            let body = body_with(bench, release, |body| body[name] = server.clone());
            let response = bench.create(release, &body).expect_json(201)?;
            ensure(response[name] == server, &response.to_string())
        }),
        scenario(OPERATION, "04_2_application_server_list_provided", |bench, release| {
            only_1_2(release)?;
            let server = json!({ "ipAddresses": ["203.0.113.5"] });
            let body = body_with(bench, release, |body| body["applicationServer"] = server.clone());
            let response = bench.create(release, &body).expect_json(201)?;
            ensure(response["applicationServer"] == server, &response.to_string())
        }),
    ]
}

fn devices() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "C01.01_device_empty", |bench, release| {
            expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                body[field(release, "device")] = json!({});
            })
        }),
        scenario(OPERATION, "C01.02_device_identifiers_not_schema_compliant", |bench, release| {
            let device = field(release, "device");
            let mut devices = invalid_devices(release).into_iter();
            devices.try_for_each(|invalid| {
                expect_rejected(bench, release, INVALID_ARGUMENT, |body| body[device] = invalid)
            })
        }),
        scenario(OPERATION, "C01.04_unnecessary_device", |bench, release| {
            from_1_0(release)?;
            let number = bench.number();
            let token = bench.user_token(&number);
            let request =
                bench.create(release, &create_request(release, &number)).with_token(Some(token));
            request.expect_error(422, &["UNNECESSARY_IDENTIFIER"])
        }),
        scenario(OPERATION, "C01.05_missing_device", |bench, release| {
            expect_rejected(bench, release, (422, &["MISSING_IDENTIFIER"]), |body| {
                body.as_object_mut().unwrap().remove(field(release, "device"));
            })
        }),
        scenario(OPERATION, "C01.06_unsupported_device", |bench, release| {
            expect_rejected(bench, release, (422, &["UNSUPPORTED_IDENTIFIER"]), |body| {
                body[field(release, "device")] = unsupported_device(release);
            })
        }),
    ]
}

fn bodies() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "400.1_schema_not_compliant", |bench, release| {
            bench.create(release, &json!([1])).expect_error(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.2_no_request_body", |bench, release| {
            bench.request(release, "POST", "/sessions").expect_error(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.3_empty_request_body", |bench, release| {
            bench.create(release, &json!({})).expect_error(400, &["INVALID_ARGUMENT"])
        }),
        scenario(OPERATION, "400.4_empty_property", |bench, release| {
            for name in ["applicationServer", "devicePorts", "applicationServerPorts"] {
                expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                    body[field(release, name)] = json!({});
                })?;
            }
            if !is_1_x(release) {
                return Ok(());
            }
            expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({});
            })
        }),
        out_of_range_port(),
        scenario(OPERATION, "400.6_unsupported_sink_credential_type", |bench, release| {
            from_0_11(release)?;
            let codes: &[&str] =
                if release == R1_2 { &["INVALID_ARGUMENT"] } else { &["INVALID_CREDENTIAL"] };
            for kind in ["PLAIN", "REFRESHTOKEN"] {
                expect_rejected(bench, release, (400, codes), |body| {
                    body["sink"] = "https://app.example.com/cb".into();
                    body["sinkCredential"] = json!({ "credentialType": kind });
                })?;
            }
            Ok(())
        }),
        scenario(OPERATION, "400.7_sink_credential_invalid_token", |bench, release| {
            from_0_11(release)?;
            expect_rejected(bench, release, (400, &["INVALID_TOKEN", "INVALID_ARGUMENT"]), |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({
                    "credentialType": "ACCESSTOKEN", "accessToken": "x",
                    "accessTokenExpiresUtc": "2099-01-01T00:00:00Z", "accessTokenType": "odd",
                });
            })
        }),
        scenario(OPERATION, "400.8_non_existent_qos_profile", |bench, release| {
            let error = (400, &["INVALID_ARGUMENT"] as &[&str]);
            expect_rejected(bench, release, error, |body| {
                body[field(release, "qosProfile")] = "NONE".into();
            })
        }),
        scenario(OPERATION, "400.9_invalid_duration", |bench, release| {
            let code = if release == R0_10 { "OUT_OF_RANGE" } else { "INVALID_ARGUMENT" };
            expect_rejected(bench, release, (400, &[code]), |body| body["duration"] = 86_401.into())
        }),
    ]
}

fn out_of_range_port() -> Scenario {
    scenario(OPERATION, "400.5_out_of_range_port", |bench, release| {
        let error = (400, &["OUT_OF_RANGE", "INVALID_ARGUMENT"] as &[&str]);
        for ports in ["devicePorts", "applicationServerPorts"] {
            for invalid in [
                json!({ "ports": [65_536] }),
                json!({ "ranges": [{ "from": -1, "to": 9 }] }),
                json!({ "ranges": [{ "from": 9, "to": 65_536 }] }),
            ] {
                expect_rejected(bench, release, error, |body| {
                    body[field(release, ports)] = invalid;
                })?;
            }
        }
        if release == R0_8 {
            return Ok(());
        }
        let device = json!({ "publicAddress": "192.0.2.7", "publicPort": 65_536 });
        expect_rejected(bench, release, error, |body| {
            body["device"] = json!({ "ipv4Address": device });
        })
    })
}

fn servers() -> Vec<Scenario> {
    let list = |id, list: Value| {
        scenario(OPERATION, id, move |bench, release| {
            only_1_2(release)?;
            let list = list.clone();
            expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
                body["applicationServer"] = json!({ "ipAddresses": list });
            })
        })
    };
    let many: Vec<String> = (1..=17).map(|n| format!("203.0.113.{n}")).collect();
    vec![
        scenario(OPERATION, "400.11_invalid_application_server", |bench, release| {
            only_1_2(release)?;
            expect_rejected(bench, release, INVALID_ARGUMENT, |body| {
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

fn conflicts_and_conditions() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "409.1_session_conflict", |bench, release| {
            let (number, _) = bench.session(release);
            bench
                .create(release, &create_request(release, &number))
                .expect_error(409, &["CONFLICT"])
        }),
        scenario(OPERATION, "422.1_session_qos_profile_not_applicable", |bench, release| {
            let code: &[&str] = &["QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"];
            expect_rejected(bench, release, (422, code), |body| {
                body[field(release, "qosProfile")] = "OFF".into();
            })
        }),
        scenario(OPERATION, "422.2_private_key_jwt_not_configured", |bench, release| {
            only_1_2(release)?;
            expect_rejected(bench, release, (422, &["PRIVATE_KEY_JWT_NOT_CONFIGURED"]), |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({ "credentialType": "PRIVATE_KEY_JWT" });
            })
        }),
    ]
}
