//! Whatever goes wrong, no secret and nobody's number is seen: not in what a process says of itself,
//! not in an answer that is for others, not on disk.

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
    http::{self, Answer},
    operators::{Fixture, Says, answer},
    world::{Keys, SCOPE, Setup, World, claims, id_of, number_at, wait_for, wish},
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

// Of the operators `odd`, `granting` and `down`, and of one that is simulated.
const NUMBERS: [&str; 4] =
    ["+49207778889991", "+49217778889992", "+49227778889993", "+4910377788899"];

/// A world with a simulated operator and three that misbehave.
struct Leaky {
    world: World,
    _odd: Fixture,
    _granting: Fixture,
}

/// One that answers in a new way each time, and always with what it was sent.
fn echo(address: SocketAddr) -> Fixture {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    Fixture::start(address, |asked| {
        let told = json!({ "status": 400, "code": "X", "message": asked }).to_string();
        match TURN.fetch_add(1, Ordering::Relaxed) % 7 {
            0 => answer(401, &told).into(),
            1 => answer(400, &told).into(),
            2 => answer(500, &told).into(),
            3 => answer(201, &told).into(),
            4 => answer(201, asked).into(),
            5 => Says::Bytes(asked.as_bytes().to_vec()),
            _ => Says::Nothing,
        }
    })
}

/// A token endpoint that says no, in the words that it was asked in, every other time.
fn grants(address: SocketAddr) -> Fixture {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    Fixture::start(address, |asked| {
        if !asked.starts_with("POST /token") {
            return answer(401, &json!({ "code": "X", "message": asked }).to_string()).into();
        }
        let token = json!({ "access_token": GRANTED, "token_type": "Bearer", "expires_in": 60 });
        match TURN.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => answer(200, &token.to_string()).into(),
            _ => answer(401, &json!({ "error": "no", "error_description": asked }).to_string())
                .into(),
        }
    })
}

