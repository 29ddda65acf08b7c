//! A release that exists only in this test, CAMARA 1.3: a descriptor and a document, without code.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    dialect::{Descriptor, Descriptors, Dialects, TimesWithoutOffset, TranslationSettings},
    qod::{Problem, QosStatus, Session},
};

const NAME: &str = "camara-1.3.0";
const BASE: &str = "camara-1.2.0-rc.3";
const PATH: &str = "/quality-on-demand/v1.3";

// A folder with the documents of the release. Removed when it is dropped.
struct SchemaFolder(PathBuf);

impl SchemaFolder {
    // The document of 1.2, except that a session lasts a minute at least.
    fn new() -> Self {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let folder = Self(std::env::temp_dir().join(format!("qod-{}", uuid::Uuid::new_v4())));
        fs::create_dir(&folder.0).unwrap();
        let text = fs::read_to_string(shipped.join(format!("{BASE}.yaml"))).unwrap();
        let changed = text.replacen("              minimum: 1\n", "              minimum: 60\n", 1);
        assert_ne!(text, changed, "the document of {BASE} has changed");
        fs::write(folder.0.join(format!("{NAME}.yaml")), changed).unwrap();
        let profiles = "qos-profiles-1.2.0-rc.3.yaml";
        fs::copy(shipped.join(profiles), folder.0.join(profiles)).unwrap();
        folder
    }
}

impl Drop for SchemaFolder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn release() -> Arc<Dialect> {
    let mut descriptors = Descriptors::released();
    let mut descriptor = Descriptor::clone(descriptors.get(BASE).unwrap());
    descriptor.name = NAME.into();
    descriptor.schema = NAME.into();
    descriptor.default_path = PATH;
    descriptor.errors.sink_code = "SINK_NOT_ALLOWED";
    descriptors.insert(descriptor);
    let folder = SchemaFolder::new();
    Arc::clone(Dialects::load_only(&folder.0, &descriptors, NAME).unwrap().get(NAME).unwrap())
}

fn create_body(duration_s: u32, sink: &str) -> String {
    json!({
        "device": {"phoneNumber": "+4915112345678"},
        "applicationServer": {"ipAddresses": ["198.51.100.7", "2001:db8::7"]},
        "qosProfile": "QOS_E",
        "duration": duration_s,
        "sink": sink,
    })
    .to_string()
}

// The body of a response to a client that uses the release.
fn rendered(dialect: &Dialect, answer: &ApiResponse) -> Value {
    serde_json::from_slice(dialect.render_response(answer).body()).unwrap()
}

#[tokio::test]
async fn new_release_needs_a_descriptor_and_a_document() {
    let dialect = release();
    let operator = SimulatorFixture::new(BASE, |settings| {
        settings.dialect = Arc::clone(&dialect);
        settings.path = PATH.to_owned();
    });
    // The gateway parses the request of a client and sends it to an operator, both in 1.3.
    let body = create_body(600, "https://client.example/cb");
    let wanted = dialect.parse_create_session(body.as_bytes(), &Strictness::default()).unwrap();
    let device = wanted.device.as_ref().unwrap();
    let translated = dialect.translate(&wanted, device, &TranslationSettings::default()).unwrap();
    let sent = dialect.create_session_request(&translated, None);
    let path = format!("{PATH}/sessions");
    let (status, created) = operator.send("POST", &path, std::str::from_utf8(&sent).unwrap()).await;
    assert_eq!(status, 201, "{created}");
    let read = |body: &Value| {
        dialect.read_session(body.to_string().as_bytes(), TimesWithoutOffset::Reject).unwrap()
    };
    let (id, granted) = read(&created);
    assert_eq!(granted.status, QosStatus::Available);
    let session = Session { id: id.parse().unwrap(), wanted: wanted.into(), granted };
    let answer = rendered(&dialect, &ApiResponse::Created(session.clone()));
    assert_eq!(answer["applicationServer"]["ipAddresses"], json!(["198.51.100.7", "2001:db8::7"]));
    assert_eq!((&answer["sessionId"], &answer["qosStatus"]), (&json!(id), &json!("AVAILABLE")));

    let session_path = format!("{path}/{id}");
    let (status, found) = operator.send("GET", &session_path, "").await;
    assert_eq!((status, read(&found)), (200, (id, session.granted.clone())));
    assert_eq!(rendered(&dialect, &ApiResponse::Found(session)), answer);
    assert_eq!(operator.send("DELETE", &session_path, "").await.0, 204);
    assert_eq!(operator.send("DELETE", &session_path, "").await.0, 404);

    // The document and the codes are those of 1.3.
    let short = create_body(59, "https://client.example/cb");
    let (status, problem) = operator.send("POST", &path, &short).await;
    assert!(status == 400 && problem["message"].as_str().unwrap().contains("/duration"));
    let insecure = create_body(600, "http://client.example/cb");
    let (status, problem) = operator.send("POST", &path, &insecure).await;
    assert_eq!((status, &problem["code"]), (400, &json!("SINK_NOT_ALLOWED")));
    let Problem { code, .. } =
        refusal::new_problem(ProblemKind::InvalidSink, String::new(), dialect.descriptor());
    assert_eq!(code, "SINK_NOT_ALLOWED");
}
