# shellcheck shell=bash
# What docs/deployment.md shows, as far as it can be had without a registry of images and without a cluster: Kubernetes' and
# Docker's own clients take the commands, the files they send are valid, and a container runs as shown (container.sh).

KUBERNETES_VALIDATE_VERSION=1.37.0
# The oldest that takes the manifests, and a late one.
KUBERNETES_VERSIONS=(1.29 1.37)
COMPOSE_SPEC_VERSION=2.16.2

DEPLOY_DOCUMENT=docs/deployment.md
# Nobody listens there.
NOWHERE=127.0.0.1:1

suite_deploy() {
    DEPLOY_PASSED=0 DEPLOY_SKIPPED=0
    DEPLOY_SCRATCH=$(mktemp -d)
    trap finish_deploy EXIT
    install_if_possible "$(missing_deploy_packages)"

    deployed commands_of_kubectl kubectl
    deployed manifests kubectl has_venv
    deployed secrets kubectl
    deployed compose_file go_that_fetches
    deployed commands_of_docker docker
    deployed container an_engine docker socat ldd strip
    printf '%s passed, 0 failed, %s skipped\n' "$DEPLOY_PASSED" "$DEPLOY_SKIPPED"
}

missing_deploy_packages() {
    has_venv || echo python3-venv
    have socat || echo socat
}

finish_deploy() {
    remove_container
    rm -rf -- "$DEPLOY_SCRATCH"
}

# deployed PART NEED...: where all is there that it needs, programs or what a function says.
deployed() {
    local what=$1 need
    shift
    for need in "$@"; do
        if [[ $(type -t "$need") == function ]]; then "$need"; else have "$need"; fi ||
            { passed_over "$what" "$need" && return 0; }
    done
    printf '+ %s\n' "${what//_/ }"
    "$what"
    DEPLOY_PASSED=$((DEPLOY_PASSED + 1))
}

# From 1.21 on it brings the version that a program wants.
go_that_fetches() { have go && [[ -n $(go env GOTOOLCHAIN) ]]; }

an_engine() { [[ -n ${SYNC_STACK_DOCKER:-} ]]; }

passed_over() {
    say "!! SKIPPED: ${1//_/ }, for want of ${2//_/ }"
    DEPLOY_SKIPPED=$((DEPLOY_SKIPPED + 1))
}

# shown WORD...: the chapter's commands that begin so, one a line, without comments.
shown() {
    local found
    found=$(awk '/^```/ { inside = $0 == "```sh"; next } inside' "$DEPLOY_DOCUMENT" |
        sed -e ':join' -e '/\\$/ { N; s/ *\\\n */ /; b join' -e '}' -e 's/ *# .*//' | grep "^$* ")
    [[ -n $found ]] || fail "$DEPLOY_DOCUMENT shows no command of $*"
    echo "$found"
}

# A client that takes a command gets as far as asking the server, where nobody answers.
commands_of_kubectl() {
    local commands command told
    commands=$(shown kubectl)
    printf 'apiVersion: v1\nkind: Config\nclusters: [{name: it, cluster: {server: "http://%s"}}]\nusers: [{name: it}]\n' "$NOWHERE" \
        >"$DEPLOY_SCRATCH/nowhere"
    printf 'contexts: [{name: it, context: {cluster: it, user: it}}]\ncurrent-context: it\n' >>"$DEPLOY_SCRATCH/nowhere"
    while read -r command; do
        command=${command/from-file=…/from-file=$DEPLOY_SCRATCH/nowhere}
        told=$(KUBECONFIG=$DEPLOY_SCRATCH/nowhere bash -c "$command" 2>&1 </dev/null) && fail "no cluster is there: $command: $told"
        grep -q "$NOWHERE.* refused" <<<"$told" || fail "kubectl does not take it: $command: $told"
    done <<<"$commands"
}

