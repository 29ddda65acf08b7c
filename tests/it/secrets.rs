//! Secrets and phone numbers are not disclosed in failures: not in logs and metrics, not in responses to
//! other clients, not on disk.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::json;

use crate::{
    http::{self, HttpResponse},
    operators::{Fixture, FixtureResponse, answer},
    world::{Keys, SCOPE, Setup, World, claims, create_request, number_at, session_id, wait_for},
};

const BEARER: &str = "bearer/of~the+operator";
const API_KEY: &str = "api+key/of~the+operator";
const CLIENT_SECRET: &str = "secret+of/the~client";
const GRANTED: &str = "granted+token/of~the+operator";
const SEALING: &str = "sealing+key/of~the+ledger+0123456789";
const MOCK: &str = "mock+token/of~the+sandbox";
const SINK_TOKEN: &str = "token+of/the~sink+0123456789";
const OWN: [&str; 6] = [BEARER, API_KEY, CLIENT_SECRET, GRANTED, SEALING, MOCK];
const USER: &str = "somebody-private";

// Numbers of the operators `odd`, `granting` and `down`, and of a simulated one.
const NUMBERS: [&str; 4] =
    ["+49207778889991", "+49217778889992", "+49227778889993", "+4910377788899"];

/// A world with a simulated operator and three that fail.
struct FailingOperators {
    world: World,
    _odd: Fixture,
    _granting: Fixture,
}

/// An operator with a different response each time, which always includes the request.
fn echo(address: SocketAddr) -> Fixture {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    Fixture::start(address, |request| {
        let reply = json!({ "status": 400, "code": "X", "message": request }).to_string();
        match TURN.fetch_add(1, Ordering::Relaxed) % 7 {
            0 => answer(401, &reply).into(),
            1 => answer(400, &reply).into(),
            2 => answer(500, &reply).into(),
            3 => answer(201, &reply).into(),
            4 => answer(201, request).into(),
            5 => FixtureResponse::Bytes(request.as_bytes().to_vec()),
            _ => FixtureResponse::Close,
        }
    })
}

/// A token endpoint that rejects every other request and includes the request in its response.
fn token_endpoint(address: SocketAddr) -> Fixture {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    Fixture::start(address, |request| {
        if !request.starts_with("POST /token") {
            return answer(401, &json!({ "code": "X", "message": request }).to_string()).into();
        }
        let token = json!({ "access_token": GRANTED, "token_type": "Bearer", "expires_in": 60 });
        match TURN.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => answer(200, &token.to_string()).into(),
            _ => answer(401, &json!({ "error": "no", "error_description": request }).to_string())
                .into(),
        }
    })
}

fn unused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl FailingOperators {
    fn new() -> Self {
        let (odd, granting, down) = (unused(), unused(), unused());
        let entry = |address: SocketAddr, shows: &str| {
            format!(
                "    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n    \
                 timeout: 1s\n    secret_headers: {{ x-api-key: {{ value_file: api.key }} }}\n    {shows}\n"
            )
        };
        let oauth2 = format!(
            "oauth2: {{ token_url: \"http://{granting}/token\", client_id: me, \
             client_secret_file: client.secret, method: client_secret_post }}"
        );
        let fixed = "bearer_token_file: bearer.secret";
        let operators = [
            ("odd", entry(odd, fixed)),
            ("granting", entry(granting, &oauth2)),
            ("down", entry(down, fixed)),
        ];
        let mut world = World::unstarted(&Setup {
            simulated: &["camara-0.10.1", "camara-1.1.0"],
            operators: &operators,
            ..Setup::default()
        });
        let change = |name: &str, from: &str, to: &str| {
            let file = world.folder.join(name);
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains(from), "{name}: {from}");
            fs::write(file, text.replace(from, to)).unwrap();
        };
        change(
            "gateway.yaml",
            "{ directory: ledger }",
            "{ directory: ledger, key_file: sealing.key }",
        );
        change("clients.yaml", "mock_sandbox_access_token", MOCK);
        for (name, text) in [
            ("bearer.secret", BEARER),
            ("api.key", API_KEY),
            ("client.secret", CLIENT_SECRET),
            ("sealing.key", SEALING),
        ] {
            fs::write(world.folder.join(name), text).unwrap();
        }
        let folder = world.folder.display().to_string();
        let mut serve = world.command(&["serve", "--policies", &folder]);
        // All log levels and all admin endpoints.
        let child = serve.env("RUST_LOG", "trace").spawn().unwrap();
        world.add_process(child);
        world.wait_ready();
        Self { world, _odd: echo(odd), _granting: token_endpoint(granting) }
    }

    fn request(
        &self,
        token: &str,
        dialect: &str,
        (method, path): (&str, &str),
        body: &str,
    ) -> HttpResponse {
        self.world.try_request_with_token(token, dialect, (method, path), &[], body).unwrap()
    }
}

