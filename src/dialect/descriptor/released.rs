//! The released dialects, each by what it varies of one before it.

use super::{
    Correlator, DAY_S, Descriptor, DeviceRule, DurationRule, ErrorShape, Errors, EventShape,
    Family, Ipv4Form, Profiles, Rule, Servers, SinkRule,
};
use crate::qod::{IdentifierKind, Operation};

const CREATE_TO_DELETE: &[Operation] =
    &[Operation::CreateSession, Operation::GetSession, Operation::DeleteSession];

// What CAMARA 0.8.1 is, and what the other dialects of its family vary.
const CAMARA_0_8_1: Descriptor = Descriptor {
    name: "camara-0.8.1",
    family: Family::V08,
    schema: "camara-0.8.1",
    default_path: "/qod/v0",
    operations: CREATE_TO_DELETE,
    rule: Rule {
        strict: false,
        device: DeviceRule {
            required: true,
            kinds: &[
                IdentifierKind::PhoneNumber,
                IdentifierKind::ExternalId,
                IdentifierKind::Ipv4Address,
                IdentifierKind::Ipv6Address,
            ],
            plus: false,
            ipv4: Ipv4Form::Net,
            ipv6_masks: true,
        },
        servers: Servers::Subnets,
        profiles: &["QOS_E", "QOS_S", "QOS_M", "QOS_L"],
        port_min: 0,
        one_port: false,
        duration: DurationRule { required: false, s_max: DAY_S, extension_s_max: 0 },
        sink: SinkRule { field: "notificationUrl", https: false, key_credentials: false },
    },
    event_shape: EventShape::End,
    profiles: Profiles { schema: None, classes: false, countries: false },
    created_status: 201,
    one_identifier: false,
    errors: Errors {
        shape: ErrorShape::CodeMessage,
        codes: Family::V08,
        unavailable: "SERVICE_UNAVAILABLE",
        sink: "INVALID_INPUT",
        private_key_jwt: (400, "INVALID_INPUT"),
        profile_not_applicable: (400, "INVALID_INPUT"),
        message_chars_max: None,
        own: &[],
    },
    proof_header: None,
    transaction_header: None,
    correlator: None,
};

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
    rule: Rule {
        device: DeviceRule {
            kinds: &[
                IdentifierKind::PhoneNumber,
                IdentifierKind::NetworkAccessIdentifier,
                IdentifierKind::Ipv4Address,
                IdentifierKind::Ipv6Address,
            ],
            ipv4: Ipv4Form::Public,
            ipv6_masks: false,
            ..CAMARA_0_8_1.rule.device
        },
        duration: DurationRule { extension_s_max: DAY_S - 1, ..CAMARA_0_8_1.rule.duration },
        sink: SinkRule { field: "webhook", ..CAMARA_0_8_1.rule.sink },
        ..CAMARA_0_8_1.rule
    },
    event_shape: EventShape::CloudEvent {
        event_type: "org.camaraproject.qod.v0.qos-status-changed",
    },
    errors: Errors {
        shape: ErrorShape::StatusCodeMessage,
        codes: Family::V010,
        unavailable: "UNAVAILABLE",
        sink: "INVALID_ARGUMENT",
        private_key_jwt: (400, "INVALID_ARGUMENT"),
        profile_not_applicable: (400, "INVALID_ARGUMENT"),
        ..CAMARA_0_8_1.errors
    },
    ..CAMARA_0_8_1
};

// Durations are of 32 bits with a sign, and there is no other bound.
const S_MAX: u32 = i32::MAX.unsigned_abs();

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
    profiles: Profiles {
        schema: Some("qos-profiles-1.0.0"),
        classes: true,
        ..CAMARA_0_10_1.profiles
    },
    rule: Rule {
        device: DeviceRule { required: false, plus: true, ..CAMARA_0_10_1.rule.device },
        duration: DurationRule { required: true, s_max: S_MAX, extension_s_max: S_MAX },
        sink: SinkRule { field: "sink", ..CAMARA_0_10_1.rule.sink },
        ..CAMARA_0_10_1.rule
    },
    event_shape: EventShape::CloudEvent {
        event_type: "org.camaraproject.quality-on-demand.v1.qos-status-changed",
    },
    errors: Errors {
        codes: Family::V1,
        private_key_jwt: (400, "INVALID_CREDENTIAL"),
        ..CAMARA_0_10_1.errors
    },
    correlator: Some(Correlator { punctuation: "-", length_max: 55 }),
    ..CAMARA_0_10_1
};

