//! The released dialects, each as its differences from an earlier one. Nothing else in the gateway
//! names a release to decide what to do.

use super::{
    CorrelatorFormat, DAY_S, Descriptor, DeviceForm, DeviceRule, DurationRule, ErrorCodes,
    ErrorFormat, ErrorShape, EventShape, ExtensionLimit, Ipv4Form, Ipv6Form, MemberNames,
    PortsForm, ProfilesApi, RequestRule, ServerForm, SessionShape, SinkForm, SinkRule, StatusForm,
    TimeForm,
};
use crate::qod::{IdentifierKind, Operation};

/// The released dialects, oldest first.
pub(in crate::dialect) fn released() -> Vec<Descriptor> {
    vec![
        camara_0_1_0(),
        camara_0_8_0(),
        camara_0_8_1(),
        devedge(),
        camara_0_9_0(),
        camara_0_10_1(),
        telefonica_0_10(),
        camara_0_11_1(),
        camara_1_0_0(),
        camara_1_1_0(),
        camara_1_2_0(),
        telefonica_0_8(),
        telefonica_1_1(),
    ]
}

/// All sets of member names. No two of them share a distinctive member.
pub(in crate::dialect) const MEMBER_NAMES: [&MemberNames; 3] =
    [&NAMES_0_1, &NAMES_0_8, &NAMES_FROM_0_9];

const NAMES_0_1: MemberNames = MemberNames {
    device: "ueAddr",
    server: "asAddr",
    device_ports: "uePorts",
    server_ports: "asPorts",
    protocols: &["protocolIn", "protocolOut"],
    profile: "qos",
    session_id: "id",
    distinctive: &["ueAddr", "asAddr", "protocolIn", "protocolOut"],
    usual_sink: None,
};

const NAMES_0_8: MemberNames = MemberNames {
    device: "ueId",
    server: "asId",
    device_ports: "uePorts",
    server_ports: "asPorts",
    protocols: &[],
    profile: "qos",
    session_id: "id",
    distinctive: &["ueId", "asId"],
    // 0.8.1 rather than 0.8.0.
    usual_sink: Some("notificationUrl"),
};

const NAMES_FROM_0_9: MemberNames = MemberNames {
    device: "device",
    server: "applicationServer",
    device_ports: "devicePorts",
    server_ports: "applicationServerPorts",
    protocols: &[],
    profile: "qosProfile",
    session_id: "sessionId",
    distinctive: &["device", "applicationServer", "qosProfile", "webhook"],
    usual_sink: None,
};

fn camara_0_1_0() -> Descriptor {
    let base = camara_0_8_1();
    Descriptor {
        name: "camara-0.1.0".into(),
        schema: "camara-0.1.0".into(),
        default_path: "/qod-api/v0",
        rule: RequestRule {
            names: &NAMES_0_1,
            device: DeviceRule { form: DeviceForm::Ipv4, ..base.rule.device },
            servers: ServerForm::Ipv4,
            ports: PortsForm::Text,
            // The meaning of its four profiles is agreed with each operator.
            profiles: &[],
            sink: SinkRule { field: "notificationUri", ..base.rule.sink },
            ..base.rule
        },
        session_shape: SessionShape { has_messages: false, ..base.session_shape },
        errors: ErrorFormat { shape: ErrorShape::Message, ..base.errors },
        ..base
    }
}

fn camara_0_8_0() -> Descriptor {
    let base = camara_0_8_1();
    Descriptor {
        name: "camara-0.8.0".into(),
        schema: "camara-0.8.0".into(),
        rule: RequestRule {
            sink: SinkRule { field: "notificationUri", ..base.rule.sink },
            ..base.rule
        },
        errors: ErrorFormat { unavailable_code: "SERVICE_UNAVALIBLE", ..base.errors },
        ..base
    }
}