# By the schemas of Kubernetes itself. It has none of what KEDA and the operator of Prometheus bring.
manifests() {
    local at version overlay=$DEPLOY_SCRATCH/overlay
    download_once kubernetes-validate "$(kubernetes_validate)" install_kubernetes_validate || fail "kubernetes-validate could not be installed"
    at=$(kubernetes_validate)/bin
    mkdir "$overlay"
    cp -r deploy/kubernetes "$overlay/base"
    printf 'resources: [base]\ncomponents: [base/components/keda, base/components/podmonitor]\n' >"$overlay/kustomization.yaml"
    kubectl kustomize "$overlay" >"$DEPLOY_SCRATCH/processes.yaml"
    kubectl kustomize deploy/kubernetes/migrate >"$DEPLOY_SCRATCH/migrate.yaml"
    for version in "${KUBERNETES_VERSIONS[@]}"; do
        "$at/python" "$at/kubernetes-validate" --strict --quiet --no-warn -k "$version" "$DEPLOY_SCRATCH/processes.yaml" "$DEPLOY_SCRATCH/migrate.yaml" \
            deploy/kubernetes/secret.example.yaml || fail "Kubernetes $version would not take the manifests"
    done
}

kubernetes_validate() { echo "$CACHE/kubernetes-validate-$KUBERNETES_VALIDATE_VERSION-python-$(python_version)"; }

install_kubernetes_validate() {
    python3 -m venv "$1" &&
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION"
}

# Whatever a process mounts is in the example.
secrets() {
    local wanted key
    wanted=$({ kubectl kustomize deploy/kubernetes && kubectl kustomize deploy/kubernetes/migrate; } |
        sed -n 's/^ *- key: \([a-z]*\.\(password\|token\)\)$/\1/p' | sort -u)
    (($(wc -w <<<"$wanted") > 4)) || fail "the manifests mount only: $wanted"
    for key in $wanted; do
        grep -q "^  $key: " deploy/kubernetes/secret.example.yaml || fail "$key is mounted, and not in secret.example.yaml"
    done
}

# By the rules of Compose itself. What is filled in from .env is filled in before.
compose_file() {
    local names name spec=$CACHE/compose-spec-$COMPOSE_SPEC_VERSION/cmd project=$DEPLOY_SCRATCH/project copy composed services service
    download_once compose-spec "${spec%/cmd}" install_compose_spec || fail "compose-spec could not be built"
    names=$(sed -n 's/.*${\([A-Z_]*\):?.*/\1/p' deploy/compose.yaml)
    while read -r name; do
        grep -q "^$name=" deploy/.env.example || fail "$name is wanted by compose.yaml, and not in .env.example"
    done <<<"$names"
    mkdir "$project"
    cp -r deploy "$project"
    copy=$(shown cp)
    (cd "$project" && bash -ec "$copy")
    sed -i -E -e 's/\$\{[A-Z_]+:\?[^}]*\}/secret/' -e 's/\$\{[A-Z_]+:-([^}]*)\}/\1/' "$project/deploy/compose.yaml"
    (cd "$project/deploy" && "$spec" --format json compose.yaml) >"$DEPLOY_SCRATCH/compose.json" || fail "compose.yaml is not valid"
    composed=$(shown docker compose)
    services=$(sed -n 's/.* exec \(-T \)\?\([a-z-]*\) .*/\2/p' <<<"$composed")
    while read -r service; do
        jq -e --arg service "$service" '.services[$service]' "$DEPLOY_SCRATCH/compose.json" >/dev/null ||
            fail "$DEPLOY_DOCUMENT names a service that is not there: $service"
    done <<<"$services"
}

install_compose_spec() {
    GOBIN=$1 GOPATH=$2/go GOCACHE=$2/build GOFLAGS=-modcacherw go install "github.com/compose-spec/compose-go/v2/cmd@v$COMPOSE_SPEC_VERSION"
}

commands_of_docker() {
    local commands command told
    commands=$(shown docker build && shown docker run)
    while read -r command; do
        told=$(DOCKER_HOST=tcp://$NOWHERE bash -c "${command//…/x}" 2>&1 </dev/null) && fail "no engine is there: $command: $told"
        grep -qi 'cannot connect to the docker daemon' <<<"$told" || fail "docker does not take it: $command: $told"
    done <<<"$commands"
}
