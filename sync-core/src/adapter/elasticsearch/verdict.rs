//! What an answer means: one table for Elasticsearch and OpenSearch, by error type first, then by status.

use crate::error::ErrorKind;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// One document of a bulk, to be indexed.
    Index,
    /// One document of a bulk, to be deleted.
    Delete,
    /// A bulk as a whole.
    Bulk,
    /// Anything else: reading, and setting up an index.
    Other,
}

/// What the answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was done.
    Done,
    /// The index holds this version or a newer one, or there was nothing to delete.
    Stale,
    /// There is no such index.
    IndexMissing,
    /// It was not done.
    Failed(ErrorKind),
}

/// The table.
///
/// Of a bulk as a whole, a bad request is `TooLarge`: it has to be halved until the write at fault is alone. An unknown
/// error of the server's own (5xx) may pass and is `Unavailable`; any other unknown answer to a request is a matter of
/// configuration. An unknown answer to one write among others is `Unexplained`, whatever its status: the server
/// answers, so nothing is down.
pub(super) fn verdict(asked: Asked, status: u16, error_type: Option<&str>) -> Verdict {
    use ErrorKind::{Blocked, Configuration, Denied, Refused, TooLarge, Unavailable, Unexplained};
    use Verdict::{Done, Failed, IndexMissing, Stale};

    let at_fault = Failed(match asked {
        Asked::Index | Asked::Delete => Refused,
        Asked::Bulk => TooLarge,
        Asked::Other => Configuration,
    });
    match (error_type, status) {
        (Some("version_conflict_engine_exception"), _) => Stale,
        (Some("index_not_found_exception"), _) => IndexMissing,
        // While the cluster starts or has no master, the block is on everything.
        (Some("cluster_block_exception"), 503) => Failed(Unavailable),
        (Some("cluster_block_exception" | "index_closed_exception" | "index_create_block_exception"), _) => {
            Failed(Blocked)
        }
        (Some("security_exception"), _) => Failed(Denied),
        (
            Some(
                "circuit_breaking_exception"
                | "cluster_manager_not_discovered_exception"
                | "cluster_manager_throttling_exception"
                | "connect_transport_exception"
                | "es_rejected_execution_exception"
                | "failed_to_commit_cluster_state_exception"
                | "illegal_index_shard_state_exception"
                | "index_shard_closed_exception"
                | "master_not_discovered_exception"
                | "no_shard_available_action_exception"
                | "node_closed_exception"
                | "node_decommissioned_exception"
                | "node_disconnected_exception"
                | "node_not_connected_exception"
                | "not_cluster_manager_exception"
                | "not_master_exception"
                | "primary_shard_closed_exception"
                | "process_cluster_event_timeout_exception"
                | "receive_timeout_transport_exception"
                | "rejected_execution_exception"
                | "shard_not_found_exception"
                | "shard_not_in_primary_mode_exception"
                | "task_cancelled_exception"
                | "unavailable_shards_exception",
            ),
            _,
        ) => Failed(Unavailable),
        (
            Some(
                "document_parsing_exception"
                | "illegal_argument_exception"
                | "mapper_parsing_exception"
                | "parsing_exception"
                | "strict_dynamic_mapping_exception"
                | "x_content_parse_exception",
            ),
            400,
        ) => at_fault,
        (_, 200..=299) => Done,
        (_, 404) if asked == Asked::Delete => Stale,
        (_, 401 | 403 | 407) => Failed(Denied),
        (_, 413) => Failed(TooLarge),
        (_, 408 | 429 | 502..=504) => Failed(Unavailable),
        (_, 0..=199 | 300..=399 | 400 | 402 | 404..=406 | 409..=412 | 414..=428 | 430..=501 | 505..) => match asked {
            Asked::Index | Asked::Delete => Failed(Unexplained),
            Asked::Bulk if status == 400 => Failed(TooLarge),
            Asked::Bulk | Asked::Other if status >= 500 => Failed(Unavailable),
            Asked::Bulk | Asked::Other => Failed(Configuration),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::{Blocked, Configuration, Denied, Refused, TooLarge, Unavailable, Unexplained};

    const ALL: [Asked; 4] = [Asked::Index, Asked::Delete, Asked::Bulk, Asked::Other];

    #[track_caller]
    fn all(status: u16, error_type: Option<&str>, expected: [Verdict; 4]) {
        assert_eq!(ALL.map(|asked| verdict(asked, status, error_type)), expected, "{status} {error_type:?}");
    }

    #[test]
    fn the_type_decides_before_the_status() {
        all(409, Some("version_conflict_engine_exception"), [Verdict::Stale; 4]);
        all(404, Some("index_not_found_exception"), [Verdict::IndexMissing; 4]);
        for status in [403, 429] {
            all(status, Some("cluster_block_exception"), [Verdict::Failed(Blocked); 4]);
        }
        all(403, Some("index_create_block_exception"), [Verdict::Failed(Blocked); 4]);
        all(503, Some("cluster_block_exception"), [Verdict::Failed(Unavailable); 4]);
        all(400, Some("index_closed_exception"), [Verdict::Failed(Blocked); 4]);
        all(403, Some("security_exception"), [Verdict::Failed(Denied); 4]);
        for refused in ["es_rejected_execution_exception", "rejected_execution_exception"] {
            all(429, Some(refused), [Verdict::Failed(Unavailable); 4]);
        }
        for without_a_master in ["master_not_discovered_exception", "cluster_manager_not_discovered_exception"] {
            all(503, Some(without_a_master), [Verdict::Failed(Unavailable); 4]);
        }
        all(404, Some("shard_not_found_exception"), [Verdict::Failed(Unavailable); 4]);
        all(400, Some("task_cancelled_exception"), [Verdict::Failed(Unavailable); 4]);
    }

    #[test]
    fn a_bad_document_is_refused_and_a_bad_bulk_is_halved() {
        let expected = [Refused, Refused, TooLarge, Configuration].map(Verdict::Failed);
        for error_type in [
            "mapper_parsing_exception",
            "document_parsing_exception",
            "strict_dynamic_mapping_exception",
            "illegal_argument_exception",
        ] {
            all(400, Some(error_type), expected);
        }
        let unexplained = [Unexplained, Unexplained, TooLarge, Configuration].map(Verdict::Failed);
        all(400, Some("one_of_next_year_exception"), unexplained);
        all(400, None, unexplained);
        all(413, None, [Verdict::Failed(TooLarge); 4]);
    }

    #[test]
    fn an_answer_without_a_known_type_goes_by_its_status() {
        all(200, None, [Verdict::Done; 4]);
        all(201, None, [Verdict::Done; 4]);
        for status in [408, 429, 502, 503, 504] {
            all(status, None, [Verdict::Failed(Unavailable); 4]);
            all(status, Some("null_pointer_exception"), [Verdict::Failed(Unavailable); 4]);
        }
        for status in [500, 501, 505, 599, u16::MAX] {
            let expected = [Unexplained, Unexplained, Unavailable, Unavailable].map(Verdict::Failed);
            all(status, None, expected);
            all(status, Some("null_pointer_exception"), expected);
        }
        for status in [401, 403, 407] {
            all(status, None, [Verdict::Failed(Denied); 4]);
        }
        let odd = [Unexplained, Unexplained, Configuration, Configuration].map(Verdict::Failed);
        for status in [0, 100, 302, 405, 406, 409, 410, 415, 418] {
            all(status, None, odd);
        }
    }

    #[test]
    fn deleting_what_is_not_there_is_stale() {
        let [index, _, bulk, other] = [Unexplained, Unexplained, Configuration, Configuration].map(Verdict::Failed);
        all(404, None, [index, Verdict::Stale, bulk, other]);
    }

    #[test]
    fn every_status_has_a_verdict_and_only_2xx_is_done() {
        for status in 0..=u16::MAX {
            for asked in ALL {
                let done = verdict(asked, status, None) == Verdict::Done;
                assert_eq!(done, (200..300).contains(&status), "{asked:?} {status}");
            }
        }
    }
}
