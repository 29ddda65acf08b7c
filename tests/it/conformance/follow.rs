//! `getSession`, `deleteSession` and `extendQosSessionDuration`.

use super::*;

const GET: &str = "getSession";
const DELETE: &str = "deleteSession";
const EXTEND: &str = "extendQosSessionDuration";
const NOWHERE: &str = "/sessions/00000000-0000-4000-8000-000000000000";

fn has(release: &str, operation: &str) -> Outcome {
    if operation == EXTEND && release == R0_8 {
        return Err(Other::NotThere("from 0.10 on"));
    }
    Ok(())
}

fn about<'b>(
    bench: &'b Bench,
    release: &'static str,
    operation: &'static str,
    path: &str,
) -> Ask<'b> {
    match operation {
        GET => bench.ask(release, "GET", path),
        DELETE => bench.ask(release, "DELETE", path),
        _ => {
            let more = json!({ "requestedAdditionalDuration": 60 });
            bench.ask(release, "POST", &format!("{path}/extend")).with(&more)
        }
    }
}

pub(super) fn all() -> Vec<Scenario> {
    let mut all = get();
    all.extend(shared(GET));
    all.extend(common(GET, ids("400.2_invalid_x-correlator"), |bench, release| {
        about(bench, release, GET, NOWHERE)
    }));
    all.extend(delete());
    all.extend(shared(DELETE));
    all.extend(common(DELETE, ids("400.2_invalid_x-correlator"), |bench, release| {
        about(bench, release, DELETE, NOWHERE)
    }));
    all.extend(extend());
    all.extend(shared(EXTEND));
    let of_extend = common(EXTEND, ids("400.5_invalid_x-correlator"), |bench, release| {
        about(bench, release, EXTEND, NOWHERE)
    });
    all.extend(of_extend.into_iter().map(|Scenario { operation, id, tries }| {
        scenario(operation, id, move |bench, release| {
            has(release, EXTEND)?;
            tries(bench, release)
        })
    }));
    all
}

fn ids(correlator: &'static str) -> [&'static str; 6] {
    [
        "401.1_no_authorization_header",
        "401.2_expired_access_token",
        "401.3_invalid_access_token",
        "403.1_missing_access_token_scope",
        correlator,
        "429.1_too_many_requests",
    ]
}

fn shared(operation: &'static str) -> Vec<Scenario> {
    let invalid =
        if operation == EXTEND { "400.2_invalid_session_id" } else { "400.1_invalid_session_id" };
    vec![
        scenario(operation, invalid, move |bench, release| {
            has(release, operation)?;
            about(bench, release, operation, "/sessions/4711").expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(operation, "403.2_session_token_mismatch", move |bench, release| {
            has(release, operation)?;
            let (_, path) = bench.session(release);
            let ask = about(bench, release, operation, &path).of_client("other");
            ask.expect(403, &["PERMISSION_DENIED"])
        }),
        scenario(operation, "404.1_not_found", move |bench, release| {
            has(release, operation)?;
            about(bench, release, operation, NOWHERE).expect(404, &["NOT_FOUND"])
        }),
    ]
}

fn get() -> Vec<Scenario> {
    vec![
        scenario(GET, "01_get_existing_session", |bench, release| {
            let (_, path) = bench.session(release);
            let told = bench.ask(release, "GET", &path).send();
            must(told.status == 200 && path.ends_with(&id_of(&told)), &told.body)
        }),
        scenario(GET, "02_get_recent_unavailable", |bench, release| {
            let (number, path) = bench.session(release);
            bench.terminate(&number);
            let told = bench.ask(release, "GET", &path).send();
            must(told.status == 200, &format!("got {}", told.status))?;
            let body = told.json();
            match release {
                // It has no word for it but the session's end.
                R0_8 => Ok(()),
                R0_10 => must(body["qosStatus"] == "UNAVAILABLE", &told.body),
                _ => must(
                    body["qosStatus"] == "UNAVAILABLE"
                        && body["statusInfo"] == "NETWORK_TERMINATED",
                    &told.body,
                ),
            }
        }),
    ]
}

fn delete() -> Vec<Scenario> {
    vec![scenario(DELETE, "01_delete_existing_qod_session", |bench, release| {
        let (number, path) = bench.session(release);
        let told = bench.ask(release, "DELETE", &path).send();
        must(told.status == 204 && told.body.is_empty(), &format!("got {}", told.status))?;
        let gone = bench.ask(release, "GET", &path).send();
        must(gone.status == 404, "it is there still")?;
        must(!bench.world.books(OPERATOR).iter().any(|line| line.contains(&number)), "an orphan")
    })]
}

fn extend() -> Vec<Scenario> {
    let with = |bench: &Bench, release, body: &Value| {
        has(release, EXTEND)?;
        let (_, path) = bench.session(release);
        let ask = bench.ask(release, "POST", &format!("{path}/extend"));
        ask.with(body).expect(400, &["INVALID_ARGUMENT"])
    };
    vec![
        scenario(EXTEND, "01_generic_success_scenario", |bench, release| {
            has(release, EXTEND)?;
            let (_, path) = bench.session(release);
            let told = about(bench, release, EXTEND, &path).send();
            must(told.status == 200 && told.json()["duration"] == 660, &told.body)
        }),
        scenario(EXTEND, "02_exceed_max_duration", |bench, release| {
            has(release, EXTEND)?;
            if release == R0_10 {
                return Err(Other::NotThere("from 0.11 on"));
            }
            let (_, path) = bench.session(release);
            let more = json!({ "requestedAdditionalDuration": 1_000_000 });
            let told = bench.ask(release, "POST", &format!("{path}/extend")).with(&more).send();
            must(told.status == 200 && told.json()["duration"] == 86_400, &told.body)
        }),
        scenario(EXTEND, "400.1_schema_not_compliant", move |bench, release| {
            with(bench, release, &json!({ "requestedAdditionalDuration": "long" }))
        }),
        scenario(EXTEND, "400.3_no_request_body", |bench, release| {
            has(release, EXTEND)?;
            let (_, path) = bench.session(release);
            let ask = bench.ask(release, "POST", &format!("{path}/extend"));
            ask.expect(400, &["INVALID_ARGUMENT"])
        }),
        scenario(EXTEND, "400.4_empty_request_body", move |bench, release| {
            with(bench, release, &json!({}))
        }),
        scenario(EXTEND, "409.1_session_not_available", |bench, release| {
            has(release, EXTEND)?;
            let (number, path) = bench.session(release);
            bench.terminate(&number);
            bench.ask(release, "GET", &path).send();
            let ask = about(bench, release, EXTEND, &path);
            ask.expect(409, &["QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"])
        }),
    ]
}
