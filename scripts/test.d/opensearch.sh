# shellcheck shell=bash
# What an index promises, on OpenSearch in the place of Elasticsearch.

OPENSEARCH_VERSIONS=(2.19.6 3.9.0)

# Each version on a server of its own; the one the environment names instead of them.
suite_opensearch() {
    local version
    if [[ -n ${SYNC_STACK_OPENSEARCH:-} ]]; then
        opensearch_tests "$SYNC_STACK_OPENSEARCH"
        return
    fi
    for version in "${OPENSEARCH_VERSIONS[@]}"; do
        if [[ $version == 3.* ]] && ! java_between 21 99 >/dev/null; then
            say "OpenSearch $version wants Java 21 or later, which is not here: passed over"
            continue
        fi
        (with_opensearch "$version")
    done
}

with_opensearch() {
    local address
    export SYNC_STACK_OPENSEARCH_VERSION=$1 SYNC_STACK_NAME=opensearch-$$
    trap '"$STACK_COMMAND" down' EXIT
    trap 'exit 143' INT TERM HUP
    printf '+ OpenSearch %s\n' "$1"
    "$STACK_COMMAND" up --owner "$BASHPID" opensearch
    address=$("$STACK_COMMAND" env | sed -n 's/^export SYNC_STACK_OPENSEARCH=//p')
    (opensearch_tests "$address")
}

# One test is about a promise that OpenSearch does not keep: what others write may make an index (docs/opensearch.md).
opensearch_tests() {
    SYNC__ELASTICSEARCH__URL=$1 tests \
        "${BUILD[*]} --test all -- conformance::elasticsearch conformance::searchers:: scenario::elasticsearch_answers:: \
            scenario::poison:: scenario::tombstones:: scenario::indexer::histories:: --skip no_write_of_anybody" \
        "${BUILD[*]} --test cli -- dead_letters_can_be_listed searches_are_answered_by_the_index \
            an_index_damaged_in_every_way an_index_is_made_anew_and_taken_back"
}
