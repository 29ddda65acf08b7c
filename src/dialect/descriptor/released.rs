//! Descriptors of the released dialects, each based on an earlier one.

use super::{
    CorrelatorFormat, DAY_S, Descriptor, DeviceRule, DurationRule, ErrorCodes, ErrorFormat,
    ErrorShape, EventShape, ExtensionLimit, Family, Ipv4Form, ProfilesApi, RequestRule, ServerForm,
    SessionShape, SinkRule,
};
use crate::qod::{IdentifierKind, Operation};

const CREATE_TO_DELETE: &[Operation] =
    &[Operation::CreateSession, Operation::GetSession, Operation::DeleteSession];

// CAMARA 0.8.1, the base of the other dialects of its family.
const CAMARA_0_8_1: Descriptor = Descriptor {
    name: "camara-0.8.1",
    family: Family::V08,
    schema: "camara-0.8.1",
    default_path: "/qod/v0",
    operations: CREATE_TO_DELETE,
    rule: RequestRule {
        strict: false,
        device: DeviceRule {
            required: true,
            kinds: &[
                IdentifierKind::PhoneNumber,
                IdentifierKind::ExternalId,
                IdentifierKind::Ipv4Address,
                IdentifierKind::Ipv6Address,
            ],
            plus_required: false,
            ipv4: Ipv4Form::Net,
            ipv6_prefixes: true,
        },
        servers: ServerForm::Subnets,
        profiles: &["QOS_E", "QOS_S", "QOS_M", "QOS_L"],
        port_min: 0,
        single_port: false,
        duration: DurationRule { required: false, s_max: DAY_S, extension_s_max: 0 },
        sink: SinkRule { field: "notificationUrl", https: false, key_credentials: false },
    },
    event_shape: EventShape::Termination,
    profiles: ProfilesApi { schema: None, has_traffic_classes: false, has_countries: false },
    created_status: 201,
    session_shape: SessionShape { has_status: false, has_single_identifier: false },
    extension: ExtensionLimit { is_clamped: false, remaining_s_max: 86_400 },
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
        overrides: &[],
    },
    proof_header: None,
    transaction_header: None,
    // Releases up to 0.10 do not define the field.
    correlator: CorrelatorFormat { enforced: false, ..COMMONALITIES_CORRELATOR },
    invalid_session_id_is_unknown: true,
};

// CAMARA's Commonalities, from 0.6 on.
const COMMONALITIES_CORRELATOR: CorrelatorFormat =
    CorrelatorFormat { punctuation: "-_:;./<>{}", length_max: 256, enforced: true };

const PRINTABLE_PUNCTUATION: &str = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

const CAMARA_0_10_1: Descriptor = Descriptor {
    name: "camara-0.10.1",
    family: Family::V010,
    schema: "camara-0.10.1",
    operations: &[
        Operation::CreateSession,
        Operation::GetSession,
        Operation::DeleteSession,
        Operation::ExtendSession,
        Operation::GetQosProfile,
        Operation::ListQosProfiles,
    ],
    rule: RequestRule {
        device: DeviceRule {
            kinds: &[
                IdentifierKind::PhoneNumber,
                IdentifierKind::NetworkAccessIdentifier,
                IdentifierKind::Ipv4Address,
                IdentifierKind::Ipv6Address,
            ],
            ipv4: Ipv4Form::Public,
            ipv6_prefixes: false,
            ..CAMARA_0_8_1.rule.device
        },
        duration: DurationRule { extension_s_max: DAY_S - 1, ..CAMARA_0_8_1.rule.duration },
        sink: SinkRule { field: "webhook", ..CAMARA_0_8_1.rule.sink },
        ..CAMARA_0_8_1.rule
    },
    event_shape: EventShape::CloudEvent {
        event_type: "org.camaraproject.qod.v0.qos-status-changed",
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
        ..CAMARA_0_8_1.errors
    },
    session_shape: SessionShape { has_status: true, ..CAMARA_0_8_1.session_shape },
    invalid_session_id_is_unknown: false,
    ..CAMARA_0_8_1
};

// Durations are signed 32-bit integers without another bound.
const S_MAX: u32 = i32::MAX.unsigned_abs();

// Up to 0.10, the sentences are those of the CAMARA releases.
const CONFLICT_MESSAGE: &str = "Another session uses this flow of the device";