// The base of all others: every property has a value here.
fn camara_0_8_1() -> Descriptor {
    Descriptor {
        name: "camara-0.8.1".into(),
        schema: "camara-0.8.1".into(),
        default_path: "/qod/v0",
        operations: &[Operation::CreateSession, Operation::GetSession, Operation::DeleteSession],
        rule: RequestRule {
            strict: false,
            names: &NAMES_0_8,
            device: DeviceRule {
                required: true,
                form: DeviceForm::Identifiers([
                    (IdentifierKind::ExternalId, "externalId"),
                    (IdentifierKind::PhoneNumber, "msisdn"),
                    (IdentifierKind::Ipv4Address, "ipv4addr"),
                    (IdentifierKind::Ipv6Address, "ipv6addr"),
                ]),
                plus_required: false,
                ipv4: Ipv4Form::Net,
                ipv6: Ipv6Form::Net,
            },
            servers: ServerForm::Subnets(["ipv4addr", "ipv6addr"]),
            profiles: &["QOS_E", "QOS_S", "QOS_M", "QOS_L"],
            port_min: 0,
            ports: PortsForm::Lists,
            duration: DurationRule { required: false, s_max: DAY_S, extension_s_max: 0 },
            sink: SinkRule { form: SinkForm::UrlAndToken, field: "notificationUrl", https: false },
        },
        session_shape: SessionShape {
            status: StatusForm::None,
            times: TimeForm::EpochSeconds,
            has_messages: true,
            has_single_identifier: false,
        },
        event_shape: EventShape::Termination,
        profiles: ProfilesApi { schema: None, has_traffic_classes: false, has_countries: false },
        created_status: 201,
        extension: ExtensionLimit { is_clamped: false, remaining_s_max: DAY_S.into() },
        rejects_device_with_three_legged_token: false,
        errors: ErrorFormat {
            shape: ErrorShape::CodeMessage,
            codes: ErrorCodes::V0_8,
            conflict_message: "Another session is created for the same UE",
            unavailable_code: "SERVICE_UNAVAILABLE",
            sink_code: "INVALID_INPUT",
            private_key_jwt: (400, "INVALID_INPUT"),
            profile_not_applicable: (400, "INVALID_INPUT"),
            identifier_mismatch: (400, "INVALID_INPUT"),
            message_chars_max: None,
            overrides: Vec::new(),
        },
        proof_header: None,
        transaction_header: None,
        // Releases up to 0.10 do not define the field.
        correlator: CorrelatorFormat { enforced: false, ..COMMONALITIES_CORRELATOR },
        invalid_session_id_is_unknown: true,
    }
}

// CAMARA's Commonalities, from 0.6 on.
const COMMONALITIES_CORRELATOR: CorrelatorFormat =
    CorrelatorFormat { punctuation: "-_:;./<>{}", length_max: 256, enforced: true };

const PRINTABLE_PUNCTUATION: &str = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

fn devedge() -> Descriptor {
    let base = camara_0_8_1();
    Descriptor {
        name: "devedge".into(),
        created_status: 200,
        errors: ErrorFormat { shape: ErrorShape::DevEdge, ..base.errors },
        proof_header: Some("x-authorization"),
        transaction_header: Some("x-transaction-id"),
        ..base
    }
}

fn camara_0_9_0() -> Descriptor {
    let base = camara_0_10_1();
    Descriptor {
        name: "camara-0.9.0".into(),
        schema: "camara-0.9.0".into(),
        operations: &[
            Operation::CreateSession,
            Operation::GetSession,
            Operation::DeleteSession,
            Operation::GetQosProfile,
            Operation::ListQosProfiles,
        ],
        rule: RequestRule {
            device: DeviceRule { ipv6: Ipv6Form::Net, ..base.rule.device },
            ..base.rule
        },
        event_shape: EventShape::StatusChange,
        invalid_session_id_is_unknown: true,
        ..base
    }
}