fn unused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Leaky {
    fn new() -> Self {
        let (odd, granting, down) = (unused(), unused(), unused());
        let entry = |address: SocketAddr, shows: &str| {
            format!(
                "    endpoint: \"http://{address}/qod/v0\"\n    speaks: camara-0.10.1\n    \
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
        let mut world = World::unstarted(&Setup { operators: &operators, ..Setup::default() });
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
        // All that it can say of itself.
        let child = serve.env("RUST_LOG", "trace").spawn().unwrap();
        world.keep(child);
        world.wait_ready();
        Self { world, _odd: echo(odd), _granting: grants(granting) }
    }

    fn ask(&self, token: &str, dialect: &str, (method, path): (&str, &str), body: &str) -> Answer {
        self.world.try_ask_with(token, dialect, (method, path), &[], body).unwrap()
    }
}

/// A text and what it may be dressed up as: in base64 wherever it stands there, and percent-encoded.
fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    for before in 0..3 {
        let padded = [&vec![b'x'; before], text.as_bytes()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded);
            // The characters at both ends have bits of their neighbours.
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
fn assert_hidden(place: &str, bytes: &[u8], secrets: &[String]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets {
        for form in forms(secret) {
            let line = text.lines().find(|line| line.contains(&form));
            assert!(line.is_none(), "`{secret}` in {place}, as `{form}`: {}", line.unwrap());
        }
    }
}

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else {
            look(&path, &fs::read(&path).unwrap());
        }
    }
}

/// Tokens that hold, and such that do not.
fn tokens(world: &World) -> Vec<String> {
    let good = world.keys.token("app", SCOPE);
    let mut user = claims("app", SCOPE);
    user["sub"] = json!(USER);
    let (mut late, mut other) = (claims("app", SCOPE), claims("app", SCOPE));
    late["exp"] = json!(1);
    other["iss"] = json!("https://other.test");
    vec![
        good.clone(),
        world.keys.token_of(&user),
        world.keys.token_of(&late),
        world.keys.token_of(&other),
        Keys::new().token("app", SCOPE),
        world.keys.token("app", "openid"),
        world.keys.token("nobody", SCOPE),
        format!("{good}x"),
        "opaque+token/that~nobody+knows".to_owned(),
    ]
}

/// Good and bad requests of every kind with these tokens, the first of which holds.
fn drive(leaky: &Leaky, tokens: &[String], sink: SocketAddr) -> Vec<Answer> {
    let (world, good) = (&leaky.world, &tokens[0]);
    let mut answers = Vec::new();
    let mut hear = |answer: Answer| answers.push(answer);
    let webhook = json!({
        "notificationUrl": format!("http://{sink}"), "notificationAuthToken": SINK_TOKEN,
    });
    let credential = json!({
        "credentialType": "ACCESSTOKEN", "accessToken": SINK_TOKEN, "accessTokenType": "bearer",
        "accessTokenExpiresUtc": "2099-01-01T00:00:00Z",
    });
    for number in NUMBERS {
        for turn in 0..8 {
            let mut body = wish("camara-0.10.1", number);
            body["webhook"] = webhook.clone();
            // Another flow each time, for the ones before may be held in doubt.
            body["applicationServer"]["ipv4Address"] = json!(format!("203.0.113.{turn}"));
            hear(leaky.ask(good, "camara-0.10.1", ("POST", "/sessions"), &body.to_string()));
        }
        let body = wish("camara-0.10.1", number).to_string();
        for token in tokens {
            hear(leaky.ask(token, "camara-0.10.1", ("POST", "/sessions"), &body));
        }
        hear(leaky.ask(MOCK, "camara-0.10.1", ("POST", "/sessions"), &body));
        for broken in
            [&body[..body.len() - 1], &body.replace('+', "+x"), &body.replace("device", number)]
        {
            hear(leaky.ask(good, "camara-0.10.1", ("POST", "/sessions"), broken));
        }
        hear(leaky.ask(good, "camara-0.10.1", ("GET", &format!("/sessions/{number}")), ""));
        hear(leaky.ask(good, "camara-0.10.1", ("GET", &format!("/sessions?of={number}")), ""));
        hear(leaky.ask(good, "camara-0.10.1", ("PUT", "/sessions"), &body));
        let device = json!({ "device": { "phoneNumber": number } }).to_string();
        for dialect in ["camara-0.11.1", "camara-1.1.0"] {
            hear(leaky.ask(good, dialect, ("POST", "/retrieve-sessions"), &device));
        }
    }
    let number = number_at("camara-1.1.0", 7);
    let mut body = wish("camara-1.1.0", &number);
    body["sink"] = json!(format!("https://{sink}"));
    body["sinkCredential"] = credential;
    let made =
        leaky.ask(good, "camara-1.1.0", ("POST", "/sessions"), &body.to_string()).expect(201);
    let path = format!("/sessions/{}", id_of(&made));
    for token in tokens {
        hear(leaky.ask(token, "camara-1.1.0", ("GET", &path), ""));
        hear(leaky.ask(token, "camara-1.1.0", ("POST", &format!("{path}/extend")), "{}"));
    }
    // Fields that come twice, or are no bearer's, or are cut off.
    let bearer = format!("Bearer {good}");
    for fields in [
        vec![("Authorization", &*bearer), ("Authorization", &*bearer)],
        vec![("Authorization", good.as_str())],
        vec![("Proxy-Authorization", &*bearer)],
        vec![("Authorization", &*bearer), ("Transfer-Encoding", "x"), ("Content-Length", "1")],
    ] {
        hear(http::send(world.edge(), "GET", &format!("/camara-1.1.0/qod/v0{path}"), &fields, ""));
    }
    answers
}

#[test]
fn no_secret_and_nobodys_number_is_seen_whatever_goes_wrong() {
    let leaky = Leaky::new();
    let world = &leaky.world;
    let sink_at = unused();
    let sink = Fixture::start(sink_at, |asked| answer(401, asked).into());
    let tokens = tokens(world);
    let answers = drive(&leaky, &tokens, sink_at);
    wait_for("the sink to be called", || !sink.requests().is_empty());
    assert!(sink.requests().iter().any(|asked| asked.contains(SINK_TOKEN)));
    for status in [201, 400, 401, 403, 404, 405, 503] {
        assert!(answers.iter().any(|answer| answer.status == status), "none ended as {status}");
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
        let told = world.admin(path).unwrap();
        assert_hidden(path, format!("{told:?}").as_bytes(), &all);
    }
    assert_hidden("the log", world.log().as_bytes(), &all);
    assert!(world.log().contains("\"level\":\"TRACE\""), "it was said all that can be said");
    each_file(&world.folder.join("ledger"), &mut |path, bytes| {
        assert_hidden(&path.display().to_string(), bytes, &all);
    });
}

#[test]
fn what_is_wrong_with_a_secret_is_told_without_it() {
    let leaky = Leaky::new();
    let folder = leaky.world.folder.display().to_string();
    let broken = "broken+secret/of two words";
    for name in ["bearer.secret", "api.key", "client.secret", "sealing.key"] {
        let place = leaky.world.folder.join(name);
        let before = fs::read_to_string(&place).unwrap();
        fs::write(&place, broken).unwrap();
        let (well, told) = World::run(&["check", &folder]);
        assert!(name == "sealing.key" || !well, "{name}: {told}");
        assert_hidden(name, told.as_bytes(), &[broken.to_owned(), before.clone()]);
        fs::write(place, before).unwrap();
    }
    let place = leaky.world.folder.join("clients.yaml");
    let text = fs::read_to_string(&place).unwrap();
    for put in
        [broken, &format!("{MOCK}\", client: sandbox, scopes: [a] }}\n  - {{ token: \"{MOCK}")]
    {
        fs::write(&place, text.replace(&format!("token: {MOCK}"), &format!("token: \"{put}\"")))
            .unwrap();
        let (well, told) = World::run(&["check", &folder]);
        assert!(!well);
        assert_hidden("check", told.as_bytes(), &[broken.to_owned(), MOCK.to_owned()]);
    }
}