/// A text and its encoded forms: base64 at each offset, and percent-encoded.
fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    for before in 0..3 {
        let padded = [&vec![b'x'; before], text.as_bytes()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded);
            // The first and last characters also encode bits of the adjacent bytes.
            let from = if before == 0 { 0 } else { before + 1 };
            let to = encoded.len() - usize::from(padded.len() % 3 != 0);
            forms.push(encoded[from..to].to_owned());
        }
    }
    let percent = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    let encoded: String = text.bytes().map(percent).collect();
    forms.extend([encoded.to_ascii_lowercase(), encoded, text.replace('/', "\\/")]);
    forms
}

#[track_caller]
fn assert_hidden(location: &str, bytes: &[u8], secrets: &[String]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets {
        for form in forms(secret) {
            let line = text.lines().find(|line| line.contains(&form));
            assert!(line.is_none(), "`{secret}` in {location}, as `{form}`: {}", line.unwrap());
        }
    }
}

fn each_file(folder: &Path, visit: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, visit);
        } else {
            visit(&path, &fs::read(&path).unwrap());
        }
    }
}

/// Valid and invalid tokens.
fn tokens(world: &World) -> Vec<String> {
    let valid = world.keys.token("app", SCOPE);
    let mut user = claims("app", SCOPE);
    user["sub"] = json!(USER);
    let (mut late, mut other) = (claims("app", SCOPE), claims("app", SCOPE));
    late["exp"] = json!(1);
    other["iss"] = json!("https://other.test");
    vec![
        valid.clone(),
        world.keys.token_of(&user),
        world.keys.token_of(&late),
        world.keys.token_of(&other),
        Keys::new().token("app", SCOPE),
        world.keys.token("app", "openid"),
        world.keys.token("absent", SCOPE),
        format!("{valid}x"),
        "opaque+token/of~an+unknown~issuer".to_owned(),
    ]
}

/// Valid and invalid requests with these tokens; the first token is valid.
fn drive(leaky: &FailingOperators, tokens: &[String], sink: SocketAddr) -> Vec<HttpResponse> {
    let (world, valid) = (&leaky.world, &tokens[0]);
    let mut answers = Vec::new();
    let mut record = |answer: HttpResponse| answers.push(answer);
    let webhook = json!({
        "notificationUrl": format!("http://{sink}"), "notificationAuthToken": SINK_TOKEN,
    });
    let credential = json!({
        "credentialType": "ACCESSTOKEN", "accessToken": SINK_TOKEN, "accessTokenType": "bearer",
        "accessTokenExpiresUtc": "2099-01-01T00:00:00Z",
    });
    for number in NUMBERS {
        for turn in 0..8 {
            let mut body = create_request("camara-0.10.1", number);
            body["webhook"] = webhook.clone();
            // Another flow each time, because earlier ones may be in doubt.
            body["applicationServer"]["ipv4Address"] = json!(format!("203.0.113.{turn}"));
            record(leaky.request(valid, "camara-0.10.1", ("POST", "/sessions"), &body.to_string()));
        }
        let body = create_request("camara-0.10.1", number).to_string();
        for token in tokens {
            record(leaky.request(token, "camara-0.10.1", ("POST", "/sessions"), &body));
        }
        record(leaky.request(MOCK, "camara-0.10.1", ("POST", "/sessions"), &body));
        for broken in
            [&body[..body.len() - 1], &body.replace('+', "+x"), &body.replace("device", number)]
        {
            record(leaky.request(valid, "camara-0.10.1", ("POST", "/sessions"), broken));
        }
        record(leaky.request(valid, "camara-0.10.1", ("GET", &format!("/sessions/{number}")), ""));
        record(leaky.request(
            valid,
            "camara-0.10.1",
            ("GET", &format!("/sessions?of={number}")),
            "",
        ));
        record(leaky.request(valid, "camara-0.10.1", ("PUT", "/sessions"), &body));
        let device = json!({ "device": { "phoneNumber": number } }).to_string();
        for dialect in ["camara-0.11.1", "camara-1.1.0"] {
            record(leaky.request(valid, dialect, ("POST", "/retrieve-sessions"), &device));
        }
    }
    let number = number_at("camara-1.1.0", 7);
    let mut body = create_request("camara-1.1.0", &number);
    body["sink"] = json!(format!("https://{sink}"));
    body["sinkCredential"] = credential;
    let made =
        leaky.request(valid, "camara-1.1.0", ("POST", "/sessions"), &body.to_string()).expect(201);
    let path = format!("/sessions/{}", session_id(&made));
    for token in tokens {
        record(leaky.request(token, "camara-1.1.0", ("GET", &path), ""));
        record(leaky.request(token, "camara-1.1.0", ("POST", &format!("{path}/extend")), "{}"));
    }
    // Duplicate, non-bearer or truncated header fields.
    let bearer = format!("Bearer {valid}");
    for fields in [
        vec![("Authorization", &*bearer), ("Authorization", &*bearer)],
        vec![("Authorization", valid.as_str())],
        vec![("Proxy-Authorization", &*bearer)],
        vec![("Authorization", &*bearer), ("Transfer-Encoding", "x"), ("Content-Length", "1")],
    ] {
        record(http::send(
            world.gateway_address(),
            "GET",
            &format!("/camara-1.1.0/qod/v0{path}"),
            &fields,
            "",
        ));
    }
    answers
}