const CAMARA_1_0_0: Descriptor = Descriptor {
    name: "camara-1.0.0",
    family: Family::V1,
    schema: "camara-1.0.0",
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
        schema: Some("qos-profiles-1.0.0"),
        has_traffic_classes: true,
        ..CAMARA_0_10_1.profiles
    },
    rule: RequestRule {
        device: DeviceRule { required: false, plus_required: true, ..CAMARA_0_10_1.rule.device },
        duration: DurationRule { required: true, s_max: S_MAX, extension_s_max: S_MAX },
        sink: SinkRule { field: "sink", ..CAMARA_0_10_1.rule.sink },
        ..CAMARA_0_10_1.rule
    },
    event_shape: EventShape::CloudEvent {
        event_type: "org.camaraproject.quality-on-demand.v1.qos-status-changed",
    },
    errors: ErrorFormat {
        codes: ErrorCodes::V1,
        conflict_message: CONFLICT_MESSAGE,
        private_key_jwt: (400, "INVALID_CREDENTIAL"),
        identifier_mismatch: (422, "IDENTIFIER_MISMATCH"),
        ..CAMARA_0_10_1.errors
    },
    extension: ExtensionLimit { is_clamped: true, remaining_s_max: u64::MAX },
    rejects_device_with_three_legged_token: true,
    session_shape: SessionShape { has_single_identifier: true, ..CAMARA_0_10_1.session_shape },
    correlator: CorrelatorFormat { punctuation: "-", length_max: 55, enforced: true },
    ..CAMARA_0_10_1
};