const CAMARA_1_1_0: Descriptor = Descriptor {
    name: "camara-1.1.0",
    schema: "camara-1.1.0",
    profiles: Profiles {
        schema: Some("qos-profiles-1.1.0"),
        countries: true,
        ..CAMARA_1_0_0.profiles
    },
    rule: Rule { sink: SinkRule { https: true, ..CAMARA_1_0_0.rule.sink }, ..CAMARA_1_0_0.rule },
    one_identifier: true,
    errors: Errors {
        sink: "INVALID_SINK",
        profile_not_applicable: (422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"),
        ..CAMARA_1_0_0.errors
    },
    correlator: Some(Correlator { punctuation: "-_:;./<>{}", length_max: 256 }),
    ..CAMARA_1_0_0
};

/// Every dialect, oldest first.
pub(in crate::dialect) static ALL: [Descriptor; 13] = [
    Descriptor {
        name: "camara-0.1.0",
        family: Family::V01,
        schema: "camara-0.1.0",
        default_path: "/qod-api/v0",
        rule: Rule {
            device: DeviceRule {
                kinds: &[IdentifierKind::Ipv4Address],
                ipv6_masks: false,
                ..CAMARA_0_8_1.rule.device
            },
            servers: Servers::Ipv4,
            // What each of its own four is, is agreed with each operator.
            profiles: &[],
            sink: SinkRule { field: "notificationUri", ..CAMARA_0_8_1.rule.sink },
            ..CAMARA_0_8_1.rule
        },
        errors: Errors { shape: ErrorShape::Message, ..CAMARA_0_8_1.errors },
        ..CAMARA_0_8_1
    },
    Descriptor {
        name: "camara-0.8.0",
        schema: "camara-0.8.0",
        rule: Rule {
            sink: SinkRule { field: "notificationUri", ..CAMARA_0_8_1.rule.sink },
            ..CAMARA_0_8_1.rule
        },
        errors: Errors { unavailable: "SERVICE_UNAVALIBLE", ..CAMARA_0_8_1.errors },
        ..CAMARA_0_8_1
    },
    CAMARA_0_8_1,
    Descriptor {
        name: "devedge",
        created_status: 200,
        errors: Errors { shape: ErrorShape::DevEdge, ..CAMARA_0_8_1.errors },
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
        rule: Rule {
            device: DeviceRule { ipv6_masks: true, ..CAMARA_0_10_1.rule.device },
            ..CAMARA_0_10_1.rule
        },
        event_shape: EventShape::Change,
        ..CAMARA_0_10_1
    },
    CAMARA_0_10_1,
    Descriptor {
        name: "telefonica-0.10",
        errors: Errors { shape: ErrorShape::CodeMessage, ..CAMARA_0_10_1.errors },
        ..CAMARA_0_10_1
    },
    Descriptor {
        name: "camara-0.11.1",
        family: Family::V011,
        schema: "camara-0.11.1",
        default_path: "/quality-on-demand/v0.11",
        profiles: Profiles {
            schema: Some("qos-profiles-0.11.1"),
            classes: false,
            ..CAMARA_1_0_0.profiles
        },
        event_shape: EventShape::CloudEvent {
            event_type: "org.camaraproject.quality-on-demand.v0.qos-status-changed",
        },
        errors: Errors { codes: Family::V011, ..CAMARA_1_0_0.errors },
        correlator: None,
        ..CAMARA_1_0_0
    },
    CAMARA_1_0_0,
    CAMARA_1_1_0,
    Descriptor {
        name: "camara-1.2.0-rc.3",
        schema: "camara-1.2.0-rc.3",
        default_path: "/quality-on-demand/v1rc3",
        profiles: Profiles { schema: Some("qos-profiles-1.2.0-rc.3"), ..CAMARA_1_1_0.profiles },
        rule: Rule {
            strict: true,
            servers: Servers::SubnetsOrList,
            port_min: 1,
            sink: SinkRule { key_credentials: true, ..CAMARA_1_1_0.rule.sink },
            ..CAMARA_1_1_0.rule
        },
        errors: Errors {
            private_key_jwt: (422, "PRIVATE_KEY_JWT_NOT_CONFIGURED"),
            message_chars_max: Some(512),
            ..CAMARA_1_1_0.errors
        },
        ..CAMARA_1_1_0
    },
    Descriptor {
        name: "telefonica-0.8",
        schema: "telefonica-0.8",
        rule: Rule {
            device: DeviceRule {
                ipv4: Ipv4Form::WithDevicePort,
                ipv6_masks: false,
                ..CAMARA_0_8_1.rule.device
            },
            one_port: true,
            ..CAMARA_0_8_1.rule
        },
        ..CAMARA_0_8_1
    },
    // Answers of 1.1, to wishes as before 0.11, with errors as before 0.9.
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
        profiles: Profiles { schema: None, classes: false, countries: false },
        rule: Rule {
            device: DeviceRule { required: true, plus: false, ..CAMARA_1_1_0.rule.device },
            sink: SinkRule { field: "webhook", https: false, ..CAMARA_1_1_0.rule.sink },
            ..CAMARA_1_1_0.rule
        },
        event_shape: CAMARA_0_10_1.event_shape,
        errors: CAMARA_0_8_1.errors,
        correlator: None,
        ..CAMARA_1_1_0
    },
];
