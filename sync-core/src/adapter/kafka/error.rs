//! From librdkafka's errors to ours.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::client::Complaint;
use crate::error::{Error, ErrorKind};

/// The error of doing `what`.
pub(super) fn translate(what: impl Into<String>, error: KafkaError) -> Error {
    let kind = match code_of(&error) {
        Some(code) => kind_of(code),
        None if is_ours(&error) => ErrorKind::Internal,
        None if is_set(&error) => ErrorKind::Configuration,
        None => ErrorKind::Unavailable,
    };
    Error::new(kind, what).with_source(error)
}

/// Whether it says that we used the client wrongly.
fn is_ours(error: &KafkaError) -> bool {
    matches!(error, KafkaError::PauseResume(_) | KafkaError::Seek(_))
}

/// Whether it says that something was set wrongly.
fn is_set(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::ClientConfig(..)
            | KafkaError::ClientCreation(_)
            | KafkaError::AdminOpCreation(_)
            | KafkaError::Nul(_)
    )
}

/// The code inside, where there is one.
pub(super) fn code_of(error: &KafkaError) -> Option<Code> {
    if let KafkaError::AdminOp(code) = error { Some(*code) } else { error.rdkafka_error_code() }
}

/// Whether it says that who leads a partition is not known at this moment, or not as we know it.
pub(super) fn leader_is_moving(error: &KafkaError) -> bool {
    matches!(code_of(error), Some(Code::LeaderNotAvailable | Code::NotLeaderForPartition))
}

/// What a code means for us.
#[allow(clippy::wildcard_enum_match_arm, reason = "librdkafka's list is open: new brokers bring new codes")]
pub(super) fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed
        | Code::DelegationTokenExpired
        | Code::UnacceptableCredential => ErrorKind::Denied,

        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidConfig
        | Code::InvalidRequiredAcks
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol
        | Code::UnknownProtocol
        | Code::UnsupportedAssignor
        | Code::FencedInstanceId
        | Code::UnreleasedInstanceId
        | Code::PolicyViolation
        | Code::SecurityDisabled
        | Code::UnsupportedSASLMechanism
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::NotConfigured => ErrorKind::Configuration,

        Code::MessageSizeTooLarge | Code::InvalidRecord | Code::InvalidTimestamp => ErrorKind::Refused,
        Code::MessageBatchTooLarge => ErrorKind::TooLarge,

        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::RebalanceInProgress
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::AssignmentLost => ErrorKind::Fenced,

        Code::InvalidArgument | Code::NotImplemented | Code::Conflict | Code::ExistingSubscription => {
            ErrorKind::Internal
        }

        // Leaders that move, coordinators that load, time-outs, storage errors, and whatever a later broker adds:
        // waiting may mend it, and taking a passing error for a lasting one would stop the pipeline for nothing.
        _ => ErrorKind::Unavailable,
    }
}

/// What an outstanding message's failure means: its batch is published again from the position, by a new producer that
/// looks the topics up first. So what that look-up will name exactly is not judged here.
pub(super) fn kind_of_delivery(code: Code) -> ErrorKind {
    match kind_of(code) {
        ErrorKind::Denied => ErrorKind::Denied,
        ErrorKind::Unavailable
        | ErrorKind::Blocked
        | ErrorKind::Fenced
        | ErrorKind::TooLarge
        | ErrorKind::Unexplained
        | ErrorKind::Refused
        | ErrorKind::Configuration
        | ErrorKind::Contract
        | ErrorKind::History
        | ErrorKind::Internal => ErrorKind::Unavailable,
    }
}

/// No broker can be talked to: `error` says that much, `complaint` why.
pub(super) fn unreachable(brokers: &str, complaint: Option<&Complaint>, error: KafkaError) -> Error {
    let reason = complaint.map(|complaint| complaint.reason.as_str()).unwrap_or_default();
    let (kind, what, mend) = match complaint.and_then(|complaint| complaint.code) {
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => (
            ErrorKind::Denied,
            "kafka.sasl: the brokers refuse these credentials",
            "check user, password and mechanism",
        ),
        Some(Code::SSL) if reason.contains("certificate verify failed") => {
            (ErrorKind::Configuration, "kafka.ca_file: the broker's certificate is not trusted", "name its authority")
        }
        Some(_) | None => (
            ErrorKind::Unavailable,
            "kafka.brokers: cannot reach",
            "check the address, kafka.security, and that a broker is up",
        ),
    };
    let at = if kind == ErrorKind::Unavailable { " " } else { ", at " };
    if reason.is_empty() {
        return Error::new(kind, format!("{what}{at}{brokers}; {mend}")).with_source(error);
    }
    Error::new(kind, format!("{what}{at}{brokers}: {reason}; {mend}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Remedy;

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        let passing = [
            Code::BrokerTransportFailure,
            Code::AllBrokersDown,
            Code::LeaderNotAvailable,
            Code::NotLeaderForPartition,
            Code::RequestTimedOut,
            Code::OperationTimedOut,
            Code::NotEnoughReplicas,
            Code::CoordinatorLoadInProgress,
            Code::NotCoordinator,
            Code::KafkaStorageError,
            Code::GaplessGuarantee,
            Code::PurgeQueue,
            Code::Unknown,
        ];
        for code in passing {
            assert_eq!(kind_of(code).remedy(), Remedy::Retry, "{code:?}");
        }
    }

    #[test]
    fn what_a_person_has_to_mend_halts() {
        for code in [Code::TopicAuthorizationFailed, Code::UnknownTopicOrPartition, Code::InvalidReplicationFactor] {
            assert_eq!(kind_of(code).remedy(), Remedy::Halt, "{code:?}");
        }
    }

    #[test]
    fn a_failed_delivery_is_tried_again_unless_it_was_denied() {
        for code in [Code::MessageSizeTooLarge, Code::UnknownTopicOrPartition, Code::PurgeInflight, Code::Fatal] {
            assert_eq!(kind_of_delivery(code), ErrorKind::Unavailable, "{code:?}");
        }
        assert_eq!(kind_of_delivery(Code::TopicAuthorizationFailed), ErrorKind::Denied);
    }

    #[test]
    fn an_admin_operations_code_is_read_as_well() {
        let error = translate("creating", KafkaError::AdminOp(Code::ClusterAuthorizationFailed));
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
}