const CAMARA_1_1_0: Descriptor = Descriptor {
    name: "camara-1.1.0",
    schema: "camara-1.1.0",
    profiles: ProfilesApi {
        schema: Some("qos-profiles-1.1.0"),
        has_countries: true,
        ..CAMARA_1_0_0.profiles
    },
    rule: RequestRule {
        sink: SinkRule { https: true, ..CAMARA_1_0_0.rule.sink },
        ..CAMARA_1_0_0.rule
    },
    errors: ErrorFormat {
        sink_code: "INVALID_SINK",
        profile_not_applicable: (422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"),
        // CAMARA removed the code: an implementation uses one of the identifiers.
        identifier_mismatch: (400, "INVALID_ARGUMENT"),
        ..CAMARA_1_0_0.errors
    },
    correlator: COMMONALITIES_CORRELATOR,
    ..CAMARA_1_0_0
};

/// Every dialect, oldest first.
pub(in crate::dialect) static ALL: [Descriptor; 13] = [
    Descriptor {
        name: "camara-0.1.0",
        family: Family::V01,
        schema: "camara-0.1.0",
        default_path: "/qod-api/v0",
        rule: RequestRule {
            device: DeviceRule {
                kinds: &[IdentifierKind::Ipv4Address],
                ipv6_prefixes: false,
                ..CAMARA_0_8_1.rule.device
            },
            servers: ServerForm::Ipv4,
            // The meaning of its four profiles is agreed with each operator.
            profiles: &[],
            sink: SinkRule { field: "notificationUri", ..CAMARA_0_8_1.rule.sink },
            ..CAMARA_0_8_1.rule
        },
        errors: ErrorFormat { shape: ErrorShape::Message, ..CAMARA_0_8_1.errors },
        ..CAMARA_0_8_1
    },
    Descriptor {
        name: "camara-0.8.0",
        schema: "camara-0.8.0",
        rule: RequestRule {
            sink: SinkRule { field: "notificationUri", ..CAMARA_0_8_1.rule.sink },
            ..CAMARA_0_8_1.rule
        },
        errors: ErrorFormat { unavailable_code: "SERVICE_UNAVALIBLE", ..CAMARA_0_8_1.errors },
        ..CAMARA_0_8_1
    },
    CAMARA_0_8_1,
    Descriptor {
        name: "devedge",
        created_status: 200,
        errors: ErrorFormat { shape: ErrorShape::DevEdge, ..CAMARA_0_8_1.errors },
        proof_header: Some("x-authorization"),
        transaction_header: Some("x-transaction-id"),
        ..CAMARA_0_8_1
    },
    Descriptor {
        name: "camara-0.9.0",
        schema: "camara-0.9.0",
        operations: &[
            Operation::CreateSession,
            Operation::GetSession,
            Operation::DeleteSession,
            Operation::GetQosProfile,
            Operation::ListQosProfiles,
        ],
        rule: RequestRule {
            device: DeviceRule { ipv6_prefixes: true, ..CAMARA_0_10_1.rule.device },
            ..CAMARA_0_10_1.rule
        },
        event_shape: EventShape::StatusChange,
        invalid_session_id_is_unknown: true,
        ..CAMARA_0_10_1
    },
    CAMARA_0_10_1,
    Descriptor {
        name: "telefonica-0.10",
        errors: ErrorFormat { shape: ErrorShape::CodeMessage, ..CAMARA_0_10_1.errors },
        ..CAMARA_0_10_1
    },
    Descriptor {
        name: "camara-0.11.1",
        family: Family::V011,
        schema: "camara-0.11.1",
        default_path: "/quality-on-demand/v0.11",
        profiles: ProfilesApi {
            schema: Some("qos-profiles-0.11.1"),
            has_traffic_classes: false,
            ..CAMARA_1_0_0.profiles
        },
        event_shape: EventShape::CloudEvent {
            event_type: "org.camaraproject.quality-on-demand.v0.qos-status-changed",
        },
        errors: ErrorFormat {
            codes: ErrorCodes::V0_11,
            identifier_mismatch: (422, "DEVICE_IDENTIFIERS_MISMATCH"),
            ..CAMARA_1_0_0.errors
        },
        rejects_device_with_three_legged_token: false,
        // Any text; the bound is the gateway's.
        correlator: CorrelatorFormat {
            punctuation: PRINTABLE_PUNCTUATION,
            length_max: 1024,
            enforced: false,
        },
        ..CAMARA_1_0_0
    },
    CAMARA_1_0_0,
    CAMARA_1_1_0,
    Descriptor {
        name: "camara-1.2.0-rc.3",
        schema: "camara-1.2.0-rc.3",
        default_path: "/quality-on-demand/v1rc3",
        profiles: ProfilesApi { schema: Some("qos-profiles-1.2.0-rc.3"), ..CAMARA_1_1_0.profiles },
        rule: RequestRule {
            strict: true,
            servers: ServerForm::SubnetsOrList,
            port_min: 1,
            sink: SinkRule { key_credentials: true, ..CAMARA_1_1_0.rule.sink },
            ..CAMARA_1_1_0.rule
        },
        errors: ErrorFormat {
            private_key_jwt: (422, "PRIVATE_KEY_JWT_NOT_CONFIGURED"),
            message_chars_max: Some(512),
            ..CAMARA_1_1_0.errors
        },
        ..CAMARA_1_1_0
    },
    Descriptor {
        name: "telefonica-0.8",
        schema: "telefonica-0.8",
        rule: RequestRule {
            device: DeviceRule {
                ipv4: Ipv4Form::WithDevicePort,
                ipv6_prefixes: false,
                ..CAMARA_0_8_1.rule.device
            },
            single_port: true,
            ..CAMARA_0_8_1.rule
        },
        ..CAMARA_0_8_1
    },
    // Responses of 1.1, requests as before 0.11, errors as before 0.9.
    Descriptor {
        name: "telefonica-1.1",
        schema: "telefonica-1.1",
        operations: &[
            Operation::CreateSession,
            Operation::GetSession,
            Operation::DeleteSession,
            Operation::ExtendSession,
            Operation::RetrieveSessions,
        ],
        profiles: ProfilesApi { schema: None, has_traffic_classes: false, has_countries: false },
        rule: RequestRule {
            device: DeviceRule { required: true, plus_required: false, ..CAMARA_1_1_0.rule.device },
            sink: SinkRule { field: "webhook", https: false, ..CAMARA_1_1_0.rule.sink },
            ..CAMARA_1_1_0.rule
        },
        event_shape: CAMARA_0_10_1.event_shape,
        errors: ErrorFormat { conflict_message: CONFLICT_MESSAGE, ..CAMARA_0_8_1.errors },
        rejects_device_with_three_legged_token: false,
        correlator: CAMARA_0_8_1.correlator,
        ..CAMARA_1_1_0
    },
];
