# shellcheck shell=bash
# What an index promises, on OpenSearch in the place of Elasticsearch.

# The first is looked at more closely.
OPENSEARCH_VERSIONS=(2.19.6 3.9.0)

# Each version on a server of its own; the one the environment names instead of them.
suite_opensearch() {
    local version
    if [[ -n ${SYNC_STACK_OPENSEARCH:-} ]]; then
        opensearch_tests "$SYNC_STACK_OPENSEARCH" closely
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
    local address closely=
    export SYNC_STACK_OPENSEARCH_VERSION=$1 SYNC_STACK_NAME=opensearch-$$
    [[ $1 != "${OPENSEARCH_VERSIONS[0]}" ]] || closely=closely
    trap '"$STACK_COMMAND" down' EXIT
    trap 'exit 143' INT TERM HUP
    printf '+ OpenSearch %s\n' "$1"
    "$STACK_COMMAND" up --owner "$BASHPID" opensearch
    address=$("$STACK_COMMAND" env | sed -n 's/^export SYNC_STACK_OPENSEARCH=//p')
    # `tests` has a trap of its own.
    (opensearch_tests "$address" "$closely")
}

# One test is about a promise that OpenSearch does not keep: what others write may make an index (docs/opensearch.md).
opensearch_tests() {
    local runs=("${BUILD[*]} --test all -- conformance::elasticsearch conformance::searchers:: \
        scenario::elasticsearch_answers:: --skip no_write_of_anybody")
    [[ -z $2 ]] || runs+=("${BUILD[*]} --test all -- scenario::poison:: scenario::pipeline::insert_update_delete_and_reinsert"
        "${BUILD[*]} --test cli -- dead_letters_can_be_listed searches_are_answered_by_the_index an_index_damaged_in_every_way \
            the_setting_shown_for_opensearch")
    SYNC__ELASTICSEARCH__URL=$1 tests "${runs[@]}"
}