fn camara_0_10_1() -> Descriptor {
    let base = camara_0_8_1();
    Descriptor {
        name: "camara-0.10.1".into(),
        schema: "camara-0.10.1".into(),
        operations: &[
            Operation::CreateSession,
            Operation::GetSession,
            Operation::DeleteSession,
            Operation::ExtendSession,
            Operation::GetQosProfile,
            Operation::ListQosProfiles,
        ],
        rule: RequestRule {
            names: &NAMES_FROM_0_9,
            device: DeviceRule {
                form: DeviceForm::Identifiers([
                    (IdentifierKind::PhoneNumber, "phoneNumber"),
                    (IdentifierKind::NetworkAccessIdentifier, "networkAccessIdentifier"),
                    (IdentifierKind::Ipv4Address, "ipv4Address"),
                    (IdentifierKind::Ipv6Address, "ipv6Address"),
                ]),
                ipv4: Ipv4Form::Public,
                ipv6: Ipv6Form::Address,
                ..base.rule.device
            },
            servers: ServerForm::Subnets(SUBNETS_FROM_0_9),
            duration: DurationRule { extension_s_max: DAY_S - 1, ..base.rule.duration },
            sink: SinkRule { form: SinkForm::Webhook, field: "webhook", ..base.rule.sink },
            ..base.rule
        },
        session_shape: SessionShape { status: StatusForm::Status, ..base.session_shape },
        event_shape: EventShape::CloudEvent {
            event_type: "org.camaraproject.qod.v0.qos-status-changed".into(),
        },
        errors: ErrorFormat {
            shape: ErrorShape::StatusCodeMessage,
            codes: ErrorCodes::V0_10,
            conflict_message: "Another session is created for the same device",
            unavailable_code: "UNAVAILABLE",
            sink_code: "INVALID_ARGUMENT",
            private_key_jwt: (400, "INVALID_ARGUMENT"),
            profile_not_applicable: (400, "INVALID_ARGUMENT"),
            identifier_mismatch: (400, "INVALID_ARGUMENT"),
            ..base.errors
        },
        invalid_session_id_is_unknown: false,
        ..base
    }
}

const SUBNETS_FROM_0_9: [&str; 2] = ["ipv4Address", "ipv6Address"];

fn telefonica_0_10() -> Descriptor {
    let base = camara_0_10_1();
    Descriptor {
        name: "telefonica-0.10".into(),
        errors: ErrorFormat { shape: ErrorShape::CodeMessage, ..base.errors },
        ..base
    }
}

fn camara_0_11_1() -> Descriptor {
    let base = camara_1_0_0();
    Descriptor {
        name: "camara-0.11.1".into(),
        schema: "camara-0.11.1".into(),
        default_path: "/quality-on-demand/v0.11",
        profiles: ProfilesApi {
            schema: Some("qos-profiles-0.11.1".into()),
            has_traffic_classes: false,
            ..base.profiles
        },
        event_shape: EventShape::CloudEvent {
            event_type: "org.camaraproject.quality-on-demand.v0.qos-status-changed".into(),
        },
        errors: ErrorFormat {
            codes: ErrorCodes::V0_11,
            identifier_mismatch: (422, "DEVICE_IDENTIFIERS_MISMATCH"),
            ..base.errors
        },
        rejects_device_with_three_legged_token: false,
        // Any text; the bound is the gateway's.
        correlator: CorrelatorFormat {
            punctuation: PRINTABLE_PUNCTUATION,
            length_max: 1024,
            enforced: false,
        },
        ..base
    }
}

// Durations are signed 32-bit integers without another bound.
const S_MAX: u32 = i32::MAX.unsigned_abs();

fn camara_1_0_0() -> Descriptor {
    let base = camara_0_10_1();
    Descriptor {
        name: "camara-1.0.0".into(),
        schema: "camara-1.0.0".into(),
        default_path: "/quality-on-demand/v1",
        operations: &[
            Operation::CreateSession,
            Operation::GetSession,
            Operation::DeleteSession,
            Operation::ExtendSession,
            Operation::RetrieveSessions,
            Operation::GetQosProfile,
            Operation::RetrieveQosProfiles,
        ],
        profiles: ProfilesApi {
            schema: Some("qos-profiles-1.0.0".into()),
            has_traffic_classes: true,
            ..base.profiles
        },
        rule: RequestRule {
            device: DeviceRule { required: false, plus_required: true, ..base.rule.device },
            duration: DurationRule { required: true, s_max: S_MAX, extension_s_max: S_MAX },
            sink: SinkRule {
                form: SinkForm::Credential { allows_private_key_jwt: false },
                field: "sink",
                ..base.rule.sink
            },
            ..base.rule
        },
        session_shape: SessionShape {
            status: StatusForm::StatusAndReason,
            times: TimeForm::Rfc3339,
            has_messages: false,
            has_single_identifier: true,
        },
        event_shape: EventShape::CloudEvent {
            event_type: "org.camaraproject.quality-on-demand.v1.qos-status-changed".into(),
        },
        extension: ExtensionLimit { is_clamped: true, remaining_s_max: u64::MAX },
        rejects_device_with_three_legged_token: true,
        errors: ErrorFormat {
            codes: ErrorCodes::V1,
            // Up to 0.10, the sentences are those of the releases.
            conflict_message: "Another session uses this flow of the device",
            private_key_jwt: (400, "INVALID_CREDENTIAL"),
            identifier_mismatch: (422, "IDENTIFIER_MISMATCH"),
            ..base.errors
        },
        correlator: CorrelatorFormat { punctuation: "-", length_max: 55, enforced: true },
        ..base
    }
}