#[test]
fn secrets_and_numbers_are_not_disclosed_in_failures() {
    let leaky = FailingOperators::new();
    let world = &leaky.world;
    let sink_at = unused();
    let sink = Fixture::start(sink_at, |request| answer(401, request).into());
    let tokens = tokens(world);
    let answers = drive(&leaky, &tokens, sink_at);
    wait_for("the sink to be called", || !sink.requests().is_empty());
    assert!(sink.requests().iter().any(|request| request.contains(SINK_TOKEN)));
    for status in [201, 400, 401, 403, 404, 405, 503] {
        assert!(
            answers.iter().any(|answer| answer.status == status),
            "no response with status {status}"
        );
    }

    let own: Vec<String> = OWN.map(str::to_owned).into();
    for answer in &answers {
        let headers = format!("{:?}", answer.headers);
        assert_hidden("an answer", headers.as_bytes(), &[own.clone(), tokens.clone()].concat());
        assert_hidden("an answer", answer.body.as_bytes(), &[own.clone(), tokens.clone()].concat());
    }
    let numbers: Vec<String> = NUMBERS.map(|number| number[1..].to_owned()).into();
    let users = vec![USER.to_owned(), SINK_TOKEN.to_owned(), number_at("camara-1.1.0", 7)];
    let all = [own.clone(), tokens, numbers, users].concat();
    let listed = world.admin("/sessions").unwrap().expect(200);
    let first = listed.body.lines().next().unwrap();
    let first: serde_json::Value = serde_json::from_str(first).unwrap();
    let one = format!("/sessions/{}", first["sessionId"].as_str().unwrap());
    for path in ["/metrics", "/sessions", &one, "/notifications", "/healthz", "/readyz", "/nothing"]
    {
        let reply = world.admin(path).unwrap();
        assert_hidden(path, format!("{reply:?}").as_bytes(), &all);
    }
    assert_hidden("the log", world.log().as_bytes(), &all);
    assert!(world.log().contains("\"level\":\"TRACE\""), "all log levels are written");
    each_file(&world.folder.join("ledger"), &mut |path, bytes| {
        assert_hidden(&path.display().to_string(), bytes, &all);
    });
}

#[test]
fn errors_in_secret_files_do_not_disclose_the_secret() {
    let leaky = FailingOperators::new();
    let folder = leaky.world.folder.display().to_string();
    let broken = "broken+secret/of two\twords";
    for name in ["bearer.secret", "api.key", "client.secret", "sealing.key"] {
        let path = leaky.world.folder.join(name);
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, broken).unwrap();
        let (succeeded, output) = World::run(&["check", &folder]);
        assert!(name == "sealing.key" || !succeeded, "{name}: {output}");
        assert_hidden(name, output.as_bytes(), &[broken.to_owned(), before.clone()]);
        fs::write(path, before).unwrap();
    }
    let path = leaky.world.folder.join("clients.yaml");
    let text = fs::read_to_string(&path).unwrap();
    for put in
        [broken, &format!("{MOCK}\", client: sandbox, scopes: [a] }}\n  - {{ token: \"{MOCK}")]
    {
        fs::write(&path, text.replace(&format!("token: {MOCK}"), &format!("token: \"{put}\"")))
            .unwrap();
        let (succeeded, output) = World::run(&["check", &folder]);
        assert!(!succeeded);
        assert_hidden("check", output.as_bytes(), &[broken.to_owned(), MOCK.to_owned()]);
    }
}
