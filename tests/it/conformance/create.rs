//! `createSession`.

use super::*;

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

const INVALID: (u16, &[&str]) = (400, &["INVALID_ARGUMENT"]);

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
            sound(bench, release).expect(201, &[])
        }),
        scenario(OPERATION, "02_1_sinkcredential_provided", |bench, release| {
            let body = changed(bench, release, |body| match release {
                R0_8 => {
                    body["notificationUri"] = "https://app.example.com/cb".into();
                    body["notificationAuthToken"] = "c8974e592c2fa383d4a3960714".into();
                }
                R0_10 => {
                    body["webhook"] = json!({
                        "notificationUrl": "https://app.example.com/cb",
                        "notificationAuthToken": "c8974e592c2fa383d4a3960714",
                    });
                }
                _ => {
                    body["sink"] = "https://app.example.com/cb".into();
                    body["sinkCredential"] = json!({
                        "credentialType": "ACCESSTOKEN",
                        "accessToken": "c8974e592c2fa383d4a3960714",
                        "accessTokenExpiresUtc": "2099-01-01T00:00:00Z",
                        "accessTokenType": "bearer",
                    });
                }
            });
            let told = bench.create(release, &body).send();
            must(told.status == 201, &format!("got {}", told.status))?;
            must(!told.body.contains("c8974e592c2f"), "the credential is echoed")
        }),
        scenario(OPERATION, "03_3_legged_missing_device", |bench, release| {
            from_1_0(release)?;
            let token = bench.users_token(&bench.number());
            let body = changed(bench, release, |body| {
                body.as_object_mut().unwrap().remove("device");
            });
            let told = bench.create(release, &body).by(Some(token)).send();
            must(told.status == 201, &format!("got {}", told.status))?;
            must(told.json().get("device").is_none(), "a device is told")
        }),
        scenario(OPERATION, "04_1_application_server_subnets_provided", |bench, release| {
            let address = field(release, "ipv4Address");
            let server = json!({ address: "203.0.113.0/24" });
            let name = field(release, "applicationServer");
            let body = changed(bench, release, |body| body[name] = server.clone());
            let told = bench.create(release, &body).send();
            must(told.status == 201 && told.json()[name] == server, &told.body)
        }),
        scenario(OPERATION, "04_2_application_server_list_provided", |bench, release| {
            only_1_2(release)?;
            let server = json!({ "ipAddresses": ["203.0.113.5"] });
            let body = changed(bench, release, |body| body["applicationServer"] = server.clone());
            let told = bench.create(release, &body).send();
            must(told.status == 201 && told.json()["applicationServer"] == server, &told.body)
        }),
    ]
}

fn devices() -> Vec<Scenario> {
    vec![
        scenario(OPERATION, "C01.01_device_empty", |bench, release| {
            refused(bench, release, INVALID, |body| body[field(release, "device")] = json!({}))
        }),
        scenario(OPERATION, "C01.02_device_identifiers_not_schema_compliant", |bench, release| {
            let (device, phone) = (field(release, "device"), field(release, "phoneNumber"));
            for odd in [json!({ phone: "foo" }), json!({ phone: 7 }), json!({ "odd": "x" })] {
                refused(bench, release, INVALID, |body| body[device] = odd)?;
            }
            Ok(())
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
            let device = match release {
                R0_8 => json!({ "ipv4addr": "192.0.2.7" }),
                _ => json!({ "ipv4Address": { "publicAddress": "192.0.2.7", "publicPort": 5060 } }),
            };
            refused(bench, release, (422, &["UNSUPPORTED_IDENTIFIER"]), |body| {
                body[field(release, "device")] = device;
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
            for name in ["device", "applicationServer", "applicationServerPorts"] {
                refused(bench, release, INVALID, |body| body[field(release, name)] = json!({}))?;
            }
            Ok(())
        }),
        scenario(OPERATION, "400.5_out_of_range_port", |bench, release| {
            let ports = field(release, "applicationServerPorts");
            let told = (400, &["OUT_OF_RANGE", "INVALID_ARGUMENT"] as &[&str]);
            refused(bench, release, told, |body| body[ports] = json!({ "ports": [65_536] }))?;
            refused(bench, release, told, |body| {
                body[ports] = json!({ "ranges": [{ "from": 5020, "to": 5010 }] });
            })
        }),
        scenario(OPERATION, "400.6_unsupported_sink_credential_type", |bench, release| {
            from_0_11(release)?;
            let codes: &[&str] =
                if release == R1_2 { &["INVALID_ARGUMENT"] } else { &["INVALID_CREDENTIAL"] };
            refused(bench, release, (400, codes), |body| {
                body["sink"] = "https://app.example.com/cb".into();
                body["sinkCredential"] = json!({ "credentialType": "PLAIN" });
            })
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
            let told =
                (400, &["INVALID_ARGUMENT", "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"] as &[&str]);
            refused(bench, release, told, |body| body["duration"] = 86_401.into())?;
            refused(bench, release, told, |body| body["duration"] = 0.into())
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
            let address = field(release, "ipv4Address");
            refused(bench, release, INVALID, |body| {
                body[field(release, "applicationServer")] = json!({ address: "not-an-ip" });
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