fn camara_1_1_0() -> Descriptor {
    let base = camara_1_0_0();
    Descriptor {
        name: "camara-1.1.0".into(),
        schema: "camara-1.1.0".into(),
        profiles: ProfilesApi {
            schema: Some("qos-profiles-1.1.0".into()),
            has_countries: true,
            ..base.profiles
        },
        rule: RequestRule { sink: SinkRule { https: true, ..base.rule.sink }, ..base.rule },
        errors: ErrorFormat {
            sink_code: "INVALID_SINK",
            profile_not_applicable: (422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"),
            // CAMARA removed the code: an implementation uses one of the identifiers.
            identifier_mismatch: (400, "INVALID_ARGUMENT"),
            ..base.errors
        },
        correlator: COMMONALITIES_CORRELATOR,
        ..base
    }
}

fn camara_1_2_0() -> Descriptor {
    let base = camara_1_1_0();
    Descriptor {
        name: "camara-1.2.0-rc.3".into(),
        schema: "camara-1.2.0-rc.3".into(),
        default_path: "/quality-on-demand/v1rc3",
        profiles: ProfilesApi { schema: Some("qos-profiles-1.2.0-rc.3".into()), ..base.profiles },
        rule: RequestRule {
            strict: true,
            servers: ServerForm::SubnetsOrList(SUBNETS_FROM_0_9),
            port_min: 1,
            sink: SinkRule {
                form: SinkForm::Credential { allows_private_key_jwt: true },
                ..base.rule.sink
            },
            ..base.rule
        },
        errors: ErrorFormat {
            private_key_jwt: (422, "PRIVATE_KEY_JWT_NOT_CONFIGURED"),
            message_chars_max: Some(512),
            ..base.errors
        },
        ..base
    }
}

fn telefonica_0_8() -> Descriptor {
    let base = camara_0_8_1();
    Descriptor {
        name: "telefonica-0.8".into(),
        schema: "telefonica-0.8".into(),
        rule: RequestRule {
            device: DeviceRule {
                ipv4: Ipv4Form::WithDevicePort,
                ipv6: Ipv6Form::NetFromClients,
                ..base.rule.device
            },
            ports: PortsForm::SinglePort,
            ..base.rule
        },
        ..base
    }
}

// Responses of 1.1, requests as before 0.11, errors as before 0.9.
fn telefonica_1_1() -> Descriptor {
    let base = camara_1_1_0();
    let early = camara_0_8_1();
    Descriptor {
        name: "telefonica-1.1".into(),
        schema: "telefonica-1.1".into(),
        operations: &[
            Operation::CreateSession,
            Operation::GetSession,
            Operation::DeleteSession,
            Operation::ExtendSession,
            Operation::RetrieveSessions,
        ],
        profiles: early.profiles,
        rule: RequestRule {
            device: DeviceRule { required: true, plus_required: false, ..base.rule.device },
            sink: camara_0_10_1().rule.sink,
            ..base.rule
        },
        event_shape: camara_0_10_1().event_shape,
        rejects_device_with_three_legged_token: false,
        errors: ErrorFormat { conflict_message: base.errors.conflict_message, ..early.errors },
        correlator: early.correlator,
        ..base
    }
}
